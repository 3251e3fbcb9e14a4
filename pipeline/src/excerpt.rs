//! A place in a file of text, and how it is shown: the line, and carets under the part that is meant, as rustc does it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use unicode_width::UnicodeWidthChar;

/// How much of a long line is shown.
const MAX_WIDTH: usize = 120;

/// A place in a file. It is written as `file:line:column`, which terminals and editors turn into a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    path: PathBuf,
    line: usize,
    column: usize,
    excerpt: String,
}

impl Place {
    /// The place of these bytes of a file's text.
    pub fn of(path: &Path, text: &str, bytes: Range<usize>) -> Place {
        let start = floor_boundary(text, bytes.start);
        let before = &text[..start];
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let rest = &text[line_start..];
        let line = rest.split('\n').next().unwrap_or_default();
        let number = before.matches('\n').count() + 1;
        let end = floor_boundary(text, bytes.end).clamp(start, line_start + line.len());
        Place {
            path: path.into(),
            line: number,
            column: before[line_start..].chars().count() + 1,
            excerpt: excerpt(number, line, start - line_start..end - line_start),
        }
    }

    /// The line with carets under the part that is meant: four lines of text without a line break at the end.
    pub fn excerpt(&self) -> &str {
        &self.excerpt
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.path.display(), self.line, self.column)
    }
}

/// The nearest place at or before `at` where a character starts.
fn floor_boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn excerpt(number: usize, line: &str, meant: Range<usize>) -> String {
    let (mut shown, mut under) = (String::new(), String::new());
    // Of a line that is too long, the part around what is meant.
    let lead = line[..meant.start].chars().count();
    let skipped = if lead > MAX_WIDTH / 2 { lead - MAX_WIDTH / 3 } else { 0 };
    if skipped > 0 {
        shown.push_str("...");
        under.push_str("   ");
    }
    for (at, c) in line.char_indices().skip(skipped) {
        if shown.len() > MAX_WIDTH {
            shown.push_str("...");
            break;
        }
        // What could move the cursor would put the carets under something else, or worse.
        let (c, width) = match c {
            '\r' => break,
            '\t' => (' ', 4),
            c => c.width().filter(|_| !c.is_control()).map_or(('\u{fffd}', 1), |width| (c, width)),
        };
        shown.extend(std::iter::repeat_n(c, if c == ' ' { width } else { 1 }));
        let mark = if meant.contains(&at) { "^" } else { " " };
        under.push_str(&mark.repeat(width));
    }
    let mut under = under.trim_end().to_owned();
    if !under.contains('^') {
        // Nothing wide is meant: a place between two characters, or the line's end.
        under = format!("{}^", " ".repeat(shown_width(line, skipped, meant.start)));
    }
    let margin = " ".repeat(number.to_string().len());
    format!("{margin} |\n{number} | {shown}\n{margin} | {under}\n{margin} |")
}

/// How wide the part of a line before `end` is shown.
fn shown_width(line: &str, skipped: usize, end: usize) -> usize {
    let width = |c: char| if c == '\t' { 4 } else { c.width().unwrap_or(1) };
    let before: usize = line[..end].chars().skip(skipped).map(width).sum();
    before + if skipped > 0 { 3 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, bytes: Range<usize>) -> Place {
        Place::of(Path::new("a.toml"), text, bytes)
    }

    #[test]
    fn the_line_and_carets_under_it() {
        let text = "one = 1\n\ttwo = 'für 木'\nthree = 3";
        let at = text.find('\'').unwrap();
        let found = place(text, at..at + "'für 木'".len());
        assert_eq!(found.to_string(), "a.toml:2:8");
        assert_eq!(found.excerpt(), "  |\n2 |     two = 'für 木'\n  |           ^^^^^^^^\n  |");
    }

    #[test]
    fn the_end_of_a_text_and_of_a_line() {
        assert_eq!(place("name =", 6..6).excerpt(), "  |\n1 | name =\n  |       ^\n  |");
        assert_eq!(place("", 0..0).to_string(), "a.toml:1:1");
        assert_eq!(place("a\nb", 900..1000).to_string(), "a.toml:2:2");
        assert_eq!(place("a = [\n1,\n]", 4..10).excerpt(), "  |\n1 | a = [\n  |     ^\n  |");
        assert_eq!(place("a = 1\r\n", 4..7).excerpt(), "  |\n1 | a = 1\n  |     ^\n  |");
    }

    #[test]
    fn long_lines_are_cut_and_nothing_moves_the_cursor() {
        let text = format!("{}here{}", "x".repeat(5000), "y".repeat(5000));
        let found = place(&text, 5000..5004);
        let lines: Vec<&str> = found.excerpt().lines().collect();
        assert!(lines.iter().all(|line| line.len() < 150), "{lines:?}");
        assert_eq!(lines[1].find("here"), lines[2].find("^^^^"));
        assert!(!place("a\u{1b}[2Jb", 0..1).excerpt().contains('\u{1b}'));
    }

    proptest::proptest! {
        #[test]
        fn any_place_can_be_shown(text: String, start in 0..100_usize, len in 0..100_usize) {
            let found = place(&text, start..start + len);
            proptest::prop_assert!(found.excerpt().lines().count() == 4 && found.excerpt().contains('^'));
        }
    }
}
