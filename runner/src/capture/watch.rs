//! When a guest counts as ready and at rest.

use super::Ready;
use crate::console::Console;

/// How long the screen must have held still, in nanoseconds of guest time.
const STILL: u64 = 1_000_000_000;

/// How long a panicked kernel may still write about it.
const PANIC_GRACE: u64 = 5_000_000_000;

/// Watches a guest from one look to the next.
#[derive(Debug)]
pub struct Watch {
    ready: Ready,
    limit: u64,
    ready_at: Option<u64>,
    panicked_at: Option<u64>,
    screen: u64,
    screen_since: u64,
    /// Up to where the console has been searched.
    searched: u64,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Wait,
    /// Ready, and at rest.
    AtRest {
        /// When it was ready, in nanoseconds of guest time.
        ready_nanos: u64,
    },
    /// The limit is reached; what had not happened.
    TooLate(&'static str),
    /// The kernel panicked and has had its say.
    Panicked,
}

impl Watch {
    /// Watches for `ready`, at most `limit_seconds` of guest time.
    pub fn new(ready: &Ready, limit_seconds: u64) -> Self {
        Watch {
            ready: ready.clone(),
            limit: limit_seconds.saturating_mul(1_000_000_000),
            ready_at: None,
            panicked_at: None,
            screen: 0,
            screen_since: 0,
            searched: 0,
        }
    }

    /// Looks at guest time `now`, in nanoseconds: at the console, the number of
    /// the screen's picture, and whether every vCPU waits for an interrupt.
    pub fn look(&mut self, now: u64, console: &mut Console, screen: u64, idle: bool) -> Verdict {
        if screen != self.screen {
            self.screen = screen;
            self.screen_since = now;
        }
        if self.ready_at.is_none() {
            let Ready::Console(text) = &self.ready;
            // The text may have begun before the last look.
            let from = self.searched.saturating_sub(text.len() as u64);
            if console.position() != self.searched && console.find(text, from).is_some() {
                self.ready_at = Some(now);
            }
            self.searched = console.position();
        }
        if console.panicked() {
            let since = *self.panicked_at.get_or_insert(now);
            let over = idle || now - since >= PANIC_GRACE || now >= self.limit;
            return if over { Verdict::Panicked } else { Verdict::Wait };
        }
        let still = self.ready_at.is_some_and(|ready| now - ready.max(self.screen_since) >= STILL);
        match self.ready_at {
            Some(ready_nanos) if still && idle => Verdict::AtRest { ready_nanos },
            _ if now < self.limit => Verdict::Wait,
            None => Verdict::TooLate("it had not said that it was ready"),
            Some(_) if !still => Verdict::TooLate("it was ready, but its screen had not held still"),
            Some(_) => Verdict::TooLate("it was ready, but its processors had not come to rest"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn watch() -> (Watch, Console) {
        (Watch::new(&Ready::Console("ready".into()), 60), Console::default())
    }

    #[test]
    fn ready_then_still_then_idle() {
        let (mut watch, mut console) = watch();
        assert_eq!(watch.look(SECOND, &mut console, 0, true), Verdict::Wait, "idle is not ready");
        console.push(b"rea");
        assert_eq!(watch.look(2 * SECOND, &mut console, 1, true), Verdict::Wait);
        console.push(b"dy");
        assert_eq!(watch.look(5 * SECOND, &mut console, 2, true), Verdict::Wait, "just ready");
        assert_eq!(watch.look(5 * SECOND + SECOND / 2, &mut console, 3, true), Verdict::Wait);
        assert_eq!(watch.look(6 * SECOND, &mut console, 3, true), Verdict::Wait, "just painted");
        assert_eq!(watch.look(7 * SECOND, &mut console, 3, false), Verdict::Wait, "busy");
        let at_rest = Verdict::AtRest { ready_nanos: 5 * SECOND };
        assert_eq!(watch.look(8 * SECOND, &mut console, 3, true), at_rest);
    }

    #[test]
    fn a_guest_without_a_screen_can_be_at_rest() {
        let (mut watch, mut console) = watch();
        console.push(b"ready\n");
        watch.look(SECOND, &mut console, 0, true);
        let at_rest = Verdict::AtRest { ready_nanos: SECOND };
        assert_eq!(watch.look(2 * SECOND, &mut console, 0, true), at_rest);
    }

    #[test]
    fn too_late_says_what_was_missing() {
        let missing = |ready: bool, last_paint: u64| {
            let (mut watch, mut console) = watch();
            if ready {
                console.push(b"ready");
            }
            watch.look(SECOND, &mut console, 0, false);
            watch.look(last_paint, &mut console, 1, false);
            match watch.look(60 * SECOND, &mut console, 1, false) {
                Verdict::TooLate(what) => what,
                other => panic!("{other:?}"),
            }
        };
        assert!(missing(false, SECOND).contains("not said"));
        assert!(missing(true, 60 * SECOND).contains("still"));
        assert!(missing(true, 2 * SECOND).contains("rest"));
    }

    #[test]
    fn a_panic_is_heard_out() {
        let (mut watch, mut console) = watch();
        console.push(b"ready Kernel panic - not syncing");
        assert_eq!(watch.look(SECOND, &mut console, 0, false), Verdict::Wait);
        assert_eq!(watch.look(2 * SECOND, &mut console, 0, false), Verdict::Wait);
        assert_eq!(watch.look(6 * SECOND, &mut console, 0, false), Verdict::Panicked);
        console.push(b"more");
        assert_eq!(watch.look(2 * SECOND, &mut console, 0, true), Verdict::Panicked);
    }
}
