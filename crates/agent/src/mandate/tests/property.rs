//! Random chains of mandates and random plans: nothing that is asked for through a narrower mandate comes out as more
//! than its own, or any wider one, allows.
//!
//! What a mandate allows is said here a second time, as simply as it can be, and from the mandate as data. It must
//! never call what it judges.

use super::super::{Work, check_environment, credentials, ops as judging};
use super::{Compiled, Held, judge, peer, root};
use crate::files::facts::Known;
use embryo::agent::mandate::{Bounds, Forced, Ids, ImageRule, Mandate};
use embryo::{
    CapSet, ExecFlags, Keep, NamespaceKind, NamespaceOp, Namespaces, Op, OpCode, Plan, PlanView,
    PrivilegeOp,
};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

const NAMES: [&str; 11] = [
    "nice",
    "oom-score-adj",
    "rlimit",
    "uid",
    "gid",
    "groups",
    "umask",
    "unshare",
    "bounding-set",
    "timer-slack",
    "set-sid",
];
const VARIABLES: [&str; 4] = ["A", "AB", "LD_A", "PATH"];
const LIMITS: [(&str, u32); 3] = [("nofile", 7), ("core", 4), ("nproc", 6)];

/// One thing that a plan asks for.
#[derive(Clone, Debug)]
enum Ask {
    Nice(i32),
    Oom(i32),
    Limit(u32, u64),
    Uid([u32; 3]),
    Gid(u32),
    Groups(Vec<u32>),
    Umask(u32),
    Unshare(u8),
    BoundingSet(u64),
    TimerSlack,
    NoNewPrivs,
}

#[derive(Clone, Debug)]
struct Wanted {
    asks: Vec<Ask>,
    environment: Vec<(usize, u8)>,
    program: bool,
    args: Vec<bool>,
}

fn id() -> impl Strategy<Value = u32> {
    prop_oneof![3 => 0..4u32, 1 => Just(u32::MAX)]
}

fn ask() -> impl Strategy<Value = Ask> {
    prop_oneof![
        (-3..4).prop_map(Ask::Nice),
        (-3..4).prop_map(Ask::Oom),
        (0..3usize, 0..5u64).prop_map(|(which, value)| Ask::Limit(LIMITS[which].1, value)),
        [id(), id(), id()].prop_map(Ask::Uid),
        (0..4u32).prop_map(Ask::Gid),
        vec(0..4u32, 0..3).prop_map(Ask::Groups),
        prop_oneof![Just(0o22), Just(0)].prop_map(Ask::Umask),
        (1..4u8).prop_map(Ask::Unshare),
        (0..8u64).prop_map(Ask::BoundingSet),
        Just(Ask::TimerSlack),
        Just(Ask::NoNewPrivs),
    ]
}

fn wanted() -> impl Strategy<Value = Wanted> {
    (vec(ask(), 0..3), vec((0..4usize, 0..2u8), 0..2), any::<bool>(), vec(any::<bool>(), 0..3))
        .prop_map(|(asks, environment, program, args)| Wanted { asks, environment, program, args })
}

fn kinds(bits: u8) -> Vec<NamespaceKind> {
    let all = [(1, NamespaceKind::Net), (2, NamespaceKind::Uts)];
    all.into_iter().filter(|(bit, _)| bits & bit != 0).map(|(_, kind)| kind).collect()
}

/// Each op at most once, as a plan has to be.
fn plan_of(wanted: &Wanted) -> Option<Plan> {
    let mut plan = Plan::builder();
    let mut keep = Keep::SESSION | Keep::CWD | Keep::UMASK;
    for ask in &wanted.asks {
        let bytes: Vec<u8>;
        let op = match ask {
            Ask::Nice(value) => Op::Nice { value: *value },
            Ask::Oom(value) => Op::OomScoreAdj { value: *value },
            Ask::Limit(resource, value) => {
                Op::Rlimit { resource: *resource, soft: value / 2, hard: *value }
            }
            Ask::Uid([real, effective, saved]) => {
                Op::Uid { real: *real, effective: *effective, saved: *saved }
            }
            Ask::Gid(id) => Op::Gid { real: *id, effective: *id, saved: *id },
            Ask::Groups(list) => {
                bytes = list.iter().flat_map(|id| id.to_le_bytes()).collect();
                Op::Groups { list: &bytes }
            }
            Ask::Umask(mode) => {
                keep -= Keep::UMASK;
                Op::Umask { mode: *mode }
            }
            Ask::Unshare(bits) => {
                let kinds = kinds(*bits).into_iter().map(NamespaceKind::flag).collect();
                Op::Namespace(NamespaceOp::Unshare { kinds })
            }
            Ask::BoundingSet(keep) => Op::Privilege(PrivilegeOp::BoundingSet { keep: *keep }),
            Ask::TimerSlack => Op::TimerSlack { ns: 1 },
            Ask::NoNewPrivs => Op::NoNewPrivs,
        };
        plan.op(&op);
    }
    for (name, value) in &wanted.environment {
        plan.env(VARIABLES[*name], [b'0' + value]);
    }
    let path = if wanted.program { c"/usr/bin/true" } else { c"/usr/bin/false" };
    plan.keep(keep).op(&Op::ExecPath { path, flags: ExecFlags::empty() }).arg("x");
    for arg in &wanted.args {
        plan.arg(if *arg { "-a" } else { "-b" });
    }
    plan.build().ok()
}

fn ids() -> impl Strategy<Value = Option<Vec<Ids>>> {
    let some = vec((0..4u32).prop_map(Ids::Number), 1..3);
    option::weighted(0.95, prop_oneof![9 => Just(vec![Ids::Text("0-3".into())]), 1 => some])
}

fn bounds() -> impl Strategy<Value = Bounds> {
    let limit = (0..3usize).prop_map(|which| LIMITS[which].0.to_owned());
    let limits = option::weighted(0.9, btree_map(limit, 1..6u64, 2..4));
    let capabilities = option::weighted(
        0.9,
        prop_oneof![14 => Just(u64::MAX), 1 => 0..8u64].prop_map(CapSet::from_bits),
    );
    let least = || option::of(-3..2);
    let kinds_bits = option::weighted(0.8, 0..4u8);
    (ids(), ids(), limits, least(), least(), kinds_bits, capabilities).prop_map(
        |(uids, gids, limits, nice, oom_score_adj, namespaces, capabilities)| Bounds {
            uids,
            gids,
            limits,
            nice,
            oom_score_adj,
            namespaces: namespaces.map(kinds),
            capabilities,
            ..Bounds::default()
        },
    )
}

fn forced() -> impl Strategy<Value = Forced> {
    let rare = 0.15;
    let limits = btree_map((0..3usize).prop_map(|which| LIMITS[which].0.to_owned()), 0..5u64, 0..2);
    let environment = btree_map(
        (0..4usize).prop_map(|which| VARIABLES[which].to_owned()),
        (0..2u8).prop_map(|value| value.to_string()),
        0..2,
    );
    let one = move || option::weighted(rare, (0..4u32).prop_map(Ids::Number));
    let groups = option::weighted(rare, vec((0..4u32).prop_map(Ids::Number), 0..2));
    (
        (any::<bool>(), one(), one(), groups, limits, environment),
        (
            option::weighted(rare, 0..0o100u32),
            option::weighted(rare, 0..4u8),
            option::weighted(rare, (0..8u64).prop_map(CapSet::from_bits)),
            option::weighted(rare, -3..4),
            option::weighted(rare, -3..4),
        ),
    )
        .prop_map(|((no_new_privs, uid, gid, groups, limits, environment), others)| {
            let (umask, namespaces, bounding_set, nice, oom_score_adj) = others;
            Forced {
                no_new_privs,
                uid,
                gid,
                groups,
                limits,
                environment,
                umask,
                namespaces: kinds(namespaces.unwrap_or(0)),
                bounding_set,
                nice,
                oom_score_adj,
                ..Forced::default()
            }
        })
}

fn mandate() -> impl Strategy<Value = Mandate> {
    let most = || {
        let names = proptest::sample::subsequence(NAMES.to_vec(), 8..=NAMES.len());
        option::weighted(0.97, names.prop_map(|names| names.into_iter().map(Into::into).collect()))
    };
    let images = option::weighted(
        0.97,
        prop_oneof![
            9 => Just((Some("/usr/bin"), None)),
            1 => Just((None, Some("/usr/bin/true"))),
        ]
        .prop_map(|(under, path)| {
            let under = under.map(Into::into);
            vec![ImageRule { under, path: path.map(Into::into), ..ImageRule::default() }]
        }),
    );
    let environment = option::weighted(
        0.95,
        proptest::sample::subsequence(vec!["A", "A*", "*", "LD_A", "PATH"], 3..=5)
            .prop_map(|names| names.into_iter().map(Into::into).collect()),
    );
    let forced = prop_oneof![Just(Forced::default()), forced()];
    (images, most(), bounds(), environment, forced).prop_map(
        |(images, ops, bounds, environment, forced)| Mandate {
            images,
            ops,
            bounds,
            environment,
            forced,
            narrower: Some(9),
            ..Mandate::default()
        },
    )
}

/// A chain, the narrowest first, if the narrower can follow the wider.
fn chain(mandates: &[Mandate]) -> Option<Held> {
    let (named, narrower) = mandates.split_first()?;
    let named = Compiled::named_on(root(), "test", named).ok()?;
    let mut held =
        Held { levels: vec![Arc::new(named)], accounts: Vec::new(), peer: Arc::new(peer(1000)) };
    for mandate in narrower {
        let json = serde_json::to_vec(mandate).expect("JSON");
        held.levels.insert(0, super::narrow(&held, &json).ok()?);
    }
    Some(held)
}

fn parent(held: &Held) -> Held {
    Held { levels: held.levels[1..].to_vec(), ..held.clone() }
}

/// What the narrowest mandate makes of a plan: what it asks the wider one for.
fn rewritten(held: &Held, plan: &PlanView<'_>) -> Plan {
    let (level, named) = (&held.levels[0], held.levels.last().unwrap());
    let mut work = Work::new(held, named, plan, &[]).expect("it was let through");
    check_environment(level, &work).expect("it was let through");
    judging::check(level, &mut work).expect("it was let through");
    level.forced.apply(&mut work).expect("it was let through");
    credentials::check(level, &work).expect("it was let through");
    work.build().expect("it was let through")
}

/// What has to be true of a plan that came out, as one of its mandates says it.
struct Oracle<'a> {
    mandate: &'a Mandate,
    named: bool,
    /// What this one and the wider ones force.
    forced: Vec<&'a Forced>,
}

impl Oracle<'_> {
    fn list<T: Default + Clone>(&self, list: &Option<T>) -> Option<T> {
        if self.named { Some(list.clone().unwrap_or_default()) } else { list.clone() }
    }

    fn forces(&self, what: impl Fn(&Forced) -> bool) -> bool {
        self.forced.iter().any(|forced| what(forced))
    }

    fn forces_op(&self, op: &Op<'_>) -> bool {
        self.forces(|forced| match op {
            Op::Nice { .. } => forced.nice.is_some(),
            Op::OomScoreAdj { .. } => forced.oom_score_adj.is_some(),
            Op::Rlimit { resource, .. } => limit(&forced.limits, *resource).is_some(),
            Op::Uid { .. } => forced.uid.is_some(),
            Op::Gid { .. } => forced.gid.is_some(),
            Op::Groups { .. } => forced.groups.is_some() || forced.uid.is_some(),
            Op::Umask { .. } => forced.umask.is_some(),
            Op::Namespace(_) => !forced.namespaces.is_empty(),
            Op::Privilege(_) => forced.bounding_set.is_some(),
            _ => false,
        })
    }

    /// Looks at everything, and says what is wrong.
    fn wrong(&self, plan: &PlanView<'_>) -> Option<String> {
        let found: Vec<Op<'_>> = plan.ops().flatten().collect();
        let bounds = &self.mandate.bounds;
        if let Some(names) = self.list(&self.mandate.ops) {
            for op in &found {
                let free = matches!(op, Op::SetSid | Op::NoNewPrivs | Op::ExecSlot { .. })
                    || matches!(op, Op::Umask { mode: 0o22 } | Op::ChdirPath { .. })
                    || matches!(op, Op::Groups { list: [] });
                let name = op.code().name();
                if !free && !self.forces_op(op) && !names.iter().any(|known| known == name) {
                    return Some(format!("{name} is not named"));
                }
            }
        }
        for op in &found {
            let bad = match *op {
                Op::Nice { value } => {
                    let least = if self.named { bounds.nice.or(Some(0)) } else { bounds.nice };
                    least.is_some_and(|least| value < least)
                }
                Op::OomScoreAdj { value } => {
                    let score = bounds.oom_score_adj;
                    let least = if self.named { score.or(Some(0)) } else { score };
                    least.is_some_and(|least| value < least)
                }
                Op::Rlimit { resource, hard, .. } => self
                    .list(&bounds.limits)
                    .is_some_and(|limits| limit(&limits, resource).is_none_or(|most| hard > most)),
                Op::Namespace(NamespaceOp::Unshare { kinds }) => {
                    let forced: Namespaces = self
                        .forced
                        .iter()
                        .flat_map(|forced| &forced.namespaces)
                        .map(|kind| kind.flag())
                        .collect();
                    self.list(&bounds.namespaces).is_some_and(|listed| {
                        let listed: Namespaces = listed.iter().map(|kind| kind.flag()).collect();
                        !(listed | forced).contains(kinds)
                    })
                }
                _ => false,
            };
            let counted = matches!(op, Op::Namespace(_)) || !self.forces_op(op);
            if bad && counted {
                return Some(format!("{op:?} is beyond its bound"));
            }
        }
        self.wrong_ids(&found).or_else(|| self.wrong_strings(plan))
    }

    fn wrong_ids(&self, found: &[Op<'_>]) -> Option<String> {
        let (mut uids, mut gids) = ([0; 3], [0; 3]);
        let mut groups = Vec::new();
        let mut bounding = u64::MAX;
        for op in found {
            match *op {
                Op::Uid { real, effective, saved } => set(&mut uids, [real, effective, saved]),
                Op::Gid { real, effective, saved } => set(&mut gids, [real, effective, saved]),
                Op::Groups { list } => {
                    groups = list.chunks(4).map(|id| u32::from(id[0])).collect();
                }
                Op::Privilege(PrivilegeOp::BoundingSet { keep }) => bounding &= keep,
                _ => {}
            }
        }
        let bounds = &self.mandate.bounds;
        if let Some(listed) = self.list(&bounds.uids)
            && !self.forces(|forced| forced.uid.is_some())
            && !uids.iter().all(|id| has(&listed, *id))
        {
            return Some(format!("uids are {uids:?}"));
        }
        if let Some(listed) = self.list(&bounds.gids) {
            if !self.forces(|forced| forced.gid.is_some())
                && !gids.iter().all(|id| has(&listed, *id))
            {
                return Some(format!("gids are {gids:?}"));
            }
            let forced = self.forces(|forced| forced.groups.is_some() || forced.uid.is_some());
            if !forced && !groups.iter().all(|id| has(&listed, *id)) {
                return Some(format!("groups are {groups:?}"));
            }
        }
        let listed = if self.named {
            Some(bounds.capabilities.unwrap_or(CapSet::NONE))
        } else {
            bounds.capabilities
        };
        let forced = self.forces(|forced| forced.bounding_set.is_some() || forced.uid.is_some());
        let all = root().bounding.bits() & bounding;
        if let Some(listed) = listed
            && uids.contains(&0)
            && !forced
            && all & !listed.bits() != 0
        {
            return Some("root has more capabilities".into());
        }
        None
    }

    fn wrong_strings(&self, plan: &PlanView<'_>) -> Option<String> {
        for string in plan.envp() {
            let name = string.to_str().unwrap().split_once('=').unwrap().0;
            let forced = self.forces(|forced| forced.environment.contains_key(name));
            let Some(listed) = self.list(&self.mandate.environment) else { continue };
            let allowed = listed.iter().any(|pattern| match (pattern.as_str(), name) {
                (pattern, name) if pattern == name => true,
                (_, "PATH" | "LD_A") => false,
                ("*", _) => true,
                ("A*", name) => name.starts_with('A'),
                _ => false,
            });
            if !forced && !allowed {
                return Some(format!("{name} is not listed"));
            }
        }
        None
    }

    /// Whether all that this mandate forces, or something stricter, is there.
    fn missing(&self, plan: &PlanView<'_>) -> Option<&'static str> {
        let found: Vec<Op<'_>> = plan.ops().flatten().collect();
        let any = |fits: &dyn Fn(&Op<'_>) -> bool| found.iter().any(fits);
        let forced = &self.mandate.forced;
        let number = |ids: &Option<Ids>| match ids {
            Some(Ids::Number(number)) => Some(*number),
            _ => None,
        };
        if forced.no_new_privs && !any(&|op| *op == Op::NoNewPrivs) {
            return Some("no-new-privs");
        }
        if let Some(id) = number(&forced.uid)
            && !any(&|op| *op == Op::Uid { real: id, effective: id, saved: id })
        {
            return Some("uid");
        }
        if let Some(id) = number(&forced.gid)
            && !any(&|op| *op == Op::Gid { real: id, effective: id, saved: id })
        {
            return Some("gid");
        }
        for (name, most) in &forced.limits {
            let number = LIMITS.iter().find(|(known, _)| known == name).unwrap().1;
            let least = |op: &Op<'_>| matches!(op, Op::Rlimit { resource, hard, soft } if *resource == number && hard <= most && soft <= most);
            if !any(&least) {
                return Some("limits");
            }
        }
        if let Some(mask) = forced.umask
            && !any(&|op| matches!(op, Op::Umask { mode } if mode & mask == mask))
        {
            return Some("umask");
        }
        if let Some(nice) = forced.nice
            && !any(&|op| matches!(op, Op::Nice { value } if *value >= nice))
        {
            return Some("nice");
        }
        if let Some(score) = forced.oom_score_adj
            && !any(&|op| matches!(op, Op::OomScoreAdj { value } if *value >= score))
        {
            return Some("oom-score-adj");
        }
        if let Some(set) = forced.bounding_set
            && !any(
                &|op| matches!(op, Op::Privilege(PrivilegeOp::BoundingSet { keep }) if keep & !set.bits() == 0),
            )
        {
            return Some("bounding-set");
        }
        let new: Namespaces = forced.namespaces.iter().map(|kind| kind.flag()).collect();
        if !new.is_empty()
            && !any(
                &|op| matches!(op, Op::Namespace(NamespaceOp::Unshare { kinds }) if kinds.contains(new)),
            )
        {
            return Some("namespaces");
        }
        for (name, value) in &forced.environment {
            let wanted = format!("{name}={value}");
            let same: Vec<&str> = plan
                .envp()
                .map(|string| string.to_str().unwrap())
                .filter(|string| string.split_once('=').unwrap().0 == name)
                .collect();
            if same != [wanted] {
                return Some("environment");
            }
        }
        None
    }
}

fn set(ids: &mut [u32; 3], by: [u32; 3]) {
    for (id, by) in ids.iter_mut().zip(by) {
        if by != u32::MAX {
            *id = by;
        }
    }
}

fn has(listed: &[Ids], id: u32) -> bool {
    listed.iter().any(|ids| match ids {
        Ids::Number(number) => *number == id,
        Ids::Text(_) => id <= 3,
    })
}

fn limit(limits: &BTreeMap<String, u64>, resource: u32) -> Option<u64> {
    let (name, _) = LIMITS.iter().find(|(_, number)| *number == resource)?;
    limits.get(*name).copied()
}

/// How many of the cases say something, so that a generator that only makes refused plans is seen.
#[derive(Default)]
struct Seen {
    through: u32,
    narrowed: u32,
    refused: u32,
}

#[test]
fn no_chain_of_mandates_lets_more_through_than_each_of_them() {
    // More of them with PROPTEST_CASES.
    let cases = ProptestConfig::default().cases.max(2000);
    let config = ProptestConfig { cases, failure_persistence: None, ..Default::default() };
    let seen = std::cell::RefCell::new(Seen::default());
    let known = std::cell::RefCell::new(super::known());
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let cases = (vec(mandate(), 1..4), wanted());
    runner
        .run(&cases, |(mandates, wanted)| {
            let (Some(held), Some(plan)) = (chain(&mandates), plan_of(&wanted)) else {
                return Ok(());
            };
            check(&mandates, &held, &plan, &mut seen.borrow_mut(), &mut known.borrow_mut())
        })
        .unwrap_or_else(|error| panic!("{error}"));
    let seen = seen.into_inner();
    assert!(seen.through > 200 && seen.narrowed > 60 && seen.refused > 200, "{}", {
        let Seen { through, narrowed, refused } = seen;
        format!("{through} through, {narrowed} of them narrowed, {refused} refused")
    });
}

/// All that a plan says, as a sorted text.
fn all(plan: &Plan) -> Vec<String> {
    let view = plan.as_plan();
    let ops = view.ops().flatten().map(|op| format!("{op:?}"));
    let mut all: Vec<_> = ops.chain(view.envp().map(|string| format!("{string:?}"))).collect();
    all.sort();
    all
}

fn check(
    mandates: &[Mandate],
    held: &Held,
    plan: &Plan,
    seen: &mut Seen,
    known: &mut Known,
) -> Result<(), TestCaseError> {
    let view = plan.as_plan();
    let judged = match judge(held, &view, &[], known) {
        Ok(judged) => judged,
        Err(_) => {
            seen.refused += 1;
            return Ok(());
        }
    };
    seen.through += 1;
    let final_plan = judged.plan.as_plan();
    prop_assert!(matches!(
        final_plan.code(final_plan.entries().len() as u32 - 1),
        Some(OpCode::ExecSlot)
    ));
    for (index, mandate) in mandates.iter().enumerate() {
        let forced = mandates[..=index].iter().map(|mandate| &mandate.forced).collect();
        let oracle = Oracle { mandate, named: index == 0, forced };
        prop_assert_eq!(oracle.wrong(&final_plan), None, "by mandate {}", index);
        prop_assert_eq!(oracle.missing(&final_plan), None, "by mandate {}", index);
    }
    if held.levels.len() > 1 {
        seen.narrowed += 1;
        let asked = rewritten(held, &view);
        let wider = judge(&parent(held), &asked.as_plan(), &[], known);
        prop_assert!(wider.is_ok(), "the wider one refuses what the narrower asks: {:?}", wider);
        let wider = wider.expect("it is let through").plan;
        prop_assert_eq!(all(&wider), all(&judged.plan), "what comes out is another plan");
        let narrowest = &mandates[mandates.len() - 1];
        if narrowest.forced == Forced::default() {
            let direct = judge(&parent(held), &view, &[], known).map(|judged| judged.plan);
            prop_assert_eq!(direct.as_ref().map(Plan::as_bytes), Ok(judged.plan.as_bytes()));
        }
    }
    Ok(())
}
