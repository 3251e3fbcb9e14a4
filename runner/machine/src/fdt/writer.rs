//! Writes a flattened device tree, version 17 (Devicetree Specification 0.4,
//! chapter 5).

use super::FdtError;

const MAGIC: u32 = 0xd00d_feed;
const VERSION: u32 = 17;
/// The oldest version that a reader of this one must know.
const LAST_COMPATIBLE_VERSION: u32 = 16;
const HEADER_SIZE: usize = 40;
/// The memory reservation block: only its end, a pair of zeros.
const RESERVATIONS_SIZE: usize = 16;

const FDT_BEGIN_NODE: u32 = 1;
const FDT_END_NODE: u32 = 2;
const FDT_PROP: u32 = 3;
const FDT_END: u32 = 9;

/// Builds a device tree: nodes and properties in the order of the calls.
///
/// The first mistake is kept and reported by [`FdtWriter::finish`], so that a
/// tree reads as a list of calls.
#[derive(Default)]
pub struct FdtWriter {
    structure: Vec<u8>,
    strings: Vec<u8>,
    /// Offset in `strings` of each property name.
    names: Vec<(String, u32)>,
    depth: usize,
    roots: usize,
    /// A child has been closed in the open node, so no property may follow.
    after_child: bool,
    error: Option<FdtError>,
}

impl FdtWriter {
    /// An empty tree; the first node to begin is the root, named "".
    pub fn new() -> Self {
        Self::default()
    }

    /// Begins a node inside the open one.
    pub fn begin_node(&mut self, name: &str) {
        if self.depth == 0 {
            self.roots += 1;
        }
        self.token(FDT_BEGIN_NODE);
        self.text(name, name);
        self.pad();
        self.depth += 1;
        self.after_child = false;
    }

    /// Ends the open node.
    pub fn end_node(&mut self) {
        match self.depth.checked_sub(1) {
            Some(depth) => self.depth = depth,
            None => self.fail(FdtError::Unbalanced),
        }
        self.token(FDT_END_NODE);
        self.after_child = true;
    }

    /// A property with these bytes.
    pub fn property(&mut self, name: &str, value: &[u8]) {
        if self.depth == 0 || self.after_child {
            self.fail(FdtError::Misplaced(name.to_owned()));
        }
        let Ok(len) = u32::try_from(value.len()) else {
            return self.fail(FdtError::TooLarge);
        };
        let name = self.name_offset(name);
        self.token(FDT_PROP);
        self.token(len);
        self.token(name);
        self.structure.extend_from_slice(value);
        self.pad();
    }

    /// A property without a value, whose presence says it all.
    pub fn flag(&mut self, name: &str) {
        self.property(name, &[]);
    }

    /// A property of one cell.
    pub fn u32(&mut self, name: &str, value: u32) {
        self.cells(name, &[value]);
    }

    /// A property of one 64-bit number, two cells.
    pub fn u64(&mut self, name: &str, value: u64) {
        self.property(name, &value.to_be_bytes());
    }

    /// A property of cells.
    pub fn cells(&mut self, name: &str, cells: &[u32]) {
        let bytes: Vec<u8> = cells.iter().flat_map(|cell| cell.to_be_bytes()).collect();
        self.property(name, &bytes);
    }

    /// A `reg` property: addresses and sizes of two cells each.
    pub fn reg(&mut self, ranges: &[(u64, u64)]) {
        let bytes: Vec<u8> = ranges
            .iter()
            .flat_map(|(base, size)| [base.to_be_bytes(), size.to_be_bytes()])
            .flatten()
            .collect();
        self.property("reg", &bytes);
    }

    /// A property of one string.
    pub fn string(&mut self, name: &str, value: &str) {
        self.strings(name, &[value]);
    }

    /// A property of several strings.
    pub fn strings(&mut self, name: &str, values: &[&str]) {
        let mut bytes = Vec::new();
        for value in values {
            if value.contains('\0') {
                self.fail(FdtError::Nul(name.to_owned()));
            }
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        }
        self.property(name, &bytes);
    }

    /// The tree.
    ///
    /// # Errors
    /// If a node or property was begun, ended or named wrongly.
    pub fn finish(mut self) -> Result<Vec<u8>, FdtError> {
        if self.depth != 0 || self.roots != 1 {
            self.fail(FdtError::Unbalanced);
        }
        self.token(FDT_END);
        if let Some(error) = self.error {
            return Err(error);
        }
        let structure_at = HEADER_SIZE + RESERVATIONS_SIZE;
        let strings_at = structure_at + self.structure.len();
        let total = strings_at + self.strings.len();
        let header = [
            MAGIC as usize,
            total,
            structure_at,
            strings_at,
            HEADER_SIZE,
            VERSION as usize,
            LAST_COMPATIBLE_VERSION as usize,
            0, // the vCPU that boots has MPIDR affinity 0
            self.strings.len(),
            self.structure.len(),
        ];
        let mut tree = Vec::with_capacity(total);
        for word in header {
            tree.extend_from_slice(&u32::try_from(word).map_err(|_| FdtError::TooLarge)?.to_be_bytes());
        }
        tree.resize(structure_at, 0);
        tree.append(&mut self.structure);
        tree.append(&mut self.strings);
        Ok(tree)
    }

    fn token(&mut self, token: u32) {
        self.structure.extend_from_slice(&token.to_be_bytes());
    }

    fn text(&mut self, text: &str, what: &str) {
        if text.contains('\0') {
            self.fail(FdtError::Nul(what.to_owned()));
        }
        self.structure.extend_from_slice(text.as_bytes());
        self.structure.push(0);
    }

    fn pad(&mut self) {
        self.structure.resize(self.structure.len().next_multiple_of(4), 0);
    }

    fn name_offset(&mut self, name: &str) -> u32 {
        if let Some((_, offset)) = self.names.iter().find(|(known, _)| known == name) {
            return *offset;
        }
        if name.contains('\0') {
            self.fail(FdtError::Nul(name.to_owned()));
        }
        let offset = self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        self.names.push((name.to_owned(), offset));
        offset
    }

    fn fail(&mut self, error: FdtError) {
        self.error.get_or_insert(error);
    }
}
