//! Frames and PNG files.

use std::{fs, io, path::Path, sync::Arc};

use machine::virtio::gpu::Screen;

/// What the guest's screen shows at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// 0x00RRGGBB, row by row, `width * height` of them.
    pub pixels: Arc<Vec<u32>>,
}

impl Frame {
    /// What a guest's screen shows, if it shows anything.
    pub fn of(screen: &Screen) -> Option<Self> {
        let Screen { width, height, pixels, .. } = screen;
        let frame = Frame { width: *width, height: *height, pixels: Arc::clone(pixels) };
        (!frame.is_empty()).then_some(frame)
    }

    /// The pixel in column `x` of row `y`, as 0x00RRGGBB; None where the frame has none.
    pub fn pixel(&self, x: u32, y: u32) -> Option<u32> {
        let inside = x < self.width && y < self.height;
        let index = y as usize * self.width as usize + x as usize;
        self.pixels.get(index).filter(|_| inside).map(|pixel| pixel & 0xff_ffff)
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.width == 0 || self.height == 0
    }
}

/// Encodes `frame` as an RGB PNG: the same frame gives the same bytes.
///
/// # Errors
/// If the frame has no pixels, or not as many as its size says.
pub fn encode(frame: &Frame) -> io::Result<Vec<u8>> {
    let pixels = u64::from(frame.width) * u64::from(frame.height);
    if frame.is_empty() || frame.pixels.len() as u64 != pixels {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the screen shows nothing yet"));
    }
    let mut rgb = Vec::with_capacity(frame.pixels.len() * 3);
    for pixel in frame.pixels.iter() {
        let [_, red, green, blue] = pixel.to_be_bytes();
        rgb.extend_from_slice(&[red, green, blue]);
    }
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, frame.width, frame.height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    // The one way whose bytes do not depend on the host: any other goes by flate2, which is another library from program to
    // program, as their features are, and zlib-rs has instructions of the host's own.
    encoder.set_compression(png::Compression::Fast);
    encoder.set_filter(png::Filter::Up);
    let mut writer = encoder.write_header().map_err(io::Error::other)?;
    writer.write_image_data(&rgb).map_err(io::Error::other)?;
    writer.finish().map_err(io::Error::other)?;
    Ok(bytes)
}

/// Writes `frame` as a PNG file.
///
/// # Errors
/// If there is nothing to write or the host refuses.
pub fn save(frame: &Frame, path: &Path) -> io::Result<()> {
    fs::write(path, encode(frame)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decode(bytes: &[u8]) -> Frame {
        let mut reader = png::Decoder::new(io::Cursor::new(bytes)).read_info().unwrap();
        let mut rgb = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut rgb).unwrap();
        assert_eq!((info.color_type, info.bit_depth), (png::ColorType::Rgb, png::BitDepth::Eight));
        let pixels = rgb.chunks(3).map(|p| u32::from_be_bytes([0, p[0], p[1], p[2]])).collect();
        Frame { width: info.width, height: info.height, pixels: Arc::new(pixels) }
    }

    proptest! {
        #[test]
        fn a_decoder_sees_the_same_picture(width in 1u32..40, height in 1u32..40, seed: u32) {
            let pixels: Vec<u32> = (0..width * height)
                .map(|i| (i.wrapping_mul(2_654_435_761).wrapping_add(seed)) & 0xff_ffff)
                .collect();
            let frame = Frame { width, height, pixels: pixels.into() };
            let bytes = encode(&frame).unwrap();
            prop_assert_eq!(decode(&bytes), frame.clone());
            prop_assert_eq!(encode(&frame).unwrap(), bytes);
        }
    }

    #[test]
    fn the_unused_byte_of_a_pixel_does_not_show() {
        let frame = Frame { width: 1, height: 1, pixels: vec![0xff12_3456].into() };
        assert_eq!(*decode(&encode(&frame).unwrap()).pixels, [0x12_3456]);
    }

    #[test]
    fn what_is_no_picture_is_refused() {
        assert!(encode(&Frame::default()).is_err());
        assert!(encode(&Frame { width: 2, height: 2, pixels: vec![0; 3].into() }).is_err());
    }
}
