//! What of a file is stored: neither zeros nor pages that the bundle has already.
//!
//! A third of a browser's memory is the page cache: pages of the very root file system that is in the bundle, too.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use store::{FileEntry, Hash, Hasher};

use crate::error::{IoContext, Result};
use crate::head::Run;
use crate::{CHUNK, PAGE};

/// What tells pages apart: half of their SHA-256, of which nobody can make two that are alike.
type Key = [u8; 16];

/// Plans one file after the other, in the order of the bundle.
#[derive(Default)]
pub(crate) struct Planner {
    /// Where each page is stored: file and page.
    stored: HashMap<Key, (u32, u32)>,
    files: u32,
}

impl Planner {
    /// The runs of the next file, which must be what its manifest says. `read` is told how many bytes were read.
    pub(crate) fn file(
        &mut self,
        path: &Path,
        entry: &FileEntry,
        mut read: impl FnMut(u64),
    ) -> Result<Vec<Run>> {
        let mut file = File::open(path).at(path)?;
        let (mut hasher, mut size) = (Hasher::new(), 0);
        let mut runs = Vec::new();
        let mut buffer = Vec::with_capacity(CHUNK);
        loop {
            buffer.clear();
            let count = file.by_ref().take(CHUNK as u64).read_to_end(&mut buffer).at(path)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer);
            for page in buffer.chunks(PAGE) {
                // Files beyond what a bundle takes were refused before.
                let number = (size / PAGE as u64) as u32;
                push(&mut runs, self.page(page, number));
                size += page.len() as u64;
            }
            read(size);
        }
        self.files += 1;
        if size != entry.size {
            return Err(store::Error::WrongSize { path: path.into(), wanted: entry.size, found: size }.into());
        }
        let found = hasher.finish();
        if found != entry.sha256 {
            return Err(store::Error::WrongHash { path: path.into(), wanted: entry.sha256, found }.into());
        }
        Ok(runs)
    }

    fn page(&mut self, page: &[u8], number: u32) -> Run {
        if page.iter().all(|byte| *byte == 0) {
            return Run::Zero { pages: 1 };
        }
        if page.len() == PAGE {
            let hash = Hash::of(page);
            let (key, _) = hash.as_bytes().split_first_chunk().unwrap_or((&[0; 16], &[]));
            if let Some((file, page)) = self.stored.get(key) {
                return Run::Same { pages: 1, file: *file, page: *page };
            }
            self.stored.insert(*key, (self.files, number));
        }
        Run::Stored { pages: 1 }
    }
}

/// Adds a page to the runs.
fn push(runs: &mut Vec<Run>, page: Run) {
    match (runs.last_mut(), page) {
        (Some(Run::Zero { pages }), Run::Zero { .. }) | (Some(Run::Stored { pages }), Run::Stored { .. }) => {
            *pages += 1;
        }
        (Some(Run::Same { pages, file, page }), Run::Same { file: next_file, page: next_page, .. })
            if *file == next_file && *page + *pages == next_page =>
        {
            *pages += 1;
        }
        _ => runs.push(page),
    }
}
