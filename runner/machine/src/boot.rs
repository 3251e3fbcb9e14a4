//! Puts a kernel into a fresh machine and makes it ready to start.

use crate::{
    board::Machine,
    cpu_state::CpuState,
    fdt::{self, BoardParams, FdtError},
    image::{self, ImageError},
};

/// What to boot.
#[derive(Clone, Copy, Debug)]
pub struct Boot<'a> {
    /// An arm64 `Image`.
    pub kernel: &'a [u8],
    /// An initramfs, in any form that the kernel unpacks.
    pub initrd: Option<&'a [u8]>,
    /// The kernel's command line.
    pub command_line: &'a str,
    /// Random bytes for the kernel, so that its random numbers are good early.
    pub rng_seed: &'a [u8],
}

/// Why a kernel can't be booted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub enum BootError {
    #[error(transparent)]
    Image(#[from] ImageError),
    #[error(transparent)]
    DeviceTree(#[from] FdtError),
}

/// Loads kernel, initramfs and device tree into the machine's memory, and
/// gives the state in which its first vCPU starts.
///
/// # Errors
/// If the kernel is none, or does not fit.
pub fn load(machine: &Machine, boot: &Boot<'_>) -> Result<CpuState, BootError> {
    let memory = machine.memory();
    let loaded = image::load(memory, boot.kernel, boot.initrd)?;
    let slots: Vec<u32> = machine.virtio_slots().into_iter().map(|slot| slot as u32).collect();
    let tree = fdt::board_tree(&BoardParams {
        cpus: machine.gic.cpus(),
        ram_size: memory.ram_size(),
        bootargs: boot.command_line,
        initrd: loaded.initrd,
        rng_seed: boot.rng_seed,
        kaslr_seed: None,
        virtio_slots: &slots,
    })?;
    image::load_dtb(memory, &loaded, &tree)?;
    Ok(CpuState::at_entry(loaded.entry, loaded.dtb_addr))
}
