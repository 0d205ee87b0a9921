//! The rules of the ops on namespaces, and of what depends on them.

use super::Reason;
use crate::limits;
use crate::op::{IdRange, NamespaceOp, Namespaces, Op, UserFlags};

/// What the ids of a plan's user namespace are, where the plan says.
#[derive(Clone, Copy)]
struct Maps<'a> {
    /// Bytes of ranges.
    uids: Lines<'a>,
    gids: Lines<'a>,
    groups_denied: bool,
}

#[derive(Clone, Copy)]
enum Lines<'a> {
    One(u32),
    Many(&'a [u8]),
}

impl Lines<'_> {
    fn has(self, id: u32) -> bool {
        match self {
            Self::One(only) => id == only,
            Self::Many(ranges) => IdRange::read(ranges).any(|range| range.has(id)),
        }
    }
}

/// The namespaces of a plan so far.
#[derive(Default)]
pub(super) struct Spaces<'a> {
    /// A batch may rely on what an earlier one did.
    pub(super) batch: bool,
    joined: u32,
    unshared: u32,
    clock: u32,
    maps: Option<Maps<'a>>,
}

impl<'a> Spaces<'a> {
    /// Takes the next op in, if it may follow those before it.
    pub(super) fn admit(&mut self, op: &Op<'a>) -> Result<(), Reason> {
        match *op {
            Op::Namespace(op) => self.admit_own(&op),
            Op::Mount(_) => self.needs(Namespaces::MOUNT, self.unshared | self.joined, "mount"),
            Op::Uid { real, effective, saved } => self.mapped(true, &[real, effective, saved]),
            Op::Gid { real, effective, saved } => self.mapped(false, &[real, effective, saved]),
            Op::Groups { list } => {
                if self.maps.is_some_and(|maps| maps.groups_denied) {
                    return Err(Reason::GroupsDenied);
                }
                let mut ids = list.as_chunks::<4>().0.iter().map(|id| u32::from_le_bytes(*id));
                ids.try_for_each(|id| self.mapped(false, &[id]))
            }
            _ => Ok(()),
        }
    }

    fn admit_own(&mut self, op: &NamespaceOp<'a>) -> Result<(), Reason> {
        match *op {
            NamespaceOp::Join { kinds, .. } => {
                if self.joined & kinds.bits() != 0 {
                    return Err(Reason::Repeated);
                }
                self.joined |= kinds.bits();
                if kinds.contains(Namespaces::USER) {
                    self.maps = None;
                }
                Ok(())
            }
            NamespaceOp::User { uid, gid } | NamespaceOp::NestedUser { uid, gid } => {
                let (uids, gids) = (Lines::One(uid), Lines::One(gid));
                self.maps = Some(Maps { uids, gids, groups_denied: true });
                Ok(())
            }
            NamespaceOp::MappedUser { flags, uids, gids } => {
                let groups_denied = flags.contains(UserFlags::DENY_SETGROUPS);
                let (uids, gids) = (Lines::Many(uids), Lines::Many(gids));
                self.maps = Some(Maps { uids, gids, groups_denied });
                Ok(())
            }
            NamespaceOp::Unshare { kinds } => {
                self.unshared |= kinds.bits();
                Ok(())
            }
            NamespaceOp::ClockOffset { clock, .. } => {
                if self.clock >= clock {
                    return Err(Reason::Repeated);
                }
                self.clock = clock;
                // One that was joined has processes in it, and its clocks stay as they are.
                self.needs(Namespaces::TIME, self.unshared, "time")
            }
            NamespaceOp::Pid { .. } if self.joined & Namespaces::PID.bits() != 0 => {
                Err(Reason::Repeated)
            }
            NamespaceOp::Pid { .. } => Ok(()),
            NamespaceOp::HostName { .. } | NamespaceOp::DomainName { .. } => {
                self.needs(Namespaces::UTS, self.unshared | self.joined, "UTS")
            }
            NamespaceOp::Loopback => {
                self.needs(Namespaces::NET, self.unshared | self.joined, "network")
            }
        }
    }

    fn needs(&self, kind: Namespaces, own: u32, name: &'static str) -> Result<(), Reason> {
        if self.batch || own & kind.bits() != 0 {
            Ok(())
        } else {
            Err(Reason::NeedsNamespace(name))
        }
    }

    fn mapped(&self, users: bool, ids: &[u32]) -> Result<(), Reason> {
        let Some(maps) = self.maps else { return Ok(()) };
        let lines = if users { maps.uids } else { maps.gids };
        match ids.iter().find(|id| **id != u32::MAX && !lines.has(**id)) {
            Some(id) => Err(Reason::NotMapped(*id)),
            None => Ok(()),
        }
    }

    /// Whether the working directory is that of another mount namespace.
    pub(super) fn moved_root(&self) -> bool {
        self.joined & Namespaces::MOUNT.bits() != 0
    }
}

/// Numbers within their ranges.
pub(super) fn check_range(op: &NamespaceOp<'_>) -> Result<(), Reason> {
    let within = |good: bool, what| if good { Ok(()) } else { Err(Reason::OutOfRange(what)) };
    match *op {
        NamespaceOp::Join { kinds, .. } => within(!kinds.is_empty(), "the kind of namespace"),
        NamespaceOp::Unshare { kinds } => within(
            !kinds.is_empty() && Namespaces::UNSHARED.contains(kinds),
            "the kind of namespace",
        ),
        NamespaceOp::User { uid, gid } | NamespaceOp::NestedUser { uid, gid } => {
            within(uid != u32::MAX && gid != u32::MAX, "the id")
        }
        NamespaceOp::MappedUser { uids, gids, .. } => {
            check_map(uids)?;
            check_map(gids)
        }
        NamespaceOp::ClockOffset { clock, seconds, nanoseconds } => {
            within(clock == 1 || clock == 7, "the clock (1 is monotonic, 7 is boottime)")?;
            within(nanoseconds < 1_000_000_000, "the nanoseconds")?;
            // The kernel's own bound: half of what nanoseconds in 63 bits can say.
            within(seconds.unsigned_abs() <= i64::MAX as u64 / 1_000_000_000 / 2, "the seconds")
        }
        NamespaceOp::Pid { pid } => {
            within(pid != 1, "the pid (1 is the namespace's init)")?;
            within(pid <= limits::PID_MAX, "the pid")
        }
        NamespaceOp::HostName { .. } | NamespaceOp::DomainName { .. } | NamespaceOp::Loopback => {
            Ok(())
        }
    }
}

/// Lines that the kernel would take: each holds ids, none overlaps another on either side.
fn check_map(bytes: &[u8]) -> Result<(), Reason> {
    let ranges = IdRange::read(bytes);
    for (index, range) in ranges.clone().enumerate() {
        let ends = [range.inside, range.outside].map(|from| from.checked_add(range.count));
        if range.count == 0 || ends.contains(&None) {
            return Err(Reason::OutOfRange("a range of ids"));
        }
        let overlaps = ranges.clone().take(index).any(|before| {
            meet(before.inside, range.inside, [before.count, range.count])
                || meet(before.outside, range.outside, [before.count, range.count])
        });
        if overlaps {
            return Err(Reason::OverlappingIds);
        }
    }
    Ok(())
}

/// Whether two stretches have an id in common.
fn meet(a: u32, b: u32, [a_count, b_count]: [u32; 2]) -> bool {
    if a <= b { b - a < a_count } else { a - b < b_count }
}
