//! The private line to a program in the guest: what is said on it, and what comes back.
//!
//! One request a line, answered by one line: `open URL` has the browser show a page, and `ok` or `error: WHY` comes back.
//! The line is a virtio-console that only the browser's own code reads (guest-rootfs/browser/usr/lib/samovar/line), so
//! no page can speak on it.

use std::time::{Duration, Instant};

use crate::session::{Command, End, Handle};

/// Longest address that is sent, in bytes; Firefox shows no longer ones either, and the guest holds no more.
pub const MAX_URL: usize = 16 << 10;

/// Why a page was not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Nobody answered.
    #[error("the guest did not say within {} s that it opened the page", .0.as_secs_f64())]
    NoAnswer(Duration),
    /// The browser would not.
    #[error("the guest did not open the page: {0}")]
    Refused(String),
    /// The guest ended first.
    #[error("the session had ended")]
    Ended(End),
}

/// Checks that `url` is an address that can be said on the line.
///
/// # Errors
/// Says what is wrong with it.
pub fn parse_url(url: &str) -> Result<String, String> {
    if url.trim().is_empty() {
        return Err("the address is empty".into());
    }
    if url.len() > MAX_URL {
        return Err(format!("the address is longer than {MAX_URL} bytes"));
    }
    if url.contains(char::is_control) {
        return Err("the address has control characters".into());
    }
    Ok(url.trim().to_owned())
}

/// Has the guest's browser open `url`, which [`parse_url`] gave, and waits for its word at most `limit`. The page itself
/// comes later.
///
/// # Errors
/// If it does not say that it opened it.
pub fn open(session: &Handle, url: &str, limit: Duration) -> Result<(), OpenError> {
    let before = session.look(|state| state.line.position());
    session.send(Command::Line(format!("open {url}\n").into_bytes()));
    let answer = session.wait_until(Some(Instant::now() + limit), |state| {
        if let Some(end) = &state.end {
            return Some(Err(OpenError::Ended(end.clone())));
        }
        // The answer is the last line, once it is complete.
        state.line.find("\n", before)?;
        let last = state.line.last_lines().pop()?;
        match last.strip_prefix("error: ") {
            Some(why) => Some(Err(OpenError::Refused(why.to_owned()))),
            None => (last == "ok").then_some(Ok(())),
        }
    });
    answer.unwrap_or(Err(OpenError::NoAnswer(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::pair;

    /// What comes of opening a page in a guest that answers with `answer`.
    fn answered(answer: Option<&'static str>) -> (Result<(), OpenError>, Vec<Command>) {
        let (handle, seat) = pair();
        seat.show(|state| drop(state.line.push(b"error: an older one\n")));
        let guest = std::thread::spawn(move || {
            let mut heard = Vec::new();
            while heard.is_empty() {
                heard = seat.drain();
                std::thread::yield_now();
            }
            if let Some(answer) = answer {
                seat.show(|state| drop(state.line.push(answer.as_bytes())));
            }
            (heard, seat)
        });
        let result = open(&handle, "https://example.org/", Duration::from_millis(300));
        (result, guest.join().unwrap().0)
    }

    #[test]
    fn the_guest_has_the_last_word() {
        let (result, heard) = answered(Some("ok\n"));
        assert_eq!(result, Ok(()));
        assert_eq!(heard, [Command::Line(b"open https://example.org/\n".to_vec())]);
        let (result, _) = answered(Some("error: no window\n"));
        assert_eq!(result, Err(OpenError::Refused("no window".into())));
        for silence in [None, Some("o"), Some("ok"), Some("open https://example.org/\n")] {
            assert!(matches!(answered(silence).0, Err(OpenError::NoAnswer(_))));
        }
    }

    #[test]
    fn addresses_are_one_line() {
        assert_eq!(parse_url(" about:support ").unwrap(), "about:support");
        for wrong in ["", "  ", "http://a/\nopen http://b/", "http://a/\u{7f}", &"x".repeat(MAX_URL + 1)] {
            assert!(parse_url(wrong).is_err(), "{wrong:?}");
        }
    }
}
