//! Bundles that somebody spoilt, by chance or on purpose: none is taken for a whole one, and nothing is to be seen of it.

use std::fs;
use std::path::Path;

use bundle::{Bundle, Error};
use proptest::prelude::*;
use proptest::sample::Index;
use store::{Hash, Store};

use crate::place::*;
use crate::samples::*;

/// Where the head begins, and the frames.
const HEAD: usize = 56;

fn number(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

/// A small bundle with all that there can be in one.
fn good() -> (Place, Vec<u8>) {
    let place = Place::new();
    let mut disk = pages([1, 2, 3, 0, 4, 5]);
    disk.extend(b"odd");
    let disk = place.put(&[("disk.img", disk), ("empty", Vec::new())], &[]);
    let memory = pages((0..600).map(|at| match at {
        10..13 => at - 9,
        0 | 300 | 301 | 599 => 100 + at / 2,
        _ => 0,
    }));
    let base = place.put(&[("memory.img", memory), ("state.json", b"{}".to_vec())], &[&disk]);
    let path = place.path("it.samovar");
    pack(&base, &path, 1);
    let bytes = fs::read(path).unwrap();
    (place, bytes)
}

/// What becomes of these bytes in the store: refused, with nothing to be seen of them, and a hint; or all of it.
fn outcome(store: &Path, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    fs::write(path, bytes).unwrap();
    let store = Store::open(store).unwrap();
    match unpack(path, &store) {
        Ok(unpacked) => {
            for hash in unpacked.new {
                store.verify(&hash).unwrap();
            }
            Ok(())
        }
        Err(error) => {
            assert!(!error.hint().is_empty() && !error.to_string().contains('\n'), "{error}");
            assert!(store.list().unwrap().is_empty(), "something is seen after: {error}");
            Err(error)
        }
    }
}

/// Makes the root that of the head again, as one does who packs hostile bundles.
fn resealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let head = HEAD + number(&bytes, 12);
    if let Some(head) = bytes.get(HEAD..head) {
        let root = Hash::of(head);
        bytes[24..56].copy_from_slice(root.as_bytes());
    }
    bytes
}

#[test]
fn a_flip_of_any_bit_anywhere_is_seen() {
    let ((_from, bytes), place) = (good(), Place::new());
    assert!(bytes.len() < 40_000, "{}", bytes.len());
    // Every byte of what has a meaning of its own, and every thirty-first of the frames.
    let frames = HEAD + number(&bytes, 12);
    for at in (0..frames).chain((frames..bytes.len()).step_by(31)) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        let error = outcome(place.store.dir(), &place.path("it.samovar"), &bytes).unwrap_err();
        assert!(error.is_damage(), "{at}: {error}");
    }
    assert_eq!(place.check(), 0);
    outcome(place.store.dir(), &place.path("it.samovar"), &bytes).unwrap();
    assert_eq!(place.check(), 2);
}

#[test]
fn a_bundle_that_was_cut_or_grew_is_refused() {
    let ((_from, bytes), place) = (good(), Place::new());
    for end in (0..bytes.len()).step_by(11).chain([bytes.len() - 1]) {
        let error = outcome(place.store.dir(), &place.path("it.samovar"), &bytes[..end]).unwrap_err();
        assert!(error.is_damage(), "{end}: {error}");
    }
    let longer = [&bytes[..], b"x"].concat();
    outcome(place.store.dir(), &place.path("it.samovar"), &longer).unwrap_err();
    assert_eq!(place.check(), 0);
}

#[test]
fn what_is_no_bundle_is_said_to_be_none() {
    let place = Place::new();
    for bytes in [&b""[..], b"PK\x03\x04", &[0; 4096], "text\n".repeat(40).as_bytes()] {
        let error = outcome(place.store.dir(), &place.path("it.samovar"), bytes).unwrap_err();
        assert!(matches!(error, Error::NotABundle { .. }), "{error}");
    }
    assert!(matches!(Bundle::open(place.dir.path()), Err(Error::NotABundle { .. })));
    let mut newer = good().1;
    newer[8] = 2;
    let error = outcome(place.store.dir(), &place.path("it.samovar"), &newer).unwrap_err();
    assert!(matches!(error, Error::UnknownFormat { found: 2, .. }), "{error}");
}

/// Names and sizes in manifests, under a root that is right.
#[test]
fn manifests_that_reach_out_or_ask_for_too_much_are_refused() {
    let ((_from, bytes), place) = (good(), Place::new());
    let outside = place.path("outside");
    let spoilt = |from: &str, to: &str| {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).expect(from);
        // The length of the manifest stands before it.
        let start = (0..at).rev().find(|start| bytes[*start..].starts_with(b"{\n  \"format\"")).unwrap();
        let mut spoilt = bytes.clone();
        spoilt.splice(at..at + from.len(), to.bytes());
        let grown = to.len() as i64 - from.len() as i64;
        for at in [start - 4, 12] {
            let changed = (number(&spoilt, at) as i64 + grown) as u32;
            spoilt[at..at + 4].copy_from_slice(&changed.to_le_bytes());
        }
        resealed(spoilt)
    };
    for (from, to) in [
        ("\"disk.img\"", format!("\"{}\"", outside.display())),
        ("\"disk.img\"", "\"../../outside\"".into()),
        ("\"disk.img\"", "\"..\"".into()),
        ("\"disk.img\"", "\"\"".into()),
        ("\"disk.img\"", "\"a\\u0000b\"".into()),
        ("\"disk.img\"", "\"manifest.json\"".into()),
        ("\"disk.img\"", "\"empty\"".into()),
        ("\"size\": 24579", "\"size\": 24580".into()),
        ("\"size\": 24579", "\"size\": 137438953473".into()),
        ("\"size\": 24579", "\"size\": 18446744073709551615".into()),
        ("\"size\": 24579", "\"size\": 1e99".into()),
        ("\"size\": 24579", "\"size\": -1".into()),
        ("\"need-0\": \"", "\"need-0\": \"x".into()),
    ] {
        let error = outcome(place.store.dir(), &place.path("it.samovar"), &spoilt(from, &to)).unwrap_err();
        assert!(error.is_damage(), "{to}: {error}");
        assert!(!outside.exists());
    }
    assert_eq!(place.check(), 0);
}

/// Frames that are none, are of another size, or come to other bytes, with hashes and a root that are right.
#[test]
fn frames_that_lie_are_refused() {
    let place = Place::new();
    let content = pages(1..200);
    let artifact = place.put(&[("f", content.clone())], &[]);
    let path = place.path("it.samovar");
    pack(&artifact, &path, 1);
    let bytes = fs::read(&path).unwrap();
    let frames = HEAD + number(&bytes, 12);
    let table = 64 + number(&bytes, 60) + 8;
    let with = |frame: Vec<u8>| {
        let mut bytes = [&bytes[..frames], &frame].concat();
        bytes[table..table + 4].copy_from_slice(&(frame.len() as u32).to_le_bytes());
        bytes[table + 4..table + 36].copy_from_slice(Hash::of(&frame).as_bytes());
        resealed(bytes)
    };
    let packed = |bytes: &[u8]| zstd::bulk::compress(bytes, 1).unwrap();
    let mut other = content.clone();
    other[9] ^= 1;
    let target = Place::new();
    for frame in [
        b"no frame".to_vec(),
        packed(&content[1..]),
        packed(&[&content[..], b"x"].concat()),
        // 900 MiB of zeros in 30 KiB: no more than a chunk is ever made of them.
        packed(&vec![0; 900 << 20]),
        packed(&other),
        packed(&content)[..1000].to_vec(),
    ] {
        let error = outcome(target.store.dir(), &target.path("it.samovar"), &with(frame)).unwrap_err();
        assert!(error.is_damage(), "{error}");
    }
    assert_eq!(target.check(), 0);
    // Another compression of the right bytes is another bundle of the same artifact.
    outcome(target.store.dir(), &target.path("it.samovar"), &with(packed(&content))).unwrap();
    assert_eq!(target.check(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Parts of a bundle repeated, moved, left out and changed, mostly under a root that is right again: refused, or what
    /// comes of it is sound in every byte.
    #[test]
    fn spoilt_bundles_are_refused_or_sound(
        edits in prop::collection::vec((0u8..5, any::<(Index, Index, Index)>(), any::<u8>()), 1..4),
        reseal in prop::bool::weighted(0.8), in_head in prop::bool::weighted(0.7),
    ) {
        let (_from, mut bytes) = GOOD.with(|good| (Place::new(), good.clone()));
        for (kind, (at, from, to), byte) in edits {
            let end = if in_head { (HEAD + number(&bytes, 12)).min(bytes.len()) } else { bytes.len() };
            let index = |index: Index| HEAD.min(end - 1) + index.index(end - HEAD.min(end - 1));
            let (at, from, to) = (index(at), index(from), index(to));
            let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 64));
            let before = bytes.len();
            match kind {
                0 => bytes[at] ^= byte.max(1),
                1 => bytes[at] = *[0, 1, 2, 3, 0x7f, 0x80, 0xff].get(usize::from(byte) % 8).unwrap_or(&byte),
                2 => drop(bytes.drain(from..to)),
                3 => {
                    let part = bytes[from..to].to_vec();
                    bytes.splice(at..at, part);
                }
                _ => bytes[from..to].rotate_left(4.min(to - from)),
            }
            if in_head {
                let head = number(&bytes, 12) + bytes.len() - before;
                bytes[12..16].copy_from_slice(&(head as u32).to_le_bytes());
            }
            if bytes.len() <= HEAD {
                break;
            }
        }
        let bytes = if reseal && bytes.len() > HEAD { resealed(bytes) } else { bytes };
        let place = Place::new();
        if let Err(error) = outcome(place.store.dir(), &place.path("it.samovar"), &bytes) {
            prop_assert!(error.is_damage() || matches!(error, Error::NoRoom { .. }), "{}", error);
            prop_assert_eq!(place.check(), 0);
        } else {
            prop_assert!(place.check() > 0);
        }
    }
}

thread_local! {
    static GOOD: Vec<u8> = good().1;
}
