use super::*;
use crate::recipe::Kernel;

/// As the first format was written; it stays readable for ever.
const V1: &str = r#"# The packages of the recipe beside this file, made by `samovar lock`.

version = 1
inputs = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

[[suite]]
archive = "debian"
name = "trixie"
date = "Sat, 21 Nov 2026 09:15:44 UTC"
in-release = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

[[package]]
name = "busybox-static"
version = "1:1.37.0-6+b9"
architecture = "arm64"
archive = "debian"
suite = "trixie"
path = "pool/main/b/busybox/busybox-static_1.37.0-6+b9_arm64.deb"
size = 847552
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
steps = ["initramfs", "rootfs"]
"#;

/// As the second format was first written; it stays readable for ever.
fn v2() -> String {
    let asked = "version = 2\n\n[request]\nrelease = \"trixie\"\ncomponents = [\"main\"]\nkernel = \"linux-image-arm64\"\n\
        busybox = \"busybox-static\"\npackages = [\n    \"busybox-static\",\n    \"tool\",\n]\nexclude = []\n";
    let (start, rest) = V1.split_once("version = 1\n").unwrap();
    format!("{start}{asked}{}", rest.split_once('\n').unwrap().1)
}

fn recipe(packages: &str) -> Recipe {
    let text = format!(
        "name = 'r'\ndebian = {{ release = 'trixie' }}\nkernel = {{ package = 'linux-image-arm64', command-line = '' }}\n\
         initramfs = {{ busybox = 'busybox-static', modules = [] }}\noverlay = {{ size = '1M' }}\n\
         machine = {{ cpus = 1, memory = '64M', display = {{ width = 64, height = 64 }} }}\n\
         warm-base = {{ ready = {{ console = 'x' }}, limit-seconds = 1 }}\nrootfs = {{ label = 'r', packages = {packages} }}"
    );
    toml::from_str(&text).unwrap()
}

#[test]
fn the_second_format_is_read_and_written() {
    let lock = format::parse(&v2()).unwrap();
    assert_eq!(lock.packages(Step::Rootfs).count(), 1);
    assert_eq!(format::to_text(&lock).unwrap(), v2());
}

#[test]
fn a_lock_knows_its_recipe() {
    let lock = format::parse(&v2()).unwrap();
    let own = recipe("['tool', 'busybox-static']");
    assert_eq!(lock.misfit(&own), None, "the order is no matter");
    assert_eq!(
        lock.misfit(&recipe("['other', 'tool']")).unwrap(),
        "was made for other packages: the recipe asks for other, busybox-static no longer"
    );
    // The hash of `hello`, as the first format had it in November 2026.
    let text = V1.replace(
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\n\n[[suite]]",
        "56cc7af856075eace20435cefa9530e4b51fed3c5bb1506d5aebbd4bab175f63\"\n\n[[suite]]",
    );
    let first = format::parse(&text).unwrap();
    let hello = recipe("['busybox-static']");
    assert_eq!(first.misfit(&hello), None);
    assert!(first.misfit(&own).is_some());
    let renewed = first.clone().renewed(&hello);
    assert_eq!(renewed.misfit(&hello), None);
    assert_eq!(renewed.all(), first.all());
}

/// A kernel that is a file needs no package, and its recipe's lock has none for it.
#[test]
fn a_lock_knows_where_the_kernel_comes_from() {
    let lock = format::parse(&v2()).unwrap();
    let kernel = |kernel: Kernel| {
        let mut recipe = recipe("['tool', 'busybox-static']");
        recipe.kernel = Kernel { command_line: String::new(), ..kernel };
        recipe
    };
    let nothing = recipe("[]").kernel;
    let source =
        kernel(Kernel { package: None, source: Some("linux-source-6.12".into()), ..nothing.clone() });
    let told = "was made for other packages: the recipe asks for kernel linux-source-6.12 instead of linux-image-arm64";
    assert_eq!(lock.misfit(&source).unwrap(), told);
    let file = kernel(Kernel { package: None, file: Some("Image".into()), ..nothing });
    assert!(lock.misfit(&file).unwrap().ends_with("kernel none instead of linux-image-arm64"));
    let own = lock.renewed(&file);
    let text = format::to_text(&own).unwrap();
    assert!(!text.contains("kernel ="), "{text}");
    assert_eq!(format::parse(&text).unwrap().misfit(&file), None);
}

#[test]
fn the_first_format_is_read() {
    let lock = format::parse(V1).unwrap();
    assert_eq!(lock.packages(Step::Rootfs).count(), 1);
    assert_eq!(lock.packages(Step::Kernel).count(), 0);
}

#[test]
fn what_is_refused() {
    for (from, to) in [
        ("version = 1\n", "version = 2\n"),
        ("version = 1\n", "version = 3\n"),
        ("pool/main", "../main"),
        ("size = 847552", "size = -1"),
        ("size = 847552", "size = 99999999999999"),
        ("\"rootfs\"", "\"root\""),
        ("suite = \"trixie\"", "suit = \"trixie\""),
        ("sha256 = \"ba", "sha256 = \"BA"),
    ] {
        assert!(V1.contains(from), "{from}");
        assert!(format::parse(&V1.replacen(from, to, 1)).is_err(), "{to}");
    }
    let package = V1.split_once("[[package]]").unwrap().1;
    assert!(format::parse(&format!("{V1}\n[[package]]{package}")).unwrap_err().contains("twice"));
}

#[test]
fn changes_are_told() {
    let old = format::parse(V1).unwrap();
    let new = format::parse(&V1.replace("-6+b9\"", "-7\"")).unwrap();
    let changes: Vec<String> = new.changes_since(&old).iter().map(ToString::to_string).collect();
    assert_eq!(changes, ["busybox-static 1:1.37.0-6+b9 -> 1:1.37.0-7"]);
    assert!(old.changes_since(&old).is_empty());
}
