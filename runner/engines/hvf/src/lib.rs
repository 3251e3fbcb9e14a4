//! Apple Silicon's own virtualisation behind the machine's seam, through Hypervisor.framework.
//!
//! The framework knows one virtual machine a process ([`vm`]) and vCPUs that belong to the thread that made them
//! ([`vcpu`]). It runs EL0 and EL1 of the guest as they are and comes back for what the machine must do ([`exit`]): device
//! memory, which has no mapping; the system registers of the interrupt controller, which is the machine's own, as
//! `hv_gic_create` is never called; HVC and WFI; and the virtual timer, which the framework watches for us
//! ([`counter`]). Its state is the same [`CpuState`](machine::cpu_state::CpuState) as everywhere ([`registers`]).
//!
//! What is said of a function here is what its header says (`hv_vm.h`, `hv_vcpu.h`, `hv_vcpu_types.h`,
//! `hv_vcpu_config.h` of the macOS SDK) unless something else is named. All of it runs in tests on a stand-in for the
//! framework; nobody has run it on Apple's yet.
//!
//! Crate `applevisor` 1.0 wraps the framework. Where it can't be used, `applevisor-sys` is: for mapping memory that is
//! not its own ([`vm`]), for setting vector registers ([`vector`]), and for the name of the IRQ input, which it has
//! mistaken ([`vcpu`]).

mod access;
mod counter;
mod error;
mod exception;
mod exit;
mod features;
mod registers;
mod scrub;
mod translate;
mod vcpu;
mod vector;
mod vm;

// The unit tests link it.
#[cfg(all(test, not(target_os = "macos")))]
use hvf_stand_in as _;

pub use vcpu::HvfVcpu;
pub use vm::HvfEngine;
