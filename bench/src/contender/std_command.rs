//! std::process::Command, which calls posix_spawn where it can.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use super::{Contender, Running};
use crate::child::ChildSpec;
use crate::stdio::WriteEnds;

/// One Command, spawned again and again.
#[derive(Debug)]
pub(crate) struct StdCommand(Command);

impl StdCommand {
    pub(crate) fn new(spec: &ChildSpec) -> Self {
        let mut command = Command::new(OsStr::from_bytes(spec.path.to_bytes()));
        if let Some((name, args)) = spec.argv.split_first() {
            command.arg0(OsStr::from_bytes(name.to_bytes()));
            command.args(args.iter().map(|arg| OsStr::from_bytes(arg.to_bytes())));
        }
        command.env_clear();
        for variable in &spec.envp {
            let mut halves = variable.to_bytes().splitn(2, |byte| *byte == b'=');
            if let (Some(name), Some(value)) = (halves.next(), halves.next()) {
                command.env(OsStr::from_bytes(name), OsStr::from_bytes(value));
            }
        }
        Self(command)
    }
}

impl Contender for StdCommand {
    fn arm(&mut self, pipes: Option<WriteEnds>) -> io::Result<()> {
        match pipes {
            Some(WriteEnds { out, err }) => self.0.stdout(out).stderr(err),
            None => self.0.stdout(Stdio::inherit()).stderr(Stdio::inherit()),
        };
        Ok(())
    }

    fn launch(&mut self) -> io::Result<Running> {
        self.0.spawn().map(Running::Std)
    }
}
