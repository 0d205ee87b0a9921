//! What a task is entitled to, asked of the kernel: for comparing two moments, not for decisions.

use crate::raw::syscall;
use crate::{Errno, Result};
use core::ffi::CStr;
use linux_raw_sys::general::{
    __NR_capget, __NR_get_robust_list, __NR_getgroups, __NR_getpriority, __NR_getresgid,
    __NR_getresuid, __NR_ioctl, __NR_ioprio_get, __NR_keyctl, __NR_personality, __NR_prctl,
    __NR_prlimit64, __NR_sched_getaffinity, __NR_statx,
};

/// Real, effective and saved ids, as numbers of the caller's user namespace: uids, then gids.
pub fn get_res_ids() -> Result<[[u32; 3]; 2]> {
    let mut ids = [[0u32; 3]; 2];
    let [[ruid, euid, suid], [rgid, egid, sgid]] = &mut ids;
    // SAFETY: the kernel writes one u32 to each of three live locals.
    unsafe { syscall!(__NR_getresuid, &raw mut *ruid, &raw mut *euid, &raw mut *suid) }?;
    // SAFETY: as above.
    unsafe { syscall!(__NR_getresgid, &raw mut *rgid, &raw mut *egid, &raw mut *sgid) }?;
    Ok(ids)
}

/// `getgroups(2)` into `list`. Returns how many there are; EINVAL if they do not fit.
pub fn getgroups(list: &mut [u32]) -> Result<usize> {
    // SAFETY: the kernel writes at most that many u32s.
    unsafe { syscall!(__NR_getgroups, list.len(), list.as_mut_ptr()) }
}

/// `capget(2)` of the calling thread: effective, permitted and inheritable, as 64-bit sets.
pub fn capget() -> Result<[u64; 3]> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = [VERSION_3, 0];
    let mut data = [[0u32; 3]; 2];
    // SAFETY: a header of two u32s, and the two structures of three that this version writes.
    unsafe { syscall!(__NR_capget, &raw const header, &raw mut data) }?;
    let [low, high] = data;
    let set = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    let ([e, p, i], [he, hp, hi]) = (low, high);
    Ok([set(e, he), set(p, hp), set(i, hi)])
}

/// A `prctl(2)` that only tells a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tell {
    /// `PR_GET_NO_NEW_PRIVS`.
    NoNewPrivs,
    /// `PR_GET_SECCOMP`: 0, or 2 with a filter.
    Seccomp,
    /// `PR_GET_SECUREBITS`.
    Securebits,
}

/// `prctl(2)` of the calling thread.
pub fn tell(what: Tell) -> Result<usize> {
    let option = match what {
        Tell::NoNewPrivs => 39u32,
        Tell::Seccomp => 21,
        Tell::Securebits => 27,
    };
    // SAFETY: these options take and write no pointer.
    unsafe { syscall!(__NR_prctl, option) }
}

/// `prlimit(2)`: the soft and the hard limit of the calling process. `resource` is a `RLIMIT_*`
/// number.
pub fn getrlimit(resource: u32) -> Result<[u64; 2]> {
    let mut old = [0u64; 2];
    // SAFETY: nothing is set; the kernel writes a struct rlimit64 (two u64s).
    unsafe { syscall!(__NR_prlimit64, 0usize, resource, 0usize, &raw mut old) }?;
    Ok(old)
}

/// `sched_getaffinity(2)` of the calling thread into a mask. Returns how many bytes were written.
pub fn sched_get_affinity(mask: &mut [u8]) -> Result<usize> {
    // SAFETY: the kernel writes at most that many bytes.
    unsafe { syscall!(__NR_sched_getaffinity, 0usize, mask.len(), mask.as_mut_ptr()) }
}

/// Nice value of the calling process's thread as the kernel tells it (20 - nice), and its I/O
/// priority.
pub fn priorities() -> Result<[usize; 2]> {
    // SAFETY: no pointer is passed.
    let nice = unsafe { syscall!(__NR_getpriority, 0usize, 0usize) }?;
    // SAFETY: no pointer is passed; 1 is IOPRIO_WHO_PROCESS.
    let io = unsafe { syscall!(__NR_ioprio_get, 1usize, 0usize) }?;
    Ok([nice, io])
}

/// `personality(2)`, asked and not set.
pub fn get_personality() -> Result<usize> {
    // SAFETY: no pointer is passed; this number asks.
    unsafe { syscall!(__NR_personality, 0xffff_ffffusize) }
}

/// The id of the session keyring of the calling thread; keyctl(2), `KEYCTL_GET_KEYRING_ID`.
pub fn session_keyring() -> Result<usize> {
    const KEYCTL_GET_KEYRING_ID: usize = 0;
    const SESSION: isize = -3;
    // SAFETY: no pointer is passed; nothing is created.
    unsafe { syscall!(__NR_keyctl, KEYCTL_GET_KEYRING_ID, SESSION, 0usize) }
}

/// Whether the kernel would let the calling thread look into another process: ptrace(2)'s access
/// check in mode `PTRACE_MODE_READ_REALCREDS`, as `get_robust_list(2)` makes it.
///
/// It says no if the other has ids or capabilities that the caller has not, is in a parent user
/// namespace, or is outside the Landlock domain that the caller is in.
pub fn may_look_into(pid: i32) -> Result<()> {
    let (mut head, mut len) = (0usize, 0usize);
    // SAFETY: the kernel writes a pointer and a length to two live locals.
    unsafe { syscall!(__NR_get_robust_list, pid, &raw mut head, &raw mut len) }.map(drop)
}

/// What a path names: device, inode, mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Major and minor number of the file system.
    pub device: [u32; 2],
    /// The inode's number in it.
    pub inode: u64,
    /// The mount it was reached by: never used again for another since Linux 6.8, a number that
    /// may be before, 0 before 5.8.
    pub mount: u64,
}

/// `statx(2)` of a path.
pub fn identity(path: &CStr) -> Result<Identity> {
    const AT_FDCWD: isize = -100;
    const INODE: u32 = 0x100;
    const MOUNT: u32 = 0x1000;
    const MOUNT_UNIQUE: u32 = 0x4000;
    const MASK_WORDS: usize = 32;
    // struct statx is 256 bytes, of u64s and smaller.
    let mut out = [0u64; MASK_WORDS];
    let at = path.as_ptr();
    let want = INODE | MOUNT | MOUNT_UNIQUE;
    // SAFETY: a C string by its type, and room for one struct statx.
    unsafe { syscall!(__NR_statx, AT_FDCWD, at, 0usize, want, &raw mut out) }?;
    // Byte offsets: mask 0, inode 32, device 136 and 140, mount 144.
    let [mask, _, _, _, inode, _, _, _, _, _, _, _, _, _, _, _, _, device, mount, ..] = out;
    let told = mask as u32 & (MOUNT | MOUNT_UNIQUE) != 0;
    Ok(Identity {
        device: [device as u32, (device >> 32) as u32],
        inode,
        mount: if told { mount } else { 0 },
    })
}

/// The id of the cgroup (v2) of the process behind a pidfd. Since Linux 6.13.
pub fn pidfd_cgroup(pidfd: i32) -> Result<u64> {
    const CGROUPID: u64 = 4;
    // struct pidfd_info, first version: 64 bytes.
    let mut info = [CGROUPID, 0, 0, 0, 0, 0, 0, 0u64];
    // _IOWR(0xff, 11, struct pidfd_info).
    const GET_INFO: usize = 0xc040_ff0b;
    // SAFETY: the kernel reads and writes the 64 bytes that the number itself names.
    unsafe { syscall!(__NR_ioctl, pidfd as isize, GET_INFO, &raw mut info) }?;
    let [mask, cgroup, ..] = info;
    if mask & CGROUPID == 0 { Err(Errno::NOSYS) } else { Ok(cgroup) }
}
