//! What is done with an artifact that came from elsewhere.

use bundle::TrustedKey;
use store::{Hash, Manifest, Store};

use crate::error::Result;
use crate::reporter::Reporter;

/// A key as the command line has it.
pub(super) fn trusted_key(text: &str) -> Result<TrustedKey, String> {
    TrustedKey::find(text).map_err(|error| error.to_string())
}

/// Makes a name lead to the artifact, so that it is not cleaned away: the one that was `asked` for, or else its recipe's.
/// One that an artifact brings does not take another artifact's place.
pub(super) fn name_arrived(
    store: &Store,
    hash: &Hash,
    manifest: &Manifest,
    asked: Option<&str>,
    reporter: Reporter,
) -> Result<Option<String>> {
    if let Some(name) = asked {
        store.set_name(name, hash)?;
        return Ok(Some(name.into()));
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
