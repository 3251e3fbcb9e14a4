//! Recipes that are checked, and those that build on others.

use super::*;

/// Ten lines over a recipe that somebody else wrote, with its files elsewhere.
#[test]
fn a_recipe_of_ones_own_over_another() {
    let bench = Bench::new(&Archive::new());
    fs::create_dir_all(bench.path("base/files/etc")).unwrap();
    fs::write(bench.path("base/files/etc/issue"), "base\n").unwrap();
    let base = archive::RECIPE
        .replace("init = \"init\"\n", "")
        .replace("packages =", "overlay = [\"files\"]\npackages =");
    fs::write(bench.path("base/r.toml"), base).unwrap();
    let own = "extends = \"base/r.toml\"\nname = \"own\"\n\n[rootfs]\npackages = [\"config\"]\n\
        files = { \"/etc/motd\" = \"hello\\n\" }\n\n\
        [rootfs.json.\"/etc/app/policies.json\".policies]\nB.D = \"x\"\nE = [true]\n";
    fs::write(bench.path("own.toml"), own).unwrap();
    let output = bench.samovar(&["build", "own.toml", "--store", "store", "--until", "rootfs"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(bench.path("own.lock").exists() && !bench.path("base/r.lock").exists());
    let image = bench.path(text(&output.stdout)).join("rootfs.ext4");
    let image = ext4_view::Ext4::load_from_path(&image).unwrap();
    assert_eq!(image.read("/etc/issue").unwrap(), b"base\n");
    assert_eq!(image.read("/etc/motd").unwrap(), b"hello\n");
    assert!(image.exists("/usr/bin/tool").unwrap());
    let policies: serde_json::Value =
        serde_json::from_slice(&image.read("/etc/app/policies.json").unwrap()).unwrap();
    let expected = serde_json::json!({ "policies": { "A": 1, "B": { "C": 2, "D": "x" }, "E": [true] } });
    assert_eq!(policies, expected);

    // An error in the base is told in the base, with its text.
    let base = fs::read_to_string(bench.path("base/r.toml")).unwrap();
    fs::write(bench.path("base/r.toml"), base.replace("cpus = 1", "cpus = 100")).unwrap();
    let output = bench.samovar(&["check", "own.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = text(&output.stderr);
    assert!(stderr.starts_with("error: base/r.toml:18:8: `cpus` must be 1 to 8\n   |\n18 | cpus = 100\n   |        ^^^\n   |\nhint: "), "{stderr}");
}

#[test]
fn recipes_are_checked_without_a_mirror() {
    let bench = Bench::new(&Archive::new());
    let recipes = bench.path("recipes");
    fs::create_dir(&recipes).unwrap();
    let good = archive::RECIPE.replace("\"init\"", "\"../init\"");
    fs::write(recipes.join("a.toml"), good.replace("label", "lable")).unwrap();
    fs::write(recipes.join("b.toml"), &good).unwrap();
    fs::write(recipes.join("c.toml"), good.replace("../init", "absent")).unwrap();
    let output = bench.samovar(&["check"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stdout), "recipes/b.toml: ok");
    let stderr = text(&output.stderr);
    assert!(stderr.contains("error: recipes/a.toml:13:1: unknown field `lable`\n"), "{stderr}");
    assert!(
        stderr.contains("13 | lable = \"test\"\n   | ^^^^^\n   |\nhint: did you mean `label`?\n"),
        "{stderr}"
    );
    assert!(stderr.contains("recipes/b.toml: has no lock yet"), "{stderr}");
    assert!(stderr.contains("error: recipes/absent: No such file"), "{stderr}");
    assert_eq!(bench.mirror.requests(), 0);
    assert!(!bench.path("artifacts").exists());

    let output = bench.samovar(&["new", "recipes/mine"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "recipes/mine.toml"));
    let output = bench.samovar(&["new", "yours", "--extends", "recipes/mine.toml"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(0), "yours.toml"));
    let output = bench.samovar(&["check", "yours.toml", "recipes/mine.toml"]);
    assert_eq!(
        (output.status.code(), text(&output.stdout)),
        (Some(0), "yours.toml: ok\nrecipes/mine.toml: ok")
    );
    let again = bench.samovar(&["new", "yours"]);
    assert_eq!(again.status.code(), Some(2));
    assert_eq!(
        text(&again.stderr),
        "error: yours.toml: is there already\nhint: give another name, or remove the file"
    );
    assert_eq!(bench.samovar(&["new", "a b"]).status.code(), Some(2));
}

#[test]
fn the_projects_own_recipes_are_good() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_samovar")).arg("check").current_dir(root).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    let count = fs::read_dir(root.join("recipes")).unwrap().filter(|entry| {
        entry.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "toml")
    });
    assert_eq!(text(&output.stdout).lines().count(), count.count());
    assert_eq!(text(&output.stderr), "", "each has its lock");
}

#[test]
fn the_schema_is_the_one_in_the_repository() {
    let output = Command::new(env!("CARGO_BIN_EXE_samovar")).arg("schema").output().unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes/recipe.schema.json");
    let kept = fs::read_to_string(path).unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), kept, "samovar schema >recipes/recipe.schema.json");
}

#[test]
fn recipes_that_ask_too_much() {
    let bench = Bench::new(&Archive::new());
    let cases = [
        ("packages = [\"tool\"]", "packages = [\"tol\"]", 2, "there is no package tol; there is tool"),
        ("packages = [\"tool\"]", "packages = [\"unhappy\"]", 2, "unhappy depends on absent"),
        ("label = ", "lable = ", 2, "r.toml:"),
    ];
    for (from, to, code, reason) in cases {
        assert!(archive::RECIPE.contains(from));
        fs::write(bench.path("r.toml"), archive::RECIPE.replace(from, to)).unwrap();
        let output = bench.build("rootfs");
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{stderr}");
        assert!(stderr.contains(reason) && stderr.contains("\nhint: "), "{stderr}");
    }
    let modules = archive::RECIPE.replace("[\"alpha\", \"beta\"]", "[\"beta\"]");
    fs::write(bench.path("r.toml"), modules).unwrap();
    let output = bench.build("initramfs");
    assert_eq!(output.status.code(), Some(5), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("module beta needs alpha"));
    bench.store_is_sound();
    assert_eq!(bench.samovar(&["build"]).status.code(), Some(2));
    assert_eq!(bench.samovar(&["build", "absent.toml"]).status.code(), Some(2));
}
