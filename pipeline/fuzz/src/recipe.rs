//! A recipe of any text: it is read, or refused with its file, line and column.

use std::fs;

use samovar::recipe::RecipeFile;

use crate::choices;

const SEEDS: [&str; 3] = [
    include_str!("../../../recipes/hello.toml"),
    include_str!("../../../recipes/firefox.toml"),
    include_str!("../../../recipes/selftest.toml"),
];

const WORDS: [&str; 32] = [
    "\"",
    "'",
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    "\n",
    "#",
    "\\",
    "\"\"\"",
    "..",
    "/",
    "0",
    "-1",
    "1e9",
    "4294967296",
    "18446744073709551616",
    "true",
    "inf",
    "16M",
    "1T",
    "permissions",
    "mode",
    "uid",
    "recursive",
    "symlinks",
    "\u{202e}",
    "é",
];

/// Runs `data`.
pub fn run(data: &[u8]) {
    let text = choices::text(data, &SEEDS, &WORDS);
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("x.toml");
    fs::write(&path, text).expect("a temporary file");
    match RecipeFile::read(&path) {
        Ok(file) => {
            assert!(file.lock.starts_with(dir.path()));
            let again = RecipeFile::read(&path).expect("what was read can be read again");
            assert_eq!(format!("{:?}", file.recipe), format!("{:?}", again.recipe));
        }
        Err(error) => crate::is_well_put(&error.into()),
    }
}
