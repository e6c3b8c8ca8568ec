//! Image layouts from fuzzed bytes. Blobs are found by their digests, which no
//! mutation hits: the input is a list of documents, and `@N` in a document
//! stands for the digest of the one before it by N, `%N` for its size.

use std::collections::HashMap;
use std::sync::Arc;

use crate::image::blob;
use crate::image::store::Store;

/// Between two documents.
const END: u8 = 0x1e;

/// The files of a layout: each document is a blob, and the last one the file
/// that lists the images.
pub fn store(input: &[u8]) -> Store {
    let mut files: HashMap<String, Arc<[u8]>> = HashMap::new();
    let mut blobs: Vec<(String, usize)> = Vec::new();
    let (list, input) = match input.split_first() {
        Some((b'd', rest)) => ("manifest.json", rest),
        Some((_, rest)) => ("index.json", rest),
        None => ("index.json", input),
    };
    let mut last = Vec::new();
    for document in input.split(|byte| *byte == END).take(16) {
        let mut text = Vec::with_capacity(document.len() + 256);
        let mut bytes = document.iter();
        while let Some(byte) = bytes.next() {
            let back = bytes.as_slice().first().filter(|b| b.is_ascii_digit());
            let back = back.and_then(|b| blobs.len().checked_sub(usize::from(b - b'0') + 1));
            match (byte, back) {
                (b'@', Some(at)) => text.extend_from_slice(blobs[at].0.as_bytes()),
                (b'%', Some(at)) => text.extend_from_slice(blobs[at].1.to_string().as_bytes()),
                _ => {
                    text.push(*byte);
                    continue;
                }
            }
            bytes.next();
        }
        let digest = blob::sha256(&text);
        files.insert(
            format!("blobs/sha256/{}", digest.digest()),
            Arc::from(text.as_slice()),
        );
        blobs.push((digest.to_string(), text.len()));
        last = text;
    }
    files.insert(list.into(), Arc::from(last.as_slice()));
    Store::Memory(files)
}
