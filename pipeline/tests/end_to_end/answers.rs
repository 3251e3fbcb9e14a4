//! `--json`: what each command answers with is what is there, and has the very fields that its help says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use store::Artifact;

use crate::programs::{built, copy_tree, link_tree, lock, run, runner, samovar, succeeded, workspace};

/// Commands without `--json`: what they print is for other programs as it is, or they show a guest.
const WITHOUT: [&str; 5] = ["run", "schema", "completions", "man", "help"];

/// Fields whose values are the recipe's or the artifact's own, so that no help can name what is in them.
const FREE: [&str; 4] = ["meta", "needs", "inputs", "provenance"];

/// A directory with the recipes, their files, and a store that has all of hello.
pub struct Desk(tempfile::TempDir);

impl Desk {
    pub fn new() -> Desk {
        let dir = tempfile::tempdir().unwrap();
        for part in ["recipes", "guest-rootfs"] {
            copy_tree(&workspace().join(part), &dir.path().join(part));
        }
        fs::copy(lock(), dir.path().join("recipes/hello.lock")).unwrap();
        for entry in fs::read_dir(built().parent().unwrap()).unwrap().map(|entry| entry.unwrap()) {
            if entry.path().is_dir() && entry.file_name() != ".staging" {
                link_tree(&entry.path(), &dir.path().join("store").join(entry.file_name()));
            }
        }
        Desk(dir)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn run(&self, words: &str) -> Output {
        run(samovar().current_dir(self.0.path()).args(words.split(' ')))
    }

    /// What a command that ends well answers, whose fields must be those that its help names.
    fn answer(&self, words: &str) -> Value {
        let output = self.run(&format!("{words} --json"));
        succeeded(&output);
        let value: Value = serde_json::from_slice(&output.stdout).unwrap();
        check_fields(words, &value);
        value
    }
}

/// The names between backticks in what the help of a command says of `--json`.
fn documented(command: &str) -> BTreeSet<String> {
    let help = run(samovar().args([command, "--help"]));
    let help = String::from_utf8(help.stdout).unwrap();
    let (_, text) = help.split_once("      --json\n").unwrap_or_else(|| panic!("{command} has no --json"));
    let end = text.find("\n      --").or(text.find("\n  -")).unwrap();
    let quoted = text[..end].split('`').skip(1).step_by(2);
    let mut names = BTreeSet::new();
    for name in quoted {
        match name.strip_prefix("samovar ").and_then(|rest| rest.strip_suffix(" --json")) {
            Some(other) => names.extend(documented(other)),
            None => names.extend([name.to_owned()]),
        }
    }
    names
}

fn fields(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| fields(item, found)),
        Value::Object(map) => {
            for (key, value) in map {
                found.insert(key.clone());
                if !FREE.contains(&&**key) {
                    fields(value, found);
                }
            }
        }
        _ => {}
    }
}

fn check_fields(words: &str, value: &Value) {
    let mut found = BTreeSet::new();
    fields(value, &mut found);
    let named = documented(words.split(' ').next().unwrap());
    let unnamed: Vec<_> = found.difference(&named).collect();
    assert!(unnamed.is_empty(), "{words}: {unnamed:?} are not in the help: {value:#}");
}

fn text(output: &Output) -> String {
    succeeded(output);
    String::from_utf8(output.stdout.clone()).unwrap().trim().to_owned()
}

fn hash() -> String {
    built().file_name().unwrap().to_str().unwrap().to_owned()
}

#[test]
fn every_command_that_answers_does_so_as_json() {
    let help = String::from_utf8(run(samovar().arg("--help")).stdout).unwrap();
    let commands = help.split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    for command in commands.lines().map(|line| line.split_whitespace().next().unwrap()) {
        let help = String::from_utf8(run(samovar().args([command, "--help"])).stdout).unwrap();
        assert_eq!(help.contains("--json"), !WITHOUT.contains(&command), "{command}");
        assert!(WITHOUT.contains(&command) || !documented(command).is_empty(), "{command}");
    }
}

#[test]
fn the_schema_is_the_one_beside_the_recipes() {
    let printed: Value = serde_json::from_str(&text(&run(samovar().arg("schema")))).unwrap();
    let kept = fs::read(workspace().join("recipes/recipe.schema.json")).unwrap();
    assert_eq!(printed, serde_json::from_slice::<Value>(&kept).unwrap());
}

#[test]
fn what_is_said_of_recipes_is_so() {
    let desk = Desk::new();
    let hello = "recipes/hello.toml";
    let checked = desk.answer(&format!("check {hello}"));
    assert_eq!(checked, serde_json::json!([{ "recipe": hello, "ok": true, "locked": true, "error": null }]));
    fs::write(desk.path("recipes/bad.toml"), "name = 7\n").unwrap();
    let output = desk.run(&format!("check {hello} recipes/bad.toml --json"));
    assert_eq!(output.status.code(), Some(2));
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    check_fields("check", &checked);
    assert_eq!((&checked[0]["ok"], &checked[1]["ok"]), (&true.into(), &false.into()));
    let error = checked[1]["error"].as_str().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains(&format!("error: {error}\n")), "{error}");

    // One in an older format is written anew.
    let before = fs::read(desk.path("recipes/hello.lock")).unwrap();
    let renewed = desk.answer(&format!("lock {hello} --store store"));
    assert_eq!(renewed["written"], fs::read(desk.path("recipes/hello.lock")).unwrap() != before);
    let locked = desk.answer(&format!("lock {hello} --store store"));
    let table: toml::Table = fs::read_to_string(desk.path("recipes/hello.lock")).unwrap().parse().unwrap();
    let names = |value: Vec<&str>| value.into_iter().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(
        names(
            locked["packages"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect()
        ),
        names(table["package"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect())
    );
    assert_eq!((&locked["written"], &locked["changes"]), (&false.into(), &serde_json::json!([])));

    let key = desk.answer(&format!("key {hello}"));
    assert_eq!(key["key"].as_str().unwrap(), text(&desk.run(&format!("key {hello}"))));
    assert_eq!(key["name"], "hello");
    let new = desk.answer("new mine");
    assert_eq!((&new["path"], &new["name"]), (&"mine.toml".into(), &"mine".into()));
    assert!(fs::read_to_string(desk.path("mine.toml")).unwrap().contains("name = \"mine\""));

    let built_now = desk.answer(&format!("build {hello} --locked --store store"));
    assert_eq!(built_now["hash"], *hash());
    assert_eq!(
        (&built_now["path"], &built_now["built"]),
        (&format!("store/{}", hash()).into(), &serde_json::json!([]))
    );
    let tree = desk.answer(&format!("tree {hello} --store store"));
    let steps = ["kernel", "initramfs", "rootfs", "warm-base"];
    let why = desk.answer(&format!("why {hello} --store store"));
    for (at, step) in steps.iter().enumerate() {
        assert_eq!(
            (tree[at]["step"].as_str().unwrap().replace(' ', "-"), &why[at]["step"]),
            ((*step).into(), &tree[at]["step"])
        );
        let artifact = tree[at]["artifact"].as_str().unwrap();
        assert_eq!(Artifact::open(desk.path("store").join(artifact)).unwrap().hash().to_string(), artifact);
        assert_eq!((&why[at]["state"], &why[at]["reasons"]), (&"up to date".into(), &serde_json::json!([])));
        // The key leads to the artifact.
        let pointer = desk.path("store/keys").join(tree[at]["key"].as_str().unwrap());
        assert_eq!(fs::read_to_string(pointer).unwrap().trim(), artifact);
    }
    fs::write(desk.path("guest-rootfs/hello/more"), "x").unwrap();
    let why = desk.answer(&format!("why {hello} --store store"));
    assert_eq!((&why[2]["state"], &why[1]["state"]), (&"to be built".into(), &"up to date".into()));
    assert!(why[2]["reasons"][0].as_str().unwrap().contains("/more"), "{why}");
    assert_eq!(desk.answer(&format!("tree {hello} --store store"))[3]["key"], Value::Null);
}

#[test]
fn what_is_said_of_artifacts_is_so() {
    let desk = Desk::new();
    let (hash, base) = (hash(), Artifact::open(desk.path("store").join(hash())).unwrap());
    let list = desk.answer("list --store store");
    let listed = list.as_array().unwrap();
    assert_eq!(listed.len(), 4);
    let own = listed.iter().find(|one| one["hash"] == *hash).unwrap();
    assert_eq!((&own["names"], &own["kind"]), (&serde_json::json!(["hello"]), &"warm-base".into()));
    let du = text(&run(std::process::Command::new("du").args(["-B1", "-s"]).arg(base.dir())));
    let directory = std::os::unix::fs::MetadataExt::blocks(&fs::metadata(base.dir()).unwrap()) * 512;
    let wanted: u64 = du.split('\t').next().unwrap().parse::<u64>().unwrap() - directory;
    assert_eq!(own["bytes_on_disk"].as_u64(), Some(wanted));

    let path = desk.answer("path hello --store store");
    assert_eq!((&path["path"], &path["hash"]), (&format!("store/{hash}").into(), &(*hash).into()));
    let verified = desk.answer("verify hello --store store");
    assert_eq!((&verified["hash"], &verified["kind"]), (&(*hash).into(), &"warm-base".into()));
    let info = desk.answer("info hello --store store");
    let manifest: Value =
        serde_json::from_slice(&fs::read(base.dir().join("manifest.json")).unwrap()).unwrap();
    for field in ["kind", "files", "needs", "meta"] {
        assert_eq!(info[field], manifest[field], "{field}");
    }
    let rootfs = base.manifest().needs["rootfs"].to_string();
    let dropped = desk.answer(&format!("info {rootfs} --dropped --store store"));
    let lines = text(&desk.run(&format!("info {rootfs} --dropped --store store")));
    assert_eq!(
        dropped.as_array().unwrap().iter().map(|one| one.as_str().unwrap()).collect::<Vec<_>>(),
        lines.lines().collect::<Vec<_>>()
    );
    let kernel = base.manifest().needs["kernel"].to_string();
    let differences = desk.answer(&format!("diff {kernel} {rootfs} --store store"));
    assert!(!differences.as_array().unwrap().is_empty());
    assert_eq!(desk.answer("diff hello hello --store store"), serde_json::json!([]));

    let keys = desk.answer("keygen -o mine");
    assert!(fs::read_to_string(desk.path("mine.pub")).unwrap().contains(keys["public"].as_str().unwrap()));
    assert_eq!((&keys["secret_key"], &keys["public_key"]), (&"mine.key".into(), &"mine.pub".into()));
    let packed = desk.answer("pack hello --store store -o it --sign mine.key");
    assert_eq!(packed["bytes"].as_u64(), Some(fs::metadata(desk.path("it")).unwrap().len()));
    assert_eq!((&packed["signed"], &packed["artifact"]), (&true.into(), &(*hash).into()));
    let bundle = desk.answer("info it");
    assert_eq!((&bundle["root"], bundle["artifacts"].as_array().unwrap().len()), (&packed["root"], 4));
    assert!(bundle["signer"].is_string() && bundle["provenance"].is_object());
    let unpacked = desk.answer("unpack it --store other --trust mine.pub");
    assert_eq!(unpacked["new"].as_array().unwrap().len(), 4);
    assert_eq!((&unpacked["trusted"], &unpacked["name"]), (&true.into(), &"hello".into()));
    assert!(Artifact::open(desk.path(unpacked["path"].as_str().unwrap())).unwrap().verify().is_ok());
    assert_eq!(desk.answer("unpack it --store other")["new"], serde_json::json!([]));
    let pushed = desk.answer("push hello remote --store store");
    assert_eq!((&pushed["artifact"], &pushed["name"]), (&hash.clone().into(), &"hello".into()));
    assert_eq!((&pushed["signed"], &pushed["bytes_there"]), (&false.into(), &0.into()));
    let pulled = desk.answer("pull hello remote --store third");
    assert_eq!((&pulled["root"], &pulled["artifact"]), (&pushed["root"], &pushed["artifact"]));
    assert_eq!(
        (&pulled["new"].as_array().unwrap().len(), &pulled["bytes_fetched"]),
        (&4, &pulled["bytes_there"])
    );
}

#[test]
fn what_is_said_of_what_is_removed_is_so() {
    let desk = Desk::new();
    let hash = hash();
    let needs: Vec<String> = Artifact::open(desk.path("store").join(&hash))
        .unwrap()
        .manifest()
        .needs
        .values()
        .map(ToString::to_string)
        .collect();
    // The second is needed by the first as long as that is there, and the last by nothing that is.
    let output = desk.run(&format!("rm {} --json --store store", needs[0]));
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(serde_json::from_slice::<Value>(&output.stdout).unwrap()["removed"], serde_json::json!([]));
    assert_eq!(desk.answer(&format!("rm {hash} --store store"))["removed"], serde_json::json!([hash]));
    let broken = desk.path("store/partial").join(&hash);
    fs::write(&broken, [7; 9000]).unwrap();
    let dry = desk.answer("cleanup --dry-run --older-than 0s --store store");
    assert_eq!((&dry["dry_run"], dry["removed"].as_array().unwrap().len()), (&true.into(), 3));
    assert_eq!(dry["leftovers"][0]["path"].as_str(), Some(&*format!("store/partial/{hash}")));
    assert!(broken.exists());
    let young = desk.answer("cleanup --dry-run --store store");
    assert_eq!(young["leftovers"], serde_json::json!([]), "what broke off just now is kept");
    let gone = desk.answer("cleanup --older-than 0s --store store");
    assert_eq!((&gone["removed"], &gone["bytes_freed"]), (&dry["removed"], &dry["bytes_freed"]));
    assert!(!broken.exists());
    assert_eq!(desk.answer("list --store store"), serde_json::json!([]));
}

#[test]
fn what_is_said_of_the_host_is_so() {
    let desk = Desk::new();
    let output = desk.run("doctor --store store --json");
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    check_fields("doctor", &findings);
    assert_eq!(findings["ok"].as_bool(), Some(output.status.success()));
    let state = |name: &str| {
        let all = findings["findings"].as_array().unwrap();
        all.iter().find(|one| one["name"] == name).unwrap()["state"].clone()
    };
    assert_eq!((state("store"), state("soft")), ("ok".into(), "ok".into()));
    // The runner's own speaks of engines alone, in the same words.
    let output = run(runner().args(["doctor", "--json"]));
    let own: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(own["ok"].as_bool(), Some(output.status.success()));
    assert!(own["findings"].as_array().unwrap().iter().all(|one| one["detail"].is_string()), "{own}");
    // A store that cannot be is missing, and that is what the exit code says.
    let output = desk.run("doctor --store /proc/none --json");
    assert_eq!(output.status.code(), Some(7));
    let findings: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(findings["ok"], false);
    let missing = |one: &&Value| one["state"] == "missing" && one["name"] == "/proc/none";
    assert!(findings["findings"].as_array().unwrap().iter().any(|one| missing(&one)));
    assert!(Path::new("/proc").exists());
}
