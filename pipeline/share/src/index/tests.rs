use std::collections::BTreeMap;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;
use store::{FileEntry, Kind, Manifest};

use super::*;

/// What is done to an index.
type Change<'a> = &'a dyn Fn(&mut Index);

/// An index of two artifacts, with all that there can be in one.
pub(crate) fn sample() -> Index {
    let file = |name: &str, size| FileEntry { name: name.into(), size, sha256: Hash::of(b"") };
    let disk = Manifest::new(
        Kind::Rootfs,
        vec![file("disk.img", 9 * 4096 - 1), file("empty", 0)],
        BTreeMap::new(),
        json!({}),
    );
    let disk = disk.to_bytes();
    let needs = BTreeMap::from([("disk".to_owned(), Hash::of(&disk))]);
    let base =
        Manifest::new(Kind::WarmBase, vec![file("memory.img", 4 * 4096)], needs, json!({"recipe": "it"}))
            .to_bytes();
    let entry = |bytes: Vec<u8>, files| Entry {
        hash: Hash::of(&bytes),
        manifest: Manifest::from_bytes(Path::new("it"), &bytes).unwrap(),
        bytes,
        files,
    };
    let [zero, stored] = [|pages, _| Run::Zero { pages }, |pages, first| Run::Pages { pages, first }];
    let frame =
        |pack, at, len, pages| Frame { pack, at, len, pages, hash: Hash::of(&[pack as u8, at as u8]) };
    Index {
        packs: vec![Pack { hash: Hash::of(b"1"), len: 100 }, Pack { hash: Hash::of(b"2"), len: 50 }],
        frames: vec![frame(0, 0, 40, 4), frame(0, 60, 40, 1), frame(1, 10, 10, 2)],
        keys: (0..7).map(|number| key(&[number])).collect(),
        artifacts: vec![
            entry(disk, vec![vec![zero(2, 0), stored(3, 4), zero(1, 0), stored(1, 0), stored(2, 0)], vec![]]),
            entry(base, vec![vec![stored(4, 3)]]),
        ],
        provenance: "{}".into(),
    }
}

#[test]
fn it_is_read_as_it_was_written() {
    let index = sample();
    assert_eq!(Index::decode(&index.encode()).unwrap(), index);
    let pages: Vec<_> = index.frame_pages().map(|(_, pages)| pages).collect();
    assert_eq!(pages, [0..4, 4..5, 5..7]);
}

#[test]
fn each_number_is_bounded() {
    let good = sample();
    let with = |change: Change| {
        let mut index = good.clone();
        change(&mut index);
        Index::decode(&index.encode()).unwrap_err()
    };
    let changes: [(&str, Change); 26] = [
        ("a pack of 0 bytes", &|index| index.packs[1].len = 0),
        ("a pack of", &|index| index.packs[1].len = MAX_PACK + 1),
        ("twice", &|index| index.packs[1] = index.packs[0]),
        ("2 packs, but frames in 1", &|index| {
            index.frames.pop();
            index.keys.truncate(5);
        }),
        ("where none can be", &|index| index.frames.swap(0, 1)),
        ("where none can be", &|index| index.frames[1].at = 39),
        ("where none can be", &|index| index.frames[1].at = 61),
        ("where none can be", &|index| index.frames[1].at = u32::MAX),
        ("where none can be", &|index| index.frames[0].pack = 1),
        ("where none can be", &|index| index.frames[2].pack = 2),
        ("a frame of 0 bytes", &|index| index.frames[0].len = 0),
        ("a frame of", &|index| index.frames[0].len = MAX_FRAME + 1),
        ("and 0 pages", &|index| index.frames[0].pages = 0),
        ("and 65 pages", &|index| index.frames[0].pages = 65),
        ("artifacts, but there are", &|index| index.keys.clear()),
        ("0 artifacts", &|index| index.artifacts.clear()),
        ("which is not before it", &|index| index.artifacts.swap(0, 1)),
        ("which is not before it", &|index| drop(index.artifacts.remove(0))),
        ("twice", &|index| index.artifacts.push(index.artifacts[1].clone())),
        ("pages at page", &|index| index.artifacts[1].files[0][0] = Run::Pages { pages: 5, first: 0 }),
        ("pages at page", &|index| index.artifacts[1].files[0].insert(0, Run::Zero { pages: 0 })),
        ("3 pages, but", &|index| index.artifacts[1].files[0][0] = Run::Pages { pages: 3, first: 0 }),
        ("but there are 7", &|index| index.artifacts[1].files[0][0] = Run::Pages { pages: 4, first: 4 }),
        ("but there are 7", &|index| {
            index.artifacts[1].files[0][0] = Run::Pages { pages: 4, first: u32::MAX }
        }),
        ("two runs that are one", &|index| {
            index.artifacts[1].files[0] =
                vec![Run::Pages { pages: 2, first: 0 }, Run::Pages { pages: 2, first: 2 }];
        }),
        ("two runs that are one", &|index| {
            index.artifacts[1].files[0] = vec![Run::Zero { pages: 2 }, Run::Zero { pages: 2 }];
        }),
    ];
    for (reason, change) in changes {
        let found = with(change);
        assert!(found.contains(reason), "{reason}: {found}");
    }
    let mut longer = good.encode();
    longer.push(0);
    assert!(Index::decode(&longer).unwrap_err().contains("too many"));
}

#[test]
fn paths_out_of_the_store_are_no_names_of_files() {
    let text = String::from_utf8(sample().artifacts[1].bytes.clone()).unwrap();
    for name in ["../memory.img", "/etc/passwd", "a/b", ".hidden", "manifest.json", "a\\u0000b"] {
        let bytes = text.replace("memory.img", name).into_bytes();
        let mut index = sample();
        index.artifacts[1].hash = Hash::of(&bytes);
        index.artifacts[1].bytes = bytes;
        assert!(Index::decode(&index.encode()).unwrap_err().contains("file name"), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    /// Flipped, cut, doubled and moved parts: refused, or what was read is what is written again.
    #[test]
    fn a_spoilt_one_is_refused_or_is_another(
        from in any::<prop::sample::Index>(),
        len in 0usize..80,
        to in any::<prop::sample::Index>(),
        kind in 0u8..4,
        byte: u8,
    ) {
        let mut bytes = sample().encode();
        let from = from.index(bytes.len());
        let end = (from + len).min(bytes.len());
        match kind {
            0 => bytes[from] = byte,
            1 => drop(bytes.drain(from..end)),
            2 => {
                let part = bytes[from..end].to_vec();
                let to = to.index(bytes.len());
                bytes.splice(to..to, part);
            }
            _ => {
                let part: Vec<u8> = bytes.drain(from..end).collect();
                let to = to.index(bytes.len());
                bytes.splice(to..to, part);
            }
        }
        if let Ok(index) = Index::decode(&bytes) {
            prop_assert_eq!(index.encode(), bytes);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
        let _ = Index::decode(&bytes);
        let _ = crate::Sealed::open("it", &bytes);
    }
}
