//! Runs guests: boots a kernel, captures a warm base, restores it, and shows it
//! in a window.

pub mod boot;
pub mod bundled;
pub mod capture;
pub mod commands;
pub mod console;
pub mod doctor;
pub mod drive;
pub mod engine;
pub mod entropy;
pub mod error;
pub mod gdb;
pub mod keys;
pub mod line;
pub mod live;
pub mod memory_image;
pub mod picture;
pub mod player;
pub mod report;
pub mod restore;
pub mod script;
pub mod session;
pub mod snapshot;
pub mod spec;
pub mod terminal;
pub mod units;
pub mod window;

pub use spec::MachineSpec;
