//! A client that says anything at all: bytes and descriptors, whether they make sense or not.
//!
//! It must never wait without an end.

use super::PATIENCE;
use embryo::agent::wire::{
    self, Child, Ended, Head, Hello, Signal, Spawn, Started, flags as flag, kind,
};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use std::fmt;
use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// One connection.
#[derive(Debug)]
pub struct RawClient {
    /// The socket, for what this type does not do.
    pub socket: OwnedFd,
}

/// One message of the agent's.
pub struct Message {
    /// Its head.
    pub head: Head,
    /// What follows.
    pub body: Vec<u8>,
    /// What came with it.
    pub fds: Vec<OwnedFd>,
}

/// What a client reads until it has what it wants, kept in order.
#[derive(Debug, Default)]
pub struct Reader {
    kept: Vec<Message>,
}

impl RawClient {
    /// Connects.
    ///
    /// # Panics
    /// If nobody listens.
    #[must_use]
    pub fn connect(path: &Path) -> Self {
        Self::try_connect(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Connects, if somebody listens.
    ///
    /// # Errors
    /// What connect(2) answers.
    pub fn try_connect(path: &Path) -> Result<Self, Errno> {
        let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Ok(Self { socket })
    }

    /// Sends one packet, and waits for room.
    ///
    /// # Errors
    /// What sendmsg(2) answers; EAGAIN if the other end does not read.
    pub fn send(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.send_now(bytes, fds) {
                Err(Errno::AGAIN) if Instant::now() < deadline => {
                    self.poll(PollFlags::OUT, deadline);
                }
                other => return other,
            }
        }
    }

    /// Sends one packet, if there is room.
    ///
    /// # Errors
    /// What sendmsg(2) answers.
    pub fn send_now(&self, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
        let mut space = vec![MaybeUninit::uninit(); fds.len() * 4 + 64];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            assert!(rights.push(SendAncillaryMessage::ScmRights(fds)), "there is room");
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        rustix::net::sendmsg(&self.socket, &[IoSlice::new(bytes)], &mut rights, flags).map(drop)
    }

    /// Sends a message whose head is right.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn say(&self, kind: u16, request: u64, flags: u32, body: &[u8], fds: &[BorrowedFd<'_>]) {
        let packet = Self::packet(kind, request, flags, body);
        self.send(&packet, fds).unwrap_or_else(|error| panic!("kind {kind:#x}: {error}"));
    }

    /// A message whose head is right.
    #[must_use]
    pub fn packet(kind: u16, request: u64, flags: u32, body: &[u8]) -> Vec<u8> {
        [Head::new(kind, request, flags, body.len()).as_bytes(), body].concat()
    }

    /// The next message; `None` if the agent has closed the connection.
    ///
    /// # Panics
    /// If it does not come in time, or is no message.
    #[must_use]
    pub fn hear(&self) -> Option<Message> {
        self.hear_within(PATIENCE).unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// The same with less patience.
    ///
    /// # Errors
    /// EAGAIN if nothing came.
    ///
    /// # Panics
    /// If it is no message, or has lost a part.
    pub fn hear_within(&self, patience: Duration) -> Result<Option<Message>, Errno> {
        let deadline = Instant::now() + patience;
        let mut bytes = vec![0; wire::MESSAGE_BYTES_MAX];
        loop {
            let mut space = vec![MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(253))];
            let mut rights = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let into = &mut [IoSliceMut::new(&mut bytes)];
            match rustix::net::recvmsg(&self.socket, into, &mut rights, flags) {
                // That the agent closed it with something unread is told before what it said last.
                Err(Errno::CONNRESET | Errno::INTR) => {}
                Err(Errno::AGAIN) if Instant::now() < deadline => {
                    self.poll(PollFlags::IN, deadline);
                }
                Err(error) => return Err(error),
                Ok(received) if received.bytes == 0 => return Ok(None),
                Ok(received) => {
                    assert!(!received.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC));
                    let count = received.bytes;
                    let fds = rights.drain().filter_map(|message| match message {
                        RecvAncillaryMessage::ScmRights(fds) => Some(fds),
                        _ => None,
                    });
                    let fds = fds.flatten().collect();
                    let (head, body) = Head::split(&bytes[..count]).expect("a message of an agent");
                    return Ok(Some(Message { head, body: body.to_vec(), fds }));
                }
            }
        }
    }

    fn poll(&self, events: PollFlags, deadline: Instant) {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).expect("it is not long");
        let mut fds = [PollFd::from_borrowed_fd(self.socket.as_fd(), events)];
        let _ = rustix::event::poll(&mut fds, Some(&left));
    }

    /// HELLO, and WELCOME.
    ///
    /// # Panics
    /// If it is not welcome.
    pub fn hello(&self) {
        let version = wire::VERSION.into();
        let hello = Hello { oldest: version, newest: version, ..Hello::default() };
        self.say(kind::HELLO, 1, 0, hello.as_bytes(), &[]);
        let answer = self.hear().expect("an agent that answers");
        assert_eq!(answer.head.kind, kind::WELCOME, "{answer:?}");
        let welcome: Hello = answer.read();
        assert_eq!((welcome.oldest, welcome.newest), (version, version));
    }

    /// SPAWN of this plan.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn spawn(&self, request: u64, plan: &[u8], fds: &[BorrowedFd<'_>]) {
        let body = [Spawn::default().as_bytes(), plan].concat();
        self.say(kind::SPAWN, request, 0, &body, fds);
    }

    /// SIGNAL.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn signal(&self, request: u64, child: u64, signal: u32) {
        let (child, signal) = (child.into(), signal.into());
        let body = Signal { child, signal, ..Signal::default() };
        self.say(kind::SIGNAL, request, 0, body.as_bytes(), &[]);
    }

    /// KILL.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub fn kill(&self, request: u64, child: u64) {
        self.say(kind::KILL, request, 0, Child { child: child.into() }.as_bytes(), &[]);
    }

    /// Spawns, and waits for the end of it: the status.
    ///
    /// # Panics
    /// If it does not start, or anything else is said meanwhile.
    #[must_use]
    pub fn run(&self, request: u64, plan: &[u8], fds: &[BorrowedFd<'_>]) -> i32 {
        self.spawn(request, plan, fds);
        let mut reader = Reader::default();
        let started: Started = reader.want(self, request, kind::STARTED).read();
        let ended = reader.want(self, request, kind::ENDED);
        assert_eq!(ended.head.flags.get() & flag::UNKNOWN, 0, "{ended:?}");
        let ended: Ended = ended.read();
        assert_eq!(ended.child, started.child);
        ended.status.get()
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Head { kind, request, flags, body_len, .. } = self.head;
        write!(f, "kind {kind:#x}, request {request}, flags {flags:#x}, {body_len} bytes")?;
        write!(f, ", {} descriptors", self.fds.len())?;
        if self.head.kind == kind::REFUSED || self.head.kind == kind::FAULT {
            write!(f, ", {:?}: {:?}", self.rule().unwrap_or("fault"), self.words())?;
        }
        Ok(())
    }
}

impl Message {
    /// What its body begins with.
    ///
    /// # Panics
    /// If it is shorter.
    #[must_use]
    pub fn read<T: FromBytes + Immutable>(&self) -> T {
        let read = T::read_from_prefix(&self.body);
        read.map_or_else(|_| panic!("the body is too short: {self:?}"), |(read, _)| read)
    }

    /// The rule of a refusal; `None` if it is none.
    #[must_use]
    pub fn rule(&self) -> Option<&str> {
        let refused = self.head.kind == kind::REFUSED;
        let rule = self.body.split(|byte| *byte == 0).next().filter(|_| refused)?;
        std::str::from_utf8(rule).ok()
    }

    /// What it says in words.
    #[must_use]
    pub fn words(&self) -> String {
        let skipped = match self.head.kind.get() {
            kind::REFUSED => self.body.iter().position(|byte| *byte == 0).map_or(0, |at| at + 1),
            kind::FAULT => size_of::<wire::Fault>(),
            _ => 0,
        };
        String::from_utf8_lossy(self.body.get(skipped..).unwrap_or_default()).into_owned()
    }
}

impl Reader {
    /// The answer of this kind to this request, and what else came is kept for later.
    ///
    /// # Panics
    /// If the request is answered in another way, or not in time.
    pub fn want(&mut self, client: &RawClient, request: u64, kind: u16) -> Message {
        let answer = self.answer(client, request);
        assert_eq!(answer.head.kind, kind, "{}: {answer:?}", answer.words());
        answer
    }

    /// The next answer to this request.
    ///
    /// # Panics
    /// If it does not come in time.
    #[must_use]
    pub fn answer(&mut self, client: &RawClient, request: u64) -> Message {
        if let Some(at) = self.kept.iter().position(|message| message.head.request == request) {
            return self.kept.remove(at);
        }
        loop {
            let message = client.hear().expect("the agent goes on");
            if message.head.request == request {
                return message;
            }
            self.kept.push(message);
        }
    }
}
