//! `embryo run`, from its options to its exit status.
//!
//! It must never start anything when it was asked to explain or to save.

use crate::args::RunArgs;
use crate::describe::overlay;
use crate::failure::{Failure, NOT_FOUND};
use crate::launch::Launch;
use crate::pty::Relay;
use crate::saved::{self, Found};
use crate::supervise::{Limits, Supervisor};
use crate::terminal::Terminal;
use crate::value::Source;
use crate::watch::Watch;
use crate::{ending, output};
use embryo::agent::Agent;
use embryo::{Plan, Pty, SpawnOptions};
use embryo_job::{Callers, Document, Error, Job};
use rustix::fd::{AsRawFd, OwnedFd};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Does what the options say; returns the status to exit with.
pub(crate) fn run(args: &RunArgs) -> Result<u8, Failure> {
    let looking = args.explain || args.save.is_some();
    if args.json && !looking && args.trace.is_none() {
        return Err(Failure::new("--json needs --explain or --trace"));
    }
    if looking && args.trace.is_some() {
        return Err(Failure::new("--trace runs the program; --explain and --save do not"));
    }
    let mut launch = match args.plan.as_deref().map(saved::read).transpose()? {
        Some(Found::Plan(plan)) => {
            if let Some(option) = &args.beside {
                return Err(Failure::new(format!(
                    "this plan describes the whole child, so {option} cannot be added to it"
                ))
                .hint("a job in TOML takes options"));
            }
            if looking {
                return look_at(args, &plan);
            }
            filled(args, plan)?
        }
        Some(Found::Job(job, document)) => described(args, *job, Some(&document))?,
        None => described(args, Job::default(), None)?,
    };
    let agent = args.agent.as_ref().map(|socket| connect(socket.as_deref())).transpose()?;
    if let Some(agent) = &agent {
        launch.through(agent)?;
    }
    if looking && args.child.pty {
        // One that nobody will use.
        let pty = Pty::open()?;
        launch.give(&pty);
        return look(args, &launch);
    }
    if looking { look(args, &launch) } else { start(args, launch, agent) }
}

/// The agent at a socket, or the one that the environment names.
fn connect(socket: Option<&Path>) -> Result<Agent, Failure> {
    Ok(match socket {
        Some(socket) => Agent::connect(socket)?,
        None => Agent::from_env()?,
    })
}

/// A plan with its slots filled.
fn filled(args: &RunArgs, plan: Plan) -> Result<Launch, Failure> {
    // Before anything is opened, or a free number would be one of our own.
    let granted = args.grant.iter().filter_map(|grant| match grant.source {
        Source::Fd(fd) => Some(fd),
        Source::File(..) => None,
    });
    saved::load(plan, &args.grant, &Callers::take(granted)?)
}

/// A job with what the options say of it.
fn described(args: &RunArgs, job: Job, document: Option<&Document>) -> Result<Launch, Failure> {
    if let Some(grant) = args.grant.first() {
        let message = format!("a job has no slot {}: it names what it is granted", grant.slot);
        return Err(Failure::new(message).hint("--fd grants a descriptor"));
    }
    let file = job.clone();
    let mut job = job;
    overlay(args, &mut job)?;
    // What is passed on by habit a mandate would have to list.
    job.env.clear |= args.agent.is_some();
    let looking = args.explain || args.save.is_some();
    let described = described_by(&job, looking);
    let described = described.map_err(|error| match document {
        Some(document) if same_key(&file, &job) => Failure::from(document.locate(&error)),
        _ => Failure::from(error),
    });
    Ok(Launch::Described(described?, Box::new(job)))
}

fn described_by(job: &Job, looking: bool) -> Result<Box<embryo::Command>, Error> {
    // Before anything is opened, or a free number would be one of our own.
    let callers = Callers::take(job.descriptors())?.looking(looking);
    Ok(Box::new(job.command_with(&callers)?))
}

/// Whether the options left the job as the file has it, but for more arguments.
fn same_key(file: &Job, job: &Job) -> bool {
    let mut job = job.clone();
    job.args.clone_from(&file.args);
    job == *file
}

/// Prints or writes a plan from a file, whose slots are anybody's.
fn look_at(args: &RunArgs, plan: &Plan) -> Result<u8, Failure> {
    if let Some(file) = &args.save {
        saved::write(file, plan.as_bytes())?;
    }
    if args.explain {
        output::explain(plan, &[], None, args.json)?;
    }
    Ok(0)
}

/// Prints or writes the plan.
fn look(args: &RunArgs, launch: &Launch) -> Result<u8, Failure> {
    let (plan, grants) = launch.plan()?;
    if let Some(file) = &args.save {
        saved::write(file, plan.as_bytes())?;
    }
    if args.explain {
        explain(launch, &plan, &grants, args.json)?;
    }
    Ok(0)
}

/// Prints the plan of what is described, with what its slots stand for.
pub(crate) fn explain(
    launch: &Launch,
    plan: &Plan,
    grants: &[OwnedFd],
    json: bool,
) -> Result<(), Failure> {
    let object = |(slot, grant)| {
        let uses = saved::uses(plan, slot);
        let named = uses.iter().find_map(|op| launch.file_of(op));
        named.map(Path::to_owned).or_else(|| object(grant))
    };
    let objects: Vec<Option<PathBuf>> = (0..).zip(grants).map(object).collect();
    output::explain(plan, &objects, launch.loaded()?.as_ref(), json)
}

/// What a descriptor refers to, as /proc names it.
fn object(fd: &OwnedFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
}

/// Starts it and waits for its end.
fn start(args: &RunArgs, mut launch: Launch, agent: Option<Agent>) -> Result<u8, Failure> {
    let mut options = SpawnOptions::new().through_seed(args.through_seed);
    if let Some(timeout) = args.start_timeout {
        options = options.timeout(timeout);
    }
    let trace = match &args.trace {
        Some(file) => Some(output::Trace::new(file.as_deref(), args.json, &launch)?),
        None => None,
    };
    options = options.trace(trace.is_some());
    let relay = args.child.pty.then(Relay::open).transpose()?;
    if let Some(pty) = relay.as_ref().and_then(Relay::pty) {
        launch.give(pty);
    }
    // A child with a terminal of its own never has ours, nor one in the session of an agent.
    let ours = relay.is_none() && agent.is_none();
    let terminal = if ours { Terminal::of_session() } else { None };
    let watch = Watch::start()?;
    let parent = if args.child.cgroup.die_with_parent { parent()? } else { None };
    let begun = Instant::now();
    let spawned = launch.spawn(options);
    let process = match trace {
        Some(trace) => trace.finish(spawned, begun.elapsed()),
        None => spawned.map_err(Failure::from),
    };
    let process = process.map_err(|failure| advise(failure, &args.child.command))?;
    // Until now the mask was the caller's, for a child that keeps it; nothing that is sent to the
    // child through us may wait in it.
    let _ = embryo_syscall::set_mask(0);
    let limits = Limits { timeout: args.timeout, kill_after: args.kill_after };
    drop(launch);
    let supervisor = Supervisor::new(process, watch, terminal, relay, limits);
    let ended = supervisor.end_with(parent).of(agent).wait()?;
    Ok(ending::status(ended, args.signal_as_status))
}

/// Who started embryo; nobody that can be named if that is outside the pid namespace.
fn parent() -> Result<Option<OwnedFd>, Failure> {
    let Some(pid) = rustix::process::getppid() else { return Ok(None) };
    let opened = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty());
    // Another one by now: it is gone, and nobody is to be started any more.
    if rustix::process::getppid() != Some(pid) || matches!(opened, Err(rustix::io::Errno::SRCH)) {
        return Err(Failure::new("the parent has ended already"));
    }
    let opened =
        opened.map_err(|errno| Failure::io("cannot watch", "the parent", &errno.into()))?;
    Ok(Some(opened))
}

/// What a program that is not found was probably meant to be.
fn advise(failure: Failure, command: &[OsString]) -> Failure {
    let name = command.first().map(|name| name.to_string_lossy()).unwrap_or_default();
    if failure.status() != NOT_FOUND || failure.hint_text().is_some() {
        return failure;
    }
    match name {
        name if name.contains(char::is_whitespace) => {
            failure.hint("program and arguments are separate words; sh -c runs a line")
        }
        name if name.contains('=') => failure.hint("--env NAME=VALUE sets a variable"),
        _ => failure,
    }
}
