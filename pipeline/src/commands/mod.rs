//! The command line: one file for each command.

mod arrived;
mod build;
mod check;
mod cleanup;
mod completions;
mod diff;
mod doctor;
mod info;
mod key;
mod keygen;
mod list;
mod lock;
mod locked_recipe;
mod man;
mod new;
mod pack;
mod path;
mod pull;
mod push;
mod rm;
mod run;
mod schema;
mod store_option;
mod tree;
mod unpack;
mod verify;
mod why;

use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};

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
  3  the network, the mirror or the remote failed
  4  a signature or hash is wrong, something fetched is malformed or does not fit, or a rebuild differs
  5  a step of the build or the capture failed
  6  the guest that was shown ended badly, or there was no window for it
  7  the host lacks something that is needed (`samovar doctor`)
  130  interrupted (129, 143: likewise, by SIGHUP or SIGTERM)

Environment:
  SAMOVAR_DEBIAN_MIRROR           a mirror of the Debian archive (default: the one in this host's apt sources)
  SAMOVAR_DEBIAN_SECURITY_MIRROR  a mirror of the security archive (default: likewise)
  SAMOVAR_DEBIAN_KEYRING          a file of the archive's keys (default: those of Debian 12 and 13, in this program)
  SAMOVAR_FETCH_TIMEOUT           how many seconds a silent mirror or remote is waited for (default: 30)
  SAMOVAR_REGISTRY_USER           who pushes to and pulls from a registry that wants to know it
  SAMOVAR_REGISTRY_PASSWORD       and the password, or a token
  http_proxy, https_proxy, no_proxy";

#[derive(Debug, Subcommand)]
enum Command {
    New(new::Args),
    Check(check::Args),
    Lock(lock::Args),
    Build(build::Args),
    Run(run::Args),
    Why(why::Args),
    Tree(tree::Args),
    Diff(diff::Args),
    List(list::Args),
    Info(info::Args),
    Path(path::Args),
    Verify(verify::Args),
    Pack(pack::Args),
    Unpack(unpack::Args),
    Push(push::Args),
    Pull(pull::Args),
    Keygen(keygen::Args),
    Key(key::Args),
    Rm(rm::Args),
    Cleanup(cleanup::Args),
    Doctor(doctor::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
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
            Command::Why(args) => args.run(),
            Command::Tree(args) => args.run(),
            Command::Diff(args) => args.run(),
            Command::List(args) => args.run(),
            Command::Info(args) => args.run(),
            Command::Path(args) => args.run(),
            Command::Verify(args) => args.run(),
            Command::Pack(args) => args.run(),
            Command::Unpack(args) => args.run(),
            Command::Push(args) => args.run(),
            Command::Pull(args) => args.run(),
            Command::Keygen(args) => args.run(),
            Command::Key(args) => args.run(),
            Command::Rm(args) => args.run(),
            Command::Cleanup(args) => args.run(),
            Command::Doctor(args) => args.run(),
            Command::Schema(args) => args.run(),
            Command::Completions(args) => args.run(),
            Command::Man(args) => args.run(),
        }
    }
}

/// Makes a recipe's lock, or brings it up to date, from what the archive has now, and says what changed.
fn make_lock(choice: &Choice) -> Result<Lock> {
    let Choice { file, store, fetcher, reporter, .. } = choice;
    reporter.line("reading the archive's lists of packages");
    // The host's clock decides whether lists and keys are still valid; it reaches no artifact.
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    let (index, suites) = archive::index(store, &file.recipe.debian, fetcher, now)?;
    let lock = choice.make(index, &suites)?;
    lock.write(&file.lock)?;
    reporter.line(format!("locked {} packages in {}", lock.all().len(), file.lock.display()));
    if let Some(earlier) = choice.earlier {
        let changes = lock.changes_since(earlier);
        if changes.is_empty() {
            reporter.line("no package changed");
        }
        changes.iter().for_each(|change| reporter.line(change.to_string()));
    }
    Ok(lock)
}
