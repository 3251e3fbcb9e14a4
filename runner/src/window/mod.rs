//! The window: shows a session's frames and takes its inputs.
//!
//! It runs on the main thread, where macOS wants windows to be; the guest runs
//! on its own.

pub mod keyboard;
pub mod letterbox;
mod resizing;

use std::{
    cell::RefCell,
    fs::OpenOptions,
    io::{self, Write},
    path::PathBuf,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use minifb::{InputCallback, Key, MouseButton, MouseMode, ScaleMode, WindowOptions};

use crate::{
    keys::{BUTTON_LEFT, BUTTON_MIDDLE, BUTTON_RIGHT, Code},
    picture::{self, Frame},
    session::{Command, Handle},
};
use keyboard::{Effect, Hotkey, Keyboard};
use letterbox::Letterbox;
use resizing::Resizing;

/// Between two looks at the mouse, whose buttons minifb only shows as they are:
/// a click shorter than this would be lost, and no hand is as fast.
const POLL: Duration = Duration::from_millis(3);

/// A picture is drawn again this often though nothing changed: minifb does not
/// tell when another window has uncovered ours (0.29, X11).
const REPAINT: Duration = Duration::from_millis(250);

/// What minifb reports for one click of a wheel (0.29): on X11 it counts the
/// wheel's button going down and going up.
const PER_CLICK: f32 = if cfg!(target_os = "linux") { 2.0 } else { 1.0 };

/// Size of the window of a guest that shows nothing yet.
const DEFAULT_SIZE: (u32, u32) = (1280, 720);

/// The window can't be shown.
#[derive(Debug, thiserror::Error)]
#[error("can't open a window: {0}")]
pub struct WindowError(String);

/// A window on a session.
pub struct Window {
    window: minifb::Window,
    events: Rc<RefCell<Vec<(Key, bool)>>>,
    session: Handle,
    keyboard: Keyboard,
    pointer: Option<(u32, u32)>,
    buttons: [bool; 3],
    /// Turns of the wheel that are not whole yet, right and up.
    wheel: (f32, f32),
    cursor_shown: bool,
    was_active: bool,
    resizing: Resizing,
}

struct KeyEvents(Rc<RefCell<Vec<(Key, bool)>>>);

impl InputCallback for KeyEvents {
    fn add_char(&mut self, _: u32) {}

    fn set_key_state(&mut self, key: Key, pressed: bool) {
        self.0.borrow_mut().push((key, pressed));
    }
}

impl Window {
    /// Opens a window on `session`, as large as its screen.
    ///
    /// # Errors
    /// If there is no display.
    pub fn open(name: &str, session: Handle) -> Result<Self, WindowError> {
        let (frame, _) = session.frame();
        let (width, height) = if frame.is_empty() { DEFAULT_SIZE } else { (frame.width, frame.height) };
        let title = format!("{name} - Ctrl+Alt+R reset, Ctrl+Alt+S picture, Ctrl+Alt+X close");
        let options = WindowOptions {
            resize: true,
            scale_mode: ScaleMode::AspectRatioStretch,
            ..WindowOptions::default()
        };
        // A title with a NUL byte would be refused by X11.
        let title = title.replace('\0', " ");
        let mut window = minifb::Window::new(&title, width as usize, height as usize, options)
            .map_err(|error| WindowError(error.to_string()))?;
        // minifb's own pause between updates would delay input; ours is POLL.
        window.set_target_fps(0);
        let events = Rc::new(RefCell::new(Vec::new()));
        window.set_input_callback(Box::new(KeyEvents(Rc::clone(&events))));
        Ok(Window {
            window,
            events,
            session,
            keyboard: Keyboard::default(),
            pointer: None,
            buttons: [false; 3],
            wheel: (0.0, 0.0),
            cursor_shown: true,
            was_active: false,
            resizing: Resizing::new((width, height)),
        })
    }

    /// Serves the window until it is closed or the session ends. `painted` is
    /// called once, when the first frame is on the window.
    ///
    /// # Errors
    /// If the display refuses a frame.
    pub fn run(mut self, painted: impl FnOnce()) -> Result<(), WindowError> {
        let mut painted = Some(painted);
        let mut shown: Option<(u64, (usize, usize), Instant)> = None;
        loop {
            let (frame, generation) = self.session.frame();
            let size = self.window.get_size();
            let stale = match shown {
                Some((number, at_size, at)) => {
                    number != generation || at_size != size || at.elapsed() >= REPAINT
                }
                None => true,
            };
            if stale && !frame.is_empty() {
                self.window
                    .update_with_buffer(&frame.pixels, frame.width as usize, frame.height as usize)
                    .map_err(|error| WindowError(error.to_string()))?;
                shown = Some((generation, size, Instant::now()));
                if let Some(painted) = painted.take() {
                    painted();
                }
            } else {
                self.window.update();
            }
            if let Some((width, height)) = self.resizing.look(pixels(size), Instant::now()) {
                self.session.send(Command::Resize(width, height));
            }
            if !self.window.is_open() || self.input(&frame) == Outcome::Close {
                self.session.send(Command::Quit);
                return Ok(());
            }
            if self.session.ended().is_some() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
    }

    fn input(&mut self, frame: &Arc<Frame>) -> Outcome {
        let events = std::mem::take(&mut *self.events.borrow_mut());
        for (key, pressed) in events {
            match self.keyboard.event(key, pressed) {
                Some(Effect::Key(code, pressed)) => self.session.send(Command::Key(code, pressed)),
                Some(Effect::Hotkey(Hotkey::Reset)) => {
                    self.session.send(Command::Reset);
                    self.keyboard.guest_was_reset();
                    self.pointer = None;
                    self.buttons = [false; 3];
                    self.resizing.guest_was_reset();
                }
                Some(Effect::Hotkey(Hotkey::Screenshot)) => match save_picture(frame) {
                    Ok(path) => eprintln!("saved {}", path.display()),
                    Err(error) => eprintln!("warning: can't save a picture: {error}"),
                },
                Some(Effect::Hotkey(Hotkey::Close)) => return Outcome::Close,
                None => {}
            }
        }
        let active = self.window.is_active();
        if self.was_active && !active {
            for code in self.keyboard.release_all() {
                self.session.send(Command::Key(code, false));
            }
        }
        self.was_active = active;
        if !frame.is_empty() {
            self.mouse(frame);
        }
        Outcome::Stay
    }

    fn mouse(&mut self, frame: &Frame) {
        let letterbox = Letterbox::fit((frame.width, frame.height), pixels(self.window.get_size()));
        let Some((x, y)) = self.window.get_unscaled_mouse_pos(MouseMode::Pass) else { return };
        let inside = letterbox.contains(x, y);
        // The guest draws a cursor of its own.
        if inside == self.cursor_shown {
            self.window.set_cursor_visibility(!inside);
            self.cursor_shown = !inside;
        }
        let dragging = self.buttons.contains(&true);
        let pointer = letterbox.pointer(x, y);
        if (inside || dragging) && self.pointer != Some(pointer) {
            self.session.send(Command::Pointer(pointer.0, pointer.1));
            self.pointer = Some(pointer);
        }
        for (button, down) in BUTTONS.iter().zip(&mut self.buttons) {
            let now = self.window.get_mouse_down(button.0);
            // A press on the bars or outside is not the guest's; its release is only if the press was.
            if now != *down && (inside || *down) {
                *down = now;
                self.session.send(Command::Key(button.1, now));
            }
        }
        if let Some((right, up)) = self.window.get_scroll_wheel()
            && inside
        {
            let dx = whole_turns(&mut self.wheel.0, right / PER_CLICK);
            let dy = whole_turns(&mut self.wheel.1, up / PER_CLICK);
            if (dx, dy) != (0, 0) {
                self.session.send(Command::Wheel(dx, dy));
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Outcome {
    Stay,
    Close,
}

const BUTTONS: [(MouseButton, Code); 3] = [
    (MouseButton::Left, BUTTON_LEFT),
    (MouseButton::Right, BUTTON_RIGHT),
    (MouseButton::Middle, BUTTON_MIDDLE),
];

/// A size as minifb gives it.
fn pixels((width, height): (usize, usize)) -> (u32, u32) {
    (u32::try_from(width).unwrap_or(1), u32::try_from(height).unwrap_or(1))
}

/// Adds `turns` to `rest` and takes the whole ones out: touchpads scroll in
/// fractions, the guest's wheel only in clicks.
fn whole_turns(rest: &mut f32, turns: f32) -> i32 {
    if !turns.is_finite() {
        return 0;
    }
    let sum = (*rest + turns).clamp(-100.0, 100.0);
    *rest = sum.fract();
    sum.trunc() as i32
}

/// Saves a picture in the current directory under a name that is not taken.
fn save_picture(frame: &Frame) -> io::Result<PathBuf> {
    let bytes = picture::encode(frame)?;
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    for number in 0..100 {
        let path = PathBuf::from(format!("samovar-{seconds}-{number:02}.png"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(mut file) => return file.write_all(&bytes).map(|()| path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::AlreadyExists, "a hundred pictures of this second are there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fractions_of_turns_add_up() {
        let mut rest = 0.0;
        let turns: Vec<_> = [0.4, 0.4, 0.4, -1.2, 3.0].map(|t| whole_turns(&mut rest, t)).into();
        assert_eq!(turns, [0, 0, 1, -1, 3]);
        assert_eq!(whole_turns(&mut rest, f32::NAN), 0);
        assert_eq!(whole_turns(&mut rest, f32::INFINITY), 0);
        assert!(whole_turns(&mut rest, 1e30) <= 100);
    }
}
