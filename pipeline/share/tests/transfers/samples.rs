//! Artifacts to push, and places to pull to.

use share::{Error, Pull, Pulled, Push, Pushed, Remote};
use store::{Artifact, Store};

use crate::place::{Place, pages};

/// The next version of [`base`]: a few other pages in its memory, and the others elsewhere.
pub fn next_base(place: &Place) -> Artifact {
    let mut disk = pages((1..400).chain([0, 0, 0]).chain(501..520).chain([9000]));
    disk.extend(b"and an odd end");
    let disk = place.put(&[("disk.img", disk), ("empty", Vec::new())], &[]);
    let kernel = place.put(&[("Image", b"kernel".to_vec())], &[]);
    let memory = pages((0..600).rev().map(|at| match at % 7 {
        0..3 => 0,
        3 => 300 + at / 7,
        4 => 1000 + at / 14,
        _ if at % 50 == 5 => 5000 + at,
        _ => 2000 + at,
    }));
    place.put(&[("memory.img", memory), ("state.json", b"{\"now\":1}\n".to_vec())], &[&disk, &kernel])
}

/// Pushes as `it`.
pub fn push(artifact: &Artifact, remote: &str) -> Result<Pushed, Error> {
    let push = Push { artifact, provenance: "{\"by\": \"a test\"}", key: None, name: Some("it") };
    push.to(&Remote::parse(remote)?, &mut |_, _| {})
}

pub fn pull(named: &str, remote: &str, store: &Store) -> Result<Pulled, Error> {
    Pull::begin(&Remote::parse(remote)?, named)?.fetch(store, &mut |done, total| assert!(done <= total))
}
