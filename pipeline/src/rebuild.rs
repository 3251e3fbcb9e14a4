//! Building a warm base again from what came with it, to see whether the same bytes come out.

use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::symlink;
use std::path::Path;

use store::{Artifact, Store};

use crate::build::{Build, Target};
use crate::capture;
use crate::debian::fetch::Fetcher;
use crate::error::{Error, IoContext, Result};
use crate::inputs::REVISION;
use crate::lock::Lock;
use crate::provenance::{Provenance, reaches_out};
use crate::recipe::RecipeFile;
use crate::reporter::Reporter;

/// The unit in which a difference is told: the guest's page.
const PAGE: usize = 4096;

/// Builds what the provenance says, in the directory `dir`, and returns the artifact. Packages that were fetched before
/// are taken from `packages`, a store, and new ones are kept there.
pub fn rebuild(
    provenance: &Provenance,
    dir: &Path,
    packages: &Store,
    fetcher: &Fetcher,
    reporter: Reporter,
) -> Result<Artifact> {
    if provenance.machine != capture::machine_version() || provenance.revision != REVISION {
        let (machine, revision) = (provenance.machine, provenance.revision);
        return Err(Error::build(
            "rebuild",
            format!(
                "it was built by samovar {} for machine version {machine} in revision {revision}, but this is samovar {} \
                 with {} and {REVISION}",
                provenance.builder,
                env!("CARGO_PKG_VERSION"),
                capture::machine_version()
            ),
        ));
    }
    let sources = dir.join("sources");
    fs::create_dir(&sources).at(&sources)?;
    let (recipe, lock_path) = provenance.write(&sources)?;
    let file = RecipeFile::read(&recipe)?.with_lock(Some(lock_path));
    reaches_out(&file, &sources)?;
    let no_lock = || Error::Lock { path: file.lock.clone(), reason: "is not there".into() };
    let lock = Lock::read(&file.lock, &file.recipe)?.ok_or_else(no_lock)?;
    let place = dir.join("rebuilt");
    fs::create_dir(&place).at(&place)?;
    for shared in ["cache", "partial", "fetched"] {
        let (here, there) = (place.join(shared), packages.dir().join(shared));
        symlink(there.canonicalize().at(&there)?, &here).at(&here)?;
    }
    let store = Store::open(&place)?;
    let build = Build::new(&file, &lock, &store, fetcher, reporter);
    Ok(build.run(Target::WarmBase)?.artifact)
}

/// What of two artifacts differs first: those that they need come first, and of each the files in their order. None if
/// they are the same.
pub fn first_difference(a: &Artifact, b: &Artifact) -> Result<Option<String>> {
    if a.hash() == b.hash() {
        return Ok(None);
    }
    let (ours, theirs) = (a.manifest(), b.manifest());
    for role in ours.needs.keys() {
        if theirs.needs.contains_key(role)
            && let Some(difference) = first_difference(&a.need(role)?, &b.need(role)?)?
        {
            return Ok(Some(format!("{role}: {difference}")));
        }
    }
    for entry in &ours.files {
        match theirs.file(&entry.name) {
            Some(other) if other == entry => {}
            Some(_) => {
                let at = differing_byte(&a.dir().join(&entry.name), &b.dir().join(&entry.name))?;
                return Ok(Some(format!("{}, page {} (byte {at})", entry.name, at / PAGE as u64)));
            }
            None => return Ok(Some(format!("{}, which is not there in the second", entry.name))),
        }
    }
    match theirs.files.iter().find(|entry| ours.file(&entry.name).is_none()) {
        Some(entry) => Ok(Some(format!("{}, which is not there in the first", entry.name))),
        None => Ok(Some("what the manifest says of it".into())),
    }
}

/// Where two files differ, or where the shorter one ends.
fn differing_byte(a: &Path, b: &Path) -> Result<u64> {
    let open = |path: &Path| File::open(path).at(path);
    let (mut ours, mut theirs, mut at) = (open(a)?, open(b)?, 0u64);
    loop {
        let (mut here, mut there) = (Vec::new(), Vec::new());
        ours.by_ref().take(1 << 20).read_to_end(&mut here).at(a)?;
        theirs.by_ref().take(1 << 20).read_to_end(&mut there).at(b)?;
        if here != there || here.is_empty() {
            let same = here.iter().zip(&there).take_while(|(here, there)| here == there).count();
            return Ok(at + same as u64);
        }
        at += here.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;
    use store::Kind;

    use super::*;

    fn put(store: &Store, files: &[(&str, &[u8])], needs: &[&Artifact], meta: u32) -> Artifact {
        let mut staging = store.stage().unwrap();
        for (name, bytes) in files {
            staging.write(name, bytes).unwrap();
        }
        let needs: BTreeMap<_, _> =
            needs.iter().enumerate().map(|(at, need)| (format!("need-{at}"), *need.hash())).collect();
        staging.commit(Kind::WarmBase, needs, json!({ "meta": meta })).unwrap()
    }

    #[test]
    fn the_first_difference_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let mut memory = vec![7; 3 << 20];
        let good = put(&store, &[("a", b"1"), ("memory.img", &memory)], &[], 0);
        assert_eq!(first_difference(&good, &good).unwrap(), None);
        memory[(2 << 20) + 4097] = 8;
        let other = put(&store, &[("a", b"1"), ("memory.img", &memory)], &[], 0);
        let told = |a: &Artifact, b: &Artifact| first_difference(a, b).unwrap().unwrap();
        assert_eq!(told(&good, &other), "memory.img, page 513 (byte 2101249)");
        assert_eq!(
            told(&put(&store, &[], &[&good], 0), &put(&store, &[], &[&other], 0)),
            format!("need-0: {}", told(&good, &other))
        );
        let short = put(&store, &[("a", b"1"), ("memory.img", &memory[..5])], &[], 0);
        assert_eq!(told(&good, &short), "memory.img, page 0 (byte 5)");
        let less = put(&store, &[("a", b"1")], &[], 0);
        assert_eq!(told(&good, &less), "memory.img, which is not there in the second");
        assert_eq!(told(&less, &good), "memory.img, which is not there in the first");
        assert_eq!(told(&less, &put(&store, &[("a", b"1")], &[], 1)), "what the manifest says of it");
    }
}
