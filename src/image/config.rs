//! An image's configuration to config.json (conversion.md of the image
//! specification).

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, SFlag, fstat};
use serde_json::{Map, Value, json};

use super::archive::shown;
use super::layout::Image;
use super::tree::{self, Tree};
use crate::error::{Context, Error, Result, errno_name};
use crate::host::Os;

/// The longest passwd or group file that is read.
const LONGEST: u64 = 16 << 20;
/// What a program of an image may count on, as engines give it.
const CAPABILITIES: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// What is to be other than the image says.
#[derive(Debug, Default)]
pub struct Wishes {
    /// In place of the image's Cmd.
    pub command: Vec<String>,
    /// Give the program a terminal.
    pub terminal: bool,
    /// Host name in the container.
    pub hostname: Option<String>,
    /// The caller is all the users there are.
    pub rootless: bool,
}

/// config.json of a bundle, from a sample that has what every container of
/// `os` has. The root file system is looked into for names and volumes.
///
/// # Errors
/// A user or group that it does not have; a volume that is no absolute path.
pub fn runtime(
    mut sample: Value,
    image: &Image,
    os: Os,
    root: BorrowedFd<'_>,
    wishes: &Wishes,
    warn: &mut dyn FnMut(&str),
) -> Result<Value> {
    let fd = root
        .try_clone_to_owned()
        .doing("open", "the root file system")?;
    let mut files = Tree::new(fd, false).doing("open", "the root file system")?;
    let config = image.config.config().clone().unwrap_or_default();
    let mut args = config.entrypoint().clone().unwrap_or_default();
    if wishes.command.is_empty() {
        args.extend(config.cmd().clone().unwrap_or_default());
    } else {
        args.extend(wishes.command.iter().cloned());
    }
    if args.is_empty() {
        warn("the image names no program: process.args is /bin/sh");
        args.push("/bin/sh".into());
    }
    let mut env = config.env().clone().unwrap_or_default();
    if !env.iter().any(|variable| variable.starts_with("PATH=")) {
        env.insert(
            0,
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".into(),
        );
    }
    if wishes.terminal && !env.iter().any(|variable| variable.starts_with("TERM=")) {
        env.push("TERM=xterm".into());
    }
    let cwd = config
        .working_dir()
        .as_deref()
        .filter(|cwd| !cwd.is_empty())
        .unwrap_or("/");
    if !cwd.starts_with('/') {
        return Err(Error::property(
            "config.WorkingDir",
            format_args!("{cwd:?} is not absolute"),
        ));
    }
    let user = user(config.user().as_deref().unwrap_or_default(), &mut files)?;

    let process = &mut sample["process"];
    process["terminal"] = wishes.terminal.into();
    process["user"] = user;
    process["args"] = args.into();
    process["env"] = env.into();
    process["cwd"] = cwd.into();
    if let Some(process) = process.as_object_mut() {
        // Programs of images count on more descriptors than a shell needs.
        process.remove("rlimits");
    }
    // Programs like sudo are part of images.
    process["noNewPrivileges"] = false.into();
    if os == Os::Linux && !wishes.rootless {
        let all = json!(CAPABILITIES);
        process["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
    }
    if let Some(hostname) = &wishes.hostname {
        sample["hostname"] = hostname.as_str().into();
    }
    sample["root"] = json!({"path": "rootfs"});
    let linux_on_freebsd = os == Os::Freebsd && image.platform().os == "linux";
    if linux_on_freebsd {
        sample["mounts"] = linux_on_freebsd_mounts();
    }
    for volume in config.volumes().clone().unwrap_or_default() {
        let mount = volume_mount(&volume, &mut files, wishes.rootless)?;
        if let (Some(mount), Some(mounts)) = (mount, sample["mounts"].as_array_mut()) {
            mounts.push(mount);
        }
    }
    sample["annotations"] = Value::Object(annotations(image));
    Ok(sample)
}

/// What a program of Linux looks for (linprocfs(5), linsysfs(5), fdescfs(5)).
fn linux_on_freebsd_mounts() -> Value {
    json!([
        {"destination": "/dev", "type": "devfs", "source": "devfs", "options": ["ruleset=4"]},
        {"destination": "/dev/fd", "type": "fdescfs", "source": "fdescfs", "options": ["linrdlnk"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
        {"destination": "/proc", "type": "linprocfs", "source": "linprocfs"},
        {"destination": "/sys", "type": "linsysfs", "source": "linsysfs"},
        {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"]},
    ])
}

/// A volume is written to without the root file system being changed: a tmpfs
/// that begins with what the image has there.
fn volume_mount(volume: &str, files: &mut Tree, rootless: bool) -> Result<Option<Value>> {
    let wrong = |cause: &str| {
        Err(Error::property(
            format_args!("config.Volumes[{volume:?}]"),
            cause,
        ))
    };
    if !volume.starts_with('/') {
        return wrong("is not an absolute path");
    }
    if volume.split('/').any(|part| part == "..") {
        return wrong("leads elsewhere through ..");
    }
    let parts: Vec<&[u8]> = volume
        .as_bytes()
        .split(|b| *b == b'/')
        .filter(|p| !matches!(*p, b"" | b"."))
        .collect();
    if parts.is_empty() {
        return wrong("is the root itself");
    }
    let mut options = vec!["nosuid".to_owned(), "nodev".into(), "tmpcopyup".into()];
    match files.enter(&parts, false) {
        Ok(true) => {
            let stat = fstat(files.here()).doing("look at", volume)?;
            options.push(format!("mode={:o}", stat.st_mode & 0o7777));
            if !rootless && (stat.st_uid, stat.st_gid) != (0, 0) {
                options.push(format!("uid={}", stat.st_uid));
                options.push(format!("gid={}", stat.st_gid));
            }
        }
        Ok(false) => options.push("mode=755".into()),
        Err(error) => return wrong(&error.to_string()),
    }
    Ok(Some(
        json!({"destination": volume, "type": "tmpfs", "source": "tmpfs", "options": options}),
    ))
}

/// The annotations that conversion.md names; labels win over them.
fn annotations(image: &Image) -> Map<String, Value> {
    let config = &image.config;
    let inner = config.config().clone().unwrap_or_default();
    let mut all = Map::new();
    let mut put = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            all.insert(format!("org.opencontainers.image.{name}"), value.into());
        }
    };
    put("os", Some(config.os().to_string()));
    put("architecture", Some(config.architecture().to_string()));
    put("variant", config.variant().clone());
    put("os.version", config.os_version().clone());
    put(
        "os.features",
        config
            .os_features()
            .as_ref()
            .map(|features| features.join(",")),
    );
    put("author", config.author().clone());
    put("created", config.created().clone());
    put("stopSignal", inner.stop_signal().clone());
    put(
        "exposedPorts",
        inner.exposed_ports().as_ref().map(|ports| ports.join(",")),
    );
    let labels = inner.labels().clone().unwrap_or_default();
    let labels: std::collections::BTreeMap<String, String> = labels.into_iter().collect();
    for (name, value) in labels {
        if !name.is_empty() {
            all.insert(name, value.into());
        }
    }
    all
}

/// `USER[:GROUP]`, each a number or a name of the image's own files.
fn user(text: &str, files: &mut Tree) -> Result<Value> {
    let (name, group) = match text.split_once(':') {
        Some((name, group)) => (name, Some(group).filter(|group| !group.is_empty())),
        None => (text, None),
    };
    let unknown = |what: &str, name: &str, file: &str| {
        let cause = format!("{text:?}: the image's {file} has no {what} {name:?}");
        Err(Error::property("config.User", cause))
    };
    let passwd = read(files, "/etc/passwd")?;
    let groups = read(files, "/etc/group")?;
    let name = if name.is_empty() { "0" } else { name };
    let number = name.parse::<u32>().ok();
    let entry = lines(&passwd).find(|fields| match number {
        Some(uid) => field(fields, 2) == Some(uid),
        None => fields[0] == name,
    });
    let (uid, primary) = match (number, &entry) {
        (Some(uid), entry) => (
            uid,
            entry
                .as_ref()
                .and_then(|fields| field(fields, 3))
                .unwrap_or(0),
        ),
        (None, Some(fields)) => match (field(fields, 2), field(fields, 3)) {
            (Some(uid), Some(gid)) => (uid, gid),
            _ => return unknown("user", name, "/etc/passwd"),
        },
        (None, None) => return unknown("user", name, "/etc/passwd"),
    };
    if let Some(group) = group {
        let gid = match group.parse::<u32>() {
            Ok(gid) => gid,
            Err(_) => {
                let found = lines(&groups).find(|fields| fields[0] == group);
                match found.and_then(|fields| field(&fields, 2)) {
                    Some(gid) => gid,
                    None => return unknown("group", group, "/etc/group"),
                }
            }
        };
        return Ok(json!({"uid": uid, "gid": gid}));
    }
    let mut user = json!({"uid": uid, "gid": primary});
    if let Some(fields) = entry {
        let login = fields[0];
        let member = |fields: &Vec<&str>| {
            fields
                .get(3)
                .is_some_and(|list| list.split(',').any(|one| one == login))
        };
        let mut additional: Vec<u32> = lines(&groups)
            .filter(member)
            .filter_map(|fields| field(&fields, 2))
            .collect();
        additional.retain(|gid| *gid != primary);
        additional.dedup();
        if !additional.is_empty() {
            user["additionalGids"] = additional.into();
        }
    }
    Ok(user)
}

/// Lines of a colon-separated file with the fields that a user or group has.
fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(':').collect::<Vec<_>>())
        .filter(|fields| fields.len() >= 3)
}

fn field(fields: &[&str], at: usize) -> Option<u32> {
    fields.get(at)?.trim().parse().ok()
}

/// Reads a text file of the root file system, whose links stay inside; nothing
/// where there is none.
fn read(files: &mut Tree, path: &str) -> Result<String> {
    let mut parts: Vec<Vec<u8>> = path
        .split('/')
        .filter(|p| !p.is_empty())
        .map(|p| p.as_bytes().to_vec())
        .collect();
    let failed = |cause: String| {
        Err(Error::new(
            "read",
            format_args!("the image's {path}"),
            cause,
        ))
    };
    for _ in 0..40 {
        let Some(name) = parts.pop() else {
            return Ok(String::new());
        };
        let parents: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        match files.enter(&parents, false) {
            Ok(true) => {}
            Ok(false) => return Ok(String::new()),
            Err(error) => return failed(error.to_string()),
        }
        let os = std::ffi::OsStr::from_bytes(&name);
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        match openat(files.here(), os, flags, Mode::empty()) {
            Ok(fd) => {
                let stat = fstat(fd.as_fd()).doing("look at", shown(&name))?;
                if tree::kind(&stat) != SFlag::S_IFREG {
                    return failed("it is not a file".into());
                }
                let mut bytes = Vec::new();
                File::from(fd)
                    .take(LONGEST)
                    .read_to_end(&mut bytes)
                    .doing("read", path)?;
                return Ok(String::from_utf8_lossy(&bytes).into_owned());
            }
            Err(Errno::ENOENT) => return Ok(String::new()),
            Err(errno) => {
                let Ok(target) = readlinkat(files.here(), os) else {
                    return failed(errno_name(errno));
                };
                let target = target.as_bytes();
                let here = files.path().into_encoded_bytes();
                let base: &[u8] = if target.starts_with(b"/") { b"" } else { &here };
                let all = base
                    .split(|b| *b == b'/')
                    .chain(target.split(|b| *b == b'/'));
                parts = all
                    .filter(|part| !matches!(*part, b"" | b"."))
                    .map(<[u8]>::to_vec)
                    .collect();
            }
        }
    }
    failed(errno_name(Errno::ELOOP))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn image(os: &str, config: Value) -> Image {
        let raw = json!({
            "architecture": "amd64", "os": os, "created": "2026-01-02T03:04:05Z", "author": "A",
            "config": config, "rootfs": {"type": "layers", "diff_ids": []},
        });
        Image {
            digest: None,
            manifest_raw: Vec::new(),
            config: serde_json::from_value(raw).unwrap(),
            config_raw: Vec::new(),
            layers: Vec::new(),
        }
    }

    fn made(name: &str, os: Os, image: &Image, wishes: &Wishes) -> Result<Value> {
        let root = std::env::temp_dir().join(format!("brig-config-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::create_dir_all(root.join("data")).unwrap();
        fs::write(
            root.join("etc/real"),
            "root:x:0:0::/:/bin/sh\nweb:x:80:81::/:/bin/sh\n",
        )
        .unwrap();
        symlink("/etc/real", root.join("etc/passwd")).unwrap();
        fs::write(
            root.join("etc/group"),
            "web:x:81:\nlog:x:90:a,web\nops:x:91:web\n",
        )
        .unwrap();
        let fd =
            nix::fcntl::open(&root, OFlag::O_RDONLY | OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        let sample =
            json!({"ociVersion": "1.3.0", "process": {"noNewPrivileges": true}, "mounts": []});
        let result = runtime(sample, image, os, fd.as_fd(), wishes, &mut |_| {});
        fs::remove_dir_all(&root).unwrap();
        result
    }

    #[test]
    fn what_the_image_says() {
        let image = image(
            "linux",
            json!({"User": "web", "Entrypoint": ["/init"], "Cmd": ["-x"], "Env": ["A=b"], "WorkingDir": "/data",
                "Volumes": {"/data": {}}, "StopSignal": "SIGQUIT", "ExposedPorts": {"80/tcp": {}},
                "Labels": {"org.opencontainers.image.author": "label", "own": "1"}}),
        );
        let config = made("says", Os::Linux, &image, &Wishes::default()).unwrap();
        assert_eq!(config["process"]["args"], json!(["/init", "-x"]));
        assert_eq!(
            config["process"]["user"],
            json!({"uid": 80, "gid": 81, "additionalGids": [90, 91]})
        );
        assert_eq!(config["process"]["env"][1], "A=b");
        assert_eq!(config["process"]["cwd"], "/data");
        let annotations = &config["annotations"];
        assert_eq!(
            annotations["org.opencontainers.image.stopSignal"],
            "SIGQUIT"
        );
        assert_eq!(
            annotations["org.opencontainers.image.exposedPorts"],
            "80/tcp"
        );
        assert_eq!(annotations["org.opencontainers.image.author"], "label");
        assert_eq!(annotations["own"], "1");
        let mounts = config["mounts"].as_array().unwrap();
        assert_eq!(mounts.len(), 1);
        assert_eq!(mounts[0]["destination"], "/data");
        let wishes = Wishes {
            command: vec!["-y".into()],
            ..Wishes::default()
        };
        let config = made("wishes", Os::Linux, &image, &wishes).unwrap();
        assert_eq!(config["process"]["args"], json!(["/init", "-y"]));
    }

    #[test]
    fn users_in_each_form() {
        let user = |text: &str| {
            let image = image("linux", json!({"User": text}));
            made("user", Os::Linux, &image, &Wishes::default())
                .map(|config| config["process"]["user"].clone())
        };
        assert_eq!(user("").unwrap(), json!({"uid": 0, "gid": 0}));
        assert_eq!(
            user("80").unwrap(),
            json!({"uid": 80, "gid": 81, "additionalGids": [90, 91]})
        );
        assert_eq!(user("7").unwrap(), json!({"uid": 7, "gid": 0}));
        assert_eq!(user("7:8").unwrap(), json!({"uid": 7, "gid": 8}));
        assert_eq!(user("web:ops").unwrap(), json!({"uid": 80, "gid": 91}));
        let text = user("nobody").unwrap_err().to_string();
        assert_eq!(
            text,
            "config.User: \"nobody\": the image's /etc/passwd has no user \"nobody\""
        );
        assert!(
            user("web:none")
                .unwrap_err()
                .to_string()
                .contains("/etc/group has no group \"none\"")
        );
    }

    #[test]
    fn linux_on_freebsd() {
        let config = made(
            "compat",
            Os::Freebsd,
            &image("linux", json!({"Cmd": ["a"]})),
            &Wishes::default(),
        )
        .unwrap();
        let types: Vec<&str> = config["mounts"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|m| m["type"].as_str())
            .collect();
        assert_eq!(
            types,
            [
                "devfs",
                "fdescfs",
                "tmpfs",
                "linprocfs",
                "linsysfs",
                "tmpfs"
            ]
        );
    }

    #[test]
    fn volumes_are_paths() {
        for (volume, cause) in [
            ("data", "not an absolute path"),
            ("/a/../b", "through .."),
            ("/", "root itself"),
        ] {
            let image = image("linux", json!({"Volumes": {volume: {}}}));
            let text = made("volume", Os::Linux, &image, &Wishes::default())
                .unwrap_err()
                .to_string();
            assert!(text.contains(cause), "{text}");
        }
    }
}
