//! Signals that are sent to embryo reach the program, and its stops and ends are embryo's.

mod support;

use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use support::{comes_to, command, shell, state, vanishes};

/// A program that embryo runs, and what it says.
struct Job {
    embryo: Child,
    said: Receiver<String>,
    program: u32,
}

impl Job {
    /// Starts sh(1) with a script, in a process group of its own whose parent is this test's; says
    /// "ready" first.
    fn start(options: &[&str], script: &str) -> Self {
        let script = format!("echo $$; {script}");
        let mut command = command(&[&["run"], options, &["sh", "-c", &script]].concat());
        let mut embryo = command.process_group(0).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(embryo.stdout.take().unwrap()).lines();
        let (sender, said) = channel();
        // It ends with the program, which a job that is dropped does not leave behind.
        std::thread::spawn(move || {
            lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let mut job = Self { embryo, said, program: 0 };
        job.program = job.says().parse().unwrap();
        assert_eq!(job.says(), "ready");
        job
    }

    fn says(&self) -> String {
        self.said.recv_timeout(Duration::from_secs(60)).expect("it says something")
    }

    /// Sends a signal to embryo alone.
    fn signal(&self, signal: Signal) {
        send(self.embryo.id(), signal);
    }

    fn end(&mut self) -> ExitStatus {
        self.embryo.wait().unwrap()
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // A test that failed leaves nothing running, not even if embryo itself is gone.
        if self.program != 0
            && (std::thread::panicking() || self.embryo.try_wait().unwrap().is_none())
        {
            send(self.program, Signal::KILL);
            let _ = self.embryo.kill();
            let _ = self.embryo.wait();
        }
    }
}

fn send(pid: u32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), signal);
}

/// Says its name for each of these signals, until it gets SIGTERM.
const NAMES: &str = "for s in HUP INT QUIT USR1 USR2 ALRM CONT WINCH URG; do trap \"echo $s\" $s; \
                     done; trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done";

#[test]
fn a_signal_to_embryo_is_one_to_the_program() {
    let mut job = Job::start(&[], NAMES);
    for (signal, name) in [
        (Signal::HUP, "HUP"),
        (Signal::INT, "INT"),
        (Signal::QUIT, "QUIT"),
        (Signal::USR1, "USR1"),
        (Signal::USR2, "USR2"),
        (Signal::ALARM, "ALRM"),
        (Signal::WINCH, "WINCH"),
        (Signal::URG, "URG"),
    ] {
        job.signal(signal);
        assert_eq!(job.says(), name);
    }
    job.signal(Signal::TERM);
    assert_eq!(job.end().code(), Some(9));
}

#[test]
fn a_real_time_signal_is_passed_on_too() {
    // dash knows no names for these.
    let mut job = Job::start(&[], "trap 'echo forty' 40; echo ready; while :; do sleep 0.05; done");
    let killed = shell(&format!("kill -40 {}", job.embryo.id()));
    killed.ok();
    assert_eq!(job.says(), "forty");
    job.signal(Signal::TERM);
    assert_eq!(job.end().signal(), Some(15));
}

#[test]
fn embryo_dies_of_what_the_program_dies_of() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP, Signal::USR1] {
        let mut job = Job::start(&[], "echo ready; exec sleep 1000");
        job.signal(signal);
        assert_eq!(job.end().signal(), Some(signal.as_raw()));
        assert!(vanishes(job.program));
    }
}

#[test]
fn a_program_that_another_killed_is_reported() {
    let mut job = Job::start(&[], "echo ready; exec sleep 1000");
    send(job.program, Signal::KILL);
    assert_eq!(job.end().signal(), Some(9));
}

#[test]
fn a_signal_that_the_program_sends_does_not_come_back_to_it() {
    let script = "trap 'echo USR1' USR1; echo ready; kill -USR1 $PPID; sleep 0.3; echo done";
    let mut job = Job::start(&[], script);
    assert_eq!(job.says(), "done");
    assert_eq!(job.end().code(), Some(0));
}

#[test]
fn an_ignored_signal_stays_ignored_by_embryo() {
    let script = "trap '' HUP; \"$E\" run -- sh -c 'kill -HUP $PPID; sleep 0.3; echo alive'";
    assert_eq!(shell(script).ok(), "alive\n");
}

#[test]
fn a_blocked_sigchld_or_sigterm_does_not_hold_embryo_up() {
    let mut job = Job::start(
        &["--signal-mask", "TERM,CHLD", "--", env!("CARGO_BIN_EXE_embryo"), "run"],
        "echo ready; exec sleep 1000",
    );
    // What was started is an embryo that started with both blocked; it is the program's parent.
    let inner = support::status_field(job.program, "PPid").unwrap().parse().unwrap();
    assert_ne!(inner, job.embryo.id());
    send(inner, Signal::TERM);
    assert_eq!(job.end().signal(), Some(15));
}

#[test]
fn an_ignored_sigchld_does_not_lose_the_status() {
    assert_eq!(shell("trap '' CHLD; exec \"$E\" run -- sh -c 'exit 6'").code, Some(6));
}

#[test]
fn embryo_stops_and_goes_on_with_the_program() {
    for signal in [Signal::STOP, Signal::TSTP, Signal::TTIN] {
        let mut job =
            Job::start(&[], "trap 'exit 4' USR1; echo ready; while :; do sleep 0.05; done");
        send(job.program, signal);
        assert!(comes_to(job.program, 'T'));
        assert!(comes_to(job.embryo.id(), 'T'));
        job.signal(Signal::CONT);
        assert!(embryo_tests::wait_for(support::PATIENCE, || state(job.program) != Some('T')));
        job.signal(Signal::USR1);
        assert_eq!(job.end().code(), Some(4));
    }
}

#[test]
fn a_stop_sent_to_embryo_alone_stops_both() {
    let mut job = Job::start(&[], "echo ready; exec sleep 1000");
    job.signal(Signal::TSTP);
    assert!(comes_to(job.program, 'T'));
    assert!(comes_to(job.embryo.id(), 'T'));
    job.signal(Signal::CONT);
    assert!(comes_to(job.program, 'S'));
    job.signal(Signal::TERM);
    assert_eq!(job.end().signal(), Some(15));
}

#[test]
fn a_program_that_handles_sigtstp_decides_itself() {
    let script = "trap 'echo TSTP' TSTP; trap 'exit 5' TERM; echo ready; \
                  while :; do sleep 0.05; done";
    let mut job = Job::start(&[], script);
    job.signal(Signal::TSTP);
    assert_eq!(job.says(), "TSTP");
    assert_ne!(state(job.embryo.id()), Some('T'));
    job.signal(Signal::TERM);
    assert_eq!(job.end().code(), Some(5));
}

#[test]
fn a_session_of_its_own_stops_all_the_same() {
    let mut job = Job::start(&["--setsid"], "echo ready; exec sleep 1000");
    // The kernel would let SIGTSTP stop nothing there.
    job.signal(Signal::TSTP);
    assert!(comes_to(job.program, 'T'));
    assert!(comes_to(job.embryo.id(), 'T'));
    job.signal(Signal::CONT);
    assert!(comes_to(job.program, 'S'));
    job.signal(Signal::INT);
    assert_eq!(job.end().signal(), Some(2));
}

#[test]
fn nobody_stops_who_would_not_be_continued() {
    // A session of embryo's own: its parent is in another.
    let mut outer = Job::start(
        &["--setsid", "--", env!("CARGO_BIN_EXE_embryo"), "run", "--pgid", "new"],
        "trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done",
    );
    let inner: u32 = support::status_field(outer.program, "PPid").unwrap().parse().unwrap();
    send(outer.program, Signal::TSTP);
    send(outer.program, Signal::TERM);
    assert_eq!(outer.end().code(), Some(3));
    assert!(vanishes(inner));
}

#[test]
fn pdeathsig_ties_the_program_to_embryo() {
    let mut job = Job::start(&["--pdeathsig", "KILL"], "echo ready; exec sleep 1000");
    job.embryo.kill().unwrap();
    assert_eq!(job.end().signal(), Some(9));
    assert!(vanishes(job.program));
}
