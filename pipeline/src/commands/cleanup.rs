//! `samovar cleanup`

use std::time::{Duration, SystemTime};

use humantime::parse_duration;
use runner::units::parse_size;
use serde_json::{Value, json};
use store::Store;

use super::list::as_json;
use super::store_option::StoreOption;
use crate::error::Result;
use crate::reporter::{Reporter, bytes};

/// Remove the artifacts that no name leads to
///
/// What a name leads to, all that it needs, and what a session or a build uses stays. Without --max-size everything else
/// that is old enough goes.
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
            if !self.dry_run {
                match store.remove(&listed.hash) {
                    Ok(()) => {}
                    // What uses it, or what needs it and is used, keeps it.
                    Err(store::Error::InUse { .. } | store::Error::Needed { .. }) => continue,
                    // Another cleanup was there first.
                    Err(store::Error::Missing { .. }) => continue,
                    Err(error) => return Err(error.into()),
                }
            }
            total = total.saturating_sub(listed.disk);
            freed += listed.disk;
            gone.push(listed);
        }
        if self.json {
            let text = json!({
                "removed": Value::from_iter(gone.iter().map(as_json)),
                "bytes_freed": freed,
                "dry_run": self.dry_run,
            });
            println!("{text:#}");
        } else {
            gone.iter().for_each(|listed| println!("{}", listed.hash));
        }
        let would = if self.dry_run { "would be " } else { "" };
        reporter.line(format!("{} artifacts, {} {would}removed", gone.len(), bytes(freed)));
        Ok(())
    }
}
