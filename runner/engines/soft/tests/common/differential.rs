//! Cases run on both sides, and what came of it.

use std::env;

use super::engine::{EngineRunner, differences};
use super::qemu::{self, Case, RESERVED};
use super::random::Random;

/// How many cases to run: what `SAMOVAR_DIFF_CASES` says, or `default`.
pub fn total_cases(default: usize) -> usize {
    match env::var("SAMOVAR_DIFF_CASES") {
        Ok(number) => number.parse().expect("SAMOVAR_DIFF_CASES is a number"),
        Err(_) => default,
    }
}

/// All cases in rounds of at most `default`, each with random numbers of its own: what is in memory at once stays
/// bounded, and however many rounds there are the first is the same.
pub fn rounds(seed: u64, default: usize) -> impl Iterator<Item = (Random, usize)> {
    let total = total_cases(default);
    (0..total.div_ceil(default))
        .map(move |round| (Random::new(seed + ((round as u64) << 32)), default.min(total - round * default)))
}

/// The cases that ended differently.
#[derive(Default)]
pub struct Report {
    cases: usize,
    failures: Vec<String>,
}

impl Report {
    /// Runs the cases here and on QEMU's model `cpu`.
    pub fn of(cpu: &str, cases: &[Case]) -> Report {
        let mut report = Report::default();
        report.add(cpu, cases);
        report
    }

    /// Runs more cases here and on QEMU's model `cpu`.
    pub fn add(&mut self, cpu: &str, cases: &[Case]) {
        let theirs = qemu::run(cpu, cases);
        assert_eq!(theirs.len(), cases.len());
        let mut engine = EngineRunner::new();
        self.failures.extend(
            cases
                .iter()
                .zip(&theirs)
                .filter_map(|(case, theirs)| differences(case, &engine.run(case), theirs, RESERVED)),
        );
        self.cases += cases.len();
    }

    /// Says what differs, and fails if anything does.
    pub fn finish(self) {
        println!("{} cases, {} differ", self.cases, self.failures.len());
        for failure in self.failures.iter().take(30) {
            println!("{failure}");
        }
        assert!(self.failures.is_empty(), "{} of {} cases differ", self.failures.len(), self.cases);
    }
}
