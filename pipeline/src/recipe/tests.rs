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
    let path = Path::new("hello.toml");
    let recipe = parse::parse(path, text)?;
    check::check(path, text, &recipe)?;
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
fn errors_say_where() {
    let cases = [
        ("cpus = 2", "cpus = \"2\"", "hello.toml:24:8: invalid type"),
        ("cpus = 2", "cpus = 0", "hello.toml:24:1: `cpus` must be 1 to 8"),
        ("cpus = 2", "cpus = 9", "hello.toml:24:1: `cpus` must be 1 to 8"),
        ("cpus = 2", "cpus = -1", "hello.toml:24:8: "),
        ("\"256M\"", "\"256\"", "hello.toml:25:10: \"256\" is not a size"),
        ("\"256M\"", "\"257M\"", "hello.toml:25:1: `memory` must be a multiple of 2M"),
        ("\"64M\"", "\"512M\"", "hello.toml:21:1: `size` must be"),
        ("width = 1280", "width = 1", "hello.toml:26:13: `width` must be"),
        ("[\"busybox-static\"]", "[\"Busybox/../x\"]", "hello.toml:18:1: `packages` has a name"),
        ("\"virtio-rng\"", "\"virtio-mmio\"", "hello.toml:14:1: `modules` names a module twice"),
        ("label = \"hello\"", "label = \"a b\"", "hello.toml:17:1: `label` must be"),
        ("\"hello\"", "\"../hello\"", "hello.toml:2:1: `name` may have"),
        ("limit-seconds = 60", "limit-seconds = 0", "hello.toml:30:1: `limit-seconds`"),
        ("\"console=ttyAMA0\"", "\"a\\nb\"", "hello.toml:9:1: `command-line` must be printable"),
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
    ] {
        with(bad).expect_err(bad);
    }
}

proptest::proptest! {
    #[test]
    fn any_text_is_parsed_or_refused(text: String, at in 0..GOOD.len(), piece: String) {
        let _ = read(&text);
        let at = (0..=at).rev().find(|at| GOOD.is_char_boundary(*at)).unwrap_or(0);
        let _ = read(&format!("{}{piece}{}", &GOOD[..at], &GOOD[at..]));
    }
}
