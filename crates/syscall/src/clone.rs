//! `clone3(2)` and `clone(2)` onto a stack of the child's own.
//!
//! The child never returns from here: it calls the entry function, which must end in exec or
//! exit. What the child may touch is the entry function's business, not this file's.

use crate::Result;
use crate::raw::{ret, syscall};
use core::ffi::c_void;
use linux_raw_sys::general::{__NR_clone, __NR_clone3};

/// The function in which a child begins, with the argument given to the clone call.
pub type ChildEntry = unsafe extern "C" fn(*mut c_void) -> !;

/// `CLONE_*` flags; see clone(2) for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloneFlags(u64);

impl CloneFlags {
    /// Share the address space.
    pub const VM: Self = Self(0x100);
    /// Share the descriptor table.
    pub const FILES: Self = Self(0x400);
    /// Return a pidfd. Since Linux 5.2.
    pub const PIDFD: Self = Self(0x1000);
    /// Suspend the caller until the child execs or exits.
    pub const VFORK: Self = Self(0x4000);
    /// Clear and wake the word at `child_tid` when the child leaves this address space.
    pub const CHILD_CLEARTID: Self = Self(0x20_0000);
    /// Handled signals get their default action in the child; clone3 only. Since Linux 5.5.
    pub const CLEAR_SIGHAND: Self = Self(0x1_0000_0000);

    /// Both sets.
    #[must_use]
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// This set without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

/// `struct clone_args` of clone3(2), version 0 (64 bytes, Linux 5.3).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct CloneArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
}

/// Where the child's stack lies: lowest address and length in bytes.
#[derive(Clone, Copy, Debug)]
pub struct StackSpan {
    /// The lowest usable address.
    pub base: *mut c_void,
    /// Bytes from there to the top.
    pub len: usize,
}

impl CloneArgs {
    /// A child with these flags and this stack. `pidfd` receives the descriptor and `child_tid`
    /// is the word that `CHILD_CLEARTID` clears; both must outlive the child's stay in this
    /// address space.
    #[must_use]
    pub fn new(
        flags: CloneFlags,
        exit_signal: u32,
        stack: StackSpan,
        pidfd: *mut i32,
        child_tid: *mut u32,
    ) -> Self {
        Self {
            flags: flags.bits(),
            pidfd: pidfd as u64,
            child_tid: child_tid as u64,
            exit_signal: u64::from(exit_signal),
            stack: stack.base as u64,
            stack_size: stack.len as u64,
            ..Self::default()
        }
    }
}

/// The process id of the child, in the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cloned {
    /// Its number in the caller's pid namespace.
    pub pid: i32,
}

/// `clone3(2)`: the child calls `entry(arg)` on its own stack. Since Linux 5.3.
///
/// # Safety
/// - The stack must be mapped, writable, unused by anybody else until the child has left this
///   address space, and large enough for `entry`.
/// - `entry` must be sound for a child with these flags: with `VM` it shares every byte with
///   the caller's threads and must not use thread-local storage, libc or locks.
/// - The pointers in `args` must stay valid as [`CloneArgs::new`] says.
#[inline(never)]
pub unsafe fn clone3_call(args: &CloneArgs, entry: ChildEntry, arg: *mut c_void) -> Result<Cloned> {
    let out: isize;
    // SAFETY: in the parent the instructions only clobber what is listed. In the child the stack
    // pointer is the top of the fresh stack, nothing of this frame is read again (entry and
    // arg travel in registers), and `entry` does not return; both promised by the caller.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") __NR_clone3 as isize => out,
            in("rdi") core::ptr::from_ref(args),
            in("rsi") size_of::<CloneArgs>(),
            in("r12") entry,
            in("r13") arg,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    // SAFETY: as for x86_64.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x21",
            "blr x20",
            "brk 1",
            "2:",
            in("x8") __NR_clone3 as usize,
            inlateout("x0") core::ptr::from_ref(args) as isize => out,
            in("x1") size_of::<CloneArgs>(),
            in("x20") entry,
            in("x21") arg,
            lateout("x30") _,
        );
    }
    ret(out).map(|pid| Cloned { pid: pid as i32 })
}

/// `clone(2)` with the same child: for kernels and filters that refuse clone3.
///
/// `CLEAR_SIGHAND` cannot be said here and must not be in the flags; the pidfd comes through the
/// word that clone(2) calls `parent_tid`. Since Linux 5.2 (for the pidfd).
///
/// # Safety
/// As [`clone3_call`].
#[inline(never)]
pub unsafe fn clone_call(args: &CloneArgs, entry: ChildEntry, arg: *mut c_void) -> Result<Cloned> {
    let top = (args.stack as usize).wrapping_add(args.stack_size as usize) & !15;
    let flags = args.flags as usize | (args.exit_signal as usize & 0xff);
    let out: isize;
    // SAFETY: as in `clone3_call`.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        core::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") __NR_clone as isize => out,
            in("rdi") flags,
            in("rsi") top,
            in("rdx") args.pidfd,
            in("r10") args.child_tid,
            in("r8") 0usize,
            in("r12") entry,
            in("r13") arg,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    // SAFETY: as in `clone3_call`. The last two arguments change places on aarch64.
    #[cfg(target_arch = "aarch64")]
    unsafe {
        core::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x21",
            "blr x20",
            "brk 1",
            "2:",
            in("x8") __NR_clone as usize,
            inlateout("x0") flags as isize => out,
            in("x1") top,
            in("x2") args.pidfd as usize,
            in("x3") 0usize,
            in("x4") args.child_tid as usize,
            in("x20") entry,
            in("x21") arg,
            lateout("x30") _,
        );
    }
    ret(out).map(|pid| Cloned { pid: pid as i32 })
}

/// Who one is after [`fork_sibling`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sibling {
    /// The one that called.
    Maker,
    /// The copy.
    Made,
}

/// `clone(2)` with `CLONE_PARENT`: a copy of this process, with a copy of its memory and of its
/// descriptors, that is a child of this process's parent. EINVAL in the init of a pid namespace.
///
/// The kernel gives it the exit signal of the caller, whatever is asked for: SIGCHLD, if the caller
/// has called exec.
///
/// # Safety
/// The calling process must have one thread, and nothing in its memory may be wrong to have twice.
pub unsafe fn fork_sibling() -> Result<Sibling> {
    const PARENT: usize = 0x8000;
    // SAFETY: without `VM` the copy goes on in memory of its own, on a copy of this stack. Only the
    // first two arguments are used, and those have the same places on every machine.
    match unsafe { syscall!(__NR_clone, PARENT, 0usize) }? {
        0 => Ok(Sibling::Made),
        _ => Ok(Sibling::Maker),
    }
}
