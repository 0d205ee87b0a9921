//! A worker that has lost fork, exec, ptrace and open, and still launches exactly one compiler.

use embryo::agent::Agent;
use embryo::{Command, FilterFlags, Landlock, LandlockRights, Policy, Stdio};
use embryo_tests::agent::RunningAgent;
use embryo_tests::{NOBODY, is_root, skip};
use serde_json::Value;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const SOURCE: &str = "int answer_of_the_worker(void) { return 42; }\n";
const EPERM: i64 = 1;

/// What the worker may ask for. `{worker}` is the device and inode of its own program, for its helper alone.
const CONFIG: &str = r#"
[[listen]]
path = "{socket}"
mandate = "compiler"

[mandates.compiler]
description = "one compiler, from a stream to a stream"
peers = [{ uids = [{uid}] }]
images = [
    { path = "{compiler}", args = { first = ["-pipe", "-x", "c", "-c", "-", "-o", "/dev/stdout"] } },
    { inode = "{worker}", args = { first = ["helper", "{compiler}"] } },
]
ops = ["put-fd"]
environment = ["EMBRYO_AGENT"]
lifetime = "connection"
narrower = 1
{bounds}

[mandates.compiler.forced]
{identity}
no-new-privs = true
seccomp = "default"
directory = "/"
umask = 0o077
environment = { PATH = "/usr/bin:/bin" }
limits = { core = 0, cpu = 60, fsize = 16777216 }

[mandates.compiler.forced.landlock]
files = [
    { path = "/usr", rights = ["execute", "read-file", "read-dir"] },
    { path = "/etc/ld.so.cache", rights = ["read-file"] },
    { path = "{program}", rights = ["execute", "read-file"] },
{libraries}]
bind = []
connect = []

[mandates.compiler.numbers]
children = 4
seconds = 60
"#;

/// The compiler itself, whatever links lead to it.
fn compiler() -> Option<PathBuf> {
    std::fs::canonicalize("/usr/bin/cc").ok().filter(|path| path.starts_with("/usr/bin"))
}

fn worker_path() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_embryo-worker"))
}

fn config(compiler: &Path) -> String {
    let program = std::fs::metadata(worker_path()).expect("it was built");
    let (major, minor) = (rustix::fs::major(program.dev()), rustix::fs::minor(program.dev()));
    let inode = format!("{major}:{minor}:{}", program.ino());
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    let (identity, bounds) = match is_root() {
        true => ("uid = 65534\ngid = 65534\ngroups = []", String::new()),
        // Its children are what it is itself.
        false => ("", format!("bounds = {{ uids = [{uid}], gids = [{gid}] }}")),
    };
    let libraries = ["/lib", "/lib64"].into_iter().filter_map(|path| {
        // A link that leads below /usr is covered.
        let path = std::fs::canonicalize(path).ok().filter(|path| !path.starts_with("/usr"))?;
        Some(format!(
            "    {{ path = {path:?}, rights = [\"execute\", \"read-file\", \"read-dir\"] }},\n"
        ))
    });
    CONFIG
        .replace("{compiler}", &compiler.display().to_string())
        .replace("{worker}", &inode)
        .replace("{program}", &worker_path().display().to_string())
        .replace("{uid}", &uid.to_string())
        .replace("{identity}", identity)
        .replace("{bounds}", &bounds)
        .replace("{libraries}", &libraries.collect::<String>())
}

/// A file that has no name.
fn unnamed(contents: &str) -> File {
    let mut file: File = rustix::fs::memfd_create(c"unnamed", rustix::fs::MemfdFlags::CLOEXEC)
        .expect("memory")
        .into();
    file.write_all(contents.as_bytes()).expect("memory");
    file.seek(SeekFrom::Start(0)).expect("a file");
    file
}

/// What the worker may do until it has closed itself in: read its program and its libraries.
fn start_policy() -> (Policy, Landlock) {
    let text = include_str!("../../dist/worker-start-seccomp.toml");
    let policy = toml::from_str(text).expect("it is a policy");
    let mut landlock = Landlock::new();
    let readable = LandlockRights::READ | LandlockRights::EXECUTE;
    landlock.path(worker_path(), readable);
    for path in ["/usr", "/lib", "/lib64", "/etc/ld.so.cache"] {
        if Path::new(path).exists() {
            landlock.path(path, readable);
        }
    }
    landlock.bind([]).connect([]);
    (policy, landlock)
}

/// Runs the worker, and returns what it said and what its compiler made.
fn run_worker(agent: &RunningAgent, compiler: &Path) -> (Value, Vec<u8>) {
    let (policy, landlock) = start_policy();
    let filter = policy.compile(embryo::Architecture::HERE).expect("it compiles");
    let mut object = unnamed("");
    let connection = Agent::connect(agent.socket()).expect("it may connect");
    let mut command = Command::new(worker_path());
    command.args(["worker".as_ref(), compiler]).env_clear();
    command.stdin(unnamed(SOURCE)).stdout(Stdio::piped()).stderr(Stdio::inherit());
    command.fd(6, object.try_clone().expect("a descriptor"));
    command.fd(7, File::open(worker_path()).expect("it was built"));
    command.grant_agent(5, connection).expect("nobody else has it");
    if is_root() {
        command.uid(NOBODY).gid(NOBODY).groups(&[]);
    }
    command.no_new_privs(true).landlock(&landlock);
    command.seccomp(FilterFlags::empty(), &filter.program);
    let output = command.spawn().expect("it starts").wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}\n{}", agent.log());
    let mut made = Vec::new();
    object.seek(SeekFrom::Start(0)).expect("a file");
    object.read_to_end(&mut made).expect("a file");
    (serde_json::from_slice(&output.stdout).expect("JSON"), made)
}

#[test]
fn a_worker_that_can_start_nothing_launches_exactly_one_compiler() {
    let Some(compiler) = compiler() else { skip!("there is no /usr/bin/cc") };
    if Landlock::kernel_abi().is_none_or(|abi| abi < Landlock::ABI) {
        skip!("this kernel has not enough of Landlock");
    }
    let agent = RunningAgent::start(&config(&compiler));
    let (said, object) = run_worker(&agent, &compiler);
    eprintln!("{said:#}");

    // Seen by itself: it can start nothing and open nothing, before and after.
    for when in ["attempts", "after"] {
        let attempts = said[when].as_object().expect("attempts");
        assert!(attempts.len() >= 15, "{attempts:?}");
        for (call, errno) in attempts {
            assert_eq!(errno, EPERM, "{call}");
        }
    }
    // And it compiles.
    assert_eq!(said["compiled"], "exit status: 0");
    assert_eq!(said["compiled again"], "exit status: 0");
    assert!(object.starts_with(b"\x7fELF"), "{} bytes", object.len());
    let name = b"answer_of_the_worker";
    assert!(object.windows(name.len()).any(|part| part == name), "the function is not in it");

    // Nothing else, and the answer says which rule it is.
    let rules = [
        ("one more argument", "images.args.rest"),
        ("another argument", "images.args.first"),
        ("environment", "environment"),
        ("search path", "environment"),
        ("another program", "images"),
        ("another program, by dots", "images"),
        ("another program, by handle", "images"),
        ("directory", "ops"),
        ("uid", "ops"),
        ("root", "ops"),
        ("operator", "operator"),
    ];
    for (what, rule) in rules {
        assert_eq!(said["refused"][what], format!("refused: {rule}"), "{what}");
    }
    assert_eq!(said["refused"].as_object().map(serde_json::Map::len), Some(rules.len()));
}

#[test]
fn what_it_hands_on_is_narrower() {
    let Some(compiler) = compiler() else { skip!("there is no /usr/bin/cc") };
    if Landlock::kernel_abi().is_none_or(|abi| abi < Landlock::ABI) {
        skip!("this kernel has not enough of Landlock");
    }
    let agent = RunningAgent::start(&config(&compiler));
    let (said, _) = run_worker(&agent, &compiler);
    let helper = &said["helper"];
    assert_eq!(helper["status"], "exit status: 0", "{helper:#}");
    assert_eq!(helper["said"]["mandates"], 2);
    // What the worker may, but has not passed on.
    assert_eq!(helper["said"]["by handle"], "refused: images");
    assert_eq!(helper["said"]["another program"], "refused: images");
    assert_eq!(helper["said"]["compiled"], "exit status: 0");
    assert_eq!(helper["said"]["compiled again"], "refused: numbers.total");
    // Nobody gets more by asking for more.
    assert_eq!(helper["a wider one"], "refused: images");
}

/// Both filters hold, so whatever the second lets through the first has to.
#[test]
fn what_is_left_in_the_end_is_there_from_the_start() {
    let policy = |text| toml::from_str::<Policy>(text).expect("it is a policy");
    let start = policy(include_str!("../../dist/worker-start-seccomp.toml"));
    let closed = policy(include_str!("../../dist/worker-seccomp.toml"));
    let lets_through = |call: &String| {
        start.rules.iter().any(|rule| rule.calls.contains(call) && rule.when.is_empty())
    };
    for call in closed.rules.iter().flat_map(|rule| &rule.calls) {
        assert!(lets_through(call), "{call}");
    }
    let never = ["clone", "clone3", "fork", "vfork", "ptrace", "socket", "connect", "kill"];
    for call in never.map(str::to_owned) {
        assert!(!lets_through(&call), "{call}");
    }
}
