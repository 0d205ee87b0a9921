//! What a child is to find mounted where, as plain data: it can be printed, compared, stored and changed.
//!
//! It must never look at whether a path is there; that is found out by the child.

use embryo_plan::{MountFlags, MountOp, Op, PlanBuilder, Slot};
use std::ffi::{CString, NulError};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use embryo_plan::Spread;

/// Permissions of directories that nobody said anything of.
const DIRECTORY_MODE: u32 = 0o755;
/// Permissions of files that nobody said anything of.
const FILE_MODE: u32 = 0o644;
/// The devices that every program may count on.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Links in /dev, and what they say.
const LINKS: [(&str, &str); 6] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("core", "/proc/kcore"),
    ("ptmx", "pts/ptmx"),
];

/// A root of its own: a tmpfs in which the targets of a command's mounts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case", deny_unknown_fields))]
pub struct NewRoot {
    /// Bytes that it may hold: half of the memory if nothing is said.
    pub size: Option<u64>,
    /// Permissions of the root directory.
    pub mode: u32,
    /// Files that it may hold.
    pub inodes: Option<u64>,
}

impl Default for NewRoot {
    /// As large as the kernel allows, with permissions 0755.
    fn default() -> Self {
        Self { size: None, mode: DIRECTORY_MODE, inodes: None }
    }
}

/// Attributes of a mount; mount_setattr(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(default, rename_all = "kebab-case", deny_unknown_fields))]
pub struct MountAttributes {
    /// Nothing can be written through it.
    pub read_only: bool,
    /// Set-user-id bits and file capabilities are not honoured.
    pub nosuid: bool,
    /// Device nodes cannot be opened.
    pub nodev: bool,
    /// Files cannot be executed.
    pub noexec: bool,
}

impl MountAttributes {
    /// None.
    pub const NONE: Self = Self { read_only: false, nosuid: false, nodev: false, noexec: false };
    /// Neither set-user-id bits nor device nodes: what bwrap(1) sets on every bind.
    pub const PLAIN: Self = Self { nosuid: true, nodev: true, ..Self::NONE };
    /// The same, and nothing can be written.
    pub const READ_ONLY: Self = Self { read_only: true, ..Self::PLAIN };

    const fn flags(self) -> MountFlags {
        let mut flags = MountFlags::empty();
        if self.read_only {
            flags = flags.union(MountFlags::READ_ONLY);
        }
        if self.nosuid {
            flags = flags.union(MountFlags::NOSUID);
        }
        if self.nodev {
            flags = flags.union(MountFlags::NODEV);
        }
        if self.noexec {
            flags = flags.union(MountFlags::NOEXEC);
        }
        flags
    }
}

/// Where what is written to an overlay goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case", deny_unknown_fields))]
pub enum Upper {
    /// Nowhere: it is read-only.
    #[default]
    None,
    /// To a tmpfs that nobody else sees, and away with it.
    Throwaway,
    /// To a directory that stays.
    Kept {
        /// The directory.
        upper: PathBuf,
        /// An empty directory of the same file system, which the kernel works in.
        work: PathBuf,
    },
}

/// One thing that is mounted, or made, in a child's root.
///
/// Sources are paths of the caller's; relative ones start at its working directory. Targets are paths below the
/// new root, or below `/` without one; links in it lead nowhere above. What is missing on the way to a target is
/// made.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(
    feature = "serde",
    serde(rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum Mount {
    /// A directory or file, with what is mounted below it, at a second place.
    Bind {
        /// What is seen.
        source: PathBuf,
        /// Where.
        target: PathBuf,
        /// How, with what is mounted below.
        #[cfg_attr(feature = "serde", serde(default))]
        attributes: MountAttributes,
        /// Whether a source that does not exist is passed over.
        #[cfg_attr(feature = "serde", serde(default))]
        optional: bool,
        /// Without what is mounted below.
        #[cfg_attr(feature = "serde", serde(default))]
        flat: bool,
    },
    /// The same of a directory or file that is granted with [`crate::Command::mount_fd`].
    BindFd {
        /// Where.
        target: PathBuf,
        /// How, with what is mounted below.
        #[cfg_attr(feature = "serde", serde(default))]
        attributes: MountAttributes,
        /// Without what is mounted below.
        #[cfg_attr(feature = "serde", serde(default))]
        flat: bool,
    },
    /// A bind that shows other owners: those that the user namespace maps that is granted with
    /// [`crate::Command::mount_fd`]. Linux 5.12, and a file system that can.
    BindMapped {
        /// What is seen.
        source: PathBuf,
        /// Where.
        target: PathBuf,
        /// How, with what is mounted below.
        #[cfg_attr(feature = "serde", serde(default))]
        attributes: MountAttributes,
        /// Whether a source that does not exist is passed over.
        #[cfg_attr(feature = "serde", serde(default))]
        optional: bool,
        /// Without what is mounted below.
        #[cfg_attr(feature = "serde", serde(default))]
        flat: bool,
    },
    /// An empty file system in memory. Always nosuid and nodev.
    Tmpfs {
        /// Where.
        target: PathBuf,
        /// How.
        #[cfg_attr(feature = "serde", serde(default))]
        attributes: MountAttributes,
        /// Bytes that it may hold.
        #[cfg_attr(feature = "serde", serde(default))]
        size: Option<u64>,
        /// Permissions of its root directory.
        #[cfg_attr(feature = "serde", serde(default = "directory_mode"))]
        mode: u32,
        /// Files that it may hold.
        #[cfg_attr(feature = "serde", serde(default))]
        inodes: Option<u64>,
    },
    /// The processes of the child's pid namespace.
    Proc {
        /// Where.
        target: PathBuf,
        /// Nothing in it can be written.
        #[cfg_attr(feature = "serde", serde(default))]
        read_only: bool,
        /// What is shown of other users' processes; proc(5). Linux 5.8.
        #[cfg_attr(feature = "serde", serde(default))]
        hidepid: u32,
        /// Only what is about processes. Linux 5.8.
        #[cfg_attr(feature = "serde", serde(default))]
        processes: bool,
    },
    /// Pseudoterminals of its own.
    Devpts {
        /// Where.
        target: PathBuf,
    },
    /// The message queues of the child's IPC namespace.
    Mqueue {
        /// Where.
        target: PathBuf,
    },
    /// The least that is called /dev: null, zero, full, random, urandom and tty of the caller's, the usual
    /// links, pseudoterminals and a directory for shared memory.
    Dev {
        /// Where.
        target: PathBuf,
        /// A terminal that is seen as `console`.
        #[cfg_attr(feature = "serde", serde(default))]
        console: Option<PathBuf>,
    },
    /// Directories laid upon each other; Linux 5.11 for an ordinary user.
    Overlay {
        /// Those that are only read, the topmost first.
        lower: Vec<PathBuf>,
        /// Where.
        target: PathBuf,
        /// What becomes of what is written.
        #[cfg_attr(feature = "serde", serde(default))]
        upper: Upper,
        /// How.
        #[cfg_attr(feature = "serde", serde(default))]
        attributes: MountAttributes,
        /// Whether it keeps its notes in `user.` attributes, as one in a user namespace has to; unless it is
        /// said, it does where the child has one or the caller is an ordinary user.
        #[cfg_attr(feature = "serde", serde(default))]
        userxattr: Option<bool>,
    },
    /// A symbolic link.
    Symlink {
        /// What it says.
        text: PathBuf,
        /// Where.
        target: PathBuf,
    },
    /// A directory, with those above it.
    Directory {
        /// Where.
        target: PathBuf,
        /// Its permissions, if it is made.
        #[cfg_attr(feature = "serde", serde(default = "directory_mode"))]
        mode: u32,
    },
    /// A new file with what a descriptor holds that is granted with [`crate::Command::mount_fd`].
    File {
        /// Where.
        target: PathBuf,
        /// Its permissions.
        #[cfg_attr(feature = "serde", serde(default = "file_mode"))]
        mode: u32,
        /// Mounted over the target with these attributes, instead of written there.
        #[cfg_attr(feature = "serde", serde(default))]
        over: Option<MountAttributes>,
    },
    /// Permissions of what is there.
    Chmod {
        /// Of what.
        target: PathBuf,
        /// Which.
        mode: u32,
    },
    /// How events of mounting spread from what is mounted there.
    Propagation {
        /// Where.
        target: PathBuf,
        /// How.
        spread: MountSpread,
        /// Without what is mounted below.
        #[cfg_attr(feature = "serde", serde(default))]
        flat: bool,
    },
    /// Attributes of what is mounted there.
    Attributes {
        /// Where.
        target: PathBuf,
        /// Those that are set.
        #[cfg_attr(feature = "serde", serde(default))]
        set: MountAttributes,
        /// Those that are cleared.
        #[cfg_attr(feature = "serde", serde(default))]
        clear: MountAttributes,
        /// Without what is mounted below.
        #[cfg_attr(feature = "serde", serde(default))]
        flat: bool,
    },
    /// What is mounted there goes away.
    Unmount {
        /// Where.
        target: PathBuf,
    },
}

/// How events of mounting spread; mount_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "kebab-case"))]
pub enum MountSpread {
    /// Not at all.
    Private,
    /// From what it was copied from, and not back.
    Slave,
    /// Between those of a group.
    Shared,
    /// Not at all, and it cannot be bound elsewhere.
    Unbindable,
}

#[cfg(feature = "serde")]
const fn directory_mode() -> u32 {
    DIRECTORY_MODE
}

#[cfg(feature = "serde")]
const fn file_mode() -> u32 {
    FILE_MODE
}

impl Mount {
    /// A bind of all that is below `source`, with neither set-user-id bits nor device nodes.
    pub fn bind(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        let (source, target) = (source.into(), target.into());
        let attributes = MountAttributes::PLAIN;
        Self::Bind { source, target, attributes, optional: false, flat: false }
    }

    /// The same, and nothing can be written.
    pub fn read_only(source: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        let (source, target) = (source.into(), target.into());
        let attributes = MountAttributes::READ_ONLY;
        Self::Bind { source, target, attributes, optional: false, flat: false }
    }

    /// A tmpfs with permissions 0755, as large as the kernel allows.
    pub fn tmpfs(target: impl Into<PathBuf>) -> Self {
        Self::Tmpfs {
            target: target.into(),
            attributes: MountAttributes::NONE,
            size: None,
            mode: DIRECTORY_MODE,
            inodes: None,
        }
    }

    /// All of /proc.
    pub fn proc(target: impl Into<PathBuf>) -> Self {
        Self::Proc { target: target.into(), read_only: false, hidepid: 0, processes: false }
    }

    /// The least that is called /dev.
    pub fn dev(target: impl Into<PathBuf>) -> Self {
        Self::Dev { target: target.into(), console: None }
    }

    /// A symbolic link.
    pub fn symlink(text: impl Into<PathBuf>, target: impl Into<PathBuf>) -> Self {
        Self::Symlink { text: text.into(), target: target.into() }
    }

    /// A directory with permissions 0755.
    pub fn directory(target: impl Into<PathBuf>) -> Self {
        Self::Directory { target: target.into(), mode: DIRECTORY_MODE }
    }

    /// A file with permissions 0644.
    pub fn file(target: impl Into<PathBuf>) -> Self {
        Self::File { target: target.into(), mode: FILE_MODE, over: None }
    }

    /// Whether it is about a descriptor, so that it takes [`crate::Command::mount_fd`].
    #[must_use]
    pub const fn takes_fd(&self) -> bool {
        matches!(self, Mount::BindFd { .. } | Mount::BindMapped { .. } | Mount::File { .. })
    }

    /// Where something can be written that is mounted, if it is there.
    pub(crate) fn written(&self) -> Option<&Path> {
        let target = match self {
            Mount::Bind { source, optional: true, .. }
            | Mount::BindMapped { source, optional: true, .. }
                if !source.exists() =>
            {
                return None;
            }
            Mount::Bind { target, attributes, .. }
            | Mount::BindFd { target, attributes, .. }
            | Mount::BindMapped { target, attributes, .. }
            | Mount::Tmpfs { target, attributes, .. }
            | Mount::Overlay { target, attributes, .. } => {
                (!attributes.read_only).then_some(target)?
            }
            Mount::Proc { target, read_only: false, .. }
            | Mount::Devpts { target }
            | Mount::Mqueue { target }
            | Mount::Dev { target, .. } => target,
            _ => return None,
        };
        Some(target)
    }

    /// Adds the ops that it stands for. `slot` is that of its descriptor, and `user_namespace` says whether the
    /// child has one of its own.
    pub(crate) fn add(
        &self,
        plan: &mut PlanBuilder,
        slot: Slot,
        user_namespace: bool,
    ) -> Result<(), NulError> {
        let mut op = |op: MountOp<'_>| _ = plan.op(&Op::Mount(op));
        match self {
            Mount::Bind { source, target, attributes, optional, flat } => {
                let (source, target) = (&source_path(source)?, &target_path(target)?);
                op(MountOp::Bind { source, target, flags: how(*attributes, *optional, *flat) });
            }
            Mount::BindFd { target, attributes, flat } => {
                let (target, flags) = (&target_path(target)?, how(*attributes, false, *flat));
                op(MountOp::BindSlot { slot, target, flags });
            }
            Mount::BindMapped { source, target, attributes, optional, flat } => {
                let (source, target) = (&source_path(source)?, &target_path(target)?);
                let flags = how(*attributes, *optional, *flat);
                op(MountOp::BindMapped { slot, source, target, flags });
            }
            Mount::Tmpfs { target, attributes, size, mode, inodes } => op(MountOp::Tmpfs {
                target: &target_path(target)?,
                flags: attributes.flags(),
                size: size.unwrap_or(0),
                mode: *mode,
                inodes: inodes.unwrap_or(0),
            }),
            Mount::Proc { target, read_only, hidepid, processes } => {
                let mut flags = MountFlags::empty();
                flags.set(MountFlags::READ_ONLY, *read_only);
                flags.set(MountFlags::PROCESSES, *processes);
                op(MountOp::Proc { target: &target_path(target)?, flags, hidepid: *hidepid });
            }
            Mount::Devpts { target } => op(MountOp::Devpts { target: &target_path(target)? }),
            Mount::Mqueue { target } => op(MountOp::Mqueue { target: &target_path(target)? }),
            Mount::Dev { target, console } => dev(target, console.as_deref(), &mut op)?,
            Mount::Overlay { lower, target, upper, attributes, userxattr } => {
                let mut layers = Vec::new();
                let mut flags = attributes.flags();
                let above = match upper {
                    Upper::Kept { upper, work } => [Some(upper), Some(work)],
                    _ => [None, None],
                };
                for layer in lower.iter().chain(above.into_iter().flatten()) {
                    layers.extend_from_slice(source_path(layer)?.as_bytes_with_nul());
                }
                flags.set(MountFlags::UPPER, above[0].is_some());
                flags.set(MountFlags::THROWAWAY, *upper == Upper::Throwaway);
                let userxattr = userxattr
                    .unwrap_or_else(|| user_namespace || !rustix::process::geteuid().is_root());
                flags.set(MountFlags::USERXATTR, userxattr);
                op(MountOp::Overlay { layers: &layers, target: &target_path(target)?, flags });
            }
            Mount::Symlink { text, target } => {
                let text = &CString::new(text.as_os_str().as_bytes())?;
                op(MountOp::Symlink { text, target: &target_path(target)? });
            }
            Mount::Directory { target, mode } => {
                op(MountOp::Directory { target: &target_path(target)?, mode: *mode });
            }
            Mount::File { target, mode, over } => {
                let over = over.map(|attributes| attributes.flags() | MountFlags::OVER);
                let (target, flags) = (&target_path(target)?, over.unwrap_or(MountFlags::empty()));
                op(MountOp::FileSlot { slot, target, flags, mode: *mode });
            }
            Mount::Chmod { target, mode } => {
                op(MountOp::Chmod { target: &target_path(target)?, mode: *mode });
            }
            Mount::Propagation { target, spread, flat } => op(MountOp::Propagation {
                target: &target_path(target)?,
                flags: how(MountAttributes::NONE, false, *flat),
                spread: match spread {
                    MountSpread::Private => Spread::Private,
                    MountSpread::Slave => Spread::Slave,
                    MountSpread::Shared => Spread::Shared,
                    MountSpread::Unbindable => Spread::Unbindable,
                },
            }),
            Mount::Attributes { target, set, clear, flat } => op(MountOp::Attributes {
                target: &target_path(target)?,
                flags: how(*set, false, *flat),
                clear: clear.flags(),
            }),
            Mount::Unmount { target } => op(MountOp::Unmount { target: &target_path(target)? }),
        }
        Ok(())
    }
}

fn how(attributes: MountAttributes, optional: bool, flat: bool) -> MountFlags {
    let mut flags = attributes.flags();
    flags.set(MountFlags::OPTIONAL, optional);
    flags.set(MountFlags::FLAT, flat);
    flags
}

fn dev(
    target: &Path,
    console: Option<&Path>,
    op: &mut impl FnMut(MountOp<'_>),
) -> Result<(), NulError> {
    let (mode, none) = (DIRECTORY_MODE, MountFlags::empty());
    let at = |name: &str| target_path(&target.join(name));
    op(MountOp::Tmpfs { target: &target_path(target)?, flags: none, size: 0, mode, inodes: 0 });
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    for name in DEVICES {
        let source = &source_path(&Path::new("/dev").join(name))?;
        op(MountOp::Bind { source, target: &at(name)?, flags });
    }
    for (name, text) in LINKS {
        op(MountOp::Symlink { text: &CString::new(text)?, target: &at(name)? });
    }
    op(MountOp::Directory { target: &at("shm")?, mode: 0o1777 });
    op(MountOp::Devpts { target: &at("pts")? });
    if let Some(console) = console {
        let source = &source_path(console)?;
        op(MountOp::Bind { source, target: &at("console")?, flags });
    }
    Ok(())
}

/// A path of the caller's, from its root.
fn source_path(path: &Path) -> Result<CString, NulError> {
    // What has no absolute form is nothing, and the checker says so.
    let path = std::path::absolute(path).unwrap_or_default();
    CString::new(path.into_os_string().into_vec())
}

/// A path in the child's root, which is where relative ones start.
fn target_path(path: &Path) -> Result<CString, NulError> {
    CString::new(Path::new("/").join(path).into_os_string().into_vec())
}
