//! Which engine executes a guest.

use std::fmt;

use machine::{
    board::Machine,
    engine::{Engine, EngineError},
    threads::Threads,
};

use crate::live::{LiveError, soft_engine};

/// What executes a guest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Choice {
    /// Hypervisor.framework where it can be had, else software
    #[default]
    Auto,
    /// Apple's Hypervisor.framework, on Apple silicon alone
    Hvf,
    /// Software, on any host
    Soft,
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Choice::Auto => "auto",
            Choice::Hvf => "hvf",
            Choice::Soft => "soft",
        })
    }
}

/// There is no such engine here, or not for this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// This program runs on something else than a Mac with Apple silicon.
    #[error("there is no Hypervisor.framework on this host")]
    NoFramework,
    /// In lockstep, instructions are counted.
    #[error("only the soft engine runs in lockstep")]
    NotInLockstep,
}

impl ChoiceError {
    /// What a person can do about it.
    pub fn hint(self) -> &'static str {
        match self {
            ChoiceError::NoFramework => "leave --engine out, or say --engine soft",
            ChoiceError::NotInLockstep => "leave --scheduler out, or say --engine soft",
        }
    }
}

/// What a person can do about an engine's refusal.
pub(crate) fn hint(error: &EngineError) -> Option<&'static str> {
    match error {
        EngineError::Host { engine: "hvf", .. } => {
            Some("`runner doctor` looks into it; --engine soft does without")
        }
        EngineError::Host { .. } | EngineError::Unsupported { .. } => None,
    }
}

/// A machine with a thread for each vCPU, on the engine of that choice.
///
/// # Errors
/// If the engine or the host refuses, or there is no such engine.
pub(crate) fn threads(choice: Choice, machine: Machine) -> Result<Threads, LiveError> {
    if choice != Choice::Soft {
        match framework(&machine) {
            Ok(engine) => return Ok(Threads::new(machine, engine)?),
            // There is nothing to say of what is not there.
            Err(LiveError::Choice(ChoiceError::NoFramework)) if choice == Choice::Auto => {}
            Err(error) if choice == Choice::Auto => {
                eprintln!("warning: {error}");
                eprintln!("warning: going on in software, which is slower");
            }
            Err(error) => return Err(error),
        }
    }
    let engine = soft_engine(&machine);
    Ok(Threads::new(machine, engine)?)
}

/// Checks that lockstep is what was chosen for.
///
/// # Errors
/// If another engine than the soft one was asked for.
pub(crate) fn in_lockstep(choice: Choice) -> Result<(), ChoiceError> {
    if choice == Choice::Hvf { Err(ChoiceError::NotInLockstep) } else { Ok(()) }
}

#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
fn framework(machine: &Machine) -> Result<impl Engine + Send + Sync + 'static, LiveError> {
    let engine = engine_hvf::HvfEngine::new(machine.memory().clone(), machine.gic.cpus())?;
    // Now, while there is still a choice.
    engine.probe()?;
    Ok(engine)
}

#[cfg(not(all(target_os = "macos", target_arch = "aarch64")))]
fn framework(_: &Machine) -> Result<impl Engine + Send + Sync + 'static, LiveError> {
    Err::<engine_soft::SoftEngine, _>(ChoiceError::NoFramework.into())
}

#[cfg(test)]
mod tests {
    use machine::memory::GuestMemory;

    use super::*;
    use crate::{
        drive::{Drive, Scheduler},
        entropy::FixedEntropy,
        live,
        spec::MachineSpec,
    };

    fn drive(scheduler: Scheduler, choice: Choice) -> Result<Drive, LiveError> {
        let spec = MachineSpec { cpus: 1, memory: 16 << 20, width: 64, height: 48 };
        let memory = GuestMemory::anonymous(spec.memory).unwrap();
        let machine = live::machine(&spec, memory, None, 0, Box::new(FixedEntropy::new("test"))).unwrap();
        Drive::new(scheduler, choice, machine)
    }

    #[test]
    #[cfg(not(target_os = "macos"))]
    fn what_is_not_here_is_refused_if_it_is_asked_for_by_name() {
        assert!(matches!(drive(Scheduler::Threads, Choice::Auto), Ok(Drive::Threads(_))));
        let Err(error) = drive(Scheduler::Threads, Choice::Hvf) else { panic!("there is no Mac") };
        assert!(error.is_usage());
        assert!(error.hint().is_some_and(|hint| hint.contains("--engine soft")), "{error}");
    }

    #[test]
    fn lockstep_is_the_soft_engines() {
        assert!(matches!(drive(Scheduler::Lockstep, Choice::Auto), Ok(Drive::Lockstep(_))));
        let Err(error) = drive(Scheduler::Lockstep, Choice::Hvf) else { panic!("nothing counts there") };
        assert_eq!(error.to_string(), "only the soft engine runs in lockstep");
    }
}
