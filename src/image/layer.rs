//! Applies a layer to a root file system (layer.md of the image specification):
//! entries over what is there, whiteouts for what is not to be. The archive is
//! not trusted in anything: each call names one component in a directory that
//! was opened beneath the root.

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat};
use nix::sys::stat::{
    FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, futimens, mkdirat, mknodat,
    utimensat,
};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown, fchownat, linkat, mkfifoat, symlinkat};

use super::archive::{Entry, Kind, Reader, Stream, shown};
use super::sort::Numbers;
use super::tree::{self, Fate, Restore, Tree};
use super::{Watch, flags, go_on};
use crate::error::{Context, Error, Result, errno_name, io_name};

#[cfg(target_os = "freebsd")]
use crate::sys::freebsd::attributes;
#[cfg(target_os = "linux")]
use crate::sys::linux::attributes;

/// What names of files that are not to be begin with.
pub const WHITEOUT: &[u8] = b".wh.";
/// Nothing of the layers below is to be in the directory.
pub const OPAQUE: &[u8] = b".wh..wh..opq";
/// What union file systems keep for themselves.
const PRIVATE: &[u8] = b".wh..wh.";

/// Counts of what was done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries applied, whiteouts among them.
    pub entries: u64,
    /// Bytes written to files.
    pub bytes: u64,
}

/// Applies layers one after the other.
pub struct Applier<'a> {
    tree: Tree,
    /// Where hard links are looked up: another walk, so that a file's directory
    /// and the one of what it links to are both open.
    targets: Tree,
    rootless: bool,
    watch: &'a dyn Watch,
    /// Keys of the names that the present layer made; None in the first, which has none below.
    made: Option<Numbers>,
    /// Flags that would be in the way until all is done, by path.
    flags: BTreeMap<Vec<u8>, u32>,
    /// What was warned of once.
    warned: HashSet<&'static str>,
    owner: (u32, u32),
    /// What was done so far.
    pub counts: Counts,
}

impl<'a> Applier<'a> {
    /// Begins with an empty root directory.
    ///
    /// # Errors
    /// The root cannot be looked at.
    pub fn new(root: OwnedFd, rootless: bool, watch: &'a dyn Watch) -> Result<Applier<'a>> {
        let again = root.try_clone().doing("open", "the root file system")?;
        let tree = |fd| Tree::new(fd, rootless).doing("open", "the root file system");
        Ok(Applier {
            tree: tree(root)?,
            targets: tree(again)?,
            rootless,
            watch,
            made: None,
            flags: BTreeMap::new(),
            warned: HashSet::new(),
            owner: (
                nix::unistd::geteuid().as_raw(),
                nix::unistd::getegid().as_raw(),
            ),
            counts: Counts::default(),
        })
    }

    /// Applies one layer's archive. `tick` is called often.
    ///
    /// # Errors
    /// The archive is damaged, or names what is not in the root; a call fails;
    /// the work was interrupted.
    pub fn apply<R: Stream>(
        &mut self,
        reader: &mut Reader<R>,
        tick: &mut dyn FnMut(),
    ) -> Result<()> {
        while let Some(entry) = reader.entry()? {
            go_on(self.watch)?;
            tick();
            self.counts.entries += 1;
            self.one(reader, &entry, tick).map_err(|error| {
                Error::property(format_args!("entry {}", shown(&entry.path)), error)
            })?;
        }
        self.tree.finish()
    }

    /// The layer is done, and the next one has it below.
    pub fn next_layer(&mut self) {
        self.tree.tell_again();
        self.made = Some(Numbers::default());
    }

    /// All layers are done: sets the flags that were kept back.
    ///
    /// # Errors
    /// A flag cannot be set.
    pub fn finish(mut self) -> Result<Counts> {
        self.tree.finish()?;
        for (path, flags) in std::mem::take(&mut self.flags) {
            let parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
            let Some((name, parents)) = parts.split_last() else {
                continue;
            };
            if self.tree.enter(parents, false)? {
                match attributes::set_flags_at(self.tree.here(), OsStr::from_bytes(name), flags) {
                    Ok(()) => {}
                    // Replaced or removed by a later layer.
                    Err(e) if e.raw_os_error() == Some(libc::ENOENT) => {}
                    Err(e) => self.flags_failed(&e),
                }
            }
        }
        self.tree.finish()?;
        Ok(self.counts)
    }

    fn one<R: Stream>(
        &mut self,
        reader: &mut Reader<R>,
        entry: &Entry,
        tick: &mut dyn FnMut(),
    ) -> Result<()> {
        let path = components(&entry.path)?;
        let Some((name, parents)) = path.split_last() else {
            return self.root(entry);
        };
        if let Some(hidden) = name.strip_prefix(WHITEOUT) {
            return self.whiteout(parents, name, hidden);
        }
        self.tree.enter(parents, true)?;
        self.note(name)?;
        if !self.flags.is_empty() {
            let path = self.path_of(name);
            self.flags.remove(&path);
        }
        match entry.kind {
            Kind::Directory => return self.directory(name, entry),
            Kind::File => return self.file(reader, name, entry, tick),
            Kind::HardLink => return self.hard_link(name, entry),
            Kind::Symlink => {
                let target = OsStr::from_bytes(&entry.link);
                self.make(name, "create", |at, name| symlinkat(target, at, name))?;
            }
            Kind::Fifo => {
                let mode = Mode::from_bits_truncate(entry.mode as _);
                self.make(name, "create", |at, name| mkfifoat(at, name, mode))?;
            }
            Kind::Character | Kind::Block => {
                if self.rootless {
                    self.warn_once("device", || {
                        format!(
                            "device nodes are left out without root, the first is {}",
                            shown(&entry.path)
                        )
                    });
                    return self.clear(name);
                }
                let kind = if entry.kind == Kind::Block {
                    SFlag::S_IFBLK
                } else {
                    SFlag::S_IFCHR
                };
                let mode = Mode::from_bits_truncate(entry.mode as _);
                let (major, minor) = entry.device;
                let device = libc::makedev(major as _, minor as _);
                self.make(name, "create the device", |at, name| {
                    mknodat(at, name, kind, mode, device)
                })?;
            }
        }
        self.metadata(name, entry)
    }

    /// The entry of the root directory itself.
    fn root(&mut self, entry: &Entry) -> Result<()> {
        if entry.kind != Kind::Directory {
            return Err(Error::text("the root itself is not a directory"));
        }
        self.tree.enter(&[], false)?;
        self.directory_metadata(entry)
    }

    /// Removes what is of a layer below.
    fn whiteout(&mut self, parents: &[&[u8]], name: &[u8], hidden: &[u8]) -> Result<()> {
        let opaque = name == OPAQUE;
        if !opaque && name.starts_with(PRIVATE) {
            return Ok(());
        }
        if !opaque && matches!(hidden, b"" | b"." | b"..") {
            return Err(Error::text("a whiteout that names no file"));
        }
        let Some(mut made) = self.made.take() else {
            return Ok(());
        };
        let result = self.hide(parents, hidden, opaque, &mut made);
        self.made = Some(made);
        result
    }

    fn hide(
        &mut self,
        parents: &[&[u8]],
        hidden: &[u8],
        opaque: bool,
        made: &mut Numbers,
    ) -> Result<()> {
        if !self.tree.enter(parents, false)? {
            return Ok(());
        }
        let mut fate = |key| {
            Ok(if made.has(key)? {
                Fate::Keep
            } else {
                Fate::Remove
            })
        };
        if opaque {
            self.targets.enter(&[], false)?;
            return self.tree.prune(&mut fate);
        }
        let stat = match tree::look(self.tree.here(), hidden) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno).doing("look at", shown(hidden)),
        };
        if fate(self.tree.key(hidden))? == Fate::Remove {
            return self.clear(hidden);
        }
        // This layer has it too, but what it has of the layers below goes.
        if tree::kind(&stat) == SFlag::S_IFDIR {
            self.targets.enter(&[], false)?;
            self.tree.descend(hidden)?;
            self.tree.prune(&mut fate)?;
        }
        Ok(())
    }

    /// Notes that this layer has a name in the present directory.
    fn note(&mut self, name: &[u8]) -> Result<()> {
        let Some(made) = &mut self.made else {
            return Ok(());
        };
        made.add(self.tree.key(name))?;
        self.tree.untold(|key| made.add(key))
    }

    /// Removes a name of the present directory if it is there.
    fn clear(&mut self, name: &[u8]) -> Result<()> {
        match tree::remove(self.tree.here(), name, self.rootless) {
            Ok(()) => {}
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno).doing("remove", shown(name)),
        }
        self.tree.change();
        // It may have been a directory that the other walk has open.
        self.targets.enter(&[], false)?;
        if !self.flags.is_empty() {
            let path = self.path_of(name);
            self.flags.retain(|known, _| {
                !known
                    .strip_prefix(path.as_slice())
                    .is_some_and(|rest| rest.is_empty() || rest[0] == b'/')
            });
        }
        Ok(())
    }

    fn path_of(&self, name: &[u8]) -> Vec<u8> {
        let mut path = self.tree.path().into_encoded_bytes();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name);
        path
    }

    /// Makes something under a name, in place of what has it: never through it,
    /// so that another name of the same file keeps its content.
    fn make<T>(
        &mut self,
        name: &[u8],
        doing: &str,
        mut make: impl FnMut(BorrowedFd<'_>, &OsStr) -> nix::Result<T>,
    ) -> Result<T> {
        self.tree.change();
        let os = OsStr::from_bytes(name);
        match make(self.tree.here(), os) {
            Err(Errno::EEXIST) => {
                self.clear(name)?;
                make(self.tree.here(), os).doing(doing, shown(name))
            }
            result => result.doing(doing, shown(name)),
        }
    }

    fn directory(&mut self, name: &[u8], entry: &Entry) -> Result<()> {
        let os = OsStr::from_bytes(name);
        self.tree.change();
        match mkdirat(self.tree.here(), os, Mode::S_IRWXU) {
            Err(Errno::EEXIST) => {
                let stat = tree::look(self.tree.here(), name).doing("look at", shown(name))?;
                if tree::kind(&stat) != SFlag::S_IFDIR {
                    self.clear(name)?;
                    mkdirat(self.tree.here(), os, Mode::S_IRWXU).doing("create", shown(name))?;
                }
            }
            result => result.doing("create", shown(name))?,
        }
        let parent = self.tree.here_kept();
        self.tree.descend(name)?;
        self.directory_metadata(entry)?;
        let path = self.tree.path().into_encoded_bytes();
        self.flags(&parent, name, path, entry)
    }

    /// Metadata of the directory that is entered. Times, and without root the
    /// mode, have to wait until it is left.
    fn directory_metadata(&mut self, entry: &Entry) -> Result<()> {
        let here = self.tree.here_kept();
        if !self.rootless {
            fchown(&*here, owner(entry), group(entry)).map_err(owner_failed)?;
        }
        self.attributes(here.as_fd(), None, entry)?;
        let mode = Mode::from_bits_truncate(entry.mode as _);
        let (atime, mtime) = times(entry);
        let mut restore = Restore {
            atime,
            mtime,
            mode: None,
        };
        if self.rootless {
            fchmod(&*here, mode | Mode::S_IRWXU).doing("set the mode of", "it")?;
            restore.mode = Some(mode);
        } else {
            fchmod(&*here, mode).doing("set the mode of", "it")?;
        }
        self.tree.set_restore(restore, mode);
        Ok(())
    }

    fn file<R: Stream>(
        &mut self,
        reader: &mut Reader<R>,
        name: &[u8],
        entry: &Entry,
        tick: &mut dyn FnMut(),
    ) -> Result<()> {
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        // Set-id bits come when the owner is right; and without root, attributes
        // can only be set on what the owner may write.
        let first = Mode::from_bits_truncate((entry.mode & 0o777 | 0o600) as _);
        let fd = self.make(name, "create", |at, name| openat(at, name, flags, first))?;
        let mut file = File::from(fd);
        self.content(reader, &mut file, entry, tick)?;
        let mode = Mode::from_bits_truncate(entry.mode as _);
        // New files belong to us; the group may be the directory's.
        let ours = self.owner == (entry.uid, entry.gid) && !self.tree.gives_group();
        if !self.rootless && !ours {
            fchown(&file, owner(entry), group(entry)).map_err(owner_failed)?;
        }
        // A change of owner takes security.capability away; an ACL changes the mode.
        self.attributes(file.as_fd(), None, entry)?;
        if mode != first {
            fchmod(&file, mode).doing("set the mode of", "it")?;
        }
        let (atime, mtime) = times(entry);
        futimens(&file, &atime, &mtime).doing("set the times of", "it")?;
        drop(file);
        if !entry.flags.is_empty() {
            let parent = self.tree.here_kept();
            self.flags(&parent, name, self.path_of(name), entry)?;
        }
        Ok(())
    }

    fn content<R: Stream>(
        &mut self,
        reader: &mut Reader<R>,
        file: &mut File,
        entry: &Entry,
        tick: &mut dyn FnMut(),
    ) -> Result<()> {
        let whole = [(0, entry.size)];
        let pieces = entry.pieces.as_deref().unwrap_or(&whole);
        let sparse = entry.pieces.is_some();
        for (offset, length) in pieces {
            let mut written = 0;
            while written < *length {
                go_on(self.watch)?;
                tick();
                let here = reader.data()?;
                let most = usize::try_from(length - written).unwrap_or(usize::MAX);
                let here = &here[..here.len().min(most)];
                if here.is_empty() {
                    return Err(Error::text("the archive is truncated"));
                }
                let result = match sparse {
                    true => file.write_all_at(here, offset + written),
                    false => file.write_all(here),
                };
                let count = here.len();
                result.doing("write", "it")?;
                reader.consume(count);
                written += count as u64;
            }
            self.counts.bytes += length;
        }
        if sparse {
            file.set_len(entry.size).doing("set the size of", "it")?;
        }
        Ok(())
    }

    fn hard_link(&mut self, name: &[u8], entry: &Entry) -> Result<()> {
        let link = entry.link.strip_prefix(b"/").unwrap_or(&entry.link);
        let named = |error: Error| Error::new("link to", shown(&entry.link), error);
        let target = components(link).map_err(named)?;
        let Some((last, parents)) = target.split_last() else {
            return Err(named(Error::text("it names no file")));
        };
        if !self.targets.enter(parents, false).map_err(named)? {
            return Err(named(Error::text(errno_name(Errno::ENOENT))));
        }
        let stat = tree::look(self.targets.here(), last);
        let stat = stat.map_err(|errno| named(Error::text(errno_name(errno))))?;
        if tree::kind(&stat) == SFlag::S_IFDIR {
            return Err(named(Error::text("it is a directory")));
        }
        let last = OsStr::from_bytes(last);
        // Over itself there is nothing to do; removing it first would lose it.
        if let Ok(there) = tree::look(self.tree.here(), name) {
            if (there.st_dev, there.st_ino) == (stat.st_dev, stat.st_ino) {
                return Ok(());
            }
            self.clear(name)?;
            self.targets.enter(parents, false).map_err(named)?;
        }
        self.tree.change();
        let os = OsStr::from_bytes(name);
        linkat(
            self.targets.here(),
            last,
            self.tree.here(),
            os,
            AtFlags::empty(),
        )
        .map_err(|errno| named(Error::text(errno_name(errno))))
    }

    /// Metadata of what is neither a file nor a directory: by name, because
    /// opening a device or a pipe does something.
    fn metadata(&mut self, name: &[u8], entry: &Entry) -> Result<()> {
        let parent = self.tree.here_kept();
        let os = OsStr::from_bytes(name);
        if !self.rootless {
            fchownat(
                &*parent,
                os,
                owner(entry),
                group(entry),
                AtFlags::AT_SYMLINK_NOFOLLOW,
            )
            .map_err(owner_failed)?;
        }
        let special = entry.mode & 0o7000 != 0;
        if entry.kind != Kind::Symlink && special {
            // It was just made here, so it is no link.
            let mode = Mode::from_bits_truncate(entry.mode as _);
            fchmodat(&*parent, os, mode, FchmodatFlags::FollowSymlink)
                .doing("set the mode of", "it")?;
        }
        // On FreeBSD a link has a mode, on Linux all have the same.
        if cfg!(target_os = "freebsd") && entry.kind == Kind::Symlink {
            // The bits that others may be refused mean nothing on a link.
            let bits = if self.rootless { 0o777 } else { 0o7777 };
            let mode = Mode::from_bits_truncate((entry.mode & bits) as _);
            match fchmodat(&*parent, os, mode, FchmodatFlags::NoFollowSymlink) {
                // The file system keeps none.
                Ok(()) | Err(Errno::EOPNOTSUPP) => {}
                Err(errno) => return Err(errno).doing("set the mode of", "it"),
            }
        }
        self.attributes(parent.as_fd(), Some(os), entry)?;
        let (atime, mtime) = times(entry);
        utimensat(
            &*parent,
            os,
            &atime,
            &mtime,
            UtimensatFlags::NoFollowSymlink,
        )
        .doing("set the times of", "it")?;
        self.flags(&parent, name, self.path_of(name), entry)
    }

    /// Extended attributes, of an open file or of a name in a directory.
    fn attributes(
        &mut self,
        file: BorrowedFd<'_>,
        name: Option<&OsStr>,
        entry: &Entry,
    ) -> Result<()> {
        for (attribute, value) in &entry.attributes {
            if !is_wanted(attribute) {
                self.warn_once("attribute", || {
                    format!(
                        "extended attributes other than user.* are left out, the first is {}",
                        shown(attribute)
                    )
                });
                continue;
            }
            let attribute_name = OsStr::from_bytes(attribute);
            let result = match name {
                Some(name) => attributes::set_at(file, name, attribute_name, value),
                None => attributes::set(file, attribute_name, value),
            };
            let Err(error) = result else { continue };
            match error.raw_os_error() {
                // A link or a device has no user.* on Linux.
                Some(libc::EOPNOTSUPP) => self.warn_once("unsupported", || {
                    format!(
                        "the file system keeps no {}: extended attributes are left out",
                        shown(attribute)
                    )
                }),
                Some(libc::EPERM | libc::EACCES) if self.rootless || name.is_some() => {
                    self.warn_once("permission", || {
                        format!("{} is left out without root", shown(attribute))
                    });
                }
                _ => {
                    let object = format!("the attribute {}", shown(attribute));
                    return Err(Error::new("set", object, io_name(&error)));
                }
            }
        }
        Ok(())
    }

    /// Flags that do not hinder are set at once; the others when all is done.
    fn flags(&mut self, parent: &OwnedFd, name: &[u8], path: Vec<u8>, entry: &Entry) -> Result<()> {
        if !cfg!(target_os = "freebsd") || entry.flags.is_empty() {
            return Ok(());
        }
        let all = flags::parse(&entry.flags);
        if all & flags::HINDERING != 0 {
            self.flags.insert(path, all);
        } else if all != 0
            && let Err(error) =
                attributes::set_flags_at(parent.as_fd(), OsStr::from_bytes(name), all)
        {
            self.flags_failed(&error);
        }
        Ok(())
    }

    fn flags_failed(&mut self, error: &std::io::Error) {
        let name = io_name(error);
        self.warn_once("flags", || format!("file flags are left out: {name}"));
    }

    fn warn_once(&mut self, what: &'static str, text: impl FnOnce() -> String) {
        if self.warned.insert(what) {
            self.watch.warning(&text());
        }
    }
}

/// Takes all flags off a name, so that it can be removed; whether that worked
/// is seen then.
pub fn clear_flags(parent: BorrowedFd<'_>, name: &[u8]) {
    let _ = attributes::set_flags_at(parent, OsStr::from_bytes(name), 0);
}

fn owner(entry: &Entry) -> Option<Uid> {
    Some(Uid::from_raw(entry.uid))
}

fn group(entry: &Entry) -> Option<Gid> {
    Some(Gid::from_raw(entry.gid))
}

fn owner_failed(errno: Errno) -> Error {
    Error::new("set the owner of", "it", errno_name(errno))
        .hint("--rootless leaves all to the caller")
}

/// Whether an attribute is one of the image's rather than of the host it was
/// built on.
pub fn is_wanted(name: &[u8]) -> bool {
    if cfg!(target_os = "linux") {
        name.starts_with(b"user.")
            || name == b"security.capability"
            || name == b"system.posix_acl_access"
            || name == b"system.posix_acl_default"
    } else {
        name.starts_with(b"user.") || name.starts_with(b"system.")
    }
}

fn times(entry: &Entry) -> (TimeSpec, TimeSpec) {
    let spec = |(seconds, nanoseconds): (i64, u32)| TimeSpec::new(seconds as _, nanoseconds as _);
    (spec(entry.atime.unwrap_or(entry.mtime)), spec(entry.mtime))
}

/// The components of a name in an archive.
///
/// # Errors
/// It is absolute, or has `..`.
pub fn components(path: &[u8]) -> Result<Vec<&[u8]>> {
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                return Err(Error::text(
                    "it leads out of the root file system through ..",
                ));
            }
            part => parts.push(part),
        }
    }
    // Some builders write the root itself as /.
    if path.starts_with(b"/") && !parts.is_empty() {
        return Err(Error::text("its name is absolute"));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_entries() {
        assert_eq!(components(b"./a//b/").unwrap(), [b"a", b"b"]);
        assert!(components(b"/").unwrap().is_empty());
        assert_eq!(
            components(b"/a").unwrap_err().to_string(),
            "its name is absolute"
        );
        for climbing in [&b"../x"[..], b"a/../b", b".."] {
            assert!(
                components(climbing)
                    .unwrap_err()
                    .to_string()
                    .contains("leads out")
            );
        }
    }
}
