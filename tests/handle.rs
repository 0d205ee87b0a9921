//! Promise 4: a process is named by its pidfd from birth to its end, whoever else waits, and
//! letting go of one leaves nothing.
//!
//! A test here must never reap by pid what the library owns, except where it plays the one who
//! does.

mod before;
mod launch;
mod stop;

use before::{Before, warm_up};
use embryo::{Command, Error, Process, Stdio};
use embryo_tests::{alone, children_of_self, probe_path, skip, wait_for};
use launch::PATIENCE;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stop::Stop;

const SOON: Duration = Duration::from_secs(20);

fn probe(args: &[&str]) -> Command {
    let mut command = Command::new(probe_path());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

#[track_caller]
fn start(args: &[&str]) -> Process {
    probe(args).spawn().unwrap_or_else(|e| panic!("{e}"))
}

// ---- waiting ----

#[test]
fn every_end_is_told_as_it_was() {
    for code in [0, 1, 77, 255] {
        let mut process = start(&["exit", &code.to_string()]);
        assert_eq!(process.wait().unwrap().code(), Some(code));
        // Asked again it says the same again.
        assert_eq!(process.wait().unwrap().code(), Some(code));
        assert_eq!(process.try_wait().unwrap().and_then(|s| s.code()), Some(code));
        assert_eq!(process.wait_timeout(SOON).unwrap().and_then(|s| s.code()), Some(code));
    }
    for signal in [1, 9, 15, 34, 64] {
        let mut process = start(&["signal", &signal.to_string()]);
        assert_eq!(process.wait().unwrap().signal(), Some(signal));
    }
    let mut command = probe(&["signal", "6"]);
    // Whether there is a core depends on where the kernel is told to write one.
    let status = command.rlimit(4, 0, 0).status().unwrap();
    assert_eq!((status.signal(), status.core_dumped()), (Some(6), false));
}

#[test]
fn a_running_process_is_not_waited_for_longer_than_asked() {
    let mut process = start(&["sleep", "100"]);
    assert_eq!(process.try_wait().unwrap(), None);
    let begun = Instant::now();
    assert_eq!(process.wait_timeout(Duration::from_millis(50)).unwrap(), None);
    assert!(begun.elapsed() >= Duration::from_millis(50));
    assert_eq!(process.wait_timeout(Duration::ZERO).unwrap(), None);
    assert_eq!(process.usage(), None);
    process.kill().unwrap();
    assert_eq!(process.wait_timeout(Duration::MAX).unwrap().and_then(|s| s.signal()), Some(9));
    // One that has ended is no error, and nobody else is killed.
    process.kill().unwrap();
    let gone = process.signal(0).unwrap_err();
    assert_eq!(gone.raw_os_error(), Some(libc::ESRCH), "{gone}");
}

#[test]
fn signals_arrive() {
    let mut command = probe(&["deaf", "100"]);
    let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut word = [0; 5];
    process.stdout.as_mut().unwrap().read_exact(&mut word).unwrap();
    process.signal(15).unwrap();
    process.signal(64).unwrap();
    assert_eq!(process.wait_timeout(Duration::from_millis(50)).unwrap(), None);
    process.signal(9).unwrap();
    assert_eq!(process.wait().unwrap().signal(), Some(9));

    let mut process = start(&["sleep", "100"]);
    assert_eq!(process.signal(65).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    process.signal(10).unwrap();
    assert_eq!(process.wait().unwrap().signal(), Some(10));
}

/// A child that reads its standard input to the end is not waited for in vain.
#[test]
fn waiting_closes_the_pipe_to_it() {
    let wait: [fn(&mut Process) -> bool; 2] = [
        |process| process.wait().unwrap().success(),
        |process| process.wait_timeout(PATIENCE).unwrap().is_some_and(|status| status.success()),
    ];
    for wait in wait {
        let mut process = probe(&["cat"]).stdin(Stdio::piped()).spawn().unwrap();
        process.stdin.as_mut().unwrap().write_all(b"something").unwrap();
        assert_eq!(process.try_wait().unwrap(), None, "asking does not close it");
        assert!(process.stdin.is_some());
        assert!(wait(&mut process));
        assert!(process.stdin.is_none());
    }
}

#[test]
fn what_it_used_is_known_after_its_end() {
    let mut process = start(&["spin"]);
    std::thread::sleep(Duration::from_millis(200));
    process.kill().unwrap();
    process.wait().unwrap();
    let usage = process.usage().expect("it was waited for");
    assert!(usage.user + usage.system > Duration::from_millis(10), "{usage:?}");
    assert!(usage.user + usage.system < PATIENCE, "{usage:?}");
    assert!((1 << 20..1 << 30).contains(&usage.max_rss), "{usage:?}");
    assert!(usage.minor_faults > 10, "{usage:?}");
}

/// Its pid is the child's own, and its pidfd can be polled by anybody's loop.
#[test]
fn pid_and_pidfd_name_the_same_process() {
    let mut process = probe(&["report"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut json = Vec::new();
    process.stdout.take().unwrap().read_to_end(&mut json).unwrap();
    assert_eq!(embryo_tests::Report::parse(&json).pid, process.id().cast_signed());
    let info = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&process.pidfd()));
    let info = std::fs::read_to_string(info).unwrap();
    assert!(info.contains(&format!("Pid:\t{}\n", process.id())), "{info}");
    let mut polled = [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)];
    let timeout = rustix::event::Timespec { tv_sec: 60, tv_nsec: 0 };
    assert_eq!(rustix::event::poll(&mut polled, Some(&timeout)), Ok(1));
    assert!(process.wait().unwrap().success());
}

// ---- letting go ----

/// Waits until this process has no child and no thread besides those it had.
#[track_caller]
fn assert_comes_to_rest(threads: &[String], before: &Before) {
    let rest = || children_of_self().is_empty() && thread_names() == threads;
    assert!(wait_for(SOON, rest), "{:?}, {:?}", children_of_self(), thread_names());
    before.assert_nothing_left_soon();
}

fn thread_names() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("there is a /proc").flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok()).collect()
}

#[test]
fn dropping_leaves_no_zombie_whether_it_runs_or_not() {
    alone!();
    warm_up();
    let (threads, before) = (thread_names(), Before::capture());
    // Ended and not waited for.
    let ended = start(&["exit", "3"]);
    assert!(wait_for(SOON, || children_of_self().iter().all(|child| child.state == 'Z')));
    drop(ended);
    assert!(children_of_self().is_empty(), "it had ended, so it is reaped at once");
    assert_eq!(thread_names(), threads, "and no thread is needed for that");
    // Running, and runs on.
    let running = probe(&["cat"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut running = running;
    let (stdin, pid) = (running.stdin.take(), running.id().cast_signed());
    drop(running);
    std::thread::sleep(Duration::from_millis(20));
    assert_eq!(children_of_self().iter().map(|child| child.pid).collect::<Vec<_>>(), [pid]);
    // A thread names itself, and on a busy machine not at once.
    let reaper = || thread_names().iter().any(|name| name == "embryo-reaper\n");
    assert!(wait_for(SOON, reaper), "{:?}", thread_names());
    drop(stdin);
    assert_comes_to_rest(&threads, &before);
}

#[test]
fn a_thousand_dropped() {
    alone!();
    warm_up();
    let (threads, before) = (thread_names(), Before::capture());
    // Together, so that the reaper has many at once, then again after it has ended.
    for round in 0..2 {
        let (reader, writer) = std::io::pipe().unwrap();
        for number in 0..500 {
            match number % 5 {
                0 => drop(start(&["exit", "0"])),
                1 => drop(start(&["exit", "0"]).detach()),
                _ => drop(probe(&["cat"]).stdin(reader.try_clone().unwrap()).spawn().unwrap()),
            }
            if number % 100 == 99 {
                // Those that have ended since the last look may still be zombies, no more.
                let zombies = children_of_self().iter().filter(|child| child.state == 'Z').count();
                assert!(zombies < 50, "{zombies} zombies in round {round}");
            }
        }
        drop((reader, writer));
        assert_comes_to_rest(&threads, &before);
    }
}

#[test]
fn killed_on_drop_only_where_that_was_said() {
    alone!();
    warm_up();
    let (threads, before) = (thread_names(), Before::capture());
    let alive = |pid: i32| children_of_self().iter().any(|child| child.pid == pid);

    let mut process = start(&["sleep", "100"]);
    process.kill_on_drop(true);
    drop(process);
    assert_comes_to_rest(&threads, &before);
    drop(probe(&["sleep", "100"]).kill_on_drop(true).spawn().unwrap());
    assert_comes_to_rest(&threads, &before);

    // Detaching takes it back; so does saying so.
    let mut process = probe(&["sleep", "100"]).kill_on_drop(true).spawn().unwrap();
    process.kill_on_drop(false);
    let kept = process.id().cast_signed();
    drop(process);
    let detached = probe(&["sleep", "100"]).kill_on_drop(true).spawn().unwrap().detach();
    std::thread::sleep(Duration::from_millis(50));
    for pid in [kept, detached.cast_signed()] {
        assert!(alive(pid));
        rustix::process::kill_process(
            rustix::process::Pid::from_raw(pid).unwrap(),
            rustix::process::Signal::KILL,
        )
        .unwrap();
    }
    assert_comes_to_rest(&threads, &before);
}

/// A handle that was moved to another thread, and one that outlives the thread that spawned.
#[test]
fn handles_travel() {
    let mut process = std::thread::spawn(|| start(&["sleep", "0.05"])).join().unwrap();
    assert!(std::thread::spawn(move || process.wait().unwrap().success()).join().unwrap());
}

// ---- somebody else who waits ----

/// Whether this kernel tells the status of a child that somebody else reaped: Linux 6.15.
fn tells_after_reaping() -> bool {
    let mut process = start(&["exit", "5"]);
    let mut status = 0;
    // SAFETY: the call writes one int to a live local.
    let reaped = unsafe { libc::waitpid(process.id().cast_signed(), &raw mut status, 0) };
    assert_eq!(reaped, process.id().cast_signed());
    match process.wait() {
        Ok(status) => {
            assert_eq!(status.code(), Some(5));
            true
        }
        Err(Error::Reaped { pid, .. }) => {
            assert_eq!(pid, process.id());
            false
        }
        Err(other) => panic!("{other}"),
    }
}

/// What is known of a child that may have been reaped by somebody else.
#[track_caller]
fn assert_known(process: &mut Process, code: i32, tells: bool) {
    match process.wait() {
        Ok(status) => assert_eq!(status.code(), Some(code)),
        Err(Error::Reaped { pid, .. }) => assert!(!tells && pid == process.id()),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_status_survives_a_thread_that_waits_for_any_child() {
    alone!();
    warm_up();
    let tells = tells_after_reaping();
    let stop = AtomicBool::new(false);
    let before = Before::capture();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let mut status = 0;
                // SAFETY: the call writes one int to a live local.
                if unsafe { libc::waitpid(-1, &raw mut status, 0) } < 0 {
                    std::thread::yield_now();
                }
            }
        });
        let _stop = Stop::at_end(&stop);
        for round in 0..500 {
            let code = round % 200;
            let mut process = start(&["exit", &code.to_string()]);
            if round % 3 > 0 {
                // Asked again and again, so as to ask while the other thread is reaping.
                while matches!(process.try_wait(), Ok(None)) {
                    std::hint::spin_loop();
                }
            }
            assert_known(&mut process, code, tells);
            // Its number may be another process's by now, and that one is left alone.
            process.kill().unwrap();
        }
    });
    before.assert_nothing_left_soon();
    if !tells {
        skip!("this kernel forgets a status once somebody has reaped it; nothing else was lost");
    }
}

/// Ignored, SIGCHLD makes the kernel reap children itself.
#[test]
fn a_status_survives_an_ignored_sigchld() {
    alone!();
    warm_up();
    let tells = tells_after_reaping();
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let before = Before::capture();
    for round in 0..200 {
        let code = round % 200;
        let mut process = start(&["exit", &code.to_string()]);
        match round % 3 {
            0 => {}
            1 => {
                while matches!(process.try_wait(), Ok(None)) {
                    std::hint::spin_loop();
                }
            }
            _ => drop(process.wait_timeout(SOON)),
        }
        assert_known(&mut process, code, tells);
    }
    drop(start(&["exit", "0"]));
    let output = probe(&["echo", "word"]).stdout(Stdio::piped()).output();
    match output {
        Ok(output) => assert_eq!(output.stdout, b"word\n"),
        Err(error) => assert!(!tells, "{error}"),
    }
    assert!(wait_for(SOON, || children_of_self().is_empty()));
    before.assert_nothing_left_soon();
    if !tells {
        skip!("this kernel forgets a status once it has been reaped; nothing else was lost");
    }
}

/// A launch that failed was nobody's business: no SIGCHLD, and nothing for others to reap.
#[test]
fn a_failed_launch_is_not_seen_by_others_who_wait() {
    alone!();
    warm_up();
    static CAME: AtomicBool = AtomicBool::new(false);
    extern "C" fn note(_: i32) {
        CAME.store(true, Ordering::SeqCst);
    }
    // SAFETY: the handler stores to an atomic, which is async-signal-safe.
    unsafe { libc::signal(libc::SIGCHLD, note as *const () as libc::sighandler_t) };
    for _ in 0..50 {
        let error = Command::new("/nowhere/at/all").spawn().unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
    }
    assert!(!CAME.load(Ordering::SeqCst), "a failed launch sent SIGCHLD");
    assert!(start(&["exit", "0"]).wait().unwrap().success());
    assert!(wait_for(SOON, || CAME.load(Ordering::SeqCst)), "a child's end sends SIGCHLD");
}
