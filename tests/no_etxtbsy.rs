//! Promise 8: no write-then-exec race. A thread that writes a program and starts it never meets
//! ETXTBSY because of a child that another thread is making.
//!
//! The race: a child that holds copies of its creator's descriptors until it execs also holds the
//! one through which another thread has just written a program, and a file that is open for
//! writing cannot be executed. It must never be helped along by a retry, here or in the library.

mod launch;

use embryo::{Command, LaunchReport, Stdio};
use embryo_tests::{alone, tempdir};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

const THREADS: usize = 20;
const ROUNDS: usize = 400;

/// Writes a program: a script whose interpreter looks at its descriptors. The kernel refuses a
/// script that is open for writing like any other file.
fn write_program(path: &Path) {
    let mut options = std::fs::OpenOptions::new();
    let options = options.write(true).create(true).truncate(true).mode(0o755);
    let mut file = options.open(path).expect("a file can be made");
    // In two parts, as a linker writes; the descriptor is open all the while.
    file.write_all(b"#!").expect("a file can be written");
    writeln!(file, "{} 0,1,2", env!("CARGO_BIN_EXE_embryo-check")).expect("a file can be written");
}

/// What a round came to: nothing, or what went wrong.
type Outcome = Result<Option<LaunchReport>, String>;

/// Lets every thread write a program of its own and start it, again and again, and hands back
/// what the rounds came to.
fn race(rounds: usize, start: impl Fn(&Path, usize) -> Outcome + Sync) -> Vec<Outcome> {
    let dir = tempdir();
    let barrier = Barrier::new(THREADS);
    let run = |thread: usize| {
        let path: PathBuf = dir.path().join(format!("program-{thread}"));
        barrier.wait();
        let round = |round| {
            write_program(&path);
            start(&path, round)
        };
        (0..rounds).map(round).collect::<Vec<_>>()
    };
    let run = &run;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|n| scope.spawn(move || run(n))).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("it races")).collect()
    })
}

#[track_caller]
fn assert_no_race(outcomes: &[Outcome]) {
    assert_eq!(outcomes.len(), THREADS * ROUNDS);
    let errors: Vec<&String> = outcomes.iter().filter_map(|o| o.as_ref().err()).collect();
    assert!(errors.is_empty(), "{} of {}: {}", errors.len(), outcomes.len(), errors[0]);
    let reports = outcomes.iter().filter_map(|outcome| outcome.as_ref().ok()?.as_ref());
    assert!(reports.into_iter().all(|report| !report.cut_raised), "no cut had to rise");
}

fn ended_well(status: std::process::ExitStatus, report: LaunchReport) -> Outcome {
    if status.success() { Ok(Some(report)) } else { Err(status.to_string()) }
}

/// Nothing is granted but stdio, so no descriptor of the caller's is copied at all.
#[test]
fn with_inherited_stdio() {
    alone!();
    assert_no_race(&race(ROUNDS, |path, _| {
        let mut process = Command::new(path).spawn().map_err(|e| e.to_string())?;
        let status = process.wait().map_err(|e| e.to_string())?;
        ended_well(status, process.report().clone())
    }));
}

/// Fresh pipes have higher numbers than the files that the other threads write, and must not make
/// the child copy those.
#[test]
fn with_piped_stdio() {
    alone!();
    // The sockets through which grants arrive are reserved at the first launch that needs one; what
    // is opened from then on has higher numbers.
    Command::new(env!("CARGO_BIN_EXE_embryo-check")).arg("0,1,2").output().expect("it starts");
    assert_no_race(&race(ROUNDS, |path, round| {
        let mut command = Command::new(path);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        if round % 2 == 0 {
            command.stderr(Stdio::piped());
        }
        let mut process = command.spawn().map_err(|e| e.to_string())?;
        let status = process.wait().map_err(|e| e.to_string())?;
        ended_well(status, process.report().clone())
    }));
}

/// The same with a library that copies the descriptor table, to see that the race is there to be
/// met. How often it is met depends on the machine, so nothing is asserted; the number is printed.
#[test]
fn the_race_is_there_to_be_met() {
    alone!();
    let busy = |stdio: fn() -> std::process::Stdio| {
        let outcomes = race(ROUNDS / 4, |path, _| {
            let mut command = std::process::Command::new(path);
            command.stdin(stdio()).stdout(stdio());
            match command.spawn().and_then(|mut child| child.wait()) {
                Ok(_) => Ok(None),
                Err(error) => Err(error.to_string()),
            }
        });
        outcomes.iter().filter(|outcome| outcome.is_err()).count()
    };
    let (inherited, piped) = (busy(std::process::Stdio::inherit), busy(std::process::Stdio::piped));
    let all = THREADS * ROUNDS / 4;
    println!("std::process::Command: ETXTBSY {inherited} and {piped} times in {all} each");
}
