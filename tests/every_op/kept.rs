//! What a plan keeps of its caller, or leaves to the default, instead of an op. It must never rely
//! on what the test happened to be started with: the caller makes itself conspicuous first.

use crate::before::{self, Before};
use crate::caller::{BLOCKED, IGNORED, stand_out};
use crate::launch::{Draft, Way};
use crate::refusal::Refusal;
use embryo::{Keep, Op};
use embryo_tests::alone;

#[test]
fn what_is_kept_is_the_callers() {
    alone!();
    keep_all(false);
}

#[test]
fn what_is_kept_is_the_callers_where_clone3_is_refused() {
    alone!();
    Refusal::always(libc::SYS_clone3).with(libc::ENOSYS).enforce();
    keep_all(true);
}

fn keep_all(legacy: bool) {
    before::warm_up();
    let before = Before::capture();
    let caller = stand_out();
    for way in Way::BOTH {
        let mut draft = Draft::watched();
        draft.keep(Keep::IGNORED_SIGNALS | Keep::SIGNAL_MASK);
        let child = draft.watch(way);
        assert_eq!(child.process().report().legacy_clone, legacy);
        let (here, there) = (&caller.report, &child.report);
        assert_eq!(there.cwd_at, here.cwd_at);
        assert_eq!(there.umask, 0o153);
        assert_eq!((there.sid, there.pgid, &there.tty), (here.sid, here.pgid, &here.tty));
        for signal in IGNORED {
            assert!(there.ignored().contains(&signal), "{signal}: {:?}", there.ignored());
        }
        assert_eq!(there.ignored(), here.ignored());
        assert_eq!(there.blocked(), BLOCKED);
        // A handler cannot be kept: the function is not there.
        assert_eq!(there.signals.caught, [0u32; 0]);
        assert!(!there.ignored().contains(&1));
        child.end();
    }
    caller.assert_unchanged();
    before.assert_nothing_left();
}

#[test]
fn what_is_neither_set_nor_kept_is_the_default() {
    alone!();
    keep_nothing();
}

#[test]
fn what_is_neither_set_nor_kept_is_the_default_where_clone3_is_refused() {
    alone!();
    Refusal::always(libc::SYS_clone3).with(libc::ENOSYS).enforce();
    keep_nothing();
}

fn keep_nothing() {
    let caller = stand_out();
    for way in Way::BOTH {
        let child = Draft::watched().watch(way);
        assert_eq!(child.report.ignored(), [0u32; 0]);
        assert_eq!(child.report.blocked(), [0u32; 0]);
        assert_eq!(child.report.signals.caught, [0u32; 0]);
        assert_eq!(child.report.signals.pending, [0u32; 0]);
        assert_eq!(child.report.envp, [""; 0]);
        assert_eq!(child.report.fd_numbers(), [0, 1]);
        child.end();
    }
    assert!(!caller.report.ignored().is_empty());
}

/// With an ignored SIGCHLD the kernel reaps children by itself.
#[test]
fn the_caller_may_ignore_the_end_of_children() {
    alone!();
    crate::caller::ignore(&[17]);
    for way in Way::BOTH {
        let mut draft = Draft::watched();
        draft.keep(Keep::IGNORED_SIGNALS);
        let child = draft.watch(way);
        assert!(child.report.ignored().contains(&17));
        drop(child);
        let mut failing = Draft::probe(&["exit", "0"]);
        failing.op(&Op::ChdirPath { path: c"/nowhere" });
        let error = failing.spawn(way).expect_err("there is no such directory");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
    }
    assert_eq!(embryo_tests::children_of_self(), []);
}
