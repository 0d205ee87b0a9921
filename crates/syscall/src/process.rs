//! What a task is and may use: credentials, limits, scheduling, and how it ended.
//!
//! All of these are the kernel's own calls on the calling *task*. libc's versions of the
//! credential calls signal every thread of the process, which in a child that shares memory
//! with its parent would be the parent's threads.

use crate::Result;
use crate::raw::{syscall, syscall6};
use core::ffi::c_void;
use linux_raw_sys::general::{
    __NR_chroot, __NR_clock_gettime, __NR_exit_group, __NR_getpgid, __NR_getpid, __NR_getppid,
    __NR_getsid, __NR_ioctl, __NR_ioprio_set, __NR_personality, __NR_pidfd_open,
    __NR_pidfd_send_signal, __NR_prlimit64, __NR_process_mrelease, __NR_sched_getattr,
    __NR_sched_setaffinity, __NR_sched_setattr, __NR_setgroups, __NR_setpriority, __NR_setresgid,
    __NR_setresuid, __NR_umask, __NR_waitid,
};

/// `exit_group(2)`.
pub fn exit(status: i32) -> ! {
    loop {
        // SAFETY: no pointer is passed; the call does not return. In a child that shares memory
        // it ends the child's own thread group only.
        let _ = unsafe { syscall6(__NR_exit_group, status as usize, 0, 0, 0, 0, 0) };
    }
}

/// `getpid(2)`, from the kernel and not from a cache that a clone would make stale.
#[must_use]
pub fn getpid() -> i32 {
    // SAFETY: no pointer is passed.
    match unsafe { syscall!(__NR_getpid) } {
        Ok(pid) => pid as i32,
        Err(_) => 0,
    }
}

/// `pidfd_open(2)`, close-on-exec. Since Linux 5.3.
pub fn pidfd_open(pid: i32) -> Result<i32> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_pidfd_open, pid, 0usize) }.map(|fd| fd as i32)
}

/// `getppid(2)`: 0 if the parent is outside the pid namespace.
///
/// Like the two calls below it cannot fail by itself, but a seccomp filter can refuse it.
pub fn getppid() -> Result<i32> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_getppid) }.map(|pid| pid as i32)
}

/// `getpgid(2)` of the calling process: 0 if the group is from outside the pid namespace.
pub fn getpgrp() -> Result<i32> {
    getpgid(0)
}

/// `getpgid(2)` of a process, 0 being the calling one: 0 if the group is from outside the pid
/// namespace of the caller.
pub fn getpgid(pid: i32) -> Result<i32> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_getpgid, pid) }.map(|group| group as i32)
}

/// `getsid(2)` of a process, 0 being the calling one: 0 if the session is from outside the pid
/// namespace of the caller.
pub fn getsid(pid: i32) -> Result<i32> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_getsid, pid) }.map(|session| session as i32)
}

/// `umask(2)`. Returns the old one.
pub fn umask(mode: u32) -> Result<u32> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_umask, mode) }.map(|old| old as u32)
}

/// `prlimit(2)` on the calling process. `resource` is a `RLIMIT_*` number.
pub fn setrlimit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let new = [soft, hard];
    // SAFETY: `new` is a live struct rlimit64 (two u64s); the old limit is not asked for.
    unsafe { syscall!(__NR_prlimit64, 0usize, resource, &raw const new, 0usize) }.map(drop)
}

/// `setresuid(2)` on the calling task alone. `u32::MAX` leaves an id as it is.
pub fn set_res_uid(real: u32, effective: u32, saved: u32) -> Result<()> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_setresuid, real, effective, saved) }.map(drop)
}

/// `setresgid(2)` on the calling task alone. `u32::MAX` leaves an id as it is.
pub fn set_res_gid(real: u32, effective: u32, saved: u32) -> Result<()> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_setresgid, real, effective, saved) }.map(drop)
}

/// `setgroups(2)` on the calling task alone. `list` is gids as little-endian u32s.
pub fn setgroups(list: &[u8]) -> Result<()> {
    // SAFETY: the kernel reads `list.len() / 4` gids, all within `list`, at any alignment.
    unsafe { syscall!(__NR_setgroups, list.len() / 4, list.as_ptr()) }.map(drop)
}

/// `setpriority(2)` with `PRIO_PROCESS` on the calling task: its nice value, -20 to 19.
pub fn setpriority_self(nice: i32) -> Result<()> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_setpriority, 0usize, 0usize, nice as isize) }.map(drop)
}

/// `ioprio_set(2)` with `IOPRIO_WHO_PROCESS` on the calling task.
pub fn ioprio_set(value: u32) -> Result<()> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_ioprio_set, 1usize, 0usize, value) }.map(drop)
}

/// `personality(2)`. Returns the old one.
pub fn set_personality(persona: u32) -> Result<u32> {
    // SAFETY: no pointer is passed.
    unsafe { syscall!(__NR_personality, persona) }.map(|old| old as u32)
}

/// `clock_gettime(2)` of `CLOCK_MONOTONIC` in nanoseconds, by system call.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut time = [0i64; 2];
    // SAFETY: the kernel writes one struct timespec, two 64-bit words, to `time`.
    let _ = unsafe { syscall!(__NR_clock_gettime, 1usize, &raw mut time) };
    (time[0] as u64).wrapping_mul(1_000_000_000).wrapping_add(time[1] as u64)
}

/// `chroot(2)` to the working directory.
pub fn chroot_here() -> Result<()> {
    // SAFETY: the path is a constant C string.
    unsafe { syscall!(__NR_chroot, c".".as_ptr()) }.map(drop)
}

/// `struct sched_attr` of sched_setattr(2), version 0 (48 bytes, Linux 3.14).
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedAttr {
    /// The size of this struct; set by the calls.
    pub size: u32,
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// Nice value, for `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// 1 to 99, for `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub runtime_ns: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub deadline_ns: u64,
    /// Nanoseconds, for `SCHED_DEADLINE`.
    pub period_ns: u64,
}

/// `sched_setattr(2)` on the calling task.
pub fn sched_setattr(attr: &SchedAttr) -> Result<()> {
    let attr = SchedAttr { size: size_of::<SchedAttr>() as u32, ..*attr };
    // SAFETY: `attr` is a live sched_attr that states its own size.
    unsafe { syscall!(__NR_sched_setattr, 0usize, &raw const attr, 0usize) }.map(drop)
}

/// `sched_getattr(2)` of a task; 0 is the calling one.
pub fn sched_getattr(pid: i32) -> Result<SchedAttr> {
    let mut attr = SchedAttr::default();
    // SAFETY: the kernel writes at most the size given to `attr`.
    unsafe {
        syscall!(__NR_sched_getattr, pid as isize, &raw mut attr, size_of::<SchedAttr>(), 0usize)
    }?;
    Ok(attr)
}

/// `sched_setaffinity(2)` on the calling task. Bit n of the mask, little-endian, is CPU n.
pub fn sched_set_affinity(mask: &[u8]) -> Result<()> {
    // SAFETY: the kernel reads at most `mask.len()` bytes.
    unsafe { syscall!(__NR_sched_setaffinity, 0usize, mask.len(), mask.as_ptr()) }.map(drop)
}

/// `process_mrelease(2)`, used as a question: has this process an address space, and does it
/// intend to keep it? EINVAL: yes, it lives. ESRCH or success: it is dying or dead. Since 5.15.
pub fn process_mrelease(pidfd: i32) -> Result<()> {
    // SAFETY: no pointer is passed. The call takes memory only from a process that is dying.
    unsafe { syscall!(__NR_process_mrelease, pidfd as isize, 0usize) }.map(drop)
}

/// `pidfd_send_signal(2)`: any signal number, 0 to look whether it may be sent. Since Linux 5.1.
pub fn pidfd_send_signal(pidfd: i32, signal: u32) -> Result<()> {
    // SAFETY: no siginfo is passed, so the kernel makes one up as kill(2) does.
    unsafe { syscall!(__NR_pidfd_send_signal, pidfd as isize, signal, 0usize, 0usize) }.map(drop)
}

/// `struct pidfd_info` of ioctl_pidfd(2), its first 64 bytes.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

const _: () = assert!(size_of::<PidfdInfo>() == 64);

/// `PIDFD_GET_INFO` with `PIDFD_INFO_EXIT`: the wait status of a process that was reaped, by
/// whomever; `None` if it was not yet. Since Linux 6.15.
pub fn pidfd_exit_status(pidfd: i32) -> Result<Option<i32>> {
    const EXIT: u64 = 1 << 3;
    // _IOWR(0xff, 11, struct pidfd_info)
    const GET_INFO: usize = 3 << 30 | 64 << 16 | 0xff << 8 | 11;
    let mut info = PidfdInfo { mask: EXIT, ..PidfdInfo::default() };
    // SAFETY: the request says that the struct has 64 bytes, and the kernel writes no more.
    unsafe { syscall!(__NR_ioctl, pidfd as isize, GET_INFO, &raw mut info) }?;
    Ok((info.mask & EXIT != 0).then_some(info.exit_code))
}

/// Resources that an ended child used: the start of `struct rusage`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// User time: seconds and microseconds.
    pub user: [i64; 2],
    /// System time: seconds and microseconds.
    pub system: [i64; 2],
    /// Largest resident set in KiB.
    pub max_rss_kib: i64,
    unused_memory: [i64; 3],
    /// Page faults served without input or output.
    pub minor_faults: i64,
    /// Page faults that needed input or output.
    pub major_faults: i64,
    unused_swap: i64,
    /// Blocks read.
    pub blocks_in: i64,
    /// Blocks written.
    pub blocks_out: i64,
    unused_ipc: [i64; 3],
    /// Times it waited by its own choice.
    pub voluntary_switches: i64,
    /// Times it was preempted.
    pub involuntary_switches: i64,
}

impl Usage {
    /// The words of the kernel's struct.
    #[must_use]
    pub fn words(&self) -> [i64; 18] {
        let Self { user, system, max_rss_kib, unused_memory, .. } = *self;
        let ([a, b], [c, d], [e, f, g]) = (user, system, unused_memory);
        let faults = [self.minor_faults, self.major_faults, self.unused_swap];
        let ([h, i, j], [k, l]) = (faults, [self.blocks_in, self.blocks_out]);
        let ([m, n, o], p, q) =
            (self.unused_ipc, self.voluntary_switches, self.involuntary_switches);
        [a, b, c, d, max_rss_kib, e, f, g, h, i, j, k, l, m, n, o, p, q]
    }

    /// From the words of the kernel's struct.
    #[must_use]
    pub fn from_words(words: [i64; 18]) -> Self {
        let [a, b, c, d, max_rss_kib, e, f, g, h, i, j, k, l, m, n, o, p, q] = words;
        Self {
            user: [a, b],
            system: [c, d],
            max_rss_kib,
            unused_memory: [e, f, g],
            minor_faults: h,
            major_faults: i,
            unused_swap: j,
            blocks_in: k,
            blocks_out: l,
            unused_ipc: [m, n, o],
            voluntary_switches: p,
            involuntary_switches: q,
        }
    }
}

/// How a child ended, as waitid(2) reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// `CLD_EXITED`, `CLD_KILLED` or `CLD_DUMPED` (or a stop or continue, if asked for).
    pub code: i32,
    /// Exit status or signal number.
    pub status: i32,
    /// Its pid.
    pub pid: i32,
    /// What it used.
    pub usage: Usage,
}

/// The part of `siginfo_t` that waitid(2) fills.
#[repr(C, align(8))]
struct WaitInfo {
    signo: i32,
    errno: i32,
    code: i32,
    pad: i32,
    pid: i32,
    uid: u32,
    status: i32,
    rest: [u8; 100],
}

/// `waitid(2)` with `P_PIDFD`: `None` if nothing to report and `WNOHANG` was given. Since 5.4.
///
/// `options` are waitid's: `WEXITED` 4, `WNOHANG` 1, `WNOWAIT` 0x0100_0000, `__WALL` 0x4000_0000.
pub fn waitid_pidfd(pidfd: i32, options: u32) -> Result<Option<Waited>> {
    const P_PIDFD: usize = 3;
    let mut info =
        WaitInfo { signo: 0, errno: 0, code: 0, pad: 0, pid: 0, uid: 0, status: 0, rest: [0; 100] };
    let mut usage = Usage::default();
    let usage_at: *mut c_void = (&raw mut usage).cast();
    // SAFETY: the kernel writes one siginfo_t (128 bytes) and one rusage (144 bytes), the sizes of
    // the two live locals; asserted below.
    unsafe { syscall!(__NR_waitid, P_PIDFD, pidfd as isize, &raw mut info, options, usage_at) }?;
    Ok((info.pid != 0).then_some(Waited {
        code: info.code,
        status: info.status,
        pid: info.pid,
        usage,
    }))
}

const _: () = assert!(size_of::<WaitInfo>() == 128);
const _: () = assert!(size_of::<Usage>() == 144);
