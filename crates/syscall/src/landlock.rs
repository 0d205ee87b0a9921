//! Landlock: what the calling task may reach from now on; landlock(7).

use crate::raw::syscall;
use crate::{Errno, Result};
use core::ffi::CStr;
use linux_raw_sys::general::{
    __NR_landlock_add_rule, __NR_landlock_create_ruleset, __NR_landlock_restrict_self, __NR_openat,
};

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct PathBeneath {
    access: u64,
    file: i32,
}

/// `landlock_create_ruleset(2)` with `LANDLOCK_CREATE_RULESET_VERSION`: the ABI of this kernel.
/// ENOSYS before Linux 5.13 or without it, EOPNOTSUPP where it was not enabled at boot.
pub fn landlock_abi() -> Result<u32> {
    const VERSION: usize = 1;
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_landlock_create_ruleset, 0usize, 0usize, VERSION) }.map(|abi| abi as u32)
}

/// `landlock_add_rule(2)`: `access` (`LANDLOCK_ACCESS_FS_*`) to whatever is beneath `file`. Since
/// Linux 5.13.
pub fn landlock_add_path(ruleset: i32, file: i32, access: u64) -> Result<()> {
    const PATH_BENEATH: usize = 1;
    let rule = PathBeneath { access, file };
    let rule = &raw const rule;
    // SAFETY: the kernel reads one struct of a live local.
    unsafe { syscall!(__NR_landlock_add_rule, ruleset as isize, PATH_BENEATH, rule, 0usize) }
        .map(drop)
}

/// `landlock_restrict_self(2)`: the calling task, for good. Since Linux 5.13; needs no_new_privs or
/// `CAP_SYS_ADMIN`.
pub fn landlock_restrict_self(ruleset: i32, flags: u32) -> Result<()> {
    // SAFETY: no pointer is passed. What the task may not reach any more is an errno to it.
    unsafe { syscall!(__NR_landlock_restrict_self, ruleset as isize, flags) }.map(drop)
}

/// `openat(2)` with `O_PATH`: a name for a file or directory that needs no permission on it.
pub fn open_path(path: &CStr) -> Result<i32> {
    const AT_FDCWD: isize = -100;
    const O_PATH_CLOEXEC: usize = 0o12_000_000;
    // SAFETY: the path is a C string by its type.
    let fd = unsafe { syscall!(__NR_openat, AT_FDCWD, path.as_ptr(), O_PATH_CLOEXEC, 0usize) }?;
    i32::try_from(fd).map_err(|_| Errno::BADF)
}
