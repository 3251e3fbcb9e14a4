//! The engine over a stand-in for Hypervisor.framework.

#![cfg(not(target_os = "macos"))]

mod guest;
mod misuse;
mod programs;
mod state;
