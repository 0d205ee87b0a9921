//! What confines the child: filters of system calls and Landlock.
//!
//! It must never confine by less than was asked for without having been told that this will do.

use crate::args::ConfineArgs;
use crate::failure::Failure;
use crate::policies;
use crate::value::{LandlockScope, Ports, Source};
use embryo::{Landlock, LandlockRights};
use embryo_job::{FilterPolicy, Job};

/// Says how it is confined, beside what the job says.
pub(super) fn overlay(args: &ConfineArgs, job: &mut Job) -> Result<(), Failure> {
    if let Some(landlock) = landlock(args, job.landlock.take())? {
        job.landlock = Some(landlock);
    }
    job.seccomp.extend(args.seccomp.map(Source::Fd));
    if let Some(name) = &args.seccomp_profile {
        let profile = FilterPolicy::Profile(name.clone());
        profile.policy().ok_or_else(|| policies::no_such_profile(name))?;
        job.seccomp_policy.push(profile);
    }
    for file in &args.seccomp_policy {
        job.seccomp_policy.push(FilterPolicy::Policy(policies::read(file)?));
    }
    Ok(())
}

/// What the options add to a ruleset, or make one of.
fn landlock(args: &ConfineArgs, given: Option<Landlock>) -> Result<Option<Landlock>, Failure> {
    const READ: LandlockRights = LandlockRights::READ;
    let mut landlock = given.unwrap_or_default();
    let before = landlock.files.as_ref().map_or(0, Vec::len);
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
    for rule in landlock.files.iter_mut().flatten().skip(before) {
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
    landlock.best_effort |= args.landlock_best_effort;
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
