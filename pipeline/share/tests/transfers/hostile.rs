//! Remotes that were damaged or forged: refused, with nothing to be seen.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use share::{Error, Index, Remote};
use store::Hash;

use crate::place::{Place, base, contents};
use crate::samples::{pull, push};

/// What is done to an index.
type Change<'a> = &'a dyn Fn(&mut Index);

/// A remote to spoil.
struct Spoilt {
    here: Place,
    remote: String,
    path: PathBuf,
    good: Vec<u8>,
    hash: String,
}

impl Spoilt {
    fn new() -> Spoilt {
        let here = Place::new();
        let remote = here.path("remote").display().to_string();
        let hash = base(&here).hash().to_string();
        push(&here.store.load(&hash.parse().unwrap()).unwrap(), &remote).unwrap();
        let path = here.path("remote").join("indexes").join(&hash);
        let good = fs::read(&path).unwrap();
        Spoilt { here, remote, path, good, hash }
    }

    /// The index as it is in the file, with a root that is right.
    fn sealed(index: &[u8]) -> Vec<u8> {
        let compressed = zstd::bulk::compress(index, 1).unwrap();
        let numbers = [1, index.len() as u32, compressed.len() as u32, 0].map(u32::to_le_bytes);
        let root = Hash::of(index);
        [&b"\x89SMI\r\n\x1a\n"[..], numbers.as_flattened(), root.as_bytes(), &compressed].concat()
    }

    /// What it was before it was spoilt.
    fn index(&self) -> Index {
        Remote::parse(&self.remote).unwrap().index(&self.hash).unwrap().index
    }

    fn try_pull(&self, there: &Place) -> Result<(), Error> {
        pull(&self.hash, &self.remote, &there.store).map(drop)
    }
}

#[test]
fn no_changed_byte_of_an_index_is_taken() {
    let (spoilt, there) = (Spoilt::new(), Place::new());
    let raw = spoilt.index().encode();
    for at in 0..spoilt.good.len().min(2000) {
        let mut bytes = spoilt.good.clone();
        bytes[at] ^= 1 << (at % 8);
        fs::write(&spoilt.path, &bytes).unwrap();
        match Remote::parse(&spoilt.remote).unwrap().index(&spoilt.hash) {
            // Some bits of a Zstandard frame's header say nothing of its content (RFC 8878, 3.1.1.1.1).
            Ok(sealed) => assert!(sealed.index.encode() == raw, "{at}"),
            Err(error) => assert!(error.is_damage(), "{at}: {error}"),
        }
    }
    for len in (0..spoilt.good.len()).step_by(37) {
        fs::write(&spoilt.path, &spoilt.good[..len]).unwrap();
        assert!(spoilt.try_pull(&there).unwrap_err().is_damage(), "{len}");
    }
    assert_eq!(there.check(), 0);
}

/// Forged by somebody who knows the format: the root is right, and what it is the root of is not.
#[test]
fn thousands_of_forged_indexes_are_refused_or_sound() {
    let spoilt = Spoilt::new();
    let there = Place::new();
    let raw = spoilt.index().encode();
    let parts =
        (any::<prop::sample::Index>(), 0usize..200, any::<prop::sample::Index>(), 0u8..5, any::<u8>());
    let mut runner = TestRunner::new(Config { cases: 3000, failure_persistence: None, ..Config::default() });
    let forged = runner.run(&prop::collection::vec(parts, 1..3), |changes| {
        let mut bytes = raw.clone();
        for (from, len, to, kind, byte) in changes {
            let from = from.index(bytes.len());
            let end = (from + len).min(bytes.len());
            match kind {
                0 => bytes[from] ^= 1 << (byte % 8),
                1 => bytes[from] = byte,
                2 if end - from < bytes.len() => drop(bytes.drain(from..end)),
                3 => {
                    let part = bytes[from..end].to_vec();
                    let to = to.index(bytes.len());
                    bytes.splice(to..to, part);
                }
                _ => bytes.truncate(end.max(1)),
            }
        }
        fs::write(&spoilt.path, Spoilt::sealed(&bytes)).unwrap();
        match spoilt.try_pull(&there) {
            Ok(()) => {
                // What was changed says nothing of any byte, such as the provenance.
                for listed in there.store.list().unwrap() {
                    there.store.verify(&listed.hash).unwrap();
                }
                for listed in there.store.list().unwrap() {
                    fs::remove_dir_all(there.store.path_of(&listed.hash)).unwrap();
                }
            }
            Err(error) => {
                // A pack of another name may be there the next time, and what is here is kept for it.
                let elsewhere = matches!(error, Error::NotThere { .. });
                if elsewhere {
                    fs::remove_dir_all(there.path("store/partial")).unwrap();
                    fs::create_dir(there.path("store/partial")).unwrap();
                }
                prop_assert!(elsewhere || error.is_damage(), "{error}");
                prop_assert!(!error.to_string().contains('\n') && !error.hint().is_empty());
            }
        }
        prop_assert_eq!(there.check(), 0);
        Ok(())
    });
    forged.unwrap();
    // The directory that was pushed from has only what it had.
    spoilt.here.check();
}

#[test]
fn frames_in_each_others_places_are_refused() {
    let spoilt = Spoilt::new();
    let good = spoilt.index();
    let changes: [(&str, Change); 7] = [
        ("other pages than the index says", &|index| index.keys.swap(0, 1)),
        ("is not what was pushed", &|index| {
            let hash = index.frames[0].hash;
            index.frames[0].hash = index.frames[1].hash;
            index.frames[1].hash = hash;
        }),
        ("is not what was pushed", &|index| index.frames[0].len -= 1),
        ("cannot be decompressed", &|index| {
            let last = index.frames.len() - 1;
            index.frames[0].pages -= 1;
            index.frames[last].pages += 1;
        }),
        ("has not 60 pages", &|index| {
            let last = index.frames.len() - 1;
            index.frames[last].pages += 1;
            index.keys.push([0; 16]);
        }),
        ("the SHA-256 of", &|index| {
            let runs = &mut index.artifacts[2].files[0];
            let last = runs.len() - 1;
            let at = runs.iter().position(|run| run.pages() == runs[last].pages() && *run != runs[last]);
            runs.swap(at.unwrap(), last);
        }),
        ("it is of", &|index| {
            index.artifacts.truncate(1);
        }),
    ];
    for (why, change) in changes {
        let there = Place::new();
        let mut index = good.clone();
        change(&mut index);
        fs::write(&spoilt.path, Spoilt::sealed(&index.encode())).unwrap();
        let error = spoilt.try_pull(&there).unwrap_err();
        assert!(error.is_damage() && error.to_string().contains(why), "{why}: {error}");
        assert_eq!(there.check(), 0);
    }
}

#[test]
fn packs_that_are_damaged_cut_or_gone_are_refused_by_name() {
    let spoilt = Spoilt::new();
    let pack = fs::read_dir(spoilt.here.path("remote/packs")).unwrap().next().unwrap().unwrap().path();
    let good = fs::read(&pack).unwrap();
    let refused = |damage: bool| {
        let there = Place::new();
        let error = spoilt.try_pull(&there).unwrap_err();
        assert!(error.to_string().contains(pack.to_str().unwrap()), "{error}");
        assert_eq!(error.is_damage(), damage, "{error}");
        assert!(there.store.list().unwrap().is_empty());
    };
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut bytes = good.clone();
        bytes[at] ^= 4;
        fs::write(&pack, &bytes).unwrap();
        refused(true);
    }
    fs::write(&pack, &good[..good.len() / 2]).unwrap();
    refused(false);
    fs::remove_file(&pack).unwrap();
    refused(false);
    fs::create_dir(&pack).unwrap();
    refused(true);
    fs::remove_dir(&pack).unwrap();
    // A push knows that it is gone, and puts it there again.
    let artifact = spoilt.here.store.load(&spoilt.hash.parse().unwrap()).unwrap();
    push(&artifact, &spoilt.remote).unwrap();
    let there = Place::new();
    let pulled = pull(&spoilt.hash, &spoilt.remote, &there.store).unwrap();
    assert_eq!(contents(&pulled.artifact), contents(&artifact));
}

#[test]
fn names_that_are_paths_are_refused() {
    let spoilt = Spoilt::new();
    let there = Place::new();
    for name in ["../indexes", "a/b", "", ".", "..", "/etc/passwd", "a b", "-", &"a".repeat(101)] {
        let error = pull(name, &spoilt.remote, &there.store).unwrap_err();
        assert!(matches!(error, Error::BadRemote { .. }), "{name}: {error}");
    }
    fs::write(spoilt.here.path("remote/names/it"), "../../etc/passwd\n").unwrap();
    assert!(pull("it", &spoilt.remote, &there.store).unwrap_err().is_damage());
    for remote in ["ftp://host/a", "oci://host", "file://relative"] {
        assert!(matches!(Remote::parse(remote), Err(Error::BadRemote { .. })), "{remote}");
    }
}

/// 96 MiB of what could be an index, in some thousand bytes.
#[test]
fn what_says_too_much_of_itself_is_not_believed() {
    let spoilt = Spoilt::new();
    let there = Place::new();
    let zeros = vec![0; 96 << 20];
    for (len, raw) in [(zeros.len(), zeros.len() as u32), (zeros.len(), u32::MAX), (10, u32::MAX), (4096, 10)]
    {
        let mut sealed = Spoilt::sealed(&zeros[..len]);
        sealed[12..16].copy_from_slice(&raw.to_le_bytes());
        fs::write(&spoilt.path, sealed).unwrap();
        assert!(spoilt.try_pull(&there).unwrap_err().is_damage());
    }
    assert_eq!(there.check(), 0);
}
