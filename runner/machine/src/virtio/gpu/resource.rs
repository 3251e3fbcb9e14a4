//! Host-side images and the guest pages behind them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::memory::GuestMemory;

use super::{
    protocol::{Rect, Refusal},
    screen::{Image, Source},
};

/// Largest width and height of a resource.
pub const MAX_SIDE: u32 = 16384;
/// Most host memory for the pixels of all resources, in bytes. The screen, a part
/// of one of them, takes as much again at most.
pub const MAX_PIXEL_BYTES: u64 = 256 << 20;
/// Most resources.
pub const MAX_RESOURCES: usize = 512;
/// Most backing entries of all resources: twice what [`MAX_PIXEL_BYTES`] needs
/// if no two pages of 4 KiB are adjacent.
pub const MAX_BACKING_ENTRIES: usize = 2 * (MAX_PIXEL_BYTES as usize >> 12);

/// Bytes in a pixel of every 2D format.
const PIXEL: u64 = 4;

/// The order of colours in a pixel's four bytes (virtio 1.2, 5.7.6.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)] // each is the order of bytes that its name says
pub enum Format {
    Bgra,
    Bgrx,
    Argb,
    Xrgb,
    Rgba,
    Xbgr,
    Abgr,
    Rgbx,
}

impl Format {
    /// The format with this number in the protocol.
    pub fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            1 => Format::Bgra,
            2 => Format::Bgrx,
            3 => Format::Argb,
            4 => Format::Xrgb,
            67 => Format::Rgba,
            68 => Format::Xbgr,
            121 => Format::Abgr,
            134 => Format::Rgbx,
            _ => return None,
        })
    }

    /// Converts pixels of this format to 0x00RRGGBB; returns whether `to` changed.
    pub fn convert_row(self, from: &[u8], to: &mut [u32]) -> bool {
        // With a pixel's bytes as a little-endian number, each order is a swap or a shift away.
        match self {
            Format::Bgra | Format::Bgrx => convert(from, to, |p| p & 0xff_ffff),
            Format::Argb | Format::Xrgb => convert(from, to, |p| p.swap_bytes() & 0xff_ffff),
            Format::Rgba | Format::Rgbx => convert(from, to, |p| p.swap_bytes() >> 8),
            Format::Abgr | Format::Xbgr => convert(from, to, |p| p >> 8),
        }
    }

    /// The opacity of a pixel, whose bytes are given as a little-endian number.
    fn alpha(self, pixel: u32) -> u32 {
        match self {
            Format::Bgra | Format::Rgba => pixel >> 24,
            Format::Argb | Format::Abgr => pixel & 0xff,
            Format::Bgrx | Format::Rgbx | Format::Xrgb | Format::Xbgr => 0xff,
        }
    }
}

fn convert(from: &[u8], to: &mut [u32], pixel: impl Fn(u32) -> u32) -> bool {
    let mut difference = 0;
    for (to, from) in to.iter_mut().zip(from.as_chunks::<4>().0) {
        let new = pixel(u32::from_le_bytes(*from));
        difference |= *to ^ new;
        *to = new;
    }
    difference != 0
}

/// A run of guest memory behind a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BackingEntry {
    /// Guest physical address.
    pub address: u64,
    /// Length in bytes.
    pub length: u64,
}

/// The guest memory behind a resource, in order; all of it exists.
pub(super) struct Backing {
    entries: Vec<BackingEntry>,
    /// Offset of each entry in the whole.
    starts: Vec<u64>,
    len: u64,
}

impl Backing {
    pub fn new() -> Self {
        Backing { entries: Vec::new(), starts: Vec::new(), len: 0 }
    }

    /// Adds a run at the end, joined to the one before where both are adjacent.
    pub fn push(&mut self, entry: BackingEntry, memory: &GuestMemory) -> Result<(), Refusal> {
        memory.host_ptr(entry.address, entry.length).map_err(|_| Refusal::InvalidParameter)?;
        let total = self.len.checked_add(entry.length).ok_or(Refusal::InvalidParameter)?;
        match self.entries.last_mut() {
            // Adjacent parts of one region only: the joined run is checked as a whole.
            Some(last)
                if last.address + last.length == entry.address
                    && memory.host_ptr(last.address, last.length + entry.length).is_ok() =>
            {
                last.length += entry.length;
            }
            _ if entry.length == 0 => {}
            _ => {
                self.entries.push(entry);
                self.starts.push(self.len);
            }
        }
        self.len = total;
        Ok(())
    }

    pub fn entry_count(&self) -> usize {
        self.entries.len()
    }

    /// Copies from `offset` on into `buf`, as far as there is backing.
    pub fn read(&self, offset: u64, buf: &mut [u8], memory: &GuestMemory) {
        let mut index = self.starts.partition_point(|&start| start <= offset).saturating_sub(1);
        let (mut offset, mut done) = (offset, 0);
        while done < buf.len() {
            let (Some(entry), Some(start)) = (self.entries.get(index), self.starts.get(index)) else { break };
            let skip = offset - start;
            if skip >= entry.length {
                break;
            }
            let n = usize::try_from(entry.length - skip).unwrap_or(usize::MAX).min(buf.len() - done);
            // It can't fail: each run was checked when it came.
            if memory.read(entry.address + skip, &mut buf[done..done + n]).is_err() {
                break;
            }
            done += n;
            offset += n as u64;
            index += 1;
        }
    }
}

/// An image.
pub(super) struct Resource {
    format: Format,
    pub width: u32,
    pub height: u32,
    backing: Option<Backing>,
    /// The host's copy, empty until it is needed.
    pixels: Vec<u8>,
    /// Whether that copy, when it is needed, begins as what the backing holds
    /// then, not as zeros: the resource comes from a saved state, which has no
    /// pixels.
    from_backing: bool,
}

impl Resource {
    fn byte_len(&self) -> usize {
        (pixel_bytes(self.width, self.height)) as usize
    }

    /// Makes sure that there is a copy, and returns it.
    fn hold(&mut self, memory: &GuestMemory) -> &mut [u8] {
        if self.pixels.is_empty() {
            self.pixels = vec![0; self.byte_len()];
            if let (true, Some(backing)) = (self.from_backing, &self.backing) {
                backing.read(0, &mut self.pixels, memory);
            }
            self.from_backing = false;
        }
        &mut self.pixels
    }

    /// The image as it is now.
    pub fn image(&mut self, memory: &GuestMemory) -> Image<'_> {
        let (format, width) = (self.format, self.width);
        Image { format, width, source: Source::Copy(self.hold(memory)) }
    }

    /// The image of a resource that has just been loaded, without making the
    /// host's copy: its fresh pages cost several times the reading itself
    /// (measured for 1280x720: 0.5 ms without, 9 ms with it on a busy host).
    pub fn loaded_image<'a>(&'a self, memory: &'a GuestMemory) -> Image<'a> {
        let source = Source::Backing(self.backing.as_ref(), memory);
        Image { format: self.format, width: self.width, source }
    }

    /// The image as 0xAARRGGBB.
    pub fn argb(&mut self, memory: &GuestMemory) -> Vec<u32> {
        let format = self.format;
        let bytes = self.hold(memory);
        let mut pixels = vec![0; bytes.len() / PIXEL as usize];
        format.convert_row(bytes, &mut pixels);
        for (pixel, raw) in pixels.iter_mut().zip(bytes.as_chunks::<4>().0) {
            *pixel |= format.alpha(u32::from_le_bytes(*raw)) << 24;
        }
        pixels
    }

    /// Copies `rect` from the backing, where its first pixel is at `offset`
    /// and rows are as long as the resource's (5.7.6.8).
    pub fn transfer(&mut self, rect: &Rect, offset: u64, memory: &GuestMemory) -> Result<(), Refusal> {
        if !rect.is_within(self.width, self.height) {
            return Err(Refusal::InvalidParameter);
        }
        let Some(backing) = &self.backing else { return Err(Refusal::Unspecified) };
        let stride = u64::from(self.width) * PIXEL;
        let row_len = u64::from(rect.width) * PIXEL;
        let span = u64::from(rect.height - 1) * stride + row_len;
        if offset.checked_add(span).is_none_or(|end| end > backing.len) {
            return Err(Refusal::InvalidParameter);
        }
        // What is about to be replaced as a whole need not be read first.
        if row_len * u64::from(rect.height) == pixel_bytes(self.width, self.height) {
            self.from_backing = false;
        }
        self.hold(memory);
        let (bytes, Some(backing)) = (&mut self.pixels, &self.backing) else {
            return Err(Refusal::Unspecified);
        };
        let start = u64::from(rect.y) * stride + u64::from(rect.x) * PIXEL;
        if row_len == stride {
            backing.read(offset, &mut bytes[start as usize..(start + span) as usize], memory);
            return Ok(());
        }
        for row in 0..u64::from(rect.height) {
            let to = (start + row * stride) as usize;
            backing.read(offset + row * stride, &mut bytes[to..to + row_len as usize], memory);
        }
        Ok(())
    }
}

fn pixel_bytes(width: u32, height: u32) -> u64 {
    u64::from(width) * u64::from(height) * PIXEL
}

/// Saved state of a resource: all but its pixels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResourceState {
    /// Number that the guest gave it.
    pub id: u32,
    /// Byte order.
    pub format: Format,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Guest memory behind it, if there is any.
    pub backing: Option<Vec<BackingEntry>>,
}

/// All resources, within limits.
#[derive(Default)]
pub(super) struct Resources {
    by_id: BTreeMap<u32, Resource>,
    pixel_bytes: u64,
    entries: usize,
}

impl Resources {
    pub fn get_mut(&mut self, id: u32) -> Result<&mut Resource, Refusal> {
        self.by_id.get_mut(&id).ok_or(Refusal::InvalidResource)
    }

    pub fn create(&mut self, id: u32, format: Format, width: u32, height: u32) -> Result<(), Refusal> {
        // Zero means "no resource" elsewhere (5.7.6.8, SET_SCANOUT).
        if id == 0 || self.by_id.contains_key(&id) {
            return Err(Refusal::InvalidResource);
        }
        if !(1..=MAX_SIDE).contains(&width) || !(1..=MAX_SIDE).contains(&height) {
            return Err(Refusal::InvalidParameter);
        }
        let total = self.pixel_bytes + pixel_bytes(width, height);
        if total > MAX_PIXEL_BYTES || self.by_id.len() >= MAX_RESOURCES {
            return Err(Refusal::OutOfMemory);
        }
        self.pixel_bytes = total;
        self.by_id.insert(
            id,
            Resource { format, width, height, backing: None, pixels: Vec::new(), from_backing: false },
        );
        Ok(())
    }

    pub fn remove(&mut self, id: u32) -> Result<(), Refusal> {
        let resource = self.by_id.remove(&id).ok_or(Refusal::InvalidResource)?;
        self.pixel_bytes -= pixel_bytes(resource.width, resource.height);
        self.entries -= resource.backing.map_or(0, |backing| backing.entry_count());
        Ok(())
    }

    /// How many more backing entries there may be.
    pub fn entries_left(&self) -> usize {
        MAX_BACKING_ENTRIES - self.entries
    }

    pub fn attach(&mut self, id: u32, backing: Backing) -> Result<(), Refusal> {
        let left = self.entries_left();
        let resource = self.get_mut(id)?;
        if resource.backing.is_some() {
            return Err(Refusal::Unspecified);
        }
        let count = backing.entry_count();
        if count > left {
            return Err(Refusal::OutOfMemory);
        }
        resource.backing = Some(backing);
        self.entries += count;
        Ok(())
    }

    pub fn detach(&mut self, id: u32, memory: &GuestMemory) -> Result<(), Refusal> {
        let resource = self.get_mut(id)?;
        // The last chance to read what a saved state left in the backing.
        if resource.from_backing {
            resource.hold(memory);
        }
        let backing = resource.backing.take().ok_or(Refusal::Unspecified)?;
        self.entries -= backing.entry_count();
        Ok(())
    }

    pub fn save(&self) -> Vec<ResourceState> {
        let save = |(&id, resource): (&u32, &Resource)| ResourceState {
            id,
            format: resource.format,
            width: resource.width,
            height: resource.height,
            backing: resource.backing.as_ref().map(|backing| backing.entries.clone()),
        };
        self.by_id.iter().map(save).collect()
    }

    /// The resources of a saved state, each checked as if the guest created it now.
    pub fn from_state(state: &[ResourceState], memory: &GuestMemory) -> Result<Self, String> {
        let mut resources = Resources::default();
        for saved in state {
            let refuse = |refusal| format!("resource {}: {refusal:?}", saved.id);
            resources.create(saved.id, saved.format, saved.width, saved.height).map_err(refuse)?;
            let Some(entries) = &saved.backing else { continue };
            if entries.len() > resources.entries_left() {
                return Err(refuse(Refusal::OutOfMemory));
            }
            let mut backing = Backing::new();
            for &entry in entries {
                backing.push(entry, memory).map_err(refuse)?;
            }
            resources.attach(saved.id, backing).map_err(refuse)?;
            resources.get_mut(saved.id).map_err(refuse)?.from_backing = true;
        }
        Ok(resources)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::RAM_BASE;

    #[test]
    fn each_format_is_its_order_of_bytes() {
        // Red 1, green 2, blue 3, alpha 4, in the order of the format's name.
        for (number, bytes, has_alpha) in [
            (1, [3, 2, 1, 4], true),
            (2, [3, 2, 1, 4], false),
            (3, [4, 1, 2, 3], true),
            (4, [4, 1, 2, 3], false),
            (67, [1, 2, 3, 4], true),
            (68, [4, 3, 2, 1], false),
            (121, [4, 3, 2, 1], true),
            (134, [1, 2, 3, 4], false),
        ] {
            let format = Format::from_number(number).unwrap();
            let mut pixel = [0];
            assert!(format.convert_row(&bytes, &mut pixel));
            assert_eq!(pixel, [0x01_0203], "{format:?}");
            assert!(!format.convert_row(&bytes, &mut pixel));
            let alpha = if has_alpha { 4 } else { 0xff };
            assert_eq!(format.alpha(u32::from_le_bytes(bytes)), alpha, "{format:?}");
        }
        assert_eq!(Format::from_number(0), None);
        assert_eq!(Format::from_number(5), None);
    }

    #[test]
    fn backing_joins_neighbours_and_reads_across_entries() {
        let memory = GuestMemory::anonymous(0x10000).unwrap();
        memory.write(RAM_BASE, &(0..=255).collect::<Vec<u8>>()).unwrap();
        let mut backing = Backing::new();
        for (offset, length) in [(100, 10), (110, 5), (0, 0), (20, 7), (50, 1)] {
            backing.push(BackingEntry { address: RAM_BASE + offset, length }, &memory).unwrap();
        }
        assert_eq!((backing.entry_count(), backing.len), (3, 23));
        let all: Vec<u8> = (100..115).chain(20..27).chain(50..51).collect();
        for start in 0..all.len() {
            for end in start..=all.len() {
                let mut buf = vec![0; end - start];
                backing.read(start as u64, &mut buf, &memory);
                assert_eq!(buf, all[start..end]);
            }
        }
        let mut past = [9; 4];
        backing.read(21, &mut past, &memory);
        assert_eq!(past, [26, 50, 9, 9]);
        let outside = BackingEntry { address: RAM_BASE + 0xffff, length: 2 };
        assert_eq!(backing.push(outside, &memory), Err(Refusal::InvalidParameter));
    }

    #[test]
    fn limits_are_given_back() {
        let memory = GuestMemory::anonymous(0x10000).unwrap();
        let mut resources = Resources::default();
        assert_eq!(resources.create(1, Format::Bgra, MAX_SIDE + 1, 1), Err(Refusal::InvalidParameter));
        assert_eq!(resources.create(1, Format::Bgra, MAX_SIDE, MAX_SIDE), Err(Refusal::OutOfMemory));
        resources.create(1, Format::Bgra, MAX_SIDE, 4096).unwrap();
        assert_eq!(resources.create(2, Format::Bgra, 1, 1), Err(Refusal::OutOfMemory));
        resources.remove(1).unwrap();
        for id in 1..=MAX_RESOURCES as u32 {
            resources.create(id, Format::Bgra, 1, 1).unwrap();
        }
        assert_eq!(resources.create(9999, Format::Bgra, 1, 1), Err(Refusal::OutOfMemory));
        let mut backing = Backing::new();
        backing.push(BackingEntry { address: RAM_BASE, length: 4 }, &memory).unwrap();
        resources.attach(1, backing).unwrap();
        assert_eq!(resources.entries_left(), MAX_BACKING_ENTRIES - 1);
        resources.detach(1, &memory).unwrap();
        assert_eq!(resources.detach(1, &memory), Err(Refusal::Unspecified));
        assert_eq!(resources.entries_left(), MAX_BACKING_ENTRIES);
        let mut backing = Backing::new();
        backing.push(BackingEntry { address: RAM_BASE, length: 4 }, &memory).unwrap();
        resources.attach(1, backing).unwrap();
        resources.remove(1).unwrap();
        assert_eq!(resources.entries_left(), MAX_BACKING_ENTRIES);
    }
}
