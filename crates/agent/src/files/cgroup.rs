//! Cgroups of version 2 that the agent makes for its children, below a directory that its file names; cgroups(7).
//!
//! Nothing here waits: what cannot be removed yet is tried again later. It must never believe a path that a
//! client's descriptor is said to have, nor remove or kill in a cgroup that it has not made.

use crate::files::filesystem::{FileSystem, Mounts};
use crate::files::trusted::Status;
use embryo::CgroupLimits;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How deep cgroups are looked into, and how far up from a granted one.
pub const DEPTH_MAX: usize = 64;
/// Directories that one attempt to remove removes, and processes that one attempt to kill kills.
const AT_ONCE: usize = 1024;
const PREFIX: &str = "embryo-agent-";

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CgroupError {
    /// It is no directory of cgroup v2.
    #[error("{} is on {found}, and not a cgroup of version 2", path.display())]
    NotCgroup {
        /// The path.
        path: PathBuf,
        /// Its file system.
        found: FileSystem,
    },
    /// A limit that no kernel takes.
    #[error("{0}")]
    Limit(String),
    /// A call failed.
    #[error("{what}: {errno}{}", hint(*errno))]
    Failed {
        /// What was to be done, with the path.
        what: String,
        /// Why not.
        errno: Errno,
    },
}

/// A cgroup to make others in.
#[derive(Debug)]
pub struct Parent {
    dir: Arc<OwnedFd>,
    status: Status,
    path: PathBuf,
    owner: Owner,
    next: AtomicU64,
}

/// A cgroup that was made for one child. Dropping it leaves it there: [`Own::try_remove`].
#[derive(Debug)]
pub struct Own {
    parent: Arc<OwnedFd>,
    dir: OwnedFd,
    name: String,
    path: PathBuf,
}

/// The process that a cgroup's name says has made it: nobody else has its pid and its start time in its pid
/// namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Owner {
    namespace: u64,
    pid: u32,
    started: u64,
}

impl Parent {
    /// Opens the directory at this absolute path, in which there is no symbolic link.
    ///
    /// # Errors
    /// [`CgroupError::NotCgroup`]; [`CgroupError::Failed`].
    pub fn open(path: &Path) -> Result<Self, CgroupError> {
        let open = |errno| failed(format!("opening {}", path.display()), errno);
        let links = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // As a handle first: what is opened for good is a cgroup.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = openat2(CWD, path, flags, Mode::empty(), links).map_err(open)?;
        let status = Status::of(handle.as_fd()).map_err(open)?;
        let mounts = Mounts::read()
            .map_err(|error| open(Errno::from_io_error(&error).unwrap_or(Errno::IO)))?;
        match mounts.of_id(status.mount) {
            FileSystem::Other(name) if name == "cgroup2" => {}
            found => return Err(CgroupError::NotCgroup { path: path.to_owned(), found }),
        }
        let dir = open_dir(handle.as_fd(), ".").map_err(open)?;
        let owner =
            Owner::this().map_err(|errno| failed("reading /proc/self/stat".into(), errno))?;
        let (dir, path) = (Arc::new(dir), path.to_owned());
        Ok(Self { dir, status, path, owner, next: AtomicU64::new(0) })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a directory that a client sent is this cgroup or one beneath it.
    ///
    /// It is walked up from by handles. One that was opened in another cgroup namespace, or through a bind
    /// mount of a cgroup beneath, is not found to be.
    #[must_use]
    pub fn contains(&self, granted: BorrowedFd<'_>) -> bool {
        let same_device = |status: &Status| {
            status.device == self.status.device && status.kind() == FileType::Directory
        };
        // Nothing is looked up in a directory of another file system.
        let Some(mut at) = Status::of(granted).ok().filter(same_device) else { return false };
        let mut handle: Option<OwnedFd> = None;
        for _ in 0..DEPTH_MAX {
            if at.inode == self.status.inode {
                return true;
            }
            let from = handle.as_ref().map_or(granted, AsFd::as_fd);
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let up = openat2(from, "..", flags, Mode::empty(), ResolveFlags::NO_XDEV);
            let Ok(up) = up else { return false };
            match Status::of(up.as_fd()).ok().filter(same_device) {
                // Above the root there is the root.
                Some(above) if above.inode != at.inode => at = above,
                _ => return false,
            }
            handle = Some(up);
        }
        false
    }

    /// Makes one with these limits.
    ///
    /// # Errors
    /// [`CgroupError::Limit`]; [`CgroupError::Failed`] with the directory or file. It is removed again then.
    pub fn make(&self, limits: &CgroupLimits) -> Result<Own, CgroupError> {
        let files = limits.files().map_err(|error| CgroupError::Limit(error.to_string()))?;
        let name = self.make_directory()?;
        let path = self.path.join(&name);
        let dir = match open_dir(self.dir.as_fd(), &name) {
            Ok(dir) => dir,
            Err(errno) => {
                let _ = rustix::fs::unlinkat(&self.dir, name.as_str(), AtFlags::REMOVEDIR);
                return Err(failed(format!("opening {}", path.display()), errno));
            }
        };
        let own = Own { parent: Arc::clone(&self.dir), dir, name, path };
        for (file, value) in &files {
            if let Err(errno) = write(own.dir.as_fd(), file, value) {
                let _ = own.remove();
                let path = own.path.join(file);
                return Err(failed(format!("writing {value:?} to {}", path.display()), errno));
            }
        }
        Ok(own)
    }

    fn make_directory(&self) -> Result<String, CgroupError> {
        let mut made = Err(Errno::EXIST);
        let mut name = String::new();
        // Names of before this program was replaced by itself.
        for _ in 0..AT_ONCE {
            name = self.owner.name(self.next.fetch_add(1, Ordering::Relaxed));
            made = rustix::fs::mkdirat(&self.dir, name.as_str(), Mode::from_raw_mode(0o755));
            if made != Err(Errno::EXIST) {
                break;
            }
        }
        let what = || format!("making {}", self.path.join(&name).display());
        made.map_err(|errno| failed(what(), errno)).map(|()| name.clone())
    }

    /// Removes the cgroups of agents that are gone, unless somebody is in them, and says how many. Nobody is
    /// killed: who is in one was to live on.
    pub fn leftovers(&self) -> usize {
        let gone = names(self.dir.as_fd()).into_iter().filter(|name| {
            Owner::of_name(name)
                .is_some_and(|owner| owner.namespace == self.owner.namespace && !owner.lives())
        });
        let removed = gone.filter(|name| {
            let Ok(dir) = open_dir(self.dir.as_fd(), name) else { return false };
            let own = Own {
                parent: Arc::clone(&self.dir),
                dir,
                path: self.path.join(name),
                name: name.clone(),
            };
            !own.is_populated() && own.try_remove() == Ok(true)
        });
        removed.count()
    }
}

impl AsFd for Parent {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Own {
    /// One that was made before this program was replaced by itself.
    ///
    /// # Errors
    /// As [`Parent::open`]; it is not there any more.
    pub fn again(path: &Path) -> Result<Self, CgroupError> {
        let gone = || failed(format!("opening {}", path.display()), Errno::NOENT);
        let name = path.file_name().and_then(|name| name.to_str()).ok_or_else(gone)?.to_owned();
        let parent = Parent::open(path.parent().ok_or_else(gone)?)?;
        let dir = open_dir(parent.dir.as_fd(), &name)
            .map_err(|errno| failed(format!("opening {}", path.display()), errno))?;
        Ok(Self { parent: parent.dir, dir, name, path: path.to_owned() })
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether anybody is in it, or in one below it.
    #[must_use]
    pub fn is_populated(&self) -> bool {
        // One that cannot be read has been removed.
        read(self.dir.as_fd(), "cgroup.events")
            .is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
    }

    /// Kills everybody in it and below it. To be repeated while somebody is, on kernels before 5.14: there
    /// they are stopped, and killed one by one.
    ///
    /// # Errors
    /// [`CgroupError::Failed`].
    pub fn kill(&self) -> Result<(), CgroupError> {
        let killed = match write(self.dir.as_fd(), "cgroup.kill", "1") {
            Err(Errno::NOENT) => self.kill_one_by_one(),
            other => other,
        };
        match killed {
            // It is gone, and so is everybody.
            Ok(()) | Err(Errno::NODEV | Errno::NOENT) => Ok(()),
            Err(errno) => Err(failed(format!("killing {}", self.path.display()), errno)),
        }
    }

    fn kill_one_by_one(&self) -> Result<(), Errno> {
        // Who is frozen makes no others, and can be killed.
        let _ = write(self.dir.as_fd(), "cgroup.freeze", "1");
        let mut left = AT_ONCE;
        kill_each(self.dir.as_fd(), DEPTH_MAX, &mut left)
    }

    /// Removes it, with those that were made below it, if nobody is in any of them. False: it has to be tried
    /// again later.
    ///
    /// # Errors
    /// [`CgroupError::Failed`].
    pub fn try_remove(&self) -> Result<bool, CgroupError> {
        self.remove().map_err(|errno| failed(format!("removing {}", self.path.display()), errno))
    }

    fn remove(&self) -> Result<bool, Errno> {
        let rmdir =
            || match rustix::fs::unlinkat(&self.parent, self.name.as_str(), AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => Ok(true),
                Err(Errno::BUSY) => Ok(false),
                Err(errno) => Err(errno),
            };
        if rmdir()? {
            return Ok(true);
        }
        if self.is_populated() {
            return Ok(false);
        }
        let mut left = AT_ONCE;
        remove_below(self.dir.as_fd(), DEPTH_MAX, &mut left);
        rmdir()
    }
}

impl AsFd for Own {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Owner {
    fn this() -> Result<Self, Errno> {
        let pid = std::process::id();
        let namespace = rustix::fs::stat("/proc/self/ns/pid")?.st_ino;
        let started = start_of(pid).ok_or(Errno::SRCH)?;
        Ok(Self { namespace, pid, started })
    }

    fn name(&self, number: u64) -> String {
        let Self { namespace, pid, started } = self;
        format!("{PREFIX}{namespace}-{pid}-{started}-{number}")
    }

    fn of_name(name: &str) -> Option<Self> {
        let mut numbers = name.strip_prefix(PREFIX)?.split('-').map(str::parse::<u64>);
        let mut next = || numbers.next()?.ok();
        let (namespace, pid, started, _) = (next()?, next()?, next()?, next()?);
        Some(Self { namespace, pid: u32::try_from(pid).ok()?, started })
    }

    fn lives(&self) -> bool {
        start_of(self.pid) == Some(self.started)
    }
}

/// When a process was started, in clock ticks since boot: the 22nd field of `/proc/PID/stat`.
fn start_of(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name, the second, may have anything in it.
    stat.rsplit_once(") ")?.1.split(' ').nth(19)?.parse().ok()
}

fn open_dir(at: BorrowedFd<'_>, name: &str) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

fn write(dir: BorrowedFd<'_>, file: &str, value: &str) -> Result<(), Errno> {
    let file = rustix::fs::openat(dir, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::io::write(&file, value.as_bytes()).map(drop)
}

fn read(dir: BorrowedFd<'_>, file: &str) -> Result<String, Errno> {
    let file = rustix::fs::openat(dir, file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let text = std::io::read_to_string(std::fs::File::from(file));
    text.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

/// The cgroups right below.
fn names(dir: BorrowedFd<'_>) -> Vec<String> {
    let entries = Dir::read_from(dir).into_iter().flatten().flatten();
    let below = entries.filter(|entry| entry.file_type() == FileType::Directory);
    let names = below.filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned));
    names.filter(|name| name != "." && name != "..").collect()
}

fn remove_below(dir: BorrowedFd<'_>, deeper: usize, left: &mut usize) {
    for name in names(dir) {
        if *left == 0 || deeper == 0 {
            return;
        }
        *left -= 1;
        if rustix::fs::unlinkat(dir, name.as_str(), AtFlags::REMOVEDIR) == Err(Errno::BUSY)
            && let Ok(below) = open_dir(dir, &name)
        {
            remove_below(below.as_fd(), deeper - 1, left);
            let _ = rustix::fs::unlinkat(dir, name.as_str(), AtFlags::REMOVEDIR);
        }
    }
}

fn kill_each(dir: BorrowedFd<'_>, deeper: usize, left: &mut usize) -> Result<(), Errno> {
    let text = read(dir, "cgroup.procs")?;
    // 0 is somebody outside the pid namespace.
    let pids = text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?));
    for pid in pids.take(*left) {
        *left -= 1;
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    for name in names(dir) {
        if *left == 0 || deeper == 0 {
            break;
        }
        *left -= 1;
        if let Ok(below) = open_dir(dir, &name) {
            let _ = kill_each(below.as_fd(), deeper - 1, left);
        }
    }
    Ok(())
}

fn failed(what: String, errno: Errno) -> CgroupError {
    CgroupError::Failed { what, errno }
}

fn hint(errno: Errno) -> &'static str {
    match errno {
        Errno::ACCESS | Errno::PERM => " (the parent is not delegated to the agent's user)",
        Errno::AGAIN => " (cgroup.max.descendants or cgroup.max.depth of one above allows no more)",
        Errno::ROFS => " (the cgroup file system is mounted read-only)",
        Errno::NODEV => " (the parent has been removed)",
        Errno::NOENT => {
            " (it has been removed, or its controller is not in the parent's cgroup.subtree_control)"
        }
        _ => "",
    }
}
