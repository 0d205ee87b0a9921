//! The ops on mounts: a new root that is put together, and what stands in it.
//!
//! Every path is absolute. Sources are looked up as the child finds them before its root changes; targets in
//! the new root, which no link in it leads out of.

#[cfg(feature = "alloc")]
use super::Parts;
use super::{OpCode, Slot};
use crate::format::Entry;
use crate::view::Plan;
use bitflags::bitflags;
use core::ffi::CStr;

bitflags! {
    /// How something is mounted.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MountFlags: u16 {
        /// Nothing can be written through it (`MOUNT_ATTR_RDONLY`).
        const READ_ONLY = 1;
        /// Set-user-id bits and file capabilities are not honoured (`MOUNT_ATTR_NOSUID`).
        const NOSUID = 2;
        /// Device nodes cannot be opened (`MOUNT_ATTR_NODEV`).
        const NODEV = 4;
        /// Files cannot be executed (`MOUNT_ATTR_NOEXEC`).
        const NOEXEC = 8;
        /// A bind whose source does not exist is passed over.
        const OPTIONAL = 16;
        /// This mount alone, without those below it.
        const FLAT = 32;
        /// The last two layers of an overlay are its upper and its work directory.
        const UPPER = 64;
        /// What is written to an overlay goes to a tmpfs that nobody else sees, and away with it.
        const THROWAWAY = 128;
        /// An overlay keeps its notes in `user.` attributes, as one in a user namespace has to
        /// (Linux 5.11).
        const USERXATTR = 256;
        /// A file of its own, mounted on the target instead of written there.
        const OVER = 512;
        /// Of /proc, the processes alone (`subset=pid`, Linux 5.8).
        const PROCESSES = 1024;
    }
}

impl MountFlags {
    /// Those that are attributes of a mount.
    pub const ATTRIBUTES: Self =
        Self::READ_ONLY.union(Self::NOSUID).union(Self::NODEV).union(Self::NOEXEC);
}

/// How events of mounting spread between a mount and others; mount_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Spread {
    /// Not at all.
    Private = 0,
    /// From the mount that it was copied from, and not back.
    Slave = 1,
    /// Between those of a group.
    Shared = 2,
    /// Not at all, and it cannot be bound elsewhere.
    Unbindable = 3,
}

impl Spread {
    const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Spread::Private),
            1 => Some(Spread::Slave),
            2 => Some(Spread::Shared),
            3 => Some(Spread::Unbindable),
            _ => None,
        }
    }
}

/// One change to what is mounted where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MountOp<'a> {
    /// A new root, still empty: a tmpfs in which the targets of what follows are looked up. Nothing
    /// that is mounted spreads to or from elsewhere any more.
    NewRoot {
        /// Bytes that it may hold; 0 leaves the limit to the kernel.
        size: u64,
        /// Permissions of the root directory.
        mode: u32,
        /// Files that it may hold; 0 leaves the limit to the kernel.
        inodes: u64,
    },
    /// A directory or file, seen at a second place; open_tree(2) with what is mounted below it.
    Bind {
        /// What is seen.
        source: &'a CStr,
        /// Where. It is made if it is missing.
        target: &'a CStr,
        /// Attributes, for all that is mounted below as well; `OPTIONAL`, `FLAT`.
        flags: MountFlags,
    },
    /// The same of a granted directory or file.
    BindSlot {
        /// What is seen.
        slot: Slot,
        /// Where.
        target: &'a CStr,
        /// As for `Bind`, without `OPTIONAL`.
        flags: MountFlags,
    },
    /// A bind that shows other owners (`MOUNT_ATTR_IDMAP`, Linux 5.12).
    BindMapped {
        /// The user namespace whose maps say which.
        slot: Slot,
        /// What is seen.
        source: &'a CStr,
        /// Where.
        target: &'a CStr,
        /// As for `Bind`.
        flags: MountFlags,
    },
    /// An empty file system in memory; tmpfs(5). Always nosuid and nodev.
    Tmpfs {
        /// Where.
        target: &'a CStr,
        /// Attributes.
        flags: MountFlags,
        /// Bytes that it may hold; 0 leaves the limit to the kernel.
        size: u64,
        /// Permissions of its root directory.
        mode: u32,
        /// Files that it may hold; 0 leaves the limit to the kernel.
        inodes: u64,
    },
    /// The processes of the pid namespace; proc(5). Always nosuid, nodev and noexec.
    Proc {
        /// Where.
        target: &'a CStr,
        /// `READ_ONLY`, `PROCESSES`.
        flags: MountFlags,
        /// What is shown of other users' processes: 0 all, 1 only that they are there, 2 nothing, 4
        /// only what may be traced (Linux 5.8).
        hidepid: u32,
    },
    /// Pseudoterminals of its own; pts(4). Always nosuid and noexec.
    Devpts {
        /// Where.
        target: &'a CStr,
    },
    /// POSIX message queues of the IPC namespace; mq_overview(7). Always nosuid, nodev and noexec.
    Mqueue {
        /// Where.
        target: &'a CStr,
    },
    /// Directories laid upon each other; `filesystems/overlayfs` of the kernel's documentation.
    Overlay {
        /// The lower directories, the topmost first; with `UPPER` the upper and the work
        /// directory behind them. Strings with their NULs, end to end.
        layers: &'a [u8],
        /// Where.
        target: &'a CStr,
        /// Attributes; `UPPER` or `THROWAWAY`; `USERXATTR`.
        flags: MountFlags,
    },
    /// A symbolic link; symlink(2). One that is there and says the same is left.
    Symlink {
        /// What it says.
        text: &'a CStr,
        /// Where.
        target: &'a CStr,
    },
    /// A directory, with those above it; mkdir(2). One that is there is left.
    Directory {
        /// Where.
        target: &'a CStr,
        /// Its permissions.
        mode: u32,
    },
    /// A new file with what a granted file or pipe holds.
    FileSlot {
        /// What is read: from its beginning, if it has one.
        slot: Slot,
        /// Where. Nothing may be there, unless with `OVER`.
        target: &'a CStr,
        /// `OVER`, and with it attributes.
        flags: MountFlags,
        /// Its permissions.
        mode: u32,
    },
    /// Permissions; chmod(2).
    Chmod {
        /// Of what.
        target: &'a CStr,
        /// Which.
        mode: u32,
    },
    /// How events of mounting spread from here; mount_namespaces(7).
    Propagation {
        /// What is mounted there, and below it.
        target: &'a CStr,
        /// `FLAT`.
        flags: MountFlags,
        /// How.
        spread: Spread,
    },
    /// Attributes of what is mounted; mount_setattr(2).
    Attributes {
        /// What is mounted there, and below it.
        target: &'a CStr,
        /// Attributes to set; `FLAT`.
        flags: MountFlags,
        /// Attributes to clear.
        clear: MountFlags,
    },
    /// What is mounted at a place goes away; umount2(2) with `MNT_DETACH`.
    Unmount {
        /// Where.
        target: &'a CStr,
    },
    /// The new root becomes the root and the working directory, and what was the root goes away;
    /// pivot_root(2).
    EnterRoot,
}

impl<'a> MountOp<'a> {
    /// Reads an entry of `plan` that has one of these codes.
    pub(crate) fn decode(code: OpCode, entry: &Entry, plan: &Plan<'a>) -> Option<Self> {
        let slot = Slot(entry.slot.get());
        let [a, b, c, _] = entry.args.map(|arg| arg.get());
        let flags = MountFlags::from_bits_truncate(entry.flags.get());
        let [first, second] = entry.data;
        let target = || plan.c_str(first);
        let (source, onto) = (target, || plan.c_str(second));
        Some(match code {
            OpCode::NewRoot => MountOp::NewRoot { size: a, mode: b as u32, inodes: c },
            OpCode::Bind => MountOp::Bind { source: source()?, target: onto()?, flags },
            OpCode::BindSlot => MountOp::BindSlot { slot, target: target()?, flags },
            OpCode::BindMapped => {
                MountOp::BindMapped { slot, source: source()?, target: onto()?, flags }
            }
            OpCode::Tmpfs => {
                MountOp::Tmpfs { target: target()?, flags, size: a, mode: b as u32, inodes: c }
            }
            OpCode::Proc => MountOp::Proc { target: target()?, flags, hidepid: a as u32 },
            OpCode::Devpts => MountOp::Devpts { target: target()? },
            OpCode::Mqueue => MountOp::Mqueue { target: target()? },
            OpCode::Overlay => {
                MountOp::Overlay { layers: plan.data(first)?, target: onto()?, flags }
            }
            OpCode::Symlink => MountOp::Symlink { text: source()?, target: onto()? },
            OpCode::Directory => MountOp::Directory { target: target()?, mode: a as u32 },
            OpCode::FileSlot => {
                MountOp::FileSlot { slot, target: target()?, flags, mode: a as u32 }
            }
            OpCode::Chmod => MountOp::Chmod { target: target()?, mode: a as u32 },
            OpCode::Propagation => {
                MountOp::Propagation { target: target()?, flags, spread: Spread::from_number(a)? }
            }
            OpCode::Attributes => MountOp::Attributes {
                target: target()?,
                flags,
                clear: MountFlags::from_bits_truncate(a as u16),
            },
            OpCode::Unmount => MountOp::Unmount { target: target()? },
            OpCode::EnterRoot => MountOp::EnterRoot,
            _ => return None,
        })
    }

    pub(crate) const fn code(&self) -> OpCode {
        match self {
            MountOp::NewRoot { .. } => OpCode::NewRoot,
            MountOp::Bind { .. } => OpCode::Bind,
            MountOp::BindSlot { .. } => OpCode::BindSlot,
            MountOp::BindMapped { .. } => OpCode::BindMapped,
            MountOp::Tmpfs { .. } => OpCode::Tmpfs,
            MountOp::Proc { .. } => OpCode::Proc,
            MountOp::Devpts { .. } => OpCode::Devpts,
            MountOp::Mqueue { .. } => OpCode::Mqueue,
            MountOp::Overlay { .. } => OpCode::Overlay,
            MountOp::Symlink { .. } => OpCode::Symlink,
            MountOp::Directory { .. } => OpCode::Directory,
            MountOp::FileSlot { .. } => OpCode::FileSlot,
            MountOp::Chmod { .. } => OpCode::Chmod,
            MountOp::Propagation { .. } => OpCode::Propagation,
            MountOp::Attributes { .. } => OpCode::Attributes,
            MountOp::Unmount { .. } => OpCode::Unmount,
            MountOp::EnterRoot => OpCode::EnterRoot,
        }
    }

    /// Where it changes something, if that is one place.
    #[must_use]
    pub const fn target(&self) -> Option<&'a CStr> {
        match *self {
            MountOp::Bind { target, .. }
            | MountOp::BindSlot { target, .. }
            | MountOp::BindMapped { target, .. }
            | MountOp::Tmpfs { target, .. }
            | MountOp::Proc { target, .. }
            | MountOp::Devpts { target }
            | MountOp::Mqueue { target }
            | MountOp::Overlay { target, .. }
            | MountOp::Symlink { target, .. }
            | MountOp::Directory { target, .. }
            | MountOp::FileSlot { target, .. }
            | MountOp::Chmod { target, .. }
            | MountOp::Propagation { target, .. }
            | MountOp::Attributes { target, .. }
            | MountOp::Unmount { target } => Some(target),
            MountOp::NewRoot { .. } | MountOp::EnterRoot => None,
        }
    }

    /// The grant that it takes, if it takes one.
    #[must_use]
    pub const fn slot(&self) -> Option<Slot> {
        match *self {
            MountOp::BindSlot { slot, .. }
            | MountOp::BindMapped { slot, .. }
            | MountOp::FileSlot { slot, .. } => Some(slot),
            _ => None,
        }
    }

    #[cfg(feature = "alloc")]
    pub(crate) fn parts(&self) -> Parts<'a> {
        let at = |text: &'a CStr| Some(text.to_bytes_with_nul());
        let target = [self.target().and_then(at), None];
        let none = Parts { slot: self.slot(), data: target, ..Parts::default() };
        let from = |source: &'a CStr| [at(source), self.target().and_then(at)];
        match *self {
            MountOp::NewRoot { size, mode, inodes } => {
                Parts { args: [size, mode.into(), inodes, 0], ..none }
            }
            MountOp::Bind { source, flags, .. } | MountOp::BindMapped { source, flags, .. } => {
                Parts { flags: flags.bits(), data: from(source), ..none }
            }
            MountOp::BindSlot { flags, .. } => Parts { flags: flags.bits(), ..none },
            MountOp::Tmpfs { flags, size, mode, inodes, .. } => {
                Parts { flags: flags.bits(), args: [size, mode.into(), inodes, 0], ..none }
            }
            MountOp::Proc { flags, hidepid: number, .. }
            | MountOp::FileSlot { flags, mode: number, .. } => {
                Parts { flags: flags.bits(), args: [number.into(), 0, 0, 0], ..none }
            }
            MountOp::Overlay { layers, flags, .. } => Parts {
                flags: flags.bits(),
                data: [Some(layers), self.target().and_then(at)],
                ..none
            },
            MountOp::Symlink { text, .. } => Parts { data: from(text), ..none },
            MountOp::Directory { mode, .. } | MountOp::Chmod { mode, .. } => {
                Parts { args: [mode.into(), 0, 0, 0], ..none }
            }
            MountOp::Propagation { flags, spread, .. } => {
                Parts { flags: flags.bits(), args: [spread as u64, 0, 0, 0], ..none }
            }
            MountOp::Attributes { flags, clear, .. } => {
                Parts { flags: flags.bits(), args: [clear.bits().into(), 0, 0, 0], ..none }
            }
            MountOp::Devpts { .. }
            | MountOp::Mqueue { .. }
            | MountOp::Unmount { .. }
            | MountOp::EnterRoot => none,
        }
    }
}

/// The strings of an overlay's layers.
pub fn layers(bytes: &[u8]) -> impl Iterator<Item = &CStr> {
    let mut rest = bytes;
    core::iter::from_fn(move || {
        let layer = CStr::from_bytes_until_nul(rest).ok()?;
        rest = rest.get(layer.to_bytes_with_nul().len()..)?;
        Some(layer)
    })
}
