//! A child that runs, until its end has been told.

use super::Server;
use super::state::Remembered;
use crate::account::Charge;
use crate::files::cgroup::Own;
use crate::mandate::{Held, Judged};
use embryo::Process;
use embryo::agent::mandate::Lifetime;
use embryo::agent::wire::{self, flags, kind};
use rustix::event::epoll;
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
    pub(super) request: u64,
    pub(super) program: String,
    /// The name of the mandate that it was started under.
    pub(super) mandate: String,
    pub(super) client_uid: u32,
    pub(super) since: Instant,
    /// When it has lived long enough.
    pub(super) deadline: Option<Instant>,
    pub(super) lifetime: Lifetime,
    pub(super) charge: Charge,
    /// The one that was made for it.
    pub(super) cgroup: Option<Own>,
    pub(super) time_is_over: bool,
}

impl Child {
    /// One that has just been started for a connection.
    pub(super) fn new(
        process: Process,
        (connection, held): (u64, &Held),
        request: u64,
        judged: &Judged,
        charge: Charge,
        cgroup: Option<Own>,
    ) -> Self {
        let since = Instant::now();
        Self {
            process,
            connection: Some(connection),
            request,
            program: judged.program.clone(),
            mandate: held.levels.first().map_or_else(String::new, |level| level.name.clone()),
            client_uid: held.peer.uid,
            since,
            deadline: judged.time.and_then(|time| since.checked_add(time)),
            lifetime: judged.lifetime,
            charge,
            cgroup,
            time_is_over: false,
        }
    }

    /// One that was started before this process executed itself.
    pub(super) fn restored(
        process: Process,
        connection: Option<u64>,
        deadline: Option<Instant>,
        remembered: Remembered,
    ) -> Self {
        let Remembered { request, program, mandate, client_uid, since, .. } = remembered;
        let Remembered { lifetime, accounts, cgroup, time_is_over, .. } = remembered;
        let charge = Charge::again(accounts);
        Self {
            process,
            connection,
            request,
            program,
            mandate,
            client_uid,
            since,
            deadline,
            lifetime,
            charge,
            cgroup,
            time_is_over,
        }
    }

    pub(super) fn pidfd(&self) -> BorrowedFd<'_> {
        self.process.pidfd()
    }

    /// Kills it and its family.
    pub(super) fn kill(&mut self) -> Result<(), embryo::Error> {
        if let Some(own) = &self.cgroup {
            // Whoever has left it, or is not in it yet, is killed below.
            if let Err(error) = own.kill() {
                tracing::error!(%error, "a cgroup cannot be killed");
            }
        }
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
        // The client has a copy of the handle, which would be told of without end.
        let _ = epoll::delete(&self.epoll, child.pidfd());
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
        if let Some(own) = child.cgroup {
            self.groups.end(own);
        }
        let pid = child.process.id();
        let ended = std::process::ExitStatus::from_raw(status);
        tracing::info!(child = number, pid, status = %ended, "ended");
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
        for (_, child) in self.children.drain() {
            let _ = epoll::delete(&self.epoll, child.pidfd());
            child.process.detach();
        }
    }
}
