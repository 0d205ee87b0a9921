//! The same children from an agent, which runs as whoever runs the test and allows all that is described.
//!
//! What an agent gives otherwise by design stands here and nowhere else: [`say`] says in words what a child of
//! the caller has by habit, and [`set_the_agents_aside`] lists what cannot be said.

use super::{Description, set_documented_differences_aside};
use embryo::agent::Agent;
use embryo_tests::agent::{AgentOptions, RunningAgent};
use embryo_tests::{Report, probe_path};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

const CONFIG: &str = r#"
[[listen]]
path = "{socket}"
mode = "0600"
mandate = "all"

[mandates.all]
peers = [{}]
images = [{ under = "{home}", owners = [{owner}] }]
ops = ["put-fd", "open-null", "chdir", "umask", "uid", "gid", "groups", "signal-ignore"]
environment = [{names}]

[mandates.all.bounds]
uids = ["0-4294967294"]
gids = ["0-4294967294"]
directories = ["/"]
capabilities = "all"
"#;

/// An agent for one test, and a connection to it. It is started before the descriptions, so that it has what
/// the caller has.
pub(crate) struct ByAgent {
    _running: RunningAgent,
    agent: Agent,
}

impl ByAgent {
    pub(crate) fn start() -> Self {
        let probe = probe_path().canonicalize().expect("it was built");
        let owner = probe.metadata().expect("it is there").uid().to_string();
        let home = probe.parent().expect("it has one").display().to_string();
        let config = CONFIG.replace("{home}", &home).replace("{owner}", &owner);
        // A pattern speaks of no name that a loader or a shell acts on: those are written out.
        let own = std::env::vars().map(|(name, _)| format!("{name:?}, "));
        let config = config.replace("{names}", &(own.collect::<String>() + "\"*\""));
        let running = RunningAgent::start_with(&config, &AgentOptions::default());
        let agent = Agent::connect(running.socket()).expect("it listens");
        Self { _running: running, agent }
    }

    /// Checks the report of a child of the agent's against that of one of the caller's own.
    #[track_caller]
    pub(crate) fn compare(&self, child: &Description) {
        let dir = embryo_tests::tempdir();
        let path = dir.path().join("report");
        let report = || {
            let json = std::fs::read(&path).expect("it was written");
            std::fs::remove_file(&path).expect("the directory is ours");
            let mut report = Report::parse(&json);
            set_documented_differences_aside(&mut report);
            set_the_agents_aside(&mut report);
            report
        };
        child.by_embryo(&path, super::Way::AsRouted);
        let own = report();
        let mut command = child.command(&path);
        say(child, command.agent(&self.agent));
        let status = command.status().unwrap_or_else(|error| panic!("by an agent: {error}"));
        assert!(status.success(), "by an agent: {status:?}");
        let differences = own.diff(&report(), &[]);
        assert!(differences.is_empty(), "by an agent, {child:?}:\n  {}", differences.join("\n  "));
    }
}

/// What the caller passes on by habit and an agent does not, in words: environment, working directory and umask.
fn say(child: &Description, command: &mut embryo::Command) {
    if child.env.is_none() {
        command.envs(std::env::vars_os());
    }
    let here = std::env::current_dir().expect("there is one");
    command.current_dir(child.cwd.as_ref().map_or(here.clone(), |cwd| here.join(cwd)));
    let umask = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(umask);
    command.umask(umask.bits());
}

/// What an agent gives otherwise by design, and nothing else:
/// - its children are its own, in a session and a group of their own, without a terminal;
/// - one that is not to live on has a death signal, so that it ends when the agent is killed;
/// - what was checked is what runs, so the image is executed by its handle: the kernel calls it `/dev/fd/N`, and
///   before Linux 6.14 its process by that number.
fn set_the_agents_aside(report: &mut Report) {
    report.ppid = 0;
    report.sid = 0;
    report.pgid = 0;
    report.tty = None;
    report.pdeathsig = None;
    report.execfn = None;
    report.comm = "".into();
}

fn pair(name: &str, value: &str) -> (OsString, OsString) {
    (name.into(), value.into())
}

fn probe() -> Description {
    // An agent follows no symbolic link.
    let program = probe_path().canonicalize().expect("it was built").into();
    Description { program, ..Description::new() }
}

#[test]
fn an_agent_gives_what_is_described() {
    embryo_tests::alone!();
    super::ordinary_caller();
    let agent = ByAgent::start();
    agent.compare(&probe());
    let env = vec![pair("B", "2"), pair("A", "1"), pair("EMPTY", ""), pair("E", "a=b=c")];
    agent.compare(&Description { env: Some(env), ..probe() });
    agent.compare(&Description { env: None, ..probe() });
    agent.compare(&Description { arg0: Some("-login".into()), ..probe() });
    agent.compare(&Description { cwd: Some(PathBuf::from("/")), ..probe() });
    let null = [(); 3].map(|()| super::Stream::Null);
    agent.compare(&Description { streams: null, ..probe() });
    let file = std::fs::File::open("/dev/zero").expect("it opens");
    let file = std::rc::Rc::new(file);
    let streams = [(); 3].map(|()| super::Stream::File(std::rc::Rc::clone(&file)));
    agent.compare(&Description { streams, ..probe() });
}

#[test]
fn an_agent_gives_the_ids_that_are_described() {
    embryo_tests::require_root!();
    embryo_tests::alone!();
    super::ordinary_caller();
    let agent = ByAgent::start();
    for (uid, gid, groups) in [(1, 2, vec![]), (1000, 1000, vec![4, 24])] {
        agent.compare(&Description { ids: Some((uid, gid, groups)), ..probe() });
    }
}
