//! vfork and exec: borrow the parent's memory until the child is something else.

use std::ffi::c_void;
use std::io;

use rustix::process::Pid;

use super::exec::Exec;
use super::{Contender, Running};
use crate::child::ChildSpec;
use crate::mapping::Mapping;
use crate::stdio::WriteEnds;

/// The child needs a few hundred bytes.
const STACK_SIZE: usize = 64 * 1024;

/// clone(2) with CLONE_VM and CLONE_VFORK, then [`Exec::run`] in the child.
///
/// This is what vfork(2) is, but for the stack: vfork's child runs on its caller's and returns
/// twice from one call, which no Rust function may. The child here has its own, mapped once.
/// Nothing else is done that a careful library would do: signals are not blocked around the call,
/// so it is the least that sharing memory costs.
#[derive(Debug)]
pub(crate) struct Vfork {
    exec: Exec,
    stack: Mapping,
    flags: libc::c_int,
}

impl Vfork {
    pub(crate) fn new(spec: &ChildSpec) -> io::Result<Self> {
        Self::with_flags(spec, 0)
    }

    /// The same with further flags of clone(2).
    pub(crate) fn with_flags(spec: &ChildSpec, flags: libc::c_int) -> io::Result<Self> {
        let stack = Mapping::new(STACK_SIZE)?;
        stack.dirty();
        Ok(Self { exec: Exec::new(spec), stack, flags })
    }
}

impl Contender for Vfork {
    fn arm(&mut self, pipes: Option<WriteEnds>) -> io::Result<()> {
        self.exec.set_pipes(pipes);
        Ok(())
    }

    fn launch(&mut self) -> io::Result<Running> {
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD | self.flags;
        let exec: *const Exec = &self.exec;
        // SAFETY: the stack belongs to this contender and nothing else runs on it, since CLONE_VFORK
        // suspends this thread until the child has left it. `child` never returns, and what it
        // is given outlives the call.
        let pid = unsafe { libc::clone(child, self.stack.top(), flags, exec.cast_mut().cast()) };
        let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 0) else {
            return Err(io::Error::last_os_error());
        };
        if let Some(errno) = self.exec.take_failure() {
            Running::Pid(pid).wait()?;
            return Err(io::Error::from_raw_os_error(errno));
        }
        Ok(Running::Pid(pid))
    }
}

extern "C" fn child(exec: *mut c_void) -> libc::c_int {
    let exec: *const Exec = exec.cast_const().cast();
    // SAFETY: `launch` passed a live Exec, and is suspended until this child has left.
    let exec = unsafe { &*exec };
    // SAFETY: this is a vfork's child: it has one thread, and the one it came from is suspended.
    unsafe { exec.run() }
}
