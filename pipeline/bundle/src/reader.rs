//! A bundle that is there: its head is checked, its frames are as they are read.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use store::Hash;
use zstd::bulk::Decompressor;

use crate::error::{Error, IoContext, Result};
use crate::head::{Frame, Head, MAX_HEAD, Packed, Run, StoredChunk, placed, stored_chunks};
use crate::sign::{MAX_SIGNATURE, Signed, TrustedKey, signed_text};
use crate::{CHUNK, PAGE};

/// The format that is written and read.
pub(crate) const VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"\x89SMV\r\n\x1a\n";
/// The prefix's length.
pub(crate) const PREFIX: usize = 56;

/// What a bundle begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Prefix {
    pub(crate) head: u32,
    pub(crate) signature: u32,
    pub(crate) root: Hash,
}

impl Prefix {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let numbers = [VERSION, self.head, self.signature, 0].map(u32::to_le_bytes);
        [&MAGIC[..], numbers.as_flattened(), self.root.as_bytes()].concat()
    }

    fn decode(path: &Path, bytes: &[u8; PREFIX]) -> Result<Prefix> {
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if bytes[..8] != MAGIC {
            return Err(Error::NotABundle { path: path.into() });
        }
        let [version, head, signature, zero] = [8, 12, 16, 20].map(number);
        if version != VERSION {
            return Err(Error::UnknownFormat { path: path.into(), found: version, known: VERSION });
        }
        if head as usize > MAX_HEAD || signature as usize > MAX_SIGNATURE || zero != 0 {
            return Err(Error::Damaged {
                path: path.into(),
                reason: "its first bytes are not a bundle's".into(),
            });
        }
        let mut root = [0; 32];
        root.copy_from_slice(&bytes[24..]);
        Ok(Prefix { head, signature, root: Hash::from_bytes(root) })
    }
}

/// Whether the file at `path` begins as a bundle does.
pub fn is_bundle(path: &Path) -> bool {
    let mut magic = [0; MAGIC.len()];
    path.is_file()
        && File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok()
        && magic == MAGIC
}

/// A file of a bundle, and where its frames are.
#[derive(Debug)]
pub(crate) struct FramedFile {
    pub(crate) runs: Vec<Run>,
    pub(crate) size: u64,
    pub(crate) frames: Vec<Framed>,
}

/// A chunk's frame.
#[derive(Debug)]
pub(crate) struct Framed {
    pub(crate) chunk: StoredChunk,
    frame: Frame,
    at: u64,
}

/// A bundle whose head is what its root says.
#[derive(Debug)]
pub struct Bundle {
    path: PathBuf,
    file: File,
    root: Hash,
    head: Head,
    main: Packed,
    files: Vec<FramedFile>,
    signed: Option<Signed>,
}

impl Bundle {
    /// Opens a bundle, checks its head, and that it has the length that the head says.
    pub fn open(path: &Path) -> Result<Bundle> {
        let damaged = |reason: String| Error::Damaged { path: path.into(), reason };
        let file = File::open(path).at(path)?;
        let meta = file.metadata().at(path)?;
        if !meta.is_file() || meta.len() < PREFIX as u64 {
            return Err(Error::NotABundle { path: path.into() });
        }
        let mut prefix = [0; PREFIX];
        file.read_exact_at(&mut prefix, 0).at(path)?;
        let prefix = Prefix::decode(path, &prefix)?;
        let frames_at = PREFIX as u64 + u64::from(prefix.head);
        if frames_at + u64::from(prefix.signature) > meta.len() {
            return Err(damaged("it is cut off within its head".into()));
        }
        let mut bytes = vec![0; prefix.head as usize];
        file.read_exact_at(&mut bytes, PREFIX as u64).at(path)?;
        if Hash::of(&bytes) != prefix.root {
            return Err(damaged("its head is not what its root says".into()));
        }
        let head = Head::decode(&bytes).map_err(damaged)?;
        let signature_at = frames_at + head.frame_bytes();
        let wanted = signature_at + u64::from(prefix.signature);
        if wanted != meta.len() {
            return Err(damaged(format!("{} bytes, but its head says {wanted}", meta.len())));
        }
        let mut signature = vec![0; prefix.signature as usize];
        file.read_exact_at(&mut signature, signature_at).at(path)?;
        let signed = match &*signature {
            [] => None,
            bytes => {
                let text =
                    std::str::from_utf8(bytes).map_err(|_| damaged("its signature is no text".into()))?;
                Some(Signed::parse(text).map_err(damaged)?)
            }
        };
        let main = head.main().cloned().ok_or_else(|| damaged("nothing is in it".into()))?;
        let mut at = frames_at;
        let framed = head.files().map(|(packed, size)| FramedFile {
            runs: packed.runs.clone(),
            size,
            frames: stored_chunks(&packed.runs, size)
                .into_iter()
                .zip(&packed.frames)
                .map(|(chunk, frame)| {
                    at += u64::from(frame.len);
                    Framed { chunk, frame: *frame, at: at - u64::from(frame.len) }
                })
                .collect(),
        });
        let files = framed.collect();
        Ok(Bundle { path: path.into(), file, root: prefix.root, files, main, head, signed })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What pins every byte of it, but for the signature, which is of this.
    pub fn root(&self) -> &Hash {
        &self.root
    }

    /// What it holds.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The artifact that it is about.
    pub fn main(&self) -> &Packed {
        &self.main
    }

    /// The number of the key that it says it is signed by, if it is signed. Nothing is known of the signature.
    pub fn signer(&self) -> Option<String> {
        self.signed.as_ref().map(Signed::number)
    }

    /// Checks that one of these keys signed it.
    pub fn trusted_by(&self, keys: &[TrustedKey]) -> Result<()> {
        let signed = self.signed.as_ref().ok_or_else(|| Error::Unsigned { path: self.path.clone() })?;
        signed.check(&self.path, keys, &signed_text(&self.root))
    }

    pub(crate) fn files(&self) -> &[FramedFile] {
        &self.files
    }

    pub(crate) fn damaged(&self, reason: String) -> Error {
        Error::Damaged { path: self.path.clone(), reason }
    }

    /// The stored bytes of a chunk.
    pub(crate) fn stored(&self, tool: &mut Decompressor, framed: &Framed) -> Result<Vec<u8>> {
        let Frame { len, hash } = framed.frame;
        let mut bytes = vec![0; len as usize];
        match self.file.read_exact_at(&mut bytes, framed.at) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(self.damaged("it has become shorter".into()));
            }
            result => result.at(&self.path)?,
        }
        // Before it is decompressed: what nobody packed does not get that far.
        if Hash::of(&bytes) != hash {
            return Err(self.damaged(format!(
                "the bytes from {} to {} are not those that were packed",
                framed.at,
                framed.at + u64::from(len)
            )));
        }
        let wanted = framed.chunk.bytes();
        let mut stored = Vec::with_capacity(wanted);
        match tool.decompress_to_buffer(&bytes, &mut stored) {
            Ok(_) if stored.len() == wanted => Ok(stored),
            Ok(found) => Err(self.damaged(format!("a frame of {found} bytes where {wanted} should be"))),
            Err(error) => {
                Err(self.damaged(format!("the frame at {} cannot be decompressed: {error}", framed.at)))
            }
        }
    }

    /// A small file of the artifact that the bundle is about, checked against its manifest, without anything being
    /// unpacked.
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let entries = &self.main.manifest.files;
        let no_such = || store::Error::NoSuchFile { path: self.path.clone(), name: name.into() };
        let index = entries.iter().position(|entry| entry.name == name).ok_or_else(no_such)?;
        let entry = &entries[index];
        if entry.size > limit {
            return Err(self.damaged(format!("{name} is longer than {limit} bytes")));
        }
        let number = self.files.len() - entries.len() + index;
        let mut tool = decompressor().at(&self.path)?;
        let mut bytes = vec![0; entry.size as usize];
        self.fill(&mut tool, number, 0, &mut bytes)?;
        let found = Hash::of(&bytes);
        if found != entry.sha256 {
            return Err(self.damaged(format!(
                "the SHA-256 of {name} in it is {found}, but {} was recorded",
                entry.sha256
            )));
        }
        Ok(bytes)
    }

    /// Reads pages of a file, from page `first` on. Pages that are the same as others are stored ones there, so this goes
    /// no deeper than that.
    fn fill(&self, tool: &mut Decompressor, file: usize, first: u64, bytes: &mut [u8]) -> Result<()> {
        let framed = &self.files[file];
        let wanted = first * PAGE as u64..first * PAGE as u64 + bytes.len() as u64;
        for framed in &framed.frames {
            let chunk = framed.chunk.number * CHUNK as u64..(framed.chunk.number + 1) * CHUNK as u64;
            if chunk.end <= wanted.start || wanted.end <= chunk.start {
                continue;
            }
            let stored = self.stored(tool, framed)?;
            let mut at = 0;
            for part in &framed.chunk.parts {
                let (start, end) = (part.start.max(wanted.start), part.end.min(wanted.end));
                if start < end {
                    let from = at + (start - part.start) as usize;
                    let len = (end - start) as usize;
                    let to = (start - wanted.start) as usize;
                    bytes[to..to + len].copy_from_slice(&stored[from..from + len]);
                }
                at += (part.end - part.start) as usize;
            }
        }
        for (run, range) in placed(&framed.runs) {
            let Run::Same { file, page, .. } = run else { continue };
            let (start, end) = (range.start.max(first), range.end.min(wanted.end.div_ceil(PAGE as u64)));
            if start < end {
                let part = &mut bytes[((start - first) as usize * PAGE)..((end - first) as usize * PAGE)];
                self.fill(tool, file as usize, u64::from(page) + (start - range.start), part)?;
            }
        }
        Ok(())
    }
}

/// What decompresses a frame.
pub(crate) fn decompressor() -> io::Result<Decompressor<'static>> {
    Decompressor::new()
}
