//! Software step (Arm ARM D2.12).

use super::*;
use machine::engine::{Resume, Vcpu};

/// Syndromes: EC 0x32 or 0x33, IL, and ISV if an instruction was stepped, EX if that was a load-exclusive; IFSC 0b100010.
const STEPPED_EL0: u64 = 0xcb00_0022;
const STEPPED_EL1: u64 = 0xcf00_0022;
const PENDING_EL0: u64 = 0xca00_0022;
const PENDING_EL1: u64 = 0xce00_0022;
const EX: u64 = 1 << 6;

const LDXR_X1_X0: u32 = 0xc85f_7c01;
const LDAXP_X1_X3_X0: u32 = 0xc87f_8c01;
const STXR_W2_X1_X0: u32 = 0xc802_7c01;
const BRK_42: u32 = 0xd420_0840;
const UDF: u32 = 0;
const WFI: u32 = 0xd503_207f;
const WFE: u32 = 0xd503_205f;
const B_PLUS_8: u32 = 0x1400_0002;
const MSR_DAIFSET_8: u32 = 0xd503_48df;
const MSR_MDSCR_X1: u32 = 0xd510_0241;

fn stepped_el0() -> CpuState {
    let mut state = at_el0(USER_CODE);
    state.pstate |= SS;
    state.sys.mdscr_el1 = MDSCR_SS;
    state
}

fn stepped_el1() -> CpuState {
    let mut state = debuggable_el1(CODE);
    state.pstate |= SS;
    state.sys.mdscr_el1 = MDSCR_SS | KDE;
    state
}

#[test]
fn one_instruction_and_then_the_exception() {
    for (start, vector, esr) in
        [(stepped_el0(), LOWER, STEPPED_EL0), (stepped_el1(), CURRENT_SPX, STEPPED_EL1)]
    {
        let mut guest = Guest::new();
        let end = run(&mut guest, &[ADD_X21, ADD_X21, ADD_X21], &start);
        assert_eq!((end.pc, end.sys.esr_el1, end.sys.elr_el1), (VECTORS + vector, esr, start.pc + 4));
        assert_eq!((end.x[21], guest.vcpu.retired()), (1, 1));
        assert_eq!(end.sys.spsr_el1, start.pstate & !SS, "the step is done");
        assert_eq!(end.pstate, 0x3c5, "SS is clear, D is set");
        // The handler asks for another.
        let end = return_from(&mut guest, &end, |state| state.sys.spsr_el1 |= SS);
        assert_eq!((end.sys.esr_el1, end.sys.elr_el1, end.x[21]), (esr, start.pc + 8, 2));
        // Or it does not: the exception is due again at once, and no instruction was stepped.
        let end = return_from(&mut guest, &end, |_| ());
        assert_eq!((end.sys.esr_el1, end.sys.elr_el1, end.x[21]), (esr & !(1 << 24), start.pc + 8, 2));
    }
}

#[test]
fn it_is_off_where_debug_exceptions_are() {
    let off = |what: &str, start: CpuState| {
        let end = run(&mut Guest::new(), &[ADD_X21, ADD_X21, SVC_1234], &start);
        assert_eq!((end.sys.esr_el1, end.x[21]), (SVC_SYNDROME, 2), "{what}");
    };
    for ss in [0, SS] {
        let with = |mut state: CpuState, change: fn(&mut CpuState)| {
            state.pstate = state.pstate & !SS | ss;
            change(&mut state);
            state
        };
        off("D", with(stepped_el1(), |s| s.pstate |= D));
        off("no KDE", with(stepped_el1(), |s| s.sys.mdscr_el1 = MDSCR_SS));
        off("no SS", with(stepped_el1(), |s| s.sys.mdscr_el1 = KDE));
        off("the OS lock", with(stepped_el1(), |s| s.sys.os_lock = true));
        off("the OS lock at EL0", with(stepped_el0(), |s| s.sys.os_lock = true));
        off("the OS double lock", with(stepped_el0(), |s| s.sys.osdlr_el1 = 1));
        off("no SS at EL0", with(stepped_el0(), |s| s.sys.mdscr_el1 = KDE | MDE));
    }
    // At EL0 it is on whatever D says.
    let mut start = stepped_el0();
    start.pstate |= D;
    assert_eq!(run(&mut Guest::new(), &[ADD_X21], &start).sys.esr_el1, STEPPED_EL0);
}

#[test]
fn an_instruction_that_takes_an_exception_is_stepped_when_it_is_done_again() {
    // Without its access the page faults; BRK and UDF come back for ever; each keeps SS in SPSR.
    for (what, word, esr) in [
        ("a load that faults", LDR_X1_X0, 0x9200_0007),
        ("BRK", BRK_42, 0xf200_0042),
        ("UDF", UDF, 0x0200_0000),
        ("a trapped WFI", WFI, 0x07e0_0000),
    ] {
        let mut guest = Guest::new();
        let mut start = stepped_el0();
        start.x[0] = UNMAPPED;
        let end = run(&mut guest, &[word, ADD_X21], &start);
        assert_eq!((end.sys.esr_el1, end.sys.elr_el1), (esr, USER_CODE), "{what}");
        assert_eq!(end.sys.spsr_el1, SS, "{what}");
        guest.put(USER_CODE, &[LDR_X1_X0]);
        let end = return_from(&mut guest, &end, |state| state.x[0] = USER_DATA);
        assert_eq!((end.sys.esr_el1, end.sys.elr_el1), (STEPPED_EL0, USER_CODE + 4), "{what}, mended");
    }
    // A handler that skips the instruction: the next one is stepped.
    let mut guest = Guest::new();
    let end = run(&mut guest, &[BRK_42, ADD_X21, ADD_X21], &stepped_el0());
    let end = return_from(&mut guest, &end, |state| state.sys.elr_el1 += 4);
    assert_eq!((end.sys.elr_el1, end.x[21]), (USER_CODE + 8, 1));
}

#[test]
fn a_call_is_stepped_into_the_exception_and_out_of_it() {
    let mut guest = Guest::new();
    let end = run(&mut guest, &[SVC_1234, ADD_X21], &stepped_el0());
    assert_eq!((end.sys.esr_el1, end.sys.elr_el1), (SVC_SYNDROME, USER_CODE + 4));
    assert_eq!(end.sys.spsr_el1, 0, "SVC itself is done");
    let end = return_from(&mut guest, &end, |_| ());
    assert_eq!((end.sys.esr_el1, end.sys.elr_el1, end.x[21]), (PENDING_EL0, USER_CODE + 4, 0));
}

#[test]
fn a_load_exclusive_is_told_and_its_store_fails() {
    for word in [LDXR_X1_X0, LDAXP_X1_X3_X0] {
        let mut guest = Guest::new();
        let mut start = stepped_el0();
        start.x[0] = USER_DATA;
        let end = run(&mut guest, &[word, ADD_X21, STXR_W2_X1_X0], &start);
        assert_eq!((end.sys.esr_el1, end.sys.elr_el1), (STEPPED_EL0 | EX, USER_CODE + 4));
        let end = return_from(&mut guest, &end, |state| state.sys.spsr_el1 |= SS);
        assert_eq!((end.sys.esr_el1, end.sys.elr_el1), (STEPPED_EL0, USER_CODE + 8));
        let end = return_from(&mut guest, &end, |state| state.sys.spsr_el1 |= SS);
        assert_eq!((end.sys.esr_el1, end.sys.elr_el1, end.x[2]), (STEPPED_EL0, USER_CODE + 12, 1));
    }
}

#[test]
fn whatever_is_stepped_ends_where_it_leads() {
    let el1 = |word: u32, change: fn(&mut CpuState)| {
        let mut start = stepped_el1();
        change(&mut start);
        run(&mut Guest::new(), &[word, ADD_X21, ADD_X21, SVC_1234], &start)
    };
    let end = el1(B_PLUS_8, |_| ());
    assert_eq!((end.sys.esr_el1, end.sys.elr_el1), (STEPPED_EL1, CODE + 8));
    for word in [WFI, WFE] {
        let end = el1(word, |_| ());
        assert_eq!((end.sys.esr_el1, end.sys.elr_el1), (STEPPED_EL1, CODE + 4), "waiting is over at once");
    }
    // To EL0, with SS in SPSR: not restored, for debug exceptions were enabled here.
    let end = el1(ERET, |state| (state.sys.elr_el1, state.sys.spsr_el1) = (USER_CODE, SS | 0x8000_0000));
    assert_eq!((end.pc, end.sys.esr_el1), (VECTORS + LOWER, STEPPED_EL0));
    assert_eq!((end.sys.elr_el1, end.sys.spsr_el1), (USER_CODE, 0x8000_0000));
    // An illegal return: the step comes before the illegal state.
    let end = el1(ERET, |state| (state.sys.elr_el1, state.sys.spsr_el1) = (CODE + 4, SS | 0x0f));
    assert_eq!((end.sys.esr_el1, end.sys.spsr_el1), (STEPPED_EL1, 1 << 20 | 5));
    // What turns debug exceptions off is done like any other, and nothing comes after it.
    let end = el1(MSR_DAIFSET_8, |_| ());
    assert_eq!((end.sys.esr_el1, end.x[21], end.sys.spsr_el1), (SVC_SYNDROME, 2, 0x3c5));
    let end = el1(MSR_MDSCR_X1, |state| state.x[1] = KDE);
    assert_eq!((end.sys.esr_el1, end.x[21]), (SVC_SYNDROME, 2));
    // A jump to where nothing is: the step comes before the fault of the fetch.
    let end = el1(0xd61f_0000, |state| state.x[0] = UNMAPPED + 2);
    assert_eq!((end.sys.esr_el1, end.sys.elr_el1), (STEPPED_EL1, UNMAPPED + 2));
}

#[test]
fn turning_it_on_makes_the_exception_due() {
    let mut start = debuggable_el1(CODE);
    start.x[1] = MDSCR_SS | KDE;
    let end = run(&mut Guest::new(), &[MSR_MDSCR_X1, ADD_X21], &start);
    assert_eq!((end.sys.esr_el1, end.sys.elr_el1, end.x[21]), (PENDING_EL1, CODE + 4, 0));
}

#[test]
fn interrupts_come_before_a_step_and_after_it() {
    let mut guest = Guest::new();
    guest.put(USER_CODE, &[ADD_X21, ADD_X21]);
    guest.vcpu.load(&stepped_el0()).unwrap();
    guest.vcpu.set_irq(true);
    assert!(matches!(guest.vcpu.run(Resume::Go, 0, 100), Exit::Hypercall(_)));
    let end = guest.vcpu.save();
    assert_eq!((end.pc, end.sys.elr_el1, end.sys.spsr_el1), (VECTORS + LOWER + IRQ, USER_CODE, SS));
    guest.vcpu.set_irq(false);
    let end = return_from(&mut guest, &end, |_| ());
    assert_eq!((end.sys.esr_el1, end.sys.elr_el1, end.x[21]), (STEPPED_EL0, USER_CODE + 4, 1));
    // While the exception is due it comes first, and the interrupt waits for its handler.
    let mut pending = stepped_el0();
    pending.pstate = 0;
    guest.vcpu.load(&pending).unwrap();
    guest.vcpu.set_irq(true);
    assert!(matches!(guest.vcpu.run(Resume::Go, 0, 100), Exit::Hypercall(_)));
    assert_eq!(guest.vcpu.save().pc, VECTORS + LOWER);
}

#[test]
fn what_the_machine_answers_is_one_step() {
    let mut guest = Guest::new();
    let mut start = stepped_el1();
    start.x[0] = DEVICE;
    guest.put(CODE, &[LDR_X1_X0, HVC, ADD_X21]);
    assert_eq!(guest.run(&start, 100).0, Exit::MmioRead { gpa: DEVICE, size: 8 });
    assert!(matches!(guest.vcpu.run(Resume::Value(7), 0, 100), Exit::Hypercall(_)));
    let end = guest.vcpu.save();
    assert_eq!((end.pc, end.x[1], end.sys.elr_el1), (VECTORS + CURRENT_SPX, 7, CODE + 4));
    let mut start = stepped_el1();
    start.pc = CODE + 4;
    assert!(matches!(guest.run(&start, 100).0, Exit::Hypercall(_)));
    assert_eq!(guest.vcpu.save().pc, CODE + 4);
    assert!(matches!(guest.vcpu.run(Resume::Value(9), 0, 100), Exit::Hypercall(_)));
    let end = guest.vcpu.save();
    assert_eq!((end.pc, end.x[0], end.sys.elr_el1), (VECTORS + CURRENT_SPX, 9, CODE + 8));
}

#[test]
fn a_saved_state_keeps_ss() {
    let mut guest = Guest::new();
    guest.put(USER_CODE, &[ADD_X21, ADD_X21]);
    guest.vcpu.load(&stepped_el0()).unwrap();
    assert_eq!(guest.vcpu.run(Resume::Go, 0, 0), Exit::Budget);
    assert_eq!(guest.vcpu.save(), stepped_el0());
    // The exception comes in the very run that stepped.
    assert_eq!(guest.vcpu.run(Resume::Go, 0, 1), Exit::Budget);
    assert_eq!((guest.vcpu.save().pc, guest.vcpu.save().sys.esr_el1), (VECTORS + LOWER, STEPPED_EL0));
}

/// Sums, calls, flags, pairs and vectors, twenty rounds of it, and SVC.
const PROGRAM: [u32; 22] = [
    0xd280_0293, // mov x19, #20
    0x9100_06b5, // add x21, x21, #1
    0x8b15_02d6, // add x22, x22, x21
    0xa900_5815, // stp x21, x22, [x0]
    0xa940_0801, // ldp x1, x2, [x0]
    0xca02_0037, // eor x23, x1, x2
    0xf801_0c17, // str x23, [x0, #16]!
    0xf85f_0418, // ldr x24, [x0], #-16
    0x4e08_1f01, // mov v1.d[0], x24
    0x4ee1_8442, // add v2.2d, v2.2d, v1.2d
    0x3d80_0c02, // str q2, [x0, #48]
    0x9400_0009, // bl +36
    0xf100_071f, // cmp x24, #1
    0x9a99_9739, // cinc x25, x25, hi
    0x3600_0075, // tbz w21, #0, +12
    0xd503_3fdf, // isb
    0xd51b_d059, // msr tpidr_el0, x25
    0xf100_0673, // subs x19, x19, #1
    0x54ff_fde1, // b.ne -68
    SVC_1234,
    0x9100_0b7b, // add x27, x27, #2
    0xd65f_03c0, // ret
];

/// Returns with SS set from a step; anything else ends the run.
const STEPPER: [u32; 12] = [
    0xd518_d094, // msr tpidr_el1, x20
    0xd538_5214, // mrs x20, esr_el1
    0xd35a_fe94, // lsr x20, x20, #26
    0xd100_ca94, // sub x20, x20, #0x32
    0x927f_fa94, // and x20, x20, #~1
    0xb400_0054, // cbz x20, +8
    HVC,
    0xd538_4014, // mrs x20, spsr_el1
    0xb26b_0294, // orr x20, x20, #1 << 21
    0xd518_4014, // msr spsr_el1, x20
    0xd538_d094, // mrs x20, tpidr_el1
    ERET,
];

/// The program under the handler that steps it, or at once, in runs of `slice` instructions: the end, and what the state
/// was after each 70 instructions.
fn program(start: &CpuState, slice: u64) -> (CpuState, Vec<u8>, Vec<CpuState>) {
    let mut guest = Guest::new();
    guest.put(start.pc, &PROGRAM);
    for vector in [LOWER, CURRENT_SPX] {
        guest.put(VECTORS + vector, &STEPPER);
    }
    let mut start = start.clone();
    start.x[0] = USER_DATA;
    guest.vcpu.load(&start).unwrap();
    let mut states = Vec::new();
    loop {
        let done = guest.vcpu.retired();
        match guest.vcpu.run(Resume::Go, done, slice.min(70 - done % 70)) {
            Exit::Budget => {}
            Exit::Hypercall(_) => break,
            other => panic!("{other:?}"),
        }
        if guest.vcpu.retired().is_multiple_of(70) {
            states.push(guest.vcpu.save());
        }
    }
    let mut data = vec![0; 4096];
    guest.memory.read(USER_DATA, &mut data).unwrap();
    (guest.vcpu.save(), data, states)
}

#[test]
fn a_program_that_is_stepped_ends_as_one_that_is_not() {
    for start in [stepped_el0(), stepped_el1()] {
        let mut at_once = start.clone();
        at_once.pstate &= !SS;
        at_once.sys.mdscr_el1 = 0;
        let (plain, plain_data, _) = program(&at_once, 70);
        assert_eq!((plain.sys.esr_el1, plain.x[21], plain.x[27]), (SVC_SYNDROME, 20, 40));
        let (stepped, data, states) = program(&start, 70);
        assert!(states.len() > 40, "every instruction was stepped: {}", states.len());
        assert_eq!(stepped.sys.esr_el1, SVC_SYNDROME);
        let mut expected = plain;
        expected.sys.mdscr_el1 = start.sys.mdscr_el1;
        assert_eq!(stepped, expected);
        assert_eq!(data, plain_data);
        for slice in [1, 7] {
            assert_eq!(program(&start, slice).2, states, "slices of {slice}");
        }
    }
}
