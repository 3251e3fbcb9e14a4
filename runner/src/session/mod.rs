//! A running guest: it lives on a thread of its own, which takes inputs from a
//! channel and shares the latest frame and the console.
//!
//! [`Handle`] is what everybody else holds: the window, a script, the terminal.

mod guest;

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, Instant},
};

use machine::{engine::StopReport, virtio::VirtioFault};

use crate::{console::Console, keys::Code, picture::Frame, report::MemoryUse};

pub use guest::{ConsoleSink, Guest, Progress, Running, spawn};

/// Inputs on their way. A sender waits when the guest's thread is this far
/// behind, which bounds what a flood of input can take.
const QUEUED: usize = 1024;

/// Stretches of console input on their way, apart from the rest: a guest that
/// reads no serial port must not hold up its keyboard.
const TYPED: usize = 16;

/// What a guest is told from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A key of the keyboard or a button of the pointer goes down or up.
    Key(Code, bool),
    /// The pointer moves, 0 to 32767 on both axes.
    Pointer(u32, u32),
    /// The wheel turns, right and up being positive.
    Wheel(i32, i32),
    /// The display has another size, in pixels.
    Resize(u32, u32),
    /// Bytes for the program in the guest that listens on the private line.
    Line(Vec<u8>),
    /// Something came in another way, such as typed at the serial console or said by a debugger: look.
    Look,
    /// The guest may run.
    Start,
    /// Back to the restored state.
    Reset,
    /// The session ends.
    Quit,
}

/// How a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The guest powered off.
    PoweredOff,
    /// The guest asked for a restart, which ends a session too.
    Restarted,
    /// Somebody asked for it.
    Quit,
    /// The guest's kernel panicked; its last lines.
    Panicked(Vec<String>),
    /// The engine met what it doesn't implement; the console's last lines.
    Stopped(StopReport, Vec<String>),
    /// The guest drove a device wrong; the console's last lines.
    Faulted(VirtioFault, Vec<String>),
    /// The host failed.
    Failed(String),
}

/// What a session shares.
#[derive(Debug)]
pub struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The state that a session shows.
#[derive(Debug)]
pub struct State {
    /// The last frame that showed something.
    pub frame: Arc<Frame>,
    /// Counts frames that differ from the one before.
    pub generation: u64,
    /// When the frame last changed.
    pub frame_at: Instant,
    /// The serial console's output.
    pub console: Console,
    /// What came over the private line.
    pub line: Console,
    /// Resets that were done.
    pub resets: Vec<Duration>,
    /// When the guest first ran.
    pub first_instruction: Option<Instant>,
    /// The memory of this process at the session's end.
    pub memory: Option<MemoryUse>,
    /// How it ended.
    pub end: Option<End>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Shared {
            state: Mutex::new(State {
                frame: Arc::default(),
                generation: 0,
                frame_at: Instant::now(),
                console: Console::default(),
                line: Console::default(),
                resets: Vec::new(),
                first_instruction: None,
                memory: None,
                end: None,
            }),
            changed: Condvar::new(),
        })
    }

    /// The state; a thread that panicked while it held it left nothing half done
    /// that anybody relies on.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and wakes those who wait.
    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }
}

/// A hold on a session. Clones hold the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    commands: SyncSender<Command>,
    typed: SyncSender<Vec<u8>>,
    shared: Arc<Shared>,
}

/// The other end of a [`Handle`], for the thread that runs the guest.
#[derive(Debug)]
pub struct Seat {
    commands: Receiver<Command>,
    typed: Receiver<Vec<u8>>,
    shared: Arc<Shared>,
}

/// Makes both ends of a session.
pub fn pair() -> (Handle, Seat) {
    let (commands, commanded) = sync_channel(QUEUED);
    let (typed, to_type) = sync_channel(TYPED);
    let shared = Shared::new();
    let seat = Seat { commands: commanded, typed: to_type, shared: Arc::clone(&shared) };
    (Handle { commands, typed, shared }, seat)
}

impl Handle {
    /// Tells the guest's thread. Nothing happens when the session has ended.
    pub fn send(&self, command: Command) {
        // An error means that the session has ended, which `wait` tells.
        let _ = self.commands.send(command);
    }

    /// Types at the serial console; waits while the guest doesn't read.
    pub fn type_console(&self, bytes: Vec<u8>) {
        if self.typed.send(bytes).is_ok() {
            self.send(Command::Look);
        }
    }

    /// Reads the state.
    pub fn look<T>(&self, read: impl FnOnce(&mut State) -> T) -> T {
        read(&mut self.shared.lock())
    }

    /// The latest frame and its number.
    pub fn frame(&self) -> (Arc<Frame>, u64) {
        self.look(|state| (Arc::clone(&state.frame), state.generation))
    }

    /// How the session ended, if it has.
    pub fn ended(&self) -> Option<End> {
        self.look(|state| state.end.clone())
    }

    /// Waits until `found` finds something, at most until `deadline`. `found`
    /// is asked again at every change and, since some things happen by time
    /// alone, every few milliseconds.
    pub fn wait_until<T>(
        &self,
        deadline: Option<Instant>,
        mut found: impl FnMut(&mut State) -> Option<T>,
    ) -> Option<T> {
        const ASK_AGAIN: Duration = Duration::from_millis(10);
        let mut state = self.shared.lock();
        loop {
            if let Some(result) = found(&mut state) {
                return Some(result);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return None;
            }
            state = match self.shared.changed.wait_timeout(state, ASK_AGAIN) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
    }

    /// Waits for the session's end.
    pub fn wait_for_end(&self) -> End {
        loop {
            if let Some(end) = self.wait_until(None, |state| state.end.clone()) {
                return end;
            }
        }
    }
}

#[cfg(test)]
impl Seat {
    /// What was sent and not yet taken.
    pub(crate) fn drain(&self) -> Vec<Command> {
        self.commands.try_iter().collect()
    }

    /// Changes what the session shows.
    pub(crate) fn show(&self, change: impl FnOnce(&mut State)) {
        self.shared.update(change);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_ends_with_the_change_or_the_deadline() {
        let (handle, seat) = pair();
        let soon = Some(Instant::now() + Duration::from_millis(20));
        assert_eq!(handle.wait_until(soon, |state| state.end.clone()), None);
        let waiter = std::thread::spawn({
            let handle = handle.clone();
            move || handle.wait_for_end()
        });
        seat.show(|state| state.end = Some(End::PoweredOff));
        assert_eq!(waiter.join().unwrap(), End::PoweredOff);
    }

    #[test]
    fn commands_after_the_end_go_nowhere() {
        let (handle, seat) = pair();
        handle.send(Command::Reset);
        assert_eq!(seat.drain(), [Command::Reset]);
        drop(seat);
        handle.send(Command::Quit);
    }
}
