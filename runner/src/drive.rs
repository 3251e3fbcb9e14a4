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
    vm::{Outcome, Vm, VmState},
};

use crate::{live::LiveError, session::Progress};

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
    pub fn new(scheduler: Scheduler, machine: Machine, engine: SoftEngine) -> Result<Self, LiveError> {
        Ok(match scheduler {
            Scheduler::Threads => Drive::Threads(Threads::new(machine, engine)?),
            Scheduler::Lockstep => Drive::Lockstep(Box::new(Lockstep {
                vm: Vm::new(machine, &engine)?,
                epoch: (Instant::now(), 0),
            })),
        })
    }

    /// Switches the first vCPU on in `state`.
    ///
    /// # Errors
    /// If the engine can't hold the state.
    pub fn start(&mut self, state: &CpuState) -> Result<(), LiveError> {
        match self {
            Drive::Threads(threads) => threads.start(state)?,
            Drive::Lockstep(lockstep) => {
                lockstep.vm.start(state)?;
                lockstep.epoch = (Instant::now(), lockstep.vm.now());
            }
        }
        Ok(())
    }

    /// Drops every change to memory and makes the rest what it was when `state` was saved, over what memory was then.
    ///
    /// # Errors
    /// If the state does not fit, or the host refuses.
    pub fn load(&mut self, state: &VmState) -> Result<(), LiveError> {
        fn fresh(machine: &Machine) -> Result<(), LiveError> {
            machine.memory().discard_changes().map_err(io::Error::into)
        }
        match self {
            Drive::Threads(threads) => threads.load(state, fresh),
            Drive::Lockstep(lockstep) => {
                fresh(&lockstep.vm.machine)?;
                lockstep.vm.load(state)?;
                lockstep.epoch = (Instant::now(), lockstep.vm.now());
                Ok(())
            }
        }
    }

    /// Guest time in nanoseconds.
    pub fn now(&self) -> u64 {
        match self {
            Drive::Threads(threads) => threads.now(),
            Drive::Lockstep(lockstep) => lockstep.vm.now(),
        }
    }

    /// Uses the devices between two of the guest's accesses.
    pub fn with_machine<R>(&mut self, work: impl FnOnce(&mut Machine) -> R) -> R {
        match self {
            Drive::Threads(threads) => threads.with_machine(work),
            Drive::Lockstep(lockstep) => work(&mut lockstep.vm.machine),
        }
    }

    /// Lets the guest run for about `slice` of the host's time.
    pub fn run(&mut self, slice: Duration) -> Progress {
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

impl Lockstep {
    /// The guest time that belongs to the host's clock now.
    fn due(&self) -> u64 {
        let since = u64::try_from(self.epoch.0.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.epoch.1.saturating_add(since)
    }

    fn run(&mut self, slice: Duration) -> Progress {
        let start = Instant::now();
        loop {
            self.vm.advance_to(self.due());
            match self.vm.run(self.vm.now() + STEP_NANOS) {
                Outcome::Running => {
                    let ahead = self.vm.now().saturating_sub(self.due());
                    if ahead > AHEAD_NANOS {
                        return Progress::Idle(Some(Duration::from_nanos(ahead)));
                    }
                }
                Outcome::Idle { until: None } => return Progress::Idle(None),
                Outcome::Idle { until: Some(until) } => {
                    let wait = until.saturating_sub(self.due());
                    if wait > 0 {
                        return Progress::Idle(Some(Duration::from_nanos(wait)));
                    }
                    // It is due already. Inputs must have their turn even so.
                }
                end => return ended(end),
            }
            if start.elapsed() >= slice {
                return Progress::Running;
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
        // The callers have dealt with these.
        Outcome::Running | Outcome::Idle { .. } => Progress::Running,
    }
}
