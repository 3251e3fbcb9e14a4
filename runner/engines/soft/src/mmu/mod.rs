//! Stage 1 address translation (Arm ARM D8): the walk, and the TLB over it.

pub mod tlb;
pub mod walk;

/// Bytes of a page; the engine shows the guest the 4 KiB granule alone.
pub const PAGE_SIZE: u64 = 4096;
/// Bits of an address inside its page.
pub const PAGE_MASK: u64 = PAGE_SIZE - 1;
