//! Fetching files from a mirror that may be slow, broken or hostile.

use std::io::{self, Read};
use std::time::Duration;

use store::{Hash, Store};
use ureq::Agent;

use crate::error::{Error, Result};

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
    /// The mirror refuses.
    #[error("{url}: refused (HTTP {status})")]
    Refused {
        /// What was asked for.
        url: String,
        /// The mirror's answer.
        status: u16,
    },
    /// It failed again and again.
    #[error("{url}: {reason} (tried {attempts} times)")]
    Failed {
        /// What was asked for.
        url: String,
        /// What happened the last time.
        reason: String,
        /// How often it was tried.
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
}

impl FetchError {
    /// What can be done about it.
    pub fn hint(&self) -> &'static str {
        match self {
            FetchError::NotFound { hint, .. } => hint,
            FetchError::Refused { .. } | FetchError::TooLong { .. } => {
                "try another mirror: set SAMOVAR_DEBIAN_MIRROR or SAMOVAR_DEBIAN_SECURITY_MIRROR"
            }
            FetchError::Failed { .. } => {
                "check the network and the mirror; what was fetched so far in full is kept, so run it again"
            }
        }
    }
}

/// How one attempt ended, if not well.
enum Attempt {
    /// It may go better the next time.
    Again(String),
    /// It will not.
    Never(Error),
}

/// Something to be fetched whose bytes are known beforehand.
#[derive(Debug, Clone, Copy)]
pub struct Pinned<'a> {
    /// Where it is.
    pub url: &'a str,
    /// Its size.
    pub size: u64,
    /// Its hash.
    pub sha256: Hash,
    /// What to do when the mirror does not have it.
    pub missing_hint: &'static str,
}

/// Fetches files over HTTP, with patience but not without end.
#[derive(Debug)]
pub struct Fetcher {
    agent: Agent,
}

const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

impl Default for Fetcher {
    fn default() -> Fetcher {
        Fetcher::new()
    }
}

impl Fetcher {
    /// A fetcher with the proxy that the environment names (`http_proxy` and its like).
    pub fn new() -> Fetcher {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(Duration::from_secs(60)))
            // A mirror that falls silent is given up quickly; one that trickles for ever, in the end.
            .timeout_per_read(Some(Duration::from_secs(30)))
            .timeout_global(Some(Duration::from_secs(3600)))
            .user_agent(concat!("samovar/", env!("CARGO_PKG_VERSION")))
            .build();
        Fetcher { agent: config.new_agent() }
    }

    /// Fetches a small file that nothing is known of yet.
    pub fn small(&self, url: &str, limit: u64, missing_hint: &'static str) -> Result<Vec<u8>> {
        self.with_patience(url, missing_hint, |reader, announced| {
            let mut bytes = Vec::new();
            let too_long = || Attempt::Never(FetchError::TooLong { url: url.to_owned(), limit }.into());
            if announced.is_some_and(|size| size > limit) {
                return Err(too_long());
            }
            let result = reader.take(limit + 1).read_to_end(&mut bytes);
            result.map_err(|error| Attempt::Again(error.to_string()))?;
            if bytes.len() as u64 > limit {
                return Err(too_long());
            }
            match announced {
                Some(size) if size != bytes.len() as u64 => Err(Attempt::Again("it broke off".into())),
                _ => Ok(bytes),
            }
        })
    }

    /// Fetches a file into the store's cache, or finds it there. What is not the very bytes expected is thrown
    /// away.
    pub fn pinned(
        &self,
        store: &Store,
        pinned: &Pinned,
        progress: &mut dyn FnMut(u64),
    ) -> Result<std::path::PathBuf> {
        if let Some(path) = store.cached(&pinned.sha256, pinned.size)? {
            progress(pinned.size);
            return Ok(path);
        }
        self.with_patience(pinned.url, pinned.missing_hint, |reader, announced| {
            let wrong_size = |found: String| Error::Verification {
                what: pinned.url.to_owned(),
                reason: format!("{found}, but {} are pinned", pinned.size),
                hint: "the mirror served other bytes than were signed for; nothing was kept. Try another mirror",
            };
            if let Some(size) = announced.filter(|size| *size != pinned.size) {
                return Err(Attempt::Never(wrong_size(format!("{size} bytes"))));
            }
            let never = |error: store::Error| Attempt::Never(error.into());
            let scratch = store.scratch().map_err(never)?;
            let mut file = scratch.create("download").map_err(never)?;
            let mut buffer = vec![0; 1 << 16];
            loop {
                let count = reader.read(&mut buffer).map_err(|error| Attempt::Again(error.to_string()))?;
                if count == 0 {
                    break;
                }
                if file.size() + count as u64 > pinned.size {
                    return Err(Attempt::Never(wrong_size("more bytes".into())));
                }
                io::Write::write_all(&mut file, &buffer[..count])
                    .map_err(|error| never(store::Error::io(file.path(), error)))?;
                progress(file.size());
            }
            let (found, size) = file.finish().map_err(never)?;
            if size != pinned.size {
                return Err(Attempt::Again(format!("it broke off after {size} of {} bytes", pinned.size)));
            }
            if found != pinned.sha256 {
                let what = pinned.url.to_owned();
                return Err(Attempt::Never(Error::WrongHash { what, wanted: pinned.sha256, found }));
            }
            store.keep(&scratch, "download", &pinned.sha256).map_err(never)
        })
    }

    /// Whether the mirror has a file. One that is out of order is taken to have it: fetching will tell.
    pub fn has(&self, url: &str) -> bool {
        let answer = self.agent.head(url).call().map(|response| response.status().as_u16());
        !matches!(answer, Ok(404 | 410))
    }

    /// Asks for `url` until `take` has what it wants of the body, or there is no hope.
    fn with_patience<T>(
        &self,
        url: &str,
        missing_hint: &'static str,
        mut take: impl FnMut(&mut dyn Read, Option<u64>) -> Result<T, Attempt>,
    ) -> Result<T> {
        let mut pause = FIRST_PAUSE;
        let mut reason = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                std::thread::sleep(pause);
                pause *= 2;
            }
            match self.once(url, missing_hint, &mut take) {
                Ok(value) => return Ok(value),
                Err(Attempt::Never(error)) => return Err(error),
                Err(Attempt::Again(why)) => reason = why,
            }
        }
        Err(FetchError::Failed { url: url.to_owned(), reason, attempts: ATTEMPTS }.into())
    }

    fn once<T>(
        &self,
        url: &str,
        missing_hint: &'static str,
        take: &mut impl FnMut(&mut dyn Read, Option<u64>) -> Result<T, Attempt>,
    ) -> Result<T, Attempt> {
        let mut response = self.agent.get(url).call().map_err(|error| Attempt::Again(error.to_string()))?;
        let never = |error: FetchError| Err(Attempt::Never(error.into()));
        match response.status().as_u16() {
            200 => {}
            status @ (404 | 410) => {
                return never(FetchError::NotFound { url: url.to_owned(), status, hint: missing_hint });
            }
            // Too slow, too many requests, and whatever ails the server, may pass.
            status @ (408 | 429 | 500..=599) => return Err(Attempt::Again(format!("HTTP {status}"))),
            status => return never(FetchError::Refused { url: url.to_owned(), status }),
        }
        let announced = response.body().content_length();
        // The body's own limit is far below a kernel's size; ours are stricter, and file by file.
        let mut reader = response.body_mut().with_config().limit(u64::MAX).reader();
        take(&mut reader, announced)
    }
}
