//! A client that has several children under way on one connection, in the bytes of the protocol: what the agent
//! can do, without the library's threads and locks.

use std::collections::BTreeSet;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use embryo::Plan;
use embryo::agent::wire::{self, Ended, Head, Hello, MESSAGE_BYTES_MAX, Spawn, VERSION, kind};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, sockopt,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::child;
use crate::stdio::OwnStdout;
use crate::throughput::Turns;

/// An agent that is silent for longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// Descriptors of an answer: a pidfd.
const ANSWER_FDS_MAX: usize = 1;

/// A connection with its window of children.
pub(super) struct Pipeline {
    socket: OwnedFd,
    plan: Plan,
    grants: Vec<OwnedFd>,
    window: usize,
    next_request: u64,
    /// Requests whose child has not ended.
    under_way: BTreeSet<u64>,
    buffer: Vec<u8>,
}

impl Pipeline {
    /// Connects, and agrees on a version. `window` children are under way at a time.
    pub(super) fn new(
        path: &Path,
        (plan, grants): (Plan, Vec<OwnedFd>),
        window: usize,
    ) -> io::Result<Self> {
        let (family, kind_of) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = rustix::net::socket_with(family, kind_of, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(PATIENCE))?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        let buffer = vec![0; MESSAGE_BYTES_MAX];
        let (next_request, under_way) = (2, BTreeSet::new());
        let mut own = Self { socket, plan, grants, window, next_request, under_way, buffer };
        let (oldest, newest) = (VERSION.into(), VERSION.into());
        let hello = Hello { oldest, newest, ..Hello::default() };
        send(&own.socket, kind::HELLO, 1, [hello.as_bytes(), &[]], &[])?;
        let (head, body) = own.receive()?;
        let welcome = Hello::read_from_bytes(body).ok();
        match (head.kind.get(), welcome) {
            (kind::WELCOME, Some(welcome)) if welcome.in_flight_max.get() as usize >= window => {
                Ok(own)
            }
            _ => Err(answered(&head, body)),
        }
    }

    fn request(&mut self) -> io::Result<()> {
        let request = self.next_request;
        let grants: Vec<BorrowedFd<'_>> = self.grants.iter().map(AsFd::as_fd).collect();
        let spawn = Spawn::default();
        let body = [spawn.as_bytes(), self.plan.as_bytes()];
        send(&self.socket, kind::SPAWN, request, body, &grants)?;
        self.next_request += 1;
        self.under_way.insert(request);
        Ok(())
    }

    /// Reads answers until a child has ended.
    fn await_end(&mut self, own: &OwnStdout) -> io::Result<()> {
        loop {
            let (head, body) = self.receive()?;
            if head.kind.get() == kind::STARTED {
                continue;
            }
            let ended = (head.kind.get() == kind::ENDED).then(|| Ended::read_from_bytes(body));
            let wrong = match ended {
                Some(Ok(ended)) if ended.status.get() == 0 => None,
                Some(Ok(ended)) => Some(io::Error::other(format!("status {}", ended.status))),
                _ => Some(answered(&head, body)),
            };
            if !self.under_way.remove(&head.request.get()) {
                return Err(io::Error::other("an answer that nobody waits for"));
            }
            return match wrong {
                Some(error) => Err(error),
                None => child::take_any_answer(own.answers()).map(drop),
            };
        }
    }

    /// One message. What came with it is closed.
    fn receive(&mut self) -> io::Result<(Head, &[u8])> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(ANSWER_FDS_MAX))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut self.buffer)];
        let flags = RecvFlags::CMSG_CLOEXEC;
        let received = rustix::net::recvmsg(&self.socket, into, &mut control, flags)?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(fds) = message {
                fds.for_each(drop);
            }
        }
        Head::split(&self.buffer[..received.bytes])
            .ok_or_else(|| io::Error::other("the agent has gone, or says no message"))
    }
}

impl Turns for Pipeline {
    fn turn(&mut self, own: &OwnStdout) -> io::Result<()> {
        while self.under_way.len() < self.window {
            self.request()?;
        }
        self.await_end(own)
    }

    fn finish(&mut self, own: &OwnStdout) -> io::Result<u64> {
        let left = self.under_way.len() as u64;
        (0..left).try_for_each(|_| self.await_end(own))?;
        Ok(left)
    }
}

fn send(
    socket: &OwnedFd,
    kind: u16,
    request: u64,
    body: [&[u8]; 2],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let head = Head::new(kind, request, 0, body[0].len() + body[1].len());
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::other("more descriptors than there is room for"));
    }
    let parts = [head.as_bytes(), body[0], body[1]].map(IoSlice::new);
    rustix::net::sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Something else than what was asked for.
fn answered(head: &Head, body: &[u8]) -> io::Error {
    let words = match head.kind.get() {
        kind::REFUSED => body,
        kind::FAULT => body.get(size_of::<wire::Fault>()..).unwrap_or_default(),
        _ => &[],
    };
    let words = String::from_utf8_lossy(words).replace('\0', ": ");
    io::Error::other(format!("the agent answered {:#06x} {words}", head.kind.get()))
}
