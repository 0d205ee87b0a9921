//! An agent that becomes the program that is installed now, and stays the same process.
//!
//! It must never begin what it cannot finish: once the embryos are gone there is no way back.

use crate::args::{AgentRunArgs, LogFormat, LogLevel};
use crate::failure::Failure;
use clap::ValueEnum;
use embryo_agent::listen::{SocketNumbers, Sockets};
use embryo_agent::log::Ring;
use embryo_agent::serve::{Server, State, Staying};
use embryo_job::Callers;
use rustix::fs::{Access, MemfdFlags};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// How long launches that are under way may take to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// How the agent was started, from before it changed anything of itself.
pub(super) struct Before {
    program: PathBuf,
    /// The agent's file; the working directory does not stay what it is.
    pub(super) file: PathBuf,
    log_format: LogFormat,
    log_level: LogLevel,
    open_files: Rlimit,
}

/// All that is needed to go on.
pub(super) struct Prepared {
    _staying: Staying,
    number: i32,
}

/// What the daemon knows beside the server.
#[derive(Serialize, Deserialize)]
pub(super) struct Extra {
    pub(super) sockets: SocketNumbers,
    pub(super) log: String,
    pub(super) next_entry: u64,
}

impl Before {
    pub(super) fn look(args: &AgentRunArgs) -> Result<Self, Failure> {
        let file = std::path::absolute(&args.config)
            .map_err(|error| Failure::io("cannot find", args.config.display(), &error))?;
        let program = std::env::current_exe()
            .map_err(|error| Failure::io("cannot find", "the program itself", &error))?;
        Ok(Self {
            program,
            file,
            log_format: args.log_format,
            log_level: args.log_level,
            open_files: getrlimit(Resource::Nofile),
        })
    }

    /// Whether there is a program to become.
    pub(super) fn is_there(&self) -> Result<(), Failure> {
        rustix::fs::access(&self.program, Access::EXEC_OK)
            .map_err(|errno| Failure::io("cannot execute", self.program.display(), &errno.into()))
    }

    /// Becomes it. It returns only if that fails.
    pub(super) fn execute(self, prepared: Prepared) -> Failure {
        // It was raised for this program, and its children are not to have it.
        let _ = setrlimit(Resource::Nofile, self.open_files);
        let mut command = Command::new(&self.program);
        command.args(["agent", "run", "--config"]).arg(&self.file);
        command.args(["--log-format", &word(self.log_format)]);
        command.args(["--log-level", &word(self.log_level)]);
        command.args(["--restored", &prepared.number.to_string()]);
        let error = command.exec();
        Failure::io("cannot execute", self.program.display(), &error)
    }
}

/// Puts down what the server and the daemon know.
pub(super) fn prepare(
    server: &mut Server,
    sockets: &Sockets,
    ring: &Ring,
) -> Result<Prepared, Failure> {
    let fail = |error: io::Error| Failure::io("cannot put down", "what the agent knows", &error);
    let mut staying = Staying::default();
    let mut state = server.save(&mut staying, PATIENCE).map_err(fail)?;
    let sockets = sockets.save(&mut staying).map_err(fail)?;
    let extra = Extra { sockets, log: ring.since(0, usize::MAX), next_entry: ring.next() };
    state.extra = serde_json::to_value(extra).map_err(|error| fail(error.into()))?;
    let text = serde_json::to_vec(&state).map_err(|error| fail(error.into()))?;
    let memory = rustix::fs::memfd_create("embryo-agent", MemfdFlags::CLOEXEC);
    let mut memory = File::from(memory.map_err(|errno| fail(errno.into()))?);
    memory.write_all(&text).and_then(|()| memory.rewind()).map_err(fail)?;
    let number = staying.keep(memory.as_fd()).map_err(fail)?;
    Ok(Prepared { _staying: staying, number })
}

/// Reads what the program before has put down.
pub(super) fn read(number: i32) -> Result<(State, Extra), Failure> {
    let fail =
        |error: io::Error| Failure::io("cannot read", "what the agent before has left", &error);
    let mut text = String::new();
    File::from(take(number).map_err(fail)?).read_to_string(&mut text).map_err(fail)?;
    let mut state: State = serde_json::from_str(&text).map_err(|error| fail(error.into()))?;
    let extra = serde_json::from_value(state.extra.take()).map_err(|error| fail(error.into()))?;
    Ok((state, extra))
}

/// The descriptor with this number, as a handle.
pub(super) fn take(number: i32) -> io::Result<OwnedFd> {
    let number_there = u32::try_from(number).map_err(|_| io::ErrorKind::InvalidInput)?;
    let fd = Callers::take([number_there]).and_then(|callers| callers.get(number_there));
    let fd = fd.map_err(|error| io::Error::other(error.to_string()))?;
    // The handle has a number of its own.
    let _ = embryo_syscall::close(number);
    Ok(fd)
}

fn word(value: impl ValueEnum) -> String {
    value.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}
