//! Setting vector registers. `applevisor` passes the value as two general registers, and the framework reads another:
//! what it sets on Apple silicon is whatever that held.

use applevisor::vcpu::{SimdFpReg, Vcpu};
use applevisor_sys::{hv_error_t, hv_return_t};

#[cfg(target_os = "macos")]
mod call {
    use applevisor_sys::{hv_return_t, hv_simd_fp_reg_t, hv_vcpu_t};

    std::arch::global_asm!(include_str!("set_vector.s"));

    unsafe extern "C" {
        fn samovar_set_vector(vcpu: hv_vcpu_t, reg: hv_simd_fp_reg_t, value: *const u8) -> hv_return_t;
    }

    /// # Safety
    /// `vcpu` must be the calling thread's.
    pub(super) unsafe fn set(vcpu: hv_vcpu_t, reg: hv_simd_fp_reg_t, value: u128) -> hv_return_t {
        let bytes = value.to_le_bytes();
        // SAFETY: the 16 bytes are there until it returns; the rest is the caller's.
        unsafe { samovar_set_vector(vcpu, reg, bytes.as_ptr()) }
    }
}

#[cfg(not(target_os = "macos"))]
mod call {
    use applevisor_sys::{hv_return_t, hv_simd_fp_reg_t, hv_vcpu_set_simd_fp_reg, hv_vcpu_t};

    /// # Safety
    /// `vcpu` must be the calling thread's.
    pub(super) unsafe fn set(vcpu: hv_vcpu_t, reg: hv_simd_fp_reg_t, value: u128) -> hv_return_t {
        // SAFETY: as the caller says. The stand-in is declared in Rust and takes what `applevisor-sys` declares.
        unsafe { hv_vcpu_set_simd_fp_reg(vcpu, reg, value) }
    }
}

/// Q0 to Q31 in order.
pub(crate) const REGISTERS: [SimdFpReg; 32] = {
    use applevisor_sys::hv_simd_fp_reg_t::*;
    [
        Q0, Q1, Q2, Q3, Q4, Q5, Q6, Q7, Q8, Q9, Q10, Q11, Q12, Q13, Q14, Q15, Q16, Q17, Q18, Q19, Q20, Q21,
        Q22, Q23, Q24, Q25, Q26, Q27, Q28, Q29, Q30, Q31,
    ]
};

/// hv_vcpu_set_simd_fp_reg: by the owning thread.
///
/// # Errors
/// What the framework says.
pub(crate) fn set(
    vcpu: &Vcpu,
    reg: SimdFpReg,
    value: u128,
) -> Result<(), applevisor::error::HypervisorError> {
    // SAFETY: a `Vcpu` is not `Send`, so this is its thread.
    match unsafe { call::set(vcpu.id(), reg, value) } {
        code if code == hv_error_t::HV_SUCCESS as hv_return_t => Ok(()),
        code => Err(code.into()),
    }
}
