//! A host that runs the steps of a workflow, as far as `bases.yml` needs one: expressions, step outputs, and the actions that
//! check out, cache and upload, done with directories.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::programs::{built, copy_tree, link_tree, lock, run, runner, succeeded, tool, workspace};

type Texts = BTreeMap<String, String>;

/// A step of a job.
#[derive(Debug, Clone, Default)]
pub struct Step {
    pub name: String,
    id: String,
    pub uses: String,
    pub run: String,
    condition: String,
    env: Texts,
    with: Texts,
}

/// The one job of a workflow.
#[derive(Debug, Clone)]
pub struct Job {
    env: Texts,
    pub steps: Vec<Step>,
}

fn texts(value: &Value) -> Texts {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    value.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), text(value))).collect()
}

impl Job {
    /// The project's own.
    pub fn read() -> Job {
        // By the word of a parser that is not ours.
        let path = workspace().join(".github/workflows/bases.yml");
        let program = "import json, sys, yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout)";
        let output = run(tool("python3", "python3-yaml").args(["-c", program]).arg(path));
        succeeded(&output);
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(document["defaults"]["run"]["shell"], "bash");
        let job = &document["jobs"]["base"];
        let step = |value: &Value| {
            let known = ["name", "id", "uses", "run", "if", "env", "with"];
            for key in value.as_object().unwrap().keys() {
                assert!(known.contains(&&**key), "this host knows no {key:?}");
            }
            let text = |key: &str| value[key].as_str().unwrap_or_default().to_owned();
            Step {
                name: text("name"),
                id: text("id"),
                uses: text("uses"),
                run: text("run"),
                condition: text("if"),
                env: texts(&value["env"]),
                with: texts(&value["with"]),
            }
        };
        Job { env: texts(&job["env"]), steps: job["steps"].as_array().unwrap().iter().map(step).collect() }
    }
}

/// What lasts from one run to the next.
pub struct Host {
    dir: tempfile::TempDir,
    runs: u32,
    /// The version that `rustc` says it has.
    pub rustc: &'static str,
}

/// What came of a run.
pub struct Run {
    /// Where the repository was checked out.
    pub dir: PathBuf,
    /// What the steps wrote.
    pub log: String,
    /// The names of the steps that were done.
    pub done: Vec<String>,
}

fn program(path: &Path, text: &str) {
    fs::write(path, format!("#!/bin/bash\nset -eu\n{text}\n")).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

impl Host {
    pub fn new() -> Host {
        let dir = tempfile::tempdir().unwrap();
        for part in ["caches", "programs", "uploaded"] {
            fs::create_dir(dir.path().join(part)).unwrap();
        }
        Host { dir, runs: 0, rustc: "1.95.0" }
    }

    /// Where what is kept under a key lies.
    pub fn cache(&self, key: &str) -> PathBuf {
        self.dir.path().join("caches").join(key)
    }

    /// The keys, in order.
    pub fn keys(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path().join("caches")).unwrap();
        let mut keys: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        keys.sort();
        keys
    }

    /// The programs that a hosted machine has, and that would take long or want a network here. Cargo's are at hand.
    fn programs(&self) -> PathBuf {
        let dir = self.dir.path().join("programs");
        let built = Path::new(env!("CARGO_BIN_EXE_samovar")).parent().unwrap();
        runner();
        program(
            &dir.join("cargo"),
            &format!(
                "[ \"$*\" = 'build --release --locked --manifest-path ./Cargo.toml --bin samovar --bin runner' ]\n\
                 mkdir -p target/release\nln -s {0}/samovar {0}/runner target/release/",
                built.display()
            ),
        );
        program(&dir.join("rustc"), &format!("echo 'rustc {} (a date)'", self.rustc));
        program(&dir.join("rustup"), "echo \"rustup $*\"");
        let caches = self.dir.path().join("caches");
        let delete =
            format!("[ \"$1 $2\" = 'cache delete' ]\nrm -r '{}'/\"$3\"\necho \"gh $*\"", caches.display());
        program(&dir.join("gh"), &delete);
        dir
    }

    /// Does the steps of a job, the last of which is before the one named `until` if that is given. `change` is done to
    /// what was checked out.
    pub fn run(&mut self, job: &Job, until: Option<&str>, change: impl FnOnce(&Path)) -> Run {
        self.runs += 1;
        let dir = self.dir.path().join(format!("run-{}", self.runs));
        fs::create_dir(&dir).unwrap();
        let mut now = Now { host: self, dir, path: Vec::new(), outputs: BTreeMap::new(), log: String::new() };
        let (mut done, mut change) = (Vec::new(), Some(change));
        for step in job.steps.iter().take_while(|step| Some(&*step.name) != until) {
            if !now.holds(&step.condition) {
                continue;
            }
            match &*step.uses {
                "" => now.shell(job, step),
                _ => now.action(step),
            }
            if step.uses.starts_with("actions/checkout@") {
                change.take().unwrap()(&now.dir);
            }
            done.push(step.name.clone());
        }
        Run { dir: now.dir, log: now.log, done }
    }
}

/// A run under way.
struct Now<'a> {
    host: &'a Host,
    dir: PathBuf,
    path: Vec<String>,
    outputs: BTreeMap<String, Texts>,
    log: String,
}

impl Now<'_> {
    /// `a || b`, of literals and of what the contexts have.
    fn expression(&self, text: &str) -> String {
        let term = |term: &str| {
            let term = term.trim();
            if let Some(literal) = term.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')) {
                return literal.to_owned();
            }
            match *term.split('.').collect::<Vec<_>>() {
                // Whoever pushes gives no inputs, and this host has no variables.
                ["inputs" | "vars", _] => String::new(),
                ["github", "token"] => "secret".into(),
                ["steps", id, "outputs", name] => {
                    let step = self.outputs.get(id).unwrap_or_else(|| panic!("no step {id} was done"));
                    step.get(name).cloned().unwrap_or_default()
                }
                _ => panic!("this host does not know {term}"),
            }
        };
        text.split("||").map(term).find(|value| !value.is_empty()).unwrap_or_default()
    }

    fn fill(&self, text: &str) -> String {
        let mut filled = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${{") {
            let (expression, after) = after.split_once("}}").unwrap();
            filled += before;
            filled += &self.expression(expression);
            rest = after;
        }
        filled + rest
    }

    fn holds(&self, condition: &str) -> bool {
        if condition.is_empty() {
            return true;
        }
        let (left, right) = condition.split_once(" != ").expect("this host knows only `a != b`");
        self.expression(left) != self.expression(right)
    }

    fn shell(&mut self, job: &Job, step: &Step) {
        let file = |name: &str| self.host.dir.path().join(format!("{name}-{}", self.host.runs));
        for name in ["output", "path", "summary"] {
            fs::write(file(name), "").unwrap();
        }
        let path =
            [self.path.join(":"), self.host.programs().display().to_string(), std::env::var("PATH").unwrap()];
        let path = path.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(":");
        let mut command = Command::new("bash");
        command
            .current_dir(&self.dir)
            .args(["--noprofile", "--norc", "-eo", "pipefail", "-c", &step.run])
            .env("PATH", path)
            .env("GITHUB_OUTPUT", file("output"))
            .env("GITHUB_PATH", file("path"))
            .env("GITHUB_STEP_SUMMARY", file("summary"));
        for (key, value) in job.env.iter().chain(&step.env) {
            // Nothing set is as good as an empty text, but for the mirror that this host has by itself.
            let value = self.fill(value);
            if !value.is_empty() || std::env::var_os(key).is_none() {
                command.env(key, value);
            }
        }
        let output = run(&mut command);
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {text}", step.name);
        self.log += &text;
        let lines = |name: &str| fs::read_to_string(file(name)).unwrap();
        let outputs = lines("output")
            .lines()
            .map(|line| line.split_once('=').unwrap())
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        self.path.splice(0..0, lines("path").lines().map(str::to_owned));
        self.outputs.insert(step.id.clone(), outputs);
    }

    fn action(&mut self, step: &Step) {
        let with = |name: &str| step.with.get(name).map(|text| self.fill(text)).unwrap_or_default();
        let (action, _) = step.uses.split_once('@').unwrap();
        match action {
            "actions/checkout" => {
                for part in ["recipes", "guest-rootfs"] {
                    copy_tree(&workspace().join(part), &self.dir.join(part));
                }
                fs::copy(lock(), self.dir.join("recipes/hello.lock")).unwrap();
            }
            "actions/cache/restore" => {
                let (wanted, prefix) = (with("key"), with("restore-keys"));
                let keys = self.host.keys();
                let found = keys.iter().find(|key| **key == wanted);
                let found = found.or_else(|| keys.iter().find(|key| key.starts_with(&prefix)));
                let mut outputs = Texts::new();
                if let Some(key) = found {
                    copy_tree(&self.host.cache(key), &self.dir.join(with("path")));
                    outputs.insert("cache-matched-key".into(), key.clone());
                    outputs.insert("cache-hit".into(), (*key == wanted).to_string());
                }
                self.outputs.insert(step.id.clone(), outputs);
            }
            "actions/cache/save" => {
                // A key that is taken stays what it is: the hosted one only warns.
                let place = self.host.cache(&with("key"));
                if !place.exists() {
                    copy_tree(&self.dir.join(with("path")), &place);
                }
            }
            "actions/upload-artifact" => {
                let place = self.host.dir.path().join("uploaded").join(with("name"));
                fs::create_dir_all(&place).unwrap();
                for path in with("path").lines().map(Path::new) {
                    fs::copy(self.dir.join(path), place.join(path.file_name().unwrap())).unwrap();
                }
            }
            other => panic!("this host has no {other}"),
        }
    }
}

/// A store that has what a build of hello would make, so that a run builds nothing, or only what was fetched for it.
pub fn seed(dir: &Path, whole: bool) {
    for entry in fs::read_dir(built().parent().unwrap()).unwrap().map(|entry| entry.unwrap()) {
        let name = entry.file_name();
        if entry.path().is_dir() && name != ".staging" && (whole || name == "cache") {
            link_tree(&entry.path(), &dir.join("samovar-store").join(name));
        }
    }
}
