//! Forgetting the private changes of a mapping.
//!
//! Freeing the pages that a busy guest has changed takes the host tens of milliseconds, so on Linux a reset does not
//! wait for it: the mapping's pages are moved aside as they are, whole page tables at a time, which leaves the mapping
//! in its place with nothing in it, and a thread frees them there.

use std::{
    ffi::c_void,
    io,
    ptr::null_mut,
    sync::{Mutex, PoisonError},
    thread::{self, JoinHandle},
};

use memmap2::{MmapRaw, UncheckedAdvice};
use rustix::mm::{MapFlags, MremapFlags, ProtFlags, mmap_anonymous, mremap_fixed, munmap};

/// What one page table of the lowest level maps, on hosts with pages of 4 KiB. Between two addresses that lie alike
/// within it, the kernel moves whole tables.
const TABLE: usize = 2 << 20;

/// Bytes that are freed at a time: in between, others may change the process's mappings.
const FREED_AT_ONCE: usize = 16 << 20;

/// Discards the changes of one mapping, one time after the other.
#[derive(Default)]
pub struct Discarder {
    /// Frees what the last discard has left.
    freeing: Mutex<Option<JoinHandle<()>>>,
}

impl Discarder {
    /// Makes each page of the private mapping `map` again what is behind it: its file's, or zero. At most one discard's
    /// waste is not freed yet when this returns.
    ///
    /// # Errors
    /// If the host refuses.
    pub fn discard(&self, map: &MmapRaw) -> io::Result<()> {
        let mut freeing = self.freeing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = freeing.take() {
            // It frees what a panic of it would have left: nothing else to know.
            let _ = before.join();
        }
        match Aside::take_from(map) {
            Ok(aside) => {
                // Without a thread for it, it is freed here, by being dropped.
                *freeing = thread::Builder::new().name("discard".into()).spawn(move || drop(aside)).ok();
                Ok(())
            }
            // Before Linux 5.13, or for want of room.
            Err(_) => forget(map),
        }
    }
}

/// Drops the private pages of `map` here and now.
fn forget(map: &MmapRaw) -> io::Result<()> {
    // SAFETY: the range is exactly a private mapping of our own. The kernel drops its private pages; every later read
    // sees what is behind them (madvise(2), MADV_DONTNEED), which is what the caller asks for.
    unsafe { map.unchecked_advise(UncheckedAdvice::DontNeed) }
}

/// Address space that nothing refers to. Dropping it gives it back.
struct Aside {
    start: usize,
    len: usize,
}

impl Aside {
    /// Address space of `len` bytes that holds nothing.
    fn reserve(len: usize) -> io::Result<Self> {
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that is there.
        let start = unsafe { mmap_anonymous(null_mut(), len, ProtFlags::empty(), flags) }?;
        Ok(Aside { start: start.addr(), len })
    }

    /// Moves what `map` holds aside.
    fn take_from(map: &MmapRaw) -> io::Result<Self> {
        let (from, len) = (map.as_mut_ptr(), map.len());
        let aside = Aside::reserve(len + TABLE)?;
        let to = aside.start + from.addr().wrapping_sub(aside.start) % TABLE;
        let flags = MremapFlags::MAYMOVE | MremapFlags::DONTUNMAP;
        // SAFETY: the source is a mapping of our own, which stays mapped (mremap(2), MREMAP_DONTUNMAP): its bytes
        // change under whoever has its address, as the caller asks for. The destination lies within the reservation,
        // which nothing refers to: `to` is less than TABLE above its start, and it is TABLE longer than `len`.
        unsafe { mremap_fixed(from.cast(), len, len, flags, to as *mut c_void) }?;
        Ok(aside)
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        for offset in (0..self.len).step_by(FREED_AT_ONCE) {
            let len = FREED_AT_ONCE.min(self.len - offset);
            // SAFETY: the range is this reservation's own, and nothing refers to it.
            if unsafe { munmap((self.start + offset) as *mut c_void, len) }.is_err() {
                // Too many mappings to split one more: all at once needs no split.
                // SAFETY: as above.
                let _ = unsafe { munmap((self.start + offset) as *mut c_void, self.len - offset) };
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write};

    use super::*;
    use crate::{
        layout::RAM_BASE,
        memory::{Follower, GuestMemory, remap},
    };

    /// More than one page table, and a part of one.
    const LEN: u64 = 5 * TABLE as u64 + 3 * PAGE;
    const PAGE: u64 = 4096;

    fn file() -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&(0..LEN).map(|at| (at / PAGE) as u8).collect::<Vec<_>>()).unwrap();
        file
    }

    fn byte(memory: &GuestMemory, at: u64) -> u8 {
        let mut bytes = [0];
        memory.read(RAM_BASE + at, &mut bytes).unwrap();
        bytes[0]
    }

    #[test]
    fn every_page_is_again_what_the_file_holds() {
        let memory = GuestMemory::private_file(&file(), LEN).unwrap();
        for round in 0..5 {
            for at in (0..LEN).step_by(PAGE as usize * (1 + round)) {
                memory.write(RAM_BASE + at, &[0xee]).unwrap();
            }
            memory.discard_changes().unwrap();
            for at in (0..LEN).step_by(PAGE as usize) {
                assert_eq!(byte(&memory, at), (at / PAGE) as u8, "round {round}, byte {at}");
            }
        }
        memory.write(RAM_BASE + LEN - 1, &[1]).unwrap();
        assert_eq!(byte(&memory, LEN - 1), 1, "it can be written to as before");
    }

    #[test]
    fn anonymous_memory_is_zero_again() {
        let memory = GuestMemory::anonymous(LEN).unwrap();
        memory.write(RAM_BASE, &[1]).unwrap();
        memory.write(RAM_BASE + LEN - 1, &[1]).unwrap();
        memory.discard_changes().unwrap();
        assert_eq!((byte(&memory, 0), byte(&memory, LEN - 1)), (0, 0));
    }

    #[test]
    fn what_changed_is_moved_aside_and_the_plain_way_does_the_same() {
        let memory = GuestMemory::private_file(&file(), LEN).unwrap();
        for way in [|map: &MmapRaw| Aside::take_from(map).map(drop), forget] {
            memory.write(RAM_BASE + PAGE, &[0xee]).unwrap();
            way(&memory.ram.map).unwrap();
            assert_eq!(byte(&memory, PAGE), 1);
        }
    }

    #[test]
    fn mapping_anew_does_the_same() {
        let file = file();
        let memory = GuestMemory::private_file(&file, LEN).unwrap();
        let zero = GuestMemory::anonymous(LEN).unwrap();
        for (memory, backing, expected) in [(memory, Some(&file), 1), (zero, None, 0)] {
            let remapper = remap::Discarder::new(backing).unwrap();
            for _ in 0..2 {
                memory.write(RAM_BASE + PAGE, &[0xee]).unwrap();
                remapper.discard(&memory.ram.map).unwrap();
                assert_eq!(byte(&memory, PAGE), expected);
            }
            assert_eq!(byte(&memory, LEN - 1), if backing.is_some() { ((LEN - 1) / PAGE) as u8 } else { 0 });
        }
    }

    /// Sees what RAM holds at each call.
    struct Watcher(GuestMemory, Mutex<Vec<(&'static str, u8)>>);

    impl Follower for Watcher {
        fn detach(&self) -> io::Result<()> {
            self.1.lock().unwrap().push(("detach", byte(&self.0, 0)));
            Ok(())
        }

        fn attach(&self) -> io::Result<()> {
            self.1.lock().unwrap().push(("attach", byte(&self.0, 0)));
            Ok(())
        }
    }

    #[test]
    fn whoever_shows_the_memory_is_told_before_and_after() {
        let memory = GuestMemory::anonymous(LEN).unwrap();
        let watcher = std::sync::Arc::new(Watcher(memory.clone(), Mutex::default()));
        memory.set_follower(std::sync::Arc::downgrade(&watcher) as _);
        memory.write(RAM_BASE, &[7]).unwrap();
        memory.clone().discard_changes().unwrap();
        assert_eq!(*watcher.1.lock().unwrap(), [("detach", 7), ("attach", 0)]);
        drop(watcher);
        memory.discard_changes().unwrap();
    }
}
