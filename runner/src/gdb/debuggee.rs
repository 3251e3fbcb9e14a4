//! The guest as a debugger has it.

use std::{collections::BTreeSet, time::Duration};

use engine_soft::SoftEngine;
use machine::{
    cpu_state::CpuState,
    engine::EngineError,
    vm::{Course, Outcome, Vm},
};

use super::memory::{self, NoMemory};
use crate::{drive::Lockstep, live::Live};

/// Breakpoints that a debugger may set, of each kind.
const MOST_BREAKPOINTS: usize = 1024;

/// A guest in lockstep, what its debugger set in it, and how it is to run on.
pub struct Debuggee {
    live: Live<Lockstep>,
    /// Breakpoints that gdb calls software ones. It tells kinds apart, the engine does not.
    software: BTreeSet<u64>,
    /// Breakpoints that gdb calls hardware ones.
    hardware: BTreeSet<u64>,
    /// What the engine has of both.
    applied: Vec<u64>,
    /// Memory was written behind the vCPUs' backs.
    written: bool,
    /// How it runs on.
    course: Course,
    /// What gdb asks of each vCPU, before it is a course.
    actions: Vec<(usize, Action)>,
    /// vCPUs that are not named are to stand still.
    locked: bool,
    /// The vCPU that stopped last.
    current: usize,
    quit: bool,
}

/// What a vCPU is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run.
    Continue,
    /// Execute one instruction.
    Step,
}

/// Which kind of breakpoint, in gdb's terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `break`
    Software,
    /// `hbreak`
    Hardware,
}

impl Debuggee {
    /// A guest with nothing set in it.
    pub fn new(live: Live<Lockstep>) -> Self {
        Debuggee {
            live,
            software: BTreeSet::new(),
            hardware: BTreeSet::new(),
            applied: Vec::new(),
            written: false,
            course: Course::default(),
            actions: Vec::new(),
            locked: false,
            current: 0,
            quit: false,
        }
    }

    /// The guest.
    pub fn live(&mut self) -> &mut Live<Lockstep> {
        &mut self.live
    }

    /// The machine.
    pub fn vm(&mut self) -> &mut Vm<SoftEngine> {
        self.live.driver().vm()
    }

    /// The machine, to look at.
    pub fn vm_ref(&self) -> &Vm<SoftEngine> {
        self.live.driver_ref().vm_ref()
    }

    /// The vCPU that stopped last.
    pub fn current(&self) -> usize {
        self.current
    }

    /// The session is to end.
    pub fn quit(&mut self) {
        self.quit = true;
    }

    /// Whether the session is to end.
    pub fn quits(&self) -> bool {
        self.quit
    }

    /// The registers of vCPU `cpu`.
    pub fn registers(&self, cpu: usize) -> Option<CpuState> {
        self.vm_ref().cpu(cpu).map(|cpu| cpu.state)
    }

    /// Replaces the registers of vCPU `cpu`.
    ///
    /// # Errors
    /// If the engine can't hold them; they are then as they were.
    pub fn set_registers(&mut self, cpu: usize, state: &CpuState) -> Result<(), EngineError> {
        self.vm().set_cpu(cpu, state)
    }

    /// Reads memory as vCPU `cpu` sees it, as far as there is any; how many bytes.
    pub fn read_memory(&self, cpu: usize, va: u64, data: &mut [u8]) -> usize {
        let vm = self.vm_ref();
        vm.cpu(cpu).map_or(0, |cpu| memory::read(vm.machine.memory(), &cpu.state.sys, va, data))
    }

    /// Writes memory as vCPU `cpu` sees it.
    ///
    /// # Errors
    /// If not all of it is there; nothing is written then.
    pub fn write_memory(&mut self, cpu: usize, va: u64, data: &[u8]) -> Result<(), NoMemory> {
        let vm = self.vm_ref();
        let sys = vm.cpu(cpu).ok_or(NoMemory)?.state.sys;
        memory::write(vm.machine.memory(), &sys, va, data)?;
        self.written = true;
        Ok(())
    }

    fn of_kind(&mut self, kind: Kind) -> &mut BTreeSet<u64> {
        match kind {
            Kind::Software => &mut self.software,
            Kind::Hardware => &mut self.hardware,
        }
    }

    /// Sets a breakpoint, which counts from the next run on; false if that can't be.
    pub fn add_breakpoint(&mut self, kind: Kind, address: u64) -> bool {
        let breakpoints = self.of_kind(kind);
        let possible = address.is_multiple_of(4) && breakpoints.len() < MOST_BREAKPOINTS;
        if possible {
            breakpoints.insert(address);
        }
        possible
    }

    /// Removes a breakpoint; false if there is none.
    pub fn remove_breakpoint(&mut self, kind: Kind, address: u64) -> bool {
        self.of_kind(kind).remove(&address)
    }

    /// Of which kind the breakpoint is at which vCPU `cpu` stands.
    pub fn breakpoint_at(&self, cpu: usize) -> Option<Kind> {
        let pc = self.registers(cpu)?.pc;
        if self.software.contains(&pc) {
            Some(Kind::Software)
        } else {
            self.hardware.contains(&pc).then_some(Kind::Hardware)
        }
    }

    /// Forgets how the guest was to run on.
    pub fn clear_actions(&mut self) {
        self.actions.clear();
        self.locked = false;
    }

    /// What vCPU `cpu` is to do.
    pub fn set_action(&mut self, cpu: usize, action: Action) {
        if cpu < self.vm_ref().cpus() {
            self.actions.push((cpu, action));
        }
    }

    /// vCPUs without an action are to stand still.
    pub fn lock(&mut self) {
        self.locked = true;
    }

    /// Everything is ready to run on as asked.
    ///
    /// # Errors
    /// What the engine says.
    pub fn resume(&mut self) -> Result<(), EngineError> {
        let step = self.actions.iter().find(|(_, action)| *action == Action::Step);
        // gdb locks all vCPUs but one; more can't be told from none.
        let only = match self.actions[..] {
            [(cpu, _)] if self.locked => Some(cpu),
            _ => None,
        };
        self.course = Course { step: step.map(|(cpu, _)| *cpu), only };
        self.apply()
    }

    /// Gives the engine what was set since the last run. gdb removes every breakpoint when the guest stops and sets it
    /// again before it runs, so only the difference counts.
    fn apply(&mut self) -> Result<(), EngineError> {
        if self.written {
            self.vm().forget_caches()?;
            self.written = false;
        }
        let wanted: Vec<u64> = self.software.union(&self.hardware).copied().collect();
        if wanted != self.applied {
            self.vm().set_breakpoints(&wanted)?;
            self.applied = wanted;
        }
        Ok(())
    }

    /// No debugger has it any more.
    ///
    /// # Errors
    /// What the engine says.
    pub fn release(&mut self) -> Result<(), EngineError> {
        self.software.clear();
        self.hardware.clear();
        self.clear_actions();
        self.resume()
    }

    /// Guest time goes on from where it stopped.
    pub fn set_clock(&mut self) {
        self.live.driver().set_clock();
    }

    /// Runs for about `slice` of the host's time, or until something happens.
    pub fn run(&mut self, slice: Duration) -> Outcome {
        let course = self.course;
        let outcome = self.live.driver().run_course(slice, course);
        match &outcome {
            Outcome::Breakpoint { cpu } | Outcome::Stepped { cpu } => self.current = *cpu,
            Outcome::Stopped(report) => self.current = report.vcpu,
            _ => {}
        }
        outcome
    }
}
