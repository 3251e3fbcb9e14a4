//! The registers of self-hosted debug (Arm ARM D24.3).

use machine::engine::SysReg;

use super::name;
use crate::{
    core::{Core, Maintenance},
    debug::mdscr,
};

/// Bits of DBGBCRn_EL1 that are there: E, PMC, HMC, SSC, LBN and BT.
const DBGBCR_MASK: u64 = 1 | 3 << 1 | 1 << 13 | 3 << 14 | 15 << 16 | 15 << 20;
/// BAS, which is RES1 without AArch32.
const DBGBCR_RES1: u64 = 15 << 5;
/// Bits of DBGWCRn_EL1 that are there: E, PAC, LSC, BAS, HMC, SSC, LBN, WT and MASK.
const DBGWCR_MASK: u64 = 1 | 3 << 1 | 3 << 3 | 0xff << 5 | 1 << 13 | 3 << 14 | 15 << 16 | 1 << 20 | 31 << 24;

/// A register of the debug space that holds state.
enum Held {
    Mdscr,
    OsDoubleLock,
    /// DBGBVRn_EL1 and DBGBCRn_EL1: the number, and which of the two.
    Breakpoint(usize, usize),
    /// DBGWVRn_EL1 and DBGWCRn_EL1.
    Watchpoint(usize, usize),
}

/// Whether `encoding` is of a DBGBVR, DBGBCR, DBGWVR or DBGWCR, there or not: op0 2, CRn 0, CRm n, op2 4 to 7.
pub(super) fn is_comparator(encoding: u16) -> bool {
    comparator(encoding).is_some()
}

fn comparator(encoding: u16) -> Option<(usize, u16)> {
    const FIRST: u16 = SysReg::new(2, 0, 0, 0, 0).encoding();
    let within = encoding.checked_sub(FIRST).filter(|&e| e < 1 << 7)?;
    (within & 7 >= 4).then_some((usize::from(within >> 3), within & 7))
}

impl Core {
    fn held(&self, encoding: u16) -> Option<Held> {
        match encoding {
            name::MDSCR_EL1 => return Some(Held::Mdscr),
            name::OSDLR_EL1 => return Some(Held::OsDoubleLock),
            _ => {}
        }
        let (n, op2) = comparator(encoding)?;
        let which = usize::from(op2 & 1);
        match op2 {
            4 | 5 if n < self.sys.breakpoints.len() => Some(Held::Breakpoint(n, which)),
            6 | 7 if n < self.sys.watchpoints.len() => Some(Held::Watchpoint(n, which)),
            _ => None,
        }
    }

    /// The value of a debug register, if `encoding` is one that holds state.
    pub(super) fn read_debug_register(&self, encoding: u16) -> Option<u64> {
        Some(match self.held(encoding)? {
            Held::Mdscr => self.sys.mdscr_el1,
            Held::OsDoubleLock => self.sys.osdlr_el1,
            Held::Breakpoint(n, 0) => self.sys.breakpoints[n][0],
            Held::Breakpoint(n, _) => self.sys.breakpoints[n][1] | DBGBCR_RES1,
            Held::Watchpoint(n, which) => self.sys.watchpoints[n][which],
        })
    }

    /// Writes a debug register; whether `encoding` is one that holds state.
    pub(super) fn write_debug_register(&mut self, encoding: u16, value: u64) -> bool {
        let Some(register) = self.held(encoding) else { return false };
        match register {
            Held::Mdscr => {
                let writable = if self.sys.os_lock { mdscr::WRITABLE_LOCKED } else { mdscr::WRITABLE };
                let before = self.monitors_enabled();
                self.sys.mdscr_el1 = (self.sys.mdscr_el1 & !writable) | (value & writable);
                if !before {
                    self.watch_all_pages();
                }
            }
            Held::OsDoubleLock => {
                self.sys.osdlr_el1 = value & 1;
                self.watch_all_pages();
            }
            Held::Breakpoint(n, which) => {
                self.sys.breakpoints[n][which] = if which == 0 { value } else { value & DBGBCR_MASK };
                self.maintenance.push(Maintenance::Breakpoints);
            }
            Held::Watchpoint(n, which) => {
                self.sys.watchpoints[n][which] = if which == 0 { value } else { value & DBGWCR_MASK };
                self.watch_pages(n);
            }
        }
        true
    }

    /// Sets or clears the OS lock (OSLAR_EL1).
    pub(super) fn set_os_lock(&mut self, locked: bool) {
        self.sys.os_lock = locked;
        self.watch_all_pages();
    }
}
