//! `samovar list`

use std::cmp::Reverse;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use store::Listed;

use super::store_option::StoreOption;
use crate::error::Result;
use crate::reporter::{age, bytes};

/// List the artifacts of a store, the newest first
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    store: StoreOption,
    /// As JSON
    ///
    /// An array with an object for each artifact: its `hash`, its `kind` or null, its `damage` or null, the `names` that
    /// lead to it, `bytes_on_disk`, and `made_unix_seconds`.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let mut listed = self.store.existing()?.list()?;
        listed.sort_by_key(|listed| (Reverse(listed.made), listed.hash));
        if self.json {
            println!("{:#}", Value::from_iter(listed.iter().map(as_json)));
            return Ok(());
        }
        let now = SystemTime::now();
        for listed in listed {
            let kind = match &listed.artifact {
                Ok(artifact) => artifact.kind().to_string(),
                Err(_) => "damaged".to_owned(),
            };
            let (size, age) = (bytes(listed.disk), age(now, listed.made));
            println!("{}  {kind:9}  {size:>9}  {age:>8}  {}", listed.hash, listed.names.join(" "));
        }
        Ok(())
    }
}

/// An artifact of a store, for programs.
pub(super) fn as_json(listed: &Listed) -> Value {
    let made = listed.made.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    json!({
        "hash": listed.hash,
        "kind": listed.artifact.as_ref().ok().map(|artifact| artifact.kind()),
        "damage": listed.artifact.as_ref().err().map(ToString::to_string),
        "names": listed.names,
        "bytes_on_disk": listed.disk,
        "made_unix_seconds": made,
    })
}
