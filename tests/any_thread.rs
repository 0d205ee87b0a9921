//! Promise 3: any thread may spawn at any time. No launch waits for another, and none gets what
//! was meant for another.
//!
//! One plan is shared by all threads; what differs are the grants, so a swapped grant shows as a
//! token that arrives at the wrong end.

mod before;
mod launch;
mod maze;
mod neighbour;
mod refusal;

use before::{Before, caller_state, warm_up};
use embryo::{Cause, Command, Op, Plan, SpawnError, SpawnOptions, Stdio, Step};
use embryo_tests::alone;
use launch::{Draft, PATIENCE, Way, borrow};
use maze::Maze;
use neighbour::{signal, the_child};
use refusal::Refusal;
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::AsRawFd;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const THREADS: usize = 64;
const ROUNDS: usize = 10;

/// A plan that copies slot 0 to slot 1.
fn copier() -> Plan {
    let mut plan = Draft::probe(&["cat", "7"]);
    for fd in [7, 1] {
        // The numbers are this draft's only; every spawn brings its own grants.
        let slot = plan.grant_number(fd);
        plan.op(&Op::PutFd { slot, fd: fd.cast_unsigned() });
    }
    plan.build()
}

/// Starts a child with two pipes of its own and checks that the token comes through.
fn round_trip(plan: &Plan, way: Way, token: &str) {
    let (input, to_child) = pipe().expect("a pipe can be made");
    let (from_child, output) = pipe().expect("a pipe can be made");
    let grants = [input.as_raw_fd(), output.as_raw_fd()];
    let started = embryo::spawn_with(plan, &borrow(&grants), way.options());
    let mut process = started.unwrap_or_else(|e| panic!("{way:?}, {token}: {e}"));
    drop((input, output));
    exchange(to_child, from_child, token);
    assert!(process.wait().expect("it can be waited for").success(), "{token}");
}

fn exchange(mut to_child: PipeWriter, mut from_child: PipeReader, token: &str) {
    to_child.write_all(token.as_bytes()).expect("a pipe can be written");
    drop(to_child);
    let (mut came, mut chunk) = (Vec::new(), [0; 100]);
    loop {
        // Somebody else who has the other end would keep this waiting for ever.
        let mut polled = [PollFd::new(&from_child, PollFlags::IN)];
        let ready = rustix::event::poll(&mut polled, Some(&Timespec { tv_sec: 20, tv_nsec: 0 }));
        assert_eq!(ready, Ok(1), "{token}: neither bytes nor an end came");
        match from_child.read(&mut chunk).expect("a pipe can be read") {
            0 => break,
            count => came.extend_from_slice(&chunk[..count]),
        }
    }
    assert_eq!(String::from_utf8_lossy(&came), token);
}

/// Runs `run` in all threads at once, each with its number.
fn all_at_once(run: impl Fn(usize) + Sync) {
    let barrier = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (barrier, run) = (&barrier, &run);
            scope.spawn(move || {
                barrier.wait();
                run(thread);
            });
        }
    });
}

#[test]
fn sixty_four_threads_share_a_plan() {
    alone!();
    warm_up();
    let before = Before::capture();
    let plan = copier();
    for ways in [&[Way::AsRouted][..], &[Way::Seed], &[Way::AsRouted, Way::Seed]] {
        let rounds = ROUNDS / ways.len();
        all_at_once(|thread| {
            for round in 0..rounds {
                for way in ways {
                    round_trip(&plan, *way, &format!("thread {thread}, round {round}, {way:?}"));
                }
            }
        });
    }
    before.assert_nothing_left();
}

/// Faults and children mixed: who gets the fault is who asked for what cannot be.
#[test]
fn a_fault_goes_to_the_thread_whose_fault_it_is() {
    alone!();
    warm_up();
    let before = Before::capture();
    let good = copier();
    let failing = |errno| {
        let mut draft = Draft::probe(&["exit", "0"]);
        let slot = draft.grant_number(9);
        draft.op(&Op::PutFd { slot, fd: 9 }).op(&Op::Fail { errno });
        draft.build()
    };
    let bad: Vec<Plan> = (1..=THREADS as u32).map(failing).collect();
    all_at_once(|thread| {
        let (reader, _writer) = pipe().expect("a pipe can be made");
        for round in 0..ROUNDS {
            let way = Way::BOTH[round % 2];
            if thread % 2 == 0 {
                round_trip(&good, way, &format!("thread {thread}, round {round}"));
                continue;
            }
            let grants = [reader.as_raw_fd()];
            let error = embryo::spawn_with(&bad[thread], &borrow(&grants), way.options());
            let error = error.expect_err("the plan holds an op that fails");
            assert_eq!(error.raw_os_error(), Some(thread as i32 + 1), "{error}");
        }
    });
    before.assert_nothing_left();
}

/// What waits in a socket for a child that never took it is not left for the next one.
#[test]
fn what_a_failed_launch_was_to_be_given_goes_to_nobody_else() {
    alone!();
    warm_up();
    let before = Before::capture();
    let plan = copier();
    // A filter is a thread's own. Without either call a child cannot even leave our descriptors, so
    // it ends before it takes what it was sent.
    std::thread::scope(|scope| {
        scope.spawn(|| {
            Refusal::always(libc::SYS_close_range).enforce();
            Refusal::always(libc::SYS_unshare).enforce();
            let (reader, writer) = pipe().expect("a pipe can be made");
            for _ in 0..5 {
                let grants = [reader.as_raw_fd(), writer.as_raw_fd()];
                let error = embryo::spawn(&plan, &borrow(&grants)).expect_err("it is refused");
                let step = error.as_spawn().and_then(SpawnError::step);
                assert_eq!(step, Some(Step::UnshareFds), "{error}");
            }
        });
    });
    for round in 0..5 {
        round_trip(&plan, Way::BOTH[round % 2], &format!("round {round}"));
    }
    before.assert_nothing_left();
}

/// `Command`s of different kinds in threads that end at once: a thread's stack for children goes
/// with it.
#[test]
fn commands_in_threads_that_come_and_go() {
    alone!();
    warm_up();
    let before = Before::capture();
    for _ in 0..4 {
        all_at_once(|thread| {
            let token = format!("thread {thread}");
            let mut command = Command::new(embryo_tests::probe_path());
            let command = command.args(["echo", &token]).stdin(Stdio::null());
            if thread % 3 == 0 {
                command.spawn_options(SpawnOptions::new().timeout(PATIENCE).through_seed(true));
            }
            let output = command.output().unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(String::from_utf8_lossy(&output.stdout).trim_end(), token);
        });
    }
    before.assert_nothing_left();
}

/// While one thread's launch stands still, another thread launches as if nothing were.
#[test]
fn a_launch_that_stands_still_holds_up_nobody_else() {
    alone!();
    warm_up();
    let before = Before::capture();
    let plan = copier();
    let maze = Maze::new();
    let slow = maze.search_for(Duration::from_secs(20));
    for way in Way::BOTH {
        let ended = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let outcome = embryo::spawn_with(&slow, &[], way.options());
                ended.store(true, Ordering::SeqCst);
                let error = outcome.expect_err("it was killed");
                let cause = error.as_spawn().map(|error| error.cause);
                assert_eq!(cause, Some(Cause::Killed(Some(libc::SIGKILL))), "{error}");
            });
            let child = the_child().pid;
            signal(child, libc::SIGSTOP);
            for round in 0..20 {
                round_trip(&plan, Way::BOTH[round % 2], &format!("round {round}"));
            }
            assert!(!ended.load(Ordering::SeqCst), "{way:?}");
            signal(child, libc::SIGKILL);
        });
    }
    before.assert_nothing_left();
}

/// A thread that spawns is, afterwards, what it was: mask, dispositions, directory, descriptors.
#[test]
fn a_thread_is_unchanged_by_its_launches() {
    alone!();
    warm_up();
    let plan = copier();
    let before = caller_state();
    for way in Way::BOTH {
        round_trip(&plan, way, "token");
        let changes = before.diff(&caller_state());
        assert!(changes.is_empty(), "{way:?}: {changes:?}");
    }
}
