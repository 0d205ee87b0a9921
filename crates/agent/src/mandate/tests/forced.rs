//! What is forced is in every plan, whatever the client asks for.

use super::super::cgroups::Group;
use super::{Compiled, Grant, held, judged, narrowed, ops, over_base, plan, root};
use embryo::{
    CgroupOp, ConfineOp, FilterFlags, NamespaceOp, Namespaces, Op, Plan, PlanBuilder, PrivilegeOp,
};
use std::fs::File;
use std::os::fd::AsFd;

type Fill = fn(&mut PlanBuilder);

fn has(held: &super::Held, plan: &Plan, wanted: &[Op<'_>]) {
    let judged = judged(held, plan, &[]).unwrap_or_else(|why| panic!("{why:?}"));
    let found = ops(&judged);
    for op in wanted {
        assert!(found.contains(op), "{op:?} is not in {found:?}");
        let same = found.iter().filter(|other| other.code() == op.code()).count();
        let several = matches!(op, Op::Rlimit { .. } | Op::Seccomp { .. });
        assert!(several || same == 1, "{op:?} is there {same} times");
    }
}

#[test]
fn what_is_forced_is_there_and_replaces_what_was_asked_for() {
    let cases: &[(&str, Fill, &[Op<'static>])] = &[
        ("forced.no-new-privs = true", |_| {}, &[Op::NoNewPrivs]),
        (
            "ops = ['uid', 'groups']\nforced.uid = 7",
            |plan| {
                plan.op(&Op::Uid { real: 1, effective: 2, saved: 0 })
                    .op(&Op::Groups { list: &[9, 0, 0, 0] });
            },
            &[Op::Uid { real: 7, effective: 7, saved: 7 }, Op::Groups { list: &[] }],
        ),
        (
            "forced.gid = 8\nforced.groups = [1, 258]",
            |_| {},
            &[
                Op::Gid { real: 8, effective: 8, saved: 8 },
                Op::Groups { list: &[1, 0, 0, 0, 2, 1, 0, 0] },
            ],
        ),
        (
            "ops = ['rlimit']\nbounds.limits = { nofile = 100 }\nforced.limits = { nofile = 9, core = 0 }",
            |plan| {
                plan.op(&Op::Rlimit { resource: 7, soft: 5, hard: 100 });
            },
            &[
                Op::Rlimit { resource: 7, soft: 5, hard: 9 },
                Op::Rlimit { resource: 4, soft: 0, hard: 0 },
            ],
        ),
        (
            "ops = ['nice']\nforced.nice = 5\nforced.oom-score-adj = 7\nforced.umask = 0o077",
            |plan| {
                plan.op(&Op::Nice { value: 9 });
            },
            &[Op::Nice { value: 9 }, Op::OomScoreAdj { value: 7 }, Op::Umask { mode: 0o77 }],
        ),
        (
            "ops = ['nice', 'oom-score-adj']\nforced.nice = 5\nforced.oom-score-adj = 7",
            |plan| {
                plan.op(&Op::Nice { value: 1 }).op(&Op::OomScoreAdj { value: 1 });
            },
            &[Op::Nice { value: 5 }, Op::OomScoreAdj { value: 7 }],
        ),
        (
            "ops = ['unshare']\nbounds.namespaces = ['uts']\nforced.namespaces = ['net', 'pid']",
            |plan| {
                plan.op(&Op::Namespace(NamespaceOp::Unshare { kinds: Namespaces::UTS }));
            },
            &[
                Op::Namespace(NamespaceOp::Unshare {
                    kinds: Namespaces::UTS.union(Namespaces::NET),
                }),
                Op::Namespace(NamespaceOp::Pid { pid: 0 }),
            ],
        ),
        (
            "ops = ['bounding-set']\nforced.bounding-set = 'kill,chown'",
            |plan| {
                plan.op(&Op::Privilege(PrivilegeOp::BoundingSet { keep: 0b11 }));
            },
            &[Op::Privilege(PrivilegeOp::BoundingSet { keep: 1 })],
        ),
    ];
    for (mandate, fill, wanted) in cases {
        has(&held(mandate), &plan(fill), wanted);
    }
}

#[test]
fn a_forced_environment_replaces_every_string_of_its_name() {
    let held =
        held("environment = ['A', 'PATH']\nforced.environment = { PATH = '/usr/bin', LD_X = '1' }");
    let plan = plan(|plan| {
        plan.env("PATH", "/tmp").env("A", "1").env("PATH", "/home");
    });
    let judged = judged(&held, &plan, &[]).unwrap();
    let found: Vec<_> = judged.plan.as_plan().envp().map(|it| it.to_str().unwrap()).collect();
    assert_eq!(found, ["A=1", "LD_X=1", "PATH=/usr/bin"]);
}

#[test]
fn a_forced_directory_is_a_handle() {
    let held = held("forced.directory = '/usr'");
    let judged = judged(&held, &plan(|_| {}), &[]).unwrap();
    let found = ops(&judged);
    assert!(found.iter().any(|op| matches!(op, Op::ChdirSlot { .. })), "{found:?}");
    assert!(!found.iter().any(|op| matches!(op, Op::ChdirPath { .. })), "{found:?}");
    assert!(matches!(judged.grants[..], [Grant::Ours(_), Grant::Ours(_)]));
}

#[test]
fn filters_are_all_there_and_have_no_listener() {
    let held = held("ops = ['seccomp']\nforced.seccomp = 'default'");
    // RET ALLOW.
    let allow: &[u8] = &[6, 0, 0, 0, 0, 0, 0xff, 0x7f];
    let filter = |flags| {
        plan(|plan| {
            plan.op(&Op::Seccomp { flags, program: allow });
        })
    };
    let judged_filter = judged(&held, &filter(FilterFlags::empty()), &[]).unwrap();
    let found = ops(&judged_filter);
    let filters = found.iter().filter(|op| matches!(op, Op::Seccomp { .. })).count();
    assert_eq!((filters, found.contains(&Op::NoNewPrivs)), (2, true));
    let refused = judged(&held, &filter(FilterFlags::LISTENER), &[]).expect_err("a listener");
    assert_eq!(refused.rule, "ops");
    for (text, sound) in [
        ("forced.seccomp = 'no-such'", false),
        (
            "forced.seccomp = { default = 'allow', rules = [{ action = 'EPERM', calls = ['ptrace'] }] }",
            true,
        ),
        (
            "forced.seccomp = { default = 'allow', rules = [{ action = 'notify', calls = ['ptrace'] }] }",
            false,
        ),
    ] {
        let made = Compiled::named_on(root(), "test", &over_base(text));
        assert_eq!(made.is_ok(), sound, "{text} {:?}", made.err());
    }
}

#[test]
fn one_ruleset_of_landlock_is_enforced() {
    if embryo::Landlock::kernel_abi().is_none() {
        embryo_tests::skip!("the kernel has no Landlock");
    }
    let text = "ops = ['landlock']\nforced.landlock = { abi = 1, files = [{ path = '/usr', rights = ['execute', 'read-file', 'read-dir'] }] }";
    let held = held(text);
    let judged_one = judged(&held, &plan(|_| {}), &[]).unwrap();
    let found = ops(&judged_one);
    let landlock = |op: &&Op<'_>| matches!(op, Op::Confine(ConfineOp::Landlock { .. }));
    assert_eq!(found.iter().filter(landlock).count(), 1);
    assert!(found.contains(&Op::NoNewPrivs));
    let own = plan(|plan| {
        let slot = plan.slot();
        let flags = embryo::LandlockFlags::empty();
        plan.op(&Op::Confine(ConfineOp::Landlock { slot, flags }));
    });
    let null = File::open("/dev/null").unwrap();
    let refused = judged(&held, &own, &[null.as_fd()]).expect_err("two");
    assert_eq!(refused.rule, "forced.landlock");
    let json = "forced.landlock = { abi = 1, files = [{ path = '/usr', rights = ['execute'] }] }";
    assert_eq!(narrowed(&super::held(""), json).expect_err("paths").rule, "forced.landlock");
}

#[test]
fn a_forced_cgroup_replaces_the_plans() {
    let path = "/sys/fs/cgroup";
    if Group::open(path.as_ref(), true).is_err() {
        embryo_tests::skip!("no cgroup v2 at {path}");
    }
    let asked = plan(|plan| {
        let slot = plan.slot();
        plan.op(&Op::Cgroup(CgroupOp::Join { slot }));
    });
    let directory = File::open(path).unwrap();
    for (own, bounds) in [(false, ""), (true, "")] {
        let text = format!(
            "ops = ['cgroup']\nbounds.cgroups = ['{path}']{bounds}\nforced.cgroup = {{ path = '{path}', own = {own} }}"
        );
        let judged = judged(&held(&text), &asked, &[directory.as_fd()]).unwrap();
        assert_eq!(judged.cgroup.is_some(), own);
        let found = ops(&judged);
        let Some(Op::Cgroup(CgroupOp::Join { slot })) = found.first() else {
            panic!("{found:?}");
        };
        let grant = &judged.grants[slot.0 as usize];
        assert!(matches!((own, grant), (false, Grant::Ours(_)) | (true, Grant::Cgroup)));
    }
}

#[test]
fn what_cannot_be_forced_is_an_error_with_its_key() {
    for (text, key) in [
        ("forced.namespaces = ['user']", "forced.namespaces"),
        ("forced.umask = 0o1000", "forced.umask"),
        ("forced.nice = 20", "forced.nice"),
        ("forced.oom-score-adj = 1001", "forced.oom-score-adj"),
        ("forced.limits = { nofiles = 1 }", "forced.limits"),
        ("forced.uid = 'no-such-user'", "forced.uid"),
        ("forced.uid = '1-2'", "forced.uid"),
        ("forced.gid = 4294967295", "forced.gid"),
        ("forced.directory = '/usr/../etc'", "forced.directory"),
        ("forced.directory = '/no-such-directory'", "forced.directory"),
        ("forced.environment = { 'A=B' = '1' }", "forced.environment"),
        ("forced.cgroup = { path = '/usr' }", "forced.cgroup"),
        ("bounds.limits = { nofiles = 1 }", "bounds.limits"),
        ("bounds.uids = ['5-1']", "bounds.uids"),
        ("bounds.cgroups = ['/usr']", "bounds.cgroups"),
        ("bounds.roots = ['relative']", "bounds.roots"),
        ("bounds.sources = [{ path = '/no/such' }]", "bounds.sources"),
        ("ops = ['setsid']", "ops"),
        ("signals = ['NOSUCH']", "signals"),
        ("environment = ['A=']", "environment"),
        ("peers = [{ uids = ['no-such-user'] }]", "peers"),
    ] {
        let wrong = Compiled::named_on(root(), "test", &over_base(text)).expect_err(text);
        assert_eq!(wrong[0].rule, key, "{wrong:?}");
    }
}
