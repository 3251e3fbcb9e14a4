//! Guest memory as a vCPU sees it, without a trace: no fault is taken, no TLB filled, no device asked.

use engine_soft::mmu::{PAGE_MASK, PAGE_SIZE, walk::walk};
use machine::{
    cpu_state::SysRegs,
    memory::{GuestMemory, OutOfBounds},
};

/// The guest physical address behind `va`, if there is one. Permissions are for guests.
pub fn translate(memory: &GuestMemory, sys: &SysRegs, va: u64) -> Option<u64> {
    walk(memory, sys, va).ok().map(|leaf| leaf.page | (va & PAGE_MASK))
}

/// Reads from `va` as far as there is memory; how many bytes.
pub fn read(memory: &GuestMemory, sys: &SysRegs, va: u64, data: &mut [u8]) -> usize {
    let mut done = 0;
    for (va, range) in pages(va, data.len()) {
        let part = &mut data[range.clone()];
        if translate(memory, sys, va).is_none_or(|gpa| memory.read(gpa, part).is_err()) {
            break;
        }
        done = range.end;
    }
    done
}

/// Nothing was written, for not all of it is memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMemory;

/// Writes at `va`, all of it or nothing.
///
/// # Errors
/// If any byte is not mapped, or is no memory.
pub fn write(memory: &GuestMemory, sys: &SysRegs, va: u64, data: &[u8]) -> Result<(), NoMemory> {
    let mut parts = Vec::new();
    for (va, range) in pages(va, data.len()) {
        let gpa = translate(memory, sys, va).ok_or(NoMemory)?;
        memory.host_ptr(gpa, range.len() as u64).map_err(|_: OutOfBounds| NoMemory)?;
        parts.push((gpa, range));
    }
    parts.into_iter().try_for_each(|(gpa, range)| memory.write(gpa, &data[range]).map_err(|_| NoMemory))
}

/// The part of each page of `len` bytes at `va`, which ends where the address space does.
fn pages(va: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut start = 0_usize;
    std::iter::from_fn(move || {
        let at = va.checked_add(start as u64)?;
        let in_page = (PAGE_SIZE - (at & PAGE_MASK)) as usize;
        let range = start..len.min(start.saturating_add(in_page));
        start = range.end;
        (!range.is_empty()).then_some((at, range))
    })
}

#[cfg(test)]
mod tests {
    use machine::layout::{RAM_BASE, UART_BASE};

    use super::*;

    const RAM: u64 = 1 << 20;

    #[test]
    fn without_translation_an_address_is_itself_and_devices_are_left_alone() {
        let memory = GuestMemory::anonymous(RAM).unwrap();
        let sys = SysRegs::default();
        let across = RAM_BASE + 0xffe;
        write(&memory, &sys, across, b"four").unwrap();
        let mut data = [0; 4];
        memory.read(across, &mut data).unwrap();
        assert_eq!(&data, b"four");
        assert_eq!(read(&memory, &sys, across, &mut data), 4);
        assert_eq!(read(&memory, &sys, UART_BASE, &mut data), 0);
        assert_eq!(write(&memory, &sys, UART_BASE, b"x"), Err(NoMemory));
    }

    #[test]
    fn what_is_behind_the_end_is_neither_read_nor_written() {
        let memory = GuestMemory::anonymous(RAM).unwrap();
        let sys = SysRegs::default();
        let end = RAM_BASE + RAM;
        assert_eq!(write(&memory, &sys, end - 2, b"four"), Err(NoMemory));
        let mut data = [7; 4];
        assert_eq!(read(&memory, &sys, end - 2, &mut data), 2);
        assert_eq!(data, [0, 0, 7, 7]);
        assert_eq!(read(&memory, &sys, u64::MAX - 1, &mut data), 0);
        assert_eq!(write(&memory, &sys, u64::MAX, b"four"), Err(NoMemory));
    }

    #[test]
    fn translation_is_followed_page_by_page() {
        let memory = GuestMemory::anonymous(RAM).unwrap();
        let (table, page) = (RAM_BASE, RAM_BASE + 0x2000);
        // 30-bit addresses start at level 2 (Arm ARM D8.2.4): one table, then pages.
        let sys = SysRegs { sctlr_el1: 1, tcr_el1: 34 | (34 << 16), ttbr0_el1: table, ..Default::default() };
        memory.write(table, &((RAM_BASE + 0x1000) | 3).to_le_bytes()).unwrap();
        memory.write(RAM_BASE + 0x1000 + 8, &(page | (1 << 10) | 3).to_le_bytes()).unwrap();
        assert_eq!(translate(&memory, &sys, 0x1234), Some(page + 0x234));
        assert_eq!(translate(&memory, &sys, 0x2234), None);
        write(&memory, &sys, 0x1ffe, b"ab").unwrap();
        let mut data = [0; 4];
        assert_eq!(read(&memory, &sys, 0x1ffe, &mut data), 2);
        assert_eq!(&data[..2], b"ab");
        assert_eq!(write(&memory, &sys, 0x1ffe, b"cdef"), Err(NoMemory));
        assert_eq!(read(&memory, &sys, 0x1ffe, &mut data), 2);
        assert_eq!(&data[..2], b"ab", "nothing of it was written");
    }
}
