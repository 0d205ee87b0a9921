//! What a descriptor is that a client sent, without asking anybody but this machine's kernel.
//!
//! Whatever is not known is [`Kind::Unknown`]. It must never make a call on a descriptor that its file
//! system could hold up: no read, no statfs(2) of an unknown one, no ioctl(2).

use crate::files::filesystem::{FileSystem, Mounts};
use rustix::fs::{AtFlags, FileType, MemfdFlags, OFlags, SealFlags, Statx, StatxFlags, statx};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::time::{Duration, Instant};

/// What kind of thing a descriptor refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pipe, or a FIFO on a file system of this machine: what happens to it is between its two ends.
    Pipe,
    /// Memory, with its seals.
    Memfd(SealFlags),
    /// A regular file on a file system of this machine.
    File(FileSystem),
    /// A directory on a file system of this machine.
    Directory(FileSystem),
    /// A character device, by major and minor number.
    Character(u32, u32),
    /// A block device.
    Block(u32, u32),
    /// A socket, by its address family (`AF_UNIX` is 1).
    Socket(u16),
    /// An eventfd, pidfd, timerfd, signalfd or epoll instance: one of those that only count or notify.
    Notifier,
    /// Anything else, and files of file systems that are not this machine's own or not mounted here.
    Unknown,
}

/// What is known of a descriptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Its kind.
    pub kind: Kind,
    /// How it was opened: `O_PATH`, to read, to write.
    pub flags: OFlags,
    /// Major and minor number of its device.
    pub device: (u32, u32),
    /// Its inode.
    pub inode: u64,
    /// Its owner, as its file system says.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Type and permissions.
    pub mode: u32,
    /// Bytes, as far as they are known; of files and memory alone.
    pub size: u64,
    /// Bytes that are allocated, likewise.
    allocated: u64,
}

/// What this machine is known to have: which device numbers belong to which file systems.
#[derive(Debug)]
pub struct Known {
    mounts: Mounts,
    read: Instant,
    stale: bool,
    memory: (u32, u32),
    pipes: (u32, u32),
    anonymous: (u32, u32),
    pidfds: Option<(u32, u32)>,
}

/// How soon mounts are read again that have changed. Until then files are unknown.
const AGAIN: Duration = Duration::from_millis(100);
/// Bytes that may be freed by closing.
const FREED_MAX: u64 = 64 << 20;
/// All that makes memory what it is for good.
pub const SEALED: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

impl Known {
    /// Reads what is mounted, and learns the numbers of what is mounted nowhere.
    ///
    /// # Errors
    /// procfs is not there, or no descriptors are left.
    pub fn new() -> io::Result<Self> {
        let number = |fd: BorrowedFd<'_>| stat(fd, StatxFlags::TYPE).map(|found| device(&found));
        let memory = rustix::fs::memfd_create(c"embryo", MemfdFlags::CLOEXEC)?;
        let event = rustix::event::eventfd(0, rustix::event::EventfdFlags::CLOEXEC)?;
        let own = rustix::process::getpid();
        let pidfd = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty())?;
        let (pipe, _) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let (memory, anonymous) = (number(memory.as_fd())?, number(event.as_fd())?);
        let pipes = number(pipe.as_fd())?;
        // They have a file system of their own since Linux 6.9.
        let pidfds = Some(number(pidfd.as_fd())?).filter(|number| *number != anonymous);
        let mounts = Mounts::read()?;
        let read = Instant::now();
        Ok(Self { mounts, read, stale: false, memory, pipes, anonymous, pidfds })
    }

    /// The file system of a file that is open, by its mount or else its device.
    fn file_system(&mut self, fd: BorrowedFd<'_>, found: &Statx) -> FileSystem {
        let first = self.look(fd, found);
        if !self.stale || self.read.elapsed() < AGAIN || self.mounts.again().is_err() {
            return first;
        }
        (self.read, self.stale) = (Instant::now(), false);
        self.look(fd, found)
    }

    fn look(&mut self, fd: BorrowedFd<'_>, found: &Statx) -> FileSystem {
        // The open file keeps its mount and its device number from being given to others, and if nothing
        // was unmounted here until now, what was read of that number is about the same file system.
        self.stale = self.stale || self.mounts.changed();
        if self.stale {
            return FileSystem::Unknown;
        }
        match self.mounts.of_id(found.stx_mnt_id) {
            FileSystem::Unknown => {}
            known => return known,
        }
        // It was opened in another mount namespace. A file of an overlay may show the number of the file
        // system that its upper layer is on, which is asked then; that is never a remote one.
        match self.mounts.of_device(device(found)) {
            FileSystem::Local(name) if name != "overlay" && !is_overlay(fd) => {
                FileSystem::Local(name)
            }
            _ => FileSystem::Unknown,
        }
    }
}

impl Facts {
    /// What it is. No file system is asked that is not of this machine.
    pub fn of(fd: BorrowedFd<'_>, known: &mut Known) -> Self {
        let flags = rustix::fs::fcntl_getfl(fd).unwrap_or(OFlags::empty());
        let wanted = StatxFlags::TYPE
            | StatxFlags::MODE
            | StatxFlags::UID
            | StatxFlags::GID
            | StatxFlags::INO
            | StatxFlags::MNT_ID;
        // FUSE refuses to answer who is not its user.
        let Ok(found) = stat(fd, wanted) else { return Self::unknown(flags) };
        let facts = Self {
            kind: Kind::Unknown,
            flags,
            device: device(&found),
            inode: found.stx_ino,
            uid: found.stx_uid,
            gid: found.stx_gid,
            mode: u32::from(found.stx_mode),
            size: 0,
            allocated: 0,
        };
        let kind = facts.kind(fd, &found, known);
        let facts = Self { kind, ..facts };
        match facts.kind {
            Kind::Memfd(_) | Kind::File(_) => facts.with_size(fd),
            _ => facts,
        }
    }

    fn unknown(flags: OFlags) -> Self {
        let (device, inode, uid, gid, mode) = ((0, 0), 0, u32::MAX, u32::MAX, 0);
        let kind = Kind::Unknown;
        Self { kind, flags, device, inode, uid, gid, mode, size: 0, allocated: 0 }
    }

    fn kind(&self, fd: BorrowedFd<'_>, found: &Statx, known: &mut Known) -> Kind {
        let number = (found.stx_rdev_major, found.stx_rdev_minor);
        if known.pidfds == Some(self.device) {
            return Kind::Notifier;
        }
        if self.device == known.anonymous {
            return if is_notifier(fd) { Kind::Notifier } else { Kind::Unknown };
        }
        match FileType::from_raw_mode(self.mode) {
            FileType::Fifo if self.device == known.pipes => Kind::Pipe,
            FileType::Fifo if known.file_system(fd, found).is_local() => Kind::Pipe,
            FileType::CharacterDevice => Kind::Character(number.0, number.1),
            FileType::BlockDevice => Kind::Block(number.0, number.1),
            // The file of a socket that somebody has bound, opened with O_PATH, is none.
            FileType::Socket => match rustix::net::sockopt::socket_domain(fd) {
                Ok(family) => Kind::Socket(family.as_raw()),
                Err(_) => Kind::Unknown,
            },
            FileType::RegularFile if self.device == known.memory => {
                rustix::fs::fcntl_get_seals(fd).map_or(Kind::Unknown, Kind::Memfd)
            }
            FileType::RegularFile => match known.file_system(fd, found) {
                FileSystem::Local(name) => Kind::File(FileSystem::Local(name)),
                _ => Kind::Unknown,
            },
            FileType::Directory => match known.file_system(fd, found) {
                FileSystem::Local(name) => Kind::Directory(FileSystem::Local(name)),
                _ => Kind::Unknown,
            },
            _ => Kind::Unknown,
        }
    }

    /// A file system of this machine knows how large its files are.
    fn with_size(self, fd: BorrowedFd<'_>) -> Self {
        match stat(fd, StatxFlags::SIZE | StatxFlags::BLOCKS) {
            Ok(found) => Self {
                size: found.stx_size,
                allocated: found.stx_blocks.saturating_mul(512),
                ..self
            },
            Err(_) => Self { size: u64::MAX, allocated: u64::MAX, ..self },
        }
    }

    /// Whether closing it may take its time. It is about now: what is small may have grown a minute later.
    ///
    /// - FUSE asks its server whenever a descriptor is closed (`FLUSH`).
    /// - A socket of the network waits if it was told to (`SO_LINGER`), and one of this machine closes what
    ///   was sent through it and not received, which may be any of these.
    /// - A terminal may wait for its line.
    /// - Whoever closes a large file last that has no name any more frees it, and whoever closes the last
    ///   file of a file system that is not mounted any more unmounts it for good.
    #[must_use]
    pub fn close_may_block(&self) -> bool {
        match self.kind {
            Kind::Pipe | Kind::Notifier | Kind::Directory(_) => false,
            Kind::Memfd(_) | Kind::File(_) => self.allocated > FREED_MAX,
            // null, zero, full, random and urandom; what is on a file system that an ordinary user has
            // mounted cannot be opened.
            Kind::Character(1, 3 | 5 | 7 | 8 | 9) => self.flags.contains(OFlags::PATH),
            _ => true,
        }
    }

    /// Whether this is memory that nobody can change any more.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        matches!(self.kind, Kind::Memfd(seals) if seals.contains(SEALED))
    }
}

/// `statx(2)` of what is known already: `AT_STATX_DONT_SYNC`. FUSE and NFS then answer from their caches,
/// whatever these hold.
fn stat(fd: BorrowedFd<'_>, wanted: StatxFlags) -> Result<Statx, Errno> {
    statx(fd, c"", AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC, wanted)
}

fn device(found: &Statx) -> (u32, u32) {
    (found.stx_dev_major, found.stx_dev_minor)
}

/// Whether a file is of an overlay. Only of one whose device number is that of a local file system.
fn is_overlay(fd: BorrowedFd<'_>) -> bool {
    const OVERLAYFS_SUPER_MAGIC: rustix::fs::FsWord = 0x794c_7630;
    rustix::fs::fstatfs(fd).is_ok_and(|found| found.f_type == OVERLAYFS_SUPER_MAGIC)
}

/// Whether the kernel's own name for it is that of something which closes at once. A file's begins with a
/// slash.
fn is_notifier(fd: BorrowedFd<'_>) -> bool {
    let path = format!("/proc/thread-self/fd/{}", fd.as_raw_fd());
    let name = rustix::fs::readlink(path, Vec::new()).unwrap_or_default();
    let kinds = ["[eventfd]", "[pidfd]", "[timerfd]", "[signalfd]", "[eventpoll]"];
    name.to_str().is_ok_and(|name| {
        name.strip_prefix("anon_inode:").is_some_and(|kind| kinds.contains(&kind))
    })
}
