//! A minimal static executable (System V ABI, AArch64 supplement).

/// Where code is loaded.
pub const TEXT: u64 = 0x0040_0000;
/// Where initialised data is loaded.
pub const DATA: u64 = 0x1000_0000;
/// Where zeroed memory begins.
pub const ZEROED: u64 = 0x6000_0000;

const PAGE: usize = 0x1_0000;
const MACHINE_AARCH64: u16 = 183;
const EXECUTABLE: u16 = 2;
const LOAD: u32 = 1;
const READ_WRITE: u32 = 6;
const READ_EXECUTE: u32 = 5;

/// Lays out an executable that starts at the first word of `code`.
pub fn executable(code: &[u32], data: &[u8], zeroed: usize) -> Vec<u8> {
    let text: Vec<u8> = code.iter().flat_map(|word| word.to_le_bytes()).collect();
    let text_at = PAGE;
    let data_at = (text_at + text.len()).next_multiple_of(PAGE);

    let mut file = Vec::with_capacity(data_at + data.len());
    file.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    file.extend(EXECUTABLE.to_le_bytes());
    file.extend(MACHINE_AARCH64.to_le_bytes());
    file.extend(1u32.to_le_bytes());
    file.extend(TEXT.to_le_bytes());
    file.extend(64u64.to_le_bytes());
    file.extend(0u64.to_le_bytes());
    file.extend(0u32.to_le_bytes());
    // Sizes of this header and of a program header, how many there are, and no sections.
    for half in [64u16, 56, 3, 64, 0, 0] {
        file.extend(half.to_le_bytes());
    }
    let mut segment = |flags: u32, offset: usize, address: u64, in_file: usize, in_memory: usize| {
        file.extend(LOAD.to_le_bytes());
        file.extend(flags.to_le_bytes());
        for word in [offset as u64, address, address, in_file as u64, in_memory as u64, PAGE as u64] {
            file.extend(word.to_le_bytes());
        }
    };
    segment(READ_EXECUTE, text_at, TEXT, text.len(), text.len());
    segment(READ_WRITE, data_at, DATA, data.len(), data.len());
    segment(READ_WRITE, 0, ZEROED, 0, zeroed);
    file.resize(text_at, 0);
    file.extend(text);
    file.resize(data_at, 0);
    file.extend(data);
    file
}
