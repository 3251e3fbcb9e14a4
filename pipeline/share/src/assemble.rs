//! Putting the files of an artifact together.

use std::io::Write;

use store::{Arrival, Spool, StagedFile};

use crate::PAGE;
use crate::error::{Error, IoContext, Result};
use crate::index::{Entry, Run};
use crate::local::Local;

/// What is written at once, and the unit in which it goes on after a break.
const UNIT: usize = 1 << 20;

/// Where pages are.
pub(crate) struct Pages<'a> {
    /// Those that were fetched, each at the place of its number.
    pub(crate) spool: &'a Spool,
    /// Those that the store has in other artifacts.
    pub(crate) local: &'a Local,
}

impl Pages<'_> {
    /// Writes all files of an artifact. `done` is told how many bytes of them are there.
    pub(crate) fn assemble(
        &self,
        url: &str,
        entry: &Entry,
        arrival: &Arrival,
        done: &mut dyn FnMut(u64),
    ) -> Result<()> {
        let mut before = 0;
        for (file, runs) in entry.manifest.files.iter().zip(&entry.files) {
            loop {
                let mut staged = arrival.file(&file.name, UNIT as u64)?;
                let resumed = staged.size() > 0;
                self.write(&mut staged, file.size, runs, &mut |bytes| done(before + bytes))?;
                match arrival.finish(&file.name, staged) {
                    // What was there from before may be at fault.
                    Err(error) if error.is_damage() && resumed => arrival.restart(&file.name)?,
                    Err(store::Error::WrongHash { wanted, found, .. }) => {
                        let reason =
                            format!("the SHA-256 of {} is {found}, but {wanted} was recorded", file.name);
                        return Err(Error::damaged(url, reason));
                    }
                    result => break result?,
                }
            }
            before += file.size;
        }
        Ok(())
    }

    /// Writes what a file lacks.
    fn write(&self, file: &mut StagedFile, size: u64, runs: &[Run], done: &mut dyn FnMut(u64)) -> Result<()> {
        let path = file.path().to_owned();
        let mut buffer = vec![0; UNIT];
        let mut filled = 0;
        let mut skipped = file.size() / PAGE as u64;
        for run in runs {
            let skip = skipped.min(run.pages().into()) as u32;
            skipped -= u64::from(skip);
            let mut page = skip;
            while page < run.pages() {
                let count = (run.pages() - page).min(((UNIT - filled) / PAGE) as u32);
                let part = &mut buffer[filled..filled + count as usize * PAGE];
                match run {
                    Run::Zero { .. } => part.fill(0),
                    Run::Pages { first, .. } => self.read(first + page, part)?,
                }
                (page, filled) = (page + count, filled + part.len());
                // The last page may be a short one.
                let missing = (size - file.size()).min(filled as u64) as usize;
                if filled == UNIT || missing as u64 == size - file.size() {
                    file.write_all(&buffer[..missing]).at(&path)?;
                    done(file.size());
                    filled = 0;
                }
            }
        }
        Ok(())
    }

    /// Reads pages by their numbers.
    fn read(&self, first: u32, buffer: &mut [u8]) -> Result<()> {
        let mut page = first;
        let mut rest = buffer;
        while !rest.is_empty() {
            let fetched = (page..).take(rest.len() / PAGE).take_while(|page| !self.local.has(*page)).count();
            let (here, after) = rest.split_at_mut(fetched.max(1) * PAGE);
            match fetched {
                0 => self.local.read(page, here)?,
                _ => self.spool.read(here, u64::from(page) * PAGE as u64)?,
            }
            page += fetched.max(1) as u32;
            rest = after;
        }
        Ok(())
    }
}
