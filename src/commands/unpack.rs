//! `brig unpack`: a bundle of an image.

use std::path::Path;

use super::image::{self, Interrupts};
use super::spec;
use crate::cli::Unpack;
use crate::error::{Error, Result};
use crate::host::Os;
use crate::image::config::{self, Wishes};
use crate::image::layer::Counts;
use crate::image::layout::Image;
use crate::image::progress::{Progress, bytes};
use crate::image::unpack;
use crate::report;

pub fn command(args: &Unpack) -> Result<()> {
    let watch = Interrupts::catch()?;
    let bundle = super::absolute(args.bundle.clone())?;
    // Said before the image is read, which may take a while.
    unpack::prepare(&bundle)?;
    let image = image::find(&args.image, args.platform.as_deref(), &watch)?;
    let wishes = Wishes {
        rootless: args.rootless,
        ..Wishes::default()
    };
    let mut progress = Progress::new("unpack", image.size(), false);
    let mut lines = String::new();
    let quiet = progress.is_drawn();
    let counts = bundle_of(
        &image,
        &bundle,
        &wishes,
        &mut progress,
        &watch,
        &mut |line| {
            if !quiet {
                lines.push_str(&line);
                lines.push('\n');
            }
        },
    )?;
    super::write(&format!(
        "{lines}{}: {}, {} entries, {} in {:.1} s\n",
        bundle.display(),
        image.platform(),
        counts.entries,
        bytes(counts.bytes),
        progress.elapsed().as_secs_f64()
    ))
}

/// Unpacks an image to a bundle. No thread is left when this returns.
///
/// # Errors
/// As [`unpack::unpack`]; the image is of a system that brig does not run.
pub fn bundle_of(
    image: &Image,
    bundle: &Path,
    wishes: &Wishes,
    progress: &mut Progress,
    watch: &Interrupts,
    said: &mut dyn FnMut(String),
) -> Result<Counts> {
    let platform = image.platform();
    let os = match platform.os.as_str() {
        "linux" => Os::this(),
        "freebsd" => Os::Freebsd,
        other => {
            return Err(Error::text(format_args!(
                "the image is for {other}; containers are of freebsd and linux"
            )));
        }
    };
    let sample = spec::sample(os, wishes.rootless);
    let counts = unpack::unpack(
        image,
        bundle,
        wishes.rootless,
        progress,
        watch,
        said,
        &mut |root| {
            let warn = &mut |text: &str| report::warning(text);
            let config = config::runtime(sample.clone(), image, os, root, wishes, warn)?;
            Ok(format!("{config:#}\n"))
        },
    )?;
    match crate::image::threads() {
        0 => Ok(counts),
        // A fork would copy locks that nobody opens any more.
        left => Err(Error::text(format_args!("{left} threads have not ended"))),
    }
}
