//! The compressions Debian uses.

use std::io::{self, BufReader, Read};

use flate2::read::MultiGzDecoder;
use liblzma::read::XzDecoder;
use liblzma::stream::{CONCATENATED, Stream};
use ruzstd::decoding::StreamingDecoder;

/// What a decompressor may use of memory. `xz -9` asks for 65 MiB; hostile input could ask for gigabytes.
const MEMORY_LIMIT: u64 = 128 << 20;

/// A compression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// None at all.
    None,
    /// gzip
    Gzip,
    /// xz
    Xz,
    /// Zstandard
    Zstd,
}

impl Compression {
    /// The compression that a file name's ending stands for.
    pub fn from_name(name: &str) -> Compression {
        match name.rsplit('.').next() {
            Some("gz") => Compression::Gzip,
            Some("xz") => Compression::Xz,
            Some("zst") => Compression::Zstd,
            _ => Compression::None,
        }
    }

    /// Decompresses a stream.
    pub fn decode<'a>(self, reader: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
        let reader = BufReader::with_capacity(1 << 16, reader);
        Ok(match self {
            Compression::None => Box::new(reader),
            Compression::Gzip => Box::new(MultiGzDecoder::new(reader)),
            Compression::Xz => {
                let stream = Stream::new_stream_decoder(MEMORY_LIMIT, CONCATENATED)?;
                Box::new(XzDecoder::new_stream(reader, stream))
            }
            Compression::Zstd => {
                let decoder = StreamingDecoder::new_with_max_window_size(reader, MEMORY_LIMIT);
                Box::new(decoder.map_err(io::Error::other)?)
            }
        })
    }
}

/// Reads a whole stream, refusing one that is longer than `limit`.
pub fn read_to_limit(reader: impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("longer than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    /// "samovar\n" as made by `gzip`, `xz` and `zstd`.
    fn samples() -> [(Compression, Vec<u8>); 4] {
        let hex = |text: &str| {
            let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
            let pairs = digits.chunks(2);
            pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
        };
        [
            (Compression::None, b"samovar\n".to_vec()),
            (Compression::Gzip, hex(include_str!("../../tests/data/samovar.gz.hex"))),
            (Compression::Xz, hex(include_str!("../../tests/data/samovar.xz.hex"))),
            (Compression::Zstd, hex(include_str!("../../tests/data/samovar.zst.hex"))),
        ]
    }

    #[test]
    fn each_compression_is_undone() {
        for (compression, bytes) in samples() {
            let text = read_to_limit(compression.decode(&bytes[..]).unwrap(), 8).expect("fits");
            assert_eq!(text, b"samovar\n", "{compression:?}");
            read_to_limit(compression.decode(&bytes[..]).unwrap(), 7).expect_err("one byte too long");
        }
    }

    #[test]
    fn half_a_stream_is_an_error() {
        for (compression, bytes) in samples().into_iter().skip(1) {
            for end in 0..bytes.len() {
                let whole = compression.decode(&bytes[..end]).and_then(|reader| read_to_limit(reader, 100));
                // gzip with no byte at all is an empty file to some; no content may come of it.
                assert!(whole.as_ref().map_or(true, Vec::is_empty), "{compression:?} {end} {whole:?}");
            }
        }
    }

    #[test]
    fn a_greedy_stream_is_refused() {
        use liblzma::stream::{Check, Filters, LzmaOptions};
        let mut options = LzmaOptions::new_preset(1).unwrap();
        options.dict_size(512 << 20);
        let mut filters = Filters::new();
        filters.lzma2(&options);
        let encoder = Stream::new_stream_encoder(&filters, Check::Crc32);
        // A host too small to make such a stream has nothing to fear from one either.
        let Ok(encoder) = encoder else { return };
        let mut writer = liblzma::write::XzEncoder::new_stream(Vec::new(), encoder);
        writer.write_all(b"x").unwrap();
        let bytes = writer.finish().unwrap();
        let result = Compression::Xz.decode(&bytes[..]).and_then(|reader| read_to_limit(reader, 100));
        assert!(result.is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes: Vec<u8>, cut in 0usize..60, flip in 0usize..60) {
            for (compression, mut good) in samples() {
                let _ = compression.decode(&bytes[..]).and_then(|reader| read_to_limit(reader, 1 << 16));
                good.truncate(cut.max(1));
                if let Some(byte) = good.get_mut(flip) {
                    *byte ^= 0x41;
                }
                let _ = compression.decode(&good[..]).and_then(|reader| read_to_limit(reader, 1 << 16));
            }
        }
    }
}
