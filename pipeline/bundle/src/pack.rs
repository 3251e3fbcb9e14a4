//! Packing.

use std::fs::{self, File, Permissions};
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use store::{Artifact, Hash};
use zstd::bulk::Compressor;

use crate::carried::{MAX_ARTIFACTS, MAX_FILE, MAX_PROVENANCE, MAX_TOTAL};
use crate::error::{Error, IoContext, Result};
use crate::head::{Frame, Head, MAX_HEAD, Packed, PackedFile};
use crate::head::{StoredChunk, stored_chunks};
use crate::ordered::{in_order, threads};
use crate::plan::Planner;
use crate::reader::{PREFIX, Prefix};
use crate::sign::{SigningKey, signed_text};
use crate::{CHUNK, Progress};

/// Zstandard's level. The bytes are the same as long as it and zstd's version are, which the workspace pins.
const LEVEL: i32 = 9;

/// What is packed.
#[derive(Debug)]
pub struct Pack<'a> {
    /// The artifact; all that it needs comes along.
    pub artifact: &'a Artifact,
    /// How it was made, as JSON; empty if nobody knows.
    pub provenance: &'a str,
    /// Who signs the bundle.
    pub key: Option<&'a SigningKey>,
    /// How many threads compress; 0 for as many as there are processors. The bundle does not depend on it.
    pub threads: usize,
}

/// What was packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// The root, which the signature is of.
    pub root: Hash,
    /// The bundle's length.
    pub bytes: u64,
    /// The bytes of all files in it, holes included.
    pub unpacked: u64,
    /// How many of those are zeros, or pages that the bundle has elsewhere.
    pub left_out: u64,
}

impl Pack<'_> {
    /// Writes the bundle to `path`, whole or not at all; every byte of the artifacts is checked on the way.
    pub fn write(&self, path: &Path, progress: Progress) -> Result<Summary> {
        let too_large = |reason: String| Error::TooLarge { path: self.artifact.dir().into(), reason };
        if self.provenance.len() > MAX_PROVENANCE {
            return Err(too_large("what is known of how it was made is too long".into()));
        }
        let artifacts = with_needs(self.artifact)?;
        let sizes = artifacts.iter().flat_map(|one| &one.manifest().files).map(|entry| entry.size);
        let total = sizes.clone().fold(0, u64::saturating_add);
        if artifacts.len() > MAX_ARTIFACTS || total > MAX_TOTAL || sizes.clone().any(|size| size > MAX_FILE) {
            return Err(too_large("too large for a bundle".into()));
        }

        // Reading is the smaller part of the work.
        let (reading, whole) = (total / 8, total + total / 8);
        let mut head = plan(&artifacts, self.provenance, |read| progress(read / 8, whole))?;
        let head_len = head.encode().len();
        if head_len > MAX_HEAD {
            return Err(too_large("its pages lie too scattered for a bundle".into()));
        }
        let mut output = Output::open(path)?;
        output.file.seek(SeekFrom::Start((PREFIX + head_len) as u64)).at(&output.path)?;
        let threads = if self.threads == 0 { threads() } else { self.threads };
        compress(&mut head, &artifacts, threads, &mut output, |done| progress(reading + done, whole))?;
        let signed_at = output.file.stream_position().at(&output.path)?;

        let head_bytes = head.encode();
        let root = Hash::of(&head_bytes);
        let signature = self.key.map_or(String::new(), |key| key.sign("a bundle", &signed_text(&root)));
        let prefix = Prefix { head: head_bytes.len() as u32, signature: signature.len() as u32, root };
        output.write(signature.as_bytes())?;
        output.file.seek(SeekFrom::Start(0)).at(&output.path)?;
        output.write(&prefix.encode())?;
        output.write(&head_bytes)?;
        output.publish(path)?;
        let stored: usize = head
            .files()
            .flat_map(|(file, size)| stored_chunks(&file.runs, size))
            .map(|chunk| chunk.bytes())
            .sum();
        progress(whole, whole);
        let bytes = signed_at + signature.len() as u64;
        Ok(Summary { root, bytes, unpacked: total, left_out: total - stored as u64 })
    }
}

/// An artifact after all that it needs, each once.
pub fn with_needs(artifact: &Artifact) -> Result<Vec<Artifact>> {
    let mut all = Vec::new();
    collect(artifact, &mut all)?;
    Ok(all)
}

fn collect(artifact: &Artifact, all: &mut Vec<Artifact>) -> Result<()> {
    if all.iter().any(|other| other.hash() == artifact.hash()) {
        return Ok(());
    }
    for role in artifact.manifest().needs.keys() {
        collect(&artifact.need(role)?, all)?;
    }
    all.push(artifact.clone());
    Ok(())
}

/// The head, with frames that are still to be filled in.
fn plan(artifacts: &[Artifact], provenance: &str, mut read: impl FnMut(u64)) -> Result<Head> {
    let mut planner = Planner::default();
    let mut head = Head { artifacts: Vec::new(), provenance: provenance.into() };
    let mut before = 0;
    for artifact in artifacts {
        let path = artifact.dir().join(store::MANIFEST);
        let bytes = fs::read(&path).at(&path)?;
        let mut packed = Packed {
            hash: *artifact.hash(),
            manifest: artifact.manifest().clone(),
            bytes,
            files: Vec::new(),
        };
        let found = Hash::of(&packed.bytes);
        if found != packed.hash {
            return Err(store::Error::WrongHash { path, wanted: packed.hash, found }.into());
        }
        for entry in &artifact.manifest().files {
            let runs = planner.file(&artifact.dir().join(&entry.name), entry, |size| read(before + size))?;
            before += entry.size;
            let frame = Frame { len: 0, hash: Hash::from_bytes([0; 32]) };
            let frames = vec![frame; stored_chunks(&runs, entry.size).len()];
            packed.files.push(PackedFile { runs, frames });
        }
        head.artifacts.push(packed);
    }
    Ok(head)
}

/// Compresses all chunks, writes the frames behind one another, and fills them in.
fn compress(
    head: &mut Head,
    artifacts: &[Artifact],
    threads: usize,
    output: &mut Output,
    mut done: impl FnMut(u64),
) -> Result<()> {
    let mut before = 0;
    for (packed, artifact) in head.artifacts.iter_mut().zip(artifacts) {
        for (packed, entry) in packed.files.iter_mut().zip(&artifact.manifest().files) {
            let path = artifact.dir().join(&entry.name);
            let file = File::open(&path).at(&path)?;
            let work = |tool: &mut Compressor, chunk: &StoredChunk| {
                let mut stored = vec![0; chunk.bytes()];
                let mut rest = &mut stored[..];
                for part in &chunk.parts {
                    let (here, after) = rest.split_at_mut((part.end - part.start) as usize);
                    file.read_exact_at(here, part.start).at(&path)?;
                    rest = after;
                }
                tool.compress(&stored).at(&path)
            };
            let mut frames = packed.frames.iter_mut();
            let chunks = stored_chunks(&packed.runs, entry.size);
            in_order(&chunks, threads, compressor, work, |chunk, bytes| {
                if let Some(frame) = frames.next() {
                    *frame = Frame { len: bytes.len() as u32, hash: Hash::of(&bytes) };
                }
                done(before + chunk.number * CHUNK as u64);
                output.write(&bytes)
            })?;
            before += entry.size;
        }
    }
    Ok(())
}

/// What compresses a chunk.
fn compressor() -> Compressor<'static> {
    // It fails for want of memory alone, as every allocation does.
    Compressor::new(LEVEL).unwrap_or_default()
}

/// The bundle while it is written, beside its place. A process that dies leaves it to the next one that packs to the same
/// place, and it is never read.
struct Output {
    path: PathBuf,
    file: BufWriter<File>,
    published: bool,
}

impl Output {
    fn open(target: &Path) -> Result<Output> {
        let mut name = target.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let path = target.with_file_name(name);
        // Another process may be at it, and has renamed it when it is done.
        let file = store::take(&path)?;
        file.set_len(0).at(&path)?;
        Ok(Output { path, file: BufWriter::with_capacity(1 << 20, file), published: false })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).at(&self.path)
    }

    fn publish(mut self, target: &Path) -> Result<()> {
        self.file.flush().at(&self.path)?;
        let file = self.file.get_ref();
        file.set_permissions(Permissions::from_mode(0o644)).at(&self.path)?;
        file.sync_all().at(&self.path)?;
        fs::rename(&self.path, target).at(target)?;
        self.published = true;
        let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(dir).and_then(|dir| dir.sync_all()).at(dir)
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.published {
            // Whatever cannot be removed now is taken over by the next pack.
            let _ = fs::remove_file(&self.path);
        }
    }
}
