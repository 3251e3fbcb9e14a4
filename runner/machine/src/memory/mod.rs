//! The guest's physical memory: every access of every device and engine goes
//! through [`GuestMemory`], which checks bounds. The guest is hostile.

#[cfg(target_os = "linux")]
mod discard;
// Linux has a quicker way, and tests this one too.
#[cfg(any(test, not(target_os = "linux")))]
mod remap;

use std::{
    fs::File,
    io,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use memmap2::{MmapMut, MmapOptions, MmapRaw};

#[cfg(target_os = "linux")]
use self::discard::Discarder;
#[cfg(not(target_os = "linux"))]
use self::remap::Discarder;
use crate::layout;

/// An access outside the guest's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes at guest address {gpa:#x} are outside the guest's memory")]
pub struct OutOfBounds {
    /// First guest physical address of the access.
    pub gpa: u64,
    /// Length of the access in bytes.
    pub len: u64,
}

/// Memory that a guest and the devices of its machine share: RAM, and the page
/// of the VM generation id.
///
/// Guest and host may touch the same bytes at the same time, so no reference
/// into it is ever handed out; bytes are copied in and out.
#[derive(Clone)]
pub struct GuestMemory {
    ram: Arc<Region>,
    vmgenid: Arc<Region>,
    discarder: Arc<Discarder>,
    follower: Arc<Mutex<Option<Weak<dyn Follower>>>>,
}

struct Region {
    base: u64,
    len: u64,
    map: MmapRaw,
}

/// Who has shown the memory to somebody else by the host's tables, and must do so anew when these change: an engine
/// whose guest is the host's.
pub trait Follower: Send + Sync {
    /// RAM is about to be mapped anew at its place: nobody may see it until [`Follower::attach`].
    ///
    /// # Errors
    /// If the host refuses; RAM is then left as it is.
    fn detach(&self) -> io::Result<()>;

    /// RAM is there again.
    ///
    /// # Errors
    /// If the host refuses.
    fn attach(&self) -> io::Result<()>;
}

/// What a region of guest memory is to the guest's physical address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// First guest physical address.
    pub gpa: u64,
    /// Length in bytes.
    pub len: u64,
    /// Where the host has it.
    pub host: *mut u8,
}

impl GuestMemory {
    /// Zeroed memory with `ram_size` bytes of RAM.
    ///
    /// # Errors
    /// If the host can't map that much.
    pub fn anonymous(ram_size: u64) -> io::Result<Self> {
        let ram = MmapOptions::new().len(host_len(ram_size)?).no_reserve_swap().map_anon()?;
        Self::with_ram(ram, ram_size, None)
    }

    /// Memory whose RAM is `file`, mapped privately: writes stay in this
    /// mapping, and siblings over the same file share its clean pages.
    ///
    /// # Errors
    /// If `file` is not exactly `ram_size` bytes long or can't be mapped.
    pub fn private_file(file: &File, ram_size: u64) -> io::Result<Self> {
        let len = file.metadata()?.len();
        if len != ram_size {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("it is {len} bytes long, the machine's memory {ram_size}"),
            ));
        }
        // SAFETY: the mapping is private and the file an immutable artifact;
        // should another process change it all the same, only guest-visible
        // bytes change, and those are never trusted.
        let ram = unsafe { MmapOptions::new().len(host_len(ram_size)?).no_reserve_swap().map_copy(file)? };
        Self::with_ram(ram, ram_size, Some(file))
    }

    #[cfg_attr(
        target_os = "linux",
        expect(unused_variables, reason = "Linux needs no file to forget changes")
    )]
    fn with_ram(ram: MmapMut, ram_size: u64, file: Option<&File>) -> io::Result<Self> {
        let vmgenid = MmapOptions::new().len(host_len(layout::VMGENID_SIZE)?).map_anon()?;
        let region = |base, len, map: MmapMut| Arc::new(Region { base, len, map: map.into() });
        #[cfg(target_os = "linux")]
        let discarder = Discarder::default();
        #[cfg(not(target_os = "linux"))]
        let discarder = Discarder::new(file)?;
        Ok(GuestMemory {
            ram: region(layout::RAM_BASE, ram_size, ram),
            vmgenid: region(layout::VMGENID_BASE, layout::VMGENID_SIZE, vmgenid),
            discarder: Arc::new(discarder),
            follower: Arc::default(),
        })
    }

    /// RAM, and the page of the VM generation id, for an engine that maps them as they are. The pointers stay valid as
    /// long as a clone of this `GuestMemory` lives.
    pub fn extents(&self) -> [Extent; 2] {
        [&self.ram, &self.vmgenid].map(|region| Extent {
            gpa: region.base,
            len: region.len,
            host: region.map.as_mut_ptr(),
        })
    }

    /// Has `follower` told of every [`GuestMemory::discard_changes`], as long as it lives. It replaces the one before.
    pub fn set_follower(&self, follower: Weak<dyn Follower>) {
        *self.follower.lock().unwrap_or_else(PoisonError::into_inner) = Some(follower);
    }

    /// Size of RAM in bytes.
    pub fn ram_size(&self) -> u64 {
        self.ram.len
    }

    /// Host pointer to `len` bytes of guest memory at `gpa`, for an engine
    /// that caches translations. It stays valid as long as a clone of this
    /// `GuestMemory` lives; the bytes behind it may change at any time.
    ///
    /// # Errors
    /// If any byte of the range is outside one region.
    pub fn host_ptr(&self, gpa: u64, len: u64) -> Result<*mut u8, OutOfBounds> {
        for region in [&self.ram, &self.vmgenid] {
            if let Some(offset) = gpa.checked_sub(region.base)
                && offset < region.len
                && len <= region.len - offset
            {
                // SAFETY: offset < len of the mapping, checked just above.
                return Ok(unsafe { region.map.as_mut_ptr().add(offset as usize) });
            }
        }
        Err(OutOfBounds { gpa, len })
    }

    /// Copies guest bytes from `gpa` into `buf`.
    ///
    /// # Errors
    /// If any byte is outside the guest's memory; `buf` is then as it was.
    pub fn read(&self, gpa: u64, buf: &mut [u8]) -> Result<(), OutOfBounds> {
        let ptr = self.host_ptr(gpa, buf.len() as u64)?;
        // SAFETY: host_ptr checked the whole range; buf is the host's own.
        unsafe { std::ptr::copy_nonoverlapping(ptr, buf.as_mut_ptr(), buf.len()) };
        Ok(())
    }

    /// Copies `data` to guest memory at `gpa`.
    ///
    /// # Errors
    /// If any byte is outside the guest's memory; nothing is written then.
    pub fn write(&self, gpa: u64, data: &[u8]) -> Result<(), OutOfBounds> {
        let ptr = self.host_ptr(gpa, data.len() as u64)?;
        // SAFETY: host_ptr checked the whole range; data is the host's own.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), ptr, data.len()) };
        Ok(())
    }

    /// Reads a little-endian number of `N` bytes, `N` up to 8.
    fn read_array<const N: usize>(&self, gpa: u64) -> Result<[u8; N], OutOfBounds> {
        let mut bytes = [0; N];
        self.read(gpa, &mut bytes)?;
        Ok(bytes)
    }

    /// Reads a little-endian 16-bit number.
    ///
    /// # Errors
    /// If it is outside the guest's memory.
    pub fn read_u16(&self, gpa: u64) -> Result<u16, OutOfBounds> {
        self.read_array(gpa).map(u16::from_le_bytes)
    }

    /// Reads a little-endian 32-bit number.
    ///
    /// # Errors
    /// If it is outside the guest's memory.
    pub fn read_u32(&self, gpa: u64) -> Result<u32, OutOfBounds> {
        self.read_array(gpa).map(u32::from_le_bytes)
    }

    /// Reads a little-endian 64-bit number.
    ///
    /// # Errors
    /// If it is outside the guest's memory.
    pub fn read_u64(&self, gpa: u64) -> Result<u64, OutOfBounds> {
        self.read_array(gpa).map(u64::from_le_bytes)
    }

    /// Forgets every private change to RAM, in place: each page is again what
    /// the file behind it holds, or zero for anonymous memory. The host frees
    /// the changed pages after this has returned, before the next such call does.
    ///
    /// # Errors
    /// If the host refuses.
    pub fn discard_changes(&self) -> io::Result<()> {
        let follower = self.follower.lock().unwrap_or_else(PoisonError::into_inner);
        let follower = follower.as_ref().and_then(Weak::upgrade);
        if let Some(follower) = &follower {
            follower.detach()?;
        }
        self.discarder.discard(&self.ram.map)?;
        match &follower {
            Some(follower) => follower.attach(),
            None => Ok(()),
        }
    }
}

fn host_len(len: u64) -> io::Result<usize> {
    usize::try_from(len).map_err(|_| io::Error::new(io::ErrorKind::OutOfMemory, "too large for this host"))
}
