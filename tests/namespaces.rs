//! Promise: below an init everything ends as it should. The image's true status is told, orphans are
//! reaped, signals reach the image, and nothing is left whoever dies and whenever: the image, the init, the
//! owner. And namespaces can be handed out and joined, on every way to a child.
//!
//! It must never leave a process behind when it fails: those in a pid namespace end with its init, which
//! is killed on drop.

mod before;
mod launch;

use before::Before;
use embryo::{
    Command, Embryo, ExecFlags, Hatchery, Keep, NamespaceKind, NamespaceOp, Namespaces, Op, Plan,
    Process, Stdio, UserNamespace,
};
use embryo_tests::{alone, is_root, rerun_as_nobody, skip, wait_for};
use launch::PATIENCE;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

/// A shell below an init of its own; anybody may have one, where user namespaces are allowed.
fn shell(script: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(script).user_namespace(UserNamespace::ROOT);
    command.unshare([NamespaceKind::Pid]).kill_on_drop(true);
    command
}

fn possible() -> bool {
    shell("exit 0").status().is_ok_and(|status| status.success())
}

macro_rules! namespaces_or_skip {
    () => {
        alone!();
        if !possible() {
            skip!("user namespaces cannot be made here");
        }
    };
}

fn ended(process: &mut Process) -> ExitStatus {
    let status = process.wait_timeout(PATIENCE).expect("it can be waited for");
    status.expect("it ends in time")
}

/// A line of a child's output.
fn line(process: &mut Process) -> String {
    let mut line = String::new();
    let mut stdout = BufReader::with_capacity(1, process.stdout.take().expect("it is piped"));
    stdout.read_line(&mut line).expect("a pipe can be read");
    process.stdout = Some(stdout.into_inner());
    line.trim().to_owned()
}

fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn the_true_status_of_the_image_is_told() {
    namespaces_or_skip!();
    let before = Before::capture();
    for (script, status) in [
        ("exit 0", 0),
        ("exit 7", 7 << 8),
        ("exit 255", 255 << 8),
        ("kill -KILL $$", 9),
        ("kill -TERM $$", 15),
        // What a shell says of another's end is no signal.
        ("sh -c 'kill -KILL $$'; exit $?", 137 << 8),
    ] {
        let got = shell(script).status().expect("it starts");
        assert_eq!(got.into_raw(), status, "{script}: {got:?}");
    }
    let mut child = shell("exit 3").spawn().expect("it starts");
    assert!(wait_for(PATIENCE, || child.try_wait().expect("it can be asked").is_some()));
    assert_eq!(child.wait().expect("it was told before").code(), Some(3));
    assert!(child.usage().is_some_and(|usage| usage.max_rss > 0), "of the image");
    drop(child);
    before.assert_nothing_left();
}

#[test]
fn the_true_status_as_an_ordinary_user() {
    if is_root() {
        return rerun_as_nobody(embryo_tests::here!());
    }
    namespaces_or_skip!();
    let got = shell("id -u; kill -SEGV $$").stdout(Stdio::null()).status().expect("it starts");
    assert_eq!(got.signal(), Some(11));
}

#[test]
fn orphans_are_reaped_and_end_with_the_image() {
    namespaces_or_skip!();
    let before = Before::capture();
    let script =
        "for i in 1 2 3 4 5 6 7 8; do (sleep 0.01 & ) ; done; (sleep 600 & echo $!); read x";
    let mut child =
        shell(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let init = child.id();
    assert!(line(&mut child).parse::<u32>().is_ok());
    // The image and the orphan that sleeps on.
    let children = || {
        let text = std::fs::read_to_string(format!("/proc/{init}/task/{init}/children"));
        text.map_or(usize::MAX, |text| text.split_whitespace().count())
    };
    if children() != usize::MAX {
        assert!(wait_for(PATIENCE, || children() == 2), "{} are left", children());
    }
    drop(child.stdin.take());
    assert_eq!(ended(&mut child).code(), Some(1), "of a read at the end");
    drop(child);
    before.assert_nothing_left();
}

#[test]
fn signals_reach_the_image_once() {
    namespaces_or_skip!();
    let script = "n=0; trap 'n=$((n+1)); echo $n' USR1; trap 'exit 42' TERM; echo ready; \
                  while :; do sleep 0.05; done";
    let mut child = shell(script).stdout(Stdio::piped()).spawn().expect("it starts");
    assert_eq!(line(&mut child), "ready");
    for n in 1..=3 {
        child.signal(libc::SIGUSR1).expect("it may be sent");
        assert_eq!(line(&mut child), n.to_string());
    }
    child.signal(libc::SIGTERM).expect("it may be sent");
    assert_eq!(ended(&mut child).code(), Some(42));
}

/// SIGSTOP reaches nobody but the init; SIGTSTP is forwarded, and SIGCONT wakes both.
#[test]
fn stopping_and_continuing() {
    namespaces_or_skip!();
    let mut child =
        shell("echo ready; sleep 600").stdout(Stdio::piped()).spawn().expect("it starts");
    assert_eq!(line(&mut child), "ready");
    let state = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next()).unwrap_or('?')
    };
    let (init, image) = (child.id(), child.image_id());
    child.signal(libc::SIGTSTP).expect("it may be sent");
    assert!(wait_for(PATIENCE, || state(image) == 'T'), "{}", state(image));
    assert_ne!(state(init), 'T');
    child.signal(libc::SIGCONT).expect("it may be sent");
    assert!(wait_for(PATIENCE, || state(image) != 'T'));
    child.signal(libc::SIGSTOP).expect("it may be sent");
    assert!(wait_for(PATIENCE, || state(init) == 'T'));
    assert_ne!(state(image), 'T');
    child.signal(libc::SIGCONT).expect("it may be sent");
    assert!(wait_for(PATIENCE, || state(init) != 'T'));
    child.kill().expect("it may be killed");
    assert_eq!(ended(&mut child).signal(), Some(9));
}

#[test]
fn with_the_init_everything_ends() {
    namespaces_or_skip!();
    let before = Before::capture();
    let script = "(setsid sleep 600 &); echo ready; sleep 600";
    let mut child = shell(script).stdout(Stdio::piped()).spawn().expect("it starts");
    assert_eq!(line(&mut child), "ready");
    let image = child.image_id();
    child.kill().expect("it may be killed");
    assert_eq!(ended(&mut child).signal(), Some(9));
    assert!(!alive(image));
    // Its output ends when the last one is gone.
    let mut rest = String::new();
    let mut stdout = child.stdout.take().expect("it is piped");
    stdout.read_to_string(&mut rest).expect("a pipe can be read");
    drop((child, stdout));
    before.assert_nothing_left();
}

#[test]
fn an_init_has_nothing_of_its_owner() {
    namespaces_or_skip!();
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    let mut child = shell("exec 9>&-; echo ready; sleep 600")
        .stdout(Stdio::piped())
        .fd(9, writer)
        .spawn()
        .expect("it starts");
    assert_eq!(line(&mut child), "ready");
    // The command holds the pipe, too, but it was dropped with the statement.
    let mut rest = Vec::new();
    let mut reader = reader;
    reader.read_to_end(&mut rest).expect("nobody has its other end");
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("it lives");
    let field = |name: &str| {
        let found = status.lines().find_map(|line| line.strip_prefix(name));
        found.unwrap_or_default().trim().to_owned()
    };
    let capabilities = u64::from_str_radix(&field("CapPrm:"), 16).expect("a set");
    assert_eq!(capabilities & !(1 << 5), 0, "CAP_KILL alone");
    assert_eq!(field("Name:"), "embryo:init");
    child.kill().expect("it may be killed");
    ended(&mut child);
}

#[test]
fn namespaces_are_handed_out_and_joined() {
    namespaces_or_skip!();
    let mut first = shell("hostname first-of-two 2>&1; echo ready; sleep 600")
        .unshare([NamespaceKind::Uts, NamespaceKind::Net, NamespaceKind::Ipc])
        .hostname("first-of-two")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut words = line(&mut first);
    while words != "ready" {
        words = line(&mut first);
    }
    let mut second = Command::new("sh");
    second.arg("-c").arg("hostname; readlink /proc/self/ns/net; id -u; echo $PPID");
    let kinds = [NamespaceKind::Pid, NamespaceKind::Uts, NamespaceKind::Net, NamespaceKind::User];
    for kind in kinds {
        let namespace = first.namespace(kind).expect("it can be opened");
        second.join_namespace(namespace, kind);
    }
    let output = second.output().expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let net = std::fs::read_link(format!("/proc/{}/ns/net", first.image_id())).expect("it lives");
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines, ["first-of-two", &net.to_string_lossy(), "0", "0"], "{output:?}");
    first.kill().expect("it may be killed");
    ended(&mut first);
    assert!(first.namespace(NamespaceKind::Net).is_err(), "it has none any more");
}

/// Built piece by piece, an embryo goes on below an init; what fails before that leaves it as it was.
#[test]
fn an_embryo_moves_below_an_init() {
    namespaces_or_skip!();
    let before = Before::capture();
    let mut embryo = Embryo::create().expect("it can be made");
    let seed = embryo.id();
    let op = Op::Namespace;
    embryo.apply(&op(NamespaceOp::User { uid: 0, gid: 0 }), &[]).expect("it may");
    let fault = embryo.apply(&op(NamespaceOp::Pid { pid: 1 << 22 }), &[]).expect_err("beyond");
    assert_eq!(fault.raw_os_error(), Some(libc::EINVAL), "{fault}");
    assert!(embryo.is_alive());
    assert_eq!(embryo.id(), seed, "it goes on where it was");
    embryo.apply(&op(NamespaceOp::Pid { pid: 55 }), &[]).expect("it may");
    assert_ne!(embryo.id(), seed);
    assert!(embryo.is_alive());
    let kinds = Namespaces::UTS;
    embryo.apply(&op(NamespaceOp::Unshare { kinds }), &[]).expect("it may");
    embryo.apply(&op(NamespaceOp::HostName { name: c"piecemeal" }), &[]).expect("it may");
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::ExecPath { path: c"/bin/sh", flags: ExecFlags::empty() })
        .arg("sh")
        .arg("-c")
        .arg("test $$ = 55 && test $(uname -n) = piecemeal && kill -TERM $$");
    let started = embryo.start(&plan.build().expect("it is one"), &[]);
    let mut process = started.map_err(|(error, _)| error).expect("it starts");
    assert_eq!(ended(&mut process).signal(), Some(15));
    drop(process);
    // One that is dropped takes its init along.
    let mut embryo = Embryo::create().expect("it can be made");
    embryo.apply(&op(NamespaceOp::User { uid: 0, gid: 0 }), &[]).expect("it may");
    embryo.apply(&op(NamespaceOp::Pid { pid: 0 }), &[]).expect("it may");
    drop(embryo);
    before.assert_nothing_left();
}

#[test]
fn a_hatchery_launches_below_an_init() {
    namespaces_or_skip!();
    let hatchery = Hatchery::builder().size(2).build().expect("it can be made");
    for _ in 0..4 {
        let got = shell("test $$ = 2 && kill -KILL $$").hatchery(&hatchery).status();
        assert_eq!(got.expect("it starts").signal(), Some(9));
    }
    let failed = shell("exit 0").hatchery(&hatchery).current_dir("/nowhere/at/all").status();
    assert_eq!(failed.expect_err("it is not there").raw_os_error(), Some(libc::ENOENT));
}

/// At every op after the init was made, and at the exec itself.
#[test]
fn what_fails_below_an_init_leaves_nothing() {
    namespaces_or_skip!();
    let before = Before::capture();
    for _ in 0..10 {
        let error = shell("exit 0").current_dir("/nowhere/at/all").status().expect_err("not there");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
        let mut command = Command::new("/nowhere/at/all");
        command.user_namespace(UserNamespace::ROOT).pid_namespace(true);
        let error = command.status().expect_err("it is not there");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
        let mut command = shell("exit 0");
        let error = command.set_tid(1 << 22).status().expect_err("it is beyond pid_max");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL), "{error}");
    }
    before.assert_nothing_left();
}

/// User namespaces are used up: those within one that allows none.
#[test]
fn user_namespaces_that_are_used_up() {
    namespaces_or_skip!();
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::Namespace(NamespaceOp::User { uid: 0, gid: 0 }))
        .op(&Op::ExecPath { path: c"/bin/sh", flags: ExecFlags::empty() })
        .arg("sh")
        .arg("-c")
        .arg("echo 0 >/proc/sys/user/max_user_namespaces || exit 9; unshare -U true 2>&1; echo $?");
    let mut held = embryo::spawn(&plan.build().expect("it is one"), &[]).expect("it starts");
    let status = ended(&mut held);
    if status.code() == Some(9) {
        skip!("the limit of a user namespace cannot be set here");
    }
    // The same for us: join it, set its limit, and make one in it.
    let mut holder = Command::new("sh");
    holder
        .arg("-c")
        .arg("echo 0 >/proc/sys/user/max_user_namespaces; echo ready; exec sleep 600")
        .user_namespace(UserNamespace::ROOT)
        .env("PATH", "/usr/bin:/bin")
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut holder = holder.spawn().expect("it starts");
    assert_eq!(line(&mut holder), "ready");
    let namespace = holder.namespace(NamespaceKind::User).expect("it can be opened");
    let mut command = Command::new("true");
    command.join_namespace(namespace, NamespaceKind::User).user_namespace(UserNamespace::ROOT);
    let error = command.status().expect_err("none is allowed");
    assert_eq!(error.raw_os_error(), Some(libc::ENOSPC), "{error}");
    assert!(error.to_string().contains("max_user_namespaces"), "{error}");
}

/// An owner that is killed at any moment of a launch leaves no namespace and no process.
#[test]
fn an_owner_that_is_killed_leaves_nothing() {
    if std::env::var_os("EMBRYO_TEST_OWNER").is_some() {
        loop {
            let mut embryo = Embryo::create().expect("it can be made");
            let op = Op::Namespace;
            let _ = embryo.apply(&op(NamespaceOp::User { uid: 0, gid: 0 }), &[]);
            let _ = embryo.apply(&op(NamespaceOp::Pid { pid: 0 }), &[]);
            print!(".");
            let _ = std::io::stdout().flush();
            let status = shell("exit 0").status();
            assert!(status.is_ok_and(|status| status.success()));
        }
    }
    namespaces_or_skip!();
    let before = Before::capture();
    rustix::process::set_child_subreaper(Some(rustix::process::Pid::INIT)).expect("one may");
    for round in 0..60u64 {
        let mut owner = std::process::Command::new(std::env::current_exe().expect("it is running"));
        owner.args(["an_owner_that_is_killed_leaves_nothing", "--exact", "--nocapture"]);
        owner.env("EMBRYO_TEST_OWNER", "1").stdout(std::process::Stdio::piped());
        let mut owner = owner.spawn().expect("it starts");
        let mut dot = [0];
        // The first launch, however long the start of the test itself takes.
        let mut stdout = owner.stdout.take().expect("it is piped");
        while stdout.read(&mut dot).is_ok_and(|count| count == 1) && dot != *b"." {}
        std::thread::sleep(Duration::from_micros(round * 331 % 9973));
        owner.kill().expect("it may be killed");
        owner.wait().expect("it can be waited for");
    }
    // What it leaves becomes ours: seeds end by themselves, and so does what is below an init.
    let gone = || loop {
        match rustix::process::wait(rustix::process::WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    };
    assert!(
        wait_for(PATIENCE, gone),
        "something is left: {:?}",
        embryo_tests::descendants_of_self()
    );
    before.assert_nothing_left();
}

/// Subordinate ids of an ordinary user, by newuidmap(1) and newgidmap(1). Those of the machine stay what they
/// are: the files are others, in a mount namespace of the test's own.
#[test]
fn subordinate_ids_are_mapped_by_the_helpers() {
    if std::env::var_os("EMBRYO_TEST_SUBIDS").is_some() {
        let script = "cat /proc/self/uid_map /proc/self/gid_map; id -u; id -g; id -G";
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).user_namespace(UserNamespace::Subids).uid(5).gid(6);
        command.groups(&[7]).stdout(Stdio::piped());
        let output = command.output().unwrap_or_else(|error| panic!("{error}"));
        let said = String::from_utf8_lossy(&output.stdout);
        let words: Vec<&str> = said.split_whitespace().collect();
        let map = ["0", "65534", "1", "1", "200000", "1000"];
        assert_eq!(words, [&map[..], &map, &["5", "6", "6", "7"]].concat(), "{output:?}");
        // One that is nobody's to give.
        let mut command = Command::new("true");
        let one = |outside| vec![embryo::IdRange { inside: 0, outside, count: 1 }];
        let (uids, gids) = (one(65534), one(199_999));
        let map = UserNamespace::Mapped { uids, gids, deny_setgroups: false };
        let error = command.user_namespace(map).status().expect_err("it is not given");
        assert!(error.to_string().contains("/etc/subgid"), "{error}");
        assert_eq!(embryo_tests::children_of_self(), []);
        return;
    }
    alone!();
    let helper = std::process::Command::new("newuidmap").output();
    if !is_root() || helper.is_err() || !possible() {
        skip!("it takes root, user namespaces, newuidmap(1) and newgidmap(1)");
    }
    let dir = embryo_tests::tempdir();
    let file = dir.path().join("subids");
    std::fs::write(&file, "other:1:1\n65534:200000:1000\n").expect("it can be written");
    let script = "mount --bind \"$0\" /etc/subuid && mount --bind \"$0\" /etc/subgid && \
                  exec setpriv --reuid=65534 --regid=65534 --clear-groups \"$@\"";
    let status = std::process::Command::new("unshare")
        .args(["-m", "sh", "-c", script])
        .arg(&file)
        .arg(std::env::current_exe().expect("it is running"))
        .args(["subordinate_ids_are_mapped_by_the_helpers", "--exact", "--nocapture"])
        .env("EMBRYO_TEST_SUBIDS", "1")
        .status();
    assert!(status.expect("unshare(1) is there").success());
}
