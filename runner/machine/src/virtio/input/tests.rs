use super::{
    codes::{
        ABS_X, ABS_Y, BTN_LEFT, EV_LED, EV_REL, EV_REP, REL_HWHEEL, REL_HWHEEL_HI_RES, REL_WHEEL,
        REL_WHEEL_HI_RES,
    },
    *,
};
use crate::{
    device::MmioDevice,
    virtio::{mmio::VirtioMmio, queue::DESC_WRITE, testing::Driver},
};

const KEY_A: u16 = 30;
const KEY_LEFTSHIFT: u16 = 42;

/// Gives the driver's event queue `count` buffers.
fn offer<K: Kind>(driver: &mut Driver<Input<K>>, count: usize) -> Vec<u64> {
    (0..count)
        .map(|_| {
            let buffer = driver.alloc(8);
            driver.offer(EVENTS, &[(buffer, 8, DESC_WRITE)]);
            buffer
        })
        .collect()
}

/// The events in used buffers, in order.
fn take<K: Kind>(driver: &mut Driver<Input<K>>, buffers: &[u64]) -> Vec<(u16, u16, i32)> {
    let mut events = Vec::new();
    while let Some((_, len)) = driver.take_used(EVENTS) {
        assert_eq!(len, 8);
        let buffer = buffers[events.len()];
        events.push((
            driver.memory.read_u16(buffer).unwrap(),
            driver.memory.read_u16(buffer + 2).unwrap(),
            driver.memory.read_u32(buffer + 4).unwrap() as i32,
        ));
    }
    events
}

fn poke<K: Kind, R>(driver: &mut Driver<Input<K>>, f: impl FnOnce(&mut Input<K>) -> R) -> R {
    let memory = driver.memory.clone();
    driver.transport.with_device(&memory, f)
}

/// Asks the configuration as the driver does.
fn ask<K: Kind>(driver: &mut Driver<Input<K>>, select: u8, subsel: u8) -> Vec<u8> {
    driver.write_config(0, select);
    driver.write_config(1, subsel);
    let [size] = driver.config::<1>(2);
    driver.config::<128>(8)[..usize::from(size)].to_vec()
}

fn has_bit(bits: &[u8], bit: u16) -> bool {
    bits.get(usize::from(bit / 8)).is_some_and(|byte| byte >> (bit % 8) & 1 != 0)
}

#[test]
fn a_keyboard_describes_itself() {
    let mut driver = Driver::new(Keyboard::new());
    assert_eq!(ask(&mut driver, 1, 0), b"samovar keyboard");
    assert_eq!(ask(&mut driver, 2, 0), b"0");
    let ids = ask(&mut driver, 3, 0);
    assert_eq!((ids.len(), &ids[..2]), (8, &[6, 0][..]));
    assert_eq!(ask(&mut driver, 0x10, 0), b"");
    let keys = ask(&mut driver, 0x11, EV_KEY as u8);
    // Esc, A, left shift, Compose, F13 and F24, mute-microphone; not the unused, no button.
    for key in [1, KEY_A, KEY_LEFTSHIFT, 127, 183, 194, 248] {
        assert!(has_bit(&keys, key), "{key}");
    }
    for key in [0, 84, 197, 249, BTN_LEFT] {
        assert!(!has_bit(&keys, key), "{key}");
    }
    assert_eq!(ask(&mut driver, 0x11, EV_LED as u8), [0b111]);
    assert!(!ask(&mut driver, 0x11, EV_REP as u8).is_empty());
    assert!(ask(&mut driver, 0x11, EV_ABS as u8).is_empty());
    assert!(ask(&mut driver, 0x12, 0).is_empty());
    assert!(ask(&mut driver, 0xff, 0xff).is_empty());
    assert!(ask(&mut driver, 1, 1).is_empty(), "no name has a detail");
}

#[test]
fn a_tablet_describes_itself() {
    let mut driver = Driver::new(Tablet::new());
    assert_eq!(ask(&mut driver, 1, 0), b"samovar tablet");
    let buttons = ask(&mut driver, 0x11, EV_KEY as u8);
    assert_eq!(buttons.len(), 0x114 / 8 + 1);
    assert_eq!((0..1024).filter(|&bit| has_bit(&buttons, bit)).count(), 5);
    assert_eq!(ask(&mut driver, 0x11, EV_ABS as u8), [0b11]);
    // REL_HWHEEL 6, REL_WHEEL 8, and their fine ones 12 and 11.
    assert_eq!(ask(&mut driver, 0x11, EV_REL as u8), [0b0100_0000, 0b0001_1001]);
    for axis in [ABS_X, ABS_Y] {
        let info = ask(&mut driver, 0x12, axis as u8);
        assert_eq!(info.len(), 20);
        assert_eq!(info[..8], [0, 0, 0, 0, 0xff, 0x7f, 0, 0]);
    }
    assert!(ask(&mut driver, 0x12, 2).is_empty());
}

#[test]
fn reports_go_into_waiting_buffers_at_once() {
    let mut driver = Driver::new(Keyboard::new());
    let buffers = offer(&mut driver, 64);
    driver.notify(EVENTS);
    assert!(!driver.transport.irq_level());
    assert!(poke(&mut driver, |keyboard| keyboard.key(KEY_A, true)));
    assert!(driver.transport.irq_level());
    assert!(!poke(&mut driver, |keyboard| keyboard.key(KEY_A, true)), "the host's own repetition");
    assert!(poke(&mut driver, |keyboard| keyboard.key(KEY_A, false)));
    assert!(!poke(&mut driver, |keyboard| keyboard.key(KEY_A, false)));
    assert!(!poke(&mut driver, |keyboard| keyboard.key(BTN_LEFT, true)));
    assert_eq!(take(&mut driver, &buffers), [(1, KEY_A, 1), (0, 0, 0), (1, KEY_A, 0), (0, 0, 0)]);
}

#[test]
fn pointer_reports_have_their_events_in_one_report() {
    let mut driver = Driver::new(Tablet::new());
    let buffers = offer(&mut driver, 64);
    poke(&mut driver, |tablet| {
        assert!(tablet.move_to(100, 40000));
        assert!(tablet.button(BTN_LEFT, true));
        assert!(tablet.wheel(0, -2));
        assert!(tablet.wheel(1, i32::MAX));
        assert!(tablet.wheel(0, 0));
    });
    let (syn, rel) = ((0, 0, 0), EV_REL);
    assert_eq!(
        take(&mut driver, &buffers),
        [
            (EV_ABS, ABS_X, 100),
            (EV_ABS, ABS_Y, 32767),
            syn,
            (EV_KEY, BTN_LEFT, 1),
            syn,
            (rel, REL_WHEEL, -2),
            (rel, REL_WHEEL_HI_RES, -240),
            syn,
            (rel, REL_HWHEEL, 1),
            (rel, REL_HWHEEL_HI_RES, 120),
            (rel, REL_WHEEL, 1000),
            (rel, REL_WHEEL_HI_RES, 120_000),
            syn,
        ]
    );
}

#[test]
fn events_wait_for_buffers_and_survive_a_snapshot() {
    let mut driver = Driver::new(Keyboard::new());
    let first = offer(&mut driver, 1);
    poke(&mut driver, |keyboard| {
        keyboard.key(KEY_LEFTSHIFT, true);
        keyboard.key(KEY_A, true);
    });
    assert_eq!(take(&mut driver, &first), [(1, KEY_LEFTSHIFT, 1)], "a report may be under way");
    let json = serde_json::to_string(&driver.transport.save()).unwrap();
    let state = serde_json::from_str(&json).unwrap();
    let mut restored = VirtioMmio::new(Keyboard::new());
    restored.load(&state, &driver.memory).unwrap();
    driver.transport = restored;
    assert!(!poke(&mut driver, |keyboard| keyboard.key(KEY_A, true)), "it is still down");
    poke(&mut driver, Keyboard::release_all);
    let buffers = offer(&mut driver, 20);
    driver.notify(EVENTS);
    assert_eq!(
        take(&mut driver, &buffers),
        [(0, 0, 0), (1, KEY_A, 1), (0, 0, 0), (1, KEY_A, 0), (0, 0, 0), (1, KEY_LEFTSHIFT, 0), (0, 0, 0)]
    );
}

#[test]
fn a_driver_that_does_not_read_costs_whole_reports_but_no_release() {
    let mut keyboard = Keyboard::new();
    let held: Vec<u16> = (KEY_LEFTSHIFT..KEY_LEFTSHIFT + 20).collect();
    assert!(held.iter().all(|&code| keyboard.key(code, true)));
    while keyboard.key(KEY_A, true) {
        assert!(keyboard.key(KEY_A, false));
    }
    assert!(keyboard.save().pending.len() > MAX_PENDING - 50);
    assert!(held.iter().all(|&code| keyboard.key(code, false)), "there is room for each release");
    let pending = keyboard.save().pending;
    assert!(pending.len() <= MAX_PENDING);
    assert!(pending.chunks(2).all(|report| report[0].kind == EV_KEY && report[1] == SYN));
    for code in held.into_iter().chain([KEY_A]) {
        let last = pending.iter().rfind(|e| (e.kind, e.code) == (EV_KEY, code)).unwrap();
        assert_eq!(last.value, 0);
    }
}

#[test]
fn a_full_queue_keeps_the_last_position() {
    let mut tablet = Tablet::new();
    for x in 0..2000 {
        tablet.move_to(x, 7);
    }
    let pending = tablet.save().pending;
    assert!(pending.len() <= MAX_PENDING);
    assert_eq!(pending.len() % 3, 0);
    let last = &pending[pending.len() - 3..];
    assert_eq!((last[0].code, last[0].value, last[1].value, last[2]), (ABS_X, 1999, 7, SYN));
    assert!(!tablet.wheel(0, 1), "it can't stand in for a position");
    assert_eq!(tablet.save().pending, pending);
}

#[test]
fn lamps_are_consumed_and_reset_forgets() {
    let mut driver = Driver::new(Keyboard::new());
    let answer = driver.request(1, &[&[EV_LED as u8, 0, 1, 0, 1, 0, 0, 0]], &[]);
    assert_eq!(answer.len, 0);
    poke(&mut driver, |keyboard| keyboard.key(KEY_A, true));
    driver.start();
    assert_eq!(driver.transport.save().device, InputState::default());
}

#[test]
fn a_buffer_too_small_for_an_event_goes_back_empty() {
    let mut driver = Driver::new(Keyboard::new());
    let small = driver.alloc(8);
    driver.offer(EVENTS, &[(small, 7, DESC_WRITE)]);
    poke(&mut driver, |keyboard| keyboard.key(KEY_A, true));
    assert_eq!(driver.take_used(EVENTS).map(|(_, len)| len), Some(0));
    let buffers = offer(&mut driver, 2);
    driver.notify(EVENTS);
    assert_eq!(take(&mut driver, &buffers), [(1, KEY_A, 1), (0, 0, 0)]);
}

#[test]
fn impossible_states_are_refused() {
    let memory = GuestMemory::anonymous(0x10000).unwrap();
    let mut keyboard = Keyboard::new();
    let key = |code, value| Event { kind: EV_KEY, code, value };
    let state =
        |pending: Vec<Event>, pressed: Vec<u16>| InputState { pending, pressed, ..Default::default() };
    for bad in [
        state(vec![key(KEY_A, 1)], vec![]),
        state(vec![key(BTN_LEFT, 1), SYN], vec![]),
        state(vec![Event { kind: EV_SYN, code: 3, value: 0 }, SYN], vec![]),
        state(vec![SYN; MAX_PENDING + 1], vec![]),
        state(vec![SYN; MAX_PENDING], vec![KEY_A]),
        state(vec![], vec![BTN_LEFT]),
        state(vec![], vec![KEY_A, KEY_A]),
    ] {
        assert!(keyboard.load(&bad, &memory).is_err(), "{bad:?}");
    }
    assert_eq!(keyboard.save(), InputState::default());
    keyboard.load(&state(vec![key(KEY_A, 1), SYN], vec![KEY_A]), &memory).unwrap();
}
