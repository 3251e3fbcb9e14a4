//! Calls of the kernel that `kvm-ioctls` has not, or has in a form that the compiler can't check.

use std::{io, mem::size_of, os::fd::AsRawFd};

use kvm_bindings::{
    KVM_ARM_VM_SMCCC_CTRL, KVM_ARM_VM_SMCCC_FILTER, kvm_arm_counter_offset, kvm_device_attr,
    kvm_smccc_filter, kvm_smccc_filter_action_KVM_SMCCC_FILTER_FWD_TO_USER as FORWARD,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{DeviceFd, Error, VcpuFd, VmFd};
use machine::memory::Extent;

use crate::registers::size;

/// KVM_ARM_SET_COUNTER_OFFSET, `_IOW(KVMIO, 0xb5, struct kvm_arm_counter_offset)`.
const SET_COUNTER_OFFSET: libc::c_ulong =
    1 << 30 | (size_of::<kvm_arm_counter_offset>() as libc::c_ulong) << 16 | 0xae << 8 | 0xb5;

/// KVM API, KVM_SET_USER_MEMORY_REGION: shows the guest a part of this process's memory. What is mapped there later is
/// what the guest sees then.
///
/// # Safety
/// The part must stay mapped, as guest memory, as long as the virtual machine lives.
pub(super) unsafe fn show_memory(vm: &VmFd, slot: u32, extent: Extent) -> Result<(), Error> {
    let region = kvm_userspace_memory_region {
        slot,
        flags: 0,
        guest_phys_addr: extent.gpa,
        memory_size: extent.len,
        userspace_addr: extent.host as u64,
    };
    // SAFETY: the caller keeps the range mapped; the guest may change it at any time, which its owner expects of guest
    // memory.
    unsafe { vm.set_user_memory_region(region) }
}

/// Leaves `count` of the guest's calls from function `first` on to this program, before any vCPU runs (KVM API,
/// KVM_ARM_VM_SMCCC_FILTER).
pub(super) fn forward_calls(vm: &VmFd, first: u32, count: u32) -> Result<(), Error> {
    let filter =
        kvm_smccc_filter { base: first, nr_functions: count, action: FORWARD as u8, ..Default::default() };
    vm.set_device_attr(&kvm_device_attr {
        group: KVM_ARM_VM_SMCCC_CTRL,
        attr: KVM_ARM_VM_SMCCC_FILTER.into(),
        addr: &raw const filter as u64,
        flags: 0,
    })
}

/// Sets what the guest's counters are less than the host's (KVM API, KVM_ARM_SET_COUNTER_OFFSET), while no vCPU is in a
/// call.
pub(super) fn set_counter_offset(vm: &VmFd, offset: u64) -> io::Result<()> {
    let offset = kvm_arm_counter_offset { counter_offset: offset, reserved: 0 };
    // SAFETY: the descriptor is a virtual machine's, and the kernel reads a structure of the size in the request.
    match unsafe { libc::ioctl(vm.as_raw_fd(), SET_COUNTER_OFFSET as _, &raw const offset) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sets a word of a device: 32 bits or 64, as the group has, from the low end of `value`.
pub(super) fn set_word(device: &DeviceFd, group: u32, attr: u64, value: u64) -> Result<(), Error> {
    device.set_device_attr(&kvm_device_attr { group, attr, addr: &raw const value as u64, flags: 0 })
}

/// A word of a device, of at most 64 bits.
pub(super) fn get_word(device: &DeviceFd, group: u32, attr: u64) -> Result<u64, Error> {
    let mut value = 0u64;
    let mut request = kvm_device_attr { group, attr, addr: &raw mut value as u64, flags: 0 };
    // SAFETY: the kernel writes a word of 32 or 64 bits where `addr` says, and there is room for either. Arm64 Linux is
    // little-endian here, so the narrower one is the low half.
    unsafe { device.get_device_attr(&mut request) }?;
    Ok(value)
}

/// A register of a vCPU, of at most 64 bits.
pub(super) fn get_register(vcpu: &VcpuFd, id: u64) -> Result<u64, Error> {
    let mut bytes = [0; 16];
    vcpu.get_one_reg(id, &mut bytes)?;
    Ok(u64::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5], bytes[6], bytes[7]]))
}

/// Sets a register of a vCPU, of at most 64 bits.
pub(super) fn set_register(vcpu: &VcpuFd, id: u64, value: u64) -> Result<(), Error> {
    vcpu.set_one_reg(id, &value.to_le_bytes()[..size(id).min(8)]).map(drop)
}
