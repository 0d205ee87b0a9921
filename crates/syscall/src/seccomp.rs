//! `seccomp(2)`: what the calling task may call from now on.

use crate::raw::syscall;
use crate::{Errno, Result};
use linux_raw_sys::general::{__NR_prctl, __NR_seccomp};

const SET_MODE_FILTER: usize = 1;
const INSTRUCTION_BYTES: usize = 8;

/// `struct sock_fprog`.
#[repr(C)]
pub(crate) struct Program {
    /// Instructions; the kernel reads the lower half of a half.
    pub(crate) count: u64,
    /// Where they are; at any alignment.
    pub(crate) at: u64,
}

impl Program {
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self { count: (bytes.len() / INSTRUCTION_BYTES) as u64, at: bytes.as_ptr() as u64 }
    }
}

/// `seccomp(2)` `SECCOMP_SET_MODE_FILTER` on the calling task. `program` is an array of
/// `struct sock_filter`, `flags` are `SECCOMP_FILTER_FLAG_*` other than those that answer with a
/// descriptor or reach other threads. Since Linux 3.17; needs no_new_privs or `CAP_SYS_ADMIN`.
pub fn seccomp_filter(flags: u32, program: &[u8]) -> Result<()> {
    let program = Program::of(program);
    // SAFETY: the kernel copies the program, whose length is stated. What the filter refuses from
    // then on is an errno or the end of the task.
    unsafe { syscall!(__NR_seccomp, SET_MODE_FILTER, flags, &raw const program) }.map(drop)
}

/// Whether [`seccomp_filter`] would be taken, as far as that does not depend on the program: asked
/// with a program at an address that cannot be read, which comes last.
pub fn seccomp_filter_allowed(flags: u32) -> Result<()> {
    // Not null, which would be EINVAL as an unknown flag is.
    let nowhere = Program { count: 1, at: !7 };
    // SAFETY: an unreadable program is EFAULT, and nothing is installed.
    match unsafe { syscall!(__NR_seccomp, SET_MODE_FILTER, flags, &raw const nowhere) } {
        Err(Errno::FAULT) => Ok(()),
        Err(errno) => Err(errno),
        Ok(_) => Err(Errno::INVAL),
    }
}

/// Whether strict mode can be entered: EINVAL under a filter, ENOSYS on a kernel without seccomp.
pub fn seccomp_strict_allowed() -> Result<()> {
    const PR_GET_SECCOMP: usize = 21;
    // SAFETY: no pointer is passed.
    match unsafe { syscall!(__NR_prctl, PR_GET_SECCOMP) } {
        Ok(0) => Ok(()),
        Err(Errno::INVAL) => Err(Errno::NOSYS),
        Ok(_) | Err(_) => Err(Errno::INVAL),
    }
}
