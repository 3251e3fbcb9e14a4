//! One operation: what each instruction does.

use std::sync::atomic::{Ordering, fence};

use machine::engine::Exit;

use super::alu::{
    add_with_carry32, add_with_carry64, crc32, extend, holds, logic_flags32, logic_flags64, shift32, shift64,
};
use crate::{
    access::Access,
    core::{Abandoned, Core, Event, Maintenance, class},
    mmu::tlb::AS_EL0,
    op::{Kind, Op, compare},
    regs::nzcv,
    sysreg::sctlr_el0,
};

/// Where control goes after an operation.
pub(super) enum Flow {
    /// To the next operation of the block.
    Next,
    /// To a fixed target.
    Taken(u64),
    /// Past a branch that is not taken.
    NotTaken,
    /// To a target that may be anywhere.
    Indirect(u64),
    /// To the next instruction, looked up anew.
    Synchronise,
    /// To an exception whose return address is the next instruction; the event says which.
    Exception,
    /// The PC is set already (ERET).
    Returned,
    /// Nowhere: the instruction did not complete; the event says why.
    Abandoned,
}

impl From<Result<(), Abandoned>> for Flow {
    #[inline(always)]
    fn from(result: Result<(), Abandoned>) -> Self {
        match result {
            Ok(()) => Flow::Next,
            Err(Abandoned) => Flow::Abandoned,
        }
    }
}

/// The value, or the end of this operation.
macro_rules! attempt {
    ($result:expr) => {
        match $result {
            Ok(value) => value,
            Err(Abandoned) => return Flow::Abandoned,
        }
    };
}

/// Executes `op`, which is at address `pc()`.
#[inline(always)]
pub(super) fn execute(core: &mut Core, op: &Op, pc: impl Fn() -> u64) -> Flow {
    macro_rules! x {
        ($field:ident) => {
            core.regs.x[usize::from(op.$field)]
        };
    }
    macro_rules! w {
        ($field:ident) => {
            core.regs.x[usize::from(op.$field)] as u32
        };
    }
    macro_rules! set {
        ($value:expr) => {{
            let value = $value;
            core.regs.x[usize::from(op.d)] = value;
            Flow::Next
        }};
    }
    macro_rules! set32 {
        ($value:expr) => {
            set!(u64::from($value))
        };
    }
    macro_rules! set_flags {
        ($pair:expr) => {{
            let (value, flags) = $pair;
            core.regs.nzcv = flags;
            core.regs.x[usize::from(op.d)] = value;
            Flow::Next
        }};
    }
    macro_rules! branch_if {
        ($condition:expr) => {
            if $condition { Flow::Taken(pc().wrapping_add(op.imm)) } else { Flow::NotTaken }
        };
    }
    // Addresses of the single-register loads and stores.
    macro_rules! offset {
        () => {
            x!(n).wrapping_add(op.imm)
        };
    }
    macro_rules! scaled {
        () => {
            x!(n).wrapping_add(x!(m) << op.s)
        };
    }
    macro_rules! extended {
        () => {
            x!(n).wrapping_add(extend(x!(m), op.t) << op.s)
        };
    }
    macro_rules! load {
        ($type:ty, $via:ty, $out:ty, $va:expr) => {{
            let va = $va;
            let value = attempt!(core.load_value::<$type>(va));
            set!(value as $via as $out as u64)
        }};
    }
    macro_rules! load_pre {
        ($type:ty, $via:ty, $out:ty) => {{
            let va = offset!();
            let value = attempt!(core.load_value::<$type>(va));
            core.regs.x[usize::from(op.n)] = va;
            set!(value as $via as $out as u64)
        }};
    }
    macro_rules! load_post {
        ($type:ty, $via:ty, $out:ty) => {{
            let va = x!(n);
            let value = attempt!(core.load_value::<$type>(va));
            core.regs.x[usize::from(op.n)] = va.wrapping_add(op.imm);
            set!(value as $via as $out as u64)
        }};
    }
    macro_rules! store {
        ($type:ty, $va:expr) => {{
            let va = $va;
            let value = x!(d) as $type;
            Flow::from(core.store_value::<$type>(va, value))
        }};
    }
    macro_rules! store_pre {
        ($type:ty) => {{
            let va = offset!();
            let value = x!(d) as $type;
            attempt!(core.store_value::<$type>(va, value));
            core.regs.x[usize::from(op.n)] = va;
            Flow::Next
        }};
    }
    macro_rules! store_post {
        ($type:ty) => {{
            let va = x!(n);
            let value = x!(d) as $type;
            attempt!(core.store_value::<$type>(va, value));
            core.regs.x[usize::from(op.n)] = va.wrapping_add(op.imm);
            Flow::Next
        }};
    }
    macro_rules! vector {
        ($action:expr) => {{
            if core.fp_trapped {
                core.trap_fp();
                return Flow::Abandoned;
            }
            $action
        }};
    }

    match op.kind {
        Kind::Undefined => undefined(core, op.imm as u32, pc()),

        Kind::Const => set!(op.imm),
        Kind::Adr => set!(pc().wrapping_add(op.imm)),
        Kind::Adrp => set!((pc() & !0xfff).wrapping_add(op.imm)),
        Kind::Movk64 => set!((x!(n) & !(0xffffu64 << op.s)) | op.imm),
        Kind::Movk32 => set!((x!(n) & 0xffff_ffff & !(0xffffu64 << op.s)) | op.imm),

        Kind::AddImm64 => set!(x!(n).wrapping_add(op.imm)),
        Kind::AddImm32 => set32!(w!(n).wrapping_add(op.imm as u32)),
        Kind::SubImm64 => set!(x!(n).wrapping_sub(op.imm)),
        Kind::SubImm32 => set32!(w!(n).wrapping_sub(op.imm as u32)),
        Kind::AddsImm64 => set_flags!(add_with_carry64(x!(n), op.imm, false)),
        Kind::AddsImm32 => set_flags!(add_with_carry32(w!(n), op.imm as u32, false)),
        Kind::SubsImm64 => set_flags!(add_with_carry64(x!(n), !op.imm, true)),
        Kind::SubsImm32 => set_flags!(add_with_carry32(w!(n), !(op.imm as u32), true)),
        Kind::AndImm64 => set!(x!(n) & op.imm),
        Kind::AndImm32 => set!(x!(n) & op.imm),
        Kind::OrrImm64 => set!(x!(n) | op.imm),
        Kind::OrrImm32 => set32!(w!(n) | op.imm as u32),
        Kind::EorImm64 => set!(x!(n) ^ op.imm),
        Kind::EorImm32 => set32!(w!(n) ^ op.imm as u32),
        Kind::AndsImm64 => {
            let value = x!(n) & op.imm;
            set_flags!((value, logic_flags64(value)))
        }
        Kind::AndsImm32 => {
            let value = w!(n) & op.imm as u32;
            set_flags!((u64::from(value), logic_flags32(value)))
        }

        Kind::Ubfx => set!((x!(n) >> op.s) & op.imm),
        Kind::Ubfiz => set!((x!(n) & op.imm) << op.s),
        Kind::Sbf64 => set!(((x!(n) << op.t) as i64 >> op.s) as u64),
        Kind::Sbf32 => set32!(((x!(n) << op.t) as i64 >> op.s) as u32),
        Kind::Bfi64 => set!((x!(a) & !op.imm) | ((x!(n) << op.s) & op.imm)),
        Kind::Bfi32 => set32!(((x!(a) & !op.imm) | ((x!(n) << op.s) & op.imm)) as u32),
        Kind::Bfxil64 => set!((x!(a) & !op.imm) | ((x!(n) >> op.s) & op.imm)),
        Kind::Bfxil32 => set32!(((x!(a) & !op.imm) | ((x!(n) >> op.s) & op.imm)) as u32),
        Kind::Extr64 => {
            let both = u128::from(x!(m)) | (u128::from(x!(n)) << 64);
            set!((both >> op.s) as u64)
        }
        Kind::Extr32 => {
            let both = u64::from(w!(m)) | (u64::from(w!(n)) << 32);
            set32!((both >> op.s) as u32)
        }

        Kind::MovReg64 => set!(x!(m)),
        Kind::MovReg32 => set32!(w!(m)),
        Kind::And64 => set!(x!(n) & x!(m)),
        Kind::And32 => set32!(w!(n) & w!(m)),
        Kind::Orr64 => set!(x!(n) | x!(m)),
        Kind::Orr32 => set32!(w!(n) | w!(m)),
        Kind::Eor64 => set!(x!(n) ^ x!(m)),
        Kind::Eor32 => set32!(w!(n) ^ w!(m)),
        Kind::Ands64 => {
            let value = x!(n) & x!(m);
            set_flags!((value, logic_flags64(value)))
        }
        Kind::Ands32 => {
            let value = w!(n) & w!(m);
            set_flags!((u64::from(value), logic_flags32(value)))
        }
        Kind::Add64 => set!(x!(n).wrapping_add(x!(m))),
        Kind::Add32 => set32!(w!(n).wrapping_add(w!(m))),
        Kind::Sub64 => set!(x!(n).wrapping_sub(x!(m))),
        Kind::Sub32 => set32!(w!(n).wrapping_sub(w!(m))),
        Kind::Adds64 => set_flags!(add_with_carry64(x!(n), x!(m), false)),
        Kind::Adds32 => set_flags!(add_with_carry32(w!(n), w!(m), false)),
        Kind::Subs64 => set_flags!(add_with_carry64(x!(n), !x!(m), true)),
        Kind::Subs32 => set_flags!(add_with_carry32(w!(n), !w!(m), true)),
        Kind::AddLsl64 => set!(x!(n).wrapping_add(x!(m) << op.s)),
        Kind::SubLsl64 => set!(x!(n).wrapping_sub(x!(m) << op.s)),
        Kind::LogicalShift64 => {
            let second = shift64(x!(m), op.t, op.s);
            let (value, flags) = logical(op.imm, x!(n), second);
            if flags {
                core.regs.nzcv = logic_flags64(value);
            }
            set!(value)
        }
        Kind::LogicalShift32 => {
            let second = shift32(w!(m), op.t, op.s);
            let (value, flags) = logical(op.imm, x!(n), u64::from(second));
            let value = value as u32;
            if flags {
                core.regs.nzcv = logic_flags32(value);
            }
            set32!(value)
        }
        Kind::AddSubShift64 => {
            let second = shift64(x!(m), op.t, op.s);
            set!(add_sub64(core, op.imm, x!(n), second))
        }
        Kind::AddSubShift32 => {
            let second = shift32(w!(m), op.t, op.s);
            set!(add_sub32(core, op.imm, w!(n), second))
        }
        Kind::AddSubExt64 => {
            let second = extend(x!(m), op.t) << op.s;
            set!(add_sub64(core, op.imm, x!(n), second))
        }
        Kind::AddSubExt32 => {
            let second = (extend(x!(m), op.t) << op.s) as u32;
            set!(add_sub32(core, op.imm, w!(n), second))
        }
        Kind::AdcSbc64 => {
            let second = if op.imm & 2 != 0 { !x!(m) } else { x!(m) };
            let (value, flags) = add_with_carry64(x!(n), second, core.regs.nzcv & nzcv::C != 0);
            if op.imm & 1 != 0 {
                core.regs.nzcv = flags;
            }
            set!(value)
        }
        Kind::AdcSbc32 => {
            let second = if op.imm & 2 != 0 { !w!(m) } else { w!(m) };
            let (value, flags) = add_with_carry32(w!(n), second, core.regs.nzcv & nzcv::C != 0);
            if op.imm & 1 != 0 {
                core.regs.nzcv = flags;
            }
            set!(value)
        }

        Kind::Csel64 => set!(if holds(core.regs.nzcv, op.s) { x!(n) } else { x!(m) }),
        Kind::Csel32 => set32!(if holds(core.regs.nzcv, op.s) { w!(n) } else { w!(m) }),
        Kind::Csinc64 => set!(if holds(core.regs.nzcv, op.s) { x!(n) } else { x!(m).wrapping_add(1) }),
        Kind::Csinc32 => set32!(if holds(core.regs.nzcv, op.s) { w!(n) } else { w!(m).wrapping_add(1) }),
        Kind::Csinv64 => set!(if holds(core.regs.nzcv, op.s) { x!(n) } else { !x!(m) }),
        Kind::Csinv32 => set32!(if holds(core.regs.nzcv, op.s) { w!(n) } else { !w!(m) }),
        Kind::Csneg64 => set!(if holds(core.regs.nzcv, op.s) { x!(n) } else { x!(m).wrapping_neg() }),
        Kind::Csneg32 => set32!(if holds(core.regs.nzcv, op.s) { w!(n) } else { w!(m).wrapping_neg() }),
        Kind::CondCompare => {
            core.regs.nzcv = if holds(core.regs.nzcv, op.s) {
                let second = if op.t & compare::IMMEDIATE != 0 { op.imm } else { x!(m) };
                let subtract = op.t & compare::SUBTRACT != 0;
                let second = if subtract { !second } else { second };
                if op.t & compare::WIDE != 0 {
                    add_with_carry64(x!(n), second, subtract).1
                } else {
                    add_with_carry32(w!(n), second as u32, subtract).1
                }
            } else {
                u32::from(op.a) << 28
            };
            Flow::Next
        }

        Kind::Udiv64 => set!(x!(n).checked_div(x!(m)).unwrap_or(0)),
        Kind::Udiv32 => set32!(w!(n).checked_div(w!(m)).unwrap_or(0)),
        Kind::Sdiv64 => {
            let divisor = x!(m) as i64;
            set!(if divisor == 0 { 0 } else { (x!(n) as i64).wrapping_div(divisor) as u64 })
        }
        Kind::Sdiv32 => {
            let divisor = w!(m) as i32;
            set32!(if divisor == 0 { 0 } else { (w!(n) as i32).wrapping_div(divisor) as u32 })
        }
        Kind::Lslv64 => set!(x!(n) << (x!(m) & 63)),
        Kind::Lslv32 => set32!(w!(n) << (x!(m) & 31)),
        Kind::Lsrv64 => set!(x!(n) >> (x!(m) & 63)),
        Kind::Lsrv32 => set32!(w!(n) >> (x!(m) & 31)),
        Kind::Asrv64 => set!((x!(n) as i64 >> (x!(m) & 63)) as u64),
        Kind::Asrv32 => set32!((w!(n) as i32 >> (x!(m) & 31)) as u32),
        Kind::Rorv64 => set!(x!(n).rotate_right((x!(m) & 63) as u32)),
        Kind::Rorv32 => set32!(w!(n).rotate_right((x!(m) & 31) as u32)),
        Kind::Crc32 => set32!(crc32(w!(n), x!(m), 1 << op.s, op.t != 0)),
        Kind::Rbit64 => set!(x!(n).reverse_bits()),
        Kind::Rbit32 => set32!(w!(n).reverse_bits()),
        Kind::Rev16x64 => {
            let n = x!(n);
            set!((n >> 8 & 0x00ff_00ff_00ff_00ff) | (n & 0x00ff_00ff_00ff_00ff) << 8)
        }
        Kind::Rev16x32 => {
            let n = w!(n);
            set32!((n >> 8 & 0x00ff_00ff) | (n & 0x00ff_00ff) << 8)
        }
        Kind::Rev32x64 => set!(x!(n).swap_bytes().rotate_left(32)),
        Kind::Rev32 => set32!(w!(n).swap_bytes()),
        Kind::Rev64 => set!(x!(n).swap_bytes()),
        Kind::Clz64 => set32!(x!(n).leading_zeros()),
        Kind::Clz32 => set32!(w!(n).leading_zeros()),
        Kind::Cls64 => {
            let n = x!(n) as i64;
            set32!((n ^ (n >> 1)).leading_zeros() - 1)
        }
        Kind::Cls32 => {
            let n = w!(n) as i32;
            set32!((n ^ (n >> 1)).leading_zeros() - 1)
        }
        Kind::Madd64 => set!(x!(a).wrapping_add(x!(n).wrapping_mul(x!(m)))),
        Kind::Madd32 => set32!(w!(a).wrapping_add(w!(n).wrapping_mul(w!(m)))),
        Kind::Msub64 => set!(x!(a).wrapping_sub(x!(n).wrapping_mul(x!(m)))),
        Kind::Msub32 => set32!(w!(a).wrapping_sub(w!(n).wrapping_mul(w!(m)))),
        Kind::Smaddl => set!(x!(a).wrapping_add((i64::from(w!(n) as i32) * i64::from(w!(m) as i32)) as u64)),
        Kind::Smsubl => set!(x!(a).wrapping_sub((i64::from(w!(n) as i32) * i64::from(w!(m) as i32)) as u64)),
        Kind::Umaddl => set!(x!(a).wrapping_add(u64::from(w!(n)) * u64::from(w!(m)))),
        Kind::Umsubl => set!(x!(a).wrapping_sub(u64::from(w!(n)) * u64::from(w!(m)))),
        Kind::Smulh => set!(((i128::from(x!(n) as i64) * i128::from(x!(m) as i64)) >> 64) as u64),
        Kind::Umulh => set!(((u128::from(x!(n)) * u128::from(x!(m))) >> 64) as u64),

        Kind::B => Flow::Taken(pc().wrapping_add(op.imm)),
        Kind::Bl => {
            core.regs.x[30] = pc().wrapping_add(4);
            Flow::Taken(pc().wrapping_add(op.imm))
        }
        Kind::Bcond => branch_if!(holds(core.regs.nzcv, op.s)),
        Kind::Cbz64 => branch_if!(x!(n) == 0),
        Kind::Cbz32 => branch_if!(w!(n) == 0),
        Kind::Cbnz64 => branch_if!(x!(n) != 0),
        Kind::Cbnz32 => branch_if!(w!(n) != 0),
        Kind::Tbz => branch_if!(x!(n) >> op.s & 1 == 0),
        Kind::Tbnz => branch_if!(x!(n) >> op.s & 1 != 0),
        Kind::Br | Kind::Ret => Flow::Indirect(x!(n)),
        Kind::Blr => {
            let target = x!(n);
            core.regs.x[30] = pc().wrapping_add(4);
            Flow::Indirect(target)
        }

        Kind::Svc => {
            core.raise(class::SVC, op.imm as u32, None);
            Flow::Exception
        }
        Kind::Brk => {
            core.raise(class::BRK, op.imm as u32, None);
            Flow::Abandoned
        }
        Kind::Hvc => hypercall(core),
        // There is no EL3.
        Kind::Smc => {
            core.undefined();
            Flow::Abandoned
        }
        Kind::Eret if core.el0 => {
            core.undefined();
            Flow::Abandoned
        }
        Kind::Eret => {
            core.exception_return();
            Flow::Returned
        }
        Kind::Nop | Kind::Sev => Flow::Next,
        Kind::Wfi => wait(core, false),
        Kind::Wfe => wait(core, true),
        Kind::Isb => Flow::Synchronise,
        Kind::Dmb => {
            fence(Ordering::SeqCst);
            Flow::Next
        }
        Kind::Dsb => {
            fence(Ordering::SeqCst);
            if core.unsynchronised {
                core.maintenance.push(Maintenance::Barrier);
                return Flow::Synchronise;
            }
            Flow::Next
        }
        Kind::Clrex => {
            core.monitor = None;
            Flow::Next
        }
        Kind::MsrImm => {
            attempt!(core.write_pstate_field(op.imm as u16, op.s));
            Flow::Synchronise
        }
        Kind::Mrs => {
            let value = attempt!(core.read_register(op.imm as u16, field(op.d), pc()));
            set!(value)
        }
        Kind::Msr => {
            let value = x!(d);
            attempt!(core.write_register(op.imm as u16, value, field(op.d), pc()));
            Flow::Synchronise
        }
        Kind::Sys => {
            let value = x!(d);
            attempt!(core.system_instruction(op.imm as u16, value, field(op.d), pc()));
            Flow::Synchronise
        }

        Kind::LdrX => load!(u64, u64, u64, offset!()),
        Kind::LdrW => load!(u32, u32, u64, offset!()),
        Kind::LdrH => load!(u16, u16, u64, offset!()),
        Kind::LdrB => load!(u8, u8, u64, offset!()),
        Kind::LdrSw => load!(u32, i32, i64, offset!()),
        Kind::LdrSh64 => load!(u16, i16, i64, offset!()),
        Kind::LdrSh32 => load!(u16, i16, u32, offset!()),
        Kind::LdrSb64 => load!(u8, i8, i64, offset!()),
        Kind::LdrSb32 => load!(u8, i8, u32, offset!()),
        Kind::StrX => store!(u64, offset!()),
        Kind::StrW => store!(u32, offset!()),
        Kind::StrH => store!(u16, offset!()),
        Kind::StrB => store!(u8, offset!()),
        Kind::LdrXPre => load_pre!(u64, u64, u64),
        Kind::LdrWPre => load_pre!(u32, u32, u64),
        Kind::LdrHPre => load_pre!(u16, u16, u64),
        Kind::LdrBPre => load_pre!(u8, u8, u64),
        Kind::LdrSwPre => load_pre!(u32, i32, i64),
        Kind::LdrSh64Pre => load_pre!(u16, i16, i64),
        Kind::LdrSh32Pre => load_pre!(u16, i16, u32),
        Kind::LdrSb64Pre => load_pre!(u8, i8, i64),
        Kind::LdrSb32Pre => load_pre!(u8, i8, u32),
        Kind::StrXPre => store_pre!(u64),
        Kind::StrWPre => store_pre!(u32),
        Kind::StrHPre => store_pre!(u16),
        Kind::StrBPre => store_pre!(u8),
        Kind::LdrXPost => load_post!(u64, u64, u64),
        Kind::LdrWPost => load_post!(u32, u32, u64),
        Kind::LdrHPost => load_post!(u16, u16, u64),
        Kind::LdrBPost => load_post!(u8, u8, u64),
        Kind::LdrSwPost => load_post!(u32, i32, i64),
        Kind::LdrSh64Post => load_post!(u16, i16, i64),
        Kind::LdrSh32Post => load_post!(u16, i16, u32),
        Kind::LdrSb64Post => load_post!(u8, i8, i64),
        Kind::LdrSb32Post => load_post!(u8, i8, u32),
        Kind::StrXPost => store_post!(u64),
        Kind::StrWPost => store_post!(u32),
        Kind::StrHPost => store_post!(u16),
        Kind::StrBPost => store_post!(u8),
        Kind::LdrXReg => load!(u64, u64, u64, scaled!()),
        Kind::LdrWReg => load!(u32, u32, u64, scaled!()),
        Kind::LdrHReg => load!(u16, u16, u64, scaled!()),
        Kind::LdrBReg => load!(u8, u8, u64, scaled!()),
        Kind::LdrSwReg => load!(u32, i32, i64, scaled!()),
        Kind::LdrSh64Reg => load!(u16, i16, i64, scaled!()),
        Kind::LdrSh32Reg => load!(u16, i16, u32, scaled!()),
        Kind::LdrSb64Reg => load!(u8, i8, i64, scaled!()),
        Kind::LdrSb32Reg => load!(u8, i8, u32, scaled!()),
        Kind::StrXReg => store!(u64, scaled!()),
        Kind::StrWReg => store!(u32, scaled!()),
        Kind::StrHReg => store!(u16, scaled!()),
        Kind::StrBReg => store!(u8, scaled!()),
        Kind::LdrXExt => load!(u64, u64, u64, extended!()),
        Kind::LdrWExt => load!(u32, u32, u64, extended!()),
        Kind::LdrHExt => load!(u16, u16, u64, extended!()),
        Kind::LdrBExt => load!(u8, u8, u64, extended!()),
        Kind::LdrSwExt => load!(u32, i32, i64, extended!()),
        Kind::LdrSh64Ext => load!(u16, i16, i64, extended!()),
        Kind::LdrSh32Ext => load!(u16, i16, u32, extended!()),
        Kind::LdrSb64Ext => load!(u8, i8, i64, extended!()),
        Kind::LdrSb32Ext => load!(u8, i8, u32, extended!()),
        Kind::StrXExt => store!(u64, extended!()),
        Kind::StrWExt => store!(u32, extended!()),
        Kind::StrHExt => store!(u16, extended!()),
        Kind::StrBExt => store!(u8, extended!()),
        Kind::LdrXLit => load!(u64, u64, u64, pc().wrapping_add(op.imm)),
        Kind::LdrWLit => load!(u32, u32, u64, pc().wrapping_add(op.imm)),
        Kind::LdrSwLit => load!(u32, i32, i64, pc().wrapping_add(op.imm)),
        Kind::Ldtr => Flow::from(load_unprivileged(core, op)),
        Kind::Sttr => Flow::from(store_unprivileged(core, op)),

        Kind::LdpX => {
            let (va, after) = pair_address(core, op);
            let first = attempt!(core.load_value::<u64>(va));
            let second = attempt!(core.load_value::<u64>(va.wrapping_add(8)));
            core.regs.x[usize::from(op.n)] = after;
            core.regs.x[usize::from(op.a)] = second;
            set!(first)
        }
        Kind::LdpW => {
            let (va, after) = pair_address(core, op);
            let first = attempt!(core.load_value::<u32>(va));
            let second = attempt!(core.load_value::<u32>(va.wrapping_add(4)));
            core.regs.x[usize::from(op.n)] = after;
            core.regs.x[usize::from(op.a)] = u64::from(second);
            set32!(first)
        }
        Kind::Ldpsw => {
            let (va, after) = pair_address(core, op);
            let first = attempt!(core.load_value::<u32>(va));
            let second = attempt!(core.load_value::<u32>(va.wrapping_add(4)));
            core.regs.x[usize::from(op.n)] = after;
            core.regs.x[usize::from(op.a)] = second as i32 as u64;
            set!(first as i32 as u64)
        }
        Kind::StpX => {
            let (va, after) = pair_address(core, op);
            let pair = u128::from(x!(d)) | (u128::from(x!(a)) << 64);
            attempt!(core.store_value::<u128>(va, pair));
            core.regs.x[usize::from(op.n)] = after;
            Flow::Next
        }
        Kind::StpW => {
            let (va, after) = pair_address(core, op);
            attempt!(core.store_words(va, w!(d), w!(a)));
            core.regs.x[usize::from(op.n)] = after;
            Flow::Next
        }

        Kind::LdrVecQ => vector!({
            let va = offset!();
            let value = attempt!(core.load_value::<u128>(va));
            core.regs.v[usize::from(op.d & 31)] = value;
            Flow::Next
        }),
        Kind::StrVecQ => vector!({
            let va = offset!();
            let value = core.regs.v[usize::from(op.d & 31)];
            Flow::from(core.store_value::<u128>(va, value))
        }),
        Kind::LdrVecD => vector!({
            let va = offset!();
            let value = attempt!(core.load_value::<u64>(va));
            core.regs.v[usize::from(op.d & 31)] = u128::from(value);
            Flow::Next
        }),
        Kind::StrVecD => vector!({
            let va = offset!();
            let value = core.regs.v[usize::from(op.d & 31)] as u64;
            Flow::from(core.store_value::<u64>(va, value))
        }),
        Kind::LdrVec | Kind::StrVec | Kind::LdrVecExt | Kind::StrVecExt | Kind::LdrVecLit => {
            vector!(Flow::from(core.vector_single(op, pc())))
        }
        Kind::LdpVec | Kind::StpVec => vector!(Flow::from(core.vector_pair(op))),
        Kind::VecStructure => vector!(Flow::from(core.vector_structures(op.word()))),
        Kind::VecElement => vector!(Flow::from(core.vector_elements(op.word()))),

        Kind::Ldxr => Flow::from(core.load_exclusive(op)),
        Kind::Stxr => Flow::from(core.store_exclusive(op)),
        Kind::Ldxp => Flow::from(core.load_exclusive_pair(op)),
        Kind::Stxp => Flow::from(core.store_exclusive_pair(op)),
        Kind::Ldar => Flow::from(core.load_acquire(op)),
        Kind::Stlr => Flow::from(core.store_release(op)),
        Kind::Cas => Flow::from(core.compare_and_swap(op)),
        Kind::Casp => Flow::from(core.compare_and_swap_pair(op)),
        Kind::Atomic => Flow::from(core.atomic(op)),

        Kind::Vector => vector!({
            (op.handler())(&mut core.regs, op.word());
            Flow::Next
        }),
    }
}

/// The register field that index `d` was made from.
fn field(d: u8) -> u32 {
    u32::from(d).min(31)
}

/// Address of a pair, and what the base becomes: itself without write-back.
#[inline(always)]
fn pair_address(core: &Core, op: &Op) -> (u64, u64) {
    let base = core.regs.x[usize::from(op.n)];
    let sum = base.wrapping_add(op.imm);
    match op.t {
        crate::decode::OFFSET => (sum, base),
        crate::decode::PRE => (sum, sum),
        _ => (base, sum),
    }
}

/// AND, BIC, ORR, ORN, EOR, EON, ANDS, BICS by opc and N; whether flags are set.
#[inline(always)]
fn logical(opc_n: u64, first: u64, second: u64) -> (u64, bool) {
    let second = if opc_n & 1 != 0 { !second } else { second };
    match opc_n >> 1 {
        0 => (first & second, false),
        1 => (first | second, false),
        2 => (first ^ second, false),
        _ => (first & second, true),
    }
}

#[inline(always)]
fn add_sub64(core: &mut Core, flags_and_op: u64, first: u64, second: u64) -> u64 {
    let subtract = flags_and_op & 2 != 0;
    let (value, flags) = add_with_carry64(first, if subtract { !second } else { second }, subtract);
    if flags_and_op & 1 != 0 {
        core.regs.nzcv = flags;
    }
    value
}

#[inline(always)]
fn add_sub32(core: &mut Core, flags_and_op: u64, first: u32, second: u32) -> u64 {
    let subtract = flags_and_op & 2 != 0;
    let (value, flags) = add_with_carry32(first, if subtract { !second } else { second }, subtract);
    if flags_and_op & 1 != 0 {
        core.regs.nzcv = flags;
    }
    value
}

/// EL0 gets an exception, as on any processor. A kernel does not run into what
/// its processor has not, but for UDF (Arm ARM C6.2.412), so at EL1 the engine reports.
#[cold]
fn undefined(core: &mut Core, word: u32, pc: u64) -> Flow {
    if core.el0 || word >> 16 == 0 {
        core.undefined();
    } else {
        core.stop(pc, Some(word), "an instruction that this engine has not".to_owned());
    }
    Flow::Abandoned
}

/// HVC: the machine answers with X0.
#[cold]
fn hypercall(core: &mut Core) -> Flow {
    if core.el0 {
        core.undefined();
        return Flow::Abandoned;
    }
    match core.machine_answer() {
        Some(Some(value)) => {
            core.regs.x[0] = value;
            Flow::Synchronise
        }
        Some(None) => {
            core.undefined();
            Flow::Abandoned
        }
        None => {
            let x = &core.regs.x;
            let arguments = [x[0], x[1], x[2], x[3]];
            core.event = Some(Event::Exit(Exit::Hypercall(arguments)));
            Flow::Abandoned
        }
    }
}

/// WFI and WFE. A WFE ends the vCPU's turn: the event it waits for is another's doing.
#[cold]
fn wait(core: &mut Core, for_event: bool) -> Flow {
    let allowed = if for_event { sctlr_el0::NTWE } else { sctlr_el0::NTWI };
    if core.el0 && core.sys.sctlr_el1 & allowed == 0 {
        // CV set, COND 0b1110; TI tells the two apart (Arm ARM D24.2.40, ISS for EC 0x01).
        core.raise(class::WFX_TRAPPED, 0x01e0_0000 | u32::from(for_event), None);
        return Flow::Abandoned;
    }
    // Nor does it wait while it is stepped: it may complete at any time (Arm ARM D1.6), and the exception is due.
    if core.irq || core.is_stepping() {
        return Flow::Synchronise;
    }
    core.event = Some(Event::Exit(if for_event { Exit::WaitForEvent } else { Exit::WaitForInterrupt }));
    Flow::Exception
}

fn unprivileged(write: bool) -> Access {
    Access { who: AS_EL0, write, maintenance: false }
}

/// LDTR and its forms: as EL0 would (Arm ARM C6.2.218).
fn load_unprivileged(core: &mut Core, op: &Op) -> Result<(), Abandoned> {
    let va = core.regs.x[usize::from(op.n)].wrapping_add(op.imm);
    let size = 1usize << op.s;
    let value = core.load_slow(va, size, unprivileged(false))? as u64;
    let unused = 64 - 8 * size as u32;
    let value = if op.t & 1 != 0 { ((value << unused) as i64 >> unused) as u64 } else { value };
    core.regs.x[usize::from(op.d)] = if op.t & 2 != 0 { value & 0xffff_ffff } else { value };
    Ok(())
}

/// STTR and its forms.
fn store_unprivileged(core: &mut Core, op: &Op) -> Result<(), Abandoned> {
    let va = core.regs.x[usize::from(op.n)].wrapping_add(op.imm);
    let value = u128::from(core.regs.x[usize::from(op.d)]);
    core.store_slow(va, 1usize << op.s, value, unprivileged(true))
}
