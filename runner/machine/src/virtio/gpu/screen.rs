//! What the host sees: the frame on the screen, and the cursor's image.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::memory::GuestMemory;

use super::{
    protocol::Rect,
    resource::{Backing, Format},
};

/// The frame that the guest shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Screen {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Pixels as 0x00RRGGBB, row by row from the top. Who keeps a frame keeps a
    /// reference; they are copied only if the guest draws while somebody does.
    pub pixels: Arc<Vec<u32>>,
    /// Counts up whenever anything else here changes.
    pub generation: u64,
    /// Whether the guest drives the screen. When it stops, the last frame stays.
    pub active: bool,
}

impl Screen {
    /// A black screen that nobody drives.
    pub(super) fn blank(&mut self, width: u32, height: u32) {
        self.resize(width, height);
        Arc::make_mut(&mut self.pixels).fill(0);
        self.active = false;
        self.generation += 1;
    }

    /// The guest stops driving the screen.
    pub(super) fn deactivate(&mut self) {
        if self.active {
            self.active = false;
            self.generation += 1;
        }
    }

    /// Shows `scanout`, a part of an image, from now on.
    pub(super) fn show(&mut self, image: &Image<'_>, scanout: &Rect) {
        self.resize(scanout.width, scanout.height);
        self.active = true;
        self.copy(image, scanout, scanout);
        self.generation += 1;
    }

    /// Takes over what `damage` covers of the image whose part `scanout` is shown.
    pub(super) fn update(&mut self, image: &Image<'_>, scanout: &Rect, damage: &Rect) {
        if let Some(damage) = scanout.intersection(damage)
            && self.copy(image, scanout, &damage)
        {
            self.generation += 1;
        }
    }

    /// Makes room for a frame that is drawn as a whole.
    fn resize(&mut self, width: u32, height: u32) {
        (self.width, self.height) = (width, height);
        let len = width as usize * height as usize;
        match Arc::get_mut(&mut self.pixels) {
            Some(pixels) => pixels.resize(len, 0),
            // Somebody keeps the old frame; there is no need to copy what is drawn over.
            None => self.pixels = Arc::new(vec![0; len]),
        }
    }

    /// Converts `damage`, which lies within `scanout`; returns whether a pixel changed.
    fn copy(&mut self, image: &Image<'_>, scanout: &Rect, damage: &Rect) -> bool {
        let (left, top) = ((damage.x - scanout.x) as usize, (damage.y - scanout.y) as usize);
        let (width, row_len) = (damage.width as usize, self.width as usize);
        let (mut changed, mut scratch) = (false, Vec::new());
        let pixels = Arc::make_mut(&mut self.pixels);
        for row in 0..damage.height as usize {
            let to = (top + row) * row_len + left;
            let source = image.row(damage.x, damage.y as usize + row, width, &mut scratch);
            let (Some(target), Some(source)) = (pixels.get_mut(to..to + width), source) else { break };
            changed |= image.format.convert_row(source, target);
        }
        changed
    }
}

/// A resource's pixels, to be shown.
pub(super) struct Image<'a> {
    pub format: Format,
    pub width: u32,
    pub source: Source<'a>,
}

/// Where an image's bytes are.
pub(super) enum Source<'a> {
    /// In the host's copy.
    Copy(&'a [u8]),
    /// Still in the guest's memory; zero where there is none.
    Backing(Option<&'a Backing>, &'a GuestMemory),
}

impl Image<'_> {
    fn row<'s>(&'s self, x: u32, y: usize, width: usize, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]> {
        let start = (y * self.width as usize + x as usize) * 4;
        match &self.source {
            Source::Copy(bytes) => bytes.get(start..start + width * 4),
            Source::Backing(backing, memory) => {
                scratch.clear();
                scratch.resize(width * 4, 0);
                if let Some(backing) = backing {
                    backing.read(start as u64, scratch, memory);
                }
                Some(scratch)
            }
        }
    }
}

/// Width and height of a cursor (virtio 1.2, 5.7.6.10).
pub const CURSOR_SIZE: u32 = 64;

/// The guest's mouse cursor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cursor {
    /// Position of the hot spot on the screen.
    pub x: u32,
    /// Position of the hot spot on the screen.
    pub y: u32,
    /// Hot spot in the image.
    pub hot_x: u32,
    /// Hot spot in the image.
    pub hot_y: u32,
    /// [`CURSOR_SIZE`] squared pixels as 0xAARRGGBB; none while it is hidden.
    pub image: Option<Vec<u32>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_is_kept_stays() {
        let (black, white) = ([0; 16], [0xff; 16]);
        let image = |bytes| Image { format: Format::Bgrx, width: 2, source: Source::Copy(bytes) };
        let whole = Rect { x: 0, y: 0, width: 2, height: 2 };
        let mut screen = Screen::default();
        screen.show(&image(&black), &whole);
        let first = screen.pixels.clone();
        screen.update(&image(&white), &whole, &Rect { height: 1, ..whole });
        let second = screen.pixels.clone();
        screen.show(&image(&white), &whole);
        assert_eq!(*first, [0; 4]);
        assert_eq!(*second, [0xff_ffff, 0xff_ffff, 0, 0]);
        assert_eq!(*screen.pixels, [0xff_ffff; 4]);
    }

    #[test]
    fn an_update_converts_its_part_and_counts_only_changes() {
        let mut bytes = vec![0; 4 * 4 * 4];
        let scanout = Rect { x: 1, y: 1, width: 2, height: 3 };
        let mut screen = Screen::default();
        screen.show(&Image { format: Format::Bgrx, width: 4, source: Source::Copy(&bytes) }, &scanout);
        assert_eq!((screen.width, screen.height, screen.active, screen.generation), (2, 3, true, 1));
        bytes[(2 * 4 + 2) * 4..][..4].copy_from_slice(&[0x33, 0x22, 0x11, 0xff]);
        let image = Image { format: Format::Bgrx, width: 4, source: Source::Copy(&bytes) };
        screen.update(&image, &scanout, &Rect { x: 0, y: 0, width: 1, height: 4 });
        screen.update(&image, &scanout, &Rect { x: 0, y: 0, width: 4, height: 2 });
        assert_eq!(screen.generation, 1, "outside the scanout, and outside the change");
        screen.update(&image, &scanout, &Rect { x: 2, y: 2, width: 2, height: 2 });
        assert_eq!((screen.generation, &screen.pixels[..]), (2, &[0, 0, 0, 0x11_2233, 0, 0][..]));
        screen.update(&image, &scanout, &Rect { x: 0, y: 0, width: 4, height: 4 });
        assert_eq!(screen.generation, 2);
    }
}
