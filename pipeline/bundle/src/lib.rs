//! Bundles: one file with an artifact and all that it needs, to be sent to somebody else.
//!
//! # The format
//!
//! All numbers are little-endian. `u32` and `u64` are what Rust calls so; nothing is aligned.
//!
//! ```text
//! prefix    8 bytes   89 53 4d 56 0d 0a 1a 0a: no text, and not the same after a transfer as text (as PNG has it, 5.2)
//!           u32       version, 1
//!           u32       length of the head in bytes, at most 32 MiB
//!           u32       length of the signature in bytes, at most 4096; 0 if there is none
//!           u32       0
//!           32 bytes  root: the SHA-256 of the head
//! head      see below
//! frames    one behind the other, in the order in which the head has them
//! signature the text of a minisign signature of the line `samovar bundle 1 <root in hexadecimal digits>`
//! ```
//!
//! The file ends there. The head has, with nothing in between:
//!
//! ```text
//! u32       number of artifacts, 1 to 64
//! for each artifact, after those that it needs; the last is the one that the bundle is about:
//!   u32     length of the manifest, at most 1 MiB
//!   ...     the manifest, whose SHA-256 is the artifact's name
//!   for each file of the manifest, in its order:
//!     u32   number of runs
//!     for each run of the file's pages of 4096 bytes, the last of which may be shorter:
//!       u32 number of pages times four, plus the kind: 0 zeros, 1 stored, 2 the same as other pages
//!       only for kind 2, both whole pages:
//!       u32 number of the file that has the other pages, by order in the bundle from 0: an earlier one, or this one
//!       u32 number of the first of them in that file; they are stored ones of a single run, in this file earlier ones
//!     for each chunk of 256 pages of the file that has stored ones:
//!       u32 length of the frame
//!       32  the frame's SHA-256
//! u32       length of the provenance, at most 16 MiB
//! ...       the provenance: JSON in UTF-8, whose meaning the builder knows
//! ```
//!
//! A frame is one Zstandard frame (RFC 8878) of the chunk's stored pages, one behind the other. Each can be read without
//! the others.
//!
//! So the root, which a signature is of, pins every byte: the head has the frames' hashes, and the manifests the hashes
//! of what comes of them. A frame is hashed before it is decompressed, and a file before it is seen in a store.
//!
//! Two packs of one artifact are the same bytes, whoever makes them, where, and with how many threads: there is no time,
//! owner or path in a bundle.

pub mod carried;
mod error;
mod head;
mod ordered;
mod pack;
mod plan;
mod reader;
mod sign;
mod unpack;

pub use error::{Error, Result};
pub use head::{Frame, Head, Packed, PackedFile, Run};
pub use ordered::{in_order, threads};
pub use pack::{Pack, Summary, with_needs};
pub use reader::{Bundle, is_bundle};
pub use sign::{KeyPair, MAX_SIGNATURE, Signed, SigningKey, TrustedKey};
pub use unpack::Unpacked;

/// The unit that is left out if it is zero or there already: the smallest page that guests and hosts use, and the block
/// of the guests' file systems.
pub const PAGE: usize = 4096;

/// Pages of a file that are compressed together.
pub const CHUNK_PAGES: u64 = 256;

/// Bytes of a file that are compressed together. What a bundle is packed and unpacked with holds a few of them for each
/// thread.
pub const CHUNK: usize = CHUNK_PAGES as usize * PAGE;

/// How far something is: bytes done, and bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);
