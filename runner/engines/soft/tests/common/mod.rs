//! What the differential tests share: reproducible random numbers, and QEMU's user-mode emulator as the
//! oracle. The emulator runs static programs that are written here word by word, so that a test machine
//! needs no assembler.

#![allow(dead_code, reason = "each test binary uses a part")]

pub mod assembler;
pub mod assembly;
pub mod cases;
pub mod differential;
pub mod disassembler;
pub mod elf;
pub mod encodings;
pub mod engine;
pub mod guest;
pub mod noise;
pub mod noisy_machine;
pub mod operands;
pub mod qemu;
pub mod random;
