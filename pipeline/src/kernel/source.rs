//! The kernel's source: from the archive in a package to a directory of the host.
//!
//! This is the one archive that is unpacked onto the host's own file system, so nothing in it may lead out of the
//! directory: an entry's way goes through no link, and a link leads to no place above.

use std::collections::HashSet;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use tar::EntryType;

use crate::debian::compression::Compression;
use crate::error::{Error, Result};
use crate::tree::Content;

/// Bounds on what a source may unpack to: several times what Linux does.
const MAX_UNPACKED: u64 = 8 << 30;
const MAX_ENTRIES: usize = 1_000_000;

/// Whether the kernel step takes this file of the source's package.
pub fn wants(path: &str) -> bool {
    let is_archive = |name: &str| !name.contains('/') && name.ends_with(".tar.xz");
    matches!(path, "/usr" | "/usr/src") || path.strip_prefix("/usr/src/linux-source-").is_some_and(is_archive)
}

/// An unpacked source.
#[derive(Debug)]
pub(super) struct Source {
    /// Its directory.
    pub(super) dir: PathBuf,
    /// The time of its Makefile, in seconds since 1970: when the package's maker put it together.
    pub(super) time: u64,
}

/// Unpacks the archive into an empty directory. `pause` is called before each file.
pub(super) fn unpack(archive: &Content, into: &Path, pause: &dyn Fn()) -> Result<Source> {
    let malformed = |reason: String| Error::malformed("the kernel's source", reason);
    let reader = Compression::Xz.decode(archive.reader()).map_err(|error| malformed(error.to_string()))?;
    unpack_tar(reader, into, pause).map_err(|error| match error {
        Unpack::Form(reason) => malformed(reason),
        Unpack::Read(error) => malformed(error.to_string()),
        Unpack::Write(error) => Error::io(into, error),
    })
}

enum Unpack {
    /// Something has no place in the directory.
    Form(String),
    /// The archive cannot be read.
    Read(io::Error),
    /// The directory cannot be written.
    Write(io::Error),
}

fn unpack_tar(reader: impl Read, into: &Path, pause: &dyn Fn()) -> Result<Source, Unpack> {
    let mut top: Option<PathBuf> = None;
    let mut time = None;
    let mut links = HashSet::new();
    let mut unpacked = 0_u64;
    let mut archive = tar::Archive::new(reader.take(MAX_UNPACKED));
    for (count, entry) in archive.entries().map_err(Unpack::Read)?.enumerate() {
        pause();
        let mut entry = entry.map_err(Unpack::Read)?;
        let path = entry.path().map_err(Unpack::Read)?.into_owned();
        let refuse = |reason: &str| Err(Unpack::Form(format!("{path:?} {reason}")));
        unpacked = unpacked.saturating_add(entry.size());
        if count >= MAX_ENTRIES || unpacked > MAX_UNPACKED {
            return refuse("is more than a kernel's source has");
        }
        let kind = entry.header().entry_type();
        if kind == EntryType::XGlobalHeader {
            continue;
        }
        let Some(path_inside) = plain(&path) else { return refuse("is no plain path") };
        let first = path_inside.iter().next().map(PathBuf::from);
        if top.is_some() && top != first {
            return refuse("is not in the one directory of the archive");
        }
        if path_inside.ancestors().skip(1).any(|above| links.contains(above)) {
            return refuse("is behind a link");
        }
        match kind {
            EntryType::Directory | EntryType::Regular | EntryType::Continuous => {}
            EntryType::Symlink => {
                let target = entry.link_name().map_err(Unpack::Read)?.unwrap_or_default();
                if !stays_inside(&path_inside, &target) {
                    return refuse("is a link out of the source");
                }
                links.insert(path_inside.clone());
            }
            _ => return refuse("is of a sort that no source has"),
        }
        if first.as_deref().is_some_and(|first| path_inside == first.join("Makefile")) {
            time = Some(entry.header().mtime().map_err(Unpack::Read)?);
        }
        top = first;
        if !entry.unpack_in(into).map_err(Unpack::Write)? {
            return refuse("is no plain path");
        }
    }
    match (top, time) {
        // The largest time that all that formats it agrees on.
        (Some(top), Some(time)) => Ok(Source { dir: into.join(top), time: time.min(u64::from(u32::MAX)) }),
        _ => Err(Unpack::Form("has no Makefile".into())),
    }
}

/// A relative path of names alone.
fn plain(path: &Path) -> Option<PathBuf> {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => plain.push(name),
            Component::CurDir => {}
            _ => return None,
        }
    }
    (!plain.as_os_str().is_empty()).then_some(plain)
}

/// Whether a link's target is in the top directory. As it can go up only before it goes down, and the link's own directory
/// is no link, what it passes through changes nothing of that.
fn stays_inside(link: &Path, target: &Path) -> bool {
    let up = target.components().take_while(|component| *component == Component::ParentDir).count();
    let down = target.components().skip(up);
    let depth_below_top = link.components().count().saturating_sub(2);
    let mut names = down.peekable();
    link.components().count() >= 2
        && up <= depth_below_top
        && (up > 0 || names.peek().is_some())
        && names.all(|component| matches!(component, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    enum Made<'a> {
        File(&'a str, &'a [u8]),
        Link(&'a str, &'a str),
        Other(&'a str, EntryType),
    }
    use Made::{File, Link, Other};

    fn archive(entries: &[Made]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for made in entries {
            let mut header = tar::Header::new_gnu();
            header.set_mode(0o4755);
            header.set_mtime(1_700_000_000);
            let (path, bytes, kind, target) = match made {
                File(path, bytes) => (path, *bytes, EntryType::Regular, None),
                Link(path, target) => (path, &b""[..], EntryType::Symlink, Some(target)),
                Other(path, kind) => (path, &b""[..], *kind, Some(&"linux/Makefile")),
            };
            header.set_entry_type(kind);
            header.set_size(bytes.len() as u64);
            // As a hostile archive has it: the builder's own setters refuse such names.
            let field = &mut header.as_old_mut().name;
            field[..path.len()].copy_from_slice(path.as_bytes());
            if let Some(target) = target {
                header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
            }
            header.set_cksum();
            builder.append(&header, bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    /// Unpacks into a directory of a directory; what is in both afterwards.
    fn unpacked(bytes: &[u8]) -> (Result<u64, String>, Vec<String>) {
        let outer = tempfile::tempdir().unwrap();
        let inner = outer.path().join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(outer.path().join("safe"), "safe").unwrap();
        let result = unpack_tar(bytes, &inner, &|| {});
        let mut names = Vec::new();
        let mut pending = vec![outer.path().to_owned()];
        while let Some(dir) = pending.pop() {
            for entry in fs::read_dir(dir).unwrap() {
                let entry = entry.unwrap();
                names.push(entry.path().strip_prefix(outer.path()).unwrap().display().to_string());
                if entry.file_type().unwrap().is_dir() {
                    pending.push(entry.path());
                }
            }
        }
        names.sort();
        assert_eq!(fs::read(outer.path().join("safe")).unwrap(), b"safe");
        let result = result.map(|source| {
            assert!(source.dir.starts_with(&inner));
            source.time
        });
        let result = result.map_err(|error| match error {
            Unpack::Form(reason) => reason,
            Unpack::Read(error) | Unpack::Write(error) => error.to_string(),
        });
        (result, names)
    }

    #[test]
    fn a_source_is_unpacked() {
        let good = [
            Other("linux/", EntryType::Directory),
            File("linux/Makefile", b"all:\n"),
            File("./linux/scripts/dtc/x", b"x"),
            Link("linux/scripts/dtc/arm64", "../../arch/arm64"),
            Link("linux/Changes", "process/changes.rst"),
        ];
        let (result, names) = unpacked(&archive(&good));
        assert_eq!(result, Ok(1_700_000_000));
        assert!(names.contains(&"inner/linux/scripts/dtc/arm64".to_owned()), "{names:?}");
        assert_eq!(names.iter().filter(|name| !name.starts_with("inner")).count(), 1);
    }

    #[test]
    fn nothing_leads_out() {
        let make = || File("linux/Makefile", b"");
        for (bad, reason) in [
            (vec![make(), File("../safe", b"x")], "is no plain path"),
            (vec![make(), File("linux/../../safe", b"x")], "is no plain path"),
            (vec![make(), File("/safe", b"x")], "is no plain path"),
            (vec![make(), File("other/x", b"x")], "is not in the one directory"),
            (vec![make(), Link("linux/out", "../safe")], "is a link out"),
            (vec![make(), Link("linux/out", "/etc/passwd")], "is a link out"),
            (vec![make(), Link("linux/a/out", "x/../../../safe")], "is a link out"),
            (vec![make(), Link("linux/out", "..")], "is a link out"),
            (vec![make(), Link("linux", ".")], "is a link out"),
            (vec![make(), Link("linux/a/up", ".."), File("linux/a/up/x", b"x")], "is behind a link"),
            (vec![make(), Other("linux/hard", EntryType::Link)], "is of a sort"),
            (vec![make(), Other("linux/pipe", EntryType::Fifo)], "is of a sort"),
            (vec![make(), Other("linux/null", EntryType::Char)], "is of a sort"),
            (vec![File("linux/x", b"")], "has no Makefile"),
            (vec![], "has no Makefile"),
        ] {
            let (result, names) = unpacked(&archive(&bad));
            assert!(result.as_ref().is_err_and(|found| found.contains(reason)), "{result:?} {reason}");
            assert_eq!(names.iter().filter(|name| !name.starts_with("inner")).count(), 1, "{names:?}");
        }
    }

    #[test]
    fn what_is_taken_from_the_package() {
        assert!(wants("/usr/src") && wants("/usr/src/linux-source-6.12.tar.xz"));
        for other in
            ["/usr/src/linux-source-6.12/x.tar.xz", "/usr/src/linux-patch-6.12-rt.patch.xz", "/usr/share"]
        {
            assert!(!wants(other), "{other}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_unpacked_or_refused(flips in proptest::collection::vec((0usize..3000, 0u8..), 0..8)) {
            let mut bytes = archive(&[File("linux/Makefile", b"all:\n"), Link("linux/a/b", "../c"), File("linux/d", b"x")]);
            for (at, value) in flips {
                bytes[at] = value;
            }
            let (_, names) = unpacked(&bytes);
            proptest::prop_assert_eq!(names.iter().filter(|name| !name.starts_with("inner")).count(), 1);
        }
    }
}
