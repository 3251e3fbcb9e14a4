//! `samovar why`

use serde_json::{Value, json};

use super::locked_recipe::PlannedBuild;
use crate::error::Result;
use crate::plan::{Planned, Record};

/// Say what a build would do, and what has changed since the last one
///
/// Of each step that is to be done again it is told which packages, fields of the recipe and files are not what they were.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    build: PlannedBuild,
    /// As JSON
    ///
    /// An array with an object for each step, in their order: the `step`, its `state` ("up to date" or "to be built"), and
    /// the `reasons`, none if nothing is to be done.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let (store, file, steps) = self.build.read()?;
        let record = Record::load(&store, &file.recipe.name)?;
        let reasons: Vec<Vec<String>> = steps.iter().map(|step| reasons(step, &steps, &record)).collect();
        if self.json {
            let steps = steps.iter().zip(&reasons).map(
                |(step, reasons)| json!({ "step": step.target.name(), "state": step.state(), "reasons": reasons }),
            );
            println!("{:#}", Value::from_iter(steps));
            return Ok(());
        }
        for (step, reasons) in steps.iter().zip(&reasons) {
            println!("{}: {}", step.target.name(), step.state());
            reasons.iter().for_each(|reason| println!("  {reason}"));
        }
        Ok(())
    }
}

/// Why a step is to be done; nothing if it is not.
fn reasons(step: &Planned, all: &[Planned], record: &Record) -> Vec<String> {
    if step.artifact.is_some() {
        return Vec::new();
    }
    let Some((inputs, _)) = &step.inputs else {
        let is_to_be_done = |target| all.iter().any(|step| step.target == target && step.artifact.is_none());
        let needed = step.needs.iter().filter(|(_, target)| is_to_be_done(*target));
        return needed.map(|(role, _)| format!("the {role} is to be built first")).collect();
    };
    let Some(earlier) = record.step(step.target) else {
        return vec!["was not built before".into()];
    };
    match inputs.changes_since(earlier) {
        none if none.is_empty() => vec!["what came of it is no longer in the store".into()],
        changes => changes,
    }
}
