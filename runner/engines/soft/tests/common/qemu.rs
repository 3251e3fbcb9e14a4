//! Instructions run by QEMU's user-mode emulator.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use super::assembly::*;
use super::elf::{DATA, TEXT, ZEROED, executable};

const EMULATOR: &str = "qemu-aarch64-static";

/// The register that no case can use: the program needs one to find its records with.
pub const RESERVED: usize = 28;

/// Address of the memory that each case finds filled with its [`State::memory`].
pub const MEMORY: u64 = ZEROED;

/// Size of that memory.
pub const MEMORY_SIZE: usize = 256;

const SIGNAL_STACK: u64 = ZEROED + 0x1_0000;
const SIGNAL_STACK_SIZE: u64 = 0x1_0000;

/// What a case starts from and what it ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// X0 to X30. Of X28 nothing is promised; see [`RESERVED`].
    pub x: [u64; 31],
    pub sp: u64,
    pub nzcv: u32,
    pub fpcr: u32,
    pub fpsr: u32,
    pub v: [u128; 32],
    pub memory: [u8; MEMORY_SIZE],
}

impl Default for State {
    fn default() -> Self {
        State { x: [0; 31], sp: 0, nzcv: 0, fpcr: 0, fpsr: 0, v: [0; 32], memory: [0; MEMORY_SIZE] }
    }
}

/// Instructions to run one after the other, and the state to run them from. They must neither branch
/// out of the case nor write TPIDR_EL0.
#[derive(Clone, Debug)]
pub struct Case {
    pub words: Vec<u32>,
    pub state: State,
}

/// How a case ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The state at the end, or at the instruction that raised a signal.
    pub state: State,
    /// Zero, or the Linux signal that ended the case: 4 is SIGILL.
    pub signal: u32,
}

pub const SIGILL: u32 = 4;

/// A case's record in the program's memory: offsets of its fields.
mod record {
    pub const X: u32 = 0;
    pub const SP: u32 = 248;
    pub const NZCV: u32 = 256;
    pub const FPCR: u32 = 264;
    pub const FPSR: u32 = 272;
    pub const SIGNAL: u32 = 280;
    pub const ENTRY: u32 = 288;
    pub const V: u32 = 304;
    pub const MEMORY: u32 = 816;
    pub const SIZE: u32 = 1072;
}

/// `ucontext.uc_mcontext.pc` of arm64 Linux (asm/ucontext.h, asm/sigcontext.h).
const UCONTEXT_PC: u32 = 440;

/// `struct sigaction` of the system call: handler, flags, restorer, mask.
const SA_SIGINFO: u64 = 4;
const SA_ONSTACK: u64 = 0x0800_0000;

/// Signals that instructions raise: SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV.
const SIGNALS: [u64; 5] = [SIGILL as u64, 5, 7, 8, 11];

/// Runs every case on a processor of model `cpu`, in one run of the emulator for each few thousand.
pub fn run(cpu: &str, cases: &[Case]) -> Vec<Outcome> {
    let mut outcomes = Vec::with_capacity(cases.len());
    for batch in cases.chunks(4096) {
        let output = execute(cpu, &program(batch), batch.len() * record::SIZE as usize);
        outcomes.extend(output.chunks_exact(record::SIZE as usize).map(read_record));
    }
    outcomes
}

/// For each word, whether a processor of model `cpu` has such an instruction. The words are run, so they
/// must be harmless: no branches, no memory accesses.
pub fn accepted(cpu: &str, words: &[u32]) -> Vec<bool> {
    let list_pointer = DATA + 64;
    let list = ZEROED + 0x10_0000;
    let mut code = Vec::new();
    set_handlers(&mut code);
    let first = code.len();
    code.extend(words);
    let pc_of = |index: usize| TEXT + 4 * (first + index) as u64;
    code.extend(write_and_exit(list, 8 * words.len() as u64));

    // The handler notes where it happened and goes on after it.
    let handler = TEXT + 4 * code.len() as u64;
    code.push(ldr_x(3, 2, UCONTEXT_PC));
    code.extend(load_constant(4, list_pointer));
    code.push(ldr_x(5, 4, 0));
    code.push(str_x(3, 5, 0));
    code.push(add_immediate(5, 5, 8));
    code.push(str_x(5, 4, 0));
    code.push(add_immediate(3, 3, 4));
    code.push(str_x(3, 2, UCONTEXT_PC));
    code.push(RET);

    let mut data = signal_data(handler);
    data.extend(list.to_le_bytes());
    let zeroed = (list - ZEROED) as usize + 8 * words.len();
    let output = execute(cpu, &executable(&code, &data, zeroed), 8 * words.len());

    let mut accepted = vec![true; words.len()];
    for pc in output.chunks_exact(8).map(|bytes| read_u64(bytes, 0)).take_while(|&pc| pc != 0) {
        accepted[((pc - pc_of(0)) / 4) as usize] = false;
    }
    accepted
}

/// Installs the handlers and their stack. Uses the data that [`signal_data`] gives.
fn set_handlers(code: &mut Vec<u32>) {
    code.extend(load_constant(0, DATA));
    code.extend(load_constant(1, 0));
    code.extend(system_call(call::SIGALTSTACK));
    for signal in SIGNALS {
        code.extend(load_constant(0, signal));
        code.extend(load_constant(1, DATA + 24));
        code.extend(load_constant(2, 0));
        code.extend(load_constant(3, 8));
        code.extend(system_call(call::RT_SIGACTION));
    }
}

/// The first 64 bytes of data: a `stack_t`, a `struct sigaction`, and padding.
fn signal_data(handler: u64) -> Vec<u8> {
    [SIGNAL_STACK, 0, SIGNAL_STACK_SIZE, handler, SA_SIGINFO | SA_ONSTACK, 0, 0, 0]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect()
}

const RECORDS: u64 = DATA + 64;

/// A program that runs each case between loading and saving the whole state, and writes the records.
fn program(cases: &[Case]) -> Vec<u8> {
    let base = RESERVED as u32;
    let general = || (0..31).filter(|&n| n != base);
    let mut code = Vec::new();
    set_handlers(&mut code);
    code.extend(load_constant(base, RECORDS));
    code.push(MSR_TPIDR_X28);

    let next_case = code.len();
    code.extend(load_constant(0, MEMORY));
    for offset in (0..MEMORY_SIZE as u32).step_by(16) {
        code.extend([ldr_q(0, base, record::MEMORY + offset), str_q(0, 0, offset)]);
    }
    code.extend([ldr_x(0, base, record::NZCV), MSR_NZCV_X0]);
    code.extend([ldr_x(0, base, record::FPCR), MSR_FPCR_X0]);
    code.extend([ldr_x(0, base, record::FPSR), MSR_FPSR_X0]);
    code.extend((0..32).map(|n| ldr_q(n, base, record::V + 16 * n)));
    code.extend([ldr_x(0, base, record::SP), MOV_SP_X0]);
    code.extend(general().map(|n| ldr_x(n, base, record::X + 8 * n)));
    code.extend([ldr_x(base, base, record::ENTRY), BR_X28]);

    let save = code.len();
    code.push(MRS_X28_TPIDR);
    code.extend(general().map(|n| str_x(n, base, record::X + 8 * n)));
    code.extend([MOV_X0_SP, str_x(0, base, record::SP)]);
    code.extend([MRS_X0_NZCV, str_x(0, base, record::NZCV)]);
    code.extend([MRS_X0_FPCR, str_x(0, base, record::FPCR)]);
    code.extend([MRS_X0_FPSR, str_x(0, base, record::FPSR)]);
    code.extend((0..32).map(|n| str_q(n, base, record::V + 16 * n)));
    code.extend(load_constant(0, MEMORY));
    for offset in (0..MEMORY_SIZE as u32).step_by(16) {
        code.extend([ldr_q(0, 0, offset), str_q(0, base, record::MEMORY + offset)]);
    }
    code.push(add_immediate(base, base, record::SIZE));
    code.push(MSR_TPIDR_X28);
    let length = cases.len() as u64 * u64::from(record::SIZE);
    code.extend(load_constant(0, RECORDS + length));
    code.push(subs(31, base, 0));
    code.push(branch_ne(code.len(), next_case));
    code.extend(write_and_exit(RECORDS, length));

    // The handler ends the case: it notes the signal and has the state saved.
    let handler = TEXT + 4 * code.len() as u64;
    code.extend([MRS_X3_TPIDR, str_x(0, 3, record::SIGNAL)]);
    code.extend(load_constant(4, TEXT + 4 * save as u64));
    code.extend([str_x(4, 2, UCONTEXT_PC), RET]);

    let mut data = signal_data(handler);
    for case in cases {
        write_record(&mut data, &case.state, TEXT + 4 * code.len() as u64);
        code.extend(&case.words);
        code.push(branch(code.len(), save));
    }
    executable(&code, &data, (SIGNAL_STACK + SIGNAL_STACK_SIZE - ZEROED) as usize)
}

fn write_record(data: &mut Vec<u8>, state: &State, entry: u64) {
    for x in state.x {
        data.extend(x.to_le_bytes());
    }
    for word in [state.sp, state.nzcv.into(), state.fpcr.into(), state.fpsr.into(), 0, entry, 0] {
        data.extend(word.to_le_bytes());
    }
    for v in state.v {
        data.extend(v.to_le_bytes());
    }
    data.extend(state.memory);
}

fn read_u64(bytes: &[u8], offset: u32) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[offset as usize + i]))
}

fn read_record(bytes: &[u8]) -> Outcome {
    let word = |offset| read_u64(bytes, offset);
    let state = State {
        x: std::array::from_fn(|n| word(record::X + 8 * n as u32)),
        sp: word(record::SP),
        nzcv: word(record::NZCV) as u32,
        fpcr: word(record::FPCR) as u32,
        fpsr: word(record::FPSR) as u32,
        v: std::array::from_fn(|n| {
            let at = record::V + 16 * n as u32;
            u128::from(word(at)) | u128::from(word(at + 8)) << 64
        }),
        memory: std::array::from_fn(|i| bytes[record::MEMORY as usize + i]),
    };
    Outcome { state, signal: word(record::SIGNAL) as u32 }
}

/// Runs an executable and returns the `length` bytes that it writes.
fn execute(cpu: &str, file: &[u8], length: usize) -> Vec<u8> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("cases");
    fs::write(&path, file).expect("the program is written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("the program is executable");
    let output = Command::new(EMULATOR)
        .args(["-cpu", cpu])
        .arg(&path)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = match output {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("{EMULATOR} is missing: install the Debian package qemu-user-static")
        }
        other => other.expect("the emulator runs"),
    };
    assert!(output.status.success(), "the emulator ended with {}", output.status);
    assert_eq!(output.stdout.len(), length, "the program wrote all its records");
    output.stdout
}
