//! What the framework refuses, in words.

use applevisor::error::HypervisorError;
use machine::engine::EngineError;

/// Name for messages and reports.
pub(crate) const NAME: &str = "hvf";

/// What a failed call of the framework means to a person.
pub(crate) fn failed(call: &'static str) -> impl Fn(HypervisorError) -> EngineError {
    move |error| EngineError::Host { engine: NAME, what: explain(call, error) }
}

/// A host that has not what the machine needs.
pub(crate) fn lacking(what: String) -> EngineError {
    EngineError::Host { engine: NAME, what }
}

/// A state that this engine can't hold.
pub(crate) fn unsupported(what: String) -> EngineError {
    EngineError::Unsupported { engine: NAME, what }
}

/// What a failed call means, without the engine's name.
pub(crate) fn explain(call: &str, error: HypervisorError) -> String {
    let what = match (call, error) {
        // hv_vm_create, Apple's documentation: every process needs the entitlement.
        (_, HypervisorError::Denied) => {
            "macOS denies it: this program is not signed with the entitlement com.apple.security.hypervisor; `runner \
             doctor` says what to type"
        }
        // "There can only be one virtual machine at a time per process" (Apple's documentation of the framework).
        ("hv_vm_create", HypervisorError::Busy) => "this process has a virtual machine already",
        // "Each thread can only have one vCPU associated at a time" (hv_vcpu_create).
        ("hv_vcpu_create", HypervisorError::Busy) => "this thread has a virtual processor already",
        ("hv_vcpu_create", HypervisorError::NoResources) => "this host makes no more virtual processors",
        (_, HypervisorError::Unsupported) => "this Mac has no such thing",
        (_, HypervisorError::NoDevice) => "there is no such virtual machine or processor",
        (_, HypervisorError::BadArgument) => "it takes no such argument",
        (_, HypervisorError::NoResources) => "the host has no memory or other resources left for it",
        _ => "it says no more",
    };
    format!("{call}: {what} ({error})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_entitlement_is_named() {
        let message = failed("hv_vm_create")(HypervisorError::Denied).to_string();
        assert!(
            message.contains("com.apple.security.hypervisor") && message.contains("runner doctor"),
            "{message}"
        );
        assert!(message.contains("fae94007"), "{message}");
    }
}
