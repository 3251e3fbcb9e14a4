//! A directory as a remote.

use std::fs::{self, File, Permissions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use store::Hash;

use crate::error::{Error, IoContext, Result};
use crate::index::Pack;
use crate::remote::Body;
use crate::sealed::MAX_SEALED;

pub(crate) const INDEXES: &str = "indexes";
pub(crate) const NAMES: &str = "names";
pub(crate) const PACKS: &str = "packs";
/// The longest file of a name: a hash and the end of a line.
pub(crate) const MAX_NAME: u64 = 65;

/// A directory.
#[derive(Debug)]
pub struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(path: &Path) -> Directory {
        Directory(path.into())
    }

    pub(crate) fn pack(&self, hash: &Hash) -> PathBuf {
        self.0.join(PACKS).join(hash.to_string())
    }

    /// The bytes of the index of an artifact with this hash or name, and where they are.
    pub(crate) fn index(&self, named: &str) -> Result<(String, Vec<u8>)> {
        let hash = match named.parse::<Hash>() {
            Ok(hash) => hash,
            Err(_) => {
                let path = self.0.join(NAMES).join(named);
                named_hash(&path.display().to_string(), &read(&path, MAX_NAME)?)?
            }
        };
        let path = self.0.join(INDEXES).join(hash.to_string());
        Ok((path.display().to_string(), read(&path, MAX_SEALED)?))
    }

    pub(crate) fn open(&self, hash: &Hash, from: u64) -> Result<Body> {
        let path = self.pack(hash);
        let mut file = open(&path)?;
        file.seek(SeekFrom::Start(from)).at(&path)?;
        Ok(Body { reader: Box::new(BufReader::with_capacity(1 << 18, file)), start: from, whole: false })
    }

    /// Makes the directory if it is missing.
    pub(crate) fn make(&self) -> Result<()> {
        for sub in [INDEXES, NAMES, PACKS] {
            let path = self.0.join(sub);
            fs::create_dir_all(&path).at(&path)?;
        }
        Ok(())
    }

    /// Packs are put in their places whole, so one that is there and as long as it should be is right.
    pub(crate) fn has(&self, pack: &Pack) -> bool {
        let there = fs::symlink_metadata(self.pack(&pack.hash));
        there.is_ok_and(|there| there.is_file() && there.len() == u64::from(pack.len))
    }

    pub(crate) fn put(&self, pack: &Pack, bytes: &[u8]) -> Result<()> {
        self.write(PACKS, &pack.hash.to_string(), bytes)
    }

    pub(crate) fn publish(&self, artifact: &Hash, name: Option<&str>, sealed: &[u8]) -> Result<()> {
        self.write(INDEXES, &artifact.to_string(), sealed)?;
        match name {
            Some(name) => self.write(NAMES, name, format!("{artifact}\n").as_bytes()),
            None => Ok(()),
        }
    }

    /// Writes a file whole or not at all. What a process that died had begun is taken over by the next that writes the same.
    fn write(&self, sub: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let dir = self.0.join(sub);
        let (part, target) = (dir.join(format!(".part-{name}")), dir.join(name));
        let mut file = store::take(&part)?;
        let written = file.set_len(0).and_then(|()| file.write_all(bytes)).and_then(|()| file.sync_all());
        if let Err(error) = written {
            // Such as that the disk is full: what is of no use is not left on it.
            let _ = fs::remove_file(&part);
            return Err(store::Error::io(&part, error).into());
        }
        // For whoever serves it.
        file.set_permissions(Permissions::from_mode(0o644)).at(&part)?;
        fs::rename(&part, &target).at(&target)?;
        File::open(&dir).and_then(|dir| dir.sync_all()).at(&dir)
    }
}

/// The hash that the file of a name has.
pub(crate) fn named_hash(url: &str, bytes: &[u8]) -> Result<Hash> {
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    text.trim_end().parse().map_err(|_| Error::damaged(url, "leads to no artifact"))
}

fn open(path: &Path) -> Result<File> {
    match fs::metadata(path) {
        // A pipe would be waited for.
        Ok(meta) if meta.is_file() => File::open(path).at(path),
        Ok(_) => Err(Error::damaged(path.display(), "not a file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Error::NotThere { url: path.display().to_string() })
        }
        result => result.map(drop).at(path).and_then(|()| File::open(path).at(path)),
    }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit + 1).read_to_end(&mut bytes).at(path)?;
    match bytes.len() as u64 > limit {
        true => Err(Error::damaged(path.display(), format!("longer than {limit} bytes"))),
        false => Ok(bytes),
    }
}
