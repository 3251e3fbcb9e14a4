//! `samovar verify`

use std::path::Path;

use bundle::Bundle;
use serde_json::json;
use store::{Artifact, Store};

use super::store_option::StoreOption;
use crate::debian::fetch::Fetcher;
use crate::debian::sources::Mirrors;
use crate::diff::first_difference;
use crate::error::{Error, Result};
use crate::provenance::Provenance;
use crate::rebuild::rebuild;
use crate::reporter::Reporter;

/// Check every byte of an artifact and of all that it needs
///
/// A bundle is unpacked for that, into the store's own room for what is being made, and gone afterwards. With --rebuild
/// the warm base is built again, from the recipe, the lock and the files that came with it, and what differs first is
/// told. Packages that the store has not are fetched.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The artifact's directory, as `build` prints it; or a name, a hash or its beginning; or a bundle
    artifact: String,
    #[command(flatten)]
    store: StoreOption,
    /// Build it again, and say whether the same bytes come out
    #[arg(long)]
    rebuild: bool,
    /// Fetch nothing for it
    #[arg(long, requires = "rebuild")]
    offline: bool,
    /// As JSON
    ///
    /// An object with the artifact's `kind` and `hash`, and with --rebuild the hash of what was `rebuilt` and the first
    /// `difference`; both are null otherwise.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let reporter = Reporter::new();
        let path = Path::new(&self.artifact);
        if !bundle::is_bundle(path) {
            let artifact = self.store.find(&self.artifact)?;
            let _hold = artifact.hold()?;
            artifact.verify()?;
            if !self.rebuild {
                self.say(&artifact, None);
                return Ok(());
            }
            let provenance = Provenance::recorded_beside(&artifact)?;
            return self.compare(&artifact, &provenance, &self.store.open(path)?, reporter);
        }
        let bundle = Bundle::open(path)?;
        let store = self.store.open(Path::new("."))?;
        let scratch = store.scratch()?;
        let place = Store::open(scratch.dir().join("unpacked"))?;
        let bar = reporter.working("unpacking");
        let unpacked = bundle.unpack(&place, &mut |done, total| bar.progress(done, total))?;
        drop(bar);
        if self.rebuild {
            return self.compare(&unpacked.artifact, &bundle.head().provenance, &store, reporter);
        }
        self.say(&unpacked.artifact, None);
        Ok(())
    }

    /// Builds it again and says what came of that.
    fn compare(
        &self,
        artifact: &Artifact,
        provenance: &str,
        store: &Store,
        reporter: Reporter,
    ) -> Result<()> {
        let what = Path::new(&self.artifact);
        if provenance.is_empty() {
            return Err(Error::NotKnown { path: what.into() });
        }
        let provenance = Provenance::parse(what, provenance)?;
        let mirrors = Mirrors::of_host();
        let fetcher = Fetcher::new(&mirrors, self.offline, reporter);
        let scratch = store.scratch()?;
        let rebuilt = rebuild(&provenance, scratch.dir(), store, &fetcher, reporter)?;
        let difference = first_difference(artifact, &rebuilt)?;
        self.say(artifact, Some((&rebuilt, difference.as_deref())));
        match difference {
            None => Ok(()),
            Some(first) => Err(Error::Differs { path: what.into(), found: *rebuilt.hash(), first }),
        }
    }

    fn say(&self, artifact: &Artifact, rebuilt: Option<(&Artifact, Option<&str>)>) {
        let (kind, hash) = (artifact.kind(), artifact.hash());
        if self.json {
            let text = json!({
                "kind": kind,
                "hash": hash,
                "rebuilt": rebuilt.map(|(artifact, _)| artifact.hash()),
                "difference": rebuilt.and_then(|(_, difference)| difference),
            });
            println!("{text:#}");
        } else {
            let same = match rebuilt {
                Some((_, None)) => ", and the same when it is built again",
                _ => "",
            };
            println!("{kind} {hash}{same}");
        }
    }
}
