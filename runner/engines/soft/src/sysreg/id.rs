//! What the processor says of itself: the machine's features.

use machine::{engine::SysReg, features};

use super::name;

/// Value of an identification register of vCPU `index`, if `encoding` is one.
pub(super) fn read(encoding: u16, index: usize) -> Option<u64> {
    Some(match encoding {
        name::MIDR_EL1 => features::MIDR_EL1,
        name::MPIDR_EL1 => features::mpidr_el1(index),
        name::REVIDR_EL1 | name::AIDR_EL1 => features::REVIDR_EL1,
        name::CTR_EL0 => features::CTR_EL0,
        name::DCZID_EL0 => features::DCZID_EL0,
        name::CLIDR_EL1 => features::CLIDR_EL1,
        name::CCSIDR_EL1 => features::CCSIDR_EL1,
        _ => return features::feature_register(SysReg::from_word(u32::from(encoding) << 5)),
    })
}
