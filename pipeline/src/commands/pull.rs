//! `samovar pull`

use std::path::Path;

use runner::bundled::check_state;
use runner::snapshot::{MAX_STATE, STATE_FILE};
use serde_json::json;
use share::{Pull, Remote};
use store::Kind;

use super::arrived::ArrivalOptions;
use super::store_option::StoreOption;
use crate::error::Result;
use crate::reporter::{Reporter, bytes};

/// Fetch an artifact and all that it needs into a store, and print its path
///
/// What the store has already, in whichever artifact, is not fetched, page by page. Nothing is to be seen in the store
/// before every byte has been checked. What this program cannot restore, or no trusted key signed, is refused before
/// anything is fetched. What was interrupted goes on where it stopped.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The name or the hash of what was pushed
    artifact: String,
    /// A directory, http://..., https://..., or oci://HOST[:PORT]/REPOSITORY
    remote: String,
    #[command(flatten)]
    store: StoreOption,
    #[command(flatten)]
    arrival: ArrivalOptions,
    /// As JSON
    ///
    /// An object with the artifact's `path`, the hash of the `artifact`, the `root` of its index, the `name` that leads to it or
    /// null, the hashes that are `new` in the store, the `bytes_fetched` of the `bytes_there`, both compressed, and whether a
    /// `trusted` key signed it.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let reporter = Reporter::new();
        let remote = Remote::parse(&self.remote)?;
        let pull = Pull::begin(&remote, &self.artifact)?;
        if let Some(keys) = self.arrival.keys(pull.sealed().signer(), reporter) {
            pull.sealed().trusted_by(keys)?;
        }
        let main = pull.main();
        if main.manifest.kind == Kind::WarmBase {
            check_state(Path::new(&pull.sealed().url), &pull.read(STATE_FILE, MAX_STATE)?)?;
        }
        let store = self.store.open(Path::new("."))?;
        let bar = reporter.working("pulling");
        let pulled = pull.fetch(&store, &mut |done, total| bar.progress(done, total))?;
        drop(bar);
        let (hash, sealed) = (pulled.artifact.hash(), pull.sealed());
        let name = self.arrival.settle(&store, hash, &main.manifest, &sealed.index.provenance, reporter)?;
        if self.json {
            let text = json!({
                "path": store.path_of(hash),
                "artifact": hash,
                "root": sealed.root,
                "name": name,
                "new": pulled.new,
                "bytes_fetched": pulled.fetched,
                "bytes_there": pulled.whole,
                "trusted": !self.arrival.trust.is_empty(),
            });
            println!("{text:#}");
        } else {
            println!("{}", store.path_of(hash).display());
        }
        reporter.line(format!(
            "{} of {} fetched; root {}",
            bytes(pulled.fetched),
            bytes(pulled.whole),
            sealed.root
        ));
        Ok(())
    }
}
