//! Packing and unpacking.

use std::path::Path;

use bundle::{Bundle, Error, Pack, Summary, Unpacked};
use store::{Artifact, Store};

pub fn pack(artifact: &Artifact, path: &Path, threads: usize) -> Summary {
    Pack { artifact, provenance: "{\"by\": \"a test\"}", key: None, threads }
        .write(path, &mut |_, _| {})
        .unwrap()
}

pub fn unpack(path: &Path, store: &Store) -> Result<Unpacked, Error> {
    Bundle::open(path)?.unpack(store, &mut |_, _| {})
}
