//! Random operations on the interrupt controller and on a model of it that
//! keeps one record an interrupt and works everything out anew at each
//! question, in the words of the architecture rather than in bitmaps.

use proptest::prelude::*;

use super::*;
use crate::{engine::SysReg, layout::GICR_STRIDE};

const CPUS: usize = 3;

#[derive(Clone, Copy, Default)]
struct Interrupt {
    group1: bool,
    enabled: bool,
    latched: bool,
    line: bool,
    edge: bool,
    active: bool,
    priority: u32,
    /// Affinity, or `None` for any one.
    route: Option<u32>,
}

#[derive(Clone, Default)]
struct Cpu {
    asleep: bool,
    mask: u32,
    /// Binary points of Groups 0 and 1.
    points: [u32; 2],
    common: bool,
    split: bool,
    enabled: [bool; 2],
    /// Active group priorities of Groups 0 and 1.
    running: [Vec<u32>; 2],
}

struct Model {
    enabled: [bool; 2],
    private: [[Interrupt; 32]; CPUS],
    shared: [Interrupt; 96],
    cpus: [Cpu; CPUS],
}

impl Model {
    fn new() -> Self {
        let spi = Interrupt { route: Some(0), ..Interrupt::default() };
        let mut private = [[Interrupt::default(); 32]; CPUS];
        private.iter_mut().for_each(|bank| bank[..16].iter_mut().for_each(|sgi| sgi.edge = true));
        let cpu = Cpu { asleep: true, points: [2, 3], ..Cpu::default() };
        Model { enabled: [false; 2], private, shared: [spi; 96], cpus: std::array::from_fn(|_| cpu.clone()) }
    }

    fn get(&mut self, cpu: usize, intid: usize) -> &mut Interrupt {
        if intid < 32 { &mut self.private[cpu][intid] } else { &mut self.shared[intid - 32] }
    }

    fn drive(&mut self, cpu: usize, intid: usize, level: bool) {
        let interrupt = self.get(cpu, intid);
        if level && !interrupt.line && interrupt.edge {
            interrupt.latched = true;
        }
        interrupt.line = level;
    }

    fn belongs_to(&self, interrupt: &Interrupt, cpu: usize) -> bool {
        match interrupt.route {
            Some(affinity) => affinity as usize == cpu,
            None => {
                let group = usize::from(interrupt.group1);
                (0..CPUS).find(|n| !self.cpus[*n].asleep && self.cpus[*n].enabled[group]) == Some(cpu)
            }
        }
    }

    /// INTID, priority and group of the most urgent forwarded interrupt.
    fn highest(&self, cpu: usize) -> Option<(usize, u32, usize)> {
        if self.cpus[cpu].asleep {
            return None;
        }
        let private = self.private[cpu].iter().enumerate();
        let shared = self.shared.iter().enumerate().filter(|(_, i)| self.belongs_to(i, cpu));
        private
            .chain(shared.map(|(n, i)| (n + 32, i)))
            .filter(|(_, i)| i.enabled && !i.active && (i.latched || (!i.edge && i.line)))
            .map(|(n, i)| (n, i.priority, usize::from(i.group1)))
            .filter(|(_, _, group)| self.enabled[*group] && self.cpus[cpu].enabled[*group])
            .min_by_key(|(n, priority, _)| (*priority, *n))
    }

    fn group_priority(&self, cpu: usize, priority: u32, group: usize) -> u32 {
        let cpu = &self.cpus[cpu];
        // The table of 4.8, Priority grouping: for Group 0 and binary point n
        // bits 7 to n+1 make the group priority, for Group 1 bits 7 to n.
        let lowest = if group == 1 && !cpu.common { cpu.points[1] } else { cpu.points[0] + 1 };
        priority / (1 << lowest) * (1 << lowest)
    }

    fn running(&self, cpu: usize) -> u32 {
        self.cpus[cpu].running.iter().flatten().copied().min().unwrap_or(0xff)
    }

    /// Group whose output is asserted.
    fn asserted(&self, cpu: usize) -> Option<usize> {
        let (_, priority, group) = self.highest(cpu)?;
        let beats_mask = priority < self.cpus[cpu].mask;
        let preempts = self.group_priority(cpu, priority, group) < self.running(cpu);
        (beats_mask && preempts).then_some(group)
    }

    fn acknowledge(&mut self, cpu: usize, group: usize) -> u64 {
        if self.asserted(cpu) != Some(group) {
            return 1023;
        }
        let Some((intid, priority, _)) = self.highest(cpu) else { return 1023 };
        let level = self.group_priority(cpu, priority, group);
        if !self.cpus[cpu].running[group].contains(&level) {
            self.cpus[cpu].running[group].push(level);
        }
        let interrupt = self.get(cpu, intid);
        interrupt.latched = false;
        interrupt.active = true;
        intid as u64
    }

    fn end(&mut self, cpu: usize, intid: usize, group: usize) {
        let running = &mut self.cpus[cpu].running[group];
        if let Some(least) = running.iter().copied().min() {
            running.retain(|p| *p != least);
        }
        if !self.cpus[cpu].split && usize::from(self.get(cpu, intid).group1) == group {
            self.get(cpu, intid).active = false;
        }
    }
}

/// What is done to an interrupt by one bit of a set or clear register.
#[derive(Clone, Copy, Debug)]
enum Bit {
    Enable,
    Disable,
    Pend,
    Unpend,
    Activate,
    Deactivate,
}

#[derive(Clone, Debug)]
enum Op {
    Line(usize, usize, bool),
    Pulse(usize),
    Bits(usize, usize, Bit),
    Group(usize, usize, bool),
    Edge(usize, usize, bool),
    Priority(usize, usize, u32),
    Route(usize, Option<u32>),
    Distributor([bool; 2]),
    Sleep(usize, bool),
    Mask(usize, u32),
    Point(usize, usize, u32),
    Control(usize, bool, bool),
    Enable(usize, usize, bool),
    Acknowledge(usize, usize),
    End(usize, usize, usize),
    /// Ends what was acknowledged last, as software does.
    EndLast,
    Deactivate(usize, usize),
    Sgi(usize, usize, usize, u16, bool),
    SaveLoad,
}

fn op() -> impl Strategy<Value = Op> {
    let cpu = 0..CPUS;
    // Few interrupts, so that operations meet.
    let intid =
        prop_oneof![Just(0usize), Just(15), Just(16), Just(27), Just(32), Just(63), Just(64), Just(127)];
    let bit = prop_oneof![
        Just(Bit::Enable),
        Just(Bit::Enable),
        Just(Bit::Disable),
        Just(Bit::Pend),
        Just(Bit::Unpend),
        Just(Bit::Activate),
        Just(Bit::Deactivate)
    ];
    let yes = any::<bool>();
    prop_oneof![
        6 => (cpu.clone(), intid.clone(), yes).prop_map(|(c, i, l)| Op::Line(c, i, l)),
        1 => intid.clone().prop_map(Op::Pulse),
        6 => (cpu.clone(), intid.clone(), bit).prop_map(|(c, i, b)| Op::Bits(c, i, b)),
        2 => (cpu.clone(), intid.clone(), prop::bool::weighted(0.8)).prop_map(|(c, i, g)| Op::Group(c, i, g)),
        2 => (cpu.clone(), intid.clone(), yes).prop_map(|(c, i, e)| Op::Edge(c, i, e)),
        3 => (cpu.clone(), intid.clone(), 0u32..256).prop_map(|(c, i, p)| Op::Priority(c, i, p)),
        2 => (intid.clone(), prop::option::of(0u32..4)).prop_map(|(i, r)| Op::Route(i, r)),
        1 => [prop::bool::weighted(0.8), prop::bool::weighted(0.9)].prop_map(Op::Distributor),
        1 => (cpu.clone(), prop::bool::weighted(0.2)).prop_map(|(c, s)| Op::Sleep(c, s)),
        2 => (cpu.clone(), prop_oneof![Just(0xff), 0u32..256]).prop_map(|(c, m)| Op::Mask(c, m)),
        1 => (cpu.clone(), 0..2usize, 0u32..8).prop_map(|(c, g, p)| Op::Point(c, g, p)),
        1 => (cpu.clone(), prop::bool::weighted(0.2), yes).prop_map(|(c, b, s)| Op::Control(c, b, s)),
        2 => (cpu.clone(), 0..2usize, prop::bool::weighted(0.9)).prop_map(|(c, g, e)| Op::Enable(c, g, e)),
        8 => (cpu.clone(), 0..2usize).prop_map(|(c, g)| Op::Acknowledge(c, g)),
        1 => (cpu.clone(), intid.clone(), 0..2usize).prop_map(|(c, i, g)| Op::End(c, i, g)),
        5 => Just(Op::EndLast),
        2 => (cpu.clone(), intid).prop_map(|(c, i)| Op::Deactivate(c, i)),
        3 => (cpu, prop_oneof![Just(0usize), Just(15)], 0..2usize, any::<u16>(), yes)
            .prop_map(|(c, i, g, t, all)| Op::Sgi(c, i, g, t, all)),
        1 => Just(Op::SaveLoad),
    ]
}

/// The machine under test and the model, driven alike.
struct Pair {
    gic: Gic,
    model: Model,
    taken: Vec<(usize, usize, usize)>,
}

fn reg(crm: u8, op2: u8) -> SysReg {
    SysReg::new(3, 0, 12, crm, op2)
}

impl Pair {
    fn write(&mut self, cpu: usize, intid: usize, offset: u64, size: u8, value: u64) {
        if intid < 32 {
            self.gic.redist_write(cpu as u64 * GICR_STRIDE + 0x1_0000 + offset, size, value);
        } else {
            self.gic.dist_write(offset, size, value);
        }
    }

    fn read(&self, cpu: usize, intid: usize, offset: u64) -> u64 {
        if intid < 32 {
            self.gic.redist_read(cpu as u64 * GICR_STRIDE + 0x1_0000 + offset, 4)
        } else {
            self.gic.dist_read(offset, 4)
        }
    }

    fn modify(&mut self, cpu: usize, intid: usize, offset: u64, bit: usize, set: bool) {
        let old = self.read(cpu, intid, offset);
        self.write(cpu, intid, offset, 4, if set { old | 1 << bit } else { old & !(1 << bit) });
    }

    fn sysreg(&mut self, cpu: usize, register: SysReg, value: u64) {
        assert!(self.gic.sysreg_write(cpu, register, value));
    }

    fn apply(&mut self, op: Op) {
        let word = |intid: usize| intid as u64 / 32 * 4;
        match op {
            Op::Line(_, 0..16, _) => {}
            Op::Line(cpu, intid, level) => {
                if intid < 32 {
                    self.gic.set_ppi_level(cpu, intid as u32, level);
                } else {
                    self.gic.set_level(intid as u32, level);
                }
                self.model.drive(cpu, intid, level);
            }
            Op::Pulse(0..32) => {}
            Op::Pulse(intid) => {
                self.gic.pulse(intid as u32);
                self.model.drive(0, intid, true);
                self.model.drive(0, intid, false);
            }
            Op::Bits(cpu, intid, bit) => {
                let interrupt = self.model.get(cpu, intid);
                let offset = match bit {
                    Bit::Enable => (interrupt.enabled = true, 0x100).1,
                    Bit::Disable => (interrupt.enabled = false, 0x180).1,
                    Bit::Pend => (interrupt.latched = true, 0x200).1,
                    Bit::Unpend => (interrupt.latched = false, 0x280).1,
                    Bit::Activate => (interrupt.active = true, 0x300).1,
                    Bit::Deactivate => (interrupt.active = false, 0x380).1,
                };
                self.write(cpu, intid, offset + word(intid), 4, 1 << (intid % 32));
            }
            Op::Group(cpu, intid, group1) => {
                self.model.get(cpu, intid).group1 = group1;
                self.modify(cpu, intid, 0x80 + word(intid), intid % 32, group1);
            }
            Op::Edge(cpu, intid, edge) => {
                if intid >= 16 {
                    self.model.get(cpu, intid).edge = edge;
                }
                self.modify(cpu, intid, 0xc00 + intid as u64 / 16 * 4, intid % 16 * 2 + 1, edge);
            }
            Op::Priority(cpu, intid, priority) => {
                self.model.get(cpu, intid).priority = priority / 8 * 8;
                self.write(cpu, intid, 0x400 + intid as u64, 1, priority.into());
            }
            Op::Route(0..32, _) => {}
            Op::Route(intid, route) => {
                self.model.get(0, intid).route = route;
                self.gic.dist_write(0x6000 + 8 * intid as u64, 8, route.map_or(1 << 31, u64::from));
            }
            Op::Distributor(enabled) => {
                self.model.enabled = enabled;
                self.gic.dist_write(0, 4, u64::from(enabled[0]) | u64::from(enabled[1]) << 1);
            }
            Op::Sleep(cpu, asleep) => {
                self.model.cpus[cpu].asleep = asleep;
                self.gic.redist_write(cpu as u64 * GICR_STRIDE + 0x14, 4, u64::from(asleep) << 1);
            }
            Op::Mask(cpu, mask) => {
                self.model.cpus[cpu].mask = mask / 8 * 8;
                self.sysreg(cpu, SysReg::new(3, 0, 4, 6, 0), mask.into());
            }
            Op::Point(cpu, group, point) => {
                if group == 0 || !self.model.cpus[cpu].common {
                    self.model.cpus[cpu].points[group] = point.max(2 + group as u32);
                }
                self.sysreg(cpu, if group == 0 { reg(8, 3) } else { reg(12, 3) }, point.into());
            }
            Op::Control(cpu, common, split) => {
                self.model.cpus[cpu].common = common;
                self.model.cpus[cpu].split = split;
                self.sysreg(cpu, reg(12, 4), u64::from(common) | u64::from(split) << 1);
            }
            Op::Enable(cpu, group, enabled) => {
                self.model.cpus[cpu].enabled[group] = enabled;
                self.sysreg(cpu, reg(12, 6 + group as u8), enabled.into());
            }
            Op::Acknowledge(cpu, group) => {
                let expected = self.model.acknowledge(cpu, group);
                let iar = if group == 0 { reg(8, 0) } else { reg(12, 0) };
                assert_eq!(self.gic.sysreg_read(cpu, iar), Some(expected));
                if expected != 1023 {
                    self.taken.push((cpu, expected as usize, group));
                }
            }
            Op::End(cpu, intid, group) => {
                self.model.end(cpu, intid, group);
                self.sysreg(cpu, if group == 0 { reg(8, 1) } else { reg(12, 1) }, intid as u64);
            }
            Op::EndLast => {
                if let Some((cpu, intid, group)) = self.taken.pop() {
                    self.apply(Op::End(cpu, intid, group));
                }
            }
            Op::Deactivate(cpu, intid) => {
                if self.model.cpus[cpu].split {
                    self.model.get(cpu, intid).active = false;
                }
                self.sysreg(cpu, reg(11, 1), intid as u64);
            }
            Op::Sgi(cpu, intid, group, targets, all) => {
                for target in 0..CPUS {
                    let meant = if all { target != cpu } else { targets >> target & 1 != 0 };
                    let interrupt = self.model.get(target, intid);
                    interrupt.latched |= meant && usize::from(interrupt.group1) == group;
                }
                let value = u64::from(all) << 40 | (intid as u64) << 24 | u64::from(targets);
                self.sysreg(cpu, if group == 0 { reg(11, 7) } else { reg(11, 5) }, value);
            }
            Op::SaveLoad => {
                let state = self.gic.save();
                self.gic = Gic::new(CPUS);
                self.gic.load(&state).unwrap();
            }
        }
    }

    fn compare(&mut self) {
        for cpu in 0..CPUS {
            let asserted = self.model.asserted(cpu);
            assert_eq!(self.gic.fiq_asserted(cpu), asserted == Some(0), "FIQ of {cpu}");
            assert_eq!(self.gic.irq_asserted(cpu), asserted == Some(1), "IRQ of {cpu}");
            assert_eq!(self.gic.irq_lines() >> cpu & 1 != 0, asserted == Some(1));
            let highest = self.model.highest(cpu);
            for (group, hppir) in [reg(8, 2), reg(12, 2)].into_iter().enumerate() {
                let expected = highest.filter(|h| h.2 == group).map_or(1023, |h| h.0 as u64);
                assert_eq!(self.gic.sysreg_read(cpu, hppir), Some(expected), "HPPIR{group} of {cpu}");
            }
            assert_eq!(self.gic.sysreg_read(cpu, reg(11, 3)), Some(self.model.running(cpu).into()));
            for (base, bank) in [(0, 0..32usize), (32, 32..64), (64, 64..96), (96, 96..128)] {
                let word = |which: fn(&Interrupt) -> bool, model: &mut Model| {
                    bank.clone().fold(0, |w, n| w | u64::from(which(model.get(cpu, n))) << (n - base))
                };
                let pending = word(|i| i.latched || (!i.edge && i.line), &mut self.model);
                assert_eq!(self.read(cpu, base, 0x200 + base as u64 / 8), pending);
                let active = word(|i| i.active, &mut self.model);
                assert_eq!(self.read(cpu, base, 0x300 + base as u64 / 8), active);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn agrees_with_the_model(ops in prop::collection::vec(op(), 1..250)) {
        let mut pair = Pair { gic: Gic::new(CPUS), model: Model::new(), taken: Vec::new() };
        // Half-way set up, or most sequences would never signal anything.
        pair.apply(Op::Distributor([true, true]));
        for cpu in 0..CPUS {
            pair.apply(Op::Sleep(cpu, false));
            pair.apply(Op::Mask(cpu, 0xff));
            pair.apply(Op::Enable(cpu, 0, true));
            pair.apply(Op::Enable(cpu, 1, true));
        }
        pair.compare();
        for op in ops {
            pair.apply(op);
            pair.compare();
        }
    }

    #[test]
    fn any_access_is_survived(
        cpus in 0usize..10,
        accesses in prop::collection::vec((0u8..7, any::<u64>(), 0u64..0x2_0000, any::<u64>(), 0usize..10), 1..200),
    ) {
        let mut gic = Gic::new(cpus);
        for (kind, wild, near, value, cpu) in accesses {
            let size = 1 << (wild & 3);
            match kind {
                0 => { gic.dist_write(near, size, value); }
                1 => { gic.redist_write(near + wild % 10 * GICR_STRIDE, size, value); }
                2 => { prop_assert!(gic.dist_read(near, size) >> (8 * (size - 1)) < 1 << 8); }
                3 => { prop_assert!(gic.redist_read(near + wild % 10 * GICR_STRIDE, size) >> (8 * (size - 1)) < 1 << 8); }
                4 => { gic.dist_write(wild, size, value); gic.redist_write(wild, size, value); gic.dist_read(wild, size); gic.redist_read(wild, size); }
                5 => { gic.set_level(value as u32 % 200, wild & 1 != 0); gic.set_ppi_level(cpu, value as u32 % 200, wild & 1 != 0); }
                _ => {
                    // Around the ICC registers, and anywhere.
                    for register in [SysReg::new(3, 0, 12, 8 + wild as u8 % 5, near as u8), SysReg::from_word(wild as u32)] {
                        let (read, written) = (gic.sysreg_read(cpu, register), gic.sysreg_write(cpu, register, value));
                        prop_assert!(Gic::owns(register) || (read.is_none() && !written));
                        if cpu < gic.cpus() {
                            prop_assert!(!Gic::owns(register) || read.is_some() || written);
                        }
                    }
                }
            }
        }
        // Whatever the guest did, its state can be loaded again.
        let state = gic.save();
        prop_assert_eq!(Gic::new(cpus).load(&state), Ok(()));
    }
}
