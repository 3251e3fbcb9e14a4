//! Pulling.

use std::collections::{BTreeMap, HashMap};

use store::{Arrival, Artifact, Hash, Hold, Incoming, Spool, Store};
use zstd::bulk::Decompressor;

use crate::assemble::Pages;
use crate::error::{Error, Result};
use crate::fetch::{fetch, unpack};
use crate::index::{Entry, Index, Key, Run, key};
use crate::local::{Local, free};
use crate::remote::Remote;
use crate::retry::{Attempt, retrying};
use crate::sealed::Sealed;
use crate::{PAGE, Progress};

/// What is to be pulled: its index is there, and nothing else was fetched.
#[derive(Debug)]
pub struct Pull<'a> {
    remote: &'a Remote,
    sealed: Sealed,
    main: Entry,
}

/// What came of it.
#[derive(Debug)]
pub struct Pulled {
    /// The artifact.
    pub artifact: Artifact,
    /// The artifacts that the store had not, or not whole.
    pub new: Vec<Hash>,
    /// The length of the frames that were fetched.
    pub fetched: u64,
    /// The length of all frames.
    pub whole: u64,
    /// Keeps all of them in the store until a name does.
    pub holds: Vec<Hold>,
}

impl<'a> Pull<'a> {
    /// Fetches the index of the artifact with a hash, or that a name leads to.
    ///
    /// # Errors
    /// If the remote has none, or it is not what was pushed.
    pub fn begin(remote: &'a Remote, named: &str) -> Result<Pull<'a>> {
        let sealed = remote.index(named)?;
        let main =
            sealed.index.main().cloned().ok_or_else(|| Error::damaged(&sealed.url, "nothing is in it"))?;
        Ok(Pull { remote, sealed, main })
    }

    /// The index, and who signed it.
    pub fn sealed(&self) -> &Sealed {
        &self.sealed
    }

    /// The artifact that it is about.
    pub fn main(&self) -> &Entry {
        &self.main
    }

    /// A small file of that artifact, checked against its manifest, without anything being put into a store.
    ///
    /// # Errors
    /// If there is none, it is longer than `limit`, or the remote is damaged.
    pub fn read(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let (url, index) = (&self.sealed.url, &self.sealed.index);
        let files = self.main.manifest.files.iter().zip(&self.main.files);
        let (entry, runs) = files
            .clone()
            .find(|(entry, _)| entry.name == name)
            .ok_or_else(|| store::Error::NoSuchFile { path: url.into(), name: name.into() })?;
        if entry.size > limit {
            return Err(Error::damaged(url, format!("{name} is longer than {limit} bytes")));
        }
        let wanted = wanted_pages(index, [&**runs].into_iter());
        let mut pages: HashMap<u32, Vec<u8>> = HashMap::new();
        let mut tool = Decompressor::new().map_err(|source| store::Error::io(url.as_ref(), source))?;
        for ((frame, numbers), _) in frames_of(index, &wanted).filter(|(_, wanted)| *wanted) {
            let pack = &index.packs[frame.pack as usize];
            let url = self.remote.pack_url(&pack.hash);
            let bytes = retrying(&url, || {
                let mut body = self.remote.open(pack, frame.at.into(), (frame.at + frame.len).into())?;
                let mut bytes = vec![0; frame.len as usize];
                let read = body.skip_to(frame.at.into()).and_then(|()| body.read_exact(&mut bytes));
                read.map_err(Attempt::again)?;
                Ok(bytes)
            })?;
            let unpacked = unpack(&mut tool, &url, frame, &bytes)?;
            for (number, page) in numbers.zip(unpacked.chunks(PAGE)) {
                if wanted[number as usize] {
                    pages.insert(number, page.to_vec());
                }
            }
        }
        let mut bytes = Vec::new();
        for run in runs {
            match *run {
                Run::Zero { pages } => bytes.resize(bytes.len() + pages as usize * PAGE, 0),
                Run::Pages { pages: count, first } => {
                    let of = |number| pages.get(&number).map_or(&[][..], |page| page);
                    (first..first + count).for_each(|number| bytes.extend_from_slice(of(number)));
                }
            }
        }
        bytes.truncate(entry.size as usize);
        let found = Hash::of(&bytes);
        match found == entry.sha256 {
            true => Ok(bytes),
            false => Err(Error::damaged(
                url,
                format!("the SHA-256 of {name} is {found}, but {} was recorded", entry.sha256),
            )),
        }
    }

    /// Puts all artifacts into a store. None is seen there before every byte of all of them has been checked. What the
    /// store has already, in whichever artifact, and what a process that died had fetched, is not fetched again.
    ///
    /// # Errors
    /// If something cannot be fetched, and then what was is kept for the next time; or is not what was pushed, and then
    /// nothing is kept.
    pub fn fetch(&self, store: &Store, progress: Progress) -> Result<Pulled> {
        let index = &self.sealed.index;
        let spool = store.spool(&self.main.hash)?;
        let (mut arrivals, mut holds) = self.arrivals(store)?;
        let fetched = match self.receive(store, &arrivals, &spool, progress) {
            // Only what breaks off is worth going on with, and a full disk is to be as it was.
            Err(error)
                if error.is_damage()
                    || matches!(error, Error::NoRoom { .. } | Error::Store(store::Error::NoSpace { .. })) =>
            {
                arrivals.into_values().try_for_each(Arrival::discard)?;
                spool.discard()?;
                return Err(error);
            }
            result => result?,
        };
        let mut new = Vec::new();
        // What others need comes first: an artifact is never there without its needs.
        for Entry { hash, .. } in &index.artifacts {
            if let Some(arrival) = arrivals.remove(hash) {
                holds.push(arrival.commit()?.1);
                new.push(*hash);
            }
        }
        spool.discard()?;
        let whole = index.frames.iter().map(|frame| u64::from(frame.len)).sum();
        Ok(Pulled { artifact: store.load(&self.main.hash)?, new, fetched, whole, holds })
    }

    /// The artifacts that the store has not, and holds of those that it has. They are taken in the order of their hashes, so
    /// that two processes that pull two artifacts do not wait for each other.
    fn arrivals(&self, store: &Store) -> Result<(BTreeMap<Hash, Arrival>, Vec<Hold>)> {
        let mut artifacts: Vec<&Entry> = self.sealed.index.artifacts.iter().collect();
        artifacts.sort_by_key(|entry| entry.hash);
        let (mut arrivals, mut holds) = (BTreeMap::new(), Vec::new());
        for entry in artifacts {
            match store.incoming(&entry.bytes)? {
                Incoming::Wanted(arrival) => drop(arrivals.insert(entry.hash, arrival)),
                Incoming::There(hold) => holds.push(hold),
            }
        }
        Ok((arrivals, holds))
    }

    /// Fetches what is missing, and writes all files. Returns how many bytes were fetched.
    fn receive(
        &self,
        store: &Store,
        arrivals: &BTreeMap<Hash, Arrival>,
        spool: &Spool,
        progress: Progress,
    ) -> Result<u64> {
        let index = &self.sealed.index;
        let missing: Vec<(&Entry, &Arrival)> =
            index.artifacts.iter().filter_map(|entry| Some((entry, arrivals.get(&entry.hash)?))).collect();
        let mut wanted =
            wanted_pages(index, missing.iter().flat_map(|(entry, _)| &entry.files).map(|runs| &**runs));
        forget_fetched(index, spool, &mut wanted)?;
        let numbered = (0u32..).zip(&wanted).filter(|(_, wanted)| **wanted);
        let by_key: HashMap<Key, u32> =
            numbered.map(|(number, _)| (index.keys[number as usize], number)).collect();
        let local = Local::search(store, by_key)?;
        for (number, wanted) in (0u32..).zip(&mut wanted) {
            *wanted = *wanted && !local.has(number);
        }
        let frames: Vec<bool> = frames_of(index, &wanted).map(|(_, wanted)| wanted).collect();
        let chosen =
            || index.frames.iter().zip(&frames).filter(|(_, wanted)| **wanted).map(|(frame, _)| frame);
        let fetched: u64 = chosen().map(|frame| u64::from(frame.len)).sum();
        let spooled: u64 = chosen().map(|frame| u64::from(frame.pages) * PAGE as u64).sum();
        check_room(store, &missing, spooled)?;

        // Writing is the smaller part of the work.
        let files: u64 =
            missing.iter().flat_map(|(entry, _)| &entry.manifest.files).map(|file| file.size).sum();
        let total = fetched + files / 8;
        let mut came = 0;
        progress(0, total);
        let take = |first: u32, pages: &[u8]| Ok(spool.write(pages, u64::from(first) * PAGE as u64)?);
        fetch(self.remote, index, &frames, &take, &mut |bytes| {
            came += bytes;
            progress(came, total);
        })?;
        let pages = Pages { spool, local: &local };
        let mut before = 0;
        for (entry, arrival) in missing {
            pages.assemble(&self.sealed.url, entry, arrival, &mut |done| {
                progress(came + (before + done) / 8, total)
            })?;
            before += entry.manifest.files.iter().map(|file| file.size).sum::<u64>();
        }
        Ok(fetched)
    }
}

/// Which pages these runs are of, by their numbers.
fn wanted_pages<'a>(index: &Index, runs: impl Iterator<Item = &'a [Run]>) -> Vec<bool> {
    let mut wanted = vec![false; index.keys.len()];
    for run in runs.flatten() {
        if let Run::Pages { pages, first } = *run {
            wanted[first as usize..(first + pages) as usize].fill(true);
        }
    }
    wanted
}

/// The frames with the numbers of their pages, and whether one of them is wanted.
fn frames_of<'a>(
    index: &'a Index,
    wanted: &'a [bool],
) -> impl Iterator<Item = ((&'a crate::Frame, std::ops::Range<u32>), bool)> {
    index.frame_pages().map(|(frame, pages)| {
        let any = wanted[pages.start as usize..pages.end as usize].contains(&true);
        ((frame, pages), any)
    })
}

/// What is left to be found, after what a process that died had fetched: it is hashed, not trusted.
fn forget_fetched(index: &Index, spool: &Spool, wanted: &mut [bool]) -> Result<()> {
    let size = spool.size()?;
    let mut pages = vec![0; 64 * PAGE];
    for (_, numbers) in index.frame_pages() {
        let part = numbers.start as usize..numbers.end as usize;
        let buffer = &mut pages[..part.len() * PAGE];
        if u64::from(numbers.end) * PAGE as u64 > size || !wanted[part.clone()].contains(&true) {
            continue;
        }
        spool.read(buffer, u64::from(numbers.start) * PAGE as u64)?;
        for (number, page) in part.zip(buffer.chunks(PAGE)) {
            // Holes are looked at, and not hashed: no page of a frame is zeros.
            if page.iter().any(|byte| *byte != 0) && key(page) == index.keys[number] {
                wanted[number] = false;
            }
        }
    }
    Ok(())
}

/// Checks that the disk has room for what is missing, and for `spooled` bytes besides.
fn check_room(store: &Store, missing: &[(&Entry, &Arrival)], spooled: u64) -> Result<()> {
    let data = |run: &Run| match run {
        Run::Pages { pages, .. } => u64::from(*pages) * PAGE as u64,
        Run::Zero { .. } => 0,
    };
    let needed = |(entry, _): &(&Entry, &Arrival)| {
        let bytes: u64 = entry.files.iter().flatten().map(data).sum();
        bytes.saturating_sub(store.arrived(&entry.hash))
    };
    let needed = missing.iter().map(needed).sum::<u64>() + spooled;
    let free = free(store.dir())?;
    match needed <= free {
        true => Ok(()),
        false => Err(Error::NoRoom { path: store.dir().into(), needed, free }),
    }
}
