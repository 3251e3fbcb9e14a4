//! Building a warm base again from what came with it, to see whether the same bytes come out.

use std::fs;
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
