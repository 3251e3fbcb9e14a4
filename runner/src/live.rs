//! A machine with its engine: built cold or around a snapshot, and what a session asks of it.

use std::{fs::File, io, time::Duration};

use engine_soft::SoftEngine;
use machine::{
    board::{Machine, MachineConfig, MachineError},
    clock::{Entropy, ticks_from_nanos},
    engine::EngineError,
    memory::GuestMemory,
    virtio::{blk::DiskImage, console::Console},
    vm::{Vm, VmState},
    vmgenid::GenerationId,
};

use crate::{
    drive::{Drive, Driver},
    engine::{self, ChoiceError},
    keys::{BUTTON_LEFT, BUTTON_MIDDLE, BUTTON_RIGHT},
    picture::Frame,
    restore::wall_seconds,
    session::{Guest, Progress},
    spec::MachineSpec,
};

/// What the disk is called in the guest (`/sys/block/vda/serial`).
const DISK_ID: &str = "samovar";

/// The machine of this program.
pub type SoftVm = Vm<SoftEngine>;

/// A machine can't be made or can't take a state.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The state does not fit the machine.
    #[error(transparent)]
    State(#[from] MachineError),
    /// The engine refuses.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// There is no such engine here, or not for this.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// The host failed.
    #[error(transparent)]
    Host(#[from] io::Error),
}

impl LiveError {
    /// Whether whoever asked for it is to blame rather than the host.
    pub fn is_usage(&self) -> bool {
        matches!(self, LiveError::Choice(_))
    }

    /// What a person can do about it, where that is not plain from where it happened.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            LiveError::Choice(error) => Some(error.hint()),
            LiveError::Engine(error) => engine::hint(error),
            LiveError::State(_) | LiveError::Host(_) => None,
        }
    }
}

/// A machine in reset over `memory`.
///
/// # Errors
/// If the disk can't be read.
pub fn machine(
    spec: &MachineSpec,
    memory: GuestMemory,
    disk: Option<File>,
    wall_seconds: u64,
    entropy: Box<dyn Entropy>,
) -> io::Result<Machine> {
    let disk = match disk {
        Some(file) => Some((DiskImage::new(file)?, DISK_ID.to_owned())),
        None => None,
    };
    Ok(Machine::new(MachineConfig {
        cpus: spec.cpus,
        memory,
        display: (spec.width, spec.height),
        disk,
        wall_seconds,
        entropy,
    }))
}

/// The soft engine for the vCPUs of `machine`.
pub fn soft_engine(machine: &Machine) -> SoftEngine {
    SoftEngine::new(machine.memory().clone(), machine.gic.cpus())
}

/// A machine in reset over `memory`, driven in lockstep.
///
/// # Errors
/// If the engine or the host refuses.
pub fn build(
    spec: &MachineSpec,
    memory: GuestMemory,
    disk: Option<File>,
    wall_seconds: u64,
    entropy: Box<dyn Entropy>,
) -> Result<SoftVm, LiveError> {
    let machine = machine(spec, memory, disk, wall_seconds, entropy)?;
    let engine = soft_engine(&machine);
    Ok(Vm::new(machine, &engine)?)
}

/// A guest that lives in the host's time.
pub struct Live<D = Drive> {
    drive: D,
    /// What a reset goes back to, and where a new generation id comes from.
    base: Option<Base>,
}

struct Base {
    state: VmState,
    entropy: Box<dyn Entropy>,
}

impl<D: Driver> Live<D> {
    /// A guest that was booted, and so has nothing to go back to.
    pub fn booted(drive: D) -> Self {
        Live { drive, base: None }
    }

    /// A guest in the state of a warm base, over its memory, but one of a kind:
    /// with a generation id of its own and the right time. `entropy` gives the ids.
    ///
    /// # Errors
    /// If the machine or the engine can't take the state.
    pub fn restored(drive: D, state: VmState, entropy: Box<dyn Entropy>) -> Result<Self, LiveError> {
        let mut live = Live::booted(drive);
        let mut base = Base { state, entropy };
        live.load(&mut base)?;
        live.base = Some(base);
        Ok(live)
    }

    /// What drives it.
    pub fn driver(&mut self) -> &mut D {
        &mut self.drive
    }

    /// What drives it, to look at.
    pub fn driver_ref(&self) -> &D {
        &self.drive
    }

    fn load(&mut self, base: &mut Base) -> Result<(), LiveError> {
        self.drive.load(&base.state)?;
        let mut id = GenerationId::default();
        base.entropy.fill(&mut id);
        let now = ticks_from_nanos(base.state.now);
        self.drive.with_machine(|machine| {
            // What the guest said before the capture was said then.
            machine.take_serial_output();
            machine.with_console(Console::take_output);
            machine.set_generation_id(id);
            machine.set_wall_seconds(now, wall_seconds());
        });
        Ok(())
    }
}

impl<D: Driver> Guest for Live<D> {
    fn run(&mut self, slice: Duration) -> Result<Progress, String> {
        Ok(self.drive.run(slice))
    }

    fn key(&mut self, code: u16, pressed: bool) {
        // A key that the guest does not take, for want of a driver, is lost as on real hardware.
        self.drive.with_machine(|machine| {
            if [BUTTON_LEFT, BUTTON_MIDDLE, BUTTON_RIGHT].contains(&code) {
                machine.with_tablet(|tablet| tablet.button(code, pressed));
            } else {
                machine.with_keyboard(|keyboard| keyboard.key(code, pressed));
            }
        });
    }

    fn pointer(&mut self, x: u32, y: u32) {
        self.drive.with_machine(|machine| machine.with_tablet(|tablet| tablet.move_to(x, y)));
    }

    fn wheel(&mut self, dx: i32, dy: i32) {
        self.drive.with_machine(|machine| machine.with_tablet(|tablet| tablet.wheel(dx, dy)));
    }

    fn resize(&mut self, width: u32, height: u32) {
        self.drive.with_machine(|machine| machine.with_gpu(|gpu| gpu.set_display_size(width, height)));
    }

    fn line_input(&mut self, bytes: &[u8]) -> usize {
        self.drive.with_machine(|machine| machine.with_console(|console| console.push_input(bytes)))
    }

    fn take_line(&mut self) -> Vec<u8> {
        self.drive.with_machine(|machine| machine.with_console(Console::take_output))
    }

    fn console_input(&mut self, bytes: &[u8]) -> usize {
        self.drive.with_machine(|machine| machine.push_serial_input(bytes))
    }

    fn take_console(&mut self) -> Vec<u8> {
        self.drive.with_machine(Machine::take_serial_output)
    }

    fn screen_generation(&mut self) -> u64 {
        self.drive.with_machine(|machine| machine.screen().generation)
    }

    fn screen(&mut self) -> Option<Frame> {
        self.drive.with_machine(|machine| Frame::of(machine.screen()))
    }

    fn reset(&mut self) -> Result<(), String> {
        let Some(mut base) = self.base.take() else {
            return Err("the guest was booted, not restored: there is no state to go back to".into());
        };
        self.load(&mut base).map_err(|error| error.to_string())?;
        self.base = Some(base);
        Ok(())
    }
}
