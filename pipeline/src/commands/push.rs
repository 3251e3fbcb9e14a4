//! `samovar push`

use std::path::PathBuf;

use bundle::SigningKey;
use serde_json::json;
use share::{Push, Remote};

use super::store_option::StoreOption;
use crate::error::Result;
use crate::provenance::Provenance;
use crate::reporter::{Reporter, bytes};

/// Send an artifact and all that it needs to a directory or a registry, and print its hash
///
/// What the remote has already, of this artifact or of the last one of its name, is not sent again, page by page. Nothing
/// leads to the artifact there before all of it is there, and what was interrupted goes on where it stopped. `samovar
/// pull` fetches it from there, or from a web server that serves the directory. What is known of how the artifact was made
/// goes with it, as with `samovar pack`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name, a hash or its beginning, or a directory
    artifact: String,
    /// A directory, or oci://HOST[:PORT]/REPOSITORY
    remote: String,
    #[command(flatten)]
    store: StoreOption,
    /// What leads to the artifact there, besides its hash [default: its recipe's name]
    #[arg(long)]
    name: Option<String>,
    /// Sign with a secret key of `samovar keygen`, or of minisign without a password
    #[arg(long, value_name = "KEYFILE")]
    sign: Option<PathBuf>,
    /// As JSON
    ///
    /// An object with the hash of the `artifact`, the `name` that leads to it there or null, the `root` of its index, the
    /// `bytes` of its content, the `bytes_sent`, compressed, and the `bytes_there` before, and whether it is `signed`.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let reporter = Reporter::new();
        let key = self.sign.as_deref().map(SigningKey::read).transpose()?;
        let remote = Remote::parse(&self.remote)?;
        let artifact = self.store.find(&self.artifact)?;
        let _hold = artifact.hold()?;
        let provenance = Provenance::recorded_beside(&artifact)?;
        if provenance.is_empty() {
            reporter.line("how it was made is not known here, so nobody can check it by building it again");
        }
        let own = artifact.manifest().meta.get("recipe").and_then(|name| name.as_str());
        let name = self.name.as_deref().or_else(|| own.filter(|name| crate::recipe::is_name(name)));
        let bar = reporter.working("pushing");
        let push = Push { artifact: &artifact, provenance: &provenance, key: key.as_ref(), name };
        let pushed = push.to(&remote, &mut |done, total| bar.progress(done, total))?;
        drop(bar);
        if self.json {
            let text = json!({
                "artifact": artifact.hash(),
                "name": name,
                "root": pushed.root,
                "bytes": pushed.total,
                "bytes_sent": pushed.sent,
                "bytes_there": pushed.there,
                "signed": key.is_some(),
            });
            println!("{text:#}");
        } else {
            println!("{}", artifact.hash());
        }
        reporter.line(format!(
            "{} sent, {} were there already, for {}; root {}",
            bytes(pushed.sent),
            bytes(pushed.there),
            bytes(pushed.total),
            pushed.root
        ));
        Ok(())
    }
}
