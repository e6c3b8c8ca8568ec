//! What a directory holds, in comparable form.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::common::{Result, run};

/// Each path with all that a comparison looks at, as text.
pub type Tree = BTreeMap<PathBuf, String>;

/// What is not compared between two trees.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ignore {
    /// Times of directories, which not all tools put back.
    pub directory_times: bool,
    /// Nanoseconds of times.
    pub nanoseconds: bool,
    /// Times of the root itself.
    pub root: bool,
}

/// Reads a directory: type, mode, owner, size, link target, device, digest,
/// times, extended attributes, and which names are one file.
pub fn read(root: &Path, ignore: Ignore) -> Result<Tree> {
    let text = |path: &Path, e: std::io::Error| format!("{}: {e}", path.display());
    let attributes = attributes(root)?;
    let mut tree = Tree::new();
    let mut files: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut left = vec![PathBuf::new()];
    while let Some(name) = left.pop() {
        let path = root.join(&name);
        let m = path.symlink_metadata().map_err(|e| text(&path, e))?;
        let kind = m.file_type();
        let mut line = format!("{:06o} {}:{}", m.mode(), m.uid(), m.gid());
        if kind.is_dir() {
            let mut entries = Vec::new();
            for entry in std::fs::read_dir(&path).map_err(|e| text(&path, e))? {
                entries.push(name.join(entry.map_err(|e| text(&path, e))?.file_name()));
            }
            entries.sort();
            // So that of the names of one file the same one is the first.
            left.extend(entries.into_iter().rev());
        } else if m.nlink() > 1 {
            let first = files.entry((m.dev(), m.ino())).or_insert(name.clone());
            // The number of links counts names in other snapshots, too.
            line.push_str(&format!(" file={}", first.display()));
        }
        if kind.is_file() {
            line.push_str(&format!(" size={} {}", m.size(), digest(&path)?));
        } else if kind.is_symlink() {
            let target = std::fs::read_link(&path).map_err(|e| text(&path, e))?;
            line.push_str(&format!(" -> {}", target.display()));
        } else if kind.is_char_device() || kind.is_block_device() {
            line.push_str(&format!(" device={:x}", m.rdev()));
        }
        let no_time = (kind.is_dir() && ignore.directory_times)
            || (name.as_os_str().is_empty() && ignore.root);
        if !no_time {
            line.push_str(&format!(" mtime={}", m.mtime()));
            if !ignore.nanoseconds {
                line.push_str(&format!(".{:09}", m.mtime_nsec()));
            }
        }
        if let Some(attributes) = attributes.get(&name) {
            line.push_str(attributes);
        }
        tree.insert(name, line);
    }
    Ok(tree)
}

fn digest(path: &Path) -> Result<String> {
    let text = |e: std::io::Error| format!("{}: {e}", path.display());
    let mut file = File::open(path).map_err(text)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(text)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let hex: String = hasher
        .finalize()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    Ok(hex)
}

/// All extended attributes below a directory, as getfattr(1) tells them.
fn attributes(root: &Path) -> Result<HashMap<PathBuf, String>> {
    let mut command = std::process::Command::new("getfattr");
    command.args(["-R", "-P", "-h", "-d", "-m", "-", "-e", "hex", "."]);
    command.current_dir(root);
    let run = crate::common::finish(command);
    if run.status != 0 {
        return Err(format!("{}: {}", run.line, run.err));
    }
    let mut all: HashMap<PathBuf, String> = HashMap::new();
    let mut current = PathBuf::new();
    let mut lines: Vec<&str> = Vec::new();
    for line in run.out.lines().chain(["# file: end"]) {
        if let Some(name) = line.strip_prefix("# file: ") {
            lines.sort_unstable();
            if !lines.is_empty() {
                all.insert(current, format!(" {}", lines.join(" ")));
            }
            lines.clear();
            let name = unescaped(name);
            current = name
                .strip_prefix("./")
                .unwrap_or(if name == "." { "" } else { &name })
                .into();
        } else if !line.is_empty() {
            lines.push(line);
        }
    }
    Ok(all)
}

/// getfattr(1) writes bytes that are not printed as `\ooo`.
fn unescaped(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = name.as_bytes();
    while let Some((byte, after)) = rest.split_first() {
        let code = after.get(..3).filter(|_| *byte == b'\\');
        let code = code.and_then(|code| std::str::from_utf8(code).ok());
        if let Some(code) = code.and_then(|code| u8::from_str_radix(code, 8).ok()) {
            bytes.push(code);
            rest = &after[3..];
        } else {
            bytes.push(*byte);
            rest = after;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Forgets, in both trees, the times of directories that the second one has from
/// `since` (seconds since 1970) on: containerd does not put a directory's time
/// back when a layer writes into it without an entry for it.
pub fn forget_fresh(left: &mut Tree, right: &mut Tree, since: i64) {
    let time = |line: &str| {
        let at = line.find(" mtime=")? + " mtime=".len();
        let digits = line[at..].split(['.', ' ']).next()?;
        digits.parse::<i64>().ok()
    };
    for (path, line) in right.iter_mut() {
        let is_fresh = line.starts_with("04") && time(line).is_some_and(|at| at >= since);
        if !is_fresh {
            continue;
        }
        for line in [Some(line), left.get_mut(path)].into_iter().flatten() {
            let words = line.split(' ').filter(|word| !word.starts_with("mtime="));
            *line = words.collect::<Vec<_>>().join(" ");
        }
    }
}

/// The first differences of two trees, if there are any.
pub fn compare(left: (&str, &Tree), right: (&str, &Tree)) -> Result<()> {
    let mut all: Vec<&PathBuf> = left.1.keys().chain(right.1.keys()).collect();
    all.sort();
    all.dedup();
    let mut lines = Vec::new();
    for path in all {
        let (a, b) = (left.1.get(path), right.1.get(path));
        if a != b {
            let none = "nothing".to_owned();
            lines.push(format!(
                "\n  {:?}\n    {}: {}\n    {}: {}",
                path,
                left.0,
                a.unwrap_or(&none),
                right.0,
                b.unwrap_or(&none)
            ));
        }
    }
    if lines.is_empty() {
        return Ok(());
    }
    let count = lines.len();
    lines.truncate(8);
    Err(format!("{count} paths differ{}", lines.concat()))
}

/// Unpacks an image by umoci.
pub fn by_umoci(image: &str, bundle: &Path) -> Result<PathBuf> {
    run("umoci", &[&"unpack", &"--image", &image, &bundle]).ok()?;
    Ok(bundle.join("rootfs"))
}
