//! `brig pack`: an image of a root file system.

use std::path::{Path, PathBuf};

use super::image::Interrupts;
use crate::cli::{Compress, Pack, PlanOs};
use crate::error::{Error, Result};
use crate::image::Watch;
use crate::image::compress::Method;
use crate::image::layout::{Image, Layout};
use crate::image::layout_write::directory_of;
use crate::image::pack::{self, Changes, Options};
use crate::image::platform::{Platform, architecture};
use crate::image::progress::bytes;
use crate::image::reference::Reference;

/// Architectures whose images may be a base on any host.
const ARCHITECTURES: [&str; 8] = [
    "amd64", "arm64", "riscv64", "arm", "386", "ppc64le", "s390x", "loong64",
];

pub fn command(args: Pack) -> Result<()> {
    let watch = Interrupts::catch()?;
    let os = args.os.map(|os| match os {
        PlanOs::Freebsd => "freebsd",
        PlanOs::Linux => "linux",
    });
    let arch = args.arch.as_deref().map(architecture);
    let layout = args.image.as_deref().map(Reference::to_write).transpose()?;
    let archive = args
        .oci_archive
        .as_deref()
        .map(|text| archive(text, layout.as_ref()));
    for path in layout.iter().map(|(path, _)| path) {
        outside(path, &args.rootfs, "--image")?;
    }
    for path in archive.iter().map(|(path, _)| path) {
        outside(path, &args.rootfs, "--oci-archive")?;
    }
    let options = Options {
        base: match &args.base {
            Some(base) => Some(find(base, os, arch, &watch)?),
            None => None,
        },
        config: match &args.config {
            Some(path) => Some(pack::read_config(path)?),
            None => None,
        },
        changes: changes(&args)?,
        os: os.map(String::from),
        architecture: arch.map(String::from),
        method: Some(match args.compress {
            Compress::Gzip => Method::Gzip,
            Compress::Zstd => Method::Zstd,
        }),
        epoch: epoch()?,
        layout,
        archive,
        rootfs: args.rootfs,
    };
    let made = pack::pack(options, &watch)?;
    let layer = match made.layer {
        Some((entries, written)) => format!(
            "{entries} entries, {} in {}",
            bytes(written.plain),
            bytes(written.size)
        ),
        None => "no new layer".into(),
    };
    super::write(&format!("{}: {layer}\n", made.digest))
}

/// The base for what the image is to be for, or the one that is there.
fn find(text: &str, os: Option<&str>, arch: Option<&str>, watch: &dyn Watch) -> Result<Image> {
    let named = |error: Error| Error::property("--base", error);
    let reference = Reference::existing(text).map_err(named)?;
    let layout = Layout::open(&reference.path, watch).map_err(named)?;
    let this = Platform::new(std::env::consts::OS, std::env::consts::ARCH);
    let systems: Vec<&str> = os.map_or_else(|| vec![&this.os, "freebsd", "linux"], |os| vec![os]);
    let machines: Vec<&str> = match arch {
        Some(arch) => vec![arch],
        None => [this.architecture.as_str()]
            .into_iter()
            .chain(ARCHITECTURES)
            .collect(),
    };
    let all: Vec<Platform> = machines
        .iter()
        .flat_map(|arch| systems.iter().map(move |os| Platform::new(os, arch)))
        .collect();
    layout
        .find(reference.name.as_deref(), &all)
        .map_err(|mut error| {
            // Its hint names a flag of another command.
            if error
                .hint
                .as_ref()
                .is_some_and(|hint| hint.contains("--platform"))
            {
                error.hint = Some("name the base's --os and --arch".into());
            }
            named(error)
        })
}

/// FILE[:TAG]; the tag is that of the layout, or latest.
fn archive(text: &str, layout: Option<&(PathBuf, String)>) -> (PathBuf, String) {
    let plain = text.strip_prefix("oci-archive:").unwrap_or(text);
    match plain.rsplit_once(':') {
        Some((path, tag)) if !path.is_empty() && !tag.is_empty() && !tag.contains('/') => {
            (path.into(), tag.into())
        }
        _ => (plain.into(), layout.map_or("latest", |(_, tag)| tag).into()),
    }
}

/// Refuses to write into the tree that is read.
fn outside(path: &Path, rootfs: &Path, flag: &str) -> Result<()> {
    let Ok(root) = rootfs.canonicalize() else {
        return Ok(());
    };
    let place = path
        .canonicalize()
        .or_else(|_| directory_of(path).canonicalize());
    match place {
        Ok(place) if root.is_dir() && place.starts_with(&root) => {
            let cause = format!("{} lies in the root file system", path.display());
            Err(Error::property(flag, cause))
        }
        _ => Ok(()),
    }
}

fn epoch() -> Result<Option<i64>> {
    let name = "SOURCE_DATE_EPOCH";
    let Some(text) = std::env::var_os(name).filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let seconds = text.to_str().and_then(|text| text.parse::<i64>().ok());
    match seconds {
        // Year 9999, beyond which no date is written.
        Some(seconds @ 0..253_402_300_800) => Ok(Some(seconds)),
        _ => Err(Error::property(
            name,
            format_args!("{text:?} is not a number of seconds since 1970"),
        )),
    }
}

fn changes(args: &Pack) -> Result<Changes> {
    let words = |flag: &str, texts: &[String]| -> Result<Option<Vec<String>>> {
        let mut all = Vec::new();
        for text in texts {
            all.extend(words(text).map_err(|cause| Error::property(flag, cause))?);
        }
        Ok((!texts.is_empty()).then_some(all))
    };
    let pairs = |flag: &str, texts: &[String]| -> Result<Vec<(String, String)>> {
        let pair = |text: &String| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => {
                let cause = format!("{text:?} is not of the form NAME=VALUE");
                Err(Error::property(flag, cause))
            }
        };
        texts.iter().map(pair).collect()
    };
    for (flag, path) in args
        .volume
        .iter()
        .map(|path| ("--volume", path))
        .chain(args.workdir.iter().map(|path| ("--workdir", path)))
    {
        if !path.starts_with('/') {
            return Err(Error::property(
                flag,
                format_args!("{path:?} is not absolute"),
            ));
        }
    }
    Ok(Changes {
        entrypoint: words("--entrypoint", &args.entrypoint)?,
        cmd: words("--cmd", &args.cmd)?,
        env: pairs("--env", &args.env)?,
        user: args.user.clone(),
        workdir: args.workdir.clone(),
        labels: pairs("--label", &args.label)?,
        volumes: args.volume.clone(),
        ports: args
            .port
            .iter()
            .map(|text| port(text))
            .collect::<Result<_>>()?,
        stop_signal: args.stop_signal.clone(),
    })
}

/// PORT[/PROTOCOL], tcp where it is not said.
fn port(text: &str) -> Result<String> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let is_number = number.parse::<u16>().is_ok_and(|number| number > 0);
    if is_number && ["tcp", "udp", "sctp"].contains(&protocol) {
        return Ok(format!("{number}/{protocol}"));
    }
    let cause = format!("{text:?} is not PORT or PORT/PROTOCOL");
    Err(Error::property("--port", cause).hint("as 80 or 53/udp"))
}

/// Words of a command: a JSON array, or words with blanks between them, quoted
/// as in a shell.
fn words(text: &str) -> Result<Vec<String>, String> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text)
            .map_err(|error| format!("{text:?} is not a JSON array of words: {error}"));
    }
    let mut all = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (Some(open), _) if letter == open => quote = None,
            (None | Some('"'), '\\') => match letters.next() {
                Some(next) => {
                    let word = word.get_or_insert_default();
                    // In quotes it is one only before what has a meaning there.
                    if quote.is_some() && !['"', '\\', '$', '`'].contains(&next) {
                        word.push('\\');
                    }
                    word.push(next);
                }
                None => return Err(format!("{text:?} ends with a backslash")),
            },
            (None, blank) if blank.is_whitespace() => all.extend(word.take()),
            (_, letter) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(format!("{text:?} has a quote without its end"));
    }
    all.extend(word);
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_command() {
        let of = |text: &str| words(text).unwrap();
        assert_eq!(of(r#"["a b", "c"]"#), ["a b", "c"]);
        assert_eq!(of("httpd  -D FOREGROUND "), ["httpd", "-D", "FOREGROUND"]);
        assert_eq!(
            of(r#"sh -c 'echo "$A"' "b \"c\" \d" e\ f '' g"h"'i'"#),
            ["sh", "-c", "echo \"$A\"", "b \"c\" \\d", "e f", "", "ghi"]
        );
        assert!(of("").is_empty() && of(" ").is_empty() && of("[]").is_empty());
        for wrong in ["'a", "a\\", "[1]", "[\"a\""] {
            assert!(words(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn ports() {
        assert_eq!(port("80").unwrap(), "80/tcp");
        assert_eq!(port("53/udp").unwrap(), "53/udp");
        for wrong in ["", "0", "70000", "80/x", "80/"] {
            assert!(port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_archives() {
        let layout = (PathBuf::from("l"), "1.0".to_owned());
        let of = |text: &str, layout| archive(text, layout);
        assert_eq!(of("a.tar", None), ("a.tar".into(), "latest".into()));
        assert_eq!(of("a.tar", Some(&layout)), ("a.tar".into(), "1.0".into()));
        assert_eq!(
            of("oci-archive:x/a.tar:t", None),
            ("x/a.tar".into(), "t".into())
        );
        assert_eq!(of("x:y/a.tar", None), ("x:y/a.tar".into(), "latest".into()));
    }
}
