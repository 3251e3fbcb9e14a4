//! From a window's key events to the guest's keyboard, and the hotkeys that
//! are ours.

use std::collections::BTreeSet;

use minifb::Key;

use crate::keys::Code;

/// What a hotkey asks of us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hotkey {
    /// Ctrl+Alt+R: back to the restored state.
    Reset,
    /// Ctrl+Alt+S: save a picture of the screen.
    Screenshot,
    /// Ctrl+Alt+X: close.
    Close,
}

/// What follows from a key event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// A key of the guest's keyboard goes down or up.
    Key(Code, bool),
    /// Something for us; the guest doesn't see the key.
    Hotkey(Hotkey),
}

/// The keys that are down: in the window, and for the guest.
#[derive(Debug, Default)]
pub struct Keyboard {
    window: BTreeSet<Code>,
    guest: BTreeSet<Code>,
}

impl Keyboard {
    /// Takes an event of the window. Repeats are dropped: the guest repeats
    /// held keys itself.
    pub fn event(&mut self, key: Key, pressed: bool) -> Option<Effect> {
        let code = code(key)?;
        if !pressed {
            self.window.remove(&code);
            return self.guest.remove(&code).then_some(Effect::Key(code, false));
        }
        if !self.window.insert(code) {
            return None;
        }
        if let Some(hotkey) = self.hotkey(key) {
            return Some(Effect::Hotkey(hotkey));
        }
        self.guest.insert(code).then_some(Effect::Key(code, true))
    }

    fn hotkey(&self, key: Key) -> Option<Hotkey> {
        let down = |keys: [Key; 2]| keys.into_iter().filter_map(code).any(|code| self.window.contains(&code));
        if !down([Key::LeftCtrl, Key::RightCtrl]) || !down([Key::LeftAlt, Key::RightAlt]) {
            return None;
        }
        match key {
            Key::R => Some(Hotkey::Reset),
            Key::S => Some(Hotkey::Screenshot),
            Key::X => Some(Hotkey::Close),
            _ => None,
        }
    }

    /// Forgets every held key and returns those to release in the guest, in
    /// ascending order: the window loses the releases with the focus.
    pub fn release_all(&mut self) -> Vec<Code> {
        self.window.clear();
        std::mem::take(&mut self.guest).into_iter().collect()
    }

    /// Forgets what the guest holds: it has been reset, and holds nothing.
    pub fn guest_was_reset(&mut self) {
        self.guest.clear();
    }
}

/// The Linux code of a window's key. minifb names keys by what they type
/// without shift, so a layout other than US shows here as other keys.
pub fn code(key: Key) -> Option<Code> {
    Some(match key {
        Key::Key1 => 2,
        Key::Key2 => 3,
        Key::Key3 => 4,
        Key::Key4 => 5,
        Key::Key5 => 6,
        Key::Key6 => 7,
        Key::Key7 => 8,
        Key::Key8 => 9,
        Key::Key9 => 10,
        Key::Key0 => 11,
        Key::A => 30,
        Key::B => 48,
        Key::C => 46,
        Key::D => 32,
        Key::E => 18,
        Key::F => 33,
        Key::G => 34,
        Key::H => 35,
        Key::I => 23,
        Key::J => 36,
        Key::K => 37,
        Key::L => 38,
        Key::M => 50,
        Key::N => 49,
        Key::O => 24,
        Key::P => 25,
        Key::Q => 16,
        Key::R => 19,
        Key::S => 31,
        Key::T => 20,
        Key::U => 22,
        Key::V => 47,
        Key::W => 17,
        Key::X => 45,
        Key::Y => 21,
        Key::Z => 44,
        Key::F1 => 59,
        Key::F2 => 60,
        Key::F3 => 61,
        Key::F4 => 62,
        Key::F5 => 63,
        Key::F6 => 64,
        Key::F7 => 65,
        Key::F8 => 66,
        Key::F9 => 67,
        Key::F10 => 68,
        Key::F11 => 87,
        Key::F12 => 88,
        Key::F13 => 183,
        Key::F14 => 184,
        Key::F15 => 185,
        Key::Down => 108,
        Key::Left => 105,
        Key::Right => 106,
        Key::Up => 103,
        Key::Apostrophe => 40,
        Key::Backquote => 41,
        Key::Backslash => 43,
        Key::Comma => 51,
        Key::Equal => 13,
        Key::LeftBracket => 26,
        Key::Minus => 12,
        Key::Period => 52,
        Key::RightBracket => 27,
        Key::Semicolon => 39,
        Key::Slash => 53,
        Key::Backspace => 14,
        Key::Delete => 111,
        Key::End => 107,
        Key::Enter => 28,
        Key::Escape => 1,
        Key::Home => 102,
        Key::Insert => 110,
        Key::Menu => 127,
        Key::PageDown => 109,
        Key::PageUp => 104,
        Key::Pause => 119,
        Key::Space => 57,
        Key::Tab => 15,
        Key::NumLock => 69,
        Key::CapsLock => 58,
        Key::ScrollLock => 70,
        Key::LeftShift => 42,
        Key::RightShift => 54,
        Key::LeftCtrl => 29,
        Key::RightCtrl => 97,
        Key::NumPad0 => 82,
        Key::NumPad1 => 79,
        Key::NumPad2 => 80,
        Key::NumPad3 => 81,
        Key::NumPad4 => 75,
        Key::NumPad5 => 76,
        Key::NumPad6 => 77,
        Key::NumPad7 => 71,
        Key::NumPad8 => 72,
        Key::NumPad9 => 73,
        Key::NumPadDot => 83,
        Key::NumPadSlash => 98,
        Key::NumPadAsterisk => 55,
        Key::NumPadMinus => 74,
        Key::NumPadPlus => 78,
        Key::NumPadEnter => 96,
        Key::LeftAlt => 56,
        Key::RightAlt => 100,
        Key::LeftSuper => 125,
        Key::RightSuper => 126,
        Key::Unknown | Key::Count => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys;

    /// The same key by its name in scripts and by minifb's name for it.
    #[test]
    fn the_two_tables_agree() {
        for (name, key) in [
            ("a", Key::A),
            ("z", Key::Z),
            ("0", Key::Key0),
            ("9", Key::Key9),
            ("enter", Key::Enter),
            ("backspace", Key::Backspace),
            ("f1", Key::F1),
            ("f10", Key::F10),
            ("f11", Key::F11),
            ("f15", Key::F15),
            ("leftbracket", Key::LeftBracket),
            ("grave", Key::Backquote),
            ("apostrophe", Key::Apostrophe),
            ("kp0", Key::NumPad0),
            ("kp9", Key::NumPad9),
            ("kpenter", Key::NumPadEnter),
            ("rightalt", Key::RightAlt),
            ("super", Key::LeftSuper),
            ("menu", Key::Menu),
            ("pagedown", Key::PageDown),
        ] {
            assert_eq!(keys::code(name), code(key), "{name}");
        }
    }

    #[test]
    fn every_key_of_a_window_has_a_name_in_scripts() {
        let mut seen = BTreeSet::new();
        for (name, wanted) in keys::KEYS {
            if ALL.iter().any(|key| code(*key) == Some(*wanted)) {
                assert!(seen.insert(*wanted), "{name} is on two keys");
            }
        }
        assert_eq!(seen.len(), ALL.len(), "some key of a window has no name");
    }

    const ALL: &[Key] = &[
        Key::Key0,
        Key::Key1,
        Key::Key2,
        Key::Key3,
        Key::Key4,
        Key::Key5,
        Key::Key6,
        Key::Key7,
        Key::Key8,
        Key::Key9,
        Key::A,
        Key::B,
        Key::C,
        Key::D,
        Key::E,
        Key::F,
        Key::G,
        Key::H,
        Key::I,
        Key::J,
        Key::K,
        Key::L,
        Key::M,
        Key::N,
        Key::O,
        Key::P,
        Key::Q,
        Key::R,
        Key::S,
        Key::T,
        Key::U,
        Key::V,
        Key::W,
        Key::X,
        Key::Y,
        Key::Z,
        Key::F1,
        Key::F2,
        Key::F3,
        Key::F4,
        Key::F5,
        Key::F6,
        Key::F7,
        Key::F8,
        Key::F9,
        Key::F10,
        Key::F11,
        Key::F12,
        Key::F13,
        Key::F14,
        Key::F15,
        Key::Down,
        Key::Left,
        Key::Right,
        Key::Up,
        Key::Apostrophe,
        Key::Backquote,
        Key::Backslash,
        Key::Comma,
        Key::Equal,
        Key::LeftBracket,
        Key::Minus,
        Key::Period,
        Key::RightBracket,
        Key::Semicolon,
        Key::Slash,
        Key::Backspace,
        Key::Delete,
        Key::End,
        Key::Enter,
        Key::Escape,
        Key::Home,
        Key::Insert,
        Key::Menu,
        Key::PageDown,
        Key::PageUp,
        Key::Pause,
        Key::Space,
        Key::Tab,
        Key::NumLock,
        Key::CapsLock,
        Key::ScrollLock,
        Key::LeftShift,
        Key::RightShift,
        Key::LeftCtrl,
        Key::RightCtrl,
        Key::NumPad0,
        Key::NumPad1,
        Key::NumPad2,
        Key::NumPad3,
        Key::NumPad4,
        Key::NumPad5,
        Key::NumPad6,
        Key::NumPad7,
        Key::NumPad8,
        Key::NumPad9,
        Key::NumPadDot,
        Key::NumPadSlash,
        Key::NumPadAsterisk,
        Key::NumPadMinus,
        Key::NumPadPlus,
        Key::NumPadEnter,
        Key::LeftAlt,
        Key::RightAlt,
        Key::LeftSuper,
        Key::RightSuper,
    ];

    #[test]
    fn presses_repeats_and_releases() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.event(Key::A, true), Some(Effect::Key(30, true)));
        assert_eq!(keyboard.event(Key::A, true), None);
        assert_eq!(keyboard.event(Key::A, false), Some(Effect::Key(30, false)));
        assert_eq!(keyboard.event(Key::A, false), None);
        assert_eq!(keyboard.event(Key::Unknown, true), None);
    }

    #[test]
    fn hotkeys_do_not_reach_the_guest() {
        let mut keyboard = Keyboard::default();
        assert_eq!(keyboard.event(Key::RightCtrl, true), Some(Effect::Key(97, true)));
        assert_eq!(keyboard.event(Key::R, true), Some(Effect::Key(19, true)));
        assert_eq!(keyboard.event(Key::R, false), Some(Effect::Key(19, false)));
        keyboard.event(Key::LeftAlt, true);
        assert_eq!(keyboard.event(Key::R, true), Some(Effect::Hotkey(Hotkey::Reset)));
        assert_eq!(keyboard.event(Key::R, true), None, "a repeat is no second reset");
        assert_eq!(keyboard.event(Key::R, false), None);
        assert_eq!(keyboard.event(Key::S, true), Some(Effect::Hotkey(Hotkey::Screenshot)));
        assert_eq!(keyboard.event(Key::X, true), Some(Effect::Hotkey(Hotkey::Close)));
    }

    #[test]
    fn after_a_reset_the_guest_holds_nothing_but_the_hand_may() {
        let mut keyboard = Keyboard::default();
        keyboard.event(Key::LeftCtrl, true);
        keyboard.event(Key::LeftAlt, true);
        keyboard.event(Key::R, true);
        keyboard.guest_was_reset();
        assert_eq!(keyboard.event(Key::LeftCtrl, false), None);
        // Alt still held in the window: another reset needs only Ctrl and R again.
        keyboard.event(Key::R, false);
        keyboard.event(Key::LeftCtrl, true);
        assert_eq!(keyboard.event(Key::R, true), Some(Effect::Hotkey(Hotkey::Reset)));
    }

    #[test]
    fn losing_the_focus_releases_everything_once() {
        let mut keyboard = Keyboard::default();
        keyboard.event(Key::LeftShift, true);
        keyboard.event(Key::A, true);
        assert_eq!(keyboard.release_all(), [30, 42]);
        assert!(keyboard.release_all().is_empty());
        assert_eq!(keyboard.event(Key::A, false), None);
    }
}
