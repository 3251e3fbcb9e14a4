//! What this processor says of itself to a program.

use std::arch::asm;

/// CNTFRQ_EL0: frequency of the counter in hertz.
pub(super) fn counter_frequency() -> u64 {
    let hz: u64;
    // SAFETY: reads a register that Linux lets every program read, and changes nothing.
    unsafe { asm!("mrs {}, cntfrq_el0", out(reg) hz, options(nomem, nostack, preserves_flags)) };
    hz
}

/// CNTVCT_EL0: the counter. Linux gives its programs the physical one, without an offset, where there is KVM.
pub(super) fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: reads a register that Linux lets every program read, and changes nothing. ISB keeps it from being read
    // early (Arm ARM D12.2.1).
    unsafe { asm!("isb", "mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags)) };
    ticks
}

/// DCZID_EL0: what DC ZVA clears.
pub(super) fn zeroing() -> u64 {
    let value: u64;
    // SAFETY: reads a register that every program may read (Arm ARM D24.2.40), and changes nothing.
    unsafe { asm!("mrs {}, dczid_el0", out(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}
