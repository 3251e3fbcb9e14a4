//! What can go wrong in a store, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use crate::hash::Hash;

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
    /// The file system is full.
    #[error("{}: no space left on the file system", path.display())]
    NoSpace {
        /// What was being written.
        path: PathBuf,
    },
    /// There is no store.
    #[error("{}: no store of artifacts here", path.display())]
    NoStore {
        /// Where it should be.
        path: PathBuf,
    },
    /// There is no such artifact.
    #[error("{}: no artifact here", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// An artifact needs another that the store does not have.
    #[error("{}: needs {role} {hash}, which is not beside it", path.display())]
    MissingNeed {
        /// The artifact that needs it.
        path: PathBuf,
        /// What it is needed as.
        role: String,
        /// Its hash.
        hash: Hash,
    },
    /// Another artifact cannot do without this one.
    #[error("{}: {by} needs it", path.display())]
    Needed {
        /// The artifact.
        path: PathBuf,
        /// The one that needs it.
        by: Hash,
    },
    /// Somebody uses the artifact.
    #[error("{}: in use", path.display())]
    InUse {
        /// The artifact.
        path: PathBuf,
    },
    /// Nothing in the store goes by that.
    #[error("{}: no artifact goes by {text:?}", store.display())]
    NoneSuch {
        /// What was looked for.
        text: String,
        /// The store.
        store: PathBuf,
    },
    /// Several artifacts go by that.
    #[error("several artifacts begin with {text}")]
    Ambiguous {
        /// What was looked for.
        text: String,
    },
    /// The artifact has no need of that role.
    #[error("{}: names no {role}", path.display())]
    NoSuchNeed {
        /// The artifact.
        path: PathBuf,
        /// What was asked for.
        role: String,
    },
    /// The manifest does not list such a file.
    #[error("{}: has no file {name:?}", path.display())]
    NoSuchFile {
        /// The artifact.
        path: PathBuf,
        /// The file asked for.
        name: String,
    },
    /// Bytes are not the ones that the hash stands for.
    #[error("{}: its SHA-256 is {found}, but {wanted} was recorded", path.display())]
    WrongHash {
        /// The file.
        path: PathBuf,
        /// The hash it should have.
        wanted: Hash,
        /// The hash it has.
        found: Hash,
    },
    /// A file is longer or shorter than recorded.
    #[error("{}: {found} bytes, but {wanted} were recorded", path.display())]
    WrongSize {
        /// The file.
        path: PathBuf,
        /// The size it should have.
        wanted: u64,
        /// The size it has.
        found: u64,
    },
    /// A listed file is not there.
    #[error("{}: listed in the manifest, but missing", path.display())]
    MissingFile {
        /// The file.
        path: PathBuf,
    },
    /// Something that the manifest does not list.
    #[error("{}: not listed in the manifest", path.display())]
    UnexpectedFile {
        /// The file.
        path: PathBuf,
    },
    /// The manifest does not say what a manifest should.
    #[error("{}: {reason}", path.display())]
    BadManifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The manifest is of a format this program does not know.
    #[error("{}: manifest format {found}, but this program reads format {known}", path.display())]
    UnknownFormat {
        /// The manifest.
        path: PathBuf,
        /// The format it says.
        found: u64,
        /// The format known.
        known: u32,
    },
    /// A name that cannot be used in a store.
    #[error("{name:?} cannot be a name in the store")]
    BadName {
        /// The name.
        name: String,
    },
}

impl Error {
    /// What the reader of the message can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::NoSpace { .. } => {
                "free some space, or put the store elsewhere; nothing half-written was kept"
            }
            Error::NoStore { .. } => "build a recipe first, or name a store with --store",
            Error::Missing { .. } => "give the path of an artifact's directory, as `samovar build` prints it",
            Error::MissingNeed { .. } => {
                "copy the needed artifact beside this one, or build the recipe again"
            }
            Error::Needed { .. } => "remove the one that needs it first",
            Error::InUse { .. } => "close the session or wait for the build that uses it",
            Error::NoneSuch { .. } => "`samovar list` shows what there is; --store names another store",
            Error::Ambiguous { .. } => "give more of the hash",
            Error::WrongHash { .. }
            | Error::WrongSize { .. }
            | Error::MissingFile { .. }
            | Error::UnexpectedFile { .. }
            | Error::BadManifest { .. } => {
                "the artifact is damaged: remove its directory and build or copy it again"
            }
            Error::UnknownFormat { .. } => {
                "use the version of the program that made it, or build the recipe again"
            }
            Error::BadName { .. } => {
                "use letters, digits, '.', '_' and '-', beginning with a letter or digit"
            }
            Error::NoSuchNeed { .. } | Error::NoSuchFile { .. } => {
                "this artifact is of another kind: give the one that the build of the recipe printed"
            }
            Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "check the path; those in a recipe start from the recipe's own directory"
            }
            Error::Io { .. } => "check the permissions there, and the disk",
        }
    }

    /// Whether this is about content that is not what was recorded.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Error::WrongHash { .. }
                | Error::WrongSize { .. }
                | Error::MissingFile { .. }
                | Error::UnexpectedFile { .. }
                | Error::BadManifest { .. }
                | Error::UnknownFormat { .. }
        )
    }

    /// An operating system's error at `path`.
    pub fn io(path: &Path, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::NoSpace { path: path.into() },
            _ => Error::Io { path: path.into(), source },
        }
    }
}

/// Adds the path to an [`io::Result`].
pub(crate) trait IoContext<T> {
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|source| Error::io(path, source))
    }
}
