//! An OCI registry as a remote.
//!
//! What is read comes by plain requests whose answers are bounded ([`crate::http`]): a registry may be hostile to who
//! pulls. What is written goes by `oci-client`, which knows how uploads are done.

use std::cell::Cell;
use std::env;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use oci_client::client::{Client as Writing, ClientConfig, ClientProtocol};
use oci_client::errors::OciDistributionError;
use oci_client::secrets::RegistryAuth;
use oci_client::{Reference, RegistryOperation};
use serde::{Deserialize, Serialize};
use store::Hash;
use tokio::runtime::Runtime;

use crate::error::{Error, Result};
use crate::http::{Answer, Ask, Challenge, Client};
use crate::index::{MAX_PACKS, Pack};
use crate::remote::Body;
use crate::retry::{Attempt, retrying, silence};
use crate::sealed::MAX_SEALED;

/// Who asks, where a registry wants to know.
const USER: &str = "SAMOVAR_REGISTRY_USER";
const PASSWORD: &str = "SAMOVAR_REGISTRY_PASSWORD";

const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX_TYPE: &str = "application/vnd.samovar.index.v1";
const PACK_TYPE: &str = "application/vnd.samovar.pack.v1";
/// The empty configuration (OCI image specification 1.1, guidance for an empty descriptor).
const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";

/// The longest manifest that registries must take (OCI distribution specification 1.1, pushing manifests).
const MAX_MANIFEST: u64 = 4 << 20;
/// The longest answer of who gives tokens.
const MAX_TOKEN: u64 = 1 << 20;

/// A repository of a registry.
#[derive(Debug)]
pub struct Registry {
    text: String,
    host: String,
    repository: String,
    client: Client,
    /// What says who asks, once the registry wanted to know.
    authorization: Mutex<Option<String>>,
}

/// A manifest, as far as it is used here.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    artifact_type: Option<String>,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

#[derive(Debug, Deserialize)]
struct Token {
    #[serde(alias = "access_token")]
    token: String,
}

impl Registry {
    /// The repository that `rest`, what follows `oci://` in `text`, names.
    pub(crate) fn parse(text: &str, rest: &str) -> Result<Registry> {
        let bad = |reason: &str| Error::BadRemote {
            remote: text.into(),
            reason: reason.into(),
            hint: "write oci://HOST[:PORT]/REPOSITORY; the tags there are the artifacts' names and hashes",
        };
        let (host, repository) =
            rest.trim_end_matches('/').split_once('/').ok_or_else(|| bad("no repository"))?;
        // The components of a repository's name (OCI distribution specification 1.1, pulling manifests).
        let component = |part: &str| {
            let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            part.starts_with(plain)
                && part.ends_with(plain)
                && part.chars().all(|c| plain(c) || "._-".contains(c))
        };
        let is_host = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
        if host.is_empty() || !host.chars().all(is_host) {
            return Err(bad("no host"));
        }
        if repository.len() > 200 || !repository.split('/').all(component) {
            return Err(bad("cannot be a repository"));
        }
        Ok(Registry {
            text: text.into(),
            host: host.into(),
            repository: repository.into(),
            client: Client::new(),
            authorization: Mutex::new(None),
        })
    }

    /// Whether the registry is on this machine, and so spoken to without encryption.
    fn is_here(&self) -> bool {
        let name = match self.host.strip_prefix('[') {
            Some(rest) => rest.split(']').next().unwrap_or_default(),
            None => self.host.split(':').next().unwrap_or_default(),
        };
        name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
    }

    fn url(&self, what: &str) -> String {
        let scheme = if self.is_here() { "http" } else { "https" };
        format!("{scheme}://{}/v2/{}/{what}", self.host, self.repository)
    }

    pub(crate) fn blob(&self, hash: &Hash) -> String {
        self.url(&format!("blobs/sha256:{hash}"))
    }

    /// The bytes of the index under a tag, and where they are.
    pub(crate) fn index(&self, tag: &str) -> Result<(String, Vec<u8>)> {
        let url = self.url(&format!("manifests/{tag}"));
        let ask = |url: &str, limit, accept| retrying(url, || self.ask(url, None, accept)?.all(url, limit));
        let bytes = ask(&url, MAX_MANIFEST, Some(MANIFEST_TYPE))?;
        let manifest: Manifest = serde_json::from_slice(&bytes).map_err(|error| {
            Error::damaged(&url, format!("not a manifest that `samovar push` wrote: {error}"))
        })?;
        let layer = manifest.layers.first().filter(|layer| layer.media_type == INDEX_TYPE);
        let hash = layer.and_then(|layer| layer.digest.strip_prefix("sha256:")?.parse::<Hash>().ok());
        let hash = hash.ok_or_else(|| Error::damaged(&url, "not a manifest that `samovar push` wrote"))?;
        let url = self.blob(&hash);
        let bytes = ask(&url, MAX_SEALED, None)?;
        match Hash::of(&bytes) == hash {
            true => Ok((url, bytes)),
            false => Err(Error::damaged(url, "other bytes than its name says")),
        }
    }

    pub(crate) fn open(&self, hash: &Hash, from: u64, to: u64) -> Result<Body, Attempt> {
        let answer = self.ask(&self.blob(hash), Some((from, to)), None)?;
        Ok(answer.body())
    }

    /// Asks, and says who asks if the registry wants to know.
    fn ask(&self, url: &str, range: Option<(u64, u64)>, accept: Option<&str>) -> Result<Answer, Attempt> {
        let authorization = self.authorization.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let ask = Ask { authorization: authorization.as_deref(), accept };
        let challenge = match self.client.ask(url, range, &ask)? {
            Ok(answer) => return Ok(answer),
            Err(challenge) => challenge,
        };
        let authorization = self.authorize(url, &challenge)?;
        let ask = Ask { authorization: Some(&authorization), accept };
        match self.client.ask(url, range, &ask)? {
            Ok(answer) => {
                *self.authorization.lock().unwrap_or_else(PoisonError::into_inner) =
                    Some(authorization.clone());
                Ok(answer)
            }
            Err(_) => Err(Error::Refused { url: url.into(), reason: "HTTP 401".into() }.into()),
        }
    }

    /// What answers a challenge: a name and a password, or a token that is fetched from where the challenge says.
    fn authorize(&self, url: &str, challenge: &Challenge) -> Result<String, Attempt> {
        let basic = credentials().map(|(user, password)| basic(&user, &password));
        let refused = |reason: &str| Error::Refused { url: url.into(), reason: reason.into() };
        let (scheme, parameters) = challenge.0.split_once(' ').unwrap_or((&challenge.0, ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Ok(basic.ok_or_else(|| refused("HTTP 401"))?);
        }
        let realm = parameter(parameters, "realm").filter(|_| scheme.eq_ignore_ascii_case("bearer"));
        let realm = realm.filter(|realm| realm.starts_with("https://") || self.is_here());
        let realm =
            realm.ok_or_else(|| refused("it wants to know who asks, in a way that is not known here"))?;
        let more = if realm.contains('?') { '&' } else { '?' };
        let mut token_url = format!("{realm}{more}scope=repository:{}:pull", self.repository);
        if let Some(service) = parameter(parameters, "service") {
            token_url += &format!("&service={}", service.replace(' ', "%20"));
        }
        let ask = Ask { authorization: basic.as_deref(), accept: None };
        let bytes = self.client.read(&token_url, MAX_TOKEN, &ask)?;
        let token: Token = serde_json::from_slice(&bytes)
            .map_err(|_| Error::damaged(&token_url, "no token in its answer"))?;
        Ok(format!("Bearer {}", token.token))
    }

    /// What writes to it.
    pub(crate) fn writer(&self) -> Result<Writer<'_>> {
        // Only the first one counts, and all are the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let failed =
            |error: &dyn ToString| Error::Refused { url: self.text.clone(), reason: error.to_string() };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| failed(&error))?;
        let protocol = if self.is_here() { ClientProtocol::Http } else { ClientProtocol::Https };
        let config = ClientConfig {
            protocol,
            use_monolithic_push: true,
            // It begins with the request: a pack must have gone through by then, on a slow line, too.
            read_timeout: Some(silence() * 20),
            connect_timeout: Some(silence()),
            user_agent: concat!("samovar/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Writing::try_from(config).map_err(|error| failed(&error))?;
        let auth =
            credentials().map_or(RegistryAuth::Anonymous, |(user, pass)| RegistryAuth::Basic(user, pass));
        let writer = Writer { registry: self, runtime, client, begun: Cell::new(false), auth };
        Ok(writer)
    }

    fn reference(&self, tag: &str) -> Reference {
        Reference::with_tag(self.host.clone(), self.repository.clone(), tag.into())
    }
}

/// What writes to a registry.
pub(crate) struct Writer<'a> {
    registry: &'a Registry,
    runtime: Runtime,
    client: Writing,
    auth: RegistryAuth,
    begun: Cell<bool>,
}

impl Writer<'_> {
    /// Does something, a few times if need be.
    fn doing<T, F>(&self, url: &str, what: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, OciDistributionError>>,
    {
        retrying(url, || {
            if !self.begun.replace(true) {
                let reference = self.registry.reference("latest");
                let auth = self.client.auth(&reference, &self.auth, RegistryOperation::Push);
                self.runtime.block_on(auth).map_err(|error| {
                    self.begun.replace(false);
                    failure(url, &error)
                })?;
            }
            self.runtime.block_on(what()).map_err(|error| failure(url, &error))
        })
    }

    pub(crate) fn has(&self, hash: &Hash) -> Result<bool> {
        let (reference, digest) = (self.registry.reference("latest"), format!("sha256:{hash}"));
        self.doing(&self.registry.blob(hash), || self.client.blob_exists(&reference, &digest))
    }

    pub(crate) fn put(&self, hash: &Hash, bytes: Vec<u8>) -> Result<()> {
        let (reference, digest) = (self.registry.reference("latest"), format!("sha256:{hash}"));
        self.doing(&self.registry.blob(hash), || self.client.push_blob(&reference, bytes.clone(), &digest))?;
        Ok(())
    }

    pub(crate) fn publish(
        &self,
        artifact: &Hash,
        name: Option<&str>,
        sealed: Vec<u8>,
        packs: &[Pack],
    ) -> Result<()> {
        debug_assert!(packs.len() <= MAX_PACKS, "checked when the index was made");
        let descriptor = |media_type: &str, hash: &Hash, size: u64| Descriptor {
            media_type: media_type.into(),
            digest: format!("sha256:{hash}"),
            size,
        };
        let (index, empty) = (Hash::of(&sealed), Hash::of(EMPTY));
        let mut layers = vec![descriptor(INDEX_TYPE, &index, sealed.len() as u64)];
        layers.extend(packs.iter().map(|pack| descriptor(PACK_TYPE, &pack.hash, pack.len.into())));
        let manifest = Manifest {
            schema_version: 2,
            media_type: MANIFEST_TYPE.into(),
            artifact_type: Some(INDEX_TYPE.into()),
            config: descriptor(EMPTY_TYPE, &empty, EMPTY.len() as u64),
            layers,
        };
        let url = self.registry.url(&format!("manifests/{artifact}"));
        let manifest = serde_json::to_vec(&manifest).map_err(|error| Error::damaged(&url, error))?;
        self.put(&empty, EMPTY.to_vec())?;
        self.put(&index, sealed)?;
        for tag in [Some(&*artifact.to_string()), name].into_iter().flatten() {
            let (reference, url) =
                (self.registry.reference(tag), self.registry.url(&format!("manifests/{tag}")));
            let kind = || ureq::http::HeaderValue::from_static(MANIFEST_TYPE);
            self.doing(&url, || self.client.push_manifest_raw(&reference, manifest.clone(), kind()))?;
        }
        Ok(())
    }
}

/// Whether a request that failed is worth another.
fn failure(url: &str, error: &OciDistributionError) -> Attempt {
    let refused = |reason: String| Error::Refused { url: url.into(), reason }.into();
    match error {
        OciDistributionError::AuthenticationFailure(_) | OciDistributionError::UnauthorizedError { .. } => {
            refused("HTTP 401".into())
        }
        OciDistributionError::ServerError { code, .. } if *code < 500 && *code != 429 => {
            refused(format!("HTTP {code}"))
        }
        OciDistributionError::RequestError(_) | OciDistributionError::ServerError { .. } => {
            // The cause is in the last of a chain of errors.
            let mut last: &dyn std::error::Error = error;
            while let Some(next) = last.source() {
                last = next;
            }
            Attempt::again(one_line(&last.to_string()))
        }
        other => refused(one_line(&other.to_string())),
    }
}

/// What a registry says may have any length.
fn one_line(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    plain.take(300).collect()
}

fn credentials() -> Option<(String, String)> {
    Some((env::var(USER).ok()?, env::var(PASSWORD).ok()?))
}

/// RFC 7617, 2.
fn basic(user: &str, password: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

/// A parameter of a challenge: `name="value"`.
fn parameter<'a>(parameters: &'a str, name: &str) -> Option<&'a str> {
    let mut rest = parameters;
    while let Some((key, after)) = rest.split_once("=\"") {
        let (value, next) = after.split_once('"')?;
        if key.trim_start_matches([',', ' ']).eq_ignore_ascii_case(name) {
            return Some(value);
        }
        rest = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories() {
        let parse = |text: &str| Registry::parse(text, text.strip_prefix("oci://").unwrap());
        for (text, here) in [
            ("oci://127.0.0.1:5000/a", true),
            ("oci://localhost/a/b", true),
            ("oci://[::1]:5000/a", true),
            ("oci://registry.example/team/firefox", false),
            ("oci://127.0.0.1.example/a", false),
        ] {
            assert_eq!(parse(text).unwrap().is_here(), here, "{text}");
        }
        for bad in [
            "oci://host",
            "oci:///a",
            "oci://host/",
            "oci://host/A",
            "oci://host/a:b",
            "oci://host/../a",
            "oci://a@b/c",
        ] {
            assert!(matches!(parse(bad), Err(Error::BadRemote { .. })), "{bad}");
        }
    }

    #[test]
    fn challenges() {
        let text = r#"realm="https://auth.example/token",service="it, and more",scope="a""#;
        assert_eq!(parameter(text, "realm"), Some("https://auth.example/token"));
        assert_eq!(parameter(text, "Service"), Some("it, and more"));
        assert_eq!(parameter(text, "none"), None);
        assert_eq!(parameter("realm=\"", "realm"), None);
    }
}
