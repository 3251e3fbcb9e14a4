//! KVM's GICv3 (vGICv3).

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use kvm_bindings::{
    KVM_DEV_ARM_VGIC_CTRL_INIT, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_DEV_ARM_VGIC_GRP_CTRL,
    KVM_DEV_ARM_VGIC_GRP_NR_IRQS, KVM_VGIC_V3_ADDR_TYPE_DIST, KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION,
    kvm_create_device, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
};
use kvm_ioctls::{DeviceFd, VmFd};
use machine::{
    engine::{EngineError, HostGic},
    gic::GicState,
    layout::{GICD_BASE, GICR_BASE},
};

use super::{
    calls::{get_word, set_word},
    failed, lacking, unsupported,
    vm::KvmVm,
};
use crate::gic::{self, Host, INTIDS, Name};

/// KVM_ARM_IRQ_TYPE_SPI, in the bits from KVM_ARM_IRQ_TYPE_SHIFT on (KVM API, KVM_IRQ_LINE).
const SPI: u32 = 1 << 24;

const SET: &str = "KVM_SET_DEVICE_ATTR of the GIC";
const GET: &str = "KVM_GET_DEVICE_ATTR of the GIC";

/// The interrupt controller of a virtual machine.
pub(super) struct KvmGic {
    vm: Arc<KvmVm>,
    host: Host,
    /// GICD_CTLR.EnableGrp0 as it was loaded, for KVM has no such bit. Without a vCPU that takes Group 0, it changes
    /// nothing.
    enable_group0: AtomicBool,
}

/// Makes the device at the board's addresses, for `vcpus` vCPUs, of which none is made yet.
pub(super) fn create(vm: &VmFd, vcpus: usize) -> Result<DeviceFd, EngineError> {
    let mut request = kvm_create_device { type_: kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3, fd: 0, flags: 0 };
    let device = vm.create_device(&mut request).map_err(failed("KVM_CREATE_DEVICE"))?;
    set_word(&device, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, INTIDS.into()).map_err(failed(SET))?;
    let address = |kind: u32, value| {
        set_word(&device, KVM_DEV_ARM_VGIC_GRP_ADDR, kind.into(), value).map_err(failed(SET))
    };
    address(KVM_VGIC_V3_ADDR_TYPE_DIST, GICD_BASE)?;
    // vGICv3, KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION: count from bit 52 on, then the base, no flags, region 0.
    address(KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION, (vcpus as u64) << 52 | GICR_BASE)?;
    Ok(device)
}

/// Finishes the device, when all vCPUs are made (vGICv3, KVM_DEV_ARM_VGIC_CTRL_INIT).
pub(super) fn init(device: &DeviceFd) -> Result<(), EngineError> {
    set_word(device, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT.into(), 0).map_err(failed(SET))
}

impl KvmGic {
    /// That of `vm`, whose vCPUs hold still.
    pub(super) fn new(vm: Arc<KvmVm>) -> Result<Self, EngineError> {
        let name = Name::cpu_interface(0, gic::CTLR);
        let ctlr = get_word(&vm.gic, name.group, name.attr).map_err(failed(GET))?;
        let host = Host::new(ctlr).map_err(lacking)?;
        Ok(KvmGic { vm, host, enable_group0: AtomicBool::new(false) })
    }
}

impl HostGic for KvmGic {
    fn set_level(&self, intid: u32, level: bool) {
        // It refuses numbers alone that the machine has not.
        let _ = self.vm.fd.set_irq_line(SPI | intid, level);
    }

    fn save(&self) -> Result<GicState, EngineError> {
        let enable_group0 = self.enable_group0.load(Ordering::Relaxed);
        gic::state(self.vm.vcpus, self.host, enable_group0, |Name { group, attr }| {
            get_word(&self.vm.gic, group, attr).map_err(failed(GET))
        })
    }

    fn load(&self, state: &GicState) -> Result<(), EngineError> {
        for (Name { group, attr }, value) in gic::words(state, self.host).map_err(unsupported)? {
            set_word(&self.vm.gic, group, attr, value).map_err(failed(SET))?;
        }
        self.enable_group0.store(state.distributor.enable_group0, Ordering::Relaxed);
        Ok(())
    }
}
