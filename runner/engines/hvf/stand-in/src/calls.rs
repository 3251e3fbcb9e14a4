//! The framework's functions, by their names in Apple's headers. Each does what its header says; what that is, is said
//! where it is done.
//!
//! What is passed in is checked as the framework checks it. Pointers to write to are the caller's own and must be good,
//! as for the framework.

#![allow(clippy::missing_safety_doc, reason = "the safety of each is that of the framework's function")]

use std::{ffi::c_void, ptr};

use applevisor_sys::{
    hv_error_t, hv_feature_reg_t, hv_ipa_t, hv_memory_flags_t, hv_reg_t, hv_return_t, hv_simd_fp_reg_t,
    hv_simd_fp_uchar16_t, hv_sys_reg_t, hv_vcpu_config_t, hv_vcpu_exit_t, hv_vcpu_t, hv_vm_config_t,
};
use machine::features;

use crate::{
    cpu::{self, Cpu, with},
    process::{DEFAULT_IPA_BITS, MAX_IPA_BITS, MOST_VCPUS, Refusal, absolute_time, code, process},
    registers,
};

/// An object that `os_release` releases.
enum Object {
    VmConfig { ipa_bits: u32 },
    VcpuConfig,
}

fn new(object: Object) -> *mut c_void {
    Box::into_raw(Box::new(object)).cast()
}

/// Writes a result where the caller wants it.
///
/// # Safety
/// `to` must be null or good to write to.
unsafe fn put<T>(result: Result<T, Refusal>, to: *mut T) -> hv_return_t {
    code(result.and_then(|value| {
        if to.is_null() {
            return Err(Refusal::HV_BAD_ARGUMENT);
        }
        // SAFETY: as the caller says.
        unsafe { to.write(value) };
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn os_release(object: *mut c_void) {
    if !object.is_null() {
        // SAFETY: made by `new`, and released once, as for the framework's.
        drop(unsafe { Box::from_raw(object.cast::<Object>()) });
    }
}

#[unsafe(no_mangle)]
extern "C" fn mach_absolute_time() -> u64 {
    absolute_time()
}

#[unsafe(no_mangle)]
extern "C" fn hv_vm_config_create() -> hv_vm_config_t {
    new(Object::VmConfig { ipa_bits: DEFAULT_IPA_BITS })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vm_config_get_max_ipa_size(bits: *mut u32) -> hv_return_t {
    // SAFETY: the caller's.
    unsafe { put(Ok(MAX_IPA_BITS), bits) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vm_config_get_default_ipa_size(bits: *mut u32) -> hv_return_t {
    // SAFETY: the caller's.
    unsafe { put(Ok(DEFAULT_IPA_BITS), bits) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vm_config_set_ipa_size(config: hv_vm_config_t, bits: u32) -> hv_return_t {
    // SAFETY: the caller's own configuration, which nobody else uses meanwhile.
    match unsafe { config.cast::<Object>().as_mut() } {
        Some(Object::VmConfig { ipa_bits }) if bits <= MAX_IPA_BITS => {
            *ipa_bits = bits;
            code(Ok(()))
        }
        _ => code(Err(Refusal::HV_BAD_ARGUMENT)),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vm_create(config: hv_vm_config_t) -> hv_return_t {
    // SAFETY: null, or a configuration of the caller's.
    let ipa_bits = match unsafe { config.cast::<Object>().as_ref() } {
        None => DEFAULT_IPA_BITS,
        Some(Object::VmConfig { ipa_bits }) => *ipa_bits,
        Some(Object::VcpuConfig) => return code(Err(Refusal::HV_BAD_ARGUMENT)),
    };
    code(process().create(ipa_bits))
}

#[unsafe(no_mangle)]
extern "C" fn hv_vm_destroy() -> hv_return_t {
    code(process().destroy())
}

#[unsafe(no_mangle)]
extern "C" fn hv_vm_map(
    host: *const c_void,
    ipa: hv_ipa_t,
    size: usize,
    flags: hv_memory_flags_t,
) -> hv_return_t {
    code(process().vm().and_then(|vm| vm.map(host.addr(), ipa, size, flags)))
}

#[unsafe(no_mangle)]
extern "C" fn hv_vm_unmap(ipa: hv_ipa_t, size: usize) -> hv_return_t {
    code(process().vm().and_then(|vm| vm.unmap(ipa, size)))
}

#[unsafe(no_mangle)]
extern "C" fn hv_vm_protect(_: hv_ipa_t, _: usize, _: hv_memory_flags_t) -> hv_return_t {
    code(Err(hv_error_t::HV_UNSUPPORTED))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vm_get_max_vcpu_count(count: *mut u32) -> hv_return_t {
    // SAFETY: the caller's.
    unsafe { put(Ok(MOST_VCPUS), count) }
}

#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_config_create() -> hv_vcpu_config_t {
    new(Object::VcpuConfig)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_config_get_feature_reg(
    _: hv_vcpu_config_t,
    reg: hv_feature_reg_t,
    value: *mut u64,
) -> hv_return_t {
    let shown = match reg {
        hv_feature_reg_t::CTR_EL0 => Ok(registers::CTR_EL0),
        hv_feature_reg_t::CLIDR_EL1 => Ok(features::CLIDR_EL1),
        hv_feature_reg_t::DCZID_EL0 => Ok(features::DCZID_EL0),
        _ => Err(Refusal::HV_UNSUPPORTED),
    };
    // SAFETY: the caller's.
    unsafe { put(shown, value) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_create(
    vcpu: *mut hv_vcpu_t,
    exit: *mut *const hv_vcpu_exit_t,
    _: hv_vcpu_config_t,
) -> hv_return_t {
    let made = if vcpu.is_null() || exit.is_null() { Err(Refusal::HV_BAD_ARGUMENT) } else { cpu::create() };
    code(made.map(|(id, information)| {
        // SAFETY: the caller's, and not null.
        unsafe { (vcpu.write(id), exit.write(information)) };
    }))
}

#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_destroy(vcpu: hv_vcpu_t) -> hv_return_t {
    code(cpu::destroy(vcpu))
}

#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_run(vcpu: hv_vcpu_t) -> hv_return_t {
    code(with(vcpu, Cpu::run))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpus_exit(vcpus: *const hv_vcpu_t, count: u32) -> hv_return_t {
    if vcpus.is_null() && count > 0 {
        return code(Err(Refusal::HV_BAD_ARGUMENT));
    }
    // SAFETY: the caller's list.
    let ids = if count == 0 { &[] } else { unsafe { &*ptr::slice_from_raw_parts(vcpus, count as usize) } };
    code(cpu::cancel(ids))
}

/// Place of an interrupt in [`Cpu::pending`]: the header's `HV_INTERRUPT_TYPE_IRQ` is 0, `HV_INTERRUPT_TYPE_FIQ` 1.
fn interrupt(kind: u32) -> Result<usize, Refusal> {
    if kind <= 1 { Ok(kind as usize) } else { Err(Refusal::HV_BAD_ARGUMENT) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_pending_interrupt(
    vcpu: hv_vcpu_t,
    kind: u32,
    pending: *mut bool,
) -> hv_return_t {
    // SAFETY: the caller's.
    unsafe { put(with(vcpu, |cpu| Ok(cpu.pending[interrupt(kind)?])), pending) }
}

#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_pending_interrupt(vcpu: hv_vcpu_t, kind: u32, pending: bool) -> hv_return_t {
    code(with(vcpu, |cpu| {
        cpu.pending[interrupt(kind)?] = pending;
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_reg(vcpu: hv_vcpu_t, reg: hv_reg_t, value: *mut u64) -> hv_return_t {
    let got = with(vcpu, |cpu| registers::get_general(&cpu.core, reg as u32).ok_or(Refusal::HV_BAD_ARGUMENT));
    // SAFETY: the caller's.
    unsafe { put(got, value) }
}

#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_reg(vcpu: hv_vcpu_t, reg: hv_reg_t, value: u64) -> hv_return_t {
    code(with(vcpu, |cpu| {
        registers::set_general(&mut cpu.core, reg as u32, value).ok_or(Refusal::HV_BAD_ARGUMENT)
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_simd_fp_reg(
    vcpu: hv_vcpu_t,
    reg: hv_simd_fp_reg_t,
    value: *mut hv_simd_fp_uchar16_t,
) -> hv_return_t {
    // SAFETY: the caller's.
    unsafe { put(with(vcpu, |cpu| Ok(cpu.core.regs.v[reg as usize])), value) }
}

#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_simd_fp_reg(
    vcpu: hv_vcpu_t,
    reg: hv_simd_fp_reg_t,
    value: hv_simd_fp_uchar16_t,
) -> hv_return_t {
    code(with(vcpu, |cpu| {
        cpu.core.regs.v[reg as usize] = value;
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_sys_reg(vcpu: hv_vcpu_t, reg: hv_sys_reg_t, value: *mut u64) -> hv_return_t {
    // SAFETY: the caller's.
    unsafe { put(with(vcpu, |cpu| registers::get(cpu, reg as u16)), value) }
}

#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_sys_reg(vcpu: hv_vcpu_t, reg: hv_sys_reg_t, value: u64) -> hv_return_t {
    code(with(vcpu, |cpu| registers::set(cpu, reg as u16, value)))
}

#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_trap_debug_exceptions(vcpu: hv_vcpu_t, value: bool) -> hv_return_t {
    code(with(vcpu, |_| not_trapped(value)))
}

#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_trap_debug_reg_accesses(vcpu: hv_vcpu_t, value: bool) -> hv_return_t {
    code(with(vcpu, |_| not_trapped(value)))
}

/// The soft engine's processor debugs itself and nothing else.
fn not_trapped(value: bool) -> Result<(), Refusal> {
    if value { Err(Refusal::HV_UNSUPPORTED) } else { Ok(()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_vtimer_mask(vcpu: hv_vcpu_t, masked: *mut bool) -> hv_return_t {
    // SAFETY: the caller's.
    unsafe { put(with(vcpu, |cpu| Ok(cpu.timer_masked)), masked) }
}

#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_vtimer_mask(vcpu: hv_vcpu_t, masked: bool) -> hv_return_t {
    code(with(vcpu, |cpu| {
        cpu.timer_masked = masked;
        Ok(())
    }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn hv_vcpu_get_vtimer_offset(vcpu: hv_vcpu_t, offset: *mut u64) -> hv_return_t {
    // SAFETY: the caller's.
    unsafe { put(with(vcpu, |cpu| Ok(cpu.timer_offset)), offset) }
}

#[unsafe(no_mangle)]
extern "C" fn hv_vcpu_set_vtimer_offset(vcpu: hv_vcpu_t, offset: u64) -> hv_return_t {
    code(with(vcpu, |cpu| {
        cpu.set_timer_offset(offset);
        Ok(())
    }))
}
