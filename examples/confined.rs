//! A worker that can start nothing and open nothing, and compiles all the same: an agent does it, within a mandate.
//!
//! `cargo run -p embryo-examples --example confined`
//!
//! The program is all three: it starts itself as the agent, and then, closed in, as the worker.

use embryo::agent::Agent;
use embryo::{Architecture, Command, Error, Landlock, LandlockRights, Policy, Stdio};
use embryo_agent::{config::Config, listen::Sockets, log::Ring, serve::Server};
use embryo_syscall as sys;
use rustix::fs::MemfdFlags;
use std::error::Error as StdError;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};

type Outcome<T = ()> = Result<T, Box<dyn StdError>>;

/// What it may call until it has closed itself in, and afterwards.
const START: &str = include_str!("../dist/worker-start-seccomp.toml");
const CLOSED: &str = include_str!("../dist/worker-seccomp.toml");
const ARGS: [&str; 7] = ["-pipe", "-x", "c", "-c", "-", "-o", "/dev/stdout"];

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [_, "agent", file] => agent(Path::new(file)),
        [_, "worker", compiler] => worker(compiler),
        _ => together(),
    }
}

/// Starts the agent, and the worker with a connection to it.
fn together() -> Outcome {
    let Ok(compiler) = fs::canonicalize("/usr/bin/cc") else {
        println!("SKIPPED: there is no /usr/bin/cc");
        return Ok(());
    };
    if Landlock::kernel_abi().is_none_or(|abi| abi < Landlock::ABI) {
        println!("SKIPPED: this kernel has not enough of Landlock");
        return Ok(());
    }
    let itself = std::env::current_exe()?;
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("socket");
    let file = directory.path().join("agent.toml");
    fs::write(&file, mandate(&socket, &compiler))?;
    let mut agent = Command::new(&itself);
    let mut agent = agent.arg("agent").arg(&file).stdin(Stdio::null()).spawn()?;

    let connection = connect(&socket)?;
    let mut object: File = rustix::fs::memfd_create(c"object", MemfdFlags::CLOEXEC)?.into();
    let mut source: File = rustix::fs::memfd_create(c"source", MemfdFlags::CLOEXEC)?.into();
    source.write_all(b"int answer(void) { return 42; }\n")?;
    source.rewind()?;

    let readable = LandlockRights::READ | LandlockRights::EXECUTE;
    let mut landlock = Landlock::new();
    landlock.path(&itself, readable).bind([]).connect([]);
    for path in ["/usr", "/lib", "/lib64", "/etc/ld.so.cache"] {
        if Path::new(path).exists() {
            landlock.path(path, readable);
        }
    }
    let mut worker = Command::new(&itself);
    worker.arg("worker").arg(compiler).env_clear().stdin(source).stdout(object.try_clone()?);
    worker.grant_agent(5, connection)?.landlock(&landlock);
    let status = worker.seccomp_policy(&toml::from_str::<Policy>(START)?)?.status()?;
    println!("the worker: {status}");
    let mut made = Vec::new();
    object.rewind()?;
    object.read_to_end(&mut made)?;
    println!("the object: {} bytes, {:?}", made.len(), String::from_utf8_lossy(&made[..4]));

    agent.signal(15)?;
    println!("the agent: {}", agent.wait()?);
    assert!(status.success() && made.starts_with(b"\x7fELF"));
    Ok(())
}

/// One compiler, with these arguments, for the user that runs this.
fn mandate(socket: &Path, compiler: &Path) -> String {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let root = uid == 0;
    let identity = if root { "uid = 65534\ngid = 65534\ngroups = []" } else { "" };
    format!(
        r#"
[[listen]]
path = {socket:?}
mandate = "compiler"

[mandates.compiler]
peers = [{{ uids = [{uid}] }}]
images = [{{ path = {compiler:?}, args = {{ first = {ARGS:?} }} }}]
ops = ["put-fd"]
bounds = {{ uids = [{uid}, 65534], gids = [{gid}, 65534] }}

[mandates.compiler.forced]
{identity}
no-new-privs = true
seccomp = "default"
directory = "/"
environment = {{ PATH = "/usr/bin:/bin" }}
limits = {{ core = 0, cpu = 60, fsize = 16777216 }}

[mandates.compiler.numbers]
children = 4
seconds = 60
"#
    )
}

fn agent(file: &Path) -> Outcome {
    let mut sockets = Sockets::passed()?;
    let config = Config::load(file)?.config;
    let listeners = sockets.open(&config)?;
    let mut server = Server::new(&config, listeners, Ring::new(100))?;
    server.run(None)?;
    sockets.remove();
    server.stop(Duration::from_secs(5));
    Ok(())
}

/// Connects as soon as the agent listens.
fn connect(socket: &Path) -> Outcome<Agent> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Agent::connect(socket) {
            Err(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(10)),
            other => return Ok(other?),
        }
    }
}

/// Its standard input is the source, and its standard output the object.
fn worker(compiler: &str) -> Outcome {
    let agent = Agent::from_env()?;
    close_in()?;
    // From here on this process can start nothing and open nothing.
    eprintln!("open: {}", File::open("/etc/passwd").err().ok_or("it could be opened")?);
    let own = std::process::Command::new(compiler).spawn();
    eprintln!("fork: {}", own.err().ok_or("it could be started")?);

    let mut cc = Command::new(compiler);
    let status = cc.args(ARGS).agent(&agent).status()?;
    eprintln!("through the agent: {status}");

    let (mut plugin, mut library) = (cc.clone(), cc.clone());
    plugin.arg("-fplugin=/tmp/plugin.so");
    library.env("LD_PRELOAD", "/tmp/library.so");
    let mut other = Command::new("/usr/bin/id");
    other.agent(&agent);
    for mut command in [other, plugin, library] {
        match command.status() {
            Err(Error::Refused { rule, why }) => eprintln!("refused by {rule}: {why}"),
            other => return Err(format!("it is {other:?}").into()),
        }
    }
    Ok(())
}

/// Takes away every right to files and ports, and all system calls that a worker does not need.
fn close_in() -> Outcome {
    let mut landlock = Landlock::new();
    landlock.files = Some(Vec::new());
    landlock.bind([]).connect([]);
    let ruleset = landlock.ruleset()?.ok_or("there is no Landlock")?;
    let error = |errno: sys::Errno| std::io::Error::from_raw_os_error(errno.number().into());
    sys::landlock_restrict_self(ruleset.fd.as_raw_fd(), 0).map_err(error)?;
    let filter = toml::from_str::<Policy>(CLOSED)?.compile(Architecture::HERE)?;
    sys::seccomp_filter(0, &filter.program).map_err(error)?;
    Ok(())
}
