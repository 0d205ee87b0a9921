//! A connection to an agent, for its operator: one question at a time.
//!
//! It must never wait for ever for an agent that does not answer.

use crate::args::OperatorArgs;
use crate::failure::Failure;
use embryo::agent::wire::{
    self, HEAD_LEN, Head, Hello, MESSAGE_BYTES_MAX, Since, VERSION, flags, kind,
};
use embryo_agent::operator::Listing;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use std::fs::File;
use std::io::{self, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::path::PathBuf;
use zerocopy::{FromBytes, IntoBytes};

const DEFAULT: &str = "/run/embryo/operator.sock";
const NAMED_BY: &str = "EMBRYO_AGENT_OPERATOR";
/// Seconds that an answer may take.
const PATIENCE: i64 = 10;
/// Bytes of a text, at most.
const TEXT_MAX: u64 = 256 << 20;

/// A connection to an agent.
pub(super) struct Operator {
    socket: OwnedFd,
    path: PathBuf,
    request: u64,
}

/// What an agent answered.
struct Answer {
    head: Head,
    body: Vec<u8>,
    fds: Vec<OwnedFd>,
}

impl Operator {
    /// Connects to the one that is named.
    pub(super) fn connect(args: &OperatorArgs) -> Result<Self, Failure> {
        let named = || std::env::var_os(NAMED_BY).filter(|path| !path.is_empty());
        let path = args.socket.clone().or_else(|| named().map(PathBuf::from));
        let path = path.unwrap_or_else(|| DEFAULT.into());
        let flags = SocketFlags::CLOEXEC;
        let connected = SocketAddrUnix::new(&path).and_then(|address| {
            let socket = rustix::net::socket_with(
                AddressFamily::UNIX,
                SocketType::SEQPACKET,
                flags,
                None,
            )?;
            rustix::net::connect(&socket, &address)?;
            Ok(socket)
        });
        let socket = connected.map_err(|errno| unreachable(&path, errno))?;
        let mut operator = Self { socket, path, request: 0 };
        let version = VERSION.into();
        let hello = Hello { oldest: version, newest: version, ..Hello::default() };
        operator.ask(kind::HELLO, hello.as_bytes(), kind::WELCOME)?;
        Ok(operator)
    }

    /// What runs.
    pub(super) fn list(&mut self) -> Result<Listing, Failure> {
        let text = self.text(kind::LIST, &[])?;
        serde_json::from_str(&text).map_err(|error| self.strange(&error.to_string()))
    }

    /// The log from an entry on, as lines of JSON.
    pub(super) fn log(&mut self, entry: u64) -> Result<String, Failure> {
        self.text(kind::LOG, Since { entry: entry.into() }.as_bytes())
    }

    /// Kills a child.
    pub(super) fn kill(&mut self, child: u64) -> Result<(), Failure> {
        let body = wire::Child { child: child.into() };
        self.ask(kind::KILL, body.as_bytes(), kind::DONE).map(drop)
    }

    /// Sends a child a signal.
    pub(super) fn signal(&mut self, child: u64, signal: u32) -> Result<(), Failure> {
        let body =
            wire::Signal { child: child.into(), signal: signal.into(), ..Default::default() };
        self.ask(kind::SIGNAL, body.as_bytes(), kind::DONE).map(drop)
    }

    fn text(&mut self, kind: u16, body: &[u8]) -> Result<String, Failure> {
        let answer = self.ask(kind, body, kind::TEXT)?;
        let bytes = match answer.head.flags.get() & flags::IN_FD != 0 {
            false => answer.body,
            true => {
                let fd = answer.fds.into_iter().next();
                let mut bytes = Vec::new();
                fd.map(|fd| File::from(fd).take(TEXT_MAX).read_to_end(&mut bytes))
                    .unwrap_or_else(|| Err(Errno::BADF.into()))
                    .map_err(|error| self.strange(&error.to_string()))?;
                bytes
            }
        };
        String::from_utf8(bytes).map_err(|error| self.strange(&error.to_string()))
    }

    fn ask(&mut self, kind: u16, body: &[u8], expect: u16) -> Result<Answer, Failure> {
        self.request += 1;
        let head = Head::new(kind, self.request, 0, body.len());
        let message = [head.as_bytes(), body].concat();
        rustix::net::send(&self.socket, &message, SendFlags::NOSIGNAL)
            .map_err(|errno| self.gone(errno))?;
        loop {
            let answer = self.receive()?;
            let found = answer.head.kind.get();
            match found {
                kind::STOPPING => {
                    return Err(Failure::new(format!("{}: it is stopping", self.name())));
                }
                _ if answer.head.request.get() != self.request => {}
                kind::REFUSED => return Err(self.refused(&answer.body)),
                kind::FAULT => return Err(self.fault(&answer.body)),
                _ if found == expect => return Ok(answer),
                _ => return Err(self.strange(&format!("an answer of kind {found:#x}"))),
            }
        }
    }

    fn receive(&self) -> Result<Answer, Failure> {
        let mut fds = [PollFd::new(&self.socket, PollFlags::IN)];
        match poll(&mut fds, Some(&Timespec { tv_sec: PATIENCE, tv_nsec: 0 })) {
            Ok(0) => return Err(Failure::new(format!("{} does not answer", self.name()))),
            Ok(_) => {}
            Err(errno) => return Err(self.gone(errno)),
        }
        let mut bytes = vec![0; HEAD_LEN + MESSAGE_BYTES_MAX];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut iov = [IoSliceMut::new(&mut bytes)];
        let received =
            rustix::net::recvmsg(&self.socket, &mut iov, &mut control, RecvFlags::CMSG_CLOEXEC)
                .map_err(|errno| self.gone(errno))?;
        let arrived = control.drain().flat_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => fds.collect(),
            _ => Vec::new(),
        });
        let fds: Vec<OwnedFd> = arrived.collect();
        let packet = bytes.get(..received.bytes).unwrap_or_default();
        if packet.is_empty() {
            return Err(self.gone(Errno::CONNRESET));
        }
        let (head, body) = Head::split(packet).ok_or_else(|| self.strange("no message"))?;
        Ok(Answer { head, body: body.to_vec(), fds })
    }

    fn refused(&self, body: &[u8]) -> Failure {
        let text = String::from_utf8_lossy(body);
        let (rule, why) = text.split_once('\0').unwrap_or((&text, ""));
        Failure::new(format!("refused by {}: {rule}: {why}", self.name()))
    }

    fn fault(&self, body: &[u8]) -> Failure {
        let Ok((fault, words)) = wire::Fault::read_from_prefix(body) else {
            return self.strange("a fault that is none");
        };
        let words = String::from_utf8_lossy(words);
        let errno = io::Error::from_raw_os_error(fault.errno.get().into());
        let what = if words.is_empty() { "it failed".into() } else { words };
        Failure::io(&what, "", &errno).with_status(super::NO)
    }

    fn gone(&self, errno: Errno) -> Failure {
        Failure::io("lost", self.name(), &errno.into())
    }

    fn strange(&self, what: &str) -> Failure {
        Failure::new(format!("{} answers what is not understood: {what}", self.name()))
    }

    fn name(&self) -> String {
        format!("the agent at {}", self.path.display())
    }
}

fn unreachable(path: &std::path::Path, errno: Errno) -> Failure {
    let failure =
        Failure::io("cannot connect to the agent at", path.display(), &io::Error::from(errno));
    match errno {
        Errno::NOENT | Errno::CONNREFUSED => {
            failure.hint(format!("--socket or {NAMED_BY} names another; is it running?"))
        }
        Errno::ACCESS => failure.hint("its file says who may connect: mode, owner and group"),
        Errno::PROTOTYPE => failure.hint("this is the socket of something else"),
        _ => failure,
    }
}
