//! Shared objects that nothing reaches: what the programs of a recipe and the objects they are linked with, all the way
//! down, do not name (System V ABI, "Dynamic Section": DT_NEEDED), and what they load by themselves is said to be.

use std::collections::{BTreeMap, BTreeSet};

use object::LittleEndian;
use object::elf::{DT_NEEDED, DT_NULL, ET_DYN, FileHeader64, PT_DYNAMIC, PT_INTERP};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use thiserror::Error as ThisError;

use super::STEP;
use crate::error::{Error, Result};
use crate::tree::{Content, Kind, NodeId, Tree};

/// Where Debian keeps shared objects.
const DIRECTORY: &str = "/usr/lib/";

/// Firefox's largest object has 150 MB; what is far larger is not looked into, and stays.
const MAX_OBJECT: u64 = 1 << 30;

/// What the dynamic section of an ELF file says.
#[derive(Debug, Default)]
struct Linked {
    /// The objects it names.
    needed: Vec<String>,
    /// Whether it is loaded by others and not started.
    is_library: bool,
}

/// Why it cannot be seen what a file is linked with.
#[derive(Debug, ThisError)]
enum Unseen {
    #[error("its ELF header leads nowhere: {0}")]
    Malformed(#[from] object::Error),
    #[error("it has no section headers, so what it is linked with cannot be seen")]
    NoSections,
}

/// Takes the shared objects below /usr/lib that no file which `is_program` reaches out of the tree, and links that lead
/// to them. What was taken out, in order of the paths.
pub fn prune(tree: &mut Tree, is_program: &dyn Fn(&str) -> bool) -> Result<Vec<String>> {
    let mut objects: BTreeMap<NodeId, Linked> = BTreeMap::new();
    // By the last part of their paths, which is what is searched for; of one name in two directories, both may be meant.
    let mut by_name: BTreeMap<String, BTreeSet<NodeId>> = BTreeMap::new();
    let mut paths: Vec<(String, NodeId)> = Vec::new();
    let mut reached = BTreeSet::new();
    let mut all = Vec::new();
    tree.walk_all(&mut |path, id, node| {
        if matches!(node.kind, Kind::File(_) | Kind::Symlink(_)) {
            all.push((path.to_owned(), id));
        }
        Ok::<(), Error>(())
    })?;
    for (path, id) in all {
        // A link stands for what it leads to.
        let Some(id) =
            tree.follow(&path).filter(|to| matches!(tree.node(*to).kind, Kind::File(_))).or(Some(id))
        else {
            continue;
        };
        if let (Kind::File(content), false) = (&tree.node(id).kind, objects.contains_key(&id)) {
            let Some(linked) =
                linked(content).map_err(|error| Error::build(STEP, format!("{path}: {error}")))?
            else {
                continue;
            };
            objects.insert(id, linked);
        }
        if !objects.contains_key(&id) {
            continue;
        }
        if let Some((_, name)) = path.rsplit_once('/') {
            by_name.entry(name.to_owned()).or_default().insert(id);
        }
        // What is started is never taken out, so what it needs must stay.
        if is_program(&path) || !objects[&id].is_library || !path.starts_with(DIRECTORY) {
            reached.insert(id);
        }
        paths.push((path, id));
    }
    let mut pending: Vec<NodeId> = reached.iter().copied().collect();
    while let Some(id) = pending.pop() {
        for name in &objects[&id].needed {
            for found in by_name.get(name).into_iter().flatten() {
                if reached.insert(*found) {
                    pending.push(*found);
                }
            }
        }
    }
    let mut taken: Vec<String> =
        paths.into_iter().filter(|(_, id)| !reached.contains(id)).map(|(path, _)| path).collect();
    taken.sort();
    for path in &taken {
        tree.remove(path);
    }
    Ok(taken)
}

/// What an ELF file of arm64 is linked with; nothing if it is another file.
fn linked(content: &Content) -> Result<Option<Linked>, Unseen> {
    let mut magic = [0; 4];
    let head = std::io::Read::read_exact(&mut content.reader(), &mut magic);
    if head.is_err() || magic != object::elf::ELFMAG || content.len() > MAX_OBJECT {
        return Ok(None);
    }
    let Ok(bytes) = content.bytes() else { return Ok(None) };
    let data = &*bytes;
    // Files for other machines are data to this one.
    let Ok(header) = FileHeader64::<LittleEndian>::parse(data) else { return Ok(None) };
    let Ok(endian) = header.endian() else { return Ok(None) };
    let is_started =
        header.program_headers(endian, data)?.iter().any(|part| part.p_type(endian) == PT_INTERP);
    let is_dynamic =
        header.program_headers(endian, data)?.iter().any(|part| part.p_type(endian) == PT_DYNAMIC);
    let is_library = header.e_type(endian) == ET_DYN && is_dynamic && !is_started;
    let mut needed = Vec::new();
    let sections = header.sections(endian, data)?;
    match sections.dynamic(endian, data)? {
        Some((entries, strings)) => {
            let strings = sections.strings(endian, data, strings)?;
            for entry in entries.iter().take_while(|entry| entry.tag32(endian) != Some(DT_NULL)) {
                if entry.tag32(endian) == Some(DT_NEEDED) {
                    needed.push(String::from_utf8_lossy(entry.string(endian, strings)?).into_owned());
                }
            }
        }
        None if is_dynamic => return Err(Unseen::NoSections),
        None => {}
    }
    Ok(Some(Linked { needed, is_library }))
}

#[cfg(test)]
mod tests;
