//! Software step (Arm ARM D2.12): one instruction, then an exception.
//!
//! With MDSCR_EL1.SS set and debug exceptions enabled, PSTATE.SS tells where the state machine is: set, the next
//! instruction is stepped (active-not-pending); clear, the exception is due before the next one (active-pending). It is
//! due at once, so that it never waits from one run to the next and needs no more state than PSTATE.

use super::{DEBUG_STATUS, mdscr};
use crate::core::{Core, class, pstate};

/// How the software step exception comes to be due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stepped {
    /// Nothing was stepped, as after a return to the active-pending state.
    #[default]
    Nothing,
    /// An instruction was.
    Instruction,
    /// A load-exclusive was: its store can't succeed any more, and the debugger is told.
    LoadExclusive,
}

impl Stepped {
    /// ISV and EX of the syndrome (Arm ARM D24.2.40, ISS of a Software Step exception).
    fn syndrome(self) -> u32 {
        const ISV: u32 = 1 << 24;
        const EX: u32 = 1 << 6;
        match self {
            Stepped::Nothing => 0,
            Stepped::Instruction => ISV,
            Stepped::LoadExclusive => ISV | EX,
        }
    }
}

impl Core {
    /// Whether the next instruction is stepped: PSTATE.SS is set, and its completion clears it.
    #[inline(always)]
    pub fn is_stepping(&self) -> bool {
        self.sys.mdscr_el1 & mdscr::SS != 0 && self.ss
    }

    /// Whether the software step exception is due: the active-pending state (Arm ARM, CheckSoftwareStep).
    #[inline(always)]
    pub fn step_is_pending(&self) -> bool {
        self.sys.mdscr_el1 & mdscr::SS != 0 && !self.ss && self.debug_exceptions()
    }

    /// Before a stepped instruction.
    pub fn begin_step(&mut self) {
        if let Some(monitor) = &mut self.monitor {
            monitor.fresh = false;
        }
    }

    /// After a stepped instruction that completed, before the exception that it takes if it is SVC (Arm ARM, SSAdvance).
    pub fn advance_step(&mut self) {
        // Not if the instruction itself turned software step off.
        if self.sys.mdscr_el1 & mdscr::SS != 0 {
            self.ss = false;
            let exclusive = self.monitor.is_some_and(|monitor| monitor.fresh);
            self.stepped = if exclusive { Stepped::LoadExclusive } else { Stepped::Instruction };
        }
    }

    /// Takes the software step exception. It comes before any other that the next instruction could take (Arm ARM
    /// D1.3.5.6).
    #[cold]
    pub fn take_step(&mut self) {
        let class = if self.el0 { class::SOFTWARE_STEP_LOWER } else { class::SOFTWARE_STEP_SAME };
        self.take_exception(class, self.stepped.syndrome() | DEBUG_STATUS, None);
    }

    /// PSTATE.SS after an exception return from here to the level and with the mask that `spsr` has: that of `spsr` only
    /// if the return turns debug exceptions on (Arm ARM D2.12.4, DebugExceptionReturnSS).
    pub fn returned_ss(&self, spsr: u64, el0: bool) -> bool {
        self.sys.mdscr_el1 & mdscr::SS != 0
            && !self.debug_exceptions()
            && self.debug_exceptions_from(el0, spsr & pstate::DAIF)
            && spsr & pstate::SS != 0
    }
}

#[cfg(test)]
mod tests {
    use machine::memory::GuestMemory;

    use super::*;

    fn core(mdscr_el1: u64) -> Core {
        let mut core = Core::new(0, GuestMemory::anonymous(4096).unwrap());
        core.sys.mdscr_el1 = mdscr_el1;
        core
    }

    #[test]
    fn only_a_return_that_turns_debug_exceptions_on_restores_ss() {
        const TO_EL0: u64 = pstate::SS;
        const TO_EL1: u64 = pstate::SS | pstate::EL1H;
        let mut core = core(mdscr::SS);
        assert!(core.returned_ss(TO_EL0, true) && core.returned_ss(TO_EL0 | pstate::D, true));
        assert!(!core.returned_ss(0, true), "clear in SPSR");
        assert!(!core.returned_ss(TO_EL1, false), "no KDE");
        core.sys.mdscr_el1 = mdscr::SS | mdscr::KDE;
        assert!(core.returned_ss(TO_EL1, false) && core.returned_ss(TO_EL0, true));
        assert!(!core.returned_ss(TO_EL1 | pstate::D, false), "masked there");
        core.daif = 0;
        assert!(!core.returned_ss(TO_EL1, false) && !core.returned_ss(TO_EL0, true), "enabled here already");
        core.daif = pstate::D;
        core.sys.os_lock = true;
        assert!(!core.returned_ss(TO_EL0, true), "locked");
        core.sys.os_lock = false;
        core.sys.osdlr_el1 = 1;
        assert!(!core.returned_ss(TO_EL0, true), "locked twice");
        core.sys = machine::cpu_state::SysRegs { mdscr_el1: mdscr::KDE, ..Default::default() };
        assert!(!core.returned_ss(TO_EL0, true), "software step is off");
    }

    #[test]
    fn an_instruction_that_turns_software_step_off_leaves_ss() {
        let mut core = core(mdscr::KDE);
        core.ss = true;
        core.advance_step();
        assert!(core.ss && !core.step_is_pending());
    }
}
