//! The few instructions that the test programs are made of (Arm ARM C6.2, C7.2).

pub const SVC: u32 = 0xd400_0001;
pub const RET: u32 = 0xd65f_03c0;
pub const BR_X28: u32 = 0xd61f_0380;
pub const MOV_SP_X0: u32 = 0x9100_001f;
pub const MOV_X0_SP: u32 = 0x9100_03e0;
pub const MSR_NZCV_X0: u32 = 0xd51b_4200;
pub const MRS_X0_NZCV: u32 = 0xd53b_4200;
pub const MSR_FPCR_X0: u32 = 0xd51b_4400;
pub const MRS_X0_FPCR: u32 = 0xd53b_4400;
pub const MSR_FPSR_X0: u32 = 0xd51b_4420;
pub const MRS_X0_FPSR: u32 = 0xd53b_4420;
/// TPIDR_EL0 keeps a program's own pointer while a case has all the registers.
pub const MSR_TPIDR_X28: u32 = 0xd51b_d05c;
pub const MRS_X28_TPIDR: u32 = 0xd53b_d05c;
pub const MRS_X3_TPIDR: u32 = 0xd53b_d043;

/// MOVZ and MOVK: a constant of 32 bits.
pub fn load_constant(rd: u32, value: u64) -> [u32; 2] {
    assert!(value < 1 << 32, "addresses and sizes of test programs are below 4 GiB");
    let (low, high) = (value as u32 & 0xffff, (value >> 16) as u32);
    [0xd280_0000 | low << 5 | rd, 0xf2a0_0000 | high << 5 | rd]
}

/// LDR Xt, [Xn, #offset]
pub fn ldr_x(rt: u32, rn: u32, offset: u32) -> u32 {
    0xf940_0000 | (offset / 8) << 10 | rn << 5 | rt
}

/// STR Xt, [Xn, #offset]
pub fn str_x(rt: u32, rn: u32, offset: u32) -> u32 {
    0xf900_0000 | (offset / 8) << 10 | rn << 5 | rt
}

/// LDR Qt, [Xn, #offset]
pub fn ldr_q(rt: u32, rn: u32, offset: u32) -> u32 {
    0x3dc0_0000 | (offset / 16) << 10 | rn << 5 | rt
}

/// STR Qt, [Xn, #offset]
pub fn str_q(rt: u32, rn: u32, offset: u32) -> u32 {
    0x3d80_0000 | (offset / 16) << 10 | rn << 5 | rt
}

/// ADD Xd, Xn, #imm
pub fn add_immediate(rd: u32, rn: u32, imm: u32) -> u32 {
    assert!(imm < 4096);
    0x9100_0000 | imm << 10 | rn << 5 | rd
}

/// ADD Xd, Xn, Xm
pub fn add(rd: u32, rn: u32, rm: u32) -> u32 {
    0x8b00_0000 | rm << 16 | rn << 5 | rd
}

/// SUBS Xd, Xn, Xm; with `rd` 31 it is CMP.
pub fn subs(rd: u32, rn: u32, rm: u32) -> u32 {
    0xeb00_0000 | rm << 16 | rn << 5 | rd
}

/// B from word `from` to word `to`.
pub fn branch(from: usize, to: usize) -> u32 {
    let distance = (to as i64 - from as i64) as u32;
    0x1400_0000 | distance & 0x03ff_ffff
}

/// B.NE from word `from` to word `to`.
pub fn branch_ne(from: usize, to: usize) -> u32 {
    branch_if(1, from, to)
}

/// B.LE from word `from` to word `to`.
pub fn branch_le(from: usize, to: usize) -> u32 {
    branch_if(13, from, to)
}

fn branch_if(cond: u32, from: usize, to: usize) -> u32 {
    let distance = (to as i64 - from as i64) as u32;
    0x5400_0000 | (distance & 0x7_ffff) << 5 | cond
}

/// The system call `number`, its arguments in place.
pub fn system_call(number: u64) -> [u32; 3] {
    let [low, high] = load_constant(8, number);
    [low, high, SVC]
}

/// Linux's numbers of the calls that the test programs make (asm-generic/unistd.h).
pub mod call {
    pub const WRITE: u64 = 64;
    pub const EXIT: u64 = 93;
    pub const SIGALTSTACK: u64 = 132;
    pub const RT_SIGACTION: u64 = 134;
}

/// Writes `length` bytes at `address` to standard output, then exits: 0 if all went, 1 if not.
/// Branches are relative, so the place of this code does not matter.
pub fn write_and_exit(address: u64, length: u64) -> Vec<u32> {
    let mut code = Vec::new();
    code.extend(load_constant(1, address));
    code.extend(load_constant(2, length));
    let again = code.len();
    code.extend(load_constant(0, 1));
    code.extend(system_call(call::WRITE));
    code.push(subs(31, 0, 31));
    let failing = code.len();
    code.push(0);
    code.push(add(1, 1, 0));
    code.push(subs(2, 2, 0));
    code.push(branch_ne(code.len(), again));
    code.extend(load_constant(0, 0));
    code.extend(system_call(call::EXIT));
    code[failing] = branch_le(failing, code.len());
    code.extend(load_constant(0, 1));
    code.extend(system_call(call::EXIT));
    code
}
