//! Files compared byte by byte.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use super::Found;
use crate::error::{IoContext, Result};

/// The guest's page.
const PAGE: usize = 4096;

/// How many places are shown.
const SHOWN: usize = 8;

/// Tells how many pages differ, and the first of them.
pub fn pages(one: &Path, other: &Path, found: &mut Found) -> Result<()> {
    let (mut count, mut first) = (0_u64, Vec::new());
    let mut address = 0_u64;
    blocks(one, other, |one, other| {
        for (one, other) in one.chunks(PAGE).zip(other.chunks(PAGE)) {
            if one != other {
                count += 1;
                if first.len() < SHOWN {
                    first.push(format!("{address:#x}"));
                }
            }
            address += PAGE as u64;
        }
        true
    })?;
    if count > 0 {
        let more = if count > first.len() as u64 { ", ..." } else { "" };
        found.add("pages", format!("{count} differ, at {}{more}", first.join(", ")));
    }
    Ok(())
}

/// Tells where files begin to differ.
pub fn first(one: &Path, other: &Path, found: &mut Found) -> Result<()> {
    let mut same = 0_u64;
    blocks(one, other, |one, other| {
        let equal = one.iter().zip(other).take_while(|(one, other)| one == other).count();
        same += equal as u64;
        equal == one.len().max(other.len())
    })?;
    let size = |path: &Path| std::fs::metadata(path).at(path).map(|meta| meta.len());
    let sizes = match (size(one)?, size(other)?) {
        (one, other) if one == other => String::new(),
        (one, other) => format!(", {one} -> {other} bytes"),
    };
    found.add("bytes", format!("differ from byte {same} on{sizes}"));
    Ok(())
}

/// Goes through two files a block at a time, until `look` has seen enough. The shorter one's last block is shorter, or
/// empty.
fn blocks(one: &Path, other: &Path, mut look: impl FnMut(&[u8], &[u8]) -> bool) -> Result<()> {
    const BLOCK: u64 = 1 << 20;
    let mut readers = [
        (one, BufReader::new(File::open(one).at(one)?)),
        (other, BufReader::new(File::open(other).at(other)?)),
    ];
    let mut buffers = [Vec::new(), Vec::new()];
    loop {
        for ((path, reader), buffer) in readers.iter_mut().zip(&mut buffers) {
            buffer.clear();
            reader.take(BLOCK).read_to_end(buffer).at(path)?;
        }
        let [one, other] = &buffers;
        if one.is_empty() && other.is_empty() || !look(one, other) {
            return Ok(());
        }
    }
}
