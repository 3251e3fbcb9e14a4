//! `/dev/kvm`: what runs on arm64 Linux alone.

mod calls;
mod gic;
mod kick;
mod processor;
mod vcpu;
mod vm;

pub use vcpu::KvmVcpu;
pub use vm::KvmEngine;

use kvm_ioctls::Error;
use machine::engine::EngineError;

use crate::counter;

/// Checks that this processor's counter is one that captured guests know.
///
/// # Errors
/// Says how it differs.
pub fn check_counter() -> Result<(), EngineError> {
    counter::check_frequency(processor::counter_frequency()).map_err(lacking)
}

/// Name for messages and reports.
const NAME: &str = "kvm";

/// What a failed call of the kernel means to a person.
fn failed(call: &'static str) -> impl Fn(Error) -> EngineError {
    move |error| {
        let what = match (call, error.errno()) {
            ("/dev/kvm", libc::ENOENT | libc::ENXIO | libc::ENODEV) => "there is none",
            ("/dev/kvm", libc::EACCES | libc::EPERM) => "this user may not open it",
            ("KVM_CREATE_DEVICE", libc::ENODEV | libc::EINVAL) => "this host has no GICv3 for guests",
            (_, libc::ENOMEM) => "the host has no memory left for it",
            _ => return lacking(format!("{call}: {error}")),
        };
        lacking(format!("{call}: {what} ({error})"))
    }
}

/// A host that has not what the machine needs.
fn lacking(what: String) -> EngineError {
    EngineError::Host { engine: NAME, what }
}

/// A state that this engine can't hold.
fn unsupported(what: String) -> EngineError {
    EngineError::Unsupported { engine: NAME, what }
}
