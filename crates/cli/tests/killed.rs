//! Whoever makes a child may be killed at any moment: nothing that it had begun to make is left.
//!
//! The test adopts what loses its parent, so whatever outlives the command is seen here.

mod support;

use embryo_tests::{Leftovers, is_root, rerun_as_nobody, wait_for};
use rustix::process::{Pid, WaitOptions, set_child_subreaper, wait};
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{PATIENCE, command};

/// How often each description is cut short.
const MOMENTS: u32 = 150;

/// Reaps all who have ended, and says whether nobody is left.
fn nobody_is_left() -> bool {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => return false,
            Err(_) => return true,
        }
    }
}

/// What others would notice of a mount or a directory that stayed.
fn surroundings() -> (String, Vec<String>) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("there is a /proc");
    let entries = fs::read_dir(std::env::temp_dir()).expect("it can be listed");
    let mut names: Vec<String> = entries
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        // Directories of other tests come and go.
        .filter(|name| name.contains("embryo"))
        .collect();
    names.sort();
    (mounts, names)
}

/// Runs a description, kills the command at moments all over its making, and looks for what is left.
fn at_any_moment(options: &[&str]) {
    let _ = set_child_subreaper(Some(Pid::INIT));
    let args = [&["run"], options, &["--", "sleep", "1000"]].concat();
    let start = || {
        let mut run = command(&args);
        run.stdout(Stdio::null()).stderr(Stdio::null());
        run.spawn().expect("it starts")
    };
    // How long it takes until the program runs, roughly: moments are spread over somewhat more.
    let begun = Instant::now();
    let mut first = start();
    let runs = wait_for(PATIENCE, || {
        embryo_tests::descendants_of_self().iter().any(|child| child.comm == "sleep")
    });
    let span = begun.elapsed() * 3 / 2;
    assert!(runs, "{options:?}: the program never ran");
    first.kill().expect("it is there");
    first.wait().expect("it ends");
    assert!(wait_for(PATIENCE, nobody_is_left), "{options:?}: the program outlived the command");

    let before = (surroundings(), Leftovers::capture());
    for moment in 0..MOMENTS {
        let mut run = start();
        // Evenly, with a step that has nothing to do with anybody's rhythm.
        let part = f64::from(moment) * 0.618_033_988_749_895 % 1.0;
        std::thread::sleep(Duration::from_secs_f64(span.as_secs_f64() * part));
        run.kill().expect("it has not been waited for");
        run.wait().expect("it ends");
        let gone = wait_for(PATIENCE, nobody_is_left);
        let left = embryo_tests::descendants_of_self();
        assert!(gone, "{options:?}, {part} of {span:?}: {left:?} is left");
    }
    assert_eq!(surroundings(), before.0, "{options:?}");
    let left = before.1.diff(&Leftovers::capture());
    assert!(left.is_empty(), "{options:?}: {left:?}");
}

/// As an ordinary user, too, who is told apart from root by having to make a user namespace. All that is
/// reaped here has to be this test's: each has a process to itself.
macro_rules! at_any_moment {
    ($name:ident, $($option:literal),+) => {
        #[test]
        fn $name() {
            embryo_tests::alone!();
            if is_root() {
                rerun_as_nobody(embryo_tests::here!());
            }
            at_any_moment(&[$($option),+]);
        }
    };
}

at_any_moment!(of_a_child_that_is_tied_to_its_handle, "--die-with-parent");
at_any_moment!(of_a_child_in_a_sandbox, "--sandbox");
at_any_moment!(of_a_child_in_a_terminal_of_its_own, "--pty", "--sandbox");
