//! Small programs come to the same on this engine, over the stand-in, as on the soft engine by itself.

use std::{
    thread,
    time::{Duration, Instant},
};

use crate::guest::{CODE, PLENTY, VECTORS, assemble, course, entry, mac, memory, run, started, write};
use engine_soft::SoftEngine;
use machine::{
    clock::{HostClock, ticks_from_nanos},
    cpu_state::CpuState,
    engine::{Engine, Exit, Resume, Vcpu},
    layout::RAM_BASE,
    memory::GuestMemory,
};

/// A device that answers each address with bytes of its own, up to where nothing is.
const DEVICE: u64 = 0x0900_0000;
const NOTHING: u64 = 0x0900_1000;

fn answer(exit: &Exit) -> Resume {
    let value = |gpa: u64, size: u8| {
        let all = gpa.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 0x8080_8080_8080_8080;
        if size == 8 { all } else { all & ((1 << (8 * size)) - 1) }
    };
    match *exit {
        Exit::MmioRead { gpa, .. } | Exit::MmioWrite { gpa, .. }
            if (NOTHING..RAM_BASE - 16).contains(&gpa) =>
        {
            Resume::Fault
        }
        Exit::MmioRead { gpa, size } => Resume::Value(value(gpa, size)),
        Exit::SysRegRead(register) => Resume::Value(u64::from(register.encoding())),
        _ => Resume::Go,
    }
}

/// Vectors of EL1 that count in X28 and skip the instruction, and the tables of a flat first gigabyte (device memory,
/// for both levels) and second one (RAM, for EL1).
fn prepared() -> GuestMemory {
    let memory = memory();
    let handler =
        assemble("mrs x27, elr_el1\n add x27, x27, #4\n msr elr_el1, x27\n add x28, x28, #1\n eret");
    for vector in [0, 0x200, 0x400] {
        write(&memory, VECTORS + vector, &handler);
    }
    const BLOCK: u64 = 1 << 10 | 1;
    let tables = [BLOCK | 1 << 6 | 1 << 2, RAM_BASE | BLOCK];
    for (index, descriptor) in tables.into_iter().enumerate() {
        memory.write(RAM_BASE + 0x4000 + 8 * index as u64, &descriptor.to_le_bytes()).unwrap();
    }
    memory
}

/// Runs `source` on both, from `state`, and returns the exits and the end of this engine.
fn compared(source: &str, state: &CpuState) -> (Vec<Exit>, CpuState) {
    let code = assemble(&format!("{source}\n hvc #0"));
    let memory = prepared();
    write(&memory, CODE, &code);
    let soft = SoftEngine::new(memory.clone(), 1);
    let mut vcpu = soft.create_vcpu(0).unwrap();
    vcpu.load(state).unwrap();
    let expected = course(&mut vcpu, answer);
    let mut expected_memory = vec![0; crate::guest::RAM_SIZE as usize];
    memory.read(RAM_BASE, &mut expected_memory).unwrap();

    let mac = mac(prepared(), 1);
    write(&mac.memory, CODE, &code);
    let mut vcpu = mac.engine.create_vcpu(0).unwrap();
    vcpu.load(state).unwrap();
    let ours = course(&mut vcpu, answer);
    let mut our_memory = vec![0; crate::guest::RAM_SIZE as usize];
    mac.memory.read(RAM_BASE, &mut our_memory).unwrap();
    assert_eq!(ours, expected, "{source}");
    assert!(our_memory == expected_memory, "{source}");
    ours
}

fn with_tables(mut state: CpuState) -> CpuState {
    state.sys.sctlr_el1 |= 1;
    state.sys.tcr_el1 = 25 | 25 << 16;
    state.sys.mair_el1 = 0x00ff;
    state.sys.ttbr0_el1 = RAM_BASE + 0x4000;
    state
}

fn state() -> CpuState {
    let mut state = entry();
    state.x[1] = DEVICE;
    state.x[2] = RAM_BASE + 0x2_0000;
    state.x[21] = 2;
    state.x[23] = RAM_BASE - 8;
    state.x[24] = NOTHING;
    state
}

const ACCESSES: &str = "
    ldr w3, [x1]
    ldrb w4, [x1, #1]
    ldrsb x5, [x1, #2]
    ldrsb w6, [x1, #3]
    ldrsh w7, [x1, #2]
    ldrsw x8, [x1, #4]
    ldr x9, [x1, #8]
    ldr xzr, [x1]
    ldur w10, [x1, #4]
    ldr w11, [x1, x21, lsl #2]
    ldr w12, [x1, w21, uxtw]
    ldar w13, [x1]
    stlr w13, [x1]
    str wzr, [x1]
    str x9, [x1, #8]
    strh w3, [x1, #2]
    strb w3, [x1, #3]
    str w3, [x1, x21, lsl #2]
    ldr x14, [x1], #8
    ldr w15, [x1, #-8]!
    ldrsh x16, [x1, #8]!
    ldrsb w17, [x1], #-8
    str x9, [x1, #16]!
    strb w9, [x1], #-16
    ldp w18, w19, [x1]
    ldp x20, x25, [x1, #16]
    ldpsw x26, x30, [x1], #8
    stp x3, x5, [x1, #8]!
    stp w3, w5, [x1], #-16
    ldnp x29, x14, [x1]
    ldp x1, x15, [x1]
    mov x1, #0x09000000
    mov sp, x1
    ldr x19, [sp], #16
    str x19, [sp, #-16]!
    mov x0, sp
    // Half of each is in memory.
    str x9, [x23, #8]
    ldp x16, x17, [x23]
    stp x5, x6, [x23]
";

#[test]
fn every_form_of_load_and_store_reaches_devices_alike() {
    let (exits, _) = compared(ACCESSES, &state());
    assert!(exits.len() > 40 && matches!(exits.last(), Some(Exit::Hypercall(_))), "{exits:?}");
    compared(ACCESSES, &with_tables(state()));
}

#[test]
fn what_reaches_nothing_is_the_guests_own_exception() {
    let source = "
        ldr x3, [x24]
        str x3, [x24, #8]
        ldp x4, x5, [x24]
        stp x4, x5, [x24], #16
        ldr w6, [x24, #4]!
        ldxr w7, [x1]
        stxr w8, w7, [x1]
        ldadd w7, w9, [x1]
        cas w7, w9, [x1]
        swpal x7, x9, [x1]
        smc #0
        mrs x10, pmcr_el0
    ";
    let (_, after) = compared(source, &state());
    // Even STXR, which has no LDXR that succeeded.
    assert_eq!(after.x[28], 12);
    compared(source, &with_tables(state()));
}

#[test]
fn exceptions_are_entered_as_the_architecture_says() {
    for pstate in [0x3c5, 0x3c4, 0x6000_03c5, 0x0040_03c5, 0x5] {
        for span in [0, 1 << 23] {
            let mut state = with_tables(state());
            state.pstate = pstate;
            state.sys.sctlr_el1 = state.sys.sctlr_el1 & !(1 << 23) | span;
            compared("ldr x3, [x24]", &state);
        }
    }
}

#[test]
fn system_registers_of_the_interrupt_controller_are_the_machines() {
    let source = "
        mrs x3, S3_0_C12_C12_0
        msr S3_0_C4_C6_0, x3
        msr S3_0_C12_C12_1, xzr
        mrs xzr, S3_0_C12_C12_5
        msr S3_0_C12_C11_5, x2
    ";
    let (exits, after) = compared(source, &state());
    assert_eq!(exits.len(), 6);
    assert_eq!(after.x[3], 0xc660);
}

#[test]
fn a_hypercall_has_its_arguments_and_its_answer() {
    let mut state = state();
    state.x[..4].copy_from_slice(&[1, 2, 3, 4]);
    let (mac, mut vcpu) = started(&assemble("hvc #0\n add x1, x0, #1\n hvc #0"));
    vcpu.load(&state).unwrap();
    assert_eq!(run(&mut vcpu), Exit::Hypercall([1, 2, 3, 4]));
    assert_eq!(vcpu.run(Resume::Value(41), 0, PLENTY), Exit::Hypercall([41, 42, 3, 4]));
    drop((vcpu, mac));
}

#[test]
fn waiting_is_done_when_it_is_told() {
    let (_mac, mut vcpu) = started(&assemble("wfi\n wfe\n hvc #0"));
    assert_eq!(run(&mut vcpu), Exit::WaitForInterrupt);
    assert_eq!(vcpu.save().pc, CODE + 4);
    assert_eq!(run(&mut vcpu), Exit::WaitForEvent);
    assert!(matches!(run(&mut vcpu), Exit::Hypercall(_)));
}

/// The level that the machine sets holds until it sets another, though the framework forgets it at every exit.
#[test]
fn an_interrupt_stays_until_it_is_taken_away() {
    let (mac, mut vcpu) = started(&assemble("ldr w3, [x1]\n msr daifclr, #2\n nop\n hvc #1"));
    write(&mac.memory, VECTORS + 0x280, &assemble("hvc #2"));
    for (level, end) in [(true, VECTORS + 0x284), (false, CODE + 16)] {
        let mut state = state();
        state.x[1] = DEVICE;
        vcpu.load(&state).unwrap();
        vcpu.set_irq(level);
        assert!(matches!(run(&mut vcpu), Exit::MmioRead { .. }));
        assert!(matches!(vcpu.run(Resume::Value(0), 0, PLENTY), Exit::Hypercall(_)));
        assert_eq!(vcpu.save().pc, end, "level {level}");
    }
}

#[test]
fn a_kick_ends_a_run_or_the_next_one() {
    let (_mac, mut vcpu) = started(&assemble("b ."));
    let kicker = vcpu.kicker();
    kicker.kick();
    assert_eq!(run(&mut vcpu), Exit::Budget);
    thread::scope(|scope| {
        scope.spawn(|| {
            thread::sleep(Duration::from_millis(20));
            kicker.kick();
        });
        assert_eq!(run(&mut vcpu), Exit::Budget);
    });
    drop(vcpu);
    // Nobody is there any more.
    kicker.kick();
}

/// The answer to an exit is taken before a kick is obeyed: the instruction is done.
#[test]
fn a_kick_loses_no_answer() {
    let (_mac, mut vcpu) = started(&assemble("ldr w3, [x1]\n hvc #0"));
    vcpu.load(&state()).unwrap();
    assert!(matches!(run(&mut vcpu), Exit::MmioRead { .. }));
    vcpu.kicker().kick();
    assert_eq!(vcpu.run(Resume::Value(77), 0, PLENTY), Exit::Budget);
    let state = vcpu.save();
    assert_eq!((state.x[3], state.pc), (77, CODE + 4));
}

/// A timer that fires ends the run once; while the machine knows of it, the guest runs on; rearmed, it fires again.
#[test]
fn the_timer_fires_once_for_each_time_that_it_is_armed() {
    let (_mac, mut vcpu) = started(&assemble("1: add x3, x3, #1\n b 1b"));
    let clock = HostClock::starting_at(1 << 40);
    vcpu.set_clock(clock);
    let now = || ticks_from_nanos(clock.nanos());
    let mut state = entry();
    state.timer.ctl = 1;
    state.timer.cval = now() + 24_000 * 30;
    vcpu.load(&state).unwrap();
    for round in 0..3 {
        assert_eq!(vcpu.deadline(), Some(state.timer.cval));
        assert!(!vcpu.timer_asserted(now()), "round {round}");
        while !vcpu.timer_asserted(now()) {
            assert_eq!(run(&mut vcpu), Exit::Budget);
        }
        assert!(now() >= state.timer.cval);
        // It is known: only a kick ends this run.
        let kicker = vcpu.kicker();
        let before = Instant::now();
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(30));
                kicker.kick();
            });
            assert_eq!(run(&mut vcpu), Exit::Budget);
        });
        assert!(before.elapsed() >= Duration::from_millis(30), "round {round}");
        state = vcpu.save();
        assert_eq!(state.timer.ctl, 1, "ISTATUS is no state");
        state.timer.cval = now() + 24_000 * 30;
        vcpu.load(&state).unwrap();
    }
}

/// The guest's counter goes on from the machine's clock, on every vCPU alike.
#[test]
fn the_counter_is_the_clocks() {
    let (_mac, mut vcpu) = started(&assemble("mrs x3, cntvct_el0\n hvc #0"));
    for nanos in [0, 1 << 40, 1 << 62] {
        let clock = HostClock::starting_at(nanos);
        vcpu.set_clock(clock);
        vcpu.load(&entry()).unwrap();
        let before = ticks_from_nanos(clock.nanos());
        run(&mut vcpu);
        let seen = vcpu.save().x[3];
        assert!(seen >= before && seen - before < 24_000_000 * 10, "{before} {seen}");
    }
}

/// New code and new tables at the old addresses, as after a reset in place.
#[test]
fn a_loaded_state_meets_the_memory_that_is_there() {
    let mac = mac(prepared(), 1);
    let mut vcpu = mac.engine.create_vcpu(0).unwrap();
    let mut state = with_tables(state());
    // The third gigabyte has one page, by tables of its own.
    const PAGE: u64 = 1 << 31 | 0x2_0000;
    for (at, descriptor) in [(0x4010, RAM_BASE + 0x5000), (0x5000, RAM_BASE + 0x6000)] {
        mac.memory.write(RAM_BASE + at, &(descriptor | 3).to_le_bytes()).unwrap();
    }
    state.x[5] = PAGE;
    for (round, page) in [(1u64, RAM_BASE + 0x2_0000), (2, RAM_BASE + 0x3_0000)] {
        write(&mac.memory, CODE, &assemble(&format!("mov x3, #{round}\n ldr x4, [x5]\n hvc #0")));
        mac.memory.write(page, &(7 * round).to_le_bytes()).unwrap();
        mac.memory.write(RAM_BASE + 0x6100, &(page | 1 << 10 | 3).to_le_bytes()).unwrap();
        vcpu.load(&state).unwrap();
        run(&mut vcpu);
        let after = vcpu.save();
        assert_eq!((after.x[3], after.x[4]), (round, 7 * round));
    }
}

/// A kick that comes while a state is loaded is obeyed afterwards.
#[test]
fn a_kick_during_a_load_is_kept() {
    let (_mac, mut vcpu) = started(&assemble("1: b 1b"));
    let kicker = vcpu.kicker();
    kicker.kick();
    assert_eq!(run(&mut vcpu), Exit::Budget);
    kicker.kick();
    vcpu.load(&entry()).unwrap();
    assert_eq!(run(&mut vcpu), Exit::Budget);
}

#[test]
fn memory_that_forgets_its_changes_is_shown_anew() {
    let mac = mac(memory(), 1);
    write(&mac.memory, CODE, &assemble("hvc #0"));
    let mut vcpu = mac.engine.create_vcpu(0).unwrap();
    vcpu.load(&entry()).unwrap();
    assert!(matches!(run(&mut vcpu), Exit::Hypercall(_)));
    mac.memory.discard_changes().unwrap();
    write(&mac.memory, CODE, &assemble("mov x3, #3\n hvc #0"));
    vcpu.load(&entry()).unwrap();
    assert!(matches!(run(&mut vcpu), Exit::Hypercall(_)));
    assert_eq!(vcpu.save().x[3], 3);
}
