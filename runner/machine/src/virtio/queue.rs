//! A split virtqueue as its device sees it (virtio 1.2, 2.7).
//!
//! Everything in the rings comes from the guest and may change under the
//! device's eyes, so each descriptor is read once and its range checked at once;
//! a [`Chain`] holds host copies of the addresses.

use std::sync::atomic::{Ordering, fence};

use serde::{Deserialize, Serialize};

use crate::memory::{GuestMemory, OutOfBounds};

/// VIRTQ_DESC_F_NEXT.
pub(super) const DESC_NEXT: u16 = 1;
/// VIRTQ_DESC_F_WRITE.
pub(super) const DESC_WRITE: u16 = 2;
/// VIRTQ_DESC_F_INDIRECT.
pub(super) const DESC_INDIRECT: u16 = 4;
/// VIRTQ_AVAIL_F_NO_INTERRUPT.
const AVAIL_NO_INTERRUPT: u16 = 1;

/// Size in bytes of one descriptor.
const DESC_SIZE: u64 = 16;
/// Longest indirect table. The standard allows no more descriptors than the
/// queue's size (2.7.5.3.1), but Linux does not keep to it for large buffers.
const MAX_INDIRECT: u32 = 1024;

/// A malformed queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(deny_unknown_fields)]
pub enum QueueError {
    /// QueueNum is not a power of two, or too large.
    #[error("its size is not a power of two within the device's limit")]
    Size,
    /// An area breaks the alignment of virtio 1.2, 2.7.
    #[error("its {area} at {address:#x} is misaligned")]
    Misaligned {
        /// Which one.
        area: Area,
        /// Its address.
        address: u64,
    },
    /// An area is outside the guest's memory.
    #[error("its {area} at {address:#x} is outside the guest's memory")]
    Outside {
        /// Which one.
        area: Area,
        /// Its address.
        address: u64,
    },
    /// The available index runs ahead by more than the queue holds.
    #[error("its available index is {ahead} ahead of the device, more than the queue's size")]
    AvailableIndex {
        /// Distance from the device's position.
        ahead: u16,
    },
    /// A descriptor's number is outside the table.
    #[error("descriptor {index} is outside its table")]
    DescriptorIndex {
        /// The number.
        index: u16,
    },
    /// A chain is longer than its table, so it has a loop.
    #[error("a chain has a loop")]
    Loop,
    /// A buffer is outside the guest's memory.
    #[error("a buffer of {len} bytes at {address:#x} is outside the guest's memory")]
    Buffer {
        /// Its address.
        address: u64,
        /// Its length in bytes.
        len: u32,
    },
    /// A device-readable descriptor comes after a device-writable one (2.7.4.2).
    #[error("a chain has a readable buffer after a writable one")]
    Order,
    /// An indirect descriptor where there may be none (2.7.5.3.1).
    #[error("a chain has an indirect descriptor where none is allowed")]
    Indirect,
    /// An indirect table of no whole number of descriptors, or too long.
    #[error("an indirect table of {len} bytes")]
    IndirectSize {
        /// Its length in bytes.
        len: u32,
    },
}

/// A part of a split virtqueue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Area {
    /// The descriptor table.
    Descriptors,
    /// The available ring, written by the driver.
    Available,
    /// The used ring, written by the device.
    Used,
}

impl std::fmt::Display for Area {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Area::Descriptors => "descriptor table",
            Area::Available => "available ring",
            Area::Used => "used ring",
        })
    }
}

/// Saved state of a queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueState {
    /// Entries in each ring; 0 until the driver chose a valid number.
    pub size: u16,
    /// Whether the driver has made it live.
    pub ready: bool,
    /// Guest physical address of the descriptor table.
    pub descriptors: u64,
    /// Guest physical address of the available ring.
    pub available: u64,
    /// Guest physical address of the used ring.
    pub used: u64,
    /// Next entry of the available ring to take, counted freely.
    pub next_available: u16,
    /// Next entry of the used ring to fill, counted freely.
    pub next_used: u16,
}

/// One queue, device side.
pub struct Queue {
    max_size: u16,
    state: QueueState,
}

impl Queue {
    /// A queue that the driver has not set up, of at most `max_size` entries.
    pub fn new(max_size: u16) -> Self {
        Queue { max_size, state: QueueState::default() }
    }

    /// The largest size.
    pub fn max_size(&self) -> u16 {
        self.max_size
    }

    /// What to save.
    pub fn state(&self) -> &QueueState {
        &self.state
    }

    /// Forgets what the driver set up.
    pub fn reset(&mut self) {
        self.state = QueueState::default();
    }

    /// Takes the driver's size. An invalid one is found when the queue is made ready.
    pub fn set_size(&mut self, size: u32) {
        self.state.size = match u16::try_from(size) {
            Ok(size) if self.size_is_valid(size) => size,
            _ => 0,
        };
    }

    /// The address of one area, to be changed by half.
    pub fn area_mut(&mut self, area: Area) -> &mut u64 {
        match area {
            Area::Descriptors => &mut self.state.descriptors,
            Area::Available => &mut self.state.available,
            Area::Used => &mut self.state.used,
        }
    }

    /// Makes the queue live or takes it back.
    ///
    /// # Errors
    /// If its size or one of its areas is impossible; it is not live then.
    pub fn set_ready(&mut self, ready: bool, memory: &GuestMemory) -> Result<(), QueueError> {
        if ready {
            self.check(&self.state, memory)?;
        }
        self.state.ready = ready;
        Ok(())
    }

    /// Whether `state` could be this queue's.
    ///
    /// # Errors
    /// If it could not.
    pub fn check_state(&self, state: &QueueState, memory: &GuestMemory) -> Result<(), QueueError> {
        if state.ready {
            return self.check(state, memory);
        }
        if state.size == 0 || self.size_is_valid(state.size) { Ok(()) } else { Err(QueueError::Size) }
    }

    /// Takes over a state that [`Queue::check_state`] has found possible.
    pub fn load(&mut self, state: QueueState) {
        self.state = state;
    }

    fn size_is_valid(&self, size: u16) -> bool {
        size.is_power_of_two() && size <= self.max_size
    }

    fn check(&self, state: &QueueState, memory: &GuestMemory) -> Result<(), QueueError> {
        if !self.size_is_valid(state.size) {
            return Err(QueueError::Size);
        }
        let n = u64::from(state.size);
        // Sizes and alignments: virtio 1.2, 2.7. The rings end in an event
        // index that the driver lays out even if it is never used.
        for (area, address, align, len) in [
            (Area::Descriptors, state.descriptors, 16, DESC_SIZE * n),
            (Area::Available, state.available, 2, 6 + 2 * n),
            (Area::Used, state.used, 4, 6 + 8 * n),
        ] {
            if address % align != 0 {
                return Err(QueueError::Misaligned { area, address });
            }
            memory.host_ptr(address, len).map_err(|_| QueueError::Outside { area, address })?;
        }
        Ok(())
    }

    fn mask(&self) -> u16 {
        self.state.size.wrapping_sub(1)
    }

    /// Takes the next chain, if there is one. `indirect` says whether
    /// VIRTIO_F_INDIRECT_DESC was negotiated.
    ///
    /// # Errors
    /// If the ring or the chain is malformed.
    pub fn pop<'m>(
        &mut self,
        memory: &'m GuestMemory,
        indirect: bool,
    ) -> Result<Option<Chain<'m>>, QueueError> {
        if !self.state.ready {
            return Ok(None);
        }
        let ring = self.state.available;
        let outside = |_: OutOfBounds| QueueError::Outside { area: Area::Available, address: ring };
        let ahead =
            memory.read_u16(ring.wrapping_add(2)).map_err(outside)?.wrapping_sub(self.state.next_available);
        if ahead == 0 {
            return Ok(None);
        }
        if ahead > self.state.size {
            return Err(QueueError::AvailableIndex { ahead });
        }
        // Pairs with the driver's barrier before it moves the index (2.7.13.3.1):
        // entries and descriptors must not be read before it.
        fence(Ordering::Acquire);
        let slot = u64::from(self.state.next_available & self.mask());
        let head = memory.read_u16(ring.wrapping_add(4 + 2 * slot)).map_err(outside)?;
        let chain = self.walk(memory, head, indirect)?;
        self.state.next_available = self.state.next_available.wrapping_add(1);
        Ok(Some(chain))
    }

    fn walk<'m>(&self, memory: &'m GuestMemory, head: u16, indirect: bool) -> Result<Chain<'m>, QueueError> {
        let mut chain =
            Chain { memory, head, readable: Segments::default(), writable: Segments::default(), written: 0 };
        let mut table = Table { base: self.state.descriptors, len: u32::from(self.state.size) };
        let mut direct = true;
        let mut index = head;
        let mut left = table.len;
        loop {
            let descriptor = table.read(memory, index)?;
            // A chain visits a descriptor once at most, so one longer than its table has a loop.
            left = left.checked_sub(1).ok_or(QueueError::Loop)?;
            if descriptor.flags & DESC_INDIRECT != 0 {
                // An indirect descriptor ends its chain, and tables don't nest (2.7.5.3.1).
                if !indirect || !direct || descriptor.flags & DESC_NEXT != 0 {
                    return Err(QueueError::Indirect);
                }
                let entries = descriptor.len / DESC_SIZE as u32;
                if descriptor.len % DESC_SIZE as u32 != 0 || entries == 0 || entries > MAX_INDIRECT {
                    return Err(QueueError::IndirectSize { len: descriptor.len });
                }
                table = Table { base: descriptor.address, len: entries };
                (direct, index, left) = (false, 0, entries);
                continue;
            }
            chain.add(&descriptor)?;
            if descriptor.flags & DESC_NEXT == 0 {
                return Ok(chain);
            }
            index = descriptor.next;
        }
    }

    /// Puts chain `head` into the used ring, `len` bytes written; returns
    /// whether the driver wants an interrupt for it.
    ///
    /// # Errors
    /// If the ring is outside the guest's memory.
    pub fn push_used(&mut self, memory: &GuestMemory, head: u16, len: u32) -> Result<bool, QueueError> {
        let ring = self.state.used;
        let outside = |_: OutOfBounds| QueueError::Outside { area: Area::Used, address: ring };
        let mut element = [0; 8];
        element[..4].copy_from_slice(&u32::from(head).to_le_bytes());
        element[4..].copy_from_slice(&len.to_le_bytes());
        let slot = u64::from(self.state.next_used & self.mask());
        memory.write(ring.wrapping_add(4 + 8 * slot), &element).map_err(outside)?;
        // The driver must see the element, and all data, before the index (2.7.8.2).
        fence(Ordering::Release);
        self.state.next_used = self.state.next_used.wrapping_add(1);
        memory.write(ring.wrapping_add(2), &self.state.next_used.to_le_bytes()).map_err(outside)?;
        // The index must be out before the flag is read: a driver that allows
        // interrupts again looks at the index after it (2.7.7.2).
        fence(Ordering::SeqCst);
        let flags = memory
            .read_u16(self.state.available)
            .map_err(|e| QueueError::Outside { area: Area::Available, address: e.gpa })?;
        Ok(flags & AVAIL_NO_INTERRUPT == 0)
    }
}

struct Table {
    base: u64,
    len: u32,
}

struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

impl Table {
    fn read(&self, memory: &GuestMemory, index: u16) -> Result<Descriptor, QueueError> {
        if u32::from(index) >= self.len {
            return Err(QueueError::DescriptorIndex { index });
        }
        let mut raw = [0u8; DESC_SIZE as usize];
        memory
            .read(self.base.wrapping_add(DESC_SIZE * u64::from(index)), &mut raw)
            .map_err(|_| QueueError::Outside { area: Area::Descriptors, address: self.base })?;
        let raw = u128::from_le_bytes(raw);
        Ok(Descriptor {
            address: raw as u64,
            len: (raw >> 64) as u32,
            flags: (raw >> 96) as u16,
            next: (raw >> 112) as u16,
        })
    }
}

/// A request: buffers that the device reads, then buffers that it writes, all
/// of them inside the guest's memory.
pub struct Chain<'m> {
    memory: &'m GuestMemory,
    head: u16,
    readable: Segments,
    writable: Segments,
    written: u64,
}

#[derive(Default)]
struct Segments {
    list: Vec<(u64, u32)>,
    /// Segment and offset in it of the next byte.
    next: (usize, u32),
    /// Bytes from there to the end.
    left: u64,
}

impl Segments {
    fn push(&mut self, address: u64, len: u32) {
        if len > 0 {
            self.list.push((address, len));
            self.left += u64::from(len);
        }
    }

    /// The longest run of at most `max` bytes from the cursor, which moves past it.
    fn take(&mut self, max: usize) -> Option<(u64, usize)> {
        let &(address, len) = self.list.get(self.next.0)?;
        let offset = self.next.1;
        let n = (len - offset).min(u32::try_from(max).unwrap_or(u32::MAX));
        self.next.1 += n;
        if self.next.1 == len {
            self.next = (self.next.0 + 1, 0);
        }
        self.left -= u64::from(n);
        Some((address + u64::from(offset), n as usize))
    }
}

impl Chain<'_> {
    fn add(&mut self, descriptor: &Descriptor) -> Result<(), QueueError> {
        let &Descriptor { address, len, flags, .. } = descriptor;
        if len > 0 && self.memory.host_ptr(address, u64::from(len)).is_err() {
            return Err(QueueError::Buffer { address, len });
        }
        if flags & DESC_WRITE != 0 {
            self.writable.push(address, len);
        } else if self.writable.list.is_empty() {
            self.readable.push(address, len);
        } else {
            return Err(QueueError::Order);
        }
        Ok(())
    }

    /// Number of the first descriptor, by which the driver knows the chain.
    pub fn head(&self) -> u16 {
        self.head
    }

    /// Bytes not yet read.
    pub fn readable_len(&self) -> u64 {
        self.readable.left
    }

    /// Bytes not yet written.
    pub fn writable_len(&self) -> u64 {
        self.writable.left
    }

    /// Bytes written so far, as the used ring counts them.
    pub fn written(&self) -> u32 {
        u32::try_from(self.written).unwrap_or(u32::MAX)
    }

    /// Reads the next bytes into `buf`; returns how many there were.
    pub fn read(&mut self, buf: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buf.len() {
            let Some((address, n)) = self.readable.take(buf.len() - done) else { break };
            // It can't fail: the range was checked when the chain was taken.
            if self.memory.read(address, &mut buf[done..done + n]).is_err() {
                break;
            }
            done += n;
        }
        done
    }

    /// Reads the next `N` bytes, if there are as many.
    pub fn read_array<const N: usize>(&mut self) -> Option<[u8; N]> {
        if self.readable.left < N as u64 {
            return None;
        }
        let mut buf = [0; N];
        (self.read(&mut buf) == N).then_some(buf)
    }

    /// Writes `data` to the next writable bytes; returns how many found room.
    pub fn write(&mut self, data: &[u8]) -> usize {
        let mut done = 0;
        while done < data.len() {
            let Some((address, n)) = self.writable.take(data.len() - done) else { break };
            // It can't fail: the range was checked when the chain was taken.
            if self.memory.write(address, &data[done..done + n]).is_err() {
                break;
            }
            done += n;
        }
        self.written += done as u64;
        done
    }

    /// Writes `byte` to the very last writable byte, wherever the next write
    /// would go. It counts as written only if all bytes before it are: the used
    /// ring's length is that of an unbroken run (virtio 1.2, 2.7.8.2).
    pub fn write_last(&mut self, byte: u8) {
        if self.writable.left == 1 {
            self.write(&[byte]);
        } else if self.writable.left > 0
            && let Some(&(address, len)) = self.writable.list.last()
        {
            // It can't fail, as above.
            let _ = self.memory.write(address + u64::from(len) - 1, &[byte]);
        }
    }
}

#[cfg(test)]
mod tests;
