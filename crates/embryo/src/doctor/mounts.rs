//! What can be mounted here, tried on children in namespaces of their own.

use super::namespaces::try_ops;
use super::{Ability, Tried, ability};
use crate::Embryo;
use embryo_plan::{MountFlags, MountOp, NamespaceOp, Namespaces, Op, Slot};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

const NEW_ROOT: MountOp<'static> = MountOp::NewRoot { size: 0, mode: 0o755, inodes: 0 };

pub(super) fn abilities() -> Vec<Ability> {
    let root = rustix::process::geteuid().is_root();
    let xattrs = if root { MountFlags::empty() } else { MountFlags::USERXATTR };
    let (none, target) = (MountFlags::empty(), c"/x");
    let overlay = |layers, flags| MountOp::Overlay { layers, target, flags: flags | xattrs };
    let tried: [(&'static str, MountOp<'_>, &'static str); 6] = [
        (
            "mounts and a new root",
            MountOp::Bind { source: c"/", target, flags: MountFlags::READ_ONLY },
            "Linux 5.12",
        ),
        ("overlay", overlay(b"/etc\0/usr\0", none), "Linux 5.11 for an ordinary user"),
        (
            "overlay, throw-away upper",
            overlay(b"/etc\0", MountFlags::THROWAWAY),
            "the same; of an ordinary user Linux 6.6, before which a tmpfs has no such attributes",
        ),
        ("pseudoterminals of its own", MountOp::Devpts { target }, ""),
        ("message queues of its own", MountOp::Mqueue { target }, ""),
        (
            "/proc of its own",
            MountOp::Proc { target, flags: none, hidepid: 0 },
            "with a pid namespace; the caller's /proc must have nothing mounted over it",
        ),
    ];
    let mut all: Vec<Ability> = tried
        .iter()
        .map(|(name, op, note)| found(name, try_ops(&within(*op), &[]), note))
        .collect();
    all.push(mapped());
    all
}

/// In namespaces of its own, and of an ordinary user in one of users.
fn within(op: MountOp<'_>) -> Vec<Op<'_>> {
    let mut ops = Vec::new();
    if !rustix::process::geteuid().is_root() {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        ops.push(NamespaceOp::User { uid: uid.as_raw(), gid: gid.as_raw() });
    }
    ops.push(NamespaceOp::Unshare { kinds: Namespaces::MOUNT | Namespaces::IPC });
    if matches!(op, MountOp::Proc { .. }) {
        ops.push(NamespaceOp::Pid { pid: 0 });
    }
    ops.into_iter().map(Op::Namespace).chain([NEW_ROOT, op].map(Op::Mount)).collect()
}

fn found(name: &'static str, tried: Tried, note: &str) -> Ability {
    match tried {
        Tried::Works(_) => ability(name, true, tried.note()),
        Tried::Fails(why) if note.is_empty() => ability(name, false, why),
        Tried::Fails(why) => ability(name, false, format!("{note}: {why}")),
    }
}

/// With the user namespace of another child, which maps nothing but the caller.
fn mapped() -> Ability {
    const NAME: &str = "idmapped mounts";
    const NOTE: &str =
        "Linux 5.12, CAP_SYS_ADMIN where the file system was mounted, and one that can";
    let users = || -> Result<(Embryo, File), String> {
        let mut embryo = Embryo::create().map_err(|error| error.to_string())?;
        let user = Op::Namespace(NamespaceOp::User { uid: 1, gid: 1 });
        embryo.apply(&user, &[]).map_err(|error| error.to_string())?;
        let path = format!("/proc/{}/ns/user", embryo.id());
        File::open(path).map(|users| (embryo, users)).map_err(|error| error.to_string())
    };
    let (_embryo, users) = match users() {
        Ok(users) => users,
        Err(why) => return ability(NAME, false, why),
    };
    let op =
        MountOp::BindMapped { slot: Slot(0), source: c"/", target: c"/x", flags: MountFlags::FLAT };
    let grants: [BorrowedFd<'_>; 1] = [users.as_fd()];
    found(NAME, try_ops(&within(op), &grants), NOTE)
}
