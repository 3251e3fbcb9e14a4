//! Random numbers that are the same on every run.

/// SplitMix64 (Steele, Lea and Flood, 2014), after the numbers that it was given.
pub struct Random {
    state: u64,
    /// What comes first, the next one last.
    given: Vec<u64>,
}

impl Random {
    pub fn new(seed: u64) -> Random {
        Random { state: seed, given: Vec::new() }
    }

    /// Takes its numbers from `bytes` until they are used up: so a fuzzer chooses them. The last one is the seed of
    /// those that follow.
    pub fn from_bytes(bytes: &[u8]) -> Random {
        let number = |bytes: &[u8]| bytes.iter().rev().fold(0, |all, &byte| all << 8 | u64::from(byte));
        let given: Vec<u64> = bytes.chunks(8).rev().map(number).collect();
        Random { state: given.first().copied().unwrap_or(0), given }
    }

    pub fn u64(&mut self) -> u64 {
        if let Some(number) = self.given.pop() {
            return number;
        }
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.state ^ self.state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn u32(&mut self) -> u32 {
        (self.u64() >> 32) as u32
    }

    pub fn u128(&mut self) -> u128 {
        u128::from(self.u64()) << 64 | u128::from(self.u64())
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.u64() % bound as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}
