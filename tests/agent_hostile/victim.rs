//! The agent that is attacked, and what must be as before afterwards.
//!
//! It must never count something as gone that it has not looked for.

use embryo::{ExecFlags, Keep, Op, Plan, PlanBuilder};
use embryo_tests::agent::{AgentOptions, PATIENCE, RawClient, RunningAgent};
use embryo_tests::wait_for;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::Path;
use std::time::Duration;

/// What most tests allow: programs of the system, descriptors, signals.
pub(crate) const CONFIG: &str = r#"
[[listen]]
path = "{socket}"
mode = "0666"
mandate = "all"

[mandates.all]
peers = [{}]
bounds = { uids = [0, 65534], gids = [0, 65534], capabilities = "all" }
images = [{ under = "/usr" }]
ops = ["put-fd"]
environment = ["NAME"]
signals = ["TERM"]
narrower = 8
"#;

/// What an agent has open and who its children are, but for embryos, of which it keeps a few or fewer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Belongings {
    fds: BTreeMap<String, usize>,
    children: BTreeMap<String, usize>,
}

/// The name of an embryo, and how many an agent keeps unless it is told.
const EMBRYO: &str = "embryo:seed";
const EMBRYOS_MAX: usize = 16;

/// An agent, and what it had before anything happened.
pub(crate) struct Victim {
    pub(crate) agent: RunningAgent,
    before: Belongings,
}

impl Victim {
    pub(crate) fn start() -> Self {
        Self::start_with(CONFIG, &AgentOptions::default())
    }

    pub(crate) fn start_with(config: &str, options: &AgentOptions) -> Self {
        let agent = RunningAgent::start_with(config, options);
        serve_somebody(&agent);
        let before = settled(&agent);
        Self { agent, before }
    }

    pub(crate) fn client(&self) -> RawClient {
        self.agent.client()
    }

    /// Whatever it has now it may keep.
    pub(crate) fn remember(&mut self) {
        self.before = settled(&self.agent);
    }

    /// It serves another client, and is as it was.
    #[track_caller]
    pub(crate) fn check(&self) {
        serve_somebody(&self.agent);
        let mut now = belongings(&self.agent);
        let same = wait_for(PATIENCE, || {
            now = belongings(&self.agent);
            now == self.before
        });
        assert!(same, "it has changed: {:#?}\n{now:#?}", self.before);
    }
}

/// One child for a client that behaves.
#[track_caller]
pub(crate) fn serve_somebody(agent: &RunningAgent) {
    let client = agent.client();
    assert_eq!(client.run(77, exit(0).as_bytes(), &[]), 0, "another client is served");
}

fn belongings(agent: &RunningAgent) -> Belongings {
    let mut children = BTreeMap::new();
    let mut embryos = 0;
    for (name, state) in agent.descendants().into_values() {
        let name = if state == 'Z' { format!("{name}, a zombie") } else { name };
        if name == EMBRYO {
            embryos += 1;
            continue;
        }
        *children.entry(name).or_default() += 1;
    }
    // The one that makes them is one more.
    if embryos > EMBRYOS_MAX + 1 {
        children.insert(EMBRYO.to_owned(), embryos);
    }
    Belongings { fds: agent.fds(), children }
}

/// As it is when nothing happens: it makes new embryos for those that were used.
fn settled(agent: &RunningAgent) -> Belongings {
    let mut last = belongings(agent);
    let mut same = 0;
    let still = wait_for(PATIENCE, || {
        std::thread::sleep(Duration::from_millis(20));
        let now = belongings(agent);
        same = if now == last { same + 1 } else { 0 };
        last = now;
        same == 10
    });
    assert!(still, "it does not come to rest: {last:#?}");
    last
}

/// A plan for a program by its path.
pub(crate) fn program(path: &Path, arguments: &[&str]) -> PlanBuilder {
    use std::os::unix::ffi::OsStrExt;
    let path = CString::new(path.as_os_str().as_bytes()).expect("a path has no NUL");
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    plan.op(&Op::ExecPath { path: &path, flags: ExecFlags::empty() });
    plan.arg(path.as_bytes());
    for argument in arguments {
        plan.arg(argument);
    }
    plan
}

/// A plan for the shell.
pub(crate) fn shell(script: &str) -> Plan {
    program(Path::new("/usr/bin/dash"), &["-c", script]).build().expect("it is a plan")
}

/// A plan whose child exits like this.
pub(crate) fn exit(code: i32) -> Plan {
    shell(&format!("exit {code}"))
}

/// A plan whose child stays.
pub(crate) fn stay() -> Plan {
    program(Path::new("/usr/bin/sleep"), &["1000"]).build().expect("it is a plan")
}

/// A plan that wants as many grants, and does nothing with them.
pub(crate) fn with_slots(count: usize) -> Plan {
    let mut plan = program(Path::new("/usr/bin/true"), &[]);
    for _ in 0..count {
        plan.slot();
    }
    plan.build().expect("it is a plan")
}
