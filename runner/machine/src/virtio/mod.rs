//! Virtio devices over memory-mapped registers, modern only (virtio 1.2).
//!
//! A device is two things: a core that implements [`VirtioDevice`] and knows
//! its requests, and the transport, [`VirtioMmio`](mmio::VirtioMmio), which
//! knows registers, feature negotiation and rings. What a device must remember
//! is a third: plain structs that [`VirtioState`] puts together.
//!
//! The guest is hostile. A request that makes no sense gets the error that its
//! device type has for it; a ring that makes no sense stops the device until
//! the driver resets it, and [`VirtioFault`] says why.
//!
//! Requests are completed while the guest's notification is handled, so with a
//! deterministic guest every completion comes at the same instruction.

pub mod blk;
pub mod console;
pub mod gpu;
pub mod input;
pub mod mmio;
pub mod queue;
pub mod rng;

#[cfg(test)]
mod hostile;
#[cfg(test)]
pub(crate) mod testing;

use serde::{Deserialize, Serialize};

use crate::memory::GuestMemory;
use queue::{Chain, Queue, QueueError, QueueState};

/// VIRTIO_F_INDIRECT_DESC (virtio 1.2, 6).
pub const F_INDIRECT_DESC: u64 = 1 << 28;
/// VIRTIO_F_VERSION_1: the driver speaks virtio 1.0 or later (virtio 1.2, 6).
pub const F_VERSION_1: u64 = 1 << 32;

/// The core of a virtio device: what is particular to its type.
pub trait VirtioDevice {
    /// What the device remembers between two requests.
    type State: Clone;

    /// Name for messages, such as `virtio-blk`.
    fn name(&self) -> &'static str;

    /// The device type's number (virtio 1.2, 5).
    fn device_id(&self) -> u32;

    /// Feature bits of the device type; the transport adds its own.
    fn features(&self) -> u64;

    /// The largest size of each queue, a power of two.
    fn queue_sizes(&self) -> &'static [u16];

    /// Fills `data` with configuration bytes from `offset`; zero where there are none.
    fn read_config(&self, offset: u64, data: &mut [u8]);

    /// Takes configuration bytes that the driver writes at `offset`.
    fn write_config(&mut self, offset: u64, data: &[u8]);

    /// Serves what can be served of queue `queue`: called after the driver's
    /// notification, and after the host changed the device.
    ///
    /// # Errors
    /// When a ring is malformed. The transport then stops the device.
    fn process(&mut self, queue: usize, queues: &mut Queues<'_>) -> Result<(), QueueFault>;

    /// Whether the configuration changed on the device's side since the last call.
    fn take_config_change(&mut self) -> bool {
        false
    }

    /// Back to the state before any driver. What the host set stays.
    fn reset(&mut self);

    /// What the device remembers.
    fn save(&self) -> Self::State;

    /// Replaces what the device remembers, after checking all of it.
    ///
    /// # Errors
    /// If `state` is not one that this device could have saved; the device is
    /// then as it was.
    fn load(&mut self, state: &Self::State, memory: &GuestMemory) -> Result<(), LoadError>;
}

/// The queues of one device, while it serves them.
pub struct Queues<'a> {
    queues: &'a mut [Queue],
    memory: &'a GuestMemory,
    indirect: bool,
    /// Chains that may still be taken: a driver on another thread could
    /// otherwise keep the device busy for ever. A queue's worth is all there
    /// can be at the start, and whatever comes later has its own notification.
    budget: u32,
    interrupt: bool,
}

impl<'a> Queues<'a> {
    /// The guest's memory.
    pub fn memory(&self) -> &'a GuestMemory {
        self.memory
    }

    /// Takes the next chain of `queue`, if the driver has offered one.
    ///
    /// # Errors
    /// If the ring or the chain is malformed.
    pub fn pop(&mut self, queue: usize) -> Result<Option<Chain<'a>>, QueueFault> {
        if self.budget == 0 {
            return Ok(None);
        }
        let Some(q) = self.queues.get_mut(queue) else { return Ok(None) };
        let chain = q.pop(self.memory, self.indirect).map_err(|reason| QueueFault::new(queue, reason))?;
        self.budget -= 1;
        Ok(chain)
    }

    /// Gives `chain` back to the driver, with as many bytes as were written to it.
    ///
    /// # Errors
    /// If the ring has left the guest's memory.
    pub fn complete(&mut self, queue: usize, chain: Chain<'a>) -> Result<(), QueueFault> {
        let Some(q) = self.queues.get_mut(queue) else { return Ok(()) };
        self.interrupt |= q
            .push_used(self.memory, chain.head(), chain.written())
            .map_err(|reason| QueueFault::new(queue, reason))?;
        Ok(())
    }
}

/// A malformed ring: which one, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueFault {
    /// Number of the queue.
    pub queue: u16,
    /// What is wrong with it.
    pub reason: QueueError,
}

impl QueueFault {
    fn new(queue: usize, reason: QueueError) -> Self {
        QueueFault { queue: u16::try_from(queue).unwrap_or(u16::MAX), reason }
    }
}

/// Why a device has stopped serving its driver.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device} stopped until its driver resets it: queue {}: {}", .fault.queue, .fault.reason)]
pub struct VirtioFault {
    /// Name of the device.
    pub device: &'static str,
    /// The queue and what is wrong with it.
    pub fault: QueueFault,
}

/// Saved state of a device and its transport.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VirtioState<S> {
    /// Registers and queue positions.
    pub transport: TransportState,
    /// The device core.
    pub device: S,
}

/// Saved registers of the transport.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TransportState {
    /// Device status (virtio 1.2, 2.1).
    pub status: u32,
    /// Which half of the device's features the driver reads.
    pub device_features_select: u32,
    /// Which half of its features the driver writes.
    pub driver_features_select: u32,
    /// Features the driver accepted.
    pub driver_features: u64,
    /// Queue that the queue registers mean.
    pub queue_select: u32,
    /// Pending interrupt reasons.
    pub interrupt_status: u32,
    /// Changes of the configuration so far.
    pub config_generation: u32,
    /// The queues.
    pub queues: Vec<QueueState>,
    /// Why the device stopped, if it did.
    pub fault: Option<QueueFault>,
}

/// A saved state that a device can't take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{device} can't load this state: {what}")]
pub struct LoadError {
    /// Name of the device.
    pub device: &'static str,
    /// What does not fit.
    pub what: String,
}

impl LoadError {
    /// A refusal by `device` because of `what`.
    pub fn new(device: &'static str, what: impl Into<String>) -> Self {
        LoadError { device, what: what.into() }
    }
}

/// Copies from `config` at `offset` into `data`; what lies beyond reads as zero.
fn read_config_bytes(config: &[u8], offset: u64, data: &mut [u8]) {
    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(config.len());
    let available = &config[start..];
    let n = available.len().min(data.len());
    data[..n].copy_from_slice(&available[..n]);
    data[n..].fill(0);
}
