//! A root file system to an image: one layer, on those of a base, with a
//! configuration that says what to run.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use oci_spec::image::{Digest, ImageConfiguration};
use serde_json::{Map, Value, json};

use super::archive::{Kind, Reader, Time};
use super::blob::{self, CHUNK};
use super::compress::{self, Blocks, Method};
use super::diff::{Both, Comparable, Diff, Pair, clamped};
use super::layout::{CONFIG, Image, LAYER, MANIFEST, REF_NAME};
use super::layout_write::{Archive, Piece, Target, directory_of};
use super::listing::{FileId, Key, Lister, Listing, path};
use super::progress::Progress;
use super::scan::Source;
use super::stream::{self, Compression};
use super::temporary::Temporary;
use super::write::Writer;
use super::{Watch, go_on};
use crate::error::{Context, Error, Result, io_name};

/// The annotation with the digest of the image that another one is made on
/// (annotations.md).
const BASE_DIGEST: &str = "org.opencontainers.image.base.digest";

/// What is to be made of what.
#[derive(Debug, Default)]
pub struct Options {
    /// A directory or an archive.
    pub rootfs: PathBuf,
    /// The image below.
    pub base: Option<Image>,
    /// A configuration of an image whose values go over the base's.
    pub config: Option<Value>,
    /// Values that go over those.
    pub changes: Changes,
    /// The system that programs of the image are for.
    pub os: Option<String>,
    /// Their architecture, in Go's words.
    pub architecture: Option<String>,
    /// How the layer is compressed; gzip when it is not said.
    pub method: Option<Method>,
    /// No time is later: seconds since 1970 (SOURCE_DATE_EPOCH).
    pub epoch: Option<i64>,
    /// A layout and the image's name there.
    pub layout: Option<(PathBuf, String)>,
    /// An archive of a layout and the image's name there.
    pub archive: Option<(PathBuf, String)>,
}

/// Values of a configuration (config.md); None leaves what is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// The program, with arguments that are always there.
    pub entrypoint: Option<Vec<String>>,
    /// The program without an entry point, or its arguments.
    pub cmd: Option<Vec<String>>,
    /// NAME and value.
    pub env: Vec<(String, String)>,
    /// USER[:GROUP], names or numbers.
    pub user: Option<String>,
    /// An absolute path.
    pub workdir: Option<String>,
    /// Key and value.
    pub labels: Vec<(String, String)>,
    /// Absolute paths.
    pub volumes: Vec<String>,
    /// PORT/PROTOCOL.
    pub ports: Vec<String>,
    /// The signal that asks the program to end.
    pub stop_signal: Option<String>,
}

/// What was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Made {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Entries of the layer, whiteouts among them; None without a new layer.
    pub layer: Option<(u64, compress::Written)>,
}

/// Makes an image.
///
/// # Errors
/// The root file system or the base cannot be read, the image cannot be
/// written, or the work was interrupted. Then nothing is left.
pub fn pack(options: Options, watch: &dyn Watch) -> Result<Made> {
    let made = make(options, watch);
    // Whatever the interrupt made fail is not the reason.
    go_on(watch)?;
    made
}

fn make(options: Options, watch: &dyn Watch) -> Result<Made> {
    let target = match &options.layout {
        Some((path, _)) => Some(Target::open(path)?),
        None => None,
    };
    let archive = match &options.archive {
        Some((path, _)) => Some(Archive::create(path)?),
        None => None,
    };
    let directory = match (&target, &options.archive) {
        (Some(target), _) => target.directory(),
        (None, Some((path, _))) => directory_of(path),
        (None, None) => return Err(Error::text("neither a layout nor an archive is named")),
    };
    let mut source = Source::open(&options.rootfs, watch)?;
    let latest = options.epoch.map(|epoch| (epoch, 0));
    let mut buffer = vec![0_u8; CHUNK];
    let survey = Survey::of(&source.listing, options.base.is_some())?;
    let below = match &options.base {
        Some(base) => Some(layers_of(base, &survey.comparable, watch)?),
        None => None,
    };
    let diff = match &below {
        Some(below) => Diff::between(below, &mut source, latest, &mut buffer, watch)?,
        None => Diff::default(),
    };
    let (total, newest) = diff.totals.unwrap_or((survey.total, survey.newest));
    // Without a date, what the files say: the same input, the same image.
    let created = options.epoch.unwrap_or(newest).max(0);
    let method = options.method.unwrap_or(Method::Gzip);
    let layer = if diff.is_empty() {
        watch.warning("the root file system is the base's: no layer is added");
        None
    } else {
        let temporary = Temporary::file(directory)?;
        let object = format!("the layer in {}", directory.display());
        let file = temporary.open()?;
        let mut entries = 0;
        let written = compress::with(method, file, &object, |blocks| {
            let mut layer = Layer {
                base: below.as_ref(),
                diff: &diff,
                latest,
                whiteouts: (created, 0),
                total,
            };
            entries = layer.write(&mut source, &mut buffer, blocks, watch)?;
            Ok(())
        })?;
        Some((entries, written, temporary))
    };
    let os = options.os.clone().unwrap_or_else(|| survey.os().into());
    let config = configuration(&options, &os, created, layer.as_ref().map(|l| &l.1.diff_id))?;
    // What the trees took is not needed any more.
    drop((source, below));
    let mut pieces = Vec::new();
    let mut layers = Vec::new();
    if let Some(base) = &options.base {
        base_layers(base, &mut layers, &mut pieces)?;
    }
    let mut made = None;
    if let Some((entries, written, temporary)) = layer {
        layers.push(json!({
            "mediaType": format!("{LAYER}{}", method.suffix()),
            "digest": written.digest.to_string(),
            "size": written.size,
        }));
        pieces.push(Piece {
            digest: written.digest.clone(),
            blob: temporary.blob()?,
            temporary: Some(temporary),
        });
        made = Some((entries, written));
    }
    let platform = platform_of(&config);
    let config = Piece::of(config.to_string().into_bytes());
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {
            "mediaType": CONFIG,
            "digest": config.digest.to_string(),
            "size": config.blob.length(),
        },
        "layers": layers,
    });
    if let Some(digest) = options.base.as_ref().and_then(|base| base.digest.as_ref()) {
        manifest["annotations"] = json!({BASE_DIGEST: digest.to_string()});
    }
    let manifest = Piece::of(manifest.to_string().into_bytes());
    let digest = manifest.digest.clone();
    let descriptor = |tag: &str| {
        json!({
            "mediaType": MANIFEST,
            "digest": digest.to_string(),
            "size": manifest.blob.length(),
            "annotations": {REF_NAME: tag},
            "platform": platform,
        })
    };
    let in_layout = options
        .layout
        .as_ref()
        .map(|(_, tag)| (tag, descriptor(tag)));
    let in_archive = options.archive.as_ref().map(|(_, tag)| descriptor(tag));
    pieces.push(config);
    pieces.push(manifest);
    if let (Some(archive), Some(descriptor)) = (&archive, &in_archive) {
        archive.write(descriptor, &pieces, options.epoch.unwrap_or(0), watch)?;
    }
    if let (Some(target), Some((tag, descriptor))) = (target, &in_layout) {
        target.publish(tag, descriptor, pieces, watch)?;
    }
    if let Some(archive) = archive {
        archive.publish()?;
    }
    Ok(Made {
        digest,
        layer: made,
    })
}

/// What a look at all paths of a root file system tells.
struct Survey {
    /// Bytes of all files.
    total: u64,
    /// The latest time of a file, in seconds.
    newest: i64,
    comparable: Comparable,
    freebsd: bool,
    linux: bool,
}

/// Paths that one system always has and the other never.
const OF_FREEBSD: [&[u8]; 2] = [b"libexec\0ld-elf.so.1", b"bin\0freebsd-version"];
const OF_LINUX: [&[u8]; 6] = [
    b"etc\0os-release",
    b"usr\0lib\0os-release",
    b"lib64\0ld-linux-x86-64.so.2",
    b"lib\0ld-linux-aarch64.so.1",
    b"lib\0ld-musl-x86_64.so.1",
    b"lib\0ld-musl-aarch64.so.1",
];

impl Survey {
    fn of(listing: &Listing, compares: bool) -> Result<Survey> {
        let mut survey = Survey {
            total: 0,
            newest: i64::MIN,
            comparable: Comparable::default(),
            freebsd: false,
            linux: false,
        };
        let mut paths = listing.paths()?;
        while let Some((key, node)) = paths.next()? {
            survey.total += listing.share(&node);
            survey.newest = survey.newest.max(node.mtime.0);
            survey.freebsd |= OF_FREEBSD.contains(&key.as_slice());
            survey.linux |= OF_LINUX.contains(&key.as_slice());
            if compares {
                survey.comparable.add(&key, &node)?;
            }
        }
        Ok(survey)
    }

    /// The system that a root file system is of, and else this one.
    fn os(&self) -> &'static str {
        // FreeBSD makes an os-release, too.
        match (self.freebsd, self.linux) {
            (true, _) => "freebsd",
            (false, true) => "linux",
            (false, false) => std::env::consts::OS,
        }
    }
}

/// All paths of an image, with the digests of the files that may be unchanged.
fn layers_of(base: &Image, comparable: &Comparable, watch: &dyn Watch) -> Result<Listing> {
    let mut lister = Lister::default();
    for layer in &base.layers {
        let name = layer.digest.as_ref().unwrap_or(&layer.diff_id);
        let object = format!("layer {name} of the base");
        if let Some(digest) = &layer.digest {
            blob::verify("layer", &layer.blob, digest, layer.size, watch)?;
        }
        let done = AtomicU64::new(0);
        stream::with(&layer.blob, &layer.diff_id, &done, watch, |chunks| {
            let hash = |key: &[u8], size| comparable.has(key, size);
            lister.read(&mut Reader::new(chunks), true, &hash, watch)
        })
        .map_err(|error| Error::new("read", object, error))?;
    }
    lister
        .finish()
        .map_err(|error| Error::new("read", "the base", error))
}

/// What a layer is to have.
struct Layer<'a> {
    base: Option<&'a Listing>,
    diff: &'a Diff,
    /// No time is later.
    latest: Option<Time>,
    /// The time of whiteouts.
    whiteouts: Time,
    /// Bytes of all files.
    total: u64,
}

impl Layer<'_> {
    /// Writes what a layer has, in the order of a walk through sorted names.
    /// Returns the number of entries.
    fn write(
        &mut self,
        source: &mut Source,
        buffer: &mut [u8],
        blocks: &mut Blocks,
        watch: &dyn Watch,
    ) -> Result<u64> {
        let Source {
            listing, content, ..
        } = source;
        let fault = |e: std::io::Error| Error::new("write", "the layer", io_name(&e));
        let mut progress = Progress::new("pack", self.total, false);
        // The first names of files that have more, and how many are to come.
        let mut written: HashMap<FileId, (Key, u32)> = HashMap::new();
        let mut writer = Writer::new(blocks);
        let mut entries = 0;
        let mut removed = self.diff.removed()?;
        let mut both = Both::new(listing, self.base)?;
        while let Some(Pair { key, node, .. }) = both.next()? {
            go_on(watch)?;
            progress.tick();
            let Some((number, mut node)) = node else {
                continue;
            };
            if !self.diff.has(number) {
                continue;
            }
            let mut name = path(&key);
            if node.kind == Kind::Directory {
                if key.is_empty() {
                    name.push(b'.');
                }
                name.push(b'/');
            }
            let mtime = node.mtime;
            node.mtime = clamped(node.mtime, self.latest);
            entries += 1;
            if let Some((first, left)) = written.get_mut(&node.file) {
                writer
                    .header(&name, &node, Some(&path(first)))
                    .map_err(fault)?;
                *left -= 1;
                if *left == 0 {
                    written.remove(&node.file);
                }
                continue;
            }
            writer.header(&name, &node, None).map_err(fault)?;
            // Reading compares with what the file was, not with the date.
            node.mtime = mtime;
            if node.kind == Kind::File {
                content.read(&key, &node, buffer, watch, &mut |bytes| {
                    progress
                        .done
                        .fetch_add(bytes.len() as u64, Ordering::Relaxed);
                    progress.tick();
                    writer.data(bytes).map_err(fault)
                })?;
            }
            if node.kind == Kind::Directory {
                while let Some(hidden) = removed.next(&key)? {
                    let mut name = path(&key);
                    if !name.is_empty() {
                        name.push(b'/');
                    }
                    name.extend_from_slice(super::layer::WHITEOUT);
                    name.extend_from_slice(&hidden);
                    writer.whiteout(&name, self.whiteouts).map_err(fault)?;
                    entries += 1;
                }
            }
            if let Some(names) = listing.names(node.file) {
                written.insert(node.file, (key, names - 1));
            }
        }
        writer.finish().map_err(fault)?;
        Ok(entries)
    }
}

/// The base's layers as descriptors of OCI, and their blobs.
fn base_layers(base: &Image, layers: &mut Vec<Value>, pieces: &mut Vec<Piece>) -> Result<()> {
    let manifest = base.manifest()?;
    for (i, layer) in base.layers.iter().enumerate() {
        let digest = match &layer.digest {
            Some(digest) => digest.clone(),
            // Of a docker archive, whose layers have no digest of their own.
            None => digest_of(&layer.blob)?,
        };
        let known = manifest.get("layers").and_then(|all| all.get(i));
        let mut descriptor = match known {
            Some(known) if known.is_object() => known.clone(),
            _ => json!({
                "mediaType": "",
                "digest": digest.to_string(),
                "size": layer.blob.length(),
            }),
        };
        if !layer.media_type.starts_with("application/vnd.oci.") {
            let mut magic = [0_u8; 6];
            let mut reader = layer.blob.reader();
            let read = std::io::Read::read(&mut reader, &mut magic).doing("read", &digest)?;
            let suffix = match Compression::of(&magic[..read]) {
                Some(Compression::Gzip) => "+gzip",
                Some(Compression::Zstd) => "+zstd",
                _ => "",
            };
            descriptor["mediaType"] = format!("{LAYER}{suffix}").into();
        }
        layers.push(descriptor);
        pieces.push(Piece {
            digest,
            blob: layer.blob.clone(),
            temporary: None,
        });
    }
    Ok(())
}

fn digest_of(from: &blob::Blob) -> Result<Digest> {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    let mut reader = from.reader();
    let mut buffer = vec![0_u8; CHUNK];
    loop {
        match std::io::Read::read(&mut reader, &mut buffer).doing("read", "a layer of the base")? {
            0 => return Ok(blob::sha256_of(hasher)),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn platform_of(config: &Value) -> Value {
    let mut platform = Map::new();
    for name in ["architecture", "os", "os.version", "os.features", "variant"] {
        if let Some(value) = config.get(name) {
            platform.insert(name.into(), value.clone());
        }
    }
    platform.into()
}

/// The members of an image's configuration that a file may give (config.md).
const MEMBERS: [&str; 8] = [
    "created",
    "author",
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "config",
];

/// The configuration: the base's, then the file's, then the changes.
fn configuration(
    options: &Options,
    os: &str,
    created: i64,
    diff_id: Option<&Digest>,
) -> Result<Value> {
    let mut all: Map<String, Value> = match &options.base {
        Some(base) => serde_json::from_slice(&base.config_raw)
            .map_err(|e| Error::text(format_args!("the base's configuration: {e}")))?,
        None => Map::new(),
    };
    let time = UNIX_EPOCH + Duration::from_secs(created.unsigned_abs());
    let created = humantime::format_rfc3339_seconds(time).to_string();
    all.insert("created".into(), created.as_str().into());
    if options.base.is_none() {
        let architecture = super::platform::architecture(std::env::consts::ARCH);
        all.insert("architecture".into(), architecture.into());
        all.insert("os".into(), os.into());
    }
    if let Some(file) = options.config.as_ref().and_then(Value::as_object) {
        for name in MEMBERS.iter().filter(|name| **name != "config") {
            if let Some(value) = file.get(*name) {
                all.insert((*name).into(), value.clone());
            }
        }
    }
    if options.epoch.is_some() {
        all.insert("created".into(), created.as_str().into());
    }
    for (name, value) in [("architecture", &options.architecture), ("os", &options.os)] {
        if let Some(value) = value {
            all.insert(name.into(), value.as_str().into());
        }
    }
    let mut config = match all.remove("config") {
        Some(Value::Object(config)) => config,
        _ => Map::new(),
    };
    let file = options.config.as_ref().and_then(|file| file.get("config"));
    for (name, value) in file.and_then(Value::as_object).into_iter().flatten() {
        config.insert(name.clone(), value.clone());
    }
    options.changes.apply(&mut config);
    // The order of the specification's example.
    let (rootfs, history) = (all.remove("rootfs"), all.remove("history"));
    all.insert("config".into(), config.into());
    let mut diff_ids: Vec<Value> = match &options.base {
        Some(base) => base
            .layers
            .iter()
            .map(|l| l.diff_id.to_string().into())
            .collect(),
        None => Vec::new(),
    };
    diff_ids.extend(diff_id.map(|id| Value::from(id.to_string())));
    let mut rootfs = match rootfs {
        Some(Value::Object(rootfs)) => rootfs,
        _ => Map::from_iter([("type".into(), "layers".into())]),
    };
    rootfs.insert("diff_ids".into(), diff_ids.into());
    all.insert("rootfs".into(), rootfs.into());
    let mut history = match history {
        Some(Value::Array(history)) => history,
        _ => Vec::new(),
    };
    // A history that does not tell of each layer would be wrong with one more.
    let is_empty = |entry: &&Value| entry["empty_layer"] == true;
    let told = history.len() - history.iter().filter(is_empty).count();
    if told == options.base.as_ref().map_or(0, |base| base.layers.len()) {
        let mut entry = json!({"created": all["created"], "created_by": "brig pack"});
        if diff_id.is_none() {
            entry["empty_layer"] = true.into();
        }
        history.push(entry);
    }
    if !history.is_empty() {
        all.insert("history".into(), history.into());
    }
    let all = Value::Object(all);
    let parsed: Result<ImageConfiguration, _> = serde_path_to_error::deserialize(&all);
    match parsed {
        Ok(_) => Ok(all),
        Err(error) => Err(Error::property(
            format_args!("the image's configuration: {}", error.path()),
            error.inner(),
        )),
    }
}

/// Reads a file with an image's configuration.
///
/// # Errors
/// It cannot be read, or is something else.
pub fn read_config(path: &Path) -> Result<Value> {
    let what = format!("--config {}", path.display());
    let text = std::fs::read(path).doing("read", path.display())?;
    let value: Value = serde_json::from_slice(&text)
        .map_err(|error| Error::property(&what, format_args!("not JSON: {error}")))?;
    let Some(object) = value.as_object() else {
        return Err(Error::property(&what, "it is no JSON object"));
    };
    if object.contains_key("ociVersion") {
        return Err(
            Error::property(&what, "it is a container's configuration, not an image's")
                .hint("see config.md of the image specification"),
        );
    }
    let known = |name: &&String| {
        MEMBERS.contains(&name.as_str()) || ["rootfs", "history"].contains(&name.as_str())
    };
    if let Some(name) = object.keys().find(|name| !known(name)) {
        let cause = format!("{name:?} is not of an image's configuration");
        return Err(Error::property(&what, cause));
    }
    if object
        .get("config")
        .is_some_and(|config| !config.is_object())
    {
        return Err(Error::property(
            format_args!("{what}: config"),
            "it is no object",
        ));
    }
    Ok(value)
}

impl Changes {
    fn apply(&self, config: &mut Map<String, Value>) {
        if let Some(entrypoint) = &self.entrypoint {
            put_words(config, "Entrypoint", entrypoint);
            // What the base has there are arguments of its own entry point.
            if self.cmd.is_none() {
                config.remove("Cmd");
            }
        }
        if let Some(cmd) = &self.cmd {
            put_words(config, "Cmd", cmd);
        }
        if !self.env.is_empty() {
            let mut all = match config.remove("Env") {
                Some(Value::Array(all)) => all,
                _ => Vec::new(),
            };
            for (name, value) in &self.env {
                let prefix = format!("{name}=");
                let text = Value::from(format!("{prefix}{value}"));
                let known = all.iter_mut().find(|known| {
                    known
                        .as_str()
                        .is_some_and(|known| known.starts_with(&prefix))
                });
                match known {
                    Some(known) => *known = text,
                    None => all.push(text),
                }
            }
            config.insert("Env".into(), all.into());
        }
        let texts = [
            ("User", &self.user),
            ("WorkingDir", &self.workdir),
            ("StopSignal", &self.stop_signal),
        ];
        for (name, value) in texts {
            match value {
                Some(value) if value.is_empty() => drop(config.remove(name)),
                Some(value) => drop(config.insert(name.into(), value.as_str().into())),
                None => {}
            }
        }
        let labels = self
            .labels
            .iter()
            .map(|(key, value)| (key, value.as_str().into()));
        put_members(config, "Labels", labels);
        put_members(
            config,
            "Volumes",
            self.volumes.iter().map(|path| (path, json!({}))),
        );
        put_members(
            config,
            "ExposedPorts",
            self.ports.iter().map(|port| (port, json!({}))),
        );
    }
}

fn put_words(config: &mut Map<String, Value>, name: &str, words: &[String]) {
    if words.is_empty() {
        config.remove(name);
    } else {
        config.insert(name.into(), words.into());
    }
}

fn put_members<'a>(
    config: &mut Map<String, Value>,
    name: &str,
    members: impl Iterator<Item = (&'a String, Value)>,
) {
    let mut members = members.peekable();
    if members.peek().is_none() {
        return;
    }
    let mut all = match config.remove(name) {
        Some(Value::Object(all)) => all,
        _ => Map::new(),
    };
    for (key, value) in members {
        all.insert(key.clone(), value);
    }
    config.insert(name.into(), all.into());
}

#[cfg(test)]
mod tests {
    use super::super::listing::Node;
    use super::*;

    fn changed(changes: &Changes, before: Value) -> Value {
        let Value::Object(mut config) = before else {
            panic!("an object");
        };
        changes.apply(&mut config);
        config.into()
    }

    #[test]
    fn changes_go_over_what_is_there() {
        let base = json!({
            "Env": ["PATH=/bin", "A=1"], "Cmd": ["x"], "Entrypoint": ["e"], "User": "u",
            "Labels": {"k": "v"}, "Unknown": [1],
        });
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let changes = Changes {
            entrypoint: Some(vec!["/sbin/init".into()]),
            env: vec![pair("A", "2=3"), pair("B", "")],
            user: Some(String::new()),
            workdir: Some("/srv".into()),
            labels: vec![pair("k", "w"), pair("l", "")],
            volumes: vec!["/data".into()],
            ports: vec!["80/tcp".into()],
            stop_signal: Some("SIGINT".into()),
            ..Changes::default()
        };
        let wanted = json!({
            "Env": ["PATH=/bin", "A=2=3", "B="], "Entrypoint": ["/sbin/init"],
            "Labels": {"k": "w", "l": ""}, "Unknown": [1], "WorkingDir": "/srv",
            "StopSignal": "SIGINT", "Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}},
        });
        assert_eq!(changed(&changes, base.clone()), wanted);
        assert_eq!(changed(&Changes::default(), base.clone()), base);
        let cmd = Changes {
            cmd: Some(vec!["y".into(), "z".into()]),
            ..Changes::default()
        };
        let result = changed(&cmd, base.clone());
        assert_eq!(
            (&result["Cmd"], &result["Entrypoint"]),
            (&json!(["y", "z"]), &json!(["e"]))
        );
        let none = Changes {
            cmd: Some(Vec::new()),
            ..Changes::default()
        };
        assert_eq!(changed(&none, base).get("Cmd"), None);
    }

    #[test]
    fn a_configuration_from_nothing() {
        let options = Options {
            epoch: Some(86_400),
            ..Options::default()
        };
        let id = blob::sha256(b"x");
        let config = configuration(&options, "freebsd", 86_400, Some(&id)).unwrap();
        assert_eq!(config["os"], "freebsd");
        assert_eq!(config["created"], "1970-01-02T00:00:00Z");
        assert_eq!(
            config["rootfs"],
            json!({"type": "layers", "diff_ids": [id.to_string()]})
        );
        let entry = json!({"created": "1970-01-02T00:00:00Z", "created_by": "brig pack"});
        assert_eq!(config["history"], json!([entry]));
        let options = Options {
            config: Some(json!({"config": {"Env": "x"}})),
            ..Options::default()
        };
        let error = configuration(&options, "linux", 0, Some(&id))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("the image's configuration: config.Env"),
            "{error}"
        );
    }

    #[test]
    fn the_system_of_a_tree() {
        let of = |paths: &[&str]| {
            let mut lister = Lister::default();
            for path in paths {
                let key = path.replace('/', "\0").into_bytes();
                lister.add(&key, Node::default()).unwrap();
            }
            Survey::of(&lister.finish().unwrap(), false).unwrap().os()
        };
        assert_eq!(of(&["etc/os-release", "libexec/ld-elf.so.1"]), "freebsd");
        assert_eq!(of(&["usr/lib/os-release"]), "linux");
        assert_eq!(of(&["bin/x"]), std::env::consts::OS);
    }
}
