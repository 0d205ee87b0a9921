//! Spawning through an agent without holding up a runtime: whoever waits takes in what is there, and is woken by
//! the socket or by whoever else has read.
//!
//! It must never block.

use super::client::{Agent, hello};
use super::connection::{Connection, Question, Ticket, Unsent, stopping};
use super::demux::{Broken, State};
use super::launch::{self, Message};
use super::packet::Packet;
use super::wire::kind;
use crate::error::Error;
use crate::spawn::SpawnOptions;
use crate::tokio_process::{AsyncProcess, watch};
use embryo_plan::OwnedPlan;
use rustix::io::Errno;
use std::future::poll_fn;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use zerocopy::IntoBytes;

type Watched = AsyncFd<OwnedFd>;

impl Agent {
    /// [`Agent::spawn`] for tokio. Must be called in a runtime with I/O and time enabled. Cancelling it kills the
    /// child, as soon as the connection is used again or ends.
    ///
    /// # Errors
    /// As [`Agent::spawn`], and what registering descriptors with tokio answers.
    pub async fn spawn_async(
        &self,
        plan: &OwnedPlan,
        grants: &[BorrowedFd<'_>],
    ) -> Result<AsyncProcess, Error> {
        self.spawn_async_with(plan, grants, SpawnOptions::default()).await
    }

    /// [`Agent::spawn_with`] for tokio.
    ///
    /// # Errors
    /// As [`Agent::spawn_async`].
    pub async fn spawn_async_with(
        &self,
        plan: &OwnedPlan,
        grants: &[BorrowedFd<'_>],
        options: SpawnOptions,
    ) -> Result<AsyncProcess, Error> {
        launch::prepared(plan, grants)?;
        let deadline = launch::deadline(options.timeout).into();
        let spawning = self.spawn_watched(plan, grants, options);
        match tokio::time::timeout_at(deadline, spawning).await {
            Ok(spawned) => spawned,
            Err(_) => Err(self.connection().late()),
        }
    }

    async fn spawn_watched(
        &self,
        plan: &OwnedPlan,
        grants: &[BorrowedFd<'_>],
        options: SpawnOptions,
    ) -> Result<AsyncProcess, Error> {
        let connection = self.connection();
        let socket = connection.socket().try_clone_to_owned();
        let socket = socket.and_then(|fd| watch(fd, Interest::READABLE | Interest::WRITABLE));
        let socket = socket.map_err(Error::io("registering a connection with tokio"))?;
        self.greet_async(&socket).await?;
        let mut message = Message::new(self, plan, grants, options)?;
        let mut sent = send(connection, &socket, &message).await;
        if matches!(sent, Err(Unsent::Failed(Errno::MSGSIZE))) && message.is_inline() {
            message.move_to_memfd(self)?;
            sent = send(connection, &socket, &message).await;
        }
        let ticket = sent.map_err(|unsent| connection.unsent(unsent))?;
        let answer = answer(connection, &socket, &ticket).await?;
        launch::launched(self, answer, plan, grants)?.into_async()
    }

    /// Agrees on a version, if that has not been done.
    async fn greet_async(&self, socket: &Watched) -> Result<(), Error> {
        if self.has_greeted() {
            return Ok(());
        }
        // Somebody else may be doing the same: the agent does not mind being greeted twice.
        let connection = self.connection();
        let hello = hello();
        let question = Question::new(kind::HELLO, hello.as_bytes());
        let ticket = send(connection, socket, &question).await;
        let ticket = ticket.map_err(|unsent| connection.unsent(unsent))?;
        let answer = answer(connection, socket, &ticket).await?;
        self.welcomed(answer)
    }
}

/// Something that can be sent.
trait Sendable {
    fn send(&self, connection: &Connection, request: u64) -> Result<(), Errno>;
    fn kind(&self) -> u16;
}

impl Sendable for Message<'_> {
    fn send(&self, connection: &Connection, request: u64) -> Result<(), Errno> {
        self.with(|question| connection.try_send(request, question))
    }

    fn kind(&self) -> u16 {
        kind::SPAWN
    }
}

impl Sendable for Question<'_> {
    fn send(&self, connection: &Connection, request: u64) -> Result<(), Errno> {
        connection.try_send(request, *self)
    }

    fn kind(&self) -> u16 {
        self.kind
    }
}

async fn send<'a>(
    connection: &'a Connection,
    socket: &Watched,
    message: &impl Sendable,
) -> Result<Ticket<'a>, Unsent> {
    let request = until(connection, socket, |state| match state.stopping {
        true => Some(Err(stopping())),
        false => state.has_room().then(|| Ok(state.ask(message.kind()))),
    });
    let request = request.await.and_then(|request| request).map_err(Unsent::Broken)?;
    let mut ticket = Ticket::new(connection, request);
    let mut attempt = || match message.send(connection, request) {
        Ok(()) => Some(Ok(())),
        Err(Errno::AGAIN) => None,
        Err(Errno::PIPE | Errno::CONNRESET | Errno::NOTCONN) => {
            Some(Err(Unsent::Broken(connection.last_words())))
        }
        Err(errno) => Some(Err(Unsent::Failed(errno))),
    };
    let sent = match attempt() {
        Some(sent) => sent,
        None => poll_fn(|cx| poll_send(connection, socket, cx, &mut attempt)).await,
    };
    sent.map(|()| {
        ticket.sent();
        ticket
    })
}

/// Tries to send whenever there is room, and reads meanwhile.
fn poll_send(
    connection: &Connection,
    socket: &Watched,
    cx: &mut Context<'_>,
    attempt: &mut impl FnMut() -> Option<Result<(), Unsent>>,
) -> Poll<Result<(), Unsent>> {
    let failed = |error: &std::io::Error| {
        let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
        Poll::Ready(Err(Unsent::Failed(errno)))
    };
    loop {
        if let Some(broken) = &connection.drain().broken {
            return Poll::Ready(Err(Unsent::Broken(broken.clone())));
        }
        let mut again = false;
        match socket.poll_write_ready(cx) {
            Poll::Ready(Ok(mut guard)) => {
                if let Some(sent) = attempt() {
                    return Poll::Ready(sent);
                }
                guard.clear_ready();
                again = true;
            }
            Poll::Ready(Err(error)) => return failed(&error),
            Poll::Pending => {}
        }
        match socket.poll_read_ready(cx) {
            Poll::Ready(Ok(mut guard)) => {
                guard.clear_ready();
                again = true;
            }
            Poll::Ready(Err(error)) => return failed(&error),
            Poll::Pending => {}
        }
        if !again {
            return Poll::Pending;
        }
    }
}

async fn answer(
    connection: &Connection,
    socket: &Watched,
    ticket: &Ticket<'_>,
) -> Result<Packet, Error> {
    let answered = until(connection, socket, |state| state.answer(ticket.request));
    answered.await.map_err(|broken| connection.broken(broken))
}

/// Waits until `find` finds something.
async fn until<T>(
    connection: &Connection,
    socket: &Watched,
    mut find: impl FnMut(&mut State) -> Option<T>,
) -> Result<T, Broken> {
    let mut poll = |cx: &mut Context<'_>| loop {
        {
            let mut state = connection.drain();
            if let Some(found) = find(&mut state) {
                return Poll::Ready(Ok(found));
            }
            if let Some(broken) = &state.broken {
                return Poll::Ready(Err(broken.clone()));
            }
            // Somebody else may be reading what is for us.
            state.wake(cx.waker());
        }
        match socket.poll_read_ready(cx) {
            Poll::Ready(Ok(mut guard)) => guard.clear_ready(),
            Poll::Ready(Err(error)) => {
                let errno = Errno::from_io_error(&error).unwrap_or(Errno::IO);
                return Poll::Ready(Err(Broken::new("waiting for the agent", errno)));
            }
            Poll::Pending => return Poll::Pending,
        }
    };
    poll_fn(move |cx| poll(cx)).await
}
