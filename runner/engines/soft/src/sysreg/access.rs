//! MRS and MSR.

use machine::{
    clock::ticks_from_nanos,
    cpu_state::SysRegs,
    engine::{Exit, SysReg},
    layout::COUNTER_HZ,
};

use super::{FPCR_MASK, FPSR_MASK, debug::is_comparator, describe, id, is_gic, is_pmu, name, sctlr_el0};
use crate::{
    core::{Abandoned, Core, class, pstate},
    regs::nzcv,
};

/// CNTKCTL_EL1 bits (Arm ARM D24.10.8).
mod cntkctl {
    pub const EL0PCTEN: u64 = 1 << 0;
    pub const EL0VCTEN: u64 = 1 << 1;
    pub const EL0VTEN: u64 = 1 << 8;
}

/// What EL0 may do with a register (Arm ARM D24, "Accessing").
enum El0 {
    Allowed,
    /// Trapped to EL1 with class 0x18.
    Trapped,
    Undefined,
}

impl Core {
    /// The counter at the instruction at `pc`, which is of the current block.
    pub fn counter(&self, pc: u64) -> u64 {
        if let Some(clock) = &self.clock {
            return ticks_from_nanos(clock.nanos());
        }
        let within_block = pc.wrapping_sub(self.block_pc) / 4;
        ticks_from_nanos(self.run_start + self.executed + within_block)
    }

    fn el0_access(&self, encoding: u16, read: bool) -> El0 {
        let when = |allowed: bool| if allowed { El0::Allowed } else { El0::Trapped };
        let counters = self.sys.cntkctl_el1;
        match encoding {
            name::TPIDR_EL0 | name::NZCV | name::FPCR | name::FPSR => El0::Allowed,
            name::TPIDRRO_EL0 | name::DCZID_EL0 if read => El0::Allowed,
            name::CTR_EL0 if read => when(self.sys.sctlr_el1 & sctlr_el0::UCT != 0),
            name::DAIF => when(self.sys.sctlr_el1 & sctlr_el0::UMA != 0),
            name::CNTFRQ_EL0 if read => when(counters & (cntkctl::EL0PCTEN | cntkctl::EL0VCTEN) != 0),
            name::CNTPCT_EL0 if read => when(counters & cntkctl::EL0PCTEN != 0),
            name::CNTVCT_EL0 if read => when(counters & cntkctl::EL0VCTEN != 0),
            name::CNTV_TVAL_EL0 | name::CNTV_CTL_EL0 | name::CNTV_CVAL_EL0 => {
                when(counters & cntkctl::EL0VTEN != 0)
            }
            _ => El0::Undefined,
        }
    }

    fn check_level(&mut self, encoding: u16, read: bool, rt: u32) -> Result<(), Abandoned> {
        if !self.el0 {
            return Ok(());
        }
        match self.el0_access(encoding, read) {
            El0::Allowed => Ok(()),
            El0::Trapped => Err(self.raise(class::SYSTEM_TRAPPED, trap_syndrome(encoding, read, rt), None)),
            El0::Undefined => Err(self.undefined()),
        }
    }

    /// MRS: the register's value. `rt` is the field of the word.
    pub fn read_register(&mut self, encoding: u16, rt: u32, pc: u64) -> Result<u64, Abandoned> {
        self.check_level(encoding, true, rt)?;
        if let Some(value) = id::read(encoding, self.index) {
            return Ok(value);
        }
        if let Some(field) = plain(&mut self.sys, encoding) {
            return Ok(*field);
        }
        if let Some(value) = self.read_debug_register(encoding) {
            return Ok(value);
        }
        Ok(match encoding {
            name::SP_EL0 if self.sp_sel => self.sp_el0,
            name::SPSEL => u64::from(self.sp_sel),
            name::CURRENT_EL => 1 << 2,
            name::PAN => {
                if self.pan {
                    pstate::PAN
                } else {
                    0
                }
            }
            name::NZCV => u64::from(self.regs.nzcv),
            name::DAIF => self.daif,
            name::FPCR | name::FPSR if self.fp_trapped => return Err(self.trap_fp()),
            name::FPCR => u64::from(self.regs.fpcr),
            name::FPSR => u64::from(self.regs.fpsr),
            name::ISR_EL1 => {
                if self.irq {
                    pstate::I
                } else {
                    0
                }
            }
            name::RVBAR_EL1 | name::MDRAR_EL1 | name::DBGAUTHSTATUS_EL1 | name::DBGPRCR_EL1 => 0,
            name::MDCCINT_EL1 | name::OSDTRRX_EL1 => 0,
            // OSLM is 0b10: the lock is there (Arm ARM D24.3.20).
            name::OSLSR_EL1 => 0b1000 | (u64::from(self.sys.os_lock) << 1),
            name::CNTFRQ_EL0 => COUNTER_HZ,
            name::CNTVCT_EL0 | name::CNTPCT_EL0 => self.counter(pc),
            name::CNTV_CVAL_EL0 => self.timer.cval,
            name::CNTV_TVAL_EL0 => u64::from(self.timer.cval.wrapping_sub(self.counter(pc)) as u32),
            name::CNTV_CTL_EL0 => {
                let reached = self.timer.ctl & 1 != 0 && self.counter(pc) >= self.timer.cval;
                self.timer.ctl | (u64::from(reached) << 2)
            }
            _ if is_gic(encoding) => match self.machine_answer() {
                Some(Some(value)) => value,
                Some(None) => return Err(self.undefined()),
                None => {
                    return Err(self.exit(Exit::SysRegRead(SysReg::from_word(u32::from(encoding) << 5))));
                }
            },
            _ => return Err(self.unknown_register("MRS", encoding, pc)),
        })
    }

    /// MSR to the register. `rt` is the field of the word.
    pub fn write_register(&mut self, encoding: u16, value: u64, rt: u32, pc: u64) -> Result<(), Abandoned> {
        self.check_level(encoding, false, rt)?;
        if let Some(field) = plain(&mut self.sys, encoding) {
            let old = std::mem::replace(field, value);
            self.after_write(encoding, old, value);
            return Ok(());
        }
        if self.write_debug_register(encoding, value) {
            return Ok(());
        }
        match encoding {
            name::SP_EL0 if self.sp_sel => self.sp_el0 = value,
            name::SPSEL => self.set_level(self.el0, value & 1 != 0),
            name::PAN => {
                self.pan = value & pstate::PAN != 0;
                self.update_context();
            }
            name::NZCV => self.regs.nzcv = (value & pstate::NZCV) as u32,
            name::DAIF => self.daif = value & pstate::DAIF,
            name::FPCR | name::FPSR if self.fp_trapped => return Err(self.trap_fp()),
            name::FPCR => self.regs.fpcr = (value & FPCR_MASK) as u32,
            name::FPSR => self.regs.fpsr = (value & FPSR_MASK) as u32,
            name::OSLAR_EL1 => self.set_os_lock(value & 1 != 0),
            name::DBGPRCR_EL1 | name::MDCCINT_EL1 | name::OSDTRRX_EL1 => {}
            name::CNTV_CVAL_EL0 => {
                self.timer.cval = value;
                self.timer_changed = true;
            }
            name::CNTV_TVAL_EL0 => {
                self.timer.cval = self.counter(pc).wrapping_add(value as i32 as u64);
                self.timer_changed = true;
            }
            name::CNTV_CTL_EL0 => {
                self.timer.ctl = value & 0b11;
                self.timer_changed = true;
            }
            _ if is_gic(encoding) => match self.machine_answer() {
                Some(Some(_)) => {}
                Some(None) => return Err(self.undefined()),
                None => {
                    let register = SysReg::from_word(u32::from(encoding) << 5);
                    return Err(self.exit(Exit::SysRegWrite(register, value)));
                }
            },
            _ => return Err(self.unknown_register("MSR", encoding, pc)),
        }
        Ok(())
    }

    /// What a write changes beyond the register.
    fn after_write(&mut self, encoding: u16, old: u64, value: u64) {
        match encoding {
            name::SCTLR_EL1 if old != value => {
                self.tlb.flush();
                self.update_context();
            }
            name::TCR_EL1 if old != value => {
                self.tlb.flush();
                self.update_asid();
            }
            name::TTBR0_EL1 | name::TTBR1_EL1 => self.update_asid(),
            name::CPACR_EL1 => self.update_context(),
            _ => {}
        }
    }

    /// PSTATE from an immediate: PAN, SPSel, DAIFSet, DAIFClr (Arm ARM C6.2.254).
    pub fn write_pstate_field(&mut self, encoding: u16, immediate: u8) -> Result<(), Abandoned> {
        let (op1, op2) = ((encoding >> 11) & 7, encoding & 7);
        let bits = u64::from(immediate) << 6;
        match (op1, op2) {
            (3, 6 | 7) => {
                if self.el0 && self.sys.sctlr_el1 & sctlr_el0::UMA == 0 {
                    // The syndrome names CRm and Rt as they are in the word.
                    return Err(self.raise(class::SYSTEM_TRAPPED, trap_syndrome(encoding, false, 31), None));
                }
                if op2 == 6 { self.daif |= bits } else { self.daif &= !bits }
            }
            _ if self.el0 => return Err(self.undefined()),
            (0, 5) => self.set_level(self.el0, immediate & 1 != 0),
            _ => {
                self.pan = immediate & 1 != 0;
                self.update_context();
            }
        }
        Ok(())
    }

    /// Abandons the current instruction because FP and SIMD are trapped (CPACR_EL1.FPEN).
    #[cold]
    pub fn trap_fp(&mut self) -> Abandoned {
        // CV set, COND 0b1110 (Arm ARM D24.2.40, ISS for EC 0x07).
        self.raise(class::FP_TRAPPED, 0x01e0_0000, None)
    }

    /// A register that the feature set has not. EL0 gets an exception; EL1
    /// knows what it reads, so the engine reports, but for what a kernel may
    /// look for by trying.
    #[cold]
    fn unknown_register(&mut self, verb: &str, encoding: u16, pc: u64) -> Abandoned {
        if self.el0 || is_pmu(encoding) || is_comparator(encoding) {
            return self.undefined();
        }
        self.stop(pc, None, format!("{verb} of {}, which this engine has not", describe(encoding)))
    }
}

/// Syndrome of a trapped MRS, MSR or SYS (Arm ARM D24.2.40, ISS for EC 0x18).
pub(super) fn trap_syndrome(encoding: u16, read: bool, rt: u32) -> u32 {
    let e = u32::from(encoding);
    let (op0, op1, crn, crm, op2) = (e >> 14, (e >> 11) & 7, (e >> 7) & 15, (e >> 3) & 15, e & 7);
    (op0 << 20) | (op2 << 17) | (op1 << 14) | (crn << 10) | (rt << 5) | (crm << 1) | u32::from(read)
}

/// The field of a register that is read and written as it is.
fn plain(sys: &mut SysRegs, encoding: u16) -> Option<&mut u64> {
    Some(match encoding {
        name::SCTLR_EL1 => &mut sys.sctlr_el1,
        name::ACTLR_EL1 => &mut sys.actlr_el1,
        name::CPACR_EL1 => &mut sys.cpacr_el1,
        name::TTBR0_EL1 => &mut sys.ttbr0_el1,
        name::TTBR1_EL1 => &mut sys.ttbr1_el1,
        name::TCR_EL1 => &mut sys.tcr_el1,
        name::SPSR_EL1 => &mut sys.spsr_el1,
        name::ELR_EL1 => &mut sys.elr_el1,
        name::AFSR0_EL1 => &mut sys.afsr0_el1,
        name::AFSR1_EL1 => &mut sys.afsr1_el1,
        name::ESR_EL1 => &mut sys.esr_el1,
        name::FAR_EL1 => &mut sys.far_el1,
        name::PAR_EL1 => &mut sys.par_el1,
        name::MAIR_EL1 => &mut sys.mair_el1,
        name::AMAIR_EL1 => &mut sys.amair_el1,
        name::VBAR_EL1 => &mut sys.vbar_el1,
        name::CONTEXTIDR_EL1 => &mut sys.contextidr_el1,
        name::TPIDR_EL0 => &mut sys.tpidr_el0,
        name::TPIDRRO_EL0 => &mut sys.tpidrro_el0,
        name::TPIDR_EL1 => &mut sys.tpidr_el1,
        name::CSSELR_EL1 => &mut sys.csselr_el1,
        name::CNTKCTL_EL1 => &mut sys.cntkctl_el1,
        _ => return None,
    })
}

const _: () = assert!(nzcv::N == 1 << 31 && pstate::NZCV == 0xf << 28);
