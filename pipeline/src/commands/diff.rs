//! `samovar diff`

use serde_json::json;

use super::store_option::StoreOption;
use crate::diff;
use crate::error::Result;
use crate::reporter::Reporter;

/// Say what two artifacts differ in
///
/// What they need is compared, too: packages by name, root file systems file by file, memory page by page, a machine's
/// state field by field. What comes first is often why the rest differs.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name, a hash or its beginning, or a directory
    first: String,
    /// Another one
    second: String,
    #[command(flatten)]
    store: StoreOption,
    /// As JSON
    ///
    /// An array with an object for each difference: the `place`, which is the roles, the file and what is in it, and the
    /// `change`.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let (first, second) = (self.store.find(&self.first)?, self.store.find(&self.second)?);
        let differences = diff::artifacts(&first, &second)?;
        if self.json {
            println!("{:#}", json!(differences));
            return Ok(());
        }
        for difference in &differences {
            println!("{difference}");
        }
        if differences.is_empty() {
            Reporter::new().line("they are the same");
        }
        Ok(())
    }
}
