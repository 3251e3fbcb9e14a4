//! `samovar tree`

use serde_json::{Value, json};
use store::Hash;

use super::locked_recipe::PlannedBuild;
use crate::error::Result;
use crate::plan::Planned;

/// How much of a hash is shown: enough for other commands to find it by.
const SHOWN: usize = 12;

/// Show the steps of a build, their keys, and what is there already
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    build: PlannedBuild,
    /// As JSON, with whole hashes
    ///
    /// An array with an object for each step, in their order: the `step`, what it `needs`, its `key` and the `inputs` that
    /// the key is the hash of (null as long as what it needs is to be built), its `state` ("up to date" or "to be built"),
    /// and the hash of its `artifact` or null.
    #[arg(long)]
    json: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        let (_, file, steps) = self.build.read()?;
        if self.json {
            println!("{:#}", Value::from_iter(steps.iter().map(as_json)));
            return Ok(());
        }
        println!("{}", file.recipe.name);
        let Some((last, needed)) = steps.split_last() else { return Ok(()) };
        println!("└─ {}", line(last));
        for (number, step) in needed.iter().enumerate() {
            let branch = if number + 1 == needed.len() { "└─" } else { "├─" };
            println!("   {branch} {}", line(step));
        }
        Ok(())
    }
}

fn line(step: &Planned) -> String {
    let short = |hash: Hash| hash.to_string()[..SHOWN].to_owned();
    let key = step.inputs.as_ref().map_or_else(|| "-".repeat(SHOWN), |(_, key)| short(*key));
    let artifact = step.artifact.map(|hash| format!("  {}", short(hash))).unwrap_or_default();
    format!("{:9}  key {key}  {}{artifact}", step.target.name(), step.state())
}

fn as_json(step: &Planned) -> Value {
    let needs: Vec<&str> = step.needs.iter().map(|(role, _)| *role).collect();
    json!({
        "step": step.target.name(),
        "needs": needs,
        "key": step.inputs.as_ref().map(|(_, key)| key),
        "inputs": step.inputs.as_ref().map(|(inputs, _)| inputs),
        "state": step.state(),
        "artifact": step.artifact,
    })
}
