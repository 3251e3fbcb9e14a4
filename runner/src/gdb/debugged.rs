//! A session's guest under a debugger.

use std::{
    io, mem,
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

use gdbstub::{
    common::Signal,
    conn::Connection,
    stub::{
        DisconnectReason, GdbStub, GdbStubError, MultiThreadStopReason, state_machine::GdbStubStateMachine,
    },
};
use machine::{engine::EngineError, vm::Outcome};

use super::{
    Debuggee, Listener,
    debuggee::Kind,
    listener::{Event, Events, Wire},
    target::thread_of,
};
use crate::{
    drive::Lockstep,
    live::Live,
    picture::Frame,
    session::{Guest, Handle, Progress},
};

/// Nothing happens to a guest that stands still until its debugger says something.
const UNTIL_TOLD: Duration = Duration::from_secs(3600);

/// Things that a debugger does before the rest of the session has its turn.
const EVENTS_AT_ONCE: usize = 64;

/// The packet `OK`.
const KILLED: &[u8] = b"$OK#9a";

type Machine = GdbStubStateMachine<'static, Debuggee, Wire>;
type Error = GdbStubError<EngineError, io::Error>;

/// A guest that waits for gdb before its first instruction, and obeys it.
pub struct Debugged {
    pub(super) debuggee: Debuggee,
    events: Events,
    /// The protocol's state, while a debugger is connected.
    stub: Option<Machine>,
    /// No debugger has come yet.
    waiting: bool,
    /// It stood still until now.
    stood: bool,
    /// The guest can't go on; its end is told once the debugger has seen enough.
    over: Option<Progress>,
}

/// What came of the debugger's words.
enum Heard {
    /// It is still there.
    On(Machine),
    /// It leaves the guest alone.
    Detached,
    /// It ends the session.
    Killed,
}

impl Debugged {
    /// Puts `live` under whoever connects to `listener`; `session` is told to look whenever that one speaks.
    ///
    /// # Errors
    /// If the host can't listen.
    pub fn new(live: Live<Lockstep>, listener: Listener, session: Handle) -> io::Result<Self> {
        Ok(Debugged {
            debuggee: Debuggee::new(live),
            events: listener.start(session)?,
            stub: None,
            waiting: true,
            stood: true,
            over: None,
        })
    }

    /// Takes what debuggers did. Whether the session goes on.
    fn listen(&mut self) -> Result<bool, EngineError> {
        for _ in 0..EVENTS_AT_ONCE {
            let Ok(event) = self.events.receiver.try_recv() else { break };
            match event {
                Event::Connected(wire) => self.attach(wire),
                Event::Bytes(bytes) => {
                    if let Some(stub) = self.stub.take()
                        && !self.hear(stub, &bytes)?
                    {
                        return Ok(false);
                    }
                }
                Event::Gone => {
                    if self.stub.take().is_some() {
                        eprintln!("gdb: the debugger has gone without a word; the guest goes on");
                        self.debuggee.release()?;
                    }
                }
            }
        }
        Ok(!self.debuggee.quits())
    }

    fn attach(&mut self, wire: Wire) {
        let stub = GdbStub::builder(wire).build().ok();
        match stub.and_then(|stub| stub.run_state_machine(&mut self.debuggee).ok()) {
            Some(stub) => {
                self.stub = Some(stub);
                self.waiting = false;
            }
            None => eprintln!("warning: a debugger could not be greeted"),
        }
    }

    /// Has the debugger's words obeyed. Whether the session goes on.
    fn hear(&mut self, stub: Machine, bytes: &[u8]) -> Result<bool, EngineError> {
        let debuggee = &mut self.debuggee;
        // Whatever a hostile peer sends may end its connection and no more. The protocol's state is gone with a panic,
        // and a debuggee is whole after each of its functions, none of which panics.
        let heard = catch_unwind(AssertUnwindSafe(|| {
            let mut stub = stub;
            for byte in bytes {
                stub = match feed(stub, debuggee, *byte)? {
                    Heard::On(stub) => stub,
                    end => return Ok(end),
                };
            }
            Ok::<_, Error>(Heard::On(stub))
        }));
        match heard {
            Ok(Ok(Heard::On(stub))) => {
                self.stub = Some(stub);
                return Ok(true);
            }
            Ok(Ok(Heard::Killed)) => return Ok(false),
            Ok(Ok(Heard::Detached)) => {}
            Ok(Err(error)) => eprintln!("warning: the debugger's connection is closed: {error}"),
            Err(_) => eprintln!("warning: the debugger's connection is closed: its words make no sense"),
        }
        self.debuggee.release()?;
        Ok(true)
    }

    /// Tells the debugger why the guest stopped.
    fn report(&mut self, reason: MultiThreadStopReason<u64>) -> Result<(), EngineError> {
        self.stub = match self.stub.take() {
            Some(GdbStubStateMachine::Running(stub)) => match stub.report_stop(&mut self.debuggee, reason) {
                Ok(GdbStubStateMachine::Disconnected(_)) => None,
                Ok(stub) => Some(stub),
                Err(error) => {
                    eprintln!("warning: the debugger's connection is closed: {error}");
                    None
                }
            },
            other => other,
        };
        if self.stub.is_none() {
            self.debuggee.release()?;
        }
        Ok(())
    }

    fn stopped(&self, signal: Signal) -> MultiThreadStopReason<u64> {
        MultiThreadStopReason::SignalWithThread { tid: thread_of(self.debuggee.current()), signal }
    }

    /// Whether the debugger, or its absence, lets the guest run.
    fn runs(&self) -> bool {
        !self.waiting && matches!(self.stub, None | Some(GdbStubStateMachine::Running(_)))
    }

    fn turn(&mut self, slice: Duration) -> Result<Progress, EngineError> {
        if !self.listen()? {
            return Ok(Progress::Quit);
        }
        if !self.runs() {
            self.stood = true;
            return Ok(Progress::Held(UNTIL_TOLD));
        }
        if let Some(end) = self.over.take() {
            self.report(MultiThreadStopReason::Terminated(Signal::SIGKILL))?;
            return Ok(end);
        }
        if mem::take(&mut self.stood) {
            self.debuggee.set_clock();
        }
        let progress = match self.debuggee.run(slice) {
            Outcome::Running => Progress::Running,
            Outcome::Idle { until } => {
                Progress::Idle(until.map(|until| self.debuggee.live().driver().wait_until(until)))
            }
            Outcome::Breakpoint { cpu } => {
                let tid = thread_of(cpu);
                let reason = match self.debuggee.breakpoint_at(cpu) {
                    Some(Kind::Software) => MultiThreadStopReason::SwBreak(tid),
                    Some(Kind::Hardware) => MultiThreadStopReason::HwBreak(tid),
                    None => self.stopped(Signal::SIGTRAP),
                };
                self.report(reason)?;
                Progress::Running
            }
            Outcome::Stepped { .. } => {
                self.report(self.stopped(Signal::SIGTRAP))?;
                Progress::Running
            }
            Outcome::PoweredOff => self.end(Progress::PoweredOff)?,
            Outcome::Reset => self.end(Progress::Restart)?,
            Outcome::Stopped(report) => {
                let what = report.to_string();
                self.give_up(Progress::Stopped(report), Signal::SIGILL, &what)?
            }
            Outcome::Faulted(fault) => {
                let what = fault.to_string();
                self.give_up(Progress::Faulted(fault), Signal::SIGBUS, &what)?
            }
        };
        Ok(match (progress, &self.stub) {
            // A debugger may want to see what a guest does that has panicked, or waits for nothing.
            (Progress::Running, Some(_)) => Progress::Held(Duration::ZERO),
            (Progress::Idle(until), Some(_)) => Progress::Held(until.unwrap_or(UNTIL_TOLD)),
            (progress, _) => progress,
        })
    }

    /// The guest ended itself.
    fn end(&mut self, progress: Progress) -> Result<Progress, EngineError> {
        self.report(MultiThreadStopReason::Exited(0))?;
        Ok(progress)
    }

    /// The guest can't go on, but its debugger may look at what is left of it.
    fn give_up(&mut self, progress: Progress, signal: Signal, what: &str) -> Result<Progress, EngineError> {
        if self.stub.is_none() {
            return Ok(progress);
        }
        eprintln!("gdb: the guest can't go on: {what}");
        self.over = Some(progress);
        self.report(self.stopped(signal))?;
        Ok(Progress::Running)
    }
}

/// Has the protocol hear one byte.
fn feed(stub: Machine, debuggee: &mut Debuggee, byte: u8) -> Result<Heard, Error> {
    let stub = match stub {
        GdbStubStateMachine::Idle(stub) => stub.incoming_data(debuggee, byte)?,
        GdbStubStateMachine::Running(stub) => stub.incoming_data(debuggee, byte)?,
        other => other,
    };
    Ok(match stub {
        GdbStubStateMachine::CtrlCInterrupt(stub) => {
            let tid = thread_of(debuggee.current());
            let reason = MultiThreadStopReason::SignalWithThread { tid, signal: Signal::SIGINT };
            Heard::On(stub.interrupt_handled(debuggee, Some(reason))?)
        }
        GdbStubStateMachine::Disconnected(mut stub) => match stub.get_reason() {
            DisconnectReason::Kill => {
                // gdbstub leaves vKill without its OK (GDB manual, E.2) unless a target outlives it. The session ends,
                // whether the debugger hears of it or not.
                let wire = stub.borrow_conn();
                let _ = wire.write_all(KILLED).and_then(|()| wire.flush());
                Heard::Killed
            }
            _ => Heard::Detached,
        },
        stub => Heard::On(stub),
    })
}

impl Guest for Debugged {
    fn run(&mut self, slice: Duration) -> Result<Progress, String> {
        self.turn(slice).map_err(|error| error.to_string())
    }

    fn key(&mut self, code: u16, pressed: bool) {
        self.debuggee.live().key(code, pressed);
    }

    fn pointer(&mut self, x: u32, y: u32) {
        self.debuggee.live().pointer(x, y);
    }

    fn wheel(&mut self, dx: i32, dy: i32) {
        self.debuggee.live().wheel(dx, dy);
    }

    fn resize(&mut self, width: u32, height: u32) {
        self.debuggee.live().resize(width, height);
    }

    fn line_input(&mut self, bytes: &[u8]) -> usize {
        self.debuggee.live().line_input(bytes)
    }

    fn take_line(&mut self) -> Vec<u8> {
        self.debuggee.live().take_line()
    }

    fn console_input(&mut self, bytes: &[u8]) -> usize {
        self.debuggee.live().console_input(bytes)
    }

    fn take_console(&mut self) -> Vec<u8> {
        self.debuggee.live().take_console()
    }

    fn screen_generation(&mut self) -> u64 {
        self.debuggee.live().screen_generation()
    }

    fn screen(&mut self) -> Option<Frame> {
        self.debuggee.live().screen()
    }

    fn reset(&mut self) -> Result<(), String> {
        self.debuggee.live().reset()
    }
}
