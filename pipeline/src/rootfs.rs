//! The root file system: packages, what their scripts would have done, our own files, and the ext4 image of it all.

mod libraries;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mkext4::sink::RegionSink;
use mkext4::{FsBuilder, InodeCount, InodeHandle, Meta, Options, SpecialKind};
use serde_json::{Map, Value};
use store::StagedFile;

use crate::debian::deb;
use crate::error::{Error, IoContext, Result};
use crate::recipe::{RecipeFile, Rootfs};
use crate::tree::{Attributes, Content, Kind, NodeId, Spool, Tree, TreeError};

const STEP: &str = "rootfs";

/// The time of every file and of the image: the day trixie was released. A fixed one, since nothing else in the
/// recipe is a time; not zero, because some programs take that for "unknown".
const TIME: i64 = 1_754_697_600;

const BLOCK: u64 = 4096;

/// A tree with Debian's merged `/usr`, before any package is put in (Debian Policy 10.1; the packages assume it).
pub fn base() -> Result<Tree> {
    let mut tree = Tree::new();
    for name in ["bin", "lib", "sbin"] {
        let usr = format!("/usr/{name}");
        tree.make_directory(&usr, Attributes::root(0o755)).map_err(place)?;
        let link = Kind::Symlink(format!("usr/{name}"));
        tree.add(&format!("/{name}"), Attributes::root(0o777), link).map_err(place)?;
    }
    Ok(tree)
}

/// The file in the artifact that says what of packages was not taken: a path on each line, sorted.
pub const DROPPED: &str = "dropped.txt";

/// Decides which files of packages are taken.
#[derive(Debug)]
pub struct Filter {
    drop: Vec<glob::Pattern>,
    keep: Vec<glob::Pattern>,
    programs: Vec<glob::Pattern>,
}

impl Filter {
    /// The recipe's filter.
    pub fn new(rootfs: &Rootfs) -> Result<Filter> {
        let patterns = |globs: &[String]| {
            globs.iter().map(|text| glob::Pattern::new(text)).collect::<Result<Vec<_>, _>>()
        };
        let build = |error: glob::PatternError| Error::build(STEP, error);
        Ok(Filter {
            drop: patterns(&rootfs.drop).map_err(build)?,
            keep: patterns(&rootfs.keep).map_err(build)?,
            programs: patterns(&rootfs.programs).map_err(build)?,
        })
    }

    /// Whether the file at `path` is taken.
    pub fn takes(&self, path: &str) -> bool {
        !matches(&self.drop, path) || matches(&self.keep, path)
    }

    /// Whether the file at `path` stays, whoever is linked with it.
    fn is_program(&self, path: &str) -> bool {
        matches(&self.programs, path) || matches(&self.keep, path)
    }
}

/// Whether a pattern matches a path, or a directory above it.
fn matches(patterns: &[glob::Pattern], path: &str) -> bool {
    const OPTIONS: glob::MatchOptions = glob::MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: false,
    };
    let above = path.match_indices('/').map(|(at, _)| &path[..at]).filter(|above| !above.is_empty());
    above.chain([path]).any(|part| patterns.iter().any(|pattern| pattern.matches_with(part, OPTIONS)))
}

/// Makes the tree of a recipe's root file system of its packages, in their order; and what of these was left out.
pub fn assemble<'a>(
    file: &RecipeFile,
    packages: impl IntoIterator<Item = &'a Path>,
    spool: &Arc<Spool>,
) -> Result<(Tree, BTreeSet<String>)> {
    let filter = Filter::new(&file.recipe.rootfs)?;
    let dropped = RefCell::new(BTreeSet::new());
    let wants = |path: &str| {
        let taken = filter.takes(path);
        if !taken {
            dropped.borrow_mut().insert(path.to_owned());
        }
        taken
    };
    let mut tree = base()?;
    for package in packages {
        deb::unpack(package, &mut tree, spool, &wants)?;
    }
    let unreached = finish(&mut tree, file)?;
    let mut dropped = dropped.into_inner();
    dropped.extend(unreached);
    Ok((tree, dropped))
}

/// Adds what the recipe asks for beyond packages, and takes out shared objects that nothing reaches; their paths.
pub fn finish(tree: &mut Tree, file: &RecipeFile) -> Result<Vec<String>> {
    let rootfs = &file.recipe.rootfs;
    let filter = Filter::new(rootfs)?;
    // What the guest's init mounts over.
    for (path, mode) in
        [("/dev", 0o755), ("/proc", 0o555), ("/run", 0o755), ("/sys", 0o555), ("/tmp", 0o1777)]
    {
        tree.make_directory(path, Attributes::root(mode)).map_err(place)?;
    }
    for path in &rootfs.directories {
        tree.make_directory(path, Attributes::root(0o755)).map_err(place)?;
    }
    for applet in &rootfs.applets {
        let path = format!("/usr/bin/{applet}");
        // A package's own program is better than busybox's.
        if tree.find(&path).is_none() {
            tree.add(&path, Attributes::root(0o777), Kind::Symlink("busybox".into())).map_err(place)?;
        }
    }
    for (path, target) in &rootfs.symlinks {
        tree.add(path, Attributes::root(0o777), Kind::Symlink(target.clone())).map_err(place)?;
    }
    for directory in &rootfs.overlay {
        lay_over(tree, &file.resolve(directory))?;
    }
    for (path, text) in &rootfs.files {
        let content = Content::Memory(text.as_bytes().into());
        tree.replace(path, Attributes::root(0o644), Kind::File(content)).map_err(place)?;
    }
    for (path, changes) in &rootfs.json {
        change_json(tree, path, changes)?;
    }
    let unreached = match filter.programs.is_empty() {
        true => Vec::new(),
        false => libraries::prune(tree, &|path| filter.is_program(path))?,
    };
    for permission in &rootfs.permissions {
        let missing =
            || Error::build(STEP, format!("`permissions` names {}, which is not there", permission.path));
        let top = tree.find(&permission.path).ok_or_else(missing)?;
        if let Some(mode) = permission.mode_bits() {
            tree.node_mut(top).attributes.mode = mode;
        }
        let mut owned = vec![top];
        while let Some(id) = owned.pop() {
            let node = tree.node_mut(id);
            node.attributes.uid = permission.uid.unwrap_or(node.attributes.uid);
            node.attributes.gid = permission.gid.unwrap_or(node.attributes.gid);
            if let (Kind::Directory(entries), true) = (&node.kind, permission.recursive) {
                owned.extend(entries.values());
            }
        }
    }
    Ok(unreached)
}

/// Merges an object into the JSON file at `path`, or writes it there.
fn change_json(tree: &mut Tree, path: &str, changes: &Map<String, Value>) -> Result<()> {
    /// JSON that is configuration is a page of text.
    const MAX_JSON: u64 = 16 << 20;
    let (mut attributes, mut whole) = (Attributes::root(0o644), Value::Object(Map::new()));
    if let Some(id) = tree.follow(path) {
        let node = tree.node(id);
        let refuse = |reason: &str| Error::build(STEP, format!("`json` changes {path}, which is {reason}"));
        let Kind::File(content) = &node.kind else { return Err(refuse("no file")) };
        if content.len() > MAX_JSON {
            return Err(refuse("too long"));
        }
        let bytes = content.bytes().map_err(|error| Error::build(STEP, error))?;
        whole = serde_json::from_slice(&bytes).map_err(|error| refuse(&format!("no JSON: {error}")))?;
        attributes = node.attributes;
    }
    merge_json(&mut whole, &Value::Object(changes.clone()));
    // In order of the keys, whatever features `serde_json` was built with.
    whole.sort_all_objects();
    let text = format!("{whole:#}\n");
    tree.replace(path, attributes, Kind::File(Content::Memory(text.into_bytes().into()))).map_err(place)?;
    Ok(())
}

/// Objects are merged key by key, and everything else is replaced, as RFC 7396 has it (but for `null`, which a recipe
/// cannot say).
fn merge_json(whole: &mut Value, changes: &Value) {
    match (whole, changes) {
        (Value::Object(whole), Value::Object(changes)) => {
            for (key, value) in changes {
                merge_json(whole.entry(key.as_str()).or_insert(Value::Null), value);
            }
        }
        (whole, changes) => *whole = changes.clone(),
    }
}

/// Lays the files of a directory of the host over a tree.
pub fn lay_over(tree: &mut Tree, directory: &Path) -> Result<()> {
    for (path, kind, attributes) in overlay_files(directory)? {
        match kind {
            Kind::Directory(_) => tree.make_directory(&path, attributes).map(drop),
            other => tree.replace(&path, attributes, other).map(drop),
        }
        .map_err(place)?;
    }
    Ok(())
}

/// The files of a directory of the host, in order of their paths. Of their modes only "executable" is kept: that
/// is all that git keeps, too.
pub fn overlay_files(directory: &Path) -> Result<Vec<(String, Kind, Attributes)>> {
    /// An overlay is a handful of hand-written files; one file beyond this is a mistake.
    const MAX_FILE: u64 = 256 << 20;
    let mut files = Vec::new();
    let mut pending = vec![(PathBuf::from(directory), String::new())];
    while let Some((host, path)) = pending.pop() {
        for entry in fs::read_dir(&host).at(&host)? {
            let host = entry.at(&host)?.path();
            let name = host.file_name().and_then(|name| name.to_str());
            let name = name.ok_or_else(|| Error::build(STEP, format!("{}: not UTF-8", host.display())))?;
            let path = format!("{path}/{name}");
            let meta = fs::symlink_metadata(&host).at(&host)?;
            if meta.is_dir() {
                files.push((path.clone(), Kind::directory(), Attributes::root(0o755)));
                pending.push((host, path));
            } else if meta.is_symlink() {
                let target = fs::read_link(&host).at(&host)?;
                let target = target.to_str();
                let target =
                    target.ok_or_else(|| Error::build(STEP, format!("{}: not UTF-8", host.display())))?;
                files.push((path, Kind::Symlink(target.to_owned()), Attributes::root(0o777)));
            } else if meta.is_file() && meta.len() <= MAX_FILE {
                let mode = if meta.permissions().mode() & 0o100 != 0 { 0o755 } else { 0o644 };
                let bytes = fs::read(&host).at(&host)?;
                files.push((path, Kind::File(Content::Memory(bytes.into())), Attributes::root(mode)));
            } else {
                return Err(Error::build(STEP, format!("{}: has no place in an overlay", host.display())));
            }
        }
    }
    files.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(files)
}

fn place(error: TreeError) -> Error {
    Error::build(STEP, error)
}

/// Writes the ext4 image of a tree.
pub fn write_image(tree: &Tree, label: &str, spare_inodes: u32, out: &mut StagedFile) -> Result<()> {
    let digest = tree.digest().map_err(|error| Error::build(STEP, error))?;
    let mut uuid = [0; 16];
    uuid.copy_from_slice(&digest.as_bytes()[..16]);
    // RFC 9562, 5.8: version 8 ("custom"), so that nobody takes it for a random one.
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    let measure = Measure::of(tree);
    let inodes = measure.inodes.saturating_add(u64::from(spare_inodes));
    let inodes = u32::try_from(inodes).map_err(|_| Error::build(STEP, "too many files"))?;
    // The exact overhead depends on the layout, so the image grows until it all fits. Whether it fits is known
    // before anything is written.
    let mut blocks = measure.blocks(inodes);
    let mut last = String::new();
    for _ in 0..24 {
        let mut options = Options::new(blocks * BLOCK, uuid, TIME);
        options.label = Some(label.to_owned());
        options.inodes = InodeCount::Exact(inodes);
        options.reserved_percent = 0;
        // Mounted read-only it is never written; the smallest journal keeps the image small.
        options.journal_blocks = Some(1024);
        match declare(tree, options) {
            Ok((layout, fills)) => return fill(tree, &layout, &fills, out),
            Err(mkext4::Error::Io(error)) => return Err(Error::build(STEP, error)),
            Err(error) => last = error.to_string(),
        }
        blocks = round_up(blocks + blocks / 32);
    }
    Err(Error::build(STEP, format!("the image cannot be laid out: {last}")))
}

/// Images are whole mebibytes.
fn round_up(blocks: u64) -> u64 {
    blocks.next_multiple_of((1 << 20) / BLOCK)
}

/// How much a tree takes up.
#[derive(Debug, Default)]
struct Measure {
    inodes: u64,
    data_blocks: u64,
}

impl Measure {
    fn of(tree: &Tree) -> Measure {
        // ext4 keeps the first ten inodes for itself; lost+found is the eleventh.
        let mut measure = Measure { inodes: 11, data_blocks: 4 };
        let mut seen = BTreeSet::new();
        let _ = tree.walk_all(&mut |_, id, node| {
            if seen.insert(id) {
                measure.inodes += 1;
                // What does not fit into an inode has a block of its own; a file's capabilities fit.
                measure.data_blocks += u64::from(!node.xattrs.is_empty());
                measure.data_blocks += match &node.kind {
                    Kind::File(content) => content.len().div_ceil(BLOCK),
                    // A link of 60 bytes or more has a block of its own.
                    Kind::Symlink(target) => u64::from(target.len() >= 60),
                    // Two thirds of a directory's blocks are in use after a split.
                    Kind::Directory(entries) => {
                        let bytes: usize =
                            entries.keys().map(|name| 8 + name.len().next_multiple_of(4)).sum();
                        1 + (bytes as u64 * 3 / 2) / BLOCK
                    }
                    _ => 0,
                };
            }
            Ok::<(), std::convert::Infallible>(())
        });
        measure
    }

    fn blocks(&self, inodes: u32) -> u64 {
        let tables = (u64::from(inodes) * 256).div_ceil(BLOCK);
        let used = self.data_blocks + tables + 1024 + 64;
        // Bitmaps, descriptors, copies of the superblock, extent trees. The journal may be no more than a quarter.
        round_up((used + used / 64).max(4096))
    }
}

type Fills = Vec<(InodeHandle, NodeId)>;

fn declare(tree: &Tree, options: Options) -> mkext4::Result<(mkext4::Layout, Fills)> {
    let mut builder = FsBuilder::new(options)?;
    let mut handles: BTreeMap<NodeId, InodeHandle> = BTreeMap::new();
    let mut parents: BTreeMap<String, InodeHandle> = BTreeMap::new();
    let mut fills = Vec::new();
    tree.walk_all(&mut |path, id, node| {
        let Attributes { mode, uid, gid } = node.attributes;
        let meta = Meta::new(mode, uid, gid, (TIME, 0));
        let Some((parent, name)) = path.rsplit_once('/') else {
            parents.insert(String::new(), mkext4::ROOT);
            for (name, value) in &node.xattrs {
                builder.set_xattr(mkext4::ROOT, name, value)?;
            }
            return builder.set_meta(mkext4::ROOT, meta);
        };
        // `walk_all` shows a directory before what is in it.
        let missing = || mkext4::Error::Invalid(format!("{path}: its directory was not declared"));
        let parent = *parents.get(parent).ok_or_else(missing)?;
        if let Some(first) = handles.get(&id) {
            return builder.hardlink(parent, name, *first);
        }
        let handle = match &node.kind {
            Kind::Directory(_) => {
                let handle = builder.mkdir(parent, name, meta)?;
                parents.insert(path.to_owned(), handle);
                handle
            }
            Kind::File(content) => {
                let handle = builder.file(parent, name, meta, content.len())?;
                if !content.is_empty() {
                    fills.push((handle, id));
                }
                handle
            }
            Kind::Symlink(target) => builder.symlink(parent, name, target, meta)?,
            Kind::Character(major, minor) => {
                builder.mknod(parent, name, meta, SpecialKind::Char { major: *major, minor: *minor })?
            }
            Kind::Block(major, minor) => {
                builder.mknod(parent, name, meta, SpecialKind::Block { major: *major, minor: *minor })?
            }
            Kind::Fifo => builder.mknod(parent, name, meta, SpecialKind::Fifo)?,
        };
        for (name, value) in &node.xattrs {
            builder.set_xattr(handle, name, value)?;
        }
        handles.insert(id, handle);
        Ok(())
    })?;
    Ok((builder.seal()?, fills))
}

fn fill(tree: &Tree, layout: &mkext4::Layout, fills: &Fills, out: &mut StagedFile) -> Result<()> {
    let path = out.path().to_owned();
    let mut sink = InOrder { out, position: 0, waiting: BTreeMap::new() };
    let mut write = || {
        let mut writer = layout.writer(&mut sink)?;
        for (handle, id) in fills {
            if let Kind::File(content) = &tree.node(*id).kind {
                writer.fill(*handle, &mut content.reader())?;
            }
        }
        writer.finish()?;
        Ok(())
    };
    write().map_err(|error: mkext4::Error| match error {
        mkext4::Error::Io(error) => Error::io(&path, error),
        other => Error::build(STEP, other),
    })?;
    if !sink.waiting.is_empty() || sink.position != layout.image_len() {
        return Err(Error::build(STEP, "the image came out with gaps"));
    }
    Ok(())
}

/// Puts the pieces of an image, which come with all metadata first, in order, so that the file's hash can be taken
/// as it is written. Only the metadata wait in memory.
struct InOrder<'a> {
    out: &'a mut StagedFile,
    position: u64,
    waiting: BTreeMap<u64, Piece>,
}

enum Piece {
    Data(Vec<u8>),
    Zeros(u64),
}

impl InOrder<'_> {
    fn zeros_now(&mut self, mut len: u64) -> io::Result<()> {
        static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
        self.position += len;
        while len > 0 {
            let count = len.min(ZEROS.len() as u64);
            self.out.write_all(&ZEROS[..count as usize])?;
            len -= count;
        }
        Ok(())
    }

    fn data_now(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn catch_up(&mut self) -> io::Result<()> {
        while let Some(piece) = self.waiting.remove(&self.position) {
            match piece {
                Piece::Data(bytes) => self.data_now(&bytes)?,
                Piece::Zeros(len) => self.zeros_now(len)?,
            }
        }
        Ok(())
    }
}

impl RegionSink for InOrder<'_> {
    fn data(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset == self.position {
            self.data_now(bytes)?;
            return self.catch_up();
        }
        if !bytes.is_empty() {
            self.waiting.insert(offset, Piece::Data(bytes.to_vec()));
        }
        Ok(())
    }

    fn zeros(&mut self, offset: u64, len: u64) -> io::Result<()> {
        if offset == self.position {
            self.zeros_now(len)?;
            return self.catch_up();
        }
        if len > 0 {
            self.waiting.insert(offset, Piece::Zeros(len));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
