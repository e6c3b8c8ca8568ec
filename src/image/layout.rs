//! Image layouts (image-layout.md) and `docker save` archives: from a name and a
//! platform to the configuration and the layers of one image.

use std::path::Path;

use oci_spec::image::{Descriptor, Digest, ImageConfiguration, ImageIndex, ImageManifest};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::Watch;
use super::blob::{self, Blob};
use super::platform::Platform;
use super::reference;
use super::store::Store;
use crate::error::{Error, Result};

/// The annotation that names an image in a layout's index (annotations.md).
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// The same, as containerd and docker write it.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// Media types of OCI and docker.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// An OCI manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An OCI image configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// An OCI layer; `+gzip` or `+zstd` follows.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const INDEXES: [&str; 2] = [
    INDEX,
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const MANIFESTS: [&str; 2] = [
    MANIFEST,
    "application/vnd.docker.distribution.manifest.v2+json",
];
const CONFIGS: [&str; 2] = [CONFIG, "application/vnd.docker.container.image.v1+json"];
const LAYERS: [&str; 4] = [
    LAYER,
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
];

/// How deep indexes nest, and how many manifests an image has for choosing.
const DEEPEST: usize = 8;
const MOST_MANIFESTS: usize = 512;
/// The most layers: overlay file systems take far less.
const MOST_LAYERS: usize = 1024;

/// A layer of an image.
#[derive(Debug, Clone)]
pub struct Layer {
    /// Its bytes, which may be compressed.
    pub blob: Blob,
    /// Digest of the blob; none in a docker archive.
    pub digest: Option<Digest>,
    /// Size that the manifest gives.
    pub size: u64,
    /// Digest of the uncompressed layer.
    pub diff_id: Digest,
    /// Media type, where there is one.
    pub media_type: String,
}

/// An image that was found, with its documents verified.
#[derive(Debug, Clone)]
pub struct Image {
    /// Digest of the manifest; none in a docker archive.
    pub digest: Option<Digest>,
    /// The manifest's bytes.
    pub manifest_raw: Vec<u8>,
    /// The configuration.
    pub config: ImageConfiguration,
    /// The configuration's bytes.
    pub config_raw: Vec<u8>,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
}

impl Image {
    /// What the image runs on.
    pub fn platform(&self) -> Platform {
        Platform {
            os: self.config.os().to_string(),
            architecture: self.config.architecture().to_string(),
            variant: self.config.variant().clone(),
        }
    }

    /// The manifest, with what brig does not know, too.
    ///
    /// # Errors
    /// It is not JSON.
    pub fn manifest(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.manifest_raw).map_err(|e| not_json("manifest", &e))
    }

    /// Size of the layers' blobs in bytes.
    pub fn size(&self) -> u64 {
        self.layers.iter().map(|layer| layer.size).sum()
    }
}

/// An image or an index of images with its names, before one is chosen.
#[derive(Debug, Clone)]
pub struct Named {
    /// Its names; often one tag.
    pub names: Vec<String>,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Descriptor(Box<Descriptor>),
    Docker(DockerImage),
}

/// An image of manifest.json in a docker archive.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// A layout or an archive of one, or of docker.
#[derive(Debug)]
pub struct Layout {
    store: Store,
    /// What its list holds.
    pub images: Vec<Named>,
    /// How it is called in messages.
    name: String,
}

/// An image as a list has it.
#[derive(Debug)]
pub struct Listed {
    /// Its names; often one tag.
    pub names: Vec<String>,
    /// Digest of the manifest; none in a docker archive.
    pub digest: Option<String>,
    /// What it runs on, where that is known.
    pub platform: Option<Platform>,
    /// The image, or why there is none.
    pub image: Result<Image>,
}

/// What an image is made of, by what it runs on. Its documents are read again
/// when it is chosen: there may be many that are not.
struct Candidate<'a> {
    origin: Origin<'a>,
    platform: Platform,
}

enum Origin<'a> {
    Manifest(Box<Descriptor>),
    Docker(&'a DockerImage),
}

/// What was found on the way through indexes.
#[derive(Default)]
struct Found<'a> {
    candidates: Vec<Candidate<'a>>,
    indexes: usize,
}

impl Layout {
    /// Opens a source and reads its list of images.
    ///
    /// # Errors
    /// It cannot be read, or is not one.
    pub fn open(path: &Path, watch: &dyn Watch) -> Result<Layout> {
        Layout::of(Store::open(path, watch)?, path.display().to_string())
    }

    /// Reads the list of images of a store.
    ///
    /// # Errors
    /// It has none, or a damaged one.
    pub fn of(store: Store, name: String) -> Result<Layout> {
        let images = if let Some(blob) = store.get("index.json")? {
            let what = format!("index.json of {name}");
            let index: ImageIndex = parse(&what, &blob::whole(&what, &blob)?, INDEX)?;
            index
                .manifests()
                .iter()
                // Indexes of docker name attestations beside the images.
                .filter(|descriptor| !is_attestation(descriptor))
                .map(|descriptor| {
                    let annotations = descriptor.annotations();
                    let get = |key| annotations.as_ref().and_then(|all| all.get(key)).cloned();
                    let mut names: Vec<String> = [REF_NAME, CONTAINERD_NAME]
                        .into_iter()
                        .filter_map(get)
                        .collect();
                    names.dedup();
                    Named {
                        names,
                        what: What::Descriptor(Box::new(descriptor.clone())),
                    }
                })
                .collect()
        } else if let Some(blob) = store.get("manifest.json")? {
            let what = format!("manifest.json of {name}");
            let all: Vec<DockerImage> = parse(&what, &blob::whole(&what, &blob)?, "")?;
            let named = |image: DockerImage| Named {
                names: image.repo_tags.clone().unwrap_or_default(),
                what: What::Docker(image),
            };
            all.into_iter().map(named).collect()
        } else {
            let text = format!("{name} is neither an image layout nor an archive of one");
            return Err(Error::text(text).hint("it has no index.json and no manifest.json"));
        };
        Ok(Layout {
            store,
            images,
            name,
        })
    }

    /// The image of a name, or the only one, for the first of the platforms
    /// that it has.
    ///
    /// # Errors
    /// The name or the platform is not there, or something is damaged.
    pub fn find(&self, name: Option<&str>, platforms: &[Platform]) -> Result<Image> {
        let named = self.choose(name)?;
        let mut found = Found::default();
        for named in named {
            match &named.what {
                What::Docker(image) => found.candidates.push(Candidate {
                    platform: self.docker(image)?.platform(),
                    origin: Origin::Docker(image),
                }),
                What::Descriptor(descriptor) => self.collect(descriptor, 0, &mut found)?,
            }
        }
        let mut candidates = found.candidates;
        let best = platforms.iter().find_map(|wanted| {
            let fits =
                |(i, candidate): (usize, &Candidate)| Some((wanted.fit(&candidate.platform)?, i));
            candidates.iter().enumerate().filter_map(fits).min()
        });
        let Some((_, best)) = best else {
            let wanted: Vec<String> = platforms.iter().map(Platform::to_string).collect();
            let mut has: Vec<String> = candidates.iter().map(|c| c.platform.to_string()).collect();
            has.sort();
            has.dedup();
            let text = format!("{} has no image for {}", self.name, wanted.join(" or "));
            return Err(match has.as_slice() {
                [] => Error::text(format_args!("{text}: it has no image at all")),
                [only] => Error::text(text).hint(format!("it has one with --platform {only}")),
                _ => Error::text(format_args!("{text}: it has {}", has.join(", ")))
                    .hint("name one with --platform"),
            });
        };
        match candidates.swap_remove(best).origin {
            Origin::Manifest(descriptor) => self.image(&descriptor),
            Origin::Docker(image) => self.docker(image),
        }
    }

    /// The images of a name, or all, on every platform. One that is damaged, or
    /// that this copy lacks, stands there with the error.
    ///
    /// # Errors
    /// The name is not there.
    pub fn list(&self, name: Option<&str>) -> Result<Vec<Listed>> {
        let chosen = match name {
            Some(_) => self.choose(name)?,
            None => self.images.iter().collect(),
        };
        let mut all = Vec::new();
        for named in chosen {
            let mut add = |digest: Option<String>, platform, image| {
                all.push(Listed {
                    names: named.names.clone(),
                    digest,
                    platform,
                    image,
                });
            };
            match &named.what {
                What::Docker(image) => {
                    let image = self.docker(image);
                    let platform = image.as_ref().ok().map(Image::platform);
                    add(None, platform, image);
                }
                What::Descriptor(descriptor) => {
                    let mut found = Found::default();
                    if let Err(error) = self.collect(descriptor, 0, &mut found) {
                        let digest = descriptor.digest().to_string();
                        add(Some(digest), None, Err(error));
                    }
                    for candidate in found.candidates {
                        let Origin::Manifest(descriptor) = candidate.origin else {
                            continue;
                        };
                        let digest = descriptor.digest().to_string();
                        let image = self.image(&descriptor);
                        add(Some(digest), Some(candidate.platform), image);
                    }
                }
            }
        }
        Ok(all)
    }

    /// The entries of the list that a name means.
    fn choose(&self, name: Option<&str>) -> Result<Vec<&Named>> {
        let listed = || {
            let mut names: Vec<&str> = self
                .images
                .iter()
                .flat_map(|n| n.names.iter().map(String::as_str))
                .collect();
            names.sort_unstable();
            names.dedup();
            let nameless = self
                .images
                .iter()
                .filter(|named| named.names.is_empty())
                .count();
            let mut list = names.join(", ");
            if nameless > 0 {
                if !list.is_empty() {
                    list.push_str(" and ");
                }
                list.push_str(&format!("{nameless} without a name, by digest"));
            }
            list
        };
        if self.images.is_empty() {
            return Err(Error::text(format_args!("{} holds no image", self.name)));
        }
        let Some(name) = name else {
            // One image may be listed under several tags, or once a platform.
            let names: std::collections::BTreeSet<&Vec<String>> =
                self.images.iter().map(|n| &n.names).collect();
            let digests: std::collections::BTreeSet<&str> =
                self.images.iter().filter_map(Named::digest).collect();
            if self.images.len() == 1 || names.len() == 1 || digests.len() == 1 {
                return Ok(self.images.iter().collect());
            }
            let text = format!("{} holds several images: {}", self.name, listed());
            return Err(Error::text(text).hint(format!("name one: {}:NAME", self.name)));
        };
        let found: Vec<&Named> = self
            .images
            .iter()
            .filter(|named| {
                named.digest() == Some(name) || named.names.iter().any(|known| known == name)
            })
            .collect();
        if !found.is_empty() {
            return Ok(found);
        }
        let found: Vec<&Named> = self
            .images
            .iter()
            .filter(|named| reference::fits(&named.names, name))
            .collect();
        if let Some(first) = found.first() {
            if found.iter().all(|named| named.names == first.names) {
                return Ok(found);
            }
            let text = format!(
                "{name:?} fits several images of {}: {}",
                self.name,
                listed()
            );
            return Err(Error::text(text).hint("give the whole name"));
        }
        // A digest may be that of a manifest deep in an index.
        if let Ok(digest) = name.parse::<Digest>()
            && let Some(inside) = self.images.iter().find(|named| self.holds(named, &digest))
        {
            return Ok(vec![inside]);
        }
        Err(Error::text(format_args!(
            "{} has no image {name:?}: it has {}",
            self.name,
            listed()
        )))
    }

    fn holds(&self, named: &Named, digest: &Digest) -> bool {
        let mut found = Found::default();
        let What::Descriptor(descriptor) = &named.what else {
            return false;
        };
        let is_it = |candidate: &Candidate<'_>| match &candidate.origin {
            Origin::Manifest(descriptor) => descriptor.digest() == digest,
            Origin::Docker(_) => false,
        };
        self.collect(descriptor, 0, &mut found).is_ok() && found.candidates.iter().any(is_it)
    }

    /// The manifests that a descriptor leads to.
    fn collect(&self, descriptor: &Descriptor, depth: usize, found: &mut Found<'_>) -> Result<()> {
        let media_type = descriptor.media_type().to_string();
        let digest = descriptor.digest();
        if INDEXES.contains(&media_type.as_str()) {
            if depth == DEEPEST {
                return Err(Error::text(format_args!(
                    "index {digest}: indexes nest more than {DEEPEST} deep"
                )));
            }
            // One that lists another many times, and so on, has no end.
            found.indexes += 1;
            if found.indexes > MOST_MANIFESTS {
                return Err(Error::text(format_args!(
                    "{} has more than {MOST_MANIFESTS} indexes",
                    self.name
                )));
            }
            let what = format!("index {digest}");
            let index: ImageIndex =
                parse(&what, &self.document("index", descriptor)?, &media_type)?;
            for inner in index
                .manifests()
                .iter()
                .filter(|inner| !is_attestation(inner))
            {
                self.collect(inner, depth + 1, found)?;
            }
            return Ok(());
        }
        if found.candidates.len() == MOST_MANIFESTS {
            return Err(Error::text(format_args!(
                "{} has more than {MOST_MANIFESTS} manifests",
                self.name
            )));
        }
        // What an index says is believed for choosing; the configuration has it
        // where the index has not.
        let platform = match descriptor.platform() {
            Some(platform) => Platform {
                os: platform.os().to_string(),
                architecture: platform.architecture().to_string(),
                variant: platform.variant().clone(),
            },
            None => self.image(descriptor)?.platform(),
        };
        found.candidates.push(Candidate {
            origin: Origin::Manifest(Box::new(descriptor.clone())),
            platform,
        });
        Ok(())
    }

    fn document(&self, what: &str, descriptor: &Descriptor) -> Result<Vec<u8>> {
        let digest = descriptor.digest();
        blob::document(what, &self.blob(what, digest)?, digest, descriptor.size())
    }

    /// The blob of a digest.
    fn blob(&self, what: &str, digest: &Digest) -> Result<Blob> {
        // A digest's parts have no slash and no dot: the parser saw to that.
        let path = format!("blobs/{}/{}", digest.algorithm(), digest.digest());
        self.store.get(&path)?.ok_or_else(|| {
            Error::text(format_args!("{} lacks the {what} {digest}", self.name))
                .hint("fetch or export the image again")
        })
    }

    /// Reads a manifest and its configuration, and finds its layers.
    fn image(&self, descriptor: &Descriptor) -> Result<Image> {
        let media_type = descriptor.media_type().to_string();
        let digest = descriptor.digest();
        let what = format!("manifest {digest}");
        if !MANIFESTS.contains(&media_type.as_str()) {
            return Err(unknown(&what, &media_type));
        }
        let bytes = self.document("manifest", descriptor)?;
        let manifest: ImageManifest = parse(&what, &bytes, &media_type)?;
        let config = manifest.config();
        let config_type = config.media_type().to_string();
        if !CONFIGS.contains(&config_type.as_str()) {
            return Err(unknown(&format!("{what}: config"), &config_type));
        }
        let config_raw = self.document("configuration", config)?;
        let parsed = configuration(&format!("configuration {}", config.digest()), &config_raw)?;
        let diff_ids = diff_ids(&what, &parsed, manifest.layers().len())?;
        let mut layers = Vec::new();
        for (i, (layer, diff_id)) in manifest.layers().iter().zip(diff_ids).enumerate() {
            let media_type = layer.media_type().to_string();
            let plain = ["+gzip", "+zstd", ".gzip", ".zstd"]
                .iter()
                .find_map(|end| media_type.strip_suffix(end));
            if !LAYERS.contains(&plain.unwrap_or(&media_type)) {
                return Err(unknown(&format!("{what}: layers[{i}]"), &media_type));
            }
            let digest = layer.digest().clone();
            let blob = self.blob("layer", &digest)?;
            layers.push(Layer {
                blob,
                digest: Some(digest),
                size: layer.size(),
                diff_id,
                media_type,
            });
        }
        Ok(Image {
            digest: Some(digest.clone()),
            manifest_raw: bytes,
            config: parsed,
            config_raw,
            layers,
        })
    }

    /// An image of a docker archive. Its configuration's name is its digest,
    /// and the layers are known by the configuration.
    fn docker(&self, image: &DockerImage) -> Result<Image> {
        let get = |name: &str| {
            // Archives name members; a directory must not be left.
            let inside = !name.starts_with('/') && name.split('/').all(|part| part != "..");
            let found = if inside { self.store.get(name)? } else { None };
            found.ok_or_else(|| {
                Error::text(format_args!(
                    "{} lacks {name:?}, which its manifest.json names",
                    self.name
                ))
                .hint("fetch or export the image again")
            })
        };
        let config_raw = blob::whole(&image.config, &get(&image.config)?)?;
        let stem = image
            .config
            .trim_end_matches(".json")
            .rsplit('/')
            .next()
            .unwrap_or_default();
        if let Ok(digest) = format!("sha256:{stem}").parse::<Digest>() {
            let found = blob::sha256(&config_raw);
            if found != digest {
                return Err(blob::mismatch("configuration", &digest, found.digest()));
            }
        }
        let what = format!("configuration {}", image.config);
        let config = configuration(&what, &config_raw)?;
        let diff_ids = diff_ids(&what, &config, image.layers.len())?;
        let mut layers = Vec::new();
        for (name, diff_id) in image.layers.iter().zip(diff_ids) {
            let blob = get(name)?;
            let size = blob.length();
            layers.push(Layer {
                blob,
                digest: None,
                size,
                diff_id,
                media_type: LAYERS[2].into(),
            });
        }
        let manifest = serde_json::json!({
            "Config": image.config, "RepoTags": image.repo_tags, "Layers": image.layers,
        });
        Ok(Image {
            digest: None,
            manifest_raw: manifest.to_string().into_bytes(),
            config,
            config_raw,
            layers,
        })
    }
}

impl Named {
    /// The digest of a manifest or an index.
    pub fn digest(&self) -> Option<&str> {
        match &self.what {
            What::Descriptor(descriptor) => Some(descriptor.digest().as_ref()),
            What::Docker(_) => None,
        }
    }
}

/// Descriptions of how an image was built, which docker keeps among manifests.
fn is_attestation(descriptor: &Descriptor) -> bool {
    let annotations = descriptor.annotations().as_ref();
    annotations.is_some_and(|all| all.contains_key("vnd.docker.reference.type"))
        || descriptor
            .platform()
            .as_ref()
            .is_some_and(|p| p.os().to_string() == "unknown")
}

fn unknown(what: &str, media_type: &str) -> Error {
    Error::text(format_args!(
        "{what}: the media type {media_type:?} is unknown"
    ))
}

fn not_json(what: &str, error: &serde_json::Error) -> Error {
    Error::text(format_args!("{what}: not JSON: {error}"))
}

/// What tells documents apart. Nothing else of one is kept: a value in two bytes
/// would take seventy.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    media_type: Option<String>,
    #[serde(default, deserialize_with = "is_there")]
    manifests: bool,
    #[serde(default, deserialize_with = "is_there")]
    layers: bool,
}

fn is_there<'de, D: serde::Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

/// Parses a document, and refuses one that says it is another kind: the same
/// bytes must not be a manifest to one reader and an index to the next.
fn parse<T: for<'de> Deserialize<'de>>(what: &str, bytes: &[u8], media_type: &str) -> Result<T> {
    // Before what it says is looked at.
    let _: IgnoredAny = serde_json::from_slice(bytes).map_err(|e| not_json(what, &e))?;
    if !media_type.is_empty() {
        let (kind, is_index) = match INDEXES.contains(&media_type) {
            true => ("an index", true),
            false => ("a manifest", false),
        };
        let not_one = || Error::text(format_args!("{what}: it is not {kind}"));
        // A list is read as an object's values, too.
        if !bytes.trim_ascii_start().starts_with(b"{") {
            return Err(not_one());
        }
        let told: Told = read(what, bytes)?;
        if let Some(says) = told.media_type.filter(|says| says != media_type) {
            return Err(Error::text(format_args!(
                "{what}: it says it is {says:?}, not {media_type:?}"
            )));
        }
        let (own, other) = match is_index {
            true => (told.manifests, told.layers),
            false => (told.layers, told.manifests),
        };
        if !own || other {
            return Err(not_one());
        }
    }
    read(what, bytes)
}

fn read<T: for<'de> Deserialize<'de>>(what: &str, bytes: &[u8]) -> Result<T> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    serde_path_to_error::deserialize(&mut deserializer)
        .map_err(|error| Error::text(format_args!("{what}: {}: {}", error.path(), error.inner())))
}

fn configuration(what: &str, bytes: &[u8]) -> Result<ImageConfiguration> {
    parse(what, bytes, "")
}

/// The digests of the uncompressed layers, one for each layer.
fn diff_ids(what: &str, config: &ImageConfiguration, layers: usize) -> Result<Vec<Digest>> {
    let texts = config.rootfs().diff_ids();
    if texts.len() != layers {
        let count = texts.len();
        return Err(Error::text(format_args!(
            "{what}: {layers} layers, but rootfs.diff_ids has {count}"
        )));
    }
    if layers > MOST_LAYERS {
        return Err(Error::text(format_args!(
            "{what}: more than {MOST_LAYERS} layers"
        )));
    }
    let parse = |text: &String| {
        text.parse()
            .map_err(|e| Error::text(format_args!("{what}: rootfs.diff_ids: {text:?}: {e}")))
    };
    texts.iter().map(parse).collect()
}
