//! Loads and stores against QEMU's user-mode emulator: every class, every addressing mode, sequences that meet
//! each other's data; registers and memory are compared.
//!
//! `SAMOVAR_DIFF_CASES` sets how many cases are run in all.

mod common;

use common::cases::memory::{Counts, cases};
use common::differential::{Report, rounds};

/// Has LSE, as the engine has.
const CPU: &str = "cortex-a76";

const DEFAULT_CASES: usize = 30_000;

#[test]
fn every_class_does_what_qemu_does() {
    let mut counts = Counts::new();
    let mut report = Report::default();
    for (mut random, total) in rounds(0x3e30, DEFAULT_CASES) {
        report.add(CPU, &cases(&mut random, total, &mut counts));
    }
    for (name, count) in &counts {
        println!("{name:24} {count:8} instructions");
    }
    report.finish();
}
