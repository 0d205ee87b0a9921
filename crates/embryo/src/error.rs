//! What can go wrong, and everything that is known about it.

use crate::elf::{LoadError, NotLoadable};
use crate::spawn::TraceRecord;
use embryo_interp::Step;
use embryo_plan::{BuildError, OpCode, PlanError, errno_name};
use std::fmt;
use std::io;

pub use embryo_interp::Fault;

/// Any failure of this library.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The description is not a plan; nothing has happened.
    #[error("bad plan: {0}")]
    Plan(#[from] BuildError),
    /// A spawn brought another number of grants than the plan has slots; nothing has happened.
    #[error("the plan has {slots} grant slots and {given} grants were given")]
    Grants {
        /// What the plan asks for.
        slots: u32,
        /// What was brought.
        given: usize,
    },
    /// A policy of system calls is none; nothing has happened.
    #[cfg(feature = "seccomp")]
    #[error("policy of system calls: {0}")]
    Policy(Box<crate::policy::PolicyError>),
    /// A Landlock ruleset cannot be made; nothing has happened.
    #[cfg(feature = "landlock")]
    #[error("landlock: {0}")]
    Landlock(Box<crate::landlock::LandlockError>),
    /// A program cannot be loaded; nothing has happened.
    #[error(transparent)]
    Load(#[from] Box<LoadError>),
    /// The launch failed; no child is left.
    #[error(transparent)]
    Spawn(#[from] Box<SpawnError>),
    /// A start would have to be waited for that itself waits for an answer: its filter notifies a
    /// listener of exec, which nobody has yet. The child is gone.
    #[error(
        "the filter notifies its listener of the start: take the listener first, from what a launch \
         gives back, and answer while the start is waited for"
    )]
    StartIsNotified,
    /// A hatchery has no embryo to give, and the child was not made in another way.
    #[error("hatchery: {what}: {source}")]
    Hatchery {
        /// What is the matter.
        what: String,
        /// What the kernel answered, or would.
        source: io::Error,
    },
    /// A cgroup could not be made or used, and there is no child.
    #[error(transparent)]
    Cgroup(#[from] Box<CgroupError>),
    /// An agent could not be asked, or did not answer.
    #[error(transparent)]
    Agent(#[from] Box<AgentError>),
    /// An agent's mandate does not allow what was asked for, and nothing has happened.
    #[error("refused by the agent: {rule}: {why}")]
    Refused {
        /// The rule, by its key in the mandate: `ops`, `images`, `bounds.uids`, `numbers.children`.
        rule: Box<str>,
        /// What it was that was asked for, in words.
        why: Box<str>,
    },
    /// The child was reaped by somebody else, and this kernel does not tell how it ended.
    #[error(
        "process {pid} is not ours to reap ({by}); Linux 6.15 or later would tell its status once it \
         has been reaped"
    )]
    Reaped {
        /// Its pid, which may name another process by now.
        pid: u32,
        /// By whom that may have been, in words.
        by: &'static str,
    },
    /// A call outside the launch failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// What the kernel answered.
        source: io::Error,
    },
}

/// What went wrong with a cgroup.
#[derive(Debug)]
#[non_exhaustive]
pub struct CgroupError {
    /// What was being done, with the directory or file.
    pub what: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
    /// What the kernel answered, or would.
    pub source: io::Error,
}

impl CgroupError {
    pub(crate) fn of(what: String, source: io::Error, hint: Option<String>) -> Error {
        Error::Cgroup(Box::new(Self { what, hint, source }))
    }
}

impl fmt::Display for CgroupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cgroup: {}: {}", self.what, io_text(&self.source))?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " (hint: {hint})"))
    }
}

impl std::error::Error for CgroupError {}

/// What went wrong between this process and an agent.
#[derive(Debug)]
#[non_exhaustive]
pub struct AgentError {
    /// The connection: the path of its socket, or where it is from.
    pub agent: String,
    /// What was being done, or what is the matter.
    pub what: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
    /// What the kernel answered, or would.
    pub source: io::Error,
}

impl AgentError {
    #[cfg(feature = "agent")]
    pub(crate) fn of(
        agent: &str,
        what: impl Into<String>,
        source: io::Error,
        hint: Option<String>,
    ) -> Error {
        Error::Agent(Box::new(Self { agent: agent.to_owned(), what: what.into(), hint, source }))
    }
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "agent {}: {}: {}", self.agent, self.what, io_text(&self.source))?;
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, " (hint: {hint})"))
    }
}

impl std::error::Error for AgentError {}

impl Error {
    /// Wraps an error of `what`.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }

    /// The kind that [`std::process::Command`] would report.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            Error::Plan(_) | Error::Grants { .. } | Error::StartIsNotified => {
                io::ErrorKind::InvalidInput
            }
            #[cfg(feature = "seccomp")]
            Error::Policy(_) => io::ErrorKind::InvalidInput,
            #[cfg(feature = "landlock")]
            Error::Landlock(error) => landlock_kind(error),
            Error::Load(error) => match &error.reason {
                NotLoadable::Io(source) | NotLoadable::Directory(_, source) => source.kind(),
                NotLoadable::NotFound(_) => io::ErrorKind::NotFound,
                NotLoadable::NotExecutable | NotLoadable::Unreadable => {
                    io::ErrorKind::PermissionDenied
                }
                _ => io::ErrorKind::InvalidInput,
            },
            Error::Spawn(error) => error.kind(),
            Error::Reaped { .. } => io::ErrorKind::NotFound,
            Error::Cgroup(error) => error.source.kind(),
            Error::Agent(error) => error.source.kind(),
            Error::Refused { .. } => io::ErrorKind::PermissionDenied,
            Error::Io { source, .. } | Error::Hatchery { source, .. } => source.kind(),
        }
    }

    /// The errno, if the kernel gave one.
    #[must_use]
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Error::Spawn(error) => Some(i32::from(error.fault.errno)),
            Error::Cgroup(error) => error.source.raw_os_error(),
            Error::Agent(error) => error.source.raw_os_error(),
            #[cfg(feature = "landlock")]
            Error::Landlock(error) => match &**error {
                crate::landlock::LandlockError::Path { errno, .. } => Some(*errno),
                _ => None,
            },
            Error::Io { source, .. } | Error::Hatchery { source, .. } => source.raw_os_error(),
            Error::Load(error) => match &error.reason {
                NotLoadable::Io(source) | NotLoadable::Directory(_, source) => {
                    source.raw_os_error()
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The failed launch, if that is what this is.
    #[must_use]
    pub fn as_spawn(&self) -> Option<&SpawnError> {
        match self {
            Error::Spawn(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(feature = "seccomp")]
impl From<crate::policy::PolicyError> for Error {
    fn from(error: crate::policy::PolicyError) -> Self {
        Error::Policy(Box::new(error))
    }
}

#[cfg(feature = "landlock")]
impl From<crate::landlock::LandlockError> for Error {
    fn from(error: crate::landlock::LandlockError) -> Self {
        Error::Landlock(Box::new(error))
    }
}

#[cfg(feature = "landlock")]
fn landlock_kind(error: &crate::landlock::LandlockError) -> io::ErrorKind {
    use crate::landlock::LandlockError::{Path, TooOld};
    match error {
        TooOld { .. } => io::ErrorKind::Unsupported,
        Path { errno, .. } => io::Error::from_raw_os_error(*errno).kind(),
        _ => io::ErrorKind::InvalidInput,
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Self {
        Error::Plan(error.into())
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Io { source, .. } if source.get_ref().is_none() => source,
            other => io::Error::new(other.kind(), other),
        }
    }
}

/// How a child ended before it had an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cause {
    /// An op or step answered with an errno.
    Refused,
    /// A signal from outside killed it; the number, if it is known.
    Killed(Option<i32>),
    /// It did not get there in time and was killed.
    TimedOut,
}

/// A launch that failed: exactly what, on what, and why. No child is left.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SpawnError {
    /// Index, op and errno as the child reported them.
    pub fault: Fault,
    /// How it failed.
    pub cause: Cause,
    /// The thing it failed on: a path, a descriptor, a number.
    pub object: Option<String>,
    /// What exactly is meant, where the errno leaves it open.
    pub detail: Option<String>,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
    /// Records of the ops that ran, if they were asked for.
    pub trace: Vec<TraceRecord>,
}

impl SpawnError {
    /// The name of the op, or of the step, that failed.
    #[must_use]
    pub fn op(&self) -> &'static str {
        match (OpCode::from_number(self.fault.code), self.step()) {
            (_, Some(step)) => step.name(),
            (Some(code), None) => code.name(),
            (None, None) => "unknown op",
        }
    }

    /// Index of the op in the plan; `None` if it was a step that no op names, or an op that an agent's mandate
    /// forces.
    #[must_use]
    pub fn index(&self) -> Option<u32> {
        let is_the_plans = self.step().is_none() && self.fault.index != u32::MAX;
        is_the_plans.then_some(self.fault.index)
    }

    /// The step that failed, if it was not an op.
    #[must_use]
    pub fn step(&self) -> Option<Step> {
        Step::from_index(self.fault.index)
    }

    /// The kind that [`std::process::Command`] would report.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        match self.cause {
            Cause::Refused => self.os_error().kind(),
            Cause::Killed(_) => io::ErrorKind::Interrupted,
            Cause::TimedOut => io::ErrorKind::TimedOut,
        }
    }

    fn os_error(&self) -> io::Error {
        io::Error::from_raw_os_error(i32::from(self.fault.errno))
    }
}

/// The same for an error of the standard library's, which may not be the kernel's.
fn io_text(error: &io::Error) -> String {
    match error.raw_os_error().and_then(|errno| u16::try_from(errno).ok()) {
        Some(errno) => errno_text(errno),
        None => error.to_string(),
    }
}

/// The kernel's words for an errno and its name: `No such file or directory (ENOENT)`.
pub(crate) fn errno_text(errno: u16) -> String {
    let text = io::Error::from_raw_os_error(i32::from(errno)).to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    match errno_name(u32::from(errno)) {
        Some(name) => format!("{text} ({name})"),
        None => format!("{text} (errno {errno})"),
    }
}

impl fmt::Display for SpawnError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.index() {
            Some(index) => write!(f, "op {index}, {}", self.op())?,
            None => f.write_str(self.op())?,
        }
        if let Some(object) = &self.object {
            write!(f, " {object}")?;
        }
        match self.cause {
            Cause::Refused => write!(f, ": {}", errno_text(self.fault.errno))?,
            Cause::Killed(Some(signal)) => {
                write!(f, ": the child was killed by signal {signal} before it had started")?;
            }
            Cause::Killed(None) => f.write_str(": the child died before it had started")?,
            Cause::TimedOut => {
                f.write_str(": the child did not start in time (stopped, or blocked)")?;
            }
        }
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        if let Some(hint) = &self.hint {
            write!(f, " (hint: {hint})")?;
        }
        Ok(())
    }
}

impl std::error::Error for SpawnError {}
