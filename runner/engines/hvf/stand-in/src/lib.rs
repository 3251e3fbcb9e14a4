//! A stand-in for Apple's Hypervisor.framework: the `hv_*` functions that crate `applevisor` links, with what Apple's
//! headers say of them, over the soft engine's processor. It is for tests, where there is no Mac; on one it is empty.
//!
//! What is kept to: one virtual machine a process, one vCPU a thread, every call of a vCPU's by its own thread but
//! `hv_vcpus_exit`, whole pages of 16 KiB for the guest, exits with Arm's syndromes and the PC where the architecture
//! leaves it, pending interrupts that are forgotten by each run, the virtual timer that masks itself, translations and
//! code that are kept until the guest's own instructions drop them, and [`deny`] for a program without the entitlement.
//! Identification registers are those of an Apple M1 until they are set, and the vCPU runs only with those that the
//! soft engine's processor has.
//!
//! What is not: the registers that trap on Apple silicon and the soft engine holds itself (the OS lock, the physical
//! counter, the performance monitors) do not trap here; FIQs reach nobody; `hv_vm_protect` is not there. Guest memory
//! must be [`lend`]ed first, for the soft engine's processor takes it whole, and by the machine's own type.

#![cfg(not(target_os = "macos"))]

mod calls;
mod cpu;
mod process;
mod registers;
mod syndrome;

pub use process::{MOST_VCPUS, Turn, deny, lend, turn};
