//! embryo's three ways: a plan, the same plan through the seed, and its Command.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::process::ExitStatus;

use ::embryo::{Command, ExecFlags, Keep, Op, Plan, Process, SpawnOptions, Stdio};

use super::{Contender, Running as Launched};
use crate::child::ChildSpec;
use crate::stdio::WriteEnds;

/// A process as embryo hands it out.
#[derive(Debug)]
pub(crate) struct Running(Process);

impl Running {
    /// Waits for the child's end and reaps it.
    pub(crate) fn wait(mut self) -> io::Result<ExitStatus> {
        self.0.wait().map_err(io::Error::from)
    }
}

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
    let plan = plan.build().map_err(io::Error::other)?;
    Ok(Box::new(Planned { plan, options, pipes: None }))
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
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let (out, err) = match &self.pipes {
            Some(pipes) => (pipes.out.as_fd(), pipes.err.as_fd()),
            None => (stdout.as_fd(), stderr.as_fd()),
        };
        let grants = [stdin.as_fd(), out, err];
        let process = ::embryo::spawn_with(&self.plan, &grants, self.options);
        process.map(|process| Launched::Embryo(Running(process))).map_err(io::Error::from)
    }
}

/// One Command, spawned again and again.
struct Commanded(Command);

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
        process.map(|process| Launched::Embryo(Running(process))).map_err(io::Error::from)
    }
}
