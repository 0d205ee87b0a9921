//! The cgroups that rules name.
//!
//! Only cgroup file systems are ever looked up in, which answer at once. It must never let a client choose another file
//! system.

use super::paths::plain;
use crate::files::cgroup::Parent;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat2};
use std::fmt::Display;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// Where cgroup v2 is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// A cgroup that a rule names.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Its directory.
    pub(crate) handle: Arc<OwnedFd>,
    parent: Arc<Parent>,
}

impl Group {
    /// Opens one. `anywhere` lets it be on a mount of cgroup v2 at another place, which only the agent's file may
    /// name: what a client names is looked up below the one place where it cannot wait.
    pub(crate) fn open(path: &Path, anywhere: bool) -> Result<Self, String> {
        let wrong = |what: &dyn Display| format!("{}: {what}", path.display());
        if plain(path.as_os_str().as_bytes()).is_none() {
            return Err(wrong(&"it is not an absolute path without . and .."));
        }
        let below_root = |below: &Path| {
            let root = open(CWD, Path::new(ROOT), ResolveFlags::empty())?;
            let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV;
            let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
            open(root.as_fd(), below, beneath)
        };
        let handle = match path.strip_prefix(ROOT).map(below_root) {
            Ok(Ok(handle)) => Ok(handle),
            // Where both versions are mounted, the second may be at a place below the first.
            _ if anywhere => open(CWD, path, ResolveFlags::empty()),
            Ok(refused) => refused,
            Err(_) => return Err(wrong(&format_args!("it is not below {ROOT}"))),
        };
        let handle = handle.map_err(|errno| wrong(&errno))?;
        let parent = Parent::open(path).map_err(|error| error.to_string())?;
        if !parent.contains(handle.as_fd()) {
            return Err(wrong(&"it was replaced while it was looked at"));
        }
        Ok(Self { handle: Arc::new(handle), parent: Arc::new(parent) })
    }

    /// Whether a handle is of this cgroup or of one below it.
    pub(crate) fn holds(&self, granted: BorrowedFd<'_>) -> bool {
        self.parent.contains(granted)
    }
}

fn open(at: BorrowedFd<'_>, path: &Path, more: ResolveFlags) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let how = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | more;
    openat2(at, path, flags, Mode::empty(), how)
}
