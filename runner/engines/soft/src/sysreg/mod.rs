//! System registers: what the guest is told about its processor, what it may
//! read and write, and the SYS instructions.

mod access;
mod debug;
mod id;
mod instruction;

use machine::engine::SysReg;

/// CPACR_EL1 fields (Arm ARM D24.2.33).
pub mod cpacr {
    /// FPEN: which levels trap FP and SIMD.
    pub const FPEN_SHIFT: u32 = 20;
}

/// SCTLR_EL1 bits that allow EL0 something (Arm ARM D24.2.175).
pub(crate) mod sctlr_el0 {
    /// Access to DAIF.
    pub const UMA: u64 = 1 << 9;
    /// DC ZVA.
    pub const DZE: u64 = 1 << 14;
    /// CTR_EL0.
    pub const UCT: u64 = 1 << 15;
    /// WFI is not trapped.
    pub const NTWI: u64 = 1 << 16;
    /// WFE is not trapped.
    pub const NTWE: u64 = 1 << 18;
    /// Cache maintenance.
    pub const UCI: u64 = 1 << 26;
}

/// Bits of FPCR that are there: AHP, DN, FZ, RMode.
pub(crate) const FPCR_MASK: u64 = 0x07c0_0000;
/// Bits of FPSR that are there: QC and the cumulative flags.
pub(crate) const FPSR_MASK: u64 = 0x0800_009f;

macro_rules! registers {
    ($($name:ident = $op0:literal $op1:literal $crn:literal $crm:literal $op2:literal),* $(,)?) => {
        /// Encodings by architectural name (Arm ARM D24).
        #[allow(missing_docs)] // each is the register that its name says
        pub mod name {
            use super::SysReg;
            $(pub const $name: u16 = SysReg::new($op0, $op1, $crn, $crm, $op2).encoding();)*
        }

        /// Architectural name of a register, if it has one here.
        pub fn register_name(encoding: u16) -> Option<&'static str> {
            match encoding {
                $(name::$name => Some(stringify!($name)),)*
                _ => None,
            }
        }
    };
}

registers! {
    OSDTRRX_EL1 = 2 0 0 0 2,
    MDCCINT_EL1 = 2 0 0 2 0,
    MDSCR_EL1 = 2 0 0 2 2,
    MDRAR_EL1 = 2 0 1 0 0,
    OSLAR_EL1 = 2 0 1 0 4,
    OSLSR_EL1 = 2 0 1 1 4,
    OSDLR_EL1 = 2 0 1 3 4,
    DBGPRCR_EL1 = 2 0 1 4 4,
    DBGAUTHSTATUS_EL1 = 2 0 7 14 6,
    MIDR_EL1 = 3 0 0 0 0,
    MPIDR_EL1 = 3 0 0 0 5,
    REVIDR_EL1 = 3 0 0 0 6,
    ID_AA64PFR0_EL1 = 3 0 0 4 0,
    ID_AA64DFR0_EL1 = 3 0 0 5 0,
    ID_AA64ISAR0_EL1 = 3 0 0 6 0,
    ID_AA64MMFR0_EL1 = 3 0 0 7 0,
    ID_AA64MMFR1_EL1 = 3 0 0 7 1,
    SCTLR_EL1 = 3 0 1 0 0,
    ACTLR_EL1 = 3 0 1 0 1,
    CPACR_EL1 = 3 0 1 0 2,
    TTBR0_EL1 = 3 0 2 0 0,
    TTBR1_EL1 = 3 0 2 0 1,
    TCR_EL1 = 3 0 2 0 2,
    SPSR_EL1 = 3 0 4 0 0,
    ELR_EL1 = 3 0 4 0 1,
    SP_EL0 = 3 0 4 1 0,
    SPSEL = 3 0 4 2 0,
    CURRENT_EL = 3 0 4 2 2,
    PAN = 3 0 4 2 3,
    AFSR0_EL1 = 3 0 5 1 0,
    AFSR1_EL1 = 3 0 5 1 1,
    ESR_EL1 = 3 0 5 2 0,
    FAR_EL1 = 3 0 6 0 0,
    PAR_EL1 = 3 0 7 4 0,
    MAIR_EL1 = 3 0 10 2 0,
    AMAIR_EL1 = 3 0 10 3 0,
    VBAR_EL1 = 3 0 12 0 0,
    RVBAR_EL1 = 3 0 12 0 1,
    ISR_EL1 = 3 0 12 1 0,
    CONTEXTIDR_EL1 = 3 0 13 0 1,
    TPIDR_EL1 = 3 0 13 0 4,
    CNTKCTL_EL1 = 3 0 14 1 0,
    CCSIDR_EL1 = 3 1 0 0 0,
    CLIDR_EL1 = 3 1 0 0 1,
    AIDR_EL1 = 3 1 0 0 7,
    CSSELR_EL1 = 3 2 0 0 0,
    CTR_EL0 = 3 3 0 0 1,
    DCZID_EL0 = 3 3 0 0 7,
    NZCV = 3 3 4 2 0,
    DAIF = 3 3 4 2 1,
    FPCR = 3 3 4 4 0,
    FPSR = 3 3 4 4 1,
    TPIDR_EL0 = 3 3 13 0 2,
    TPIDRRO_EL0 = 3 3 13 0 3,
    CNTFRQ_EL0 = 3 3 14 0 0,
    CNTPCT_EL0 = 3 3 14 0 1,
    CNTVCT_EL0 = 3 3 14 0 2,
    CNTV_TVAL_EL0 = 3 3 14 3 0,
    CNTV_CTL_EL0 = 3 3 14 3 1,
    CNTV_CVAL_EL0 = 3 3 14 3 2,
}

/// Whether the machine holds the register: those of the GIC's CPU interface
/// (Arm IHI 0069, 12.2).
fn is_gic(encoding: u16) -> bool {
    const ICC_PMR: u16 = SysReg::new(3, 0, 4, 6, 0).encoding();
    const FIRST: u16 = SysReg::new(3, 0, 12, 8, 0).encoding();
    const LAST: u16 = SysReg::new(3, 0, 12, 12, 7).encoding();
    encoding == ICC_PMR || (FIRST..=LAST).contains(&encoding)
}

/// Whether `encoding` is of the Performance Monitors Extension (Arm ARM D24.5). It is not there, as ID_AA64DFR0_EL1 says,
/// and a kernel may find that out by trying.
fn is_pmu(encoding: u16) -> bool {
    const EL1: u16 = SysReg::new(3, 0, 9, 14, 0).encoding();
    const EL1_LAST: u16 = SysReg::new(3, 0, 9, 14, 7).encoding();
    const EL0: u16 = SysReg::new(3, 3, 9, 12, 0).encoding();
    const EL0_LAST: u16 = SysReg::new(3, 3, 9, 14, 7).encoding();
    const COUNTERS: u16 = SysReg::new(3, 3, 14, 8, 0).encoding();
    const COUNTERS_LAST: u16 = SysReg::new(3, 3, 14, 15, 7).encoding();
    matches!(encoding, EL1..=EL1_LAST | EL0..=EL0_LAST | COUNTERS..=COUNTERS_LAST)
}

/// The name, or the encoding where it has none.
pub fn describe(encoding: u16) -> String {
    match register_name(encoding) {
        Some(name) => name.to_owned(),
        None => SysReg::from_word(u32::from(encoding) << 5).to_string(),
    }
}
