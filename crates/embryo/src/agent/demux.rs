//! Whose a message is: what has been asked and not been answered, and which children have not been heard of.
//!
//! It is data alone. It must never hold more than was asked for: what nobody asked for is an error of the other
//! side's.

use super::packet::{Packet, Received};
use super::wire::{self, MESSAGE_BYTES_MAX, VERSION, kind};
use rustix::io::Errno;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::task::Waker;
use zerocopy::FromBytes;

/// Futures that are remembered, at most.
#[cfg(feature = "tokio")]
const WAKERS_MAX: usize = 4096;

/// What is known of a connection.
#[derive(Debug)]
pub(super) struct State {
    last_request: u64,
    requests: HashMap<u64, Request>,
    /// By the request that started them.
    children: HashMap<u64, Child>,
    /// Somebody is waiting at the socket.
    pub(super) reading: bool,
    /// What is read into; whoever reads has it.
    pub(super) buffer: Vec<u8>,
    /// Bytes of a message, and requests under way, as the agent said.
    pub(super) message_bytes_max: usize,
    pub(super) in_flight_max: usize,
    /// The agent takes no more requests.
    pub(super) stopping: bool,
    /// Why nothing more will come.
    pub(super) broken: Option<Broken>,
    /// Futures to be polled when something has changed.
    pub(super) wakers: Vec<Waker>,
    /// Children that have started and that nobody waits for: to be killed.
    pub(super) unwanted: Vec<Unwanted>,
}

#[derive(Debug)]
enum Request {
    /// Somebody waits for the answer; it is of this kind.
    Asked(u16),
    /// Nobody does any more.
    Abandoned(u16),
    Answered(Packet),
}

#[derive(Debug)]
enum Child {
    Runs(u64),
    Ended(Told),
    /// Nobody will ask how it ended.
    Left(u64),
}

/// A child that has started though nobody wants it.
#[derive(Debug)]
pub(super) struct Unwanted {
    pub(super) child: u64,
    pub(super) pidfd: Option<OwnedFd>,
}

/// What the agent told of a child's end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told {
    pub(super) ended: wire::Ended,
    pub(super) flags: u32,
}

/// Why a connection is of no use any more.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) what: String,
    pub(super) errno: Errno,
    pub(super) hint: Option<&'static str>,
}

impl Broken {
    pub(super) fn new(what: impl Into<String>, errno: Errno) -> Self {
        Self { what: what.into(), errno, hint: None }
    }

    fn garbage(what: impl Into<String>) -> Self {
        let hint = "another process may be using the same connection, or this is no agent";
        let what = format!("the agent has sent {}", what.into());
        Self { what, errno: Errno::BADMSG, hint: Some(hint) }
    }
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            last_request: 0,
            requests: HashMap::new(),
            children: HashMap::new(),
            reading: false,
            buffer: Vec::new(),
            message_bytes_max: MESSAGE_BYTES_MAX,
            in_flight_max: wire::IN_FLIGHT_MAX,
            stopping: false,
            broken: None,
            wakers: Vec::new(),
            unwanted: Vec::new(),
        }
    }

    /// A number for a request of this kind.
    pub(super) fn ask(&mut self, kind: u16) -> u64 {
        self.last_request += 1;
        self.requests.insert(self.last_request, Request::Asked(kind));
        self.last_request
    }

    /// One whose answer nobody waits for.
    pub(super) fn tell(&mut self, kind: u16) -> u64 {
        self.last_request += 1;
        self.requests.insert(self.last_request, Request::Abandoned(kind));
        self.last_request
    }

    /// Whether another request may be sent: what has been answered is not under way, whether somebody has taken
    /// the answer or not.
    pub(super) fn has_room(&self) -> bool {
        let under_way = |request: &&Request| !matches!(request, Request::Answered(_));
        self.requests.values().filter(under_way).count() < self.in_flight_max
    }

    /// It was not sent.
    pub(super) fn forget(&mut self, request: u64) {
        self.requests.remove(&request);
    }

    /// The answer, if it has come.
    pub(super) fn answer(&mut self, request: u64) -> Option<Packet> {
        match self.requests.get(&request) {
            Some(Request::Answered(_)) => match self.requests.remove(&request) {
                Some(Request::Answered(packet)) => Some(packet),
                _ => None,
            },
            _ => None,
        }
    }

    /// Nobody waits for the answer any more.
    pub(super) fn abandon(&mut self, request: u64) {
        match self.requests.remove(&request) {
            Some(Request::Asked(kind)) => {
                self.requests.insert(request, Request::Abandoned(kind));
            }
            Some(Request::Answered(packet)) => self.unwanted(packet),
            _ => {}
        }
    }

    /// How the child ended that this request started.
    pub(super) fn ended(&mut self, request: u64) -> Option<Told> {
        match self.children.get(&request) {
            Some(Child::Ended(told)) => {
                let told = *told;
                self.children.remove(&request);
                Some(told)
            }
            _ => None,
        }
    }

    /// Nobody will ask for this child. False if it is known to have ended.
    pub(super) fn leave(&mut self, request: u64) -> bool {
        match self.children.get_mut(&request) {
            Some(child @ Child::Runs(_)) => {
                let Child::Runs(number) = *child else { return true };
                *child = Child::Left(number);
                true
            }
            Some(Child::Left(_)) => true,
            Some(Child::Ended(_)) => {
                self.children.remove(&request);
                false
            }
            None => false,
        }
    }

    /// Has a future polled again when something has changed.
    #[cfg(feature = "tokio")]
    pub(super) fn wake(&mut self, waker: &Waker) {
        if self.wakers.iter().any(|known| known.will_wake(waker)) {
            return;
        }
        // Those of futures that are gone are among them. One that is polled in vain comes back.
        if self.wakers.len() >= WAKERS_MAX {
            self.wakers.drain(..).for_each(Waker::wake);
        }
        self.wakers.push(waker.clone());
    }

    /// Whether nothing is owed to anybody.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.children.is_empty() && !self.reading
    }

    /// Takes in what came. False if that was nothing.
    pub(super) fn take(&mut self, received: Received) -> bool {
        let taken = match received {
            Received::Nothing => return false,
            Received::Packet(packet) => self.packet(packet),
            Received::End if self.stopping => {
                Err(Broken::new("the agent has stopped", Errno::PIPE))
            }
            Received::End => {
                Err(Broken::new("the agent has ended, or has closed the connection", Errno::PIPE))
            }
            Received::Garbage(what) => Err(Broken::garbage(what)),
            Received::Failed(errno) => Err(Broken::new("receiving from the agent", errno)),
        };
        if let Err(broken) = taken {
            self.broken.get_or_insert(broken);
        }
        true
    }

    fn packet(&mut self, packet: Packet) -> Result<(), Broken> {
        if packet.version != VERSION {
            let theirs = packet.version;
            let what = format!("the agent speaks version {theirs}, and this program {VERSION}");
            return Err(Broken::new(what, Errno::PROTONOSUPPORT));
        }
        match packet.kind {
            kind::ENDED => self.child_ended(&packet),
            kind::STOPPING if packet.request == 0 => {
                self.stopping = true;
                Ok(())
            }
            kind::WELCOME..=kind::TEXT => self.answered(packet),
            other => Err(Broken::garbage(format!("a message of unknown kind {other:#x}"))),
        }
    }

    fn answered(&mut self, packet: Packet) -> Result<(), Broken> {
        let request = packet.request;
        let asked = match self.requests.get(&request) {
            Some(Request::Asked(kind) | Request::Abandoned(kind)) => *kind,
            Some(Request::Answered(_)) => {
                return Err(Broken::garbage(format!("two answers to request {request}")));
            }
            None => {
                let what = format!("an answer to request {request}, which was not made");
                return Err(Broken::garbage(what));
            }
        };
        if !answers(asked, &packet) {
            let what = format!("an answer of kind {:#x} to a request of {asked}", packet.kind);
            return Err(Broken::garbage(what));
        }
        if packet.kind == kind::STARTED {
            let started = wire::Started::read_from_bytes(&packet.body);
            let number = started.map_or(0, |started| started.child.get());
            self.children.insert(request, Child::Runs(number));
        }
        if let Some(Request::Abandoned(_)) = self.requests.get(&request) {
            self.requests.remove(&request);
            self.unwanted(packet);
        } else {
            self.requests.insert(request, Request::Answered(packet));
        }
        Ok(())
    }

    fn unwanted(&mut self, mut packet: Packet) {
        if packet.kind != kind::STARTED || !self.leave(packet.request) {
            return;
        }
        if let Some(Child::Left(child)) = self.children.get(&packet.request) {
            self.unwanted.push(Unwanted { child: *child, pidfd: packet.fds.pop() });
        }
    }

    fn child_ended(&mut self, packet: &Packet) -> Result<(), Broken> {
        let Ok(ended) = wire::Ended::read_from_bytes(&packet.body) else {
            return Err(Broken::garbage("an end without its body"));
        };
        let unknown = || Broken::garbage("the end of a child that is not known");
        let child = self.children.get_mut(&packet.request).ok_or_else(unknown)?;
        match child {
            Child::Runs(number) if *number == ended.child.get() => {
                *child = Child::Ended(Told { ended, flags: packet.flags });
            }
            Child::Left(number) if *number == ended.child.get() => {
                self.children.remove(&packet.request);
            }
            _ => return Err(unknown()),
        }
        Ok(())
    }
}

/// Whether this can be the answer to a request of this kind: by its kind, and by what it brings.
fn answers(asked: u16, packet: &Packet) -> bool {
    let fixed = |len: usize, fds: usize| {
        packet.body.len() == len && (packet.fds.len() == fds || fds == 1 && packet.fds_lost)
    };
    let expected = match asked {
        kind::HELLO => kind::WELCOME,
        kind::SPAWN => kind::STARTED,
        kind::SIGNAL | kind::KILL => kind::DONE,
        kind::USAGE => kind::USED,
        kind::NARROW => kind::NARROWED,
        _ => kind::TEXT,
    };
    match packet.kind {
        kind::REFUSED => packet.fds.is_empty(),
        kind::FAULT => packet.fds.is_empty() && packet.body.len() >= size_of::<wire::Fault>(),
        other if other != expected => false,
        kind::WELCOME => fixed(size_of::<wire::Hello>(), 0),
        kind::STARTED => fixed(size_of::<wire::Started>(), 1),
        kind::USED => fixed(size_of::<wire::Used>(), 0),
        kind::NARROWED => fixed(0, 1),
        kind::DONE => fixed(0, 0),
        _ if packet.flags & wire::flags::IN_FD != 0 => fixed(0, 1),
        _ => packet.fds.is_empty(),
    }
}
