//! How instructions reach memory: a TLB hit in a few host instructions, and
//! everything else out of line.

use machine::engine::Exit;

use crate::{
    core::{Abandoned, Core, Event, class},
    mmu::{
        PAGE_MASK, PAGE_SIZE,
        tlb::{AS_EL0, WITH_PAN},
        walk::{Leaf, status, walk},
    },
};

/// Syndrome bit of a data abort: the access was a write (Arm ARM D24.2.40, WnR).
const WNR: u32 = 1 << 6;
/// Syndrome bit of a data abort: cache maintenance (CM).
const CM: u32 = 1 << 8;

/// An unsigned number that instructions load and store.
pub trait Value: Copy {
    /// Bytes.
    const SIZE: usize;
    /// From the low bits of `wide`.
    fn narrow(wide: u128) -> Self;
    /// Zero-extended.
    fn widen(self) -> u128;
}

macro_rules! values {
    ($($type:ty),*) => {$(
        impl Value for $type {
            const SIZE: usize = size_of::<$type>();
            #[inline(always)]
            fn narrow(wide: u128) -> Self {
                wide as $type
            }
            #[inline(always)]
            fn widen(self) -> u128 {
                self as u128
            }
        }
    )*};
}
values!(u8, u16, u32, u64, u128);

/// What an access is, for permissions and syndromes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Context bits of who asks.
    pub who: u64,
    /// It writes.
    pub write: bool,
    /// It is cache maintenance: reported as a write, checked as a read.
    pub maintenance: bool,
}

/// Where one page's part of an access is.
#[derive(Clone, Copy)]
enum Place {
    Ram(*mut u8),
    Device(u64),
}

impl Access {
    /// Cache maintenance is reported as a write, which it may be for whoever uses the data.
    pub fn is_reported_as_write(self) -> bool {
        self.write || self.maintenance
    }

    /// What the syndrome of a data abort or a watchpoint says of it: WnR and CM.
    pub fn syndrome(self) -> u32 {
        let write = if self.is_reported_as_write() { WNR } else { 0 };
        write | if self.maintenance { CM } else { 0 }
    }
}

impl Core {
    /// Loads at the current level.
    #[inline(always)]
    pub fn load_value<T: Value>(&mut self, va: u64) -> Result<T, Abandoned> {
        let entry = self.tlb.data(va);
        if entry.read == self.tlb.tag(va, self.who) && (va & PAGE_MASK) + T::SIZE as u64 <= PAGE_SIZE {
            // SAFETY: the entry's addend leads from this virtual page to a
            // page of guest memory that the engine keeps mapped, and the
            // access ends inside the page.
            return Ok(unsafe { (va.wrapping_add(entry.addend) as *const T).read_unaligned() });
        }
        let access = Access { who: self.who, write: false, maintenance: false };
        self.load_slow(va, T::SIZE, access).map(T::narrow)
    }

    /// Stores at the current level.
    #[inline(always)]
    pub fn store_value<T: Value>(&mut self, va: u64, value: T) -> Result<(), Abandoned> {
        let entry = self.tlb.data(va);
        if entry.write == self.tlb.tag(va, self.who) && (va & PAGE_MASK) + T::SIZE as u64 <= PAGE_SIZE {
            // SAFETY: as in load_value; a write tag is entered for writable
            // pages alone.
            unsafe { (va.wrapping_add(entry.addend) as *mut T).write_unaligned(value) };
            return Ok(());
        }
        let access = Access { who: self.who, write: true, maintenance: false };
        self.store_slow(va, T::SIZE, value.widen(), access)
    }

    /// Stores two words as STP does: device memory sees two accesses (Arm ARM
    /// B2.2.1), and a fault of the second undoes the first.
    #[inline(always)]
    pub fn store_words(&mut self, va: u64, first: u32, second: u32) -> Result<(), Abandoned> {
        let pair = u64::from(first) | (u64::from(second) << 32);
        let entry = self.tlb.data(va);
        if entry.write == self.tlb.tag(va, self.who) && (va & PAGE_MASK) + 8 <= PAGE_SIZE {
            return self.store_value(va, pair);
        }
        let access = Access { who: self.who, write: true, maintenance: false };
        self.store_parts(va, 8, 4, u128::from(pair), access)
    }

    /// Loads `size` bytes as `access.who`.
    #[inline(never)]
    pub fn load_slow(&mut self, va: u64, size: usize, access: Access) -> Result<u128, Abandoned> {
        let mut bytes = [0; 16];
        self.each_part(va, size, 8, access, |core, va, place, range| match place {
            Place::Ram(ptr) => {
                // SAFETY: each_part gives a pointer to as many bytes of guest
                // memory as the range is long.
                unsafe { std::ptr::copy_nonoverlapping(ptr, bytes[range.clone()].as_mut_ptr(), range.len()) };
                Ok(())
            }
            Place::Device(pa) => {
                let value = core.device_read(va, pa, range.len() as u8)?;
                bytes[range.clone()].copy_from_slice(&value.to_le_bytes()[..range.len()]);
                Ok(())
            }
        })?;
        Ok(u128::from_le_bytes(bytes))
    }

    /// Stores the low `size` bytes of `value` as `access.who`.
    #[inline(never)]
    pub fn store_slow(&mut self, va: u64, size: usize, value: u128, access: Access) -> Result<(), Abandoned> {
        self.store_parts(va, size, 8, value, access)
    }

    fn store_parts(
        &mut self,
        va: u64,
        size: usize,
        widest: usize,
        value: u128,
        access: Access,
    ) -> Result<(), Abandoned> {
        let bytes = value.to_le_bytes();
        self.each_part(va, size, widest, access, |core, va, place, range| match place {
            Place::Ram(ptr) => {
                // SAFETY: as in load_slow.
                unsafe { std::ptr::copy_nonoverlapping(bytes[range.clone()].as_ptr(), ptr, range.len()) };
                Ok(())
            }
            Place::Device(pa) => {
                let mut word = [0; 8];
                word[..range.len()].copy_from_slice(&bytes[range.clone()]);
                core.device_write(va, pa, range.len() as u8, u64::from_le_bytes(word))
            }
        })
    }

    /// Finds every page of an access before touching any, so that one that
    /// faults on its second page or is watched changes nothing; then calls `part` for each
    /// piece. Device memory is met in naturally aligned pieces of up to `widest`
    /// bytes.
    fn each_part(
        &mut self,
        va: u64,
        size: usize,
        widest: usize,
        access: Access,
        mut part: impl FnMut(&mut Core, u64, Place, std::ops::Range<usize>) -> Result<(), Abandoned>,
    ) -> Result<(), Abandoned> {
        let in_first = size.min((PAGE_SIZE - (va & PAGE_MASK)) as usize);
        let first = self.place(va, access)?;
        let pieces = if in_first == size {
            [(va, first, 0..size), (va, first, 0..0)]
        } else {
            let next = va.wrapping_add(in_first as u64);
            let second = self.place(next, access)?;
            [(va, first, 0..in_first), (next, second, in_first..size)]
        };
        self.check_watchpoints(va, size, access)?;
        for (va, place, range) in pieces {
            match place {
                _ if range.is_empty() => {}
                Place::Ram(_) => part(self, va, place, range)?,
                Place::Device(pa) => {
                    let step = range.len().min(widest);
                    // What one page has of an access over two may be any number of bytes.
                    let whole = step.is_power_of_two() && range.len().is_multiple_of(step);
                    if !whole || !pa.is_multiple_of(step as u64) {
                        return Err(self.data_abort(va, status::ALIGNMENT, access));
                    }
                    for offset in (0..range.len()).step_by(step) {
                        let at = range.start + offset;
                        part(self, va + offset as u64, Place::Device(pa + offset as u64), at..at + step)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Translates for `access`, from the TLB or by a walk.
    fn place(&mut self, va: u64, access: Access) -> Result<Place, Abandoned> {
        let tag = self.tlb.tag(va, access.who);
        let entry = self.tlb.data(va);
        if (if access.write { entry.write } else { entry.read }) == tag {
            return Ok(Place::Ram(va.wrapping_add(entry.addend) as *mut u8));
        }
        let leaf = match walk(&self.memory, &self.sys, va) {
            Ok(leaf) => leaf,
            Err(fault) => return Err(self.data_abort(va, fault.status, access)),
        };
        let (readable, writable) = permissions(&leaf, access.who);
        if !(if access.write { writable } else { readable }) {
            return Err(self.data_abort(va, status::PERMISSION | leaf.level, access));
        }
        match self.memory.host_ptr(leaf.page, PAGE_SIZE) {
            Ok(host) => {
                if !self.page_is_watched(va) {
                    let (global, reach) = (leaf.global, leaf.reach());
                    self.tlb.insert_data(va, access.who, host as u64, readable, writable, global, reach);
                }
                Ok(Place::Ram(host.wrapping_add((va & PAGE_MASK) as usize)))
            }
            Err(_) => Ok(Place::Device(leaf.page | (va & PAGE_MASK))),
        }
    }

    /// Host address of `size` bytes at `va`, naturally aligned, for an atomic
    /// access that may write. Atomics on device memory are an external abort
    /// (Arm ARM B2.10.2 leaves it to the implementation).
    pub fn atomic_place(&mut self, va: u64, size: usize, write: bool) -> Result<*mut u8, Abandoned> {
        let access = Access { who: self.who, write, maintenance: false };
        let place = self.aligned_place(va, size, access)?;
        self.check_watchpoints(va, size, access)?;
        self.in_ram(va, place, access)
    }

    /// The place of an atomic access that reads and then writes: what a read
    /// would meet too is reported as a read's fault (Arm ARM D24.2.40, WnR).
    pub fn atomic_update_place(&mut self, va: u64, size: usize) -> Result<*mut u8, Abandoned> {
        let read = Access { who: self.who, write: false, maintenance: false };
        let write = Access { write: true, ..read };
        self.aligned_place(va, size, read)?;
        let place = self.aligned_place(va, size, write)?;
        self.check_watchpoints(va, size, read)?;
        self.check_watchpoints(va, size, write)?;
        self.in_ram(va, place, read)
    }

    fn aligned_place(&mut self, va: u64, size: usize, access: Access) -> Result<Place, Abandoned> {
        if !va.is_multiple_of(size as u64) {
            return Err(self.data_abort(va, status::ALIGNMENT, access));
        }
        self.place(va, access)
    }

    fn in_ram(&mut self, va: u64, place: Place, access: Access) -> Result<*mut u8, Abandoned> {
        match place {
            Place::Ram(ptr) => Ok(ptr),
            Place::Device(_) => Err(self.data_abort(va, status::EXTERNAL, access)),
        }
    }

    /// Abandons the current instruction if it is to store to any of the `size` bytes at `va`, which are of one page, and
    /// can't. For an instruction whose store is made in several parts.
    pub fn check_store(&mut self, va: u64, size: usize) -> Result<(), Abandoned> {
        let access = Access { who: self.who, write: true, maintenance: false };
        self.place(va, access)?;
        self.check_watchpoints(va, size, access)
    }

    /// Abandons the current instruction if the `size` bytes that it invalidates in the cache are watched, which counts
    /// as a store and is reported at `va`, the address that was given (Arm ARM D2.10.6).
    pub fn check_invalidation(&mut self, va: u64, size: u64) -> Result<(), Abandoned> {
        let access = Access { who: self.who, write: false, maintenance: true };
        self.check_watchpoints(va & !(size - 1), size as usize, access)
            .inspect_err(|_| self.report_address(va))
    }

    /// Has the current instruction's exception report `va`.
    pub fn report_address(&mut self, va: u64) {
        if let Some(Event::Exception { address: Some(address), .. }) = &mut self.event {
            *address = va;
        }
    }

    /// Physical address of `va` for cache maintenance, which faults like a read.
    pub fn maintenance_address(&mut self, va: u64) -> Result<u64, Abandoned> {
        let access = Access { who: self.who, write: false, maintenance: true };
        self.place(va, access)?;
        walk(&self.memory, &self.sys, va)
            .map(|leaf| leaf.page | (va & PAGE_MASK))
            .map_err(|fault| self.data_abort(va, fault.status, access))
    }

    /// Abandons the current instruction for a data abort at `va`.
    #[cold]
    pub fn data_abort(&mut self, va: u64, status: u8, access: Access) -> Abandoned {
        let class = if self.el0 { class::DATA_ABORT_LOWER } else { class::DATA_ABORT_SAME };
        self.raise(class, u32::from(status) | access.syndrome(), Some(va))
    }

    fn device_read(&mut self, va: u64, gpa: u64, size: u8) -> Result<u64, Abandoned> {
        match self.machine_answer() {
            Some(Some(value)) => Ok(value),
            Some(None) => Err(self.external_abort(va, false)),
            None => Err(self.exit(Exit::MmioRead { gpa, size })),
        }
    }

    fn device_write(&mut self, va: u64, gpa: u64, size: u8, value: u64) -> Result<(), Abandoned> {
        match self.machine_answer() {
            Some(Some(_)) => Ok(()),
            Some(None) => Err(self.external_abort(va, true)),
            None => Err(self.exit(Exit::MmioWrite { gpa, size, value })),
        }
    }

    #[cold]
    fn external_abort(&mut self, va: u64, write: bool) -> Abandoned {
        self.data_abort(va, status::EXTERNAL, Access { who: self.who, write, maintenance: false })
    }

    /// Abandons the current instruction until the machine has answered.
    #[cold]
    pub fn exit(&mut self, exit: Exit) -> Abandoned {
        self.event = Some(Event::Exit(exit));
        Abandoned
    }

    /// The machine's next answer to this instruction, if it has come: a value,
    /// or None inside for an access that hit nothing.
    pub fn machine_answer(&mut self) -> Option<Option<u64>> {
        let answer = self.answers.get(self.answered).copied();
        self.answered += usize::from(answer.is_some());
        answer
    }
}

/// Whether `who` may read and write the page (Arm ARM D8.4.1).
pub fn permissions(leaf: &Leaf, who: u64) -> (bool, bool) {
    if who & AS_EL0 != 0 {
        (leaf.read_el0, leaf.write_el0)
    } else {
        // Translation off: PAN does not apply (level 0 is no leaf's).
        let kept_out = who & WITH_PAN != 0 && leaf.read_el0 && leaf.level != 0;
        (!kept_out, leaf.write_el1 && !kept_out)
    }
}
