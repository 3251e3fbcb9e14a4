//! ext4 images compared file by file.

use std::collections::BTreeMap;
use std::path::Path;

use ext4_view::{Ext4, Ext4Error};

use super::{Found, GONE, NEW, union};
use crate::error::{Error, Result};

/// How long the paths of an image may be in all: many times what those of ours are. Directories of a forged one may lead
/// in a circle.
const MAX_PATHS: usize = 64 << 20;

/// How much of two files is compared at a time.
const BLOCK: usize = 1 << 16;

/// What of a file is seen without reading it.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    kind: String,
    mode: u16,
    owner: (u32, u32),
    size: u64,
}

pub fn compare(one: &Path, other: &Path, found: &mut Found) -> Result<()> {
    let (first, second) = (open(one)?, open(other)?);
    let (entries, others) = (list(&first, one)?, list(&second, other)?);
    for path in union(entries.keys(), others.keys()) {
        let (before, now) = match (entries.get(path), others.get(path)) {
            (Some(before), Some(now)) => (before, now),
            (Some(_), None) => {
                found.add(path, GONE);
                continue;
            }
            _ => {
                found.add(path, NEW);
                continue;
            }
        };
        if before.kind != now.kind {
            found.add(path, format!("{} -> {}", before.kind, now.kind));
        }
        if before.mode != now.mode {
            found.add(path, format!("mode {:o} -> {:o}", before.mode, now.mode));
        }
        if before.owner != now.owner {
            let ((uid, gid), (now_uid, now_gid)) = (before.owner, now.owner);
            found.add(path, format!("owner {uid}:{gid} -> {now_uid}:{now_gid}"));
        }
        if before.kind != FILE || now.kind != FILE {
            continue;
        }
        if before.size != now.size {
            found.add(path, format!("{} -> {} bytes", before.size, now.size));
        } else if !same(&first, &second, path).map_err(|error| malformed(one, path, &error))? {
            found.add(path, "other bytes");
        }
    }
    Ok(())
}

const FILE: &str = "file";

fn open(image: &Path) -> Result<Ext4> {
    Ext4::load_from_path(image).map_err(|error| Error::malformed(image.display(), error))
}

fn malformed(image: &Path, path: &str, error: &Ext4Error) -> Error {
    Error::malformed(image.display(), format!("{path}: {error}"))
}

/// Everything in an image, by its path.
fn list(image: &Ext4, file: &Path) -> Result<BTreeMap<String, Entry>> {
    let (mut entries, mut length) = (BTreeMap::new(), 0);
    let mut pending = vec![String::from("/")];
    while let Some(directory) = pending.pop() {
        let bad = |error: Ext4Error| malformed(file, &directory, &error);
        for entry in image.read_dir(directory.as_str()).map_err(bad)? {
            let entry = entry.map_err(bad)?;
            let name = entry.file_name();
            let name = name.as_str().map_err(|error| Error::malformed(file.display(), error))?;
            if matches!(name, "." | "..") {
                continue;
            }
            let path = format!("{}/{name}", directory.trim_end_matches('/'));
            let meta = image.symlink_metadata(path.as_str()).map_err(bad)?;
            let kind = match meta.file_type() {
                kind if kind.is_dir() => "directory".to_owned(),
                kind if kind.is_regular_file() => FILE.to_owned(),
                kind if kind.is_symlink() => {
                    format!("link to {}", image.read_link(path.as_str()).map_err(bad)?.display())
                }
                kind if kind.is_char_dev() => "character device".to_owned(),
                kind if kind.is_block_dev() => "block device".to_owned(),
                kind if kind.is_fifo() => "fifo".to_owned(),
                _ => "socket".to_owned(),
            };
            length += path.len();
            if length > MAX_PATHS {
                return Err(Error::malformed(file.display(), "too many files"));
            }
            if meta.is_dir() {
                pending.push(path.clone());
            }
            let owner = (meta.uid(), meta.gid());
            entries.insert(path, Entry { kind, mode: meta.mode() & 0o7777, owner, size: meta.len() });
        }
    }
    Ok(entries)
}

/// Whether two files of one size have the same bytes.
fn same(one: &Ext4, other: &Ext4, path: &str) -> Result<bool, Ext4Error> {
    let (mut one, mut other) = (one.open(path)?, other.open(path)?);
    let (mut buffer, mut against) = (vec![0; BLOCK], vec![0; BLOCK]);
    loop {
        let count = fill(&mut one, &mut buffer)?;
        let others = fill(&mut other, &mut against)?;
        if buffer[..count] != against[..others] {
            return Ok(false);
        }
        if count == 0 {
            return Ok(true);
        }
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut ext4_view::File, buffer: &mut [u8]) -> Result<usize, Ext4Error> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_bytes(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
