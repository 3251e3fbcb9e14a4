//! What a recipe may say, beyond its form.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::source::Sources;
use super::{Kernel, Origin, Recipe, RecipeError, Size};

/// The machine's own limits; a recipe beyond them could be built but never run.
pub(super) const CPUS: RangeInclusive<usize> = 1..=8;
const MEMORY: RangeInclusive<Size> = Size::mebibytes(64)..=Size::mebibytes(64 << 10);
pub(super) const PIXELS: RangeInclusive<u32> = 64..=8192;
pub(super) const LIMIT_SECONDS: RangeInclusive<u64> = 1..=3600;
pub(super) const MAX_SPARE_INODES: u32 = 1 << 20;

/// What a kernel can come from, and what may be said beside it.
pub(super) const ORIGINS: [(&str, Option<&str>); 3] =
    [("package", None), ("source", Some("config")), ("file", Some("sha256"))];

const ABSOLUTE: &str = "is no absolute path without '.' and '..'";

pub(super) fn check(sources: &Sources, tree: &Spanned<DeTable>, recipe: &Recipe) -> Result<(), RecipeError> {
    let c = Checks { sources, tree };
    c.ensure(is_name(&recipe.name), "name", "may have letters, digits, '.', '_' and '-' only")?;
    let debian = &recipe.debian;
    c.ensure(
        is_lower_name(&debian.release),
        "debian.release",
        "is not a release's code name such as \"trixie\"",
    )?;
    c.ensure(!debian.components.is_empty(), "debian.components", "names no part of the archive")?;
    c.each("debian.components", &debian.components, is_lower_name, "is no component's name")?;

    c.kernel(&recipe.kernel)?;
    let line = &recipe.kernel.command_line;
    // COMMAND_LINE_SIZE is 2048 on arm64 (arch/arm64/include/uapi/asm/setup.h); the rest is for our additions.
    c.ensure(line.len() <= 1900, "kernel.command-line", "is longer than 1900 bytes")?;
    let printable = line.bytes().all(|b| (b' '..=b'~').contains(&b));
    c.ensure(printable, "kernel.command-line", "must be printable ASCII")?;

    let initramfs = &recipe.initramfs;
    c.ensure(is_package(&initramfs.busybox), "initramfs.busybox", "is not a package's name")?;
    c.each("initramfs.modules", &initramfs.modules, is_name, "is no module's name")?;
    c.once("initramfs.modules", &initramfs.modules)?;
    let loadable = matches!(recipe.kernel.origin(), Origin::Package(_)) || initramfs.modules.is_empty();
    c.ensure_or(
        loadable,
        "initramfs.modules",
        "are of a kernel's package, and this kernel is from none",
        || "leave them out, and have in the kernel's configuration with `=y` what they are for".into(),
    )?;

    let rootfs = &recipe.rootfs;
    let is_image = is_name(&rootfs.image) && rootfs.image.ends_with(".ext4");
    c.ensure(is_image, "rootfs.image", "is not a plain file name that ends in .ext4")?;
    // The label goes onto the kernel's command line; 16 bytes is what an ext4 superblock holds.
    let label = &rootfs.label;
    let fits = is_name(label) && label.len() <= 16;
    c.ensure(fits, "rootfs.label", "must be 1 to 16 letters, digits, '.', '_' or '-'")?;
    c.each("rootfs.packages", &rootfs.packages, is_package, "is no package's name")?;
    c.each("rootfs.exclude", &rootfs.exclude, is_package, "is no package's name")?;
    for (path, globs) in
        [("rootfs.drop", &rootfs.drop), ("rootfs.keep", &rootfs.keep), ("rootfs.programs", &rootfs.programs)]
    {
        c.each(path, globs, is_path, ABSOLUTE)?;
        c.each(path, globs, |glob| glob::Pattern::new(glob).is_ok(), "is no glob")?;
    }
    c.each("rootfs.applets", &rootfs.applets, is_applet, "is no program's name")?;
    c.each("rootfs.directories", &rootfs.directories, is_path, ABSOLUTE)?;
    c.keys("rootfs.symlinks", rootfs.symlinks.keys(), is_path, ABSOLUTE)?;
    let target = |text: &str| !text.is_empty() && text.len() < 4096 && !text.contains('\0');
    for (path, text) in &rootfs.symlinks {
        c.ensure_at(target(text), || c.value(&["rootfs", "symlinks", path]), "the link's target cannot be")?;
    }
    c.keys("rootfs.files", rootfs.files.keys(), is_path, ABSOLUTE)?;
    c.keys("rootfs.json", rootfs.json.keys(), is_path, ABSOLUTE)?;
    for path in rootfs.json.keys() {
        if let Some(at) = c.find(&["rootfs", "json", path]).and_then(no_json) {
            let problem = "JSON has neither dates nor numbers that are infinite or none";
            return Err(sources.error(at, problem, Some("write it as a string".into())));
        }
    }
    for (number, permission) in rootfs.permissions.iter().enumerate() {
        let at = |key: &str| c.item("rootfs.permissions", number, key);
        c.ensure_at(is_path(&permission.path), || at("path"), &format!("`path` {ABSOLUTE}"))?;
        let readable = permission.mode.is_none() || permission.mode_bits().is_some();
        c.ensure_at(readable, || at("mode"), "`mode` is not octal, such as \"1777\"")?;
    }
    c.ensure(rootfs.spare_inodes <= MAX_SPARE_INODES, "rootfs.spare-inodes", "is more than 1048576")?;

    let machine = &recipe.machine;
    c.ensure(CPUS.contains(&machine.cpus), "machine.cpus", "must be 1 to 8")?;
    c.ensure(MEMORY.contains(&machine.memory), "machine.memory", "must be 64M to 64G")?;
    let whole = machine.memory.bytes().is_multiple_of(2 << 20);
    c.ensure(whole, "machine.memory", "must be a multiple of 2M")?;
    let display = &machine.display;
    c.ensure(PIXELS.contains(&display.width), "machine.display.width", "must be 64 to 8192")?;
    c.ensure(PIXELS.contains(&display.height), "machine.display.height", "must be 64 to 8192")?;
    let room = recipe.overlay.size <= machine.memory && recipe.overlay.size.bytes() > 0;
    c.ensure(room, "overlay.size", "must be more than nothing and no more than the machine's memory")?;

    let layouts = &recipe.keyboard.layouts;
    c.ensure(layouts.len() <= 4, "keyboard.layouts", "names more than the four that a keyboard can have")?;
    let is_layout = |name: &str| name.len() <= 20 && is_lower_name(name);
    c.each("keyboard.layouts", layouts, is_layout, "is no layout's name")?;
    c.once("keyboard.layouts", layouts)?;

    let ready = &recipe.warm_base.ready.console;
    c.ensure((1..=200).contains(&ready.len()), "warm-base.ready.console", "must be 1 to 200 bytes")?;
    c.ensure(!ready.contains(['\n', '\r']), "warm-base.ready.console", "must be on one line")?;
    let limit = recipe.warm_base.limit_seconds;
    c.ensure(LIMIT_SECONDS.contains(&limit), "warm-base.limit-seconds", "must be 1 to 3600")
}

/// The checks of one recipe. Fields are named by their path, such as `machine.display.width`.
struct Checks<'a> {
    sources: &'a Sources,
    tree: &'a Spanned<DeTable<'a>>,
}

impl Checks<'_> {
    /// A kernel comes from one place, and what is said beside that is for this place.
    fn kernel(&self, kernel: &Kernel) -> Result<(), RecipeError> {
        let said = ORIGINS.map(|(origin, _)| self.find(&["kernel", origin]).is_some());
        let named: Vec<&str> =
            ORIGINS.iter().zip(said).filter(|(_, said)| *said).map(|((origin, _), _)| *origin).collect();
        let two = format!("is a second kernel beside `{}`", named.first().unwrap_or(&""));
        self.ensure_or(named.len() < 2, &format!("kernel.{}", named.last().unwrap_or(&"")), &two, || {
            "take one of them out: a kernel is a `package`, or built from a `source`, or a `file`".into()
        })?;
        self.ensure_or(!named.is_empty(), "kernel", "names no kernel", || {
            "add a `package` such as \"linux-image-arm64\", or a `source`, or a `file`".into()
        })?;
        for ((origin, companion), said) in ORIGINS.iter().zip(said) {
            let Some(companion) = companion else { continue };
            let fits = said || self.find(&["kernel", companion]).is_none();
            self.ensure_or(fits, &format!("kernel.{companion}"), &format!("goes with `{origin}`"), || {
                format!("take it out, or add `{origin}`")
            })?;
        }
        for (origin, name) in [("package", &kernel.package), ("source", &kernel.source)] {
            let good = name.as_deref().is_none_or(is_package);
            self.ensure(good, &format!("kernel.{origin}"), "is not a package's name")?;
        }
        let pinned = kernel.file.is_none() || kernel.sha256.is_some();
        self.ensure_or(pinned, "kernel.file", "needs `sha256` beside it", || {
            "add what `sha256sum` says of the file: only a kernel of that hash is taken".into()
        })
    }

    fn ensure_or(
        &self,
        holds: bool,
        path: &str,
        problem: &str,
        hint: impl FnOnce() -> String,
    ) -> Result<(), RecipeError> {
        if holds {
            return Ok(());
        }
        let parts: Vec<&str> = path.split('.').collect();
        let key = parts.last().unwrap_or(&path);
        Err(self.sources.error(self.value(&parts), format!("`{key}` {problem}"), Some(hint())))
    }

    fn ensure(&self, holds: bool, path: &str, problem: &str) -> Result<(), RecipeError> {
        let key = path.rsplit('.').next().unwrap_or(path);
        let parts: Vec<&str> = path.split('.').collect();
        self.ensure_at(holds, || self.value(&parts), &format!("`{key}` {problem}"))
    }

    fn ensure_at(
        &self,
        holds: bool,
        at: impl FnOnce() -> Range<usize>,
        problem: &str,
    ) -> Result<(), RecipeError> {
        if holds { Ok(()) } else { Err(self.sources.error(at(), problem, None)) }
    }

    /// Each item of a list.
    fn each(
        &self,
        path: &str,
        items: &[String],
        holds: impl Fn(&str) -> bool,
        problem: &str,
    ) -> Result<(), RecipeError> {
        match items.iter().position(|item| !holds(item)) {
            None => Ok(()),
            Some(number) => {
                let problem = format!("{:?} {problem}", items[number]);
                Err(self.sources.error(self.item(path, number, ""), problem, None))
            }
        }
    }

    /// No item of a list twice; module names are the same with '-' and '_'.
    fn once(&self, path: &str, items: &[String]) -> Result<(), RecipeError> {
        let mut seen = std::collections::BTreeSet::new();
        match items.iter().position(|name| !seen.insert(name.replace('-', "_"))) {
            None => Ok(()),
            Some(number) => {
                let problem = format!("{:?} is named twice", items[number]);
                Err(self.sources.error(self.item(path, number, ""), problem, None))
            }
        }
    }

    /// Each key of a table.
    fn keys<'k>(
        &self,
        path: &str,
        mut keys: impl Iterator<Item = &'k String>,
        holds: impl Fn(&str) -> bool,
        problem: &str,
    ) -> Result<(), RecipeError> {
        let Some(key) = keys.find(|key| !holds(key)) else { return Ok(()) };
        let parts: Vec<&str> = path.split('.').collect();
        let table = self.find(&parts).and_then(|value| value.get_ref().as_table());
        let at = table.and_then(|table| table.get_key_value(key.as_str())).map(|(key, _)| key.span());
        Err(self.sources.error(at.unwrap_or_default(), format!("{key:?} {problem}"), None))
    }

    fn find(&self, parts: &[&str]) -> Option<&Spanned<DeValue<'_>>> {
        let (last, tables) = parts.split_last()?;
        let mut table = self.tree.get_ref();
        for part in tables {
            table = table.get(*part)?.get_ref().as_table()?;
        }
        table.get(*last)
    }

    /// Where a value is; a default is in no file, and the nearest table around it is shown instead.
    fn value(&self, parts: &[&str]) -> Range<usize> {
        let around = (1..=parts.len()).rev().find_map(|count| self.find(&parts[..count]));
        around.map_or_else(|| self.tree.span(), Spanned::span)
    }

    /// Where an item of a list is, or, if the item is a table, the value of a key of it.
    fn item(&self, path: &str, number: usize, key: &str) -> Range<usize> {
        let parts: Vec<&str> = path.split('.').collect();
        let item = self.find(&parts).and_then(|list| list.get_ref().get(number));
        let value = item.and_then(|item| item.get_ref().as_table()?.get(key));
        value.or(item).map_or_else(|| self.value(&parts), Spanned::span)
    }
}

/// Where there is something in a value that JSON cannot say.
fn no_json(value: &Spanned<DeValue>) -> Option<Range<usize>> {
    match value.get_ref() {
        DeValue::Datetime(_) => Some(value.span()),
        DeValue::Float(float) => {
            let number = float.as_str().parse().map(serde_json::Number::from_f64);
            matches!(number, Ok(None)).then(|| value.span())
        }
        DeValue::Array(items) => items.iter().find_map(no_json),
        DeValue::Table(table) => table.values().find_map(no_json),
        _ => None,
    }
}

/// Whether a recipe can have this name.
pub fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.len() <= 100 && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
}

fn is_lower_name(text: &str) -> bool {
    is_name(text) && !text.contains(|c: char| c.is_ascii_uppercase())
}

/// Debian Policy 5.6.7.
fn is_package(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '+' | '-' | '.');
    (2..=200).contains(&text.len())
        && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && text.chars().all(plain)
}

fn is_applet(text: &str) -> bool {
    text == "[" || text == "[[" || is_name(text)
}

fn is_path(text: &str) -> bool {
    let part = |part: &str| !part.is_empty() && part.len() <= 255 && part != "." && part != "..";
    text.len() < 4096
        && !text.contains('\0')
        && text.strip_prefix('/').is_some_and(|rest| rest.split('/').all(part))
}
