//! What a store holds, and what of it can go.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::SystemTime;

use crate::Store;
use crate::artifact::Artifact;
use crate::error::{Error, IoContext, Result};
use crate::hash::Hash;
use crate::hold::claim;

/// The least of a hash that stands for it.
const SHORTEST_PREFIX: usize = 4;

/// An artifact in a store.
#[derive(Debug)]
pub struct Listed {
    /// Its name.
    pub hash: Hash,
    /// Itself, unless it is damaged.
    pub artifact: Result<Artifact>,
    /// The names that lead to it.
    pub names: Vec<String>,
    /// Bytes on the disk: holes take none.
    pub disk: u64,
    /// When it was made, by the clock of the host that made it.
    pub made: SystemTime,
}

impl Store {
    /// Every artifact, in the order of their hashes, damaged ones too.
    pub fn list(&self) -> Result<Vec<Listed>> {
        let mut by_hash: BTreeMap<Hash, Vec<String>> = BTreeMap::new();
        for (name, hash) in self.names()? {
            by_hash.entry(hash).or_default().push(name);
        }
        let mut listed = Vec::new();
        for entry in entries(self.dir())? {
            let Ok(hash) = entry.parse::<Hash>() else { continue };
            let path = self.path_of(&hash);
            // It may be removed while this goes on.
            let Ok(meta) = fs::metadata(&path) else { continue };
            listed.push(Listed {
                hash,
                artifact: self.load(&hash),
                names: by_hash.remove(&hash).unwrap_or_default(),
                disk: on_disk(&path),
                made: meta.modified().at(&path)?,
            });
        }
        listed.sort_by_key(|listed| listed.hash);
        Ok(listed)
    }

    /// Every name and the artifact that it leads to, in the order of the names.
    pub fn names(&self) -> Result<Vec<(String, Hash)>> {
        let mut names = Vec::new();
        for name in entries(&self.dir().join("names"))? {
            // What is no name was not put there by this program.
            if let Ok(Some(hash)) = self.name(&name) {
                names.push((name, hash));
            }
        }
        names.sort();
        Ok(names)
    }

    /// The artifact that a person means by `text`: a name, a hash, or the beginning of one that no other shares.
    pub fn find(&self, text: &str) -> Result<Hash> {
        if let Ok(Some(hash)) = self.name(text) {
            return Ok(hash);
        }
        if let Ok(hash) = text.parse() {
            return Ok(hash);
        }
        let none = || Error::NoneSuch { text: text.into(), store: self.dir().into() };
        if text.len() < SHORTEST_PREFIX {
            return Err(none());
        }
        let all = entries(self.dir())?;
        let mut found = all.iter().filter(|entry| entry.starts_with(text)).flat_map(|entry| entry.parse());
        match (found.next(), found.next()) {
            (Some(hash), None) => Ok(hash),
            (Some(_), Some(_)) => Err(Error::Ambiguous { text: text.into() }),
            _ => Err(none()),
        }
    }

    /// Removes an artifact, and what leads to it. A reader sees it whole or not at all.
    ///
    /// # Errors
    /// If another needs it or somebody uses it; nothing is removed then.
    pub fn remove(&self, hash: &Hash) -> Result<()> {
        self.remove_claimed(hash, true).map(drop)
    }

    /// Removes an artifact that no name leads to; false if one does by now, another needs it, somebody uses it, or it is
    /// gone.
    pub fn collect(&self, hash: &Hash) -> Result<bool> {
        match self.remove_claimed(hash, false) {
            Err(Error::InUse { .. } | Error::Needed { .. } | Error::Missing { .. }) => Ok(false),
            result => result,
        }
    }

    /// Whether it was removed: `named` says whether one that has a name is.
    fn remove_claimed(&self, hash: &Hash, named: bool) -> Result<bool> {
        let path = self.path_of(hash);
        if fs::symlink_metadata(&path).is_err() {
            return Err(Error::Missing { path });
        }
        // Whoever gives it a name, or makes what needs it, holds it until that is done: so it is looked for under the claim.
        let _claim = claim(&path)?;
        for entry in entries(self.dir())? {
            let Ok(other) = entry.parse::<Hash>() else { continue };
            if self.load(&other).is_ok_and(|other| other.manifest().needs.values().any(|need| need == hash)) {
                return Err(Error::Needed { path, by: other });
            }
        }
        if !named && self.names()?.iter().any(|(_, target)| target == hash) {
            return Ok(false);
        }
        let scratch = self.scratch()?;
        // What leads to it goes first: who dies in between leaves an artifact that no name leads to, and never a name that
        // leads nowhere.
        for (name, target) in self.names()? {
            if target == *hash {
                remove_file(&self.dir().join("names").join(name))?;
            }
        }
        for key in entries(&self.dir().join("keys"))? {
            let path = self.dir().join("keys").join(key);
            if fs::read_to_string(&path).is_ok_and(|text| text.trim_end() == hash.to_string()) {
                remove_file(&path)?;
            }
        }
        let aside = scratch.dir().join(hash.to_string());
        match fs::rename(&path, &aside) {
            // One without a manifest to claim, which another removed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::Missing { path }),
            result => result.at(&path)?,
        }
        remove_file(&self.provenance_path(hash))?;
        Ok(true)
    }

    /// What no name leads to, neither itself nor by way of what needs it: the oldest first, but each before what
    /// it needs, so that what is left is whole after each removal.
    pub fn unreachable(&self) -> Result<Vec<Listed>> {
        let mut all: BTreeMap<Hash, Listed> =
            self.list()?.into_iter().map(|listed| (listed.hash, listed)).collect();
        let mut reached = BTreeSet::new();
        let mut next: Vec<Hash> =
            all.values().filter(|listed| !listed.names.is_empty()).map(|listed| listed.hash).collect();
        while let Some(hash) = next.pop() {
            if reached.insert(hash)
                && let Some(Listed { artifact: Ok(artifact), .. }) = all.get(&hash)
            {
                next.extend(artifact.manifest().needs.values());
            }
        }
        all.retain(|hash, _| !reached.contains(hash));
        let mut ordered = Vec::new();
        while !all.is_empty() {
            let needed: BTreeSet<Hash> = all
                .values()
                .filter_map(|listed| listed.artifact.as_ref().ok())
                .flat_map(|artifact| artifact.manifest().needs.values().copied())
                .collect();
            let mut free: Vec<Hash> = all.keys().filter(|hash| !needed.contains(hash)).copied().collect();
            if free.is_empty() {
                // Only hashes that were forged need each other in a circle; those go in any order.
                free = all.keys().copied().collect();
            }
            let mut level: Vec<Listed> = free.iter().filter_map(|hash| all.remove(hash)).collect();
            level.sort_by_key(|listed| (listed.made, listed.hash));
            ordered.extend(level);
        }
        Ok(ordered)
    }
}

/// The names of what is in a directory.
fn entries(dir: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).at(dir)? {
        names.extend(entry.at(dir)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn remove_file(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io(path, error)),
        _ => Ok(()),
    }
}

/// Bytes that the files of a directory take on the disk; what cannot be looked at counts for nothing.
pub(crate) fn on_disk(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    // stat(2): blocks of 512 bytes, whatever the file system's own are.
    files.filter_map(|file| file.metadata().ok()).map(|meta| meta.blocks() * 512).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::Kind;

    fn add(store: &Store, text: &str, needs: &[Hash]) -> Hash {
        let mut staging = store.stage().unwrap();
        staging.write("file", text.as_bytes()).unwrap();
        let needs = needs.iter().enumerate().map(|(at, hash)| (format!("need-{at}"), *hash)).collect();
        *staging.commit(Kind::Rootfs, needs, json!({})).unwrap().hash()
    }

    fn store() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        (dir, store)
    }

    #[test]
    fn what_names_and_needs_reach_stays() {
        let (_dir, store) = store();
        let (kernel, old_kernel) = (add(&store, "kernel", &[]), add(&store, "old kernel", &[]));
        let disk = add(&store, "disk", &[]);
        let (base, old) = (add(&store, "base", &[kernel, disk]), add(&store, "old", &[old_kernel, disk]));
        store.set_name("it", &base).unwrap();
        let unreachable: Vec<Hash> = store.unreachable().unwrap().iter().map(|listed| listed.hash).collect();
        assert_eq!(unreachable, [old, old_kernel]);
        for hash in &unreachable {
            store.remove(hash).unwrap();
        }
        assert_eq!(store.list().unwrap().len(), 3);
        store.verify(&base).unwrap();
    }

    #[test]
    fn what_is_needed_or_used_is_not_removed() {
        let (_dir, store) = store();
        let kernel = add(&store, "kernel", &[]);
        let base = add(&store, "base", &[kernel]);
        store.set_name("it", &base).unwrap();
        store.set_step(&Hash::of(b"key"), &base).unwrap();
        assert!(matches!(store.remove(&kernel), Err(Error::Needed { by, .. }) if by == base));
        let hold = store.load(&base).unwrap().hold().unwrap();
        assert!(matches!(store.remove(&base), Err(Error::InUse { .. })));
        store.verify(&base).unwrap();
        drop(hold);
        store.remove(&base).unwrap();
        assert!(store.names().unwrap().is_empty() && store.step(&Hash::of(b"key")).unwrap().is_none());
        assert_eq!(fs::read_dir(store.dir().join("keys")).unwrap().count(), 0);
        let hold = store.load(&kernel).unwrap().hold().unwrap();
        assert!(matches!(store.remove(&kernel), Err(Error::InUse { .. })));
        drop(hold);
        store.remove(&kernel).unwrap();
        assert!(matches!(store.remove(&kernel), Err(Error::Missing { .. })));
        assert!(store.list().unwrap().is_empty());
    }

    #[test]
    fn what_got_a_name_or_a_use_meanwhile_is_not_collected() {
        let (_dir, store) = store();
        let (kernel, named) = (add(&store, "kernel", &[]), add(&store, "named", &[]));
        let unreachable = store.unreachable().unwrap();
        assert_eq!(unreachable.len(), 2);
        store.set_name("it", &named).unwrap();
        let base = add(&store, "base", &[kernel]);
        for listed in &unreachable {
            assert!(!store.collect(&listed.hash).unwrap());
        }
        let hold = store.load(&base).unwrap().hold().unwrap();
        assert!(!store.collect(&base).unwrap());
        drop(hold);
        assert!(store.collect(&base).unwrap() && !store.collect(&base).unwrap());
        store.verify(&named).unwrap();
        // Many at once: each is removed by one of them, and none of them fails.
        let all: Vec<Hash> = (0..20).map(|number| add(&store, &format!("{number}"), &[])).collect();
        let removed: usize = std::thread::scope(|scope| {
            let collect = || all.iter().filter(|hash| store.collect(hash).unwrap()).count();
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(collect)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(removed, all.len());
    }

    #[test]
    fn a_hold_of_what_is_gone_fails() {
        let (_dir, store) = store();
        let hash = add(&store, "it", &[]);
        let artifact = store.load(&hash).unwrap();
        store.remove(&hash).unwrap();
        assert!(artifact.hold().is_err());
    }

    #[test]
    fn a_damaged_artifact_is_listed_and_can_be_removed() {
        let (_dir, store) = store();
        let hash = add(&store, "it", &[]);
        fs::write(store.path_of(&hash).join("file"), "other").unwrap();
        assert!(store.list().unwrap()[0].artifact.is_err());
        fs::remove_file(store.path_of(&hash).join("manifest.json")).unwrap();
        assert_eq!(store.unreachable().unwrap().len(), 1);
        store.remove(&hash).unwrap();
        assert!(store.list().unwrap().is_empty());
    }

    #[test]
    fn artifacts_are_found_by_name_hash_and_prefix() {
        let (_dir, store) = store();
        let (one, other) = (add(&store, "one", &[]), add(&store, "other", &[]));
        store.set_name("it", &one).unwrap();
        assert_eq!(store.find("it").unwrap(), one);
        assert_eq!(store.find(&other.to_string()).unwrap(), other);
        assert_eq!(store.find(&other.to_string()[..12]).unwrap(), other);
        for none in ["", "abc", "nothing", "../it", "\0"] {
            assert!(matches!(store.find(none), Err(Error::NoneSuch { .. })), "{none:?}");
        }
    }
}
