//! Small guests on the engine over the stand-in, and on the soft engine.

use std::{fs, process::Command, sync::mpsc, thread, time::Duration};

use engine_hvf::{HvfEngine, HvfVcpu};
use hvf_stand_in::{Turn, lend, turn};
use machine::{
    cpu_state::CpuState,
    engine::{Engine, EngineError, Exit, Resume, Vcpu},
    layout::RAM_BASE,
    memory::GuestMemory,
};

pub const RAM_SIZE: u64 = 1 << 20;
/// Where programs are.
pub const CODE: u64 = RAM_BASE + 0x1_0000;
/// Exceptions come here: VBAR_EL1.
pub const VECTORS: u64 = RAM_BASE;
/// An instruction budget that no program here uses up.
pub const PLENTY: u64 = 1 << 40;

/// The engine with the process's virtual machine, for as long as a test needs it.
pub struct Mac {
    pub engine: HvfEngine,
    pub memory: GuestMemory,
    _watch: mpsc::Sender<()>,
    _turn: Turn,
}

/// Longer than any program here takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the process unless the returned end is dropped in time: a guest that runs away does not end a test by itself.
fn watch() -> mpsc::Sender<()> {
    let (watched, over) = mpsc::channel();
    let test = thread::current().name().unwrap_or_default().to_owned();
    thread::spawn(move || {
        if over.recv_timeout(PATIENCE) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("the guest of {test} runs and runs");
            std::process::abort();
        }
    });
    watched
}

pub fn mac(memory: GuestMemory, vcpus: usize) -> Mac {
    let turn = turn();
    lend(&memory);
    let engine = HvfEngine::new(memory.clone(), vcpus).expect("the stand-in gives a virtual machine");
    Mac { engine, memory, _watch: watch(), _turn: turn }
}

pub fn memory() -> GuestMemory {
    GuestMemory::anonymous(RAM_SIZE).expect("a mebibyte")
}

/// A vCPU of a machine with `code` at [`CODE`], about to execute it.
pub fn started(code: &[u32]) -> (Mac, HvfVcpu) {
    let mac = mac(memory(), 1);
    write(&mac.memory, CODE, code);
    let mut vcpu = mac.engine.create_vcpu(0).expect("a vCPU");
    vcpu.load(&entry()).expect("the state of an entry");
    (mac, vcpu)
}

pub fn entry() -> CpuState {
    let mut state = CpuState::at_entry(CODE, 0);
    state.sys.vbar_el1 = VECTORS;
    state
}

pub fn write(memory: &GuestMemory, at: u64, code: &[u32]) {
    let bytes: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    memory.write(at, &bytes).expect("inside RAM");
}

/// The words of an assembly program, by LLVM's assembler.
pub fn assemble(source: &str) -> Vec<u32> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let (object, binary) = (directory.path().join("program.o"), directory.path().join("program"));
    let path = directory.path().join("program.s");
    fs::write(&path, source).expect("the source is written");
    let run = |command: &mut Command| {
        let output =
            command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; install Debian's llvm"));
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let mut assembler = Command::new("llvm-mc");
    run(assembler.args(["-arch=aarch64", "-filetype=obj", "-mattr=+v8.1a", "-o"]).arg(&object).arg(&path));
    run(Command::new("llvm-objcopy").args(["-O", "binary"]).arg(&object).arg(&binary));
    let bytes = fs::read(&binary).expect("the program was written");
    bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().expect("four bytes"))).collect()
}

/// Runs up to the first hypercall, each exit answered by `answer`; what the exits were and what has become of the vCPU.
pub fn course<V: Vcpu>(vcpu: &mut V, mut answer: impl FnMut(&Exit) -> Resume) -> (Vec<Exit>, CpuState) {
    let mut exits = Vec::new();
    let mut resume = Resume::Go;
    loop {
        let exit = vcpu.run(resume, 0, PLENTY);
        resume = answer(&exit);
        let over = matches!(exit, Exit::Hypercall(_) | Exit::Stopped(_));
        if exit != Exit::Budget {
            exits.push(exit);
        }
        if over {
            // Completes the HVC, and no more.
            vcpu.run(Resume::Value(0), 0, 1);
            return (exits, vcpu.save());
        }
        assert!(exits.len() < 1000, "{exits:?}");
    }
}

/// What `vcpu` says when it is run with nothing to answer.
pub fn run<V: Vcpu>(vcpu: &mut V) -> Exit {
    vcpu.run(Resume::Go, 0, PLENTY)
}

pub fn refusal<T>(result: Result<T, EngineError>) -> String {
    match result {
        Err(error) => error.to_string(),
        Ok(_) => panic!("it was not refused"),
    }
}
