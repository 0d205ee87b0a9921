//! A child that runs, until its end has been told.

use super::{Server, Token};
use crate::account::Charge;
use crate::mandate::Judged;
use embryo::Process;
use embryo::agent::mandate::Lifetime;
use embryo::agent::wire::{self, flags, kind};
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::time::Instant;
use zerocopy::IntoBytes;

/// A child.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) process: Process,
    /// Who asked for it, as long as that is connected.
    pub(super) connection: Option<u64>,
    request: u64,
    pub(super) program: String,
    pub(super) since: Instant,
    /// When it has lived long enough.
    pub(super) deadline: Option<Instant>,
    lifetime: Lifetime,
    charge: Charge,
    time_is_over: bool,
}

impl Child {
    pub(super) fn new(
        process: Process,
        connection: u64,
        request: u64,
        judged: &Judged,
        charge: Charge,
    ) -> Self {
        let since = Instant::now();
        Self {
            process,
            connection: Some(connection),
            request,
            program: judged.program.clone(),
            since,
            deadline: judged.time.and_then(|time| since.checked_add(time)),
            lifetime: judged.lifetime,
            charge,
            time_is_over: false,
        }
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.pidfd()
    }

    /// Kills it and its family.
    pub(super) fn kill(&mut self) -> Result<(), embryo::Error> {
        self.process.kill()
    }

    /// Nobody who asked for it is there any more.
    pub(super) fn connection_ends(&mut self) {
        self.connection = None;
        if self.lifetime == Lifetime::Connection {
            self.must_end();
        }
    }

    /// The agent ends.
    pub(super) fn end_with_agent(&mut self) {
        if !self.lives_on() {
            self.must_end();
        }
    }

    pub(super) fn lives_on(&self) -> bool {
        self.lifetime == Lifetime::LiveOn
    }

    fn must_end(&mut self) {
        if let Err(error) = self.kill() {
            let pid = self.process.id();
            tracing::error!(pid, %error, "a child cannot be killed");
        }
    }
}

impl Server {
    /// A child's pidfd is readable.
    pub(super) fn look_at_child(&mut self, number: u64) {
        let Some(child) = self.children.get_mut(&number) else { return };
        let (mut how, status) = match child.process.try_wait() {
            Ok(None) => return,
            Ok(Some(status)) => (0, status.into_raw()),
            Err(_) => (flags::UNKNOWN, 0),
        };
        let Some(child) = self.children.remove(&number) else { return };
        if let Some(deadline) = child.deadline {
            self.deadlines.remove(&(deadline, number));
        }
        let usage = child.process.usage();
        how |= if usage.is_some() { flags::USAGE } else { 0 };
        how |= if child.time_is_over { flags::TIME_IS_OVER } else { 0 };
        let body = wire::Ended {
            child: number.into(),
            status: status.into(),
            reserved: 0.into(),
            usage: usage.unwrap_or_default().into(),
        };
        let pid = child.process.id();
        tracing::info!(child = number, pid, status, "ended");
        self.accounts.give_back(child.charge, true);
        if let Some(id) = child.connection {
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.children.remove(&number);
            }
            self.tell(id, kind::ENDED, child.request, how, body.as_bytes(), &[]);
        }
    }

    /// A child has lived long enough.
    pub(super) fn time_is_over(&mut self, number: u64) {
        let Some(child) = self.children.get_mut(&number) else { return };
        tracing::info!(child = number, pid = child.process.id(), "its time is over");
        child.time_is_over = true;
        child.deadline = None;
        child.must_end();
    }

    /// Lets those go that live on; their ends are told by their pidfds alone.
    pub(super) fn leave_children(&mut self) {
        for (number, child) in self.children.drain() {
            let _ = Token::Child(number);
            child.process.detach();
        }
    }
}
