//! fork and exec: copy the parent, then ask the copy to become something else.

use std::io;

use rustix::process::Pid;

use super::exec::Exec;
use super::{Contender, Running};
use crate::child::ChildSpec;
use crate::stdio::WriteEnds;

/// libc's fork(2), then [`Exec::run`] in the child.
///
/// The caller goes on as soon as the copy is made: it does not hear whether execve succeeded, and
/// a program that wants to know must wait on a pipe. So its blocked time is the least that a
/// fork costs.
#[derive(Debug)]
pub(crate) struct Fork(Exec);

impl Fork {
    pub(crate) fn new(spec: &ChildSpec) -> Self {
        Self(Exec::new(spec))
    }
}

impl Contender for Fork {
    fn arm(&mut self, pipes: Option<WriteEnds>) -> io::Result<()> {
        self.0.set_pipes(pipes);
        Ok(())
    }

    fn launch(&mut self) -> io::Result<Running> {
        // SAFETY: the child calls nothing but async-signal-safe functions until it is gone.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: this is a fork's child, which has this one thread.
            unsafe { self.0.run() }
        }
        Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .map(Running::Pid)
            .ok_or_else(io::Error::last_os_error)
    }
}
