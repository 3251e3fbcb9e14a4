//! Translations that were found once, each with the context it was found in.
//!
//! An entry's tag is the page of its virtual address with a *context* in the
//! low twelve bits: who asks (EL0, PAN) and a small number that stands for the
//! ASID. So a change of ASID changes the tag that is looked for and flushes
//! nothing. The number of entries and their replacement are fixed, because
//! what a TLB holds can be seen by a guest through access flags.

use std::collections::HashMap;

use super::PAGE_MASK;

/// Entries for data; a power of two.
const DATA_ENTRIES: usize = 4096;
/// Entries for instruction fetch; a power of two.
const FETCH_ENTRIES: usize = 1024;
/// A tag that no lookup makes: its context number is never given out.
const NO_TAG: u64 = u64::MAX;
/// Context numbers for ASIDs; 0 is the upper half's, the last stays unused.
const CONTEXTS: u16 = 1023;

/// How many low bits of an address a descriptor leaves as they are: a page's reach.
pub const PAGE_REACH: u8 = 12;

/// Context bit: the access is made as EL0.
pub const AS_EL0: u64 = 1;
/// Context bit: PSTATE.PAN is set.
pub const WITH_PAN: u64 = 2;

/// Translation of one data page.
#[derive(Clone, Copy)]
pub struct DataEntry {
    /// Tag that may read.
    pub read: u64,
    /// Tag that may write.
    pub write: u64,
    /// Host address of the page minus its virtual address.
    pub addend: u64,
}

/// Translation of one page of code.
#[derive(Clone, Copy)]
struct FetchEntry {
    tag: u64,
    code_page: u32,
}

/// The TLB of one vCPU.
pub struct Tlb {
    data: Box<[DataEntry; DATA_ENTRIES]>,
    fetch: Box<[FetchEntry; FETCH_ENTRIES]>,
    /// The reach of each entry's descriptor, apart: hits need not load it, and blocks are found fast.
    data_reach: Box<[u8; DATA_ENTRIES]>,
    fetch_reach: Box<[u8; FETCH_ENTRIES]>,
    /// Context of the lower and the upper half, without who asks.
    contexts: [u64; 2],
    numbers: HashMap<u16, u16>,
    next_number: u16,
    asid: u16,
    /// The furthest reach entered in the lower and the upper half.
    furthest: [u8; 2],
    /// A page of the upper half that belongs to one ASID was entered.
    upper_locals: bool,
}

const NO_DATA: DataEntry = DataEntry { read: NO_TAG, write: NO_TAG, addend: 0 };
const NO_FETCH: FetchEntry = FetchEntry { tag: NO_TAG, code_page: 0 };

impl Default for Tlb {
    fn default() -> Self {
        let mut tlb = Tlb {
            data: Box::new([NO_DATA; DATA_ENTRIES]),
            fetch: Box::new([NO_FETCH; FETCH_ENTRIES]),
            data_reach: Box::new([PAGE_REACH; DATA_ENTRIES]),
            fetch_reach: Box::new([PAGE_REACH; FETCH_ENTRIES]),
            contexts: [0; 2],
            numbers: HashMap::new(),
            next_number: 1,
            asid: 0,
            furthest: [PAGE_REACH; 2],
            upper_locals: false,
        };
        tlb.set_asid(0);
        tlb
    }
}

impl Tlb {
    /// The tag that an access to `va` looks for; `who` is [`AS_EL0`] and [`WITH_PAN`].
    #[inline(always)]
    pub fn tag(&self, va: u64, who: u64) -> u64 {
        (va & !PAGE_MASK) | self.contexts[(va >> 55) as usize & 1] | who
    }

    /// The entry where a data page of `va` is, if it is anywhere.
    #[inline(always)]
    pub fn data(&self, va: u64) -> &DataEntry {
        &self.data[(va >> 12) as usize % DATA_ENTRIES]
    }

    /// Enters a data page. `readable` and `writable` hold for `who`.
    #[allow(clippy::too_many_arguments)] // one per field of what is entered
    pub fn insert_data(
        &mut self,
        va: u64,
        who: u64,
        host_page: u64,
        readable: bool,
        writable: bool,
        global: bool,
        reach: u8,
    ) {
        self.note(va, global, reach);
        let tag = self.tag(va, who);
        let addend = host_page.wrapping_sub(va & !PAGE_MASK);
        let slot = (va >> 12) as usize % DATA_ENTRIES;
        self.data[slot] = DataEntry {
            read: if readable { tag } else { NO_TAG },
            write: if writable { tag } else { NO_TAG },
            addend,
        };
        self.data_reach[slot] = reach;
    }

    /// The code page of `va`, if it is known.
    #[inline(always)]
    pub fn fetch(&self, va: u64, who: u64) -> Option<u32> {
        let entry = &self.fetch[(va >> 12) as usize % FETCH_ENTRIES];
        (entry.tag == self.tag(va, who)).then_some(entry.code_page)
    }

    /// Enters a page of code.
    pub fn insert_fetch(&mut self, va: u64, who: u64, code_page: u32, global: bool, reach: u8) {
        self.note(va, global, reach);
        let tag = self.tag(va, who);
        let slot = (va >> 12) as usize % FETCH_ENTRIES;
        self.fetch[slot] = FetchEntry { tag, code_page };
        self.fetch_reach[slot] = reach;
    }

    fn note(&mut self, va: u64, global: bool, reach: u8) {
        let half = (va >> 55) as usize & 1;
        self.furthest[half] = self.furthest[half].max(reach);
        self.upper_locals |= !global && half == 1;
    }

    /// Makes `asid` the current one.
    pub fn set_asid(&mut self, asid: u16) {
        if self.upper_locals && asid != self.asid {
            self.flush();
        }
        self.asid = asid;
        let number = match self.numbers.get(&asid) {
            Some(&number) => number,
            None => {
                if self.next_number >= CONTEXTS {
                    self.flush();
                }
                let number = self.next_number;
                self.next_number += 1;
                self.numbers.insert(asid, number);
                number
            }
        };
        self.contexts = [u64::from(number) << 2, 0];
    }

    /// Forgets everything (TLBI VMALLE1).
    pub fn flush(&mut self) {
        self.data.fill(NO_DATA);
        self.data_reach.fill(PAGE_REACH);
        self.flush_fetch();
        self.numbers.clear();
        self.next_number = 1;
        self.furthest = [PAGE_REACH; 2];
        self.upper_locals = false;
        let asid = self.asid;
        self.set_asid(asid);
    }

    /// Forgets every page of code, and no data.
    pub fn flush_fetch(&mut self) {
        self.fetch.fill(NO_FETCH);
        self.fetch_reach.fill(PAGE_REACH);
    }

    /// Forgets the non-global pages of `asid` (TLBI ASIDE1).
    pub fn flush_asid(&mut self, asid: u16) {
        if self.upper_locals {
            return self.flush();
        }
        // Its number is never given out again before a full flush, so what was
        // entered under it can't be found any more.
        if self.numbers.remove(&asid).is_some() && asid == self.asid {
            self.set_asid(asid);
        }
    }

    /// Forgets what translates `va`, a sign-extended address without tag, in
    /// every context (TLBI VAE1, VAAE1 and their last-level forms). A block is
    /// one translation, of which any address names the whole (Arm ARM C5.5): all
    /// pages go that were entered from it.
    pub fn flush_page(&mut self, va: u64) {
        // A tagged address has the same slots.
        const PAGE_BITS: u64 = 0x00ff_ffff_ffff_f000;
        let reached = |tag: u64, reach: u8| ((tag ^ va) & PAGE_BITS) >> reach == 0;
        let furthest = self.furthest[(va >> 55) as usize & 1];
        let own = (va >> 12) as usize;
        let first = own >> (furthest - PAGE_REACH) << (furthest - PAGE_REACH);
        let pages = 1 << (furthest - PAGE_REACH);
        for page in (first..first + DATA_ENTRIES.min(pages)).chain([own]) {
            let slot = page % DATA_ENTRIES;
            let (entry, reach) = (&mut self.data[slot], &mut self.data_reach[slot]);
            // Of pages only the one of `va` itself can be meant.
            if *reach != PAGE_REACH || page == own {
                let tag = if entry.read == NO_TAG { entry.write } else { entry.read };
                if reached(tag, *reach) {
                    (*entry, *reach) = (NO_DATA, PAGE_REACH);
                }
            }
        }
        for page in (first..first + FETCH_ENTRIES.min(pages)).chain([own]) {
            let slot = page % FETCH_ENTRIES;
            let (entry, reach) = (&mut self.fetch[slot], &mut self.fetch_reach[slot]);
            if (*reach != PAGE_REACH || page == own) && reached(entry.tag, *reach) {
                (*entry, *reach) = (NO_FETCH, PAGE_REACH);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads(tlb: &Tlb, va: u64, who: u64) -> bool {
        tlb.data(va).read == tlb.tag(va, who)
    }

    #[test]
    fn an_asid_sees_its_own_pages_only_and_a_switch_flushes_nothing() {
        let mut tlb = Tlb::default();
        tlb.set_asid(7);
        tlb.insert_data(0x5000, AS_EL0, 0x1000, true, false, false, PAGE_REACH);
        assert!(reads(&tlb, 0x5fff, AS_EL0));
        assert!(!reads(&tlb, 0x5fff, 0));
        tlb.set_asid(8);
        assert!(!reads(&tlb, 0x5fff, AS_EL0));
        tlb.set_asid(7);
        assert!(reads(&tlb, 0x5fff, AS_EL0));
        tlb.flush_asid(7);
        assert!(!reads(&tlb, 0x5fff, AS_EL0));
    }

    #[test]
    fn the_upper_half_is_every_asids() {
        let mut tlb = Tlb::default();
        let va = 0xffff_8000_1234_5000;
        tlb.insert_data(va, WITH_PAN, 0x1000, true, true, true, PAGE_REACH);
        tlb.set_asid(9);
        assert!(reads(&tlb, va, WITH_PAN));
        tlb.flush_page(va);
        assert!(!reads(&tlb, va, WITH_PAN));
    }

    #[test]
    fn running_out_of_contexts_flushes_and_goes_on() {
        let mut tlb = Tlb::default();
        tlb.set_asid(1);
        tlb.insert_data(0x5000, 0, 0x1000, true, true, false, PAGE_REACH);
        for asid in 2..3000 {
            tlb.set_asid(asid);
            assert!(!reads(&tlb, 0x5000, 0), "ASID {asid} sees the page of another");
        }
    }

    #[test]
    fn a_block_goes_with_any_of_its_addresses() {
        const BLOCK_REACH: u8 = 21;
        let mut tlb = Tlb::default();
        let block = 0x4060_0000;
        let (first, last, beyond) = (block, block + 0x1f_f000, block + 0x20_0000);
        for va in [first, last, beyond] {
            tlb.insert_data(va, 0, 0x1000, true, true, false, BLOCK_REACH);
            tlb.insert_fetch(va, AS_EL0, 7, false, BLOCK_REACH);
        }
        // A page of its own, as far as the slots can tell.
        tlb.insert_data(block + 0x5000, 0, 0x1000, true, true, false, PAGE_REACH);
        tlb.flush_page(block + 0x12_3000);
        for va in [first, last] {
            assert!(!reads(&tlb, va, 0) && tlb.fetch(va, AS_EL0).is_none(), "{va:#x}");
        }
        assert!(reads(&tlb, beyond, 0) && tlb.fetch(beyond, AS_EL0).is_some());
        assert!(reads(&tlb, block + 0x5000, 0));
    }

    #[test]
    fn a_gigabyte_goes_with_any_of_its_addresses() {
        let mut tlb = Tlb::default();
        for va in [0x4000_0000, 0x7fff_f000, 0x8000_0000] {
            tlb.insert_data(va, 0, 0x1000, true, true, false, 30);
        }
        tlb.flush_page(0x5123_4000);
        assert!(!reads(&tlb, 0x4000_0000, 0) && !reads(&tlb, 0x7fff_f000, 0));
        assert!(reads(&tlb, 0x8000_0000, 0));
    }

    #[test]
    fn a_page_that_only_writes_is_flushed_too() {
        let mut tlb = Tlb::default();
        tlb.insert_data(0x5000, 0, 0x1000, false, true, false, PAGE_REACH);
        tlb.flush_page(0x5000);
        assert_ne!(tlb.data(0x5000).write, tlb.tag(0x5000, 0));
    }
}
