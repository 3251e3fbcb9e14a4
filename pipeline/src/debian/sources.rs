//! Which mirrors to fetch from: the environment's word, else what the host's own apt uses.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::deb822;
use crate::error::{Error, Result};

/// One of Debian's archives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Archive {
    /// The archive itself, with its updates.
    Debian,
    /// Security updates.
    DebianSecurity,
}

impl Archive {
    /// Its name, which is also how its mirrors' paths end.
    pub fn name(self) -> &'static str {
        match self {
            Archive::Debian => "debian",
            Archive::DebianSecurity => "debian-security",
        }
    }

    /// The environment variable that names a mirror of it.
    pub fn variable(self) -> &'static str {
        match self {
            Archive::Debian => "SAMOVAR_DEBIAN_MIRROR",
            Archive::DebianSecurity => "SAMOVAR_DEBIAN_SECURITY_MIRROR",
        }
    }
}

/// The mirrors in use.
#[derive(Debug, Clone, Default)]
pub struct Mirrors {
    debian: Option<String>,
    security: Option<String>,
}

/// The archives that packages come from.
pub const ARCHIVES: [Archive; 2] = [Archive::Debian, Archive::DebianSecurity];

impl Mirrors {
    /// What the environment and this host's apt say.
    pub fn of_host() -> Mirrors {
        let listed = urls_in(Path::new("/etc/apt"));
        let find = |archive: Archive| {
            let set = env::var(archive.variable()).ok().filter(|url| !url.is_empty());
            set.or_else(|| listed.iter().find(|url| ends_with(url, archive)).cloned())
        };
        Mirrors { debian: find(Archive::Debian), security: find(Archive::DebianSecurity) }
    }

    /// The mirror of an archive, if one is known.
    pub fn of(&self, archive: Archive) -> Option<&str> {
        match archive {
            Archive::Debian => self.debian.as_deref(),
            Archive::DebianSecurity => self.security.as_deref(),
        }
    }

    /// The URL of a file of an archive.
    pub fn url(&self, archive: Archive, path: &str) -> Result<String> {
        let error = || Error::NoMirror { archive: archive.name(), variable: archive.variable() };
        let base = self.of(archive).ok_or_else(error)?.trim_end_matches('/');
        // A package's version may hold a '+', and its file name a '~'; apt sends both as they are.
        Ok(format!("{base}/{path}"))
    }
}

fn ends_with(url: &str, archive: Archive) -> bool {
    let fetchable = url.starts_with("http://") || url.starts_with("https://");
    fetchable && url.trim_end_matches('/').rsplit('/').next() == Some(archive.name())
}

/// All URLs that the sources in an apt directory name, in apt's order of files.
fn urls_in(apt: &Path) -> Vec<String> {
    let mut files: Vec<PathBuf> = fs::read_dir(apt.join("sources.list.d"))
        .map(|entries| entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect())
        .unwrap_or_default();
    files.sort();
    files.insert(0, apt.join("sources.list"));
    let mut urls = Vec::new();
    for file in files {
        // A file that cannot be read names no mirror; apt itself will complain about it.
        let Ok(text) = fs::read_to_string(&file) else { continue };
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => urls.extend(urls_of_list(&text)),
            Some("sources") => urls.extend(urls_of_sources(&text)),
            _ => {}
        }
    }
    urls
}

/// The one-line style: `deb [options] url suite component...`
fn urls_of_list(text: &str) -> Vec<String> {
    let url_of = |line: &str| {
        let rest = line.trim_ascii().strip_prefix("deb")?;
        let rest = rest.strip_prefix([' ', '\t'])?.trim_ascii_start();
        let rest = match rest.strip_prefix('[') {
            Some(options) => options.split_once(']')?.1,
            None => rest,
        };
        rest.split_ascii_whitespace().next().map(str::to_owned)
    };
    text.lines().filter_map(url_of).collect()
}

/// The deb822 style.
fn urls_of_sources(text: &str) -> Vec<String> {
    let mut urls = Vec::new();
    for paragraph in deb822::paragraphs(text).unwrap_or_default() {
        let disabled = paragraph.get("enabled").is_some_and(|value| value.eq_ignore_ascii_case("no"));
        if !disabled && paragraph.words("types").any(|kind| kind == "deb") {
            urls.extend(paragraph.words("uris").map(str::to_owned));
        }
    }
    urls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_styles() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("sources.list.d")).unwrap();
        let put = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
        put(
            "sources.list",
            "# deb http://a.test/debian x main\n\
             deb-src http://b.test/debian x main\n\
             deb [arch=arm64 signed-by=/x] http://c.test/debian-security x-security main\n\
             deb cdrom:[x]/ x main\n",
        );
        put(
            "sources.list.d/a.sources",
            "Types: deb-src\nURIs: http://d.test/debian\n\nEnabled: no\nTypes: deb\nURIs: http://e.test/debian\n\n\
             # remark\nTypes: deb deb-src\nURIs: http://f.test/other\n http://g.test/debian/\nSuites: x\n",
        );
        put("sources.list.d/b.sources.bak", "Types: deb\nURIs: http://h.test/debian\n");
        let urls = urls_in(dir.path());
        let find = |archive| urls.iter().find(|url| ends_with(url, archive)).map(String::as_str);
        assert_eq!(find(Archive::Debian), Some("http://g.test/debian/"));
        assert_eq!(find(Archive::DebianSecurity), Some("http://c.test/debian-security"));
    }

    #[test]
    fn urls_are_joined() {
        let mirrors = Mirrors { debian: Some("http://a.test/debian/".into()), security: None };
        assert_eq!(mirrors.url(Archive::Debian, "pool/x").unwrap(), "http://a.test/debian/pool/x");
        let error = mirrors.url(Archive::DebianSecurity, "x").unwrap_err();
        assert!(error.hint().contains("SAMOVAR_DEBIAN_SECURITY_MIRROR"));
    }
}
