//! Promise 4 in tokio: a process's end and its pipes as futures, and nothing left behind by a
//! future that was dropped.
//!
//! No test here may install a SIGCHLD handler, nor may the library.

mod before;
mod launch;

use before::{Before, warm_up};
use embryo::{Command, Stdio};
use embryo_tests::{alone, children_of_self, probe_path, wait_for};
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

const SOON: Duration = Duration::from_secs(20);

fn probe(args: &[&str]) -> Command {
    let mut command = Command::new(probe_path());
    command.args(args).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn in_tokio<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be made").block_on(async {
        timeout(Duration::from_secs(60), future).await.expect("it does not hang")
    })
}

/// The state before, once the library and tokio have made what they keep for good.
fn warmed_up() -> Before {
    warm_up();
    in_tokio(async {});
    Before::capture()
}

#[test]
fn many_ends_are_awaited_at_once() {
    alone!();
    let before = warmed_up();
    in_tokio(async {
        let mut tasks = tokio::task::JoinSet::new();
        for code in 0..50 {
            let mut process =
                probe(&["sleep", "0.02", "then", "exit", &code.to_string()]).spawn().unwrap();
            assert!(process.try_wait().unwrap().is_none_or(|status| status.code() == Some(code)));
            let mut process = process.into_async().unwrap();
            tasks.spawn(async move { (process.wait().await.unwrap().code(), code) });
        }
        while let Some(ended) = tasks.join_next().await {
            let (code, expected) = ended.unwrap();
            assert_eq!(code, Some(expected));
        }
    });
    before.assert_nothing_left_soon();
}

/// The one thread of the runtime goes on with other tasks while a process runs.
#[test]
fn a_wait_can_be_cancelled_and_begun_again() {
    in_tokio(async {
        let mut process = probe(&["sleep", "100"]).spawn().unwrap().into_async().unwrap();
        for _ in 0..5 {
            assert!(timeout(Duration::from_millis(10), process.wait()).await.is_err());
        }
        process.process_mut().kill().unwrap();
        assert_eq!(process.wait().await.unwrap().signal(), Some(9));
        assert_eq!(process.wait().await.unwrap().signal(), Some(9));
        assert!(process.process().usage().is_some());
    });
}

#[test]
fn pipes_are_streams() {
    in_tokio(async {
        let mut command = probe(&["cat"]);
        let process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut process = process.into_async().unwrap();
        let stdio = process.take_stdio().unwrap();
        let (mut stdin, mut stdout) = (stdio.stdin.unwrap(), stdio.stdout.unwrap());
        assert!(stdio.stderr.is_none());
        // More than a pipe holds, so both ends have to make progress.
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| (n % 251) as u8).collect();
        let mut came = Vec::new();
        let feed = async {
            stdin.write_all(&sent).await.unwrap();
            drop(stdin);
        };
        let (read, ()) = tokio::join!(stdout.read_to_end(&mut came), feed);
        assert_eq!(read.unwrap(), sent.len());
        assert!(came == sent);
        assert!(process.wait().await.unwrap().success());
    });
}

#[test]
fn waiting_closes_a_pipe_that_nobody_took() {
    in_tokio(async {
        let process = probe(&["cat"]).stdin(Stdio::piped()).spawn().unwrap();
        assert!(process.into_async().unwrap().wait().await.unwrap().success());
    });
}

#[test]
fn dropping_leaves_no_zombie() {
    alone!();
    let before = warmed_up();
    in_tokio(async {
        let start = || probe(&["sleep", "0.05"]).spawn().unwrap().into_async().unwrap();
        let mut cancelled = start();
        assert!(timeout(Duration::from_millis(1), cancelled.wait()).await.is_err());
        drop((cancelled, start()));
        let mut killed = start();
        killed.process_mut().kill_on_drop(true);
        drop(killed);
    });
    assert!(wait_for(SOON, || children_of_self().is_empty()));
    // The reaper lets go of the last pidfd after it has reaped.
    assert!(wait_for(SOON, || {
        std::fs::read_dir("/proc/self/task").expect("there is a /proc").flatten().all(|task| {
            std::fs::read_to_string(task.path().join("comm")).is_ok_and(|n| n != "embryo-reaper\n")
        })
    }));
    before.assert_nothing_left_soon();
}

/// Somebody else may reap it first.
#[test]
fn an_end_that_somebody_else_reaped_is_an_end() {
    alone!();
    in_tokio(async {
        let process = probe(&["sleep", "0.05"]).spawn().unwrap();
        let pid = process.id().cast_signed();
        let mut process = process.into_async().unwrap();
        let thief = std::thread::spawn(move || {
            // SAFETY: no status is asked for.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) }
        });
        match process.wait().await {
            Ok(status) => assert!(status.success()),
            Err(embryo::Error::Reaped { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        assert!(thief.join().is_ok());
    });
}

/// From a hatchery: the task goes on once the image has started, and the fault is known to it as
/// well; meanwhile the runtime's one thread does other things.
#[test]
fn a_launch_can_be_awaited() {
    alone!();
    // A thread that spawns from hatcheries keeps files of /proc.
    let warm = embryo::Hatchery::builder().size(1).build().unwrap();
    probe(&["exit", "0"]).hatchery(&warm).status().unwrap();
    drop(warm);
    let before = warmed_up();
    in_tokio(async {
        let hatchery = embryo::Hatchery::builder().size(4).build().unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        for code in 0..20 {
            let launching = probe(&["exit", &code.to_string()]).hatchery(&hatchery).launch();
            let launching = launching.unwrap();
            tasks.spawn(async move {
                let mut process = launching.await.unwrap();
                (process.wait().await.unwrap().code(), code)
            });
        }
        while let Some(ended) = tasks.join_next().await {
            let (code, expected) = ended.unwrap();
            assert_eq!(code, Some(expected));
        }
        let missing = Command::new("/nowhere/at/all").hatchery(&hatchery).launch().unwrap();
        let error = missing.await.expect_err("there is no such program");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{error}");
        // Without a hatchery it has been launched already.
        let mut process = probe(&["exit", "3"]).launch().unwrap().await.unwrap();
        assert_eq!(process.wait().await.unwrap().code(), Some(3));
        // A future that is dropped takes the child with it.
        let launching = probe(&["sleep", "600"]).hatchery(&hatchery).launch().unwrap();
        let pid = launching.id();
        drop(launching);
        let gone = || children_of_self().iter().all(|child| child.pid != pid.cast_signed());
        assert!(wait_for(SOON, gone));
    });
    before.assert_nothing_left_soon();
}

/// The answer of an embryo that somebody has stopped comes when its time is over.
#[test]
fn a_launch_that_does_not_happen_ends_in_time() {
    alone!();
    in_tokio(async {
        let options = embryo::SpawnOptions::new().timeout(Duration::from_millis(300));
        let hatchery = embryo::Hatchery::builder().size(1).options(options).build().unwrap();
        let maker = hatchery.id().unwrap().cast_signed();
        for child in children_of_self().iter().filter(|child| child.pid != maker) {
            // SAFETY: our own child, not reaped.
            unsafe { libc::kill(child.pid, libc::SIGSTOP) };
        }
        let mut command = probe(&["exit", "0"]);
        let launching = command.spawn_options(options).hatchery(&hatchery).launch().unwrap();
        let error = launching.await.expect_err("it was stopped");
        let cause = error.as_spawn().map(|fault| fault.cause);
        assert_eq!(cause, Some(embryo::Cause::TimedOut), "{error}");
    });
}
