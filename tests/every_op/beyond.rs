//! Effects that no report can show, because they show when something happens to the child. It
//! must never leave a process behind when it fails: children end with their pipes.

use crate::catalogue::terminal;
use crate::filter::{ALLOW, KILL, errno, filter, long, uncertain};
use crate::launch::{Draft, PATIENCE, Way, c_path};
use embryo::{Cause, ExecFlags, FilterFlags, Op};
use embryo_tests::{NOBODY, alone, is_root, require_root, rerun_as_nobody, skip, tempdir};
use embryo_tests::{probe_path, wait_for};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;

/// A group in the background of the caller's own terminal comes to the foreground, though SIGTTOU
/// would stop whoever asks for that from the background.
#[test]
fn a_new_group_comes_to_the_foreground_of_the_callers_terminal() {
    alone!();
    // It comes when the controlling side is closed at the end.
    crate::caller::ignore(&[libc::SIGHUP.cast_unsigned()]);
    let (_controller, terminal) = terminal();
    rustix::process::setsid().expect("a test that runs alone leads no group");
    rustix::process::ioctl_tiocsctty(&terminal).expect("a new session may have a terminal");
    let own = rustix::process::getpgrp();
    for way in Way::BOTH {
        assert_eq!(rustix::termios::tcgetpgrp(&terminal), Ok(own));
        let mut draft = Draft::watched();
        let slot = draft.grant(terminal.try_clone().expect("it can be copied"));
        draft.op(&Op::SetPgid { pgid: 0 }).op(&Op::Foreground { slot });
        let child = draft.watch(way);
        let tty = child.report.tty.as_ref().expect("it has the caller's terminal");
        assert_eq!(tty.foreground, Some(child.report.pid));
        assert_eq!(child.report.pgid, child.report.pid);
        assert_eq!(child.report.sid, own.as_raw_pid());
        child.end();
        // Back, as a shell does it.
        crate::caller::block(&[libc::SIGTTOU.cast_unsigned()]);
        rustix::termios::tcsetpgrp(&terminal, own).expect("it is one's own terminal");
    }
}

/// The death signal comes when the thread that spawned ends, and the child dies of it.
#[test]
fn the_death_signal_comes_with_the_end_of_the_spawning_thread() {
    alone!();
    for way in Way::BOTH {
        let thread = std::thread::spawn(move || {
            let mut draft = Draft::probe(&["sleep", "600"]);
            draft.op(&Op::DeathSignal { signal: 10 });
            draft.spawn(way).expect("it can be started")
        });
        let mut child = thread.join().expect("it does not panic");
        let status = child.wait_timeout(PATIENCE).expect("it can be waited for");
        assert_eq!(status.and_then(|status| status.signal()), Some(10), "{way:?}");
    }
}

#[test]
fn a_subreaper_adopts_orphans() {
    alone!();
    for (reaper, way) in [(true, Way::AsRouted), (true, Way::Seed), (false, Way::AsRouted)] {
        let mut draft = Draft::bare();
        // The subshell ends at once; the program that it started has lost its parent then.
        draft.args(&["sh", "-c", "(\"$0\" sleep 600 >&- <&- & echo $!); read end"]);
        draft.arg(probe_path().as_os_str().as_encoded_bytes());
        draft.op(&Op::ExecPath { path: c"/bin/sh", flags: ExecFlags::empty() });
        if reaper {
            draft.op(&Op::Subreaper);
        }
        let mut shell = draft.start(way);
        let orphan = String::from_utf8(shell.line()).expect("it is a number");
        let orphan: i32 = orphan.trim().parse().expect("it is a number");
        let shell_pid = format!("PPid:\t{}\n", shell.process.id());
        let adopted = || {
            let status = std::fs::read_to_string(format!("/proc/{orphan}/status"));
            status.expect("it still sleeps").contains(&shell_pid)
        };
        if reaper {
            assert!(wait_for(PATIENCE, adopted), "{way:?}");
        } else {
            assert!(wait_for(PATIENCE, || !adopted()));
        }
        let orphan = rustix::process::Pid::from_raw(orphan).expect("it is not 0");
        rustix::process::kill_process(orphan, rustix::process::Signal::KILL).expect("it is ours");
    }
}

#[test]
fn a_personality_without_randomisation_puts_the_stack_at_one_place() {
    alone!();
    let stack = |persona: Option<u32>, way| {
        let mut draft = Draft::watched();
        if let Some(persona) = persona {
            draft.op(&Op::Personality { persona });
        }
        let child = draft.watch(way);
        let maps = child.text("maps");
        child.end();
        let line = maps.lines().find(|line| line.ends_with("[stack]")).expect("it has a stack");
        let top = line.split(['-', ' ']).nth(1).expect("a range has an end");
        top.to_owned()
    };
    let fixed = Some(0x0040_0000 >> 4);
    assert_eq!(fixed, Some(libc::ADDR_NO_RANDOMIZE.cast_unsigned()));
    let first = stack(fixed, Way::AsRouted);
    assert_eq!(stack(fixed, Way::AsRouted), first);
    assert_eq!(stack(fixed, Way::Seed), first);
    let others: std::collections::BTreeSet<String> =
        (0..4).map(|_| stack(None, Way::AsRouted)).collect();
    if others.len() == 1 {
        skip!("addresses are not randomised here");
    }
}

/// A program that is set-user-id root gives an ordinary user root's id, and does not any more once
/// no new privileges are to be had.
#[test]
fn no_new_privs_makes_a_setuid_program_an_ordinary_one() {
    require_root!();
    alone!();
    let dir = tempdir();
    let program = dir.path().join("setuid-probe");
    std::fs::copy(probe_path(), &program).expect("it can be copied");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o4755))
        .expect("it is ours");
    let started = |limited: bool, way| {
        let mut draft = Draft::watched();
        let id = NOBODY;
        draft.op(&Op::Uid { real: id, effective: id, saved: id });
        if limited {
            draft.op(&Op::NoNewPrivs);
        }
        draft.op(&Op::ExecPath { path: &c_path(&program), flags: ExecFlags::empty() });
        let child = draft.watch(way);
        let (ids, secure) = (child.report.uids, child.report.at_secure);
        child.end();
        assert_eq!(ids.real, id);
        (ids.effective, secure)
    };
    if started(false, Way::Seed) != (0, true) {
        skip!("the temporary directory is mounted nosuid");
    }
    assert_eq!(started(true, Way::Seed), (NOBODY, false));
}

/// A filter that would let a set-user-id program be confused is for the privileged alone.
#[test]
fn a_filter_needs_no_new_privs() {
    if is_root() {
        return rerun_as_nobody("beyond::a_filter_needs_no_new_privs");
    }
    alone!();
    let mut draft = Draft::probe(&["exit", "0"]);
    draft.op(&Op::Seccomp { flags: FilterFlags::empty(), program: &long(1) });
    let error = draft.spawn(Way::Seed).expect_err("it may not");
    let spawn = error.as_spawn().expect("a fault");
    assert_eq!((spawn.op(), error.raw_os_error()), ("seccomp", Some(libc::EACCES)), "{error}");
    assert!(error.to_string().contains("needs no-new-privs in the plan"), "{error}");
}

/// A filter stands in the way of exec itself, or of what tells that it failed: each time the error
/// says so, and nothing hangs or is left.
#[test]
fn a_filter_that_ends_the_child_is_named_in_the_error() {
    alone!();
    let failed = |program: &[u8], path: Option<&std::ffi::CStr>| {
        let mut draft = Draft::probe(&["exit", "0"]);
        // One that is known to forbid the exec is no plan.
        let program = uncertain(program);
        let flags = FilterFlags::empty();
        draft.op(&Op::NoNewPrivs).op(&Op::Seccomp { flags, program: &program });
        if let Some(path) = path {
            draft.op(&Op::ExecPath { path, flags: ExecFlags::empty() });
        }
        let before = crate::before::Before::capture();
        let error = draft.spawn(Way::Seed).expect_err("it cannot start");
        before.assert_nothing_left();
        error
    };
    crate::before::warm_up();
    const EXEC: libc::c_long = libc::SYS_execve;
    let missing = Some(c"/no/such/program");

    let error = failed(&filter(&[EXEC], KILL, ALLOW), None);
    assert_eq!(error.as_spawn().map(|fault| fault.cause), Some(Cause::Killed(Some(libc::SIGSYS))));
    assert!(error.to_string().contains("the plan's own filter ended it"), "{error}");
    // Refused by an errno it is a fault like any other.
    let error = failed(&filter(&[EXEC], errno(libc::EPERM), ALLOW), None);
    let fault = error.as_spawn().expect("a fault");
    assert_eq!((fault.op(), error.raw_os_error()), ("exec", Some(libc::EPERM)), "{error}");
    // The image is not there, and the filter does not let that be told.
    let error = failed(&filter(&[libc::SYS_sendmsg], KILL, ALLOW), missing);
    assert!(error.to_string().contains("the plan's own filter ended it"), "{error}");
    let error = failed(&filter(&[libc::SYS_sendmsg], errno(libc::EPERM), ALLOW), missing);
    assert!(error.to_string().contains("lets no sendmsg(2) through"), "{error}");
    // With what the report needs, it is told.
    let calls = [EXEC, libc::SYS_rt_sigprocmask, libc::SYS_sendmsg, libc::SYS_exit_group];
    let error = failed(&filter(&calls, ALLOW, KILL), missing);
    assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
}

/// With a filter that refuses every call, exit included, a child could do nothing but go round for ever.
#[test]
fn a_filter_that_refuses_everything_holds_nobody_up() {
    alone!();
    crate::before::warm_up();
    let before = crate::before::Before::capture();
    let program = uncertain(&filter(&[], ALLOW, errno(libc::EPERM)));
    let mut draft = Draft::probe(&["exit", "0"]);
    let flags = FilterFlags::empty();
    draft.op(&Op::NoNewPrivs).op(&Op::Seccomp { flags, program: &program });
    let options = Way::Seed.options().timeout(std::time::Duration::from_millis(500));
    let error = embryo::spawn_with(&draft.build(), &[], options).expect_err("it cannot start");
    assert_eq!(error.as_spawn().map(|fault| fault.cause), Some(Cause::TimedOut), "{error}");
    before.assert_nothing_left();
}

#[test]
fn all_of_this_works_for_an_ordinary_user() {
    if !is_root() {
        skip!("that is who runs these tests");
    }
    for test in [
        "a_new_group_comes_to_the_foreground_of_the_callers_terminal",
        "the_death_signal_comes_with_the_end_of_the_spawning_thread",
        "a_subreaper_adopts_orphans",
        "a_personality_without_randomisation_puts_the_stack_at_one_place",
        "a_filter_that_ends_the_child_is_named_in_the_error",
    ] {
        rerun_as_nobody(&format!("beyond::{test}"));
    }
    for test in [
        "what_is_kept_is_the_callers",
        "what_is_kept_is_the_callers_where_clone3_is_refused",
        "what_is_neither_set_nor_kept_is_the_default_where_clone3_is_refused",
        "what_is_neither_set_nor_kept_is_the_default",
        "the_caller_may_ignore_the_end_of_children",
    ] {
        rerun_as_nobody(&format!("kept::{test}"));
    }
}
