//! Exclusive, acquire and release, and LSE atomic accesses (Arm ARM B2.12, C3.2.9 to C3.2.12).
//!
//! Atomics are the host's own, so they stay atomic between vCPUs on different
//! host threads.

use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use crate::{
    core::{Abandoned, Core, Monitor},
    op::Op,
};

mod host128;

/// Calls a macro with the atomic type and plain type of `size` bytes.
macro_rules! by_size {
    ($size:expr, $call:ident!($($args:tt)*)) => {
        match $size {
            1 => $call!(AtomicU8, u8, $($args)*),
            2 => $call!(AtomicU16, u16, $($args)*),
            4 => $call!(AtomicU32, u32, $($args)*),
            _ => $call!(AtomicU64, u64, $($args)*),
        }
    };
}

macro_rules! host_load {
    ($atomic:ty, $plain:ty, $ptr:expr) => {
        // SAFETY: the pointer is to guest memory that stays mapped, aligned by
        // atomic_place's check; all hosts' accesses to it are raw or atomic.
        u64::from(unsafe { <$atomic>::from_ptr($ptr.cast()) }.load(Ordering::SeqCst))
    };
}

macro_rules! host_swap_if {
    ($atomic:ty, $plain:ty, $ptr:expr, $old:expr, $new:expr) => {{
        // SAFETY: as in host_load.
        let place = unsafe { <$atomic>::from_ptr($ptr.cast()) };
        match place.compare_exchange($old as $plain, $new as $plain, Ordering::SeqCst, Ordering::SeqCst) {
            Ok(seen) | Err(seen) => u64::from(seen),
        }
    }};
}

macro_rules! host_update {
    ($atomic:ty, $plain:ty, $ptr:expr, $operation:expr, $operand:expr) => {{
        // SAFETY: as in host_load.
        let place = unsafe { <$atomic>::from_ptr($ptr.cast()) };
        let operand = $operand as $plain;
        type Signed = <$plain as SignedTwin>::Twin;
        u64::from(match $operation {
            0 => place.fetch_add(operand, Ordering::SeqCst),
            1 => place.fetch_and(!operand, Ordering::SeqCst),
            2 => place.fetch_xor(operand, Ordering::SeqCst),
            3 => place.fetch_or(operand, Ordering::SeqCst),
            4 | 5 => {
                let larger = $operation == 4;
                let pick = |old: $plain| {
                    let keep = if larger {
                        old as Signed >= operand as Signed
                    } else {
                        old as Signed <= operand as Signed
                    };
                    Some(if keep { old } else { operand })
                };
                match place.fetch_update(Ordering::SeqCst, Ordering::SeqCst, pick) {
                    Ok(old) | Err(old) => old,
                }
            }
            6 => place.fetch_max(operand, Ordering::SeqCst),
            7 => place.fetch_min(operand, Ordering::SeqCst),
            _ => place.swap(operand, Ordering::SeqCst),
        })
    }};
}

/// The signed type of the same width.
trait SignedTwin {
    type Twin;
}
impl SignedTwin for u8 {
    type Twin = i8;
}
impl SignedTwin for u16 {
    type Twin = i16;
}
impl SignedTwin for u32 {
    type Twin = i32;
}
impl SignedTwin for u64 {
    type Twin = i64;
}

impl Core {
    fn address(&self, op: &Op) -> u64 {
        self.regs.x[usize::from(op.n)]
    }

    fn open_monitor(&mut self, ptr: *mut u8, size: usize, value: u128) {
        self.monitor = Some(Monitor { address: ptr as u64, size: size as u8, value, fresh: true });
    }

    /// LDXR, LDAXR and their narrower forms.
    pub(super) fn load_exclusive(&mut self, op: &Op) -> Result<(), Abandoned> {
        let size = 1usize << op.s;
        let ptr = self.atomic_place(self.address(op), size, false)?;
        let value = by_size!(size, host_load!(ptr));
        self.open_monitor(ptr, size, u128::from(value));
        self.regs.x[usize::from(op.d)] = value;
        Ok(())
    }

    /// STXR, STLXR and their narrower forms: the status is 0 when it stored.
    pub(super) fn store_exclusive(&mut self, op: &Op) -> Result<(), Abandoned> {
        let size = 1usize << op.s;
        let ptr = self.atomic_place(self.address(op), size, true)?;
        let stored = match self.monitor.take() {
            Some(m) if m.address == ptr as u64 && usize::from(m.size) == size => {
                let (old, new) = (m.value as u64, self.regs.x[usize::from(op.d)]);
                by_size!(size, host_swap_if!(ptr, old, new)) == old
            }
            _ => false,
        };
        self.regs.x[usize::from(op.m)] = u64::from(!stored);
        Ok(())
    }

    /// LDXP, LDAXP.
    pub(super) fn load_exclusive_pair(&mut self, op: &Op) -> Result<(), Abandoned> {
        let wide = op.s == 3;
        let size = if wide { 16 } else { 8 };
        let ptr = self.atomic_place(self.address(op), size, false)?;
        let value = if wide { host128::load(ptr) } else { u128::from(by_size!(8, host_load!(ptr))) };
        self.open_monitor(ptr, size, value);
        let (first, second) = split(value, wide);
        self.regs.x[usize::from(op.d)] = first;
        self.regs.x[usize::from(op.a)] = second;
        Ok(())
    }

    /// STXP, STLXP.
    pub(super) fn store_exclusive_pair(&mut self, op: &Op) -> Result<(), Abandoned> {
        let wide = op.s == 3;
        let size = if wide { 16 } else { 8 };
        let ptr = self.atomic_place(self.address(op), size, true)?;
        let new = join(self.regs.x[usize::from(op.d)], self.regs.x[usize::from(op.a)], wide);
        let stored = match self.monitor.take() {
            Some(m) if m.address == ptr as u64 && usize::from(m.size) == size => {
                if wide {
                    host128::swap_if(ptr, m.value, new) == m.value
                } else {
                    by_size!(8, host_swap_if!(ptr, m.value, new)) == m.value as u64
                }
            }
            _ => false,
        };
        self.regs.x[usize::from(op.m)] = u64::from(!stored);
        Ok(())
    }

    /// LDAR and its narrower forms.
    pub(super) fn load_acquire(&mut self, op: &Op) -> Result<(), Abandoned> {
        let size = 1usize << op.s;
        let va = self.address(op);
        let value = self.load_ordered(va, size)?;
        self.regs.x[usize::from(op.d)] = value;
        Ok(())
    }

    /// STLR and its narrower forms.
    pub(super) fn store_release(&mut self, op: &Op) -> Result<(), Abandoned> {
        let (size, va) = (1usize << op.s, self.address(op));
        let value = self.regs.x[usize::from(op.d)];
        if !va.is_multiple_of(size as u64) {
            self.atomic_place(va, size, true)?;
        }
        fence(Ordering::Release);
        by_size!(size, store_plain!(self, va, value))?;
        // No later load-acquire may pass it (Arm ARM B2.3.7: RCsc).
        fence(Ordering::SeqCst);
        Ok(())
    }

    fn load_ordered(&mut self, va: u64, size: usize) -> Result<u64, Abandoned> {
        if !va.is_multiple_of(size as u64) {
            self.atomic_place(va, size, false)?;
        }
        let value = by_size!(size, load_plain!(self, va));
        fence(Ordering::Acquire);
        value
    }

    /// CAS and its forms: `a` gets what was there.
    pub(super) fn compare_and_swap(&mut self, op: &Op) -> Result<(), Abandoned> {
        let size = 1usize << op.s;
        let ptr = self.atomic_update_place(self.address(op), size)?;
        let (old, new) = (self.regs.x[usize::from(op.m)], self.regs.x[usize::from(op.d)]);
        let seen = by_size!(size, host_swap_if!(ptr, old, new));
        self.regs.x[usize::from(op.a)] = seen;
        Ok(())
    }

    /// CASP: `m` and its successor are compared and get what was there; `d`
    /// and its successor are stored.
    pub(super) fn compare_and_swap_pair(&mut self, op: &Op) -> Result<(), Abandoned> {
        let wide = op.s == 3;
        let ptr = self.atomic_update_place(self.address(op), if wide { 16 } else { 8 })?;
        let pair = |core: &Core, n: u8| {
            let (n, n1) = (u32::from(n), u32::from(n) + 1);
            join(core.regs.read_x(n), core.regs.read_x(n1), wide)
        };
        let (old, new) = (pair(self, op.m), pair(self, op.d));
        let seen = if wide {
            host128::swap_if(ptr, old, new)
        } else {
            u128::from(by_size!(8, host_swap_if!(ptr, old, new)))
        };
        let (first, second) = split(seen, wide);
        self.regs.write_x(u32::from(op.m), first);
        self.regs.write_x(u32::from(op.m) + 1, second);
        Ok(())
    }

    /// LDADD, LDCLR, LDEOR, LDSET, LDSMAX, LDSMIN, LDUMAX, LDUMIN, SWP.
    pub(super) fn atomic(&mut self, op: &Op) -> Result<(), Abandoned> {
        let size = 1usize << op.s;
        let ptr = self.atomic_update_place(self.address(op), size)?;
        let operand = self.regs.x[usize::from(op.m)];
        let old = by_size!(size, host_update!(ptr, op.t, operand));
        self.regs.x[usize::from(op.d)] = old;
        Ok(())
    }
}

macro_rules! load_plain {
    ($atomic:ty, $plain:ty, $core:expr, $va:expr) => {
        $core.load_value::<$plain>($va).map(u64::from)
    };
}
macro_rules! store_plain {
    ($atomic:ty, $plain:ty, $core:expr, $va:expr, $value:expr) => {
        $core.store_value::<$plain>($va, $value as $plain)
    };
}
use {load_plain, store_plain};

fn split(value: u128, wide: bool) -> (u64, u64) {
    if wide {
        (value as u64, (value >> 64) as u64)
    } else {
        (u64::from(value as u32), u64::from((value >> 32) as u32))
    }
}

fn join(first: u64, second: u64, wide: bool) -> u128 {
    if wide {
        u128::from(first) | (u128::from(second) << 64)
    } else {
        u128::from(first as u32) | (u128::from(second as u32) << 32)
    }
}
