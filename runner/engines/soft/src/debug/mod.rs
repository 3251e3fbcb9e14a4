//! Debugging: of the guest by itself, and from outside.
//!
//! Self-hosted debug (Arm ARM D2) is here whole: [`step`], [`breakpoint`] and [`watchpoint`] each raise one kind of
//! debug exception; this module says when any of them may. All of it is read from the registers themselves when it is
//! asked for, and it is asked for out of line alone: a guest that debugs nothing runs as if nothing of this were there.
//!
//! [`stops`] has nothing to do with the guest's own debugging: there a debugger outside stops a vCPU.

pub mod breakpoint;
pub mod step;
pub mod stops;
pub mod watchpoint;

use crate::core::{Core, pstate};

/// MDSCR_EL1 bits (Arm ARM D24.3.18).
pub mod mdscr {
    /// Software step.
    pub const SS: u64 = 1 << 0;
    /// The receive or transmit register of the debug communications channel failed.
    pub const ERR: u64 = 1 << 6;
    /// EL0's accesses to the debug communications channel are trapped.
    pub const TDCC: u64 = 1 << 12;
    /// Debug exceptions from EL1.
    pub const KDE: u64 = 1 << 13;
    /// Halting debug.
    pub const HDE: u64 = 1 << 14;
    /// Breakpoints and watchpoints.
    pub const MDE: u64 = 1 << 15;
    /// What a debugger writes whether or not the OS lock is set.
    pub const WRITABLE: u64 = SS | TDCC | KDE | MDE;
    /// What software that saves the processor's state restores besides while the OS lock is set: the external debugger's
    /// ERR, HDE, TDA, INTdis, TXU, RXO, TXfull and RXfull.
    pub const WRITABLE_LOCKED: u64 = WRITABLE | ERR | HDE | 7 << 21 | 3 << 26 | 3 << 29;
}

/// Fault status code of every debug exception (Arm ARM D24.2.40, IFSC and DFSC).
pub const DEBUG_STATUS: u32 = 0b10_0010;

/// The fields that breakpoint and watchpoint control registers have in common (Arm ARM D24.3.2, D24.3.11).
pub(crate) mod control {
    /// E: enabled.
    pub const E: u64 = 1 << 0;
    /// PMC or PAC, the levels that are meant: EL1 and EL0.
    pub const EL1: u64 = 1 << 1;
    pub const EL0: u64 = 1 << 2;
    /// HMC and SSC. With neither EL2 nor EL3 any value but 0 is reserved (Arm ARM D2.8.4, D2.10.3).
    pub const STATES: u64 = 1 << 13 | 3 << 14;

    /// Whether a breakpoint or watchpoint with this control register is on for any level. A reserved value turns it off,
    /// which is one of the choices that there are (Arm ARM K1.2, "RESBPWPCTRL").
    pub fn is_on(control: u64) -> bool {
        control & E != 0 && control & (EL1 | EL0) != 0 && control & STATES == 0
    }

    /// Whether it is on for an access or fetch made as EL0, or not.
    pub fn is_on_for(control: u64, el0: bool) -> bool {
        is_on(control) && control & (if el0 { EL0 } else { EL1 }) != 0
    }

    /// LBN: the breakpoint that it is linked to, if it is.
    pub fn linked(control: u64) -> usize {
        (control >> 16 & 15) as usize
    }

    /// Address bits that are compared; the ones above only extend the sign (Arm ARM D24.3.3, "RESS").
    pub const VA: u64 = (1 << 49) - 1;
}

impl Core {
    /// Whether the OS lock or the OS double lock turns every debug exception off but that of BRK (Arm ARM D2.4.1, H6.2).
    /// DBGPRCR_EL1.CORENPDRQ, which would open the double lock, is never set.
    pub fn debug_locked(&self) -> bool {
        self.sys.os_lock || self.sys.osdlr_el1 & 1 != 0
    }

    /// Whether debug exceptions other than that of BRK are enabled at a level, with PSTATE.D in `daif` (Arm ARM D2.4,
    /// GenerateDebugExceptionsFrom). They are taken to EL1: from EL0 whatever D says, from EL1 if KDE asks for it.
    pub fn debug_exceptions_from(&self, el0: bool, daif: u64) -> bool {
        !self.debug_locked() && (el0 || (self.sys.mdscr_el1 & mdscr::KDE != 0 && daif & pstate::D == 0))
    }

    /// Whether debug exceptions other than that of BRK are enabled here.
    pub fn debug_exceptions(&self) -> bool {
        self.debug_exceptions_from(self.el0, self.daif)
    }

    /// Whether any breakpoint or watchpoint may match here or elsewhere.
    #[inline(always)]
    pub fn monitors_enabled(&self) -> bool {
        self.sys.mdscr_el1 & mdscr::MDE != 0
    }
}
