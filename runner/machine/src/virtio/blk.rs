//! A read-only disk (virtio 1.2, 5.2).

use std::{fs::File, io, os::unix::fs::FileExt};

use serde::{Deserialize, Serialize};

use crate::memory::GuestMemory;

use super::{LoadError, QueueFault, Queues, VirtioDevice, queue::Chain, read_config_bytes};

/// Bytes in a sector, the unit of every request whatever the block size (5.2.4).
pub const SECTOR: u64 = 512;
/// Length of the disk's identification string (5.2.6).
pub const ID_LEN: usize = 20;

/// Feature bits (5.2.3).
mod feature {
    pub const SIZE_MAX: u64 = 1 << 1;
    pub const SEG_MAX: u64 = 1 << 2;
    pub const RO: u64 = 1 << 5;
    pub const BLK_SIZE: u64 = 1 << 6;
    pub const FLUSH: u64 = 1 << 9;
}

/// Request types (5.2.6).
pub(super) mod request {
    pub const IN: u32 = 0;
    pub const OUT: u32 = 1;
    pub const FLUSH: u32 = 4;
    pub const GET_ID: u32 = 8;
}

/// How a request ended (5.2.6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Status {
    Ok = 0,
    IoError = 1,
    Unsupported = 2,
}

const QUEUE_SIZE: u16 = 256;
/// Longest segment of a request, and how many one may have: with header and
/// status a request fills a queue at most. A request above their product is
/// refused, so that none can hold the machine for long.
const SIZE_MAX: u32 = 64 << 10;
const SEG_MAX: u32 = QUEUE_SIZE as u32 - 2;
const REQUEST_MAX: u64 = SIZE_MAX as u64 * SEG_MAX as u64;
/// Bytes copied at a time.
const CHUNK: usize = 64 << 10;

/// The bytes of a disk: an image file, read where it is needed.
pub struct DiskImage {
    file: File,
    len: u64,
}

impl DiskImage {
    /// The disk whose image is `file`. If its size is not a multiple of
    /// [`SECTOR`], zeros complete the last sector.
    ///
    /// # Errors
    /// If its size can't be found.
    pub fn new(file: File) -> io::Result<Self> {
        let len = file.metadata()?.len();
        Ok(DiskImage { file, len })
    }

    /// Size in sectors.
    pub fn sectors(&self) -> u64 {
        self.len.div_ceil(SECTOR)
    }

    /// Fills `buf` from byte `offset`, with zeros past the end.
    fn read(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let held = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX).min(buf.len());
        let (data, past) = buf.split_at_mut(held);
        past.fill(0);
        self.file.read_exact_at(data, offset)
    }
}

/// The disk.
pub struct Blk {
    image: DiskImage,
    id: [u8; ID_LEN],
    buffer: Vec<u8>,
}

/// What a disk remembers: nothing of its own, but which disk it was, so that a
/// guest is never put on another one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlkState {
    /// Size in sectors.
    pub sectors: u64,
    /// Identification string.
    pub id: [u8; ID_LEN],
}

impl Blk {
    /// A disk over `image`, identified to the guest by the first [`ID_LEN`] bytes of `id`.
    pub fn new(image: DiskImage, id: &str) -> Self {
        let mut bytes = [0; ID_LEN];
        for (to, from) in bytes.iter_mut().zip(id.bytes()) {
            *to = from;
        }
        Blk { image, id: bytes, buffer: Vec::new() }
    }

    fn serve(&mut self, chain: &mut Chain<'_>) -> Status {
        let Some(header) = chain.read_array::<16>() else { return Status::IoError };
        let header = u128::from_le_bytes(header);
        let (kind, sector) = (header as u32, (header >> 64) as u64);
        match kind {
            request::IN => self.read(chain, sector),
            request::OUT => Status::IoError,
            request::FLUSH => Status::Ok,
            request::GET_ID => {
                let room = data_len(chain).min(ID_LEN as u64) as usize;
                chain.write(&self.id[..room]);
                Status::Ok
            }
            _ => Status::Unsupported,
        }
    }

    fn read(&mut self, chain: &mut Chain<'_>, sector: u64) -> Status {
        let len = data_len(chain);
        let fits = sector.checked_add(len / SECTOR).is_some_and(|end| end <= self.image.sectors());
        if !len.is_multiple_of(SECTOR) || len > REQUEST_MAX || !fits {
            return Status::IoError;
        }
        self.buffer.resize(CHUNK, 0);
        let mut done = 0;
        while done < len {
            let n = (len - done).min(CHUNK as u64);
            let piece = &mut self.buffer[..n as usize];
            if self.image.read(sector * SECTOR + done, piece).is_err() {
                return Status::IoError;
            }
            chain.write(piece);
            done += n;
        }
        Status::Ok
    }
}

/// Bytes before the status, which is the last writable byte (5.2.6).
fn data_len(chain: &Chain<'_>) -> u64 {
    chain.writable_len().saturating_sub(1)
}

impl VirtioDevice for Blk {
    type State = BlkState;

    fn name(&self) -> &'static str {
        "virtio-blk"
    }

    fn device_id(&self) -> u32 {
        2
    }

    fn features(&self) -> u64 {
        feature::SIZE_MAX | feature::SEG_MAX | feature::RO | feature::BLK_SIZE | feature::FLUSH
    }

    fn queue_sizes(&self) -> &'static [u16] {
        &[QUEUE_SIZE]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        // struct virtio_blk_config up to blk_size (5.2.4); the rest belongs to
        // features that are not offered.
        let mut config = [0; 24];
        config[..8].copy_from_slice(&self.image.sectors().to_le_bytes());
        config[8..12].copy_from_slice(&SIZE_MAX.to_le_bytes());
        config[12..16].copy_from_slice(&SEG_MAX.to_le_bytes());
        config[20..].copy_from_slice(&(SECTOR as u32).to_le_bytes());
        read_config_bytes(&config, offset, data);
    }

    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    fn process(&mut self, queue: usize, queues: &mut Queues<'_>) -> Result<(), QueueFault> {
        while let Some(mut chain) = queues.pop(queue)? {
            let status = self.serve(&mut chain);
            chain.write_last(status as u8);
            queues.complete(queue, chain)?;
        }
        Ok(())
    }

    fn reset(&mut self) {}

    fn save(&self) -> BlkState {
        BlkState { sectors: self.image.sectors(), id: self.id }
    }

    fn load(&mut self, state: &BlkState, _memory: &GuestMemory) -> Result<(), LoadError> {
        if state.sectors != self.image.sectors() {
            let (was, is) = (state.sectors, self.image.sectors());
            return Err(LoadError::new(
                self.name(),
                format!("its disk had {was} sectors, this one has {is}"),
            ));
        }
        if state.id != self.id {
            let (was, is) = (state.id.escape_ascii(), self.id.escape_ascii());
            return Err(LoadError::new(self.name(), format!("its disk was {was}, this one is {is}")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::virtio::testing::Driver;

    fn disk(bytes: &[u8]) -> Driver<Blk> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Driver::new(Blk::new(DiskImage::new(file).unwrap(), "root-0123"))
    }

    fn header(kind: u32, sector: u64) -> Vec<u8> {
        [kind.to_le_bytes().as_slice(), &[0; 4], &sector.to_le_bytes()].concat()
    }

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + i / 512 * 13) as u8).collect()
    }

    #[test]
    fn reads_sectors_and_completes_the_last_one_with_zeros() {
        let bytes = pattern(3 * 512 + 100);
        let mut driver = disk(&bytes);
        assert_eq!(driver.config::<8>(0), 4u64.to_le_bytes());
        let answer = driver.request(0, &[&header(request::IN, 1)], &[512, 700, 324, 1]);
        assert_eq!(answer.len, 1537);
        assert_eq!(answer.bytes[..1124], bytes[512..]);
        assert!(answer.bytes[1124..1536].iter().all(|&byte| byte == 0));
        assert_eq!(answer.bytes[1536], Status::Ok as u8);
    }

    #[test]
    fn the_header_may_come_in_pieces_and_the_status_share_a_buffer() {
        let bytes = pattern(1024);
        let mut driver = disk(&bytes);
        let header = header(request::IN, 1);
        let answer = driver.request(0, &[&header[..3], &header[3..]], &[513]);
        assert_eq!(answer.bytes[..512], bytes[512..]);
        assert_eq!((answer.len, answer.bytes[512]), (513, 0));
    }

    #[test]
    fn a_request_longer_than_a_chunk_is_read_whole() {
        let bytes = pattern(300 << 10);
        let mut driver = disk(&bytes);
        let answer = driver.request(0, &[&header(request::IN, 0)], &[300 << 10, 1]);
        assert!(answer.bytes[..300 << 10] == bytes);
        assert_eq!(answer.bytes.last(), Some(&0));
    }

    #[test]
    fn what_can_not_be_read_is_an_io_error() {
        let mut driver = disk(&[1; 2048]);
        for (sector, len) in [(4, 512), (3, 1024), (u64::MAX, 512), (u64::MAX / 512 + 1, 512), (0, 511)] {
            let answer = driver.request(0, &[&header(request::IN, sector)], &[len, 1]);
            assert_eq!(answer.bytes[len as usize], Status::IoError as u8, "{sector} {len}");
            assert_eq!(answer.len, 0);
            assert!(answer.bytes[..len as usize].iter().all(|&byte| byte == 0xaa), "data was touched");
        }
    }

    #[test]
    fn an_image_that_shrank_is_an_io_error() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[1; 2048]).unwrap();
        let mut driver = Driver::new(Blk::new(DiskImage::new(file.try_clone().unwrap()).unwrap(), "x"));
        file.set_len(512).unwrap();
        let answer = driver.request(0, &[&header(request::IN, 0)], &[2048, 1]);
        assert_eq!(answer.bytes[2048], Status::IoError as u8);
    }

    #[test]
    fn writes_fail_flush_succeeds_and_the_unknown_is_unsupported() {
        let mut driver = disk(&[1; 512]);
        let out = header(request::OUT, 0);
        assert_eq!(driver.request(0, &[&out, &[9; 512]], &[1]).bytes, [Status::IoError as u8]);
        assert_eq!(driver.request(0, &[&header(request::FLUSH, 0)], &[1]).bytes, [Status::Ok as u8]);
        assert_eq!(driver.request(0, &[&header(13, 0)], &[1]).bytes, [Status::Unsupported as u8]);
        assert_eq!(driver.request(0, &[&[0; 15]], &[1]).bytes, [Status::IoError as u8]);
        // No place for a status: the buffers come back, nothing is written.
        assert_eq!(driver.request(0, &[&header(request::IN, 0)], &[]).len, 0);
    }

    #[test]
    fn identifies_itself() {
        let mut driver = disk(&[1; 512]);
        let answer = driver.request(0, &[&header(request::GET_ID, 0)], &[20, 1]);
        assert_eq!(answer.bytes, *b"root-0123\0\0\0\0\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn features_and_limits_are_those_of_a_read_only_disk() {
        let mut driver = disk(&[1; 512]);
        assert_ne!(driver.offered_features() & (1 << 5), 0, "VIRTIO_BLK_F_RO");
        assert_eq!(driver.config::<4>(12), 254u32.to_le_bytes(), "seg_max");
        assert_eq!(driver.config::<4>(20), 512u32.to_le_bytes(), "blk_size");
        assert_eq!(driver.config::<4>(100), [0; 4]);
    }

    #[test]
    fn a_state_of_another_disk_is_refused() {
        let mut driver = disk(&[1; 512]);
        let state = driver.transport.save();
        let mut other = disk(&[1; 1024]);
        let error = other.transport.load(&state, &driver.memory).unwrap_err();
        assert_eq!(
            error.to_string(),
            "virtio-blk can't load this state: its disk had 1 sectors, this one has 2"
        );
        let mut renamed = state.clone();
        renamed.device.id[0] = b'R';
        assert!(driver.transport.load(&renamed, &driver.memory).is_err());
        driver.transport.load(&state, &driver.memory).unwrap();
    }
}
