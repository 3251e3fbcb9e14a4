//! What is done with an artifact that comes from elsewhere.

use bundle::TrustedKey;
use store::{Hash, Manifest, Store};

use crate::error::Result;
use crate::provenance::Provenance;
use crate::reporter::Reporter;

/// What `unpack` and `pull` have in common.
#[derive(Debug, clap::Args)]
pub(super) struct ArrivalOptions {
    /// Refuse it unless one of these keys signed it: a public key's file, or the key itself
    #[arg(long, value_name = "PUBKEY", value_parser = trusted_key)]
    pub(super) trust: Vec<TrustedKey>,
    /// What to call the artifact in the store [default: its recipe's name, unless that leads to another one]
    #[arg(long)]
    name: Option<String>,
}

/// A key as the command line has it.
fn trusted_key(text: &str) -> Result<TrustedKey, String> {
    TrustedKey::find(text).map_err(|error| error.to_string())
}

impl ArrivalOptions {
    /// The keys of which one must have signed it, if there are any. Else says by whom it claims to be `signed`.
    pub(super) fn keys(&self, signed: Option<String>, reporter: Reporter) -> Option<&[TrustedKey]> {
        if !self.trust.is_empty() {
            return Some(&self.trust);
        }
        if let Some(signer) = signed {
            reporter.line(format!(
                "it says that it is signed by key {signer}, which was not checked: --trust does it"
            ));
        }
        None
    }

    /// Keeps how the artifact was made, by the word of who sent it, and makes a name lead to it, so that it is not cleaned
    /// away: the one that was asked for, or else its recipe's. One that an artifact brings does not take another
    /// artifact's place.
    pub(super) fn settle(
        &self,
        store: &Store,
        hash: &Hash,
        manifest: &Manifest,
        provenance: &str,
        reporter: Reporter,
    ) -> Result<Option<String>> {
        // What this store knows itself counts more than what came along.
        if Provenance::recorded(store, hash)?.is_empty() && !provenance.is_empty() {
            store.set_provenance(hash, provenance.as_bytes())?;
        }
        if let Some(name) = &self.name {
            store.set_name(name, hash)?;
            return Ok(Some(name.clone()));
        }
        let own = manifest.meta.get("recipe").and_then(|name| name.as_str());
        let Some(own) = own.filter(|name| crate::recipe::is_name(name)) else { return Ok(None) };
        match store.name(own)? {
            Some(other) if other != *hash => {
                reporter.line(format!("{own} stays the name of {other}; --name gives this one another"));
                Ok(None)
            }
            _ => {
                store.set_name(own, hash)?;
                Ok(Some(own.into()))
            }
        }
    }
}
