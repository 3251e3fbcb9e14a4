//! Artifacts sent to and fetched from elsewhere, chunk by chunk: a directory, a web server that serves one, or an OCI
//! registry.
//!
//! # What a remote has
//!
//! *Pages* of 4096 bytes are what versions of an artifact share: two captures of one browser put the same pages elsewhere,
//! so no larger unit serves (the figures are in `benches/results/`). Up to 64 of them are compressed together, one Zstandard
//! frame (RFC 8878) that can be read without the others. Frames lie behind one another in *packs* of some 16 MiB, which are
//! named by their SHA-256, never changed, and fetched in parts. The *index* of an artifact has the manifests of it and of all
//! that it needs, which pages their files are made of, and where those are. The index of the next version names the
//! frames of the last one that it still uses, so a push writes only what is new; a pull fetches only those frames of whose
//! pages one is not in the store yet.
//!
//! ```text
//! a directory, or a web server           an OCI registry
//! indexes/<hash of the artifact>         a manifest under the tags <hash> and <name>: its first layer is the index,
//! names/<name>: that hash                the others are all packs that the index names
//! packs/<sha256>                         blobs
//! ```
//!
//! # The index
//!
//! All numbers are little-endian `u32`.
//!
//! ```text
//! prefix    8 bytes   89 53 4d 49 0d 0a 1a 0a
//!           u32       version, 1
//!           u32       length of the index, at most 96 MiB
//!           u32       length of the index as it is here, one Zstandard frame
//!           u32       length of the signature, at most 4096; 0 if there is none
//!           32 bytes  root: the SHA-256 of the index
//! signature the text of a minisign signature of the line `samovar index 1 <root in hexadecimal digits>`
//! index     compressed; it has:
//!   number of packs; for each: SHA-256, length
//!   number of frames; for each, by pack and place: number of the pack, place in it, length, pages (1 to 64), SHA-256
//!   for each page of each frame: half of its SHA-256
//!   number of artifacts, 1 to 64; for each, after those that it needs; the last is the one that it is about:
//!     length of the manifest, and the manifest
//!     for each file: number of runs; for each: pages times two, plus 0 for zeros, or plus 1, and then the first page's number
//!   length of the provenance, and the provenance
//! ```
//!
//! So the root, which a signature is of, pins every byte: the index has the frames' hashes, and the manifests those of what
//! comes of them. A frame is hashed before it is decompressed, and a file before it is seen in a store. A name is no part of
//! it: whoever can write to a remote can make a name lead to an older artifact, but not to a forged one.
//!
//! Two pushes of one artifact to two empty remotes write the same bytes, whoever does it and where.

mod assemble;
mod directory;
mod error;
mod fetch;
mod http;
mod index;
mod local;
mod plan;
mod pull;
mod push;
mod registry;
mod remote;
mod retry;
mod sealed;

pub use error::{Error, Result};
pub use index::{Entry, Frame, Index, Key, Pack, Run};
pub use pull::{Pull, Pulled};
pub use push::{Push, Pushed};
pub use remote::Remote;
pub use sealed::Sealed;

/// The unit in which versions share content: the smallest page that guests and hosts use, and the block of the guests' file
/// systems.
pub const PAGE: usize = 4096;

/// How far something is: bytes done, and bytes in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);
