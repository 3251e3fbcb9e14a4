//! The machine's features on this Mac's processor.
//!
//! `hv_vcpu_set_sys_reg` takes identification registers, and what it took is read back. A guest that was captured
//! elsewhere uses what it once saw, so a processor that lacks some of it is refused; one that shows more does no harm to
//! it.

use applevisor::vcpu::{FeatureReg, SysReg as Reg, Vcpu, VcpuConfig};
use machine::{
    engine::{EngineError, SysReg},
    features,
};

use crate::error::{explain, failed, lacking};

/// The feature registers that the framework holds.
const REGISTERS: [(Reg, &str); 9] = [
    (Reg::ID_AA64PFR0_EL1, "ID_AA64PFR0_EL1"),
    (Reg::ID_AA64PFR1_EL1, "ID_AA64PFR1_EL1"),
    (Reg::ID_AA64DFR0_EL1, "ID_AA64DFR0_EL1"),
    (Reg::ID_AA64DFR1_EL1, "ID_AA64DFR1_EL1"),
    (Reg::ID_AA64ISAR0_EL1, "ID_AA64ISAR0_EL1"),
    (Reg::ID_AA64ISAR1_EL1, "ID_AA64ISAR1_EL1"),
    (Reg::ID_AA64MMFR0_EL1, "ID_AA64MMFR0_EL1"),
    (Reg::ID_AA64MMFR1_EL1, "ID_AA64MMFR1_EL1"),
    (Reg::ID_AA64MMFR2_EL1, "ID_AA64MMFR2_EL1"),
];

/// Gives `vcpu`, number `index`, the machine's features. By its thread, before it runs.
///
/// # Errors
/// If this Mac's processor lacks one of them.
pub(crate) fn set(vcpu: &Vcpu, index: usize) -> Result<(), EngineError> {
    let put = |reg, name: &str, value| {
        vcpu.set_sys_reg(reg, value)
            .map_err(|error| lacking(format!("{name}: {}", explain("hv_vcpu_set_sys_reg", error))))
    };
    put(Reg::MIDR_EL1, "MIDR_EL1", features::MIDR_EL1)?;
    put(Reg::MPIDR_EL1, "MPIDR_EL1", features::mpidr_el1(index))?;
    for (reg, name) in REGISTERS {
        // The two have the same encoding (hv_sys_reg_t: op0, op1, CRn, CRm, op2 from bit 14 down).
        let wanted = features::feature_register(SysReg::from_word(u32::from(reg as u16) << 5)).unwrap_or(0);
        put(reg, name, wanted)?;
        let shown = vcpu.get_sys_reg(reg).map_err(failed("hv_vcpu_get_sys_reg"))?;
        if let Some(field) = missing(wanted, shown) {
            return Err(lacking(format!(
                "{name} is {shown:#x} on this Mac, and bits {} to {field} of the machine's {wanted:#x} are more",
                field + 3
            )));
        }
    }
    Ok(())
}

/// Checks the cache type that a vCPU of this Mac shows. The framework does not let it be set.
///
/// hv_vcpu_config_create, hv_vcpu_config_get_feature_reg: at any time, from any thread.
///
/// # Errors
/// If a guest that knows the machine's would do too little here to have its changed code seen.
pub(crate) fn check_caches(config: &VcpuConfig) -> Result<(), EngineError> {
    let shown =
        config.get_feature_reg(FeatureReg::CTR_EL0).map_err(failed("hv_vcpu_config_get_feature_reg"))?;
    if caches_suffice(features::CTR_EL0, shown) {
        return Ok(());
    }
    Err(lacking(format!("CTR_EL0 is {shown:#x} on this Mac, the machine's is {:#x}", features::CTR_EL0)))
}

/// Whether what `wanted` asks of a guest is enough on a processor with `shown` (Arm ARM D24.2.34): no longer strides
/// through its lines, and no maintenance left out.
fn caches_suffice(wanted: u64, shown: u64) -> bool {
    let stride = |ctr: u64, low: u32| ctr >> low & 15;
    const IDC_DIC: u64 = 3 << 28;
    stride(wanted, 0) <= stride(shown, 0)
        && stride(wanted, 16) <= stride(shown, 16)
        && wanted & IDC_DIC & !shown == 0
}

/// The lowest four-bit field of `shown` that has less than that of `wanted`; 15 is less than nothing (Arm ARM D24.1.3).
fn missing(wanted: u64, shown: u64) -> Option<u32> {
    let field = |value: u64, low: u32| (value >> low & 15) as i8;
    let signed = |value: i8| if value == 15 { -1 } else { value };
    (0..64).step_by(4).find(|&low| signed(field(shown, low)) < signed(field(wanted, low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_is_enough_and_less_is_not() {
        assert_eq!(missing(0x0021_1120, 0x0221_1131_1021_2120), None);
        assert_eq!(missing(0x0021_1120, 0x0021_0120), Some(12));
        // TGran64 and TGran4: 15 is "not there", 0 is "there".
        assert_eq!(missing(0x0f00_0022, 0x0000_0022), None);
        assert_eq!(missing(0x0000_0022, 0xf000_0022), Some(28));
    }

    /// CTR_EL0 of an Apple M1 and M2: no IDC, no DIC, lines of 64 bytes.
    #[test]
    fn the_machines_caches_are_apples() {
        for apple in [0x8444_8004, 0x8444_c004] {
            assert!(caches_suffice(features::CTR_EL0, apple));
            assert!(!caches_suffice(features::CTR_EL0 | 1 << 28, apple), "with IDC");
        }
        assert!(!caches_suffice(features::CTR_EL0, 0x8443_c004), "shorter lines");
    }
}
