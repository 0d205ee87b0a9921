//! Which cgroup a handle is of: at one that a rule names, or below it.
//!
//! Only cgroup file systems are ever walked in, which answer at once. It must never go by a path that somebody
//! says a handle has.

use super::paths::plain;
use crate::files::trusted::Status;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, fstatfs, openat2};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// `CGROUP2_SUPER_MAGIC`.
const CGROUP2: i64 = 0x6367_7270;
/// Cgroups above one another, at most; more than the kernel makes without being asked to.
const DEPTH_MAX: usize = 128;
/// Where cgroup v2 is mounted.
const ROOT: &str = "/sys/fs/cgroup";

/// A cgroup that a rule names.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    /// Its directory.
    pub(crate) handle: Arc<OwnedFd>,
    status: Status,
}

impl Group {
    /// Opens one. `anywhere` lets it be on a mount of cgroup v2 at another place, which only the agent's file may
    /// name: what a client names is looked up below the one place where it cannot wait.
    pub(crate) fn open(path: &Path, anywhere: bool) -> Result<Self, String> {
        let wrong = |what: &dyn std::fmt::Display| format!("{}: {what}", path.display());
        if plain(path.as_os_str().as_bytes()).is_none() {
            return Err(wrong(&"it is not an absolute path without . and .."));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let how = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let open = |at: BorrowedFd<'_>, path: &Path, more| {
            openat2(at, path, flags, Mode::empty(), how | more).map_err(|errno| wrong(&errno))
        };
        let below_root = |below: &Path| {
            let root = open(CWD, Path::new(ROOT), ResolveFlags::empty())?;
            let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_XDEV;
            let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
            open(root.as_fd(), below, beneath)
        };
        let found = match path.strip_prefix(ROOT) {
            Ok(below) => below_root(below),
            Err(_) => Err(wrong(&format_args!("it is not below {ROOT}"))),
        };
        let handle = match found {
            // Where both versions are mounted, the second may be at a place below the first.
            Err(_) if anywhere => open(CWD, path, ResolveFlags::empty())?,
            found => found?,
        };
        let kind = fstatfs(&handle).map_err(|errno| wrong(&errno))?;
        #[allow(clippy::unnecessary_cast, reason = "its type is another on other machines")]
        if kind.f_type as i64 != CGROUP2 {
            return Err(wrong(&"it is no directory of cgroup v2"));
        }
        let status = Status::of(handle.as_fd()).map_err(|errno| wrong(&errno))?;
        Ok(Self { handle: Arc::new(handle), status })
    }

    /// Whether a handle is of this cgroup or of one below it. A device of the same number is the same file system,
    /// so whoever granted the handle has no say in what is found above it.
    pub(crate) fn holds(&self, granted: BorrowedFd<'_>) -> bool {
        let Ok(mut status) = Status::of(granted) else { return false };
        if status.device != self.status.device {
            return false;
        }
        let mut above: Option<OwnedFd> = None;
        for _ in 0..DEPTH_MAX {
            if status.inode == self.status.inode {
                return true;
            }
            let at = above.as_ref().map_or(granted, AsFd::as_fd);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let how =
                ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
            let Ok(next) = openat2(at, "..", flags, Mode::empty(), how) else { return false };
            let Ok(found) = Status::of(next.as_fd()) else { return false };
            if found.inode == status.inode {
                return false;
            }
            status = found;
            above = Some(next);
        }
        false
    }
}
