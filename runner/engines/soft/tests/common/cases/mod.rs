//! What the differential tests run on both sides.

pub mod integer;
pub mod memory;
pub mod simd;
