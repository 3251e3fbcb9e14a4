//! The memory-mapped transport (virtio 1.2, 4.2): registers, feature
//! negotiation, device status and interrupts.

use crate::{
    device::{Context, MmioDevice},
    memory::GuestMemory,
};

use super::{
    F_INDIRECT_DESC, F_VERSION_1, LoadError, QueueFault, Queues, TransportState, VirtioDevice, VirtioFault,
    VirtioState,
    queue::{Area, Queue},
};

/// Register offsets (virtio 1.2, 4.2.2).
#[allow(missing_docs)] // the names are the specification's
pub mod reg {
    pub const MAGIC: u64 = 0x000;
    pub const VERSION: u64 = 0x004;
    pub const DEVICE_ID: u64 = 0x008;
    pub const VENDOR_ID: u64 = 0x00c;
    pub const DEVICE_FEATURES: u64 = 0x010;
    pub const DEVICE_FEATURES_SEL: u64 = 0x014;
    pub const DRIVER_FEATURES: u64 = 0x020;
    pub const DRIVER_FEATURES_SEL: u64 = 0x024;
    pub const QUEUE_SEL: u64 = 0x030;
    pub const QUEUE_NUM_MAX: u64 = 0x034;
    pub const QUEUE_NUM: u64 = 0x038;
    pub const QUEUE_READY: u64 = 0x044;
    pub const QUEUE_NOTIFY: u64 = 0x050;
    pub const INTERRUPT_STATUS: u64 = 0x060;
    pub const INTERRUPT_ACK: u64 = 0x064;
    pub const STATUS: u64 = 0x070;
    pub const QUEUE_DESC_LOW: u64 = 0x080;
    pub const QUEUE_DESC_HIGH: u64 = 0x084;
    pub const QUEUE_DRIVER_LOW: u64 = 0x090;
    pub const QUEUE_DRIVER_HIGH: u64 = 0x094;
    pub const QUEUE_DEVICE_LOW: u64 = 0x0a0;
    pub const QUEUE_DEVICE_HIGH: u64 = 0x0a4;
    pub const SHM_LEN_LOW: u64 = 0x0b0;
    pub const SHM_BASE_HIGH: u64 = 0x0bc;
    pub const CONFIG_GENERATION: u64 = 0x0fc;
    pub const CONFIG: u64 = 0x100;
}

/// Bits of the device status (virtio 1.2, 2.1).
#[allow(missing_docs)] // the names are the specification's
pub mod status {
    pub const ACKNOWLEDGE: u32 = 1;
    pub const DRIVER: u32 = 2;
    pub const DRIVER_OK: u32 = 4;
    pub const FEATURES_OK: u32 = 8;
    pub const NEEDS_RESET: u32 = 64;
    pub const FAILED: u32 = 128;
}

/// "virt" in little-endian order (virtio 1.2, 4.2.2).
const MAGIC: u32 = 0x7472_6976;
/// The only version of the register layout that is not legacy.
const VERSION: u32 = 2;
/// "smvr": a vendor number means nothing in virtio-mmio, so it only names us.
const VENDOR: u32 = u32::from_le_bytes(*b"smvr");

/// Interrupt reason: the device has used buffers.
pub(super) const INTERRUPT_USED: u32 = 1;
/// Interrupt reason: the configuration or the device's status changed.
pub(super) const INTERRUPT_CONFIG: u32 = 2;

/// A virtio device behind memory-mapped registers.
pub struct VirtioMmio<D: VirtioDevice> {
    device: D,
    queues: Vec<Queue>,
    /// All but the queues and the fault, which live beside it.
    registers: TransportState,
    fault: Option<VirtioFault>,
}

impl<D: VirtioDevice> VirtioMmio<D> {
    /// The transport of `device`, reset.
    pub fn new(device: D) -> Self {
        let queues = device.queue_sizes().iter().map(|&size| Queue::new(size)).collect();
        VirtioMmio { device, queues, registers: TransportState::default(), fault: None }
    }

    /// The device core.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Lets the host change the device core, then delivers to the driver what
    /// follows from it. The interrupt line may rise: read it afterwards.
    pub fn with_device<R>(&mut self, memory: &GuestMemory, change: impl FnOnce(&mut D) -> R) -> R {
        let result = change(&mut self.device);
        self.poll(memory);
        result
    }

    /// Serves every queue as if the driver had notified each.
    pub fn poll(&mut self, memory: &GuestMemory) {
        for queue in 0..self.queues.len() {
            self.serve(queue, memory);
        }
        self.notice_config_change();
    }

    /// Why the device has stopped serving, if the guest drove it wrong.
    pub fn fault(&self) -> Option<&VirtioFault> {
        self.fault.as_ref()
    }

    /// Everything the device and its transport remember.
    pub fn save(&self) -> VirtioState<D::State> {
        let transport = TransportState {
            queues: self.queues.iter().map(|queue| queue.state().clone()).collect(),
            fault: self.fault.as_ref().map(|fault| fault.fault.clone()),
            ..self.registers.clone()
        };
        VirtioState { transport, device: self.device.save() }
    }

    /// Replaces everything with `state`, after checking all of it.
    ///
    /// # Errors
    /// If this device could not have saved `state`; nothing is changed then.
    pub fn load(&mut self, state: &VirtioState<D::State>, memory: &GuestMemory) -> Result<(), LoadError> {
        self.check(&state.transport, memory)?;
        self.device.load(&state.device, memory)?;
        for (queue, saved) in self.queues.iter_mut().zip(&state.transport.queues) {
            queue.load(saved.clone());
        }
        let TransportState { queues: _, fault, .. } = &state.transport;
        self.fault = fault.clone().map(|fault| VirtioFault { device: self.device.name(), fault });
        self.registers = TransportState { queues: Vec::new(), fault: None, ..state.transport.clone() };
        Ok(())
    }

    fn check(&self, state: &TransportState, memory: &GuestMemory) -> Result<(), LoadError> {
        let refuse = |what: String| Err(LoadError::new(self.device.name(), what));
        if state.queues.len() != self.queues.len() {
            return refuse(format!("it has {} queues, the device {}", state.queues.len(), self.queues.len()));
        }
        let known = status::ACKNOWLEDGE
            | status::DRIVER
            | status::DRIVER_OK
            | status::FEATURES_OK
            | status::NEEDS_RESET
            | status::FAILED;
        if state.status & !known != 0 {
            return refuse(format!("unknown device status {:#x}", state.status));
        }
        let negotiated = state.status & status::FEATURES_OK != 0;
        if negotiated && !self.accepts(state.driver_features) {
            let (used, offered) = (state.driver_features, self.offered_features());
            return refuse(format!("its driver uses features {used:#x}, the device offers {offered:#x}"));
        }
        if state.status & status::DRIVER_OK != 0 && !negotiated {
            return refuse("its driver runs without having negotiated features".into());
        }
        if state.fault.is_some() != (state.status & status::NEEDS_RESET != 0) {
            return refuse("its status and its fault disagree".into());
        }
        if state.interrupt_status & !(INTERRUPT_USED | INTERRUPT_CONFIG) != 0 {
            return refuse(format!("unknown interrupt reasons {:#x}", state.interrupt_status));
        }
        for (index, (queue, saved)) in self.queues.iter().zip(&state.queues).enumerate() {
            if let Err(reason) = queue.check_state(saved, memory) {
                return refuse(format!("queue {index}: {reason}"));
            }
        }
        Ok(())
    }

    fn offered_features(&self) -> u64 {
        self.device.features() | F_VERSION_1 | F_INDIRECT_DESC
    }

    fn has(&self, bit: u32) -> bool {
        self.registers.status & bit != 0
    }

    fn live(&self) -> bool {
        self.has(status::DRIVER_OK) && !self.has(status::NEEDS_RESET | status::FAILED)
    }

    fn serve(&mut self, queue: usize, memory: &GuestMemory) {
        let Some(size) = self.queues.get(queue).map(|q| q.state().size) else { return };
        if !self.live() {
            return;
        }
        let mut queues = Queues {
            queues: &mut self.queues,
            memory,
            indirect: self.registers.driver_features & F_INDIRECT_DESC != 0,
            budget: u32::from(size),
            interrupt: false,
        };
        let result = self.device.process(queue, &mut queues);
        if queues.interrupt {
            self.registers.interrupt_status |= INTERRUPT_USED;
        }
        if let Err(fault) = result {
            self.stop(fault);
        }
    }

    /// Serves no more until reset (virtio 1.2, 2.1.2).
    fn stop(&mut self, fault: QueueFault) {
        self.registers.status |= status::NEEDS_RESET;
        self.fault = Some(VirtioFault { device: self.device.name(), fault });
        if self.has(status::DRIVER_OK) {
            self.registers.interrupt_status |= INTERRUPT_CONFIG;
        }
    }

    fn notice_config_change(&mut self) {
        if self.device.take_config_change() {
            self.registers.config_generation = self.registers.config_generation.wrapping_add(1);
            if self.has(status::DRIVER_OK) {
                self.registers.interrupt_status |= INTERRUPT_CONFIG;
            }
        }
    }

    fn reset(&mut self) {
        // The generation goes on counting: a driver may compare it across a reset.
        let config_generation = self.registers.config_generation;
        self.registers = TransportState { config_generation, ..TransportState::default() };
        self.fault = None;
        for queue in &mut self.queues {
            queue.reset();
        }
        self.device.reset();
    }

    fn set_status(&mut self, value: u32, memory: &GuestMemory) {
        if value == 0 {
            return self.reset();
        }
        let was = self.registers.status;
        // A driver may not clear bits (2.1.1), so they only come together;
        // NEEDS_RESET is the device's own.
        let mut add =
            value & (status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::FAILED) & !was;
        if !self.accepts(self.registers.driver_features) {
            // Not accepted: the driver reads the bit back as clear (3.1.1).
            add &= !status::FEATURES_OK;
        }
        self.registers.status |= add;
        if value & status::DRIVER_OK != 0 && !self.has(status::DRIVER_OK) && self.has(status::FEATURES_OK) {
            self.registers.status |= status::DRIVER_OK;
            // What the driver queued and announced before it was ready to run.
            self.poll(memory);
        }
    }

    fn set_driver_features(&mut self, half: u32) {
        // Settled once FEATURES_OK is (3.1.1).
        if self.has(status::FEATURES_OK) {
            return;
        }
        let shift = match self.registers.driver_features_select {
            0 => 0,
            1 => 32,
            _ => return,
        };
        let kept = self.registers.driver_features & !(0xffff_ffff << shift);
        self.registers.driver_features = kept | u64::from(half) << shift;
    }

    /// Whether the device can work with the features that the driver chose:
    /// none that is not offered (2.2.1), and not a legacy driver's (6.1).
    fn accepts(&self, driver_features: u64) -> bool {
        driver_features & !self.offered_features() == 0 && driver_features & F_VERSION_1 != 0
    }

    fn selected(&self) -> Option<&Queue> {
        self.queues.get(usize::try_from(self.registers.queue_select).ok()?)
    }

    /// Changes the selected queue, as long as it is not live (4.2.2.2).
    fn configure(&mut self, change: impl FnOnce(&mut Queue)) {
        let selected = usize::try_from(self.registers.queue_select).unwrap_or(usize::MAX);
        if let Some(queue) = self.queues.get_mut(selected)
            && !queue.state().ready
        {
            change(queue);
        }
    }

    fn set_area_half(&mut self, area: Area, high: bool, value: u32) {
        self.configure(|queue| {
            let address = queue.area_mut(area);
            let shift = if high { 32 } else { 0 };
            *address = *address & !(0xffff_ffff << shift) | u64::from(value) << shift;
        });
    }

    fn set_ready(&mut self, value: u32, memory: &GuestMemory) {
        let index = self.registers.queue_select;
        let Some(queue) = usize::try_from(index).ok().and_then(|index| self.queues.get_mut(index)) else {
            return;
        };
        let ready = value & 1 != 0;
        if ready == queue.state().ready {
            return;
        }
        if let Err(reason) = queue.set_ready(ready, memory) {
            self.stop(QueueFault::new(index as usize, reason));
        }
    }

    fn read_register(&self, offset: u64) -> u32 {
        let registers = &self.registers;
        match offset {
            reg::MAGIC => MAGIC,
            reg::VERSION => VERSION,
            reg::DEVICE_ID => self.device.device_id(),
            reg::VENDOR_ID => VENDOR,
            reg::DEVICE_FEATURES => match registers.device_features_select {
                0 => self.offered_features() as u32,
                1 => (self.offered_features() >> 32) as u32,
                _ => 0,
            },
            reg::QUEUE_NUM_MAX => self.selected().map_or(0, |queue| u32::from(queue.max_size())),
            reg::QUEUE_READY => self.selected().map_or(0, |queue| u32::from(queue.state().ready)),
            reg::INTERRUPT_STATUS => registers.interrupt_status,
            reg::STATUS => registers.status,
            // No shared memory region exists, and that is how one says so (4.2.2).
            reg::SHM_LEN_LOW..=reg::SHM_BASE_HIGH => u32::MAX,
            reg::CONFIG_GENERATION => registers.config_generation,
            _ => 0,
        }
    }

    fn write_register(&mut self, offset: u64, value: u32, memory: &GuestMemory) {
        match offset {
            reg::DEVICE_FEATURES_SEL => self.registers.device_features_select = value,
            reg::DRIVER_FEATURES => self.set_driver_features(value),
            reg::DRIVER_FEATURES_SEL => self.registers.driver_features_select = value,
            reg::QUEUE_SEL => self.registers.queue_select = value,
            reg::QUEUE_NUM => self.configure(|queue| queue.set_size(value)),
            reg::QUEUE_READY => self.set_ready(value, memory),
            reg::QUEUE_NOTIFY => {
                self.serve(usize::try_from(value).unwrap_or(usize::MAX), memory);
                self.notice_config_change();
            }
            reg::INTERRUPT_ACK => self.registers.interrupt_status &= !value,
            reg::STATUS => self.set_status(value, memory),
            reg::QUEUE_DESC_LOW => self.set_area_half(Area::Descriptors, false, value),
            reg::QUEUE_DESC_HIGH => self.set_area_half(Area::Descriptors, true, value),
            reg::QUEUE_DRIVER_LOW => self.set_area_half(Area::Available, false, value),
            reg::QUEUE_DRIVER_HIGH => self.set_area_half(Area::Available, true, value),
            reg::QUEUE_DEVICE_LOW => self.set_area_half(Area::Used, false, value),
            reg::QUEUE_DEVICE_HIGH => self.set_area_half(Area::Used, true, value),
            _ => {}
        }
    }
}

impl<D: VirtioDevice> MmioDevice for VirtioMmio<D> {
    fn read(&mut self, offset: u64, size: u8, _context: &Context<'_>) -> u64 {
        if let Some(offset) = offset.checked_sub(reg::CONFIG) {
            let mut bytes = [0; 8];
            let len = usize::from(size).min(bytes.len());
            self.device.read_config(offset, &mut bytes[..len]);
            return u64::from_le_bytes(bytes);
        }
        // Registers are 32 bits wide and accessed as such (4.2.2.2).
        if size == 4 { u64::from(self.read_register(offset)) } else { 0 }
    }

    fn write(&mut self, offset: u64, size: u8, value: u64, context: &Context<'_>) {
        if let Some(offset) = offset.checked_sub(reg::CONFIG) {
            let bytes = value.to_le_bytes();
            self.device.write_config(offset, &bytes[..usize::from(size).min(bytes.len())]);
            self.notice_config_change();
        } else if size == 4 {
            self.write_register(offset, value as u32, context.memory);
        }
    }

    fn irq_level(&self) -> bool {
        self.registers.interrupt_status != 0
    }
}

#[cfg(test)]
mod tests;
