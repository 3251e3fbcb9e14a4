//! The files of a warm base, and what is refused in them.
//!
//! ```text
//! memory.img    the guest's RAM, sparse, as long as RAM
//! state.json    versions, the machine's figures, its devices and vCPUs
//! screen.png    what the screen showed; for people, a restore doesn't read it
//! ```

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use machine::vm::VmState;
use serde::{Deserialize, Serialize};

use crate::spec::MachineSpec;

/// File of the guest's RAM.
pub const MEMORY_FILE: &str = "memory.img";
/// File of everything else.
pub const STATE_FILE: &str = "state.json";
/// File of the picture.
pub const SCREEN_FILE: &str = "screen.png";
/// The end of what the guest had written to its serial console.
pub const CONSOLE_FILE: &str = "console.txt";

/// The format of [`STATE_FILE`]. It changes whenever a state written before
/// can't be read any more.
pub const FORMAT: u32 = 1;

/// The largest state that is read. Real ones are some hundred kilobytes.
pub const MAX_STATE: u64 = 64 << 20;

/// A guest's state apart from its RAM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// [`FORMAT`].
    pub format: u32,
    /// [`machine::VERSION`].
    pub machine_version: u32,
    /// What the machine is made with.
    pub machine: MachineSpec,
    /// SHA-256 of what the disk holds is in the artifact's manifest; here is
    /// only whether there is one.
    pub has_disk: bool,
    /// Devices, vCPUs and time.
    pub state: VmState,
}

/// Why a snapshot is not restored.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// A file can't be read.
    #[error("can't read the state: {0}")]
    Io(#[from] io::Error),
    /// It is no state at all.
    #[error("the state is damaged: {0}")]
    Damaged(String),
    /// Another program's.
    #[error("the state has format {found}, this program reads format {FORMAT}")]
    Format {
        /// The state's format.
        found: u64,
    },
    /// Another machine's.
    #[error("the state is of machine version {found}, this program has version {}", machine::VERSION)]
    Machine {
        /// The state's machine.
        found: u64,
    },
    /// A machine that there can't be.
    #[error("the state asks for a machine that can't be: {0}")]
    Spec(String),
}

impl SnapshotError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            SnapshotError::Io(_) => "check that the artifact is complete and readable",
            SnapshotError::Damaged(_) | SnapshotError::Spec(_) => {
                "remove the artifact and build or copy it again"
            }
            SnapshotError::Format { .. } | SnapshotError::Machine { .. } => {
                "build the recipe again with this version, or restore with the version that built it"
            }
        }
    }
}

impl Snapshot {
    /// A snapshot in this program's format.
    pub fn new(machine: MachineSpec, has_disk: bool, state: VmState) -> Self {
        Snapshot { format: FORMAT, machine_version: machine::VERSION, machine, has_disk, state }
    }

    /// Writes the state to a new file: the same state gives the same bytes.
    ///
    /// # Errors
    /// If the file exists or the host refuses.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        let mut file = File::create_new(path)?;
        file.write_all(&self.to_bytes()?)?;
        file.sync_all()
    }

    /// The state as it is written.
    ///
    /// # Errors
    /// If something in it can't be written as JSON.
    pub fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = serde_json::to_vec(self).map_err(io::Error::other)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Reads and checks a state. What is inside the devices' states they check
    /// themselves when they load it.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn read(path: &Path) -> Result<Self, SnapshotError> {
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_STATE + 1).read_to_end(&mut bytes)?;
        Self::parse(&bytes)
    }

    /// [`Snapshot::read`] of bytes at hand.
    ///
    /// # Errors
    /// Says what is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Self, SnapshotError> {
        /// What every version of the format has.
        #[derive(Deserialize)]
        struct Versions {
            format: u64,
            machine_version: u64,
        }
        let damaged = |error: serde_json::Error| SnapshotError::Damaged(error.to_string());
        if bytes.len() as u64 > MAX_STATE {
            return Err(SnapshotError::Damaged(format!("longer than {MAX_STATE} bytes")));
        }
        // The versions alone first: the rest of another version may have any shape.
        let versions: Versions = serde_json::from_slice(bytes).map_err(damaged)?;
        if versions.format != u64::from(FORMAT) {
            return Err(SnapshotError::Format { found: versions.format });
        }
        if versions.machine_version != u64::from(machine::VERSION) {
            return Err(SnapshotError::Machine { found: versions.machine_version });
        }
        let snapshot: Snapshot = serde_json::from_slice(bytes).map_err(damaged)?;
        snapshot.machine.check().map_err(SnapshotError::Spec)?;
        Ok(snapshot)
    }
}

/// Removes the files of a warm base from `dir`, as far as they are there.
pub fn remove(dir: &Path) {
    for file in [MEMORY_FILE, STATE_FILE, SCREEN_FILE, CONSOLE_FILE] {
        // What can't be removed is in the way of the next attempt, which will say so.
        let _ = fs::remove_file(dir.join(file));
    }
}

#[cfg(test)]
mod tests {
    use machine::memory::GuestMemory;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::{entropy::FixedEntropy, live};

    fn snapshot() -> Snapshot {
        let machine = MachineSpec { cpus: 2, memory: 16 << 20, width: 64, height: 48 };
        let memory = GuestMemory::anonymous(machine.memory).unwrap();
        let vm = live::build(&machine, memory, None, 0, Box::new(FixedEntropy::new("test"))).unwrap();
        Snapshot::new(machine, false, vm.save())
    }

    fn changed(change: impl FnOnce(&mut Value)) -> Result<Snapshot, SnapshotError> {
        let mut value = serde_json::to_value(snapshot()).unwrap();
        change(&mut value);
        Snapshot::parse(&serde_json::to_vec(&value).unwrap())
    }

    #[test]
    fn a_state_comes_back_the_same() {
        let snapshot = snapshot();
        let bytes = snapshot.to_bytes().unwrap();
        assert_eq!(Snapshot::parse(&bytes).unwrap(), snapshot);
        assert_eq!(Snapshot::parse(&bytes).unwrap().to_bytes().unwrap(), bytes);
    }

    #[test]
    fn other_versions_are_named_whatever_else_is_there() {
        let newer = json!({ "format": FORMAT + 1, "machine_version": 7, "anything": [1, 2] });
        let error = Snapshot::parse(newer.to_string().as_bytes()).unwrap_err();
        assert!(matches!(error, SnapshotError::Format { found: 2 }), "{error}");
        let error = changed(|value| value["machine_version"] = json!(u64::MAX)).unwrap_err();
        assert!(matches!(error, SnapshotError::Machine { found: u64::MAX }), "{error}");
    }

    #[test]
    fn impossible_machines_are_refused() {
        for (field, wrong) in
            [("cpus", json!(0)), ("cpus", json!(1_000_000)), ("memory", json!(u64::MAX)), ("width", json!(0))]
        {
            let error = changed(|value| value["machine"][field] = wrong.clone()).unwrap_err();
            assert!(matches!(error, SnapshotError::Spec(_)), "{field} {wrong}: {error}");
        }
    }

    #[test]
    fn missing_unknown_and_wrong_fields_are_damage() {
        let damaged = |result: Result<Snapshot, SnapshotError>| {
            matches!(result.unwrap_err(), SnapshotError::Damaged(_))
        };
        assert!(damaged(changed(|value| value["machine"]["cpus"] = json!(-1))));
        assert!(damaged(changed(|value| value["state"]["now"] = json!("soon"))));
        assert!(damaged(changed(|value| value["surprise"] = json!(1))));
        assert!(damaged(changed(|value| {
            value["state"].as_object_mut().unwrap().remove("cpus");
        })));
        for bytes in [&b""[..], b"{}", b"null", b"\xff\xfe", b"[[[[[[", &[b'['; 100_000]] {
            assert!(damaged(Snapshot::parse(bytes)));
        }
    }

    /// The places of all numbers in `value`.
    fn numbers(value: &Value, path: String, places: &mut Vec<String>) {
        match value {
            Value::Number(_) => places.push(path),
            Value::Array(items) => {
                items.iter().enumerate().for_each(|(i, item)| numbers(item, format!("{path}/{i}"), places));
            }
            Value::Object(map) => {
                map.iter().for_each(|(key, item)| numbers(item, format!("{path}/{key}"), places));
            }
            _ => {}
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            prop_assert!(Snapshot::parse(&bytes).is_err());
        }

        /// A hostile state may be refused or loaded, but harms neither the load
        /// nor the first steps after it.
        #[test]
        fn hostile_numbers_do_no_harm(
            picks in proptest::collection::vec((any::<prop::sample::Index>(), prop_oneof![
                any::<u64>(), 0u64..40, Just(u64::MAX), any::<u32>().prop_map(u64::from)
            ]), 1..4),
        ) {
            let mut value = serde_json::to_value(snapshot()).unwrap();
            let mut places = Vec::new();
            numbers(&value["state"], "/state".into(), &mut places);
            for (pick, number) in picks {
                let place = pick.get(&places);
                *value.pointer_mut(place).unwrap() = json!(number);
            }
            if let Ok(hostile) = Snapshot::parse(&serde_json::to_vec(&value).unwrap()) {
                try_out(&hostile);
            }
        }
    }

    /// Loads a state that may be hostile and lets it run for a moment.
    fn try_out(hostile: &Snapshot) {
        // What a state may ask for is bounded, but a test's host is smaller than that.
        if hostile.machine.memory > 64 << 20 || hostile.machine.width > 4096 || hostile.machine.height > 4096
        {
            return;
        }
        let memory = GuestMemory::anonymous(hostile.machine.memory).unwrap();
        let entropy = Box::new(FixedEntropy::new("test"));
        let mut vm = live::build(&hostile.machine, memory, None, 0, entropy).unwrap();
        if vm.load(&hostile.state).is_ok() {
            vm.run(vm.now().saturating_add(20_000));
            vm.save();
        }
    }

    thread_local! {
        static GOOD: Vec<u8> = snapshot().to_bytes().unwrap();
    }

    /// The ends of the values and separators in a JSON text.
    fn joints(bytes: &[u8]) -> Vec<usize> {
        let is_joint = |byte: &u8| matches!(byte, b',' | b':' | b'{' | b'}' | b'[' | b']');
        bytes.iter().enumerate().filter(|(_, byte)| is_joint(byte)).map(|(at, _)| at).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// Bits flipped, and parts between joints left out, repeated, and put elsewhere: refused in one line, or
        /// loaded without harm.
        #[test]
        fn spoilt_states_are_refused_or_harmless(
            edits in proptest::collection::vec(
                (0u8..5, any::<[prop::sample::Index; 3]>(), 0u8..8), 1..4),
        ) {
            let mut bytes = GOOD.with(Clone::clone);
            for (kind, [from, to, at], bit) in edits {
                if bytes.is_empty() {
                    break;
                }
                let places = joints(&bytes);
                let place = |index: prop::sample::Index| match places.len() {
                    0 => 0,
                    len => places[index.index(len)],
                };
                let (from, to, at) = (place(from), place(to), place(at));
                let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 200));
                match kind {
                    0 => {
                        let at = (at + usize::from(bit)) % bytes.len();
                        bytes[at] ^= 1 << bit;
                    }
                    1 => bytes.truncate(at),
                    2 => drop(bytes.drain(from..to)),
                    3 => {
                        let part = bytes[from..to].to_vec();
                        bytes.splice(at..at, part);
                    }
                    _ => {
                        let part: Vec<u8> = bytes.drain(from..to).collect();
                        let at = at.min(bytes.len());
                        bytes.splice(at..at, part);
                    }
                }
            }
            match Snapshot::parse(&bytes) {
                Ok(hostile) => try_out(&hostile),
                Err(error) => prop_assert!(!error.to_string().contains('\n'), "{error}"),
            }
        }
    }
}
