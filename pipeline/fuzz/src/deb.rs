//! A package of any bytes: an `ar` archive and in it a `tar` archive, each now and then spoilt. It is unpacked into a
//! tree that has sound paths alone, or refused.

use samovar::debian::compression::Compression;
use samovar::debian::compression::read_to_limit;
use samovar::debian::deb;
use samovar::tree::{Kind, Spool, Tree};

use crate::choices::Choices;

/// Runs `data`.
pub fn run(data: &[u8]) {
    let mut choices = Choices::new(data);
    let bytes = match choices.byte() % 8 {
        0 => data.to_vec(),
        1 => {
            for compression in [Compression::Gzip, Compression::Xz, Compression::Zstd] {
                let _ = compression.decode(data).and_then(|reader| read_to_limit(reader, 1 << 20));
            }
            return;
        }
        _ => {
            let tar = tar(&mut choices);
            ar(&mut choices, &tar)
        }
    };
    let spool = Spool::new(&std::env::temp_dir()).expect("a temporary file");
    let mut tree = Tree::new();
    if let Err(error) = deb::unpack_from(&bytes[..], &mut tree, &spool, &|path| !path.contains("unwanted")) {
        assert!(!error.to_string().is_empty());
    }
    let mut names = 0;
    tree.walk_all(&mut |path, id, node| {
        names += 1;
        assert!(path.is_empty() || path.starts_with('/'), "{path:?}");
        assert!(
            path.split('/').skip(1).all(|part| !matches!(part, "" | "." | "..") && part.len() <= 255),
            "{path:?}"
        );
        assert!(!path.contains("unwanted") || matches!(node.kind, Kind::Directory(_)), "{path:?}");
        assert!(node.attributes.mode <= 0o7777);
        if !path.is_empty() {
            assert_eq!(tree.find(path), Some(id), "{path:?}");
        }
        tree.follow(path);
        Ok::<(), std::convert::Infallible>(())
    })
    .unwrap_or_else(|never| match never {});
    assert!(names > 0);
    tree.digest().expect("what was unpacked can be read");
}

fn ar(choices: &mut Choices, tar: &[u8]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    let version: &[u8] = choices.pick(&[&b"2.0\n"[..], b"2.0\n", b"2.0\n", b"2.9\nmore", b"3.0\n", b""]);
    let control =
        choices.pick(&["control.tar.xz", "control.tar.xz", "_gpgbuilder", "data.tarx", "control.tar/"]);
    let data = choices.pick(&[
        "data.tar",
        "data.tar",
        "data.tar",
        "data.tar.xz",
        "data.tar.gz",
        "data.tar.zst",
        "data.tar/",
    ]);
    for (name, content) in [("debian-binary", version), (control, &b"odd"[..]), (data, tar)] {
        let size = match choices.byte() {
            0 => choices.pick(&["0", "-1", "99999999999", "18446744073709551616", "", "x", "+5"]).to_owned(),
            _ => content.len().to_string(),
        };
        let end = if choices.byte() == 1 { "x\n" } else { "`\n" };
        bytes.extend(format!("{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}{end}", 0, 0, 0, 100_644).bytes());
        bytes.extend_from_slice(content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    if choices.byte() == 2 {
        bytes.truncate(choices.below(bytes.len()));
    }
    bytes
}

/// Names that meet each other, and names that should lead nowhere.
const NAMES: [&str; 16] = [
    "./",
    "./usr/",
    "./usr/bin",
    "./a",
    "./a/b",
    "./a/b/c",
    "./unwanted",
    "./link",
    "./link/x",
    "/abs",
    "../out",
    "./usr/../../out",
    ".",
    "",
    "./nul\0nul",
    "./x//y/./z",
];

const TARGETS: [&str; 10] = ["a", "./a", "usr/bin", "..", "../..", "/", "/link", "", "./usr", "link/x"];

fn tar(choices: &mut Choices) -> Vec<u8> {
    use tar::EntryType::{
        Block, Char, Directory, Fifo, GNULongLink, GNULongName, Link, Regular, Symlink, XGlobalHeader,
        XHeader,
    };
    let mut builder = tar::Builder::new(Vec::new());
    for _ in 0..1 + choices.below(12) {
        let kind = choices.pick(&[
            Regular,
            Regular,
            Directory,
            Directory,
            Symlink,
            Symlink,
            Link,
            Char,
            Block,
            Fifo,
            GNULongName,
            GNULongLink,
            XHeader,
            XGlobalHeader,
            tar::EntryType::new(b'S'),
            tar::EntryType::new(b'V'),
        ]);
        let content: Vec<u8> = match kind {
            Regular => choices.take(600).to_vec(),
            GNULongName | GNULongLink => choices.pick(&NAMES).repeat(1 + choices.below(60)).into_bytes(),
            XHeader | XGlobalHeader => pax(choices),
            _ => Vec::new(),
        };
        let mut header = if choices.one_in(4) { tar::Header::new_ustar() } else { tar::Header::new_gnu() };
        header.set_entry_type(kind);
        header.set_mode(choices.pick(&[0o644, 0o755, 0o4755, 0o100_644, 0o777_7777, 0]));
        header.set_uid(choices.pick(&[0, 1000, 0o777_7777, u64::from(u32::MAX) + 1]));
        header.set_gid(choices.pick(&[0, 42, u64::MAX]));
        header.set_size(content.len() as u64);
        let put = |field: &mut [u8], text: &str| {
            let count = text.len().min(field.len());
            field[..count].copy_from_slice(&text.as_bytes()[..count]);
        };
        let name = choices.pick(&NAMES);
        let target = choices.pick(&TARGETS);
        put(&mut header.as_old_mut().name, name);
        put(&mut header.as_old_mut().linkname, target);
        if matches!(kind, Char | Block) && !choices.one_in(4) {
            let _ = header.set_device_major(choices.byte().into());
            let _ = header.set_device_minor(choices.byte().into());
        }
        header.set_cksum();
        if choices.byte() == 0 {
            // A field of anything; its sum is right again, or not.
            let (at, bytes) = (choices.below(512), choices.take(16));
            let raw = header.as_mut_bytes();
            let count = bytes.len().min(512 - at);
            raw[at..at + count].copy_from_slice(&bytes[..count]);
            if choices.one_in(2) {
                header.set_cksum();
            }
        }
        let _ = builder.append(&header, &content[..]);
    }
    let mut bytes = builder.into_inner().unwrap_or_default();
    if choices.byte() == 3 {
        bytes.truncate(choices.below(bytes.len() + 1));
    }
    bytes
}

/// Extended headers (POSIX pax): `LENGTH key=value\n`.
fn pax(choices: &mut Choices) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..1 + choices.below(3) {
        let key = choices.pick(&[
            "path",
            "linkpath",
            "size",
            "uid",
            "gid",
            "mtime",
            "SCHILY.xattr.security.capability",
            "SCHILY.xattr.user.x",
            "GNU.sparse.size",
            "",
        ]);
        let value: &[u8] = match choices.byte() % 3 {
            0 => choices.take(40),
            1 => choices.pick(&NAMES).as_bytes(),
            _ => choices.pick(&[
                &b"0"[..],
                b"17",
                b"-1",
                b"99999999999999999999",
                b"1.5",
                b"\x01\0\0\x02\0\x20\0\0",
            ]),
        };
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        if length.to_string().len() + rest != length {
            length = rest + (rest + 2).to_string().len();
        }
        if choices.byte() == 0 {
            length += choices.below(100);
        }
        bytes.extend(format!("{length} {key}=").bytes());
        bytes.extend_from_slice(value);
        bytes.push(b'\n');
    }
    bytes
}
