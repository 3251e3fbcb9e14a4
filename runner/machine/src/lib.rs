//! The guest's hardware, the same on every engine.
//!
//! [`Machine`] owns every device as plain state and answers the exits of an
//! engine's vCPUs. It knows no engine, no window and no recipe: an engine meets
//! it only through [`engine`], a program shows its [`virtio::gpu`] screen and
//! feeds its inputs.
//!
//! Nothing here reads the host's clock or entropy but through [`clock`].

pub mod clock;
pub mod cpu_state;
pub mod device;
pub mod engine;
pub mod layout;
pub mod memory;
