//! The guest's hardware, the same on every engine.
//!
//! [`board::Machine`] owns every device as plain state and answers the exits of an
//! engine's vCPUs. It knows no engine, no window and no recipe: an engine meets
//! it only through [`engine`], a program shows its [`virtio::gpu`] screen and
//! feeds its inputs.
//!
//! Nothing here reads the host's clock or entropy but through [`clock`].

pub mod board;
pub mod clock;
pub mod cpu_state;
pub mod device;
pub mod engine;
pub mod fdt;
pub mod features;
pub mod gic;
pub mod image;
pub mod layout;
pub mod memory;
pub mod pl011;
pub mod pl031;
pub mod psci;
pub mod threads;
pub mod virtio;
pub mod vm;
pub mod vmgenid;

/// Version of the machine that a guest sees. It changes whenever a guest that
/// was captured before could notice, and a base of another version is refused.
pub const VERSION: u32 = 3;
