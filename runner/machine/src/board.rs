//! The whole machine: every device at its place, wired to the interrupt
//! controller. It answers the exits of vCPUs and takes the host's input.

use serde::{Deserialize, Serialize};

use crate::{
    clock::{Entropy, Ticks},
    device::{Context, MmioDevice},
    engine::SysReg,
    gic::{Gic, GicError, GicState},
    layout,
    memory::GuestMemory,
    pl011::{Pl011, Pl011Error, Pl011State},
    pl031::{Pl031, Pl031State},
    virtio::{
        LoadError, VirtioDevice, VirtioFault, VirtioState,
        blk::{Blk, BlkState, DiskImage},
        console::{Console, ConsoleState},
        gpu::{Gpu, GpuState, Screen},
        input::{InputState, Keyboard, Tablet},
        mmio::VirtioMmio,
        rng::{Rng, RngState},
    },
    vmgenid::{self, GenerationId},
};

/// The virtio-mmio slot of each device. Linux probes the slots of a device
/// tree from its end, so what it needs first comes last.
pub mod slot {
    /// virtio-input, absolute pointer.
    pub const TABLET: u64 = 0;
    /// virtio-input, keyboard.
    pub const KEYBOARD: u64 = 1;
    /// virtio-gpu.
    pub const GPU: u64 = 2;
    /// virtio-rng.
    pub const RNG: u64 = 3;
    /// virtio-console.
    pub const CONSOLE: u64 = 4;
    /// virtio-blk, if there is a disk.
    pub const BLK: u64 = 5;
}

/// What a machine is made of.
pub struct MachineConfig {
    /// Number of vCPUs, 1 to [`layout::MAX_VCPUS`].
    pub cpus: usize,
    /// The guest's memory.
    pub memory: GuestMemory,
    /// Width and height of the display in pixels.
    pub display: (u32, u32),
    /// The read-only disk, and the string that identifies it to the guest.
    pub disk: Option<(DiskImage, String)>,
    /// Wall time when the guest's counter is 0, in seconds since 1970 UTC.
    pub wall_seconds: u64,
    /// Where the guest's random bytes come from.
    pub entropy: Box<dyn Entropy>,
}

/// The guest's hardware but for its vCPUs.
pub struct Machine {
    memory: GuestMemory,
    /// The interrupt controller.
    pub gic: Gic,
    uart: Pl011,
    rtc: Pl031,
    tablet: VirtioMmio<Tablet>,
    keyboard: VirtioMmio<Keyboard>,
    gpu: VirtioMmio<Gpu>,
    rng: VirtioMmio<Rng>,
    console: VirtioMmio<Console>,
    blk: Option<VirtioMmio<Blk>>,
}

/// What every device remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // each field is the device that its name says
pub struct MachineState {
    pub gic: GicState,
    pub uart: Pl011State,
    pub rtc: Pl031State,
    pub tablet: VirtioState<InputState>,
    pub keyboard: VirtioState<InputState>,
    pub gpu: VirtioState<GpuState>,
    pub rng: VirtioState<RngState>,
    pub console: VirtioState<ConsoleState>,
    pub blk: Option<VirtioState<BlkState>>,
    pub generation_id: GenerationId,
}

/// A saved state that this machine can't take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum MachineError {
    #[error(transparent)]
    Gic(#[from] GicError),
    #[error(transparent)]
    Uart(#[from] Pl011Error),
    #[error(transparent)]
    Virtio(#[from] LoadError),
    #[error("the state has {}, this machine has {}", disk(*.saved), disk(!*.saved))]
    Disk { saved: bool },
    #[error("the state's processors, {saved}, are not this machine's, {here}")]
    Cpus { saved: usize, here: usize },
    #[error("vCPU {cpu}: {what}")]
    Vcpu { cpu: usize, what: String },
}

fn disk(there: bool) -> &'static str {
    if there { "a disk" } else { "no disk" }
}

impl Machine {
    /// A machine in reset. Does no work that a restore would have to wait for.
    pub fn new(config: MachineConfig) -> Self {
        let (width, height) = config.display;
        Machine {
            memory: config.memory,
            gic: Gic::new(config.cpus),
            uart: Pl011::new(),
            rtc: Pl031::new(config.wall_seconds),
            tablet: VirtioMmio::new(Tablet::new()),
            keyboard: VirtioMmio::new(Keyboard::new()),
            gpu: VirtioMmio::new(Gpu::new(width, height)),
            rng: VirtioMmio::new(Rng::new(config.entropy)),
            console: VirtioMmio::new(Console::new()),
            blk: config.disk.map(|(image, id)| VirtioMmio::new(Blk::new(image, &id))),
        }
    }

    /// The guest's memory.
    pub fn memory(&self) -> &GuestMemory {
        &self.memory
    }

    /// Slots that hold a device, for the device tree.
    pub fn virtio_slots(&self) -> Vec<u64> {
        let mut slots = vec![slot::TABLET, slot::KEYBOARD, slot::GPU, slot::RNG, slot::CONSOLE];
        slots.extend(self.blk.as_ref().map(|_| slot::BLK));
        slots
    }

    /// Answers a read of `size` bytes at `gpa`; None if nothing is there, or
    /// the access is not naturally aligned.
    pub fn mmio_read(&mut self, gpa: u64, size: u8, now: Ticks) -> Option<u64> {
        if !gpa.is_multiple_of(u64::from(size)) {
            return None;
        }
        if let Some(offset) = within(gpa, layout::GICD_BASE, layout::GICD_SIZE) {
            return Some(self.gic.dist_read(offset, size));
        }
        let redistributors = layout::GICR_STRIDE * self.gic.cpus() as u64;
        if let Some(offset) = within(gpa, layout::GICR_BASE, redistributors) {
            return Some(self.gic.redist_read(offset, size));
        }
        let memory = self.memory.clone();
        let context = Context { memory: &memory, now };
        let (device, offset, intid) = self.device(gpa)?;
        let value = device.read(offset, size, &context);
        let level = device.irq_level();
        self.gic.set_level(intid, level);
        Some(value)
    }

    /// Takes a write of `size` bytes at `gpa`; false if nothing is there, or
    /// the access is not naturally aligned.
    pub fn mmio_write(&mut self, gpa: u64, size: u8, value: u64, now: Ticks) -> bool {
        if !gpa.is_multiple_of(u64::from(size)) {
            return false;
        }
        if let Some(offset) = within(gpa, layout::GICD_BASE, layout::GICD_SIZE) {
            self.gic.dist_write(offset, size, value);
            return true;
        }
        let redistributors = layout::GICR_STRIDE * self.gic.cpus() as u64;
        if let Some(offset) = within(gpa, layout::GICR_BASE, redistributors) {
            self.gic.redist_write(offset, size, value);
            return true;
        }
        let memory = self.memory.clone();
        let context = Context { memory: &memory, now };
        let Some((device, offset, intid)) = self.device(gpa) else { return false };
        device.write(offset, size, value, &context);
        let level = device.irq_level();
        self.gic.set_level(intid, level);
        true
    }

    /// The device at `gpa`, the offset in its frame, and its interrupt.
    fn device(&mut self, gpa: u64) -> Option<(&mut dyn MmioDevice, u64, u32)> {
        if let Some(offset) = within(gpa, layout::UART_BASE, layout::PRIMECELL_SIZE) {
            return Some((&mut self.uart, offset, layout::UART_INTID));
        }
        if let Some(offset) = within(gpa, layout::RTC_BASE, layout::PRIMECELL_SIZE) {
            return Some((&mut self.rtc, offset, layout::RTC_INTID));
        }
        let offset = gpa.checked_sub(layout::VIRTIO_BASE)?;
        let (number, offset) = (offset / layout::VIRTIO_STRIDE, offset % layout::VIRTIO_STRIDE);
        let device: &mut dyn MmioDevice = match number {
            slot::TABLET => &mut self.tablet,
            slot::KEYBOARD => &mut self.keyboard,
            slot::GPU => &mut self.gpu,
            slot::RNG => &mut self.rng,
            slot::CONSOLE => &mut self.console,
            slot::BLK => self.blk.as_mut()?,
            _ => return None,
        };
        Some((device, offset, layout::VIRTIO_INTID + number as u32))
    }

    /// A read of a system register by vCPU `cpu`; None if the machine has it not.
    pub fn sysreg_read(&mut self, cpu: usize, register: SysReg) -> Option<u64> {
        self.gic.sysreg_read(cpu, register)
    }

    /// A write of a system register by vCPU `cpu`; false if the machine has it not.
    pub fn sysreg_write(&mut self, cpu: usize, register: SysReg, value: u64) -> bool {
        self.gic.sysreg_write(cpu, register, value)
    }

    /// Lets the real-time clock notice that the counter is at `now`.
    pub fn tick(&mut self, now: Ticks) {
        self.rtc.tick(now);
        self.gic.set_level(layout::RTC_INTID, self.rtc.irq_level());
    }

    /// Counter value at which a device will act by itself.
    pub fn deadline(&self) -> Option<Ticks> {
        self.rtc.deadline()
    }

    /// What the guest wrote to its serial port since the last call.
    pub fn take_serial_output(&mut self) -> Vec<u8> {
        self.uart.take_output()
    }

    /// Gives the serial port bytes to read; how many it took.
    pub fn push_serial_input(&mut self, bytes: &[u8]) -> usize {
        let taken = self.uart.push_input(bytes);
        self.gic.set_level(layout::UART_INTID, self.uart.irq_level());
        taken
    }

    /// What the display shows.
    pub fn screen(&self) -> &Screen {
        self.gpu.device().screen()
    }

    /// The display device.
    pub fn gpu(&self) -> &Gpu {
        self.gpu.device()
    }

    /// Lets the host do something to the display, such as resize it.
    pub fn with_gpu<R>(&mut self, change: impl FnOnce(&mut Gpu) -> R) -> R {
        let result = self.gpu.with_device(&self.memory, change);
        self.gic.set_level(intid(slot::GPU), self.gpu.irq_level());
        result
    }

    /// Lets the host do something with the keyboard.
    pub fn with_keyboard<R>(&mut self, change: impl FnOnce(&mut Keyboard) -> R) -> R {
        let result = self.keyboard.with_device(&self.memory, change);
        self.gic.set_level(intid(slot::KEYBOARD), self.keyboard.irq_level());
        result
    }

    /// Lets the host do something with the pointer.
    pub fn with_tablet<R>(&mut self, change: impl FnOnce(&mut Tablet) -> R) -> R {
        let result = self.tablet.with_device(&self.memory, change);
        self.gic.set_level(intid(slot::TABLET), self.tablet.irq_level());
        result
    }

    /// Lets the host say something on the private line to the guest, or take what came over it.
    pub fn with_console<R>(&mut self, change: impl FnOnce(&mut Console) -> R) -> R {
        let result = self.console.with_device(&self.memory, change);
        self.gic.set_level(intid(slot::CONSOLE), self.console.irq_level());
        result
    }

    /// Sets the wall time at counter value `now`, in seconds since 1970 UTC.
    pub fn set_wall_seconds(&mut self, now: Ticks, seconds: u64) {
        self.rtc.set_wall_seconds(now, seconds);
        self.gic.set_level(layout::RTC_INTID, self.rtc.irq_level());
    }

    /// Gives the guest a new VM generation id and tells it so: it reseeds its
    /// random numbers.
    pub fn set_generation_id(&mut self, id: GenerationId) {
        // The page is part of every GuestMemory.
        if vmgenid::set(&self.memory, id).is_ok() {
            self.gic.pulse(layout::VMGENID_INTID);
        }
    }

    /// The first device that stopped because the guest drove it wrong.
    pub fn fault(&self) -> Option<&VirtioFault> {
        let faults = [
            self.tablet.fault(),
            self.keyboard.fault(),
            self.gpu.fault(),
            self.rng.fault(),
            self.console.fault(),
            self.blk.as_ref().and_then(VirtioMmio::fault),
        ];
        faults.into_iter().flatten().next()
    }

    /// What every device remembers.
    pub fn save(&self) -> MachineState {
        let mut generation_id = GenerationId::default();
        // The page is part of every GuestMemory.
        let _ = self.memory.read(layout::VMGENID_BASE, &mut generation_id);
        MachineState {
            gic: self.gic.save(),
            uart: self.uart.save(),
            rtc: self.rtc.save(),
            tablet: self.tablet.save(),
            keyboard: self.keyboard.save(),
            gpu: self.gpu.save(),
            rng: self.rng.save(),
            console: self.console.save(),
            blk: self.blk.as_ref().map(VirtioMmio::save),
            generation_id,
        }
    }

    /// Makes every device remember `state`. The guest's memory must already be
    /// what it was when the state was saved.
    ///
    /// # Errors
    /// If a device could not have saved its part. The machine is then of no
    /// use until another load succeeds.
    pub fn load(&mut self, state: &MachineState) -> Result<(), MachineError> {
        fn one<D: VirtioDevice>(
            device: &mut VirtioMmio<D>,
            state: &VirtioState<D::State>,
            memory: &GuestMemory,
        ) -> Result<(), LoadError> {
            device.load(state, memory)
        }
        self.gic.load(&state.gic)?;
        self.uart.load(&state.uart)?;
        self.rtc.load(&state.rtc);
        one(&mut self.tablet, &state.tablet, &self.memory)?;
        one(&mut self.keyboard, &state.keyboard, &self.memory)?;
        one(&mut self.gpu, &state.gpu, &self.memory)?;
        one(&mut self.rng, &state.rng, &self.memory)?;
        one(&mut self.console, &state.console, &self.memory)?;
        match (&mut self.blk, &state.blk) {
            (Some(device), Some(state)) => one(device, state, &self.memory)?,
            (None, None) => {}
            (_, saved) => return Err(MachineError::Disk { saved: saved.is_some() }),
        }
        // The page is part of every GuestMemory.
        let _ = vmgenid::set(&self.memory, state.generation_id);
        Ok(())
    }
}

fn intid(slot: u64) -> u32 {
    layout::VIRTIO_INTID + slot as u32
}

fn within(gpa: u64, base: u64, size: u64) -> Option<u64> {
    gpa.checked_sub(base).filter(|&offset| offset < size)
}
