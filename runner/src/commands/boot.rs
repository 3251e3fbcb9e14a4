//! `runner boot`: any arm64 kernel, with its serial console on the terminal.

use std::{io, path::PathBuf};

use super::{
    restore::console_file,
    show::{Errands, ShowArgs, show},
};
use crate::{
    boot::{self, BootError, BootSpec},
    error::{Failure, Status},
    gdb::{Address, Listener},
    report::{Report, Stopwatch},
    session::{Command, ConsoleSink, Handle},
    spec::MachineSpec,
    terminal::{self, RawMode, Typed},
    units::parse_size,
};

/// Options of `runner boot`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The kernel, an arm64 Image
    #[arg(long, value_name = "FILE")]
    kernel: PathBuf,

    /// The initial RAM file system
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,

    /// A disk image, read-only for the guest
    #[arg(long, value_name = "FILE")]
    disk: Option<PathBuf>,

    /// The kernel's command line
    #[arg(long, value_name = "TEXT", default_value = "console=ttyAMA0")]
    append: String,

    /// Virtual processors
    #[arg(long, value_name = "N", default_value_t = 1)]
    cpus: usize,

    /// RAM, such as 512M or 2G
    #[arg(long, value_name = "SIZE", default_value = "512M", value_parser = parse_size)]
    memory: u64,

    /// Size of the display in pixels
    #[arg(long, value_name = "WIDTHxHEIGHT", default_value = "1280x720", value_parser = parse_display)]
    display: (u32, u32),

    #[command(flatten)]
    show: ShowArgs,

    /// Wait for gdb at HOST:PORT, or at the path of a Unix socket, before the first instruction; the
    /// virtual processors run in lockstep. Whoever can connect rules the guest
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["scheduler", "engine"])]
    gdb: Option<Address>,

    /// Write the serial console to a file; the terminal then has no part in it
    #[arg(long, value_name = "FILE")]
    console: Option<PathBuf>,
}

fn parse_display(text: &str) -> Result<(u32, u32), String> {
    let wrong = || format!("`{text}` is no size such as 1280x720");
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    Ok((width.parse().map_err(|_| wrong())?, height.parse().map_err(|_| wrong())?))
}

/// Boots a kernel and shows it.
///
/// # Errors
/// If it can't be loaded, or the session ends badly.
pub fn run(args: Args, clock: Stopwatch) -> Result<(), Failure> {
    let machine =
        MachineSpec { cpus: args.cpus, memory: args.memory, width: args.display.0, height: args.display.1 };
    machine.check().map_err(|what| Failure::new(Status::Usage, format!("the machine can't have {what}")))?;
    let script = args.show.read_script()?;
    let console: ConsoleSink = match &args.console {
        Some(path) => console_file(path)?,
        None => Box::new(io::stdout()),
    };
    let spec = BootSpec {
        kernel: args.kernel,
        initrd: args.initrd,
        disk: args.disk,
        command_line: args.append,
        machine,
    };
    let started = match &args.gdb {
        None => boot::start(spec, args.show.scheduler, args.show.engine, console),
        Some(address) => boot::start_debugged(spec, listen(address)?, console),
    };
    let (session, running) = started.map_err(failure)?;
    let terminal = if args.console.is_none() { Some(attach_terminal(&session)?) } else { None };
    let errands = Errands { script, ..Errands::default() };
    let result = show("samovar boot", &session, running, &args.show, errands, &mut Report::default(), clock);
    drop(terminal);
    result
}

/// Opens the door for a debugger and says how to come in.
fn listen(address: &Address) -> Result<Listener, Failure> {
    let listener = Listener::bind(address).map_err(|error| {
        Failure::new(Status::Host, format!("can't listen for gdb at {address}: {error}"))
            .hint("give another address, or end or remove what holds this one; port 0 takes a free port")
    })?;
    let address = listener.address();
    eprintln!("gdb: waiting at {address}; connect with: gdb-multiarch -ex 'target remote {address}'");
    Ok(listener)
}

/// Gives the guest's serial console what is typed at the terminal.
fn attach_terminal(session: &Handle) -> Result<Option<RawMode>, Failure> {
    let raw = RawMode::enter()
        .map_err(|error| Failure::new(Status::Host, format!("can't set up the terminal: {error}")))?;
    if raw.is_some() {
        eprintln!("Ctrl-A x leaves; Ctrl-A Ctrl-A types Ctrl-A");
    }
    let typist = session.clone();
    terminal::read_stdin(
        move |typed| match typed {
            Typed::Guest(bytes) => typist.type_console(bytes),
            Typed::Leave => typist.send(Command::Quit),
        },
        // Bytes that come from a file or a pipe are all the guest's.
        raw.is_some(),
    );
    Ok(raw)
}

fn failure(error: BootError) -> Failure {
    let failure = Failure::new(if error.is_usage() { Status::Usage } else { Status::Host }, &error);
    failure.hint(error.hint())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_sizes() {
        assert_eq!(parse_display("800x600"), Ok((800, 600)));
        for bad in ["", "800", "800x", "x600", "800x600x1", "-1x5", "800 x 600"] {
            assert!(parse_display(bad).is_err(), "{bad}");
        }
    }
}
