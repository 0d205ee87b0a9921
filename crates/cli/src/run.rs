//! `embryo run`, from its options to its exit status.
//!
//! It must never start anything when it was asked to explain or to save.

use crate::args::RunArgs;
use crate::describe::{describe, named, wanted};
use crate::failure::{Failure, NOT_FOUND};
use crate::inherited::Inherited;
use crate::launch::Launch;
use crate::pty::Relay;
use crate::supervise::{Limits, Supervisor};
use crate::terminal::Terminal;
use crate::value::Source;
use crate::watch::Watch;
use crate::{ending, output, saved};
use embryo::{Pty, SpawnOptions};
use rustix::fd::{AsRawFd, OwnedFd};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Does what the options say; returns the status to exit with.
pub(crate) fn run(args: &RunArgs) -> Result<u8, Failure> {
    // Before anything is opened, or a free number would be one of our own.
    let granted = args.grant.iter().filter_map(|grant| match grant.source {
        Source::Fd(fd) => Some(fd),
        Source::File(..) => None,
    });
    let looking = args.explain || args.save.is_some();
    let inherited = Inherited::take(wanted(args).chain(granted))?.looking(looking);
    if args.json && !looking && args.trace.is_none() {
        return Err(Failure::new("--json needs --explain or --trace"));
    }
    if looking && args.trace.is_some() {
        return Err(Failure::new("--trace runs the program; --explain and --save do not"));
    }
    let mut launch = match &args.plan {
        Some(file) if args.explain => return explain_saved(file, args.json),
        Some(file) => saved::load(file, &args.grant, &inherited)?,
        None => Launch::Described(Box::new(describe(args, &inherited)?)),
    };
    if looking && args.child.pty {
        // One that nobody will use.
        let pty = Pty::open()?;
        launch.give(&pty);
        return look(args, &launch);
    }
    if looking { look(args, &launch) } else { start(args, launch) }
}

fn explain_saved(file: &Path, json: bool) -> Result<u8, Failure> {
    output::explain(&saved::read(file)?, &[], None, json)?;
    Ok(0)
}

/// Prints or writes the plan.
fn look(args: &RunArgs, launch: &Launch) -> Result<u8, Failure> {
    let (plan, grants) = launch.plan()?;
    if let Some(file) = &args.save {
        saved::write(file, &plan)?;
    }
    if args.explain {
        let object = |(slot, grant)| {
            let uses = saved::uses(&plan, slot);
            let named = uses.iter().find_map(|op| named(&args.child, op));
            named.map(Path::to_owned).or_else(|| object(grant))
        };
        let objects: Vec<Option<PathBuf>> = (0..).zip(&grants).map(object).collect();
        output::explain(&plan, &objects, launch.loaded()?.as_ref(), args.json)?;
    }
    Ok(0)
}

/// What a descriptor refers to, as /proc names it.
fn object(fd: &OwnedFd) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())).ok()
}

/// Starts it and waits for its end.
fn start(args: &RunArgs, mut launch: Launch) -> Result<u8, Failure> {
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
    // A child with a terminal of its own never has ours.
    let terminal = if relay.is_none() { Terminal::of_session() } else { None };
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
    let ended = supervisor.end_with(parent).wait()?;
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
