//! Recipes: what to build, as its author writes it down.
//!
//! A recipe is TOML. Every field is checked here, with its place in the file, so that a build never
//! fails late over something that could have been read at once. Paths are relative to the recipe.

mod check;
mod parse;
mod units;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use parse::RecipeError;
pub use units::Size;

/// A recipe, as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// What the built base is called in the store.
    pub name: String,
    /// Where packages come from.
    pub debian: Debian,
    /// The kernel.
    pub kernel: Kernel,
    /// What the kernel starts first.
    pub initramfs: Initramfs,
    /// The read-only root file system.
    pub rootfs: Rootfs,
    /// What the guest may write, in memory, over the root file system.
    pub overlay: Overlay,
    /// The machine.
    pub machine: Machine,
    /// What the guest is told of the keyboard.
    #[serde(default)]
    pub keyboard: Keyboard,
    /// When the machine counts as warm.
    pub warm_base: WarmBase,
}

/// Where packages come from.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Debian {
    /// The release's code name. Its updates and security updates are looked at, too.
    pub release: String,
    /// The parts of the archive.
    #[serde(default = "Debian::main")]
    pub components: Vec<String>,
}

impl Debian {
    fn main() -> Vec<String> {
        vec!["main".into()]
    }
}

/// The kernel.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Kernel {
    /// The package; a package that only depends on the current kernel leads to that one.
    pub package: String,
    /// The kernel's command line. What the initramfs needs to know is added to it.
    pub command_line: String,
}

/// What the kernel starts first: it loads modules, mounts the root file system and leaves.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Initramfs {
    /// The package that holds a static `/usr/bin/busybox`.
    pub busybox: String,
    /// The program the kernel starts.
    pub init: PathBuf,
    /// The kernel's modules, in the order they are loaded; each one's dependencies before it.
    pub modules: Vec<String>,
}

/// The read-only root file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rootfs {
    /// The image's file name.
    #[serde(default = "Rootfs::image")]
    pub image: String,
    /// The file system's label, by which the guest finds it.
    pub label: String,
    /// The packages; what they depend on comes along.
    pub packages: Vec<String>,
    /// Packages that do not come along although something depends on them.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Paths that are not taken from packages, as globs; a directory stands for all that is in it.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Exceptions to `drop`.
    #[serde(default)]
    pub keep: Vec<String>,
    /// Directories to make.
    #[serde(default)]
    pub directories: Vec<String>,
    /// Busybox programs to link to in `/usr/bin`.
    #[serde(default)]
    pub applets: Vec<String>,
    /// Symbolic links to make: path and target.
    #[serde(default)]
    pub symlinks: BTreeMap<String, String>,
    /// Directories of the host laid over all this, in order.
    #[serde(default)]
    pub overlay: Vec<PathBuf>,
    /// Modes and owners that differ from what the steps above made.
    #[serde(default)]
    pub permissions: Vec<Permission>,
    /// Inodes beyond those in use.
    #[serde(default)]
    pub spare_inodes: u32,
}

impl Rootfs {
    fn image() -> String {
        "rootfs.ext4".into()
    }
}

/// A mode and owner to set.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Permission {
    /// What to set them on.
    pub path: String,
    /// The mode, in octal digits.
    pub mode: Option<String>,
    /// The owner's number.
    pub uid: Option<u32>,
    /// The group's number.
    pub gid: Option<u32>,
    /// Whether the owner is also set on everything below.
    #[serde(default)]
    pub recursive: bool,
}

impl Permission {
    /// The mode as a number, if there is one and it is well written.
    pub fn mode_bits(&self) -> Option<u16> {
        let bits = u16::from_str_radix(self.mode.as_deref()?, 8).ok()?;
        (bits <= 0o7777).then_some(bits)
    }
}

/// What the guest may write, in memory, over the root file system.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Overlay {
    /// How much it may hold.
    pub size: Size,
}

/// The machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Machine {
    /// The number of processors.
    pub cpus: usize,
    /// The size of its memory.
    pub memory: Size,
    /// The screen.
    pub display: Display,
}

/// The screen.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Display {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

/// What the guest is told of the keyboard.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keyboard {
    /// Layouts by their names in xkeyboard-config, such as `us`, `de` or `ru`, the one to start with first; at most four
    /// (XkbNumKbdGroups). `runner restore --layout` chooses among them.
    #[serde(default)]
    pub layouts: Vec<String>,
}

/// When the machine counts as warm.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WarmBase {
    /// The sign to wait for.
    pub ready: Ready,
    /// How long to wait for it, in the guest's seconds.
    pub limit_seconds: u64,
}

/// The sign that the machine is warm.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ready {
    /// A text on the serial console.
    pub console: String,
}

/// A recipe that was read and checked, and where it is.
#[derive(Debug, Clone)]
pub struct RecipeFile {
    /// The file.
    pub path: PathBuf,
    /// What it says.
    pub recipe: Recipe,
}

impl RecipeFile {
    /// Reads and checks a recipe.
    pub fn read(path: &Path) -> Result<RecipeFile, RecipeError> {
        // A recipe is a page of text; anything longer is a mistake.
        const MAX_BYTES: u64 = 1 << 20;
        let read = |source| RecipeError::Read { path: path.into(), source };
        let size = fs::metadata(path).map_err(read)?.len();
        if size > MAX_BYTES {
            return Err(read(std::io::Error::other(format!("longer than {MAX_BYTES} bytes"))));
        }
        let text = fs::read_to_string(path).map_err(read)?;
        let recipe = parse::parse(path, &text)?;
        check::check(path, &text, &recipe)?;
        Ok(RecipeFile { path: path.into(), recipe })
    }

    /// The lock beside the recipe.
    pub fn lock_path(&self) -> PathBuf {
        self.path.with_extension("lock")
    }

    /// A path as the recipe gives it, relative to the recipe.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

#[cfg(test)]
mod tests;
