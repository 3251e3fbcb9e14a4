//! What the guest wrote to its serial console: the last lines, the text that
//! scripts and captures wait for, and whether the kernel panicked.

use std::collections::VecDeque;

/// Lines that are kept for a report.
pub const KEPT_LINES: usize = 40;

/// Bytes of a line that are kept; the guest may write for ever without a newline.
const MAX_LINE: usize = 1024;

/// Bytes of output that can still be searched.
const KEPT_BYTES: usize = 256 * 1024;

/// What Linux prints when it panics (`kernel/panic.c`).
const PANIC: &[u8] = b"Kernel panic - not syncing";

/// The console's recent output.
#[derive(Debug, Default)]
pub struct Console {
    lines: VecDeque<String>,
    partial: Vec<u8>,
    recent: VecDeque<u8>,
    /// Bytes ever written.
    written: u64,
    panicked: bool,
}

impl Console {
    /// Takes what the guest wrote, and returns the lines that it completed.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut completed = Vec::new();
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = printable(&self.partial);
                    self.partial.clear();
                    if self.lines.len() == KEPT_LINES {
                        self.lines.pop_front();
                    }
                    self.lines.push_back(line.clone());
                    completed.push(line);
                }
                _ if self.partial.len() < MAX_LINE => {
                    self.partial.push(byte);
                    if byte == PANIC[PANIC.len() - 1] && self.partial.ends_with(PANIC) {
                        self.panicked = true;
                    }
                }
                _ => {}
            }
        }
        let tail = &bytes[bytes.len().saturating_sub(KEPT_BYTES)..];
        let excess = (self.recent.len() + tail.len()).saturating_sub(KEPT_BYTES);
        self.recent.drain(..excess);
        self.recent.extend(tail);
        self.written += bytes.len() as u64;
        completed
    }

    /// Bytes ever written: a position for [`Console::find`].
    pub fn position(&self) -> u64 {
        self.written
    }

    /// Where `text` ends in the output after position `from`, if it is there
    /// and not so long ago that it is forgotten.
    pub fn find(&mut self, text: &str, from: u64) -> Option<u64> {
        let forgotten = self.written - self.recent.len() as u64;
        let start = from.saturating_sub(forgotten).min(self.recent.len() as u64) as usize;
        let recent = &self.recent.make_contiguous()[start..];
        let at = find(recent, text.as_bytes())?;
        Some(forgotten + (start + at + text.len()) as u64)
    }

    /// The recent output, as it came.
    pub fn recent(&self) -> Vec<u8> {
        self.recent.iter().copied().collect()
    }

    /// Whether the guest's kernel has said that it panicked.
    pub fn panicked(&self) -> bool {
        self.panicked
    }

    /// Forgets that the kernel panicked: the guest has been reset.
    pub fn forget_panic(&mut self) {
        self.panicked = false;
        self.partial.clear();
    }

    /// The last lines, with the unfinished one; control characters escaped.
    pub fn last_lines(&self) -> Vec<String> {
        let mut lines: Vec<_> = self.lines.iter().cloned().collect();
        if !self.partial.is_empty() {
            lines.push(printable(&self.partial));
        }
        lines
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (first, rest) = needle.split_first()?;
    let mut start = 0;
    while let Some(at) = haystack[start..].iter().position(|b| b == first) {
        if haystack[start + at + 1..].starts_with(rest) {
            return Some(start + at);
        }
        start += at + 1;
    }
    None
}

/// `bytes` as text that can't move a terminal's cursor or change its colours.
fn printable(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for c in String::from_utf8_lossy(bytes).trim_end_matches('\r').chars() {
        if c.is_control() && c != '\t' {
            text.extend(c.escape_default());
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_completed_by_newlines() {
        let mut console = Console::default();
        assert!(console.push(b"boot").is_empty());
        assert_eq!(console.push(b"ing\r\nnext\n\x1b[31mred"), ["booting", "next"]);
        assert_eq!(console.last_lines(), ["booting", "next", "\\u{1b}[31mred"]);
    }

    #[test]
    fn only_the_last_lines_are_kept() {
        let mut console = Console::default();
        for i in 0..1000 {
            console.push(format!("{i}\n").as_bytes());
        }
        let lines = console.last_lines();
        assert_eq!(lines.len(), KEPT_LINES);
        assert_eq!(lines.last().map(String::as_str), Some("999"));
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let mut console = Console::default();
        for _ in 0..1000 {
            console.push(&[b'x'; 4096]);
        }
        assert_eq!(console.last_lines(), ["x".repeat(MAX_LINE)]);
        assert_eq!(console.recent.len(), KEPT_BYTES);
        assert_eq!(console.position(), 4_096_000);
    }

    #[test]
    fn text_is_found_after_a_position() {
        let mut console = Console::default();
        console.push(b"rea");
        assert_eq!(console.find("ready", 0), None);
        console.push(b"dy\nready\n");
        assert_eq!(console.find("ready", 0), Some(5));
        assert_eq!(console.find("ready", 5), Some(11));
        assert_eq!(console.find("ready", 11), None);
        assert_eq!(console.find("ready", 99), None);
        assert_eq!(console.find("", 0), None);
    }

    #[test]
    fn forgotten_text_is_not_found_but_positions_hold() {
        let mut console = Console::default();
        console.push(b"old ");
        console.push(&vec![b'-'; KEPT_BYTES - 3]);
        console.push(b"new");
        assert_eq!(console.find("old", 0), None);
        assert_eq!(console.find("new", 0), Some(KEPT_BYTES as u64 + 4));
    }

    #[test]
    fn a_panic_is_seen_even_in_pieces() {
        let mut console = Console::default();
        console.push(b"[    1.0] Kernel panic - not");
        assert!(!console.panicked());
        console.push(b" syncing: VFS");
        assert!(console.panicked());
    }

    proptest! {
        #[test]
        fn finding_is_what_str_says(text in "[ab]{0,40}", needle in "[ab]{1,4}", cut in 0usize..40) {
            let mut console = Console::default();
            let cut = cut.min(text.len());
            console.push(&text.as_bytes()[..cut]);
            console.push(&text.as_bytes()[cut..]);
            prop_assert_eq!(console.find(&needle, 0), text.find(&needle).map(|at| (at + needle.len()) as u64));
        }

        #[test]
        fn nothing_printable_is_a_control_character(bytes: Vec<u8>) {
            let mut console = Console::default();
            console.push(&bytes);
            for line in console.last_lines() {
                prop_assert!(!line.chars().any(|c| c.is_control() && c != '\t'));
            }
        }
    }
}
