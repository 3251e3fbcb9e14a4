//! What can go wrong on the network, and what to do about it.

/// What went wrong on the network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The mirror does not have the file.
    #[error("{url}: not there (HTTP {status})")]
    NotFound {
        /// What was asked for.
        url: String,
        /// The mirror's answer.
        status: u16,
        /// What can be done.
        hint: &'static str,
    },
    /// The mirror does not have files that its signed index names.
    #[error("the mirror does not have {}", names.join(", "))]
    Missing {
        /// All of them.
        names: Vec<String>,
        /// What can be done.
        hint: &'static str,
    },
    /// The mirror refuses.
    #[error("{url}: refused (HTTP {status})")]
    Refused {
        /// What was asked for.
        url: String,
        /// The mirror's answer.
        status: u16,
    },
    /// Nothing can be fetched from there, however often it is tried.
    #[error("{url}: {reason}")]
    Unusable {
        /// What was asked for.
        url: String,
        /// Why.
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
    /// The file is longer than it may be.
    #[error("{url}: longer than {limit} bytes")]
    TooLong {
        /// What was asked for.
        url: String,
        /// How long it may be.
        limit: u64,
    },
    /// It would have to be fetched, and may not be.
    #[error("not fetched before, and `--offline` is given: {}", names.join(", "))]
    Offline {
        /// What is missing, all of it.
        names: Vec<String>,
    },
}

impl FetchError {
    /// What can be done about it.
    pub fn hint(&self) -> &'static str {
        match self {
            FetchError::NotFound { hint, .. } | FetchError::Missing { hint, .. } => hint,
            FetchError::Refused { .. } | FetchError::TooLong { .. } | FetchError::Unusable { .. } => {
                "try another mirror: set SAMOVAR_DEBIAN_MIRROR or SAMOVAR_DEBIAN_SECURITY_MIRROR"
            }
            FetchError::Failed { .. } => {
                "check the network and the mirror; what was fetched so far is kept, so run it again to go on"
            }
            FetchError::Offline { .. } => "run the same once without `--offline`: what it fetches is kept",
        }
    }
}
