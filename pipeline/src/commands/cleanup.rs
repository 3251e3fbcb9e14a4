//! `samovar cleanup`

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::parse_duration;
use runner::units::parse_size;
use serde_json::{Value, json};
use store::{Leftover, Store};

use super::list::as_json;
use super::store_option::StoreOption;
use crate::error::Result;
use crate::reporter::{Reporter, bytes};

/// How long what broke off is kept, to be gone on with, when no age is given.
const LEFTOVER_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Remove the artifacts that no name leads to, and what broke off and was not gone on with
///
/// What a name leads to, all that it needs, and what a session or a build uses stays. Without --max-size everything else
/// that is old enough goes. What a fetch or an unpacking that broke off left goes after a day, or after the time of
/// --older-than, unless a process is at it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreOption,
    /// Remove nothing, and print what would be
    #[arg(long)]
    dry_run: bool,
    /// Keep what is younger, such as 12h or 30d
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    older_than: Option<Duration>,
    /// Remove the oldest first, and only until all artifacts together take no more than this on the disk, such as 20G
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    max_size: Option<u64>,
    /// As JSON
    ///
    /// An object with the artifacts that were `removed`, each as `samovar list --json` has it; the `leftovers` that were,
    /// each a `path`, `bytes_on_disk` and `changed_unix_seconds`; the `bytes_freed` by both; and whether it was a
    /// `dry_run`, in which nothing is removed.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let store = self.store.existing()?;
        let store = if self.dry_run { store } else { Store::open(store.dir())? };
        let reporter = Reporter::new();
        let now = SystemTime::now();
        let mut total: u64 = store.list()?.iter().map(|listed| listed.disk).sum();
        let (mut gone, mut freed) = (Vec::new(), 0);
        for listed in store.unreachable()? {
            let young = self
                .older_than
                .is_some_and(|least| now.duration_since(listed.made).unwrap_or_default() < least);
            if young || self.max_size.is_some_and(|most| total <= most) {
                continue;
            }
            // What uses it, or needs it and is used, keeps it; and another cleanup may have been there first.
            if !self.dry_run && !store.collect(&listed.hash)? {
                continue;
            }
            total = total.saturating_sub(listed.disk);
            freed += listed.disk;
            gone.push(listed);
        }
        let leftovers = self.leftovers(&store, now)?;
        freed += leftovers.iter().map(|leftover| leftover.disk).sum::<u64>();
        if self.json {
            let text = json!({
                "removed": Value::from_iter(gone.iter().map(as_json)),
                "leftovers": Value::from_iter(leftovers.iter().map(leftover_as_json)),
                "bytes_freed": freed,
                "dry_run": self.dry_run,
            });
            println!("{text:#}");
        } else {
            gone.iter().for_each(|listed| println!("{}", listed.hash));
            leftovers.iter().for_each(|leftover| println!("{}", leftover.path.display()));
        }
        let would = if self.dry_run { "would be " } else { "" };
        let (artifacts, leftovers) = (gone.len(), leftovers.len());
        reporter
            .line(format!("{artifacts} artifacts, {leftovers} leftovers, {} {would}removed", bytes(freed)));
        Ok(())
    }

    /// Removes what broke off and is old enough, unless that is only to be shown.
    fn leftovers(&self, store: &Store, now: SystemTime) -> Result<Vec<Leftover>> {
        let least = self.older_than.unwrap_or(LEFTOVER_AGE);
        let mut old = store.leftovers()?;
        old.retain(|leftover| now.duration_since(leftover.changed).unwrap_or_default() >= least);
        if self.dry_run {
            return Ok(old);
        }
        let mut gone = Vec::new();
        for leftover in old {
            if store.remove_leftover(&leftover)? {
                gone.push(leftover);
            }
        }
        Ok(gone)
    }
}

fn leftover_as_json(leftover: &Leftover) -> Value {
    let changed = leftover.changed.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    json!({ "path": leftover.path, "bytes_on_disk": leftover.disk, "changed_unix_seconds": changed })
}
