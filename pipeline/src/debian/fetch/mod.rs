//! Fetching files from a mirror that may be slow, broken or hostile.
//!
//! Several are fetched at once. One that breaks off goes on where it stopped, in this run or the next; what is worth
//! trying again is tried a few times, with growing pauses. Of a file whose hash is known, nothing is to be seen
//! until all of it is there and has that hash.

mod error;
mod http;
mod parallel;

use std::env;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use store::{Hash, Store};
use ureq::Agent;

pub use error::FetchError;
use http::Attempt;

use super::sources::{Archive, Mirrors};
use crate::error::{Error, Result};
use crate::reporter::Reporter;

/// The variable that says how many seconds a silent mirror is waited for.
pub const TIMEOUT_VARIABLE: &str = "SAMOVAR_FETCH_TIMEOUT";

/// How many files are fetched at once: enough to hide the time between request and answer, few enough to be no burden.
const WORKERS: usize = 4;

/// How often it is tried without getting on, and the first pause between two attempts.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// An attempt that brought so much did get on, so that a line that breaks every few minutes still brings a large file.
const GETTING_ON: u64 = 1 << 20;

const OTHER_BYTES: &str =
    "the mirror served other bytes than were signed for; nothing was kept. Try another mirror";

/// Something to be fetched whose bytes are known beforehand.
#[derive(Debug, Clone, Copy)]
pub struct Pinned<'a> {
    /// What the reader of a message knows it as.
    pub name: &'a str,
    /// The archive it is in.
    pub archive: Archive,
    /// Where it is, below the archive.
    pub path: &'a str,
    /// Its size.
    pub size: u64,
    /// Its hash.
    pub sha256: Hash,
}

/// Fetches files over HTTP, with patience but not without end.
#[derive(Debug)]
pub struct Fetcher<'a> {
    mirrors: &'a Mirrors,
    agent: Agent,
    offline: bool,
    silence: Duration,
    reporter: Reporter,
}

impl<'a> Fetcher<'a> {
    /// A fetcher with the proxy that the environment names (`http_proxy` and its like).
    pub fn new(mirrors: &'a Mirrors, offline: bool, reporter: Reporter) -> Fetcher<'a> {
        let seconds = env::var(TIMEOUT_VARIABLE).ok().and_then(|text| text.parse().ok());
        let silence =
            Duration::from_secs(seconds.filter(|seconds| (1..=3600).contains(seconds)).unwrap_or(30));
        Fetcher { mirrors, agent: http::agent(silence), offline, silence, reporter }
    }

    /// Whether nothing may be fetched.
    pub fn is_offline(&self) -> bool {
        self.offline
    }

    /// Fetches a small file that nothing is known of yet.
    pub fn small(
        &self,
        archive: Archive,
        path: &str,
        limit: u64,
        missing_hint: &'static str,
    ) -> Result<Vec<u8>> {
        let url = self.mirrors.url(archive, path)?;
        let mut patience = Patience::new(&url);
        loop {
            match self.small_once(&url, limit) {
                Ok(bytes) => return Ok(bytes),
                Err(Attempt::Missing(status)) => {
                    return Err(FetchError::NotFound { url, status, hint: missing_hint }.into());
                }
                Err(Attempt::Never(error)) => return Err(error),
                Err(Attempt::Again(reason, pause)) => patience.bear(reason, pause, false)?,
                // No range was asked for.
                Err(Attempt::NoSuchRange) => patience.bear("HTTP 416".into(), None, false)?,
            }
        }
    }

    fn small_once(&self, url: &str, limit: u64) -> Result<Vec<u8>, Attempt> {
        let mut body = http::get(&self.agent, url, 0, self.silence)?;
        let too_long = || Attempt::never(FetchError::TooLong { url: url.to_owned(), limit });
        if body.announced.is_some_and(|size| size > limit) {
            return Err(too_long());
        }
        let mut bytes = Vec::new();
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = body.read(&mut buffer)?;
            bytes.extend_from_slice(&buffer[..count]);
            if bytes.len() as u64 > limit {
                return Err(too_long());
            }
            if count == 0 {
                break;
            }
        }
        match body.announced {
            Some(size) if size != bytes.len() as u64 => Err(Attempt::again("it broke off")),
            _ => Ok(bytes),
        }
    }

    /// Fetches files into the store's cache, or finds them there, and returns their paths in order: no path for one that
    /// the mirror does not have. The others are fetched nevertheless: a mirror that dropped one may drop the others
    /// tomorrow. `what` are they, in a word or two.
    pub fn all(&self, store: &Store, what: &str, wanted: &[Pinned]) -> Result<Vec<Option<PathBuf>>> {
        let found = parallel::map(wanted, WORKERS, |pinned| Ok(store.cached(&pinned.sha256, pinned.size)?))?;
        let missing: Vec<&Pinned> =
            wanted.iter().zip(&found).filter(|(_, path)| path.is_none()).map(|(pinned, _)| pinned).collect();
        if missing.is_empty() {
            return Ok(found);
        }
        if self.offline {
            let names = missing.iter().map(|pinned| pinned.name.to_owned()).collect();
            return Err(FetchError::Offline { names }.into());
        }
        let bytes = missing.iter().map(|pinned| pinned.size).sum();
        let bar = self.reporter.fetching(what, missing.len(), bytes);
        let (done, files) = (AtomicU64::new(0), AtomicU64::new(0));
        let fetched = parallel::map(&missing, WORKERS, |pinned| {
            let mut last = 0;
            let path = self.pinned(store, pinned, &mut |now| {
                // Wraps around when a file is begun anew, and comes out right in the sum.
                let before = done.fetch_add(now.wrapping_sub(last), Ordering::Relaxed);
                bar.set(before.wrapping_add(now).wrapping_sub(last));
                last = now;
            })?;
            if path.is_some() {
                bar.files(files.fetch_add(1, Ordering::Relaxed) + 1);
            }
            Ok(path)
        })?;
        let mut fetched = fetched.into_iter();
        Ok(found.into_iter().map(|path| path.or_else(|| fetched.next().flatten())).collect())
    }

    /// Fetches one file into the store's cache, if the mirror has it.
    fn pinned(
        &self,
        store: &Store,
        pinned: &Pinned,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Option<PathBuf>> {
        let url = self.mirrors.url(pinned.archive, pinned.path)?;
        let mut patience = Patience::new(&url);
        loop {
            let Some(mut partial) = store.partial(&pinned.sha256, pinned.size)? else {
                progress(pinned.size);
                // Another process fetched it at the same time.
                match store.cached(&pinned.sha256, pinned.size)? {
                    Some(path) => return Ok(Some(path)),
                    None => continue,
                }
            };
            let resumed = partial.size() > 0;
            while partial.size() < pinned.size {
                progress(partial.size());
                let before = partial.size();
                match self.pinned_once(&url, pinned, &mut partial, progress) {
                    Ok(()) => {}
                    Err(Attempt::Missing(_)) => return Ok(None),
                    Err(Attempt::Never(error)) => return Err(error),
                    Err(Attempt::Again(reason, pause)) => {
                        patience.bear(reason, pause, partial.size() >= before + GETTING_ON)?;
                    }
                    Err(Attempt::NoSuchRange) => {
                        partial.restart()?;
                        patience.bear("HTTP 416".into(), None, false)?;
                    }
                }
            }
            match partial.finish() {
                Ok(path) => return Ok(Some(path)),
                // What lay there from another day may be what was wrong.
                Err(store::Error::WrongHash { .. }) if resumed => {
                    patience.bear("what was fetched before is not its beginning".into(), None, false)?;
                }
                Err(store::Error::WrongHash { wanted, found, .. }) => {
                    return Err(Error::WrongHash { what: url, wanted, found });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn pinned_once(
        &self,
        url: &str,
        pinned: &Pinned,
        partial: &mut store::Partial,
        progress: &mut dyn FnMut(u64),
    ) -> Result<(), Attempt> {
        let wrong_size = |found: String| {
            Attempt::never(Error::Verification {
                what: url.to_owned(),
                reason: format!("{found}, but {} are pinned", pinned.size),
                hint: OTHER_BYTES,
            })
        };
        let mut body = http::get(&self.agent, url, partial.size(), self.silence)?;
        if let Some(size) = body.announced.filter(|size| *size != pinned.size) {
            return Err(wrong_size(format!("{size} bytes")));
        }
        if body.start == 0 && partial.size() > 0 {
            // It knows no ranges.
            partial.restart().map_err(Attempt::never)?;
        }
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = body.read(&mut buffer)?;
            if count == 0 {
                break;
            }
            if partial.size() + count as u64 > pinned.size {
                partial.restart().map_err(Attempt::never)?;
                return Err(wrong_size("more bytes".into()));
            }
            partial.append(&buffer[..count]).map_err(Attempt::never)?;
            progress(partial.size());
        }
        match partial.size() == pinned.size {
            true => Ok(()),
            false => {
                Err(Attempt::again(format!("it broke off after {} of {} bytes", partial.size(), pinned.size)))
            }
        }
    }
}

/// How much is still borne.
struct Patience<'a> {
    url: &'a str,
    failures: u32,
    pause: Duration,
}

impl Patience<'_> {
    fn new(url: &str) -> Patience<'_> {
        Patience { url, failures: 0, pause: FIRST_PAUSE }
    }

    /// Waits before the next attempt, if there may be one. `got_on`: the last one brought something.
    fn bear(&mut self, reason: String, asked: Option<Duration>, got_on: bool) -> Result<()> {
        if got_on {
            (self.failures, self.pause) = (0, FIRST_PAUSE);
        }
        self.failures += 1;
        if self.failures >= ATTEMPTS {
            let (url, attempts) = (self.url.to_owned(), self.failures);
            return Err(FetchError::Failed { url, reason, attempts }.into());
        }
        std::thread::sleep(asked.unwrap_or_default().max(self.pause));
        self.pause *= 2;
        Ok(())
    }
}
