//! Guests that execute noise on a whole machine, one vCPU or two, with every device on the bus and its queues set
//! up: nothing panics, every run ends, what comes of it can be saved and loaded, the same noise comes to the same
//! end, and the host's memory stays bounded.
//!
//! `SAMOVAR_RANDOM_INSTRUCTIONS` sets how many instructions each kind of machine gets.

mod common;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::Write;

use common::guest::{self, RAM_SIZE};
use common::noise::{self, start};
use common::random::Random;
use engine_soft::SoftEngine;
use machine::board::{Machine, MachineConfig, slot};
use machine::clock::Entropy;
use machine::layout::{GICD_BASE, GICR_BASE, RAM_BASE, RTC_BASE, UART_BASE, VIRTIO_BASE, VIRTIO_STRIDE};
use machine::psci::Power;
use machine::virtio::blk::DiskImage;
use machine::virtio::mmio::{reg, status};
use machine::vm::{Outcome, Vm, VmState};

/// Instructions of each kind of machine.
const DEFAULT_INSTRUCTIONS: u64 = 20_000_000;

/// Starts on one machine, before the next one is made.
const STARTS: u64 = 16;

/// Entropy that is the same on every run.
struct Fixed(Random);

impl Entropy for Fixed {
    fn fill(&mut self, buf: &mut [u8]) {
        buf.fill_with(|| self.0.u64() as u8);
    }
}

fn machine(random: &mut Random, cpus: usize) -> Vm<SoftEngine> {
    let memory = guest::memory();
    noise::fill(random, &memory);
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
fn rings(slot: u64) -> u64 {
    RAM_BASE + 0x20_0000 + slot * 0x1_0000
}

/// Brings every virtio device to where its driver would have it: queues live, with descriptors that lead somewhere.
fn set_up(random: &mut Random, machine: &mut Machine) {
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
fn device(random: &mut Random) -> u64 {
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
fn scatter(random: &mut Random, state: &mut VmState) {
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
fn disturb(random: &mut Random, machine: &mut Machine) {
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

struct Totals {
    retired: u64,
    starts: u64,
    outcomes: BTreeMap<&'static str, u64>,
    /// Where the last start of each machine led.
    ends: Vec<VmState>,
}

fn run(seed: u64, cpus: usize, instructions: u64) -> Totals {
    let mut random = Random::new(seed);
    let mut totals = Totals { retired: 0, starts: 0, outcomes: BTreeMap::new(), ends: Vec::new() };
    while totals.retired < instructions {
        let mut vm = machine(&mut random, cpus);
        for _ in 0..STARTS {
            totals.starts += 1;
            set_up(&mut random, &mut vm.machine);
            let mut state = vm.save();
            scatter(&mut random, &mut state);
            vm.load(&state).expect("the machine can be in this state");
            for _ in 0..4 {
                disturb(&mut random, &mut vm.machine);
                let before = vm.now();
                let until = before + random.u64() % 20_000;
                let outcome = vm.run(until);
                // A round is begun before the time has come, and a quantum is 10 us.
                assert!(vm.now() <= until.max(before) + 10_000, "{before} to {} for {until}", vm.now());
                let name = match outcome {
                    Outcome::Running => "running",
                    Outcome::Idle { .. } => "idle",
                    Outcome::PoweredOff => "powered off",
                    Outcome::Reset => "reset",
                    Outcome::Stopped(_) => "stopped",
                    Outcome::Faulted(_) => "faulted",
                    Outcome::Breakpoint { .. } | Outcome::Stepped { .. } => {
                        panic!("nobody debugs: {outcome:?}")
                    }
                };
                *totals.outcomes.entry(name).or_default() += 1;
                let mut state = vm.save();
                match outcome {
                    Outcome::Running | Outcome::Idle { .. } => {}
                    Outcome::Stopped(report) => {
                        let stopped = &mut state.cpus[report.vcpu].state;
                        stopped.pc = stopped.pc.wrapping_add(4);
                    }
                    _ => break,
                }
                vm.load(&state).expect("what a machine saves it can load");
            }
        }
        totals.retired += vm.retired();
        totals.ends.push(vm.save());
        // As many as tell two runs apart, whatever was asked for.
        totals.ends.truncate(8);
    }
    totals
}

fn instructions() -> u64 {
    match env::var("SAMOVAR_RANDOM_INSTRUCTIONS") {
        Ok(number) => number.parse().expect("SAMOVAR_RANDOM_INSTRUCTIONS is a number"),
        Err(_) => DEFAULT_INSTRUCTIONS,
    }
}

/// The most memory that this process has had, in KiB (proc(5), VmHWM).
fn peak_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[test]
fn noise_hurts_no_machine() {
    for cpus in [1, 2] {
        let totals = run(cpus as u64, cpus, instructions());
        println!(
            "{cpus} vCPUs: {} starts, {} instructions, ends {:?}",
            totals.starts, totals.retired, totals.outcomes
        );
        assert!(totals.outcomes.len() >= 3, "the noise gets somewhere: {:?}", totals.outcomes);
    }
    if let Some(peak) = peak_memory() {
        // Each machine has 4 MiB; decoded code and what devices keep are bounded.
        assert!(peak < 1 << 20, "{peak} KiB for machines of {RAM_SIZE} bytes");
    }
}

#[test]
fn the_same_noise_comes_to_the_same_end() {
    let [first, second] = [(), ()].map(|()| run(3, 2, instructions() / 8));
    assert_eq!((first.starts, first.retired), (second.starts, second.retired));
    assert_eq!(first.outcomes, second.outcomes);
    assert!(first.ends == second.ends, "two runs of the same noise differ");
}
