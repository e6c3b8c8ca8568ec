//! Rules of containers for devices, in rulesets of devfs that brig makes.
//!
//! The kernel alone tells what is: a ruleset of brig's begins with a rule that
//! says so, one with the same rules is shared, and one is in use while a devfs
//! mount or a jail names it. Nothing about rulesets is written down, so nothing
//! can disagree with the kernel after a crash or a reboot; what nobody uses is
//! freed with the next container that goes.

use std::collections::BTreeSet;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag, open, openat};
use nix::sys::stat::Mode;

use super::inroot::look_up;
use super::jail;
use crate::apply::Outcome;
use crate::error::{Context, Error, Result, io_name};
use crate::plan::freebsd::Rule;
use crate::report;
use crate::sys::freebsd::{self, devfs, mount, sysctl};

/// What the pattern of the first rule of a ruleset of brig's begins with; a
/// digest of the other rules follows. No device has such a path, and the rule
/// does nothing.
const MARK: &str = "//brig/";

/// The numbers that brig may use, and the key of the policy that says so.
type Range = (u32, u32);
const RANGE_KEY: &str = "devfsRange";

/// The host's /dev, where rulesets are asked for and changed. Dropped, the next
/// one may change them.
struct Rulesets(Flock<OwnedFd>);

impl Rulesets {
    /// Waits until no other brig changes rulesets.
    fn lock() -> Result<Rulesets> {
        let mut dev = open_directory(Path::new("/dev"))?;
        loop {
            dev = match Flock::lock(dev, FlockArg::LockExclusive) {
                Ok(lock) => return Ok(Rulesets(lock)),
                Err((dev, Errno::EINTR)) => dev,
                Err((_, errno)) => return Err(errno).doing("lock", "/dev"),
            };
        }
    }

    fn dev(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The rulesets of the range, whoever made them.
    fn existing(&self, (first, last): Range) -> Result<Vec<u32>> {
        let (mut found, mut after) = (Vec::new(), first - 1);
        while let Some(number) = devfs::next_ruleset(self.dev(), after).map_err(explain)? {
            if number > last {
                break;
            }
            found.push(number);
            after = number;
        }
        Ok(found)
    }

    /// The first rule of a ruleset of brig's.
    fn mark(&self, ruleset: u32) -> Result<Option<devfs::Rule>> {
        let first = devfs::next(self.dev(), ruleset, 0).map_err(explain)?;
        let rule = first.map(|(_, _, rule)| rule);
        Ok(rule.filter(|rule| rule.pattern().starts_with(MARK.as_bytes())))
    }

    /// A ruleset that has exactly these rules: one that is there, or a new one.
    fn with(&self, rules: &[devfs::Rule], range: Range) -> Result<u32> {
        for number in self.existing(range)? {
            if self.mark(number)?.as_ref() == rules.first() && all(self.dev(), number)? == rules {
                return Ok(number);
            }
        }
        self.free(range)?;
        let taken = self.existing(range)?;
        let named = jail::rulesets()?;
        let is_free = |number: &u32| !taken.contains(number) && !named.contains(number);
        let Some(number) = (range.0..=range.1).find(is_free) else {
            let cause = format!("all numbers from {} to {} are in use", range.0, range.1);
            let hint = format!("widen {RANGE_KEY} in the policy, or delete containers");
            return Err(Error::new("make", "a devfs ruleset", cause).hint(hint));
        };
        for (i, rule) in rules.iter().enumerate() {
            let added = devfs::add(self.dev(), number, place(i)?, *rule);
            if let Err(error) = added {
                let _ = self.delete(number);
                return Err(explain(error));
            }
        }
        Ok(number)
    }

    /// Deletes the rulesets of brig's that nobody uses. Where it cannot be told
    /// what a mount uses, none is deleted: its devices would all appear.
    fn free(&self, range: Range) -> Result<()> {
        let mut own = Vec::new();
        for number in self.existing(range)? {
            if self.mark(number)?.is_some() {
                own.push(number);
            }
        }
        if own.is_empty() {
            return Ok(());
        }
        let mut used = jail::rulesets()?;
        for mounted in mount::all().doing("list", "the mounted file systems")? {
            if mounted.fstype != "devfs" {
                continue;
            }
            match used_by(&mounted) {
                Ok(ruleset) => used.extend(ruleset),
                Err(reason) => {
                    let on = mounted.on.display();
                    report::debug(|| format!("devfs rulesets stay: {on}: {reason}"));
                    return Ok(());
                }
            }
        }
        for number in own.into_iter().filter(|number| !used.contains(number)) {
            self.delete(number)?;
        }
        Ok(())
    }

    /// Deletes a ruleset's rules, the mark last: a runtime that is killed over
    /// it leaves what can be told for brig's.
    fn delete(&self, ruleset: u32) -> Result<()> {
        let (mut places, mut after) = (Vec::new(), 0);
        while let Some((_, at, _)) = devfs::next(self.dev(), ruleset, after).map_err(explain)? {
            places.push(at);
            after = at;
        }
        for at in places.into_iter().rev() {
            devfs::delete(self.dev(), ruleset, at).map_err(explain)?;
        }
        Ok(())
    }
}

/// A rule's number is its place, from 1 on.
fn place(i: usize) -> Result<u16> {
    let too_many = |_| Error::text("a devfs ruleset has at most 65535 rules");
    u16::try_from(i + 1).map_err(too_many)
}

fn explain(error: std::io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::EPERM) => Error::new("change", "the devfs rules", "EPERM")
            .hint("rules are made by root on the host, and never in a jail"),
        _ => Error::new("change", "the devfs rules", io_name(&error)),
    }
}

/// Every rule of a ruleset, in order.
fn all(dev: BorrowedFd<'_>, ruleset: u32) -> Result<Vec<devfs::Rule>> {
    let (mut rules, mut after) = (Vec::new(), 0);
    while let Some((_, at, rule)) = devfs::next(dev, ruleset, after).map_err(explain)? {
        rules.push(rule);
        after = at;
    }
    Ok(rules)
}

/// The ruleset of a devfs mount; none when it has no rules.
fn used_by(mounted: &mount::Mount) -> std::result::Result<Option<u32>, String> {
    let directory = open_directory(&mounted.on).map_err(|e| e.to_string())?;
    let there = mount::of(directory.as_fd()).map_err(|e| io_name(&e))?;
    if there.fsid != mounted.fsid {
        return Err("another file system is mounted on it".into());
    }
    let first = devfs::next(directory.as_fd(), 0, 0).map_err(|e| io_name(&e))?;
    Ok(first.map(|(ruleset, ..)| ruleset))
}

fn open_directory(path: &Path) -> Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    open(path, flags, Mode::empty()).doing("open", path.display())
}

/// The mark, the rules of the ruleset below, and the container's own. What a
/// rule includes is written out as deep as the kernel would go, because below
/// this ruleset it goes one step less.
fn complete(dev: BorrowedFd<'_>, below: u32, rules: &[Rule]) -> Result<Vec<devfs::Rule>> {
    // devfs(8): vfs.devfs.rule_depth.
    let depth = sysctl::number("vfs.devfs.rule_depth").unwrap_or(1);
    let mut written = Vec::new();
    if below != 0 {
        write_out(dev, &all(dev, below)?, depth, &mut written)?;
    }
    for rule in rules {
        if let Some(included) = rule.include {
            check(included)?;
        }
        let words = devfs::Words {
            pattern: rule.path.as_deref(),
            show: rule.show,
            uid: rule.user,
            gid: rule.group,
            mode: rule.mode,
            include: rule.include,
        };
        let rule = devfs::Rule::new(words).doing("make the devfs rule", rule)?;
        write_out(dev, &[rule], depth, &mut written)?;
    }
    // FNV-1a of 64 bits: so that a look at one rule tells most rulesets apart.
    let digest = written.iter().flat_map(devfs::Rule::bytes);
    let digest = digest.fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mark = devfs::Rule::new(devfs::Words {
        pattern: Some(&format!("{MARK}{digest:016x}")),
        ..devfs::Words::default()
    });
    written.insert(0, mark.doing("make", "a devfs rule")?);
    Ok(written)
}

fn write_out(
    dev: BorrowedFd<'_>,
    rules: &[devfs::Rule],
    depth: i64,
    into: &mut Vec<devfs::Rule>,
) -> Result<()> {
    for rule in rules {
        match rule.include() {
            // The kernel runs it for the devices of its pattern alone.
            Some(_) if !rule.is_for_all() => into.push(*rule),
            Some(included) => {
                into.extend(rule.without_include());
                // The rulesets of brig's are no part of the host's.
                if depth > 0 {
                    write_out(dev, &all(dev, included)?, depth - 1, into)?;
                }
            }
            None if rule.pattern().starts_with(MARK.as_bytes()) => {}
            None => into.push(*rule),
        }
    }
    Ok(())
}

/// A ruleset that does not exist, or has no rules, would show every device of
/// the host.
///
/// # Errors
/// It has no rules.
pub(super) fn check(ruleset: u32) -> Result<()> {
    let dev = open_directory(Path::new("/dev"))?;
    match devfs::next(dev.as_fd(), ruleset, 0) {
        Ok(Some(_)) => Ok(()),
        Ok(None) => {
            let fault = Error::new(
                "mount",
                "devfs",
                format_args!("the host has no devfs ruleset {ruleset}"),
            );
            Err(fault.hint("load the rulesets with: service devfs restart"))
        }
        // In a jail the rules cannot be read; there the kernel applies the
        // jail's own ruleset.
        Err(e) if matches!(e.raw_os_error(), Some(libc::EPERM | libc::ENOTTY)) => Ok(()),
        Err(e) => Err(Error::new("read the devfs ruleset", ruleset, io_name(&e))),
    }
}

/// Gives a devfs mount a ruleset of its own, or a shared one of the same rules.
pub(super) fn apply(
    root: &Path,
    destination: &Path,
    below: u32,
    rules: &[Rule],
    range: Range,
) -> Result<Outcome> {
    let found = look_up(root, destination)?.found;
    let object = || {
        let (on, root) = (destination.display(), root.display());
        format!("the devices of {on} in {root}")
    };
    let mounted = mount::of(found.fd.as_fd()).doing("set", object())?;
    if mounted.fstype != "devfs" {
        return Err(Error::new("set", object(), "it is not a devfs"));
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory =
        openat(found.fd.as_fd(), ".", flags, Mode::empty()).doing("open", destination.display())?;
    let rulesets = Rulesets::lock()?;
    let number = rulesets.with(&complete(rulesets.dev(), below, rules)?, range)?;
    devfs::use_ruleset(directory.as_fd(), number).map_err(explain)?;
    Ok(Outcome::Done)
}

/// The same for what a jail mounts itself.
pub(super) fn apply_to_jail(
    name: &str,
    below: u32,
    rules: &[Rule],
    range: Range,
) -> Result<Outcome> {
    let rulesets = Rulesets::lock()?;
    let number = rulesets.with(&complete(rulesets.dev(), below, rules)?, range)?;
    jail::set_ruleset(name, number)?;
    Ok(Outcome::Done)
}

/// Frees what nobody uses (any more).
pub(super) fn free(range: Range) -> Result<()> {
    if freebsd::in_jail() {
        return Ok(());
    }
    Rulesets::lock()?.free(range)
}

/// The rulesets that jails name.
pub(super) type Named = BTreeSet<u32>;
