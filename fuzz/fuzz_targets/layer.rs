//! Applies fuzzed layers to a root file system, and looks whether anything
//! beside it was reached: made, changed, linked to or removed.
#![no_main]

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::OnceLock;

use brig_fuzz::archive::Program;
use brig_fuzz::image::archive::Reader;
use brig_fuzz::image::layer::Applier;
use brig_fuzz::image::{Quiet, tree};
use libfuzzer_sys::fuzz_target;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;

struct Place {
    base: PathBuf,
    outside: PathBuf,
    before: Vec<[i64; 10]>,
}

/// Everything that stat(2) tells of a file but when it was read.
fn stat(path: &std::path::Path) -> [i64; 10] {
    let m = fs::symlink_metadata(path).expect("what is outside is there");
    [
        m.ino() as i64,
        m.nlink() as i64,
        i64::from(m.mode()),
        i64::from(m.uid()),
        i64::from(m.gid()),
        m.size() as i64,
        m.mtime(),
        m.mtime_nsec(),
        m.ctime(),
        m.ctime_nsec(),
    ]
}

impl Place {
    /// Below TMPDIR, which is best in memory.
    fn new() -> Place {
        let base = std::env::temp_dir().join(format!("brig-fuzz-{}", std::process::id()));
        let outside = base.join("outside");
        fs::create_dir_all(outside.join("a")).expect("room for the canary");
        fs::write(outside.join("canary"), "tweet").expect("room for the canary");
        fs::create_dir(base.join("root")).expect("room for the root");
        let mut place = Place {
            base,
            outside,
            before: Vec::new(),
        };
        place.before = place.look();
        place
    }

    /// What is made or removed in a directory changes its times.
    fn look(&self) -> Vec<[i64; 10]> {
        let outside = ["", "canary", "a"].map(|name| stat(&self.outside.join(name)));
        let mut all = outside.to_vec();
        all.push(stat(&self.base));
        all
    }

    fn check(&self) {
        assert_eq!(self.look(), self.before, "something beside the root was reached");
    }
}

static PLACE: OnceLock<Place> = OnceLock::new();

fuzz_target!(|input: &[u8]| {
    let place = PLACE.get_or_init(|| {
        nix::sys::stat::umask(Mode::empty());
        Place::new()
    });
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let root = open(&place.base.join("root"), flags, Mode::empty()).expect("the root is there");
    let quiet = Quiet::default();
    let mut program = Program::new(input, place.outside.as_os_str().as_bytes());
    let shape = program.byte();
    let mut applier = Applier::new(root, shape & 1 != 0, &quiet).expect("the root can be looked at");
    let mut failed = false;
    for layer in 0..=(shape >> 1 & 3) {
        let mut archive = Vec::new();
        for _ in 0..=(program.byte() & 15) {
            if program.is_over() {
                break;
            }
            program.entry(&mut archive);
        }
        if shape & 0x80 != 0 {
            archive.resize(archive.len() + 1024, 0);
        }
        if layer > 0 {
            applier.next_layer();
        }
        failed = applier.apply(&mut Reader::new(archive.as_slice()), &mut || {}).is_err();
        if failed {
            break;
        }
    }
    if !failed {
        let _ = applier.finish();
    }
    let root = open(&place.base.join("root"), flags, Mode::empty()).expect("the root is there");
    for entry in fs::read_dir(place.base.join("root")).expect("the root can be read") {
        let name = entry.expect("the root can be read").file_name();
        tree::remove(root.as_fd(), name.as_bytes(), false).expect("what was made can be removed");
    }
    place.check();
});
