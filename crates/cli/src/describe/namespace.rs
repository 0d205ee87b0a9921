//! The program's namespaces, and those that other options need.
//!
//! It must never make one that was not asked for, but where nothing else works: an ordinary user needs a
//! user namespace for any other.

use crate::accounts::{gid, uid};
use crate::args::{ChildArgs, Joined, Range};
use crate::failure::Failure;
use crate::inherited::Inherited;
use embryo::{Clock, Command, IdRange, NamespaceKind, UserNamespace};
use rustix::thread::CapabilitySet;

/// Says which namespaces it has.
pub(super) fn apply(
    args: &ChildArgs,
    inherited: &Inherited,
    command: &mut Command,
) -> Result<(), Failure> {
    let wanted = &args.namespaces;
    let kinds = kinds(args);
    command.unshare(kinds.iter().copied());
    let joined = [(NamespaceKind::User, wanted.userns), (NamespaceKind::Pid, wanted.pidns)];
    let joined = joined.into_iter().filter_map(|(kind, fd)| fd.map(|fd| (kind, fd)));
    for (kind, fd) in joined.chain(wanted.join_namespace.iter().map(|joined| {
        let Joined(kind, fd) = *joined;
        // In the order of their names.
        (NamespaceKind::ALL[kind], fd)
    })) {
        command.join_namespace(inherited.get(fd)?, kind);
    }
    if let Some(user) = user(args, &kinds)? {
        command.user_namespace(user);
    }
    if let Some(name) = &wanted.hostname {
        command.hostname(name);
    }
    if let Some(name) = &wanted.domainname {
        command.domainname(name);
    }
    for (clock, seconds) in
        [(Clock::Monotonic, wanted.monotonic), (Clock::Boottime, wanted.boottime)]
    {
        if let Some(seconds) = seconds {
            command.clock_offset(clock, seconds, 0);
        }
    }
    if let Some(pid) = wanted.set_tid {
        command.set_tid(pid);
    }
    command.loopback(kinds.contains(&NamespaceKind::Net));
    Ok(())
}

/// Those that are made, but for that of users.
fn kinds(args: &ChildArgs) -> Vec<NamespaceKind> {
    let wanted = &args.namespaces;
    let all = wanted.unshare_all;
    [
        (NamespaceKind::Mount, all || wanted.unshare_mount || !args.mounts.0.is_empty()),
        (NamespaceKind::Pid, (all && wanted.pidns.is_none()) || wanted.unshare_pid),
        (NamespaceKind::Net, (all && !wanted.share_net) || wanted.unshare_net),
        (NamespaceKind::Ipc, all || wanted.unshare_ipc),
        (NamespaceKind::Uts, all || wanted.unshare_uts),
        (NamespaceKind::Cgroup, all || wanted.unshare_cgroup),
        (NamespaceKind::Time, wanted.unshare_time),
    ]
    .into_iter()
    .filter_map(|(kind, wanted)| wanted.then_some(kind))
    .collect()
}

/// Whether its processes are not those of the caller's pid namespace.
pub(super) fn has_own_pids(args: &ChildArgs) -> bool {
    let wanted = &args.namespaces;
    let joins = |joined: &Joined| NamespaceKind::ALL[joined.0] == NamespaceKind::Pid;
    let joined = wanted.pidns.is_some() || wanted.join_namespace.iter().any(joins);
    joined || wanted.set_tid.is_some() || kinds(args).contains(&NamespaceKind::Pid)
}

/// The user namespace that is made, if one is.
fn user(args: &ChildArgs, kinds: &[NamespaceKind]) -> Result<Option<UserNamespace>, Failure> {
    let wanted = &args.namespaces;
    if wanted.map_root_user {
        return Ok(Some(UserNamespace::ROOT));
    }
    if wanted.map_auto {
        return Ok(Some(UserNamespace::Subids));
    }
    if !wanted.map_users.is_empty() {
        let [uids, gids] = [&wanted.map_users, &wanted.map_groups].map(|ranges| {
            let range = |Range([inside, outside, count]): &Range| IdRange {
                inside: *inside,
                outside: *outside,
                count: *count,
            };
            ranges.iter().map(range).collect()
        });
        return Ok(Some(UserNamespace::Mapped { uids, gids, deny_setgroups: false }));
    }
    let asked = wanted.unshare_user || (wanted.unshare_all && wanted.userns.is_none());
    let others = !kinds.is_empty() || wanted.set_tid.is_some();
    if asked || (others && wanted.userns.is_none() && !may_unshare()) {
        return alone(args).map(Some);
    }
    Ok(None)
}

/// Whether `--uid` and `--gid` say what the caller is in its user namespace, which knows nobody else.
pub(super) fn ids_are_mapped(args: &ChildArgs) -> Result<bool, Failure> {
    let kinds = kinds(args);
    let made = user(args, &kinds)?;
    Ok(matches!(made, Some(UserNamespace::Same | UserNamespace::As { .. }))
        && !args.namespaces.map_root_user)
}

/// The caller alone, with the ids that the options say or its own.
fn alone(args: &ChildArgs) -> Result<UserNamespace, Failure> {
    let (mut user, mut group) =
        (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    if let Some(ids) = &args.uid {
        user = uid(&ids.0[1])?;
    }
    if let Some(ids) = &args.gid {
        group = gid(&ids.0[1])?;
    }
    Ok(UserNamespace::As { uid: user, gid: group })
}

fn may_unshare() -> bool {
    rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}
