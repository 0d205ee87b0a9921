//! Every rule on ops, bounds, environment and numbers: one request that it lets through, and one that it refuses
//! by its name.

use super::super::may_signal;
use super::super::ops::NEVER;
use super::{held, held_on, judged, keeping, ops, peer, plan, root};
use embryo::{
    CapSets, CgroupOp, Keep, MountFlags, MountOp, NamespaceOp, Namespaces, Op, Plan, PlanBuilder,
    PrivilegeOp,
};
use std::fs::File;
use std::os::fd::AsFd;

const ALL: Keep = Keep::SESSION.union(Keep::UMASK).union(Keep::CWD);

/// A plan with this op that keeps the rest.
fn one(op: Op<'_>) -> Plan {
    let said = match op {
        Op::SetSid => Keep::SESSION,
        Op::Umask { .. } => Keep::UMASK,
        Op::ChdirPath { .. } => Keep::CWD,
        _ => Keep::empty(),
    };
    keeping(ALL - said, |plan| {
        plan.op(&op);
    })
}

fn uid(real: u32, effective: u32, saved: u32) -> Op<'static> {
    Op::Uid { real, effective, saved }
}

fn nofile(hard: u64) -> Op<'static> {
    Op::Rlimit { resource: 7, soft: 1, hard }
}

fn capabilities(permitted: u64) -> Op<'static> {
    let given = CapSets::PERMITTED | CapSets::EFFECTIVE;
    Op::Privilege(PrivilegeOp::Capabilities { given, effective: 0, permitted, inheritable: 0 })
}

fn bounding(keep: u64) -> Op<'static> {
    Op::Privilege(PrivilegeOp::BoundingSet { keep })
}

/// A rule, a mandate that has it, an op that it lets through and one that it refuses.
fn by_op() -> Vec<(&'static str, &'static str, Op<'static>, Op<'static>)> {
    let sched = |policy, priority| Op::Sched {
        policy,
        priority,
        flags: 0,
        runtime_ns: 0,
        deadline_ns: 0,
        period_ns: 0,
    };
    let unshare = |kinds| Op::Namespace(NamespaceOp::Unshare { kinds });
    let pid = Op::Namespace(NamespaceOp::Pid { pid: 0 });
    let user = Op::Namespace(NamespaceOp::User { uid: 0, gid: 0 });
    let ambient = |set| Op::Privilege(PrivilegeOp::Ambient { set });
    let chdir = |path| Op::ChdirPath { path };
    let gid = |id| Op::Gid { real: id, effective: id, saved: id };
    vec![
        ("ops", "ops = ['nice']", Op::Nice { value: 3 }, Op::TimerSlack { ns: 1 }),
        ("ops", "ops = []", Op::SetSid, Op::Subreaper),
        ("ops", "ops = []", Op::NoNewPrivs, Op::SignalMask { set: 2 }),
        ("ops", "ops = []", Op::Umask { mode: 0o22 }, Op::Umask { mode: 0 }),
        ("ops", "ops = []", chdir(c"/"), chdir(c"/usr")),
        ("ops", "ops = ['sched']", sched(3, 0), sched(1, 1)),
        (
            "ops",
            "ops = ['io-priority']",
            Op::IoPriority { value: 2 << 13 },
            Op::IoPriority { value: 1 << 13 },
        ),
        ("bounds.nice", "ops = ['nice']", Op::Nice { value: 0 }, Op::Nice { value: -1 }),
        (
            "bounds.nice",
            "ops = ['nice']\nbounds.nice = -5",
            Op::Nice { value: -5 },
            Op::Nice { value: -6 },
        ),
        (
            "bounds.oom-score-adj",
            "ops = ['oom-score-adj']\nbounds.oom-score-adj = 100",
            Op::OomScoreAdj { value: 100 },
            Op::OomScoreAdj { value: 99 },
        ),
        (
            "bounds.limits",
            "ops = ['rlimit']\nbounds.limits = { nofile = 64 }",
            nofile(64),
            nofile(65),
        ),
        (
            "bounds.limits",
            "ops = ['rlimit']\nbounds.limits = { nofile = 64 }",
            nofile(1),
            Op::Rlimit { resource: 4, soft: 0, hard: 0 },
        ),
        ("bounds.uids", "ops = ['uid']\nbounds.uids = [5]", uid(5, 5, 5), uid(5, 5, 0)),
        ("bounds.uids", "ops = ['uid']\nbounds.uids = [5]", uid(5, 5, 5), uid(5, 5, u32::MAX)),
        ("bounds.uids", "ops = ['uid']\nbounds.uids = ['0-7']", uid(0, 7, 1), uid(8, 0, 0)),
        ("bounds.gids", "ops = ['gid', 'groups']\nbounds.gids = [5]", gid(5), gid(6)),
        (
            "bounds.gids",
            "ops = ['groups']\nbounds.gids = [0, 7]",
            Op::Groups { list: &[7, 0, 0, 0] },
            Op::Groups { list: &[7, 0, 0, 0, 0, 1, 0, 0] },
        ),
        (
            "bounds.namespaces",
            "ops = ['unshare', 'pid-namespace']\nbounds.namespaces = ['net', 'pid']",
            unshare(Namespaces::NET),
            unshare(Namespaces::NET | Namespaces::IPC),
        ),
        (
            "bounds.namespaces",
            "ops = ['unshare', 'pid-namespace']\nbounds.namespaces = ['net']",
            unshare(Namespaces::NET),
            pid,
        ),
        (
            "bounds.namespaces",
            "ops = ['pid-namespace', 'user-namespace']\nbounds.namespaces = ['pid']",
            pid,
            user,
        ),
        (
            "bounds.capabilities",
            "ops = ['bounding-set', 'capabilities']\nbounds.capabilities = 'kill'",
            bounding(1 << 5),
            bounding(1 << 5 | 1),
        ),
        (
            "bounds.capabilities",
            "ops = ['ambient']\nforced.bounding-set = 'kill'\nbounds.capabilities = 'kill'",
            ambient(1 << 5),
            ambient(1 << 6),
        ),
        (
            "bounds.capabilities",
            "ops = ['capabilities']\nforced.bounding-set = 'kill'\nbounds.capabilities = 'kill'",
            capabilities(1 << 5),
            capabilities(3 << 5),
        ),
        (
            "bounds.directories",
            "ops = ['chdir']\nbounds.directories = ['/usr']",
            chdir(c"/usr/bin"),
            chdir(c"/etc"),
        ),
        (
            "bounds.directories",
            "ops = ['chdir']\nbounds.directories = ['/usr']",
            chdir(c"/usr"),
            chdir(c"/usr/../etc"),
        ),
    ]
}

#[test]
fn each_rule_lets_an_op_through_and_refuses_one() {
    for (rule, mandate, good, bad) in by_op() {
        let held = held(mandate);
        judged(&held, &one(good), &[]).unwrap_or_else(|why| panic!("{rule} {good:?}: {why:?}"));
        let refused = judged(&held, &one(bad), &[]).expect_err(rule);
        assert_eq!(refused.rule, rule, "{bad:?}: {}", refused.why);
    }
}

#[test]
fn what_is_never_allowed_cannot_even_be_named() {
    for (code, _) in NEVER {
        let source = super::over_base(&format!("ops = ['{}']", code.name()));
        let wrong = super::Compiled::named_on(root(), "test", &source).expect_err(code.name());
        assert_eq!(wrong[0].rule, "ops", "{wrong:?}");
    }
}

#[test]
fn what_is_never_allowed_is_refused_where_no_list_is() {
    let held = super::narrowed(&held("ops = ['unshare', 'set-pgid']"), "").expect("narrower");
    for (op, slots) in [
        (Op::DeathSignal { signal: 9 }, 0),
        (Op::Cgroup(CgroupOp::Tie { slot: embryo::Slot(0) }), 1),
        (Op::SetPgid { pgid: 1 }, 0),
    ] {
        let plan = plan(|plan| {
            for _ in 0..slots {
                plan.slot();
            }
            plan.op(&op);
        });
        let null = File::open("/dev/null").unwrap();
        let refused = judged(&held, &plan, &vec![null.as_fd(); slots]).expect_err("never");
        assert_eq!(refused.rule, "ops");
        assert!(refused.why.contains("never"), "{}", refused.why);
    }
}

#[test]
fn nothing_of_the_agent_is_kept() {
    let held = held("ops = []");
    let keep = ALL | Keep::IGNORED_SIGNALS | Keep::SIGNAL_MASK;
    let judged = judged(&held, &keeping(keep, |_| {}), &[]).unwrap();
    let found = ops(&judged);
    assert_eq!(
        found[..3],
        [Op::SetSid, Op::ChdirPath { path: c"/" }, Op::Umask { mode: 0o22 }],
        "{found:?}"
    );
    assert_eq!(judged.origin, [u32::MAX, u32::MAX, u32::MAX, 0]);
}

#[test]
fn a_process_group_of_its_own_becomes_a_session_of_its_own() {
    let held = held("ops = ['signal-default']");
    let plan = keeping(ALL | Keep::IGNORED_SIGNALS, |plan| {
        plan.op(&Op::SetPgid { pgid: 0 }).op(&Op::SignalDefault { set: 1 });
    });
    let judged = judged(&held, &plan, &[]).unwrap();
    assert_eq!(ops(&judged)[0], Op::SetSid);
    assert_eq!(judged.plan.as_plan().entries().len(), 4);
}

#[test]
fn whoever_changes_its_uid_loses_its_groups() {
    let judged = judged(&held("ops = ['uid']"), &one(uid(5, 5, 5)), &[]).unwrap();
    assert!(ops(&judged).contains(&Op::Groups { list: &[] }), "{:?}", ops(&judged));
}

#[test]
fn ids_and_groups_that_are_not_set_are_the_agents_own() {
    for (rule, mandate) in
        [("bounds.uids", "bounds.uids = [5]"), ("bounds.gids", "bounds.gids = [5]")]
    {
        assert_eq!(judged(&held(mandate), &plan(|_| {}), &[]).expect_err(rule).rule, rule);
    }
    let mut host = root();
    host.groups = [3].into();
    let held = held_on(host, 1000, "bounds.gids = [0]");
    assert_eq!(judged(&held, &plan(|_| {}), &[]).expect_err("group 3").rule, "bounds.gids");
}

#[test]
fn a_user_namespace_is_the_agents_own_uid() {
    let mandate =
        "ops = ['user-namespace', 'uid']\nbounds.namespaces = ['user']\nbounds.uids = [5]";
    let plan = plan(|plan| {
        plan.op(&Op::Namespace(NamespaceOp::User { uid: 5, gid: 0 }));
    });
    assert_eq!(judged(&held(mandate), &plan, &[]).expect_err("uid 0").rule, "bounds.uids");
    let forced = format!("{mandate}\nforced.uid = 5");
    assert_eq!(judged(&held(&forced), &plan, &[]).expect_err("uid 0").rule, "forced.uid");
}

#[test]
fn a_root_without_its_capabilities_needs_none_listed() {
    let held = held("bounds.capabilities = 'none'");
    let refused = judged(&held, &plan(|_| {}), &[]).expect_err("root");
    assert_eq!(refused.rule, "bounds.capabilities");
    let held = super::held("ops = ['bounding-set']\nbounds.capabilities = 'none'");
    judged(&held, &one(bounding(0)), &[]).expect("a root that is nobody");
}

#[test]
fn what_the_agent_has_in_its_ambient_set_is_taken_off() {
    let mut host = root();
    host.uids = [1000; 3];
    host.ambient = embryo::CapSet::from_bits(1 << 5);
    let held = held_on(host, 1000, "bounds.capabilities = 'none'");
    let judged = judged(&held, &plan(|_| {}), &[]).unwrap();
    assert!(ops(&judged).contains(&Op::Privilege(PrivilegeOp::Ambient { set: 0 })));
}

#[test]
fn an_environment_is_what_is_listed() {
    let mandate = "environment = ['LANG', 'LC_*', 'MY_?', 'LD_*', '*PATH', 'PATH', 'TZDIR']";
    let held = held(mandate);
    for (string, allowed) in [
        ("LANG=C", true),
        ("LC_ALL=", true),
        ("MY_A=1", true),
        ("MY_AB=1", false),
        ("lang=C", false),
        ("LANG", false),
        ("=C", false),
        ("LD_PRELOAD=x", false),
        ("PYTHONPATH=x", false),
        ("XPATH=x", true),
        ("PATH=/", true),
        ("TZDIR=/", true),
        ("BASH_ENV=x", false),
    ] {
        let plan = plan(|plan| {
            plan.env_string(string);
        });
        match judged(&held, &plan, &[]) {
            Ok(_) => assert!(allowed, "{string} was let through"),
            Err(why) => {
                assert!(!allowed, "{string}: {why:?}");
                assert_eq!(why.rule, "environment");
            }
        }
    }
    let long = "x".repeat(100_000);
    let long = plan(|plan| {
        plan.env_string(&long);
    });
    assert!(judged(&held, &long, &[]).expect_err("no name").why.len() < 600);
    let exact = super::held("environment = ['LD_PRELOAD']");
    let plan = plan(|plan| {
        plan.env("LD_PRELOAD", "x");
    });
    judged(&exact, &plan, &[]).expect("it was written out");
}

#[test]
fn sizes_are_numbers() {
    let null = File::open("/dev/null").unwrap();
    let with_one = plan(|plan| {
        let slot = plan.slot();
        plan.op(&Op::PutFd { slot, fd: 1 });
    });
    let mandate = "ops = ['put-fd']\nnumbers.grants = ";
    judged(&held(&format!("{mandate}1")), &with_one, &[null.as_fd()]).expect("one grant");
    let refused = judged(&held(&format!("{mandate}0")), &with_one, &[null.as_fd()]);
    assert_eq!(refused.expect_err("a grant").rule, "numbers.grants");
    assert_eq!(judged(&held("ops = ['put-fd']"), &with_one, &[]).expect_err("none").rule, "grants");
    let size = with_one.as_bytes().len();
    let mandate = "ops = ['put-fd']\nnumbers.plan-bytes = ";
    judged(&held(&format!("{mandate}{size}")), &with_one, &[null.as_fd()]).expect("its size");
    let refused = judged(&held(&format!("{mandate}{}", size - 1)), &with_one, &[null.as_fd()]);
    assert_eq!(refused.expect_err("its size").rule, "numbers.plan-bytes");
}

#[test]
fn signals_are_what_is_listed() {
    let named = held("signals = ['TERM', 'sigint', 10]");
    for (signal, allowed) in
        [(15, true), (2, true), (10, true), (9, false), (0, false), (65, false)]
    {
        let found = may_signal(&named, signal);
        assert_eq!(found.is_ok(), allowed, "{signal}");
        assert!(found.is_ok() || found.unwrap_err().rule == "signals");
    }
    let narrower = super::narrowed(&named, "signals = ['TERM', 'KILL']").unwrap();
    assert!(may_signal(&narrower, 15).is_ok());
    assert!(may_signal(&narrower, 2).is_err() && may_signal(&narrower, 9).is_err());
    assert!(may_signal(&super::held(""), 15).is_err());
}

#[test]
fn peers_are_who_is_listed() {
    use std::path::PathBuf;
    let compiled = |text: &str| {
        let source = super::over_base(text);
        super::Compiled::named_on(root(), "test", &source).unwrap()
    };
    let mut in_cgroup = peer(1000);
    in_cgroup.cgroup = Some(PathBuf::from("/user.slice/a"));
    for (text, who, admitted) in [
        ("", peer(1000), false),
        ("peers = []", peer(0), false),
        ("peers = [{}]", peer(9), true),
        ("peers = [{ uids = [1000] }]", peer(1000), true),
        ("peers = [{ uids = [1000] }]", peer(1001), false),
        ("peers = [{ uids = ['root'] }]", peer(0), true),
        ("peers = [{ gids = [50] }]", peer(1001), true),
        ("peers = [{ gids = [51] }]", peer(1001), false),
        ("peers = [{ uids = [1], gids = [50] }]", peer(1001), false),
        ("peers = [{ uids = [1] }, { gids = [50] }]", peer(1001), true),
        ("peers = [{ cgroup = '/user.slice' }]", peer(1000), false),
    ] {
        assert_eq!(compiled(text).admits(&who), admitted, "{text} {who:?}");
    }
    assert!(compiled("peers = [{ cgroup = 'user.slice' }]").admits(&in_cgroup));
    assert!(!compiled("peers = [{ cgroup = '/user' }]").admits(&in_cgroup));
}

const MOUNTS: &str = "ops = ['unshare', 'new-root', 'enter-root', 'bind', 'bind-fd', 'chdir', 'chroot', 'mount-attributes', 'symlink']
bounds.namespaces = ['mount']
bounds.roots = ['/usr']
bounds.sources = [{ path = '/usr' }, { path = '/usr/share', writable = true }]";

fn in_root(fill: impl FnOnce(&mut PlanBuilder)) -> Plan {
    keeping(Keep::SESSION | Keep::UMASK, |plan| {
        plan.op(&Op::Namespace(NamespaceOp::Unshare { kinds: Namespaces::MOUNT }))
            .op(&Op::Mount(MountOp::NewRoot { size: 0, mode: 0o755, inodes: 0 }));
        fill(plan);
        plan.op(&Op::Mount(MountOp::EnterRoot)).op(&Op::ChdirPath { path: c"/proc/1/root" });
    })
}

#[test]
fn binds_are_of_what_is_listed() {
    let bind = |source, flags| {
        in_root(|plan| {
            plan.op(&Op::Mount(MountOp::Bind { source, target: c"/a", flags }));
        })
    };
    let read_only = MountFlags::READ_ONLY;
    let held = held(MOUNTS);
    let judged_bind = judged(&held, &bind(c"/usr/bin", read_only), &[]).unwrap();
    let found = ops(&judged_bind).into_iter().find_map(|op| match op {
        Op::Mount(MountOp::BindSlot { target, flags, .. }) => Some((target, flags)),
        _ => None,
    });
    assert_eq!(found, Some((c"/a", read_only)));
    judged(&held, &bind(c"/usr/share", MountFlags::empty()), &[]).expect("a writable one");
    let gone = bind(c"/usr/no-such-thing", read_only | MountFlags::OPTIONAL);
    let without = judged(&held, &gone, &[]).expect("an optional one");
    assert!(!ops(&without).iter().any(|op| matches!(op, Op::Mount(MountOp::BindSlot { .. }))));
    for (source, flags) in [
        (c"/usr/bin", MountFlags::empty()),
        (c"/etc", read_only),
        (c"/usr/no-such-thing", read_only),
        (c"/usr/../etc", read_only),
    ] {
        let refused = judged(&held, &bind(source, flags), &[]).expect_err("a source");
        assert_eq!(refused.rule, "bounds.sources", "{source:?}");
    }
    let clearing = in_root(|plan| {
        let flags = MountFlags::empty();
        plan.op(&Op::Mount(MountOp::Attributes { target: c"/a", flags, clear: read_only }));
    });
    assert_eq!(judged(&held, &clearing, &[]).expect_err("clears").rule, "ops");
}

#[test]
fn in_a_root_of_its_own_a_child_gains_nothing() {
    let held = held(MOUNTS);
    let plan = in_root(|plan| {
        plan.op(&Op::Mount(MountOp::Symlink { text: c"/x", target: c"/y" }));
    });
    let judged_root = judged(&held, &plan, &[]).unwrap();
    let found = ops(&judged_root);
    let at = |wanted: &Op<'_>| found.iter().position(|op| op == wanted).expect("it is there");
    let chdir = at(&Op::ChdirPath { path: c"/proc/1/root" });
    assert!(at(&Op::NoNewPrivs) > chdir, "{found:?}");
    let (held, rule) =
        (super::held(&format!("{MOUNTS}\nforced.directory = '/usr'")), "forced.directory");
    assert_eq!(judged(&held, &plan, &[]).expect_err(rule).rule, rule);
}

#[test]
fn a_working_directory_in_a_new_root_is_looked_up_by_who_the_child_is() {
    let held = held(&format!("{}\nbounds.uids = [5]", MOUNTS.replace("'bind',", "'bind', 'uid',")));
    let plan = keeping(Keep::SESSION | Keep::UMASK, |plan| {
        plan.op(&Op::ChrootPath { path: c"/usr" })
            .op(&Op::ChdirPath { path: c"/bin" })
            .op(&uid(5, 5, 5));
    });
    let judged_root = judged(&held, &plan, &[]).unwrap();
    let codes: Vec<&str> = ops(&judged_root).iter().map(|op| op.code().name()).collect();
    let wanted =
        ["set-sid", "chroot-fd", "groups", "uid", "chdir", "umask", "no-new-privs", "exec-fd"];
    assert_eq!(codes, wanted);
    let elsewhere = keeping(Keep::SESSION | Keep::UMASK, |plan| {
        plan.op(&Op::ChrootPath { path: c"/usr/bin" }).op(&Op::ChdirPath { path: c"/" });
    });
    assert_eq!(judged(&held, &elsewhere, &[]).expect_err("a root").rule, "bounds.roots");
}

#[test]
fn cgroups_are_what_is_listed_and_below() {
    let own = "/sys/fs/cgroup";
    if super::super::cgroups::Group::open(own.as_ref(), true).is_err() {
        embryo_tests::skip!("no cgroup v2 at {own}");
    }
    let held = held(&format!("ops = ['cgroup']\nbounds.cgroups = ['{own}']"));
    let plan = plan(|plan| {
        let slot = plan.slot();
        plan.op(&Op::Cgroup(CgroupOp::Join { slot }));
    });
    let open = |path: &str| File::open(path).unwrap();
    judged(&held, &plan, &[open(own).as_fd()]).expect("the cgroup that is listed");
    let below = std::fs::read_dir(own).unwrap().flatten().find(|it| it.path().is_dir());
    if let Some(below) = below {
        let below = open(below.path().to_str().unwrap());
        judged(&held, &plan, &[below.as_fd()]).expect("one below");
    }
    for other in ["/", "/sys/fs", "/sys/fs/cgroup/cgroup.procs"] {
        let refused = judged(&held, &plan, &[open(other).as_fd()]).expect_err(other);
        assert_eq!(refused.rule, "bounds.cgroups");
    }
}
