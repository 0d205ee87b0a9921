//! Narrower mandates: what they forbid is forbidden, what they force is judged by the wider, and nothing of the wider
//! is lost.

use super::super::{LEVELS_MAX, MANDATE_BYTES_MAX, narrow};
use super::{held, judged, narrowed, ops, plan};
use embryo::agent::mandate::Lifetime;
use embryo::{Op, Plan};
use std::time::Duration;

fn nice(value: i32) -> Plan {
    plan(|plan| {
        plan.op(&Op::Nice { value });
    })
}

#[test]
fn a_narrower_list_forbids_and_an_absent_one_does_not() {
    let wider = held("ops = ['nice', 'timer-slack']\nenvironment = ['A', 'B']");
    let same = narrowed(&wider, "").unwrap();
    judged(&same, &nice(1), &[]).expect("the same");
    for (mandate, rule) in [
        ("ops = ['timer-slack']", "ops"),
        ("bounds.nice = 2", "bounds.nice"),
        ("bounds.uids = [1]", "bounds.uids"),
        ("bounds.gids = [1]", "bounds.gids"),
        ("bounds.capabilities = 'none'", "bounds.capabilities"),
        ("images = []", "images"),
        ("images = [{ path = '/usr/bin/false' }]", "images"),
        ("images = [{ registers = true }]", "images"),
        ("numbers.plan-bytes = 1", "numbers.plan-bytes"),
    ] {
        let narrower = narrowed(&wider, mandate).unwrap();
        assert_eq!(judged(&narrower, &nice(1), &[]).expect_err(mandate).rule, rule);
        let below = narrowed(&narrower, "").unwrap();
        assert_eq!(judged(&below, &nice(1), &[]).expect_err(mandate).rule, rule);
    }
}

#[test]
fn what_a_narrower_one_allows_the_wider_still_judges() {
    let wider = held("ops = ['nice']");
    let more = narrowed(
        &wider,
        "ops = ['nice', 'timer-slack']\nbounds.nice = -20\nimages = [{ under = '/' }]",
    )
    .unwrap();
    let slack = plan(|plan| {
        plan.op(&Op::TimerSlack { ns: 1 });
    });
    assert_eq!(judged(&more, &slack, &[]).expect_err("ops").rule, "ops");
    assert_eq!(judged(&more, &nice(-1), &[]).expect_err("nice").rule, "bounds.nice");
}

#[test]
fn what_a_narrower_one_forces_is_as_if_it_were_asked_for() {
    let wider = held(
        "ops = ['nice', 'uid', 'gid', 'rlimit']\nenvironment = ['A']\nbounds.uids = ['0-9']\nbounds.limits = { nofile = 9 }\nbounds.directories = ['/usr']",
    );
    for (forced, rule) in [
        ("nice = 1", None),
        ("nice = -1", Some("bounds.nice")),
        ("no-new-privs = true", None),
        ("uid = 9", None),
        ("uid = 10", Some("bounds.uids")),
        ("limits = { nofile = 9 }", None),
        ("limits = { nofile = 10 }", Some("bounds.limits")),
        ("limits = { core = 0 }", Some("bounds.limits")),
        ("environment = { A = '1' }", None),
        ("environment = { LD_PRELOAD = '1' }", Some("environment")),
        ("umask = 0", Some("ops")),
        ("seccomp = 'default'", Some("ops")),
        ("namespaces = ['net']", Some("ops")),
        ("oom-score-adj = 5", Some("ops")),
        ("bounding-set = 'none'", Some("ops")),
        ("directory = '/usr/bin'", Some("ops")),
    ] {
        let narrower = narrowed(&wider, &format!("forced.{forced}")).unwrap();
        let found = judged(&narrower, &plan(|_| {}), &[]).err().map(|why| why.rule);
        assert_eq!(found.as_deref(), rule, "{forced}");
    }
    let wider = held("ops = ['chdir']\nbounds.directories = ['/usr']");
    let narrower = narrowed(&wider, "forced.directory = '/usr/bin'").unwrap();
    let judged_place = judged(&narrower, &plan(|_| {}), &[]).unwrap();
    assert!(ops(&judged_place).iter().any(|op| matches!(op, Op::ChdirSlot { .. })));
    let narrower = narrowed(&wider, "forced.directory = '/etc'").unwrap();
    let refused = judged(&narrower, &plan(|_| {}), &[]).expect_err("/etc");
    assert_eq!(refused.rule, "bounds.directories");
}

#[test]
fn of_two_that_force_the_stricter_holds_or_there_is_none() {
    let wider = held(
        "ops = ['nice', 'rlimit', 'umask', 'oom-score-adj', 'uid', 'bounding-set']\nbounds.limits = { nofile = 99 }\nforced = { nice = 3, limits = { nofile = 20 }, umask = 0o022, oom-score-adj = 5, uid = 7, environment = { A = '1' }, bounding-set = 'kill,chown', directory = '/usr' }\nenvironment = ['A']",
    );
    let stricter = narrowed(&wider, "forced = { nice = 5, limits = { nofile = 10 }, umask = 0o070, oom-score-adj = 9, uid = 7, environment = { A = '1' }, bounding-set = 'kill,fowner' }").unwrap();
    let judged_both = judged(&stricter, &plan(|_| {}), &[]).unwrap();
    let found = ops(&judged_both);
    for wanted in [
        Op::Nice { value: 5 },
        Op::Rlimit { resource: 7, soft: 10, hard: 10 },
        Op::Umask { mode: 0o072 },
        Op::OomScoreAdj { value: 9 },
        Op::Privilege(embryo::PrivilegeOp::BoundingSet { keep: 1 << 5 }),
    ] {
        assert!(found.contains(&wanted), "{wanted:?} in {found:?}");
    }
    let laxer = narrowed(&wider, "forced = { nice = 1, limits = { nofile = 30 } }").unwrap();
    let judged_lax = judged(&laxer, &plan(|_| {}), &[]).unwrap();
    assert!(ops(&judged_lax).contains(&Op::Nice { value: 3 }));
    assert!(ops(&judged_lax).contains(&Op::Rlimit { resource: 7, soft: 20, hard: 20 }));
    for (forced, key) in [
        ("uid = 8", "forced.uid"),
        ("groups = [1]", "forced.groups"),
        ("environment = { A = '2' }", "forced.environment"),
        ("directory = '/usr'", "forced.directory"),
    ] {
        let refused = narrowed(&wider, &format!("forced.{forced}")).expect_err(forced);
        assert_eq!(refused.rule, key);
    }
}

#[test]
fn a_forced_filter_of_each_level_is_there() {
    let wider = held("ops = ['seccomp']\nforced.seccomp = 'default'");
    let narrower = narrowed(&wider, "forced.seccomp = 'default'").unwrap();
    let both = judged(&narrower, &plan(|_| {}), &[]).unwrap();
    assert_eq!(ops(&both).iter().filter(|op| matches!(op, Op::Seccomp { .. })).count(), 2);
}

#[test]
fn a_lifetime_is_the_strictest_and_time_the_shortest() {
    for (named, narrower, lifetime, time) in [
        ("", "", Lifetime::Connection, None),
        ("", "lifetime = 'live-on'", Lifetime::Connection, None),
        ("lifetime = 'live-on'", "", Lifetime::LiveOn, None),
        ("lifetime = 'live-on'", "lifetime = 'agent'", Lifetime::Agent, None),
        ("numbers.seconds = 9", "numbers.seconds = 90", Lifetime::Connection, Some(9)),
        ("", "numbers.seconds = 90", Lifetime::Connection, Some(90)),
    ] {
        let held = narrowed(&held(named), narrower).unwrap();
        let judged = judged(&held, &plan(|_| {}), &[]).unwrap();
        assert_eq!(judged.lifetime, lifetime, "{named} {narrower}");
        assert_eq!(judged.time, time.map(Duration::from_secs), "{named} {narrower}");
    }
}

#[test]
fn it_is_narrowed_no_further_than_each_level_says() {
    let refused = |held: &super::Held| narrowed(held, "").expect_err("too deep").rule;
    assert_eq!(refused(&held("narrower = 0")), "narrower");
    let two = held("narrower = 2");
    let once = narrowed(&two, "").unwrap();
    let twice = narrowed(&once, "").unwrap();
    assert_eq!(refused(&twice), "narrower");
    let once = narrowed(&two, "narrower = 0").unwrap();
    assert_eq!(refused(&once), "narrower");
    let mut deep = held("narrower = 1000");
    for _ in 1..LEVELS_MAX {
        deep = narrowed(&deep, "narrower = 1000").unwrap();
    }
    assert_eq!(refused(&deep), "narrower");
}

#[test]
fn a_narrower_mandate_says_nothing_that_only_the_file_may() {
    let held = held("");
    for (json, rule) in [
        (r#"{"peers":[]}"#, "peers"),
        (r#"{"operator":true}"#, "operator"),
        (r#"{"numbers-per-uid":{"children":1}}"#, "numbers-per-uid"),
        (r#"{"bounds":{"uids":["root"]}}"#, "bounds.uids"),
        (r#"{"forced":{"gid":"root"}}"#, "forced.gid"),
        (r#"{"forced":{"cgroup":{"path":"/tmp/cgroup"}}}"#, "forced.cgroup"),
        (r#"{"images":[{"path":"/usr/bin/true","owners":["root"]}]}"#, "images.0"),
        (r#"{"no-such-key":1}"#, "mandate"),
        ("", "mandate"),
        ("{", "mandate"),
        ("[]", "mandate"),
    ] {
        assert_eq!(narrow(&held, json.as_bytes()).expect_err(json).rule, rule);
    }
    let long = format!(r#"{{"description":"{}"}}"#, "x".repeat(MANDATE_BYTES_MAX));
    assert_eq!(narrow(&held, long.as_bytes()).expect_err("long").rule, "mandate");
    let deep = "[".repeat(10_000);
    assert_eq!(narrow(&held, deep.as_bytes()).expect_err("deep").rule, "mandate");
}
