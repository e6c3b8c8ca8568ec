//! Blobs: where their bytes are, and whether they are what a digest says.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use oci_spec::image::{Digest, DigestAlgorithm};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::{Watch, go_on};
use crate::error::{Context, Error, Result, io_name};

/// How much is read and hashed at a time.
pub const CHUNK: usize = 256 << 10;
/// The longest manifest, index or configuration that is read.
pub const LONGEST_DOCUMENT: u64 = 4 << 20;

/// The bytes of a blob.
#[derive(Debug, Clone)]
pub enum Blob {
    /// A part of a file.
    File {
        /// The file.
        file: Arc<File>,
        /// Where the blob begins in it.
        start: u64,
        /// Its length.
        length: u64,
    },
    /// Bytes in memory.
    Memory(Arc<[u8]>),
}

impl Blob {
    /// Length in bytes.
    pub fn length(&self) -> u64 {
        match self {
            Blob::File { length, .. } => *length,
            Blob::Memory(bytes) => bytes.len() as u64,
        }
    }

    /// A reader of its own position.
    pub fn reader(&self) -> BlobReader {
        BlobReader {
            blob: self.clone(),
            position: 0,
        }
    }
}

/// Reads a blob.
#[derive(Debug)]
pub struct BlobReader {
    blob: Blob,
    position: u64,
}

impl Read for BlobReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.blob.length() - self.position;
        let most = usize::try_from(left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = match &self.blob {
            Blob::File { file, start, .. } => {
                let read = file.read_at(&mut buffer[..most], start + self.position)?;
                if read == 0 {
                    // The file was longer when it was opened.
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                read
            }
            Blob::Memory(bytes) => {
                let from = self.position as usize;
                buffer[..most].copy_from_slice(&bytes[from..from + most]);
                most
            }
        };
        self.position += read as u64;
        Ok(read)
    }
}

/// A running digest of one of the registered algorithms.
pub enum Hasher {
    /// sha256
    Sha256(Sha256),
    /// sha384
    Sha384(Sha384),
    /// sha512
    Sha512(Sha512),
}

impl Hasher {
    /// The hasher of a digest's algorithm.
    ///
    /// # Errors
    /// The algorithm is not known.
    pub fn of(digest: &Digest) -> Result<Hasher> {
        match digest.algorithm() {
            DigestAlgorithm::Sha256 => Ok(Hasher::Sha256(Sha256::new())),
            DigestAlgorithm::Sha384 => Ok(Hasher::Sha384(Sha384::new())),
            DigestAlgorithm::Sha512 => Ok(Hasher::Sha512(Sha512::new())),
            other => {
                let text = format!("digest {digest}: the algorithm {other} is unknown");
                Err(Error::text(text).hint("sha256 and sha512 are verified"))
            }
        }
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha384(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    /// The digest in hexadecimal, without the algorithm's name.
    pub fn finish(self) -> String {
        match self {
            Hasher::Sha256(hasher) => hex(&hasher.finalize()),
            Hasher::Sha384(hasher) => hex(&hasher.finalize()),
            Hasher::Sha512(hasher) => hex(&hasher.finalize()),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// The sha256 digest of bytes.
pub fn sha256(bytes: &[u8]) -> Digest {
    sha256_of(Sha256::new_with_prefix(bytes))
}

/// The digest of what a hasher was given.
pub fn sha256_of(hasher: Sha256) -> Digest {
    let text = format!("sha256:{}", hex(&hasher.finalize()));
    text.parse().expect("a digest has this form")
}

/// What is said of a digest that is another one.
pub fn mismatch(what: &str, digest: &Digest, found: &str) -> Error {
    let found = format!("{}:{found}", digest.algorithm());
    Error::text(format_args!(
        "{what} {digest} is damaged: its digest is {found}"
    ))
    .hint("fetch or export the image again")
}

/// Reads all of a blob against its size and digest.
///
/// # Errors
/// One of them is another, or reading fails.
pub fn verify(
    what: &str,
    blob: &Blob,
    digest: &Digest,
    size: u64,
    watch: &dyn Watch,
) -> Result<()> {
    check_size(what, blob, digest, size)?;
    let mut hasher = Hasher::of(digest)?;
    let mut reader = blob.reader();
    let mut buffer = vec![0_u8; CHUNK];
    loop {
        go_on(watch)?;
        match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => hasher.update(&buffer[..read]),
            Err(error) => {
                return Err(Error::new(
                    "read",
                    format_args!("{what} {digest}"),
                    io_name(&error),
                ));
            }
        }
    }
    let found = hasher.finish();
    if found == digest.digest() {
        Ok(())
    } else {
        Err(mismatch(what, digest, &found))
    }
}

fn check_size(what: &str, blob: &Blob, digest: &Digest, size: u64) -> Result<()> {
    if blob.length() == size {
        return Ok(());
    }
    let has = blob.length();
    Err(Error::text(format_args!(
        "{what} {digest} is damaged: it has {has} bytes in place of {size}"
    ))
    .hint("fetch or export the image again"))
}

/// Reads a document, which is small, against its size and digest.
///
/// # Errors
/// As [`verify`]; it is too long to be one.
pub fn document(what: &str, blob: &Blob, digest: &Digest, size: u64) -> Result<Vec<u8>> {
    check_size(what, blob, digest, size)?;
    let bytes = whole(what, blob)?;
    let mut hasher = Hasher::of(digest)?;
    hasher.update(&bytes);
    let found = hasher.finish();
    if found == digest.digest() {
        Ok(bytes)
    } else {
        Err(mismatch(what, digest, &found))
    }
}

/// Reads a document of which no digest is known.
///
/// # Errors
/// It is too long to be one, or reading fails.
pub fn whole(what: &str, blob: &Blob) -> Result<Vec<u8>> {
    if blob.length() > LONGEST_DOCUMENT {
        let limit = LONGEST_DOCUMENT >> 20;
        return Err(Error::text(format_args!(
            "{what} is longer than {limit} MiB, which none is"
        )));
    }
    let mut bytes = Vec::new();
    blob.reader().read_to_end(&mut bytes).doing("read", what)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::super::Quiet;
    use super::*;

    #[test]
    fn what_is_wrong_is_said() {
        let blob = Blob::Memory(Arc::from(&b"abc"[..]));
        let right: Digest =
            "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
                .parse()
                .unwrap();
        assert_eq!(sha256(b"abc"), right);
        let quiet = Quiet::default();
        verify("layer", &blob, &right, 3, &quiet).unwrap();
        let text = verify("layer", &blob, &right, 4, &quiet)
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("is damaged: it has 3 bytes in place of 4"),
            "{text}"
        );
        let other = Blob::Memory(Arc::from(&b"abd"[..]));
        let text = verify("layer", &other, &right, 3, &quiet)
            .unwrap_err()
            .to_string();
        assert!(
            text.contains("is damaged: its digest is sha256:a52d159f"),
            "{text}"
        );
        let long: Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
        assert!(
            verify("layer", &blob, &long, 3, &quiet)
                .unwrap_err()
                .to_string()
                .contains("sha512:ddaf35a1")
        );
        let unknown: Digest = "md5:abc".parse().unwrap();
        let text = document("manifest", &blob, &unknown, 3)
            .unwrap_err()
            .to_string();
        assert_eq!(
            text,
            "digest md5:abc: the algorithm md5 is unknown; sha256 and sha512 are verified"
        );
        quiet.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(
            verify("layer", &blob, &right, 3, &quiet)
                .unwrap_err()
                .to_string()
                .starts_with("interrupted")
        );
    }
}
