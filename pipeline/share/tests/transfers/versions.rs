//! What is moved, and what is not moved again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use share::{Index, Remote};

use crate::place::{Place, base, contents, page, pages};
use crate::samples::{next_base, pull, push};

/// All files of a directory, by their paths in it.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for sub in ["indexes", "names", "packs"] {
        for entry in fs::read_dir(dir.join(sub)).unwrap() {
            let path = entry.unwrap().path();
            files.insert(path.strip_prefix(dir).unwrap().display().to_string(), fs::read(&path).unwrap());
        }
    }
    files
}

#[test]
fn what_is_pushed_is_pulled() {
    let (here, there) = (Place::new(), Place::new());
    let remote = here.path("remote").display().to_string();
    let artifact = base(&here);
    let pushed = push(&artifact, &remote).unwrap();
    assert_eq!(pushed.there, 0);
    let pulled = pull("it", &remote, &there.store).unwrap();
    assert_eq!(contents(&pulled.artifact), contents(&artifact));
    assert_eq!((pulled.new.len(), pulled.fetched), (3, pulled.whole));
    drop(pulled);
    assert_eq!(there.check(), 3);
    let again = pull(&artifact.hash().to_string(), &remote, &there.store).unwrap();
    assert_eq!((again.new.len(), again.fetched), (0, 0));
    drop(again);
    // Holes stay holes.
    let space = |place: &Place| place.store.list().unwrap().iter().map(|one| one.disk).sum::<u64>();
    assert!(space(&there) <= space(&here));
    // From another store, to another place, the very same bytes.
    let other = there.path("remote");
    push(&there.store.load(artifact.hash()).unwrap(), other.to_str().unwrap()).unwrap();
    assert!(tree(&other) == tree(Path::new(&remote)));
    assert_eq!(there.check(), 3);
}

#[test]
fn the_next_version_moves_only_what_is_new() {
    let (here, there) = (Place::new(), Place::new());
    let remote = here.path("remote").display().to_string();
    let (first, second) = (base(&here), next_base(&here));
    let whole = push(&first, &remote).unwrap();
    let old = pull("it", &remote, &there.store).unwrap().whole;
    let next = push(&second, &remote).unwrap();
    let before = tree(Path::new(&remote));
    assert!(next.sent < whole.sent / 4, "{next:?} after {whole:?}");
    let pulled = pull("it", &remote, &there.store).unwrap();
    assert_eq!(contents(&pulled.artifact), contents(&second));
    assert!(pulled.fetched < old / 4, "{} of {old}", pulled.fetched);
    drop(pulled);
    assert_eq!(there.check(), 5);
    // Whoever has nothing gets it from the packs of both.
    let fresh = Place::new();
    let pulled = pull(&second.hash().to_string(), &remote, &fresh.store).unwrap();
    assert_eq!(contents(&pulled.artifact), contents(&second));
    let pulled = pull(&first.hash().to_string(), &remote, &fresh.store).unwrap();
    assert_eq!(contents(&pulled.artifact), contents(&first));
    assert!(pulled.fetched > 0);
    // Pushed again, nothing is sent but the index.
    let again = push(&second, &remote).unwrap();
    assert!(again.sent < next.sent && tree(Path::new(&remote)).len() == before.len());
}

#[test]
fn a_push_that_broke_off_is_not_to_be_seen_and_goes_on() {
    let (here, there) = (Place::new(), Place::new());
    let (remote, dir) = (here.path("remote").display().to_string(), here.path("remote"));
    let artifact = base(&here);
    let whole = push(&artifact, &remote).unwrap();
    let good = tree(&dir);
    // As it is when it is killed just before the index, with half of one besides.
    fs::remove_dir_all(dir.join("indexes")).unwrap();
    fs::remove_dir_all(dir.join("names")).unwrap();
    fs::create_dir(dir.join("indexes")).unwrap();
    fs::write(dir.join("indexes").join(format!(".part-{}", artifact.hash())), "half").unwrap();
    let error = pull("it", &remote, &there.store).unwrap_err();
    assert!(error.is_remote(), "{error}");
    let again = push(&artifact, &remote).unwrap();
    assert!(again.sent < whole.sent && again.there > 0);
    assert!(tree(&dir) == good);
    // A pack that is shorter than it should be is written again.
    let pack = fs::read_dir(dir.join("packs")).unwrap().next().unwrap().unwrap().path();
    fs::write(&pack, "cut").unwrap();
    push(&artifact, &remote).unwrap();
    assert!(tree(&dir) == good);
}

#[test]
fn what_a_pull_that_broke_off_had_is_not_fetched_again_and_not_trusted() {
    let here = Place::new();
    let remote = here.path("remote").display().to_string();
    let artifact = base(&here);
    push(&artifact, &remote).unwrap();
    let sealed = Remote::parse(&remote).unwrap().index("it").unwrap();
    let Index { keys, frames, .. } = &sealed.index;
    let whole: u64 = frames.iter().map(|frame| u64::from(frame.len)).sum();
    // All pages that there are, where a pull would have put them.
    let known: BTreeMap<[u8; 16], Vec<u8>> = (1..10_000)
        .map(page)
        .map(|page| (*store::Hash::of(&page).as_bytes().first_chunk().unwrap(), page))
        .collect();
    let spool: Vec<u8> =
        keys.iter().flat_map(|key| known.get(key).cloned().unwrap_or(vec![7; 4096])).collect();
    for (spool, least, most) in [
        (spool.clone(), 1, whole / 4),
        (spool[..spool.len() / 2].to_vec(), whole / 4, whole * 3 / 4),
        (vec![7; spool.len()], whole, whole),
        ([spool, vec![7; 1 << 20]].concat(), 1, whole / 4),
    ] {
        let there = Place::new();
        fs::write(there.path(&format!("store/partial/{}.parts", artifact.hash())), &spool).unwrap();
        let pulled = pull("it", &remote, &there.store).unwrap();
        assert_eq!(contents(&pulled.artifact), contents(&artifact));
        assert!((least..=most).contains(&pulled.fetched), "{} of {whole}", pulled.fetched);
        drop(pulled);
        assert_eq!(there.check(), 3);
    }
}

#[test]
fn odd_artifacts() {
    let (here, there) = (Place::new(), Place::new());
    let remote = here.path("remote").display().to_string();
    for files in [
        vec![],
        vec![("a", vec![])],
        vec![("a", vec![0; 3 << 20])],
        vec![("a", vec![0; 4097])],
        vec![("a", b"x".to_vec()), ("b", b"x".to_vec())],
        vec![("a", pages([1, 1, 1, 0, 1, 2, 1])), ("b", [pages([2, 1]), b"x".to_vec()].concat())],
        vec![("a", pages((0..1000).map(|at| at % 70)))],
    ] {
        let artifact = here.put(&files, &[]);
        push(&artifact, &remote).unwrap();
        let pulled = pull("it", &remote, &there.store).unwrap();
        assert_eq!(contents(&pulled.artifact), contents(&artifact));
        drop(pulled);
        there.check();
    }
}
