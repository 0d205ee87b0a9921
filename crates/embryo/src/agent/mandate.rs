//! What the holder of one connection to an agent may ask for, as data.
//!
//! It says nothing of how it is enforced; that is the agent's. What a field does not mention is not allowed.

use crate::{CgroupLimits, Landlock, NamespaceKind, Policy};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// What the holder of one connection to an agent may ask for.
///
/// A mandate is named in the agent's file, or is sent to narrow one. In the file a list that is not
/// there is empty, and nothing of its kind is allowed. In a narrower mandate a list that is not there
/// adds no restriction: what the wider one allows, it allows.
///
/// A plan has to be allowed by the narrowest mandate first; what that forces is put into it; and the
/// result is judged by the next wider one, as if the narrower had asked for it itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Mandate {
    /// What it is for, for whoever reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Who may connect; of a named mandate alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peers: Option<Vec<Peer>>,
    /// What may run, with which arguments. The first rule that fits the image counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<ImageRule>>,
    /// The names of the ops that a plan may have, as in `docs/ops.md`; `put-fd` and those on signals have
    /// to be named, too. Starts need not be named: `images` speaks of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ops: Option<Vec<String>>,
    /// How far ops may go that take a number or name something.
    #[serde(skip_serializing_if = "Bounds::is_default")]
    pub bounds: Bounds,
    /// Environment strings that a plan may have, by their names; `*` stands for any part of one. Names that
    /// ld.so(8) ignores in secure execution have to be written out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<Vec<String>>,
    /// What every child gets, whatever its plan says.
    #[serde(skip_serializing_if = "Forced::is_default")]
    pub forced: Forced,
    /// How much of it.
    #[serde(skip_serializing_if = "Numbers::is_default")]
    pub numbers: Numbers,
    /// The same for each uid that connects, beside what is said for all together.
    #[serde(skip_serializing_if = "Numbers::is_default")]
    pub numbers_per_uid: Numbers,
    /// The signals that may be sent to its children, by name or number. SIGKILL by `kill` is always allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signals: Option<Vec<SignalName>>,
    /// How long children live.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lifetime: Option<Lifetime>,
    /// How many times in a row a connection may be narrowed from here; 0 is not at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub narrower: Option<u32>,
    /// Whether its holder is an operator, who sees everybody's children and may kill them. Never in a
    /// narrower mandate.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub operator: bool,
}

/// Who may connect: somebody of whom all of this is true.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Peer {
    /// Its effective uid is one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uids: Option<Vec<Ids>>,
    /// Its effective gid or one of its groups is one of these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gids: Option<Vec<Ids>>,
    /// It is in this cgroup, or in one below it: a path below the root of cgroup v2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<PathBuf>,
}

/// Ids: a number, `FIRST-LAST`, or the name of a user or group, which only the agent's file may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Ids {
    /// One.
    Number(u32),
    /// A range, or a name.
    Text(String),
}

/// A signal: `TERM`, `SIGTERM` or 15.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum SignalName {
    /// By number.
    Number(u32),
    /// By name.
    Text(String),
}

/// Something that may run. Exactly one of `path`, `under`, `sha256`, `verity`, `inode` and `registers` says what.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct ImageRule {
    /// The file at this absolute path, which has no symbolic link in it. The file and every directory on
    /// the way belong to root or to one of `owners`, and nobody else can write them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<PathBuf>,
    /// Any file at or below this absolute path, under the same conditions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub under: Option<PathBuf>,
    /// A granted file with this SHA-256, in hexadecimal. A sealed copy of it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// A granted file with this fs-verity digest, as `fsverity measure` prints it: `sha256:HEX`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verity: Option<String>,
    /// A granted file with this device and inode that only root or one of `owners` can write:
    /// `MAJOR:MINOR:INODE`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<String>,
    /// A start by registers in memory that the plan builds: any program at all.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub registers: bool,
    /// Uids other than root's whose files are trusted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub owners: Vec<Ids>,
    /// A `#!` script: its descriptor stays open for its interpreter, which is looked up by path and is
    /// not covered by the rule.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub script: bool,
    /// What its arguments have to be, `argv[0]` not counted; any if this is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub args: Option<Args>,
}

/// What arguments may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Args {
    /// The first arguments fit these, one by one. `*` stands for any characters, `?` for one.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<String>,
    /// Each further one fits one of these. Without any there are no further ones.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rest: Vec<String>,
    /// None fits one of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub never: Vec<String>,
    /// How many there may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
}

/// How far ops may go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Bounds {
    /// The uids that a child may have, real, effective and saved. One that the plan does not set is the
    /// agent's own, which has to be among these as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uids: Option<Vec<Ids>>,
    /// The gids and groups that a child may have.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gids: Option<Vec<Ids>>,
    /// Limits no higher than these, by name (`nofile`), in the units of setrlimit(2); others may not be
    /// set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<BTreeMap<String, u64>>,
    /// The lowest nice value; 0 if this is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// The lowest OOM score; 0 if this is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
    /// Cgroups that children may be put in, with those below them: directories of cgroup v2, which plans
    /// are granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroups: Option<Vec<PathBuf>>,
    /// Kinds of namespaces that a plan may make. It may join none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<NamespaceKind>>,
    /// Directories that may become the working directory, with those below them. Looked up without symbolic
    /// links, and not across mounts below them; they may be anybody's, in a directory that is trusted as
    /// that of an image is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directories: Option<Vec<PathBuf>>,
    /// Directories that may become the root, under the conditions of an image's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub roots: Option<Vec<PathBuf>>,
    /// What may be bound into a new root from outside, with what is below it, under the conditions of an
    /// image's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sources: Option<Vec<Source>>,
    /// Capabilities that a child may have or keep.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<crate::CapSet>,
}

/// Something that may be bound.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Source {
    /// The file or directory.
    pub path: PathBuf,
    /// Whether it may be written through the bind.
    #[serde(default)]
    pub writable: bool,
}

/// What every child gets, whatever its plan says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Forced {
    /// exec grants no privilege any more.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_new_privs: bool,
    /// A filter of system calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seccomp: Option<Filter>,
    /// A Landlock ruleset, which is made once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub landlock: Option<Landlock>,
    /// A cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<ForcedCgroup>,
    /// Its uid. The groups are those of `groups`, and none if that is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<Ids>,
    /// Its gid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<Ids>,
    /// Its supplementary groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<Ids>>,
    /// Limits by name, soft and hard the same. One that the plan sets lower stays.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, u64>,
    /// Environment strings. They replace those of the plan.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// The working directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<PathBuf>,
    /// The umask. That of the plan masks as well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<u32>,
    /// Namespaces that are new for each child; a user namespace is not among those that can be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<NamespaceKind>,
    /// All capabilities that it may ever have; the bounding set. What the plan leaves out stays out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bounding_set: Option<crate::CapSet>,
    /// Nice value. A higher one of the plan stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<i32>,
    /// OOM score. A higher one of the plan stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<i32>,
}

/// A filter of system calls.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Filter {
    /// A profile by name.
    Profile(String),
    /// A policy.
    Policy(Policy),
}

/// The cgroup of every child.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ForcedCgroup {
    /// A directory of cgroup v2.
    pub path: PathBuf,
    /// A new one in it for each child, which goes with the child and with everybody in it.
    #[serde(default)]
    pub own: bool,
    /// What is written to the files of a new one.
    #[serde(default)]
    pub limits: CgroupLimits,
}

/// How much.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct Numbers {
    /// Children at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub children: Option<u64>,
    /// Children started in any minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_minute: Option<u64>,
    /// Children in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Seconds that a child may live; it is killed then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    /// Bytes of a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan_bytes: Option<u64>,
    /// Grants of a plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grants: Option<u64>,
    /// Connections at once, narrower ones counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connections: Option<u64>,
}

/// How long children live.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lifetime {
    /// They are killed when the connection ends that asked for them.
    #[default]
    Connection,
    /// They are killed when the agent ends.
    Agent,
    /// They live on.
    LiveOn,
}

impl Bounds {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Forced {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Numbers {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
