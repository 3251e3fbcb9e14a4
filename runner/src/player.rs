//! Plays a script on a session.

use std::{
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::{
    keys::{self, Code, LEFT_SHIFT},
    line::{self, OpenError},
    picture,
    script::{Action, Script},
    session::{Command, End, Handle},
    window::letterbox::pointer_of_pixel,
};

/// How long a `wait-...` may take when the script doesn't say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// Between two key events: a guest that polls must see each.
const BETWEEN_KEYS: Duration = Duration::from_millis(10);

/// How long a reset may take.
const RESET_TIMEOUT: Duration = Duration::from_secs(30);

/// A script that could not be played to its end.
#[derive(Debug, thiserror::Error)]
pub enum PlayError {
    /// A wait ran out.
    #[error("line {line}: {what} within {} ms", .limit.as_millis())]
    TimedOut {
        /// Line of the script.
        line: usize,
        /// What did not happen.
        what: String,
        /// How long it was waited for.
        limit: Duration,
    },
    /// The guest ended before the script.
    #[error("line {line}: the session had ended")]
    Ended {
        /// Line of the script.
        line: usize,
        /// How it ended.
        end: End,
    },
    /// A page was not opened.
    #[error("line {line}: {error}")]
    Open {
        /// Line of the script.
        line: usize,
        /// Why.
        error: OpenError,
    },
    /// A picture could not be written.
    #[error("line {line}: can't write {}: {error}", .path.display())]
    Picture {
        /// Line of the script.
        line: usize,
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A point is not on the guest's screen.
    #[error("line {line}: {x} {y} is not on the guest's screen of {width}x{height}")]
    OffScreen {
        /// Line of the script.
        line: usize,
        /// The point.
        x: u32,
        /// The point.
        y: u32,
        /// The screen.
        width: u32,
        /// The screen.
        height: u32,
    },
}

/// Plays `script` and returns when its last statement, or `quit`, is done.
///
/// # Errors
/// At the first statement that fails.
pub fn play(script: &Script, session: &Handle) -> Result<(), PlayError> {
    let mut player = Player {
        session,
        line: 0,
        timeout: DEFAULT_TIMEOUT,
        console: 0,
        frame: session.look(|state| state.generation),
    };
    for step in &script.steps {
        player.line = step.line;
        if needs_guest(&step.action) {
            player.alive()?;
        }
        player.step(&step.action)?;
        if step.action == Action::Quit {
            break;
        }
    }
    Ok(())
}

/// Waits until the screen is another one than in its generation `since` and has held still for `still`, at most `limit`;
/// a page may move for ever.
pub fn let_settle(session: &Handle, since: u64, still: Duration, limit: Duration) {
    let mut player = Player { session, line: 0, timeout: limit, console: 0, frame: since };
    // What is on the screen then is what there is to see, also when the session has ended: its end is told by itself.
    let _ = player.wait_frame(still);
}

/// Whether a statement makes no sense once the guest has ended. What it said and showed last stays, so
/// a script can wait for a guest's last words.
fn needs_guest(action: &Action) -> bool {
    !matches!(action, Action::Timeout(_) | Action::WaitConsole(_) | Action::Screenshot(_) | Action::Quit)
}

struct Player<'a> {
    session: &'a Handle,
    line: usize,
    timeout: Duration,
    /// Up to where the console's output has been waited for.
    console: u64,
    /// The frame before the last input: `wait-frame` waits for a later one.
    frame: u64,
}

impl Player<'_> {
    fn step(&mut self, action: &Action) -> Result<(), PlayError> {
        match action {
            Action::Wait(time) => self.pass(*time)?,
            Action::Timeout(time) => self.timeout = *time,
            Action::WaitConsole(text) => self.wait_console(text)?,
            Action::WaitFrame(still) => self.wait_frame(*still)?,
            Action::WaitPixel { x, y, colour } => self.wait_pixel(*x, *y, *colour)?,
            Action::Type(text) => {
                self.mark();
                for stroke in text.chars().filter_map(keys::stroke) {
                    if stroke.shift {
                        self.chord(&[LEFT_SHIFT, stroke.code]);
                    } else {
                        self.chord(&[stroke.code]);
                    }
                }
            }
            Action::Key(chord) => {
                self.mark();
                self.chord(&chord.0);
            }
            Action::Move { x, y } => {
                self.mark();
                self.point(*x, *y)?;
            }
            Action::Click { x, y, button } => {
                self.mark();
                self.point(*x, *y)?;
                self.settle();
                self.chord(&[*button]);
            }
            Action::Wheel(dx, dy) => {
                self.mark();
                self.session.send(Command::Wheel(*dx, *dy));
            }
            Action::Resize { width, height } => {
                self.mark();
                self.session.send(Command::Resize(*width, *height));
            }
            Action::Open(url) => {
                self.mark();
                line::open(self.session, url, self.timeout)
                    .map_err(|error| PlayError::Open { line: self.line, error })?;
            }
            Action::Screenshot(path) => picture::save(&self.session.frame().0, path)
                .map_err(|error| PlayError::Picture { line: self.line, path: path.clone(), error })?,
            Action::Reset => self.reset()?,
            Action::Quit => self.session.send(Command::Quit),
        }
        Ok(())
    }

    fn alive(&self) -> Result<(), PlayError> {
        match self.session.ended() {
            Some(end) => Err(PlayError::Ended { line: self.line, end }),
            None => Ok(()),
        }
    }

    /// Waits for `found`, the end of the session or `limit`.
    fn wait<T>(
        &self,
        limit: Duration,
        what: impl FnOnce() -> String,
        mut found: impl FnMut(&mut crate::session::State) -> Option<T>,
    ) -> Result<T, PlayError> {
        let outcome = self.session.wait_until(Some(Instant::now() + limit), |state| match found(state) {
            Some(result) => Some(Ok(result)),
            None => state.end.clone().map(Err),
        });
        match outcome {
            Some(Ok(result)) => Ok(result),
            Some(Err(end)) => Err(PlayError::Ended { line: self.line, end }),
            None => Err(PlayError::TimedOut { line: self.line, what: what(), limit }),
        }
    }

    /// Lets time pass while the guest lives.
    fn pass(&self, time: Duration) -> Result<(), PlayError> {
        let end = self.session.wait_until(Some(Instant::now() + time), |state| state.end.clone());
        match end {
            Some(end) => Err(PlayError::Ended { line: self.line, end }),
            None => Ok(()),
        }
    }

    fn mark(&mut self) {
        self.frame = self.session.look(|state| state.generation);
    }

    fn wait_console(&mut self, text: &str) -> Result<(), PlayError> {
        let from = self.console;
        self.console = self.wait(
            self.timeout,
            || format!("the console did not say {text:?}"),
            |state| state.console.find(text, from),
        )?;
        Ok(())
    }

    fn wait_frame(&mut self, still: Duration) -> Result<(), PlayError> {
        let mark = self.frame;
        let session = self.session;
        let what = || {
            if session.look(|state| state.generation > mark) {
                format!("the screen changed, but did not hold still for {} ms", still.as_millis())
            } else {
                "the screen did not change".into()
            }
        };
        self.frame = self.wait(self.timeout, what, |state| {
            (state.generation > mark && state.frame_at.elapsed() >= still).then_some(state.generation)
        })?;
        Ok(())
    }

    fn wait_pixel(&mut self, x: u32, y: u32, colour: u32) -> Result<(), PlayError> {
        let session = self.session;
        let what = || match session.frame().0.pixel(x, y) {
            Some(other) => format!("the pixel at {x} {y} was {other:06x} and did not become {colour:06x}"),
            None => format!("the screen did not come to have a pixel at {x} {y}"),
        };
        self.wait(self.timeout, what, |state| (state.frame.pixel(x, y) == Some(colour)).then_some(()))
    }

    /// Presses keys in order and releases them in reverse.
    fn chord(&self, codes: &[Code]) {
        for code in codes {
            self.session.send(Command::Key(*code, true));
        }
        self.settle();
        for code in codes.iter().rev() {
            self.session.send(Command::Key(*code, false));
        }
        self.settle();
    }

    /// Gives the guest time for what was put in. A guest that ends by it did what it was told.
    fn settle(&self) {
        self.session.wait_until(Some(Instant::now() + BETWEEN_KEYS), |state| state.end.clone());
    }

    fn point(&self, x: u32, y: u32) -> Result<(), PlayError> {
        let (frame, _) = self.session.frame();
        if x >= frame.width || y >= frame.height {
            let (width, height) = (frame.width, frame.height);
            return Err(PlayError::OffScreen { line: self.line, x, y, width, height });
        }
        let point = (pointer_of_pixel(x, frame.width), pointer_of_pixel(y, frame.height));
        self.session.send(Command::Pointer(point.0, point.1));
        Ok(())
    }

    fn reset(&mut self) -> Result<(), PlayError> {
        let (done, position) = self.session.look(|state| (state.resets.len(), state.console.position()));
        self.session.send(Command::Reset);
        self.wait(
            RESET_TIMEOUT,
            || "the reset was not done".into(),
            |state| (state.resets.len() > done).then_some(()),
        )?;
        self.console = position;
        self.mark();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{picture::Frame, script::parse, session::pair};
    use std::sync::Arc;

    fn played(text: &str, frame: Frame) -> (Result<(), PlayError>, Vec<Command>) {
        let (handle, seat) = pair();
        seat.show(|state| state.frame = Arc::new(frame));
        (play(&parse(text).unwrap(), &handle), seat.drain())
    }

    #[test]
    fn typing_holds_shift_for_capitals() {
        let (result, commands) = played("type aB", Frame::default());
        result.unwrap();
        assert_eq!(
            commands,
            [
                Command::Key(30, true),
                Command::Key(30, false),
                Command::Key(42, true),
                Command::Key(48, true),
                Command::Key(48, false),
                Command::Key(42, false),
            ]
        );
    }

    #[test]
    fn clicks_are_in_pixels_of_the_screen() {
        let screen = Frame { width: 4, height: 2, pixels: vec![0; 8].into() };
        let (result, commands) = played("click 3 0", screen.clone());
        result.unwrap();
        assert_eq!(
            commands,
            [Command::Pointer(28672, 8192), Command::Key(0x110, true), Command::Key(0x110, false)]
        );
        let (result, _) = played("click 4 0", screen);
        assert!(matches!(result, Err(PlayError::OffScreen { line: 1, x: 4, .. })));
    }

    #[test]
    fn waits_run_out() {
        let (result, _) = played("timeout 20ms\nwait-console never", Frame::default());
        assert!(matches!(result, Err(PlayError::TimedOut { line: 2, .. })), "{result:?}");
        let (result, _) = played("timeout 20ms\nwait-frame", Frame::default());
        assert!(matches!(result, Err(PlayError::TimedOut { line: 2, .. })), "{result:?}");
    }

    #[test]
    fn console_text_counts_once() {
        let (handle, seat) = pair();
        seat.show(|state| drop(state.console.push(b"ready\n")));
        let script = parse("timeout 20ms\nwait-console ready\nwait-console ready").unwrap();
        assert!(matches!(play(&script, &handle), Err(PlayError::TimedOut { line: 3, .. })));
    }

    #[test]
    fn a_pixel_is_waited_for() {
        let screen = Frame { width: 2, height: 1, pixels: vec![0, 0xff_8000].into() };
        played("wait-pixel 1 0 ff8000", screen.clone()).0.unwrap();
        for (wrong, what) in [("0 0 ff8000", "was 000000"), ("1 1 ff8000", "to have a pixel")] {
            let (result, _) = played(&format!("timeout 20ms\nwait-pixel {wrong}"), screen.clone());
            let message = result.unwrap_err().to_string();
            assert!(message.contains(what), "{message}");
        }
    }

    #[test]
    fn a_frame_must_change_and_hold_still() {
        let (handle, seat) = pair();
        let script = parse("wait-frame 100ms").unwrap();
        let player = std::thread::spawn(move || {
            play(&script, &handle).unwrap();
            Instant::now()
        });
        // The last of several frames comes then, however late this thread and the player are.
        let last = Instant::now() + Duration::from_millis(150);
        while !player.is_finished() {
            std::thread::sleep(Duration::from_millis(10));
            seat.show(|state| {
                state.generation += 1;
                state.frame_at = last;
            });
        }
        assert!(player.join().unwrap() >= last + Duration::from_millis(100));
    }

    #[test]
    fn a_script_does_not_outlive_its_guest() {
        let (handle, seat) = pair();
        seat.show(|state| state.end = Some(End::PoweredOff));
        let result = play(&parse("wait 1m").unwrap(), &handle);
        assert!(matches!(result, Err(PlayError::Ended { line: 1, end: End::PoweredOff })));
    }

    #[test]
    fn a_guests_last_words_can_be_waited_for() {
        let (handle, seat) = pair();
        seat.show(|state| {
            drop(state.console.push(b"Power down\n"));
            state.end = Some(End::PoweredOff);
        });
        play(&parse("wait-console Power down").unwrap(), &handle).unwrap();
        let result = play(&parse("wait-console Power up").unwrap(), &handle);
        assert!(matches!(result, Err(PlayError::Ended { line: 1, end: End::PoweredOff })));
    }

    #[test]
    fn a_key_that_ends_the_guest_was_pressed_well() {
        let (handle, seat) = pair();
        let guest = std::thread::spawn(move || {
            while seat.drain().is_empty() {
                std::thread::yield_now();
            }
            seat.show(|state| state.end = Some(End::PoweredOff));
        });
        let result = play(&parse("key enter\nkey enter").unwrap(), &handle);
        assert!(matches!(result, Err(PlayError::Ended { line: 2, .. })), "{result:?}");
        guest.join().unwrap();
    }

    #[test]
    fn a_picture_of_nothing_is_an_error() {
        let (result, _) = played("screenshot /nonexistent/x.png", Frame::default());
        assert!(matches!(result, Err(PlayError::Picture { line: 1, .. })));
    }
}
