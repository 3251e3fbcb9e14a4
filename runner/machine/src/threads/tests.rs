use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{board::MachineConfig, clock::Ticks, memory::GuestMemory, virtio::testing::Counting};

const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: u64 = 0xc400_0003;
const SYSTEM_OFF: u64 = 0x8400_0008;
const ENTRY: u64 = RAM_BASE + 0x1000;
/// In X30: a state that the fake engine can't hold.
const REFUSED: u64 = 0xbad;
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(60);

/// What a vCPU of the fake engine does next.
#[derive(Clone, Debug)]
enum Step {
    /// Ends its run.
    Exit(Exit),
    /// Runs guest code until it is kicked, again and again.
    Spin,
    /// Fails as no engine should.
    Panic,
}

fn call(function: u64) -> Step {
    Step::Exit(Exit::Hypercall([function, 0, 0, 0]))
}

/// An engine whose vCPUs follow scripts instead of executing anything.
struct Scripted {
    scripts: Vec<Mutex<VecDeque<Step>>>,
    /// The vCPU that can't be made.
    refuses: Option<usize>,
}

impl Scripted {
    fn new(scripts: &[&[Step]]) -> Self {
        let scripts = scripts.iter().map(|script| Mutex::new(script.iter().cloned().collect()));
        Scripted { scripts: scripts.collect(), refuses: None }
    }
}

impl Engine for Scripted {
    type Vcpu = ScriptedVcpu;

    fn name(&self) -> &'static str {
        "scripted"
    }

    fn create_vcpu(&self, index: usize) -> Result<ScriptedVcpu, EngineError> {
        if self.refuses == Some(index) {
            return Err(EngineError::Host { engine: self.name(), what: "no more of them".to_owned() });
        }
        let script = std::mem::take(&mut *self.scripts[index].lock().unwrap());
        let kicked = Arc::new(Kicked(AtomicBool::new(false)));
        Ok(ScriptedVcpu {
            script,
            kicked,
            state: CpuState::at_entry(0, 0),
            retired: 0,
            home: thread::current().id(),
        })
    }
}

struct ScriptedVcpu {
    script: VecDeque<Step>,
    kicked: Arc<Kicked>,
    state: CpuState,
    retired: u64,
    home: thread::ThreadId,
}

struct Kicked(AtomicBool);

impl Kick for Kicked {
    fn kick(&self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

impl Vcpu for ScriptedVcpu {
    fn run(&mut self, _: Resume, _: u64, _: u64) -> Exit {
        assert_eq!(thread::current().id(), self.home, "a vCPU stays on the thread that made it");
        self.retired += 1;
        match self.script.pop_front() {
            Some(Step::Exit(exit)) => exit,
            Some(Step::Panic) => panic!("a fault of the engine, made for a test"),
            Some(Step::Spin) | None => {
                self.script.push_front(Step::Spin);
                while !self.kicked.0.swap(false, Ordering::SeqCst) {
                    thread::yield_now();
                }
                Exit::Budget
            }
        }
    }

    fn set_clock(&mut self, _: HostClock) {}

    fn kicker(&self) -> Arc<dyn Kick> {
        Arc::clone(&self.kicked) as Arc<dyn Kick>
    }

    fn set_breakpoints(&mut self, _: &[u64]) -> Result<(), EngineError> {
        Ok(())
    }

    fn set_irq(&mut self, _: bool) {}

    fn timer_asserted(&self, _: Ticks) -> bool {
        false
    }

    fn deadline(&self) -> Option<Ticks> {
        None
    }

    fn retired(&self) -> u64 {
        self.retired
    }

    fn save(&self) -> CpuState {
        self.state.clone()
    }

    fn load(&mut self, state: &CpuState) -> Result<(), EngineError> {
        if state.x[30] == REFUSED {
            return Err(EngineError::Unsupported { engine: "scripted", what: "X30".to_owned() });
        }
        self.state = state.clone();
        Ok(())
    }
}

fn machine(cpus: usize) -> Machine {
    Machine::new(MachineConfig {
        cpus,
        memory: GuestMemory::anonymous(1 << 20).unwrap(),
        display: (64, 64),
        disk: None,
        wall_seconds: 0,
        entropy: Box::<Counting>::default(),
    })
}

fn started(scripts: &[&[Step]]) -> Threads {
    let mut vm = Threads::new(machine(scripts.len()), Scripted::new(scripts)).unwrap();
    vm.start(&CpuState::at_entry(ENTRY, 0)).unwrap();
    vm
}

fn no_memory(_: &Machine) -> Result<(), MachineError> {
    Ok(())
}

#[test]
fn a_guest_powers_off() {
    let mut vm = started(&[&[call(SYSTEM_OFF)], &[]]);
    assert_eq!(vm.run(LONG), Outcome::PoweredOff);
    assert_eq!(vm.run(LONG), Outcome::PoweredOff, "it stays so");
}

#[test]
fn the_last_processor_that_goes_off_ends_the_guest() {
    let on = Step::Exit(Exit::Hypercall([CPU_ON, 1, ENTRY, 7]));
    let mut vm = started(&[&[on, call(CPU_OFF)], &[Step::Exit(Exit::Budget), call(CPU_OFF)]]);
    assert_eq!(vm.run(LONG), Outcome::PoweredOff);
}

#[test]
fn a_reset_and_a_report_reach_the_owner() {
    let mut vm = started(&[&[call(0x8400_0009)]]);
    assert_eq!(vm.run(LONG), Outcome::Reset);
    let report = StopReport { vcpu: 0, pc: 4, word: Some(5), what: "a word".to_owned() };
    let mut vm = started(&[&[Step::Exit(Exit::Stopped(report.clone()))]]);
    assert_eq!(vm.run(LONG), Outcome::Stopped(report));
}

#[test]
fn an_engine_that_fails_ends_the_guest_and_the_rest_is_told() {
    let mut vm = started(&[&[Step::Panic], &[]]);
    assert!(matches!(vm.run(LONG), Outcome::Stopped(report) if report.vcpu == 0));
    assert!(matches!(vm.save(), Err(MachineError::Vcpu { cpu: 0, .. })));
    let state = started(&[&[], &[]]).save().unwrap();
    assert!(matches!(vm.load(&state, no_memory), Err(MachineError::Vcpu { cpu: 0, .. })));
}

#[test]
fn an_engine_that_refuses_leaves_no_thread_behind() {
    let mut engine = Scripted::new(&[&[], &[], &[]]);
    engine.refuses = Some(1);
    assert!(matches!(Threads::new(machine(3), engine), Err(EngineError::Host { .. })));
}

#[test]
fn whoever_waits_without_an_interrupt_is_idle() {
    let wait = Step::Exit(Exit::WaitForInterrupt);
    let mut vm = started(&[std::slice::from_ref(&wait), &[]]);
    assert_eq!(vm.run(LONG), Outcome::Idle { until: None });
    // A second one that is on and runs makes the guest run.
    let on = Step::Exit(Exit::Hypercall([CPU_ON, 1, ENTRY, 7]));
    let mut vm = started(&[&[on, wait], &[]]);
    assert_eq!(vm.run(Duration::from_millis(50)), Outcome::Running);
}

#[test]
fn an_interrupt_ends_the_wait() {
    // GICD_CTLR: affinity routing and group 1; the UART's interrupt is level-triggered and in group 1.
    let write = |gpa, value| Step::Exit(Exit::MmioWrite { gpa, size: 4, value });
    let sysreg = |crm, op2, value| {
        Step::Exit(Exit::SysRegWrite(crate::engine::SysReg::new(3, 0, 12, crm, op2), value))
    };
    use crate::layout::{GICD_BASE, GICR_BASE, UART_BASE, UART_INTID};
    let bit = 1u64 << (UART_INTID % 32);
    let script = [
        write(GICD_BASE, 0x13),
        write(GICR_BASE + 0x14, 0),
        write(GICD_BASE + 0x84, bit),
        write(GICD_BASE + 0x104, bit),
        // ICC_PMR_EL1, ICC_IGRPEN1_EL1.
        Step::Exit(Exit::SysRegWrite(crate::engine::SysReg::new(3, 0, 4, 6, 0), 0xf0)),
        sysreg(12, 7, 1),
        // UARTCR: on; UARTIMSC: receive.
        write(UART_BASE + 0x30, 0x301),
        write(UART_BASE + 0x38, 0x10),
        // The FIFO, so that one byte is not enough to interrupt at once, off.
        write(UART_BASE + 0x2c, 0x60),
        Step::Exit(Exit::WaitForInterrupt),
        call(SYSTEM_OFF),
    ];
    let mut vm = started(&[&script]);
    assert_eq!(vm.run(LONG), Outcome::Idle { until: None });
    assert_eq!(vm.with_machine(|machine| machine.push_serial_input(b"x")), 1);
    assert_eq!(vm.run(LONG), Outcome::PoweredOff);
}

#[test]
fn a_save_finds_everybody_at_rest_and_loses_no_start() {
    for round in 0..100 {
        let on = Step::Exit(Exit::Hypercall([CPU_ON, 1, ENTRY + 4 * round, 7]));
        let mut vm = started(&[&[on], &[]]);
        let deadline = Instant::now() + LONG;
        // As soon as the call is answered, at times before the other thread has seen it.
        while vm.shared.lock().cpus[1].power == Power::Off {
            vm.run(Duration::ZERO);
            assert!(Instant::now() < deadline);
        }
        let state = vm.save().unwrap();
        assert_ne!(state.cpus[1].power, Power::Off);
        assert_eq!((state.cpus[1].state.pc, state.cpus[1].state.x[0]), (ENTRY + 4 * round, 7));
        assert_eq!(state.cpus[0].state.pc, ENTRY);
    }
}

#[test]
fn time_goes_on_from_a_load_and_a_refused_one_can_be_repaired() {
    let mut vm = started(&[&[], &[]]);
    vm.run(Duration::from_millis(1));
    let mut state = vm.save().unwrap();
    state.now = 1 << 50;
    state.cpus[0].state.x[3] = 33;
    let mut wrong = state.clone();
    wrong.cpus[1].state.x[30] = REFUSED;
    assert!(matches!(vm.load(&wrong, no_memory), Err(MachineError::Vcpu { cpu: 1, .. })));
    let few = VmState { cpus: state.cpus[..1].to_vec(), ..state.clone() };
    assert!(matches!(vm.load(&few, no_memory), Err(MachineError::Cpus { saved: 1, here: 2 })));

    vm.load(&state, no_memory).unwrap();
    assert_eq!(vm.run(Duration::from_millis(1)), Outcome::Running);
    assert!(vm.now() >= 1 << 50);
    let again = vm.save().unwrap();
    assert_eq!(again.cpus[0].state.x[3], 33);
    assert!(again.now >= 1 << 50);
}

#[test]
fn what_runs_ends_when_it_is_dropped() {
    for _ in 0..20 {
        let mut vm = started(&[&[], &[]]);
        assert_eq!(vm.run(Duration::ZERO), Outcome::Running);
    }
    // Never run at all.
    drop(started(&[&[]]));
}
