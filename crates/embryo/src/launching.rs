//! A launch whose outcome nobody has asked for yet.
//!
//! It must never wait for a start that waits for an answer which nobody can give.

use crate::command::Keeper;
use crate::direct::Direct;
use crate::error::Cause;
use crate::error::Error;
use crate::guarded::AsRaw;
use crate::hatchery::abandon;
use crate::hint;
use crate::listener::Listener;
use crate::moving::Below;
use crate::process::Process;
use crate::seeded::{self, Answering, Ready, readable};
use crate::spawn::{SpawnOptions, check, settle, spawn_with};
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
    Started(Box<Process>),
    /// The outcome was given out.
    Over,
}

/// A plan in an embryo.
struct Flight {
    ready: Ready,
    plan: OwnedPlan,
    answering: Answering,
    /// How the seed was made, if it was made for this: cut, whether that was raised, whether by
    /// clone(2).
    made: (u32, bool, bool),
    /// What it came to, if that was seen and not given out yet.
    end: Option<End>,
}

/// Starts a process from a plan without waiting until it has its image, if there is a reason to: a
/// filter with a listener, which has to be taken before the start can be waited for if the filter
/// notifies it of exec. Any other plan is spawned as [`crate::spawn_with`] does it, and what comes back
/// knows the outcome already.
///
/// # Errors
/// As [`crate::spawn_with`].
pub fn launch_with(
    plan: &OwnedPlan,
    grants: &[BorrowedFd<'_>],
    options: SpawnOptions,
) -> Result<Launching, Error> {
    if !plan.as_plan().has_listener() {
        return spawn_with(plan, grants, options).map(Launching::started);
    }
    check(plan, grants)?;
    let deadline = seeded::deadline_after(options.timeout);
    let fds: Vec<i32> = grants.iter().map(AsRaw::as_raw).collect();
    let context = hint::Context { plan: plan.as_plan(), grants: &fds };
    let begun = seeded::begin(plan, &fds, options.timeout, options.trace);
    let (direct, socket) =
        begun.map_err(|fault| context.error(fault, Cause::Refused, Vec::new()))?;
    if direct.launched.end != End::Entered {
        return settle(direct, Route::Seed, &context).map(Launching::started);
    }
    let Direct { launched, cut, cut_raised, .. } = direct;
    let Launched { pid, pidfd, legacy_clone, .. } = launched;
    let ready = Ready { pid, pidfd, socket };
    Ok(Launching::flying(ready, plan.clone(), deadline, (cut, cut_raised, legacy_clone)))
}

impl Launching {
    pub(crate) fn sent(ready: Ready, plan: OwnedPlan, deadline: Instant) -> Self {
        Self::flying(ready, plan, deadline, (0, false, false))
    }

    fn flying(ready: Ready, plan: OwnedPlan, deadline: Instant, made: (u32, bool, bool)) -> Self {
        let answering = Answering::new(ready.pid, deadline, &plan, Below::default());
        Self::new(State::Sent(Flight { ready, plan, answering, made, end: None }))
    }

    /// It was made directly, and is a process already.
    pub(crate) fn started(process: Process) -> Self {
        Self::new(State::Started(Box::new(process)))
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

    /// Waits for the listener of the plan's filter, which is handed over before the image is entered;
    /// `None` if the plan has none, if it was taken before, or if the launch has failed, which
    /// [`Launching::wait`] then says.
    ///
    /// As long as nobody answers, the child waits in the call that the listener is notified of: exec for
    /// one, so answers have to be given by another thread while this one waits for the start.
    pub fn take_listener(&mut self) -> Option<Listener> {
        loop {
            if let Some(listener) = self.try_take_listener() {
                return Some(listener);
            }
            let State::Sent(flight) = &self.state else { return None };
            if flight.end.is_some() || !flight.answering.listens() {
                return None;
            }
            readable(flight.ready.socket.as_fd(), flight.answering.next_look());
        }
    }

    /// The listener of the plan's filter, if it has been handed over by now and was not taken before.
    pub fn try_take_listener(&mut self) -> Option<Listener> {
        match &mut self.state {
            State::Sent(flight) => {
                if flight.answering.listener.is_none() {
                    flight.look();
                }
                flight.answering.listener.take().map(Listener::new)
            }
            State::Started(process) => process.take_listener(),
            State::Over => None,
        }
    }

    /// Waits until the image was entered, or until it is known why not.
    ///
    /// # Errors
    /// As [`crate::spawn`]; there is no child then. [`Error::StartIsNotified`] if the start waits for
    /// an answer and nobody has taken the listener.
    pub fn wait(mut self) -> Result<Process, Error> {
        loop {
            if let Some(process) = self.try_wait()? {
                return Ok(process);
            }
            self.answerable()?;
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
                flight.look();
                match flight.end.take() {
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
            (State::Started(process), _) => *process,
            _ => return Ok(None),
        };
        let Stdio { stdin, stdout, stderr } = std::mem::take(&mut self.stdio);
        (process.stdin, process.stdout, process.stderr) = (stdin, stdout, stderr);
        process.kill_on_drop(self.kill_on_drop).keep_with(self.keeper.take());
        Ok(Some(process))
    }

    /// That it does not wait for an answer which nobody but its own caller could give.
    pub(crate) fn answerable(&self) -> Result<(), Error> {
        match &self.state {
            State::Sent(flight)
                if flight.answering.listener.is_some()
                    && flight.plan.as_plan().start_is_notified() =>
            {
                Err(Error::StartIsNotified)
            }
            _ => Ok(()),
        }
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
    /// Looks what it came to, if that is not known already.
    fn look(&mut self) {
        if self.end.is_none() {
            let Ready { socket, pidfd, .. } = &self.ready;
            self.end = self.answering.look(socket.as_fd(), pidfd.as_fd());
        }
    }

    fn land(self, end: End) -> Result<Process, Error> {
        let Ready { pid, pidfd, socket } = self.ready;
        drop::<OwnedFd>(socket);
        let failed = !matches!(end, End::Entered);
        let (cut, cut_raised, legacy_clone) = self.made;
        // How it ended is put in its place below.
        let unknown = End::Killed;
        let launched = Launched { pid, pidfd, end: unknown, legacy_clone, trace: Vec::new() };
        let mut direct = Direct::new(launched, cut, cut_raised);
        direct.take(end, self.answering);
        if failed {
            // It lives on to be told something else, but nobody will.
            crate::process::kill(direct.launched.pidfd.as_fd());
        }
        // The grants were only lent, and their numbers may be something else by now.
        let context = hint::Context { plan: self.plan.as_plan(), grants: &[] };
        settle(direct, Route::Seed, &context)
    }
}

impl Drop for Launching {
    fn drop(&mut self) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Sent(Flight { mut ready, answering, .. }) => {
                answering.leave(&mut ready);
                abandon(ready);
            }
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
