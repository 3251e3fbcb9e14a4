//! SYS: cache and TLB maintenance, DC ZVA and address translation (Arm ARM C5.3 to C5.5).

use machine::engine::SysReg;

use super::{access::trap_syndrome, describe, sctlr_el0};
use crate::{
    access::permissions,
    core::{Abandoned, Core, Maintenance, class},
    mmu::{
        PAGE_MASK,
        tlb::{AS_EL0, WITH_PAN},
        walk::{status, walk},
    },
};

/// Bytes that DC ZVA clears, and of a line of the data cache; DCZID_EL0 and CTR_EL0 say so.
const LINE_BYTES: u64 = 64;

const fn op(op1: u8, crn: u8, crm: u8, op2: u8) -> u16 {
    SysReg::new(1, op1, crn, crm, op2).encoding()
}

const IC_IALLUIS: u16 = op(0, 7, 1, 0);
const IC_IALLU: u16 = op(0, 7, 5, 0);
const IC_IVAU: u16 = op(3, 7, 5, 1);
const DC_IVAC: u16 = op(0, 7, 6, 1);
const DC_ISW: u16 = op(0, 7, 6, 2);
const DC_CSW: u16 = op(0, 7, 10, 2);
const DC_CISW: u16 = op(0, 7, 14, 2);
const DC_ZVA: u16 = op(3, 7, 4, 1);
const DC_CVAC: u16 = op(3, 7, 10, 1);
const DC_CVAU: u16 = op(3, 7, 11, 1);
const DC_CIVAC: u16 = op(3, 7, 14, 1);
const AT_S1E1R: u16 = op(0, 7, 8, 0);
const AT_S1E1W: u16 = op(0, 7, 8, 1);
const AT_S1E0R: u16 = op(0, 7, 8, 2);
const AT_S1E0W: u16 = op(0, 7, 8, 3);

impl Core {
    /// Executes SYS; `value` is Xt, `rt` its field.
    pub fn system_instruction(
        &mut self,
        encoding: u16,
        value: u64,
        rt: u32,
        pc: u64,
    ) -> Result<(), Abandoned> {
        if self.el0 {
            let allowed = match encoding {
                DC_ZVA => sctlr_el0::DZE,
                IC_IVAU | DC_CVAC | DC_CVAU | DC_CIVAC => sctlr_el0::UCI,
                _ => return Err(self.undefined()),
            };
            if self.sys.sctlr_el1 & allowed == 0 {
                return Err(self.raise(class::SYSTEM_TRAPPED, trap_syndrome(encoding, false, rt), None));
            }
        }
        match encoding {
            DC_ZVA => self.zero_block(value),
            IC_IVAU => {
                let pa = self.maintenance_address(value)?;
                self.maintenance.push(Maintenance::CodePage(pa & !PAGE_MASK));
                Ok(())
            }
            IC_IALLU => {
                self.maintenance.push(Maintenance::AllCode { broadcast: false });
                Ok(())
            }
            IC_IALLUIS => {
                self.maintenance.push(Maintenance::AllCode { broadcast: true });
                Ok(())
            }
            // The host's caches are coherent; what is left of these is their faults.
            DC_IVAC => {
                self.maintenance_address(value)?;
                self.check_invalidation(value, LINE_BYTES)
            }
            DC_CVAC | DC_CVAU | DC_CIVAC => self.maintenance_address(value).map(|_| ()),
            DC_ISW | DC_CSW | DC_CISW => Ok(()),
            AT_S1E1R | AT_S1E1W | AT_S1E0R | AT_S1E0W => {
                self.translate_address(encoding, value);
                Ok(())
            }
            _ => self.tlb_invalidate(encoding, value, pc),
        }
    }

    fn zero_block(&mut self, va: u64) -> Result<(), Abandoned> {
        let start = va & !(LINE_BYTES - 1);
        if self.monitors_enabled() {
            self.check_store(start, LINE_BYTES as usize)?;
        }
        for offset in (0..LINE_BYTES).step_by(16) {
            // The fault reports the address that was given.
            self.store_value::<u128>(start + offset, 0).inspect_err(|_| self.report_address(va))?;
        }
        Ok(())
    }

    /// TLBI at EL1 (Arm ARM C5.5): CRm 7 here, CRm 3 everywhere.
    fn tlb_invalidate(&mut self, encoding: u16, value: u64, pc: u64) -> Result<(), Abandoned> {
        let (op1, crn, crm, op2) =
            ((encoding >> 11) & 7, (encoding >> 7) & 15, (encoding >> 3) & 15, encoding & 7);
        if (op1, crn) != (0, 8) || !matches!(crm, 3 | 7) {
            return Err(self.unknown_system_instruction(encoding, pc));
        }
        let what = match op2 {
            0 => Maintenance::AllTranslations,
            2 => Maintenance::Asid((value >> 48) as u16),
            // Address bits 55 to 12; bit 55 is the sign.
            1 | 3 | 5 | 7 => Maintenance::Page(((value << 20) as i64 >> 8) as u64),
            _ => return Err(self.unknown_system_instruction(encoding, pc)),
        };
        self.apply_maintenance(what);
        if crm == 3 {
            self.maintenance.push(what);
        }
        Ok(())
    }

    /// Does to this vCPU's TLB what was asked here or by another vCPU.
    pub fn apply_maintenance(&mut self, what: Maintenance) {
        match what {
            Maintenance::AllTranslations => self.tlb.flush(),
            Maintenance::Asid(asid) => self.tlb.flush_asid(asid),
            Maintenance::Page(va) => self.tlb.flush_page(va),
            Maintenance::CodePage(_)
            | Maintenance::AllCode { .. }
            | Maintenance::Breakpoints
            | Maintenance::Barrier => {}
        }
    }

    /// AT S1E*: the result goes to PAR_EL1 (Arm ARM D24.2.124).
    fn translate_address(&mut self, encoding: u16, va: u64) {
        let who = match encoding {
            AT_S1E0R | AT_S1E0W => AS_EL0,
            // Without FEAT_PAN2, AT ignores PAN.
            _ => self.who & !WITH_PAN,
        };
        let write = matches!(encoding, AT_S1E1W | AT_S1E0W);
        const RES1: u64 = 1 << 11;
        let failed = |status: u8| RES1 | (u64::from(status) << 1) | 1;
        self.sys.par_el1 = match walk(&self.memory, &self.sys, va) {
            Err(fault) => failed(fault.status),
            Ok(leaf) => {
                let (readable, writable) = permissions(&leaf, who);
                if if write { writable } else { readable } {
                    // Inner shareable.
                    (u64::from(leaf.attributes) << 56) | leaf.page | RES1 | (0b11 << 7)
                } else {
                    failed(status::PERMISSION | leaf.level)
                }
            }
        };
    }

    #[cold]
    fn unknown_system_instruction(&mut self, encoding: u16, pc: u64) -> Abandoned {
        if self.el0 {
            return self.undefined();
        }
        self.stop(pc, None, format!("SYS {}, which this engine has not", describe(encoding)))
    }
}
