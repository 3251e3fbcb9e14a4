//! Why there is no kernel.

use std::path::PathBuf;

use store::Hash;

use super::config::Unmet;
use super::tools::{Missing, install_command};

/// Why there is no kernel.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KernelError {
    /// The host lacks what builds a kernel.
    #[error("kernel: this host has no {}", names(missing))]
    MissingTools {
        /// What it lacks.
        missing: Vec<Missing>,
    },
    /// The kernel's own configuration has not all that was asked for.
    #[error("{config}: {}", told(unmet))]
    Unmet {
        /// The fragment.
        config: String,
        /// What it asks for in vain.
        unmet: Vec<Unmet>,
    },
    /// The store is where no kernel can be built.
    #[error("kernel: Linux cannot be built below {}: its path has more than letters, digits and ./_-+@", path.display())]
    Place {
        /// The store.
        path: PathBuf,
    },
    /// `make` failed.
    #[error("kernel: `make {target}` failed ({status})")]
    Make {
        /// What it was to make.
        target: &'static str,
        /// How it ended.
        status: String,
        /// The last lines of what it said.
        tail: String,
        /// Where all of it is.
        log: PathBuf,
    },
    /// The file is another one than the recipe means.
    #[error("{}: its SHA-256 is {found}, and the recipe's `sha256` is another one", path.display())]
    OtherFile {
        /// The file.
        path: PathBuf,
        /// Its hash.
        found: Hash,
        /// The one in the recipe.
        wanted: String,
    },
}

impl KernelError {
    /// How the program exits.
    pub fn exit_code(&self) -> u8 {
        match self {
            KernelError::OtherFile { .. } => 4,
            _ => 5,
        }
    }

    /// What can be done about it.
    pub fn hint(&self) -> String {
        match self {
            KernelError::MissingTools { missing } => format!("run `{}`", install_command(missing)),
            KernelError::Unmet { unmet, .. } if unmet.iter().all(|unmet| unmet.is_absent()) => {
                "they may depend on options that are not set: the `depends on` lines of the source's Kconfig files say \
                 which; or this kernel knows them no longer"
                    .into()
            }
            KernelError::Unmet { .. } => {
                "other options select or exclude them: take them out, or change what they collide with".into()
            }
            KernelError::Place { .. } => "name a store elsewhere with --store".into(),
            KernelError::Make { log, .. } => format!("all that it said is in {}", log.display()),
            KernelError::OtherFile { found, wanted, .. } => {
                format!("if this is the kernel that is meant, write sha256 = \"{found}\" instead of \"{wanted}\"")
            }
        }
    }

    /// What is shown below the message.
    pub fn excerpt(&self) -> Option<&str> {
        match self {
            KernelError::Make { tail, .. } if !tail.is_empty() => Some(tail),
            _ => None,
        }
    }
}

fn names(missing: &[Missing]) -> String {
    missing.iter().map(|missing| missing.tool.name).collect::<Vec<_>>().join(", ")
}

fn told(unmet: &[Unmet]) -> String {
    let noun = if unmet.len() == 1 { "option" } else { "options" };
    let each: Vec<String> = unmet.iter().map(Unmet::to_string).collect();
    format!("{} {noun} did not survive in the kernel's configuration: {}", unmet.len(), each.join("; "))
}
