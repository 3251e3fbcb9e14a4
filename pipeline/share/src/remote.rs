//! Where artifacts are sent to and fetched from.

use std::io::{self, Read};
use std::path::Path;

use store::Hash;

use crate::directory::Directory;
use crate::error::{Error, Result};
use crate::http::Web;
use crate::index::Pack;
use crate::registry::Registry;
use crate::retry::Attempt;
use crate::sealed::Sealed;

/// A remote.
#[derive(Debug)]
pub enum Remote {
    /// A directory.
    Directory(Directory),
    /// A web server that serves such a directory.
    Web(Web),
    /// An OCI registry.
    Registry(Registry),
}

/// Bytes of a pack.
pub(crate) struct Body {
    /// The bytes from `start` on. There may be more than were asked for.
    pub(crate) reader: Box<dyn Read>,
    /// Where in the pack they begin: where it was asked for, or at 0.
    pub(crate) start: u64,
    /// All of the pack comes, whatever was asked for.
    pub(crate) whole: bool,
}

impl Body {
    /// Goes on to byte `at` of the pack.
    pub(crate) fn skip_to(&mut self, at: u64) -> io::Result<()> {
        let count = at.checked_sub(self.start).ok_or(io::ErrorKind::InvalidInput)?;
        match io::copy(&mut self.reader.by_ref().take(count), &mut io::sink())? {
            skipped if skipped == count => {
                self.start = at;
                Ok(())
            }
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Fills `buffer` with the next bytes.
    pub(crate) fn read_exact(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buffer)?;
        self.start += buffer.len() as u64;
        Ok(())
    }
}

/// Whether a remote, and a store, may have this name: one plain path component that is a tag of a registry, too.
fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (1..=100).contains(&name.len())
        && name.chars().all(plain)
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.parse::<Hash>().is_err()
}

impl Remote {
    /// The remote that `text` names: `oci://HOST[:PORT]/REPOSITORY`, `http://...`, `https://...`, or a directory.
    ///
    /// # Errors
    /// If it is of neither form.
    pub fn parse(text: &str) -> Result<Remote> {
        if let Some(rest) = text.strip_prefix("oci://") {
            return Ok(Remote::Registry(Registry::parse(text, rest)?));
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return Ok(Remote::Web(Web::new(text)));
        }
        match text.split_once("://") {
            Some(("file", path)) if path.starts_with('/') => {
                Ok(Remote::Directory(Directory::new(Path::new(path))))
            }
            Some(_) => Err(Error::BadRemote {
                remote: text.into(),
                reason: "no remote that is known".into(),
                hint: "give a directory, file:///..., http://..., https://... or oci://HOST/REPOSITORY",
            }),
            None => Ok(Remote::Directory(Directory::new(Path::new(text)))),
        }
    }

    /// The index of an artifact: of the one with this hash, or of the one that this name leads to. Its root is right, and
    /// nothing else is known of it.
    ///
    /// # Errors
    /// If it is not there, or is none.
    pub fn index(&self, named: &str) -> Result<Sealed> {
        let hash = named.parse::<Hash>().ok();
        if hash.is_none() && !is_name(named) {
            return Err(Error::BadRemote {
                remote: named.into(),
                reason: "cannot be a name there".into(),
                hint: "give a name of letters, digits, dots and dashes, or a whole hash",
            });
        }
        let (url, bytes) = match self {
            Remote::Directory(directory) => directory.index(named)?,
            Remote::Web(web) => web.index(named)?,
            Remote::Registry(registry) => registry.index(named)?,
        };
        let sealed = Sealed::open(&url, &bytes)?;
        match (hash, sealed.index.main()) {
            (Some(wanted), Some(main)) if main.hash != wanted => {
                Err(Error::damaged(url, format!("it is of {}, and not of {wanted}", main.hash)))
            }
            _ => Ok(sealed),
        }
    }

    /// Where a pack is, for messages.
    pub(crate) fn pack_url(&self, hash: &Hash) -> String {
        match self {
            Remote::Directory(directory) => directory.pack(hash).display().to_string(),
            Remote::Web(web) => web.pack(hash),
            Remote::Registry(registry) => registry.blob(hash),
        }
    }

    /// Asks for the bytes of a pack from `from` to `to`.
    pub(crate) fn open(&self, pack: &Pack, from: u64, to: u64) -> Result<Body, Attempt> {
        match self {
            Remote::Directory(directory) => Ok(directory.open(&pack.hash, from)?),
            Remote::Web(web) => web.open(&pack.hash, from, to),
            Remote::Registry(registry) => registry.open(&pack.hash, from, to),
        }
    }

    /// What can be written to.
    ///
    /// # Errors
    /// If this is a web server.
    pub(crate) fn target(&self) -> Result<Target<'_>> {
        match self {
            Remote::Directory(directory) => {
                directory.make()?;
                Ok(Target::Directory(directory))
            }
            Remote::Registry(registry) => Ok(Target::Registry(registry.writer()?)),
            Remote::Web(web) => Err(Error::BadRemote {
                remote: web.url().into(),
                reason: "a web server only serves".into(),
                hint: "push to the directory that it serves, or to a registry (oci://HOST/REPOSITORY)",
            }),
        }
    }
}

/// A remote that is written to.
pub(crate) enum Target<'a> {
    Directory(&'a Directory),
    Registry(crate::registry::Writer<'a>),
}

impl Target<'_> {
    /// Checks that the name can be given to an artifact here.
    pub(crate) fn check_name(name: &str) -> Result<()> {
        match is_name(name) {
            true => Ok(()),
            false => Err(Error::BadRemote {
                remote: name.into(),
                reason: "cannot be a name there".into(),
                hint: "give a name of letters, digits, dots and dashes with --name",
            }),
        }
    }

    /// Whether the pack is there, with the right length as far as can be seen.
    pub(crate) fn has(&self, pack: &Pack) -> Result<bool> {
        match self {
            Target::Directory(directory) => Ok(directory.has(pack)),
            Target::Registry(writer) => writer.has(&pack.hash),
        }
    }

    /// Puts a pack there.
    pub(crate) fn put(&self, pack: &Pack, bytes: Vec<u8>) -> Result<()> {
        match self {
            Target::Directory(directory) => directory.put(pack, &bytes),
            Target::Registry(writer) => writer.put(&pack.hash, bytes),
        }
    }

    /// Puts an index there, all of whose packs are, and makes the name lead to it.
    pub(crate) fn publish(
        &self,
        artifact: &Hash,
        name: Option<&str>,
        sealed: Vec<u8>,
        packs: &[Pack],
    ) -> Result<()> {
        match self {
            Target::Directory(directory) => directory.publish(artifact, name, &sealed),
            Target::Registry(writer) => writer.publish(artifact, name, sealed, packs),
        }
    }
}
