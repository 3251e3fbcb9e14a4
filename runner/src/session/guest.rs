//! The thread that runs a guest.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, TryRecvError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use machine::{engine::StopReport, virtio::VirtioFault};

use super::{Command, End, Seat, Shared};
use crate::{picture::Frame, report};

/// How long the guest runs before inputs are looked at again.
const SLICE: Duration = Duration::from_millis(2);

/// A frame is copied out at most this often.
const FRAME_TIME: Duration = Duration::from_millis(12);

/// How long an idle guest may sleep before its thread looks around: nothing
/// depends on it, it bounds what a lost wake-up could cost.
const LONGEST_SLEEP: Duration = Duration::from_millis(500);

/// How long a panicked guest may still write about it.
const PANIC_GRACE: Duration = Duration::from_secs(2);

/// Console input that is held for a guest that is slow to read it, in bytes.
const TYPED_AT_ONCE: usize = 4096;

/// Bytes for the private line that are held for a guest that does not read them.
const LINE_HELD: usize = 64 << 10;

/// Inputs that are taken before the guest runs again.
const INPUTS_AT_ONCE: usize = 64;

/// Where the console's output goes besides the session's own record.
pub type ConsoleSink = Box<dyn Write + Send>;

/// What a run of the guest came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It has more to do.
    Running,
    /// It waits for an interrupt; its next timer is due after this long.
    Idle(Option<Duration>),
    /// A debugger has it, whatever it said or does; it has no more to do for this long.
    Held(Duration),
    /// A debugger ended it.
    Quit,
    /// It powered off.
    PoweredOff,
    /// It asked for a restart.
    Restart,
    /// The engine can't go on.
    Stopped(StopReport),
    /// The guest drove a device wrong.
    Faulted(VirtioFault),
}

/// What this thread asks of a machine: the seam at which tests put a guest that
/// plays by a script.
pub trait Guest {
    /// Runs for about `slice` of the host's time.
    ///
    /// # Errors
    /// If the host fails.
    fn run(&mut self, slice: Duration) -> Result<Progress, String>;

    /// A key or button goes down or up.
    fn key(&mut self, code: u16, pressed: bool);

    /// The pointer moves, 0 to 32767 on both axes.
    fn pointer(&mut self, x: u32, y: u32);

    /// The wheel turns, right and up being positive.
    fn wheel(&mut self, dx: i32, dy: i32);

    /// The display has another size from now on, in pixels; the guest may follow.
    fn resize(&mut self, width: u32, height: u32);

    /// Offers bytes to the private line; returns how many it took.
    fn line_input(&mut self, bytes: &[u8]) -> usize;

    /// What came over the private line since the last call.
    fn take_line(&mut self) -> Vec<u8>;

    /// Offers bytes to the serial console; returns how many it took.
    fn console_input(&mut self, bytes: &[u8]) -> usize;

    /// What the guest has written to the serial console since the last call.
    fn take_console(&mut self) -> Vec<u8>;

    /// The number of the screen's picture, another one whenever it may have changed.
    fn screen_generation(&mut self) -> u64;

    /// The screen, if it shows anything.
    fn screen(&mut self) -> Option<Frame>;

    /// Back to the state that it started from.
    ///
    /// # Errors
    /// If it has none, or the host fails; the guest can't run on then.
    fn reset(&mut self) -> Result<(), String>;
}

/// A guest on its thread.
#[derive(Debug)]
pub struct Running {
    thread: JoinHandle<()>,
}

impl Running {
    /// Waits until the thread is gone, with the guest's memory.
    pub fn join(self) {
        // A panic in it has been told as the session's end.
        let _ = self.thread.join();
    }
}

/// Makes a guest on a thread of its own (a vCPU belongs to the thread that made
/// it), shows its first frame and waits for [`Command::Start`].
///
/// # Errors
/// What `make` says.
pub fn spawn<G: Guest, E: Send + From<io::Error> + 'static>(
    seat: Seat,
    console: Option<ConsoleSink>,
    make: impl FnOnce() -> Result<G, E> + Send + 'static,
) -> Result<Running, E> {
    let (made, wait) = sync_channel(1);
    let thread = thread::Builder::new().name("guest".into()).spawn(move || {
        let end_guard = EndGuard(Arc::clone(&seat.shared));
        match make() {
            Ok(guest) => {
                let mut thread = Thread::new(seat, console, guest);
                thread.show();
                // Nobody waits any more if the receiver is gone: then `Start` never comes either.
                let _ = made.send(Ok(()));
                let end = thread.run();
                thread.finish(end);
            }
            Err(error) => drop(made.send(Err(error))),
        }
        drop(end_guard);
    })?;
    match wait.recv() {
        Ok(Ok(())) => Ok(Running { thread }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("the guest's thread failed while it made the machine").into()),
    }
}

/// Ends the session if its thread ends without saying how: by a panic.
struct EndGuard(Arc<Shared>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.update(|state| {
            state.end.get_or_insert_with(|| End::Failed("the guest's thread failed".into()));
        });
    }
}

struct Thread<G> {
    seat: Seat,
    sink: Option<ConsoleSink>,
    guest: G,
    /// Console input that the guest has not taken yet.
    typed: VecDeque<u8>,
    /// What the guest has not taken from the private line yet.
    said: VecDeque<u8>,
    shown: Option<u64>,
    shown_at: Instant,
    panicked_at: Option<Instant>,
}

impl<G: Guest> Thread<G> {
    fn new(seat: Seat, sink: Option<ConsoleSink>, guest: G) -> Self {
        Thread {
            seat,
            sink,
            guest,
            typed: VecDeque::new(),
            said: VecDeque::new(),
            shown: None,
            shown_at: Instant::now(),
            panicked_at: None,
        }
    }

    fn run(&mut self) -> End {
        loop {
            match self.seat.commands.recv() {
                Ok(Command::Start) => break,
                Ok(Command::Quit) | Err(_) => return End::Quit,
                Ok(command) => {
                    if let Some(end) = self.obey(command) {
                        return end;
                    }
                }
            }
        }
        self.seat.shared.update(|state| state.first_instruction = Some(Instant::now()));
        loop {
            if let Some(end) = self.turn() {
                return end;
            }
        }
    }

    /// One round: inputs, a slice of the guest, outputs.
    fn turn(&mut self) -> Option<End> {
        for _ in 0..INPUTS_AT_ONCE {
            match self.seat.commands.try_recv() {
                Ok(command) => {
                    if let Some(end) = self.obey(command) {
                        return Some(end);
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Some(End::Quit),
            }
        }
        self.type_console();
        self.speak();
        let progress = match self.guest.run(SLICE) {
            Ok(progress) => progress,
            Err(error) => return Some(End::Failed(error)),
        };
        self.relay_console();
        self.listen();
        let due = self.show_in_time();
        match progress {
            Progress::Running => self.panic_over(false),
            Progress::Idle(until) => {
                if let Some(end) = self.panic_over(until.is_none()) {
                    return Some(end);
                }
                // Neither a frame that was held back nor the rest of what was typed must
                // wait for the guest to wake.
                let rest = (!self.typed.is_empty() || !self.said.is_empty()).then_some(SLICE);
                self.sleep([until, due, rest])
            }
            Progress::Held(rest) => self.sleep([Some(rest), due, None]),
            Progress::Quit => Some(End::Quit),
            Progress::PoweredOff => Some(self.panic_end().unwrap_or(End::PoweredOff)),
            Progress::Restart => Some(self.panic_end().unwrap_or(End::Restarted)),
            Progress::Faulted(fault) => {
                Some(End::Faulted(fault, self.seat.shared.lock().console.last_lines()))
            }
            Progress::Stopped(report) => {
                Some(End::Stopped(report, self.seat.shared.lock().console.last_lines()))
            }
        }
    }

    /// Sleeps for the shortest of `times`, or until a command comes.
    fn sleep(&mut self, times: [Option<Duration>; 3]) -> Option<End> {
        let sleep = times.into_iter().flatten().min().unwrap_or(LONGEST_SLEEP);
        match self.seat.commands.recv_timeout(sleep.min(LONGEST_SLEEP)) {
            Ok(command) => self.obey(command),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => Some(End::Quit),
        }
    }

    fn obey(&mut self, command: Command) -> Option<End> {
        match command {
            Command::Key(code, pressed) => self.guest.key(code, pressed),
            Command::Pointer(x, y) => self.guest.pointer(x, y),
            Command::Wheel(dx, dy) => self.guest.wheel(dx, dy),
            Command::Resize(width, height) => self.guest.resize(width, height),
            // All of it or nothing: half a line would be taken for another one.
            Command::Line(bytes) if self.said.len() + bytes.len() <= LINE_HELD => self.said.extend(bytes),
            Command::Line(_) => {}
            // Woken to look at the console's input, or to run.
            Command::Start | Command::Look => {}
            Command::Quit => return Some(End::Quit),
            Command::Reset => {
                let start = Instant::now();
                if let Err(error) = self.guest.reset() {
                    return Some(End::Failed(format!("the reset failed: {error}")));
                }
                self.typed.clear();
                self.said.clear();
                self.panicked_at = None;
                self.show();
                self.seat.shared.update(|state| {
                    state.console.forget_panic();
                    state.resets.push(start.elapsed());
                });
            }
        }
        None
    }

    /// Hands typed bytes on, as far as the guest's serial port has room.
    fn type_console(&mut self) {
        while self.typed.len() < TYPED_AT_ONCE
            && let Ok(bytes) = self.seat.typed.try_recv()
        {
            self.typed.extend(bytes);
        }
        if !self.typed.is_empty() {
            let taken = self.guest.console_input(self.typed.make_contiguous());
            self.typed.drain(..taken.min(self.typed.len()));
        }
    }

    /// Hands what was said on the private line on, as far as there is room.
    fn speak(&mut self) {
        if !self.said.is_empty() {
            let taken = self.guest.line_input(self.said.make_contiguous());
            self.said.drain(..taken.min(self.said.len()));
        }
    }

    fn listen(&mut self) {
        let bytes = self.guest.take_line();
        if !bytes.is_empty() {
            self.seat.shared.update(|state| drop(state.line.push(&bytes)));
        }
    }

    fn relay_console(&mut self) {
        let bytes = self.guest.take_console();
        if bytes.is_empty() {
            return;
        }
        if let Some(sink) = &mut self.sink
            && let Err(error) = sink.write_all(&bytes).and_then(|()| sink.flush())
        {
            eprintln!("warning: can't write the console's output, going on without: {error}");
            self.sink = None;
        }
        let panicked = self.seat.shared.update(|state| {
            state.console.push(&bytes);
            state.console.panicked()
        });
        if panicked {
            self.panicked_at.get_or_insert_with(Instant::now);
        }
    }

    /// Shows the screen if it changed, unless one was shown just now: then says
    /// when to look again.
    fn show_in_time(&mut self) -> Option<Duration> {
        if self.shown == Some(self.guest.screen_generation()) {
            return None;
        }
        let since = self.shown_at.elapsed();
        if since < FRAME_TIME {
            return Some(FRAME_TIME - since);
        }
        self.show();
        None
    }

    fn show(&mut self) {
        self.shown = Some(self.guest.screen_generation());
        self.shown_at = Instant::now();
        // A screen that shows nothing, as between two modes, leaves the last frame.
        let Some(frame) = self.guest.screen().filter(|frame| !frame.is_empty()) else { return };
        self.seat.shared.update(|state| {
            // Guests flush what did not change; whoever waits for a change is not to be told.
            if *state.frame != frame {
                state.frame = Arc::new(frame);
                state.generation += 1;
                state.frame_at = Instant::now();
            }
        });
    }

    /// The end of a session whose guest panicked, once it has said what it had to say.
    fn panic_over(&self, silent: bool) -> Option<End> {
        let since = self.panicked_at?.elapsed();
        if silent || since >= PANIC_GRACE { self.panic_end() } else { None }
    }

    fn panic_end(&self) -> Option<End> {
        self.panicked_at?;
        Some(End::Panicked(self.seat.shared.lock().console.last_lines()))
    }

    fn finish(mut self, end: End) {
        self.relay_console();
        self.show();
        // Now, while the guest's memory is still mapped.
        let memory = report::memory_use();
        self.seat.shared.update(|state| {
            state.memory = memory;
            state.end = Some(end);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{Handle, pair};

    /// A guest that echoes its console, counts keys in its only pixel and obeys words.
    #[derive(Default)]
    struct Fake {
        output: Vec<u8>,
        keys: u32,
        word: Vec<u8>,
        line: Vec<u8>,
        unresettable: bool,
        held: bool,
    }

    impl Guest for Fake {
        fn run(&mut self, _: Duration) -> Result<Progress, String> {
            let word = std::mem::take(&mut self.word);
            self.output.extend(&word);
            match word.as_slice() {
                b"off" => Ok(Progress::PoweredOff),
                b"restart" => Ok(Progress::Restart),
                b"kill" => Ok(Progress::Quit),
                b"break" => Err("no memory".into()),
                b"bug" => panic!("as asked"),
                b"stop" => {
                    Ok(Progress::Stopped(StopReport { vcpu: 0, pc: 4, word: None, what: "fmopa".into() }))
                }
                _ if self.held => Ok(Progress::Held(Duration::from_millis(1))),
                _ => Ok(Progress::Idle(None)),
            }
        }
        fn key(&mut self, _: u16, pressed: bool) {
            self.keys += u32::from(pressed);
        }
        fn pointer(&mut self, _: u32, _: u32) {}
        fn wheel(&mut self, _: i32, _: i32) {}
        fn resize(&mut self, width: u32, _: u32) {
            self.keys = width;
        }
        // Takes a byte at a time and says it again in capitals.
        fn line_input(&mut self, bytes: &[u8]) -> usize {
            self.line.extend(bytes.first().map(u8::to_ascii_uppercase));
            1
        }
        fn take_line(&mut self) -> Vec<u8> {
            std::mem::take(&mut self.line)
        }
        fn console_input(&mut self, bytes: &[u8]) -> usize {
            self.word = bytes.to_vec();
            bytes.len()
        }
        fn take_console(&mut self) -> Vec<u8> {
            std::mem::take(&mut self.output)
        }
        fn screen_generation(&mut self) -> u64 {
            u64::from(self.keys)
        }
        fn screen(&mut self) -> Option<Frame> {
            // Two keys, one picture: an unchanged flush.
            Some(Frame { width: 1, height: 1, pixels: vec![self.keys / 2].into() })
        }
        fn reset(&mut self) -> Result<(), String> {
            if self.unresettable {
                return Err("there is no state to go back to".into());
            }
            self.keys = 0;
            Ok(())
        }
    }

    fn started(fake: Fake) -> (Handle, Running) {
        let (handle, seat) = pair();
        let running = spawn(seat, None, move || Ok::<_, io::Error>(fake)).unwrap();
        (handle, running)
    }

    fn end_after(words: &[&str]) -> End {
        let (handle, running) = started(Fake::default());
        handle.send(Command::Start);
        for word in words {
            let before = handle.look(|state| state.console.position());
            handle.type_console(word.as_bytes().to_vec());
            let soon = Instant::now() + Duration::from_secs(10);
            handle.wait_until(Some(soon), |state| {
                (state.console.position() > before || state.end.is_some()).then_some(())
            });
        }
        let end = handle.wait_for_end();
        running.join();
        end
    }

    #[test]
    fn ends() {
        assert_eq!(end_after(&["hello", "off"]), End::PoweredOff);
        assert_eq!(end_after(&["restart"]), End::Restarted);
        assert_eq!(end_after(&["break"]), End::Failed("no memory".into()));
        assert!(matches!(end_after(&["bug"]), End::Failed(_)));
        let End::Stopped(report, lines) = end_after(&["why\n", "stop"]) else { panic!() };
        assert_eq!((report.what.as_str(), lines), ("fmopa", vec!["why".into(), "stop".into()]));
    }

    #[test]
    fn a_kernel_panic_ends_the_session_when_the_guest_falls_silent() {
        let End::Panicked(lines) = end_after(&["Kernel panic - not syncing: VFS\n"]) else { panic!() };
        assert_eq!(lines, ["Kernel panic - not syncing: VFS"]);
    }

    #[test]
    fn a_debugger_keeps_a_guest_that_panicked() {
        let (handle, running) = started(Fake { held: true, ..Fake::default() });
        handle.send(Command::Start);
        handle.type_console(b"Kernel panic - not syncing: VFS\n".to_vec());
        thread::sleep(PANIC_GRACE + Duration::from_millis(100));
        assert_eq!(handle.ended(), None);
        handle.type_console(b"kill".to_vec());
        assert_eq!(handle.wait_for_end(), End::Quit);
        running.join();
    }

    #[test]
    fn nothing_runs_before_the_start() {
        let (handle, running) = started(Fake::default());
        assert_eq!(handle.frame().1, 1, "the first frame is there");
        handle.type_console(b"off".to_vec());
        thread::sleep(Duration::from_millis(30));
        assert_eq!(handle.ended(), None);
        handle.send(Command::Start);
        assert_eq!(handle.wait_for_end(), End::PoweredOff);
        running.join();
    }

    #[test]
    fn only_changed_pictures_count() {
        let (handle, running) = started(Fake::default());
        handle.send(Command::Start);
        for (expected, key) in [(1, 30), (2, 31), (2, 32), (3, 33)] {
            handle.send(Command::Key(key, true));
            thread::sleep(4 * FRAME_TIME);
            assert_eq!(handle.frame().1, expected, "after key {key}");
        }
        handle.send(Command::Quit);
        assert_eq!(handle.wait_for_end(), End::Quit);
        running.join();
    }

    #[test]
    fn a_reset_is_timed_and_shown() {
        let (handle, running) = started(Fake::default());
        handle.send(Command::Start);
        handle.send(Command::Key(30, true));
        handle.send(Command::Key(31, true));
        let pixel = |handle: &Handle| handle.frame().0.pixels.clone();
        handle.wait_until(None, |state| (*state.frame.pixels == [1]).then_some(()));
        handle.send(Command::Reset);
        handle.wait_until(None, |state| (state.resets.len() == 1).then_some(()));
        assert_eq!(*pixel(&handle), [0]);
        handle.send(Command::Quit);
        running.join();
    }

    #[test]
    fn a_guest_that_cannot_be_reset_does_not_run_on() {
        let (handle, running) = started(Fake { unresettable: true, ..Fake::default() });
        handle.send(Command::Start);
        handle.send(Command::Reset);
        assert!(matches!(handle.wait_for_end(), End::Failed(what) if what.contains("no state")));
        running.join();
    }

    #[test]
    fn when_the_machine_cannot_be_made() {
        let (_, seat) = pair();
        let result = spawn(seat, None, || Err::<Fake, _>(io::Error::other("no")));
        assert_eq!(result.unwrap_err().to_string(), "no");
        let (handle, seat) = pair();
        let result = spawn(seat, None, || -> Result<Fake, io::Error> { panic!("as asked") });
        assert!(result.is_err());
        assert!(matches!(handle.wait_for_end(), End::Failed(_)));
    }

    #[test]
    fn the_sink_gets_everything_and_may_fail() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (handle, seat) = pair();
        let running = spawn(seat, Some(Box::new(Broken)), || Ok::<_, io::Error>(Fake::default())).unwrap();
        handle.send(Command::Start);
        handle.type_console(b"hello".to_vec());
        handle.wait_until(None, |state| (state.console.position() == 5).then_some(()));
        handle.type_console(b"off".to_vec());
        assert_eq!(handle.wait_for_end(), End::PoweredOff);
        running.join();
    }
}
