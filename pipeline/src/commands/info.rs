//! `samovar info`

use std::path::Path;

use bundle::{Bundle, Packed};
use serde_json::{Value, json};

use super::store_option::StoreOption;
use crate::error::Result;
use crate::provenance::Provenance;
use crate::reporter::bytes;
use crate::rootfs::DROPPED;

/// Say what an artifact is: its files, what it needs, what it was made from; or what is in a bundle
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A name, a hash or its beginning, or a directory; or a bundle
    artifact: String,
    #[command(flatten)]
    store: StoreOption,
    /// As JSON
    ///
    /// Of an artifact an object with its `hash`, `kind`, `files` (each a `name`, a `size` in bytes and a `sha256`), the
    /// hashes of what it `needs` by role, and the `meta` that its maker wrote down. Of a bundle one with its `root`, the
    /// `signer` or null (not checked), its `artifacts` (each as above), and its `provenance`, or null where that is not
    /// known. With --dropped an array of paths.
    #[arg(long)]
    json: bool,
    /// Only the paths of packages that a root file system was made without
    #[arg(long)]
    dropped: bool,
}

impl Args {
    pub(super) fn run(self) -> Result<()> {
        if bundle::is_bundle(Path::new(&self.artifact)) {
            return self.bundle(&Bundle::open(Path::new(&self.artifact))?);
        }
        let artifact = self.store.find(&self.artifact)?;
        let manifest = artifact.manifest();
        if self.dropped {
            let bytes = artifact.read(DROPPED)?;
            let text = String::from_utf8_lossy(&bytes);
            match self.json {
                true => println!("{:#}", Value::from_iter(text.lines())),
                false => print!("{text}"),
            }
            return Ok(());
        }
        if self.json {
            let text = json!({
                "hash": artifact.hash(),
                "kind": manifest.kind,
                "files": manifest.files,
                "needs": manifest.needs,
                "meta": manifest.meta,
            });
            println!("{text:#}");
            return Ok(());
        }
        println!("{} {}", artifact.kind(), artifact.hash());
        for file in &manifest.files {
            println!("  {:>9}  {}", bytes(file.size), file.name);
        }
        for (role, hash) in &manifest.needs {
            println!("needs {role} {hash}");
        }
        for (key, value) in manifest.meta.as_object().into_iter().flatten() {
            match value {
                Value::String(text) => println!("{key}: {text}"),
                Value::Array(items) => {
                    println!("{key}:");
                    items.iter().for_each(|item| println!("  {}", plain(item)));
                }
                other => println!("{key}: {other}"),
            }
        }
        Ok(())
    }

    /// What is in a bundle, none of which is checked but its head. What it says of how it was made is its packer's word.
    fn bundle(&self, bundle: &Bundle) -> Result<()> {
        let head = bundle.head();
        let size = |packed: &Packed| packed.manifest.files.iter().map(|entry| entry.size).sum::<u64>();
        if self.json {
            let artifact = |packed: &Packed| {
                json!({ "hash": packed.hash, "kind": packed.manifest.kind, "files": packed.manifest.files,
                        "needs": packed.manifest.needs, "meta": packed.manifest.meta })
            };
            let provenance: Value = serde_json::from_str(&head.provenance).unwrap_or_default();
            let text = json!({
                "root": bundle.root(),
                "signer": bundle.signer(),
                "artifacts": head.artifacts.iter().map(artifact).collect::<Vec<_>>(),
                "provenance": provenance,
            });
            println!("{text:#}");
            return Ok(());
        }
        println!("root {}", bundle.root());
        println!("signed by {} (not checked)", bundle.signer().as_deref().unwrap_or("nobody"));
        for packed in head.artifacts.iter().rev() {
            println!("{:9}  {:>9}  {}", packed.manifest.kind.to_string(), bytes(size(packed)), packed.hash);
        }
        match Provenance::parse(bundle.path(), &head.provenance) {
            Ok(made) => {
                println!("made by samovar {} for machine version {}, of:", made.builder, made.machine);
                made.paths().for_each(|path| println!("  {path}"));
            }
            Err(_) => println!("how it was made is not known"),
        }
        Ok(())
    }
}

/// Text without its quotes.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
