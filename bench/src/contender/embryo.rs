//! embryo's ways: a plan, the same plan through the seed and from a hatchery, and its Command.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::process::ExitStatus;
use std::thread;
use std::time::Duration;

use ::embryo::{
    Command, ExecFlags, Hatchery, Keep, Launching, Op, Plan, Process, SpawnOptions, Stdio,
};

use super::{Contender, Running as Launched};
use crate::child::ChildSpec;
use crate::stdio::WriteEnds;

/// What embryo hands out.
#[derive(Debug)]
pub(crate) enum Running {
    /// A process that has started.
    Started(Process),
    /// One from a hatchery, of which nobody has asked yet whether it has.
    Launching(Launching),
}

impl Running {
    /// Waits for the child's end and reaps it.
    pub(crate) fn wait(self) -> io::Result<ExitStatus> {
        let mut process = match self {
            Self::Started(process) => process,
            Self::Launching(launching) => launching.wait()?,
        };
        process.wait().map_err(io::Error::from)
    }
}

/// Embryos that a hatchery keeps ready.
const HATCHERY_SIZE: u32 = 64;
/// Longer than it takes to make half of them, which is what a hatchery has made at a time.
const REFILL_PAUSE: Duration = Duration::from_millis(10);

/// What of the caller's ignored signals a plan keeps.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ignored {
    /// All but SIGPIPE, as posix_spawn with SIGPIPE in its default set does.
    AllButPipe,
    /// None.
    None,
}

/// A plan encoded once and spawned directly.
pub(crate) fn plan(spec: &ChildSpec) -> io::Result<Box<dyn Contender>> {
    planned(spec, Ignored::AllButPipe, SpawnOptions::new())
}

/// A plan that keeps no ignored signal.
pub(crate) fn strict(spec: &ChildSpec) -> io::Result<Box<dyn Contender>> {
    planned(spec, Ignored::None, SpawnOptions::new())
}

/// The same plan as the first, sent through the seed.
pub(crate) fn seed(spec: &ChildSpec) -> io::Result<Box<dyn Contender>> {
    planned(spec, Ignored::AllButPipe, SpawnOptions::new().through_seed(true))
}

/// The same plan, from a hatchery of the thread's own. `fixed` is a promise that saves the hatchery most
/// of its work: that the caller's authority stays what it is.
pub(crate) fn hatchery(spec: &ChildSpec, fixed: bool) -> io::Result<Box<dyn Contender>> {
    let hatchery = Hatchery::builder().size(HATCHERY_SIZE).authority_is_fixed(fixed).build()?;
    let plan = build(spec, Ignored::AllButPipe)?;
    Ok(Box::new(Hatched { plan, hatchery, pipes: None, left: 0 }))
}

/// embryo::Command.
pub(crate) fn command(spec: &ChildSpec) -> io::Result<Box<dyn Contender>> {
    let mut command = Command::new(OsStr::from_bytes(spec.path.to_bytes()));
    if let Some((name, args)) = spec.argv.split_first() {
        command.arg0(OsStr::from_bytes(name.to_bytes()));
        command.args(args.iter().map(|arg| OsStr::from_bytes(arg.to_bytes())));
    }
    command.env_clear();
    for variable in &spec.envp {
        let mut halves = variable.to_bytes().splitn(2, |byte| *byte == b'=');
        if let (Some(name), Some(value)) = (halves.next(), halves.next()) {
            command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
        }
    }
    Ok(Box::new(Commanded(command)))
}

fn planned(
    spec: &ChildSpec,
    ignored: Ignored,
    options: SpawnOptions,
) -> io::Result<Box<dyn Contender>> {
    Ok(Box::new(Planned { plan: build(spec, ignored)?, options, pipes: None }))
}

fn build(spec: &ChildSpec, ignored: Ignored) -> io::Result<Plan> {
    let mut plan = Plan::builder();
    for fd in 0..3 {
        let slot = plan.slot();
        plan.op(&Op::PutFd { slot, fd });
    }
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    if ignored == Ignored::AllButPipe {
        const SIGPIPE: u64 = 1 << 12;
        plan.keep(Keep::IGNORED_SIGNALS).op(&Op::SignalDefault { set: SIGPIPE });
    }
    plan.op(&Op::ExecPath { path: &spec.path, flags: ExecFlags::empty() });
    spec.argv.iter().for_each(|arg| {
        plan.arg(arg.to_bytes());
    });
    spec.envp.iter().for_each(|string| {
        plan.env_string(string.to_bytes());
    });
    plan.build().map_err(io::Error::other)
}

/// A plan with three slots: stdin, stdout and stderr.
#[derive(Debug)]
struct Planned {
    plan: Plan,
    options: SpawnOptions,
    pipes: Option<WriteEnds>,
}

impl Contender for Planned {
    fn arm(&mut self, pipes: Option<WriteEnds>) -> io::Result<()> {
        self.pipes = pipes;
        Ok(())
    }

    fn launch(&mut self) -> io::Result<Launched> {
        with_grants(self.pipes.as_ref(), |grants| {
            let process = ::embryo::spawn_with(&self.plan, grants, self.options)?;
            Ok(Launched::Embryo(Running::Started(process)))
        })
    }
}

/// Calls `launch` with what the three slots are given.
fn with_grants<T>(
    pipes: Option<&WriteEnds>,
    launch: impl FnOnce(&[BorrowedFd<'_>]) -> io::Result<T>,
) -> io::Result<T> {
    let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
    let (out, err) = match pipes {
        Some(pipes) => (pipes.out.as_fd(), pipes.err.as_fd()),
        None => (stdout.as_fd(), stderr.as_fd()),
    };
    launch(&[stdin.as_fd(), out, err])
}

/// A plan with the same slots, spawned from a hatchery.
struct Hatched {
    plan: Plan,
    hatchery: Hatchery,
    pipes: Option<WriteEnds>,
    /// Embryos that there were after the last launch.
    left: usize,
}

impl Contender for Hatched {
    fn arm(&mut self, pipes: Option<WriteEnds>) -> io::Result<()> {
        self.pipes = pipes;
        Ok(())
    }

    fn launch(&mut self) -> io::Result<Launched> {
        let launching = with_grants(self.pipes.as_ref(), |grants| {
            self.hatchery.spawn(&self.plan, grants).map_err(io::Error::from)
        })?;
        Ok(Launched::Embryo(Running::Launching(launching)))
    }

    fn settle(&mut self) {
        // A launch takes one. If there are not fewer, it had more of them made.
        let left = self.hatchery.len();
        if left >= std::mem::replace(&mut self.left, left) {
            thread::sleep(REFILL_PAUSE);
        }
    }
}

/// A plan with grants that stay the same: a child that inherits, and nothing else.
pub(super) struct Granted {
    pub(super) plan: Plan,
    pub(super) grants: Vec<OwnedFd>,
}

impl Contender for Granted {
    fn arm(&mut self, pipes: Option<WriteEnds>) -> io::Result<()> {
        match pipes {
            None => Ok(()),
            Some(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    fn launch(&mut self) -> io::Result<Launched> {
        let grants: Vec<BorrowedFd<'_>> = self.grants.iter().map(AsFd::as_fd).collect();
        let process = ::embryo::spawn(&self.plan, &grants)?;
        Ok(Launched::Embryo(Running::Started(process)))
    }
}

/// One Command, spawned again and again.
pub(super) struct Commanded(pub(super) Command);

impl Contender for Commanded {
    fn arm(&mut self, pipes: Option<WriteEnds>) -> io::Result<()> {
        match pipes {
            Some(WriteEnds { out, err }) => self.0.stdout(out).stderr(err),
            None => self.0.stdout(Stdio::inherit()).stderr(Stdio::inherit()),
        };
        Ok(())
    }

    fn launch(&mut self) -> io::Result<Launched> {
        let process = self.0.spawn();
        process.map(|process| Launched::Embryo(Running::Started(process))).map_err(io::Error::from)
    }
}
