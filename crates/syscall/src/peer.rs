//! Who is at the other end of a Unix socket, and whole messages with whatever came along.
//!
//! rustix's form of SO_PEERCRED takes a pid of 0, which is that of a peer outside the pid namespace, for
//! something that cannot be.

use crate::fds::{self, SCM_MAX_FDS};
use crate::raw::syscall;
use crate::{Errno, Result};
use core::ffi::c_void;
use linux_raw_sys::general::__NR_getsockopt;
use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

const SOL_SOCKET: usize = 1;
const SO_PEERCRED: usize = 17;
const SO_PEERGROUPS: usize = 59;
const SO_PEERPIDFD: usize = 77;

/// What SO_PEERCRED tells: `struct ucred`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PeerCredentials {
    /// 0 if it has none in the caller's pid namespace.
    pub pid: i32,
    /// Effective uid.
    pub uid: u32,
    /// Effective gid.
    pub gid: u32,
}

/// `getsockopt(2)` at the level of sockets; how many bytes there are.
fn option(socket: BorrowedFd<'_>, name: usize, into: &mut [u8]) -> Result<usize> {
    let mut len = into.len() as u32;
    let to: *mut c_void = into.as_mut_ptr().cast();
    let socket = socket.as_raw_fd() as isize;
    // SAFETY: the kernel writes at most `len` bytes to `to`, which is that slice, and the length to
    // a live local.
    unsafe { syscall!(__NR_getsockopt, socket, SOL_SOCKET, name, to, &raw mut len) }?;
    Ok(len as usize)
}

/// `getsockopt(2)` SO_PEERCRED: who connected, or who listened, as it was then.
pub fn peer_credentials(socket: BorrowedFd<'_>) -> Result<PeerCredentials> {
    let mut bytes = [0; 12];
    option(socket, SO_PEERCRED, &mut bytes)?;
    let [pid, uid, gid] = words(bytes);
    Ok(PeerCredentials { pid: pid.cast_signed(), uid, gid })
}

fn words(bytes: [u8; 12]) -> [u32; 3] {
    let [a, b, c, d, e, f, g, h, i, j, k, l] = bytes;
    [[a, b, c, d], [e, f, g, h], [i, j, k, l]].map(u32::from_ne_bytes)
}

/// `getsockopt(2)` SO_PEERGROUPS (Linux 4.13): its supplementary groups, as native u32s; how many bytes
/// that is. ERANGE if there are more.
pub fn peer_groups(socket: BorrowedFd<'_>, into: &mut [u8]) -> Result<usize> {
    option(socket, SO_PEERGROUPS, into)
}

/// `getsockopt(2)` SO_PEERPIDFD (Linux 6.5): a pidfd of it. ENOPROTOOPT before.
pub fn peer_pidfd(socket: BorrowedFd<'_>) -> Result<OwnedFd> {
    let mut bytes = [0; 4];
    option(socket, SO_PEERPIDFD, &mut bytes)?;
    let fd = i32::from_ne_bytes(bytes);
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: the kernel made this descriptor for this call, and nobody else knows its number.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A message, and what is wrong with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    /// Bytes that arrived; 0 at the end, and of an empty message.
    pub len: usize,
    /// There were more bytes.
    pub longer: bool,
    /// There were more descriptors, for which the caller had no number free.
    pub cut_off: bool,
}

/// `recvmsg(2)`, without waiting. All descriptors that arrived are handed over, whatever is wrong with the
/// message, since closing one may take its time.
pub fn receive(
    socket: BorrowedFd<'_>,
    into: &mut [u8],
) -> (Result<Received>, [Option<OwnedFd>; SCM_MAX_FDS]) {
    let mut numbers = [-1; SCM_MAX_FDS];
    let outcome = fds::receive_raw(socket.as_raw_fd(), into, &mut numbers, false);
    let mut owned = [const { None }; SCM_MAX_FDS];
    let count = outcome.map_or(0, |raw| raw.fds);
    for (to, from) in owned.iter_mut().zip(numbers).take(count) {
        // SAFETY: the kernel made this number for this call, and nobody else knows it.
        *to = Some(unsafe { OwnedFd::from_raw_fd(from) });
    }
    (outcome.map(|raw| raw.received), owned)
}
