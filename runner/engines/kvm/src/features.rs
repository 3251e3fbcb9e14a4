//! The machine's features on this host's processor.
//!
//! Since Linux 6.7 identification registers can be set, field by field, where the kernel can keep a guest from the
//! feature; of the others it says EINVAL. A guest that was captured elsewhere uses what it once saw, so a processor that
//! lacks some of it is refused; one that shows more does no harm to it.

use machine::{engine::SysReg, features};

use crate::registers::{CTR_EL0, system};

/// ID_AA64DFR0_EL1, and of it DoubleLock, which no newer processor has: KVM ignores the lock's register anyway, and 15 is
/// less than any value.
const DFR0: SysReg = SysReg::new(3, 0, 0, 5, 0);
const DOUBLE_LOCK: u64 = 15 << 36;

/// Reads and tries to write a register by its KVM name. None or false if the host has it not or will not.
pub(crate) trait Registers {
    fn get(&mut self, id: u64) -> Option<u64>;
    fn set(&mut self, id: u64, value: u64) -> bool;
}

/// Shows the guest the machine's features, as far as the host lets them be chosen. Before a vCPU runs; KVM keeps the
/// registers for all vCPUs at once.
///
/// MIDR_EL1 stays the host's: a kernel that starts here must know the errata of the processor that it runs on.
///
/// # Errors
/// Which feature the host has not.
pub(crate) fn set(registers: &mut impl Registers) -> Result<(), String> {
    // CRm 1 to 3 are of AArch32, which the machine has not.
    for (crm, op2) in (4..8).flat_map(|crm| (0..8).map(move |op2| (crm, op2))) {
        let register = SysReg::new(3, 0, 0, crm, op2);
        let wanted = features::feature_register(register).unwrap_or(0);
        let shown = settle(registers, system(register), wanted);
        let needed = if register == DFR0 { wanted | DOUBLE_LOCK } else { wanted };
        if let Some(field) = missing(needed, shown) {
            return Err(format!(
                "{register} is {shown:#x} on this processor, and bits {} to {field} of the machine's {wanted:#x} are \
                 more",
                field + 3
            ));
        }
    }
    // Writable since Linux 6.11.
    registers.set(CTR_EL0, features::CTR_EL0);
    match registers.get(CTR_EL0) {
        Some(shown) if !caches_suffice(features::CTR_EL0, shown) => {
            Err(format!("CTR_EL0 is {shown:#x} on this processor, the machine's is {:#x}", features::CTR_EL0))
        }
        _ => Ok(()),
    }
}

/// Makes a register as much like `wanted` as the host lets it; what it shows then.
fn settle(registers: &mut impl Registers, id: u64, wanted: u64) -> u64 {
    // What KVM does not name reads as zero for the guest.
    let Some(mut shown) = registers.get(id) else { return 0 };
    if shown == wanted || registers.set(id, wanted) {
        return wanted;
    }
    for field in (0..64).step_by(4).map(|low| 15 << low) {
        let nearer = shown & !field | wanted & field;
        if nearer != shown && registers.set(id, nearer) {
            shown = nearer;
        }
    }
    shown
}

/// The lowest four-bit field of `shown` that has less than that of `wanted`; 15 is less than nothing (Arm ARM D24.1.3).
fn missing(wanted: u64, shown: u64) -> Option<u32> {
    let field = |value: u64, low: u32| (value >> low & 15) as i8;
    let signed = |value: i8| if value == 15 { -1 } else { value };
    (0..64).step_by(4).find(|&low| signed(field(shown, low)) < signed(field(wanted, low)))
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

/// Whether DC ZVA of a processor whose DCZID_EL0 is `shown` clears what that of the machine does. A guest's programs
/// have asked once how much that is; with more, they would clear what is not theirs.
///
/// # Errors
/// Says what it is here.
pub(crate) fn check_zeroing(shown: u64) -> Result<(), String> {
    if shown == features::DCZID_EL0 {
        return Ok(());
    }
    Err(format!("DCZID_EL0 is {shown:#x} on this processor, the machine's is {:#x}", features::DCZID_EL0))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// A host: what it shows, and which bits of each register can be cleared.
    struct Host(HashMap<u64, (u64, u64)>);

    impl Registers for Host {
        fn get(&mut self, id: u64) -> Option<u64> {
            self.0.get(&id).map(|(shown, _)| *shown)
        }

        fn set(&mut self, id: u64, value: u64) -> bool {
            let Some((shown, clearable)) = self.0.get_mut(&id) else { return false };
            let allowed = missing(value, *shown).is_none() && (value ^ *shown) & !*clearable == 0;
            if allowed {
                *shown = value;
            }
            allowed
        }
    }

    const PFR0: SysReg = SysReg::new(3, 0, 0, 4, 0);
    const ISAR0: SysReg = SysReg::new(3, 0, 0, 6, 0);
    const MMFR0: SysReg = SysReg::new(3, 0, 0, 7, 0);
    const MMFR1: SysReg = SysReg::new(3, 0, 0, 7, 1);

    /// Something like a Neoverse N1, with half precision that can't be hidden.
    fn host() -> Host {
        let all = u64::MAX;
        let half_precision = 0x00ff_0000;
        Host(HashMap::from([
            (system(PFR0), (0x1100_0000_0111_0011, !half_precision)),
            (system(DFR0), (0x00f0_1030_5006, 0)),
            (system(ISAR0), (0x0000_1000_1021_1120, all)),
            (system(MMFR0), (0x0f00_0022, all)),
            (system(MMFR1), (0x1021_2122, all)),
            (CTR_EL0, (0x8444_c004, 0)),
        ]))
    }

    #[test]
    fn what_can_be_hidden_is_and_more_does_no_harm() {
        let mut host = host();
        set(&mut host).unwrap();
        assert_eq!(host.get(system(ISAR0)), features::feature_register(ISAR0));
        assert_eq!(host.get(system(MMFR1)), features::feature_register(MMFR1));
        assert_eq!(host.get(system(PFR0)), Some(0x1100_0000_0111_0011));
    }

    #[test]
    fn a_host_that_lacks_something_is_refused_by_name() {
        let mut host = host();
        host.0.insert(system(ISAR0), (0x0001_1120, u64::MAX));
        let error = set(&mut host).unwrap_err();
        assert!(error.contains("S3_0_C0_C6_0 is 0x11120") && error.contains("bits 23 to 20"), "{error}");
    }

    #[test]
    fn more_is_enough_and_less_is_not() {
        assert_eq!(missing(0x0021_1120, 0x0221_1131_1021_2120), None);
        assert_eq!(missing(0x0021_1120, 0x0021_0120), Some(12));
        // TGran64 and TGran4: 15 is "not there", 0 is "there".
        assert_eq!(missing(0x0f00_0022, 0x0000_0022), None);
        assert_eq!(missing(0x0000_0022, 0xf000_0022), Some(28));
    }

    #[test]
    fn caches_and_zeroing() {
        let mut shorter = host();
        shorter.0.insert(CTR_EL0, (0x8443_c004, 0));
        assert!(set(&mut shorter).unwrap_err().contains("CTR_EL0"));
        assert!(caches_suffice(features::CTR_EL0, features::CTR_EL0 | 3 << 28), "one that needs less");
        assert!(!caches_suffice(features::CTR_EL0 | 1 << 28, features::CTR_EL0));
    }
}
