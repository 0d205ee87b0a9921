//! What every child gets, whatever its plan says: compiled, and put into a plan.
//!
//! It replaces what the plan asks for, unless that is a number that is stricter; and never what a narrower mandate forces:
//! where the two differ, the plan is refused. It must never leave a child with less of a narrower mandate's
//! confinement than that mandate says.

use super::bounds::{Limits, limits_of};
use super::cgroups::Group;
use super::compile::{Whose, Wrong};
use super::ids::{one, single};
use super::paths::{open_any_owner, plain};
use super::work::{By, Item, Variable, Work};
use super::{Grant, Refusal, environment, refusal};
use embryo::agent::mandate::{Filter, Forced, ForcedCgroup};
use embryo::{
    Architecture, CapSet, CgroupOp, ConfineOp, FilterFlags, Landlock, LandlockFlags, NamespaceOp,
    Namespaces, Op, OpCode, Policy, PrivilegeOp, limits,
};
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

/// What is forced.
#[derive(Debug)]
pub(crate) struct Force {
    pub(crate) no_new_privs: bool,
    pub(crate) filter: Option<Box<[u8]>>,
    pub(crate) landlock: Option<(Arc<OwnedFd>, LandlockFlags)>,
    pub(crate) cgroup: Option<(Arc<ForcedCgroup>, Group)>,
    pub(crate) uid: Option<u32>,
    pub(crate) gid: Option<u32>,
    /// Little-endian, as a plan has them; there as soon as there is a uid.
    pub(crate) groups: Option<Box<[u8]>>,
    pub(crate) limits: Limits,
    /// Whole strings, each with the length of its name.
    pub(crate) environment: Vec<(Box<[u8]>, usize)>,
    pub(crate) directory: Option<Place>,
    pub(crate) umask: Option<u32>,
    pub(crate) namespaces: Namespaces,
    pub(crate) bounding_set: Option<CapSet>,
    pub(crate) nice: Option<i32>,
    pub(crate) oom_score_adj: Option<i32>,
}

/// A directory: a handle in the agent's file, a path in a client's mandate, which the wider one judges.
#[derive(Debug)]
pub(crate) enum Place {
    Opened(Arc<OwnedFd>),
    Written(CString),
}

impl Force {
    pub(crate) fn new(source: &Forced, whose: Whose, wrong: &mut Wrong) -> Self {
        let filter = source.seccomp.as_ref().map(filter);
        let landlock = source.landlock.as_ref().map(|rules| landlock(rules, whose));
        let cgroup = source.cgroup.as_ref().map(|group| {
            let found = Group::open(&group.path, whose == Whose::File)?;
            Ok((Arc::new(group.clone()), found))
        });
        let groups = match (&source.groups, &source.uid) {
            (Some(groups), _) => Some(single(groups, whose.groups()).map(|ids| bytes(&ids))),
            (None, Some(_)) => Some(Ok(Box::default())),
            (None, None) => None,
        };
        let environment = source.environment.iter().map(|(name, value)| variable(name, value));
        let environment = environment.collect::<Result<Vec<_>, _>>();
        let directory = source.directory.as_ref().map(|path| directory(path, whose));
        let kinds =
            source.namespaces.iter().fold(Namespaces::empty(), |all, kind| all | kind.flag());
        if kinds.contains(Namespaces::USER) {
            wrong.0.push(refusal("forced.namespaces", "a user namespace cannot be forced"));
        }
        if source.umask.is_some_and(|mask| mask > 0o777) {
            wrong.0.push(refusal("forced.umask", "it is more than 0o777"));
        }
        if source.nice.is_some_and(|nice| !(-20..=19).contains(&nice)) {
            wrong.0.push(refusal("forced.nice", "it is not from -20 to 19"));
        }
        if source.oom_score_adj.is_some_and(|score| !(-1000..=1000).contains(&score)) {
            wrong.0.push(refusal("forced.oom-score-adj", "it is not from -1000 to 1000"));
        }
        let uid = source.uid.as_ref().map(|id| one(id, whose.users()));
        let gid = source.gid.as_ref().map(|id| one(id, whose.groups()));
        let confines = filter.is_some() || landlock.is_some();
        Self {
            no_new_privs: source.no_new_privs || confines,
            filter: filter.and_then(|part| wrong.take("forced.seccomp", part)),
            landlock: landlock.and_then(|part| wrong.take("forced.landlock", part)),
            cgroup: cgroup.and_then(|part| wrong.take("forced.cgroup", part)),
            uid: uid.and_then(|part| wrong.take("forced.uid", part)),
            gid: gid.and_then(|part| wrong.take("forced.gid", part)),
            groups: groups.and_then(|part| wrong.take("forced.groups", part)),
            limits: wrong.take("forced.limits", limits_of(&source.limits)).unwrap_or_default(),
            environment: wrong.take("forced.environment", environment).unwrap_or_default(),
            directory: directory.and_then(|part| wrong.take("forced.directory", part)),
            umask: source.umask,
            namespaces: kinds,
            bounding_set: source.bounding_set,
            nice: source.nice,
            oom_score_adj: source.oom_score_adj,
        }
    }

    /// What of a narrower mandate cannot hold beside this: the key, if any.
    pub(crate) fn excludes(&self, narrower: &Self) -> Option<&'static str> {
        let differ = |ours: Option<u32>, theirs: Option<u32>| matches!((ours, theirs), (Some(ours), Some(theirs)) if ours != theirs);
        let groups = matches!(
            (&self.groups, &narrower.groups), (Some(ours), Some(theirs)) if ours != theirs
        );
        let variables = narrower.environment.iter().any(|theirs| {
            self.environment.iter().any(|ours| name(ours) == name(theirs) && ours != theirs)
        });
        [
            ("forced.landlock", self.landlock.is_some() && narrower.landlock.is_some()),
            ("forced.cgroup", self.cgroup.is_some() && narrower.cgroup.is_some()),
            ("forced.uid", differ(self.uid, narrower.uid)),
            ("forced.gid", differ(self.gid, narrower.gid)),
            ("forced.groups", groups),
            ("forced.directory", self.directory.is_some() && narrower.directory.is_some()),
            ("forced.environment", variables),
        ]
        .into_iter()
        .find_map(|(key, conflict)| conflict.then_some(key))
    }

    /// Puts it into a plan.
    pub(super) fn apply<'a>(&'a self, work: &mut Work<'a>) -> Result<(), Refusal> {
        self.apply_place(work)?;
        self.apply_ids(work)?;
        self.apply_numbers(work);
        self.apply_environment(work)?;
        self.apply_confinement(work)
    }

    fn apply_place<'a>(&'a self, work: &mut Work<'a>) -> Result<(), Refusal> {
        if let Some((source, group)) = &self.cgroup {
            let same = |op: &Op<'_>| matches!(op, Op::Cgroup(CgroupOp::Join { .. }));
            keep_narrower(work, "forced.cgroup", same, |_| false)?;
            let grant = if source.own {
                work.cgroup = Some((Arc::clone(source), group.clone()));
                Grant::Cgroup
            } else {
                work.cgroup = None;
                Grant::Ours(Arc::clone(&group.handle))
            };
            let slot = work.slot(grant);
            work.force(Op::Cgroup(CgroupOp::Join { slot }), same);
        }
        if let Some(place) = &self.directory {
            if work.changes_root() {
                let why = "the plan has a root of its own, and the directory is not in it";
                return Err(refusal("forced.directory", why));
            }
            let same = |op: &Op<'_>| matches!(op, Op::ChdirPath { .. } | Op::ChdirSlot { .. });
            keep_narrower(work, "forced.directory", same, |_| false)?;
            let op = match place {
                Place::Opened(fd) => Op::ChdirSlot { slot: work.slot(Grant::Ours(fd.clone())) },
                Place::Written(path) => Op::ChdirPath { path },
            };
            work.force(op, same);
        }
        let unshared = self.namespaces & Namespaces::UNSHARED;
        if !unshared.is_empty() {
            let same = |op: &Op<'_>| matches!(op, Op::Namespace(NamespaceOp::Unshare { .. }));
            let there = work.first(|op| match op {
                Op::Namespace(NamespaceOp::Unshare { kinds }) => Some(*kinds),
                _ => None,
            });
            let kinds = unshared | there.unwrap_or(Namespaces::empty());
            work.force(Op::Namespace(NamespaceOp::Unshare { kinds }), same);
        }
        if self.namespaces.contains(Namespaces::PID) && work.find(OpCode::PidNamespace).is_none() {
            let same = |op: &Op<'_>| matches!(op, Op::Namespace(NamespaceOp::Pid { .. }));
            work.force(Op::Namespace(NamespaceOp::Pid { pid: 0 }), same);
        }
        Ok(())
    }

    fn apply_ids<'a>(&'a self, work: &mut Work<'a>) -> Result<(), Refusal> {
        let ids = self.uid.is_some() || self.gid.is_some() || self.groups.is_some();
        if ids && work.has_user_namespace() {
            // The client says which number the agent's own uid has in there.
            let why = "the plan has a user namespace of its own, in which ids are other ones";
            return Err(refusal("forced.uid", why));
        }
        if let Some(list) = self.groups.as_deref() {
            let same = |op: &Op<'_>| matches!(op, Op::Groups { .. });
            let op = Op::Groups { list };
            keep_narrower(work, "forced.groups", same, |there| *there == op)?;
            work.force(op, same);
        }
        if let Some(id) = self.gid {
            let same = |op: &Op<'_>| matches!(op, Op::Gid { .. });
            let op = Op::Gid { real: id, effective: id, saved: id };
            keep_narrower(work, "forced.gid", same, |there| *there == op)?;
            work.force(op, same);
        }
        if let Some(id) = self.uid {
            let same = |op: &Op<'_>| matches!(op, Op::Uid { .. });
            let op = Op::Uid { real: id, effective: id, saved: id };
            keep_narrower(work, "forced.uid", same, |there| *there == op)?;
            work.force(op, same);
        }
        if let Some(set) = self.bounding_set {
            let same = |op: &Op<'_>| matches!(op, Op::Privilege(PrivilegeOp::BoundingSet { .. }));
            let there = work.first(|op| match op {
                Op::Privilege(PrivilegeOp::BoundingSet { keep }) => Some(*keep),
                _ => None,
            });
            let keep = set.bits() & there.unwrap_or(u64::MAX);
            work.force(Op::Privilege(PrivilegeOp::BoundingSet { keep }), same);
        }
        Ok(())
    }

    /// A number that is there already, and stricter, stays: then what a narrower mandate forces and what a client asks
    /// for come to the same.
    fn apply_numbers<'a>(&'a self, work: &mut Work<'a>) {
        for (resource, value) in (0..limits::RESOURCES_MAX).zip(self.limits) {
            let Some(value) = value else { continue };
            let there = work.first(|op| match *op {
                Op::Rlimit { resource: other, soft, hard } if other == resource => {
                    Some((soft.min(value), hard.min(value)))
                }
                _ => None,
            });
            let (soft, hard) = there.unwrap_or((value, value));
            let same = |op: &Op<'_>| matches!(op, Op::Rlimit { resource: other, .. } if *other == resource);
            work.force(Op::Rlimit { resource, soft, hard }, same);
        }
        if let Some(mask) = self.umask {
            let number = |op: &Op<'_>| if let Op::Umask { mode } = *op { Some(mode) } else { None };
            let mode = mask | work.first(number).unwrap_or(0);
            work.force(Op::Umask { mode }, |op| number(op).is_some());
        }
        if let Some(nice) = self.nice {
            let number =
                |op: &Op<'_>| if let Op::Nice { value } = *op { Some(value) } else { None };
            let value = work.first(number).map_or(nice, |there| nice.max(there));
            work.force(Op::Nice { value }, |op| number(op).is_some());
        }
        if let Some(score) = self.oom_score_adj {
            let number =
                |op: &Op<'_>| if let Op::OomScoreAdj { value } = *op { Some(value) } else { None };
            let value = work.first(number).map_or(score, |there| score.max(there));
            work.force(Op::OomScoreAdj { value }, |op| number(op).is_some());
        }
    }

    fn apply_environment<'a>(&'a self, work: &mut Work<'a>) -> Result<(), Refusal> {
        for variable in &self.environment {
            let (string, _) = variable;
            let same =
                |there: &Variable<'_>| environment::name_of(there.string) == Some(name(variable));
            let narrower = |there: &&Variable<'_>| there.by == By::Mandate && same(there);
            if let Some(there) = work.envp.iter().find(narrower)
                && there.string != &**string
            {
                let name = String::from_utf8_lossy(name(variable)).into_owned();
                return Err(refusal(
                    "forced.environment",
                    format!("the wider mandate has another {name}"),
                ));
            }
            work.envp.retain(|there| !same(there));
            work.envp.push(Variable { string, by: By::Mandate });
        }
        Ok(())
    }

    /// Filters stand behind each other, and all of them hold. There is one ruleset of Landlock.
    fn apply_confinement<'a>(&'a self, work: &mut Work<'a>) -> Result<(), Refusal> {
        if self.no_new_privs {
            work.force(Op::NoNewPrivs, |op| matches!(op, Op::NoNewPrivs));
        }
        if let Some((ruleset, flags)) = &self.landlock {
            if work.ops.iter().any(|item| super::ops::is_landlock(&item.op)) {
                let why = "the mandate enforces a ruleset, and a plan can have only one";
                return Err(refusal("forced.landlock", why));
            }
            let slot = work.slot(Grant::Ours(Arc::clone(ruleset)));
            let op = Op::Confine(ConfineOp::Landlock { slot, flags: *flags });
            work.force(op, super::ops::is_landlock);
        }
        if let Some(program) = self.filter.as_deref() {
            let op = Op::Seccomp { flags: FilterFlags::empty(), program };
            work.insert(Item { op, by: By::Mandate, origin: u32::MAX });
        }
        Ok(())
    }
}

/// Refuses what would undo what a narrower mandate forces.
fn keep_narrower(
    work: &Work<'_>,
    rule: &str,
    kind: impl Fn(&Op<'_>) -> bool,
    same: impl Fn(&Op<'_>) -> bool,
) -> Result<(), Refusal> {
    let lost = |item: &Item<'_>| item.by == By::Mandate && kind(&item.op) && !same(&item.op);
    if work.ops.iter().any(lost) {
        return Err(refusal(rule, "a narrower mandate forces another"));
    }
    Ok(())
}

fn name((string, len): &(Box<[u8]>, usize)) -> &[u8] {
    string.get(..*len).unwrap_or_default()
}

fn bytes(ids: &[u32]) -> Box<[u8]> {
    ids.iter().flat_map(|id| id.to_le_bytes()).collect()
}

fn variable(name: &str, value: &str) -> Result<(Box<[u8]>, usize), String> {
    let string = format!("{name}={value}");
    if name.is_empty() || name.contains('=') || string.contains('\0') {
        return Err(format!("{name:?} is no name, or what it is set to has a NUL inside"));
    }
    Ok((string.into_bytes().into(), name.len()))
}

fn filter(filter: &Filter) -> Result<Box<[u8]>, String> {
    let policy = match filter {
        Filter::Profile(name) => {
            let known = Policy::PROFILES.join(", ");
            Policy::profile(name)
                .ok_or_else(|| format!("there is no profile {name:?}; there is {known}"))?
        }
        Filter::Policy(policy) => policy.clone(),
    };
    if policy.notifies() {
        return Err("it asks a listener, which would be the agent".into());
    }
    let compiled = policy.compile(Architecture::HERE).map_err(|error| error.to_string())?;
    Ok(compiled.program.into())
}

fn landlock(rules: &Landlock, whose: Whose) -> Result<(Arc<OwnedFd>, LandlockFlags), String> {
    let files = rules.files.as_deref().unwrap_or_default();
    if files.iter().any(|rule| rule.inside) {
        return Err("a rule for a path inside a new root would be looked up by each child".into());
    }
    if whose == Whose::Client && !files.is_empty() {
        return Err(
            "rules for paths are opened by the agent, and only its file may have them".into()
        );
    }
    match rules.ruleset() {
        Ok(Some(ruleset)) => Ok((Arc::new(ruleset.fd), ruleset.flags)),
        Ok(None) => Err("it restricts nothing here".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn directory(path: &Path, whose: Whose) -> Result<Place, String> {
    let bytes = path.as_os_str().as_bytes();
    if plain(bytes).is_none() {
        return Err(format!("{} is not an absolute path without . and ..", path.display()));
    }
    if whose == Whose::Client {
        return CString::new(bytes).map(Place::Written).map_err(|error| error.to_string());
    }
    open_any_owner(path).map(|fd| Place::Opened(Arc::new(fd)))
}
