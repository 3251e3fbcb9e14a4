//! The system registers that gdb may look at.

use machine::cpu_state::CpuState;

/// A system register.
pub struct SystemRegister {
    /// Its name in the Arm ARM, as gdb writes it after a `$`.
    pub name: &'static str,
    /// Its value.
    pub read: fn(&CpuState) -> u64,
}

macro_rules! registers {
    ($($name:literal = $($field:ident).+;)*) => {
        &[$(SystemRegister { name: $name, read: |state| state.$($field).+ }),*]
    };
}

/// All of them, in the order of their numbers.
pub const SYSTEM_REGISTERS: &[SystemRegister] = registers! {
    "SP_EL0" = sp_el0;
    "SP_EL1" = sp_el1;
    "ELR_EL1" = sys.elr_el1;
    "SPSR_EL1" = sys.spsr_el1;
    "ESR_EL1" = sys.esr_el1;
    "FAR_EL1" = sys.far_el1;
    "VBAR_EL1" = sys.vbar_el1;
    "SCTLR_EL1" = sys.sctlr_el1;
    "TCR_EL1" = sys.tcr_el1;
    "TTBR0_EL1" = sys.ttbr0_el1;
    "TTBR1_EL1" = sys.ttbr1_el1;
    "MAIR_EL1" = sys.mair_el1;
    "CPACR_EL1" = sys.cpacr_el1;
    "CONTEXTIDR_EL1" = sys.contextidr_el1;
    "TPIDR_EL0" = sys.tpidr_el0;
    "TPIDRRO_EL0" = sys.tpidrro_el0;
    "TPIDR_EL1" = sys.tpidr_el1;
    "PAR_EL1" = sys.par_el1;
    "MDSCR_EL1" = sys.mdscr_el1;
    "CNTKCTL_EL1" = sys.cntkctl_el1;
    "CNTV_CTL_EL0" = timer.ctl;
    "CNTV_CVAL_EL0" = timer.cval;
};
