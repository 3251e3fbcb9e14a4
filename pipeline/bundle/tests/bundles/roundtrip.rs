//! What was packed comes back, and packing is a function of the artifact alone.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use bundle::{Bundle, CHUNK_PAGES, PAGE};
use proptest::prelude::*;
use store::Store;

use crate::place::*;
use crate::samples::*;

#[test]
fn an_artifact_and_its_needs_come_back_and_pack_to_the_same_bytes() {
    let (here, there) = (Place::new(), Place::new());
    let base = base(&here);
    let (first, second) = (here.path("it.samovar"), there.path("it.samovar"));
    let summary = pack(&base, &first, 1);
    let file = fs::metadata(&first).unwrap();
    assert_eq!((summary.bytes, file.mode() & 0o777), (file.len(), 0o644));
    assert!(summary.bytes + summary.left_out < summary.unpacked + 8192, "{summary:?}");

    let mut last = (0, 0);
    let bundle = Bundle::open(&first).unwrap();
    let unpacked = bundle.unpack(&there.store, &mut |done, total| {
        assert!(done >= last.0 && done <= total, "{done} of {total} after {last:?}");
        last = (done, total);
    });
    let unpacked = unpacked.unwrap();
    assert_eq!(last, (summary.unpacked, summary.unpacked));
    assert_eq!((unpacked.new.len(), unpacked.holds.len()), (3, 3));
    assert!(contents(&unpacked.artifact) == contents(&base));
    assert_eq!(there.check(), 3);
    let memory = fs::metadata(unpacked.artifact.file("memory.img").unwrap()).unwrap();
    assert!(memory.blocks() * 512 < memory.len() * 2 / 3, "zeros are holes");
    assert_eq!(memory.mode() & 0o777, 0o444);

    for threads in [0, 2, 5] {
        assert_eq!(pack(&unpacked.artifact, &second, threads), summary);
        assert!(fs::read(&second).unwrap() == fs::read(&first).unwrap(), "{threads} threads");
    }
    assert!(unpack(&first, &there.store).unwrap().new.is_empty(), "all is there");
}

#[test]
fn small_files_are_read_without_unpacking() {
    let place = Place::new();
    let base = base(&place);
    pack(&base, &place.path("it.samovar"), 0);
    let bundle = Bundle::open(&place.path("it.samovar")).unwrap();
    assert_eq!(bundle.main().hash, *base.hash());
    for name in ["state.json", "memory.img"] {
        assert!(bundle.read(name, 4 << 20).unwrap() == fs::read(base.file(name).unwrap()).unwrap(), "{name}");
    }
    assert!(bundle.read("memory.img", 1 << 20).is_err());
    assert!(bundle.read("nothing", 1 << 20).is_err());
}

/// The format as it is documented, read by hand: each frame is one of Zstandard's, and has the chunk's stored pages.
#[test]
fn frames_can_be_read_one_by_one() {
    let place = Place::new();
    let content = pages(1..300);
    let artifact = place.put(&[("f", content.clone())], &[]);
    pack(&artifact, &place.path("it.samovar"), 0);
    let bytes = fs::read(place.path("it.samovar")).unwrap();
    let number = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
    assert_eq!((number(8), number(16), number(20)), (1, 0, 0));
    let frames = 56 + number(12);
    assert_eq!(store::Hash::of(&bytes[56..frames]).as_bytes()[..], bytes[24..56]);
    assert_eq!(number(56), 1, "one artifact");
    let runs = 64 + number(60);
    assert_eq!((number(runs), number(runs + 4)), (1, 299 * 4 + 1), "one run of stored pages");
    let table = runs + 8;
    let chunk = CHUNK_PAGES as usize * PAGE;
    let mut at = frames;
    for (index, part) in content.chunks(chunk).enumerate() {
        let entry = table + index * 36;
        let frame = &bytes[at..at + number(entry)];
        assert_eq!(bytes[entry + 4..entry + 36], store::Hash::of(frame).as_bytes()[..]);
        assert!(zstd::bulk::decompress(frame, chunk).unwrap() == part);
        at += frame.len();
    }
    assert_eq!(at, bytes.len());
}

#[test]
fn what_was_unpacked_before_is_not_unpacked_again_and_not_trusted() {
    let (here, there) = (Place::new(), Place::new());
    let base = base(&here);
    let path = here.path("it.samovar");
    pack(&base, &path, 0);
    // As a process that died left it: a chunk and a half of the memory, once right and once wrong.
    let partial = there.store.dir().join("partial").join(base.hash().to_string());
    let good = fs::read(base.file("memory.img").unwrap()).unwrap();
    for wrong in [false, true] {
        let mut begun = good[..3 << 19].to_vec();
        begun[4096 * 5] ^= u8::from(wrong);
        fs::create_dir_all(&partial).unwrap();
        fs::write(partial.join("memory.img"), &begun).unwrap();
        fs::write(partial.join("stranger"), b"x").unwrap();
        let mut steps = 0;
        let bundle = Bundle::open(&path).unwrap();
        let unpacked = bundle.unpack(&there.store, &mut |_, _| steps += 1).unwrap();
        assert!(contents(&unpacked.artifact) == contents(&base));
        assert_eq!(there.check(), 3);
        drop(unpacked);
        there.store.remove(base.hash()).unwrap();
    }
}

#[test]
fn a_damaged_artifact_is_neither_packed_nor_left_in_the_store() {
    let (here, there) = (Place::new(), Place::new());
    let base = base(&here);
    let path = here.path("it.samovar");
    pack(&base, &path, 0);
    unpack(&path, &there.store).unwrap();
    let memory = there.store.path_of(base.hash()).join("memory.img");
    fs::set_permissions(&memory, fs::Permissions::from_mode(0o644)).unwrap();
    let mut bytes = fs::read(&memory).unwrap();
    bytes[77] ^= 1;
    fs::write(&memory, bytes).unwrap();
    let damaged = there.store.load(base.hash()).unwrap();
    let target = there.path("it.samovar");
    let packed = bundle::Pack { artifact: &damaged, provenance: "", key: None, threads: 0 };
    assert!(packed.write(&target, &mut |_, _| {}).unwrap_err().is_damage());
    there.store.verify(base.hash()).unwrap_err();
    assert!(!target.exists() && !there.path("it.samovar.part").exists());
    assert_eq!(unpack(&path, &there.store).unwrap().new, [*base.hash()]);
    assert_eq!(there.check(), 3);
}

#[test]
fn two_at_once_agree() {
    let (here, there) = (Place::new(), Place::new());
    let base = base(&here);
    let path = here.path("it.samovar");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| pack(&base, &path, 2));
        }
    });
    let store = there.store.dir();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| unpack(&path, &Store::open(store).unwrap()).unwrap());
        }
    });
    assert_eq!((here.check(), there.check()), (3, 3));
}

#[test]
fn a_link_in_the_way_of_the_output_is_not_followed() {
    let place = Place::new();
    let base = base(&place);
    let precious = place.store.dir().join("precious");
    fs::write(&precious, b"precious").unwrap();
    std::os::unix::fs::symlink(&precious, place.path("it.samovar.part")).unwrap();
    let packed = bundle::Pack { artifact: &base, provenance: "", key: None, threads: 0 };
    packed.write(&place.path("it.samovar"), &mut |_, _| {}).unwrap_err();
    assert_eq!(fs::read(precious).unwrap(), b"precious");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn files_of_any_pages_come_back(
        files in prop::collection::vec((prop::collection::vec(0u32..40, 0..600), 0usize..5000, any::<bool>()), 1..4),
    ) {
        let (here, there) = (Place::new(), Place::new());
        let mut artifact = None;
        for (index, (numbers, odd, apart)) in files.iter().enumerate() {
            // Long runs of one page, and of pages that follow one another.
            let pages = pages(numbers.iter().enumerate().map(|(at, n)| if n % 3 == 0 { *n } else { (at as u32 / 9) * n / 8 }));
            let content = [pages, vec![index as u8; *odd]].concat();
            let name = format!("f{index}");
            let needs: Vec<_> = artifact.iter().collect();
            let files = if *apart { vec![("a", content.clone()), ("b", content)] } else { vec![(&*name, content)] };
            artifact = Some(here.put(&files, &needs));
        }
        let artifact = artifact.unwrap();
        let path = here.path("it.samovar");
        pack(&artifact, &path, 3);
        let unpacked = unpack(&path, &there.store).unwrap();
        prop_assert!(contents(&unpacked.artifact) == contents(&artifact));
        prop_assert_eq!(there.check(), files.len());
    }
}
