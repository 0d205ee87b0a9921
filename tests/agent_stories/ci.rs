//! An ordinary user whose jobs run as somebody else, in cgroups of their own, started by an agent of root's.

use embryo::agent::Agent;
use embryo_agent::operator::Listing;
use embryo_tests::agent::{PATIENCE, RunningAgent};
use embryo_tests::{require_root, skip, wait_for};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Who asks for jobs.
const CI: u32 = 64_001;
/// Whom they run as.
const JOB: u32 = 64_002;

const CONFIG: &str = r#"
[[listen]]
path = "{socket}"
mode = "0666"
mandate = "ci"

[[listen]]
path = "{dir}/operator"
mandate = "operator"

[mandates.ci]
description = "jobs of CI, as a user of their own"
peers = [{ uids = [64001] }]
images = [{ under = "/usr/bin" }]
ops = ["put-fd", "open-null"]
environment = ["CI_*"]
signals = ["TERM"]
lifetime = "connection"
narrower = 1

[mandates.ci.forced]
uid = 64002
gid = 64002
groups = []
cgroup = { path = "{cgroup}", own = true }
no-new-privs = true
seccomp = "default"
bounding-set = []
directory = "/"
environment = { PATH = "/usr/bin:/bin", HOME = "/nonexistent" }
limits = { core = 0, cpu = 600, nofile = 200 }

[mandates.ci.numbers]
children = 8
per-minute = {per-minute}
seconds = 120

[mandates.ci.numbers-per-uid]
children = 2
connections = 8

[mandates.operator]
peers = [{ uids = ["root"] }]
operator = true
"#;

/// A cgroup for the jobs, which goes with the test.
struct Jobs {
    path: PathBuf,
    /// Below the root of cgroup v2.
    name: String,
}

impl Jobs {
    fn make() -> Option<Self> {
        let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
        let mount = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"))?;
        let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::"))?.trim_end_matches('/');
        let name = format!("{own}/embryo-test-jobs-{}", std::process::id());
        let path = format!("{}{name}", mount.split(' ').nth(1)?);
        let path = (0..16).map(|n| PathBuf::from(format!("{path}-{n}")));
        let path = path.into_iter().find(|path| std::fs::create_dir(path).is_ok())?;
        let name = format!("{own}/{}", path.file_name()?.to_str()?);
        Some(Self { path, name })
    }

    fn cgroups(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.path).expect("it is there").flatten();
        entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect()
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        let _ = wait_for(PATIENCE, || {
            for below in self.cgroups() {
                let _ = std::fs::write(below.join("cgroup.kill"), "1");
                let _ = std::fs::remove_dir(below);
            }
            std::fs::remove_dir(&self.path).is_ok()
        });
    }
}

/// The user's program, which does what it is told, line by line.
struct Ci {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Ci {
    fn start(agent: &RunningAgent) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_embryo-ci"));
        command.env_clear().env("EMBRYO_AGENT", agent.socket());
        command.uid(CI).gid(CI).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, lines }
    }

    fn ask(&mut self, what: &str) -> Value {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{what}").expect("it reads");
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("it answers");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{what}: {line:?}: {error}"))
    }
}

impl Drop for Ci {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(jobs: &Jobs, per_minute: u32) -> RunningAgent {
    let config = CONFIG.replace("{cgroup}", &jobs.path.display().to_string());
    RunningAgent::start(&config.replace("{per-minute}", &per_minute.to_string()))
}

fn proc(pid: u64, file: &str) -> String {
    std::fs::read(format!("/proc/{pid}/{file}"))
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Looks at a job that runs.
fn check_job(jobs: &Jobs, pid: u64) -> PathBuf {
    let status = proc(pid, "status");
    for (name, value) in [
        ("Uid", format!("{JOB} {JOB} {JOB} {JOB}")),
        ("Gid", format!("{JOB} {JOB} {JOB} {JOB}")),
        ("Groups", String::new()),
        ("NoNewPrivs", "1".into()),
        ("Seccomp", "2".into()),
        ("CapEff", "0000000000000000".into()),
        ("CapBnd", "0000000000000000".into()),
    ] {
        assert_eq!(field(&status, name), value, "{name} in\n{status}");
    }
    let cgroup = proc(pid, "cgroup");
    let own = cgroup.lines().find_map(|line| line.strip_prefix("0::")).expect("one of version 2");
    let below = own.strip_prefix(&jobs.name).expect("below that of the mandate");
    assert!(below.len() > 1, "one of its own: {own}");
    let limits = proc(pid, "limits");
    let limit = |name: &str| {
        let line = limits.lines().find(|line| line.starts_with(name)).expect(name);
        line[26..].split_whitespace().take(2).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(limit("Max open files"), ["200", "200"]);
    assert_eq!(limit("Max core file size"), ["0", "0"]);
    let environment: Vec<_> =
        proc(pid, "environ").split_terminator('\0').map(str::to_owned).collect();
    assert_eq!(environment, ["CI_JOB=7", "HOME=/nonexistent", "PATH=/usr/bin:/bin"]);
    jobs.path.join(below.trim_start_matches('/'))
}

fn members(cgroup: &Path) -> Vec<u64> {
    let text = std::fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn pid_of(started: &Value) -> u64 {
    started["pid"].as_u64().unwrap_or_else(|| panic!("it did not start: {started}"))
}

macro_rules! jobs {
    () => {
        match Jobs::make() {
            Some(jobs) => jobs,
            None => skip!("no cgroup can be made here"),
        }
    };
}

#[test]
fn a_job_runs_as_its_own_user_in_its_own_cgroup_and_all_of_it_ends() {
    require_root!();
    let jobs = jobs!();
    let agent = start(&jobs, 1000);
    let mut ci = Ci::start(&agent);
    let pid = pid_of(&ci.ask("family"));
    let cgroup = check_job(&jobs, pid);
    assert!(wait_for(PATIENCE, || members(&cgroup).len() == 3), "{:?}", members(&cgroup));
    let family = members(&cgroup);

    // Not by itself, but through the agent, with the signals that the mandate lists.
    assert_eq!(ci.ask("kill")["direct"], libc::EPERM);
    assert_eq!(ci.ask("signal 1")["said"], "refused: signals");
    assert!(Path::new(&format!("/proc/{pid}")).exists());
    assert_eq!(ci.ask("signal 15")["said"], "done");
    assert_eq!(ci.ask("wait")["status"], 15);
    // Everybody in its cgroup has gone with it, those too that are in sessions of their own.
    let gone = wait_for(PATIENCE, || !cgroup.exists());
    assert!(gone, "{:?} of {family:?}", members(&cgroup));
    for pid in family {
        let status = proc(pid, "status");
        // Whoever inherits an orphan may take its time to reap it.
        let is_dead = field(&status, "State").starts_with('Z');
        assert!(is_dead || !field(&status, "Uid").starts_with(&JOB.to_string()), "{status}");
    }
}

#[test]
fn its_jobs_end_with_it() {
    require_root!();
    let jobs = jobs!();
    let agent = start(&jobs, 1000);
    let mut ci = Ci::start(&agent);
    let pid = pid_of(&ci.ask("family"));
    let cgroup = check_job(&jobs, pid);
    assert!(wait_for(PATIENCE, || members(&cgroup).len() == 3), "{:?}", members(&cgroup));
    drop(ci);
    assert!(wait_for(PATIENCE, || !cgroup.exists()), "{:?}", members(&cgroup));
}

#[test]
fn numbers_hold_however_often_it_connects() {
    require_root!();
    let jobs = jobs!();
    let agent = start(&jobs, 4);
    let mut ci = Ci::start(&agent);
    pid_of(&ci.ask("sleep"));
    pid_of(&ci.ask("sleep"));
    let too_many = "refused: numbers-per-uid.children";
    assert_eq!(ci.ask("sleep")["said"], too_many);
    // Another connection, another process, a narrower connection: it is the same user.
    assert_eq!(ci.ask("sleep anew")["said"], too_many);
    assert_eq!(ci.ask("sleep narrowed")["said"], too_many);
    let mut another = Ci::start(&agent);
    assert_eq!(another.ask("sleep")["said"], too_many);
    drop(ci);
    // Its children have gone, so there is room again; the minute is not over.
    assert!(wait_for(PATIENCE, || jobs.cgroups().is_empty()));
    pid_of(&another.ask("sleep"));
    pid_of(&another.ask("sleep"));
    drop(another);
    assert!(wait_for(PATIENCE, || jobs.cgroups().is_empty()));
    let mut third = Ci::start(&agent);
    assert_eq!(third.ask("sleep")["said"], "refused: numbers.per-minute");
    assert_eq!(third.ask("sleep anew")["said"], "refused: numbers.per-minute");
    assert_eq!(third.ask("sleep narrowed")["said"], "refused: numbers.per-minute");
}

/// The command, if it was built beside the tests.
fn command() -> Option<PathBuf> {
    let path = embryo_tests::probe_path().with_file_name("embryo");
    path.is_file().then_some(path)
}

#[test]
fn the_operator_sees_a_job_and_can_end_it() {
    require_root!();
    let jobs = jobs!();
    let agent = start(&jobs, 1000);
    let mut ci = Ci::start(&agent);
    let pid = pid_of(&ci.ask("family"));
    let cgroup = check_job(&jobs, pid);
    // The user is no operator, wherever it asks.
    assert_eq!(ci.ask("list")["said"], "refused: operator");

    let operator = Agent::connect(agent.dir().join("operator")).expect("root may connect");
    let listing = operator.list().expect("it may look");
    let listing: Listing = serde_json::from_str(&listing).expect("a listing");
    let [job] = &listing.children[..] else { panic!("{listing:?}") };
    assert_eq!(u64::from(job.pid), pid);
    assert_eq!((job.client_uid, job.uid, job.gid), (CI, Some(JOB), Some(JOB)));
    assert_eq!((job.mandate.as_str(), job.lifetime.as_str()), ("ci", "connection"));
    assert!(job.cgroup.as_ref().is_some_and(|path| Path::new(path) == cgroup), "{job:?}");
    operator.kill_child(job.child).expect("it may kill");
    assert_eq!(ci.ask("wait")["status"], 9);
    assert!(wait_for(PATIENCE, || !cgroup.exists()), "{:?}", members(&cgroup));
}

#[test]
fn the_operators_command_sees_a_job_and_can_end_it() {
    require_root!();
    let Some(command) = command() else { skip!("the command `embryo` was not built") };
    let jobs = jobs!();
    let agent = start(&jobs, 1000);
    let mut ci = Ci::start(&agent);
    let pid = pid_of(&ci.ask("family"));
    let socket = agent.dir().join("operator");
    let embryo = |args: &[&str]| {
        let output = Command::new(&command).args(args).arg("--socket").arg(&socket).output();
        let output = output.expect("it starts");
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let shown: Value = serde_json::from_str(&embryo(&["agent", "ps", "--json"])).expect("JSON");
    let job = &shown["children"][0];
    assert_eq!(
        (job["pid"].as_u64(), job["uid"].as_u64()),
        (Some(pid), Some(JOB.into())),
        "{shown:#}"
    );
    let number = job["child"].as_u64().expect("a number").to_string();
    embryo(&["agent", "kill", &number]);
    let status = ci.ask("wait")["status"].as_i64();
    assert!(matches!(status, Some(9 | 15)), "{status:?}");
}
