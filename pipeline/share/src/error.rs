//! What can go wrong between a store and a remote, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// The result of a transfer, or of a part of one.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong, and where.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store, or a file of it or of a remote directory.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A key or a signature, or an artifact that cannot be packed.
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    /// What was named is no remote, or none for this.
    #[error("{remote}: {reason}")]
    BadRemote {
        /// What was named.
        remote: String,
        /// Why it is none.
        reason: String,
        /// What can be done.
        hint: &'static str,
    },
    /// The remote has not what was asked for.
    #[error("{url}: not there")]
    NotThere {
        /// What was asked for.
        url: String,
    },
    /// The remote refuses.
    #[error("{url}: refused ({reason})")]
    Refused {
        /// What was asked for.
        url: String,
        /// The remote's answer.
        reason: String,
    },
    /// It failed again and again.
    #[error("{url}: {reason} (tried {attempts} times)")]
    Failed {
        /// What was asked for.
        url: String,
        /// What happened the last time.
        reason: String,
        /// How often it was tried without getting on.
        attempts: u32,
    },
    /// What the remote has is not what was pushed.
    #[error("{url}: {reason}")]
    Damaged {
        /// What was read.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The index is of a format that this program does not know.
    #[error("{url}: index format {found}, but this program reads format {known}")]
    UnknownFormat {
        /// The index.
        url: String,
        /// The format it says.
        found: u32,
        /// The format known.
        known: u32,
    },
    /// The artifact is larger than can be pushed.
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
}

impl Error {
    /// What the reader of the message can do.
    pub fn hint(&self) -> &'static str {
        match self {
            Error::Store(error) => error.hint(),
            Error::Bundle(bundle::Error::Unsigned { .. } | bundle::Error::Untrusted { .. }) => {
                "have it pushed by somebody whose key you trust (`samovar push --sign`), or trust the one that signed it"
            }
            Error::Bundle(bundle::Error::WrongSignature { .. }) => {
                "somebody changed what was pushed, or its signature: do not use it"
            }
            Error::Bundle(error) => error.hint(),
            Error::BadRemote { hint, .. } => hint,
            Error::NotThere { .. } => "check the name and the remote; `samovar push` puts an artifact there",
            Error::Refused { .. } => {
                "check the remote, and SAMOVAR_REGISTRY_USER and SAMOVAR_REGISTRY_PASSWORD if it is a registry that wants to know who asks"
            }
            Error::Failed { .. } => {
                "check the network and the remote; what was moved so far is kept, so run it again to go on"
            }
            Error::Damaged { .. } => {
                "the remote is damaged, or somebody changed it: push the artifact again; nothing of it is to be seen in the store"
            }
            Error::UnknownFormat { .. } => {
                "use the version of the program that pushed it, or have it pushed again"
            }
            Error::TooLarge { .. } => "a remote takes files of 128 GiB, and 256 GiB in all",
            Error::NoRoom { .. } => "free some space, or pull into a store elsewhere; nothing was fetched",
        }
    }

    /// Whether this is about content that is not what was pushed.
    pub fn is_damage(&self) -> bool {
        match self {
            Error::Store(error) => error.is_damage(),
            Error::Bundle(error) => error.is_damage(),
            Error::Damaged { .. } | Error::UnknownFormat { .. } => true,
            _ => false,
        }
    }

    /// Whether the network or the remote failed.
    pub fn is_remote(&self) -> bool {
        matches!(self, Error::NotThere { .. } | Error::Refused { .. } | Error::Failed { .. })
    }

    /// Content that is not what was pushed.
    pub(crate) fn damaged(url: impl ToString, reason: impl ToString) -> Error {
        Error::Damaged { url: url.to_string(), reason: reason.to_string() }
    }
}

/// Adds the path to an [`io::Result`].
pub(crate) trait IoContext<T> {
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|source| Error::Store(store::Error::io(path, source)))
    }
}
