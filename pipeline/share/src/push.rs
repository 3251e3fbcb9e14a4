//! Pushing.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use bundle::carried::MAX_PROVENANCE;
use bundle::{SigningKey, in_order, threads, with_needs};
use store::{Artifact, Hash};
use zstd::bulk::Compressor;

use crate::error::{Error, IoContext, Result};
use crate::index::{Frame, MAX_INDEX, MAX_PACKS, Pack};
use crate::plan::Plan;
use crate::remote::{Remote, Target};
use crate::sealed::seal;
use crate::{PAGE, Progress};

/// Zstandard's level. The bytes are the same as long as it and zstd's version are, which the workspace pins.
const LEVEL: i32 = 9;
/// A pack that is no shorter than this is full: large enough that a registry has few of them, small enough to be kept in
/// memory, and to be little to send again.
const PACK: usize = 16 << 20;

/// What is pushed.
#[derive(Debug)]
pub struct Push<'a> {
    /// The artifact; all that it needs comes along.
    pub artifact: &'a Artifact,
    /// How it was made, as JSON; empty if nobody knows.
    pub provenance: &'a str,
    /// Who signs it.
    pub key: Option<&'a SigningKey>,
    /// What leads to it there, besides its hash; what that led to is what the remote has already.
    pub name: Option<&'a str>,
}

/// What was pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pushed {
    /// The root, which the signature is of.
    pub root: Hash,
    /// The bytes of all files, holes included.
    pub total: u64,
    /// The length of the index and of the packs that were sent.
    pub sent: u64,
    /// The length of the frames of the remote that are used again, and of new packs that were there from a push that broke
    /// off.
    pub there: u64,
}

impl Push<'_> {
    /// Sends what the remote has not, and then makes the artifact's hash and name lead to it: what is interrupted is not to
    /// be seen there. Every byte of the artifacts is checked on the way.
    ///
    /// # Errors
    /// If the artifact is damaged or too large, or the remote cannot be written to.
    pub fn to(&self, remote: &Remote, progress: Progress) -> Result<Pushed> {
        let too_large =
            |reason: &str| Error::TooLarge { path: self.artifact.dir().into(), reason: reason.into() };
        self.name.map_or(Ok(()), Target::check_name)?;
        if self.provenance.len() > MAX_PROVENANCE {
            return Err(too_large("what is known of how it was made is too long"));
        }
        let target = remote.target()?;
        let artifacts = with_needs(self.artifact)?;
        let sizes = artifacts.iter().flat_map(|one| &one.manifest().files).map(|entry| entry.size);
        let total = sizes.fold(0, u64::saturating_add);
        // Reading is the smaller part of the work.
        let (reading, whole) = (total / 8, total + total / 8);
        let old = self.old(remote, &target)?;
        let mut plan =
            Plan::new(&artifacts, self.provenance, old.as_ref(), &mut |read| progress(read / 8, whole))?;
        drop(old);
        let mut pushed = Pushed { root: Hash::of(b""), total, sent: 0, there: 0 };
        pushed.there = plan.index.frames.iter().map(|frame| u64::from(frame.len)).sum();
        write(&mut plan, &artifacts, &target, &mut pushed, &mut |share| {
            progress(reading + (total as f64 * share) as u64, whole);
        })?;
        if plan.index.packs.len() > MAX_PACKS || plan.index.encode().len() > MAX_INDEX {
            return Err(too_large("its pages lie too scattered to be pushed"));
        }
        let (sealed, root) = seal(&plan.index, self.key).at(self.artifact.dir())?;
        pushed.root = root;
        pushed.sent += sealed.len() as u64;
        target.publish(self.artifact.hash(), self.name, sealed, &plan.index.packs)?;
        progress(whole, whole);
        Ok(pushed)
    }

    /// What the remote has of this artifact, or of the one that the name leads to. What is not right there is as good as
    /// nothing.
    fn old(&self, remote: &Remote, target: &Target) -> Result<Option<crate::Index>> {
        let hash = self.artifact.hash().to_string();
        for named in [Some(&*hash), self.name].into_iter().flatten() {
            let index = match remote.index(named) {
                Ok(sealed) => sealed.index,
                Err(Error::NotThere { .. } | Error::Damaged { .. } | Error::UnknownFormat { .. }) => continue,
                // So a registry may answer for a repository that is not there yet.
                Err(Error::Refused { .. }) => continue,
                Err(error) => return Err(error),
            };
            let mut there = true;
            for pack in &index.packs {
                there = there && target.has(pack)?;
            }
            if there {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }
}

/// Compresses the new pages and sends them, pack by pack. `done` is told which share of it is done.
fn write(
    plan: &mut Plan,
    artifacts: &[Artifact],
    target: &Target,
    pushed: &mut Pushed,
    done: &mut dyn FnMut(f64),
) -> Result<()> {
    let mut files: Vec<(PathBuf, File)> = Vec::new();
    for artifact in artifacts {
        for entry in &artifact.manifest().files {
            let path = artifact.dir().join(&entry.name);
            files.push((path.clone(), File::open(&path).at(&path)?));
        }
    }
    let work = |tool: &mut Option<Compressor>, pages: &Vec<(u32, u32)>| {
        let mut bytes = vec![0; pages.len() * PAGE];
        for (buffer, (file, page)) in bytes.chunks_mut(PAGE).zip(pages) {
            let (path, file) = &files[*file as usize];
            let mut filled = 0;
            // The last page of a file may be short.
            while filled < PAGE {
                let at = u64::from(*page) * PAGE as u64 + filled as u64;
                match file.read_at(&mut buffer[filled..], at).at(path)? {
                    0 => break,
                    count => filled += count,
                }
            }
        }
        let tool = tool.as_mut().ok_or(std::io::ErrorKind::OutOfMemory);
        tool.map_err(Into::into).and_then(|tool| tool.compress(&bytes)).at(&files[0].0)
    };
    let (count, mut taken, mut pack) = (plan.new.len(), 0, Vec::with_capacity(PACK));
    let Plan { index, new } = plan;
    let tool = || Compressor::new(LEVEL).ok();
    in_order(new, threads(), tool, work, |pages, bytes| {
        let (number, at) = (index.packs.len() as u32, pack.len() as u32);
        let (len, pages, hash) = (bytes.len() as u32, pages.len() as u32, Hash::of(&bytes));
        index.frames.push(Frame { pack: number, at, len, pages, hash });
        pack.extend(bytes);
        taken += 1;
        if pack.len() >= PACK || taken == count {
            let bytes = std::mem::replace(&mut pack, Vec::with_capacity(PACK));
            let pack = Pack { hash: Hash::of(&bytes), len: bytes.len() as u32 };
            // Such as from a push that broke off.
            match target.has(&pack)? {
                true => pushed.there += u64::from(pack.len),
                false => {
                    target.put(&pack, bytes)?;
                    pushed.sent += u64::from(pack.len);
                }
            }
            index.packs.push(pack);
        }
        done(taken as f64 / count as f64);
        Ok(())
    })
}
