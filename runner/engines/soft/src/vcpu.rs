//! The soft engine behind the machine's seam.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use machine::{
    clock::Ticks,
    cpu_state::CpuState,
    engine::{Engine, EngineError, Exit, Resume, Vcpu},
    memory::GuestMemory,
};

use crate::{
    blocks::BlockCache,
    core::{Core, Maintenance, pstate},
    interp,
    sysreg::{FPCR_MASK, FPSR_MASK},
};

const NAME: &str = "soft";

/// AArch64 in software.
pub struct SoftEngine {
    memory: GuestMemory,
    mailboxes: Arc<Vec<Mailbox>>,
}

/// What other vCPUs ask of one: TLB and code maintenance of the inner
/// shareable domain. It is done before the vCPU runs again.
#[derive(Default)]
struct Mailbox {
    waiting: AtomicBool,
    letters: Mutex<Vec<Maintenance>>,
}

impl Mailbox {
    fn put(&self, what: Maintenance) {
        self.letters.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(what);
        self.waiting.store(true, Ordering::Release);
    }

    fn take(&self) -> Vec<Maintenance> {
        if !self.waiting.swap(false, Ordering::Acquire) {
            return Vec::new();
        }
        std::mem::take(&mut *self.letters.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }
}

impl SoftEngine {
    /// An engine over `memory` for up to `vcpus` vCPUs.
    pub fn new(memory: GuestMemory, vcpus: usize) -> Self {
        SoftEngine { memory, mailboxes: Arc::new((0..vcpus).map(|_| Mailbox::default()).collect()) }
    }
}

impl Engine for SoftEngine {
    type Vcpu = SoftVcpu;

    fn name(&self) -> &'static str {
        NAME
    }

    fn create_vcpu(&self, index: usize) -> Result<SoftVcpu, EngineError> {
        if index >= self.mailboxes.len() {
            let what = format!("vCPU {index} of {}", self.mailboxes.len());
            return Err(EngineError::Unsupported { engine: NAME, what });
        }
        Ok(SoftVcpu {
            core: Core::new(index, self.memory.clone()),
            cache: interp::block_cache(&self.memory),
            mailboxes: Arc::clone(&self.mailboxes),
            retired: 0,
            last: Last::Other,
        })
    }
}

/// A vCPU of the soft engine.
pub struct SoftVcpu {
    core: Core,
    cache: BlockCache,
    mailboxes: Arc<Vec<Mailbox>>,
    retired: u64,
    last: Last,
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
        let mailbox = &self.mailboxes[self.core.index];
        for what in mailbox.take() {
            self.core.apply_maintenance(what);
            interp::apply_to_code(&mut self.core, &mut self.cache, what);
        }
        self.core.run_start = now;
        self.core.executed = 0;
        let (index, mailboxes) = (self.core.index, &self.mailboxes);
        let mut broadcast = |what: Maintenance| {
            if what != (Maintenance::AllCode { broadcast: false }) {
                let others = mailboxes.iter().enumerate().filter(|&(other, _)| other != index);
                others.for_each(|(_, mailbox)| mailbox.put(what));
            }
        };
        let exit = interp::run(&mut self.core, &mut self.cache, budget, &mut broadcast);
        self.retired += self.core.executed;
        self.last = match exit {
            Exit::MmioRead { .. }
            | Exit::MmioWrite { .. }
            | Exit::SysRegRead(_)
            | Exit::SysRegWrite(..)
            | Exit::Hypercall(_) => Last::Answer,
            Exit::WaitForInterrupt | Exit::WaitForEvent | Exit::Budget | Exit::Stopped(_) => Last::Other,
        };
        exit
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
        self.mailboxes[self.core.index].take();
        self.cache.clear();
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
