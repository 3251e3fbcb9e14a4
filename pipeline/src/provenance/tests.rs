use super::*;

const RECIPES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../recipes");

/// A copy of a recipe of ours and what it names, somewhere else, and its provenance.
fn copied(root: &Path) -> Provenance {
    for (from, to) in [("hello.toml", "recipes/hello.toml"), ("hello.lock", "recipes/hello.lock")] {
        fs::create_dir_all(root.join("recipes")).unwrap();
        fs::copy(Path::new(RECIPES).join(from), root.join(to)).unwrap();
    }
    let initramfs = root.join("guest-rootfs/initramfs");
    fs::create_dir_all(&initramfs).unwrap();
    fs::write(initramfs.join("init"), "#!/bin/sh\n").unwrap();
    let overlay = root.join("guest-rootfs/hello");
    fs::create_dir_all(overlay.join("etc/empty")).unwrap();
    fs::write(overlay.join("init"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(overlay.join("init"), Permissions::from_mode(0o755)).unwrap();
    fs::write(overlay.join("etc/odd"), [0xff, 0, 1]).unwrap();
    symlink("../outside", overlay.join("etc/link")).unwrap();
    let file = RecipeFile::read(&root.join("recipes/hello.toml")).unwrap();
    let lock = Lock::load(&file.lock).unwrap().unwrap();
    Provenance::of(&file, &lock).unwrap().unwrap()
}

#[test]
fn it_is_the_same_wherever_the_recipe_lies_and_comes_back() {
    let dir = tempfile::tempdir().unwrap();
    let one = copied(&dir.path().join("one"));
    assert_eq!(one, copied(&dir.path().join("another/place")));
    let text = one.to_text().unwrap();
    assert!(!text.contains(dir.path().to_str().unwrap()));
    assert_eq!(Provenance::parse(Path::new("p"), &text).unwrap(), one);
    let root = dir.path().join("written");
    fs::create_dir(&root).unwrap();
    let (recipe, lock) = one.write(&root).unwrap();
    let file = RecipeFile::read(&recipe).unwrap().with_lock(Some(lock));
    reaches_out(&file, &root).unwrap();
    let lock = Lock::read(&file.lock, &file.recipe).unwrap().unwrap();
    assert_eq!(Provenance::of(&file, &lock).unwrap().unwrap(), one);
}

#[test]
fn paths_that_lead_out_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let good = copied(&dir.path().join("one")).to_text().unwrap();
    for path in ["../out", "/out", "a//b", "a/./b", "..", "", "a/../../b", "a\\u0000b"] {
        let text = good.replace("\"recipe.lock\"", &format!("\"{path}\""));
        assert!(text != good && Provenance::parse(Path::new("p"), &text).is_err(), "{path}");
    }
    assert!(Provenance::parse(Path::new("p"), &good.replace("\"format\": 1", "\"format\": 2")).is_err());
    assert!(Provenance::parse(Path::new("p"), "").is_err());

    // A recipe that reads what did not come with it, by its own words or through a link.
    let overlay = "\"../guest-rootfs/hello\"";
    assert!(good.contains(&overlay.replace('"', "\\\"")));
    for (number, (from, to)) in [
        (overlay.to_owned(), "\"../../outside\"".to_owned()),
        (overlay.to_owned(), format!("\"{}\"", dir.path().join("outside").display())),
        (overlay.to_owned(), "\"../guest-rootfs/hello/etc/link\"".to_owned()),
    ]
    .into_iter()
    .enumerate()
    {
        fs::create_dir_all(dir.path().join("outside")).unwrap();
        let escaped = |text: &str| text.replace('"', "\\\"");
        let text =
            good.replace(&escaped(&from), &escaped(&to)).replace("\"../outside\"", "\"../../../../outside\"");
        let provenance = Provenance::parse(Path::new("p"), &text).unwrap();
        let root = dir.path().join(format!("written-{number}"));
        fs::create_dir(&root).unwrap();
        let (recipe, _) = provenance.write(&root).unwrap();
        let error = reaches_out(&RecipeFile::read(&recipe).unwrap(), &root).unwrap_err();
        assert!(error.to_string().contains("did not come with it"), "{error}");
    }
}

#[test]
fn kernels_reach_out_too() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("written");
    copied(&root);
    fs::write(dir.path().join("outside"), "CONFIG_A=y\n").unwrap();
    let path = root.join("recipes/hello.toml");
    let text = fs::read_to_string(&path).unwrap();
    let (before, after) = text.split_once("modules = [").unwrap();
    let text = format!("{before}modules = [{}", &after[after.find(']').unwrap()..]);
    let hash = Hash::of(b"");
    for kernel in [
        "source = \"linux-source-6.12\"\nconfig = \"../../outside\"".to_owned(),
        format!("file = \"../../outside\"\nsha256 = \"{hash}\""),
    ] {
        let other = text.replace("package = \"linux-image-arm64\"", &kernel);
        assert!(other != text);
        fs::write(&path, other).unwrap();
        let error = reaches_out(&RecipeFile::read(&path).unwrap(), &root).unwrap_err();
        assert!(error.to_string().contains("did not come with it"), "{error}");
    }
}
