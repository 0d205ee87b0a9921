//! Promise 9, where a kernel or a filter lacks what a launch would like: another way serves with
//! the same promises, or an error says what is lacking.
//!
//! Refusing a call by a filter is as near as one comes to an older kernel on a newer one; it must
//! not be taken for the older kernel itself, on which all tests run as well.

mod before;
mod launch;
mod maze;
mod neighbour;
mod refusal;

use before::{Before, warm_up};
use embryo::{Cause, Command, Error, Op, Process, SpawnError, Stdio, Step};
use embryo_tests::{Report, alone};
use launch::{Draft, Way};
use maze::Maze;
use neighbour::Sniper;
use refusal::Refusal;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// What came after Linux 5.10, and what a filter of that time refuses.
const LATE: [libc::c_long; 3] =
    [libc::SYS_clone3, libc::SYS_close_range, libc::SYS_process_mrelease];

#[track_caller]
fn fault(outcome: Result<Process, Error>) -> SpawnError {
    match outcome {
        Err(Error::Spawn(error)) => *error,
        Err(other) => panic!("another error: {other}"),
        Ok(process) => panic!("a success: {process:?}"),
    }
}

extern "C" fn never_called(_: i32) {}

/// A caller with something to lose: handlers, ignored and blocked signals, open files at low and
/// high numbers that exec would keep.
fn fill_caller() -> Vec<OwnedFd> {
    for number in [libc::SIGHUP, libc::SIGTERM, libc::SIGUSR1, 40, 64] {
        // SAFETY: the handler does nothing, and libc installs it as it should be.
        unsafe { libc::signal(number, never_called as *const () as libc::sighandler_t) };
    }
    for number in [libc::SIGPIPE, libc::SIGUSR2, 41, 63] {
        // SAFETY: no handler is installed.
        unsafe { libc::signal(number, libc::SIG_IGN) };
    }
    let file = std::fs::File::open("/dev/null").expect("there is one");
    let at = |number| {
        // SAFETY: nothing has this number.
        let copy = unsafe { libc::dup2(file.as_raw_fd(), number) };
        // SAFETY: just made, and owned by nobody yet.
        unsafe { OwnedFd::from_raw_fd(copy) }
    };
    [50, 60, 500, 900].map(at).into()
}

/// What a child has to be like whatever the kernel lacks, and that faults are as they were.
#[track_caller]
fn assert_all_promises(sniper: &Sniper, legacy_clone: bool) {
    let before = Before::capture();
    for way in Way::BOTH {
        let mut draft = Draft::watched();
        let slot = draft.grant(std::fs::File::open("/dev/null").expect("there is one"));
        draft.op(&Op::PutFd { slot, fd: 300 }).op(&Op::SetSid);
        let child = draft.watch(way);
        let report: &Report = &child.report;
        assert_eq!(report.fd_numbers(), [0, 1, 300], "{way:?}");
        assert_eq!(report.ignored(), [0; 0], "{way:?}");
        assert_eq!(report.signals.caught, [0; 0], "{way:?}");
        assert_eq!(report.blocked(), [0; 0], "{way:?}");
        assert_eq!(report.sid, report.pid, "{way:?}");
        assert_eq!(child.process().report().legacy_clone, legacy_clone, "{way:?}");
        child.end();

        // Without its slot, this plan has nothing but an op that fails.
        let mut draft = Draft::probe(&[]);
        draft.op(&Op::ChdirPath { path: c"/nowhere/at/all" });
        let error = fault(draft.spawn(way));
        assert_eq!((error.op(), error.fault.errno), ("chdir", 2), "{way:?}: {error}");
    }
    let output = Command::new(embryo_tests::probe_path())
        .args(["cat"])
        .stderr(Stdio::null())
        .output_with_input(&[b'x'; 300_000])
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(output.stdout.len(), 300_000);

    // Deadline and death.
    let maze = Maze::new();
    let plan = maze.search_for(Duration::from_secs(20));
    for way in Way::BOTH {
        for (number, timeout) in [(libc::SIGSTOP, 300), (libc::SIGKILL, 60_000)] {
            let options = way.options().timeout(Duration::from_millis(timeout));
            sniper.order(number);
            let cause = fault(embryo::spawn_with(&plan, &[], options)).cause;
            match number {
                libc::SIGSTOP => assert_eq!(cause, Cause::TimedOut, "{way:?}"),
                _ => assert_eq!(cause, Cause::Killed(Some(9)), "{way:?}"),
            }
        }
    }
    before.assert_nothing_left();
}

#[test]
fn without_clone3() {
    alone!();
    warm_up();
    let sniper = Sniper::new();
    let _files = fill_caller();
    Refusal::always(libc::SYS_clone3).with(libc::ENOSYS).enforce();
    assert_all_promises(&sniper, true);
}

#[test]
fn without_clone3_by_a_filter_that_does_not_know_it() {
    alone!();
    let sniper = Sniper::new();
    let _files = fill_caller();
    Refusal::always(libc::SYS_clone3).with(libc::EPERM).enforce();
    // There was no launch before: what is made at the first one is made without clone3 too.
    warm_up();
    assert_all_promises(&sniper, true);
}

#[test]
fn without_close_range() {
    alone!();
    warm_up();
    let sniper = Sniper::new();
    let _files = fill_caller();
    Refusal::always(libc::SYS_close_range).with(libc::ENOSYS).enforce();
    assert_all_promises(&sniper, false);
}

#[test]
fn without_close_range_by_a_filter_that_does_not_know_it() {
    alone!();
    let sniper = Sniper::new();
    let _files = fill_caller();
    Refusal::always(libc::SYS_close_range).with(libc::EPERM).enforce();
    warm_up();
    assert_all_promises(&sniper, false);
}

#[test]
fn without_anything_that_came_lately() {
    alone!();
    without_all(libc::ENOSYS);
}

#[test]
fn without_anything_that_a_filter_does_not_know() {
    alone!();
    without_all(libc::EPERM);
}

fn without_all(errno: i32) {
    let sniper = Sniper::new();
    let _files = fill_caller();
    LATE.iter().for_each(|call| Refusal::always(*call).with(errno).enforce());
    warm_up();
    assert_all_promises(&sniper, true);
}

/// No way to make a child at all.
#[test]
fn without_any_clone() {
    alone!();
    warm_up();
    let before = Before::capture();
    Refusal::always(libc::SYS_clone3).enforce();
    Refusal::always(libc::SYS_clone).enforce();
    for way in Way::BOTH {
        let error = fault(Draft::probe(&["exit", "0"]).spawn(way));
        assert_eq!((error.step(), error.fault.errno), (Some(Step::Clone), 1), "{way:?}: {error}");
        assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("seccomp")), "{error}");
        before.assert_nothing_left();
    }
}

/// The seed is run from memory; where that is forbidden, plans that need no seed still run.
#[test]
fn without_files_in_memory() {
    alone!();
    Refusal::always(libc::SYS_memfd_create).enforce();
    let error = fault(Draft::probe(&["exit", "0"]).spawn(Way::Seed));
    assert_eq!((error.step(), error.fault.errno), (Some(Step::Seed), 1), "{error}");
    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("memfd")), "{error}");
    let mut process = Draft::probe(&["exit", "0"]).spawn(Way::AsRouted).expect("it needs no seed");
    assert!(process.wait().expect("it can be waited for").success());
}

#[test]
fn without_the_right_to_execute_files_in_memory() {
    alone!();
    Refusal::always(libc::SYS_execveat).with(libc::EACCES).enforce();
    let error = fault(Draft::probe(&["exit", "0"]).spawn(Way::Seed));
    assert_eq!((error.step(), error.fault.errno), (Some(Step::Seed), 13), "{error}");
    assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("memfd")), "{error}");
    assert!(embryo_tests::children_of_self().is_empty());
    let mut process = Draft::probe(&["exit", "0"]).spawn(Way::AsRouted).expect("it needs no seed");
    assert!(process.wait().expect("it can be waited for").success());
}

/// Without sockets a grant's number decides how much of the table is copied, and that is said.
#[test]
fn without_sockets() {
    alone!();
    let _files = fill_caller();
    Refusal::always(libc::SYS_socketpair).enforce();
    let child = Draft::watched().watch(Way::AsRouted);
    assert!(child.process().report().cut_raised, "{:?}", child.process().report());
    assert_eq!(child.report.fd_numbers(), [0, 1]);
    child.end();
    let error = fault(Draft::probe(&["exit", "0"]).spawn(Way::Seed));
    assert_eq!(error.step(), Some(Step::Seed), "{error}");
}

/// A handle that may not signal through the pidfd says so, and still waits; a child that is stopped
/// before it has an image is killed by other means.
#[test]
fn without_signals_through_a_pidfd() {
    alone!();
    warm_up();
    let (sniper, maze) = (Sniper::new(), Maze::new());
    Refusal::always(libc::SYS_pidfd_send_signal).enforce();
    let plan = maze.search_for(Duration::from_secs(20));
    sniper.order(libc::SIGSTOP);
    let options = Way::AsRouted.options().timeout(Duration::from_millis(300));
    let error = fault(embryo::spawn_with(&plan, &[], options));
    assert_eq!(error.cause, Cause::TimedOut, "{error}");
    assert!(embryo_tests::children_of_self().is_empty());
    let mut process = Draft::probe(&["sleep", "0.05"]).spawn(Way::AsRouted).expect("it starts");
    assert_eq!(process.signal(15).unwrap_err().raw_os_error(), Some(libc::EPERM));
    assert_eq!(process.kill().unwrap_err().raw_os_error(), Some(libc::EPERM));
    assert!(process.wait().expect("it can be waited for").success());
}

/// What has no other way is an error that says so.
#[test]
fn without_an_operation_the_rest_goes_on() {
    alone!();
    warm_up();
    let before = Before::capture();
    Refusal::always(libc::SYS_sched_setattr).with(libc::ENOSYS).enforce();
    for way in Way::BOTH {
        let mut draft = Draft::probe(&["exit", "0"]);
        draft.op(&Op::Sched {
            policy: 3,
            priority: 0,
            flags: 0,
            runtime_ns: 0,
            deadline_ns: 0,
            period_ns: 0,
        });
        let error = fault(draft.spawn(way));
        assert_eq!((error.op(), error.fault.errno), ("sched", 38), "{way:?}: {error}");
        assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("lacks")), "{error}");
        before.assert_nothing_left();
    }
}
