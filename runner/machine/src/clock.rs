//! Time and entropy as the machine sees them.
//!
//! The machine's only time is the guest's counter: ticks of
//! [`COUNTER_HZ`](crate::layout::COUNTER_HZ) since the guest was made. A
//! scheduler passes it in with every access, so a capture can make it a pure
//! function of retired instructions, and a live session can take it from the
//! host's clock ([`HostClock`]).

use std::time::Instant;

use crate::layout::COUNTER_HZ;

/// Guest counter value (CNTVCT_EL0): ticks at 24 MHz since the machine was made.
pub type Ticks = u64;

/// Whole seconds in `ticks`.
pub fn seconds(ticks: Ticks) -> u64 {
    ticks / COUNTER_HZ
}

/// Converts nanoseconds to counter ticks, rounding down.
pub fn ticks_from_nanos(nanos: u64) -> Ticks {
    (u128::from(nanos) * u128::from(COUNTER_HZ) / 1_000_000_000) as Ticks
}

/// Nanoseconds at which the counter first shows `ticks`: the inverse of
/// [`ticks_from_nanos`], rounding up.
pub fn nanos_until(ticks: Ticks) -> u64 {
    (u128::from(ticks) * 1_000_000_000).div_ceil(u128::from(COUNTER_HZ)).min(u128::from(u64::MAX)) as u64
}

/// Guest time that runs with the host's clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostClock {
    epoch: Instant,
    guest: u64,
}

impl HostClock {
    /// A clock that shows `guest` nanoseconds now.
    pub fn starting_at(guest: u64) -> Self {
        HostClock { epoch: Instant::now(), guest }
    }

    /// The clock that shows `nanos` more, or less where that is negative.
    #[must_use]
    pub fn shifted(self, nanos: i64) -> Self {
        // From now on, for what this clock showed at its beginning may be less than what is taken off.
        let epoch = Instant::now();
        let since = u64::try_from(epoch.saturating_duration_since(self.epoch).as_nanos()).unwrap_or(u64::MAX);
        HostClock { epoch, guest: self.guest.saturating_add(since).saturating_add_signed(nanos) }
    }

    /// Guest time in nanoseconds. It never goes back, on whatever thread it is asked.
    pub fn nanos(&self) -> u64 {
        let since = u64::try_from(self.epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.guest.saturating_add(since)
    }
}

/// Where the machine's random bytes come from: the host's entropy for a live
/// session, a fixed stream for a capture.
pub trait Entropy: Send {
    /// Fills `buf` with random bytes.
    fn fill(&mut self, buf: &mut [u8]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nanos_until_is_the_first_instant_that_shows_the_ticks() {
        for t in [0u64, 1, 2, 3, 23, 24, 25, 1_000_003, u32::MAX as u64 * 7] {
            let n = nanos_until(t);
            assert_eq!(ticks_from_nanos(n), t);
            if n > 0 {
                assert!(ticks_from_nanos(n - 1) < t);
            }
        }
    }
}
