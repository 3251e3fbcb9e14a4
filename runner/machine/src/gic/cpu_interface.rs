//! The CPU interfaces: the system registers by which each vCPU takes and ends
//! its interrupts (Arm IHI 0069, 12.2).

use serde::{Deserialize, Serialize};

use super::{Gic, INTIDS, Line, SPURIOUS, bank::PRIORITY_MASK};
use crate::engine::SysReg;

/// Running priority with no interrupt active (Arm IHI 0069, 12.2, ICC_RPR_EL1).
pub(super) const IDLE_PRIORITY: u8 = 0xff;
/// Least ICC_BPR0_EL1 with five priority bits (Arm IHI 0069, 4.8, Priority grouping).
pub(super) const MIN_BPR0: u8 = 2;
/// Least ICC_BPR1_EL1: one more, for a Group 1 binary point splits one bit lower.
pub(super) const MIN_BPR1: u8 = 3;

/// Saved state of one CPU interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuInterfaceState {
    /// ICC_PMR_EL1.
    pub priority_mask: u8,
    /// ICC_BPR0_EL1.
    pub bpr0: u8,
    /// ICC_BPR1_EL1.
    pub bpr1: u8,
    /// ICC_CTLR_EL1.CBPR: both groups use ICC_BPR0_EL1.
    pub common_bpr: bool,
    /// ICC_CTLR_EL1.EOImode: the end of an interrupt drops its priority only;
    /// ICC_DIR_EL1 deactivates it.
    pub split_eoi: bool,
    /// ICC_IGRPEN0_EL1.
    pub enable_group0: bool,
    /// ICC_IGRPEN1_EL1.
    pub enable_group1: bool,
    /// ICC_AP0R0_EL1: active priorities of Group 0, bit `n` for priority `8 * n`.
    pub active_priorities0: u32,
    /// ICC_AP1R0_EL1: those of Group 1.
    pub active_priorities1: u32,
}

impl Default for CpuInterfaceState {
    fn default() -> Self {
        CpuInterfaceState {
            priority_mask: 0,
            bpr0: MIN_BPR0,
            bpr1: MIN_BPR1,
            common_bpr: false,
            split_eoi: false,
            enable_group0: false,
            enable_group1: false,
            active_priorities0: 0,
            active_priorities1: 0,
        }
    }
}

impl CpuInterfaceState {
    /// Group priority of an interrupt: its priority without the subpriority
    /// bits (Arm IHI 0069, 4.8, Priority grouping).
    pub(super) fn group_priority(&self, priority: u8, group1: bool) -> u8 {
        let subpriority_bits = if group1 && !self.common_bpr { self.bpr1 } else { self.bpr0 + 1 };
        (u16::from(priority) & (0xff << subpriority_bits)) as u8
    }

    /// ICC_RPR_EL1: priority of the most urgent active interrupt.
    pub(super) fn running_priority(&self) -> u8 {
        let active = self.active_priorities0 | self.active_priorities1;
        if active == 0 { IDLE_PRIORITY } else { (active.trailing_zeros() as u8) << 3 }
    }

    /// Whether an interrupt of this priority is signalled to the PE: more
    /// urgent than the mask, and its group priority more urgent than what runs
    /// (Arm IHI 0069, 4.8, Preemption and Priority masking).
    pub(super) fn signals(&self, priority: u8, group1: bool) -> bool {
        priority < self.priority_mask && self.group_priority(priority, group1) < self.running_priority()
    }

    fn active_priorities(&mut self, group1: bool) -> &mut u32 {
        if group1 { &mut self.active_priorities1 } else { &mut self.active_priorities0 }
    }

    fn raise_priority(&mut self, priority: u8, group1: bool) {
        let level = self.group_priority(priority, group1) >> 3;
        *self.active_priorities(group1) |= 1 << level;
    }

    /// Forgets the group's most urgent active priority.
    fn drop_priority(&mut self, group1: bool) {
        let active = self.active_priorities(group1);
        *active &= active.wrapping_sub(1);
    }

    fn read_bpr1(&self) -> u8 {
        if self.common_bpr { (self.bpr0 + 1).min(7) } else { self.bpr1 }
    }

    fn read_ctlr(&self) -> u64 {
        u64::from(self.common_bpr) | u64::from(self.split_eoi) << 1 | CTLR_PRIBITS
    }
}

/// ICC_CTLR_EL1.PRIbits: five priority bits, less one. IDbits, A3V, SEIS and
/// RSS are zero: 16-bit INTIDs, no Aff3, no SError, Aff0 below 16.
const CTLR_PRIBITS: u64 = 4 << 8;
/// ICC_SRE_EL1, fixed: system registers on, interrupt bypass off.
const SRE_VALUE: u64 = 0b111;

const PMR: SysReg = SysReg::new(3, 0, 4, 6, 0);
const IAR0: SysReg = SysReg::new(3, 0, 12, 8, 0);
const EOIR0: SysReg = SysReg::new(3, 0, 12, 8, 1);
const HPPIR0: SysReg = SysReg::new(3, 0, 12, 8, 2);
const BPR0: SysReg = SysReg::new(3, 0, 12, 8, 3);
// With five preemption levels the other active-priority registers are UNDEFINED.
const AP0R0: SysReg = SysReg::new(3, 0, 12, 8, 4);
const AP1R0: SysReg = SysReg::new(3, 0, 12, 9, 0);
const DIR: SysReg = SysReg::new(3, 0, 12, 11, 1);
const RPR: SysReg = SysReg::new(3, 0, 12, 11, 3);
const SGI1R: SysReg = SysReg::new(3, 0, 12, 11, 5);
const ASGI1R: SysReg = SysReg::new(3, 0, 12, 11, 6);
const SGI0R: SysReg = SysReg::new(3, 0, 12, 11, 7);
const IAR1: SysReg = SysReg::new(3, 0, 12, 12, 0);
const EOIR1: SysReg = SysReg::new(3, 0, 12, 12, 1);
const HPPIR1: SysReg = SysReg::new(3, 0, 12, 12, 2);
const BPR1: SysReg = SysReg::new(3, 0, 12, 12, 3);
const CTLR: SysReg = SysReg::new(3, 0, 12, 12, 4);
const SRE: SysReg = SysReg::new(3, 0, 12, 12, 5);
const IGRPEN0: SysReg = SysReg::new(3, 0, 12, 12, 6);
const IGRPEN1: SysReg = SysReg::new(3, 0, 12, 12, 7);

impl Gic {
    /// Whether `register` belongs to the GIC's CPU interface.
    pub fn owns(register: SysReg) -> bool {
        matches!(
            register,
            PMR | IAR0
                | EOIR0
                | HPPIR0
                | BPR0
                | AP0R0
                | AP1R0
                | DIR
                | RPR
                | SGI1R
                | ASGI1R
                | SGI0R
                | IAR1
                | EOIR1
                | HPPIR1
                | BPR1
                | CTLR
                | SRE
                | IGRPEN0
                | IGRPEN1
        )
    }

    /// Answers a read of a system register by vCPU `cpu`; `None` if it is not
    /// the GIC's, or write-only: then the instruction is UNDEFINED.
    pub fn sysreg_read(&mut self, cpu: usize, register: SysReg) -> Option<u64> {
        match register {
            IAR0 => return Some(self.acknowledge(cpu, Line::Fiq)),
            IAR1 => return Some(self.acknowledge(cpu, Line::Irq)),
            _ => {}
        }
        let interface = self.state.cpu_interfaces.get(cpu)?;
        Some(match register {
            HPPIR0 => self.highest_pending_intid(cpu, false),
            HPPIR1 => self.highest_pending_intid(cpu, true),
            PMR => interface.priority_mask.into(),
            BPR0 => interface.bpr0.into(),
            BPR1 => interface.read_bpr1().into(),
            AP0R0 => interface.active_priorities0.into(),
            AP1R0 => interface.active_priorities1.into(),
            RPR => interface.running_priority().into(),
            CTLR => interface.read_ctlr(),
            SRE => SRE_VALUE,
            IGRPEN0 => interface.enable_group0.into(),
            IGRPEN1 => interface.enable_group1.into(),
            _ => return None,
        })
    }

    /// Takes a write to a system register by vCPU `cpu`. False if it is not the
    /// GIC's, or read-only: then the instruction is UNDEFINED.
    pub fn sysreg_write(&mut self, cpu: usize, register: SysReg, value: u64) -> bool {
        let Some(interface) = self.state.cpu_interfaces.get_mut(cpu) else {
            return false;
        };
        match register {
            PMR => interface.priority_mask = value as u8 & PRIORITY_MASK,
            BPR0 => interface.bpr0 = (value as u8 & 7).max(MIN_BPR0),
            // Ignored while CBPR makes it a view of ICC_BPR0_EL1.
            BPR1 if interface.common_bpr => {}
            BPR1 => interface.bpr1 = (value as u8 & 7).max(MIN_BPR1),
            AP0R0 => interface.active_priorities0 = value as u32,
            AP1R0 => interface.active_priorities1 = value as u32,
            CTLR => {
                interface.common_bpr = value & 1 != 0;
                interface.split_eoi = value & 2 != 0;
            }
            SRE => {}
            IGRPEN0 | IGRPEN1 => {
                let enable = value & 1 != 0;
                if register == IGRPEN0 {
                    interface.enable_group0 = enable;
                } else {
                    interface.enable_group1 = enable;
                }
                // Another vCPU may now be the one to take 1-of-N interrupts.
                self.update_all();
                return true;
            }
            EOIR0 => self.end_of_interrupt(cpu, value, false),
            EOIR1 => self.end_of_interrupt(cpu, value, true),
            DIR => {
                // Without EOImode the write has no effect, as if it came twice.
                if interface.split_eoi {
                    self.deactivate(cpu, intid_of(value), None);
                }
            }
            SGI0R => self.send_sgi(cpu, value, false),
            SGI1R => self.send_sgi(cpu, value, true),
            // Meant for the other security state, and there is none: what is
            // not Group 1 of this one is Group 0 (Arm IHI 0069, 12.1,
            // Forwarding an SGI to a target PE).
            ASGI1R => self.send_sgi(cpu, value, false),
            _ => return false,
        }
        self.update(cpu);
        true
    }

    /// Puts the CPU interface of `cpu` in its reset state: it belongs to the
    /// PE, which PSCI CPU_ON starts from reset. Left alone is one of the host's, which may not be touched while other
    /// vCPUs run: a kernel's first act there is to write all of it.
    pub fn reset_cpu_interface(&mut self, cpu: usize) {
        if let Some(interface) = self.state.cpu_interfaces.get_mut(cpu) {
            *interface = CpuInterfaceState::default();
            self.update_all();
        }
    }

    /// ICC_IAR0_EL1, ICC_IAR1_EL1.
    fn acknowledge(&mut self, cpu: usize, line: Line) -> u64 {
        let Some(output) = self.outputs.get(cpu).copied() else {
            return SPURIOUS.into();
        };
        let Some(pending) = output.pending.filter(|_| output.line == line) else {
            return SPURIOUS.into();
        };
        if let Some((bank, bit)) = self.bank_mut(cpu, pending.intid) {
            bank.acknowledge(bit);
        }
        if let Some(interface) = self.state.cpu_interfaces.get_mut(cpu) {
            interface.raise_priority(pending.priority, pending.group1);
        }
        // No other vCPU: an interrupt has one target at a time.
        self.update(cpu);
        pending.intid.into()
    }

    /// ICC_HPPIR0_EL1, ICC_HPPIR1_EL1: whatever the mask and what runs.
    fn highest_pending_intid(&self, cpu: usize, group1: bool) -> u64 {
        let pending = self.outputs.get(cpu).and_then(|output| output.pending);
        pending.filter(|p| p.group1 == group1).map_or(SPURIOUS, |p| p.intid).into()
    }

    /// ICC_EOIR0_EL1, ICC_EOIR1_EL1.
    fn end_of_interrupt(&mut self, cpu: usize, value: u64, group1: bool) {
        let intid = intid_of(value);
        // A special INTID, or one that can't have been acknowledged.
        if intid >= INTIDS {
            return;
        }
        let Some(interface) = self.state.cpu_interfaces.get_mut(cpu) else {
            return;
        };
        interface.drop_priority(group1);
        if !interface.split_eoi {
            self.deactivate(cpu, intid, Some(group1));
        }
    }

    /// Ends the active state of `intid`, provided it is in group `group1`.
    fn deactivate(&mut self, cpu: usize, intid: u32, group1: Option<bool>) {
        let Some((bank, bit)) = self.bank_mut(cpu, intid) else {
            return;
        };
        if group1.is_none_or(|group1| (bank.group1 & bit != 0) == group1) {
            bank.active &= !bit;
            self.update_target(cpu, intid);
        }
    }

    /// ICC_SGI0R_EL1, ICC_SGI1R_EL1: makes an SGI pending at its targets, where
    /// it is configured in the register's group.
    fn send_sgi(&mut self, cpu: usize, value: u64, group1: bool) {
        let bit = 1 << ((value >> 24) & 0xf);
        let targets = if value >> 40 & 1 != 0 {
            !(1u64 << cpu) // all but self
        } else if value & SGI_OTHER_CLUSTER != 0 {
            return; // every vCPU has Aff1 to Aff3 zero and an Aff0 below 16
        } else {
            value & 0xffff
        };
        for target in (0..self.cpus()).filter(|n| targets >> n & 1 != 0) {
            if let Some(redistributor) = self.state.redistributors.get_mut(target) {
                let bank = &mut redistributor.interrupts;
                if (bank.group1 & bit != 0) == group1 {
                    bank.latch |= bit;
                    self.update(target);
                }
            }
        }
    }
}

/// Aff3, RS, Aff2 and Aff1 of an SGI register.
const SGI_OTHER_CLUSTER: u64 = 0xff << 48 | 0xf << 44 | 0xff << 32 | 0xff << 16;

fn intid_of(value: u64) -> u32 {
    value as u32 & 0xff_ffff
}
