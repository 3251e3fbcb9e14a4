//! What is in the images is what is in the packages, by the word of Debian's own `dpkg-deb`, of `cpio` and of `xz`.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ext4_view::{Ext4, FileType};
use store::Artifact;

use crate::programs::{built, lock, run, succeeded, tool, workspace};

/// The package whose name begins so, as the lock pins it and the build has fetched it, unpacked by `dpkg-deb`.
fn unpacked(name: &str) -> tempfile::TempDir {
    let lock: toml::Table = fs::read_to_string(lock()).unwrap().parse().unwrap();
    let packages = lock["package"].as_array().unwrap();
    let package =
        packages.iter().find(|package| package["name"].as_str().unwrap().starts_with(name)).unwrap();
    let deb = built().parent().unwrap().join("cache").join(package["sha256"].as_str().unwrap());
    let dir = tempfile::tempdir().unwrap();
    succeeded(&run(tool("dpkg-deb", "dpkg").arg("-x").arg(deb).arg(dir.path())));
    dir
}

fn need(role: &str) -> Artifact {
    Artifact::open(built()).unwrap().need(role).unwrap()
}

/// The regular files below `dir` with their permissions, by their path from there.
fn files_below(dir: &Path) -> BTreeMap<String, (u16, PathBuf)> {
    let mut files = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(next) = left.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                left.push(path);
            } else if meta.is_file() {
                let name = format!("/{}", path.strip_prefix(dir).unwrap().display());
                files.insert(name, ((meta.permissions().mode() & 0o7777) as u16, path));
            }
        }
    }
    files
}

#[test]
fn the_root_file_system_holds_the_packages_and_the_overlay() {
    let package = unpacked("busybox-static");
    let mut wanted = files_below(package.path());
    // What the recipe drops.
    wanted.retain(|path, _| !path.starts_with("/usr/share/"));
    wanted.extend(files_below(&workspace().join("guest-rootfs/hello")));
    assert!(wanted.contains_key("/usr/bin/busybox") && wanted.contains_key("/init"));

    let image = Ext4::load_from_path(need("rootfs").file("rootfs.ext4").unwrap()).unwrap();
    let mut found = Vec::new();
    let mut left = vec![String::from("/")];
    while let Some(directory) = left.pop() {
        for entry in image.read_dir(&*directory).unwrap() {
            let entry = entry.unwrap();
            let name = entry.file_name().as_str().unwrap().to_owned();
            let path = format!("{}/{name}", directory.trim_end_matches('/'));
            let meta = image.symlink_metadata(&*path).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (0, 0), "{path}");
            match meta.file_type() {
                FileType::Directory if name != "." && name != ".." => left.push(path),
                FileType::Regular => {
                    let Some((mode, source)) = wanted.get(&path) else { panic!("{path} is from nowhere") };
                    // Of our own files Git keeps only whether they can be executed.
                    assert_eq!(meta.mode() & 0o111, mode & 0o111, "{path}");
                    assert!(image.read(&*path).unwrap() == fs::read(source).unwrap(), "{path}");
                    found.push(path);
                }
                FileType::Symlink if directory == "/usr/bin" => {
                    assert_eq!(image.read_link(&*path).unwrap().to_str().unwrap(), "busybox", "{path}");
                }
                _ => {}
            }
        }
    }
    found.sort();
    assert_eq!(found, wanted.into_keys().collect::<Vec<_>>());
}

#[test]
fn the_kernel_and_its_modules_are_the_packages() {
    let package = unpacked("linux-image-");
    let packaged = files_below(package.path());
    let ending = |end: &str| -> &Path {
        let path = packaged.iter().find(|(path, _)| path.ends_with(end));
        &path.unwrap_or_else(|| panic!("no {end} in the package")).1.1
    };
    let (_, (_, kernel)) = packaged.iter().find(|(path, _)| path.starts_with("/boot/vmlinuz-")).unwrap();
    assert!(fs::read(need("kernel").file("Image").unwrap()).unwrap() == fs::read(kernel).unwrap());

    let dir = tempfile::tempdir().unwrap();
    let archive = need("initramfs").file("initramfs.cpio").unwrap();
    // Without the device nodes, which only root can make.
    let options = ["--extract", "--quiet", "--make-directories", "--nonmatching", "--file"];
    let mut extract = tool("cpio", "cpio");
    succeeded(&run(extract.current_dir(dir.path()).args(options).arg(archive).arg("dev/*")));
    let modules = dir.path().join("lib/modules");
    let order = fs::read_to_string(modules.join("order")).unwrap();
    assert!(order.lines().count() >= 15, "{order}");
    for module in order.lines() {
        let plain = run(tool("xz", "xz-utils").arg("-dc").arg(ending(&format!("/{module}.ko.xz"))));
        succeeded(&plain);
        // All but the signature (Linux Documentation/admin-guide/module-signing.rst), which the guest does not check.
        let ours = fs::read(modules.join(format!("{module}.ko"))).unwrap();
        let signature = plain.stdout.strip_prefix(&*ours).unwrap_or_else(|| panic!("{module} is another"));
        assert!(signature.len() < 1024 && signature.ends_with(b"~Module signature appended~\n"), "{module}");
    }
    let busybox = unpacked("busybox-static");
    let busybox = fs::read(busybox.path().join("usr/bin/busybox")).unwrap();
    assert!(fs::read(dir.path().join("bin/busybox")).unwrap() == busybox);
}
