//! The head of a bundle: what is in it, as structures and as bytes.

use std::ops::Range;

use store::Hash;

use crate::carried::{
    Carried, Cursor, put_artifacts, put_number, put_provenance, take_artifacts, take_provenance,
};
use crate::{CHUNK, CHUNK_PAGES, PAGE};

/// The largest head that is read.
pub(crate) const MAX_HEAD: usize = 32 << 20;
/// The largest frame: no frame of a chunk is longer (RFC 8878, 3.1.1.2: 3 bytes for each block of 128 KiB, and a header).
pub(crate) const MAX_FRAME: u32 = (CHUNK + CHUNK / 256 + 64) as u32;

/// What a bundle holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// The artifacts, each after those that it needs; the last is the one that the bundle is about.
    pub artifacts: Vec<Packed>,
    /// How that one was made, by the word of who packed it: JSON, or nothing.
    pub provenance: String,
}

/// An artifact in a bundle.
pub type Packed = Carried<PackedFile>;

impl Packed {
    /// The bytes that its files take on a disk: zeros take none.
    pub fn disk_bytes(&self) -> u64 {
        let runs = self.files.iter().flat_map(|file| &file.runs);
        let data = runs.filter(|run| !matches!(run, Run::Zero { .. }));
        data.map(|run| u64::from(run.pages()) * PAGE as u64).sum()
    }
}

/// A file in a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackedFile {
    /// What its pages are, from the first to the last.
    pub runs: Vec<Run>,
    /// The frames of its chunks that have stored pages, in order.
    pub frames: Vec<Frame>,
}

/// Pages that follow one another and are of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Zeros.
    Zero {
        /// How many.
        pages: u32,
    },
    /// Stored in frames.
    Stored {
        /// How many.
        pages: u32,
    },
    /// The same as stored pages of an earlier file, or earlier ones of this file.
    Same {
        /// How many.
        pages: u32,
        /// The file, by order in the bundle.
        file: u32,
        /// The first of them there.
        page: u32,
    },
}

impl Run {
    /// How many pages it has.
    pub fn pages(self) -> u32 {
        match self {
            Run::Zero { pages } | Run::Stored { pages } | Run::Same { pages, .. } => pages,
        }
    }
}

/// A compressed chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its length in the bundle.
    pub len: u32,
    /// The SHA-256 of its bytes in the bundle.
    pub hash: Hash,
}

/// How many pages a file of `size` bytes has.
pub(crate) fn pages(size: u64) -> u64 {
    size.div_ceil(PAGE as u64)
}

/// A chunk of a file that has stored pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredChunk {
    /// Its number in the file.
    pub(crate) number: u64,
    /// The bytes of the file that its frame has, one part behind the other.
    pub(crate) parts: Vec<Range<u64>>,
}

impl StoredChunk {
    /// How long its frame is once it is decompressed: no longer than a chunk.
    pub(crate) fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.end - part.start).sum::<u64>() as usize
    }
}

/// The chunks of a file that have stored pages, in order.
pub(crate) fn stored_chunks(runs: &[Run], size: u64) -> Vec<StoredChunk> {
    let mut chunks: Vec<StoredChunk> = Vec::new();
    for (_, range) in placed(runs).filter(|(run, _)| matches!(run, Run::Stored { .. })) {
        let mut page = range.start;
        while page < range.end {
            let number = page / CHUNK_PAGES;
            let end = range.end.min((number + 1) * CHUNK_PAGES);
            let part = page * PAGE as u64..(end * PAGE as u64).min(size);
            match chunks.last_mut() {
                Some(last) if last.number == number => last.parts.push(part),
                _ => chunks.push(StoredChunk { number, parts: vec![part] }),
            }
            page = end;
        }
    }
    chunks
}

/// Runs with the pages of the file that they are.
pub(crate) fn placed(runs: &[Run]) -> impl Iterator<Item = (Run, Range<u64>)> {
    let mut at = 0;
    runs.iter().map(move |run| {
        let start = at;
        at += u64::from(run.pages());
        (*run, start..at)
    })
}

impl Head {
    /// The artifact that the bundle is about. There is one, unless this head was made by hand.
    pub fn main(&self) -> Option<&Packed> {
        self.artifacts.last()
    }

    /// The files of all artifacts with their sizes and names, by order in the bundle.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&PackedFile, u64)> {
        self.artifacts.iter().flat_map(|artifact| {
            artifact.files.iter().zip(artifact.manifest.files.iter().map(|entry| entry.size))
        })
    }

    /// The lengths of all frames together.
    pub(crate) fn frame_bytes(&self) -> u64 {
        self.files().flat_map(|(file, _)| &file.frames).map(|frame| u64::from(frame.len)).sum()
    }

    /// The bytes of all files together, holes included.
    pub fn total_bytes(&self) -> u64 {
        self.files().map(|(_, size)| size).sum()
    }

    /// The head as it is in the file.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_artifacts(&mut bytes, &self.artifacts, |bytes, file| {
            put_number(bytes, file.runs.len());
            for run in &file.runs {
                let (kind, rest) = match *run {
                    Run::Zero { .. } => (0, None),
                    Run::Stored { .. } => (1, None),
                    Run::Same { file, page, .. } => (2, Some([file, page])),
                };
                bytes.extend((run.pages() << 2 | kind).to_le_bytes());
                bytes.extend(rest.into_iter().flatten().flat_map(u32::to_le_bytes));
            }
            for frame in &file.frames {
                bytes.extend(frame.len.to_le_bytes());
                bytes.extend(frame.hash.as_bytes());
            }
        });
        put_provenance(&mut bytes, &self.provenance);
        bytes
    }

    /// The head that these bytes are.
    ///
    /// # Errors
    /// Says what is wrong with them. Every number is checked: what is returned can be unpacked without further thought.
    pub fn decode(bytes: &[u8]) -> Result<Head, String> {
        if bytes.len() > MAX_HEAD {
            return Err(format!("its head is longer than {MAX_HEAD} bytes"));
        }
        let mut rest = Cursor::new(bytes, "its head");
        // Of each file so far, the pages that are stored.
        let mut stored: Vec<Vec<Range<u64>>> = Vec::new();
        let artifacts = take_artifacts(&mut rest, |rest, entry| {
            let runs = runs(rest, entry.size, &mut stored)?;
            let mut frames = Vec::new();
            for _ in stored_chunks(&runs, entry.size) {
                let len = rest.number("the length of a frame")?;
                if !(1..=MAX_FRAME).contains(&len) {
                    return Err(format!("a frame of {len} bytes"));
                }
                frames.push(Frame { len, hash: rest.hash("a frame's hash")? });
            }
            Ok(PackedFile { runs, frames })
        })?;
        let provenance = take_provenance(&mut rest)?;
        rest.end()?;
        Ok(Head { artifacts, provenance })
    }
}

/// Reads the runs of a file of `size` bytes, and adds what is stored of it to that of the earlier files.
fn runs(rest: &mut Cursor, size: u64, stored: &mut Vec<Vec<Range<u64>>>) -> Result<Vec<Run>, String> {
    let count = rest.number("the number of runs")?;
    let mut runs: Vec<Run> = Vec::new();
    let own = stored.len();
    stored.push(Vec::new());
    let mut at = 0u64;
    for _ in 0..count {
        let word = rest.number("a run")?;
        let pages = word >> 2;
        let run = match word & 3 {
            0 => Run::Zero { pages },
            1 => Run::Stored { pages },
            2 => Run::Same { pages, file: rest.number("a run's file")?, page: rest.number("a run's page")? },
            kind => return Err(format!("a run of kind {kind}")),
        };
        let end = at + u64::from(pages);
        if pages == 0 || end > self::pages(size) {
            return Err(format!("a run of {pages} pages at page {at}"));
        }
        match (runs.last(), run) {
            (Some(Run::Zero { .. }), Run::Zero { .. }) | (Some(Run::Stored { .. }), Run::Stored { .. }) => {
                return Err(format!("two runs that are one, at page {at}"));
            }
            // A short page at the end is nobody else's.
            (_, Run::Stored { .. }) => stored[own].push(at..end.min(size / PAGE as u64)),
            (_, Run::Same { file, page, .. }) => {
                let of = u64::from(page)..u64::from(page) + u64::from(pages);
                let ranges = stored.get(file as usize).ok_or("pages of a file that is not before it")?;
                let next = ranges.partition_point(|range| range.start <= of.start);
                let within = next.checked_sub(1).is_some_and(|index| of.end <= ranges[index].end);
                if !within || end * PAGE as u64 > size {
                    return Err(format!("pages {of:?} of file {file} are not stored"));
                }
            }
            (_, Run::Zero { .. }) => {}
        }
        runs.push(run);
        at = end;
    }
    if at != self::pages(size) {
        return Err(format!("{at} pages, but {size} bytes"));
    }
    Ok(runs)
}

#[cfg(test)]
mod tests;
