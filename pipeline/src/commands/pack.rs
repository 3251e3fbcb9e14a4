//! `samovar pack`

use std::path::PathBuf;

use bundle::{Pack, SigningKey};
use serde_json::json;

use super::store_option::StoreOption;
use crate::error::Result;
use crate::provenance::Provenance;
use crate::reporter::{Reporter, bytes};

/// Pack an artifact and all that it needs into one file, and print its path
///
/// The file is the same wherever and by whomever it is packed. `samovar unpack` puts it into a store, and `runner restore`
/// shows it. What is known of how the artifact was made goes with it: the texts of the recipe and its lock, and the files
/// that the recipe names.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name, a hash or its beginning, or a directory
    artifact: String,
    #[command(flatten)]
    store: StoreOption,
    /// The file [default: the recipe's name with .samovar, in the current directory]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Sign with a secret key of `samovar keygen`, or of minisign without a password
    #[arg(long, value_name = "KEYFILE")]
    sign: Option<PathBuf>,
    /// As JSON
    ///
    /// An object with the bundle's `path`, its `root`, the hash of the `artifact`, the bundle's `bytes`, those of all files
    /// unpacked (`bytes_unpacked`) and those that did not have to be stored (`bytes_left_out`), and whether it is `signed`.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let reporter = Reporter::new();
        let key = self.sign.as_deref().map(SigningKey::read).transpose()?;
        let artifact = self.store.find(&self.artifact)?;
        let _hold = artifact.hold()?;
        let provenance = Provenance::recorded_beside(&artifact)?;
        if provenance.is_empty() {
            reporter.line("how it was made is not known here, so nobody can check it by building it again");
        }
        let name = match artifact.manifest().meta.get("recipe").and_then(|name| name.as_str()) {
            Some(name) if crate::recipe::is_name(name) => name.to_owned(),
            _ => artifact.hash().to_string(),
        };
        let output = self.output.unwrap_or_else(|| format!("{name}.samovar").into());
        let bar = reporter.working("packing");
        let pack = Pack { artifact: &artifact, provenance: &provenance, key: key.as_ref(), threads: 0 };
        let summary = pack.write(&output, &mut |done, total| bar.progress(done, total))?;
        drop(bar);
        if self.json {
            let text = json!({
                "path": output,
                "root": summary.root,
                "artifact": artifact.hash(),
                "bytes": summary.bytes,
                "bytes_unpacked": summary.unpacked,
                "bytes_left_out": summary.left_out,
                "signed": key.is_some(),
            });
            println!("{text:#}");
        } else {
            println!("{}", output.display());
        }
        reporter.line(format!(
            "{} in {}: {} are zeros or there twice; root {}",
            bytes(summary.unpacked),
            bytes(summary.bytes),
            bytes(summary.left_out),
            summary.root
        ));
        Ok(())
    }
}
