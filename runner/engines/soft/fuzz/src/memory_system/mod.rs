//! Translation tables, registers and accesses that a fuzzer makes, on a vCPU with its TLB and on a walker without
//! one: they agree on what each access finds or how it faults, and after TLBI nothing stale is left.
//!
//! Tables form trees: one entry alone leads to a table, so that the virtual addresses that a changed descriptor
//! concerns are those that its TLBI names.

mod tables;
mod walker;

use engine_soft::access::Access;
use engine_soft::blocks::BlockCache;
use engine_soft::core::{Abandoned, Core, Event, class};
use engine_soft::domain::Domain;
use engine_soft::interp;
use engine_soft::mmu::tlb::AS_EL0;
use machine::cpu_state::CpuState;
use machine::engine::{Exit, SysReg};
use machine::layout::RAM_BASE;
use machine::memory::GuestMemory;

use crate::common::random::Random;
use tables::{PAGE, RAM_SIZE, Tables, address};
use walker::{Found, Kind, Regime, Walk, Who};

const ACTIONS: usize = 96;

/// A word that does next to nothing, another on each page: MOVZ X30, #page. As a descriptor, where a page that looks
/// like a table is met, it is none.
fn harmless(page: u64) -> u32 {
    0xd280_001e | (page as u32 & 0xffff) << 5
}

/// SYS and MSR, by their encodings (Arm ARM C5.3 to C5.5, D24.2).
const fn system(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> u16 {
    SysReg::new(op0, op1, crn, crm, op2).encoding()
}
const TLBI_VMALLE1: u16 = system(1, 0, 8, 7, 0);
const TLBI_VAE1: u16 = system(1, 0, 8, 7, 1);
const TLBI_ASIDE1: u16 = system(1, 0, 8, 7, 2);
const TLBI_VAAE1: u16 = system(1, 0, 8, 7, 3);
const TLBI_VALE1: u16 = system(1, 0, 8, 7, 5);
const TLBI_VAALE1IS: u16 = system(1, 0, 8, 3, 7);
const AT_S1E1R: u16 = system(1, 0, 7, 8, 0);
const SCTLR_EL1: u16 = system(3, 0, 1, 0, 0);
const TTBR0_EL1: u16 = system(3, 0, 2, 0, 0);
const TTBR1_EL1: u16 = system(3, 0, 2, 0, 1);
const TCR_EL1: u16 = system(3, 0, 2, 0, 2);
const MAIR_EL1: u16 = system(3, 0, 10, 2, 0);

/// Runs `data`.
pub fn run(data: &[u8]) {
    let mut random = Random::from_bytes(data);
    let mut system = System::new(&mut random);
    for _ in 0..ACTIONS {
        system.act(&mut random);
    }
    system.compare_memory();
}

/// The vCPU, and what the reference knows of it.
struct System {
    core: Core,
    code: BlockCache,
    domain: Domain,
    memory: GuestMemory,
    /// What the memory must hold.
    ram: Vec<u8>,
    tables: Tables,
    regime: Regime,
    el0: bool,
    pan: bool,
    /// Addresses to come back to.
    recent: [u64; 4],
}

/// What an access meets.
#[derive(Debug, PartialEq, Eq)]
enum Meets {
    Value(u128),
    Abort { status: u8, address: u64 },
    Device(Exit),
}

impl System {
    fn new(random: &mut Random) -> System {
        let memory = GuestMemory::anonymous(RAM_SIZE).expect("guest memory is mapped");
        let mut ram = Vec::with_capacity(RAM_SIZE as usize);
        for page in 0..RAM_SIZE / PAGE {
            ram.extend(harmless(page).to_le_bytes().repeat(PAGE as usize / 4));
        }
        let tables = Tables::new(random, &mut ram);
        memory.write(RAM_BASE, &ram).expect("inside RAM");
        let mut core = Core::new(0, memory.clone());
        core.load(&CpuState::at_entry(RAM_BASE, 0));
        let mut system = System {
            core,
            code: interp::block_cache(&memory),
            domain: Domain::new(1),
            memory,
            ram,
            tables,
            regime: Regime::default(),
            el0: false,
            pan: false,
            recent: [0; 4],
        };
        system.set_mair(random.u64());
        system.set_control(1 | (random.u64() & 1) << 19);
        system.set_tcr(random);
        system.set_level(random);
        system
    }

    fn act(&mut self, random: &mut Random) {
        match random.below(16) {
            0 => self.set_level(random),
            1 => self.switch(random),
            2..=4 => self.change_descriptor(random),
            5 => match random.below(8) {
                0 => self.set_control(random.u64() & (1 << 19 | 1)),
                1 => self.set_tcr(random),
                2 => self.set_mair(random.u64()),
                _ => self.set_control(1 | random.u64() & 1 << 19),
            },
            6 => self.translate_by_instruction(random),
            7 | 8 => self.fetch(random),
            9 => self.atomic(random),
            10 | 11 => self.store(random),
            _ => self.load(random),
        }
    }

    /// A new address, or an earlier one or a neighbour of it in its page, in a block or in a half.
    fn address(&mut self, random: &mut Random) -> u64 {
        let place = random.below(self.recent.len());
        if random.one_in(3) {
            self.recent[place] = address(random);
        }
        let near = random.pick(&[0, 0xfff, 0x1f_ffff, 0x3fff_ffff]);
        self.recent[place] & !near | address(random) & near
    }

    fn write_register(&mut self, encoding: u16, value: u64) {
        // MSR is EL1's.
        self.core.set_level(false, true);
        self.core.write_register(encoding, value, 0, 0).expect("EL1 writes its registers");
        self.core.set_level(self.el0, true);
    }

    fn system_instruction(&mut self, encoding: u16, value: u64) {
        self.core.set_level(false, true);
        self.core.system_instruction(encoding, value, 0, 0).expect("EL1 has the instruction");
        self.core.set_level(self.el0, true);
        self.core.maintenance.clear();
    }

    fn set_control(&mut self, sctlr: u64) {
        self.regime.sctlr = sctlr;
        self.write_register(SCTLR_EL1, sctlr);
    }

    fn set_mair(&mut self, mair: u64) {
        self.regime.mair = mair;
        self.write_register(MAIR_EL1, mair);
    }

    /// A new shape of both halves; what the old one left is invalidated, as it must be.
    fn set_tcr(&mut self, random: &mut Random) {
        let any = random.u64() & 63;
        let size = |random: &mut Random| random.pick(&[16, 16, 25, 25, 24, 30, 33, 34, 39, any]);
        let disabled = if random.one_in(8) { random.u64() & (1 << 7 | 1 << 23) } else { 0 };
        // A1, AS, TBI0, TBI1.
        let flags = random.u64() & (1 << 22 | 1 << 36 | 1 << 37 | 1 << 38);
        self.regime.tcr = size(random) | size(random) << 16 | disabled | flags;
        self.write_register(TCR_EL1, self.regime.tcr);
        self.system_instruction(TLBI_VMALLE1, 0);
        self.switch(random);
    }

    /// The ASID as it counts: of eight bits, or of sixteen.
    fn asid(&self) -> u64 {
        let asid = self.regime.ttbr[0] >> 48;
        if self.regime.tcr >> 36 & 1 != 0 { asid } else { asid & 0xff }
    }

    /// Another ASID, with the tables that are its own, and no TLBI.
    fn switch(&mut self, random: &mut Random) {
        let asid = random.pick(&[1, 2, 3, 0x101, 0x102, 0x203]);
        let common = if random.one_in(2) { random.u64() & 1 } else { 0 };
        self.regime.ttbr[0] = asid << 48;
        self.regime.ttbr[0] |= Tables::root_of(self.asid()) | common;
        self.regime.ttbr[1] = asid << 48 | Tables::UPPER;
        self.write_register(TTBR0_EL1, self.regime.ttbr[0]);
        self.write_register(TTBR1_EL1, self.regime.ttbr[1]);
    }

    fn set_level(&mut self, random: &mut Random) {
        self.el0 = random.one_in(2);
        self.pan = random.one_in(2);
        self.assume_level();
    }

    /// What an exception changed.
    fn assume_level(&mut self) {
        self.core.pan = self.pan;
        self.core.set_level(self.el0, true);
    }

    fn who(&self) -> Who {
        if self.el0 { Who::Unprivileged } else { Who::Privileged { pan: self.pan } }
    }

    fn walk(&self, va: u64) -> Walk {
        self.regime.walk(&self.ram, va)
    }

    /// Changes the descriptor at which the walk for some address ends, and invalidates what it said, if that could
    /// be kept: faults are not.
    fn change_descriptor(&mut self, random: &mut Random) {
        let va = self.address(random);
        self.revisit();
        let Walk { descriptor: Some(at), end } = self.walk(va) else { return };
        if !Tables::holds(at) {
            // A page of data that was taken for a table: it may be so in several places.
            return;
        }
        let value = self.tables.descriptor(random, &mut self.ram);
        self.put(at, &value.to_le_bytes());
        self.publish_tables();
        let Ok(old) = end else { return };
        self.invalidate(random, va, &old);
        self.revisit();
    }

    /// Has the TLB hold what it can of the recent addresses, and sees that it is right.
    fn revisit(&mut self) {
        for va in self.recent {
            self.load_at(va & !7, 8);
            self.fetch_at(va & !3);
        }
    }

    /// Any TLBI that reaches `old`, through any address that it mapped.
    fn invalidate(&mut self, random: &mut Random, va: u64, old: &Found) {
        let inside = va & !(old.size - 1) | random.u64() & (old.size - 1);
        let page = inside << 8 >> 20;
        let by_address = self.asid() << 48 | page;
        match random.below(8) {
            0 => self.system_instruction(TLBI_VMALLE1, 0),
            1 if old.not_global => self.system_instruction(TLBI_ASIDE1, self.asid() << 48),
            2 => self.system_instruction(TLBI_VALE1, by_address),
            3 => self.system_instruction(TLBI_VAALE1IS, page),
            4 | 5 => self.system_instruction(TLBI_VAAE1, page),
            _ => self.system_instruction(TLBI_VAE1, by_address),
        }
    }

    /// Writes to both memories.
    fn put(&mut self, pa: u64, bytes: &[u8]) {
        let at = (pa - RAM_BASE) as usize;
        self.ram[at..at + bytes.len()].copy_from_slice(bytes);
        self.memory.write(pa, bytes).expect("inside RAM");
    }

    /// Copies tables that were made anew to the vCPU's memory.
    fn publish_tables(&mut self) {
        for table in self.tables.take_new() {
            let at = (table - RAM_BASE) as usize;
            self.memory.write(table, &self.ram[at..at + PAGE as usize]).expect("inside RAM");
        }
    }

    /// The parts of an access, each in its page: where, and what of the value.
    fn parts(&self, va: u64, size: usize, who: Who, kind: Kind) -> Result<Vec<(u64, u64, usize)>, Meets> {
        let in_first = size.min((PAGE - va % PAGE) as usize);
        let mut parts = Vec::new();
        for (va, length) in [(va, in_first), (va.wrapping_add(in_first as u64), size - in_first)] {
            if length != 0 {
                let found = self
                    .regime
                    .translate(&self.ram, va, who, kind)
                    .map_err(|status| Meets::Abort { status, address: va })?;
                parts.push((va, found.pa, length));
            }
        }
        Ok(parts)
    }

    fn in_ram(pa: u64) -> bool {
        (RAM_BASE..RAM_BASE + RAM_SIZE).contains(&pa)
    }

    /// The first access that a part makes outside of RAM: a size that a bus has, or an alignment fault.
    fn device(va: u64, pa: u64, length: usize, exit: impl Fn(u64, u8) -> Exit) -> Meets {
        let step = length.min(8);
        if !step.is_power_of_two() || !length.is_multiple_of(step) || !pa.is_multiple_of(step as u64) {
            return Meets::Abort { status: 0b100001, address: va };
        }
        Meets::Device(exit(pa, step as u8))
    }

    fn expect_load(&self, va: u64, size: usize, who: Who) -> Meets {
        let parts = match self.parts(va, size, who, Kind::Read) {
            Ok(parts) => parts,
            Err(abort) => return abort,
        };
        let mut bytes = Vec::new();
        for (va, pa, length) in parts {
            if !System::in_ram(pa) {
                return System::device(va, pa, length, |gpa, size| Exit::MmioRead { gpa, size });
            }
            bytes.extend_from_slice(&self.ram[(pa - RAM_BASE) as usize..][..length]);
        }
        Meets::Value(bytes.iter().rev().fold(0, |all, &byte| all << 8 | u128::from(byte)))
    }

    /// What the vCPU met, and everything as before the access.
    fn met<T>(&mut self, result: Result<T, Abandoned>, write: bool, value: impl Fn(T) -> u128) -> Meets {
        let event = self.core.event.take();
        self.core.answers.clear();
        self.core.answered = 0;
        match (result, event) {
            (Ok(found), None) => Meets::Value(value(found)),
            (Err(Abandoned), Some(Event::Exit(exit))) => Meets::Device(exit),
            (Err(Abandoned), Some(Event::Exception { class: ec, syndrome, address })) => {
                let same = if self.el0 { class::DATA_ABORT_LOWER } else { class::DATA_ABORT_SAME };
                assert_eq!(ec, same);
                assert_eq!(syndrome >> 6, u32::from(write), "WnR alone");
                Meets::Abort {
                    status: syndrome as u8 & 0x3f,
                    address: address.expect("an abort has an address"),
                }
            }
            (result, event) => panic!("{:?} with {event:?}", result.is_ok()),
        }
    }

    fn load(&mut self, random: &mut Random) {
        let va = self.address(random);
        let size = 1 << random.below(5);
        if random.one_in(6) {
            // LDTR.
            let expected = self.expect_load(va, size, Who::Unprivileged);
            let access = Access { who: AS_EL0, write: false, maintenance: false };
            let result = self.core.load_slow(va, size, access);
            assert_eq!(
                self.met(result, false, |value| value),
                expected,
                "as EL0 at {va:#x}, {:x?}",
                self.regime
            );
            return;
        }
        self.load_at(va, size);
    }

    fn load_at(&mut self, va: u64, size: usize) {
        let expected = self.expect_load(va, size, self.who());
        let result = match size {
            1 => self.core.load_value::<u8>(va).map(u128::from),
            2 => self.core.load_value::<u16>(va).map(u128::from),
            4 => self.core.load_value::<u32>(va).map(u128::from),
            8 => self.core.load_value::<u64>(va).map(u128::from),
            _ => self.core.load_value::<u128>(va),
        };
        let met = self.met(result, false, |value| value);
        assert_eq!(met, expected, "{:?} loads {size} at {va:#x}, {:x?}", self.who(), self.regime);
    }

    fn store(&mut self, random: &mut Random) {
        let va = self.address(random);
        let size = 1 << random.below(5);
        // Only even bytes: no descriptor comes to be, which would need its TLBI when it changes.
        let value = random.u128() >> (128 - 8 * size) & (u128::MAX / 255 * 254);
        let parts = self.parts(va, size, self.who(), Kind::Write);
        if let Ok(parts) = &parts
            && parts.iter().any(|&(_, pa, length)| Tables::holds(pa) || Tables::holds(pa + length as u64))
        {
            // A table that changes needs its TLBI.
            return;
        }
        let result = match size {
            1 => self.core.store_value(va, value as u8),
            2 => self.core.store_value(va, value as u16),
            4 => self.core.store_value(va, value as u32),
            8 => self.core.store_value(va, value as u64),
            _ => self.core.store_value(va, value),
        };
        let met = self.met(result, true, |()| 0);
        let expected = self.expect_store(parts, value);
        assert_eq!(met, expected, "{:?} stores {size} at {va:#x}, {:x?}", self.who(), self.regime);
    }

    /// What comes of a store, done to the reference's memory. What lies before a device is written already.
    fn expect_store(&mut self, parts: Result<Vec<(u64, u64, usize)>, Meets>, value: u128) -> Meets {
        let parts = match parts {
            Ok(parts) => parts,
            Err(abort) => return abort,
        };
        let bytes = value.to_le_bytes();
        let mut done = 0;
        for (va, pa, length) in parts {
            let part = &bytes[done..done + length];
            if !System::in_ram(pa) {
                return System::device(va, pa, length, |gpa, size| {
                    let value = part[..usize::from(size)]
                        .iter()
                        .rev()
                        .fold(0, |all, &byte| all << 8 | u64::from(byte));
                    Exit::MmioWrite { gpa, size, value }
                });
            }
            self.ram[(pa - RAM_BASE) as usize..][..length].copy_from_slice(part);
            done += length;
        }
        Meets::Value(0)
    }

    /// What LSE's and exclusive instructions ask for: alignment, then a read, then a write.
    fn atomic(&mut self, random: &mut Random) {
        let size = 1 << random.below(5);
        let va = self.address(random) & if random.one_in(8) { u64::MAX } else { !(size - 1) };
        let who = self.who();
        let met = |system: &mut System, write: bool| {
            let result = system.core.atomic_place(va, size as usize, write);
            let base = system.memory.host_ptr(RAM_BASE, PAGE).expect("inside RAM") as u128;
            system.met(result, write, |place| place as u128 - base)
        };
        for (write, kind) in [(false, Kind::Read), (true, Kind::Write)] {
            let expected = if !va.is_multiple_of(size) {
                Meets::Abort { status: 0b100001, address: va }
            } else {
                match self.regime.translate(&self.ram, va, who, kind) {
                    Err(status) => Meets::Abort { status, address: va },
                    Ok(found) if System::in_ram(found.pa) => Meets::Value(u128::from(found.pa - RAM_BASE)),
                    // An external abort is what this engine chooses.
                    Ok(_) => Meets::Abort { status: 0b010000, address: va },
                }
            };
            assert_eq!(met(self, write), expected, "{who:?} at {va:#x}, {:x?}", self.regime);
        }
    }

    /// AT S1E1R to S1E0W; PAN has no say (FEAT_PAN2).
    fn translate_by_instruction(&mut self, random: &mut Random) {
        let va = self.address(random);
        let op2 = random.u64() as u16 & 3;
        let who = if op2 >= 2 { Who::Unprivileged } else { Who::Privileged { pan: false } };
        let kind = if op2 & 1 != 0 { Kind::Write } else { Kind::Read };
        self.system_instruction(AT_S1E1R + op2, va);
        let par = self.core.sys.par_el1;
        let expected = match self.regime.translate(&self.ram, va, who, kind) {
            Ok(found) => u64::from(found.attributes) << 56 | found.pa & !(PAGE - 1) | 1 << 11 | 3 << 7,
            Err(status) => 1 << 11 | u64::from(status) << 1 | 1,
        };
        assert_eq!(par, expected, "AT for {who:?} at {va:#x}, {:x?}", self.regime);
    }

    fn fetch(&mut self, random: &mut Random) {
        let va = self.address(random) & if random.one_in(8) { u64::MAX } else { !3 };
        self.fetch_at(va);
    }

    /// Executes the instruction at `va`, if it does nothing.
    fn fetch_at(&mut self, va: u64) {
        let expected = if !va.is_multiple_of(4) {
            Err((class::PC_ALIGNMENT, 0))
        } else {
            let same = if self.el0 { class::INSTRUCTION_ABORT_LOWER } else { class::INSTRUCTION_ABORT_SAME };
            match self.regime.translate(&self.ram, va, self.who(), Kind::Fetch) {
                Ok(found) if System::in_ram(found.pa) => {
                    let at = (found.pa - RAM_BASE) as usize;
                    let page = found.pa / PAGE - RAM_BASE / PAGE;
                    if self.ram[at..at + 4] != harmless(page).to_le_bytes() {
                        return;
                    }
                    Ok(page)
                }
                Ok(_) => Err((same, 0b010000)),
                Err(status) => Err((same, u32::from(status))),
            }
        };
        self.core.regs.pc = va;
        self.core.sys.vbar_el1 = 0x7_f800;
        self.core.executed = 0;
        let exit = interp::run(&mut self.core, &mut self.code, 1, &self.domain);
        assert_eq!(exit, Exit::Budget);
        match expected {
            Ok(_) => assert_eq!(
                self.core.regs.pc,
                va.wrapping_add(4),
                "{:?} fetches, {:x?}",
                self.who(),
                self.regime
            ),
            Err((ec, status)) => {
                let esr = u64::from(ec) << 26 | 1 << 25 | u64::from(status);
                assert_eq!(
                    (self.core.sys.esr_el1, self.core.sys.far_el1, self.core.sys.elr_el1),
                    (esr, va, va),
                    "{:?} fetches, {:x?}",
                    self.who(),
                    self.regime
                );
                self.core.sys.esr_el1 = 0;
            }
        }
        self.assume_level();
    }

    fn compare_memory(&self) {
        let mut bytes = vec![0; RAM_SIZE as usize];
        self.memory.read(RAM_BASE, &mut bytes).expect("inside RAM");
        if bytes != self.ram {
            let at = bytes.iter().zip(&self.ram).position(|(ours, expected)| ours != expected);
            panic!("the memories differ, first at byte {at:?}");
        }
    }
}
