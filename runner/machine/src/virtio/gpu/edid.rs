//! The display's identification: one EDID 1.4 block (VESA E-EDID Standard,
//! Release A, Revision 2), whose preferred mode is the window's size.

/// Length of the block in bytes.
pub const EDID_LEN: usize = 128;

/// Largest width and height that a detailed timing can hold (3.10.2).
pub const MAX_ACTIVE: u32 = 4095;

/// Horizontal blanking, front porch and sync of VESA CVT reduced blanking, in pixels.
const H_BLANK: u32 = 160;
const H_FRONT: u32 = 48;
const H_SYNC: u32 = 32;
/// Vertical front porch of the same, in lines; its sync depends on the aspect
/// ratio there, and nothing on a virtual display.
const V_FRONT: u32 = 3;
const V_SYNC: u32 = 5;
/// Least vertical back porch in lines, and least vertical blanking in microseconds.
const V_BACK_MIN: u32 = 6;
const V_BLANK_MIN_US: u64 = 460;

const REFRESH_HZ: u64 = 60;
/// Unit of the pixel clock, which has 16 bits (3.10.2).
const CLOCK_UNIT_HZ: u64 = 10_000;

/// Dots per inch from which the size in millimetres follows: a scale of one.
const DPI: u32 = 96;

/// The block for a display of `width` by `height`, each 1 to [`MAX_ACTIVE`].
pub fn edid(width: u32, height: u32) -> [u8; EDID_LEN] {
    let (width, height) = (width.clamp(1, MAX_ACTIVE), height.clamp(1, MAX_ACTIVE));
    let mut e = [0u8; EDID_LEN];
    e[..8].copy_from_slice(&[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    e[8..10].copy_from_slice(&manufacturer(b"SMV").to_be_bytes());
    e[10] = 1; // product code
    e[16..18].copy_from_slice(&[0xff, (2026 - 1990) as u8]); // no week: a model year (3.4.4)
    e[18..20].copy_from_slice(&[1, 4]); // EDID 1.4
    e[20] = 0b1010_0000; // digital, 8 bits per colour, no particular interface (3.6.1)
    e[21] = (millimetres(width) / 10) as u8; // at most 108 cm, for MAX_ACTIVE pixels
    e[22] = (millimetres(height) / 10) as u8;
    e[23] = 120; // gamma 2.2, as (gamma - 1) * 100
    e[24] = 0b0000_0110; // RGB 4:4:4; sRGB is the default space; first timing is the native mode
    e[25..35].copy_from_slice(&srgb_chromaticity());
    e[38..54].fill(0x01); // no standard timings
    e[54..72].copy_from_slice(&detailed_timing(width, height));
    e[72..90].copy_from_slice(&text_descriptor(0xfc, "samovar")); // display product name
    e[90..108].copy_from_slice(&text_descriptor(0xfe, "virtual display")); // free text
    e[108 + 3] = 0x10; // dummy descriptor
    let sum = e.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte));
    e[EDID_LEN - 1] = sum.wrapping_neg();
    e
}

/// Three letters in five bits each, A = 1 (3.4.1).
const fn manufacturer(letters: &[u8; 3]) -> u16 {
    (letters[0] as u16 - 64) << 10 | (letters[1] as u16 - 64) << 5 | (letters[2] as u16 - 64)
}

fn millimetres(pixels: u32) -> u32 {
    // An inch is 25.4 mm.
    pixels * 254 / (DPI * 10)
}

/// The primaries and white point of sRGB (IEC 61966-2-1) as ten-bit fractions,
/// their low bits packed first (3.7).
fn srgb_chromaticity() -> [u8; 10] {
    const XY: [u32; 8] = [6400, 3300, 3000, 6000, 1500, 600, 3127, 3290];
    let fractions = XY.map(|value| (value * 1024 + 5000) / 10_000);
    let low = |from: usize| fractions[from..from + 4].iter().fold(0, |bits, f| bits << 2 | (f & 3) as u8);
    let mut bytes = [0; 10];
    (bytes[0], bytes[1]) = (low(0), low(4));
    for (byte, fraction) in bytes[2..].iter_mut().zip(fractions) {
        *byte = (fraction >> 2) as u8;
    }
    bytes
}

/// The 18-byte descriptor of the preferred mode (3.10.2).
fn detailed_timing(width: u32, height: u32) -> [u8; 18] {
    let h_total = u64::from(width + H_BLANK);
    // Enough lines for the least blanking time (VESA CVT 1.2, reduced blanking):
    // of the frame's time, that much is blanking and the rest active lines.
    // Both in units of a microsecond over the refresh.
    let blank_time = V_BLANK_MIN_US * REFRESH_HZ;
    let active_time = 1_000_000 - blank_time;
    let lines = u64::from(height) * blank_time / active_time + 1;
    let v_blank = (lines as u32).max(V_FRONT + V_SYNC + V_BACK_MIN);
    let clock_hz = h_total * u64::from(height + v_blank) * REFRESH_HZ;
    // The largest modes would need a faster clock than the field can hold; they
    // get the fastest, hence a lower refresh.
    let clock = u16::try_from(clock_hz / CLOCK_UNIT_HZ).unwrap_or(u16::MAX).max(1);

    let (mm_w, mm_h) = (millimetres(width), millimetres(height));
    let low = |value: u32| value as u8;
    let high4 = |a: u32, b: u32| ((a >> 8) as u8) << 4 | (b >> 8) as u8 & 0xf;
    let mut d = [0; 18];
    d[..2].copy_from_slice(&clock.to_le_bytes());
    d[2..5].copy_from_slice(&[low(width), low(H_BLANK), high4(width, H_BLANK)]);
    d[5..8].copy_from_slice(&[low(height), low(v_blank), high4(height, v_blank)]);
    d[8..10].copy_from_slice(&[low(H_FRONT), low(H_SYNC)]);
    d[10] = low(V_FRONT) << 4 | low(V_SYNC);
    d[12..15].copy_from_slice(&[low(mm_w), low(mm_h), high4(mm_w, mm_h)]);
    d[17] = 0b0001_1010; // digital separate sync, horizontal positive, as CVT has it with reduced blanking
    d
}

/// A display descriptor with up to 13 characters of text (3.10.3).
fn text_descriptor(tag: u8, text: &str) -> [u8; 18] {
    let mut d = [b' '; 18];
    d[..5].copy_from_slice(&[0, 0, 0, tag, 0]);
    let text = &text.as_bytes()[..text.len().min(13)];
    d[5..5 + text.len()].copy_from_slice(text);
    if let Some(end) = d.get_mut(5 + text.len()) {
        *end = b'\n';
    }
    d
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a reader of the block finds, worked out from the standard's layout alone.
    struct Mode {
        width: u32,
        height: u32,
        refresh: f64,
    }

    fn parse(e: &[u8; EDID_LEN]) -> Mode {
        assert_eq!(u64::from_be_bytes(e[..8].try_into().unwrap()), 0x00ff_ffff_ffff_ff00, "header");
        assert_eq!(e.iter().map(|&byte| u32::from(byte)).sum::<u32>() % 256, 0, "checksum");
        assert_eq!((e[18], e[19], e[126]), (1, 4, 0));
        let t = &e[54..72];
        let wide = |low: usize, high: usize, shift: u32| {
            u32::from(t[low]) + (u32::from(t[high]) >> shift & 15) * 256
        };
        let clock = f64::from(u32::from(t[0]) + 256 * u32::from(t[1])) * 10_000.0;
        let (width, h_blank) = (wide(2, 4, 4), wide(3, 4, 0));
        let (height, v_blank) = (wide(5, 7, 4), wide(6, 7, 0));
        let h_front = u32::from(t[8]) + (u32::from(t[11]) >> 6) * 256;
        let h_sync = u32::from(t[9]) + (u32::from(t[11]) >> 4 & 3) * 256;
        let v_front = u32::from(t[10] >> 4) + (u32::from(t[11]) >> 2 & 3) * 16;
        let v_sync = u32::from(t[10] & 15) + (u32::from(t[11]) & 3) * 16;
        assert!(h_front > 0 && h_sync > 0 && h_front + h_sync < h_blank, "horizontal sync");
        assert!(v_front > 0 && v_sync > 0 && v_front + v_sync < v_blank, "vertical sync");
        let refresh = clock / f64::from(width + h_blank) / f64::from(height + v_blank);
        Mode { width, height, refresh }
    }

    #[test]
    fn any_size_gives_a_sound_block_with_that_mode() {
        for (width, height) in [
            (1, 1),
            (16, 16),
            (640, 480),
            (1280, 720),
            (1366, 768),
            (1919, 1081),
            (1920, 1080),
            (3840, 2160),
            (4095, 4095),
        ] {
            let mode = parse(&edid(width, height));
            assert_eq!((mode.width, mode.height), (width, height));
            // The smallest modes have too coarse a clock, the largest too slow a one.
            if (640..4095).contains(&width) {
                assert!((59.8..=60.0).contains(&mode.refresh), "{width}x{height} at {}", mode.refresh);
            }
            assert!(mode.refresh > 30.0);
        }
    }

    #[test]
    fn the_name_is_in_a_display_product_name_descriptor() {
        let e = edid(1280, 720);
        assert_eq!(e[72..90], *b"\0\0\0\xfc\0samovar\n     ");
        // PNP id: five bits a letter, A = 1.
        let id = u16::from_be_bytes([e[8], e[9]]);
        let letters = [id >> 10 & 31, id >> 5 & 31, id & 31].map(|letter| (64 + letter) as u8);
        assert_eq!(letters, *b"SMV");
        // 1280 and 720 dots at 96 to the inch are 338.7 and 190.5 mm.
        assert_eq!((e[21], e[22]), (33, 19));
        assert_eq!((u32::from(e[66]) + u32::from(e[68] >> 4) * 256, e[67]), (338, 190));
    }

    #[test]
    fn the_colours_are_those_of_srgb() {
        let e = edid(800, 600);
        let xy = [0.64, 0.33, 0.30, 0.60, 0.15, 0.06, 0.3127, 0.3290];
        for (i, expected) in xy.into_iter().enumerate() {
            let low = e[25 + i / 4] >> (6 - 2 * (i % 4)) & 3;
            let value = f64::from(u32::from(e[27 + i]) * 4 + u32::from(low)) / 1024.0;
            assert!((value - expected).abs() < 0.0006, "{i}: {value} for {expected}");
        }
    }
}
