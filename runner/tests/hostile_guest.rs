//! A guest of a few instructions that drives a device wrong, and kernels that
//! are none, in the real program.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

/// Registers of the random source, in its slot (virtio 1.2, 4.2.2).
const RNG: u32 = 0x0a00_0600;
const DRIVER_FEATURES: u32 = RNG + 0x20;
const DRIVER_FEATURES_SEL: u32 = RNG + 0x24;
const QUEUE_SEL: u32 = RNG + 0x30;
const QUEUE_NUM: u32 = RNG + 0x38;
const QUEUE_READY: u32 = RNG + 0x44;
const QUEUE_NOTIFY: u32 = RNG + 0x50;
const STATUS: u32 = RNG + 0x70;
const QUEUE_DESC_LOW: u32 = RNG + 0x80;

/// An arm64 `Image` that writes each value to its address, then waits for ever.
fn writing(writes: &[(u32, u32)]) -> Vec<u8> {
    let code = [
        0x1000_0100, // adr  x0, table
        0xb840_4401, // next: ldr w1, [x0], #4
        0x3400_0081, // cbz  w1, wait
        0xb840_4402, // ldr  w2, [x0], #4
        0xb900_0022, // str  w2, [x1]
        0x17ff_fffc, // b    next
        0xd503_207f, // wait: wfi
        0x17ff_ffff, // b    wait
    ];
    let table = writes.iter().flat_map(|&(address, value)| [address, value]).chain([0]);
    image(code.into_iter().chain(table))
}

/// An arm64 `Image` of these words.
fn image(words: impl IntoIterator<Item = u32>) -> Vec<u8> {
    let body: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    // The header: Linux Documentation/arch/arm64/booting.rst.
    let mut image = 0x1400_0010u32.to_le_bytes().to_vec(); // b over the header
    image.resize(16, 0);
    image.extend((64 + body.len() as u64).to_le_bytes());
    image.extend(0b1010u64.to_le_bytes()); // 4 KiB pages, anywhere in memory
    image.resize(56, 0);
    image.extend(b"ARM\x64");
    image.resize(64, 0);
    image.extend(body);
    image
}

fn boot(kernel: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_runner"))
        .args(["boot", "--headless", "--memory", "32M", "--kernel"])
        .arg(kernel)
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

/// One `error:` line, then one `hint:` line, at the end.
fn assert_told(output: &Output, status: i32, what: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}");
    assert_eq!(output.stdout, b"", "{text}");
    let lines: Vec<&str> = text.lines().collect();
    let error = lines.iter().position(|line| line.starts_with("error: ")).unwrap_or_else(|| panic!("{text}"));
    assert!(lines[error].contains(what), "{text}");
    assert!(lines[error + 1].starts_with("hint: "), "{text}");
}

#[test]
fn a_queue_outside_memory_ends_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = dir.path().join("Image");
    let writes = [
        (STATUS, 1),
        (STATUS, 3),
        (DRIVER_FEATURES_SEL, 1),
        (DRIVER_FEATURES, 1), // VIRTIO_F_VERSION_1
        (STATUS, 0xb),
        (QUEUE_SEL, 0),
        (QUEUE_NUM, 8),
        (QUEUE_DESC_LOW, 0x1000),
        (QUEUE_READY, 1),
        (STATUS, 0xf),
        (QUEUE_NOTIFY, 0),
    ];
    fs::write(&kernel, writing(&writes)).unwrap();
    assert_told(&boot(&kernel), 8, "virtio-rng");
}

/// A register that is an implementation's own, and none of ours (Arm ARM, D23.1: `S3_1_C15_C0_0`).
#[test]
fn what_the_engine_has_not_ends_the_session() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = dir.path().join("Image");
    fs::write(&kernel, image([0xd539_f000])).unwrap(); // mrs x0, s3_1_c15_c0_0
    assert_told(&boot(&kernel), 5, "which this engine has not");
}

#[test]
fn what_is_no_kernel_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let kernel = dir.path().join("Image");
    let whole = writing(&[]);
    for (bytes, what) in [
        (&whole[..40], "cut off"),
        (
            b"\x1f\x8b\x08\0 and so on, and so on, and so on, and so on, and so on, and so on".as_slice(),
            "gzip",
        ),
        (&[0; 128], "Image"),
    ] {
        fs::write(&kernel, bytes).unwrap();
        assert_told(&boot(&kernel), 2, what);
    }
    let missing = boot(&dir.path().join("nothing"));
    assert_told(&missing, 2, "nothing");
}
