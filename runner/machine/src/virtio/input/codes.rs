//! Event types and codes of Linux input (Linux
//! include/uapi/linux/input-event-codes.h), which virtio-input uses as they are
//! (virtio 1.2, 5.8).

#![allow(missing_docs)] // each is the type or code that its name says

pub const EV_SYN: u16 = 0x00;
pub const EV_KEY: u16 = 0x01;
pub const EV_REL: u16 = 0x02;
pub const EV_ABS: u16 = 0x03;
pub const EV_LED: u16 = 0x11;
pub const EV_REP: u16 = 0x14;

pub const SYN_REPORT: u16 = 0;

pub const REL_HWHEEL: u16 = 0x06;
pub const REL_WHEEL: u16 = 0x08;
pub const REL_WHEEL_HI_RES: u16 = 0x0b;
pub const REL_HWHEEL_HI_RES: u16 = 0x0c;

pub const ABS_X: u16 = 0x00;
pub const ABS_Y: u16 = 0x01;

pub const LED_NUML: u16 = 0x00;
pub const LED_CAPSL: u16 = 0x01;
pub const LED_SCROLLL: u16 = 0x02;

pub const REP_DELAY: u16 = 0x00;
pub const REP_PERIOD: u16 = 0x01;

pub const BTN_LEFT: u16 = 0x110;
pub const BTN_RIGHT: u16 = 0x111;
pub const BTN_MIDDLE: u16 = 0x112;
pub const BTN_SIDE: u16 = 0x113;
pub const BTN_EXTRA: u16 = 0x114;

/// Whether `code` is a key of the keyboard range that has a name: from KEY_ESC
/// to KEY_MICMUTE, of which a few numbers are unused.
pub const fn is_keyboard_key(code: u16) -> bool {
    matches!(code, 1..=248) && !matches!(code, 84 | 195..=199)
}
