//! Reading from a web server, which may be slow, broken or hostile: a registry is one, too.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use store::Hash;
use ureq::Agent;
use ureq::http::header::{AUTHORIZATION, CONTENT_RANGE, RANGE, WWW_AUTHENTICATE};

use crate::directory::{INDEXES, MAX_NAME, NAMES, PACKS, named_hash};
use crate::error::{Error, Result};
use crate::remote::Body;
use crate::retry::{Attempt, retrying, silence};
use crate::sealed::MAX_SEALED;

/// How long one answer may take in all.
const LONGEST: Duration = Duration::from_secs(3600);
/// How often an answer may lead elsewhere.
const REDIRECTS: u32 = 5;
/// Slower than this, over as long as silence is borne, is as bad as silence.
const LEAST_BYTES_A_SECOND: u64 = 256;

/// A web server that serves the directory of a remote.
#[derive(Debug)]
pub struct Web {
    url: String,
    client: Client,
}

impl Web {
    pub(crate) fn new(url: &str) -> Web {
        Web { url: url.trim_end_matches('/').into(), client: Client::new() }
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn pack(&self, hash: &Hash) -> String {
        format!("{}/{PACKS}/{hash}", self.url)
    }

    /// The bytes of the index of an artifact with this hash or name, and where they are.
    pub(crate) fn index(&self, named: &str) -> Result<(String, Vec<u8>)> {
        let hash = match named.parse::<Hash>() {
            Ok(hash) => hash,
            Err(_) => {
                let url = format!("{}/{NAMES}/{named}", self.url);
                named_hash(&url, &retrying(&url, || self.client.read(&url, MAX_NAME, &Ask::default()))?)?
            }
        };
        let url = format!("{}/{INDEXES}/{hash}", self.url);
        let bytes = retrying(&url, || self.client.read(&url, MAX_SEALED, &Ask::default()))?;
        Ok((url, bytes))
    }

    pub(crate) fn open(&self, hash: &Hash, from: u64, to: u64) -> Result<Body, Attempt> {
        self.client.open(&self.pack(hash), from, to, &Ask::default())
    }
}

/// What a request says besides its URL.
#[derive(Debug, Default)]
pub(crate) struct Ask<'a> {
    /// Who asks.
    pub(crate) authorization: Option<&'a str>,
    /// The media type that is wanted.
    pub(crate) accept: Option<&'a str>,
}

/// What asks.
#[derive(Debug)]
pub(crate) struct Client {
    agent: Agent,
    silence: Duration,
}

/// What a server answers that wants to know who asks (RFC 9110, 11.6.1): the text of its challenge.
#[derive(Debug)]
pub(crate) struct Challenge(pub(crate) String);

impl Client {
    pub(crate) fn new() -> Client {
        let silence = silence();
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(REDIRECTS)
            .timeout_connect(Some(silence))
            .timeout_recv_response(Some(silence))
            .timeout_per_read(Some(silence))
            .timeout_global(Some(LONGEST))
            .user_agent(concat!("samovar/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Client { agent, silence }
    }

    /// All of something small.
    pub(crate) fn read(&self, url: &str, limit: u64, ask: &Ask) -> Result<Vec<u8>, Attempt> {
        let answer = self.ask(url, None, ask)?.map_err(|_| unauthorized(url))?;
        answer.all(url, limit)
    }

    /// The bytes of something from `from` to `to`; the server may send all of it nevertheless.
    pub(crate) fn open(&self, url: &str, from: u64, to: u64, ask: &Ask) -> Result<Body, Attempt> {
        Ok(self.ask(url, Some((from, to)), ask)?.map_err(|_| unauthorized(url))?.body())
    }

    /// Asks, and sorts the answers.
    pub(crate) fn ask(
        &self,
        url: &str,
        range: Option<(u64, u64)>,
        ask: &Ask,
    ) -> Result<Result<Answer, Challenge>, Attempt> {
        let mut request = self.agent.get(url);
        if let Some((from, to)) = range {
            request = request.header(RANGE, format!("bytes={from}-{}", to.saturating_sub(1)));
        }
        if let Some(authorization) = ask.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some(accept) = ask.accept {
            request = request.header("accept", accept);
        }
        let response = request.call().map_err(|error| failure(url, &error))?;
        let status = response.status().as_u16();
        let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
        let start = match (status, range) {
            (200, _) => 0,
            (206, Some((from, _))) => {
                let start = header(CONTENT_RANGE).and_then(first_byte);
                let start = start.ok_or_else(|| Attempt::again("its Content-Range makes no sense"))?;
                if start != from {
                    return Err(Attempt::again(format!(
                        "asked for byte {from} on, it answered from byte {start}"
                    )));
                }
                start
            }
            (401, _) => {
                return Ok(Err(Challenge(header(WWW_AUTHENTICATE).unwrap_or_default().to_owned())));
            }
            (404 | 410, _) => return Err(Error::NotThere { url: url.into() }.into()),
            (416, _) => return Err(Error::damaged(url, "shorter than the index says").into()),
            // Too slow, too many requests, and whatever ails the server, may pass.
            (408 | 429 | 500..=599, _) => return Err(Attempt::again(format!("HTTP {status}"))),
            _ => return Err(Error::Refused { url: url.into(), reason: format!("HTTP {status}") }.into()),
        };
        let announced = response.body().content_length();
        // The callers' limits are stricter.
        let reader = response.into_body().into_with_config().limit(u64::MAX).reader();
        let reader = Steady {
            reader: Box::new(reader),
            silence: self.silence,
            window: Instant::now(),
            window_bytes: 0,
        };
        Ok(Ok(Answer { reader, start, whole: status == 200, announced }))
    }
}

/// An answer that has what was asked for.
pub(crate) struct Answer {
    reader: Steady,
    start: u64,
    whole: bool,
    announced: Option<u64>,
}

impl Answer {
    /// Its bytes, as they come.
    pub(crate) fn body(self) -> Body {
        Body { reader: Box::new(self.reader), start: self.start, whole: self.whole }
    }

    /// All of it, if it is no longer than `limit`.
    pub(crate) fn all(self, url: &str, limit: u64) -> Result<Vec<u8>, Attempt> {
        let too_long = || Error::damaged(url, format!("longer than {limit} bytes"));
        if self.announced.is_some_and(|size| size > limit) {
            return Err(too_long().into());
        }
        let mut bytes = Vec::new();
        self.reader.take(limit + 1).read_to_end(&mut bytes).map_err(Attempt::again)?;
        match self.announced {
            _ if bytes.len() as u64 > limit => Err(too_long().into()),
            Some(size) if size != bytes.len() as u64 => Err(Attempt::again("it broke off")),
            _ => Ok(bytes),
        }
    }
}

/// A body that fails when it trickles.
struct Steady {
    reader: Box<dyn Read>,
    silence: Duration,
    window: Instant,
    window_bytes: u64,
}

impl Read for Steady {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.window_bytes += count as u64;
        if count > 0 && self.window.elapsed() >= self.silence {
            if self.window_bytes < LEAST_BYTES_A_SECOND * self.silence.as_secs() {
                let (bytes, seconds) = (self.window_bytes, self.silence.as_secs());
                return Err(io::Error::other(format!("only {bytes} bytes came in {seconds} s")));
            }
            (self.window, self.window_bytes) = (Instant::now(), 0);
        }
        Ok(count)
    }
}

fn unauthorized(url: &str) -> Attempt {
    Error::Refused { url: url.into(), reason: "HTTP 401".into() }.into()
}

/// `bytes 100-199/200`: where it begins (RFC 9110, 14.4).
fn first_byte(text: &str) -> Option<u64> {
    let (first, last) = text.trim_ascii().strip_prefix("bytes ")?.split_once('/')?.0.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    (first <= last).then_some(first)
}

/// Whether a request that came to no answer is worth another.
fn failure(url: &str, error: &ureq::Error) -> Attempt {
    let refused = |reason: String| Error::Refused { url: url.into(), reason }.into();
    match error {
        ureq::Error::TooManyRedirects | ureq::Error::RedirectFailed => {
            refused("it is redirected without end".into())
        }
        ureq::Error::BadUri(_) | ureq::Error::Http(_) | ureq::Error::InvalidProxyUrl => Error::BadRemote {
            remote: url.into(),
            reason: format!("is no URL to fetch from ({error})"),
            hint: "check how the remote is written",
        }
        .into(),
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => refused(format!("no safe connection: {error}")),
        other => Attempt::again(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(first_byte("bytes 100-199/200"), Some(100));
        assert_eq!(first_byte("bytes 0-0/*"), Some(0));
        for bad in ["", "bytes */200", "bytes 5-4/10", "bytes -1-2/9", "items 0-1/2", "bytes 0-1"] {
            assert_eq!(first_byte(bad), None, "{bad}");
        }
    }
}
