//! A child of an agent's, as its client has it: what can be known and done is asked for.
//!
//! When the agent has gone, its pidfd is all that is left. It must never be taken for the caller's own child.

use super::connection::{Connection, Question, Waited, stopping};
use super::demux::Told;
use super::wire::{self, flags, kind};
use crate::elsewhere::Elsewhere;
use crate::error::Error;
use crate::guarded::AsRaw;
use crate::process::{Ended, Usage, reaped_status, wait_dead};
use embryo_syscall as sys;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// How long an agent that is stopping may take to tell of an end that its pidfd has told of.
const GRACE: Duration = Duration::from_millis(200);

/// The side of the agent.
#[derive(Debug)]
pub(super) struct Remote {
    connection: Arc<Connection>,
    /// The request that started it.
    request: u64,
    /// Its number with the agent.
    child: u64,
    pid: u32,
    image_pid: u32,
    time_was_over: bool,
}

impl Remote {
    pub(super) fn new(connection: Arc<Connection>, request: u64, started: &wire::Started) -> Self {
        Self {
            connection,
            request,
            child: started.child.get(),
            pid: started.pid.get(),
            image_pid: started.image_pid.get(),
            time_was_over: false,
        }
    }

    /// Its pidfd did not arrive, so nobody can have it.
    pub(super) fn disown(&self) {
        let mut state = self.connection.state();
        if state.leave(self.request) {
            let unwanted = super::demux::Unwanted { child: self.child, pidfd: None };
            self.connection.kill(&mut state, &unwanted);
        }
    }

    fn about_it(&self) -> wire::Child {
        wire::Child { child: self.child.into() }
    }

    /// Asks about it. `None` if the agent is not there to ask.
    fn ask(&self, kind: u16, body: &[u8], what: &'static str) -> Option<Result<Vec<u8>, Error>> {
        {
            let state = self.connection.state();
            if state.stopping || state.broken.is_some() {
                return None;
            }
        }
        let deadline = Instant::now() + super::client::PATIENCE;
        let answer = match self.connection.ask(Question::new(kind, body), deadline) {
            Err(_) if self.connection.state().broken.is_some() => return None,
            Err(error) => return Some(Err(error)),
            Ok(answer) => answer,
        };
        Some(match answer.kind {
            kind::REFUSED => Err(super::client::refused(&answer.body)),
            kind::FAULT => {
                let fault = super::client::fault(&answer.body);
                let errno = fault.map_or(0, |(fault, _)| fault.errno.get());
                Err(Error::io(what)(std::io::Error::from_raw_os_error(errno.into())))
            }
            _ => Ok(answer.body),
        })
    }

    fn told(&mut self, pidfd: BorrowedFd<'_>, told: &Told) -> Result<Ended, Error> {
        self.time_was_over = told.flags & flags::TIME_IS_OVER != 0;
        if told.flags & flags::UNKNOWN != 0 {
            return self.as_the_kernel_says(pidfd);
        }
        let status = ExitStatus::from_raw(told.ended.status.get());
        let usage = (told.flags & flags::USAGE != 0).then(|| told.ended.usage.into());
        Ok(Ended { status, usage })
    }

    /// What the pidfd itself still tells.
    fn as_the_kernel_says(&self, pidfd: BorrowedFd<'_>) -> Result<Ended, Error> {
        let gone = "its agent has gone, or did not learn of its end";
        reaped_status(pidfd)
            .map(|status| Ended { status, usage: None })
            .ok_or(Error::Reaped { pid: self.pid, by: gone })
    }

    /// The end of a child whose agent has gone, or will.
    fn without_agent(
        &mut self,
        pidfd: BorrowedFd<'_>,
        deadline: Option<Instant>,
    ) -> Result<Option<Ended>, Error> {
        let left =
            deadline.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
        if !wait_dead(pidfd, left) {
            return Ok(None);
        }
        let grace = Some(Instant::now() + GRACE);
        match self.connection.wait_for(grace, |state| state.ended(self.request)) {
            Waited::Found(told) => self.told(pidfd, &told).map(Some),
            _ => self.as_the_kernel_says(pidfd).map(Some),
        }
    }
}

impl Elsewhere for Remote {
    fn look(
        &mut self,
        pidfd: BorrowedFd<'_>,
        deadline: Option<Instant>,
    ) -> Result<Option<Ended>, Error> {
        match self.connection.child_end(self.request, deadline) {
            Waited::Found(told) => self.told(pidfd, &told).map(Some),
            Waited::Late => Ok(None),
            Waited::Broken(_) => self.without_agent(pidfd, deadline),
        }
    }

    fn signal(&self, pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Error> {
        let what = "sending a signal";
        // The agent is asked to send what there is alone.
        if !(1..=64).contains(&signal) {
            let errno = match signal {
                0 if !wait_dead(pidfd, Duration::ZERO) => return Ok(()),
                0 => Errno::SRCH,
                _ => Errno::INVAL,
            };
            return Err(Error::io(what)(errno.into()));
        }
        let body = wire::Signal {
            child: self.child.into(),
            signal: signal.cast_unsigned().into(),
            ..wire::Signal::default()
        };
        self.ask(kind::SIGNAL, body.as_bytes(), what).map_or_else(
            || {
                let sent = sys::pidfd_send_signal(pidfd.as_raw(), signal.cast_unsigned());
                let error = |errno: sys::Errno| Errno::from_raw_os_error(errno.number().into());
                sent.map_err(|errno| Error::io(what)(error(errno).into()))
            },
            |answer| answer.map(drop),
        )
    }

    fn kill(&self, pidfd: BorrowedFd<'_>) -> Result<(), Error> {
        const SIGKILL: i32 = 9;
        let answer = self.ask(kind::KILL, self.about_it().as_bytes(), "killing a child");
        answer.map_or_else(|| self.signal(pidfd, SIGKILL), |answer| answer.map(drop))
    }

    fn usage(&self) -> Result<Usage, Error> {
        let asked = self.ask(kind::USAGE, self.about_it().as_bytes(), "asking what a child uses");
        let gone = || {
            let broken = self.connection.state().broken.clone();
            Err(self.connection.broken(broken.unwrap_or_else(stopping)))
        };
        let body = asked.unwrap_or_else(gone)?;
        let used = wire::Used::read_from_bytes(&body);
        used.map(Usage::from).map_err(|_| self.connection.late())
    }

    fn leave(&mut self, pidfd: BorrowedFd<'_>, kill: bool) {
        self.connection.leave(self.request, self.child, pidfd, kill);
    }

    fn image_id(&self) -> u32 {
        self.image_pid
    }

    fn time_was_over(&self) -> bool {
        self.time_was_over
    }

    #[cfg(feature = "tokio")]
    fn socket(&self) -> BorrowedFd<'_> {
        self.connection.socket()
    }

    #[cfg(feature = "tokio")]
    fn poll_look(
        &mut self,
        pidfd: BorrowedFd<'_>,
        waker: &std::task::Waker,
    ) -> Result<Option<Ended>, Error> {
        let mut state = self.connection.drain();
        if let Some(told) = state.ended(self.request) {
            drop(state);
            return self.told(pidfd, &told).map(Some);
        }
        let has_gone = state.stopping || state.broken.is_some();
        state.wake(waker);
        drop(state);
        if has_gone { self.without_agent(pidfd, Some(Instant::now())) } else { Ok(None) }
    }
}
