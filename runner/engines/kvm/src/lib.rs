//! Linux's own virtualisation on arm64 behind the machine's seam, through `/dev/kvm`.
//!
//! KVM runs EL0 and EL1 of the guest as they are and comes back for device memory, which has no slot, and for the calls
//! that the guest makes by HVC. Its state is the same [`CpuState`](machine::cpu_state::CpuState) as everywhere
//! (`registers`), with the machine's features (`features`) and a counter that goes on where it was (`counter`).
//!
//! One thing is not as on the other engines: without an interrupt controller in the kernel KVM lets a guest use none at
//! all, for it gives an UNDEFINED exception for each access to a CPU interface. So this engine brings KVM's GICv3 along
//! ([`HostGic`](machine::engine::HostGic)), and its state becomes the machine's and back (`gic`). The virtual timer and
//! WFI are the kernel's, too. PSCI is not: a filter leaves all calls but those of Arm's architecture to the machine, so
//! a vCPU that is off is one that is not run.
//!
//! What is said of KVM here is what Linux's documentation says, `Documentation/virt/kvm/api.rst` ("KVM API") and
//! `Documentation/virt/kvm/devices/arm-vgic-v3.rst` ("vGICv3"), unless something else is named. What needs no KVM is
//! built and tested on every host; `host` is for arm64 Linux alone.

#![cfg_attr(
    not(all(target_os = "linux", target_arch = "aarch64")),
    allow(dead_code, reason = "built and tested everywhere, used where there is KVM for arm64")
)]

mod counter;
mod features;
mod gic;
mod registers;

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
mod host;

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
pub use host::{KvmEngine, KvmVcpu, check_counter};
