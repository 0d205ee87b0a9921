//! One end of a socket between an owner and its seed, for somebody who says what he likes.
//!
//! It must never wait without an end.

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags,
    SocketType,
};
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// More than any message between the two has.
const MESSAGE: usize = 256 << 10;
/// The most descriptors that the kernel takes in one message.
const FDS: usize = 253;

/// An end of such a socket.
#[derive(Debug)]
pub struct Socket(pub OwnedFd);

/// Both ends of a new one.
///
/// # Panics
/// If no socket can be made.
#[must_use]
pub fn pair() -> (Socket, OwnedFd) {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let pair = rustix::net::socketpair(family, kind, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.expect("sockets can be made");
    (Socket(ours), theirs)
}

impl Socket {
    /// Says something, with descriptors.
    ///
    /// # Errors
    /// EAGAIN if the other end does not listen at the moment, EPIPE if there is none any more.
    pub fn say(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = vec![MaybeUninit::uninit(); FDS * 4 + 64];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        let fds = &fds[..fds.len().min(FDS)];
        if !fds.is_empty() {
            assert!(rights.push(SendAncillaryMessage::ScmRights(fds)), "there is room");
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::sendmsg(&self.0, &[IoSlice::new(bytes)], &mut rights, flags).map(drop)
    }

    /// Waits for something to be said; `None` if nothing is. The end of the socket is an empty message.
    #[must_use]
    pub fn hear(&self, patience: Duration) -> Option<Vec<u8>> {
        let patience = Timespec::try_from(patience).ok()?;
        let mut fds = [PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN)];
        if rustix::event::poll(&mut fds, Some(&patience)) == Ok(0) {
            return None;
        }
        let mut message = vec![0; MESSAGE];
        let mut receive = || rustix::net::recv(&self.0, &mut message, RecvFlags::DONTWAIT);
        // That the other end was closed with something unheard comes before what it said last.
        let received = match receive() {
            Err(Errno::CONNRESET) => receive(),
            other => other,
        };
        let len = match received {
            Ok((len, _)) => len,
            Err(Errno::AGAIN | Errno::INTR) => return None,
            Err(_) => 0,
        };
        message.truncate(len);
        Some(message)
    }
}
