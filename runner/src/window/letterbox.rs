//! Where the guest's screen lies in a window of another shape.

/// The largest value of the guest's pointer, on both axes.
pub const POINTER_MAX: u32 = 32767;

/// The rectangle of a window that shows the guest's screen: as large as fits
/// with the aspect ratio kept, in the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letterbox {
    /// Left edge, in window pixels.
    pub x: u32,
    /// Top edge, in window pixels.
    pub y: u32,
    /// Width in window pixels, at least 1.
    pub width: u32,
    /// Height in window pixels, at least 1.
    pub height: u32,
}

impl Letterbox {
    /// Fits a screen into a window, both as (width, height).
    pub fn fit(screen: (u32, u32), window: (u32, u32)) -> Self {
        let wide = |(w, h): (u32, u32)| (u64::from(w.max(1)), u64::from(h.max(1)));
        let ((sw, sh), (ww, wh)) = (wide(screen), wide(window));
        // Compares sw/sh with ww/wh without dividing.
        let (width, height) =
            if sw * wh >= ww * sh { (ww, (ww * sh / sw).max(1)) } else { ((wh * sw / sh).max(1), wh) };
        Letterbox {
            x: ((ww - width) / 2) as u32,
            y: ((wh - height) / 2) as u32,
            width: width as u32,
            height: height as u32,
        }
    }

    /// The guest's pointer, 0 to [`POINTER_MAX`], for a point of the window; on
    /// the bars it stays at the screen's edge.
    pub fn pointer(&self, x: f32, y: f32) -> (u32, u32) {
        (axis(x - self.x as f32, self.width), axis(y - self.y as f32, self.height))
    }

    /// Whether a point of the window is on the guest's screen.
    pub fn contains(&self, x: f32, y: f32) -> bool {
        let inside = |at: f32, len: u32| at >= 0.0 && at < len as f32;
        inside(x - self.x as f32, self.width) && inside(y - self.y as f32, self.height)
    }
}

/// Point `at` of an axis `len` pixels long as a pointer value, kept inside it.
/// A `NaN` is taken for 0.
fn axis(at: f32, len: u32) -> u32 {
    pointer_of_pixel(at.max(0.0).floor() as u32, len)
}

/// The pointer value that lands on pixel `at` of a screen `len` pixels wide,
/// when the guest divides the range as libinput does, into `len` equal parts.
pub fn pointer_of_pixel(at: u32, len: u32) -> u32 {
    let len = u64::from(len.max(1));
    let at = u64::from(at).min(len - 1);
    // The middle of the pixel's part of the range, so that no rounding on the
    // way moves it to a neighbour.
    ((2 * at + 1) * u64::from(POINTER_MAX + 1) / (2 * len)).min(u64::from(POINTER_MAX)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn shapes() {
        let fit = Letterbox::fit;
        assert_eq!(fit((1280, 720), (1280, 720)), Letterbox { x: 0, y: 0, width: 1280, height: 720 });
        assert_eq!(fit((1280, 720), (2560, 1440)), Letterbox { x: 0, y: 0, width: 2560, height: 1440 });
        assert_eq!(fit((100, 100), (300, 100)), Letterbox { x: 100, y: 0, width: 100, height: 100 });
        assert_eq!(fit((300, 100), (300, 300)), Letterbox { x: 0, y: 100, width: 300, height: 100 });
        assert_eq!(fit((0, 0), (0, 0)), Letterbox { x: 0, y: 0, width: 1, height: 1 });
    }

    #[test]
    fn the_pointer_stays_on_the_screen() {
        let letterbox = Letterbox::fit((100, 100), (300, 100));
        assert_eq!(letterbox.pointer(-5.0, -5.0), letterbox.pointer(100.0, 0.0));
        assert_eq!(letterbox.pointer(1e9, f32::INFINITY), letterbox.pointer(199.0, 99.0));
        assert_eq!(letterbox.pointer(f32::NAN, f32::NAN), letterbox.pointer(100.0, 0.0));
        assert!(letterbox.contains(100.0, 0.0) && letterbox.contains(199.5, 99.5));
        assert!(!letterbox.contains(99.0, 0.0) && !letterbox.contains(200.0, 0.0));
    }

    proptest! {
        #[test]
        fn it_fits_touches_and_keeps_the_shape(
            sw in 1u32..8000, sh in 1u32..8000, ww in 1u32..8000, wh in 1u32..8000,
        ) {
            let l = Letterbox::fit((sw, sh), (ww, wh));
            prop_assert!(l.width >= 1 && l.height >= 1);
            prop_assert!(l.x + l.width <= ww && l.y + l.height <= wh);
            prop_assert!(l.width == ww || l.height == wh);
            // Centred to within a pixel.
            prop_assert!((ww - l.width) / 2 == l.x && (wh - l.height) / 2 == l.y);
            // The aspect ratio is kept to within one pixel of the shorter side.
            let exact_height = f64::from(l.width) * f64::from(sh) / f64::from(sw);
            let exact_width = f64::from(l.height) * f64::from(sw) / f64::from(sh);
            prop_assert!(
                (exact_height - f64::from(l.height)).abs() <= 1.0
                    || (exact_width - f64::from(l.width)).abs() <= 1.0
            );
        }

        #[test]
        fn a_pixel_comes_back_from_its_pointer_value(len in 1u32..16384, at: u32) {
            let at = at % len;
            let value = pointer_of_pixel(at, len);
            prop_assert!(value <= POINTER_MAX);
            let back = u64::from(value) * u64::from(len) / u64::from(POINTER_MAX + 1);
            prop_assert_eq!(back, u64::from(at));
        }

        #[test]
        fn a_window_pixel_shows_the_guest_pixel_that_it_points_at(
            sw in 1u32..4000, sh in 1u32..4000, ww in 1u32..4000, wh in 1u32..4000, x: u32, y: u32,
        ) {
            let l = Letterbox::fit((sw, sh), (ww, wh));
            let (x, y) = (x % l.width, y % l.height);
            let (px, py) = l.pointer((l.x + x) as f32, (l.y + y) as f32);
            // The scaler shows source pixel floor(x * sw / width); the pointer may differ from it
            // by the width of one window pixel.
            let shown = |at: u32, len: u32, screen: u32| i64::from(at) * i64::from(screen) / i64::from(len);
            let pointed = |value: u32, screen: u32| i64::from(value) * i64::from(screen) / i64::from(POINTER_MAX + 1);
            let tolerance = |len: u32, screen: u32| i64::from(screen.div_ceil(len));
            prop_assert!((pointed(px, sw) - shown(x, l.width, sw)).abs() <= tolerance(l.width, sw));
            prop_assert!((pointed(py, sh) - shown(y, l.height, sh)).abs() <= tolerance(l.height, sh));
        }
    }
}
