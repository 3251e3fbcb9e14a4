//! When the window's new size becomes the guest's.

use std::time::{Duration, Instant};

/// How long the window must have kept a size. A window that is drawn by its edge has another one every few
/// milliseconds, and each costs the guest a whole new screen.
const SETTLED: Duration = Duration::from_millis(40);

/// Below this a guest has no use for its screen: the window then shows it smaller.
const LEAST: (u32, u32) = (320, 240);

/// What the window's size was, and what the guest was told.
#[derive(Debug)]
pub struct Resizing {
    /// The size of the guest's screen in the warm base, which a reset brings back.
    original: (u32, u32),
    told: (u32, u32),
    size: (u32, u32),
    since: Option<Instant>,
}

impl Resizing {
    /// A window of the size of the guest's screen.
    pub fn new(original: (u32, u32)) -> Self {
        Resizing { original, told: original, size: original, since: None }
    }

    /// Looks at the window's size at the time `now`; the size that the guest is to be told, if it is time.
    pub fn look(&mut self, size: (u32, u32), now: Instant) -> Option<(u32, u32)> {
        let size = (size.0.max(LEAST.0), size.1.max(LEAST.1));
        if size != self.size {
            self.size = size;
            self.since = Some(now);
        }
        let settled = self.since.is_none_or(|since| now.saturating_duration_since(since) >= SETTLED);
        if self.told == size || !settled {
            return None;
        }
        self.told = size;
        Some(size)
    }

    /// The guest's screen has its first size again; the window keeps its own.
    pub fn guest_was_reset(&mut self) {
        self.told = self.original;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_at_which_the_window_comes_to_rest_is_told_once() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut resizing = Resizing::new((1280, 800));
        assert_eq!(resizing.look((1280, 800), at(0)), None);
        for step in 0..10u32 {
            assert_eq!(resizing.look((1270 - step, 800), at(10 + 20 * u64::from(step))), None);
        }
        assert_eq!(resizing.look((1261, 800), at(300)), Some((1261, 800)));
        assert_eq!(resizing.look((1261, 800), at(400)), None);
        assert_eq!(resizing.look((10, 500), at(500)), None);
        assert_eq!(resizing.look((10, 500), at(600)), Some((320, 500)));
    }

    #[test]
    fn a_reset_guest_is_told_again() {
        let now = Instant::now();
        let later = now + SETTLED;
        let mut resizing = Resizing::new((1280, 800));
        assert_eq!(resizing.look((640, 480), now), None);
        assert_eq!(resizing.look((640, 480), later), Some((640, 480)));
        resizing.guest_was_reset();
        assert_eq!(resizing.look((640, 480), later), Some((640, 480)));
        let mut unchanged = Resizing::new((1280, 800));
        unchanged.guest_was_reset();
        assert_eq!(unchanged.look((1280, 800), later), None);
    }
}
