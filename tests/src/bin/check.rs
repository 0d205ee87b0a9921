//! The program that tests start by the thousand: it looks whether it was given more than it was
//! promised, and says so by its exit status alone.
//!
//! It must never do more than that: a [`Report`](embryo_tests::Report) says everything and costs
//! ten times as much, which is what the probe is for.
//!
//! ```text
//! embryo-check FDS [signals]
//!   FDS       the descriptors that are to be open, as 0,1,2
//!   signals   also, no signal is to be ignored or blocked
//! ```
//! It exits with 0 if exactly those are open below 4096, with 64 if it does not understand its
//! arguments, 70 if a signal is blocked, 71 if one is ignored, and with 100 plus the lowest wrong
//! descriptor (155 at most) if one is open or closed that should not be. Any other second
//! argument is passed over: a `#!` line adds the script's name.

#![no_main]

use std::ffi::{CStr, c_char, c_int};

const USAGE: c_int = 64;
const BLOCKED: c_int = 70;
const IGNORED: c_int = 71;
const DESCRIPTOR: c_int = 100;

/// Above every number that a test gives away by accident.
const FD_END: c_int = 4096;
/// How many are looked at in one call; poll(2) takes no more than the limit on open files.
const CHUNK: usize = 256;
/// Bytes of the kernel's signal set.
const SET_SIZE: usize = 8;

/// Where the C library starts the program: the standard library's own start ignores SIGPIPE and
/// opens descriptors.
#[unsafe(no_mangle)]
extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    if argc < 2 {
        return USAGE;
    }
    // SAFETY: there is an argument with this index.
    let text = unsafe { argument(argv, 1) };
    // SAFETY: likewise, if there are three.
    let signals = argc > 2 && unsafe { argument(argv, 2) } == c"signals";
    let Ok(text) = text.to_str() else { return USAGE };
    let mut expected = Vec::new();
    for number in text.split(',').filter(|number| !number.is_empty()) {
        match number.parse::<c_int>() {
            Ok(number) => expected.push(number),
            Err(_) => return USAGE,
        }
    }
    match wrong_descriptor(&expected) {
        Some(fd) => DESCRIPTOR + fd.min(155),
        None if signals && any_blocked() => BLOCKED,
        None if signals && (1..=64).any(is_ignored) => IGNORED,
        None => 0,
    }
}

/// # Safety
/// `argv` is what the C library passes, and has an element with this index.
unsafe fn argument(argv: *const *const c_char, index: usize) -> &'static CStr {
    // SAFETY: the element exists, as the caller says.
    let text = unsafe { argv.add(index) };
    // SAFETY: likewise.
    let text = unsafe { text.read() };
    // SAFETY: the C library's strings end with NUL and stay where they are.
    unsafe { CStr::from_ptr(text) }
}

/// The lowest descriptor that is open and should not be, or the reverse.
fn wrong_descriptor(expected: &[c_int]) -> Option<c_int> {
    let mut polled = [libc::pollfd { fd: 0, events: 0, revents: 0 }; CHUNK];
    for from in (0..FD_END).step_by(CHUNK) {
        for (slot, fd) in polled.iter_mut().zip(from..) {
            *slot = libc::pollfd { fd, events: 0, revents: 0 };
        }
        // SAFETY: the kernel writes to the `CHUNK` elements of the array and to nothing else.
        let result = unsafe { libc::poll(polled.as_mut_ptr(), CHUNK as libc::nfds_t, 0) };
        if result < 0 {
            return Some(from);
        }
        let is_open = |slot: &libc::pollfd| slot.revents & libc::POLLNVAL == 0;
        let wrong = polled.iter().find(|slot| is_open(slot) != expected.contains(&slot.fd));
        if let Some(wrong) = wrong {
            return Some(wrong.fd);
        }
    }
    None
}

fn any_blocked() -> bool {
    let mut set = 0_u64;
    // SAFETY: without a new set the call only writes the old one, `SET_SIZE` bytes to a `u64`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_BLOCK,
            std::ptr::null::<u64>(),
            &raw mut set,
            SET_SIZE,
        )
    };
    result != 0 || set != 0
}

/// Asked of the kernel: libc hides the signals it uses itself.
fn is_ignored(signal: c_int) -> bool {
    let mut action = [0_usize; 8];
    // SAFETY: without a new action the call only writes the old one, which is at most four words.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            std::ptr::null::<usize>(),
            action.as_mut_ptr(),
            SET_SIZE,
        )
    };
    result != 0 || action[0] == libc::SIG_IGN
}
