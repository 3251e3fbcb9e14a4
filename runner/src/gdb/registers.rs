//! Registers as gdb names and numbers them ("AArch64 Features" in gdb's manual).
//!
//! Crate `gdbstub_arch` has them too, but its description offers a few hundred system registers, each of which gdb
//! would ask for, and its general packet has FPCR before FPSR, where gdb expects them by number.

use std::{num::NonZeroUsize, sync::LazyLock};

use gdbstub::arch::{Arch, RegId};
use machine::cpu_state::CpuState;

use super::system_registers::{SYSTEM_REGISTERS, SystemRegister};

/// AArch64 to gdb.
pub enum Aarch64 {}

impl Arch for Aarch64 {
    type Usize = u64;
    type Registers = Registers;
    type BreakpointKind = usize;
    type RegId = Register;

    fn target_description_xml() -> Option<&'static str> {
        static DESCRIPTION: LazyLock<String> = LazyLock::new(description);
        Some(&DESCRIPTION)
    }
}

/// SP is SP_EL0 (Arm ARM C5.2.18): at EL0, and at EL1 with PSTATE.SP clear.
const SP_ELX: u64 = 1;

/// What the general packet holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registers {
    /// X0 to X30, SP, PC.
    pub general: [u64; 33],
    /// PSTATE in the format of SPSR_EL1.
    pub cpsr: u32,
    /// V0 to V31.
    pub vector: [u128; 32],
    /// FPSR.
    pub fpsr: u32,
    /// FPCR.
    pub fpcr: u32,
}

const SP: usize = 31;
const PC: usize = 32;

impl Default for Registers {
    fn default() -> Self {
        Registers { general: [0; 33], cpsr: 0, vector: [0; 32], fpsr: 0, fpcr: 0 }
    }
}

impl Registers {
    /// What `state` holds of them.
    pub fn of(state: &CpuState) -> Self {
        let mut general = [0; 33];
        general[..31].copy_from_slice(&state.x);
        general[SP] = if state.pstate & SP_ELX != 0 { state.sp_el1 } else { state.sp_el0 };
        general[PC] = state.pc;
        Registers {
            general,
            // The upper half is reserved.
            cpsr: state.pstate as u32,
            vector: state.v.map(|[low, high]| u128::from(low) | (u128::from(high) << 64)),
            fpsr: state.fpsr as u32,
            fpcr: state.fpcr as u32,
        }
    }

    /// Puts them into `state`. SP is the one that PSTATE selects from now on.
    pub fn put(&self, state: &mut CpuState) {
        state.x.copy_from_slice(&self.general[..31]);
        state.pstate = u64::from(self.cpsr);
        if state.pstate & SP_ELX != 0 {
            state.sp_el1 = self.general[SP];
        } else {
            state.sp_el0 = self.general[SP];
        }
        state.pc = self.general[PC];
        state.v = self.vector.map(|v| [v as u64, (v >> 64) as u64]);
        state.fpsr = self.fpsr.into();
        state.fpcr = self.fpcr.into();
    }
}

impl gdbstub::arch::Registers for Registers {
    type ProgramCounter = u64;

    fn pc(&self) -> u64 {
        self.general[PC]
    }

    fn gdb_serialize(&self, mut write_byte: impl FnMut(Option<u8>)) {
        let mut write = |bytes: &[u8]| bytes.iter().for_each(|byte| write_byte(Some(*byte)));
        self.general.iter().for_each(|value| write(&value.to_le_bytes()));
        write(&self.cpsr.to_le_bytes());
        self.vector.iter().for_each(|value| write(&value.to_le_bytes()));
        write(&self.fpsr.to_le_bytes());
        write(&self.fpcr.to_le_bytes());
    }

    fn gdb_deserialize(&mut self, bytes: &[u8]) -> Result<(), ()> {
        fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], ()> {
            let (first, rest) = bytes.split_first_chunk().ok_or(())?;
            *bytes = rest;
            Ok(*first)
        }
        let mut bytes = bytes;
        for value in &mut self.general {
            *value = u64::from_le_bytes(take(&mut bytes)?);
        }
        self.cpsr = u32::from_le_bytes(take(&mut bytes)?);
        for value in &mut self.vector {
            *value = u128::from_le_bytes(take(&mut bytes)?);
        }
        self.fpsr = u32::from_le_bytes(take(&mut bytes)?);
        self.fpcr = u32::from_le_bytes(take(&mut bytes)?);
        if bytes.is_empty() { Ok(()) } else { Err(()) }
    }
}

/// One register, by its number.
#[derive(Clone, Copy)]
pub enum Register {
    /// X0 to X30, SP, PC.
    General(usize),
    /// CPSR.
    Cpsr,
    /// V0 to V31.
    Vector(usize),
    /// FPSR.
    Fpsr,
    /// FPCR.
    Fpcr,
    /// A system register, to look at.
    System(&'static SystemRegister),
}

impl std::fmt::Debug for Register {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Register::General(n) => write!(f, "general {n}"),
            Register::Cpsr => f.write_str("cpsr"),
            Register::Vector(n) => write!(f, "v{n}"),
            Register::Fpsr => f.write_str("fpsr"),
            Register::Fpcr => f.write_str("fpcr"),
            Register::System(register) => f.write_str(register.name),
        }
    }
}

/// Number of the first system register.
const FIRST_SYSTEM: usize = 68;

impl RegId for Register {
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        let (register, size) = match id {
            0..=PC => (Register::General(id), 8),
            33 => (Register::Cpsr, 4),
            34..=65 => (Register::Vector(id - 34), 16),
            66 => (Register::Fpsr, 4),
            67 => (Register::Fpcr, 4),
            _ => (Register::System(SYSTEM_REGISTERS.get(id - FIRST_SYSTEM)?), 8),
        };
        Some((register, NonZeroUsize::new(size)))
    }
}

/// A register can't be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unwritable;

impl Register {
    /// Its value in `state`, little-endian.
    pub fn read(self, state: &CpuState) -> Vec<u8> {
        let all = Registers::of(state);
        match self {
            Register::General(n) => all.general[n].to_le_bytes().to_vec(),
            Register::Cpsr => all.cpsr.to_le_bytes().to_vec(),
            Register::Vector(n) => all.vector[n].to_le_bytes().to_vec(),
            Register::Fpsr => all.fpsr.to_le_bytes().to_vec(),
            Register::Fpcr => all.fpcr.to_le_bytes().to_vec(),
            Register::System(register) => (register.read)(state).to_le_bytes().to_vec(),
        }
    }

    /// Sets it in `state`, from a value in little-endian.
    ///
    /// # Errors
    /// If it is one to look at, or has another size.
    pub fn write(self, state: &mut CpuState, value: &[u8]) -> Result<(), Unwritable> {
        fn number<const N: usize>(value: &[u8]) -> Result<[u8; N], Unwritable> {
            value.try_into().map_err(|_| Unwritable)
        }
        let mut all = Registers::of(state);
        match self {
            Register::General(n) => all.general[n] = u64::from_le_bytes(number(value)?),
            Register::Cpsr => {
                // The stack pointers stay what they are, whichever is selected.
                state.pstate = u32::from_le_bytes(number(value)?).into();
                return Ok(());
            }
            Register::Vector(n) => all.vector[n] = u128::from_le_bytes(number(value)?),
            Register::Fpsr => all.fpsr = u32::from_le_bytes(number(value)?),
            Register::Fpcr => all.fpcr = u32::from_le_bytes(number(value)?),
            Register::System(_) => return Err(Unwritable),
        }
        all.put(state);
        Ok(())
    }
}

/// Bits of CPSR (Arm ARM C5.2.18).
const CPSR_BITS: &str = r#"<flags id="cpsr_flags" size="4">
<field name="SP" start="0" end="0"/><field name="EL" start="2" end="3"/><field name="nRW" start="4" end="4"/>
<field name="F" start="6" end="6"/><field name="I" start="7" end="7"/><field name="A" start="8" end="8"/>
<field name="D" start="9" end="9"/><field name="IL" start="20" end="20"/><field name="SS" start="21" end="21"/>
<field name="PAN" start="22" end="22"/><field name="V" start="28" end="28"/><field name="C" start="29" end="29"/>
<field name="Z" start="30" end="30"/><field name="N" start="31" end="31"/></flags>
"#;

/// One size of elements in which a vector register may be read: its letter, their number, and what they may be.
type VectorView = (&'static str, u32, &'static [(&'static str, &'static str)]);

const VECTOR_VIEWS: &[VectorView] = &[
    ("d", 2, &[("f", "ieee_double"), ("u", "uint64"), ("s", "int64")]),
    ("s", 4, &[("f", "ieee_single"), ("u", "uint32"), ("s", "int32")]),
    ("h", 8, &[("u", "uint16"), ("s", "int16")]),
    ("b", 16, &[("u", "uint8"), ("s", "int8")]),
    ("q", 1, &[("u", "uint128"), ("s", "int128")]),
];

/// The description of the target that tells gdb which registers there are; it numbers them in their order.
fn description() -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n\
         <architecture>aarch64</architecture>\n<feature name=\"org.gnu.gdb.aarch64.core\">\n",
    );
    xml += CPSR_BITS;
    for n in 0..31 {
        xml += &register(&format!("x{n}"), 64, "int");
    }
    xml += &register("sp", 64, "data_ptr");
    xml += &register("pc", 64, "code_ptr");
    xml += &register("cpsr", 32, "cpsr_flags");
    xml += "</feature>\n<feature name=\"org.gnu.gdb.aarch64.fpu\">\n";
    let mut views = String::new();
    for (size, count, kinds) in VECTOR_VIEWS {
        let mut fields = String::new();
        for (kind, element) in *kinds {
            let id = format!("v{size}{kind}");
            xml += &format!("<vector id=\"{id}\" type=\"{element}\" count=\"{count}\"/>\n");
            fields += &format!("<field name=\"{kind}\" type=\"{id}\"/>");
        }
        xml += &format!("<union id=\"vn{size}\">{fields}</union>\n");
        views += &format!("<field name=\"{size}\" type=\"vn{size}\"/>");
    }
    xml += &format!("<union id=\"vector\">{views}</union>\n");
    for n in 0..32 {
        xml += &register(&format!("v{n}"), 128, "vector");
    }
    xml += &register("fpsr", 32, "int");
    xml += &register("fpcr", 32, "int");
    xml += "</feature>\n<feature name=\"samovar.aarch64.system\">\n";
    for system in SYSTEM_REGISTERS {
        // A group of their own, so that `info registers` asks for them only when told to.
        xml += &format!(
            "<reg name=\"{}\" bitsize=\"64\" type=\"uint64\" group=\"system\" save-restore=\"no\"/>\n",
            system.name
        );
    }
    xml += "</feature>\n</target>\n";
    xml
}

fn register(name: &str, bits: u32, kind: &str) -> String {
    format!("<reg name=\"{name}\" bitsize=\"{bits}\" type=\"{kind}\"/>\n")
}

#[cfg(test)]
mod tests {
    use gdbstub::arch::Registers as _;

    use super::*;

    fn state() -> CpuState {
        let mut state = CpuState::at_entry(0x4020_0000, 7);
        (state.sp_el0, state.sp_el1) = (0x1000, 0x2000);
        state.v[31] = [1, 2];
        (state.fpsr, state.fpcr) = (0x10, 1 << 22);
        state.sys.elr_el1 = 0xffff_8000_0000_1234;
        state
    }

    fn bytes(registers: &Registers) -> Vec<u8> {
        let mut bytes = Vec::new();
        registers.gdb_serialize(|byte| bytes.push(byte.unwrap()));
        bytes
    }

    /// Offsets from the order of gdb's features/aarch64-core.xml and aarch64-fpu.xml.
    #[test]
    fn the_general_packet_has_every_register_at_its_place() {
        let bytes = bytes(&Registers::of(&state()));
        assert_eq!(bytes.len(), 33 * 8 + 4 + 32 * 16 + 4 + 4);
        assert_eq!(bytes[0], 7);
        assert_eq!(bytes[31 * 8..][..2], [0x00, 0x20], "SP is SP_EL1 at EL1h");
        assert_eq!(bytes[32 * 8..][..4], [0x00, 0x00, 0x20, 0x40]);
        assert_eq!(bytes[33 * 8..][..4], [0xc5, 0x03, 0, 0]);
        assert_eq!((bytes[268 + 31 * 16], bytes[268 + 31 * 16 + 8]), (1, 2));
        assert_eq!(bytes[780..], [0x10, 0, 0, 0, 0, 0, 0x40, 0], "FPSR before FPCR");
    }

    #[test]
    fn what_is_written_is_read_back() {
        let registers = Registers::of(&state());
        let packet = bytes(&registers);
        let mut read = Registers::default();
        read.gdb_deserialize(&packet).unwrap();
        assert_eq!(read, registers);
        let mut other = CpuState::default();
        read.put(&mut other);
        assert_eq!(Registers::of(&other), registers);
        assert_eq!((other.sp_el0, other.sp_el1), (0, 0x2000));
        for len in [0, 1, packet.len() - 1] {
            assert_eq!(read.gdb_deserialize(&packet[..len]), Err(()));
        }
        assert_eq!(read.gdb_deserialize(&[packet, vec![0]].concat()), Err(()));
    }

    #[test]
    fn each_number_is_one_register_of_its_size() {
        let mut state = state();
        for (number, value) in [(30, 8), (31, 8), (32, 8), (33, 4), (65, 16), (66, 4), (67, 4)] {
            let (register, size) = Register::from_raw_id(number).unwrap();
            assert_eq!(size.unwrap().get(), value);
            let new: Vec<u8> = (1..=value as u8).collect();
            register.write(&mut state, &new).unwrap();
            assert_eq!(register.read(&state), new, "{register:?}");
            assert_eq!(register.write(&mut state, &new[1..]), Err(Unwritable));
        }
        let (register, _) = Register::from_raw_id(70).unwrap();
        assert_eq!(format!("{register:?}"), "ELR_EL1");
        assert_eq!(register.read(&state), 0xffff_8000_0000_1234_u64.to_le_bytes());
        assert_eq!(register.write(&mut state, &[0; 8]), Err(Unwritable));
        assert!(Register::from_raw_id(FIRST_SYSTEM + SYSTEM_REGISTERS.len()).is_none());
        assert!(Register::from_raw_id(usize::MAX).is_none());
    }

    #[test]
    fn another_stack_pointer_is_selected_and_none_is_lost() {
        let mut state = state();
        Register::Cpsr.write(&mut state, &0x3c4_u32.to_le_bytes()).unwrap();
        assert_eq!((state.sp_el0, state.sp_el1), (0x1000, 0x2000));
        assert_eq!(Register::General(SP).read(&state), 0x1000_u64.to_le_bytes());
    }

    #[test]
    fn the_description_numbers_registers_as_they_are_read() {
        let xml = Aarch64::target_description_xml().unwrap();
        let names: Vec<&str> =
            xml.lines().filter_map(|line| line.strip_prefix("<reg name=\"")?.split('"').next()).collect();
        assert_eq!(
            (names[31], names[33], names[34], names[66], names[67]),
            ("sp", "cpsr", "v0", "fpsr", "fpcr")
        );
        assert_eq!(names[FIRST_SYSTEM..].len(), SYSTEM_REGISTERS.len());
        assert_eq!(names[70], "ELR_EL1");
    }
}
