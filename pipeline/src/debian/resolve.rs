//! Which packages come along with those that a recipe names.
//!
//! The choice is apt's, as `apt-get install --no-install-recommends` makes it on a system with no package at all: the
//! named packages come first, then the dependencies of each, depth first and in the order they are written in;
//! among alternatives the first that can be had; for a name that several packages provide, the package of that very
//! name, then the one that matters most to Debian. A test compares the two (`tests/resolution.rs`).
//! Where a choice leads to a conflict it is taken back and the next one tried. A choice made long before the conflict is not
//! reached that way; then the search begins anew, with what stood in the way as the last choice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use super::ARCHITECTURE;
use super::packages::{self, Index, Package};
use super::relation::{Qualifier, Relation};
use super::version::Version;
use crate::error::{Error, Result};

/// How often a choice is taken back before a search is given up. Debian's own packages need it a few times;
/// the number only keeps a hopeless search short.
const MAX_RETREATS: usize = 1000;

/// How often a search is begun anew.
const MAX_SEARCHES: usize = 20;

/// The named packages and all they depend on, less the excluded ones, sorted by name.
///
/// A dependency that an already chosen package satisfies adds nothing, so a recipe decides among alternatives by
/// naming one. One on an excluded package counts as satisfied.
pub fn closure<'a>(index: &'a Index, named: &[String], excluded: &[String]) -> Result<Vec<&'a Package>> {
    let excluded: BTreeSet<&str> = excluded.iter().map(String::as_str).collect();
    let mut avoided = BTreeSet::new();
    let mut first = None;
    for _ in 0..MAX_SEARCHES {
        let mut search = Search::new(index, &excluded, &avoided);
        let error = match search.closure(named) {
            Ok(()) => return Ok(search.chosen.into_values().collect()),
            Err(error) => error,
        };
        let new = search.culprit.filter(|name| !avoided.contains(name));
        // What stood in the way first is what a person can do something about.
        first.get_or_insert(error);
        match new {
            Some(name) => avoided.insert(name),
            None => break,
        };
    }
    Err(first.unwrap_or_else(|| Error::Unresolved("the packages cannot be had together".into())))
}

/// What a package's fields say, taken apart once.
#[derive(Debug)]
struct Described {
    depends: Vec<Vec<Relation>>,
    conflicts: Vec<Relation>,
    provides: Vec<(String, Option<Version>)>,
}

/// A dependency to be satisfied, and the one after it.
#[derive(Debug, Clone)]
struct Goal<'a> {
    package: &'a Package,
    described: Rc<Described>,
    group: usize,
    next: Option<usize>,
}

/// Why a package cannot be chosen.
#[derive(Debug)]
struct Obstacle<'a> {
    reason: String,
    /// The chosen package that is in its way.
    other: &'a Package,
}

/// A dependency that was satisfied by one of several packages.
#[derive(Debug)]
struct Choice<'a> {
    goal: Goal<'a>,
    /// The candidates not tried yet, the next one last.
    left: Vec<&'a Package>,
    /// How much there was before it.
    chosen: usize,
    goals: usize,
}

#[derive(Debug)]
struct Search<'a, 'e> {
    index: &'a Index,
    excluded: &'e BTreeSet<&'e str>,
    /// What is chosen only if nothing else will do.
    avoided: &'e BTreeSet<&'a str>,
    known: HashMap<&'a str, Rc<Described>>,
    chosen: BTreeMap<&'a str, &'a Package>,
    /// The chosen packages in the order they were chosen in.
    order: Vec<&'a Package>,
    /// What chosen packages cannot be together with, by name.
    conflicts: HashMap<String, Vec<(&'a Package, Relation)>>,
    goals: Vec<Goal<'a>>,
    choices: Vec<Choice<'a>>,
    /// What stood in the way first. Later obstacles are met on detours.
    obstacle: Option<String>,
    /// The chosen package that stood in the way first.
    culprit: Option<&'a str>,
}

impl<'a, 'e> Search<'a, 'e> {
    fn new(
        index: &'a Index,
        excluded: &'e BTreeSet<&'e str>,
        avoided: &'e BTreeSet<&'a str>,
    ) -> Search<'a, 'e> {
        Search {
            index,
            excluded,
            avoided,
            known: HashMap::new(),
            chosen: BTreeMap::new(),
            order: Vec::new(),
            conflicts: HashMap::new(),
            goals: Vec::new(),
            choices: Vec::new(),
            obstacle: None,
            culprit: None,
        }
    }

    /// Chooses the named packages and all they depend on.
    fn closure(&mut self, named: &[String]) -> Result<()> {
        for name in named {
            let package = find(self.index, name)?;
            if self.chosen.contains_key(&*package.name) {
                continue;
            }
            let described = self.described(package)?;
            if let Some(obstacle) = self.obstacle(package, &described) {
                return Err(Error::Unresolved(obstacle.reason));
            }
            self.choose(package, &described);
        }
        let mut goals = None;
        for package in self.order.clone().into_iter().rev() {
            goals = self.goals_of(package, goals)?;
        }
        self.run(goals)
    }

    fn described(&mut self, package: &'a Package) -> Result<Rc<Described>> {
        if let Some(described) = self.known.get(&*package.name) {
            return Ok(described.clone());
        }
        let described = Rc::new(Described {
            depends: packages::dependencies(package)?,
            conflicts: packages::conflicts(package)?,
            provides: packages::provides(package)?,
        });
        self.known.insert(&package.name, described.clone());
        Ok(described)
    }

    /// Puts the dependencies of a package before the other goals.
    fn goals_of(&mut self, package: &'a Package, next: Option<usize>) -> Result<Option<usize>> {
        let described = self.described(package)?;
        if described.depends.is_empty() {
            return Ok(next);
        }
        self.goals.push(Goal { package, described, group: 0, next });
        Ok(Some(self.goals.len() - 1))
    }

    fn run(&mut self, mut at: Option<usize>) -> Result<()> {
        let mut retreats = 0;
        while let Some(index) = at {
            let goal = self.goals[index].clone();
            let group = &goal.described.depends[goal.group];
            if self.is_satisfied(group) {
                at = self.after(&goal);
                continue;
            }
            let left = self.candidates(group);
            if left.is_empty() {
                self.note(&goal, "which cannot be had");
            }
            let (chosen, goals) = (self.order.len(), self.goals.len());
            self.choices.push(Choice { goal, left, chosen, goals });
            at = self.next_candidate(&mut retreats)?;
        }
        Ok(())
    }

    /// The goals that are left once this one is reached.
    fn after(&mut self, goal: &Goal<'a>) -> Option<usize> {
        if goal.group + 1 == goal.described.depends.len() {
            return goal.next;
        }
        self.goals.push(Goal { group: goal.group + 1, ..goal.clone() });
        Some(self.goals.len() - 1)
    }

    /// Takes the next candidate of the latest choice that has one, and says which goals are then left.
    fn next_candidate(&mut self, retreats: &mut usize) -> Result<Option<usize>> {
        while let Some(mut choice) = self.choices.pop() {
            self.take_back(choice.chosen);
            self.goals.truncate(choice.goals);
            let Some(package) = choice.left.pop() else {
                *retreats += 1;
                if *retreats > MAX_RETREATS {
                    break;
                }
                continue;
            };
            let goal = choice.goal.clone();
            self.choices.push(choice);
            let described = self.described(package)?;
            match self.obstacle(package, &described) {
                Some(obstacle) => {
                    self.note(&goal, &obstacle.reason);
                    self.culprit.get_or_insert(&obstacle.other.name);
                }
                None => {
                    self.choose(package, &described);
                    let rest = self.after(&goal);
                    return self.goals_of(package, rest);
                }
            }
        }
        let obstacle = self.obstacle.take();
        Err(Error::Unresolved(obstacle.unwrap_or_else(|| "the packages cannot be had together".into())))
    }

    fn note(&mut self, goal: &Goal, reason: &str) {
        let alternatives = || {
            let group = goal.described.depends[goal.group].iter();
            group.map(ToString::to_string).collect::<Vec<_>>().join(" | ")
        };
        self.obstacle.get_or_insert_with(|| {
            format!("package {} depends on {}, {reason}", goal.package.name, alternatives())
        });
    }

    fn choose(&mut self, package: &'a Package, described: &Described) {
        self.chosen.insert(&package.name, package);
        self.order.push(package);
        for relation in &described.conflicts {
            self.conflicts.entry(relation.name.clone()).or_default().push((package, relation.clone()));
        }
    }

    /// Takes back all but the first `keep` chosen packages.
    fn take_back(&mut self, keep: usize) {
        while self.order.len() > keep {
            let Some(package) = self.order.pop() else { break };
            self.chosen.remove(&*package.name);
            // What is taken back was described when it was chosen.
            let Some(described) = self.known.get(&*package.name) else { continue };
            for relation in &described.conflicts {
                if let Some(known) = self.conflicts.get_mut(&relation.name) {
                    known.pop();
                }
            }
        }
    }

    /// Why a package cannot be together with those already chosen.
    fn obstacle(&self, package: &Package, described: &Described) -> Option<Obstacle<'a>> {
        let reason = |one: &Package, other: &Package, relation: &Relation| {
            format!(
                "but {} {} cannot be together with {} {} (it conflicts with {relation})",
                one.name, one.version, other.name, other.version
            )
        };
        // A package never conflicts with itself: that is how only one provider of a name is allowed (Policy 7.6.2).
        for relation in described.conflicts.iter().filter(|relation| reaches(relation)) {
            let real =
                self.chosen.get(&*relation.name).filter(|other| relation.accepts(&other.version)).copied();
            let provider = || {
                let providers = self.index.providers(&relation.name);
                let mut found = providers.filter(|(other, version)| {
                    self.chosen.contains_key(&*other.name) && relation.accepts_provided(*version)
                });
                found.find(|(other, _)| other.name != package.name).map(|(other, _)| other)
            };
            if let Some(other) = real.filter(|other| other.name != package.name).or_else(provider) {
                return Some(Obstacle { reason: reason(package, other, relation), other });
            }
        }
        let own = (&*package.name, Some(&package.version), true);
        let provided = described.provides.iter().map(|(name, version)| (&**name, version.as_ref(), false));
        for (name, version, real) in [own].into_iter().chain(provided) {
            for (other, relation) in self.conflicts.get(name).into_iter().flatten() {
                let hit = match (real, version) {
                    (true, Some(version)) => relation.accepts(version),
                    _ => relation.accepts_provided(version),
                };
                if hit && reaches(relation) && other.name != package.name {
                    return Some(Obstacle { reason: reason(other, package, relation), other });
                }
            }
        }
        None
    }

    fn is_satisfied(&self, group: &[Relation]) -> bool {
        group.iter().any(|relation| {
            self.excluded.contains(relation.name.as_str())
                || self.satisfying(relation).any(|package| self.chosen.contains_key(&*package.name))
        })
    }

    /// The packages that satisfy a relation, the best first.
    fn satisfying(&self, relation: &Relation) -> impl Iterator<Item = &'a Package> {
        let index = self.index;
        let real = index.get(&relation.name).filter(|package| relation.accepts(&package.version));
        let mut providers: Vec<&Package> = index
            .providers(&relation.name)
            .filter(|(_, version)| relation.accepts_provided(*version))
            .map(|(package, _)| package)
            .collect();
        // Stable: those of one rank stay in the order of their names.
        providers.sort_by_key(|package| package.rank);
        real.into_iter().chain(providers).filter({
            let qualifier = relation.qualifier.clone();
            move |package| agrees(qualifier.as_ref(), package)
        })
    }

    /// The packages that could satisfy a group, the best last.
    fn candidates(&self, group: &[Relation]) -> Vec<&'a Package> {
        let mut found: Vec<&Package> = Vec::new();
        for package in group.iter().flat_map(|relation| self.satisfying(relation)) {
            if !self.excluded.contains(&*package.name)
                && !found.iter().any(|known| known.name == package.name)
            {
                found.push(package);
            }
        }
        // Stable: the order stays the same among those that are avoided, and among the others.
        found.sort_by_key(|package| self.avoided.contains(&*package.name));
        found.reverse();
        found
    }
}

/// Whether a package may stand for one of the architecture asked for.
fn agrees(qualifier: Option<&Qualifier>, package: &Package) -> bool {
    match qualifier {
        None => true,
        Some(Qualifier::Any) => package.any_architecture,
        // Packages for all architectures count as the system's own.
        Some(Qualifier::Architecture(name)) => name == ARCHITECTURE,
    }
}

/// Whether a conflict is with packages of this architecture.
fn reaches(relation: &Relation) -> bool {
    !matches!(&relation.qualifier, Some(Qualifier::Architecture(name)) if name != ARCHITECTURE)
}

/// The kernel package that `name` stands for: a package that depends on exactly one version of one package whose name
/// begins so, as `linux-image-arm64` does with "linux-image-" and `linux-source` with "linux-source-", leads to that one.
/// Nothing else comes along: the initramfs is our own, and what builds a kernel is the host's.
pub fn kernel<'a>(index: &'a Index, name: &str, beginning: &str) -> Result<&'a Package> {
    let package = find(index, name)?;
    let groups = packages::dependencies(package)?;
    let mut images = groups.iter().flatten().filter(|relation| relation.name.starts_with(beginning));
    match (images.next(), images.next()) {
        (None, _) => Ok(package),
        (Some(relation), None) => {
            let image = index.get(&relation.name).filter(|image| relation.accepts(&image.version));
            image.ok_or_else(|| {
                Error::Unresolved(format!("package {name} needs {relation}, which cannot be had"))
            })
        }
        (Some(_), Some(_)) => Err(Error::Unresolved(format!("package {name} depends on several kernels"))),
    }
}

fn find<'a>(index: &'a Index, name: &str) -> Result<&'a Package> {
    index.get(name).ok_or_else(|| {
        let providers: Vec<&str> = index.providers(name).map(|(package, _)| &*package.name).collect();
        Error::Unresolved(if providers.is_empty() {
            let nearest = index.nearest(name).map(|near| format!("; there is {near}")).unwrap_or_default();
            format!("there is no package {name}{nearest}")
        } else {
            format!("{name} is a virtual package; name one that provides it: {}", providers.join(", "))
        })
    })
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
    fn providers_are_ranked() {
        let index = index(&[&[
            stanza("a", "1", "Depends: mail"),
            stanza("m1", "1", "Provides: mail\nPriority: extra"),
            stanza("m2", "1", "Provides: mail\nPriority: optional"),
            stanza("m3", "1", "Provides: mail\nPriority: standard"),
            stanza("m4", "1", "Provides: mail\nPriority: standard"),
            stanza("b", "1", "Depends: shell"),
            stanza("shell", "1", "Priority: extra"),
            stanza("dash", "1", "Provides: shell\nEssential: yes"),
        ]]);
        assert_eq!(names(&index, &["a"], &[]).unwrap(), ["a", "m3"]);
        assert_eq!(
            names(&index, &["b"], &[]).unwrap(),
            ["b", "shell"],
            "the package of that name comes first"
        );
        let error = names(&index, &["mail"], &[]).unwrap_err();
        assert_eq!(error, "mail is a virtual package; name one that provides it: m1, m2, m3, m4");
    }

    #[test]
    fn dependencies_are_followed_in_depth_first() {
        // What `b` wants is chosen before `a` comes to its second dependency, which is then satisfied.
        let index = index(&[&[
            stanza("a", "1", "Depends: b, x | y"),
            stanza("b", "1", "Depends: y"),
            stanza("x", "1", ""),
            stanza("y", "1", ""),
        ]]);
        assert_eq!(names(&index, &["a"], &[]).unwrap(), ["a", "b", "y"]);
    }

    #[test]
    fn conflicts_lead_elsewhere() {
        let index = index(&[&[
            stanza("a", "1", "Depends: x | y"),
            stanza("b", "1", "Conflicts: x (<< 2)"),
            stanza("x", "1", ""),
            stanza("y", "1", ""),
            stanza("late", "1", "Depends: deep | y, p"),
            stanza("deep", "1", "Depends: deeper"),
            stanza("deeper", "1", ""),
            stanza("p", "1", "Breaks: deeper"),
            stanza("m1", "1", "Provides: mail\nConflicts: mail"),
            stanza("m2", "1", "Provides: mail\nConflicts: mail"),
            stanza("old", "1", "Breaks: mail (<< 2), m1 (<< 1), n:i386"),
            stanza("n", "1", ""),
        ]]);
        assert_eq!(names(&index, &["a"], &[]).unwrap(), ["a", "x"]);
        assert_eq!(names(&index, &["b", "a"], &[]).unwrap(), ["a", "b", "y"]);
        // `deep` and `deeper` were chosen before `p` came, and are taken back.
        assert_eq!(names(&index, &["late"], &[]).unwrap(), ["late", "p", "y"]);
        let error = names(&index, &["b", "x"], &[]).unwrap_err();
        assert!(error.contains("b 1 cannot be together with x 1 (it conflicts with x (<< 2))"), "{error}");
        assert!(names(&index, &["x", "b"], &[]).is_err());
        assert_eq!(names(&index, &["m1"], &[]).unwrap(), ["m1"], "a package does not conflict with itself");
        assert!(names(&index, &["m1", "m2"], &[]).is_err());
        assert_eq!(names(&index, &["old", "m1", "n"], &[]).unwrap(), ["m1", "n", "old"]);
    }

    #[test]
    fn architectures_that_are_asked_for() {
        let index = index(&[&[
            stanza("a", "1", "Depends: python:any (>= 1)"),
            stanza("b", "1", "Depends: perl:any"),
            stanza("c", "1", "Depends: perl:arm64"),
            stanza("d", "1", "Depends: perl:i386"),
            stanza("python", "1", "Multi-Arch: allowed"),
            stanza("perl", "1", "Multi-Arch: foreign"),
        ]]);
        assert_eq!(names(&index, &["a"], &[]).unwrap(), ["a", "python"]);
        assert_eq!(names(&index, &["c"], &[]).unwrap(), ["c", "perl"]);
        for name in ["b", "d"] {
            assert!(names(&index, &[name], &[]).unwrap_err().contains("which cannot be had"));
        }
    }

    #[test]
    fn a_hopeless_search_ends() {
        // Twenty independent choices before the one thing that cannot be.
        let mut list = vec![stanza(
            "a",
            "1",
            &format!("Depends: {}, z", (0..20).map(|n| format!("v{n}")).collect::<Vec<_>>().join(", ")),
        )];
        for n in 0..20 {
            list.extend(
                ["x", "y"].map(|name| stanza(&format!("{name}{n}"), "1", &format!("Provides: v{n}"))),
            );
        }
        let error = names(&index(&[&list]), &["a"], &[]).unwrap_err();
        assert_eq!(error, "package a depends on z, which cannot be had");
    }

    #[test]
    fn a_choice_made_long_before_is_made_anew() {
        // Twenty choices that are nobody's fault lie between the one that is wrong and what it is in the way of.
        let between = (0..20).map(|n| format!("v{n}")).collect::<Vec<_>>().join(", ");
        let mut list = vec![
            stanza("a", "1", &format!("Depends: wrong | right, {between}, last")),
            stanza("wrong", "1", ""),
            stanza("right", "1", ""),
            stanza("last", "1", "Conflicts: wrong"),
        ];
        let mut expected = vec!["a".to_owned(), "last".into(), "right".into()];
        for n in 0..20 {
            list.extend(
                ["x", "y"].map(|name| stanza(&format!("{name}{n}"), "1", &format!("Provides: v{n}"))),
            );
            expected.push(format!("x{n}"));
        }
        expected.sort();
        assert_eq!(names(&index(&[&list]), &["a"], &[]).unwrap(), expected);
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
            assert_eq!(kernel(&good, name, "linux-image-").unwrap().name, "linux-image-6.12-arm64");
            assert_eq!(kernel(&good, name, "linux-source-").unwrap().name, name);
        }
        let bad = index(&[&[meta("6.12-2"), image]]);
        assert!(kernel(&bad, "linux-image-arm64", "linux-image-").is_err());
    }
}
