//! Guests that mean harm, for every device: whatever they write to registers,
//! rings, descriptors and requests, the device answers in bounded time with a
//! well-formed used entry or stops with a fault.

use std::{collections::BTreeMap, io::Write};

use proptest::{collection::vec, prelude::*};

use crate::{device::MmioDevice, layout::RAM_BASE};

use super::{
    VirtioDevice,
    blk::{Blk, DiskImage},
    console::Console,
    gpu::Gpu,
    input::{Keyboard, Tablet},
    mmio::{reg, status},
    rng::Rng,
    testing::{Counting, Driver, RAM_SIZE, ring_address},
};

/// Where the requests' buffers lie: behind all rings.
const DATA: u64 = RAM_BASE + 0x4_0000;

fn blk() -> Blk {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&[0x5a; 5000]).unwrap();
    Blk::new(DiskImage::new(file).unwrap(), "disk")
}

fn rng() -> Rng {
    Rng::new(Box::new(Counting::default()))
}

fn console() -> Console {
    let mut console = Console::new();
    console.push_input(&[0x5a; 3000]);
    console
}

fn gpu() -> Gpu {
    Gpu::new(1024, 768)
}

fn keyboard() -> Keyboard {
    let mut keyboard = Keyboard::new();
    for code in 1..80 {
        keyboard.key(code, true);
    }
    keyboard
}

fn tablet() -> Tablet {
    let mut tablet = Tablet::new();
    for x in 0..100 {
        tablet.move_to(x, x);
    }
    tablet
}

/// Numbers near what matters: small, at the edges, or anything.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![
        4 => 0..80u32,
        2 => prop::sample::select(vec![64 * 64 * 4, 4096, 16384, 16385, u32::MAX, u32::MAX - 3, 1 << 31]),
        1 => any::<u32>(),
    ]
}

fn address() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => (0..0x1000u64).prop_map(|offset| DATA + offset * 16),
        1 => (0..64u64).prop_map(|back| RAM_BASE + RAM_SIZE - back),
        1 => prop::sample::select(vec![0, 1, RAM_BASE - 1, u64::MAX, u64::MAX - 15, 0x0b00_0000]),
        1 => any::<u64>(),
    ]
}

fn length() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..2048u32, 2 => prop::sample::select(vec![1, 8, 16, 24, 512]), 1 => any::<u32>()]
}

#[derive(Clone, Debug)]
struct Descriptor {
    address: u64,
    len: u32,
    flags: u16,
    next: u16,
}

fn descriptor() -> impl Strategy<Value = Descriptor> {
    let flags = prop_oneof![6 => 0..4u16, 2 => Just(4u16), 1 => any::<u16>()];
    let next = prop_oneof![9 => 0..24u16, 1 => any::<u16>()];
    (address(), length(), flags, next).prop_map(|(address, len, flags, next)| Descriptor {
        address,
        len,
        flags,
        next,
    })
}

/// A request that may be one of a disk's, with room for its data and status.
fn blk_request() -> impl Strategy<Value = (Vec<u32>, u32)> {
    let kind =
        prop_oneof![6 => Just(0u32), 1 => prop::sample::select(vec![1, 4, 8, 11, 13]), 1 => any::<u32>()];
    let room = prop_oneof![4 => (0..12u32).prop_map(|sectors| sectors * 512 + 1), 1 => 0..1200u32];
    let high = prop_oneof![9 => Just(0u32), 1 => any::<u32>()];
    let sector = prop_oneof![9 => 0..12u32, 1 => any::<u32>()];
    (kind, sector, high, room).prop_map(|(kind, low, high, room)| (vec![kind, 0, low, high], room))
}

/// A request that may be one of a display's, with room for most responses.
fn gpu_request() -> impl Strategy<Value = (Vec<u32>, u32)> {
    let format = prop_oneof![9 => prop::sample::select(vec![1u32, 2, 3, 4, 67, 68, 121, 134]), 1 => number()];
    let side = || prop_oneof![9 => 1..24u32, 4 => Just(64u32), 1 => number()];
    let rect = || {
        let at = || prop_oneof![9 => Just(0u32), 4 => 0..24u32, 1 => number()];
        [at().boxed(), at().boxed(), side().boxed(), side().boxed()]
    };
    let id = || prop_oneof![1 => Just(0u32), 4 => Just(1), 4 => Just(2), 2 => Just(3)];
    let entry = (address(), prop_oneof![5 => 0..0x5000u32, 1 => any::<u32>()])
        .prop_map(|(address, len)| vec![address as u32, (address >> 32) as u32, len, 0]);
    let body = prop_oneof![
        2 => (id(), format, side(), side()).prop_map(|(id, f, w, h)| (0x101, vec![id, f, w, h])),
        1 => id().prop_map(|id| (0x102, vec![id, 0])),
        3 => (rect(), 0..9u32, id())
            .prop_map(|(rect, s, id)| (0x103, [&rect[..], &[u32::from(s == 8), id]].concat())),
        3 => (rect(), id()).prop_map(|(rect, id)| (0x104, [&rect[..], &[id, 0]].concat())),
        8 => (rect(), number(), id())
            .prop_map(|(rect, at, id)| (0x105, [&rect[..], &[if at < 40 { 0 } else { at }, 0, id, 0]].concat())),
        3 => (id(), vec(entry, 0..6), 0..9u32).prop_map(|(id, entries, lie)| {
            let count = entries.len() as u32 + u32::from(lie == 8);
            (0x106, [vec![id, count], entries.concat()].concat())
        }),
        1 => id().prop_map(|id| (0x107, vec![id, 0])),
        1 => (0..2u32).prop_map(|scanout| (0x10a, vec![scanout, 0])),
        2 => (0x300..0x302u32, id(), number(), number())
            .prop_map(|(kind, id, x, y)| (kind, vec![0, x, y, 0, id, 1, 2, 0])),
        1 => (0x100..0x10cu32, vec(number(), 0..24)),
    ];
    (body, any::<bool>(), prop_oneof![9 => Just(1100u32), 1 => 0..30u32]).prop_map(
        |((kind, body), fenced, room)| ([vec![kind, u32::from(fenced), 7, 0, 0, 0], body].concat(), room),
    )
}

/// Words that are a request of no device.
fn any_request() -> impl Strategy<Value = (Vec<u32>, u32)> {
    (vec(any::<u32>(), 0..24), 0..1200u32)
}

/// Requests that give a display two images with backing: the steps then reach
/// beyond the first checks.
fn gpu_setup() -> [Vec<u32>; 4] {
    let create = |id, width, height| vec![0x101, 0, 0, 0, 0, 0, id, 1, width, height];
    let attach = |id, at: u32, len| vec![0x106, 0, 0, 0, 0, 0, id, 1, DATA as u32 + at, 0, len, 0];
    [create(1, 64, 64), attach(1, 0x1_0000, 0x5000), create(2, 20, 30), attach(2, 0x1_0100, 2400)]
}

#[derive(Clone, Debug)]
enum Step {
    /// Rewrites descriptors of a queue from an index on, in place or in a table of their own.
    Table(usize, u16, Vec<Descriptor>),
    /// Writes bytes where buffers point.
    Data(u64, Vec<u32>),
    /// Offers a head.
    Offer(usize, u16),
    /// Sends a well-formed chain: request, then room.
    Request(usize, Vec<u32>, u32),
    Notify(usize),
    /// Moves the available index anywhere.
    Index(usize, u16),
    Config(u64, u8, u64),
}

fn step(request: BoxedStrategy<(Vec<u32>, u32)>) -> impl Strategy<Value = Step> {
    let request = prop_oneof![9 => request, 1 => any_request()];
    let queue = 0..2usize;
    prop_oneof![
        2 => (queue.clone(), 0..24u16, vec(descriptor(), 1..12)).prop_map(|(q, at, d)| Step::Table(q, at, d)),
        2 => (0..0x1000u64, request.clone()).prop_map(|(at, (words, _))| Step::Data(DATA + at * 16, words)),
        3 => (queue.clone(), prop_oneof![9 => 0..24u16, 1 => any::<u16>()]).prop_map(|(q, h)| Step::Offer(q, h)),
        30 => (prop_oneof![4 => Just(0usize), 1 => Just(1)], request).prop_map(|(q, (words, room))| Step::Request(q, words, room)),
        3 => queue.clone().prop_map(Step::Notify),
        1 => (queue, any::<u16>()).prop_map(|(q, index)| Step::Index(q, index)),
        1 => (0..0x140u64, prop::sample::select(vec![1u8, 2, 4, 8]), any::<u64>())
            .prop_map(|(offset, size, value)| Step::Config(offset, size, value)),
    ]
}

/// What a driver that keeps to the rings' rules does, whatever its requests say.
fn polite_step(request: BoxedStrategy<(Vec<u32>, u32)>) -> impl Strategy<Value = Step> {
    step(request).prop_filter("keeps the rules", |step| {
        matches!(step, Step::Data(..) | Step::Request(..) | Step::Notify(..) | Step::Config(..))
    })
}

/// Takes the steps with rings where only the device writes, and checks after
/// each that the used ring is sound.
fn drive<D: VirtioDevice>(make: fn() -> D, before: &[Vec<u32>], steps: &[Step], polite: bool) {
    let mut driver = Driver::new(make());
    for words in before {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        driver.request(0, &[&bytes], &[24]);
    }
    let mut outstanding = BTreeMap::new();
    let queues = driver.transport.device().queue_sizes().len();
    for step in steps {
        let queue_of = |queue: &usize| queue % queues;
        match step {
            Step::Table(queue, at, descriptors) => {
                for (i, d) in descriptors.iter().enumerate() {
                    let index = at + i as u16;
                    driver.write_descriptor(
                        ring_address(queue_of(queue), 0),
                        index,
                        d.address,
                        d.len,
                        d.flags,
                        d.next,
                    );
                }
            }
            Step::Data(at, words) => {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                driver.memory.write(*at, &bytes).unwrap();
            }
            Step::Offer(queue, head) => driver.offer_head(queue_of(queue), *head),
            Step::Request(queue, words, room) => {
                let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                driver.memory.write(DATA, &bytes).unwrap();
                let buffers = [(DATA, bytes.len() as u32, 0), (DATA + 0x8000, *room, 2)];
                let head = driver.offer(queue_of(queue), &buffers);
                outstanding.insert((queue_of(queue), u32::from(head)), *room);
                driver.notify(queue_of(queue));
            }
            Step::Notify(queue) => driver.notify(queue_of(queue)),
            Step::Index(queue, index) => {
                driver.memory.write(ring_address(queue_of(queue), 1) + 2, &index.to_le_bytes()).unwrap();
            }
            Step::Config(offset, size, value) => driver.access(|transport, context| {
                let offset = (reg::CONFIG + offset) & !u64::from(size - 1);
                transport.write(offset, *size, *value, context);
                transport.read(offset, *size, context);
            }),
        }
        let used = take_all(&mut driver);
        let stopped = driver.read(reg::STATUS) & status::NEEDS_RESET != 0;
        assert_eq!(driver.transport.fault().is_some(), stopped);
        if polite {
            assert!(!stopped, "{:?}", driver.transport.fault());
            for (queue, id, len) in used {
                let room = outstanding.remove(&(queue, id)).expect("a used entry of no chain");
                assert!(len <= room, "{len} bytes written where {room} had room");
            }
        } else if stopped {
            driver.start();
        }
    }
}

/// Takes everything from the used rings: queue, head and length.
fn take_all<D: VirtioDevice>(driver: &mut Driver<D>) -> Vec<(usize, u32, u32)> {
    let mut all = Vec::new();
    for (queue, state) in driver.transport.save().transport.queues.into_iter().enumerate() {
        let size = u32::from(state.size);
        let mut completed = 0;
        while let Some((id, len)) = driver.take_used(queue) {
            assert!(id < size, "a used entry of no descriptor");
            completed += 1;
            assert!(completed <= size, "more than the queue holds");
            all.push((queue, id, len));
        }
    }
    all
}

/// Writes anything to any register, over rings of anything.
fn scribble<D: VirtioDevice>(make: fn() -> D, ram: &[(u32, u64)], writes: &[(u64, u8, u32)]) {
    let mut driver = Driver::unstarted(make());
    for &(at, value) in ram {
        driver.memory.write(RAM_BASE + u64::from(at), &value.to_le_bytes()).unwrap();
    }
    for &(offset, size, value) in writes {
        driver.access(|transport, context| {
            transport.write(offset, size, u64::from(value), context);
            transport.read(offset, size, context);
        });
        let stopped = driver.read(reg::STATUS) & status::NEEDS_RESET != 0;
        assert_eq!(driver.transport.fault().is_some(), stopped);
    }
    // Whatever state that led to, it can be saved and loaded.
    let state = driver.transport.save();
    let memory = driver.memory.clone();
    if let Err(error) = driver.transport.load(&state, &memory) {
        panic!("its own state is refused: {error}");
    }
}

/// A write to a register: often one that sets a queue going.
fn register_write() -> impl Strategy<Value = (u64, u8, u32)> {
    let ring = (0..8u32).prop_map(|page| RAM_BASE as u32 + page * 0x1000);
    prop_oneof![
        2 => (Just(reg::STATUS), Just(4u8), prop::sample::select(vec![1u32, 3, 11, 15, 15, 0, 128])),
        2 => (Just(reg::QUEUE_SEL), Just(4u8), 0..3u32),
        1 => (Just(reg::DRIVER_FEATURES_SEL), Just(4u8), 0..2u32),
        1 => (Just(reg::DRIVER_FEATURES), Just(4u8), prop::sample::select(vec![1u32, 0, 1 << 28])),
        2 => (Just(reg::QUEUE_NUM), Just(4u8), prop::sample::select(vec![1u32, 2, 8, 16, 64, 3, 0, 1 << 16])),
        3 => (prop::sample::select(vec![0x80u64, 0x90, 0xa0]), Just(4u8), ring),
        2 => (Just(reg::QUEUE_READY), Just(4u8), 0..2u32),
        3 => (Just(reg::QUEUE_NOTIFY), Just(4u8), 0..3u32),
        1 => ((0..0x60u64).prop_map(|word| word * 4), prop::sample::select(vec![1u8, 2, 4, 8]), any::<u32>()),
    ]
}

macro_rules! hostile {
    ($($device:ident: $cases:literal, $request:expr, $before:expr;)*) => { $(
        mod $device {
            use super::*;
            proptest! {
                #![proptest_config(ProptestConfig::with_cases($cases))]

                #[test]
                fn requests_are_answered_or_fault(steps in vec(step($request.boxed()), 1..60)) {
                    drive(super::$device, &$before, &steps, false);
                }

                #[test]
                fn strange_requests_in_sound_rings_are_answered(steps in vec(polite_step($request.boxed()), 1..60)) {
                    drive(super::$device, &$before, &steps, true);
                }

                #[test]
                fn registers_take_anything(
                    ram in vec((0..0x8000u32, any::<u64>()), 0..64),
                    writes in vec(register_write(), 1..80),
                ) {
                    scribble(super::$device, &ram, &writes);
                }
            }
        }
    )* };
}

hostile! {
    blk: 200, blk_request(), [];
    rng: 50, any_request(), [];
    console: 100, any_request(), [];
    gpu: 500, gpu_request(), gpu_setup();
    keyboard: 100, any_request(), [];
    tablet: 100, any_request(), [];
}
