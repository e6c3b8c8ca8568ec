//! Archives from fuzzed bytes. Bytes at random are hardly ever an archive: a
//! checksum is in the way, and names that meet each other are what matters. So
//! the input is a program that writes entries, with every field in its hands.

/// Components that names are made of. The last stands for the absolute path of
/// the directory that must not be reached.
const PARTS: [&[u8]; 16] = [
    b"a", b"b", b"c", b"d", b"..", b".", b"", b".wh.a", b".wh.b", b".wh..wh..opq", b".wh.", b".wh...",
    b"outside", b"canary", b"etc", b"\0",
];

/// Reads the program.
pub struct Program<'a> {
    bytes: &'a [u8],
    outside: &'a [u8],
}

impl<'a> Program<'a> {
    /// A program, and the path of what must not be reached.
    pub fn new(bytes: &'a [u8], outside: &'a [u8]) -> Program<'a> {
        Program { bytes, outside }
    }

    /// The next byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else {
            return 0;
        };
        self.bytes = rest;
        *first
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.bytes.split_at(count.min(self.bytes.len()));
        self.bytes = rest;
        taken
    }

    /// Whether the program has ended.
    pub fn is_over(&self) -> bool {
        self.bytes.is_empty()
    }

    /// A name: up to seven components, perhaps absolute, perhaps raw bytes.
    fn name(&mut self) -> Vec<u8> {
        let shape = self.byte();
        let count = usize::from(shape & 7);
        let mut parts: Vec<&[u8]> = Vec::new();
        if shape & 0x40 != 0 {
            parts.push(b"");
        }
        if shape & 0x20 != 0 {
            parts.push(self.outside);
        }
        for _ in 0..count {
            let part = self.byte();
            if part & 0x80 != 0 {
                parts.push(self.take(usize::from(part & 0x0f)));
            } else {
                parts.push(PARTS[usize::from(part & 0x0f)]);
            }
        }
        let mut name = parts.join(&b'/');
        if shape & 0x10 != 0 {
            name.push(b'/');
        }
        if shape & 0x88 == 0x88 {
            name = name.repeat(usize::from(self.byte()));
        }
        name
    }

    /// Writes one entry, with the extension headers before it.
    pub fn entry(&mut self, archive: &mut Vec<u8>) {
        let what = self.byte();
        let kind = match what & 0x0f {
            0 | 8 => b'0',
            1 | 9 | 10 => b'1',
            2 | 11 | 12 => b'2',
            3 => b'3',
            4 => b'4',
            5 | 13 => b'5',
            6 => b'6',
            7 => b'S',
            14 => b'\0',
            _ => self.byte(),
        };
        let name = self.name();
        let link = if matches!(kind, b'1' | b'2') || what & 0x80 != 0 {
            self.name()
        } else {
            Vec::new()
        };
        let mut data: &[u8] = &[];
        let mut mode = 0o755;
        if what & 0x40 != 0 {
            mode = u32::from(self.byte()) << 4 | u32::from(self.byte());
        }
        if matches!(kind, b'0' | b'S' | 0) {
            let length = usize::from(self.byte() & 0x3f);
            data = self.take(length);
        }
        if what & 0x20 != 0 {
            let records = self.records();
            header(archive, b"x", b"", b'x', 0o644, &records, &[]);
        }
        // Beyond the old field, as GNU's long names.
        if name.len() > 100 {
            header(archive, b"L", b"", b'L', 0o644, &name, &[]);
        }
        if link.len() > 100 {
            header(archive, b"K", b"", b'K', 0o644, &link, &[]);
        }
        let raw = if what & 0x10 != 0 {
            self.take(16)
        } else {
            &[]
        };
        header(archive, &name, &link, kind, mode, data, raw);
    }

    /// Records of a pax header.
    fn records(&mut self) -> Vec<u8> {
        const KEYS: [&[u8]; 16] = [
            b"path", b"linkpath", b"size", b"uid", b"gid", b"mtime", b"atime", b"SCHILY.fflags",
            b"SCHILY.xattr.user.a", b"LIBARCHIVE.xattr.user.b", b"GNU.sparse.major", b"GNU.sparse.name",
            b"GNU.sparse.realsize", b"GNU.sparse.offset", b"GNU.sparse.numbytes", b"GNU.sparse.map",
        ];
        let mut all = Vec::new();
        let count = self.byte() & 7;
        for _ in 0..count {
            let shape = self.byte();
            let key = KEYS[usize::from(shape & 0x0f)];
            let value = match shape >> 5 {
                0..4 if shape & 0x0e == 0 || shape & 0x0f == 11 => self.name(),
                0..4 => u32::from(self.byte()).to_string().into_bytes(),
                4 => format!("{},{}", self.byte(), self.byte()).into_bytes(),
                5 => format!("-{}.{}", self.byte(), self.byte()).into_bytes(),
                6 => u64::MAX.to_string().into_bytes(),
                _ => {
                    let length = usize::from(self.byte() & 0x1f);
                    self.take(length).to_vec()
                }
            };
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length = rest + length.to_string().len();
            }
            if shape & 0x10 != 0 && shape >> 5 == 7 {
                length = usize::from(self.byte());
            }
            all.extend_from_slice(format!("{length} ").as_bytes());
            for part in [key, b"=", &value, b"\n"] {
                all.extend_from_slice(part);
            }
        }
        all
    }
}

fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    field[..digits].copy_from_slice(&text.as_bytes()[text.len() - digits..]);
}

fn header(archive: &mut Vec<u8>, name: &[u8], link: &[u8], kind: u8, mode: u32, data: &[u8], raw: &[u8]) {
    let mut block = [0_u8; 512];
    let put = |block: &mut [u8; 512], at: usize, most: usize, text: &[u8]| {
        let length = text.len().min(most);
        block[at..at + length].copy_from_slice(&text[..length]);
    };
    put(&mut block, 0, 100, name);
    octal(&mut block[100..108], u64::from(mode));
    octal(&mut block[108..116], 0);
    octal(&mut block[116..124], 0);
    octal(&mut block[124..136], data.len() as u64);
    octal(&mut block[136..148], 1);
    block[156] = kind;
    put(&mut block, 157, 100, link);
    put(&mut block, 257, 8, b"ustar\x0000");
    // Whatever the fields of devices, the prefix or GNU's sparse maps are to be.
    if let Some((at, raw)) = raw.split_first() {
        let at = 100 + usize::from(*at) % 396;
        put(&mut block, at, raw.len().min(512 - at), raw);
    }
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut block, 148, 8, format!("{sum:06o}\0 ").as_bytes());
    archive.extend_from_slice(&block);
    archive.extend_from_slice(data);
    archive.resize(archive.len().next_multiple_of(512), 0);
}
