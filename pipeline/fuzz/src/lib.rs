//! What the fuzz targets do with the bytes that they are given.
//!
//! It is all here and the targets only call it, so that a stable compiler replays the same without libFuzzer: the
//! tests below, with bytes from a generator, and `cargo fuzz run` with the fuzzer's.

mod choices;

pub mod bundle;
pub mod control;
pub mod deb;
pub mod index;
pub mod lock;
pub mod packages;
pub mod recipe;

use samovar::Error;

/// What a user sees of an error must be complete.
fn is_well_put(error: &Error) {
    assert!(!error.to_string().is_empty());
    let hint = error.hint();
    assert!(!hint.is_empty() && !hint.contains('\n'), "{hint:?}");
    assert!((1..=5).contains(&error.exit_code()));
}

#[cfg(test)]
#[path = "../../../runner/engines/soft/tests/common/random.rs"]
#[allow(dead_code, missing_docs, reason = "the targets use a part of what the engine's tests do")]
mod random;

#[cfg(test)]
mod replay {
    use super::*;
    use random::Random;

    /// Runs a target on bytes from a generator. `SAMOVAR_FUZZ_SECONDS` makes it go on for so long and say how many
    /// inputs it had.
    fn replay(name: &str, target: fn(&[u8]), inputs: usize, most_bytes: usize) {
        let seconds = std::env::var("SAMOVAR_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
        let begun = std::time::Instant::now();
        let mut random = Random::new(inputs as u64);
        let mut count = 0;
        let goes_on = |count| match seconds {
            Some(seconds) => begun.elapsed().as_secs() < seconds,
            None => count < inputs,
        };
        while goes_on(count) {
            // Short inputs change little, and reach far.
            let most = if random.one_in(2) { most_bytes / 16 } else { most_bytes };
            let bytes: Vec<u8> = (0..random.below(most)).map(|_| random.u64() as u8).collect();
            target(&bytes);
            count += 1;
        }
        eprintln!("{name}: {count} inputs");
    }

    #[test]
    fn recipe() {
        replay("recipe", recipe::run, 2_000, 600);
    }

    #[test]
    fn bundle() {
        replay("bundle", bundle::run, 1_000, 200);
    }

    #[test]
    fn index() {
        replay("index", index::run, 500, 200);
    }

    #[test]
    fn lock() {
        replay("lock", lock::run, 2_000, 600);
    }

    #[test]
    fn deb() {
        replay("deb", deb::run, 3_000, 2_000);
    }

    #[test]
    fn control() {
        replay("control", control::run, 5_000, 600);
    }

    #[test]
    fn packages() {
        replay("packages", packages::run, 1_000, 1_000);
    }
}
