//! The state of KVM's GICv3 as words of its device, and as the machine's (vGICv3).
//!
//! The two controllers are the same but for little: KVM's has PPIs that are level-sensitive alone, no routing to any one
//! of several vCPUs, no GICD_CTLR.EnableGrp0, and redistributors that never sleep. As in the machine's, the latch of an
//! interrupt and the level of its line are two things: user space finds the first in GICD_ISPENDR and GICR_ISPENDR0, the
//! second in a group of its own.

use machine::{
    engine::SysReg,
    gic::{Bank, CpuInterfaceState, DistributorState, GicState, RedistributorState, SpiBank},
};

/// Number of INTIDs, as the machine's controller has.
pub(crate) const INTIDS: u32 = 128;

/// Groups of the device's attributes (`asm/kvm.h`, KVM_DEV_ARM_VGIC_GRP_*).
pub(crate) mod group {
    pub(crate) const DISTRIBUTOR: u32 = 1;
    pub(crate) const REDISTRIBUTORS: u32 = 5;
    pub(crate) const CPU_INTERFACES: u32 = 6;
    pub(crate) const LINES: u32 = 7;
}

/// The name of one word of the device's state. Those of CPU interfaces have 64 bits, the others 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Name {
    pub(crate) group: u32,
    pub(crate) attr: u64,
}

impl Name {
    /// The register at `offset` of the distributor.
    pub(crate) const fn distributor(offset: u64) -> Self {
        Name { group: group::DISTRIBUTOR, attr: offset }
    }

    /// The register at `offset` of the frames of the redistributor of vCPU `cpu`, whose affinity 0 is its number.
    pub(crate) const fn redistributor(cpu: usize, offset: u64) -> Self {
        Name { group: group::REDISTRIBUTORS, attr: (cpu as u64) << 32 | offset }
    }

    /// A register of the CPU interface of vCPU `cpu`.
    pub(crate) const fn cpu_interface(cpu: usize, register: SysReg) -> Self {
        Name { group: group::CPU_INTERFACES, attr: (cpu as u64) << 32 | register.encoding() as u64 }
    }

    /// The lines of 32 interrupts from `intid` on: VGIC_LEVEL_INFO_LINE_LEVEL, which is 0, in the bits from 10 on.
    const fn lines(cpu: usize, intid: u32) -> Self {
        Name { group: group::LINES, attr: (cpu as u64) << 32 | intid as u64 }
    }
}

/// Registers of the distributor, and of a redistributor's second frame (Arm IHI 0069, 12.8 and 12.10).
mod offset {
    pub(super) const CTLR: u64 = 0x0000;
    pub(super) const IGROUPR: u64 = 0x0080;
    pub(super) const ISENABLER: u64 = 0x0100;
    pub(super) const ICENABLER: u64 = 0x0180;
    pub(super) const ISPENDR: u64 = 0x0200;
    pub(super) const ISACTIVER: u64 = 0x0300;
    pub(super) const ICACTIVER: u64 = 0x0380;
    pub(super) const IPRIORITYR: u64 = 0x0400;
    pub(super) const ICFGR: u64 = 0x0c00;
    pub(super) const IROUTER: u64 = 0x6000;
    /// SGI_base, the second frame of a redistributor.
    pub(super) const SGI_BASE: u64 = 0x1_0000;
}

/// GICD_CTLR.EnableGrp1.
const ENABLE_GROUP1: u64 = 1 << 1;
/// GICD_IROUTER.Interrupt_Routing_Mode.
const ROUTE_ANY: u64 = 1 << 31;
/// SGIs, which are edge-triggered.
const SGIS: u32 = 0xffff;

const PMR: SysReg = SysReg::new(3, 0, 4, 6, 0);
const BPR0: SysReg = SysReg::new(3, 0, 12, 8, 3);
const BPR1: SysReg = SysReg::new(3, 0, 12, 12, 3);
pub(crate) const CTLR: SysReg = SysReg::new(3, 0, 12, 12, 4);
const IGRPEN0: SysReg = SysReg::new(3, 0, 12, 12, 6);
const IGRPEN1: SysReg = SysReg::new(3, 0, 12, 12, 7);

/// ICC_AP0R<n>_EL1.
const fn ap0r(n: u8) -> SysReg {
    SysReg::new(3, 0, 12, 8, 4 + n)
}

/// ICC_AP1R<n>_EL1.
const fn ap1r(n: u8) -> SysReg {
    SysReg::new(3, 0, 12, 9, n)
}

/// ICC_CTLR_EL1.CBPR and EOImode.
const CBPR: u64 = 1 << 0;
const EOI_MODE: u64 = 1 << 1;

/// Bits of a priority in the machine's controller.
const PRIORITY_BITS: u32 = 5;
const PRIORITY_MASK: u8 = 0xf8;
/// Least binary points with as many.
const MIN_BPR0: u8 = 2;
const MIN_BPR1: u8 = 3;

/// How many priorities the CPU interfaces of this host tell apart, from its ICC_CTLR_EL1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Host {
    ctlr: u64,
    bits: u32,
}

impl Host {
    /// Of a CPU interface whose ICC_CTLR_EL1 is `ctlr`.
    ///
    /// # Errors
    /// If KVM would not save and restore its active priorities.
    pub(crate) fn new(ctlr: u64) -> Result<Self, String> {
        let bits = (ctlr >> 8 & 7) as u32 + 1;
        if (PRIORITY_BITS..=7).contains(&bits) {
            return Ok(Host { ctlr: ctlr & !(CBPR | EOI_MODE), bits });
        }
        Err(format!("a GIC with {bits} bits of priority"))
    }

    /// How many registers hold the active priorities of a group.
    const fn registers(self) -> u8 {
        1 << (self.bits - PRIORITY_BITS)
    }

    /// The active priorities of 32 levels as this host keeps them: bit `n` stands for the same priority as the host's bit
    /// `n << (bits - 5)`, counted over all registers (Arm IHI 0069, 12.2, ICC_AP0R<n>_EL1).
    fn spread(self, active: u32) -> [u32; 4] {
        let mut registers = [0; 4];
        for n in (0..32).filter(|n| active >> n & 1 != 0) {
            let level = n << (self.bits - PRIORITY_BITS);
            registers[level / 32] |= 1 << (level % 32);
        }
        registers
    }

    /// The inverse of [`Host::spread`]: levels that the machine does not tell apart become one.
    fn gather(self, registers: [u32; 4]) -> u32 {
        let all = (0..128).filter(|level| registers[level / 32] >> (level % 32) & 1 != 0);
        all.fold(0, |active, level| active | 1 << (level >> (self.bits - PRIORITY_BITS)))
    }
}

/// The words that make KVM's controller what `state` says, in order. All vCPUs hold still.
///
/// # Errors
/// Names what KVM's controller can't be.
pub(crate) fn words(state: &GicState, host: Host) -> Result<Vec<(Name, u64)>, String> {
    check(state)?;
    let mut words = Vec::new();
    let enabled = if state.distributor.enable_group1 { ENABLE_GROUP1 } else { 0 };
    words.push((Name::distributor(offset::CTLR), enabled));
    for (n, bank) in state.distributor.spis.iter().enumerate() {
        let first = 32 * (n as u32 + 1);
        for (intid, &route) in (u64::from(first)..).zip(&bank.route) {
            words.push((Name::distributor(offset::IROUTER + 8 * intid), route));
        }
        // Triggers of SPIs alone: KVM fixes the others.
        for half in 0..2u32 {
            let value = (0..16).fold(0, |value, bit| {
                value | u64::from(bank.interrupts.edge >> (16 * half + bit) & 1) << (2 * bit + 1)
            });
            let at = offset::ICFGR + u64::from(first) / 4 + 4 * u64::from(half);
            words.push((Name::distributor(at), value));
        }
        bank_words(&bank.interrupts, first, 0, Name::distributor, &mut words);
    }
    for (cpu, redistributor) in state.redistributors.iter().enumerate() {
        let name = |at| Name::redistributor(cpu, offset::SGI_BASE + at);
        bank_words(&redistributor.interrupts, 0, cpu, name, &mut words);
    }
    for (cpu, interface) in state.cpu_interfaces.iter().enumerate() {
        interface_words(interface, cpu, host, &mut words);
    }
    Ok(words)
}

fn check(state: &GicState) -> Result<(), String> {
    for (n, bank) in state.distributor.spis.iter().enumerate() {
        if let Some(bit) = bank.route.iter().position(|route| route & ROUTE_ANY != 0) {
            return Err(format!("interrupt {} goes to any one of several vCPUs", 32 * (n + 1) + bit));
        }
    }
    for redistributor in &state.redistributors {
        let edge = redistributor.interrupts.edge & !SGIS;
        if edge != 0 {
            return Err(format!("interrupt {}, a private one, is edge-triggered", edge.trailing_zeros()));
        }
    }
    // The distributor's enable of Group 0 may be lost, as long as no vCPU takes such interrupts.
    if state.cpu_interfaces.iter().any(|interface| interface.enable_group0) {
        return Err("a vCPU takes interrupts of Group 0".to_owned());
    }
    Ok(())
}

/// 32 interrupts from `first` on. What sets bits sets them alone, so that others must be cleared before.
fn bank_words(bank: &Bank, first: u32, cpu: usize, name: impl Fn(u64) -> Name, words: &mut Vec<(Name, u64)>) {
    let at = |register: u64| name(register + u64::from(first) / 8);
    words.push((at(offset::IGROUPR), bank.group1.into()));
    for (n, four) in (0..).zip(bank.priority.chunks_exact(4)) {
        let value = four.iter().rev().fold(0, |value, priority| value << 8 | u64::from(*priority));
        words.push((name(offset::IPRIORITYR + u64::from(first) + 4 * n), value));
    }
    words.push((at(offset::ICENABLER), (!bank.enabled).into()));
    words.push((at(offset::ISENABLER), bank.enabled.into()));
    words.push((Name::lines(cpu, first), bank.level.into()));
    // vGICv3: writing GICD_ISPENDR or GICR_ISPENDR0 sets the latches and clears them; ICPENDR is ignored.
    words.push((at(offset::ISPENDR), bank.latch.into()));
    words.push((at(offset::ICACTIVER), (!bank.active).into()));
    words.push((at(offset::ISACTIVER), bank.active.into()));
}

fn interface_words(interface: &CpuInterfaceState, cpu: usize, host: Host, words: &mut Vec<(Name, u64)>) {
    let mut put = |register, value: u64| words.push((Name::cpu_interface(cpu, register), value));
    let flag = |set: bool, bit: u64| if set { bit } else { 0 };
    let ctlr = host.ctlr | flag(interface.split_eoi, EOI_MODE);
    // While CBPR is set, ICC_BPR1_EL1 can't be written (Arm IHI 0069, 12.2).
    put(CTLR, ctlr);
    put(PMR, interface.priority_mask.into());
    put(BPR0, interface.bpr0.into());
    put(BPR1, interface.bpr1.into());
    put(CTLR, ctlr | flag(interface.common_bpr, CBPR));
    for (group, active) in [(0, interface.active_priorities0), (1, interface.active_priorities1)] {
        for (n, value) in (0..host.registers()).zip(host.spread(active)) {
            put(if group == 0 { ap0r(n) } else { ap1r(n) }, value.into());
        }
    }
    put(IGRPEN0, interface.enable_group0.into());
    put(IGRPEN1, interface.enable_group1.into());
}

/// The state of KVM's controller for `cpus` vCPUs, whose words `read` gives. All vCPUs hold still.
///
/// `enable_group0` says what KVM does not remember.
///
/// # Errors
/// Those of `read`.
pub(crate) fn state<E>(
    cpus: usize,
    host: Host,
    enable_group0: bool,
    mut read: impl FnMut(Name) -> Result<u64, E>,
) -> Result<GicState, E> {
    let mut spis: [SpiBank; INTIDS as usize / 32 - 1] = Default::default();
    for (n, bank) in spis.iter_mut().enumerate() {
        let first = 32 * (n as u32 + 1);
        bank.interrupts = read_bank(first, 0, Name::distributor, &mut read)?;
        bank.interrupts.edge = 0;
        for half in 0..2u32 {
            let at = offset::ICFGR + u64::from(first) / 4 + 4 * u64::from(half);
            let value = read(Name::distributor(at))?;
            bank.interrupts.edge |=
                (0..16).fold(0, |edge, bit| edge | (value as u32 >> (2 * bit + 1) & 1) << (16 * half + bit));
        }
        for (intid, route) in (u64::from(first)..).zip(&mut bank.route) {
            *route = read(Name::distributor(offset::IROUTER + 8 * intid))?;
        }
    }
    let enabled = read(Name::distributor(offset::CTLR))?;
    let distributor = DistributorState { enable_group0, enable_group1: enabled & ENABLE_GROUP1 != 0, spis };
    let mut redistributors = Vec::with_capacity(cpus);
    let mut cpu_interfaces = Vec::with_capacity(cpus);
    for cpu in 0..cpus {
        let name = |at| Name::redistributor(cpu, offset::SGI_BASE + at);
        let mut interrupts = read_bank(0, cpu, name, &mut read)?;
        interrupts.edge = SGIS;
        // SGIs have no line.
        interrupts.level &= !SGIS;
        redistributors.push(RedistributorState { processor_sleep: false, interrupts });
        cpu_interfaces.push(read_interface(cpu, host, &mut read)?);
    }
    Ok(GicState { distributor, redistributors, cpu_interfaces })
}

/// All but the triggers.
fn read_bank<E>(
    first: u32,
    cpu: usize,
    name: impl Fn(u64) -> Name,
    read: &mut impl FnMut(Name) -> Result<u64, E>,
) -> Result<Bank, E> {
    let at = |register: u64| name(register + u64::from(first) / 8);
    let mut bank = Bank {
        group1: read(at(offset::IGROUPR))? as u32,
        enabled: read(at(offset::ISENABLER))? as u32,
        latch: read(at(offset::ISPENDR))? as u32,
        level: read(Name::lines(cpu, first))? as u32,
        active: read(at(offset::ISACTIVER))? as u32,
        ..Bank::default()
    };
    for (n, four) in (0..).zip(bank.priority.chunks_exact_mut(4)) {
        let value = read(name(offset::IPRIORITYR + u64::from(first) + 4 * n))? as u32;
        for (priority, byte) in four.iter_mut().zip(value.to_le_bytes()) {
            *priority = byte & PRIORITY_MASK;
        }
    }
    Ok(bank)
}

fn read_interface<E>(
    cpu: usize,
    host: Host,
    read: &mut impl FnMut(Name) -> Result<u64, E>,
) -> Result<CpuInterfaceState, E> {
    let mut get = |register| read(Name::cpu_interface(cpu, register));
    let ctlr = get(CTLR)?;
    let mut active = [[0; 4]; 2];
    for n in 0..host.registers() {
        active[0][usize::from(n)] = get(ap0r(n))? as u32;
        active[1][usize::from(n)] = get(ap1r(n))? as u32;
    }
    Ok(CpuInterfaceState {
        // A host with more bits keeps more of what the guest has written.
        priority_mask: get(PMR)? as u8 & PRIORITY_MASK,
        bpr0: (get(BPR0)? as u8 & 7).max(MIN_BPR0),
        // With CBPR what is read is a view of ICC_BPR0_EL1; the register itself stays hidden.
        bpr1: (get(BPR1)? as u8 & 7).max(MIN_BPR1),
        common_bpr: ctlr & CBPR != 0,
        split_eoi: ctlr & EOI_MODE != 0,
        enable_group0: get(IGRPEN0)? & 1 != 0,
        enable_group1: get(IGRPEN1)? & 1 != 0,
        active_priorities0: host.gather(active[0]),
        active_priorities1: host.gather(active[1]),
    })
}

#[cfg(test)]
mod tests;
