//! One of each op on namespaces.

use embryo_plan::{NamespaceOp, Namespaces, OpCode, Slot, UserFlags};

/// The first of ids alone, as itself.
const MAP: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

pub(crate) fn sample(code: OpCode) -> NamespaceOp<'static> {
    let (uid, gid, name) = (0, 0, c"a");
    match code {
        OpCode::JoinNamespace => NamespaceOp::Join { slot: Slot(0), kinds: Namespaces::NET },
        OpCode::UserNamespace => NamespaceOp::User { uid, gid },
        OpCode::MappedUserNamespace => {
            NamespaceOp::MappedUser { flags: UserFlags::empty(), uids: MAP, gids: MAP }
        }
        OpCode::Unshare => NamespaceOp::Unshare { kinds: Namespaces::NET },
        OpCode::ClockOffset => NamespaceOp::ClockOffset { clock: 1, seconds: 1, nanoseconds: 1 },
        OpCode::PidNamespace => NamespaceOp::Pid { pid: 2 },
        OpCode::HostName => NamespaceOp::HostName { name },
        OpCode::DomainName => NamespaceOp::DomainName { name },
        OpCode::Loopback => NamespaceOp::Loopback,
        OpCode::NestedUserNamespace => NamespaceOp::NestedUser { uid, gid },
        _ => panic!("{} is no op on namespaces", code.name()),
    }
}
