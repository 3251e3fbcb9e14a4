//! The requests and responses of a 2D virtio-gpu as bytes (virtio 1.2, 5.7.6).

use serde::{Deserialize, Serialize};

use crate::virtio::queue::Chain;

/// Request types (5.7.6.7).
pub mod command {
    #![allow(missing_docs)] // each is the request that its name says
    pub const GET_DISPLAY_INFO: u32 = 0x100;
    pub const RESOURCE_CREATE_2D: u32 = 0x101;
    pub const RESOURCE_UNREF: u32 = 0x102;
    pub const SET_SCANOUT: u32 = 0x103;
    pub const RESOURCE_FLUSH: u32 = 0x104;
    pub const TRANSFER_TO_HOST_2D: u32 = 0x105;
    pub const RESOURCE_ATTACH_BACKING: u32 = 0x106;
    pub const RESOURCE_DETACH_BACKING: u32 = 0x107;
    pub const GET_EDID: u32 = 0x10a;
    pub const UPDATE_CURSOR: u32 = 0x300;
    pub const MOVE_CURSOR: u32 = 0x301;
}

/// Response types of success (5.7.6.7).
pub mod response {
    #![allow(missing_docs)] // each is the response that its name says
    pub const OK_NODATA: u32 = 0x1100;
    pub const OK_DISPLAY_INFO: u32 = 0x1101;
    pub const OK_EDID: u32 = 0x1104;
}

/// A request that the device refuses, by its response type (5.7.6.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Refusal {
    /// Nothing more special.
    Unspecified = 0x1200,
    /// The limit on resources is reached.
    OutOfMemory = 0x1201,
    /// No such scanout.
    InvalidScanout = 0x1202,
    /// No such resource, or one that exists already.
    InvalidResource = 0x1203,
    /// A parameter out of range.
    InvalidParameter = 0x1205,
}

/// VIRTIO_GPU_FLAG_FENCE (5.7.6.7).
pub const FLAG_FENCE: u32 = 1;
/// Scanouts in a response, used or not (5.7.6.8).
pub const MAX_SCANOUTS: usize = 16;
/// Length of struct virtio_gpu_ctrl_hdr.
pub const HEADER_LEN: usize = 24;
/// Bytes for EDID data in a response (5.7.6.8).
const EDID_ROOM: usize = 1024;

/// What every request begins with.
#[derive(Clone, Copy, Default)]
pub struct Header {
    /// Which request.
    pub kind: u32,
    flags: u32,
    fence_id: u64,
    ctx_id: u32,
}

impl Header {
    /// Reads the header of a request.
    pub fn read(chain: &mut Chain<'_>) -> Option<Self> {
        let mut fields = Fields(&chain.read_array::<HEADER_LEN>()?);
        Some(Header { kind: fields.u32(), flags: fields.u32(), fence_id: fields.u64(), ctx_id: fields.u32() })
    }

    /// The header of the response `kind` to this request. Every request is done
    /// when it is answered, so a fence only has to be echoed (5.7.6.7).
    pub fn response(&self, kind: u32) -> Vec<u8> {
        let (flags, fence_id, ctx_id) =
            if self.flags & FLAG_FENCE != 0 { (FLAG_FENCE, self.fence_id, self.ctx_id) } else { (0, 0, 0) };
        let mut bytes = Vec::with_capacity(HEADER_LEN);
        bytes.extend(kind.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(fence_id.to_le_bytes());
        bytes.extend(ctx_id.to_le_bytes());
        bytes.resize(HEADER_LEN, 0);
        bytes
    }
}

/// Little-endian fields, one after the other; zero past the end.
pub struct Fields<'a>(pub &'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk() {
            Some((field, rest)) => {
                self.0 = rest;
                *field
            }
            None => [0; N],
        }
    }

    /// The next 32-bit field.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    /// The next 64-bit field.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }

    /// The next rectangle.
    pub fn rect(&mut self) -> Rect {
        Rect { x: self.u32(), y: self.u32(), width: self.u32(), height: self.u32() }
    }
}

/// A rectangle in pixels (struct virtio_gpu_rect).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Top edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl Rect {
    /// Whether it has any pixel and all of them lie in `width` by `height`.
    pub fn is_within(&self, width: u32, height: u32) -> bool {
        let fits = |start: u32, len: u32, limit| start.checked_add(len).is_some_and(|end| end <= limit);
        self.width > 0
            && self.height > 0
            && fits(self.x, self.width, width)
            && fits(self.y, self.height, height)
    }

    /// What it shares with `other`, if anything.
    pub fn intersection(&self, other: &Rect) -> Option<Rect> {
        let along = |a: u32, a_len: u32, b: u32, b_len: u32| {
            let (start, end) = (a.max(b), a.saturating_add(a_len).min(b.saturating_add(b_len)));
            (start < end).then(|| (start, end - start))
        };
        let (x, width) = along(self.x, self.width, other.x, other.width)?;
        let (y, height) = along(self.y, self.height, other.y, other.height)?;
        Some(Rect { x, y, width, height })
    }

    fn append_to(&self, bytes: &mut Vec<u8>) {
        for field in [self.x, self.y, self.width, self.height] {
            bytes.extend(field.to_le_bytes());
        }
    }
}

/// Completes a response with the sizes of the displays, of which the first is
/// the only one (struct virtio_gpu_resp_display_info).
pub fn append_display_info(bytes: &mut Vec<u8>, width: u32, height: u32) {
    for scanout in 0..MAX_SCANOUTS {
        let enabled = scanout == 0;
        let rect = if enabled { Rect { x: 0, y: 0, width, height } } else { Rect::default() };
        rect.append_to(bytes);
        bytes.extend(u32::from(enabled).to_le_bytes());
        bytes.extend([0; 4]);
    }
}

/// Completes a response with EDID data (struct virtio_gpu_resp_edid).
pub fn append_edid(bytes: &mut Vec<u8>, edid: &[u8]) {
    let edid = &edid[..edid.len().min(EDID_ROOM)];
    bytes.extend((edid.len() as u32).to_le_bytes());
    bytes.extend([0; 4]);
    bytes.extend(edid);
    bytes.resize(bytes.len() + EDID_ROOM - edid.len(), 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_neither_wrap_nor_may_be_empty() {
        let rect = |x, y, width, height| Rect { x, y, width, height };
        assert!(rect(0, 0, 4, 4).is_within(4, 4));
        assert!(rect(3, 3, 1, 1).is_within(4, 4));
        assert!(!rect(3, 3, 2, 1).is_within(4, 4));
        assert!(!rect(0, 0, 0, 1).is_within(4, 4));
        assert!(!rect(u32::MAX, 0, 2, 1).is_within(u32::MAX, 4));
        assert_eq!(rect(0, 0, 4, 4).intersection(&rect(2, 1, 9, 2)), Some(rect(2, 1, 2, 2)));
        assert_eq!(rect(0, 0, 4, 4).intersection(&rect(4, 0, 1, 1)), None);
        assert_eq!(rect(u32::MAX, 0, 9, 1).intersection(&rect(0, 0, 4, 4)), None);
    }
}
