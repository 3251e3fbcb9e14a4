//! The registers that the framework gives access to.

use std::collections::BTreeMap;

use applevisor_sys::hv_sys_reg_t;
use engine_soft::{
    core::{Core, pstate},
    regs::SP,
};
use machine::{cpu_state::SysRegs, engine::SysReg, features};

use crate::{cpu::Cpu, process::Refusal};

/// Identification registers of an Apple M1's guest, as far as they matter: more than the machine's.
const M1: [(hv_sys_reg_t, u64); 11] = [
    (hv_sys_reg_t::MIDR_EL1, 0x611f_0221),
    (hv_sys_reg_t::MPIDR_EL1, 0x8000_0000),
    (hv_sys_reg_t::ID_AA64PFR0_EL1, 0x1101_0000_1011_0111),
    (hv_sys_reg_t::ID_AA64PFR1_EL1, 0x20),
    (hv_sys_reg_t::ID_AA64DFR0_EL1, 0x1030_5006),
    (hv_sys_reg_t::ID_AA64DFR1_EL1, 0),
    (hv_sys_reg_t::ID_AA64ISAR0_EL1, 0x0221_1000_1121_1120),
    (hv_sys_reg_t::ID_AA64ISAR1_EL1, 0x11_1110_2123_0100),
    (hv_sys_reg_t::ID_AA64MMFR0_EL1, 0x1_2012_0f10_0001),
    (hv_sys_reg_t::ID_AA64MMFR1_EL1, 0x1121_2000),
    (hv_sys_reg_t::ID_AA64MMFR2_EL1, 0x1201_1101_1102_1011),
];

/// CTR_EL0 of an Apple M1.
pub(crate) const CTR_EL0: u64 = 0x8444_8004;

/// What a vCPU says of itself.
pub(crate) struct Identity(BTreeMap<u16, u64>);

impl Default for Identity {
    fn default() -> Self {
        Identity(M1.into_iter().map(|(reg, value)| (reg as u16, value)).collect())
    }
}

impl Identity {
    /// Whether that is what the soft engine's processor number `index` says: it can say nothing else.
    pub(crate) fn is_the_soft_engines(&self, index: usize) -> bool {
        self.0.iter().all(|(&encoding, &value)| {
            let register = SysReg::from_word(u32::from(encoding) << 5);
            value
                == match features::feature_register(register) {
                    Some(feature) => feature,
                    None if encoding == hv_sys_reg_t::MIDR_EL1 as u16 => features::MIDR_EL1,
                    None => features::mpidr_el1(index),
                }
        })
    }
}

/// hv_vcpu_get_sys_reg.
pub(crate) fn get(cpu: &mut Cpu, encoding: u16) -> Result<u64, Refusal> {
    if let Some(value) = cpu.identity.0.get(&encoding) {
        return Ok(*value);
    }
    let core = &mut cpu.core;
    Ok(match known(encoding) {
        Some(hv_sys_reg_t::SP_EL0) if uses_sp_el0(core) => core.regs.x[SP],
        Some(hv_sys_reg_t::SP_EL0) => core.sp_el0,
        Some(hv_sys_reg_t::SP_EL1) if uses_sp_el0(core) => core.sp_el1,
        Some(hv_sys_reg_t::SP_EL1) => core.regs.x[SP],
        Some(hv_sys_reg_t::CNTV_CVAL_EL0) => core.timer.cval,
        Some(hv_sys_reg_t::CNTV_CTL_EL0) => {
            let (ctl, cval) = (core.timer.ctl, core.timer.cval);
            ctl | u64::from(ctl & 1 != 0 && cpu.counter() >= cval) << 2
        }
        _ => *field(&mut core.sys, encoding).ok_or(Refusal::HV_BAD_ARGUMENT)?,
    })
}

/// hv_vcpu_set_sys_reg. No translation is dropped for it, as none is on a processor.
pub(crate) fn set(cpu: &mut Cpu, encoding: u16, value: u64) -> Result<(), Refusal> {
    if encoding == hv_sys_reg_t::MPIDR_EL1 as u16 {
        cpu.set_affinity(value)?;
    }
    if let Some(held) = cpu.identity.0.get_mut(&encoding) {
        *held = value;
        return Ok(());
    }
    let core = &mut cpu.core;
    match known(encoding) {
        Some(hv_sys_reg_t::SP_EL0) if uses_sp_el0(core) => core.regs.x[SP] = value,
        Some(hv_sys_reg_t::SP_EL0) => core.sp_el0 = value,
        Some(hv_sys_reg_t::SP_EL1) if uses_sp_el0(core) => core.sp_el1 = value,
        Some(hv_sys_reg_t::SP_EL1) => core.regs.x[SP] = value,
        Some(hv_sys_reg_t::CNTV_CVAL_EL0) => core.timer.cval = value,
        Some(hv_sys_reg_t::CNTV_CTL_EL0) => core.timer.ctl = value & 0b11,
        _ => {
            let field = field(&mut core.sys, encoding).ok_or(Refusal::HV_BAD_ARGUMENT)?;
            let changed = std::mem::replace(field, value) != value;
            core.update_context();
            core.update_asid();
            // Those of op0 2 are of debug.
            if changed && encoding >> 14 == 2 {
                cpu.see_breakpoints();
            }
        }
    }
    Ok(())
}

/// Registers that are not plain fields.
fn known(encoding: u16) -> Option<hv_sys_reg_t> {
    use hv_sys_reg_t::*;
    [SP_EL0, SP_EL1, CNTV_CVAL_EL0, CNTV_CTL_EL0].into_iter().find(|&reg| reg as u16 == encoding)
}

fn uses_sp_el0(core: &Core) -> bool {
    core.el0 || !core.sp_sel
}

fn field(sys: &mut SysRegs, encoding: u16) -> Option<&mut u64> {
    use hv_sys_reg_t as r;
    macro_rules! fields {
        ($($register:ident => $field:expr,)*) => {
            $(if encoding == r::$register as u16 {
                return Some(&mut $field);
            })*
        };
    }
    fields! {
        SCTLR_EL1 => sys.sctlr_el1,
        CPACR_EL1 => sys.cpacr_el1,
        TTBR0_EL1 => sys.ttbr0_el1,
        TTBR1_EL1 => sys.ttbr1_el1,
        TCR_EL1 => sys.tcr_el1,
        SPSR_EL1 => sys.spsr_el1,
        ELR_EL1 => sys.elr_el1,
        AFSR0_EL1 => sys.afsr0_el1,
        AFSR1_EL1 => sys.afsr1_el1,
        ESR_EL1 => sys.esr_el1,
        FAR_EL1 => sys.far_el1,
        PAR_EL1 => sys.par_el1,
        MAIR_EL1 => sys.mair_el1,
        AMAIR_EL1 => sys.amair_el1,
        VBAR_EL1 => sys.vbar_el1,
        CONTEXTIDR_EL1 => sys.contextidr_el1,
        TPIDR_EL0 => sys.tpidr_el0,
        TPIDRRO_EL0 => sys.tpidrro_el0,
        TPIDR_EL1 => sys.tpidr_el1,
        CSSELR_EL1 => sys.csselr_el1,
        CNTKCTL_EL1 => sys.cntkctl_el1,
        MDSCR_EL1 => sys.mdscr_el1,
        APIAKEYLO_EL1 => sys.pointer_auth_keys[0][0],
        APIAKEYHI_EL1 => sys.pointer_auth_keys[0][1],
        APIBKEYLO_EL1 => sys.pointer_auth_keys[1][0],
        APIBKEYHI_EL1 => sys.pointer_auth_keys[1][1],
        APDAKEYLO_EL1 => sys.pointer_auth_keys[2][0],
        APDAKEYHI_EL1 => sys.pointer_auth_keys[2][1],
        APDBKEYLO_EL1 => sys.pointer_auth_keys[3][0],
        APDBKEYHI_EL1 => sys.pointer_auth_keys[3][1],
        APGAKEYLO_EL1 => sys.pointer_auth_keys[4][0],
        APGAKEYHI_EL1 => sys.pointer_auth_keys[4][1],
    }
    // DBGBVRn, DBGBCRn, DBGWVRn, DBGWCRn: op0 2, CRn 0, CRm n, op2 4 to 7.
    let within = encoding.checked_sub(r::DBGBVR0_EL1 as u16 & !7).filter(|&within| within < 1 << 7)?;
    let (n, which) = (usize::from(within >> 3), usize::from(within & 1));
    match within & 7 {
        4 | 5 => sys.breakpoints.get_mut(n).map(|pair| &mut pair[which]),
        6 | 7 => sys.watchpoints.get_mut(n).map(|pair| &mut pair[which]),
        _ => None,
    }
}

/// hv_vcpu_get_reg, by the number in `hv_reg_t`: X0 to X30, PC, FPCR, FPSR, CPSR.
pub(crate) fn get_general(core: &Core, reg: u32) -> Option<u64> {
    Some(match reg {
        0..=30 => core.regs.x[reg as usize],
        31 => core.regs.pc,
        32 => core.regs.fpcr.into(),
        33 => core.regs.fpsr.into(),
        34 => core.pstate(),
        _ => return None,
    })
}

/// hv_vcpu_set_reg.
pub(crate) fn set_general(core: &mut Core, reg: u32, value: u64) -> Option<()> {
    match reg {
        0..=30 => core.regs.x[reg as usize] = value,
        31 => core.regs.pc = value,
        32 => core.regs.fpcr = value as u32,
        33 => core.regs.fpsr = value as u32,
        34 => {
            core.regs.nzcv = (value & pstate::NZCV) as u32;
            core.daif = value & pstate::DAIF;
            core.pan = value & pstate::PAN != 0;
            core.il = value & pstate::IL != 0;
            core.ss = value & pstate::SS != 0;
            let mode = value & pstate::MODE;
            core.set_level(mode == pstate::EL0T, mode == pstate::EL1H);
            // Whoever changes the level from outside leaves no exclusive access open.
            core.monitor = None;
        }
        _ => return None,
    }
    Some(())
}
