//! Fetching frames: several packs at once, each in as few requests as there are gaps in it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;

use store::Hash;
use zstd::bulk::Decompressor;

use crate::PAGE;
use crate::error::{Error, Result};
use crate::index::{Frame, Index, Pack, key};
use crate::remote::{Body, Remote};
use crate::retry::{Attempt, Patience};

/// How many packs are fetched at once: enough to hide the time between request and answer, few enough to be no burden.
const WORKERS: usize = 4;
/// A gap that is longer is worth another request.
const GAP: u32 = 256 << 10;

/// Frames of one pack, in order, with the numbers of their first pages.
struct Job<'a> {
    pack: &'a Pack,
    frames: Vec<(&'a Frame, u32)>,
}

/// Fetches the frames that `wanted` is true of, by their numbers, and hands the pages of each to `take`, with the number of
/// the first. Every frame and every page of it is checked. `done` is told how many bytes came.
pub(crate) fn fetch(
    remote: &Remote,
    index: &Index,
    wanted: &[bool],
    take: &(dyn Fn(u32, &[u8]) -> Result<()> + Sync),
    done: &mut dyn FnMut(u64),
) -> Result<()> {
    let mut jobs: Vec<Job> = Vec::new();
    for ((frame, pages), wanted) in index.frame_pages().zip(wanted) {
        if !wanted {
            continue;
        }
        let pack = &index.packs[frame.pack as usize];
        match jobs.last_mut() {
            Some(job) if job.pack == pack => job.frames.push((frame, pages.start)),
            _ => jobs.push(Job { pack, frames: vec![(frame, pages.start)] }),
        }
    }
    let (next, stop) = (AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let (sender, results) = channel();
        for _ in 0..WORKERS.min(jobs.len()) {
            let (sender, jobs, next, stop) = (sender.clone(), &jobs, &next, &stop);
            scope.spawn(move || {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = |bytes| {
                        // Nobody takes it any more after an error.
                        let _ = sender.send(Ok(bytes));
                    };
                    if let Err(error) = job.fetch(remote, index, take, stop, &report) {
                        let _ = sender.send(Err(error));
                        return;
                    }
                }
            });
        }
        drop(sender);
        for result in results {
            match result {
                Ok(bytes) => done(bytes),
                Err(error) => {
                    stop.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
        Ok(())
    })
}

impl Job<'_> {
    fn fetch(
        &self,
        remote: &Remote,
        index: &Index,
        take: &dyn Fn(u32, &[u8]) -> Result<()>,
        stop: &AtomicBool,
        report: &dyn Fn(u64),
    ) -> Result<()> {
        let url = remote.pack_url(&self.pack.hash);
        let mut patience = Patience::new(&url);
        let mut rest = &self.frames[..];
        while !rest.is_empty() {
            let before = rest.len();
            match self.attempt(remote, index, &url, &mut rest, take, stop, report) {
                Ok(()) => return Ok(()),
                Err(failed) => patience.bear(failed, rest.len() < before)?,
            }
        }
        Ok(())
    }

    /// Fetches the frames that are left until something fails.
    #[expect(
        clippy::too_many_arguments,
        reason = "all that a job needs, and a structure of it would have one use"
    )]
    fn attempt(
        &self,
        remote: &Remote,
        index: &Index,
        url: &str,
        rest: &mut &[(&Frame, u32)],
        take: &dyn Fn(u32, &[u8]) -> Result<()>,
        stop: &AtomicBool,
        report: &dyn Fn(u64),
    ) -> Result<(), Attempt> {
        let mut tool = Decompressor::new().map_err(Attempt::again)?;
        let mut body: Option<Body> = None;
        while let Some(((frame, first), after)) = rest.split_first() {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            let mut open = match body.take() {
                // One that began before what was asked for knows no ranges: asking again would bring all of it again.
                Some(open) if open.whole || u64::from(frame.at) <= open.start + u64::from(GAP) => open,
                _ => remote.open(self.pack, frame.at.into(), end(rest).into())?,
            };
            open.skip_to(frame.at.into()).map_err(broke_off)?;
            let mut bytes = vec![0; frame.len as usize];
            open.read_exact(&mut bytes).map_err(broke_off)?;
            body = Some(open);
            let pages = unpack(&mut tool, url, frame, &bytes)?;
            let keys = &index.keys[*first as usize..];
            for (page, wanted) in pages.chunks(PAGE).zip(keys) {
                if key(page) != *wanted {
                    return Err(Error::damaged(
                        url,
                        format!("{} has other pages than the index says", place(frame)),
                    )
                    .into());
                }
            }
            take(*first, &pages)?;
            *rest = after;
            report(frame.len.into());
        }
        Ok(())
    }
}

/// Where the frames end that one request is for: those without long gaps between them.
fn end(frames: &[(&Frame, u32)]) -> u32 {
    let mut end = 0;
    for (frame, _) in frames {
        if end > 0 && frame.at - end > GAP {
            break;
        }
        end = frame.at + frame.len;
    }
    end
}

fn broke_off(error: std::io::Error) -> Attempt {
    match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Attempt::again("it broke off"),
        _ => Attempt::again(error),
    }
}

fn place(frame: &Frame) -> String {
    format!("the frame from {} to {}", frame.at, frame.at + frame.len)
}

/// The pages of a frame.
pub(crate) fn unpack(tool: &mut Decompressor, url: &str, frame: &Frame, bytes: &[u8]) -> Result<Vec<u8>> {
    // Before it is decompressed: what nobody pushed does not get that far.
    if Hash::of(bytes) != frame.hash {
        return Err(Error::damaged(url, format!("{} is not what was pushed", place(frame))));
    }
    let wanted = frame.pages as usize * PAGE;
    match tool.decompress(bytes, wanted) {
        Ok(pages) if pages.len() == wanted => Ok(pages),
        Ok(_) => Err(Error::damaged(url, format!("{} has not {} pages", place(frame), frame.pages))),
        Err(error) => Err(Error::damaged(url, format!("{} cannot be decompressed: {error}", place(frame)))),
    }
}
