//! The seam between the machine and whatever executes its instructions.
//!
//! An engine opens over a guest memory and makes vCPUs; a vCPU belongs to the
//! thread that made it (Hypervisor.framework insists). What goes into a run and
//! what comes out is plain data: [`Resume`] and [`Exit`].

use std::sync::Arc;

use crate::{
    clock::{HostClock, Ticks},
    cpu_state::CpuState,
};

/// What makes vCPUs that share one guest memory.
pub trait Engine {
    /// This engine's vCPU.
    type Vcpu: Vcpu;

    /// Name for messages and reports, such as `soft`.
    fn name(&self) -> &'static str;

    /// Makes vCPU number `index` (its affinity 0 in MPIDR_EL1), stopped, in
    /// the calling thread, where it must stay.
    fn create_vcpu(&self, index: usize) -> Result<Self::Vcpu, EngineError>;
}

/// One virtual processor.
pub trait Vcpu {
    /// Executes until an [`Exit`], at most `budget` instructions. An engine that can't count them runs until something
    /// happens, or not at all if `budget` is 1: then it takes the answer to the exit before, and no more.
    ///
    /// `now` is the guest's time at the first instruction, in nanoseconds. It
    /// advances with the instructions, one nanosecond each, or with the clock
    /// that was set by [`Vcpu::set_clock`].
    ///
    /// `resume` answers the exit before: [`Resume::Value`] after a read or a
    /// hypercall, [`Resume::Go`] after anything else.
    fn run(&mut self, resume: Resume, now: u64, budget: u64) -> Exit;

    /// Lets guest time run with the host's clock instead of with instructions.
    fn set_clock(&mut self, clock: HostClock);

    /// A way to make this vCPU's run end early, for other threads.
    fn kicker(&self) -> Arc<dyn Kick>;

    /// Replaces the addresses at which a run ends with [`Exit::Breakpoint`]: virtual ones, in every address space
    /// and at every exception level. Guest memory does not change.
    ///
    /// # Errors
    /// If this engine can't stop there, or not at so many places.
    fn set_breakpoints(&mut self, addresses: &[u64]) -> Result<(), EngineError>;

    /// Sets the level of the vCPU's IRQ input, the output of its GIC CPU
    /// interface. It holds until set again.
    fn set_irq(&mut self, level: bool);

    /// Level of the virtual timer's interrupt at counter value `now`. A run
    /// ends no later than the instruction at which it rises.
    fn timer_asserted(&self, now: Ticks) -> bool;

    /// Counter value at which the virtual timer will interrupt, if it is armed.
    fn deadline(&self) -> Option<Ticks>;

    /// Instructions retired since this vCPU was made, where the engine counts
    /// them; 0 where it can't.
    fn retired(&self) -> u64;

    /// The architectural state.
    fn save(&self) -> CpuState;

    /// Replaces the architectural state and forgets every cached translation.
    ///
    /// # Errors
    /// Names the first thing in `state` that this engine can't hold; the vCPU
    /// is then as it was.
    fn load(&mut self, state: &CpuState) -> Result<(), EngineError>;
}

/// Ends a vCPU's run from another thread.
pub trait Kick: Send + Sync {
    /// Makes the current run end with [`Exit::Budget`] after a few instructions, or the next one
    /// if there is none. An instruction that awaits the machine's answer is completed first.
    fn kick(&self);
}

/// The answer to the exit before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Nothing to answer.
    Go,
    /// The value read from a device or system register, or X0 of a hypercall.
    Value(u64),
    /// The access hit nothing: the instruction takes a synchronous external
    /// abort (for memory) or is UNDEFINED (for a system register).
    Fault,
}

/// Why a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The guest reads device memory. Answer with [`Resume::Value`], zero-extended.
    MmioRead {
        /// Guest physical address.
        gpa: u64,
        /// Width in bytes: 1, 2, 4 or 8.
        size: u8,
    },
    /// The guest writes device memory.
    MmioWrite {
        /// Guest physical address.
        gpa: u64,
        /// Width in bytes: 1, 2, 4 or 8.
        size: u8,
        /// The value, zero-extended.
        value: u64,
    },
    /// The guest reads a system register that the machine holds (GIC CPU interface).
    SysRegRead(SysReg),
    /// The guest writes a system register that the machine holds.
    SysRegWrite(SysReg, u64),
    /// HVC #0: X0 to X3 (SMC calling convention). Answer with X0.
    Hypercall([u64; 4]),
    /// WFI with no interrupt pending; it is retired.
    WaitForInterrupt,
    /// WFE; it is retired.
    WaitForEvent,
    /// The budget is spent, the timer's interrupt changed its level, or the run was kicked.
    Budget,
    /// The PC is at one of [`Vcpu::set_breakpoints`]; the instruction there is not executed. The next run begins
    /// with it, and does not end before it.
    Breakpoint,
    /// The guest can't go on: the engine met what it doesn't implement.
    Stopped(StopReport),
}

/// A system register by its encoding (Arm ARM C5.1.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SysReg(u16);

impl SysReg {
    /// The register `S<op0>_<op1>_C<crn>_C<crm>_<op2>`.
    pub const fn new(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> Self {
        SysReg(
            ((op0 as u16 & 3) << 14)
                | ((op1 as u16 & 7) << 11)
                | ((crn as u16 & 15) << 7)
                | ((crm as u16 & 15) << 3)
                | (op2 as u16 & 7),
        )
    }

    /// The register that an MRS, MSR, SYS or SYSL instruction word names.
    pub const fn from_word(word: u32) -> Self {
        SysReg(((word >> 5) & 0xffff) as u16)
    }

    /// The encoding as one number: op0, op1, CRn, CRm, op2 from the top.
    pub const fn encoding(self) -> u16 {
        self.0
    }
}

impl std::fmt::Display for SysReg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let e = self.0;
        write!(f, "S{}_{}_C{}_C{}_{}", e >> 14, (e >> 11) & 7, (e >> 7) & 15, (e >> 3) & 15, e & 7)
    }
}

impl std::fmt::Debug for SysReg {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// What an engine met and can't execute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopReport {
    /// vCPU number.
    pub vcpu: usize,
    /// Virtual address of the instruction.
    pub pc: u64,
    /// The instruction word, if it was fetched.
    pub word: Option<u32>,
    /// What it is, in words: a mnemonic or a system register's name.
    pub what: String,
}

impl std::fmt::Display for StopReport {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "vCPU {} at {:#x}: {}", self.vcpu, self.pc, self.what)?;
        match self.word {
            Some(word) => write!(f, " (word {word:#010x})"),
            None => Ok(()),
        }
    }
}

/// An engine refuses.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The state holds something that this engine has not.
    #[error("the {engine} engine can't load this state: {what}")]
    Unsupported {
        /// Name of the engine.
        engine: &'static str,
        /// What it can't load.
        what: String,
    },
    /// The host refused.
    #[error("the {engine} engine failed: {what}")]
    Host {
        /// Name of the engine.
        engine: &'static str,
        /// What the host said.
        what: String,
    },
}
