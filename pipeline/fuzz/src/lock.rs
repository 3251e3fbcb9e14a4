//! A lock of any text: it is read, or refused; what was read is written as it can be read again.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use samovar::lock::Lock;
use samovar::recipe::{Recipe, RecipeFile};

use crate::choices;

const SEED: &str = include_str!("../../../recipes/hello.lock");

const WORDS: [&str; 24] = [
    "\"",
    "'",
    "[",
    "]",
    "[[package]]\n",
    "[[suite]]\n",
    "{",
    "}",
    "=",
    ",",
    "\n",
    "#",
    "\\",
    "../",
    "/",
    "0",
    "-1",
    "2",
    "1e9",
    "99999999999",
    "version = ",
    "\"kernel\"",
    "\"rootfs\"",
    "é",
];

static RECIPE: LazyLock<Recipe> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recipes/hello.toml");
    RecipeFile::read(&path).expect("a recipe of ours").recipe
});

/// Runs `data`.
pub fn run(data: &[u8]) {
    let text = choices::text(data, &[SEED], &WORDS);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("x.lock");
    fs::write(&path, text).expect("a temporary file");
    match Lock::read(&path, &RECIPE) {
        Ok(Some(lock)) => {
            for package in lock.all() {
                // It becomes part of a URL.
                assert!(!package.path.contains("..") || !package.path.split('/').any(|part| part == ".."));
            }
            lock.write(&path).expect("a lock can be written");
            assert!(Lock::read(&path, &RECIPE).is_ok_and(|again| again.as_ref() == Some(&lock)));
            assert!(lock.changes_since(&lock).is_empty());
        }
        Ok(None) => unreachable!("the lock is there"),
        Err(error) => crate::is_well_put(&error),
    }
}
