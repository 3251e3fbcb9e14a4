use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;
use store::{FileEntry, Kind, Manifest};

use super::*;
use crate::carried::{MAX_ARTIFACTS, MAX_FILE};

const ZERO: Hash = Hash::from_bytes([0; 32]);

fn artifact(sizes: &[u64], needs: &[Hash], runs: &[&[Run]]) -> Packed {
    let entry = |(at, size): (usize, &u64)| FileEntry { name: format!("f{at}"), size: *size, sha256: ZERO };
    let needs: BTreeMap<String, Hash> =
        needs.iter().enumerate().map(|(at, hash)| (format!("n{at}"), *hash)).collect();
    let manifest =
        Manifest::new(Kind::Rootfs, sizes.iter().enumerate().map(entry).collect(), needs, json!({}));
    let bytes = manifest.to_bytes();
    let frames =
        |runs: &[Run], size: u64| vec![Frame { len: 7, hash: ZERO }; stored_chunks(runs, size).len()];
    let files = runs
        .iter()
        .zip(sizes)
        .map(|(runs, size)| PackedFile { runs: runs.to_vec(), frames: frames(runs, *size) });
    Packed { hash: Hash::of(&bytes), files: files.collect(), manifest, bytes }
}

fn zero(pages: u32) -> Run {
    Run::Zero { pages }
}

fn stored(pages: u32) -> Run {
    Run::Stored { pages }
}

fn same(pages: u32, file: u32, page: u32) -> Run {
    Run::Same { pages, file, page }
}

const P: u64 = PAGE as u64;

/// A disk, and a memory that shares pages with it and itself.
fn head() -> Head {
    let disk = artifact(&[600 * P + 5, 0], &[], &[&[stored(300), zero(1), stored(300)], &[]]);
    let memory: &[Run] = &[zero(2), stored(2), same(3, 0, 297), same(2, 2, 2), zero(1), same(1, 0, 301)];
    let base = artifact(&[11 * P], &[disk.hash], &[memory]);
    Head { artifacts: vec![disk, base], provenance: "{}".into() }
}

/// The reason why a head of one artifact with these runs is refused.
fn refused(size: u64, runs: &[Run]) -> String {
    let head = Head {
        artifacts: vec![artifact(&[10 * P, size], &[], &[&[stored(10)], runs])],
        provenance: String::new(),
    };
    Head::decode(&head.encode()).expect_err("refused")
}

#[test]
fn a_head_comes_back() {
    let head = head();
    assert_eq!(Head::decode(&head.encode()).unwrap(), head);
    let frames: Vec<usize> = head.files().map(|(file, _)| file.frames.len()).collect();
    assert_eq!(frames, [3, 0, 1], "one for each chunk of 256 pages with stored ones");
    assert_eq!(head.frame_bytes(), 4 * 7);
}

#[test]
fn chunks_have_their_stored_bytes() {
    let chunks = stored_chunks(&[zero(255), stored(3), zero(1), stored(1)], 259 * P + 9);
    let [first, second] = &chunks[..] else { panic!("{chunks:?}") };
    assert_eq!((first.number, first.parts[0].clone(), first.parts.len()), (0, 255 * P..256 * P, 1));
    assert_eq!((second.number, &*second.parts), (1, &[256 * P..258 * P, 259 * P..259 * P + 9][..]));
    assert_eq!([first.bytes(), second.bytes()], [PAGE, 2 * PAGE + 9]);
}

#[test]
fn runs_that_do_not_fit_are_refused() {
    for (size, runs) in [
        (P, &[][..]),
        (P, &[zero(2)]),
        (P, &[stored(1), zero(1)]),
        (2 * P, &[zero(1)]),
        (2 * P, &[zero(1), zero(1)]),
        (2 * P, &[stored(1), stored(1)]),
        (P, &[zero(0), zero(1)]),
        // Pages that are not stored: another file's, a later file's, this one's own, zeros, beyond the end.
        (P, &[same(1, 2, 0)]),
        (P, &[same(1, u32::MAX, 0)]),
        (P, &[same(1, 1, 0)]),
        (3 * P, &[zero(1), stored(1), same(1, 1, 0)]),
        (3 * P, &[stored(1), same(2, 1, 0)]),
        (P, &[same(1, 0, 10)]),
        (2 * P, &[same(2, 0, 9)]),
        (P, &[same(1, 0, u32::MAX)]),
        // The last page is not a whole one.
        (P + 1, &[stored(1), same(1, 1, 0)]),
    ] {
        assert!(refused(size, runs).starts_with("\"f1\": "), "{size} {runs:?}");
    }
    let short = artifact(&[P + 1, P], &[], &[&[stored(2)], &[same(1, 0, 1)]]);
    let head = Head { artifacts: vec![short], provenance: String::new() };
    assert!(Head::decode(&head.encode()).is_err(), "a short page is taken for a whole one");
}

#[test]
fn sizes_that_no_machine_has_are_refused() {
    let sizes = |sizes: &[u64]| {
        let runs: Vec<Vec<Run>> =
            sizes.iter().map(|size| vec![zero((size / P).min(1 << 29) as u32)]).collect();
        let runs: Vec<&[Run]> = runs.iter().map(|runs| &runs[..]).collect();
        Head::decode(
            &Head { artifacts: vec![artifact(sizes, &[], &runs)], provenance: String::new() }.encode(),
        )
    };
    assert!(sizes(&[MAX_FILE, MAX_FILE]).is_ok());
    for wrong in [&[MAX_FILE + P][..], &[u64::MAX], &[MAX_FILE, MAX_FILE, P], &[u64::MAX, u64::MAX, 2]] {
        assert!(sizes(wrong).unwrap_err().contains("larger than can be carried"), "{wrong:?}");
    }
}

#[test]
fn artifacts_come_once_after_what_they_need_and_none_is_a_stranger() {
    let decoded =
        |artifacts: Vec<Packed>| Head::decode(&Head { artifacts, provenance: String::new() }.encode());
    let [disk, base] = head().artifacts.try_into().unwrap();
    assert!(decoded(vec![]).is_err());
    assert!(decoded(vec![base.clone()]).unwrap_err().contains("not before it"));
    assert!(decoded(vec![disk.clone(), disk.clone(), base.clone()]).unwrap_err().contains("twice"));
    let (other, base) = (artifact(&[0], &[], &[&[]]), artifact(&[P], &[disk.hash], &[&[zero(1)]]));
    assert!(decoded(vec![disk, other, base]).unwrap_err().contains("nothing in it needs"));
    let many = (0..=MAX_ARTIFACTS as u64).map(|size| artifact(&[size], &[], &[&[stored(1)]])).collect();
    assert!(decoded(many).unwrap_err().contains("65 artifacts"));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let good = head();
    let bytes = good.encode();
    for name in ["..", "/a", "a/b", "", ".", "manifest.json", "f0"] {
        let name = format!("\"{name}\"");
        let manifest = String::from_utf8(good.artifacts[0].bytes.clone()).unwrap().replace("\"f1\"", &name);
        let mut changed = good.clone();
        changed.artifacts[0].bytes = manifest.into_bytes();
        assert!(changed.encode() != bytes);
        let reason = Head::decode(&changed.encode()).unwrap_err();
        assert!(reason.contains("a manifest in it"), "{name}: {reason}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>) {
        let _ = Head::decode(&bytes);
    }

    /// What is decoded is what was encoded: no two heads are one.
    #[test]
    fn a_changed_head_is_refused_or_another(
        at: prop::sample::Index, flip in 1u8.., cut: Option<prop::sample::Index>, from: prop::sample::Index, to: prop::sample::Index,
    ) {
        let mut bytes = head().encode();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        if let Some(cut) = cut {
            let (cut, from, to) = (cut.index(bytes.len()), from.index(bytes.len()), to.index(bytes.len()));
            let part = bytes[from.min(to)..from.max(to)].to_vec();
            bytes.splice(cut..cut, part);
        }
        if let Ok(head) = Head::decode(&bytes) {
            prop_assert_eq!(head.encode(), bytes);
        }
    }

    #[test]
    fn every_cut_is_refused(at: prop::sample::Index) {
        let bytes = head().encode();
        prop_assert!(Head::decode(&bytes[..at.index(bytes.len())]).is_err());
    }
}
