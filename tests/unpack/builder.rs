//! Image layouts byte by byte, so that they can be wrong in any way.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256, Sha512};

pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// An entry of an archive. Made with [`file`] and its like.
#[derive(Clone)]
pub struct Entry {
    pub name: Vec<u8>,
    pub kind: u8,
    pub mode: u32,
    pub owner: (u32, u32),
    pub mtime: u64,
    pub link: Vec<u8>,
    pub data: Vec<u8>,
    pub device: (u32, u32),
    /// Records of a pax header before it.
    pub pax: Vec<(String, Vec<u8>)>,
}

fn entry(name: &str, kind: u8) -> Entry {
    // Without root, files are given to nobody else.
    let owner = (
        nix::unistd::geteuid().as_raw(),
        nix::unistd::getegid().as_raw(),
    );
    Entry {
        name: name.into(),
        kind,
        mode: 0o644,
        owner,
        mtime: 1_000_000_000,
        link: Vec::new(),
        data: Vec::new(),
        device: (0, 0),
        pax: Vec::new(),
    }
}

pub fn file(name: &str, data: impl AsRef<[u8]>) -> Entry {
    Entry {
        data: data.as_ref().to_vec(),
        ..entry(name, b'0')
    }
}

pub fn directory(name: &str) -> Entry {
    Entry {
        mode: 0o755,
        ..entry(name, b'5')
    }
}

pub fn symlink(name: &str, target: &str) -> Entry {
    Entry {
        link: target.into(),
        mode: 0o777,
        ..entry(name, b'2')
    }
}

pub fn hard_link(name: &str, target: &str) -> Entry {
    Entry {
        link: target.into(),
        ..entry(name, b'1')
    }
}

pub fn special(name: &str, kind: u8, device: (u32, u32)) -> Entry {
    Entry {
        device,
        ..entry(name, kind)
    }
}

impl Entry {
    pub fn mode(mut self, mode: u32) -> Entry {
        self.mode = mode;
        self
    }

    pub fn owner(mut self, uid: u32, gid: u32) -> Entry {
        self.owner = (uid, gid);
        self
    }

    pub fn pax(mut self, key: &str, value: impl AsRef<[u8]>) -> Entry {
        self.pax.push((key.into(), value.as_ref().to_vec()));
        self
    }
}

/// An archive of entries, ustar but for what pax headers say. Names that are too
/// long go into GNU's headers.
pub fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut all = Vec::new();
    for entry in entries {
        if !entry.pax.is_empty() {
            let mut records = Vec::new();
            for (key, value) in &entry.pax {
                let rest = key.len() + value.len() + 3;
                let mut length = rest + 1;
                while length != rest + length.to_string().len() {
                    length = rest + length.to_string().len();
                }
                records.extend(format!("{length} {key}=").bytes());
                records.extend(value);
                records.push(b'\n');
            }
            let header = Entry {
                data: records,
                ..self::entry("pax", b'x')
            };
            block(&mut all, &header);
        }
        for (long, kind) in [(&entry.name, b'L'), (&entry.link, b'K')] {
            if long.len() > 100 {
                let mut header = self::entry("././@LongLink", kind);
                header.data = [long.as_slice(), b"\0"].concat();
                block(&mut all, &header);
            }
        }
        block(&mut all, entry);
    }
    all.resize(all.len() + 1024, 0);
    all
}

/// One header and its data.
pub fn block(all: &mut Vec<u8>, entry: &Entry) {
    let mut header = [0_u8; 512];
    let octal = |field: &mut [u8], value: u64| {
        let digits = field.len() - 1;
        field[..digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
    };
    let cut = |text: &[u8]| text[..text.len().min(100)].to_vec();
    let (name, link) = (cut(&entry.name), cut(&entry.link));
    header[..name.len()].copy_from_slice(&name);
    octal(&mut header[100..108], u64::from(entry.mode));
    octal(&mut header[108..116], u64::from(entry.owner.0));
    octal(&mut header[116..124], u64::from(entry.owner.1));
    octal(&mut header[124..136], entry.data.len() as u64);
    octal(&mut header[136..148], entry.mtime);
    header[156] = entry.kind;
    header[157..157 + link.len()].copy_from_slice(&link);
    header[257..265].copy_from_slice(b"ustar\x0000");
    octal(&mut header[329..337], u64::from(entry.device.0));
    octal(&mut header[337..345], u64::from(entry.device.1));
    seal(&mut header);
    all.extend_from_slice(&header);
    all.extend_from_slice(&entry.data);
    all.resize(all.len().next_multiple_of(512), 0);
}

/// Writes a header's checksum.
pub fn seal(header: &mut [u8; 512]) {
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 1).unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

pub fn sha512(bytes: &[u8]) -> String {
    format!("sha512:{}", hex(&Sha512::digest(bytes)))
}

/// A layout directory that is being written; gone when dropped.
pub struct Layout {
    pub base: PathBuf,
    /// Digests are of this algorithm.
    pub digest: fn(&[u8]) -> String,
}

impl Drop for Layout {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.base);
    }
}

/// A layer as a manifest has it: media type, blob, digest of its content.
pub type Layer = (String, Vec<u8>, String);

/// A plain layer of entries.
pub fn layer(entries: &[Entry]) -> Layer {
    let bytes = archive(entries);
    let diff_id = sha256(&bytes);
    (LAYER.into(), bytes, diff_id)
}

impl Layout {
    pub fn new(name: &str) -> Layout {
        let base = std::env::temp_dir().join(format!("brig-unpack-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&base);
        std::fs::create_dir_all(base.join("layout")).unwrap();
        let layout = Layout {
            base,
            digest: sha256,
        };
        std::fs::write(
            layout.path().join("oci-layout"),
            r#"{"imageLayoutVersion":"1.0.0"}"#,
        )
        .unwrap();
        layout
    }

    /// An image of one layer, named `latest`.
    pub fn of(name: &str, entries: &[Entry]) -> Layout {
        let layout = Layout::new(name);
        let manifest = layout.image(&[layer(entries)], json!({}));
        layout.index(&[named(manifest, "latest")]);
        layout
    }

    pub fn path(&self) -> PathBuf {
        self.base.join("layout")
    }

    pub fn out(&self) -> PathBuf {
        self.base.join("out")
    }

    pub fn rootfs(&self) -> PathBuf {
        self.out().join("rootfs")
    }

    /// Where a blob is.
    pub fn blob(&self, digest: &str) -> PathBuf {
        self.path().join("blobs").join(digest.replace(':', "/"))
    }

    /// Writes a blob, and gives its descriptor.
    pub fn put(&self, media_type: &str, bytes: &[u8]) -> Value {
        let digest = (self.digest)(bytes);
        let path = self.blob(&digest);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest, "size": bytes.len()})
    }

    /// Writes an image, and gives its descriptor. `config` is the inner one.
    pub fn image(&self, layers: &[Layer], config: Value) -> Value {
        self.image_for("linux", "amd64", layers, config)
    }

    pub fn image_for(&self, os: &str, arch: &str, layers: &[Layer], config: Value) -> Value {
        let diff_ids: Vec<&String> = layers.iter().map(|(_, _, diff_id)| diff_id).collect();
        let mut config = config;
        if config["Cmd"].is_null() {
            config["Cmd"] = json!(["/bin/sh"]);
        }
        let config = json!({
            "architecture": arch, "os": os, "config": config,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = self.put(
            "application/vnd.oci.image.config.v1+json",
            config.to_string().as_bytes(),
        );
        let layers: Vec<Value> = layers
            .iter()
            .map(|(media_type, bytes, _)| self.put(media_type, bytes))
            .collect();
        self.manifest(json!({"schemaVersion": 2, "config": config, "layers": layers}))
    }

    pub fn manifest(&self, manifest: Value) -> Value {
        self.put(MANIFEST, manifest.to_string().as_bytes())
    }

    /// Writes index.json.
    pub fn index(&self, manifests: &[Value]) {
        let index = json!({"schemaVersion": 2, "manifests": manifests});
        std::fs::write(self.path().join("index.json"), index.to_string()).unwrap();
    }

    /// The descriptor of the first layer of the first image.
    pub fn first_layer(&self) -> Value {
        let read = |path: &Path| -> Value {
            serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
        };
        let index = read(&self.path().join("index.json"));
        let digest = index["manifests"][0]["digest"].as_str().unwrap().to_owned();
        read(&self.blob(&digest))["layers"][0].clone()
    }

    /// Runs brig unpack with these arguments and the bundle.
    pub fn unpack(&self, arguments: &[&str]) -> Run {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_brig"));
        command
            .args(["unpack", "--image", self.path().to_str().unwrap()])
            .args(arguments)
            .arg(self.out());
        let output = command.output().expect("brig runs");
        Run {
            status: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// All names in the directory of the layout and of what is made of it, but
    /// not in the layout.
    pub fn all_names(&self) -> Vec<std::ffi::OsString> {
        let mut all = self.names();
        if let Ok(entries) = std::fs::read_dir(self.out()) {
            all.extend(entries.map(|entry| entry.unwrap().file_name()));
        }
        all
    }

    /// Unpacks what is fine.
    #[track_caller]
    pub fn good(&self) -> Run {
        let run = self.unpack(&[]);
        assert_eq!(run.status, Some(0), "{}", run.err);
        run
    }

    /// Unpacks what is wrong: one line that ends the command, and nothing left.
    #[track_caller]
    pub fn wrong(&self, arguments: &[&str], text: &str) {
        let before = self.names();
        let run = self.unpack(arguments);
        assert_eq!(run.status, Some(1), "{}{}", run.out, run.err);
        assert!(run.err.contains(text), "{}", run.err);
        assert!(
            run.err.starts_with("brig: ") && run.err.lines().count() == 1,
            "{}",
            run.err
        );
        assert_eq!(run.out, "");
        assert_eq!(self.names(), before, "something was left");
    }

    /// The names beside the layout.
    pub fn names(&self) -> Vec<std::ffi::OsString> {
        let entries = std::fs::read_dir(&self.base).unwrap();
        let mut all: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        all.sort();
        all
    }
}

pub struct Run {
    pub status: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Gives a descriptor a name in an index.
pub fn named(mut descriptor: Value, name: &str) -> Value {
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    descriptor
}

/// Gives a descriptor a platform in an index.
pub fn on(mut descriptor: Value, os: &str, arch: &str) -> Value {
    descriptor["platform"] = json!({"os": os, "architecture": arch});
    descriptor
}
