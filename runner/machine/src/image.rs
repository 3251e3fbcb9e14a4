//! Loads an arm64 Linux kernel `Image` and its initramfs, and finds a place
//! for the device tree (Linux Documentation/arch/arm64/booting.rst).

use crate::{
    layout::RAM_BASE,
    memory::{GuestMemory, OutOfBounds},
};

/// Most bytes of a device tree, and its room: one 2 MiB block that nothing
/// else shares, for the kernel maps it as such.
pub const MAX_DTB_SIZE: u64 = BLOCK;

const BLOCK: u64 = 2 << 20;
const PAGE: u64 = 4096;
const HEADER_SIZE: usize = 64;
const MAGIC: [u8; 4] = *b"ARM\x64";
/// `text_offset` of kernels before 3.17, which leave `image_size` zero.
const OLD_TEXT_OFFSET: u64 = 0x8_0000;
/// Kernel and initramfs lie in a window of this size that begins at a multiple
/// of 1 GiB.
const WINDOW: u64 = 32 << 30;
const _: () = assert!(RAM_BASE.is_multiple_of(1 << 30));

/// Where things are in guest memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Where the boot vCPU starts.
    pub entry: u64,
    /// First byte of the initramfs and the first byte after it.
    pub initrd: Option<(u64, u64)>,
    /// Where the device tree goes; [`MAX_DTB_SIZE`] bytes are free there.
    pub dtb_addr: u64,
}

/// Why a kernel can't be loaded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    /// It is some other known kind of file.
    #[error("the kernel is {found}; an uncompressed arm64 Image is needed")]
    OtherFormat {
        /// What it is.
        found: &'static str,
        /// What can be done about it.
        hint: &'static str,
    },
    /// The file ends inside the header.
    #[error("the kernel is cut off: {0} bytes, the header of an arm64 Image alone has 64")]
    Truncated(usize),
    /// The file ends inside a section that it lists.
    #[error("the kernel is cut off: {found} bytes, of {needed}")]
    CutOff {
        /// The file's size.
        found: usize,
        /// Where its last section ends.
        needed: u64,
    },
    /// The magic number is not there.
    #[error("the kernel is not an arm64 Image: the magic number \"ARM\\x64\" is missing at byte 56")]
    NoMagic,
    /// The kernel is big-endian.
    #[error("the kernel is big-endian; the machine starts little-endian kernels only")]
    BigEndian,
    /// The kernel uses pages that the vCPUs do not have.
    #[error("the kernel uses pages of {0} KiB; the machine's vCPUs have pages of 4 KiB")]
    PageSize(u32),
    /// A field of the header makes no sense.
    #[error("the kernel's header is damaged: {0}")]
    Damaged(&'static str),
    /// Kernel, initramfs and device tree together need more memory.
    #[error("{what} does not fit into {ram_size} bytes of memory")]
    TooLarge {
        /// What does not fit.
        what: &'static str,
        /// The machine's memory.
        ram_size: u64,
    },
    /// The device tree is larger than its room.
    #[error("the device tree has {0} bytes, at most {MAX_DTB_SIZE} can be passed to the kernel")]
    DtbTooLarge(usize),
    /// Guest memory refused.
    #[error(transparent)]
    Memory(#[from] OutOfBounds),
}

impl ImageError {
    /// What a person can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            ImageError::OtherFormat { hint, .. } => hint,
            ImageError::Truncated(_) | ImageError::CutOff { .. } | ImageError::Damaged(_) => {
                "copy or build the kernel again"
            }
            ImageError::NoMagic => {
                "the Image is in arch/arm64/boot of a kernel's build, or /boot/vmlinuz-* of Debian's arm64 package"
            }
            ImageError::BigEndian | ImageError::PageSize(_) => {
                "use a little-endian kernel with 4 KiB pages, such as Debian's"
            }
            ImageError::TooLarge { .. } | ImageError::Memory(_) => "give the machine more memory",
            ImageError::DtbTooLarge(_) => "shorten the kernel's command line",
        }
    }
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Header {
    /// Distance of the image from a 2 MiB boundary.
    text_offset: u64,
    /// Bytes that the running kernel needs from its start on, zeroed data
    /// included; 0 in old kernels, which do not say.
    image_size: u64,
}

impl Header {
    fn parse(image: &[u8]) -> Result<Self, ImageError> {
        refuse_other_formats(image)?;
        let Some(header) = image.first_chunk::<HEADER_SIZE>() else {
            return Err(ImageError::Truncated(image.len()));
        };
        let [_, text_offset, image_size, flags, ..] = header.as_chunks::<8>().0 else {
            return Err(ImageError::Truncated(image.len()));
        };
        if header[56..60] != MAGIC {
            return Err(ImageError::NoMagic);
        }
        if let Some(needed) = end_of_sections(image)
            && needed > image.len() as u64
        {
            return Err(ImageError::CutOff { found: image.len(), needed });
        }
        let text_offset = u64::from_le_bytes(*text_offset);
        let image_size = u64::from_le_bytes(*image_size);
        if image_size == 0 {
            // Then neither the offset nor the flags mean anything.
            return Ok(Header { text_offset: OLD_TEXT_OFFSET, image_size });
        }
        let flags = u64::from_le_bytes(*flags);
        if flags & 1 != 0 {
            return Err(ImageError::BigEndian);
        }
        match flags >> 1 & 3 {
            2 => return Err(ImageError::PageSize(16)),
            3 => return Err(ImageError::PageSize(64)),
            _ => {} // 4 KiB, or unspecified
        }
        // Flag bit 3 allows a kernel far from the start of memory; ours never is.
        if image_size < HEADER_SIZE as u64 {
            return Err(ImageError::Damaged("it says that the kernel is smaller than its header"));
        }
        if !text_offset.is_multiple_of(4) {
            return Err(ImageError::Damaged("the text offset is not that of an instruction"));
        }
        Ok(Header { text_offset, image_size })
    }
}

/// Where the last section of the file ends, in a kernel that is an EFI program too (nearly all are). Without this, the
/// first part of a kernel would start, and hang without a word; `image_size` can't tell, since it counts memory.
fn end_of_sections(image: &[u8]) -> Option<u64> {
    fn field<const N: usize>(image: &[u8], at: usize) -> Option<[u8; N]> {
        image.get(at..)?.first_chunk().copied()
    }
    if !image.starts_with(b"MZ") {
        return None;
    }
    // The offset's place: Linux Documentation/arch/arm64/booting.rst, res5. The rest: Microsoft, "PE Format", COFF File
    // Header and Section Table.
    let header = u32::from_le_bytes(field(image, 60)?) as usize;
    if field(image, header)? != *b"PE\0\0" {
        return None;
    }
    let count = u16::from_le_bytes(field(image, header.checked_add(6)?)?);
    let optional = u16::from_le_bytes(field(image, header.checked_add(20)?)?);
    let table = header.checked_add(24 + usize::from(optional))?;
    let end = table.checked_add(40 * usize::from(count))? as u64;
    let sections = (0..usize::from(count)).map_while(|index| {
        let at = table.checked_add(40 * index)?;
        let size = u32::from_le_bytes(field(image, at.checked_add(16)?)?);
        let start = u32::from_le_bytes(field(image, at.checked_add(20)?)?);
        Some(u64::from(start) + u64::from(size))
    });
    sections.chain([end]).max()
}

/// Names the kinds of kernel file that people have at hand.
fn refuse_other_formats(image: &[u8]) -> Result<(), ImageError> {
    const UNPACK: &str = "decompress it first";
    let refuse = |found, hint| Err(ImageError::OtherFormat { found, hint });
    match image {
        [0x1f, 0x8b, ..] => refuse("compressed with gzip", UNPACK),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => refuse("compressed with zstd", UNPACK),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => refuse("compressed with xz", UNPACK),
        [b'B', b'Z', b'h', ..] => refuse("compressed with bzip2", UNPACK),
        [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => refuse("compressed with lz4", UNPACK),
        [0x7f, b'E', b'L', b'F', ..] => {
            refuse("an ELF file", "that is vmlinux; the Image is in arch/arm64/boot of a kernel's build")
        }
        [b'M', b'Z', _, _, b'z', b'i', b'm', b'g', ..] => {
            refuse("a compressed EFI program (zboot)", "take out its payload and decompress it")
        }
        // An Image may begin with "MZ" too, but then has its own magic number.
        [b'M', b'Z', ..] if image.get(56..60) != Some(&MAGIC) => {
            refuse("an EFI program", "it may hold a kernel, but needs firmware to start")
        }
        _ => Ok(()),
    }
}

/// Puts kernel and initramfs into guest memory.
///
/// The kernel goes to the start of RAM. The initramfs and the device tree go to
/// the end of RAM, or of the kernel's window, so that an old kernel, which does
/// not say how much it needs, has all the room there is.
///
/// # Errors
/// If the kernel is no arm64 `Image` that the machine can start, or not
/// everything fits. Guest memory is then as it was.
pub fn load(memory: &GuestMemory, image: &[u8], initrd: Option<&[u8]>) -> Result<Loaded, ImageError> {
    let placed = place(image, initrd.map(|i| i.len() as u64), memory.ram_size())?;
    memory.write(placed.entry, image)?;
    if let (Some(initrd), Some((start, _))) = (initrd, placed.initrd) {
        memory.write(start, initrd)?;
    }
    Ok(placed)
}

/// Puts the device tree where `loaded` has room for it.
///
/// # Errors
/// If it is larger than that.
pub fn load_dtb(memory: &GuestMemory, loaded: &Loaded, dtb: &[u8]) -> Result<(), ImageError> {
    if dtb.len() as u64 > MAX_DTB_SIZE {
        return Err(ImageError::DtbTooLarge(dtb.len()));
    }
    Ok(memory.write(loaded.dtb_addr, dtb)?)
}

fn place(image: &[u8], initrd_len: Option<u64>, ram_size: u64) -> Result<Loaded, ImageError> {
    let header = Header::parse(image)?;
    let too_large = |what| ImageError::TooLarge { what, ram_size };
    let kernel_size = header.image_size.max(image.len() as u64);
    let end = ram_size.min(WINDOW);

    // All offsets from the start of RAM until the end of this function.
    let kernel_end = header
        .text_offset
        .checked_add(kernel_size)
        .filter(|kernel_end| *kernel_end <= end)
        .ok_or(too_large("the kernel"))?;
    let dtb = end
        .checked_sub(MAX_DTB_SIZE)
        .map(|dtb| dtb - dtb % BLOCK)
        .filter(|dtb| *dtb >= kernel_end)
        .ok_or(too_large("the kernel with its device tree"))?;
    let initrd = initrd_len
        .map(|len| {
            let start = dtb.checked_sub(len).map(|start| start - start % PAGE);
            let start = start.filter(|start| *start >= kernel_end);
            start.map(|start| (start, start + len)).ok_or(too_large("the kernel with its initramfs"))
        })
        .transpose()?;

    // RAM ends below 2^64, so these sums can't overflow.
    Ok(Loaded {
        entry: RAM_BASE + header.text_offset,
        initrd: initrd.map(|(start, end)| (RAM_BASE + start, RAM_BASE + end)),
        dtb_addr: RAM_BASE + dtb,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn image(text_offset: u64, image_size: u64, flags: u64, len: usize) -> Vec<u8> {
        let mut image = vec![0xa5; len.max(64)];
        image[..64].fill(0);
        image[8..16].copy_from_slice(&text_offset.to_le_bytes());
        image[16..24].copy_from_slice(&image_size.to_le_bytes());
        image[24..32].copy_from_slice(&flags.to_le_bytes());
        image[56..60].copy_from_slice(&0x644d_5241u32.to_le_bytes());
        image
    }

    #[test]
    fn a_kernel_goes_to_the_start_of_ram_and_the_rest_to_its_end() {
        let memory = GuestMemory::anonymous(64 * MIB).unwrap();
        let kernel = image(0, 20 * MIB, 0b1010, 5000);
        let initrd = vec![0x5a; 12345];
        let loaded = load(&memory, &kernel, Some(&initrd)).unwrap();
        assert_eq!(loaded.entry, 0x4000_0000);
        assert_eq!(loaded.dtb_addr, 0x43e0_0000, "the last 2 MiB block");
        assert_eq!(loaded.initrd, Some((0x43df_c000, 0x43df_c000 + 12345)), "page-aligned, just below");
        let mut back = vec![0; kernel.len()];
        memory.read(loaded.entry, &mut back).unwrap();
        assert!(back == kernel);
        let mut back = vec![0; initrd.len()];
        memory.read(0x43df_c000, &mut back).unwrap();
        assert!(back == initrd);

        load_dtb(&memory, &loaded, b"tree").unwrap();
        assert_eq!(memory.read_u32(loaded.dtb_addr).unwrap(), u32::from_le_bytes(*b"tree"));
        let huge = vec![0; 2 * MIB as usize + 1];
        assert_eq!(load_dtb(&memory, &loaded, &huge), Err(ImageError::DtbTooLarge(huge.len())));
        load_dtb(&memory, &loaded, &huge[1..]).unwrap();
    }

    #[test]
    fn the_text_offset_is_kept() {
        let kernel = image(0x8_0000, MIB, 0, 64);
        assert_eq!(place(&kernel, None, 64 * MIB).unwrap().entry, 0x4008_0000);
        // Before 3.17: image_size 0, so 0x80000 whatever the field says.
        for stale in [0, 0x1234] {
            let old = image(stale, 0, 0, 64);
            assert_eq!(place(&old, None, 64 * MIB).unwrap().entry, 0x4008_0000);
        }
    }

    #[test]
    fn large_memory_keeps_everything_in_the_window() {
        let loaded = place(&image(0, MIB, 0, 64), Some(MIB), 64 << 30).unwrap();
        assert!(loaded.dtb_addr + MAX_DTB_SIZE <= RAM_BASE + (32 << 30));
        assert_eq!(loaded.initrd.unwrap().1, loaded.dtb_addr);
    }

    #[test]
    fn an_odd_end_of_memory_is_rounded_down() {
        let loaded = place(&image(0, MIB, 0, 64), None, 64 * MIB + 4096).unwrap();
        assert_eq!(loaded.dtb_addr, RAM_BASE + 62 * MIB);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let fits = |size, initrd, ram| match place(&image(0, size, 0, 64), initrd, ram) {
            Ok(_) => "",
            Err(ImageError::TooLarge { what, .. }) => what,
            Err(other) => panic!("{other}"),
        };
        assert_eq!(fits(30 * MIB, Some(2 * MIB), 34 * MIB), "");
        assert_eq!(fits(30 * MIB, Some(2 * MIB + 1), 34 * MIB), "the kernel with its initramfs");
        assert_eq!(fits(30 * MIB, Some(u64::MAX), 34 * MIB), "the kernel with its initramfs");
        assert_eq!(fits(32 * MIB, None, 34 * MIB), "");
        assert_eq!(fits(32 * MIB + 1, None, 34 * MIB), "the kernel with its device tree");
        assert_eq!(fits(35 * MIB, None, 34 * MIB), "the kernel");
        assert_eq!(fits(MIB, None, MIB), "the kernel with its device tree");
        assert_eq!(fits(u64::MAX, None, 34 * MIB), "the kernel");
        // A file longer than its header says needs its own length.
        assert!(place(&image(0, MIB, 0, 5 << 20), None, 6 * MIB).is_err());
        let memory = GuestMemory::anonymous(4 * MIB).unwrap();
        assert!(load(&memory, &image(0, 8 * MIB, 0, 64), None).is_err());
        assert_eq!(memory.read_u32(RAM_BASE + 56).unwrap(), 0, "nothing was written");
    }

    #[test]
    fn other_files_are_named() {
        let mut efi = image(0, MIB, 0, 64);
        efi[..2].copy_from_slice(b"MZ");
        assert!(place(&efi, None, 64 * MIB).is_ok(), "an Image with an EFI stub is an Image");
        efi[56..60].fill(0);
        let mut zboot = b"MZ\0\0zimg".to_vec();
        zboot.resize(100, 0);
        for (file, word) in [
            (&b"\x1f\x8b\x08\0"[..], "gzip"),
            (b"\x28\xb5\x2f\xfd\0", "zstd"),
            (b"\xfd7zXZ\0\0", "xz"),
            (b"BZh91AY", "bzip2"),
            (b"\x02\x21\x4c\x18", "lz4"),
            (b"\x7fELF\x02\x01", "ELF"),
            (&zboot, "zboot"),
            (&efi, "EFI program"),
        ] {
            let error = place(file, None, 64 * MIB).unwrap_err();
            assert!(matches!(error, ImageError::OtherFormat { .. }));
            assert!(error.to_string().contains(word), "{error}");
        }
    }

    #[test]
    fn unusable_kernels_are_refused() {
        let error = |image: &[u8]| place(image, None, 64 * MIB).unwrap_err();
        assert_eq!(error(b""), ImageError::Truncated(0));
        assert_eq!(error(&image(0, MIB, 0, 64)[..63]), ImageError::Truncated(63));
        assert_eq!(error(&[0; 64]), ImageError::NoMagic);
        assert_eq!(error(&image(0, MIB, 1, 64)), ImageError::BigEndian);
        assert_eq!(error(&image(0, MIB, 0b100, 64)), ImageError::PageSize(16));
        assert_eq!(error(&image(0, MIB, 0b110, 64)), ImageError::PageSize(64));
        assert!(matches!(error(&image(0, 63, 0, 64)), ImageError::Damaged(_)));
        assert!(matches!(error(&image(2, MIB, 0, 64)), ImageError::Damaged(_)));
        assert!(matches!(error(&image(u64::MAX - 3, MIB, 0, 64)), ImageError::TooLarge { .. }));
    }

    /// An Image that is an EFI program with the sections `(start, size)`.
    fn efi(sections: &[(u32, u32)], len: usize) -> Vec<u8> {
        let mut file = image(0, MIB, 0, len);
        file[..2].copy_from_slice(b"MZ");
        file[60..64].copy_from_slice(&64u32.to_le_bytes());
        file[64..68].copy_from_slice(b"PE\0\0");
        file[70..72].copy_from_slice(&(sections.len() as u16).to_le_bytes());
        file[84..86].copy_from_slice(&8u16.to_le_bytes()); // of optional header
        for (section, (start, size)) in file[96..].chunks_exact_mut(40).zip(sections) {
            section[16..20].copy_from_slice(&size.to_le_bytes());
            section[20..24].copy_from_slice(&start.to_le_bytes());
        }
        file
    }

    #[test]
    fn a_kernel_without_its_end_is_refused() {
        let whole = efi(&[(4096, 1000), (5096, 500), (0, 100)], 5596);
        assert!(place(&whole, None, 64 * MIB).is_ok());
        for found in [5595, 4096, 96 + 3 * 40, 96 + 2 * 40, 97] {
            let error = place(&whole[..found], None, 64 * MIB).unwrap_err();
            assert!(matches!(error, ImageError::CutOff { found: at, .. } if at == found), "{found}: {error}");
        }
        let error = place(&efi(&[(u32::MAX, u32::MAX)], 5000), None, 64 * MIB).unwrap_err();
        assert_eq!(error, ImageError::CutOff { found: 5000, needed: u64::from(u32::MAX) * 2 });
    }

    proptest! {
        #[test]
        fn any_section_table_is_read_or_refused(
            header in prop_oneof![0u32..200, any::<u32>()],
            bytes in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut file = efi(&[], 100);
            file.extend(bytes);
            file[60..64].copy_from_slice(&header.to_le_bytes());
            let _ = place(&file, None, 64 * MIB);
        }

        #[test]
        fn any_file_is_placed_soundly_or_refused(
            mut file in prop::collection::vec(any::<u8>(), 0..200),
            magic in prop::bool::weighted(0.8),
            fields in prop::array::uniform2(prop_oneof![0u64..1 << 26, any::<u64>()]),
            initrd in prop::option::of(prop_oneof![0u64..1 << 26, any::<u64>()]),
            ram_pages in 1u64..1 << 15,
        ) {
            let ram = ram_pages * 4096;
            if magic && file.len() >= 64 {
                let header = image(fields[0], fields[1], 2, 64);
                file[..64].copy_from_slice(&header);
            }
            if let Ok(loaded) = place(&file, initrd, ram) {
                let kernel_end = loaded.entry + file.len() as u64;
                prop_assert!(loaded.entry >= RAM_BASE && kernel_end <= loaded.dtb_addr);
                prop_assert!(loaded.dtb_addr % BLOCK == 0 && loaded.dtb_addr + MAX_DTB_SIZE <= RAM_BASE + ram);
                prop_assert_eq!(loaded.initrd.is_some(), initrd.is_some());
                if let Some((start, end)) = loaded.initrd {
                    prop_assert!(kernel_end <= start && end <= loaded.dtb_addr);
                    prop_assert_eq!(Some(end - start), initrd);
                }
            }
        }
    }
}
