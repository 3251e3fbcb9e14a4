//! The kernel, as it lies in Debian's package.

use crate::error::{Error, Result};
use crate::tree::{Content, Kind, Tree};

const STEP: &str = "kernel";

/// Whether the kernel step takes this file of the kernel's package.
pub fn wants(path: &str) -> bool {
    path == "/boot" || path.starts_with("/boot/vmlinuz-")
}

/// The one kernel image among the files taken from the package.
pub fn image(packages: &Tree) -> Result<Content> {
    let mut images = Vec::new();
    packages.walk_all(&mut |path, _, node| {
        if let (true, Kind::File(content)) = (path.starts_with("/boot/vmlinuz-"), &node.kind) {
            images.push(content.clone());
        }
        Ok::<(), Error>(())
    })?;
    let (Some(image), 0..=1) = (images.first(), images.len()) else {
        let reason = format!("the package holds {} kernel images in /boot instead of one", images.len());
        return Err(Error::build(STEP, reason));
    };
    // Linux, Documentation/arch/arm64/booting.rst: the magic number at offset 56.
    let mut head = Vec::new();
    let read = std::io::Read::read_to_end(&mut std::io::Read::take(image.reader(), 64), &mut head);
    read.map_err(|error| Error::build(STEP, error))?;
    if head.get(56..60) != Some(b"ARM\x64") {
        return Err(Error::build(STEP, "the package's kernel is no plain arm64 Image"));
    }
    Ok(image.clone())
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

    #[test]
    fn one_plain_image_is_wanted() {
        let mut good = [0; 64];
        good[56..60].copy_from_slice(b"ARM\x64");
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
}
