//! Provenance: how a warm base was made, so that somebody else can make it again.
//!
//! It has the texts of the recipe and its lock, and the files of this host that the recipe names, under paths that lead
//! from one to the other as they do here, and nothing else of the host. No hash of an artifact covers it: it is the word
//! of who made the base, and `samovar verify --rebuild` tells whether it is true.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use store::{Artifact, Hash, Store};

use crate::capture;
use crate::error::{Error, IoContext, Result};
use crate::inputs::REVISION;
use crate::lock::Lock;
use crate::recipe::{Origin, RecipeFile};
use crate::rootfs;
use crate::tree::{Content, Kind};

/// The format that is written and read.
const FORMAT: u32 = 1;
/// The longest provenance, which is that of a bundle.
pub const MAX_BYTES: u64 = 16 << 20;
/// The recipe's lock, beside the other files.
const LOCK: &str = "recipe.lock";

/// How a warm base was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    format: u32,
    /// The builder's version.
    pub builder: String,
    /// What the builder calls the way it builds; another one makes other bytes of the same recipe.
    pub revision: u32,
    /// The machine's version.
    pub machine: u32,
    /// The engine that it was captured on.
    pub engine: String,
    /// Whether the capture depends on nothing but its inputs.
    pub deterministic: bool,
    /// The recipe's path among the files.
    pub recipe: String,
    /// All files, by their paths.
    files: BTreeMap<String, File>,
}

/// A file that goes into a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum File {
    Directory,
    Text(String),
    Program(String),
    Base64(String),
    Base64Program(String),
    Link(String),
}

impl File {
    fn of(bytes: &[u8], program: bool) -> File {
        match (std::str::from_utf8(bytes), program) {
            (Ok(text), false) => File::Text(text.into()),
            (Ok(text), true) => File::Program(text.into()),
            (Err(_), false) => File::Base64(STANDARD.encode(bytes)),
            (Err(_), true) => File::Base64Program(STANDARD.encode(bytes)),
        }
    }
}

impl Provenance {
    /// That of a build of this recipe with this lock. None if the recipe names absolute paths, which are of this host, or
    /// takes a ready kernel, which was made who knows how.
    pub fn of(file: &RecipeFile, lock: &Lock) -> Result<Option<Provenance>> {
        let (init, overlay) = (&file.recipe.initramfs.init, &file.recipe.rootfs.overlay);
        let config = match file.recipe.kernel.origin() {
            Origin::Package(_) => None,
            Origin::Source { config, .. } => config,
            Origin::File { .. } => return Ok(None),
        };
        let named = init.as_deref().into_iter().chain(overlay.iter().map(PathBuf::as_path)).chain(config);
        if named.into_iter().any(Path::is_absolute) {
            return Ok(None);
        }
        let mut files: BTreeMap<PathBuf, File> = BTreeMap::new();
        for (path, text) in &file.texts {
            files.insert(plain(path)?, File::Text(text.clone()));
        }
        if let Some(config) = config {
            let path = file.resolve(config);
            files.insert(plain(&path)?, File::of(&fs::read(&path).at(&path)?, false));
        }
        if let Some(init) = init {
            let path = file.resolve(init);
            let program = fs::metadata(&path).at(&path)?.permissions().mode() & 0o100 != 0;
            files.insert(plain(&path)?, File::of(&fs::read(&path).at(&path)?, program));
        }
        for directory in overlay {
            let directory = file.resolve(directory);
            let root = plain(&directory)?;
            files.insert(root.clone(), File::Directory);
            for (path, kind, attributes) in rootfs::overlay_files(&directory)? {
                let entry = match kind {
                    Kind::Symlink(target) => File::Link(target),
                    Kind::File(Content::Memory(bytes)) => File::of(&bytes, attributes.mode & 0o100 != 0),
                    _ => File::Directory,
                };
                files.insert(root.join(path.trim_start_matches('/')), entry);
            }
        }
        let recipe = plain(&file.path)?;
        // Where they all are on this host is nobody's business, and not the same elsewhere.
        let mut above = recipe.parent().unwrap_or(Path::new("/")).to_owned();
        while !files.keys().all(|path| path.starts_with(&above)) && above.pop() {}
        let relative = |path: &Path| path.strip_prefix(&above).unwrap_or(path).to_string_lossy().into_owned();
        let recipe = relative(&recipe);
        let mut files: BTreeMap<String, File> =
            files.into_iter().map(|(path, file)| (relative(&path), file)).collect();
        files.insert(LOCK.into(), File::Text(lock.to_text()?));
        Ok(Some(Provenance {
            format: FORMAT,
            builder: env!("CARGO_PKG_VERSION").into(),
            revision: REVISION,
            machine: capture::machine_version(),
            engine: capture::ENGINE.into(),
            deterministic: true,
            recipe,
            files,
        }))
    }

    /// The provenance that a store has recorded of an artifact, as it was written; empty if there is none.
    pub fn recorded(store: &Store, artifact: &Hash) -> Result<String> {
        let bytes = store.provenance(artifact, MAX_BYTES)?.unwrap_or_default();
        Ok(String::from_utf8(bytes).unwrap_or_default())
    }

    /// The same, in the store that the artifact lies in; empty, too, if it lies alone.
    pub fn recorded_beside(artifact: &Artifact) -> Result<String> {
        match artifact.dir().parent().map(Store::existing) {
            Some(Ok(store)) => Provenance::recorded(&store, artifact.hash()),
            _ => Ok(String::new()),
        }
    }

    /// The paths of the files, of which there may be anything, but no character that moves a terminal's cursor.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// Its text.
    pub fn to_text(&self) -> Result<String> {
        let text = serde_json::to_string_pretty(self).map_err(|error| Error::build("provenance", error))?;
        Ok(text + "\n")
    }

    /// The provenance that a text is, which is not trusted.
    pub fn parse(what: &Path, text: &str) -> Result<Provenance> {
        let bad = |reason: String| Error::malformed(what.display(), reason);
        let provenance: Provenance = serde_json::from_str(text)
            .map_err(|error| bad(format!("what it says of how it was made cannot be read: {error}")))?;
        if provenance.format != FORMAT {
            return Err(bad(format!(
                "provenance format {}, but this program reads {FORMAT}",
                provenance.format
            )));
        }
        for path in provenance.files.keys() {
            let plain = |part: &str| {
                !matches!(part, "" | "." | "..") && !part.contains(char::is_control) && part.len() <= 255
            };
            if path.len() > 1000 || !path.split('/').all(plain) {
                return Err(bad(format!("{path:?} cannot be the path of a file in it")));
            }
        }
        Ok(provenance)
    }

    /// Writes all files into an empty directory; the recipe's path there, and the lock's.
    pub fn write(&self, root: &Path) -> Result<(PathBuf, PathBuf)> {
        // Links come last, so that nothing is written through one.
        let links = |file: &&File| matches!(file, File::Link(_));
        let (late, early): (Vec<_>, Vec<_>) = self.files.iter().partition(|(_, file)| links(file));
        for (path, file) in early.into_iter().chain(late) {
            let path = root.join(path);
            let parent = path.parent().unwrap_or(root);
            fs::create_dir_all(parent).at(parent)?;
            let decode = |text: &str| {
                STANDARD
                    .decode(text)
                    .map_err(|error| Error::malformed(path.display(), format!("no base64: {error}")))
            };
            let (bytes, mode) = match file {
                File::Directory => {
                    fs::create_dir_all(&path).at(&path)?;
                    continue;
                }
                File::Link(target) => {
                    symlink(target, &path).at(&path)?;
                    continue;
                }
                File::Text(text) => (text.clone().into_bytes(), 0o644),
                File::Program(text) => (text.clone().into_bytes(), 0o755),
                File::Base64(text) => (decode(text)?, 0o644),
                File::Base64Program(text) => (decode(text)?, 0o755),
            };
            let mut file = OpenOptions::new().create_new(true).write(true).open(&path).at(&path)?;
            file.write_all(&bytes).at(&path)?;
            file.set_permissions(Permissions::from_mode(mode)).at(&path)?;
        }
        Ok((root.join(&self.recipe), root.join(LOCK)))
    }
}

/// Refuses a recipe that was written by [`Provenance::write`] and reads files of this host that lie elsewhere.
pub fn reaches_out(file: &RecipeFile, root: &Path) -> Result<()> {
    let root = root.canonicalize().at(root)?;
    let recipe = &file.recipe;
    let kernel = match recipe.kernel.origin() {
        Origin::Package(_) => None,
        Origin::Source { config, .. } => config,
        Origin::File { path, .. } => Some(path),
    };
    let named =
        recipe.initramfs.init.iter().chain(&recipe.rootfs.overlay).map(PathBuf::as_path).chain(kernel);
    let named = named.map(|path| file.resolve(path));
    for path in file.texts.iter().map(|(path, _)| path.clone()).chain(named) {
        let real = path.canonicalize().at(&path)?;
        if !real.starts_with(&root) {
            return Err(Error::malformed(
                real.display(),
                "the recipe reads a file that did not come with it",
            ));
        }
    }
    Ok(())
}

/// An absolute path without `.` and `..`, which are taken for what they say: a link is not followed.
fn plain(path: &Path) -> Result<PathBuf> {
    let absolute = std::path::absolute(path).at(path)?;
    let mut plain = PathBuf::new();
    for part in absolute.components() {
        match part {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            part => plain.push(part),
        }
    }
    Ok(plain)
}

#[cfg(test)]
mod tests;
