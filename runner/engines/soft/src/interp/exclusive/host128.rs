//! 16-byte atomics on guest memory. Stable Rust has no 128-bit atomic type, so
//! the host's instruction is used where there is one.

/// Loads 16 bytes at once.
pub fn load(ptr: *mut u8) -> u128 {
    // A swap of a value for itself changes nothing, and is one access.
    swap_if(ptr, 0, 0)
}

/// Stores `new` if the 16 bytes are `old`; gives what was there. `ptr` is to
/// mapped guest memory, 16-byte aligned.
#[cfg(target_arch = "x86_64")]
pub fn swap_if(ptr: *mut u8, old: u128, new: u128) -> u128 {
    if std::arch::is_x86_feature_detected!("cmpxchg16b") {
        // SAFETY: the feature is there; the pointer is aligned and mapped
        // writable on the host by the callers' contract.
        return unsafe { cmpxchg16b(ptr, old, new) };
    }
    locked(ptr, old, new)
}

/// The instruction itself: the compiler's intrinsic becomes a call into a
/// library that is not linked.
///
/// # Safety
/// The host must have the instruction; `ptr` must be valid for 16 aligned bytes.
#[cfg(target_arch = "x86_64")]
unsafe fn cmpxchg16b(ptr: *mut u8, old: u128, new: u128) -> u128 {
    let (mut low, mut high) = (old as u64, (old >> 64) as u64);
    // SAFETY: by this function's contract. RBX, which the compiler keeps for
    // itself, is put back.
    unsafe {
        std::arch::asm!(
            "xchg rbx, rsi",
            "lock cmpxchg16b [rdi]",
            "mov rbx, rsi",
            in("rdi") ptr,
            inout("rsi") new as u64 => _,
            in("rcx") (new >> 64) as u64,
            inout("rax") low,
            inout("rdx") high,
            options(nostack),
        );
    }
    u128::from(low) | (u128::from(high) << 64)
}

/// Stores `new` if the 16 bytes are `old`; gives what was there. `ptr` is to
/// mapped guest memory, 16-byte aligned.
#[cfg(not(target_arch = "x86_64"))]
pub fn swap_if(ptr: *mut u8, old: u128, new: u128) -> u128 {
    locked(ptr, old, new)
}

/// Without such an instruction: one at a time among 16-byte atomics.
fn locked(ptr: *mut u8, old: u128, new: u128) -> u128 {
    static LOCK: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _guard = LOCK.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    // SAFETY: mapped and aligned by the callers' contract.
    unsafe {
        let seen = ptr.cast::<u128>().read_volatile();
        if seen == old {
            ptr.cast::<u128>().write_volatile(new);
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(align(16))]
    struct Aligned(u128);

    #[test]
    fn both_ways_swap_only_on_a_match() {
        for swap in [swap_if, locked] {
            let mut place = Aligned(7 << 64 | 9);
            let ptr = (&raw mut place.0).cast::<u8>();
            assert_eq!(swap(ptr, 1, 2), 7 << 64 | 9);
            assert_eq!(swap(ptr, 7 << 64 | 9, 5), 7 << 64 | 9);
            assert_eq!(load(ptr), 5);
        }
    }
}
