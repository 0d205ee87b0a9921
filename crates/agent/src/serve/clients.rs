//! Clients: how they are let in, read, answered and let go.

use super::connection::{Connection, Incoming, Interest, Sent, turn_away};
use super::{PLANS_BYTES_MAX, REST, Server, TURN, Token, answer};
use crate::files::close::OUTSTANDING_MAX;
use crate::files::facts::Facts;
use crate::mandate::{Held, Refusal};
use crate::peer::Peer;
use crate::request::{self, Request};
use embryo::agent::wire::{self, MESSAGE_BYTES_MAX, kind};
use rustix::event::epoll;
use rustix::net::SocketFlags;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

impl Server {
    pub(super) fn accept(&mut self, index: u64) {
        for _ in 0..TURN {
            let Some(listener) = self.listeners.get(index as usize) else { return };
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            let socket = match rustix::net::accept_with(&listener.fd, flags) {
                Ok(socket) => socket,
                Err(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE) => {
                    tracing::warn!("no descriptor is free for a connection");
                    self.rest_listeners(true);
                    self.resting_until = Some(Instant::now() + REST);
                    return;
                }
                // Whoever it was has gone, or there is nobody.
                Err(_) => return,
            };
            let mandate = listener.mandate.clone();
            // Who has gone already cannot be asked who it was.
            let Ok(held) = self.hold(&socket, &mandate) else { continue };
            match held {
                Ok(held) => drop(self.connect(socket, held, None)),
                Err(refusal) => {
                    if self.throttle.admits(Instant::now()).is_some() {
                        let Refusal { rule, why } = &refusal;
                        tracing::info!(mandate, rule, why, "turned away");
                    }
                    turn_away(socket.as_fd(), kind::REFUSED, &answer::refused(&refusal));
                }
            }
        }
    }

    pub(super) fn rest_listeners(&self, rest: bool) {
        for (index, listener) in self.listeners.iter().enumerate() {
            let flags = if rest { epoll::EventFlags::empty() } else { epoll::EventFlags::IN };
            let token = Token::Listener(index as u64).encode();
            let _ = epoll::modify(&self.epoll, &listener.fd, token, flags);
        }
    }

    /// Whether there is room for one more. For an operator there always is, who may have come because
    /// there is none.
    fn admit(&self, mandate: &str) -> Result<(), Refusal> {
        let operator = self.mandates.get(mandate).is_some_and(|mandate| mandate.source.operator);
        let open = self.connections.len();
        if open < self.settings.connections || operator {
            return Ok(());
        }
        Err(Refusal {
            rule: "agent.connections".into(),
            why: format!("there are {open} connections"),
        })
    }

    /// What somebody who has connected holds, or why nothing.
    fn hold(&mut self, socket: &OwnedFd, name: &str) -> std::io::Result<Result<Held, Refusal>> {
        if let Err(refusal) = self.admit(name) {
            return Ok(Err(refusal));
        }
        let peer = Peer::of(socket.as_fd())?;
        let Some(mandate) = self.mandates.get(name).cloned() else {
            return Err(std::io::ErrorKind::NotFound.into());
        };
        if !mandate.admits(&peer) {
            let why = format!("uid {}, gid {} may not connect here", peer.uid, peer.gid);
            return Ok(Err(Refusal { rule: "peers".into(), why }));
        }
        let (all, each) = (&mandate.source.numbers, &mandate.source.numbers_per_uid);
        let accounts = match self.accounts.connect(name, all, peer.uid, each) {
            Ok(accounts) => accounts,
            Err(refusal) => return Ok(Err(refusal)),
        };
        Ok(Ok(Held { levels: vec![mandate], accounts, peer: Arc::new(peer) }))
    }

    /// Takes a connection up.
    pub(super) fn connect(
        &mut self,
        socket: OwnedFd,
        held: Held,
        parent: Option<u64>,
    ) -> Option<u64> {
        let id = self.number();
        let watched = self.watch(&socket, Token::Connection(id), epoll::EventFlags::RDHUP);
        let accounts = held.accounts.clone();
        let (uid, pid) = (held.peer.uid, held.peer.pid);
        let mandate = held.levels.first().map_or("", |level| level.name.as_str());
        tracing::debug!(connection = id, uid, pid, mandate, "connected");
        if watched.is_err() {
            self.accounts.disconnect(&accounts);
            return None;
        }
        self.counts.accepted += 1;
        self.connections.insert(id, Connection::new(socket, held, parent));
        self.look_for(id);
        Some(id)
    }

    pub(super) fn connection_ready(&mut self, id: u64, flags: epoll::EventFlags) {
        if flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR) {
            return self.disconnect(id);
        }
        if flags.contains(epoll::EventFlags::OUT) {
            self.flush(id);
        }
        if !flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP) {
            return;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.resize(MESSAGE_BYTES_MAX, 0);
        self.read_some(id, &mut buffer);
        self.buffer = buffer;
        self.look_for(id);
    }

    /// Reads and serves messages of one connection, but no more than its turn.
    fn read_some(&mut self, id: u64, buffer: &mut [u8]) {
        for _ in 0..TURN {
            if !self.may_read(id) {
                return;
            }
            let Some(connection) = self.connections.get(&id) else { return };
            match connection.receive(buffer) {
                Incoming::Nothing => return,
                Incoming::End => return self.disconnect(id),
                Incoming::Message(len, fds) => {
                    self.message(id, buffer.get(..len).unwrap_or_default(), fds);
                }
                Incoming::CutOff(len, fds) => {
                    self.dispose(self.uid_of(id), fds);
                    let packet = buffer.get(..len).unwrap_or_default();
                    let head = wire::Head::split(packet);
                    let request = head.map_or(0, |(head, _)| head.request.get());
                    let why = "no descriptor is free for the grants".to_owned();
                    self.refuse(id, request, &Refusal { rule: "agent.descriptors".into(), why });
                }
                Incoming::TooLong(fds) => {
                    self.dispose(self.uid_of(id), fds);
                    return self.malformed(id, 0, "the message is longer than any may be");
                }
            }
        }
    }

    fn message(&mut self, id: u64, packet: &[u8], fds: Vec<OwnedFd>) {
        match request::parse(packet, fds.len()) {
            Ok((number, request)) => self.serve(id, number, request, fds),
            Err((number, malformed)) => {
                self.dispose(self.uid_of(id), fds);
                self.malformed(id, number, &malformed.to_string());
            }
        }
    }

    fn serve(&mut self, id: u64, number: u64, request: Request<'_>, fds: Vec<OwnedFd>) {
        let greets = matches!(request, Request::Hello(_));
        // Who was handed a connection does not know whether it was greeted before.
        let fits = |connection: &Connection| match connection.welcomed {
            true => !greets || connection.rests(),
            false => greets,
        };
        if !self.connections.get(&id).is_some_and(fits) {
            self.dispose(self.uid_of(id), fds);
            let why = "hello comes first, and again only if nothing is under way and no child runs";
            return self.malformed(id, number, why);
        }
        let done = match request {
            Request::Spawn { timeout_ms, plan } => {
                return self.spawn(id, number, timeout_ms, plan, fds);
            }
            Request::Hello(hello) => return self.hello(id, number, hello),
            Request::Signal { child, signal } => self.signal(id, number, child, signal),
            Request::Kill { child } => self.kill(id, number, child),
            Request::Usage { child } => self.usage(id, number, child),
            Request::Narrow { json } => self.narrow(id, number, json),
            Request::Mandate => self.mandate(id, number),
            Request::List => self.list(id, number),
            Request::Log { since } => self.log(id, number, since),
        };
        if let Err(refusal) = done {
            self.refuse(id, number, &refusal);
        }
    }
}

impl Server {
    /// Reads again what was not read for a reason that has passed.
    pub(super) fn resume(&mut self) {
        for id in std::mem::take(&mut self.paused) {
            self.look_for(id);
        }
    }

    /// Whether a request of this connection may be read.
    fn may_read(&self, id: u64) -> bool {
        !self.draining
            && self.plans_bytes < PLANS_BYTES_MAX
            && self.connections.get(&id).is_some_and(|connection| {
                connection.is_open()
                    && self.closer.outstanding(connection.held.peer.uid) <= OUTSTANDING_MAX
            })
    }

    /// Tells epoll what is of interest at a connection now.
    pub(super) fn look_for(&mut self, id: u64) {
        let read = self.may_read(id);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if !read {
            self.paused.insert(id);
        }
        let write = connection.has_waiting() && !self.stalled.contains(&id);
        let interest = Interest { read, write };
        if interest == connection.interest {
            return;
        }
        connection.interest = interest;
        let mut flags = epoll::EventFlags::empty();
        // Only while it is read: what has shut down its writing side would be told of without end.
        flags.set(epoll::EventFlags::IN | epoll::EventFlags::RDHUP, read);
        flags.set(epoll::EventFlags::OUT, write);
        let token = Token::Connection(id).encode();
        let _ = epoll::modify(&self.epoll, connection.as_fd(), token, flags);
    }

    /// Sends a message to a connection, if it is still there.
    pub(super) fn tell(
        &mut self,
        id: u64,
        kind: u16,
        request: u64,
        flags: u32,
        body: &[u8],
        fds: &[BorrowedFd<'_>],
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.send(kind, request, flags, body, fds) {
            Sent::Gone => self.disconnect(id),
            Sent::Fine if connection.has_waiting() => self.look_for(id),
            Sent::Fine => {}
        }
    }

    /// Sends what waits to be sent.
    pub(super) fn flush(&mut self, id: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        match connection.flush() {
            Sent::Gone => return self.disconnect(id),
            Sent::Fine => {}
        }
        if connection.has_waiting() && connection.interest.write {
            // epoll says that there is room and there is none: of descriptors on their way.
            self.stalled.insert(id);
        }
        self.look_for(id);
    }

    pub(super) fn refuse(&mut self, id: u64, request: u64, refusal: &Refusal) {
        let Refusal { rule, why } = refusal;
        self.counts.refused += 1;
        match self.throttle.admits(Instant::now()) {
            Some(0) => tracing::warn!(connection = id, request, rule, why, "refused"),
            Some(others) => {
                tracing::warn!(
                    connection = id,
                    request,
                    rule,
                    why,
                    others,
                    "refused, as others were"
                );
            }
            None => {}
        }
        self.tell(id, kind::REFUSED, request, 0, &answer::refused(refusal), &[]);
    }

    /// Somebody does not speak the protocol: it is said, and that is all.
    fn malformed(&mut self, id: u64, request: u64, why: &str) {
        self.refuse(id, request, &Refusal { rule: "protocol".into(), why: why.to_owned() });
        self.disconnect(id);
    }

    /// A connection has ended, or is ended.
    pub(super) fn disconnect(&mut self, id: u64) {
        let Some(connection) = self.connections.remove(&id) else { return };
        let _ = epoll::delete(&self.epoll, connection.as_fd());
        tracing::debug!(connection = id, children = connection.children.len(), "disconnected");
        self.stalled.remove(&id);
        self.paused.remove(&id);
        let of_it = self.launches.iter().filter(|(_, launch)| launch.connection == id);
        for launch in of_it.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.give_up(launch);
        }
        for child in &connection.children {
            if let Some(child) = self.children.get_mut(child) {
                child.connection_ends();
            }
        }
        self.accounts.disconnect(&connection.held.accounts);
        let uid = connection.held.peer.uid;
        // What it has sent and nobody has read goes with it.
        self.closer.close_elsewhere(connection.into_socket(), uid);
    }

    /// Closes what a client has sent, which may take as long as it likes elsewhere.
    pub(super) fn dispose(&mut self, uid: u32, fds: Vec<OwnedFd>) {
        for fd in fds {
            let facts = Facts::of(fd.as_fd(), &mut self.known);
            self.closer.close(fd, &facts, uid, &mut self.known);
        }
    }

    /// Who is at the other end of a connection.
    pub(super) fn uid_of(&self, id: u64) -> u32 {
        self.connections.get(&id).map_or(u32::MAX, |connection| connection.held.peer.uid)
    }
}
