//! How locks are written. Every format ever written stays readable.

use serde::{Deserialize, Serialize};
use store::Hash;

use super::{Asked, Lock, LockedPackage, LockedSuite, Request};
use crate::recipe::Recipe;

/// The format written.
const VERSION: u32 = 2;

const HEADER: &str = "# The packages of the recipe beside this file, made by `samovar lock`.\n\n";

/// The first format: of what the recipe asked for it has only the hash.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct First {
    #[serde(rename = "version")]
    _version: u32,
    inputs: Hash,
    #[serde(default)]
    suite: Vec<LockedSuite>,
    #[serde(default)]
    package: Vec<LockedPackage>,
}

/// The second format.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Second {
    #[serde(rename = "version")]
    _version: u32,
    request: Request,
    #[serde(default)]
    suite: Vec<LockedSuite>,
    #[serde(default)]
    package: Vec<LockedPackage>,
}

/// What the first format's hash was taken of.
#[derive(Serialize)]
struct FirstInputs<'a> {
    release: &'a str,
    components: &'a [String],
    kernel: &'a str,
    busybox: &'a str,
    packages: &'a [String],
    exclude: &'a [String],
}

/// The hash that a lock of the first format has for this recipe.
pub(super) fn first_inputs(recipe: &Recipe) -> Hash {
    let inputs = FirstInputs {
        release: &recipe.debian.release,
        components: &recipe.debian.components,
        kernel: recipe.kernel.locked().unwrap_or_default(),
        busybox: &recipe.initramfs.busybox,
        packages: &recipe.rootfs.packages,
        exclude: &recipe.rootfs.exclude,
    };
    // Plain strings in plain structs: there is nothing that could fail to be written.
    Hash::of(&serde_json::to_vec(&inputs).unwrap_or_default())
}

pub(super) fn parse(text: &str) -> Result<Lock, String> {
    #[derive(Deserialize)]
    struct Format {
        version: u32,
    }
    // One line: a lock is not written by hand, so the place is for whoever solves a merge.
    let wrong = |error: toml::de::Error| {
        let line = error
            .span()
            .and_then(|span| text.get(..span.start))
            .map(|before| before.matches('\n').count() + 1);
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        format!("{line}{}", error.message().trim_end().replace('\n', " "))
    };
    let Format { version } = toml::from_str(text).map_err(wrong)?;
    let lock = match version {
        1 => {
            let First { inputs, suite, package, .. } = toml::from_str(text).map_err(wrong)?;
            Lock { asked: Asked::ForHash(inputs), suites: suite, packages: package }
        }
        2 => {
            let Second { request, suite, package, .. } = toml::from_str(text).map_err(wrong)?;
            Lock { asked: Asked::For(request), suites: suite, packages: package }
        }
        _ => return Err(format!("is of format {version}; this program reads formats 1 to {VERSION}")),
    };
    if !lock.packages.is_sorted_by(|a, b| a.name < b.name) {
        return Err("its packages are not sorted, or one is there twice".into());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+~-:%=@".contains(c);
    let path = |path: &str| path.chars().all(plain) && !path.split('/').any(|part| part == "..");
    match lock.packages.iter().find(|package| !path(&package.path) || package.size > 4 << 30) {
        Some(package) => Err(format!("package {} has an impossible path or size", package.name)),
        None => Ok(lock),
    }
}

/// The text of a lock, in the newest format that can say all that it says.
pub(super) fn to_text(lock: &Lock) -> Result<String, toml::ser::Error> {
    #[derive(Serialize)]
    struct Head<'a> {
        version: u32,
        #[serde(skip_serializing_if = "Option::is_none")]
        inputs: Option<&'a Hash>,
        #[serde(skip_serializing_if = "Option::is_none")]
        request: Option<&'a Request>,
    }
    #[derive(Serialize)]
    struct Body<'a> {
        suite: &'a [LockedSuite],
        package: &'a [LockedPackage],
    }
    let head = match &lock.asked {
        Asked::ForHash(inputs) => Head { version: 1, inputs: Some(inputs), request: None },
        Asked::For(request) => Head { version: VERSION, inputs: None, request: Some(request) },
    };
    let body = Body { suite: &lock.suites, package: &lock.packages };
    // The names that were asked for have a line each, as the packages have a paragraph each.
    Ok(format!("{HEADER}{}\n{}", toml::to_string_pretty(&head)?, toml::to_string(&body)?))
}
