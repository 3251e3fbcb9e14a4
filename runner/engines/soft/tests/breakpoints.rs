//! Breakpoints, at which a run ends before the instruction, and which change nothing else.

mod common;

use common::assembly::{add_immediate, ldr_x};
use common::guest::{CODE, DEVICE, Guest, USER_CODE, at_el0, at_el1};
use machine::cpu_state::CpuState;
use machine::engine::{Exit, Resume, Vcpu};

/// B to `words` words before itself.
fn branch_back(words: u32) -> u32 {
    0x1400_0000 | (words.wrapping_neg() & 0x03ff_ffff)
}

/// Counts in X0, X1 and X2, in turn, for ever.
const COUNTERS: u64 = 4;

fn counting() -> Guest {
    let guest = Guest::new();
    let count = |register| add_immediate(register, register, 1);
    guest.put(CODE, &[count(0), count(1), count(2), branch_back(3)]);
    guest
}

fn at(state: CpuState) -> (u64, [u64; 3]) {
    (state.pc, [state.x[0], state.x[1], state.x[2]])
}

#[test]
fn each_visit_ends_a_run_before_the_instruction() {
    let mut guest = counting();
    let start = at_el1(CODE);
    // Decoded and linked before the breakpoint is there.
    assert_eq!(guest.run(&start, 10 * COUNTERS).0, Exit::Budget);
    let before = guest.vcpu.retired();
    guest.vcpu.set_breakpoints(&[CODE + 4, CODE + 8]).unwrap();
    for round in 0..3 {
        assert_eq!(guest.vcpu.run(Resume::Go, 0, 100), Exit::Breakpoint);
        assert_eq!(at(guest.vcpu.save()), (CODE + 4, [11 + round, 10 + round, 10 + round]));
        assert_eq!(guest.vcpu.run(Resume::Go, 0, 100), Exit::Breakpoint);
        assert_eq!(at(guest.vcpu.save()), (CODE + 8, [11 + round, 11 + round, 10 + round]));
    }
    assert_eq!(guest.vcpu.retired() - before, 2 * COUNTERS + 2);
    guest.vcpu.set_breakpoints(&[]).unwrap();
    assert_eq!(guest.vcpu.run(Resume::Go, 0, 2), Exit::Budget);
    assert_eq!(at(guest.vcpu.save()), (CODE, [13, 13, 13]));
    assert_eq!(guest.vcpu.run(Resume::Go, 0, 1000 * COUNTERS), Exit::Budget);
    assert_eq!(at(guest.vcpu.save()), (CODE, [1013, 1013, 1013]));
}

#[test]
fn a_loaded_vcpu_stops_where_it_was_put() {
    let mut guest = counting();
    guest.vcpu.set_breakpoints(&[CODE]).unwrap();
    for _ in 0..2 {
        assert_eq!(guest.run(&at_el1(CODE), 100).0, Exit::Breakpoint);
        assert_eq!(guest.vcpu.save().pc, CODE);
    }
}

#[test]
fn a_breakpoint_elsewhere_changes_nothing() {
    let states = [None, Some(CODE + 0x1004), Some(CODE | 1 << 47 | 4)].map(|breakpoint| {
        let mut guest = counting();
        guest.vcpu.set_breakpoints(breakpoint.as_slice()).unwrap();
        guest.vcpu.load(&at_el1(CODE)).unwrap();
        for budget in [1, 2, 3, 5, 7, 64, 1000] {
            assert_eq!(guest.vcpu.run(Resume::Go, 0, budget), Exit::Budget);
        }
        assert_eq!(guest.vcpu.retired(), 1082);
        guest.vcpu.save()
    });
    assert_eq!(states[1], states[0], "the same place of another page");
    assert_eq!(states[2], states[0], "the same page at another address");
}

#[test]
fn a_step_is_a_budget_of_one_whatever_is_set() {
    let mut guest = counting();
    guest.vcpu.set_breakpoints(&[CODE + 8]).unwrap();
    guest.vcpu.load(&at_el1(CODE)).unwrap();
    for place in [4, 8] {
        assert_eq!(guest.vcpu.run(Resume::Go, 0, 1), Exit::Budget);
        assert_eq!(guest.vcpu.save().pc, CODE + place);
    }
    assert_eq!(guest.vcpu.run(Resume::Go, 0, 1), Exit::Breakpoint);
    assert_eq!(guest.vcpu.run(Resume::Go, 0, 1), Exit::Budget);
    assert_eq!(at(guest.vcpu.save()), (CODE + 12, [1, 1, 1]));
}

#[test]
fn an_access_to_a_device_is_stopped_at_once_and_made_once() {
    let mut guest = Guest::new();
    guest.put(CODE, &[add_immediate(1, 1, 1), ldr_x(0, 2, 0), branch_back(2)]);
    guest.vcpu.set_breakpoints(&[CODE + 4]).unwrap();
    let mut start = at_el1(CODE);
    start.x[2] = DEVICE;
    guest.vcpu.load(&start).unwrap();
    for round in 1..4 {
        assert_eq!(guest.vcpu.run(Resume::Go, 0, 100), Exit::Breakpoint);
        assert_eq!(guest.vcpu.run(Resume::Go, 0, 100), Exit::MmioRead { gpa: DEVICE, size: 8 });
        assert_eq!(guest.vcpu.run(Resume::Value(round), 0, 1), Exit::Budget);
        let state = guest.vcpu.save();
        assert_eq!((state.x[0], state.x[1], state.pc), (round, round, CODE + 8));
    }
}

#[test]
fn changed_code_is_found_at_a_breakpoint() {
    const IC_IALLU: u32 = 0xd508_751f;
    const ISB: u32 = 0xd503_3fdf;
    let mut guest = Guest::new();
    guest.put(CODE, &[IC_IALLU, ISB, add_immediate(0, 0, 1), branch_back(3)]);
    guest.vcpu.set_breakpoints(&[CODE + 8]).unwrap();
    guest.vcpu.load(&at_el1(CODE)).unwrap();
    assert_eq!(guest.vcpu.run(Resume::Go, 0, 100), Exit::Breakpoint);
    assert_eq!(guest.vcpu.run(Resume::Go, 0, 100), Exit::Breakpoint);
    assert_eq!(guest.vcpu.save().x[0], 1);
    // The old word was decoded, and dropped by the second IC.
    guest.put(CODE + 8, &[add_immediate(0, 0, 100)]);
    assert_eq!(guest.vcpu.run(Resume::Go, 0, 100), Exit::Breakpoint);
    assert_eq!(guest.vcpu.save().x[0], 101);
}

#[test]
fn breakpoints_are_for_every_exception_level() {
    let mut guest = Guest::new();
    guest.put(USER_CODE, &[add_immediate(0, 0, 1), branch_back(1)]);
    guest.vcpu.set_breakpoints(&[USER_CODE + 4]).unwrap();
    assert_eq!(guest.run(&at_el0(USER_CODE), 100).0, Exit::Breakpoint);
    assert_eq!(guest.vcpu.save().x[0], 1);
}

#[test]
fn no_instruction_is_between_two_words() {
    let mut guest = counting();
    let error = guest.vcpu.set_breakpoints(&[CODE, CODE + 2]).unwrap_err();
    assert!(error.to_string().contains("0x40010002"), "{error}");
    assert_eq!(guest.run(&at_el1(CODE), 40).0, Exit::Budget, "nothing was set");
}
