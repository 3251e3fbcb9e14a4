//! Boots a kernel on a machine of its own.

use std::{
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use machine::{
    board::Machine,
    clock::Entropy,
    cpu_state::CpuState,
    fdt::{self, BoardParams, FdtError},
    image::{self, ImageError},
    memory::GuestMemory,
    vm::Vm,
    vmgenid::{self, GenerationId},
};

use crate::{
    drive::{Drive, Lockstep, Scheduler},
    engine::Choice,
    entropy::HostEntropy,
    gdb::{Debugged, Listener},
    live::{self, Live, LiveError, SoftVm},
    restore::wall_seconds,
    session::{self, ConsoleSink, Handle, Running},
    spec::MachineSpec,
};

/// What is booted, and on what.
#[derive(Clone, Debug)]
pub struct BootSpec {
    /// The kernel, an arm64 Image.
    pub kernel: PathBuf,
    /// The initial RAM file system.
    pub initrd: Option<PathBuf>,
    /// The disk's image, read-only for the guest.
    pub disk: Option<PathBuf>,
    /// The kernel's command line.
    pub command_line: String,
    /// The machine.
    pub machine: MachineSpec,
}

/// Why a guest can't be booted.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    /// There can't be such a machine.
    #[error("the machine can't have {0}")]
    Spec(String),
    /// A file can't be read.
    #[error("can't read {}: {error}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is larger than the guest's memory.
    #[error("{} does not fit into {memory} bytes of memory", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The guest's memory.
        memory: u64,
    },
    /// The kernel can't be loaded.
    #[error("{}: {error}", .path.display())]
    Image {
        /// The kernel.
        path: PathBuf,
        /// Why.
        error: ImageError,
    },
    /// The command line can't be passed to the kernel.
    #[error("the device tree can't be made: {0}")]
    Fdt(#[from] FdtError),
    /// The machine can't be made.
    #[error(transparent)]
    Machine(#[from] LiveError),
    /// The host failed.
    #[error("the host failed: {0}")]
    Host(#[from] io::Error),
}

/// What to do when the host can't give what a machine takes.
pub(crate) const HOST_HINT: &str =
    "check the host: its free memory and disk, the file's permissions, and the limits on processes";

impl BootError {
    /// Whether whoever asked for it is to blame rather than the host.
    pub fn is_usage(&self) -> bool {
        match self {
            BootError::Host(_) => false,
            BootError::Machine(error) => error.is_usage(),
            _ => true,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            BootError::TooLarge { .. } => "give the machine more memory",
            BootError::Image { error, .. } => error.hint(),
            BootError::Read { .. } => "check the file's name and whether it may be read",
            BootError::Spec(_) => "ask for a machine within these limits",
            BootError::Fdt(_) => "shorten the kernel's command line",
            BootError::Machine(error) => error.hint().unwrap_or(HOST_HINT),
            BootError::Host(_) => HOST_HINT,
        }
    }
}

/// Boots `spec` up to the kernel's first instruction, with the host's entropy
/// and wall clock: the guest waits for [`session::Command::Start`].
///
/// # Errors
/// Says why it can't be booted.
pub fn start(
    spec: BootSpec,
    scheduler: Scheduler,
    engine: Choice,
    console: ConsoleSink,
) -> Result<(Handle, Running), BootError> {
    start_on(spec, move |machine| Drive::new(scheduler, engine, machine), console)
}

/// Boots `spec` like [`start`], on what `drive` makes of the machine.
///
/// # Errors
/// Says why it can't be booted.
pub fn start_on(
    spec: BootSpec,
    drive: impl FnOnce(Machine) -> Result<Drive, LiveError> + Send + 'static,
    console: ConsoleSink,
) -> Result<(Handle, Running), BootError> {
    let entropy = HostEntropy::new()?;
    let (session, seat) = session::pair();
    let running = session::spawn(seat, Some(console), move || {
        let prepared = prepare(&spec, Box::new(entropy), wall_seconds())?;
        let mut drive = drive(prepared.machine)?;
        drive.start(&prepared.entry)?;
        Ok::<_, BootError>(Live::booted(drive))
    })?;
    Ok((session, running))
}

/// Boots `spec` like [`start`], in lockstep and under the debugger that connects to `debugger`: after
/// [`session::Command::Start`] the guest waits for that one.
///
/// # Errors
/// Says why it can't be booted.
pub fn start_debugged(
    spec: BootSpec,
    debugger: Listener,
    console: ConsoleSink,
) -> Result<(Handle, Running), BootError> {
    let entropy = HostEntropy::new()?;
    let (session, seat) = session::pair();
    let handle = session.clone();
    let running = session::spawn(seat, Some(console), move || {
        let prepared = prepare(&spec, Box::new(entropy), wall_seconds())?;
        let engine = live::soft_engine(&prepared.machine);
        let mut lockstep = Lockstep::new(prepared.machine, engine)?;
        lockstep.start(&prepared.entry)?;
        Ok::<_, BootError>(Debugged::new(Live::booted(lockstep), debugger, handle)?)
    })?;
    Ok((session, running))
}

/// A machine in lockstep, ready to boot. Every random byte comes from `entropy`.
///
/// # Errors
/// Says why it can't be made.
pub fn build(spec: &BootSpec, entropy: Box<dyn Entropy>, wall_seconds: u64) -> Result<SoftVm, BootError> {
    let Prepared { machine, entry } = prepare(spec, entropy, wall_seconds)?;
    let engine = live::soft_engine(&machine);
    let mut vm = Vm::new(machine, &engine).map_err(LiveError::from)?;
    vm.start(&entry).map_err(LiveError::from)?;
    Ok(vm)
}

/// A machine with kernel, initramfs and device tree in its memory.
struct Prepared {
    machine: Machine,
    /// The first vCPU at the kernel's entry.
    entry: CpuState,
}

fn prepare(spec: &BootSpec, mut entropy: Box<dyn Entropy>, wall_seconds: u64) -> Result<Prepared, BootError> {
    spec.machine.check().map_err(BootError::Spec)?;
    let ram_size = spec.machine.memory;
    let kernel = read(&spec.kernel, ram_size)?;
    let initrd = spec.initrd.as_deref().map(|path| read(path, ram_size)).transpose()?;
    let disk = match &spec.disk {
        Some(path) => Some(File::open(path).map_err(|error| BootError::Read { path: path.clone(), error })?),
        None => None,
    };
    let memory = GuestMemory::anonymous(ram_size)?;
    let image_error = |error| BootError::Image { path: spec.kernel.clone(), error };
    let loaded = image::load(&memory, &kernel, initrd.as_deref()).map_err(image_error)?;

    let (mut rng_seed, mut kaslr_seed, mut id) = ([0; 32], [0; 8], GenerationId::default());
    entropy.fill(&mut rng_seed);
    entropy.fill(&mut kaslr_seed);
    entropy.fill(&mut id);
    vmgenid::set(&memory, id).map_err(io::Error::other)?;

    let machine = live::machine(&spec.machine, memory, disk, wall_seconds, entropy)?;
    let virtio_slots: Vec<u32> = machine.virtio_slots().iter().map(|slot| *slot as u32).collect();
    let dtb = fdt::board_tree(&BoardParams {
        cpus: spec.machine.cpus,
        ram_size,
        bootargs: &spec.command_line,
        initrd: loaded.initrd,
        rng_seed: &rng_seed,
        kaslr_seed: Some(u64::from_le_bytes(kaslr_seed)),
        virtio_slots: &virtio_slots,
    })?;
    image::load_dtb(machine.memory(), &loaded, &dtb).map_err(image_error)?;
    Ok(Prepared { machine, entry: CpuState::at_entry(loaded.entry, loaded.dtb_addr) })
}

/// Reads a whole file that must fit into guest memory.
fn read(path: &Path, memory: u64) -> Result<Vec<u8>, BootError> {
    let failed = |error| BootError::Read { path: path.into(), error };
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    // One byte more than fits tells a file that doesn't fit, even one without a length.
    file.take(memory + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > memory {
        return Err(BootError::TooLarge { path: path.into(), memory });
    }
    Ok(bytes)
}
