//! Exceptions that the machine has the guest take (Arm ARM D1.3): what hardware does by itself on real memory.

use machine::cpu_state::PSTATE_EL1H_MASKED;

/// PSTATE bits that outlive the entry to an exception: N, Z, C, V and PAN.
const KEPT: u64 = 0xf000_0000 | PAN;
const PAN: u64 = 1 << 22;
/// PSTATE.M: the exception level and the stack pointer (Arm ARM C5.2.18).
const MODE: u64 = 0xf;
const EL0T: u64 = 0;
const EL1H: u64 = 5;
/// SCTLR_EL1.SPAN: PAN stays as it is.
const SPAN: u64 = 1 << 23;

/// Exception classes, ESR_ELx.EC (Arm ARM D24.2.40).
pub(crate) mod class {
    pub(crate) const UNKNOWN: u64 = 0x00;
    pub(crate) const WFX: u64 = 0x01;
    pub(crate) const HVC: u64 = 0x16;
    pub(crate) const SMC: u64 = 0x17;
    pub(crate) const SYSTEM_REGISTER: u64 = 0x18;
    pub(crate) const INSTRUCTION_ABORT_LOWER: u64 = 0x20;
    pub(crate) const DATA_ABORT_LOWER: u64 = 0x24;
    /// What to add for an abort taken from the level that it is taken to.
    pub(crate) const SAME_LEVEL: u64 = 1;
}

/// ESR_ELx.EC is in bits 31 to 26, IL below it.
pub(crate) const CLASS_SHIFT: u32 = 26;
const IL: u64 = 1 << 25;

/// Synchronous external abort, not on a translation table walk (Arm ARM D24.2.40, DFSC and IFSC).
const EXTERNAL: u64 = 0b01_0000;
/// The same on a walk, at level 0.
const EXTERNAL_ON_WALK: u64 = 0b01_0100;
/// Syndrome bit of a data abort: the access was a write.
const WNR: u64 = 1 << 6;

/// An exception for EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exception {
    /// ESR_EL1 as it is from EL0; an abort from EL1 has another class.
    syndrome: u64,
    /// FAR_EL1, if the class has one.
    pub(crate) address: Option<u64>,
}

/// What decides how an exception is entered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Before {
    /// PSTATE in the format of SPSR_EL1.
    pub(crate) pstate: u64,
    pub(crate) sctlr_el1: u64,
    pub(crate) vbar_el1: u64,
}

/// What entering it changes beside SPSR_EL1, ELR_EL1 and FAR_EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entered {
    pub(crate) pstate: u64,
    pub(crate) pc: u64,
    pub(crate) esr_el1: u64,
}

impl Exception {
    /// The instruction is UNDEFINED.
    pub(crate) fn undefined() -> Self {
        Exception { syndrome: class::UNKNOWN << CLASS_SHIFT | IL, address: None }
    }

    /// A load or store at `address` reached nothing.
    pub(crate) fn data_abort(address: u64, write: bool, on_walk: bool) -> Self {
        let status = if on_walk { EXTERNAL_ON_WALK } else { EXTERNAL };
        let syndrome = class::DATA_ABORT_LOWER << CLASS_SHIFT | IL | status | if write { WNR } else { 0 };
        Exception { syndrome, address: Some(address) }
    }

    /// There is no memory to fetch the instruction at `address` from.
    pub(crate) fn instruction_abort(address: u64, on_walk: bool) -> Self {
        let status = if on_walk { EXTERNAL_ON_WALK } else { EXTERNAL };
        Exception {
            syndrome: class::INSTRUCTION_ABORT_LOWER << CLASS_SHIFT | IL | status,
            address: Some(address),
        }
    }

    /// Entering EL1 for it.
    pub(crate) fn enter(self, before: Before) -> Entered {
        let mode = before.pstate & MODE;
        // Offsets of the vectors (Arm ARM D1.3.1.5).
        let vector = match mode {
            EL0T => 0x400,
            EL1H => 0x200,
            _ => 0,
        };
        let abort = self.address.is_some();
        let level = if abort && mode != EL0T { class::SAME_LEVEL << CLASS_SHIFT } else { 0 };
        let pan = if before.sctlr_el1 & SPAN == 0 { PAN } else { 0 };
        Entered {
            pstate: before.pstate & KEPT | pan | PSTATE_EL1H_MASKED,
            pc: (before.vbar_el1 & !0x7ff) + vector,
            esr_el1: self.syndrome + level,
        }
    }
}

/// Whether `pstate` is of EL0.
pub(crate) fn is_el0(pstate: u64) -> bool {
    pstate & MODE == EL0T
}
