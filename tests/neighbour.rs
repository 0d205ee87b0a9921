//! Somebody who means ill: a process or a thread that signals the caller's children while they
//! are being made.
//!
//! It must never signal anything but children of the caller it was given.

#![allow(dead_code, reason = "every test that includes this uses a part of it")]

use embryo_tests::{Child, children_of_self, wait_for};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Tells the process that is to be the neighbour whose children it signals, and with what.
const ORDER: &str = "EMBRYO_NEIGHBOUR";

/// `PF_FORKNOEXEC`: forked, but has not called exec.
const FORKNOEXEC: u64 = 0x40;

/// Sends a signal to a child by its pid; one that has ended and was reaped is nothing.
pub(crate) fn signal(pid: i32, signal: i32) {
    // SAFETY: the call takes two numbers. The pid is that of a child that nobody else reaps.
    unsafe { libc::kill(pid, signal) };
}

/// The only child of this process, as soon as there is one that has not ended.
pub(crate) fn the_child() -> Child {
    let mut found = None;
    let came = wait_for(Duration::from_secs(20), || {
        found = children_of_self().into_iter().find(|child| child.state != 'Z');
        found.is_some()
    });
    assert!(came, "no child has appeared");
    found.expect("it was found")
}

/// Whether a child has become the image: it is no copy of its creator any more, and no seed.
///
/// exec gives a child its exit signal once it can no longer fail, and makes it look like a program a
/// moment later; one that dies in between has had its image. The child must not have been reaped.
pub(crate) fn has_started(pid: i32) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it is not reaped");
    let (before, rest) = text.rsplit_once(") ").expect("a name in parentheses");
    // A field by its number in proc_pid_stat(5).
    let field = |number: usize| -> u64 {
        let field = rest.split_ascii_whitespace().nth(number - 3).expect("that many fields");
        field.parse().expect("a number")
    };
    let unborn = field(9) & FORKNOEXEC != 0 && field(38) != libc::SIGCHLD as u64;
    !unborn && !before.ends_with("(embryo:seed")
}

/// A thread that signals the next child once for each order. Made before it is needed, it serves
/// where no thread can be made any more.
pub(crate) struct Sniper(mpsc::Sender<i32>);

impl Sniper {
    /// Makes the thread, which ends with this.
    pub(crate) fn new() -> Self {
        let (orders, inbox) = mpsc::channel();
        std::thread::spawn(move || inbox.iter().for_each(|number| signal(the_child().pid, number)));
        Self(orders)
    }

    /// The next child that appears gets this signal.
    pub(crate) fn order(&self, number: i32) {
        self.0.send(number).expect("the thread lives as long as this");
    }
}

/// A process of the same user that does nothing but look for new children of ours and signal them.
pub(crate) struct Neighbour {
    process: std::process::Child,
    // It ends when this is closed.
    _leash: Option<ChildStdin>,
}

impl Neighbour {
    /// Starts one. `test` is the name of the test that calls [`live`].
    pub(crate) fn start(test: &str, signal: i32) -> Self {
        let caller = std::process::id();
        let mut process = Command::new(std::env::current_exe().expect("a test has an executable"))
            .args([test, "--exact", "--nocapture", "--include-ignored", "--test-threads=1"])
            .env(ORDER, format!("{caller} {signal}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a test can be started again");
        let leash = process.stdin.take();
        Self { process, _leash: leash }
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the neighbour does until its standard input ends; false if this process is none.
pub(crate) fn live() -> bool {
    let Some(order) = std::env::var_os(ORDER) else { return false };
    let order = order.into_string().expect("numbers are text");
    let (caller, number) = order.split_once(' ').expect("two numbers");
    let (caller, number): (i32, i32) = (caller.parse().unwrap(), number.parse().unwrap());
    std::thread::spawn(|| {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        std::process::exit(0);
    });
    let own = std::process::id().cast_signed();
    let mut seen = newest_pid();
    loop {
        let newest = newest_pid();
        // Pids are handed out in order and start again at the end.
        let from = if newest < seen { 1 } else { seen + 1 };
        for pid in from..=newest {
            if pid != own && parent_of(pid) == Some(caller) {
                signal(pid, number);
            }
        }
        seen = newest;
    }
}

fn newest_pid() -> i32 {
    let text = std::fs::read_to_string("/proc/loadavg").expect("there is a /proc");
    text.split_ascii_whitespace().last().and_then(|pid| pid.parse().ok()).expect("a pid comes last")
}

fn parent_of(pid: i32) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    text.rsplit_once(") ")?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}
