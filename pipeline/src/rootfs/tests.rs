use std::process::Command;

use ext4_view::Ext4;
use store::Store;

use super::*;

const A: Attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };

/// `cap_net_raw+ep` as Linux keeps it (struct vfs_cap_data, version 2 with the effective bit).
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn file(bytes: &[u8]) -> Kind {
    Kind::File(Content::Memory(bytes.into()))
}

/// A tree with one of everything.
fn sample() -> Tree {
    let mut tree = base().unwrap();
    tree.add("/bin/busybox", Attributes::root(0o4755), file(&[7; 10_000])).unwrap();
    tree.link("/usr/bin/again", "/usr/bin/busybox").unwrap();
    let busybox = tree.find("/bin/busybox").unwrap();
    tree.node_mut(busybox).xattrs.insert("security.capability".into(), CAPABILITY.into());
    let root = tree.root();
    tree.node_mut(root).xattrs.insert("user.large".into(), vec![b'x'; 300]);
    tree.add("/etc/hostname", A, file(b"samovar\n")).unwrap();
    tree.add("/etc/empty", A, file(b"")).unwrap();
    tree.add("/long", Attributes::root(0o777), Kind::Symlink("x".repeat(200))).unwrap();
    tree.add("/dev/null", Attributes::root(0o666), Kind::Character(1, 3)).unwrap();
    tree.add("/pipe", A, Kind::Fifo).unwrap();
    tree.make_directory("/home/user", Attributes { mode: 0o700, uid: 1000, gid: 1000 }).unwrap();
    for number in 0..700 {
        tree.add(&format!("/many/{number:0>40}"), A, file(format!("{number}").as_bytes())).unwrap();
    }
    // Larger than one block group can hold with its metadata, and mostly zeros.
    let mut large = vec![0; 140 << 20];
    large[100 << 20] = 1;
    tree.add("/large", A, file(&large)).unwrap();
    tree
}

fn image(tree: &Tree) -> (tempfile::TempDir, PathBuf, store::Hash) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let mut staging = store.stage().unwrap();
    let mut out = staging.create("rootfs.ext4").unwrap();
    write_image(tree, "samovar", 100, &mut out).unwrap();
    let entry = staging.add(out).unwrap();
    let artifact = staging.commit(store::Kind::Rootfs, BTreeMap::new(), serde_json::json!({})).unwrap();
    let path = artifact.file("rootfs.ext4").unwrap();
    (dir, path, entry.sha256)
}

#[test]
fn another_reader_finds_everything() {
    let (_dir, path, hash) = image(&sample());
    assert_eq!(store::hash_file(&path).unwrap().0, hash);
    let fs = Ext4::load_from_path(&path).unwrap();
    assert_eq!(fs.label().to_str().unwrap(), "samovar");
    assert_eq!(fs.read("/etc/hostname").unwrap(), b"samovar\n");
    assert_eq!(fs.read("/etc/empty").unwrap(), b"");
    assert_eq!(fs.read("/bin/again").unwrap(), vec![7; 10_000]);
    assert_eq!(fs.metadata("/usr/bin/busybox").unwrap().mode(), 0o4755);
    assert_eq!(fs.read_link("/bin").unwrap().to_str().unwrap(), "usr/bin");
    assert_eq!(fs.read_link("/long").unwrap().to_str().unwrap(), "x".repeat(200));
    let home = fs.metadata("/home/user").unwrap();
    assert_eq!((home.mode(), home.uid(), home.gid()), (0o700, 1000, 1000));
    let many: Vec<_> =
        fs.read_dir("/many").unwrap().map(|entry| entry.unwrap().file_name().display().to_string()).collect();
    assert_eq!(many.iter().filter(|name| name.len() == 40).count(), 700);
    let large = fs.read("/large").unwrap();
    assert!(large.len() == 140 << 20 && large[100 << 20] == 1);
}

#[test]
fn e2fsck_has_nothing_to_say() {
    let (_dir, path, _) = image(&sample());
    let output = ["e2fsck", "/sbin/e2fsck", "/usr/sbin/e2fsck"]
        .iter()
        .find_map(|program| Command::new(program).arg("-fn").arg(&path).output().ok());
    let Some(output) = output else {
        eprintln!("no e2fsck on this host");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

/// Read by e2fsprogs' own debugger: the other reader knows none.
#[test]
fn extended_attributes_are_there() {
    let (dir, path, _) = image(&sample());
    for (file, name, value) in
        [("/usr/bin/busybox", "security.capability", &CAPABILITY[..]), ("/", "user.large", &[b'x'; 300])]
    {
        let out = dir.path().join("value");
        let request = format!("ea_get -f {} {file} {name}", out.display());
        let output = ["debugfs", "/sbin/debugfs", "/usr/sbin/debugfs"]
            .iter()
            .find_map(|program| Command::new(program).args(["-R", &request]).arg(&path).output().ok());
        let Some(output) = output else {
            eprintln!("no debugfs on this host");
            return;
        };
        assert!(
            fs::read(&out).is_ok_and(|found| found == value),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn equal_trees_give_equal_images() {
    let (one, two) = (image(&sample()), image(&sample()));
    assert_eq!(one.2, two.2);
    let mut tree = sample();
    tree.replace("/etc/hostname", A, file(b"other\n")).unwrap();
    assert_ne!(image(&tree).2, one.2);
}

#[test]
fn a_small_tree_fits_too() {
    let (_dir, path, _) = image(&base().unwrap());
    assert!(Ext4::load_from_path(&path).is_ok());
    assert!(fs::metadata(&path).unwrap().len() <= 16 << 20);
}

#[test]
fn what_the_filter_takes() {
    let filter = |drop: &[&str], keep: &[&str]| {
        let patterns = |globs: &[&str]| globs.iter().map(|text| glob::Pattern::new(text).unwrap()).collect();
        Filter { drop: patterns(drop), keep: patterns(keep), programs: Vec::new() }
    };
    let docs = filter(&["/usr/share/doc", "/usr/bin/*", "/usr/lib/**/*.a"], &["/usr/bin/busybox"]);
    for dropped in
        ["/usr/share/doc", "/usr/share/doc/x/copyright", "/usr/bin/x", "/usr/lib/a/b/c.a", "/usr/bin/x/y"]
    {
        assert!(!docs.takes(dropped), "{dropped}");
    }
    for taken in ["/usr/share/docs", "/usr", "/usr/bin", "/usr/bin/busybox", "/usr/lib/c.so", "/"] {
        assert!(docs.takes(taken), "{taken}");
    }
}

/// A recipe beside an overlay directory.
fn recipe(dir: &Path, rootfs: &str) -> RecipeFile {
    let path = dir.join("r.toml");
    let text = format!(
        "name = 'r'\ndebian = {{ release = 'trixie' }}\nkernel = {{ package = 'kk', command-line = '' }}\n\
         initramfs = {{ busybox = 'busybox-static', init = 'init', modules = [] }}\noverlay = {{ size = '1M' }}\n\
         machine = {{ cpus = 1, memory = '64M', display = {{ width = 64, height = 64 }} }}\n\
         warm-base = {{ ready = {{ console = 'x' }}, limit-seconds = 1 }}\n\
         [rootfs]\nlabel = 'r'\npackages = []\noverlay = ['files']\n{rootfs}"
    );
    fs::write(&path, text).unwrap();
    RecipeFile::read(&path).unwrap()
}

#[test]
fn the_recipes_own_part() {
    let dir = tempfile::tempdir().unwrap();
    let files = dir.path().join("files");
    fs::create_dir_all(files.join("home/u")).unwrap();
    fs::write(files.join("init"), "#!").unwrap();
    fs::set_permissions(files.join("init"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(files.join("home/u/x"), "x").unwrap();
    let recipe = recipe(
        dir.path(),
        "applets = ['ls', 'cat']\nsymlinks = { '/a' = 'b' }\ndirectories = ['/srv/x']\n\
         permissions = [{ path = '/home/u', mode = '0700', uid = 7, gid = 8, recursive = true }]",
    );
    let mut tree = base().unwrap();
    tree.add("/usr/bin/cat", A, file(b"a package's")).unwrap();
    finish(&mut tree, &recipe).unwrap();
    let node = |path: &str| tree.node(tree.find(path).unwrap());
    assert_eq!(node("/init").attributes, Attributes::root(0o755));
    assert_eq!(node("/home/u").attributes, Attributes { mode: 0o700, uid: 7, gid: 8 });
    assert_eq!(node("/home/u/x").attributes, Attributes { mode: 0o644, uid: 7, gid: 8 });
    assert!(matches!(&node("/bin/ls").kind, Kind::Symlink(_)) || tree.find("/usr/bin/ls").is_some());
    assert!(matches!(&node("/usr/bin/cat").kind, Kind::File(_)));
    assert!(tree.find("/srv/x").is_some() && tree.find("/a").is_some());
    assert_eq!(node("/tmp").attributes.mode, 0o1777);
}

#[test]
fn files_are_written_and_json_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("files")).unwrap();
    fs::write(dir.path().join("files/motd"), "an overlay's").unwrap();
    let good = "files = { '/motd' = 'mine', '/run.sh' = '#!' }\npermissions = [{ path = '/run.sh', mode = '0755' }]\n\
        json = { '/a.json' = { b = { d = 4 }, a = [1] }, '/new/b.json' = { x = true } }";
    let file_recipe = recipe(dir.path(), good);
    let mut tree = base().unwrap();
    let private = Attributes { mode: 0o600, uid: 5, gid: 5 };
    tree.add("/a.json", private, file(br#"{ "z": 1, "b": { "c": null, "d": [] } }"#)).unwrap();
    finish(&mut tree, &file_recipe).unwrap();
    let node = |path: &str| tree.node(tree.find(path).unwrap());
    let text = |path: &str| match &node(path).kind {
        Kind::File(content) => String::from_utf8(content.bytes().unwrap()).unwrap(),
        other => panic!("{other:?}"),
    };
    assert_eq!((text("/motd"), node("/motd").attributes), ("mine".into(), A));
    assert_eq!(node("/run.sh").attributes, Attributes::root(0o755));
    let changed =
        "{\n  \"a\": [\n    1\n  ],\n  \"b\": {\n    \"c\": null,\n    \"d\": 4\n  },\n  \"z\": 1\n}\n";
    assert_eq!((text("/a.json").as_str(), node("/a.json").attributes), (changed, private));
    assert_eq!(text("/new/b.json"), "{\n  \"x\": true\n}\n");

    let mut tree = base().unwrap();
    tree.add("/a.json", A, file(b"// no JSON")).unwrap();
    let error = finish(&mut tree, &file_recipe).unwrap_err();
    assert!(error.to_string().starts_with("rootfs: `json` changes /a.json, which is no JSON: "), "{error}");
}

/// The project's example of a Firefox of one's own, over the files that the project's has.
#[test]
fn the_example_changes_two_policies_and_keeps_the_rest() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let (own, base_recipe) = ("recipes/my-firefox.toml", "recipes/firefox.toml");
    let [own, project] = [own, base_recipe].map(|path| {
        let mut tree = base().unwrap();
        finish(&mut tree, &RecipeFile::read(&root.join(path)).unwrap()).unwrap();
        match &tree.node(tree.find("/etc/firefox/policies/policies.json").unwrap()).kind {
            Kind::File(content) => serde_json::from_slice::<Value>(&content.bytes().unwrap()).unwrap(),
            other => panic!("{other:?}"),
        }
    });
    let mut expected = project.clone();
    assert_eq!(project["policies"]["Homepage"]["StartPage"], "homepage");
    expected["policies"]["Homepage"]["URL"] = "file:///usr/share/samovar/tour.html".into();
    expected["policies"]["DisablePrivateBrowsing"] = true.into();
    assert_eq!(own, expected);
}
