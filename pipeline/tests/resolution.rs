//! Dependencies are resolved as `apt-get -s install --no-install-recommends` resolves them for the guest's architecture:
//! the same packages in the same versions.
//!
//! It wants apt and the host's mirror, so it is asked for:
//! `cargo test -p samovar --test resolution -- --ignored`. With `SAMOVAR_RESOLVE="a b c"` only these packages are
//! resolved, together; with `SAMOVAR_RESOLVE_EACH=50` every fiftieth package of the archive, each on its own. apt works in a
//! root of its own with no package installed; nothing of this host's is changed.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use samovar::debian::packages::Index;
use samovar::debian::sources::{Archive, Mirrors};
use samovar::debian::{ARCHITECTURE, resolve};
use samovar::recipe::RecipeFile;

/// What a user might put into a recipe.
const SETS: [(&str, &[&str]); 22] = [
    ("a desktop editor", &["kate"]),
    ("another editor", &["gedit", "cage"]),
    ("a language runtime", &["openjdk-21-jre"]),
    ("another runtime", &["python3", "python3-numpy", "nodejs", "ruby"]),
    ("a web server", &["nginx"]),
    ("another web server", &["apache2", "php"]),
    ("another browser", &["chromium", "cage"]),
    ("a third browser", &["epiphany-browser"]),
    ("an office suite", &["libreoffice"]),
    ("a media player", &["vlc"]),
    ("another player", &["mpv", "pipewire"]),
    ("a compiler", &["g++", "make"]),
    ("another compiler", &["clang", "rustc", "cargo"]),
    ("a database", &["postgresql"]),
    ("another database", &["mariadb-server"]),
    ("a mail server", &["postfix", "dovecot-imapd"]),
    ("a desktop", &["xfce4"]),
    ("a large desktop", &["gnome-core"]),
    ("another large desktop", &["kde-plasma-desktop"]),
    ("a system's base", &["apt", "systemd-sysv", "bash", "util-linux", "login", "openssh-server"]),
    ("a font's tools", &["texlive-latex-base", "inkscape"]),
    ("a message bus", &["dbus-x11", "gimp"]),
];

/// An apt that knows the guest's archive and that nothing is installed.
struct Apt {
    dir: tempfile::TempDir,
}

impl Apt {
    fn new(release: &str) -> Apt {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        for sub in ["etc/apt.conf.d", "etc/preferences.d", "state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(root.join(sub)).unwrap();
        }
        let mirrors = Mirrors::of_host();
        let keyring = ["pgp", "gpg"].map(|end| format!("/usr/share/keyrings/debian-archive-keyring.{end}"));
        let keyring = keyring.iter().find(|path| Path::new(path).exists()).expect("debian-archive-keyring");
        let mut sources = String::new();
        for (archive, suite) in [
            (Archive::Debian, release.to_owned()),
            (Archive::Debian, format!("{release}-updates")),
            (Archive::DebianSecurity, format!("{release}-security")),
        ] {
            let url = mirrors.url(archive, "").unwrap();
            sources += &format!("deb [signed-by={keyring}] {url} {suite} main\n");
        }
        fs::write(root.join("etc/sources.list"), sources).unwrap();
        fs::write(root.join("status"), "").unwrap();
        let conf = format!(
            "Dir::Etc \"{root}/etc\";\nDir::Etc::main \"none\";\nDir::Etc::parts \"{root}/etc/apt.conf.d\";\n\
             Dir::Etc::sourcelist \"{root}/etc/sources.list\";\nDir::Etc::sourceparts \"{root}/etc/none\";\n\
             Dir::State \"{root}/state\";\nDir::State::status \"{root}/status\";\nDir::Cache \"{root}/cache\";\n\
             APT::Architecture \"{ARCHITECTURE}\";\nAPT::Architectures {{ \"{ARCHITECTURE}\"; }};\n\
             Acquire::Languages \"none\";\nAPT::Sandbox::User \"\";\n",
            root = root.display()
        );
        fs::write(root.join("apt.conf"), conf).unwrap();
        let apt = Apt { dir };
        let output = apt.get(&["update", "-q"]).output().expect("apt-get");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        apt
    }

    fn get(&self, args: &[&str]) -> Command {
        let mut command = Command::new("apt-get");
        command.args(args).env("APT_CONFIG", self.dir.path().join("apt.conf")).env("LC_ALL", "C");
        command
    }

    /// The lists that it fetched, in our own form.
    fn index(&self) -> Index {
        let lists = self.dir.path().join("state/lists");
        let mut files: Vec<PathBuf> =
            fs::read_dir(&lists).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.to_string_lossy().ends_with("_Packages"));
        files.sort();
        assert_eq!(files.len(), 3, "{files:?}");
        let mut index = Index::default();
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            index.add("list", &text, Archive::Debian, "suite").unwrap();
        }
        index.finish().unwrap();
        index
    }

    /// Names and versions of what it would install, if it would.
    fn install(&self, packages: &[String]) -> Option<BTreeMap<String, String>> {
        let args = ["-s", "install", "--no-install-recommends", "-q"];
        let output = self.get(&args).args(packages).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let installed = text.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("Inst ")?.split_once(" (")?;
            Some((name.to_owned(), rest.split(' ').next()?.to_owned()))
        });
        output.status.success().then(|| installed.collect())
    }
}

fn resolved(
    index: &Index,
    named: &[String],
    excluded: &[String],
) -> Result<BTreeMap<String, String>, String> {
    let packages = resolve::closure(index, named, excluded).map_err(|error| error.to_string())?;
    Ok(packages.iter().map(|package| (package.name.clone(), package.version.to_string())).collect())
}

/// How the two differ, if they do.
fn difference(apt: &Apt, index: &Index, named: &[String]) -> Option<String> {
    let theirs = apt.install(named);
    let ours = match (&theirs, resolved(index, named, &[])) {
        (None, Err(_)) => return None,
        (None, Ok(ours)) => return Some(format!("apt cannot install it; we take {} packages", ours.len())),
        (Some(_), Err(error)) => return Some(error),
        (Some(_), Ok(ours)) => ours,
    };
    let theirs = theirs?;
    let only = |one: &BTreeMap<String, String>, other: &BTreeMap<String, String>| {
        let only = one.iter().filter(|(name, version)| other.get(*name) != Some(*version));
        only.map(|(name, version)| format!("{name} {version}")).collect::<Vec<_>>().join(", ")
    };
    let (ours_only, theirs_only) = (only(&ours, &theirs), only(&theirs, &ours));
    (ours != theirs).then(|| format!("only ours: {ours_only}; only apt's: {theirs_only}"))
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn recipes() -> Vec<RecipeFile> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recipes");
    let mut paths: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
    paths.sort();
    paths.iter().map(|path| RecipeFile::read(path).unwrap()).collect()
}

#[test]
#[ignore = "fetches lists from the mirror, and wants apt"]
fn agrees_with_apt() {
    let apt = Apt::new("trixie");
    let index = apt.index();
    let mut sets: Vec<(String, Vec<String>)> = Vec::new();
    if let Ok(packages) = env::var("SAMOVAR_RESOLVE") {
        let packages = packages.split_ascii_whitespace().map(str::to_owned).collect();
        sets.push(("what was asked for".to_owned(), packages));
    } else if let Some(step) = env::var("SAMOVAR_RESOLVE_EACH").ok().and_then(|step| step.parse().ok()) {
        let each = index.names().step_by(step);
        sets.extend(each.map(|name| (format!("package {name}"), owned(&[name]))));
    } else {
        let recipes = recipes();
        sets.extend(
            recipes.iter().map(|file| (file.recipe.name.clone(), file.recipe.rootfs.packages.clone())),
        );
        sets.extend(SETS.map(|(what, names)| (what.to_owned(), owned(names))));
    }
    let mut differences = Vec::new();
    for (what, named) in &sets {
        if let Some(difference) = difference(&apt, &index, named) {
            eprintln!("{what}: {difference}");
            differences.push(format!("{what}: {difference}"));
        }
    }
    eprintln!("{} sets compared", sets.len());
    assert!(
        differences.is_empty(),
        "{} of {} differ:\n{}",
        differences.len(),
        sets.len(),
        differences.join("\n")
    );
    what_is_excluded_is_the_only_difference(&index);
}

/// A recipe's `exclude` takes packages out of what apt would install, and with them what only they lead to; it
/// brings nothing new in.
fn what_is_excluded_is_the_only_difference(index: &Index) {
    for file in recipes() {
        let rootfs = &file.recipe.rootfs;
        let all = resolved(index, &rootfs.packages, &[]).unwrap();
        let fewer = resolved(index, &rootfs.packages, &rootfs.exclude).unwrap();
        for (name, version) in &fewer {
            assert_eq!(all.get(name), Some(version), "{}: {name}", file.recipe.name);
            assert!(!rootfs.exclude.contains(name), "{}: {name}", file.recipe.name);
        }
        if rootfs.exclude.is_empty() {
            assert_eq!(all, fewer);
        }
    }
}
