//! AArch64 in software: a deterministic engine that runs on any host.
//!
//! One instruction goes this way: [`mmu`] finds its page, [`decode`] turns its
//! word into an [`op::Op`], [`blocks`] keeps it, [`interp`] executes it on a
//! [`core::Core`], reaching memory through [`access`] and system registers
//! through [`sysreg`]. [`debug`] lets the guest debug itself, and a debugger
//! stop it. [`vcpu`] puts all of it behind the machine's seam.
//!
//! The guest sees an ARMv8.0 processor with LSE, CRC32, AES and PMULL, SHA-1 and
//! SHA-256, PAN and 16-bit ASIDs.

pub mod access;
pub mod blocks;
pub mod core;
pub mod debug;
pub mod decode;
pub mod domain;
pub mod fp;
pub mod interp;
pub mod mmu;
pub mod op;
pub mod regs;
pub mod simd;
pub mod sysreg;
pub mod vcpu;

pub use vcpu::{SoftEngine, SoftVcpu};
