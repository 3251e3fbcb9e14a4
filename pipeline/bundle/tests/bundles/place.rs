//! A store, and artifacts made of pages, for the tests of what carries them.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bundle::PAGE;
use serde_json::json;
use store::{Artifact, Hash, Kind, Store};

/// What may lie beside the store.
const KNOWN: [&str; 3] = ["store", "remote", "it.samovar"];

/// A directory with a store in it.
pub struct Place {
    pub dir: tempfile::TempDir,
    pub store: Store,
}

impl Place {
    pub fn new() -> Place {
        // In memory where that can be had: thousands of stores are flushed to it.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        Place { dir, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn put(&self, files: &[(&str, Vec<u8>)], needs: &[&Artifact]) -> Artifact {
        let mut staging = self.store.stage().unwrap();
        for (name, bytes) in files {
            let mut file = staging.create(name).unwrap();
            file.write_all(bytes).unwrap();
            staging.add(file).unwrap();
        }
        let needs = needs.iter().enumerate().map(|(at, need)| (format!("need-{at}"), *need.hash())).collect();
        staging.commit(Kind::WarmBase, needs, json!({"a": 1})).unwrap()
    }

    /// Fails if the store shows anything but whole artifacts, or something lies where nothing should. Returns how many
    /// artifacts there are.
    pub fn check(&self) -> usize {
        let listed = self.store.list().unwrap();
        for artifact in &listed {
            self.store.verify(&artifact.hash).unwrap();
        }
        for (dir, known) in [(self.store.dir().join(".staging"), 1), (self.store.dir().join("partial"), 0)] {
            assert_eq!(fs::read_dir(&dir).unwrap().count(), known, "{dir:?}");
        }
        let entries: Vec<_> =
            fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(entries.iter().all(|name| KNOWN.iter().any(|known| name == known)), "{entries:?}");
        listed.len()
    }
}

/// A page that no other number gives, and that does not compress away.
pub fn page(number: u32) -> Vec<u8> {
    let hashes = (0..PAGE as u32 / 64).flat_map(|at| {
        let hash = *Hash::of(&[number.to_le_bytes(), at.to_le_bytes()].concat()).as_bytes();
        [hash, hash]
    });
    hashes.flatten().collect()
}

/// Pages by their numbers; 0 is zeros.
pub fn pages(numbers: impl IntoIterator<Item = u32>) -> Vec<u8> {
    numbers.into_iter().flat_map(|number| if number == 0 { vec![0; PAGE] } else { page(number) }).collect()
}

/// A disk, and a base whose memory has pages of it, zeros and pages of its own, some of them twice.
pub fn base(place: &Place) -> Artifact {
    let mut disk = pages((1..400).chain([0, 0, 0]).chain(500..520));
    disk.extend(b"and an odd end");
    let disk = place.put(&[("disk.img", disk), ("empty", Vec::new())], &[]);
    let kernel = place.put(&[("Image", b"kernel".to_vec())], &[]);
    let memory = pages((0..600).map(|at| match at % 7 {
        0..3 => 0,
        3 => 300 + at / 7,
        4 => 1000 + at / 14,
        _ => 2000 + at,
    }));
    place.put(&[("memory.img", memory), ("state.json", b"{\"now\":0}\n".to_vec())], &[&disk, &kernel])
}

/// The files of an artifact and of all that it needs.
pub fn contents(artifact: &Artifact) -> BTreeMap<(Hash, String), Vec<u8>> {
    let read = |name: &str| fs::read(artifact.dir().join(name)).unwrap();
    let manifest = artifact.manifest();
    let names = manifest.files.iter().map(|entry| entry.name.as_str()).chain([store::MANIFEST]);
    let mut all: BTreeMap<_, _> =
        names.map(|name| ((*artifact.hash(), name.to_owned()), read(name))).collect();
    for role in manifest.needs.keys() {
        all.extend(contents(&artifact.need(role).unwrap()));
    }
    all
}
