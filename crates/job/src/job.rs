//! What a child is to be, as data: one key for each thing that can be said.
//!
//! Keys are named as the options of `embryo run`, and an empty job is what `embryo run` grants. It
//! must never hold what is no part of a child: how long to wait for it, for example.

use crate::mounted::Mounted;
use crate::namespaces::Namespaces;
use crate::value::MemoryPolicy;
use crate::value::{
    Cpus, Ctty, Deadline, Groups, Ids, ImageSource, IoPriority, Limits, Nice, NullFd, OomScoreAdj,
    Persona, Pgid, Policy, Resource, Signal, SignalSet, Source, Span, StdioSource, Text, Umask,
    input, output,
};
use embryo::{Landlock, NewRoot, Privileges, Sandbox, TransientCgroup};
use schemars::JsonSchema;
use serde::de::{
    Error, IntoDeserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// A child process, described.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let job = embryo_job::Job::from_toml("program = 'echo'\nargs = ['hello']\nnice = 5")?;
/// let output = job.command()?.output()?;
/// assert_eq!(output.stdout, b"hello\n");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Job {
    /// The program. Without a slash it is looked up in the child's PATH.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<Text>,
    /// Its arguments, without the first, which is its name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<Text>,
    /// What it is told that it is called, instead of `program`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argv0: Option<Text>,
    /// Where it is looked up, instead of the child's PATH: directories separated by colons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Text>,
    /// Let /bin/sh run a file that the kernel cannot run.
    #[serde(skip_serializing_if = "is_false")]
    pub shell_fallback: bool,
    /// Execute this open file; `program` is only what it is told it is called.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec_fd: Option<ImageSource>,
    /// Leave the file of `exec-fd` open in the program.
    #[serde(skip_serializing_if = "is_false")]
    pub keep_image_open: bool,
    /// Load the ELF program into memory instead of executing it.
    #[serde(skip_serializing_if = "is_false")]
    pub load: bool,

    /// A sandbox: `true` for the strict one, or a table of what is different from it.
    #[serde(
        skip_serializing_if = "Option::is_none",
        deserialize_with = "sandbox",
        serialize_with = "lean"
    )]
    #[schemars(with = "Option<serde_json::Value>")]
    pub sandbox: Option<Sandbox>,

    /// Standard input.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "input")]
    pub stdin: Option<StdioSource>,
    /// Standard output.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "output")]
    pub stdout: Option<StdioSource>,
    /// Standard error.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "output")]
    pub stderr: Option<StdioSource>,
    /// Descriptors that are `/dev/null`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub null: Vec<NullFd>,

    /// Working directory. Otherwise the caller's, or `/` with a root directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chdir: Option<Text>,
    /// Working directory: the one that is the caller's descriptor of this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chdir_fd: Option<u32>,
    /// Root directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<Text>,
    /// Root directory: the one that is the caller's descriptor of this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_fd: Option<u32>,
    /// File mode creation mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub umask: Option<Umask>,

    /// A new session, without a terminal.
    #[serde(skip_serializing_if = "is_false")]
    pub setsid: bool,
    /// A process group of its own, or one to join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pgid: Option<Pgid>,
    /// A terminal that becomes the controlling one of a new session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ctty: Option<Ctty>,
    /// Make its process group the terminal's foreground one.
    #[serde(skip_serializing_if = "is_false")]
    pub foreground: bool,

    /// Nice value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nice: Option<Nice>,
    /// Scheduling policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sched: Option<Policy>,
    /// SCHED_DEADLINE with these times.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Deadline>,
    /// Its children start with the default policy.
    #[serde(skip_serializing_if = "is_false")]
    pub reset_on_fork: bool,
    /// The CPUs it may run on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpus: Option<Cpus>,
    /// I/O priority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ioprio: Option<IoPriority>,
    /// How readily the OOM killer takes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_score_adj: Option<OomScoreAdj>,
    /// How late its timers may be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timer_slack: Option<Span>,

    /// Become this user: uid, gid, groups, HOME and USER from the user database.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// User ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uid: Option<Ids>,
    /// Group ids.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gid: Option<Ids>,
    /// Supplementary groups.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Groups>,
    /// Keep the supplementary groups although the uid changes.
    #[serde(skip_serializing_if = "is_false")]
    pub keep_groups: bool,
    /// execve grants no privilege any more.
    #[serde(skip_serializing_if = "is_false")]
    pub no_new_privs: bool,
    /// Filter system calls by the program in this file; an array is several. It brings `no-new-privs` with
    /// it.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_more")]
    #[schemars(with = "OneOrMore<Source>")]
    pub seccomp: Vec<Source>,
    /// Filter system calls by this policy, or by the profile of this name; an array is several. It brings
    /// `no-new-privs` with it.
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "one_or_more")]
    #[schemars(with = "OneOrMore<FilterPolicy>")]
    pub seccomp_policy: Vec<FilterPolicy>,
    /// Turn address space randomisation off.
    #[serde(skip_serializing_if = "is_false")]
    pub no_aslr: bool,
    /// Execution domain and its flags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub personality: Option<Persona>,
    /// Orphaned descendants become its children.
    #[serde(skip_serializing_if = "is_false")]
    pub subreaper: bool,

    /// A core-scheduling cookie of its own.
    #[serde(skip_serializing_if = "is_false")]
    pub core_scheduling: bool,
    /// Where its memory comes from: a mode, with `:NODES` behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_policy: Option<MemoryPolicy>,
    /// It is killed when whoever started it ends, or lets go of it.
    #[serde(skip_serializing_if = "is_false")]
    pub die_with_handle: bool,
    /// The cgroup (version 2) that it starts in: a directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<Text>,
    /// The same: the directory that is the caller's descriptor of this number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_fd: Option<u32>,

    /// The signal it gets when whoever started it ends.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pdeathsig: Option<Signal>,
    /// Start with these signals blocked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal_mask: Option<SignalSet>,
    /// Start with the caller's signal mask.
    #[serde(skip_serializing_if = "is_false")]
    pub keep_signal_mask: bool,
    /// Start with these signals ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_signal: Option<SignalSet>,
    /// Signals that the caller ignores stay ignored.
    #[serde(skip_serializing_if = "is_false")]
    pub keep_ignored_signals: bool,
    /// With `keep-ignored-signals`: these have their default action all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default_signal: Option<SignalSet>,

    /// Descriptors by the number that they have in the child.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fd: BTreeMap<u32, Source>,
    /// Environment.
    #[serde(skip_serializing_if = "Env::is_default")]
    pub env: Env,
    /// Which namespaces are its own.
    #[serde(skip_serializing_if = "Namespaces::is_default")]
    pub namespaces: Namespaces,
    /// A root of its own, in which the mounts are.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lean_root")]
    #[schemars(with = "Option<std::collections::BTreeMap<String, u64>>")]
    pub new_root: Option<NewRoot>,
    /// What is mounted and made, in this order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mount: Vec<Mounted>,
    /// Capabilities, securebits, keyring and what binds its memory.
    #[serde(skip_serializing_if = "is_nothing", serialize_with = "lean")]
    #[schemars(with = "serde_json::Value")]
    pub privileges: Privileges,
    /// What it may do with files, ports and its surroundings.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lean")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub landlock: Option<Landlock>,
    /// A cgroup of its own, which ends with it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "lean")]
    #[schemars(with = "Option<serde_json::Value>")]
    pub transient_cgroup: Option<TransientCgroup>,
    /// Resource limits by name.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub rlimit: BTreeMap<Resource, Limits>,
}

/// Which variables the child has: PATH, HOME, TERM, LANG, LC_* and USER of the caller's unless said
/// otherwise.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub struct Env {
    /// None of the caller's but those in `keep`.
    #[serde(skip_serializing_if = "is_false")]
    pub clear: bool,
    /// All of the caller's.
    #[serde(skip_serializing_if = "is_false")]
    pub inherit: bool,
    /// These of the caller's too; a name that ends in `*` is all that begin so.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub keep: Vec<Text>,
    /// Not these of the caller's.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unset: Vec<Text>,
    /// These, with these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<Text, Text>,
}

impl Env {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

fn is_false(set: &bool) -> bool {
    !set
}

/// `true`, or a table.
fn sandbox<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Sandbox>, D::Error> {
    struct Either;

    impl<'de> Visitor<'de> for Either {
        type Value = Option<Sandbox>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("true, or a table of what is different from the strict sandbox")
        }

        fn visit_bool<E: Error>(self, wanted: bool) -> Result<Self::Value, E> {
            Ok(wanted.then(Sandbox::strict))
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            Sandbox::deserialize(MapAccessDeserializer::new(map)).map(Some)
        }
    }

    from.deserialize_any(Either)
}

/// Without what is nothing, which TOML has no word for.
fn lean<T: Serialize, S: Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
    fn strip(value: serde_json::Value) -> serde_json::Value {
        use serde_json::Value;
        match value {
            Value::Object(fields) => {
                let fields = fields.into_iter().filter(|(_, value)| !value.is_null());
                Value::Object(fields.map(|(name, value)| (name, strip(value))).collect())
            }
            Value::Array(items) => Value::Array(items.into_iter().map(strip).collect()),
            value => value,
        }
    }
    let value = serde_json::to_value(value).map_err(serde::ser::Error::custom)?;
    strip(value).serialize(to)
}

/// Of a new root what is not as it would be.
fn lean_root<S: Serializer>(root: &Option<NewRoot>, to: S) -> Result<S::Ok, S::Error> {
    let usual = NewRoot::default();
    let root = root.unwrap_or_default();
    let mode = (root.mode != usual.mode).then_some(u64::from(root.mode));
    let fields = [("mode", mode), ("size", root.size), ("inodes", root.inodes)];
    to.collect_map(fields.into_iter().filter_map(|(name, value)| Some((name, value?))))
}

fn is_nothing<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A policy of system calls, which has been compiled to see that it is one.
#[derive(Clone, Debug, PartialEq)]
pub enum FilterPolicy {
    /// A profile of embryo's, by its name.
    Profile(String),
    /// A policy.
    Policy(embryo::Policy),
}

impl FilterPolicy {
    /// The policy.
    #[must_use]
    pub fn policy(&self) -> Option<embryo::Policy> {
        match self {
            FilterPolicy::Profile(name) => embryo::Policy::profile(name),
            FilterPolicy::Policy(policy) => Some(policy.clone()),
        }
    }
}

impl fmt::Display for FilterPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FilterPolicy::Profile(name) => write!(f, "the profile {name}"),
            FilterPolicy::Policy(_) => f.write_str("the policy"),
        }
    }
}

impl Serialize for FilterPolicy {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            FilterPolicy::Profile(name) => to.serialize_str(name),
            FilterPolicy::Policy(policy) => policy.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for FilterPolicy {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = FilterPolicy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a profile, or a policy")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<FilterPolicy, E> {
                match embryo::Policy::profile(name) {
                    Some(_) => Ok(FilterPolicy::Profile(name.to_owned())),
                    None => Err(E::custom(format!("there is no profile {name:?}"))),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<FilterPolicy, A::Error> {
                let policy = embryo::Policy::deserialize(MapAccessDeserializer::new(map))?;
                Ok(FilterPolicy::Policy(policy))
            }
        }

        from.deserialize_any(Either)
    }
}

impl JsonSchema for FilterPolicy {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "FilterPolicy".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": ["string", "object"] })
    }
}

/// One, or an array of them.
fn one_or_more<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Vec<T>, D::Error> {
    struct Either<T>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Either<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("one, or an array of them")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
            T::deserialize(text.into_deserializer()).map(|one| vec![one])
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<Self::Value, E> {
            T::deserialize(number.into_deserializer()).map(|one| vec![one])
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<Self::Value, E> {
            T::deserialize(number.into_deserializer()).map(|one| vec![one])
        }

        fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            T::deserialize(MapAccessDeserializer::new(map)).map(|one| vec![one])
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
            let mut all = Vec::new();
            while let Some(one) = list.next_element()? {
                all.push(one);
            }
            Ok(all)
        }
    }

    from.deserialize_any(Either(std::marker::PhantomData))
}

/// What a schema says of that.
#[derive(JsonSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "only its schema is used")]
enum OneOrMore<T> {
    One(T),
    More(Vec<T>),
}
