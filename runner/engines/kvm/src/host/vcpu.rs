//! One vCPU. KVM wants its calls from one thread (KVM API, 4.7 "General description"): the one that asked for it.

use std::{
    marker::PhantomData,
    mem,
    sync::{Arc, PoisonError},
};

use kvm_bindings::{KVM_EXIT_ARM_NISV, KVM_HYPERCALL_EXIT_SMC, kvm_vcpu_events};
use kvm_ioctls::{Error, VcpuExit, VcpuFd};
use machine::{
    clock::{HostClock, Ticks},
    cpu_state::CpuState,
    engine::{EngineError, Exit, Kick, Resume, StopReport, Vcpu},
    psci,
};

use super::{calls, failed, kick::Kicker, lacking, processor, unsupported, vm::KvmVm};
use crate::{
    counter,
    registers::{self, Field, PC, general, size},
};

/// A vCPU of KVM.
pub struct KvmVcpu {
    fd: VcpuFd,
    vm: Arc<KvmVm>,
    index: usize,
    kicker: Arc<Kicker>,
    clock: Option<HostClock>,
    pending: Pending,
    /// It is not Send: the kicker knows the thread.
    _thread: PhantomData<*const ()>,
}

/// What is done with the machine's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    Nothing,
    /// Goes to X0; the PC is right already.
    Hypercall,
    /// Goes to the shared page. The next KVM_RUN completes the instruction before anything else, and be it told to end
    /// at once (KVM API, KVM_EXIT_MMIO).
    Read,
    /// As that, but for the value.
    Write,
}

impl KvmVcpu {
    /// vCPU number `index` of `vm`, the calling thread's.
    pub(super) fn new(vm: Arc<KvmVm>, mut fd: VcpuFd, index: usize) -> Result<Self, EngineError> {
        let immediate_exit = &raw mut fd.get_kvm_run().immediate_exit;
        // SAFETY: `drop` has it forgotten before `fd` unmaps the page. A vCPU is not Send, so this thread drops it.
        let kicker = unsafe { Kicker::new(immediate_exit) };
        let kicker = Arc::new(kicker.map_err(|error| lacking(format!("sigaction: {error}")))?);
        let pending = Pending::Nothing;
        Ok(KvmVcpu { fd, vm, index, kicker, clock: None, pending, _thread: PhantomData })
    }

    fn x(&self, n: u8) -> Result<u64, Error> {
        calls::get_register(&self.fd, general(n))
    }

    /// Gives the machine's answer to whoever waits for it.
    fn answer(&mut self, resume: Resume) -> Result<(), Error> {
        match (self.pending, resume) {
            (Pending::Nothing, _) | (Pending::Write, Resume::Go | Resume::Value(_)) => Ok(()),
            (Pending::Hypercall, Resume::Value(value)) => calls::set_register(&self.fd, general(0), value),
            (Pending::Hypercall, _) => Ok(()),
            (Pending::Read, Resume::Value(value)) => {
                self.fd.get_kvm_run().__bindgen_anon_1.mmio.data = value.to_le_bytes();
                Ok(())
            }
            // KVM API, KVM_SET_VCPU_EVENTS: the access hit nothing, and the guest takes an external abort for it.
            (Pending::Read | Pending::Write, _) => {
                let mut events = kvm_vcpu_events::default();
                events.exception.ext_dabt_pending = 1;
                self.fd.set_vcpu_events(&events)
            }
        }
    }

    fn run_to_exit(&mut self, resume: Resume, budget: u64) -> Result<Exit, Error> {
        self.answer(resume)?;
        let pending = mem::replace(&mut self.pending, Pending::Nothing);
        if budget <= 1 {
            // Nothing counts instructions here; a budget of one is spent on the answer.
            if matches!(pending, Pending::Nothing | Pending::Hypercall) {
                return Ok(Exit::Budget);
            }
            self.kicker.set(true);
        }
        let exit = match self.fd.run() {
            Ok(exit) => exit,
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {
                self.kicker.set(false);
                return Ok(Exit::Budget);
            }
            Err(error) if error.errno() == libc::ENOSYS => {
                return self.stop_here("an access to a device by an instruction that KVM does not describe");
            }
            Err(error) => return Err(error),
        };
        match exit {
            VcpuExit::MmioRead(gpa, data) => {
                let size = data.len() as u8;
                self.pending = Pending::Read;
                Ok(Exit::MmioRead { gpa, size })
            }
            VcpuExit::MmioWrite(gpa, data) => {
                let mut bytes = [0; 8];
                let size = data.len().min(8);
                bytes[..size].copy_from_slice(&data[..size]);
                self.pending = Pending::Write;
                Ok(Exit::MmioWrite { gpa, size: size as u8, value: u64::from_le_bytes(bytes) })
            }
            VcpuExit::Hypercall(_) => self.hypercall(),
            VcpuExit::Unsupported(KVM_EXIT_ARM_NISV) => {
                self.stop_here("an access to a device by an instruction that KVM does not describe")
            }
            other => {
                let what = format!("KVM came back with {other:?}");
                self.stop_here(what)
            }
        }
    }

    /// KVM API, KVM_EXIT_HYPERCALL: the PC is behind the instruction, and the arguments are in registers.
    fn hypercall(&mut self) -> Result<Exit, Error> {
        // SAFETY: KVM_EXIT_HYPERCALL says that the union holds this structure; any bytes are a valid one.
        let flags = unsafe { self.fd.get_kvm_run().__bindgen_anon_1.hypercall.__bindgen_anon_1.flags };
        if flags & u64::from(KVM_HYPERCALL_EXIT_SMC) != 0 {
            // There is no EL3; KVM has taken the instruction for a call, so an answer must do for an exception.
            calls::set_register(&self.fd, general(0), psci::NOT_SUPPORTED)?;
            return Ok(Exit::Budget);
        }
        self.pending = Pending::Hypercall;
        Ok(Exit::Hypercall([self.x(0)?, self.x(1)?, self.x(2)?, self.x(3)?]))
    }

    fn stop_here(&self, what: impl Into<String>) -> Result<Exit, Error> {
        let pc = calls::get_register(&self.fd, PC)?;
        Ok(Exit::Stopped(StopReport { vcpu: self.index, pc, word: None, what: what.into() }))
    }

    fn replace(&mut self, state: &CpuState) -> Result<(), EngineError> {
        let mut known = self.vm.counter.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(clock) = self.clock
            && *known != Some(clock)
        {
            let offset = counter::offset(clock, processor::counter);
            calls::set_counter_offset(&self.vm.fd, offset)
                .map_err(|error| lacking(format!("KVM_ARM_SET_COUNTER_OFFSET: {error}")))?;
            *known = Some(clock);
        }
        let mut put = |id, field: Field<'_>| {
            let result = match field {
                Field::Number(value) => self.fd.set_one_reg(id, &value.to_le_bytes()[..size(id)]),
                Field::Vector([low, high]) => {
                    let value = u128::from(*low) | u128::from(*high) << 64;
                    self.fd.set_one_reg(id, &value.to_le_bytes())
                }
            };
            result.map(drop).map_err(|error| lacking(format!("KVM_SET_ONE_REG of {id:#x}: {error}")))
        };
        registers::each_register(&mut state.clone(), &mut put)?;
        self.pending = Pending::Nothing;
        Ok(())
    }

    fn fetch(&self) -> Result<CpuState, EngineError> {
        let mut state = CpuState::default();
        let mut get = |id, field: Field<'_>| {
            let mut bytes = [0; 16];
            self.fd.get_one_reg(id, &mut bytes).map_err(failed("KVM_GET_ONE_REG"))?;
            let value = u128::from_le_bytes(bytes);
            match field {
                Field::Number(field) => *field = value as u64,
                Field::Vector(field) => *field = [value as u64, (value >> 64) as u64],
            }
            Ok(())
        };
        registers::each_register(&mut state, &mut get)?;
        Ok(state)
    }
}

impl Drop for KvmVcpu {
    fn drop(&mut self) {
        self.kicker.forget();
    }
}

impl Vcpu for KvmVcpu {
    /// Runs until something happens: KVM counts no instructions, and its guest's time is the clock's.
    fn run(&mut self, resume: Resume, _now: u64, budget: u64) -> Exit {
        self.run_to_exit(resume, budget).unwrap_or_else(|error| {
            let what = failed("KVM_RUN")(error).to_string();
            Exit::Stopped(StopReport { vcpu: self.index, pc: 0, word: None, what })
        })
    }

    fn set_clock(&mut self, clock: HostClock) {
        self.clock = Some(clock);
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        Arc::clone(&self.kicker) as _
    }

    fn set_breakpoints(&mut self, addresses: &[u64]) -> Result<(), EngineError> {
        if addresses.is_empty() {
            return Ok(());
        }
        Err(unsupported("breakpoints of a debugger; the soft engine has them".to_owned()))
    }

    fn set_irq(&mut self, _level: bool) {}

    /// The kernel's timer tells the kernel's interrupt controller.
    fn timer_asserted(&self, _now: Ticks) -> bool {
        false
    }

    fn deadline(&self) -> Option<Ticks> {
        None
    }

    fn retired(&self) -> u64 {
        0
    }

    fn save(&self) -> CpuState {
        self.fetch().expect("KVM refuses nothing of a vCPU that it has loaded")
    }

    fn load(&mut self, state: &CpuState) -> Result<(), EngineError> {
        registers::check(state).map_err(unsupported)?;
        self.replace(state)
    }
}
