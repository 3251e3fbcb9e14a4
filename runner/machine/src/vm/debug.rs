//! What a debugger asks of a machine in lockstep.
//!
//! A machine that was stopped at a breakpoint or after a step goes on in the middle of the round in which it was, so
//! the guest's course is the one that it would have had without.

use super::{Outcome, ProcessorState, QUANTUM, Round, Turn, Vm};
use crate::{
    cpu_state::CpuState,
    engine::{Engine, EngineError, Vcpu},
    psci::Power,
};

/// What a debugger lets run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Course {
    /// The vCPU after whose next instruction the run ends.
    pub step: Option<usize>,
    /// The only vCPU that gets its turns; the others are as if the scheduler forgot them.
    pub only: Option<usize>,
}

impl<E: Engine> Vm<E> {
    /// Number of vCPUs.
    pub fn cpus(&self) -> usize {
        self.vcpus.len()
    }

    /// What vCPU `cpu` remembers, if there is one.
    pub fn cpu(&self, cpu: usize) -> Option<ProcessorState> {
        self.vcpus.get(cpu).map(|processor| ProcessorState {
            power: processor.power,
            waiting: processor.waiting,
            state: processor.vcpu.save(),
        })
    }

    /// Replaces the registers of vCPU `cpu`, which forgets what it has cached of memory. Nothing happens if there is
    /// none such.
    ///
    /// # Errors
    /// If the engine can't hold the state; the vCPU is then as it was.
    pub fn set_cpu(&mut self, cpu: usize, state: &CpuState) -> Result<(), EngineError> {
        self.vcpus.get_mut(cpu).map_or(Ok(()), |processor| processor.vcpu.load(state))
    }

    /// Makes every vCPU forget what it has cached of memory, after somebody other than the guest wrote there.
    ///
    /// # Errors
    /// If the engine can't, which would be its fault.
    pub fn forget_caches(&mut self) -> Result<(), EngineError> {
        self.vcpus.iter_mut().try_for_each(|processor| {
            let state = processor.vcpu.save();
            processor.vcpu.load(&state)
        })
    }

    /// Replaces the breakpoints of every vCPU ([`Vcpu::set_breakpoints`]).
    ///
    /// # Errors
    /// What the engine says.
    pub fn set_breakpoints(&mut self, addresses: &[u64]) -> Result<(), EngineError> {
        self.vcpus.iter_mut().try_for_each(|processor| processor.vcpu.set_breakpoints(addresses))
    }

    /// The turn of the round's vCPU, as far as `course` lets it.
    pub(super) fn turn_on_course(&mut self, round: &mut Round, course: Course) -> Turn {
        let cpu = round.cpu;
        if course.only.is_some_and(|only| only != cpu) {
            // It does not wait: time has to pass for the one that runs.
            return Turn::Ran;
        }
        if course.step != Some(cpu) {
            return self.turn(round, QUANTUM);
        }
        let before = self.vcpus[cpu].vcpu.retired();
        let turn = self.turn(round, (round.done + 1).min(QUANTUM));
        let processor = &self.vcpus[cpu];
        // One that is off will make no step.
        let done = processor.vcpu.retired() != before || processor.power == Power::Off;
        match turn {
            Turn::Waits(_) | Turn::Ran | Turn::Off if done => Turn::Ended(Outcome::Stepped { cpu }),
            turn => turn,
        }
    }
}
