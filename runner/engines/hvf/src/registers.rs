//! The architectural state of a vCPU, both ways. By its thread alone (hv_vcpu_get_reg and its kin).

use applevisor::{
    error::Result,
    vcpu::{Reg, SysReg, Vcpu},
};
use machine::cpu_state::{CpuState, SysRegs, TimerState};

use crate::vector;

/// X0 to X30 in order.
const GENERAL: [Reg; 31] = {
    use applevisor_sys::hv_reg_t::*;
    [
        X0, X1, X2, X3, X4, X5, X6, X7, X8, X9, X10, X11, X12, X13, X14, X15, X16, X17, X18, X19, X20, X21,
        X22, X23, X24, X25, X26, X27, X28, X29, X30,
    ]
};

/// Value and control registers of each breakpoint and watchpoint that the machine's features have.
const BREAKPOINTS: [[SysReg; 2]; 6] = {
    use applevisor_sys::hv_sys_reg_t::*;
    [
        [DBGBVR0_EL1, DBGBCR0_EL1],
        [DBGBVR1_EL1, DBGBCR1_EL1],
        [DBGBVR2_EL1, DBGBCR2_EL1],
        [DBGBVR3_EL1, DBGBCR3_EL1],
        [DBGBVR4_EL1, DBGBCR4_EL1],
        [DBGBVR5_EL1, DBGBCR5_EL1],
    ]
};
const WATCHPOINTS: [[SysReg; 2]; 4] = {
    use applevisor_sys::hv_sys_reg_t::*;
    [
        [DBGWVR0_EL1, DBGWCR0_EL1],
        [DBGWVR1_EL1, DBGWCR1_EL1],
        [DBGWVR2_EL1, DBGWCR2_EL1],
        [DBGWVR3_EL1, DBGWCR3_EL1],
    ]
};
const POINTER_AUTH_KEYS: [[SysReg; 2]; 5] = {
    use applevisor_sys::hv_sys_reg_t::*;
    [
        [APIAKEYLO_EL1, APIAKEYHI_EL1],
        [APIBKEYLO_EL1, APIBKEYHI_EL1],
        [APDAKEYLO_EL1, APDAKEYHI_EL1],
        [APDBKEYLO_EL1, APDBKEYHI_EL1],
        [APGAKEYLO_EL1, APGAKEYHI_EL1],
    ]
};

/// CNTV_CTL_EL0 without ISTATUS.
const TIMER_CONTROL: u64 = 0b11;

/// What the framework has no register for; it traps, and the engine keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// OSDLR_EL1.
    pub(crate) osdlr_el1: u64,
    /// The OS lock.
    pub(crate) os_lock: bool,
}

/// Calls `each` with every system register that holds state in the framework, and its field.
fn system_registers(sys: &mut SysRegs, mut each: impl FnMut(SysReg, &mut u64) -> Result<()>) -> Result<()> {
    each(SysReg::SCTLR_EL1, &mut sys.sctlr_el1)?;
    each(SysReg::CPACR_EL1, &mut sys.cpacr_el1)?;
    each(SysReg::TTBR0_EL1, &mut sys.ttbr0_el1)?;
    each(SysReg::TTBR1_EL1, &mut sys.ttbr1_el1)?;
    each(SysReg::TCR_EL1, &mut sys.tcr_el1)?;
    each(SysReg::MAIR_EL1, &mut sys.mair_el1)?;
    each(SysReg::AMAIR_EL1, &mut sys.amair_el1)?;
    each(SysReg::VBAR_EL1, &mut sys.vbar_el1)?;
    each(SysReg::CONTEXTIDR_EL1, &mut sys.contextidr_el1)?;
    each(SysReg::ESR_EL1, &mut sys.esr_el1)?;
    each(SysReg::FAR_EL1, &mut sys.far_el1)?;
    each(SysReg::AFSR0_EL1, &mut sys.afsr0_el1)?;
    each(SysReg::AFSR1_EL1, &mut sys.afsr1_el1)?;
    each(SysReg::ELR_EL1, &mut sys.elr_el1)?;
    each(SysReg::SPSR_EL1, &mut sys.spsr_el1)?;
    each(SysReg::PAR_EL1, &mut sys.par_el1)?;
    each(SysReg::TPIDR_EL0, &mut sys.tpidr_el0)?;
    each(SysReg::TPIDRRO_EL0, &mut sys.tpidrro_el0)?;
    each(SysReg::TPIDR_EL1, &mut sys.tpidr_el1)?;
    each(SysReg::CSSELR_EL1, &mut sys.csselr_el1)?;
    each(SysReg::CNTKCTL_EL1, &mut sys.cntkctl_el1)?;
    each(SysReg::MDSCR_EL1, &mut sys.mdscr_el1)?;
    let breakpoints = BREAKPOINTS.into_iter().zip(&mut sys.breakpoints);
    let watchpoints = WATCHPOINTS.into_iter().zip(&mut sys.watchpoints);
    let keys = POINTER_AUTH_KEYS.into_iter().zip(&mut sys.pointer_auth_keys);
    for (regs, fields) in breakpoints.chain(watchpoints).chain(keys) {
        for (reg, field) in regs.into_iter().zip(fields) {
            each(reg, field)?;
        }
    }
    Ok(())
}

/// The general register that a field of an instruction names; None for 31, the zero register.
///
/// PC follows X30 in `hv_reg_t`: a number must not be counted on from X0.
pub(crate) fn general(n: u8) -> Option<Reg> {
    GENERAL.get(usize::from(n)).copied()
}

/// The state of `vcpu`.
///
/// # Errors
/// What the framework says. It refuses nothing to the vCPU's own thread.
pub(crate) fn save(vcpu: &Vcpu, kept: Kept) -> Result<CpuState> {
    let mut state = CpuState {
        sp_el0: vcpu.get_sys_reg(SysReg::SP_EL0)?,
        sp_el1: vcpu.get_sys_reg(SysReg::SP_EL1)?,
        pc: vcpu.get_reg(Reg::PC)?,
        pstate: vcpu.get_reg(Reg::CPSR)?,
        fpcr: vcpu.get_reg(Reg::FPCR)?,
        fpsr: vcpu.get_reg(Reg::FPSR)?,
        timer: timer(vcpu)?,
        ..CpuState::default()
    };
    for (reg, x) in GENERAL.into_iter().zip(&mut state.x) {
        *x = vcpu.get_reg(reg)?;
    }
    for (reg, v) in vector::REGISTERS.into_iter().zip(&mut state.v) {
        // hv_vcpu_get_simd_fp_reg writes to a pointer, which `applevisor` passes well.
        let value = vcpu.get_simd_fp_reg(reg)?;
        *v = [value as u64, (value >> 64) as u64];
    }
    system_registers(&mut state.sys, |reg, field| {
        *field = vcpu.get_sys_reg(reg)?;
        Ok(())
    })?;
    state.sys.osdlr_el1 = kept.osdlr_el1;
    state.sys.os_lock = kept.os_lock;
    Ok(state)
}

/// Gives `vcpu` the state, which [`check`] has passed; what it does not hold itself.
///
/// # Errors
/// What the framework says.
pub(crate) fn load(vcpu: &Vcpu, state: &CpuState) -> Result<Kept> {
    for (reg, x) in GENERAL.into_iter().zip(state.x) {
        vcpu.set_reg(reg, x)?;
    }
    vcpu.set_reg(Reg::PC, state.pc)?;
    vcpu.set_reg(Reg::CPSR, state.pstate)?;
    vcpu.set_reg(Reg::FPCR, state.fpcr)?;
    vcpu.set_reg(Reg::FPSR, state.fpsr)?;
    vcpu.set_sys_reg(SysReg::SP_EL0, state.sp_el0)?;
    vcpu.set_sys_reg(SysReg::SP_EL1, state.sp_el1)?;
    for (reg, [low, high]) in vector::REGISTERS.into_iter().zip(state.v) {
        vector::set(vcpu, reg, u128::from(low) | u128::from(high) << 64)?;
    }
    let mut sys = state.sys.clone();
    system_registers(&mut sys, |reg, field| vcpu.set_sys_reg(reg, *field))?;
    vcpu.set_sys_reg(SysReg::CNTV_CVAL_EL0, state.timer.cval)?;
    vcpu.set_sys_reg(SysReg::CNTV_CTL_EL0, state.timer.ctl)?;
    Ok(Kept { osdlr_el1: state.sys.osdlr_el1, os_lock: state.sys.os_lock })
}

/// The virtual timer of `vcpu`.
///
/// # Errors
/// What the framework says.
pub(crate) fn timer(vcpu: &Vcpu) -> Result<TimerState> {
    let ctl = vcpu.get_sys_reg(SysReg::CNTV_CTL_EL0)? & TIMER_CONTROL;
    Ok(TimerState { ctl, cval: vcpu.get_sys_reg(SysReg::CNTV_CVAL_EL0)? })
}

/// What in `state` a vCPU with the machine's features can't have.
pub(crate) fn check(state: &CpuState) -> std::result::Result<(), String> {
    /// N, Z, C, V, PAN, SS, IL, D, A, I, F and M (Arm ARM C5.2.18).
    const PSTATE: u64 = 0xf070_03df;
    /// AHP, DN, FZ, RMode; QC, IDC, IXC, UFC, OFC, DZC, IOC.
    const FPCR: u64 = 0x07c0_0000;
    const FPSR: u64 = 0x0800_009f;
    let mode = state.pstate & 0x1f;
    if state.pstate & !PSTATE != 0 || !matches!(mode, 0 | 4 | 5) {
        return Err(format!("PSTATE {:#x}", state.pstate));
    }
    if state.fpcr & !FPCR != 0 {
        return Err(format!("FPCR {:#x}", state.fpcr));
    }
    if state.fpsr & !FPSR != 0 {
        return Err(format!("FPSR {:#x}", state.fpsr));
    }
    // On Apple silicon this is the memory model (ACTLR_EL1.EnTSO), and else nothing that can be set.
    if state.sys.actlr_el1 != 0 {
        return Err(format!("ACTLR_EL1 {:#x}", state.sys.actlr_el1));
    }
    if state.timer.ctl & !TIMER_CONTROL != 0 {
        return Err(format!("CNTV_CTL_EL0 {:#x}", state.timer.ctl));
    }
    Ok(())
}
