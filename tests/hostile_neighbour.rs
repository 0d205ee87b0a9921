//! A child that somebody kills or stops before it has an image is a fault within the deadline: not
//! a hang, and not a success.
//!
//! The neighbours here may signal the children, as any process of the same user may; they must
//! never need the caller's help, and no test may depend on when they hit.

mod before;
mod launch;
mod maze;
mod neighbour;
mod silence;
mod stop;

use before::{Before, warm_up};
use embryo::{Cause, Error, Plan, Process, SpawnError};
use embryo_tests::{alone, probe_path, require_root, skip, wait_for};
use launch::Way;
use maze::Maze;
use neighbour::{Neighbour, has_started, signal, the_child};
use silence::{DeadServer, Frozen, Listener};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stop::Stop;

/// A deadline that is meant to pass.
const SHORT: Duration = Duration::from_millis(300);
/// What a fault may take beyond its deadline: twice a second's grace for a child that does not die,
/// and the rest for a busy machine.
const SLACK: Duration = Duration::from_secs(10);

/// Launches a plan in a thread while `meanwhile` runs in this one.
fn launch_meanwhile(
    plan: &Plan,
    way: Way,
    timeout: Duration,
    meanwhile: impl FnOnce(),
) -> Result<Process, Error> {
    std::thread::scope(|scope| {
        let launch = scope.spawn(|| embryo::spawn_with(plan, &[], way.options().timeout(timeout)));
        meanwhile();
        launch.join().expect("a launch does not panic")
    })
}

#[track_caller]
fn fault(outcome: Result<Process, Error>) -> SpawnError {
    match outcome {
        Err(Error::Spawn(error)) => *error,
        Err(other) => panic!("another error: {other}"),
        Ok(process) => panic!("a success: {process:?}"),
    }
}

// ---- one child, one signal ----

#[test]
fn stopped_for_ever_is_a_fault_at_the_deadline() {
    alone!();
    warm_up();
    let before = Before::capture();
    let maze = Maze::new();
    let plan = maze.search_for(Duration::from_secs(20));
    for way in Way::BOTH {
        let begun = Instant::now();
        let outcome = launch_meanwhile(&plan, way, SHORT, || {
            signal(the_child().pid, libc::SIGSTOP);
        });
        let error = fault(outcome);
        assert_eq!(error.cause, Cause::TimedOut, "{way:?}: {error}");
        assert!((SHORT..SHORT + SLACK).contains(&begun.elapsed()), "{:?}", begun.elapsed());
        before.assert_nothing_left();
    }
}

#[test]
fn killed_is_a_fault_that_names_the_signal() {
    alone!();
    warm_up();
    let before = Before::capture();
    let maze = Maze::new();
    let plan = maze.search_for(Duration::from_secs(20));
    for way in Way::BOTH {
        for number in [libc::SIGKILL, libc::SIGTERM] {
            let outcome = launch_meanwhile(&plan, way, launch::PATIENCE, || {
                let child = the_child().pid;
                // Other signals are blocked until the search begins, and wait for it.
                signal(child, number);
            });
            let error = fault(outcome);
            assert_eq!(error.cause, Cause::Killed(Some(number)), "{way:?}: {error}");
            before.assert_nothing_left();
        }
    }
}

/// Between stop and continue nothing is lost.
#[test]
fn stopped_and_continued_in_time_is_no_fault() {
    alone!();
    warm_up();
    let before = Before::capture();
    let maze = Maze::new();
    let plan = maze.search_for(Duration::from_millis(200));
    for way in Way::BOTH {
        let outcome = launch_meanwhile(&plan, way, launch::PATIENCE, || {
            let child = the_child().pid;
            signal(child, libc::SIGSTOP);
            std::thread::sleep(Duration::from_millis(300));
            signal(child, libc::SIGCONT);
        });
        // Nothing is found at the end of the search.
        assert_eq!(fault(outcome).cause, Cause::Refused, "{way:?}");
        before.assert_nothing_left();
    }
}

/// With SIGCHLD ignored the kernel reaps children itself, before anybody can ask how they ended. A
/// child that was never more than ours is not among them; a seed is, and only a kernel that tells
/// the status after that (Linux 6.15) leaves a trace of its having been killed.
#[test]
fn killed_is_a_fault_though_sigchld_is_ignored() {
    alone!();
    warm_up();
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
    let maze = Maze::new();
    let plan = maze.search_for(Duration::from_secs(20));
    let ways = if kernel_is_at_least(6, 15) { &Way::BOTH[..] } else { &[Way::AsRouted] };
    for way in ways {
        for _ in 0..10 {
            let outcome = launch_meanwhile(&plan, *way, launch::PATIENCE, || {
                signal(the_child().pid, libc::SIGKILL);
            });
            assert!(matches!(fault(outcome).cause, Cause::Killed(_)), "{way:?}");
        }
    }
    if ways.len() < Way::BOTH.len() {
        skip!("this kernel forgets how a seed ended that it has reaped; the other way was tested");
    }
}

fn kernel_is_at_least(major: u32, minor: u32) -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || numbers.next().and_then(Result::ok).unwrap_or(0);
    (next(), next()) >= (major, minor)
}

/// A dying child holds on to the caller's address space for a moment, and the longer the busier
/// the caller's other threads keep that.
#[test]
fn killed_is_a_fault_in_a_caller_that_maps_memory() {
    alone!();
    warm_up();
    let before = Before::capture();
    let maze = Maze::new();
    let plan = maze.search_for(Duration::from_secs(20));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| map_and_unmap(&stop));
        }
        let _stop = Stop::at_end(&stop);
        for round in 0..60 {
            let way = if round % 10 == 0 { Way::Seed } else { Way::AsRouted };
            let outcome = launch_meanwhile(&plan, way, launch::PATIENCE, || {
                signal(the_child().pid, libc::SIGKILL);
            });
            let cause = outcome.map(|process| has_started(process.id().cast_signed()));
            let died =
                matches!(&cause, Err(Error::Spawn(e)) if matches!(e.cause, Cause::Killed(_)));
            assert!(died, "{way:?}, round {round}: {cause:?}");
        }
    });
    before.assert_nothing_left();
}

/// Keeps the lock on the address space, as a program does that allocates.
fn map_and_unmap(stop: &AtomicBool) {
    const LEN: usize = 32 << 20;
    while !stop.load(Ordering::Relaxed) {
        // SAFETY: a fresh private mapping at an address of the kernel's choice touches nothing.
        let at = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                LEN,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_POPULATE,
                -1,
                0,
            )
        };
        assert_ne!(at, libc::MAP_FAILED);
        // SAFETY: the mapping just made, which nobody else knows.
        unsafe { libc::munmap(at, LEN) };
    }
}

// ---- somebody who signals all the time ----

/// Not a test by itself: the process that the tests below start.
#[test]
#[ignore = "the other tests start it"]
fn the_neighbour() {
    if !neighbour::live() {
        skip!("it is what other tests start");
    }
}

/// What became of launches under fire.
#[derive(Debug, Default)]
struct Tally {
    started: u32,
    faults: u32,
}

/// Launches short-lived children while a neighbour signals them all, and looks at each outcome.
fn under_fire(timeout: Duration, rounds: u32) -> Tally {
    let maze = Maze::new();
    let probe = probe_path();
    // One is quick, the other takes a moment to build: the neighbour meets children of all ages.
    let plans = [maze.enter(&probe, &["sleep", "0"]), quick(&probe)];
    let mut tally = Tally::default();
    for round in 0..rounds {
        let way = Way::BOTH[(round % 2) as usize];
        let plan = &plans[(round / 2 % 2) as usize];
        let begun = Instant::now();
        match embryo::spawn_with(plan, &[], way.options().timeout(timeout)) {
            Ok(mut process) => {
                tally.started += 1;
                // It may have been stopped, or killed, after its start.
                process.kill().expect("one's own child can be killed");
                let _ = rustix::event::poll(
                    &mut [rustix::event::PollFd::new(&process, rustix::event::PollFlags::IN)],
                    None,
                );
                let pid = process.id().cast_signed();
                assert!(has_started(pid), "{way:?}: a success, but it never became the image");
                process.wait().expect("it can be waited for");
            }
            Err(Error::Spawn(error)) => {
                tally.faults += 1;
                assert_ne!(error.cause, Cause::Refused, "{way:?}: {error}");
            }
            Err(other) => panic!("{way:?}: {other}"),
        }
        assert!(begun.elapsed() < timeout + SLACK, "{way:?}: {:?}", begun.elapsed());
    }
    tally
}

fn quick(program: &Path) -> Plan {
    let mut draft = launch::Draft::bare();
    draft.args(&["embryo-probe", "sleep", "0"]);
    let path = launch::c_path(program);
    draft.op(&embryo::Op::ExecPath { path: &path, flags: embryo::ExecFlags::empty() });
    draft.build()
}

#[test]
fn under_a_rain_of_kills() {
    alone!();
    warm_up();
    let _neighbour = Neighbour::start("the_neighbour", libc::SIGKILL);
    let before = Before::capture();
    let tally = under_fire(launch::PATIENCE, 400);
    before.assert_nothing_left();
    assert!(tally.faults > 0, "the neighbour never hit: {tally:?}");
}

#[test]
fn under_a_rain_of_stops() {
    alone!();
    warm_up();
    let _neighbour = Neighbour::start("the_neighbour", libc::SIGSTOP);
    let before = Before::capture();
    let tally = under_fire(Duration::from_millis(30), 200);
    before.assert_nothing_left();
    assert!(tally.faults > 0, "the neighbour never hit: {tally:?}");
}

// ---- what does not answer ----

/// A supervisor that intercepts system calls and does not answer: a child waits in exec for ever.
#[test]
fn a_filter_whose_listener_sleeps_is_a_fault_at_the_deadline() {
    alone!();
    warm_up();
    let plan = quick(&probe_path());
    let Some(_listener) = Listener::on(libc::SYS_execve) else {
        skip!("this kernel has no seccomp listeners")
    };
    assert_times_out(&plan);
}

/// A program, or a working directory, on a file system whose server is dead.
#[test]
fn a_dead_file_server_is_a_fault_at_the_deadline() {
    require_root!();
    alone!();
    warm_up();
    let program = probe_path();
    let Some(server) = DeadServer::mount() else {
        skip!("no FUSE file system can be mounted here")
    };
    assert_times_out(&quick(&server.path().join("program")));
    let dir = launch::c_path(&server.path().join("directory"));
    let mut draft = launch::Draft::probe(&["exit", "0"]);
    draft.op(&embryo::Op::ChdirPath { path: &dir });
    let path = launch::c_path(&program);
    draft.op(&embryo::Op::ExecPath { path: &path, flags: embryo::ExecFlags::empty() });
    assert_times_out(&draft.build());
}

/// On both ways, and the caller's other threads are none the worse for it.
#[track_caller]
fn assert_times_out(plan: &Plan) {
    let before = Before::capture();
    for way in Way::BOTH {
        let begun = Instant::now();
        let error = fault(embryo::spawn_with(plan, &[], way.options().timeout(SHORT)));
        assert_eq!(error.cause, Cause::TimedOut, "{way:?}: {error}");
        assert!(begun.elapsed() < SHORT + SLACK, "{way:?}: {:?}", begun.elapsed());
        before.assert_nothing_left();
    }
}

/// A child that cannot even die is left to the reaper: the caller gets its fault in time all the
/// same, and there is no zombie once it can.
#[test]
fn frozen_is_a_fault_at_the_deadline() {
    require_root!();
    alone!();
    warm_up();
    let maze = Maze::new();
    let plan = maze.search_for(Duration::from_secs(20));
    let kinds = Frozen::each();
    if kinds.is_empty() {
        skip!("no cgroup can be made and frozen here");
    }
    let before = Before::capture();
    let threads_before = threads();
    for (frozen, way) in kinds.iter().flat_map(|kind| Way::BOTH.map(|way| (kind, way))) {
        let begun = Instant::now();
        let outcome = launch_meanwhile(&plan, way, SHORT, || frozen.take(the_child().pid));
        let error = fault(outcome);
        assert_eq!(error.cause, Cause::TimedOut, "{frozen}, {way:?}: {error}");
        assert!(begun.elapsed() < SHORT + SLACK, "{frozen}, {way:?}: {:?}", begun.elapsed());
    }
    kinds.iter().for_each(Frozen::thaw);
    let gone = || embryo_tests::children_of_self().is_empty() && threads() == threads_before;
    assert!(wait_for(Duration::from_secs(10), gone), "{:?}", threads());
    before.assert_nothing_left();
}

/// The names of this process's threads: the reaper is one while it has something to wait for.
fn threads() -> Vec<String> {
    let tasks = std::fs::read_dir("/proc/self/task").expect("there is a /proc").flatten();
    tasks.filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok()).collect()
}

// ---- another user ----

/// A child that has become another user can be signalled by that user's processes, one of which
/// signals all that it may. Its kill(-1) reaches neither us nor anybody else.
#[test]
fn lowered_to_a_user_who_kills_and_stops_everything() {
    require_root!();
    alone!();
    warm_up();
    const USER: u32 = 65533;
    let probe = launch::c_path(&probe_path());
    let mut draft = launch::Draft::bare();
    draft.args(&["embryo-probe", "sleep", "0"]);
    draft
        .op(&embryo::Op::Groups { list: &[] })
        .op(&embryo::Op::Gid { real: USER, effective: USER, saved: USER })
        .op(&embryo::Op::Uid { real: USER, effective: USER, saved: USER })
        .op(&embryo::Op::ChdirPath { path: c"/" })
        .op(&embryo::Op::ExecPath { path: &probe, flags: embryo::ExecFlags::empty() });
    let plan = draft.build();
    if !matches!(embryo::spawn(&plan, &[]).map(|mut p| p.wait()), Ok(Ok(s)) if s.success()) {
        skip!("user {USER} may not execute the probe");
    }
    for number in [libc::SIGKILL, libc::SIGSTOP] {
        let script = format!(
            "while kill -{number} -1; do :; done 2>/dev/null; while :; do kill -{number} -1; done 2>/dev/null"
        );
        let mut attacker = std::process::Command::new("/bin/sh");
        std::os::unix::process::CommandExt::uid(attacker.args(["-c", &script]), USER);
        let Ok(mut attacker) = attacker.spawn() else { skip!("user {USER} cannot run a shell") };
        let before = Before::capture();
        for _ in 0..100 {
            let begun = Instant::now();
            let timeout = if number == libc::SIGSTOP { SHORT / 10 } else { launch::PATIENCE };
            let options = embryo::SpawnOptions::new().timeout(timeout);
            match embryo::spawn_with(&plan, &[], options) {
                Ok(mut process) => {
                    process.kill().expect("root can kill it");
                    process.wait().expect("it can be waited for");
                }
                Err(Error::Spawn(error)) => assert_ne!(error.cause, Cause::Refused, "{error}"),
                Err(other) => panic!("{other}"),
            }
            assert!(begun.elapsed() < timeout + SLACK, "{:?}", begun.elapsed());
        }
        before.assert_nothing_left();
        attacker.kill().expect("root can kill it");
        attacker.wait().expect("it can be waited for");
    }
}
