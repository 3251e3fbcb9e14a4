//! The index: what an artifact and all that it needs are made of, as structures and as bytes.

use std::collections::BTreeSet;
use std::ops::Range;

use bundle::carried::{
    Carried, Cursor, put_artifacts, put_number, put_provenance, take_artifacts, take_provenance,
};
use store::Hash;

use crate::PAGE;

/// The largest index, before it is compressed: room for 16 GiB of pages that are all different.
pub(crate) const MAX_INDEX: usize = 96 << 20;
/// The largest pack.
pub(crate) const MAX_PACK: u32 = 64 << 20;
/// The most packs. A registry's manifest names each, and may be 4 MiB long.
pub(crate) const MAX_PACKS: usize = 8192;
/// The most pages that a frame has.
pub(crate) const FRAME_PAGES: u32 = 64;
/// The longest frame: no frame of so many pages is longer (RFC 8878, 3.1.1.2: 3 bytes for each block of 128 KiB, and a
/// header).
pub(crate) const MAX_FRAME: u32 = FRAME_PAGES * PAGE as u32 + 128;

/// What tells pages apart: half of their SHA-256, of which nobody can make two that are alike.
pub type Key = [u8; 16];

/// The key of a whole page.
pub(crate) fn key(page: &[u8]) -> Key {
    let hash = Hash::of(page);
    hash.as_bytes().first_chunk().copied().unwrap_or_default()
}

/// What an artifact and all that it needs are made of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Index {
    /// The packs that its frames are in, in the order of their first frames.
    pub packs: Vec<Pack>,
    /// Its frames, by pack and place. Their pages are numbered through, from 0.
    pub frames: Vec<Frame>,
    /// The keys of all pages.
    pub keys: Vec<Key>,
    /// The artifacts, each after those that it needs; the last is the one that this is about.
    pub artifacts: Vec<Entry>,
    /// How that one was made, by the word of who pushed it: JSON, or nothing.
    pub provenance: String,
}

/// Frames in one object of the remote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pack {
    /// The SHA-256 of its bytes.
    pub hash: Hash,
    /// Its length.
    pub len: u32,
}

/// Pages that are compressed together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// The number of its pack.
    pub pack: u32,
    /// Where in the pack it begins.
    pub at: u32,
    /// Its length there.
    pub len: u32,
    /// How many pages it has.
    pub pages: u32,
    /// The SHA-256 of its bytes there.
    pub hash: Hash,
}

/// An artifact in an index: what the pages of each of its files are. A short page at the end is filled up with zeros.
pub type Entry = Carried<Vec<Run>>;

/// Pages of a file that follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Run {
    /// Zeros.
    Zero {
        /// How many.
        pages: u32,
    },
    /// Pages of frames.
    Pages {
        /// How many.
        pages: u32,
        /// The number of the first of them.
        first: u32,
    },
}

impl Run {
    /// How many pages it has.
    pub fn pages(self) -> u32 {
        match self {
            Run::Zero { pages } | Run::Pages { pages, .. } => pages,
        }
    }

    /// The run that this one and `next`, which follows it, are together, if they are one.
    pub(crate) fn joined(self, next: Run) -> Option<Run> {
        let pages = self.pages().checked_add(next.pages())?;
        match (self, next) {
            (Run::Zero { .. }, Run::Zero { .. }) => Some(Run::Zero { pages }),
            (Run::Pages { pages: before, first }, Run::Pages { first: second, .. })
                if first.checked_add(before) == Some(second) =>
            {
                Some(Run::Pages { pages, first })
            }
            _ => None,
        }
    }
}

/// How many pages a file of `size` bytes has.
pub(crate) fn pages(size: u64) -> u64 {
    size.div_ceil(PAGE as u64)
}

impl Index {
    /// The artifact that the index is about. There is one, unless this index was made by hand.
    pub fn main(&self) -> Option<&Entry> {
        self.artifacts.last()
    }

    /// The bytes of all files together, holes included.
    pub fn total_bytes(&self) -> u64 {
        self.artifacts.iter().flat_map(|one| &one.manifest.files).map(|entry| entry.size).sum()
    }

    /// The numbers of each frame's pages.
    pub(crate) fn frame_pages(&self) -> impl Iterator<Item = (&Frame, Range<u32>)> {
        let mut at = 0;
        self.frames.iter().map(move |frame| {
            at += frame.pages;
            (frame, at - frame.pages..at)
        })
    }

    /// The index as it is before it is compressed.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_number(&mut bytes, self.packs.len());
        for pack in &self.packs {
            bytes.extend(pack.hash.as_bytes());
            bytes.extend(pack.len.to_le_bytes());
        }
        put_number(&mut bytes, self.frames.len());
        for frame in &self.frames {
            bytes.extend([frame.pack, frame.at, frame.len, frame.pages].map(u32::to_le_bytes).as_flattened());
            bytes.extend(frame.hash.as_bytes());
        }
        bytes.extend(self.keys.as_flattened());
        put_artifacts(&mut bytes, &self.artifacts, |bytes, runs| {
            put_number(bytes, runs.len());
            for run in runs {
                match *run {
                    Run::Zero { pages } => bytes.extend((pages << 1).to_le_bytes()),
                    Run::Pages { pages, first } => {
                        bytes.extend([pages << 1 | 1, first].map(u32::to_le_bytes).as_flattened());
                    }
                }
            }
        });
        put_provenance(&mut bytes, &self.provenance);
        bytes
    }

    /// The index that these bytes are.
    ///
    /// # Errors
    /// Says what is wrong with them. Every number is checked: what is returned can be fetched without further thought.
    pub fn decode(bytes: &[u8]) -> Result<Index, String> {
        if bytes.len() > MAX_INDEX {
            return Err(format!("it is longer than {MAX_INDEX} bytes"));
        }
        let mut rest = Cursor::new(bytes, "it");
        let mut index = Index { packs: packs(&mut rest)?, ..Index::default() };
        index.frames = frames(&mut rest, &index.packs)?;
        let count: u64 = index.frames.iter().map(|frame| u64::from(frame.pages)).sum();
        let size = usize::try_from(count * 16).map_err(|_| "it has too many pages")?;
        index.keys = rest.take(size, "the pages' keys")?.as_chunks().0.to_vec();
        let known = index.keys.len() as u64;
        index.artifacts = take_artifacts(&mut rest, |rest, entry| runs(rest, entry.size, known))?;
        index.provenance = take_provenance(&mut rest)?;
        rest.end()?;
        Ok(index)
    }
}

fn packs(rest: &mut Cursor) -> Result<Vec<Pack>, String> {
    let count = rest.number("the number of packs")? as usize;
    if count > MAX_PACKS {
        return Err(format!("{count} packs, but there are at most {MAX_PACKS}"));
    }
    let mut packs: Vec<Pack> = Vec::new();
    let mut known = BTreeSet::new();
    for _ in 0..count {
        let pack = Pack { hash: rest.hash("a pack's hash")?, len: rest.number("a pack's length")? };
        if !(1..=MAX_PACK).contains(&pack.len) {
            return Err(format!("a pack of {} bytes", pack.len));
        }
        if !known.insert(pack.hash) {
            return Err(format!("it has pack {} twice", pack.hash));
        }
        packs.push(pack);
    }
    Ok(packs)
}

fn frames(rest: &mut Cursor, packs: &[Pack]) -> Result<Vec<Frame>, String> {
    let count = rest.number("the number of frames")?;
    let mut frames: Vec<Frame> = Vec::new();
    for _ in 0..count {
        let mut number = || rest.number("a frame");
        let (pack, at, len, pages) = (number()?, number()?, number()?, number()?);
        let frame = Frame { pack, at, len, pages, hash: rest.hash("a frame's hash")? };
        if !(1..=MAX_FRAME).contains(&len) || !(1..=FRAME_PAGES).contains(&pages) {
            return Err(format!("a frame of {len} bytes and {pages} pages"));
        }
        // By pack and place: none lies in another, and no pack is named that has none.
        let (expected, least) = match frames.last() {
            None => (0, 0),
            Some(last) if pack == last.pack => (pack, last.at + last.len),
            Some(last) => (last.pack + 1, 0),
        };
        let within =
            packs.get(pack as usize).is_some_and(|of| u64::from(at) + u64::from(len) <= of.len.into());
        if pack != expected || at < least || !within {
            return Err(format!("a frame at {at} of pack {pack}, where none can be"));
        }
        frames.push(frame);
    }
    match frames.last().map_or(0, |last| last.pack as usize + 1) {
        used if used == packs.len() => Ok(frames),
        used => Err(format!("{} packs, but frames in {used}", packs.len())),
    }
}

/// Reads the runs of a file of `size` bytes. There are `known` pages in all.
fn runs(rest: &mut Cursor, size: u64, known: u64) -> Result<Vec<Run>, String> {
    let count = rest.number("the number of runs")?;
    let mut runs: Vec<Run> = Vec::new();
    let mut at = 0u64;
    for _ in 0..count {
        let word = rest.number("a run")?;
        let pages = word >> 1;
        let run = match word & 1 {
            0 => Run::Zero { pages },
            _ => Run::Pages { pages, first: rest.number("a run's page")? },
        };
        let end = at + u64::from(pages);
        if pages == 0 || end > self::pages(size) {
            return Err(format!("a run of {pages} pages at page {at}"));
        }
        if let Run::Pages { first, .. } = run
            && u64::from(first) + u64::from(pages) > known
        {
            return Err(format!("page {first} and {pages} in all, but there are {known}"));
        }
        if runs.last().is_some_and(|last| last.joined(run).is_some()) {
            return Err(format!("two runs that are one, at page {at}"));
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
