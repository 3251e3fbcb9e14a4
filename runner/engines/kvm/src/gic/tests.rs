//! The words against a device that takes and gives them as Linux 6.12 does (vGICv3).

use std::{collections::HashMap, convert::Infallible};

use machine::gic::Gic;
use proptest::prelude::*;

use super::*;

/// A GICv3 of KVM's, as user space sees it.
struct Device {
    /// What each word holds, by the name that reads it.
    words: HashMap<Name, u64>,
    bits: u32,
}

impl Device {
    fn new(bits: u32) -> Self {
        Device { words: HashMap::new(), bits }
    }

    fn host(&self) -> Host {
        Host::new(u64::from(self.bits - 1) << 8 | 1 << 15).unwrap()
    }

    fn write(&mut self, name: Name, value: u64) {
        let private = name.group == group::REDISTRIBUTORS;
        let register = name.attr & 0xffff_ffff & !(if private { offset::SGI_BASE } else { 0 });
        let at = |to: u64| Name { attr: name.attr - register + to, ..name };
        match name.group {
            group::CPU_INTERFACES => {
                let (cpu, encoding) = (name.attr >> 32, name.attr as u16);
                let ctlr = Name::cpu_interface(cpu as usize, CTLR);
                if encoding == CTLR.encoding() {
                    // Linux vgic-sys-reg-v3.c, set_gic_ctlr: what the host has can't be changed.
                    let fixed = u64::from(self.bits - 1) << 8 | 1 << 15;
                    assert_eq!(value & !(CBPR | EOI_MODE), fixed);
                } else if encoding == BPR1.encoding() && self.read(ctlr) & CBPR != 0 {
                    return;
                }
                if encoding >> 3 & 15 == 8 && encoding & 4 != 0 {
                    assert!(u32::from(encoding & 3) < 1 << (self.bits - 5), "ICC_AP0R{}", encoding & 3);
                }
                self.words.insert(name, value);
            }
            group::LINES => drop(self.words.insert(name, value)),
            _ => match register {
                0x100..0x180 => *self.words.entry(name).or_default() |= value,
                0x180..0x200 => *self.words.entry(at(register - 0x80)).or_default() &= !value,
                0x280..0x300 => {}
                0x300..0x380 => *self.words.entry(name).or_default() |= value,
                0x380..0x400 => *self.words.entry(at(register - 0x80)).or_default() &= !value,
                0xc00..0xc08 => {}
                0x6100..0x6400 => drop(self.words.insert(name, value & 0xff_ffff)),
                0 => drop(self.words.insert(name, value & ENABLE_GROUP1)),
                _ => drop(self.words.insert(name, value)),
            },
        }
    }

    fn read(&self, name: Name) -> u64 {
        let value = self.words.get(&name).copied().unwrap_or(0);
        let ctlr = Name::cpu_interface((name.attr >> 32) as usize, CTLR);
        if name.group == group::CPU_INTERFACES
            && name.attr as u16 == BPR1.encoding()
            && self.words.get(&ctlr).is_some_and(|ctlr| ctlr & CBPR != 0)
        {
            let bpr0 = Name { attr: name.attr & !0xffff | u64::from(BPR0.encoding()), ..name };
            return (self.read(bpr0) + 1).min(7);
        }
        // Linux vgic-mmio.c, vgic_read_irq_line_level_info: those of edge-triggered interrupts read as zero.
        if name.group == group::LINES && name.attr & 0xff != 0 {
            let first = name.attr & 0xff;
            let edge = (0..32).fold(0, |edge, bit| {
                let word = self.read(Name::distributor(offset::ICFGR + first / 4 + 4 * (bit / 16)));
                edge | (word >> (2 * (bit % 16) + 1) & 1) << bit
            });
            return value & !edge;
        }
        value
    }

    fn load(&mut self, state: &GicState) {
        for (name, value) in words(state, self.host()).unwrap() {
            self.write(name, value);
        }
    }

    fn save(&self, cpus: usize, enable_group0: bool) -> GicState {
        state(cpus, self.host(), enable_group0, |name| Ok::<_, Infallible>(self.read(name))).unwrap()
    }
}

/// What comes back of `state`.
fn expected(state: &GicState) -> GicState {
    let mut state = state.clone();
    for bank in &mut state.distributor.spis {
        bank.interrupts.level &= !bank.interrupts.edge;
    }
    for redistributor in &mut state.redistributors {
        redistributor.processor_sleep = false;
    }
    for interface in &mut state.cpu_interfaces {
        if interface.common_bpr {
            interface.bpr1 = (interface.bpr0 + 1).min(7);
        }
    }
    state
}

fn banks() -> impl Strategy<Value = Bank> {
    (any::<[u32; 6]>(), any::<[u8; 32]>()).prop_map(
        |([group1, enabled, latch, level, edge, active], priority)| Bank {
            group1,
            enabled,
            latch,
            level,
            edge,
            active,
            priority: priority.map(|p| p & PRIORITY_MASK),
        },
    )
}

prop_compose! {
    fn spi_banks()(interrupts in banks(), route in any::<[u32; 32]>()) -> SpiBank {
        SpiBank { interrupts, route: route.map(|route| u64::from(route & 0xff_ffff)) }
    }
}

prop_compose! {
    fn interfaces()(numbers: [u8; 3], flags: [bool; 3], active: [u32; 2]) -> CpuInterfaceState {
        CpuInterfaceState {
            priority_mask: numbers[0] & PRIORITY_MASK,
            bpr0: numbers[1] % 6 + 2,
            bpr1: numbers[2] % 5 + 3,
            common_bpr: flags[0],
            split_eoi: flags[1],
            enable_group0: false,
            enable_group1: flags[2],
            active_priorities0: active[0],
            active_priorities1: active[1],
        }
    }
}

prop_compose! {
    fn states()(
        enable in any::<[bool; 2]>(),
        spis in [spi_banks(), spi_banks(), spi_banks()],
        cpus in prop::collection::vec((banks(), interfaces(), any::<bool>()), 1..4),
    ) -> GicState {
        let redistributors = cpus.iter().map(|(bank, _, processor_sleep)| {
            let interrupts = Bank { edge: SGIS, level: bank.level & !SGIS, ..bank.clone() };
            RedistributorState { processor_sleep: *processor_sleep, interrupts }
        });
        GicState {
            distributor: DistributorState { enable_group0: enable[0], enable_group1: enable[1], spis },
            redistributors: redistributors.collect(),
            cpu_interfaces: cpus.iter().map(|(_, interface, _)| interface.clone()).collect(),
        }
    }
}

proptest! {
    /// Whatever the device held before, as at a reset in place.
    #[test]
    fn a_state_comes_back(before in states(), state in states(), bits in 5u32..8) {
        let mut device = Device::new(bits);
        // As many vCPUs as the other.
        let mut before = before;
        let cpus = state.redistributors.len();
        before.redistributors.resize(cpus, RedistributorState::default());
        before.cpu_interfaces.resize(cpus, CpuInterfaceState::default());
        device.load(&before);
        device.load(&state);
        let saved = device.save(cpus, state.distributor.enable_group0);
        prop_assert_eq!(&saved, &expected(&state));
        // And it is one that the machine's own controller takes.
        prop_assert!(Gic::new(cpus).load(&saved).is_ok());
    }
}

#[test]
fn reset_is_reset() {
    let fresh = Gic::new(2).save();
    let mut device = Device::new(5);
    device.load(&fresh);
    assert_eq!(device.save(2, false), expected(&fresh));
}

#[test]
fn names_are_the_kernels() {
    let spi = Name::distributor(offset::IROUTER + 8 * 33);
    assert_eq!((spi.group, spi.attr), (1, 0x6108));
    let sgi = Name::redistributor(3, offset::SGI_BASE + offset::ISPENDR);
    assert_eq!((sgi.group, sgi.attr), (5, 3 << 32 | 0x1_0200));
    let mask = Name::cpu_interface(1, PMR);
    assert_eq!((mask.group, mask.attr), (6, 1 << 32 | 0xc230));
    assert_eq!(Name::lines(2, 64).attr, 2 << 32 | 64);
}

/// With seven bits the priority 0x88, bit 17 of 32 levels, is bit 68 of 128: bit 4 of the third register.
#[test]
fn active_priorities_are_spread_over_a_hosts_registers() {
    let seven = Host::new(6 << 8).unwrap();
    assert_eq!(seven.spread(1 << 17 | 1), [1, 0, 1 << 4, 0]);
    assert_eq!(seven.gather([1, 0, 1 << 5, 0]), 1 << 17 | 1);
    assert_eq!(Host::new(4 << 8).unwrap().spread(0x8000_0001), [0x8000_0001, 0, 0, 0]);
    assert!(Host::new(7 << 8).is_err() && Host::new(3 << 8).is_err());
}

#[test]
fn what_it_can_not_be_is_named() {
    let host = Device::new(5).host();
    let refusal = |change: fn(&mut GicState)| {
        let mut state = Gic::new(1).save();
        change(&mut state);
        words(&state, host).unwrap_err()
    };
    assert!(refusal(|state| state.distributor.spis[1].route[2] = ROUTE_ANY).contains("interrupt 66 "));
    assert!(refusal(|state| state.redistributors[0].interrupts.edge |= 1 << 30).contains("interrupt 30,"));
    assert!(refusal(|state| state.cpu_interfaces[0].enable_group0 = true).contains("Group 0"));
}
