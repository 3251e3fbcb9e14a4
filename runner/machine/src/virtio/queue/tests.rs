use super::*;
use crate::layout::RAM_BASE;

const RAM: u64 = 0x10000;
const TABLE: u64 = RAM_BASE;
const AVAILABLE: u64 = RAM_BASE + 0x1000;
const USED: u64 = RAM_BASE + 0x2000;
const DATA: u64 = RAM_BASE + 0x3000;
const SIZE: u16 = 8;

struct Fixture {
    memory: GuestMemory,
    queue: Queue,
    offered: u16,
}

impl Fixture {
    fn new() -> Self {
        let memory = GuestMemory::anonymous(RAM).unwrap();
        let mut queue = Queue::new(SIZE);
        queue.set_size(u32::from(SIZE));
        for (area, address) in [(Area::Descriptors, TABLE), (Area::Available, AVAILABLE), (Area::Used, USED)]
        {
            *queue.area_mut(area) = address;
        }
        queue.set_ready(true, &memory).unwrap();
        Fixture { memory, queue, offered: 0 }
    }

    fn descriptor(&self, table: u64, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        let at = table + 16 * u64::from(index);
        self.memory.write(at, &address.to_le_bytes()).unwrap();
        self.memory.write(at + 8, &len.to_le_bytes()).unwrap();
        self.memory.write(at + 12, &flags.to_le_bytes()).unwrap();
        self.memory.write(at + 14, &next.to_le_bytes()).unwrap();
    }

    fn offer(&mut self, head: u16) {
        let slot = AVAILABLE + 4 + 2 * u64::from(self.offered % SIZE);
        self.memory.write(slot, &head.to_le_bytes()).unwrap();
        self.offered = self.offered.wrapping_add(1);
        self.memory.write(AVAILABLE + 2, &self.offered.to_le_bytes()).unwrap();
    }

    fn pop(&mut self) -> Result<Option<Chain<'_>>, QueueError> {
        self.queue.pop(&self.memory, true)
    }

    fn pop_error(&mut self) -> QueueError {
        match self.pop() {
            Ok(_) => panic!("a malformed queue was accepted"),
            Err(error) => error,
        }
    }
}

#[test]
fn reads_and_writes_run_across_buffers() {
    let mut f = Fixture::new();
    f.memory.write(DATA, b"hello, world").unwrap();
    f.descriptor(TABLE, 0, DATA, 5, DESC_NEXT, 3);
    f.descriptor(TABLE, 3, 0xdead_0000, 0, DESC_NEXT, 1); // empty: its address means nothing
    f.descriptor(TABLE, 1, DATA + 5, 7, DESC_NEXT, 2);
    f.descriptor(TABLE, 2, DATA + 0x100, 3, DESC_NEXT | DESC_WRITE, 4);
    f.descriptor(TABLE, 4, DATA + 0x200, 4, DESC_WRITE, 0);
    f.offer(0);
    let mut chain = f.pop().unwrap().unwrap();
    assert_eq!((chain.readable_len(), chain.writable_len()), (12, 7));
    let mut buf = [0; 4];
    assert_eq!(chain.read(&mut buf), 4);
    assert_eq!(chain.read_array(), Some(*b"o, wo"));
    assert_eq!(chain.read_array::<4>(), None, "three are left, and stay");
    let mut rest = [0; 10];
    assert_eq!((chain.read(&mut rest), &rest[..3]), (3, &b"rld"[..]));
    assert_eq!(chain.write(b"abcde"), 5);
    chain.write_last(b'!');
    assert_eq!(chain.written(), 5, "a gap is before the last byte");
    assert_eq!(chain.write(b"fgh"), 2);
    assert_eq!(chain.written(), 7);
    drop(chain);
    let mut out = [0; 7];
    f.memory.read(DATA + 0x100, &mut out[..3]).unwrap();
    f.memory.read(DATA + 0x200, &mut out[3..]).unwrap();
    assert_eq!(out, *b"abcdefg");
    assert!(f.pop().unwrap().is_none());
}

#[test]
fn positions_wrap_around() {
    let mut f = Fixture::new();
    let state = QueueState { next_available: 0xfffe, next_used: 0xffff, ..f.queue.state().clone() };
    f.queue.check_state(&state, &f.memory).unwrap();
    f.queue.load(state);
    f.offered = 0xfffe;
    for i in 0..20u16 {
        f.descriptor(TABLE, i % SIZE, DATA, 1, 0, 0);
        f.offer(i % SIZE);
        let head = f.pop().unwrap().unwrap().head();
        assert_eq!(head, i % SIZE);
        assert!(f.queue.push_used(&f.memory, head, u32::from(i)).unwrap());
        let index = 0xffffu16.wrapping_add(i);
        let element = USED + 4 + 8 * u64::from(index % SIZE);
        assert_eq!(f.memory.read_u32(element).unwrap(), u32::from(head));
        assert_eq!(f.memory.read_u32(element + 4).unwrap(), u32::from(i));
        assert_eq!(f.memory.read_u16(USED + 2).unwrap(), index.wrapping_add(1));
    }
}

#[test]
fn the_driver_can_do_without_interrupts() {
    let mut f = Fixture::new();
    f.memory.write(AVAILABLE, &1u16.to_le_bytes()).unwrap();
    assert!(!f.queue.push_used(&f.memory, 0, 0).unwrap());
    f.memory.write(AVAILABLE, &0u16.to_le_bytes()).unwrap();
    assert!(f.queue.push_used(&f.memory, 0, 0).unwrap());
}

#[test]
fn loops_are_found() {
    let mut f = Fixture::new();
    f.descriptor(TABLE, 0, DATA, 1, DESC_NEXT, 1);
    f.descriptor(TABLE, 1, DATA, 1, DESC_NEXT, 0);
    f.offer(0);
    assert_eq!(f.pop_error(), QueueError::Loop);

    let mut f = Fixture::new();
    f.descriptor(TABLE, 0, DATA, 32, DESC_INDIRECT, 0);
    f.descriptor(DATA, 0, DATA, 1, DESC_NEXT, 1);
    f.descriptor(DATA, 1, DATA, 1, DESC_NEXT, 1);
    f.offer(0);
    assert_eq!(f.pop_error(), QueueError::Loop);
}

#[test]
fn a_chain_may_use_the_whole_table() {
    let mut f = Fixture::new();
    for i in 0..SIZE {
        f.descriptor(TABLE, i, DATA, 1, if i + 1 < SIZE { DESC_NEXT } else { 0 }, i + 1);
    }
    f.offer(0);
    assert_eq!(f.pop().unwrap().unwrap().readable_len(), u64::from(SIZE));
}

#[test]
fn what_is_outside_is_found() {
    let mut f = Fixture::new();
    f.offer(SIZE);
    assert_eq!(f.pop_error(), QueueError::DescriptorIndex { index: SIZE });

    let mut f = Fixture::new();
    f.descriptor(TABLE, 0, DATA, 1, DESC_NEXT, 0xffff);
    f.offer(0);
    assert_eq!(f.pop_error(), QueueError::DescriptorIndex { index: 0xffff });

    for (address, len) in [(RAM_BASE + RAM - 1, 2), (RAM_BASE - 1, 1), (u64::MAX, 2), (DATA, u32::MAX)] {
        let mut f = Fixture::new();
        f.descriptor(TABLE, 0, address, len, DESC_WRITE, 0);
        f.offer(0);
        assert_eq!(f.pop_error(), QueueError::Buffer { address, len });
    }
}

#[test]
fn an_available_index_that_jumps_is_found() {
    let mut f = Fixture::new();
    f.memory.write(AVAILABLE + 2, &(SIZE + 1).to_le_bytes()).unwrap();
    assert_eq!(f.pop_error(), QueueError::AvailableIndex { ahead: SIZE + 1 });
}

#[test]
fn readable_after_writable_is_found() {
    let mut f = Fixture::new();
    f.descriptor(TABLE, 0, DATA, 1, DESC_NEXT | DESC_WRITE, 1);
    f.descriptor(TABLE, 1, DATA, 1, 0, 0);
    f.offer(0);
    assert_eq!(f.pop_error(), QueueError::Order);
}

#[test]
fn indirect_tables_follow_their_rules() {
    let mut f = Fixture::new();
    // A direct buffer, then a table: allowed (virtio 1.2, 2.7.5.3.2).
    f.descriptor(TABLE, 0, DATA, 2, DESC_NEXT, 1);
    f.descriptor(TABLE, 1, DATA + 0x100, 32, DESC_INDIRECT | DESC_WRITE, 0);
    f.descriptor(DATA + 0x100, 0, DATA, 3, DESC_NEXT, 1);
    f.descriptor(DATA + 0x100, 1, DATA, 4, DESC_WRITE, 0);
    f.offer(0);
    let chain = f.pop().unwrap().unwrap();
    assert_eq!((chain.readable_len(), chain.writable_len()), (5, 4));
    f.offer(0);
    assert!(matches!(f.queue.pop(&f.memory, false), Err(QueueError::Indirect)), "not negotiated");

    for (len, flags) in [(16, DESC_INDIRECT | DESC_NEXT), (16, DESC_INDIRECT)] {
        let mut f = Fixture::new();
        f.descriptor(TABLE, 0, DATA, len, flags, 0);
        f.descriptor(DATA, 0, DATA, 16, DESC_INDIRECT, 0); // a table in a table
        f.offer(0);
        assert_eq!(f.pop_error(), QueueError::Indirect);
    }
    for len in [0, 15, 17, 16 * (MAX_INDIRECT + 1), u32::MAX] {
        let mut f = Fixture::new();
        f.descriptor(TABLE, 0, DATA, len, DESC_INDIRECT, 0);
        f.offer(0);
        assert_eq!(f.pop_error(), QueueError::IndirectSize { len });
    }
    let mut f = Fixture::new();
    f.descriptor(TABLE, 0, RAM_BASE + RAM, 16, DESC_INDIRECT, 0);
    f.offer(0);
    assert!(matches!(f.pop_error(), QueueError::Outside { area: Area::Descriptors, .. }));
}

#[test]
fn only_possible_queues_become_ready() {
    let memory = GuestMemory::anonymous(RAM).unwrap();
    let good = Fixture::new().queue.state().clone();
    let end = RAM_BASE + RAM;
    type Change = fn(&mut QueueState, u64);
    let cases: [(Change, QueueError); 7] = [
        (|s, _| s.size = 0, QueueError::Size),
        (|s, _| s.size = 3, QueueError::Size),
        (|s, _| s.size = 2 * SIZE, QueueError::Size),
        (|s, _| s.descriptors += 8, QueueError::Misaligned { area: Area::Descriptors, address: TABLE + 8 }),
        (|s, _| s.used += 2, QueueError::Misaligned { area: Area::Used, address: USED + 2 }),
        // One byte short for the index after the ring.
        (|s, end| s.available = end - 20, QueueError::Outside { area: Area::Available, address: end - 20 }),
        (|s, _| s.used = u64::MAX - 3, QueueError::Outside { area: Area::Used, address: u64::MAX - 3 }),
    ];
    for (change, error) in cases {
        let mut state = good.clone();
        change(&mut state, end);
        let mut queue = Queue::new(SIZE);
        assert_eq!(queue.check_state(&state, &memory), Err(error.clone()));
        queue.load(QueueState { ready: false, ..state });
        assert_eq!(queue.set_ready(true, &memory), Err(error));
        assert!(!queue.state().ready);
        assert!(queue.pop(&memory, true).unwrap().is_none());
    }
    let exact = QueueState { available: end - 22, ..good };
    Queue::new(SIZE).check_state(&exact, &memory).unwrap();
}
