//! The terminal that serves a guest as its serial console: raw while the guest
//! has it, and put back however the program ends.

use std::{
    io::{self, Read},
    sync::{Mutex, PoisonError},
};

use rustix::termios::{self, OptionalActions, Termios};

/// Ctrl-A, which starts a command to us instead of the guest.
pub const ESCAPE: u8 = 0x01;

/// The settings to go back to. Static, because a panic hook must reach them.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Standard input in raw mode, until dropped.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Makes standard input raw, if it is a terminal.
    ///
    /// # Errors
    /// If it is one and refuses.
    pub fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !termios::isatty(&stdin) {
            return Ok(None);
        }
        let saved = termios::tcgetattr(&stdin)?;
        let mut raw = saved.clone();
        raw.make_raw();
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        let hook = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            hook(info);
        }));
        termios::tcsetattr(&stdin, OptionalActions::Drain, &raw)?;
        Ok(Some(RawMode(())))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was before [`RawMode::enter`]; harmless when it
/// is not raw.
pub fn restore() {
    if let Some(saved) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // Not after the output has drained: a stopped terminal would hold us here for ever. And
        // nobody is left to tell if it has gone.
        let _ = termios::tcsetattr(io::stdin(), OptionalActions::Now, &saved);
    }
}

/// What a stretch of typed bytes means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Typed {
    /// For the guest.
    Guest(Vec<u8>),
    /// Ctrl-A x: leave.
    Leave,
}

/// Tells our commands from the guest's input: Ctrl-A x leaves, Ctrl-A Ctrl-A is
/// one Ctrl-A for the guest, and Ctrl-A before anything else goes with it.
#[derive(Debug, Default)]
pub struct EscapeFilter {
    escaped: bool,
}

impl EscapeFilter {
    /// Takes typed bytes in the order they came.
    pub fn push(&mut self, bytes: &[u8]) -> Typed {
        let mut guest = Vec::with_capacity(bytes.len());
        for &byte in bytes {
            match (std::mem::take(&mut self.escaped), byte) {
                (true, b'x' | b'X') => return Typed::Leave,
                (true, ESCAPE) => guest.push(ESCAPE),
                (true, _) => guest.extend([ESCAPE, byte]),
                (false, ESCAPE) => self.escaped = true,
                (false, _) => guest.push(byte),
            }
        }
        Typed::Guest(guest)
    }
}

/// Reads standard input to its end on a thread of its own and hands over what
/// was typed. The end of input ends only the thread: the guest lives on.
pub fn read_stdin(mut take: impl FnMut(Typed) + Send + 'static, escapes: bool) {
    // Not joined: nothing can interrupt its read, and it holds nothing.
    std::thread::spawn(move || {
        let mut filter = EscapeFilter::default();
        let mut buffer = [0; 1024];
        loop {
            match io::stdin().lock().read(&mut buffer) {
                Ok(0) => return,
                Ok(len) if escapes => match filter.push(&buffer[..len]) {
                    Typed::Guest(bytes) if bytes.is_empty() => {}
                    typed => take(typed),
                },
                Ok(len) => take(Typed::Guest(buffer[..len].to_vec())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn guest(bytes: &[u8]) -> Typed {
        Typed::Guest(bytes.to_vec())
    }

    #[test]
    fn escapes() {
        let mut filter = EscapeFilter::default();
        assert_eq!(filter.push(b"ls\r"), guest(b"ls\r"));
        assert_eq!(filter.push(b"a\x01\x01b"), guest(b"a\x01b"));
        assert_eq!(filter.push(b"\x01c"), guest(b"\x01c"));
        assert_eq!(filter.push(b"\x01"), guest(b""));
        assert_eq!(filter.push(b"x"), Typed::Leave);
    }

    proptest! {
        #[test]
        fn without_ctrl_a_everything_is_the_guests(bytes in proptest::collection::vec(2u8.., 0..50)) {
            prop_assert_eq!(EscapeFilter::default().push(&bytes), Typed::Guest(bytes));
        }
    }
}
