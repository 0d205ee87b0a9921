//! The fields of the ops on namespaces.

use super::ArgText;
use crate::op::{IdRange, NamespaceOp, Namespaces, UserFlags};

pub(super) fn fields<'a>(op: &NamespaceOp<'a>, field: &mut dyn FnMut(&'static str, ArgText<'a>)) {
    use ArgText::{Number, Text, Word};
    let kinds = |kinds: Namespaces, field: &mut dyn FnMut(&'static str, ArgText<'a>)| {
        kinds.names().for_each(|name| field("kind", Word(name)));
    };
    match *op {
        NamespaceOp::Join { slot, kinds: joined } => {
            kinds(joined, field);
            field("slot", ArgText::Slot(slot));
        }
        NamespaceOp::User { uid, gid } | NamespaceOp::NestedUser { uid, gid } => {
            field("uid", Number(uid.into()));
            field("gid", Number(gid.into()));
        }
        NamespaceOp::MappedUser { flags, uids, gids } => {
            for (name, ranges) in [("uids", uids), ("gids", gids)] {
                IdRange::read(ranges).for_each(|range| field(name, ArgText::Range(range)));
            }
            let denied = flags.contains(UserFlags::DENY_SETGROUPS);
            field("setgroups", Word(if denied { "deny" } else { "allow" }));
        }
        NamespaceOp::Unshare { kinds: unshared } => kinds(unshared, field),
        NamespaceOp::ClockOffset { clock, seconds, nanoseconds } => {
            field("clock", Word(if clock == 1 { "monotonic" } else { "boottime" }));
            field("seconds", Number(seconds));
            field("nanoseconds", Number(nanoseconds.into()));
        }
        NamespaceOp::Pid { pid: 0 } | NamespaceOp::Loopback => {}
        NamespaceOp::Pid { pid } => field("pid", Number(pid.into())),
        NamespaceOp::HostName { name } | NamespaceOp::DomainName { name } => {
            field("name", Text(name));
        }
    }
}
