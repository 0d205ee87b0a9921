//! `execve(2)` and `execveat(2)`: they return only to say why they failed.

use crate::Errno;
use crate::raw::syscall;
use core::ffi::{CStr, c_char};
use linux_raw_sys::general::{__NR_execve, __NR_execveat, AT_EMPTY_PATH};

/// `execve(2)`: replaces the process image; returns the errno if it could not.
///
/// # Safety
/// `argv` and `envp` must each point to a NULL-terminated array of pointers to NUL-terminated
/// strings, all readable for the length of the call.
#[must_use]
pub unsafe fn execve(path: &CStr, argv: *const *const c_char, envp: *const *const c_char) -> Errno {
    // SAFETY: `path` is a C string by its type; the caller vouches for the arrays.
    match unsafe { syscall!(__NR_execve, path.as_ptr(), argv, envp) } {
        Err(errno) => errno,
        Ok(_) => Errno::new(0),
    }
}

/// `execveat(2)` with `AT_EMPTY_PATH`: runs the file behind `fd`. Since Linux 3.19.
///
/// # Safety
/// As [`execve`].
#[must_use]
pub unsafe fn execveat_fd(
    fd: i32,
    argv: *const *const c_char,
    envp: *const *const c_char,
) -> Errno {
    // SAFETY: the empty path is a constant; a bad descriptor is an errno; the caller vouches for
    // the arrays.
    let out =
        unsafe { syscall!(__NR_execveat, fd as isize, c"".as_ptr(), argv, envp, AT_EMPTY_PATH) };
    match out {
        Err(errno) => errno,
        Ok(_) => Errno::new(0),
    }
}
