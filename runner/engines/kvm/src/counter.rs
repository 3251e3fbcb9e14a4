//! The guest's counter: `CNTVCT_EL0` is the host's physical counter less an offset, one for all vCPUs of a machine (KVM
//! API, KVM_ARM_SET_COUNTER_OFFSET). A counter that differs between them by even a tick runs backwards for a guest.

use machine::{
    clock::{HostClock, ticks_from_nanos},
    layout::COUNTER_HZ,
};

/// Looks at both clocks until one finds little time between them.
const LOOKS: usize = 16;

/// The offset with which the guest's counter shows what `clock` does, by `counter`, which reads the host's.
///
/// The counter is never behind the clock, by which the machine's devices go, and ahead by the little that passes
/// between two looks.
pub(crate) fn offset(clock: HostClock, counter: impl Fn() -> u64) -> u64 {
    let look = || {
        let before = counter();
        let ticks = ticks_from_nanos(clock.nanos()) + 1;
        (counter().wrapping_sub(before), before.wrapping_sub(ticks))
    };
    (0..LOOKS).map(|_| look()).min().unwrap_or_else(look).1
}

/// Checks that a guest's counter has the machine's frequency: it is the host's, `hz`, and a captured guest knows its own
/// by heart. KVM can't scale it.
///
/// # Errors
/// Says what it is here.
pub(crate) fn check_frequency(hz: u64) -> Result<(), String> {
    if hz == COUNTER_HZ {
        return Ok(());
    }
    Err(format!("this processor's counter runs at {hz} Hz, the machine's at {COUNTER_HZ} Hz"))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn the_counter_follows_the_clock_closely_and_never_behind() {
        let start = Instant::now();
        let counter = || ticks_from_nanos(start.elapsed().as_nanos() as u64).wrapping_add(u64::MAX - 1000);
        let clock = HostClock::starting_at(1 << 50);
        let offset = offset(clock, counter);
        for _ in 0..10_000 {
            let clock_says = ticks_from_nanos(clock.nanos());
            let counter_says = counter().wrapping_sub(offset);
            assert!(counter_says >= clock_says);
            assert!(counter_says - clock_says < COUNTER_HZ, "a second, between two statements");
        }
    }

    #[test]
    fn another_frequency_is_refused_by_name() {
        assert!(check_frequency(24_000_000).is_ok());
        let error = check_frequency(1_000_000_000).unwrap_err();
        assert!(error.contains("1000000000 Hz") && error.contains("24000000 Hz"), "{error}");
    }
}
