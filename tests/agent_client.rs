//! The library's client against an agent: what it gives back is a process as any other.
//!
//! It must never look at the protocol: `agent_protocol` does.

use embryo::agent::Agent;
use embryo::agent::mandate::Mandate;
use embryo::{Command, Error, ExecFlags, Keep, Op, Plan, Stdio};
use embryo_tests::agent::{AgentOptions, PATIENCE, RunningAgent};
use embryo_tests::{Report, alone, is_root, probe_path, skip, wait_for};
use rustix::process::Signal;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;

const CONFIG: &str = r#"
[[listen]]
path = "{socket}"
mode = "0666"
mandate = "all"

[mandates.all]
peers = [{}]
bounds = { uids = ["0-70000"], gids = ["0-70000"], capabilities = "all", directories = ["/"] }
images = [{ under = "/usr" }, { path = "{probe}", owners = [{owner}] }]
ops = ["put-fd", "open-null", "chdir", "umask", "signal-ignore"]
environment = ["NAME", "EMBRYO_AGENT"]
signals = ["TERM", "CONT"]
narrower = 2
"#;

fn start() -> (RunningAgent, Agent) {
    start_with(&AgentOptions::default())
}

fn start_with(options: &AgentOptions) -> (RunningAgent, Agent) {
    let probe = probe_path().canonicalize().expect("it was built");
    let owner = probe.metadata().expect("it is there").uid().to_string();
    let config = CONFIG.replace("{probe}", &probe.display().to_string());
    let config = config.replace("{owner}", &owner);
    let running = RunningAgent::start_with(&config, options);
    let agent = Agent::connect(running.socket()).expect("it listens");
    (running, agent)
}

fn shell(agent: &Agent, script: &str) -> Command {
    let mut command = Command::new("/usr/bin/dash");
    command.args(["-c", script]).stdin(Stdio::null()).agent(agent);
    command
}

#[test]
fn a_child_is_started_fed_read_and_waited_for() {
    let (_running, agent) = start();
    let output = shell(&agent, "read -r line; echo \"$NAME $line\"; echo err >&2; exit 3")
        .env("NAME", "name")
        .stdin(Stdio::piped())
        .output_with_input(b"input\n")
        .expect("it starts");
    assert_eq!(output.status.code(), Some(3));
    assert_eq!((&*output.stdout, &*output.stderr), (&b"name input\n"[..], &b"err\n"[..]));
    let mut process = shell(&agent, "kill -TERM $$").spawn().expect("it starts");
    assert_eq!(process.wait().expect("it ends").signal(), Some(15));
    assert!(process.usage().expect("the agent tells").max_rss > 0);
    assert!(!process.time_was_over());
}

#[test]
fn a_running_child_is_looked_at_signalled_and_killed() {
    let (_running, agent) = start();
    let mut process = shell(&agent, "while :; do :; done").spawn().expect("it starts");
    assert_eq!(process.try_wait().expect("it runs"), None);
    let used = wait_for(PATIENCE, || !process.usage_now().expect("the agent tells").user.is_zero());
    assert!(used, "it uses no time");
    process.signal(Signal::CONT.as_raw()).expect("that is allowed");
    match process.signal(Signal::USR1.as_raw()) {
        Err(Error::Refused { rule, .. }) => assert_eq!(&*rule, "signals"),
        other => panic!("{other:?}"),
    }
    process.kill().expect("that is always allowed");
    assert_eq!(process.wait_timeout(PATIENCE).expect("it ends").expect("soon").signal(), Some(9));
    process.kill().expect("it has ended, which is no error");
    assert_eq!(process.signal(18).expect_err("it has ended").raw_os_error(), Some(3));
}

#[test]
fn a_child_may_be_anothers_and_is_signalled_all_the_same() {
    if !is_root() {
        skip!("the agent has the caller's uid then");
    }
    // As in a mandate that says so: here the agent itself is somebody else.
    let (_running, agent) =
        start_with(&AgentOptions { uid: Some(1000), ..AgentOptions::default() });
    let mut process = shell(&agent, "exec sleep 1000").spawn().expect("it starts");
    process.signal(Signal::TERM.as_raw()).expect("the agent sends it");
    assert_eq!(process.wait().expect("it ends").signal(), Some(15));
}

#[test]
fn faults_and_refusals_are_told_apart() {
    let (_running, agent) = start();
    // It is there, and nobody may execute it.
    let file = std::path::Path::new("/usr/lib/os-release");
    if file.is_file() {
        let error = Command::new(file).agent(&agent).spawn().expect_err("it is no program");
        let fault = error.as_spawn().unwrap_or_else(|| panic!("{error}"));
        assert_eq!((fault.op(), fault.fault.errno), ("exec", 13), "{error}");
    }
    let mut other = Command::new("/bin/../etc/passwd");
    let error = other.agent(&agent).spawn().expect_err("no rule speaks of it");
    assert!(matches!(&error, Error::Refused { rule, .. } if &**rule == "images"), "{error}");
    let error = shell(&agent, "").uid(1).spawn().expect_err("uid is not among the ops");
    assert!(matches!(&error, Error::Refused { .. }), "{error}");
    let error = agent.list().expect_err("this is no operator");
    assert!(matches!(&error, Error::Refused { .. }), "{error}");
}

#[test]
fn a_dropped_child_is_killed_if_that_was_asked_for() {
    let (running, agent) = start();
    let pid_of = |process: &embryo::Process| process.id().cast_signed();
    let mut process = shell(&agent, "exec sleep 1000").spawn().expect("it starts");
    let killed = pid_of(&process);
    process.kill_on_drop(true);
    drop(process);
    let left = shell(&agent, "exec sleep 1000").spawn().expect("it starts");
    let left_pid = pid_of(&left);
    drop(left);
    assert!(wait_for(PATIENCE, || !running.descendants().contains_key(&killed)));
    assert!(running.descendants().contains_key(&left_pid), "it goes on");
    // With the connection it ends.
    drop(agent);
    assert!(wait_for(PATIENCE, || !running.descendants().contains_key(&left_pid)));
}

#[test]
fn many_threads_spawn_over_one_connection() {
    let (_running, agent) = start();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let agent = &agent;
            scope.spawn(move || {
                for round in 0..10 {
                    let code = thread * 10 + round;
                    let mut command = shell(agent, &format!("exit {code}"));
                    let status = command.status().expect("it starts");
                    assert_eq!(status.code(), Some(code));
                }
            });
        }
    });
}

#[test]
fn children_are_awaited_in_tokio() {
    let (_running, agent) = start();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let mut plan = Plan::builder();
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
            .op(&Op::ExecPath { path: c"/usr/bin/dash", flags: ExecFlags::empty() })
            .arg("sh")
            .arg("-c")
            .arg("sleep 0.02; exit 5");
        let plan = plan.build().expect("a plan");
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let (agent, plan) = (agent.clone(), plan.clone());
            tasks.spawn(async move {
                let mut process = agent.spawn_async(&plan, &[]).await.expect("it starts");
                process.wait().await.expect("it ends").code()
            });
        }
        while let Some(code) = tasks.join_next().await {
            assert_eq!(code.expect("no panic"), Some(5));
        }
    });
}

#[test]
fn a_narrower_connection_allows_less_and_can_be_narrowed_again() {
    let (_running, agent) = start();
    let only = |ops: &[&str]| Mandate {
        ops: Some(ops.iter().map(|op| (*op).to_owned()).collect()),
        ..Mandate::default()
    };
    let narrower = agent.narrow(&only(&["put-fd"])).expect("there may be one");
    assert!(shell(&narrower, "").stdin(Stdio::inherit()).status().expect("it starts").success());
    let error = shell(&narrower, "").umask(0o77).status().expect_err("umask is not among them");
    assert!(matches!(&error, Error::Refused { rule, .. } if &**rule == "ops"), "{error}");
    let narrowest = narrower.narrow(&only(&["put-fd", "umask"])).expect("there may be one");
    let error = shell(&narrowest, "").umask(0o77).status().expect_err("it is still not");
    assert!(matches!(&error, Error::Refused { .. }), "{error}");
    let held = narrowest.mandate().expect("it is told");
    assert_eq!(held.len(), 3);
    assert_eq!(held[2].ops, only(&["put-fd", "umask"]).ops);
    let error = narrowest.narrow(&Mandate::default()).expect_err("not a third time");
    assert!(matches!(&error, Error::Refused { rule, .. } if &**rule == "narrower"), "{error}");
    // Everything that the wider one allows, it allows still.
    assert!(shell(&agent, "").umask(0o77).status().expect("it starts").success());
}

/// Runs again as the child that was given a connection, and as one whose environment names a socket.
#[test]
fn a_child_finds_the_agent_that_it_was_given() {
    const WHAT: &str = "a child of this test";
    if let Some(value) = std::env::var_os("EMBRYO_AGENT") {
        let agent = Agent::from_env().expect("it was given");
        let again = Agent::from_env().expect("it is the same");
        let handed_down = value.to_string_lossy().starts_with("fd:");
        let same = agent.id().expect("it is told") == again.id().expect("it is told");
        assert_eq!(same, handed_down);
        assert!(shell(&agent, "exit 0").status().expect("it starts").success());
        return;
    }
    alone!();
    let (running, agent) = start();
    let me = std::env::current_exe().expect("a running test has an executable");
    let again = || {
        let mut command = Command::new(&me);
        command.args(["--exact", "a_child_finds_the_agent_that_it_was_given"]);
        command
    };
    let narrower = agent.narrow(&Mandate::default()).expect("there may be one");
    let mut command = again();
    command.grant_agent(9, narrower).expect("nobody else has it");
    assert!(command.status().expect("it starts").success(), "{WHAT}, by descriptor");
    let mut command = again();
    command.env("EMBRYO_AGENT", running.socket());
    assert!(command.status().expect("it starts").success(), "{WHAT}, by path");
    let error = again().grant_agent(9, agent.clone()).map(drop).expect_err("it is in use");
    assert_eq!(error.raw_os_error(), Some(16), "{error}");
}

#[test]
fn what_is_not_said_is_the_agents_to_give() {
    alone!();
    let (_running, agent) = start();
    let output = Command::new(probe_path().canonicalize().expect("it was built"))
        .args(["report"])
        .stdin(Stdio::null())
        .agent(&agent)
        .output()
        .expect("it starts");
    assert!(output.status.success(), "{output:?}");
    let report = Report::parse(&output.stdout);
    assert_eq!(report.envp, [""; 0]);
    assert_eq!(report.cwd, Some("/".into()));
    assert_eq!((report.sid, report.umask), (report.pid, 0o22));
    assert_eq!(report.ignored(), [0u32; 0]);
    assert_eq!(report.fd_numbers(), [0, 1, 2]);
}

#[test]
fn when_the_agent_is_killed_everybody_learns_it() {
    let (mut running, agent) = start();
    let mut process = shell(&agent, "exec sleep 1000").spawn().expect("it starts");
    running.kill();
    let error = shell(&agent, "").spawn().expect_err("nobody is there");
    assert!(matches!(&error, Error::Agent(_)), "{error}");
    process.kill().expect("its handle is enough for the same uid");
    match process.wait() {
        Ok(status) => assert_eq!(status.signal(), Some(9)),
        // Before Linux 6.15, or if whoever has adopted it does not reap it.
        Err(error) => assert!(matches!(error, Error::Reaped { .. }), "{error}"),
    }
}
