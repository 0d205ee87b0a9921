//! A launch whose outcome nobody has asked for yet.

use crate::command::Keeper;
use crate::direct::Direct;
use crate::error::Error;
use crate::hatchery::abandon;
use crate::hint;
use crate::process::Process;
use crate::seeded::{Answering, Ready, readable};
use crate::spawn::settle;
use embryo_interp::{End, Launched};
use embryo_plan::{OwnedPlan, Route};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::{ChildStderr, ChildStdin, ChildStdout};
use std::time::Instant;

/// A plan on its way: [`crate::Hatchery::spawn`] has sent it, and the caller goes on.
///
/// Whether the image was entered, or which op failed, is asked with [`Launching::wait`],
/// [`Launching::try_wait`] when [`Launching::as_fd`] is readable, or, with the feature `tokio`, by
/// awaiting it. Dropping it kills the child, whatever has become of it.
#[must_use = "dropping it kills the child"]
pub struct Launching {
    state: State,
    pub(crate) stdio: Stdio,
    pub(crate) kill_on_drop: bool,
    /// What the child is guarded by: dropped last, so that the child is dead by then.
    pub(crate) keeper: Option<Box<Keeper>>,
}

/// The caller's ends of the pipes that a command asked for.
#[derive(Debug, Default)]
pub(crate) struct Stdio {
    pub(crate) stdin: Option<ChildStdin>,
    pub(crate) stdout: Option<ChildStdout>,
    pub(crate) stderr: Option<ChildStderr>,
}

enum State {
    Sent(Flight),
    Started(Process),
    /// The outcome was given out.
    Over,
}

/// A plan in an embryo.
struct Flight {
    ready: Ready,
    plan: OwnedPlan,
    answering: Answering,
}

impl Launching {
    pub(crate) fn sent(ready: Ready, plan: OwnedPlan, deadline: Instant) -> Self {
        let answering = Answering::new(ready.pid, deadline);
        Self::new(State::Sent(Flight { ready, plan, answering }))
    }

    /// It was made directly, and is a process already.
    pub(crate) fn started(process: Process) -> Self {
        Self::new(State::Started(process))
    }

    fn new(state: State) -> Self {
        Self { state, stdio: Stdio::default(), kill_on_drop: false, keeper: None }
    }

    /// The pid of the child; 0 after its outcome was given out.
    #[must_use]
    pub fn id(&self) -> u32 {
        match &self.state {
            State::Sent(flight) => flight.ready.pid.cast_unsigned(),
            State::Started(process) => process.id(),
            State::Over => 0,
        }
    }

    /// Waits until the image was entered, or until it is known why not.
    ///
    /// # Errors
    /// As [`crate::spawn`]; there is no child then.
    pub fn wait(mut self) -> Result<Process, Error> {
        loop {
            if let Some(process) = self.try_wait()? {
                return Ok(process);
            }
            if let State::Sent(flight) = &self.state {
                readable(flight.ready.socket.as_fd(), flight.answering.next_look());
            }
        }
    }

    /// The process, if its image was entered by now; `None` while that is open. To be called
    /// again when [`Launching::as_fd`] is readable or [`Launching::next_look`] has come.
    ///
    /// # Errors
    /// As [`Launching::wait`]; and EINVAL after the outcome was given out.
    pub fn try_wait(&mut self) -> Result<Option<Process>, Error> {
        let end = match &mut self.state {
            State::Sent(flight) => {
                let Ready { socket, pidfd, .. } = &flight.ready;
                match flight.answering.look(socket.as_fd(), pidfd.as_fd()) {
                    Some(end) => Some(end),
                    None => return Ok(None),
                }
            }
            State::Started(_) => None,
            State::Over => {
                let again = std::io::Error::from(rustix::io::Errno::INVAL);
                return Err(Error::io("asking for an outcome that was given out")(again));
            }
        };
        let mut process = match (std::mem::replace(&mut self.state, State::Over), end) {
            (State::Sent(flight), Some(end)) => flight.land(end)?,
            (State::Started(process), _) => process,
            _ => return Ok(None),
        };
        let Stdio { stdin, stdout, stderr } = std::mem::take(&mut self.stdio);
        (process.stdin, process.stdout, process.stderr) = (stdin, stdout, stderr);
        process.kill_on_drop(self.kill_on_drop).keep_with(self.keeper.take());
        Ok(Some(process))
    }

    /// What becomes readable when there is something to learn; `None` if it can be asked at once.
    #[must_use]
    pub fn as_fd(&self) -> Option<BorrowedFd<'_>> {
        match &self.state {
            State::Sent(flight) => Some(flight.ready.socket.as_fd()),
            _ => None,
        }
    }

    /// When it is to be asked though nothing was readable: its deadline, or earlier.
    #[must_use]
    pub fn next_look(&self) -> Instant {
        match &self.state {
            State::Sent(flight) => flight.answering.next_look(),
            _ => Instant::now(),
        }
    }

    /// A second descriptor of what becomes readable.
    #[cfg(feature = "tokio")]
    pub(crate) fn watched(&self) -> std::io::Result<Option<OwnedFd>> {
        self.as_fd().map(|fd| fd.try_clone_to_owned()).transpose()
    }
}

impl Flight {
    fn land(self, end: End) -> Result<Process, Error> {
        let Ready { pid, pidfd, socket } = self.ready;
        drop::<OwnedFd>(socket);
        if !matches!(end, End::Entered) {
            // It lives on to be told something else, but nobody will.
            crate::process::kill(pidfd.as_fd());
        }
        let trace = self.answering.records;
        let launched = Launched { pid, pidfd, end, legacy_clone: false, trace };
        let direct = Direct { launched, cut: 0, cut_raised: false };
        // The grants were only lent, and their numbers may be something else by now.
        let context = hint::Context { plan: self.plan.as_plan(), grants: &[] };
        settle(direct, Route::Seed, &context)
    }
}

impl Drop for Launching {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Sent(flight) => abandon(flight.ready),
            State::Started(mut process) => {
                process.kill_on_drop(true);
            }
            State::Over => {}
        }
    }
}

impl fmt::Debug for Launching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Launching").field("pid", &self.id()).finish_non_exhaustive()
    }
}
