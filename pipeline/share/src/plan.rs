//! What a push writes: pages that are neither zeros nor in frames that the remote has already.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;

use bundle::carried::{MAX_ARTIFACTS, MAX_FILE, MAX_TOTAL};
use store::{Artifact, FileEntry, Hash, Hasher};

use crate::PAGE;
use crate::error::{Error, IoContext, Result};
use crate::index::{Entry, FRAME_PAGES, Frame, Index, Key, Pack, Run, key};

/// What stands for a page of zeros.
const ZERO: u32 = u32::MAX;
/// How much is read at once: a multiple of a page.
const READ: usize = 1 << 20;
/// An old frame is used again if no less than this part of its pages is still needed. Less is sent the smaller it is, and more
/// is fetched by whoever has nothing yet: with a half, 48.7 MiB of Firefox's next version were new, and 44.4 MiB are when no
/// page is sent twice.
const USED: u32 = 4;

/// What artifacts are made of, before it is known where it lies on the remote.
pub(crate) struct Plan {
    /// The index, but for the new frames.
    pub(crate) index: Index,
    /// Where in the artifacts the new pages are, by frame: file, by order in the index, and page.
    pub(crate) new: Vec<Vec<(u32, u32)>>,
}

/// Content of the artifacts, each page once.
#[derive(Default)]
struct Contents {
    keys: Vec<Key>,
    /// Where it was found first: file and page.
    found: Vec<(u32, u32)>,
    known: HashMap<Key, u32>,
}

impl Plan {
    /// Reads all artifacts, whose every byte is checked. `old` is what the remote has. `read` is told how many bytes were
    /// read.
    pub(crate) fn new(
        artifacts: &[Artifact],
        provenance: &str,
        old: Option<&Index>,
        read: &mut dyn FnMut(u64),
    ) -> Result<Plan> {
        let sizes = artifacts.iter().flat_map(|one| &one.manifest().files).map(|entry| entry.size);
        let total = sizes.clone().fold(0, u64::saturating_add);
        if artifacts.len() > MAX_ARTIFACTS || total > MAX_TOTAL || sizes.clone().any(|size| size > MAX_FILE) {
            let path = artifacts.last().map_or_else(Default::default, |one| one.dir().into());
            return Err(Error::TooLarge { path, reason: "too large to be pushed".into() });
        }
        let mut contents = Contents::default();
        let (mut entries, mut files, mut before) = (Vec::new(), Vec::new(), 0);
        for artifact in artifacts {
            let path = artifact.dir().join(store::MANIFEST);
            let bytes = fs::read(&path).at(&path)?;
            let found = Hash::of(&bytes);
            if found != *artifact.hash() {
                return Err(store::Error::WrongHash { path, wanted: *artifact.hash(), found }.into());
            }
            for entry in &artifact.manifest().files {
                let number = files.len() as u32;
                files.push(contents.file(artifact, entry, number, &mut |bytes| read(before + bytes))?);
                before += entry.size;
            }
            let (hash, manifest) = (*artifact.hash(), artifact.manifest().clone());
            entries.push(Entry { hash, manifest, bytes, files: Vec::new() });
        }
        let mut index = Index { artifacts: entries, provenance: provenance.into(), ..Index::default() };
        // The page's number in the index, for each content.
        let mut numbers = vec![ZERO; contents.keys.len()];
        if let Some(old) = old {
            reuse(old, &contents, &mut index, &mut numbers);
        }
        let mut new: Vec<Vec<(u32, u32)>> = Vec::new();
        for (content, number) in numbers.iter_mut().enumerate().filter(|(_, number)| **number == ZERO) {
            *number = index.keys.len() as u32;
            index.keys.push(contents.keys[content]);
            match new.last_mut() {
                Some(last) if last.len() < FRAME_PAGES as usize => last.push(contents.found[content]),
                _ => new.push(vec![contents.found[content]]),
            }
        }
        let mut files = files.into_iter();
        for entry in &mut index.artifacts {
            entry.files =
                files.by_ref().take(entry.manifest.files.len()).map(|file| runs(&file, &numbers)).collect();
        }
        Ok(Plan { index, new })
    }
}

impl Contents {
    /// The contents of a file's pages, each by its number.
    fn file(
        &mut self,
        artifact: &Artifact,
        entry: &FileEntry,
        number: u32,
        read: &mut dyn FnMut(u64),
    ) -> Result<Vec<u32>> {
        let path = artifact.dir().join(&entry.name);
        let mut file = File::open(&path).at(&path)?;
        let (mut hasher, mut size, mut contents) = (Hasher::new(), 0, Vec::new());
        let mut buffer = Vec::with_capacity(READ);
        loop {
            buffer.clear();
            let count = file.by_ref().take(READ as u64).read_to_end(&mut buffer).at(&path)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer);
            size += count as u64;
            buffer.resize(count.next_multiple_of(PAGE), 0);
            for page in buffer.chunks(PAGE) {
                // Files beyond what can be pushed were refused before.
                let at = contents.len() as u32;
                contents.push(self.page(page, (number, at)));
            }
            read(size);
        }
        if size != entry.size {
            return Err(store::Error::WrongSize { path, wanted: entry.size, found: size }.into());
        }
        let found = hasher.finish();
        if found != entry.sha256 {
            return Err(store::Error::WrongHash { path, wanted: entry.sha256, found }.into());
        }
        Ok(contents)
    }

    fn page(&mut self, page: &[u8], place: (u32, u32)) -> u32 {
        if page.iter().all(|byte| *byte == 0) {
            return ZERO;
        }
        let key = key(page);
        *self.known.entry(key).or_insert_with(|| {
            self.keys.push(key);
            self.found.push(place);
            self.keys.len() as u32 - 1
        })
    }
}

/// Takes over the frames of `old` of which enough is needed, and says which page of them each content is.
fn reuse(old: &Index, contents: &Contents, index: &mut Index, numbers: &mut [u32]) {
    let mut packs: HashMap<u32, u32> = HashMap::new();
    for (frame, pages) in old.frame_pages() {
        let keys = &old.keys[pages.start as usize..pages.end as usize];
        let needed =
            |key: &Key| contents.known.get(key).copied().filter(|content| numbers[*content as usize] == ZERO);
        if (keys.iter().flat_map(needed).count() as u32) < frame.pages.div_ceil(USED) {
            continue;
        }
        let contents: Vec<Option<u32>> = keys.iter().map(needed).collect();
        for (content, number) in contents.into_iter().zip(index.keys.len() as u32..) {
            if let Some(content) = content {
                numbers[content as usize] = number;
            }
        }
        index.keys.extend(keys);
        let pack = *packs.entry(frame.pack).or_insert_with(|| {
            let pack: Pack = old.packs[frame.pack as usize];
            index.packs.push(pack);
            index.packs.len() as u32 - 1
        });
        index.frames.push(Frame { pack, ..*frame });
    }
}

/// The runs of a file whose pages have these contents.
fn runs(contents: &[u32], numbers: &[u32]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for content in contents {
        let run = match *content {
            ZERO => Run::Zero { pages: 1 },
            content => Run::Pages { pages: 1, first: numbers[content as usize] },
        };
        match runs.last().and_then(|last| last.joined(run)) {
            Some(joined) => {
                runs.pop();
                runs.push(joined);
            }
            None => runs.push(run),
        }
    }
    runs
}
