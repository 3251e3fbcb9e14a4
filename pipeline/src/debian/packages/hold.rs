//! Packages that are held back at another version than the newest, and which of them stand in the way.

use std::collections::BTreeSet;

use super::{Index, Package, conflicts, dependencies};
use crate::debian::relation::Relation;
use crate::error::Result;

impl Index {
    /// Holds a package back: from now on this version is the one that can be had. An older one in the lists of a mirror
    /// that is behind is no way out of it.
    pub fn hold(&mut self, package: Package) {
        let (name, version) = (package.name.clone(), package.version.clone());
        let newest = self.packages.insert(name.clone(), package);
        let newest = newest.filter(|newest| newest.version >= version);
        self.held.entry(name).or_insert(newest);
    }

    /// No longer holds a package back.
    pub fn release(&mut self, name: &str) {
        match self.held.remove(name) {
            Some(Some(newest)) => drop(self.packages.insert(name.to_owned(), newest)),
            Some(None) => drop(self.packages.remove(name)),
            None => {}
        }
    }

    /// The held packages that stand in the way of others, these or held ones themselves: a newer version of them would
    /// do where the held one does not, or it is they that need what can no longer be had or cannot be with the others.
    pub fn hindrances(&self, others: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for name in others.iter().chain(self.held.keys()) {
            let Some(package) = self.packages.get(name) else { continue };
            for group in dependencies(package)? {
                if group.iter().any(|relation| self.can_be_met(relation)) {
                    continue;
                }
                let newer = group.iter().find(|relation| {
                    let newest = self.held.get(&relation.name).and_then(Option::as_ref);
                    newest.is_some_and(|newest| relation.accepts(&newest.version))
                });
                match newer {
                    Some(relation) => drop(found.insert(relation.name.clone())),
                    None if self.held.contains_key(name) => drop(found.insert(name.clone())),
                    None => {}
                }
            }
            for conflict in conflicts(package)? {
                let hits = |other: &Package| other.name == conflict.name && conflict.accepts(&other.version);
                if conflict.name == *name || !self.packages.get(&conflict.name).is_some_and(hits) {
                    continue;
                }
                match self.held.get(&conflict.name) {
                    Some(Some(newest)) if !hits(newest) => drop(found.insert(conflict.name.clone())),
                    _ if self.held.contains_key(name) && others.contains(&conflict.name) => {
                        found.insert(name.clone());
                    }
                    _ => {}
                }
            }
        }
        Ok(found)
    }

    /// The names in held packages' dependencies of which there is no package at all.
    pub fn absent_for_held(&self) -> Result<BTreeSet<String>> {
        let mut absent = BTreeSet::new();
        for package in self.held.keys().filter_map(|name| self.packages.get(name)) {
            let relations = dependencies(package)?.into_iter().flatten();
            absent.extend(relations.map(|relation| relation.name).filter(|name| self.get(name).is_none()));
        }
        Ok(absent)
    }

    /// Whether any package meets a relation.
    fn can_be_met(&self, relation: &Relation) -> bool {
        self.get(&relation.name).is_some_and(|package| relation.accepts(&package.version))
            || self.providers(&relation.name).any(|(_, version)| relation.accepts_provided(version))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{index, stanza};
    use super::*;
    use crate::debian::sources::Archive;

    fn package(name: &str, version: &str, more: &str) -> Package {
        Package::of_text(name, &stanza(name, version, more), Archive::Debian, "old").unwrap()
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_held_package_is_the_one_that_can_be_had() {
        let mut index = index(&[&[stanza("a", "2", "Provides: x"), stanza("b", "1", "")]]);
        index.hold(package("a", "1", "Provides: y"));
        index.hold(package("gone", "1", ""));
        index.finish().unwrap();
        assert_eq!(index.get("a").unwrap().version.as_str(), "1");
        assert!(index.get("gone").is_some());
        assert_eq!((index.providers("x").count(), index.providers("y").count()), (0, 1));
        index.release("a");
        index.release("gone");
        index.release("b");
        index.finish().unwrap();
        assert_eq!(index.get("a").unwrap().version.as_str(), "2");
        assert!(index.get("gone").is_none() && index.get("b").is_some());
        assert_eq!((index.providers("x").count(), index.providers("y").count()), (1, 0));
    }

    #[test]
    fn what_stands_in_the_way() {
        let list = [
            stanza("app", "2", "Depends: lib (>= 2), tool"),
            stanza("lib", "2", ""),
            stanza("lib-bin", "2", "Depends: lib (= 2)"),
            stanza("tool", "2", ""),
        ];
        let mut index = index(&[&list]);
        assert!(index.hindrances(&names(&["app", "lib", "lib-bin"])).unwrap().is_empty());
        index.hold(package("lib", "1", ""));
        index.hold(package("lib-bin", "1", "Depends: lib (= 1)"));
        index.hold(package("tool", "1", ""));
        index.finish().unwrap();
        // `app` needs a newer library; then the library's own programs, which fit only the old one, are next.
        assert_eq!(index.hindrances(&names(&["app"])).unwrap(), names(&["lib"]));
        index.release("lib");
        assert_eq!(index.hindrances(&names(&["app"])).unwrap(), names(&["lib-bin"]));
        index.release("lib-bin");
        assert!(index.hindrances(&names(&["app"])).unwrap().is_empty());
    }

    #[test]
    fn what_cannot_be_together_stands_in_the_way() {
        let list = [
            stanza("app", "2", "Breaks: lib (<< 2), other"),
            stanza("lib", "2", ""),
            stanza("tool", "2", ""),
            stanza("other", "2", ""),
        ];
        let mut index = index(&[&list]);
        index.hold(package("lib", "1", ""));
        index.hold(package("tool", "1", "Conflicts: app (>= 2)"));
        index.hold(package("other", "1", ""));
        index.finish().unwrap();
        assert_eq!(index.hindrances(&names(&["app"])).unwrap(), names(&["lib", "tool"]));
    }

    #[test]
    fn an_older_package_is_no_way_out() {
        let mut index = index(&[&[stanza("app", "1", "Depends: lib (= 1)"), stanza("lib", "1", "")]]);
        index.hold(package("lib", "2", ""));
        index.finish().unwrap();
        assert!(index.hindrances(&names(&["app", "lib"])).unwrap().is_empty());
    }
}
