//! Somewhere else: what must make no difference to the bytes that are built.

use std::collections::hash_map::DefaultHasher;
use std::fs;
use std::hash::{Hash, Hasher};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::programs::{copy_tree, samovar, tool, workspace};

/// `nobody` and `nogroup` (Debian Policy 9.2.2).
const NOBODY: u32 = 65534;

/// A copy of the recipes and of all that they name, with its files made in another order, where another user builds with
/// another umask, home, language and time zone.
pub struct Elsewhere {
    /// In memory where the host has such a place: there, names come in the order in which they were made.
    sources: tempfile::TempDir,
    others: tempfile::TempDir,
}

impl Elsewhere {
    /// A place with an empty store, but for the packages that were fetched into `cache`.
    pub fn new(cache: &Path) -> Elsewhere {
        let memory = Path::new("/dev/shm");
        let (sources, in_memory) = match tempfile::tempdir_in(memory) {
            Ok(dir) => (dir, true),
            Err(_) => (tempfile::tempdir().unwrap(), false),
        };
        let place = Elsewhere { sources, others: tempfile::tempdir().unwrap() };
        let mut shuffled = false;
        for part in ["recipes", "guest-rootfs", "kernel-config"] {
            shuffled |= copy_shuffled(&workspace().join(part), &place.root().join(part));
        }
        assert!(shuffled || !in_memory, "names come in the same order as before");
        copy_tree(cache, &place.store().join("cache"));
        // Where the tests' own is may be closed to others.
        fs::copy(samovar().get_program(), place.program()).unwrap();
        if place.other_user() {
            for top in [place.sources.path(), place.others.path()] {
                give_away(top);
            }
        }
        place
    }

    /// The directory that `recipes/` is in.
    pub fn root(&self) -> PathBuf {
        self.sources.path().join("another place")
    }

    /// Its store.
    pub fn store(&self) -> PathBuf {
        self.others.path().join("store")
    }

    /// Whether it is another user who builds; only root can have one.
    fn other_user(&self) -> bool {
        rustix::process::geteuid().is_root()
    }

    fn program(&self) -> PathBuf {
        self.others.path().join("samovar")
    }

    /// The builder, at work there.
    pub fn samovar(&self) -> Command {
        let mut command = if self.other_user() {
            let mut command = tool("setpriv", "util-linux");
            let ids = [format!("--reuid={NOBODY}"), format!("--regid={NOBODY}")];
            command.args(ids).args(["--clear-groups", "sh"]);
            command
        } else {
            eprintln!("only root can build as another user: this is the same one");
            Command::new("sh")
        };
        command.args(["-c", "umask 077; exec \"$@\"", "sh"]).arg(self.program());
        command.envs([("HOME", "/nonexistent"), ("TZ", "Pacific/Chatham"), ("LC_ALL", "tr_TR.UTF-8")]);
        command.current_dir(self.root());
        command
    }
}

/// Copies a directory, its files made in another order; whether names come in another order, too.
fn copy_shuffled(from: &Path, to: &Path) -> bool {
    let names = |dir: &Path| -> Vec<_> {
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    };
    let hashed = |name: &std::ffi::OsString| {
        let mut hasher = DefaultHasher::new();
        name.hash(&mut hasher);
        hasher.finish()
    };
    fs::create_dir_all(to).unwrap();
    let before = names(from);
    let mut order = before.clone();
    order.sort_by_key(hashed);
    let mut shuffled = false;
    for name in order {
        let (source, target) = (from.join(&name), to.join(&name));
        let kind = fs::symlink_metadata(&source).unwrap().file_type();
        if kind.is_dir() {
            shuffled |= copy_shuffled(&source, &target);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&source).unwrap(), &target).unwrap();
        } else {
            fs::copy(&source, &target).unwrap();
        }
    }
    shuffled || names(to) != before
}

/// Makes a directory and all that is in it nobody's.
fn give_away(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}
