use std::fs;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::tree::Attributes;

/// Has the host's compiler make a shared object or program that is linked with others of the directory. ELF looks the
/// same on every 64-bit machine, as far as it matters here.
fn compile(dir: &Path, name: &str, options: &[&str], linked: &[&str]) {
    let source = dir.join("source.c");
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let mut gcc = Command::new("gcc");
    gcc.current_dir(dir).args([
        "-o",
        name,
        "source.c",
        "-nostdlib",
        "-Wl,--no-as-needed,--allow-shlib-undefined",
    ]);
    gcc.args(options).args(linked.iter().map(|name| format!("./{name}")));
    let output = gcc.output().expect("gcc, of Debian's package gcc");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A shared object by its soname, as a distribution makes it.
fn library(dir: &Path, name: &str, linked: &[&str]) {
    compile(dir, name, &["-shared", "-fPIC", &format!("-Wl,-soname,{name}")], linked);
}

fn put(tree: &mut Tree, dir: &Path, name: &str, path: &str) {
    let content = Content::Memory(fs::read(dir.join(name)).unwrap().into());
    tree.add(path, Attributes::root(0o755), Kind::File(content)).unwrap();
}

#[test]
fn only_what_nothing_reaches_is_taken_out() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    library(dir, "libdeep.so.1", &[]);
    library(dir, "libused.so.1", &["libdeep.so.1"]);
    library(dir, "libforplugin.so.2", &[]);
    library(dir, "plugin.so", &["libforplugin.so.2"]);
    library(dir, "liblone.so.3", &["libdeep.so.1"]);
    compile(dir, "program", &["-pie", "-Wl,-e,main", "-Wl,-dynamic-linker,/lib/ld.so"], &["libused.so.1"]);
    compile(dir, "static", &["-static", "-Wl,-e,main"], &[]);
    let mut tree = Tree::new();
    put(&mut tree, dir, "program", "/usr/bin/program");
    put(&mut tree, dir, "static", "/usr/lib/tool/static");
    for name in ["libdeep.so.1", "libused.so.1", "libforplugin.so.2"] {
        put(&mut tree, dir, name, &format!("/usr/lib/arch/{name}"));
    }
    put(&mut tree, dir, "liblone.so.3", "/usr/lib/arch/liblone.so.3.0.1");
    put(&mut tree, dir, "plugin.so", "/usr/lib/arch/plugins/plugin.so");
    put(&mut tree, dir, "liblone.so.3", "/opt/liblone.so.3");
    let link = |to: &str| Kind::Symlink(to.to_owned());
    tree.add("/usr/lib/arch/liblone.so.3", Attributes::root(0o777), link("liblone.so.3.0.1")).unwrap();
    let text = Kind::File(Content::Memory(b"INPUT(libused.so.1)".as_slice().into()));
    tree.add("/usr/lib/arch/libtext.so", Attributes::root(0o644), text).unwrap();

    let mut without = tree.clone();
    let taken = prune(&mut without, &|_| false).unwrap();
    assert_eq!(
        taken,
        [
            "/usr/lib/arch/libforplugin.so.2",
            "/usr/lib/arch/liblone.so.3",
            "/usr/lib/arch/liblone.so.3.0.1",
            "/usr/lib/arch/plugins/plugin.so",
        ]
    );
    assert!(taken.iter().all(|path| without.find(path).is_none()));
    for path in
        ["/usr/lib/arch/libdeep.so.1", "/usr/lib/tool/static", "/usr/lib/arch/libtext.so", "/usr/bin/program"]
    {
        assert!(without.find(path).is_some(), "{path}");
    }
    let taken = prune(&mut tree, &|path| path.contains("/plugins/")).unwrap();
    assert_eq!(taken, ["/usr/lib/arch/liblone.so.3", "/usr/lib/arch/liblone.so.3.0.1"]);
}

#[test]
fn broken_files_are_refused_or_left() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    library(dir, "libgood.so.1", &[]);
    let good = fs::read(dir.join("libgood.so.1")).unwrap();
    let tree_of = |bytes: &[u8]| {
        let mut tree = Tree::new();
        let content = Content::Memory(bytes.into());
        tree.add("/usr/lib/libgood.so.1", Attributes::root(0o644), Kind::File(content)).unwrap();
        tree
    };
    // The section headers' offset, e_shoff, and their number, e_shnum.
    let mut bare = good.clone();
    bare[0x28..0x30].fill(0);
    bare[0x3c..0x3e].fill(0);
    let error = prune(&mut tree_of(&bare), &|_| false).unwrap_err();
    assert!(error.to_string().contains("no section headers"), "{error}");
    assert_eq!(error.exit_code(), 5);
    // Whatever is cut or changed: an answer, and no panic.
    for at in 0..good.len().min(1024) {
        let mut changed = good.clone();
        changed[at] ^= 0xff;
        let _ = prune(&mut tree_of(&changed), &|_| false);
        let _ = prune(&mut tree_of(&good[..at]), &|_| false);
    }
}
