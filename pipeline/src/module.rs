//! Kernel modules as they lie in a package: what one needs, and how to make it cheaper to load.

use std::collections::BTreeSet;

/// What the kernel's build appends to a module, after the signature and a 12-byte description of it
/// (Linux, Documentation/admin-guide/module-signing.rst).
const SIGNATURE_MARKER: &[u8] = b"~Module signature appended~\n";
const SIGNATURE_DESCRIPTION: usize = 12;

/// The module without its appended signature.
///
/// The guest's kernel takes unsigned modules, and checking 22 signatures costs it 0.8 G instructions (measured),
/// half of its start. What the signature vouches for is vouched for by the package's own hash.
pub fn without_signature(module: &[u8]) -> &[u8] {
    let stripped = || {
        let rest = module.strip_suffix(SIGNATURE_MARKER)?;
        let (rest, description) = rest.split_at_checked(rest.len().checked_sub(SIGNATURE_DESCRIPTION)?)?;
        let length = u32::from_be_bytes(*description.last_chunk()?);
        rest.get(..rest.len().checked_sub(usize::try_from(length).ok()?)?)
    };
    stripped().unwrap_or(module)
}

/// One spelling for a module's name: file names have `-` where the kernel has `_`.
pub fn canonical_name(name: &str) -> String {
    name.replace('-', "_")
}

/// The modules that this one cannot be loaded without, or why it is no arm64 module.
pub fn dependencies(module: &[u8]) -> Result<BTreeSet<String>, &'static str> {
    let info = section(module, b".modinfo")?.ok_or("has no .modinfo section")?;
    let entries = info.split(|byte| *byte == 0);
    let depends = entries.filter_map(|entry| entry.strip_prefix(b"depends="));
    let names = depends.flat_map(|names| names.split(|byte| *byte == b','));
    names
        .filter(|name| !name.is_empty())
        .map(|name| {
            Ok(canonical_name(std::str::from_utf8(name).map_err(|_| "depends on something unreadable")?))
        })
        .collect()
}

/// A section of a relocatable ELF64 file for AArch64 (System V ABI, "ELF-64 Object File Format").
fn section<'a>(elf: &'a [u8], wanted: &[u8]) -> Result<Option<&'a [u8]>, &'static str> {
    const NO_MODULE: &str = "is no ELF file for arm64";
    const CUT: &str = "has section headers that point outside of it";
    let half = |at: usize| elf.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes));
    let word = |at: usize| elf.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes));
    let offset = |at: usize| {
        let value = elf.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))?;
        usize::try_from(value).ok()
    };
    // 64 bits, little-endian, EM_AARCH64.
    if !elf.starts_with(b"\x7fELF\x02\x01") || half(18) != Some(183) {
        return Err(NO_MODULE);
    }
    let table = offset(0x28).ok_or(NO_MODULE)?;
    let (entry, count, names) = (half(0x3a), half(0x3c), half(0x3e));
    let (Some(64), Some(count), Some(names)) = (entry, count, names) else { return Err(NO_MODULE) };
    let header = |index: u16| table.checked_add(usize::from(index) * 64).ok_or(CUT);
    let bytes = |header: usize| {
        let field = |at: usize| header.checked_add(at).and_then(offset);
        let (start, size) = field(0x18).zip(field(0x20)).ok_or(CUT)?;
        elf.get(start..start.checked_add(size).ok_or(CUT)?).ok_or(CUT)
    };
    let names = bytes(header(names)?)?;
    for index in 0..count {
        let header = header(index)?;
        let name = word(header).and_then(|at| names.get(usize::try_from(at).ok()?..)).ok_or(CUT)?;
        if name.split(|byte| *byte == 0).next() == Some(wanted) {
            return bytes(header).map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The smallest module there can be.
    pub(crate) fn module(info: &[u8]) -> Vec<u8> {
        let names = b"\0.modinfo\0.shstrtab\0";
        let mut elf = vec![0; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        elf[18..20].copy_from_slice(&183u16.to_le_bytes());
        elf.extend(info);
        elf.extend(names);
        let table = elf.len() as u64;
        elf[0x28..0x30].copy_from_slice(&table.to_le_bytes());
        elf[0x3a..0x3c].copy_from_slice(&64u16.to_le_bytes());
        elf[0x3c..0x3e].copy_from_slice(&3u16.to_le_bytes());
        elf[0x3e..0x40].copy_from_slice(&2u16.to_le_bytes());
        for (name, start, size) in [(0u32, 0, 0), (1, 64, info.len()), (10, 64 + info.len(), names.len())] {
            let mut header = [0; 64];
            header[..4].copy_from_slice(&name.to_le_bytes());
            header[0x18..0x20].copy_from_slice(&(start as u64).to_le_bytes());
            header[0x20..0x28].copy_from_slice(&(size as u64).to_le_bytes());
            elf.extend(header);
        }
        elf
    }

    pub(crate) fn signed(module: &[u8]) -> Vec<u8> {
        let mut signed = module.to_vec();
        signed.extend([9; 321]);
        signed.extend([0; 8]);
        signed.extend(321u32.to_be_bytes());
        signed.extend(SIGNATURE_MARKER);
        signed
    }

    #[test]
    fn dependencies_are_read() {
        let some = module(b"license=GPL\0depends=drm,virtio-dma-buf\0name=x\0");
        let names: Vec<String> = dependencies(&some).unwrap().into_iter().collect();
        assert_eq!(names, ["drm", "virtio_dma_buf"]);
        assert!(dependencies(&module(b"depends=\0")).unwrap().is_empty());
        assert!(dependencies(b"#!/bin/sh").is_err());
    }

    #[test]
    fn signatures_are_cut_off() {
        let plain = module(b"depends=\0");
        assert_eq!(without_signature(&signed(&plain)), plain);
        assert_eq!(without_signature(&plain), plain);
        // A length that cannot be is no reason to fail: the kernel will say what it thinks of it.
        let mut bad = signed(&plain);
        let at = bad.len() - SIGNATURE_MARKER.len() - 4;
        bad[at] = 0xff;
        assert_eq!(without_signature(&bad), bad);
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>, flips in proptest::collection::vec((0usize..300, 0u8..), 0..6)) {
            let _ = dependencies(&bytes);
            let mut elf = signed(&module(b"depends=a\0"));
            for (at, value) in flips {
                let at = at % elf.len();
                elf[at] = value;
            }
            let _ = (dependencies(&elf), without_signature(&elf).len());
        }
    }
}
