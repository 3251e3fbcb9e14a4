//! A bundle of any bytes, or a good one that was spoilt, mostly under a root that is right again. It is refused, or what
//! comes of it is sound in every byte.

use std::collections::BTreeMap;
use std::fs;
use std::sync::LazyLock;

use bundle::{Bundle, Head, Pack};
use store::{Hash, Kind, Store};

use crate::choices::Choices;

/// The prefix's length, and where the head's stands.
const PREFIX: usize = 56;
const HEAD_LEN: std::ops::Range<usize> = 12..16;

/// A bundle with all that there can be in one.
static GOOD: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path().join("store")).expect("a store");
    let page = |number: u8| vec![number; 4096];
    let disk = [page(1), page(2), page(0), page(3), b"odd".to_vec()].concat();
    let memory: Vec<u8> = (0..300).flat_map(|at| page([0, 1, 2, 0, 9, 9][usize::min(at % 41, 5)])).collect();
    let mut needs = BTreeMap::new();
    for (name, content) in [("disk.img", disk), ("memory.img", memory)] {
        let mut staging = store.stage().expect("room");
        staging.write(name, &content).expect("room");
        let artifact = staging.commit(Kind::Rootfs, needs, "x".into()).expect("an artifact");
        let pack = Pack { artifact: &artifact, provenance: "{}", key: None, threads: 1 };
        pack.write(&dir.path().join("it"), &mut |_, _| {}).expect("a bundle");
        needs = BTreeMap::from([("disk".to_owned(), *artifact.hash())]);
    }
    fs::read(dir.path().join("it")).expect("a bundle")
});

/// Runs `data`.
pub fn run(data: &[u8]) {
    if let Ok(head) = Head::decode(data) {
        assert_eq!(head.encode(), data, "two heads that are one");
    }
    let mut choices = Choices::new(data);
    let bytes = match choices.byte() % 8 {
        0 => data.to_vec(),
        kind => spoilt(&mut choices, kind > 1),
    };
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("it");
    fs::write(&path, bytes).expect("a temporary file");
    let opened = Bundle::open(&path);
    let store = Store::open(dir.path().join("store")).expect("a store");
    match opened.and_then(|bundle| bundle.unpack(&store, &mut |_, _| {})) {
        Ok(unpacked) => unpacked.artifact.verify().expect("what is seen is sound"),
        Err(error) => {
            crate::is_well_put(&error.into());
            assert!(store.list().expect("a store").is_empty(), "something of it is seen");
        }
    }
    let count = fs::read_dir(store.dir().join("partial")).expect("a store").count();
    assert_eq!(count, 0, "something of it is left");
    assert_eq!(fs::read_dir(dir.path()).expect("a directory").count(), 2, "something lies outside");
}

/// The good one with parts changed, left out, doubled and moved.
fn spoilt(choices: &mut Choices, reseal: bool) -> Vec<u8> {
    let mut bytes = GOOD.clone();
    let in_head = !choices.one_in(4);
    while !choices.is_done() && bytes.len() < 1 << 20 {
        let head_len: [u8; 4] = bytes[HEAD_LEN].try_into().unwrap_or_default();
        let head = (PREFIX + u32::from_le_bytes(head_len) as usize).min(bytes.len());
        let (start, end) = if in_head { (PREFIX, head) } else { (0, bytes.len()) };
        if end <= start {
            break;
        }
        let from = start + choices.below(end - start);
        let to = (from + choices.below(80)).min(end);
        let before = bytes.len();
        match choices.byte() % 5 {
            0 => bytes[from] ^= 1 << (choices.byte() % 8),
            1 => bytes[from] = choices.pick(&[0, 1, 2, 3, 4, 0x7f, 0x80, 0xff]),
            2 => drop(bytes.drain(from..to)),
            3 => {
                let part = bytes[from..to].to_vec();
                let at = start + choices.below(end - start);
                bytes.splice(at..at, part);
            }
            _ => {
                let part = choices.take(8).to_vec();
                bytes.splice(from..to, part);
            }
        }
        if in_head && bytes.len() >= PREFIX {
            let head = (head - PREFIX + bytes.len()).saturating_sub(before) as u32;
            bytes[HEAD_LEN].copy_from_slice(&head.to_le_bytes());
        }
        if bytes.len() < PREFIX {
            break;
        }
    }
    if let (true, Some(len)) = (reseal, bytes.get(HEAD_LEN)) {
        let len: [u8; 4] = len.try_into().unwrap_or_default();
        if let Some(head) = bytes.get(PREFIX..PREFIX.saturating_add(u32::from_le_bytes(len) as usize)) {
            let root = Hash::of(head);
            bytes[24..PREFIX].copy_from_slice(root.as_bytes());
        }
    }
    bytes
}
