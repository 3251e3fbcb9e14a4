//! Debian: where packages are, which ones are wanted, and what is in them.
//!
//! What is trusted, and why: one of Debian's keys signs the `InRelease` file ([`inrelease`]); that file holds
//! the hash of the list of packages ([`release`]), and the list the hash of each package ([`packages`]).
//! The mirror is trusted in nothing. What was found is pinned in a lock, so the walk is made only when
//! a lock is made.

pub mod archive;
pub mod compression;
pub mod date;
pub mod deb;
pub mod deb822;
pub mod fetch;
pub mod inrelease;
pub mod packages;
pub mod relation;
pub mod release;
pub mod resolve;
pub mod sources;
pub mod version;

/// The guest's architecture, as Debian names it.
pub const ARCHITECTURE: &str = "arm64";
