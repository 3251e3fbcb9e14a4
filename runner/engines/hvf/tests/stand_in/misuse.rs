//! What the framework refuses, and how that reads.

use std::{ptr::null_mut, thread};

use crate::guest::{course, entry, mac, memory, refusal, run, started, write};
use applevisor_sys::{
    HV_MEMORY_READ, hv_error_t, hv_reg_t, hv_return_t, hv_vcpu_create, hv_vcpu_destroy, hv_vcpu_get_reg,
    hv_vcpu_run, hv_vm_create, hv_vm_destroy, hv_vm_map,
};
use engine_hvf::HvfEngine;
use hvf_stand_in::{MOST_VCPUS, deny, turn};
use machine::{
    engine::{Engine, Exit, Resume, Vcpu},
    memory::GuestMemory,
};

fn is(code: hv_return_t, error: hv_error_t) -> bool {
    code == error as hv_return_t
}

#[test]
fn a_program_without_the_entitlement_is_told_so() {
    let _turn = turn();
    deny(true);
    let message = refusal(HvfEngine::new(memory(), 1));
    assert!(message.contains("entitlement com.apple.security.hypervisor"), "{message}");
    deny(false);
    HvfEngine::new(memory(), 1).unwrap();
}

#[test]
fn a_second_virtual_machine_waits_for_the_end_of_the_first() {
    let mac = mac(memory(), 1);
    let vcpu = mac.engine.create_vcpu(0).unwrap();
    let message = refusal(HvfEngine::new(memory(), 1));
    assert!(message.contains("this process has a virtual machine already"), "{message}");
    // The engine is gone, its vCPU holds the machine.
    drop(mac.engine);
    refusal(HvfEngine::new(memory(), 1));
    drop(vcpu);
    let second = HvfEngine::new(memory(), 2).unwrap();
    assert!(second.create_vcpu(1).is_ok());
}

#[test]
fn too_many_processors_are_refused_before_there_is_a_machine() {
    let _turn = turn();
    let most = MOST_VCPUS as usize;
    let message = refusal(HvfEngine::new(memory(), most + 1));
    assert!(
        message.contains(&format!("{} virtual processors; this Mac gives a guest at most {most}", most + 1)),
        "{message}"
    );
    let engine = HvfEngine::new(memory(), most).unwrap();
    let message = refusal(engine.create_vcpu(most));
    assert!(message.contains(&format!("vCPU {most} of {most}")), "{message}");
}

#[test]
fn a_thread_has_one_processor() {
    let mac = mac(memory(), 2);
    mac.engine.probe().unwrap();
    let _first = mac.engine.create_vcpu(0).unwrap();
    let message = refusal(mac.engine.create_vcpu(1));
    assert!(message.contains("this thread has a virtual processor already"), "{message}");
    thread::scope(|scope| {
        scope.spawn(|| drop(mac.engine.create_vcpu(1).unwrap()));
    });
}

/// The stand-in keeps to the owner rule, so that every other test shows that the engine does.
#[test]
fn a_processor_obeys_its_own_thread_alone() {
    let _turn = turn();
    let (mut id, mut exit) = (0, std::ptr::null());
    // SAFETY: the framework's own rules, which are kept or broken on purpose; every pointer is good.
    unsafe {
        assert!(
            is(hv_vcpu_create(&mut id, &mut exit, null_mut()), hv_error_t::HV_NO_DEVICE),
            "no machine yet"
        );
        assert!(is(hv_vm_destroy(), hv_error_t::HV_NO_DEVICE));
        assert!(is(hv_vm_create(null_mut()), hv_error_t::HV_SUCCESS));
        assert!(is(hv_vcpu_create(&mut id, &mut exit, null_mut()), hv_error_t::HV_SUCCESS));
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut value = 0;
                assert!(is(hv_vcpu_get_reg(id, hv_reg_t::PC, &mut value), hv_error_t::HV_BAD_ARGUMENT));
                assert!(is(hv_vcpu_run(id), hv_error_t::HV_BAD_ARGUMENT));
                assert!(is(hv_vcpu_destroy(id), hv_error_t::HV_BAD_ARGUMENT));
            });
        });
        assert!(is(hv_vm_destroy(), hv_error_t::HV_BUSY), "a vCPU is left");
        assert!(is(hv_vcpu_destroy(id), hv_error_t::HV_SUCCESS));
        assert!(is(hv_vm_destroy(), hv_error_t::HV_SUCCESS));
    }
}

#[test]
fn memory_is_mapped_in_whole_pages_of_16_kib() {
    let _turn = turn();
    let message = refusal(HvfEngine::new(GuestMemory::anonymous(0x5000).unwrap(), 1));
    assert!(message.contains("not whole pages of 16 KiB"), "{message}");
    // SAFETY: as above; the mapping is never used.
    unsafe {
        assert!(is(hv_vm_create(null_mut()), hv_error_t::HV_SUCCESS));
        let memory = memory();
        let host = memory.extents()[0].host.cast();
        for (ipa, size) in [(0x1000, 0x4000), (0x4000, 0x1000), (0x4000, 0), (1 << 36, 0x4000)] {
            assert!(is(hv_vm_map(host, ipa, size, HV_MEMORY_READ), hv_error_t::HV_BAD_ARGUMENT), "{ipa:#x}");
        }
        assert!(is(hv_vm_map(host, 0x4000, 0x8000, HV_MEMORY_READ), hv_error_t::HV_SUCCESS));
        assert!(is(hv_vm_map(host, 0x8000, 0x4000, HV_MEMORY_READ), hv_error_t::HV_ERROR), "twice");
        assert!(is(hv_vm_destroy(), hv_error_t::HV_SUCCESS));
    }
}

/// More RAM than the default address space has room for, and more than there is.
#[test]
fn the_address_space_grows_with_the_memory() {
    let turn = turn();
    let memory = GuestMemory::anonymous(64 << 30).unwrap();
    drop(HvfEngine::new(memory, 1).unwrap());
    let message = refusal(HvfEngine::new(GuestMemory::anonymous(1 << 40).unwrap(), 1));
    assert!(message.contains("it needs addresses of 41 bits, this Mac has 40"), "{message}");
    drop(turn);
}

/// An access to what is not mapped is the machine's, and where that has nothing, the guest's own exception.
#[test]
fn an_unmapped_access_is_an_exit_and_then_an_abort() {
    // ldr x2, [x1]; hvc #0, and hvc #0 at the vector of EL1h.
    let (mac, mut vcpu) = started(&[0xf940_0022, 0xd400_0002]);
    write(&mac.memory, crate::guest::VECTORS + 0x200, &[0xd400_0002]);
    let mut state = entry();
    state.x[1] = 0x1000_0000;
    vcpu.load(&state).unwrap();
    let (exits, after) = course(&mut vcpu, |_| Resume::Fault);
    assert_eq!(exits[0], Exit::MmioRead { gpa: 0x1000_0000, size: 8 });
    assert_eq!(exits.len(), 2);
    // Data abort from the same level, external, not on a walk; the return address is that of the load.
    assert_eq!(after.sys.esr_el1, 0x9600_0010);
    assert_eq!((after.sys.far_el1, after.sys.elr_el1), (0x1000_0000, crate::guest::CODE));
    assert_eq!(after.pc, crate::guest::VECTORS + 0x204);
}

#[test]
fn what_no_processor_of_the_machine_has_is_refused_by_name_and_changes_nothing() {
    let (_mac, mut vcpu) = started(&[0xd400_0002]);
    let before = vcpu.save();
    for (change, name) in [
        ((|state| state.pstate |= 1 << 24) as fn(&mut machine::cpu_state::CpuState), "PSTATE"),
        (|state| state.pstate = 0x3c9, "PSTATE"),
        (|state| state.fpcr = 1 << 8, "FPCR"),
        (|state| state.fpsr = 1 << 20, "FPSR"),
        (|state| state.sys.actlr_el1 = 2, "ACTLR_EL1"),
        (|state| state.timer.ctl = 4, "CNTV_CTL_EL0"),
    ] {
        let mut state = entry();
        change(&mut state);
        let message = refusal(vcpu.load(&state));
        assert!(message.contains(name), "{message}");
        assert_eq!(vcpu.save(), before);
    }
    assert!(refusal(vcpu.set_breakpoints(&[0x1000])).contains("breakpoints"));
    vcpu.set_breakpoints(&[]).unwrap();
    assert!(matches!(run(&mut vcpu), Exit::Hypercall(_)));
}
