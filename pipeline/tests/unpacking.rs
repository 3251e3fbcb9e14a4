//! Packages are unpacked as `dpkg-deb` unpacks them: the same names, sorts, modes, owners, contents, links, devices and
//! extended attributes.
//!
//! Every package of every recipe's lock is compared, some hundreds of megabytes that are fetched from the mirror once,
//! so it is asked for: `cargo test -p samovar --test unpacking -- --ignored`. With `SAMOVAR_UNPACK="DIR FILE..."` these
//! packages, and those in these directories, are compared instead, and nothing is fetched.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use samovar::Error;
use samovar::debian::fetch::Fetcher;
use samovar::debian::sources::Mirrors;
use samovar::debian::{archive, deb};
use samovar::lock::choose::{Choice, Update};
use samovar::lock::fetch::fetch;
use samovar::lock::{Lock, LockedPackage};
use samovar::recipe::RecipeFile;
use samovar::reporter::Reporter;
use samovar::tree::{Content, Kind, NodeId, Spool, Tree};
use store::Store;

/// What is known of a name, in the words of `tar --list --verbose`.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    /// `-`, `d`, `l`, `c`, `b`, `p`.
    sort: char,
    mode: u16,
    owner: (u32, u32),
    /// The size of a file, the numbers of a device.
    size: String,
    /// Where a symbolic link leads.
    target: Option<String>,
}

/// The archive of files in a package, as `dpkg-deb` gives it, listed by GNU tar. Hard links are given the entry of
/// what they are links to.
fn theirs(package: &Path) -> BTreeMap<String, Entry> {
    let mut dpkg = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(package)
        .stdout(Stdio::piped())
        .spawn()
        .expect("dpkg-deb");
    let listing = Command::new("tar")
        .args(["--list", "--verbose", "--numeric-owner", "--quoting-style=literal", "--file=-"])
        .env("LC_ALL", "C")
        .stdin(dpkg.stdout.take().unwrap())
        .output()
        .expect("tar");
    assert!(dpkg.wait().unwrap().success() && listing.status.success(), "{}", package.display());
    let mut entries = BTreeMap::new();
    let mut links = Vec::new();
    for line in String::from_utf8(listing.stdout).expect("names are UTF-8").lines() {
        let (words, name) = words(line, 5);
        let [mode, owner, size, _day, _time] = words[..] else { panic!("{line}") };
        let (user, group) = owner.split_once('/').unwrap();
        let sort = mode.chars().next().unwrap();
        let plain = |name: &str| name.strip_prefix('.').unwrap_or(name).trim_end_matches('/').to_owned();
        if sort == 'h' {
            let (name, target) = name.split_once(" link to ").unwrap();
            links.push((plain(name), plain(target)));
            continue;
        }
        let (name, target) = match name.split_once(" -> ") {
            Some((name, target)) if sort == 'l' => (name, Some(target.to_owned())),
            _ => (name, None),
        };
        let size = if matches!(sort, '-' | 'c' | 'b') { size } else { "0" };
        let entry = Entry {
            sort,
            mode: mode_bits(mode),
            owner: (user.parse().unwrap(), group.parse().unwrap()),
            size: size.to_owned(),
            target,
        };
        entries.insert(plain(name), entry);
    }
    for (name, target) in links {
        let Entry { sort, mode, owner, ref size, ref target } = entries[&target];
        let entry = Entry { sort, mode, owner, size: size.clone(), target: target.clone() };
        entries.insert(name, entry);
    }
    entries
}

/// The first `count` words of a line, and the rest.
fn words(line: &str, count: usize) -> (Vec<&str>, &str) {
    let mut rest = line;
    let words = (0..count)
        .map(|_| {
            let (word, after) = rest.trim_start().split_once(' ').unwrap_or((rest, ""));
            rest = after;
            word
        })
        .collect();
    (words, rest)
}

/// `-rwsr-xr-t` as bits.
fn mode_bits(text: &str) -> u16 {
    let mut bits = 0;
    for (at, c) in text.chars().skip(1).take(9).enumerate() {
        let bit = 0o400 >> at;
        let special = match at / 3 {
            0 => 0o4000,
            1 => 0o2000,
            _ => 0o1000,
        };
        bits |= match c {
            's' | 't' => bit | special,
            'S' | 'T' => special,
            '-' => 0,
            _ => bit,
        };
    }
    bits
}

fn ours(tree: &Tree) -> BTreeMap<String, (NodeId, Entry)> {
    let mut entries = BTreeMap::new();
    let _ = tree.walk_all(&mut |path, id, node| {
        let (sort, size, target) = match &node.kind {
            Kind::Directory(_) => ('d', "0".to_owned(), None),
            Kind::File(content) => ('-', content.len().to_string(), None),
            Kind::Symlink(target) => ('l', "0".to_owned(), Some(target.clone())),
            Kind::Character(major, minor) => ('c', format!("{major},{minor}"), None),
            Kind::Block(major, minor) => ('b', format!("{major},{minor}"), None),
            Kind::Fifo => ('p', "0".to_owned(), None),
        };
        let owner = (node.attributes.uid, node.attributes.gid);
        entries
            .insert(path.to_owned(), (id, Entry { sort, mode: node.attributes.mode, owner, size, target }));
        Ok::<(), std::convert::Infallible>(())
    });
    entries
}

fn same_bytes(content: &Content, file: &Path) -> bool {
    let (mut ours, mut theirs) = (content.reader(), fs::File::open(file).unwrap());
    let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = ours.read(&mut a).unwrap();
        theirs.read_exact(&mut b[..count]).unwrap();
        if a[..count] != b[..count] {
            return false;
        }
        if count == 0 {
            return theirs.read(&mut b).unwrap() == 0;
        }
    }
}

/// The extended attributes in the package's archive, and no others, are in the tree.
fn compare_attributes(package: &Path, tree: &Tree) {
    let mut dpkg =
        Command::new("dpkg-deb").arg("--fsys-tarfile").arg(package).stdout(Stdio::piped()).spawn().unwrap();
    let mut archive = tar::Archive::new(dpkg.stdout.take().unwrap());
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
        let mut theirs = BTreeMap::new();
        if let Some(extensions) = entry.pax_extensions().unwrap() {
            for extension in extensions.map(Result::unwrap) {
                if let Some(name) = extension.key().unwrap().strip_prefix("SCHILY.xattr.") {
                    theirs.insert(name.to_owned(), extension.value_bytes().to_vec());
                }
            }
        }
        let id = tree.find(&path).unwrap_or(tree.root());
        assert_eq!(tree.node(id).xattrs, theirs, "{}: {path}", package.display());
    }
    drop(archive);
    // What is behind the archive's end it cannot send any more, which is no failure.
    dpkg.wait().unwrap();
}

fn compare(package: &Path, scratch: &Path) {
    let spool = Spool::new(scratch).unwrap();
    let mut tree = Tree::new();
    deb::unpack(package, &mut tree, &spool, &|_| true).unwrap();
    let (ours, theirs) = (ours(&tree), theirs(package));
    let what = package.display();
    for (path, (_, entry)) in &ours {
        match theirs.get(path) {
            Some(other) => assert_eq!(entry, other, "{what}: {path}"),
            // A directory that the archive has only by what is in it.
            None => {
                assert!(entry.sort == 'd' && (entry.mode, entry.owner) == (0o755, (0, 0)), "{what}: {path}")
            }
        }
    }
    for path in theirs.keys() {
        assert!(ours.contains_key(path), "{what}: {path} is not in the tree");
    }
    compare_attributes(package, &tree);
    let dir = scratch.join("x");
    let output = Command::new("dpkg-deb").arg("-x").arg(package).arg(&dir).output().unwrap();
    // Whoever is not root can make no devices.
    let devices = theirs.values().any(|entry| matches!(entry.sort, 'b' | 'c'));
    assert!(output.status.success() || devices, "{what}: {}", String::from_utf8_lossy(&output.stderr));
    let mut inodes: BTreeMap<u64, NodeId> = BTreeMap::new();
    let mut nodes: BTreeSet<NodeId> = BTreeSet::new();
    for (path, (id, entry)) in ours.iter().filter(|(path, _)| !path.is_empty()) {
        let file = dir.join(&path[1..]);
        let Ok(meta) = fs::symlink_metadata(&file) else {
            assert!(matches!(entry.sort, 'b' | 'c'), "{what}: {path} was not unpacked by dpkg-deb");
            continue;
        };
        let sort = meta.file_type();
        match &tree.node(*id).kind {
            Kind::Directory(_) => assert!(sort.is_dir(), "{what}: {path}"),
            Kind::File(content) => {
                assert!(sort.is_file() && same_bytes(content, &file), "{what}: {path}: other bytes");
            }
            Kind::Symlink(target) => {
                assert_eq!(fs::read_link(&file).unwrap().to_str(), Some(&**target), "{what}: {path}");
            }
            Kind::Character(..) => assert!(sort.is_char_device(), "{what}: {path}"),
            Kind::Block(..) => assert!(sort.is_block_device(), "{what}: {path}"),
            Kind::Fifo => assert!(sort.is_fifo(), "{what}: {path}"),
        }
        if !sort.is_symlink() {
            assert_eq!((meta.mode() & 0o7777) as u16, entry.mode, "{what}: {path}");
        }
        // One node here is one inode there.
        assert_eq!(*inodes.entry(meta.ino()).or_insert(*id), *id, "{what}: {path}: another link");
        nodes.insert(*id);
    }
    assert_eq!(inodes.len(), nodes.len(), "{what}: other hard links");
    let made = Command::new("find").arg(&dir).args(["-mindepth", "1", "-printf", "x"]).output().unwrap();
    assert_eq!(made.stdout.len(), ours.len() - 1, "{what}: dpkg-deb makes other files");
    // Some directories are not writable by their owner.
    let removed =
        Command::new("sh").arg("-c").arg("chmod -R u+rwX \"$0\" && rm -r \"$0\"").arg(&dir).status().unwrap();
    assert!(removed.success());
}

/// The packages of a recipe, by its lock, or by what the archive has now if it has these no longer.
fn packages_of(file: &RecipeFile, store: &Store) -> Vec<PathBuf> {
    let mirrors = Mirrors::of_host();
    let reporter = Reporter::new();
    let fetcher = Fetcher::new(&mirrors, false, reporter);
    let fetch =
        |lock: &Lock| fetch(&fetcher, store, file, &lock.all().iter().collect::<Vec<&LockedPackage>>());
    let lock = Lock::read(&file.lock, &file.recipe).unwrap().expect("our recipes have locks");
    match fetch(&lock) {
        Err(error @ Error::Gone { .. }) => {
            eprintln!("{error}: its packages of today are compared");
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
            let (index, suites) = archive::index(store, &file.recipe.debian, &fetcher, now).unwrap();
            let update = &Update::All;
            let choice = Choice { file, earlier: None, update, store, fetcher: &fetcher, reporter };
            fetch(&choice.make(index, &suites).unwrap()).unwrap()
        }
        paths => paths.unwrap(),
    }
}

#[test]
#[ignore = "fetches some hundreds of megabytes of packages"]
fn agrees_with_dpkg_deb() {
    let mut packages = BTreeSet::new();
    if let Ok(named) = env::var("SAMOVAR_UNPACK") {
        for path in named.split_ascii_whitespace().map(PathBuf::from) {
            match fs::read_dir(&path) {
                Ok(entries) => {
                    let paths = entries.map(|entry| entry.unwrap().path());
                    packages.extend(paths.filter(|path| path.extension().is_some_and(|end| end == "deb")));
                }
                Err(_) => drop(packages.insert(path)),
            }
        }
    } else {
        let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes");
        let store = Store::open(Path::new(env!("CARGO_TARGET_TMPDIR")).join("packages")).unwrap();
        for entry in fs::read_dir(recipes).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                packages.extend(packages_of(&RecipeFile::read(&path).unwrap(), &store));
            }
        }
    }
    assert!(!packages.is_empty());
    let scratch = tempfile::tempdir().unwrap();
    for package in &packages {
        compare(package, scratch.path());
    }
    eprintln!("{} packages are the same", packages.len());
}
