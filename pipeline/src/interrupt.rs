//! What the program does when it is told to stop.
//!
//! Little is tidied up: all that a reader of the store can see was put there whole, what was fetched so far is the
//! beginning of the next fetch, and the next process removes the rest ([`store`]). So it can stop at any moment, but for
//! the few in which a file is written elsewhere ([`put_off`]). Only other programs that work for this one are ended, and
//! what they made is removed ([`crate::workshop`]).

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::workshop;

static PUT_OFF: Mutex<()> = Mutex::new(());

/// Puts the end by a signal off for as long as this value lives: for what is soon done, and would leave a half-written
/// file where nobody tidies up.
pub fn put_off() -> MutexGuard<'static, ()> {
    PUT_OFF.lock().unwrap_or_else(PoisonError::into_inner)
}

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
            let _nobody_works_on = workshop::close_all();
            let _nothing_is_being_written = put_off();
            std::process::exit(128 + signal);
        }
    });
}
