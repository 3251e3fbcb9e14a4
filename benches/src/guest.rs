//! The guest that a warm base was made from, to be started again from its parts.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use runner::{
    MachineSpec,
    error::{Failure, Status},
};
use serde::Deserialize;
use store::{Artifact, Kind, Store};

use crate::{host_failure, ours};

/// A guest, cold.
#[derive(Clone, Debug)]
pub struct Guest {
    /// The kernel, an arm64 Image.
    pub kernel: PathBuf,
    /// The initramfs.
    pub initrd: PathBuf,
    /// The root file system's image.
    pub disk: PathBuf,
    /// The kernel's command line.
    pub command_line: String,
    /// The machine.
    pub machine: MachineSpec,
    /// The text on the console by which the guest says that it is ready.
    pub marker: String,
    /// The kernel's package and version.
    pub kernel_version: String,
    /// The warm base.
    base: Artifact,
}

/// What a warm base says about itself.
#[derive(Deserialize)]
struct Meta {
    #[serde(rename = "command-line")]
    command_line: String,
    machine: MachineSpec,
    ready: Ready,
}

#[derive(Deserialize)]
struct Ready {
    console: String,
}

impl Guest {
    /// The guest of the warm base in `dir`.
    ///
    /// # Errors
    /// If it is no warm base, or one without the parts that it was made from.
    pub fn open(dir: &Path) -> Result<Self, Failure> {
        let base = Artifact::open(dir).map_err(refused)?;
        if base.kind() != Kind::WarmBase {
            let what = format!("{} is a {}, not a warm base", dir.display(), base.kind());
            return Err(Failure::new(Status::Refused, what));
        }
        let meta: Meta = serde_json::from_value(base.manifest().meta.clone()).map_err(|error| {
            let what = format!("{} does not say what it was made from: {error}", dir.display());
            Failure::new(Status::Refused, what).hint("build the recipe again with this version")
        })?;
        meta.machine.check().map_err(|what| {
            Failure::new(Status::Refused, format!("{}: the machine can't have {what}", dir.display()))
        })?;
        if meta.ready.console.trim().is_empty() {
            return Err(Failure::new(
                Status::Refused,
                "the guest has no text by which it says that it is ready",
            ));
        }
        let kernel = base.need("kernel").map_err(refused)?;
        let version = kernel.manifest().meta["packages"][0].as_str().unwrap_or("of unknown version");
        Ok(Guest {
            kernel_version: version.to_owned(),
            kernel: only_file(&kernel)?,
            initrd: only_file(&base.need("initramfs").map_err(refused)?)?,
            disk: only_file(&base.need("rootfs").map_err(refused)?)?,
            command_line: meta.command_line,
            machine: meta.machine,
            marker: meta.ready.console,
            base,
        })
    }

    /// The same guest with `memory` bytes of RAM, and a warm base of it in a
    /// store of its own in `dir`.
    ///
    /// # Errors
    /// If it can't be captured.
    pub fn with_memory(&self, memory: u64, dir: &Path) -> Result<(Self, PathBuf), Failure> {
        let mut guest = self.clone();
        guest.machine.memory = memory;
        guest
            .machine
            .check()
            .map_err(|what| Failure::new(Status::Usage, format!("the machine can't have {what}")))?;
        let store = Store::open(dir).map_err(refused)?;
        for role in self.base.manifest().needs.keys() {
            let needed = self.base.need(role).map_err(refused)?;
            needed
                .dir()
                .canonicalize()
                .and_then(|real| symlink(real, store.path_of(needed.hash())))
                .map_err(|error| host_failure("can't link to the base's parts", &error))?;
        }
        let mut staging = store.stage().map_err(refused)?;
        for file in ours::capture_files(&guest, staging.dir())? {
            staging.adopt(file).map_err(refused)?;
        }
        let manifest = self.base.manifest();
        let artifact =
            staging.commit(Kind::WarmBase, manifest.needs.clone(), manifest.meta.clone()).map_err(refused)?;
        Ok((guest, artifact.dir().to_owned()))
    }

    /// Bytes of all that a boot reads, so that it can be in the page cache
    /// before one is timed.
    ///
    /// # Errors
    /// If a file can't be read.
    pub fn warm_page_cache(&self) -> Result<u64, Failure> {
        let mut total = 0;
        for path in [&self.kernel, &self.initrd, &self.disk] {
            let bytes = fs::read(path)
                .map_err(|error| host_failure(&format!("can't read {}", path.display()), &error))?;
            total += bytes.len() as u64;
        }
        Ok(total)
    }
}

fn only_file(artifact: &Artifact) -> Result<PathBuf, Failure> {
    match artifact.images()[..] {
        [file] => artifact.file(&file.name).map_err(refused),
        ref files => {
            let what = format!("{} holds {} images, one was expected", artifact.dir().display(), files.len());
            Err(Failure::new(Status::Refused, what))
        }
    }
}

fn refused(error: store::Error) -> Failure {
    let failure = Failure::new(Status::Refused, &error);
    failure.hint(error.hint())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn meta() -> Value {
        json!({
            "command-line": "console=ttyAMA0",
            "machine": { "cpus": 1, "memory": 64 << 20, "width": 640, "height": 480 },
            "ready": { "console": "ready" },
            "recipe": "hello",
        })
    }

    fn base(dir: &Path, meta: Value) -> PathBuf {
        let store = Store::open(dir).unwrap();
        let mut needs = BTreeMap::new();
        for (role, kind) in
            [("kernel", Kind::Kernel), ("initramfs", Kind::Initramfs), ("rootfs", Kind::Rootfs)]
        {
            let mut staging = store.stage().unwrap();
            staging.write("image", role.as_bytes()).unwrap();
            let packages = json!({ "packages": ["linux 6.12"] });
            needs.insert(role.to_owned(), *staging.commit(kind, BTreeMap::new(), packages).unwrap().hash());
        }
        let mut staging = store.stage().unwrap();
        staging.write("state.json", b"{}").unwrap();
        staging.commit(Kind::WarmBase, needs, meta).unwrap().dir().to_owned()
    }

    #[test]
    fn a_base_leads_to_its_parts() {
        let dir = tempfile::tempdir().unwrap();
        let guest = Guest::open(&base(dir.path(), meta())).unwrap();
        assert_eq!(fs::read(&guest.kernel).unwrap(), b"kernel");
        assert_eq!(fs::read(&guest.initrd).unwrap(), b"initramfs");
        assert_eq!(fs::read(&guest.disk).unwrap(), b"rootfs");
        assert_eq!((guest.kernel_version.as_str(), guest.marker.as_str()), ("linux 6.12", "ready"));
        assert_eq!(guest.warm_page_cache().unwrap(), 6 + 9 + 6);
    }

    #[test]
    fn what_is_no_whole_base_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let artifact = base(dir.path(), meta());
        let guest = Guest::open(&artifact).unwrap();
        for wrong in [guest.kernel.parent().unwrap(), dir.path()] {
            assert_eq!(Guest::open(wrong).unwrap_err().status, Status::Refused);
        }
        for (field, value) in [
            ("command-line", json!(3)),
            ("ready", json!({ "console": " " })),
            ("machine", json!({ "cpus": 1 })),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let mut meta = meta();
            meta[field] = value;
            assert_eq!(Guest::open(&base(dir.path(), meta)).unwrap_err().status, Status::Refused, "{field}");
        }
    }
}
