//! Where a debugger outside the guest wants a vCPU to stop.
//!
//! Its breakpoints are virtual addresses, in whatever address space: a debugger sets them before the kernel has turned
//! translation on, and in processes that are not current. The block cache marks the word of a page that each of them
//! is, so code that holds none runs as it always does; code that does is looked up out of line, which ends here.

/// The breakpoints that a debugger outside has set on one vCPU.
#[derive(Debug, Default)]
pub struct Stops {
    /// Virtual addresses, in order.
    breakpoints: Vec<u64>,
    /// The breakpoint at which the last run ended: a resumed vCPU goes on from it.
    reported: Option<u64>,
}

impl Stops {
    /// Replaces the breakpoints.
    pub fn set_breakpoints(&mut self, addresses: &[u64]) {
        self.breakpoints = addresses.to_vec();
        self.breakpoints.sort_unstable();
        self.reported = None;
    }

    /// The virtual addresses of the breakpoints, in order.
    pub fn addresses(&self) -> &[u64] {
        &self.breakpoints
    }

    /// Whether a run that comes to `pc` ends there: not twice in a row for the same visit.
    pub fn stops_at(&mut self, pc: u64) -> bool {
        if self.breakpoints.binary_search(&pc).is_err() {
            return false;
        }
        let stops = self.reported != Some(pc);
        self.reported = stops.then_some(pc);
        stops
    }

    /// The vCPU is somewhere else from now on: a breakpoint at its new place counts.
    pub fn forget(&mut self) {
        self.reported = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_stops_once() {
        let mut stops = Stops::default();
        stops.set_breakpoints(&[0x2000, 0x1000]);
        assert!(!stops.stops_at(0x1004));
        assert!(stops.stops_at(0x1000));
        assert!(!stops.stops_at(0x1000), "resumed");
        assert!(stops.stops_at(0x1000), "the next visit");
        stops.forget();
        assert!(stops.stops_at(0x1000));
        assert!(stops.stops_at(0x2000) && !stops.stops_at(0x2000));
    }

    #[test]
    fn other_breakpoints_count_anew() {
        let mut stops = Stops::default();
        stops.set_breakpoints(&[0x1000]);
        assert!(stops.stops_at(0x1000));
        stops.set_breakpoints(&[0x1000]);
        assert!(stops.stops_at(0x1000));
    }
}
