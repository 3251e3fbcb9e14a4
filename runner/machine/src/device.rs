//! What the bus asks of a device.

use crate::{clock::Ticks, memory::GuestMemory};

/// What a device may use while it answers an access.
pub struct Context<'a> {
    /// The guest's memory.
    pub memory: &'a GuestMemory,
    /// The guest's counter at the access.
    pub now: Ticks,
}

/// A device in guest physical address space.
///
/// The bus calls with `offset` inside the device's frame and `size` 1, 2, 4 or
/// 8, naturally aligned. After each call it reads [`MmioDevice::irq_level`] and
/// drives the device's interrupt line with it. A device's construction does no
/// work that a restore would have to wait for.
pub trait MmioDevice {
    /// Answers a read, zero-extended. What the device does not define reads as zero.
    fn read(&mut self, offset: u64, size: u8, context: &Context<'_>) -> u64;

    /// Takes a write. What the device does not define is ignored.
    fn write(&mut self, offset: u64, size: u8, value: u64, context: &Context<'_>);

    /// Level of the device's interrupt line.
    fn irq_level(&self) -> bool;
}
