//! The VM generation id: sixteen bytes in a page of their own that change when
//! a guest wakes up as a copy of another. Linux then reseeds its random
//! numbers (device-tree binding `microsoft,vmgenid`).

use crate::{
    layout,
    memory::{GuestMemory, OutOfBounds},
};

/// A generation id. Must come from the machine's entropy: two guests with the
/// same one would draw the same random numbers.
pub type GenerationId = [u8; 16];

/// Shows `id` to the guest. When the guest already runs, the caller also
/// pulses [`layout::VMGENID_INTID`].
///
/// # Errors
/// If the memory has no page for it.
pub fn set(memory: &GuestMemory, id: GenerationId) -> Result<(), OutOfBounds> {
    memory.write(layout::VMGENID_BASE, &id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_reads_it_at_the_start_of_the_page() {
        let memory = GuestMemory::anonymous(0x1_0000).unwrap();
        let id = *b"0123456789abcdef";
        set(&memory, id).unwrap();
        let mut page = [0xff; 32];
        memory.read(0x0b00_0000, &mut page).unwrap();
        assert_eq!(page[..16], id);
        assert_eq!(page[16..], [0; 16]);
    }
}
