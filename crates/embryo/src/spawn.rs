//! The one way from a plan and its grants to a process, whoever executes it.

use crate::direct::{self, Direct, Entered};
use crate::error::{Cause, Error, Fault, SpawnError};
use crate::guarded::AsRaw;
use crate::listener::Listener;
use crate::process::{Process, kill, reaped_status, status_of, wait_dead};
use crate::{hint, reaper, seeded};
use embryo_interp::{End, Step, Trace};
use embryo_plan::{OpCode, OwnedPlan, Plan as PlanView, Route};
use embryo_syscall::Errno;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

/// How a plan is to be spawned, as opposed to what it says.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct SpawnOptions {
    /// How long the child may take to enter its image before it is killed and reported as a
    /// fault. It takes this long only if somebody stops it or if a path lies on a file system that
    /// does not answer.
    pub timeout: Duration,
    /// Execute through the seed even if the plan could run directly.
    pub through_seed: bool,
    /// Record each op with its outcome and time.
    pub trace: bool,
}

impl Default for SpawnOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(10), through_seed: false, trace: false }
    }
}

impl SpawnOptions {
    /// Ten seconds, whatever route the plan asks for, no trace.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time that the child may take.
    #[must_use]
    pub fn timeout(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Sends the plan through the seed in any case.
    #[must_use]
    pub fn through_seed(self, through_seed: bool) -> Self {
        Self { through_seed, ..self }
    }

    /// Records each op.
    #[must_use]
    pub fn trace(self, trace: bool) -> Self {
        Self { trace, ..self }
    }
}

/// One executed op or step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceRecord {
    /// Index in the plan; `None` for a step that no op names.
    pub index: Option<u32>,
    /// Name of the op or step.
    pub name: &'static str,
    /// What the kernel answered; 0 is success.
    pub errno: u16,
    /// How long it took.
    pub took: Duration,
}

/// How a process came to be.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LaunchReport {
    /// Who executed the plan.
    pub route: Route,
    /// Descriptors below this number were copied to the child's table.
    ///
    /// The kernel copies in units of 64 numbers and closes again what lies beyond the cut, so a file
    /// with a number below 64 is in the child for the time of one system call; one with a higher number
    /// than that and the cut never is.
    pub cut: u32,
    /// None of the reserved low-numbered sockets could be had, so the cut rose: the launch cost
    /// what copying other descriptors costs, and, unless that was a socket with a high number, the
    /// child held the copies for the time of its build.
    pub cut_raised: bool,
    /// clone3(2) was refused and clone(2) served.
    pub legacy_clone: bool,
    /// The ops, if they were asked for.
    pub trace: Vec<TraceRecord>,
}

/// Starts a process from a plan. `grants` are the plan's slots in order; they are only borrowed, and
/// need not be without close-on-exec.
///
/// The call returns when the image has been entered, so an error means that there is no child.
///
/// # Errors
/// [`Error::Grants`] if their number is wrong; [`Error::Spawn`] with the op that failed.
///
/// # Kernel
/// Linux 5.10. Source: clone3(2), close_range(2), execveat(2).
pub fn spawn(plan: &OwnedPlan, grants: &[BorrowedFd<'_>]) -> Result<Process, Error> {
    spawn_with(plan, grants, SpawnOptions::default())
}

/// [`spawn`] with options.
///
/// # Errors
/// As [`spawn`].
pub fn spawn_with(
    plan: &OwnedPlan,
    grants: &[BorrowedFd<'_>],
    options: SpawnOptions,
) -> Result<Process, Error> {
    check(plan, grants)?;
    let view = plan.as_plan();
    answerable(&view)?;
    // Slots are few; a stack buffer would save an allocation and cost a second path.
    let fds: Vec<i32> = grants.iter().map(AsRaw::as_raw).collect();
    let route = if options.through_seed { Route::Seed } else { view.route() };
    let launched = match route {
        Route::Direct => direct::launch(plan, &fds, options.timeout, options.trace),
        Route::Seed => seeded::launch(plan, &fds, options.timeout, options.trace),
    };
    let context = hint::Context { plan: view, grants: &fds };
    let direct = launched.map_err(|fault| context.error(fault, Cause::Refused, Vec::new()))?;
    settle(direct, route, &context)
}

/// Refuses what cannot be spawned, before anything happens.
pub(crate) fn check(plan: &OwnedPlan, grants: &[BorrowedFd<'_>]) -> Result<(), Error> {
    let view = plan.as_plan();
    if view.is_batch() {
        let reason = embryo_plan::Reason::NoStart;
        return Err(embryo_plan::PlanError { entry: None, code: None, reason }.into());
    }
    if view.slots() as usize != grants.len() {
        return Err(Error::Grants { slots: view.slots(), given: grants.len() });
    }
    Ok(())
}

/// Refuses to wait for a start that waits for an answer of whoever has the filter's listener, which
/// nobody has as long as it is waited for.
pub(crate) fn answerable(plan: &PlanView<'_>) -> Result<(), Error> {
    if plan.start_is_notified() { Err(Error::StartIsNotified) } else { Ok(()) }
}

/// Turns what the launch came to into a process, or reaps it and says why there is none.
pub(crate) fn settle(
    direct: Direct,
    route: Route,
    context: &hint::Context<'_>,
) -> Result<Process, Error> {
    let Direct { launched, cut, cut_raised, listener, below, detail } = direct;
    let trace = context.records(&launched.trace);
    let killed = Fault::step(Step::Killed, Errno::INTR);
    let (fault, cause) = match launched.end {
        End::Entered => {
            let started = match route {
                // The seed's answer was judged where it arrived.
                Route::Seed => Entered::Started,
                Route::Direct => direct::entered(&launched.pidfd),
            };
            if started == Entered::Started {
                let report = LaunchReport {
                    route,
                    cut,
                    cut_raised,
                    legacy_clone: launched.legacy_clone,
                    trace,
                };
                let mut process = Process::new(launched.pidfd, launched.pid as u32, below, report);
                process.listener = listener.map(Listener::new);
                return Ok(process);
            }
            (killed, Cause::Killed(None))
        }
        End::Fault(fault) => (fault, Cause::Refused),
        End::Killed => (killed, Cause::Killed(None)),
        End::TimedOut => (Fault::step(Step::Killed, Errno::TIMEDOUT), Cause::TimedOut),
    };
    let buried = bury(launched.pidfd);
    let cause = if let Cause::Killed(_) = cause { Cause::Killed(buried.signal) } else { cause };
    let mut error = context.failed(fault, cause, trace);
    error.detail = detail.or(error.detail);
    if cause == Cause::TimedOut {
        error.detail = Some(match buried.gone {
            true => "it was killed".to_owned(),
            false => {
                "it could not be killed (it has another uid and the caller no CAP_KILL, or it \
                      waits where nothing ends it), and may yet start"
                    .to_owned()
            }
        });
    }
    Err(Error::Spawn(Box::new(error)))
}

/// What became of a child that failed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Buried {
    /// Whether it is dead.
    gone: bool,
    /// The signal that killed it, if one did.
    signal: Option<i32>,
}

/// Reaps a child that failed. One that only says so, and lives on, is killed: what failed leaves nothing.
pub(crate) fn bury(pidfd: std::os::fd::OwnedFd) -> Buried {
    kill(pidfd.as_fd());
    if !wait_dead(pidfd.as_fd(), Duration::from_secs(1)) {
        // It cannot die yet (a file server that does not answer): somebody else has to wait.
        reaper::adopt(pidfd);
        return Buried { gone: false, signal: None };
    }
    let status = match status_of(pidfd.as_fd(), false) {
        Ok(None) => {
            // Dead, and kept by a tracer.
            reaper::adopt(pidfd);
            None
        }
        Ok(ended) => ended.map(|ended| ended.status),
        Err(_) => reaped_status(pidfd.as_fd()),
    };
    Buried { gone: true, signal: status.and_then(|status| status.signal()) }
}

impl hint::Context<'_> {
    /// The error for a fault, with all that can be found out about it.
    pub(crate) fn error(&self, fault: Fault, cause: Cause, trace: Vec<TraceRecord>) -> Error {
        Error::Spawn(Box::new(self.failed(fault, cause, trace)))
    }

    /// The error for a fault, with what went wrong in this process.
    pub(crate) fn detailed(
        &self,
        fault: Fault,
        cause: Cause,
        trace: Vec<TraceRecord>,
        detail: Option<String>,
    ) -> Error {
        let mut error = self.failed(fault, cause, trace);
        error.detail = detail.or(error.detail);
        Error::Spawn(Box::new(error))
    }

    fn failed(&self, fault: Fault, cause: Cause, trace: Vec<TraceRecord>) -> SpawnError {
        let (object, detail, hint) = self.explain(fault, cause);
        SpawnError { fault, cause, object, detail, hint, trace }
    }

    /// The records with the names of their ops.
    pub(crate) fn records(&self, trace: &[Trace]) -> Vec<TraceRecord> {
        let record = |record: &Trace| {
            let step = Step::from_index(record.index);
            let op = || self.plan.code(record.index).map_or("?", OpCode::name);
            TraceRecord {
                index: step.is_none().then_some(record.index),
                name: step.map_or_else(op, Step::name),
                errno: record.errno as u16,
                took: Duration::from_nanos(record.ns),
            }
        };
        trace.iter().map(record).collect()
    }
}
