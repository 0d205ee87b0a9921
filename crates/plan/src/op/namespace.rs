//! The ops on namespaces; see namespaces(7).
//!
//! All go through the seed: they change what a process of its own has, never what its creator has.

#[cfg(feature = "alloc")]
use super::Parts;
use super::{OpCode, Slot};
use crate::format::{DataRef, Entry};
use crate::view::Plan;
use bitflags::bitflags;
use core::ffi::CStr;

bitflags! {
    /// Kinds of namespaces, as the `CLONE_NEW*` bits of clone(2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Namespaces: u32 {
        /// Clocks: time_namespaces(7). Since Linux 5.6.
        const TIME = 0x80;
        /// Mounts: mount_namespaces(7).
        const MOUNT = 0x2_0000;
        /// The root of cgroups: cgroup_namespaces(7).
        const CGROUP = 0x200_0000;
        /// Host name and domain name: uts_namespaces(7).
        const UTS = 0x400_0000;
        /// System V IPC and POSIX message queues: ipc_namespaces(7).
        const IPC = 0x800_0000;
        /// Users, groups and capabilities: user_namespaces(7).
        const USER = 0x1000_0000;
        /// Process ids: pid_namespaces(7).
        const PID = 0x2000_0000;
        /// Network devices, addresses and ports: network_namespaces(7).
        const NET = 0x4000_0000;
    }

    /// How the ids of a user namespace are mapped.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct UserFlags: u16 {
        /// setgroups(2) is refused in it for good. Always so where the child writes its own map, which
        /// it may do on no other condition.
        const DENY_SETGROUPS = 1;
    }
}

impl Namespaces {
    /// What [`NamespaceOp::Unshare`] makes: the others have ops of their own.
    pub const UNSHARED: Self = Self::TIME
        .union(Self::MOUNT)
        .union(Self::CGROUP)
        .union(Self::UTS)
        .union(Self::IPC)
        .union(Self::NET);

    /// The names of these, as /proc/PID/ns has them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (Self::TIME, "time"),
            (Self::MOUNT, "mnt"),
            (Self::CGROUP, "cgroup"),
            (Self::UTS, "uts"),
            (Self::IPC, "ipc"),
            (Self::USER, "user"),
            (Self::PID, "pid"),
            (Self::NET, "net"),
        ]
        .into_iter()
        .filter(move |(bit, _)| self.contains(*bit))
        .map(|(_, name)| name)
    }
}

/// One line of an id map: so many ids from `inside` on are those from `outside` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub struct IdRange {
    /// The first id in the namespace.
    pub inside: u32,
    /// What it is in the namespace around it.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

impl IdRange {
    /// Bytes of one in a plan.
    pub const BYTES: usize = 12;

    /// As a plan holds it: three little-endian u32s.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let words = [self.inside, self.outside, self.count];
        for (to, from) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(words) {
            *to = from.to_le_bytes();
        }
        bytes
    }

    /// The ranges that data of a plan holds.
    pub fn read(bytes: &[u8]) -> impl Iterator<Item = Self> + Clone + '_ {
        bytes.as_chunks::<{ Self::BYTES }>().0.iter().map(|[a, b, c, d, e, f, g, h, i, j, k, l]| {
            Self {
                inside: u32::from_le_bytes([*a, *b, *c, *d]),
                outside: u32::from_le_bytes([*e, *f, *g, *h]),
                count: u32::from_le_bytes([*i, *j, *k, *l]),
            }
        })
    }

    /// Whether an id of the namespace is one of these.
    #[must_use]
    pub const fn has(&self, id: u32) -> bool {
        id >= self.inside && id.wrapping_sub(self.inside) < self.count
    }
}

/// A change of namespaces. Descriptions of namespaces are in the man pages named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NamespaceOp<'a> {
    /// Joins namespaces by a granted descriptor; setns(2). One of a namespace file (of one kind), or,
    /// since Linux 5.8, a pidfd: then these kinds of that process's.
    Join {
        /// The descriptor.
        slot: Slot,
        /// Which kinds.
        kinds: Namespaces,
    },
    /// A new user namespace in which the caller's effective ids alone are mapped, by the child
    /// itself.
    User {
        /// What the caller's uid is in it.
        uid: u32,
        /// What the caller's gid is in it.
        gid: u32,
    },
    /// A new user namespace whose map the owner of the seed writes, itself or by newuidmap(1) and
    /// newgidmap(1), before the next op.
    MappedUser {
        /// Whether setgroups(2) is refused in it.
        flags: UserFlags,
        /// [`IdRange`]s of uids.
        uids: &'a [u8],
        /// [`IdRange`]s of gids.
        gids: &'a [u8],
    },
    /// New namespaces of these kinds, of [`Namespaces::UNSHARED`]; unshare(2).
    Unshare {
        /// Which kinds.
        kinds: Namespaces,
    },
    /// What is added to a clock in the new time namespace; time_namespaces(7).
    ClockOffset {
        /// 1 is `CLOCK_MONOTONIC`, 7 is `CLOCK_BOOTTIME`.
        clock: u32,
        /// Seconds.
        seconds: i64,
        /// Nanoseconds on top of that.
        nanoseconds: u32,
    },
    /// A new pid namespace, with an init in it that reaps, forwards signals and ends with the
    /// image.
    Pid {
        /// The image's pid in it; 0 leaves the choice to the kernel (which chooses 2).
        pid: u32,
    },
    /// Host name; sethostname(2). In a namespace of its own only.
    HostName {
        /// The name.
        name: &'a CStr,
    },
    /// NIS domain name; setdomainname(2). In a namespace of its own only.
    DomainName {
        /// The name.
        name: &'a CStr,
    },
    /// The loopback device comes up; netdevice(7) `SIOCSIFFLAGS`. In a namespace of its own only.
    Loopback,
    /// A user namespace within that of the mounts, which cannot be undone from it; the child's ids
    /// alone are mapped, by itself.
    NestedUser {
        /// What its uid is in it.
        uid: u32,
        /// What its gid is in it.
        gid: u32,
    },
}

impl<'a> NamespaceOp<'a> {
    /// Reads an entry, if it is one of these.
    pub(crate) fn decode(code: OpCode, entry: &Entry, plan: &Plan<'a>) -> Option<Self> {
        let slot = Slot(entry.slot.get());
        let [a, b, c, _] = entry.args.map(|arg| arg.get());
        let kinds = Namespaces::from_bits(a as u32);
        let bytes = |at: DataRef| plan.data(at);
        let [first, second] = entry.data;
        Some(match code {
            OpCode::JoinNamespace => Self::Join { slot, kinds: kinds? },
            OpCode::UserNamespace => Self::User { uid: a as u32, gid: b as u32 },
            OpCode::MappedUserNamespace => Self::MappedUser {
                flags: UserFlags::from_bits_truncate(entry.flags.get()),
                uids: bytes(first)?,
                gids: bytes(second)?,
            },
            OpCode::Unshare => Self::Unshare { kinds: kinds? },
            OpCode::ClockOffset => {
                Self::ClockOffset { clock: a as u32, seconds: b as i64, nanoseconds: c as u32 }
            }
            OpCode::PidNamespace => Self::Pid { pid: a as u32 },
            OpCode::HostName => Self::HostName { name: plan.c_str(first)? },
            OpCode::DomainName => Self::DomainName { name: plan.c_str(first)? },
            OpCode::Loopback => Self::Loopback,
            OpCode::NestedUserNamespace => Self::NestedUser { uid: a as u32, gid: b as u32 },
            _ => return None,
        })
    }

    /// The number of this op.
    pub(crate) const fn code(&self) -> OpCode {
        match self {
            Self::Join { .. } => OpCode::JoinNamespace,
            Self::User { .. } => OpCode::UserNamespace,
            Self::MappedUser { .. } => OpCode::MappedUserNamespace,
            Self::Unshare { .. } => OpCode::Unshare,
            Self::ClockOffset { .. } => OpCode::ClockOffset,
            Self::Pid { .. } => OpCode::PidNamespace,
            Self::HostName { .. } => OpCode::HostName,
            Self::DomainName { .. } => OpCode::DomainName,
            Self::Loopback => OpCode::Loopback,
            Self::NestedUser { .. } => OpCode::NestedUserNamespace,
        }
    }

    /// Takes the op apart into what an entry holds.
    #[cfg(feature = "alloc")]
    pub(crate) fn parts(&self) -> Parts<'a> {
        let none = Parts::default();
        match *self {
            Self::Loopback => none,
            Self::Join { slot, kinds } => {
                Parts { slot: Some(slot), args: [kinds.bits().into(), 0, 0, 0], ..none }
            }
            Self::User { uid, gid } | Self::NestedUser { uid, gid } => {
                Parts { args: [uid.into(), gid.into(), 0, 0], ..none }
            }
            Self::MappedUser { flags, uids, gids } => {
                Parts { flags: flags.bits(), data: [Some(uids), Some(gids)], ..none }
            }
            Self::Unshare { kinds } => Parts { args: [kinds.bits().into(), 0, 0, 0], ..none },
            Self::ClockOffset { clock, seconds, nanoseconds } => {
                Parts { args: [clock.into(), seconds as u64, nanoseconds.into(), 0], ..none }
            }
            Self::Pid { pid } => Parts { args: [pid.into(), 0, 0, 0], ..none },
            Self::HostName { name } | Self::DomainName { name } => {
                Parts { data: [Some(name.to_bytes_with_nul()), None], ..none }
            }
        }
    }
}
