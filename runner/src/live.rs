//! A machine with its engine: built cold or around a snapshot, and driven at
//! the pace of the host's clock.

use std::{
    fs::File,
    io,
    time::{Duration, Instant},
};

use engine_soft::SoftEngine;
use machine::{
    board::{Machine, MachineConfig, MachineError},
    clock::{Entropy, ticks_from_nanos},
    engine::EngineError,
    memory::GuestMemory,
    virtio::blk::DiskImage,
    vm::{Outcome, Vm, VmState},
    vmgenid::GenerationId,
};

use crate::{
    keys::{BUTTON_LEFT, BUTTON_MIDDLE, BUTTON_RIGHT},
    picture::Frame,
    restore::wall_seconds,
    session::{Guest, Progress},
    spec::MachineSpec,
};

/// What the disk is called in the guest (`/sys/block/vda/serial`).
const DISK_ID: &str = "samovar";

/// Guest time between two looks at the host's clock. The soft engine needs more
/// host time for it than this, so the guest's clock jumps ahead by small steps.
const STEP_NANOS: u64 = 200_000;

/// How far the guest's clock may be ahead of the host's before it waits.
const AHEAD_NANOS: u64 = 2_000_000;

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
    /// The host failed.
    #[error(transparent)]
    Host(#[from] io::Error),
}

/// A machine in reset over `memory`, its vCPUs made in the calling thread.
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
    let disk = match disk {
        Some(file) => Some((DiskImage::new(file)?, DISK_ID.to_owned())),
        None => None,
    };
    let engine = SoftEngine::new(memory.clone(), spec.cpus);
    let machine = Machine::new(MachineConfig {
        cpus: spec.cpus,
        memory,
        display: (spec.width, spec.height),
        disk,
        wall_seconds,
        entropy,
    });
    Ok(Vm::new(machine, &engine)?)
}

/// A guest that lives in the host's time.
pub struct Live {
    vm: SoftVm,
    /// What a reset goes back to, and where a new generation id comes from.
    base: Option<Base>,
    /// A moment of the host's clock, and the guest time then.
    epoch: (Instant, u64),
}

struct Base {
    state: VmState,
    entropy: Box<dyn Entropy>,
}

impl Live {
    /// A guest that was booted, and so has nothing to go back to.
    pub fn booted(vm: SoftVm) -> Self {
        let epoch = (Instant::now(), vm.now());
        Live { vm, base: None, epoch }
    }

    /// A guest in the state of a warm base, over its memory, but one of a kind:
    /// with a generation id of its own and the right time. `entropy` gives the ids.
    ///
    /// # Errors
    /// If the machine or the engine can't take the state.
    pub fn restored(vm: SoftVm, state: VmState, entropy: Box<dyn Entropy>) -> Result<Self, LiveError> {
        let mut live = Live::booted(vm);
        let mut base = Base { state, entropy };
        live.load(&mut base)?;
        live.base = Some(base);
        Ok(live)
    }

    fn load(&mut self, base: &mut Base) -> Result<(), LiveError> {
        self.vm.load(&base.state)?;
        // What the guest said before the capture was said then.
        self.vm.machine.take_serial_output();
        let now = self.vm.now();
        let mut id = GenerationId::default();
        base.entropy.fill(&mut id);
        self.vm.machine.set_generation_id(id);
        self.vm.machine.set_wall_seconds(ticks_from_nanos(now), wall_seconds());
        self.epoch = (Instant::now(), now);
        Ok(())
    }

    /// The guest time that belongs to the host's clock now.
    fn due(&self) -> u64 {
        let since = u64::try_from(self.epoch.0.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.epoch.1.saturating_add(since)
    }
}

impl Guest for Live {
    fn run(&mut self, slice: Duration) -> Result<Progress, String> {
        let start = Instant::now();
        loop {
            self.vm.advance_to(self.due());
            match self.vm.run(self.vm.now() + STEP_NANOS) {
                Outcome::Running => {
                    let ahead = self.vm.now().saturating_sub(self.due());
                    if ahead > AHEAD_NANOS {
                        return Ok(Progress::Idle(Some(Duration::from_nanos(ahead))));
                    }
                    if start.elapsed() >= slice {
                        return Ok(Progress::Running);
                    }
                }
                Outcome::Idle { until: None } => return Ok(Progress::Idle(None)),
                Outcome::Idle { until: Some(until) } => {
                    let wait = until.saturating_sub(self.due());
                    if wait > 0 {
                        return Ok(Progress::Idle(Some(Duration::from_nanos(wait))));
                    }
                    // It is due already. Inputs must have their turn even so.
                    if start.elapsed() >= slice {
                        return Ok(Progress::Running);
                    }
                }
                Outcome::PoweredOff => return Ok(Progress::PoweredOff),
                Outcome::Reset => return Ok(Progress::Restart),
                Outcome::Stopped(report) => return Ok(Progress::Stopped(report)),
                Outcome::Faulted(fault) => return Ok(Progress::Faulted(fault)),
            }
        }
    }

    fn key(&mut self, code: u16, pressed: bool) {
        // A key that the guest does not take, for want of a driver, is lost as on real hardware.
        if [BUTTON_LEFT, BUTTON_MIDDLE, BUTTON_RIGHT].contains(&code) {
            self.vm.machine.with_tablet(|tablet| tablet.button(code, pressed));
        } else {
            self.vm.machine.with_keyboard(|keyboard| keyboard.key(code, pressed));
        }
    }

    fn pointer(&mut self, x: u32, y: u32) {
        self.vm.machine.with_tablet(|tablet| tablet.move_to(x, y));
    }

    fn wheel(&mut self, turns: i32) {
        self.vm.machine.with_tablet(|tablet| tablet.wheel(0, turns));
    }

    fn console_input(&mut self, bytes: &[u8]) -> usize {
        self.vm.machine.push_serial_input(bytes)
    }

    fn take_console(&mut self) -> Vec<u8> {
        self.vm.machine.take_serial_output()
    }

    fn screen_generation(&self) -> u64 {
        self.vm.machine.screen().generation
    }

    fn screen(&self) -> Option<Frame> {
        Frame::of(self.vm.machine.screen())
    }

    fn reset(&mut self) -> Result<(), String> {
        let Some(mut base) = self.base.take() else {
            return Err("the guest was booted, not restored: there is no state to go back to".into());
        };
        self.vm.machine.memory().discard_changes().map_err(|error| error.to_string())?;
        self.load(&mut base).map_err(|error| error.to_string())?;
        self.base = Some(base);
        Ok(())
    }
}
