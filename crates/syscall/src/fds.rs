//! Descriptors by number: the table of a child that is being built belongs to nobody else, so
//! numbers, not owned handles, are the truth here.

use crate::peer::Received;
use crate::raw::syscall;
use crate::{Errno, Result};
use core::ffi::{CStr, c_void};
use linux_raw_sys::general::{
    __NR_close, __NR_close_range, __NR_dup3, __NR_fcntl, __NR_getdents64, __NR_ioctl, __NR_mkdirat,
    __NR_openat, __NR_read, __NR_recvmsg, __NR_sendmsg, __NR_setsockopt, __NR_socketpair,
    __NR_unlinkat, __NR_unshare, __NR_write,
};
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// The most descriptors that one message can carry: SCM_MAX_FD of the kernel.
pub const SCM_MAX_FDS: usize = 253;

/// What `close_range(2)` does besides, or instead of, closing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseRange {
    /// Close them. Since Linux 5.9.
    Close,
    /// Stop sharing the table first, copying only what lies below the range. Since Linux 5.9.
    Unshare,
    /// Mark them close-on-exec. Since Linux 5.11.
    Cloexec,
}

/// `close_range(2)`: acts on every open descriptor from `first` to `last` inclusive.
pub fn close_range(first: u32, last: u32, how: CloseRange) -> Result<()> {
    let flags = match how {
        CloseRange::Close => 0usize,
        CloseRange::Unshare => 2,
        CloseRange::Cloexec => 4,
    };
    // SAFETY: no pointer is passed. That the descriptors may be closed is the meaning of the
    // call; this crate's callers use it only on a table that is theirs.
    unsafe { syscall!(__NR_close_range, first, last, flags) }.map(drop)
}

/// `unshare(2)` with `CLONE_FILES`: a private copy of the whole descriptor table.
pub fn unshare_files() -> Result<()> {
    // SAFETY: no pointer is passed; only the calling task's table reference changes.
    unsafe { syscall!(__NR_unshare, 0x400usize) }.map(drop)
}

/// `close(2)`.
pub fn close(fd: i32) -> Result<()> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_close, fd as isize) }.map(drop)
}

/// `ioctl(2)` with `TIOCSIG`: a signal for the foreground process group of a pseudoterminal, whose
/// master `fd` is. SIGINT, SIGQUIT or SIGTSTP; any other is EINVAL. Since Linux 2.6.36.
pub fn terminal_signal(fd: i32, signal: u32) -> Result<()> {
    const TIOCSIG: usize = 0x4004_5436;
    // SAFETY: this request takes its number by value, and no pointer.
    unsafe { syscall!(__NR_ioctl, fd as isize, TIOCSIG, signal) }.map(drop)
}

/// `dup3(2)`: makes `to` refer to what `from` does, without close-on-exec.
pub fn dup3(from: i32, to: i32) -> Result<()> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_dup3, from as isize, to as isize, 0usize) }.map(drop)
}

/// `fcntl(2)` with `F_DUPFD_CLOEXEC`: the lowest free number not below `at_least`.
pub fn dupfd_cloexec(fd: i32, at_least: i32) -> Result<i32> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_fcntl, fd as isize, 1030usize, at_least as isize) }.map(|n| n as i32)
}

/// `fcntl(2)` with `F_GETFD`: whether the descriptor is close-on-exec; EBADF if it is not open.
pub fn fcntl_getfd(fd: i32) -> Result<bool> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_fcntl, fd as isize, 1usize) }.map(|flags| flags & 1 == 1)
}

/// `fcntl(2)` with `F_SETFD`: sets or clears close-on-exec.
pub fn fcntl_setfd(fd: i32, cloexec: bool) -> Result<()> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_fcntl, fd as isize, 2usize, usize::from(cloexec)) }.map(drop)
}

/// `openat(2)` of an existing file, close-on-exec. `access` is 0 to read, 1 to write, 2 for both.
pub fn open(path: &CStr, access: u32) -> Result<i32> {
    const AT_FDCWD: i32 = -100;
    open_at(AT_FDCWD, path, access & 3)
}

/// `openat(2)` of an existing file below a directory, close-on-exec. `flags` are `O_*`.
pub fn open_at(dir: i32, path: &CStr, flags: u32) -> Result<i32> {
    const O_CLOEXEC: u32 = 0o2_000_000;
    // SAFETY: the path is a C string by its type.
    unsafe { syscall!(__NR_openat, dir as isize, path.as_ptr(), flags | O_CLOEXEC, 0usize) }
        .map(|fd| fd as i32)
}

/// `mkdirat(2)`, for the owner to write and everybody to look.
pub fn mkdir_at(dir: i32, name: &CStr) -> Result<()> {
    // SAFETY: the path is a C string by its type.
    unsafe { syscall!(__NR_mkdirat, dir as isize, name.as_ptr(), 0o755usize) }.map(drop)
}

/// `unlinkat(2)` with `AT_REMOVEDIR`.
pub fn rmdir_at(dir: i32, name: &CStr) -> Result<()> {
    const AT_REMOVEDIR: usize = 0x200;
    // SAFETY: the path is a C string by its type.
    unsafe { syscall!(__NR_unlinkat, dir as isize, name.as_ptr(), AT_REMOVEDIR) }.map(drop)
}

/// `getdents64(2)`. Returns how many bytes were written.
pub fn getdents(dir: i32, into: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most that many bytes.
    unsafe { syscall!(__NR_getdents64, dir as isize, into.as_mut_ptr(), into.len()) }
}

/// `read(2)`. Returns how many bytes there were.
pub fn read(fd: i32, into: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most that many bytes.
    unsafe { syscall!(__NR_read, fd as isize, into.as_mut_ptr(), into.len()) }
}

/// `write(2)`. Returns how many bytes were taken.
pub fn write(fd: i32, bytes: &[u8]) -> Result<usize> {
    // SAFETY: the kernel reads at most `bytes.len()` bytes.
    unsafe { syscall!(__NR_write, fd as isize, bytes.as_ptr(), bytes.len()) }
}

/// `socketpair(2)`: two ends of a `SOCK_SEQPACKET` Unix socket, close-on-exec.
pub fn socketpair() -> Result<[i32; 2]> {
    const AF_UNIX: usize = 1;
    const SOCK_SEQPACKET_CLOEXEC: usize = 5 | 0o2_000_000;
    let mut ends = [-1i32; 2];
    // SAFETY: the kernel writes two ints to a live local.
    unsafe { syscall!(__NR_socketpair, AF_UNIX, SOCK_SEQPACKET_CLOEXEC, 0usize, &raw mut ends) }?;
    Ok(ends)
}

/// `setsockopt(2)`, `SO_SNDBUF`: the kernel doubles it and has a limit.
pub fn set_send_buffer(socket: i32, bytes: i32) -> Result<()> {
    const SO_SNDBUF: usize = 7;
    let (value, len) = (&raw const bytes, size_of::<i32>());
    // SAFETY: the kernel reads one int from a live local.
    unsafe { syscall!(__NR_setsockopt, socket as isize, SOL_SOCKET, SO_SNDBUF, value, len) }
        .map(drop)
}

#[repr(C)]
struct IoVec {
    base: *mut c_void,
    len: usize,
}

#[repr(C)]
struct MsgHdr {
    name: *mut c_void,
    name_len: u32,
    iov: *mut IoVec,
    iov_len: usize,
    control: *mut c_void,
    control_len: usize,
    flags: i32,
}

/// One `SCM_RIGHTS` control message with room for as many descriptors as the kernel allows.
#[repr(C, align(8))]
struct Rights {
    len: usize,
    level: i32,
    kind: i32,
    fds: [i32; SCM_MAX_FDS + 1],
}

const RIGHTS_HEAD: usize = 16;
const SOL_SOCKET: i32 = 1;
const SCM_RIGHTS: i32 = 1;
const MSG_CTRUNC: i32 = 0x8;
const MSG_TRUNC: i32 = 0x20;
const MSG_DONTWAIT: usize = 0x40;
const MSG_NOSIGNAL: usize = 0x4000;
const MSG_CMSG_CLOEXEC: usize = 0x4000_0000;

/// `sendmsg(2)`: one message made of two parts, with up to [`SCM_MAX_FDS`] descriptors.
///
/// Never blocks: EAGAIN when the receiver's queue is full.
pub fn send_with_fds(socket: i32, head: &[u8], body: &[u8], fds: &[i32]) -> Result<()> {
    if fds.len() > SCM_MAX_FDS {
        return Err(Errno::INVAL);
    }
    let mut rights = Rights {
        len: RIGHTS_HEAD.wrapping_add(size_of_val(fds)),
        level: SOL_SOCKET,
        kind: SCM_RIGHTS,
        fds: [0; SCM_MAX_FDS + 1],
    };
    for (to, from) in rights.fds.iter_mut().zip(fds) {
        *to = *from;
    }
    let mut iov = [
        IoVec { base: head.as_ptr().cast_mut().cast(), len: head.len() },
        IoVec { base: body.as_ptr().cast_mut().cast(), len: body.len() },
    ];
    let (control, control_len) = match fds.len() {
        0 => (core::ptr::null_mut(), 0),
        _ => ((&raw mut rights).cast(), rights.len),
    };
    let message = MsgHdr {
        name: core::ptr::null_mut(),
        name_len: 0,
        iov: (&raw mut iov).cast(),
        iov_len: 2,
        control,
        control_len,
        flags: 0,
    };
    // SAFETY: the kernel only reads through these pointers, all of which are to live locals or
    // to the slices given, with their true lengths.
    unsafe {
        syscall!(__NR_sendmsg, socket as isize, &raw const message, MSG_NOSIGNAL | MSG_DONTWAIT)
    }
    .map(drop)
}

/// `recvmsg(2)`: one message into `into` and its descriptors, close-on-exec, into `fds`.
///
/// Returns the lengths of both. With `wait` false it answers EAGAIN when nothing is queued. A
/// message longer than `into`, or with more descriptors than fit, is EMSGSIZE; one whose
/// descriptors find no free number is EMFILE. It is taken from the queue all the same, and the
/// descriptors that did arrive are closed again.
pub fn recv_with_fds(
    socket: i32,
    into: &mut [u8],
    fds: &mut [i32],
    wait: bool,
) -> Result<(usize, usize)> {
    let raw = receive_raw(socket, into, fds, wait)?;
    let Received { len, longer, cut_off } = raw.received;
    if longer || cut_off || raw.fds > fds.len() {
        for fd in fds.iter().take(raw.fds) {
            let _ = close(*fd);
        }
        // There is room for as many as the kernel sends, so those cut off found no number.
        return Err(if cut_off { Errno::MFILE } else { Errno::MSGSIZE });
    }
    Ok((len, raw.fds))
}

/// What came of one call.
#[derive(Clone, Copy)]
pub(crate) struct RawReceived {
    pub(crate) received: Received,
    /// How many descriptors came.
    pub(crate) fds: usize,
}

/// `recvmsg(2)`. Descriptors for which `fds` has no room are closed, and counted all the same.
pub(crate) fn receive_raw(
    socket: i32,
    into: &mut [u8],
    fds: &mut [i32],
    wait: bool,
) -> Result<RawReceived> {
    let mut rights = Rights { len: 0, level: 0, kind: 0, fds: [-1; SCM_MAX_FDS + 1] };
    let mut iov = IoVec { base: into.as_mut_ptr().cast(), len: into.len() };
    let mut message = MsgHdr {
        name: core::ptr::null_mut(),
        name_len: 0,
        iov: &raw mut iov,
        iov_len: 1,
        control: (&raw mut rights).cast(),
        control_len: size_of::<Rights>(),
        flags: 0,
    };
    let how = MSG_CMSG_CLOEXEC | if wait { 0 } else { MSG_DONTWAIT };
    // SAFETY: the kernel writes at most `into.len()` bytes to `into`, at most one `Rights` to
    // `rights` and the header it was given; all are live and exclusively borrowed.
    let len = unsafe { syscall!(__NR_recvmsg, socket as isize, &raw mut message, how) }?;
    let arrived = match (message.control_len, rights.level, rights.kind) {
        (0, _, _) => 0,
        (_, SOL_SOCKET, SCM_RIGHTS) => rights.len.saturating_sub(RIGHTS_HEAD) / 4,
        _ => 0,
    };
    for fd in rights.fds.iter().take(arrived).skip(fds.len()) {
        let _ = close(*fd);
    }
    for (to, from) in fds.iter_mut().zip(rights.fds.iter().take(arrived)) {
        *to = *from;
    }
    let longer = message.flags & MSG_TRUNC != 0;
    let cut_off = message.flags & MSG_CTRUNC != 0;
    Ok(RawReceived { received: Received { len, longer, cut_off }, fds: arrived })
}

/// `recvmsg(2)` as [`recv_with_fds`], without waiting, with descriptors that are the caller's to close.
pub fn recv_owned<const N: usize>(
    socket: BorrowedFd<'_>,
    into: &mut [u8],
) -> (Result<usize>, [Option<OwnedFd>; N]) {
    let mut fds = [-1i32; N];
    let outcome = recv_with_fds(socket.as_raw_fd(), into, &mut fds, false);
    let count = outcome.map_or(0, |(_, count)| count);
    let mut owned = [const { None }; N];
    for (to, from) in owned.iter_mut().zip(fds).take(count) {
        // SAFETY: the kernel made this number for this call, and nobody else knows it.
        *to = Some(unsafe { OwnedFd::from_raw_fd(from) });
    }
    (outcome.map(|(len, _)| len), owned)
}
