//! Names of the annotations that brig reads.

/// Prefix of the annotations that set jail parameters, as podman, buildah and
/// ocijail use them.
pub const JAIL_PREFIX: &str = "org.freebsd.jail.";
/// Parent jail of a container that joins another one's namespaces (podman).
pub const PARENT_JAIL: &str = "org.freebsd.parentJail";
/// Prefix of the annotations that set rctl(8) rules:
/// `org.freebsd.rctl.RESOURCE = ACTION[:AMOUNT][/PER]`.
pub const RCTL_PREFIX: &str = "org.freebsd.rctl.";
/// The processors that the container may use, as `0-3,7`.
pub const CPUSET: &str = "org.freebsd.cpuset";
/// The routing table of the container's processes (setfib(2)).
pub const EXEC_FIB: &str = "org.freebsd.jail.exec.fib";

/// The system that the container's image is for, as engines copy it from the
/// image (image-spec, conversion.md).
pub const IMAGE_OS: &str = "org.opencontainers.image.os";

/// Datasets of ZFS that the container administers, with commas between them;
/// jail(8) has a parameter of that name.
pub const ZFS_DATASET: &str = "org.freebsd.jail.zfs.dataset";
/// An ephemeral root: a switch, or how much may be written to it (`64m`).
pub const EPHEMERAL: &str = "org.freebsd.brig.ephemeral";

/// The path of an annotation in an error.
pub fn path(key: &str) -> String {
    format!("annotations[{key:?}]")
}
