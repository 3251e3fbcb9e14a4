//! The builder: from a recipe to content-addressed artifacts.
//!
//! A recipe ([`recipe`]) says what is wanted. Its lock ([`lock`]) pins every package to the byte; packages come from
//! Debian's archive ([`debian`]) and are unpacked into a tree that lives in this program alone ([`tree`]), so no
//! privileges are needed and no maintainer script is run. The build ([`build`]) makes a kernel, an initramfs and a
//! root file system of it, starts a machine with them ([`capture`]), and puts everything into a store, each artifact
//! under the hash of its content. Equal inputs give equal bytes, on every host.

pub mod build;
pub mod capture;
pub mod commands;
pub mod cpio;
pub mod debian;
pub mod diff;
pub mod error;
mod excerpt;
pub mod initramfs;
pub mod inputs;
pub mod interrupt;
pub mod kernel;
pub mod lock;
pub mod module;
pub mod plan;
pub mod provenance;
pub mod rebuild;
pub mod recipe;
pub mod reporter;
pub mod rootfs;
pub mod sbom;
pub mod tree;
pub mod warm_base;
mod workshop;

pub use error::{Error, Result};
