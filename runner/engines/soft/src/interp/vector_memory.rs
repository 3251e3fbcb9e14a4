//! Loads and stores of vector registers.

use super::alu::extend;
use crate::{
    core::{Abandoned, Core},
    decode::{POST, PRE},
    op::{Kind, Op},
};

impl Core {
    fn load_sized(&mut self, va: u64, log2: u8) -> Result<u128, Abandoned> {
        match log2 {
            0 => self.load_value::<u8>(va).map(u128::from),
            1 => self.load_value::<u16>(va).map(u128::from),
            2 => self.load_value::<u32>(va).map(u128::from),
            3 => self.load_value::<u64>(va).map(u128::from),
            _ => self.load_value::<u128>(va),
        }
    }

    fn store_sized(&mut self, va: u64, log2: u8, value: u128) -> Result<(), Abandoned> {
        match log2 {
            0 => self.store_value(va, value as u8),
            1 => self.store_value(va, value as u16),
            2 => self.store_value(va, value as u32),
            3 => self.store_value(va, value as u64),
            _ => self.store_value(va, value),
        }
    }

    /// Address of the access, and what to write back.
    fn indexed(&self, op: &Op) -> (u64, Option<u64>) {
        let base = self.regs.x[usize::from(op.n)];
        let sum = base.wrapping_add(op.imm);
        match op.t {
            PRE => (sum, Some(sum)),
            POST => (base, Some(sum)),
            _ => (sum, None),
        }
    }

    fn write_back(&mut self, op: &Op, value: Option<u64>) {
        if let Some(value) = value {
            self.regs.x[usize::from(op.n)] = value;
        }
    }

    /// LDR and STR of one vector register, any size and addressing; `pc` is for literals.
    pub(super) fn vector_single(&mut self, op: &Op, pc: u64) -> Result<(), Abandoned> {
        let (va, after) = match op.kind {
            Kind::LdrVecLit => (pc.wrapping_add(op.imm), None),
            Kind::LdrVecExt | Kind::StrVecExt => {
                let index = extend(self.regs.x[usize::from(op.m)], op.t) << op.a;
                (self.regs.x[usize::from(op.n)].wrapping_add(index), None)
            }
            _ => self.indexed(op),
        };
        let d = usize::from(op.d & 31);
        if matches!(op.kind, Kind::StrVec | Kind::StrVecExt) {
            self.store_sized(va, op.s, self.regs.v[d])?;
        } else {
            self.regs.v[d] = self.load_sized(va, op.s)?;
        }
        self.write_back(op, after);
        Ok(())
    }

    /// LDP and STP of vector registers.
    pub(super) fn vector_pair(&mut self, op: &Op) -> Result<(), Abandoned> {
        let (va, after) = self.indexed(op);
        let next = va.wrapping_add(1 << op.s);
        let (d, a) = (usize::from(op.d & 31), usize::from(op.a & 31));
        if op.kind == Kind::StpVec {
            self.store_sized(va, op.s, self.regs.v[d])?;
            self.store_sized(next, op.s, self.regs.v[a])?;
        } else {
            let first = self.load_sized(va, op.s)?;
            let second = self.load_sized(next, op.s)?;
            self.regs.v[d] = first;
            self.regs.v[a] = second;
        }
        self.write_back(op, after);
        Ok(())
    }

    /// LD1 to LD4 and ST1 to ST4 of whole registers (Arm ARM C7.2.177 and on).
    pub(super) fn vector_structures(&mut self, word: u32) -> Result<(), Abandoned> {
        let load = word >> 22 & 1 != 0;
        let bytes: usize = if word >> 30 & 1 != 0 { 16 } else { 8 };
        // Registers, and elements of one structure.
        let (registers, elements) = match word >> 12 & 15 {
            0b0000 => (4, 4),
            0b0010 => (4, 1),
            0b0100 => (3, 3),
            0b0110 => (3, 1),
            0b0111 => (1, 1),
            0b1000 => (2, 2),
            _ => (2, 1),
        };
        let (rt, rn) = ((word & 31) as usize, super::base_register(word));
        let base = self.regs.x[rn];
        let total = registers * bytes;
        // Without interleaving a register is as good as its elements one by one.
        let log2 = if elements == 1 { bytes.ilog2() as u8 } else { (word >> 10 & 3) as u8 };
        let lane = 1usize << log2;
        // Registers change only once every access has succeeded.
        let mut buffer = [[0u8; 16]; 4];
        if !load {
            for (i, slot) in buffer.iter_mut().enumerate().take(registers) {
                *slot = self.regs.v[(rt + i) % 32].to_le_bytes();
            }
        }
        for offset in (0..total).step_by(lane) {
            // Where this element is: which register, which byte of it.
            let (register, at) = if elements == 1 {
                (offset / bytes, offset % bytes)
            } else {
                let index = offset / lane;
                (index % elements, index / elements * lane)
            };
            let va = base.wrapping_add(offset as u64);
            if load {
                let value = self.load_sized(va, log2)?;
                buffer[register][at..at + lane].copy_from_slice(&value.to_le_bytes()[..lane]);
            } else {
                let mut value = [0; 16];
                value[..lane].copy_from_slice(&buffer[register][at..at + lane]);
                self.store_sized(va, log2, u128::from_le_bytes(value))?;
            }
        }
        if load {
            for (i, value) in buffer.iter().enumerate().take(registers) {
                self.regs.v[(rt + i) % 32] = u128::from_le_bytes(*value);
            }
        }
        self.structure_write_back(word, rn, total as u64);
        Ok(())
    }

    /// LD1 to LD4 and ST1 to ST4 of one element, and LD1R to LD4R.
    pub(super) fn vector_elements(&mut self, word: u32) -> Result<(), Abandoned> {
        let load = word >> 22 & 1 != 0;
        let q = word >> 30 & 1;
        let s = word >> 12 & 1;
        let size = word >> 10 & 3;
        let opcode = word >> 13 & 7;
        let elements = ((opcode & 1) << 1 | (word >> 21 & 1)) as usize + 1;
        let (rt, rn) = ((word & 31) as usize, super::base_register(word));
        let base = self.regs.x[rn];
        let replicate = opcode >> 1 == 3;
        let (log2, index) = match opcode >> 1 {
            0 => (0, q << 3 | s << 2 | size),
            1 => (1, q << 2 | s << 1 | size >> 1),
            2 if size & 1 == 0 => (2, q << 1 | s),
            2 => (3, q),
            _ => (size as u8, 0),
        };
        let lane = 1usize << log2;
        let at = index as usize * lane;
        let mut loaded = [0u128; 4];
        for (i, slot) in loaded.iter_mut().enumerate().take(elements) {
            let va = base.wrapping_add((i * lane) as u64);
            let register = (rt + i) % 32;
            if load {
                *slot = self.load_sized(va, log2)?;
            } else {
                let mut value = [0; 16];
                value[..lane].copy_from_slice(&self.regs.v[register].to_le_bytes()[at..at + lane]);
                self.store_sized(va, log2, u128::from_le_bytes(value))?;
            }
        }
        if load {
            for (i, value) in loaded.iter().enumerate().take(elements) {
                let value = &value.to_le_bytes()[..lane];
                let register = &mut self.regs.v[(rt + i) % 32];
                let mut bytes = if replicate { [0; 16] } else { register.to_le_bytes() };
                if replicate {
                    let width = if q != 0 { 16 } else { 8 };
                    bytes[..width].chunks_exact_mut(lane).for_each(|place| place.copy_from_slice(value));
                } else {
                    bytes[at..at + lane].copy_from_slice(value);
                }
                *register = u128::from_le_bytes(bytes);
            }
        }
        self.structure_write_back(word, rn, (elements * lane) as u64);
        Ok(())
    }

    fn structure_write_back(&mut self, word: u32, rn: usize, size: u64) {
        if word >> 23 & 1 == 0 {
            return;
        }
        let rm = word >> 16 & 31;
        let step = if rm == 31 { size } else { self.regs.read_x(rm) };
        self.regs.x[rn] = self.regs.x[rn].wrapping_add(step);
    }
}
