//! The host before and after: mounts, cgroups, jails, rules, interfaces,
//! processes, state.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Everything on the host that bears the mark of a case.
pub fn marked(mark: &str, state_root: &Path) -> Vec<String> {
    let mut left = Vec::new();
    let mut add = |what: &str, name: &str| left.push(format!("{what} {name}"));
    for mount in mounts().iter().filter(|mount| mount.contains(mark)) {
        add("mount", mount);
    }
    for group in cgroups().iter().filter(|path| path.contains(mark)) {
        add("cgroup", group);
    }
    for (what, jail) in jails().iter().filter(|(_, jail)| jail.contains(mark)) {
        add(what, jail);
    }
    for rule in rules()
        .unwrap_or_default()
        .iter()
        .filter(|rule| rule.contains(mark))
    {
        add("rctl rule", rule);
    }
    for (pid, words) in processes_of(mark) {
        add("process", &format!("{pid} {words}"));
    }
    for entry in fs::read_dir(state_root).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        // A runtime may keep a cache of its own beside the containers.
        if !name.starts_with('.') {
            add("state", &name);
        }
    }
    left
}

/// Ends what a case left, so that the next ones are not disturbed by it.
pub fn sweep(mark: &str) {
    for (pid, _) in processes_of(mark) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    std::thread::sleep(std::time::Duration::from_millis(200));
    for target in targets()
        .iter()
        .rev()
        .filter(|target| target.contains(mark))
    {
        unmount(target);
    }
    for group in cgroups().iter().rev().filter(|path| path.contains(mark)) {
        let _ = fs::remove_dir(group);
    }
}

/// Whether something is mounted below a directory, which must then not be
/// removed recursively.
pub fn has_mounts_below(directory: &Path) -> bool {
    let prefix = directory.display().to_string();
    targets().iter().any(|target| target.starts_with(&prefix))
}

/// Where runtimes keep state when nothing else is said.
const STATE_DIRECTORIES: [&str; 3] = ["/run", "/var/run", "/var/lib"];

fn below(directory: &str) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned())
}

/// The descendants of this process, which are what is left of the containers
/// because it adopts orphans: process id, arguments, and arguments with the
/// environment.
pub fn descendants() -> Vec<(i32, String, String)> {
    let all = parents();
    let mut mine = vec![std::process::id() as i32];
    let mut at = 0;
    while at < mine.len() {
        let parent = mine[at];
        mine.extend(
            all.iter()
                .filter(|(_, p)| *p == parent)
                .map(|(pid, _)| *pid),
        );
        at += 1;
    }
    mine.iter()
        .skip(1)
        .map(|pid| {
            let (words, env) = words_and_environment(*pid);
            (*pid, words, env)
        })
        .collect()
}

/// All that the suite compares as a whole.
pub fn snapshot() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    all.extend(mounts().into_iter().map(|m| format!("mount {m}")));
    all.extend(cgroups().into_iter().map(|g| format!("cgroup {g}")));
    all.extend(jails().iter().map(|(what, j)| format!("{what} {j}")));
    all.extend(
        rules()
            .unwrap_or_default()
            .into_iter()
            .map(|r| format!("rctl rule {r}")),
    );
    all.extend(rulesets().into_iter().map(|r| format!("devfs ruleset {r}")));
    for directory in STATE_DIRECTORIES {
        all.extend(below(directory).map(|name| format!("state directory {directory}/{name}")));
    }
    let interfaces = nix::net::if_::if_nameindex();
    let names = interfaces
        .iter()
        .flat_map(|all| all.iter().map(|i| i.name().to_string_lossy().into_owned()));
    all.extend(names.map(|name| format!("interface {name}")));
    let addresses = nix::ifaddrs::getifaddrs()
        .into_iter()
        .flatten()
        .filter_map(|a| Some(format!("address {} {}", a.interface_name, a.address?)));
    // Link-level entries carry counters on some systems; names and numbers only.
    all.extend(addresses.filter(|a| {
        a.split(' ')
            .nth(2)
            .is_some_and(|a| a.contains('.') || a.contains("::"))
    }));
    all
}

#[cfg(target_os = "linux")]
fn mountinfo() -> Vec<Vec<String>> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    text.lines()
        .map(|line| line.split(' ').map(String::from).collect())
        .collect()
}

#[cfg(target_os = "linux")]
fn mounts() -> Vec<String> {
    // Numbers are left out: they change when something is mounted elsewhere.
    let one =
        |fields: Vec<String>| format!("{} {} {}", fields[4], fields[3], fields[5..].join(" "));
    mountinfo()
        .into_iter()
        .filter(|fields| fields.len() > 6)
        .map(one)
        .collect()
}

#[cfg(target_os = "linux")]
fn targets() -> Vec<String> {
    mountinfo()
        .into_iter()
        .filter(|fields| fields.len() > 6)
        .map(|mut fields| fields.swap_remove(4))
        .collect()
}

/// Unmounts, whoever uses it.
#[cfg(target_os = "linux")]
pub fn unmount(target: &str) {
    let _ = nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH);
}

/// Sets the flag of a mount by its name; an empty one leaves it as it is.
///
/// # Errors
/// Those of mount(2).
#[cfg(target_os = "linux")]
pub fn set_mount_flag(target: &Path, flag: &str) -> nix::Result<()> {
    use nix::mount::{MsFlags, mount};
    let flags = match flag {
        "" => return Ok(()),
        "ro" => MsFlags::MS_RDONLY,
        "noatime" => MsFlags::MS_NOATIME,
        "nodiratime" => MsFlags::MS_NODIRATIME,
        "strictatime" => MsFlags::MS_STRICTATIME,
        "nodev" => MsFlags::MS_NODEV,
        "noexec" => MsFlags::MS_NOEXEC,
        "nosuid" => MsFlags::MS_NOSUID,
        _ => return Err(nix::errno::Errno::EINVAL),
    };
    let none: Option<&str> = None;
    mount(
        none,
        target,
        none,
        MsFlags::MS_REMOUNT | MsFlags::MS_BIND | flags,
        none,
    )
}

/// Makes a mount shared or private.
///
/// # Errors
/// Those of mount(2).
#[cfg(target_os = "linux")]
pub fn set_propagation(target: &Path, shared: bool) -> nix::Result<()> {
    use nix::mount::{MsFlags, mount};
    let none: Option<&str> = None;
    let kind = if shared {
        MsFlags::MS_SHARED
    } else {
        MsFlags::MS_PRIVATE
    };
    mount(none, target, none, kind, none)
}

/// Every directory of every cgroup hierarchy, parents first.
#[cfg(target_os = "linux")]
pub fn cgroups() -> Vec<String> {
    let mut all = Vec::new();
    for fields in mountinfo() {
        let dash = fields.iter().position(|field| field == "-").unwrap_or(0);
        if fields
            .get(dash + 1)
            .is_some_and(|kind| kind == "cgroup" || kind == "cgroup2")
        {
            walk(Path::new(&fields[4]), &mut all);
        }
    }
    all
}

#[cfg(target_os = "linux")]
fn walk(directory: &Path, all: &mut Vec<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.push(entry.path().display().to_string());
            walk(&entry.path(), all);
        }
    }
}

#[cfg(target_os = "linux")]
fn jails() -> Vec<(&'static str, String)> {
    Vec::new()
}

/// There are no devfs(8) rulesets.
#[cfg(target_os = "linux")]
fn rulesets() -> Vec<String> {
    Vec::new()
}

/// Process and parent of all that live.
#[cfg(target_os = "linux")]
fn parents() -> Vec<(i32, i32)> {
    let one = |name: String| {
        let pid = name.parse().ok()?;
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything.
        let mut rest = text[text.rfind(')')? + 1..].split_whitespace();
        let state = rest.next()?;
        let parent = rest.next()?.parse().ok()?;
        (state != "Z").then_some((pid, parent))
    };
    below("/proc").filter_map(one).collect()
}

#[cfg(target_os = "linux")]
fn words_and_environment(pid: i32) -> (String, String) {
    let read = |name: &str| {
        let raw = fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
        String::from_utf8_lossy(&raw).replace('\0', " ")
    };
    let words = read("cmdline").trim().to_owned();
    let all = format!("{words} {}", read("environ"));
    (words, all)
}

/// There are no rctl(8) rules.
#[cfg(target_os = "linux")]
pub fn rules() -> Option<Vec<String>> {
    None
}

/// The processes that bear a mark in their arguments or environment.
#[cfg(target_os = "linux")]
pub fn processes_of(mark: &str) -> Vec<(i32, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let env = fs::read(entry.path().join("environ")).unwrap_or_default();
        if has(&words, mark) || has(&env, mark) {
            all.push((
                pid,
                String::from_utf8_lossy(&words)
                    .replace('\0', " ")
                    .trim()
                    .to_owned(),
            ));
        }
    }
    all
}

#[cfg(target_os = "freebsd")]
fn mounts() -> Vec<String> {
    let all = crate::sys::freebsd::mounts();
    all.iter()
        .map(|m| format!("{} {} {} {:x}", m.target, m.fstype, m.source, m.flags))
        .collect()
}

#[cfg(target_os = "freebsd")]
fn targets() -> Vec<String> {
    crate::sys::freebsd::mounts()
        .into_iter()
        .map(|m| m.target)
        .collect()
}

/// Unmounts, whoever uses it.
#[cfg(target_os = "freebsd")]
pub fn unmount(target: &str) {
    let _ = nix::mount::unmount(target, nix::mount::MntFlags::MNT_FORCE);
}

/// Only cases for Linux ask for it.
///
/// # Errors
/// Always.
#[cfg(target_os = "freebsd")]
pub fn set_mount_flag(_: &Path, _: &str) -> nix::Result<()> {
    Err(nix::errno::Errno::ENOTSUP)
}

/// Only cases for Linux ask for it.
///
/// # Errors
/// Always.
#[cfg(target_os = "freebsd")]
pub fn set_propagation(_: &Path, _: bool) -> nix::Result<()> {
    Err(nix::errno::Errno::ENOTSUP)
}

/// There are no cgroups.
#[cfg(target_os = "freebsd")]
pub fn cgroups() -> Vec<String> {
    Vec::new()
}

/// Each jail, after what it is: one that is dying was removed, and is still held
/// by something. It keeps its root's file system and its network stack.
#[cfg(target_os = "freebsd")]
fn jails() -> Vec<(&'static str, String)> {
    let all = crate::sys::freebsd::jails();
    all.iter()
        .map(|(_, name, path, dying)| {
            let what = if *dying { "dying jail" } else { "jail" };
            (what, format!("{name} {path}"))
        })
        .collect()
}

/// The devfs(8) rulesets, each with the number of its rules.
#[cfg(target_os = "freebsd")]
fn rulesets() -> Vec<String> {
    let all = crate::sys::freebsd::devfs_rulesets();
    all.iter()
        .map(|(number, rules)| format!("{number} with {rules} rules"))
        .collect()
}

/// Process and parent of all that live.
#[cfg(target_os = "freebsd")]
fn parents() -> Vec<(i32, i32)> {
    let all = crate::sys::freebsd::processes();
    all.into_iter()
        .map(|(pid, parent, _)| (pid, parent))
        .collect()
}

#[cfg(target_os = "freebsd")]
fn words_and_environment(pid: i32) -> (String, String) {
    let raw = crate::sys::freebsd::words(pid);
    let all = String::from_utf8_lossy(&raw).replace('\0', " ");
    (all.chars().take(120).collect(), all)
}

/// The rctl(8) rules; None where the kernel keeps no accounts.
#[cfg(target_os = "freebsd")]
pub fn rules() -> Option<Vec<String>> {
    let text = crate::sys::freebsd::rctl_rules()?;
    Some(
        text.split(',')
            .filter(|rule| !rule.is_empty())
            .map(String::from)
            .collect(),
    )
}

/// The processes that bear a mark in their arguments or environment.
#[cfg(target_os = "freebsd")]
pub fn processes_of(mark: &str) -> Vec<(i32, String)> {
    let me = std::process::id() as i32;
    let mut all = Vec::new();
    for (pid, ..) in crate::sys::freebsd::processes() {
        let words = crate::sys::freebsd::words(pid);
        if pid != me && has(&words, mark) {
            all.push((
                pid,
                String::from_utf8_lossy(&words)
                    .replace('\0', " ")
                    .trim()
                    .to_owned(),
            ));
        }
    }
    all
}

fn has(raw: &[u8], mark: &str) -> bool {
    raw.windows(mark.len())
        .any(|window| window == mark.as_bytes())
}
