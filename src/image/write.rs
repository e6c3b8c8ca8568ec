//! Writing tar archives: ustar headers, with pax records where a value does not
//! fit. The same entries give the same bytes.

use std::io::{self, Write};

use super::archive::{Kind, Time};
use super::flags;
use super::listing::Node;

/// Size of a record.
const BLOCK: usize = 512;

/// Writes an archive entry by entry.
#[derive(Debug)]
pub struct Writer<W> {
    inner: W,
    /// Bytes that are still due of the present entry, padding excluded.
    due: u64,
    padding: usize,
}

impl<W: Write> Writer<W> {
    /// Begins to write.
    pub fn new(inner: W) -> Writer<W> {
        Writer {
            inner,
            due: 0,
            padding: 0,
        }
    }

    /// Writes the header of an entry. `link` is the path of the file that a hard
    /// link is to. Data of `node.size` bytes has to follow for other files.
    ///
    /// # Errors
    /// Those of writing.
    pub fn header(&mut self, path: &[u8], node: &Node, link: Option<&[u8]>) -> io::Result<()> {
        let kind = if link.is_some() {
            Kind::HardLink
        } else {
            node.kind
        };
        let more = node.more();
        let target = link.unwrap_or(&more.link);
        let size = if kind == Kind::File { node.size } else { 0 };
        let mut records = Vec::new();
        let mut header = tar::Header::new_ustar();
        let fields = header.as_ustar_mut().expect("it was made as one");
        if !put_path(fields, path) {
            record(&mut records, b"path", path);
        }
        if target.len() <= fields.linkname.len() {
            fields.linkname[..target.len()].copy_from_slice(target);
        } else {
            record(&mut records, b"linkpath", target);
        }
        octal(&mut fields.mode, u64::from(node.mode));
        if !octal(&mut fields.uid, u64::from(node.uid)) {
            record(&mut records, b"uid", node.uid.to_string().as_bytes());
        }
        if !octal(&mut fields.gid, u64::from(node.gid)) {
            record(&mut records, b"gid", node.gid.to_string().as_bytes());
        }
        if !octal(&mut fields.size, size) {
            record(&mut records, b"size", size.to_string().as_bytes());
        }
        let (seconds, nanoseconds) = node.mtime;
        let fits = octal(&mut fields.mtime, u64::try_from(seconds).unwrap_or(0));
        if !fits || seconds < 0 || nanoseconds != 0 {
            record(&mut records, b"mtime", decimal(node.mtime).as_bytes());
        }
        if matches!(kind, Kind::Character | Kind::Block) {
            for (field, number) in [
                (&mut fields.dev_major, more.device.0),
                (&mut fields.dev_minor, more.device.1),
            ] {
                if !octal(field, u64::from(number)) {
                    // GNU's form, which all read; pax has none for devices.
                    *field = [0; 8];
                    field[0] = 0x80;
                    field[4..].copy_from_slice(&number.to_be_bytes());
                }
            }
        }
        fields.typeflag = [match kind {
            Kind::File => b'0',
            Kind::HardLink => b'1',
            Kind::Symlink => b'2',
            Kind::Character => b'3',
            Kind::Block => b'4',
            Kind::Directory => b'5',
            Kind::Fifo => b'6',
        }];
        // A hard link has the attributes of what it is to.
        if kind != Kind::HardLink {
            for (name, value) in &more.attributes {
                record(
                    &mut records,
                    &[b"SCHILY.xattr.", name.as_slice()].concat(),
                    value,
                );
            }
            if node.flags != 0 {
                let text = flags::text(node.flags);
                record(&mut records, b"SCHILY.fflags", text.as_bytes());
            }
        }
        header.set_cksum();
        if !records.is_empty() {
            self.extension(&records)?;
        }
        self.begin(header.as_bytes(), size)
    }

    /// An entry that hides a name of the layers below.
    ///
    /// # Errors
    /// Those of writing.
    pub fn whiteout(&mut self, path: &[u8], mtime: Time) -> io::Result<()> {
        self.header(
            path,
            &Node {
                mode: 0o644,
                mtime,
                ..Node::default()
            },
            None,
        )
    }

    fn extension(&mut self, records: &[u8]) -> io::Result<()> {
        let mut header = tar::Header::new_ustar();
        let fields = header.as_ustar_mut().expect("it was made as one");
        put_path(fields, b"PaxHeaders.0/entry");
        octal(&mut fields.mode, 0o644);
        octal(&mut fields.uid, 0);
        octal(&mut fields.gid, 0);
        octal(&mut fields.mtime, 0);
        octal(&mut fields.size, records.len() as u64);
        fields.typeflag = [b'x'];
        header.set_cksum();
        self.begin(header.as_bytes(), records.len() as u64)?;
        self.data(records)
    }

    fn begin(&mut self, header: &[u8], size: u64) -> io::Result<()> {
        self.pad()?;
        self.inner.write_all(header)?;
        self.due = size;
        self.padding = (size.next_multiple_of(BLOCK as u64) - size) as usize;
        Ok(())
    }

    /// Writes data of the present entry.
    ///
    /// # Errors
    /// Those of writing; more than the header says.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.due = self
            .due
            .checked_sub(bytes.len() as u64)
            .ok_or_else(|| io::Error::other("it grew"))?;
        self.inner.write_all(bytes)
    }

    fn pad(&mut self) -> io::Result<()> {
        if self.due != 0 {
            return Err(io::Error::other("it shrank"));
        }
        self.inner.write_all(&[0; BLOCK][..self.padding])?;
        self.padding = 0;
        Ok(())
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Those of writing; data is missing.
    pub fn finish(mut self) -> io::Result<W> {
        self.pad()?;
        self.inner.write_all(&[0; 2 * BLOCK])?;
        Ok(self.inner)
    }
}

/// Puts a path into a header, split at a slash if it must be. Bytes that are not
/// ASCII mean what they say in a pax record only.
fn put_path(fields: &mut tar::UstarHeader, path: &[u8]) -> bool {
    if !path.is_ascii() {
        return false;
    }
    if path.len() <= fields.name.len() {
        fields.name[..path.len()].copy_from_slice(path);
        return true;
    }
    for at in path
        .iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(at, _)| at)
    {
        let (prefix, name) = (&path[..at], &path[at + 1..]);
        if (1..=fields.prefix.len()).contains(&prefix.len())
            && (1..=fields.name.len()).contains(&name.len())
        {
            fields.prefix[..prefix.len()].copy_from_slice(prefix);
            fields.name[..name.len()].copy_from_slice(name);
            return true;
        }
    }
    false
}

/// Octal digits with a NUL behind them; false, and zeros, if it does not fit.
fn octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    let fits = value < 1 << (3 * digits);
    let text = format!("{:0digits$o}", if fits { value } else { 0 });
    field[..digits].copy_from_slice(text.as_bytes());
    field[digits] = 0;
    fits
}

/// Adds `LENGTH KEY=VALUE\n`, whose length counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    records.extend_from_slice(length.to_string().as_bytes());
    for part in [b" ", key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

/// A time as pax has it, without zeros at the end.
fn decimal((seconds, nanoseconds): Time) -> String {
    // Nanoseconds count upwards; the digits of a negative number do not.
    let (sign, seconds, nanoseconds) = match (seconds, nanoseconds) {
        (0.., _) => ("", seconds, nanoseconds),
        (_, 0) => ("-", -seconds, 0),
        _ => ("-", -(seconds + 1), 1_000_000_000 - nanoseconds),
    };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::super::archive::Reader;
    use super::super::listing::More;
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let nodes = [
            (
                b"a".to_vec(),
                Node {
                    mode: 0o4755,
                    size: 3,
                    mtime: (-2, 750_000_000),
                    ..Node::default()
                },
            ),
            (
                "ü".repeat(300).into_bytes(),
                Node {
                    kind: Kind::Symlink,
                    uid: 3_000_000,
                    gid: u32::MAX - 1,
                    mtime: (1, 10),
                    ..Node::default()
                }
                .with(More {
                    link: b"x".repeat(150),
                    ..More::NONE
                }),
            ),
            (
                [b"d/".repeat(60), b"name".to_vec()].concat(),
                Node {
                    kind: Kind::Character,
                    flags: flags::parse(b"schg"),
                    ..Node::default()
                }
                .with(More {
                    device: (1, 0xff_ffff),
                    attributes: vec![(b"user.a".to_vec(), b"b\n=\0".to_vec())],
                    ..More::NONE
                }),
            ),
        ];
        let mut writer = Writer::new(Vec::new());
        for (path, node) in &nodes {
            writer.header(path, node, None).unwrap();
            if node.kind == Kind::File {
                writer.data(b"abc").unwrap();
            }
        }
        let bytes = writer.finish().unwrap();
        let mut reader = Reader::new(bytes.as_slice());
        for (path, node) in &nodes {
            let entry = reader.entry().unwrap().unwrap();
            assert_eq!(entry.path, *path);
            assert_eq!(
                (entry.kind, entry.mode, entry.uid, entry.gid),
                (node.kind, node.mode, node.uid, node.gid)
            );
            let more = node.more();
            assert_eq!((entry.mtime, entry.size), (node.mtime, node.size));
            assert_eq!(
                (&entry.link, &entry.attributes),
                (&more.link, &more.attributes)
            );
            assert_eq!(
                (flags::parse(&entry.flags), entry.device),
                (node.flags, more.device)
            );
        }
        assert_eq!(reader.entry().unwrap(), None);
    }

    #[test]
    fn a_length_counts_itself() {
        for (value, length) in [
            (1, "7 "),
            (3, "9 "),
            (4, "11 "),
            (91, "98 "),
            (92, "99 "),
            (93, "101 "),
        ] {
            let mut records = Vec::new();
            record(&mut records, b"ab", &b"x".repeat(value));
            assert!(
                records.starts_with(length.as_bytes()),
                "{}",
                String::from_utf8_lossy(&records)
            );
            let total: usize = length.trim().parse().unwrap();
            assert_eq!(records.len(), total);
        }
    }

    #[test]
    fn data_must_be_what_was_said() {
        let mut writer = Writer::new(Vec::new());
        writer
            .header(
                b"a",
                &Node {
                    size: 2,
                    ..Node::default()
                },
                None,
            )
            .unwrap();
        assert!(writer.data(b"abc").is_err());
        let mut writer = Writer::new(Vec::new());
        writer
            .header(
                b"a",
                &Node {
                    size: 2,
                    ..Node::default()
                },
                None,
            )
            .unwrap();
        assert!(writer.finish().is_err());
    }
}
