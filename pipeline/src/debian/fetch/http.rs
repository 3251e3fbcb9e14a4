//! One request: what is asked for, and what each answer means.

use std::io::Read;
use std::time::{Duration, Instant};

use ureq::Agent;
use ureq::http::Response;
use ureq::http::header::{CONTENT_RANGE, RANGE, RETRY_AFTER};

use super::error::FetchError;
use crate::error::Error;

/// How long one file may take in all. Only a mirror that trickles at the least speed for a huge file gets there.
const LONGEST: Duration = Duration::from_secs(3600);

/// Slower than this, over as long as silence is borne, is as bad as silence.
const LEAST_BYTES_A_SECOND: u64 = 256;

/// The longest time between attempts that a mirror can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// How one attempt ended, if not well.
pub(super) enum Attempt {
    /// It may go better the next time, after a pause if the mirror asks for one.
    Again(String, Option<Duration>),
    /// The mirror does not have the file, and said so with this status.
    Missing(u16),
    /// The file has no such range, so what is there is no beginning of it.
    NoSuchRange,
    /// It will not.
    Never(Error),
}

impl Attempt {
    pub(super) fn again(reason: impl ToString) -> Attempt {
        Attempt::Again(reason.to_string(), None)
    }

    pub(super) fn never(error: impl Into<Error>) -> Attempt {
        Attempt::Never(error.into())
    }
}

pub(super) fn agent(silence: Duration) -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(silence))
        .timeout_recv_response(Some(silence))
        .timeout_per_read(Some(silence))
        .timeout_global(Some(LONGEST))
        .user_agent(concat!("samovar/", env!("CARGO_PKG_VERSION")))
        .build()
        .new_agent()
}

/// The body of an answer.
pub(super) struct Body {
    reader: Box<dyn Read>,
    /// Where in the file it begins.
    pub(super) start: u64,
    /// How long the whole file is, if the mirror says so.
    pub(super) announced: Option<u64>,
    silence: Duration,
    window: Instant,
    window_bytes: u64,
}

/// Asks for a file from byte `from` on; the mirror may send all of it nevertheless.
pub(super) fn get(agent: &Agent, url: &str, from: u64, silence: Duration) -> Result<Body, Attempt> {
    let mut request = agent.get(url);
    if from > 0 {
        request = request.header(RANGE, format!("bytes={from}-"));
    }
    let response = request.call().map_err(|error| failure(url, &error))?;
    let status = response.status().as_u16();
    let (start, announced) = match status {
        200 => (0, response.body().content_length()),
        206 if from > 0 => {
            let range = header(&response, CONTENT_RANGE).and_then(content_range);
            let (start, total) = range.ok_or_else(|| Attempt::again("its Content-Range makes no sense"))?;
            if start != from {
                return Err(Attempt::again(format!(
                    "asked for byte {from} on, it answered from byte {start}"
                )));
            }
            (start, total)
        }
        404 | 410 => return Err(Attempt::Missing(status)),
        416 if from > 0 => return Err(Attempt::NoSuchRange),
        // Too slow, too many requests, and whatever ails the server, may pass.
        408 | 429 | 500..=599 => {
            let pause = header(&response, RETRY_AFTER).and_then(|text| text.trim_ascii().parse().ok());
            let pause = pause.map(|seconds| Duration::from_secs(seconds).min(LONGEST_PAUSE));
            return Err(Attempt::Again(format!("HTTP {status}"), pause));
        }
        _ => return Err(Attempt::never(FetchError::Refused { url: url.to_owned(), status })),
    };
    // The body's own limit is far below a kernel's size; the callers' are stricter, and file by file.
    let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
    Ok(Body { reader: Box::new(reader), start, announced, silence, window: Instant::now(), window_bytes: 0 })
}

impl Body {
    /// Reads some of it; 0 bytes at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Attempt> {
        let count = self.reader.read(buffer).map_err(Attempt::again)?;
        self.window_bytes += count as u64;
        if count > 0 && self.window.elapsed() >= self.silence {
            if self.window_bytes < LEAST_BYTES_A_SECOND * self.silence.as_secs() {
                return Err(Attempt::again(format!(
                    "only {} bytes came in {} s",
                    self.window_bytes,
                    self.silence.as_secs()
                )));
            }
            (self.window, self.window_bytes) = (Instant::now(), 0);
        }
        Ok(count)
    }
}

fn header<T>(response: &Response<T>, name: ureq::http::HeaderName) -> Option<&str> {
    response.headers().get(name)?.to_str().ok()
}

/// `bytes 100-199/200`: where it begins, and the whole length, which may be unknown (RFC 9110, 14.4).
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.trim_ascii().strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    let total: Option<u64> = match total {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, total))
}

/// Whether a request that came to no answer is worth another.
fn failure(url: &str, error: &ureq::Error) -> Attempt {
    let unusable = |reason: String| Attempt::never(FetchError::Unusable { url: url.to_owned(), reason });
    match error {
        ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed => {
            unusable("it is redirected without end".into())
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => {
            unusable(format!("is no URL to fetch from ({error})"))
        }
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => unusable(format!("no safe connection: {error}")),
        other => Attempt::again(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(content_range("bytes 100-199/200"), Some((100, Some(200))));
        assert_eq!(content_range("bytes 0-0/*"), Some((0, None)));
        for bad in
            ["", "bytes */200", "bytes 5-4/10", "bytes 5-10/10", "bytes -1-2/9", "items 0-1/2", "bytes 0-1"]
        {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
