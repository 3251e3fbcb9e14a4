//! Writes the archive an initramfs is: cpio in its "new ASCII" form (Linux,
//! Documentation/driver-api/early-userspace/buffer-format.rst).

use std::io::{self, Write};

use crate::tree::{Kind, NodeId, Tree};

/// Writes a whole tree. Every time is zero and inode numbers count up, so equal trees give equal bytes.
pub fn write(tree: &Tree, out: &mut dyn Write) -> io::Result<()> {
    let mut writer = Writer { out, position: 0, inode: 0 };
    let mut seen = std::collections::BTreeSet::<NodeId>::new();
    tree.walk_all(&mut |path, id, node| {
        // The kernel finds second names by inode number and device; nothing here needs them.
        if !seen.insert(id) {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{path}: hard links are not written"),
            ));
        }
        let (format, device, data) = match &node.kind {
            Kind::Directory(_) => (0o040_000, (0, 0), Vec::new()),
            Kind::File(content) => (0o100_000, (0, 0), content.bytes()?),
            Kind::Symlink(target) => (0o120_000, (0, 0), target.as_bytes().to_vec()),
            Kind::Character(major, minor) => (0o020_000, (*major, *minor), Vec::new()),
            Kind::Block(major, minor) => (0o060_000, (*major, *minor), Vec::new()),
            Kind::Fifo => (0o010_000, (0, 0), Vec::new()),
        };
        let name = if path.is_empty() { "." } else { path.trim_start_matches('/') };
        let owner = (node.attributes.uid, node.attributes.gid);
        writer.entry(name, format | u32::from(node.attributes.mode), owner, device, &data)
    })?;
    writer.trailer()
}

struct Writer<'a> {
    out: &'a mut dyn Write,
    position: usize,
    inode: u32,
}

impl Writer<'_> {
    fn entry(
        &mut self,
        name: &str,
        mode: u32,
        (uid, gid): (u32, u32),
        (major, minor): (u32, u32),
        data: &[u8],
    ) -> io::Result<()> {
        let too_large = || io::Error::new(io::ErrorKind::FileTooLarge, format!("{name}: 4 GiB or more"));
        let size = u32::try_from(data.len()).map_err(|_| too_large())?;
        self.inode += 1;
        let links = 1;
        let fields =
            [self.inode, mode, uid, gid, links, 0, size, 0, 0, major, minor, name.len() as u32 + 1, 0];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.align(4)?;
        self.put(data)?;
        self.align(4)
    }

    fn trailer(&mut self) -> io::Result<()> {
        self.entry("TRAILER!!!", 0, (0, 0), (0, 0), &[])?;
        self.align(512)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.position += bytes.len();
        self.out.write_all(bytes)
    }

    fn align(&mut self, to: usize) -> io::Result<()> {
        let padding = self.position.next_multiple_of(to) - self.position;
        self.put(&vec![0; padding])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::{Attributes, Content};

    /// Name, mode, device numbers and content.
    type Entry<N = String, D = Vec<u8>> = (N, u32, (u32, u32), D);

    /// Reads an archive as the kernel does.
    fn read(mut bytes: &[u8]) -> Vec<Entry> {
        let whole = bytes.len();
        let mut entries = Vec::new();
        loop {
            assert_eq!(&bytes[..6], b"070701");
            let field = |index: usize| {
                let text = std::str::from_utf8(&bytes[6 + index * 8..14 + index * 8]).unwrap();
                u32::from_str_radix(text, 16).unwrap()
            };
            let (mode, size, device, name_size) = (field(1), field(6), (field(9), field(10)), field(11));
            let name = std::str::from_utf8(&bytes[110..110 + name_size as usize - 1]).unwrap().to_owned();
            bytes = &bytes[110 + name_size as usize..];
            bytes = &bytes[(4 - (whole - bytes.len()) % 4) % 4..];
            let data = bytes[..size as usize].to_vec();
            bytes = &bytes[size as usize..];
            bytes = &bytes[(4 - (whole - bytes.len()) % 4) % 4..];
            if name == "TRAILER!!!" {
                assert!(bytes.iter().all(|byte| *byte == 0) && whole.is_multiple_of(512));
                return entries;
            }
            entries.push((name, mode, device, data));
        }
    }

    fn sample() -> Tree {
        let mut tree = Tree::new();
        tree.add("/dev/console", Attributes::root(0o600), Kind::Character(5, 1)).unwrap();
        tree.add("/bin/sh", Attributes::root(0o777), Kind::Symlink("busybox".into())).unwrap();
        let content = Content::Memory((*b"#!").into());
        tree.add("/init", Attributes::root(0o755), Kind::File(content)).unwrap();
        tree
    }

    #[test]
    fn the_kernel_would_read_it() {
        let mut bytes = Vec::new();
        write(&sample(), &mut bytes).unwrap();
        let expected: [Entry<&str, &[u8]>; 6] = [
            (".", 0o040_755, (0, 0), b""),
            ("bin", 0o040_755, (0, 0), b""),
            ("bin/sh", 0o120_777, (0, 0), b"busybox"),
            ("dev", 0o040_755, (0, 0), b""),
            ("dev/console", 0o020_600, (5, 1), b""),
            ("init", 0o100_755, (0, 0), b"#!"),
        ];
        let expected =
            expected.map(|(name, mode, device, data)| (name.to_owned(), mode, device, data.to_vec()));
        assert_eq!(read(&bytes), expected);
    }

    #[test]
    fn cpio_itself_reads_it() {
        use std::process::{Command, Stdio};
        let child = Command::new("cpio")
            .args(["--list", "--quiet"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("no cpio on this host");
            return;
        };
        write(&sample(), &mut child.stdin.take().unwrap()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success());
        assert_eq!(String::from_utf8(output.stdout).unwrap(), ".\nbin\nbin/sh\ndev\ndev/console\ninit\n");
    }

    #[test]
    fn hard_links_are_refused() {
        let mut tree = sample();
        tree.link("/again", "/init").unwrap();
        assert!(write(&tree, &mut Vec::new()).is_err());
    }
}
