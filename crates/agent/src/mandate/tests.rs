//! Mandates and plans against each other, by what each rule lets through and what it refuses.
//!
//! The agent is a made-up one, so the tests say the same whoever runs them.

mod rules;

use super::{Compiled, Grant, Held, Host, Judged, Refusal, judge, narrow};
use crate::peer::Peer;
use embryo::agent::mandate::Mandate;
use embryo::{CapSet, ExecFlags, Keep, Op, Plan, PlanBuilder};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

/// A root that has everything.
pub(super) fn root() -> Host {
    Host {
        uids: [0; 3],
        gids: [0; 3],
        groups: Box::default(),
        permitted: CapSet::from_bits((1 << 41) - 1),
        bounding: CapSet::from_bits((1 << 41) - 1),
        ambient: CapSet::NONE,
    }
}

pub(super) fn peer(uid: u32) -> Peer {
    Peer { pid: 7, uid, gid: uid, groups: vec![uid, 50], cgroup: None, pidfd: None }
}

/// A connection of uid 1000 under a mandate in TOML.
pub(super) fn held(mandate: &str) -> Held {
    held_on(root(), 1000, mandate)
}

pub(super) fn held_on(host: Host, uid: u32, mandate: &str) -> Held {
    let source: Mandate = toml::from_str(mandate).expect(mandate);
    let named = Compiled::named_on(host, "test", &source)
        .unwrap_or_else(|wrong| panic!("{wrong:?} in {mandate}"));
    Held { levels: vec![Arc::new(named)], accounts: Vec::new(), peer: Arc::new(peer(uid)) }
}

/// The same narrowed once more.
pub(super) fn narrowed(held: &Held, mandate: &str) -> Result<Held, Refusal> {
    let source: Mandate = toml::from_str(mandate).expect(mandate);
    let json = serde_json::to_vec(&source).expect("a mandate is JSON");
    let mut levels = vec![narrow(held, &json)?];
    levels.extend(held.levels.iter().cloned());
    Ok(Held { levels, accounts: Vec::new(), peer: Arc::clone(&held.peer) })
}

/// A plan that keeps all and starts /usr/bin/true.
pub(super) fn plain(fill: impl FnOnce(&mut PlanBuilder)) -> Plan {
    let mut plan = Plan::builder();
    plan.keep(Keep::SESSION | Keep::UMASK | Keep::CWD);
    with(&mut plan, fill)
}

/// A plan with nothing kept.
pub(super) fn bare(fill: impl FnOnce(&mut PlanBuilder)) -> Plan {
    with(&mut Plan::builder(), fill)
}

fn with(plan: &mut PlanBuilder, fill: impl FnOnce(&mut PlanBuilder)) -> Plan {
    let before = format!("{plan:?}");
    fill(plan);
    let filled = format!("{plan:?}") != before && plan.build().is_ok();
    if !filled {
        plan.op(&Op::ExecPath { path: c"/usr/bin/true", flags: ExecFlags::empty() });
        plan.arg("true");
    }
    plan.build().unwrap_or_else(|error| panic!("{error}: {plan:?}"))
}

pub(super) fn judged(
    held: &Held,
    plan: &Plan,
    grants: &[BorrowedFd<'_>],
) -> Result<Judged, Refusal> {
    let judged = judge(held, &plan.as_plan(), grants)?;
    // What holds of everything that is let through.
    let view = judged.plan.as_plan();
    assert_eq!(view.keep(), Keep::empty(), "nothing is kept");
    assert_eq!(view.slots() as usize, judged.grants.len());
    assert_eq!(view.entries().len(), judged.origin.len());
    for (index, op) in view.ops().flatten().enumerate() {
        let origin = judged.origin[index];
        if origin != u32::MAX && !op.is_start() {
            let theirs = plan.as_plan().op(origin).expect("an index of the client's");
            assert_eq!(op.code().place().first, theirs.code().place().first, "{op:?} {theirs:?}");
        }
    }
    for (index, grant) in judged.grants.iter().enumerate() {
        assert_eq!(matches!(grant, Grant::Client(_)), index < grants.len());
    }
    Ok(judged)
}

pub(super) fn ops(judged: &Judged) -> Vec<Op<'_>> {
    judged.plan.as_plan().ops().flatten().collect()
}
