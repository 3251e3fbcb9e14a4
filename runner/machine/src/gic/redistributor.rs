//! The redistributors' frames: each vCPU's private interrupts (Arm IHI 0069,
//! 12.10 and 12.11).

use serde::{Deserialize, Serialize};

use super::{
    Gic,
    bank::{Bank, locate},
    distributor::{IIDR_VALUE, identification},
};
use crate::layout::GICR_STRIDE;

/// SGIs are edge-triggered, always (Arm IHI 0069, 4.4).
pub(super) const SGIS: u32 = 0xffff;

/// Saved state of one redistributor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedistributorState {
    /// GICR_WAKER.ProcessorSleep: nothing is forwarded to the vCPU.
    pub processor_sleep: bool,
    /// SGIs and PPIs.
    pub interrupts: Bank,
}

impl Default for RedistributorState {
    /// The state after reset: asleep, until the guest's driver wakes it
    /// (Arm IHI 0069, 12.11, GICR_WAKER).
    fn default() -> Self {
        RedistributorState { processor_sleep: true, interrupts: Bank { edge: SGIS, ..Bank::default() } }
    }
}

const IIDR: u64 = 0x0004;
const TYPER: u64 = 0x0008;
const TYPER_HIGH: u64 = 0x000c;
const WAKER: u64 = 0x0014;
/// SGI_base, the second frame of a redistributor.
const SGI_BASE: u64 = 0x1_0000;

/// GICR_WAKER.ProcessorSleep and ChildrenAsleep. The second follows the first
/// at once.
const WAKER_SLEEP: u32 = 1 << 1;
const WAKER_CHILDREN_ASLEEP: u32 = 1 << 2;

/// GICR_TYPER: affinity, processor number, and whether this is the last
/// redistributor of the region. No LPIs, no 1-of-N opt-out.
fn typer(cpu: usize, cpus: usize) -> u64 {
    let cpu64 = cpu as u64;
    cpu64 << 32 | cpu64 << 8 | u64::from(cpu + 1 == cpus) << 4
}

impl Gic {
    /// Reads the redistributors' region; `offset` counts from the first one.
    /// What they do not define, or not for this width, reads as zero.
    pub fn redist_read(&self, offset: u64, size: u8) -> u64 {
        let (cpu, offset) = ((offset / GICR_STRIDE) as usize, offset % GICR_STRIDE);
        let Some(redistributor) = self.state.redistributors.get(cpu) else {
            return 0;
        };
        if let Some(offset) = offset.checked_sub(SGI_BASE) {
            return match locate(offset, size) {
                Some((0, register)) => redistributor.interrupts.read(register, size).into(),
                _ => 0,
            };
        }
        let typer = typer(cpu, self.cpus());
        match (offset, size) {
            (TYPER, 8) => typer,
            (TYPER, 4) => typer & 0xffff_ffff,
            (TYPER_HIGH, 4) => typer >> 32,
            (IIDR, 4) => IIDR_VALUE.into(),
            (WAKER, 4) if redistributor.processor_sleep => (WAKER_SLEEP | WAKER_CHILDREN_ASLEEP).into(),
            (_, 4) => identification(offset).into(),
            _ => 0,
        }
    }

    /// Writes the redistributors' region; `offset` counts from the first one.
    /// What they do not define, or not for this width, is ignored.
    pub fn redist_write(&mut self, offset: u64, size: u8, value: u64) {
        let (cpu, offset) = ((offset / GICR_STRIDE) as usize, offset % GICR_STRIDE);
        let Some(redistributor) = self.state.redistributors.get_mut(cpu) else {
            return;
        };
        if let Some(offset) = offset.checked_sub(SGI_BASE) {
            if let Some((0, register)) = locate(offset, size) {
                redistributor.interrupts.write(register, size, value as u32, SGIS);
                self.update(cpu);
            }
        } else if (offset, size) == (WAKER, 4) {
            redistributor.processor_sleep = value as u32 & WAKER_SLEEP != 0;
            // Another vCPU may now be the one to take 1-of-N interrupts.
            self.update_all();
        }
    }
}
