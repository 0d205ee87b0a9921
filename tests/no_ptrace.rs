//! Promise: nothing that an embryo does needs ptrace(2), another process's memory, or a descriptor
//! out of another process's table. Here every such call is deadly, for the owner and for whatever it makes.
//!
//! It must never be content with a filter that does nothing: a call that is made on purpose has to kill.

mod everything;
mod filter;
mod launch;
mod on_memory;
mod refusal;

use embryo_tests::{alone, is_root, rerun_as_nobody, skip};
use refusal::Refusal;

const DEADLY: [libc::c_long; 5] = [
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
];

/// How a child that makes a call with zeros as its arguments ends.
fn end_of_a_caller_of(call: libc::c_long) -> i32 {
    // SAFETY: this process has one thread, and the child makes system calls alone.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: without pointers none of these does anything to this process.
        unsafe { libc::syscall(call, -1, 0, 0, 0, 0, 0) };
        // SAFETY: it ends this process, which nobody needs.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: our own child, and a live integer.
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(waited, child);
    status
}

#[test]
fn everything_without_ptrace() {
    alone!();
    for call in DEADLY {
        assert!(libc::WIFEXITED(end_of_a_caller_of(call)), "call {call}");
        Refusal::always(call).deadly().enforce();
        let status = end_of_a_caller_of(call);
        assert!(libc::WIFSIGNALED(status), "call {call}: {status:#x}");
        assert_eq!(libc::WTERMSIG(status), libc::SIGSYS, "call {call}");
    }
    everything::everything(0);
}

#[test]
fn as_an_ordinary_user() {
    if !is_root() {
        skip!("that is who runs these tests");
    }
    rerun_as_nobody("everything_without_ptrace");
}
