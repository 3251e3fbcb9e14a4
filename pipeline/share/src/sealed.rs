//! An index as a remote has it: compressed, behind what pins it, and signed.

use std::io;

use bundle::{MAX_SIGNATURE, Signed, SigningKey, TrustedKey};
use store::Hash;
use zstd::bulk::{Compressor, Decompressor};

use crate::error::{Error, Result};
use crate::index::{Index, MAX_INDEX};

/// The format that is written and read.
pub(crate) const VERSION: u32 = 1;
/// What signatures of an index say that they are of.
const SIGNED: &str = "samovar index 1";
const MAGIC: [u8; 8] = *b"\x89SMI\r\n\x1a\n";
const PREFIX: usize = 56;
/// The longest that a sealed index can be: what zstd makes of the longest one is hardly longer.
pub(crate) const MAX_SEALED: u64 = (PREFIX + MAX_SIGNATURE + MAX_INDEX + MAX_INDEX / 128) as u64;
const LEVEL: i32 = 9;

/// An index whose root is right, and what says who made it.
#[derive(Debug)]
pub struct Sealed {
    /// Where it came from.
    pub url: String,
    /// The SHA-256 of the index.
    pub root: Hash,
    /// The index.
    pub index: Index,
    signed: Option<Signed>,
}

/// The bytes of an index for a remote, and its root.
///
/// # Errors
/// If there is no memory to compress it.
pub(crate) fn seal(index: &Index, key: Option<&SigningKey>) -> io::Result<(Vec<u8>, Hash)> {
    let bytes = index.encode();
    let root = Hash::of(&bytes);
    let signature = key.map_or(String::new(), |key| key.sign("an index", &format!("{SIGNED} {root}")));
    let compressed = Compressor::new(LEVEL)?.compress(&bytes)?;
    let numbers = [VERSION, bytes.len() as u32, compressed.len() as u32, signature.len() as u32];
    let numbers = numbers.map(u32::to_le_bytes);
    let sealed = [&MAGIC[..], numbers.as_flattened(), root.as_bytes(), signature.as_bytes(), &compressed];
    Ok((sealed.concat(), root))
}

impl Sealed {
    /// Reads what [`seal`] wrote. Nothing is known of the signature then.
    pub fn open(url: &str, bytes: &[u8]) -> Result<Sealed> {
        let damaged = |reason: &str| Error::damaged(url, reason);
        let Some((prefix, rest)) =
            bytes.split_first_chunk::<PREFIX>().filter(|(prefix, _)| prefix[..8] == MAGIC)
        else {
            return Err(damaged("not an index that `samovar push` wrote"));
        };
        let number =
            |at: usize| u32::from_le_bytes([prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]]);
        let [version, raw, compressed, signature] = [8, 12, 16, 20].map(number);
        if version != VERSION {
            return Err(Error::UnknownFormat { url: url.into(), found: version, known: VERSION });
        }
        let mut root = [0; 32];
        root.copy_from_slice(&prefix[24..]);
        let root = Hash::from_bytes(root);
        let (raw, signature) = (raw as usize, signature as usize);
        if raw > MAX_INDEX || signature > MAX_SIGNATURE || rest.len() != signature + compressed as usize {
            return Err(damaged("its length is not what its beginning says"));
        }
        let (signature, compressed) = rest.split_at(signature);
        let signed = match signature {
            [] => None,
            bytes => {
                let text = std::str::from_utf8(bytes).map_err(|_| damaged("its signature is no text"))?;
                Some(Signed::parse(text).map_err(|reason| damaged(&reason))?)
            }
        };
        let bytes = Decompressor::new().and_then(|mut tool| tool.decompress(compressed, raw));
        let bytes = bytes.map_err(|error| damaged(&format!("it cannot be decompressed: {error}")))?;
        if bytes.len() != raw || Hash::of(&bytes) != root {
            return Err(damaged("it is not what its root says"));
        }
        let index = Index::decode(&bytes).map_err(|reason| damaged(&reason))?;
        Ok(Sealed { url: url.into(), root, index, signed })
    }

    /// The number of the key that it says it is signed by, if it is signed.
    pub fn signer(&self) -> Option<String> {
        self.signed.as_ref().map(Signed::number)
    }

    /// Checks that one of these keys signed it.
    pub fn trusted_by(&self, keys: &[TrustedKey]) -> Result<()> {
        let path = self.url.as_ref();
        let signed =
            self.signed.as_ref().ok_or_else(|| bundle::Error::Unsigned { path: self.url.clone().into() })?;
        Ok(signed.check(path, keys, &format!("{SIGNED} {}", self.root))?)
    }
}
