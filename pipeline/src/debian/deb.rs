//! What is in a `.deb` (deb(5)): an `ar` archive of `debian-binary`, `control.tar.*` and `data.tar.*`.
//!
//! The data are what is unpacked, and the control file is what a package says of itself; maintainer scripts are never run.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use super::compression::Compression;
use crate::error::{Error, IoContext, Result};
use crate::tree::{Attributes, Kind, Spool, Tree, TreeError};

/// Bounds on what one package may unpack to: several times the largest of Debian's.
const MAX_UNPACKED: u64 = 8 << 30;
const MAX_ENTRIES: usize = 1_000_000;

/// Unpacks those of a package's files whose path (`/usr/bin/x`) `wanted` agrees to.
pub fn unpack(
    package: &Path,
    tree: &mut Tree,
    spool: &Arc<Spool>,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<()> {
    let file = File::open(package).at(package)?;
    let what = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    unpack_from(BufReader::new(file), tree, spool, wanted).map_err(|error| match error {
        UnpackError::Io(error) if error.kind() == io::ErrorKind::StorageFull => Error::io(package, error),
        other => Error::malformed(format!("package {what}"), other),
    })
}

/// The control file of a package: what it says of itself.
pub fn control(package: &Path) -> Result<String> {
    let file = File::open(package).at(package)?;
    let what = package.file_name().unwrap_or_default().to_string_lossy().into_owned();
    control_from(BufReader::new(file)).map_err(|error| Error::malformed(format!("package {what}"), error))
}

fn control_from(reader: impl Read) -> Result<String, UnpackError> {
    /// No control file comes near this.
    const MAX_CONTROL: u64 = 4 << 20;
    let (name, control) = find_member(reader, "control.tar")?;
    let control = Compression::from_name(&name).decode(control)?.take(MAX_UNPACKED);
    for entry in tar::Archive::new(control).entries()? {
        let entry = entry?;
        if matches!(&*entry.path_bytes(), b"./control" | b"control") {
            let mut bytes = Vec::new();
            entry.take(MAX_CONTROL).read_to_end(&mut bytes)?;
            return text(bytes);
        }
    }
    Err(UnpackError::Form("has no control file"))
}

/// Why a package cannot be unpacked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// It cannot be read to its end, or what is read cannot be kept.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Something in it has no place in a tree.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// It is not of the form that packages have.
    #[error("{0}")]
    Form(&'static str),
}

/// Unpacks a package that is read from anywhere.
pub fn unpack_from(
    reader: impl Read,
    tree: &mut Tree,
    spool: &Arc<Spool>,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), UnpackError> {
    let (name, data) = find_member(reader, "data.tar")?;
    let data = Compression::from_name(&name).decode(data)?.take(MAX_UNPACKED);
    let mut archive = tar::Archive::new(data);
    for (count, entry) in archive.entries()?.enumerate() {
        if count >= MAX_ENTRIES {
            return Err(UnpackError::Form("holds too many files"));
        }
        place(entry?, tree, spool, wanted)?;
    }
    Ok(())
}

/// Puts one entry of the archive into the tree.
fn place(
    mut entry: tar::Entry<'_, impl Read>,
    tree: &mut Tree,
    spool: &Arc<Spool>,
    wanted: &dyn Fn(&str) -> bool,
) -> Result<(), UnpackError> {
    let path = text(entry.path_bytes().into_owned())?;
    let path = format!("/{}", path.strip_prefix("./").unwrap_or(&path).trim_matches('/'));
    let path = if path == "/." { "/".to_owned() } else { path };
    if !wanted(&path) {
        return Ok(());
    }
    let xattrs = xattrs(&mut entry)?;
    let header = entry.header();
    let id = |value: u64| u32::try_from(value).map_err(|_| UnpackError::Form("has an owner out of range"));
    let attributes = Attributes {
        mode: (header.mode()? & 0o7777) as u16,
        uid: id(header.uid()?)?,
        gid: id(header.gid()?)?,
    };
    let device = |header: &tar::Header| {
        let missing = UnpackError::Form("has a device without numbers");
        header.device_major()?.zip(header.device_minor()?).ok_or(missing)
    };
    let target = |entry: &tar::Entry<'_, _>| {
        let bytes = entry.link_name_bytes().ok_or(UnpackError::Form("has a link without a target"))?;
        text(bytes.into_owned())
    };
    use tar::EntryType;
    let node = match header.entry_type() {
        EntryType::Directory => tree.make_directory(&path, attributes)?,
        EntryType::Regular | EntryType::Continuous => {
            let content = spool.take(&mut entry, MAX_UNPACKED)?;
            tree.add(&path, attributes, Kind::File(content))?
        }
        EntryType::Symlink => {
            let target = target(&entry)?;
            if target.is_empty() {
                return Err(UnpackError::Form("has a link without a target"));
            }
            tree.add(&path, attributes, Kind::Symlink(target))?
        }
        // Whatever it is a name of has its attributes from where it is first.
        EntryType::Link => return Ok(tree.link(&path, &target(&entry)?)?),
        EntryType::Char => {
            let (major, minor) = device(header)?;
            tree.add(&path, attributes, Kind::Character(major, minor))?
        }
        EntryType::Block => {
            let (major, minor) = device(header)?;
            tree.add(&path, attributes, Kind::Block(major, minor))?
        }
        EntryType::Fifo => tree.add(&path, attributes, Kind::Fifo)?,
        // For all entries that follow; nothing in it is of use here.
        EntryType::XGlobalHeader => return Ok(()),
        _ => return Err(UnpackError::Form("has an entry of an unknown sort")),
    };
    tree.node_mut(node).xattrs.extend(xattrs);
    Ok(())
}

/// The extended attributes of an entry, as GNU tar and libarchive write them. dpkg itself makes packages without;
/// others may not.
fn xattrs(entry: &mut tar::Entry<'_, impl Read>) -> Result<BTreeMap<String, Vec<u8>>, UnpackError> {
    let mut found = BTreeMap::new();
    for extension in entry.pax_extensions()?.into_iter().flatten() {
        let extension = extension?;
        if let Some(name) = extension.key().ok().and_then(|key| key.strip_prefix("SCHILY.xattr.")) {
            found.insert(name.to_owned(), extension.value_bytes().to_vec());
        }
    }
    Ok(found)
}

fn text(bytes: Vec<u8>) -> Result<String, UnpackError> {
    String::from_utf8(bytes).map_err(|_| UnpackError::Form("has a name that is not UTF-8"))
}

/// The member `data.tar` or `control.tar`, in whatever compression: its name, and a reader of exactly its bytes.
fn find_member(mut reader: impl Read, wanted: &str) -> Result<(String, impl Read), UnpackError> {
    let mut magic = [0; 8];
    reader.read_exact(&mut magic)?;
    if magic != *b"!<arch>\n" {
        return Err(UnpackError::Form("is not a package: it is no ar archive"));
    }
    // What comes after the data is for tools of the future to know.
    for index in 0..8 {
        let mut header = [0; 60];
        reader.read_exact(&mut header)?;
        let (name, size) = member(&header).ok_or(UnpackError::Form("has a broken member header"))?;
        match (index, name.as_str()) {
            (0, "debian-binary") => {
                let mut version = Vec::new();
                reader.by_ref().take(size).read_to_end(&mut version)?;
                if !version.starts_with(b"2.") {
                    return Err(UnpackError::Form("is in a form of package that is not known"));
                }
            }
            (0, _) => return Err(UnpackError::Form("is not a package: debian-binary is not first")),
            (_, found)
                if found == wanted
                    || found.strip_prefix(wanted).is_some_and(|rest| rest.starts_with('.')) =>
            {
                return Ok((name, reader.take(size)));
            }
            _ => {
                let skipped = io::copy(&mut reader.by_ref().take(size), &mut io::sink())?;
                if skipped != size {
                    return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
                }
            }
        }
        if size % 2 == 1 {
            reader.read_exact(&mut [0])?;
        }
    }
    Err(UnpackError::Form(if wanted == "data.tar" { "holds no data" } else { "has no control file" }))
}

/// A member's name and size: fields of fixed width, padded with spaces.
fn member(header: &[u8; 60]) -> Option<(String, u64)> {
    let (name, size, end) = (header.get(..16)?, header.get(48..58)?, header.get(58..)?);
    if end != b"`\n" {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?.trim_end();
    let size = std::str::from_utf8(size).ok()?.trim_end();
    let plain = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_digit());
    // GNU ar ends names with a slash, dpkg does not.
    plain.then_some((name.strip_suffix('/').unwrap_or(name).to_owned(), size.parse().ok()?))
}

#[cfg(test)]
pub(crate) mod tests;
