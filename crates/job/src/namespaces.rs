//! Namespaces, in files.
//!
//! It must never make one that was not asked for.

use crate::callers::Callers;
use crate::error::Error;
use crate::fill::open;
use crate::value::{Source, Text};
use embryo::{Clock, Command, NamespaceKind, UserNamespace};
use schemars::JsonSchema;
use serde::de::{Error as _, IntoDeserializer, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A kind of namespace.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Namespace {
    /// Users, groups and capabilities.
    User,
    /// Process ids.
    Pid,
    /// Mounts.
    Mount,
    /// Network.
    Net,
    /// IPC.
    Ipc,
    /// Host and domain name.
    Uts,
    /// The root of cgroups.
    Cgroup,
    /// Clocks.
    Time,
}

impl From<Namespace> for NamespaceKind {
    fn from(kind: Namespace) -> Self {
        match kind {
            Namespace::User => NamespaceKind::User,
            Namespace::Pid => NamespaceKind::Pid,
            Namespace::Mount => NamespaceKind::Mount,
            Namespace::Net => NamespaceKind::Net,
            Namespace::Ipc => NamespaceKind::Ipc,
            Namespace::Uts => NamespaceKind::Uts,
            Namespace::Cgroup => NamespaceKind::Cgroup,
            Namespace::Time => NamespaceKind::Time,
        }
    }
}

/// Which namespaces are the child's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Namespaces {
    /// New ones of these kinds.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub unshare: BTreeSet<Namespace>,
    /// A new user namespace, and the ids in it: "same", "subids", { as = { uid, gid } } or
    /// { mapped = { uids, gids, deny-setgroups } }.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub user: Option<UserMap>,
    /// A further user namespace within it, made after the mounts, with these ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nested: Option<NestedUser>,
    /// The child's pid in its new pid namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tid: Option<u32>,
    /// Host name, in a new UTS namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<Text>,
    /// NIS domain name, in a new UTS namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub domainname: Option<Text>,
    /// The loopback device of a new network namespace comes up.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub loopback: bool,
    /// Seconds that are added to clocks, in a new time namespace.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub clock: BTreeMap<ClockName, i64>,
    /// Namespaces that it joins, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub join: Vec<Join>,
}

/// A namespace that is joined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Join {
    /// Its kind.
    pub kind: Namespace,
    /// A file of /proc/PID/ns, or a descriptor of one.
    pub from: Source,
}

/// Ids of a nested user namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct NestedUser {
    /// The uid in it.
    pub uid: u32,
    /// The gid in it.
    pub gid: u32,
}

/// A clock.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ClockName {
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// `CLOCK_BOOTTIME`.
    Boottime,
}

/// How the ids of a user namespace are mapped.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct UserMap(pub UserNamespace);

impl<'de> Deserialize<'de> for UserMap {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Map;

        impl<'de> Visitor<'de> for Map {
            type Value = UserMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"same\", \"subids\", { as = ... } or { mapped = ... }")
            }

            fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<UserMap, E> {
                UserNamespace::deserialize(word.into_deserializer()).map(UserMap)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UserMap, A::Error> {
                let ids = UserNamespace::deserialize(MapAccessDeserializer::new(map));
                ids.map(UserMap).map_err(A::Error::custom)
            }
        }

        from.deserialize_any(Map)
    }
}

impl Namespaces {
    /// Whether nothing is said.
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Joins the user namespace that this names.
    pub(crate) fn join_user(&mut self, from: Source) {
        self.join.push(Join { kind: Namespace::User, from });
    }

    /// What it names.
    pub(crate) fn sources(&self) -> impl Iterator<Item = &Source> {
        self.join.iter().map(|join| &join.from)
    }

    /// Says it of a command.
    pub(crate) fn fill(&self, callers: &Callers, command: &mut Command) -> Result<(), Error> {
        if let Some(UserMap(user)) = &self.user {
            command.user_namespace(user.clone());
        }
        command.unshare(self.unshare.iter().map(|kind| NamespaceKind::from(*kind)));
        if let Some(NestedUser { uid, gid }) = self.nested {
            command.nested_user_namespace(uid, gid);
        }
        if let Some(tid) = self.tid {
            command.set_tid(tid);
        }
        if let Some(name) = &self.hostname {
            command.hostname(name);
        }
        if let Some(name) = &self.domainname {
            command.domainname(name);
        }
        command.loopback(self.loopback);
        for (clock, seconds) in &self.clock {
            let clock = match clock {
                ClockName::Monotonic => Clock::Monotonic,
                ClockName::Boottime => Clock::Boottime,
            };
            command.clock_offset(clock, *seconds, 0);
        }
        for Join { kind, from } in &self.join {
            let file = open(from, callers).map_err(|error| error.at("namespaces"))?;
            command.join_namespace(file, (*kind).into());
        }
        Ok(())
    }
}
