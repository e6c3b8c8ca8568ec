//! Datasets of ZFS in jails, by the ioctls of /dev/zfs that zfs-jail(8) uses
//! (sys/contrib/openzfs: zfs_ioctl.h and zfs_ioctl_compat.h).

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

/// struct zfs_iocparm.
#[repr(C)]
struct Parameters {
    version: u32,
    command: u64,
    size: u64,
}

const _: () = assert!(size_of::<Parameters>() == 24);

/// ZFS_IOCVER_OZFS: the layout of OpenZFS, since FreeBSD 13.
const VERSION: u32 = 15;

/// Size of struct zfs_cmd, and where its fields lie that are of use here:
/// zc_name (MAXPATHLEN bytes), zc_objset_type and zc_zoneid.
const SIZE: usize = 4528;
const LONGEST_NAME: usize = 1023;
const TYPE: usize = 3408;
const ZONE: usize = 4520;

/// DMU_OST_ZFS.
const FILE_SYSTEM: u64 = 2;

/// ZFS_IOC_OBJSET_STATS, ZFS_IOC_JAIL and ZFS_IOC_UNJAIL.
const STATISTICS: u64 = 0x12;
const ATTACH: u64 = 0x85;
const DETACH: u64 = 0x86;

/// Whether there is such a dataset.
///
/// # Errors
/// ENOENT when there is none, or no ZFS.
pub fn look_at(dataset: &str) -> io::Result<()> {
    call(STATISTICS, dataset, 0)
}

/// Lets the jail see and administer the dataset.
///
/// # Errors
/// ENOENT without ZFS or such a jail, EEXIST when it is attached to it already.
pub fn attach(jid: i32, dataset: &str) -> io::Result<()> {
    call(ATTACH, dataset, jid)
}

/// Takes the dataset back.
///
/// # Errors
/// ENOENT when it is not attached, or without ZFS or such a jail.
pub fn detach(jid: i32, dataset: &str) -> io::Result<()> {
    call(DETACH, dataset, jid)
}

fn call(request: u64, dataset: &str, jid: i32) -> io::Result<()> {
    if dataset.len() > LONGEST_NAME {
        return Err(Errno::ENAMETOOLONG.into());
    }
    let device = File::options().read(true).write(true).open("/dev/zfs")?;
    let mut command = vec![0_u8; SIZE];
    command[..dataset.len()].copy_from_slice(dataset.as_bytes());
    command[TYPE..TYPE + 8].copy_from_slice(&FILE_SYSTEM.to_ne_bytes());
    command[ZONE..].copy_from_slice(&u64::from(jid.unsigned_abs()).to_ne_bytes());
    let mut parameters = Parameters {
        version: VERSION,
        command: command.as_mut_ptr() as u64,
        size: SIZE as u64,
    };
    // _IOWR('Z', request, zfs_iocparm_t).
    let number = 0xc000_0000 | ((size_of::<Parameters>() as u64) << 16) | (u64::from(b'Z') << 8);
    // SAFETY: the parameters are live and of the size that the number tells;
    // they name a live buffer of the size that the kernel reads and writes.
    let result = unsafe {
        let number = (number | request) as libc::c_ulong;
        libc::ioctl(device.as_raw_fd(), number, &raw mut parameters)
    };
    Errno::result(result)?;
    Ok(())
}
