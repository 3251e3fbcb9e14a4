//! Boots a kernel with an initramfs and shows its serial console: for work on the engine.
use std::{io::Write, time::Instant};

use engine_soft::SoftEngine;
use machine::{
    board::{Machine, MachineConfig},
    boot::{self, Boot},
    clock::Entropy,
    memory::GuestMemory,
    vm::{Outcome, Vm},
};

struct Fixed(u64);
impl Entropy for Fixed {
    fn fill(&mut self, buf: &mut [u8]) {
        for b in buf {
            self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            *b = (self.0 >> 56) as u8;
        }
    }
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let kernel = std::fs::read(&args[1]).unwrap();
    let initrd = std::fs::read(&args[2]).unwrap();
    let append = args.get(3).map(String::as_str).unwrap_or("console=ttyAMA0");
    let limit: u64 = args.get(4).map(|s| s.parse().unwrap()).unwrap_or(20_000_000_000);
    let memory = GuestMemory::anonymous(512 << 20).unwrap();
    let engine = SoftEngine::new(memory.clone(), 2);
    let machine = Machine::new(MachineConfig {
        cpus: 2,
        memory,
        display: (1280, 800),
        disk: None,
        wall_seconds: 1_700_000_000,
        entropy: Box::new(Fixed(1)),
    });
    let start = boot::load(
        &machine,
        &Boot { kernel: &kernel, initrd: Some(&initrd), command_line: append, rng_seed: &[7; 64] },
    )
    .unwrap();
    let mut vm = Vm::<SoftEngine>::new(machine, &engine).unwrap();
    vm.start(&start).unwrap();
    let began = Instant::now();
    let mut err = std::io::stderr();
    loop {
        let outcome = vm.run(vm.now() + 1_000_000);
        let out = vm.machine.take_serial_output();
        err.write_all(&out).unwrap();
        match outcome {
            Outcome::Running => {}
            Outcome::Idle { until: Some(at) } => vm.advance_to(at),
            other => {
                eprintln!("\n{other:?}");
                break;
            }
        }
        if vm.now() > limit {
            break;
        }
    }
    let s = began.elapsed().as_secs_f64();
    eprintln!(
        "\n{} instructions, {:.2} s guest, {s:.2} s host, {:.0} MIPS",
        vm.retired(),
        vm.now() as f64 / 1e9,
        vm.retired() as f64 / s / 1e6
    );
}
