//! The registers of a vCPU by KVM's names (KVM API, KVM_SET_ONE_REG) and the fields of the machine's state that they are.

use machine::{cpu_state::CpuState, engine::SysReg};

/// KVM_REG_ARM64, with the size of the register.
const U32: u64 = 0x6020_0000_0000_0000;
const U64: u64 = 0x6030_0000_0000_0000;
const U128: u64 = 0x6040_0000_0000_0000;

/// A core register: its offset in `struct kvm_regs` (`asm/kvm.h`), in words of 32 bits.
const fn core(size: u64, offset: u64) -> u64 {
    size | 0x10 << 16 | (offset / 4)
}

/// X0, the first member.
const X0: u64 = 0;
const SP_EL0: u64 = 8 * 31;
pub(crate) const PC: u64 = core(U64, SP_EL0 + 8);
const PSTATE: u64 = SP_EL0 + 16;
const SP_EL1: u64 = SP_EL0 + 24;
const ELR_EL1: u64 = SP_EL0 + 32;
/// The first of five; the others are of AArch32.
const SPSR_EL1: u64 = SP_EL0 + 40;
/// V0, aligned to its size.
const V0: u64 = 336;
const FPSR: u64 = V0 + 16 * 32;
const FPCR: u64 = FPSR + 4;

/// General register `n`, at most 30.
pub(crate) const fn general(n: u8) -> u64 {
    core(U64, X0 + 8 * n as u64)
}

/// A system register.
pub(crate) const fn system(register: SysReg) -> u64 {
    U64 | 0x13 << 16 | register.encoding() as u64
}

const fn at(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> u64 {
    system(SysReg::new(op0, op1, crn, crm, op2))
}

/// CNTV_CTL_EL0.
const TIMER_CONTROL: u64 = at(3, 3, 14, 3, 1);
/// CNTV_CVAL_EL0, by the encoding of CNTVCT_EL0: the two are swapped for ever (KVM API, KVM_REG_ARM_TIMER_CVAL).
const TIMER_COMPARE: u64 = at(3, 3, 14, 0, 2);
/// OSLSR_EL1.
const OS_LOCK_STATUS: u64 = at(2, 0, 1, 1, 4);
/// OSLSR_EL1.OSLM: the lock is there. KVM takes no other value of it.
const OS_LOCK_THERE: u64 = 0b1000;
const OS_LOCKED: u64 = 1 << 1;

/// CNTV_CTL_EL0 without ISTATUS.
const TIMER_CONTROL_MASK: u64 = 0b11;

/// MPIDR_EL1.
pub(crate) const MPIDR_EL1: u64 = at(3, 0, 0, 0, 5);
/// CTR_EL0.
pub(crate) const CTR_EL0: u64 = at(3, 3, 0, 0, 1);

/// What holds the value of a register.
pub(crate) enum Field<'a> {
    /// Of 32 or 64 bits.
    Number(&'a mut u64),
    /// Of 128 bits: low and high half.
    Vector(&'a mut [u64; 2]),
}

/// Size in bytes of the register that KVM calls `id`.
pub(crate) const fn size(id: u64) -> usize {
    1 << (id >> 52 & 15)
}

/// Calls `each` with every register that holds state and what is to hold its value. What is changed in the values
/// becomes part of `state`.
///
/// # Errors
/// Those of `each`.
pub(crate) fn each_register<E>(
    state: &mut CpuState,
    each: &mut impl FnMut(u64, Field<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut number = |id, value: &mut u64| each(id, Field::Number(value));
    for (n, x) in (0..).zip(&mut state.x) {
        number(general(n), x)?;
    }
    number(core(U64, SP_EL0), &mut state.sp_el0)?;
    number(PC, &mut state.pc)?;
    number(core(U64, PSTATE), &mut state.pstate)?;
    number(core(U64, SP_EL1), &mut state.sp_el1)?;
    number(core(U32, FPSR), &mut state.fpsr)?;
    number(core(U32, FPCR), &mut state.fpcr)?;
    let sys = &mut state.sys;
    number(core(U64, ELR_EL1), &mut sys.elr_el1)?;
    number(core(U64, SPSR_EL1), &mut sys.spsr_el1)?;
    number(at(3, 0, 1, 0, 0), &mut sys.sctlr_el1)?;
    number(at(3, 0, 1, 0, 2), &mut sys.cpacr_el1)?;
    number(at(3, 0, 2, 0, 0), &mut sys.ttbr0_el1)?;
    number(at(3, 0, 2, 0, 1), &mut sys.ttbr1_el1)?;
    number(at(3, 0, 2, 0, 2), &mut sys.tcr_el1)?;
    number(at(3, 0, 10, 2, 0), &mut sys.mair_el1)?;
    number(at(3, 0, 10, 3, 0), &mut sys.amair_el1)?;
    number(at(3, 0, 12, 0, 0), &mut sys.vbar_el1)?;
    number(at(3, 0, 13, 0, 1), &mut sys.contextidr_el1)?;
    number(at(3, 0, 5, 2, 0), &mut sys.esr_el1)?;
    number(at(3, 0, 6, 0, 0), &mut sys.far_el1)?;
    number(at(3, 0, 5, 1, 0), &mut sys.afsr0_el1)?;
    number(at(3, 0, 5, 1, 1), &mut sys.afsr1_el1)?;
    number(at(3, 0, 7, 4, 0), &mut sys.par_el1)?;
    number(at(3, 3, 13, 0, 2), &mut sys.tpidr_el0)?;
    number(at(3, 3, 13, 0, 3), &mut sys.tpidrro_el0)?;
    number(at(3, 0, 13, 0, 4), &mut sys.tpidr_el1)?;
    number(at(3, 2, 0, 0, 0), &mut sys.csselr_el1)?;
    number(at(3, 0, 14, 1, 0), &mut sys.cntkctl_el1)?;
    number(at(2, 0, 0, 2, 2), &mut sys.mdscr_el1)?;
    let breakpoints = (0..).zip(&mut sys.breakpoints).map(|(n, pair)| (n, 4, pair));
    let watchpoints = (0..).zip(&mut sys.watchpoints).map(|(n, pair)| (n, 6, pair));
    for (n, op2, [value, control]) in breakpoints.chain(watchpoints) {
        number(at(2, 0, 0, n, op2), value)?;
        number(at(2, 0, 0, n, op2 + 1), control)?;
    }
    let mut status = OS_LOCK_THERE | if sys.os_lock { OS_LOCKED } else { 0 };
    number(OS_LOCK_STATUS, &mut status)?;
    sys.os_lock = status & OS_LOCKED != 0;
    // The comparison before what turns it on.
    number(TIMER_COMPARE, &mut state.timer.cval)?;
    number(TIMER_CONTROL, &mut state.timer.ctl)?;
    state.timer.ctl &= TIMER_CONTROL_MASK;
    for (n, v) in (0..).zip(&mut state.v) {
        each(core(U128, V0 + 16 * n), Field::Vector(v))?;
    }
    Ok(())
}

/// What in `state` a vCPU with the machine's features can't have here.
///
/// # Errors
/// Its name and value.
pub(crate) fn check(state: &CpuState) -> Result<(), String> {
    /// N, Z, C, V, PAN, SS, IL, D, A, I, F and M (Arm ARM C5.2.18).
    const PSTATE: u64 = 0xf070_03df;
    /// AHP, DN, FZ, RMode; QC, IDC, IXC, UFC, OFC, DZC, IOC.
    const FPCR: u64 = 0x07c0_0000;
    const FPSR: u64 = 0x0800_009f;
    let sys = &state.sys;
    if state.pstate & !PSTATE != 0 || !matches!(state.pstate & 0x1f, 0 | 4 | 5) {
        return Err(format!("PSTATE {:#x}", state.pstate));
    }
    for (name, value, known) in [
        ("FPCR", state.fpcr, FPCR),
        ("FPSR", state.fpsr, FPSR),
        ("CNTV_CTL_EL0", state.timer.ctl, TIMER_CONTROL_MASK),
        // KVM shows the guest the host's, and no OS double lock: both ignore what is written.
        ("ACTLR_EL1", sys.actlr_el1, 0),
        ("OSDLR_EL1", sys.osdlr_el1, 0),
        // Without pointer authentication there are no keys.
        ("a key of pointer authentication", sys.pointer_auth_keys.iter().flatten().fold(0, |a, b| a | b), 0),
    ] {
        if value & !known != 0 {
            return Err(format!("{name} {value:#x}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    type Store = HashMap<u64, [u64; 2]>;

    fn save(state: &CpuState) -> Store {
        let mut store = Store::new();
        let mut put = |id, field: Field<'_>| {
            let value = match field {
                Field::Number(value) => [*value, 0],
                Field::Vector(value) => *value,
            };
            if store.insert(id, value).is_some() { Err(id) } else { Ok(()) }
        };
        each_register(&mut state.clone(), &mut put).expect("no register twice");
        store
    }

    fn load(store: &Store) -> CpuState {
        let mut state = CpuState::default();
        let mut get = |id, field: Field<'_>| {
            let value = *store.get(&id).ok_or(id)?;
            match field {
                Field::Number(field) => *field = value[0],
                Field::Vector(field) => *field = value,
            }
            Ok::<_, u64>(())
        };
        each_register(&mut state, &mut get).expect("the same registers");
        state
    }

    /// A state in which no two fields are the same.
    fn distinct() -> CpuState {
        let mut state = CpuState::at_entry(0, 0);
        let mut n = 0x100;
        let mut fill = |_, field: Field<'_>| {
            n += 1;
            match field {
                Field::Number(value) => *value = n,
                Field::Vector(value) => *value = [n, n << 32],
            }
            Ok::<_, ()>(())
        };
        each_register(&mut state, &mut fill).unwrap();
        state.sys.os_lock = true;
        state.timer.ctl = 1;
        state
    }

    #[test]
    fn every_field_has_a_register_of_its_own() {
        let state = distinct();
        assert_eq!(load(&save(&state)), state);
        // What is not in it: ACTLR_EL1, OSDLR_EL1 and ten halves of keys.
        let numbers = serde_numbers(&state);
        assert_eq!(save(&state).len() + 32, numbers - 12);
    }

    /// How many numbers and truth values a state has.
    fn serde_numbers(state: &CpuState) -> usize {
        let text = format!("{state:?}");
        text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .filter(|word| matches!(*word, "true" | "false") || word.parse::<u64>().is_ok())
            .count()
    }

    /// Values of `asm/kvm.h` of Linux 6.12, as a C compiler has them.
    #[test]
    fn names_are_the_kernels() {
        assert_eq!(general(0), 0x6030_0000_0010_0000);
        assert_eq!(general(30), 0x6030_0000_0010_003c);
        assert_eq!(core(U64, SP_EL0), 0x6030_0000_0010_003e);
        assert_eq!(PC, 0x6030_0000_0010_0040);
        assert_eq!(core(U64, PSTATE), 0x6030_0000_0010_0042);
        assert_eq!(core(U64, SP_EL1), 0x6030_0000_0010_0044);
        assert_eq!(core(U64, ELR_EL1), 0x6030_0000_0010_0046);
        assert_eq!(core(U64, SPSR_EL1), 0x6030_0000_0010_0048);
        assert_eq!(core(U128, V0), 0x6040_0000_0010_0054);
        assert_eq!(core(U32, FPSR), 0x6020_0000_0010_00d4);
        assert_eq!(core(U32, FPCR), 0x6020_0000_0010_00d5);
        assert_eq!(TIMER_CONTROL, 0x6030_0000_0013_df19);
        assert_eq!(TIMER_COMPARE, 0x6030_0000_0013_df02);
        assert_eq!(MPIDR_EL1, 0x6030_0000_0013_c005);
        assert_eq!([size(core(U32, FPSR)), size(PC), size(core(U128, V0))], [4, 8, 16]);
    }

    #[test]
    fn what_it_has_not_is_named() {
        check(&CpuState::at_entry(0x4000_0000, 0)).unwrap();
        type Change = fn(&mut CpuState);
        let wrong: [(&str, Change); 6] = [
            ("PSTATE", |state| state.pstate = 0x9),
            ("FPCR", |state| state.fpcr = 1 << 19),
            ("CNTV_CTL_EL0", |state| state.timer.ctl = 4),
            ("ACTLR_EL1", |state| state.sys.actlr_el1 = 2),
            ("OSDLR_EL1", |state| state.sys.osdlr_el1 = 1),
            ("pointer authentication", |state| state.sys.pointer_auth_keys[4][1] = 1),
        ];
        for (name, change) in wrong {
            let mut state = CpuState::at_entry(0x4000_0000, 0);
            change(&mut state);
            let error = check(&state).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }
}
