//! The keyboard.

use super::{
    Input, Kind,
    codes::{
        EV_KEY, EV_LED, EV_REP, LED_CAPSL, LED_NUML, LED_SCROLLL, REP_DELAY, REP_PERIOD, is_keyboard_key,
    },
};

/// A keyboard. The guest repeats held keys itself.
pub type Keyboard = Input<KeyboardKind>;

/// What makes an [`Input`] a keyboard.
pub struct KeyboardKind;

impl Kind for KeyboardKind {
    const DEVICE: &'static str = "virtio-input keyboard";
    const NAME: &'static str = "samovar keyboard";
    const PRODUCT: u16 = 1;
    const AXIS_MAX: u32 = 0;

    fn has(kind: u16, code: u16) -> bool {
        match kind {
            EV_KEY => is_keyboard_key(code),
            EV_LED => matches!(code, LED_NUML | LED_CAPSL | LED_SCROLLL),
            // Linux repeats held keys for a device that has this type.
            EV_REP => matches!(code, REP_DELAY | REP_PERIOD),
            _ => false,
        }
    }
}

impl Keyboard {
    /// Presses or releases the key with Linux code `code`. Returns whether it
    /// was taken: not if there is no such key, if it is so already, or if too
    /// much waits for the driver.
    pub fn key(&mut self, code: u16, pressed: bool) -> bool {
        self.set_key(code, pressed)
    }
}
