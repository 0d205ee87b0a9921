//! The system calls that rustix lacks, and the numeric forms of a few that it has.
//!
//! Everything here may be called between `clone` and `exec` in a child that shares its parent's
//! memory: nothing allocates, takes a lock, touches thread-local storage, calls libc or panics.
//! An error is the errno that the kernel returned, never a global.
//!
//! This is the floor on which unsafe code lives. It must never learn what a plan is.
//!
//! # Not here
//! Whatever rustix has in a form that takes what a plan holds: `chdir`, `setsid`, `prctl` and the
//! like are called through it. Numeric forms stand here where rustix's typed enum would need a
//! table for every value that a plan may carry ([`setrlimit`], [`set_res_uid`]).
#![no_std]

#[cfg(not(target_os = "linux"))]
compile_error!("embryo makes Linux processes");
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
compile_error!("embryo is written for x86_64 and aarch64");
#[cfg(not(target_endian = "little"))]
compile_error!("embryo is written for little-endian machines");

mod clone;
mod errno;
mod exec;
mod fds;
mod landlock;
mod leap;
mod memory;
mod mount;
mod namespace;
mod peer;
mod privilege;
mod process;
mod raw;
mod seccomp;
mod signal;
mod standing;
mod timer;
mod verity;

pub use clone::{
    ChildEntry, CloneArgs, CloneFlags, Cloned, Sibling, StackSpan, clone_call, clone3_call,
    fork_sibling,
};
pub use errno::Errno;
pub use exec::{execve, execveat_fd};
pub use fds::{
    CloseRange, SCM_MAX_FDS, close, close_range, dup3, dupfd_cloexec, fcntl_getfd, fcntl_setfd,
    getdents, mkdir_at, open, open_at, read, recv_owned, recv_with_fds, rmdir_at, send_with_fds,
    set_send_buffer, socketpair, terminal_signal, unshare_files, write,
};
pub use landlock::{landlock_abi, landlock_add_path, landlock_restrict_self, open_path};
pub use leap::{LEAP_FAILED, LEAP_PAGE, LEAP_RANGES, Leap, LeapFilter, LeapRegs, LeapSize};
pub use memory::{
    Mapping, ftruncate, madvise, memfd, mlock, mm_layout_size, mmap, mprotect, mremap, munmap,
    name_region, pread_to, pwrite_from, set_mm_layout,
};
pub use mount::{
    Held, MountAttr, fchmodat2, fsmount, fsopen, mount_setattr, open_held, open_tree_clone, openat2,
};
pub use namespace::{
    Reaped, fork, fork_as, keep_capabilities, kill, loopback_up, reap_any, setdomainname,
    sethostname, setns, signalfd, take_signal, unshare,
};
pub use peer::{PeerCredentials, Received, peer_credentials, peer_groups, peer_pidfd, receive};
pub use privilege::{
    Set, capset, in_ambient_set, in_bounding_set, join_session_keyring, set, set_mempolicy,
};
pub use process::{
    SchedAttr, Usage, Waited, chroot_here, exit, getpgid, getpgrp, getpid, getppid, getsid,
    ioprio_set, monotonic_ns, pidfd_exit_status, pidfd_open, pidfd_send_signal, process_mrelease,
    sched_getattr, sched_set_affinity, sched_setattr, set_personality, set_res_gid, set_res_uid,
    setgroups, setpriority_self, setrlimit, umask, waitid_pidfd,
};
pub use seccomp::{
    Notified, Reply, seccomp_action_available, seccomp_add_fd, seccomp_filter,
    seccomp_filter_allowed, seccomp_id_valid, seccomp_receive, seccomp_reply,
    seccomp_strict_allowed,
};
pub use signal::{
    ALL_SIGNALS, Action, Disposition, get_disposition, set_action, set_disposition, set_mask,
};

pub use standing::{
    Identity, Tell, capget, get_personality, get_res_ids, getgroups, getrlimit, identity,
    may_look_into, pidfd_cgroup, priorities, sched_get_affinity, session_keyring, tell,
};
pub use timer::Deadline;
pub use verity::{VerityDigest, measure_verity};

/// What a call answers: a value, or the errno.
pub type Result<T> = core::result::Result<T, Errno>;
