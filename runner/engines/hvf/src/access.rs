//! Loads and stores of device memory.
//!
//! For one register without writeback the processor says which register, how wide and with which sign (Arm ARM D24.2.40,
//! ISV). For others the instruction itself must be looked at: pairs, and those that also move their base register. Each
//! access that it makes is one for the machine.

/// Registers as fields of an instruction name them: 31 is the zero register.
pub(crate) const ZERO: u8 = 31;

/// One access to device memory or to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Access {
    /// Where, from the instruction's address.
    pub(crate) offset: u64,
    /// Width in bytes: 1, 2, 4 or 8.
    pub(crate) size: u8,
    /// What it does.
    pub(crate) what: What,
}

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    /// Stores a register's low bits.
    Store(u8),
    /// Loads a register.
    Load {
        /// Its number.
        register: u8,
        /// The value is sign-extended.
        signed: bool,
        /// To 64 bits rather than 32.
        wide: bool,
    },
}

/// What one instruction does to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoadStore {
    /// The accesses, in order.
    pub(crate) accesses: [Option<Access>; 2],
    /// The base register, 31 for SP, and where the first access is from its value.
    pub(crate) base: (u8, i64),
    /// What is added to the base register afterwards.
    pub(crate) writeback: i64,
}

/// The access that the syndrome of a data abort describes, if it is valid.
pub(crate) fn from_syndrome(syndrome: u64) -> Option<Access> {
    const ISV: u64 = 1 << 24;
    if syndrome & ISV == 0 {
        return None;
    }
    let register = (syndrome >> 16 & 31) as u8;
    let what = if syndrome & 1 << 6 != 0 {
        What::Store(register)
    } else {
        What::Load { register, signed: syndrome & 1 << 21 != 0, wide: syndrome & 1 << 15 != 0 }
    };
    Some(Access { offset: 0, size: 1 << (syndrome >> 22 & 3), what })
}

/// The accesses of an instruction that has no valid syndrome (Arm ARM C4.1.93); None if it is none of these.
pub(crate) fn decode(word: u32) -> Option<LoadStore> {
    let (rt, base) = ((word & 31) as u8, (word >> 5 & 31) as u8);
    let bits = |high: u32, low: u32| word >> low & ((1 << (high - low + 1)) - 1);
    // Load/store register, immediate post-indexed and pre-indexed, of general registers.
    if bits(29, 24) == 0b11_1000 && bits(21, 21) == 0 && bits(10, 10) == 1 {
        let size = 1u8 << bits(31, 30);
        let what = match (bits(23, 22), size) {
            (0, _) => What::Store(rt),
            (1, _) => What::Load { register: rt, signed: false, wide: true },
            (2, 1 | 2 | 4) => What::Load { register: rt, signed: true, wide: true },
            (3, 1 | 2) => What::Load { register: rt, signed: true, wide: false },
            _ => return None,
        };
        let immediate = i64::from((bits(20, 12) << 23) as i32 >> 23);
        let before = if bits(11, 11) == 1 { immediate } else { 0 };
        let access = Access { offset: 0, size, what };
        return Some(LoadStore {
            accesses: [Some(access), None],
            base: (base, before),
            writeback: immediate,
        });
    }
    // Load/store pair, with and without writeback, of general registers.
    if bits(29, 26) == 0b1010 && bits(25, 25) == 0 {
        let (size, signed) = match bits(31, 30) {
            0 => (4, false),
            1 if bits(22, 22) == 1 => (4, true),
            2 => (8, false),
            _ => return None,
        };
        let second = (word >> 10 & 31) as u8;
        let immediate = i64::from((bits(21, 15) << 25) as i32 >> 25) * i64::from(size);
        let (before, writeback) = match bits(24, 23) {
            // Post-indexed, pre-indexed; else an offset alone.
            1 => (0, immediate),
            3 => (immediate, immediate),
            _ => (immediate, 0),
        };
        let load = bits(22, 22) == 1;
        let access = |register, offset| {
            let what = if load { What::Load { register, signed, wide: true } } else { What::Store(register) };
            Some(Access { offset, size, what })
        };
        let accesses = [access(rt, 0), access(second, u64::from(size))];
        return Some(LoadStore { accesses, base: (base, before), writeback });
    }
    None
}

/// Whether an instruction is an exclusive or an atomic access, which devices do not have (Arm ARM C4.1.93).
pub(crate) fn is_atomic(word: u32) -> bool {
    let exclusive = word >> 24 & 0x3f == 0b00_1000;
    let atomic = word >> 24 & 0x3f == 0b11_1000 && word >> 21 & 1 == 1 && word >> 10 & 3 == 0;
    exclusive || atomic
}

/// What a register holds after `value` was loaded, zero-extended, by an access of `size` bytes.
pub(crate) fn loaded(value: u64, size: u8, signed: bool, wide: bool) -> u64 {
    let unused = 64 - 8 * u32::from(size.clamp(1, 8));
    let value = if signed { ((value << unused) as i64 >> unused) as u64 } else { value << unused >> unused };
    if wide { value } else { value & 0xffff_ffff }
}

/// What an access of `size` bytes stores of a register that holds `value`.
pub(crate) fn stored(value: u64, size: u8) -> u64 {
    loaded(value, size, false, true)
}
