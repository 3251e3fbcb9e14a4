//! A list of packages of any text, and the closure of its first packages: what is chosen is complete and
//! free of conflicts.

use samovar::debian::packages::{self, Index, Package};
use samovar::debian::relation::Relation;
use samovar::debian::resolve;
use samovar::debian::sources::Archive;

use crate::choices::{self, Choices};

const SEED: &str = "Package: a\nVersion: 1\nArchitecture: arm64\nDepends: b (>= 1), c | d\nFilename: pool/a.deb\nSize: 10\n\
    SHA256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n\n\
    Package: b\nVersion: 2\nArchitecture: all\nProvides: v (= 1)\nConflicts: c\nPriority: optional\nFilename: pool/b.deb\nSize: 1\n\
    SHA256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n\n";

const WORDS: [&str; 16] = [
    "\n",
    "\n\n",
    ",",
    "|",
    "(>= 1)",
    "(<< 1)",
    ":any",
    "Conflicts: ",
    "Breaks: ",
    "Provides: ",
    "Depends: ",
    "a",
    "b",
    "v",
    "-1",
    "é",
];

/// Runs `data`.
pub fn run(data: &[u8]) {
    let text = match data.first() {
        Some(first) if first % 4 != 0 => list(&mut Choices::new(data)),
        _ => choices::text(data, &[SEED], &WORDS),
    };
    let mut index = Index::default();
    let added = index.add("list", &text, Archive::Debian, "trixie").and_then(|()| index.finish());
    if let Err(error) = added {
        crate::is_well_put(&error);
        return;
    }
    let named: Vec<String> = index.names().take(2).map(str::to_owned).collect();
    match resolve::closure(&index, &named, &[]) {
        Ok(chosen) => is_sound(&chosen, &named),
        Err(error) => crate::is_well_put(&error),
    }
    for name in &named {
        let _ = resolve::kernel(&index, name, "a");
    }
}

/// A list that is well formed, of a few packages that want and hinder each other.
fn list(choices: &mut Choices) -> String {
    const NAMES: [&str; 9] = ["a", "b", "c", "d", "e", "f", "g", "v", "w"];
    let mut text = String::new();
    for name in &NAMES[..7] {
        let mut relations = |field: &str, one_in: u8| {
            let mut groups = Vec::new();
            while choices.byte() % one_in == 1 {
                let mut alternatives = Vec::new();
                loop {
                    let bound = choices.pick(&["", "", "", " (>= 2)", " (<< 2)", " (= 1)"]);
                    let bound = if field == "Provides" { choices.pick(&["", " (= 1)"]) } else { bound };
                    let qualifier = if choices.byte() == 0 { ":any" } else { "" };
                    alternatives.push(format!("{}{qualifier}{bound}", choices.pick(&NAMES)));
                    if field != "Depends" || choices.byte() % 3 != 1 {
                        break;
                    }
                }
                groups.push(alternatives.join(" | "));
                if groups.len() > 4 {
                    break;
                }
            }
            if groups.is_empty() { String::new() } else { format!("{field}: {}\n", groups.join(", ")) }
        };
        let fields = relations("Depends", 2) + &relations("Provides", 3) + &relations("Conflicts", 4);
        let (version, allowed) =
            (choices.pick(&["1", "2", "3"]), choices.pick(&["", "Multi-Arch: allowed\n"]));
        text += &format!(
            "Package: {name}\nVersion: {version}\nArchitecture: arm64\n{fields}{allowed}Filename: pool/{name}.deb\nSize: 10\n\
             SHA256: ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n\n"
        );
    }
    text
}

/// Each dependency is satisfied, no conflict is hit, and nothing is there that nothing leads to.
fn is_sound(chosen: &[&Package], named: &[String]) {
    let meets = |relation: &Relation, package: &Package, real: bool| {
        let own = package.name == relation.name && relation.accepts(&package.version);
        let provides = packages::provides(package).expect("it was read before");
        let any = real && relation.qualifier == Some(samovar::debian::relation::Qualifier::Any);
        (own || provides
            .iter()
            .any(|(name, version)| *name == relation.name && relation.accepts_provided(version.as_ref())))
            && (!any || package.any_architecture)
    };
    let mut wanted: Vec<&str> = named.iter().map(String::as_str).collect();
    for package in chosen {
        for group in packages::dependencies(package).expect("it was read before") {
            let mut met = chosen
                .iter()
                .filter(|other| group.iter().any(|relation| meets(relation, other, true)))
                .peekable();
            assert!(met.peek().is_some(), "{}: {group:?}", package.name);
            wanted.extend(met.map(|other| other.name.as_str()));
        }
        for conflict in packages::conflicts(package).expect("it was read before") {
            let hit =
                chosen.iter().find(|other| other.name != package.name && meets(&conflict, other, false));
            assert!(hit.is_none(), "{}: {conflict}", package.name);
        }
    }
    for package in chosen {
        assert!(wanted.contains(&&*package.name), "{} is wanted by nobody", package.name);
    }
}
