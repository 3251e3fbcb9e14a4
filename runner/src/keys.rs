//! Names of keys and what they type.
//!
//! Codes are those of Linux's input subsystem (`linux/input-event-codes.h`),
//! which virtio-input carries as they are (virtio 1.2, 5.8). Typing assumes
//! that the guest has the US layout.

/// A Linux key or button code.
pub type Code = u16;

/// Left mouse button (`BTN_LEFT`).
pub const BUTTON_LEFT: Code = 0x110;
/// Right mouse button (`BTN_RIGHT`).
pub const BUTTON_RIGHT: Code = 0x111;
/// Middle mouse button (`BTN_MIDDLE`).
pub const BUTTON_MIDDLE: Code = 0x112;
/// Left shift, which typing holds for capitals.
pub const LEFT_SHIFT: Code = 42;
/// F13 to F16, which no keyboard of today has: guests made for it choose the first to fourth keyboard layout with them
/// (guest-rootfs/browser/etc/xkb/symbols/samovar).
pub const LAYOUT_KEYS: [Code; 4] = [183, 184, 185, 186];

/// Every key that has a name, and its code.
pub const KEYS: &[(&str, Code)] = &[
    ("esc", 1),
    ("1", 2),
    ("2", 3),
    ("3", 4),
    ("4", 5),
    ("5", 6),
    ("6", 7),
    ("7", 8),
    ("8", 9),
    ("9", 10),
    ("0", 11),
    ("minus", 12),
    ("equal", 13),
    ("backspace", 14),
    ("tab", 15),
    ("q", 16),
    ("w", 17),
    ("e", 18),
    ("r", 19),
    ("t", 20),
    ("y", 21),
    ("u", 22),
    ("i", 23),
    ("o", 24),
    ("p", 25),
    ("leftbracket", 26),
    ("rightbracket", 27),
    ("enter", 28),
    ("ctrl", 29),
    ("a", 30),
    ("s", 31),
    ("d", 32),
    ("f", 33),
    ("g", 34),
    ("h", 35),
    ("j", 36),
    ("k", 37),
    ("l", 38),
    ("semicolon", 39),
    ("apostrophe", 40),
    ("grave", 41),
    ("shift", LEFT_SHIFT),
    ("backslash", 43),
    ("z", 44),
    ("x", 45),
    ("c", 46),
    ("v", 47),
    ("b", 48),
    ("n", 49),
    ("m", 50),
    ("comma", 51),
    ("period", 52),
    ("slash", 53),
    ("rightshift", 54),
    ("kpasterisk", 55),
    ("alt", 56),
    ("space", 57),
    ("capslock", 58),
    ("f1", 59),
    ("f2", 60),
    ("f3", 61),
    ("f4", 62),
    ("f5", 63),
    ("f6", 64),
    ("f7", 65),
    ("f8", 66),
    ("f9", 67),
    ("f10", 68),
    ("numlock", 69),
    ("scrolllock", 70),
    ("kp7", 71),
    ("kp8", 72),
    ("kp9", 73),
    ("kpminus", 74),
    ("kp4", 75),
    ("kp5", 76),
    ("kp6", 77),
    ("kpplus", 78),
    ("kp1", 79),
    ("kp2", 80),
    ("kp3", 81),
    ("kp0", 82),
    ("kpdot", 83),
    ("f11", 87),
    ("f12", 88),
    ("kpenter", 96),
    ("rightctrl", 97),
    ("kpslash", 98),
    ("rightalt", 100),
    ("home", 102),
    ("up", 103),
    ("pageup", 104),
    ("left", 105),
    ("right", 106),
    ("end", 107),
    ("down", 108),
    ("pagedown", 109),
    ("insert", 110),
    ("delete", 111),
    ("pause", 119),
    ("super", 125),
    ("rightsuper", 126),
    ("menu", 127),
    ("f13", 183),
    ("f14", 184),
    ("f15", 185),
];

/// Other names for the same keys.
const ALIASES: &[(&str, &str)] = &[
    ("escape", "esc"),
    ("return", "enter"),
    ("del", "delete"),
    ("ins", "insert"),
    ("pgup", "pageup"),
    ("pgdn", "pagedown"),
    ("control", "ctrl"),
    ("leftctrl", "ctrl"),
    ("leftshift", "shift"),
    ("leftalt", "alt"),
    ("altgr", "rightalt"),
    ("meta", "super"),
    ("leftsuper", "super"),
    ("dot", "period"),
];

/// The code of the key called `name`, in any case.
pub fn code(name: &str) -> Option<Code> {
    let name = name.to_ascii_lowercase();
    let name = ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name.as_str(), |(_, key)| key);
    KEYS.iter().find(|(key, _)| *key == name).map(|(_, code)| *code)
}

/// One character's key on a US keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stroke {
    /// The key.
    pub code: Code,
    /// Whether shift is held.
    pub shift: bool,
}

/// Keys of a US keyboard that type something else with shift: name, plain, shifted.
const TYPED: &[(&str, char, char)] = &[
    ("1", '1', '!'),
    ("2", '2', '@'),
    ("3", '3', '#'),
    ("4", '4', '$'),
    ("5", '5', '%'),
    ("6", '6', '^'),
    ("7", '7', '&'),
    ("8", '8', '*'),
    ("9", '9', '('),
    ("0", '0', ')'),
    ("minus", '-', '_'),
    ("equal", '=', '+'),
    ("leftbracket", '[', '{'),
    ("rightbracket", ']', '}'),
    ("semicolon", ';', ':'),
    ("apostrophe", '\'', '"'),
    ("grave", '`', '~'),
    ("backslash", '\\', '|'),
    ("comma", ',', '<'),
    ("period", '.', '>'),
    ("slash", '/', '?'),
];

/// How to type `character` on a US keyboard, if it can be.
pub fn stroke(character: char) -> Option<Stroke> {
    if character.is_ascii_alphabetic() {
        let name = character.to_ascii_lowercase().to_string();
        return Some(Stroke { code: code(&name)?, shift: character.is_ascii_uppercase() });
    }
    if character == ' ' {
        return Some(Stroke { code: code("space")?, shift: false });
    }
    let (name, plain, _) =
        TYPED.iter().find(|(_, plain, shifted)| *plain == character || *shifted == character)?;
    Some(Stroke { code: code(name)?, shift: character != *plain })
}

/// Keys pressed together, in order, and released in reverse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chord(pub Vec<Code>);

/// Reads keys joined by `+`, such as `ctrl+shift+t`.
///
/// # Errors
/// Names the key that is not known, or that comes twice.
pub fn parse_chord(text: &str) -> Result<Chord, String> {
    let mut codes = Vec::new();
    for name in text.split('+') {
        let code = code(name).ok_or_else(|| match name {
            "" => format!("`{text}` lacks a key name beside a `+`; the plus key itself is `shift+equal`"),
            _ => format!("`{name}` is no key name"),
        })?;
        if codes.contains(&code) {
            return Err(format!("`{name}` comes twice"));
        }
        codes.push(code);
    }
    Ok(Chord(codes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_codes_are_unique() {
        let names: BTreeSet<_> = KEYS.iter().map(|(name, _)| name).collect();
        let codes: BTreeSet<_> = KEYS.iter().map(|(_, code)| code).collect();
        assert_eq!(names.len(), KEYS.len());
        assert_eq!(codes.len(), KEYS.len());
        for (alias, name) in ALIASES {
            assert!(!names.contains(alias), "{alias} is an alias and a name");
            assert!(names.contains(name), "{alias} stands for the unknown {name}");
        }
    }

    /// Rows of a keyboard are consecutive in Linux's table, which starts from
    /// the order of scan codes of an AT keyboard.
    #[test]
    fn rows_are_consecutive() {
        for (first, row) in [(2, "1234567890"), (16, "qwertyuiop"), (30, "asdfghjkl"), (44, "zxcvbnm")] {
            for (i, name) in row.chars().enumerate() {
                assert_eq!(code(&name.to_string()), Some(first + i as Code), "{name}");
            }
        }
    }

    #[test]
    fn every_printable_ascii_character_can_be_typed_and_none_twice_the_same_way() {
        let mut seen = BTreeSet::new();
        for byte in 0x20u8..0x7f {
            let stroke = stroke(char::from(byte)).unwrap_or_else(|| panic!("{:?}", char::from(byte)));
            assert!(seen.insert((stroke.code, stroke.shift)), "{:?}", char::from(byte));
        }
        for character in ['\n', '\t', '\u{7f}', 'ä', '€'] {
            assert_eq!(stroke(character), None);
        }
    }

    #[test]
    fn chords() {
        assert_eq!(parse_chord("ctrl+l"), Ok(Chord(vec![29, 38])));
        assert_eq!(parse_chord("Ctrl+Shift+T"), Ok(Chord(vec![29, 42, 20])));
        assert_eq!(parse_chord("Return"), Ok(Chord(vec![28])));
        assert!(parse_chord("").is_err());
        assert!(parse_chord("ctrl+").is_err());
        assert!(parse_chord("ctrl+hyper").unwrap_err().contains("hyper"));
        assert!(parse_chord("ctrl+leftctrl").unwrap_err().contains("twice"));
    }
}
