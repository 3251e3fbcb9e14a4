//! The architectural state of one vCPU: the same type for every engine, so a
//! base captured by one restores on another.

use serde::{Deserialize, Serialize};

/// PSTATE after reset into EL1h with every exception masked, in SPSR_EL1
/// format (Arm ARM C5.2.18): D, A, I and F set, M = 0b0101.
pub const PSTATE_EL1H_MASKED: u64 = 0x3c5;

/// Everything a vCPU must remember between two instructions, in architectural
/// terms. The exclusive monitor is always clear in a saved state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuState {
    /// X0 to X30.
    pub x: [u64; 31],
    /// SP_EL0.
    pub sp_el0: u64,
    /// SP_EL1.
    pub sp_el1: u64,
    /// Program counter.
    pub pc: u64,
    /// PSTATE in the format of SPSR_EL1 (Arm ARM C5.2.18).
    pub pstate: u64,
    /// V0 to V31, as low and high halves.
    pub v: [[u64; 2]; 32],
    /// FPCR.
    pub fpcr: u64,
    /// FPSR.
    pub fpsr: u64,
    /// System registers.
    pub sys: SysRegs,
    /// The virtual timer.
    pub timer: TimerState,
}

/// The EL0 and EL1 system registers that hold state, each by its
/// architectural name (Arm ARM D24).
#[allow(missing_docs)] // each field is the register that its name says
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SysRegs {
    pub sctlr_el1: u64,
    pub actlr_el1: u64,
    pub cpacr_el1: u64,
    pub ttbr0_el1: u64,
    pub ttbr1_el1: u64,
    pub tcr_el1: u64,
    pub mair_el1: u64,
    pub amair_el1: u64,
    pub vbar_el1: u64,
    pub contextidr_el1: u64,
    pub esr_el1: u64,
    pub far_el1: u64,
    pub afsr0_el1: u64,
    pub afsr1_el1: u64,
    pub elr_el1: u64,
    pub spsr_el1: u64,
    pub par_el1: u64,
    pub tpidr_el0: u64,
    pub tpidrro_el0: u64,
    pub tpidr_el1: u64,
    pub csselr_el1: u64,
    pub cntkctl_el1: u64,
    pub mdscr_el1: u64,
    pub osdlr_el1: u64,
    /// OS lock status: true when locked (OSLSR_EL1.OSLK).
    pub os_lock: bool,
    /// Breakpoint value and control registers (DBGBVRn_EL1, DBGBCRn_EL1).
    pub breakpoints: [[u64; 2]; 6],
    /// Watchpoint value and control registers (DBGWVRn_EL1, DBGWCRn_EL1).
    pub watchpoints: [[u64; 2]; 4],
    /// Pointer authentication keys APIA, APIB, APDA, APDB, APGA, low and high;
    /// zero on an engine that shows the guest no pointer authentication.
    pub pointer_auth_keys: [[u64; 2]; 5],
}

/// The virtual timer of one vCPU (Arm ARM D12.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimerState {
    /// CNTV_CTL_EL0, without ISTATUS, which follows from the time.
    pub ctl: u64,
    /// CNTV_CVAL_EL0, in ticks of the counter.
    pub cval: u64,
}

impl TimerState {
    /// Whether the timer asserts its interrupt at counter value `now`:
    /// enabled, not masked, and its compare value reached.
    pub fn asserted(&self, now: u64) -> bool {
        self.ctl & 0b11 == 0b01 && now >= self.cval
    }

    /// Counter value at which the interrupt will rise, if it is armed.
    pub fn deadline(&self) -> Option<u64> {
        (self.ctl & 0b11 == 0b01).then_some(self.cval)
    }
}

impl CpuState {
    /// The state in which a vCPU enters a kernel: EL1h, everything masked, MMU
    /// off (Linux Documentation/arch/arm64/booting.rst; PSCI 1.1, 6.4 for a
    /// secondary one). `x0` is the device tree's address, or PSCI's context id.
    pub fn at_entry(pc: u64, x0: u64) -> Self {
        let mut state = CpuState { pc, pstate: PSTATE_EL1H_MASKED, ..Default::default() };
        state.x[0] = x0;
        state.sys.sctlr_el1 = SCTLR_EL1_RESET;
        state
    }
}

/// SCTLR_EL1 with its RES1 bits set, MMU and caches off (Arm ARM D24.2.175).
pub const SCTLR_EL1_RESET: u64 = 0x30d0_0980;
