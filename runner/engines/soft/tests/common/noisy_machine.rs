//! A whole machine for noise: every device on the bus, its queues set up so that they lead somewhere.

use std::io::Write;

use engine_soft::SoftEngine;
use machine::board::{Machine, MachineConfig, slot};
use machine::clock::Entropy;
use machine::layout::{GICD_BASE, GICR_BASE, RAM_BASE, RTC_BASE, UART_BASE, VIRTIO_BASE, VIRTIO_STRIDE};
use machine::memory::GuestMemory;
use machine::psci::Power;
use machine::virtio::blk::DiskImage;
use machine::virtio::mmio::{reg, status};
use machine::vm::{Outcome, Vm, VmState};

use super::guest;
use super::noise::{self, start};
use super::random::Random;

/// Entropy that is the same on every run.
struct Fixed(Random);

impl Entropy for Fixed {
    fn fill(&mut self, buf: &mut [u8]) {
        buf.fill_with(|| self.0.u64() as u8);
    }
}

/// A machine over `memory`, in reset.
pub fn machine(memory: GuestMemory, cpus: usize) -> Vm<SoftEngine> {
    let mut disk = tempfile::tempfile().expect("a temporary file is made");
    disk.write_all(&[0x5a; 5000]).expect("the disk is written");
    let config = MachineConfig {
        cpus,
        memory: memory.clone(),
        display: (64, 48),
        disk: Some((DiskImage::new(disk).expect("the disk is opened"), "noise".to_owned())),
        wall_seconds: 1_700_000_000,
        entropy: Box::new(Fixed(Random::new(1))),
    };
    let engine = SoftEngine::new(memory, cpus);
    Vm::new(Machine::new(config), &engine).expect("vCPUs are made")
}

/// Where the rings of device `slot` are: in the RAM that no program lies in.
pub fn rings(slot: u64) -> u64 {
    RAM_BASE + 0x20_0000 + slot * 0x1_0000
}

/// Brings every virtio device to where its driver would have it: queues live, with descriptors that lead somewhere.
pub fn set_up(random: &mut Random, machine: &mut Machine) {
    for slot in machine.virtio_slots() {
        let base = VIRTIO_BASE + slot * VIRTIO_STRIDE;
        let mut write = |offset: u64, value: u32| {
            assert!(machine.mmio_write(base + offset, 4, u64::from(value), 0));
        };
        write(reg::STATUS, 0);
        let ready = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        write(reg::DRIVER_FEATURES_SEL, 0);
        write(reg::DRIVER_FEATURES, 1 << 28);
        write(reg::DRIVER_FEATURES_SEL, 1);
        write(reg::DRIVER_FEATURES, 1);
        write(reg::STATUS, ready);
        for queue in 0..2 {
            let at = rings(slot) + u64::from(queue) * 0x4000;
            write(reg::QUEUE_SEL, queue);
            write(reg::QUEUE_NUM, 16);
            for (register, page) in
                [(reg::QUEUE_DESC_LOW, 0), (reg::QUEUE_DRIVER_LOW, 0x1000), (reg::QUEUE_DEVICE_LOW, 0x2000)]
            {
                write(register, (at + page) as u32);
                write(register + 4, 0);
            }
            write(reg::QUEUE_READY, 1);
        }
        write(reg::STATUS, ready | status::DRIVER_OK);
        for queue in 0..2 {
            let at = rings(slot) + queue * 0x4000;
            for descriptor in 0..16 {
                let address = noise::pointer(random);
                let len = random.u32() & 0x3ff;
                let (flags, next) = (random.u32() & 3, random.u32() & 15);
                let words = [address as u32, (address >> 32) as u32, len, flags | next << 16];
                guest::put(machine.memory(), at + 16 * descriptor, &words);
            }
            let heads: Vec<u32> = (0..8).map(|_| random.u32() & 0x000f_000f).collect();
            guest::put(machine.memory(), at + 0x1004, &heads);
            guest::put(machine.memory(), at + 0x1000, &[(random.u32() % 17) << 16]);
        }
    }
}

/// An address that a device answers.
pub fn device(random: &mut Random) -> u64 {
    let register = random.u64() & 0xfc;
    match random.below(6) {
        0 => GICD_BASE + (random.u64() & 0xfffc),
        1 => GICR_BASE + (random.u64() & 0x3_fffc),
        2 => UART_BASE + register,
        3 => RTC_BASE + register,
        _ => VIRTIO_BASE + (random.u64() % (slot::BLK + 1)) * VIRTIO_STRIDE + register,
    }
}

/// Puts every vCPU into some state.
pub fn scatter(random: &mut Random, state: &mut VmState) {
    for processor in &mut state.cpus {
        let (el0, mmu) = (random.one_in(2), !random.one_in(3));
        processor.state = start(random, el0, mmu);
        for register in &mut processor.state.x {
            if random.one_in(3) {
                *register = device(random);
            }
        }
        processor.state.timer.ctl = random.u64() & 3;
        processor.state.timer.cval =
            if random.one_in(2) { random.u64() } else { state.now / 41 + random.u64() % 2000 };
        processor.power = random.pick(&[Power::On, Power::On, Power::On, Power::OnPending, Power::Off]);
        processor.waiting = random.one_in(16);
    }
    state.cpus[0].power = Power::On;
}

/// What a person and a terminal do.
pub fn disturb(random: &mut Random, machine: &mut Machine) {
    let (x, y) = (random.u32(), random.u32());
    match random.below(6) {
        0 => {
            machine.push_serial_input(&[x as u8; 40]);
        }
        1 => {
            machine.with_keyboard(|keyboard| keyboard.key(x as u16, y & 1 != 0));
        }
        2 => {
            machine.with_tablet(|tablet| tablet.move_to(x, y));
        }
        3 => {
            machine.with_tablet(|tablet| tablet.wheel(x as i32, y as i32));
        }
        4 => machine.set_wall_seconds(random.u64(), random.u64()),
        _ => {}
    }
    machine.take_serial_output();
}

/// Runs on for about `nanos` of the guest's time. How that ended, and whether the guest can go on: one that the engine
/// stopped steps over what stopped it.
pub fn go_on(vm: &mut Vm<SoftEngine>, nanos: u64) -> (Outcome, bool) {
    let until = vm.now() + nanos;
    let outcome = vm.run(until);
    // A round is begun before the time has come, and a quantum is 10 us.
    assert!(vm.now() <= until + 10_000, "it is {} where {until} was asked for", vm.now());
    let mut state = vm.save();
    match &outcome {
        Outcome::Running | Outcome::Idle { .. } => {}
        Outcome::Stopped(report) => {
            let stopped = &mut state.cpus[report.vcpu].state;
            stopped.pc = stopped.pc.wrapping_add(4);
        }
        _ => return (outcome, false),
    }
    vm.load(&state).expect("what a machine saves it can load");
    assert!(vm.save() == state, "loading what was saved changed it");
    (outcome, true)
}
