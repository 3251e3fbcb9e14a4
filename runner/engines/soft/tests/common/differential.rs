//! Cases run on both sides, and what came of it.

use std::env;

use super::engine::{EngineRunner, differences};
use super::qemu::{self, Case, RESERVED};

/// How many cases to run: what `SAMOVAR_DIFF_CASES` says, or `default`.
pub fn total_cases(default: usize) -> usize {
    match env::var("SAMOVAR_DIFF_CASES") {
        Ok(number) => number.parse().expect("SAMOVAR_DIFF_CASES is a number"),
        Err(_) => default,
    }
}

/// The cases that ended differently.
pub struct Report {
    cases: usize,
    failures: Vec<String>,
}

impl Report {
    /// Runs the cases here and on QEMU's model `cpu`.
    pub fn of(cpu: &str, cases: &[Case]) -> Report {
        let theirs = qemu::run(cpu, cases);
        assert_eq!(theirs.len(), cases.len());
        let mut engine = EngineRunner::new();
        let failures = cases
            .iter()
            .zip(&theirs)
            .filter_map(|(case, theirs)| differences(case, &engine.run(case), theirs, RESERVED))
            .collect();
        Report { cases: cases.len(), failures }
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
