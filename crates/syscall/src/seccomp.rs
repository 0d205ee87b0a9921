//! `seccomp(2)`: what the calling task may call from now on.

use crate::raw::syscall;
use crate::{Errno, Result};
use linux_raw_sys::general::{__NR_ioctl, __NR_prctl, __NR_seccomp};

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
/// `struct sock_filter`, `flags` are `SECCOMP_FILTER_FLAG_*` other than those that reach other
/// threads. Since Linux 3.17; needs no_new_privs or `CAP_SYS_ADMIN`. Answers 0, or with
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER` the number of a descriptor, which is close-on-exec.
pub fn seccomp_filter(flags: u32, program: &[u8]) -> Result<i32> {
    let program = Program::of(program);
    // SAFETY: the kernel copies the program, whose length is stated. What the filter refuses from
    // then on is an errno or the end of the task.
    unsafe { syscall!(__NR_seccomp, SET_MODE_FILTER, flags, &raw const program) }
        .map(|fd| fd as i32)
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

/// `struct seccomp_notif`: a call that a listener is notified of.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notified {
    /// What names it among those of its listener.
    pub id: u64,
    /// The thread that makes it, as it is numbered where the listener is read; 0 if it has no number
    /// there.
    pub tid: u32,
    /// Zero.
    pub flags: u32,
    /// The number of the call.
    pub number: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Where it is made.
    pub instruction: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `struct seccomp_notif_addfd`.
#[repr(C)]
#[derive(Clone, Copy)]
struct AddFd {
    id: u64,
    flags: u32,
    from: u32,
    to: u32,
    to_flags: u32,
}

/// What a notified call comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It returns this, and is not made.
    Value(i64),
    /// It fails with this errno, and is not made.
    Error(Errno),
    /// It is made as if there were no filter (`SECCOMP_USER_NOTIF_FLAG_CONTINUE`).
    Continue,
}

// _IOWR and _IOW of '!'; the lengths of the structs are in the numbers.
const NOTIF_RECV: usize = 0xc050_2100;
const NOTIF_SEND: usize = 0xc018_2101;
const NOTIF_ID_VALID: usize = 0x4008_2102;
const NOTIF_ADDFD: usize = 0x4018_2103;
const _: () = assert!(size_of::<Notified>() == 0x50);
const _: () = assert!(size_of::<Response>() == 0x18);
const _: () = assert!(size_of::<AddFd>() == 0x18);

/// `SECCOMP_IOCTL_NOTIF_RECV`: the next call; seccomp_unotify(2). ENOENT if its thread has died
/// meanwhile, or since Linux 6.12 if nobody is under the filter any more. Since Linux 5.0.
pub fn seccomp_receive(listener: i32) -> Result<Notified> {
    let mut notified = Notified::default();
    // SAFETY: the kernel writes one struct, which was zeroed, to a live local.
    unsafe { syscall!(__NR_ioctl, listener as isize, NOTIF_RECV, &raw mut notified) }?;
    Ok(notified)
}

/// `SECCOMP_IOCTL_NOTIF_SEND`: answers a call; ENOENT if it does not wait for an answer. Since Linux
/// 5.0, to let it continue since 5.5.
pub fn seccomp_reply(listener: i32, id: u64, reply: Reply) -> Result<()> {
    const CONTINUE: u32 = 1;
    let response = match reply {
        Reply::Value(value) => Response { id, value, error: 0, flags: 0 },
        Reply::Error(errno) => {
            Response { id, value: 0, error: i32::from(errno.number()).wrapping_neg(), flags: 0 }
        }
        Reply::Continue => Response { id, value: 0, error: 0, flags: CONTINUE },
    };
    // SAFETY: the kernel reads one struct of a live local.
    unsafe { syscall!(__NR_ioctl, listener as isize, NOTIF_SEND, &raw const response) }.map(drop)
}

/// `SECCOMP_IOCTL_NOTIF_ID_VALID`: ENOENT if the call does not wait for an answer any more. Since Linux
/// 5.0.
pub fn seccomp_id_valid(listener: i32, id: u64) -> Result<()> {
    // SAFETY: the kernel reads one u64 of a live local.
    unsafe { syscall!(__NR_ioctl, listener as isize, NOTIF_ID_VALID, &raw const id) }.map(drop)
}

/// `SECCOMP_IOCTL_NOTIF_ADDFD`: a descriptor into the table of the thread that makes the call, at `to` if
/// that is some number; with `reply` the call returns that number. Returns it. Since Linux 5.9, with
/// `reply` 5.14.
pub fn seccomp_add_fd(
    listener: i32,
    id: u64,
    from: i32,
    to: Option<u32>,
    cloexec: bool,
    reply: bool,
) -> Result<u32> {
    const SET_FD: u32 = 1;
    const SEND: u32 = 2;
    const O_CLOEXEC: u32 = 0o2_000_000;
    let flags = if to.is_some() { SET_FD } else { 0 } | if reply { SEND } else { 0 };
    let to_flags = if cloexec { O_CLOEXEC } else { 0 };
    let add = AddFd { id, flags, from: from as u32, to: to.unwrap_or(0), to_flags };
    // SAFETY: the kernel reads one struct of a live local.
    unsafe { syscall!(__NR_ioctl, listener as isize, NOTIF_ADDFD, &raw const add) }
        .map(|fd| fd as u32)
}

/// `SECCOMP_GET_ACTION_AVAIL`: whether the kernel knows an action. EOPNOTSUPP if not. Since Linux 4.14.
pub fn seccomp_action_available(action: u32) -> Result<()> {
    const GET_ACTION_AVAIL: usize = 2;
    // SAFETY: the kernel reads one u32 of a live local.
    unsafe { syscall!(__NR_seccomp, GET_ACTION_AVAIL, 0usize, &raw const action) }.map(drop)
}
