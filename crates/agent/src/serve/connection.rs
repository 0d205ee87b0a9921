//! One client's socket: what comes in, and what could not go out yet.
//!
//! What waits to go out is bounded: while anything does, nothing is read, so there is at most one answer for each
//! request that is under way and one end for each child that runs.

use crate::mandate::Held;
use embryo::agent::wire::{FDS_MAX, Head, IN_FLIGHT_MAX};
use embryo_syscall::{self as sys, Errno};
use std::collections::{BTreeSet, VecDeque};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Instant;
use zerocopy::IntoBytes;

/// A connection.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    pub(super) held: Held,
    /// Of a narrower one, that which it was made from.
    pub(super) parent: Option<u64>,
    pub(super) since: Instant,
    /// Whether it has said which versions it speaks.
    pub(super) welcomed: bool,
    /// Spawns that have not been answered.
    pub(super) in_flight: usize,
    /// Its children that run.
    pub(super) children: BTreeSet<u64>,
    /// Children that were started for it, in all.
    pub(super) started: u64,
    waiting: VecDeque<Waiting>,
    /// What epoll was told to look for.
    pub(super) interest: Interest,
}

/// What is looked for at a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Interest {
    pub(super) read: bool,
    pub(super) write: bool,
}

/// A message that could not go out yet.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) bytes: Vec<u8>,
    pub(super) fds: Vec<OwnedFd>,
}

/// What was read.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A message of this length, with these descriptors.
    Message(usize, Vec<OwnedFd>),
    /// A message whose descriptors found no number free.
    CutOff(usize, Vec<OwnedFd>),
    /// A message that is longer than any may be.
    TooLong(Vec<OwnedFd>),
    /// Nothing now.
    Nothing,
    /// The other side has closed.
    End,
}

/// Whether something could be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    /// It went out, or waits to.
    Fine,
    /// Nobody is there any more.
    Gone,
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, held: Held, parent: Option<u64>) -> Self {
        Self {
            socket,
            held,
            parent,
            since: Instant::now(),
            welcomed: false,
            in_flight: 0,
            children: BTreeSet::new(),
            started: 0,
            waiting: VecDeque::new(),
            interest: Interest::default(),
        }
    }

    /// Only the socket. What waited to go out is the agent's own.
    pub(super) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    /// Whether a further request may be read.
    pub(super) fn is_open(&self) -> bool {
        self.waiting.is_empty() && self.in_flight < IN_FLIGHT_MAX
    }

    /// Whether nothing is to come but answers to further requests.
    pub(super) fn rests(&self) -> bool {
        self.in_flight == 0 && self.children.is_empty() && self.waiting.is_empty()
    }

    /// Whether something waits to go out.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What waits to go out.
    pub(super) fn waiting(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter()
    }

    /// Has these messages wait, in front of everything else there may be.
    pub(super) fn keep_waiting(&mut self, waiting: Vec<(Vec<u8>, Vec<OwnedFd>)>) {
        for (bytes, fds) in waiting.into_iter().rev() {
            self.waiting.push_front(Waiting { bytes, fds });
        }
    }

    /// Whether its holder may see and kill everybody's children.
    pub(super) fn is_operator(&self) -> bool {
        self.parent.is_none() && self.held.levels.iter().all(|level| level.source.operator)
    }

    /// Takes one message into `buffer`.
    pub(super) fn receive(&self, buffer: &mut [u8]) -> Incoming {
        let (outcome, fds) = sys::receive(self.socket.as_fd(), buffer);
        let fds = fds.into_iter().flatten().collect();
        match outcome {
            Err(Errno::AGAIN | Errno::INTR) => Incoming::Nothing,
            Err(_) => Incoming::End,
            Ok(received) if received.longer => Incoming::TooLong(fds),
            Ok(received) if received.cut_off => Incoming::CutOff(received.len, fds),
            Ok(received) if received.len == 0 && fds.is_empty() => Incoming::End,
            Ok(received) => Incoming::Message(received.len, fds),
        }
    }

    /// Sends a message, or keeps it until there is room.
    pub(super) fn send(
        &mut self,
        kind: u16,
        request: u64,
        flags: u32,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) -> Sent {
        let head = Head::new(kind, request, flags, body.len());
        if self.waiting.is_empty() {
            match transmit(self.socket.as_fd(), head.as_bytes(), body, fds) {
                Ok(()) => return Sent::Fine,
                Err(errno) if !is_full(errno) => return Sent::Gone,
                Err(_) => {}
            }
        }
        let copies = fds.iter().map(BorrowedFd::try_clone_to_owned).collect();
        // Without a number for a copy the message cannot be kept, nor can it be left out.
        let Ok(fds) = copies else { return Sent::Gone };
        self.waiting.push_back(Waiting { bytes: [head.as_bytes(), body].concat(), fds });
        Sent::Fine
    }

    /// Sends what waits, as far as there is room.
    pub(super) fn flush(&mut self) -> Sent {
        while let Some(packet) = self.waiting.front() {
            let fds: Vec<_> = packet.fds.iter().map(AsFd::as_fd).collect();
            match transmit(self.socket.as_fd(), &packet.bytes, &[], &fds) {
                Ok(()) => drop(self.waiting.pop_front()),
                Err(errno) if is_full(errno) => break,
                Err(_) => return Sent::Gone,
            }
        }
        Sent::Fine
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// No room in the socket, or too many descriptors on their way to somebody: both pass.
fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::AGAIN | Errno::TOOMANYREFS | Errno::NOMEM)
}

fn transmit(
    socket: BorrowedFd<'_>,
    head: &[u8],
    body: &[u8],
    fds: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let mut numbers = [-1; FDS_MAX];
    let numbers = numbers.get_mut(..fds.len()).ok_or(Errno::INVAL)?;
    for (to, from) in numbers.iter_mut().zip(fds) {
        *to = from.as_raw_fd();
    }
    loop {
        match sys::send_with_fds(socket.as_raw_fd(), head, body, numbers) {
            Err(Errno::INTR) => {}
            other => return other,
        }
    }
}

/// Sends one message to somebody who is not let in.
pub(super) fn turn_away(socket: BorrowedFd<'_>, kind: u16, body: &[u8]) {
    let head = Head::new(kind, 0, 0, body.len());
    let _ = transmit(socket, head.as_bytes(), body, &[]);
}
