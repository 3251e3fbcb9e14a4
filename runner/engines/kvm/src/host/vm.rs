//! A virtual machine, and what its guest sees of our memory.

use std::sync::{Arc, Mutex, PoisonError};

use kvm_bindings::{KVM_ARM_VCPU_PSCI_0_2, KVM_CAP_COUNTER_OFFSET, kvm_vcpu_init};
use kvm_ioctls::{Cap, DeviceFd, Kvm, VcpuFd, VmFd};
use machine::{
    clock::HostClock,
    engine::{Engine, EngineError, HostGic},
    features::mpidr_el1,
    layout::RAM_BASE,
    memory::GuestMemory,
};

use super::{
    NAME, calls, check_counter, failed,
    gic::{self, KvmGic},
    lacking, processor,
    vcpu::KvmVcpu,
};
use crate::{features, registers::MPIDR_EL1};

/// The guest's calls that the machine answers: all but those of Arm's architecture, from 0x8000_0000 and 0xc000_0000 on,
/// which KVM keeps for itself. Of these the machine would tell the same but for the workarounds that this host needs.
const FORWARDED: [(u32, u32); 3] = [(0, 0x8000_0000), (0x8001_0000, 0x3fff_0000), (0xc001_0000, 0x3fff_0000)];

/// KVM's virtual machine over a guest's memory, with all its vCPUs.
pub struct KvmEngine {
    vm: Arc<KvmVm>,
    /// Those that no thread has asked for yet.
    vcpus: Mutex<Vec<Option<VcpuFd>>>,
    gic: Mutex<Option<KvmGic>>,
}

/// What all vCPUs and the interrupt controller hold.
pub(super) struct KvmVm {
    pub(super) fd: VmFd,
    pub(super) gic: DeviceFd,
    pub(super) vcpus: usize,
    /// Whose time the counter shows. Held while a vCPU is loaded, for the counter can't be set while another is in a
    /// call.
    pub(super) counter: Mutex<Option<HostClock>>,
    /// The guest's, as long as the virtual machine lives.
    _memory: GuestMemory,
}

impl KvmEngine {
    /// A virtual machine over `memory` with `vcpus` vCPUs, and an interrupt controller.
    ///
    /// # Errors
    /// If there is no KVM, if this program may not use it, or if this host has not what the machine needs.
    pub fn new(memory: GuestMemory, vcpus: usize) -> Result<Self, EngineError> {
        check_counter()?;
        features::check_zeroing(processor::zeroing()).map_err(lacking)?;
        let kvm = Kvm::new().map_err(failed("/dev/kvm"))?;
        let fd = create(&kvm, &memory)?;
        let most = fd.check_extension_int(Cap::MaxVcpus);
        if vcpus > usize::try_from(most).unwrap_or(0) {
            return Err(lacking(format!(
                "{vcpus} virtual processors; this host gives a guest at most {most}"
            )));
        }
        if fd.check_extension_raw(KVM_CAP_COUNTER_OFFSET.into()) <= 0 {
            return Err(lacking("KVM can't set a guest's counter here: Linux 6.4 and later can".to_owned()));
        }
        for (slot, extent) in (0..).zip(memory.extents()) {
            // SAFETY: the mapping is a part of `memory`, which the KvmVm keeps longer than the virtual machine.
            unsafe { calls::show_memory(&fd, slot, extent) }.map_err(failed("KVM_SET_USER_MEMORY_REGION"))?;
        }
        for (first, count) in FORWARDED {
            calls::forward_calls(&fd, first, count).map_err(failed("KVM_ARM_VM_SMCCC_FILTER"))?;
        }
        // Before the vCPUs, which then show that they have it (ID_AA64PFR0_EL1.GIC).
        let gic = gic::create(&fd, vcpus)?;
        let mut fds = Vec::with_capacity(vcpus);
        for index in 0..vcpus {
            fds.push(create_vcpu(&fd, index)?);
        }
        if let Some(first) = fds.first() {
            features::set(&mut Identification(first)).map_err(lacking)?;
        }
        gic::init(&gic)?;
        let vm = Arc::new(KvmVm { fd, gic, vcpus, counter: Mutex::new(None), _memory: memory });
        let gic = KvmGic::new(Arc::clone(&vm))?;
        let vcpus = fds.into_iter().map(Some).collect();
        Ok(KvmEngine { vm, vcpus: Mutex::new(vcpus), gic: Mutex::new(Some(gic)) })
    }
}

impl Engine for KvmEngine {
    type Vcpu = KvmVcpu;

    fn name(&self) -> &'static str {
        NAME
    }

    fn create_vcpu(&self, index: usize) -> Result<KvmVcpu, EngineError> {
        let mut vcpus = self.vcpus.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = || lacking(format!("vCPU {index} of {} is not there to take", self.vm.vcpus));
        let fd = vcpus.get_mut(index).and_then(Option::take).ok_or_else(taken)?;
        KvmVcpu::new(Arc::clone(&self.vm), fd, index)
    }

    fn interrupt_controller(&self) -> Option<Box<dyn HostGic>> {
        let gic = self.gic.lock().unwrap_or_else(PoisonError::into_inner).take();
        gic.map(|gic| Box::new(gic) as _)
    }
}

/// A virtual machine with guest physical addresses of as many bits as RAM needs, 32 at least (KVM API, KVM_CREATE_VM).
fn create(kvm: &Kvm, memory: &GuestMemory) -> Result<VmFd, EngineError> {
    let last = RAM_BASE + (memory.ram_size() - 1);
    let needed = (u64::BITS - last.leading_zeros()).max(32);
    let most = kvm.get_host_ipa_limit();
    if i64::from(needed) > i64::from(most) {
        let size = memory.ram_size() >> 20;
        return Err(lacking(format!(
            "{size} MiB of RAM: it needs addresses of {needed} bits, this host has {most}"
        )));
    }
    kvm.create_vm_with_ipa_size(needed).map_err(failed("KVM_CREATE_VM"))
}

/// vCPU number `index`, in reset, with no feature but that its PSCI is not of the oldest kind.
fn create_vcpu(vm: &VmFd, index: usize) -> Result<VcpuFd, EngineError> {
    let vcpu = vm.create_vcpu(index as u64).map_err(failed("KVM_CREATE_VCPU"))?;
    let mut init = kvm_vcpu_init::default();
    vm.get_preferred_target(&mut init).map_err(failed("KVM_ARM_PREFERRED_TARGET"))?;
    init.features = [0; 7];
    init.features[0] = 1 << KVM_ARM_VCPU_PSCI_0_2;
    vcpu.vcpu_init(&init).map_err(failed("KVM_ARM_VCPU_INIT"))?;
    let (shown, wanted) =
        (calls::get_register(&vcpu, MPIDR_EL1).map_err(failed("KVM_GET_ONE_REG"))?, mpidr_el1(index));
    if shown != wanted {
        return Err(lacking(format!(
            "MPIDR_EL1 of vCPU {index} is {shown:#x}, the machine's is {wanted:#x}"
        )));
    }
    Ok(vcpu)
}

/// The identification registers of all vCPUs, by the first.
struct Identification<'a>(&'a VcpuFd);

impl features::Registers for Identification<'_> {
    fn get(&mut self, id: u64) -> Option<u64> {
        calls::get_register(self.0, id).ok()
    }

    fn set(&mut self, id: u64, value: u64) -> bool {
        calls::set_register(self.0, id, value).is_ok()
    }
}
