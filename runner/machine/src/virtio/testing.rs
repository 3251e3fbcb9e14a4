//! A small driver for tests: it lays out queues in a guest's memory and works
//! a device through its registers, as a guest would.

use crate::{
    clock::Entropy,
    device::{Context, MmioDevice},
    layout::RAM_BASE,
    memory::GuestMemory,
};

use super::{
    VirtioDevice,
    mmio::{VirtioMmio, reg, status},
    queue::{DESC_INDIRECT, DESC_NEXT, DESC_WRITE},
};

/// RAM of a test guest. Queue `n` lies in the `n`th page; buffers come after
/// page [`FIRST_BUFFER_PAGE`].
pub const RAM_SIZE: u64 = 16 << 20;
const PAGE: u64 = 0x4000;
const FIRST_BUFFER_PAGE: u64 = 4;
const QUEUE_SIZE: u16 = 256;

/// Entropy that counts.
#[derive(Default)]
pub struct Counting(u8);

impl Entropy for Counting {
    fn fill(&mut self, buf: &mut [u8]) {
        for byte in buf {
            *byte = self.0;
            self.0 = self.0.wrapping_add(1);
        }
    }
}

/// A completed request.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// Length in the used ring.
    pub len: u32,
    /// All writable bytes; 0xaa where the device wrote none.
    pub bytes: Vec<u8>,
}

struct Ring {
    size: u16,
    next_descriptor: u16,
    available: u16,
    used: u16,
}

/// The driver.
pub struct Driver<D: VirtioDevice> {
    pub transport: VirtioMmio<D>,
    pub memory: GuestMemory,
    rings: Vec<Ring>,
    heap: u64,
}

/// Guest physical address of part of a queue: descriptors, available, used.
pub fn ring_address(queue: usize, part: u64) -> u64 {
    RAM_BASE + queue as u64 * PAGE + part * 0x1000
}

impl<D: VirtioDevice> Driver<D> {
    /// A guest with its driver running.
    pub fn new(device: D) -> Self {
        let mut driver = Self::unstarted(device);
        driver.start();
        driver
    }

    /// A guest whose driver has touched nothing.
    pub fn unstarted(device: D) -> Self {
        Driver {
            transport: VirtioMmio::new(device),
            memory: GuestMemory::anonymous(RAM_SIZE).unwrap(),
            rings: Vec::new(),
            heap: RAM_BASE + FIRST_BUFFER_PAGE * PAGE,
        }
    }

    /// Initialises the device as virtio 1.2, 3.1.1 has it.
    pub fn start(&mut self) {
        self.write(reg::STATUS, 0);
        self.write(reg::STATUS, status::ACKNOWLEDGE);
        self.write(reg::STATUS, status::ACKNOWLEDGE | status::DRIVER);
        let features = self.offered_features();
        self.set_features(features);
        let ready = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        self.write(reg::STATUS, ready);
        assert_eq!(self.read(reg::STATUS), ready);
        self.rings.clear();
        for queue in 0..self.transport.device().queue_sizes().len() {
            self.write(reg::QUEUE_SEL, queue as u32);
            let size = self.read(reg::QUEUE_NUM_MAX).min(u32::from(QUEUE_SIZE));
            self.write(reg::QUEUE_NUM, size);
            self.memory.write(ring_address(queue, 0), &[0; PAGE as usize]).unwrap();
            for (part, low, high) in [
                (0, reg::QUEUE_DESC_LOW, reg::QUEUE_DESC_HIGH),
                (1, reg::QUEUE_DRIVER_LOW, reg::QUEUE_DRIVER_HIGH),
                (2, reg::QUEUE_DEVICE_LOW, reg::QUEUE_DEVICE_HIGH),
            ] {
                let address = ring_address(queue, part);
                self.write(low, address as u32);
                self.write(high, (address >> 32) as u32);
            }
            self.write(reg::QUEUE_READY, 1);
            self.rings.push(Ring { size: size as u16, next_descriptor: 0, available: 0, used: 0 });
        }
        self.write(reg::STATUS, ready | status::DRIVER_OK);
    }

    pub fn offered_features(&mut self) -> u64 {
        self.write(reg::DEVICE_FEATURES_SEL, 0);
        let low = self.read(reg::DEVICE_FEATURES);
        self.write(reg::DEVICE_FEATURES_SEL, 1);
        u64::from(self.read(reg::DEVICE_FEATURES)) << 32 | u64::from(low)
    }

    pub fn set_features(&mut self, features: u64) {
        self.write(reg::DRIVER_FEATURES_SEL, 0);
        self.write(reg::DRIVER_FEATURES, features as u32);
        self.write(reg::DRIVER_FEATURES_SEL, 1);
        self.write(reg::DRIVER_FEATURES, (features >> 32) as u32);
    }

    pub fn read(&mut self, offset: u64) -> u32 {
        self.access(|transport, context| transport.read(offset, 4, context)) as u32
    }

    pub fn write(&mut self, offset: u64, value: u32) {
        self.access(|transport, context| transport.write(offset, 4, u64::from(value), context));
    }

    pub fn access<R>(&mut self, f: impl FnOnce(&mut VirtioMmio<D>, &Context<'_>) -> R) -> R {
        f(&mut self.transport, &Context { memory: &self.memory, now: 0 })
    }

    /// Configuration bytes, read one at a time.
    pub fn config<const N: usize>(&mut self, offset: u64) -> [u8; N] {
        std::array::from_fn(|i| {
            self.access(|transport, context| transport.read(reg::CONFIG + offset + i as u64, 1, context))
                as u8
        })
    }

    pub fn write_config(&mut self, offset: u64, byte: u8) {
        self.access(|transport, context| {
            transport.write(reg::CONFIG + offset, 1, u64::from(byte), context);
        });
    }

    /// Room in guest memory; never given back.
    pub fn alloc(&mut self, len: usize) -> u64 {
        let address = self.heap;
        self.heap = (self.heap + len as u64).next_multiple_of(16);
        assert!(self.heap <= RAM_BASE + RAM_SIZE, "the test guest is out of memory");
        address
    }

    pub fn place(&mut self, bytes: &[u8]) -> u64 {
        let address = self.alloc(bytes.len());
        self.memory.write(address, bytes).unwrap();
        address
    }

    pub fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(address, &mut bytes).unwrap();
        bytes
    }

    pub fn write_descriptor(&self, table: u64, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        let raw =
            u128::from(address) | u128::from(len) << 64 | u128::from(flags) << 96 | u128::from(next) << 112;
        self.memory.write(table + 16 * u64::from(index), &raw.to_le_bytes()).unwrap();
    }

    /// Puts buffers (address, length, flags) into the available ring as one chain.
    pub fn offer(&mut self, queue: usize, buffers: &[(u64, u32, u16)]) -> u16 {
        let ring = &mut self.rings[queue];
        let head = ring.next_descriptor;
        let indexes: Vec<u16> =
            (0..buffers.len()).map(|i| (head + i as u16) % ring.size).chain([0]).collect();
        ring.next_descriptor = (head + buffers.len() as u16) % ring.size;
        for (i, &(address, len, flags)) in buffers.iter().enumerate() {
            let next = if i + 1 < buffers.len() { DESC_NEXT } else { 0 };
            let table = ring_address(queue, 0);
            self.write_descriptor(table, indexes[i], address, len, flags | next, indexes[i + 1]);
        }
        self.offer_head(queue, head);
        head
    }

    /// Puts `head` into the available ring, whatever it leads to.
    pub fn offer_head(&mut self, queue: usize, head: u16) {
        let ring = &mut self.rings[queue];
        let (slot, base) = (u64::from(ring.available % ring.size), ring_address(queue, 1));
        ring.available = ring.available.wrapping_add(1);
        self.memory.write(base + 4 + 2 * slot, &head.to_le_bytes()).unwrap();
        self.memory.write(base + 2, &ring.available.to_le_bytes()).unwrap();
    }

    pub fn notify(&mut self, queue: usize) {
        self.write(reg::QUEUE_NOTIFY, queue as u32);
    }

    /// Takes the next used element: head and length.
    pub fn take_used(&mut self, queue: usize) -> Option<(u32, u32)> {
        let (ring, base) = (&mut self.rings[queue], ring_address(queue, 2));
        if self.memory.read_u16(base + 2).unwrap() == ring.used {
            return None;
        }
        let element = base + 4 + 8 * u64::from(ring.used % ring.size);
        ring.used = ring.used.wrapping_add(1);
        Some((self.memory.read_u32(element).unwrap(), self.memory.read_u32(element + 4).unwrap()))
    }

    /// Does one request from beginning to end.
    pub fn request(&mut self, queue: usize, readable: &[&[u8]], writable: &[u32]) -> Answer {
        self.request_as(queue, readable, writable, false)
    }

    /// The same through an indirect table.
    pub fn indirect_request(&mut self, queue: usize, readable: &[&[u8]], writable: &[u32]) -> Answer {
        self.request_as(queue, readable, writable, true)
    }

    fn request_as(&mut self, queue: usize, readable: &[&[u8]], writable: &[u32], indirect: bool) -> Answer {
        let heap = self.heap;
        let mut buffers = Vec::new();
        for bytes in readable {
            buffers.push((self.place(bytes), bytes.len() as u32, 0));
        }
        let mut room = Vec::new();
        for &len in writable {
            let address = self.place(&vec![0xaa; len as usize]);
            buffers.push((address, len, DESC_WRITE));
            room.push((address, len as usize));
        }
        if indirect {
            let table = self.alloc(16 * buffers.len());
            for (i, &(address, len, flags)) in buffers.iter().enumerate() {
                let next = if i + 1 < buffers.len() { DESC_NEXT } else { 0 };
                self.write_descriptor(table, i as u16, address, len, flags | next, i as u16 + 1);
            }
            buffers = vec![(table, 16 * buffers.len() as u32, DESC_INDIRECT)];
        }
        let head = self.offer(queue, &buffers);
        self.notify(queue);
        let (id, len) = self.take_used(queue).expect("the request was not completed");
        assert_eq!(id, u32::from(head));
        let bytes = room.into_iter().flat_map(|(address, len)| self.bytes(address, len)).collect();
        self.heap = heap;
        Answer { len, bytes }
    }
}
