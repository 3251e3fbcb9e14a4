//! A machine and its vCPUs, each on a host thread of its own, in the host's time.
//!
//! For interactive use: it is as quick as the host's cores allow, and not deterministic. The vCPUs' threads and the
//! owner of [`Threads`] share the [`Machine`] under one lock, which is held while an exit is answered and never while
//! guest code runs. A thread stops only between two instructions, with nothing left to answer, so that the state can
//! be saved and replaced while all hold still.

use std::{
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::{
    board::{Machine, MachineError},
    clock::{HostClock, nanos_until, ticks_from_nanos},
    cpu_state::CpuState,
    engine::{Engine, EngineError, Exit, Kick, Resume, StopReport, Vcpu},
    layout::{RAM_BASE, VTIMER_INTID},
    psci::{self, Power, PsciCall},
    vm::{Outcome, ProcessorState, VmState},
};

/// Instructions after which a vCPU's thread looks at its timer again: some tenth of a millisecond of the soft engine.
const BUDGET: u64 = 20_000;

/// A machine with its vCPUs' threads. Dropping it ends them.
pub struct Threads {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    board: Mutex<Board>,
    /// Where each vCPU's thread sleeps.
    wake: Vec<Condvar>,
    /// Where the owner sleeps.
    owner: Condvar,
}

struct Board {
    machine: Machine,
    clock: HostClock,
    /// The vCPUs may run.
    go: bool,
    /// The threads are to end.
    quit: bool,
    cpus: Vec<Seat>,
    /// Set once the guest has ended.
    outcome: Option<Outcome>,
}

/// What the lock guards of one vCPU; the rest is its thread's own.
struct Seat {
    power: Power,
    /// Waits for an interrupt.
    waiting: bool,
    /// Its thread holds still outside guest code and has nothing to answer.
    parked: bool,
    /// Something for its thread to do before anything else.
    order: Option<Order>,
    /// The answer to [`Order::Save`].
    saved: Option<CpuState>,
    /// The answer to [`Order::Load`] if the engine refused.
    refused: Option<EngineError>,
    /// Its thread is gone.
    dead: bool,
    kicker: Option<Arc<dyn Kick>>,
    /// The IRQ level that it was last told of.
    told: bool,
    /// Its thread sleeps because it waits, until guest time `until` if no interrupt comes before.
    asleep: bool,
    until: Option<u64>,
    /// Instructions retired.
    retired: u64,
}

enum Order {
    Load(Box<CpuState>, HostClock),
    Save,
}

impl Threads {
    /// A machine whose vCPUs, one a CPU of its interrupt controller, are off; none runs before [`Threads::run`].
    /// Guest time begins at 0.
    ///
    /// # Errors
    /// If the engine can't make that many, or the host has no thread for one.
    pub fn new<E>(machine: Machine, engine: E) -> Result<Self, EngineError>
    where
        E: Engine + Send + Sync + 'static,
    {
        let name = engine.name();
        let cpus = machine.gic.cpus();
        let seat = || Seat {
            power: Power::Off,
            waiting: false,
            parked: false,
            order: None,
            saved: None,
            refused: None,
            dead: false,
            kicker: None,
            told: false,
            asleep: false,
            until: None,
            retired: 0,
        };
        let shared = Arc::new(Shared {
            board: Mutex::new(Board {
                machine,
                clock: HostClock::starting_at(0),
                go: false,
                quit: false,
                cpus: (0..cpus).map(|_| seat()).collect(),
                outcome: None,
            }),
            wake: (0..cpus).map(|_| Condvar::new()).collect(),
            owner: Condvar::new(),
        });
        let engine = Arc::new(engine);
        // Made before the first thread, so that they end if a later one can't be made.
        let mut vm = Threads { shared: Arc::clone(&shared), threads: Vec::new() };
        let (made, results) = mpsc::channel();
        for index in 0..cpus {
            let (shared, engine, made) = (Arc::clone(&shared), Arc::clone(&engine), made.clone());
            let thread = thread::Builder::new().name(format!("vcpu{index}")).spawn(move || {
                let _guard = DeathGuard { shared: &shared, index };
                match engine.create_vcpu(index) {
                    Ok(vcpu) => {
                        let _ = made.send(Ok(()));
                        drop(made);
                        VcpuThread { shared: &shared, index, vcpu }.run();
                    }
                    Err(error) => drop(made.send(Err(error))),
                }
            });
            let failed = |error: io::Error| EngineError::Host { engine: name, what: error.to_string() };
            vm.threads.push(thread.map_err(failed)?);
        }
        drop(made);
        results.iter().collect::<Result<(), _>>()?;
        Ok(vm)
    }

    /// Switches the first vCPU on in `state`, at guest time 0 now.
    ///
    /// # Errors
    /// If the engine can't hold the state.
    pub fn start(&mut self, state: &CpuState) -> Result<(), EngineError> {
        let mut board = self.pause();
        board.clock = HostClock::starting_at(0);
        let clock = board.clock;
        if let Some(first) = board.cpus.first_mut() {
            first.order = Some(Order::Load(Box::new(state.clone()), clock));
            first.power = Power::On;
            first.waiting = false;
        }
        let mut board = self.carry_out(board);
        match board.cpus.iter_mut().find_map(|seat| seat.refused.take()) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Guest time in nanoseconds.
    pub fn now(&self) -> u64 {
        self.shared.lock().clock.nanos()
    }

    /// Instructions retired by all vCPUs since they were made.
    pub fn retired(&self) -> u64 {
        self.shared.lock().cpus.iter().map(|seat| seat.retired).sum()
    }

    /// Uses the devices, while vCPUs may run; tells those whom an interrupt reaches.
    pub fn with_machine<R>(&mut self, work: impl FnOnce(&mut Machine) -> R) -> R {
        let mut board = self.shared.lock();
        let result = work(&mut board.machine);
        self.shared.signal(&mut board, None);
        result
    }

    /// Lets the guest run, and looks on for `slice` of the host's time, or until all its vCPUs wait or it ends. It
    /// goes on running afterwards, until [`Threads::pause`] or its end.
    pub fn run(&mut self, slice: Duration) -> Outcome {
        let deadline = Instant::now() + slice;
        let mut board = self.shared.lock();
        if !board.go && board.outcome.is_none() {
            board.go = true;
            self.shared.wake_all();
        }
        loop {
            if let Some(outcome) = &board.outcome {
                return outcome.clone();
            }
            if board.cpus.iter().all(|seat| seat.power == Power::Off) {
                return Outcome::PoweredOff;
            }
            if let Some(until) = board.idle()
                && until.is_none_or(|until| until > board.clock.nanos())
            {
                return Outcome::Idle { until };
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Outcome::Running;
            }
            board = self.shared.owner.wait_timeout(board, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Has every vCPU hold still between two instructions, until the next [`Threads::run`].
    fn pause(&self) -> MutexGuard<'_, Board> {
        let mut board = self.shared.lock();
        board.go = false;
        for seat in &board.cpus {
            if let Some(kicker) = &seat.kicker {
                kicker.kick();
            }
        }
        self.shared.wake_all();
        // An order that is still to be done, such as a start by CPU_ON, is done first.
        while !board.cpus.iter().all(|seat| seat.parked && seat.order.is_none() || seat.dead) {
            board = self.shared.owner.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
        board
    }

    /// Waits until the threads, all parked, have done their orders.
    fn carry_out<'a>(&'a self, mut board: MutexGuard<'a, Board>) -> MutexGuard<'a, Board> {
        self.shared.wake_all();
        while board.cpus.iter().any(|seat| seat.order.is_some() && !seat.dead) {
            board = self.shared.owner.wait(board).unwrap_or_else(PoisonError::into_inner);
        }
        board
    }

    /// Everything but memory. The vCPUs hold still until the next [`Threads::run`].
    ///
    /// # Errors
    /// If a vCPU's thread has failed.
    pub fn save(&mut self) -> Result<VmState, MachineError> {
        let mut board = self.pause();
        board.cpus.iter_mut().for_each(|seat| seat.order = Some(Order::Save));
        let mut board = self.carry_out(board);
        let mut cpus = Vec::new();
        for (cpu, seat) in board.cpus.iter_mut().enumerate() {
            let state = seat.saved.take().ok_or_else(|| gone(cpu))?;
            cpus.push(ProcessorState { power: seat.power, waiting: seat.waiting, state });
        }
        Ok(VmState { machine: board.machine.save(), cpus, now: board.clock.nanos() })
    }

    /// Makes everything what it was when `state` was saved; guest time goes on from then. `restore_memory` is called
    /// while the vCPUs hold still and must make the guest's memory what it was. They run again at the next
    /// [`Threads::run`].
    ///
    /// # Errors
    /// If memory can't be restored, or a device or a vCPU could not have saved its part. The machine is then of no
    /// use until another load succeeds.
    pub fn load<Error: From<MachineError>>(
        &mut self,
        state: &VmState,
        restore_memory: impl FnOnce(&Machine) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut board = self.pause();
        if state.cpus.len() != board.cpus.len() {
            let here = board.cpus.len();
            return Err(MachineError::Cpus { saved: state.cpus.len(), here }.into());
        }
        restore_memory(&board.machine)?;
        board.machine.load(&state.machine)?;
        board.clock = HostClock::starting_at(state.now);
        let clock = board.clock;
        for (seat, saved) in board.cpus.iter_mut().zip(&state.cpus) {
            seat.power = saved.power;
            seat.waiting = saved.waiting;
            seat.told = false;
            seat.order = Some(Order::Load(Box::new(saved.state.clone()), clock));
        }
        let mut board = self.carry_out(board);
        for (cpu, seat) in board.cpus.iter_mut().enumerate() {
            if seat.dead {
                return Err(gone(cpu).into());
            }
            if let Some(error) = seat.refused.take() {
                return Err(MachineError::Vcpu { cpu, what: error.to_string() }.into());
            }
        }
        board.outcome = None;
        Ok(())
    }
}

fn gone(cpu: usize) -> MachineError {
    MachineError::Vcpu { cpu, what: "its thread has failed".to_owned() }
}

impl Drop for Threads {
    fn drop(&mut self) {
        let mut board = self.shared.lock();
        board.quit = true;
        for seat in &board.cpus {
            if let Some(kicker) = &seat.kicker {
                kicker.kick();
            }
        }
        self.shared.wake_all();
        drop(board);
        for thread in self.threads.drain(..) {
            // A panic in it has ended the guest already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Board> {
        // A thread that panicked with the lock has ended the guest.
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_all(&self) {
        self.wake.iter().for_each(Condvar::notify_all);
    }

    /// Tells every vCPU whose IRQ input has changed, but not the calling one, which looks by itself.
    fn signal(&self, board: &mut Board, caller: Option<usize>) {
        for (index, seat) in board.cpus.iter_mut().enumerate() {
            let level = board.machine.gic.irq_asserted(index);
            if level != seat.told && caller != Some(index) {
                seat.told = level;
                if seat.waiting {
                    self.wake[index].notify_all();
                } else if let Some(kicker) = &seat.kicker {
                    kicker.kick();
                }
            }
        }
    }

    fn end(&self, board: &mut Board, outcome: Outcome) {
        board.outcome.get_or_insert(outcome);
        // The others stop at the next look.
        board.cpus.iter().filter_map(|seat| seat.kicker.as_ref()).for_each(|kicker| kicker.kick());
        self.wake_all();
        self.owner.notify_all();
    }
}

impl Board {
    /// If every vCPU that is on waits without an interrupt: when the first will go on by itself.
    fn idle(&self) -> Option<Option<u64>> {
        let mut until: Option<u64> = None;
        for (index, seat) in self.cpus.iter().enumerate() {
            if seat.power == Power::Off {
                continue;
            }
            if !seat.asleep || self.machine.gic.irq_asserted(index) || seat.order.is_some() {
                return None;
            }
            until = [until, seat.until].into_iter().flatten().min();
        }
        Some(until)
    }
}

/// Ends the guest if a vCPU's thread panics, rather than let it wait for ever.
struct DeathGuard<'a> {
    shared: &'a Shared,
    index: usize,
}

impl Drop for DeathGuard<'_> {
    fn drop(&mut self) {
        let mut board = self.shared.lock();
        board.cpus[self.index].dead = true;
        if thread::panicking() {
            let what = "the thread of this vCPU failed; this is a fault of the engine".to_owned();
            let report = StopReport { vcpu: self.index, pc: 0, word: None, what };
            self.shared.end(&mut board, Outcome::Stopped(report));
        }
        self.shared.owner.notify_all();
    }
}

/// What runs on a vCPU's thread.
struct VcpuThread<'a, V> {
    shared: &'a Shared,
    index: usize,
    vcpu: V,
}

impl<'a, V: Vcpu> VcpuThread<'a, V> {
    fn run(&mut self) {
        let mut board = self.shared.lock();
        board.cpus[self.index].kicker = Some(self.vcpu.kicker());
        let mut resume = Resume::Go;
        // The answer to an exit is still to be taken by the instruction that asked.
        let mut answering = false;
        loop {
            if !answering {
                board = match self.may_run(board) {
                    Some(board) => board,
                    None => return,
                };
            }
            let nanos = board.clock.nanos();
            let now = ticks_from_nanos(nanos);
            board.machine.tick(now);
            let asserted = self.vcpu.timer_asserted(now);
            board.machine.gic.set_ppi_level(self.index, VTIMER_INTID, asserted);
            self.shared.signal(&mut board, Some(self.index));
            let irq = board.machine.gic.irq_asserted(self.index);
            if board.cpus[self.index].waiting && !irq && !answering {
                board = self.sleep(board, nanos);
                continue;
            }
            let seat = &mut board.cpus[self.index];
            seat.waiting = false;
            seat.told = irq;
            seat.power = Power::On;
            self.vcpu.set_irq(irq);
            drop(board);
            let exit = self.vcpu.run(resume, 0, BUDGET);
            if exit == Exit::WaitForEvent {
                // What it waits for is another's doing.
                thread::yield_now();
            }
            board = self.shared.lock();
            board.cpus[self.index].retired = self.vcpu.retired();
            if matches!(exit, Exit::SysRegRead(_) | Exit::SysRegWrite(..)) {
                // What the guest asks of its interrupt controller depends on its timer, which it may have set since the
                // last look without coming back.
                let now = ticks_from_nanos(board.clock.nanos());
                let asserted = self.vcpu.timer_asserted(now);
                board.machine.gic.set_ppi_level(self.index, VTIMER_INTID, asserted);
            }
            (resume, answering) = self.answer(&mut board, exit);
            self.shared.signal(&mut board, Some(self.index));
        }
    }

    /// Holds still until the vCPU may run, and does what is ordered meanwhile. None when the thread is to end.
    fn may_run(&mut self, mut board: MutexGuard<'a, Board>) -> Option<MutexGuard<'a, Board>> {
        loop {
            let ended = board.outcome.is_some();
            let held = !board.go || ended;
            if board.quit {
                return None;
            }
            let seat = &mut board.cpus[self.index];
            match seat.order.take() {
                Some(Order::Save) => {
                    seat.saved = Some(self.vcpu.save());
                    self.shared.owner.notify_all();
                }
                Some(Order::Load(state, clock)) => {
                    self.vcpu.set_clock(clock);
                    seat.refused = self.vcpu.load(&state).err();
                    self.shared.owner.notify_all();
                }
                None if held || seat.power == Power::Off => {
                    if !seat.parked {
                        seat.parked = true;
                        self.shared.owner.notify_all();
                    }
                    board = self.shared.wake[self.index].wait(board).unwrap_or_else(PoisonError::into_inner);
                }
                None => {
                    seat.parked = false;
                    return Some(board);
                }
            }
        }
    }

    /// Sleeps as after WFI, until an interrupt, the next timer or an order may have come. At guest time `now` there
    /// was no interrupt.
    fn sleep(&self, mut board: MutexGuard<'a, Board>, now: u64) -> MutexGuard<'a, Board> {
        let events = [self.vcpu.deadline(), board.machine.deadline()];
        // One that has passed without an interrupt is masked.
        let until = events.into_iter().flatten().map(nanos_until).filter(|&at| at > now).min();
        let seat = &mut board.cpus[self.index];
        seat.told = false;
        seat.asleep = true;
        seat.until = until;
        if board.idle().is_some() {
            self.shared.owner.notify_all();
        }
        let wake = &self.shared.wake[self.index];
        let mut board = match until {
            Some(until) => {
                let nap = Duration::from_nanos(until - now);
                wake.wait_timeout(board, nap).unwrap_or_else(PoisonError::into_inner).0
            }
            None => wake.wait(board).unwrap_or_else(PoisonError::into_inner),
        };
        board.cpus[self.index].asleep = false;
        board
    }

    /// Answers an exit: how to go on, and whether the instruction waits for that.
    fn answer(&mut self, board: &mut Board, exit: Exit) -> (Resume, bool) {
        let now = ticks_from_nanos(board.clock.nanos());
        let fault = |there: bool| (if there { Resume::Go } else { Resume::Fault }, true);
        let value = |value: Option<u64>| (value.map_or(Resume::Fault, Resume::Value), true);
        match exit {
            Exit::MmioRead { gpa, size } => value(board.machine.mmio_read(gpa, size, now)),
            Exit::MmioWrite { gpa, size, value } => {
                let there = board.machine.mmio_write(gpa, size, value, now);
                if let Some(what) = board.machine.fault().cloned() {
                    self.shared.end(board, Outcome::Faulted(what));
                }
                fault(there)
            }
            Exit::SysRegRead(register) => value(board.machine.sysreg_read(self.index, register)),
            Exit::SysRegWrite(register, value) => {
                fault(board.machine.sysreg_write(self.index, register, value))
            }
            Exit::Hypercall(arguments) => self.power_call(board, arguments),
            Exit::WaitForInterrupt => {
                board.cpus[self.index].waiting = true;
                (Resume::Go, false)
            }
            Exit::WaitForEvent | Exit::Budget => (Resume::Go, false),
            Exit::Breakpoint => {
                self.shared.end(board, Outcome::Breakpoint { cpu: self.index });
                (Resume::Go, false)
            }
            Exit::Stopped(report) => {
                self.shared.end(board, Outcome::Stopped(report));
                (Resume::Go, false)
            }
        }
    }

    /// Does what a PSCI call asks for.
    fn power_call(&mut self, board: &mut Board, arguments: [u64; 4]) -> (Resume, bool) {
        let power: Vec<Power> = board.cpus.iter().map(|seat| seat.power).collect();
        let ram = RAM_BASE..RAM_BASE + board.machine.memory().ram_size();
        match psci::decode(arguments, &power, ram) {
            PsciCall::Return(value) => (Resume::Value(value), true),
            PsciCall::CpuOn { target, entry, context } => {
                let clock = board.clock;
                let seat = &mut board.cpus[target];
                seat.order = Some(Order::Load(Box::new(CpuState::at_entry(entry, context)), clock));
                seat.power = Power::OnPending;
                seat.waiting = false;
                board.machine.gic.reset_cpu_interface(target);
                self.shared.wake[target].notify_all();
                (Resume::Value(psci::SUCCESS), true)
            }
            PsciCall::CpuOff => {
                board.cpus[self.index].power = Power::Off;
                if board.cpus.iter().all(|seat| seat.power == Power::Off) {
                    self.shared.end(board, Outcome::PoweredOff);
                }
                (Resume::Go, false)
            }
            PsciCall::Suspend => {
                // Finish the HVC, then wait as after WFI.
                self.vcpu.run(Resume::Value(psci::SUCCESS), 0, 1);
                board.cpus[self.index].waiting = true;
                (Resume::Go, false)
            }
            PsciCall::SystemOff => {
                self.shared.end(board, Outcome::PoweredOff);
                (Resume::Go, false)
            }
            PsciCall::SystemReset => {
                self.shared.end(board, Outcome::Reset);
                (Resume::Go, false)
            }
        }
    }
}

#[cfg(test)]
mod tests;
