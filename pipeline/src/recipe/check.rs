//! What a recipe may say, beyond its form.

use std::path::Path;

use super::{Recipe, RecipeError, Size};

/// The machine's own limits; a recipe beyond them could be built but never run.
const CPUS: std::ops::RangeInclusive<usize> = 1..=8;
const MEMORY: std::ops::RangeInclusive<Size> = Size::mebibytes(64)..=Size::mebibytes(64 << 10);
const PIXELS: std::ops::RangeInclusive<u32> = 64..=8192;
const LIMIT_SECONDS: std::ops::RangeInclusive<u64> = 1..=3600;

pub(super) fn check(path: &Path, text: &str, recipe: &Recipe) -> Result<(), RecipeError> {
    let mut checks = Checks { path, text };
    let c = &mut checks;
    c.ensure(is_name(&recipe.name), "name", "may have letters, digits, '.', '_' and '-' only")?;
    let debian = &recipe.debian;
    c.ensure(is_lower_name(&debian.release), "release", "is not a release's code name such as \"trixie\"")?;
    let components = &debian.components;
    c.ensure(!components.is_empty(), "components", "names no part of the archive")?;
    c.ensure(
        components.iter().all(|name| is_lower_name(name)),
        "components",
        "has a name no component can have",
    )?;

    c.ensure(is_package(&recipe.kernel.package), "package", "is not a package's name")?;
    let line = &recipe.kernel.command_line;
    // COMMAND_LINE_SIZE is 2048 on arm64 (arch/arm64/include/uapi/asm/setup.h); the rest is for our additions.
    c.ensure(line.len() <= 1900, "command-line", "is longer than 1900 bytes")?;
    c.ensure(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "command-line", "must be printable ASCII")?;

    let initramfs = &recipe.initramfs;
    c.ensure(is_package(&initramfs.busybox), "busybox", "is not a package's name")?;
    c.ensure(initramfs.modules.iter().all(|name| is_name(name)), "modules", "has a name no module can have")?;
    c.ensure(!has_duplicates(&initramfs.modules), "modules", "names a module twice")?;

    let rootfs = &recipe.rootfs;
    c.ensure(is_name(&rootfs.image), "image", "is not a plain file name")?;
    // The label goes onto the kernel's command line; 16 bytes is what an ext4 superblock holds.
    let label = &rootfs.label;
    c.ensure(
        is_name(label) && label.len() <= 16,
        "label",
        "must be 1 to 16 letters, digits, '.', '_' or '-'",
    )?;
    c.ensure(
        rootfs.packages.iter().all(|name| is_package(name)),
        "packages",
        "has a name no package can have",
    )?;
    c.ensure(
        rootfs.exclude.iter().all(|name| is_package(name)),
        "exclude",
        "has a name no package can have",
    )?;
    for (key, globs) in [("drop", &rootfs.drop), ("keep", &rootfs.keep)] {
        for glob in globs {
            c.ensure(is_path(glob), key, "needs absolute paths without '.' or '..'")?;
            c.ensure(glob::Pattern::new(glob).is_ok(), key, "has a pattern that is not a glob")?;
        }
    }
    c.ensure(rootfs.applets.iter().all(|name| is_applet(name)), "applets", "has a name no program can have")?;
    let absolute = "needs absolute paths without '.' or '..'";
    c.ensure(rootfs.directories.iter().all(|path| is_path(path)), "directories", absolute)?;
    c.ensure(rootfs.symlinks.keys().all(|path| is_path(path)), "symlinks", absolute)?;
    let target = |text: &String| !text.is_empty() && text.len() < 4096 && !text.contains('\0');
    c.ensure(rootfs.symlinks.values().all(target), "symlinks", "has an impossible target")?;
    for permission in &rootfs.permissions {
        c.ensure(is_path(&permission.path), "permissions", absolute)?;
        let readable = permission.mode.is_none() || permission.mode_bits().is_some();
        c.ensure(readable, "permissions", "has a mode that is not octal, such as \"1777\"")?;
    }
    c.ensure(rootfs.spare_inodes <= 1 << 20, "spare-inodes", "is more than 1048576")?;

    let machine = &recipe.machine;
    c.ensure(CPUS.contains(&machine.cpus), "cpus", "must be 1 to 8")?;
    c.ensure(MEMORY.contains(&machine.memory), "memory", "must be 64M to 64G")?;
    c.ensure(machine.memory.bytes().is_multiple_of(2 << 20), "memory", "must be a multiple of 2M")?;
    let display = &machine.display;
    c.ensure(PIXELS.contains(&display.width), "width", "must be 64 to 8192")?;
    c.ensure(PIXELS.contains(&display.height), "height", "must be 64 to 8192")?;
    let room = recipe.overlay.size <= machine.memory && recipe.overlay.size.bytes() > 0;
    c.ensure(room, "size", "must be more than nothing and no more than the machine's memory")?;

    let layouts = &recipe.keyboard.layouts;
    c.ensure(layouts.len() <= 4, "layouts", "names more than the four that a keyboard can have")?;
    let is_layout = |name: &String| name.len() <= 20 && is_lower_name(name);
    c.ensure(layouts.iter().all(is_layout), "layouts", "has a name no layout can have")?;
    c.ensure(!has_duplicates(layouts), "layouts", "names a layout twice")?;

    let ready = &recipe.warm_base.ready.console;
    c.ensure((1..=200).contains(&ready.len()), "console", "must be 1 to 200 bytes")?;
    c.ensure(!ready.contains(['\n', '\r']), "console", "must be on one line")?;
    let limit = recipe.warm_base.limit_seconds;
    c.ensure(LIMIT_SECONDS.contains(&limit), "limit-seconds", "must be 1 to 3600")
}

struct Checks<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Checks<'_> {
    fn ensure(&mut self, holds: bool, key: &str, problem: &str) -> Result<(), RecipeError> {
        if holds {
            return Ok(());
        }
        let offset = key_offset(self.text, key).unwrap_or(0);
        Err(RecipeError::at(self.path, self.text, offset, format!("`{key}` {problem}"), None))
    }
}

/// Where a key is set, or else first spoken of.
fn key_offset(text: &str, key: &str) -> Option<usize> {
    let is_key_char = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let whole = |(at, _): &(usize, &str)| {
        let after = &text[at + key.len()..];
        !text[..*at].ends_with(is_key_char) && !after.starts_with(is_key_char)
    };
    let set = |(at, _): &(usize, &str)| {
        let after = text[at + key.len()..].trim_start();
        after.starts_with(['=', ']', '.'])
    };
    let found = || text.match_indices(key).filter(whole);
    found().find(set).or_else(|| found().next()).map(|(at, _)| at)
}

fn is_name(text: &str) -> bool {
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

fn has_duplicates(names: &[String]) -> bool {
    let mut seen = std::collections::BTreeSet::new();
    !names.iter().all(|name| seen.insert(name.replace('-', "_")))
}
