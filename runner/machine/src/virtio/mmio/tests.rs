use super::*;
use crate::{
    layout::RAM_BASE,
    virtio::{
        queue::{DESC_NEXT, DESC_WRITE, QueueError},
        rng::Rng,
        testing::{Counting, Driver, RAM_SIZE, ring_address},
    },
};

fn rng() -> Rng {
    Rng::new(Box::new(Counting::default()))
}

#[test]
fn identifies_itself_as_a_modern_device() {
    let mut driver = Driver::unstarted(rng());
    let magic = driver.read(reg::MAGIC).to_le_bytes();
    assert_eq!((&magic, driver.read(reg::VERSION), driver.read(reg::DEVICE_ID)), (b"virt", 2, 4));
    assert_eq!(driver.offered_features(), 1 << 32 | 1 << 28);
    driver.write(reg::DEVICE_FEATURES_SEL, 2);
    assert_eq!(driver.read(reg::DEVICE_FEATURES), 0);
    assert_eq!((driver.read(reg::SHM_LEN_LOW), driver.read(reg::SHM_LEN_LOW + 4)), (u32::MAX, u32::MAX));
    assert_eq!((driver.read(0x02c), driver.read(0x200)), (0, 0));
}

#[test]
fn features_are_accepted_only_as_offered_and_only_modern() {
    for (features, accepted) in
        [(1 << 32, true), (1 << 32 | 1 << 28, true), (0, false), (1 << 28, false), (1 << 32 | 1 << 29, false)]
    {
        let mut driver = Driver::unstarted(rng());
        driver.set_features(features);
        let asked = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        driver.write(reg::STATUS, asked);
        let got = driver.read(reg::STATUS);
        assert_eq!(got, if accepted { asked } else { asked & !status::FEATURES_OK }, "{features:#x}");
        driver.write(reg::STATUS, asked | status::DRIVER_OK);
        assert_eq!(driver.read(reg::STATUS) & status::DRIVER_OK != 0, accepted);
        driver.set_features(0);
        assert_eq!(driver.transport.save().transport.driver_features, if accepted { features } else { 0 });
    }
}

#[test]
fn status_bits_stay_until_reset() {
    let mut driver = Driver::new(rng());
    driver.write(reg::STATUS, status::ACKNOWLEDGE | status::NEEDS_RESET);
    let running = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
    assert_eq!(driver.read(reg::STATUS), running);
    driver.write(reg::QUEUE_SEL, 0);
    assert_eq!(driver.read(reg::QUEUE_READY), 1);
    driver.write(reg::STATUS, 0);
    assert_eq!((driver.read(reg::STATUS), driver.read(reg::QUEUE_READY)), (0, 0));
}

#[test]
fn interrupts_are_raised_acknowledged_and_suppressed() {
    let mut driver = Driver::new(rng());
    assert!(!driver.transport.irq_level());
    driver.request(0, &[], &[4]);
    assert!(driver.transport.irq_level());
    assert_eq!(driver.read(reg::INTERRUPT_STATUS), INTERRUPT_USED);
    driver.write(reg::INTERRUPT_ACK, INTERRUPT_CONFIG);
    assert!(driver.transport.irq_level());
    driver.write(reg::INTERRUPT_ACK, INTERRUPT_USED);
    assert!(!driver.transport.irq_level());
    driver.memory.write(ring_address(0, 1), &1u16.to_le_bytes()).unwrap();
    driver.request(0, &[], &[4]);
    assert!(!driver.transport.irq_level());
}

#[test]
fn queue_registers_are_fixed_while_a_queue_is_live_and_absent_ones_read_zero() {
    let mut driver = Driver::new(rng());
    let before = driver.transport.save();
    driver.write(reg::QUEUE_NUM, 2);
    driver.write(reg::QUEUE_DESC_LOW, 0);
    driver.write(reg::QUEUE_DEVICE_HIGH, 7);
    driver.write(reg::QUEUE_READY, 1);
    assert_eq!(driver.transport.save(), before);
    for absent in [1, u32::MAX] {
        driver.write(reg::QUEUE_SEL, absent);
        driver.write(reg::QUEUE_READY, 1);
        driver.write(reg::QUEUE_NOTIFY, absent);
        assert_eq!((driver.read(reg::QUEUE_NUM_MAX), driver.read(reg::QUEUE_READY)), (0, 0));
    }
    assert!(driver.transport.fault().is_none());
}

#[test]
fn an_address_is_set_by_halves_and_can_be_set_again() {
    let mut driver = Driver::unstarted(rng());
    for (low, high) in [(0xffff_ffff, 0x1111_1111), (0x4000_0010, 2)] {
        driver.write(reg::QUEUE_DESC_LOW, low);
        driver.write(reg::QUEUE_DESC_HIGH, high);
        driver.write(reg::QUEUE_DRIVER_HIGH, high + 1);
        driver.write(reg::QUEUE_DRIVER_LOW, low);
        driver.write(reg::QUEUE_DEVICE_LOW, low ^ 1);
        driver.write(reg::QUEUE_DEVICE_HIGH, high);
        let queue = &driver.transport.save().transport.queues[0];
        let whole = |high: u32, low: u32| u64::from(high) * (1 << 32) + u64::from(low);
        assert_eq!(queue.descriptors, whole(high, low));
        assert_eq!(queue.available, whole(high + 1, low));
        assert_eq!(queue.used, whole(high, low ^ 1));
    }
}

#[test]
fn a_queue_outside_memory_stops_the_device_until_reset() {
    let mut driver = Driver::new(rng());
    driver.write(reg::QUEUE_SEL, 0);
    driver.write(reg::QUEUE_READY, 0);
    driver.write(reg::QUEUE_DEVICE_HIGH, 0x10);
    driver.write(reg::QUEUE_READY, 1);
    assert_ne!(driver.read(reg::STATUS) & status::NEEDS_RESET, 0);
    assert_eq!(driver.read(reg::INTERRUPT_STATUS), INTERRUPT_CONFIG);
    assert_eq!(
        driver.transport.fault().unwrap().to_string(),
        "virtio-rng stopped until its driver resets it: queue 0: its used ring at 0x1040002000 is outside the \
         guest's memory"
    );
    driver.start();
    assert!(driver.transport.fault().is_none());
    assert_eq!(driver.request(0, &[], &[1]).len, 1);
}

#[test]
fn a_malformed_chain_stops_the_device_and_what_came_before_it_is_done() {
    let mut driver = Driver::new(rng());
    let buffer = driver.alloc(8);
    let good = driver.offer(0, &[(buffer, 8, DESC_WRITE)]);
    driver.offer(0, &[(RAM_BASE + RAM_SIZE, 8, DESC_WRITE)]);
    driver.offer(0, &[(buffer, 8, DESC_WRITE)]);
    driver.notify(0);
    assert_eq!(driver.take_used(0), Some((u32::from(good), 8)));
    assert_eq!(driver.take_used(0), None);
    assert_eq!(driver.read(reg::INTERRUPT_STATUS), INTERRUPT_USED | INTERRUPT_CONFIG);
    let reason = QueueError::Buffer { address: RAM_BASE + RAM_SIZE, len: 8 };
    assert_eq!(driver.transport.fault().unwrap().fault.reason, reason);
    driver.notify(0);
    let memory = driver.memory.clone();
    driver.transport.poll(&memory);
    assert_eq!(driver.take_used(0), None, "it serves nothing more");
}

#[test]
fn a_loop_stops_the_device() {
    let mut driver = Driver::new(rng());
    driver.write_descriptor(ring_address(0, 0), 0, RAM_BASE, 1, DESC_NEXT, 0);
    driver.offer_head(0, 0);
    driver.notify(0);
    assert_eq!(driver.transport.fault().unwrap().fault.reason, QueueError::Loop);
}

#[test]
fn nothing_is_served_before_driver_ok_and_then_what_waits() {
    let mut driver = Driver::new(rng());
    let mut early = driver.transport.save();
    early.transport.status &= !status::DRIVER_OK;
    let memory = driver.memory.clone();
    driver.transport.load(&early, &memory).unwrap();
    let buffer = driver.alloc(8);
    let head = driver.offer(0, &[(buffer, 8, DESC_WRITE)]);
    driver.notify(0);
    assert_eq!(driver.take_used(0), None);
    driver.write(reg::STATUS, early.transport.status | status::DRIVER_OK);
    assert_eq!(driver.take_used(0), Some((u32::from(head), 8)));
}

#[test]
fn indirect_requests_are_served() {
    let mut driver = Driver::new(rng());
    let answer = driver.indirect_request(0, &[b"x"], &[2, 3]);
    assert_eq!((answer.len, answer.bytes), (5, vec![0, 1, 2, 3, 4]));
}

#[test]
fn accesses_of_odd_sizes_are_harmless() {
    let mut driver = Driver::new(rng());
    let before = driver.transport.save();
    for size in [1, 2, 8] {
        for offset in (0..reg::CONFIG).step_by(usize::from(size)) {
            let value = driver.access(|transport, context| {
                transport.write(offset, size, u64::MAX, context);
                transport.read(offset, size, context)
            });
            assert_eq!(value, 0);
        }
    }
    assert_eq!(driver.transport.save(), before);
}

#[test]
fn a_saved_device_goes_on_where_it_was() {
    let mut driver = Driver::new(rng());
    driver.request(0, &[], &[4]);
    let buffer = driver.alloc(8);
    let head = driver.offer(0, &[(buffer, 8, DESC_WRITE)]);
    let state = driver.transport.save();
    let json = serde_json::to_string(&state).unwrap();
    let mut restored = VirtioMmio::new(rng());
    restored.load(&serde_json::from_str(&json).unwrap(), &driver.memory).unwrap();
    assert_eq!(restored.save(), state);
    assert!(restored.irq_level(), "the interrupt was pending");
    driver.transport = restored;
    driver.notify(0);
    assert_eq!(driver.take_used(0), Some((u32::from(head), 8)));
}

#[test]
fn a_fault_is_saved_and_restored() {
    let mut driver = Driver::new(rng());
    driver.offer_head(0, 999);
    driver.notify(0);
    let state = driver.transport.save();
    let mut restored = VirtioMmio::new(rng());
    restored.load(&state, &driver.memory).unwrap();
    assert_eq!(restored.fault(), driver.transport.fault());
    assert!(restored.fault().is_some());
}

#[test]
fn impossible_states_are_refused_and_change_nothing() {
    let mut driver = Driver::new(rng());
    let good = driver.transport.save();
    let memory = driver.memory.clone();
    type Change = fn(&mut TransportState);
    let changes: [Change; 11] = [
        |t| t.queues.clear(),
        |t| t.queues.push(t.queues[0].clone()),
        |t| t.queues[0].size = 3,
        |t| t.queues[0].size = 4096,
        |t| t.queues[0].used = u64::MAX,
        |t| t.driver_features |= 1,
        |t| t.driver_features = 0,
        |t| t.status |= 1 << 16,
        |t| t.status &= !status::FEATURES_OK,
        |t| t.status |= status::NEEDS_RESET,
        |t| t.interrupt_status = 4,
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut state = good.clone();
        change(&mut state.transport);
        assert!(driver.transport.load(&state, &memory).is_err(), "change {i}");
        assert_eq!(driver.transport.save(), good);
    }
    let json = serde_json::to_string(&good).unwrap().replacen('{', "{\"more\":1,", 1);
    assert!(serde_json::from_str::<VirtioState<crate::virtio::rng::RngState>>(&json).is_err());
}
