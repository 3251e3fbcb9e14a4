//! What a person names to be restored: a directory, something in a store, or a bundle.

use std::path::{Path, PathBuf};

use bundle::{Bundle, TrustedKey};
use store::{Kind, Store, cache_dir, default_dir};

use crate::{
    restore::RestoreError,
    snapshot::{MAX_STATE, STATE_FILE, Snapshot},
};

/// The directory of the artifact that `named` means. A bundle that is not in the store yet is unpacked into it.
///
/// # Errors
/// If there is none, or a bundle is refused; nothing is unpacked then.
pub fn find(named: &Path, store: Option<&Path>, trust: &[TrustedKey]) -> Result<PathBuf, RestoreError> {
    let text = named.to_string_lossy();
    // What looks like a path is one.
    if named.is_dir() || !named.exists() && text.contains('/') {
        return match trust {
            [] => Ok(named.into()),
            _ => Err(bundle::Error::Unsigned { path: named.into() }.into()),
        };
    }
    let near = default_dir(Path::new("."));
    if named.is_file() {
        // Whoever has no store has a bundle from somebody else, and wants no directory beside it.
        let own = || if near.is_dir() { None } else { cache_dir() };
        let store = store.map(Path::to_owned).or_else(own).unwrap_or(near);
        return unpacked(&Bundle::open(named)?, &store, trust);
    }
    let store = Store::existing(store.map_or(near, Path::to_owned))?;
    let hash = store.find(&text)?;
    match trust {
        [] => Ok(store.path_of(&hash)),
        _ => Err(bundle::Error::Unsigned { path: store.path_of(&hash) }.into()),
    }
}

fn unpacked(bundle: &Bundle, store: &Path, trust: &[TrustedKey]) -> Result<PathBuf, RestoreError> {
    if !trust.is_empty() {
        bundle.trusted_by(trust)?;
    }
    let main = bundle.main();
    if main.manifest.kind != Kind::WarmBase {
        return Err(RestoreError::NotWarmBase { path: bundle.path().into(), kind: main.manifest.kind });
    }
    check_fit(bundle)?;
    let store = Store::open(store)?;
    let path = store.path_of(&main.hash);
    if !bundle.head().artifacts.iter().all(|artifact| store.contains(&artifact.hash)) {
        eprintln!("unpacking {} into {}", bundle.path().display(), store.dir().display());
        bundle.unpack(&store, &mut |_, _| {})?;
    }
    Ok(path)
}

/// Checks that this program can restore the warm base of a bundle, before it is unpacked. Other artifacts fit everywhere.
///
/// # Errors
/// The version that does not fit, or what is wrong with the state.
pub fn check_fit(bundle: &Bundle) -> Result<(), RestoreError> {
    if bundle.main().manifest.kind != Kind::WarmBase {
        return Ok(());
    }
    check_state(bundle.path(), &bundle.read(STATE_FILE, MAX_STATE)?)
}

/// Checks that this program can restore the warm base whose state these bytes are; `path` is what errors call it.
///
/// # Errors
/// The version that does not fit, or what is wrong with the state.
pub fn check_state(path: &Path, state: &[u8]) -> Result<(), RestoreError> {
    let fits = Snapshot::parse(state).map(drop);
    fits.map_err(|error| RestoreError::Snapshot { path: path.into(), error })
}
