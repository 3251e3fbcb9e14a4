//! A suite's Release file: which lists of packages it has, and their hashes.

use store::Hash;

use super::{ARCHITECTURE, date, deb822};
use crate::error::{Error, Result};

/// A list larger than this is not Debian's: trixie's `main` is 55 MB.
const MAX_LIST: u64 = 512 << 20;

/// What a verified Release file says, as far as it matters here.
#[derive(Debug)]
pub struct Release {
    /// When it was made, as written.
    pub date: String,
    /// The same in seconds since 1970.
    pub seconds: u64,
    /// The lists of packages, one for each component asked for.
    pub lists: Vec<PackageList>,
}

/// Where a compressed list of packages is.
#[derive(Debug, PartialEq, Eq)]
pub struct PackageList {
    /// Its path below the suite's directory.
    pub path: String,
    /// Its size.
    pub size: u64,
    /// Its hash.
    pub sha256: Hash,
    /// Its size once decompressed.
    pub plain_size: u64,
}

impl Release {
    /// Reads the verified text of a suite's Release file. `now` is in seconds since 1970.
    pub fn parse(what: &str, text: &str, suite: &str, components: &[String], now: u64) -> Result<Release> {
        let malformed = |reason: String| Error::malformed(what, reason);
        let mut paragraphs = deb822::paragraphs(text).map_err(|error| malformed(error.to_string()))?;
        let release = match paragraphs.pop() {
            Some(release) if paragraphs.is_empty() => release,
            _ => return Err(malformed("is not one paragraph".into())),
        };
        // Signed for another suite, it is no more than a true statement about something else.
        let codename = release.get("codename").ok_or_else(|| malformed("has no Codename".into()))?;
        let named = release.get("suite").unwrap_or(codename);
        if codename != suite && named == suite {
            let reason =
                format!("{what}: a recipe names the release {codename:?}, not {suite:?}, which moves on");
            return Err(Error::NotOffered(reason));
        }
        // "Suite" moves from "stable" to "oldstable"; which part of the release it is stays: "-updates" and so on.
        let part = |name: &str| name.split_once('-').map(|(_, part)| part.to_owned());
        if codename != suite || part(named) != part(suite) {
            return Err(stale(what, format!("is signed for {codename} ({named}), not for {suite}")));
        }
        // The security archive has its components' names behind "updates/", and its lists not.
        let lists = |field: &str, name: &str| {
            let mut words = release.words(field).peekable();
            words.peek().is_none() || words.any(|word| word.strip_prefix("updates/").unwrap_or(word) == name)
        };
        if let Some(absent) = components.iter().find(|component| !lists("components", component)) {
            let there: Vec<&str> = release.words("components").collect();
            let there = there.join(" ");
            return Err(Error::NotOffered(format!("{what}: has no component {absent}; there are {there}")));
        }
        if !lists("architectures", ARCHITECTURE) {
            return Err(Error::NotOffered(format!("{what}: has no packages for {ARCHITECTURE}")));
        }
        let date = release.get("date").ok_or_else(|| malformed("has no Date".into()))?;
        let seconds =
            |text: &str| date::parse(text).ok_or_else(|| malformed(format!("has no date in {text:?}")));
        let made = seconds(date)?;
        if made > now + 86_400 {
            return Err(stale(what, format!("is of {date}, which is to come")));
        }
        if let Some(until) = release.get("valid-until")
            && seconds(until)? < now
        {
            return Err(stale(what, format!("was valid until {until}: the mirror serves old lists")));
        }
        let by_hash = release.get("acquire-by-hash") == Some("yes");
        let entry = |path: &str| -> Result<(u64, Hash)> {
            let found = release.lines("sha256").iter().find_map(|line| {
                let mut words = line.split_ascii_whitespace();
                let (hash, size, name) = (words.next()?, words.next()?, words.next()?);
                (name == path).then_some((hash, size))
            });
            let (hash, size) = found.ok_or_else(|| malformed(format!("lists no {path}")))?;
            let sha256 = hash.parse().map_err(|error| malformed(format!("{path}: {error}")))?;
            let size = size.parse().map_err(|_| malformed(format!("{path}: no size in {size:?}")))?;
            if size > MAX_LIST {
                return Err(malformed(format!("{path} is said to have {size} bytes")));
            }
            Ok((size, sha256))
        };
        let list = |component: &String| {
            let plain = format!("{component}/binary-{ARCHITECTURE}/Packages");
            let packed = format!("{plain}.xz");
            let (size, sha256) = entry(&packed)?;
            let (plain_size, _) = entry(&plain)?;
            // By its hash a list can be had even while the mirror is being updated.
            let path = match by_hash {
                true => format!("{component}/binary-{ARCHITECTURE}/by-hash/SHA256/{sha256}"),
                false => packed,
            };
            Ok(PackageList { path, size, sha256, plain_size })
        };
        let lists = components.iter().map(list).collect::<Result<_>>()?;
        Ok(Release { date: date.to_owned(), seconds: made, lists })
    }
}

/// When a verified Release file was made, whatever else it says: as written, and in seconds since 1970.
pub fn date_of(text: &str) -> Option<(String, u64)> {
    let paragraphs = deb822::paragraphs(text).ok()?;
    let date = paragraphs.first()?.get("date")?;
    Some((date.to_owned(), date::parse(date)?))
}

fn stale(what: &str, reason: String) -> Error {
    let hint = "the mirror may be out of date or hostile, or this host's clock wrong; try another mirror";
    Error::Verification { what: what.into(), reason, hint }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_300_000;
    const TEXT: &str = "Origin: Debian\nSuite: stable\nCodename: trixie\nDate: Sat, 21 Nov 2026 09:15:44 UTC\n\
        Valid-Until: Sat, 28 Nov 2026 00:53:03 UTC\nSHA256:\n \
        e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 7 main/binary-arm64/Packages\n \
        ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad        3 main/binary-arm64/Packages.xz\n";

    fn parse(text: &str, now: u64) -> Result<Release> {
        Release::parse("InRelease", text, "trixie", &["main".into()], now)
    }

    #[test]
    fn lists_are_found() {
        let release = parse(TEXT, NOW).unwrap();
        let expected = PackageList {
            path: "main/binary-arm64/Packages.xz".into(),
            size: 3,
            sha256: Hash::of(b"abc"),
            plain_size: 7,
        };
        assert_eq!(release.lists, [expected]);
        let by_hash = parse(&TEXT.replace("Origin", "Acquire-By-Hash: yes\nOrigin"), NOW).unwrap();
        assert!(by_hash.lists[0].path.ends_with(&format!("/by-hash/SHA256/{}", Hash::of(b"abc"))));
    }

    #[test]
    fn what_a_recipe_cannot_ask_for() {
        let more = TEXT.replace(
            "SHA256:",
            "Components: updates/main updates/contrib\nArchitectures: amd64 arm64\nSHA256:",
        );
        let parse = |text: &str, suite: &str, component: &str| {
            let error =
                Release::parse("InRelease", text, suite, &[component.into()], NOW).expect_err(component);
            assert_eq!(error.exit_code(), 2, "{error}");
            error.to_string()
        };
        assert!(Release::parse("InRelease", &more, "trixie", &["main".into()], NOW).is_ok());
        assert!(parse(&more, "trixie", "contrub").ends_with("there are updates/main updates/contrib"));
        assert!(parse(&more.replace(" arm64", ""), "trixie", "main").ends_with("no packages for arm64"));
        let error = parse(&more, "stable", "main");
        assert_eq!(error, "InRelease: a recipe names the release \"trixie\", not \"stable\", which moves on");
    }

    #[test]
    fn what_is_refused() {
        let refused = |text: &str, now: u64, reason: &str| {
            let error = parse(text, now).expect_err(reason);
            assert!(error.to_string().contains(reason), "{error} / {reason}");
            assert_eq!(error.exit_code(), 4);
        };
        refused(TEXT, NOW + (7 << 17), "was valid until");
        refused(TEXT, NOW - (7 << 17), "which is to come");
        refused(
            &TEXT.replace(": trixie", ": bookworm"),
            NOW,
            "is signed for bookworm (stable), not for trixie",
        );
        refused(
            &TEXT.replace("Suite: stable", "Suite: stable-security"),
            NOW,
            "is signed for trixie (stable-security)",
        );
        refused(
            &TEXT.replace("Codename: trixie", "Codename: trixie-updates"),
            NOW,
            "is signed for trixie-updates",
        );
        refused(&TEXT.replace("Codename", "Code"), NOW, "no Codename");
        refused(&TEXT.replace("Packages.xz", "Packages.gz"), NOW, "lists no main/binary-arm64/Packages.xz");
        refused(&TEXT.replace("ba78", "BA78"), NOW, "not a SHA-256 value");
        refused(&TEXT.replace("       3 ", " 99999999999 "), NOW, "is said to have");
        refused(&TEXT.replace("09:15:44", "late"), NOW, "has no date");
        refused(&format!("{TEXT}\nCodename: trixie\n"), NOW, "not one paragraph");
        refused("", NOW, "not one paragraph");
    }
}
