//! What is refused of the ops on namespaces, and of what depends on them.

use super::{Cases, EXEC_TRUE, WHOLE, all_kept, at, of_ops};
use embryo_plan::{IdRange, NamespaceOp, Namespaces, Op, Reason, Slot, UserFlags, limits};
use std::ffi::CString;

pub(crate) fn cases(cases: &mut Cases) {
    values(cases);
    maps(cases);
    needs(cases);
    ids(cases);
}

fn map(ranges: &[[u32; 3]]) -> Vec<u8> {
    let range = |[inside, outside, count]: &[u32; 3]| {
        IdRange { inside: *inside, outside: *outside, count: *count }.to_bytes()
    };
    ranges.iter().flat_map(range).collect()
}

fn values(cases: &mut Cases) {
    let mut range = |op, what| cases.range(&Op::Namespace(op), what);
    let (kinds, slot) = (Namespaces::empty(), Slot(0));
    range(NamespaceOp::Join { slot, kinds }, "the kind of namespace");
    range(NamespaceOp::Unshare { kinds }, "the kind of namespace");
    for kinds in [Namespaces::USER, Namespaces::PID, Namespaces::NET | Namespaces::PID] {
        range(NamespaceOp::Unshare { kinds }, "the kind of namespace");
    }
    for [uid, gid] in [[u32::MAX, 0], [0, u32::MAX]] {
        range(NamespaceOp::User { uid, gid }, "the id");
        range(NamespaceOp::NestedUser { uid, gid }, "the id");
    }
    let mut clock = |clock, seconds, nanoseconds, what| {
        range(NamespaceOp::ClockOffset { clock, seconds, nanoseconds }, what);
    };
    clock(0, 0, 0, "the clock (1 is monotonic, 7 is boottime)");
    clock(1, 0, 1_000_000_000, "the nanoseconds");
    for seconds in [4_611_686_019, -4_611_686_019, i64::MAX, i64::MIN] {
        clock(7, seconds, 0, "the seconds");
    }
    range(NamespaceOp::Pid { pid: 1 }, "the pid (1 is the namespace's init)");
    range(NamespaceOp::Pid { pid: limits::PID_MAX + 1 }, "the pid");
    let long = CString::new("a".repeat(limits::HOST_NAME_BYTES_MAX)).expect("no NUL");
    for name in [c"", &long] {
        let reason = if name.is_empty() { Reason::Empty } else { Reason::StringTooLong };
        for op in [NamespaceOp::HostName { name }, NamespaceOp::DomainName { name }] {
            cases.built(&of_ops(all_kept(), &[Op::Namespace(op), EXEC_TRUE]), at(0), reason);
        }
    }
}

fn maps(cases: &mut Cases) {
    let good = map(&[[0, 0, 1]]);
    let mut refused = |bytes: &[u8], reason| {
        let flags = UserFlags::empty();
        for [uids, gids] in [[bytes, &good], [&good, bytes]] {
            let op = Op::Namespace(NamespaceOp::MappedUser { flags, uids, gids });
            cases.built(&of_ops(all_kept(), &[op, EXEC_TRUE]), at(0), reason);
        }
    };
    refused(&[], Reason::Empty);
    refused(&[0; 11], Reason::DataLength);
    for range in [[0, 0, 0], [1, 0, u32::MAX], [0, 1, u32::MAX]] {
        refused(&map(&[range]), Reason::OutOfRange("a range of ids"));
    }
    refused(&map(&[[0, 1000, 10], [9, 2000, 1]]), Reason::OverlappingIds);
    refused(&map(&[[5, 1000, 10], [0, 2000, 6]]), Reason::OverlappingIds);
    refused(&map(&[[0, 1000, 10], [10, 1009, 1]]), Reason::OverlappingIds);
    let many: Vec<_> = (0..=limits::ID_RANGES_MAX as u32).map(|id| [id, id, 1]).collect();
    refused(&map(&many), Reason::TooManyRanges);
}

fn needs(cases: &mut Cases) {
    let op = Op::Namespace;
    let mut lacks = |lacking, kinds, name| {
        let reason = Reason::NeedsNamespace(name);
        cases.built(&of_ops(all_kept(), &[op(lacking), EXEC_TRUE]), at(0), reason);
        // Another kind is no help.
        let other = op(NamespaceOp::Unshare { kinds });
        cases.built(&of_ops(all_kept(), &[other, op(lacking), EXEC_TRUE]), at(1), reason);
    };
    lacks(NamespaceOp::HostName { name: c"a" }, Namespaces::NET, "UTS");
    lacks(NamespaceOp::DomainName { name: c"a" }, Namespaces::NET, "UTS");
    lacks(NamespaceOp::Loopback, Namespaces::UTS, "network");
    let clock = NamespaceOp::ClockOffset { clock: 1, seconds: 0, nanoseconds: 0 };
    lacks(clock, Namespaces::UTS, "time");
    let join = |kinds| op(NamespaceOp::Join { slot: Slot(0), kinds });
    let reason = Reason::NeedsNamespace("time");
    cases.built(
        &of_ops(all_kept(), &[join(Namespaces::TIME), op(clock), EXEC_TRUE]),
        at(1),
        reason,
    );
    let both = [join(Namespaces::NET), join(Namespaces::NET | Namespaces::UTS), EXEC_TRUE];
    cases.built(&of_ops(all_kept(), &both), at(1), Reason::Repeated);
    let both = [join(Namespaces::PID), op(NamespaceOp::Pid { pid: 0 }), EXEC_TRUE];
    cases.built(&of_ops(all_kept(), &both), at(1), Reason::Repeated);
    let time = op(NamespaceOp::Unshare { kinds: Namespaces::TIME });
    let twice = [time, op(clock), op(clock), EXEC_TRUE];
    cases.built(&of_ops(all_kept(), &twice), at(2), Reason::Repeated);
    let mounts = [join(Namespaces::MOUNT), EXEC_TRUE];
    cases.built(&of_ops(all_kept(), &mounts), WHOLE, Reason::RootWithoutCwd);
}

fn ids(cases: &mut Cases) {
    let op = Op::Namespace;
    let uid = |id| Op::Uid { real: id, effective: id, saved: u32::MAX };
    let gid = |id| Op::Gid { real: u32::MAX, effective: u32::MAX, saved: id };
    let mapped = map(&[[0, 1000, 10], [100, 2000, 1]]);
    let flags = UserFlags::empty();
    let many = op(NamespaceOp::MappedUser { flags, uids: &mapped, gids: &mapped });
    let one = op(NamespaceOp::User { uid: 5, gid: 6 });
    let nested = op(NamespaceOp::NestedUser { uid: 7, gid: 7 });
    let mut refused = |space: &[Op<'_>], then: Op<'_>, reason| {
        let ops = [space, &[then, EXEC_TRUE]].concat();
        cases.built(&of_ops(all_kept(), &ops), at(space.len()), reason);
    };
    refused(&[one], uid(6), Reason::NotMapped(6));
    refused(&[one], gid(5), Reason::NotMapped(5));
    refused(&[many], uid(10), Reason::NotMapped(10));
    refused(&[many], gid(101), Reason::NotMapped(101));
    refused(&[many], Op::Groups { list: &[9, 0, 0, 0, 99, 0, 0, 0] }, Reason::NotMapped(99));
    refused(&[many, nested], uid(0), Reason::NotMapped(0));
    refused(&[one], Op::Groups { list: &[] }, Reason::GroupsDenied);
    let denied = UserFlags::DENY_SETGROUPS;
    let denied = op(NamespaceOp::MappedUser { flags: denied, uids: &mapped, gids: &mapped });
    refused(&[denied], Op::Groups { list: &[0, 0, 0, 0] }, Reason::GroupsDenied);
    let good = of_ops(all_kept(), &[many, uid(100), EXEC_TRUE]).build_in_order();
    assert!(good.is_ok(), "a mapped id is taken: {good:?}");
}
