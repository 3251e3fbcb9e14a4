//! What can go wrong in a build, how the program then exits, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use store::Hash;

use crate::capture::CaptureError;
use crate::debian::fetch::FetchError;
use crate::kernel::error::KernelError;
use crate::lock::LockedPackage;
use crate::recipe::{RecipeError, RecipeFile};

/// The result of a build's part.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The recipe cannot be read or says something that cannot be done.
    #[error(transparent)]
    Recipe(#[from] RecipeError),
    /// A file is in the way of one to be written.
    #[error("{}: is there already", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The lock cannot be read, or is not the recipe's.
    #[error("{}: {reason}", path.display())]
    Lock {
        /// The lock.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Locked packages that can be had neither from the mirror nor from the store's cache.
    #[error("{}: the mirror no longer has {}", lock.display(), packages.join(", "))]
    Gone {
        /// The lock.
        lock: PathBuf,
        /// The packages, with their versions.
        packages: Vec<String>,
        /// The command that locks those that there are now.
        command: String,
    },
    /// The archive has not what the recipe's `[debian]` asks for.
    #[error("{0}")]
    NotOffered(String),
    /// There is nowhere to fetch packages from.
    #[error("no mirror of the {archive} archive is known")]
    NoMirror {
        /// The archive.
        archive: &'static str,
        /// The variable that names one.
        variable: &'static str,
    },
    /// The network or the mirror failed.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Something fetched is not what it should be.
    #[error("{what}: {reason}")]
    Verification {
        /// What was fetched.
        what: String,
        /// Why it is refused.
        reason: String,
        /// What can be done.
        hint: &'static str,
    },
    /// Bytes are not the ones that were pinned.
    #[error("{what}: its SHA-256 is {found}, but {wanted} is pinned")]
    WrongHash {
        /// What was fetched.
        what: String,
        /// The hash it should have.
        wanted: Hash,
        /// The hash it has.
        found: Hash,
    },
    /// Something is not of the form it should be.
    #[error("{what}: {reason}")]
    Malformed {
        /// What was read.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The archive's packages do not fulfil what the recipe asks for.
    #[error("{0}")]
    Unresolved(String),
    /// A step of the build could not be done.
    #[error("{step}: {reason}")]
    Build {
        /// The step.
        step: &'static str,
        /// Why.
        reason: String,
    },
    /// There is no kernel.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The machine could not be brought to its warm state.
    #[error("capture: {0}")]
    Capture(#[from] CaptureError),
    /// The guest that was shown ended badly.
    #[error("{}", .0.message)]
    Session(runner::error::Failure),
    /// A bundle is refused, or could not be written.
    #[error(transparent)]
    Bundle(#[from] bundle::Error),
    /// A remote, or what is there, is refused.
    #[error(transparent)]
    Share(#[from] share::Error),
    /// What is in a bundle cannot be restored here.
    #[error(transparent)]
    Misfit(#[from] runner::restore::RestoreError),
    /// Nobody wrote down how an artifact was made.
    #[error("{}: how it was made is not known", path.display())]
    NotKnown {
        /// The artifact.
        path: PathBuf,
    },
    /// Another artifact came of the same recipe.
    #[error("{}: built again it is {found}; what differs first is {first}", path.display())]
    Differs {
        /// The artifact.
        path: PathBuf,
        /// The hash of the other.
        found: Hash,
        /// Which file of which artifact, and where in it.
        first: String,
    },
    /// The store refused.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The host lacks something that is needed.
    #[error("this host lacks what is needed: {}", missing.join(", "))]
    Unready {
        /// What it lacks.
        missing: Vec<String>,
        /// How to get the first of it.
        remedy: String,
    },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The system's own error.
        source: io::Error,
    },
}

impl From<runner::error::Failure> for Error {
    fn from(failure: runner::error::Failure) -> Error {
        Error::Session(failure)
    }
}

impl Error {
    /// An operating system's error at `path`.
    pub fn io(path: &Path, source: io::Error) -> Error {
        match source.kind() {
            io::ErrorKind::StorageFull => Error::Store(store::Error::io(path, source)),
            _ => Error::Io { path: path.into(), source },
        }
    }

    /// A step that could not be done.
    pub fn build(step: &'static str, reason: impl ToString) -> Error {
        Error::Build { step, reason: reason.to_string() }
    }

    /// Packages of a recipe's lock that can be had no longer.
    pub fn gone(file: &RecipeFile, packages: &[&LockedPackage]) -> Error {
        let named = |package: &&LockedPackage| format!("{} {}", package.name, package.version);
        let names: Vec<&str> = packages.iter().map(|package| &*package.name).collect();
        let lock_file = match file.lock == file.path.with_extension("lock") {
            true => String::new(),
            false => format!(" --lock-file {}", file.lock.display()),
        };
        Error::Gone {
            lock: file.lock.clone(),
            packages: packages.iter().map(named).collect(),
            command: format!("samovar lock {}{lock_file} --update {}", file.path.display(), names.join(" ")),
        }
    }

    /// Something that is not of the form it should be.
    pub fn malformed(what: impl ToString, reason: impl ToString) -> Error {
        Error::Malformed { what: what.to_string(), reason: reason.to_string() }
    }

    /// How the program exits: see `samovar --help`.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Recipe(_) | Error::Exists { .. } | Error::Lock { .. } => 2,
            Error::Unresolved(_) | Error::NotOffered(_) => 2,
            Error::NoMirror { .. } | Error::Fetch(_) | Error::Gone { .. } => 3,
            Error::Verification { .. } | Error::WrongHash { .. } | Error::Malformed { .. } => 4,
            Error::Store(error) | Error::Bundle(bundle::Error::Store(error)) if error.is_damage() => 4,
            Error::Bundle(error) if error.is_damage() => 4,
            Error::Share(error) if error.is_damage() => 4,
            Error::Share(error) if error.is_remote() => 3,
            Error::Share(share::Error::BadRemote { .. }) => 2,
            Error::Misfit(_) | Error::Differs { .. } => 4,
            Error::Bundle(bundle::Error::BadKey { .. }) | Error::NotKnown { .. } => 2,
            Error::Build { .. } | Error::Capture(_) => 5,
            Error::Kernel(error) => error.exit_code(),
            Error::Session(_) => 6,
            Error::Unready { .. } => 7,
            Error::Store(_) | Error::Bundle(_) | Error::Share(_) | Error::Io { .. } => 1,
        }
    }

    /// Says it on standard error: one line, the text that it speaks of if there is one, and what to do.
    pub fn print(&self) {
        let excerpt = self.excerpt().map(|text| format!("{text}\n")).unwrap_or_default();
        eprintln!("error: {self}\n{excerpt}hint: {}", self.hint());
    }

    /// The text that the message speaks of, to be shown below it.
    pub fn excerpt(&self) -> Option<&str> {
        match self {
            Error::Recipe(error) => error.excerpt(),
            Error::Kernel(error) => error.excerpt(),
            _ => None,
        }
    }

    /// What the reader of the message can do.
    pub fn hint(&self) -> String {
        match self {
            Error::Recipe(error) => {
                error.hint().unwrap_or_else(|| "change the recipe there, and build again".into())
            }
            Error::Exists { .. } => "give another name, or remove the file".into(),
            Error::Lock { .. } => {
                "run `samovar lock` on the recipe, and look at what changed; with `--update` it is made anew"
                    .into()
            }
            Error::Gone { command, .. } => {
                format!("run `{command}` to take the versions that there are now, and look at what changed")
            }
            Error::NotOffered(_) => "change `release` or `components` in the recipe's [debian]".into(),
            Error::NoMirror { variable, .. } => {
                format!("set {variable} to a mirror's URL, or run on a host whose apt sources name one")
            }
            Error::Fetch(error) => error.hint().to_owned(),
            Error::Verification { hint, .. } => (*hint).to_owned(),
            Error::WrongHash { .. } => {
                "the mirror served other bytes than were signed for; nothing was kept. Try another mirror"
                    .into()
            }
            Error::Malformed { .. } => {
                "the archive serves something this program does not understand; nothing was kept".into()
            }
            Error::Unresolved(_) => {
                "check the packages named in the recipe, or leave one out with `exclude`".into()
            }
            Error::Build { .. } => {
                "change what the recipe asks for in this step; nothing of the step was kept".into()
            }
            Error::Kernel(error) => error.hint(),
            Error::Capture(error) => error.hint().to_owned(),
            Error::Session(failure) => match &failure.hint {
                Some(hint) => hint.clone(),
                None => "`runner restore` with the artifact's path tries again".into(),
            },
            Error::Unready { remedy, .. } => remedy.clone(),
            Error::Store(error) => error.hint().to_owned(),
            Error::Bundle(error) => error.hint().to_owned(),
            Error::Share(error) => error.hint().to_owned(),
            Error::Misfit(error) => error.hint().to_owned(),
            Error::NotKnown { .. } => {
                "build its recipe with this version, and pack it again: what it was made from goes with it".into()
            }
            Error::Differs { .. } => {
                "it was not made by this version from what came with it: do not trust it more than who sent it".into()
            }
            Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "check the path; those in a recipe start from the recipe's own directory".into()
            }
            Error::Io { .. } => "check the permissions there, and the disk".into(),
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
