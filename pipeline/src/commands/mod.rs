//! The command line: one file for each command.

mod build;
mod check;
mod cleanup;
mod info;
mod list;
mod lock;
mod new;
mod path;
mod rm;
mod run;
mod schema;
mod verify;

use std::env;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use store::{Artifact, Store};

use crate::debian::archive;
use crate::error::Result;
use crate::lock::Lock;
use crate::lock::choose::Choice;

/// Builds warm microVM snapshots from recipes
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Results go to standard output, everything else to standard error.

Exit codes:
  0  done
  1  a file or the store could not be read or written
  2  the command line, the recipe or its lock is wrong
  3  the network or the mirror failed
  4  a signature or hash is wrong, or something fetched is malformed
  5  a step of the build or the capture failed
  6  the guest that was shown ended badly, or there was no window for it
  130  interrupted (129, 143: likewise, by SIGHUP or SIGTERM)

Environment:
  SAMOVAR_DEBIAN_MIRROR           a mirror of the Debian archive (default: the one in this host's apt sources)
  SAMOVAR_DEBIAN_SECURITY_MIRROR  a mirror of the security archive (default: likewise)
  SAMOVAR_DEBIAN_KEYRING          a file of the archive's keys (default: those of Debian 12 and 13, in this program)
  SAMOVAR_FETCH_TIMEOUT           how many seconds a silent mirror is waited for (default: 30)
  http_proxy, https_proxy, no_proxy";

#[derive(Debug, Subcommand)]
enum Command {
    New(new::Args),
    Check(check::Args),
    Lock(lock::Args),
    Build(build::Args),
    Run(run::Args),
    List(list::Args),
    Info(info::Args),
    Path(path::Args),
    Verify(verify::Args),
    Rm(rm::Args),
    Cleanup(cleanup::Args),
    Schema(schema::Args),
}

impl Cli {
    /// Does what the command line asks for.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::New(args) => args.run(),
            Command::Check(args) => args.run(),
            Command::Lock(args) => args.run(),
            Command::Build(args) => args.run(),
            Command::Run(args) => args.run(),
            Command::List(args) => args.run(),
            Command::Info(args) => args.run(),
            Command::Path(args) => args.run(),
            Command::Verify(args) => args.run(),
            Command::Rm(args) => args.run(),
            Command::Cleanup(args) => args.run(),
            Command::Schema(args) => args.run(),
        }
    }
}

/// Opens the store that was named, or else the workspace's.
fn open_store(named: Option<&Path>, recipe: &Path) -> Result<Store> {
    let dir = named.map_or_else(|| default_store(recipe), Path::to_owned);
    Ok(Store::open(dir)?)
}

/// The store that was named, or else the workspace's, which must be there.
fn existing_store(named: Option<&Path>) -> Result<Store> {
    let dir = named.map_or_else(|| default_store(Path::new(".")), Path::to_owned);
    Ok(Store::existing(dir)?)
}

/// The artifact that a person means: in a directory, or in the store that `store` gives, by name or hash.
fn find(text: &str, store: impl FnOnce() -> Result<Store>) -> Result<Artifact> {
    if Path::new(text).is_dir() {
        return Ok(Artifact::open(text)?);
    }
    // What looks like a path is one.
    if text.contains('/') {
        return Err(store::Error::Missing { path: text.into() }.into());
    }
    let store = store()?;
    Ok(store.load(&store.find(text)?)?)
}

/// The `artifacts` directory beside the `Cargo.toml` nearest above the current directory, or above the recipe;
/// without one, `artifacts` in the current directory.
fn default_store(recipe: &Path) -> PathBuf {
    let here = env::current_dir().unwrap_or_default();
    let beside = recipe.canonicalize().unwrap_or_default();
    let above = here.ancestors().chain(beside.ancestors());
    let mut stores = above.filter(|dir| dir.join("Cargo.toml").is_file()).map(|dir| dir.join("artifacts"));
    let found = stores.find(|store| store.is_dir()).unwrap_or_else(|| here.join("artifacts"));
    // Inside the current directory the short form is what people paste.
    found.strip_prefix(&here).map(Path::to_owned).unwrap_or(found)
}

/// Makes a recipe's lock, or brings it up to date, from what the archive has now, and says what changed.
fn make_lock(choice: &Choice, path: &Path) -> Result<Lock> {
    let Choice { file, store, fetcher, reporter, .. } = choice;
    reporter.line("reading the archive's lists of packages");
    // The host's clock decides whether lists and keys are still valid; it reaches no artifact.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (index, suites) = archive::index(store, &file.recipe.debian, fetcher, now)?;
    let lock = choice.make(index, &suites)?;
    lock.write(path)?;
    reporter.line(format!("locked {} packages in {}", lock.all().len(), path.display()));
    if let Some(earlier) = choice.earlier {
        let changes = lock.changes_since(earlier);
        if changes.is_empty() {
            reporter.line("no package changed");
        }
        changes.iter().for_each(|change| reporter.line(change));
    }
    Ok(lock)
}
