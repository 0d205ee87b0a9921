//! The calls on mounts and on what stands in them: those that rustix lacks, and those of which it
//! asserts something of the descriptor that comes back, which would be a panic path.

use crate::raw::syscall;
use crate::{Errno, Result};
use core::ffi::CStr;
use linux_raw_sys::general::{
    __NR_fchmodat2, __NR_fsmount, __NR_fsopen, __NR_mount_setattr, __NR_open_tree, __NR_openat,
    __NR_openat2, open_how,
};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd};

/// `struct mount_attr` of mount_setattr(2).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct MountAttr {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_PRIVATE` and the like, or 0.
    pub propagation: u64,
    /// The user namespace of `MOUNT_ATTR_IDMAP`.
    pub userns: u64,
}

/// `mount_setattr(2)`, Linux 5.12. `flags` is `AT_EMPTY_PATH` and `AT_RECURSIVE`.
pub fn mount_setattr(dir: BorrowedFd<'_>, path: &CStr, flags: u32, attr: &MountAttr) -> Result<()> {
    let (dir, len) = (dir.as_raw_fd() as isize, size_of::<MountAttr>());
    // SAFETY: a path with its NUL, and a live struct mount_attr of that length, which is read.
    unsafe { syscall!(__NR_mount_setattr, dir, path.as_ptr(), flags, &raw const *attr, len) }
        .map(drop)
}

/// `fchmodat2(2)`, Linux 6.6: it alone takes `AT_EMPTY_PATH`.
pub fn fchmodat2(dir: BorrowedFd<'_>, path: &CStr, mode: u32, flags: u32) -> Result<()> {
    let dir = dir.as_raw_fd() as isize;
    // SAFETY: a path with its NUL.
    unsafe { syscall!(__NR_fchmodat2, dir, path.as_ptr(), mode, flags) }.map(drop)
}

/// `openat(2)`, close-on-exec. `flags` is `O_*`.
pub fn open_held(dir: BorrowedFd<'_>, path: &CStr, flags: u32, mode: u32) -> Result<Held> {
    const CLOEXEC: u32 = 0o200_0000;
    let dir = dir.as_raw_fd() as isize;
    // SAFETY: a path with its NUL.
    owned(unsafe { syscall!(__NR_openat, dir, path.as_ptr(), flags | CLOEXEC, mode) })
}

/// `openat2(2)`, close-on-exec, Linux 5.6. `resolve` is `RESOLVE_*`.
pub fn openat2(dir: BorrowedFd<'_>, path: &CStr, flags: u64, resolve: u64) -> Result<Held> {
    const CLOEXEC: u64 = 0o200_0000;
    let (dir, len) = (dir.as_raw_fd() as isize, size_of::<open_how>());
    let how = open_how { flags: flags | CLOEXEC, mode: 0, resolve };
    // SAFETY: a path with its NUL, and a live struct open_how of that length, which is read.
    owned(unsafe { syscall!(__NR_openat2, dir, path.as_ptr(), &raw const how, len) })
}

/// `fsopen(2)`, close-on-exec.
pub fn fsopen(name: &CStr) -> Result<Held> {
    // SAFETY: a name with its NUL.
    owned(unsafe { syscall!(__NR_fsopen, name.as_ptr(), 1usize) })
}

/// `fsmount(2)`, close-on-exec. `attributes` is `MOUNT_ATTR_*`.
pub fn fsmount(fs: BorrowedFd<'_>, attributes: u32) -> Result<Held> {
    // SAFETY: no pointer is passed.
    owned(unsafe { syscall!(__NR_fsmount, fs.as_raw_fd(), 1usize, attributes) })
}

/// `open_tree(2)` with `OPEN_TREE_CLONE`, close-on-exec. `flags` is `AT_*`.
pub fn open_tree_clone(dir: BorrowedFd<'_>, path: &CStr, flags: u32) -> Result<Held> {
    const CLONE_AND_CLOEXEC: u32 = 0o200_0001;
    let dir = dir.as_raw_fd() as isize;
    // SAFETY: a path with its NUL.
    owned(unsafe { syscall!(__NR_open_tree, dir, path.as_ptr(), flags | CLONE_AND_CLOEXEC) })
}

/// A descriptor that is closed when it goes out of scope. rustix's own looks again at its number
/// whenever it is used.
#[derive(Debug)]
pub struct Held(BorrowedFd<'static>);

impl AsFd for Held {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0
    }
}

impl Drop for Held {
    #[inline(never)]
    fn drop(&mut self) {
        let _ = crate::close(self.0.as_raw_fd());
    }
}

/// What a call that opens something leaves.
fn owned(opened: Result<usize>) -> Result<Held> {
    let fd = opened? as i32;
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: the kernel has made it for the call just now and nobody else knows of it, so it is open
    // until its one holder closes it, which never lends it for longer.
    Ok(Held(unsafe { BorrowedFd::borrow_raw(fd) }))
}
