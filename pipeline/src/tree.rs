//! A file system's tree as a value: what packages hold and what an image is written from.
//!
//! Owners, modes and device nodes are only noted, so no privileges are needed, and symbolic links are followed
//! inside the tree alone, so nothing a package holds can reach the host.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use store::{Hash, Hasher};

/// As Linux has it (ELOOP after 40 links in one walk).
const MAX_LINKS: usize = 40;
const MAX_NAME: usize = 255;
const MAX_PATH: usize = 4095;

/// A node of a [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(usize);

/// The mode and owner of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// The lower twelve bits of the mode.
    pub mode: u16,
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

impl Attributes {
    /// Root's.
    pub fn root(mode: u16) -> Attributes {
        Attributes { mode, uid: 0, gid: 0 }
    }
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Kind {
    /// A directory: names and what they stand for, in order.
    Directory(BTreeMap<String, NodeId>),
    /// A regular file.
    File(Content),
    /// A symbolic link to a path.
    Symlink(String),
    /// A character device, with its numbers.
    Character(u32, u32),
    /// A block device, with its numbers.
    Block(u32, u32),
    /// A named pipe.
    Fifo,
}

impl Kind {
    /// An empty directory.
    pub fn directory() -> Kind {
        Kind::Directory(BTreeMap::new())
    }
}

/// A node.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its mode and owner.
    pub attributes: Attributes,
    /// Its extended attributes, such as a program's capabilities (`security.capability`), by their full names.
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// What it is.
    pub kind: Kind,
}

impl Node {
    fn new(attributes: Attributes, kind: Kind) -> Node {
        Node { attributes, xattrs: BTreeMap::new(), kind }
    }
}

/// Why something has no place in a tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} {reason}")]
pub struct TreeError {
    /// The path.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

fn refuse<T>(path: &str, reason: &'static str) -> Result<T, TreeError> {
    Err(TreeError { path: path.to_owned(), reason })
}

/// A file system's tree.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The root is the first. A node that nothing names any more stays, unreachable.
    nodes: Vec<Node>,
}

impl Default for Tree {
    fn default() -> Tree {
        Tree::new()
    }
}

const ROOT: NodeId = NodeId(0);

impl Tree {
    /// A tree of only a root.
    pub fn new() -> Tree {
        Tree { nodes: vec![Node::new(Attributes::root(0o755), Kind::directory())] }
    }

    /// The root directory.
    pub fn root(&self) -> NodeId {
        ROOT
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> &Node {
        // Ids come from this tree alone and nodes are never removed.
        &self.nodes[id.0]
    }

    /// A node, to be changed.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.0]
    }

    /// The node at an absolute path, its last part not followed if it is a link.
    pub fn find(&self, path: &str) -> Option<NodeId> {
        let parts = parts(path).ok()?;
        let (last, directories) = parts.split_last()?;
        let mut links = 0;
        let parent = self.walk(ROOT, directories, &mut links)?;
        self.entry(parent, last)
    }

    /// Takes the name at an absolute path, whose directory's links are followed, out of its directory. Other names of the
    /// same node stay.
    pub fn remove(&mut self, path: &str) -> Option<NodeId> {
        let parts = parts(path).ok()?;
        let (last, directories) = parts.split_last()?;
        let parent = self.walk(ROOT, directories, &mut 0)?;
        match &mut self.node_mut(parent).kind {
            Kind::Directory(entries) => entries.remove(*last),
            _ => None,
        }
    }

    /// The node at an absolute path, all links followed.
    pub fn follow(&self, path: &str) -> Option<NodeId> {
        self.walk(ROOT, &parts(path).ok()?, &mut 0)
    }

    fn entry(&self, directory: NodeId, name: &str) -> Option<NodeId> {
        match &self.node(directory).kind {
            Kind::Directory(entries) => entries.get(name).copied(),
            _ => None,
        }
    }

    /// Follows names and links from a directory. `..` in a link's target stays within the tree.
    fn walk(&self, from: NodeId, names: &[&str], links: &mut usize) -> Option<NodeId> {
        let mut trail = vec![from];
        self.walk_trail(&mut trail, names, links)?;
        trail.last().copied()
    }

    fn walk_trail(&self, trail: &mut Vec<NodeId>, names: &[&str], links: &mut usize) -> Option<()> {
        for name in names {
            match *name {
                "" | "." => continue,
                ".." => {
                    if trail.len() > 1 {
                        trail.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let id = self.entry(*trail.last()?, name)?;
            match &self.node(id).kind {
                Kind::Symlink(target) => {
                    *links += 1;
                    if *links > MAX_LINKS {
                        return None;
                    }
                    if target.starts_with('/') {
                        trail.truncate(1);
                    }
                    let names: Vec<&str> = target.split('/').collect();
                    self.walk_trail(trail, &names, links)?;
                }
                _ => trail.push(id),
            }
        }
        Some(())
    }

    /// The directory that `path` is to be put in, made with all directories above it where they are missing,
    /// and the last part of the path. Links on the way are followed.
    fn place<'p>(&mut self, path: &'p str) -> Result<(NodeId, &'p str), TreeError> {
        let names = parts(path)?;
        let Some((last, directories)) = names.split_last() else { return refuse(path, "is the root") };
        let mut trail = vec![ROOT];
        for name in directories {
            let here = trail.last().copied().unwrap_or(ROOT);
            if self.entry(here, name).is_none() {
                let node = Node::new(Attributes::root(0o755), Kind::directory());
                let id = self
                    .attach(here, name, node)
                    .map_err(|reason| TreeError { path: path.into(), reason })?;
                trail.push(id);
            } else if self.walk_trail(&mut trail, &[name], &mut 0).is_none() {
                return refuse(path, "lies behind a link that leads nowhere");
            }
        }
        let parent = trail.last().copied().unwrap_or(ROOT);
        match self.node(parent).kind {
            Kind::Directory(_) => Ok((parent, last)),
            _ => refuse(path, "lies below something that is no directory"),
        }
    }

    fn attach(&mut self, directory: NodeId, name: &str, node: Node) -> Result<NodeId, &'static str> {
        let id = NodeId(self.nodes.len());
        match &mut self.node_mut(directory).kind {
            Kind::Directory(entries) => entries.insert(name.to_owned(), id),
            _ => return Err("lies below something that is no directory"),
        };
        self.nodes.push(node);
        Ok(id)
    }

    /// Puts a directory in its place. One that is there already, or a link to one, only takes on the attributes
    /// (dpkg keeps such links, too: that is how merged `/usr` works).
    pub fn make_directory(&mut self, path: &str, attributes: Attributes) -> Result<NodeId, TreeError> {
        if parts(path)?.is_empty() {
            self.node_mut(ROOT).attributes = attributes;
            return Ok(ROOT);
        }
        let (parent, name) = self.place(path)?;
        let Some(existing) = self.entry(parent, name) else {
            let node = Node::new(attributes, Kind::directory());
            return self.attach(parent, name, node).map_err(|reason| TreeError { path: path.into(), reason });
        };
        match &self.node(existing).kind {
            Kind::Directory(_) => {
                self.node_mut(existing).attributes = attributes;
                Ok(existing)
            }
            Kind::Symlink(_) => match self.follow(path) {
                Some(target) if matches!(self.node(target).kind, Kind::Directory(_)) => Ok(target),
                _ => refuse(path, "is a directory here and a link elsewhere"),
            },
            _ => refuse(path, "is a directory here and a file elsewhere"),
        }
    }

    /// Puts anything but a directory in its place, where nothing may be yet but the very same symbolic link:
    /// the links of merged `/usr` are in `base-files` and in every tree from its start.
    pub fn add(&mut self, path: &str, attributes: Attributes, kind: Kind) -> Result<NodeId, TreeError> {
        let (parent, name) = self.place(path)?;
        if let Some(existing) = self.entry(parent, name) {
            return match (&self.node(existing).kind, &kind) {
                (Kind::Symlink(there), Kind::Symlink(here)) if there == here => Ok(existing),
                _ => refuse(path, "is there already"),
            };
        }
        self.attach(parent, name, Node::new(attributes, kind))
            .map_err(|reason| TreeError { path: path.into(), reason })
    }

    /// Puts anything but a directory in its place, instead of what is there, unless that is a directory.
    pub fn replace(&mut self, path: &str, attributes: Attributes, kind: Kind) -> Result<NodeId, TreeError> {
        let (parent, name) = self.place(path)?;
        let existing = self.entry(parent, name);
        if existing.is_some_and(|id| matches!(self.node(id).kind, Kind::Directory(_))) {
            return refuse(path, "is a directory elsewhere");
        }
        self.attach(parent, name, Node::new(attributes, kind))
            .map_err(|reason| TreeError { path: path.into(), reason })
    }

    /// Gives a file a second name.
    pub fn link(&mut self, path: &str, target: &str) -> Result<(), TreeError> {
        let Some(id) = self.find(target) else { return refuse(path, "is a hard link to nothing") };
        if matches!(self.node(id).kind, Kind::Directory(_)) {
            return refuse(path, "is a hard link to a directory");
        }
        let (parent, name) = self.place(path)?;
        if self.entry(parent, name).is_some() {
            return refuse(path, "is there already");
        }
        if let Kind::Directory(entries) = &mut self.node_mut(parent).kind {
            entries.insert(name.to_owned(), id);
        }
        Ok(())
    }

    /// Visits every name, directories before what is in them, names in order. The root's path is empty.
    pub fn walk_all<E>(&self, visit: &mut impl FnMut(&str, NodeId, &Node) -> Result<(), E>) -> Result<(), E> {
        let mut pending = vec![(String::new(), ROOT)];
        while let Some((path, id)) = pending.pop() {
            let node = self.node(id);
            visit(&path, id, node)?;
            if let Kind::Directory(entries) = &node.kind {
                let children = entries.iter().rev();
                pending.extend(children.map(|(name, id)| (format!("{path}/{name}"), *id)));
            }
        }
        Ok(())
    }

    /// A hash of everything in the tree.
    pub fn digest(&self) -> io::Result<Hash> {
        let mut hasher = Hasher::new();
        self.describe(&mut |path, line| hasher.update(format!("{path:?} {line}\n").as_bytes()))?;
        Ok(hasher.finish())
    }

    /// Tells everything of each file, its content by hash: the path, and the rest as text.
    pub fn describe(&self, tell: &mut dyn FnMut(&str, String)) -> io::Result<()> {
        let mut seen = BTreeMap::new();
        self.walk_all(&mut |path, id, node| {
            let Attributes { mode, uid, gid } = node.attributes;
            let what = match (&node.kind, seen.get(&id)) {
                (_, Some(first)) => format!("same as {first:?}"),
                (Kind::Directory(_), _) => "directory".to_owned(),
                (Kind::File(content), _) => format!("file {} {}", content.len(), content.hash()?),
                (Kind::Symlink(target), _) => format!("link {target:?}"),
                (Kind::Character(major, minor), _) => format!("character {major} {minor}"),
                (Kind::Block(major, minor), _) => format!("block {major} {minor}"),
                (Kind::Fifo, _) => "fifo".to_owned(),
            };
            seen.entry(id).or_insert_with(|| path.to_owned());
            let mut line = format!("{mode:o} {uid} {gid} {what}");
            for (name, value) in &node.xattrs {
                line += &format!("\nxattr {name:?} {} {}", value.len(), Hash::of(value));
            }
            tell(path, line);
            io::Result::Ok(())
        })
    }
}

/// The parts of a path as packages and recipes write it: `./usr/bin/x`, `/usr/bin/x`.
fn parts(path: &str) -> Result<Vec<&str>, TreeError> {
    if path.len() > MAX_PATH || path.contains('\0') {
        return refuse(path, "is no path");
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    match parts.iter().any(|part| *part == ".." || part.len() > MAX_NAME) {
        true => refuse(path, "leads out of the tree, or has too long a name"),
        false => Ok(parts),
    }
}

/// A file's content: in memory, or a piece of a [`Spool`].
#[derive(Debug, Clone)]
pub enum Content {
    /// All of it.
    Memory(Arc<[u8]>),
    /// Some bytes of a spool file.
    Spooled {
        /// The spool file.
        spool: Arc<Spool>,
        /// Where the content begins.
        offset: u64,
        /// How long it is.
        len: u64,
    },
}

impl Content {
    /// The size in bytes.
    pub fn len(&self) -> u64 {
        match self {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::Spooled { len, .. } => *len,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads it from its beginning.
    pub fn reader(&self) -> ContentReader<'_> {
        ContentReader { content: self, position: 0 }
    }

    /// All of it.
    pub fn bytes(&self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.reader().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn hash(&self) -> io::Result<Hash> {
        let mut hasher = Hasher::new();
        let mut reader = self.reader();
        let mut buffer = vec![0; 1 << 16];
        loop {
            match reader.read(&mut buffer)? {
                0 => return Ok(hasher.finish()),
                count => hasher.update(&buffer[..count]),
            }
        }
    }
}

/// Reads a [`Content`].
#[derive(Debug)]
pub struct ContentReader<'a> {
    content: &'a Content,
    position: u64,
}

impl Read for ContentReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.content.len().saturating_sub(self.position);
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let count = match self.content {
            Content::Memory(bytes) => {
                // No further than `left`, which is of a slice in memory.
                let mut rest = &bytes[self.position as usize..];
                rest.read(&mut buffer[..wanted])?
            }
            Content::Spooled { spool, offset, .. } => {
                spool.file.read_at(&mut buffer[..wanted], offset + self.position)?
            }
        };
        if count == 0 && wanted > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.position += count as u64;
        Ok(count)
    }
}

/// A nameless temporary file that holds files' content, so that a tree of hundreds of megabytes costs little
/// memory.
#[derive(Debug)]
pub struct Spool {
    file: File,
    end: Mutex<u64>,
}

impl Spool {
    /// A new spool file in `directory`.
    pub fn new(directory: &Path) -> io::Result<Arc<Spool>> {
        Ok(Arc::new(Spool { file: tempfile::tempfile_in(directory)?, end: Mutex::new(0) }))
    }

    /// Takes in all that a reader gives, if that is no more than `limit`.
    pub fn take(self: &Arc<Spool>, reader: &mut dyn Read, limit: u64) -> io::Result<Content> {
        let mut end = self.end.lock().unwrap_or_else(PoisonError::into_inner);
        let (offset, mut len) = (*end, 0);
        let mut buffer = vec![0; 1 << 16];
        loop {
            let count = reader.read(&mut buffer)?;
            if count == 0 {
                *end = offset + len;
                return Ok(Content::Spooled { spool: self.clone(), offset, len });
            }
            if len + count as u64 > limit {
                return Err(io::Error::new(
                    io::ErrorKind::FileTooLarge,
                    format!("longer than {limit} bytes"),
                ));
            }
            self.file.write_all_at(&buffer[..count], offset + len)?;
            len += count as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Kind {
        Kind::File(Content::Memory(text.as_bytes().into()))
    }

    fn link(target: &str) -> Kind {
        Kind::Symlink(target.into())
    }

    #[test]
    fn the_same_link_may_come_twice_and_another_not() {
        let mut tree = Tree::new();
        let attributes = Attributes::root(0o777);
        let first = tree.add("/bin", attributes, link("usr/bin")).unwrap();
        assert_eq!(tree.add("/bin", attributes, link("usr/bin")), Ok(first));
        for other in [link("usr/sbin"), file("")] {
            assert_eq!(tree.add("/bin", attributes, other).unwrap_err().reason, "is there already");
        }
    }

    fn text(tree: &Tree, path: &str) -> Option<String> {
        match &tree.node(tree.follow(path)?).kind {
            Kind::File(content) => String::from_utf8(content.bytes().unwrap()).ok(),
            _ => None,
        }
    }

    const A: Attributes = Attributes { mode: 0o644, uid: 0, gid: 0 };

    #[test]
    fn links_are_followed_inside() {
        let mut tree = Tree::new();
        tree.make_directory("/usr/bin", A).unwrap();
        tree.add("/bin", A, link("usr/bin")).unwrap();
        tree.add("./bin/sh", A, file("sh")).unwrap();
        assert_eq!(text(&tree, "/usr/bin/sh").unwrap(), "sh");
        // As dpkg does, a link to a directory stays where a package has the directory.
        tree.make_directory("./bin/", A).unwrap();
        assert!(matches!(tree.node(tree.find("/bin").unwrap()).kind, Kind::Symlink(_)));
        // Out of the tree is the root of the tree.
        tree.add("/usr/out", A, link("../../../usr/bin")).unwrap();
        tree.add("/usr/abs", A, link("/usr/out/sh")).unwrap();
        assert_eq!(text(&tree, "/usr/abs").unwrap(), "sh");
    }

    #[test]
    fn what_is_refused() {
        let mut tree = Tree::new();
        tree.add("/file", A, file("")).unwrap();
        tree.add("/loop", A, link("/loop")).unwrap();
        tree.add("/nowhere", A, link("/not/there")).unwrap();
        tree.make_directory("/directory", A).unwrap();
        for path in
            ["../x", "/a/../b", "/", "", "/file/x", "/loop/x", "/nowhere/x", "/file", "/directory", "a\0"]
        {
            assert!(tree.add(path, A, file("")).is_err(), "{path:?}");
        }
        assert!(tree.add(&format!("/{}", "n".repeat(256)), A, file("")).is_err());
        assert!(tree.add(&"/n".repeat(3000), A, file("")).is_err());
        assert!(tree.make_directory("/file", A).is_err());
        assert!(tree.make_directory("/nowhere", A).is_err());
        assert!(tree.replace("/directory", A, file("")).is_err());
        assert!(tree.link("/x", "/directory").is_err());
        assert!(tree.link("/x", "/absent").is_err());
        assert_eq!(tree.follow("/loop"), None);
    }

    #[test]
    fn hard_links_are_one_node() {
        let mut tree = Tree::new();
        let id = tree.add("/a", A, file("x")).unwrap();
        tree.link("/b", "./a").unwrap();
        assert_eq!(tree.find("/b"), Some(id));
        tree.replace("/a", A, file("y")).unwrap();
        assert_eq!(text(&tree, "/b").unwrap(), "x");
    }

    #[test]
    fn the_digest_sees_everything() {
        let digest = |change: &dyn Fn(&mut Tree)| {
            let mut tree = Tree::new();
            tree.add("/a", A, file("x")).unwrap();
            change(&mut tree);
            tree.digest().unwrap()
        };
        let xattr = |tree: &mut Tree, value: &[u8]| {
            let id = tree.find("/a").unwrap();
            tree.node_mut(id).xattrs.insert("user.x".into(), value.into());
        };
        let changes: [&dyn Fn(&mut Tree); 9] = [
            &|tree| xattr(tree, b""),
            &|tree| xattr(tree, b"1"),
            &|_| {},
            &|tree| assert!(tree.replace("/a", A, file("y")).is_ok()),
            &|tree| assert!(tree.replace("/a", Attributes::root(0o600), file("x")).is_ok()),
            &|tree| assert!(tree.add("/b", A, file("x")).is_ok()),
            &|tree| tree.link("/b", "/a").unwrap(),
            &|tree| assert!(tree.add("/b", A, link("a")).is_ok()),
            &|tree| assert!(tree.make_directory("/", Attributes::root(0o700)).is_ok()),
        ];
        let digests: std::collections::BTreeSet<_> = changes.iter().map(|change| digest(change)).collect();
        assert_eq!(digests.len(), changes.len());
    }

    #[test]
    fn spooled_content_comes_back() {
        let spool = Spool::new(&std::env::temp_dir()).unwrap();
        let one = spool.take(&mut &b"one"[..], 3).unwrap();
        assert!(spool.take(&mut &b"four"[..], 3).is_err());
        let two = spool.take(&mut &b"two"[..], 3).unwrap();
        assert_eq!((one.bytes().unwrap(), two.bytes().unwrap()), (b"one".to_vec(), b"two".to_vec()));
    }

    proptest::proptest! {
        #[test]
        fn no_script_of_names_breaks_it(script in proptest::collection::vec((0u8..5, "[ab./]{0,8}", "[ab./]{0,8}"), 0..40)) {
            let mut tree = Tree::new();
            for (what, path, target) in script {
                let _ = match what {
                    0 => tree.make_directory(&path, A).map(drop),
                    1 => tree.add(&path, A, link(&target)).map(drop),
                    2 => tree.add(&path, A, file(&target)).map(drop),
                    3 => tree.replace(&path, A, link(&target)).map(drop),
                    _ => tree.link(&path, &target),
                };
                let _ = (tree.find(&path), tree.follow(&target));
            }
            tree.digest().unwrap();
        }
    }
}
