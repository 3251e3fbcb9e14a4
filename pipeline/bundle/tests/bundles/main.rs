//! Bundles packed and unpacked, on artifacts of every shape, and on bundles that somebody spoilt.

mod hostile;
mod place;
mod roundtrip;
mod samples;
mod trust;
