//! One packet out, one packet in, with descriptors. It must never block, and never let a descriptor that
//! arrived stay open unowned or without close-on-exec.

use super::wire::{FDS_MAX, Head};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

/// Descriptors that an answer may bring. The kernel drops what does not fit.
const ANSWER_FDS: usize = 2;

/// One message of the agent's.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) kind: u16,
    pub(super) request: u64,
    pub(super) flags: u32,
    pub(super) version: u16,
    pub(super) body: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
    /// Some descriptor did not arrive, since this process may have no more of them.
    pub(super) fds_lost: bool,
}

/// What a look at the socket brought.
#[derive(Debug)]
pub(super) enum Received {
    Packet(Packet),
    /// Nothing is there.
    Nothing,
    /// The other side has closed.
    End,
    /// What came is no message of an agent's.
    Garbage(&'static str),
    Failed(Errno),
}

/// Sends a message, or nothing of it: EAGAIN if there is no room for it now.
pub(super) fn send(
    socket: BorrowedFd<'_>,
    head: &Head,
    body: [&[u8]; 2],
    fds: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    use zerocopy::IntoBytes;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(FDS_MAX))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::TOOMANYREFS);
    }
    let parts = [IoSlice::new(head.as_bytes()), IoSlice::new(body[0]), IoSlice::new(body[1])];
    let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
    loop {
        match rustix::net::sendmsg(socket, &parts, &mut control, flags) {
            Err(Errno::INTR) => {}
            other => return other.map(drop),
        }
    }
}

/// Takes the next message, if there is one.
pub(super) fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Received {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ANSWER_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    // What the other side had not read leaves an error, which comes before what it said.
    let mut resets = 0;
    let received = loop {
        match rustix::net::recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut control, flags) {
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) if resets == 0 => resets += 1,
            Err(Errno::AGAIN) => return Received::Nothing,
            Err(errno) => return Received::Failed(errno),
            Ok(received) => break received,
        }
    };
    let rights = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
        _ => None,
    });
    let fds: Vec<OwnedFd> = rights.flatten().collect();
    if received.bytes == 0 {
        return Received::End;
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Received::Garbage("a message that is too long");
    }
    let lost = received.flags.contains(ReturnFlags::CTRUNC);
    if fds.len() > 1 || lost && !fds.is_empty() {
        return Received::Garbage("a message with too many descriptors");
    }
    match Head::split(buffer.get(..received.bytes).unwrap_or_default()) {
        None => Received::Garbage("something that is no message"),
        Some((head, body)) => Received::Packet(Packet {
            kind: head.kind.get(),
            request: head.request.get(),
            flags: head.flags.get(),
            version: head.version.get(),
            body: body.to_vec(),
            fds,
            fds_lost: lost,
        }),
    }
}
