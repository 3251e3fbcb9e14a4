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
    /// Context of the lower and the upper half, without who asks.
    contexts: [u64; 2],
    numbers: HashMap<u16, u16>,
    next_number: u16,
    asid: u16,
    /// A page of the lower half that belongs to every ASID was entered.
    lower_globals: bool,
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
            contexts: [0; 2],
            numbers: HashMap::new(),
            next_number: 1,
            asid: 0,
            lower_globals: false,
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
    ) {
        self.note_global(va, global);
        let tag = self.tag(va, who);
        let addend = host_page.wrapping_sub(va & !PAGE_MASK);
        let entry = &mut self.data[(va >> 12) as usize % DATA_ENTRIES];
        *entry = DataEntry {
            read: if readable { tag } else { NO_TAG },
            write: if writable { tag } else { NO_TAG },
            addend,
        };
    }

    /// The code page of `va`, if it is known.
    #[inline(always)]
    pub fn fetch(&self, va: u64, who: u64) -> Option<u32> {
        let entry = &self.fetch[(va >> 12) as usize % FETCH_ENTRIES];
        (entry.tag == self.tag(va, who)).then_some(entry.code_page)
    }

    /// Enters a page of code.
    pub fn insert_fetch(&mut self, va: u64, who: u64, code_page: u32, global: bool) {
        self.note_global(va, global);
        let tag = self.tag(va, who);
        self.fetch[(va >> 12) as usize % FETCH_ENTRIES] = FetchEntry { tag, code_page };
    }

    fn note_global(&mut self, va: u64, global: bool) {
        let upper = (va >> 55) & 1 != 0;
        self.lower_globals |= global && !upper;
        self.upper_locals |= !global && upper;
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
        self.flush_fetch();
        self.numbers.clear();
        self.next_number = 1;
        self.lower_globals = false;
        self.upper_locals = false;
        let asid = self.asid;
        self.set_asid(asid);
    }

    /// Forgets every page of code, and no data.
    pub fn flush_fetch(&mut self) {
        self.fetch.fill(NO_FETCH);
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

    /// Forgets the page of `va`, a sign-extended address without tag, in every
    /// context (TLBI VAE1, VAAE1 and their last-level forms).
    pub fn flush_page(&mut self, va: u64) {
        // A tagged address has the same index, so one entry is all there is.
        const PAGE_BITS: u64 = 0x00ff_ffff_ffff_f000;
        let entry = &mut self.data[(va >> 12) as usize % DATA_ENTRIES];
        let tag = if entry.read == NO_TAG { entry.write } else { entry.read };
        if (tag ^ va) & PAGE_BITS == 0 {
            *entry = NO_DATA;
        }
        let entry = &mut self.fetch[(va >> 12) as usize % FETCH_ENTRIES];
        if (entry.tag ^ va) & PAGE_BITS == 0 {
            *entry = NO_FETCH;
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
        tlb.insert_data(0x5000, AS_EL0, 0x1000, true, false, false);
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
        tlb.insert_data(va, WITH_PAN, 0x1000, true, true, true);
        tlb.set_asid(9);
        assert!(reads(&tlb, va, WITH_PAN));
        tlb.flush_page(va);
        assert!(!reads(&tlb, va, WITH_PAN));
    }

    #[test]
    fn running_out_of_contexts_flushes_and_goes_on() {
        let mut tlb = Tlb::default();
        tlb.set_asid(1);
        tlb.insert_data(0x5000, 0, 0x1000, true, true, false);
        for asid in 2..3000 {
            tlb.set_asid(asid);
            assert!(!reads(&tlb, 0x5000, 0), "ASID {asid} sees the page of another");
        }
    }

    #[test]
    fn a_page_that_only_writes_is_flushed_too() {
        let mut tlb = Tlb::default();
        tlb.insert_data(0x5000, 0, 0x1000, false, true, false);
        tlb.flush_page(0x5000);
        assert_ne!(tlb.data(0x5000).write, tlb.tag(0x5000, 0));
    }
}
