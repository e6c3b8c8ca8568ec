//! Reading tar archives: ustar, pax, GNU (long names, both forms of sparse
//! files), as images and distribution sets have them.
//!
//! The tar crate reads headers here and no more: its iterator keeps extension
//! headers of any size in memory, and image layers come from anywhere.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use tar::{EntryType, Header};

use crate::error::{Error, Result};

/// Size of a record.
const BLOCK: usize = 512;
/// How long the extension headers of an entry are together. Attributes of a file
/// are 64 KiB each on Linux; names are far below.
const LONGEST_EXTENSION: u64 = 1 << 20;
/// The longest name, as PATH_MAX.
pub const LONGEST_NAME: usize = 4096;
/// The most pieces of a sparse file.
const MOST_PIECES: usize = 1 << 18;

/// A stream that can pass over bytes.
pub trait Stream: BufRead {
    /// Passes over `count` bytes.
    ///
    /// # Errors
    /// Those of reading; the stream ends before.
    fn pass(&mut self, mut count: u64) -> io::Result<()> {
        while count > 0 {
            let here = self.fill_buf()?.len();
            if here == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let step = usize::try_from(count).unwrap_or(usize::MAX).min(here);
            self.consume(step);
            count -= step as u64;
        }
        Ok(())
    }
}

impl Stream for &[u8] {}
impl Stream for Box<dyn BufRead + '_> {}

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// Another name of a file.
    HardLink,
    /// A symbolic link.
    Symlink,
    /// A character device.
    Character,
    /// A block device.
    Block,
    /// A directory.
    Directory,
    /// A named pipe.
    Fifo,
}

/// A point in time: seconds since 1970 and nanoseconds, counted upwards.
pub type Time = (i64, u32);

/// The header of an entry, extensions applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The name as it stands in the archive.
    pub path: Vec<u8>,
    /// Target of a symbolic link, or name of the file that a hard link is to.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Permission bits, with set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size of a regular file in bytes, holes included.
    pub size: u64,
    /// Time of last change.
    pub mtime: Time,
    /// Time of last access, where the archive has one.
    pub atime: Option<Time>,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    /// Extended attributes, sorted by name, as `user.x`.
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// FreeBSD's file flags as text, as `schg,nodump` (SCHILY.fflags).
    pub flags: Vec<u8>,
    /// Offsets and lengths of the pieces of a sparse file that the archive has.
    pub pieces: Option<Vec<(u64, u64)>>,
}

/// Reads an archive entry by entry.
#[derive(Debug)]
pub struct Reader<R> {
    inner: R,
    /// Bytes of the current entry's data that were not read.
    left: u64,
    /// Bytes of padding behind them.
    padding: u64,
    /// Bytes read so far.
    position: u64,
    ended: bool,
}

/// What extension headers say of the entry that follows them.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u32>,
    gid: Option<u32>,
    mtime: Option<Time>,
    atime: Option<Time>,
    /// By name, so that any number of them is looked up in no time.
    attributes: BTreeMap<Vec<u8>, Vec<u8>>,
    encoded: BTreeMap<Vec<u8>, Vec<u8>>,
    flags: Vec<u8>,
    sparse: Sparse,
}

/// GNU's sparse files in pax headers, versions 0.0, 0.1 and 1.0.
#[derive(Default)]
struct Sparse {
    major: u64,
    name: Option<Vec<u8>>,
    size: Option<u64>,
    pieces: Vec<(u64, u64)>,
    offset: Option<u64>,
    any: bool,
}

fn fault(text: impl std::fmt::Display) -> Error {
    Error::text(text)
}

fn read_fault(error: &io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => fault("the archive is truncated"),
        _ => fault(super::stream::told(error)),
    }
}

impl<R: Stream> Reader<R> {
    /// Begins to read.
    pub fn new(inner: R) -> Self {
        Reader {
            inner,
            left: 0,
            padding: 0,
            position: 0,
            ended: false,
        }
    }

    /// Position in the archive, in bytes: after [`Reader::entry`] that of the
    /// entry's data.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// The next entry; None at the archive's end. Data of the entry before that
    /// was not read is passed over.
    ///
    /// # Errors
    /// The archive is damaged, or has what is not supported.
    pub fn entry(&mut self) -> Result<Option<Entry>> {
        if self.ended {
            return Ok(None);
        }
        let mut extensions = Extensions::default();
        let mut extended = false;
        let mut headers = 0;
        let mut room = LONGEST_EXTENSION;
        loop {
            let rest = self.left + self.padding;
            self.inner.pass(rest).map_err(|e| read_fault(&e))?;
            self.position += rest;
            (self.left, self.padding) = (0, 0);
            let Some(header) = self.header()? else {
                self.ended = true;
                if extended {
                    return Err(fault("the archive ends after an extension header"));
                }
                return Ok(None);
            };
            // Extension headers without an entry would keep us here for ever.
            headers += 1;
            if headers > 64 {
                return Err(fault("more than 64 extension headers before an entry"));
            }
            let size = unsigned(&header.as_old().size, "size")?;
            self.set_left(size)?;
            match header.as_old().linkflag[0] {
                b'L' => extensions.path = Some(terminated(self.extension(&mut room)?)),
                b'K' => extensions.link = Some(terminated(self.extension(&mut room)?)),
                b'x' | b'X' => {
                    let records = self.extension(&mut room)?;
                    extensions.read(&records)?;
                }
                // Global headers are ignored by all that read layers; volume
                // labels name no file.
                b'g' | b'V' => continue,
                _ => return self.finish(&header, extensions).map(Some),
            }
            extended = true;
        }
    }

    fn set_left(&mut self, size: u64) -> Result<()> {
        if size > i64::MAX as u64 - 2 * BLOCK as u64 {
            return Err(fault("an entry's size is out of range"));
        }
        self.left = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    /// The next header block; None at the end.
    fn header(&mut self) -> Result<Option<Header>> {
        let mut block = [0_u8; BLOCK];
        if !self.block(&mut block)? {
            return Ok(None);
        }
        if block.iter().all(|byte| *byte == 0) {
            // The end is two such blocks; some writers leave one.
            if self.block(&mut block)? && block.iter().any(|byte| *byte != 0) {
                return Err(fault("a block of zeros stands between entries"));
            }
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum: u32 = block.iter().enumerate().fold(0, |sum, (i, byte)| {
            sum + u32::from(if (148..156).contains(&i) { b' ' } else { *byte })
        });
        if number(&header.as_old().cksum) != Some(i64::from(sum)) {
            return Err(fault(
                "a header's checksum is wrong, or this is not a tar archive",
            ));
        }
        Ok(Some(header))
    }

    /// Reads a block; false at the end of the stream.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool> {
        let mut filled = 0;
        while filled < BLOCK {
            let here = self.inner.fill_buf().map_err(|e| read_fault(&e))?;
            if here.is_empty() {
                if filled == 0 {
                    return Ok(false);
                }
                return Err(fault("the archive is truncated"));
            }
            let step = here.len().min(BLOCK - filled);
            block[filled..filled + step].copy_from_slice(&here[..step]);
            self.inner.consume(step);
            filled += step;
        }
        self.position += BLOCK as u64;
        Ok(true)
    }

    /// The data of an extension header, which is taken off the room for them.
    fn extension(&mut self, room: &mut u64) -> Result<Vec<u8>> {
        let rest = room.checked_sub(self.left);
        *room =
            rest.ok_or_else(|| fault("the extension headers of an entry are longer than 1 MiB"))?;
        let mut all = Vec::new();
        loop {
            let here = self.data()?;
            if here.is_empty() {
                return Ok(all);
            }
            let length = here.len();
            all.extend_from_slice(here);
            self.consume(length);
        }
    }

    /// Data of the current entry that is at hand; empty when all was read.
    ///
    /// # Errors
    /// Those of reading; the archive is truncated.
    pub fn data(&mut self) -> Result<&[u8]> {
        if self.left == 0 {
            return Ok(&[]);
        }
        let here = self.inner.fill_buf().map_err(|e| read_fault(&e))?;
        if here.is_empty() {
            return Err(fault("the archive is truncated"));
        }
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        Ok(&here[..here.len().min(most)])
    }

    /// Takes bytes off the current entry's data.
    pub fn consume(&mut self, count: usize) {
        self.inner.consume(count);
        self.left -= count as u64;
        self.position += count as u64;
    }

    fn finish(&mut self, header: &Header, mut ext: Extensions) -> Result<Entry> {
        let old = header.as_old();
        let kind = match header.entry_type() {
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
            EntryType::Link => Kind::HardLink,
            EntryType::Symlink => Kind::Symlink,
            EntryType::Char => Kind::Character,
            EntryType::Block => Kind::Block,
            EntryType::Directory => Kind::Directory,
            EntryType::Fifo => Kind::Fifo,
            other => {
                let byte = char::from(other.as_byte()).escape_default();
                return Err(fault(format_args!("an entry of unknown type '{byte}'")));
            }
        };
        let path = ext
            .sparse
            .name
            .take()
            .or(ext.path)
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let link = ext
            .link
            .unwrap_or_else(|| header.link_name_bytes().unwrap_or_default().into_owned());
        for name in [&path, &link] {
            if name.len() > LONGEST_NAME {
                return Err(fault(format_args!(
                    "a name is longer than {LONGEST_NAME} bytes"
                )));
            }
            if name.contains(&0) {
                return Err(fault(format_args!(
                    "entry {}: the name has a NUL byte",
                    shown(name)
                )));
            }
        }
        let named = |error: Error| fault(format_args!("entry {}: {error}", shown(&path)));
        // Before ustar, a directory was a file whose name ends with a slash.
        let kind = match kind {
            Kind::File if old.linkflag[0] == 0 && path.ends_with(b"/") => Kind::Directory,
            kind => kind,
        };
        if let Some(size) = ext.size {
            self.set_left(size)?;
        }
        // Only files have data. The size of anything else is without meaning to
        // all that read layers, so no data follows.
        if kind != Kind::File {
            self.set_left(0)?;
        }
        let mut size = self.left;
        let mut pieces = None;
        if header.entry_type() == EntryType::GNUSparse {
            let (real, found) = self.gnu_sparse(header).map_err(named)?;
            (size, pieces) = (real, Some(found));
        } else if ext.sparse.any && kind == Kind::File {
            let mut found = std::mem::take(&mut ext.sparse.pieces);
            if ext.sparse.major == 1 {
                found = self.sparse_map().map_err(named)?;
            }
            size = ext
                .sparse
                .size
                .ok_or_else(|| named(fault("a sparse file without a size")))?;
            pieces = Some(found);
        }
        if let Some(pieces) = &pieces {
            self.check_pieces(size, pieces).map_err(named)?;
        }
        let block = header.as_bytes();
        let device = match kind {
            Kind::Character | Kind::Block if &block[257..262] == b"ustar" => {
                let field = |at: usize| {
                    let value = unsigned(&block[at..at + 8], "device").map_err(named)?;
                    u32::try_from(value).map_err(|_| named(fault("its device is out of range")))
                };
                (field(329)?, field(337)?)
            }
            _ => (0, 0),
        };
        for (name, value) in ext.encoded {
            ext.attributes.entry(name).or_insert(value);
        }
        let id = |known: Option<u32>, field: &[u8], what: &str| match known {
            Some(id) => Ok(id),
            None => {
                let id = unsigned(field, what).map_err(named)?;
                u32::try_from(id)
                    .map_err(|_| named(fault(format_args!("{what} {id} is out of range"))))
            }
        };
        let mtime = match ext.mtime {
            Some(mtime) => mtime,
            None => (
                number(&old.mtime).ok_or_else(|| named(fault("its time is not a number")))?,
                0,
            ),
        };
        Ok(Entry {
            kind,
            mode: (unsigned(&old.mode, "mode").map_err(named)? & 0o7777) as u32,
            uid: id(ext.uid, &old.uid, "uid")?,
            gid: id(ext.gid, &old.gid, "gid")?,
            size: if kind == Kind::File { size } else { 0 },
            mtime,
            atime: ext.atime,
            device,
            attributes: ext.attributes.into_iter().collect(),
            flags: ext.flags,
            pieces,
            link,
            path,
        })
    }

    /// The map of an old GNU sparse header and the blocks that follow it.
    fn gnu_sparse(&mut self, header: &Header) -> Result<(u64, Vec<(u64, u64)>)> {
        let wrong = || fault("its sparse map is damaged");
        let gnu = header.as_gnu().ok_or_else(wrong)?;
        let mut pieces = Vec::new();
        let mut take = |list: &[tar::GnuSparseHeader]| -> Result<()> {
            for piece in list {
                if piece.offset[0] == 0 || piece.numbytes[0] == 0 {
                    continue;
                }
                if pieces.len() == MOST_PIECES {
                    return Err(fault("it has too many holes"));
                }
                pieces.push((
                    unsigned(&piece.offset, "offset")?,
                    unsigned(&piece.numbytes, "length")?,
                ));
            }
            Ok(())
        };
        take(&gnu.sparse)?;
        let mut more = gnu.isextended[0] != 0;
        let data = self.left;
        while more {
            let mut extended = tar::GnuExtSparseHeader::new();
            let mut block = [0_u8; BLOCK];
            if !self.block(&mut block)? {
                return Err(fault("the archive is truncated"));
            }
            extended.as_mut_bytes().copy_from_slice(&block);
            take(extended.sparse())?;
            more = extended.isextended[0] != 0;
        }
        // The blocks are not part of the data whose size the header has.
        self.set_left(data)?;
        Ok((unsigned(&gnu.realsize, "size")?, pieces))
    }

    /// The map at the beginning of the data (GNU sparse format 1.0).
    fn sparse_map(&mut self) -> Result<Vec<(u64, u64)>> {
        let wrong = || fault("its sparse map is damaged");
        let mut read = 0_u64;
        let mut next = |reader: &mut Self| -> Result<u64> {
            let mut value = 0_u64;
            let mut digits = 0;
            loop {
                let byte = *reader.data()?.first().ok_or_else(wrong)?;
                reader.consume(1);
                read += 1;
                match byte {
                    b'0'..=b'9' if digits < 20 => {
                        let digit = u64::from(byte - b'0');
                        value = value
                            .checked_mul(10)
                            .and_then(|v| v.checked_add(digit))
                            .ok_or_else(wrong)?;
                        digits += 1;
                    }
                    b'\n' if digits > 0 => return Ok(value),
                    _ => return Err(wrong()),
                }
            }
        };
        let count = next(self)?;
        if count > MOST_PIECES as u64 {
            return Err(fault("it has too many holes"));
        }
        let mut pieces = Vec::new();
        for _ in 0..count {
            pieces.push((next(self)?, next(self)?));
        }
        let rest = read.next_multiple_of(BLOCK as u64) - read;
        if rest > self.left {
            return Err(wrong());
        }
        for _ in 0..rest {
            self.data()?;
            self.consume(1);
        }
        Ok(pieces)
    }

    /// Pieces stand in order, do not overlap, lie in the file, and are the data.
    fn check_pieces(&self, size: u64, pieces: &[(u64, u64)]) -> Result<()> {
        let mut end = 0;
        let mut sum = 0;
        for (offset, length) in pieces {
            let after = offset.checked_add(*length);
            match after {
                Some(after) if *offset >= end && after <= size => end = after,
                _ => return Err(fault("its sparse map is damaged")),
            }
            sum += length;
        }
        if sum != self.left || size > i64::MAX as u64 {
            return Err(fault("its sparse map is damaged"));
        }
        Ok(())
    }
}

impl Extensions {
    /// Reads the records of a pax header: `LENGTH KEY=VALUE\n` (pax(1)).
    fn read(&mut self, mut records: &[u8]) -> Result<()> {
        let wrong = || fault("a pax header is damaged");
        while !records.is_empty() {
            let space = records
                .iter()
                .take(12)
                .position(|byte| *byte == b' ')
                .ok_or_else(wrong)?;
            let length = decimal(&records[..space]).ok_or_else(wrong)?;
            let length = usize::try_from(length).map_err(|_| wrong())?;
            if length <= space + 1 || length > records.len() || records[length - 1] != b'\n' {
                return Err(wrong());
            }
            let record = &records[space + 1..length - 1];
            records = &records[length..];
            let equals = record
                .iter()
                .position(|byte| *byte == b'=')
                .ok_or_else(wrong)?;
            self.record(&record[..equals], &record[equals + 1..])?;
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let wrong = || {
            let key = String::from_utf8_lossy(key);
            fault(format_args!("a pax header's {key} is damaged"))
        };
        let number = || decimal(value).ok_or_else(wrong);
        let id = || number().and_then(|id| u32::try_from(id).map_err(|_| wrong()));
        match key {
            b"path" => self.path = Some(value.to_vec()).filter(|v| !v.is_empty()),
            b"linkpath" => self.link = Some(value.to_vec()).filter(|v| !v.is_empty()),
            b"size" => self.size = Some(number()?),
            b"uid" => self.uid = Some(id()?),
            b"gid" => self.gid = Some(id()?),
            b"mtime" => self.mtime = Some(time(value).ok_or_else(wrong)?),
            b"atime" => self.atime = Some(time(value).ok_or_else(wrong)?),
            b"SCHILY.fflags" => self.flags = value.to_vec(),
            b"GNU.sparse.major" => {
                self.sparse.major = number()?;
                self.sparse.any = true;
            }
            b"GNU.sparse.name" => self.sparse.name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => {
                self.sparse.size = Some(number()?);
                self.sparse.any = true;
            }
            b"GNU.sparse.offset" => self.sparse.offset = Some(number()?),
            b"GNU.sparse.numbytes" => {
                let offset = self.sparse.offset.take().ok_or_else(wrong)?;
                self.sparse.pieces.push((offset, number()?));
                self.sparse.any = true;
            }
            b"GNU.sparse.map" => {
                let numbers: Option<Vec<u64>> =
                    value.split(|byte| *byte == b',').map(decimal).collect();
                let numbers = numbers.filter(|n| n.len() % 2 == 0).ok_or_else(wrong)?;
                self.sparse.pieces = numbers.chunks(2).map(|pair| (pair[0], pair[1])).collect();
                self.sparse.any = true;
            }
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.attributes.insert(name.to_vec(), value.to_vec());
                } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                    let name = percent_decoded(name).ok_or_else(wrong)?;
                    let value = base64_decoded(value).ok_or_else(wrong)?;
                    self.encoded.insert(name, value);
                }
            }
        }
        Ok(())
    }
}

/// A name as it is shown in a message: quoted, with escapes.
pub fn shown(name: &[u8]) -> String {
    format!("{:?}", String::from_utf8_lossy(name))
}

/// A GNU long name, which ends with a NUL.
fn terminated(mut name: Vec<u8>) -> Vec<u8> {
    if let Some(end) = name.iter().position(|byte| *byte == 0) {
        name.truncate(end);
    }
    name
}

/// A number in a header: octal digits, or GNU's two's complement.
fn number(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        // The first bit marks the form, the second one is the sign.
        let negative = field[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        for (i, byte) in field.iter().enumerate() {
            let byte = match i {
                0 if negative => *byte,
                0 => byte & 0x7f,
                _ => *byte,
            };
            value = (value << 8) | i128::from(byte);
        }
        return i64::try_from(value).ok();
    }
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = text.trim_ascii();
    let mut value = 0_i64;
    for byte in text {
        if !(b'0'..=b'7').contains(byte) {
            return None;
        }
        value = value.checked_mul(8)? + i64::from(byte - b'0');
    }
    Some(value)
}

fn unsigned(field: &[u8], what: &str) -> Result<u64> {
    let value = number(field).and_then(|value| u64::try_from(value).ok());
    value.ok_or_else(|| fault(format_args!("a header's {what} is not a number")))
}

fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    text.iter().try_fold(0_u64, |value, byte| match byte {
        b'0'..=b'9' => value.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// Seconds with a fraction, perhaps negative, as pax has times.
fn time(text: &[u8]) -> Option<Time> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |byte| *byte == b'.');
    let seconds = i64::try_from(decimal(parts.next()?)?).ok()?;
    let mut nanoseconds = 0_u32;
    let mut unit = 100_000_000;
    for byte in parts.next().unwrap_or_default() {
        if !byte.is_ascii_digit() {
            return None;
        }
        nanoseconds += u32::from(byte - b'0') * unit;
        unit /= 10;
    }
    match (negative, nanoseconds) {
        (false, _) => Some((seconds, nanoseconds)),
        (true, 0) => Some((-seconds, 0)),
        (true, _) => Some((-seconds - 1, 1_000_000_000 - nanoseconds)),
    }
}

fn percent_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        if *byte == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            decoded.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            decoded.push(*byte);
            rest = after;
        }
    }
    Some(decoded)
}

fn base64_decoded(text: &[u8]) -> Option<Vec<u8>> {
    let mut decoded = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' | b'\n' => continue,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_in_each_form() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   12 \0"), Some(0o12));
        assert_eq!(number(&[0; 12]), Some(0));
        assert_eq!(number(b"12x"), None);
        assert_eq!(number(&[0xff; 12]), Some(-1));
        assert_eq!(number(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]), Some(256));
        let mut huge = [0xff; 12];
        huge[0] = 0xbf;
        assert_eq!(number(&huge), None);
    }

    #[test]
    fn times_count_upwards() {
        assert_eq!(time(b"12"), Some((12, 0)));
        assert_eq!(time(b"12.5"), Some((12, 500_000_000)));
        assert_eq!(time(b"12.0000000019"), Some((12, 1)));
        assert_eq!(time(b"-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time(b"1.x"), None);
        assert_eq!(time(b""), None);
    }

    #[test]
    fn pax_records_are_checked() {
        let read = |text: &[u8]| Extensions::default().read(text).is_ok();
        assert!(read(b"12 path=abc\n"));
        for wrong in [
            &b"12 path=ab\n"[..],
            b"99 path=abc\n",
            b"0 path=a\n",
            b"x path=a\n",
            b"7 path\n",
            b"12 size=abc\n",
        ] {
            assert!(!read(wrong), "{}", shown(wrong));
        }
    }

    #[test]
    fn libarchive_attributes() {
        assert_eq!(base64_decoded(b"aGVsbG8="), Some(b"hello".to_vec()));
        assert_eq!(percent_decoded(b"user.a%20b"), Some(b"user.a b".to_vec()));
        assert_eq!(percent_decoded(b"user.%2"), None);
    }
}
