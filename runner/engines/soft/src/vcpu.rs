//! The soft engine behind the machine's seam.

use std::sync::Arc;

use machine::{
    clock::{HostClock, Ticks},
    cpu_state::CpuState,
    engine::{Engine, EngineError, Exit, Kick, Resume, Vcpu},
    memory::GuestMemory,
};

use crate::{
    blocks::BlockCache,
    core::{Core, pstate},
    domain::Domain,
    interp,
    sysreg::{FPCR_MASK, FPSR_MASK},
};

const NAME: &str = "soft";

/// AArch64 in software.
pub struct SoftEngine {
    memory: GuestMemory,
    domain: Arc<Domain>,
}

impl SoftEngine {
    /// An engine over `memory` for up to `vcpus` vCPUs.
    pub fn new(memory: GuestMemory, vcpus: usize) -> Self {
        SoftEngine { memory, domain: Arc::new(Domain::new(vcpus)) }
    }
}

impl Engine for SoftEngine {
    type Vcpu = SoftVcpu;

    fn name(&self) -> &'static str {
        NAME
    }

    fn create_vcpu(&self, index: usize) -> Result<SoftVcpu, EngineError> {
        if index >= self.domain.vcpus() {
            let what = format!("vCPU {index} of {}", self.domain.vcpus());
            return Err(EngineError::Unsupported { engine: NAME, what });
        }
        Ok(SoftVcpu {
            core: Core::new(index, self.memory.clone()),
            cache: interp::block_cache(&self.memory),
            domain: Arc::clone(&self.domain),
            retired: 0,
            last: Last::Other,
        })
    }
}

/// A vCPU of the soft engine.
pub struct SoftVcpu {
    core: Core,
    cache: BlockCache,
    domain: Arc<Domain>,
    retired: u64,
    last: Last,
}

/// Ends the run of one vCPU.
struct SoftKick {
    domain: Arc<Domain>,
    index: usize,
}

impl Kick for SoftKick {
    fn kick(&self) {
        self.domain.link(self.index).kick();
    }
}

/// What the exit before waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Answer,
    Other,
}

impl Vcpu for SoftVcpu {
    fn run(&mut self, resume: Resume, now: u64, budget: u64) -> Exit {
        if self.last == Last::Answer {
            self.core.answers.push(match resume {
                Resume::Value(value) => Some(value),
                // A write needs no value.
                Resume::Go => Some(0),
                Resume::Fault => None,
            });
        }
        self.core.run_start = now;
        self.core.executed = 0;
        let exit = interp::run(&mut self.core, &mut self.cache, budget, &self.domain);
        self.retired += self.core.executed;
        self.last = match exit {
            Exit::MmioRead { .. }
            | Exit::MmioWrite { .. }
            | Exit::SysRegRead(_)
            | Exit::SysRegWrite(..)
            | Exit::Hypercall(_) => Last::Answer,
            Exit::WaitForInterrupt
            | Exit::WaitForEvent
            | Exit::Budget
            | Exit::Breakpoint
            | Exit::Stopped(_) => Last::Other,
        };
        exit
    }

    fn set_clock(&mut self, clock: HostClock) {
        self.core.clock = Some(clock);
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        Arc::new(SoftKick { domain: Arc::clone(&self.domain), index: self.core.index })
    }

    fn set_breakpoints(&mut self, addresses: &[u64]) -> Result<(), EngineError> {
        if let Some(odd) = addresses.iter().find(|address| !address.is_multiple_of(4)) {
            let what = format!("a breakpoint at {odd:#x}, where no instruction can be");
            return Err(EngineError::Unsupported { engine: NAME, what });
        }
        self.core.stops.set_breakpoints(addresses);
        interp::mark_breakpoints(&mut self.core, &mut self.cache);
        Ok(())
    }

    fn set_irq(&mut self, level: bool) {
        self.core.irq = level;
    }

    fn timer_asserted(&self, now: Ticks) -> bool {
        self.core.timer.asserted(now)
    }

    fn deadline(&self) -> Option<Ticks> {
        self.core.timer.deadline()
    }

    fn retired(&self) -> u64 {
        self.retired
    }

    fn save(&self) -> CpuState {
        self.core.save()
    }

    fn load(&mut self, state: &CpuState) -> Result<(), EngineError> {
        check(state).map_err(|what| EngineError::Unsupported { engine: NAME, what })?;
        self.core.load(state);
        // What was asked before is done: nothing is kept.
        self.domain.link(self.core.index).read(|_| {});
        interp::mark_breakpoints(&mut self.core, &mut self.cache);
        self.last = Last::Other;
        Ok(())
    }
}

/// What in `state` this engine has not.
fn check(state: &CpuState) -> Result<(), String> {
    const KNOWN: u64 = pstate::NZCV | pstate::PAN | pstate::SS | pstate::IL | pstate::DAIF | pstate::MODE;
    if state.pstate & !KNOWN != 0
        || !matches!(state.pstate & pstate::MODE, pstate::EL0T | pstate::EL1T | pstate::EL1H)
    {
        return Err(format!("PSTATE {:#x}", state.pstate));
    }
    if state.fpcr & !FPCR_MASK != 0 {
        return Err(format!("FPCR {:#x}", state.fpcr));
    }
    if state.fpsr & !FPSR_MASK != 0 {
        return Err(format!("FPSR {:#x}", state.fpsr));
    }
    if state.sys.pointer_auth_keys != [[0; 2]; 5] {
        return Err("pointer authentication keys".to_owned());
    }
    if state.timer.ctl & !0b11 != 0 {
        return Err(format!("CNTV_CTL {:#x}", state.timer.ctl));
    }
    Ok(())
}
