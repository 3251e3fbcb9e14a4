//! A console with one port (virtio 1.2, 5.3): a stream of bytes each way between the guest and whoever runs it.
//!
//! It is the private line to a program in the guest, beside the serial port, which is the kernel's and everybody's. What
//! the guest says waits until the host takes it, and when too much waits its buffers do: nothing is lost, and a guest
//! that talks without end takes no memory for it.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::memory::GuestMemory;

use super::{LoadError, QueueFault, Queues, VirtioDevice};

/// Most bytes that wait for the guest, and most of one write by it. Once as many wait for the host, no more is taken.
pub const CAPACITY: usize = 64 << 10;
/// Most bytes that can wait for the host: what waited was just not too much, and a whole write came on top.
const OUTPUT_MAX: usize = 2 * CAPACITY - 1;

/// Queues of port 0 (5.3.2).
const RECEIVE: usize = 0;
const TRANSMIT: usize = 1;

/// The console.
#[derive(Debug, Default)]
pub struct Console {
    /// From the host, not read by the guest yet.
    input: VecDeque<u8>,
    /// From the guest, not taken by the host yet.
    output: Vec<u8>,
}

/// What the console remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConsoleState {
    /// Bytes on their way to the guest.
    pub input: Vec<u8>,
    /// Bytes on their way to the host.
    pub output: Vec<u8>,
}

impl Console {
    /// A console that nobody has used.
    pub fn new() -> Self {
        Self::default()
    }

    /// Gives the guest bytes to read; how many there was room for.
    pub fn push_input(&mut self, bytes: &[u8]) -> usize {
        let taken = bytes.len().min(CAPACITY - self.input.len());
        self.input.extend(&bytes[..taken]);
        taken
    }

    /// What the guest wrote since the last call.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output)
    }
}

impl VirtioDevice for Console {
    type State = ConsoleState;

    fn name(&self) -> &'static str {
        "virtio-console"
    }

    fn device_id(&self) -> u32 {
        3
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[64, 64]
    }

    // Every field of the configuration belongs to a feature (5.3.4).
    fn read_config(&self, _offset: u64, data: &mut [u8]) {
        data.fill(0);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn process(&mut self, queue: usize, queues: &mut Queues<'_>) -> Result<(), QueueFault> {
        match queue {
            RECEIVE => {
                while !self.input.is_empty() {
                    let Some(mut chain) = queues.pop(queue)? else { break };
                    let written = chain.write(self.input.make_contiguous());
                    self.input.drain(..written);
                    queues.complete(queue, chain)?;
                }
            }
            TRANSMIT => {
                while self.output.len() < CAPACITY {
                    let Some(mut chain) = queues.pop(queue)? else { break };
                    // hvc writes 16 bytes at once (Linux drivers/tty/hvc/hvc_console.c, N_OUTBUF); of more than
                    // the console holds the rest goes nowhere.
                    let start = self.output.len();
                    let len = chain.readable_len().min(CAPACITY as u64) as usize;
                    self.output.resize(start + len, 0);
                    let read = chain.read(&mut self.output[start..]);
                    self.output.truncate(start + read);
                    queues.complete(queue, chain)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn reset(&mut self) {
        *self = Self::default();
    }

    fn save(&self) -> ConsoleState {
        ConsoleState { input: self.input.iter().copied().collect(), output: self.output.clone() }
    }

    fn load(&mut self, state: &ConsoleState, _memory: &GuestMemory) -> Result<(), LoadError> {
        if state.input.len() > CAPACITY || state.output.len() > OUTPUT_MAX {
            return Err(LoadError::new(self.name(), "more bytes wait than it can hold"));
        }
        self.input = state.input.iter().copied().collect();
        self.output = state.output.clone();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::virtio::{queue::DESC_WRITE, testing::Driver};

    fn say(driver: &mut Driver<Console>, text: &[u8]) {
        driver.request(TRANSMIT, &[text], &[]);
    }

    fn host<R>(driver: &mut Driver<Console>, change: impl FnOnce(&mut Console) -> R) -> R {
        let memory = driver.memory.clone();
        driver.transport.with_device(&memory, change)
    }

    #[test]
    fn what_the_guest_says_comes_out_in_order() {
        let mut driver = Driver::new(Console::new());
        say(&mut driver, b"a kettle ");
        say(&mut driver, b"sings");
        assert_eq!(host(&mut driver, Console::take_output), b"a kettle sings");
        assert_eq!(host(&mut driver, Console::take_output), b"");
    }

    #[test]
    fn what_the_host_says_fills_buffers_as_they_come() {
        let mut driver = Driver::new(Console::new());
        assert_eq!(host(&mut driver, |console| console.push_input(b"open sesame")), 11);
        let answer = driver.request(RECEIVE, &[], &[4]);
        assert_eq!((answer.len, answer.bytes), (4, b"open".to_vec()));
        let buffer = driver.alloc(16);
        driver.offer(RECEIVE, &[(buffer, 16, DESC_WRITE)]);
        driver.notify(RECEIVE);
        assert_eq!(driver.take_used(RECEIVE).unwrap().1, 7);
        assert_eq!(driver.bytes(buffer, 7), b" sesame");
        // A buffer that waits is filled as soon as the host speaks.
        let buffer = driver.alloc(16);
        driver.offer(RECEIVE, &[(buffer, 16, DESC_WRITE)]);
        driver.notify(RECEIVE);
        assert_eq!(driver.take_used(RECEIVE), None);
        host(&mut driver, |console| console.push_input(b"!"));
        assert_eq!(driver.take_used(RECEIVE).unwrap().1, 1);
    }

    #[test]
    fn too_much_waits_and_nothing_is_lost() {
        let mut driver = Driver::new(Console::new());
        let block = vec![7; CAPACITY / 2];
        say(&mut driver, &block);
        say(&mut driver, &block);
        let text = driver.place(b"later");
        driver.offer(TRANSMIT, &[(text, 5, 0)]);
        driver.notify(TRANSMIT);
        assert_eq!(driver.take_used(TRANSMIT), None, "there is no room");
        assert_eq!(host(&mut driver, Console::take_output).len(), CAPACITY);
        assert!(driver.take_used(TRANSMIT).is_some());
        assert_eq!(host(&mut driver, Console::take_output), b"later");

        let much = vec![1; CAPACITY + 10];
        assert_eq!(host(&mut driver, |console| console.push_input(&much)), CAPACITY);
        assert_eq!(host(&mut driver, |console| console.push_input(b"x")), 0);
    }

    #[test]
    fn what_waits_is_saved_and_no_more_than_it_could_hold_is_loaded() {
        let mut driver = Driver::new(Console::new());
        say(&mut driver, b"out");
        host(&mut driver, |console| console.push_input(b"in"));
        let state = driver.transport.device().save();
        assert_eq!((&*state.input, &*state.output), (&b"in"[..], &b"out"[..]));
        let mut other = Console::new();
        other.load(&state, &driver.memory).unwrap();
        assert_eq!(other.save(), state);
        let too_much = ConsoleState { input: vec![0; CAPACITY + 1], ..Default::default() };
        assert!(other.load(&too_much, &driver.memory).is_err());
        assert_eq!(other.save(), state);
    }
}
