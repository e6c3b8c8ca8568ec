//! FreeBSD's file flags as tar archives have them (SCHILY.fflags): names with
//! commas between, as ls(1) with -o prints them. The numbers are of sys/stat.h.

/// Names and numbers; the first name of a number is the one that is written.
const FLAGS: [(&str, u32); 22] = [
    ("nodump", 0x1),
    ("uchg", 0x2),
    ("uchange", 0x2),
    ("uimmutable", 0x2),
    ("uappnd", 0x4),
    ("uappend", 0x4),
    ("opaque", 0x8),
    ("uunlnk", 0x10),
    ("uunlink", 0x10),
    ("usystem", 0x80),
    ("usparse", 0x100),
    ("uoffline", 0x200),
    ("ureparse", 0x400),
    ("uarch", 0x800),
    ("urdonly", 0x1000),
    ("uhidden", 0x8000),
    ("arch", 0x1_0000),
    ("schg", 0x2_0000),
    ("schange", 0x2_0000),
    ("sappnd", 0x4_0000),
    ("sunlnk", 0x10_0000),
    ("sunlink", 0x10_0000),
];

/// The DOS archive bit, which file systems set when a file is changed.
pub const ARCHIVE: u32 = 0x800;

/// Flags that forbid changing, linking or removing a file.
pub const HINDERING: u32 = 0x2 | 0x4 | 0x10 | 0x1000 | 0x2_0000 | 0x4_0000 | 0x10_0000;

/// The number of a list of names; unknown ones (of Linux) are passed over.
pub fn parse(text: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(text);
    let number = |name: &str| {
        FLAGS
            .iter()
            .find(|(known, _)| *known == name)
            .map_or(0, |(_, bit)| *bit)
    };
    text.split(',')
        .map(|name| number(name.trim()))
        .fold(0, |all, bit| all | bit)
}

/// The names of the flags in a number.
pub fn text(mut flags: u32) -> String {
    let mut names = Vec::new();
    for (name, bit) in FLAGS {
        if flags & bit != 0 {
            flags &= !bit;
            names.push(name);
        }
    }
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        assert_eq!(parse(b"schg,uarch"), 0x2_0800);
        assert_eq!(text(0x2_0800), "uarch,schg");
        assert_eq!(parse(b"simmutable_of_linux"), 0);
        assert_eq!(text(0), "");
        assert_ne!(parse(b"sunlink") & HINDERING, 0);
        assert_eq!(parse(b"uarch,nodump") & HINDERING, 0);
    }
}
