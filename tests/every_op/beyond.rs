//! Effects that no report can show, because they show when something happens to the child. It
//! must never leave a process behind when it fails: children end with their pipes.

use crate::catalogue::terminal;
use crate::launch::{Draft, PATIENCE, Way, c_path};
use embryo::{ExecFlags, Op};
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
