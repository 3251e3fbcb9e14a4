//! `samovar unpack`

use std::path::{Path, PathBuf};

use bundle::Bundle;
use serde_json::json;

use super::arrived::ArrivalOptions;
use super::store_option::StoreOption;
use crate::error::Result;
use crate::reporter::Reporter;

/// Put what is in a bundle into a store, and print the path of its artifact
///
/// Nothing is to be seen in the store before every byte has been checked. A bundle that this program cannot restore, or
/// that no trusted key signed, is refused before anything is unpacked. What was interrupted goes on where it stopped.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A file that `samovar pack` made
    bundle: PathBuf,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    arrival: ArrivalOptions,
    /// As JSON
    ///
    /// An object with the artifact's `path`, the hash of the `artifact`, the bundle's `root`, the `name` that leads to it or
    /// null, the hashes that are `new` in the store, and whether a `trusted` key signed it.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let reporter = Reporter::new();
        let bundle = Bundle::open(&self.bundle)?;
        if let Some(keys) = self.arrival.keys(bundle.signer(), reporter) {
            bundle.trusted_by(keys)?;
        }
        runner::bundled::check_fit(&bundle)?;
        let store = self.store.open(Path::new("."))?;
        let bar = reporter.working("unpacking");
        let unpacked = bundle.unpack(&store, &mut |done, total| bar.progress(done, total))?;
        drop(bar);
        let hash = unpacked.artifact.hash();
        let (manifest, provenance) = (&bundle.main().manifest, &bundle.head().provenance);
        let name = self.arrival.settle(&store, hash, manifest, provenance, reporter)?;
        if self.json {
            let text = json!({
                "path": store.path_of(hash),
                "artifact": hash,
                "root": bundle.root(),
                "name": name,
                "new": unpacked.new,
                "trusted": !self.arrival.trust.is_empty(),
            });
            println!("{text:#}");
        } else {
            println!("{}", store.path_of(hash).display());
        }
        Ok(())
    }
}
