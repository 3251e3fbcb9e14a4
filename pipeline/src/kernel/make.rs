//! Builds a kernel from source, so that equal inputs give equal bytes wherever it happens.
//!
//! The kernel's own build puts into the image who built it, where, when and how often (Linux,
//! Documentation/kbuild/reproducible-builds.rst); all of that is fixed here, and of the environment nothing is passed on
//! but where programs are.

use std::env;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use store::Store;

use super::STEP;
use super::config::Fragment;
use super::error::KernelError;
use super::log::Log;
use super::source::{self, Source};
use super::tools::Toolchain;
use crate::debian::compression::read_to_limit;
use crate::error::{Error, IoContext, Result};
use crate::reporter::Reporter;
use crate::tree::Content;
use crate::workshop::Workshop;

/// How often is said how far it is where there is no terminal.
const QUIET_INTERVAL: Duration = Duration::from_secs(20);

/// Where the log of a build that failed is kept in the store; the next one replaces it.
const LOG: &str = "kernel.log";

const MAX_CONFIG: u64 = 4 << 20;

/// Where the kernel's build puts its image (arch/arm64/Makefile), its configuration and its version.
const IMAGE: &str = "arch/arm64/boot/Image";
const CONFIG: &str = ".config";
const RELEASE: &str = "include/config/kernel.release";

/// A kernel to be built.
#[derive(Debug)]
pub struct Request<'a> {
    /// The archive of its source.
    pub source: &'a Content,
    /// What it is to have.
    pub fragment: &'a Fragment,
    /// What builds it.
    pub toolchain: &'a Toolchain,
    /// Where there is room to work.
    pub store: &'a Store,
    /// Who is told.
    pub reporter: Reporter,
}

/// A kernel that was built. Its files are there for as long as this value is.
#[derive(Debug)]
pub struct Made {
    _workshop: Workshop,
    source: PathBuf,
    /// Its whole configuration.
    pub config: String,
    /// Its version, as `uname -r` says it.
    pub release: String,
}

impl Made {
    /// The file of the image.
    pub fn image(&self) -> PathBuf {
        self.source.join(IMAGE)
    }
}

/// Builds a kernel.
pub fn make(request: &Request) -> Result<Made> {
    let Request { fragment, reporter, .. } = request;
    let workshop = Workshop::new(request.store.scratch()?);
    if !is_speakable(workshop.dir()) {
        return Err(KernelError::Place {
            path: std::path::absolute(request.store.dir()).at(request.store.dir())?,
        }
        .into());
    }
    let path = |name: &str| workshop.dir().join(name);
    reporter.line("unpacking the kernel's source");
    let unpacking = reporter.spinner("unpacking the kernel's source");
    for dir in ["source", "temporary"] {
        fs::create_dir(path(dir)).at(&path(dir))?;
    }
    let source = source::unpack(request.source, &path("source"), &|| workshop.pause_if_closed())?;
    drop(unpacking);
    fs::write(path("fragment"), fragment.to_text()).at(&path("fragment"))?;

    let log = Log::create(&path("log")).at(&path("log"))?;
    let mut kitchen = Kitchen { request, workshop: &workshop, source: &source, log };
    reporter.line("configuring the kernel");
    kitchen.make("allnoconfig", &[format!("KCONFIG_ALLCONFIG={}", path("fragment").display())])?;
    let config = read_text(&source.dir.join(CONFIG))?;
    let unmet = fragment.unmet(&config);
    if !unmet.is_empty() {
        return Err(KernelError::Unmet { config: fragment.name(), unmet }.into());
    }
    let jobs = thread::available_parallelism().map_or(1, usize::from);
    reporter.line(format!("compiling the kernel with {jobs} processes at once: this takes minutes"));
    kitchen.make("Image", &[format!("--jobs={jobs}")])?;
    let release = read_text(&source.dir.join(RELEASE))?.trim().to_owned();
    Ok(Made { source: source.dir, config, release, _workshop: workshop })
}

/// What one run of `make` needs.
struct Kitchen<'a> {
    request: &'a Request<'a>,
    workshop: &'a Workshop,
    source: &'a Source,
    log: Log,
}

impl Kitchen<'_> {
    fn make(&mut self, target: &'static str, more: &[String]) -> Result<()> {
        let (output, input) = io::pipe().at(self.workshop.dir())?;
        let mut command = self.command(target, more);
        command.stdin(Stdio::null()).stdout(input.try_clone().at(self.workshop.dir())?).stderr(input);
        let mut child = self.workshop.start(&mut command).at(Path::new("make"))?;
        // With it go this process's ends of the pipe, so that the other end is seen.
        drop(command);
        self.follow(target, output)?;
        let status = self.workshop.wait(&mut child).at(Path::new("make"))?;
        if status.success() {
            return Ok(());
        }
        let log = self.request.store.dir().join(LOG);
        fs::rename(self.log.path(), &log).at(&log)?;
        Err(KernelError::Make { target, status: status.to_string(), tail: self.log.tail(), log }.into())
    }

    fn follow(&mut self, target: &str, output: impl Read) -> Result<()> {
        let reporter = self.request.reporter;
        let spinner = reporter.spinner(&format!("make {target}"));
        let (mut count, mut last) = (0_usize, Instant::now());
        let path = self.log.path().to_owned();
        let followed = self.log.follow(output, &mut |line| {
            count += 1;
            spinner.say(line.chars().take(100).collect());
            if !reporter.has_bars() && last.elapsed() >= QUIET_INTERVAL {
                last = Instant::now();
                reporter.line(format!("make {target}: {count} lines so far, {}", line.trim_start()));
            }
        });
        followed.at(&path)
    }

    fn command(&self, target: &str, more: &[String]) -> Command {
        let source = &self.source.dir;
        let temporary = self.workshop.dir().join("temporary");
        // Files are compiled by their names below the source; whatever looks where it is finds a fixed place.
        let map = format!("-ffile-prefix-map={}=/linux", source.display());
        let time = humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(self.source.time));
        // A program is started with its mode of making files only through the shell, or else with `unsafe`.
        let mut command = Command::new("sh");
        command
            .args(["-c", "umask 022 && exec make \"$@\"", "make"])
            .arg(format!("--directory={}", source.display()))
            .arg("ARCH=arm64")
            .arg(format!("CROSS_COMPILE={}", self.request.toolchain.prefix))
            .args([
                "KBUILD_BUILD_USER=samovar",
                "KBUILD_BUILD_HOST=samovar",
                "KBUILD_BUILD_VERSION=1",
                "LOCALVERSION=",
            ])
            .arg(format!("KBUILD_BUILD_TIMESTAMP={time}"))
            .arg(format!("KCFLAGS={map}"))
            .arg(format!("KAFLAGS={map}"))
            // What the configuration would take note of, if the host had it, for parts that are not built.
            .args(["RUSTC=none", "BINDGEN=none", "PAHOLE=none"])
            .args(more)
            .arg(target)
            .env_clear()
            .envs(env::var_os("PATH").map(|path| ("PATH", path)))
            .envs([("LC_ALL", "C"), ("TZ", "UTC")])
            .env("SOURCE_DATE_EPOCH", self.source.time.to_string())
            .env("HOME", &temporary)
            .env("TMPDIR", &temporary)
            // Should the store lie in a repository, its revision is not the kernel's.
            .env("GIT_CEILING_DIRECTORIES", self.workshop.dir());
        command
    }
}

/// Whether the kernel's build can work below this path: it passes names on through make and shells, and refuses some itself
/// (Makefile, "source directory cannot contain spaces or colons").
fn is_speakable(path: &Path) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@".contains(&byte);
    path.as_os_str().as_encoded_bytes().iter().all(|byte| plain(*byte))
}

fn read_text(path: &Path) -> Result<String> {
    let bytes = fs::File::open(path).and_then(|file| read_to_limit(file, MAX_CONFIG));
    let missing =
        |error: io::Error| Error::build(STEP, format!("its build made no good {}: {error}", path.display()));
    String::from_utf8(bytes.map_err(missing)?).map_err(|error| missing(io::Error::other(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_to_work_in() {
        assert!(is_speakable(Path::new("/home/me/samovar-1.0/artifacts/.staging/new-aB3")));
        for bad in ["/home/my files", "/a:b", "/a$b", "/a'b", "/a#b", "/\u{fc}", "/a\nb"] {
            assert!(!is_speakable(Path::new(bad)), "{bad:?}");
        }
    }
}
