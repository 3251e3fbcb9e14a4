//! The pointer: a tablet, whose positions are absolute, so that the guest's
//! cursor is always where the window's is.

use super::{
    Event, Input, Kind,
    codes::{
        ABS_X, ABS_Y, BTN_EXTRA, BTN_LEFT, EV_ABS, EV_KEY, EV_REL, REL_HWHEEL, REL_HWHEEL_HI_RES, REL_WHEEL,
        REL_WHEEL_HI_RES,
    },
};

/// A pointer with absolute positions.
pub type Tablet = Input<TabletKind>;

/// Largest position on both axes: right or bottom edge of the screen.
pub const TABLET_MAX: u32 = 32767;

/// Units of the high-resolution wheel in one notch (Linux Documentation/input/event-codes.rst).
const WHEEL_UNITS: i32 = 120;
/// Most notches in one report.
const WHEEL_MAX: i32 = 1000;

/// What makes an [`Input`] a tablet.
pub struct TabletKind;

impl Kind for TabletKind {
    const DEVICE: &'static str = "virtio-input tablet";
    const NAME: &'static str = "samovar tablet";
    const PRODUCT: u16 = 2;
    const AXIS_MAX: u32 = TABLET_MAX;

    fn has(kind: u16, code: u16) -> bool {
        match kind {
            EV_KEY => matches!(code, BTN_LEFT..=BTN_EXTRA),
            EV_ABS => matches!(code, ABS_X | ABS_Y),
            EV_REL => matches!(code, REL_WHEEL | REL_HWHEEL | REL_WHEEL_HI_RES | REL_HWHEEL_HI_RES),
            _ => false,
        }
    }
}

impl Tablet {
    /// Moves the pointer; positions beyond [`TABLET_MAX`] are at the edge.
    /// Returns whether the report was taken: not if too much waits for the driver.
    pub fn move_to(&mut self, x: u32, y: u32) -> bool {
        let axis = |code, value: u32| Event { kind: EV_ABS, code, value: value.min(TABLET_MAX) };
        self.report(&[axis(ABS_X, x), axis(ABS_Y, y)])
    }

    /// Presses or releases a button, [`BTN_LEFT`] to [`BTN_EXTRA`]. Returns
    /// whether it was taken: not if there is no such button, if it is so
    /// already, or if too much waits for the driver.
    pub fn button(&mut self, code: u16, pressed: bool) -> bool {
        self.set_key(code, pressed)
    }

    /// Turns the wheel by notches, right and up being positive. Returns whether
    /// the report was taken: not if too much waits for the driver.
    pub fn wheel(&mut self, dx: i32, dy: i32) -> bool {
        let mut events = Vec::with_capacity(4);
        for (notches, code, fine) in [(dx, REL_HWHEEL, REL_HWHEEL_HI_RES), (dy, REL_WHEEL, REL_WHEEL_HI_RES)]
        {
            let notches = notches.clamp(-WHEEL_MAX, WHEEL_MAX);
            if notches != 0 {
                let event = |code, value: i32| Event { kind: EV_REL, code, value: value as u32 };
                events.extend([event(code, notches), event(fine, notches * WHEEL_UNITS)]);
            }
        }
        events.is_empty() || self.report(&events)
    }
}
