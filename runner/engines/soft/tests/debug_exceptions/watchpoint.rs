//! Watchpoint exceptions (Arm ARM D2.10).

use super::*;
use machine::engine::{Resume, Vcpu};

/// EC 0x34 or 0x35, IL, DFSC 0b100010; WnR and CM.
const HIT_EL0: u64 = 0xd200_0022;
const HIT_EL1: u64 = 0xd600_0022;
const WNR: u64 = 1 << 6;
const CM: u64 = 1 << 8;

/// DBGWCR_EL1.LSC.
const LOADS: u64 = 1 << 3;
const STORES: u64 = 2 << 3;
const BOTH: u64 = 3 << 3;
/// DBGWCR_EL1.BAS of a whole doubleword, and of bytes of one.
const ALL: u64 = 0xff << 5;
const fn bytes(first: u64, count: u64) -> u64 {
    ((1 << count) - 1) << first << 5
}
/// DBGWCR_EL1.MASK.
const fn mask(bits: u64) -> u64 {
    ALL | bits << 24
}

const EVERYBODY: u64 = E | EL0 | EL1;

const LDTR_X1_X0: u32 = 0xf840_0801;
const STTR_X1_X0: u32 = 0xf800_0801;
const LDRB_W1_X0: u32 = 0x3940_0001;
const STRB_W1_X0: u32 = 0x3900_0001;
const STRH_W1_X0: u32 = 0x7900_0001;
const STR_W1_X0: u32 = 0xb900_0001;
const LDP_X1_X2_X0: u32 = 0xa940_0801;
const STP_X1_X2_X0: u32 = 0xa900_0801;
const STP_W1_W2_X0: u32 = 0x2900_0801;
const LDP_W1_W2_X0: u32 = 0x2940_0801;
const LDR_Q1_X0: u32 = 0x3dc0_0001;
const STR_Q1_X0: u32 = 0x3d80_0001;
const STP_Q1_Q2_X0: u32 = 0xad00_0801;
const LD1_4_X0: u32 = 0x4c40_2001;
const ST1_B3_X0: u32 = 0x0d00_0c01;
const LDXR_X1_X0: u32 = 0xc85f_7c01;
const STXR_W2_X1_X0: u32 = 0xc802_7c01;
const LDAXP_X1_X3_X0: u32 = 0xc87f_8c01;
const LDADD_X1_X2_X0: u32 = 0xf821_0002;
const CAS_X3_X1_X0: u32 = 0xc8a3_7c01;
const CASP_X2_X4_X0: u32 = 0x4822_7c04;
const LDAR_X1_X0: u32 = 0xc8df_fc01;
const STLR_X1_X0: u32 = 0xc89f_fc01;
const DC_ZVA_X0: u32 = 0xd50b_7420;
const DC_IVAC_X0: u32 = 0xd508_7620;
const DC_CVAC_X0: u32 = 0xd50b_7a20;
const PRFM_X0: u32 = 0xf980_0000;
const STR_X1_X0_POST: u32 = 0xf800_8401;
const LDR_X1_X0_PRE: u32 = 0xf840_8c01;

/// Where the watched data is: anywhere in the page that EL0 has.
const DATA: u64 = USER_DATA + 0x100;
const FILL: u8 = 0x5a;

/// `start` with watchpoint `n` set, and X0 the address of the access.
fn with(start: CpuState, n: usize, value: u64, control: u64, x0: u64) -> CpuState {
    let mut state = start;
    state.sys.mdscr_el1 |= MDE | KDE;
    state.sys.watchpoints[n] = [value, control];
    state.x[..6].copy_from_slice(&[x0, 1, 2, 3, 4, 5]);
    state.v = [[0x1111, 0x2222]; 32];
    state
}

/// Runs `word` after a load and a store that put the page into the TLB if it may be there, and tells the syndrome and
/// the address; no exception leaves anything changed.
fn outcome(word: u32, start: &CpuState) -> (u64, u64) {
    let mut guest = Guest::new();
    guest.memory.write(USER_DATA, &[FILL; 0x1000]).unwrap();
    guest.memory.write(PRIVATE, &[FILL; 0x1000]).unwrap();
    let end = run(&mut guest, &[NOP, word, SVC_1234], start);
    if end.sys.esr_el1 == SVC_SYNDROME {
        return (SVC_SYNDROME, 0);
    }
    assert_eq!(end.sys.elr_el1, start.pc + 4, "{word:08x}");
    assert_eq!((&end.x, &end.v), (&start.x, &start.v), "{word:08x}: no register changes");
    let mut data = [0; 0x1000];
    guest.memory.read(USER_DATA, &mut data).unwrap();
    assert_eq!(data, [FILL; 0x1000], "{word:08x}: nothing is stored");
    (end.sys.esr_el1, end.sys.far_el1)
}

const MISSED: (u64, u64) = (SVC_SYNDROME, 0);

#[test]
fn every_kind_of_access_is_watched() {
    for (word, access) in [
        (LDR_X1_X0, LOADS),
        (LDRB_W1_X0, LOADS),
        (STR_X1_X0, STORES),
        (STRB_W1_X0, STORES),
        (STRH_W1_X0, STORES),
        (STR_W1_X0, STORES),
        (LDP_X1_X2_X0, LOADS),
        (LDP_W1_W2_X0, LOADS),
        (STP_X1_X2_X0, STORES),
        (STP_W1_W2_X0, STORES),
        (LDR_Q1_X0, LOADS),
        (STR_Q1_X0, STORES),
        (STP_Q1_Q2_X0, STORES),
        (LD1_4_X0, LOADS),
        (ST1_B3_X0, STORES),
        (LDXR_X1_X0, LOADS),
        (LDAXP_X1_X3_X0, LOADS),
        (STXR_W2_X1_X0, STORES),
        (LDAR_X1_X0, LOADS),
        (STLR_X1_X0, STORES),
        (LDTR_X1_X0, LOADS),
        (STTR_X1_X0, STORES),
        (LDADD_X1_X2_X0, BOTH),
        (CAS_X3_X1_X0, BOTH),
        (CASP_X2_X4_X0, BOTH),
        (STR_X1_X0_POST, STORES),
        (DC_ZVA_X0, STORES),
    ] {
        for n in 0..4 {
            for lsc in [LOADS, STORES, BOTH] {
                let control = EVERYBODY | ALL | lsc;
                // What reads and writes is reported as a read if a read were enough.
                let wnr = if access & lsc & LOADS != 0 { 0 } else { WNR };
                let hit = access & lsc != 0;
                let user = with(at_el0(USER_CODE), n, DATA, control, DATA);
                let user = CpuState { sys: zva_allowed(user.sys.clone()), ..user };
                let expected = if hit { (HIT_EL0 | wnr, DATA) } else { MISSED };
                assert_eq!(outcome(word, &user), expected, "{word:08x} at EL0 by {n}, LSC {lsc:#x}");
                let kernel = with(debuggable_el1(CODE), n, DATA, control, DATA);
                let expected = if hit { (HIT_EL1 | wnr, DATA) } else { MISSED };
                assert_eq!(outcome(word, &kernel), expected, "{word:08x} at EL1 by {n}, LSC {lsc:#x}");
            }
        }
    }
    let write_back = with(debuggable_el1(CODE), 0, DATA, EVERYBODY | ALL | LOADS, DATA - 8);
    assert_eq!(outcome(LDR_X1_X0_PRE, &write_back), (HIT_EL1, DATA));
}

/// SCTLR_EL1.DZE.
fn zva_allowed(mut sys: machine::cpu_state::SysRegs) -> machine::cpu_state::SysRegs {
    sys.sctlr_el1 |= 1 << 14;
    sys
}

#[test]
fn each_byte_counts_and_no_other() {
    for size in 1..=8 {
        for first in 0..=8 - size {
            let control = EVERYBODY | BOTH | bytes(first, size);
            for offset in 0..24 {
                let va = DATA - 8 + offset;
                for (word, width) in
                    [(STRB_W1_X0, 1), (STRH_W1_X0, 2), (STR_W1_X0, 4), (STR_X1_X0, 8), (STR_Q1_X0, 16)]
                {
                    let watched =
                        (va..va + width).find(|byte| (DATA + first..DATA + first + size).contains(byte));
                    let start = with(debuggable_el1(CODE), 1, DATA, control, va);
                    let expected = watched.map_or(MISSED, |byte| (HIT_EL1 | WNR, byte));
                    assert_eq!(
                        outcome(word, &start),
                        expected,
                        "{width} bytes at {va:#x}, {size} from {first}"
                    );
                }
            }
        }
        if size <= 4 {
            // A word's address: its own bytes alone.
            let control = EVERYBODY | BOTH | bytes(0, size);
            for va in DATA..DATA + 12 {
                let start = with(debuggable_el1(CODE), 1, DATA + 4, control, va);
                let hit = (DATA + 4..DATA + 4 + size).contains(&va);
                assert_eq!(outcome(LDRB_W1_X0, &start), if hit { (HIT_EL1, va) } else { MISSED });
            }
        }
    }
}

#[test]
fn the_parts_of_what_is_wide_count_alone() {
    // (the access, its size, where its watched byte is)
    for (word, size, wnr) in [
        (LDP_X1_X2_X0, 16, 0),
        (STP_X1_X2_X0, 16, WNR),
        (LDP_W1_W2_X0, 8, 0),
        (STP_W1_W2_X0, 8, WNR),
        (LD1_4_X0, 64, 0),
        (CASP_X2_X4_X0, 16, 0),
        (LDAXP_X1_X3_X0, 16, 0),
    ] {
        for byte in [0, size / 2 - 1, size / 2, size - 1] {
            let at = DATA + byte;
            let control = EVERYBODY | BOTH | bytes(at & 7, 1);
            let start = with(debuggable_el1(CODE), 0, at & !7, control, DATA);
            assert_eq!(outcome(word, &start), (HIT_EL1 | wnr, at), "{word:08x}");
        }
        for at in [DATA - 1, DATA + size] {
            let control = EVERYBODY | BOTH | bytes(at & 7, 1);
            let start = with(debuggable_el1(CODE), 0, at & !7, control, DATA);
            assert_eq!(outcome(word, &start), MISSED, "{word:08x}");
        }
    }
    // DC ZVA clears the block that the address is in, and only as a whole.
    for (given, at, hit) in [
        (DATA + 5, DATA + 63, true),
        (DATA + 63, DATA, true),
        (DATA, DATA + 64, false),
        (DATA, DATA - 1, false),
    ] {
        let control = EVERYBODY | STORES | bytes(at & 7, 1);
        let start = with(debuggable_el1(CODE), 0, at & !7, control, given);
        assert_eq!(outcome(DC_ZVA_X0, &start), if hit { (HIT_EL1 | WNR, at) } else { MISSED });
    }
    // Over two pages, watched on either side.
    for at in [READ_ONLY - 1, READ_ONLY] {
        let control = EVERYBODY | LOADS | bytes(at & 7, 1);
        let start = with(at_el0(USER_CODE), 2, at & !7, control, READ_ONLY - 4);
        assert_eq!(outcome(LDR_X1_X0, &start), (HIT_EL0, at));
    }
}

#[test]
fn a_mask_watches_a_range() {
    for bits in 3..=31 {
        let size = 1u64 << bits;
        let base = DATA & !(size - 1);
        let control = EVERYBODY | LOADS | mask(bits);
        let watched = |va| outcome(LDRB_W1_X0, &with(debuggable_el1(CODE), 3, base, control, va));
        assert_eq!(watched(DATA), (HIT_EL1, DATA), "MASK {bits}");
        if bits < 10 {
            assert_eq!(
                (watched(base), watched(base + size - 1)),
                ((HIT_EL1, base), (HIT_EL1, base + size - 1))
            );
            assert_eq!((watched(base - 1), watched(base + size)), (MISSED, MISSED), "MASK {bits}");
        }
    }
}

#[test]
fn what_turns_it_off() {
    let on = with(debuggable_el1(CODE), 0, DATA, E | EL1 | BOTH | ALL, DATA);
    let off = |what: &str, change: fn(&mut CpuState)| {
        let mut state = on.clone();
        change(&mut state);
        assert_eq!(outcome(STR_X1_X0, &state), MISSED, "{what}");
    };
    assert_eq!(outcome(STR_X1_X0, &on), (HIT_EL1 | WNR, DATA));
    off("E", |s| s.sys.watchpoints[0][1] &= !E);
    off("the level", |s| s.sys.watchpoints[0][1] = E | EL0 | BOTH | ALL);
    off("MDE", |s| s.sys.mdscr_el1 = KDE);
    off("KDE", |s| s.sys.mdscr_el1 = MDE);
    off("D", |s| s.pstate |= D);
    off("the OS lock", |s| s.sys.os_lock = true);
    off("the OS double lock", |s| s.sys.osdlr_el1 = 1);
    off("SSC", |s| s.sys.watchpoints[0][1] |= 1 << 14);
    off("a reserved MASK", |s| s.sys.watchpoints[0][1] |= 1 << 24);
    off("a link to no context", |s| s.sys.watchpoints[0][1] |= 1 << 20);
    off("another page", |s| s.sys.watchpoints[0][0] += 0x1000);
    // Linked to a context.
    let mut linked = on.clone();
    linked.sys.watchpoints[0][1] |= 1 << 20 | 4 << 16;
    linked.sys.breakpoints[4] = [77, E | 3 << 20];
    linked.sys.contextidr_el1 = 77;
    assert_eq!(outcome(STR_X1_X0, &linked), (HIT_EL1 | WNR, DATA));
    linked.sys.contextidr_el1 = 78;
    assert_eq!(outcome(STR_X1_X0, &linked), MISSED);
    // At EL0 neither KDE nor D counts.
    let mut user = with(at_el0(USER_CODE), 0, DATA, E | EL0 | BOTH | ALL, DATA);
    user.pstate |= D;
    user.sys.mdscr_el1 = MDE;
    assert_eq!(outcome(STR_X1_X0, &user), (HIT_EL0 | WNR, DATA));
    // Unprivileged accesses are EL0's, made at EL1.
    let unprivileged = with(debuggable_el1(CODE), 0, DATA, E | EL0 | BOTH | ALL, DATA);
    assert_eq!(outcome(LDTR_X1_X0, &unprivileged), (HIT_EL1, DATA));
    assert_eq!(outcome(STTR_X1_X0, &unprivileged), (HIT_EL1 | WNR, DATA));
    assert_eq!(outcome(LDR_X1_X0, &unprivileged), MISSED);
    let privileged = with(debuggable_el1(CODE), 0, DATA, E | EL1 | BOTH | ALL, DATA);
    assert_eq!(outcome(LDTR_X1_X0, &privileged), MISSED);
}

#[test]
fn maintenance_and_hints_are_not_accesses_but_an_invalidation_stores() {
    let start = |x0| with(debuggable_el1(CODE), 0, DATA, EVERYBODY | BOTH | ALL, x0);
    for word in [DC_CVAC_X0, PRFM_X0] {
        assert_eq!(outcome(word, &start(DATA)), MISSED);
    }
    // The address that was given is reported.
    assert_eq!(outcome(DC_IVAC_X0, &start(DATA + 0x23)), (HIT_EL1 | WNR | CM, DATA + 0x23));
    assert_eq!(outcome(DC_IVAC_X0, &start(DATA + 0x40)), MISSED);
}

#[test]
fn faults_come_first() {
    // Alignment, translation and permission; all of an access's pages before its watched bytes.
    for (word, va, esr, far) in [
        (LDR_X1_X0, UNMAPPED, 0x9600_0007, UNMAPPED),
        (LDR_X1_X0, UNMAPPED - 4, 0x9600_0007, UNMAPPED),
        (STR_X1_X0, READ_ONLY, 0x9600_004f, READ_ONLY),
        (LDXR_X1_X0, PRIVATE + 4, 0x9600_0021, PRIVATE + 4),
        (LDADD_X1_X2_X0, READ_ONLY, 0x9600_004f, READ_ONLY),
    ] {
        let control = EVERYBODY | BOTH | mask(31);
        assert_eq!(outcome(word, &with(debuggable_el1(CODE), 0, 0, control, va)), (esr, far), "{word:08x}");
    }
    // A device is not even asked.
    let start = with(debuggable_el1(CODE), 0, DEVICE, EVERYBODY | BOTH | ALL, DEVICE);
    assert_eq!(outcome(LDR_X1_X0, &start), (HIT_EL1, DEVICE));
}

/// The registers are written while the page is in the TLB, and by the code itself.
#[test]
fn a_page_that_is_known_already_is_watched_from_then_on() {
    const MSR_DBGWCR0_X4: u32 = 0xd510_00e4;
    const MSR_DBGWVR0_X5: u32 = 0xd510_00c5;
    const MSR_MDSCR_X4: u32 = 0xd510_0244;
    const MSR_OSLAR_X4: u32 = 0xd510_1084;
    const MSR_OSDLR_X4: u32 = 0xd510_1384;
    let off = |change: fn(&mut CpuState), x4: u64| {
        let mut state = with(debuggable_el1(CODE), 0, DATA, EVERYBODY | BOTH | ALL, DATA);
        change(&mut state);
        (state.x[4], state.x[5]) = (x4, DATA);
        state
    };
    for (word, start) in [
        (MSR_DBGWCR0_X4, off(|s| s.sys.watchpoints[0][1] = 0, EVERYBODY | BOTH | ALL)),
        (MSR_DBGWCR0_X4, off(|s| s.sys.watchpoints[0][1] = 0, EVERYBODY | BOTH | mask(8))),
        (MSR_DBGWCR0_X4, off(|s| s.sys.watchpoints[0] = [0x4000_0000, 0], EVERYBODY | BOTH | mask(20))),
        (MSR_DBGWVR0_X5, off(|s| s.sys.watchpoints[0][0] = PRIVATE, 0)),
        (MSR_MDSCR_X4, off(|s| s.sys.mdscr_el1 = KDE, MDE | KDE)),
        (MSR_OSLAR_X4, off(|s| s.sys.os_lock = true, 0)),
        (MSR_OSDLR_X4, off(|s| s.sys.osdlr_el1 = 1, 0)),
    ] {
        let mut guest = Guest::new();
        let end = run(&mut guest, &[LDR_X1_X0, STR_X1_X0, word, STR_X1_X0, SVC_1234], &start);
        assert_eq!((end.sys.esr_el1, end.sys.far_el1), (HIT_EL1 | WNR, DATA), "{word:08x}");
        assert_eq!(end.sys.elr_el1, CODE + 12, "{word:08x}");
        // Turned off by the handler, the store is made, and the page may be entered again.
        let end = return_from(&mut guest, &end, |state| state.sys.mdscr_el1 = 0);
        assert_eq!(end.sys.esr_el1, SVC_SYNDROME);
    }
}

#[test]
fn a_watched_access_is_stepped_over() {
    let mut guest = Guest::new();
    let mut start = with(at_el0(USER_CODE), 0, DATA, E | EL0 | STORES | ALL, DATA);
    start.sys.mdscr_el1 = MDE;
    let end = run(&mut guest, &[STR_X1_X0, STR_X1_X0, SVC_1234], &start);
    assert_eq!((end.sys.esr_el1, end.sys.elr_el1), (HIT_EL0 | WNR, USER_CODE));
    let end = return_from(&mut guest, &end, |state| {
        state.sys.watchpoints[0][1] &= !E;
        state.sys.mdscr_el1 |= MDSCR_SS;
        state.sys.spsr_el1 |= SS;
    });
    assert_eq!((end.sys.esr_el1, end.sys.elr_el1), (0xcb00_0022, USER_CODE + 4));
    let end = return_from(&mut guest, &end, |state| {
        state.sys.watchpoints[0][1] |= E;
        state.sys.mdscr_el1 = MDE;
    });
    assert_eq!((end.sys.esr_el1, end.sys.elr_el1), (HIT_EL0 | WNR, USER_CODE + 4));
}

/// A loop next to a watched doubleword gives the same in slices of any size, and spends its budgets exactly.
#[test]
fn budgets_are_spent_exactly() {
    let words = [ADD_X21, 0xf900_0415, 0xf940_0416, 0x17ff_fffd]; // str x21, [x0, #8]; ldr x22, [x0, #8]; b -12
    let states = [1, 3, 1000].map(|slice| {
        let mut guest = Guest::new();
        guest.put(CODE, &words);
        let start = with(debuggable_el1(CODE), 0, DATA, EVERYBODY | BOTH | ALL, DATA);
        guest.vcpu.load(&start).unwrap();
        while guest.vcpu.retired() < 1001 {
            let budget = slice.min(1001 - guest.vcpu.retired());
            assert_eq!(guest.vcpu.run(Resume::Go, 0, budget), Exit::Budget);
        }
        guest.vcpu.save()
    });
    assert_eq!((states[0].x[21], states[0].x[22]), (251, 250));
    assert!(states.iter().all(|state| *state == states[0]));
}
