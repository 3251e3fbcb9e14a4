//! A vCPU: the soft engine's processor, with the framework's manners.

use std::{
    cell::RefCell,
    sync::{Arc, atomic::Ordering},
    thread,
};

use applevisor_sys::{hv_exit_reason_t, hv_vcpu_exit_exception_t, hv_vcpu_exit_t, hv_vcpu_t};
use engine_soft::{
    blocks::BlockCache,
    core::{Core, Maintenance},
    domain::Domain,
    interp,
    mmu::walk::walk,
};
use machine::{
    clock::ticks_from_nanos,
    engine::{Exit, SysReg},
    memory::GuestMemory,
};

use crate::{
    process::{Mapping, Refusal, Shared, guest_clock, process},
    registers::Identity,
    syndrome,
};

/// Instructions between two looks at whether the run is to end.
const STRETCH: u64 = 1_000_000;

/// Memory of a vCPU that was made before any: it is mapped nowhere, so nothing reaches it.
const NO_MEMORY: u64 = 64 << 10;

/// ESR_ELx: exception class and IL.
const fn class(class: u64) -> u64 {
    class << 26 | 1 << 25
}

/// COND and CV of a trapped instruction (Arm ARM D24.2.40).
const ALWAYS: u64 = 0x1e << 20;

thread_local! {
    /// "Each thread can only have one vCPU associated at a time."
    static MINE: RefCell<Option<Cpu>> = const { RefCell::new(None) };
}

/// What its thread has of a vCPU.
pub(crate) struct Cpu {
    id: hv_vcpu_t,
    shared: Arc<Shared>,
    domain: Arc<Domain>,
    pub(crate) core: Core,
    cache: BlockCache,
    pub(crate) identity: Identity,
    /// Where whoever runs it reads why it came back.
    exit: Box<hv_vcpu_exit_t>,
    /// Pending IRQ and FIQ.
    pub(crate) pending: [bool; 2],
    pub(crate) timer_masked: bool,
    pub(crate) timer_offset: u64,
    /// Its memory was mapped when it last ran.
    reaches: bool,
}

/// Makes the calling thread's vCPU.
pub(crate) fn create() -> Result<(hv_vcpu_t, *const hv_vcpu_exit_t), Refusal> {
    MINE.with_borrow_mut(|mine| {
        let mut process = process();
        process.vm()?;
        if mine.is_some() {
            return Err(Refusal::HV_BUSY);
        }
        let (id, shared, domain) = process.add_vcpu()?;
        let memory = match process.memory() {
            Some(memory) => memory,
            None => GuestMemory::anonymous(NO_MEMORY).map_err(|_| Refusal::HV_NO_RESOURCES)?,
        };
        drop(process);
        let mut core = Core::new(shared.index.load(Ordering::SeqCst), memory.clone());
        core.clock = Some(guest_clock(0));
        let cpu = mine.insert(Cpu {
            id,
            shared,
            domain,
            core,
            cache: interp::block_cache(&memory),
            identity: Identity::default(),
            exit: Box::new(hv_vcpu_exit_t {
                reason: hv_exit_reason_t::UNKNOWN,
                exception: hv_vcpu_exit_exception_t { syndrome: 0, virtual_address: 0, physical_address: 0 },
            }),
            pending: [false; 2],
            timer_masked: false,
            timer_offset: 0,
            reaches: false,
        });
        Ok((id, &raw const *cpu.exit))
    })
}

/// Has the calling thread's vCPU do something, if `id` is that.
pub(crate) fn with<T>(id: hv_vcpu_t, act: impl FnOnce(&mut Cpu) -> Result<T, Refusal>) -> Result<T, Refusal> {
    MINE.with_borrow_mut(|mine| match mine {
        Some(cpu) if cpu.id == id => act(cpu),
        // Another thread's, or nobody's.
        _ => Err(Refusal::HV_BAD_ARGUMENT),
    })
}

/// Destroys the calling thread's vCPU.
pub(crate) fn destroy(id: hv_vcpu_t) -> Result<(), Refusal> {
    with(id, |_| Ok(()))?;
    process().vm()?.vcpus.remove(&id);
    MINE.take();
    Ok(())
}

/// Ends the runs of vCPUs, from any thread.
pub(crate) fn cancel(ids: &[hv_vcpu_t]) -> Result<(), Refusal> {
    let mut process = process();
    let vm = process.vm()?;
    for id in ids {
        let shared = vm.vcpus.get(id).ok_or(Refusal::HV_BAD_ARGUMENT)?;
        shared.canceled.store(true, Ordering::SeqCst);
        vm.domain.link(shared.index.load(Ordering::SeqCst)).kick();
    }
    Ok(())
}

impl Cpu {
    /// Sets affinity 0, by which the soft engine's vCPUs know each other.
    pub(crate) fn set_affinity(&mut self, mpidr: u64) -> Result<(), Refusal> {
        let index = (mpidr & 0xff) as usize;
        let mut process = process();
        let vm = process.vm()?;
        let mut others = vm.vcpus.iter().filter(|(id, _)| **id != self.id);
        let taken = others.any(|(_, shared)| shared.index.load(Ordering::SeqCst) == index);
        if mpidr & !0xff != 0x8000_0000 || index >= crate::MOST_VCPUS as usize || taken {
            return Err(Refusal::HV_BAD_ARGUMENT);
        }
        self.shared.index.store(index, Ordering::SeqCst);
        self.core.index = index;
        Ok(())
    }

    pub(crate) fn set_timer_offset(&mut self, offset: u64) {
        self.timer_offset = offset;
        self.core.clock = Some(guest_clock(offset));
    }

    /// The guest's counter.
    pub(crate) fn counter(&self) -> u64 {
        self.core.clock.map_or(0, |clock| ticks_from_nanos(clock.nanos()))
    }

    /// Breakpoints may have changed: decoded code must know them.
    pub(crate) fn see_breakpoints(&mut self) {
        interp::apply_to_code(&mut self.core, &mut self.cache, Maintenance::Breakpoints);
        self.core.watch_all_pages();
    }

    fn leave(&mut self, reason: hv_exit_reason_t, exception: [u64; 3]) {
        let [syndrome, virtual_address, physical_address] = exception;
        let exception = hv_vcpu_exit_exception_t { syndrome, virtual_address, physical_address };
        *self.exit = hv_vcpu_exit_t { reason, exception };
    }

    /// hv_vcpu_run.
    pub(crate) fn run(&mut self) -> Result<(), Refusal> {
        if !self.identity.is_the_soft_engines(self.core.index) {
            eprintln!("stand-in: this processor can't have these identification registers");
            return Err(Refusal::HV_ILLEGAL_GUEST_STATE);
        }
        let (reason, exception) = self.run_to_exit()?;
        self.leave(reason, exception);
        // "The pending interrupts automatically cleared after hv_vcpu_run returns."
        self.pending = [false; 2];
        Ok(())
    }

    fn run_to_exit(&mut self) -> Result<(hv_exit_reason_t, [u64; 3]), Refusal> {
        use hv_exit_reason_t::*;
        self.look_at_memory()?;
        loop {
            if self.shared.canceled.swap(false, Ordering::SeqCst) {
                return Ok((CANCELED, [0; 3]));
            }
            if !self.timer_masked && self.core.timer.asserted(self.counter()) {
                self.timer_masked = true;
                return Ok((VTIMER_ACTIVATED, [0; 3]));
            }
            if let Some(exit) = self.fetch_elsewhere()? {
                return Ok((EXCEPTION, exit));
            }
            self.core.irq = self.pending[0];
            self.core.executed = 0;
            let exit = interp::run(&mut self.core, &mut self.cache, STRETCH, &self.domain);
            if let Some(exception) = self.exception(exit) {
                return Ok(exception.map_or((UNKNOWN, [0; 3]), |exception| (EXCEPTION, exception)));
            }
        }
    }

    /// Sees which memory is mapped now.
    fn look_at_memory(&mut self) -> Result<(), Refusal> {
        let mut process = process();
        self.reaches = process.vm()?.shows(&self.core.memory);
        Ok(())
    }

    /// The exit of a fetch that the soft engine's processor can't make: from memory that is not mapped now, or from a
    /// mapping that is not the machine's, with translation off.
    fn fetch_elsewhere(&mut self) -> Result<Option<[u64; 3]>, Refusal> {
        let pc = self.core.regs.pc;
        if self.core.memory.host_ptr(pc, 4).is_err() && !self.core.translating() {
            let mapping = {
                let mut process = process();
                let found = |mapping: &&Mapping| {
                    mapping.flags & 0b101 == 0b101 && (mapping.ipa..mapping.ipa + mapping.size).contains(&pc)
                };
                process.vm()?.mappings.iter().find(found).copied()
            };
            if let Some(mapping) = mapping {
                return self.interpret(mapping).map(Some);
            }
        }
        // Instruction abort from a lower level, translation fault, level 3.
        Ok((!self.reaches).then_some([class(0x20) | 0b00_0111, pc, pc]))
    }

    /// Executes maintenance and barriers from such a mapping, up to an HVC.
    fn interpret(&mut self, mapping: Mapping) -> Result<[u64; 3], Refusal> {
        loop {
            let offset = self.core.regs.pc - mapping.ipa;
            if offset + 4 > mapping.size {
                return Err(Refusal::HV_UNSUPPORTED);
            }
            // SAFETY: within a mapping that whoever made it keeps until it is unmapped, which no vCPU runs meanwhile;
            // an instruction's address is a multiple of 4.
            let word = unsafe { ((mapping.host + offset as usize) as *const u32).read() };
            self.core.regs.pc += 4;
            match word {
                // TLBI VMALLE1IS, IC IALLUIS.
                0xd508_831f => self.maintain(Maintenance::AllTranslations),
                0xd508_711f => self.maintain(Maintenance::AllCode { broadcast: true }),
                // DSB ISH: waits for those who execute, as the soft engine's does.
                0xd503_3b9f => self.domain.wait(self.core.index),
                // ISB.
                0xd503_3fdf => {}
                _ if word & 0xffe0_001f == 0xd400_0002 => {
                    self.domain.leave(self.core.index);
                    return Ok([class(0x16) | u64::from(word >> 5 & 0xffff), 0, 0]);
                }
                _ => {
                    eprintln!("stand-in: {word:#010x} outside the machine's memory");
                    return Err(Refusal::HV_UNSUPPORTED);
                }
            }
        }
    }

    fn maintain(&mut self, what: Maintenance) {
        self.core.apply_maintenance(what);
        interp::apply_to_code(&mut self.core, &mut self.cache, what);
        self.domain.broadcast(self.core.index, what);
    }

    /// What an exit of the soft engine's is to the framework; None to go on, and nothing inside for the inexplicable.
    fn exception(&mut self, exit: Exit) -> Option<Option<[u64; 3]>> {
        Some(Some(match exit {
            Exit::Budget => return None,
            Exit::MmioRead { gpa, .. } => self.data_abort(gpa, false),
            Exit::MmioWrite { gpa, .. } => self.data_abort(gpa, true),
            Exit::SysRegRead(register) => self.system(register, true),
            Exit::SysRegWrite(register, _) => self.system(register, false),
            Exit::Hypercall(_) => {
                let immediate = u64::from(self.word() >> 5 & 0xffff);
                self.core.regs.pc = self.core.regs.pc.wrapping_add(4);
                [class(0x16) | immediate, 0, 0]
            }
            Exit::WaitForInterrupt => self.wait(0),
            Exit::WaitForEvent => {
                thread::yield_now();
                self.wait(1)
            }
            Exit::Breakpoint => return Some(None),
            Exit::Stopped(report) => {
                eprintln!("stand-in: {report}");
                return Some(None);
            }
        }))
    }

    /// The trap of WFI or WFE, at which the PC stays.
    fn wait(&mut self, which: u64) -> [u64; 3] {
        self.core.regs.pc = self.core.regs.pc.wrapping_sub(4);
        [class(0x01) | ALWAYS | which, 0, 0]
    }

    fn system(&mut self, register: SysReg, read: bool) -> [u64; 3] {
        let e = u64::from(register.encoding());
        let (op0, op1, crn, crm, op2) = (e >> 14, e >> 11 & 7, e >> 7 & 15, e >> 3 & 15, e & 7);
        let rt = u64::from(self.word() & 31);
        let iss = op0 << 20 | op2 << 17 | op1 << 14 | crn << 10 | rt << 5 | crm << 1 | u64::from(read);
        [class(0x18) | iss, 0, 0]
    }

    fn data_abort(&mut self, gpa: u64, write: bool) -> [u64; 3] {
        let access = syndrome::of(&self.core, self.word());
        let is_there = |va: &u64| {
            walk(&self.core.memory, &self.core.sys, *va).is_ok_and(|leaf| leaf.page == gpa & !0xfff)
                && va & 0xfff == gpa & 0xfff
        };
        // An access that crosses pages may have its second half there.
        let va = access.addresses.iter().copied().find(is_there).unwrap_or(access.addresses[0]);
        [class(0x24) | access.iss | u64::from(write) << 6, va, gpa]
    }

    /// The instruction word at the PC, which the processor has just fetched.
    fn word(&self) -> u32 {
        let pc = self.core.regs.pc;
        let leaf = walk(&self.core.memory, &self.core.sys, pc);
        leaf.ok().and_then(|leaf| self.core.memory.read_u32(leaf.page | pc & 0xfff).ok()).unwrap_or(0)
    }
}
