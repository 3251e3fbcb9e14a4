//! The kernel: out of a package, built from a package's source, or a file that is there already.

pub mod config;
pub mod error;
mod log;
pub mod make;
mod source;
pub mod tools;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use store::Hash;

use crate::error::{Error, IoContext, Result};
use crate::tree::{Content, Kind, Tree};
use error::KernelError;

pub use source::wants as wants_of_source;

pub(crate) const STEP: &str = "kernel";

/// Whether the kernel step takes this file of the kernel's package.
pub fn wants(path: &str) -> bool {
    path == "/boot" || path.starts_with("/boot/vmlinuz-")
}

/// The one kernel image among the files taken from the package.
pub fn image(packages: &Tree) -> Result<Content> {
    let image = the_one(packages, "kernel images in /boot", |path| path.starts_with("/boot/vmlinuz-"))?;
    let plain = is_image(image.reader()).map_err(|error| Error::build(STEP, error))?;
    if !plain {
        return Err(Error::build(STEP, "the package's kernel is no plain arm64 Image"));
    }
    Ok(image)
}

/// The one archive of a kernel's source among the files taken from the package.
pub fn source(packages: &Tree) -> Result<Content> {
    the_one(packages, "archives /usr/src/linux-source-*.tar.xz", |_| true)
}

fn the_one(packages: &Tree, what: &str, is_meant: impl Fn(&str) -> bool) -> Result<Content> {
    let mut found = Vec::new();
    packages.walk_all(&mut |path, _, node| {
        if let (true, Kind::File(content)) = (is_meant(path), &node.kind) {
            found.push(content.clone());
        }
        Ok::<(), Error>(())
    })?;
    match found.as_slice() {
        [one] => Ok(one.clone()),
        _ => Err(Error::build(STEP, format!("the package holds {} {what} instead of one", found.len()))),
    }
}

/// The kernel in a file of the host, if it is the one that is meant.
pub fn given(path: &Path, sha256: Option<Hash>) -> Result<File> {
    let (found, _) = store::hash_file(path)?;
    if sha256 != Some(found) {
        let wanted = sha256.map(|hash| hash.to_string()).unwrap_or_default();
        return Err(KernelError::OtherFile { path: path.into(), found, wanted }.into());
    }
    built(path)
}

/// The kernel in a file that was made here, from its beginning.
pub fn built(path: &Path) -> Result<File> {
    let file = File::open(path).at(path)?;
    if !is_image(&file).at(path)? {
        return Err(Error::build(STEP, format!("{} is no plain arm64 Image", path.display())));
    }
    io::Seek::rewind(&mut &file).at(path)?;
    Ok(file)
}

/// Whether this is how an arm64 kernel begins.
fn is_image(reader: impl Read) -> io::Result<bool> {
    // Linux, Documentation/arch/arm64/booting.rst: the magic number at offset 56.
    let mut head = Vec::new();
    reader.take(64).read_to_end(&mut head)?;
    Ok(head.get(56..60) == Some(b"ARM\x64"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::Attributes;

    fn tree(files: &[(&str, &[u8])]) -> Tree {
        let mut tree = Tree::new();
        for (path, bytes) in files {
            tree.add(path, Attributes::root(0o644), Kind::File(Content::Memory((*bytes).into()))).unwrap();
        }
        tree
    }

    fn plain() -> [u8; 64] {
        let mut image = [0; 64];
        image[56..60].copy_from_slice(b"ARM\x64");
        image
    }

    #[test]
    fn one_plain_image_is_wanted() {
        let good = plain();
        let one = tree(&[("/boot/vmlinuz-6", &good), ("/boot/config-6", b"")]);
        assert_eq!(image(&one).unwrap().bytes().unwrap(), good);
        for bad in [
            tree(&[]),
            tree(&[("/boot/vmlinuz-6", &good), ("/boot/vmlinuz-7", &good)]),
            tree(&[("/boot/vmlinuz-6", b"\x1f\x8b")]),
            tree(&[("/boot/vmlinuz-6", &[0; 64])]),
        ] {
            assert_eq!(image(&bad).unwrap_err().exit_code(), 5);
        }
    }

    #[test]
    fn a_given_kernel_is_the_very_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Image");
        std::fs::write(&path, plain()).unwrap();
        let hash = Hash::of(&plain());
        let mut bytes = Vec::new();
        given(&path, Some(hash)).unwrap().read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, plain());
        let other = given(&path, Some(Hash::of(b""))).unwrap_err();
        assert!(other.hint().contains(&hash.to_string()), "{}", other.hint());
        assert_eq!((other.exit_code(), given(&path, None).unwrap_err().exit_code()), (4, 4));
        std::fs::write(&path, b"x").unwrap();
        assert_eq!(given(&path, Some(Hash::of(b"x"))).unwrap_err().exit_code(), 5);
    }
}
