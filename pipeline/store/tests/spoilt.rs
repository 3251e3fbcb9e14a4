//! Manifests that somebody spoilt, by chance or on purpose: flipped, cut, repeated and reordered, with names that lead
//! elsewhere. None is taken for a whole one, nothing is written outside of the store, and little memory is wanted.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{Index, select};
use store::{Artifact, FileEntry, Hash, Kind, MANIFEST, Manifest, Store};

/// What stands in the place of a value.
const TRICKS: &[&str] = &[
    "\"../outside\"",
    "\"/tmp/samovar-outside\"",
    "\"a/../../outside\"",
    "\"..\"",
    "\"\"",
    "\"manifest.json\"",
    "\"MANIFEST.json\"",
    "\"a\\u0000b\"",
    "\"\\u002e\\u002e\\u002foutside\"",
    "\"b\"",
    "18446744073709551615",
    "18446744073709551616",
    "-1",
    "1e308",
    "null",
    "[]",
    "{}",
    "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
    "2",
    "\"kernel\"",
    "\"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\"",
];

const CONTENT: [(&str, &[u8]); 3] = [("a", b"alpha"), ("b", b"beta"), ("state.json", b"{}\n")];

fn good() -> Vec<u8> {
    let entry = |(name, bytes): &(&str, &[u8])| FileEntry {
        name: (*name).into(),
        size: bytes.len() as u64,
        sha256: Hash::of(bytes),
    };
    let needs = BTreeMap::from([("kernel".to_owned(), Hash::of(b"kernel"))]);
    let meta = serde_json::json!({ "recipe": "it", "machine": { "cpus": 2 } });
    Manifest::new(Kind::WarmBase, CONTENT.iter().map(entry).collect(), needs, meta).to_bytes()
}

/// One thing that is done to the text.
#[derive(Debug, Clone)]
enum Edit {
    Flip(Index, u8),
    Cut(Index, Index),
    Repeat(Index, Index, Index),
    /// Two lines change places.
    Swap(Index, Index),
    /// A value becomes another.
    Trick(Index, &'static str),
}

fn edit() -> impl Strategy<Value = Edit> {
    let at = any::<Index>;
    prop_oneof![
        1 => (at(), 0u8..8).prop_map(|(at, bit)| Edit::Flip(at, bit)),
        1 => (at(), at()).prop_map(|(from, to)| Edit::Cut(from, to)),
        1 => (at(), at(), at()).prop_map(|(from, to, at)| Edit::Repeat(from, to, at)),
        1 => (at(), at()).prop_map(|(one, other)| Edit::Swap(one, other)),
        2 => (at(), select(TRICKS)).prop_map(|(at, trick)| Edit::Trick(at, trick)),
    ]
}

fn apply(bytes: &mut Vec<u8>, edit: &Edit) {
    if bytes.is_empty() {
        return;
    }
    let part = |from: &Index, to: &Index, len: usize| {
        let (from, to) = (from.index(len), to.index(len));
        (from.min(to), from.max(to).min(from.min(to) + 80))
    };
    match edit {
        Edit::Flip(at, bit) => {
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
        }
        Edit::Cut(from, to) => {
            let (from, to) = part(from, to, bytes.len());
            bytes.drain(from..to);
        }
        Edit::Repeat(from, to, at) => {
            let (from, to) = part(from, to, bytes.len());
            let (copy, at) = (bytes[from..to].to_vec(), at.index(bytes.len()));
            bytes.splice(at..at, copy);
        }
        Edit::Swap(one, other) => {
            let mut lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
            let (one, other) = (one.index(lines.len()), other.index(lines.len()));
            lines.swap(one, other);
            *bytes = lines.concat();
        }
        Edit::Trick(at, trick) => {
            let colons: Vec<usize> =
                bytes.windows(2).enumerate().filter(|(_, two)| two == b": ").map(|(at, _)| at + 2).collect();
            if colons.is_empty() {
                return;
            }
            // A value ends with its line, but for a comma.
            let from = colons[at.index(colons.len())];
            let end =
                bytes[from..].iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |end| from + end);
            let end = if bytes[from..end].ends_with(b",") { end - 1 } else { end };
            bytes.splice(from..end, trick.bytes());
        }
    }
}

/// All that is below a directory.
fn below(dir: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap()) {
        found.push(entry.path().display().to_string());
        if entry.file_type().unwrap().is_dir() {
            below(&entry.path(), found);
        }
    }
}

/// An artifact with this manifest comes in, as far as it can.
fn receive(store: &Store, bytes: &[u8]) -> store::Result<Option<Artifact>> {
    let Some(arrival) = store.arrival(bytes)? else { return Ok(None) };
    let names: Vec<String> = arrival.manifest().files.iter().map(|entry| entry.name.clone()).collect();
    let all = names.iter().try_for_each(|name| {
        let mut file = arrival.file(name, 4096)?;
        let content =
            CONTENT.iter().find(|(known, _)| known == name).map_or(&b"else"[..], |(_, bytes)| bytes);
        file.write_all(content).unwrap();
        arrival.finish(name, file)
    });
    match all {
        Ok(()) => Ok(Some(arrival.commit()?.0)),
        Err(error) => {
            arrival.discard()?;
            Err(error)
        }
    }
}

/// Where there is a file system in memory, since everything is flushed to the disk.
fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(3000) })]

    #[test]
    fn spoilt_manifests_are_refused_or_sound(edits in prop::collection::vec(edit(), 1..4)) {
        let mut bytes = good();
        edits.iter().for_each(|edit| apply(&mut bytes, edit));
        let dir = in_memory();
        let store = Store::open(dir.path().join("store")).unwrap();
        let told = |error: &store::Error| {
            error.is_damage() && !error.hint().is_empty() && !error.to_string().contains('\n')
        };

        // As it lies in a store, under the name that it had.
        let place = store.path_of(&Hash::of(&good()));
        fs::create_dir(&place).unwrap();
        for (name, content) in CONTENT {
            fs::write(place.join(name), content).unwrap();
        }
        fs::write(place.join(MANIFEST), &bytes).unwrap();
        match Artifact::open(&place) {
            Ok(_) => prop_assert_eq!(&bytes, &good()),
            Err(error) => prop_assert!(told(&error), "{}", error),
        }
        fs::remove_dir_all(&place).unwrap();

        // As it comes in, under the name that it has itself.
        match receive(&store, &bytes) {
            Ok(Some(artifact)) => {
                prop_assert_eq!(artifact.hash(), &Hash::of(&bytes));
                artifact.verify_own().unwrap();
                store.remove(artifact.hash()).unwrap();
            }
            Ok(None) => prop_assert!(false, "it was not there"),
            Err(error) => prop_assert!(told(&error), "{}", error),
        }
        prop_assert!(store.list().unwrap().is_empty());
        let mut found = Vec::new();
        below(dir.path(), &mut found);
        // The store, its eight directories, and the gate.
        prop_assert_eq!(found.len(), 10, "{:?}", found);
        prop_assert!(!Path::new("/tmp/samovar-outside").exists());
    }
}

/// What is far longer than any manifest is not read into memory.
#[test]
fn a_manifest_without_end_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::File::create(dir.path().join(MANIFEST)).unwrap().set_len(1 << 40).unwrap();
    let error = Artifact::open(dir.path()).unwrap_err();
    assert!(error.is_damage(), "{error}");
}
