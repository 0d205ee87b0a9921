//! Namespaces, and what the init of a pid namespace needs: namespaces(7), pid_namespaces(7).

use crate::process::Usage;
use crate::raw::syscall;
use crate::{Result, close};
use linux_raw_sys::general::{
    __NR_capset, __NR_clone, __NR_clone3, __NR_ioctl, __NR_kill, __NR_read, __NR_setdomainname,
    __NR_sethostname, __NR_setns, __NR_signalfd4, __NR_socket, __NR_unshare, __NR_wait4,
};

/// `unshare(2)` of namespaces: `CLONE_NEW*` bits.
pub fn unshare(kinds: u32) -> Result<()> {
    // SAFETY: no pointer is passed; namespaces are not what memory safety rests on.
    unsafe { syscall!(__NR_unshare, kinds) }.map(drop)
}

/// `setns(2)`. With a pidfd since Linux 5.8.
pub fn setns(fd: i32, kinds: u32) -> Result<()> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_setns, fd as isize, kinds) }.map(drop)
}

/// `sethostname(2)`.
// Not inlined, here and below: `xtask tidy` reads the number of each call from the code, and two calls that
// differ in nothing else become one.
#[inline(never)]
pub fn sethostname(name: &[u8]) -> Result<()> {
    // SAFETY: the kernel reads `name.len()` bytes.
    unsafe { syscall!(__NR_sethostname, name.as_ptr(), name.len()) }.map(drop)
}

/// `setdomainname(2)`.
#[inline(never)]
pub fn setdomainname(name: &[u8]) -> Result<()> {
    // SAFETY: the kernel reads `name.len()` bytes.
    unsafe { syscall!(__NR_setdomainname, name.as_ptr(), name.len()) }.map(drop)
}

/// `struct ifreq` of netdevice(7), as far as flags go.
#[repr(C)]
struct InterfaceFlags {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<InterfaceFlags>() == 40);

/// Sets `IFF_UP` of the loopback device of the calling task's network namespace.
pub fn loopback_up() -> Result<()> {
    const AF_INET: usize = 2;
    const SOCK_DGRAM_CLOEXEC: usize = 2 | 0o2_000_000;
    const SIOCGIFFLAGS: usize = 0x8913;
    const SIOCSIFFLAGS: usize = 0x8914;
    const IFF_UP: i16 = 1;
    let name = *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut request = InterfaceFlags { name, flags: 0, rest: [0; 22] };
    // SAFETY: no pointer is passed.
    let socket = unsafe { syscall!(__NR_socket, AF_INET, SOCK_DGRAM_CLOEXEC) }? as i32;
    // SAFETY: both requests take a struct ifreq, which the live local is.
    let mut told = unsafe { syscall!(__NR_ioctl, socket as isize, SIOCGIFFLAGS, &raw mut request) };
    if told.is_ok() {
        request.flags |= IFF_UP;
        // SAFETY: as above.
        told = unsafe { syscall!(__NR_ioctl, socket as isize, SIOCSIFFLAGS, &raw mut request) };
    }
    let _ = close(socket);
    told.map(drop)
}

/// `struct clone_args` of clone3(2), version 1 (80 bytes, Linux 5.5).
#[repr(C)]
#[derive(Default)]
struct SetTidArgs {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: [u64; 2],
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
}

const SIGCHLD: u32 = 17;

/// A copy of this process, with a copy of its memory and of its descriptors: 0 in the copy, its pid in
/// the caller. `flags` are those of clone(2); with `CLONE_PARENT` (0x8000) it is a child of the
/// caller's parent.
///
/// # Safety
/// The calling process must have one thread, and nothing in its memory may be wrong to have twice. The
/// flags must not say that memory is shared.
#[inline(never)]
pub unsafe fn fork(flags: u32) -> Result<i32> {
    // SAFETY: the copy goes on in memory of its own, on a copy of this stack. Only the first two
    // arguments are used, and those have the same places on every machine.
    unsafe { syscall!(__NR_clone, flags | SIGCHLD, 0usize) }.map(|pid| pid as i32)
}

/// The same with a chosen pid in the copy's pid namespace; clone3(2) `set_tid`. Since Linux 5.5.
///
/// # Safety
/// As [`fork`].
#[inline(never)]
pub unsafe fn fork_as(pid: u32) -> Result<i32> {
    let args = SetTidArgs {
        exit_signal: SIGCHLD.into(),
        set_tid: (&raw const pid).addr() as u64,
        set_tid_size: 1,
        ..SetTidArgs::default()
    };
    // SAFETY: the kernel reads the arguments and one pid, both live; without a stack the copy goes on
    // as that of `fork`.
    let made = unsafe { syscall!(__NR_clone3, &raw const args, size_of::<SetTidArgs>()) };
    made.map(|pid| pid as i32)
}

/// `kill(2)` of one process.
pub fn kill(pid: i32, signal: u32) -> Result<()> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_kill, pid as isize, signal) }.map(drop)
}

/// A child that ended, and how: its pid, its wait status and what it used.
#[derive(Clone, Copy, Debug)]
pub struct Reaped {
    /// Its pid.
    pub pid: i32,
    /// As wait(2) has it.
    pub status: i32,
    /// With its own children's that it waited for.
    pub usage: Usage,
}

/// `wait4(2)` for any child, without waiting: `None` if none has ended.
pub fn reap_any() -> Result<Option<Reaped>> {
    const WNOHANG_WALL: usize = 1 | 0x4000_0000;
    let mut status = 0i32;
    let mut usage = Usage::default();
    let (at, usage_at) = (&raw mut status, &raw mut usage);
    // SAFETY: the kernel writes an int and a struct rusage, which the live locals are.
    let pid = unsafe { syscall!(__NR_wait4, -1isize, at, WNOHANG_WALL, usage_at) }? as i32;
    Ok((pid != 0).then_some(Reaped { pid, status, usage }))
}

/// `signalfd(2)`: a descriptor from which blocked signals of a set are taken, close-on-exec.
pub fn signalfd(set: u64) -> Result<i32> {
    const CLOEXEC_NONBLOCK: usize = 0o2_000_000 | 0o4000;
    let none = -1isize;
    // SAFETY: the kernel reads a set of eight bytes, which the argument is.
    let fd = unsafe { syscall!(__NR_signalfd4, none, &raw const set, 8usize, CLOEXEC_NONBLOCK) };
    fd.map(|fd| fd as i32)
}

/// Takes a signal from a [`signalfd`]: its number. `EAGAIN` if there is none.
pub fn take_signal(fd: i32) -> Result<u32> {
    /// `struct signalfd_siginfo`.
    #[repr(C)]
    struct Taken {
        signal: u32,
        rest: [u32; 31],
    }
    let mut taken = Taken { signal: 0, rest: [0; 31] };
    // SAFETY: the kernel writes at most the 128 bytes of the live local.
    unsafe { syscall!(__NR_read, fd as isize, &raw mut taken, size_of::<Taken>()) }?;
    Ok(taken.signal)
}

/// `capset(2)`: the capabilities of the calling task, but for these, are given up, from all of its
/// sets.
pub fn keep_capabilities(keep: u64) -> Result<()> {
    const VERSION_3: u32 = 0x2008_0522;
    let [effective, permitted, _] = crate::capget()?;
    let set = |from: u64| {
        let kept = from & keep;
        [kept as u32, (kept >> 32) as u32]
    };
    let ([e_low, e_high], [p_low, p_high]) = (set(effective), set(permitted));
    let header = [VERSION_3, 0];
    let sets = [e_low, p_low, 0, e_high, p_high, 0];
    // SAFETY: the kernel reads a header of two words and two structs of three words each.
    unsafe { syscall!(__NR_capset, &raw const header, &raw const sets) }.map(drop)
}
