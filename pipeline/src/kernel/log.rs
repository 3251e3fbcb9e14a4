//! What another program says while it works: all of it in a file, the end of it for a message, and the last line for the
//! display.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

/// How many lines of the end are kept for a message.
const TAIL: usize = 20;

/// The longest line that is looked at in one piece.
const MAX_LINE: u64 = 1 << 14;

/// The most that is written to the file; a kernel's own build says some hundred kilobytes.
const MAX_FILE: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    file: File,
    written: u64,
    tail: VecDeque<String>,
}

impl Log {
    pub(super) fn create(path: &Path) -> io::Result<Log> {
        Ok(Log { path: path.into(), file: File::create_new(path)?, written: 0, tail: VecDeque::new() })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Follows what is said to its end, and tells each line.
    pub(super) fn follow(&mut self, output: impl Read, tell: &mut dyn FnMut(&str)) -> io::Result<()> {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        loop {
            line.clear();
            if output.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if self.written < MAX_FILE {
                self.file.write_all(&line)?;
                self.written += line.len() as u64;
            }
            // Nothing that could move a terminal's cursor.
            let text = String::from_utf8_lossy(&line);
            let text: String = text.trim_end().chars().filter(|c| !c.is_control()).take(300).collect();
            tell(&text);
            if self.tail.len() == TAIL {
                self.tail.pop_front();
            }
            self.tail.push_back(text);
        }
    }

    /// The last lines.
    pub(super) fn tail(&self) -> String {
        self.tail.iter().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_is_written_and_the_end_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut log = Log::create(&path).unwrap();
        let text = (0..100).map(|number| format!("\u{1b}[1mline {number}\n")).collect::<String>();
        let mut told = Vec::new();
        log.follow(text.as_bytes(), &mut |line| told.push(line.to_owned())).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        assert_eq!((told.len(), &*told[0]), (100, "[1mline 0"));
        assert_eq!(log.tail().lines().count(), TAIL);
        assert!(log.tail().ends_with("| [1mline 99"), "{}", log.tail());
        log.follow(&[b'x'; 1 << 20][..], &mut |line| assert_eq!(line.len(), 300)).unwrap();
    }
}
