//! `samovar info`

use serde_json::{Value, json};

use super::store_option::StoreOption;
use crate::error::Result;
use crate::reporter::bytes;
use crate::rootfs::DROPPED;

/// Say what an artifact is: its files, what it needs, what it was made from
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name, a hash or its beginning, or a directory
    artifact: String,
    #[command(flatten)]
    store: StoreOption,
    /// As JSON
    #[arg(long)]
    json: bool,
    /// Only the paths of packages that a root file system was made without
    #[arg(long, conflicts_with = "json")]
    dropped: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let artifact = self.store.find(&self.artifact)?;
        let manifest = artifact.manifest();
        if self.dropped {
            print!("{}", String::from_utf8_lossy(&artifact.read(DROPPED)?));
            return Ok(());
        }
        if self.json {
            let text = json!({
                "hash": artifact.hash(),
                "kind": manifest.kind,
                "files": manifest.files,
                "needs": manifest.needs,
                "meta": manifest.meta,
            });
            println!("{text:#}");
            return Ok(());
        }
        println!("{} {}", artifact.kind(), artifact.hash());
        for file in &manifest.files {
            println!("  {:>9}  {}", bytes(file.size), file.name);
        }
        for (role, hash) in &manifest.needs {
            println!("needs {role} {hash}");
        }
        for (key, value) in manifest.meta.as_object().into_iter().flatten() {
            match value {
                Value::String(text) => println!("{key}: {text}"),
                Value::Array(items) => {
                    println!("{key}:");
                    items.iter().for_each(|item| println!("  {}", plain(item)));
                }
                other => println!("{key}: {other}"),
            }
        }
        Ok(())
    }
}

/// Text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
