//! The registers of debug as software finds and writes them, and those of the performance monitors, which are not there.

use super::*;

/// MSR of X1 to, and MRS to X2 of, the register with this encoding.
fn write_and_read(op0: u32, op1: u32, crn: u32, crm: u32, op2: u32) -> [u32; 2] {
    let register = op0 << 19 | op1 << 16 | crn << 12 | crm << 8 | op2 << 5;
    [0xd500_0000 | register | 1, 0xd520_0000 | register | 2]
}

/// What the register holds after all ones were written, or the syndrome.
fn ones(words: [u32; 2], start: CpuState) -> Result<u64, u64> {
    let mut start = start;
    start.x[1] = u64::MAX;
    let end = run(&mut Guest::new(), &[words[0], words[1], SVC_1234], &start);
    if end.sys.esr_el1 == SVC_SYNDROME { Ok(end.x[2]) } else { Err(end.sys.esr_el1) }
}

const UNDEFINED: u64 = 0x0200_0000;

#[test]
fn comparators_are_as_many_as_the_id_register_says() {
    // ID_AA64DFR0_EL1: CTX_CMPs, WRPs and BRPs less one, no PMU, no trace, ARMv8 debug.
    let end = run(&mut Guest::new(), &[0xd538_0501, SVC_1234], &at_el1(CODE));
    assert_eq!(end.x[1], 1 << 28 | 3 << 20 | 5 << 12 | 6);
    for n in 0..16 {
        for (op2, there, control) in
            [(4, 6, None), (5, 6, Some(0x00ff_e1e7)), (6, 4, None), (7, 4, Some(0x1f1f_ffff))]
        {
            let expected = if n < there { Ok(control.unwrap_or(u64::MAX)) } else { Err(UNDEFINED) };
            assert_eq!(ones(write_and_read(2, 0, 0, n, op2), at_el1(CODE)), expected, "{n}, {op2}");
            assert_eq!(ones(write_and_read(2, 0, 0, n, op2), at_el0(USER_CODE)), Err(UNDEFINED));
        }
    }
    // BAS is RES1 without AArch32.
    let end = run(&mut Guest::new(), &[0xd510_00a1, 0xd530_00a2, SVC_1234], &at_el1(CODE));
    assert_eq!(end.x[2], 0xf << 5);
}

#[test]
fn mdscr_and_the_locks() {
    let mdscr = write_and_read(2, 0, 0, 2, 2);
    assert_eq!(ones(mdscr, at_el1(CODE)), Ok(MDE | KDE | 1 << 12 | MDSCR_SS));
    let mut locked = at_el1(CODE);
    locked.sys.os_lock = true;
    assert_eq!(ones(mdscr, locked), Ok(0x6ce0_f041));
    assert_eq!(ones(write_and_read(2, 0, 1, 3, 4), at_el1(CODE)), Ok(1), "OSDLR_EL1");
    // OSLAR_EL1 is written, OSLSR_EL1 read: OSLM 0b10 and OSLK.
    let locks = [write_and_read(2, 0, 1, 0, 4)[0], write_and_read(2, 0, 1, 1, 4)[1]];
    assert_eq!(ones(locks, at_el1(CODE)), Ok(0b1010));
    let end = run(&mut Guest::new(), &[locks[0], locks[1], SVC_1234], &at_el1(CODE));
    assert_eq!(end.x[2], 0b1000);
}

/// PMUVer is 0, so that each of these is UNDEFINED (Arm ARM D24.5).
#[test]
fn no_performance_monitor_is_there() {
    let mut registers = Vec::new();
    registers.extend((0..8).map(|op2| (0, 9, 14, op2)));
    for crm in 12..15 {
        registers.extend((0..8).map(|op2| (3, 9, crm, op2)));
    }
    for crm in 8..16 {
        registers.extend((0..8).map(|op2| (3, 14, crm, op2)));
    }
    for (op1, crn, crm, op2) in registers {
        let [write, read] = write_and_read(3, op1, crn, crm, op2);
        for start in [at_el1(CODE), at_el0(USER_CODE)] {
            assert_eq!(ones([write, NOP], start.clone()), Err(UNDEFINED), "MSR {op1} {crn} {crm} {op2}");
            assert_eq!(ones([NOP, read], start), Err(UNDEFINED), "MRS {op1} {crn} {crm} {op2}");
        }
    }
}
