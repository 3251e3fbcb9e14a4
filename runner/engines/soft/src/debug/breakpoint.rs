//! Breakpoint exceptions (Arm ARM D2.8).
//!
//! An address is found by the mark of its word in the block cache, as those of a debugger outside are; a context that is
//! current matches every instruction, so that it is found before any is looked up.

use super::{DEBUG_STATUS, control};
use crate::core::{Abandoned, Core, class};

/// Breakpoints that can match a context too, the last ones of all: ID_AA64DFR0_EL1.CTX_CMPs plus 1.
const CONTEXT_AWARE: usize = 2;

/// What a breakpoint compares: DBGBCR_EL1.BT (Arm ARM D24.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    /// The address; with the context of another, if it is linked.
    Address { linked: bool },
    /// CONTEXTIDR_EL1; for those that link to it alone, if it is linked.
    Context { linked: bool },
}

/// The type of breakpoint `n` of `count`. A reserved one turns it off (Arm ARM K1.2, "RESBPTYPE").
fn type_of(n: usize, count: usize, control: u64) -> Option<Type> {
    match control >> 20 & 15 {
        0b0000 => Some(Type::Address { linked: false }),
        0b0001 => Some(Type::Address { linked: true }),
        0b0010 if n + CONTEXT_AWARE >= count => Some(Type::Context { linked: false }),
        0b0011 if n + CONTEXT_AWARE >= count => Some(Type::Context { linked: true }),
        _ => None,
    }
}

impl Core {
    fn breakpoint_type(&self, n: usize) -> Option<Type> {
        type_of(n, self.sys.breakpoints.len(), self.sys.breakpoints[n][1])
    }

    /// The addresses that breakpoints compare, whether or not these may match now.
    pub fn breakpoint_addresses(&self) -> impl Iterator<Item = u64> + Clone {
        self.sys.breakpoints.iter().enumerate().filter_map(|(n, &[value, control])| {
            let address = matches!(self.breakpoint_type(n), Some(Type::Address { .. }));
            (address && control::is_on(control)).then_some(value)
        })
    }

    /// Whether `value` is the current context.
    fn context_matches(&self, value: u64) -> bool {
        self.sys.contextidr_el1 as u32 == value as u32
    }

    /// Whether breakpoint `n`, to which another or a watchpoint is linked, lets it match: it must be one of those for
    /// linked contexts, and its own levels don't count (Arm ARM D2.8.4). Without a breakpoint there, or with one of
    /// another type, there is no match.
    pub(super) fn linked_context_matches(&self, n: usize) -> bool {
        let Some(&[value, control]) = self.sys.breakpoints.get(n) else { return false };
        control & control::E != 0
            && self.breakpoint_type(n) == Some(Type::Context { linked: true })
            && self.context_matches(value)
    }

    /// Whether a breakpoint matches every instruction here, for its context.
    pub fn context_breakpoint(&self) -> bool {
        self.debug_exceptions()
            && (0..self.sys.breakpoints.len()).any(|n| {
                self.breakpoint_type(n) == Some(Type::Context { linked: false })
                    && self.breakpoint_matches(n, 0)
            })
    }

    /// Whether breakpoint `n` matches the instruction at `pc` (Arm ARM, BreakpointMatch). DBGBCR_EL1.BAS does not count:
    /// it is RES1 without AArch32.
    fn breakpoint_matches(&self, n: usize, pc: u64) -> bool {
        let [value, control] = self.sys.breakpoints[n];
        control::is_on_for(control, self.el0)
            && match self.breakpoint_type(n) {
                Some(Type::Address { linked }) => {
                    (pc ^ value) & control::VA & !3 == 0
                        && (!linked || self.linked_context_matches(control::linked(control)))
                }
                Some(Type::Context { linked: false }) => self.context_matches(value),
                _ => false,
            }
    }

    /// Abandons the instruction at PC if a breakpoint matches it.
    #[cold]
    pub fn check_breakpoints(&mut self) -> Result<(), Abandoned> {
        let pc = self.regs.pc;
        let hit = self.monitors_enabled()
            && self.debug_exceptions()
            && (0..self.sys.breakpoints.len()).any(|n| self.breakpoint_matches(n, pc));
        if !hit {
            return Ok(());
        }
        let class = if self.el0 { class::BREAKPOINT_LOWER } else { class::BREAKPOINT_SAME };
        Err(self.raise(class, DEBUG_STATUS, None))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_two_compare_contexts() {
        for n in 0..6 {
            assert_eq!(type_of(n, 6, 0), Some(Type::Address { linked: false }));
            assert_eq!(type_of(n, 6, 1 << 20), Some(Type::Address { linked: true }));
            let context = (n >= 4).then_some(Type::Context { linked: false });
            assert_eq!(type_of(n, 6, 2 << 20), context);
            for reserved in 4..16 {
                assert_eq!(type_of(n, 6, reserved << 20), None);
            }
        }
    }
}
