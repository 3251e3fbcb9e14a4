//! Records: what a build left for the next one to compare with. They lead to nothing, and nothing is lost with them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use crate::Store;
use crate::error::{Error, IoContext, Result};
use crate::manifest::is_plain_name;

/// No record comes near this; a longer one is not read.
const MAX_BYTES: u64 = 16 << 20;

impl Store {
    /// Replaces the record of a name.
    pub fn set_record(&self, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.record_path(name)?;
        let scratch = self.scratch()?;
        let mut file = scratch.create("record")?;
        file.write_all(bytes).at(&path)?;
        file.finish()?;
        scratch.publish("record", &path)
    }

    /// The record of a name, if there is one of a sensible length.
    pub fn record(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.record_path(name)?;
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io(&path, error)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_BYTES + 1).read_to_end(&mut bytes).at(&path)?;
        Ok((bytes.len() as u64 <= MAX_BYTES).then_some(bytes))
    }

    fn record_path(&self, name: &str) -> Result<PathBuf> {
        match is_plain_name(name) {
            true => Ok(self.dir().join("records").join(name)),
            false => Err(Error::BadName { name: name.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_record_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        assert_eq!(store.record("it").unwrap(), None);
        store.set_record("it", b"one").unwrap();
        store.set_record("it", b"two").unwrap();
        assert_eq!(store.record("it").unwrap().unwrap(), b"two");
        assert_eq!(store.record("other").unwrap(), None);
        for name in ["", "../it", "a/b", ".it"] {
            assert!(store.set_record(name, b"").is_err() && store.record(name).is_err(), "{name:?}");
        }
        let path = dir.path().join("records/long");
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        assert_eq!(store.record("long").unwrap(), None);
    }
}
