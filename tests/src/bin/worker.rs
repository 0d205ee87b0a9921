//! A worker that can start nothing itself, and what it gives a connection to: for the story of a confined worker.
//!
//! It must never do before it has closed itself in what it is to show afterwards.
//!
//! ```text
//! embryo-worker worker COMPILER   close itself in, try what it may not, compile, ask for more than it may
//! embryo-worker helper COMPILER   use a connection that was handed down, as far as it goes
//! ```
//! The connection is what `EMBRYO_AGENT` names. Standard input is a source of C, descriptor 6 takes the object, and a
//! worker has its own program, to be executed by the helper, as descriptor 7. Standard output gets JSON.

use embryo::agent::Agent;
use embryo::agent::mandate::{Args, ImageRule, Mandate, Numbers};
use embryo::{Command, Error, Landlock, Policy, Stdio};
use embryo_syscall as sys;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error as StdError;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// What a compiler is called with: the source comes from standard input, the object goes to standard output.
const ARGS: [&str; 7] = ["-pipe", "-x", "c", "-c", "-", "-o", "/dev/stdout"];

fn main() -> Result<(), Box<dyn StdError>> {
    let mut args = std::env::args().skip(1);
    let role = args.next().ok_or("which role?")?;
    let compiler = PathBuf::from(args.next().ok_or("which compiler?")?);
    let agent = Agent::from_env()?;
    let report = match role.as_str() {
        "worker" => {
            let (object, program) = (granted(6), granted(7));
            close_in()?;
            worker(&agent, &compiler, &object, &program)
        }
        _ => helper(&agent, &compiler, &granted(6)),
    };
    println!("{report}");
    Ok(())
}

/// A descriptor that was granted under this number.
fn granted(number: i32) -> OwnedFd {
    // SAFETY: whoever started this program granted the number to it, and nothing else here owns it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// Takes every right to files and ports away from this process, and all system calls that a worker does not need.
fn close_in() -> Result<(), Box<dyn StdError>> {
    let mut landlock = Landlock::new();
    landlock.files = Some(Vec::new());
    landlock.bind([]).connect([]);
    let ruleset = landlock.ruleset()?.ok_or("there is no Landlock")?;
    let errno = |errno: sys::Errno| std::io::Error::from_raw_os_error(errno.number().into());
    sys::landlock_restrict_self(ruleset.fd.as_raw_fd(), 0).map_err(errno)?;
    drop(ruleset);
    let policy: Policy = toml::from_str(include_str!("../../../dist/worker-seccomp.toml"))?;
    let filter = policy.compile(embryo::Architecture::HERE)?;
    sys::seccomp_filter(0, &filter.program).map_err(errno)?;
    Ok(())
}

fn worker(agent: &Agent, compiler: &Path, object: &OwnedFd, program: &OwnedFd) -> Value {
    let compile = || compile(agent, compiler, object);
    let mut first = compile();
    let mut with_more = compile();
    with_more.arg("-fplugin=/tmp/plugin.so");
    let mut other_args = Command::new(compiler);
    other_args.args(["-pipe", "-x", "c", "-c", "-", "-o", "/tmp/object"]).agent(agent);
    let mut environment = compile();
    environment.env("LD_PRELOAD", "/tmp/library.so");
    let mut path = compile();
    path.env("PATH", "/tmp");
    let mut other_program = Command::new("/usr/bin/id");
    other_program.agent(agent);
    let mut no_such = Command::new("/usr/bin/../bin/id");
    no_such.agent(agent);
    let mut by_handle = Command::from_fd(copy(object), "object");
    by_handle.agent(agent);
    let mut directory = compile();
    directory.current_dir("/tmp");
    let mut uid = compile();
    uid.uid(0);
    let mut root = compile();
    root.chroot("/");
    json!({
        "attempts": attempts(compiler),
        "compiled": outcome(&mut first),
        "refused": {
            "one more argument": outcome(&mut with_more),
            "another argument": outcome(&mut other_args),
            "environment": outcome(&mut environment),
            "search path": outcome(&mut path),
            "another program": outcome(&mut other_program),
            "another program, by dots": outcome(&mut no_such),
            "another program, by handle": outcome(&mut by_handle),
            "directory": outcome(&mut directory),
            "uid": outcome(&mut uid),
            "root": outcome(&mut root),
            "operator": text(agent.list().map(|_| ())),
        },
        "compiled again": outcome(&mut compile()),
        "helper": helped(agent, compiler, object, program),
        "after": attempts(compiler),
    })
}

fn compile(agent: &Agent, compiler: &Path, object: &OwnedFd) -> Command {
    // Each reads it from the beginning.
    rustix::fs::seek(rustix::stdio::stdin(), rustix::fs::SeekFrom::Start(0)).expect("it is a file");
    let mut command = Command::new(compiler);
    command.args(ARGS).agent(agent).stdout(copy(object));
    command
}

/// Another handle of the same file.
fn copy(fd: &OwnedFd) -> OwnedFd {
    fd.try_clone().expect("fcntl(2) is allowed for this")
}

/// Starts the helper with a narrower connection, and says what became of it.
fn helped(agent: &Agent, compiler: &Path, object: &OwnedFd, program: &OwnedFd) -> Value {
    let narrower = Mandate {
        images: Some(vec![ImageRule {
            path: Some(compiler.to_path_buf()),
            args: Some(Args {
                first: ARGS.iter().map(|arg| (*arg).to_owned()).collect(),
                ..Args::default()
            }),
            ..ImageRule::default()
        }]),
        numbers: Numbers { total: Some(1), ..Numbers::default() },
        ..Mandate::default()
    };
    let wider = Mandate {
        images: Some(vec![ImageRule { under: Some("/".into()), ..ImageRule::default() }]),
        ..Mandate::default()
    };
    let run = || -> Result<Value, Error> {
        let connection = agent.narrow(&narrower)?;
        let mut helper = Command::from_fd(copy(program), "embryo-worker");
        helper.args(["helper"]).arg(compiler).agent(agent);
        helper.fd(6, copy(object)).stdout(Stdio::piped());
        helper.grant_agent(5, connection)?;
        let output = helper.spawn()?.wait_with_output()?;
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok(json!({ "status": output.status.to_string(), "said": said }))
    };
    let not_wider = || -> Result<(), Error> {
        let connection = agent.narrow(&wider)?;
        Command::new("/usr/bin/id").agent(&connection).spawn()?.wait()?;
        Ok(())
    };
    let mut answer = run().unwrap_or_else(|error| json!({ "error": error.to_string() }));
    answer["a wider one"] = text(not_wider());
    answer
}

fn helper(agent: &Agent, compiler: &Path, object: &OwnedFd) -> Value {
    let mut itself = Command::from_fd(copy(object), "object");
    itself.agent(agent);
    let mandates = agent.mandate().map_or(0, |mandates| mandates.len());
    json!({
        "mandates": mandates,
        "by handle": outcome(&mut itself),
        "another program": outcome(Command::new("/usr/bin/id").agent(agent)),
        "compiled": outcome(&mut compile(agent, compiler, object)),
        "compiled again": outcome(&mut compile(agent, compiler, object)),
    })
}

/// How a command ended, or what it was refused by.
fn outcome(command: &mut Command) -> Value {
    match command.status() {
        Ok(status) => json!(status.to_string()),
        Err(error) => text(Err(error)),
    }
}

/// The rule of a refusal; any other error as it is.
fn text(result: Result<(), Error>) -> Value {
    match result {
        Ok(()) => json!("done"),
        Err(Error::Refused { rule, .. }) => json!(format!("refused: {rule}")),
        Err(error) => json!(format!("error: {error}")),
    }
}

/// What happens when it tries itself: the errno of each call, 0 if it was done.
fn attempts(compiler: &Path) -> BTreeMap<&'static str, i32> {
    let compiler = format!("{}\0", compiler.display());
    let path = compiler.as_ptr() as i64;
    let argv = [path, 0];
    let args = argv.as_ptr() as i64;
    let clone_args = [0u64; 11];
    let open_how = [0u64; 3];
    let cwd = i64::from(libc::AT_FDCWD);
    let mut calls: Vec<(&'static str, i64, [i64; 6])> = vec![
        ("clone", libc::SYS_clone, [i64::from(libc::SIGCHLD), 0, 0, 0, 0, 0]),
        ("clone3", libc::SYS_clone3, [clone_args.as_ptr() as i64, 88, 0, 0, 0, 0]),
        ("execve", libc::SYS_execve, [path, args, 0, 0, 0, 0]),
        ("execveat", libc::SYS_execveat, [cwd, path, args, 0, 0, 0]),
        ("execveat of a handle", libc::SYS_execveat, [0, c"".as_ptr() as i64, args, 0, 0x1000, 0]),
        ("ptrace", libc::SYS_ptrace, [0, 0, 0, 0, 0, 0]),
        ("openat", libc::SYS_openat, [cwd, path, 0, 0, 0, 0]),
        ("openat2", libc::SYS_openat2, [cwd, path, open_how.as_ptr() as i64, 24, 0, 0]),
        ("memfd_create", libc::SYS_memfd_create, [path, 0, 0, 0, 0, 0]),
        ("socket", libc::SYS_socket, [1, 1, 0, 0, 0, 0]),
        ("kill", libc::SYS_kill, [1, 0, 0, 0, 0, 0]),
        ("mmap of code", libc::SYS_mmap, [0, 4096, 5, 0x22, -1, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]),
        ("unshare", libc::SYS_unshare, [0x1000_0000, 0, 0, 0, 0, 0]),
        ("process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0, 0, 0, 0]),
        ("pidfd_open", libc::SYS_pidfd_open, [1, 0, 0, 0, 0, 0]),
    ];
    #[cfg(target_arch = "x86_64")]
    calls.extend([
        ("fork", libc::SYS_fork, [0; 6]),
        ("vfork", libc::SYS_vfork, [0; 6]),
        ("open", libc::SYS_open, [path, 0, 0, 0, 0, 0]),
    ]);
    calls.drain(..).map(|(name, number, args)| (name, attempt(number, args))).collect()
}

fn attempt(number: i64, [a, b, c, d, e, f]: [i64; 6]) -> i32 {
    let own = std::process::id();
    // SAFETY: every pointer among the arguments is to memory of the caller's that is read alone. A process or an
    // image that comes of it, which none should, does no more than this program.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if std::process::id() != own {
        // The child of a fork that should have failed.
        std::process::exit(99);
    }
    if result == -1 {
        return std::io::Error::last_os_error().raw_os_error().unwrap_or(-1);
    }
    0
}
