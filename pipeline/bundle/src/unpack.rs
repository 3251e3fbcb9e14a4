//! Unpacking into a store.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use store::{Arrival, Artifact, FileEntry, Hash, Hold, Incoming, StagedFile, Store};
use zstd::bulk::Decompressor;

use crate::error::{Error, IoContext, Result};
use crate::head::{Packed, Run, placed};
use crate::ordered::{in_order, threads};
use crate::reader::{Bundle, Framed, FramedFile, decompressor};
use crate::{CHUNK, PAGE, Progress};

/// What came of a bundle.
#[derive(Debug)]
pub struct Unpacked {
    /// The artifact that it is about.
    pub artifact: Artifact,
    /// The artifacts that the store had not, or not whole.
    pub new: Vec<Hash>,
    /// Keeps all of them in the store until a name does.
    pub holds: Vec<Hold>,
}

impl Bundle {
    /// Puts all artifacts into a store. None is seen there before every byte of all of them has been checked. What a
    /// process that died had unpacked is not unpacked again.
    pub fn unpack(&self, store: &Store, progress: Progress) -> Result<Unpacked> {
        self.check_room(store)?;
        let (mut arrivals, mut holds) = self.arrivals(store)?;
        match self.receive_all(store, &arrivals, progress) {
            // Only what breaks off is worth going on with.
            Err(error)
                if error.is_damage() || matches!(error, Error::Store(store::Error::NoSpace { .. })) =>
            {
                arrivals.into_values().try_for_each(Arrival::discard)?;
                return Err(error);
            }
            result => result?,
        }
        let mut new = Vec::new();
        // What others need comes first: an artifact is never there without its needs.
        for Packed { hash, .. } in &self.head().artifacts {
            if let Some(arrival) = arrivals.remove(hash) {
                holds.push(arrival.commit()?.1);
                new.push(*hash);
            }
        }
        Ok(Unpacked { artifact: store.load(&self.main().hash)?, new, holds })
    }

    /// The artifacts that the store has not, and holds of those that it has. They are taken in the order of their hashes, so
    /// that two processes that unpack two bundles do not wait for each other.
    fn arrivals(&self, store: &Store) -> Result<(BTreeMap<Hash, Arrival>, Vec<Hold>)> {
        let mut artifacts: Vec<&Packed> = self.head().artifacts.iter().collect();
        artifacts.sort_by_key(|packed| packed.hash);
        let (mut arrivals, mut holds) = (BTreeMap::new(), Vec::new());
        for packed in artifacts {
            match store.incoming(&packed.bytes)? {
                Incoming::Wanted(arrival) => drop(arrivals.insert(packed.hash, arrival)),
                Incoming::There(hold) => holds.push(hold),
            }
        }
        Ok((arrivals, holds))
    }

    /// Unpacks all that the store has not, in the order of the bundle.
    fn receive_all(
        &self,
        store: &Store,
        arrivals: &BTreeMap<Hash, Arrival>,
        progress: Progress,
    ) -> Result<()> {
        let total = self.head().total_bytes();
        let (mut before, mut paths) = (0, Vec::new());
        for packed in &self.head().artifacts {
            let (first, entries) = (paths.len(), &packed.manifest.files);
            if let Some(arrival) = arrivals.get(&packed.hash) {
                paths.extend(entries.iter().map(|entry| arrival.path(&entry.name)));
                self.receive(arrival, first, &paths, &mut |bytes| progress(before + bytes, total))?;
            } else {
                let dir = store.path_of(&packed.hash);
                paths.extend(entries.iter().map(|entry| dir.join(&entry.name)));
            }
            before += entries.iter().map(|entry| entry.size).sum::<u64>();
            progress(before, total);
        }
        Ok(())
    }

    /// Refuses what the store's disk has no room for, before anything is written.
    fn check_room(&self, store: &Store) -> Result<()> {
        let missing = |hash: &Hash| !store.path_of(hash).exists();
        let needed: u64 = self
            .head()
            .artifacts
            .iter()
            .filter(|artifact| missing(&artifact.hash))
            .map(|artifact| artifact.disk_bytes().saturating_sub(store.arrived(&artifact.hash)))
            .sum();
        let free = rustix::fs::statvfs(store.dir()).map_err(Into::into).at(store.dir())?;
        let free = free.f_bavail.saturating_mul(free.f_frsize);
        match needed <= free {
            true => Ok(()),
            false => Err(Error::NoRoom { path: store.dir().into(), needed, free }),
        }
    }

    /// Unpacks the files of an artifact, the first of which is number `first` of the bundle's.
    fn receive(
        &self,
        arrival: &Arrival,
        first: usize,
        paths: &[PathBuf],
        done: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let mut before = 0;
        for (number, entry) in (first..).zip(&arrival.manifest().files) {
            loop {
                let mut file = arrival.file(&entry.name, CHUNK as u64)?;
                let resumed = file.size() > 0;
                self.receive_file(number, &mut file, paths, &mut |bytes| done(before + bytes))?;
                match arrival.finish(&entry.name, file) {
                    // What was there from before may be at fault.
                    Err(error) if error.is_damage() && resumed => arrival.restart(&entry.name)?,
                    result => break result.map_err(|error| self.not_as_recorded(entry, error))?,
                }
            }
            before += entry.size;
        }
        Ok(())
    }

    /// The bundle is to blame for a file that is not what its manifest says.
    fn not_as_recorded(&self, entry: &FileEntry, error: store::Error) -> Error {
        match error {
            store::Error::WrongHash { wanted, found, .. } => self.damaged(format!(
                "the SHA-256 of {} in it is {found}, but {wanted} was recorded",
                entry.name
            )),
            error => error.into(),
        }
    }

    /// Writes what a file lacks.
    fn receive_file(
        &self,
        number: usize,
        file: &mut StagedFile,
        paths: &[PathBuf],
        done: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let framed = &self.files()[number];
        let mut next = file.size() / CHUNK as u64;
        let missing = framed.frames.partition_point(|framed| framed.chunk.number < next);
        let (same, open, buffer) = (same(&framed.runs), HashMap::new(), Vec::new());
        let mut chunks = Chunks { framed, number, same, paths, open, buffer };
        let path = file.path().to_owned();
        let mut write = |chunks: &mut Chunks, number: u64, stored: Option<(&Framed, &[u8])>| {
            file.write_all(chunks.assemble(number, stored)?).at(&path)?;
            done(file.size());
            Ok::<_, Error>(())
        };
        let tool = || decompressor().ok();
        let work = |tool: &mut Option<Decompressor>, framed: &Framed| match tool {
            Some(tool) => self.stored(tool, framed),
            None => Err(Error::io(self.path(), std::io::ErrorKind::OutOfMemory.into())),
        };
        in_order(&framed.frames[missing..], threads(), tool, work, |framed, stored| {
            while next < framed.chunk.number {
                write(&mut chunks, next, None)?;
                next += 1;
            }
            next += 1;
            write(&mut chunks, framed.chunk.number, Some((framed, &stored)))
        })?;
        while next < framed.size.div_ceil(CHUNK as u64) {
            write(&mut chunks, next, None)?;
            next += 1;
        }
        Ok(())
    }
}

/// Pages that are the same as others.
struct Same {
    pages: Range<u64>,
    file: u32,
    page: u64,
}

fn same(runs: &[Run]) -> Vec<Same> {
    let of = |(run, pages)| match run {
        Run::Same { file, page, .. } => Some(Same { pages, file, page: page.into() }),
        _ => None,
    };
    placed(runs).filter_map(of).collect()
}

/// Puts a file's chunks together.
struct Chunks<'a> {
    framed: &'a FramedFile,
    /// The file's number in the bundle.
    number: usize,
    same: Vec<Same>,
    /// Where the bundle's files are so far, this one included.
    paths: &'a [PathBuf],
    open: HashMap<u32, File>,
    buffer: Vec<u8>,
}

impl Chunks<'_> {
    /// The bytes of a chunk, made of what is stored of it, zeros, and pages of the files that are there.
    fn assemble(&mut self, number: u64, stored: Option<(&Framed, &[u8])>) -> Result<&[u8]> {
        let start = number * CHUNK as u64;
        let len = (self.framed.size - start).min(CHUNK as u64) as usize;
        self.buffer.clear();
        self.buffer.resize(len, 0);
        if let Some((framed, mut stored)) = stored {
            for part in &framed.chunk.parts {
                let (here, rest) = stored.split_at((part.end - part.start) as usize);
                let at = (part.start - start) as usize;
                self.buffer[at..at + here.len()].copy_from_slice(here);
                stored = rest;
            }
        }
        let pages = start / PAGE as u64..(start + len as u64) / PAGE as u64;
        let first = self.same.partition_point(|same| same.pages.end <= pages.start);
        for same in self.same[first..].iter().take_while(|same| same.pages.start < pages.end) {
            let (from, to) = (same.pages.start.max(pages.start), same.pages.end.min(pages.end));
            let part = (from - pages.start) as usize * PAGE..(to - pages.start) as usize * PAGE;
            let path = &self.paths[same.file as usize];
            let file = match self.open.entry(same.file) {
                Entry::Occupied(open) => open.into_mut(),
                Entry::Vacant(closed) => closed.insert(File::open(path).at(path)?),
            };
            let at = (same.page + from - same.pages.start) * PAGE as u64;
            // Of this very file, what belongs to this chunk is not written yet; it is stored, and so in the buffer.
            let own = same.file as usize == self.number;
            let written =
                if own { start.saturating_sub(at).min(part.len() as u64) as usize } else { part.len() };
            let (to, rest) = (part.start + written, part.len() - written);
            file.read_exact_at(&mut self.buffer[part.start..to], at).at(path)?;
            if rest > 0 {
                let source = (at + written as u64 - start) as usize;
                self.buffer.copy_within(source..source + rest, to);
            }
        }
        Ok(&self.buffer)
    }
}
