//! The manifest: what an artifact is, file by file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, IoContext, Result};
use crate::hash::Hash;

/// The manifest's file name.
pub const MANIFEST: &str = "manifest.json";

/// The format written and read.
const FORMAT: u32 = 1;

/// No manifest of ours comes near this; a larger one is not read into memory.
const MAX_BYTES: u64 = 1 << 20;

/// What sort of artifact it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Kind {
    /// A kernel image.
    Kernel,
    /// An initramfs.
    Initramfs,
    /// A root file system image.
    Rootfs,
    /// A machine's state after its start, to be restored.
    WarmBase,
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Kernel => "kernel",
            Kind::Initramfs => "initramfs",
            Kind::Rootfs => "rootfs",
            Kind::WarmBase => "warm base",
        })
    }
}

/// A file of an artifact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name: one plain path component.
    pub name: String,
    /// Its size in bytes, holes included.
    pub size: u64,
    /// The SHA-256 of its content, holes included.
    pub sha256: Hash,
}

/// What an artifact is. Its SHA-256, as written by [`Manifest::to_bytes`], is the artifact's name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// What sort of artifact it is.
    pub kind: Kind,
    /// The files, sorted by name.
    pub files: Vec<FileEntry>,
    /// The artifacts it cannot do without, by role.
    pub needs: BTreeMap<String, Hash>,
    /// What the kind's users want to know; the store does not look inside.
    pub meta: Value,
}

impl Manifest {
    /// A manifest in canonical order.
    pub fn new(
        kind: Kind,
        mut files: Vec<FileEntry>,
        needs: BTreeMap<String, Hash>,
        meta: Value,
    ) -> Manifest {
        files.sort_by(|a, b| a.name.cmp(&b.name));
        Manifest { format: FORMAT, kind, files, needs, meta: sorted(meta) }
    }

    /// The canonical bytes, which the artifact's name is the hash of.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Writing these plain types to memory has no way to fail: every map key is a string.
        let mut bytes = serde_json::to_vec_pretty(self).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    /// The entry of a file.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|entry| entry.name == name)
    }

    /// Reads the manifest at `path`, with the hash of its bytes.
    pub(crate) fn read(path: &Path) -> Result<(Manifest, Hash)> {
        let file = File::open(path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => {
                Error::Missing { path: path.parent().unwrap_or(path).into() }
            }
            _ => Error::io(path, source),
        })?;
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).at(path)?;
        Ok((Manifest::from_bytes(path, &bytes)?, Hash::of(&bytes)))
    }

    /// The manifest that these bytes are, which are no file yet; `path` is what errors call them.
    pub fn from_bytes(path: &Path, bytes: &[u8]) -> Result<Manifest> {
        if bytes.len() as u64 > MAX_BYTES {
            let reason = format!("longer than {MAX_BYTES} bytes");
            return Err(Error::BadManifest { path: path.into(), reason });
        }
        Manifest::parse(path, bytes)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Manifest> {
        let bad = |reason: String| Error::BadManifest { path: path.into(), reason };
        // The format is looked at first, so that a newer one is named as such and not as a wrong field.
        let value: Value = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        match value.get("format").and_then(Value::as_u64) {
            Some(found) if found == u64::from(FORMAT) => {}
            Some(found) => return Err(Error::UnknownFormat { path: path.into(), found, known: FORMAT }),
            None => return Err(bad("not a manifest: no `format`".into())),
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| bad(error.to_string()))?;
        if let Some(entry) = manifest.files.iter().find(|entry| !is_file_name(&entry.name)) {
            return Err(bad(format!("{:?} cannot be a file name", entry.name)));
        }
        if !manifest.files.is_sorted_by(|a, b| a.name < b.name) {
            return Err(bad("its files are not sorted, or one is named twice".into()));
        }
        Ok(manifest)
    }
}

/// Whether `name` is one plain path component, the same on every file system.
pub(crate) fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    name.len() <= 100 && name.chars().all(plain) && name.starts_with(|c: char| c.is_ascii_alphanumeric())
}

/// Whether an artifact may have a file of this name.
pub(crate) fn is_file_name(name: &str) -> bool {
    is_plain_name(name) && !name.eq_ignore_ascii_case(MANIFEST)
}

/// The same value with every object's keys in order. `serde_json` keeps them sorted by default, but a
/// feature that any crate of the build may switch on makes it keep the order of insertion.
fn sorted(value: Value) -> Value {
    match value {
        Value::Object(map) => {
            let ordered: BTreeMap<String, Value> = map.into_iter().collect();
            Value::Object(ordered.into_iter().map(|(key, value)| (key, sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(sorted).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn parse(text: &str) -> Result<Manifest> {
        Manifest::parse(Path::new("m"), text.as_bytes())
    }

    #[test]
    fn the_written_form_is_pinned() {
        // A change here changes the name of every artifact: it needs a new format number.
        let file = |name: &str| FileEntry { name: name.into(), size: 3, sha256: Hash::of(b"abc") };
        let needs = BTreeMap::from([("rootfs".to_owned(), Hash::of(b""))]);
        let meta = json!({"b": {"z": 1, "a": 2}, "a": [true]});
        let manifest = Manifest::new(Kind::WarmBase, vec![file("b"), file("a")], needs, meta);
        let text = r#"{
  "format": 1,
  "kind": "warm-base",
  "files": [
    {
      "name": "a",
      "size": 3,
      "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    },
    {
      "name": "b",
      "size": 3,
      "sha256": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    }
  ],
  "needs": {
    "rootfs": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
  },
  "meta": {
    "a": [
      true
    ],
    "b": {
      "a": 2,
      "z": 1
    }
  }
}
"#;
        assert_eq!(String::from_utf8(manifest.to_bytes()).unwrap(), text);
        assert_eq!(parse(text).unwrap(), manifest);
    }

    #[test]
    fn what_is_refused() {
        let with = |files: &str, rest: &str| {
            format!(r#"{{"format":1,"kind":"kernel","files":[{files}],"needs":{{}},"meta":{{}}{rest}}}"#)
        };
        let file = |name: &str| format!(r#"{{"name":"{name}","size":0,"sha256":"{}"}}"#, Hash::of(b""));
        assert!(parse(&with(&file("a"), "")).is_ok());
        for name in ["../a", "a/b", "", ".", "..", "manifest.json", "Manifest.JSON", ".hidden", "a b"] {
            assert!(parse(&with(&file(name), "")).is_err(), "{name}");
        }
        assert!(parse(&with(&format!("{},{}", file("a"), file("a")), "")).is_err());
        assert!(parse(&with(&format!("{},{}", file("b"), file("a")), "")).is_err());
        assert!(parse(&with(&file("a"), r#","more":1"#)).is_err());
        let newer = with("", "").replace("\"format\":1", "\"format\":2");
        assert!(matches!(parse(&newer), Err(Error::UnknownFormat { found: 2, .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_parsed_or_refused(bytes: Vec<u8>) {
            let _ = Manifest::parse(Path::new("m"), &bytes);
        }
    }
}
