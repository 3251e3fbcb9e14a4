//! Where everything is in the guest's physical address space, and on which
//! interrupt. Shared by the devices, the device tree and the tests.

/// First byte of guest RAM.
pub const RAM_BASE: u64 = 0x4000_0000;

/// GICv3 distributor, and its size in bytes.
pub const GICD_BASE: u64 = 0x0800_0000;
/// Size of the distributor's frame in bytes (Arm IHI 0069, 12.8).
pub const GICD_SIZE: u64 = 0x1_0000;
/// First GICv3 redistributor.
pub const GICR_BASE: u64 = 0x080a_0000;
/// Size of one redistributor in bytes: RD_base and SGI_base (Arm IHI 0069, 12.10).
pub const GICR_STRIDE: u64 = 0x2_0000;
/// Redistributors end before the serial port, which bounds the number of vCPUs.
pub const MAX_VCPUS: usize = 8;

/// PL011 serial port.
pub const UART_BASE: u64 = 0x0900_0000;
/// PL031 real-time clock.
pub const RTC_BASE: u64 = 0x0901_0000;
/// Size in bytes of the frame of a PrimeCell device (PL011, PL031).
pub const PRIMECELL_SIZE: u64 = 0x1000;

/// First virtio-mmio slot.
pub const VIRTIO_BASE: u64 = 0x0a00_0000;
/// Size in bytes of one virtio-mmio slot.
pub const VIRTIO_STRIDE: u64 = 0x200;

/// The page that holds the VM generation id. Real memory, outside RAM; 16 KiB
/// because that is the page of an Apple host.
pub const VMGENID_BASE: u64 = 0x0b00_0000;
/// Size in bytes of the region of the VM generation id.
pub const VMGENID_SIZE: u64 = 0x4000;

/// First shared peripheral interrupt (Arm IHI 0069, 2.2.1).
pub const SPI_BASE: u32 = 32;
/// INTID of the virtual timer, a private peripheral interrupt (Arm BSA).
pub const VTIMER_INTID: u32 = 27;
/// INTID of the serial port.
pub const UART_INTID: u32 = SPI_BASE + 1;
/// INTID of the real-time clock.
pub const RTC_INTID: u32 = SPI_BASE + 2;
/// INTID of the VM generation id's notification; edge-triggered.
pub const VMGENID_INTID: u32 = SPI_BASE + 3;
/// INTID of the first virtio-mmio slot; slot `n` has this plus `n`.
pub const VIRTIO_INTID: u32 = SPI_BASE + 16;

/// Frequency of the generic timer in hertz (CNTFRQ_EL0), that of Apple silicon.
pub const COUNTER_HZ: u64 = 24_000_000;
