//! From a path, a descriptor or the environment to a connected socket of an agent's.
//!
//! It must never wait longer than it says, and never close a number that it does not own.

use crate::error::{AgentError, Error};
use crate::guarded::AsRaw;
use embryo_syscall as sys;
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketAddrUnix,
    SocketFlags, SocketType, sockopt,
};
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a listener is tried whose queue is full.
const RETRY: Duration = Duration::from_millis(5);

/// Connects.
pub(super) fn connect(path: &Path, deadline: Instant) -> Result<OwnedFd, Error> {
    let name = path.display().to_string();
    let fail = |what: &str, errno: Errno| {
        AgentError::of(&name, what, errno.into(), hint(errno).map(str::to_owned))
    };
    let address = SocketAddrUnix::new(path).map_err(|errno| fail("connecting", errno))?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    loop {
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
                .map_err(|errno| fail("making a socket", errno))?;
        match rustix::net::connect(&socket, &address) {
            Ok(()) => return Ok(socket),
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) if Instant::now() < deadline => std::thread::sleep(RETRY),
            Err(errno) => return Err(fail("connecting", errno)),
        }
    }
}

fn hint(errno: Errno) -> Option<&'static str> {
    Some(match errno {
        Errno::NOENT => "no such socket: the agent is not running, or listens elsewhere",
        Errno::CONNREFUSED => "nobody listens there: the agent has ended, or this is no socket",
        Errno::PROTOTYPE => "a socket of another kind, which is no agent's",
        Errno::ACCESS => "the permissions of the socket, or of a directory on the way, forbid it",
        Errno::AGAIN => {
            "the agent does not accept connections: it may be stopped, or have too many"
        }
        Errno::NAMETOOLONG => "the path of a socket has at most 107 bytes",
        _ => return None,
    })
}

/// Refuses what cannot be a connection to an agent.
pub(super) fn check(socket: BorrowedFd<'_>, name: &str) -> Result<(), Error> {
    let is = sockopt::socket_domain(socket)
        .and_then(|domain| Ok((domain, sockopt::socket_type(socket)?)));
    let fail = |errno: Errno, hint: Option<String>| {
        AgentError::of(name, "looking at the descriptor", errno.into(), hint)
    };
    match is {
        Ok((AddressFamily::UNIX, SocketType::SEQPACKET)) => Ok(()),
        Ok(_) => Err(fail(
            Errno::PROTOTYPE,
            Some("it is a socket of another kind, which is no agent's".into()),
        )),
        Err(errno) => Err(fail(errno, None)),
    }
}

/// A handle of its own for the descriptor with this number, which stays what it is.
pub(super) fn inherited(number: u32, name: &str) -> Result<OwnedFd, Error> {
    let fail = |errno: Errno, hint: Option<&str>| {
        AgentError::of(name, "taking the descriptor", errno.into(), hint.map(str::to_owned))
    };
    let raw = i32::try_from(number).unwrap_or(-1);
    if sys::fcntl_getfd(raw).is_err() {
        return Err(fail(Errno::BADF, Some("it was not handed down to this process")));
    }
    duplicate(raw).map_err(|errno| fail(errno, None))
}

/// The kernel passes it through a socket to ourselves, as it does between processes, so nothing has to be claimed
/// about the number.
fn duplicate(number: i32) -> Result<OwnedFd, Errno> {
    let kind = SocketType::SEQPACKET;
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
    sys::send_with_fds(ours.as_fd().as_raw(), &[0], &[], &[number])
        .map_err(|errno| Errno::from_raw_os_error(errno.number().into()))?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0u8];
    let mut iov = [IoSliceMut::new(&mut byte)];
    rustix::net::recvmsg(&theirs, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let mut arrived = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    arrived.next().ok_or(Errno::MFILE)
}

/// Reads what an agent has sent by descriptor: a regular file of a bounded size, so that it cannot make anybody
/// wait.
pub(super) fn contents(file: BorrowedFd<'_>, max: usize) -> Result<Vec<u8>, Errno> {
    let stat = rustix::fs::fstat(file)?;
    if rustix::fs::FileType::from_raw_mode(stat.st_mode) != rustix::fs::FileType::RegularFile {
        return Err(Errno::BADMSG);
    }
    // Not one that was opened by path alone, or for writing.
    if !rustix::fs::fcntl_getfl(file)?.intersection(OFlags::PATH | OFlags::WRONLY).is_empty() {
        return Err(Errno::BADMSG);
    }
    let len = usize::try_from(stat.st_size).ok().filter(|len| *len <= max).ok_or(Errno::FBIG)?;
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match rustix::io::pread(file, rest, filled as u64) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(0) => return Err(Errno::BADMSG),
            Ok(count) => filled += count,
        }
    }
    Ok(bytes)
}
