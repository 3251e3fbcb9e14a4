//! A driver that writes what it is given to the registers of every virtio device, to their rings and to their
//! requests: the device answers or faults, and what it keeps can be saved and loaded.

use machine::layout::{RAM_BASE, VIRTIO_BASE, VIRTIO_STRIDE};
use machine::virtio::mmio::reg;

use crate::common::guest::{self, RAM_SIZE};
use crate::common::noisy_machine::{machine, rings, set_up};
use crate::common::random::Random;

const ACTIONS: usize = 64;

/// Runs `data`.
pub fn run(data: &[u8]) {
    let mut random = Random::from_bytes(data);
    let mut vm = machine(guest::memory(), 1);
    set_up(&mut random, &mut vm.machine);
    let slots: Vec<u64> = vm.machine.virtio_slots();
    for now in 0..ACTIONS as u64 {
        let slot = random.pick(&slots);
        let base = VIRTIO_BASE + slot * VIRTIO_STRIDE;
        let queue = random.u64() % 3;
        match random.below(8) {
            0 => {
                let (offset, size) = (random.u64() % VIRTIO_STRIDE, 1 << random.below(4));
                vm.machine.mmio_read(base + offset / size * size, size as u8, now);
            }
            1 => {
                let offset = (random.u64() % VIRTIO_STRIDE) & !3;
                vm.machine.mmio_write(base + offset, 4, random.u64() & 0xffff_ffff, now);
            }
            // A request of commands and numbers that are small or anything.
            2 | 3 => {
                let words: [u32; 16] = std::array::from_fn(|_| number(&mut random));
                guest::put(vm.machine.memory(), request(slot, random.u64() % 8), &words);
            }
            4 => {
                let descriptor = random.u64() % 16;
                let address = request(slot, random.u64() % 8);
                let flags = random.u32() & 7;
                let words = [
                    address as u32,
                    (address >> 32) as u32,
                    number(&mut random),
                    flags | (random.u32() & 15) << 16,
                ];
                guest::put(vm.machine.memory(), rings(slot) + queue % 2 * 0x4000 + 16 * descriptor, &words);
            }
            _ => {
                let available = rings(slot) + queue % 2 * 0x4000 + 0x1000;
                guest::put(vm.machine.memory(), available, &[(random.u32() & 0x1f) << 16]);
                vm.machine.mmio_write(base + reg::QUEUE_NOTIFY, 4, queue, now);
            }
        }
    }
    let state = vm.save();
    vm.load(&state).expect("what a machine saves it can load");
    assert!(vm.save() == state, "loading what was saved changed it");
}

/// One of a device's few requests, behind its rings.
fn request(slot: u64, index: u64) -> u64 {
    let at = rings(slot) + 0x8000 + 0x400 * index;
    assert!(at + 0x400 <= RAM_BASE + RAM_SIZE);
    at
}

/// A number near what matters, or any: virtio-gpu's commands begin at 0x100 (virtio 1.2, 5.7.6.7).
fn number(random: &mut Random) -> u32 {
    match random.below(4) {
        0 => random.u32(),
        1 => 0x100 + random.u32() % 12,
        2 => random.u32() % 80,
        _ => random.pick(&[0, 1, 2, 67, 4096, 16384, 64 * 64 * 4, u32::MAX]),
    }
}
