//! Decoded code, kept by physical page.
//!
//! A block is a run of instructions with one entry, inside one page. Blocks of
//! a page are dropped together when the guest invalidates an instruction cache
//! line of it (IC IVAU, IC IALLU), which is all that the architecture promises
//! (Arm ARM D7.5.9); links run only between blocks of one page, so none dangle.

use std::collections::BTreeMap;

use crate::{
    decode::{accesses_through_sp, decode, ends_block},
    mmu::PAGE_SIZE,
    op::Op,
};

/// Instructions in a page.
const PAGE_WORDS: usize = (PAGE_SIZE / 4) as usize;
/// Longest block, so that a straight run is decoded no further than it may go.
const MAX_BLOCK: usize = 64;
/// No block.
pub const NONE: u32 = u32::MAX;
/// Operations kept before everything is dropped; bounds the host's memory to
/// some 400 MiB a vCPU.
const MAX_OPS: usize = 16 << 20;
/// Code pages kept before everything is dropped: 256 MiB a vCPU.
const MAX_PAGES: usize = 64 << 10;

/// A run of decoded instructions.
#[derive(Clone, Copy)]
pub struct Block {
    start: u32,
    len: u16,
    /// The first operation that accesses memory through SP, or the length.
    pub first_through_sp: u16,
    /// Successors in the same page when the last branch is taken and when it
    /// is not, or [`NONE`].
    pub links: [u32; 2],
}

struct CodePage {
    /// Physical address divided by the page size.
    number: u64,
    /// Block that starts at each word.
    entries: Box<[u32; PAGE_WORDS]>,
    /// Any entry is in use.
    used: bool,
}

impl CodePage {
    fn drop_blocks(&mut self) {
        if self.used {
            self.entries.fill(NONE);
            self.used = false;
        }
    }
}

/// Operations and code pages for which room is kept when everything is dropped, some 100 MiB each: giving the host's
/// memory back and asking for it again takes longer than all else that a reset of the guest does.
const KEPT_OPS: usize = 4 << 20;
const KEPT_PAGES: usize = 24 << 10;

/// Every block that one vCPU has decoded.
#[derive(Default)]
pub struct BlockCache {
    ops: Vec<Op>,
    blocks: Vec<Block>,
    pages: Vec<CodePage>,
    /// Code pages that were dropped, to be used again.
    spare: Vec<CodePage>,
    /// Number of the code page of each page of memory, plus one, by page number
    /// from `first_page`. 0 is none, so that the host hands out the pages of a
    /// large table only as they are used: a restore does not wait for them.
    by_number: Vec<u32>,
    first_page: u64,
    /// Words of a page at which a debugger, outside or in the guest, may want to stop. See [`BlockCache::set_marks`].
    marks: Vec<u16>,
    /// Blocks that begin at a marked word, by code page and word: kept apart from `entries` and never linked to, so
    /// that whoever runs them has looked at the breakpoints first, and nobody else looks at all.
    marked: BTreeMap<(u32, u16), u32>,
}

impl BlockCache {
    /// A cache for code in the `pages` pages from physical address `base`.
    pub fn new(base: u64, pages: usize) -> Self {
        BlockCache { by_number: vec![0; pages], first_page: base / PAGE_SIZE, ..Default::default() }
    }

    /// Number of the code page at physical address `page`, made if it is new;
    /// None if no code can be there.
    pub fn page(&mut self, page: u64) -> Option<u32> {
        let number = page / PAGE_SIZE;
        let slot = self.by_number.get_mut(number.checked_sub(self.first_page)? as usize)?;
        if *slot == 0 {
            *slot = self.pages.len() as u32 + 1;
            self.pages.push(match self.spare.pop() {
                Some(mut page) => {
                    page.drop_blocks();
                    CodePage { number, ..page }
                }
                None => CodePage { number, entries: Box::new([NONE; PAGE_WORDS]), used: false },
            });
        }
        Some(*slot - 1)
    }

    /// Marks the words that `addresses` are in their pages, whichever pages these are: code is kept by physical
    /// address, breakpoints are virtual, and one page may be mapped at many. Everything is dropped, as by
    /// [`BlockCache::clear`].
    pub fn set_marks(&mut self, addresses: impl Iterator<Item = u64>) {
        self.marks = addresses.map(word_in_page).collect();
        self.clear();
    }

    /// Sees to it that the words of `addresses` are marked; whether that dropped everything. Marks that are not needed
    /// any more stay until then, for a guest that steps over its own breakpoint turns it off and on again all the time.
    pub fn mark(&mut self, addresses: impl Iterator<Item = u64> + Clone) -> bool {
        let missing = addresses.clone().any(|address| !self.is_marked(address));
        if missing {
            self.set_marks(addresses);
        }
        missing
    }

    /// Whether the word at the address `pc` is marked.
    pub fn is_marked(&self, pc: u64) -> bool {
        !self.marks.is_empty() && self.marks.contains(&word_in_page(pc))
    }

    /// The block at the marked address `pc` in code page `page`, or [`NONE`].
    pub fn at_mark(&self, page: u32, pc: u64) -> u32 {
        self.marked.get(&(page, word_in_page(pc))).copied().unwrap_or(NONE)
    }

    /// The block at the address `pc` in code page `page`, or [`NONE`] if there is none or the address is marked.
    #[inline(always)]
    pub fn at(&self, page: u32, pc: u64) -> u32 {
        self.pages[page as usize].entries[(pc >> 2) as usize % PAGE_WORDS]
    }

    /// The block and its operations.
    #[inline(always)]
    pub fn get(&self, id: u32) -> (&Block, &[Op]) {
        let block = &self.blocks[id as usize];
        (block, &self.ops[block.start as usize..][..usize::from(block.len)])
    }

    /// Decodes the block at `pc` in code page `page`; `read` gives the word at
    /// a physical address of that page.
    pub fn decode(&mut self, page: u32, pc: u64, mut read: impl FnMut(u64) -> u32) -> u32 {
        let entry = &mut self.pages[page as usize];
        entry.used = true;
        let first = (pc >> 2) as usize % PAGE_WORDS;
        let start = self.ops.len();
        for index in first..(first + MAX_BLOCK).min(PAGE_WORDS) {
            if index != first && self.marks.contains(&(index as u16)) {
                break;
            }
            let op = decode(read(entry.number * PAGE_SIZE + index as u64 * 4));
            self.ops.push(op);
            if ends_block(&op) {
                break;
            }
        }
        let ops = &self.ops[start..];
        let len = ops.len() as u16;
        let first_through_sp = ops.iter().position(accesses_through_sp).map_or(len, |first| first as u16);
        let id = self.blocks.len() as u32;
        if self.marks.contains(&(first as u16)) {
            self.marked.insert((page, first as u16), id);
        } else {
            entry.entries[first] = id;
        }
        self.blocks.push(Block { start: start as u32, len, first_through_sp, links: [NONE; 2] });
        id
    }

    /// Remembers that `to` follows `from`, both of one page.
    pub fn link(&mut self, from: u32, slot: usize, to: u32) {
        self.blocks[from as usize].links[slot] = to;
    }

    /// Whether so much was decoded that [`BlockCache::clear`] is due.
    pub fn is_full(&self) -> bool {
        self.ops.len() > MAX_OPS || self.pages.len() > MAX_PAGES
    }

    /// Drops the blocks of the page at physical address `page`.
    pub fn invalidate_page(&mut self, page: u64) {
        let Some(offset) = (page / PAGE_SIZE).checked_sub(self.first_page) else { return };
        match self.by_number.get(offset as usize) {
            Some(&number) if number != 0 => {
                let entry = &mut self.pages[number as usize - 1];
                if entry.used {
                    entry.drop_blocks();
                    self.marked.retain(|&(page, _), _| page != number - 1);
                }
            }
            _ => {}
        }
    }

    /// Drops everything; numbers of code pages are void afterwards.
    pub fn clear(&mut self) {
        if self.ops.capacity() > KEPT_OPS {
            self.ops = Vec::new();
            self.blocks = Vec::new();
        }
        self.ops.clear();
        self.blocks.clear();
        self.marked.clear();
        for page in &self.pages {
            self.by_number[(page.number - self.first_page) as usize] = 0;
        }
        self.spare.append(&mut self.pages);
        self.spare.truncate(KEPT_PAGES);
    }
}

/// Which word of its page is at `address`.
fn word_in_page(address: u64) -> u16 {
    ((address >> 2) % PAGE_WORDS as u64) as u16
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOP: u32 = 0xd503_201f;
    const RET: u32 = 0xd65f_03c0;

    #[test]
    fn a_block_ends_with_its_branch_or_its_page() {
        let mut cache = BlockCache::new(0x1000, 2);
        let page = cache.page(0x2000).unwrap();
        let id = cache.decode(page, 0xffff_0010, |pa| if pa == 0x2018 { RET } else { NOP });
        assert_eq!(cache.get(id).1.len(), 3);
        let id = cache.decode(page, 0xffc, |_| NOP);
        assert_eq!(cache.get(id).1.len(), 1);
        let id = cache.decode(page, 0, |_| NOP);
        assert_eq!(cache.get(id).1.len(), MAX_BLOCK);
    }

    #[test]
    fn after_a_clear_every_page_is_new() {
        let mut cache = BlockCache::new(0x1000, 3);
        for pa in [0x3000, 0x1000] {
            let page = cache.page(pa).unwrap();
            cache.decode(page, 0, |_| RET);
        }
        cache.clear();
        for (pa, number) in [(0x2000, 0), (0x3000, 1), (0x1000, 2)] {
            assert_eq!(cache.page(pa), Some(number));
            assert_eq!(cache.at(number, 0), NONE);
        }
    }

    #[test]
    fn a_guest_that_runs_a_little_everywhere_is_bounded() {
        let mut cache = BlockCache::new(0, MAX_PAGES + 1);
        for number in 0..=MAX_PAGES as u64 {
            assert!(!cache.is_full());
            let page = cache.page(number * PAGE_SIZE).unwrap();
            cache.decode(page, 0, |_| RET);
        }
        assert!(cache.is_full());
        cache.clear();
        assert!(!cache.is_full() && cache.spare.len() <= KEPT_PAGES);
    }

    #[test]
    fn invalidation_drops_the_page_and_no_other() {
        let mut cache = BlockCache::new(0x1000, 2);
        let (a, b) = (cache.page(0x1000).unwrap(), cache.page(0x2000).unwrap());
        let in_b = cache.decode(b, 0, |_| RET);
        cache.decode(a, 0, |_| RET);
        cache.invalidate_page(0x1040);
        assert_eq!((cache.at(a, 0), cache.at(b, 0)), (NONE, in_b));
        cache.invalidate_page(0);
        cache.invalidate_page(0x10_0000);
        assert!(cache.page(0x3000).is_none() && cache.page(0).is_none());
    }

    #[test]
    fn a_marked_word_begins_a_block_that_is_found_by_its_mark_alone() {
        let mut cache = BlockCache::new(0x1000, 1);
        cache.set_marks([0xffff_8000_0000_0018].into_iter());
        assert!(cache.is_marked(0x1018) && !cache.is_marked(0x101c));
        let page = cache.page(0x1000).unwrap();
        let before = cache.decode(page, 0x10, |_| NOP);
        assert_eq!((cache.get(before).1.len(), cache.at(page, 0x10)), (2, before));
        assert_eq!(cache.at_mark(page, 0x18), NONE);
        let marked = cache.decode(page, 0x18, |_| RET);
        assert_eq!((cache.at(page, 0x18), cache.at_mark(page, 0x18)), (NONE, marked));
        cache.invalidate_page(0x1000);
        assert_eq!((cache.at(page, 0x10), cache.at_mark(page, 0x18)), (NONE, NONE));
        cache.set_marks([].into_iter());
        let page = cache.page(0x1000).unwrap();
        let whole = cache.decode(page, 0x18, |_| RET);
        assert_eq!((cache.at(page, 0x18), cache.at_mark(page, 0x18)), (whole, NONE));
    }

    #[test]
    fn marks_that_are_there_drop_nothing() {
        let mut cache = BlockCache::new(0x1000, 1);
        assert!(cache.mark([0x18, 0x20].into_iter()));
        let page = cache.page(0x1000).unwrap();
        let block = cache.decode(page, 0, |_| RET);
        for marks in [&[0x18, 0x20][..], &[0x2018], &[]] {
            assert!(!cache.mark(marks.iter().copied()));
        }
        assert_eq!(cache.at(page, 0), block);
        assert!(cache.is_marked(0x20) && cache.mark([0x24].into_iter()) && !cache.is_marked(0x20));
    }
}
