//! Has a vCPU forget what it knows of memory that was replaced under it.
//!
//! A guest that is reset in place goes on with other translation tables and other code at the same addresses. The
//! framework has no call for its translations and its instruction cache before macOS 27 (`hv_vcpu_invalidate_tlb`), but
//! the guest's own instructions do it: the vCPU runs a few of ours, from a page that only it sees, before its state is
//! loaded.

use std::io;

use applevisor::memory::PAGE_SIZE;
use machine::layout::{VMGENID_BASE, VMGENID_SIZE};
use memmap2::{MmapMut, MmapOptions};

/// Where the page is in the guest's physical address space: where the machine has nothing.
pub(crate) const BASE: u64 = VMGENID_BASE + VMGENID_SIZE;

/// What the HVC at its end says.
pub(crate) const DONE: u16 = 0x5a3a;

/// TLBI and IC of all that there is, on every core that this guest may have run on, with the barriers that wait for them
/// (Arm ARM C5.5, K13.5).
const CODE: [u32; 6] = [
    0xd508_831f,                      // tlbi vmalle1is
    0xd503_3b9f,                      // dsb ish
    0xd508_711f,                      // ic ialluis
    0xd503_3b9f,                      // dsb ish
    0xd503_3fdf,                      // isb
    0xd400_0002 | (DONE as u32) << 5, // hvc #DONE
];

/// The page with the code.
///
/// # Errors
/// If the host has no memory for it.
pub(crate) fn page() -> io::Result<MmapMut> {
    let mut page = MmapOptions::new().len(PAGE_SIZE).map_anon()?;
    for (place, word) in page.chunks_exact_mut(4).zip(CODE) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    Ok(page)
}
