//! The kernel's own word on an image: a guest mounts it and lists all that it finds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use samovar::tree::{Attributes, Kind, Tree};
use store::{Artifact, Hash};

use crate::programs::{run, run_within, runner, succeeded, tool};

/// Longer than it takes to read a large image on a slow machine.
const PATIENCE: Duration = Duration::from_secs(3600);

/// The first program of such a guest, which is never left.
const INIT: &str = r#"#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc && $b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev 2>/dev/null
exec </dev/console >/dev/console 2>&1
$b stty -onlcr
while read -r module; do $b insmod "/lib/modules/$module.ko"; done </lib/modules/order
$b mkdir /lower
until $b mount -t ext4 -o ro,noatime /dev/vda /lower; do $b usleep 20000; done
cd /lower
echo '> begin'
$b find . -xdev -exec $b stat -c '> stat %f %u %g %s %t %T %N' {} +
$b find . -xdev -type f -exec $b sha256sum {} + | while read -r line; do echo "> hash $line"; done
echo '> end'
$b poweroff -f
"#;

/// Everything that a guest sees of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    /// Type and permissions, as in stat(2).
    mode: u32,
    owner: (u32, u32),
    /// The size of what is no directory.
    size: u64,
    device: (u32, u32),
    target: Option<String>,
    sha256: Option<String>,
}

/// Mounts `image` in a guest of the warm base's kernel, and reads every byte.
pub fn listed(warm: &Artifact, image: &Path) -> BTreeMap<String, Seen> {
    let dir = tempfile::tempdir().unwrap();
    let (root, added, initrd) =
        (dir.path().join("root"), dir.path().join("added"), dir.path().join("initrd"));
    fs::create_dir(&root).unwrap();
    fs::write(root.join("init"), INIT).unwrap();
    succeeded(&run(tool("chmod", "coreutils").arg("755").arg(root.join("init"))));
    let mut archive = tool("sh", "dash");
    archive.args(["-c", "echo init | cpio --create --quiet --format=newc --file=\"$1\"", "sh"]).arg(&added);
    succeeded(&run(archive.current_dir(&root)));
    // Of several archives in a row, the later one's files replace the earlier one's (Linux
    // Documentation/driver-api/early-userspace/buffer-format.rst).
    let mut both = fs::read(warm.need("initramfs").unwrap().file("initramfs.cpio").unwrap()).unwrap();
    both.resize(both.len().next_multiple_of(4), 0);
    both.extend(fs::read(&added).unwrap());
    fs::write(&initrd, both).unwrap();

    let console = dir.path().join("console");
    let mut command = runner();
    command.arg("boot").arg("--kernel").arg(warm.need("kernel").unwrap().file("Image").unwrap());
    command.arg("--initrd").arg(&initrd).arg("--disk").arg(image).arg("--console").arg(&console);
    let words = "console=ttyAMA0 quiet loglevel=0";
    command.args(["--headless", "--scheduler", "lockstep", "--append", words]);
    succeeded(&run_within(&mut command, PATIENCE));
    let text = fs::read_to_string(&console).unwrap();
    read(&text)
}

/// What the guest has said.
fn read(text: &str) -> BTreeMap<String, Seen> {
    let mut files = BTreeMap::new();
    let path = |name: &str| name.strip_prefix('.').expect("a path from the root").to_owned();
    let mut ended = false;
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("> stat ") {
            let words: Vec<&str> = rest.splitn(7, ' ').collect();
            let [mode, uid, gid, size, major, minor, name] = words[..] else { panic!("{line}") };
            let hex = |text| u32::from_str_radix(text, 16).unwrap();
            let (name, target) = match name.split_once("' -> '") {
                Some((name, target)) => (name, Some(target.trim_end_matches('\'').to_owned())),
                None => (name, None),
            };
            let seen = Seen {
                mode: hex(mode),
                owner: (uid.parse().unwrap(), gid.parse().unwrap()),
                size: if hex(mode) >> 12 == 4 { 0 } else { size.parse().unwrap() },
                device: (hex(major), hex(minor)),
                target,
                sha256: None,
            };
            files.insert(path(name.trim_matches('\'')), seen);
        } else if let Some(rest) = line.strip_prefix("> hash ") {
            let (hash, name) = rest.split_once("  ").unwrap_or_else(|| panic!("{line}"));
            let file = files.get_mut(&path(name)).unwrap_or_else(|| panic!("{line}"));
            file.sha256 = Some(hash.to_owned());
        } else {
            ended |= line == "> end";
        }
    }
    assert!(ended, "the guest did not come to its end:\n{text}");
    files
}

/// The same of the tree that the image was made from.
pub fn wanted(tree: &Tree) -> BTreeMap<String, Seen> {
    let mut files = BTreeMap::new();
    tree.walk_all(&mut |path, _, node| {
        let Attributes { mode, uid, gid } = node.attributes;
        // The types are those of inode(7).
        let (sort, size, device) = match &node.kind {
            Kind::Fifo => (0o01, 0, (0, 0)),
            Kind::Character(major, minor) => (0o02, 0, (*major, *minor)),
            Kind::Directory(_) => (0o04, 0, (0, 0)),
            Kind::Block(major, minor) => (0o06, 0, (*major, *minor)),
            Kind::File(content) => (0o10, content.len(), (0, 0)),
            Kind::Symlink(target) => (0o12, target.len() as u64, (0, 0)),
        };
        let seen = Seen {
            mode: sort << 12 | u32::from(mode),
            owner: (uid, gid),
            size,
            device,
            target: if let Kind::Symlink(target) = &node.kind { Some(target.clone()) } else { None },
            sha256: if let Kind::File(content) = &node.kind {
                Some(Hash::of(&content.bytes()?).to_string())
            } else {
                None
            },
        };
        files.insert(path.to_owned(), seen);
        std::io::Result::Ok(())
    })
    .unwrap();
    // mke2fs(8) makes it, and so does every image of ours, for e2fsck to use.
    let seen = Seen { mode: 0o40700, owner: (0, 0), size: 0, device: (0, 0), target: None, sha256: None };
    files.insert("/lost+found".into(), seen);
    files
}

/// Fails at the first file that is not the same.
pub fn agree(seen: &BTreeMap<String, Seen>, wanted: &BTreeMap<String, Seen>) {
    for (path, wanted) in wanted {
        assert_eq!(seen.get(path), Some(wanted), "{path}");
    }
    let more: Vec<&String> = seen.keys().filter(|path| !wanted.contains_key(*path)).collect();
    assert!(more.is_empty(), "from nowhere: {more:?}");
}
