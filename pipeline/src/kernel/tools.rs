//! What of the host builds a kernel from source, and what of it is there.

use std::env;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde::Serialize;

use super::error::KernelError;
use crate::error::{IoContext, Result};

/// Something of the host that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tool {
    /// What it is called: a program, or a header file in angle brackets.
    pub name: &'static str,
    /// Debian's package that has it.
    pub package: &'static str,
    /// What it is for.
    pub purpose: &'static str,
}

const fn tool(name: &'static str, package: &'static str, purpose: &'static str) -> Tool {
    Tool { name, package, purpose }
}

/// What every Debian has is not here, such as sed and awk; nor what only other configurations take: libssl-dev, to sign
/// modules, and libelf-dev, to describe types for BPF.
const HOST: [Tool; 6] = [
    tool("make", "make", "runs the kernel's own build"),
    tool("gcc", "gcc", "compiles the build's own programs"),
    tool("<stdio.h>", "libc6-dev", "the C library's headers for these"),
    tool("flex", "flex", "reads the kernel's configuration language"),
    tool("bison", "bison", "reads the kernel's configuration language"),
    tool("bc", "bc", "computes the kernel's time constants"),
];

/// The names of Debian's compiler for arm64 on every architecture, arm64 included.
const CROSS: [Tool; 2] = [
    tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu", "compiles the kernel"),
    tool("aarch64-linux-gnu-ld", "binutils-aarch64-linux-gnu", "links the kernel"),
];
const CROSS_PREFIX: &str = "aarch64-linux-gnu-";

/// The same where they have no such names and need none.
const NATIVE: [Tool; 2] =
    [tool("gcc", "gcc", "compiles the kernel"), tool("ld", "binutils", "links the kernel")];

/// Something that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// What it is.
    pub tool: Tool,
}

/// The command that installs what is missing.
pub fn install_command(missing: &[Missing]) -> String {
    let mut packages: Vec<&str> = missing.iter().map(|missing| missing.tool.package).collect();
    packages.dedup();
    format!("apt-get install --no-install-recommends {}", packages.join(" "))
}

/// Everything that a kernel from source needs of this host, and where it is.
pub fn needed() -> Vec<(Tool, Option<PathBuf>)> {
    let compiler = if is_native() { NATIVE } else { CROSS };
    HOST.into_iter().chain(compiler).map(|tool| (tool, find(tool.name))).collect()
}

/// Whether this host's own compiler makes the kernel.
fn is_native() -> bool {
    cfg!(target_arch = "aarch64") && CROSS.iter().any(|tool| find(tool.name).is_none())
}

fn find(name: &str) -> Option<PathBuf> {
    if let Some(header) = name.strip_prefix('<').and_then(|name| name.strip_suffix('>')) {
        let path = Path::new("/usr/include").join(header);
        return path.is_file().then_some(path);
    }
    let is_program = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    env::split_paths(&env::var_os("PATH")?).map(|dir| dir.join(name)).find(is_program)
}

/// What decides, beside source and configuration, what bytes come out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Toolchain {
    /// The first line of what the compiler says of its version.
    pub compiler: String,
    /// The same of the linker, with which the assembler comes.
    pub linker: String,
    /// What the names of both begin with.
    #[serde(skip)]
    pub prefix: &'static str,
}

impl Toolchain {
    /// That of this host, if it has all that is needed. Asking it costs a few processes, so it is asked once.
    pub fn of_host() -> Result<&'static Toolchain> {
        static KNOWN: OnceLock<Toolchain> = OnceLock::new();
        match KNOWN.get() {
            Some(known) => Ok(known),
            None => Toolchain::asked().map(|found| KNOWN.get_or_init(|| found)),
        }
    }

    fn asked() -> Result<Toolchain> {
        let missing: Vec<Missing> = needed()
            .into_iter()
            .filter(|(_, path)| path.is_none())
            .map(|(tool, _)| Missing { tool })
            .collect();
        if !missing.is_empty() {
            return Err(KernelError::MissingTools { missing }.into());
        }
        let prefix = if is_native() { "" } else { CROSS_PREFIX };
        Ok(Toolchain {
            compiler: version(&format!("{prefix}gcc"))?,
            linker: version(&format!("{prefix}ld"))?,
            prefix,
        })
    }
}

fn version(program: &str) -> Result<String> {
    let mut command = Command::new(program);
    let output =
        command.arg("--version").env("LC_ALL", "C").stdin(Stdio::null()).output().at(Path::new(program))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_names_each_package_once() {
        let missing: Vec<Missing> = [HOST[3], HOST[4], CROSS[0]].map(|tool| Missing { tool }).into();
        assert_eq!(
            install_command(&missing),
            "apt-get install --no-install-recommends flex bison gcc-aarch64-linux-gnu"
        );
    }

    #[test]
    fn a_program_is_found() {
        assert!(find("sh").is_some_and(|path| path.is_absolute() && path.ends_with("sh")));
        assert_eq!(find("no-such-program-as-this"), None);
        assert_eq!(find("<no-such-header.h>"), None);
    }
}
