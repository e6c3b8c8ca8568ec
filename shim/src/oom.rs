//! Kills for want of memory, where the system tells: Linux's cgroups. FreeBSD
//! has rctl(8) deny or kill, and tells nobody but the process.

use std::rc::Rc;

/// Watches one container.
#[derive(Debug)]
pub struct Watch {
    #[cfg(target_os = "linux")]
    inner: Option<Rc<linux::Watch>>,
}

impl Watch {
    /// Watches the cgroup of the process; `told` is called for each kill.
    pub fn start(pid: u32, told: Rc<dyn Fn()>) -> Self {
        #[cfg(target_os = "linux")]
        return Watch {
            inner: linux::Watch::start(pid, told),
        };
        #[cfg(not(target_os = "linux"))]
        {
            let _ = (pid, told);
            Watch {}
        }
    }

    /// Tells of what the kernel has counted and not yet announced; before the
    /// container's end is told.
    pub fn last_look(&self) {
        #[cfg(target_os = "linux")]
        if let Some(watch) = &self.inner {
            watch.look();
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(watch) = &self.inner {
            watch.stop();
        }
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::cell::{Cell, RefCell};
    use std::fs::File;
    use std::io::Write;
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};
    use std::path::{Path, PathBuf};
    use std::rc::Rc;

    use nix::sys::eventfd::{EfdFlags, EventFd};
    use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;
    use tokio::task::{JoinHandle, spawn_local};

    /// The kernel's count in one cgroup.
    pub struct Watch {
        /// memory.events, or memory.oom_control of version 1: both have a line
        /// "oom_kill N".
        counter: PathBuf,
        seen: Cell<u64>,
        told: Rc<dyn Fn()>,
        task: RefCell<Option<JoinHandle<()>>>,
    }

    impl std::fmt::Debug for Watch {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Watch")
                .field("counter", &self.counter)
                .finish_non_exhaustive()
        }
    }

    impl Watch {
        pub fn start(pid: u32, told: Rc<dyn Fn()>) -> Option<Rc<Self>> {
            let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
            let (directory, is_first) = directory(&groups)?;
            let name = if is_first {
                "memory.oom_control"
            } else {
                "memory.events"
            };
            let watch = Rc::new(Watch {
                counter: directory.join(name),
                seen: Cell::new(0),
                told,
                task: RefCell::default(),
            });
            // A cgroup that was there before may have a past.
            watch.seen.set(watch.count()?);
            let descriptor = if is_first {
                listen_to_first(&directory, &watch.counter)
            } else {
                listen_to_second(&watch.counter)
            };
            match descriptor.and_then(crate::sys::register) {
                Ok(events) => {
                    let task = spawn_local(Rc::clone(&watch).follow(events));
                    *watch.task.borrow_mut() = Some(task);
                }
                Err(error) => crate::log::warning(&format!("oom is seen at the end only: {error}")),
            }
            Some(watch)
        }

        fn count(&self) -> Option<u64> {
            let text = std::fs::read_to_string(&self.counter).ok()?;
            let line = text.lines().find_map(|l| l.strip_prefix("oom_kill "));
            line?.trim().parse().ok()
        }

        /// Tells of kills since the last look; false when the cgroup is gone.
        pub fn look(&self) -> bool {
            let Some(count) = self.count() else {
                return false;
            };
            if count > self.seen.replace(count) {
                (self.told)();
            }
            true
        }

        pub fn stop(&self) {
            if let Some(task) = self.task.borrow_mut().take() {
                task.abort();
            }
        }

        async fn follow(self: Rc<Self>, events: AsyncFd<OwnedFd>) {
            let mut bytes = [0; 4096];
            loop {
                let read = events
                    .async_io(Interest::READABLE, |fd| {
                        Ok(nix::unistd::read(fd, &mut bytes)?)
                    })
                    .await;
                if read.is_err() || !self.look() {
                    return;
                }
                // Version 1 announces before it kills and counts.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                if !self.look() {
                    return;
                }
            }
        }
    }

    /// The memory cgroup in /proc/PID/cgroup, and whether it is of version 1.
    fn directory(groups: &str) -> Option<(PathBuf, bool)> {
        let root = Path::new("/sys/fs/cgroup");
        let below = |root: &Path, path: &str| root.join(path.trim_start_matches('/'));
        for line in groups.lines() {
            let mut fields = line.splitn(3, ':');
            let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            if controllers.split(',').any(|c| c == "memory") {
                return Some((below(&root.join("memory"), path), true));
            }
        }
        let path = groups.lines().find_map(|line| line.strip_prefix("0::"))?;
        Some((below(root, path), false))
    }

    fn listen_to_first(directory: &Path, control: &Path) -> std::io::Result<OwnedFd> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        let control = File::open(control)?;
        let line = format!("{} {}", event.as_fd().as_raw_fd(), control.as_raw_fd());
        let mut registry = File::options()
            .write(true)
            .open(directory.join("cgroup.event_control"))?;
        registry.write_all(line.as_bytes())?;
        event.as_fd().try_clone_to_owned()
    }

    fn listen_to_second(events: &Path) -> std::io::Result<OwnedFd> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
        inotify.add_watch(
            events,
            AddWatchFlags::IN_MODIFY | AddWatchFlags::IN_DELETE_SELF,
        )?;
        inotify.as_fd().try_clone_to_owned()
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn the_memory_cgroup_is_found() {
            let first = "5:cpu,cpuacct:/a\n4:memory:/b/c\n0::/d\n";
            let expected = (PathBuf::from("/sys/fs/cgroup/memory/b/c"), true);
            assert_eq!(directory(first), Some(expected));
            let second = (PathBuf::from("/sys/fs/cgroup/d"), false);
            assert_eq!(directory("0::/d\n"), Some(second));
        }
    }
}
