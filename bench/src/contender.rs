//! The ways to launch a child that are compared. It never measures.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use clap::ValueEnum;
use rustix::process::{Pid, WaitOptions, waitpid};
use serde::Serialize;

use crate::child::ChildSpec;
use crate::stdio::WriteEnds;

mod embryo;
mod exec;
mod fork;
mod posix_spawn;
mod std_command;
mod vfork;

/// One way to launch the one child, told beforehand everything that it can be told beforehand.
pub(crate) trait Contender {
    /// Takes the ends that the next child gets as stdout and stderr, or none if it inherits them.
    /// What it was given before, it closes. This is not timed.
    fn arm(&mut self, pipes: Option<WriteEnds>) -> io::Result<()>;

    /// Launches the child. This is timed, from call to return.
    fn launch(&mut self) -> io::Result<Running>;

    /// Waits until whatever a launch leaves to be done later has been done, where it would fall into
    /// the time of the contender whose turn is next. This is not timed.
    fn settle(&mut self) {}
}

/// A child that has been launched, in the form in which the contender hands it out.
#[derive(Debug)]
pub(crate) enum Running {
    /// fork, vfork and posix_spawn.
    Pid(Pid),
    /// std.
    Std(std::process::Child),
    /// embryo.
    Embryo(embryo::Running),
}

impl Running {
    /// Waits for the child's end and reaps it, as the contender's users would.
    pub(crate) fn wait(self) -> io::Result<ExitStatus> {
        match self {
            Self::Pid(pid) => match waitpid(Some(pid), WaitOptions::empty())? {
                Some((_, status)) => Ok(ExitStatus::from_raw(status.as_raw())),
                None => Err(io::Error::other("waitpid came back without a child")),
            },
            Self::Std(mut child) => child.wait(),
            Self::Embryo(running) => running.wait(),
        }
    }
}

/// Every contender, by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// fork, then execve in the child.
    ForkExec,
    /// clone(CLONE_VM|CLONE_VFORK) onto a stack of its own, then execve in the child.
    VforkExec,
    /// libc's posix_spawn.
    PosixSpawn,
    /// std::process::Command.
    StdCommand,
    /// A plan encoded once and spawned directly. Of signals it says what the others say.
    EmbryoPlan,
    /// The same plan, except that it keeps no ignored signal at all, as plans do by default.
    EmbryoStrict,
    /// embryo::Command.
    EmbryoCommand,
    /// The same plan, sent through the seed.
    EmbryoSeed,
    /// The same plan, from a hatchery of 64. The call returns before the child has started.
    EmbryoHatchery,
    /// The same, with the promise that the caller's authority stays what it is.
    EmbryoHatcheryFixed,
}

impl Kind {
    /// Every contender, in the order of the tables.
    pub(crate) const ALL: &[Self] = &[
        Self::ForkExec,
        Self::VforkExec,
        Self::PosixSpawn,
        Self::StdCommand,
        Self::EmbryoPlan,
        Self::EmbryoStrict,
        Self::EmbryoCommand,
        Self::EmbryoSeed,
        Self::EmbryoHatchery,
        Self::EmbryoHatcheryFixed,
    ];

    /// The contender's name in a table.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::ForkExec => "fork+exec",
            Self::VforkExec => "vfork+exec",
            Self::PosixSpawn => "posix_spawn",
            Self::StdCommand => "std Command",
            Self::EmbryoPlan => "embryo plan",
            Self::EmbryoStrict => "embryo strict",
            Self::EmbryoCommand => "embryo Command",
            Self::EmbryoSeed => "embryo seed",
            Self::EmbryoHatchery => "hatchery",
            Self::EmbryoHatcheryFixed => "hatchery, fixed",
        }
    }

    /// The contender, ready to launch children as `spec` describes them.
    ///
    /// # Errors
    /// `Unsupported` if it cannot be had here; the run then goes on without it and says so.
    pub(crate) fn prepare(self, spec: &ChildSpec) -> io::Result<Box<dyn Contender>> {
        match self {
            Self::ForkExec => Ok(Box::new(fork::Fork::new(spec))),
            Self::VforkExec => Ok(Box::new(vfork::Vfork::new(spec)?)),
            Self::PosixSpawn => Ok(Box::new(posix_spawn::PosixSpawn::new(spec)?)),
            Self::StdCommand => Ok(Box::new(std_command::StdCommand::new(spec))),
            Self::EmbryoPlan => embryo::plan(spec),
            Self::EmbryoStrict => embryo::strict(spec),
            Self::EmbryoCommand => embryo::command(spec),
            Self::EmbryoSeed => embryo::seed(spec),
            Self::EmbryoHatchery => embryo::hatchery(spec, false),
            Self::EmbryoHatcheryFixed => embryo::hatchery(spec, true),
        }
    }
}

/// A child made by clone(2) in shared memory with these flags besides: vfork and exec with nothing but
/// what the flags cost.
pub(crate) fn sharing_memory(
    spec: &ChildSpec,
    flags: libc::c_int,
) -> io::Result<Box<dyn Contender>> {
    Ok(Box::new(vfork::Vfork::with_flags(spec, flags)?))
}

/// A described child, as a contender.
pub(crate) fn commanded(command: ::embryo::Command) -> Box<dyn Contender> {
    Box::new(embryo::Commanded(command))
}

/// A process of embryo's that has started.
pub(crate) fn started(process: ::embryo::Process) -> Running {
    Running::Embryo(embryo::Running::Started(process))
}

/// Where a program of the system is.
///
/// # Errors
/// `Unsupported` with the other words if it is not there.
pub(crate) fn found(name: &str, otherwise: &str) -> io::Result<PathBuf> {
    let dirs = ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"];
    let path = dirs.iter().map(|dir| Path::new(dir).join(name)).find(|path| path.exists());
    path.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, otherwise))
}

/// A plan with what its slots stand for, as a contender.
pub(crate) fn spawned(plan: ::embryo::Plan, grants: Vec<OwnedFd>) -> Box<dyn Contender> {
    Box::new(embryo::Granted { plan, grants })
}
