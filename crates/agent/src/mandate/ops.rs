//! Which ops a plan may have, and how far each may go.
//!
//! An op has to be named, unless it is one that the agent puts in itself or the start. Some are refused whatever is
//! named: they are about the agent instead of the child, or need something looked up or done for them with the agent's
//! authority. It must never let an op through that it does not know.

use super::bounds::Bounds;
use super::paths::{Kind, PathRule, plain};
use super::work::{By, Item, UMASK, Work};
use super::{Compiled, Grant, Refusal, refusal};
use crate::files::trusted::{Found, Reason, Untrusted};
use embryo::{
    CapSet, CgroupOp, ConfineOp, FilterFlags, MountFlags, MountOp, NamespaceOp, Namespaces, Op,
    OpCode, PrivilegeOp, resource_name,
};
use rustix::io::Errno;
use std::ffi::CStr;
use std::path::Path;

/// The ops that a mandate names.
#[derive(Debug)]
pub(crate) struct Named(Box<[OpCode]>);

/// What is never allowed, whatever a mandate names, and why.
pub(crate) const NEVER: &[(OpCode, &str)] = &[
    (OpCode::DeathSignal, "the parent whose end it waits for is the agent"),
    (OpCode::Tie, "who ends a child is told by the mandate's lifetime"),
    (OpCode::JoinNamespace, "a child joins no namespace"),
    (OpCode::MappedUserNamespace, "the agent would have to write its maps"),
    (OpCode::BindMapped, "it has a path, and no form that takes a handle for it"),
    (OpCode::Overlay, "it has paths, and no form that takes handles for them"),
    (OpCode::LandlockPath, "it has a path, and no form that takes a handle for it"),
];

impl Named {
    /// # Errors
    /// A name that is no op's, or one that is never allowed.
    pub(crate) fn new(names: &[String]) -> Result<Self, String> {
        let mut codes = names.iter().map(|name| code(name)).collect::<Result<Vec<_>, _>>()?;
        codes.sort_unstable();
        Ok(Self(codes.into()))
    }

    fn has(&self, code: OpCode) -> bool {
        self.0.binary_search(&code).is_ok()
    }
}

fn code(name: &str) -> Result<OpCode, String> {
    let known = OpCode::ALL.iter().copied().find(|code| code.name() == name);
    let code = known.ok_or_else(|| format!("there is no op {name:?}"))?;
    match NEVER.iter().find(|(never, _)| *never == code) {
        Some((_, why)) => Err(format!("{name} cannot be allowed: {why}")),
        None => Ok(code),
    }
}

/// What no mandate allows.
pub(super) fn never(work: &Work<'_>) -> Result<(), Refusal> {
    let by_registers = matches!(work.ops.last(), Some(Item { op: Op::StartRegs { .. }, .. }));
    for item in &work.ops {
        let code = item.op.code();
        let why = match item.op {
            Op::SetPgid { pgid } if pgid != 0 => "the process group is another's",
            Op::Sched { policy, .. } if !matches!(policy, 0 | 3 | 5) => {
                "a child has no real-time policy"
            }
            Op::IoPriority { value } if value >> 13 == 1 => "a child has no real-time priority",
            Op::Seccomp { flags, .. } if flags.contains(FilterFlags::LISTENER) => {
                "its listener would be the agent's"
            }
            Op::Mount(MountOp::Attributes { clear, .. }) if !clear.is_empty() => {
                "attributes of a mount are not taken away"
            }
            _ if is_on_memory(code) && !by_registers => "it is for a start by registers alone",
            _ => match NEVER.iter().find(|(never, _)| *never == code) {
                Some((_, why)) => why,
                None => continue,
            },
        };
        return Err(refusal("ops", format!("{} is never allowed: {why}", code.name())));
    }
    Ok(())
}

fn is_on_memory(code: OpCode) -> bool {
    (0x0701..=0x0710).contains(&(code as u16)) || code == OpCode::Thread
}

/// Whether an op is what the agent puts into a plan that does not have it, or takes nothing but privilege. Naming it
/// would change nothing.
fn goes_without_saying(op: &Op<'_>, work: &Work<'_>) -> bool {
    match *op {
        Op::SetSid | Op::NoNewPrivs => true,
        Op::Umask { mode } => mode == UMASK,
        Op::ChdirPath { path } => path == c"/",
        Op::Groups { list } => list.is_empty() && work.find(OpCode::Uid).is_some(),
        Op::Privilege(PrivilegeOp::Ambient { set }) => set == 0,
        _ => op.is_start(),
    }
}

/// Judges all ops by one mandate, and puts handles in place of paths where it is the named one.
pub(super) fn check(level: &Compiled, work: &mut Work<'_>) -> Result<(), Refusal> {
    let mut index = 0;
    while let Some(item) = work.ops.get(index).copied() {
        if item.by == By::Agent || goes_without_saying(&item.op, work) {
            index += 1;
            continue;
        }
        let code = item.op.code();
        if !level.ops.as_ref().is_none_or(|named| named.has(code)) {
            return Err(refusal("ops", format!("{} does not name {}", level.name, code.name())));
        }
        match bound(&level.bounds, work, &item.op)? {
            Becomes::Itself => {}
            Becomes::Nothing => {
                work.ops.remove(index);
                continue;
            }
            Becomes::Handle(found) => {
                let slot = work.ours(found.handle);
                let op = match item.op {
                    Op::ChdirPath { .. } => Op::ChdirSlot { slot },
                    Op::ChrootPath { .. } => Op::ChrootSlot { slot },
                    Op::Mount(MountOp::Bind { target, flags, .. }) => {
                        let flags = flags - MountFlags::OPTIONAL;
                        Op::Mount(MountOp::BindSlot { slot, target, flags })
                    }
                    other => other,
                };
                if let Some(item) = work.ops.get_mut(index) {
                    item.op = op;
                }
            }
        }
        index += 1;
    }
    Ok(())
}

/// What becomes of an op that is allowed.
enum Becomes {
    Itself,
    Handle(Found),
    Nothing,
}

fn bound(bounds: &Bounds, work: &Work<'_>, op: &Op<'_>) -> Result<Becomes, Refusal> {
    match *op {
        Op::Rlimit { resource, hard, .. } => limit(bounds, resource, hard)?,
        Op::Nice { value } => at_least("bounds.nice", bounds.nice, value)?,
        Op::OomScoreAdj { value } => at_least("bounds.oom-score-adj", bounds.oom_score_adj, value)?,
        Op::Cgroup(CgroupOp::Join { slot }) => cgroup(bounds, work, slot)?,
        Op::Namespace(op) => namespace(bounds, &op)?,
        Op::Privilege(op) => privilege(bounds, &op)?,
        // In a root of its own the child looks it up, as whom it has become.
        Op::ChdirPath { .. } if work.changes_root() => {}
        Op::ChdirPath { path } => {
            return path_op("bounds.directories", bounds.directories.as_deref(), path);
        }
        Op::ChrootPath { path } => return path_op("bounds.roots", bounds.roots.as_deref(), path),
        Op::Mount(MountOp::Bind { source, flags, .. }) => return bind(bounds, source, flags),
        // Known to be never allowed, or bound to nothing but their names.
        _ => {}
    }
    Ok(Becomes::Itself)
}

fn limit(bounds: &Bounds, resource: u32, hard: u64) -> Result<(), Refusal> {
    let Some(limits) = &bounds.limits else { return Ok(()) };
    let name = resource_name(resource).unwrap_or("?");
    match limits.get(resource as usize).copied().flatten() {
        Some(most) if hard <= most => Ok(()),
        Some(most) => {
            Err(refusal("bounds.limits", format!("{name} is {hard}, and at most {most}")))
        }
        None => Err(refusal("bounds.limits", format!("{name} is not listed"))),
    }
}

fn at_least(rule: &str, least: Option<i32>, value: i32) -> Result<(), Refusal> {
    match least {
        Some(least) if value < least => {
            Err(refusal(rule, format!("it is {value}, and at least {least}")))
        }
        _ => Ok(()),
    }
}

fn cgroup(bounds: &Bounds, work: &Work<'_>, slot: embryo::Slot) -> Result<(), Refusal> {
    let Some(groups) = &bounds.cgroups else { return Ok(()) };
    use std::os::fd::AsFd;
    let own = work.cgroup.as_ref().map(|(_, group)| group.handle.as_fd());
    let is_own = matches!(work.slots.get(slot.0 as usize), Some(Grant::Cgroup));
    let directory = if is_own { own } else { work.fd(slot) };
    match directory {
        Some(fd) if groups.iter().any(|group| group.holds(fd)) => Ok(()),
        _ => {
            Err(refusal("bounds.cgroups", "the directory is at or below no cgroup that is listed"))
        }
    }
}

fn namespace(bounds: &Bounds, op: &NamespaceOp<'_>) -> Result<(), Refusal> {
    let Some(allowed) = bounds.namespaces else { return Ok(()) };
    let kinds = match *op {
        NamespaceOp::Unshare { kinds } => kinds,
        NamespaceOp::Pid { .. } => Namespaces::PID,
        NamespaceOp::User { .. } | NamespaceOp::NestedUser { .. } => Namespaces::USER,
        // They need one of those, or are never allowed.
        _ => Namespaces::empty(),
    };
    let others: Vec<&str> = (kinds - allowed).names().collect();
    if others.is_empty() {
        return Ok(());
    }
    Err(refusal("bounds.namespaces", format!("{} is not listed", others.join(", "))))
}

/// A set is never more than is allowed; what a child may have in the end stands in `credentials.rs`.
fn privilege(bounds: &Bounds, op: &PrivilegeOp<'_>) -> Result<(), Refusal> {
    let Some(allowed) = bounds.capabilities else { return Ok(()) };
    let wanted = match *op {
        PrivilegeOp::Capabilities { effective, permitted, inheritable, .. } => {
            effective | permitted | inheritable
        }
        PrivilegeOp::Ambient { set } => set,
        _ => 0,
    };
    let others = CapSet::from_bits(wanted & !allowed.bits());
    if others.is_empty() {
        return Ok(());
    }
    Err(refusal("bounds.capabilities", format!("{others} is not listed")))
}

fn path_op(rule: &str, rules: Option<&[PathRule]>, path: &CStr) -> Result<Becomes, Refusal> {
    let Some(rules) = rules else { return Ok(Becomes::Itself) };
    let path = as_plain(rule, path)?;
    let fits = rules.iter().find(|rule| rule.fits(path));
    let found = fits.ok_or_else(|| not_listed(rule, path))?.open(path, Kind::Directory);
    match found {
        None => Ok(Becomes::Itself),
        Some(Ok(found)) => Ok(Becomes::Handle(found)),
        Some(Err(error)) => Err(refusal(rule, error.to_string())),
    }
}

fn bind(bounds: &Bounds, source: &CStr, flags: MountFlags) -> Result<Becomes, Refusal> {
    const RULE: &str = "bounds.sources";
    let Some(sources) = &bounds.sources else { return Ok(Becomes::Itself) };
    let path = as_plain(RULE, source)?;
    let read_only = flags.contains(MountFlags::READ_ONLY);
    let fits: Vec<_> = sources.iter().filter(|source| source.rule.fits(path)).collect();
    let Some(source) = fits.iter().find(|source| source.writable || read_only) else {
        if fits.is_empty() {
            return Err(not_listed(RULE, path));
        }
        return Err(refusal(RULE, format!("{} may only be bound read-only", path.display())));
    };
    match source.rule.open(path, Kind::Any) {
        None => Ok(Becomes::Itself),
        Some(Ok(found)) => Ok(Becomes::Handle(found)),
        Some(Err(Untrusted { reason: Reason::Errno(Errno::NOENT), .. }))
            if flags.contains(MountFlags::OPTIONAL) =>
        {
            Ok(Becomes::Nothing)
        }
        Some(Err(error)) => Err(refusal(RULE, error.to_string())),
    }
}

fn as_plain<'a>(rule: &str, path: &'a CStr) -> Result<&'a Path, Refusal> {
    plain(path.to_bytes()).ok_or_else(|| {
        let path = path.to_string_lossy();
        refusal(rule, format!("{path} is not an absolute path without . and .."))
    })
}

fn not_listed(rule: &str, path: &Path) -> Refusal {
    refusal(rule, format!("{} is at or below nothing that is listed", path.display()))
}

/// Whether an op of this kind is the client's own confinement by Landlock.
pub(super) fn is_landlock(op: &Op<'_>) -> bool {
    matches!(op, Op::Confine(ConfineOp::Landlock { .. }))
}
