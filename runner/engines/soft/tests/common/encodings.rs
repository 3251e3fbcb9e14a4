//! The groups of encodings of FP/SIMD data processing (Arm ARM C4.1.96).

/// A group: words whose bits under `mask` are `value`.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    pub name: &'static str,
    pub value: u32,
    pub mask: u32,
    /// Whether some of its instructions name general registers.
    pub general: bool,
    /// How many parts of the test cases it gets.
    pub weight: usize,
}

const fn group(name: &'static str, value: u32, mask: u32, weight: usize) -> Group {
    Group { name, value, mask, general: false, weight }
}

const fn with_general(name: &'static str, value: u32, mask: u32, weight: usize) -> Group {
    Group { name, value, mask, general: true, weight }
}

pub const GROUPS: &[Group] = &[
    with_general("floating-point fixed-point conversion", 0x1e00_0000, 0x7f20_0000, 4),
    with_general("floating-point integer conversion", 0x1e20_0000, 0x7f20_fc00, 6),
    group("floating-point 1 source", 0x1e20_4000, 0xff20_7c00, 8),
    group("floating-point compare", 0x1e20_2000, 0xff20_3c00, 2),
    group("floating-point immediate", 0x1e20_1000, 0xff20_1c00, 1),
    group("floating-point conditional compare", 0x1e20_0400, 0xff20_0c00, 2),
    group("floating-point 2 source", 0x1e20_0800, 0xff20_0c00, 10),
    group("floating-point conditional select", 0x1e20_0c00, 0xff20_0c00, 1),
    group("floating-point 3 source", 0x1f00_0000, 0xff00_0000, 8),
    group("cryptographic AES", 0x4e28_0800, 0xff3e_0c00, 1),
    group("cryptographic three-register SHA", 0x5e00_0000, 0xffe0_8c00, 1),
    group("cryptographic two-register SHA", 0x5e28_0800, 0xff3e_0c00, 1),
    group("scalar copy", 0x5e00_0400, 0xdfe0_8400, 1),
    group("scalar two-register misc", 0x5e20_0800, 0xdf3e_0c00, 8),
    group("scalar pairwise", 0x5e30_0800, 0xdf3e_0c00, 2),
    group("scalar three different", 0x5e20_0000, 0xdf20_0c00, 2),
    group("scalar three same", 0x5e20_0400, 0xdf20_0400, 8),
    group("scalar shift by immediate", 0x5f00_0400, 0xdf80_0400, 4),
    group("scalar x indexed element", 0x5f00_0000, 0xdf00_0400, 4),
    group("vector table lookup", 0x0e00_0000, 0xbfe0_8c00, 1),
    group("vector permute", 0x0e00_0800, 0xbf20_8c00, 2),
    group("vector extract", 0x2e00_0000, 0xbfe0_8400, 1),
    with_general("vector copy", 0x0e00_0400, 0x9fe0_8400, 2),
    group("vector two-register misc", 0x0e20_0800, 0x9f3e_0c00, 12),
    group("vector across lanes", 0x0e30_0800, 0x9f3e_0c00, 3),
    group("vector three different", 0x0e20_0000, 0x9f20_0c00, 5),
    group("vector three same", 0x0e20_0400, 0x9f20_0400, 14),
    group("vector modified immediate", 0x0f00_0400, 0x9ff8_0400, 2),
    group("vector shift by immediate", 0x0f00_0400, 0x9f80_0400, 6),
    group("vector x indexed element", 0x0f00_0000, 0x9f00_0400, 6),
];
