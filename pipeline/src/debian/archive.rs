//! The walk from the archive's keys to its packages, made when a lock is made.

use std::fs::File;

use store::{Hash, Store};

use super::compression::{Compression, read_to_limit};
use super::fetch::{Fetcher, Pinned};
use super::inrelease::Keyring;
use super::packages::Index;
use super::release::Release;
use super::sources::{Archive, Mirrors};
use crate::error::{Error, IoContext, Result};
use crate::recipe::Debian;
use crate::reporter::Reporter;

/// No InRelease file comes near this.
const MAX_INRELEASE: u64 = 8 << 20;

/// A suite that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suite {
    /// The archive it is in.
    pub archive: Archive,
    /// Its name.
    pub name: String,
    /// When its InRelease file was made, as written there.
    pub date: String,
    /// The hash of its InRelease file.
    pub in_release: Hash,
}

/// The suites of a release, in the order that decides between equal versions.
fn suites(release: &str) -> [(Archive, String); 3] {
    [
        (Archive::Debian, release.to_owned()),
        (Archive::Debian, format!("{release}-updates")),
        (Archive::DebianSecurity, format!("{release}-security")),
    ]
}

/// Fetches and verifies the lists of packages of a release. `now` is in seconds since 1970.
pub fn index(
    store: &Store,
    debian: &Debian,
    mirrors: &Mirrors,
    now: u64,
    reporter: &Reporter,
) -> Result<(Index, Vec<Suite>)> {
    const NO_SUITE: &str = "check the release's name in the recipe, or try another mirror";
    const NO_LIST: &str = "the mirror is being updated or is incomplete: run it again later, or try another";
    let keyring = Keyring::trusted()?;
    let fetcher = Fetcher::new();
    let mut index = Index::default();
    let mut found = Vec::new();
    for (archive, suite) in suites(&debian.release) {
        let what = format!("{} {suite} InRelease", archive.name());
        let url = mirrors.url(archive, &format!("dists/{suite}/InRelease"))?;
        let message = fetcher.small(&url, MAX_INRELEASE, NO_SUITE)?;
        let text = keyring.verified_text(&what, &message, now)?;
        let release = Release::parse(&what, &text, &suite, &debian.components, now)?;
        for list in &release.lists {
            let what = format!("{suite} {}", list.path);
            let url = mirrors.url(archive, &format!("dists/{suite}/{}", list.path))?;
            let pinned = Pinned { url: &url, size: list.size, sha256: list.sha256, missing_hint: NO_LIST };
            let bar = reporter.bar(&format!("{suite} packages"), list.size);
            let path = fetcher.pinned(store, &pinned, &mut |done| bar.set(done))?;
            drop(bar);
            let packed = File::open(&path).at(&path)?;
            let text = Compression::Xz
                .decode(packed)
                .and_then(|reader| read_to_limit(reader, list.plain_size))
                .map_err(|error| Error::malformed(&what, error))?;
            let text = String::from_utf8(text).map_err(|error| Error::malformed(&what, error))?;
            index.add(&what, &text, archive, &suite)?;
        }
        found.push(Suite { archive, name: suite, date: release.date, in_release: Hash::of(&message) });
    }
    index.finish()?;
    Ok((index, found))
}
