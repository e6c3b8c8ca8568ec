//! Datasets of ZFS that a container administers.

use super::jail;
use crate::apply::Outcome;
use crate::error::{Error, Result, io_name};
use crate::sys::freebsd::zfs as sys;

fn object(jail: &str, dataset: &str) -> String {
    format!("the ZFS dataset {dataset} to jail {jail}")
}

/// A dataset that is missing is told of before anything is done: the kernel
/// takes any name.
pub(super) fn foresee(jail: &str, dataset: &str) -> Result<()> {
    match sys::look_at(dataset) {
        Ok(()) => Ok(()),
        Err(e) => {
            let fault = |cause: String| Error::new("attach", object(jail, dataset), cause);
            let has_zfs = std::path::Path::new("/dev/zfs").exists();
            Err(match e.raw_os_error() {
                Some(libc::ENOENT) if has_zfs => fault("there is no such dataset".into())
                    .hint(format!("make it with: zfs create -o jailed=on {dataset}")),
                Some(libc::ENOENT) => fault("there is no /dev/zfs".into())
                    .hint("load ZFS with: kldload zfs, and in a jail show the device zfs"),
                _ => fault(io_name(&e)),
            })
        }
    }
}

pub(super) fn attach(jail: &str, dataset: &str) -> Result<Outcome> {
    let fault = |cause: String| Error::new("attach", object(jail, dataset), cause);
    let jid = jail::find(jail)?.ok_or_else(|| fault("there is no such jail".into()))?;
    match sys::attach(jid, dataset) {
        Ok(()) => Ok(Outcome::Done),
        Err(e) if e.raw_os_error() == Some(libc::EPERM) => {
            Err(fault("EPERM".into()).hint("datasets are attached on the host, by root"))
        }
        Err(e) => Err(fault(io_name(&e))),
    }
}

/// Before the jail goes, while the kernel can still name it.
pub(super) fn detach(jail: &str, dataset: &str) -> Result<()> {
    let Some(jid) = jail::find(jail)? else {
        return Ok(());
    };
    match sys::detach(jid, dataset) {
        Ok(()) => Ok(()),
        // It was never attached, or was taken back by hand.
        Err(e) if e.raw_os_error() == Some(libc::ENOENT) => Ok(()),
        Err(e) => {
            let object = format!("the ZFS dataset {dataset} from jail {jail}");
            Err(Error::new("detach", object, io_name(&e)))
        }
    }
}
