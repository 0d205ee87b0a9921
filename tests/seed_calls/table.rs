//! The list of the seed's system calls as ARCHITECTURE.md has it. It must never know a call that
//! stands there no more: the table is the only list.

use libc::c_long;

const TEXT: &str = include_str!("../../ARCHITECTURE.md");
const HEAD: &str = "| call | number | for |";

/// A row of the table.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// The name of the call.
    pub(crate) name: &'static str,
    /// Its number on x86_64.
    pub(crate) number: c_long,
    /// Who needs it.
    pub(crate) users: &'static str,
}

/// All rows.
#[must_use]
pub(crate) fn listed() -> Vec<Listed> {
    let rows = TEXT.lines().skip_while(|line| *line != HEAD).skip(2);
    let rows: Vec<Listed> = rows.take_while(|line| line.starts_with('|')).map(row).collect();
    assert!(rows.len() > 40, "the table has {} rows", rows.len());
    rows
}

fn row(line: &'static str) -> Listed {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [name, number, users] = cells[..] else { panic!("not three cells: {line}") };
    let number = number.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
    Listed { name: name.trim_matches('`'), number, users }
}

/// What libc calls the numbers of this machine.
pub(crate) const NUMBERS: &[(&str, c_long)] = &[
    ("read", libc::SYS_read),
    ("write", libc::SYS_write),
    ("close", libc::SYS_close),
    ("fstat", libc::SYS_fstat),
    ("mmap", libc::SYS_mmap),
    ("mprotect", libc::SYS_mprotect),
    ("munmap", libc::SYS_munmap),
    ("rt_sigaction", libc::SYS_rt_sigaction),
    ("rt_sigprocmask", libc::SYS_rt_sigprocmask),
    ("rt_sigreturn", libc::SYS_rt_sigreturn),
    ("ioctl", libc::SYS_ioctl),
    ("pread64", libc::SYS_pread64),
    ("pwrite64", libc::SYS_pwrite64),
    ("mremap", libc::SYS_mremap),
    ("madvise", libc::SYS_madvise),
    ("getpid", libc::SYS_getpid),
    ("socket", libc::SYS_socket),
    ("sendmsg", libc::SYS_sendmsg),
    ("recvmsg", libc::SYS_recvmsg),
    ("socketpair", libc::SYS_socketpair),
    ("setsockopt", libc::SYS_setsockopt),
    ("clone", libc::SYS_clone),
    ("execve", libc::SYS_execve),
    ("exit", libc::SYS_exit),
    ("wait4", libc::SYS_wait4),
    ("kill", libc::SYS_kill),
    ("fcntl", libc::SYS_fcntl),
    ("ftruncate", libc::SYS_ftruncate),
    ("chdir", libc::SYS_chdir),
    ("fchdir", libc::SYS_fchdir),
    ("umask", libc::SYS_umask),
    ("geteuid", libc::SYS_geteuid),
    ("getegid", libc::SYS_getegid),
    ("setpgid", libc::SYS_setpgid),
    ("getppid", libc::SYS_getppid),
    ("setsid", libc::SYS_setsid),
    ("setgroups", libc::SYS_setgroups),
    ("setresuid", libc::SYS_setresuid),
    ("setresgid", libc::SYS_setresgid),
    ("getpgid", libc::SYS_getpgid),
    ("capget", libc::SYS_capget),
    ("capset", libc::SYS_capset),
    ("personality", libc::SYS_personality),
    ("setpriority", libc::SYS_setpriority),
    ("mlock", libc::SYS_mlock),
    ("pivot_root", libc::SYS_pivot_root),
    ("prctl", libc::SYS_prctl),
    ("arch_prctl", libc::SYS_arch_prctl),
    ("chroot", libc::SYS_chroot),
    ("umount2", libc::SYS_umount2),
    ("sethostname", libc::SYS_sethostname),
    ("setdomainname", libc::SYS_setdomainname),
    ("futex", libc::SYS_futex),
    ("sched_setaffinity", libc::SYS_sched_setaffinity),
    ("getdents64", libc::SYS_getdents64),
    ("set_tid_address", libc::SYS_set_tid_address),
    ("timer_create", libc::SYS_timer_create),
    ("timer_settime", libc::SYS_timer_settime),
    ("timer_delete", libc::SYS_timer_delete),
    ("clock_gettime", libc::SYS_clock_gettime),
    ("exit_group", libc::SYS_exit_group),
    ("set_mempolicy", libc::SYS_set_mempolicy),
    ("keyctl", libc::SYS_keyctl),
    ("ioprio_set", libc::SYS_ioprio_set),
    ("openat", libc::SYS_openat),
    ("mkdirat", libc::SYS_mkdirat),
    ("unlinkat", libc::SYS_unlinkat),
    ("symlinkat", libc::SYS_symlinkat),
    ("readlinkat", libc::SYS_readlinkat),
    ("fchmodat", libc::SYS_fchmodat),
    ("ppoll", libc::SYS_ppoll),
    ("unshare", libc::SYS_unshare),
    ("signalfd4", libc::SYS_signalfd4),
    ("dup3", libc::SYS_dup3),
    ("prlimit64", libc::SYS_prlimit64),
    ("setns", libc::SYS_setns),
    ("sched_setattr", libc::SYS_sched_setattr),
    ("sched_getattr", libc::SYS_sched_getattr),
    ("seccomp", libc::SYS_seccomp),
    ("memfd_create", libc::SYS_memfd_create),
    ("execveat", libc::SYS_execveat),
    ("pidfd_send_signal", libc::SYS_pidfd_send_signal),
    ("open_tree", libc::SYS_open_tree),
    ("move_mount", libc::SYS_move_mount),
    ("fsopen", libc::SYS_fsopen),
    ("fsconfig", libc::SYS_fsconfig),
    ("fsmount", libc::SYS_fsmount),
    ("pidfd_open", libc::SYS_pidfd_open),
    ("clone3", libc::SYS_clone3),
    ("close_range", libc::SYS_close_range),
    ("openat2", libc::SYS_openat2),
    ("mount_setattr", libc::SYS_mount_setattr),
    ("landlock_add_rule", libc::SYS_landlock_add_rule),
    ("landlock_restrict_self", libc::SYS_landlock_restrict_self),
    ("fchmodat2", libc::SYS_fchmodat2),
];
