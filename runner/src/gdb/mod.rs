//! A stub of GDB's remote serial protocol, for those who work on the engine or on the guest's kernel.
//!
//! A [`Listener`] waits for gdb on a thread of its own; [`Debugged`] is a guest in lockstep that gdb stops, looks at and
//! lets run. Each vCPU is a thread to gdb. The protocol itself is crate `gdbstub`'s; [`Debuggee`] is what it asks.
//!
//! While gdb holds the guest nothing of it runs, its time included, and what gdb does leaves no trace: breakpoints are
//! the engine's and not in guest memory, a machine goes on in the middle of its round, and memory is read without
//! touching a device.

mod address;
mod debugged;
mod debuggee;
mod listener;
mod memory;
mod monitor;
mod registers;
mod system_registers;
mod target;
#[cfg(test)]
mod tests;

pub use address::Address;
pub use debugged::Debugged;
pub use debuggee::Debuggee;
pub use listener::Listener;
