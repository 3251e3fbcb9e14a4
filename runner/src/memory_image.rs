//! `memory.img`: the guest's RAM as a sparse file that a restore maps as it is.

use std::{fs::File, io, os::unix::fs::FileExt, path::Path};

use machine::{layout::RAM_BASE, memory::GuestMemory};

/// What is stored or left out as a whole. Pages of 4 KiB are the smallest that
/// a guest or host uses, so the file is the same whoever writes it.
const PAGE: usize = 4096;

/// Guest memory is read in stretches of this many bytes, a multiple of a page.
const STRETCH: usize = 256 * PAGE;

/// Writes the guest's RAM to a new file at `path`: as long as RAM, with a hole
/// for every page that is zero. Returns the bytes that are stored.
///
/// # Errors
/// If the file exists or the host refuses.
pub fn write(memory: &GuestMemory, path: &Path) -> io::Result<u64> {
    let file = File::create_new(path)?;
    file.set_len(memory.ram_size())?;
    let mut buffer = vec![0; STRETCH];
    let (mut offset, mut stored) = (0, 0);
    while offset < memory.ram_size() {
        let len = STRETCH.min(usize::try_from(memory.ram_size() - offset).unwrap_or(STRETCH));
        let stretch = &mut buffer[..len];
        memory.read(RAM_BASE + offset, stretch).map_err(io::Error::other)?;
        for (start, end) in runs(stretch) {
            file.write_all_at(&stretch[start..end], offset + start as u64)?;
            stored += (end - start) as u64;
        }
        offset += len as u64;
    }
    file.sync_all()?;
    Ok(stored)
}

/// Start and end of each run of pages that are not all zero.
fn runs(bytes: &[u8]) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for (index, page) in bytes.chunks(PAGE).enumerate() {
        if page.iter().all(|byte| *byte == 0) {
            continue;
        }
        let start = index * PAGE;
        let end = start + page.len();
        match runs.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ => runs.push((start, end)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_mapping_of_the_file_is_the_memory_that_was_written() {
        let size = 8 << 20;
        let memory = GuestMemory::anonymous(size).unwrap();
        memory.write(RAM_BASE + 5, b"head").unwrap();
        memory.write(RAM_BASE + 3 * STRETCH as u64 - 2, b"across").unwrap();
        memory.write(RAM_BASE + size - 4, b"tail").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.img");
        let stored = write(&memory, &path).unwrap();
        assert_eq!(stored, 4 * PAGE as u64);
        let file = File::open(&path).unwrap();
        let metadata = file.metadata().unwrap();
        assert_eq!(metadata.len(), size);
        assert!(metadata.blocks() * 512 < size / 4, "the file has holes");

        let copy = GuestMemory::private_file(&file, size).unwrap();
        let (mut a, mut b) = (vec![0; size as usize], vec![1; size as usize]);
        memory.read(RAM_BASE, &mut a).unwrap();
        copy.read(RAM_BASE, &mut b).unwrap();
        assert!(a == b);
        copy.write(RAM_BASE, b"changed").unwrap();
        copy.discard_changes().unwrap();
        copy.read(RAM_BASE, &mut b).unwrap();
        assert!(a == b, "a reset goes back to the file");
    }

    #[test]
    fn a_file_that_is_there_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.img");
        std::fs::write(&path, "precious").unwrap();
        assert!(write(&GuestMemory::anonymous(1 << 20).unwrap(), &path).is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"precious");
    }

    proptest! {
        #[test]
        fn runs_cover_what_is_not_zero_and_nothing_twice(pages in proptest::collection::vec(0u8..2, 1..20)) {
            let bytes: Vec<u8> = pages.iter().flat_map(|page| [vec![0; PAGE - 1], vec![*page]].concat()).collect();
            let runs = runs(&bytes);
            for (index, page) in pages.iter().enumerate() {
                let covered = runs.iter().filter(|(s, e)| (*s..*e).contains(&(index * PAGE))).count();
                prop_assert_eq!(covered, usize::from(*page));
            }
            prop_assert!(runs.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
    }
}
