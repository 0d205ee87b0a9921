//! The policies that come with the library.
//!
//! A profile must never name a call without a reason: whoever reads it is to be able to disagree.

use super::{Action, Compare, Condition, Policy, Rule};

const EPERM: Action = Action::Errno(1);
const ENOSYS: Action = Action::Errno(38);
const EAFNOSUPPORT: Action = Action::Errno(97);

fn words(calls: &str) -> Vec<String> {
    calls.split_whitespace().map(str::to_owned).collect()
}

/// What ordinary programs need, and nothing that reaches the kernel's rarely used parts, other
/// processes, or the system as a whole.
///
/// Calls that it does not know do not exist (ENOSYS), so that programs fall back to older ones; those
/// that it refuses on purpose are EPERM, as for a user who may not.
pub(super) fn default() -> Policy {
    let mut policy = Policy::new(ENOSYS);
    for (action, why, calls) in REFUSED {
        policy.rule(Rule::new(action, words(calls)).skip_missing().why(why));
    }
    arguments(&mut policy);
    for (why, calls) in ALLOWED {
        policy.rule(Rule::new(Action::Allow, words(calls)).skip_missing().why(why));
    }
    policy
}

const REFUSED: [(Action, &str, &str); 12] = [
    (
        EPERM,
        "Mounts and the root directory: how the system looks, and the door to namespaces.",
        "mount umount2 pivot_root chroot open_tree open_tree_attr move_mount fsopen fsconfig fsmount \
         fspick mount_setattr",
    ),
    (
        EPERM,
        "New and other namespaces: in one of its own a user is root over parts of the kernel that are \
         otherwise out of reach.",
        "unshare setns",
    ),
    (
        EPERM,
        "Programs in the kernel, its counters and probes.",
        "bpf perf_event_open lookup_dcookie",
    ),
    (
        EPERM,
        "Other processes' memory, registers and descriptors, also of the same user.",
        "ptrace process_vm_readv process_vm_writev process_madvise kcmp pidfd_getfd move_pages \
         migrate_pages",
    ),
    (EPERM, "Keyrings, which are not kept apart by namespaces.", "add_key request_key keyctl"),
    (
        EPERM,
        "Another kernel, its modules, and the machine as a whole.",
        "kexec_load kexec_file_load init_module finit_module delete_module create_module reboot \
         swapon swapoff acct syslog quotactl quotactl_fd nfsservctl vhangup sethostname setdomainname",
    ),
    (
        EPERM,
        "The clock, which everybody shares.",
        "clock_settime settimeofday adjtimex clock_adjtime",
    ),
    (
        EPERM,
        "Faults handled by a program stretch races in the kernel to any length.",
        "userfaultfd",
    ),
    (
        EPERM,
        "Files by handle are opened past the directories above them; watching a whole file system sees \
         what others do.",
        "open_by_handle_at fanotify_init fanotify_mark",
    ),
    (EPERM, "Ports of the machine, and segments of 16 bits.", "iopl ioperm modify_ldt"),
    (
        ENOSYS,
        "A queue of calls that no filter sees. Programs that have it fall back without it.",
        "io_uring_setup io_uring_enter io_uring_register",
    ),
    (
        ENOSYS,
        "Its flags lie in memory, where a filter cannot look. Whoever does not find it falls back to \
         clone, whose flags can be seen.",
        "clone3",
    ),
];

fn arguments(policy: &mut Policy) {
    // CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
    for flag in [17, 25, 26, 27, 28, 29, 30].map(|bit| 1 << bit) {
        let namespace = Condition::equal(0, flag).mask(flag);
        policy.rule(
            Rule::new(EPERM, ["clone"]).when(namespace).why("A child in a namespace of its own."),
        );
    }
    // TIOCSTI, TIOCLINUX.
    for (request, why) in [
        (0x5412, "Input for the terminal as if it had been typed: a shell would execute it later."),
        (0x541c, "The same by way of the console's selection."),
    ] {
        // The kernel reads an int, whatever the upper half is.
        let request = Condition::equal(1, request).int();
        policy.rule(Rule::new(EPERM, ["ioctl"]).when(request).why(why));
    }
    // PER_LINUX, PER_LINUX32, both with UNAME26, and the question what it is.
    let mut other = Rule::new(EPERM, ["personality"])
        .why("Execution domains that turn protections off, or that hardly anybody has tested.");
    for persona in [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff] {
        other = other.when(Condition::equal(0, persona).compare(Compare::NotEqual).int());
    }
    policy.rule(other);
    // AF_UNIX, AF_INET, AF_INET6, AF_NETLINK.
    let mut families = Rule::new(EAFNOSUPPORT, ["socket", "socketpair"]).why(
        "Sockets but those of the machine, the Internet and netlink: rare protocols are rarely \
              tested, and their modules are loaded by asking.",
    );
    for family in [1, 2, 10, 16] {
        families = families.when(Condition::equal(0, family).compare(Compare::NotEqual).int());
    }
    policy.rule(families);
}

const ALLOWED: [(&str, &str); 12] = [
    (
        "Reading and writing.",
        "read write readv writev pread64 pwrite64 preadv pwritev preadv2 pwritev2 lseek sendfile splice \
         tee vmsplice copy_file_range readahead fadvise64 fallocate ftruncate truncate flock fsync \
         fdatasync sync syncfs sync_file_range cachestat",
    ),
    (
        "Opening and closing.",
        "open openat openat2 creat close close_range dup dup2 dup3 fcntl ioctl pipe pipe2 memfd_create \
         memfd_secret name_to_handle_at",
    ),
    (
        "Waiting for descriptors and events.",
        "poll ppoll select pselect6 epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait \
         epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime timerfd_gettime \
         inotify_init inotify_init1 inotify_add_watch inotify_rm_watch io_setup io_destroy io_submit \
         io_cancel io_getevents io_pgetevents",
    ),
    (
        "Files and directories.",
        "stat fstat lstat newfstatat statx statfs fstatfs access faccessat faccessat2 getdents getdents64 \
         getcwd chdir fchdir mkdir mkdirat rmdir rename renameat renameat2 link linkat unlink unlinkat \
         symlink symlinkat readlink readlinkat chmod fchmod fchmodat fchmodat2 chown fchown lchown \
         fchownat umask mknod mknodat utime utimes utimensat futimesat getxattr lgetxattr fgetxattr \
         listxattr llistxattr flistxattr setxattr lsetxattr fsetxattr removexattr lremovexattr \
         fremovexattr getxattrat setxattrat listxattrat removexattrat file_getattr file_setattr statmount \
         listmount",
    ),
    (
        "Memory.",
        "mmap munmap mremap mprotect pkey_mprotect pkey_alloc pkey_free msync mincore madvise brk mlock \
         mlock2 munlock mlockall munlockall mseal map_shadow_stack remap_file_pages mbind set_mempolicy \
         get_mempolicy set_mempolicy_home_node",
    ),
    (
        "Processes and threads.",
        "clone fork vfork execve execveat exit exit_group wait4 waitid kill tkill tgkill pidfd_open \
         pidfd_send_signal getpid getppid gettid getpgrp getpgid setpgid getsid setsid set_tid_address \
         futex futex_waitv futex_wait futex_wake futex_requeue set_robust_list get_robust_list rseq \
         membarrier sched_yield getcpu prctl arch_prctl set_thread_area get_thread_area personality \
         restart_syscall uretprobe uprobe",
    ),
    (
        "Signals.",
        "rt_sigaction rt_sigprocmask rt_sigpending rt_sigtimedwait rt_sigqueueinfo rt_tgsigqueueinfo \
         rt_sigsuspend rt_sigreturn sigaltstack pause",
    ),
    (
        "Time.",
        "time gettimeofday clock_gettime clock_getres clock_nanosleep nanosleep times getitimer setitimer \
         alarm timer_create timer_settime timer_gettime timer_getoverrun timer_delete",
    ),
    (
        "Ids and capabilities: what may be done with them is what the credentials say.",
        "getuid geteuid getgid getegid getresuid getresgid getgroups setuid setgid setreuid setregid \
         setresuid setresgid setgroups setfsuid setfsgid capget capset",
    ),
    (
        "Limits, priorities and figures.",
        "getrlimit setrlimit prlimit64 getrusage sysinfo uname getpriority setpriority ioprio_get \
         ioprio_set sched_setparam sched_getparam sched_setscheduler sched_getscheduler sched_setattr \
         sched_getattr sched_get_priority_max sched_get_priority_min sched_rr_get_interval \
         sched_setaffinity sched_getaffinity getrandom",
    ),
    (
        "Talking to others.",
        "socket socketpair bind listen accept accept4 connect shutdown getsockname getpeername \
         getsockopt setsockopt sendto recvfrom sendmsg recvmsg sendmmsg recvmmsg shmget shmat shmctl \
         shmdt semget semop semctl semtimedop msgget msgsnd msgrcv msgctl mq_open mq_unlink mq_timedsend \
         mq_timedreceive mq_notify mq_getsetattr",
    ),
    (
        "Being confined further.",
        "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self lsm_get_self_attr \
         lsm_list_modules",
    ),
];
