//! Files that a rule names by path, opened so that nobody but root and the rule's owners has a say in what
//! is found.
//!
//! A path is walked one name at a time, and each directory is checked before anything is looked up in it. No
//! symbolic link is followed, and nothing is opened in a way that could wait: only handles are made (`O_PATH`).
//! It must never answer with something whose way it has not checked.

use crate::files::filesystem::{FileSystem, Mounts};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat2, statx,
};
use rustix::io::Errno;
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

/// Names of a path below a rule's directory, at most. Each costs two system calls.
pub const NAMES_MAX: usize = 64;

/// Something in the way of a path that cannot be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} {reason}", path.display())]
pub struct Untrusted {
    /// The directory or file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub reason: Reason,
}

/// Why something is not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It belongs to somebody else.
    Owner(u32),
    /// Its group may write it, or an access control list says that somebody may.
    Group,
    /// Everybody may write it.
    Everybody,
    /// It is a symbolic link.
    Link,
    /// Another file system is mounted on it, below the rule's directory.
    Mount,
    /// It is on a file system that is not trusted.
    FileSystem(FileSystem),
    /// It is not a directory.
    NotDirectory,
    /// It is not a regular file.
    NotFile,
    /// The path is not absolute, as that of a rule has to be.
    NotAbsolute,
    /// The path is absolute or has `..` in it, which one below a rule's directory must not.
    NotBelow,
    /// The path has more than [`NAMES_MAX`] names.
    TooDeep,
    /// It cannot be opened.
    Errno(Errno),
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner(uid) => write!(f, "belongs to uid {uid}, who is not among the owners"),
            Self::Group => f.write_str("is writable by its group, or by an access control list"),
            Self::Everybody => f.write_str("is writable by everybody"),
            Self::Link => f.write_str("is a symbolic link"),
            Self::Mount => f.write_str("is mounted; name it in a rule of its own"),
            Self::FileSystem(kind) => write!(f, "is on {kind}, which is not trusted"),
            Self::NotDirectory => f.write_str("is not a directory"),
            Self::NotFile => f.write_str("is not a regular file"),
            Self::NotAbsolute => f.write_str("is not an absolute path"),
            Self::NotBelow => f.write_str("is not a path below a rule's directory"),
            Self::TooDeep => write!(f, "has more than {NAMES_MAX} names"),
            Self::Errno(errno) => write!(f, "cannot be opened: {errno}"),
        }
    }
}

/// The directory of a rule.
///
/// It stays the same directory when another is put in its place; the agent's file has to be read again to
/// find that one.
#[derive(Debug)]
pub struct Directory {
    handle: OwnedFd,
    path: PathBuf,
    owners: Box<[u32]>,
}

/// A file or directory that was found below a rule's directory.
#[derive(Debug)]
pub struct Found {
    /// A handle (`O_PATH`): execveat(2), fchdir(2) and open_tree(2) take it.
    pub handle: OwnedFd,
    /// What it is.
    pub status: Status,
}

/// What statx(2) says of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Major and minor number of its device.
    pub device: (u32, u32),
    /// Its inode.
    pub inode: u64,
    /// Type and permissions.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Its length.
    pub size: u64,
    /// The mount that it was opened by.
    pub mount: u64,
}

impl Status {
    /// `statx(2)`, with whatever is known already, so that no file system is asked.
    ///
    /// # Errors
    /// As statx(2).
    pub fn of(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
        Ok(Self::from(statx(fd, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, wanted)?))
    }

    /// Its type.
    #[must_use]
    pub fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.mode)
    }

    /// Whether exec changes the uid or gid, where nothing forbids it.
    #[must_use]
    pub fn is_set_id(&self) -> bool {
        self.mode & 0o6000 != 0
    }

    /// Why somebody besides root and `owners` can change it, if so.
    ///
    /// # Errors
    /// The reason.
    pub fn trusted(&self, owners: &[u32]) -> Result<(), Reason> {
        // The mask of an access control list stands in the group's bits; acl(5).
        match self {
            Self { uid, .. } if *uid != 0 && !owners.contains(uid) => Err(Reason::Owner(*uid)),
            Self { mode, .. } if mode & 0o002 != 0 => Err(Reason::Everybody),
            Self { mode, .. } if mode & 0o020 != 0 => Err(Reason::Group),
            _ => Ok(()),
        }
    }
}

impl From<Statx> for Status {
    fn from(stat: Statx) -> Self {
        Self {
            device: (stat.stx_dev_major, stat.stx_dev_minor),
            inode: stat.stx_ino,
            mode: u32::from(stat.stx_mode),
            uid: stat.stx_uid,
            gid: stat.stx_gid,
            size: stat.stx_size,
            mount: stat.stx_mnt_id,
        }
    }
}

impl Directory {
    /// Opens the directory at an absolute path. Whoever can change it, or what it is found by, is root or one
    /// of `owners`; a directory above it may be everybody's if it has the sticky bit.
    ///
    /// # Errors
    /// What is not trusted, and why.
    pub fn open(path: &Path, owners: &[u32]) -> Result<Self, Untrusted> {
        let whole = |reason| Untrusted { path: path.to_owned(), reason };
        let mut names = path.components();
        if names.next() != Some(Component::RootDir) {
            return Err(whole(Reason::NotAbsolute));
        }
        let mounts = Mounts::read().map_err(|error| {
            let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
            Untrusted { path: "/proc/thread-self/mountinfo".into(), reason: Reason::Errno(errno) }
        })?;
        let mut at = PathBuf::from("/");
        let wrong = |at: &Path, reason| Untrusted { path: at.to_owned(), reason };
        let mut handle = open_below(CWD, Path::new("/"), true, ResolveFlags::empty())
            .map_err(|reason| wrong(&at, reason))?;
        loop {
            let status = status_of(&handle, &mounts).map_err(|reason| wrong(&at, reason))?;
            let Some(name) = names.next() else {
                status.trusted(owners).map_err(|reason| wrong(&at, reason))?;
                return Ok(Self { handle, path: at, owners: owners.into() });
            };
            // Who cannot remove a name from it cannot put anything in the place of a directory that is there.
            let bits = if status.mode & 0o1000 == 0 { 0 } else { 0o022 };
            let above = Status { mode: status.mode & !bits, ..status };
            above.trusted(owners).map_err(|reason| wrong(&at, reason))?;
            let Component::Normal(name) = name else { return Err(whole(Reason::NotAbsolute)) };
            at.push(name);
            handle = open_below(handle.as_fd(), Path::new(name), true, ResolveFlags::empty())
                .map_err(|reason| wrong(&at, reason))?;
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A regular file below it.
    ///
    /// With `n` names that is `1 + 2 n` system calls, besides closing the directories between.
    ///
    /// # Errors
    /// What is not trusted, and why.
    pub fn file(&self, relative: &Path) -> Result<Found, Untrusted> {
        let found = self.walk(relative, false)?;
        match found.status.kind() {
            FileType::RegularFile => Ok(found),
            _ => Err(Untrusted { path: self.path.join(relative), reason: Reason::NotFile }),
        }
    }

    /// A directory below it, or itself for an empty path.
    ///
    /// # Errors
    /// What is not trusted, and why.
    pub fn directory(&self, relative: &Path) -> Result<Found, Untrusted> {
        self.walk(relative, true)
    }

    /// A file of any kind below it, a directory too, or itself for an empty path.
    ///
    /// # Errors
    /// What is not trusted, and why.
    pub fn any(&self, relative: &Path) -> Result<Found, Untrusted> {
        self.walk(relative, false)
    }

    fn walk(&self, relative: &Path, directory: bool) -> Result<Found, Untrusted> {
        let count = relative.components().count();
        if relative.components().any(|name| !matches!(name, Component::Normal(_))) {
            return Err(Untrusted { path: relative.to_owned(), reason: Reason::NotBelow });
        }
        if count > NAMES_MAX {
            return Err(Untrusted { path: relative.to_owned(), reason: Reason::TooDeep });
        }
        // The path is put together when something is wrong, and not before.
        let wrong = |reason, names: usize| {
            let way: PathBuf = relative.components().take(names).collect();
            let path = if names == 0 { self.path.clone() } else { self.path.join(way) };
            Untrusted { path, reason }
        };
        let mut below: Option<OwnedFd> = None;
        let mut status = self.checked(self.as_fd()).map_err(|reason| wrong(reason, 0))?;
        for (depth, name) in (1..).zip(relative.components()) {
            let at = below.as_ref().map_or(self.as_fd(), AsFd::as_fd);
            let next = open_below(at, name.as_ref(), directory || depth < count, BELOW)
                .map_err(|reason| wrong(reason, depth))?;
            status = self.checked(next.as_fd()).map_err(|reason| wrong(reason, depth))?;
            below = Some(next);
        }
        let handle = match below {
            Some(handle) => handle,
            None => rustix::io::fcntl_dupfd_cloexec(&self.handle, 3)
                .map_err(|errno| wrong(Reason::Errno(errno), 0))?,
        };
        Ok(Found { handle, status })
    }

    fn checked(&self, at: BorrowedFd<'_>) -> Result<Status, Reason> {
        let status = Status::of(at).map_err(Reason::Errno)?;
        status.trusted(&self.owners).map(|()| status)
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }
}

/// Below a rule's directory nothing is crossed into that is mounted there, so that no look-up ever asks
/// another file system than the rule's, which is a local one.
const BELOW: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_XDEV);

fn open_below(
    at: BorrowedFd<'_>,
    name: &Path,
    directory: bool,
    more: ResolveFlags,
) -> Result<OwnedFd, Reason> {
    let kind = if directory { OFlags::DIRECTORY } else { OFlags::empty() };
    let flags = OFlags::PATH | OFlags::CLOEXEC | kind;
    let how = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | more;
    openat2(at, name, flags, Mode::empty(), how).map_err(|errno| match errno {
        Errno::LOOP => Reason::Link,
        Errno::XDEV => Reason::Mount,
        Errno::NOTDIR => Reason::NotDirectory,
        errno => Reason::Errno(errno),
    })
}

fn status_of(handle: &OwnedFd, mounts: &Mounts) -> Result<Status, Reason> {
    let status = Status::of(handle.as_fd()).map_err(Reason::Errno)?;
    match mounts.of_id(status.mount) {
        FileSystem::Local(_) => Ok(status),
        other => Err(Reason::FileSystem(other)),
    }
}
