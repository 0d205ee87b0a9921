//! How the tests run the command, and look at what it makes.
//!
//! It must never start the command through itself; the standard library does, and the library
//! where a terminal is needed.

#![allow(dead_code, reason = "no test file needs all of it")]

pub(crate) mod daemon;
pub(crate) mod screen;

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// Longer than anything here takes on a machine that does something else besides.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a run came to, as text.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

/// Gives every signal but SIGPIPE its default action in this process: a test run that was started
/// under nohup(1), or in the background of a script, would hand down that some are ignored.
pub(crate) fn ignore_nothing() {
    use embryo_syscall::{Disposition, get_disposition, set_disposition};
    const SIGPIPE: u32 = 13;
    for signal in (1..32).filter(|signal| *signal != SIGPIPE) {
        if get_disposition(signal) == Ok(Disposition::Ignore) {
            set_disposition(signal, Disposition::Default).expect("it can be reset");
        }
    }
}

/// The command with these arguments, standard input empty.
pub(crate) fn command(args: &[impl AsRef<OsStr>]) -> Command {
    ignore_nothing();
    let mut command = Command::new(env!("CARGO_BIN_EXE_embryo"));
    command.args(args).stdin(Stdio::null());
    command
}

/// Runs `embryo` with these arguments.
pub(crate) fn embryo(args: &[&str]) -> Ran {
    finish(&mut command(args))
}

/// Runs a line in sh(1), where `$E` is the command.
pub(crate) fn shell(line: &str) -> Ran {
    ignore_nothing();
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).env("E", env!("CARGO_BIN_EXE_embryo")).stdin(Stdio::null());
    finish(&mut shell)
}

/// Runs a command to its end.
pub(crate) fn finish(command: &mut Command) -> Ran {
    use std::os::unix::process::ExitStatusExt;
    let Output { status, stdout, stderr } = command.output().expect("the command starts");
    let text = |bytes| String::from_utf8(bytes).expect("it writes UTF-8");
    Ran { code: status.code(), signal: status.signal(), out: text(stdout), err: text(stderr) }
}

impl Ran {
    /// Its output, if it succeeded.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!((self.code, self.err.as_str()), (Some(0), ""), "{self:?}");
        self.out
    }

    /// Its one line of error, if it failed with this status and wrote nothing else.
    #[track_caller]
    pub(crate) fn fails(self, code: i32) -> String {
        assert_eq!((self.code, self.out.as_str()), (Some(code), ""), "{self:?}");
        let lines: Vec<&str> = self.err.lines().collect();
        assert_eq!(lines.len(), 1, "not one line: {self:?}");
        assert!(lines[0].starts_with("embryo: "), "{self:?}");
        lines[0].to_owned()
    }
}

/// A field of /proc/PID/status.
pub(crate) fn status_field(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, name)
}

/// A field of the text of a /proc/PID/status.
pub(crate) fn field(status: &str, name: &str) -> Option<String> {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// The letter that says what a process does: `S` sleeps, `T` is stopped.
pub(crate) fn state(pid: u32) -> Option<char> {
    status_field(pid, "State")?.chars().next()
}

/// Whether a process comes to this state.
pub(crate) fn comes_to(pid: u32, expect: char) -> bool {
    embryo_tests::wait_for(PATIENCE, || state(pid) == Some(expect))
}

/// Whether a process ends, leaving no zombie.
pub(crate) fn vanishes(pid: u32) -> bool {
    embryo_tests::wait_for(PATIENCE, || state(pid).is_none())
}
