//! The guest's counter: `CNTVCT_EL0 = mach_absolute_time() - vtimer_offset` (hv_vcpu_set_vtimer_offset).

use std::sync::{Mutex, PoisonError};

use machine::{
    clock::{HostClock, ticks_from_nanos},
    engine::EngineError,
    layout::COUNTER_HZ,
};

use crate::error::lacking;

unsafe extern "C" {
    /// The host's counter in ticks, from any thread (`mach/mach_time.h`).
    safe fn mach_absolute_time() -> u64;
}

/// Looks at both clocks until one finds little time between them.
const LOOKS: usize = 16;

/// One offset for all vCPUs of a machine: a counter that differs between them by even a tick runs backwards for a guest.
#[derive(Default)]
pub(crate) struct Counter(Mutex<Option<(HostClock, u64)>>);

impl Counter {
    /// The offset with which the guest's counter shows what `clock` does. Whoever asks for the same clock gets the same.
    ///
    /// The counter is never behind the clock: the machine takes a deadline that its clock has reached for one that
    /// raised the interrupt, and the guest, which looks at its counter, would find none. It is ahead by the little that
    /// passes between two looks; then the framework reports the timer again until the clock is there.
    pub(crate) fn offset(&self, clock: HostClock) -> u64 {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, offset)) = *known
            && of == clock
        {
            return offset;
        }
        let look = || {
            let before = mach_absolute_time();
            let ticks = ticks_from_nanos(clock.nanos()) + 1;
            (mach_absolute_time() - before, before.wrapping_sub(ticks))
        };
        let (_, offset) = (0..LOOKS).map(|_| look()).min().unwrap_or_else(look);
        *known = Some((clock, offset));
        offset
    }
}

/// Checks that a guest's counter has the machine's frequency here, before there is a guest.
///
/// The framework can neither set nor tell CNTFRQ_EL0: a guest is shown what this process is. macOS shows it 24 MHz, as
/// all Apple silicon counts, but 1 GHz on newer processors (Armv8.6 wants that) if the program was linked with a newer
/// SDK. A captured guest knows 24 MHz by heart.
pub(crate) fn check_frequency() -> Result<(), EngineError> {
    refuse_other_than_ours(frequency())
}

fn refuse_other_than_ours(hz: u64) -> Result<(), EngineError> {
    if hz == COUNTER_HZ {
        return Ok(());
    }
    Err(lacking(format!(
        "macOS lets this program's counter run at {hz} Hz, the machine's runs at {COUNTER_HZ} Hz; `runner doctor` says \
         how to mark the program for an older SDK"
    )))
}

/// CNTFRQ_EL0 of this process.
#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
fn frequency() -> u64 {
    let hz: u64;
    // SAFETY: reads a register that EL0 may read, and changes nothing.
    unsafe { std::arch::asm!("mrs {}, cntfrq_el0", out(reg) hz, options(nomem, nostack, preserves_flags)) };
    hz
}

/// The stand-in counts like Apple silicon.
#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
fn frequency() -> u64 {
    COUNTER_HZ
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_follows_the_clock_closely_and_never_behind() {
        let clock = HostClock::starting_at(1 << 50);
        let counter = Counter::default();
        let offset = counter.offset(clock);
        for _ in 0..10_000 {
            let clock_says = ticks_from_nanos(clock.nanos());
            let counter_says = mach_absolute_time().wrapping_sub(offset);
            assert!(counter_says >= clock_says);
            assert!(counter_says - clock_says < COUNTER_HZ, "a second, between two statements");
        }
        assert_eq!(counter.offset(clock), offset);
        assert_ne!(counter.offset(HostClock::starting_at(7)), offset);
    }

    #[test]
    fn another_frequency_is_refused_by_name() {
        assert!(refuse_other_than_ours(24_000_000).is_ok());
        let error = refuse_other_than_ours(1_000_000_000).unwrap_err().to_string();
        assert!(error.contains("1000000000 Hz") && error.contains("doctor"), "{error}");
    }
}
