//! Forgetting the private changes of a mapping where the host can't move them aside, as on macOS: the same file, or
//! nothing, is mapped over it anew.

use std::{
    fs::File,
    io,
    sync::{Mutex, PoisonError},
};

use memmap2::MmapRaw;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous};

/// Discards the changes of one mapping, one time after the other.
pub struct Discarder {
    /// What is mapped; None for anonymous memory.
    file: Option<File>,
    /// Two at once would only map twice, but in an order that nobody asked for.
    one_at_a_time: Mutex<()>,
}

impl Discarder {
    /// For a private mapping of the whole of `file`, or an anonymous one.
    ///
    /// # Errors
    /// If the process has no descriptor left to keep the file by.
    pub fn new(file: Option<&File>) -> io::Result<Self> {
        let file = file.map(File::try_clone).transpose()?;
        Ok(Discarder { file, one_at_a_time: Mutex::new(()) })
    }

    /// Makes each page of `map` again what is behind it: its file's, or zero.
    ///
    /// # Errors
    /// If the host refuses. The mapping is then as it was, or, if the host has no memory left, gone.
    pub fn discard(&self, map: &MmapRaw) -> io::Result<()> {
        let _one = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        let (start, len) = (map.as_mut_ptr().cast(), map.len());
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        let flags = MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE;
        // SAFETY: the range is exactly a mapping of our own, which stays mapped: its bytes change under whoever has
        // its address, as the caller asks for.
        unsafe {
            match &self.file {
                Some(file) => mmap(start, len, protection, flags, file, 0)?,
                None => mmap_anonymous(start, len, protection, flags)?,
            };
        }
        Ok(())
    }
}
