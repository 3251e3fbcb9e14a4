//! The lists of packages, and the packages they name.

mod hold;

use std::collections::BTreeMap;

use store::Hash;

use super::ARCHITECTURE;
use super::deb822::{self, Paragraph};
use super::relation::{self, Relation};
use super::sources::Archive;
use super::version::Version;
use crate::error::{Error, Result};

/// No package of Debian's is larger than this.
const MAX_PACKAGE: u64 = 4 << 30;

/// A package that can be had.
#[derive(Debug, Clone)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// Its architecture: the guest's, or `all`.
    pub architecture: String,
    /// What must be there for it to work, the fields `Pre-Depends` and `Depends` joined.
    pub depends: String,
    /// What must not be there with it, the fields `Conflicts` and `Breaks` joined: what can be installed but not
    /// work is of no use in an image.
    pub conflicts: String,
    /// Names it stands for beside its own, as written.
    pub provides: String,
    /// Whether it is `Multi-Arch: allowed`, so that others may depend on it for any architecture.
    pub any_architecture: bool,
    /// How important it is to Debian, which decides among providers of a name.
    pub rank: Rank,
    /// Where it is, below the archive.
    pub path: String,
    /// Its size.
    pub size: u64,
    /// Its hash.
    pub sha256: Hash,
    /// The archive it is in.
    pub archive: Archive,
    /// The suite it was found in.
    pub suite: String,
}

impl Package {
    /// The one package of a text in the form of a list.
    pub fn of_text(what: &str, text: &str, archive: Archive, suite: &str) -> Result<Package> {
        let mut paragraphs = deb822::paragraphs(text).map_err(|error| Error::malformed(what, error))?;
        match paragraphs.pop() {
            Some(paragraph) if paragraphs.is_empty() => {
                package(&paragraph, archive, suite).map_err(|reason| Error::malformed(what, reason))
            }
            _ => Err(Error::malformed(what, "its control file is not one paragraph")),
        }
    }
}

/// A package's importance: essential ones first, then by priority (Debian Policy 2.5 and 3.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// `Essential: yes`
    Essential,
    /// `Protected: yes`, or `Important: yes` as it was called before.
    Protected,
    /// `Priority: required`
    Required,
    /// `Priority: important`
    Important,
    /// `Priority: standard`
    Standard,
    /// `Priority: optional`
    Optional,
    /// `Priority: extra`, or none.
    Extra,
}

impl Rank {
    fn of(paragraph: &Paragraph) -> Rank {
        let yes = |name: &str| paragraph.get(name) == Some("yes");
        if yes("essential") {
            return Rank::Essential;
        }
        if yes("protected") || yes("important") {
            return Rank::Protected;
        }
        match paragraph.get("priority") {
            Some("required") => Rank::Required,
            Some("important") => Rank::Important,
            Some("standard") => Rank::Standard,
            Some("optional") => Rank::Optional,
            _ => Rank::Extra,
        }
    }
}

/// All packages that can be had, the newest version of each but for those that are held back.
#[derive(Debug, Default)]
pub struct Index {
    packages: BTreeMap<String, Package>,
    /// Names that packages provide: which package, and as which version.
    provided: BTreeMap<String, Vec<(String, Option<Version>)>>,
    /// Packages that are held back, with the newest version, if there is any.
    held: BTreeMap<String, Option<Package>>,
}

impl Index {
    /// Adds the packages of one list.
    pub fn add(&mut self, what: &str, text: &str, archive: Archive, suite: &str) -> Result<()> {
        let mut problem = None;
        deb822::for_each_paragraph(text, |paragraph| match package(&paragraph, archive, suite) {
            Ok(package) => {
                // At equal versions the first one found stays: the suites come in a fixed order.
                let known = self.packages.get(&package.name);
                if known.is_none_or(|known| known.version < package.version) {
                    self.packages.insert(package.name.clone(), package);
                }
            }
            Err(reason) => {
                problem.get_or_insert_with(|| {
                    let name = paragraph.get("package").unwrap_or("a package");
                    Error::malformed(what, format!("{name}: {reason}"))
                });
            }
        })
        .map_err(|error| Error::malformed(what, error))?;
        problem.map_or(Ok(()), Err)
    }

    /// Notes what packages provide; to be called once all lists are added, and after packages were held or released.
    pub fn finish(&mut self) -> Result<()> {
        self.provided.clear();
        for package in self.packages.values() {
            for (name, version) in provides(package)? {
                self.provided.entry(name).or_default().push((package.name.clone(), version));
            }
        }
        Ok(())
    }

    /// The newest package of a name.
    pub fn get(&self, name: &str) -> Option<&Package> {
        self.packages.get(name)
    }

    /// The names of all packages, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.packages.keys().map(String::as_str)
    }

    /// The packages that provide a name, in order of their own names.
    pub fn providers(&self, name: &str) -> impl Iterator<Item = (&Package, Option<&Version>)> {
        let provided = self.provided.get(name).map_or(&[][..], Vec::as_slice);
        provided.iter().filter_map(|(name, version)| Some((self.packages.get(name)?, version.as_ref())))
    }

    /// The names nearest to one that is not there.
    pub fn nearest(&self, name: &str) -> Option<&str> {
        let names = self.packages.keys().map(|known| (strsim::jaro_winkler(known, name), known));
        let (likeness, known) = names.max_by(|a, b| a.0.total_cmp(&b.0))?;
        (likeness > 0.85).then_some(known)
    }
}

/// What a package depends on.
pub fn dependencies(package: &Package) -> Result<Vec<Vec<Relation>>> {
    parse_relations(package, &package.depends)
}

/// What a package cannot be together with.
pub fn conflicts(package: &Package) -> Result<Vec<Relation>> {
    Ok(parse_relations(package, &package.conflicts)?.into_iter().flatten().collect())
}

/// The names that a package provides, and as which version.
pub fn provides(package: &Package) -> Result<Vec<(String, Option<Version>)>> {
    let relations = parse_relations(package, &package.provides)?.into_iter().flatten();
    Ok(relations.map(|relation| (relation.name, relation.constraint.map(|(_, version)| version))).collect())
}

fn parse_relations(package: &Package, field: &str) -> Result<Vec<Vec<Relation>>> {
    relation::parse(field).ok_or_else(|| Error::malformed(&package.name, format!("no relation in {field:?}")))
}

fn package(paragraph: &Paragraph, archive: Archive, suite: &str) -> Result<Package, String> {
    let field = |name: &str| paragraph.get(name).ok_or_else(|| format!("no {name}"));
    let text = |name: &str| field(name).map(str::to_owned);
    let path = text("filename")?;
    // It becomes part of a URL and of the lock.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._+~-:%=@".contains(c);
    if !path.chars().all(plain) || path.starts_with('/') || path.split('/').any(|part| part == "..") {
        return Err(format!("{path:?} is no path in an archive"));
    }
    let architecture = text("architecture")?;
    if architecture != ARCHITECTURE && architecture != "all" {
        return Err(format!("is for {architecture}"));
    }
    let size = field("size")?.parse().map_err(|_| "no number as size")?;
    if size > MAX_PACKAGE {
        return Err(format!("is said to have {size} bytes"));
    }
    let name = text("package")?;
    // Debian Policy 5.6.7, less its rule that the first is no sign.
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "+-.".contains(c);
    if name.is_empty() || !name.chars().all(plain) {
        return Err("is no package's name".into());
    }
    let join = |names: [&str; 2]| {
        let fields = names.map(|name| paragraph.lines(name).join(" "));
        fields.iter().filter(|field| !field.is_empty()).cloned().collect::<Vec<_>>().join(", ")
    };
    Ok(Package {
        name,
        version: Version::new(field("version")?),
        architecture,
        depends: join(["pre-depends", "depends"]),
        conflicts: join(["conflicts", "breaks"]),
        provides: paragraph.lines("provides").join(" "),
        any_architecture: paragraph.get("multi-arch") == Some("allowed"),
        rank: Rank::of(paragraph),
        path,
        size,
        sha256: field("sha256")?.parse().map_err(|error| format!("{error}"))?,
        archive,
        suite: suite.to_owned(),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A paragraph of a list.
    pub(crate) fn stanza(name: &str, version: &str, more: &str) -> String {
        let hash = Hash::of(name.as_bytes());
        format!(
            "Package: {name}\nVersion: {version}\nArchitecture: arm64\nFilename: pool/{name}_{version}.deb\n\
             Size: 10\nSHA256: {hash}\n{more}\n"
        )
    }

    pub(crate) fn index(lists: &[&[String]]) -> Index {
        let mut index = Index::default();
        for (number, list) in lists.iter().enumerate() {
            index.add("list", &list.join("\n"), Archive::Debian, &format!("suite{number}")).unwrap();
        }
        index.finish().unwrap();
        index
    }

    #[test]
    fn the_newest_version_counts() {
        let old = stanza("a", "1.9", "");
        let new = stanza("a", "1.10", "");
        for lists in [[&[old.clone()][..], &[new.clone()][..]], [&[new.clone()][..], &[old.clone()][..]]] {
            assert_eq!(index(&lists).get("a").unwrap().version.as_str(), "1.10");
        }
        let twice = index(&[std::slice::from_ref(&new), std::slice::from_ref(&new)]);
        assert_eq!(twice.get("a").unwrap().suite, "suite0");
    }

    #[test]
    fn what_is_refused() {
        let good = stanza("a", "1", "");
        for (from, to) in [
            ("pool/", "../pool/"),
            ("pool/", "/pool/"),
            ("pool/", "pool?"),
            ("Architecture: arm64", "Architecture: amd64"),
            ("Size: 10", "Size: x"),
            ("Size: 10", "Size: 99999999999999"),
            ("SHA256: ", "SHA256: 0"),
            ("Version: 1\n", ""),
        ] {
            assert!(good.contains(from));
            let result = Index::default().add("list", &good.replace(from, to), Archive::Debian, "s");
            assert_eq!(result.expect_err(to).exit_code(), 4);
        }
    }
}
