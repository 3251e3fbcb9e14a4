//! `samovar unpack`

use std::path::{Path, PathBuf};

use bundle::{Bundle, TrustedKey};
use serde_json::json;

use super::arrived::{name_arrived, trusted_key};
use super::store_option::StoreOption;
use crate::error::Result;
use crate::provenance::Provenance;
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
    /// Refuse the bundle unless one of these keys signed it: a public key's file, or the key itself
    #[arg(long, value_name = "PUBKEY", value_parser = trusted_key)]
    trust: Vec<TrustedKey>,
    /// What to call the artifact in the store [default: its recipe's name, unless that leads to another one]
    #[arg(long)]
    name: Option<String>,
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
        match (&*self.trust, bundle.signer()) {
            ([], None) => {}
            ([], Some(signer)) => reporter.line(format!(
                "it says that it is signed by key {signer}, which was not checked: --trust does it"
            )),
            (keys, _) => bundle.trusted_by(keys)?,
        }
        runner::bundled::check_fit(&bundle)?;
        let store = self.store.open(Path::new("."))?;
        let bar = reporter.working("unpacking");
        let unpacked = bundle.unpack(&store, &mut |done, total| bar.progress(done, total))?;
        drop(bar);
        let hash = unpacked.artifact.hash();
        // What this store knows itself counts more than what came along.
        if Provenance::recorded(&store, hash)?.is_empty() && !bundle.head().provenance.is_empty() {
            store.set_provenance(hash, bundle.head().provenance.as_bytes())?;
        }
        let manifest = &bundle.main().manifest;
        let name = name_arrived(&store, hash, manifest, self.name.as_deref(), reporter)?;
        if self.json {
            let text = json!({
                "path": store.path_of(hash),
                "artifact": hash,
                "root": bundle.root(),
                "name": name,
                "new": unpacked.new,
                "trusted": !self.trust.is_empty(),
            });
            println!("{text:#}");
        } else {
            println!("{}", store.path_of(hash).display());
        }
        Ok(())
    }
}
