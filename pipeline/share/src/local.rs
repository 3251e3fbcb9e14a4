//! What a store has already of what is to be fetched.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::SeekFrom;
use rustix::io::Errno;
use store::{Hold, Store};

use crate::PAGE;
use crate::error::{IoContext, Result};
use crate::index::{Key, key};

/// How much of the store is looked through: reading must not take longer than fetching would.
const MOST: u64 = 8 << 30;
/// How much is read at once: a multiple of a page.
const READ: usize = 1 << 20;

/// Pages of a store's artifacts.
#[derive(Default)]
pub(crate) struct Local {
    files: Vec<(PathBuf, File)>,
    /// Where pages are, by their numbers in the index: file and page.
    found: HashMap<u32, (u32, u32)>,
    /// Keep the artifacts of these files in the store.
    holds: Vec<Hold>,
}

impl Local {
    /// Looks for pages in all artifacts, the latest first. `wanted` are the pages' numbers in the index, by their keys.
    pub(crate) fn search(store: &Store, mut wanted: HashMap<Key, u32>) -> Result<Local> {
        let mut local = Local::default();
        let mut listed = store.list()?;
        listed.sort_by_key(|listed| std::cmp::Reverse(listed.made));
        let mut read = 0;
        for listed in listed {
            // A damaged artifact has nothing to give, and one that is being removed neither.
            let Ok(artifact) = listed.artifact else { continue };
            let Ok(hold) = artifact.hold() else { continue };
            read += listed.disk;
            if wanted.is_empty() || read > MOST {
                break;
            }
            for entry in &artifact.manifest().files {
                local.search_file(artifact.dir().join(&entry.name), &mut wanted)?;
            }
            local.holds.push(hold);
        }
        Ok(local)
    }

    fn search_file(&mut self, path: PathBuf, wanted: &mut HashMap<Key, u32>) -> Result<()> {
        let file = File::open(&path).at(&path)?;
        let number = self.files.len() as u32;
        let mut buffer = vec![0; READ];
        let mut at = 0;
        while let Some((start, end)) = data(&file, at).at(&path)? {
            // Whole pages, whatever the holes begin and end with.
            let mut from = start - start % PAGE as u64;
            while from < end {
                let len = (end - from).min(READ as u64).next_multiple_of(PAGE as u64) as usize;
                let filled = fill(&file, &mut buffer[..len], from).at(&path)?;
                buffer[filled..len].fill(0);
                for (page, bytes) in (from / PAGE as u64..).zip(buffer[..len].chunks(PAGE)) {
                    if let Some(content) = wanted.remove(&key(bytes)) {
                        // No file has more than 2^32 pages that an index can name.
                        self.found.insert(content, (number, page as u32));
                    }
                }
                from += len as u64;
            }
            at = from.max(end);
        }
        self.files.push((path, file));
        Ok(())
    }

    /// Whether the page with this number was found.
    pub(crate) fn has(&self, page: u32) -> bool {
        self.found.contains_key(&page)
    }

    /// Reads a page that was found.
    pub(crate) fn read(&self, page: u32, buffer: &mut [u8]) -> Result<()> {
        let Some((file, at)) = self.found.get(&page) else { return Ok(()) };
        let (path, file) = &self.files[*file as usize];
        let filled = fill(file, buffer, u64::from(*at) * PAGE as u64).at(path)?;
        buffer[filled..].fill(0);
        Ok(())
    }
}

/// The next bytes of a file from `at` on that are no hole.
fn data(file: &File, at: u64) -> io::Result<Option<(u64, u64)>> {
    let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
        Ok(start) => start,
        Err(Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some((start, rustix::fs::seek(file, SeekFrom::Hole(start))?)))
}

/// Reads as much as there is.
fn fill(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], at + filled as u64)? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// Bytes that are free where `path` is.
pub(crate) fn free(path: &Path) -> Result<u64> {
    let found = rustix::fs::statvfs(path).map_err(Into::into).at(path)?;
    Ok(found.f_bavail.saturating_mul(found.f_frsize))
}
