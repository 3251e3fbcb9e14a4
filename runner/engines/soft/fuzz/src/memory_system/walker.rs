//! Stage 1 translation of the EL1&0 regime as the Arm ARM tells it (D8.2 to D8.4), for the 4 KiB granule: written
//! apart from the engine's, without a TLB, over a copy of the memory.

use machine::layout::RAM_BASE;

/// The registers that decide.
#[derive(Clone, Copy, Debug, Default)]
pub struct Regime {
    /// SCTLR_EL1.
    pub sctlr: u64,
    /// TCR_EL1.
    pub tcr: u64,
    /// TTBR0_EL1 and TTBR1_EL1.
    pub ttbr: [u64; 2],
    /// MAIR_EL1.
    pub mair: u64,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// EL0, or EL1 on its behalf.
    Unprivileged,
    /// EL1, with PSTATE.PAN or without.
    Privileged {
        /// PSTATE.PAN
        pan: bool,
    },
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To load.
    Read,
    /// To store.
    Write,
    /// To execute.
    Fetch,
}

/// What a valid last descriptor says.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Physical address.
    pub pa: u64,
    /// Its level, or 0 with the MMU off.
    pub level: u8,
    /// Byte of MAIR_EL1.
    pub attributes: u8,
    /// Bytes that the descriptor maps.
    pub size: u64,
    /// Belongs to one ASID.
    pub not_global: bool,
    read_only: bool,
    el0: bool,
    pxn: bool,
    uxn: bool,
    wxn: bool,
}

/// A walk's end.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    /// Address of the last descriptor that was read.
    pub descriptor: Option<u64>,
    /// What it leads to, or a fault status code.
    pub end: Result<Found, u8>,
}

/// Bits `high` to `low` of `value`.
fn field(value: u64, high: u32, low: u32) -> u64 {
    value << (63 - high) >> (63 - high + low)
}

fn flag(value: u64, bit: u32) -> bool {
    field(value, bit, bit) == 1
}

/// With the MMU off an address is a physical one, of 40 bits, and everything is allowed.
fn untranslated(va: u64, top: u32) -> Result<Found, u8> {
    if field(va, top, 40) != 0 {
        return Err(0b000000);
    }
    Ok(Found {
        pa: field(va, 39, 0),
        level: 0,
        attributes: 0xff,
        size: 1 << 12,
        not_global: false,
        read_only: false,
        el0: true,
        pxn: false,
        uxn: false,
        wxn: false,
    })
}

impl Regime {
    /// Walks for `va` through the tables in `ram`.
    pub fn walk(&self, ram: &[u8], va: u64) -> Walk {
        let nowhere = |level: u8| Walk { descriptor: None, end: Err(0b000100 | level) };
        let half = usize::from(flag(va, 55));
        let (size_offset, walks_disabled, ignores_top) = match half {
            0 => (field(self.tcr, 5, 0), flag(self.tcr, 7), flag(self.tcr, 37)),
            _ => (field(self.tcr, 21, 16), flag(self.tcr, 23), flag(self.tcr, 38)),
        };
        if !flag(self.sctlr, 0) {
            return Walk { descriptor: None, end: untranslated(va, if ignores_top { 55 } else { 63 }) };
        }
        let bits = 64 - size_offset.clamp(16, 39) as u32;
        // What is not translated must be all zeros, or all ones.
        let above = field(va, if ignores_top { 55 } else { 63 }, bits);
        let all = field(u64::MAX, if ignores_top { 55 } else { 63 }, bits);
        if above != if half == 0 { 0 } else { all } || walks_disabled {
            return nowhere(0);
        }
        // Levels resolve bits 47 to 39, 38 to 30, 29 to 21 and 20 to 12.
        let first = (0..=3).rev().find(|level| 48 - 9 * level >= bits).unwrap_or(0);
        let entries = 1u64 << (bits - (39 - 9 * first));
        let mut table = field(self.ttbr[half], 47, 1) << 1 & !(entries * 8 - 1);
        let (mut ap_table, mut pxn_table, mut uxn_table) = (0, false, false);
        let mut level = first;
        loop {
            let low = 39 - 9 * level;
            let high = if level == first { bits - 1 } else { low + 8 };
            if field(table, 47, 40) != 0 {
                return Walk { descriptor: None, end: Err(level as u8) };
            }
            let at = table + 8 * field(va, high, low);
            let Some(bytes) = at.checked_sub(RAM_BASE).and_then(|at| ram.get(at as usize..at as usize + 8))
            else {
                return Walk { descriptor: None, end: Err(0b010100 | level as u8) };
            };
            let value = bytes.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte));
            let end = |end| Walk { descriptor: Some(at), end };
            let valid = flag(value, 0);
            let is_table = flag(value, 1) && level < 3;
            let is_block = !flag(value, 1) && (level == 1 || level == 2);
            let is_page = flag(value, 1) && level == 3;
            if !valid || !(is_table || is_block || is_page) {
                return end(Err(0b000100 | level as u8));
            }
            if is_table {
                ap_table |= field(value, 62, 61);
                uxn_table |= flag(value, 60);
                pxn_table |= flag(value, 59);
                table = field(value, 47, 12) << 12;
                level += 1;
                continue;
            }
            if field(value, 47, 40) != 0 {
                return end(Err(level as u8));
            }
            if !flag(value, 10) {
                return end(Err(0b001000 | level as u8));
            }
            let index = 8 * field(value, 4, 2);
            return end(Ok(Found {
                pa: field(value, 47, low) << low | field(va, low - 1, 0),
                level: level as u8,
                attributes: (self.mair >> index) as u8,
                size: 1 << low,
                not_global: flag(value, 11),
                read_only: flag(value, 7) || flag(ap_table, 1),
                el0: flag(value, 6) && !flag(ap_table, 0),
                pxn: flag(value, 53) || pxn_table,
                uxn: flag(value, 54) || uxn_table,
                wxn: flag(self.sctlr, 19),
            }));
        }
    }

    /// Translates for an access: the walk, then the permissions.
    pub fn translate(&self, ram: &[u8], va: u64, who: Who, kind: Kind) -> Result<Found, u8> {
        let found = self.walk(ram, va).end?;
        if found.allows(who, kind) { Ok(found) } else { Err(0b001100 | found.level) }
    }
}

impl Found {
    /// Direct permissions (Arm ARM D8.4.1, AArch64.S1DirectBasePermissions). With the MMU off everything is allowed.
    fn allows(&self, who: Who, kind: Kind) -> bool {
        let writes = !self.read_only;
        let el0_writes = self.el0 && writes;
        match (who, kind) {
            _ if self.level == 0 => true,
            (Who::Unprivileged, Kind::Read) => self.el0,
            (Who::Unprivileged, Kind::Write) => el0_writes,
            // EL0 may execute what it can't read.
            (Who::Unprivileged, Kind::Fetch) => !(self.uxn || self.wxn && el0_writes),
            (Who::Privileged { pan }, Kind::Read) => !(pan && self.el0),
            (Who::Privileged { pan }, Kind::Write) => !(self.read_only || pan && self.el0),
            (Who::Privileged { .. }, Kind::Fetch) => !(self.pxn || el0_writes || self.wxn && writes),
        }
    }
}
