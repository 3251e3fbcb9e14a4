//! Signatures in minisign's format, so that its own program can make the keys and check what is signed here.
//!
//! A file of that format has a comment that nothing protects, and base64. A public key is `Ed`, the number of the key (8
//! bytes) and the Ed25519 key (32). A signature is `ED`, the number and an Ed25519 signature of the BLAKE2b-512 of what is
//! signed; below it a comment, and a signature of both. A secret key is `Ed`, the kind of its encryption (two zeros for
//! none), `B2`, 48 bytes that only encryption needs, the number, the Ed25519 secret and public key, and their BLAKE2b-256.
//! Encrypted ones are not read: what signs by itself would need the password beside the key.
//!
//! Ed25519 signatures are a function of the key and the text (RFC 8032, 5.1.6): signing twice gives the same bytes.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use blake2::digest::consts::U32;
use blake2::{Blake2b, Blake2b512, Digest};
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use store::Hash;

use crate::error::{Error, IoContext, Result};
use crate::reader::VERSION;

/// The longest signature, comments included.
pub const MAX_SIGNATURE: usize = 4096;
/// The longest file of a key that is read.
const MAX_KEY: u64 = 4096;
const UNTRUSTED: &str = "untrusted comment: ";
const TRUSTED: &str = "trusted comment: ";

/// What is signed of a bundle: the line that its root stands for.
pub(crate) fn signed_text(root: &Hash) -> String {
    format!("samovar bundle {VERSION} {root}")
}

/// The number by which a signature says whose it is, as minisign writes it.
fn number_text(number: [u8; 8]) -> String {
    format!("{:016X}", u64::from_le_bytes(number))
}

/// A key that signs.
pub struct SigningKey {
    number: [u8; 8],
    key: ed25519_dalek::SigningKey,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey").field("number", &number_text(self.number)).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads a secret key's file.
    pub fn read(path: &Path) -> Result<SigningKey> {
        SigningKey::parse(&read(path)?).map_err(|reason| Error::BadKey { path: path.into(), reason })
    }

    fn parse(text: &str) -> Result<SigningKey, String> {
        let bytes = second_line(text)?;
        let bytes: &[u8; 158] =
            bytes.as_slice().try_into().map_err(|_| "not a secret key of minisign's format")?;
        let (head, rest) = bytes.split_at(54);
        let (number, rest) = rest.split_at(8);
        let (pair, sum) = rest.split_at(64);
        if head[..2] != *b"Ed" || head[4..6] != *b"B2" {
            return Err("not a secret key of minisign's format".into());
        }
        if head[2..4] != [0, 0] {
            return Err("the key is encrypted: use one without a password (`minisign -G -W`)".into());
        }
        if *sum != key_sum(number, pair)[..] {
            return Err("the key is damaged".into());
        }
        let (Ok(number), Ok(pair)) = (number.try_into(), pair.try_into()) else {
            return Err("the key is damaged".into());
        };
        let key = ed25519_dalek::SigningKey::from_keypair_bytes(pair).map_err(|_| "the key is damaged")?;
        Ok(SigningKey { number, key })
    }

    /// The signature of a line of text, in minisign's format; `what` is what the line stands for.
    pub fn sign(&self, what: &str, line: &str) -> String {
        let signature = self.key.sign(&Blake2b512::digest(format!("{line}\n"))).to_bytes();
        let both = self.key.sign(&[&signature[..], line.as_bytes()].concat()).to_bytes();
        let whole = [&b"ED"[..], &self.number, &signature].concat();
        let (whole, both) = (STANDARD.encode(whole), STANDARD.encode(both));
        format!("{UNTRUSTED}signature of {what}\n{whole}\n{TRUSTED}{line}\n{both}\n")
    }
}

/// The check sum of a secret key.
fn key_sum(number: &[u8], pair: &[u8]) -> [u8; 32] {
    Blake2b::<U32>::new().chain_update(b"Ed").chain_update(number).chain_update(pair).finalize().into()
}

/// A key whose signatures are believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustedKey {
    number: [u8; 8],
    key: VerifyingKey,
}

impl TrustedKey {
    /// The key that `text` is: its base64 alone, as minisign takes it, or the path of its file.
    pub fn find(text: &str) -> Result<TrustedKey> {
        if let Ok(key) = TrustedKey::parse(text) {
            return Ok(key);
        }
        let path = Path::new(text);
        let file = read(path)?;
        let line = file.lines().nth(1).unwrap_or_default();
        TrustedKey::parse(line).map_err(|reason| Error::BadKey { path: path.into(), reason })
    }

    fn parse(base64: &str) -> Result<TrustedKey, String> {
        let bytes = STANDARD.decode(base64.trim()).map_err(|_| "not a public key of minisign's format")?;
        let number = bytes.get(2..10).and_then(|number| number.try_into().ok());
        let key = bytes.get(10..).and_then(|key| VerifyingKey::from_bytes(key.try_into().ok()?).ok());
        match (bytes.get(..2), number, key) {
            (Some(b"Ed"), Some(number), Some(key)) => Ok(TrustedKey { number, key }),
            _ => Err("not a public key of minisign's format".into()),
        }
    }

    /// The number by which signatures say that they are by this key.
    pub fn number(&self) -> String {
        number_text(self.number)
    }
}

/// A signature that was not checked yet.
#[derive(Debug, Clone)]
pub struct Signed {
    number: [u8; 8],
    signature: Signature,
    comment: String,
    both: Signature,
}

impl Signed {
    /// The signature that this text is.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn parse(text: &str) -> Result<Signed, String> {
        let malformed = || "its signature is not of minisign's format".to_owned();
        let bytes = second_line(text).map_err(|_| malformed())?;
        let number = bytes.get(2..10).and_then(|number| number.try_into().ok());
        let signature = bytes.get(10..).and_then(|bytes| Signature::from_slice(bytes).ok());
        let comment = text.lines().nth(2).and_then(|line| line.strip_prefix(TRUSTED));
        let both = text.lines().nth(3).and_then(|line| STANDARD.decode(line).ok());
        let both = both.and_then(|bytes| Signature::from_slice(&bytes).ok());
        match (bytes.get(..2), number, signature, comment, both) {
            (Some(b"ED"), Some(number), Some(signature), Some(comment), Some(both)) => {
                Ok(Signed { number, signature, comment: comment.into(), both })
            }
            _ => Err(malformed()),
        }
    }

    /// The number of the key that it says it is by.
    pub fn number(&self) -> String {
        number_text(self.number)
    }

    /// Checks that one of the keys made it, of this line; `path` is what errors call what the line stands for.
    pub fn check(&self, path: &Path, keys: &[TrustedKey], line: &str) -> Result<()> {
        match self.is_by(keys, line) {
            Some(true) => Ok(()),
            Some(false) => Err(Error::WrongSignature { path: path.into() }),
            None => Err(Error::Untrusted { path: path.into(), signer: self.number() }),
        }
    }

    /// Whether one of the keys made it, of this line. `None` if none has its number.
    fn is_by(&self, keys: &[TrustedKey], line: &str) -> Option<bool> {
        let mut keys = keys.iter().filter(|key| key.number == self.number).peekable();
        keys.peek()?;
        let text = Blake2b512::digest(format!("{line}\n"));
        let both = [&self.signature.to_bytes()[..], self.comment.as_bytes()].concat();
        Some(keys.any(|TrustedKey { key, .. }| {
            key.verify_strict(&text, &self.signature).is_ok() && key.verify_strict(&both, &self.both).is_ok()
        }))
    }
}

/// A new pair of keys.
#[derive(Debug)]
pub struct KeyPair(SigningKey);

impl KeyPair {
    /// A pair made of the system's randomness.
    pub fn generate() -> io::Result<KeyPair> {
        let (mut number, mut seed) = ([0; 8], [0; 32]);
        getrandom::fill(&mut number)
            .and_then(|()| getrandom::fill(&mut seed))
            .map_err(|error| io::Error::other(error.to_string()))?;
        Ok(KeyPair(SigningKey { number, key: ed25519_dalek::SigningKey::from_bytes(&seed) }))
    }

    /// Writes both to new files; the secret one is for its owner's eyes alone.
    pub fn write(&self, secret: &Path, public: &Path) -> Result<()> {
        let KeyPair(SigningKey { number, key }) = self;
        let pair = key.to_keypair_bytes();
        let whole = [&b"Ed\0\0B2"[..], &[0; 48], number, &pair, &key_sum(number, &pair)].concat();
        let text = format!("{UNTRUSTED}secret key {}\n{}\n", number_text(*number), STANDARD.encode(whole));
        let create = |path: &Path, mode| {
            OpenOptions::new().create_new(true).write(true).mode(mode).open(path).at(path)
        };
        // Neither is written over: a key that is gone can't be made again.
        let mut public_file = create(public, 0o644)?;
        let mut file = create(secret, 0o600).inspect_err(|_| {
            let _ = fs::remove_file(public);
        })?;
        file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).at(secret)?;
        let text = format!("{UNTRUSTED}public key {}\n{}\n", number_text(*number), self.public());
        public_file.write_all(text.as_bytes()).and_then(|()| public_file.sync_all()).at(public)
    }

    /// The public key, as `--trust` takes it.
    pub fn public(&self) -> String {
        let KeyPair(SigningKey { number, key }) = self;
        STANDARD.encode([&b"Ed"[..], number, key.verifying_key().as_bytes()].concat())
    }
}

fn read(path: &Path) -> Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path).at(path)?;
    match file.take(MAX_KEY).read_to_string(&mut text) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(Error::BadKey { path: path.into(), reason: "not a key: no text".into() })
        }
        result => result.map(|_| text).at(path),
    }
}

fn second_line(text: &str) -> Result<Vec<u8>, String> {
    let line = text.lines().nth(1).unwrap_or_default();
    STANDARD.decode(line.trim()).map_err(|_| "not of minisign's format".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (SigningKey, TrustedKey) {
        let pair = KeyPair::generate().unwrap();
        let public = TrustedKey::parse(&pair.public()).unwrap();
        (pair.0, public)
    }

    #[test]
    fn a_signature_is_of_one_root_and_by_one_key() {
        let (line, (key, public)) = (signed_text(&Hash::of(b"root")), pair());
        let text = key.sign("it", &line);
        assert_eq!(key.sign("it", &line), text);
        assert!(text.len() < MAX_SIGNATURE);
        let signed = Signed::parse(&text).unwrap();
        let others = [pair().1, pair().1];
        assert_eq!(signed.is_by(&others, &line), None);
        let [first, second] = others;
        let all = [first, public.clone(), second];
        assert_eq!(signed.is_by(&all, &line), Some(true));
        assert_eq!(signed.is_by(&all, "other"), Some(false));
        // Another key under the same number.
        let forged = TrustedKey { number: public.number, key: all[0].key };
        assert_eq!(signed.is_by(&[forged], &line), Some(false));
    }

    #[test]
    fn no_changed_signature_is_taken() {
        let (line, (key, public)) = (signed_text(&Hash::of(b"root")), pair());
        let text = key.sign("it", &line);
        let second = text.find('\n').unwrap();
        for at in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[at] ^= 1;
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            let taken = Signed::parse(&changed)
                .is_ok_and(|signed| signed.is_by(std::slice::from_ref(&public), &line) == Some(true));
            // The first line is a comment of which the format protects nothing.
            assert_eq!(taken, at < second, "{at}");
            let cut = Signed::parse(&text[..at]);
            assert!(cut.is_err() || at + 1 == text.len(), "{at}");
        }
    }

    #[test]
    fn keys_are_written_and_read_and_not_written_over() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        let [secret, public] = ["a.key", "a.pub"].map(|name| dir.path().join(name));
        let pair = KeyPair::generate().unwrap();
        pair.write(&secret, &public).unwrap();
        assert_eq!(fs::metadata(&secret).unwrap().mode() & 0o777, 0o600);
        let key = SigningKey::read(&secret).unwrap();
        let trusted = TrustedKey::find(public.to_str().unwrap()).unwrap();
        assert_eq!(trusted, TrustedKey::find(&pair.public()).unwrap());
        let line = signed_text(&Hash::of(b"x"));
        assert_eq!(Signed::parse(&key.sign("it", &line)).unwrap().is_by(&[trusted], &line), Some(true));
        let before = fs::read(&secret).unwrap();
        assert!(KeyPair::generate().unwrap().write(&secret, &public).is_err());
        assert!(KeyPair::generate().unwrap().write(&secret, &dir.path().join("b.pub")).is_err());
        assert!(fs::read(&secret).unwrap() == before && !dir.path().join("b.pub").exists());
        for path in [&public, &dir.path().join("nowhere")] {
            assert!(SigningKey::read(path).is_err());
        }
        let mut text = String::from_utf8(before).unwrap();
        text = text.replace("RW", "Rw");
        fs::write(&secret, text).unwrap();
        assert!(matches!(SigningKey::read(&secret), Err(Error::BadKey { .. })));
    }
}
