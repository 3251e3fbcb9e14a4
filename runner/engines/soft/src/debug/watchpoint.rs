//! Watchpoint exceptions (Arm ARM D2.10).
//!
//! A page that holds a watched address is never entered into the TLB of data, so that every access to it comes to the
//! slow path, which asks here; all other pages are as fast as ever. A page is watched for everybody: whether an access
//! to it matches, at its level, is asked at the access.

use super::{DEBUG_STATUS, control};
use crate::{
    access::Access,
    core::{Abandoned, Core, class},
    mmu::{PAGE_MASK, PAGE_SIZE, tlb::AS_EL0},
};

/// DBGWCR_EL1.WT: linked to a context.
const WT: u64 = 1 << 20;

/// A watchpoint that may match somewhere.
#[derive(Clone, Copy)]
struct Watch {
    value: u64,
    control: u64,
}

impl Watch {
    /// The watchpoint of a pair of registers, unless these turn it off. What is reserved does (Arm ARM K1.2,
    /// "RESWPMASK").
    fn new([value, control]: [u64; 2]) -> Option<Watch> {
        let watch = Watch { value, control };
        let valid = !matches!(watch.mask(), 1 | 2) && (watch.loads() || watch.stores());
        (control::is_on(control) && valid).then_some(watch)
    }

    /// LSC.
    fn loads(self) -> bool {
        self.control & 1 << 3 != 0
    }

    fn stores(self) -> bool {
        self.control & 1 << 4 != 0
    }

    /// MASK: low bits of the address that are not compared.
    fn mask(self) -> u32 {
        (self.control >> 24 & 31) as u32
    }

    /// Whether a byte of the page of `va` may be watched.
    fn is_in_page(self, va: u64) -> bool {
        let low = (1u64 << self.mask()) - 1;
        (va ^ self.value) & control::VA & !(low | PAGE_MASK) == 0
    }

    /// Whether the byte at `va` is watched. BAS selects bytes of a doubleword, or of a word if the address is that of a
    /// word alone; with a mask, whichever bytes are in it (Arm ARM, WatchpointByteMatch).
    fn watches(self, va: u64) -> bool {
        let selects = if self.value & 4 != 0 { 3 } else { 7 };
        let low = ((1u64 << self.mask()) - 1) | selects;
        let selected = self.control >> 5 >> (va & selects) & 1 != 0;
        (va ^ self.value) & control::VA & !low == 0 && selected
    }
}

impl Core {
    fn watches(&self) -> impl Iterator<Item = Watch> {
        self.sys.watchpoints.iter().filter_map(|&pair| Watch::new(pair))
    }

    fn watching(&self) -> bool {
        self.monitors_enabled() && !self.debug_locked()
    }

    /// Whether the page of `va` must not be entered into the TLB of data.
    pub fn page_is_watched(&self, va: u64) -> bool {
        self.watching() && self.watches().any(|watch| watch.is_in_page(va))
    }

    /// Takes the pages that watchpoint `n` watches out of the TLB of data. To be called whenever they may be in it: when
    /// the registers of the watchpoint have changed.
    pub fn watch_pages(&mut self, n: usize) {
        let Some(watch) = self.sys.watchpoints.get(n).copied().and_then(Watch::new) else { return };
        if !self.watching() {
            return;
        }
        if 1 << watch.mask() > PAGE_SIZE {
            self.tlb.flush();
        } else {
            const UNUSED: u32 = control::VA.leading_zeros();
            self.tlb.flush_page(((watch.value << UNUSED) as i64 >> UNUSED) as u64 & !PAGE_MASK);
        }
    }

    /// Does so for all of them: when watchpoints are turned on.
    pub fn watch_all_pages(&mut self) {
        (0..self.sys.watchpoints.len()).for_each(|n| self.watch_pages(n));
    }

    /// Abandons the current instruction if a watchpoint matches its access to the `size` bytes at `va`. The access must
    /// have been found to fault in no other way but an external abort (Arm ARM D1.3.5.6).
    #[inline(always)]
    pub fn check_watchpoints(&mut self, va: u64, size: usize, access: Access) -> Result<(), Abandoned> {
        if self.monitors_enabled() { self.check_each_watchpoint(va, size, access) } else { Ok(()) }
    }

    #[cold]
    fn check_each_watchpoint(&mut self, va: u64, size: usize, access: Access) -> Result<(), Abandoned> {
        // As the level that the access is made as, but by the debug exceptions of the level that it is made at.
        if !self.debug_exceptions() {
            return Ok(());
        }
        let as_el0 = access.who & AS_EL0 != 0;
        let hit = (0..size as u64).map(|offset| va.wrapping_add(offset)).find(|&byte| {
            self.watches().any(|watch| {
                let linked = watch.control & WT != 0;
                (if access.is_reported_as_write() { watch.stores() } else { watch.loads() })
                    && watch.watches(byte)
                    && control::is_on_for(watch.control, as_el0)
                    && (!linked || self.linked_context_matches(control::linked(watch.control)))
            })
        });
        match hit {
            // The lowest byte that was accessed and is watched (Arm ARM D2.10.5).
            Some(byte) => {
                let class = if self.el0 { class::WATCHPOINT_LOWER } else { class::WATCHPOINT_SAME };
                Err(self.raise(class, DEBUG_STATUS | access.syndrome(), Some(byte)))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const E_ALL: u64 = 1 | 3 << 1 | 3 << 3;

    fn watched(value: u64, control: u64, range: std::ops::Range<u64>) -> Vec<u64> {
        let watch = Watch::new([value, E_ALL | control]).unwrap();
        range.filter(|&va| watch.watches(va)).collect()
    }

    #[test]
    fn bas_selects_bytes() {
        assert_eq!(watched(0x1000, 0xff << 5, 0xff0..0x1010), Vec::from_iter(0x1000..0x1008));
        assert_eq!(watched(0x1000, 0b110_0000 << 5, 0xff0..0x1010), [0x1005, 0x1006]);
        // Of a word: its own four bytes.
        assert_eq!(watched(0x1004, 0b1100 << 5, 0xff0..0x1010), [0x1006, 0x1007]);
        assert_eq!(
            watched(0xffff_8000_0000_1000, 1 << 5, 0xffff_8000_0000_0ff0..0xffff_8000_0000_1010),
            [0xffff_8000_0000_1000]
        );
    }

    #[test]
    fn mask_takes_bits_out_of_the_comparison() {
        assert_eq!(watched(0x1040, 0xff << 5 | 6 << 24, 0x1000..0x1100), Vec::from_iter(0x1040..0x1080));
        assert_eq!(watched(0x1040, 0xff << 5 | 3 << 24, 0x1000..0x1100), Vec::from_iter(0x1040..0x1048));
        let wide = Watch::new([0x8000_0000, E_ALL | 0xff << 5 | 31 << 24]).unwrap();
        assert!(wide.is_in_page(0xffff_f000) && wide.watches(0xffff_ffff));
        assert!(!wide.is_in_page(0x7fff_f000) && !wide.is_in_page(0x1_0000_0000));
    }

    #[test]
    fn what_is_reserved_turns_a_watchpoint_off() {
        for control in [0, E_ALL & !1, E_ALL & !(3 << 1), E_ALL & !(3 << 3), E_ALL | 1 << 13, E_ALL | 1 << 14]
        {
            assert!(Watch::new([0, control | 0xff << 5]).is_none(), "{control:#x}");
        }
        assert!(Watch::new([0, E_ALL | 0xff << 5 | 2 << 24]).is_none());
    }
}
