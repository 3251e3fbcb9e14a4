//! Restores a warm base: maps its memory, builds the machine, loads its state,
//! and makes it one of a kind.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{SystemTime, UNIX_EPOCH},
};

use machine::{board::Machine, engine::EngineError, memory::GuestMemory};
use store::{Artifact, Hold, Kind};

use crate::{
    boot::HOST_HINT,
    drive::{Drive, Scheduler},
    engine::Choice,
    entropy::HostEntropy,
    live::{self, Live, LiveError},
    report::{Report, Stopwatch},
    session::{self, ConsoleSink, Handle, Running},
    snapshot::{MEMORY_FILE, STATE_FILE, Snapshot, SnapshotError},
};

/// The role in which a warm base needs the image that its disk holds.
pub const DISK_ROLE: &str = "rootfs";

/// A restored guest that waits for its start.
#[derive(Debug)]
pub struct Restored {
    /// What to call it.
    pub name: String,
    /// A hold on its session.
    pub session: Handle,
    /// Its thread.
    pub running: Running,
    /// What the phases cost so far.
    pub report: Report,
    /// The keyboard layouts that the guest has, the one in use first.
    pub layouts: Vec<String>,
    /// Keeps the base in its store, as long as the session lives.
    pub hold: Hold,
}

/// Why a warm base was not restored.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The artifact is not sound, or not there.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The bundle is not sound, or not trusted.
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    /// It is something else.
    #[error("{} is a {kind}, not a warm base", .path.display())]
    NotWarmBase {
        /// The artifact.
        path: PathBuf,
        /// What it is.
        kind: Kind,
    },
    /// Its state is not one to restore.
    #[error("{}: {error}", .path.display())]
    Snapshot {
        /// The artifact.
        path: PathBuf,
        /// What is wrong.
        error: SnapshotError,
    },
    /// Its memory is not what its state says.
    #[error("{}: {error}", .path.display())]
    Memory {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        error: io::Error,
    },
    /// The disk's artifact holds no image, or several.
    #[error("{}: holds {found} images where one of a disk should be", .path.display())]
    Disk {
        /// The artifact.
        path: PathBuf,
        /// How many files it has.
        found: usize,
    },
    /// The machine or the engine can't take the state.
    #[error("the state does not fit this machine: {0}")]
    Load(LiveError),
    /// There is no machine to load it into.
    #[error(transparent)]
    Engine(LiveError),
    /// The host failed.
    #[error("the host failed: {0}")]
    Host(#[from] io::Error),
}

impl From<LiveError> for RestoreError {
    fn from(error: LiveError) -> Self {
        match error {
            LiveError::Host(error) => RestoreError::Host(error),
            LiveError::Choice(_) | LiveError::Engine(EngineError::Host { .. }) => RestoreError::Engine(error),
            error => RestoreError::Load(error),
        }
    }
}

impl RestoreError {
    /// Whether the artifact is to blame rather than the host.
    pub fn is_refusal(&self) -> bool {
        match self {
            RestoreError::Store(error) => {
                !matches!(error, store::Error::Io { .. } | store::Error::NoSpace { .. })
            }
            RestoreError::Bundle(bundle::Error::Store(
                store::Error::Io { .. } | store::Error::NoSpace { .. },
            ))
            | RestoreError::Bundle(bundle::Error::NoRoom { .. }) => false,
            RestoreError::Snapshot { error: SnapshotError::Io(_), .. }
            | RestoreError::Host(_)
            | RestoreError::Engine(_) => false,
            RestoreError::Memory { error, .. } => error.kind() == io::ErrorKind::InvalidData,
            _ => true,
        }
    }

    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            RestoreError::Store(error) => error.hint(),
            RestoreError::Bundle(error) => error.hint(),
            RestoreError::NotWarmBase { .. } => "give the warm base that `samovar build` prints",
            RestoreError::Snapshot { error, .. } => error.hint(),
            RestoreError::Load(error) => error.hint().unwrap_or("build the recipe again with this version"),
            RestoreError::Disk { .. } => "build the recipe again with this version",
            RestoreError::Engine(error) => error.hint().unwrap_or(HOST_HINT),
            RestoreError::Memory { error, .. } if error.kind() == io::ErrorKind::InvalidData => {
                "the artifact is damaged: remove its directory and build or copy it again"
            }
            RestoreError::Memory { .. } | RestoreError::Host(_) => HOST_HINT,
        }
    }
}

/// Restores the warm base in `artifact`, up to its first frame: the guest waits
/// for [`session::Command::Start`].
///
/// # Errors
/// If it is refused or the host fails; nothing has run then.
pub fn restore(
    artifact: &Path,
    scheduler: Scheduler,
    engine: Choice,
    console: Option<ConsoleSink>,
    clock: Stopwatch,
) -> Result<Restored, RestoreError> {
    restore_on(artifact, move |machine| Drive::new(scheduler, engine, machine), console, clock)
}

/// Restores like [`restore`], on what `drive` makes of the machine.
///
/// # Errors
/// If it is refused or the host fails; nothing has run then.
pub fn restore_on(
    artifact: &Path,
    drive: impl FnOnce(Machine) -> Result<Drive, LiveError> + Send + 'static,
    console: Option<ConsoleSink>,
    clock: Stopwatch,
) -> Result<Restored, RestoreError> {
    let mut report = Report::default();
    let base = Artifact::open(artifact)?;
    let hold = base.hold()?;
    if base.kind() != Kind::WarmBase {
        return Err(RestoreError::NotWarmBase { path: artifact.into(), kind: base.kind() });
    }
    let snapshot = Snapshot::read(&base.file(STATE_FILE)?)
        .map_err(|error| RestoreError::Snapshot { path: artifact.into(), error })?;
    let disk = if snapshot.has_disk { Some(open_disk(&base)?) } else { None };
    report.opened_us = Some(clock.elapsed_us());

    let path = base.file(MEMORY_FILE)?;
    let memory = File::open(&path)
        .and_then(|file| GuestMemory::private_file(&file, snapshot.machine.memory))
        .map_err(|error| RestoreError::Memory { path, error })?;
    report.mapped_us = Some(clock.elapsed_us());

    let entropy = HostEntropy::new()?;
    let (session, seat) = session::pair();
    let (times, timed) = mpsc::channel();
    let running = session::spawn(seat, console, move || {
        // The device keeps its entropy; generation ids come from the same well.
        let (device, ids) = (Box::new(entropy.clone()), Box::new(entropy));
        let machine = live::machine(&snapshot.machine, memory, disk, wall_seconds(), device)?;
        let drive = drive(machine)?;
        let devices_us = clock.elapsed_us();
        let live = Live::restored(drive, snapshot.state, ids)?;
        let _ = times.send((devices_us, clock.elapsed_us()));
        Ok::<_, RestoreError>(live)
    })?;
    if let Ok((devices_us, state_us)) = timed.try_recv() {
        report.devices_us = Some(devices_us);
        report.state_us = Some(state_us);
    }
    Ok(Restored { name: name(&base), session, running, report, layouts: layouts(&base), hold })
}

fn open_disk(base: &Artifact) -> Result<File, RestoreError> {
    let artifact = base.need(DISK_ROLE)?;
    let [image] = artifact.images()[..] else {
        let found = artifact.images().len();
        return Err(RestoreError::Disk { path: artifact.dir().into(), found });
    };
    Ok(File::open(artifact.file(&image.name)?)?)
}

/// The recipe's name if the artifact tells, and the beginning of its hash.
fn name(base: &Artifact) -> String {
    let hash: String = base.hash().to_string().chars().take(8).collect();
    match base.manifest().meta.get("recipe").and_then(|name| name.as_str()) {
        Some(name) if name.len() <= 100 && !name.contains(char::is_control) => format!("{name} {hash}"),
        _ => format!("samovar {hash}"),
    }
}

/// What the recipe says of the keyboard, if the artifact tells.
fn layouts(base: &Artifact) -> Vec<String> {
    let layouts = base.manifest().meta.get("layouts").and_then(|layouts| layouts.as_array());
    layouts.into_iter().flatten().filter_map(|name| name.as_str()).map(str::to_owned).collect()
}

/// Seconds since 1970 by the host's clock; 0 where it is before that.
pub fn wall_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use store::Store;

    use super::*;
    use crate::{
        entropy::FixedEntropy,
        session::{Command, End},
        spec::MachineSpec,
    };

    const MEMORY: u64 = 16 << 20;

    /// The state of a machine in reset.
    fn snapshot(has_disk: bool) -> Snapshot {
        let spec = MachineSpec { cpus: 1, memory: MEMORY, width: 64, height: 48 };
        let memory = GuestMemory::anonymous(MEMORY).unwrap();
        let vm = live::build(&spec, memory, None, 0, Box::new(FixedEntropy::new("test"))).unwrap();
        Snapshot::new(spec, has_disk, vm.save())
    }

    fn base(dir: &Path, state: &[u8], memory_len: u64, kind: Kind) -> PathBuf {
        let store = Store::open(dir).unwrap();
        let mut staging = store.stage().unwrap();
        staging.write(STATE_FILE, state).unwrap();
        let file = File::create_new(staging.dir().join(MEMORY_FILE)).unwrap();
        file.set_len(memory_len).unwrap();
        staging.adopt(MEMORY_FILE).unwrap();
        let meta = serde_json::json!({ "recipe": "hello" });
        staging.commit(kind, BTreeMap::new(), meta).unwrap().dir().to_owned()
    }

    fn restored(artifact: &Path) -> Result<Restored, RestoreError> {
        restore(artifact, Scheduler::Threads, Choice::Soft, None, Stopwatch::start())
    }

    fn refusal(state: &[u8], memory_len: u64, kind: Kind) -> RestoreError {
        let dir = tempfile::tempdir().unwrap();
        let error = restored(&base(dir.path(), state, memory_len, kind)).unwrap_err();
        assert!(error.is_refusal(), "{error}");
        error
    }

    #[test]
    fn a_machine_in_reset_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let state = snapshot(false).to_bytes().unwrap();
        let restored = restored(&base(dir.path(), &state, MEMORY, Kind::WarmBase)).unwrap();
        assert!(restored.name.starts_with("hello "));
        let report = &restored.report;
        let phases = [report.opened_us, report.mapped_us, report.devices_us, report.state_us];
        assert!(phases.iter().all(Option::is_some) && phases.is_sorted(), "{phases:?}");
        // Its only processor is off, so it ends as soon as it runs.
        restored.session.send(Command::Start);
        assert_eq!(restored.session.wait_for_end(), End::PoweredOff);
        restored.running.join();
    }

    #[test]
    fn what_is_not_a_warm_base_is_refused() {
        let state = snapshot(false).to_bytes().unwrap();
        let error = refusal(&state, MEMORY, Kind::Kernel);
        assert!(matches!(error, RestoreError::NotWarmBase { kind: Kind::Kernel, .. }));
        let error = restored(Path::new("/nonexistent")).unwrap_err();
        assert!(error.is_refusal(), "{error}");
    }

    #[test]
    fn memory_of_another_size_is_refused() {
        let state = snapshot(false).to_bytes().unwrap();
        for len in [0, MEMORY - 1, MEMORY + 65536] {
            assert!(matches!(refusal(&state, len, Kind::WarmBase), RestoreError::Memory { .. }));
        }
    }

    #[test]
    fn a_base_without_its_disk_is_refused() {
        let state = snapshot(true).to_bytes().unwrap();
        let error = refusal(&state, MEMORY, Kind::WarmBase);
        assert!(matches!(error, RestoreError::Store(store::Error::NoSuchNeed { .. })), "{error}");
    }

    #[test]
    fn states_that_devices_refuse_are_refused_before_anything_runs() {
        let mut wrong = snapshot(false);
        wrong.machine.cpus = 2;
        let error = refusal(&wrong.to_bytes().unwrap(), MEMORY, Kind::WarmBase);
        assert!(matches!(error, RestoreError::Load(_)), "{error}");
        let error = refusal(b"{}", MEMORY, Kind::WarmBase);
        assert!(matches!(error, RestoreError::Snapshot { .. }), "{error}");
    }

    #[test]
    fn a_damaged_artifact_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let state = snapshot(false).to_bytes().unwrap();
        let artifact = base(dir.path(), &state, MEMORY, Kind::WarmBase);
        let path = artifact.join(STATE_FILE);
        let mut permissions = std::fs::metadata(&path).unwrap().permissions();
        #[expect(clippy::permissions_set_readonly_false, reason = "a file of this test alone")]
        permissions.set_readonly(false);
        std::fs::set_permissions(&path, permissions).unwrap();
        let text = String::from_utf8(state).unwrap().replace("\"now\":0", "\"now\":9");
        std::fs::write(&path, text).unwrap();
        let error = restored(&artifact).unwrap_err();
        assert!(matches!(error, RestoreError::Store(store::Error::WrongHash { .. })), "{error}");
    }
}
