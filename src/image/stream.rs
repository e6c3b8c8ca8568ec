//! A layer as a stream: read, decompressed and hashed by threads of their own
//! while the caller works on what is there.
//!
//!     decoder ──chunks──▶ caller (applies the layer)
//!         └────chunks──▶ hasher (the uncompressed layer's digest)

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use oci_spec::image::Digest;

use super::archive::Stream;
use super::blob::{Blob, CHUNK, Hasher};
use super::{Counted, Watch};
use crate::error::{Error, Result, io_name};

/// Chunks that wait for the caller or for the hasher.
const WAITING: usize = 8;
/// What a decoder may need.
#[derive(Debug, Clone, Copy)]
pub struct Most {
    /// The window of a zstd stream, as a power of two. Levels to 19 use 8 MiB.
    window: u32,
    /// Memory of an xz decoder in KiB, which is its dictionary and a little.
    xz: u32,
}

/// For a layer: unpacking promises to stay below 64 MiB.
const LAYER: Most = Most {
    window: 25,
    xz: 33 << 10,
};
/// For a layer that is decompressed once more at the same time.
const AHEAD: Most = Most {
    window: 24,
    xz: 17 << 10,
};
/// For an archive as a whole, as a distribution set by level 9 of xz.
pub const ARCHIVE: Most = Most {
    window: 25,
    xz: 80 << 10,
};

/// A compression, told by its first bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// RFC 1952
    Gzip,
    /// RFC 8878
    Zstd,
    /// xz, of distribution sets.
    Xz,
}

impl Compression {
    /// What a stream that begins with these bytes is compressed by.
    pub fn of(magic: &[u8]) -> Option<Compression> {
        match magic {
            [0x1f, 0x8b, ..] => Some(Compression::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Compression::Zstd),
            // A frame of zstd to be skipped.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Compression::Zstd),
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Some(Compression::Xz),
            _ => None,
        }
    }
}

/// Decompresses what is compressed, going by its first bytes as all readers of
/// images do: media types are often wrong about it.
///
/// # Errors
/// Those of reading the first bytes.
pub fn decoder<'a>(
    mut reader: impl BufRead + Send + 'a,
    most: Most,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    Ok(match Compression::of(reader.fill_buf()?) {
        None => Box::new(reader),
        Some(Compression::Gzip) => Box::new(flate2::bufread::MultiGzDecoder::new(reader)),
        Some(Compression::Zstd) => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(reader)?;
            decoder.window_log_max(most.window)?;
            Box::new(decoder)
        }
        Some(Compression::Xz) => {
            Box::new(lzma_rust2::XzReader::new_mem_limit(reader, true, most.xz))
        }
    })
}

/// A failed read in words.
pub fn told(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "it is truncated".into(),
        _ if error.raw_os_error().is_none() => {
            let text = error.to_string();
            // zstd and xz in their words.
            if text.contains("too much memory") || text.contains("needed memory too big") {
                return "decompressing it takes too much memory; compress it at a lower level"
                    .into();
            }
            format!("it cannot be decompressed: {text}")
        }
        _ => io_name(error),
    }
}

/// A compressed blob's bytes, counted.
struct Counting<'a, R> {
    inner: R,
    done: &'a AtomicU64,
}

impl<R: Read> Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.done.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

/// The uncompressed bytes of a layer, as they come from the decoder's thread.
#[derive(Debug)]
pub struct Chunks {
    chunks: Receiver<io::Result<Arc<Vec<u8>>>>,
    used: SyncSender<Vec<u8>>,
    current: Arc<Vec<u8>>,
    position: usize,
    ended: bool,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let here = self.fill_buf()?;
        let length = here.len().min(buffer.len());
        buffer[..length].copy_from_slice(&here[..length]);
        self.consume(length);
        Ok(length)
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.position == self.current.len() && !self.ended {
            let next = match self.chunks.recv() {
                Ok(next) => next?,
                Err(_) => {
                    self.ended = true;
                    break;
                }
            };
            let last = std::mem::replace(&mut self.current, next);
            self.position = 0;
            // The hasher may still have it; then it is freed there.
            if let Ok(buffer) = Arc::try_unwrap(last) {
                let _ = self.used.try_send(buffer);
            }
        }
        Ok(&self.current[self.position..])
    }

    fn consume(&mut self, count: usize) {
        self.position += count;
    }
}

impl Stream for Chunks {}
impl Stream for &mut Chunks {}

/// What the decoder's thread works with.
struct Decoding<'a> {
    blob: &'a Blob,
    done: &'a AtomicU64,
    watch: &'a dyn Watch,
    chunks: SyncSender<io::Result<Arc<Vec<u8>>>>,
    hash: SyncSender<Arc<Vec<u8>>>,
    used: Receiver<Vec<u8>>,
}

impl Decoding<'_> {
    fn run(self) {
        let _ = self.decode().or_else(|error| self.chunks.send(Err(error)));
    }

    fn decode(&self) -> io::Result<()> {
        let reader = Counting {
            inner: self.blob.reader(),
            done: self.done,
        };
        let mut decoder = decoder(BufReader::with_capacity(CHUNK, reader), LAYER)?;
        loop {
            if self.watch.interrupted() {
                // The kind Interrupted would be tried again.
                return Err(io::Error::other("interrupted"));
            }
            let mut buffer = self.used.try_recv().unwrap_or_default();
            buffer.resize(CHUNK, 0);
            let mut filled = 0;
            while filled < CHUNK {
                match decoder.read(&mut buffer[filled..])? {
                    0 => break,
                    read => filled += read,
                }
            }
            if filled == 0 {
                return Ok(());
            }
            buffer.truncate(filled);
            let chunk = Arc::new(buffer);
            // The hasher ends when this side does, never before.
            let _ = self.hash.send(chunk.clone());
            if self.chunks.send(Ok(chunk)).is_err() {
                return Ok(());
            }
        }
    }
}

/// Calls `work` with a layer's uncompressed bytes, and then compares the digest
/// of all of them. `done` counts the blob's bytes that were read. Every thread
/// has ended when this returns.
///
/// # Errors
/// Those of `work`; the layer cannot be decompressed; its digest is another.
pub fn with<T>(
    blob: &Blob,
    diff_id: &Digest,
    done: &AtomicU64,
    watch: &dyn Watch,
    work: impl FnOnce(&mut Chunks) -> Result<T>,
) -> Result<T> {
    let mut hasher = Hasher::of(diff_id)?;
    let (chunks, receiver) = sync_channel(WAITING);
    let (hash, to_hash) = sync_channel::<Arc<Vec<u8>>>(WAITING);
    let (used, unused) = sync_channel(WAITING + 2);
    std::thread::scope(|scope| {
        let decoding = Decoding {
            blob,
            done,
            watch,
            chunks,
            hash,
            used: unused,
        };
        let counted = Counted::new();
        let decoding = scope.spawn(move || {
            let _counted = counted;
            decoding.run();
        });
        let counted = Counted::new();
        let hashing = scope.spawn(move || {
            let _counted = counted;
            for chunk in to_hash {
                hasher.update(&chunk);
            }
            hasher.finish()
        });
        let mut chunks = Chunks {
            chunks: receiver,
            used,
            current: Arc::default(),
            position: 0,
            ended: false,
        };
        let result = work(&mut chunks).and_then(|value| {
            // What follows the archive's end belongs to the digest.
            loop {
                let here = chunks.fill_buf().map_err(|e| Error::text(told(&e)))?.len();
                if here == 0 {
                    return Ok(value);
                }
                chunks.consume(here);
            }
        });
        // The decoder must not wait for a reader that is gone.
        drop(chunks);
        let joined = decoding.join();
        let found = hashing.join();
        let (Ok(()), Ok(found)) = (joined, found) else {
            return Err(Error::text("a thread ended unexpectedly"));
        };
        let value = result?;
        if found != diff_id.digest() {
            return Err(super::blob::mismatch(
                "the uncompressed layer",
                diff_id,
                &found,
            ));
        }
        Ok(value)
    })
}

/// Reads all of a blob against the digest of what it is decompressed to.
///
/// # Errors
/// It is another, or the blob cannot be decompressed.
pub fn verify(blob: &Blob, diff_id: &Digest, watch: &dyn Watch) -> Result<()> {
    let mut hasher = Hasher::of(diff_id)?;
    let fault = |error: &io::Error| Error::text(format_args!("layer {diff_id}: {}", told(error)));
    let reader = BufReader::with_capacity(CHUNK, blob.reader());
    let mut decoder = decoder(reader, AHEAD).map_err(|e| fault(&e))?;
    let mut buffer = vec![0_u8; CHUNK];
    loop {
        super::go_on(watch)?;
        match decoder.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) => return Err(fault(&error)),
        }
    }
    let found = hasher.finish();
    if found == diff_id.digest() {
        Ok(())
    } else {
        Err(super::blob::mismatch("layer", diff_id, &found))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Quiet, threads};
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        use std::io::Write;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read(bytes: &[u8], diff_id: &Digest) -> Result<Vec<u8>> {
        let blob = Blob::Memory(Arc::from(bytes));
        with(
            &blob,
            diff_id,
            &AtomicU64::new(0),
            &Quiet::default(),
            |chunks| {
                let mut all = Vec::new();
                chunks
                    .read_to_end(&mut all)
                    .map_err(|e| Error::text(told(&e)))?;
                Ok(all)
            },
        )
    }

    #[test]
    fn each_compression() {
        let plain: Vec<u8> = (0..3_000_000_u32).map(|i| (i / 7 % 251) as u8).collect();
        let digest = super::super::blob::sha256(&plain);
        let (first, second) = plain.split_at(1_000_000);
        let mut members = gzip(first);
        members.extend(gzip(second));
        let mut frames = zstd::encode_all(first, 3).unwrap();
        frames.extend(zstd::encode_all(second, 3).unwrap());
        for bytes in [&plain, &gzip(&plain), &members, &frames] {
            assert!(read(bytes, &digest).unwrap() == plain);
        }
        let short = gzip(&plain);
        assert_eq!(
            read(&short[..short.len() / 2], &digest)
                .unwrap_err()
                .to_string(),
            "it is truncated"
        );
        assert!(
            read(&gzip(first), &digest)
                .unwrap_err()
                .to_string()
                .starts_with("the uncompressed layer")
        );
        let mut damaged = gzip(&plain);
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0x55;
        assert!(read(&damaged, &digest).is_err());
        assert!(
            read(b"", &super::super::blob::sha256(b""))
                .unwrap()
                .is_empty()
        );
    }

    /// A frame that is a lie: a window of 2^`log` bytes, and one byte.
    fn frame(log: u32) -> Vec<u8> {
        let window = ((log - 10) << 3) as u8;
        vec![0x28, 0xb5, 0x2f, 0xfd, 0, window, 1 | 1 << 3, 0, 0, b'x']
    }

    /// `x` by xz -9, whose dictionary is of 64 MiB.
    const XZ: [u8; 56] = [
        0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00, 0x00, 0x01, 0x69, 0x22, 0xde, 0x36, 0x02, 0x00, 0x21,
        0x01, 0x1c, 0x00, 0x00, 0x00, 0x10, 0xcf, 0x58, 0xcc, 0x01, 0x00, 0x01, 0x78, 0x0a, 0x00,
        0x00, 0x00, 0x1f, 0x08, 0xea, 0x46, 0x00, 0x01, 0x16, 0x02, 0xd0, 0x61, 0x10, 0xd2, 0x90,
        0x42, 0x99, 0x0d, 0x01, 0x00, 0x00, 0x00, 0x00, 0x01, 0x59, 0x5a,
    ];

    #[test]
    fn memory_of_decoders() {
        let digest = super::super::blob::sha256(b"x");
        assert_eq!(read(&frame(25), &digest).unwrap(), b"x");
        let wanted = "decompressing it takes too much memory; compress it at a lower level";
        for bytes in [&frame(26)[..], &XZ] {
            assert_eq!(read(bytes, &digest).unwrap_err().to_string(), wanted);
        }
        let blob = Blob::Memory(Arc::from(frame(25)));
        let error = verify(&blob, &digest, &Quiet::default()).unwrap_err();
        assert!(error.to_string().ends_with(wanted), "{error}");
        let mut all = Vec::new();
        let mut archive = decoder(XZ.as_slice(), ARCHIVE).unwrap();
        archive.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"x\n");
    }

    #[test]
    fn a_caller_that_stops_leaves_no_thread() {
        let plain = vec![7_u8; 20_000_000];
        let digest = super::super::blob::sha256(&plain);
        let blob = Blob::Memory(Arc::from(plain.as_slice()));
        let before = threads();
        let result: Result<()> = with(
            &blob,
            &digest,
            &AtomicU64::new(0),
            &Quiet::default(),
            |_| Err(Error::text("enough")),
        );
        assert_eq!(result.unwrap_err().to_string(), "enough");
        // Other tests have threads of their own.
        assert!(threads() <= before + 8);
    }
}
