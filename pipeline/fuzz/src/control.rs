//! Control data of any text (deb822(5)): paragraphs, relations, versions, Release files. All of it is read or refused,
//! and a relation reads the same once it was written.

use std::cmp::Ordering;

use samovar::debian::version::Version;
use samovar::debian::{date, deb822, relation, release};

use crate::choices;

const SEEDS: [&str; 3] = [
    "Package: libc6\nSource: glibc\nVersion: 2.41-12+deb13u1\nArchitecture: arm64\nMulti-Arch: same\n\
     Pre-Depends: libgcc-s1 (>= 4.2), libcrypt1:any | x:arm64 (<< 1:2~)\nDepends: libidn2-0 (>= 2.0.5~)\n\
     Provides: libc6-pie, y (= 3)\nBreaks: a (<< 1), b (<= 2),\n c (>> 3)\nConffiles:\n /etc/a 0123\n\n# remark\nPackage: d\n",
    "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 21 Nov 2026 09:15:44 UTC\n\
     Valid-Until: Sat, 28 Nov 2026 00:53:03 UTC\nAcquire-By-Hash: yes\nSHA256:\n \
     e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 7 main/binary-arm64/Packages\n \
     ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad 3 main/binary-arm64/Packages.xz\n",
    "libc6 (>= 2.38), python3:any | perl, linux-image-6.12.117+deb13-arm64 (= 6.12.117-1),x(<<1)",
];

const WORDS: [&str; 28] = [
    ":",
    "\n",
    "\n\n",
    " ",
    "\t",
    ",",
    "|",
    "(",
    ")",
    "(>= ",
    "(<< 1)",
    "=",
    "~",
    "-",
    "+",
    ".",
    "0",
    "99999999999999999999",
    ":any",
    "#",
    "Package: ",
    "Codename: ",
    "SHA256:",
    "main/binary-arm64/Packages.xz",
    "UTC",
    "Feb",
    "é",
    "\r",
];

/// Runs `data`.
pub fn run(data: &[u8]) {
    let text = choices::text(data, &SEEDS, &WORDS);
    if let Ok(paragraphs) = deb822::paragraphs(&text) {
        for paragraph in &paragraphs {
            for field in ["depends", "pre-depends", "provides", "breaks", "version", "date"] {
                paragraph.words(field).for_each(drop);
                let _ = paragraph.get(field).map(date::parse);
                relations(&paragraph.lines(field).join(" "));
            }
        }
    }
    relations(&text);
    let components = ["main".to_owned()];
    match release::Release::parse("InRelease", &text, "trixie", &components, 1_795_300_000) {
        Ok(release) => {
            assert_eq!(release.lists.len(), 1);
            assert_eq!(release::date_of(&text), Some((release.date, release.seconds)));
        }
        Err(error) => crate::is_well_put(&error),
    }
    let versions: Vec<Version> = text.split(['\n', ' ', '(', ')']).take(12).map(Version::new).collect();
    for (a, b, c) in
        versions.iter().zip(versions.iter().skip(1)).zip(versions.iter().skip(2)).map(|((a, b), c)| (a, b, c))
    {
        assert_eq!(a.cmp(b), b.cmp(a).reverse());
        if a.cmp(b) != Ordering::Greater && b.cmp(c) != Ordering::Greater {
            assert_ne!(a.cmp(c), Ordering::Greater, "{a} {b} {c}");
        }
    }
}

fn relations(field: &str) {
    let Some(groups) = relation::parse(field) else { return };
    let written: Vec<String> = groups
        .iter()
        .map(|group| group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | "))
        .collect();
    assert_eq!(relation::parse(&written.join(", ")), Some(groups), "{field:?}");
}
