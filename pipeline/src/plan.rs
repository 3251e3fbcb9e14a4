//! Which steps a build has, what goes into each, and which of them are to be done.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use store::{Hash, Store};

use crate::build::Target;
use crate::error::Result;
use crate::inputs::Inputs;
use crate::lock::Lock;
use crate::recipe::RecipeFile;

/// A step of a build, as it stands.
#[derive(Debug)]
pub struct Planned {
    /// The step.
    pub target: Target,
    /// What it needs, by role: steps before it.
    pub needs: &'static [(&'static str, Target)],
    /// What goes into it and its key; of a step after one that is still to be done neither is known.
    pub inputs: Option<(Inputs, Hash)>,
    /// What came of it, if it was done.
    pub artifact: Option<Hash>,
}

impl Planned {
    /// How it stands, in a few words.
    pub fn state(&self) -> &'static str {
        match self.artifact {
            Some(_) => "up to date",
            None => "to be built",
        }
    }
}

/// The steps that lead to `target`, each after those it needs.
pub fn plan(file: &RecipeFile, lock: &Lock, store: &Store, target: Target) -> Result<Vec<Planned>> {
    let mut steps: Vec<Planned> = Vec::new();
    for target in target.needs().iter().map(|(_, target)| *target).chain([target]) {
        let mut needs = BTreeMap::new();
        for (role, need) in target.needs() {
            let step = steps.iter().find(|step| step.target == *need);
            needs.extend(step.and_then(|step| step.artifact).map(|hash| ((*role).to_owned(), hash)));
        }
        let mut step = Planned { target, needs: target.needs(), inputs: None, artifact: None };
        if needs.len() == target.needs().len() {
            let inputs = Inputs::of(file, lock, target, &needs)?;
            let key = inputs.key(target);
            step.artifact = store.step(&key)?;
            step.inputs = Some((inputs, key));
        }
        steps.push(step);
    }
    Ok(steps)
}

/// The hash of all that goes into a build, whatever is built already.
pub fn whole_key(file: &RecipeFile, lock: &Lock) -> Result<Hash> {
    let mut keys = BTreeMap::new();
    for (role, target) in Target::WarmBase.needs() {
        keys.insert((*role).to_owned(), Inputs::of(file, lock, *target, &BTreeMap::new())?.key(*target));
    }
    Ok(Inputs::of(file, lock, Target::WarmBase, &keys)?.key(Target::WarmBase))
}

/// What went into each step of the last build of a name, for the next one to be compared with.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Record(BTreeMap<String, Inputs>);

impl Record {
    /// The record of the recipe's name; an empty one if there is none that can be read.
    pub fn load(store: &Store, name: &str) -> Result<Record> {
        let bytes = store.record(name)?.unwrap_or_default();
        Ok(serde_json::from_slice(&bytes).unwrap_or_default())
    }

    /// What went into a step.
    pub fn step(&self, target: Target) -> Option<&Inputs> {
        self.0.get(target.name())
    }

    /// Notes what went into a step.
    pub fn note(&mut self, target: Target, inputs: Inputs) {
        self.0.insert(target.name().to_owned(), inputs);
    }

    /// Keeps it for the next build.
    pub fn save(&self, store: &Store, name: &str) -> Result<()> {
        // Maps with keys of text have no way to fail.
        Ok(store.set_record(name, &serde_json::to_vec(self).unwrap_or_default())?)
    }
}
