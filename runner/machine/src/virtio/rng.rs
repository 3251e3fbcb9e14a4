//! A source of random bytes (virtio 1.2, 5.4).

use serde::{Deserialize, Serialize};

use crate::{clock::Entropy, memory::GuestMemory};

use super::{LoadError, QueueFault, Queues, VirtioDevice};

/// Most bytes given to one request. The device may leave a buffer partly filled
/// (5.4.6.2), and a driver asks again.
const REQUEST_MAX: usize = 4096;

/// The source.
pub struct Rng {
    entropy: Box<dyn Entropy>,
}

/// What the source remembers: nothing. The bytes it will give are the host's.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RngState {}

impl Rng {
    /// A device that passes `entropy` on.
    pub fn new(entropy: Box<dyn Entropy>) -> Self {
        Rng { entropy }
    }
}

impl VirtioDevice for Rng {
    type State = RngState;

    fn name(&self) -> &'static str {
        "virtio-rng"
    }

    fn device_id(&self) -> u32 {
        4
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[64]
    }

    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn process(&mut self, queue: usize, queues: &mut Queues<'_>) -> Result<(), QueueFault> {
        let mut bytes = [0; REQUEST_MAX];
        while let Some(mut chain) = queues.pop(queue)? {
            let len = usize::try_from(chain.writable_len()).unwrap_or(usize::MAX).min(REQUEST_MAX);
            self.entropy.fill(&mut bytes[..len]);
            chain.write(&bytes[..len]);
            queues.complete(queue, chain)?;
        }
        Ok(())
    }

    fn reset(&mut self) {}

    fn save(&self) -> RngState {
        RngState {}
    }

    fn load(&mut self, _state: &RngState, _memory: &GuestMemory) -> Result<(), LoadError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::testing::{Counting, Driver};

    #[test]
    fn fills_what_it_is_given_up_to_its_limit() {
        let mut driver = Driver::new(Rng::new(Box::new(Counting::default())));
        let answer = driver.request(0, &[], &[5, 3]);
        assert_eq!((answer.len, answer.bytes), (8, (0..8).collect()));
        let answer = driver.request(0, &[], &[5000]);
        assert_eq!(answer.len, 4096);
        assert_eq!(answer.bytes[..2], [8, 9], "the stream goes on");
        assert_eq!(answer.bytes[4096], 0xaa, "nothing past the used length");
        assert_eq!(driver.request(0, &[b"nothing to write to"], &[]).len, 0);
    }
}
