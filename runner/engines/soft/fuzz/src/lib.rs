//! What the fuzz targets do with the bytes that they are given.
//!
//! It is all here and the targets only call it, so that a stable compiler replays the same without libFuzzer: the
//! tests below, with bytes from a generator, and `cargo fuzz run` with the fuzzer's.

pub mod decoder;
pub mod guest;
pub mod memory_system;
pub mod virtio;

/// What the engine's tests have: generators of noise, and machines to make it on.
#[path = "../../tests/common"]
#[allow(dead_code, missing_docs, reason = "the targets use a part of what the tests do")]
mod common {
    pub mod guest;
    pub mod noise;
    pub mod noisy_machine;
    pub mod operands;
    pub mod random;
}

#[cfg(test)]
mod replay {
    use super::*;
    use common::random::Random;

    fn replay(target: fn(&[u8]), inputs: usize, most_bytes: usize) {
        let mut random = Random::new(inputs as u64);
        for _ in 0..inputs {
            let bytes: Vec<u8> = (0..random.below(most_bytes)).map(|_| random.u64() as u8).collect();
            target(&bytes);
        }
    }

    #[test]
    fn decoder() {
        replay(decoder::run, 10_000, 400);
    }

    #[test]
    fn memory_system() {
        replay(memory_system::run, 3_000, 4_000);
    }

    #[test]
    fn guest() {
        replay(guest::run, 60, 4_000);
    }

    #[test]
    fn virtio() {
        replay(virtio::run, 200, 4_000);
    }
}
