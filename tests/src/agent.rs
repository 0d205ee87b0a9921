//! An agent in a process of its own, as tests need one: what it listens on, what it has open, what it said.
//!
//! It must never outlive its test, nor may a child of it.

mod raw;

pub use raw::{Message, RawClient, Reader};

use crate::wait_for;
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// How long anything may take that a test waits for; a busy machine is slow.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How an agent is started.
#[derive(Clone, Debug, Default)]
pub struct AgentOptions {
    /// Its uid and gid, without groups; that of the test if this is not there.
    pub uid: Option<u32>,
    /// Limits by the letter of ulimit(1p) that the shell in front of it sets, such as `n`.
    pub limits: Vec<(char, u64)>,
    /// What else is in its environment.
    pub environment: Vec<(String, String)>,
}

/// An agent that runs.
#[derive(Debug)]
pub struct RunningAgent {
    child: Option<Child>,
    dir: tempfile::TempDir,
}

/// The program that is an agent.
///
/// # Panics
/// If it has not been built.
#[must_use]
pub fn agent_path() -> PathBuf {
    let path = crate::probe_path().with_file_name("embryo-test-agent");
    assert!(path.is_file(), "no {} was built", path.display());
    path
}

impl RunningAgent {
    /// Starts one with this file, in which `{dir}` is a directory of its own that every user may enter and write
    /// to, and `{socket}` a path in it. It listens there when this returns.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &AgentOptions::default())
    }

    /// The same, otherwise than usual.
    ///
    /// # Panics
    /// If it does not listen.
    #[must_use]
    pub fn start_with(config: &str, options: &AgentOptions) -> Self {
        let dir = crate::tempdir();
        let mut agent = Self { child: None, dir };
        agent.configure(config);
        agent.launch(options);
        agent
    }

    /// Writes its file anew. It reads that when it is told to.
    ///
    /// # Panics
    /// If that cannot be written.
    pub fn configure(&self, config: &str) {
        let socket = self.socket().display().to_string();
        let config = config.replace("{socket}", &socket);
        let config = config.replace("{dir}", &self.dir().display().to_string());
        let file = self.dir().join("agent.toml");
        std::fs::write(&file, config).expect("its file can be written");
    }

    /// Starts the process, whose file is there.
    ///
    /// # Panics
    /// If it does not listen.
    pub fn launch(&mut self, options: &AgentOptions) {
        assert!(self.child.is_none(), "it runs already");
        let _ = std::fs::remove_file(self.dir().join("descriptors"));
        let log = std::fs::File::options().create(true).append(true).open(self.log_path());
        let log = log.expect("its log can be made");
        let mut command = Command::new("/bin/sh");
        let limits = options.limits.iter().map(|(which, to)| format!("ulimit -{which} {to}; "));
        let script: String = limits.chain(["exec \"$0\" \"$1\"".to_owned()]).collect();
        command.arg("-c").arg(script).arg(agent_path()).arg(self.dir().join("agent.toml"));
        command.current_dir("/").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command.envs(options.environment.iter().map(|(name, value)| (name, value)));
        if let Some(uid) = options.uid {
            command.uid(uid).gid(uid);
        }
        // Whatever a stray signal of a terminal is for, it is for the test.
        command.process_group(0);
        self.child = Some(command.spawn().expect("a shell can be started"));
        let listens = wait_for(PATIENCE, || {
            RawClient::try_connect(&self.socket()).is_ok() || self.exited().is_some()
        });
        let exited = self.exited();
        assert!(listens && exited.is_none(), "no agent: {exited:?}\n{}", self.log());
    }

    /// Where it listens.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.dir().join("socket")
    }

    /// A directory of its own.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A client that has been welcomed.
    ///
    /// # Panics
    /// If the agent does not welcome it.
    #[must_use]
    pub fn client(&self) -> RawClient {
        let client = RawClient::connect(&self.socket());
        client.hello();
        client
    }

    /// Its pid.
    ///
    /// # Panics
    /// If it was stopped.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.as_ref().expect("it runs").id().cast_signed()
    }

    /// Bytes of memory that it has to itself and in use, without files: RssAnon.
    #[must_use]
    pub fn rss(&self) -> u64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kib = line.and_then(|rest| rest.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok()).expect("a size in kB") * 1024
    }

    /// What each of its descriptors stands for, sockets and the like without their numbers, and how many there
    /// are of each.
    ///
    /// # Panics
    /// If `/proc` does not say.
    #[must_use]
    pub fn fds(&self) -> BTreeMap<String, usize> {
        let mut found = BTreeMap::new();
        for link in self.links() {
            let kind = link.split_once(":[").map_or(link.as_str(), |(kind, _)| kind);
            *found.entry(kind.to_owned()).or_default() += 1;
        }
        found
    }

    /// What its descriptors stand for, as `/proc` shows root, and as it says itself to others.
    fn links(&self) -> Vec<String> {
        if crate::is_root() {
            let entries = std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs");
            let links = entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
            return links.map(|link| link.to_string_lossy().into_owned()).collect();
        }
        let mut said = String::new();
        let mut asked = UnixStream::connect(self.dir().join("descriptors")).expect("it tells");
        asked.set_read_timeout(Some(PATIENCE)).expect("it can be set");
        asked.read_to_string(&mut said).expect("it tells in time");
        said.lines().map(str::to_owned).collect()
    }

    /// How many descriptors it has.
    #[must_use]
    pub fn fd_count(&self) -> usize {
        self.fds().values().sum()
    }

    /// The pids of all its children and theirs, with zombies, each with its name and state as `/proc` has them.
    #[must_use]
    pub fn descendants(&self) -> BTreeMap<i32, (String, char)> {
        let all: Vec<_> = processes();
        let mut found = BTreeMap::new();
        let mut parents = vec![self.pid()];
        while let Some(parent) = parents.pop() {
            for (pid, _, name, state) in all.iter().filter(|process| process.1 == parent) {
                if found.insert(*pid, (name.clone(), *state)).is_none() {
                    parents.push(*pid);
                }
            }
        }
        found
    }

    /// What it has said.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(self.log_path())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If that cannot be.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid()).expect("a pid is not 0");
        kill_process(pid, signal).expect("a child can be sent a signal");
    }

    /// How it has ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.as_mut()?.try_wait().expect("a child can be waited for")
    }

    /// Tells it to stop, and waits until it has.
    ///
    /// # Panics
    /// If it does not.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Kills it.
    ///
    /// # Panics
    /// If it does not end.
    pub fn kill(&mut self) -> ExitStatus {
        self.signal(Signal::KILL);
        self.wait()
    }

    fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        let ended = wait_for(PATIENCE, || {
            status = self.exited();
            status.is_some()
        });
        assert!(ended, "it does not end\n{}", self.log());
        self.child = None;
        status.expect("it has ended")
    }

    fn log_path(&self) -> PathBuf {
        self.dir().join("log")
    }

    fn proc(&self, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.pid())).expect("it runs")
    }
}

impl Drop for RunningAgent {
    fn drop(&mut self) {
        if self.child.is_none() {
            return;
        }
        let left: Vec<i32> = self.descendants().into_keys().collect();
        if self.exited().is_none() {
            self.signal(Signal::TERM);
            let _ = wait_for(Duration::from_secs(5), || self.exited().is_some());
        }
        if self.exited().is_none() {
            self.signal(Signal::KILL);
            let _ = wait_for(PATIENCE, || self.exited().is_some());
        }
        // What lives on by its mandate, or has lost the agent that would have ended it.
        let still = |pid: &&i32| processes().iter().any(|process| process.0 == **pid);
        for pid in left.iter().filter(still).filter_map(|pid| Pid::from_raw(*pid)) {
            let _ = kill_process(pid, Signal::KILL);
        }
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
    }
}

/// Every process: pid, parent's pid, name, state.
fn processes() -> Vec<(i32, i32, String, char)> {
    let entries = std::fs::read_dir("/proc").expect("there is a /proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(process).collect()
}

fn process(pid: i32) -> Option<(i32, i32, String, char)> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    let state = fields.next()?.chars().next()?;
    Some((pid, fields.next()?.parse().ok()?, name.to_owned(), state))
}
