//! Breakpoint exceptions (Arm ARM D2.8).

use super::*;
use machine::engine::{Resume, Vcpu};

/// EC 0x30 or 0x31, IL, IFSC 0b100010.
const HIT_EL0: u64 = 0xc200_0022;
const HIT_EL1: u64 = 0xc600_0022;

/// DBGBCR_EL1.BT.
const LINKED: u64 = 1 << 20;
const CONTEXT: u64 = 2 << 20;
const LINKED_CONTEXT: u64 = 3 << 20;
/// DBGBCR_EL1.LBN.
const fn to(n: u64) -> u64 {
    n << 16
}

/// `start` with breakpoints turned on, number `n` of them with this value and control.
fn with(start: CpuState, breakpoints: &[(usize, u64, u64)]) -> CpuState {
    let mut state = start;
    state.sys.mdscr_el1 |= MDE | KDE;
    for &(n, value, control) in breakpoints {
        state.sys.breakpoints[n] = [value, control];
    }
    state
}

const PROGRAM: [u32; 4] = [ADD_X21, ADD_X21, ADD_X21, SVC_1234];

/// The syndrome and how far the program came.
fn outcome(start: &CpuState) -> (u64, u64) {
    let end = run(&mut Guest::new(), &PROGRAM, start);
    if end.sys.esr_el1 != SVC_SYNDROME {
        assert_eq!(end.sys.elr_el1, start.pc + 4 * end.x[21], "the instruction is not executed");
        assert_eq!(end.sys.spsr_el1, start.pstate);
        assert_eq!(end.pstate & 0x3cf, 0x3c5);
    }
    (end.sys.esr_el1, end.x[21])
}

const MISSED: (u64, u64) = (SVC_SYNDROME, 3);

#[test]
fn an_address_is_hit_at_its_levels() {
    for (levels, el0, el1) in
        [(EL0, true, false), (EL1, false, true), (EL0 | EL1, true, true), (0, false, false)]
    {
        for n in 0..6 {
            let user = with(at_el0(USER_CODE), &[(n, USER_CODE + 8, E | levels)]);
            assert_eq!(outcome(&user), if el0 { (HIT_EL0, 2) } else { MISSED }, "{n} for {levels:#x}");
            let kernel = with(debuggable_el1(CODE), &[(n, CODE + 8, E | levels)]);
            assert_eq!(outcome(&kernel), if el1 { (HIT_EL1, 2) } else { MISSED }, "{n} for {levels:#x}");
        }
    }
}

#[test]
fn what_turns_it_off() {
    let on = with(debuggable_el1(CODE), &[(0, CODE + 4, E | EL1)]);
    let off = |what: &str, change: fn(&mut CpuState)| {
        let mut state = on.clone();
        change(&mut state);
        assert_eq!(outcome(&state), MISSED, "{what}");
    };
    assert_eq!(outcome(&on), (HIT_EL1, 1));
    off("E", |s| s.sys.breakpoints[0][1] = EL1);
    off("MDE", |s| s.sys.mdscr_el1 = KDE);
    off("KDE", |s| s.sys.mdscr_el1 = MDE);
    off("D", |s| s.pstate |= D);
    off("the OS lock", |s| s.sys.os_lock = true);
    off("the OS double lock", |s| s.sys.osdlr_el1 = 1);
    off("HMC, which is reserved", |s| s.sys.breakpoints[0][1] |= 1 << 13);
    off("SSC, which is reserved", |s| s.sys.breakpoints[0][1] |= 1 << 14);
    off("a reserved type", |s| s.sys.breakpoints[0][1] |= 4 << 20);
    off("another page", |s| s.sys.breakpoints[0][0] += 0x1000);
    off("another word", |s| s.sys.breakpoints[0][0] += 0x100);
    off("another half", |s| s.sys.breakpoints[0][0] |= 1 << 48);
    // At EL0 neither KDE nor D counts, and what is above the address does not.
    let mut user = with(at_el0(USER_CODE), &[(5, (USER_CODE + 4) | (0x7f << 57), E | EL0)]);
    user.pstate |= D;
    user.sys.mdscr_el1 = MDE;
    assert_eq!(outcome(&user), (HIT_EL0, 1));
    user.sys.os_lock = true;
    assert_eq!(outcome(&user), MISSED);
}

#[test]
fn a_context_is_matched_by_the_last_two_and_links_to_them() {
    let user = |breakpoints: &[(usize, u64, u64)], context: u64| {
        let mut state = with(at_el0(USER_CODE), breakpoints);
        state.sys.contextidr_el1 = context;
        outcome(&state)
    };
    // Alone it matches whatever is executed.
    for n in 0..6 {
        let hit = if n >= 4 { (HIT_EL0, 0) } else { MISSED };
        assert_eq!(user(&[(n, 0x1234, E | EL0 | CONTEXT)], 0x1234), hit, "breakpoint {n}");
        assert_eq!(user(&[(n, 0x1234, E | EL0 | CONTEXT)], 0x1235), MISSED);
        assert_eq!(user(&[(n, 0x1234, E | EL1 | CONTEXT)], 0x1234), MISSED);
        // Linked to, it never does on its own, and its own levels don't count.
        assert_eq!(user(&[(n, 0x1234, E | EL0 | LINKED_CONTEXT)], 0x1234), MISSED);
    }
    let address = |n| (0, USER_CODE + 8, E | EL0 | LINKED | to(n));
    for n in [4, 5] {
        let context = (n as usize, 0x1234, E | LINKED_CONTEXT);
        assert_eq!(user(&[address(n), context], 0x1234), (HIT_EL0, 2));
        assert_eq!(user(&[address(n), context], 0x1233), MISSED);
        assert_eq!(
            user(&[address(n), (context.0, context.1, LINKED_CONTEXT)], 0x1234),
            MISSED,
            "not enabled"
        );
        assert_eq!(user(&[address(n), (context.0, context.1, E | CONTEXT)], 0x1234), MISSED, "not for links");
        assert_eq!(user(&[address(9 - n), context], 0x1234), MISSED, "linked to the other");
    }
    assert_eq!(user(&[address(15)], 0), MISSED, "linked to none");
    // A fetch that faults does so first.
    let mut lost = with(at_el0(UNMAPPED), &[(4, 0x1234, E | EL0 | CONTEXT)]);
    lost.sys.contextidr_el1 = 0x1234;
    assert_eq!(Guest::new().run(&lost, 100).1.sys.esr_el1, 0x8200_0007);
}

#[test]
fn a_debugger_steps_over_its_own() {
    let mut guest = Guest::new();
    let mut start = with(at_el0(USER_CODE), &[(0, USER_CODE + 4, E | EL0)]);
    start.sys.mdscr_el1 = MDE;
    let end = run(&mut guest, &PROGRAM, &start);
    assert_eq!((end.sys.esr_el1, end.x[21]), (HIT_EL0, 1));
    // Stepped to, it is hit first, and SS is kept.
    let end = return_from(&mut guest, &end, |state| {
        state.sys.mdscr_el1 |= MDSCR_SS;
        state.sys.spsr_el1 |= SS;
    });
    assert_eq!((end.sys.esr_el1, end.sys.elr_el1, end.sys.spsr_el1), (HIT_EL0, USER_CODE + 4, SS));
    let end = return_from(&mut guest, &end, |state| state.sys.breakpoints[0][1] &= !E);
    assert_eq!((end.sys.esr_el1, end.sys.elr_el1), (0xcb00_0022, USER_CODE + 8));
}

/// Code that was decoded and linked without a breakpoint gets one, and loses it again.
#[test]
fn it_is_set_and_cleared_by_the_code_that_it_is_in() {
    const MSR_DBGBCR0_X1: u32 = 0xd510_00a1;
    const SUB_X3: u32 = 0xd100_0463;
    const CBNZ_X3_BACK_2: u32 = 0xb5ff_ffc3;
    let mut guest = Guest::new();
    // Ten rounds of a loop, the register, ten rounds of another, and from the beginning.
    let words = [
        ADD_X21,
        SUB_X3,
        CBNZ_X3_BACK_2,
        MSR_DBGBCR0_X1,
        0xd280_0143, // mov x3, #10
        ADD_X21,
        SUB_X3,
        CBNZ_X3_BACK_2,
        0x17ff_fff8, // b -32
    ];
    let mut start = with(debuggable_el1(CODE), &[(0, CODE + 4, 0)]);
    (start.x[1], start.x[3]) = (E | EL1, 10);
    let end = run(&mut guest, &words, &start);
    assert_eq!((end.sys.esr_el1, end.sys.elr_el1, end.x[21]), (HIT_EL1, CODE + 4, 21));
    // From here the register is cleared in each round.
    let end = {
        let mut state = end.clone();
        (state.x[1], state.pc, state.pstate) = (0, CODE + 12, debuggable_el1(0).pstate);
        state.sys.breakpoints[0][1] = E | EL1;
        guest.vcpu.load(&state).unwrap();
        assert_eq!(guest.vcpu.run(Resume::Go, 0, 500), Exit::Budget);
        guest.vcpu.save()
    };
    assert!(end.x[21] > 100 && end.sys.breakpoints[0][1] & E == 0);
}

#[test]
fn a_debugger_outside_has_its_own_and_changes_nothing() {
    let start = with(at_el0(USER_CODE), &[(0, USER_CODE + 8, E | EL0)]);
    let mut guest = Guest::new();
    guest.vcpu.set_breakpoints(&[USER_CODE + 4]).unwrap();
    guest.put(USER_CODE, &PROGRAM);
    assert_eq!(guest.run(&start, 100).0, Exit::Breakpoint);
    assert_eq!(guest.vcpu.save().pc, USER_CODE + 4);
    assert!(matches!(guest.vcpu.run(Resume::Go, 0, 100), Exit::Hypercall(_)));
    assert_eq!(guest.vcpu.save().sys.esr_el1, HIT_EL0);
    guest.vcpu.set_breakpoints(&[]).unwrap();
    assert!(matches!(guest.run(&start, 100).0, Exit::Hypercall(_)));
    assert_eq!(guest.vcpu.save().sys.esr_el1, HIT_EL0, "the guest's own stay");
}
