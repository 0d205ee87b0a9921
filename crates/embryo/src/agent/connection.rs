//! A connection that many threads use at once, without a thread of its own: whoever waits reads, and hands the
//! others what is theirs.
//!
//! It must never wait for the agent with the lock held, nor for room to send without reading meanwhile: the
//! agent takes nothing from who takes nothing from it.

use super::demux::{Broken, State, Told, Unwanted};
use super::packet::{self, Packet, Received};
use super::wire::{self, Head, MESSAGE_BYTES_MAX, kind};
use crate::error::{AgentError, Error};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// How long one waits for room while somebody else reads.
const TURN: Duration = Duration::from_millis(20);

/// A connected socket and what is known of it.
#[derive(Debug)]
pub(super) struct Connection {
    socket: OwnedFd,
    /// What it is called in errors.
    pub(super) name: String,
    state: Mutex<State>,
    changed: Condvar,
}

/// What waiting came to.
#[derive(Debug)]
pub(super) enum Waited<T> {
    Found(T),
    Broken(Broken),
    Late,
}

/// What is to be sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question<'a> {
    pub(super) kind: u16,
    pub(super) flags: u32,
    pub(super) body: [&'a [u8]; 2],
    pub(super) fds: &'a [BorrowedFd<'a>],
}

/// Why it was not.
#[derive(Debug)]
pub(super) enum Unsent {
    Broken(Broken),
    Late,
    Failed(Errno),
}

/// A request under way. Dropping it leaves nobody to take the answer: a child that it starts is killed.
#[derive(Debug)]
pub(super) struct Ticket<'a> {
    connection: &'a Connection,
    pub(super) request: u64,
    sent: bool,
}

impl<'a> Ticket<'a> {
    pub(super) fn new(connection: &'a Connection, request: u64) -> Self {
        Self { connection, request, sent: false }
    }

    /// The agent will answer.
    pub(super) fn sent(&mut self) {
        self.sent = true;
    }
}

impl<'a> Question<'a> {
    pub(super) fn new(kind: u16, body: &'a [u8]) -> Self {
        Self { kind, flags: 0, body: [body, &[]], fds: &[] }
    }

    fn head(&self, request: u64) -> Head {
        Head::new(self.kind, request, self.flags, self.body[0].len() + self.body[1].len())
    }
}

impl Connection {
    pub(super) fn new(socket: OwnedFd, name: String) -> Self {
        Self { socket, name, state: Mutex::new(State::new()), changed: Condvar::new() }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether nothing is owed to anybody.
    pub(super) fn is_idle(&self) -> bool {
        self.state().is_idle()
    }

    /// The socket alone.
    pub(super) fn into_socket(self) -> OwnedFd {
        self.socket
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks, and waits for the answer.
    pub(super) fn ask(&self, question: Question<'_>, deadline: Instant) -> Result<Packet, Error> {
        let ticket = self.send(question, deadline).map_err(|unsent| self.unsent(unsent))?;
        match self.wait_for(Some(deadline), |state| state.answer(ticket.request)) {
            Waited::Found(packet) => Ok(packet),
            Waited::Broken(broken) => Err(self.broken(broken)),
            Waited::Late => Err(self.late()),
        }
    }

    /// Sends a request.
    pub(super) fn send(
        &self,
        question: Question<'_>,
        deadline: Instant,
    ) -> Result<Ticket<'_>, Unsent> {
        let request = |state: &mut State| state.has_room().then(|| state.ask(question.kind));
        let wait = self.wait_for(Some(deadline), |state| match &state.broken {
            None if !state.stopping => request(state).map(Ok),
            broken => Some(Err(broken.clone().unwrap_or_else(stopping))),
        });
        let mut ticket = match wait {
            Waited::Found(Ok(request)) => Ticket::new(self, request),
            Waited::Found(Err(broken)) | Waited::Broken(broken) => {
                return Err(Unsent::Broken(broken));
            }
            Waited::Late => return Err(Unsent::Late),
        };
        self.send_as(ticket.request, question, deadline)?;
        ticket.sent();
        Ok(ticket)
    }

    fn send_as(
        &self,
        request: u64,
        question: Question<'_>,
        deadline: Instant,
    ) -> Result<(), Unsent> {
        loop {
            match self.try_send(request, question) {
                Ok(()) => return Ok(()),
                Err(Errno::AGAIN) => self.make_room(deadline)?,
                Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => {
                    return Err(Unsent::Broken(self.last_words()));
                }
                Err(errno) => return Err(Unsent::Failed(errno)),
            }
        }
    }

    /// Sends it if there is room.
    pub(super) fn try_send(&self, request: u64, question: Question<'_>) -> Result<(), Errno> {
        packet::send(self.socket(), &question.head(request), question.body, question.fds)
    }

    /// Waits until there may be room to send, reading meanwhile.
    fn make_room(&self, deadline: Instant) -> Result<(), Unsent> {
        if Instant::now() >= deadline {
            return Err(Unsent::Late);
        }
        let state = self.state();
        if let Some(broken) = &state.broken {
            return Err(Unsent::Broken(broken.clone()));
        }
        if state.reading {
            drop(state);
            let until = deadline.min(Instant::now() + TURN);
            poll(self.socket(), PollFlags::OUT, Some(until));
        } else {
            drop(self.turn(state, PollFlags::IN | PollFlags::OUT, Some(deadline)));
        }
        Ok(())
    }

    /// Takes what the agent said before it closed; why it did so, if that was said.
    pub(super) fn last_words(&self) -> Broken {
        let soon = Instant::now() + Duration::from_secs(1);
        let said: Waited<()> = self.wait_for(Some(soon), |_| None);
        match said {
            Waited::Broken(broken) => broken,
            _ => Broken::new("the agent has closed the connection", Errno::PIPE),
        }
    }

    /// Waits until `find` finds something, which it is tried for before anything else. Whoever comes when nobody
    /// reads does so for all.
    pub(super) fn wait_for<T>(
        &self,
        deadline: Option<Instant>,
        mut find: impl FnMut(&mut State) -> Option<T>,
    ) -> Waited<T> {
        let mut state = self.state();
        loop {
            if let Some(found) = find(&mut state) {
                return Waited::Found(found);
            }
            if let Some(broken) = &state.broken {
                return Waited::Broken(broken.clone());
            }
            let passed = || deadline.is_some_and(|deadline| Instant::now() >= deadline);
            if !state.reading {
                let (next, got) = self.turn(state, PollFlags::IN, deadline);
                state = next;
                if !got && passed() {
                    return Waited::Late;
                }
            } else if passed() {
                return Waited::Late;
            } else {
                state = self.follow(state, deadline);
            }
        }
    }

    /// Waits until whoever reads has read something.
    fn follow<'a>(
        &self,
        state: MutexGuard<'a, State>,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        match deadline {
            None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let waited = self.changed.wait_timeout(state, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Waits at the socket and takes a message; says whether something came.
    fn turn<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        events: PollFlags,
        deadline: Option<Instant>,
    ) -> (MutexGuard<'a, State>, bool) {
        state.reading = true;
        let mut buffer = std::mem::take(&mut state.buffer);
        drop(state);
        let ready = poll(self.socket(), events, deadline);
        let received = match ready.intersects(!PollFlags::OUT) {
            true => self.receive(&mut buffer),
            false => Received::Nothing,
        };
        let mut state = self.state();
        state.reading = false;
        state.buffer = buffer;
        let got = state.take(received);
        self.tell_others(&mut state);
        (state, got)
    }

    /// Takes all that is there, unless somebody else is about to.
    pub(super) fn drain(&self) -> MutexGuard<'_, State> {
        let mut state = self.state();
        let mut any = false;
        while !state.reading && state.broken.is_none() {
            let mut buffer = std::mem::take(&mut state.buffer);
            // It does not wait, so the lock may be held.
            let received = self.receive(&mut buffer);
            state.buffer = buffer;
            if !state.take(received) {
                break;
            }
            any = true;
        }
        if any {
            self.tell_others(&mut state);
        }
        state
    }

    fn receive(&self, buffer: &mut Vec<u8>) -> Received {
        buffer.resize(MESSAGE_BYTES_MAX, 0);
        packet::receive(self.socket(), buffer)
    }

    fn tell_others(&self, state: &mut State) {
        self.changed.notify_all();
        state.wakers.drain(..).for_each(std::task::Waker::wake);
        for unwanted in std::mem::take(&mut state.unwanted) {
            self.kill(state, &unwanted);
        }
    }

    /// Has a child killed that nobody wants. It does not wait.
    pub(super) fn kill(&self, state: &mut State, unwanted: &Unwanted) {
        if !self.tell(state, kind::KILL, &wire::Child { child: unwanted.child.into() }.as_bytes())
            && let Some(pidfd) = &unwanted.pidfd
        {
            crate::process::kill(pidfd.as_fd());
        }
    }

    /// Sends a request whose answer does not matter; false if that cannot be done now.
    fn tell(&self, state: &mut State, kind: u16, body: &&[u8]) -> bool {
        if state.broken.is_some() || state.stopping {
            return false;
        }
        let request = state.tell(kind);
        let sent = self.try_send(request, Question::new(kind, body));
        if sent.is_err() {
            state.forget(request);
        }
        sent.is_ok()
    }

    /// How the child ended that this request started.
    pub(super) fn child_end(&self, request: u64, deadline: Option<Instant>) -> Waited<Told> {
        let found = self.wait_for(deadline, |state| {
            let told = state.ended(request).map(Ok);
            told.or_else(|| state.stopping.then(|| Err(stopping())))
        });
        match found {
            Waited::Found(Ok(told)) => Waited::Found(told),
            Waited::Found(Err(broken)) | Waited::Broken(broken) => Waited::Broken(broken),
            Waited::Late => Waited::Late,
        }
    }

    /// Nobody will ask for a child any more, which is to be killed or to go on.
    pub(super) fn leave(&self, request: u64, child: u64, pidfd: BorrowedFd<'_>, kill: bool) {
        let mut state = self.drain();
        let body = wire::Child { child: child.into() };
        let runs = state.leave(request);
        if runs && kill && !self.tell(&mut state, kind::KILL, &body.as_bytes()) {
            crate::process::kill(pidfd);
        }
    }

    /// The error of a connection.
    pub(super) fn error(&self, what: impl Into<String>, errno: Errno, hint: Option<&str>) -> Error {
        let what = what.into();
        AgentError::of(&self.name, what, errno.into(), hint.map(str::to_owned))
    }

    pub(super) fn broken(&self, broken: Broken) -> Error {
        self.error(broken.what, broken.errno, broken.hint)
    }

    pub(super) fn late(&self) -> Error {
        let hint = "it may be stopped, or have more to do than it can";
        self.error("the agent does not answer", Errno::TIMEDOUT, Some(hint))
    }

    pub(super) fn unsent(&self, unsent: Unsent) -> Error {
        match unsent {
            Unsent::Broken(broken) => self.broken(broken),
            Unsent::Late => self.late(),
            Unsent::Failed(errno) => {
                let hint = match errno {
                    Errno::MSGSIZE => Some("it is longer than the socket's buffer"),
                    Errno::TOOMANYREFS => {
                        Some("more descriptors are in flight than RLIMIT_NOFILE allows this uid")
                    }
                    Errno::BADF => Some("a descriptor that is granted is not open"),
                    _ => None,
                };
                self.error("sending a request", errno, hint)
            }
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.connection.state();
        if !self.sent {
            // There is room for another one.
            state.forget(self.request);
            self.connection.tell_others(&mut state);
            return;
        }
        state.abandon(self.request);
        if !state.unwanted.is_empty() {
            self.connection.tell_others(&mut state);
        }
    }
}

pub(super) fn stopping() -> Broken {
    Broken::new("the agent is stopping and takes no more requests", Errno::SHUTDOWN)
}

/// What a socket is ready for; nothing if that is so when the time is over.
fn poll(socket: BorrowedFd<'_>, events: PollFlags, deadline: Option<Instant>) -> PollFlags {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // A time too long for the kernel is no time limit.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::from_borrowed_fd(socket, events)];
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Err(Errno::INTR) => {}
            // What is the matter will be told by the next call.
            Err(_) => return PollFlags::ERR,
            Ok(_) => return fds[0].revents(),
        }
    }
}
