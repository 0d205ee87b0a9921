//! What confines the child: filters of system calls and Landlock.
//!
//! It must never confine by less than was asked for without having been told that this will do.

use crate::args::ConfineArgs;
use crate::failure::Failure;
use crate::inherited::Inherited;
use crate::policies;
use crate::value::{LandlockScope, Ports};
use embryo::{Command, FilterFlags, Landlock, LandlockRights, Policy, limits};
use std::io::Read;

/// Says how it is confined.
pub(super) fn apply(
    args: &ConfineArgs,
    inherited: &Inherited,
    command: &mut Command,
) -> Result<(), Failure> {
    if let Some(landlock) = landlock(args)? {
        command.landlock(&landlock);
    }
    if let Some(fd) = args.seccomp {
        let program = program(fd, inherited)?;
        command.no_new_privs(true).seccomp(FilterFlags::empty(), &program);
    }
    if let Some(name) = &args.seccomp_profile {
        let policy = Policy::profile(name).ok_or_else(|| policies::no_such_profile(name))?;
        filter(&policy, &format!("the profile {name}"), command)?;
    }
    for file in &args.seccomp_policy {
        filter(&policies::read(file)?, &file.display().to_string(), command)?;
    }
    Ok(())
}

fn filter(policy: &Policy, what: &str, command: &mut Command) -> Result<(), Failure> {
    if policy.notifies() {
        let message = format!("{what}: it asks a listener, and there is none at the command line");
        return Err(Failure::new(message));
    }
    command.seccomp_policy(policy).map_err(|error| Failure::new(format!("{what}: {error}")))?;
    Ok(())
}

/// Reads a filter, which ends where the file or pipe does.
fn program(fd: u32, inherited: &Inherited) -> Result<Vec<u8>, Failure> {
    const INSTRUCTION_BYTES: u64 = 8;
    // One byte more than there may be, so that a longer one is not cut but refused.
    let most = limits::FILTER_INSTRUCTIONS_MAX as u64 * INSTRUCTION_BYTES + 1;
    let mut program = Vec::new();
    std::fs::File::from(inherited.get(fd)?)
        .take(most)
        .read_to_end(&mut program)
        .map_err(|error| Failure::io("cannot read a filter from descriptor", fd, &error))?;
    Ok(program)
}

fn landlock(args: &ConfineArgs) -> Result<Option<Landlock>, Failure> {
    const READ: LandlockRights = LandlockRights::READ;
    let mut landlock = Landlock::new();
    for (paths, rights) in [
        (&args.landlock_ro, READ),
        (&args.landlock_rw, READ | LandlockRights::WRITE),
        (&args.landlock_exec, READ | LandlockRights::EXECUTE),
    ] {
        for path in paths {
            landlock.path(path, rights);
        }
    }
    for (rights, path) in &args.landlock_rights {
        let parsed = rights.parse();
        let rights = parsed.map_err(|error| Failure::new(format!("--landlock-rights: {error}")))?;
        landlock.path(path, rights);
    }
    for rule in landlock.files.iter_mut().flatten() {
        rule.inside = args.landlock_inside;
    }
    let all =
        |given: &[Ports]| -> Vec<u16> { given.iter().flat_map(|ports| ports.0.clone()).collect() };
    if !args.landlock_bind.is_empty() {
        landlock.bind(all(&args.landlock_bind));
    }
    if !args.landlock_connect.is_empty() {
        landlock.connect(all(&args.landlock_connect));
    }
    for scope in &args.landlock_scope {
        landlock.scope(match scope {
            LandlockScope::Signal => embryo::LandlockScope::Signal,
            LandlockScope::AbstractUnixSocket => embryo::LandlockScope::AbstractUnixSocket,
        });
    }
    if let Some(abi) = args.landlock_abi {
        landlock.abi = abi;
    }
    landlock.best_effort = args.landlock_best_effort;
    let (needed, _) = landlock.needed_abi();
    if needed > 0 {
        return Ok(Some(landlock));
    }
    // These say how to restrict, and nothing says what.
    for (given, option) in [
        (args.landlock_inside, "--landlock-inside"),
        (args.landlock_abi.is_some(), "--landlock-abi"),
        (args.landlock_best_effort, "--landlock-best-effort"),
    ] {
        if given {
            let message = format!("{option}: no other option says what Landlock is to restrict");
            return Err(Failure::new(message));
        }
    }
    Ok(None)
}
