//! Compressing a layer with several threads: blocks of one size are compressed
//! each by itself, so that the bytes do not depend on how many threads there are.
//!
//!     caller ──blocks──▶ workers ──▶ writer (file, digest of the blob)
//!        └─────blocks──▶ hasher (digest of the uncompressed layer)

use std::fs::File;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::{Compress, Compression, Crc, FlushCompress, Status};
use oci_spec::image::Digest;
use sha2::{Digest as _, Sha256};

use super::{Counted, blob};
use crate::error::{Error, Result, io_name};

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// One member (RFC 1952) without a name and a time; all tools read it.
    Gzip,
    /// Frames (RFC 8878), each with its size.
    Zstd,
}

/// Bytes of a block: the more, the smaller the result, and the more memory.
const GZIP_BLOCK: usize = 256 << 10;
const ZSTD_BLOCK: usize = 1 << 20;
/// What a block of gzip may refer to in the one before it.
const WINDOW: usize = 32 << 10;
/// The levels that the tools themselves take by default.
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 3;
/// More threads than that would wait for the files to be read.
const MOST_WORKERS: usize = 6;
/// Magic, deflate, no flags, no time, no extra flags, no system (RFC 1952, 2.3).
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

impl Method {
    /// What a layer's media type ends with.
    pub fn suffix(self) -> &'static str {
        match self {
            Method::Gzip => "+gzip",
            Method::Zstd => "+zstd",
        }
    }

    fn block(self) -> usize {
        match self {
            Method::Gzip => GZIP_BLOCK,
            Method::Zstd => ZSTD_BLOCK,
        }
    }
}

/// A layer that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Digest of the file.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Digest of what went in.
    pub diff_id: Digest,
    /// Its size in bytes.
    pub plain: u64,
}

type Block = Arc<Vec<u8>>;
type Compressed = io::Result<Vec<u8>>;

/// A block for a worker.
struct Job {
    block: Block,
    before: Option<Block>,
    last: bool,
    done: SyncSender<Compressed>,
}

/// Takes the layer's bytes.
#[derive(Debug)]
pub struct Blocks {
    size: usize,
    current: Vec<u8>,
    before: Option<Block>,
    jobs: SyncSender<Job>,
    order: SyncSender<Receiver<Compressed>>,
    hash: SyncSender<Block>,
    keeps: bool,
}

impl Blocks {
    fn submit(&mut self, last: bool) -> io::Result<()> {
        // The reason is told by the thread that ended.
        let gone = || io::Error::from(io::ErrorKind::BrokenPipe);
        let block = Arc::new(std::mem::replace(
            &mut self.current,
            Vec::with_capacity(if last { 0 } else { self.size }),
        ));
        let (done, result) = sync_channel(1);
        let before = self.before.take();
        if self.keeps {
            self.before = Some(block.clone());
        }
        self.hash.send(block.clone()).map_err(|_| gone())?;
        self.order.send(result).map_err(|_| gone())?;
        let job = Job {
            block,
            before,
            last,
            done,
        };
        self.jobs.send(job).map_err(|_| gone())
    }
}

impl Write for Blocks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.current.len() == self.size {
            self.submit(false)?;
        }
        let step = bytes.len().min(self.size - self.current.len());
        self.current.extend_from_slice(&bytes[..step]);
        Ok(step)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Compresses a block to what stands at its place in the file.
struct Worker {
    method: Method,
    zstd: Option<zstd::bulk::Compressor<'static>>,
}

impl Worker {
    fn new(method: Method) -> io::Result<Worker> {
        let zstd = match method {
            Method::Gzip => None,
            Method::Zstd => Some(zstd::bulk::Compressor::new(ZSTD_LEVEL)?),
        };
        Ok(Worker { method, zstd })
    }

    fn compress(&mut self, job: &Job) -> Compressed {
        match (self.method, &mut self.zstd) {
            (Method::Zstd, Some(zstd)) => zstd.compress(&job.block),
            _ => deflated(&job.block, job.before.as_deref(), job.last),
        }
    }
}

/// A block of a deflate stream, which ends at a byte's boundary unless it is the
/// last one.
fn deflated(block: &[u8], before: Option<&Vec<u8>>, last: bool) -> Compressed {
    let fault = |error| io::Error::other(format!("deflate: {error}"));
    let mut deflate = Compress::new(Compression::new(GZIP_LEVEL), false);
    if let Some(before) = before {
        let window = &before[before.len().saturating_sub(WINDOW)..];
        deflate.set_dictionary(window).map_err(fault)?;
    }
    let flush = match last {
        true => FlushCompress::Finish,
        false => FlushCompress::Sync,
    };
    let mut out = Vec::with_capacity(block.len() / 2 + 64);
    loop {
        let read = deflate.total_in() as usize;
        let status = deflate
            .compress_vec(&block[read..], &mut out, flush)
            .map_err(fault)?;
        // Room that is left over says that all was flushed.
        let all = deflate.total_in() as usize == block.len() && out.len() < out.capacity();
        if status == Status::StreamEnd || (!last && all) {
            return Ok(out);
        }
        out.reserve(block.len() / 4 + 64);
    }
}

/// Writes to the file, and hashes what it writes.
struct Output {
    file: File,
    hasher: Sha256,
    size: u64,
}

impl Output {
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        Ok(())
    }

    fn run(&mut self, order: &Receiver<Receiver<Compressed>>) -> io::Result<()> {
        for result in order {
            let gone = |_| io::Error::other("a thread ended unexpectedly");
            self.put(&result.recv().map_err(gone)??)?;
        }
        Ok(())
    }
}

/// The sums of what goes in.
#[derive(Default)]
struct Sums {
    hasher: Sha256,
    crc: Crc,
    size: u64,
}

/// How many threads compress.
fn workers() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get().min(MOST_WORKERS))
}

/// Calls `work` with a writer, and compresses what it writes to `file`, which is
/// called `object`. Every thread has ended when this returns.
///
/// # Errors
/// Those of `work`; the file cannot be written.
pub fn with(
    method: Method,
    file: File,
    object: &str,
    work: impl FnOnce(&mut Blocks) -> Result<()>,
) -> Result<Written> {
    threaded(method, workers(), file, object, work)
}

fn threaded(
    method: Method,
    workers: usize,
    file: File,
    object: &str,
    work: impl FnOnce(&mut Blocks) -> Result<()>,
) -> Result<Written> {
    let fault = |error: &io::Error| Error::new("write", object, io_name(error));
    let mut output = Output {
        file,
        hasher: Sha256::new(),
        size: 0,
    };
    if method == Method::Gzip {
        output.put(&GZIP_HEADER).map_err(|e| fault(&e))?;
    }
    let (jobs, to_do) = sync_channel::<Job>(1);
    let (order, in_order) = sync_channel(workers + 1);
    let (hash, to_hash) = sync_channel::<Block>(2);
    let to_do = Arc::new(Mutex::new(to_do));
    std::thread::scope(|scope| {
        for _ in 0..workers {
            let (counted, to_do) = (Counted::new(), to_do.clone());
            scope.spawn(move || {
                let _counted = counted;
                let mut worker = Worker::new(method);
                loop {
                    let next = to_do.lock().unwrap_or_else(PoisonError::into_inner).recv();
                    let Ok(job) = next else { return };
                    let result = match &mut worker {
                        Ok(worker) => worker.compress(&job),
                        Err(error) => Err(io::Error::other(error.to_string())),
                    };
                    // Nobody waits for it once the writer has failed.
                    let _ = job.done.send(result);
                }
            });
        }
        drop(to_do);
        let counted = Counted::new();
        let writing = scope.spawn(move || {
            let _counted = counted;
            let result = output.run(&in_order);
            (output, result)
        });
        let counted = Counted::new();
        let hashing = scope.spawn(move || {
            let _counted = counted;
            let mut sums = Sums::default();
            for block in to_hash {
                sums.hasher.update(block.as_slice());
                sums.size += block.len() as u64;
                if method == Method::Gzip {
                    sums.crc.update(&block);
                }
            }
            sums
        });
        let mut blocks = Blocks {
            size: method.block(),
            current: Vec::with_capacity(method.block()),
            before: None,
            jobs,
            order,
            hash,
            keeps: method == Method::Gzip,
        };
        let worked = work(&mut blocks);
        let ended = match worked {
            Ok(()) => blocks.submit(true),
            Err(_) => Ok(()),
        };
        // The threads end when nothing can come any more.
        drop(blocks);
        let (Ok((mut output, wrote)), Ok(sums)) = (writing.join(), hashing.join()) else {
            return Err(Error::text("a thread ended unexpectedly"));
        };
        // That the file is full is why `work` could not write.
        wrote.map_err(|e| fault(&e))?;
        worked?;
        ended.map_err(|e| fault(&e))?;
        if method == Method::Gzip {
            let trailer = [
                sums.crc.sum().to_le_bytes(),
                (sums.size as u32).to_le_bytes(),
            ];
            output.put(trailer.as_flattened()).map_err(|e| fault(&e))?;
        }
        Ok(Written {
            digest: blob::sha256_of(output.hasher),
            size: output.size,
            diff_id: blob::sha256_of(sums.hasher),
            plain: sums.size,
        })
    })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek};

    use super::super::{store, stream, threads};
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8 & 0x3f
        };
        (0..length)
            .map(|i| if i / 5000 % 2 == 0 { next() } else { 7 })
            .collect()
    }

    fn compressed(method: Method, workers: usize, plain: &[u8]) -> (Vec<u8>, Written) {
        let mut file = store::unnamed().unwrap();
        let again = file.try_clone().unwrap();
        // In pieces of an odd size, which must not matter.
        let written = threaded(method, workers, again, "it", |blocks| {
            for piece in plain.chunks(70_001 / workers) {
                blocks.write_all(piece).unwrap();
            }
            Ok(())
        });
        let mut bytes = Vec::new();
        file.rewind().unwrap();
        file.read_to_end(&mut bytes).unwrap();
        (bytes, written.unwrap())
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_threads() {
        for method in [Method::Gzip, Method::Zstd] {
            let block = method.block();
            for length in [0, 1, block - 1, block, block + 1, 3 * block + 12_345] {
                let plain = noise(length);
                let (bytes, written) = compressed(method, 1, &plain);
                assert_eq!(
                    compressed(method, 5, &plain),
                    (bytes.clone(), written.clone())
                );
                assert_eq!(written.digest, blob::sha256(&bytes));
                assert_eq!(written.diff_id, blob::sha256(&plain));
                assert_eq!(
                    (written.size, written.plain),
                    (bytes.len() as u64, length as u64)
                );
                let mut read = Vec::new();
                let mut decoder = stream::decoder(bytes.as_slice(), stream::ARCHIVE).unwrap();
                decoder.read_to_end(&mut read).unwrap();
                assert!(read == plain, "{method:?} {length}");
            }
        }
    }

    #[test]
    fn one_member_that_a_simple_reader_reads() {
        let plain = noise(2 * GZIP_BLOCK + 9);
        let (bytes, _) = compressed(Method::Gzip, 2, &plain);
        let mut read = Vec::new();
        let mut decoder = flate2::read::GzDecoder::new(bytes.as_slice());
        decoder.read_to_end(&mut read).unwrap();
        assert!(read == plain);
    }

    #[test]
    fn a_full_disk_is_told_and_ends_all() {
        let Ok(full) = File::options().write(true).open("/dev/full") else {
            // FreeBSD has it, too; other systems need not.
            return;
        };
        let before = threads();
        let result = threaded(Method::Zstd, 3, full, "the layer", |blocks| {
            for _ in 0..100 {
                blocks
                    .write_all(&noise(1 << 20))
                    .map_err(|e| Error::text(format_args!("told wrongly: {e}")))?;
            }
            Ok(())
        });
        assert_eq!(
            result.unwrap_err().to_string(),
            "cannot write the layer: ENOSPC"
        );
        // Other tests have threads of their own.
        assert!(threads() <= before + 16);
    }

    #[test]
    fn the_error_of_the_work_is_kept() {
        let file = store::unnamed().unwrap();
        let result = with(Method::Gzip, file, "it", |_| Err(Error::text("enough")));
        assert_eq!(result.unwrap_err().to_string(), "enough");
    }
}
