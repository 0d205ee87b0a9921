//! Promise: every op does what it says, seen by the child and from outside, and where it fails the
//! error names it and nothing is left. On every route, as root and as an ordinary user.
//!
//! It must never pass because an op has no test: the list of tests is compared with that of ops.
//! Effects and faults of the ops on memory and of `start-registers` are tested in `live_embryo.rs`,
//! which compares itself with exactly those that are left out here.

mod before;
mod caller;
mod catalogue;
mod filter;
mod launch;
mod on_memory;
mod refusal;

use before::Before;
use catalogue::{Failure, Sample, Who, failures, samples};
use embryo::OpCode;
use embryo_tests::{alone, is_root, rerun_as_nobody, skip};
use launch::{Draft, Way};

#[path = "every_op/beyond.rs"]
mod beyond;
#[path = "every_op/kept.rs"]
mod kept;

/// For each op three tests: that it takes effect, that it fails as it should, and both as an
/// ordinary user; and the list of all these ops.
macro_rules! every_op {
    ($($name:ident = $code:ident,)*) => {
        const TESTED: &[OpCode] = &[$(OpCode::$code,)*];
        $(mod $name {
            use super::*;

            #[test]
            fn takes_effect() {
                alone!();
                if let Err(reason) = take_effect(OpCode::$code, |who| !matches!(who, Who::Without(_))) {
                    skip!("{reason}");
                }
            }

            #[test]
            fn fails_as_it_should() {
                alone!();
                if let Err(reason) = fail(OpCode::$code, |_| true) {
                    skip!("{reason}");
                }
            }

            #[test]
            fn as_an_ordinary_user() {
                if is_root() {
                    return rerun_as_nobody(embryo_tests::here!());
                }
                alone!();
                // What needs a capability has been said to be skipped by the tests above.
                let _ = take_effect(OpCode::$code, |who| !matches!(who, Who::With(_)));
                let _ = fail(OpCode::$code, |who| !matches!(who, Who::With(_)));
            }
        })*
    };
}

every_op! {
    fail_op = Fail,
    set_sid = SetSid,
    set_pgid = SetPgid,
    controlling_tty = ControllingTty,
    foreground = Foreground,
    put_fd = PutFd,
    open_null = OpenNull,
    oom_score_adj = OomScoreAdj,
    rlimit = Rlimit,
    sched = Sched,
    nice = Nice,
    affinity = Affinity,
    io_priority = IoPriority,
    timer_slack = TimerSlack,
    core_scheduling = CoreScheduling,
    memory_policy = MemoryPolicy,
    chroot_path = ChrootPath,
    chroot_slot = ChrootSlot,
    chdir_path = ChdirPath,
    chdir_slot = ChdirSlot,
    umask = Umask,
    groups = Groups,
    gid = Gid,
    uid = Uid,
    death_signal = DeathSignal,
    subreaper = Subreaper,
    personality = Personality,
    no_new_privs = NoNewPrivs,
    seccomp = Seccomp,
    bounding_set = BoundingSet,
    securebits = Securebits,
    keep_capabilities = KeepCapabilities,
    capabilities = Capabilities,
    ambient = Ambient,
    session_keyring = SessionKeyring,
    mdwe = Mdwe,
    thp_disable = ThpDisable,
    landlock = Landlock,
    landlock_path = LandlockPath,
    signal_ignore = SignalIgnore,
    signal_mask = SignalMask,
    signal_default = SignalDefault,
    new_root = NewRoot,
    bind = Bind,
    bind_slot = BindSlot,
    bind_mapped = BindMapped,
    tmpfs = Tmpfs,
    proc_ = Proc,
    devpts = Devpts,
    mqueue = Mqueue,
    overlay = Overlay,
    symlink = Symlink,
    directory = Directory,
    file_slot = FileSlot,
    chmod = Chmod,
    propagation = Propagation,
    attributes = Attributes,
    unmount = Unmount,
    enter_root = EnterRoot,
    join_namespace = JoinNamespace,
    user_namespace = UserNamespace,
    mapped_user_namespace = MappedUserNamespace,
    unshare = Unshare,
    clock_offset = ClockOffset,
    pid_namespace = PidNamespace,
    host_name = HostName,
    domain_name = DomainName,
    loopback = Loopback,
    nested_user_namespace = NestedUserNamespace,
    cgroup_join = CgroupJoin,
    tie = Tie,
    exec_path = ExecPath,
    exec_slot = ExecSlot,
    exec_name = ExecName,
}

#[test]
fn every_op_has_a_test_of_its_effect_and_of_its_fault() {
    let here: Vec<OpCode> =
        OpCode::ALL.iter().copied().filter(|code| !on_memory::is_on_memory(*code)).collect();
    assert_eq!(TESTED, here, "an op has no test, or stands in another order");
    for code in TESTED {
        assert!(!samples(*code).is_empty(), "{} has no sample", code.name());
        assert!(!failures(*code).is_empty(), "{} has no failure", code.name());
    }
}

/// Launches each sample that `wanted` takes, on each way, and checks what it shows.
fn take_effect(code: OpCode, wanted: fn(&Who) -> bool) -> Result<(), String> {
    before::warm_up();
    let before = Before::capture();
    let mut skipped = Vec::new();
    for Sample { name, who, add, .. } in samples(code) {
        if !wanted(&who) {
            continue;
        }
        if !who.is_me() {
            skipped.push(format!("{name} needs {who:?}"));
            continue;
        }
        let mut draft = Draft::watched();
        let _ = add(&mut draft);
        for way in draft.ways() {
            // Anew for each launch: a terminal, for one, serves one session.
            let mut draft = Draft::watched();
            let check = add(&mut draft);
            eprintln!("{}: {name}, {way:?}", code.name());
            let child = draft.watch(*way);
            check(&child);
            child.end();
        }
    }
    before.assert_nothing_left();
    if skipped.is_empty() { Ok(()) } else { Err(skipped.join("; ")) }
}

/// Launches each failure that `wanted` takes, on each way, and checks what the error says and that
/// nothing is left.
fn fail(code: OpCode, wanted: fn(&Who) -> bool) -> Result<(), String> {
    before::warm_up();
    let mut ran = 0;
    for failure in failures(code).into_iter().filter(|failure| wanted(&failure.who)) {
        if !failure.who.is_me() {
            continue;
        }
        ran += 1;
        if let Some(refusal) = failure.refusal {
            refusal.enforce();
        }
        let mut draft = Draft::probe(&["exit", "0"]);
        (failure.add)(&mut draft);
        for way in failure.ways(&draft) {
            eprintln!("{}: {}, {way:?}", code.name(), failure.name);
            fail_once(&failure, way);
        }
    }
    if ran > 0 { Ok(()) } else { Err("none of its failures can be had by this user".into()) }
}

fn fail_once(failure: &Failure, way: Way) {
    let mut draft = Draft::probe(&["exit", "0"]);
    (failure.add)(&mut draft);
    let plan = draft.build();
    let codes: Vec<OpCode> =
        (0..plan.as_plan().entries().len() as u32).filter_map(|i| plan.as_plan().code(i)).collect();
    let index = codes.iter().position(|code| *code == failure.code).expect("the op is in it");
    let before = Before::capture();
    let error = draft.spawn(way).expect_err("it cannot be done");
    before.assert_nothing_left();
    let text = error.to_string();
    let spawn = error.as_spawn().unwrap_or_else(|| panic!("not a fault: {text}"));
    assert_eq!(i32::from(spawn.fault.errno), failure.errno, "{text}");
    assert_eq!(error.raw_os_error(), Some(failure.errno), "{text}");
    assert_eq!(spawn.step(), failure.step, "{text}");
    if failure.step.is_none() {
        assert_eq!(
            (spawn.index(), spawn.op()),
            (Some(index as u32), failure.code.name()),
            "{text}"
        );
        assert!(text.starts_with(&format!("op {index}, {}", failure.code.name())), "{text}");
    }
    if let Some(object) = failure.object {
        assert!(spawn.object.as_ref().is_some_and(|o| o.contains(object)), "{object}: {text}");
        assert!(text.contains(object), "{text}");
    }
    match embryo::errno_name(failure.errno as u32) {
        Some(name) => assert!(text.contains(name), "{text}"),
        None => assert!(text.contains(&failure.errno.to_string()), "{text}"),
    }
}
