//! The index of a remote, of any bytes, or a good one that was spoilt, mostly under a root that is right again. It is
//! refused, or what is pulled by it is sound in every byte.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use share::{Index, Pull, Push, Remote, Sealed};
use store::{Hash, Kind, Store};

use crate::choices::Choices;

/// The prefix's length.
const PREFIX: usize = 56;

/// A remote with all that there can be in one.
struct Good {
    dir: tempfile::TempDir,
    hash: Hash,
    sealed: Vec<u8>,
    index: Vec<u8>,
}

static GOOD: LazyLock<Good> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path().join("store")).expect("a store");
    let page = |number: u8| vec![number; 4096];
    let disk = [page(1), page(2), page(0), page(3), b"odd".to_vec()].concat();
    let memory: Vec<u8> =
        (0..300).flat_map(|at| page([0, 1, 2, 0, 9, (at % 250) as u8][usize::min(at % 41, 5)])).collect();
    let remote = Remote::parse(&dir.path().display().to_string()).expect("a directory");
    let mut needs = BTreeMap::new();
    for (name, content) in [("disk.img", disk), ("memory.img", memory)] {
        let mut staging = store.stage().expect("room");
        staging.write(name, &content).expect("room");
        let artifact = staging.commit(Kind::Rootfs, needs, "x".into()).expect("an artifact");
        let push = Push { artifact: &artifact, provenance: "{}", key: None, name: Some("it") };
        push.to(&remote, &mut |_, _| {}).expect("a remote");
        needs = BTreeMap::from([("disk".to_owned(), *artifact.hash())]);
    }
    let hash = remote.index("it").expect("an index").index.main().expect("an artifact").hash;
    let sealed = fs::read(dir.path().join("indexes").join(hash.to_string())).expect("an index");
    let index = Sealed::open("it", &sealed).expect("an index").index.encode();
    Good { dir, hash, sealed, index }
});

/// Runs `data`.
pub fn run(data: &[u8]) {
    if let Ok(index) = Index::decode(data) {
        assert_eq!(index.encode(), data, "two indexes that are one");
    }
    let mut choices = Choices::new(data);
    let bytes = match choices.byte() % 8 {
        0 => data.to_vec(),
        1 => spoilt(&mut choices, &GOOD.sealed),
        _ => sealed(&spoilt(&mut choices, &GOOD.index)),
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let place = dir.path().join("remote");
    fs::create_dir_all(place.join("indexes")).expect("a temporary directory");
    std::os::unix::fs::symlink(GOOD.dir.path().join("packs"), place.join("packs")).expect("a link");
    fs::write(place.join("indexes").join(GOOD.hash.to_string()), bytes).expect("a temporary file");
    let store = Store::open(dir.path().join("store")).expect("a store");
    pull(&place, &store);
    let count = fs::read_dir(store.dir().join("partial")).expect("a store").count();
    assert_eq!(count, 0, "something of it is left");
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 2, "something lies outside");
}

fn pull(place: &Path, store: &Store) {
    let remote = Remote::parse(&place.display().to_string()).expect("a directory");
    let begun = Pull::begin(&remote, &GOOD.hash.to_string());
    match begun.and_then(|pull| pull.fetch(store, &mut |_, _| {})) {
        Ok(pulled) => pulled.artifact.verify().expect("what is seen is sound"),
        Err(error) => {
            assert!(error.is_damage() || matches!(error, share::Error::NotThere { .. }), "{error}");
            crate::is_well_put(&error.into());
            assert!(store.list().expect("a store").is_empty(), "something of it is seen");
            // A pack that is not there may be there the next time.
            let left = fs::read_dir(store.dir().join("partial")).expect("a store");
            left.flatten().for_each(|entry| {
                drop(fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path())))
            });
        }
    }
}

/// An index behind a root that is right.
fn sealed(index: &[u8]) -> Vec<u8> {
    let numbers = [1, index.len() as u32, compressed(index).len() as u32, 0].map(u32::to_le_bytes);
    let prefix = [&GOOD.sealed[..8], numbers.as_flattened(), Hash::of(index).as_bytes()].concat();
    assert_eq!(prefix.len(), PREFIX);
    [prefix, compressed(index)].concat()
}

/// A frame of raw blocks (RFC 8878, 3.1.1), which is what takes no time to make.
fn compressed(bytes: &[u8]) -> Vec<u8> {
    // One segment, whose length is in four bytes.
    let mut frame = [&[0x28, 0xb5, 0x2f, 0xfd, 0xa0][..], &(bytes.len() as u32).to_le_bytes()].concat();
    let blocks = bytes.chunks(1 << 17);
    let count = blocks.len().max(1);
    for (at, block) in blocks.enumerate() {
        let header = (block.len() as u32) << 3 | u32::from(at + 1 == count);
        frame.extend(&header.to_le_bytes()[..3]);
        frame.extend(block);
    }
    if bytes.is_empty() {
        frame.extend([1, 0, 0]);
    }
    frame
}

/// The good one with parts changed, left out, doubled and moved.
fn spoilt(choices: &mut Choices, good: &[u8]) -> Vec<u8> {
    let mut bytes = good.to_vec();
    while !choices.is_done() && !bytes.is_empty() && bytes.len() < 1 << 20 {
        let from = choices.below(bytes.len());
        let to = (from + choices.below(80)).min(bytes.len());
        match choices.byte() % 5 {
            0 => bytes[from] ^= 1 << (choices.byte() % 8),
            1 => bytes[from] = choices.pick(&[0, 1, 2, 3, 4, 0x7f, 0x80, 0xff]),
            2 => drop(bytes.drain(from..to)),
            3 => {
                let part = bytes[from..to].to_vec();
                let at = choices.below(bytes.len());
                bytes.splice(at..at, part);
            }
            _ => {
                let part = choices.take(8).to_vec();
                bytes.splice(from..to, part);
            }
        }
    }
    bytes
}
