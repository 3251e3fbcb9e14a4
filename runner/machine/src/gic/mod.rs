//! GICv3 interrupt controller, in user space so that its state is plain data.
//!
//! Affinity routing and a single security state are all there is: GICD_CTLR.ARE
//! and DS read as one. SGIs, PPIs and 96 SPIs; no LPIs and no ITS. Both groups
//! work; Group 1 drives the IRQ output, Group 0 the FIQ output (Arm IHI 0069,
//! 4.6.2), which an engine may leave unconnected, as Linux uses Group 1 only.
//!
//! What the outputs show follows from the state. It is computed anew for the
//! vCPUs that a change can reach, at the change, so that asking is a load.
//!
//! Where an engine brings a controller of the host's ([`HostGic`]), that one serves the guest. This one then drives its
//! input lines, remembers their levels, signals nothing itself, and is how the rest of the machine saves and loads it.

mod bank;
mod cpu_interface;
mod distributor;
mod redistributor;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use self::{
    bank::Bank,
    cpu_interface::CpuInterfaceState,
    distributor::{DistributorState, SpiBank},
    redistributor::RedistributorState,
};
use self::{
    bank::PRIORITY_MASK,
    cpu_interface::{MIN_BPR0, MIN_BPR1},
    distributor::{ROUTE_ANY, ROUTE_MASK},
    redistributor::SGIS,
};
use crate::{
    engine::HostGic,
    layout::{MAX_VCPUS, SPI_BASE},
};

/// Banks of 32 SPIs.
const SPI_BANKS: usize = 3;
/// INTIDs from 0 to this exist.
const INTIDS: u32 = SPI_BASE + 32 * SPI_BANKS as u32;
/// What acknowledging nothing returns (Arm IHI 0069, 2.2.1).
const SPURIOUS: u32 = 1023;

/// Everything the interrupt controller remembers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GicState {
    /// The distributor.
    pub distributor: DistributorState,
    /// One redistributor a vCPU.
    pub redistributors: Vec<RedistributorState>,
    /// One CPU interface a vCPU.
    pub cpu_interfaces: Vec<CpuInterfaceState>,
}

/// A saved state that this interrupt controller can't have had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GicError {
    /// It is for another number of vCPUs.
    #[error("the interrupt controller's state is for {found} vCPUs, the machine has {expected}")]
    VcpuCount {
        /// vCPUs of this machine.
        expected: usize,
        /// vCPUs of the state.
        found: usize,
    },
    /// A field holds a value outside its range.
    #[error("the interrupt controller's state is damaged: {0}")]
    Invalid(&'static str),
    /// The engine's own interrupt controller refuses.
    #[error("{0}")]
    Host(String),
}

/// The interrupt controller.
pub struct Gic {
    /// With a controller of the host's: the lines of SPIs as they are, the rest as it was last saved or loaded.
    state: GicState,
    outputs: Vec<Output>,
    host: Option<Box<dyn HostGic>>,
}

/// What a CPU interface signals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Line {
    #[default]
    None,
    /// An interrupt of Group 0.
    Fiq,
    /// An interrupt of Group 1.
    Irq,
}

/// An interrupt that could be signalled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pending {
    intid: u32,
    priority: u8,
    group1: bool,
}

/// Derived from the state for one vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Output {
    /// The highest priority pending interrupt, whether or not it is signalled.
    pending: Option<Pending>,
    line: Line,
}

impl Gic {
    /// An interrupt controller in its reset state, for `cpus` vCPUs; at least
    /// one and at most [`MAX_VCPUS`], for which there is address space.
    pub fn new(cpus: usize) -> Self {
        let cpus = cpus.clamp(1, MAX_VCPUS);
        Gic {
            state: GicState {
                distributor: DistributorState::default(),
                redistributors: vec![RedistributorState::default(); cpus],
                cpu_interfaces: vec![CpuInterfaceState::default(); cpus],
            },
            outputs: vec![Output::default(); cpus],
            host: None,
        }
    }

    /// Leaves the guest to the host's interrupt controller, which must be in reset, as this one.
    pub fn leave_to(&mut self, host: Box<dyn HostGic>) {
        self.host = Some(host);
        self.outputs.fill(Output::default());
    }

    /// Whether the guest is left to an interrupt controller of the host's. Then nothing is signalled here.
    pub fn is_hosts(&self) -> bool {
        self.host.is_some()
    }

    /// Number of vCPUs.
    pub fn cpus(&self) -> usize {
        self.state.cpu_interfaces.len()
    }

    /// Drives the input line of an SPI; anything else is ignored.
    pub fn set_level(&mut self, intid: u32, level: bool) {
        if intid >= SPI_BASE {
            self.set_line(0, intid, level);
        }
    }

    /// Drives the input line of a PPI of vCPU `cpu`; anything else is ignored.
    pub fn set_ppi_level(&mut self, cpu: usize, intid: u32, level: bool) {
        if (16..SPI_BASE).contains(&intid) && cpu < self.cpus() && self.host.is_none() {
            self.set_line(cpu, intid, level);
        }
    }

    /// Raises and lowers the line of an SPI: an edge. A level-sensitive
    /// interrupt forgets it.
    pub fn pulse(&mut self, intid: u32) {
        self.set_level(intid, true);
        self.set_level(intid, false);
    }

    /// Level of the IRQ input of vCPU `cpu`.
    pub fn irq_asserted(&self, cpu: usize) -> bool {
        self.outputs.get(cpu).is_some_and(|output| output.line == Line::Irq)
    }

    /// Level of the FIQ input of vCPU `cpu`.
    pub fn fiq_asserted(&self, cpu: usize) -> bool {
        self.outputs.get(cpu).is_some_and(|output| output.line == Line::Fiq)
    }

    /// The IRQ inputs of all vCPUs, bit `n` for vCPU `n`: a scheduler that
    /// keeps the last answer sees which changed.
    pub fn irq_lines(&self) -> u32 {
        (0..self.cpus()).fold(0, |lines, cpu| lines | u32::from(self.irq_asserted(cpu)) << cpu)
    }

    /// The state, input lines included; of a controller of the host's, as it was at [`Gic::fetch`].
    pub fn save(&self) -> GicState {
        self.state.clone()
    }

    /// Looks at the host's controller, if the guest is left to one. While all vCPUs hold still.
    ///
    /// # Errors
    /// If the host refuses.
    pub fn fetch(&mut self) -> Result<(), GicError> {
        let Some(host) = &self.host else { return Ok(()) };
        let mut state = host.save().map_err(|error| GicError::Host(error.to_string()))?;
        for (fetched, known) in state.distributor.spis.iter_mut().zip(&self.state.distributor.spis) {
            fetched.interrupts.level = known.interrupts.level;
        }
        validate(&state, self.cpus())?;
        self.state = state;
        Ok(())
    }

    /// Replaces the state, at any time; that of a controller of the host's while all vCPUs hold still.
    ///
    /// # Errors
    /// If the state is for another number of vCPUs, or one that no sequence of
    /// accesses leads to; this interrupt controller is then as it was. Or if the
    /// host's controller can't hold it.
    pub fn load(&mut self, state: &GicState) -> Result<(), GicError> {
        validate(state, self.cpus())?;
        if let Some(host) = &self.host {
            host.load(state).map_err(|error| GicError::Host(error.to_string()))?;
        }
        self.state.clone_from(state);
        self.update_all();
        Ok(())
    }

    fn set_line(&mut self, cpu: usize, intid: u32, level: bool) {
        let Some((bank, bit)) = self.bank_mut(cpu, intid) else {
            return;
        };
        if bank.set_level(bit, level) {
            match &self.host {
                Some(host) => host.set_level(intid, level),
                None => self.update_target(cpu, intid),
            }
        }
    }

    /// The bank that holds `intid`, as seen by `cpu`, and its bit there.
    fn bank_mut(&mut self, cpu: usize, intid: u32) -> Option<(&mut Bank, u32)> {
        let bit = 1 << (intid % 32);
        let bank = match (intid / 32).checked_sub(1) {
            None => &mut self.state.redistributors.get_mut(cpu)?.interrupts,
            Some(n) => &mut self.state.distributor.spis.get_mut(n as usize)?.interrupts,
        };
        Some((bank, bit))
    }

    /// Recomputes the output of the vCPU that `intid`, changed by `cpu`, goes to.
    fn update_target(&mut self, cpu: usize, intid: u32) {
        let target = match intid.checked_sub(SPI_BASE) {
            None => Some(cpu),
            Some(spi) => self.target((spi / 32) as usize, spi % 32),
        };
        if let Some(target) = target {
            self.update(target);
        }
    }

    fn update_all(&mut self) {
        for cpu in 0..self.cpus() {
            self.update(cpu);
        }
    }

    fn update(&mut self, cpu: usize) {
        if self.host.is_some() {
            return;
        }
        let pending = self.highest_pending(cpu);
        let signalled = pending
            .filter(|p| self.state.cpu_interfaces.get(cpu).is_some_and(|i| i.signals(p.priority, p.group1)));
        let line = match signalled {
            None => Line::None,
            Some(Pending { group1: false, .. }) => Line::Fiq,
            Some(Pending { group1: true, .. }) => Line::Irq,
        };
        if let Some(output) = self.outputs.get_mut(cpu) {
            *output = Output { pending, line };
        }
    }

    /// The most urgent interrupt that is forwarded to `cpu`; of equals the one
    /// with the lowest INTID, where the architecture leaves the choice.
    ///
    /// Interrupts of a group that the CPU interface has disabled are not
    /// forwarded, so they hide none of the other group (Arm IHI 0069, 4.7.2).
    fn highest_pending(&self, cpu: usize) -> Option<Pending> {
        let redistributor = self.state.redistributors.get(cpu)?;
        let interface = self.state.cpu_interfaces.get(cpu)?;
        let distributor = &self.state.distributor;
        if redistributor.processor_sleep {
            return None;
        }
        let group0 = distributor.enable_group0 && interface.enable_group0;
        let group1 = distributor.enable_group1 && interface.enable_group1;

        let mut best: Option<Pending> = None;
        let mut consider = |bank: &Bank, base: u32, bit: u32| {
            let priority = bank.priority.get(bit as usize).copied().unwrap_or(u8::MAX);
            if best.is_none_or(|b| priority < b.priority) {
                best = Some(Pending { intid: base + bit, priority, group1: bank.group1 >> bit & 1 != 0 });
            }
        };
        for bit in bits(redistributor.interrupts.candidates(group0, group1)) {
            consider(&redistributor.interrupts, 0, bit);
        }
        for (n, spis) in distributor.spis.iter().enumerate() {
            for bit in bits(spis.interrupts.candidates(group0, group1)) {
                if self.target(n, bit) == Some(cpu) {
                    consider(&spis.interrupts, SPI_BASE + 32 * n as u32, bit);
                }
            }
        }
        best
    }

    /// The vCPU to which an SPI goes (Arm IHI 0069, 2.3.1): the one with the
    /// affinity of its routing register, or for 1-of-N the lowest-numbered that
    /// participates, awake and with the interrupt's group enabled (2.3.2).
    fn target(&self, bank: usize, bit: u32) -> Option<usize> {
        let spis = self.state.distributor.spis.get(bank)?;
        let route = *spis.route.get(bit as usize)?;
        if route & ROUTE_ANY == 0 {
            return usize::try_from(route).ok().filter(|cpu| *cpu < self.cpus());
        }
        let group1 = spis.interrupts.group1 >> bit & 1 != 0;
        self.state
            .redistributors
            .iter()
            .zip(&self.state.cpu_interfaces)
            .position(|(r, i)| !r.processor_sleep && if group1 { i.enable_group1 } else { i.enable_group0 })
    }
}

/// The set bits of `word`, lowest first.
fn bits(mut word: u32) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = word.trailing_zeros();
        word &= word.wrapping_sub(1);
        (bit < 32).then_some(bit)
    })
}

fn validate(state: &GicState, cpus: usize) -> Result<(), GicError> {
    for found in [state.redistributors.len(), state.cpu_interfaces.len()] {
        if found != cpus {
            return Err(GicError::VcpuCount { expected: cpus, found });
        }
    }
    let require = |holds: bool, what| if holds { Ok(()) } else { Err(GicError::Invalid(what)) };
    let spis = state.distributor.spis.iter().map(|s| &s.interrupts);
    for bank in spis.chain(state.redistributors.iter().map(|r| &r.interrupts)) {
        require(bank.priority.iter().all(|p| p & !PRIORITY_MASK == 0), "a priority has more than five bits")?;
    }
    for spis in &state.distributor.spis {
        require(spis.route.iter().all(|r| r & !ROUTE_MASK == 0), "a routing register has reserved bits set")?;
    }
    for redistributor in &state.redistributors {
        let bank = &redistributor.interrupts;
        require(bank.edge & SGIS == SGIS, "an SGI is level-sensitive")?;
        require(bank.level & SGIS == 0, "an SGI has an input line")?;
    }
    for interface in &state.cpu_interfaces {
        require(interface.priority_mask & !PRIORITY_MASK == 0, "a priority mask has more than five bits")?;
        require((MIN_BPR0..=7).contains(&interface.bpr0), "ICC_BPR0_EL1 is out of range")?;
        require((MIN_BPR1..=7).contains(&interface.bpr1), "ICC_BPR1_EL1 is out of range")?;
    }
    Ok(())
}
