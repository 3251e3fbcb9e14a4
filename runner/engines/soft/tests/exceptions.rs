//! Exceptions: what each leaves in ESR, FAR, ELR and SPSR and which vector it enters, worked out by hand from the
//! Arm ARM (D1.3 and D24.2.40), and when interrupts are taken.

mod common;

use common::guest::*;
use machine::clock::Ticks;
use machine::cpu_state::{CpuState, TimerState};
use machine::engine::{Exit, Resume, Vcpu};
use machine::layout::COUNTER_HZ;

/// Vector offsets (Arm ARM D1.3.1.5): current level with SP_EL0 and with SP_ELx, lower level.
const CURRENT_SP0: u64 = 0x000;
const CURRENT_SPX: u64 = 0x200;
const LOWER: u64 = 0x400;
const IRQ: u64 = 0x080;

/// SPSR bits (Arm ARM C5.2.18).
const PAN: u64 = 1 << 22;
const IL: u64 = 1 << 20;
const MASKED_I: u64 = 1 << 7;

struct Expected {
    vector: u64,
    esr: u64,
    far: Option<u64>,
    elr: u64,
}

/// Runs `words` from `start` and checks the exception that they end with.
fn check(what: &str, words: &[u32], start: &CpuState, expected: Expected) -> CpuState {
    const OLD_FAR: u64 = 0xdead_0000_0000_beef;
    let mut guest = Guest::new();
    guest.put(if start.pstate & 0xf == 0 { USER_CODE } else { CODE }, words);
    let mut start = start.clone();
    start.sys.far_el1 = OLD_FAR;
    let (exit, end) = guest.run(&start, 1000);
    assert!(matches!(exit, Exit::Hypercall(_)), "{what}: {exit:?}");
    assert_eq!(end.pc, VECTORS + expected.vector, "{what}: the vector");
    assert_eq!(
        end.sys.esr_el1, expected.esr,
        "{what}: ESR is {:#x}, not {:#x}",
        end.sys.esr_el1, expected.esr
    );
    assert_eq!(end.sys.far_el1, expected.far.unwrap_or(OLD_FAR), "{what}: FAR is {:#x}", end.sys.far_el1);
    assert_eq!(end.sys.elr_el1, expected.elr, "{what}: ELR is {:#x}", end.sys.elr_el1);
    assert_eq!(end.pstate & 0x3cf, 0x3c5, "{what}: EL1h with D, A, I and F masked");
    end
}

fn with_x0(mut state: CpuState, x0: u64) -> CpuState {
    state.x[0] = x0;
    state
}

const LDR_X1_X0: u32 = 0xf940_0001;
const STR_X1_X0: u32 = 0xf900_0001;
const LDTR_X1_X0: u32 = 0xf840_0801;
const LDXR_X1_X0: u32 = 0xc85f_7c01;
const STXR_W2_X1_X0: u32 = 0xc802_7c01;
const STLR_X1_X0: u32 = 0xc89f_fc01;
const LDADD_X1_X2_X0: u32 = 0xf821_0002;
const CASP_X2_X4_X0: u32 = 0x4822_7c04;
const BR_X0: u32 = 0xd61f_0000;
const DC_ZVA_X0: u32 = 0xd50b_7420;
const IC_IVAU_X0: u32 = 0xd50b_7520;
const DC_CVAC_X0: u32 = 0xd50b_7a20;
const MRS_X3_CTR: u32 = 0xd53b_0023;
const MSR_DAIFSET_2: u32 = 0xd503_42df;
const WFI: u32 = 0xd503_207f;
const WFE: u32 = 0xd503_205f;
const FMOV_D0_D1: u32 = 0x1e60_4020;
const SMC: u32 = 0xd400_0003;
const SVC_1234: u32 = 0xd402_4681;
const BRK_42: u32 = 0xd420_0840;
const UDF: u32 = 0x0000_0000;
/// RDM's SQRDMLAH: allocated, but not in the feature set.
const SQRDMLAH: u32 = 0x2e42_8420;

#[test]
fn calls_and_traps_of_the_current_level() {
    let flags = CpuState { pstate: 0xb000_03c5, ..at_el1(CODE) };
    let end = check(
        "SVC",
        &[NOP, SVC_1234],
        &flags,
        Expected { vector: CURRENT_SPX, esr: 0x5600_1234, far: None, elr: CODE + 8 },
    );
    assert_eq!(end.sys.spsr_el1, 0xb000_03c5);
    let stack0 = CpuState { pstate: 0x4000_0004, ..at_el1(CODE) };
    let end = check(
        "SVC on SP_EL0",
        &[SVC_1234],
        &stack0,
        Expected { vector: CURRENT_SP0, esr: 0x5600_1234, far: None, elr: CODE + 4 },
    );
    assert_eq!(end.sys.spsr_el1, 0x4000_0004);
    for (what, word, esr) in
        [("BRK", BRK_42, 0xf200_0042), ("UDF", UDF, 0x0200_0000), ("SMC", SMC, 0x0200_0000)]
    {
        let expected = Expected { vector: CURRENT_SPX, esr, far: None, elr: CODE };
        check(what, &[word], &at_el1(CODE), expected);
    }
    let mut no_fp = at_el1(CODE);
    no_fp.sys.cpacr_el1 = 0;
    check(
        "FP trapped",
        &[FMOV_D0_D1],
        &no_fp,
        Expected { vector: CURRENT_SPX, esr: 0x1fe0_0000, far: None, elr: CODE },
    );
}

#[test]
fn calls_and_traps_of_el0() {
    for (what, word, esr, after) in [
        ("SVC", SVC_1234, 0x5600_1234, 4),
        ("BRK", BRK_42, 0xf200_0042, 0),
        ("UDF", UDF, 0x0200_0000, 0),
        ("an instruction of an absent feature", SQRDMLAH, 0x0200_0000, 0),
        ("HVC", HVC, 0x0200_0000, 0),
        ("SMC", SMC, 0x0200_0000, 0),
        ("ERET", ERET, 0x0200_0000, 0),
        ("MRS of ESR_EL1", 0xd538_5200, 0x0200_0000, 0),
        ("MSR PAN", 0xd500_419f, 0x0200_0000, 0),
        ("TLBI", 0xd508_871f, 0x0200_0000, 0),
        // ISS of class 0x18: Op0 3, Op2 1, Op1 3, CRn 0, Rt 3, CRm 0, a read.
        ("MRS of CTR_EL0", MRS_X3_CTR, 0x6232_c061, 0),
        // Op0 0, Op2 6, Op1 3, CRn 4, Rt 31, CRm 2, a write.
        ("MSR DAIFSet", MSR_DAIFSET_2, 0x620c_d3e4, 0),
        // Op0 1, Op2 1, Op1 3, CRn 7, Rt 0, CRm 4, a write.
        ("DC ZVA", DC_ZVA_X0, 0x6212_dc08, 0),
        ("WFI", WFI, 0x07e0_0000, 0),
        ("WFE", WFE, 0x07e0_0001, 0),
    ] {
        let mut start = with_x0(at_el0(USER_CODE), USER_DATA);
        start.pstate |= 0x6000_0000;
        let expected = Expected { vector: LOWER, esr, far: None, elr: USER_CODE + after };
        let end = check(what, &[word], &start, expected);
        assert_eq!(end.sys.spsr_el1, 0x6000_0000, "{what}");
    }
    let mut el1_only = at_el0(USER_CODE);
    el1_only.sys.cpacr_el1 = 1 << 20;
    check(
        "FP trapped for EL0 alone",
        &[FMOV_D0_D1],
        &el1_only,
        Expected { vector: LOWER, esr: 0x1fe0_0000, far: None, elr: USER_CODE },
    );
}

/// A load or store through a misaligned SP faults where SCTLR_EL1 asks for it, EC 0x26 without a syndrome
/// (Arm ARM D1.3.8.2); arithmetic on it does not.
#[test]
fn stack_pointer_alignment() {
    const LDR_X0_SP: u32 = 0xf940_03e0;
    const STP_X29_X30_SP_PRE: u32 = 0xa9bf_7bfd;
    const LD1_V0_SP: u32 = 0x4c40_7fe0;
    const SUB_SP_8: u32 = 0xd100_23ff;
    const ADD_SP_8: u32 = 0x9100_23ff;
    const SA: u64 = 1 << 3;
    const SA0: u64 = 1 << 4;
    let mut el1 = at_el1(CODE);
    el1.sp_el1 = PRIVATE + 64;
    el1.sys.sctlr_el1 |= SA;
    for access in [LDR_X0_SP, STP_X29_X30_SP_PRE, LD1_V0_SP] {
        let expected = Expected { vector: CURRENT_SPX, esr: 0x9a00_0000, far: None, elr: CODE + 12 };
        let words = [SUB_SP_8, NOP, NOP, access];
        let end = check("through a misaligned SP", &words, &el1, expected);
        assert_eq!(end.sp_el1, PRIVATE + 56);
    }
    // Aligned again before it is used, and not asked for.
    let expected = Expected { vector: CURRENT_SPX, esr: 0x5600_1234, far: None, elr: CODE + 16 };
    check("mended", &[SUB_SP_8, ADD_SP_8, LDR_X0_SP, SVC_1234], &el1, expected);
    el1.sys.sctlr_el1 &= !SA;
    let expected = Expected { vector: CURRENT_SPX, esr: 0x5600_1234, far: None, elr: CODE + 12 };
    check("not checked", &[SUB_SP_8, LDR_X0_SP, SVC_1234], &el1, expected);

    let mut el0 = at_el0(USER_CODE);
    el0.sp_el0 = USER_DATA + 8;
    el0.sys.sctlr_el1 |= SA0;
    let expected = Expected { vector: LOWER, esr: 0x9a00_0000, far: None, elr: USER_CODE };
    check("EL0", &[LDR_X0_SP], &el0, expected);
}

#[test]
fn data_aborts() {
    // DFSC 0b0001LL translation, 0b0010LL access flag, 0b0011LL permission, 0b100001 alignment; bit 6 is WnR,
    // bit 8 CM (Arm ARM D24.2.40).
    for (what, word, va, iss) in [
        ("a load at level 3", LDR_X1_X0, UNMAPPED + 0x18, 0x07),
        ("a store at level 3", STR_X1_X0, UNMAPPED + 0x18, 0x47),
        ("a load at level 2", LDR_X1_X0, 0x4040_0000, 0x06),
        ("a load at level 1", LDR_X1_X0, 0x8000_0000, 0x05),
        // Before the first level of a walk: as if at level 0 (Arm ARM D8.14.6).
        ("a load above the lower half", LDR_X1_X0, 1 << 39, 0x04),
        ("a load with the upper half disabled", LDR_X1_X0, 0xffff_ffff_ffff_f000, 0x04),
        ("no access flag", LDR_X1_X0, UNACCESSED, 0x0b),
        ("a store to a read-only page", STR_X1_X0, READ_ONLY, 0x4f),
        ("an unprivileged load", LDTR_X1_X0, PRIVATE, 0x0f),
        ("an unaligned exclusive", LDXR_X1_X0, PRIVATE + 4, 0x21),
        ("an unaligned release", STLR_X1_X0, PRIVATE + 1, 0x61),
        ("an unaligned atomic", LDADD_X1_X2_X0, PRIVATE + 4, 0x21),
        ("an unaligned pair", CASP_X2_X4_X0, PRIVATE + 8, 0x21),
        ("an atomic at level 3", LDADD_X1_X2_X0, UNMAPPED, 0x07),
        ("an atomic on a read-only page", LDADD_X1_X2_X0, READ_ONLY, 0x4f),
        ("a store-exclusive", STXR_W2_X1_X0, UNMAPPED, 0x47),
        ("DC ZVA", DC_ZVA_X0, UNMAPPED + 0x23, 0x47),
        ("IC IVAU", IC_IVAU_X0, UNMAPPED + 0x23, 0x147),
        ("DC CVAC", DC_CVAC_X0, UNMAPPED + 0x23, 0x147),
    ] {
        let expected = Expected { vector: CURRENT_SPX, esr: 0x9600_0000 | iss, far: Some(va), elr: CODE + 4 };
        let end = check(what, &[NOP, word], &with_x0(at_el1(CODE), va), expected);
        assert_eq!(end.x[0], va, "{what}: the base is as it was");
        assert_eq!(end.x[1], 0, "{what}: nothing was loaded");
    }
    for (what, word, va, iss) in [
        ("a load of EL1's", LDR_X1_X0, PRIVATE, 0x0f),
        ("a store to a read-only page", STR_X1_X0, READ_ONLY, 0x4f),
        ("a load at level 3", LDR_X1_X0, UNMAPPED, 0x07),
    ] {
        let expected = Expected { vector: LOWER, esr: 0x9200_0000 | iss, far: Some(va), elr: USER_CODE };
        check(what, &[word], &with_x0(at_el0(USER_CODE), va), expected);
    }
}

#[test]
fn pan_keeps_el1_out_of_what_el0_reads() {
    let mut start = with_x0(at_el1(CODE), USER_DATA);
    start.pstate |= PAN;
    let expected = Expected { vector: CURRENT_SPX, esr: 0x9600_000f, far: Some(USER_DATA), elr: CODE + 4 };
    let end = check("a load with PAN", &[LDTR_X1_X0, LDR_X1_X0], &start, expected);
    assert_eq!(end.sys.spsr_el1, PAN | 0x3c5);
    // With SCTLR_EL1.SPAN clear, taking an exception sets PAN.
    let mut start = at_el1(CODE);
    start.sys.sctlr_el1 &= !(1 << 23);
    let expected = Expected { vector: CURRENT_SPX, esr: 0x5600_1234, far: None, elr: CODE + 4 };
    let end = check("SVC with SPAN clear", &[SVC_1234], &start, expected);
    assert_eq!((end.sys.spsr_el1 & PAN, end.pstate & PAN), (0, PAN));
}

#[test]
fn instruction_aborts() {
    for (what, target, esr, far) in [
        ("an unmapped page", UNMAPPED, 0x8600_0007, Some(UNMAPPED)),
        ("a page not to be executed", NO_EXECUTE, 0x8600_000f, Some(NO_EXECUTE)),
        ("what EL0 can write", USER_DATA, 0x8600_000f, Some(USER_DATA)),
        ("no address", 1 << 45, 0x8600_0004, Some(1 << 45)),
        ("a misaligned PC", CODE + 2, 0x8a00_0000, Some(CODE + 2)),
    ] {
        let expected = Expected { vector: CURRENT_SPX, esr, far, elr: target };
        check(what, &[BR_X0], &with_x0(at_el1(CODE), target), expected);
    }
    for (what, target, esr) in
        [("an unmapped page", UNMAPPED, 0x8200_0007), ("EL1's page", CODE, 0x8200_000f)]
    {
        let expected = Expected { vector: LOWER, esr, far: Some(target), elr: target };
        check(what, &[BR_X0], &with_x0(at_el0(USER_CODE), target), expected);
    }
    // Without the MMU nothing but RAM can be fetched from: an external abort, or an address size fault at level 0.
    for (what, target, esr) in [("a device", DEVICE, 0x8600_0010), ("no address", 1 << 45, 0x8600_0000)] {
        let mut off = with_x0(at_el1(CODE), target);
        off.sys.sctlr_el1 &= !1;
        let expected = Expected { vector: CURRENT_SPX, esr, far: Some(target), elr: target };
        check(what, &[BR_X0], &off, expected);
    }
}

#[test]
fn exception_returns() {
    // To EL0, which calls back.
    let mut guest = Guest::new();
    guest.put(CODE, &[ERET]);
    guest.put(USER_CODE, &[SVC_1234]);
    let mut start = at_el1(CODE);
    (start.sp_el0, start.sp_el1) = (0x1000, 0x2000);
    (start.sys.elr_el1, start.sys.spsr_el1) = (USER_CODE, 0x9000_0000);
    let (_, end) = guest.run(&start, 100);
    assert_eq!((end.pc, end.sys.elr_el1), (VECTORS + LOWER, USER_CODE + 4));
    assert_eq!((end.sys.spsr_el1, end.sp_el0, end.sp_el1), (0x9000_0000, 0x1000, 0x2000));

    // Illegal: M is AArch32's, or no level's. EL1h stays and IL is set (Arm ARM D1.3.4).
    for mode in [0x10, 0x09, 0x0d, 0x0f, 0x01] {
        let mut start = at_el1(CODE);
        (start.sys.elr_el1, start.sys.spsr_el1) = (CODE + 0x40, 0x2000_0000 | mode);
        let expected = Expected { vector: CURRENT_SPX, esr: 0x3a00_0000, far: None, elr: CODE + 0x40 };
        let end = check("an illegal return", &[ERET], &start, expected);
        assert_eq!(end.sys.spsr_el1, 0x2000_0000 | IL | 5, "mode {mode:#x}");
        assert_eq!(end.pstate & IL, 0);
    }
    // The faults of the fetch come before the illegal state.
    let mut start = at_el1(CODE);
    (start.sys.elr_el1, start.sys.spsr_el1) = (UNMAPPED, 0x0f);
    let expected = Expected { vector: CURRENT_SPX, esr: 0x8600_0007, far: Some(UNMAPPED), elr: UNMAPPED };
    check("an illegal return to nowhere", &[ERET], &start, expected);
}

#[test]
fn an_access_over_two_pages_happens_wholly_or_not_at_all() {
    let mut guest = Guest::new();
    let va = UNMAPPED - 3;
    // STR X1, [X0], #8; STP X1, X2, [X0, #-8]!; LDR X1, [X0, #8]!; STP W1, W2, [X0, #-8]!
    for (word, va) in [(0xf800_8401, va), (0xa9bf_8801, va + 8), (0xf840_8c01, va - 8), (0x29bf_0801, va + 8)]
    {
        guest.put(CODE, &[word]);
        guest.memory.write(UNMAPPED - 8, &[0x55; 8]).unwrap();
        let mut start = with_x0(at_el1(CODE), va);
        (start.x[1], start.x[2]) = (u64::MAX, u64::MAX);
        let (_, end) = guest.run(&start, 10);
        assert_eq!(end.sys.far_el1, UNMAPPED, "{word:08x}: the first byte that faults");
        assert_eq!((end.x[0], end.x[1]), (va, u64::MAX), "{word:08x}");
        let mut bytes = [0; 8];
        guest.memory.read(UNMAPPED - 8, &mut bytes).unwrap();
        assert_eq!(bytes, [0x55; 8], "{word:08x}: nothing was stored");
    }
    // Over two pages that are there.
    guest.put(CODE, &[STR_X1_X0, 0xf940_0002]);
    let mut start = with_x0(at_el1(CODE), PRIVATE - 5);
    start.x[0] = RAM_BASE_PAGES - 5;
    start.x[1] = 0x0807_0605_0403_0201;
    let (_, end) = guest.run(&start, 2);
    assert_eq!(end.x[2], 0x0807_0605_0403_0201);
    let mut bytes = [0; 8];
    guest.memory.read(RAM_BASE_PAGES - 5, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 3, 4, 5, 6, 7, 8]);
}

/// Where two pages of EL1's meet.
const RAM_BASE_PAGES: u64 = CODE + 0x8000;

#[test]
fn device_accesses_leave_and_come_back() {
    let mut guest = Guest::new();
    let run = |guest: &mut Guest, word: u32, x0: u64| {
        guest.put(CODE, &[word, HVC]);
        let mut start = with_x0(at_el1(CODE), x0);
        (start.x[1], start.x[2]) = (0x1111_2222_3333_4444, 0x5555_6666_7777_8888);
        guest.run(&start, 100).0
    };
    assert_eq!(run(&mut guest, 0xb940_0001, DEVICE + 4), Exit::MmioRead { gpa: DEVICE + 4, size: 4 });
    // LDRSW's answer is extended by the instruction.
    assert_eq!(run(&mut guest, 0xb980_0001, DEVICE), Exit::MmioRead { gpa: DEVICE, size: 4 });
    assert!(matches!(guest.vcpu.run(Resume::Value(0x8000_0001), 0, 100), Exit::Hypercall(_)));
    assert_eq!(guest.vcpu.save().x[1], 0xffff_ffff_8000_0001);
    // STP of two words, only aligned to words: two accesses of four bytes.
    let low = Exit::MmioWrite { gpa: DEVICE + 4, size: 4, value: 0x3333_4444 };
    assert_eq!(run(&mut guest, 0x2900_0801, DEVICE + 4), low);
    let high = Exit::MmioWrite { gpa: DEVICE + 8, size: 4, value: 0x7777_8888 };
    assert_eq!(guest.vcpu.run(Resume::Go, 0, 100), high);
    assert!(matches!(guest.vcpu.run(Resume::Go, 0, 100), Exit::Hypercall(_)));
    // Device memory does not do unaligned accesses.
    assert!(matches!(run(&mut guest, LDR_X1_X0, DEVICE + 4), Exit::Hypercall(_)));
    assert_eq!(guest.vcpu.save().sys.esr_el1, 0x9600_0021);
    // Nothing there: a synchronous external abort.
    for (word, esr) in [(LDR_X1_X0, 0x9600_0010), (STR_X1_X0, 0x9600_0050)] {
        run(&mut guest, word, DEVICE + 8);
        assert!(matches!(guest.vcpu.run(Resume::Fault, 0, 100), Exit::Hypercall(_)));
        let end = guest.vcpu.save();
        assert_eq!((end.sys.esr_el1, end.sys.far_el1, end.sys.elr_el1), (esr, DEVICE + 8, CODE));
    }
}

#[test]
fn an_interrupt_waits_for_an_answered_instruction() {
    let mut guest = Guest::new();
    guest.put(CODE, &[STR_X1_X0, NOP]);
    let mut start = with_x0(at_el1(CODE), DEVICE);
    start.pstate &= !MASKED_I;
    assert!(matches!(guest.run(&start, 100).0, Exit::MmioWrite { .. }));
    // The write itself raised it.
    guest.vcpu.set_irq(true);
    assert!(matches!(guest.vcpu.run(Resume::Go, 0, 100), Exit::Hypercall(_)), "the write is not made again");
    let end = guest.vcpu.save();
    assert_eq!((end.pc, end.sys.elr_el1), (VECTORS + CURRENT_SPX + IRQ, CODE + 4));
}

#[test]
fn a_guest_without_vectors_spends_its_budget() {
    for vbar in [UNMAPPED, 1 << 47, NO_EXECUTE, CODE] {
        let mut guest = Guest::new();
        guest.put(CODE, &[UDF; 512]);
        let mut start = at_el1(CODE);
        start.sys.vbar_el1 = vbar;
        assert_eq!(guest.run(&start, 10_000).0, Exit::Budget, "vectors at {vbar:#x}");
        assert_eq!(guest.vcpu.retired(), 10_000);
    }
}

/// A program that does a bit of everything that ends a block: calls, exceptions, masks, memory, the counter.
fn busy_program(guest: &Guest) {
    const LOOP: [u32; 20] = [
        0x9100_0673, // add x19, x19, #1
        0xf100_0694, // subs x20, x20, #1
        0x5400_0061, // b.ne +12
        0xd280_0154, // mov x20, #10
        0xd402_4681, // svc #0x1234
        0xf800_8413, // str x19, [x0], #8
        0xf85f_8015, // ldur x21, [x0, #-8]
        0xaa01_03e0, // mov x0, x1
        0xd503_42df, // msr daifset, #2
        0x8b15_02d6, // add x22, x22, x21
        0xcb16_02f7, // sub x23, x23, x22
        0xd503_42ff, // msr daifclr, #2
        0xd53b_e058, // mrs x24, cntvct_el0
        0xca18_0339, // eor x25, x25, x24
        0x3600_0053, // tbz w19, #0, +8
        0x9400_0003, // bl +12
        0xd503_3fdf, // isb
        0x17ff_ffef, // b -68
        NOP,
        0xd65f_03c0, // ret
    ];
    guest.put(CODE, &LOOP);
    // The handlers count and return; the first keeps what it was.
    guest.put(VECTORS + CURRENT_SPX, &[0x9100_079c, ERET]); // add x28, x28, #1
    guest.put(VECTORS + CURRENT_SPX + IRQ, &[0x9100_07bd, 0xd538_403b, ERET]); // add x29, x29, #1; mrs x27, elr_el1
}

fn busy_start() -> CpuState {
    let mut start = at_el1(CODE);
    start.pstate &= !MASKED_I;
    (start.x[0], start.x[1], start.x[20]) = (PRIVATE, PRIVATE, 10);
    start
}

/// Runs `until` instructions in slices, the interrupt's level following `irq_at`, and keeps the state at each
/// multiple of 500.
fn sliced(slice: u64, until: u64, irq_at: impl Fn(u64) -> bool) -> Vec<CpuState> {
    let mut guest = Guest::new();
    busy_program(&guest);
    guest.vcpu.load(&busy_start()).unwrap();
    let mut states = Vec::new();
    while guest.vcpu.retired() < until {
        let done = guest.vcpu.retired();
        guest.vcpu.set_irq(irq_at(done));
        // The level changes at multiples of 50 alone.
        let budget = slice.min(50 - done % 50);
        assert_eq!(guest.vcpu.run(Resume::Go, done, budget), Exit::Budget);
        assert_eq!(guest.vcpu.retired(), done + budget, "the whole budget is spent");
        if guest.vcpu.retired().is_multiple_of(500) {
            states.push(guest.vcpu.save());
        }
    }
    states
}

#[test]
fn slices_of_the_budget_change_nothing() {
    const UNTIL: u64 = 20_000;
    // Fifty instructions of each period the interrupt is asserted; handlers do not quench it.
    for period in [100, 150, 450, u64::MAX] {
        let irq_at = |done: u64| done >= 50 && done % period < 50;
        let whole = sliced(1000, UNTIL, irq_at);
        let last = whole.last().expect("states were kept");
        assert!(last.x[19] > 300 && last.x[28] > 30, "the program makes progress: {:x?}", last.x);
        assert_eq!(last.x[29] > 0, period != u64::MAX, "interrupts were taken");
        for slice in [1, 7, 64] {
            let parts = sliced(slice, UNTIL, irq_at);
            for (index, (a, b)) in parts.iter().zip(&whole).enumerate() {
                assert_eq!(a, b, "slices of {slice}, after {} instructions", (index + 1) * 500);
            }
        }
    }
}

#[test]
fn an_interrupt_is_taken_at_the_instruction_at_which_it_comes() {
    let (mut masked, mut taken) = (0, 0);
    for instructions in 0..300 {
        let mut guest = Guest::new();
        busy_program(&guest);
        guest.vcpu.load(&busy_start()).unwrap();
        guest.vcpu.run(Resume::Go, 0, instructions);
        let before = guest.vcpu.save();
        guest.vcpu.set_irq(true);
        guest.vcpu.run(Resume::Go, instructions, 0);
        let after = guest.vcpu.save();
        if before.pstate & MASKED_I != 0 {
            masked += 1;
            assert_eq!(after, before, "masked after {instructions}");
        } else {
            taken += 1;
            assert_eq!(after.pc, VECTORS + CURRENT_SPX + IRQ);
            assert_eq!((after.sys.elr_el1, after.sys.spsr_el1), (before.pc, before.pstate));
        }
    }
    assert!(masked > 30 && taken > 100, "both were met: {masked} and {taken}");
}

#[test]
fn a_run_ends_at_the_instruction_at_which_the_timer_rises() {
    let mut guest = Guest::new();
    guest.put(CODE, &[0x1400_0000]);
    let mut start = at_el1(CODE);
    const CVAL: Ticks = 12_345;
    start.timer = TimerState { ctl: 1, cval: CVAL };
    guest.vcpu.load(&start).unwrap();
    let rises = (CVAL * 1_000_000_000).div_ceil(COUNTER_HZ);
    assert_eq!(guest.vcpu.run(Resume::Go, 1000, 1 << 40), Exit::Budget);
    assert_eq!(guest.vcpu.retired(), rises - 1000);
}
