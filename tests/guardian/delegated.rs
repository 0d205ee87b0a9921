//! A cgroup of version 2 to make others in, delegated to the user who runs the test, where there is
//! one. It must never be left behind.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names one that was made for this process by its parent.
const VARIABLE: &str = "EMBRYO_TEST_DELEGATED";

/// A directory to make cgroups in.
pub(crate) struct Delegated {
    path: PathBuf,
    own: bool,
}

impl Delegated {
    /// Makes one, or takes the one that was made for this process.
    pub(crate) fn get() -> Option<Self> {
        if let Some(path) = std::env::var_os(VARIABLE) {
            return Some(Self { path: path.into(), own: false });
        }
        Self::make()
    }

    /// Below the cgroup that this process is in.
    pub(crate) fn make() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
        let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
        let name = format!("embryo-delegated-{}", std::process::id());
        let path = PathBuf::from(mount.split(' ').nth(1)?).join(own).join(name);
        std::fs::create_dir(&path).ok()?;
        Some(Self { path, own: true })
    }

    /// Gives it to another user, who finds the cgroup in it that is to be used by a variable. This
    /// process goes into it too: nobody but root moves a process in from outside.
    pub(crate) fn delegate(&self, uid: u32) {
        let (own, room) = (self.path.join("caller"), self.path.join("room"));
        for dir in [&self.path, &own, &room] {
            let _ = std::fs::create_dir(dir);
            for name in ["", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"] {
                std::os::unix::fs::chown(dir.join(name), Some(uid), Some(uid)).expect("root may");
            }
        }
        std::fs::write(own.join("cgroup.procs"), "0").expect("root may");
        // SAFETY: a test that runs alone, whose harness reads no variable at the same time.
        unsafe { std::env::set_var(VARIABLE, room) };
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The cgroups in it.
    pub(crate) fn list(&self) -> Vec<OsString> {
        let entries = std::fs::read_dir(&self.path).expect("it is there").flatten();
        entries.filter(|entry| entry.path().is_dir()).map(|entry| entry.file_name()).collect()
    }

    /// Whether it has this controller to give.
    pub(crate) fn has(&self, controller: &str) -> bool {
        let list = std::fs::read_to_string(self.path.join("cgroup.controllers"));
        list.expect("it is there").split_ascii_whitespace().any(|name| name == controller)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        if !self.own {
            return;
        }
        if let Some(parent) = self.path.parent() {
            let _ = std::fs::write(parent.join("cgroup.procs"), "0");
        }
        // A test that has failed may have left some.
        for name in self.list() {
            let _ = std::fs::write(self.path.join(&name).join("cgroup.kill"), "1");
        }
        let _ = embryo_tests::wait_for(Duration::from_secs(5), || {
            for below in self.list() {
                let below = Self { path: self.path.join(below), own: false };
                below.list().iter().for_each(|name| _ = std::fs::remove_dir(below.path.join(name)));
            }
            self.list().iter().for_each(|name| _ = std::fs::remove_dir(self.path.join(name)));
            std::fs::remove_dir(&self.path).is_ok()
        });
    }
}
