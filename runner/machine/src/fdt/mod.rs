//! The device tree that describes the machine to its guest.

mod writer;

#[cfg(test)]
mod tests;

pub use writer::FdtWriter;

use crate::{layout, psci};

/// Why a device tree can't be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FdtError {
    /// Nodes were not begun and ended in pairs, or there is not one root.
    #[error("the device tree's nodes do not nest")]
    Unbalanced,
    /// A property outside a node, or behind a child of its node.
    #[error("the device tree's property {0} is not at the start of a node")]
    Misplaced(String),
    /// A string holds a NUL, which ends it.
    #[error("the device tree's {0} holds a NUL")]
    Nul(String),
    /// Offsets have 32 bits.
    #[error("the device tree is too large")]
    TooLarge,
}

/// What of the machine differs from guest to guest.
#[derive(Clone, Copy, Debug)]
pub struct BoardParams<'a> {
    /// Number of vCPUs.
    pub cpus: usize,
    /// Size of RAM in bytes.
    pub ram_size: u64,
    /// The kernel's command line.
    pub bootargs: &'a str,
    /// First byte of the initramfs, and the first byte after it.
    pub initrd: Option<(u64, u64)>,
    /// Entropy for the kernel's random numbers, which are late without.
    pub rng_seed: &'a [u8],
    /// Entropy for the kernel's address-space layout, if it shall be random.
    pub kaslr_seed: Option<u64>,
    /// The virtio-mmio slots that hold a device.
    pub virtio_slots: &'a [u32],
}

const PHANDLE_GIC: u32 = 1;
const PHANDLE_CLOCK: u32 = 2;

// Interrupt specifiers of a GICv3 (Linux binding arm,gic-v3): type, number
// within the type, trigger.
const SPI: u32 = 0;
const PPI: u32 = 1;
const EDGE_RISING: u32 = 1;
const LEVEL_HIGH: u32 = 4;
/// First INTID of the PPIs.
const PPI_BASE: u32 = 16;

/// PPIs of the generic timer in the order of its binding: secure and
/// non-secure physical, virtual, hypervisor (Arm BSA gives the numbers). Only
/// the virtual one exists here, but the binding wants all four.
const TIMER_PPIS: [u32; 4] = [29, 30, layout::VTIMER_INTID, 26];

/// The machine's device tree.
///
/// # Errors
/// If the command line holds a NUL.
pub fn board_tree(params: &BoardParams<'_>) -> Result<Vec<u8>, FdtError> {
    let mut fdt = FdtWriter::new();
    fdt.begin_node("");
    fdt.u32("#address-cells", 2);
    fdt.u32("#size-cells", 2);
    fdt.string("compatible", "linux,dummy-virt");
    fdt.string("model", "samovar");
    fdt.u32("interrupt-parent", PHANDLE_GIC);
    // Devices see the guest's memory through the same caches as its vCPUs.
    fdt.flag("dma-coherent");

    chosen(&mut fdt, params);
    aliases(&mut fdt);
    cpus(&mut fdt, params.cpus);

    fdt.begin_node(&format!("memory@{:x}", layout::RAM_BASE));
    fdt.string("device_type", "memory");
    fdt.reg(&[(layout::RAM_BASE, params.ram_size)]);
    fdt.end_node();

    power(&mut fdt);
    interrupt_controller(&mut fdt, params.cpus);
    timer(&mut fdt);
    prime_cells(&mut fdt);

    fdt.begin_node(&format!("vmgenid@{:x}", layout::VMGENID_BASE));
    fdt.string("compatible", "microsoft,vmgenid");
    fdt.reg(&[(layout::VMGENID_BASE, layout::VMGENID_SIZE)]);
    interrupt(&mut fdt, layout::VMGENID_INTID, EDGE_RISING);
    fdt.end_node();

    for slot in params.virtio_slots {
        let base = layout::VIRTIO_BASE + u64::from(*slot) * layout::VIRTIO_STRIDE;
        fdt.begin_node(&format!("virtio_mmio@{base:x}"));
        fdt.string("compatible", "virtio,mmio");
        fdt.reg(&[(base, layout::VIRTIO_STRIDE)]);
        interrupt(&mut fdt, layout::VIRTIO_INTID.saturating_add(*slot), LEVEL_HIGH);
        fdt.flag("dma-coherent");
        fdt.end_node();
    }

    fdt.end_node();
    fdt.finish()
}

fn interrupt(fdt: &mut FdtWriter, intid: u32, trigger: u32) {
    fdt.cells("interrupts", &[SPI, intid - layout::SPI_BASE, trigger]);
}

fn serial_path() -> String {
    format!("/pl011@{:x}", layout::UART_BASE)
}

fn chosen(fdt: &mut FdtWriter, params: &BoardParams<'_>) {
    fdt.begin_node("chosen");
    fdt.string("bootargs", params.bootargs);
    fdt.string("stdout-path", &serial_path());
    if let Some((start, end)) = params.initrd {
        fdt.u64("linux,initrd-start", start);
        fdt.u64("linux,initrd-end", end);
    }
    if !params.rng_seed.is_empty() {
        fdt.property("rng-seed", params.rng_seed);
    }
    if let Some(seed) = params.kaslr_seed {
        fdt.u64("kaslr-seed", seed);
    }
    fdt.end_node();
}

fn aliases(fdt: &mut FdtWriter) {
    fdt.begin_node("aliases");
    fdt.string("serial0", &serial_path());
    fdt.end_node();
}

fn cpus(fdt: &mut FdtWriter, cpus: usize) {
    fdt.begin_node("cpus");
    fdt.u32("#address-cells", 1);
    fdt.u32("#size-cells", 0);
    for cpu in 0..cpus.min(layout::MAX_VCPUS) as u32 {
        fdt.begin_node(&format!("cpu@{cpu:x}"));
        fdt.string("device_type", "cpu");
        fdt.string("compatible", "arm,armv8");
        fdt.u32("reg", cpu);
        fdt.string("enable-method", "psci");
        fdt.end_node();
    }
    fdt.end_node();
}

fn power(fdt: &mut FdtWriter) {
    fdt.begin_node("psci");
    fdt.strings("compatible", &["arm,psci-1.0", "arm,psci-0.2", "arm,psci"]);
    fdt.string("method", "hvc");
    // Only drivers for "arm,psci" look at these; the others know the numbers.
    fdt.u32("cpu_suspend", psci::CPU_SUSPEND | psci::SMC64);
    fdt.u32("cpu_off", psci::CPU_OFF);
    fdt.u32("cpu_on", psci::CPU_ON | psci::SMC64);
    fdt.end_node();
}

fn interrupt_controller(fdt: &mut FdtWriter, cpus: usize) {
    let redistributors = cpus.min(layout::MAX_VCPUS) as u64 * layout::GICR_STRIDE;
    fdt.begin_node(&format!("intc@{:x}", layout::GICD_BASE));
    fdt.string("compatible", "arm,gic-v3");
    fdt.reg(&[(layout::GICD_BASE, layout::GICD_SIZE), (layout::GICR_BASE, redistributors)]);
    fdt.u32("#redistributor-regions", 1);
    fdt.flag("interrupt-controller");
    fdt.u32("#interrupt-cells", 3);
    fdt.u32("#address-cells", 0);
    fdt.u32("phandle", PHANDLE_GIC);
    fdt.end_node();
}

fn timer(fdt: &mut FdtWriter) {
    fdt.begin_node("timer");
    fdt.string("compatible", "arm,armv8-timer");
    let interrupts: Vec<u32> =
        TIMER_PPIS.iter().flat_map(|intid| [PPI, intid - PPI_BASE, LEVEL_HIGH]).collect();
    fdt.cells("interrupts", &interrupts);
    // It keeps running while a vCPU waits, so no other timer must wake one.
    fdt.flag("always-on");
    fdt.end_node();
}

fn prime_cells(fdt: &mut FdtWriter) {
    const CLOCK_HZ: u32 = 24_000_000;
    fdt.begin_node("apb-pclk");
    fdt.string("compatible", "fixed-clock");
    fdt.u32("#clock-cells", 0);
    fdt.u32("clock-frequency", CLOCK_HZ);
    fdt.string("clock-output-names", "clk24mhz");
    fdt.u32("phandle", PHANDLE_CLOCK);
    fdt.end_node();

    fdt.begin_node(&format!("pl011@{:x}", layout::UART_BASE));
    fdt.strings("compatible", &["arm,pl011", "arm,primecell"]);
    fdt.reg(&[(layout::UART_BASE, layout::PRIMECELL_SIZE)]);
    interrupt(fdt, layout::UART_INTID, LEVEL_HIGH);
    fdt.cells("clocks", &[PHANDLE_CLOCK, PHANDLE_CLOCK]);
    fdt.strings("clock-names", &["uartclk", "apb_pclk"]);
    fdt.end_node();

    fdt.begin_node(&format!("pl031@{:x}", layout::RTC_BASE));
    fdt.strings("compatible", &["arm,pl031", "arm,primecell"]);
    fdt.reg(&[(layout::RTC_BASE, layout::PRIMECELL_SIZE)]);
    interrupt(fdt, layout::RTC_INTID, LEVEL_HIGH);
    fdt.cells("clocks", &[PHANDLE_CLOCK]);
    fdt.strings("clock-names", &["apb_pclk"]);
    fdt.end_node();
}
