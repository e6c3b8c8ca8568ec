//! Linux programs: those of 32 bits, and bundles that engines write for Linux.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use serde_json::json;

use super::support::{Case, Outcome, Test, sh};
use crate::check;

pub const CASES: &[Case] = &[
    Case {
        name: "linux/bits",
        run: bits,
    },
    Case {
        name: "linux/bundle",
        run: bundle,
    },
];

/// A Linux program that ends with status 7: exit(7) by the calls of its size.
fn program(bits: usize) -> Vec<u8> {
    let code: &[u8] = if bits == 64 {
        // mov eax,60; mov edi,7; syscall
        &[0xb8, 60, 0, 0, 0, 0xbf, 7, 0, 0, 0, 0x0f, 0x05]
    } else {
        // mov eax,1; mov ebx,7; int 0x80
        &[0xb8, 1, 0, 0, 0, 0xbb, 7, 0, 0, 0, 0xcd, 0x80]
    };
    let mut file = Vec::new();
    let word = |file: &mut Vec<u8>, value: u64| {
        file.extend_from_slice(&value.to_le_bytes()[..bits / 8]);
    };
    let half = |file: &mut Vec<u8>, value: u16| file.extend_from_slice(&value.to_le_bytes());
    let (header, entry) = if bits == 64 { (64, 56) } else { (52, 32) };
    let (base, length) = (
        0x0804_8000_u64,
        u64::from(header + entry) + code.len() as u64,
    );
    file.extend_from_slice(&[0x7f, b'E', b'L', b'F', (bits / 32) as u8, 1, 1, 3]);
    file.extend_from_slice(&[0; 8]);
    half(&mut file, 2);
    half(&mut file, if bits == 64 { 62 } else { 3 });
    file.extend_from_slice(&1_u32.to_le_bytes());
    word(&mut file, base + u64::from(header + entry));
    word(&mut file, u64::from(header));
    word(&mut file, 0);
    file.extend_from_slice(&[0; 4]);
    for value in [header, entry, 1, 0, 0, 0] {
        half(&mut file, value);
    }
    file.extend_from_slice(&1_u32.to_le_bytes());
    if bits == 64 {
        file.extend_from_slice(&5_u32.to_le_bytes());
    }
    for value in [0, base, base, length, length] {
        word(&mut file, value);
    }
    if bits == 32 {
        file.extend_from_slice(&5_u32.to_le_bytes());
    }
    word(&mut file, 0x1000);
    file.extend_from_slice(code);
    file
}

/// Programs of both sizes; without the module, a line that names it.
fn bits(t: &Test) -> Outcome {
    for (bits, module) in [(32, "linux"), (64, "linux64")] {
        let bundle = t.bundle("b", &["/bin/program"], |_| {})?;
        let file = bundle.join("rootfs/bin/program");
        fs::write(&file, program(bits))?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755))?;
        let path = bundle.to_string_lossy().into_owned();
        // Once loaded it stays loaded, as when the cases run twice.
        if sh(&format!("sysctl -n kern.features.{module}")).is_err() {
            sh(&format!(
                "mv /boot/kernel/{module}.ko /boot/kernel/{module}.away"
            ))?;
            let loaded = t.refused(
                &["run", "-b", &path, "a"],
                &["it is a Linux program", &format!("kldload {module}")],
            );
            sh(&format!(
                "mv /boot/kernel/{module}.away /boot/kernel/{module}.ko"
            ))?;
            loaded?;
        }
        let output = t.output(&["run", "-b", &path, "a"])?;
        check!(output.status.code() == Some(7), "{bits} bits: {output:?}");
        t.down("a")?;
    }
    Ok(())
}

/// A configuration as a Linux engine writes it: its mounts become those that
/// Linux programs see here.
fn bundle(t: &Test) -> Outcome {
    let bundle = t.sleeping("b", |c| {
        c["annotations"] = json!({"org.opencontainers.image.os": "linux"});
        c["mounts"] = json!([
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
                "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}
        ]);
    })?;
    t.up(&bundle, "a")?;
    let script = "cat /proc/version; ls /sys; ls -ld /dev/shm /dev/null; echo x > /dev/shm/x; mount -v; ls /dev";
    let said = t.ok(&["exec", "a", "sh", "-c", script])?;
    for word in [
        "Linux version",
        "class",
        "drwxrwxrwt",
        "crw-rw-rw-",
        "linsysfs",
        "devfs",
    ] {
        check!(said.contains(word), "no {word} in: {said}");
    }
    check!(!said.contains("mem\n"), "devices of the host: {said}");
    t.down("a")?;
    let bundle = t.sleeping("c", |c| {
        c["annotations"] = json!({"org.opencontainers.image.os": "freebsd"});
        c["mounts"] = json!([{"destination": "/proc", "type": "proc", "source": "proc"}]);
    })?;
    let path = bundle.to_string_lossy().into_owned();
    t.refused(
        &["create", "-b", &path, "a"],
        &["mounts[0].type", "use procfs"],
    )
    .map(drop)
}
