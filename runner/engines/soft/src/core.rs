//! One vCPU's architectural state, and how exceptions change it.

use machine::{
    clock::HostClock,
    cpu_state::{CpuState, SysRegs, TimerState},
    engine::{Exit, StopReport},
    memory::GuestMemory,
};

use crate::{
    debug::{step::Stepped, stops::Stops},
    mmu::{
        tlb::{self, Tlb},
        walk::sctlr,
    },
    regs::{Regs, SP},
    sysreg::cpacr,
};

/// The instruction did not complete; why is in [`Core::event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned;

/// Why an instruction did not complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It takes a synchronous exception.
    Exception {
        /// Exception class (Arm ARM D24.2.40).
        class: u8,
        /// Instruction specific syndrome.
        syndrome: u32,
        /// Faulting virtual address, where the class has one.
        address: Option<u64>,
    },
    /// It needs the machine.
    Exit(Exit),
}

/// Exception classes, ESR_ELx.EC (Arm ARM D24.2.40).
pub mod class {
    #![allow(missing_docs)] // the names are the manual's
    pub const UNKNOWN: u8 = 0x00;
    pub const WFX_TRAPPED: u8 = 0x01;
    pub const FP_TRAPPED: u8 = 0x07;
    pub const ILLEGAL_STATE: u8 = 0x0e;
    pub const SVC: u8 = 0x15;
    pub const SYSTEM_TRAPPED: u8 = 0x18;
    pub const INSTRUCTION_ABORT_LOWER: u8 = 0x20;
    pub const INSTRUCTION_ABORT_SAME: u8 = 0x21;
    pub const PC_ALIGNMENT: u8 = 0x22;
    pub const DATA_ABORT_LOWER: u8 = 0x24;
    pub const DATA_ABORT_SAME: u8 = 0x25;
    pub const SP_ALIGNMENT: u8 = 0x26;
    pub const BREAKPOINT_LOWER: u8 = 0x30;
    pub const BREAKPOINT_SAME: u8 = 0x31;
    pub const SOFTWARE_STEP_LOWER: u8 = 0x32;
    pub const SOFTWARE_STEP_SAME: u8 = 0x33;
    pub const WATCHPOINT_LOWER: u8 = 0x34;
    pub const WATCHPOINT_SAME: u8 = 0x35;
    pub const BRK: u8 = 0x3c;
}

/// SPSR_EL1 and PSTATE bits (Arm ARM C5.2.18).
pub mod pstate {
    #![allow(missing_docs)] // the names are the manual's
    pub const NZCV: u64 = 0xf000_0000;
    pub const PAN: u64 = 1 << 22;
    pub const SS: u64 = 1 << 21;
    pub const IL: u64 = 1 << 20;
    pub const D: u64 = 1 << 9;
    pub const A: u64 = 1 << 8;
    pub const I: u64 = 1 << 7;
    pub const F: u64 = 1 << 6;
    pub const DAIF: u64 = D | A | I | F;
    pub const MODE: u64 = 0x1f;
    pub const EL0T: u64 = 0;
    pub const EL1T: u64 = 4;
    pub const EL1H: u64 = 5;
}

/// Offsets of the vectors of an exception taken to EL1 (Arm ARM D1.3.1.5).
mod vector {
    pub const CURRENT_SP0: u64 = 0x000;
    pub const CURRENT_SPX: u64 = 0x200;
    pub const LOWER_A64: u64 = 0x400;
    pub const IRQ: u64 = 0x80;
}

/// The exclusive monitor (Arm ARM B2.12): the address and the value that a
/// load-exclusive saw. A store-exclusive compares and swaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Monitor {
    /// Host address of the granule.
    pub address: u64,
    /// Bytes loaded.
    pub size: u8,
    /// Value loaded.
    pub value: u128,
    /// Set by the load; who clears it can tell later whether another load came.
    pub fresh: bool,
}

/// The state of one vCPU.
pub struct Core {
    /// Number, and affinity 0.
    pub index: usize,
    /// What instructions name directly. `x[SP]` is the current stack pointer.
    pub regs: Regs,
    /// SP_EL0 while it isn't the current one.
    pub sp_el0: u64,
    /// SP_EL1 while it isn't the current one.
    pub sp_el1: u64,
    /// PSTATE.EL is 0.
    pub el0: bool,
    /// PSTATE.SP.
    pub sp_sel: bool,
    /// PSTATE.DAIF, at its place in SPSR.
    pub daif: u64,
    /// PSTATE.PAN.
    pub pan: bool,
    /// PSTATE.IL.
    pub il: bool,
    /// PSTATE.SS.
    pub ss: bool,
    /// What software step stepped last, until its exception is taken.
    pub stepped: Stepped,
    /// System registers.
    pub sys: SysRegs,
    /// The virtual timer.
    pub timer: TimerState,
    /// The exclusive monitor, if it is open.
    pub monitor: Option<Monitor>,
    /// FP and SIMD instructions are trapped at the current level.
    pub fp_trapped: bool,
    /// SP is checked for alignment at the current level.
    pub sp_checked: bool,
    /// Who accesses data at the current level, as the TLB's context bits.
    pub who: u64,
    /// Translations.
    pub tlb: Tlb,
    /// The guest's memory.
    pub memory: GuestMemory,
    /// Why the current instruction did not complete.
    pub event: Option<Event>,
    /// What the current instruction already got from the machine, in order,
    /// None for an access that hit nothing; it is executed again from its start
    /// after each answer.
    pub answers: Vec<Option<u64>>,
    /// How many of `answers` it has used.
    pub answered: usize,
    /// Level of the IRQ input.
    pub irq: bool,
    /// Guest time in nanoseconds when the run began, where time is counted in instructions.
    pub run_start: u64,
    /// Where guest time comes from if it is not counted.
    pub clock: Option<HostClock>,
    /// Instructions retired in this run, before the current block.
    pub executed: u64,
    /// Address of the first instruction of the current block.
    pub block_pc: u64,
    /// Work for others and for the block cache, done at the end of the block.
    pub maintenance: Vec<Maintenance>,
    /// Maintenance was asked of other vCPUs that no barrier has waited for.
    pub unsynchronised: bool,
    /// The run must end so that the scheduler looks at the timer again.
    pub timer_changed: bool,
    /// Where a debugger outside waits.
    pub stops: Stops,
}

/// Cache and TLB maintenance that leaves the vCPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maintenance {
    /// Drop decoded code of the page at this physical address, everywhere.
    CodePage(u64),
    /// Drop all decoded code, here or everywhere.
    AllCode {
        /// Everywhere.
        broadcast: bool,
    },
    /// Forget every translation on the other vCPUs.
    AllTranslations,
    /// Forget an ASID's translations on the other vCPUs.
    Asid(u16),
    /// Forget a page on the other vCPUs.
    Page(u64),
    /// Look at this vCPU's breakpoint registers again.
    Breakpoints,
    /// DSB: wait until the other vCPUs have done all that was asked of them.
    Barrier,
}

impl Core {
    /// A vCPU in reset.
    pub fn new(index: usize, memory: GuestMemory) -> Self {
        let mut core = Core {
            index,
            regs: Regs::default(),
            sp_el0: 0,
            sp_el1: 0,
            el0: false,
            sp_sel: true,
            daif: pstate::DAIF,
            pan: false,
            il: false,
            ss: false,
            stepped: Stepped::Nothing,
            sys: SysRegs::default(),
            timer: TimerState::default(),
            monitor: None,
            fp_trapped: false,
            sp_checked: false,
            who: 0,
            tlb: Tlb::default(),
            memory,
            event: None,
            answers: Vec::new(),
            answered: 0,
            irq: false,
            run_start: 0,
            clock: None,
            executed: 0,
            block_pc: 0,
            maintenance: Vec::new(),
            unsynchronised: false,
            timer_changed: false,
            stops: Stops::default(),
        };
        core.load(&CpuState::at_entry(0, 0));
        core
    }

    /// PSTATE in the format of SPSR_EL1.
    pub fn pstate(&self) -> u64 {
        let mode = match (self.el0, self.sp_sel) {
            (true, _) => pstate::EL0T,
            (false, false) => pstate::EL1T,
            (false, true) => pstate::EL1H,
        };
        u64::from(self.regs.nzcv)
            | self.daif
            | mode
            | if self.pan { pstate::PAN } else { 0 }
            | if self.il { pstate::IL } else { 0 }
            | if self.ss { pstate::SS } else { 0 }
    }

    /// Puts SP of the current level and selection where [`SP`] was saved from.
    fn bank_sp(&mut self) {
        let sp = self.regs.x[SP];
        if self.el0 || !self.sp_sel {
            self.sp_el0 = sp;
        } else {
            self.sp_el1 = sp;
        }
    }

    /// Changes exception level and stack pointer selection.
    pub fn set_level(&mut self, el0: bool, sp_sel: bool) {
        self.bank_sp();
        self.el0 = el0;
        self.sp_sel = sp_sel;
        self.regs.x[SP] = if el0 || !sp_sel { self.sp_el0 } else { self.sp_el1 };
        self.update_context();
    }

    /// SP_EL0, wherever it is.
    pub fn read_sp_el0(&self) -> u64 {
        if self.el0 || !self.sp_sel { self.regs.x[SP] } else { self.sp_el0 }
    }

    /// Recomputes what follows from PSTATE, SCTLR_EL1 and CPACR_EL1.
    pub fn update_context(&mut self) {
        self.who = if self.el0 {
            tlb::AS_EL0
        } else if self.pan {
            tlb::WITH_PAN
        } else {
            0
        };
        let check = if self.el0 { sctlr::SA0 } else { sctlr::SA };
        self.sp_checked = self.sys.sctlr_el1 & check != 0;
        self.fp_trapped = match (self.sys.cpacr_el1 >> cpacr::FPEN_SHIFT) & 3 {
            0b11 => false,
            0b01 => self.el0,
            _ => true,
        };
    }

    /// Recomputes the current ASID from the translation table registers.
    pub fn update_asid(&mut self) {
        const A1: u64 = 1 << 22;
        const AS: u64 = 1 << 36;
        let ttbr = if self.sys.tcr_el1 & A1 != 0 { self.sys.ttbr1_el1 } else { self.sys.ttbr0_el1 };
        let asid = (ttbr >> 48) as u16;
        self.tlb.set_asid(if self.sys.tcr_el1 & AS != 0 { asid } else { asid & 0xff });
    }

    /// Abandons the current instruction for an exception.
    #[cold]
    pub fn raise(&mut self, class: u8, syndrome: u32, address: Option<u64>) -> Abandoned {
        self.event = Some(Event::Exception { class, syndrome, address });
        Abandoned
    }

    /// Abandons the current instruction as UNDEFINED.
    #[cold]
    pub fn undefined(&mut self) -> Abandoned {
        self.raise(class::UNKNOWN, 0, None)
    }

    /// Abandons the current instruction because the engine can't execute it.
    #[cold]
    pub fn stop(&mut self, pc: u64, word: Option<u32>, what: String) -> Abandoned {
        let report = StopReport { vcpu: self.index, pc, word, what };
        self.event = Some(Event::Exit(Exit::Stopped(report)));
        Abandoned
    }

    /// Takes a synchronous exception to EL1. `pc` holds the preferred return address.
    pub fn take_exception(&mut self, class: u8, syndrome: u32, address: Option<u64>) {
        const IL_32BIT: u64 = 1 << 25;
        self.sys.esr_el1 = (u64::from(class) << 26) | IL_32BIT | u64::from(syndrome);
        if let Some(address) = address {
            self.sys.far_el1 = address;
        }
        self.enter_el1(0);
    }

    /// Takes an IRQ to EL1 (Arm ARM D1.3.6).
    pub fn take_irq(&mut self) {
        self.enter_el1(vector::IRQ);
    }

    fn enter_el1(&mut self, kind: u64) {
        let base = match (self.el0, self.sp_sel) {
            (true, _) => vector::LOWER_A64,
            (false, false) => vector::CURRENT_SP0,
            (false, true) => vector::CURRENT_SPX,
        };
        self.sys.spsr_el1 = self.pstate();
        self.sys.elr_el1 = self.regs.pc;
        self.daif = pstate::DAIF;
        self.il = false;
        self.ss = false;
        self.stepped = Stepped::Nothing;
        // SCTLR_EL1.SPAN clear: PAN is set on entry (Arm ARM D8.4.4).
        const SPAN: u64 = 1 << 23;
        if self.sys.sctlr_el1 & SPAN == 0 {
            self.pan = true;
        }
        self.set_level(false, true);
        self.regs.pc = (self.sys.vbar_el1 & !0x7ff) + base + kind;
    }

    /// ERET (Arm ARM D1.3.4): PSTATE from SPSR_EL1, the PC from ELR_EL1.
    pub fn exception_return(&mut self) {
        let spsr = self.sys.spsr_el1;
        self.monitor = None;
        let mode = spsr & pstate::MODE;
        let legal = matches!(mode, pstate::EL0T | pstate::EL1T | pstate::EL1H);
        self.ss = self.returned_ss(spsr, if legal { mode == pstate::EL0T } else { self.el0 });
        self.regs.nzcv = (spsr & pstate::NZCV) as u32;
        self.daif = spsr & pstate::DAIF;
        self.pan = spsr & pstate::PAN != 0;
        // An illegal return keeps EL and SP and sets IL (Arm ARM D1.3.4.1).
        self.il = !legal || spsr & pstate::IL != 0;
        if legal {
            self.set_level(mode == pstate::EL0T, mode == pstate::EL1H);
        } else {
            self.update_context();
        }
        self.regs.pc = self.sys.elr_el1;
    }

    /// Whether an IRQ is to be taken now.
    #[inline(always)]
    pub fn irq_due(&self) -> bool {
        self.irq && self.daif & pstate::I == 0
    }

    /// The architectural state.
    pub fn save(&self) -> CpuState {
        let mut copy = (self.sp_el0, self.sp_el1);
        if self.el0 || !self.sp_sel {
            copy.0 = self.regs.x[SP];
        } else {
            copy.1 = self.regs.x[SP];
        }
        let mut x = [0; 31];
        x.copy_from_slice(&self.regs.x[..31]);
        CpuState {
            x,
            sp_el0: copy.0,
            sp_el1: copy.1,
            pc: self.regs.pc,
            pstate: self.pstate(),
            v: self.regs.v.map(|v| [v as u64, (v >> 64) as u64]),
            fpcr: u64::from(self.regs.fpcr),
            fpsr: u64::from(self.regs.fpsr),
            sys: self.sys.clone(),
            timer: self.timer,
        }
    }

    /// Replaces the architectural state. The caller has checked it.
    pub fn load(&mut self, state: &CpuState) {
        self.regs.x[..31].copy_from_slice(&state.x);
        self.regs.pc = state.pc;
        self.regs.nzcv = (state.pstate & pstate::NZCV) as u32;
        self.regs.fpcr = state.fpcr as u32;
        self.regs.fpsr = state.fpsr as u32;
        self.regs.v = state.v.map(|[low, high]| u128::from(low) | (u128::from(high) << 64));
        self.sys = state.sys.clone();
        self.timer = state.timer;
        self.daif = state.pstate & pstate::DAIF;
        self.pan = state.pstate & pstate::PAN != 0;
        self.il = state.pstate & pstate::IL != 0;
        self.ss = state.pstate & pstate::SS != 0;
        self.stepped = Stepped::Nothing;
        let mode = state.pstate & pstate::MODE;
        self.el0 = mode == pstate::EL0T;
        self.sp_sel = mode == pstate::EL1H;
        self.sp_el0 = state.sp_el0;
        self.sp_el1 = state.sp_el1;
        self.regs.x[SP] = if self.el0 || !self.sp_sel { state.sp_el0 } else { state.sp_el1 };
        self.monitor = None;
        self.event = None;
        self.answers.clear();
        self.answered = 0;
        self.maintenance.clear();
        self.unsynchronised = false;
        self.stops.forget();
        self.tlb.flush();
        self.update_context();
        self.update_asid();
    }

    /// Whether stage 1 translation is on.
    pub fn translating(&self) -> bool {
        self.sys.sctlr_el1 & sctlr::M != 0
    }
}
