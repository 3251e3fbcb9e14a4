//! AArch64 in software: a deterministic engine that runs on any host.

pub mod regs;
