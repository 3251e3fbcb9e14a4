use super::*;
use crate::{
    device::MmioDevice,
    layout::RAM_BASE,
    virtio::{
        mmio::{VirtioMmio, reg},
        testing::{Driver, RAM_SIZE},
    },
};

const BGRX: u32 = 2;
const WHOLE: Rect = Rect { x: 0, y: 0, width: 64, height: 48 };

fn display() -> Driver<Gpu> {
    Driver::new(Gpu::new(1280, 720))
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn header(kind: u32) -> Vec<u8> {
    bytes(&[kind, 0, 0, 0, 0, 0])
}

/// Does a request; returns the response's type and what follows its header.
fn ask(driver: &mut Driver<Gpu>, kind: u32, body: &[u8], room: u32) -> (u32, Vec<u8>) {
    let answer = driver.request(0, &[&header(kind), body], &[room]);
    assert_eq!(answer.bytes[4..24], [0; 20], "no fence was asked for");
    (
        u32::from_le_bytes(answer.bytes[..4].try_into().unwrap()),
        answer.bytes[24..answer.len as usize].to_vec(),
    )
}

fn run(driver: &mut Driver<Gpu>, kind: u32, body: &[u32]) -> u32 {
    ask(driver, kind, &bytes(body), 24).0
}

fn create(driver: &mut Driver<Gpu>, id: u32, width: u32, height: u32) {
    assert_eq!(run(driver, 0x101, &[id, BGRX, width, height]), 0x1100);
}

/// Backing of `len` bytes in pieces of 0x700, in falling order of address.
fn attach(driver: &mut Driver<Gpu>, id: u32, len: u32) -> Vec<(u64, u32)> {
    let piece = 0x700;
    let base = driver.alloc(len as usize + piece as usize);
    let pieces: Vec<(u64, u32)> = (0..len.div_ceil(piece))
        .map(|i| (base + u64::from((len.div_ceil(piece) - 1 - i) * piece), piece.min(len - i * piece)))
        .collect();
    let mut body = vec![id, pieces.len() as u32];
    for &(address, len) in &pieces {
        body.extend([address as u32, (address >> 32) as u32, len, 0]);
    }
    assert_eq!(run(driver, 0x106, &body), 0x1100);
    pieces
}

/// What a guest draws: a pixel for each place of a resource `width` wide.
fn pixel(x: u32, y: u32, shade: u32) -> u32 {
    x | y << 8 | shade << 16
}

fn draw(driver: &Driver<Gpu>, backing: &[(u64, u32)], width: u32, height: u32, shade: u32) {
    let image: Vec<u8> = (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| (pixel(x, y, shade) | 0xee00_0000).to_le_bytes()))
        .collect();
    let mut done = 0;
    for &(address, len) in backing {
        driver.memory.write(address, &image[done..done + len as usize]).unwrap();
        done += len as usize;
    }
}

fn transfer(driver: &mut Driver<Gpu>, id: u32, rect: Rect, offset: u32) -> u32 {
    run(driver, 0x105, &[rect.x, rect.y, rect.width, rect.height, offset, 0, id, 0])
}

fn set_scanout(driver: &mut Driver<Gpu>, id: u32, rect: Rect) -> u32 {
    run(driver, 0x103, &[rect.x, rect.y, rect.width, rect.height, 0, id])
}

fn flush(driver: &mut Driver<Gpu>, id: u32, rect: Rect) -> u32 {
    run(driver, 0x104, &[rect.x, rect.y, rect.width, rect.height, id, 0])
}

fn screen(driver: &Driver<Gpu>) -> &Screen {
    driver.transport.device().screen()
}

fn expected(rect: Rect, shade: u32) -> Vec<u32> {
    (rect.y..rect.y + rect.height)
        .flat_map(|y| (rect.x..rect.x + rect.width).map(move |x| pixel(x, y, shade)))
        .collect()
}

/// A display that shows resource 7, 64 by 48, in shade 1.
fn painted() -> (Driver<Gpu>, Vec<(u64, u32)>) {
    let mut driver = display();
    create(&mut driver, 7, 64, 48);
    let backing = attach(&mut driver, 7, 64 * 48 * 4);
    draw(&driver, &backing, 64, 48, 1);
    assert_eq!(transfer(&mut driver, 7, WHOLE, 0), 0x1100);
    assert_eq!(set_scanout(&mut driver, 7, WHOLE), 0x1100);
    assert_eq!(flush(&mut driver, 7, WHOLE), 0x1100);
    (driver, backing)
}

#[test]
fn tells_its_display_and_edid() {
    let mut driver = display();
    assert_eq!(driver.config::<16>(0), [0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    assert_ne!(driver.offered_features() & 2, 0, "VIRTIO_GPU_F_EDID");
    let (kind, info) = ask(&mut driver, 0x100, &[], 408);
    assert_eq!((kind, info.len()), (0x1101, 384));
    assert_eq!(info[..24], bytes(&[0, 0, 1280, 720, 1, 0]));
    assert!(info[24..].iter().all(|&byte| byte == 0));
    let (kind, answer) = ask(&mut driver, 0x10a, &[0; 8], 24 + 8 + 1024);
    assert_eq!((kind, answer.len()), (0x1104, 8 + 1024));
    assert_eq!(answer[..8], bytes(&[128, 0]));
    // The detailed timing's active sizes: low bytes, high bits in the upper half of the third.
    let timing = &answer[8 + 54..];
    assert_eq!(u32::from(timing[2]) | u32::from(timing[4] >> 4) << 8, 1280);
    assert_eq!(u32::from(timing[5]) | u32::from(timing[7] >> 4) << 8, 720);
    assert_eq!(ask(&mut driver, 0x10a, &bytes(&[1, 0]), 24).0, 0x1202);
}

#[test]
fn shows_what_the_guest_draws() {
    let (mut driver, backing) = painted();
    let shown = screen(&driver);
    assert_eq!((shown.width, shown.height, shown.active), (64, 48, true));
    assert_eq!(*shown.pixels, expected(WHOLE, 1));
    let before = shown.generation;
    // Nothing is seen before transfer and flush.
    draw(&driver, &backing, 64, 48, 2);
    flush(&mut driver, 7, WHOLE);
    assert_eq!(screen(&driver).generation, before);
    transfer(&mut driver, 7, WHOLE, 0);
    assert_eq!(screen(&driver).generation, before);
    flush(&mut driver, 7, WHOLE);
    assert_eq!((screen(&driver).generation, &*screen(&driver).pixels), (before + 1, &expected(WHOLE, 2)));
}

#[test]
fn a_part_is_transferred_from_its_own_offset() {
    let (mut driver, backing) = painted();
    draw(&driver, &backing, 64, 48, 2);
    let part = Rect { x: 10, y: 20, width: 30, height: 25 };
    assert_eq!(transfer(&mut driver, 7, part, (20 * 64 + 10) * 4), 0x1100);
    flush(&mut driver, 7, WHOLE);
    for (i, &shown) in screen(&driver).pixels.iter().enumerate() {
        let (x, y) = (i as u32 % 64, i as u32 / 64);
        let inside = (10..40).contains(&x) && (20..45).contains(&y);
        assert_eq!(shown, pixel(x, y, if inside { 2 } else { 1 }), "{x},{y}");
    }
}

#[test]
fn a_scanout_may_be_part_of_a_resource() {
    let (mut driver, _) = painted();
    let part = Rect { x: 4, y: 6, width: 10, height: 3 };
    assert_eq!(set_scanout(&mut driver, 7, part), 0x1100);
    assert_eq!((screen(&driver).width, screen(&driver).height), (10, 3));
    assert_eq!(*screen(&driver).pixels, expected(part, 1));
}

#[test]
fn the_last_frame_stays_when_the_screen_goes() {
    for how in 0..3 {
        let (mut driver, _) = painted();
        let before = screen(&driver).generation;
        match how {
            0 => assert_eq!(set_scanout(&mut driver, 0, Rect::default()), 0x1100),
            1 => assert_eq!(run(&mut driver, 0x102, &[7, 0]), 0x1100),
            _ => driver.write(reg::STATUS, 0),
        }
        let shown = screen(&driver);
        assert_eq!((shown.active, shown.generation), (false, before + 1));
        assert_eq!(*shown.pixels, expected(WHOLE, 1));
        assert_eq!(driver.transport.save().device.scanout, None);
    }
}

#[test]
fn fences_are_echoed() {
    let mut driver = display();
    let mut request = bytes(&[0x101, 1, 0xdead_beef, 0x1234, 9, 0]);
    request.extend(bytes(&[1, BGRX, 8, 8]));
    let answer = driver.request(0, &[&request], &[24]);
    assert_eq!(answer.bytes, bytes(&[0x1100, 1, 0xdead_beef, 0x1234, 9, 0]));
    // The same again is an error, with its fence all the same.
    let answer = driver.request(0, &[&request], &[24]);
    assert_eq!(answer.bytes, bytes(&[0x1203, 1, 0xdead_beef, 0x1234, 9, 0]));
}

#[test]
fn wrong_requests_get_their_error() {
    let mut driver = display();
    create(&mut driver, 1, 64, 48);
    let end = RAM_BASE + RAM_SIZE;
    let cases: [(u32, &[u32], u32); 27] = [
        (0, &[], 0x1200),
        (0x108, &[0; 2], 0x1200), // GET_CAPSET_INFO: no 3D
        (0x204, &[0; 12], 0x1200),
        (0x101, &[0, BGRX, 8, 8], 0x1203),
        (0x101, &[1, BGRX, 8, 8], 0x1203),
        (0x101, &[2, 99, 8, 8], 0x1205),
        (0x101, &[2, BGRX, 0, 8], 0x1205),
        (0x101, &[2, BGRX, 8, 16385], 0x1205),
        (0x101, &[2, BGRX, 16384, 16384], 0x1201),
        (0x101, &[2, BGRX], 0x1205), // too short
        (0x102, &[9, 0], 0x1203),
        (0x103, &[0, 0, 64, 48, 1, 1], 0x1202),
        (0x103, &[0, 0, 64, 48, 0, 9], 0x1203),
        (0x103, &[0, 0, 65, 48, 0, 1], 0x1205),
        (0x103, &[1, 0, u32::MAX, 48, 0, 1], 0x1205),
        (0x103, &[0, 0, 0, 0, 0, 1], 0x1205),
        (0x104, &[0, 0, 64, 49, 1, 0], 0x1205),
        (0x104, &[0, 0, 64, 48, 9, 0], 0x1203),
        (0x105, &[0, 0, 64, 48, 0, 0, 1, 0], 0x1200), // no backing
        (0x105, &[0, 0, 64, 48, 0, 0, 9, 0], 0x1203),
        (0x106, &[9, 0], 0x1203),
        (0x106, &[1, u32::MAX], 0x1205),       // more entries than follow
        (0x106, &[1, 1, 0, 0, 16, 0], 0x1205), // outside memory
        (0x106, &[1, 1, end as u32 - 8, (end >> 32) as u32, 16, 0], 0x1205),
        (0x107, &[1, 0], 0x1200),
        (0x107, &[9, 0], 0x1203),
        (0x300, &[0; 8], 0x1200), // a cursor request on the control queue
    ];
    for (kind, body, expected) in cases {
        assert_eq!(run(&mut driver, kind, body), expected, "{kind:#x} {body:?}");
    }
    attach(&mut driver, 1, 64 * 48 * 4 - 4);
    assert_eq!(run(&mut driver, 0x106, &[1, 0]), 0x1200, "attached already");
    for (rect, offset, expected) in [
        (WHOLE, 0, 0x1205), // the backing is a pixel short
        (Rect { width: 63, ..WHOLE }, 0, 0x1100),
        (Rect { width: 63, ..WHOLE }, 4, 0x1205),
        (Rect { x: 1, ..WHOLE }, 0, 0x1205),
        (Rect { width: 1, height: 1, ..WHOLE }, u32::MAX, 0x1205),
    ] {
        assert_eq!(transfer(&mut driver, 1, rect, offset), expected, "{rect:?} {offset}");
    }
    create(&mut driver, 2, 64, 48);
    attach(&mut driver, 2, 64 * 1024);
    for rect in [
        Rect { x: 1, ..WHOLE },
        Rect { y: 48, height: 1, ..WHOLE },
        Rect { width: 65, height: 1, ..WHOLE },
        Rect { height: 0, ..WHOLE },
        Rect { width: 0, ..WHOLE },
        Rect { x: u32::MAX, width: 2, ..WHOLE },
    ] {
        assert_eq!(transfer(&mut driver, 2, rect, 0), 0x1205, "{rect:?}, though there is backing");
    }
    let answer = driver.request(0, &[&[0; 23]], &[24]);
    assert_eq!(answer.bytes[..4], 0x1200u32.to_le_bytes());
    assert_eq!(driver.request(0, &[&header(0x100)], &[10]).len, 10, "as much as there is room for");
    assert!(driver.transport.fault().is_none());
}

#[test]
fn a_new_size_is_announced_until_the_driver_clears_it() {
    let mut driver = display();
    let generation = driver.read(reg::CONFIG_GENERATION);
    let memory = driver.memory.clone();
    driver.transport.with_device(&memory, |gpu| gpu.set_display_size(1280, 720));
    assert!(!driver.transport.irq_level(), "it is that size already");
    driver.transport.with_device(&memory, |gpu| gpu.set_display_size(800, 100_000));
    assert_eq!(driver.read(reg::INTERRUPT_STATUS), 2);
    assert_eq!(driver.read(reg::CONFIG_GENERATION), generation + 1);
    assert_eq!(driver.config::<4>(0), [1, 0, 0, 0]);
    let (_, info) = ask(&mut driver, 0x100, &[], 408);
    assert_eq!(info[..16], bytes(&[0, 0, 800, 4095]));
    driver.access(|transport, context| transport.write(reg::CONFIG + 4, 4, 1, context));
    assert_eq!(driver.config::<4>(0), [0; 4]);
}

#[test]
fn the_cursor_has_an_image_and_a_place() {
    let mut driver = display();
    assert_eq!(run(&mut driver, 0x101, &[3, 1, 64, 64]), 0x1100); // BGRA
    let backing = attach(&mut driver, 3, 64 * 64 * 4);
    driver.memory.write(backing[0].0, &[1, 2, 3, 0x80]).unwrap();
    transfer(&mut driver, 3, Rect { x: 0, y: 0, width: 64, height: 64 }, 0);
    let mut cursor_request = |kind, id| {
        let body = bytes(&[0, 100, 200, 0, id, 5, 6, 0]);
        driver.request(1, &[&header(kind), &body], &[24]).bytes[..4].to_vec()
    };
    assert_eq!(cursor_request(0x300, 3), 0x1100u32.to_le_bytes());
    assert_eq!(cursor_request(0x300, 9), 0x1203u32.to_le_bytes());
    assert_eq!(cursor_request(0x101, 9), 0x1200u32.to_le_bytes());
    let cursor = driver.transport.device().cursor().clone();
    assert_eq!((cursor.x, cursor.y, cursor.hot_x, cursor.hot_y), (100, 200, 5, 6));
    let image = cursor.image.as_ref().unwrap();
    assert_eq!((image.len(), image[0], image[1]), (64 * 64, 0x8003_0201, 0));
    // As Linux does it: no room for a response.
    let body = bytes(&[0, 101, 201, 0, 3, 0, 0, 0]);
    assert_eq!(driver.request(1, &[&header(0x301), &body], &[]).len, 0);
    let moved = Cursor { x: 101, y: 201, ..cursor };
    assert_eq!(*driver.transport.device().cursor(), moved);

    let state = driver.transport.save();
    let mut restored = VirtioMmio::new(Gpu::new(640, 480));
    restored.load(&state, &driver.memory).unwrap();
    assert_eq!(*restored.device().cursor(), moved);

    driver.request(1, &[&header(0x300), &bytes(&[0, 0, 0, 0, 0, 0, 0, 0])], &[]);
    assert_eq!(driver.transport.device().cursor().image, None);
    create(&mut driver, 4, 32, 32);
    let body = bytes(&[0, 0, 0, 0, 4, 0, 0, 0]);
    let answer = driver.request(1, &[&header(0x300), &body], &[24]);
    assert_eq!(answer.bytes[..4], 0x1205u32.to_le_bytes(), "a cursor of another size");
}

#[test]
fn a_restored_display_shows_its_frame_before_the_guest_runs() {
    let (mut driver, backing) = painted();
    create(&mut driver, 8, 64, 48);
    let other = attach(&mut driver, 8, 64 * 48 * 4);
    draw(&driver, &other, 64, 48, 5);
    transfer(&mut driver, 8, WHOLE, 0);
    let json = serde_json::to_string(&driver.transport.save()).unwrap();
    let state: super::super::VirtioState<GpuState> = serde_json::from_str(&json).unwrap();
    assert_eq!((state.device.width, state.device.height), (1280, 720));

    let mut restored = VirtioMmio::new(Gpu::new(640, 480));
    restored.load(&state, &driver.memory).unwrap();
    assert_eq!(restored.save(), state);
    driver.transport = restored;
    let shown = screen(&driver);
    assert_eq!((shown.width, shown.height, shown.active), (64, 48, true));
    assert_eq!(*shown.pixels, expected(WHOLE, 1));
    // The other resource is read when it is shown.
    assert_eq!(set_scanout(&mut driver, 8, WHOLE), 0x1100);
    assert_eq!(*screen(&driver).pixels, expected(WHOLE, 5));
    // And drawing goes on: a new first row.
    let row = expected(Rect { height: 1, ..WHOLE }, 3);
    driver.memory.write(backing[0].0, &bytes(&row)).unwrap();
    assert_eq!(transfer(&mut driver, 7, Rect { height: 1, ..WHOLE }, 0), 0x1100);
    set_scanout(&mut driver, 7, WHOLE);
    let mut mixed = expected(WHOLE, 1);
    mixed[..64].copy_from_slice(&row);
    assert_eq!(*screen(&driver).pixels, mixed);
}

#[test]
fn a_reset_in_place_goes_back_to_the_saved_frame() {
    let (mut driver, backing) = painted();
    let state = driver.transport.save();
    draw(&driver, &backing, 64, 48, 9);
    transfer(&mut driver, 7, WHOLE, 0);
    flush(&mut driver, 7, WHOLE);
    let generation = screen(&driver).generation;
    draw(&driver, &backing, 64, 48, 1); // memory is reset as well
    let memory = driver.memory.clone();
    driver.transport.load(&state, &memory).unwrap();
    assert_eq!(*screen(&driver).pixels, expected(WHOLE, 1));
    assert!(screen(&driver).generation > generation);
}

#[test]
fn a_state_without_scanout_leaves_no_old_frame() {
    let empty = display().transport.save();
    let (mut driver, _) = painted();
    let memory = driver.memory.clone();
    driver.transport.load(&empty, &memory).unwrap();
    let shown = screen(&driver);
    assert_eq!((shown.width, shown.height, shown.active), (1280, 720, false));
    assert!(shown.pixels.iter().all(|&pixel| pixel == 0));
}

#[test]
fn impossible_states_are_refused_and_change_nothing() {
    let (mut driver, _) = painted();
    let good = driver.transport.save();
    let memory = driver.memory.clone();
    type Change = fn(&mut GpuState);
    let changes: [Change; 12] = [
        |s| s.width = 0,
        |s| s.height = 5000,
        |s| s.events = 2,
        |s| s.resources[0].id = 0,
        |s| s.resources.push(s.resources[0].clone()),
        |s| s.resources[0].width = 20_000,
        |s| (s.resources[0].width, s.resources[0].height) = (16_384, 16_384),
        |s| s.resources[0].backing = Some(vec![BackingEntry { address: 0, length: 1 }]),
        |s| s.resources[0].backing = Some(vec![BackingEntry { address: u64::MAX, length: u64::MAX }]),
        |s| s.scanout = Some(Scanout { resource: 1, rect: WHOLE }),
        |s| s.scanout = Some(Scanout { resource: 7, rect: Rect { x: 1, ..WHOLE } }),
        |s| s.cursor.image = Some(vec![0; 10]),
    ];
    for (i, change) in changes.into_iter().enumerate() {
        let mut state = good.clone();
        change(&mut state.device);
        assert!(driver.transport.load(&state, &memory).is_err(), "change {i}");
        assert_eq!(driver.transport.save(), good);
        assert_eq!(*screen(&driver).pixels, expected(WHOLE, 1));
    }
    assert_eq!(driver.transport.device().display_size(), (1280, 720));
}
