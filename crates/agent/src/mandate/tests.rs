//! Mandates and plans against each other, by what each rule lets through and what it refuses.
//!
//! The agent is a made-up one, so the tests say the same whoever runs them.

mod documents;
mod forced;
mod levels;
mod property;
mod rules;
mod starts;

use super::{Compiled, Grant, Held, Host, Judged, Refusal, judge, narrow};
use crate::files::facts::Known;
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

/// What mandates here have where a test says nothing else.
const BASE: &str = r#"
images = [{ path = "/usr/bin/true" }]
narrower = 3
[bounds]
uids = ["0-2000"]
gids = ["0-2000"]
capabilities = "all"
"#;

/// A connection of uid 1000 under a mandate in TOML, laid over [`BASE`].
pub(super) fn held(mandate: &str) -> Held {
    held_on(root(), 1000, mandate)
}

pub(super) fn held_on(host: Host, uid: u32, mandate: &str) -> Held {
    let named = Compiled::named_on(host, "test", &over_base(mandate))
        .unwrap_or_else(|wrong| panic!("{wrong:?} in {mandate}"));
    Held { levels: vec![Arc::new(named)], accounts: Vec::new(), peer: Arc::new(peer(uid)) }
}

pub(super) fn over_base(mandate: &str) -> Mandate {
    let mut base: toml::Table = toml::from_str(BASE).expect("TOML");
    lay(&mut base, toml::from_str(mandate).expect(mandate));
    base.try_into().expect(mandate)
}

fn lay(below: &mut toml::Table, above: toml::Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(toml::Value::Table(below)), toml::Value::Table(above)) => lay(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
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
pub(super) fn plan(fill: impl FnOnce(&mut PlanBuilder)) -> Plan {
    keeping(Keep::SESSION | Keep::UMASK | Keep::CWD, fill)
}

/// A plan that keeps this much, which `fill` says the rest of.
pub(super) fn keeping(keep: Keep, fill: impl FnOnce(&mut PlanBuilder)) -> Plan {
    started(keep, |plan| {
        fill(plan);
        plan.op(&Op::ExecPath { path: c"/usr/bin/true", flags: ExecFlags::empty() }).arg("true");
    })
}

/// The same with a start of its own.
pub(super) fn started(keep: Keep, fill: impl FnOnce(&mut PlanBuilder)) -> Plan {
    let mut plan = Plan::builder();
    plan.keep(keep);
    fill(&mut plan);
    plan.build().unwrap_or_else(|error| panic!("{error}: {plan:?}"))
}

pub(super) fn known() -> Known {
    Known::new().expect("what is mounted")
}

pub(super) fn judged(
    held: &Held,
    plan: &Plan,
    grants: &[BorrowedFd<'_>],
) -> Result<Judged, Refusal> {
    let judged = judge(held, &plan.as_plan(), grants, &mut known())?;
    // What holds of everything that is let through.
    let view = judged.plan.as_plan();
    assert_eq!(view.keep(), Keep::empty(), "nothing is kept");
    assert_eq!(view.slots() as usize, judged.grants.len());
    assert_eq!(view.entries().len(), judged.origin.len());
    for (index, op) in view.ops().flatten().enumerate() {
        let origin = judged.origin[index];
        if origin != u32::MAX && !op.is_start() {
            let theirs = plan.as_plan().op(origin).expect("an index of the client's");
            assert_eq!(op.code().place(), theirs.code().place(), "{op:?} {theirs:?}");
        }
    }
    for (index, grant) in judged.grants.iter().enumerate() {
        let theirs = matches!(grant, Grant::Client(at) if *at as usize == index);
        assert_eq!(theirs, index < grants.len(), "the client's slots come first");
    }
    Ok(judged)
}

pub(super) fn ops(judged: &Judged) -> Vec<Op<'_>> {
    judged.plan.as_plan().ops().flatten().collect()
}
