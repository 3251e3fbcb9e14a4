//! What the processor says of itself, on every engine: ARMv8.0 with LSE, CRC32, AES and PMULL, SHA-1 and SHA-256, PAN
//! and 16-bit ASIDs, and no more. A subset of every Apple M-series chip, so that a captured base can move there.

use crate::engine::SysReg;

/// MIDR_EL1: implementer 0 is for software (Arm ARM D24.2.101), so Linux applies the errata of no real core.
pub const MIDR_EL1: u64 = 0x000f_5a70;
/// REVIDR_EL1 and AIDR_EL1.
pub const REVIDR_EL1: u64 = 0;
/// CTR_EL0: 64-byte lines. Neither IDC nor DIC (Arm ARM D24.2.34): the soft engine must be told of changed code, and
/// Apple's processors, which show a guest their own register, want their data cache cleaned first.
pub const CTR_EL0: u64 = 0x8444_c004;
/// DCZID_EL0: DC ZVA clears 64 bytes.
pub const DCZID_EL0: u64 = 4;
/// CLIDR_EL1: separate level 1 caches, coherent at level 1.
pub const CLIDR_EL1: u64 = 0x0100_0003;
/// CCSIDR_EL1: 32 KiB, 4 ways, 64-byte lines.
pub const CCSIDR_EL1: u64 = (127 << 13) | (3 << 3) | 2;

/// ID_AA64PFR0_EL1: EL0 and EL1 in AArch64, FP and SIMD without half-precision arithmetic, GIC system registers, CSV2
/// and CSV3: no need for KPTI.
const PFR0: u64 = 0x1100_0000_0100_0011;
/// ID_AA64DFR0_EL1: ARMv8 debug with the OS double lock, 6 breakpoints, the last 2 of which compare contexts too, 4
/// watchpoints, no PMU.
const DFR0: u64 = 0x1030_5006;
/// ID_AA64ISAR0_EL1: AES and PMULL, SHA-1, SHA-256, CRC32, LSE.
const ISAR0: u64 = 0x0021_1120;
/// ID_AA64MMFR0_EL1: 40-bit addresses, 16-bit ASIDs, the 4 KiB granule alone.
const MMFR0: u64 = 0x0f00_0022;
/// ID_AA64MMFR1_EL1: PAN.
const MMFR1: u64 = 0x0010_0000;

/// MPIDR_EL1 of vCPU `index`: bit 31 is RES1, affinity 0 is the number.
pub const fn mpidr_el1(index: usize) -> u64 {
    0x8000_0000 | index as u64
}

/// Value of a feature register: op0 3, op1 0, CRn 0, CRm 1 to 7. What is not allocated there reads as zero (Arm ARM
/// D24.1, "Reserved"). None for a register outside that space.
pub fn feature_register(register: SysReg) -> Option<u64> {
    const FIRST: u16 = SysReg::new(3, 0, 0, 1, 0).encoding();
    const LAST: u16 = SysReg::new(3, 0, 0, 7, 7).encoding();
    const PFR0_EL1: u16 = SysReg::new(3, 0, 0, 4, 0).encoding();
    const DFR0_EL1: u16 = SysReg::new(3, 0, 0, 5, 0).encoding();
    const ISAR0_EL1: u16 = SysReg::new(3, 0, 0, 6, 0).encoding();
    const MMFR0_EL1: u16 = SysReg::new(3, 0, 0, 7, 0).encoding();
    const MMFR1_EL1: u16 = SysReg::new(3, 0, 0, 7, 1).encoding();
    Some(match register.encoding() {
        PFR0_EL1 => PFR0,
        DFR0_EL1 => DFR0,
        ISAR0_EL1 => ISAR0,
        MMFR0_EL1 => MMFR0,
        MMFR1_EL1 => MMFR1,
        FIRST..=LAST => 0,
        _ => return None,
    })
}
