//! `samovar new`

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::error::{Error, IoContext, Result};
use crate::recipe::{self, RecipeFile};

/// A recipe with a remark on each of its parts, which builds as it is.
const WHOLE: &str = include_str!("new/whole.toml");

/// A recipe that builds on another.
const CHILD: &str = include_str!("new/child.toml");

/// Write a recipe to start from, with remarks
///
/// It builds as it is: a small guest that shows a text, made of Debian's kernel and busybox. With --extends it is a
/// recipe of a few lines that builds on another one.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The recipe's name; NAME.toml is written, where no file may be yet
    #[arg(default_value = "guest", value_parser = recipe_path)]
    name: PathBuf,
    /// Build on this recipe, such as recipes/firefox.toml
    #[arg(long, value_name = "RECIPE")]
    extends: Option<PathBuf>,
    /// As JSON
    ///
    /// An object with the `path` of what was written and the recipe's `name`.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let path = self.name;
        let name = path.file_stem().and_then(|name| name.to_str()).unwrap_or_default();
        let text = match &self.extends {
            None => WHOLE.replace("NAME", name),
            Some(base) => CHILD.replace("NAME", name).replace("BASE", &from_beside(&path, base)?),
        };
        let file = OpenOptions::new().write(true).create_new(true).open(&path);
        let mut file = file.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => Error::Exists { path: path.clone() },
            _ => Error::io(&path, error),
        })?;
        file.write_all(text.as_bytes()).at(&path)?;
        // What is wrong with a recipe that is built on is told at once.
        RecipeFile::read(&path)?;
        match self.json {
            true => println!("{:#}", json!({ "path": path, "name": name })),
            false => println!("{}", path.display()),
        }
        Ok(())
    }
}

/// The path of the recipe to write, from its name, with or without a directory and an ending.
fn recipe_path(text: &str) -> Result<PathBuf, String> {
    let path = Path::new(text.strip_suffix(".toml").unwrap_or(text));
    match path.file_name().and_then(|name| name.to_str()) {
        Some(name) if recipe::is_name(name) => Ok(path.with_file_name(format!("{name}.toml"))),
        _ => Err("a name may have letters, digits, '.', '_' and '-' only".into()),
    }
}

/// The path of the recipe `base` as the recipe at `path` has to give it, ready to be put between quotes.
fn from_beside(path: &Path, base: &Path) -> Result<String> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let (directory, base) = (directory.canonicalize().at(directory)?, base.canonicalize().at(base)?);
    let common = directory.components().zip(base.components()).take_while(|(a, b)| a == b).count();
    let up = directory.components().skip(common).map(|_| std::path::Component::ParentDir);
    let way: PathBuf = up.chain(base.components().skip(common)).collect();
    let text = way.to_string_lossy().replace('\\', "\\\\").replace('"', "\\\"");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names() {
        assert_eq!(recipe_path("mine"), Ok("mine.toml".into()));
        assert_eq!(recipe_path("recipes/mine.2.toml"), Ok("recipes/mine.2.toml".into()));
        for bad in ["", "/", "..", "a b", "a'b", "\n"] {
            recipe_path(bad).expect_err(bad);
        }
    }

    #[test]
    fn what_is_written_is_a_recipe() {
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("whole.toml");
        let args = |name: &str, extends: Option<&Path>| Args {
            name: dir.path().join(name),
            extends: extends.map(Path::to_owned),
            json: false,
        };
        args("whole.toml", None).run().unwrap();
        fs::create_dir(dir.path().join("deep")).unwrap();
        args("deep/child.toml", Some(&whole)).run().unwrap();
        let recipe = RecipeFile::read(&dir.path().join("deep/child.toml")).unwrap().recipe;
        assert_eq!((&*recipe.name, &*recipe.warm_base.ready.console), ("child", "whole: ready"));
        assert!(recipe.rootfs.files["/init"].contains("whole: ready"));
        let error = args("whole.toml", None).run().unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let error = args("other.toml", Some(Path::new("absent.toml"))).run().unwrap_err();
        assert!(error.to_string().starts_with("absent.toml: "), "{error}");
        assert!(!dir.path().join("other.toml").exists());
    }

    #[test]
    fn the_way_to_another_recipe() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        fs::create_dir_all(dir.path().join("c")).unwrap();
        fs::write(dir.path().join("c/base.toml"), "").unwrap();
        let way = |path: &str| from_beside(&dir.path().join(path), &dir.path().join("c/base.toml")).unwrap();
        assert_eq!(way("a/b/r.toml"), "../../c/base.toml");
        assert_eq!(way("c/r.toml"), "base.toml");
        assert_eq!(way("r.toml"), "c/base.toml");
    }
}
