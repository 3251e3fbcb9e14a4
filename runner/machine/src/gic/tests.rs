//! One test a rule. Section numbers are those of Arm IHI 0069.

use super::*;
use crate::{engine::SysReg, layout::GICR_STRIDE};

const PMR: SysReg = SysReg::new(3, 0, 4, 6, 0);
const IAR0: SysReg = SysReg::new(3, 0, 12, 8, 0);
const EOIR0: SysReg = SysReg::new(3, 0, 12, 8, 1);
const HPPIR0: SysReg = SysReg::new(3, 0, 12, 8, 2);
const BPR0: SysReg = SysReg::new(3, 0, 12, 8, 3);
const AP1R0: SysReg = SysReg::new(3, 0, 12, 9, 0);
const DIR: SysReg = SysReg::new(3, 0, 12, 11, 1);
const RPR: SysReg = SysReg::new(3, 0, 12, 11, 3);
const SGI1R: SysReg = SysReg::new(3, 0, 12, 11, 5);
const SGI0R: SysReg = SysReg::new(3, 0, 12, 11, 7);
const IAR1: SysReg = SysReg::new(3, 0, 12, 12, 0);
const EOIR1: SysReg = SysReg::new(3, 0, 12, 12, 1);
const HPPIR1: SysReg = SysReg::new(3, 0, 12, 12, 2);
const BPR1: SysReg = SysReg::new(3, 0, 12, 12, 3);
const CTLR: SysReg = SysReg::new(3, 0, 12, 12, 4);
const SRE: SysReg = SysReg::new(3, 0, 12, 12, 5);
const IGRPEN0: SysReg = SysReg::new(3, 0, 12, 12, 6);
const IGRPEN1: SysReg = SysReg::new(3, 0, 12, 12, 7);

const SGI_BASE: u64 = 0x1_0000;
const ISENABLER: u64 = 0x100;
const ICENABLER: u64 = 0x180;
const ISPENDR: u64 = 0x200;
const ICPENDR: u64 = 0x280;
const ISACTIVER: u64 = 0x300;
const ICACTIVER: u64 = 0x380;
const IGROUPR: u64 = 0x80;
const IPRIORITYR: u64 = 0x400;
const ICFGR: u64 = 0xc00;
const IROUTER: u64 = 0x6000;

/// As a driver sets it up: all awake, everything in Group 1, enabled, with
/// priority 0xa0, level-sensitive SPIs to vCPU 0, mask 0xf0.
fn ready(cpus: usize) -> Gic {
    let mut gic = Gic::new(cpus);
    gic.dist_write(0, 4, 0b10);
    for n in 1..4 {
        gic.dist_write(IGROUPR + 4 * n, 4, 0xffff_ffff);
        gic.dist_write(ISENABLER + 4 * n, 4, 0xffff_ffff);
    }
    for intid in 32..128 {
        gic.dist_write(IPRIORITYR + intid, 1, 0xa0);
    }
    for cpu in 0..cpus {
        let rd = cpu as u64 * GICR_STRIDE;
        gic.redist_write(rd + 0x14, 4, 0);
        gic.redist_write(rd + SGI_BASE + IGROUPR, 4, 0xffff_ffff);
        gic.redist_write(rd + SGI_BASE + ISENABLER, 4, 0xffff_ffff);
        for intid in (0..32).step_by(4) {
            gic.redist_write(rd + SGI_BASE + IPRIORITYR + intid, 4, 0xa0a0_a0a0);
        }
        put(&mut gic, cpu, PMR, 0xf0);
        put(&mut gic, cpu, IGRPEN1, 1);
    }
    gic
}

fn put(gic: &mut Gic, cpu: usize, register: SysReg, value: u64) {
    assert!(gic.sysreg_write(cpu, register, value), "{register} is not writable");
}

fn get(gic: &mut Gic, cpu: usize, register: SysReg) -> u64 {
    gic.sysreg_read(cpu, register).unwrap_or_else(|| panic!("{register} is not readable"))
}

fn priority(gic: &mut Gic, intid: u64, value: u64) {
    gic.dist_write(IPRIORITYR + intid, 1, value);
}

fn make_edge(gic: &mut Gic, intid: u64) {
    let offset = ICFGR + intid / 16 * 4;
    let config = gic.dist_read(offset, 4) | 2 << (intid % 16 * 2);
    gic.dist_write(offset, 4, config);
}

#[test]
fn identification_says_gicv3_with_one_security_state() {
    let gic = Gic::new(3);
    // 12.9 GICD_CTLR: ARE and DS set, both groups disabled, no write pending.
    assert_eq!(gic.dist_read(0, 4), 0x50);
    // 12.9 GICD_TYPER: 128 INTIDs, ten bits of INTID.
    assert_eq!(gic.dist_read(4, 4) & 0x1f, 3);
    assert_eq!(gic.dist_read(4, 4) >> 19 & 0x1f, 9);
    // 12.1: ArchRev 3 for the distributor and for both kinds of frame.
    assert_eq!(gic.dist_read(0xffe8, 4) >> 4, 3);
    assert_eq!(gic.redist_read(0xffe8, 4) >> 4, 3);
    // 12.11 GICR_TYPER: affinity, processor number, Last.
    assert_eq!(gic.redist_read(8, 8), 0);
    assert_eq!(gic.redist_read(GICR_STRIDE + 8, 8), 0x1_0000_0100);
    assert_eq!(gic.redist_read(2 * GICR_STRIDE + 8, 8), 0x2_0000_0210);
    assert_eq!(gic.redist_read(2 * GICR_STRIDE + 8, 4), 0x210);
    assert_eq!(gic.redist_read(2 * GICR_STRIDE + 12, 4), 2);
    assert_eq!(gic.redist_read(3 * GICR_STRIDE + 8, 8), 0);
}

#[test]
fn gicd_ctlr_keeps_only_the_group_enables() {
    let mut gic = Gic::new(1);
    gic.dist_write(0, 4, 0xffff_ffff);
    assert_eq!(gic.dist_read(0, 4), 0x53);
    gic.dist_write(0, 4, 0);
    assert_eq!(gic.dist_read(0, 4), 0x50);
}

#[test]
fn registers_keep_what_is_implemented_and_nothing_more() {
    let mut gic = Gic::new(1);
    gic.dist_write(IPRIORITYR + 40, 4, 0xffff_ffff);
    assert_eq!(gic.dist_read(IPRIORITYR + 40, 4), 0xf8f8_f8f8, "five priority bits");
    gic.dist_write(IPRIORITYR + 41, 1, 0x47);
    assert_eq!(gic.dist_read(IPRIORITYR + 40, 4), 0xf8f8_40f8);
    assert_eq!(gic.dist_read(IPRIORITYR + 41, 1), 0x40);
    assert_eq!(gic.dist_read(IPRIORITYR + 40, 2), 0, "no halfword accesses");
    gic.dist_write(IROUTER + 8 * 50, 8, u64::MAX);
    assert_eq!(gic.dist_read(IROUTER + 8 * 50, 8), 0x80ff_ffff);
    gic.dist_write(IROUTER + 8 * 50, 4, 5);
    assert_eq!(gic.dist_read(IROUTER + 8 * 50, 8), 5);
    assert_eq!(gic.dist_read(IROUTER + 8 * 50 + 4, 4), 0);
    assert_eq!(gic.dist_read(IROUTER + 8 * 31, 8), 0, "reserved for private interrupts");
    gic.dist_write(ICFGR + 12, 4, 0xffff_ffff);
    assert_eq!(gic.dist_read(ICFGR + 12, 4), 0xaaaa_aaaa, "bit 0 of each field is reserved");
    gic.redist_write(SGI_BASE + ICFGR, 4, 0);
    assert_eq!(gic.redist_read(SGI_BASE + ICFGR, 4), 0xaaaa_aaaa, "SGIs are edge-triggered");
    gic.redist_write(SGI_BASE + ICFGR + 4, 4, 0xffff_ffff);
    assert_eq!(gic.redist_read(SGI_BASE + ICFGR + 4, 4), 0xaaaa_aaaa);
    gic.dist_write(ISENABLER, 4, 0xffff_ffff);
    assert_eq!(gic.dist_read(ISENABLER, 4), 0, "bank 0 is the redistributors'");
    gic.dist_write(ISENABLER + 4, 4, 0xf0f0);
    gic.dist_write(ICENABLER + 4, 4, 0x00f0);
    assert_eq!(gic.dist_read(ICENABLER + 4, 4), 0xf000);
    assert_eq!(gic.dist_read(ISENABLER + 4, 8), 0, "32-bit registers");
}

#[test]
fn waker_follows_processor_sleep_and_sleep_holds_interrupts() {
    let mut gic = ready(1);
    gic.redist_write(0x14, 4, 2);
    assert_eq!(gic.redist_read(0x14, 4), 6);
    gic.set_level(40, true);
    assert!(!gic.irq_asserted(0));
    gic.redist_write(0x14, 4, 0);
    assert_eq!(gic.redist_read(0x14, 4), 0);
    assert!(gic.irq_asserted(0));
}

#[test]
fn cpu_interface_registers_read_back_their_implemented_bits() {
    let mut gic = Gic::new(1);
    put(&mut gic, 0, PMR, 0xff);
    assert_eq!(get(&mut gic, 0, PMR), 0xf8);
    // 12.2 ICC_CTLR_EL1: PRIbits 4; CBPR and EOImode writable.
    put(&mut gic, 0, CTLR, u64::MAX);
    assert_eq!(get(&mut gic, 0, CTLR), 0x403);
    put(&mut gic, 0, CTLR, 0);
    assert_eq!(get(&mut gic, 0, SRE), 7);
    assert_eq!(get(&mut gic, 0, RPR), 0xff);
    // 4.8, Priority grouping: least binary points for five priority bits.
    put(&mut gic, 0, BPR0, 0);
    put(&mut gic, 0, BPR1, 0);
    assert_eq!((get(&mut gic, 0, BPR0), get(&mut gic, 0, BPR1)), (2, 3));
    put(&mut gic, 0, BPR0, 7);
    put(&mut gic, 0, CTLR, 1);
    put(&mut gic, 0, BPR1, 4);
    assert_eq!(get(&mut gic, 0, BPR1), 7, "CBPR: BPR0 plus one, saturated; writes ignored");
    put(&mut gic, 0, CTLR, 0);
    assert_eq!(get(&mut gic, 0, BPR1), 3);
}

#[test]
fn read_only_write_only_and_foreign_registers_are_refused() {
    let mut gic = Gic::new(1);
    for write_only in [EOIR0, EOIR1, DIR, SGI1R, SGI0R] {
        assert!(Gic::owns(write_only));
        assert_eq!(gic.sysreg_read(0, write_only), None);
    }
    for read_only in [IAR0, IAR1, HPPIR0, HPPIR1, RPR] {
        assert!(Gic::owns(read_only));
        assert!(!gic.sysreg_write(0, read_only, 0));
    }
    // ICC_AP1R1_EL1 needs six priority bits; SCTLR_EL1 is the engine's.
    for other in [SysReg::new(3, 0, 12, 9, 1), SysReg::new(3, 0, 1, 0, 0)] {
        assert!(!Gic::owns(other));
        assert_eq!(gic.sysreg_read(0, other), None);
        assert!(!gic.sysreg_write(0, other, 0));
    }
    assert_eq!(gic.sysreg_read(1, PMR), None, "no such vCPU");
}

#[test]
fn nothing_is_signalled_unless_enabled_everywhere() {
    // 4.7: the interrupt, its group at the distributor and at the CPU interface.
    let mut gic = ready(1);
    gic.set_level(40, true);
    assert!(gic.irq_asserted(0));
    gic.dist_write(0, 4, 0);
    assert!(!gic.irq_asserted(0));
    gic.dist_write(0, 4, 2);
    assert!(gic.irq_asserted(0));
    put(&mut gic, 0, IGRPEN1, 0);
    assert!(!gic.irq_asserted(0));
    assert_eq!(get(&mut gic, 0, IAR1), 1023);
    put(&mut gic, 0, IGRPEN1, 1);
    // 4.7.3: disabling keeps the pending state.
    gic.dist_write(ICENABLER + 4, 4, 1 << 8);
    assert!(!gic.irq_asserted(0));
    assert_eq!(gic.dist_read(ISPENDR + 4, 4), 1 << 8);
    gic.dist_write(ISENABLER + 4, 4, 1 << 8);
    assert!(gic.irq_asserted(0));
}

#[test]
fn the_most_urgent_interrupt_comes_first() {
    // 4.8: the lowest value; of equals, ours takes the lowest INTID.
    let mut gic = ready(1);
    priority(&mut gic, 60, 0x20);
    for intid in [50, 60, 45] {
        gic.set_level(intid, true);
    }
    gic.set_ppi_level(0, 27, true);
    let order: Vec<u64> = (0..4)
        .map(|_| {
            let intid = get(&mut gic, 0, HPPIR1);
            assert_eq!(get(&mut gic, 0, IAR1), intid);
            gic.set_level(intid as u32, false);
            gic.set_ppi_level(0, intid as u32, false);
            put(&mut gic, 0, EOIR1, intid);
            intid
        })
        .collect();
    assert_eq!(order, [60, 27, 45, 50]);
    assert_eq!(get(&mut gic, 0, IAR1), 1023);
}

#[test]
fn priority_mask_hides_what_is_not_more_urgent() {
    // 4.8, Priority masking: strictly lower values pass.
    let mut gic = ready(1);
    gic.set_level(40, true);
    put(&mut gic, 0, PMR, 0xa0);
    assert!(!gic.irq_asserted(0));
    assert_eq!(get(&mut gic, 0, IAR1), 1023);
    assert_eq!(get(&mut gic, 0, HPPIR1), 40, "the mask does not hide it from HPPIR");
    put(&mut gic, 0, PMR, 0xa8);
    assert!(gic.irq_asserted(0));
    // The lowest implemented priority is never signalled: no mask exceeds it.
    priority(&mut gic, 40, 0xf8);
    put(&mut gic, 0, PMR, 0xff);
    assert!(!gic.irq_asserted(0));
}

#[test]
fn preemption_nests_and_ends_in_order() {
    // 4.8, Preemption; 12.2 ICC_AP1R0_EL1: one bit a level.
    let mut gic = ready(1);
    priority(&mut gic, 41, 0x40);
    gic.set_level(40, true);
    assert_eq!(get(&mut gic, 0, IAR1), 40);
    assert!(!gic.irq_asserted(0), "active and pending is not signalled again");
    gic.set_level(42, true);
    assert!(!gic.irq_asserted(0), "equal priority does not preempt");
    assert_eq!(get(&mut gic, 0, IAR1), 1023);
    gic.set_level(41, true);
    assert!(gic.irq_asserted(0));
    assert_eq!(get(&mut gic, 0, IAR1), 41);
    assert_eq!(get(&mut gic, 0, RPR), 0x40);
    assert_eq!(get(&mut gic, 0, AP1R0), 1 << (0x40 / 8) | 1 << (0xa0 / 8));
    gic.set_level(41, false);
    put(&mut gic, 0, EOIR1, 41);
    assert_eq!(get(&mut gic, 0, RPR), 0xa0);
    gic.set_level(40, false);
    put(&mut gic, 0, EOIR1, 40);
    assert_eq!(get(&mut gic, 0, RPR), 0xff);
    assert_eq!(get(&mut gic, 0, IAR1), 42);
}

#[test]
fn the_binary_point_decides_what_preempts() {
    // 4.8, Priority grouping: with ICC_BPR1_EL1 = 6, bits 7 and 6 group.
    let mut gic = ready(1);
    put(&mut gic, 0, BPR1, 6);
    priority(&mut gic, 41, 0x90);
    priority(&mut gic, 42, 0x78);
    gic.set_level(40, true);
    assert_eq!(get(&mut gic, 0, IAR1), 40);
    assert_eq!(get(&mut gic, 0, RPR), 0x80, "the group priority runs");
    gic.set_level(41, true);
    assert!(!gic.irq_asserted(0), "0x90 is in the group of 0xa0");
    gic.set_level(42, true);
    assert!(gic.irq_asserted(0), "0x78 is in the group before");
    // With CBPR, ICC_BPR0_EL1 = 7 leaves no group bits: nothing preempts.
    put(&mut gic, 0, BPR0, 7);
    put(&mut gic, 0, CTLR, 1);
    put(&mut gic, 0, AP1R0, 1);
    assert!(!gic.irq_asserted(0));
    assert_eq!(get(&mut gic, 0, RPR), 0);
}

#[test]
fn split_eoi_drops_the_priority_and_dir_deactivates() {
    // 12.2 ICC_CTLR_EL1.EOImode, ICC_DIR_EL1.
    let mut gic = ready(1);
    put(&mut gic, 0, CTLR, 2);
    gic.set_level(40, true);
    assert_eq!(get(&mut gic, 0, IAR1), 40);
    put(&mut gic, 0, EOIR1, 40);
    assert_eq!(get(&mut gic, 0, RPR), 0xff);
    assert_eq!(gic.dist_read(ISACTIVER + 4, 4), 1 << 8);
    assert!(!gic.irq_asserted(0), "still active");
    put(&mut gic, 0, DIR, 40);
    assert_eq!(gic.dist_read(ISACTIVER + 4, 4), 0);
    assert!(gic.irq_asserted(0), "the line is still high");
    // Without EOImode, DIR does nothing.
    assert_eq!(get(&mut gic, 0, IAR1), 40);
    put(&mut gic, 0, CTLR, 0);
    put(&mut gic, 0, DIR, 40);
    assert_eq!(gic.dist_read(ISACTIVER + 4, 4), 1 << 8);
}

#[test]
fn a_special_intid_ends_nothing() {
    // 2.2.1: software may write back 1023 after a spurious acknowledge.
    let mut gic = ready(1);
    gic.set_level(40, true);
    assert_eq!(get(&mut gic, 0, IAR1), 40);
    put(&mut gic, 0, EOIR1, 1023);
    assert_eq!(get(&mut gic, 0, RPR), 0xa0);
    put(&mut gic, 0, EOIR1, 128);
    assert_eq!(get(&mut gic, 0, RPR), 0xa0);
}

#[test]
fn a_level_is_pending_while_high() {
    // 4.1.2.
    let mut gic = ready(1);
    gic.set_level(40, true);
    gic.dist_write(ICPENDR + 4, 4, 1 << 8);
    assert!(gic.irq_asserted(0), "the line holds it pending");
    assert_eq!(get(&mut gic, 0, IAR1), 40);
    assert_eq!(gic.dist_read(ISPENDR + 4, 4), 1 << 8, "active and pending");
    put(&mut gic, 0, EOIR1, 40);
    assert!(gic.irq_asserted(0), "pending again after its end");
    gic.set_level(40, false);
    assert!(!gic.irq_asserted(0));
    assert_eq!(gic.dist_read(ISPENDR + 4, 4), 0);
    gic.pulse(40);
    assert!(!gic.irq_asserted(0), "a pulse leaves no trace");
}

#[test]
fn a_level_made_pending_by_software_lasts_until_acknowledged() {
    // 12.9 GICD_ISPENDR.
    let mut gic = ready(1);
    gic.dist_write(ISPENDR + 4, 4, 1 << 8);
    gic.set_level(40, true);
    gic.set_level(40, false);
    assert!(gic.irq_asserted(0), "the latch outlives the line");
    assert_eq!(get(&mut gic, 0, IAR1), 40);
    put(&mut gic, 0, EOIR1, 40);
    assert!(!gic.irq_asserted(0));
}

#[test]
fn an_edge_is_latched_once() {
    // 4.1.2.
    let mut gic = ready(1);
    make_edge(&mut gic, 40);
    gic.pulse(40);
    gic.pulse(40);
    assert_eq!(get(&mut gic, 0, IAR1), 40);
    gic.set_level(40, true);
    assert!(!gic.irq_asserted(0), "active and pending");
    put(&mut gic, 0, EOIR1, 40);
    assert_eq!(get(&mut gic, 0, IAR1), 40, "an edge while active is not lost");
    put(&mut gic, 0, EOIR1, 40);
    assert!(!gic.irq_asserted(0), "a high line is no new edge");
    gic.set_level(40, false);
    gic.pulse(40);
    gic.dist_write(ICPENDR + 4, 4, 1 << 8);
    assert!(!gic.irq_asserted(0), "an edge can be cleared");
}

#[test]
fn active_state_can_be_written() {
    // 12.9 GICD_ISACTIVER, GICD_ICACTIVER.
    let mut gic = ready(1);
    gic.set_level(40, true);
    gic.dist_write(ISACTIVER + 4, 4, 1 << 8);
    assert!(!gic.irq_asserted(0));
    gic.dist_write(ICACTIVER + 4, 4, 1 << 8);
    assert!(gic.irq_asserted(0));
}

#[test]
fn sgis_reach_the_listed_the_others_and_self() {
    // 4.4; 12.2 ICC_SGI1R_EL1.
    let mut gic = ready(4);
    put(&mut gic, 1, SGI1R, 5 << 24 | 0b1010);
    assert_eq!(gic.irq_lines(), 0b1010);
    for cpu in [1, 3] {
        assert_eq!(get(&mut gic, cpu, IAR1), 5);
        put(&mut gic, cpu, EOIR1, 5);
    }
    put(&mut gic, 2, SGI1R, 1 << 40 | 3 << 24 | 0xffff);
    assert_eq!(gic.irq_lines(), 0b1011, "IRM: all but self");
    let mut gic = ready(2);
    for elsewhere in [1 << 16, 1 << 32, 1 << 44, 1 << 48] {
        put(&mut gic, 0, SGI1R, elsewhere | 0b11);
    }
    put(&mut gic, 0, SGI1R, 0xfffc);
    assert_eq!(gic.irq_lines(), 0, "nobody has that affinity");
    put(&mut gic, 0, SGI0R, 0b11);
    assert_eq!(gic.irq_lines(), 0, "the SGI is in Group 1");
    assert_eq!(gic.redist_read(SGI_BASE + ISPENDR, 4), 0);
}

#[test]
fn private_interrupts_are_private() {
    // 4.3.
    let mut gic = ready(2);
    gic.set_ppi_level(1, 27, true);
    assert_eq!(gic.irq_lines(), 0b10);
    assert_eq!(get(&mut gic, 0, IAR1), 1023);
    assert_eq!(get(&mut gic, 1, IAR1), 27);
    gic.set_level(27, true);
    gic.set_ppi_level(0, 5, true);
    gic.set_ppi_level(0, 40, true);
    gic.set_ppi_level(2, 27, true);
    gic.set_level(128, true);
    gic.set_level(u32::MAX, true);
    assert_eq!(gic.irq_lines(), 0, "not SPIs, not PPIs, not vCPUs");
}

#[test]
fn spis_go_where_they_are_routed() {
    // 2.3.1.
    let mut gic = ready(3);
    gic.set_level(40, true);
    assert_eq!(gic.irq_lines(), 0b001);
    gic.dist_write(IROUTER + 8 * 40, 8, 2);
    assert_eq!(gic.irq_lines(), 0b100);
    gic.dist_write(IROUTER + 8 * 40, 8, 0x100);
    assert_eq!(gic.irq_lines(), 0, "no vCPU has Aff1 1");
    // 2.3.2: 1-of-N takes a participating one, ours the lowest-numbered.
    gic.dist_write(IROUTER + 8 * 40, 8, 1 << 31);
    assert_eq!(gic.irq_lines(), 0b001);
    put(&mut gic, 0, IGRPEN1, 0);
    assert_eq!(gic.irq_lines(), 0b010);
    gic.redist_write(GICR_STRIDE + 0x14, 4, 2);
    assert_eq!(gic.irq_lines(), 0b100);
    assert_eq!(get(&mut gic, 2, IAR1), 40);
    put(&mut gic, 0, IGRPEN1, 1);
    assert_eq!(gic.irq_lines(), 0, "active, for whichever vCPU");
    put(&mut gic, 2, EOIR1, 40);
    assert_eq!(gic.irq_lines(), 0b001);
}

#[test]
fn an_spi_acknowledged_by_one_vcpu_can_be_deactivated_by_another() {
    // 12.2 ICC_DIR_EL1.
    let mut gic = ready(2);
    put(&mut gic, 1, CTLR, 2);
    gic.set_level(40, true);
    assert_eq!(get(&mut gic, 0, IAR1), 40);
    put(&mut gic, 1, DIR, 40);
    assert_eq!(gic.dist_read(ISACTIVER + 4, 4), 0);
    assert_eq!(get(&mut gic, 0, RPR), 0xa0, "the priority still runs");
}

#[test]
fn group_0_is_the_fiq_and_has_its_own_registers() {
    // 4.6.2: with a single security state, Group 0 signals FIQ.
    let mut gic = ready(1);
    gic.dist_write(IGROUPR + 4, 4, !(1 << 8));
    gic.dist_write(0, 4, 3);
    gic.set_level(40, true);
    gic.set_level(41, true);
    assert!(gic.irq_asserted(0), "a disabled group hides nothing of the other");
    put(&mut gic, 0, IGRPEN0, 1);
    assert!(gic.fiq_asserted(0) && !gic.irq_asserted(0));
    assert_eq!(get(&mut gic, 0, IAR1), 1023, "the next interrupt is in Group 0");
    assert_eq!((get(&mut gic, 0, HPPIR0), get(&mut gic, 0, HPPIR1)), (40, 1023));
    assert_eq!(get(&mut gic, 0, IAR0), 40);
    gic.set_level(40, false);
    put(&mut gic, 0, EOIR1, 40);
    assert_eq!(get(&mut gic, 0, RPR), 0xa0, "that was the other group's register");
    put(&mut gic, 0, EOIR0, 40);
    assert_eq!(get(&mut gic, 0, RPR), 0xff);
    assert_eq!(gic.dist_read(ISACTIVER + 4, 4), 0);
    assert_eq!(get(&mut gic, 0, IAR1), 41);
}

#[test]
fn save_and_load_in_the_middle_of_an_interrupt() {
    let mut gic = ready(2);
    gic.set_level(40, true);
    gic.set_ppi_level(0, 27, true);
    assert_eq!(get(&mut gic, 0, IAR1), 27);
    put(&mut gic, 0, SGI1R, 3 << 24 | 0b10);

    let json = serde_json::to_string(&gic.save()).unwrap();
    let saved: GicState = serde_json::from_str(&json).unwrap();
    let mut clone = Gic::new(2);
    clone.load(&saved).unwrap();
    assert_eq!(clone.save(), gic.save());

    for gic in [&mut gic, &mut clone] {
        assert_eq!(gic.irq_lines(), 0b10);
        assert_eq!(get(gic, 1, IAR1), 3);
        gic.set_ppi_level(0, 27, false);
        put(gic, 0, EOIR1, 27);
        assert_eq!(get(gic, 0, IAR1), 40);
    }
    assert_eq!(clone.save(), gic.save());
}

#[test]
fn a_state_that_does_not_fit_is_refused_and_changes_nothing() {
    let mut gic = ready(2);
    gic.set_level(40, true);
    let good = gic.save();
    assert_eq!(Gic::new(1).load(&good), Err(GicError::VcpuCount { expected: 1, found: 2 }), "for two vCPUs");
    let damage: [fn(&mut GicState); 9] = [
        |s| s.distributor.spis[0].interrupts.priority[3] = 0xa1,
        |s| s.distributor.spis[2].route[31] = 1 << 32,
        |s| s.redistributors[1].interrupts.priority[31] = 1,
        |s| s.redistributors[0].interrupts.edge = 0,
        |s| s.redistributors[0].interrupts.level = 1,
        |s| s.cpu_interfaces[1].priority_mask = 0xff,
        |s| s.cpu_interfaces[0].bpr0 = 1,
        |s| s.cpu_interfaces[0].bpr1 = 8,
        |s| s.redistributors.truncate(1),
    ];
    for (n, damage) in damage.iter().enumerate() {
        let mut bad = good.clone();
        damage(&mut bad);
        assert!(gic.load(&bad).is_err(), "damage {n}");
        assert_eq!(gic.save(), good);
        assert!(gic.irq_asserted(0));
    }
}

#[test]
fn resetting_a_cpu_interface_forgets_its_priorities() {
    let mut gic = ready(2);
    gic.set_ppi_level(1, 27, true);
    assert_eq!(get(&mut gic, 1, IAR1), 27);
    gic.reset_cpu_interface(1);
    assert_eq!(gic.save().cpu_interfaces[1], CpuInterfaceState::default());
    assert_eq!(gic.redist_read(GICR_STRIDE + SGI_BASE + ISACTIVER, 4), 1 << 27);
}
