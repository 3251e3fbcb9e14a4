//! Whether this host lets guests run at full speed: what stands between this program and Hypervisor.framework or KVM, and
//! what to type.

/// How one thing was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is, and how it is.
    pub what: String,
    /// What to do about it; None if it is well.
    pub remedy: Option<&'static str>,
}

impl Finding {
    fn well(what: impl Into<String>) -> Self {
        Finding { what: what.into(), remedy: None }
    }

    #[cfg_attr(
        not(any(target_os = "macos", all(target_os = "linux", target_arch = "aarch64"))),
        expect(dead_code, reason = "elsewhere there is nothing to be ill")
    )]
    fn ill(what: impl Into<String>, remedy: &'static str) -> Self {
        Finding { what: what.into(), remedy: Some(remedy) }
    }
}

/// Looks at this host and this program.
#[cfg(not(all(any(target_os = "macos", target_os = "linux"), target_arch = "aarch64")))]
pub fn examine() -> Vec<Finding> {
    vec![Finding::well(format!(
        "this is {} on {}, where guests run in software: Hypervisor.framework is for macOS on Apple silicon, KVM for arm64 Linux",
        std::env::consts::OS,
        std::env::consts::ARCH
    ))]
}

#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
pub use mac::examine;

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
pub use linux::examine;

#[cfg(all(target_os = "linux", target_arch = "aarch64"))]
mod linux {
    use std::{
        fs::File,
        io::{self, ErrorKind},
    };

    use engine_kvm::KvmEngine;
    use machine::memory::GuestMemory;

    use super::Finding;
    use crate::engine::KVM_DEVICE;

    /// Guests run all the same.
    const SOFTWARE: &str = "--engine soft does without";

    /// Looks at this host and this program.
    pub fn examine() -> Vec<Finding> {
        let device = device(File::options().read(true).write(true).open(KVM_DEVICE).map(drop));
        if device.remedy.is_some() {
            return vec![device];
        }
        vec![device, counter(), answers()]
    }

    fn device(opened: io::Result<()>) -> Finding {
        match opened {
            Ok(()) => Finding::well("/dev/kvm is there, and this user may use it"),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Finding::ill(
                "/dev/kvm is there, but this user may not use it",
                "type: sudo usermod -aG kvm $USER; then log in anew",
            ),
            Err(error) if error.kind() == ErrorKind::NotFound => Finding::ill(
                "there is no /dev/kvm: this is perhaps a virtual machine itself, or its firmware starts Linux at EL1",
                SOFTWARE,
            ),
            Err(error) => Finding::ill(format!("/dev/kvm can't be opened: {error}"), SOFTWARE),
        }
    }

    fn counter() -> Finding {
        match engine_kvm::check_counter() {
            Ok(()) => Finding::well("the processor's counter runs at 24 MHz, as captured guests know it"),
            Err(error) => {
                Finding::ill(error.to_string(), "no setting changes it; --engine soft does without")
            }
        }
    }

    /// A virtual machine with a processor and an interrupt controller, made and ended.
    fn answers() -> Finding {
        let memory = match GuestMemory::anonymous(1 << 20) {
            Ok(memory) => memory,
            Err(error) => {
                return Finding::ill(format!("there is no memory for a guest: {error}"), "end something");
            }
        };
        match KvmEngine::new(memory, 1) {
            Ok(_) => {
                Finding::well("KVM makes a machine with a GICv3 and the features that captured guests know")
            }
            Err(error) => Finding::ill(error.to_string(), SOFTWARE),
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn what_stands_in_the_way_is_told_apart() {
            let remedy = |kind: ErrorKind| device(Err(kind.into())).remedy.unwrap();
            assert!(remedy(ErrorKind::PermissionDenied).contains("usermod -aG kvm"));
            assert_eq!(remedy(ErrorKind::NotFound), SOFTWARE);
            assert!(device(Ok(())).remedy.is_none());
        }
    }
}

#[cfg(all(target_os = "macos", target_arch = "aarch64"))]
mod mac {
    use std::{env, process::Command};

    use engine_hvf::HvfEngine;
    use machine::memory::GuestMemory;

    use super::{Finding, names_entitlement};

    /// Builds and signs both programs.
    const SIGN: &str = "in the source's directory, type: runner/engines/hvf/sign";

    /// Looks at this host and this program.
    pub fn examine() -> Vec<Finding> {
        vec![supported(), signed(), answers()]
    }

    /// Apple's documentation of the framework: `sysctl kern.hv_support` says whether it is there.
    fn supported() -> Finding {
        match Command::new("/usr/sbin/sysctl").args(["-n", "kern.hv_support"]).output() {
            Ok(output) if output.stdout.trim_ascii() == b"1" => {
                Finding::well("macOS has Hypervisor.framework here (kern.hv_support is 1)")
            }
            Ok(_) => Finding::ill(
                "macOS has no Hypervisor.framework here (kern.hv_support is not 1)",
                "this is perhaps a virtual machine itself; --engine soft does without",
            ),
            Err(error) => {
                Finding::ill(format!("sysctl can't be asked: {error}"), "type: sysctl kern.hv_support")
            }
        }
    }

    fn signed() -> Finding {
        let program = match env::current_exe() {
            Ok(program) => program,
            Err(error) => return Finding::ill(format!("this program can't be found: {error}"), SIGN),
        };
        let mut codesign = Command::new("/usr/bin/codesign");
        match codesign.args(["--display", "--entitlements", "-", "--xml"]).arg(&program).output() {
            Ok(output) if names_entitlement(&output.stdout) => {
                Finding::well("this program is signed with the entitlement com.apple.security.hypervisor")
            }
            Ok(_) => Finding::ill(
                "this program is not signed with the entitlement com.apple.security.hypervisor",
                SIGN,
            ),
            Err(error) => Finding::ill(
                format!("codesign can't be asked: {error}"),
                "install Apple's command line tools: xcode-select --install",
            ),
        }
    }

    /// A virtual machine with a processor, made and ended.
    fn answers() -> Finding {
        let memory = match GuestMemory::anonymous(1 << 20) {
            Ok(memory) => memory,
            Err(error) => {
                return Finding::ill(format!("there is no memory for a guest: {error}"), "end something");
            }
        };
        match HvfEngine::new(memory, 1).and_then(|engine| engine.probe()) {
            Ok(()) => Finding::well(
                "Hypervisor.framework makes a machine with the features that captured guests know",
            ),
            Err(error) => Finding::ill(error.to_string(), SIGN),
        }
    }
}

/// Whether a program's entitlements, as codesign prints them, have that of the framework.
#[cfg(any(test, all(target_os = "macos", target_arch = "aarch64")))]
fn names_entitlement(xml: &[u8]) -> bool {
    let text: String = String::from_utf8_lossy(xml).split_whitespace().collect();
    text.contains("<key>com.apple.security.hypervisor</key><true/>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entitlements() {
        let ours = include_bytes!("../engines/hvf/entitlements.plist");
        assert!(names_entitlement(ours));
        let denied = String::from_utf8_lossy(ours).replace("<true/>", "<false/>");
        assert!(!names_entitlement(denied.as_bytes()));
        assert!(!names_entitlement(b""));
    }

    #[test]
    #[cfg(not(any(target_os = "macos", target_arch = "aarch64")))]
    fn where_there_is_nothing_to_be_had_all_is_well() {
        assert!(examine().iter().all(|finding| finding.remedy.is_none()));
    }
}
