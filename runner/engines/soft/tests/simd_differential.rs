//! FP/SIMD data processing against QEMU's user-mode emulator: random encodings of every group, on operands
//! that are hard, in all modes; the whole state is compared.
//!
//! `SAMOVAR_DIFF_CASES` sets how many cases are run in all.

mod common;

use std::collections::BTreeMap;

use common::cases::simd::{case, random_of, share};
use common::differential::total_cases;
use common::encodings::{GROUPS, Group};
use common::qemu::{self, Case, Outcome, RESERVED, State};
use common::random::Random;
use engine_soft::regs::Regs;
use engine_soft::simd;

/// ARMv8.0-A with the cryptographic extension: the feature set that the engine has of this space.
const CPU: &str = "cortex-a57";

const DEFAULT_CASES: usize = 200_000;

fn is_allocated(word: u32) -> bool {
    simd::decode(word).is_some()
}

fn run_engine(case: &Case) -> State {
    let start = &case.state;
    let mut regs =
        Regs { nzcv: start.nzcv, fpcr: start.fpcr, fpsr: start.fpsr, v: start.v, ..Regs::default() };
    regs.x[..31].copy_from_slice(&start.x);
    for &word in &case.words {
        simd::decode(word).expect("only decoded words are tested")(&mut regs, word);
    }
    let mut end = start.clone();
    end.x.copy_from_slice(&regs.x[..31]);
    (end.nzcv, end.fpcr, end.fpsr, end.v) = (regs.nzcv, regs.fpcr, regs.fpsr, regs.v);
    assert_eq!(regs.x[31], 0, "the zero register was written by {:08x?}", case.words);
    end
}

/// What differs, for a reader.
fn differences(case: &Case, ours: &State, theirs: &Outcome) -> Option<String> {
    let mut text = String::new();
    let theirs_end = &theirs.state;
    if theirs.signal != 0 {
        text += &format!("  QEMU raised signal {}\n", theirs.signal);
    }
    for n in (0..31).filter(|&n| n != RESERVED && ours.x[n] != theirs_end.x[n]) {
        text += &format!("  x{n}: ours {:016x}, QEMU's {:016x}\n", ours.x[n], theirs_end.x[n]);
    }
    for n in (0..32).filter(|&n| ours.v[n] != theirs_end.v[n]) {
        text += &format!("  v{n}: ours {:032x}, QEMU's {:032x}\n", ours.v[n], theirs_end.v[n]);
    }
    for (name, ours, theirs) in [
        ("nzcv", ours.nzcv, theirs_end.nzcv),
        ("fpcr", ours.fpcr, theirs_end.fpcr),
        ("fpsr", ours.fpsr, theirs_end.fpsr),
    ] {
        if ours != theirs {
            text += &format!("  {name}: ours {ours:08x}, QEMU's {theirs:08x}\n");
        }
    }
    if ours.sp != theirs_end.sp || ours.memory != theirs_end.memory {
        text += "  the stack pointer or memory\n";
    }
    if text.is_empty() {
        return None;
    }
    let (word, start) = (case.words[0], &case.state);
    let name = simd::mnemonic(word).unwrap_or("?");
    let (d, n, m, a) = (word & 31, word >> 5 & 31, word >> 16 & 31, word >> 10 & 31);
    text = format!("{word:08x} {name} fpcr {:08x} fpsr {:08x}\n{text}", start.fpcr, start.fpsr);
    for (role, n) in [("d", d), ("n", n), ("m", m), ("a", a)] {
        text += &format!("  before: V{role} = v{n} = {:032x}\n", start.v[n as usize]);
    }
    Some(text)
}

fn run_group(group: &Group, cases: usize, mnemonics: &mut BTreeMap<&'static str, usize>) -> Vec<String> {
    let mut random = random_of(group);
    let mut failures = Vec::new();
    let mut left = cases;
    while left > 0 {
        let batch: Vec<Case> = (0..left.min(4096))
            .map(|_| {
                let case = case(&mut random, group);
                *mnemonics.entry(simd::mnemonic(case.words[0]).unwrap_or("?")).or_default() += 1;
                case
            })
            .collect();
        left -= batch.len();
        let outcomes = qemu::run(CPU, &batch);
        assert_eq!(outcomes.len(), batch.len());
        failures.extend(
            batch
                .iter()
                .zip(&outcomes)
                .filter_map(|(case, outcome)| differences(case, &run_engine(case), outcome)),
        );
    }
    failures
}

#[test]
fn every_group_does_what_qemu_does() {
    let total = total_cases(DEFAULT_CASES);
    let mut mnemonics = BTreeMap::new();
    let mut failures = Vec::new();
    for group in GROUPS {
        let cases = share(group, total);
        let failed = run_group(group, cases, &mut mnemonics);
        println!("{:40} {cases:8} cases, {} differ", group.name, failed.len());
        failures.extend(failed);
    }
    println!("{} mnemonics, the rarest: {:?}", mnemonics.len(), mnemonics.iter().min_by_key(|(_, n)| **n));
    for failure in failures.iter().take(40) {
        println!("{failure}");
    }
    assert!(failures.is_empty(), "{} cases differ", failures.len());
}

/// Runs words on QEMU just to see which exist, and compares with what the engine decodes.
fn compare_allocation(words: &[u32]) {
    let accepted = qemu::accepted(CPU, words);
    let wrong: Vec<String> = words
        .iter()
        .zip(accepted)
        .filter(|&(&word, accepted)| is_allocated(word) != accepted)
        .map(|(&word, accepted)| {
            let name = simd::mnemonic(word).unwrap_or("-");
            format!("{word:08x}: ours {name}, QEMU {}", if accepted { "accepts" } else { "refuses" })
        })
        .collect();
    for line in wrong.iter().take(60) {
        println!("{line}");
    }
    assert!(wrong.is_empty(), "{} of {} words are allocated differently", wrong.len(), words.len());
}

/// A word of the space from its 19 bits above the fields Rn and Rd, which are the last argument.
fn word_of(upper: u32, lower: u32) -> u32 {
    (upper >> 15) << 28 | 7 << 25 | (upper & 0x7fff) << 10 | lower
}

/// Every value of all bits but the lowest ten, with those as ones (the zero register) and as zeros.
#[test]
fn the_whole_space_is_allocated_as_in_qemu() {
    for lower in [0x3ff, 0x000] {
        let words: Vec<u32> = (0..1 << 19).map(|upper| word_of(upper, lower)).collect();
        compare_allocation(&words);
    }
}

/// Some encodings depend on the lowest bits too: random ones.
#[test]
fn random_words_are_allocated_as_in_qemu() {
    let mut random = Random::new(0x5a30_7a72);
    let words: Vec<u32> =
        (0..300_000).map(|_| word_of(random.u32() & 0x7_ffff, random.u32() & 0x3ff)).collect();
    compare_allocation(&words);
}
