//! Ops on namespaces at random, such as may stand in one plan.

use super::{Given, plain, slot};
use embryo_plan::{IdRange, NamespaceOp, Namespaces, Op, UserFlags};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::select;
use std::ffi::CString;

/// An op that owns its data.
#[derive(Clone, Debug)]
pub(crate) enum Spaced {
    Mapped(u16, Vec<u8>, Vec<u8>),
    Host(bool, CString),
}

impl Spaced {
    pub(crate) fn op(&self) -> Op<'_> {
        Op::Namespace(match self {
            Self::Mapped(flags, uids, gids) => {
                NamespaceOp::MappedUser { flags: UserFlags::from_bits_retain(*flags), uids, gids }
            }
            Self::Host(true, name) => NamespaceOp::HostName { name },
            Self::Host(false, name) => NamespaceOp::DomainName { name },
        })
    }
}

/// Every id alike, so that no other op can name one that is not there.
fn every_id() -> Vec<u8> {
    IdRange { inside: 0, outside: 0, count: u32::MAX }.to_bytes().to_vec()
}

fn name() -> impl Strategy<Value = CString> {
    "[a-z]{1,64}".prop_map(|name| CString::new(name).expect("no NUL"))
}

/// Takes those of one id out again where ids are named, or there is one already.
pub(crate) fn settle(ops: &mut Vec<Given>) {
    let names = |op: &Given| {
        let op = op.op();
        matches!(op, Op::Uid { .. } | Op::Gid { .. } | Op::Groups { .. })
    };
    let named = ops.iter().any(names);
    let mapped = ops.iter().any(|op| matches!(op, Given::Namespace(Spaced::Mapped(..))));
    ops.retain(|op| match op.op() {
        Op::Namespace(NamespaceOp::User { .. }) => !named && !mapped,
        Op::Namespace(NamespaceOp::NestedUser { .. }) => !named,
        _ => true,
    });
}

/// Some of each; [`settle`] is to be called when all else is there.
pub(crate) fn namespaces() -> impl Strategy<Value = Vec<Given>> {
    let op = |op: NamespaceOp<'static>| plain(Just(Op::Namespace(op)));
    let join = plain(
        (slot(), select(vec![Namespaces::NET, Namespaces::IPC]))
            .prop_map(|(slot, kinds)| Op::Namespace(NamespaceOp::Join { slot, kinds })),
    );
    let users = Just(Given::Namespace(Spaced::Mapped(0, every_id(), every_id())));
    let pid = plain(
        select(vec![0u32, 2, 1 << 22]).prop_map(|pid| Op::Namespace(NamespaceOp::Pid { pid })),
    );
    let clocks = (-4_611_686_018i64..=4_611_686_018, 0u32..1_000_000_000);
    let id = |uid: u32| op(NamespaceOp::User { uid, gid: 0 });
    let nested = |gid: u32| op(NamespaceOp::NestedUser { uid: 0, gid });
    let alone = (of(id(1000)), of(nested(1000)));
    let own = (of(clocks), of(name()), of(name()), any::<bool>());
    let cgroup = op(NamespaceOp::Unshare { kinds: Namespaces::CGROUP });
    (of(join), of(users), of(own), of(pid), alone, of(cgroup)).prop_map(
        |(join, users, own, pid, (user, nested), cgroup)| {
            let one = join.into_iter().chain(users).chain(pid);
            let mut ops: Vec<Given> = one.chain(user).chain(nested).collect();
            let Some((clock, host, domain, loopback)) = own else {
                ops.extend(cgroup);
                return ops;
            };
            let mut add = |op| ops.push(Given::Plain(Op::Namespace(op)));
            add(NamespaceOp::Unshare { kinds: Namespaces::UNSHARED });
            if let Some((seconds, nanoseconds)) = clock {
                add(NamespaceOp::ClockOffset { clock: 1, seconds, nanoseconds });
                add(NamespaceOp::ClockOffset { clock: 7, seconds: -seconds, nanoseconds });
            }
            if loopback {
                add(NamespaceOp::Loopback);
            }
            ops.extend(host.map(|name| Given::Namespace(Spaced::Host(true, name))));
            ops.extend(domain.map(|name| Given::Namespace(Spaced::Host(false, name))));
            ops
        },
    )
}
