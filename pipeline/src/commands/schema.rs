//! `samovar schema`

use crate::error::Result;
use crate::recipe;

/// Print the JSON Schema of recipes, with a description of every field
///
/// Editors complete and check recipes with it: write it to a file, and name that in a recipe's first line, such as
/// `#:schema recipe.schema.json`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        println!("{:#}", recipe::schema());
        Ok(())
    }
}
