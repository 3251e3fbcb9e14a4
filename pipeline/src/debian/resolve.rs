//! Which packages come along with those that a recipe names.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::packages::{Index, Package, dependencies};
use super::relation::Relation;
use crate::error::{Error, Result};

/// The named packages and all they depend on, less the excluded ones, sorted by name.
///
/// A dependency that an already chosen package satisfies adds nothing, and named packages are chosen first, so a
/// recipe decides among alternatives by naming one. Otherwise the first alternative that can be had is taken, and
/// among providers the first by name.
pub fn closure<'a>(index: &'a Index, named: &[String], excluded: &[String]) -> Result<Vec<&'a Package>> {
    let excluded: BTreeSet<&str> = excluded.iter().map(String::as_str).collect();
    let mut chosen: BTreeMap<&str, &Package> = BTreeMap::new();
    let mut queue: VecDeque<&Package> = VecDeque::new();
    for name in named {
        let package = find(index, name)?;
        if chosen.insert(&package.name, package).is_none() {
            queue.push_back(package);
        }
    }
    while let Some(package) = queue.pop_front() {
        for group in dependencies(package)? {
            let satisfied = group.iter().any(|relation| {
                excluded.contains(relation.name.as_str()) || is_satisfied(index, &chosen, relation)
            });
            if satisfied {
                continue;
            }
            let addition = group.iter().find_map(|relation| candidate(index, relation, &chosen, &excluded));
            let addition = addition.ok_or_else(|| {
                let alternatives: Vec<String> = group.iter().map(ToString::to_string).collect();
                Error::Unresolved(format!(
                    "package {} depends on {}, which cannot be had together with the rest",
                    package.name,
                    alternatives.join(" | ")
                ))
            })?;
            chosen.insert(&addition.name, addition);
            queue.push_back(addition);
        }
    }
    Ok(chosen.into_values().collect())
}

/// The kernel package that `name` stands for: a package that depends on exactly one version of one kernel image,
/// as `linux-image-arm64` does, leads to that one. Only the image is taken: the initramfs is our own.
pub fn kernel<'a>(index: &'a Index, name: &str) -> Result<&'a Package> {
    let package = find(index, name)?;
    let groups = dependencies(package)?;
    let mut images = groups.iter().flatten().filter(|relation| relation.name.starts_with("linux-image-"));
    match (images.next(), images.next()) {
        (None, _) => Ok(package),
        (Some(relation), None) => {
            let image = index.get(&relation.name).filter(|image| relation.accepts(&image.version));
            image.ok_or_else(|| {
                Error::Unresolved(format!("package {name} needs {relation}, which cannot be had"))
            })
        }
        (Some(_), Some(_)) => {
            Err(Error::Unresolved(format!("package {name} depends on several kernel images")))
        }
    }
}

fn find<'a>(index: &'a Index, name: &str) -> Result<&'a Package> {
    index.get(name).ok_or_else(|| {
        let nearest = index.nearest(name).map(|near| format!("; there is {near}")).unwrap_or_default();
        Error::Unresolved(format!("there is no package {name}{nearest}"))
    })
}

fn is_satisfied(index: &Index, chosen: &BTreeMap<&str, &Package>, relation: &Relation) -> bool {
    if chosen.get(relation.name.as_str()).is_some_and(|package| relation.accepts(&package.version)) {
        return true;
    }
    index
        .providers(&relation.name)
        .any(|(package, version)| chosen.contains_key(&*package.name) && relation.accepts_provided(version))
}

fn candidate<'a>(
    index: &'a Index,
    relation: &Relation,
    chosen: &BTreeMap<&str, &Package>,
    excluded: &BTreeSet<&str>,
) -> Option<&'a Package> {
    let real = index.get(&relation.name).filter(|package| relation.accepts(&package.version));
    real.or_else(|| {
        let provides = |(package, version): (&'a Package, _)| {
            (relation.accepts_provided(version) && !excluded.contains(&*package.name)).then_some(package)
        };
        index.providers(&relation.name).find_map(provides)
    })
    // Only one version of a package can be had; a chosen one of the wrong version cannot be mended.
    .filter(|package| !chosen.contains_key(&*package.name))
}

#[cfg(test)]
mod tests {
    use super::super::packages::tests::{index, stanza};
    use super::*;

    fn names(index: &Index, named: &[&str], excluded: &[&str]) -> Result<Vec<String>, String> {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        closure(index, &own(named), &own(excluded))
            .map(|packages| packages.iter().map(|package| package.name.clone()).collect())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn dependencies_come_along() {
        let index = index(&[&[
            stanza("a", "1", "Pre-Depends: d\nDepends: b (>= 2), c | x"),
            stanza("b", "2", "Depends: a"),
            stanza("c", "1", ""),
            stanza("d", "1", ""),
            stanza("x", "1", ""),
            stanza("y", "1", "Provides: c (= 3)"),
        ]]);
        assert_eq!(names(&index, &["a"], &[]).unwrap(), ["a", "b", "c", "d"]);
        assert_eq!(names(&index, &["a", "x"], &[]).unwrap(), ["a", "b", "d", "x"], "a named alternative");
        assert_eq!(names(&index, &["a", "y"], &[]).unwrap(), ["a", "b", "d", "y"], "a named provider");
        assert_eq!(names(&index, &["a"], &["c", "d"]).unwrap(), ["a", "b"], "excluded");
    }

    #[test]
    fn virtual_packages() {
        let index = index(&[&[
            stanza("a", "1", "Depends: mail"),
            stanza("b", "1", "Depends: mail (>= 2)"),
            stanza("m1", "1", "Provides: mail"),
            stanza("m2", "1", "Provides: mail (= 2)"),
        ]]);
        assert_eq!(names(&index, &["a"], &[]).unwrap(), ["a", "m1"]);
        assert_eq!(names(&index, &["b"], &[]).unwrap(), ["b", "m2"], "only a versioned provider will do");
        assert_eq!(names(&index, &["a"], &["m1"]).unwrap(), ["a", "m2"]);
    }

    #[test]
    fn what_cannot_be_had_is_named() {
        let index = index(&[&[stanza("firefox-esr", "1", "Depends: libc (>= 2)"), stanza("libc", "1", "")]]);
        let error = names(&index, &["firefox-esr"], &[]).unwrap_err();
        assert!(error.contains("firefox-esr depends on libc (>= 2)"), "{error}");
        let error = names(&index, &["firefox-ers"], &[]).unwrap_err();
        assert_eq!(error, "there is no package firefox-ers; there is firefox-esr");
    }

    #[test]
    fn a_meta_package_leads_to_its_kernel() {
        let meta = |version: &str| {
            stanza("linux-image-arm64", "6.12-1", &format!("Depends: linux-image-6.12-arm64 (= {version})"))
        };
        let image = stanza("linux-image-6.12-arm64", "6.12-1", "Depends: kmod, initramfs-tools | x");
        let good = index(&[&[meta("6.12-1"), image.clone()]]);
        for name in ["linux-image-arm64", "linux-image-6.12-arm64"] {
            assert_eq!(kernel(&good, name).unwrap().name, "linux-image-6.12-arm64");
        }
        let bad = index(&[&[meta("6.12-2"), image]]);
        assert!(kernel(&bad, "linux-image-arm64").is_err());
    }
}
