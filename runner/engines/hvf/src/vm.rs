//! The virtual machine of this process, and what its guest sees of our memory.

use std::{io, sync::Arc, thread};

use applevisor::{
    error::HypervisorError,
    memory::PAGE_SIZE,
    vcpu::Vcpu,
    vm::{GicDisabled, VirtualMachine, VirtualMachineConfig, VirtualMachineInstance},
};
use applevisor_sys::{
    HV_MEMORY_EXEC, HV_MEMORY_READ, HV_MEMORY_WRITE, hv_error_t, hv_memory_flags_t, hv_return_t, hv_vm_map,
    hv_vm_unmap,
};
use machine::{
    engine::{Engine, EngineError},
    layout::RAM_BASE,
    memory::{Extent, Follower, GuestMemory},
};
use memmap2::MmapMut;

use crate::{
    counter::{self, Counter},
    error::{NAME, failed, lacking},
    scrub,
    vcpu::HvfVcpu,
};

/// Hypervisor.framework's virtual machine over a guest's memory.
pub struct HvfEngine {
    vm: Arc<HvfVm>,
    vcpus: usize,
}

/// What all vCPUs hold. The last to go ends the virtual machine: `hv_vm_destroy` "requires all vCPUs be destroyed", and
/// each destroys its own before it lets go of this.
pub(crate) struct HvfVm {
    // First, for it is dropped first: the mappings end before the memory does.
    pub(crate) instance: VirtualMachineInstance<GicDisabled>,
    pub(crate) memory: GuestMemory,
    pub(crate) counter: Counter,
    /// Behind [`scrub::BASE`].
    _scrub: MmapMut,
}

impl HvfEngine {
    /// A virtual machine over `memory` for up to `vcpus` vCPUs: the only one of this process until it is dropped, with
    /// all its vCPUs.
    ///
    /// # Errors
    /// If there is another one, if macOS denies it to this program, or if this Mac has not what the machine needs.
    pub fn new(memory: GuestMemory, vcpus: usize) -> Result<Self, EngineError> {
        counter::check_frequency()?;
        // hv_vm_get_max_vcpu_count: at any time, from any thread.
        let most = Vcpu::get_max_count().map_err(failed("hv_vm_get_max_vcpu_count"))?;
        if vcpus > most as usize {
            return Err(lacking(format!(
                "{vcpus} virtual processors; this Mac gives a guest at most {most}"
            )));
        }
        let instance = VirtualMachine::with_config(config(&memory)?).map_err(failed("hv_vm_create"))?;
        let scrub = scrub::page().map_err(|error| lacking(error.to_string()))?;
        let code = Extent { gpa: scrub::BASE, len: scrub.len() as u64, host: scrub.as_ptr().cast_mut() };
        let vm =
            Arc::new(HvfVm { instance, memory: memory.clone(), counter: Counter::default(), _scrub: scrub });
        let [ram, page] = memory.extents();
        map(ram, HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC)?;
        map(page, HV_MEMORY_READ | HV_MEMORY_WRITE)?;
        map(code, HV_MEMORY_READ | HV_MEMORY_EXEC)?;
        memory.set_follower(Arc::downgrade(&vm) as _);
        Ok(HvfEngine { vm, vcpus })
    }

    /// Makes a vCPU and ends it, on a thread of its own: whether this Mac's processor has what the machine needs.
    ///
    /// # Errors
    /// What it lacks.
    pub fn probe(&self) -> Result<(), EngineError> {
        let probe = || self.create_vcpu(0).map(drop);
        let panicked = |_| Err(lacking("a virtual processor could not be ended".to_owned()));
        thread::scope(|scope| scope.spawn(probe).join()).unwrap_or_else(panicked)
    }
}

impl Engine for HvfEngine {
    type Vcpu = HvfVcpu;

    fn name(&self) -> &'static str {
        NAME
    }

    fn create_vcpu(&self, index: usize) -> Result<HvfVcpu, EngineError> {
        if index >= self.vcpus {
            return Err(lacking(format!("vCPU {index} of {}", self.vcpus)));
        }
        HvfVcpu::new(Arc::clone(&self.vm), index)
    }
}

/// The framework keeps what it was shown, not where that was: a mapping that is made anew at the same place must be shown
/// anew.
impl Follower for HvfVm {
    fn detach(&self) -> io::Result<()> {
        let [ram, _] = self.memory.extents();
        let len = usize::try_from(ram.len).map_err(io::Error::other)?;
        // hv_vm_unmap: `ipa` and `size` in whole pages; any thread. No vCPU runs while memory is restored.
        // SAFETY: takes a mapping from the guest; nothing of this process changes.
        checked(unsafe { hv_vm_unmap(ram.gpa, len) })
            .map_err(|error| io::Error::other(failed("hv_vm_unmap")(error)))
    }

    fn attach(&self) -> io::Result<()> {
        let [ram, _] = self.memory.extents();
        map(ram, HV_MEMORY_READ | HV_MEMORY_WRITE | HV_MEMORY_EXEC).map_err(io::Error::other)
    }
}

/// Guest physical addresses of as many bits as RAM needs. The default is enough for most, and macOS may have less.
fn config(memory: &GuestMemory) -> Result<VirtualMachineConfig, EngineError> {
    let last = RAM_BASE + (memory.ram_size() - 1);
    let needed = u64::BITS - last.leading_zeros();
    let mut config = VirtualMachineConfig::new();
    // hv_vm_config_get_default_ipa_size, hv_vm_config_get_max_ipa_size: at any time, from any thread.
    let default =
        VirtualMachineConfig::get_default_ipa_size().map_err(failed("hv_vm_config_get_default_ipa_size"))?;
    if needed > default {
        let most =
            VirtualMachineConfig::get_max_ipa_size().map_err(failed("hv_vm_config_get_max_ipa_size"))?;
        if needed > most {
            let size = memory.ram_size() >> 20;
            return Err(lacking(format!(
                "{size} MiB of RAM: it needs addresses of {needed} bits, this Mac has {most}"
            )));
        }
        // hv_vm_config_set_ipa_size: no more than the maximum, before hv_vm_create.
        config.set_ipa_size(needed).map_err(failed("hv_vm_config_set_ipa_size"))?;
    }
    Ok(config)
}

/// Shows the guest a part of this process's memory.
///
/// hv_vm_map: `addr` and `ipa` page-aligned, `size` in whole pages of the host, which is 16 KiB; what lies there already
/// must be unmapped first. Any thread.
fn map(extent: Extent, flags: hv_memory_flags_t) -> Result<(), EngineError> {
    let Extent { gpa, len, host } = extent;
    let page = PAGE_SIZE as u64;
    if !gpa.is_multiple_of(page) || !len.is_multiple_of(page) {
        return Err(lacking(format!("{len} bytes of memory at {gpa:#x}, not whole pages of 16 KiB")));
    }
    let size = usize::try_from(len).map_err(|_| lacking(format!("{len} bytes of memory")))?;
    // SAFETY: the range is a mapping of our own, which the HvfVm keeps longer than the virtual machine. The guest may
    // change it at any time, which its owner expects of guest memory.
    checked(unsafe { hv_vm_map(host.cast(), gpa, size, flags) }).map_err(failed("hv_vm_map"))
}

fn checked(code: hv_return_t) -> Result<(), HypervisorError> {
    if code == hv_error_t::HV_SUCCESS as hv_return_t { Ok(()) } else { Err(code.into()) }
}
