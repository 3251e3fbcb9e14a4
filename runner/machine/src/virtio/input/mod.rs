//! Keyboard and pointer (virtio 1.2, 5.8).
//!
//! Both are one device core, [`Input`], over a [`Kind`] that says what it is.
//! The host's side puts reports into a bounded queue, from which they go into
//! the buffers that the driver has offered.

pub mod codes;
mod keyboard;
mod tablet;

use std::{
    collections::{BTreeSet, VecDeque},
    marker::PhantomData,
};

use serde::{Deserialize, Serialize};

use crate::memory::GuestMemory;

use super::{LoadError, QueueFault, Queues, VirtioDevice};
use codes::{EV_ABS, EV_KEY, EV_SYN, SYN_REPORT};

pub use keyboard::{Keyboard, KeyboardKind};
pub use tablet::{TABLET_MAX, Tablet, TabletKind};

/// Most events that wait for the driver.
const MAX_PENDING: usize = 1024;
/// Events of a press or a release: the key, and the end of the report.
const KEY_REPORT: usize = 2;

/// Queues (5.8.2).
const EVENTS: usize = 0;

/// What `select` can ask for (5.8.4).
mod select {
    pub const ID_NAME: u8 = 0x01;
    pub const ID_SERIAL: u8 = 0x02;
    pub const ID_DEVIDS: u8 = 0x03;
    pub const PROP_BITS: u8 = 0x10;
    pub const EV_BITS: u8 = 0x11;
    pub const ABS_INFO: u8 = 0x12;
}

/// Configuration before the answer: select, subsel, size, reserved (5.8.4).
const ANSWER: usize = 8;
/// Most bytes of an answer.
const ANSWER_MAX: usize = 128;
/// Bus number of virtual devices (Linux include/uapi/linux/input.h).
const BUS_VIRTUAL: u16 = 0x06;

/// What an input device is.
pub trait Kind {
    /// Name for messages.
    const DEVICE: &'static str;
    /// Name that the guest shows.
    const NAME: &'static str;
    /// Product number, to tell our devices apart.
    const PRODUCT: u16;
    /// Largest value of each absolute axis; all begin at zero.
    const AXIS_MAX: u32;

    /// Whether the device has code `code` of event type `kind`.
    fn has(kind: u16, code: u16) -> bool;
}

/// One event (5.8.6). A report is some of them and a SYN_REPORT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// Type: EV_KEY and so on.
    pub kind: u16,
    /// Which key or axis.
    pub code: u16,
    /// Its value; negative ones in two's complement.
    pub value: u32,
}

const SYN: Event = Event { kind: EV_SYN, code: SYN_REPORT, value: 0 };

impl Event {
    fn to_bytes(self) -> [u8; 8] {
        let mut bytes = [0; 8];
        bytes[..2].copy_from_slice(&self.kind.to_le_bytes());
        bytes[2..4].copy_from_slice(&self.code.to_le_bytes());
        bytes[4..].copy_from_slice(&self.value.to_le_bytes());
        bytes
    }
}

/// An input device.
pub struct Input<K> {
    /// What the driver asks for in the configuration.
    select: u8,
    subsel: u8,
    /// Events that wait for buffers; whole reports, but the first may be under way.
    pending: VecDeque<Event>,
    /// Keys and buttons whose press was accepted and whose release was not yet.
    pressed: BTreeSet<u16>,
    kind: PhantomData<K>,
}

/// What an input device remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputState {
    /// What the driver asks for in the configuration.
    pub select: u8,
    /// Detail of it.
    pub subsel: u8,
    /// Events that wait for the driver.
    pub pending: Vec<Event>,
    /// Keys and buttons that are down, by rising number.
    pub pressed: Vec<u16>,
}

impl<K: Kind> Input<K> {
    /// A device on which nothing is pressed.
    pub fn new() -> Self {
        Input { select: 0, subsel: 0, pending: VecDeque::new(), pressed: BTreeSet::new(), kind: PhantomData }
    }

    /// Presses or releases a key or button. Returns whether it was taken: not
    /// if the device has no such key, if that is how it is already (the guest
    /// repeats held keys itself), or if too much waits for the driver.
    fn set_key(&mut self, code: u16, pressed: bool) -> bool {
        if !K::has(EV_KEY, code) || self.pressed.contains(&code) == pressed {
            return false;
        }
        if pressed {
            if !self.has_room(2 * KEY_REPORT) {
                return false;
            }
            self.pressed.insert(code);
        } else {
            self.pressed.remove(&code);
        }
        self.pending.extend([Event { kind: EV_KEY, code, value: u32::from(pressed) }, SYN]);
        true
    }

    /// Queues a report that changes no key. Without room for it, it takes the
    /// place of the last report if both are of absolute axes, since only the
    /// last position matters; else it is dropped.
    fn report(&mut self, events: &[Event]) -> bool {
        let len = events.len() + 1;
        if !self.has_room(len) {
            let replaces = self.pending.len() > len
                && self
                    .pending
                    .range(self.pending.len() - len..)
                    .zip(events.iter().chain([&SYN]))
                    .all(|(old, new)| (old.kind, old.code) == (new.kind, new.code))
                && events.iter().all(|event| event.kind == EV_ABS)
                // What comes before it is a whole report.
                && self.pending.get(self.pending.len() - len - 1) == Some(&SYN);
            if !replaces {
                return false;
            }
            self.pending.truncate(self.pending.len() - len);
        }
        self.pending.extend(events.iter().copied().chain([SYN]));
        true
    }

    /// Whether `events` more may wait, with room left for the release of all
    /// that is pressed: a lost release would leave a key down for ever.
    fn has_room(&self, events: usize) -> bool {
        self.pending.len() + events + KEY_REPORT * self.pressed.len() <= MAX_PENDING
    }

    /// Releases everything, as when the window loses the keyboard.
    pub fn release_all(&mut self) {
        for code in self.pressed.clone() {
            self.set_key(code, false);
        }
    }

    /// The answer to the driver's selection; empty if there is none (5.8.5.2).
    fn answer(&self) -> Vec<u8> {
        match (self.select, self.subsel) {
            (select::ID_NAME, 0) => K::NAME.as_bytes().to_vec(),
            (select::ID_SERIAL, 0) => b"0".to_vec(),
            (select::ID_DEVIDS, 0) => {
                let (vendor, version) = (u16::from_le_bytes(*b"sm"), 1);
                [BUS_VIRTUAL, vendor, K::PRODUCT, version].into_iter().flat_map(u16::to_le_bytes).collect()
            }
            // No properties: neither a touch screen nor a touch pad.
            (select::PROP_BITS, 0) => Vec::new(),
            (select::EV_BITS, kind) => code_bits::<K>(u16::from(kind)),
            (select::ABS_INFO, axis) if K::has(EV_ABS, u16::from(axis)) => {
                let (min, max, fuzz, flat, resolution) = (0, K::AXIS_MAX, 0, 0, 0);
                [min, max, fuzz, flat, resolution].into_iter().flat_map(u32::to_le_bytes).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl<K: Kind> Default for Input<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// The codes of event type `kind` as a bitmap, without zeros at its end.
fn code_bits<K: Kind>(kind: u16) -> Vec<u8> {
    let mut bits = vec![0u8; ANSWER_MAX];
    for code in (0..ANSWER_MAX as u16 * 8).filter(|&code| K::has(kind, code)) {
        bits[usize::from(code / 8)] |= 1 << (code % 8);
    }
    let len = bits.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    bits.truncate(len);
    bits
}

impl<K: Kind> VirtioDevice for Input<K> {
    type State = InputState;

    fn name(&self) -> &'static str {
        K::DEVICE
    }

    fn device_id(&self) -> u32 {
        18
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[64, 64]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let answer = self.answer();
        let mut config = [0; ANSWER + ANSWER_MAX];
        let len = answer.len().min(ANSWER_MAX);
        config[..3].copy_from_slice(&[self.select, self.subsel, len as u8]);
        config[ANSWER..ANSWER + len].copy_from_slice(&answer[..len]);
        super::read_config_bytes(&config, offset, data);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        for (offset, &byte) in (offset..).zip(data) {
            match offset {
                0 => self.select = byte,
                1 => self.subsel = byte,
                _ => {}
            }
        }
    }

    fn process(&mut self, queue: usize, queues: &mut Queues<'_>) -> Result<(), QueueFault> {
        if queue == EVENTS {
            while let Some(&event) = self.pending.front() {
                let Some(mut chain) = queues.pop(queue)? else { break };
                // A buffer too small for an event goes back empty, the event waits.
                if chain.writable_len() >= 8 {
                    chain.write(&event.to_bytes());
                    self.pending.pop_front();
                }
                queues.complete(queue, chain)?;
            }
        } else {
            // Lamps of the keyboard: there is nothing to light.
            while let Some(chain) = queues.pop(queue)? {
                queues.complete(queue, chain)?;
            }
        }
        Ok(())
    }

    fn reset(&mut self) {
        *self = Self::new();
    }

    fn save(&self) -> InputState {
        InputState {
            select: self.select,
            subsel: self.subsel,
            pending: self.pending.iter().copied().collect(),
            pressed: self.pressed.iter().copied().collect(),
        }
    }

    fn load(&mut self, state: &InputState, _memory: &GuestMemory) -> Result<(), LoadError> {
        let refuse = |what: &str| Err(LoadError::new(K::DEVICE, what));
        let known = |event: &Event| *event == SYN || event.kind != EV_SYN && K::has(event.kind, event.code);
        if !state.pending.iter().all(known) {
            return refuse("an event waits that the device does not have");
        }
        if state.pending.last().is_some_and(|last| *last != SYN) {
            return refuse("the last report that waits has no end");
        }
        if !state.pressed.iter().all(|&code| K::has(EV_KEY, code)) {
            return refuse("a key is down that the device does not have");
        }
        if !state.pressed.is_sorted_by(|a, b| a < b) {
            return refuse("the keys that are down are not in order");
        }
        if state.pending.len() + KEY_REPORT * state.pressed.len() > MAX_PENDING {
            return refuse("too many events wait");
        }
        let InputState { select, subsel, pending, pressed } = state.clone();
        *self = Input {
            select,
            subsel,
            pending: pending.into(),
            pressed: pressed.into_iter().collect(),
            kind: PhantomData,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests;
