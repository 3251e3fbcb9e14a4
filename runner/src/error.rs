//! How a command ends: a status for scripts, a message and a hint for people.

use std::fmt;

/// Why a command failed, as its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    /// Anything else.
    Other = 1,
    /// The command line makes no sense (clap ends with this one itself).
    Usage = 2,
    /// The artifact is missing, damaged or made for another machine.
    Refused = 3,
    /// The guest's kernel panicked.
    GuestPanic = 4,
    /// The engine met an instruction or register that it doesn't implement.
    EngineStopped = 5,
    /// The host failed: no memory, no disk, no display.
    Host = 6,
    /// A script's wait ran out, or the guest ended before the script.
    Script = 7,
    /// The guest drove a device wrong, such as with a queue outside its memory.
    DeviceFault = 8,
}

impl Status {
    /// The status behind the exit code of another process of this program.
    pub fn from_code(code: Option<i32>) -> Status {
        use Status::*;
        let all = [Usage, Refused, GuestPanic, EngineStopped, Host, Script, DeviceFault];
        all.into_iter().find(|status| Some(*status as i32) == code).unwrap_or(Other)
    }

    /// What can be done about a failure that says nothing of its own.
    fn hint(self) -> &'static str {
        match self {
            Status::Other => "try it again; if it happens each time, it is a fault of this program",
            Status::GuestPanic | Status::EngineStopped | Status::DeviceFault => {
                "try it again, and look at the guest's console: --console FILE keeps it"
            }
            Status::Usage => "`--help` has all options",
            Status::Refused => "build the artifact again, or copy it again from where it is whole",
            Status::Host => "check the permissions there, the disk, and the memory that is free",
            Status::Script => "change that line of the script, or give its waits more time with `timeout`",
        }
    }
}

/// The table of exit codes, for `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  the guest powered off, or the session was ended by window, script or Ctrl-A x
  1  any other failure
  2  wrong usage
  3  the artifact is refused: missing, damaged, or made for another machine
  4  the guest's kernel panicked; its last console lines are on standard error
  5  the engine met something it does not implement; the report is on standard error
  6  the host failed: memory, files, display
  7  a script failed
  8  the guest drove a device wrong, such as with a queue outside its memory
  128+N  ended by signal N";

/// A command's failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub status: Status,
    /// What happened, without a capital and a full stop.
    pub message: String,
    /// What to do about it, if there is more to say than its status does.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(status: Status, message: impl fmt::Display) -> Self {
        Failure { status, message: message.to_string(), hint: None }
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        write!(f, "\nhint: {}", self.hint.as_deref().unwrap_or(self.status.hint()))
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exit_code_is_documented() {
        use Status::*;
        for status in [Other, Usage, Refused, GuestPanic, EngineStopped, Host, Script, DeviceFault] {
            assert!(EXIT_CODES.contains(&format!("\n  {}  ", status as u8)), "{status:?}");
        }
    }

    #[test]
    fn hints_follow_errors() {
        let failure = Failure::new(Status::Host, "no display").hint("use --headless");
        assert_eq!(failure.to_string(), "error: no display\nhint: use --headless");
        let script = Failure::new(Status::Script, "line 3: too late").to_string();
        assert!(script.starts_with("error: line 3: too late\nhint: change that line"), "{script}");
    }
}
