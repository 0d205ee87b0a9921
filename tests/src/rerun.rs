//! One test again, in a process of its own: alone, or as an ordinary user.
//!
//! It must never pass because nothing ran: a name that no test has is a failure here, though the
//! harness itself calls it success.

use crate::{NOBODY, skip};
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Which test the current process was started for.
const RERUN: &str = "EMBRYO_RERUN";

/// Goes on only in a process that runs nothing but this test; elsewhere, runs it in such a
/// process, checks that it passed, and returns from it.
///
/// For tests about what belongs to the whole process: descriptors, children, signal dispositions.
#[macro_export]
macro_rules! alone {
    () => {
        if !$crate::is_rerun_of($crate::here!()) {
            $crate::rerun_alone($crate::here!());
            return;
        }
    };
}

/// Whether this process was started to run `test` and nothing else.
#[must_use]
pub fn is_rerun_of(test: &str) -> bool {
    std::env::var_os(RERUN).is_some_and(|name| name == test)
}

/// Runs the test named `test` of this executable in a new process.
///
/// # Panics
/// If it fails, or no such test exists; the message has its output.
pub fn rerun_alone(test: &str) {
    rerun(test, &mut harness());
}

/// Runs the test named `test` of this executable again, as another user without supplementary
/// groups. Only root can.
///
/// # Panics
/// If it fails, no such test exists, or that user may not execute the test's file.
pub fn rerun_as(uid: u32, gid: u32, test: &str) {
    // As root, `uid` makes the standard library drop the supplementary groups too.
    rerun(test, harness().uid(uid).gid(gid));
}

/// [`rerun_as`] the user [`NOBODY`].
///
/// # Panics
/// Like [`rerun_as`].
pub fn rerun_as_nobody(test: &str) {
    rerun_as(NOBODY, NOBODY, test);
}

fn harness() -> Command {
    Command::new(std::env::current_exe().expect("a running test has an executable"))
}

fn rerun(test: &str, harness: &mut Command) {
    harness.args([test, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"]);
    // The other user may not be able to write the log; what it says is recorded below.
    let output =
        harness.env(RERUN, test).env_remove("EMBRYO_SKIP_LOG").output().unwrap_or_else(|e| {
            panic!("{} cannot be started: {e}", harness.get_program().display())
        });
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && said.contains("test result: ok. 1 passed"),
        "{test}, run again by itself, did not pass: {}\n{said}\n{complained}",
        output.status
    );
    for line in complained.lines().filter(|line| line.starts_with("SKIPPED: ")) {
        skip::record(&format!("{line}\n"));
    }
}
