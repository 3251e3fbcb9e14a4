//! Exits that the stand-in does not make, for the soft engine's processor deals with them itself.

use hvf_stand_in::{Turn, lend, turn};
use machine::{
    engine::{Engine, SysReg as Register},
    layout::RAM_BASE,
    memory::GuestMemory,
};

use super::*;
use crate::HvfEngine;

const CODE: u64 = RAM_BASE + 0x1000;

fn vcpu() -> (HvfVcpu, Turn) {
    let turn = turn();
    let memory = GuestMemory::anonymous(1 << 20).unwrap();
    lend(&memory);
    let mut vcpu = HvfEngine::new(memory, 1).unwrap().create_vcpu(0).unwrap();
    let mut state = CpuState::at_entry(CODE, 0);
    state.sys.vbar_el1 = RAM_BASE;
    vcpu.load(&state).unwrap();
    (vcpu, turn)
}

/// The trap of an access to `register` by way of X3.
fn access(register: Register, read: bool) -> Trap {
    Trap::System(SystemAccess { register, read, rt: 3 })
}

/// What is read of `register`, which takes one instruction.
fn read(vcpu: &mut HvfVcpu, register: Register) -> u64 {
    let before = vcpu.save().pc;
    assert!(matches!(vcpu.trapped(access(register, true)), Ok(Came::Again)));
    let after = vcpu.save();
    assert_eq!(after.pc, before + 4);
    after.x[3]
}

fn write(vcpu: &mut HvfVcpu, register: Register, value: u64) {
    vcpu.set_x(3, value).unwrap();
    assert!(matches!(vcpu.trapped(access(register, false)), Ok(Came::Again)));
}

#[test]
fn the_os_locks_are_kept_here() {
    let (mut vcpu, _turn) = vcpu();
    let (oslar, oslsr) = (Register::new(2, 0, 1, 0, 4), Register::new(2, 0, 1, 1, 4));
    let osdlr = Register::new(2, 0, 1, 3, 4);
    write(&mut vcpu, oslar, 1);
    assert_eq!(read(&mut vcpu, oslsr), 0b1010);
    write(&mut vcpu, osdlr, 3);
    assert_eq!(read(&mut vcpu, osdlr), 1);
    let state = vcpu.save();
    assert!(state.sys.os_lock && state.sys.osdlr_el1 == 1);
    write(&mut vcpu, oslar, 0);
    assert_eq!(read(&mut vcpu, oslsr), 0b1000);
    vcpu.load(&state).unwrap();
    assert_eq!(read(&mut vcpu, oslsr), 0b1010);
}

#[test]
fn the_physical_counter_is_the_virtual_one() {
    let (mut vcpu, _turn) = vcpu();
    let clock = HostClock::starting_at(1 << 40);
    vcpu.set_clock(clock);
    let seen = read(&mut vcpu, Register::new(3, 3, 14, 0, 1));
    assert!((ticks_from_nanos(1 << 40)..=ticks_from_nanos(clock.nanos())).contains(&seen));
}

#[test]
fn what_is_fixed_reads_so_and_maintenance_is_passed_over() {
    let (mut vcpu, _turn) = vcpu();
    // ID_AA64ISAR2_EL1, of which the machine has nothing; ID_AA64MMFR1_EL1; MDRAR_EL1.
    assert_eq!(read(&mut vcpu, Register::new(3, 0, 0, 6, 2)), 0);
    assert_eq!(read(&mut vcpu, Register::new(3, 0, 0, 7, 1)), 0x0010_0000);
    assert_eq!(read(&mut vcpu, Register::new(2, 0, 1, 0, 0)), 0);
    // DC CISW.
    write(&mut vcpu, Register::new(1, 0, 7, 14, 2), 0x1234);
    // PMCR_EL0: UNDEFINED.
    assert!(matches!(vcpu.trapped(access(Register::new(3, 3, 9, 12, 0), true)), Ok(Came::Again)));
    let state = vcpu.save();
    assert_eq!((state.pc, state.sys.esr_el1), (RAM_BASE + 0x200, 0x0200_0000));
}

#[test]
fn what_nobody_knows_is_reported_or_the_guests_own_exception() {
    let (mut vcpu, _turn) = vcpu();
    // An implementation defined register of Apple's.
    let register = Register::new(3, 4, 15, 0, 0);
    let came = vcpu.trapped(access(register, true));
    let Ok(Came::Out(Exit::Stopped(report))) = came else { panic!("it went on") };
    assert_eq!((report.pc, report.what.as_str()), (CODE, "MRS of S3_4_C15_C0_0, which this engine has not"));
    vcpu.vcpu.set_reg(Reg::CPSR, 0x3c0).unwrap();
    assert!(matches!(vcpu.trapped(access(register, true)), Ok(Came::Again)));
    assert_eq!(vcpu.save().pc, RAM_BASE + 0x400);
    let came = vcpu.trapped(Trap::Other(0x2f));
    assert!(matches!(came, Ok(Came::Out(Exit::Stopped(report))) if report.what.contains("0x2f")));
}

#[test]
fn aborts_of_fetches_walks_and_maintenance() {
    let (mut vcpu, _turn) = vcpu();
    let maintenance =
        Trap::Data { address: 8, gpa: 8, write: true, on_walk: false, maintenance: true, access: None };
    assert!(matches!(vcpu.trapped(maintenance), Ok(Came::Again)));
    assert_eq!(vcpu.save().pc, CODE + 4);
    for (trap, esr) in [
        (Trap::Fetch { address: 0x9000, on_walk: false }, 0x8600_0010),
        (Trap::Fetch { address: 0x9000, on_walk: true }, 0x8600_0014),
        (
            Trap::Data {
                address: 0x9000,
                gpa: 0,
                write: true,
                on_walk: true,
                maintenance: false,
                access: None,
            },
            0x9600_0054,
        ),
    ] {
        assert!(matches!(vcpu.trapped(trap), Ok(Came::Again)));
        let state = vcpu.save();
        assert_eq!((state.sys.esr_el1, state.sys.far_el1, state.pc), (esr, 0x9000, RAM_BASE + 0x200));
    }
}

/// Syndromes as Arm's manual lays them out.
#[test]
fn syndromes_are_read() {
    use applevisor::vcpu::VcpuExitException;
    let read =
        |syndrome| exit::trap(&VcpuExitException { syndrome, virtual_address: 0x11, physical_address: 0x22 });
    assert_eq!(read(0x0620_0000), Trap::Wait { for_event: false });
    assert_eq!(read(0x0620_0001), Trap::Wait { for_event: true });
    assert_eq!(read(0x5a00_1234), Trap::Hypercall { immediate: 0x1234 });
    assert_eq!(read(0x5e00_0000), Trap::Monitor);
    // MRS X5, ICC_IAR1_EL1: op0 3, op1 0, CRn 12, CRm 12, op2 0.
    let register = Register::new(3, 0, 12, 12, 0);
    let iss = 3 << 20 | 12 << 10 | 5 << 5 | 12 << 1 | 1;
    assert_eq!(read(0x6200_0000 | iss), Trap::System(SystemAccess { register, read: true, rt: 5 }));
    // LDRSH W7: ISV, halfword, signed, register 7, 32 bits, translation fault.
    let Trap::Data { address, gpa, write, access, .. } =
        read(0x9200_0000 | 1 << 24 | 1 << 22 | 1 << 21 | 7 << 16 | 7)
    else {
        panic!("it is a data abort")
    };
    assert_eq!((address, gpa, write), (0x11, 0x22, false));
    let access = access.unwrap();
    assert_eq!((access.size, access.what), (2, What::Load { register: 7, signed: true, wide: false }));
    assert_eq!(access::loaded(0x8001, access.size, true, false), 0xffff_8001);
    assert_eq!(read(0x8200_0007), Trap::Fetch { address: 0x11, on_walk: false });
    assert_eq!(read(0xbe00_0000), Trap::Other(0x2f));
}
