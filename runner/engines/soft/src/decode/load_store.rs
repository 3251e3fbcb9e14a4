//! Loads and stores (Arm ARM C4.1.96).

use super::{bit, bits, dest, or_sp, sign_extend, source};
use crate::op::{Kind, Op};

/// Addressing of pairs and vector registers, in [`Op::t`].
pub(crate) const OFFSET: u8 = 0;
/// Base plus offset, written back.
pub(crate) const PRE: u8 = 1;
/// Base, then base plus offset written back.
pub(crate) const POST: u8 = 2;

pub(super) fn decode(word: u32) -> Option<Op> {
    let vector = bit(word, 26);
    match (bits(word, 29, 28), vector) {
        (0b00, true) => structures(word),
        (0b00, false) if !bit(word, 24) => exclusive(word),
        (0b01, _) if !bit(word, 24) => literal(word),
        (0b10, _) => pair(word),
        (0b11, _) => single(word),
        _ => None,
    }
}

/// LD1 to LD4 and ST1 to ST4 (Arm ARM C4.1.96, "Advanced SIMD load/store").
/// Only the fields that can be reserved are looked at here.
fn structures(word: u32) -> Option<Op> {
    if bit(word, 31) {
        return None;
    }
    let post = bit(word, 23);
    if !post && bits(word, 20, 16) != 0 {
        return None;
    }
    if !bit(word, 24) {
        if bit(word, 21) {
            return None;
        }
        let (size, q) = (bits(word, 11, 10), bit(word, 30));
        match bits(word, 15, 12) {
            0b0000 | 0b0100 | 0b1000 if size == 3 && !q => None,
            0b0000 | 0b0010 | 0b0100 | 0b0110 | 0b0111 | 0b1000 | 0b1010 => {
                Some(Op::with_word(Kind::VecStructure, word))
            }
            _ => None,
        }
    } else {
        let (load, opcode, size, s) = (bit(word, 22), bits(word, 15, 13), bits(word, 11, 10), bit(word, 12));
        let valid = match opcode >> 1 {
            0 => true,
            1 => size & 1 == 0,
            2 => size == 0 || (size == 1 && !s),
            _ => load && !s,
        };
        valid.then(|| Op::with_word(Kind::VecElement, word))
    }
}

fn exclusive(word: u32) -> Option<Op> {
    let size = bits(word, 31, 30);
    let (o2, load, o1, o0) = (bit(word, 23), bit(word, 22), bit(word, 21), bit(word, 15));
    let (rs, rt2) = (bits(word, 20, 16), bits(word, 14, 10));
    let base = Op { n: or_sp(word, 5), s: size as u8, t: u8::from(o0), ..Op::new(Kind::Ldxr) };
    match (o2, o1) {
        (false, false) if load => Some(Op { d: dest(word, 0), ..base }),
        (false, false) => Some(Op { d: source(word, 0), m: dest(word, 16), kind: Kind::Stxr, ..base }),
        (false, true) if size >= 2 && load => {
            Some(Op { d: dest(word, 0), a: dest(word, 10), kind: Kind::Ldxp, ..base })
        }
        (false, true) if size >= 2 => {
            Some(Op { d: source(word, 0), a: source(word, 10), m: dest(word, 16), kind: Kind::Stxp, ..base })
        }
        // CASP: bit 22 is the acquire bit, bit 30 the width; pairs are even registers.
        (false, true) => {
            if rt2 != 31 || rs & 1 != 0 || bit(word, 0) {
                return None;
            }
            Some(Op { d: bits(word, 4, 0) as u8, m: rs as u8, s: size as u8 + 2, kind: Kind::Casp, ..base })
        }
        (true, true) => {
            if rt2 != 31 {
                return None;
            }
            // The old value goes to the register that was compared.
            Some(Op { d: source(word, 0), m: source(word, 16), a: dest(word, 16), kind: Kind::Cas, ..base })
        }
        // LDLAR and STLLR (FEAT_LOR) differ from these by o0 alone; with no
        // LORegions they would be LDAR and STLR, but the feature isn't shown.
        (true, false) if !o0 => None,
        (true, false) if load => Some(Op { d: dest(word, 0), kind: Kind::Ldar, ..base }),
        (true, false) => Some(Op { d: source(word, 0), kind: Kind::Stlr, ..base }),
    }
}

fn literal(word: u32) -> Option<Op> {
    let opc = bits(word, 31, 30);
    let imm = (sign_extend(bits(word, 23, 5), 19) << 2) as u64;
    if bit(word, 26) {
        if opc == 3 {
            return None;
        }
        return Some(Op { d: bits(word, 4, 0) as u8, s: opc as u8 + 2, imm, ..Op::new(Kind::LdrVecLit) });
    }
    let kind = match opc {
        0 => Kind::LdrWLit,
        1 => Kind::LdrXLit,
        2 => Kind::LdrSwLit,
        // PRFM (literal).
        _ => return Some(Op::new(Kind::Nop)),
    };
    Some(Op { d: dest(word, 0), imm, ..Op::new(kind) })
}

fn pair(word: u32) -> Option<Op> {
    let opc = bits(word, 31, 30);
    let load = bit(word, 22);
    let t = match bits(word, 24, 23) {
        // LDNP and STNP: the hint has no effect.
        0b00 | 0b10 => OFFSET,
        0b01 => POST,
        _ => PRE,
    };
    let no_allocate = bits(word, 24, 23) == 0;
    let offset = sign_extend(bits(word, 21, 15), 7);
    let n = or_sp(word, 5);
    if bit(word, 26) {
        if opc == 3 {
            return None;
        }
        let s = opc as u8 + 2;
        return Some(Op {
            d: bits(word, 4, 0) as u8,
            a: bits(word, 14, 10) as u8,
            n,
            s,
            t,
            imm: (offset << s) as u64,
            ..Op::new(if load { Kind::LdpVec } else { Kind::StpVec })
        });
    }
    let (kind, scale) = match (opc, load) {
        (0, true) => (Kind::LdpW, 2),
        (0, false) => (Kind::StpW, 2),
        (1, true) if !no_allocate => (Kind::Ldpsw, 2),
        (2, true) => (Kind::LdpX, 3),
        (2, false) => (Kind::StpX, 3),
        _ => return None,
    };
    let (d, a) = if load { (dest(word, 0), dest(word, 10)) } else { (source(word, 0), source(word, 10)) };
    Some(Op { d, a, n, t, imm: (offset << scale) as u64, ..Op::new(kind) })
}

fn single(word: u32) -> Option<Op> {
    if bit(word, 24) {
        let scale = if bit(word, 26) { vector_scale(word)? } else { bits(word, 31, 30) };
        return register(word, Mode::Imm(u64::from(bits(word, 21, 10)) << scale));
    }
    if !bit(word, 21) {
        let imm = sign_extend(bits(word, 20, 12), 9) as u64;
        return match bits(word, 11, 10) {
            0b00 => register(word, Mode::Imm(imm)),
            0b01 => register(word, Mode::Post(imm)),
            0b10 => unprivileged(word, imm),
            _ => register(word, Mode::Pre(imm)),
        };
    }
    match bits(word, 11, 10) {
        0b00 => atomic(word),
        // Register offset: extensions without bit 1 are reserved.
        0b10 if bit(word, 14) => register(word, Mode::Reg),
        _ => None,
    }
}

/// log2 of the bytes of a vector register access, or None if it is reserved.
fn vector_scale(word: u32) -> Option<u32> {
    let scale = (bits(word, 23, 23) << 2) | bits(word, 31, 30);
    (scale <= 4).then_some(scale)
}

enum Mode {
    Imm(u64),
    Pre(u64),
    Post(u64),
    Reg,
}

fn register(word: u32, mode: Mode) -> Option<Op> {
    if bit(word, 26) {
        return vector_register(word, mode);
    }
    let (size, opc) = (bits(word, 31, 30), bits(word, 23, 22));
    let row = match (size, opc) {
        (3, 1) => 0,
        (2, 1) => 1,
        (1, 1) => 2,
        (0, 1) => 3,
        (2, 2) => 4,
        (1, 2) => 5,
        (1, 3) => 6,
        (0, 2) => 7,
        (0, 3) => 8,
        (3, 0) => 9,
        (2, 0) => 10,
        (1, 0) => 11,
        (0, 0) => 12,
        // PRFM: offset forms alone.
        (3, 2) => {
            return match mode {
                Mode::Imm(_) | Mode::Reg => Some(Op::new(Kind::Nop)),
                _ => None,
            };
        }
        _ => return None,
    };
    use Kind::*;
    const IMM: [Kind; 13] =
        [LdrX, LdrW, LdrH, LdrB, LdrSw, LdrSh64, LdrSh32, LdrSb64, LdrSb32, StrX, StrW, StrH, StrB];
    const PRE: [Kind; 13] = [
        LdrXPre, LdrWPre, LdrHPre, LdrBPre, LdrSwPre, LdrSh64Pre, LdrSh32Pre, LdrSb64Pre, LdrSb32Pre,
        StrXPre, StrWPre, StrHPre, StrBPre,
    ];
    const POST: [Kind; 13] = [
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
    ];
    const REG: [Kind; 13] = [
        LdrXReg, LdrWReg, LdrHReg, LdrBReg, LdrSwReg, LdrSh64Reg, LdrSh32Reg, LdrSb64Reg, LdrSb32Reg,
        StrXReg, StrWReg, StrHReg, StrBReg,
    ];
    const EXT: [Kind; 13] = [
        LdrXExt, LdrWExt, LdrHExt, LdrBExt, LdrSwExt, LdrSh64Ext, LdrSh32Ext, LdrSb64Ext, LdrSb32Ext,
        StrXExt, StrWExt, StrHExt, StrBExt,
    ];
    let d = if opc == 0 { source(word, 0) } else { dest(word, 0) };
    let op = Op { d, n: or_sp(word, 5), ..Op::new(Nop) };
    Some(match mode {
        Mode::Imm(imm) => Op { imm, kind: IMM[row], ..op },
        Mode::Pre(imm) => Op { imm, kind: PRE[row], ..op },
        Mode::Post(imm) => Op { imm, kind: POST[row], ..op },
        Mode::Reg => {
            let option = bits(word, 15, 13) as u8;
            let kind = if option == 0b011 || option == 0b111 { REG[row] } else { EXT[row] };
            let s = if bit(word, 12) { size as u8 } else { 0 };
            Op { m: source(word, 16), s, t: option, kind, ..op }
        }
    })
}

fn vector_register(word: u32, mode: Mode) -> Option<Op> {
    let s = vector_scale(word)? as u8;
    let load = bit(word, 22);
    let op = Op { d: bits(word, 4, 0) as u8, n: or_sp(word, 5), s, ..Op::new(Kind::Nop) };
    let any = if load { Kind::LdrVec } else { Kind::StrVec };
    Some(match mode {
        Mode::Imm(imm) => {
            let kind = match (s, load) {
                (4, true) => Kind::LdrVecQ,
                (4, false) => Kind::StrVecQ,
                (3, true) => Kind::LdrVecD,
                (3, false) => Kind::StrVecD,
                _ => any,
            };
            Op { imm, t: OFFSET, kind, ..op }
        }
        Mode::Pre(imm) => Op { imm, t: PRE, kind: any, ..op },
        Mode::Post(imm) => Op { imm, t: POST, kind: any, ..op },
        Mode::Reg => Op {
            m: source(word, 16),
            t: bits(word, 15, 13) as u8,
            a: if bit(word, 12) { s } else { 0 },
            kind: if load { Kind::LdrVecExt } else { Kind::StrVecExt },
            ..op
        },
    })
}

fn unprivileged(word: u32, imm: u64) -> Option<Op> {
    if bit(word, 26) {
        return None;
    }
    let (size, opc) = (bits(word, 31, 30), bits(word, 23, 22));
    let n = or_sp(word, 5);
    let t = match (size, opc) {
        (_, 0) => {
            return Some(Op { d: source(word, 0), n, s: size as u8, imm, ..Op::new(Kind::Sttr) });
        }
        (_, 1) => 0,
        (0..=2, 2) => 1,
        (0..=1, 3) => 3,
        _ => return None,
    };
    Some(Op { d: dest(word, 0), n, s: size as u8, t, imm, ..Op::new(Kind::Ldtr) })
}

/// LSE atomics: LDADD, LDCLR, LDEOR, LDSET, LDSMAX, LDSMIN, LDUMAX, LDUMIN, SWP.
fn atomic(word: u32) -> Option<Op> {
    if bit(word, 26) {
        return None;
    }
    let operation = bits(word, 15, 12);
    if operation > 0b1000 {
        // LDAPR is FEAT_LRCPC, LD64B FEAT_LS64.
        return None;
    }
    Some(Op {
        d: dest(word, 0),
        n: or_sp(word, 5),
        m: source(word, 16),
        s: bits(word, 31, 30) as u8,
        t: operation as u8,
        ..Op::new(Kind::Atomic)
    })
}
