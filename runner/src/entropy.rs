//! Where a machine's random bytes come from.

use std::io;

use machine::clock::Entropy;
use sha2::{Digest, Sha256};

/// The host's entropy, for a live session.
#[derive(Clone, Debug)]
pub struct HostEntropy(());

impl HostEntropy {
    /// The host's entropy, once it has shown that it works.
    ///
    /// # Errors
    /// If the host has none to give.
    pub fn new() -> io::Result<Self> {
        let failed = |error| io::Error::other(format!("it gives no entropy: {error}"));
        getrandom::fill(&mut [0; 16]).map_err(failed)?;
        Ok(HostEntropy(()))
    }
}

impl Entropy for HostEntropy {
    /// # Panics
    /// If the host stops to give entropy. Clones of one snapshot would share
    /// their secrets if it went on without.
    fn fill(&mut self, buf: &mut [u8]) {
        if let Err(error) = getrandom::fill(buf) {
            panic!("the host gives no more entropy: {error}");
        }
    }
}

/// A fixed stream, for a capture: SHA-256 of a seed and a counter, block after
/// block. It is no secret and need not be: a restore replaces what came of it.
#[derive(Debug)]
pub struct FixedEntropy {
    seed: &'static str,
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl FixedEntropy {
    /// The stream that `seed` names.
    pub fn new(seed: &'static str) -> Self {
        FixedEntropy { seed, counter: 0, block: [0; 32], used: 32 }
    }
}

impl Entropy for FixedEntropy {
    fn fill(&mut self, buf: &mut [u8]) {
        for byte in buf {
            if self.used == self.block.len() {
                let mut hash = Sha256::new();
                hash.update(self.counter.to_le_bytes());
                hash.update(self.seed.as_bytes());
                self.block = hash.finalize().into();
                self.counter += 1;
                self.used = 0;
            }
            *byte = self.block[self.used];
            self.used += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fixed_stream_does_not_depend_on_how_it_is_read() {
        let mut whole = [0; 100];
        FixedEntropy::new("test").fill(&mut whole);
        let mut parts = [0; 100];
        let mut entropy = FixedEntropy::new("test");
        for part in parts.chunks_mut(7) {
            entropy.fill(part);
        }
        assert_eq!(whole, parts);
        let mut other = [0; 100];
        FixedEntropy::new("other").fill(&mut other);
        assert_ne!(whole, other);
    }

    /// SHA-256 of eight zero bytes and "abc", by sha256sum(1).
    #[test]
    fn the_fixed_stream_is_sha_256() {
        let mut bytes = [0; 4];
        FixedEntropy::new("abc").fill(&mut bytes);
        assert_eq!(bytes, [0xf3, 0x65, 0x2e, 0x4c]);
    }

    #[test]
    fn the_host_does_not_repeat_itself() {
        let mut entropy = HostEntropy::new().unwrap();
        let (mut a, mut b) = ([0; 16], [0; 16]);
        entropy.fill(&mut a);
        entropy.fill(&mut b);
        assert_ne!(a, b);
    }
}
