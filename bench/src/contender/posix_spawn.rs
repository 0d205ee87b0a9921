//! posix_spawn of the libc that the benchmark is linked with.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr;

use rustix::process::Pid;

use super::exec::Strings;
use super::{Contender, Running};
use crate::child::ChildSpec;
use crate::stdio::WriteEnds;

/// posix_spawn(3) with attributes made once and file actions made when the pipes are.
pub(crate) struct PosixSpawn {
    path: CString,
    argv: Strings,
    envp: Strings,
    attributes: Attributes,
    actions: Option<Actions>,
    /// What the file actions name.
    pipes: Option<WriteEnds>,
}

impl PosixSpawn {
    pub(crate) fn new(spec: &ChildSpec) -> io::Result<Self> {
        Ok(Self {
            path: spec.path.clone(),
            argv: Strings::new(&spec.argv),
            envp: Strings::new(&spec.envp),
            attributes: Attributes::new()?,
            actions: None,
            pipes: None,
        })
    }
}

impl Contender for PosixSpawn {
    fn arm(&mut self, pipes: Option<WriteEnds>) -> io::Result<()> {
        self.actions = pipes.as_ref().map(Actions::new).transpose()?;
        self.pipes = pipes;
        Ok(())
    }

    fn launch(&mut self) -> io::Result<Running> {
        let actions = self.actions.as_ref().map_or(ptr::null(), |actions| &raw const *actions.0);
        let mut pid = 0;
        // SAFETY: the path and both arrays end with a null, the attributes and the file actions
        // were initialised, and all of them live as long as `self`.
        let result = unsafe {
            libc::posix_spawn(
                &mut pid,
                self.path.as_ptr(),
                actions,
                &raw const *self.attributes.0,
                self.argv.as_mut_ptr(),
                self.envp.as_mut_ptr(),
            )
        };
        check(result)?;
        Pid::from_raw(pid).map(Running::Pid).ok_or_else(|| io::Error::other("no pid"))
    }
}

/// An empty signal mask, and SIGPIPE at its default: what std asks for, too.
struct Attributes(Box<libc::posix_spawnattr_t>);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = Box::new(MaybeUninit::uninit());
        // SAFETY: the function initialises what it is given.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: it was initialised by the call above, which succeeded.
        let mut attributes = Self(unsafe { attributes.assume_init() });

        let mut signals = MaybeUninit::uninit();
        // SAFETY: the function initialises what it is given.
        unsafe { libc::sigemptyset(signals.as_mut_ptr()) };
        // SAFETY: sigemptyset initialised it and cannot fail.
        let mut signals = unsafe { signals.assume_init() };
        // SAFETY: both are initialised.
        check(unsafe { libc::posix_spawnattr_setsigmask(&mut *attributes.0, &signals) })?;
        // SAFETY: the set is initialised, and SIGPIPE is a signal.
        unsafe { libc::sigaddset(&mut signals, libc::SIGPIPE) };
        // SAFETY: both are initialised.
        check(unsafe { libc::posix_spawnattr_setsigdefault(&mut *attributes.0, &signals) })?;
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        // SAFETY: the attributes are initialised.
        check(unsafe { libc::posix_spawnattr_setflags(&mut *attributes.0, flags as _) })?;
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: they were initialised and are used no more.
        unsafe { libc::posix_spawnattr_destroy(&mut *self.0) };
    }
}

/// stdout and stderr from two pipes.
struct Actions(Box<libc::posix_spawn_file_actions_t>);

impl Actions {
    fn new(pipes: &WriteEnds) -> io::Result<Self> {
        let mut actions = Box::new(MaybeUninit::uninit());
        // SAFETY: the function initialises what it is given.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: it was initialised by the call above, which succeeded.
        let mut actions = Self(unsafe { actions.assume_init() });
        for (end, target) in [(&pipes.out, 1), (&pipes.err, 2)] {
            let fd = end.as_raw_fd();
            // SAFETY: the actions are initialised. They only note the numbers, and `PosixSpawn`
            // keeps the ends open as long as it keeps the actions.
            check(unsafe { libc::posix_spawn_file_actions_adddup2(&mut *actions.0, fd, target) })?;
        }
        Ok(actions)
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: they were initialised and are used no more.
        unsafe { libc::posix_spawn_file_actions_destroy(&mut *self.0) };
    }
}

/// These functions return an errno and leave the global one alone.
fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(result)) }
}
