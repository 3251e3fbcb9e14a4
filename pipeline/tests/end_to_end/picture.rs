//! PNG pictures as pixels.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

/// Width, height and RGB pixels of a picture.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    pub width: usize,
    pub height: usize,
    pixels: Vec<[u8; 3]>,
}

impl Picture {
    pub fn read(path: &Path) -> Picture {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut decoder = png::Decoder::new(BufReader::new(file));
        decoder.set_transformations(png::Transformations::normalize_to_color8());
        let mut reader = decoder.read_info().unwrap();
        let mut bytes = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut bytes).unwrap();
        bytes.truncate(info.buffer_size());
        let pixels = match info.color_type {
            png::ColorType::Rgb => bytes.as_chunks::<3>().0.to_vec(),
            png::ColorType::Rgba => bytes.as_chunks::<4>().0.iter().map(|&[r, g, b, _]| [r, g, b]).collect(),
            png::ColorType::Grayscale => bytes.iter().map(|&grey| [grey; 3]).collect(),
            other => panic!("{}: pixels of type {other:?}", path.display()),
        };
        Picture { width: info.width as usize, height: info.height as usize, pixels }
    }

    pub fn pixel(&self, x: usize, y: usize) -> [u8; 3] {
        self.pixels[y * self.width + x]
    }

    /// Rows in which the pictures differ.
    pub fn rows_that_differ(&self, other: &Picture) -> Vec<usize> {
        assert_eq!((self.width, self.height), (other.width, other.height));
        let row = |picture: &Picture, y| picture.pixels[y * picture.width..][..picture.width].to_vec();
        (0..self.height).filter(|&y| row(self, y) != row(other, y)).collect()
    }

    /// How many colours there are.
    pub fn colours(&self) -> usize {
        self.pixels.iter().collect::<std::collections::HashSet<_>>().len()
    }
}
