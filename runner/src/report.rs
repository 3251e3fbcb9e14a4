//! What a restore cost: microseconds per phase, and the memory that a session
//! owns.

use std::{
    fs, io,
    path::Path,
    time::{Duration, Instant},
};

use serde::Serialize;

/// Microseconds from the start of `main` to the end of each phase of a restore,
/// and the memory figures at the end of the session.
///
/// `main` is the earliest instant that a process can time finely; what the
/// kernel and the loader need before it is not in these figures.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The manifest and the state were read and checked.
    pub opened_us: Option<u64>,
    /// The guest's memory was mapped.
    pub mapped_us: Option<u64>,
    /// The devices were built.
    pub devices_us: Option<u64>,
    /// The state was in the devices and vCPUs: the screen is known.
    pub state_us: Option<u64>,
    /// The guest ran.
    pub first_instruction_us: Option<u64>,
    /// The first frame was on the window, or, without one, at hand.
    pub first_frame_us: Option<u64>,
    /// How long each reset took, from the key to the running guest.
    pub resets_us: Vec<u64>,
    /// Their median; of an even number the lower of the two in the middle.
    pub reset_median_us: Option<u64>,
    /// Memory of this process.
    pub memory: Option<MemoryUse>,
}

/// Memory of this process in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MemoryUse {
    /// Resident, with pages that siblings share.
    pub resident: u64,
    /// Changed by this process alone: what one more session really costs.
    pub private_dirty: u64,
}

/// Times the phases of one start.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    /// Starts now.
    pub fn start() -> Self {
        Stopwatch(Instant::now())
    }

    /// Microseconds since the start.
    pub fn elapsed_us(&self) -> u64 {
        self.at_us(Instant::now())
    }

    /// Microseconds from the start to `at`.
    pub fn at_us(&self, at: Instant) -> u64 {
        micros(at.saturating_duration_since(self.0))
    }
}

/// `duration` in whole microseconds.
pub fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Report {
    /// Notes how long each reset took.
    pub fn set_resets(&mut self, resets: &[Duration]) {
        self.resets_us = resets.iter().copied().map(micros).collect();
        let mut sorted = self.resets_us.clone();
        sorted.sort_unstable();
        self.reset_median_us = sorted.get(sorted.len().saturating_sub(1) / 2).copied();
    }

    /// Writes the report as JSON.
    ///
    /// # Errors
    /// If the host refuses.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(io::Error::other)?;
        text.push('\n');
        fs::write(path, text)
    }
}

/// The memory of this process now, where the host tells.
#[cfg(not(target_os = "macos"))]
pub fn memory_use() -> Option<MemoryUse> {
    parse_smaps_rollup(&fs::read_to_string("/proc/self/smaps_rollup").ok()?)
}

/// The memory of this process now. What it alone has changed is what macOS calls its footprint, compressed pages
/// included.
#[cfg(target_os = "macos")]
pub fn memory_use() -> Option<MemoryUse> {
    let mut usage = std::mem::MaybeUninit::<libc::rusage_info_v2>::zeroed();
    // SAFETY: the flavour says that a rusage_info_v2 is written, and there is room for one.
    let usage = unsafe {
        let into = usage.as_mut_ptr().cast::<libc::rusage_info_t>();
        if libc::proc_pid_rusage(libc::getpid(), libc::RUSAGE_INFO_V2, into) != 0 {
            return None;
        }
        usage.assume_init()
    };
    Some(MemoryUse { resident: usage.ri_resident_size, private_dirty: usage.ri_phys_footprint })
}

/// Reads what proc(5) describes under /proc/pid/smaps_rollup.
#[cfg(any(test, not(target_os = "macos")))]
fn parse_smaps_rollup(text: &str) -> Option<MemoryUse> {
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(MemoryUse { resident: field("Rss")?, private_dirty: field("Private_Dirty")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_resets() {
        let mut report = Report::default();
        for (resets, median) in
            [(&[][..], None), (&[7], Some(7)), (&[9, 1, 5, 4], Some(4)), (&[3, 1, 2], Some(2))]
        {
            let resets: Vec<_> = resets.iter().map(|us| Duration::from_micros(*us)).collect();
            report.set_resets(&resets);
            assert_eq!((report.resets_us.len(), report.reset_median_us), (resets.len(), median));
        }
    }

    #[test]
    fn smaps_rollup() {
        let text = "55d0-7ffe ---p 00000000 00:00 0    [rollup]\nRss:                2048 kB\n\
                    Pss_Dirty:            12 kB\nPrivate_Dirty:       512 kB\n";
        assert_eq!(parse_smaps_rollup(text), Some(MemoryUse { resident: 2 << 20, private_dirty: 512 << 10 }));
        assert_eq!(parse_smaps_rollup("Rss: 1 kB\n"), None);
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    fn this_process_owns_what_it_touches() {
        let before = memory_use().unwrap();
        let touched = std::hint::black_box(vec![0x5au8; 32 << 20]);
        let after = memory_use().unwrap();
        assert!(after.private_dirty >= before.private_dirty + (24 << 20), "{before:?} {after:?}");
        drop(touched);
    }
}
