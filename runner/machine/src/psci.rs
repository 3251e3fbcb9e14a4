//! Power state calls of the guest: PSCI 1.1 (Arm DEN 0022) over HVC, with the
//! SMC calling convention 1.1 (Arm DEN 0028).
//!
//! [`decode`] checks a call against the vCPUs' power states and says what it
//! asks for; it changes nothing.

use std::ops::Range;

/// Power state of a vCPU, as AFFINITY_INFO tells it (DEN 0022, 5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Power {
    /// Running, or waiting for an interrupt.
    On,
    /// Stopped; CPU_ON starts it.
    Off,
    /// Started by CPU_ON, but has not executed an instruction yet.
    OnPending,
}

/// What a call asks of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PsciCall {
    /// Nothing: answer with this value in X0.
    Return(u64),
    /// Start a vCPU from reset, and answer [`SUCCESS`].
    CpuOn {
        /// Number of the vCPU; it is off.
        target: usize,
        /// Where it starts; inside RAM, aligned to an instruction.
        entry: u64,
        /// Its X0.
        context: u64,
    },
    /// Stop the calling vCPU. The call does not return.
    CpuOff,
    /// Wait for an interrupt like WFI, then answer [`SUCCESS`].
    Suspend,
    /// Power the machine off. The call does not return.
    SystemOff,
    /// Reset the machine. The call does not return.
    SystemReset,
}

/// Return codes (DEN 0022, 5.2.2), sign-extended to the width of X0.
pub const SUCCESS: u64 = 0;
/// The function is not there.
pub const NOT_SUPPORTED: u64 = -1i64 as u64;
/// An argument is out of range.
pub const INVALID_PARAMETERS: u64 = -2i64 as u64;
/// The vCPU runs already.
pub const ALREADY_ON: u64 = -4i64 as u64;
/// The vCPU was started already.
pub const ON_PENDING: u64 = -5i64 as u64;
/// There is no code at the entry point.
pub const INVALID_ADDRESS: u64 = -9i64 as u64;

/// Function identifiers (DEN 0022, 5.1). Those of 64-bit calls have
/// [`SMC64`] set; the others take the low halves of their arguments.
pub(crate) const SMC64: u32 = 1 << 30;
const PSCI_VERSION: u32 = 0x8400_0000;
pub(crate) const CPU_SUSPEND: u32 = 0x8400_0001;
pub(crate) const CPU_OFF: u32 = 0x8400_0002;
pub(crate) const CPU_ON: u32 = 0x8400_0003;
const AFFINITY_INFO: u32 = 0x8400_0004;
const MIGRATE_INFO_TYPE: u32 = 0x8400_0006;
const SYSTEM_OFF: u32 = 0x8400_0008;
const SYSTEM_RESET: u32 = 0x8400_0009;
const PSCI_FEATURES: u32 = 0x8400_000a;
/// SMCCC_VERSION and SMCCC_ARCH_FEATURES (DEN 0028, 7.2 and 7.3).
const SMCCC_VERSION: u32 = 0x8000_0000;
const SMCCC_ARCH_FEATURES: u32 = 0x8000_0001;

const PSCI_1_1: u64 = 0x1_0001;
const SMCCC_1_1: u64 = 0x1_0001;
/// MIGRATE_INFO_TYPE: no trusted operating system that would have to migrate.
const NO_TRUSTED_OS: u64 = 2;

/// What the call in `args` (X0 to X3) asks for, on a machine whose vCPUs are in
/// the states `power`, with `ram` as its memory's addresses.
///
/// The workarounds for speculation (ARCH_WORKAROUND_1 to 3) are not there: the
/// ID registers say by CSV2 and CSV3 that the vCPUs need none.
pub fn decode(args: [u64; 4], power: &[Power], ram: Range<u64>) -> PsciCall {
    use PsciCall::Return;

    let function = args[0] as u32; // W0; the upper half is not part of it
    let wide = function & SMC64 != 0;
    let [_, a1, a2, a3] = if wide { args } else { args.map(|a| a & 0xffff_ffff) };
    match function {
        PSCI_VERSION => Return(PSCI_1_1),
        SMCCC_VERSION => Return(SMCCC_1_1),
        PSCI_FEATURES => Return(if implemented(a1 as u32) { SUCCESS } else { NOT_SUPPORTED }),
        SMCCC_ARCH_FEATURES => Return(if matches!(a1 as u32, SMCCC_VERSION | SMCCC_ARCH_FEATURES) {
            SUCCESS
        } else {
            NOT_SUPPORTED
        }),
        MIGRATE_INFO_TYPE => Return(NO_TRUSTED_OS),
        CPU_OFF => PsciCall::CpuOff,
        SYSTEM_OFF => PsciCall::SystemOff,
        SYSTEM_RESET => PsciCall::SystemReset,
        // power_state in its original format (DEN 0022, 5.4.2): zero is standby
        // of this vCPU alone. No other state exists here.
        _ if function & !SMC64 == CPU_SUSPEND => match a1 as u32 {
            0 => PsciCall::Suspend,
            _ => Return(INVALID_PARAMETERS),
        },
        _ if function & !SMC64 == CPU_ON => match cpu(a1, power) {
            None => Return(INVALID_PARAMETERS),
            Some((_, Power::On)) => Return(ALREADY_ON),
            Some((_, Power::OnPending)) => Return(ON_PENDING),
            Some((_, Power::Off)) if !ram.contains(&a2) || a2 % 4 != 0 => Return(INVALID_ADDRESS),
            Some((target, Power::Off)) => PsciCall::CpuOn { target, entry: a2, context: a3 },
        },
        // Levels above 0 are optional since PSCI 1.0 (DEN 0022, 5.7).
        _ if function & !SMC64 == AFFINITY_INFO => Return(match cpu(a1, power) {
            _ if a2 != 0 => INVALID_PARAMETERS,
            None => INVALID_PARAMETERS,
            Some((_, Power::On)) => 0,
            Some((_, Power::Off)) => 1,
            Some((_, Power::OnPending)) => 2,
        }),
        _ => Return(NOT_SUPPORTED),
    }
}

/// The vCPU with the affinity `mpidr`: its number is its Aff0, and every other
/// bit is zero, in the other affinity fields as in the reserved bits
/// (DEN 0022, 5.1.4).
fn cpu(mpidr: u64, power: &[Power]) -> Option<(usize, Power)> {
    let number = usize::try_from(mpidr).ok()?;
    Some((number, *power.get(number)?))
}

/// Whether PSCI_FEATURES finds `function`. The feature flags of each are zero;
/// for CPU_SUSPEND: original power_state format, platform-coordinated mode.
fn implemented(function: u32) -> bool {
    matches!(
        function,
        PSCI_VERSION
            | CPU_OFF
            | MIGRATE_INFO_TYPE
            | SYSTEM_OFF
            | SYSTEM_RESET
            | PSCI_FEATURES
            | SMCCC_VERSION
    ) || matches!(function & !SMC64, CPU_SUSPEND | CPU_ON | AFFINITY_INFO)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RAM: Range<u64> = 0x4000_0000..0x1_8000_0000;
    const POWER: [Power; 3] = [Power::On, Power::Off, Power::OnPending];

    fn call(args: [u64; 4]) -> PsciCall {
        decode(args, &POWER, RAM)
    }

    fn returns(function: u64, a1: u64, a2: u64) -> i64 {
        match call([function, a1, a2, 0]) {
            PsciCall::Return(value) => value as i64,
            other => panic!("{function:#x} asks for {other:?}"),
        }
    }

    #[test]
    fn versions_and_features() {
        assert_eq!(returns(0x8400_0000, 0, 0), 0x1_0001);
        assert_eq!(returns(0x8000_0000, 0, 0), 0x1_0001);
        assert_eq!(returns(0x8400_0006, 0, 0), 2);
        for there in [0x8400_0001u64, 0xc400_0001, 0x8400_0002, 0xc400_0003, 0xc400_0004, 0x8400_0008] {
            assert_eq!(returns(0x8400_000a, there, 0), 0, "{there:#x}");
        }
        // CPU_OFF has no 64-bit form; MIGRATE, SYSTEM_SUSPEND, SYSTEM_RESET2.
        for absent in [0xc400_0002u64, 0x8400_0005, 0xc400_000e, 0xc400_0012, 0x8400_00ff] {
            assert_eq!(returns(0x8400_000a, absent, 0), -1, "{absent:#x}");
            assert_eq!(returns(absent, 0, 0), -1, "{absent:#x}");
        }
        for workaround in [0x8000_8000u64, 0x8000_7fff, 0x8000_3fff] {
            assert_eq!(returns(0x8000_0001, workaround, 0), -1);
            assert_eq!(returns(workaround, 0, 0), -1);
        }
        assert_eq!(returns(0x8000_0001, 0x8000_0000, 0), 0);
        assert_eq!(returns(0xdead_8400_0000, 0, 0), 0x1_0001, "the identifier is W0");
    }

    #[test]
    fn cpu_on_checks_its_target_and_entry() {
        let entry = 0x4008_0000;
        assert_eq!(
            call([0xc400_0003, 1, entry, 7 << 40]),
            PsciCall::CpuOn { target: 1, entry, context: 7 << 40 }
        );
        assert_eq!(
            call([0x8400_0003, 0xffff_0000_0000_0001, 0xff_4008_0000, 1 << 32 | 5]),
            PsciCall::CpuOn { target: 1, entry, context: 5 },
            "a 32-bit call takes the low halves"
        );
        assert_eq!(
            call([0xc400_0003, 1, 0x1_7fff_fffc, 0]),
            PsciCall::CpuOn { target: 1, entry: 0x1_7fff_fffc, context: 0 }
        );
        assert_eq!(returns(0xc400_0003, 0, entry), -4, "already on");
        assert_eq!(returns(0xc400_0003, 2, entry), -5, "pending");
        for target in [3u64, 0x101, 0x1_0001, 1 << 32 | 1, 1 << 31 | 1, 1 << 24 | 1, u64::MAX] {
            assert_eq!(returns(0xc400_0003, target, entry), -2, "{target:#x}");
        }
        for entry in [0u64, 0x3fff_fffc, 0x1_8000_0000, 0x4000_0002, u64::MAX] {
            assert_eq!(returns(0xc400_0003, 1, entry), -9, "{entry:#x}");
        }
    }

    #[test]
    fn affinity_info_tells_the_power_state() {
        for (target, state) in [(0, 0), (1, 1), (2, 2), (3, -2)] {
            assert_eq!(returns(0xc400_0004, target, 0), state);
            assert_eq!(returns(0x8400_0004, target, 0), state);
        }
        assert_eq!(returns(0xc400_0004, 0, 1), -2, "only level 0");
    }

    #[test]
    fn power_calls_pass_through() {
        assert_eq!(call([0x8400_0002, 0, 0, 0]), PsciCall::CpuOff);
        assert_eq!(call([0x8400_0008, 0, 0, 0]), PsciCall::SystemOff);
        assert_eq!(call([0x8400_0009, 0, 0, 0]), PsciCall::SystemReset);
        assert_eq!(call([0xc400_0001, 0, 0, 0]), PsciCall::Suspend);
        assert_eq!(call([0x8400_0001, 0, 0, 0]), PsciCall::Suspend);
        assert_eq!(returns(0xc400_0001, 1 << 16, 0x4000_0000), -2, "no power-down state");
        assert_eq!(returns(0xc400_0001, 1 << 24, 0), -2, "no higher power level");
    }

    proptest! {
        #[test]
        fn any_call_is_answered(args: [u64; 4], known in 0u64..0x20, conduit in 0usize..4, cpus in 0usize..9) {
            let base = [0x8400_0000, 0xc400_0000, 0x8000_0000, 0xffff_ffe0][conduit];
            let power = vec![Power::Off; cpus];
            for args in [args, [base + known, args[1] % 10, args[2], args[3]]] {
                if let PsciCall::CpuOn { target, entry, .. } = decode(args, &power, RAM) {
                    prop_assert!(target < cpus && RAM.contains(&entry));
                }
            }
        }
    }
}
