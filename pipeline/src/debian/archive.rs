//! The walk from the archive's keys to its packages, made when a lock is made.

use std::fs::File;

use store::{Hash, Store};

use super::compression::{Compression, read_to_limit};
use super::fetch::{FetchError, Fetcher, Pinned};
use super::inrelease::Keyring;
use super::packages::Index;
use super::release::{self, Release};
use super::sources::Archive;
use crate::error::{Error, IoContext, Result};
use crate::recipe::Debian;

/// No InRelease file comes near this.
const MAX_INRELEASE: u64 = 8 << 20;

/// What to do about an index that is older than one that was seen before.
pub const BEHIND: &str = "the mirror is behind, or somebody keeps updates away: wait until it has caught up, or try another mirror";

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
pub fn index(store: &Store, debian: &Debian, fetcher: &Fetcher, now: u64) -> Result<(Index, Vec<Suite>)> {
    const NO_LIST: &str = "the mirror is being updated or is incomplete: run it again later, or try another";
    let keyring = Keyring::trusted()?;
    let mut releases = Vec::new();
    for (archive, suite, message) in in_releases(store, debian, fetcher)? {
        let what = format!("{} {suite} InRelease", archive.name());
        let text = keyring.verified_text(&what, &message, now)?;
        let release = Release::parse(&what, &text, &suite, &debian.components, now)?;
        no_older_than_before(store, &keyring, &what, &release, now)?;
        // Only what is good is remembered: it is what the next one is compared with.
        store.remember(&what, &message)?;
        releases.push((archive, suite, release, Hash::of(&message)));
    }
    let lists = || {
        releases.iter().flat_map(|(archive, suite, release, _)| {
            release.lists.iter().map(move |list| (*archive, suite, list))
        })
    };
    let names: Vec<(String, String)> = lists()
        .map(|(_, suite, list)| (format!("{suite} {}", list.path), format!("dists/{suite}/{}", list.path)))
        .collect();
    let pinned: Vec<Pinned> = lists()
        .zip(&names)
        .map(|((archive, _, list), (name, path))| Pinned {
            name,
            archive,
            path,
            size: list.size,
            sha256: list.sha256,
        })
        .collect();
    let paths = fetcher.all(store, "lists of packages", &pinned)?;
    let absent = names.iter().zip(&paths).filter(|(_, path)| path.is_none());
    let absent: Vec<String> = absent.map(|((name, _), _)| name.clone()).collect();
    if !absent.is_empty() {
        return Err(FetchError::Missing { names: absent, hint: NO_LIST }.into());
    }
    let mut index = Index::default();
    for (((archive, suite, list), (what, _)), path) in lists().zip(&names).zip(paths.iter().flatten()) {
        let packed = File::open(path).at(path)?;
        let text = Compression::Xz
            .decode(packed)
            .and_then(|reader| read_to_limit(reader, list.plain_size))
            .map_err(|error| Error::malformed(what, error))?;
        let text = String::from_utf8(text).map_err(|error| Error::malformed(what, error))?;
        index.add(what, &text, archive, suite)?;
    }
    index.finish()?;
    let suite = |(archive, name, release, in_release): (_, _, Release, _)| Suite {
        archive,
        name,
        date: release.date,
        in_release,
    };
    Ok((index, releases.into_iter().map(suite).collect()))
}

/// The InRelease files of a release's suites, unverified: from the mirror, or, offline, as they were last fetched.
fn in_releases(store: &Store, debian: &Debian, fetcher: &Fetcher) -> Result<Vec<(Archive, String, Vec<u8>)>> {
    const NO_SUITE: &str = "check the release's name in the recipe, or try another mirror";
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for (archive, suite) in suites(&debian.release) {
        let what = format!("{} {suite} InRelease", archive.name());
        if fetcher.is_offline() {
            match store.remembered(&what, MAX_INRELEASE)? {
                Some(message) => found.push((archive, suite, message)),
                None => missing.push(what),
            }
        } else {
            let path = format!("dists/{suite}/InRelease");
            found.push((archive, suite, fetcher.small(archive, &path, MAX_INRELEASE, NO_SUITE)?));
        }
    }
    match missing.is_empty() {
        true => Ok(found),
        false => Err(FetchError::Offline { names: missing }.into()),
    }
}

/// Refuses a list that is older than one that this store has seen: its signature is good, but a mirror that
/// goes back in time keeps security updates away.
fn no_older_than_before(
    store: &Store,
    keyring: &Keyring,
    what: &str,
    release: &Release,
    now: u64,
) -> Result<()> {
    let Some(before) = store.remembered(what, MAX_INRELEASE)? else { return Ok(()) };
    // What cannot be verified any more, as by another keyring, says nothing.
    let Ok(text) = keyring.verified_text(what, &before, now) else { return Ok(()) };
    match release::date_of(&text) {
        Some((date, seconds)) if seconds > release.seconds => Err(Error::Verification {
            what: what.into(),
            reason: format!("is of {}, older than the one of {date} that was fetched before", release.date),
            hint: BEHIND,
        }),
        _ => Ok(()),
    }
}
