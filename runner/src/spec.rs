//! What a machine is made with.

use machine::layout::MAX_VCPUS;
use serde::{Deserialize, Serialize};

/// The parts of a guest's hardware that differ from guest to guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MachineSpec {
    /// Virtual processors.
    pub cpus: usize,
    /// RAM in bytes.
    pub memory: u64,
    /// Width of the display in pixels.
    pub width: u32,
    /// Height of the display in pixels.
    pub height: u32,
}

/// RAM is a multiple of this: the largest page of a host.
pub const MEMORY_STEP: u64 = 64 << 10;

/// The least RAM that a kernel gets going in.
const MIN_MEMORY: u64 = 16 << 20;

/// The most RAM: far more than a browser needs, far less than the address space.
const MAX_MEMORY: u64 = 64 << 30;

impl MachineSpec {
    /// Checks every figure against what a machine can be.
    ///
    /// # Errors
    /// Names the first that can't be.
    pub fn check(&self) -> Result<(), String> {
        let MachineSpec { cpus, memory, width, height } = *self;
        if !(1..=MAX_VCPUS).contains(&cpus) {
            return Err(format!("{cpus} processors; it can have 1 to {MAX_VCPUS}"));
        }
        if !(MIN_MEMORY..=MAX_MEMORY).contains(&memory) || !memory.is_multiple_of(MEMORY_STEP) {
            return Err(format!(
                "{memory} bytes of memory; it can have {} MiB to {} GiB in steps of {} KiB",
                MIN_MEMORY >> 20,
                MAX_MEMORY >> 30,
                MEMORY_STEP >> 10
            ));
        }
        let sides = machine::virtio::gpu::MIN_DISPLAY_SIDE..=machine::virtio::gpu::MAX_DISPLAY_SIDE;
        if !sides.contains(&width) || !sides.contains(&height) {
            return Err(format!(
                "a display of {width}x{height}; each side can have {} to {} pixels",
                sides.start(),
                sides.end()
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_can_be() {
        let good = MachineSpec { cpus: 2, memory: 2 << 30, width: 1280, height: 720 };
        assert_eq!(good.check(), Ok(()));
        for bad in [
            MachineSpec { cpus: 0, ..good },
            MachineSpec { cpus: MAX_VCPUS + 1, ..good },
            MachineSpec { memory: 0, ..good },
            MachineSpec { memory: (2 << 30) + 4096, ..good },
            MachineSpec { memory: u64::MAX, ..good },
            MachineSpec { width: 0, ..good },
            MachineSpec { height: 100_000, ..good },
        ] {
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
