//! What a fuzzer's bytes decide, and the texts that come of it.

/// Choices, one after the other; once the bytes are used up, all of them are the first.
pub(crate) struct Choices<'a> {
    bytes: &'a [u8],
}

impl<'a> Choices<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Choices<'a> {
        Choices { bytes }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let number = u32::from(self.byte()) << 16 | u32::from(self.byte()) << 8 | u32::from(self.byte());
        number as usize % bound
    }

    pub(crate) fn one_in(&mut self, n: u8) -> bool {
        self.byte().is_multiple_of(n)
    }

    pub(crate) fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::from(self.byte()) % from.len()]
    }

    /// Some of the bytes as they are.
    pub(crate) fn take(&mut self, most: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(self.below(most + 1).min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    /// A text that is near to `seed`: lines and words are left out, doubled, moved, or replaced with others of the
    /// form's own words.
    pub(crate) fn mutated(&mut self, seed: &str, words: &[&str]) -> String {
        let mut text = seed.as_bytes().to_vec();
        while !self.is_done() && text.len() < 1 << 16 {
            let from = self.below(text.len() + 1);
            let most = if self.one_in(4) { 400 } else { 12 };
            let to = (from + self.below(most)).min(text.len());
            match self.byte() % 7 {
                0 => drop(text.drain(from..to)),
                1 => drop(text.splice(from..to, self.pick(words).bytes())),
                2 => drop(text.splice(from..from, self.pick(words).bytes())),
                3 => {
                    let part = text[from..to].to_vec();
                    let at = self.below(text.len() + 1);
                    text.splice(at..at, part);
                }
                4 => {
                    let bytes = self.take(8).to_vec();
                    text.splice(from..to, bytes);
                }
                // A whole line, twice or not at all.
                kind => {
                    let start = text[..from].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                    let end = text[from..]
                        .iter()
                        .position(|byte| *byte == b'\n')
                        .map_or(text.len(), |at| from + at + 1);
                    let line = text[start..end].to_vec();
                    match kind {
                        5 => drop(text.drain(start..end)),
                        _ => drop(text.splice(start..start, line)),
                    }
                }
            }
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The bytes as they are, or a text near to `seed`; which, the first byte says.
pub(crate) fn text(data: &[u8], seeds: &[&str], words: &[&str]) -> String {
    let mut choices = Choices::new(data);
    match choices.byte() % 8 {
        0 => String::from_utf8_lossy(choices.bytes).into_owned(),
        _ => {
            let seed = choices.pick(seeds);
            choices.mutated(seed, words)
        }
    }
}
