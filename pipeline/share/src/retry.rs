//! How often a transfer that fails is tried again, and how patiently.

use std::env;
use std::time::Duration;

use crate::error::{Error, Result};

/// How often it is tried without getting on, and the first pause between two attempts.
const ATTEMPTS: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How one attempt ended, if not well.
#[derive(Debug)]
pub(crate) enum Attempt {
    /// It may go better the next time.
    Again(String),
    /// It will not.
    Never(Error),
}

impl From<Error> for Attempt {
    fn from(error: Error) -> Attempt {
        Attempt::Never(error)
    }
}

impl Attempt {
    pub(crate) fn again(reason: impl ToString) -> Attempt {
        Attempt::Again(reason.to_string())
    }
}

/// How many seconds a silent remote is waited for: the same variable as for a mirror of Debian's archive.
pub(crate) fn silence() -> Duration {
    let seconds = env::var("SAMOVAR_FETCH_TIMEOUT").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.filter(|seconds| (1..=3600).contains(seconds)).unwrap_or(30))
}

/// How much is still borne.
pub(crate) struct Patience {
    url: String,
    failures: u32,
    pause: Duration,
}

impl Patience {
    pub(crate) fn new(url: impl ToString) -> Patience {
        Patience { url: url.to_string(), failures: 0, pause: FIRST_PAUSE }
    }

    /// Waits before the next attempt, if there may be one. `got_on`: the last one brought something.
    pub(crate) fn bear(&mut self, attempt: Attempt, got_on: bool) -> Result<()> {
        let reason = match attempt {
            Attempt::Again(reason) => reason,
            Attempt::Never(error) => return Err(error),
        };
        if got_on {
            (self.failures, self.pause) = (0, FIRST_PAUSE);
        }
        self.failures += 1;
        if self.failures >= ATTEMPTS {
            return Err(Error::Failed { url: self.url.clone(), reason, attempts: self.failures });
        }
        std::thread::sleep(self.pause);
        self.pause *= 2;
        Ok(())
    }
}

/// Does something until it goes well, or has failed too often.
pub(crate) fn retrying<T>(url: &str, mut attempt: impl FnMut() -> Result<T, Attempt>) -> Result<T> {
    let mut patience = Patience::new(url);
    loop {
        match attempt() {
            Ok(done) => return Ok(done),
            Err(failed) => patience.bear(failed, false)?,
        }
    }
}
