//! PL031 real-time clock (Arm DDI 0224).
//!
//! Wall time is a number of seconds added to the guest's counter, so it is
//! fixed for a capture and set anew for a restored guest.

use serde::{Deserialize, Serialize};

use crate::{
    clock::{Ticks, seconds},
    device::{Context, MmioDevice},
    layout::COUNTER_HZ,
};

/// Saved state of the clock.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pl031State {
    /// What RTCDR shows when the guest's counter is 0, modulo 2^32.
    pub offset: u32,
    /// RTCMR.
    pub matches: u32,
    /// RTCLR, as last written.
    pub load: u32,
    /// RTCIMSC bit 0.
    pub interrupt_enabled: bool,
    /// RTCRIS bit 0.
    pub interrupt_raised: bool,
    /// Whole second of the guest's counter at which RTCDR next equals RTCMR.
    pub alarm: Option<u64>,
}

/// The clock.
#[derive(Clone, Debug, Default)]
pub struct Pl031 {
    state: Pl031State,
}

const DR: u64 = 0x00;
const MR: u64 = 0x04;
const LR: u64 = 0x08;
const CR: u64 = 0x0c;
const IMSC: u64 = 0x10;
const RIS: u64 = 0x14;
const MIS: u64 = 0x18;
const ICR: u64 = 0x1c;
/// RTCPeriphID0 to 3 and RTCPCellID0 to 3 (Arm DDI 0224, 3.3).
const ID_BASE: u64 = 0xfe0;
const IDS: [u8; 8] = [0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

impl Pl031 {
    /// A clock that shows `unix_seconds` when the guest's counter is 0.
    pub fn new(unix_seconds: u64) -> Self {
        Pl031 { state: Pl031State { offset: unix_seconds as u32, ..Pl031State::default() } }
    }

    /// The state.
    pub fn save(&self) -> Pl031State {
        self.state.clone()
    }

    /// Replaces the state. Every value of it is one the guest could have set.
    pub fn load(&mut self, state: &Pl031State) {
        self.state.clone_from(state);
    }

    /// Sets the wall time at counter value `now`, as for a guest that slept
    /// meanwhile: an alarm between its old time and the new one is due.
    pub fn set_wall_seconds(&mut self, now: Ticks, unix_seconds: u64) {
        self.tick(now);
        let (before, after) = (self.shown(now), unix_seconds as u32);
        let slept = after.wrapping_sub(before);
        let until_alarm = self.state.matches.wrapping_sub(before);
        // A jump of more than half the range is a clock set back.
        let due = self.state.alarm.is_some() && slept <= u32::MAX / 2 && (1..=slept).contains(&until_alarm);
        self.set_shown(now, after);
        if due {
            self.state.interrupt_raised = true;
        }
    }

    /// Counter value at which the interrupt line will rise, if it is armed.
    pub fn deadline(&self) -> Option<Ticks> {
        if !self.state.interrupt_enabled || self.state.interrupt_raised {
            return None;
        }
        self.state.alarm?.checked_mul(COUNTER_HZ)
    }

    /// Lets the clock notice that the counter is now at `now`.
    pub fn tick(&mut self, now: Ticks) {
        if let Some(alarm) = self.state.alarm
            && alarm <= seconds(now)
        {
            self.state.interrupt_raised = true;
            self.arm(now);
        }
    }

    /// RTCDR.
    fn shown(&self, now: Ticks) -> u32 {
        self.state.offset.wrapping_add(seconds(now) as u32)
    }

    /// Makes RTCDR show `value` from now on. A match with the new value counts.
    fn set_shown(&mut self, now: Ticks, value: u32) {
        self.state.offset = value.wrapping_sub(seconds(now) as u32);
        if self.state.alarm.is_some() {
            self.arm(now);
        }
    }

    /// Sets the alarm to the next second, after this one, that matches.
    fn arm(&mut self, now: Ticks) {
        let until = match self.state.matches.wrapping_sub(self.shown(now)) {
            0 => 1 << 32,
            until => u64::from(until),
        };
        self.state.alarm = Some(seconds(now) + until);
    }

    /// Raises the interrupt if RTCMR or RTCDR was just set equal to the other.
    fn compare(&mut self, now: Ticks) {
        if self.state.alarm.is_some() && self.state.matches == self.shown(now) {
            self.state.interrupt_raised = true;
        }
    }
}

impl MmioDevice for Pl031 {
    fn read(&mut self, offset: u64, size: u8, context: &Context<'_>) -> u64 {
        self.tick(context.now);
        if size > 4 {
            return 0;
        }
        let value = match offset {
            DR => self.shown(context.now),
            MR => self.state.matches,
            LR => self.state.load,
            // Started: a clock with a battery runs before any driver comes.
            CR => 1,
            IMSC => self.state.interrupt_enabled.into(),
            RIS => self.state.interrupt_raised.into(),
            MIS => self.irq_level().into(),
            _ => {
                let id = offset.checked_sub(ID_BASE).filter(|o| o % 4 == 0).map(|o| (o / 4) as usize);
                id.and_then(|n| IDS.get(n)).copied().unwrap_or(0).into()
            }
        };
        u64::from(value) & (u64::MAX >> (64 - 8 * u32::from(size.max(1))))
    }

    fn write(&mut self, offset: u64, size: u8, value: u64, context: &Context<'_>) {
        self.tick(context.now);
        if size != 4 {
            return;
        }
        let value = value as u32;
        match offset {
            MR => {
                self.state.matches = value;
                self.arm(context.now);
                self.compare(context.now);
            }
            LR => {
                self.state.load = value;
                self.set_shown(context.now, value);
                self.compare(context.now);
            }
            IMSC => self.state.interrupt_enabled = value & 1 != 0,
            ICR if value & 1 != 0 => self.state.interrupt_raised = false,
            _ => {}
        }
    }

    fn irq_level(&self) -> bool {
        self.state.interrupt_raised && self.state.interrupt_enabled
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::GuestMemory;

    struct Bench {
        rtc: Pl031,
        memory: GuestMemory,
        now: Ticks,
    }

    impl Bench {
        fn new(unix_seconds: u64) -> Self {
            let memory = GuestMemory::anonymous(0x1000).unwrap();
            Bench { rtc: Pl031::new(unix_seconds), memory, now: 0 }
        }

        fn read(&mut self, offset: u64) -> u64 {
            self.rtc.read(offset, 4, &Context { memory: &self.memory, now: self.now })
        }

        fn write(&mut self, offset: u64, value: u64) {
            self.rtc.write(offset, 4, value, &Context { memory: &self.memory, now: self.now });
        }

        fn at_second(&mut self, second: u64) {
            self.now = second * 24_000_000;
            self.rtc.tick(self.now);
        }
    }

    #[test]
    fn identification_is_that_of_a_pl031() {
        let mut b = Bench::new(0);
        let ids: Vec<u64> = (0..8).map(|n| b.read(0xfe0 + 4 * n)).collect();
        // Part 0x031, designer 0x41 (Arm), and the PrimeCell's class.
        assert_eq!(ids[0] | (ids[1] & 0xf) << 8, 0x031);
        assert_eq!(ids[1] >> 4 | (ids[2] & 0xf) << 4, 0x41);
        assert_eq!(ids[4..], [0x0d, 0xf0, 0x05, 0xb1]);
    }

    #[test]
    fn time_passes_with_the_counter_and_can_be_set() {
        let mut b = Bench::new(1_800_000_000);
        assert_eq!(b.read(DR), 1_800_000_000);
        assert_eq!(b.read(CR), 1);
        b.now = 24_000_000 - 1;
        assert_eq!(b.read(DR), 1_800_000_000);
        b.now += 1;
        assert_eq!(b.read(DR), 1_800_000_001);
        b.write(LR, 5);
        assert_eq!((b.read(DR), b.read(LR)), (5, 5));
        b.at_second(11);
        assert_eq!(b.read(DR), 15);
        b.rtc.set_wall_seconds(b.now, 1_900_000_000);
        b.at_second(12);
        assert_eq!(b.read(DR), 1_900_000_001);
        // RTCDR has 32 bits; the year 2106 wraps.
        b.rtc.set_wall_seconds(b.now, u64::from(u32::MAX));
        b.at_second(13);
        assert_eq!(b.read(DR), 0);
    }

    #[test]
    fn the_alarm_rings_at_its_second_and_once() {
        let mut b = Bench::new(100);
        assert_eq!(b.rtc.deadline(), None);
        b.write(MR, 103);
        assert_eq!(b.rtc.deadline(), None, "masked");
        b.write(IMSC, 1);
        assert_eq!(b.rtc.deadline(), Some(3 * 24_000_000));
        b.rtc.tick(3 * 24_000_000 - 1);
        assert!(!b.rtc.irq_level());
        b.at_second(3);
        assert!(b.rtc.irq_level());
        assert_eq!((b.read(RIS), b.read(MIS)), (1, 1));
        assert_eq!(b.rtc.deadline(), None, "already risen");
        b.write(IMSC, 0);
        assert_eq!((b.read(RIS), b.read(MIS), b.rtc.irq_level()), (1, 0, false));
        b.write(IMSC, 1);
        b.write(ICR, 1);
        b.at_second(4);
        assert!(!b.rtc.irq_level());
        assert_eq!(b.rtc.deadline(), Some((3 + (1 << 32)) * 24_000_000), "after the counter wraps");
    }

    #[test]
    fn a_match_with_the_present_second_rings_at_once() {
        let mut b = Bench::new(100);
        b.write(IMSC, 1);
        b.write(MR, 100);
        assert!(b.rtc.irq_level());
        b.write(ICR, 1);
        assert!(!b.rtc.irq_level());
        b.write(LR, 100);
        assert!(b.rtc.irq_level());
    }

    #[test]
    fn setting_the_wall_time_moves_the_alarm() {
        let mut b = Bench::new(100);
        b.write(IMSC, 1);
        b.write(MR, 200);
        b.rtc.set_wall_seconds(0, 150);
        assert_eq!(b.rtc.deadline(), Some(50 * 24_000_000));
        b.rtc.set_wall_seconds(0, 90);
        assert_eq!(b.rtc.deadline(), Some(110 * 24_000_000), "set back");
        assert!(!b.rtc.irq_level());
        b.rtc.set_wall_seconds(0, 1_000_000);
        assert!(b.rtc.irq_level(), "it slept past the alarm");
    }

    #[test]
    fn no_alarm_without_a_match_value() {
        let mut b = Bench::new(u32::MAX.into());
        b.write(IMSC, 1);
        b.at_second(1);
        assert_eq!(b.read(DR), 0, "equal to the RTCMR of reset");
        assert!(!b.rtc.irq_level());
        b.rtc.set_wall_seconds(b.now, 50);
        assert_eq!(b.rtc.deadline(), None);
    }

    #[test]
    fn a_saved_clock_goes_on() {
        let mut b = Bench::new(100);
        b.write(IMSC, 1);
        b.write(MR, 103);
        let json = serde_json::to_string(&b.rtc.save()).unwrap();
        let mut clone = Pl031::new(0);
        clone.load(&serde_json::from_str(&json).unwrap());
        assert_eq!(clone.save(), b.rtc.save());
        clone.tick(clone.deadline().unwrap());
        assert!(clone.irq_level());
    }

    proptest! {
        #[test]
        fn any_access_is_survived(
            state in (any::<[u32; 3]>(), any::<[bool; 2]>(), any::<Option<u64>>()),
            accesses in prop::collection::vec((0u64..0x40, 0u32..4, any::<u64>(), any::<u64>()), 0..50),
        ) {
            let mut b = Bench::new(0);
            let ([offset, matches, load], [interrupt_enabled, interrupt_raised], alarm) = state;
            b.rtc.load(&Pl031State { offset, matches, load, interrupt_enabled, interrupt_raised, alarm });
            for (offset, size, value, now) in accesses {
                let context = Context { memory: &b.memory, now };
                b.rtc.write(offset, 1 << size, value, &context);
                b.rtc.read(offset, 1 << size, &context);
                b.rtc.set_wall_seconds(now, value);
                if let Some(deadline) = b.rtc.deadline() {
                    b.rtc.tick(deadline);
                    prop_assert!(b.rtc.irq_level());
                }
            }
        }
    }
}
