//! The signed start of the chain: an `InRelease` file and the keys that may sign it.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use pgp::composed::{CleartextSignedMessage, Deserializable, SignedPublicKey, SignedPublicSubKey};
use pgp::crypto::hash::HashAlgorithm;
use pgp::packet::{Signature, SignatureType};
use pgp::types::KeyDetails;

use crate::error::{Error, IoContext, Result};

/// The variable that names a file of archive keys.
pub const KEYRING_VARIABLE: &str = "SAMOVAR_DEBIAN_KEYRING";

/// The public keys that sign Debian 12 and 13 with their updates and security updates, as in Debian's package
/// `debian-archive-keyring` 2023.3+deb12u2. They are the same on every host, and a host without that package needs none.
const SHIPPED: [&str; 6] = [
    include_str!("../../keys/debian-archive-bookworm-automatic.asc"),
    include_str!("../../keys/debian-archive-bookworm-security-automatic.asc"),
    include_str!("../../keys/debian-archive-bookworm-stable.asc"),
    include_str!("../../keys/debian-archive-trixie-automatic.asc"),
    include_str!("../../keys/debian-archive-trixie-security-automatic.asc"),
    include_str!("../../keys/debian-archive-trixie-stable.asc"),
];

const KEY_HINT: &str = "for a release newer than this program, name a file of the archive's keys in \
                        SAMOVAR_DEBIAN_KEYRING, such as that of Debian's package debian-archive-keyring. \
                        If the mirror is not Debian's own, do not trust it";

/// The keys whose signature is believed.
#[derive(Debug)]
pub struct Keyring {
    /// Where the keys are from, for messages.
    origin: String,
    keys: Vec<SignedPublicKey>,
}

impl Keyring {
    /// The keyring that the environment names, else the keys that this program comes with.
    pub fn trusted() -> Result<Keyring> {
        match env::var_os(KEYRING_VARIABLE).filter(|path| !path.is_empty()) {
            Some(path) => Keyring::read(Path::new(&path)),
            None => Keyring::shipped(),
        }
    }

    /// The keys that this program comes with.
    pub fn shipped() -> Result<Keyring> {
        let mut keyring = Keyring { origin: "this program".into(), keys: Vec::new() };
        for text in SHIPPED {
            keyring.keys.extend(keys("this program's keys", text.as_bytes())?);
        }
        Ok(keyring)
    }

    /// Reads a file of keys, armored or not. Keys of a kind that is not understood are passed over.
    pub fn read(path: &Path) -> Result<Keyring> {
        let origin = path.display().to_string();
        let file = fs::File::open(path).at(path)?;
        let keys = keys(&origin, BufReader::new(file))?;
        Ok(Keyring { origin, keys })
    }

    /// The text of a signed message, if one of these keys has signed it. `now` is in seconds since 1970.
    ///
    /// The text is taken from what the signature covers, so nothing put around it can pass as signed.
    pub fn verified_text(&self, what: &str, message: &[u8], now: u64) -> Result<String> {
        let refuse =
            |reason: String, hint: &'static str| Error::Verification { what: what.into(), reason, hint };
        let unsigned = "the mirror, or something on the way to it, changed the file; nothing was kept";
        let text = std::str::from_utf8(message).map_err(|_| refuse("is not text".into(), unsigned))?;
        let (message, _) = CleartextSignedMessage::from_string(text)
            .map_err(|error| refuse(format!("is not a signed message: {error}"), unsigned))?;
        let signed = message.signed_text();
        let mut why = Vec::new();
        for signature in message.signatures() {
            match self.check(signature, signed.as_bytes(), now) {
                Ok(()) => return Ok(signed),
                Err(reason) => why.push(reason),
            }
        }
        let reason = if why.is_empty() { "it has no signature".into() } else { why.join("; ") };
        Err(refuse(format!("no valid signature by a key of {}: {reason}", self.origin), KEY_HINT))
    }

    /// Whether one signature is valid and made by one of the keys, and if not, why.
    fn check(&self, signature: &Signature, data: &[u8], now: u64) -> Result<(), String> {
        let issuer = signature.issuer_fingerprint().first().map(|fingerprint| fingerprint.to_string());
        let issuer = issuer.or_else(|| signature.issuer_key_id().first().map(|id| id.to_string()));
        let issuer = issuer.unwrap_or_else(|| "an unnamed key".into());
        check_form(signature, now).map_err(|reason| format!("signature by {issuer} {reason}"))?;
        for key in &self.keys {
            if names(signature, &key.primary_key) && signature.verify(&key.primary_key, data).is_ok() {
                return check_primary(key, now).map_err(|reason| format!("key {issuer} {reason}"));
            }
            for subkey in &key.public_subkeys {
                if names(signature, &subkey.key) && signature.verify(&subkey.key, data).is_ok() {
                    return check_primary(key, now)
                        .and_then(|()| check_subkey(key, subkey, now))
                        .map_err(|reason| format!("key {issuer} {reason}"));
                }
            }
        }
        Err(format!("signature by {issuer} is by none of them, or the text was changed"))
    }
}

/// The keys in a text or a file; at least one.
fn keys(origin: &str, text: impl BufRead) -> Result<Vec<SignedPublicKey>> {
    let refuse = |reason: String| Error::Verification {
        what: origin.to_owned(),
        reason,
        hint: "this should be a file of OpenPGP public keys, as in debian-archive-keyring",
    };
    let (keys, _) = SignedPublicKey::from_reader_many(text).map_err(|error| refuse(error.to_string()))?;
    let keys: Vec<SignedPublicKey> = keys.filter_map(Result::ok).collect();
    if keys.is_empty() { Err(refuse("holds no OpenPGP public key".into())) } else { Ok(keys) }
}

/// Whether a signature says that it is this key's. One that names no key is nobody's.
fn names(signature: &Signature, key: &impl KeyDetails) -> bool {
    let (id, fingerprint) = (key.legacy_key_id(), key.fingerprint());
    signature.issuer_key_id().contains(&&id) || signature.issuer_fingerprint().contains(&&fingerprint)
}

fn check_form(signature: &Signature, now: u64) -> Result<(), String> {
    // Over a document; a certification of some key must not pass as one (RFC 9580, 5.2.1).
    if !matches!(signature.typ(), Some(SignatureType::Text | SignatureType::Binary)) {
        return Err("is not over a text".into());
    }
    use HashAlgorithm::{Sha3_256, Sha3_512, Sha256, Sha384, Sha512};
    if !matches!(signature.hash_alg(), Some(Sha256 | Sha384 | Sha512 | Sha3_256 | Sha3_512)) {
        return Err("uses a hash that is no longer safe".into());
    }
    let created = signature.created().map(|time| u64::from(time.as_secs())).ok_or("has no date")?;
    // A day's grace for a host whose clock is a little behind.
    if created > now + 86_400 {
        return Err("was made in the future: is this host's clock right?".into());
    }
    let lasts = signature.signature_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
    if lasts != 0 && created.saturating_add(lasts) < now {
        return Err("has expired".into());
    }
    Ok(())
}

/// A primary key must not be revoked, and by the newest of its own statements not have expired.
fn check_primary(key: &SignedPublicKey, now: u64) -> Result<(), String> {
    let primary = &key.primary_key;
    if key.details.revocation_signatures.iter().any(|signature| signature.verify_key(primary).is_ok()) {
        return Err("is revoked".into());
    }
    let direct =
        key.details.direct_signatures.iter().filter(|signature| signature.verify_key(primary).is_ok());
    let users = key.details.users.iter().flat_map(|user| {
        let own = |signature: &&Signature| {
            signature.is_certification()
                && signature.verify_certification(primary, pgp::types::Tag::UserId, &user.id).is_ok()
        };
        user.signatures.iter().filter(own)
    });
    let newest = direct.chain(users).max_by_key(|signature| signature.created().map(|time| time.as_secs()));
    let newest = newest.ok_or("has no valid signature of its own")?;
    check_expiry(primary, newest, now)
}

/// A subkey must be bound by its primary key, for signing, with its own consent (RFC 9580, 5.2.3.34).
fn check_subkey(key: &SignedPublicKey, subkey: &SignedPublicSubKey, now: u64) -> Result<(), String> {
    let primary = &key.primary_key;
    let by_primary = subkey
        .signatures
        .iter()
        .filter(|signature| signature.verify_subkey_binding(primary, &subkey.key).is_ok());
    let newest = |typ| {
        by_primary
            .clone()
            .filter(move |signature| signature.typ() == Some(typ))
            .max_by_key(|signature| signature.created().map(|time| time.as_secs()))
    };
    if newest(SignatureType::SubkeyRevocation).is_some() {
        return Err("is revoked".into());
    }
    let binding = newest(SignatureType::SubkeyBinding).ok_or("is not bound to its primary key")?;
    if !binding.key_flags().sign() {
        return Err("is not for signing".into());
    }
    let consent = binding.embedded_signature().ok_or("lacks its own consent to sign")?;
    consent
        .verify_primary_key_binding(&subkey.key, primary)
        .map_err(|_| "lacks its own consent to sign".to_owned())?;
    check_expiry(&subkey.key, binding, now)
}

fn check_expiry(key: &impl KeyDetails, statement: &Signature, now: u64) -> Result<(), String> {
    let lasts = statement.key_expiration_time().map_or(0, |time| u64::from(time.as_secs()));
    let created = u64::from(key.created_at().as_secs());
    if lasts != 0 && created.saturating_add(lasts) < now { Err("has expired".into()) } else { Ok(()) }
}

#[cfg(test)]
pub(crate) mod tests;
