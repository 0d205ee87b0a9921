//! Which file systems are mounted where this process sees them, by `/proc/thread-self/mountinfo`; proc_pid_mountinfo(5).
//!
//! Asking the file itself, by statfs(2), may take for ever: FUSE passes the question on to its server. This
//! must never call anything local that it does not know to be.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use std::collections::HashMap;
use std::fmt;
use std::io::{self, Read, Seek};

/// File systems of which no request leaves this machine's kernel, by the names that they have in mountinfo.
/// What is not among these is not trusted, and may block.
const LOCAL: [&str; 22] = [
    "bcachefs", "btrfs", "cramfs", "devtmpfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs",
    "iso9660", "jfs", "nilfs2", "overlay", "ramfs", "rootfs", "squashfs", "tmpfs", "udf", "vfat",
    "xfs", "zfs",
];

/// The kind of a file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FileSystem {
    /// One on this machine, whose answers come from its kernel alone.
    Local(String),
    /// Any other: FUSE, a network's, the kernel's own such as procfs.
    Other(String),
    /// One that is not mounted where this process sees it.
    Unknown,
}

impl FileSystem {
    fn named(name: &str) -> Self {
        match LOCAL.contains(&name) {
            true => Self::Local(name.to_owned()),
            false => Self::Other(name.to_owned()),
        }
    }

    /// Whether it is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self, Self::Local(_))
    }
}

impl fmt::Display for FileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(name) | Self::Other(name) => f.write_str(name),
            Self::Unknown => f.write_str("a file system that is not mounted here"),
        }
    }
}

/// All that is mounted, as it was when it was read last.
#[derive(Debug)]
pub struct Mounts {
    file: std::fs::File,
    by_id: HashMap<u64, FileSystem>,
    by_device: HashMap<(u32, u32), FileSystem>,
    /// Whether there were more than are kept.
    cut: bool,
}

/// Mounts that are kept.
const MOUNTS_MAX: usize = 65_536;
/// Bytes of mountinfo that are read.
const BYTES_MAX: u64 = 64 << 20;

impl Mounts {
    /// Reads them.
    ///
    /// # Errors
    /// procfs is not there.
    pub fn read() -> io::Result<Self> {
        let file = rustix::fs::open(
            "/proc/thread-self/mountinfo",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let mut mounts = Self {
            file: file.into(),
            by_id: HashMap::new(),
            by_device: HashMap::new(),
            cut: false,
        };
        mounts.again()?;
        Ok(mounts)
    }

    /// Reads them again.
    ///
    /// # Errors
    /// procfs does not answer.
    pub fn again(&mut self) -> io::Result<()> {
        // What changes after this is noticed.
        let _ = self.changed();
        let mut text = Vec::new();
        self.file.rewind()?;
        (&self.file).take(BYTES_MAX).read_to_end(&mut text)?;
        self.take(&String::from_utf8_lossy(&text));
        Ok(())
    }

    /// Whether something was mounted or unmounted since the last time that this was asked.
    ///
    /// While it answers no, what was read holds: a device number or a mount's id that is in the table still
    /// belongs to what it belonged to, since neither is given away before its file system is unmounted.
    pub fn changed(&mut self) -> bool {
        let mut fds = [PollFd::new(&self.file, PollFlags::PRI)];
        let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        let [file] = &fds;
        !matches!(polled, Ok(0)) || !file.revents().is_empty()
    }

    /// What is mounted under this id.
    #[must_use]
    pub fn of_id(&self, id: u64) -> FileSystem {
        self.by_id.get(&id).cloned().unwrap_or(FileSystem::Unknown)
    }

    /// The file system with this device number. One whose files have other numbers, as those of btrfs have,
    /// is not found.
    #[must_use]
    pub fn of_device(&self, device: (u32, u32)) -> FileSystem {
        self.by_device.get(&device).cloned().unwrap_or(FileSystem::Unknown)
    }

    fn take(&mut self, text: &str) {
        self.by_id.clear();
        self.by_device.clear();
        let mounts = text.lines().filter_map(parse);
        for (id, device, kind) in mounts.take(MOUNTS_MAX) {
            self.by_id.insert(id, kind.clone());
            self.by_device.insert(device, kind);
        }
        self.cut = self.by_id.len() >= MOUNTS_MAX;
    }
}

/// One line: `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw`.
fn parse(line: &str) -> Option<(u64, (u32, u32), FileSystem)> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ');
    let id = fields.next()?.parse().ok()?;
    let (major, minor) = fields.nth(1)?.split_once(':')?;
    let device = (major.parse().ok()?, minor.parse().ok()?);
    // A type with a subtype, as in `fuse.sshfs`, is not among the local ones.
    Some((id, device, FileSystem::named(after.split(' ').next()?)))
}
