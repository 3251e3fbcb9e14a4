use std::process::Command;

use super::*;

/// An `ar` archive of the given members.
pub(crate) fn ar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, data) in members {
        bytes
            .extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`\n", 0, 0, 0, 100644, data.len()).bytes());
        bytes.extend_from_slice(data);
        if data.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

/// A package whose files are an uncompressed tar archive.
pub(crate) fn package(tar: &[u8]) -> Vec<u8> {
    ar(&[("debian-binary", b"2.0\n"), ("control.tar", b"odd"), ("data.tar", tar)])
}

fn header(kind: tar::EntryType, path: &str, size: u64) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(size);
    // Straight into the field: the crate's own setter refuses what a hostile package has.
    let field = &mut header.as_gnu_mut().unwrap().name;
    field[..path.len()].copy_from_slice(path.as_bytes());
    header
}

pub(crate) enum Item<'a> {
    Directory(&'a str),
    File(&'a str, &'a [u8]),
    Symlink(&'a str, &'a str),
    Hardlink(&'a str, &'a str),
    Device(&'a str),
}

pub(crate) fn tar_of(items: &[Item]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for item in items {
        let (mut header, data) = match item {
            Item::Directory(path) => (header(tar::EntryType::Directory, path, 0), &b""[..]),
            Item::File(path, data) => (header(tar::EntryType::Regular, path, data.len() as u64), *data),
            Item::Symlink(path, target) | Item::Hardlink(path, target) => {
                let kind = match item {
                    Item::Symlink(..) => tar::EntryType::Symlink,
                    _ => tar::EntryType::Link,
                };
                let mut header = header(kind, path, 0);
                let field = &mut header.as_gnu_mut().unwrap().linkname;
                field[..target.len()].copy_from_slice(target.as_bytes());
                (header, &b""[..])
            }
            Item::Device(path) => {
                let mut header = header(tar::EntryType::Char, path, 0);
                header.set_device_major(1).unwrap();
                header.set_device_minor(3).unwrap();
                (header, &b""[..])
            }
        };
        header.set_cksum();
        builder.append(&header, data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn unpacked(bytes: &[u8]) -> Result<Tree, String> {
    let spool = Spool::new(&std::env::temp_dir()).unwrap();
    let mut tree = Tree::new();
    unpack_from(bytes, &mut tree, &spool, &|path| path != "/unwanted").map_err(|error| error.to_string())?;
    Ok(tree)
}

fn listing(tree: &Tree) -> Vec<String> {
    let mut lines = Vec::new();
    tree.walk_all(&mut |path, _, node| {
        lines.push(match &node.kind {
            Kind::Directory(_) => format!("{path}/"),
            Kind::File(content) => format!("{path} {}", String::from_utf8_lossy(&content.bytes()?)),
            Kind::Symlink(target) => format!("{path} -> {target}"),
            Kind::Character(major, minor) => format!("{path} c {major} {minor}"),
            other => format!("{path} {other:?}"),
        });
        io::Result::Ok(())
    })
    .unwrap();
    lines
}

#[test]
fn files_of_each_sort() {
    let tar = tar_of(&[
        Item::Directory("./"),
        Item::Directory("./usr/"),
        Item::File("./usr/a", b"hello"),
        Item::Hardlink("./usr/b", "./usr/a"),
        Item::Symlink("./usr/c", "../../../../etc/passwd"),
        Item::Device("./null"),
        Item::File("./unwanted", b"x"),
    ]);
    let expected =
        ["/", "/null c 1 3", "/usr/", "/usr/a hello", "/usr/b hello", "/usr/c -> ../../../../etc/passwd"];
    assert_eq!(listing(&unpacked(&package(&tar)).unwrap()), expected);
}

#[test]
fn extended_attributes_come_along() {
    let mut builder = tar::Builder::new(Vec::new());
    let mut file = header(tar::EntryType::Regular, "./usr/bin/ping", 2);
    file.set_cksum();
    let extensions = [("SCHILY.xattr.security.capability", &b"\x01\0\0\x02"[..]), ("mtime", b"1.5")];
    builder.append_pax_extensions(extensions).unwrap();
    builder.append(&file, &b"hi"[..]).unwrap();
    let mut other = header(tar::EntryType::Regular, "./usr/bin/x", 2);
    other.set_cksum();
    builder.append(&other, &b"hi"[..]).unwrap();
    let tree = unpacked(&package(&builder.into_inner().unwrap())).unwrap();
    let xattrs = |path: &str| tree.node(tree.find(path).unwrap()).xattrs.clone();
    let expected = BTreeMap::from([("security.capability".to_owned(), b"\x01\0\0\x02".to_vec())]);
    assert_eq!(xattrs("/usr/bin/ping"), expected);
    assert!(xattrs("/usr/bin/x").is_empty());
}

#[test]
fn hostile_paths_are_refused() {
    for path in ["../evil", "./../evil", "usr/../../evil", "./usr/../evil"] {
        let error = unpacked(&package(&tar_of(&[Item::File(path, b"x")]))).expect_err(path);
        assert!(error.contains("out of the tree"), "{error}");
    }
    // An absolute path is below the tree's root, and so is what a link leads to.
    let tar =
        tar_of(&[Item::Symlink("./out", "/"), Item::File("./out/etc/evil", b"x"), Item::File("/abs", b"y")]);
    assert_eq!(
        listing(&unpacked(&package(&tar)).unwrap()),
        ["/", "/abs y", "/etc/", "/etc/evil x", "/out -> /"]
    );
    assert!(!Path::new("/etc/evil").exists() && !Path::new("/abs").exists());
    let bad: [&[Item]; 5] = [
        &[Item::Symlink("./out", "../../nowhere"), Item::File("./out/x", b"x")],
        &[Item::Symlink("./out", "out"), Item::File("./out/x", b"x")],
        &[Item::Hardlink("./passwd", "/etc/passwd")],
        &[Item::File("./a", b"1"), Item::File("./a", b"2")],
        &[Item::File("./a", b"1"), Item::File("./a/b", b"2")],
    ];
    for items in bad {
        unpacked(&package(&tar_of(items))).expect_err("hostile");
    }
}

#[test]
fn broken_archives_are_refused() {
    let tar = tar_of(&[Item::File("./a", &[7; 5000])]);
    let good = package(&tar);
    assert!(unpacked(&good).is_ok());
    // The tar archive's own end may be missing; anything before may not.
    for end in (0..good.len() - 1024).step_by(61) {
        assert!(unpacked(&good[..end]).is_err(), "{end}");
    }
    let version = ar(&[("debian-binary", b"3.0\n"), ("data.tar", &tar)]);
    assert!(unpacked(&version).unwrap_err().contains("form of package"));
    assert!(unpacked(&ar(&[("data.tar", &tar)])).unwrap_err().contains("not first"));
    assert!(unpacked(&ar(&[("debian-binary", b"2.0\n")])).is_err());
}

/// A package made by Debian's own tools, its listing by them, too.
#[test]
fn agrees_with_dpkg_deb() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    let shell = "set -e; mkdir -p $R/DEBIAN $R/usr/bin $R/usr/share/doc/x; cd $R
        printf 'Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x.test>\nDescription: x\n' > DEBIAN/control
        printf 'a text' > usr/bin/x; chmod 4755 usr/bin/x; ln usr/bin/x usr/bin/y; ln -s ../bin/x usr/share/z
        seq 1 20000 > usr/share/doc/x/$(printf 'n%.0s' $(seq 1 150)); mkfifo usr/pipe";
    let made = Command::new("sh").arg("-c").arg(shell).env("R", &root).status();
    if !made.is_ok_and(|status| status.success()) {
        panic!("cannot make the files to pack");
    }
    for compression in ["none", "gzip", "xz", "zstd"] {
        let deb = dir.path().join(format!("{compression}.deb"));
        let built = Command::new("dpkg-deb")
            .args(["--root-owner-group", "-Z", compression, "--build"])
            .args([&root, &deb])
            .output();
        let Ok(built) = built else {
            eprintln!("no dpkg-deb on this host");
            return;
        };
        if !built.status.success() {
            // An older dpkg-deb knows no zstd.
            assert_eq!(compression, "zstd", "{}", String::from_utf8_lossy(&built.stderr));
            continue;
        }
        let spool = Spool::new(dir.path()).unwrap();
        let mut tree = Tree::new();
        unpack(&deb, &mut tree, &spool, &|_| true).unwrap();
        let mut ours = Vec::new();
        tree.walk_all(&mut |path, _, node| {
            let (sort, size) = match &node.kind {
                Kind::Directory(_) => ('d', 0),
                Kind::File(content) => ('-', content.len()),
                Kind::Symlink(_) => ('l', 0),
                Kind::Fifo => ('p', 0),
                _ => ('?', 0),
            };
            let Attributes { mode, uid, gid } = node.attributes;
            ours.push(format!("{sort} {:o} {uid}/{gid} {size} .{path}", mode));
            io::Result::Ok(())
        })
        .unwrap();
        let listing = Command::new("dpkg-deb").arg("--fsys-tarfile").arg(&deb).output().unwrap().stdout;
        let mut theirs = Vec::new();
        let tarfile = dir.path().join("data.tar");
        std::fs::write(&tarfile, listing).unwrap();
        let extracted = dir.path().join(format!("x-{compression}"));
        std::fs::create_dir(&extracted).unwrap();
        let shell = "dpkg-deb -x $D $X && cd $X && find . -printf '%y %m 0/0 %s %p\\n' | \
            sed -e 's/^f/-/' -e 's/^d \\([0-7]*\\) 0.0 [0-9]*/d \\1 0\\/0 0/' -e 's/^l 777 0.0 [0-9]*/l 777 0\\/0 0/'";
        let output =
            Command::new("sh").arg("-c").arg(shell).env("D", &deb).env("X", &extracted).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        theirs.extend(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned));
        ours.sort();
        theirs.sort();
        assert_eq!(ours, theirs, "{compression}");
        let long = format!("usr/share/doc/x/{}", "n".repeat(150));
        let id = tree.find(&long).unwrap();
        let Kind::File(content) = &tree.node(id).kind else { panic!("a file") };
        assert!(content.bytes().unwrap() == std::fs::read(extracted.join(&long)).unwrap());
        assert_eq!(tree.find("/usr/bin/x"), tree.find("/usr/bin/y"));
    }
}

proptest::proptest! {
    #[test]
    fn any_bytes_are_unpacked_or_refused(bytes: Vec<u8>, flips in proptest::collection::vec((0usize..4096, 1u8..), 0..4)) {
        let _ = unpacked(&bytes);
        let _ = unpacked(&package(&bytes));
        let tar = tar_of(&[Item::Directory("./d"), Item::File("./d/a", b"hello"), Item::Symlink("./l", "d")]);
        let mut good = package(&tar);
        for (at, bits) in flips {
            if let Some(byte) = good.get_mut(at) {
                *byte ^= bits;
            }
        }
        let _ = unpacked(&good);
    }
}
