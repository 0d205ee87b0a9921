//! Promise: what lives outside a child, its cgroup, goes with it, and a child that is tied to its handle
//! goes with that; whoever of those involved is killed, and when.
//!
//! It must never be content with a cgroup that is empty: it has to be gone.

mod before;
mod launch;

use before::Before;
use delegated::Delegated;
use embryo::{
    Amount, Cgroup, CgroupLimits, CgroupOp, Command, Error, Op, Process, SpawnOptions,
    TransientCgroup,
};
use embryo_tests::{
    NOBODY, alone, children_of_self, descendants_of_self, is_root, probe_path, rerun_as_nobody,
    skip, wait_for,
};
use launch::{Draft, PATIENCE, Way};
use std::collections::BTreeMap;
use std::io::{BufRead, Read};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

#[path = "guardian/delegated.rs"]
mod delegated;

/// Goes on with a cgroup to make others in.
macro_rules! delegated {
    () => {
        match Delegated::get() {
            Some(delegated) => delegated,
            None => skip!("no cgroup can be made here"),
        }
    };
}

fn options() -> SpawnOptions {
    SpawnOptions::new().timeout(PATIENCE)
}

/// A shell in a cgroup of its own.
fn shell(parent: &Path, script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script]).spawn_options(options());
    command.transient_cgroup(TransientCgroup::in_parent(parent));
    command
}

/// The cgroup of a process on the hierarchy of version 2.
fn cgroup_of(pid: u32) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("it lives");
    let line = text.lines().find_map(|line| line.strip_prefix("0::"));
    line.expect("there is that hierarchy").to_owned()
}

/// A line of what a child writes.
fn line(process: &mut Process) -> String {
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(process.stdout.as_mut().expect("it is piped"));
    stdout.read_line(&mut line).expect("a pipe can be read");
    line.trim().to_owned()
}

fn exists(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn a_child_starts_inside_and_the_cgroup_goes_with_it() {
    alone!();
    let delegated = delegated!();
    before::warm_up();
    let before = Before::capture();
    let mut child = shell(delegated.path(), "cat /proc/self/cgroup; read x");
    let child = child.stdin(embryo::Stdio::piped()).stdout(embryo::Stdio::piped());
    let mut child = child.spawn().expect("it can be started");
    let cgroup = child.cgroup().expect("it has one").path().to_owned();
    let name = cgroup.file_name().expect("it has a name").to_string_lossy().into_owned();
    assert!(cgroup_of(child.id()).ends_with(&name), "seen from outside");
    assert_eq!(delegated.list(), [name.as_str()]);
    let mut said = String::new();
    drop(child.stdin.take());
    let mut stdout = child.stdout.take().expect("it is piped");
    stdout.read_to_string(&mut said).expect("a pipe can be read");
    assert!(said.contains(&name), "seen from inside: {said}");
    drop(stdout);
    child.wait().expect("it ends");
    assert_eq!(delegated.list(), [""; 0], "it is gone when the child has been waited for");
    let figures = child.cgroup_figures().expect("it had one");
    assert!(figures.cpu.is_some(), "every kernel tells that: {figures:?}");
    drop(child);
    before.assert_nothing_left();
}

#[test]
fn nobody_of_the_family_outlives_the_child() {
    alone!();
    let delegated = delegated!();
    let script =
        "setsid sleep 600 & echo $!; setsid sh -c 'trap \"\" TERM HUP; sleep 600' & exit 3";
    let mut child = shell(delegated.path(), script);
    let mut child = child.stdout(embryo::Stdio::piped()).spawn().expect("it can be started");
    let other = line(&mut child);
    assert_eq!(child.wait().expect("it ends").code(), Some(3));
    assert_eq!(delegated.list(), [""; 0]);
    assert!(!exists(&other), "a process of the family lives on");
}

#[test]
fn the_family_can_be_killed_at_once() {
    alone!();
    let delegated = delegated!();
    let script = "setsid sleep 600 & echo $!; sleep 600";
    let mut child = shell(delegated.path(), script);
    let mut child = child.stdout(embryo::Stdio::piped()).spawn().expect("it can be started");
    let other = line(&mut child);
    assert!(exists(&other));
    child.kill_all().expect("it has a cgroup");
    assert!(wait_for(PATIENCE, || !exists(&other)));
    assert!(!child.wait().expect("it ends").success());
    let mut alone = Command::new("/bin/sleep");
    let mut alone = alone.arg("600").spawn().expect("it can be started");
    assert_eq!(alone.kill_all().expect_err("it has none").raw_os_error(), Some(libc::EOPNOTSUPP));
    alone.kill().expect("it is one's own");
    alone.wait().expect("it ends");
}

#[test]
fn dropping_the_handle_ends_all() {
    alone!();
    let delegated = delegated!();
    before::warm_up();
    let before = Before::capture();
    let child = shell(delegated.path(), "sleep 600 & sleep 600").spawn().expect("it starts");
    assert_eq!(delegated.list().len(), 1);
    drop(child);
    assert_eq!(delegated.list(), [""; 0]);
    before.assert_nothing_left_soon();
}

#[test]
fn one_that_is_let_go_of_keeps_its_cgroup_until_its_end() {
    alone!();
    let delegated = delegated!();
    before::warm_up();
    let before = Before::capture();
    let mut child = shell(delegated.path(), "read x; sleep 0.2 & exit");
    let mut child = child.stdin(embryo::Stdio::piped()).spawn().expect("it can be started");
    let stdin = child.stdin.take();
    let pid = child.detach();
    std::thread::sleep(Duration::from_millis(50));
    assert!(exists(&pid.to_string()));
    assert_eq!(delegated.list().len(), 1);
    drop(stdin);
    assert!(wait_for(PATIENCE, || delegated.list().is_empty()), "it is removed when it is empty");
    before.assert_nothing_left_soon();
}

#[test]
fn cgroups_that_the_child_made_go_too() {
    alone!();
    let delegated = delegated!();
    let cgroup = Cgroup::create(&TransientCgroup::in_parent(delegated.path()));
    let cgroup = cgroup.expect("it can be made");
    let deep = cgroup.path().join("a/b/c/d");
    for dir in [deep.as_path(), &cgroup.path().join("a/e"), &cgroup.path().join("f")] {
        std::fs::create_dir_all(dir).expect("it is one's own");
    }
    let mut child = Command::new("/bin/sleep");
    let mut child = child.arg("600").cgroup(&deep).spawn().expect("it can be started");
    assert!(cgroup_of(child.id()).ends_with("a/b/c/d"));
    assert!(cgroup.is_populated());
    drop(cgroup);
    assert_eq!(delegated.list(), [""; 0]);
    assert!(!child.wait().expect("it ends").success(), "it was killed");
}

/// Limits that take no controller, and one for each controller that there is.
#[test]
fn limits_are_written() {
    alone!();
    let delegated = delegated!();
    let mut spec = TransientCgroup::in_parent(delegated.path());
    spec.limits.other = BTreeMap::from([("cgroup.max.descendants".into(), "0".into())]);
    let cgroup = Cgroup::create(&spec).expect("it can be made");
    let error = std::fs::create_dir(cgroup.path().join("a")).expect_err("none may be below it");
    assert_eq!(error.raw_os_error(), Some(libc::EAGAIN));
    drop(cgroup);
    let other = |file: &str, value: &str| CgroupLimits {
        other: BTreeMap::from([(file.to_owned(), value.to_owned())]),
        ..CgroupLimits::default()
    };
    let amount = Some(Amount::Of(64 << 20));
    let all = [
        ("memory", CgroupLimits { memory_max: amount, ..CgroupLimits::default() }),
        ("pids", CgroupLimits { pids_max: Some(Amount::Of(3)), ..CgroupLimits::default() }),
        ("cpu", CgroupLimits { cpu_max: "50%".parse().ok(), ..CgroupLimits::default() }),
        ("cpuset", CgroupLimits { cpuset_cpus: Some("0".into()), ..CgroupLimits::default() }),
        ("hugetlb", other("hugetlb.2MB.max", "2097152")),
    ];
    let mut skipped = Vec::new();
    for (controller, limits) in all {
        let mut spec = TransientCgroup { limits, ..TransientCgroup::in_parent(delegated.path()) };
        let error = Cgroup::create(&spec).expect_err("it is not enabled");
        let text = error.to_string();
        assert_eq!(error.raw_os_error(), Some(libc::EOPNOTSUPP), "{text}");
        assert!(text.contains(controller) && text.contains("hint"), "{text}");
        assert_eq!(delegated.list(), [""; 0]);
        if !delegated.has(controller) {
            assert!(text.contains("does not have"), "{text}");
            skipped.push(controller);
            continue;
        }
        spec.enable_controllers = true;
        let cgroup = Cgroup::create(&spec).unwrap_or_else(|error| panic!("{error}"));
        for (file, value) in spec.limits.files().expect("they are sound") {
            let written = std::fs::read_to_string(cgroup.path().join(&file)).expect(&file);
            assert_eq!(written.trim(), value, "{file}");
        }
        if controller == "pids" {
            // It and two more.
            let script = "(sleep 600 & sleep 600 & sleep 600 & sleep 600 & wait) 2>&1 | head -c 1";
            let mut child = Command::new("/bin/sh");
            let mut child = child.args(["-c", script]).cgroup(cgroup.path()).spawn();
            let refused = wait_for(PATIENCE, || cgroup.figures().pids_refused > Some(0));
            assert!(refused, "{:?}", cgroup.figures());
            cgroup.kill().expect("it can be");
            child.as_mut().expect("it can be started").wait().expect("it ends");
            assert!(cgroup.figures().pids_peak.is_none_or(|peak| peak <= 3));
        }
    }
    if !skipped.is_empty() {
        skip!("controllers that are not on this hierarchy: {}", skipped.join(", "));
    }
}

#[test]
fn what_cannot_be_made_is_said_and_leaves_nothing() {
    alone!();
    let delegated = delegated!();
    before::warm_up();
    let before = Before::capture();
    let check = |spec: &TransientCgroup, errno: i32, what: &str| {
        let mut command = Command::new("/bin/true");
        let error = command.transient_cgroup(spec.clone()).spawn().expect_err(what);
        let text = error.to_string();
        assert!(matches!(error, Error::Cgroup(_)), "{text}");
        assert_eq!(error.raw_os_error(), Some(errno), "{text}");
        assert!(text.contains(what), "{what}: {text}");
        before.assert_nothing_left();
    };
    let none = delegated.path().join("none");
    check(&TransientCgroup::in_parent(&none), libc::ENOENT, "none");
    check(&TransientCgroup::in_parent("/tmp"), libc::ENOENT, "no cgroup");
    check(&TransientCgroup::in_parent("/etc/passwd"), libc::ENOTDIR, "/etc/passwd");
    let mut spec = TransientCgroup::in_parent(delegated.path());
    spec.limits.other = BTreeMap::from([("cgroup.max.depth".into(), "-1".into())]);
    check(&spec, libc::ERANGE, "cgroup.max.depth");
    spec.limits.other = BTreeMap::from([("cgroup.no.such".into(), "1".into())]);
    check(&spec, libc::ENOENT, "cgroup.no.such");
    assert_eq!(delegated.list(), [""; 0]);
    std::fs::write(delegated.path().join("cgroup.max.descendants"), "0").ok();
    if std::fs::read_to_string(delegated.path().join("cgroup.max.descendants"))
        .is_ok_and(|text| text == "0\n")
    {
        check(&TransientCgroup::in_parent(delegated.path()), libc::EAGAIN, "cgroup.max");
        let _ = std::fs::write(delegated.path().join("cgroup.max.descendants"), "max");
    }
    if !is_root() {
        let root = delegated.path().ancestors().nth(2).expect("there are some above");
        check(&TransientCgroup::in_parent(root), libc::EACCES, "delegated");
    }
    // What fails in the child, and what cannot be a plan.
    let mut spec = TransientCgroup::in_parent(delegated.path());
    let mut command = Command::new("/no/such/program");
    command.transient_cgroup(spec.clone()).spawn().expect_err("there is none");
    assert_eq!(delegated.list(), [""; 0]);
    spec.limits.cpu_weight = Some(0);
    Command::new("/bin/true").transient_cgroup(spec).spawn().expect_err("no kernel takes it");
    before.assert_nothing_left();
}

/// A child that joins a frozen cgroup stands still: that is a fault at the deadline.
#[test]
fn a_frozen_cgroup_is_a_fault_at_the_deadline() {
    alone!();
    let delegated = delegated!();
    before::warm_up();
    let before = Before::capture();
    let freeze = |value: &str| {
        let frozen = std::fs::write(delegated.path().join("cgroup.freeze"), value);
        frozen.is_ok()
    };
    if !freeze("1") {
        skip!("the parent may not be frozen by this user");
    }
    let short = SpawnOptions::new().timeout(Duration::from_millis(300));
    let mut command = shell(delegated.path(), "exit 0");
    let error = command.spawn_options(short).spawn().expect_err("it stands still");
    assert!(error.to_string().contains("in time"), "{error}");
    assert_eq!(delegated.list(), [""; 0], "frozen ones are killed all the same");
    before.assert_nothing_left();
    freeze("0");
}

/// One that has controllers enabled for its children takes no process itself.
#[test]
fn a_busy_cgroup_takes_nobody() {
    alone!();
    let delegated = delegated!();
    let controllers = std::fs::read_to_string(delegated.path().join("cgroup.controllers"));
    let controllers = controllers.expect("it is there");
    let Some(controller) = controllers.split_ascii_whitespace().find(|name| *name != "hugetlb")
    else {
        skip!("no controller on this hierarchy makes a cgroup busy");
    };
    let enabled =
        std::fs::write(delegated.path().join("cgroup.subtree_control"), format!("+{controller}"));
    enabled.expect("it is delegated");
    let mut draft = Draft::probe(&["exit", "0"]);
    let dir = std::fs::File::open(delegated.path()).expect("it is there");
    let slot = draft.grant(dir);
    draft.op(&Op::Cgroup(CgroupOp::Join { slot }));
    let error = draft.spawn(Way::Seed).expect_err("it is busy");
    assert_eq!(error.raw_os_error(), Some(libc::EBUSY), "{error}");
    assert!(error.to_string().contains("subtree_control"), "{error}");
}

#[test]
fn a_tied_child_dies_with_its_handle() {
    alone!();
    before::warm_up();
    let before = Before::capture();
    let mut command = Command::new(probe_path());
    command.args(["sleep", "600"]).die_with_handle(true).spawn_options(options());
    let child = command.spawn().expect("it can be started");
    let pid = child.id().to_string();
    assert!(exists(&pid));
    assert_eq!(children_of_self().len(), 2, "it and its guardian");
    drop(child);
    assert!(wait_for(PATIENCE, || !exists(&pid)));
    before.assert_nothing_left_soon();
    // One that ends by itself takes its guardian with it.
    let mut command = Command::new(probe_path());
    let mut child = command.args(["exit", "5"]).die_with_handle(true).spawn().expect("it starts");
    assert_eq!(child.wait().expect("it ends").code(), Some(5));
    drop(child);
    before.assert_nothing_left_soon();
    // And so does one that cannot start.
    Command::new("/no/such").die_with_handle(true).spawn().expect_err("there is none");
    before.assert_nothing_left_soon();
}

#[test]
fn a_tied_child_outlives_the_thread_that_spawned_it() {
    alone!();
    let thread = std::thread::spawn(|| {
        let mut command = Command::new(probe_path());
        command.args(["sleep", "600"]).die_with_handle(true).spawn_options(options());
        command.spawn().expect("it can be started")
    });
    let mut child = thread.join().expect("it does not panic");
    std::thread::sleep(Duration::from_millis(50));
    assert!(child.try_wait().expect("it can be asked").is_none());
    drop(child);
}

#[test]
fn a_tied_child_that_is_let_go_of_lives_on() {
    alone!();
    before::warm_up();
    let before = Before::capture();
    let mut command = Command::new(probe_path());
    command.args(["hold", "0"]).stdin(embryo::Stdio::piped()).die_with_handle(true);
    let mut child = command.spawn().expect("it can be started");
    let stdin = child.stdin.take();
    let pid = child.detach().to_string();
    let one = || children_of_self().iter().filter(|child| child.state != 'Z').count() == 1;
    assert!(wait_for(PATIENCE, one), "its guardian ends");
    assert!(exists(&pid));
    drop(stdin);
    assert!(wait_for(PATIENCE, || !exists(&pid)));
    before.assert_nothing_left_soon();
}

/// A guardian that somebody kills cannot do its work; the handle does it then.
#[test]
fn the_handle_cleans_up_for_a_guardian_that_was_killed() {
    alone!();
    let delegated = delegated!();
    before::warm_up();
    let before = Before::capture();
    let child = shell(delegated.path(), "sleep 600 & sleep 600").spawn().expect("it starts");
    kill(&guardians(), rustix::process::Signal::KILL);
    std::fs::create_dir(child.cgroup().expect("it has one").path().join("below")).expect("owner");
    drop(child);
    assert_eq!(delegated.list(), [""; 0]);
    before.assert_nothing_left_soon();
}

fn guardians() -> Vec<i32> {
    let all = descendants_of_self().into_iter();
    all.filter(|child| child.comm == "embryo:guard").map(|child| child.pid).collect()
}

fn kill(pids: &[i32], signal: rustix::process::Signal) {
    assert!(!pids.is_empty(), "there is no guardian");
    for pid in pids {
        let pid = rustix::process::Pid::from_raw(*pid).expect("a pid");
        rustix::process::kill_process(pid, signal).expect("it is one's own");
    }
}

/// What the tests below start and kill.
const VICTIM: &str = "EMBRYO_TEST_VICTIM";

/// Starts and drops children without end, as the caller that is to be killed.
#[test]
fn victim() {
    let Some(parent) = std::env::var_os(VICTIM).map(PathBuf::from) else { return };
    let cgroups = parent.as_os_str() != "none";
    let mut running = Vec::new();
    println!("ready");
    for round in 0.. {
        let mut command = Command::new("/bin/sleep");
        command.arg("600").stdin(embryo::Stdio::null()).stdout(embryo::Stdio::null());
        if cgroups && round % 2 == 0 {
            command = shell(&parent, "sleep 600 & sleep 600");
            command.stdout(embryo::Stdio::null());
        } else {
            command.die_with_handle(true);
        }
        running.push(command.spawn().expect("it can be started"));
        if running.len() > 3 {
            running.remove(0);
        }
    }
}

struct Victim(std::process::Child);

impl Victim {
    fn start(parent: Option<&Path>) -> Self {
        let mut victim = std::process::Command::new(std::env::current_exe().expect("it runs"));
        victim
            .args(["victim", "--exact", "--nocapture", "--test-threads=1"])
            .env(VICTIM, parent.unwrap_or(Path::new("none")))
            .stdout(std::process::Stdio::piped());
        let mut victim = victim.spawn().expect("it can be started");
        let mut stdout = std::io::BufReader::new(victim.stdout.take().expect("it is piped"));
        let mut line = String::new();
        while !line.ends_with("ready\n") {
            line.clear();
            assert!(stdout.read_line(&mut line).expect("a pipe can be read") > 0, "it has failed");
        }
        Self(victim)
    }

    fn kill(mut self) {
        self.0.kill().expect("it is one's own");
        self.0.wait().expect("it ends");
    }
}

/// Orphans become children of this process, which reaps them as they end.
fn adopt() {
    rustix::process::set_child_subreaper(Some(rustix::process::Pid::INIT)).expect("anybody may");
}

fn reap_all() -> bool {
    use rustix::process::{WaitOptions, wait};
    wait_for(PATIENCE, || {
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
        wait(WaitOptions::NOHANG).is_err()
    })
}

/// The heart of it: whenever the caller is killed, nothing is left.
#[test]
fn nothing_is_left_when_the_caller_is_killed_at_any_point() {
    alone!();
    let delegated = Delegated::get();
    adopt();
    let mut random = 0x2545_f491_4f6c_dd1du64 ^ u64::from(std::process::id());
    for round in 0..300 {
        let victim = Victim::start(delegated.as_ref().map(Delegated::path));
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_micros(random % 12_000));
        victim.kill();
        assert!(reap_all(), "round {round}: processes were left: {:?}", descendants_of_self());
        if let Some(delegated) = &delegated {
            let list = delegated.list();
            assert_eq!(list, [""; 0], "round {round}");
        }
    }
    if delegated.is_none() {
        skip!("no cgroup can be made here: only tied children were tried");
    }
}

/// A guardian that was stopped is continued by its owner's end.
#[test]
fn a_stopped_guardian_does_its_work_all_the_same() {
    alone!();
    let delegated = delegated!();
    adopt();
    for _ in 0..10 {
        let victim = Victim::start(Some(delegated.path()));
        assert!(wait_for(PATIENCE, || !guardians().is_empty()));
        for pid in guardians() {
            let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
            // It may be gone already.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::STOP);
        }
        victim.kill();
        assert!(reap_all(), "processes were left: {:?}", descendants_of_self());
        assert_eq!(delegated.list(), [""; 0]);
    }
}

#[test]
fn many_children_can_be_in_one_cgroup() {
    alone!();
    let delegated = delegated!();
    let cgroup = Cgroup::create(&TransientCgroup::in_parent(delegated.path()));
    let cgroup = cgroup.expect("it can be made");
    let mut children = Vec::new();
    for _ in 0..5 {
        let mut command = Command::new("/bin/sleep");
        command.arg("600").cgroup_fd(cgroup.as_fd().try_clone_to_owned().expect("it is open"));
        children.push(command.spawn().expect("it can be started"));
    }
    let procs = std::fs::read_to_string(cgroup.path().join("cgroup.procs")).expect("it is there");
    assert_eq!(procs.lines().count(), 5);
    cgroup.kill().expect("it can be");
    for child in &mut children {
        assert!(!child.wait().expect("it ends").success());
    }
    drop(cgroup);
    assert_eq!(delegated.list(), [""; 0]);
}

/// The same in an embryo of a hatchery, and in one that lives.
#[test]
fn on_every_route() {
    alone!();
    let delegated = delegated!();
    let hatchery = embryo::Hatchery::builder().size(2).options(options()).build();
    let hatchery = hatchery.expect("it can be made");
    let mut command = shell(delegated.path(), "sleep 600 & exit 7");
    let launching = command.hatchery(&hatchery).launch().expect("it can be sent");
    let mut child = launching.wait().expect("it starts");
    assert_eq!(child.wait().expect("it ends").code(), Some(7));
    assert_eq!(delegated.list(), [""; 0]);
    let mut command = Command::new(probe_path());
    command.args(["sleep", "600"]).die_with_handle(true).hatchery(&hatchery);
    let launching = command.launch().expect("it can be sent");
    drop(launching);
    let cgroup = Cgroup::create(&TransientCgroup::in_parent(delegated.path()));
    let cgroup = cgroup.expect("it can be made");
    let mut embryo = embryo::Embryo::create_with(options()).expect("it can be made");
    let join = Op::Cgroup(CgroupOp::Join { slot: embryo::Slot(0) });
    embryo.apply(&join, &[cgroup.as_fd()]).expect("it can be");
    assert!(cgroup.is_populated());
    drop(cgroup);
    assert!(!embryo.is_alive(), "it was killed with the cgroup");
}

#[test]
fn all_of_it_as_an_ordinary_user() {
    if !is_root() {
        skip!("that is who runs these tests");
    }
    alone!();
    let delegated = delegated!();
    delegated.delegate(NOBODY);
    for test in [
        "a_child_starts_inside_and_the_cgroup_goes_with_it",
        "nobody_of_the_family_outlives_the_child",
        "the_family_can_be_killed_at_once",
        "dropping_the_handle_ends_all",
        "one_that_is_let_go_of_keeps_its_cgroup_until_its_end",
        "what_cannot_be_made_is_said_and_leaves_nothing",
        "a_tied_child_dies_with_its_handle",
        "the_handle_cleans_up_for_a_guardian_that_was_killed",
        "a_stopped_guardian_does_its_work_all_the_same",
        "many_children_can_be_in_one_cgroup",
        "nothing_is_left_when_the_caller_is_killed_at_any_point",
    ] {
        rerun_as_nobody(test);
    }
}
