//! What the program does when it is told to stop.
//!
//! Nothing is tidied up: all that a reader of the store can see was put there whole, what was fetched so far is the
//! beginning of the next fetch, and the next process removes the rest ([`store`]). So it can stop at any moment.

use std::io::{self, IsTerminal, Write};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// From now on, a signal to stop ends the program with a word on what is left, and with the exit code that shells give
/// for it.
pub fn watch() {
    // Without the handlers the signals end it, too, only without a word.
    let Ok(mut signals) = Signals::new([SIGHUP, SIGINT, SIGTERM]) else { return };
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            let mut stderr = io::stderr();
            // Below the bar that is there.
            let start = if stderr.is_terminal() { "\n" } else { "" };
            let text = "error: interrupted\nhint: nothing half-made is to be seen; the same again goes on from what was fetched";
            let _ = writeln!(stderr, "{start}{text}");
            std::process::exit(128 + signal);
        }
    });
}
