//! `brig image`: what image layouts and archives hold.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};
use signal_hook::{SigId, consts, flag, low_level};

use super::list::columns;
use crate::cli::{self, TableFormat};
use crate::error::{Context, Result};
use crate::image::Watch;
use crate::image::layout::{Image, Layout, Listed};
use crate::image::platform::Platform;
use crate::image::progress::bytes;
use crate::image::reference::Reference;
use crate::report;

/// Signals that end work on an image, which takes its files back first.
const ENDING: [i32; 4] = [
    consts::SIGINT,
    consts::SIGTERM,
    consts::SIGHUP,
    consts::SIGQUIT,
];

/// Catches the signals that end the work, and reports its warnings.
pub struct Interrupts {
    stop: Arc<AtomicBool>,
    caught: Vec<SigId>,
}

impl Interrupts {
    /// Begins to catch.
    ///
    /// # Errors
    /// Those of sigaction(2).
    pub fn catch() -> Result<Interrupts> {
        let mut interrupts = Interrupts {
            stop: Arc::default(),
            caught: Vec::new(),
        };
        for signal in ENDING {
            let id = flag::register(signal, interrupts.stop.clone()).doing("catch", "signals")?;
            interrupts.caught.push(id);
        }
        Ok(interrupts)
    }
}

impl Drop for Interrupts {
    fn drop(&mut self) {
        for id in self.caught.drain(..) {
            low_level::unregister(id);
        }
    }
}

impl Watch for Interrupts {
    fn warning(&self, text: &str) {
        report::warning(text);
    }

    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// The image that SOURCE[:REF] names, for a platform or for this host.
///
/// # Errors
/// It is not there, or is damaged.
pub fn find(text: &str, platform: Option<&str>, watch: &Interrupts) -> Result<Image> {
    let platforms = match platform {
        Some(platform) => vec![Platform::parse(platform)?],
        None => Platform::of_host(),
    };
    let reference = Reference::existing(text)?;
    let layout = Layout::open(&reference.path, watch)?;
    layout.find(reference.name.as_deref(), &platforms)
}

pub fn command(args: &cli::Image) -> Result<()> {
    match args {
        cli::Image::Ls(args) => ls(args),
        cli::Image::Inspect(args) => inspect(args),
    }
}

fn list(text: &str) -> Result<Vec<Listed>> {
    let watch = Interrupts::catch()?;
    let reference = Reference::existing(text)?;
    let layout = Layout::open(&reference.path, &watch)?;
    layout.list(reference.name.as_deref())
}

fn ls(args: &cli::ImageLs) -> Result<()> {
    let all = list(&args.image)?;
    if args.format == TableFormat::Json {
        let all: Value = all.iter().map(summary).collect();
        return super::write(&format!("{all}\n"));
    }
    let heads = ["NAME", "PLATFORM", "LAYERS", "SIZE", "CREATED", "DIGEST"];
    let mut rows = vec![heads.map(String::from)];
    for one in &all {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".into());
        let image = one.image.as_ref().ok();
        let name = (!one.names.is_empty()).then(|| one.names.join(","));
        rows.push([
            or_dash(name),
            or_dash(one.platform.as_ref().map(Platform::to_string)),
            or_dash(image.map(|image| image.layers.len().to_string())),
            or_dash(image.map(|image| bytes(image.size()))),
            or_dash(image.and_then(|image| image.config.created().clone())),
            or_dash(one.digest.clone()),
        ]);
        if let Err(error) = &one.image {
            report::warning(&error.to_string());
        }
    }
    super::write(&columns(&rows))
}

/// What the table has, as JSON.
fn summary(one: &Listed) -> Value {
    let mut value = json!({
        "names": one.names,
        "digest": one.digest,
        "platform": one.platform.as_ref().map(Platform::to_string),
    });
    match &one.image {
        Ok(image) => {
            value["layers"] = image.layers.len().into();
            value["size"] = image.size().into();
            value["created"] = image.config.created().clone().into();
        }
        Err(error) => value["error"] = error.to_string().into(),
    }
    value
}

fn inspect(args: &cli::ImageInspect) -> Result<()> {
    let mut all = Vec::new();
    for one in list(&args.image)? {
        let mut value = summary(&one);
        if let Ok(image) = &one.image {
            let layers: Vec<Value> = image.layers.iter().map(layer).collect();
            value["layers"] = layers.into();
            value["manifest"] = image.manifest().unwrap_or_default();
            value["config"] = serde_json::from_slice(&image.config_raw).unwrap_or_default();
        }
        all.push(value);
    }
    super::write(&format!("{:#}\n", Value::from(all)))
}

fn layer(layer: &crate::image::layout::Layer) -> Value {
    json!({
        "mediaType": layer.media_type,
        "digest": layer.digest.as_ref().map(ToString::to_string),
        "diffId": layer.diff_id.to_string(),
        "size": layer.size,
    })
}
