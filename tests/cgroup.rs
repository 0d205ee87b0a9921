//! A cgroup to move a process to, where one can be made.

use std::path::PathBuf;

const NAME: &str = "embryo-test-";

/// A directory below the one that this process is in; it is removed when nobody is in it any more.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// On the hierarchy of version 2, wherever that is mounted.
    pub(crate) fn make() -> Option<Self> {
        let path = parent()?.join(format!("{NAME}{}", std::process::id()));
        std::fs::create_dir(&path).ok()?;
        Some(Self(path))
    }

    /// Leaves its removal to whoever started this process, which stays in it to its end: see [`sweep`].
    pub(crate) fn leave_behind(self) {
        std::mem::forget(self);
    }

    /// Whether this process could be moved there.
    pub(crate) fn enter(&self) -> bool {
        std::fs::write(self.0.join("cgroup.procs"), "0").is_ok()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Some(parent) = self.0.parent() {
            let _ = std::fs::write(parent.join("cgroup.procs"), "0");
        }
        // Whoever was in it may take a moment to be gone.
        let _ = embryo_tests::wait_for(std::time::Duration::from_secs(5), || {
            std::fs::remove_dir(&self.0).is_ok()
        });
    }
}

/// The directory of the cgroup that this process is in.
fn parent() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    Some(PathBuf::from(mount.split(' ').nth(1)?).join(own))
}

/// Removes those that processes of this test have left behind, as soon as nobody is in them.
pub(crate) fn sweep() {
    let Some(entries) = parent().and_then(|parent| std::fs::read_dir(parent).ok()) else { return };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(NAME) {
            let _ = embryo_tests::wait_for(std::time::Duration::from_secs(5), || {
                std::fs::remove_dir(entry.path()).is_ok()
            });
        }
    }
}
