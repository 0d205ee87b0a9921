//! Promise: a child from a hatchery is what a child of a direct launch is, with no more authority
//! than its creator has at that moment; and neither success nor failure, nor the death of anybody
//! involved, leaves a process.

mod caller;
mod cgroup;
mod refusal;

use cgroup::Cgroup;
use embryo::{
    Cause, Command, Error, Hatchery, Keep, Launching, Op, Plan, PlanBuilder, Process, Slot,
    SpawnOptions, WhenEmpty,
};
use embryo_tests::{
    Leftovers, NOBODY, Report, alone, assert_nothing_left, children_of_self, is_root, log_skip,
    probe, rerun_alone, rerun_as_nobody, skip, wait_for,
};
use refusal::Refusal;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

fn options() -> SpawnOptions {
    SpawnOptions::new().timeout(PATIENCE)
}

fn hatchery(size: u32) -> Hatchery {
    Hatchery::builder().size(size).options(options()).build().expect("a hatchery can be made")
}

/// A plan that keeps what std keeps, with so many slots.
fn plan(slots: u32, build: impl FnOnce(&mut PlanBuilder)) -> Plan {
    let mut plan = Plan::builder();
    for _ in 0..slots {
        plan.slot();
    }
    build(&mut plan);
    plan.build().expect("it is a plan")
}

/// What the probe says of itself, started through a hatchery.
fn report(hatchery: &Hatchery) -> Report {
    report_by(|plan, grants| hatchery.spawn(plan, grants).and_then(Launching::wait))
}

/// The first launch reserves sockets, and a thread keeps files of /proc.
fn make_what_is_kept() {
    report(&hatchery(1));
}

/// The same, made directly.
fn direct_report() -> Report {
    report_by(|plan, grants| embryo::spawn_with(plan, grants, options().through_seed(true)))
}

fn report_by(spawn: impl FnOnce(&Plan, &[BorrowedFd<'_>]) -> Result<Process, Error>) -> Report {
    let output = tempfile::tempfile().expect("a file can be made");
    let plan = plan(1, |plan| {
        let path = std::ffi::CString::new(probe!().as_os_str().as_bytes()).expect("no NUL");
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        plan.op(&Op::PutFd { slot: Slot(0), fd: 1 });
        plan.op(&Op::ExecPath { path: &path, flags: embryo::ExecFlags::empty() });
        plan.arg(b"probe");
    });
    let mut process = spawn(&plan, &[output.as_fd()]).expect("it starts");
    assert!(process.wait().expect("it can be waited for").success());
    let mut text = Vec::new();
    (&output).seek(SeekFrom::Start(0)).expect("it is a file");
    (&output).read_to_end(&mut text).expect("it can be read");
    Report::parse(&text)
}

#[test]
fn a_child_is_one_message_away() {
    alone!();
    make_what_is_kept();
    let before = Leftovers::capture();
    let hatchery = hatchery(4);
    for _ in 0..20 {
        let report = report(&hatchery);
        assert_eq!(report.ppid, rustix::process::getpid().as_raw_pid());
        assert_eq!(report.fd_numbers(), [1]);
    }
    drop(hatchery);
    assert_nothing_left(&before);
}

/// What a caller does to itself after the hatchery was made.
struct Change {
    name: &'static str,
    needs_root: bool,
    /// False if it is not possible here.
    make: fn() -> bool,
}

fn done(result: i64) -> bool {
    result == 0
}

/// A change that an ordinary user can make is made by one too.
const CHANGES: &[Change] = &[
    Change { name: "nothing", needs_root: false, make: || true },
    Change {
        name: "no_new_privs",
        needs_root: false,
        make: || rustix::thread::set_no_new_privs(true).is_ok(),
    },
    Change {
        name: "a seccomp filter",
        needs_root: false,
        make: || {
            Refusal::always(libc::SYS_acct).enforce();
            true
        },
    },
    Change {
        name: "fewer open files",
        needs_root: false,
        make: || {
            let limit = libc::rlimit { rlim_cur: 100, rlim_max: 100 };
            // SAFETY: the call reads one rlimit.
            done(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) }.into())
        },
    },
    Change {
        name: "one CPU",
        needs_root: false,
        make: || {
            let mut cpus = rustix::thread::sched_getaffinity(None).expect("one may ask");
            let first = (0..).find(|cpu| cpus.is_set(*cpu)).expect("it runs on one");
            cpus.clear();
            cpus.set(first);
            rustix::thread::sched_setaffinity(None, &cpus).is_ok()
        },
    },
    Change {
        name: "nice",
        needs_root: false,
        make: || rustix::process::setpriority_process(None, 7).is_ok(),
    },
    Change {
        name: "a session of its own",
        needs_root: false,
        make: || rustix::process::setsid().is_ok(),
    },
    Change {
        name: "a user namespace",
        needs_root: false,
        // SAFETY: the process has one thread that matters.
        make: || done(unsafe { libc::unshare(libc::CLONE_NEWUSER) }.into()),
    },
    Change {
        name: "another uid",
        needs_root: true,
        make: || {
            // SAFETY: the call takes a number.
            let group = unsafe { libc::setgid(NOBODY) };
            // SAFETY: as above.
            let user = unsafe { libc::setuid(NOBODY) };
            (group, user) == (0, 0)
        },
    },
    Change {
        name: "another effective uid",
        needs_root: true,
        // SAFETY: the call takes a number.
        make: || done(unsafe { libc::seteuid(NOBODY) }.into()),
    },
    Change {
        name: "no supplementary groups but one",
        needs_root: true,
        make: || {
            let group = NOBODY;
            // SAFETY: the call reads one gid.
            done(unsafe { libc::setgroups(1, &raw const group) }.into())
        },
    },
    Change {
        name: "a smaller bounding set",
        needs_root: true,
        // SAFETY: the call takes numbers.
        make: || done(unsafe { libc::prctl(libc::PR_CAPBSET_DROP, 5, 0, 0, 0) }.into()),
    },
    Change {
        name: "fewer permitted capabilities",
        needs_root: true,
        make: || {
            let mut sets = rustix::thread::capabilities(None).expect("one may ask");
            let kill = rustix::thread::CapabilitySet::KILL;
            sets.permitted.remove(kill);
            sets.effective.remove(kill);
            rustix::thread::set_capabilities(None, sets).is_ok()
        },
    },
    Change {
        name: "another mount namespace with the same root directory",
        needs_root: true,
        make: || {
            let root = std::fs::File::open("/").expect("it is there");
            // SAFETY: the call takes a number.
            done(unsafe { libc::unshare(libc::CLONE_NEWNS) }.into())
                && rustix::process::fchdir(&root).is_ok()
                && rustix::process::chroot(".").is_ok()
        },
    },
    Change {
        name: "another root directory",
        needs_root: true,
        make: || {
            let root = std::path::Path::new("/proc/thread-self/root/.");
            // The same directory through a mount of its own, so that programs are still found.
            // SAFETY: the calls read C strings.
            done(unsafe { libc::unshare(libc::CLONE_NEWNS) }.into())
                && rustix::process::chroot(root).is_ok()
        },
    },
    Change {
        name: "another host name's namespace",
        needs_root: true,
        // SAFETY: the call takes a number, and changes this thread alone.
        make: || done(unsafe { libc::unshare(libc::CLONE_NEWUTS) }.into()),
    },
    Change {
        name: "another network",
        needs_root: true,
        // SAFETY: as above.
        make: || done(unsafe { libc::unshare(libc::CLONE_NEWNET) }.into()),
    },
    Change {
        name: "another cgroup",
        needs_root: true,
        make: || {
            let Some(cgroup) = Cgroup::make() else { return false };
            let moved = cgroup.enter();
            cgroup.leave_behind();
            moved
        },
    },
];

const CHANGE: &str = "EMBRYO_CHANGE";

/// A child has exactly what a child that was made at this very moment has.
#[test]
fn a_child_has_what_its_creator_has_at_that_moment() {
    if !embryo_tests::is_rerun_of(embryo_tests::here!()) {
        for (number, change) in CHANGES.iter().enumerate() {
            if change.needs_root && !is_root() {
                log_skip(embryo_tests::here!(), &format!("{} needs root", change.name));
                continue;
            }
            // SAFETY: no other test of this process reads it.
            unsafe { std::env::set_var(CHANGE, number.to_string()) };
            rerun_alone(embryo_tests::here!());
            if !change.needs_root && is_root() {
                rerun_as_nobody(embryo_tests::here!());
            }
        }
        cgroup::sweep();
        return;
    }
    let number: usize = std::env::var(CHANGE).expect("it is set").parse().expect("a number");
    // A user namespace wants a process with one thread, which a test has not.
    // SAFETY: the child goes on with the only thread that matters.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let checked = std::panic::catch_unwind(|| check(&CHANGES[number]));
        std::process::exit(i32::from(checked.is_err()));
    }
    let mut status = 0;
    // SAFETY: our own child, and a live integer.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "{}", CHANGES[number].name);
}

fn check(change: &Change) {
    let hatchery = hatchery(3);
    report(&hatchery);
    let maker = hatchery.id();
    if !(change.make)() {
        let why = std::io::Error::last_os_error();
        let test = "a_child_has_what_its_creator_has_at_that_moment";
        log_skip(test, &format!("{} cannot be had here: {why}", change.name));
        return;
    }
    let expected = direct_report();
    let there = report(&hatchery);
    let ignored = ["pid", "fds"];
    assert_eq!(expected.diff(&there, &ignored), [""; 0], "{}", change.name);
    // They were made anew, once.
    let remade = hatchery.id();
    assert_eq!(maker == remade, change.name == "nothing", "{}", change.name);
    assert_eq!(expected.diff(&report(&hatchery), &ignored), [""; 0], "{}", change.name);
    assert_eq!(hatchery.id(), remade, "{}", change.name);
}

/// There is no call that tells of a Landlock domain: the kernel's own judgement has to.
#[test]
fn a_child_is_in_the_landlock_domain_that_its_creator_has_entered() {
    alone!();
    let dir = embryo_tests::tempdir();
    let hatchery = hatchery(3);
    // Already set, so that nothing else changes with the domain.
    rustix::thread::set_no_new_privs(true).expect("anybody may set it");
    report(&hatchery);
    let made = hatchery.id();
    if !enter_domain_without_directories() {
        skip!("this kernel has no Landlock");
    }
    let path = dir.path().join("made by a child");
    let status = Command::new("mkdir").arg(&path).hatchery(&hatchery).status().expect("it starts");
    assert!(!status.success() && !path.exists(), "the child was outside the domain");
    assert_ne!(hatchery.id(), made);
}

/// Handles the making of directories and allows it nowhere.
fn enter_domain_without_directories() -> bool {
    const MAKE_DIR: u64 = 1 << 7;
    let rights: u64 = MAKE_DIR;
    // SAFETY: the kernel reads the one u64 of the first version's struct.
    let ruleset =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const rights, 8, 0) };
    // SAFETY: the call takes a descriptor.
    ruleset >= 0 && done(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) })
}

/// What a command keeps of its creator is that of the moment too.
#[test]
fn a_command_keeps_what_its_creator_has_at_that_moment() {
    alone!();
    let hatchery = hatchery(3);
    let dir = embryo_tests::tempdir();
    let look = |hatchery: Option<&Hatchery>| {
        let mut command = Command::new(probe!());
        if let Some(hatchery) = hatchery {
            command.hatchery(hatchery);
        }
        Report::parse(&command.output().expect("it starts").stdout)
    };
    let differs = || {
        // A pipe of its own each time.
        let ignored = ["pid", "fds"];
        look(None).diff(&look(Some(&hatchery)), &ignored)
    };
    assert_eq!(differs(), [""; 0]);
    let made = hatchery.id();
    std::env::set_current_dir(dir.path()).expect("it is there");
    assert_eq!(differs(), [""; 0], "cwd");
    rustix::process::umask(rustix::fs::Mode::from_bits_retain(0o137));
    assert_eq!(differs(), [""; 0], "umask");
    crate::caller::ignore(&[10, 23]);
    assert_eq!(differs(), [""; 0], "ignored signals");
    let ignored = look(Some(&hatchery));
    assert!(ignored.ignored().contains(&10) && ignored.ignored().contains(&23), "{ignored:?}");
    rustix::process::setpgid(None, None).expect("one may lead a group");
    assert_eq!(differs(), [""; 0], "process group");
    assert_eq!(hatchery.id(), made, "none of these is authority");
}

#[test]
fn a_fault_says_what_failed_and_leaves_nothing() {
    alone!();
    make_what_is_kept();
    let before = Leftovers::capture();
    let hatchery = hatchery(2);
    for _ in 0..5 {
        let plan = plan(0, |plan| {
            plan.keep(Keep::UMASK | Keep::SESSION);
            plan.op(&Op::ChdirPath { path: c"/nowhere" });
            plan.op(&Op::ExecPath { path: c"/bin/true", flags: embryo::ExecFlags::empty() });
            plan.arg(b"true");
        });
        let error =
            hatchery.spawn(&plan, &[]).and_then(Launching::wait).expect_err("no such place");
        let fault = error.as_spawn().expect("it is a fault");
        assert_eq!((fault.index(), error.raw_os_error()), (Some(0), Some(libc::ENOENT)), "{error}");
    }
    let error = Command::new("/nowhere/at/all").hatchery(&hatchery).spawn().expect_err("none");
    assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    let closed = plan(1, |plan| {
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        plan.op(&Op::PutFd { slot: Slot(0), fd: 1 });
        plan.op(&Op::ExecPath { path: c"/bin/true", flags: embryo::ExecFlags::empty() });
        plan.arg(b"true");
    });
    // SAFETY: the number is borrowed for a call that is to find it closed.
    let nothing = unsafe { BorrowedFd::borrow_raw(999) };
    let error = hatchery.spawn(&closed, &[nothing]).expect_err("it is not open");
    assert_eq!(error.raw_os_error(), Some(libc::EBADF), "{error}");
    assert!(matches!(hatchery.spawn(&closed, &[]), Err(Error::Grants { slots: 1, given: 0 })));
    drop(hatchery);
    assert_nothing_left(&before);
}

#[test]
fn a_launch_that_nobody_waits_for_leaves_nothing() {
    alone!();
    make_what_is_kept();
    let before = Leftovers::capture();
    let hatchery = hatchery(4);
    for _ in 0..8 {
        let mut command = Command::new("sleep");
        drop(command.arg("1000").hatchery(&hatchery).launch().expect("it can be sent"));
    }
    drop(hatchery);
    assert_nothing_left(&before);
}

#[test]
fn an_embryo_that_was_killed_is_passed_over() {
    alone!();
    let hatchery = hatchery(4);
    assert!(wait_for(PATIENCE, || children_of_self().len() == 5), "{:?}", children_of_self());
    let maker = hatchery.id().expect("it is there").cast_signed();
    for child in children_of_self() {
        if child.pid != maker {
            // SAFETY: our own child, not reaped.
            unsafe { libc::kill(child.pid, libc::SIGKILL) };
        }
    }
    let dead = || children_of_self().iter().all(|child| child.pid == maker || child.state == 'Z');
    assert!(wait_for(PATIENCE, dead), "{:?}", children_of_self());
    assert!(report(&hatchery).pid > 0);
    assert_eq!(hatchery.id(), Some(maker.cast_unsigned()));
    // And the process that makes them: what it has made is used, then another is started.
    // SAFETY: as above.
    unsafe { libc::kill(maker, libc::SIGKILL) };
    let (mut failed, mut went) = (0, 0);
    for _ in 0..20 {
        let command = Command::new("true").hatchery(&hatchery).status();
        match command {
            Ok(status) => {
                assert!(status.success());
                went += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains("its process has died"), "{error}");
                failed += 1;
            }
        }
    }
    assert!(failed <= 1 && went >= 19, "{failed} of 20 failed");
    assert_ne!(hatchery.id(), Some(maker.cast_unsigned()));
    drop(hatchery);
    assert!(children_of_self().is_empty(), "{:?}", children_of_self());
}

#[test]
fn a_stopped_embryo_is_an_error_in_time() {
    alone!();
    let options = SpawnOptions::new().timeout(Duration::from_millis(300));
    let hatchery = Hatchery::builder().size(1).options(options).build().expect("it can be made");
    let maker = hatchery.id().expect("it is there").cast_signed();
    let embryo = children_of_self().into_iter().find(|child| child.pid != maker).expect("one");
    // SAFETY: our own child, not reaped.
    unsafe { libc::kill(embryo.pid, libc::SIGSTOP) };
    let error = Command::new("true")
        .spawn_options(options)
        .hatchery(&hatchery)
        .spawn()
        .expect_err("it does nothing");
    assert_eq!(error.as_spawn().map(|fault| fault.cause), Some(Cause::TimedOut), "{error}");
    assert!(!children_of_self().iter().any(|child| child.pid == embryo.pid));
}

/// A time that never ends is one, for a hatchery, an embryo and a launch through the seed.
#[test]
fn no_time_is_too_long() {
    alone!();
    let options = SpawnOptions::new().timeout(Duration::MAX);
    let hatchery = Hatchery::builder().size(1).options(options).build().expect("it can be made");
    let mut command = Command::new("true");
    command.spawn_options(options.through_seed(true));
    assert!(command.status().expect("it starts").success());
    assert!(command.hatchery(&hatchery).status().expect("it starts").success());
}

#[test]
fn many_grants_come_in_several_messages() {
    alone!();
    let hatchery = hatchery(2);
    let file = std::fs::File::open("/dev/null").expect("it is there");
    let count = 400u32;
    let plan = plan(count, |plan| {
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        for slot in 0..count {
            plan.op(&Op::PutFd { slot: Slot(slot), fd: 1000 - slot });
        }
        plan.op(&Op::ExecPath { path: c"/bin/sh", flags: embryo::ExecFlags::empty() });
        plan.arg(b"sh").arg(b"-c").arg(b"set -- /proc/self/fd/*; test $# -ge 400");
    });
    let grants = vec![file.as_fd(); count as usize];
    let mut process = hatchery.spawn(&plan, &grants).and_then(Launching::wait).expect("it starts");
    assert!(process.wait().expect("it ends").success());
}

#[test]
fn what_happens_when_none_is_ready() {
    alone!();
    let make = |when_empty| {
        Hatchery::builder()
            .size(1)
            .options(options())
            .when_empty(when_empty)
            .build()
            .expect("it can be made")
    };
    let failing = make(WhenEmpty::Fail);
    let mut outcomes = Vec::new();
    // More at once than a process can make.
    for _ in 0..100 {
        match Command::new("true").hatchery(&failing).launch() {
            Ok(launching) => outcomes.push(launching),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "{error}");
                break;
            }
        }
    }
    assert!(outcomes.len() < 100, "a hatchery of one was never empty");
    let direct = make(WhenEmpty::SpawnDirectly);
    let mut routes = Vec::new();
    for _ in 0..100 {
        let launching = Command::new("true").hatchery(&direct).launch().expect("it can be sent");
        routes.push(launching.as_fd().is_some());
        launching.wait().expect("it starts").wait().expect("it ends");
    }
    assert!(routes.contains(&true));
    let waiting = make(WhenEmpty::Wait);
    for _ in 0..20 {
        let launching = Command::new("true").hatchery(&waiting).launch().expect("it can be sent");
        assert!(launching.as_fd().is_some());
        launching.wait().expect("it starts").wait().expect("it ends");
    }
}

#[test]
fn the_rate_has_a_bound() {
    alone!();
    let hatchery = Hatchery::builder().size(64).per_second(1).build().expect("it can be made");
    // One at once, and then one a second: an hour is not over.
    assert!(children_of_self().len() < 60, "{:?}", children_of_self());
    drop(hatchery);
    assert!(children_of_self().is_empty());
    for size in [0, 129] {
        let error = Hatchery::builder().size(size).build().expect_err("no such size");
        assert!(error.to_string().contains("between 1 and 128"), "{error}");
    }
    let hatchery = self::hatchery(128);
    let full = || children_of_self().len() == 129;
    assert!(wait_for(PATIENCE, full), "{}", children_of_self().len());
    drop(hatchery);
    assert!(children_of_self().is_empty());
}

#[test]
fn any_thread_takes_from_it() {
    alone!();
    make_what_is_kept();
    let before = Leftovers::capture();
    let hatchery = hatchery(8);
    let launch = |hatchery: Hatchery| {
        for number in 0..25 {
            let code = format!("exit {number}");
            let status = Command::new("sh").args(["-c", &code]).hatchery(&hatchery).status();
            assert_eq!(status.expect("it starts").code(), Some(number));
        }
    };
    // Not scoped: a scope ends before its threads have closed what they keep.
    let threads: Vec<_> = (0..8)
        .map(|_| hatchery.clone())
        .map(|hatchery| std::thread::spawn(move || launch(hatchery)))
        .collect();
    for thread in threads {
        thread.join().expect("it does not panic");
    }
    drop(hatchery);
    assert_nothing_left(&before);
}

/// Neither the ready ones nor one that somebody has stopped outlive their owner, though a copy
/// of the owner goes on.
#[test]
fn nothing_outlives_an_owner_that_is_killed() {
    alone!();
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
    // SAFETY: the child makes a hatchery, and this process has one thread that matters.
    let owner = unsafe { libc::fork() };
    if owner == 0 {
        let hatchery = hatchery(4);
        assert!(wait_for(PATIENCE, || children_of_self().len() == 5));
        let children = children_of_self();
        for child in [&children[0], &children[2]] {
            // SAFETY: our own children, not reaped.
            unsafe { libc::kill(child.pid, libc::SIGSTOP) };
        }
        let stopped = || children_of_self().iter().filter(|child| child.state == 'T').count() == 2;
        assert!(wait_for(PATIENCE, stopped));
        // SAFETY: the grandchild only sleeps.
        if unsafe { libc::fork() } == 0 {
            std::thread::sleep(Duration::from_secs(3));
            std::process::exit(0);
        }
        for child in &children {
            (&writer).write_all(&child.pid.to_le_bytes()).expect("it is read");
        }
        std::thread::sleep(PATIENCE);
        drop(hatchery);
        std::process::exit(1);
    }
    drop(writer);
    let mut pids = [[0; 4]; 5];
    for pid in &mut pids {
        reader.read_exact(pid).expect("it tells");
    }
    let pids = pids.map(i32::from_le_bytes);
    // SAFETY: our own child.
    unsafe { libc::kill(owner, libc::SIGKILL) };
    // SAFETY: our own child; nothing is written.
    unsafe { libc::waitpid(owner, std::ptr::null_mut(), 0) };
    for pid in pids {
        let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // Whoever inherits it may leave it a zombie for a while.
        let gone =
            || stat().rsplit(") ").next().is_none_or(|rest| !rest.starts_with(['S', 'R', 'T']));
        assert!(wait_for(Duration::from_secs(2), gone), "it lives on: {}", stat());
    }
}

/// A forked copy of the owner has a hatchery whose processes are not its children.
#[test]
fn a_copy_of_the_owner_makes_its_own() {
    alone!();
    let hatchery = hatchery(2);
    report(&hatchery);
    let made = hatchery.id();
    // SAFETY: the child spawns, and this process has one thread that matters.
    let copy = unsafe { libc::fork() };
    if copy == 0 {
        let report = report(&hatchery);
        let own = rustix::process::getpid().as_raw_pid();
        let right = report.ppid == own && hatchery.id() != made;
        drop(hatchery);
        std::process::exit(i32::from(!right || !children_of_self().is_empty()));
    }
    let mut status = 0;
    // SAFETY: our own child, and a live integer.
    unsafe { libc::waitpid(copy, &raw mut status, 0) };
    assert_eq!(status, 0);
    assert_eq!(report(&hatchery).ppid, rustix::process::getpid().as_raw_pid());
    assert_eq!(hatchery.id(), made);
}

/// The init of a pid namespace has one as anybody has; a caller whose children come to another
/// namespace is told so.
#[test]
fn pid_namespaces() {
    alone!();
    // SAFETY: the call takes a number.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        skip!("a pid namespace cannot be had: {}", std::io::Error::last_os_error());
    }
    let error = Hatchery::new().expect_err("its process would be an init");
    assert!(error.to_string().contains("pid namespace"), "{error}");
    // SAFETY: the child spawns, and this process has one thread that matters.
    let init = unsafe { libc::fork() };
    if init == 0 {
        let hatchery = Hatchery::new();
        // /proc is that of the outer namespace, which knows this process by another number.
        let outcome = match hatchery {
            Ok(hatchery) => Command::new("true").hatchery(&hatchery).status().map(|s| s.success()),
            Err(error) => Err(error),
        };
        if outcome.as_ref().ok() != Some(&true) {
            eprintln!("in the init: {outcome:?}");
        }
        std::process::exit(i32::from(outcome.ok() != Some(true)));
    }
    let mut status = 0;
    // SAFETY: our own child, and a live integer.
    unsafe { libc::waitpid(init, &raw mut status, 0) };
    assert_eq!(status, 0);
}

#[test]
fn an_embryo_comes_ready_made() {
    alone!();
    let hatchery = hatchery(2);
    for _ in 0..4 {
        let mut embryo = hatchery.embryo().expect("there is one");
        let flags = embryo::MapFlags::empty();
        let map = Op::Map { addr: 0, len: 4096, prot: 3, flags };
        let at = embryo.apply(&map, &[]).expect("it can be mapped");
        embryo.write(at, b"contents").expect("it is writable");
        assert_eq!(embryo.read(at, 8).expect("it is mapped"), b"contents");
    }
}

#[test]
fn all_of_it_as_an_ordinary_user() {
    if !is_root() {
        return;
    }
    for test in [
        "a_child_is_one_message_away",
        "a_child_is_in_the_landlock_domain_that_its_creator_has_entered",
        "a_command_keeps_what_its_creator_has_at_that_moment",
        "a_fault_says_what_failed_and_leaves_nothing",
        "an_embryo_that_was_killed_is_passed_over",
        "any_thread_takes_from_it",
        "nothing_outlives_an_owner_that_is_killed",
        "a_copy_of_the_owner_makes_its_own",
    ] {
        rerun_as_nobody(test);
    }
}
