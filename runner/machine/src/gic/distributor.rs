//! The distributor's frame: shared peripheral interrupts and their routing
//! (Arm IHI 0069, 12.8 and 12.9).

use serde::{Deserialize, Serialize};

use super::{
    Gic, SPI_BANKS,
    bank::{Bank, locate},
};

/// Saved state of the distributor.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DistributorState {
    /// GICD_CTLR.EnableGrp0.
    pub enable_group0: bool,
    /// GICD_CTLR.EnableGrp1.
    pub enable_group1: bool,
    /// SPIs, from INTID 32.
    pub spis: [SpiBank; SPI_BANKS],
}

/// Thirty-two SPIs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpiBank {
    /// Their state.
    pub interrupts: Bank,
    /// GICD_IROUTER of each.
    pub route: [u64; 32],
}

/// GICD_IROUTER.Interrupt_Routing_Mode: any one participating PE.
pub(super) const ROUTE_ANY: u64 = 1 << 31;
/// Implemented bits of GICD_IROUTER: Aff0 to Aff2 and the routing mode. Aff3 is
/// reserved as GICD_TYPER.A3V is 0.
pub(super) const ROUTE_MASK: u64 = ROUTE_ANY | 0x00ff_ffff;

const CTLR: u64 = 0x0000;
const TYPER: u64 = 0x0004;
const IIDR: u64 = 0x0008;
/// GICD_IROUTER<32>; those of private interrupts are reserved.
const IROUTER: u64 = 0x6100;
const IROUTER_END: u64 = IROUTER + 8 * 32 * SPI_BANKS as u64;

/// GICD_CTLR.EnableGrp0.
const CTLR_GROUP0: u32 = 1 << 0;
/// GICD_CTLR.EnableGrp1.
const CTLR_GROUP1: u32 = 1 << 1;
/// GICD_CTLR.ARE and DS, both read-as-one: affinity routing and a single
/// security state are all that this GIC has. RWP always reads as zero, for a
/// write takes effect before the guest's next instruction.
const CTLR_FIXED: u32 = 1 << 4 | 1 << 6;

/// ITLinesNumber for all banks with the private one, and IDbits for ten-bit
/// INTIDs. Everything else is zero: no LPIs, no message-based SPIs, no Aff3,
/// no extended ranges.
const TYPER_VALUE: u32 = SPI_BANKS as u32 | 9 << 19;

/// GICD_IIDR and GICR_IIDR: product "S", revision 0, and no JEP106 implementer,
/// so that no driver takes this for a part that it knows errata of.
pub(super) const IIDR_VALUE: u32 = 0x53 << 24;

/// Identification registers, at the end of each 64 KiB frame (Arm IHI 0069,
/// 12.1, Identification registers): GICv3 in PIDR2, and a component of class 0xf.
pub(super) fn identification(offset: u64) -> u32 {
    match offset {
        0xffe8 => 0x30,
        0xfff0 => 0x0d,
        0xfff4 => 0xf0,
        0xfff8 => 0x05,
        0xfffc => 0xb1,
        _ => 0,
    }
}

/// Bank and bit of a 64-bit routing register, and which half of it.
fn route_at(offset: u64) -> Option<(usize, usize, bool)> {
    if !(IROUTER..IROUTER_END).contains(&offset) {
        return None;
    }
    let spi = ((offset - IROUTER) / 8) as usize;
    Some((spi / 32, spi % 32, offset % 8 >= 4))
}

impl Gic {
    /// Reads the distributor's frame. What it does not define, or not for this
    /// width, reads as zero.
    pub fn dist_read(&self, offset: u64, size: u8) -> u64 {
        let distributor = &self.state.distributor;
        if let Some((bank, bit, upper)) = route_at(offset) {
            let route = distributor.spis.get(bank).and_then(|b| b.route.get(bit)).copied().unwrap_or(0);
            return match (size, upper) {
                (8, false) => route,
                (4, false) => route & 0xffff_ffff,
                (4, true) => route >> 32,
                _ => 0,
            };
        }
        if let Some((bank, register)) = locate(offset, size) {
            // Bank 0 lives in the redistributors when affinity routing is on.
            let spis = bank.checked_sub(1).and_then(|n| distributor.spis.get(n));
            return spis.map_or(0, |b| b.interrupts.read(register, size)).into();
        }
        if size != 4 {
            return 0;
        }
        u64::from(match offset {
            CTLR => {
                CTLR_FIXED
                    | if distributor.enable_group0 { CTLR_GROUP0 } else { 0 }
                    | if distributor.enable_group1 { CTLR_GROUP1 } else { 0 }
            }
            TYPER => TYPER_VALUE,
            IIDR => IIDR_VALUE,
            _ => identification(offset),
        })
    }

    /// Writes the distributor's frame. What it does not define, or not for this
    /// width, is ignored.
    pub fn dist_write(&mut self, offset: u64, size: u8, value: u64) {
        let distributor = &mut self.state.distributor;
        if let Some((bank, bit, upper)) = route_at(offset) {
            let Some(route) = distributor.spis.get_mut(bank).and_then(|b| b.route.get_mut(bit)) else {
                return;
            };
            let new = match (size, upper) {
                (8, false) => value,
                (4, false) => *route & !0xffff_ffff | value & 0xffff_ffff,
                (4, true) => *route & 0xffff_ffff | value << 32,
                _ => return,
            };
            *route = new & ROUTE_MASK;
        } else if let Some((bank, register)) = locate(offset, size) {
            let Some(spis) = bank.checked_sub(1).and_then(|n| distributor.spis.get_mut(n)) else {
                return;
            };
            spis.interrupts.write(register, size, value as u32, 0);
        } else if offset == CTLR && size == 4 {
            distributor.enable_group0 = value as u32 & CTLR_GROUP0 != 0;
            distributor.enable_group1 = value as u32 & CTLR_GROUP1 != 0;
        } else {
            return;
        }
        self.update_all();
    }
}
