//! What became of a package between two locks.

use std::fmt::{self, Display, Formatter};

use serde::Serialize;

use super::Lock;

/// A package that was added, removed, or taken in another version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The package.
    pub name: String,
    /// The version in the earlier lock, if it was there.
    pub before: Option<String>,
    /// The version now, if it is there.
    pub after: Option<String>,
}

impl Display for Change {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => write!(f, "{name} {before} -> {after}"),
            (Some(before), None) => write!(f, "{name} {before} removed"),
            (None, Some(after)) => write!(f, "{name} {after} added"),
            (None, None) => write!(f, "{name}"),
        }
    }
}

impl Lock {
    /// What differs from an earlier lock, package by package, in the order of their names.
    pub fn changes_since(&self, earlier: &Lock) -> Vec<Change> {
        let version = |lock: &Lock, name: &str| {
            lock.packages.iter().find(|package| package.name == name).map(|package| package.version.clone())
        };
        let mut names: Vec<&String> =
            self.packages.iter().chain(&earlier.packages).map(|package| &package.name).collect();
        names.sort();
        names.dedup();
        let change = |name: &String| Change {
            name: name.clone(),
            before: version(earlier, name),
            after: version(self, name),
        };
        names.into_iter().map(change).filter(|change| change.before != change.after).collect()
    }
}
