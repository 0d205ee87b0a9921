//! Which namespaces can be had, and what to change where one cannot.

use super::{Ability, Tried, ability};
use crate::hint::namespace::forbidding;
use crate::spawn::{SpawnOptions, spawn_with};
use crate::{Error, ExecFlags, Keep, MountOp, NamespaceKind, NamespaceOp, Namespaces, Op, Plan};
use std::os::fd::BorrowedFd;

pub(super) fn abilities() -> Vec<Ability> {
    let root = NamespaceOp::User { uid: 0, gid: 0 };
    let users = tried(&[root]);
    let note = match (&users, forbidding()) {
        (Tried::Fails(_), Some(why)) => why.to_owned(),
        _ => users.note(),
    };
    let mut all = vec![ability("user namespace", matches!(users, Tried::Works(_)), note)];
    let kinds = [
        ("mount namespace", Namespaces::MOUNT),
        ("network namespace", Namespaces::NET),
        ("IPC namespace", Namespaces::IPC),
        ("UTS namespace", Namespaces::UTS),
        ("cgroup namespace", Namespaces::CGROUP),
        ("time namespace", Namespaces::TIME),
    ];
    // In a user namespace, where one can be had; root may do without.
    let within = |op: NamespaceOp<'static>| match users {
        Tried::Works(_) => tried(&[root, op]),
        Tried::Fails(_) => tried(&[op]),
    };
    for (name, kinds) in kinds {
        let found = within(NamespaceOp::Unshare { kinds });
        all.push(ability(name, matches!(found, Tried::Works(_)), found.note()));
    }
    for (name, pid) in [("pid namespace", 0), ("pid of choice", 100)] {
        let found = within(NamespaceOp::Pid { pid });
        all.push(ability(name, matches!(found, Tried::Works(_)), found.note()));
    }
    all.push(subids());
    all
}

fn subids() -> Ability {
    let privileged = rustix::thread::capabilities(None).is_ok_and(|sets| {
        let needed = rustix::thread::CapabilitySet::SETUID | rustix::thread::CapabilitySet::SETGID;
        sets.effective.contains(needed)
    });
    let helper = |name: &str| {
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
    };
    let (found, note) = match crate::namespace::subids() {
        Err(error) => (
            false,
            std::error::Error::source(&error)
                .map_or_else(|| error.to_string(), ToString::to_string),
        ),
        Ok(_) if privileged => (true, "mapped by the caller itself".to_owned()),
        Ok(_) if helper("newuidmap") && helper("newgidmap") => {
            (true, "by newuidmap(1) and newgidmap(1)".to_owned())
        }
        Ok(_) => (
            false,
            "newuidmap(1) and newgidmap(1) are missing: the package is uidmap, or shadow-utils"
                .to_owned(),
        ),
    };
    ability("subordinate ids", found, note)
}

/// Does these, and then fails on purpose.
fn tried(ops: &[NamespaceOp<'_>]) -> Tried {
    try_ops(&ops.iter().map(|op| Op::Namespace(*op)).collect::<Vec<_>>(), &[])
}

/// The same of any ops. A new root is entered after them.
pub(super) fn try_ops(ops: &[Op<'_>], grants: &[BorrowedFd<'_>]) -> Tried {
    const EXPECTED: u32 = 125;
    let new_root = ops.iter().any(|op| matches!(op, Op::Mount(MountOp::NewRoot { .. })));
    let mut plan = Plan::builder();
    plan.keep(Keep::UMASK | Keep::SESSION);
    grants.iter().for_each(|_| _ = plan.slot());
    for op in ops {
        plan.op(op);
    }
    if new_root {
        plan.op(&Op::Mount(MountOp::EnterRoot)).op(&Op::ChdirPath { path: c"/" });
    } else {
        plan.keep(Keep::CWD);
    }
    plan.op(&Op::Fail { errno: EXPECTED })
        .op(&Op::ExecPath { path: c"/", flags: ExecFlags::empty() })
        .arg("doctor");
    let outcome = plan
        .build()
        .map_err(Error::from)
        .and_then(|plan| spawn_with(&plan, grants, SpawnOptions::new()));
    match outcome {
        Err(Error::Spawn(error)) if u32::from(error.fault.errno) == EXPECTED => {
            Tried::Works(crate::direct::clone_is_legacy())
        }
        Err(error) => Tried::Fails(error.to_string()),
        Ok(mut process) => {
            let _ = process.kill();
            Tried::Fails("the op that fails on purpose did not".to_owned())
        }
    }
}

const _: () = assert!(NamespaceKind::ALL.len() == 8, "each kind is tried above");
