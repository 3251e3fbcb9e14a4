//! What the guest's exit to the framework means: `hv_vcpu_exit_t`, whose syndrome "corresponds to ESR_ELx".

use applevisor::vcpu::VcpuExitException;
use machine::{engine::SysReg, features};

use crate::{
    access::{self, Access},
    exception::{CLASS_SHIFT, class},
};

/// Why a guest came back by an exception (Arm ARM D24.2.40).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trap {
    /// WFI or WFE. The PC is at it.
    Wait {
        /// It is WFE.
        for_event: bool,
    },
    /// HVC. The PC is behind it (Arm ARM D1.3.1.4).
    Hypercall {
        /// Its immediate.
        immediate: u16,
    },
    /// SMC. The PC is at it, as at everything that is trapped.
    Monitor,
    /// MRS, MSR or SYS. The PC is at it.
    System(SystemAccess),
    /// An instruction fetch where nothing is mapped, at this virtual address.
    Fetch {
        address: u64,
        /// What is not mapped is a translation table.
        on_walk: bool,
    },
    /// A load or store where nothing is mapped.
    Data {
        /// Virtual address.
        address: u64,
        /// Guest physical address.
        gpa: u64,
        write: bool,
        on_walk: bool,
        /// Cache maintenance, which moves no data.
        maintenance: bool,
        /// What the processor says of it.
        access: Option<Access>,
    },
    /// Anything else: the exception class.
    Other(u8),
}

/// An access to a system register, or a system instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SystemAccess {
    pub(crate) register: SysReg,
    pub(crate) read: bool,
    /// The general register, 31 for none.
    pub(crate) rt: u8,
}

/// Reads an exit's exception.
pub(crate) fn trap(exception: &VcpuExitException) -> Trap {
    let syndrome = exception.syndrome;
    let (address, gpa) = (exception.virtual_address, exception.physical_address);
    let on_walk = syndrome & 1 << 7 != 0;
    match syndrome >> CLASS_SHIFT & 0x3f {
        // TI: 0b00 is WFI, 0b01 WFE.
        class::WFX => Trap::Wait { for_event: syndrome & 1 != 0 },
        class::HVC => Trap::Hypercall { immediate: syndrome as u16 },
        class::SMC => Trap::Monitor,
        class::SYSTEM_REGISTER => Trap::System(system_access(syndrome)),
        class::INSTRUCTION_ABORT_LOWER => Trap::Fetch { address, on_walk },
        class::DATA_ABORT_LOWER => Trap::Data {
            address,
            gpa,
            write: syndrome & 1 << 6 != 0,
            on_walk,
            maintenance: syndrome & 1 << 8 != 0,
            access: access::from_syndrome(syndrome),
        },
        other => Trap::Other(other as u8),
    }
}

/// ISS of EC 0x18.
fn system_access(syndrome: u64) -> SystemAccess {
    let field = |low: u32, bits: u32| (syndrome >> low & ((1 << bits) - 1)) as u8;
    SystemAccess {
        register: SysReg::new(field(20, 2), field(14, 3), field(10, 4), field(1, 4), field(17, 3)),
        read: syndrome & 1 != 0,
        rt: field(5, 5),
    }
}

/// Who answers for a system register that traps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holder {
    /// The machine: the CPU interface of its interrupt controller (Arm IHI 0069, 12.2).
    Machine,
    /// Nobody: it reads as this, and forgets what is written.
    Constant(u64),
    /// OSLAR_EL1: sets or clears the OS lock.
    OsLock,
    /// OSLSR_EL1: the OS lock.
    OsLockStatus,
    /// OSDLR_EL1: the OS double lock.
    OsDoubleLock,
    /// CNTPCT_EL0: the physical counter, which is the virtual one here.
    Counter,
    /// The performance monitors, which are not there, as ID_AA64DFR0_EL1 says: UNDEFINED.
    Absent,
    /// A system instruction that has nothing to do: caches are coherent.
    Nothing,
    /// Not known here.
    Unknown,
}

/// Who holds `register`. Those of the framework (`hv_sys_reg_t`) do not trap.
pub(crate) fn holder(register: SysReg) -> Holder {
    const fn at(op0: u8, op1: u8, crn: u8, crm: u8, op2: u8) -> u16 {
        SysReg::new(op0, op1, crn, crm, op2).encoding()
    }
    const PMR: u16 = at(3, 0, 4, 6, 0);
    const ICC: u16 = at(3, 0, 12, 8, 0);
    const ICC_LAST: u16 = at(3, 0, 12, 12, 7);
    const OSLAR: u16 = at(2, 0, 1, 0, 4);
    const OSLSR: u16 = at(2, 0, 1, 1, 4);
    const OSDLR: u16 = at(2, 0, 1, 3, 4);
    const MDRAR: u16 = at(2, 0, 1, 0, 0);
    const DBGPRCR: u16 = at(2, 0, 1, 4, 4);
    const DBGAUTHSTATUS: u16 = at(2, 0, 7, 14, 6);
    const MDCCINT: u16 = at(2, 0, 0, 2, 0);
    const OSDTRRX: u16 = at(2, 0, 0, 0, 2);
    const ACTLR: u16 = at(3, 0, 1, 0, 1);
    const MIDR: u16 = at(3, 0, 0, 0, 0);
    const REVIDR: u16 = at(3, 0, 0, 0, 6);
    const AIDR: u16 = at(3, 1, 0, 0, 7);
    const CLIDR: u16 = at(3, 1, 0, 0, 1);
    const CCSIDR: u16 = at(3, 1, 0, 0, 0);
    const CTR: u16 = at(3, 3, 0, 0, 1);
    const CNTPCT: u16 = at(3, 3, 14, 0, 1);
    const PMU_EL1: u16 = at(3, 0, 9, 14, 0);
    const PMU_EL1_LAST: u16 = at(3, 0, 9, 14, 7);
    const PMU_EL0: u16 = at(3, 3, 9, 12, 0);
    const PMU_EL0_LAST: u16 = at(3, 3, 9, 14, 7);
    const PMU_COUNTERS: u16 = at(3, 3, 14, 8, 0);
    const PMU_COUNTERS_LAST: u16 = at(3, 3, 14, 15, 7);
    /// DC of op0 1, CRn 7: by set and way or address.
    const CACHES: u16 = at(1, 0, 7, 0, 0);
    const CACHES_LAST: u16 = at(1, 0, 7, 15, 7);
    match register.encoding() {
        PMR | ICC..=ICC_LAST => Holder::Machine,
        OSLAR => Holder::OsLock,
        OSLSR => Holder::OsLockStatus,
        OSDLR => Holder::OsDoubleLock,
        CNTPCT => Holder::Counter,
        MDRAR | DBGPRCR | DBGAUTHSTATUS | MDCCINT | OSDTRRX | ACTLR => Holder::Constant(0),
        MIDR => Holder::Constant(features::MIDR_EL1),
        REVIDR | AIDR => Holder::Constant(features::REVIDR_EL1),
        CLIDR => Holder::Constant(features::CLIDR_EL1),
        CCSIDR => Holder::Constant(features::CCSIDR_EL1),
        CTR => Holder::Constant(features::CTR_EL0),
        PMU_EL1..=PMU_EL1_LAST | PMU_EL0..=PMU_EL0_LAST | PMU_COUNTERS..=PMU_COUNTERS_LAST => Holder::Absent,
        CACHES..=CACHES_LAST => Holder::Nothing,
        _ => features::feature_register(register).map_or(Holder::Unknown, Holder::Constant),
    }
}
