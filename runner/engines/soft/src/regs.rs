//! The registers that instructions name directly.

/// Index in [`Regs::x`] of the zero register as a source: always 0.
pub const ZERO: usize = 31;
/// Index in [`Regs::x`] of the zero register as a destination: written, never read.
pub const SINK: usize = 32;
/// Index in [`Regs::x`] of the current stack pointer.
pub const SP: usize = 33;

/// N, Z, C and V at the top of a word, as in PSTATE (Arm ARM C5.2.10).
pub mod nzcv {
    /// Negative.
    pub const N: u32 = 1 << 31;
    /// Zero.
    pub const Z: u32 = 1 << 30;
    /// Carry.
    pub const C: u32 = 1 << 29;
    /// Overflow.
    pub const V: u32 = 1 << 28;
}

/// General, vector and floating-point registers of one vCPU.
#[derive(Clone, Debug)]
#[repr(C)]
pub struct Regs {
    /// X0 to X30, then [`ZERO`], [`SINK`] and [`SP`]. A decoder maps register
    /// field 31 to the right one of these three, so execution never asks. The
    /// rest is never used: it is there so that no `u8` needs a bounds check.
    pub x: [u64; 256],
    /// Virtual address of the current instruction.
    pub pc: u64,
    /// Condition flags in bits 31 to 28, the rest zero; see [`nzcv`].
    pub nzcv: u32,
    /// FPCR, only its implemented bits: AHP, DN, FZ, RMode (Arm ARM C5.2.8).
    pub fpcr: u32,
    /// FPSR, only its implemented bits: QC, IDC, IXC, UFC, OFC, DZC, IOC (Arm ARM C5.2.9).
    pub fpsr: u32,
    /// V0 to V31.
    pub v: [u128; 32],
}

impl Default for Regs {
    fn default() -> Self {
        Regs { x: [0; 256], pc: 0, nzcv: 0, fpcr: 0, fpsr: 0, v: [0; 32] }
    }
}

impl Regs {
    /// Reads the register that field value `n` names, 31 being the zero register.
    #[inline]
    pub fn read_x(&self, n: u32) -> u64 {
        self.x[(n & 31) as usize]
    }

    /// Writes the register that field value `n` names, 31 being the zero register.
    #[inline]
    pub fn write_x(&mut self, n: u32, value: u64) {
        let n = (n & 31) as usize;
        self.x[if n == ZERO { SINK } else { n }] = value;
    }
}
