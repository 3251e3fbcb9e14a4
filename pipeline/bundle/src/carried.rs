//! What the head of a bundle has and other things that carry artifacts have, too, such as the index of a remote: manifests
//! in the order of their needs, what their files are made of, and a provenance. All numbers are little-endian `u32`.
//!
//! Every byte that is read may be hostile: nothing is reserved for what a number says before the bytes are there.

use std::collections::BTreeSet;
use std::path::Path;

use store::{FileEntry, Hash, Manifest};

/// The most artifacts.
pub const MAX_ARTIFACTS: usize = 64;
/// The largest file.
pub const MAX_FILE: u64 = 128 << 30;
/// The most that all files may come to.
pub const MAX_TOTAL: u64 = 256 << 30;
/// The largest provenance.
pub const MAX_PROVENANCE: usize = 16 << 20;

/// An artifact that is carried, each of its files described by an `F`.
#[derive(Debug, Clone, PartialEq)]
pub struct Carried<F> {
    /// Its name, the hash of its manifest's bytes.
    pub hash: Hash,
    /// Its manifest.
    pub manifest: Manifest,
    /// The manifest's bytes.
    pub bytes: Vec<u8>,
    /// Its files, in the manifest's order.
    pub files: Vec<F>,
}

/// Adds a number that fits.
pub fn put_number(bytes: &mut Vec<u8>, number: usize) {
    bytes.extend((number as u32).to_le_bytes());
}

/// Adds artifacts; `put_file` adds what describes a file.
pub fn put_artifacts<F>(bytes: &mut Vec<u8>, artifacts: &[Carried<F>], put_file: impl Fn(&mut Vec<u8>, &F)) {
    put_number(bytes, artifacts.len());
    for artifact in artifacts {
        put_number(bytes, artifact.bytes.len());
        bytes.extend(&artifact.bytes);
        artifact.files.iter().for_each(|file| put_file(bytes, file));
    }
}

/// Adds the provenance.
pub fn put_provenance(bytes: &mut Vec<u8>, provenance: &str) {
    put_number(bytes, provenance.len());
    bytes.extend(provenance.as_bytes());
}

/// Bytes that were not read yet.
#[derive(Debug)]
pub struct Cursor<'a> {
    rest: &'a [u8],
    whole: &'static str,
}

impl<'a> Cursor<'a> {
    /// At the beginning of `bytes`, which errors call `whole`, such as "its head".
    pub fn new(bytes: &'a [u8], whole: &'static str) -> Cursor<'a> {
        Cursor { rest: bytes, whole }
    }

    /// The next bytes.
    ///
    /// # Errors
    /// If there are not as many.
    pub fn take(&mut self, count: usize, what: &str) -> Result<&'a [u8], String> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or_else(|| self.ends_within(what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number.
    ///
    /// # Errors
    /// If it is not there.
    pub fn number(&mut self, what: &str) -> Result<u32, String> {
        self.array(what).map(u32::from_le_bytes)
    }

    /// A hash.
    ///
    /// # Errors
    /// If it is not there.
    pub fn hash(&mut self, what: &str) -> Result<Hash, String> {
        self.array(what).map(Hash::from_bytes)
    }

    /// Checks that everything has been read.
    ///
    /// # Errors
    /// If there is more.
    pub fn end(self) -> Result<(), String> {
        match self.rest.len() {
            0 => Ok(()),
            more => Err(format!("{} is followed by {more} bytes too many", self.whole)),
        }
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N], String> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or_else(|| self.ends_within(what))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn ends_within(&self, what: &str) -> String {
        format!("{} ends within {what}", self.whole)
    }
}

/// Reads what [`put_artifacts`] wrote: each artifact comes after those that it needs, and the last, by whatever way, needs
/// all others. `take_file` reads what describes a file.
///
/// # Errors
/// Says what is wrong with it.
pub fn take_artifacts<F>(
    rest: &mut Cursor,
    mut take_file: impl FnMut(&mut Cursor, &FileEntry) -> Result<F, String>,
) -> Result<Vec<Carried<F>>, String> {
    let count = rest.number("the number of artifacts")? as usize;
    if !(1..=MAX_ARTIFACTS).contains(&count) {
        return Err(format!("{count} artifacts, but there are 1 to {MAX_ARTIFACTS}"));
    }
    let mut artifacts: Vec<Carried<F>> = Vec::new();
    let mut total = 0u64;
    for _ in 0..count {
        let len = rest.number("the length of a manifest")? as usize;
        let bytes = rest.take(len, "a manifest")?;
        let manifest = Manifest::from_bytes(Path::new("a manifest in it"), bytes);
        let manifest = manifest.map_err(|error| error.to_string())?;
        let hash = Hash::of(bytes);
        let known = |hash: &Hash| artifacts.iter().any(|artifact| artifact.hash == *hash);
        if known(&hash) {
            return Err(format!("it has {hash} twice"));
        }
        if let Some(need) = manifest.needs.values().find(|need| !known(need)) {
            return Err(format!("{hash} needs {need}, which is not before it"));
        }
        let mut files = Vec::new();
        for entry in &manifest.files {
            total = total.saturating_add(entry.size);
            if entry.size > MAX_FILE || total > MAX_TOTAL {
                return Err(format!("{:?} is larger than can be carried", entry.name));
            }
            files.push(take_file(rest, entry).map_err(|reason| format!("{:?}: {reason}", entry.name))?);
        }
        artifacts.push(Carried { hash, manifest, bytes: bytes.into(), files });
    }
    let needed: BTreeSet<&Hash> = artifacts.iter().flat_map(|one| one.manifest.needs.values()).collect();
    let mut others = artifacts.iter().rev().skip(1);
    match others.find(|artifact| !needed.contains(&artifact.hash)) {
        Some(stranger) => Err(format!("nothing in it needs {}", stranger.hash)),
        None => Ok(artifacts),
    }
}

/// Reads what [`put_provenance`] wrote.
///
/// # Errors
/// If it is too long, or no text.
pub fn take_provenance(rest: &mut Cursor) -> Result<String, String> {
    let len = rest.number("the length of the provenance")? as usize;
    if len > MAX_PROVENANCE {
        return Err(format!("its provenance is longer than {MAX_PROVENANCE} bytes"));
    }
    let text = rest.take(len, "the provenance")?;
    Ok(std::str::from_utf8(text).map_err(|_| "its provenance is not UTF-8")?.into())
}
