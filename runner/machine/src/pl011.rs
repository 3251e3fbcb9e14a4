//! PL011 serial port (Arm DDI 0183).
//!
//! It sends at once: the transmit FIFO is always empty, and what the guest
//! writes waits in a bounded buffer for the host. The port sends even before a
//! driver enables it, as if firmware had left it on: the earliest boot messages
//! rely on that.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::device::{Context, MmioDevice};

/// Bytes that the receive FIFO holds, since revision r1p5.
pub const FIFO_SIZE: usize = 32;
/// Most output kept for a host that does not take it; the oldest goes first.
pub const MAX_OUTPUT: usize = 64 * 1024;

/// Saved state of the port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pl011State {
    /// Received bytes that the guest has not read, oldest first.
    pub fifo: VecDeque<u8>,
    /// UARTRSR: error flags, of which only the overrun happens.
    pub receive_status: u32,
    /// UARTILPR.
    pub low_power: u32,
    /// UARTIBRD.
    pub integer_baud: u32,
    /// UARTFBRD.
    pub fraction_baud: u32,
    /// UARTLCR_H.
    pub line_control: u32,
    /// UARTCR.
    pub control: u32,
    /// UARTIFLS.
    pub fifo_levels: u32,
    /// UARTIMSC.
    pub interrupt_mask: u32,
    /// UARTRIS.
    pub interrupts: u32,
    /// UARTDMACR; no DMA controller listens.
    pub dma_control: u32,
}

impl Default for Pl011State {
    /// Reset values (Arm DDI 0183, 3.2).
    fn default() -> Self {
        Pl011State {
            fifo: VecDeque::new(),
            receive_status: 0,
            low_power: 0,
            integer_baud: 0,
            fraction_baud: 0,
            line_control: 0,
            control: CR_TXE | CR_RXE,
            fifo_levels: 0x12,
            interrupt_mask: 0,
            interrupts: 0,
            dma_control: 0,
        }
    }
}

/// A saved state that the port can't have had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the serial port's state is damaged: {0}")]
pub struct Pl011Error(&'static str);

/// The serial port.
#[derive(Default)]
pub struct Pl011 {
    state: Pl011State,
    output: VecDeque<u8>,
}

const DR: u64 = 0x00;
const RSR: u64 = 0x04;
const FR: u64 = 0x18;
const ILPR: u64 = 0x20;
const IBRD: u64 = 0x24;
const FBRD: u64 = 0x28;
const LCR_H: u64 = 0x2c;
const CR: u64 = 0x30;
const IFLS: u64 = 0x34;
const IMSC: u64 = 0x38;
const RIS: u64 = 0x3c;
const MIS: u64 = 0x40;
const ICR: u64 = 0x44;
const DMACR: u64 = 0x48;
/// UARTPeriphID0 to 3 and UARTPCellID0 to 3 (Arm DDI 0183, 3.3), with revision
/// 3 (r1p5), of which a driver knows that its FIFO holds 32 bytes.
const ID_BASE: u64 = 0xfe0;
const IDS: [u8; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

const FR_CTS: u32 = 1 << 0;
const FR_DSR: u32 = 1 << 1;
const FR_DCD: u32 = 1 << 2;
const FR_RXFE: u32 = 1 << 4;
const FR_RXFF: u32 = 1 << 6;
const FR_TXFE: u32 = 1 << 7;
const FR_RI: u32 = 1 << 8;

const LCR_H_FEN: u32 = 1 << 4;

const CR_UARTEN: u32 = 1 << 0;
const CR_LBE: u32 = 1 << 7;
const CR_TXE: u32 = 1 << 8;
const CR_RXE: u32 = 1 << 9;
const CR_DTR: u32 = 1 << 10;
const CR_RTS: u32 = 1 << 11;
const CR_OUT1: u32 = 1 << 12;
const CR_OUT2: u32 = 1 << 13;

const INT_RX: u32 = 1 << 4;
const INT_TX: u32 = 1 << 5;
const INT_RT: u32 = 1 << 6;
const INT_OE: u32 = 1 << 10;
const INT_ALL: u32 = 0x7ff;

/// UARTRSR.OE.
const RSR_OE: u32 = 1 << 3;

impl Pl011 {
    /// A serial port in its reset state.
    pub fn new() -> Self {
        Self::default()
    }

    /// The state; output that the host has not taken is not part of it.
    pub fn save(&self) -> Pl011State {
        self.state.clone()
    }

    /// Replaces the state.
    ///
    /// # Errors
    /// If the state is one that no sequence of accesses leads to; the port is
    /// then as it was.
    pub fn load(&mut self, state: &Pl011State) -> Result<(), Pl011Error> {
        if state.fifo.len() > FIFO_SIZE {
            return Err(Pl011Error("more bytes in the FIFO than it holds"));
        }
        let fields = [
            (state.receive_status, 0xf),
            (state.low_power, 0xff),
            (state.integer_baud, 0xffff),
            (state.fraction_baud, 0x3f),
            (state.line_control, 0xff),
            (state.control, 0xffff),
            (state.fifo_levels, 0x3f),
            (state.interrupt_mask, INT_ALL),
            (state.interrupts, INT_ALL),
            (state.dma_control, 0x7),
        ];
        if fields.iter().any(|(value, mask)| value & !mask != 0) {
            return Err(Pl011Error("a register has reserved bits set"));
        }
        self.state.clone_from(state);
        Ok(())
    }

    /// Takes what the guest has sent since last asked.
    pub fn take_output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.output).into()
    }

    /// Offers input to the guest; returns how many bytes it took. The rest the
    /// caller keeps until the guest has read some, or has enabled the port.
    pub fn push_input(&mut self, bytes: &[u8]) -> usize {
        let listening = CR_UARTEN | CR_RXE;
        if self.state.control & listening != listening || self.state.control & CR_LBE != 0 {
            return 0;
        }
        let room = self.capacity().saturating_sub(self.state.fifo.len());
        let taken = bytes.len().min(room);
        bytes.iter().take(taken).for_each(|byte| self.receive(*byte));
        taken
    }

    /// Bytes the receive FIFO takes: one while it is disabled.
    fn capacity(&self) -> usize {
        if self.state.line_control & LCR_H_FEN != 0 { FIFO_SIZE } else { 1 }
    }

    /// Fill level at which the receive interrupt rises (Arm DDI 0183, 3.3.9).
    fn receive_trigger(&self) -> usize {
        let eighths = match self.state.fifo_levels >> 3 & 7 {
            0 => 1,
            1 => 2,
            3 => 6,
            4 => 7,
            _ => 4, // 2, and what is reserved
        };
        (self.capacity() * eighths / 8).max(1)
    }

    /// A byte arrives. The receive timeout is raised at once rather than after
    /// 32 bit times: no byte follows by itself, for the host offers them all
    /// together.
    fn receive(&mut self, byte: u8) {
        if self.state.fifo.len() >= self.capacity() {
            self.state.receive_status |= RSR_OE;
            self.state.interrupts |= INT_OE;
            return;
        }
        self.state.fifo.push_back(byte);
        self.state.interrupts |= INT_RT;
        if self.state.fifo.len() >= self.receive_trigger() {
            self.state.interrupts |= INT_RX;
        }
    }

    fn read_data(&mut self) -> u32 {
        let byte = self.state.fifo.pop_front().unwrap_or(0);
        if self.state.fifo.len() < self.receive_trigger() {
            self.state.interrupts &= !INT_RX;
        }
        if self.state.fifo.is_empty() {
            self.state.interrupts &= !INT_RT;
        }
        byte.into()
    }

    fn write_data(&mut self, byte: u8) {
        if self.state.control & CR_LBE != 0 {
            self.receive(byte);
        } else {
            if self.output.len() >= MAX_OUTPUT {
                self.output.pop_front();
            }
            self.output.push_back(byte);
        }
        // The byte is gone, so the FIFO falls through its trigger level.
        self.state.interrupts |= INT_TX;
    }

    fn flags(&self) -> u32 {
        let fifo = match self.state.fifo.len() {
            0 => FR_RXFE,
            n if n >= self.capacity() => FR_RXFF,
            _ => 0,
        };
        let control = self.state.control;
        let modem = if control & CR_LBE == 0 {
            FR_CTS | FR_DSR | FR_DCD // a peer that is there and always ready
        } else {
            // Loopback joins the modem outputs to the inputs (Arm DDI 0183, 2.4, Loopback).
            [(CR_RTS, FR_CTS), (CR_DTR, FR_DSR), (CR_OUT1, FR_DCD), (CR_OUT2, FR_RI)]
                .iter()
                .fold(0, |flags, (output, input)| flags | if control & output != 0 { *input } else { 0 })
        };
        FR_TXFE | fifo | modem
    }
}

impl MmioDevice for Pl011 {
    fn read(&mut self, offset: u64, size: u8, _: &Context<'_>) -> u64 {
        if size > 4 {
            return 0;
        }
        let value = match offset {
            DR => self.read_data(),
            RSR => self.state.receive_status,
            FR => self.flags(),
            ILPR => self.state.low_power,
            IBRD => self.state.integer_baud,
            FBRD => self.state.fraction_baud,
            LCR_H => self.state.line_control,
            CR => self.state.control,
            IFLS => self.state.fifo_levels,
            IMSC => self.state.interrupt_mask,
            RIS => self.state.interrupts,
            MIS => self.state.interrupts & self.state.interrupt_mask,
            DMACR => self.state.dma_control,
            _ => {
                let id = offset.checked_sub(ID_BASE).filter(|o| o % 4 == 0).map(|o| (o / 4) as usize);
                id.and_then(|n| IDS.get(n)).copied().unwrap_or(0).into()
            }
        };
        u64::from(value) & if size == 1 { 0xff } else { 0xffff }
    }

    fn write(&mut self, offset: u64, size: u8, value: u64, _: &Context<'_>) {
        if size > 4 {
            return;
        }
        // Drivers write registers with byte and halfword stores too, as no
        // register is wider than 16 bits.
        let value = value as u32 & if size == 1 { 0xff } else { 0xffff };
        match offset {
            DR => self.write_data(value as u8),
            RSR => self.state.receive_status = 0,
            ILPR => self.state.low_power = value & 0xff,
            IBRD => self.state.integer_baud = value,
            FBRD => self.state.fraction_baud = value & 0x3f,
            LCR_H => {
                // Switching the FIFOs on or off empties them.
                if (self.state.line_control ^ value) & LCR_H_FEN != 0 {
                    self.state.fifo.clear();
                    self.state.interrupts &= !(INT_RX | INT_RT);
                }
                self.state.line_control = value & 0xff;
            }
            CR => self.state.control = value,
            IFLS => self.state.fifo_levels = value & 0x3f,
            IMSC => self.state.interrupt_mask = value & INT_ALL,
            ICR => self.state.interrupts &= !value,
            DMACR => self.state.dma_control = value & 0x7,
            _ => {}
        }
    }

    fn irq_level(&self) -> bool {
        self.state.interrupts & self.state.interrupt_mask != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::memory::GuestMemory;

    struct Bench {
        uart: Pl011,
        memory: GuestMemory,
    }

    impl Bench {
        fn new() -> Self {
            Bench { uart: Pl011::new(), memory: GuestMemory::anonymous(0x1000).unwrap() }
        }

        /// As a driver leaves it: FIFOs and receiver on, interrupts unmasked.
        fn ready() -> Self {
            let mut b = Self::new();
            b.write(LCR_H, 0x70);
            b.write(CR, 0x301);
            b.write(IMSC, 0x50);
            b
        }

        fn read(&mut self, offset: u64) -> u64 {
            self.uart.read(offset, 4, &Context { memory: &self.memory, now: 0 })
        }

        fn write(&mut self, offset: u64, value: u64) {
            self.uart.write(offset, 4, value, &Context { memory: &self.memory, now: 0 });
        }
    }

    #[test]
    fn identification_is_that_of_a_pl011_r1p5() {
        let mut b = Bench::new();
        let ids: Vec<u64> = (0..8).map(|n| b.read(0xfe0 + 4 * n)).collect();
        assert_eq!(ids, [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
    }

    #[test]
    fn reset_values() {
        // Arm DDI 0183, 3.2.
        let mut b = Bench::new();
        assert_eq!(b.read(CR), 0x300);
        assert_eq!(b.read(IFLS), 0x12);
        assert_eq!(b.read(FR) & 0xf8, 0x90);
        for zero in [RSR, ILPR, IBRD, FBRD, LCR_H, IMSC, RIS, MIS, DMACR] {
            assert_eq!(b.read(zero), 0, "{zero:#x}");
        }
        assert!(!b.uart.irq_level());
    }

    #[test]
    fn output_reaches_the_host_even_before_a_driver_enables_the_port() {
        let mut b = Bench::new();
        for byte in b"early" {
            b.write(DR, (*byte).into());
        }
        assert_eq!(b.read(FR) & 0xa8, 0x80, "empty, not full, not busy");
        assert_eq!(b.uart.take_output(), b"early");
        assert_eq!(b.uart.take_output(), b"");
    }

    #[test]
    fn output_nobody_takes_is_bounded() {
        let mut b = Bench::new();
        for n in 0..MAX_OUTPUT + 3 {
            b.write(DR, n as u64 % 251);
        }
        let output = b.uart.take_output();
        assert_eq!(output.len(), MAX_OUTPUT);
        assert_eq!(output[0], 3, "the oldest went first");
    }

    #[test]
    fn the_transmit_interrupt_rises_with_each_byte() {
        let mut b = Bench::ready();
        b.write(IMSC, 0x20);
        assert!(!b.uart.irq_level(), "nothing was sent yet");
        b.write(DR, 0x41);
        assert!(b.uart.irq_level());
        b.write(ICR, 0x20);
        assert!(!b.uart.irq_level());
        b.write(DR, 0x42);
        assert_eq!(b.read(MIS), 0x20);
    }

    #[test]
    fn input_is_read_in_order_and_interrupts_until_empty() {
        let mut b = Bench::ready();
        assert_eq!(b.uart.push_input(b"ab"), 2);
        assert_eq!(b.read(RIS), 0x40, "below the trigger: the timeout alone");
        assert!(b.uart.irq_level());
        assert_eq!(b.read(FR) & 0x10, 0);
        assert_eq!(b.read(DR), 0x61);
        assert!(b.uart.irq_level());
        assert_eq!(b.read(DR), 0x62);
        assert!(!b.uart.irq_level());
        assert_eq!(b.read(FR) & 0x10, 0x10);
        assert_eq!(b.read(DR), 0, "empty");
    }

    #[test]
    fn the_receive_trigger_follows_its_register() {
        // Arm DDI 0183, 3.3.9: 1/8, 1/4, 1/2, 3/4, 7/8 of 32.
        for (field, level) in [(0, 4), (1, 8), (2, 16), (3, 24), (4, 28)] {
            let mut b = Bench::ready();
            b.write(IFLS, field << 3);
            assert_eq!(b.uart.push_input(&vec![1; level - 1]), level - 1);
            assert_eq!(b.read(RIS) & 0x10, 0);
            b.uart.push_input(&[1]);
            assert_eq!(b.read(RIS) & 0x10, 0x10);
            b.read(DR);
            assert_eq!(b.read(RIS) & 0x10, 0);
        }
    }

    #[test]
    fn a_full_fifo_takes_no_more_and_loses_nothing() {
        let mut b = Bench::ready();
        let input: Vec<u8> = (0..40).collect();
        assert_eq!(b.uart.push_input(&input), 32);
        assert_eq!(b.read(FR) & 0x50, 0x40);
        assert_eq!(b.uart.push_input(&input[32..]), 0);
        assert_eq!((b.read(DR), b.read(DR)), (0, 1));
        assert_eq!(b.uart.push_input(&input[32..]), 2);
        assert_eq!(b.read(RSR), 0, "no overrun");
    }

    #[test]
    fn input_waits_until_the_receiver_is_on() {
        let mut b = Bench::new();
        assert_eq!(b.uart.push_input(b"x"), 0, "UARTEN is off");
        b.write(CR, 0x101);
        assert_eq!(b.uart.push_input(b"x"), 0, "RXE is off");
        b.write(CR, 0x201);
        assert_eq!(b.uart.push_input(b"xy"), 1, "without FIFOs it holds one");
        assert_eq!(b.read(RIS) & 0x10, 0x10);
        assert_eq!(b.read(FR) & 0x50, 0x40);
        b.write(LCR_H, 0x10);
        assert_eq!(b.read(FR) & 0x50, 0x10, "switching the FIFO on empties it");
        assert_eq!(b.read(RIS), 0);
    }

    #[test]
    fn loopback_returns_bytes_and_modem_lines() {
        let mut b = Bench::ready();
        assert_eq!(b.read(FR) & 0x107, 0x007);
        b.write(CR, 0x381);
        assert_eq!(b.read(FR) & 0x107, 0);
        b.write(CR, 0x3f81);
        assert_eq!(b.read(FR) & 0x107, 0x107);
        assert_eq!(b.uart.push_input(b"z"), 0, "the line is disconnected");
        for n in 0..33 {
            b.write(DR, n);
        }
        assert_eq!(b.uart.take_output(), b"");
        assert_eq!(b.read(RSR), 8, "overrun");
        assert_eq!(b.read(RIS) & 0x400, 0x400);
        b.write(RSR, 0);
        assert_eq!(b.read(RSR), 0);
        assert_eq!(b.read(DR), 0);
        assert_eq!(b.read(DR), 1);
    }

    #[test]
    fn a_saved_port_goes_on_and_damage_is_refused() {
        let mut b = Bench::ready();
        b.uart.push_input(b"abc");
        b.read(DR);
        let json = serde_json::to_string(&b.uart.save()).unwrap();
        let mut clone = Bench::new();
        clone.uart.load(&serde_json::from_str(&json).unwrap()).unwrap();
        assert!(clone.uart.irq_level());
        assert_eq!((clone.read(DR), clone.read(DR)), (0x62, 0x63));

        let good = b.uart.save();
        let long = Pl011State { fifo: vec![0; 33].into(), ..good.clone() };
        let reserved = Pl011State { interrupts: 1 << 11, ..good.clone() };
        for bad in [long, reserved] {
            assert!(b.uart.load(&bad).is_err());
            assert_eq!(b.uart.save(), good);
        }
    }

    proptest! {
        #[test]
        fn any_access_is_survived(accesses in prop::collection::vec((0u64..0x1000, 0u32..4, any::<u64>(), 0usize..50), 0..200)) {
            let mut b = Bench::new();
            for (offset, size, value, input) in accesses {
                let context = Context { memory: &b.memory, now: 0 };
                for offset in [offset, offset % 0x50 / 4 * 4] {
                    b.uart.write(offset, 1 << size, value, &context);
                    b.uart.read(offset, 1 << size, &context);
                }
                prop_assert!(b.uart.push_input(&vec![0; input]) <= input);
                let state = b.uart.save();
                prop_assert!(state.fifo.len() <= FIFO_SIZE);
                prop_assert_eq!(Pl011::new().load(&state), Ok(()), "whatever the guest did can be loaded");
            }
        }
    }
}
