//! What the decoder calls an instruction, against LLVM: every word of a real C library and of a real kernel, and
//! a sample of all words there are.
//!
//! `SAMOVAR_TEST_LIBC` and `SAMOVAR_TEST_KERNEL` name an arm64 C library and an arm64 kernel image. Without the
//! first it is the one of Debian's package libc6-arm64-cross; without the second no kernel is walked.
//! `SAMOVAR_DECODER_WORDS` sets the size of the sample.

mod common;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::ops::Range;

use common::disassembler::{FEATURES, UNKNOWN, disassemble};
use common::random::Random;
use engine_soft::decode::decode;
use engine_soft::op::Kind;

/// What the engine has not, by Arm's names and LLVM's: instructions of these are UNDEFINED.
const ABSENT: &[(&str, &str)] = &[
    ("FEAT_PAuth", "pauth"),
    ("FEAT_RDM", "rdm"),
    ("FEAT_LOR", "lor"),
    ("FEAT_UAO", "uaops"),
    ("FEAT_FP16", "fullfp16"),
    ("FEAT_FHM", "fp16fml"),
    ("FEAT_DotProd", "dotprod"),
    ("FEAT_SHA512 and FEAT_SHA3", "sha3"),
    ("FEAT_SM3 and FEAT_SM4", "sm4"),
    ("FEAT_JSCVT", "jsconv"),
    ("FEAT_FCMA", "complxnum"),
    ("FEAT_LRCPC", "rcpc"),
    ("FEAT_LRCPC2", "rcpc-immo"),
    ("FEAT_FlagM", "flagm"),
    ("FEAT_FlagM2", "altnzcv"),
    ("FEAT_FRINTTS", "fptoint"),
    ("FEAT_DIT", "dit"),
    ("FEAT_SSBS", "ssbs"),
    ("FEAT_SB", "sb"),
    ("FEAT_MTE", "mte"),
    ("FEAT_BF16", "bf16"),
    ("FEAT_I8MM", "i8mm"),
    ("FEAT_LS64", "ls64"),
    ("FEAT_XS", "xs"),
    ("FEAT_WFxT", "wfxt"),
    ("FEAT_HBC", "hbc"),
    ("FEAT_MOPS", "mops"),
    ("FEAT_TME", "tme"),
    ("FEAT_NV", "nv"),
    ("FEAT_SVE", "sve"),
    ("FEAT_SVE2", "sve2"),
    ("FEAT_SME", "sme"),
];

/// What LLVM prints for words that are UNDEFINED all the same, and why.
const UNDEFINED: &[(&str, &str)] = &[
    (UNKNOWN, "unallocated"),
    ("udf\t", "permanently undefined (Arm ARM C6.2.412)"),
    ("hlt\t", "undefined without halting debug (Arm ARM C6.2.98)"),
    ("dcps", "undefined but in Debug state (Arm ARM C6.2.83)"),
    ("drps", "undefined but in Debug state (Arm ARM C6.2.87)"),
    ("sysl\t", "no encoding of it is allocated in Armv8.0 (Arm ARM C5.2)"),
];

/// What LLVM prints for MRS and MSR with op0 0: hints, barriers and PSTATE fields are there, no registers
/// (Arm ARM C5.1.2).
const NO_REGISTER: &str = "S0_";

const DEFAULT_WORDS: usize = 2_000_000;

/// Words at a time: bounds the size of the object files.
const BATCH: usize = 1 << 20;

fn exists(word: u32) -> bool {
    decode(word).kind != Kind::Undefined
}

/// Whether LLVM's text is that of an instruction.
fn is_instruction(text: &str) -> bool {
    let operands = text.split_once('\t').map_or("", |(_, operands)| operands);
    let register = operands.split([',', ' ']).any(|operand| operand.starts_with(NO_REGISTER));
    !register && !UNDEFINED.iter().any(|(start, _)| text.starts_with(start))
}

/// What the two sides think of some words.
#[derive(Default)]
struct Verdict {
    both: usize,
    neither: Vec<u32>,
    ours_alone: Vec<u32>,
    llvm_alone: Vec<u32>,
}

impl Verdict {
    fn of(words: &[u32]) -> Verdict {
        let mut verdict = Verdict::default();
        for batch in words.chunks(BATCH) {
            for (&word, theirs) in batch.iter().zip(disassemble(batch, FEATURES, is_instruction)) {
                match (exists(word), theirs) {
                    (true, true) => verdict.both += 1,
                    (false, false) => verdict.neither.push(word),
                    (true, false) => verdict.ours_alone.push(word),
                    (false, true) => verdict.llvm_alone.push(word),
                }
            }
        }
        verdict
    }

    fn report(&self, what: &str) {
        println!(
            "{what}: {} instructions, {} undefined, {} ours alone, {} LLVM's alone",
            self.both,
            self.neither.len(),
            self.ours_alone.len(),
            self.llvm_alone.len(),
        );
        for (whose, words) in [("ours alone", &self.ours_alone), ("LLVM's alone", &self.llvm_alone)] {
            let shown: Vec<u32> = words.iter().step_by(words.len().div_ceil(40).max(1)).copied().collect();
            for (word, text) in
                shown.iter().zip(disassemble(&shown, FEATURES, |text| text.replace('\t', " ")))
            {
                println!("  {whose}: {word:08x} {text} ({:?})", decode(*word).kind);
            }
        }
    }

    fn finish(self) {
        assert!(self.ours_alone.is_empty() && self.llvm_alone.is_empty(), "the decoder and LLVM disagree");
    }
}

/// Of words that are undefined here, how many are instructions of which absent feature.
fn by_absent_feature(words: &[u32]) -> BTreeMap<&'static str, usize> {
    let allocated_with = |words: &[u32], more: &[(&str, &'static str)]| -> (Vec<u32>, Vec<u32>) {
        let features: Vec<&str> =
            FEATURES.iter().copied().chain(more.iter().map(|&(_, llvm)| llvm)).collect();
        let mut is = words.chunks(BATCH).flat_map(|batch| disassemble(batch, &features, is_instruction));
        words.iter().partition(|_| is.next().expect("an answer for each word"))
    };
    // Most are of none, so they are sorted out first.
    let (mut left, none) = allocated_with(words, ABSENT);
    let mut counts = BTreeMap::from([("data, or of features unknown to this LLVM", none.len())]);
    for feature in ABSENT {
        let (of_this, rest) = allocated_with(&left, &[*feature]);
        if !of_this.is_empty() {
            counts.insert(feature.0, of_this.len());
        }
        left = rest;
    }
    counts.insert("of several features together", left.len());
    counts
}

fn words_of(bytes: &[u8]) -> Vec<u32> {
    let mut words: Vec<u32> =
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect();
    // The same word means the same wherever it is.
    words.sort_unstable();
    words.dedup();
    words
}

fn walk(what: &str, bytes: &[u8]) {
    let words = words_of(bytes);
    println!("{what}: {} words, {} different ones", bytes.len() / 4, words.len());
    assert!(words.len() > 10_000, "{what} is too small to be a real one");
    let verdict = Verdict::of(&words);
    verdict.report(what);
    println!("  undefined words: {:?}", by_absent_feature(&verdict.neither));
    verdict.finish();
}

fn number(bytes: &[u8], at: usize, size: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(size)?)?;
    Some(bytes.iter().rev().fold(0, |all, &byte| all << 8 | usize::from(byte)))
}

/// File ranges of an ELF file's sections of code (System V ABI): the flag is SHF_EXECINSTR.
fn code_sections(file: &[u8]) -> Option<Vec<Range<usize>>> {
    const AARCH64: usize = 183;
    if file.get(..4)? != b"\x7fELF" || number(file, 18, 2)? != AARCH64 {
        return None;
    }
    let (table, entry, count) = (number(file, 40, 8)?, number(file, 58, 2)?, number(file, 60, 2)?);
    let mut ranges = Vec::new();
    for index in 0..count {
        let header = table + index * entry;
        if number(file, header + 8, 8)? & 4 != 0 {
            let start = number(file, header + 24, 8)?;
            ranges.push(start..start + number(file, header + 32, 8)?);
        }
    }
    Some(ranges)
}

#[test]
fn every_word_of_a_c_library() {
    const CROSS: &str = "/usr/aarch64-linux-gnu/lib/libc.so.6";
    let path = env::var("SAMOVAR_TEST_LIBC").unwrap_or_else(|_| CROSS.to_owned());
    let file = fs::read(&path).unwrap_or_else(|error| {
        panic!("{path}: {error}: install the Debian package libc6-arm64-cross, or name an arm64 C library in SAMOVAR_TEST_LIBC")
    });
    let sections = code_sections(&file).unwrap_or_else(|| panic!("{path} is no arm64 ELF file"));
    let code: Vec<u8> = sections.into_iter().flat_map(|range| file[range].iter().copied()).collect();
    walk("the C library", &code);
}

#[test]
fn every_word_of_a_kernel() {
    let Ok(path) = env::var("SAMOVAR_TEST_KERNEL") else {
        println!("SAMOVAR_TEST_KERNEL is not set: no kernel is walked, only the C library");
        return;
    };
    let file = fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    // Linux Documentation/arch/arm64/booting.rst: the magic number is at 56.
    assert_eq!(file.get(56..60), Some(&b"ARM\x64"[..]), "{path} is no arm64 kernel image");
    walk("the kernel", &file);
}

/// Words of every group, most of them near the border of what is allocated: the upper 22 bits hold nearly all
/// opcodes, and the lower 10, two register fields, sometimes matter.
#[test]
fn a_sample_of_all_words() {
    let count = match env::var("SAMOVAR_DECODER_WORDS") {
        Ok(number) => number.parse().expect("SAMOVAR_DECODER_WORDS is a number"),
        Err(_) => DEFAULT_WORDS,
    };
    let mut random = Random::new(0xdec0);
    let words: Vec<u32> = (0..count)
        .map(|_| {
            let word = random.u32();
            // Fields of all zeros and all ones are where the special cases are.
            let field = random.pick(&[0, 0, 0, 0x1f, 0x3e0, 0x7c00, 0x1f_0000, 0x1f_ffe0, 0xfc00]);
            match random.below(4) {
                0 => word & !field,
                1 => word | field,
                _ => word,
            }
        })
        .collect();
    let verdict = Verdict::of(&words);
    verdict.report("the sample");
    verdict.finish();
}
