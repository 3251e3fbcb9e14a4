//! The typed form of an instruction: what the decoder makes and every tier executes.

use crate::regs::Regs;

/// Executes one FP or SIMD data-processing instruction, given its word.
pub type Handler = fn(&mut Regs, u32);

/// One decoded instruction. What the fields mean follows from [`Kind`];
/// register fields are indices into [`Regs::x`], so 31 is already told apart
/// into zero register, sink and stack pointer.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Op {
    /// Which instruction.
    pub kind: Kind,
    /// First destination, or the register stored.
    pub d: u8,
    /// First source or base.
    pub n: u8,
    /// Second source or index.
    pub m: u8,
    /// Third source, second register of a pair.
    pub a: u8,
    /// Shift amount, condition, width or other small number.
    pub s: u8,
    /// Shift type, extension or other small number.
    pub t: u8,
    /// Immediate, offset, mask, or a handler's address.
    pub imm: u64,
}

impl Op {
    /// An operation that needs no operands yet.
    pub const fn new(kind: Kind) -> Self {
        Op { kind, d: 0, n: 0, m: 0, a: 0, s: 0, t: 0, imm: 0 }
    }

    /// An FP or SIMD data-processing instruction.
    pub fn vector(handler: Handler, word: u32) -> Self {
        let [d, n, m, a] = word.to_le_bytes();
        Op { kind: Kind::Vector, d, n, m, a, s: 0, t: 0, imm: handler as usize as u64 }
    }

    /// An instruction whose execution looks at its word again.
    pub fn with_word(kind: Kind, word: u32) -> Self {
        let [d, n, m, a] = word.to_le_bytes();
        Op { kind, d, n, m, a, s: 0, t: 0, imm: 0 }
    }

    /// The instruction word that [`Op::vector`] and [`Op::with_word`] keep.
    #[inline(always)]
    pub fn word(&self) -> u32 {
        u32::from_le_bytes([self.d, self.n, self.m, self.a])
    }

    /// The handler that [`Op::vector`] keeps.
    #[inline(always)]
    pub fn handler(&self) -> Handler {
        debug_assert_eq!(self.kind, Kind::Vector);
        // SAFETY: an Op of kind Vector is made by Op::vector alone, which
        // stores a Handler here; function pointers are as wide as usize.
        unsafe { std::mem::transmute::<usize, Handler>(self.imm as usize) }
    }
}

/// Bits of [`Op::t`] for conditional compares.
pub mod compare {
    /// 64-bit operands.
    pub const WIDE: u8 = 1;
    /// The second operand is [`Op::imm`](super::Op::imm).
    pub const IMMEDIATE: u8 = 2;
    /// Subtract (CCMP), else add (CCMN).
    pub const SUBTRACT: u8 = 4;
}

/// Which instruction an [`Op`] is, in Arm's terms, with the width at the end
/// where it matters.
#[allow(missing_docs)] // the names are Arm's mnemonics
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// UNDEFINED; imm is the word.
    Undefined,

    // Constants. Const: d = imm. Adr: d = pc + imm. Adrp: the same on pages.
    Const,
    Adr,
    Adrp,
    Movk64,
    Movk32,

    // d = n op imm.
    AddImm64,
    AddImm32,
    SubImm64,
    SubImm32,
    AddsImm64,
    AddsImm32,
    SubsImm64,
    SubsImm32,
    AndImm64,
    AndImm32,
    OrrImm64,
    OrrImm32,
    EorImm64,
    EorImm32,
    AndsImm64,
    AndsImm32,

    // Bit fields. Ubfx: (n >> s) & imm. Ubfiz: (n & imm) << s.
    // Sbf: arithmetic (n << t) >> s. Bfi: ((n << s) & imm) into d. Bfxil: ((n >> s) & imm) into d.
    Ubfx,
    Ubfiz,
    Sbf64,
    Sbf32,
    Bfi64,
    Bfi32,
    Bfxil64,
    Bfxil32,
    Extr64,
    Extr32,

    // d = n op m, unshifted.
    MovReg64,
    MovReg32,
    And64,
    And32,
    Orr64,
    Orr32,
    Eor64,
    Eor32,
    Ands64,
    Ands32,
    Add64,
    Add32,
    Sub64,
    Sub32,
    Adds64,
    Adds32,
    Subs64,
    Subs32,
    // d = n op (m << s).
    AddLsl64,
    SubLsl64,
    // The rest: t is the shift type, s the amount, imm the opc and N bits of the word.
    LogicalShift64,
    LogicalShift32,
    // t is the shift type, s the amount, imm bit 0 S, bit 1 op.
    AddSubShift64,
    AddSubShift32,
    // t is the extension, s the amount, imm bit 0 S, bit 1 op.
    AddSubExt64,
    AddSubExt32,
    // imm bit 0 S, bit 1 op.
    AdcSbc64,
    AdcSbc32,

    // s is the condition.
    Csel64,
    Csel32,
    Csinc64,
    Csinc32,
    Csinv64,
    Csinv32,
    Csneg64,
    Csneg32,
    // t: see `compare`; a is the flags otherwise.
    CondCompare,

    Udiv64,
    Udiv32,
    Sdiv64,
    Sdiv32,
    Lslv64,
    Lslv32,
    Lsrv64,
    Lsrv32,
    Asrv64,
    Asrv32,
    Rorv64,
    Rorv32,
    // s is log2 of the bytes; t 1 for the Castagnoli polynomial.
    Crc32,
    Rbit64,
    Rbit32,
    Rev16x64,
    Rev16x32,
    Rev32x64,
    Rev32,
    Rev64,
    Clz64,
    Clz32,
    Cls64,
    Cls32,
    Madd64,
    Madd32,
    Msub64,
    Msub32,
    Smaddl,
    Smsubl,
    Umaddl,
    Umsubl,
    Smulh,
    Umulh,

    // Branches; imm is the offset from the instruction.
    B,
    Bl,
    Bcond,
    Cbz64,
    Cbz32,
    Cbnz64,
    Cbnz32,
    // s is the bit.
    Tbz,
    Tbnz,
    Br,
    Blr,
    Ret,

    // Exceptions and system. imm is the immediate or register encoding.
    Svc,
    Hvc,
    Smc,
    Brk,
    Eret,
    Nop,
    Wfi,
    Wfe,
    Sev,
    Isb,
    Dsb,
    Dmb,
    Clrex,
    MsrImm,
    Mrs,
    Msr,
    Sys,

    // Loads and stores: [n + imm], then pre- and post-indexed, then
    // [n + (m << s)], then [n + extend(m, t) << s].
    LdrX,
    LdrW,
    LdrH,
    LdrB,
    LdrSw,
    LdrSh64,
    LdrSh32,
    LdrSb64,
    LdrSb32,
    StrX,
    StrW,
    StrH,
    StrB,
    LdrXPre,
    LdrWPre,
    LdrHPre,
    LdrBPre,
    LdrSwPre,
    LdrSh64Pre,
    LdrSh32Pre,
    LdrSb64Pre,
    LdrSb32Pre,
    StrXPre,
    StrWPre,
    StrHPre,
    StrBPre,
    LdrXPost,
    LdrWPost,
    LdrHPost,
    LdrBPost,
    LdrSwPost,
    LdrSh64Post,
    LdrSh32Post,
    LdrSb64Post,
    LdrSb32Post,
    StrXPost,
    StrWPost,
    StrHPost,
    StrBPost,
    LdrXReg,
    LdrWReg,
    LdrHReg,
    LdrBReg,
    LdrSwReg,
    LdrSh64Reg,
    LdrSh32Reg,
    LdrSb64Reg,
    LdrSb32Reg,
    StrXReg,
    StrWReg,
    StrHReg,
    StrBReg,
    LdrXExt,
    LdrWExt,
    LdrHExt,
    LdrBExt,
    LdrSwExt,
    LdrSh64Ext,
    LdrSh32Ext,
    LdrSb64Ext,
    LdrSb32Ext,
    StrXExt,
    StrWExt,
    StrHExt,
    StrBExt,
    // [pc + imm].
    LdrXLit,
    LdrWLit,
    LdrSwLit,
    // Unprivileged: s is log2 of the bytes; t bit 0 signed, bit 1 extended to 32 bits only.
    Ldtr,
    Sttr,

    // Pairs d and a; t is the addressing: 0 offset, 1 pre-indexed, 2 post-indexed.
    LdpX,
    LdpW,
    Ldpsw,
    StpX,
    StpW,

    // Vector registers d; s is log2 of the bytes. t is the addressing: 0 [n + imm],
    // 1 pre-indexed, 2 post-indexed; for VecExt the extension, a the shift.
    LdrVec,
    StrVec,
    LdrVecQ,
    StrVecQ,
    LdrVecD,
    StrVecD,
    LdrVecExt,
    StrVecExt,
    LdrVecLit,
    // Pairs d and a; s is log2 of the bytes of one, t the addressing.
    LdpVec,
    StpVec,
    // LD1 to LD4 and ST1 to ST4; executed from the word.
    VecStructure,
    VecElement,

    // s is log2 of the bytes; t bit 0 acquire or release.
    Ldxr,
    // m is the status register.
    Stxr,
    Ldxp,
    Stxp,
    Ldar,
    Stlr,
    // m is compared and replaced, d is stored.
    Cas,
    Casp,
    // m is the operand, d the old value, t the operation (opc and o3 of the word).
    Atomic,

    /// FP and SIMD data processing through a handler.
    Vector,
}
