//! A machine and its vCPUs, driven in lockstep.
//!
//! All vCPUs run on the calling thread, one after the other, each for the same
//! number of instructions. Time is counted in retired instructions, one
//! nanosecond each, so everything that happens is a function of the guest's
//! state and of what the host does between two calls of [`Vm::run`].

mod debug;

use serde::{Deserialize, Serialize};

use crate::{
    board::{Machine, MachineError, MachineState},
    clock::{nanos_until, ticks_from_nanos},
    cpu_state::CpuState,
    engine::{Engine, EngineError, Exit, Resume, StopReport, Vcpu},
    layout::{RAM_BASE, VTIMER_INTID},
    psci::{self, Power, PsciCall},
    virtio::VirtioFault,
};

pub use debug::Course;

/// Instructions that each vCPU runs before the next one's turn; also the
/// length of a round in nanoseconds of guest time.
const QUANTUM: u64 = 10_000;

/// Where a machine's run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The time that was asked for has come.
    Running,
    /// Every vCPU waits, until guest time `until` in nanoseconds, or for input
    /// alone if that is None.
    Idle {
        /// When the guest will go on by itself.
        until: Option<u64>,
    },
    /// The guest powered itself off, or its last vCPU.
    PoweredOff,
    /// The guest asked to be reset.
    Reset,
    /// The engine can't go on.
    Stopped(StopReport),
    /// A vCPU has come to a breakpoint.
    Breakpoint {
        /// Its number.
        cpu: usize,
    },
    /// A vCPU has made the step that a [`Course`] asks of it.
    Stepped {
        /// Its number.
        cpu: usize,
    },
    /// The guest drove a device wrong, such as with a queue outside its
    /// memory. The device serves no more, so the guest is lost.
    Faulted(VirtioFault),
}

/// A machine with its vCPUs.
pub struct Vm<E: Engine> {
    /// The devices.
    pub machine: Machine,
    vcpus: Vec<Processor<E::Vcpu>>,
    /// Guest time in nanoseconds.
    now: u64,
    /// The round in which a debugger stopped the machine: it goes on where it was.
    broken_off: Option<Round>,
}

struct Processor<V> {
    vcpu: V,
    power: Power,
    /// Waits for an interrupt.
    waiting: bool,
}

/// Everything that a machine and its vCPUs remember, but for memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VmState {
    /// The devices.
    pub machine: MachineState,
    /// The vCPUs.
    pub cpus: Vec<ProcessorState>,
    /// Guest time in nanoseconds.
    pub now: u64,
}

/// What one vCPU remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProcessorState {
    /// On or off.
    pub power: Power,
    /// Waits for an interrupt.
    pub waiting: bool,
    /// Registers.
    pub state: CpuState,
}

impl<E: Engine> Vm<E> {
    /// A machine whose vCPUs, one a CPU of its interrupt controller, are off.
    ///
    /// # Errors
    /// If the engine can't make that many.
    pub fn new(machine: Machine, engine: &E) -> Result<Self, EngineError> {
        let vcpus = (0..machine.gic.cpus())
            .map(|index| {
                Ok(Processor { vcpu: engine.create_vcpu(index)?, power: Power::Off, waiting: false })
            })
            .collect::<Result<_, EngineError>>()?;
        Ok(Vm { machine, vcpus, now: 0, broken_off: None })
    }

    /// Switches the first vCPU on in `state`.
    ///
    /// # Errors
    /// If the engine can't hold the state.
    pub fn start(&mut self, state: &CpuState) -> Result<(), EngineError> {
        if let Some(first) = self.vcpus.first_mut() {
            first.vcpu.load(state)?;
            first.power = Power::On;
            first.waiting = false;
        }
        Ok(())
    }

    /// Guest time in nanoseconds.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Lets guest time jump forward to `nanos`; it never goes back.
    pub fn advance_to(&mut self, nanos: u64) {
        self.now = self.now.max(nanos);
    }

    /// Instructions retired by all vCPUs since they were made.
    pub fn retired(&self) -> u64 {
        self.vcpus.iter().map(|processor| processor.vcpu.retired()).sum()
    }

    /// Runs until guest time `until` in nanoseconds, rounded up to a whole
    /// round, or until all vCPUs wait, or until the guest ends.
    pub fn run(&mut self, until: u64) -> Outcome {
        self.run_course(until, Course::default())
    }

    /// Runs like [`Vm::run`] as far as `course` lets it.
    pub fn run_course(&mut self, until: u64, course: Course) -> Outcome {
        loop {
            let mut round = self.broken_off.take().unwrap_or_else(|| {
                self.machine.tick(ticks_from_nanos(self.now));
                Round::new(self.now)
            });
            while round.cpu < self.vcpus.len() {
                match self.turn_on_course(&mut round, course) {
                    Turn::Waits(nanos) => round.end = round.end.max(nanos),
                    Turn::Ran => round.all_wait = false,
                    Turn::Off => {}
                    Turn::Ended(outcome) => {
                        if matches!(outcome, Outcome::Breakpoint { .. } | Outcome::Stepped { .. }) {
                            self.broken_off = Some(round);
                        }
                        return outcome;
                    }
                }
                round.cpu += 1;
                round.done = 0;
            }
            let Round { all_wait, end, .. } = round;
            if self.vcpus.iter().all(|processor| processor.power == Power::Off) {
                return Outcome::PoweredOff;
            }
            if let Some(fault) = self.machine.fault() {
                return Outcome::Faulted(fault.clone());
            }
            self.now = if all_wait { end.max(self.now) } else { self.now + QUANTUM };
            if all_wait && !self.someone_wakes() {
                return Outcome::Idle { until: self.next_event() };
            }
            if self.now >= until {
                return Outcome::Running;
            }
        }
    }

    /// Gives the round's vCPU the rest of its turn up to `limit`, and counts what it used of it.
    fn turn(&mut self, round: &mut Round, limit: u64) -> Turn {
        let cpu = round.cpu;
        let processor = &mut self.vcpus[cpu];
        if processor.power == Power::Off {
            return Turn::Off;
        }
        processor.power = Power::On;
        let mut now = self.now + round.done;
        let end = self.now + limit;
        let mut resume = Resume::Go;
        while now < end {
            let processor = &mut self.vcpus[cpu];
            let asserted = processor.vcpu.timer_asserted(ticks_from_nanos(now));
            self.machine.gic.set_ppi_level(cpu, VTIMER_INTID, asserted);
            let irq = self.machine.gic.irq_asserted(cpu);
            if processor.waiting && !irq {
                return Turn::Waits(now);
            }
            processor.waiting = false;
            processor.vcpu.set_irq(irq);
            let before = processor.vcpu.retired();
            let exit = processor.vcpu.run(resume, now, end - now);
            now += processor.vcpu.retired() - before;
            round.done = now - self.now;
            let ticks = ticks_from_nanos(now);
            resume = match exit {
                Exit::MmioRead { gpa, size } => match self.machine.mmio_read(gpa, size, ticks) {
                    Some(value) => Resume::Value(value),
                    None => Resume::Fault,
                },
                Exit::MmioWrite { gpa, size, value } => {
                    if self.machine.mmio_write(gpa, size, value, ticks) {
                        Resume::Go
                    } else {
                        Resume::Fault
                    }
                }
                Exit::SysRegRead(register) => match self.machine.sysreg_read(cpu, register) {
                    Some(value) => Resume::Value(value),
                    None => Resume::Fault,
                },
                Exit::SysRegWrite(register, value) => {
                    if self.machine.sysreg_write(cpu, register, value) {
                        Resume::Go
                    } else {
                        Resume::Fault
                    }
                }
                Exit::Hypercall(arguments) => match self.power_call(cpu, arguments) {
                    Ok(value) => Resume::Value(value),
                    Err(turn) => return turn,
                },
                Exit::WaitForInterrupt => {
                    processor.waiting = true;
                    Resume::Go
                }
                // What it waits for is another's doing: its turn is over.
                Exit::WaitForEvent => return Turn::Ran,
                Exit::Budget => Resume::Go,
                Exit::Breakpoint => return Turn::Ended(Outcome::Breakpoint { cpu }),
                Exit::Stopped(report) => return Turn::Ended(Outcome::Stopped(report)),
            };
        }
        Turn::Ran
    }

    /// Does what a PSCI call asks for; X0, or the end of the caller's turn.
    fn power_call(&mut self, cpu: usize, arguments: [u64; 4]) -> Result<u64, Turn> {
        let power: Vec<Power> = self.vcpus.iter().map(|processor| processor.power).collect();
        let ram = RAM_BASE..RAM_BASE + self.machine.memory().ram_size();
        match psci::decode(arguments, &power, ram) {
            PsciCall::Return(value) => Ok(value),
            PsciCall::CpuOn { target, entry, context } => {
                let started = &mut self.vcpus[target];
                match started.vcpu.load(&CpuState::at_entry(entry, context)) {
                    Ok(()) => {
                        started.power = Power::OnPending;
                        started.waiting = false;
                        self.machine.gic.reset_cpu_interface(target);
                        Ok(psci::SUCCESS)
                    }
                    Err(_) => Ok(psci::INVALID_PARAMETERS),
                }
            }
            PsciCall::CpuOff => {
                self.vcpus[cpu].power = Power::Off;
                Err(Turn::Off)
            }
            PsciCall::Suspend => {
                // Finish the HVC, then wait as after WFI.
                let processor = &mut self.vcpus[cpu];
                processor.vcpu.run(Resume::Value(psci::SUCCESS), self.now, 1);
                processor.waiting = true;
                Err(Turn::Ran)
            }
            PsciCall::SystemOff => Err(Turn::Ended(Outcome::PoweredOff)),
            PsciCall::SystemReset => Err(Turn::Ended(Outcome::Reset)),
        }
    }

    /// Whether some waiting vCPU has an interrupt now.
    fn someone_wakes(&mut self) -> bool {
        let ticks = ticks_from_nanos(self.now);
        let mut wakes = false;
        for (cpu, processor) in self.vcpus.iter().enumerate() {
            if processor.power == Power::On {
                let asserted = processor.vcpu.timer_asserted(ticks);
                self.machine.gic.set_ppi_level(cpu, VTIMER_INTID, asserted);
                wakes |= self.machine.gic.irq_asserted(cpu);
            }
        }
        wakes
    }

    /// When something will happen by itself, in nanoseconds.
    fn next_event(&self) -> Option<u64> {
        let timers = self.vcpus.iter().filter(|p| p.power != Power::Off).filter_map(|p| p.vcpu.deadline());
        timers.chain(self.machine.deadline()).map(nanos_until).filter(|&at| at > self.now).min()
    }

    /// Everything but memory. Taken between two runs.
    pub fn save(&self) -> VmState {
        let cpus = self.vcpus.iter().map(|processor| ProcessorState {
            power: processor.power,
            waiting: processor.waiting,
            state: processor.vcpu.save(),
        });
        VmState { machine: self.machine.save(), cpus: cpus.collect(), now: self.now }
    }

    /// Makes everything what it was when `state` was saved. The guest's memory
    /// must be so already.
    ///
    /// # Errors
    /// If a device or a vCPU could not have saved its part. The machine is
    /// then of no use until another load succeeds.
    pub fn load(&mut self, state: &VmState) -> Result<(), MachineError> {
        if state.cpus.len() != self.vcpus.len() {
            return Err(MachineError::Cpus { saved: state.cpus.len(), here: self.vcpus.len() });
        }
        self.machine.load(&state.machine)?;
        for (cpu, (processor, saved)) in self.vcpus.iter_mut().zip(&state.cpus).enumerate() {
            let refused = |error: EngineError| MachineError::Vcpu { cpu, what: error.to_string() };
            processor.vcpu.load(&saved.state).map_err(refused)?;
            processor.power = saved.power;
            processor.waiting = saved.waiting;
        }
        self.now = state.now;
        self.broken_off = None;
        Ok(())
    }
}

/// A round of turns, as far as it has come.
struct Round {
    /// Whose turn it is.
    cpu: usize,
    /// How much of its turn that vCPU has used, in instructions.
    done: u64,
    /// Every vCPU before it waits.
    all_wait: bool,
    /// When the last of these began to.
    end: u64,
}

impl Round {
    fn new(now: u64) -> Self {
        Round { cpu: 0, done: 0, all_wait: true, end: now }
    }
}

/// How a vCPU's turn ended.
enum Turn {
    /// It waits since this guest time.
    Waits(u64),
    /// It ran.
    Ran,
    /// It is off.
    Off,
    /// So does the whole machine.
    Ended(Outcome),
}
