//! The guests of `recipes/selftest.toml` and `recipes/kerneltest.toml`: each built once, booted for each run.

use std::fmt;
use std::path::PathBuf;
use std::sync::OnceLock;

use crate::patience;
use crate::programs::{run_within, runner, samovar, succeeded, usable_lock, workspace};

/// How much of each test is run: `samovar.size` on the kernel's command line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Size {
    Quick,
    Full,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Size::Quick => "quick",
            Size::Full => "full",
        })
    }
}

/// What the recipe was built to.
pub struct Guest {
    pub store: PathBuf,
    pub lock: PathBuf,
    kernel: PathBuf,
    initramfs: PathBuf,
    pub rootfs: PathBuf,
}

impl Guest {
    /// The guest that runs Debian's programs, without its warm base.
    pub fn built() -> &'static Guest {
        static GUEST: OnceLock<Guest> = OnceLock::new();
        GUEST.get_or_init(|| Guest::build("selftest"))
    }

    /// The guest that runs the kernel's own tests, without its warm base.
    pub fn of_kernel_tests() -> &'static Guest {
        static GUEST: OnceLock<Guest> = OnceLock::new();
        GUEST.get_or_init(|| Guest::build("kerneltest"))
    }

    fn build(name: &str) -> Guest {
        let store = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("selftest");
        let recipe = format!("recipes/{name}.toml");
        let lock = usable_lock(&recipe, &store, patience());
        let step = |step: &str, file: &str| {
            let mut command = samovar();
            command.current_dir(workspace()).args([
                "build",
                &recipe,
                "--until",
                step,
                "--locked",
                "--lock-file",
            ]);
            command.arg(&lock);
            let output = run_within(command.arg("--store").arg(&store), patience());
            succeeded(&output);
            PathBuf::from(String::from_utf8(output.stdout).unwrap().trim()).join(file)
        };
        Guest {
            kernel: step("kernel", "Image"),
            initramfs: step("initramfs", "initramfs.cpio"),
            rootfs: step("rootfs", "rootfs.ext4"),
            store: store.clone(),
            lock: lock.clone(),
        }
    }

    /// Boots it to run `tests`, until it powers off.
    pub fn run(&self, scheduler: &str, tests: &[&str], size: Size) -> Run {
        let line = format!(
            "cryptomgr.notests=1 samovar.label=selftest samovar.overlay=512M samovar.size={size} \
             samovar.tests={}",
            tests.join(",")
        );
        let run = self.boot(scheduler, &line);
        assert!(run.console.contains("\nselftest: done\n"), "{}", run.console);
        run
    }

    /// Boots it with `words` on the kernel's command line, until it powers off.
    pub fn boot(&self, scheduler: &str, words: &str) -> Run {
        let line = format!("console=ttyAMA0 quiet nokaslr mitigations=off {words}");
        let mut command = runner();
        command.args(["boot", "--headless", "--cpus", "2", "--memory", "1G", "--scheduler", scheduler]);
        command.arg("--kernel").arg(&self.kernel).arg("--initrd").arg(&self.initramfs);
        command.arg("--disk").arg(&self.rootfs).args(["--append", &line]);
        let output = run_within(&mut command, patience());
        let console = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        assert!(output.status.success(), "{console}\n{}", String::from_utf8_lossy(&output.stderr));
        Run { console }
    }
}

/// What a run wrote to the console.
pub struct Run {
    console: String,
}

impl Run {
    /// Whether `test` said that all was well.
    pub fn passed(&self, test: &str) -> bool {
        self.console.lines().any(|line| line == format!("selftest: passed {test}"))
    }

    /// The lines that `test` printed of itself.
    pub fn output(&self, test: &str) -> Vec<String> {
        own_lines(&self.console, test)
    }
}

/// The lines of `text` that begin with the test's name.
pub fn own_lines(text: &str, test: &str) -> Vec<String> {
    text.lines().filter(|line| line.starts_with(&format!("{test}: "))).map(str::to_owned).collect()
}
