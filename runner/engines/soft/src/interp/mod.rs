//! Tier 0: the interpreter over cached blocks. It is the reference that every
//! later tier must agree with.

mod alu;
mod exclusive;
mod execute;
mod vector_memory;

use std::sync::atomic::{AtomicU64, Ordering};

use machine::{clock::nanos_until, engine::Exit, layout::RAM_BASE, memory::GuestMemory};

use crate::{
    blocks::{self, BlockCache},
    core::{Abandoned, Core, Event, Maintenance, class},
    decode::SP_ALIGNMENT,
    domain::Domain,
    mmu::{
        PAGE_MASK, PAGE_SIZE,
        tlb::AS_EL0,
        walk::{status, walk},
    },
    op::Op,
    regs::SP,
};
use execute::{Flow, execute};

/// Index of the base register that bits 9 to 5 of a word name.
fn base_register(word: u32) -> usize {
    let n = (word >> 5 & 31) as usize;
    if n == 31 { SP } else { n }
}

/// Link slot of a taken branch.
const TAKEN: usize = 0;
/// Link slot of the instruction after the block.
const FALLS: usize = 1;

/// How a stretch of a block ended.
enum End {
    /// At a known successor: link slot.
    Linked(usize),
    /// At an address to look up.
    Lookup,
    /// Something changed that the outer loop must see.
    Synchronise,
    /// The instruction did not complete.
    Abandoned,
}

/// An empty cache for code in `memory`.
pub fn block_cache(memory: &GuestMemory) -> BlockCache {
    BlockCache::new(RAM_BASE, memory.ram_size().div_ceil(PAGE_SIZE) as usize)
}

/// Executes at most `budget` instructions as a member of `domain`.
pub fn run(core: &mut Core, cache: &mut BlockCache, budget: u64, domain: &Domain) -> Exit {
    let mut limit = budget;
    if let Some(deadline) = core.timer.deadline() {
        let rises = nanos_until(deadline);
        let now = core.clock.map_or(core.run_start, |clock| clock.nanos());
        if rises > now {
            limit = limit.min(rises - now);
        }
    }
    domain.enter(core.index);
    domain.link(core.index).arm(limit);
    let exit = run_inside(core, cache, limit, domain);
    domain.leave(core.index);
    exit
}

fn run_inside(core: &mut Core, cache: &mut BlockCache, limit: u64, domain: &Domain) -> Exit {
    let link = domain.link(core.index);
    loop {
        if link.disturbed() {
            // First, so that what comes from now on disturbs again.
            link.arm(limit);
        }
        if link.has_letters() {
            link.read(|what| {
                core.apply_maintenance(what);
                apply_to_code(core, cache, what);
            });
        }
        // Not in the middle of an instruction that the machine has answered:
        // its access would be made again after the handler.
        if core.answers.is_empty() {
            // First, so that it comes at the end of the very run that stepped.
            if core.step_is_pending() {
                core.take_step();
            }
            if core.irq_due() {
                core.take_irq();
            }
        }
        if core.executed >= limit || core.timer_changed {
            core.timer_changed = false;
            return Exit::Budget;
        }
        if core.answers.is_empty() && link.kicked() {
            link.obey();
            return Exit::Budget;
        }
        let stepping = core.is_stepping();
        if stepping {
            core.begin_step();
        }
        // An answered instruction is executed again alone, so that its answers
        // meet nothing else; a stepped one for what follows it.
        let alone = AtomicU64::new(core.executed + 1);
        core.answered = 0;
        if core.monitors_enabled() && core.context_breakpoint() {
            // Out of line, where breakpoints are looked at: it ends there.
            let _ = find_slow(core, cache);
        } else {
            let limit = if core.answers.is_empty() && !stepping { link.limit() } else { &alone };
            run_blocks(core, cache, limit);
        }
        match core.event.take() {
            None => {
                core.answers.clear();
                if stepping {
                    core.advance_step();
                }
            }
            Some(Event::Exit(exit)) => return exit,
            Some(Event::Exception { class: ec, syndrome, address }) => {
                core.answers.clear();
                if stepping && ec == class::SVC {
                    core.advance_step();
                }
                // An instruction that does not complete takes its time all the
                // same; else a guest without a working vector would never
                // spend its budget. SVC has completed.
                if ec != class::SVC {
                    core.executed += 1;
                }
                core.take_exception(ec, syndrome, address);
            }
        }
        for what in std::mem::take(&mut core.maintenance) {
            apply_to_code(core, cache, what);
            match what {
                Maintenance::AllCode { broadcast: false } | Maintenance::Breakpoints => {}
                Maintenance::Barrier => {
                    domain.wait(core.index);
                    core.unsynchronised = false;
                }
                _ => {
                    domain.broadcast(core.index, what);
                    core.unsynchronised = true;
                }
            }
        }
        if cache.is_full() {
            core.tlb.flush_fetch();
            cache.clear();
        }
    }
}

/// Drops decoded code that is told to be stale, here or by another vCPU.
pub fn apply_to_code(core: &mut Core, cache: &mut BlockCache, what: Maintenance) {
    match what {
        Maintenance::CodePage(page) => cache.invalidate_page(page),
        Maintenance::AllCode { .. } => {
            core.tlb.flush_fetch();
            cache.clear();
        }
        Maintenance::Breakpoints => {
            if cache.mark(breakpoints(core)) {
                core.tlb.flush_fetch();
            }
        }
        Maintenance::AllTranslations | Maintenance::Asid(_) | Maintenance::Page(_) | Maintenance::Barrier => {
        }
    }
}

/// Where the guest's own breakpoints are, and those of a debugger outside.
fn breakpoints(core: &Core) -> impl Iterator<Item = u64> + Clone {
    core.breakpoint_addresses().chain(core.stops.addresses().iter().copied())
}

/// Has the cache know these places and no others. Everything in it is dropped.
pub fn mark_breakpoints(core: &mut Core, cache: &mut BlockCache) {
    cache.set_marks(breakpoints(core));
    core.tlb.flush_fetch();
}

/// Runs block after block until `limit` instructions are retired in this run,
/// or until something happens; then PC is that of the next instruction. Another
/// thread may lower the limit at any time.
fn run_blocks(core: &mut Core, cache: &mut BlockCache, limit: &AtomicU64) {
    let Ok(mut id) = find(core, cache) else { return };
    loop {
        let (block, ops) = cache.get(id);
        let links = block.links;
        let pc = core.regs.pc;
        if !core.regs.x[SP].is_multiple_of(SP_ALIGNMENT) && core.sp_checked {
            let first = usize::from(block.first_through_sp);
            if first < ops.len() {
                return run_to_stack_fault(core, &ops[..first], pc, limit);
            }
        }
        let end = run_block(core, ops, pc, limit.load(Ordering::Relaxed));
        if core.executed >= limit.load(Ordering::Relaxed) {
            return;
        }
        id = match end {
            End::Linked(slot) if links[slot] != blocks::NONE => links[slot],
            End::Linked(slot) => {
                let Ok(next) = find(core, cache) else { return };
                if (core.regs.pc ^ pc) & !PAGE_MASK == 0 && !cache.is_marked(core.regs.pc) {
                    cache.link(id, slot, next);
                }
                next
            }
            End::Lookup => {
                let Ok(next) = find(core, cache) else { return };
                next
            }
            End::Synchronise | End::Abandoned => return,
        };
    }
}

/// Runs the operations before the first that accesses memory through a
/// misaligned SP, then has that one fault. SP keeps its alignment to the end of
/// a block, so none of them mends it.
#[cold]
fn run_to_stack_fault(core: &mut Core, ops: &[Op], pc: u64, limit: &AtomicU64) {
    let before = core.executed;
    let end = run_block(core, ops, pc, limit.load(Ordering::Relaxed));
    let all = core.executed == before + ops.len() as u64;
    if matches!(end, End::Linked(FALLS)) && all && core.executed < limit.load(Ordering::Relaxed) {
        core.raise(class::SP_ALIGNMENT, 0, None);
    }
}

/// Runs one block, or as much of it as `limit` allows. Counts what is retired
/// and leaves PC at the next instruction.
#[inline(always)]
fn run_block(core: &mut Core, ops: &[Op], pc: u64, limit: u64) -> End {
    let before = core.executed;
    let allowed = (limit.saturating_sub(before) as usize).min(ops.len());
    core.block_pc = pc;
    for (index, op) in ops[..allowed].iter().enumerate() {
        // Few instructions need their own address, so it is not counted along.
        let at = || pc.wrapping_add(index as u64 * 4);
        let end = match execute(core, op, at) {
            Flow::Next => continue,
            Flow::Taken(target) => {
                core.regs.pc = target;
                End::Linked(TAKEN)
            }
            Flow::NotTaken => {
                core.regs.pc = at().wrapping_add(4);
                End::Linked(FALLS)
            }
            Flow::Indirect(target) => {
                core.regs.pc = target;
                End::Lookup
            }
            Flow::Synchronise => {
                core.regs.pc = at().wrapping_add(4);
                End::Synchronise
            }
            Flow::Exception => {
                core.regs.pc = at().wrapping_add(4);
                End::Abandoned
            }
            Flow::Returned => End::Synchronise,
            Flow::Abandoned => {
                core.regs.pc = at();
                core.executed = before + index as u64;
                return End::Abandoned;
            }
        };
        core.executed = before + index as u64 + 1;
        return end;
    }
    core.executed = before + allowed as u64;
    core.regs.pc = pc.wrapping_add(allowed as u64 * 4);
    End::Linked(FALLS)
}

/// The block at PC, decoded if it is new.
fn find(core: &mut Core, cache: &mut BlockCache) -> Result<u32, Abandoned> {
    let pc = core.regs.pc;
    let who = core.who & AS_EL0;
    if let Some(page) = core.tlb.fetch(pc, who)
        && pc & 3 == 0
        && !core.il
    {
        let id = cache.at(page, pc);
        if id != blocks::NONE {
            return Ok(id);
        }
    }
    find_slow(core, cache)
}

#[cold]
fn find_slow(core: &mut Core, cache: &mut BlockCache) -> Result<u32, Abandoned> {
    let pc = core.regs.pc;
    let who = core.who & AS_EL0;
    if pc & 3 != 0 {
        return Err(core.raise(class::PC_ALIGNMENT, 0, Some(pc)));
    }
    let leaf = match walk(&core.memory, &core.sys, pc) {
        Ok(leaf) => leaf,
        Err(fault) => return Err(instruction_abort(core, fault.status)),
    };
    if !(if core.el0 { leaf.exec_el0 } else { leaf.exec_el1 }) {
        return Err(instruction_abort(core, status::PERMISSION | leaf.level));
    }
    // After the faults of translation and before all others (Arm ARM D1.3.5.6).
    if core.monitors_enabled() {
        core.check_breakpoints()?;
    }
    let Some(page) = cache.page(leaf.page) else {
        return Err(instruction_abort(core, status::EXTERNAL));
    };
    // After the faults of the fetch (Arm ARM D1.3.5.5).
    if core.il {
        return Err(core.raise(class::ILLEGAL_STATE, 0, None));
    }
    core.tlb.insert_fetch(pc, who, page, leaf.global, leaf.reach());
    let id = if cache.is_marked(pc) {
        // An instruction that the machine has answered was stopped at before it asked.
        if core.answers.is_empty() && core.stops.stops_at(pc) {
            return Err(core.exit(Exit::Breakpoint));
        }
        cache.at_mark(page, pc)
    } else {
        cache.at(page, pc)
    };
    if id != blocks::NONE {
        return Ok(id);
    }
    let memory = &core.memory;
    // The page is inside memory: cache.page knows no other.
    Ok(cache.decode(page, pc, |pa| memory.read_u32(pa).unwrap_or(0)))
}

#[cold]
fn instruction_abort(core: &mut Core, status: u8) -> Abandoned {
    let class = if core.el0 { class::INSTRUCTION_ABORT_LOWER } else { class::INSTRUCTION_ABORT_SAME };
    let pc = core.regs.pc;
    core.raise(class, u32::from(status), Some(pc))
}
