//! Scripts: what a person would do at the keyboard, one statement a line.
//!
//! ```text
//! # Search for something.
//! timeout 2m
//! wait-console samovar-ready
//! key ctrl+l
//! type about:support
//! key enter
//! wait-frame
//! screenshot support.png
//! ```

use std::{path::PathBuf, time::Duration};

use crate::{
    keys::{self, BUTTON_LEFT, BUTTON_MIDDLE, BUTTON_RIGHT, Chord, Code},
    line,
    units::parse_duration,
};

/// The longest script that is read, in bytes.
pub const MAX_LEN: usize = 1 << 20;

/// Coordinates beyond this are refused: no screen is as large.
const MAX_COORDINATE: u32 = 32767;

/// Turns of the wheel in one statement.
const MAX_WHEEL: i32 = 1000;

/// How long the screen must hold still where `wait-frame` doesn't say.
pub const DEFAULT_STILL: Duration = Duration::from_millis(300);

/// A script, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// What to do, in order.
    pub steps: Vec<Step>,
}

/// One statement and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Line number, from 1.
    pub line: usize,
    /// What to do.
    pub action: Action,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// `wait 500ms`: lets the guest run.
    Wait(Duration),
    /// `timeout 2m`: how long each later `wait-console` and `wait-frame` may take.
    Timeout(Duration),
    /// `wait-console TEXT`: until the guest's serial console has written TEXT
    /// since the last such statement.
    WaitConsole(String),
    /// `wait-frame [STILL]`: until the screen has changed since the last input
    /// and then held still for STILL.
    WaitFrame(Duration),
    /// `wait-pixel X Y RRGGBB`: until the guest's screen has that colour there.
    WaitPixel {
        /// Pixels from the left edge.
        x: u32,
        /// Pixels from the top edge.
        y: u32,
        /// Red, green and blue from the third byte down.
        colour: u32,
    },
    /// `type TEXT`: the rest of the line, on a US keyboard.
    Type(String),
    /// `key ctrl+l`: keys pressed together.
    Key(Chord),
    /// `move X Y`: the pointer, in pixels of the guest's screen.
    Move {
        /// Pixels from the left edge.
        x: u32,
        /// Pixels from the top edge.
        y: u32,
    },
    /// `click X Y [BUTTON]`: the left button, or `middle` or `right`, there.
    Click {
        /// Pixels from the left edge.
        x: u32,
        /// Pixels from the top edge.
        y: u32,
        /// The button.
        button: Code,
    },
    /// `wheel N`: up if positive. `hwheel N`: right if positive. Notches right and up.
    Wheel(i32, i32),
    /// `resize W H`: the display has another size, in pixels.
    Resize {
        /// Pixels in a row.
        width: u32,
        /// Rows.
        height: u32,
    },
    /// `open URL`: has the guest's browser open a page.
    Open(String),
    /// `screenshot FILE`: the screen as a PNG file.
    Screenshot(PathBuf),
    /// `reset`: back to the restored state.
    Reset,
    /// `quit`: ends the session.
    Quit,
}

/// A script that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ParseError {
    /// Line number, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

const STATEMENTS: &str = "wait, timeout, wait-console, wait-frame, wait-pixel, type, key, move, click, wheel, \
                          hwheel, resize, open, screenshot, reset, quit";

/// Reads a script.
///
/// # Errors
/// Names the first line that is no statement.
pub fn parse(text: &str) -> Result<Script, ParseError> {
    if text.len() > MAX_LEN {
        return Err(ParseError { line: 1, what: format!("the script is longer than {MAX_LEN} bytes") });
    }
    let mut steps = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let statement = line.trim_start();
        // A `#` further on may be text to type.
        if statement.trim_end().is_empty() || statement.starts_with('#') {
            continue;
        }
        let line = index + 1;
        let action = parse_statement(statement).map_err(|what| ParseError { line, what })?;
        steps.push(Step { line, action });
    }
    Ok(Script { steps })
}

fn parse_statement(statement: &str) -> Result<Action, String> {
    // Only `type` keeps blanks at the end of the line: they may be meant.
    let (word, raw) = statement.split_once([' ', '\t']).unwrap_or((statement, ""));
    let (word, rest) = (word.trim_end(), raw.trim());
    let action = match word {
        "wait" => Action::Wait(parse_duration(needed(rest, "a duration, such as 500ms")?)?),
        "timeout" => Action::Timeout(parse_duration(needed(rest, "a duration, such as 30s")?)?),
        "wait-console" => Action::WaitConsole(needed(rest, "the text to wait for")?.to_owned()),
        "wait-frame" if rest.is_empty() => Action::WaitFrame(DEFAULT_STILL),
        "wait-frame" => Action::WaitFrame(parse_duration(rest)?),
        "wait-pixel" => pixel(rest)?,
        "type" => Action::Type(typed(raw)?),
        "key" => Action::Key(keys::parse_chord(needed(rest, "a key, such as enter or ctrl+l")?)?),
        "move" => point(rest).map(|(x, y)| Action::Move { x, y })?,
        "click" => click(rest)?,
        "wheel" => Action::Wheel(0, wheel(rest)?),
        "hwheel" => Action::Wheel(wheel(rest)?, 0),
        "resize" => point(rest).map(|(width, height)| Action::Resize { width, height })?,
        "open" => Action::Open(line::parse_url(needed(rest, "an address")?)?),
        "screenshot" => Action::Screenshot(PathBuf::from(needed(rest, "a file name")?)),
        "reset" => nothing(rest).map(|()| Action::Reset)?,
        "quit" => nothing(rest).map(|()| Action::Quit)?,
        _ => return Err(format!("`{}` is no statement; there are {STATEMENTS}", word.escape_debug())),
    };
    Ok(action)
}

fn needed<'a>(rest: &'a str, what: &str) -> Result<&'a str, String> {
    if rest.is_empty() { Err(format!("needs {what}")) } else { Ok(rest) }
}

fn nothing(rest: &str) -> Result<(), String> {
    if rest.is_empty() { Ok(()) } else { Err(format!("takes nothing, but has `{}`", rest.escape_debug())) }
}

fn typed(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("needs the text to type".into());
    }
    match text.chars().find(|c| keys::stroke(*c).is_none()) {
        Some(c) => Err(format!("{c:?} is not on a US keyboard; Enter and Tab are `key enter` and `key tab`")),
        None => Ok(text.to_owned()),
    }
}

fn point(rest: &str) -> Result<(u32, u32), String> {
    let mut words = rest.split_whitespace();
    let (Some(x), Some(y), None) = (words.next(), words.next(), words.next()) else {
        return Err("needs two numbers, X and Y".into());
    };
    let coordinate = |word: &str| match word.parse() {
        Ok(value) if value <= MAX_COORDINATE => Ok(value),
        _ => Err(format!("`{}` is no coordinate from 0 to {MAX_COORDINATE}", word.escape_debug())),
    };
    Ok((coordinate(x)?, coordinate(y)?))
}

fn pixel(rest: &str) -> Result<Action, String> {
    let (point_text, colour) =
        rest.rsplit_once([' ', '\t']).ok_or("needs three words, X, Y and a colour such as f6efe4")?;
    let (x, y) = point(point_text)?;
    let digits = colour.len() == 6 && colour.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u32::from_str_radix(colour, 16).ok().filter(|_| digits);
    let colour = number.ok_or_else(|| format!("`{}` is no colour such as f6efe4", colour.escape_debug()))?;
    Ok(Action::WaitPixel { x, y, colour })
}

fn click(rest: &str) -> Result<Action, String> {
    let (point_text, button) = match rest.rsplit_once([' ', '\t']) {
        Some((point, "left")) => (point, BUTTON_LEFT),
        Some((point, "middle")) => (point, BUTTON_MIDDLE),
        Some((point, "right")) => (point, BUTTON_RIGHT),
        _ => (rest, BUTTON_LEFT),
    };
    point(point_text).map(|(x, y)| Action::Click { x, y, button })
}

fn wheel(rest: &str) -> Result<i32, String> {
    match needed(rest, "a number of turns")?.parse::<i32>() {
        Ok(turns) if (-MAX_WHEEL..=MAX_WHEEL).contains(&turns) => Ok(turns),
        _ => Err(format!("`{}` is no number from -{MAX_WHEEL} to {MAX_WHEEL}", rest.escape_debug())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn actions(text: &str) -> Vec<Action> {
        parse(text).unwrap().steps.into_iter().map(|step| step.action).collect()
    }

    #[test]
    fn every_statement() {
        let text = "wait 500ms\ntimeout 2m\nwait-console is ready \nwait-frame\nwait-frame 1s\nwait-pixel 5 6 F6efe4\ntype a #b \n\
                    key ctrl+l\nmove 0 32767\nclick 10  20\nclick 1 2 right\nwheel -3\nhwheel 2\nresize 800 600\nopen about:home\nscreenshot my picture.png\nreset\nquit";
        assert_eq!(
            actions(text),
            [
                Action::Wait(Duration::from_millis(500)),
                Action::Timeout(Duration::from_secs(120)),
                Action::WaitConsole("is ready".into()),
                Action::WaitFrame(DEFAULT_STILL),
                Action::WaitFrame(Duration::from_secs(1)),
                Action::WaitPixel { x: 5, y: 6, colour: 0xf6_efe4 },
                Action::Type("a #b ".into()),
                Action::Key(Chord(vec![29, 38])),
                Action::Move { x: 0, y: 32767 },
                Action::Click { x: 10, y: 20, button: BUTTON_LEFT },
                Action::Click { x: 1, y: 2, button: BUTTON_RIGHT },
                Action::Wheel(0, -3),
                Action::Wheel(2, 0),
                Action::Resize { width: 800, height: 600 },
                Action::Open("about:home".into()),
                Action::Screenshot("my picture.png".into()),
                Action::Reset,
                Action::Quit,
            ]
        );
    }

    #[test]
    fn comments_blank_lines_and_carriage_returns() {
        let script = parse("# one\r\n\r\n   \t\n  quit\r\n  # end").unwrap();
        assert_eq!(script.steps, [Step { line: 4, action: Action::Quit }]);
    }

    #[test]
    fn errors_name_the_line() {
        for (text, line, part) in [
            ("wait 1s\n\nwiat 1s", 3, "wiat"),
            ("wait", 1, "duration"),
            ("wait 5", 1, "unit"),
            ("quit now", 1, "nothing"),
            ("click 1", 1, "X and Y"),
            ("click 1 2 3", 1, "X and Y"),
            ("click -1 2", 1, "-1"),
            ("move 0 32768", 1, "32768"),
            ("wheel 1001", 1, "1001"),
            ("wheel x", 1, "x"),
            ("key", 1, "key"),
            ("key ctrl+nope", 1, "nope"),
            ("type", 1, "text"),
            ("#\ntype caf\u{e9}", 2, "US keyboard"),
            ("type a\tb", 1, "key tab"),
            ("screenshot", 1, "file"),
            ("wait-console  ", 1, "text"),
            ("wait-frame soon", 1, "soon"),
            ("wait-pixel 1", 1, "colour"),
            ("wait-pixel 1 2", 1, "X and Y"),
            ("wait-pixel 1 2 +fefe4", 1, "+fefe4"),
            ("click 1 2 thumb", 1, "X and Y"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.line, line, "{text:?}");
            assert!(error.to_string().contains(part), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_huge_script_is_refused() {
        assert!(parse(&"#".repeat(MAX_LEN + 1)).is_err());
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|\n|\t|\r){0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn near_statements_are_read_or_refused(
            word in "(wait|timeout|type|key|click|move|wheel|reset|wait-frame|wait-console) ?",
            rest in "[ -~]{0,20}",
        ) {
            let _ = parse(&format!("{word}{rest}"));
        }

        #[test]
        fn typed_text_comes_back(text in "[ -~]{1,60}") {
            prop_assert_eq!(actions(&format!("type {text}")), vec![Action::Type(text)]);
        }

        #[test]
        fn points_come_back(x in 0u32..=32767, y in 0u32..=32767) {
            prop_assert_eq!(actions(&format!("click {x} {y}")), vec![Action::Click { x, y, button: BUTTON_LEFT }]);
        }
    }
}
