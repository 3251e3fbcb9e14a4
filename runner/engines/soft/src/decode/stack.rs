//! What an operation does with the stack pointer, for the SP alignment check
//! (Arm ARM D1.3.8.2): a load or store whose base is SP faults if SP is not
//! 16-byte aligned. So that execution need not ask at every access, a block
//! ends where SP may lose or gain its alignment.

use super::{POST, PRE};
use crate::{
    op::{Kind, Op},
    regs::SP,
};

/// Required alignment of SP in bytes.
pub const SP_ALIGNMENT: u64 = 16;

/// Whether the operation is a load or store whose base register is SP.
pub fn accesses_through_sp(op: &Op) -> bool {
    match op.kind {
        Kind::VecStructure | Kind::VecElement => op.word() >> 5 & 31 == 31,
        _ => is_memory(op.kind) && usize::from(op.n) == SP,
    }
}

/// Whether SP's alignment may be another one after the operation.
pub fn may_realign_sp(op: &Op) -> bool {
    let keeps = op.imm.is_multiple_of(SP_ALIGNMENT);
    match op.kind {
        // Their fields hold the word.
        Kind::Vector => false,
        Kind::VecStructure | Kind::VecElement => accesses_through_sp(op) && op.word() >> 23 & 1 != 0,
        Kind::AddImm64 | Kind::SubImm64 if usize::from(op.n) == SP => usize::from(op.d) == SP && !keeps,
        kind if is_memory(kind) => usize::from(op.n) == SP && writes_back(op) && !keeps,
        _ => usize::from(op.d) == SP,
    }
}

fn is_memory(kind: Kind) -> bool {
    use Kind::*;
    let kind = kind as u16;
    (LdrX as u16..LdrXLit as u16).contains(&kind)
        || (Ldtr as u16..LdrVecLit as u16).contains(&kind)
        || (LdpVec as u16..=StpVec as u16).contains(&kind)
        || (Ldxr as u16..=Atomic as u16).contains(&kind)
}

fn writes_back(op: &Op) -> bool {
    use Kind::*;
    match op.kind {
        LdpX | LdpW | Ldpsw | StpX | StpW | LdrVec | StrVec | LdpVec | StpVec => matches!(op.t, PRE | POST),
        kind => (LdrXPre as u16..LdrXReg as u16).contains(&(kind as u16)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;

    #[test]
    fn which_words_use_and_move_the_stack_pointer() {
        // Encodings by hand (Arm ARM C6.2): word, accesses through SP, may realign.
        for (word, accesses, moves) in [
            (0xf940_03e0, true, false),  // ldr x0, [sp]
            (0xf940_0020, false, false), // ldr x0, [x1]
            (0xa9bf_7bfd, true, false),  // stp x29, x30, [sp, #-16]!
            (0xf81f_8fe0, true, true),   // str x0, [sp, #-8]!
            (0xf840_87e0, true, true),   // ldr x0, [sp], #8
            (0xd100_83ff, false, false), // sub sp, sp, #32
            (0xd100_23ff, false, true),  // sub sp, sp, #8
            (0x9100_001f, false, true),  // mov sp, x0
            (0x9100_03e0, false, false), // mov x0, sp
            (0x4cdf_7fe0, true, true),   // ld1 {v0.2d}, [sp], #16
            (0x4c40_7c00, false, false), // ld1 {v0.2d}, [x0]
            (0xadbf_07e0, true, false),  // stp q0, q1, [sp, #-32]!
            (0x4e21_1c00, false, false), // and v0.16b, v0.16b, v1.16b
        ] {
            let op = decode(word);
            assert_eq!((accesses_through_sp(&op), may_realign_sp(&op)), (accesses, moves), "{word:#x}");
        }
    }
}
