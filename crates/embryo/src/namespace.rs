//! Namespaces as a user describes them: plain data. What is made of it is in `command/namespace.rs`.

use crate::error::Error;
use embryo_plan::{IdRange, Namespaces};
use rustix::io::Errno;

#[cfg(feature = "serde")]
use serde::{Deserialize, Serialize};

/// A kind of namespace: namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "kebab-case"))]
pub enum NamespaceKind {
    /// Users, groups and capabilities.
    User,
    /// Process ids.
    Pid,
    /// Mounts.
    Mount,
    /// Network devices, addresses and ports.
    Net,
    /// System V IPC and POSIX message queues.
    Ipc,
    /// Host name and domain name.
    Uts,
    /// The root of cgroups.
    Cgroup,
    /// Clocks. Since Linux 5.6.
    Time,
}

impl NamespaceKind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::Pid,
        Self::Mount,
        Self::Net,
        Self::Ipc,
        Self::Uts,
        Self::Cgroup,
        Self::Time,
    ];

    /// Its bit.
    #[must_use]
    pub const fn flag(self) -> Namespaces {
        match self {
            Self::User => Namespaces::USER,
            Self::Pid => Namespaces::PID,
            Self::Mount => Namespaces::MOUNT,
            Self::Net => Namespaces::NET,
            Self::Ipc => Namespaces::IPC,
            Self::Uts => Namespaces::UTS,
            Self::Cgroup => Namespaces::CGROUP,
            Self::Time => Namespaces::TIME,
        }
    }

    /// Its file in /proc/PID/ns.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Pid => "pid",
            Self::Mount => "mnt",
            Self::Net => "net",
            Self::Ipc => "ipc",
            Self::Uts => "uts",
            Self::Cgroup => "cgroup",
            Self::Time => "time",
        }
    }
}

/// A clock that a time namespace can move: time_namespaces(7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(Serialize, Deserialize), serde(rename_all = "kebab-case"))]
pub enum Clock {
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// `CLOCK_BOOTTIME`.
    Boottime,
}

impl Clock {
    pub(crate) const fn number(self) -> u32 {
        match self {
            Self::Monotonic => 1,
            Self::Boottime => 7,
        }
    }
}

/// A new user namespace, by how its ids are mapped: user_namespaces(7).
///
/// The child has every capability in it until it executes its image; afterwards, as ever, if its uid
/// in it is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(Serialize, Deserialize),
    serde(rename_all = "kebab-case", deny_unknown_fields)
)]
#[non_exhaustive]
pub enum UserNamespace {
    /// The caller alone, under the ids it has. Anybody may, where user namespaces are allowed at all;
    /// setgroups(2) is refused in it.
    #[default]
    Same,
    /// The caller alone, under these ids. As above.
    As {
        /// Its uid in the namespace.
        uid: u32,
        /// Its gid in the namespace.
        gid: u32,
    },
    /// The caller is root, and the ids from 1 on are those that /etc/subuid and /etc/subgid give it.
    /// It takes newuidmap(1) and newgidmap(1), or capabilities.
    Subids,
    /// These ranges. As above; with CAP_SETUID and CAP_SETGID any.
    Mapped {
        /// Of uids; at most 340, none overlapping another.
        uids: Vec<IdRange>,
        /// Of gids.
        gids: Vec<IdRange>,
        /// Whether setgroups(2) is refused in it.
        deny_setgroups: bool,
    },
}

impl UserNamespace {
    /// The caller alone, as root.
    pub const ROOT: Self = Self::As { uid: 0, gid: 0 };

    /// Whether groups can be set in it.
    pub(crate) fn sets_groups(&self) -> bool {
        matches!(self, Self::Subids | Self::Mapped { deny_setgroups: false, .. })
    }
}

/// The maps that [`UserNamespace::Subids`] stands for.
pub(crate) fn subids() -> Result<[Vec<IdRange>; 2], Error> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let name = user_name(uid);
    let map = |file, own| -> Result<Vec<IdRange>, Error> {
        let given = read_subids(file, name.as_deref(), uid)?;
        let mut inside = 1u32;
        let mut map = vec![IdRange { inside: 0, outside: own, count: 1 }];
        for (outside, count) in given {
            map.push(IdRange { inside, outside, count });
            inside = inside.saturating_add(count);
        }
        Ok(map)
    };
    Ok([map("/etc/subuid", uid)?, map("/etc/subgid", gid)?])
}

/// What a file of subordinate ids gives a user: subuid(5).
fn read_subids(file: &'static str, name: Option<&str>, uid: u32) -> Result<Vec<(u32, u32)>, Error> {
    let refused = |why: &str| {
        let user = name.map_or_else(|| uid.to_string(), str::to_owned);
        let text = format!("{file} {why} to {user}: add a line \"{user}:100000:65536\"");
        Error::io("finding subordinate ids")(std::io::Error::new(
            std::io::ErrorKind::NotFound,
            text,
        ))
    };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.raw_os_error() == Some(Errno::NOENT.raw_os_error()) => {
            return Err(refused("does not exist, so it gives no ids"));
        }
        Err(error) => return Err(Error::io("reading subordinate ids")(error)),
    };
    let uid = uid.to_string();
    let given: Vec<_> = text
        .lines()
        .filter_map(|line| {
            let mut parts = line.split(':');
            let whose = parts.next()?;
            (Some(whose) == name || whose == uid).then_some(())?;
            let from: u32 = parts.next()?.parse().ok()?;
            let count: u32 = parts.next()?.trim().parse().ok()?;
            (count > 0 && from.checked_add(count).is_some()).then_some((from, count))
        })
        .collect();
    if given.is_empty() { Err(refused("gives no ids")) } else { Ok(given) }
}

/// The name of a user, in /etc/passwd.
fn user_name(uid: u32) -> Option<String> {
    let text = std::fs::read_to_string("/etc/passwd").ok()?;
    let uid = uid.to_string();
    text.lines().find_map(|line| {
        let mut parts = line.split(':');
        let name = parts.next()?;
        (parts.nth(1)? == uid).then(|| name.to_owned())
    })
}
