//! `extends`: recipes that build on others.
//!
//! A file is laid over the one that it names, which may name another in turn. Tables are merged key by key. Of two plain
//! values the nearer one counts. A kernel that comes from elsewhere takes the place of the other one with all that was
//! said of that. Lists that collect things ([`COLLECTED`]) take the parent's items first and then their
//! own; other lists are a choice, and the nearer one counts. Relative paths start from the directory of the file they
//! are written in.

use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::RecipeError;
use super::check::ORIGINS;
use super::source::{Source, Sources};

/// How many recipes may build on one another.
const MAX_DEPTH: usize = 8;

/// The lists whose items come to those of the parent. A string that the parent has already is not added again.
pub(super) const COLLECTED: [&str; 10] = [
    "initramfs.modules",
    "rootfs.packages",
    "rootfs.exclude",
    "rootfs.drop",
    "rootfs.keep",
    "rootfs.programs",
    "rootfs.directories",
    "rootfs.applets",
    "rootfs.overlay",
    "rootfs.permissions",
];

/// The lists that replace the parent's: what is first in them counts, or what is not in them.
#[cfg(test)]
pub(super) const REPLACED: [&str; 2] = ["debian.components", "keyboard.layouts"];

/// Two lists of which an item can be in one only: putting it in one takes it out of the parent's other.
const OPPOSITES: [(&str, &str); 2] = [("packages", "exclude"), ("drop", "keep")];

/// The paths on the host, or lists of them.
const HOST_PATHS: [(&str, &str); 4] =
    [("kernel", "config"), ("kernel", "file"), ("initramfs", "init"), ("rootfs", "overlay")];

/// Reads a recipe's file and all those it builds on, the recipe's own first.
pub(super) fn read(path: &Path) -> Result<Sources, RecipeError> {
    let mut sources = Sources::default();
    let read = |source| RecipeError::Read { path: path.into(), source };
    sources.add(path, Source::read(path).map_err(read)?);
    let mut seen = vec![path.canonicalize().map_err(read)?];
    loop {
        let number = sources.len() - 1;
        let tree = sources.tree(number)?;
        let Some(parent) = extends(&sources, &tree)? else { return Ok(sources) };
        let at = parent.span();
        let path = sources.get(number).directory().join(parent.get_ref());
        let starts = "the path starts from the directory of the file that names it";
        let unread =
            |error| sources.error(at.clone(), format!("{}: {error}", path.display()), Some(starts.into()));
        let canonical = path.canonicalize().map_err(unread)?;
        if seen.contains(&canonical) {
            let hint = "take one `extends` out of the circle".to_owned();
            return Err(sources.error(at, "this recipe builds on itself in the end", Some(hint)));
        }
        if seen.len() == MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} recipes build on one another");
            return Err(sources.error(at, message, Some("put some of them together".into())));
        }
        let text = Source::read(&path).map_err(unread)?;
        seen.push(canonical);
        sources.add(&path, text);
    }
}

/// The one tree of all the files.
pub(super) fn merged(sources: &Sources) -> Result<Spanned<DeTable<'_>>, RecipeError> {
    let mut trees = Vec::new();
    // From the recipe's directory to that of the file at hand, by the words of the files themselves.
    let mut way = PathBuf::new();
    for number in 0..sources.len() {
        let mut tree = sources.tree(number)?;
        let parent = extends(sources, &tree)?;
        tree.get_mut().remove("extends");
        if number > 0 {
            lead_paths(tree.get_mut(), &way);
            // Two recipes of one name would take each other's place in the store.
            tree.get_mut().remove("name");
        }
        if let Some(parent) = parent {
            way = way.join(Path::new(parent.get_ref()).parent().unwrap_or(Path::new("")));
        }
        trees.push(tree);
    }
    // There is at least the recipe's own file.
    let whole = trees.into_iter().rev().reduce(over);
    Ok(whole.unwrap_or_else(|| Spanned::new(0..0, DeTable::new())))
}

/// The path of the recipe that a file builds on.
fn extends(sources: &Sources, tree: &Spanned<DeTable>) -> Result<Option<Spanned<String>>, RecipeError> {
    match tree.get_ref().get("extends") {
        None => Ok(None),
        Some(value) => match value.get_ref().as_str() {
            Some(path) if !path.is_empty() => Ok(Some(Spanned::new(value.span(), path.to_owned()))),
            _ => {
                let hint = "such as extends = \"firefox.toml\"".to_owned();
                Err(sources.error(value.span(), "`extends` must be the path of a recipe", Some(hint)))
            }
        },
    }
}

/// Makes a file's relative paths start from the recipe's directory.
fn lead_paths(tree: &mut DeTable, way: &Path) {
    let lead = |value: &mut Spanned<DeValue>| {
        if let DeValue::String(path) = value.get_mut() {
            // A recipe is UTF-8, and so is every path in it.
            *path = way.join(&**path).to_string_lossy().into_owned().into();
        }
    };
    for (table, key) in HOST_PATHS {
        let Some(DeValue::Table(table)) = tree.get_mut(table).map(Spanned::get_mut) else { continue };
        let Some(value) = table.get_mut(key) else { continue };
        match value.get_mut() {
            DeValue::Array(items) => items.iter_mut().for_each(lead),
            _ => lead(value),
        }
    }
}

/// One file's tree over another's.
fn over<'a>(mut base: Spanned<DeTable<'a>>, nearer: Spanned<DeTable<'a>>) -> Spanned<DeTable<'a>> {
    withdraw(base.get_mut(), nearer.get_ref());
    change_kernel(base.get_mut(), nearer.get_ref());
    let span = nearer.span();
    let mut table = base.into_inner();
    merge(&mut table, nearer.into_inner(), "");
    Spanned::new(span, table)
}

/// Takes out of the base's lists what the nearer file puts into their opposites.
fn withdraw(base: &mut DeTable, nearer: &DeTable) {
    let Some(DeValue::Table(nearer)) = nearer.get("rootfs").map(Spanned::get_ref) else { return };
    let Some(DeValue::Table(base)) = base.get_mut("rootfs").map(Spanned::get_mut) else { return };
    for (from, to) in OPPOSITES.into_iter().flat_map(|(a, b)| [(a, b), (b, a)]) {
        let Some(DeValue::Array(named)) = nearer.get(to).map(Spanned::get_ref) else { continue };
        let Some(DeValue::Array(items)) = base.get_mut(from).map(Spanned::get_mut) else { continue };
        let taken = std::mem::replace(items, DeArray::new());
        *items = taken.into_iter().filter(|item| !holds(named, item)).collect();
    }
}

/// Takes out of the base the kernel that the nearer file has another one for, with all that was said of it. Modules are
/// part of a package: without it, they go too.
fn change_kernel(base: &mut DeTable, nearer: &DeTable) {
    let Some(DeValue::Table(nearer)) = nearer.get("kernel").map(Spanned::get_ref) else { return };
    let Some((chosen, _)) = ORIGINS.iter().find(|(origin, _)| nearer.contains_key(*origin)) else { return };
    let Some(DeValue::Table(kernel)) = base.get_mut("kernel").map(Spanned::get_mut) else { return };
    let mut had_package = false;
    for (origin, companion) in ORIGINS.iter().filter(|(origin, _)| origin != chosen) {
        had_package |= kernel.remove(*origin).is_some() && *origin == "package";
        companion.map(|companion| kernel.remove(companion));
    }
    if had_package && let Some(DeValue::Table(initramfs)) = base.get_mut("initramfs").map(Spanned::get_mut) {
        initramfs.remove("modules");
    }
}

fn merge<'a>(base: &mut DeTable<'a>, nearer: DeTable<'a>, path: &str) {
    for (key, value) in nearer {
        let path =
            if path.is_empty() { key.get_ref().to_string() } else { format!("{path}.{}", key.get_ref()) };
        let span = value.span();
        // Taken out and put in again, so that the key's place is the nearer one's, too.
        let merged = match (base.remove(key.get_ref().as_ref()).map(Spanned::into_inner), value.into_inner())
        {
            (Some(DeValue::Table(mut table)), DeValue::Table(nearer)) => {
                merge(&mut table, nearer, &path);
                DeValue::Table(table)
            }
            (Some(DeValue::Array(items)), DeValue::Array(nearer)) if COLLECTED.contains(&&*path) => {
                let mut items = items;
                for item in nearer {
                    if !holds(&items, &item) {
                        items.push(item);
                    }
                }
                DeValue::Array(items)
            }
            (_, value) => value,
        };
        base.insert(key, Spanned::new(span, merged));
    }
}

/// Whether a list has this very string.
fn holds(items: &DeArray, item: &Spanned<DeValue>) -> bool {
    let text = item.get_ref().as_str();
    text.is_some() && items.iter().any(|other| other.get_ref().as_str() == text)
}
