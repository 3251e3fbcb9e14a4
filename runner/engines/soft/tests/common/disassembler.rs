//! LLVM's disassembler as the judge of which words are instructions. Its decoder tables are generated from
//! its own description of the architecture, and it takes the feature set as an argument.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Command, Stdio};

const DISASSEMBLER: &str = "llvm-objdump";

/// The engine's feature set beside Armv8.0-A, by LLVM's names: FEAT_LSE, FEAT_CRC32, FEAT_AES and FEAT_PMULL,
/// FEAT_SHA1 and FEAT_SHA256, FEAT_PAN.
pub const FEATURES: &[&str] = &["lse", "crc", "aes", "sha2", "pan"];

/// What LLVM writes for a word that is no instruction.
pub const UNKNOWN: &str = "<unknown>";

/// Gives `each` the disassembly of each word, as Armv8.0-A with the given further features by LLVM's names:
/// a mnemonic, no alias, and after a tab the operands; or [`UNKNOWN`].
pub fn disassemble<T>(words: &[u32], features: &[&str], mut each: impl FnMut(&str) -> T) -> Vec<T> {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("words.o");
    fs::write(&path, object(words)).expect("the object file is written");
    let attributes: Vec<String> = features.iter().map(|feature| format!("+{feature}")).collect();
    let child = Command::new(DISASSEMBLER)
        .args([
            "--disassemble",
            "--disassemble-zeroes",
            "--no-show-raw-insn",
            "--disassembler-options=no-aliases",
        ])
        .arg(format!("--mattr=+v8a,{}", attributes.join(",")))
        .arg(&path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            panic!("{DISASSEMBLER} is missing: install the Debian package llvm")
        }
        other => other.expect("the disassembler starts"),
    };
    let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
    // An instruction's line is its address, a colon and a tab; no other line has both.
    let found: Vec<T> = output
        .lines()
        .filter_map(|line| {
            let line = line.expect("the disassembler writes text");
            let (address, text) = line.split_once(':')?;
            let address = u64::from_str_radix(address.trim(), 16).ok()?;
            Some((address, each(text.trim())))
        })
        .enumerate()
        .map(|(index, (address, value))| {
            assert_eq!(address, 4 * index as u64, "one line for each word");
            value
        })
        .collect();
    assert!(child.wait().expect("the disassembler ends").success());
    assert_eq!(found.len(), words.len(), "{DISASSEMBLER} has described every word");
    found
}

/// A relocatable object file whose one section of code holds the words (System V ABI).
fn object(words: &[u32]) -> Vec<u8> {
    const NAMES: &[u8] = b"\0.text\0.shstrtab\0";
    let header_size = 64;
    let text_size = 4 * words.len();
    let names_at = header_size + text_size;
    let sections_at = (names_at + NAMES.len()).next_multiple_of(8);

    let mut file = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // Relocatable, AArch64, version 1; no entry, no program headers.
    file.extend([1, 0, 183, 0, 1, 0, 0, 0]);
    file.extend([0; 16]);
    file.extend((sections_at as u64).to_le_bytes());
    file.extend([0; 4]);
    for half in [64u16, 0, 0, 64, 3, 2] {
        file.extend(half.to_le_bytes());
    }
    assert_eq!(file.len(), header_size);
    file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
    file.extend(NAMES);
    file.resize(sections_at, 0);
    let mut section = |name: u32, kind: u32, flags: u64, at: usize, size: usize| {
        file.extend(name.to_le_bytes());
        file.extend(kind.to_le_bytes());
        for field in [flags, 0, at as u64, size as u64] {
            file.extend(field.to_le_bytes());
        }
        file.extend([0; 8]);
        for field in [4u64, 0] {
            file.extend(field.to_le_bytes());
        }
    };
    section(0, 0, 0, 0, 0);
    // PROGBITS, ALLOC and EXECINSTR; then STRTAB.
    section(1, 1, 6, header_size, text_size);
    section(7, 3, 0, names_at, NAMES.len());
    file
}
