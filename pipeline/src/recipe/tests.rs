use std::path::Path;

use super::*;

const GOOD: &str = r#"
name = "hello"

[debian]
release = "trixie"

[kernel]
package = "linux-image-arm64"
command-line = "console=ttyAMA0"

[initramfs]
busybox = "busybox-static"
init = "init"
modules = ["virtio_mmio", "virtio-rng"]

[rootfs]
label = "hello"
packages = ["busybox-static"]

[overlay]
size = "64M"

[machine]
cpus = 2
memory = "256M"
display = { width = 1280, height = 800 }

[warm-base]
ready = { console = "samovar: ready" }
limit-seconds = 60
"#;

fn read(text: &str) -> Result<Recipe, RecipeError> {
    let mut sources = source::Sources::default();
    sources.add(Path::new("hello.toml"), text.to_owned());
    let tree = extends::merged(&sources)?;
    let recipe = parse::parse(&sources, tree.clone())?;
    check::check(&sources, &tree, &recipe)?;
    Ok(recipe)
}

/// The error and hint that a change to the good recipe leads to.
fn broken(from: &str, to: &str) -> (String, Option<String>) {
    assert!(GOOD.contains(from), "{from}");
    let error = read(&GOOD.replacen(from, to, 1)).expect_err(to);
    (error.to_string(), error.hint())
}

#[test]
fn a_good_recipe() {
    let recipe = read(GOOD).unwrap();
    assert_eq!(recipe.machine.memory.bytes(), 256 << 20);
    assert_eq!(recipe.debian.components, ["main"]);
    assert_eq!(recipe.rootfs.image, "rootfs.ext4");
}

#[test]
fn a_misspelt_field_is_put_right() {
    let (error, hint) = broken("memory =", "memroy =");
    assert_eq!(error, "hello.toml:25:1: unknown field `memroy`");
    assert_eq!(hint.unwrap(), "did you mean `memory`?");
    let (error, hint) = broken("command-line", "command_line");
    assert_eq!(error, "hello.toml:9:1: unknown field `command_line`");
    assert_eq!(hint.unwrap(), "did you mean `command-line`?");
    let (error, hint) = broken("[warm-base]", "[warmbase]");
    assert_eq!(error, "hello.toml:28:2: unknown field `warmbase`");
    assert_eq!(hint.unwrap(), "did you mean `warm-base`?");
    let (error, hint) = broken("height", "zzz");
    assert_eq!(error, "hello.toml:26:27: unknown field `zzz`");
    assert_eq!(hint.unwrap(), "known here: width, height");
}

#[test]
fn a_field_in_the_wrong_table_is_put_right() {
    for (line, hint) in [
        ("memory = \"64M\"", "`memory` belongs in [machine]"),
        ("packages = []", "`packages` belongs in [rootfs]"),
        ("console = \"x\"", "`console` belongs in [warm-base.ready]"),
    ] {
        let (_, told) = broken("[overlay]", &format!("[overlay]\n{line}"));
        assert_eq!(told.unwrap(), hint);
    }
}

#[test]
fn the_line_is_shown() {
    let error =
        read(&GOOD.replace("\"virtio_mmio\", \"virtio-rng\"", "\"virtio_mmio\", \"a b\"")).unwrap_err();
    let expected =
        "   |\n14 | modules = [\"virtio_mmio\", \"a b\"]\n   |                           ^^^^^\n   |";
    assert_eq!(error.excerpt(), Some(expected));
}

#[test]
fn errors_say_where() {
    let cases = [
        ("cpus = 2", "cpus = \"2\"", "hello.toml:24:8: invalid type: string \"2\", expected a whole number"),
        ("cpus = 2", "cpus = 0", "hello.toml:24:8: `cpus` must be 1 to 8"),
        ("cpus = 2", "cpus = 9", "hello.toml:24:8: `cpus` must be 1 to 8"),
        ("cpus = 2", "cpus = -1", "hello.toml:24:8: "),
        ("\"256M\"", "\"256\"", "hello.toml:25:10: \"256\" is not a size"),
        ("\"256M\"", "256", "hello.toml:25:10: invalid type: integer `256`, expected a size such as \"64M\""),
        ("\"256M\"", "\"257M\"", "hello.toml:25:10: `memory` must be a multiple of 2M"),
        ("\"64M\"", "\"512M\"", "hello.toml:21:8: `size` must be"),
        ("width = 1280", "width = 1", "hello.toml:26:21: `width` must be"),
        (
            "\"busybox-static\"]",
            "\"a1\", \"Busy/../x\"]",
            "hello.toml:18:19: \"Busy/../x\" is no package's name",
        ),
        (
            "[\"busybox-static\"]",
            "\"busybox\"",
            "hello.toml:18:12: invalid type: string \"busybox\", expected a list",
        ),
        ("\"virtio-rng\"", "\"virtio-mmio\"", "hello.toml:14:27: \"virtio-mmio\" is named twice"),
        ("label = \"hello\"", "label = \"a b\"", "hello.toml:17:9: `label` must be"),
        ("\"hello\"", "\"../hello\"", "hello.toml:2:8: `name` may have"),
        ("limit-seconds = 60", "limit-seconds = 0", "hello.toml:30:17: `limit-seconds`"),
        ("\"console=ttyAMA0\"", "\"a\\nb\"", "hello.toml:9:16: `command-line` must be printable"),
        ("[overlay]\nsize = \"64M\"\n", "", "hello.toml:1:1: missing field `overlay`"),
        ("name = \"hello\"", "name = ", "hello.toml:2:8: "),
    ];
    for (from, to, start) in cases {
        let (error, _) = broken(from, to);
        assert!(error.starts_with(start), "{error:?} should begin with {start:?}");
    }
}

#[test]
fn paths_stay_inside() {
    let with = |line: &str| read(&GOOD.replace("[overlay]", &format!("{line}\n[overlay]")));
    for good in [
        "directories = [\"/run\"]",
        "symlinks = { \"/a\" = \"../x\" }",
        "drop = [\"/usr/share/doc/**\"]",
        "permissions = [{ path = \"/tmp\", mode = \"1777\" }]",
        "files = { \"/etc/motd\" = \"x\" }",
        "json = { \"/etc/a.json\" = { a = [1, 2.5, true, \"x\", { b = {} }] } }",
    ] {
        with(good).expect(good);
    }
    for bad in [
        "directories = [\"run\"]",
        "directories = [\"/a/../b\"]",
        "directories = [\"/\"]",
        "symlinks = { \"/a/./b\" = \"x\" }",
        "drop = [\"/usr/[\"]",
        "permissions = [{ path = \"/tmp\", mode = \"1888\" }]",
        "permissions = [{ path = \"/tmp\", mode = \"17777\" }]",
        "files = { \"etc/motd\" = \"x\" }",
        "files = { \"/etc/motd\" = 1 }",
        "json = { \"/etc/./a.json\" = {} }",
        "json = { \"/etc/a.json\" = [] }",
        "json = { \"/etc/a.json\" = { a = [2026-11-25] } }",
        "json = { \"/etc/a.json\" = { a = { b = nan } } }",
    ] {
        with(bad).expect_err(bad);
    }
}

const PACKAGE: &str = "package = \"linux-image-arm64\"";
const MODULES: &str = "modules = [\"virtio_mmio\", \"virtio-rng\"]\n";
const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

#[test]
fn a_kernel_comes_from_one_place() {
    let with = |kernel: &str| read(&GOOD.replace(PACKAGE, kernel).replace(MODULES, ""));
    let source = with("source = \"linux-source-6.12\"\nconfig = \"my.config\"").unwrap().kernel;
    let config = Some(Path::new("my.config"));
    assert_eq!(source.origin(), Origin::Source { package: "linux-source-6.12", config });
    assert_eq!(source.locked(), Some("linux-source-6.12"));
    let own = with("source = \"linux-source\"").unwrap().kernel;
    assert_eq!(own.origin(), Origin::Source { package: "linux-source", config: None });
    let file = with(&format!("file = \"Image\"\nsha256 = \"{HASH}\"")).unwrap().kernel;
    assert_eq!(file.origin(), Origin::File { path: Path::new("Image"), sha256: HASH.parse().ok() });
    assert_eq!(file.locked(), None);
    assert_eq!(with(PACKAGE).unwrap().kernel.origin(), Origin::Package("linux-image-arm64"));

    let broken = |kernel: &str| {
        let error = with(kernel).expect_err(kernel);
        (error.to_string(), error.hint().unwrap_or_default())
    };
    for (kernel, message, hint) in [
        (
            "package = \"linux-image-arm64\"\nsource = \"linux-source\"",
            "9:10: `source` is a second kernel beside `package`",
            "take one of them out",
        ),
        ("source = \"linux-source\"\nfile = \"Image\"", "9:8: `file` is a second kernel", "take one"),
        ("", "7:1: `kernel` names no kernel", "add a `package` such as"),
        (
            "package = \"linux-image-arm64\"\nconfig = \"x\"",
            "9:10: `config` goes with `source`",
            "take it out",
        ),
        ("source = \"linux-source\"\nsha256 = \"x\"", "9:10: ", ""),
        (
            &format!("source = \"linux-source\"\nsha256 = \"{HASH}\""),
            "9:10: `sha256` goes with `file`",
            "take it out, or add `file`",
        ),
        ("file = \"Image\"", "8:8: `file` needs `sha256` beside it", "add what `sha256sum` says"),
        ("source = \"Linux\"", "8:10: `source` is not a package's name", ""),
        ("src = \"linux-source\"", "8:1: unknown field `src`", "did you mean `source`?"),
    ] {
        let (found, told) = broken(kernel);
        assert!(
            found.contains(&format!("hello.toml:{message}")) && told.starts_with(hint),
            "{found:?} {told:?}"
        );
    }
    // Nothing has modules but a package.
    let (error, hint) = broken_with_modules("source = \"linux-source\"");
    assert_eq!(error, "hello.toml:14:11: `modules` are of a kernel's package, and this kernel is from none");
    assert!(hint.starts_with("leave them out"));
}

fn broken_with_modules(kernel: &str) -> (String, String) {
    let (error, hint) = broken(PACKAGE, kernel);
    (error, hint.unwrap())
}

#[test]
fn a_kernel_from_elsewhere_takes_the_place_of_the_other() {
    let child = |kernel: &str, base: &str| {
        let child = format!("extends = \"base/hello.toml\"\nname = \"mine\"\n{kernel}");
        read_files(&[("r.toml", &*child), ("base/hello.toml", base)])
    };
    let source = "kernel.source = \"linux-source-6.12\"\nkernel.config = \"my.config\"\n";
    let recipe = child(source, GOOD).unwrap();
    let config = Some(Path::new("my.config"));
    assert_eq!(recipe.kernel.origin(), Origin::Source { package: "linux-source-6.12", config });
    assert_eq!(recipe.kernel.command_line, "console=ttyAMA0");
    assert!(recipe.initramfs.modules.is_empty(), "the package's modules went with it");

    let of_source =
        GOOD.replace(MODULES, "").replace(PACKAGE, "source = \"linux-source-6.1\"\nconfig = \"../a.config\"");
    // Another version of the same, and another configuration of the same: the rest stays, from where it is written.
    let config = Some(Path::new("base/../a.config"));
    let newer = child("kernel.source = \"linux-source-6.12\"", &of_source).unwrap();
    assert_eq!(newer.kernel.origin(), Origin::Source { package: "linux-source-6.12", config });
    let config = Some(Path::new("b.config"));
    let other = child("kernel.config = \"b.config\"", &of_source).unwrap();
    assert_eq!(other.kernel.origin(), Origin::Source { package: "linux-source-6.1", config });
    let file = format!("kernel.file = \"Image\"\nkernel.sha256 = \"{HASH}\"\n");
    let given = child(&file, &of_source).unwrap();
    assert_eq!(given.kernel.origin(), Origin::File { path: Path::new("Image"), sha256: HASH.parse().ok() });
    assert_eq!(given.kernel.config, None);
    let of_file = GOOD.replace(MODULES, "").replace(PACKAGE, &file.replace("kernel.", ""));
    let far = child("", &of_file).unwrap();
    assert_eq!(
        far.kernel.origin(),
        Origin::File { path: Path::new("base/Image"), sha256: HASH.parse().ok() }
    );
    let package = "kernel.package = \"linux-image-arm64\"\ninitramfs.modules = [\"ext4\"]";
    let packed = child(package, &of_file).unwrap();
    assert_eq!(packed.kernel.origin(), Origin::Package("linux-image-arm64"));
    assert_eq!((packed.kernel.sha256, &*packed.initramfs.modules), (None, &["ext4".to_owned()][..]));
    // Another package still has modules of these names.
    let cloud = child("kernel.package = \"linux-image-cloud-arm64\"", GOOD).unwrap();
    assert_eq!(cloud.initramfs.modules, ["virtio_mmio", "virtio-rng"]);

    let (error, _) = child(&format!("{source}kernel.package = \"linux-image-arm64\""), GOOD).unwrap_err();
    assert_eq!(error, "r.toml:3:17: `source` is a second kernel beside `package`");
    let (error, _) = child(&format!("{source}initramfs.modules = [\"ext4\"]"), GOOD).unwrap_err();
    assert!(error.starts_with("r.toml:5:21: `modules` are of a kernel's package"), "{error}");
}

/// Reads the first of several files.
fn read_files(files: &[(&str, &str)]) -> Result<Recipe, (String, Option<String>)> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let path = dir.path().join(files[0].0);
    let root = format!("{}/", dir.path().display());
    RecipeFile::read(&path)
        .map(|file| file.recipe)
        .map_err(|error| (error.to_string().replace(&root, ""), error.hint()))
}

const CHILD: &str = r#"
extends = "base/hello.toml"
name = "mine"

[debian]
components = ["contrib"]

[initramfs]
modules = ["virtio-rng", "fuse"]

[rootfs]
packages = ["nano", "busybox-static"]
exclude = ["less"]
overlay = ["files"]
symlinks = { "/b" = "2" }
json = { "/x.json" = { a = { c = [3] } } }

[machine]
memory = "512M"
display.width = 640
"#;

fn base() -> String {
    let more = "packages = [\"less\", \"bash\", \"busybox-static\"]\noverlay = [\"../files\", \"/srv\"]\n\
        exclude = [\"nano\", \"vim\"]\nsymlinks = { \"/a\" = \"1\", \"/b\" = \"1\" }\n\
        json = { \"/x.json\" = { a = { b = 1, c = [1, 2] } } }";
    GOOD.replace("packages = [\"busybox-static\"]", more)
}

#[test]
fn a_recipe_builds_on_another() {
    let recipe = read_files(&[("me/r.toml", CHILD), ("me/base/hello.toml", &base())]).unwrap();
    assert_eq!(recipe.name, "mine");
    assert_eq!(recipe.debian.components, ["contrib"]);
    assert_eq!(recipe.initramfs.modules, ["virtio_mmio", "virtio-rng", "fuse"]);
    // A path starts from the file that names it, whatever builds on that file.
    assert_eq!(recipe.initramfs.init, Some("base/init".into()));
    assert_eq!(recipe.rootfs.overlay, ["base/../files", "/srv", "files"].map(std::path::PathBuf::from));
    // The last word counts.
    assert_eq!(recipe.rootfs.packages, ["bash", "busybox-static", "nano"]);
    assert_eq!(recipe.rootfs.exclude, ["vim", "less"]);
    assert_eq!(recipe.rootfs.symlinks.values().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!(
        serde_json::json!(recipe.rootfs.json),
        serde_json::json!({ "/x.json": { "a": { "b": 1, "c": [3] } } })
    );
    assert_eq!((recipe.machine.memory.bytes(), recipe.machine.cpus), (512 << 20, 2));
    assert_eq!((recipe.machine.display.width, recipe.machine.display.height), (640, 800));
}

#[test]
fn a_recipe_builds_on_one_that_builds_on_another() {
    let middle =
        "extends = \"../base.toml\"\nname = \"middle\"\ninitramfs.init = \"mine\"\nrootfs.overlay = [\"m\"]";
    let near = "extends = \"deep/middle.toml\"\nname = \"near\"\nrootfs.overlay = [\"n\"]";
    let recipe =
        read_files(&[("r.toml", near), ("deep/middle.toml", middle), ("base.toml", &base())]).unwrap();
    assert_eq!(recipe.initramfs.init, Some("deep/mine".into()));
    let expected = ["deep/../../files", "/srv", "deep/m", "n"].map(std::path::PathBuf::from);
    assert_eq!(recipe.rootfs.overlay, expected);
}

#[test]
fn errors_are_told_in_the_file_they_are_in() {
    let with =
        |child: &str, base: &str| read_files(&[("r.toml", child), ("base/hello.toml", base)]).unwrap_err();
    let (error, _) = with(CHILD, &base().replace("cpus = 2", "cpus = 20"));
    assert_eq!(error, "base/hello.toml:28:8: `cpus` must be 1 to 8");
    let (error, hint) = with(CHILD, &base().replace("cpus = 2", "cpu = 2"));
    assert_eq!(
        (&*error, &*hint.unwrap()),
        ("base/hello.toml:28:1: unknown field `cpu`", "did you mean `cpus`?")
    );
    let (error, _) = with(CHILD, "name = ");
    assert!(error.starts_with("base/hello.toml:1:8: "), "{error}");
    let (error, _) = with(&CHILD.replace("640", "6"), &base());
    assert_eq!(error, "r.toml:20:17: `width` must be 64 to 8192");
    let (error, hint) = with(&CHILD.replace("name = \"mine\"", ""), &base());
    assert_eq!(error, "r.toml:1:1: missing field `name`");
    assert!(hint.unwrap().contains("takes none over"));
}

#[test]
fn circles_and_dead_ends_are_refused() {
    let (error, _) = read_files(&[("r.toml", "extends = \"r.toml\"")]).unwrap_err();
    assert_eq!(error, "r.toml:1:11: this recipe builds on itself in the end");
    let (error, _) =
        read_files(&[("r.toml", "extends = \"x/s.toml\""), ("x/s.toml", "\nextends = \"../r.toml\"")])
            .unwrap_err();
    assert_eq!(error, "x/s.toml:2:11: this recipe builds on itself in the end");
    let (error, hint) = read_files(&[("r.toml", "extends = \"x/s.toml\"")]).unwrap_err();
    assert!(error.starts_with("r.toml:1:11: x/s.toml: No such file"), "{error}");
    assert!(hint.unwrap().starts_with("the path starts from"));
    let (error, _) = read_files(&[("r.toml", "extends = 1")]).unwrap_err();
    assert_eq!(error, "r.toml:1:11: `extends` must be the path of a recipe");
    let chain: Vec<(String, String)> =
        (0..9).map(|number| (format!("{number}"), format!("extends = \"{}\"", number + 1))).collect();
    let chain: Vec<(&str, &str)> = chain.iter().map(|(name, text)| (&**name, &**text)).collect();
    let (error, _) = read_files(&chain).unwrap_err();
    assert_eq!(error, "7:1:11: more than 8 recipes build on one another");
}

proptest::proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text: String, at in 0..GOOD.len(), piece: String) {
        let _ = read(&text);
        let at = (0..=at).rev().find(|at| GOOD.is_char_boundary(*at)).unwrap_or(0);
        let _ = read(&format!("{}{piece}{}", &GOOD[..at], &GOOD[at..]));
    }
}
