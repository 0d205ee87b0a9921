//! Programs that `embryo run --agent` has started, and what the agent's operator sees and does of them.

mod support;

use embryo_tests::wait_for;
use rustix::process::{Pid, Signal, geteuid, kill_process};
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use support::daemon::{Daemon, config};
use support::screen::Screen;
use support::{PATIENCE, Ran, command, finish, status_field, vanishes};

/// `embryo run --agent` with these options and this program.
fn run(daemon: &Daemon, args: &[&str]) -> Command {
    command(&[&["run", "--agent", &daemon.path("agent.sock")], args].concat())
}

fn ran(daemon: &Daemon, args: &[&str]) -> Ran {
    finish(&mut run(daemon, args))
}

/// sh(1) by a path without symbolic links: a mandate's rule for a path has none.
fn sh() -> String {
    fs::canonicalize("/bin/sh").unwrap().to_str().unwrap().to_owned()
}

/// A script that an agent has started, and what it says.
struct Job {
    embryo: Child,
    said: Receiver<String>,
}

impl Job {
    fn start(daemon: &Daemon, options: &[&str], script: &str) -> Self {
        let sh = sh();
        let args = [options, &["--", &sh, "-c", script]].concat();
        let mut embryo = run(daemon, &args).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(embryo.stdout.take().unwrap()).lines();
        let (sender, said) = channel();
        std::thread::spawn(move || {
            lines.map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Self { embryo, said }
    }

    #[track_caller]
    fn says(&self) -> String {
        self.said.recv_timeout(Duration::from_secs(60)).expect("it says something")
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.embryo), signal).unwrap();
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Its connection ends with it, and the child with that.
        let _ = self.embryo.kill();
        let _ = self.embryo.wait();
    }
}

fn children(daemon: &Daemon) -> Vec<Value> {
    daemon.list()["children"].as_array().unwrap().clone()
}

#[test]
fn a_program_is_the_agents_child_with_our_streams() {
    let daemon = Daemon::start();
    let mut child = run(&daemon, &["--", &sh(), "-c", "echo $PPID; cat; echo e >&2"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(b"typed").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (parent, rest) = text.split_once('\n').unwrap();
    // Or an init between the two.
    assert_ne!(parent.parse::<u32>().unwrap(), std::process::id());
    assert_eq!(
        (rest, output.stderr.as_slice(), output.status.code()),
        ("typed", &b"e\n"[..], Some(0))
    );
}

#[test]
fn the_end_is_the_programs() {
    let daemon = Daemon::start();
    assert_eq!(ran(&daemon, &["--", &sh(), "-c", "exit 7"]).code, Some(7));
    assert_eq!(ran(&daemon, &["--", &sh(), "-c", "kill -USR1 $$"]).signal, Some(10));
    let sh = sh();
    let args = ["--signal-as-status", "--", &sh, "-c", "kill -TERM $$"];
    assert_eq!(ran(&daemon, &args).code, Some(143));
    let args = ["--timeout", "0.1s", "--", "/usr/bin/sleep", "1000"];
    assert_eq!(ran(&daemon, &args).code, Some(124));
}

#[test]
fn signals_go_through_the_agent() {
    let daemon = Daemon::start();
    let script = "trap 'echo usr1' USR1; trap 'exit 9' TERM; echo ready; \
                  while :; do sleep 0.05; done";
    let mut job = Job::start(&daemon, &[], script);
    assert_eq!(job.says(), "ready");
    job.signal(Signal::USR1);
    assert_eq!(job.says(), "usr1");
    job.signal(Signal::TERM);
    assert_eq!(job.embryo.wait().unwrap().code(), Some(9));
}

#[test]
fn a_signal_that_the_mandate_does_not_allow_is_said_so() {
    let daemon = Daemon::start();
    let mut command = run(&daemon, &["--", &sh(), "-c", "echo ready; exec sleep 1000"]);
    let mut embryo = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(embryo.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    kill_process(Pid::from_child(&embryo), Signal::USR2).unwrap();
    BufReader::new(embryo.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("cannot pass SIGUSR2 on: refused by the agent: signals"), "{line}");
    kill_process(Pid::from_child(&embryo), Signal::TERM).unwrap();
    assert_eq!(embryo.wait().unwrap().signal(), Some(15));
}

#[test]
fn what_is_refused_is_said_with_its_rule() {
    let daemon = Daemon::start();
    let line = ran(&daemon, &["--", "/etc/hostname"]).fails(126);
    assert!(line.starts_with("embryo: refused by the agent: images: "), "{line}");
    let line = ran(&daemon, &["--rlimit", "nofile=10", "--", "/usr/bin/true"]).fails(126);
    assert!(line.contains("refused by the agent: ops"), "{line}");
    let line = ran(&daemon, &["--load", "--", "/usr/bin/true"]).fails(125);
    assert!(line.contains("--load") && line.contains("--agent"), "{line}");
    let line = ran(&daemon, &["--trace", "--", "/usr/bin/true"]).fails(125);
    assert!(line.contains("--trace"), "{line}");
    let args = ["run", "--agent", "/nonexistent/x.sock", "--", "/usr/bin/true"];
    assert!(finish(&mut command(&args)).fails(125).contains("ENOENT"));
}

#[test]
fn the_environment_can_name_the_agent() {
    let daemon = Daemon::start();
    let mut named = command(&["run", "--agent", "--", "/usr/bin/echo", "hi"]);
    assert_eq!(finish(named.env("EMBRYO_AGENT", daemon.path("agent.sock"))).ok(), "hi\n");
    let line =
        finish(command(&["run", "--agent", "--", "/usr/bin/true"]).env_remove("EMBRYO_AGENT"))
            .fails(125);
    assert!(line.contains("EMBRYO_AGENT"), "{line}");
}

#[test]
fn a_plan_from_a_file_goes_through_the_agent() {
    let daemon = Daemon::start();
    let plan = daemon.path("plan");
    ran(&daemon, &["--save", &plan, "--", "/usr/bin/echo", "saved"]).ok();
    assert_eq!(ran(&daemon, &["--plan", &plan]).ok(), "saved\n");
    let explained = ran(&daemon, &["--explain", "--", "/usr/bin/echo"]).ok();
    assert!(explained.contains("/usr/bin/echo"), "{explained}");
    assert_eq!(daemon.list()["agent"]["started"], 1);
}

#[test]
fn an_operator_lists_and_kills_children() {
    let daemon = Daemon::start();
    let mut job = Job::start(&daemon, &[], "echo $$; exec sleep 1000");
    let pid = job.says();
    let found = children(&daemon);
    assert_eq!(found.len(), 1, "{found:?}");
    let (child, uid) = (&found[0], geteuid().as_raw());
    assert_eq!(child["pid"].to_string(), pid);
    assert_eq!(child["mandate"], "jobs");
    assert_eq!(child["client_uid"], uid);
    assert_eq!(child["uid"], if uid == 0 { 65534 } else { uid });
    assert!(child["program"].as_str().unwrap().contains("sh"), "{child}");
    let number = child["child"].to_string();
    let listing = daemon.list();
    let connection =
        listing["connections"].as_array().unwrap().iter().find(|one| one["children"] == 1).unwrap();
    assert_eq!(connection["pid"], job.embryo.id());
    assert_eq!(child["connection"], connection["connection"]);

    // The same as a table.
    let table = daemon.operator(&["ps"]).ok();
    let (head, row) = table.split_once('\n').unwrap();
    assert!(!table.contains('\x1b'));
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!((words[0], words[1], words[2]), (number.as_str(), pid.as_str(), "jobs"));
    assert_eq!(head.find("PID").unwrap() + 3, row.find(&pid).unwrap() + pid.len());
    let connections = daemon.operator(&["ps", "--connections"]).ok();
    assert_eq!(connections.lines().count(), 3, "{connections}");

    daemon.operator(&["kill", &number]).ok();
    assert_eq!(job.embryo.wait().unwrap().signal(), Some(9));
    assert!(vanishes(pid.parse().unwrap()));
    assert!(wait_for(PATIENCE, || children(&daemon).is_empty()));
    let line = daemon.operator(&["kill", &number]).fails(1);
    assert!(line.contains(&format!("child {number} has ended")), "{line}");
}

#[test]
fn an_operator_sends_a_signal() {
    let daemon = Daemon::start();
    let job = Job::start(
        &daemon,
        &[],
        "trap 'echo hup; exit' HUP; echo ready; while :; do sleep 0.05; done",
    );
    assert_eq!(job.says(), "ready");
    let number = children(&daemon)[0]["child"].to_string();
    let ran = daemon.operator(&["kill", "--signal", "HUP", &number, "999999"]);
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("child 999999"), "{ran:?}");
    assert_eq!(job.says(), "hup");
}

#[test]
fn top_shows_what_is_used() {
    let daemon = Daemon::start();
    let job = Job::start(&daemon, &[], "echo ready; while :; do :; done");
    job.says();
    let page = daemon.operator(&["top", "-n", "2", "-d", "0.2s"]).ok();
    assert_eq!(page.matches("embryo agent ").count(), 2, "{page}");
    let row = page.lines().rfind(|line| line.contains("jobs")).unwrap();
    assert!(!page.contains('\x1b') && page.contains("%CPU"), "{page}");
    assert!(row.split_whitespace().any(|word| word.contains('.') && word != "0.0"), "{page}");
    // Without a terminal it is shown once.
    assert_eq!(daemon.operator(&["top"]).ok().matches("embryo agent ").count(), 1);
    let lines = daemon.operator(&["top", "--json", "-n", "2", "-d", "0.01s"]).ok();
    assert_eq!(lines.lines().count(), 2);
    for line in lines.lines() {
        assert!(serde_json::from_str::<Value>(line).unwrap()["children"].is_array(), "{line}");
    }
}

#[test]
fn top_on_a_terminal_ends_by_a_key() {
    let daemon = Daemon::start();
    let Some(mut screen) = Screen::shell() else {
        embryo_tests::skip!("there is no bash");
    };
    screen.types(&format!("export EMBRYO_AGENT_OPERATOR={}\n", daemon.path("operator.sock")));
    for key in ["q", support::screen::CTRL_C] {
        screen.types("\"$E\" agent top\n");
        screen.sees(", pid ");
        screen.sees("PROGRAM");
        screen.types(key);
        screen.sees("@ ");
        assert_eq!(screen.status(), 0);
        screen.sees("@ ");
    }
    // The terminal is as it was: it echoes, and Ctrl-C is a signal.
    screen.types("cat\n");
    screen.sees("cat\r\n");
    assert!(wait_for(PATIENCE, || screen.foreground() != screen.leader.id()));
    // What has become the foreground may not be the program yet, and hear of no signal.
    screen.types("again\n");
    screen.sees("again\r\nagain\r\n");
    screen.types(support::screen::CTRL_C);
    screen.sees("@ ");
    assert_eq!(screen.status(), 130);
}

#[test]
fn the_log_is_there_for_operators() {
    let daemon = Daemon::start();
    ran(&daemon, &["--", "/usr/bin/true"]).ok();
    ran(&daemon, &["--", "/etc/hostname"]).fails(126);
    let text = daemon.operator(&["log"]).ok();
    assert!(text.contains("the agent serves"), "{text}");
    let json = daemon.operator(&["log", "--json"]).ok();
    let entries: Vec<Value> =
        json.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<u64> = entries.iter().map(|entry| entry["entry"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{numbers:?}");
    let last = numbers.last().unwrap().to_string();
    let rest = daemon.operator(&["log", "--json", "--since", &last]).ok();
    assert!(rest.contains(&format!("\"entry\":{last}")), "{rest}");

    // One that is followed goes on.
    let mut follow = command(&["agent", "log", "-f", "--json", "--since", &last]);
    follow.env("EMBRYO_AGENT_OPERATOR", daemon.path("operator.sock"));
    let mut follow = follow.stdout(Stdio::piped()).spawn().unwrap();
    let lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let (sender, said) = channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
    said.recv_timeout(PATIENCE).unwrap();
    daemon.signal(Signal::HUP);
    let until = std::time::Instant::now() + PATIENCE;
    while !said
        .recv_timeout(until.saturating_duration_since(std::time::Instant::now()))
        .unwrap()
        .contains("read again")
    {}
    follow.kill().unwrap();
    follow.wait().unwrap();
}

#[test]
fn children_end_as_their_lifetime_says() {
    let dir = embryo_tests::tempdir();
    let text = config(dir.path());
    let lives_on = text
        .replace("lifetime", "")
        .replace("signals = [\"TERM\"", "lifetime = \"live-on\"\nsignals = [\"TERM\"");
    let mut daemon = Daemon::start_in(dir, &lives_on, &[], |_| {});
    let mut job = Job::start(&daemon, &[], "echo $$; exec sleep 1000");
    let pid: u32 = job.says().parse().unwrap();
    job.embryo.kill().unwrap();
    job.embryo.wait().unwrap();
    assert_eq!(children(&daemon).len(), 1);
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(status_field(pid, "State").is_some(), "it lives on");
    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();

    let mut daemon = Daemon::start();
    let mut job = Job::start(&daemon, &[], "echo $$; exec sleep 1000");
    let pid = job.says().parse().unwrap();
    job.embryo.kill().unwrap();
    job.embryo.wait().unwrap();
    assert!(vanishes(pid));
    let mut job = Job::start(&daemon, &[], "echo $$; exec sleep 1000");
    let pid = job.says().parse().unwrap();
    assert_eq!(daemon.stop().code(), Some(0));
    assert!(vanishes(pid));
    assert_eq!(job.embryo.wait().unwrap().signal(), Some(9));
}

#[test]
fn an_agent_that_is_killed_takes_those_along_that_are_not_to_live_on() {
    for (lifetime, lives) in [("connection", false), ("agent", false), ("live-on", true)] {
        let dir = embryo_tests::tempdir();
        let text = config(dir.path()).replace("lifetime", "");
        let told = format!("lifetime = \"{lifetime}\"\nsignals = [\"TERM\"");
        let text = text.replace("signals = [\"TERM\"", &told);
        let mut daemon = Daemon::start_in(dir, &text, &[], |_| {});
        let mut job = Job::start(&daemon, &[], "echo $$; exec sleep 1000");
        let pid: u32 = job.says().parse().unwrap();
        daemon.child.kill().unwrap();
        daemon.child.wait().unwrap();
        if lives {
            assert!(status_field(pid, "State").is_some(), "it lives on");
            kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).unwrap();
        } else {
            assert!(vanishes(pid), "{lifetime}");
        }
        // Whoever asked for it learns that the agent has gone, and does not wait for ever.
        job.embryo.wait().unwrap();
    }
}

#[test]
fn an_agent_that_begins_anew_keeps_everything() {
    let daemon = Daemon::start();
    let script = "trap 'exit 9' TERM; echo $$; while :; do sleep 0.05; done";
    let mut job = Job::start(&daemon, &[], script);
    let pid: u32 = job.says().parse().unwrap();
    let (before, number) = (daemon.list(), children(&daemon)[0]["child"].clone());
    let inode =
        fs::metadata(daemon.path("agent.sock")).map(|f| std::os::unix::fs::MetadataExt::ino(&f));
    daemon.signal(Signal::USR2);
    daemon.manager.is_told("RELOADING=1");
    daemon.manager.is_told("READY=1");
    let after = daemon.list();
    assert_eq!(after["agent"]["pid"], before["agent"]["pid"]);
    assert_eq!(children(&daemon)[0]["child"], number);
    assert_eq!(status_field(pid, "PPid").unwrap(), before["agent"]["pid"].to_string());
    let same =
        fs::metadata(daemon.path("agent.sock")).map(|f| std::os::unix::fs::MetadataExt::ino(&f));
    assert_eq!(inode.unwrap(), same.unwrap());
    let log = daemon.operator(&["log"]).ok();
    assert!(
        log.contains("the agent begins anew") && log.matches("the agent serves").count() == 2,
        "{log}"
    );

    // The old connection works, new ones do too, and nothing is left of the embryos.
    job.signal(Signal::TERM);
    assert_eq!(job.embryo.wait().unwrap().code(), Some(9));
    assert_eq!(ran(&daemon, &["--", "/usr/bin/echo", "hi"]).ok(), "hi\n");
    let zombies = fs::read_to_string(format!("/proc/{0}/task/{0}/children", daemon.child.id()));
    let zombies = zombies.unwrap_or_default();
    let zombies: Vec<&str> = zombies
        .split_whitespace()
        .filter(|pid| support::state(pid.parse().unwrap()) == Some('Z'))
        .collect();
    assert!(zombies.is_empty(), "{zombies:?}");

    // With a mistake in its file it goes on as it is.
    fs::write(daemon.path("agent.toml"), "x").unwrap();
    daemon.signal(Signal::USR2);
    daemon.manager.is_told("READY=1");
    assert!(daemon.log().contains("cannot begin anew"), "{}", daemon.log());
    assert_eq!(ran(&daemon, &["--", "/usr/bin/echo", "hi"]).ok(), "hi\n");
}
