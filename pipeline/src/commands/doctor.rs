//! `samovar doctor`

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::json;

use super::store_option::StoreOption;
use crate::debian::sources::{ARCHIVES, Mirrors};
use crate::error::{Error, Result};
use crate::kernel::tools::{self, Missing};
use crate::recipe::{Origin, RecipeFile};
use crate::reporter::bytes;

/// Say what of this host is there for building and showing guests, and how to get what is not
///
/// Nothing is changed and nothing is fetched. What builds kernels from source is needed only by recipes that have one: name
/// such a recipe, and it counts as well. Exits with 0 if all that is needed is there, or else with 7.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A recipe to be built here, such as recipes/firefox-microvm.toml
    recipe: Option<PathBuf>,
    #[command(flatten)]
    store: StoreOption,
    /// As JSON
    ///
    /// An object: whether all that is needed is there (`ok`), and the `findings`, each with its `part`, its `name`, its
    /// `state` ("ok", "absent" or "missing"), its `detail`, and a `remedy` if there is one.
    #[arg(long)]
    json: bool,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ok,
    /// It is not there, and can be done without.
    Absent,
    /// It is not there, and must be.
    Missing,
}

impl State {
    fn word(self) -> &'static str {
        match self {
            State::Ok => "ok",
            State::Absent => "absent",
            State::Missing => "missing",
        }
    }
}

/// Something that was looked at.
#[derive(Debug, Serialize)]
struct Finding {
    part: &'static str,
    name: String,
    state: State,
    /// What was found, or what it would be for.
    detail: String,
    /// What can be done if it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let file = self.recipe.as_deref().map(RecipeFile::read).transpose()?;
        let builds_kernel =
            file.is_some_and(|file| matches!(file.recipe.kernel.origin(), Origin::Source { .. }));
        let mut findings = mirrors(&Mirrors::of_host());
        findings.push(store(&self.store.dir(self.recipe.as_deref().unwrap_or(Path::new(".")))));
        findings.extend(kernel(builds_kernel));
        findings.push(display(env::var_os("DISPLAY"), env::var_os("WAYLAND_DISPLAY")));
        findings.extend(engines());
        match self.json {
            true => {
                let ok = findings.iter().all(|finding| finding.state != State::Missing);
                println!("{:#}", json!({ "ok": ok, "findings": findings }));
            }
            false => print(&findings),
        }
        let missing: Vec<&Finding> =
            findings.iter().filter(|finding| finding.state == State::Missing).collect();
        match missing.first() {
            None => Ok(()),
            Some(first) => Err(Error::Unready {
                missing: missing.iter().map(|finding| finding.name.clone()).collect(),
                remedy: first.remedy.clone().unwrap_or_default(),
            }),
        }
    }
}

/// A paragraph for each part, with what can be done at its end.
fn print(findings: &[Finding]) {
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or_default();
    for (number, part) in findings.chunk_by(|a, b| a.part == b.part).enumerate() {
        if number > 0 {
            println!();
        }
        println!("{}", part[0].part);
        for Finding { name, state, detail, .. } in part {
            println!("  {:<7}  {name:<width$}  {detail}", state.word());
        }
        let mut remedies: Vec<&String> = part.iter().filter_map(|finding| finding.remedy.as_ref()).collect();
        remedies.dedup();
        remedies.iter().for_each(|remedy| println!("  {remedy}"));
    }
}

/// Where packages come from.
fn mirrors(mirrors: &Mirrors) -> Vec<Finding> {
    let finding = |archive| {
        let (state, detail, remedy) = match mirrors.of(archive) {
            Some(url) => (State::Ok, url.to_owned(), None),
            None => {
                let error = Error::NoMirror { archive: archive.name(), variable: archive.variable() };
                (State::Missing, error.to_string(), Some(error.hint()))
            }
        };
        Finding { part: "mirrors", name: archive.name().into(), state, detail, remedy }
    };
    ARCHIVES.map(finding).into()
}

/// Whether artifacts can be written, and how much room there is.
fn store(dir: &Path) -> Finding {
    // It is made by the first build.
    let above = dir.ancestors().map(|path| if path.as_os_str().is_empty() { Path::new(".") } else { path });
    let there = above.into_iter().find(|path| path.is_dir()).unwrap_or(Path::new("/"));
    let room = || -> io::Result<u64> {
        tempfile::tempfile_in(there)?;
        let space = rustix::fs::statvfs(there)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    };
    let (state, detail, remedy) = match room() {
        Ok(free) => (State::Ok, format!("can be written, {} free", bytes(free)), None),
        Err(error) => {
            let remedy = "let it be written, or name another directory with --store";
            (State::Missing, format!("{}: {error}", there.display()), Some(remedy.to_owned()))
        }
    };
    Finding { part: "store", name: dir.display().to_string(), state, detail, remedy }
}

/// What builds kernels.
fn kernel(needed: bool) -> Vec<Finding> {
    let tools = tools::needed();
    let missing: Vec<Missing> =
        tools.iter().filter(|(_, path)| path.is_none()).map(|(tool, _)| Missing { tool: *tool }).collect();
    let remedy = format!("run `{}`", tools::install_command(&missing));
    let finding = |(tool, path): (tools::Tool, Option<PathBuf>)| {
        let (state, detail) = match path {
            Some(path) => (State::Ok, path.display().to_string()),
            None if needed => (State::Missing, tool.purpose.to_owned()),
            None => (State::Absent, tool.purpose.to_owned()),
        };
        let remedy = (state != State::Ok).then(|| remedy.clone());
        Finding { part: "kernels from source", name: tool.name.into(), state, detail, remedy }
    };
    tools.into_iter().map(finding).collect()
}

/// Where windows are shown.
fn display(x11: Option<OsString>, wayland: Option<OsString>) -> Finding {
    let set = |value: &Option<OsString>| value.as_ref().is_some_and(|value| !value.is_empty());
    let (state, detail, remedy) = if cfg!(target_os = "macos") {
        (State::Ok, "the system's own".to_owned(), None)
    } else if set(&x11) {
        (State::Ok, format!("DISPLAY is {}", x11.unwrap_or_default().display()), None)
    } else {
        let remedy = match set(&wayland) {
            true => "there is Wayland alone, and windows are X's: have Xwayland started, which sets DISPLAY",
            false => "set DISPLAY to see windows; `runner restore --screenshot FILE` needs none",
        };
        (State::Absent, "DISPLAY is not set".to_owned(), Some(remedy.to_owned()))
    };
    Finding { part: "display", name: "window".into(), state, detail, remedy }
}

/// What runs guests: the soft engine everywhere, and what the host has of its own, which can be done without.
fn engines() -> Vec<Finding> {
    let detail = "AArch64 in software, which builds, captures and shows on every host".to_owned();
    let soft = Finding { part: "engines", name: "soft".into(), state: State::Ok, detail, remedy: None };
    let own = runner::doctor::examine().into_iter().map(|found| Finding {
        part: "engines",
        name: "host".into(),
        state: if found.remedy.is_none() { State::Ok } else { State::Absent },
        detail: found.what,
        remedy: found.remedy.map(str::to_owned),
    });
    std::iter::once(soft).chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_is_where_it_could_be_made() {
        let dir = tempfile::tempdir().unwrap();
        let there = store(dir.path());
        assert_eq!(there.state, State::Ok);
        assert_eq!(store(&dir.path().join("not/there/yet")).detail, there.detail);
        assert!(!dir.path().join("not").exists());
        assert_eq!(store(Path::new("/proc/samovar")).state, State::Missing);
    }

    #[test]
    fn displays() {
        let set = |text: &str| Some(OsString::from(text));
        assert_eq!(display(set(":0"), None).state, State::Ok);
        if cfg!(not(target_os = "macos")) {
            let wayland = display(set(""), set("wayland-0"));
            assert_eq!(wayland.state, State::Absent);
            assert!(wayland.remedy.unwrap().contains("Xwayland"));
            assert!(display(None, None).remedy.unwrap().contains("--screenshot"));
        }
    }
}
