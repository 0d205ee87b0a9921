//! The program's namespaces, and those that other options need.
//!
//! It must never make one that was not asked for, but where nothing else works: an ordinary user needs a
//! user namespace for any other.

use crate::args::{ChildArgs, Joined, Range};
use crate::failure::Failure;
use crate::value::Source;
use embryo::{CapSet, IdRange, NamespaceKind, Sandbox, UserNamespace};
use embryo_job::value::Text;
use embryo_job::{ClockName, Job, Join, Namespace, UserMap};

/// `CAP_SYS_ADMIN`, without which any namespace takes one of users.
const SYS_ADMIN: CapSet = CapSet::from_bits(1 << 21);
/// In the order of their names at the command line.
const KINDS: [Namespace; 8] = [
    Namespace::User,
    Namespace::Pid,
    Namespace::Mount,
    Namespace::Net,
    Namespace::Ipc,
    Namespace::Uts,
    Namespace::Cgroup,
    Namespace::Time,
];

/// Says which namespaces it has, beside those of the job.
pub(super) fn overlay(args: &ChildArgs, job: &mut Job) -> Result<(), Failure> {
    let wanted = &args.namespaces;
    if wanted.sandbox {
        job.sandbox.get_or_insert_with(Sandbox::strict);
    }
    if wanted.share_net {
        match &mut job.sandbox {
            Some(sandbox) => _ = sandbox.share(NamespaceKind::Net),
            None if wanted.unshare_all => {}
            None => return Err(Failure::new("--share-net needs --unshare-all or --sandbox")),
        }
    }
    let spaces = &mut job.namespaces;
    spaces.unshare.extend(kinds(args));
    spaces.loopback |= spaces.unshare.contains(&Namespace::Net);
    let joined = [(Namespace::User, wanted.userns), (Namespace::Pid, wanted.pidns)];
    let joined = joined.into_iter().filter_map(|(kind, fd)| fd.map(|fd| (kind, fd)));
    let others = wanted.join_namespace.iter().map(|Joined(kind, fd)| (KINDS[*kind], *fd));
    spaces.join.extend(joined.chain(others).map(|(kind, fd)| Join { kind, from: Source::Fd(fd) }));
    super::set(&mut spaces.hostname, wanted.hostname.as_ref().map(Text::from));
    super::set(&mut spaces.domainname, wanted.domainname.as_ref().map(Text::from));
    super::set(&mut spaces.tid, wanted.set_tid);
    for (clock, seconds) in
        [(ClockName::Monotonic, wanted.monotonic), (ClockName::Boottime, wanted.boottime)]
    {
        if let Some(seconds) = seconds {
            spaces.clock.insert(clock, seconds);
        }
    }
    if let Some(map) = map(args) {
        spaces.user = Some(UserMap(map));
    }
    let joins = |join: &Join| join.kind == Namespace::User;
    let others = !spaces.unshare.is_empty() || spaces.tid.is_some();
    let others = others || spaces.hostname.is_some() || spaces.domainname.is_some();
    if others && spaces.user.is_none() && !spaces.join.iter().any(joins) && !may_unshare() {
        spaces.unshare.insert(Namespace::User);
    }
    Ok(())
}

/// Whether its processes are not those of the caller's pid namespace.
pub(super) fn has_own_pids(args: &ChildArgs, job: &Job) -> bool {
    let (wanted, said) = (&args.namespaces, &job.namespaces);
    let joined = wanted.join_namespace.iter().any(|joined| KINDS[joined.0] == Namespace::Pid);
    let own = kinds(args).any(|kind| kind == Namespace::Pid) || wanted.pidns.is_some() || joined;
    let said_so = said.unshare.contains(&Namespace::Pid) || said.tid.is_some();
    let said_so = said_so || said.join.iter().any(|join| join.kind == Namespace::Pid);
    own || wanted.set_tid.is_some() || job.sandbox.is_some() || said_so
}

/// Those that are to be new.
fn kinds(args: &ChildArgs) -> impl Iterator<Item = Namespace> {
    let wanted = &args.namespaces;
    let all = wanted.unshare_all;
    [
        (Namespace::User, (all && wanted.userns.is_none()) || wanted.unshare_user),
        (Namespace::Mount, all || wanted.unshare_mount),
        (Namespace::Pid, (all && wanted.pidns.is_none()) || wanted.unshare_pid),
        (Namespace::Net, (all && !wanted.share_net) || wanted.unshare_net),
        (Namespace::Ipc, all || wanted.unshare_ipc),
        (Namespace::Uts, all || wanted.unshare_uts),
        (Namespace::Cgroup, all || wanted.unshare_cgroup),
        (Namespace::Time, wanted.unshare_time),
    ]
    .into_iter()
    .filter_map(|(kind, wanted)| wanted.then_some(kind))
}

/// The ids of the user namespace, if the options say them.
fn map(args: &ChildArgs) -> Option<UserNamespace> {
    let wanted = &args.namespaces;
    if wanted.map_root_user {
        return Some(UserNamespace::ROOT);
    }
    if wanted.map_auto {
        return Some(UserNamespace::Subids);
    }
    if wanted.map_users.is_empty() {
        return None;
    }
    let [uids, gids] = [&wanted.map_users, &wanted.map_groups].map(|ranges| {
        let range = |Range([inside, outside, count]): &Range| IdRange {
            inside: *inside,
            outside: *outside,
            count: *count,
        };
        ranges.iter().map(range).collect()
    });
    Some(UserNamespace::Mapped { uids, gids, deny_setgroups: false })
}

fn may_unshare() -> bool {
    CapSet::current().is_ok_and(|[effective, ..]| effective.contains(SYS_ADMIN))
}
