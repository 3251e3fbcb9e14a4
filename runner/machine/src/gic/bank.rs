//! Thirty-two interrupts and the registers that configure them.
//!
//! The distributor (SPIs) and each redistributor (SGIs and PPIs) show the same
//! registers at the same offsets of a frame, one 32-interrupt bank after the
//! other (Arm IHI 0069, 12.8 and 12.10), so one type serves both.

use serde::{Deserialize, Serialize};

/// Implemented bits of a priority: five, so 32 levels (Arm IHI 0069, 4.8).
pub(super) const PRIORITY_MASK: u8 = 0xf8;

/// State of 32 interrupts; bit `n` of each word is interrupt `n` of the bank.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bank {
    /// In Group 1; else in Group 0.
    pub group1: u32,
    /// Forwarding enabled.
    pub enabled: u32,
    /// Made pending by an edge or by a write, until acknowledged or cleared.
    pub latch: u32,
    /// Level of the input line.
    pub level: u32,
    /// Edge-triggered; else level-sensitive.
    pub edge: u32,
    /// Acknowledged and not yet deactivated.
    pub active: u32,
    /// Priority of each interrupt; lower is more urgent.
    pub priority: [u8; 32],
}

/// A register of a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    Group,
    SetEnable,
    ClearEnable,
    SetPending,
    ClearPending,
    SetActive,
    ClearActive,
    /// Priorities of the interrupts from this one on, a byte each.
    Priority(usize),
    /// Trigger of 16 interrupts: the lower or the upper half of the bank.
    Config(usize),
}

/// The bank and register at `offset` of a frame, or `None` where the frame has
/// something else or the access is too narrow or wide: only the priorities are
/// byte-accessible (Arm IHI 0069, 12.1, GIC memory-mapped register access).
pub(super) fn locate(offset: u64, size: u8) -> Option<(usize, Register)> {
    let offset = usize::try_from(offset).ok()?;
    if (0x400..0x800).contains(&offset) {
        return (size == 4 || size == 1).then_some({
            let intid = offset - 0x400;
            (intid / 32, Register::Priority(intid % 32))
        });
    }
    if size != 4 {
        return None;
    }
    let register = match offset {
        0x080..0x100 => Register::Group,
        0x100..0x180 => Register::SetEnable,
        0x180..0x200 => Register::ClearEnable,
        0x200..0x280 => Register::SetPending,
        0x280..0x300 => Register::ClearPending,
        0x300..0x380 => Register::SetActive,
        0x380..0x400 => Register::ClearActive,
        0xc00..0xd00 => {
            let word = (offset - 0xc00) / 4;
            return Some((word / 2, Register::Config(word % 2)));
        }
        _ => return None,
    };
    Some(((offset % 0x80) / 4, register))
}

impl Bank {
    /// Interrupts that are pending: latched, or level-sensitive with their line
    /// high (Arm IHI 0069, 4.1.2).
    pub(super) fn pending(&self) -> u32 {
        self.latch | (self.level & !self.edge)
    }

    /// Interrupts that may be signalled when the named groups are enabled. An
    /// active one waits for its deactivation even if it is pending again
    /// (Arm IHI 0069, 4.1.2, active and pending).
    pub(super) fn candidates(&self, group0: bool, group1: bool) -> u32 {
        let groups = (if group0 { !self.group1 } else { 0 }) | (if group1 { self.group1 } else { 0 });
        self.pending() & self.enabled & !self.active & groups
    }

    /// Drives the input line of the interrupt `bit`; says whether it changed.
    /// The rising edge of an edge-triggered interrupt is latched.
    pub(super) fn set_level(&mut self, bit: u32, level: bool) -> bool {
        if (self.level & bit != 0) == level {
            return false;
        }
        self.level ^= bit;
        if level {
            self.latch |= bit & self.edge;
        }
        true
    }

    /// Pending becomes active. A level-sensitive interrupt whose line is still
    /// high is then active and pending.
    pub(super) fn acknowledge(&mut self, bit: u32) {
        self.latch &= !bit;
        self.active |= bit;
    }

    pub(super) fn read(&self, register: Register, size: u8) -> u32 {
        match register {
            Register::Group => self.group1,
            Register::SetEnable | Register::ClearEnable => self.enabled,
            Register::SetPending | Register::ClearPending => self.pending(),
            Register::SetActive | Register::ClearActive => self.active,
            Register::Priority(first) => {
                let bytes = self.priority.iter().skip(first).take(size.into());
                bytes.rev().fold(0, |value, byte| value << 8 | u32::from(*byte))
            }
            // Bit 1 of each two-bit field is the trigger; bit 0 is reserved.
            Register::Config(half) => {
                (0..16).fold(0, |value, n| value | ((self.edge >> (16 * half + n)) & 1) << (2 * n + 1))
            }
        }
    }

    /// Takes a write; `fixed_trigger` holds the interrupts whose trigger the
    /// guest can't change.
    pub(super) fn write(&mut self, register: Register, size: u8, value: u32, fixed_trigger: u32) {
        match register {
            Register::Group => self.group1 = value,
            Register::SetEnable => self.enabled |= value,
            Register::ClearEnable => self.enabled &= !value,
            Register::SetPending => self.latch |= value,
            // A line that is high keeps its interrupt pending.
            Register::ClearPending => self.latch &= !value,
            Register::SetActive => self.active |= value,
            Register::ClearActive => self.active &= !value,
            Register::Priority(first) => {
                let bytes = self.priority.iter_mut().skip(first).take(size.into());
                bytes.zip(value.to_le_bytes()).for_each(|(priority, new)| *priority = new & PRIORITY_MASK);
            }
            Register::Config(half) => {
                let edge = (0..16).fold(0, |edge, n| edge | ((value >> (2 * n + 1)) & 1) << (16 * half + n));
                let writable = (0xffff << (16 * half)) & !fixed_trigger;
                self.edge = (self.edge & !writable) | (edge & writable);
            }
        }
    }
}
