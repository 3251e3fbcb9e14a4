//! What both commands do with a guest that is ready: window or none, script,
//! picture, signals, and how the end becomes an exit code.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
    low_level::emulate_default_handler,
};

use crate::{
    drive::Scheduler,
    engine::Choice,
    error::{Failure, Status},
    keys::Code,
    line, picture, player,
    report::{Report, Stopwatch},
    script::{self, Script},
    session::{Command, End, Handle, Running},
    terminal,
    units::parse_duration,
    window::Window,
};

/// How long a guest's browser may take to say that it opens a page.
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// A page that is opened for a picture is taken to be there when the screen has held still for this long, or else after
/// [`SETTLE_LIMIT`].
const STILL: Duration = Duration::from_secs(1);

/// The longest wait for a page that moves.
const SETTLE_LIMIT: Duration = Duration::from_secs(30);

/// How a session is shown and driven.
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// Run without a window
    #[arg(long)]
    pub headless: bool,

    /// Who runs the virtual processors; lockstep is slower, but the guest's course does not depend on
    /// the host's threads
    #[arg(long, value_name = "SCHEDULER", default_value_t, value_enum)]
    pub scheduler: Scheduler,

    /// What executes the guest: Apple's Hypervisor.framework on a Mac, KVM on arm64 Linux, or software, anywhere
    #[arg(long, value_name = "ENGINE", default_value_t, value_enum)]
    pub engine: Choice,

    /// Play a script of inputs, waits and screenshots; with --headless its end ends the session
    #[arg(long, value_name = "FILE")]
    pub script: Option<PathBuf>,

    /// Write the screen to a PNG file and exit, without a window: at the script's end if there is
    /// one, else after --after, else when the page of --url is there, else before the guest runs
    #[arg(long, value_name = "FILE")]
    pub screenshot: Option<PathBuf>,

    /// How long the guest runs before --screenshot, such as 500ms or 2s
    #[arg(long, value_name = "DURATION", requires = "screenshot", conflicts_with = "script",
          value_parser = parse_duration)]
    pub after: Option<Duration>,
}

impl ShowArgs {
    /// Whether there is no window.
    fn windowless(&self) -> bool {
        self.headless || self.screenshot.is_some()
    }

    /// Reads the script, before anything is started for it.
    ///
    /// # Errors
    /// If it can't be read or is wrong.
    pub fn read_script(&self) -> Result<Option<Script>, Failure> {
        self.script.as_deref().map(read_script).transpose()
    }
}

fn read_script(path: &Path) -> Result<Script, Failure> {
    let failure = |what: String| Failure::new(Status::Script, format!("{}: {what}", path.display()));
    let len = fs::metadata(path).map_err(|error| failure(error.to_string()))?.len();
    if len > script::MAX_LEN as u64 {
        return Err(failure(format!("longer than {} bytes", script::MAX_LEN)));
    }
    let text = fs::read_to_string(path).map_err(|error| failure(error.to_string()))?;
    script::parse(&text).map_err(|error| failure(error.to_string()))
}

/// What is done in a person's place once the guest runs, in this order.
#[derive(Clone, Debug, Default)]
pub struct Errands {
    /// The key that chooses the keyboard's layout.
    pub layout: Option<Code>,
    /// The page that is opened.
    pub url: Option<String>,
    /// The script that is played.
    pub script: Option<Script>,
}

impl Errands {
    fn is_empty(&self) -> bool {
        self.layout.is_none() && self.url.is_none() && self.script.is_none()
    }

    /// Does them; with `settle`, waits until a page that was opened is painted.
    fn run(&self, session: &Handle, settle: bool) -> Result<(), Failure> {
        let before = session.look(|state| state.generation);
        if let Some(code) = self.layout {
            session.send(Command::Key(code, true));
            session.send(Command::Key(code, false));
        }
        if let Some(url) = &self.url {
            line::open(session, url, OPEN_LIMIT).map_err(|error| {
                Failure::new(Status::Script, error)
                    .hint("pages are opened by guests that have a browser, such as firefox's")
            })?;
            if settle {
                player::let_settle(session, before, STILL, SETTLE_LIMIT);
            }
        }
        let Some(script) = &self.script else { return Ok(()) };
        player::play(script, session)
            .map_err(|error| Failure::new(Status::Script, format!("the script failed: {error}")))
    }
}

/// Shows a guest that waits for its start, until the session ends.
///
/// # Errors
/// If it ended badly.
pub fn show(
    name: &str,
    session: &Handle,
    running: Running,
    args: &ShowArgs,
    errands: Errands,
    report: &mut Report,
    clock: Stopwatch,
) -> Result<(), Failure> {
    let signal = quit_on_signals(session)?;
    let result = if args.windowless() {
        report.first_frame_us = (session.frame().1 > 0).then(|| clock.elapsed_us());
        windowless(session, args, &errands)
    } else {
        windowed(name, session, errands, report, clock)
    };
    session.send(Command::Quit);
    let end = session.wait_for_end();
    session.look(|state| {
        report.set_resets(&state.resets);
        report.first_instruction_us = state.first_instruction.map(|at| clock.at_us(at));
        report.memory = state.memory;
    });
    running.join();
    // What is said from here on needs ordinary line ends.
    terminal::restore();
    let caught = signal.load(Ordering::SeqCst);
    if caught != 0 {
        // Ends the process as the signal would have, so that a shell sees it.
        let _ = emulate_default_handler(caught);
    }
    // A bad end explains a script that broke off; without one the script's own error counts.
    outcome(end).and(result)
}

fn windowless(session: &Handle, args: &ShowArgs, errands: &Errands) -> Result<(), Failure> {
    if !errands.is_empty() {
        session.send(Command::Start);
        errands.run(session, args.screenshot.is_some() && args.after.is_none() && args.script.is_none())?;
    }
    if errands.script.is_some() {
        // Its end is the session's.
    } else if let Some(after) = args.after {
        session.send(Command::Start);
        session.wait_until(Some(Instant::now() + after), |state| state.end.clone());
    } else if args.screenshot.is_none() {
        session.send(Command::Start);
        session.wait_for_end();
    }
    match &args.screenshot {
        Some(path) => picture::save(&session.frame().0, path)
            .map_err(|error| Failure::new(Status::Host, format!("can't write {}: {error}", path.display()))),
        None => Ok(()),
    }
}

fn windowed(
    name: &str,
    session: &Handle,
    errands: Errands,
    report: &mut Report,
    clock: Stopwatch,
) -> Result<(), Failure> {
    session.send(Command::Start);
    let window = Window::open(name, session.clone()).map_err(|error| {
        Failure::new(Status::Host, error).hint("where there is no display, `runner` has --headless")
    })?;
    let (played, result) = mpsc::channel();
    let player = session.clone();
    thread::spawn(move || {
        if let Err(failure) = errands.run(&player, false) {
            // First the reason, then what makes the window close.
            let _ = played.send(failure);
            player.send(Command::Quit);
        }
    });
    window
        .run(|| report.first_frame_us = Some(clock.elapsed_us()))
        .map_err(|error| Failure::new(Status::Host, error))?;
    // Closing the window in the middle of a script is a person's choice and no failure.
    result.try_recv().map_or(Ok(()), Err)
}

/// Ends the session at the first signal that asks for it, the process at the second.
fn quit_on_signals(session: &Handle) -> Result<Arc<AtomicI32>, Failure> {
    let caught = Arc::new(AtomicI32::new(0));
    let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])
        .map_err(|error| Failure::new(Status::Host, format!("can't catch signals: {error}")))?;
    let (session, first) = (session.clone(), Arc::clone(&caught));
    thread::spawn(move || {
        for signal in signals.forever() {
            if first.swap(signal, Ordering::SeqCst) != 0 {
                terminal::restore();
                let _ = emulate_default_handler(signal);
            }
            session.send(Command::Quit);
        }
    });
    Ok(caught)
}

/// What the end of a session means for whoever started it.
fn outcome(end: End) -> Result<(), Failure> {
    let tell = |lines: &[String]| {
        eprintln!("the last lines of the guest's console:");
        for line in lines {
            eprintln!("  {line}");
        }
    };
    match end {
        End::PoweredOff | End::Quit => Ok(()),
        End::Restarted => {
            eprintln!("the guest asked for a restart, which ends the session");
            Ok(())
        }
        End::Panicked(lines) => {
            tell(&lines);
            Err(Failure::new(Status::GuestPanic, "the guest's kernel panicked")
                .hint("the lines above are its own account; restore it again to start afresh"))
        }
        End::Stopped(report, lines) => {
            tell(&lines);
            Err(Failure::new(
                Status::EngineStopped,
                format!("the engine met something it does not implement: {report}"),
            )
            .hint("please report this line; it is a gap in the engine, not in your guest"))
        }
        End::Faulted(fault, lines) => {
            tell(&lines);
            Err(Failure::new(Status::DeviceFault, format!("the guest drove a device wrong: {fault}")).hint(
                "this is a fault of the guest's driver, or an attack; restore it again to start afresh",
            ))
        }
        End::Failed(what) => Err(Failure::new(Status::Host, what)),
    }
}
