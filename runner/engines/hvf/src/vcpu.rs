//! One vCPU: a thread's own. Everything here is called on the thread that made it, as the framework demands of all but
//! `hv_vcpus_exit`, and the compiler sees to that: `applevisor`'s `Vcpu` is not `Send`.

use std::{
    cell::Cell,
    mem,
    sync::{Arc, Weak},
};

use applevisor::{
    error::HypervisorError,
    vcpu::{ExitReason, InterruptType, Reg, SysReg, Vcpu as Framework, VcpuConfig, VcpuHandle},
};
use machine::{
    clock::{HostClock, Ticks, ticks_from_nanos},
    cpu_state::{CpuState, PSTATE_EL1H_MASKED, SCTLR_EL1_RESET},
    engine::{EngineError, Exit, Kick, Resume, StopReport, Vcpu},
};

use crate::{
    access::{self, LoadStore, What, ZERO},
    error::{failed, unsupported},
    exception::{Before, Exception, is_el0},
    exit::{self, Holder, SystemAccess, Trap},
    features, registers,
    registers::Kept,
    scrub,
    translate::{Tables, same_page, translate},
    vm::HvfVm,
};

/// The IRQ input. The SDK's header (`hv_vcpu_types.h`) has `HV_INTERRUPT_TYPE_IRQ`, which is 0, and then
/// `HV_INTERRUPT_TYPE_FIQ`; `applevisor-sys` 1.0 has the two the other way round, so that its FIQ is the framework's IRQ.
const IRQ: InterruptType = InterruptType::FIQ;

/// Times that a vCPU is kicked while it scrubs before that is taken for a fault.
const SCRUBS: usize = 1000;

/// A vCPU of Hypervisor.framework.
pub struct HvfVcpu {
    // First, for it is dropped first: `hv_vm_destroy` wants every vCPU destroyed, each by its own thread.
    vcpu: Framework,
    vm: Arc<HvfVm>,
    index: usize,
    kept: Kept,
    irq: bool,
    clock: Option<HostClock>,
    /// What was last said of the timer's level. While it is high, the framework need not report it.
    timer_told: Cell<bool>,
    /// What the instruction at the PC, or the HVC before it, still wants.
    pending: Pending,
    /// A kick that came while the vCPU did something else.
    kicked: bool,
    /// It has run: it may remember translations and code.
    ran: bool,
}

/// What is done with the machine's answer.
#[derive(Clone, Copy, Debug)]
enum Pending {
    Nothing,
    /// Goes to X0; the PC is right already.
    Hypercall,
    System(SystemAccess),
    LoadStore(Progress),
}

/// A load or store on its way.
#[derive(Clone, Copy, Debug)]
struct Progress {
    instruction: LoadStore,
    /// Accesses that are done.
    done: usize,
    /// Virtual and guest physical address of the first access.
    first: (u64, u64),
    /// What loads have brought: registers are not written before the last, for the base may be among them.
    values: [u64; 2],
    /// Value of the base register after it, if it moves.
    base: Option<u64>,
}

struct HvfKick {
    vm: Weak<HvfVm>,
    handle: VcpuHandle,
}

impl Kick for HvfKick {
    /// hv_vcpus_exit: from any thread. "If a vcpu is not running, the next time hv_vcpu_run is called for the
    /// corresponding vcpu, it will return immediately without entering the guest."
    fn kick(&self) {
        if let Some(vm) = self.vm.upgrade()
            && self.handle.is_valid()
        {
            // One that is being destroyed has no run to end.
            let _ = vm.instance.vcpus_exit(std::slice::from_ref(&self.handle));
        }
    }
}

/// What one entry into the guest came to.
enum Came {
    Out(Exit),
    /// Dealt with here: enter again.
    Again,
}

type Result<T> = std::result::Result<T, HypervisorError>;

impl HvfVcpu {
    /// vCPU number `index` of `vm`, the calling thread's.
    ///
    /// hv_vcpu_create: "Each thread can only have one vCPU associated at a time."
    pub(crate) fn new(vm: Arc<HvfVm>, index: usize) -> std::result::Result<Self, EngineError> {
        let config = VcpuConfig::new();
        features::check_caches(&config)?;
        let vcpu = vm.instance.vcpu_with_config(config).map_err(failed("hv_vcpu_create"))?;
        features::set(&vcpu, index)?;
        // hv_vcpu_set_trap_debug_exceptions, hv_vcpu_set_trap_debug_reg_accesses: by the owning thread. The guest debugs
        // itself.
        vcpu.set_trap_debug_exceptions(false).map_err(failed("hv_vcpu_set_trap_debug_exceptions"))?;
        vcpu.set_trap_debug_reg_accesses(false).map_err(failed("hv_vcpu_set_trap_debug_reg_accesses"))?;
        let kept = registers::load(&vcpu, &CpuState::at_entry(0, 0)).map_err(failed("hv_vcpu_set_reg"))?;
        Ok(HvfVcpu {
            vcpu,
            vm,
            index,
            kept,
            irq: false,
            clock: None,
            timer_told: Cell::new(false),
            pending: Pending::Nothing,
            kicked: false,
            ran: false,
        })
    }

    fn x(&self, n: u8) -> Result<u64> {
        registers::general(n).map_or(Ok(0), |reg| self.vcpu.get_reg(reg))
    }

    fn set_x(&self, n: u8, value: u64) -> Result<()> {
        registers::general(n).map_or(Ok(()), |reg| self.vcpu.set_reg(reg, value))
    }

    /// The stack pointer in use (PSTATE.EL and SP; Arm ARM C5.2.18).
    fn stack_pointer(&self) -> Result<SysReg> {
        let pstate = self.vcpu.get_reg(Reg::CPSR)?;
        Ok(if pstate & 0xf == 5 { SysReg::SP_EL1 } else { SysReg::SP_EL0 })
    }

    fn base(&self, n: u8) -> Result<u64> {
        if n == ZERO { self.vcpu.get_sys_reg(self.stack_pointer()?) } else { self.x(n) }
    }

    fn set_base(&self, n: u8, value: u64) -> Result<()> {
        if n == ZERO { self.vcpu.set_sys_reg(self.stack_pointer()?, value) } else { self.set_x(n, value) }
    }

    /// The instruction at the PC is done.
    fn step_over(&self) -> Result<()> {
        let pc = self.vcpu.get_reg(Reg::PC)?;
        self.vcpu.set_reg(Reg::PC, pc.wrapping_add(4))
    }

    /// Has the guest take an exception for the instruction at the PC.
    fn take(&self, exception: Exception) -> Result<()> {
        let before = Before {
            pstate: self.vcpu.get_reg(Reg::CPSR)?,
            sctlr_el1: self.vcpu.get_sys_reg(SysReg::SCTLR_EL1)?,
            vbar_el1: self.vcpu.get_sys_reg(SysReg::VBAR_EL1)?,
        };
        let entered = exception.enter(before);
        self.vcpu.set_sys_reg(SysReg::SPSR_EL1, before.pstate)?;
        self.vcpu.set_sys_reg(SysReg::ELR_EL1, self.vcpu.get_reg(Reg::PC)?)?;
        self.vcpu.set_sys_reg(SysReg::ESR_EL1, entered.esr_el1)?;
        if let Some(address) = exception.address {
            self.vcpu.set_sys_reg(SysReg::FAR_EL1, address)?;
        }
        self.vcpu.set_reg(Reg::CPSR, entered.pstate)?;
        self.vcpu.set_reg(Reg::PC, entered.pc)
    }

    /// Gives the machine's answer to whoever waits for it; the next exit of the same instruction, if it has one.
    fn answer(&mut self, resume: Resume) -> Result<Option<Exit>> {
        let value = match resume {
            Resume::Value(value) => Some(value),
            // A write needs no value.
            Resume::Go => Some(0),
            Resume::Fault => None,
        };
        match (mem::replace(&mut self.pending, Pending::Nothing), value) {
            (Pending::Nothing, _) => Ok(()),
            (Pending::Hypercall, Some(value)) => self.vcpu.set_reg(Reg::X0, value),
            (Pending::Hypercall, None) => {
                // HVC is UNDEFINED after all: the exception's address is that of the HVC.
                let pc = self.vcpu.get_reg(Reg::PC)?;
                self.vcpu.set_reg(Reg::PC, pc.wrapping_sub(4))?;
                self.take(Exception::undefined())
            }
            (Pending::System(access), Some(value)) => self.finish_system(access, value),
            (Pending::System(_), None) => self.take(Exception::undefined()),
            (Pending::LoadStore(progress), Some(value)) => return self.go_on(progress, Some(value)),
            (Pending::LoadStore(progress), None) => {
                let access = progress.instruction.accesses[progress.done];
                let write = matches!(access.map(|access| access.what), Some(What::Store(_)));
                let offset = access.map_or(0, |access| access.offset);
                self.take(Exception::data_abort(progress.first.0.wrapping_add(offset), write, false))
            }
        }?;
        Ok(None)
    }

    fn finish_system(&self, access: SystemAccess, value: u64) -> Result<()> {
        if access.read {
            self.set_x(access.rt, value)?;
        }
        self.step_over()
    }

    /// Makes the accesses of an instruction, from the one that `answer` completes on. Those to memory are made here.
    fn go_on(&mut self, mut progress: Progress, mut answer: Option<u64>) -> Result<Option<Exit>> {
        while let Some(Some(access)) = progress.instruction.accesses.get(progress.done).copied() {
            let va = progress.first.0.wrapping_add(access.offset);
            let gpa = if same_page(va, progress.first.0) {
                progress.first.1.wrapping_add(access.offset)
            } else {
                match translate(&self.vm.memory, &self.tables()?, va) {
                    Some(gpa) => gpa,
                    None => return self.stop_here("a pair of registers across an edge of memory").map(Some),
                }
            };
            let in_memory = self.vm.memory.host_ptr(gpa, u64::from(access.size)).is_ok();
            let bytes = usize::from(access.size);
            match access.what {
                What::Load { register: _, signed, wide } => {
                    let value = match answer.take() {
                        Some(value) => value,
                        None if in_memory => {
                            let mut value = [0; 8];
                            // It is there, by the look above.
                            let _ = self.vm.memory.read(gpa, &mut value[..bytes]);
                            u64::from_le_bytes(value)
                        }
                        None => {
                            self.pending = Pending::LoadStore(progress);
                            return Ok(Some(Exit::MmioRead { gpa, size: access.size }));
                        }
                    };
                    progress.values[progress.done] = access::loaded(value, access.size, signed, wide);
                }
                What::Store(register) => {
                    let value = access::stored(self.x(register)?, access.size);
                    if answer.take().is_none() {
                        if !in_memory {
                            self.pending = Pending::LoadStore(progress);
                            return Ok(Some(Exit::MmioWrite { gpa, size: access.size, value }));
                        }
                        let _ = self.vm.memory.write(gpa, &value.to_le_bytes()[..bytes]);
                    }
                }
            }
            progress.done += 1;
        }
        for (access, value) in progress.instruction.accesses.into_iter().flatten().zip(progress.values) {
            if let What::Load { register, .. } = access.what {
                self.set_x(register, value)?;
            }
        }
        if let Some(base) = progress.base {
            self.set_base(progress.instruction.base.0, base)?;
        }
        self.step_over()?;
        Ok(None)
    }

    fn tables(&self) -> Result<Tables> {
        Ok(Tables {
            sctlr_el1: self.vcpu.get_sys_reg(SysReg::SCTLR_EL1)?,
            tcr_el1: self.vcpu.get_sys_reg(SysReg::TCR_EL1)?,
            ttbr0_el1: self.vcpu.get_sys_reg(SysReg::TTBR0_EL1)?,
            ttbr1_el1: self.vcpu.get_sys_reg(SysReg::TTBR1_EL1)?,
        })
    }

    /// The instruction word at the PC.
    fn instruction(&self) -> Result<Option<u32>> {
        let pc = self.vcpu.get_reg(Reg::PC)?;
        let gpa = translate(&self.vm.memory, &self.tables()?, pc);
        let mut word = [0; 4];
        Ok(gpa.filter(|&gpa| self.vm.memory.read(gpa, &mut word).is_ok()).map(|_| u32::from_le_bytes(word)))
    }

    fn stop_here(&self, what: impl Into<String>) -> Result<Exit> {
        let (pc, word) = (self.vcpu.get_reg(Reg::PC)?, self.instruction()?);
        Ok(Exit::Stopped(StopReport { vcpu: self.index, pc, word, what: what.into() }))
    }

    /// Enters the guest, until it comes back.
    ///
    /// hv_vcpu_run: "Call blocks until the next exit from the vCPU or the execution is canceled using hv_vcpus_exit."
    fn enter(&mut self) -> Result<Came> {
        // hv_vcpu_set_vtimer_mask: after an exit for the timer it is masked by itself, until it is unmasked here. The
        // machine asks for the level before each run; while it knows that it is high there is nothing to report, and
        // with the mask off each entry would come back at once.
        self.vcpu.set_vtimer_mask(self.timer_told.get())?;
        if self.irq {
            // hv_vcpu_set_pending_interrupt: "automatically cleared after hv_vcpu_run returns".
            self.vcpu.set_pending_interrupt(IRQ, true)?;
        }
        self.ran = true;
        self.vcpu.run()?;
        let info = self.vcpu.get_exit_info();
        match info.reason {
            // The timer's interrupt has risen: the machine looks at it after every exit.
            ExitReason::CANCELED | ExitReason::VTIMER_ACTIVATED => Ok(Came::Out(Exit::Budget)),
            ExitReason::EXCEPTION => self.trapped(exit::trap(&info.exception)),
            ExitReason::UNKNOWN => {
                self.stop_here("the framework does not know why the guest came back").map(Came::Out)
            }
        }
    }

    fn trapped(&mut self, trap: Trap) -> Result<Came> {
        Ok(Came::Out(match trap {
            Trap::Wait { for_event } => {
                self.step_over()?;
                if for_event { Exit::WaitForEvent } else { Exit::WaitForInterrupt }
            }
            // The machine's calls have any immediate, as they have in the soft engine.
            Trap::Hypercall { immediate: _ } => {
                self.pending = Pending::Hypercall;
                Exit::Hypercall([self.x(0)?, self.x(1)?, self.x(2)?, self.x(3)?])
            }
            // There is no EL3.
            Trap::Monitor => return self.taken(Exception::undefined()),
            Trap::System(access) => return self.system(access),
            Trap::Fetch { address, on_walk } => {
                return self.taken(Exception::instruction_abort(address, on_walk));
            }
            Trap::Data { maintenance: true, .. } => {
                self.step_over()?;
                return Ok(Came::Again);
            }
            Trap::Data { address, write, on_walk: true, .. } => {
                return self.taken(Exception::data_abort(address, write, true));
            }
            Trap::Data { address, gpa, access: Some(access), .. } => {
                let instruction = LoadStore { accesses: [Some(access), None], base: (ZERO, 0), writeback: 0 };
                let progress =
                    Progress { instruction, done: 0, first: (address, gpa), values: [0; 2], base: None };
                return Ok(self.go_on(progress, None)?.map_or(Came::Again, Came::Out));
            }
            Trap::Data { address, write, access: None, .. } => return self.without_syndrome(address, write),
            Trap::Other(class) => self.stop_here(format!("an exit of exception class {class:#x}"))?,
        }))
    }

    fn taken(&self, exception: Exception) -> Result<Came> {
        self.take(exception)?;
        Ok(Came::Again)
    }

    /// A data abort whose syndrome does not describe the access.
    fn without_syndrome(&mut self, address: u64, write: bool) -> Result<Came> {
        let Some(word) = self.instruction()? else {
            return self.stop_here("an access to a device by an instruction that is nowhere").map(Came::Out);
        };
        if access::is_atomic(word) {
            return self.taken(Exception::data_abort(address, write, false));
        }
        let Some(instruction) = access::decode(word) else {
            return self.stop_here("an access to a device by such an instruction").map(Came::Out);
        };
        let base = self.base(instruction.base.0)?;
        let va = base.wrapping_add_signed(instruction.base.1);
        let Some(gpa) = translate(&self.vm.memory, &self.tables()?, va) else {
            return self.stop_here("an access across an edge of memory").map(Came::Out);
        };
        let moved = (instruction.writeback != 0).then(|| base.wrapping_add_signed(instruction.writeback));
        let progress = Progress { instruction, done: 0, first: (va, gpa), values: [0; 2], base: moved };
        Ok(self.go_on(progress, None)?.map_or(Came::Again, Came::Out))
    }

    fn system(&mut self, access: SystemAccess) -> Result<Came> {
        let written = if access.read { 0 } else { self.x(access.rt)? };
        let value = match exit::holder(access.register) {
            Holder::Machine => {
                self.pending = Pending::System(access);
                return Ok(Came::Out(if access.read {
                    Exit::SysRegRead(access.register)
                } else {
                    Exit::SysRegWrite(access.register, written)
                }));
            }
            Holder::Constant(value) => value,
            // OSLM is 0b10: the lock is there (Arm ARM D24.3.20).
            Holder::OsLockStatus => 0b1000 | u64::from(self.kept.os_lock) << 1,
            Holder::OsLock => {
                self.kept.os_lock = written & 1 != 0;
                0
            }
            Holder::OsDoubleLock if access.read => self.kept.osdlr_el1,
            Holder::OsDoubleLock => {
                self.kept.osdlr_el1 = written & 1;
                0
            }
            Holder::Counter => self.clock.map_or(0, |clock| ticks_from_nanos(clock.nanos())),
            Holder::Nothing => 0,
            Holder::Absent => return self.taken(Exception::undefined()),
            // EL0 gets an exception, as on any processor; a kernel knows what it reads, so the engine reports.
            Holder::Unknown if is_el0(self.vcpu.get_reg(Reg::CPSR)?) => {
                return self.taken(Exception::undefined());
            }
            Holder::Unknown => {
                let verb = if access.read { "MRS" } else { "MSR" };
                let what = format!("{verb} of {}, which this engine has not", access.register);
                return self.stop_here(what).map(Came::Out);
            }
        };
        self.finish_system(access, value)?;
        Ok(Came::Again)
    }

    fn run_to_exit(&mut self, resume: Resume, budget: u64) -> Result<Exit> {
        if let Some(exit) = self.answer(resume)? {
            return Ok(exit);
        }
        // Nothing counts instructions here; a budget of one is spent on the answer.
        if mem::take(&mut self.kicked) || budget <= 1 {
            return Ok(Exit::Budget);
        }
        loop {
            if let Came::Out(exit) = self.enter()? {
                return Ok(exit);
            }
        }
    }

    /// Forgets translations and code ([`scrub`]). Leaves registers as they come.
    fn scrub(&mut self) -> Result<()> {
        self.vcpu.set_vtimer_mask(true)?;
        for _ in 0..SCRUBS {
            self.vcpu.set_sys_reg(SysReg::SCTLR_EL1, SCTLR_EL1_RESET)?;
            self.vcpu.set_sys_reg(SysReg::MDSCR_EL1, 0)?;
            self.vcpu.set_reg(Reg::CPSR, PSTATE_EL1H_MASKED)?;
            self.vcpu.set_reg(Reg::PC, scrub::BASE)?;
            self.vcpu.run()?;
            let info = self.vcpu.get_exit_info();
            match info.reason {
                ExitReason::CANCELED => self.kicked = true,
                ExitReason::EXCEPTION
                    if exit::trap(&info.exception) == Trap::Hypercall { immediate: scrub::DONE } =>
                {
                    return Ok(());
                }
                _ => return Err(HypervisorError::IllegalState),
            }
        }
        Err(HypervisorError::Busy)
    }

    fn replace(&mut self, state: &CpuState) -> Result<()> {
        if self.ran {
            self.scrub()?;
        }
        self.kept = registers::load(&self.vcpu, state)?;
        if let Some(clock) = self.clock {
            // hv_vcpu_set_vtimer_offset; the same for every vCPU (Linux Documentation/arch/arm64/booting.rst, CNTVOFF).
            self.vcpu.set_vtimer_offset(self.vm.counter.offset(clock))?;
        }
        self.timer_told.set(false);
        self.pending = Pending::Nothing;
        Ok(())
    }
}

impl Vcpu for HvfVcpu {
    /// Runs until something happens: the framework counts no instructions, and its guest's time is the clock's.
    fn run(&mut self, resume: Resume, _now: u64, budget: u64) -> Exit {
        self.run_to_exit(resume, budget).unwrap_or_else(|error| {
            let what = failed("hv_vcpu_run")(error).to_string();
            Exit::Stopped(StopReport { vcpu: self.index, pc: 0, word: None, what })
        })
    }

    fn set_clock(&mut self, clock: HostClock) {
        self.clock = Some(clock);
    }

    fn kicker(&self) -> Arc<dyn Kick> {
        Arc::new(HvfKick { vm: Arc::downgrade(&self.vm), handle: self.vcpu.get_handle() })
    }

    fn set_breakpoints(&mut self, addresses: &[u64]) -> std::result::Result<(), EngineError> {
        if addresses.is_empty() {
            return Ok(());
        }
        Err(unsupported("breakpoints of a debugger; the soft engine has them".to_owned()))
    }

    fn set_irq(&mut self, level: bool) {
        self.irq = level;
    }

    fn timer_asserted(&self, now: Ticks) -> bool {
        let asserted = self.timer().asserted(now);
        self.timer_told.set(asserted);
        asserted
    }

    fn deadline(&self) -> Option<Ticks> {
        self.timer().deadline()
    }

    fn retired(&self) -> u64 {
        0
    }

    fn save(&self) -> CpuState {
        registers::save(&self.vcpu, self.kept).expect("the framework refuses a vCPU's own thread nothing")
    }

    fn load(&mut self, state: &CpuState) -> std::result::Result<(), EngineError> {
        registers::check(state).map_err(unsupported)?;
        self.replace(state).map_err(failed("hv_vcpu_set_reg"))
    }
}

impl HvfVcpu {
    fn timer(&self) -> machine::cpu_state::TimerState {
        registers::timer(&self.vcpu).expect("the framework refuses a vCPU's own thread nothing")
    }
}

#[cfg(all(test, not(target_os = "macos")))]
mod tests;
