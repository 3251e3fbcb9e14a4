//! The two ways to drive a machine, one beside the other.

use std::{
    fmt, io,
    time::{Duration, Instant},
};

use engine_soft::SoftEngine;
use machine::{
    board::Machine,
    cpu_state::CpuState,
    threads::Threads,
    vm::{Course, Outcome, Vm, VmState},
};

use crate::{
    engine::{self, Choice},
    live::{LiveError, soft_engine},
    session::Progress,
};

/// Guest time between two looks at the host's clock in lockstep. The soft engine needs more host time for it than
/// this, so the guest's clock jumps ahead by small steps.
const STEP_NANOS: u64 = 200_000;

/// How far the guest's clock may be ahead of the host's before it waits.
const AHEAD_NANOS: u64 = 2_000_000;

/// Who runs a machine's vCPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Scheduler {
    /// A host thread for each vCPU
    #[default]
    Threads,
    /// One host thread for all, in turns of equal length
    Lockstep,
}

impl fmt::Display for Scheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scheduler::Threads => "threads",
            Scheduler::Lockstep => "lockstep",
        })
    }
}

/// What drives a machine's vCPUs at the pace of the host's clock.
pub trait Driver {
    /// Drops every change to memory and makes the rest what it was when `state` was saved, over what memory was then.
    ///
    /// # Errors
    /// If the state does not fit, or the host refuses.
    fn load(&mut self, state: &VmState) -> Result<(), LiveError>;

    /// Uses the devices between two of the guest's accesses.
    fn with_machine<R>(&mut self, work: impl FnOnce(&mut Machine) -> R) -> R;

    /// Lets the guest run for about `slice` of the host's time.
    fn run(&mut self, slice: Duration) -> Progress;
}

/// A machine and what drives it at the pace of the host's clock.
pub enum Drive {
    /// A host thread for each vCPU.
    Threads(Threads),
    /// All vCPUs on the calling thread.
    Lockstep(Box<Lockstep>),
}

/// A machine in lockstep that follows the host's clock.
pub struct Lockstep {
    vm: Vm<SoftEngine>,
    /// A moment of the host's clock, and the guest time then.
    epoch: (Instant, u64),
}

impl Drive {
    /// A machine whose vCPUs are off.
    ///
    /// # Errors
    /// If the engine or the host refuses.
    pub fn new(scheduler: Scheduler, choice: Choice, machine: Machine) -> Result<Self, LiveError> {
        Ok(match scheduler {
            Scheduler::Threads => Drive::Threads(engine::threads(choice, machine)?),
            Scheduler::Lockstep => {
                engine::in_lockstep(choice)?;
                let engine = soft_engine(&machine);
                Drive::Lockstep(Box::new(Lockstep::new(machine, engine)?))
            }
        })
    }

    /// Switches the first vCPU on in `state`.
    ///
    /// # Errors
    /// If the engine can't hold the state.
    pub fn start(&mut self, state: &CpuState) -> Result<(), LiveError> {
        match self {
            Drive::Threads(threads) => threads.start(state)?,
            Drive::Lockstep(lockstep) => lockstep.start(state)?,
        }
        Ok(())
    }
}

fn forget_changes(machine: &Machine) -> Result<(), LiveError> {
    machine.memory().discard_changes().map_err(io::Error::into)
}

impl Driver for Drive {
    fn load(&mut self, state: &VmState) -> Result<(), LiveError> {
        match self {
            Drive::Threads(threads) => threads.load(state, forget_changes),
            Drive::Lockstep(lockstep) => lockstep.load(state),
        }
    }

    fn with_machine<R>(&mut self, work: impl FnOnce(&mut Machine) -> R) -> R {
        match self {
            Drive::Threads(threads) => threads.with_machine(work),
            Drive::Lockstep(lockstep) => lockstep.with_machine(work),
        }
    }

    fn run(&mut self, slice: Duration) -> Progress {
        match self {
            Drive::Threads(threads) => match threads.run(slice) {
                Outcome::Running => Progress::Running,
                Outcome::Idle { until } => {
                    let now = threads.now();
                    Progress::Idle(until.map(|until| Duration::from_nanos(until.saturating_sub(now))))
                }
                end => ended(end),
            },
            Drive::Lockstep(lockstep) => lockstep.run(slice),
        }
    }
}

impl Driver for Lockstep {
    fn load(&mut self, state: &VmState) -> Result<(), LiveError> {
        forget_changes(&self.vm.machine)?;
        self.vm.load(state)?;
        self.set_clock();
        Ok(())
    }

    fn with_machine<R>(&mut self, work: impl FnOnce(&mut Machine) -> R) -> R {
        work(&mut self.vm.machine)
    }

    fn run(&mut self, slice: Duration) -> Progress {
        match self.run_course(slice, Course::default()) {
            Outcome::Idle { until } => Progress::Idle(until.map(|until| self.wait_until(until))),
            outcome => ended(outcome),
        }
    }
}

impl Lockstep {
    /// A machine whose vCPUs are off.
    ///
    /// # Errors
    /// If the engine refuses.
    pub fn new(machine: Machine, engine: SoftEngine) -> Result<Self, LiveError> {
        Ok(Lockstep { vm: Vm::new(machine, &engine)?, epoch: (Instant::now(), 0) })
    }

    /// Switches the first vCPU on in `state`.
    ///
    /// # Errors
    /// If the engine can't hold the state.
    pub fn start(&mut self, state: &CpuState) -> Result<(), LiveError> {
        self.vm.start(state)?;
        self.set_clock();
        Ok(())
    }

    /// The machine and its vCPUs.
    pub fn vm(&mut self) -> &mut Vm<SoftEngine> {
        &mut self.vm
    }

    /// The machine and its vCPUs, to look at.
    pub fn vm_ref(&self) -> &Vm<SoftEngine> {
        &self.vm
    }

    /// Guest time goes on from here, however long the guest stood still.
    pub fn set_clock(&mut self) {
        self.epoch = (Instant::now(), self.vm.now());
    }

    /// The host's time until it is `until` for the guest.
    pub fn wait_until(&self, until: u64) -> Duration {
        Duration::from_nanos(until.saturating_sub(self.due()))
    }

    /// The guest time that belongs to the host's clock now.
    fn due(&self) -> u64 {
        let since = u64::try_from(self.epoch.0.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.epoch.1.saturating_add(since)
    }

    /// Lets the guest run on `course` for about `slice` of the host's time, less if it waits or is ahead of the clock
    /// ([`Outcome::Idle`]).
    pub fn run_course(&mut self, slice: Duration, course: Course) -> Outcome {
        let start = Instant::now();
        loop {
            self.vm.advance_to(self.due());
            match self.vm.run_course(self.vm.now() + STEP_NANOS, course) {
                Outcome::Running => {
                    let now = self.vm.now();
                    if now.saturating_sub(self.due()) > AHEAD_NANOS {
                        return Outcome::Idle { until: Some(now) };
                    }
                }
                // It is due already. Inputs must have their turn even so.
                Outcome::Idle { until: Some(until) } if until <= self.due() => {}
                outcome => return outcome,
            }
            if start.elapsed() >= slice {
                return Outcome::Running;
            }
        }
    }
}

fn ended(outcome: Outcome) -> Progress {
    match outcome {
        Outcome::PoweredOff => Progress::PoweredOff,
        Outcome::Reset => Progress::Restart,
        Outcome::Stopped(report) => Progress::Stopped(report),
        Outcome::Faulted(fault) => Progress::Faulted(fault),
        // The callers have dealt with these, or did not ask for them.
        Outcome::Running | Outcome::Idle { .. } | Outcome::Breakpoint { .. } | Outcome::Stepped { .. } => {
            Progress::Running
        }
    }
}
