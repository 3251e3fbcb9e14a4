//! Any word decodes, the same each time, to an operation whose fields can be used as they are.

use engine_soft::decode::decode;
use engine_soft::op::{Kind, Op};
use engine_soft::regs::SP;
use engine_soft::simd;

/// Decodes each word of `data`.
pub fn run(data: &[u8]) {
    for bytes in data.chunks_exact(4) {
        check(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
    }
}

fn check(word: u32) {
    let op = decode(word);
    let again = decode(word);
    let fields = |op: &Op| (op.kind, [op.d, op.n, op.m, op.a, op.s, op.t], op.imm);
    assert_eq!(fields(&op), fields(&again), "{word:08x}");
    match op.kind {
        Kind::Undefined => {
            assert_eq!(op.imm, u64::from(word));
            assert!(simd::decode(word).is_none(), "{word:08x}");
        }
        // Its fields are the word.
        Kind::Vector => {
            assert_eq!(op.word(), word);
            assert_eq!(Some(op.handler() as usize), simd::decode(word).map(|handler| handler as usize));
            assert!(simd::mnemonic(word).is_some());
        }
        _ if op.word() == word => {}
        _ => {
            for register in [op.d, op.n, op.m] {
                assert!(usize::from(register) <= SP, "{word:08x} is {op:?}");
            }
        }
    }
}
