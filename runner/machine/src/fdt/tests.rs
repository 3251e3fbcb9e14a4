use std::{collections::BTreeMap, io::Write, process::Command};

use proptest::prelude::*;

use super::*;

/// A node as a reader of its own sees it, which shares no code with the writer.
#[derive(Debug, Default, PartialEq)]
struct Node {
    properties: BTreeMap<String, Vec<u8>>,
    children: BTreeMap<String, Node>,
}

struct Reader<'a> {
    tree: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn header(&self, field: usize) -> usize {
        u32::from_be_bytes(self.tree[4 * field..4 * field + 4].try_into().unwrap()) as usize
    }

    fn token(&mut self) -> usize {
        let token = self.tree[self.at..self.at + 4].try_into().unwrap();
        self.at += 4;
        u32::from_be_bytes(token) as usize
    }

    fn string(&self, at: usize) -> String {
        let len = self.tree[at..].iter().position(|b| *b == 0).unwrap();
        String::from_utf8(self.tree[at..at + len].to_vec()).unwrap()
    }

    fn align(&mut self) {
        while !self.at.is_multiple_of(4) {
            assert_eq!(self.tree[self.at], 0, "padding");
            self.at += 1;
        }
    }

    fn node(&mut self) -> (String, Node) {
        let name = self.string(self.at);
        self.at += name.len() + 1;
        self.align();
        let mut node = Node::default();
        loop {
            match self.token() {
                1 => {
                    let (name, child) = self.node();
                    assert!(node.children.insert(name, child).is_none(), "two children of one name");
                }
                2 => return (name, node),
                3 => {
                    assert!(node.children.is_empty(), "a property behind a child");
                    let len = self.token();
                    let name = self.header(3) + self.token();
                    let value = self.tree[self.at..self.at + len].to_vec();
                    self.at += len;
                    self.align();
                    assert!(node.properties.insert(self.string(name), value).is_none(), "twice");
                }
                4 => {}
                other => panic!("token {other}"),
            }
        }
    }
}

fn parse(tree: &[u8]) -> Node {
    let mut reader = Reader { tree, at: 0 };
    assert_eq!(reader.header(0), 0xd00d_feed);
    assert_eq!(reader.header(1), tree.len());
    assert_eq!((reader.header(5), reader.header(6)), (17, 16));
    let (structure, strings, reservations) = (reader.header(2), reader.header(3), reader.header(4));
    assert_eq!((structure % 4, reservations % 8), (0, 0));
    assert_eq!(tree[reservations..reservations + 16], [0; 16]);
    assert_eq!(strings + reader.header(8), tree.len());
    assert_eq!(structure + reader.header(9), strings);
    reader.at = structure;
    assert_eq!(reader.token(), 1);
    let (name, root) = reader.node();
    assert_eq!(name, "");
    assert_eq!(reader.token(), 9);
    assert_eq!(reader.at, strings);
    root
}

impl Node {
    fn child(&self, name: &str) -> &Node {
        self.children.get(name).unwrap_or_else(|| panic!("no node {name} among {:?}", self.children.keys()))
    }

    fn bytes(&self, name: &str) -> &[u8] {
        self.properties
            .get(name)
            .unwrap_or_else(|| panic!("no property {name} in {:?}", self.properties.keys()))
    }

    fn cells(&self, name: &str) -> Vec<u32> {
        let (cells, rest) = self.bytes(name).as_chunks::<4>();
        assert!(rest.is_empty());
        cells.iter().map(|c| u32::from_be_bytes(*c)).collect()
    }
}

fn params() -> BoardParams<'static> {
    BoardParams {
        cpus: 2,
        ram_size: 0x1_8000_0000,
        bootargs: "console=ttyAMA0 quiet",
        initrd: Some((0x4800_0000, 0x4812_3456)),
        rng_seed: &[7; 32],
        kaslr_seed: Some(0x0123_4567_89ab_cdef),
        virtio_slots: &[0, 1, 5],
    }
}

#[test]
fn the_board_is_described() {
    let root = parse(&board_tree(&params()).unwrap());
    assert_eq!(root.bytes("compatible"), b"linux,dummy-virt\0");
    assert_eq!((root.cells("#address-cells"), root.cells("#size-cells")), (vec![2], vec![2]));
    assert_eq!(root.bytes("dma-coherent"), b"");

    let chosen = root.child("chosen");
    assert_eq!(chosen.bytes("bootargs"), b"console=ttyAMA0 quiet\0");
    assert_eq!(chosen.bytes("stdout-path"), b"/pl011@9000000\0");
    assert_eq!(chosen.cells("linux,initrd-start"), [0, 0x4800_0000]);
    assert_eq!(chosen.cells("linux,initrd-end"), [0, 0x4812_3456]);
    assert_eq!(chosen.bytes("rng-seed"), [7; 32]);
    assert_eq!(chosen.cells("kaslr-seed"), [0x0123_4567, 0x89ab_cdef]);

    assert_eq!(root.child("memory@40000000").cells("reg"), [0, 0x4000_0000, 1, 0x8000_0000]);
    assert_eq!(root.child("memory@40000000").bytes("device_type"), b"memory\0");

    let cpus = root.child("cpus");
    assert_eq!(cpus.children.len(), 2);
    assert_eq!(cpus.child("cpu@1").cells("reg"), [1]);
    assert_eq!(cpus.child("cpu@1").bytes("enable-method"), b"psci\0");
    assert_eq!(cpus.child("cpu@0").bytes("compatible"), b"arm,armv8\0");

    let psci = root.child("psci");
    assert_eq!(psci.bytes("method"), b"hvc\0");
    assert_eq!(psci.bytes("compatible"), b"arm,psci-1.0\0arm,psci-0.2\0arm,psci\0");
    assert_eq!(psci.cells("cpu_on"), [0xc400_0003]);
    assert_eq!(psci.cells("cpu_off"), [0x8400_0002]);
    assert_eq!(psci.cells("cpu_suspend"), [0xc400_0001]);

    let gic = root.child("intc@8000000");
    assert_eq!(gic.bytes("compatible"), b"arm,gic-v3\0");
    assert_eq!(gic.cells("reg"), [0, 0x800_0000, 0, 0x1_0000, 0, 0x80a_0000, 0, 0x4_0000]);
    assert_eq!(gic.cells("phandle"), root.cells("interrupt-parent"));
    assert_eq!(gic.cells("#interrupt-cells"), [3]);

    assert_eq!(root.child("timer").cells("interrupts"), [1, 13, 4, 1, 14, 4, 1, 11, 4, 1, 10, 4]);

    let serial = root.child("pl011@9000000");
    assert_eq!(serial.cells("interrupts"), [0, 1, 4]);
    assert_eq!(serial.bytes("clock-names"), b"uartclk\0apb_pclk\0");
    let clock = root.child("apb-pclk");
    assert_eq!(clock.cells("clock-frequency"), [24_000_000]);
    assert_eq!(serial.cells("clocks"), [clock.cells("phandle"), clock.cells("phandle")].concat());
    assert_eq!(root.child("pl031@9010000").cells("interrupts"), [0, 2, 4]);
    assert_eq!(root.child("vmgenid@b000000").cells("interrupts"), [0, 3, 1]);
    assert_eq!(root.child("vmgenid@b000000").cells("reg"), [0, 0xb00_0000, 0, 0x4000]);

    for (slot, name) in [(0, "virtio_mmio@a000000"), (1, "virtio_mmio@a000200"), (5, "virtio_mmio@a000a00")] {
        let virtio = root.child(name);
        assert_eq!(virtio.bytes("compatible"), b"virtio,mmio\0");
        assert_eq!(virtio.cells("reg"), [0, 0xa00_0000 + 0x200 * slot, 0, 0x200]);
        assert_eq!(virtio.cells("interrupts"), [0, 16 + slot, 4]);
        assert_eq!(virtio.bytes("dma-coherent"), b"");
    }
    assert!(!root.children.contains_key("virtio_mmio@a000400"), "an empty slot is not described");
}

#[test]
fn what_a_guest_has_not_is_left_out() {
    let bare = BoardParams { initrd: None, rng_seed: &[], kaslr_seed: None, virtio_slots: &[], ..params() };
    let root = parse(&board_tree(&bare).unwrap());
    let chosen: Vec<&String> = root.child("chosen").properties.keys().collect();
    assert_eq!(chosen, ["bootargs", "stdout-path"]);
}

#[test]
fn the_size_does_not_depend_on_addresses() {
    let high = BoardParams { initrd: Some((u64::MAX - 1, u64::MAX)), ..params() };
    assert_eq!(board_tree(&high).unwrap().len(), board_tree(&params()).unwrap().len());
}

#[test]
fn mistakes_are_reported() {
    let nul = BoardParams { bootargs: "a\0b", ..params() };
    assert_eq!(board_tree(&nul), Err(FdtError::Nul("bootargs".into())));

    assert_eq!(FdtWriter::new().finish(), Err(FdtError::Unbalanced));
    let mut fdt = FdtWriter::new();
    fdt.begin_node("");
    assert_eq!(fdt.finish(), Err(FdtError::Unbalanced));
    let mut fdt = FdtWriter::new();
    fdt.end_node();
    assert_eq!(fdt.finish(), Err(FdtError::Unbalanced));
    let mut fdt = FdtWriter::new();
    fdt.flag("early");
    assert_eq!(fdt.finish(), Err(FdtError::Misplaced("early".into())));
    let mut fdt = FdtWriter::new();
    fdt.begin_node("");
    fdt.begin_node("child");
    fdt.end_node();
    fdt.flag("late");
    fdt.end_node();
    assert_eq!(fdt.finish(), Err(FdtError::Misplaced("late".into())));
}

/// The device-tree compiler reads the tree and finds nothing to warn about.
#[test]
fn dtc_has_no_complaint() {
    let everything: Vec<u32> = (0..32).collect();
    for (cpus, slots) in [(1, &everything[..]), (8, &everything[..2])] {
        let tree = board_tree(&BoardParams { cpus, virtio_slots: slots, ..params() }).unwrap();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&tree).unwrap();
        let dtc =
            Command::new("dtc").args(["-I", "dtb", "-O", "dts"]).arg(file.path()).output().unwrap_or_else(
                |error| panic!("can't run dtc (Debian package device-tree-compiler): {error}"),
            );
        assert!(dtc.status.success());
        assert_eq!(String::from_utf8_lossy(&dtc.stderr), "");
        let source = String::from_utf8(dtc.stdout).unwrap();
        assert_eq!(source.matches("virtio_mmio@").count(), slots.len());
        assert_eq!(source.matches("cpu@").count(), cpus);
    }
}

proptest! {
    #[test]
    fn whatever_is_written_reads_back(
        properties in prop::collection::btree_map("[a-z,#-]{1,20}", prop::collection::vec(any::<u8>(), 0..40), 0..10),
        children in prop::collection::btree_map(
            "[a-z@0-9]{1,20}",
            prop::collection::btree_map("[a-z]{1,3}", prop::collection::vec(any::<u8>(), 0..9), 0..5),
            0..5,
        ),
    ) {
        let mut fdt = FdtWriter::new();
        fdt.begin_node("");
        properties.iter().for_each(|(name, value)| fdt.property(name, value));
        for (name, properties) in &children {
            fdt.begin_node(name);
            properties.iter().for_each(|(name, value)| fdt.property(name, value));
            fdt.end_node();
        }
        fdt.end_node();
        let leaf = |properties| Node { properties, ..Node::default() };
        let expected = Node { properties, children: children.into_iter().map(|(n, p)| (n, leaf(p))).collect() };
        prop_assert_eq!(parse(&fdt.finish().unwrap()), expected);
    }
}
