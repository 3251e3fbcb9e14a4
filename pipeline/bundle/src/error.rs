//! What can go wrong with a bundle, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// The result of an operation on a bundle.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store, or a file of it.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The file is something else.
    #[error("{}: not a bundle", path.display())]
    NotABundle {
        /// The file.
        path: PathBuf,
    },
    /// The bundle is of a format that this program does not know.
    #[error("{}: bundle format {found}, but this program reads format {known}", path.display())]
    UnknownFormat {
        /// The bundle.
        path: PathBuf,
        /// The format it says.
        found: u32,
        /// The format known.
        known: u32,
    },
    /// The bundle's bytes are not those that were packed.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The bundle.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The artifact is larger than a bundle can be.
    #[error("{}: {reason}", path.display())]
    TooLarge {
        /// The artifact.
        path: PathBuf,
        /// What of it.
        reason: String,
    },
    /// The disk has less room than is needed.
    #[error("{}: {} MiB are needed, and {} MiB free", path.display(), needed.div_ceil(1 << 20), free >> 20)]
    NoRoom {
        /// The store.
        path: PathBuf,
        /// How many bytes are needed.
        needed: u64,
        /// How many bytes are free.
        free: u64,
    },
    /// A signature was asked for.
    #[error("{}: not signed", path.display())]
    Unsigned {
        /// The bundle.
        path: PathBuf,
    },
    /// None of the trusted keys made the signature.
    #[error("{}: not signed by a key that is trusted, but by {signer}", path.display())]
    Untrusted {
        /// The bundle.
        path: PathBuf,
        /// The key that the signature says it is by.
        signer: String,
    },
    /// A signature that no key made of this bundle.
    #[error("{}: its signature is not of these bytes", path.display())]
    WrongSignature {
        /// The bundle.
        path: PathBuf,
    },
    /// A key cannot be read or used.
    #[error("{}: {reason}", path.display())]
    BadKey {
        /// The key's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// What the reader of the message can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::Store(error) => error.hint(),
            Error::NotABundle { .. } => "give a file that `samovar pack` made",
            Error::UnknownFormat { .. } => {
                "use the version of the program that made it, or have it packed again"
            }
            Error::Damaged { .. } => {
                "the bundle is damaged: copy it again; nothing of it was put into the store"
            }
            Error::TooLarge { .. } => "a bundle takes files of 128 GiB, and 256 GiB in all",
            Error::NoRoom { .. } => "free some space, or unpack into a store elsewhere; nothing was unpacked",
            Error::Unsigned { .. } | Error::Untrusted { .. } => {
                "have it signed by a key that you trust (`samovar pack --sign`), or trust the one that signed it"
            }
            Error::WrongSignature { .. } => "somebody changed the bundle, or its signature: do not use it",
            Error::BadKey { .. } => "`samovar keygen` makes keys; those of minisign are taken, too",
        }
    }

    /// Whether this is about content that is not what was packed.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Store(error) => error.is_damage(),
            Error::BadKey { .. } | Error::TooLarge { .. } | Error::NoRoom { .. } => false,
            _ => true,
        }
    }

    /// An operating system's error at `path`.
    pub(crate) fn io(path: &Path, source: io::Error) -> Error {
        Error::Store(store::Error::io(path, source))
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
