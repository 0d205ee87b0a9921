//! Which ids and capabilities a child has in the end, and whether a mandate allows them.
//!
//! What a plan does not set is the agent's own. It must never take a child for less than it may be.

use super::work::Work;
use super::{Compiled, Refusal, refusal};
use embryo::{CapSet, CapSets, Op, OpCode, PrivilegeOp};

/// Judges them by one mandate, whose forced things are in the plan already. What it forces itself it does not
/// judge.
pub(super) fn check(level: &Compiled, work: &Work<'_>) -> Result<(), Refusal> {
    let (bounds, forced) = (&level.bounds, &level.forced);
    if let Some(allowed) = &bounds.uids
        && forced.uid.is_none()
    {
        each("bounds.uids", "uid", &uids(work), |id| allowed.has(id))?;
    }
    if let Some(allowed) = &bounds.gids {
        if forced.gid.is_none() {
            each("bounds.gids", "gid", &gids(work), |id| allowed.has(id))?;
        }
        if forced.groups.is_none() {
            groups(work, |id| allowed.has(id))?;
        }
    }
    if let Some(allowed) = bounds.capabilities
        && forced.bounding_set.is_none()
    {
        let others = CapSet::from_bits(capabilities(work) & !allowed.bits());
        if !others.is_empty() {
            let why = format!(
                "the child would have {others}, which is not listed; one that is uid 0 has all of its bounding set"
            );
            return Err(refusal("bounds.capabilities", why));
        }
    }
    Ok(())
}

fn each(rule: &str, what: &str, ids: &[u32], allowed: impl Fn(u32) -> bool) -> Result<(), Refusal> {
    match ids.iter().find(|id| !allowed(**id)) {
        Some(id) => Err(refusal(rule, format!("the child would have {what} {id}"))),
        None => Ok(()),
    }
}

/// Real, effective and saved uid, as the agent's user namespace has them. In a user namespace of its own a child can
/// only become the one that is mapped there, which is the agent's.
pub(super) fn uids(work: &Work<'_>) -> [u32; 3] {
    let host = work.host().uids;
    let set = work.first(|op| match *op {
        Op::Uid { real, effective, saved } => Some([real, effective, saved]),
        _ => None,
    });
    if work.has_user_namespace() { host } else { merged(host, set) }
}

fn gids(work: &Work<'_>) -> [u32; 3] {
    let host = work.host().gids;
    let set = work.first(|op| match *op {
        Op::Gid { real, effective, saved } => Some([real, effective, saved]),
        _ => None,
    });
    if work.has_user_namespace() { host } else { merged(host, set) }
}

fn merged(host: [u32; 3], set: Option<[u32; 3]>) -> [u32; 3] {
    let set = set.unwrap_or([u32::MAX; 3]);
    std::array::from_fn(|i| if set[i] == u32::MAX { host[i] } else { set[i] })
}

fn groups(work: &Work<'_>, allowed: impl Fn(u32) -> bool) -> Result<(), Refusal> {
    let set = work.first(|op| if let Op::Groups { list } = *op { Some(list) } else { None });
    let listed = set.map(|list| list.as_chunks::<4>().0);
    let refused = match listed {
        Some(list) => list.iter().map(|id| u32::from_le_bytes(*id)).find(|id| !allowed(*id)),
        None => work.host().groups.iter().copied().find(|id| !allowed(*id)),
    };
    match refused {
        Some(id) => Err(refusal("bounds.gids", format!("the child would be in group {id}"))),
        None => Ok(()),
    }
}

/// All capabilities that the child may have after its start, in the agent's user namespace.
///
/// After exec, by capabilities(7): who is uid 0 has the bounding set and what is inheritable, anybody else what is
/// ambient. A start by registers is no exec, and what is permitted stays.
fn capabilities(work: &Work<'_>) -> u64 {
    let host = work.host();
    let mut given = 0;
    let mut bounding = host.bounding.bits();
    let mut permitted = None;
    let mut keeps = false;
    for item in &work.ops {
        let Op::Privilege(op) = item.op else { continue };
        match op {
            PrivilegeOp::BoundingSet { keep } => bounding &= keep,
            PrivilegeOp::Ambient { set } => given |= set,
            PrivilegeOp::Capabilities { given: sets, effective, permitted: set, inheritable } => {
                given |= inheritable | effective;
                if sets.contains(CapSets::PERMITTED) {
                    permitted = Some(set);
                }
            }
            PrivilegeOp::KeepCapabilities | PrivilegeOp::Securebits { .. } => keeps = true,
            _ => {}
        }
    }
    let uids = uids(work);
    let root = uids.contains(&0);
    if root {
        given |= bounding;
    }
    let starts_by_registers = work.find(OpCode::StartRegs).is_some();
    if starts_by_registers {
        let stays = root || keeps || uids == host.uids;
        given |= permitted.unwrap_or(if stays { host.permitted.bits() } else { 0 });
    }
    // No capability is higher than the last that the kernel knows.
    given & (host.bounding | host.permitted).bits()
}
