//! Recipes: what to build, as its author writes it down.
//!
//! A recipe is TOML. Every field is checked here, with its place in the file, so that a build never
//! fails late over something that could have been read at once. Paths are relative to the file they are written in.
//! A recipe may build on another one (`extends`).
//!
//! The documentation of the fields is what `samovar schema` prints and what editors show.

mod check;
mod error;
mod extends;
mod parse;
mod schema;
mod source;
mod units;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use store::Hash;

pub use check::is_name;
pub use error::RecipeError;
pub use schema::schema;
pub use units::Size;

/// A recipe, as written: what a machine is built of, and when it is warm.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// What the built base is called in the store: letters, digits, '.', '_' and '-'.
    pub name: String,
    /// Where packages come from.
    pub debian: Debian,
    /// The kernel.
    pub kernel: Kernel,
    /// What the kernel starts first: it loads modules, mounts the root file system and leaves.
    pub initramfs: Initramfs,
    /// The read-only root file system. Its parts are made in this order: packages, directories, applets, symlinks,
    /// overlay, files, json, programs, permissions.
    pub rootfs: Rootfs,
    /// What the guest may write, in memory, over the root file system.
    pub overlay: Overlay,
    /// The machine.
    pub machine: Machine,
    /// What the guest is told of the keyboard.
    #[serde(default)]
    pub keyboard: Keyboard,
    /// When the machine counts as warm, and is captured.
    pub warm_base: WarmBase,
}

/// Where packages come from.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Debian {
    /// The release's code name, such as "trixie". Its updates and security updates are looked at, too.
    pub release: String,
    /// The parts of the archive, such as ["main", "contrib"]. Replaces the list of a recipe that is built on.
    #[serde(default = "Debian::main")]
    pub components: Vec<String>,
}

impl Debian {
    fn main() -> Vec<String> {
        vec!["main".into()]
    }
}

/// The kernel: exactly one of package, source and file.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Kernel {
    /// The package; one that only depends on the current kernel, such as "linux-image-arm64", leads to that one.
    pub package: Option<String>,
    /// The package with the kernel's source in /usr/src, such as "linux-source-6.12", to build a kernel from; one that only
    /// depends on the current source leads to that one. `samovar doctor` says what that takes.
    pub source: Option<String>,
    /// What the kernel of source is to have, as a path on the host: lines as in the kernel's own .config, over
    /// `allnoconfig`. All of it is built in. Left out, it is samovar's own kernel-config/microvm.config.
    pub config: Option<PathBuf>,
    /// A kernel that is there already, as a path on the host: an arm64 Image with all it needs built in.
    pub file: Option<PathBuf>,
    /// The hash that file must have, as `sha256sum` prints it.
    #[schemars(with = "Option<String>", regex(pattern = "^[0-9a-f]{64}$"))]
    pub sha256: Option<Hash>,
    /// The kernel's command line, such as "console=ttyAMA0 quiet nokaslr". What the initramfs needs to know is added to
    /// it. "nokaslr" keeps two builds alike.
    pub command_line: String,
}

/// Where a kernel comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// A package that has it, and its modules.
    Package(&'a str),
    /// A package that has its source.
    Source {
        /// The package.
        package: &'a str,
        /// The configuration, unless it is our own.
        config: Option<&'a Path>,
    },
    /// A file of the host.
    File {
        /// The file, as the recipe gives it.
        path: &'a Path,
        /// The hash it must have; a recipe that was checked says it.
        sha256: Option<Hash>,
    },
}

impl Kernel {
    /// Where it comes from.
    pub fn origin(&self) -> Origin<'_> {
        match (&self.source, &self.file) {
            (Some(package), _) => Origin::Source { package, config: self.config.as_deref() },
            (None, Some(path)) => Origin::File { path, sha256: self.sha256 },
            // In a recipe that was checked it is there; no package has no name.
            (None, None) => Origin::Package(self.package.as_deref().unwrap_or_default()),
        }
    }

    /// The package that the lock has for it, if it comes from one.
    pub fn locked(&self) -> Option<&str> {
        match self.origin() {
            Origin::Package(package) | Origin::Source { package, .. } => Some(package),
            Origin::File { .. } => None,
        }
    }
}

/// What the kernel starts first: it loads modules, mounts the root file system and leaves.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Initramfs {
    /// The package that holds a static /usr/bin/busybox, such as "busybox-static".
    pub busybox: String,
    /// The program the kernel starts, as a path on the host. Left out, it is samovar's own, which loads the modules,
    /// mounts the root file system with the overlay over it, and starts the guest's /init.
    pub init: Option<PathBuf>,
    /// The modules of the kernel's package, in the order they are loaded; each one's dependencies before it. Adds to the
    /// list of a recipe that is built on, unless that one's kernel is a package and this one's is not.
    #[serde(default)]
    pub modules: Vec<String>,
}

/// The read-only root file system.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rootfs {
    /// The image's file name; it ends in ".ext4".
    #[serde(default = "Rootfs::image")]
    pub image: String,
    /// The file system's label, by which the guest finds it: 1 to 16 letters, digits, '.', '_' or '-'.
    pub label: String,
    /// The packages; what they depend on comes along. Adds to the list of a recipe that is built on.
    pub packages: Vec<String>,
    /// Packages that do not come along although something depends on them. Adds to the list of a recipe that is built
    /// on, and takes what is named here out of its packages.
    #[serde(default)]
    pub exclude: Vec<String>,
    /// Paths that are not taken from packages, as globs such as "/usr/share/man" or "/usr/lib/**/*.a"; a directory
    /// stands for all that is in it. Adds to the list of a recipe that is built on.
    #[serde(default)]
    pub drop: Vec<String>,
    /// Exceptions to drop. Adds to the list of a recipe that is built on.
    #[serde(default)]
    pub keep: Vec<String>,
    /// What the guest starts or loads by name, as globs such as "/usr/bin/cage" or "/usr/lib/**/dri/*.so". Where there are
    /// any, shared objects below /usr/lib that neither these nor other programs reach, by what each is linked with, are
    /// left out; keep has exceptions. Adds to the list of a recipe that is built on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub programs: Vec<String>,
    /// Directories to make. Adds to the list of a recipe that is built on.
    #[serde(default)]
    pub directories: Vec<String>,
    /// Busybox programs to link to in /usr/bin, where no package has the program. Adds to the list of a recipe that is
    /// built on.
    #[serde(default)]
    pub applets: Vec<String>,
    /// Symbolic links to make: path and target.
    #[serde(default)]
    pub symlinks: BTreeMap<String, String>,
    /// Directories of the host laid over all this, in order. Adds to the list of a recipe that is built on.
    #[serde(default)]
    pub overlay: Vec<PathBuf>,
    /// Texts to write: path in the guest and content. They replace files of packages and overlays. A program needs its
    /// mode set by permissions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<String, String>,
    /// JSON files to write or to change: path in the guest, and what is merged, object by object, into the file that is
    /// there. Firefox reads its policies from such a file, /etc/firefox/policies/policies.json.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub json: BTreeMap<String, serde_json::Map<String, serde_json::Value>>,
    /// Modes and owners that differ from what the steps above made: files of packages have theirs, everything else
    /// belongs to root. Adds to the list of a recipe that is built on.
    #[serde(default)]
    pub permissions: Vec<Permission>,
    /// Inodes beyond those in use.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_048_576))]
    pub spare_inodes: u32,
}

impl Rootfs {
    fn image() -> String {
        "rootfs.ext4".into()
    }
}

/// A mode and owner to set.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Permission {
    /// What to set them on, a path in the guest.
    pub path: String,
    /// The mode, in octal digits, such as "0755".
    pub mode: Option<String>,
    /// The owner's number; 0 is root.
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
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Overlay {
    /// How much it may hold, no more than the machine's memory.
    pub size: Size,
}

/// The machine.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Machine {
    /// The number of processors, 1 to 8.
    #[schemars(range(min = 1, max = 8))]
    pub cpus: usize,
    /// The size of its memory: 64M to 64G, a multiple of 2M.
    pub memory: Size,
    /// The screen.
    pub display: Display,
}

/// The screen.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Display {
    /// Pixels in a row, 64 to 8192.
    #[schemars(range(min = 64, max = 8192))]
    pub width: u32,
    /// Rows of pixels, 64 to 8192.
    #[schemars(range(min = 64, max = 8192))]
    pub height: u32,
}

/// What the guest is told of the keyboard.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Keyboard {
    /// Layouts by their names in xkeyboard-config, such as "us", "de" or "ru", the one to start with first; at most four
    /// (XkbNumKbdGroups). `runner restore --layout` chooses among them. Replaces the list of a recipe that is built on.
    #[serde(default)]
    pub layouts: Vec<String>,
}

/// When the machine counts as warm, and is captured.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WarmBase {
    /// The sign to wait for.
    pub ready: Ready,
    /// How long to wait for it, in the guest's seconds, 1 to 3600.
    #[schemars(range(min = 1, max = 3600))]
    pub limit_seconds: u64,
}

/// The sign that the machine is warm.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Ready {
    /// A text on the serial console, 1 to 200 bytes on one line.
    pub console: String,
}

/// A recipe that was read and checked, and where it is.
#[derive(Debug, Clone)]
pub struct RecipeFile {
    /// The file.
    pub path: PathBuf,
    /// What it says, with what it builds on.
    pub recipe: Recipe,
    /// Its lock: the one beside it unless another was asked for.
    pub lock: PathBuf,
    /// The files it is written in, its own first, and their texts.
    pub texts: Vec<(PathBuf, String)>,
}

impl RecipeFile {
    /// Reads and checks a recipe, and those it builds on.
    pub fn read(path: &Path) -> Result<RecipeFile, RecipeError> {
        let sources = extends::read(path)?;
        let tree = extends::merged(&sources)?;
        let recipe = parse::parse(&sources, tree.clone())?;
        check::check(&sources, &tree, &recipe)?;
        let lock = path.with_extension("lock");
        Ok(RecipeFile { path: path.into(), recipe, lock, texts: sources.into_texts() })
    }

    /// The same with another lock, if one is named.
    pub fn with_lock(mut self, named: Option<PathBuf>) -> RecipeFile {
        self.lock = named.unwrap_or(self.lock);
        self
    }

    /// A path as the recipe gives it, relative to the recipe. Those of a recipe that it builds on were made so.
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }
}

#[cfg(test)]
mod tests;
