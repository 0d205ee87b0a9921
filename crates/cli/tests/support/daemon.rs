//! An agent that a test has started, and what it tells its service manager.
//!
//! It must never outlive the test.

use super::{PATIENCE, Ran, command, finish};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Instant;

/// An agent that serves.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    pub(crate) manager: Manager,
    pub(crate) dir: tempfile::TempDir,
}

/// The service manager's end.
pub(crate) struct Manager {
    socket: UnixDatagram,
    path: PathBuf,
}

/// A file with a socket for clients and one for operators, in this directory. The mandate allows what the
/// tests start, as whoever runs them.
pub(crate) fn config(dir: &Path) -> String {
    let dir = dir.display();
    let uid = geteuid().as_raw();
    // A child that is root would have capabilities, which the mandate does not list.
    let forced = match uid {
        0 => "[mandates.jobs.forced]\nuid = 65534\ngid = 65534\ngroups = []\n",
        _ => "",
    };
    format!(
        r#"
[[listen]]
path = "{dir}/agent.sock"
mode = "0600"
mandate = "jobs"

[[listen]]
path = "{dir}/operator.sock"
mandate = "operator"

[agent]
embryos = 2

[mandates.jobs]
peers = [{{ uids = [{uid}] }}]
images = [{{ under = "/usr/bin" }}]
ops = ["put-fd", "chdir", "umask", "signal-mask", "signal-ignore", "nice"]
environment = ["*"]
signals = ["TERM", "USR1", "HUP", "CONT"]

[mandates.jobs.bounds]
uids = [65534, {uid}]
gids = ["0-65534"]
directories = ["/"]

{forced}
[mandates.jobs.numbers]
children = 8

[mandates.operator]
peers = [{{ uids = [{uid}] }}]
operator = true
"#
    )
}

impl Manager {
    pub(crate) fn new(dir: &Path) -> Self {
        let path = dir.join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, path }
    }

    /// The next message that has this in it.
    #[track_caller]
    pub(crate) fn is_told(&self, expect: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no {expect:?} in {seen:?}");
            self.socket.set_read_timeout(Some(left)).unwrap();
            let mut bytes = [0; 4096];
            let Ok(count) = self.socket.recv(&mut bytes) else { continue };
            let text = String::from_utf8_lossy(&bytes[..count]).into_owned();
            if text.contains(expect) {
                return text;
            }
            seen.push(text);
        }
    }
}

impl Daemon {
    /// Starts one in a directory of its own, with the file of [`config`], and waits until it serves.
    pub(crate) fn start() -> Self {
        let dir = embryo_tests::tempdir();
        let text = config(dir.path());
        Self::start_in(dir, &text, &[], |_| {})
    }

    /// Starts one with this file and these options.
    pub(crate) fn start_in(
        dir: tempfile::TempDir,
        text: &str,
        options: &[&str],
        prepare: impl FnOnce(&mut Command),
    ) -> Self {
        let file = dir.path().join("agent.toml");
        fs::write(&file, text).unwrap();
        let manager = Manager::new(dir.path());
        let args = [&["agent", "run", "--config", file.to_str().unwrap()], options].concat();
        let mut command = command(&args);
        command.env("NOTIFY_SOCKET", &manager.path).stdout(Stdio::null());
        command.stderr(fs::File::create(dir.path().join("log")).unwrap());
        prepare(&mut command);
        let child = command.spawn().unwrap();
        let mut daemon = Self { child, manager, dir };
        daemon.is_ready();
        daemon
    }

    #[track_caller]
    fn is_ready(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            self.manager
                .socket
                .set_read_timeout(Some(std::time::Duration::from_millis(50)))
                .unwrap();
            let mut bytes = [0; 4096];
            match self.manager.socket.recv(&mut bytes) {
                Ok(count) if String::from_utf8_lossy(&bytes[..count]).contains("READY=1") => return,
                _ => {}
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "{ended:?}: {}", self.log());
        }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap()
    }

    /// A path in its directory.
    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    /// Asks it as its operator.
    pub(crate) fn operator(&self, args: &[&str]) -> Ran {
        let mut command = command(&[&["agent"], args].concat());
        finish(command.env("EMBRYO_AGENT_OPERATOR", self.path("operator.sock")))
    }

    /// Everything it lists.
    pub(crate) fn list(&self) -> serde_json::Value {
        serde_json::from_str(&self.operator(&["ps", "--json"]).ok()).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Has it end, and says how it did.
    pub(crate) fn stop(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.child.wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            // So that its children end with it.
            self.signal(Signal::TERM);
            let ended =
                embryo_tests::wait_for(PATIENCE, || self.child.try_wait().unwrap().is_some());
            if !ended {
                let _ = self.child.kill();
                let _ = self.child.wait();
            }
        }
        if std::thread::panicking() {
            eprintln!("the agent's log:\n{}", self.log());
        }
    }
}
