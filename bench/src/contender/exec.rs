//! What the child of a fork or a vfork does until it is the new program.
//!
//! It runs beside or inside the parent's memory, so it allocates nothing, takes no lock and never
//! returns.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use crate::child::ChildSpec;
use crate::stdio::WriteEnds;

/// The exit status of a child that could not become the program.
const EXIT_NOT_STARTED: libc::c_int = 127;

/// Everything that the child needs, laid out before it exists.
#[derive(Debug)]
pub(crate) struct Exec {
    path: CString,
    argv: Strings,
    envp: Strings,
    pipes: Option<WriteEnds>,
    /// The errno with which a child that shares this memory failed; 0 if none did.
    failure: AtomicI32,
}

impl Exec {
    /// Lays `spec` out.
    pub(crate) fn new(spec: &ChildSpec) -> Self {
        Self {
            path: spec.path.clone(),
            argv: Strings::new(&spec.argv),
            envp: Strings::new(&spec.envp),
            pipes: None,
            failure: AtomicI32::new(0),
        }
    }

    /// Sets what the next child gets as stdout and stderr.
    pub(crate) fn set_pipes(&mut self, pipes: Option<WriteEnds>) {
        self.pipes = pipes;
    }

    /// The errno that a child left, if one did; asking forgets it.
    pub(crate) fn take_failure(&self) -> Option<i32> {
        let errno = self.failure.swap(0, Ordering::Relaxed);
        (errno != 0).then_some(errno)
    }

    /// The child's side: stdio, dispositions, mask, program.
    ///
    /// # Safety
    /// Only the child of a fork or vfork may call this, in which no other thread runs.
    pub(crate) unsafe fn run(&self) -> ! {
        // SAFETY: the caller's promise is handed on.
        let errno = unsafe { self.try_run() };
        self.failure.store(errno, Ordering::Relaxed);
        // SAFETY: _exit(2) runs no handler of the parent's and flushes no buffer.
        unsafe { libc::_exit(EXIT_NOT_STARTED) }
    }

    /// # Safety
    /// As for [`Exec::run`]. Returns only if something failed, with the errno.
    unsafe fn try_run(&self) -> i32 {
        if let Some(pipes) = &self.pipes {
            // SAFETY: the child's table is its own copy, and 1 belongs to nobody in it.
            let out = unsafe { libc::dup2(pipes.out.as_raw_fd(), 1) };
            // SAFETY: as for 1.
            let err = unsafe { libc::dup2(pipes.err.as_raw_fd(), 2) };
            if out < 0 || err < 0 {
                return errno();
            }
        }
        // std ignores SIGPIPE at its start, and an ignored signal stays ignored across exec.
        // SAFETY: SIG_DFL needs no code, and without CLONE_SIGHAND the child's table is its own.
        if unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) } == libc::SIG_ERR {
            return errno();
        }
        let mut none = MaybeUninit::uninit();
        // SAFETY: sigemptyset writes the set that it is given.
        unsafe { libc::sigemptyset(none.as_mut_ptr()) };
        // SAFETY: the set was written above; the mask is the child's own.
        if unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) } < 0 {
            return errno();
        }
        // SAFETY: the path and both arrays end with a null and live as long as `self`.
        unsafe { libc::execve(self.path.as_ptr(), self.argv.as_ptr(), self.envp.as_ptr()) };
        errno()
    }
}

fn errno() -> i32 {
    // SAFETY: the function has no precondition.
    let location = unsafe { libc::__errno_location() };
    // SAFETY: the location is this thread's own. A vfork's child uses that of the thread it
    // suspended, which reads it only after a call of its own has failed.
    unsafe { location.read() }
}

/// Strings as execve(2) takes them.
#[derive(Debug)]
pub(crate) struct Strings {
    pointers: Vec<*mut libc::c_char>,
    /// What the pointers point to; a CString's bytes do not move with it.
    _owned: Vec<CString>,
}

impl Strings {
    /// Pointers to copies of `strings`, and a null.
    pub(crate) fn new(strings: &[CString]) -> Self {
        let owned = strings.to_vec();
        let pointers = owned.iter().map(|string| string.as_ptr().cast_mut());
        let pointers = pointers.chain([ptr::null_mut()]).collect();
        Self { pointers, _owned: owned }
    }

    /// The array for execve(2).
    pub(crate) fn as_ptr(&self) -> *const *const libc::c_char {
        self.pointers.as_ptr().cast()
    }

    /// The same array for posix_spawn(3), which takes it without a const and writes nothing.
    pub(crate) fn as_mut_ptr(&self) -> *const *mut libc::c_char {
        self.pointers.as_ptr()
    }
}
