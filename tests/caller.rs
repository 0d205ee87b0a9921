//! What a test changes in its own process before it spawns, so that it shows whether a child kept
//! it or a spawn lost it.
//!
//! It must never be used but in a test that runs alone: all of it belongs to the process.

#![allow(dead_code, reason = "every test that includes this uses a part of it")]

use embryo_tests::CallerState;
use rustix::fs::Mode;

/// What [`stand_out`] ignores; 33 is one that libc hides.
pub(crate) const IGNORED: [u32; 3] = [10, 16, 33];
/// What it blocks in the calling thread.
pub(crate) const BLOCKED: [u32; 3] = [12, 33, 64];

/// Gives the calling process much that a child could keep and a spawn could lose.
pub(crate) fn stand_out() -> CallerState {
    let dir = embryo_tests::tempdir().keep();
    std::env::set_current_dir(&dir).expect("one may enter it");
    std::fs::remove_dir(&dir).expect("one may remove it");
    rustix::process::umask(Mode::from_raw_mode(0o153));
    ignore(&IGNORED);
    handle(1);
    block(&BLOCKED);
    CallerState::capture()
}

/// `struct sigaction` as the kernel has it: handler, flags, restorer where there is one, mask.
type Action = [usize; 5];

/// Ignores signals, those too that libc hides.
pub(crate) fn ignore(signals: &[u32]) {
    signals.iter().for_each(|signal| set(*signal, [libc::SIG_IGN, 0, 0, 0, 0]));
}

/// Gives a signal a handler that does nothing.
pub(crate) fn handle(signal: i32) {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: the handler does nothing, so it may run anywhere.
    let before = unsafe { libc::signal(signal, nothing as *const () as libc::sighandler_t) };
    assert_ne!(before, libc::SIG_ERR);
}

/// Blocks signals in the calling thread, besides those that are.
pub(crate) fn block(signals: &[u32]) {
    let set = signals.iter().fold(0u64, |set, signal| set | 1 << (signal - 1));
    // SAFETY: the kernel reads eight bytes, which `set` has, and writes nothing.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_BLOCK,
            &raw const set,
            std::ptr::null_mut::<u64>(),
            size_of::<u64>(),
        )
    };
    assert_eq!(result, 0);
}

fn set(signal: u32, action: Action) {
    // SAFETY: the kernel's structure is no longer than `action`, which holds a disposition that
    // is no function.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            action.as_ptr(),
            std::ptr::null_mut::<usize>(),
            size_of::<u64>(),
        )
    };
    assert_eq!(result, 0, "signal {signal}");
}
