//! The architectural state goes in and comes out whole.

use std::cell::RefCell;

use crate::guest::{entry, mac, memory};
use machine::{
    cpu_state::{CpuState, SysRegs, TimerState},
    engine::{Engine, Vcpu},
};
use proptest::{array, collection::vec, prelude::*};

/// Any state that a vCPU of the machine can have, its registers all different.
fn states() -> impl Strategy<Value = CpuState> {
    let pstate = (any::<u64>(), prop_oneof![Just(0u64), Just(4), Just(5)]);
    (
        vec(any::<u64>(), 31 + 4 + 22 + 12 + 8 + 10),
        array::uniform32(array::uniform2(any::<u64>())),
        pstate,
        any::<[u64; 4]>(),
    )
        .prop_map(|(numbers, v, (flags, mode), more)| {
            let mut numbers = numbers.into_iter();
            let mut next = || numbers.next().unwrap();
            let mut state = CpuState {
                x: std::array::from_fn(|_| next()),
                sp_el0: next(),
                sp_el1: next(),
                pc: next(),
                pstate: flags & 0xf070_03c0 | mode,
                v,
                fpcr: more[0] & 0x07c0_0000,
                fpsr: more[1] & 0x0800_009f,
                timer: TimerState { ctl: more[2] & 3, cval: next() },
                ..CpuState::default()
            };
            let SysRegs {
                sctlr_el1,
                actlr_el1: _,
                cpacr_el1,
                ttbr0_el1,
                ttbr1_el1,
                tcr_el1,
                mair_el1,
                amair_el1,
                vbar_el1,
                contextidr_el1,
                esr_el1,
                far_el1,
                afsr0_el1,
                afsr1_el1,
                elr_el1,
                spsr_el1,
                par_el1,
                tpidr_el0,
                tpidrro_el0,
                tpidr_el1,
                csselr_el1,
                cntkctl_el1,
                mdscr_el1,
                osdlr_el1,
                os_lock,
                breakpoints,
                watchpoints,
                pointer_auth_keys,
            } = &mut state.sys;
            for field in [
                sctlr_el1,
                cpacr_el1,
                ttbr0_el1,
                ttbr1_el1,
                tcr_el1,
                mair_el1,
                amair_el1,
                vbar_el1,
                contextidr_el1,
                esr_el1,
                far_el1,
                afsr0_el1,
                afsr1_el1,
                elr_el1,
                spsr_el1,
                par_el1,
                tpidr_el0,
                tpidrro_el0,
                tpidr_el1,
                csselr_el1,
                cntkctl_el1,
                mdscr_el1,
            ] {
                *field = next();
            }
            *osdlr_el1 = more[3] & 1;
            *os_lock = more[3] & 2 != 0;
            let pairs = breakpoints.iter_mut().chain(watchpoints).chain(pointer_auth_keys);
            pairs.flatten().for_each(|field| *field = next());
            state
        })
}

#[test]
fn any_state_comes_back_the_same() {
    let mac = mac(memory(), 1);
    let vcpu = RefCell::new(mac.engine.create_vcpu(0).unwrap());
    // With pending interrupts and timers, which are no state, never to be run.
    let mut runner = proptest::test_runner::TestRunner::default();
    runner
        .run(&states(), |state| {
            vcpu.borrow_mut().load(&state).unwrap();
            prop_assert_eq!(vcpu.borrow().save(), state);
            Ok(())
        })
        .unwrap();
    vcpu.borrow_mut().load(&entry()).unwrap();
    assert_eq!(vcpu.borrow().save(), entry());
}
