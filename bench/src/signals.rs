//! What the benchmark inherited of signals, put back to what a program usually starts with.
//!
//! A shell's background job ignores SIGINT and SIGQUIT, and nohup(1) adds SIGHUP. Such a signal
//! would stay ignored in the children of those contenders that do not reset it, and in the others
//! not: they would not start the same child.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Every signal that is ignored goes back to its default, but for SIGPIPE, which every Rust
/// program ignores; and none stays blocked.
pub(crate) fn reset() -> io::Result<()> {
    for signal in (1..=libc::SIGRTMAX()).filter(|&signal| signal != libc::SIGPIPE) {
        reset_ignored(signal)?;
    }
    let mut none = MaybeUninit::uninit();
    // SAFETY: sigemptyset writes the set that it is given.
    unsafe { libc::sigemptyset(none.as_mut_ptr()) };
    // SAFETY: the set was written above, and the old one is not asked for.
    let result = unsafe { libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn reset_ignored(signal: libc::c_int) -> io::Result<()> {
    let mut action = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: with no new action the call only writes the present one.
    let result = unsafe { libc::sigaction(signal, ptr::null(), action.as_mut_ptr()) };
    if result != 0 {
        // The two that libc keeps to itself are refused.
        return Ok(());
    }
    // SAFETY: the call succeeded, so it wrote the action.
    let action = unsafe { action.assume_init() };
    if action.sa_sigaction != libc::SIG_IGN {
        return Ok(());
    }
    // SAFETY: the default needs no code of ours.
    if unsafe { libc::signal(signal, libc::SIG_DFL) } == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
