//! What is refused of the ops on mounts.

use super::{Cases, EXEC_TRUE, WHOLE, all_kept, at, of_ops};
use embryo_plan::{
    Keep, MountFlags, MountOp, NamespaceOp, Namespaces, Op, OpCode, PlanBuilder, Reason, Slot,
    limits,
};
use std::ffi::CString;

const NEW: Op<'static> = Op::Mount(MountOp::NewRoot { size: 0, mode: 0o755, inodes: 0 });
const ENTER: Op<'static> = Op::Mount(MountOp::EnterRoot);
const CHDIR: Op<'static> = Op::ChdirPath { path: c"/" };

const UNSHARE: Op<'static> = Op::Namespace(NamespaceOp::Unshare { kinds: Namespaces::MOUNT });

/// A plan of these ops, after the one that makes a mount namespace.
fn own(keep: Keep, ops: &[Op<'_>]) -> PlanBuilder {
    of_ops(keep, &[&[UNSHARE], ops].concat())
}

pub(crate) fn cases(cases: &mut Cases) {
    paths(cases);
    values(cases);
    order(cases);
}

fn paths(cases: &mut Cases) {
    let one = |op: MountOp<'_>| own(all_kept(), &[Op::Mount(op), EXEC_TRUE]);
    let flags = MountFlags::empty();
    for (source, target) in [(c"a", c"/b"), (c"/a", c"b")] {
        cases.built(&one(MountOp::Bind { source, target, flags }), at(1), Reason::Relative);
    }
    for target in [c"/..", c"/a/../b", c"/a/.."] {
        cases.built(&one(MountOp::Devpts { target }), at(1), Reason::DotDot);
    }
    let layers = |layers: &[u8]| one(MountOp::Overlay { layers, target: c"/", flags });
    cases.built(&layers(b"/a\0b\0"), at(1), Reason::Relative);
    cases.built(&layers(b"/a\0/b"), at(1), Reason::Unterminated);
    cases.built(&layers(b"/a\0\0"), at(1), Reason::Empty);
    let long = CString::new(format!("/{}", "a".repeat(255))).expect("no NUL");
    let long = [b"/a\0", long.as_bytes_with_nul()].concat();
    cases.built(&layers(&long), at(1), Reason::StringTooLong);
    cases.built(&layers(&b"/a\0".repeat(limits::LAYERS_MAX + 1)), at(1), Reason::DataLength);
}

fn values(cases: &mut Cases) {
    let (target, slot, none) = (c"/a", Slot(0), MountFlags::empty());
    let mut range = |op, what| {
        let plan = own(all_kept(), &[Op::Mount(op), EXEC_TRUE]);
        cases.built(&plan, at(1), Reason::OutOfRange(what));
    };
    range(MountOp::Directory { target, mode: 0o10000 }, "the mode");
    range(MountOp::Chmod { target, mode: 0o10000 }, "the mode");
    range(MountOp::FileSlot { slot, target, flags: none, mode: 0o10000 }, "the mode");
    range(
        MountOp::FileSlot { slot, target, flags: MountFlags::READ_ONLY, mode: 0 },
        "the flags (only what is mounted has attributes)",
    );
    range(MountOp::Tmpfs { target, flags: none, size: 0, mode: 0o10000, inodes: 0 }, "the mode");
    range(MountOp::Proc { target, flags: none, hidepid: 3 }, "hidepid");
    range(MountOp::Attributes { target, flags: none, clear: none }, "nothing");
    range(
        MountOp::Attributes { target, flags: MountFlags::NODEV, clear: MountFlags::NODEV },
        "the attributes to clear",
    );
    range(
        MountOp::Attributes { target, flags: none, clear: MountFlags::FLAT },
        "the attributes to clear",
    );
    let mut overlay = |layers, flags, what| range(MountOp::Overlay { layers, target, flags }, what);
    let (upper, throwaway) = (MountFlags::UPPER, MountFlags::THROWAWAY);
    overlay(b"/a\0", none, "the number of layers");
    overlay(b"/a\0/b\0", upper, "the number of layers");
    overlay(b"/a\0/b\0/c\0", upper | throwaway, "the flags (two upper directories)");
}

fn order(cases: &mut Cases) {
    let devpts = Op::Mount(MountOp::Devpts { target: c"/a" });
    let kept = Keep::UMASK | Keep::SESSION;
    cases.built(&own(kept, &[NEW, CHDIR, EXEC_TRUE]), WHOLE, Reason::RootHalf);
    cases.built(&own(kept, &[ENTER, CHDIR, EXEC_TRUE]), WHOLE, Reason::RootHalf);
    cases.built(&own(all_kept(), &[NEW, ENTER, EXEC_TRUE]), WHOLE, Reason::RootWithoutCwd);
    cases.built(
        &own(kept, &[devpts, NEW, ENTER, CHDIR, EXEC_TRUE]),
        at(2),
        Reason::Order(OpCode::Devpts),
    );
    cases.built(
        &own(kept, &[NEW, ENTER, devpts, CHDIR, EXEC_TRUE]),
        at(3),
        Reason::Order(OpCode::EnterRoot),
    );
    cases.built(&own(kept, &[NEW, NEW, ENTER, CHDIR, EXEC_TRUE]), at(2), Reason::Repeated);
    let lacks = Reason::NeedsNamespace("mount");
    cases.built(&of_ops(all_kept(), &[devpts, EXEC_TRUE]), at(0), lacks);
    let chroot = Op::ChrootPath { path: c"/" };
    cases.built(&own(kept, &[NEW, ENTER, chroot, CHDIR, EXEC_TRUE]), at(3), Reason::Repeated);
}
