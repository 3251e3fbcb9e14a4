//! What two artifacts differ in, down to the files in a root file system, the pages of a memory and the fields of a
//! machine's state.

mod bytes;
mod image;
mod json;

use std::collections::BTreeSet;
use std::fmt::{self, Display, Formatter};

use serde::Serialize;
use serde_json::Value;
use store::{Artifact, FileEntry, Hash};

use crate::error::{Error, Result};

/// Something in which two artifacts differ.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Where: the roles that lead there, the file, what is in it.
    pub place: Vec<String>,
    /// What became of it.
    pub change: String,
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place.join(" > "), self.change)
    }
}

/// What becomes of something that only one side has.
const NEW: &str = "only in the second";
const GONE: &str = "only in the first";

/// A machine's state and lists of software are far shorter; what is longer is compared as bytes.
const MAX_JSON: u64 = 64 << 20;

/// Differences as they are found.
#[derive(Debug, Default)]
struct Found {
    place: Vec<String>,
    all: Vec<Difference>,
}

impl Found {
    fn add(&mut self, at: impl Into<String>, change: impl Into<String>) {
        let place = self.place.iter().cloned().chain([at.into()]).collect();
        self.all.push(Difference { place, change: change.into() });
    }

    /// Looks at what is below a place.
    fn below<T>(&mut self, at: &str, look: impl FnOnce(&mut Found) -> T) -> T {
        self.place.push(at.to_owned());
        let value = look(self);
        self.place.pop();
        value
    }
}

/// Compares two artifacts and all that they need.
pub fn artifacts(first: &Artifact, second: &Artifact) -> Result<Vec<Difference>> {
    let mut found = Found::default();
    compare(first, second, &mut found, &mut BTreeSet::new())?;
    Ok(found.all)
}

/// What two artifacts differ in first, in a line: what they need comes before what came of it. None if they are the same.
pub fn first_difference(first: &Artifact, second: &Artifact) -> Result<Option<String>> {
    if first.hash() == second.hash() {
        return Ok(None);
    }
    let found = artifacts(first, second)?;
    Ok(Some(found.first().map_or_else(|| "what their manifests say".into(), Difference::to_string)))
}

/// `seen` are the pairs that were compared: a pair may be needed twice, and forged ones may need each other in a circle.
fn compare(
    first: &Artifact,
    second: &Artifact,
    found: &mut Found,
    seen: &mut BTreeSet<(Hash, Hash)>,
) -> Result<()> {
    if first.hash() == second.hash() || !seen.insert((*first.hash(), *second.hash())) {
        return Ok(());
    }
    if first.kind() != second.kind() {
        found.add("kind", format!("{} -> {}", first.kind(), second.kind()));
    }
    // What something is made of comes first: it is why the rest differs.
    let (needs, others) = (&first.manifest().needs, &second.manifest().needs);
    for role in union(needs.keys(), others.keys()) {
        match (needs.get(role), others.get(role)) {
            (Some(_), None) => found.add(role, GONE),
            (None, _) => found.add(role, NEW),
            (Some(one), Some(other)) if one != other => {
                let (one, other) = (first.need(role)?, second.need(role)?);
                found.below(role, |found| compare(&one, &other, found, seen))?;
            }
            _ => {}
        }
    }
    json::compare(&first.manifest().meta, &second.manifest().meta, found);
    let names = |artifact: &Artifact| -> BTreeSet<String> {
        artifact.manifest().files.iter().map(|file| file.name.clone()).collect()
    };
    let (names, others) = (names(first), names(second));
    for name in names.union(&others) {
        match (first.manifest().file(name), second.manifest().file(name)) {
            (Some(_), None) => found.add(name, GONE),
            (None, _) => found.add(name, NEW),
            (Some(one), Some(other)) if one == other => {}
            (Some(one), Some(other)) => {
                found.below(name, |found| files((first, one), (second, other), found))?;
            }
        }
    }
    Ok(())
}

/// Compares two files of one name, of which it is known that they differ.
fn files(first: (&Artifact, &FileEntry), second: (&Artifact, &FileEntry), found: &mut Found) -> Result<()> {
    let name = &first.1.name;
    let (one, other) = (first.0.file(name)?, second.0.file(name)?);
    let before = found.all.len();
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "ext4" => image::compare(&one, &other, found)?,
        "img" => bytes::pages(&one, &other, found)?,
        "json" if first.1.size.max(second.1.size) <= MAX_JSON => {
            let value = |artifact: &Artifact| -> Result<Value> {
                let malformed = |error| Error::malformed(artifact.dir().join(name).display(), error);
                serde_json::from_slice(&artifact.read(name)?).map_err(malformed)
            };
            json::compare(&value(first.0)?, &value(second.0)?, found);
        }
        _ => {}
    }
    if found.all.len() == before {
        bytes::first(&one, &other, found)?;
    }
    Ok(())
}

fn union<'a, T: Ord>(
    one: impl Iterator<Item = &'a T>,
    other: impl Iterator<Item = &'a T>,
) -> BTreeSet<&'a T> {
    one.chain(other).collect()
}

#[cfg(test)]
mod tests;
