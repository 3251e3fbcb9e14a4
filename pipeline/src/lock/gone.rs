//! Packages that mirrors no longer have: they drop a version once there is a newer one.

use store::Store;

use super::{Lock, LockedPackage};
use crate::debian::fetch::Fetcher;
use crate::debian::sources::Mirrors;
use crate::error::Result;

/// Those packages of a lock that are neither in the store's cache nor on the mirror.
pub fn gone<'a>(lock: &'a Lock, store: &Store, mirrors: &Mirrors) -> Result<Vec<&'a LockedPackage>> {
    let fetcher = Fetcher::new();
    let mut gone = Vec::new();
    for package in lock.all() {
        if store.cached(&package.sha256, package.size)?.is_none()
            && !fetcher.has(&mirrors.url(package.archive, &package.path)?)
        {
            gone.push(package);
        }
    }
    Ok(gone)
}
