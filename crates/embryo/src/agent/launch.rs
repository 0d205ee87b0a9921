//! A plan's way to an agent, and the process or the fault that comes back.
//!
//! It must never leave a child behind that the caller was told does not exist.

use super::client::{Agent, PATIENCE, fault, refused};
use super::connection::{Question, Ticket, Unsent, Waited};
use super::packet::Packet;
use super::process::Remote;
use super::wire::{self, FDS_MAX, HEAD_LEN, flags, kind};
use crate::error::{Cause, Error, Fault};
use crate::guarded::AsRaw;
use crate::hint;
use crate::process::Process;
use crate::seeded;
use crate::spawn::{LaunchReport, SpawnOptions, answerable, check};
use embryo_interp::Step;
use embryo_plan::{OwnedPlan, Route};
use embryo_syscall::Errno as SysErrno;
use rustix::fs::MemfdFlags;
use rustix::io::Errno;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};
use zerocopy::{FromBytes, IntoBytes};

/// No op of the client's plan.
const NO_OP: u32 = u32::MAX;

pub(super) fn spawn(
    agent: &Agent,
    plan: &OwnedPlan,
    grants: &[BorrowedFd<'_>],
    options: SpawnOptions,
) -> Result<Process, Error> {
    prepared(plan, grants)?;
    let deadline = deadline(options.timeout);
    agent.greet(deadline)?;
    let ticket = send(agent, plan, grants, options, deadline)?;
    let connection = agent.connection();
    match connection.wait_for(Some(deadline), |state| state.answer(ticket.request)) {
        Waited::Found(answer) => launched(agent, answer, plan, grants),
        Waited::Broken(broken) => Err(connection.broken(broken)),
        Waited::Late => Err(connection.late()),
    }
}

pub(super) fn prepared(plan: &OwnedPlan, grants: &[BorrowedFd<'_>]) -> Result<(), Error> {
    check(plan, grants)?;
    answerable(&plan.as_plan())
}

/// When the agent is late: it has its own idea of how long a child may take.
pub(super) fn deadline(timeout: Duration) -> Instant {
    const LONGEST: Duration = Duration::from_secs(24 * 3600);
    Instant::now() + timeout.min(LONGEST) + PATIENCE
}

fn send<'a>(
    agent: &'a Agent,
    plan: &OwnedPlan,
    grants: &[BorrowedFd<'_>],
    options: SpawnOptions,
    deadline: Instant,
) -> Result<Ticket<'a>, Error> {
    let connection = agent.connection();
    let mut message = Message::new(agent, plan, grants, options)?;
    let sent = match message.with(|question| connection.send(question, deadline)) {
        // The socket's buffer is shorter than a message may be.
        Err(Unsent::Failed(Errno::MSGSIZE)) if message.memfd.is_none() => {
            message.move_to_memfd(agent)?;
            message.with(|question| connection.send(question, deadline))
        }
        other => other,
    };
    sent.map_err(|unsent| connection.unsent(unsent))
}

/// A plan made ready to be sent.
pub(super) struct Message<'a> {
    spawn: wire::Spawn,
    plan: &'a [u8],
    grants: &'a [BorrowedFd<'a>],
    memfd: Option<OwnedFd>,
}

impl<'a> Message<'a> {
    pub(super) fn new(
        agent: &Agent,
        plan: &'a OwnedPlan,
        grants: &'a [BorrowedFd<'a>],
        options: SpawnOptions,
    ) -> Result<Self, Error> {
        let timeout_ms = u32::try_from(options.timeout.as_millis()).unwrap_or(u32::MAX).max(1);
        let spawn = wire::Spawn { timeout_ms: timeout_ms.into(), ..wire::Spawn::default() };
        let mut message = Self { spawn, plan: plan.as_bytes(), grants, memfd: None };
        let len = HEAD_LEN + size_of::<wire::Spawn>() + message.plan.len();
        if len > agent.connection().state().message_bytes_max {
            message.move_to_memfd(agent)?;
        }
        message.few_enough(agent)?;
        Ok(message)
    }

    pub(super) fn move_to_memfd(&mut self, agent: &Agent) -> Result<(), Error> {
        let made = seeded::sealed(c"embryo:plan", self.plan, MemfdFlags::empty());
        let error = |errno: SysErrno| {
            let errno = Errno::from_raw_os_error(errno.number().into());
            agent.connection().error("making a memfd for the plan", errno, None)
        };
        self.memfd = Some(made.map_err(error)?);
        self.few_enough(agent)
    }

    #[cfg(feature = "tokio")]
    pub(super) fn is_inline(&self) -> bool {
        self.memfd.is_none()
    }

    fn few_enough(&self, agent: &Agent) -> Result<(), Error> {
        if self.grants.len() + usize::from(self.memfd.is_some()) <= FDS_MAX {
            return Ok(());
        }
        let what = format!("a request carries at most {FDS_MAX} descriptors");
        Err(agent.connection().error(what, Errno::TOOMANYREFS, None))
    }

    /// The message, for as long as it is being sent.
    pub(super) fn with<R>(&self, send: impl FnOnce(Question<'_>) -> R) -> R {
        let memfd = self.memfd.iter().map(AsFd::as_fd);
        let fds: Vec<BorrowedFd<'_>> = memfd.chain(self.grants.iter().copied()).collect();
        let (flags, plan) = match self.memfd {
            None => (0, self.plan),
            Some(_) => (flags::IN_FD, &[][..]),
        };
        send(Question { kind: kind::SPAWN, flags, body: [self.spawn.as_bytes(), plan], fds: &fds })
    }
}

/// What the answer to a spawn says.
pub(super) fn launched(
    agent: &Agent,
    mut answer: Packet,
    plan: &OwnedPlan,
    grants: &[BorrowedFd<'_>],
) -> Result<Process, Error> {
    match answer.kind {
        kind::REFUSED => Err(refused(&answer.body)),
        kind::FAULT => Err(failed(agent, &answer, plan, grants)),
        _ => {
            let Ok(started) = wire::Started::read_from_bytes(&answer.body) else {
                return Err(agent.no_such_message());
            };
            let connection = Arc::clone(agent.connection());
            let remote = Remote::new(connection, answer.request, &started);
            match answer.fds.pop() {
                Some(pidfd) => {
                    Ok(Process::of_another(pidfd, started.pid.get(), report(), Box::new(remote)))
                }
                None => {
                    remote.disown();
                    Err(agent.too_many_files())
                }
            }
        }
    }
}

fn report() -> LaunchReport {
    let route = Route::Seed;
    LaunchReport { route, cut: 0, cut_raised: false, legacy_clone: false, trace: Vec::new() }
}

/// A fault, as a launch of the caller's own would report it.
fn failed(agent: &Agent, answer: &Packet, plan: &OwnedPlan, grants: &[BorrowedFd<'_>]) -> Error {
    let Some((told, words)) = fault(&answer.body) else { return agent.no_such_message() };
    let mut words = Some(words).filter(|words| !words.is_empty());
    let (index, errno) = (told.index.get(), told.errno.get());
    let entries = plan.as_plan().entries().len();
    let known = Step::from_index(index).is_some() || (index as usize) < entries;
    let end = answer.flags & (flags::KILLED | flags::TIMED_OUT);
    let (fault, cause) = match (end, known, told.code.get()) {
        (0, true, code) => {
            // The agent may have put another op in its place, which says nothing to the client.
            let own = plan.as_plan().code(index).map_or(code, |own| own as u16);
            words = words.filter(|_| own == code);
            (Fault { index, code: own, errno }, Cause::Refused)
        }
        (0, false, 0) => {
            let what = words.unwrap_or_else(|| "making a child".to_owned());
            let errno = Errno::from_raw_os_error(errno.into());
            return agent.connection().error(what, errno, None);
        }
        // The op is the mandate's.
        (0, false, code) => (Fault { index: NO_OP, code, errno }, Cause::Refused),
        (flags::KILLED, ..) => (Fault::step(Step::Killed, SysErrno::INTR), Cause::Killed(None)),
        _ => (Fault::step(Step::Killed, SysErrno::TIMEDOUT), Cause::TimedOut),
    };
    let fds: Vec<i32> = grants.iter().map(AsRaw::as_raw).collect();
    let context = hint::Context { plan: plan.as_plan(), grants: &fds };
    context.detailed(fault, cause, Vec::new(), words)
}
