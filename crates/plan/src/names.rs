//! The names of numbers that appear in plans and faults: signals, errnos, resources, policies.

/// The name of a signal without `SIG`, as kill(1) prints it; `None` for real-time signals.
#[must_use]
pub const fn signal_name(signal: u32) -> Option<&'static str> {
    Some(match signal {
        1 => "HUP",
        2 => "INT",
        3 => "QUIT",
        4 => "ILL",
        5 => "TRAP",
        6 => "ABRT",
        7 => "BUS",
        8 => "FPE",
        9 => "KILL",
        10 => "USR1",
        11 => "SEGV",
        12 => "USR2",
        13 => "PIPE",
        14 => "ALRM",
        15 => "TERM",
        16 => "STKFLT",
        17 => "CHLD",
        18 => "CONT",
        19 => "STOP",
        20 => "TSTP",
        21 => "TTIN",
        22 => "TTOU",
        23 => "URG",
        24 => "XCPU",
        25 => "XFSZ",
        26 => "VTALRM",
        27 => "PROF",
        28 => "WINCH",
        29 => "IO",
        30 => "PWR",
        31 => "SYS",
        _ => return None,
    })
}

/// The name of a `RLIMIT_*` number without the prefix.
#[must_use]
pub const fn resource_name(resource: u32) -> Option<&'static str> {
    Some(match resource {
        0 => "CPU",
        1 => "FSIZE",
        2 => "DATA",
        3 => "STACK",
        4 => "CORE",
        5 => "RSS",
        6 => "NPROC",
        7 => "NOFILE",
        8 => "MEMLOCK",
        9 => "AS",
        10 => "LOCKS",
        11 => "SIGPENDING",
        12 => "MSGQUEUE",
        13 => "NICE",
        14 => "RTPRIO",
        15 => "RTTIME",
        _ => return None,
    })
}

/// The name of a `SCHED_*` number without the prefix.
#[must_use]
pub const fn sched_policy_name(policy: u32) -> Option<&'static str> {
    Some(match policy {
        0 => "OTHER",
        1 => "FIFO",
        2 => "RR",
        3 => "BATCH",
        5 => "IDLE",
        6 => "DEADLINE",
        _ => return None,
    })
}

/// The name of a capability as capabilities(7) has it, in lower case; `None` for numbers that it has
/// not.
#[must_use]
pub const fn capability_name(capability: u32) -> Option<&'static str> {
    Some(match capability {
        0 => "cap_chown",
        1 => "cap_dac_override",
        2 => "cap_dac_read_search",
        3 => "cap_fowner",
        4 => "cap_fsetid",
        5 => "cap_kill",
        6 => "cap_setgid",
        7 => "cap_setuid",
        8 => "cap_setpcap",
        9 => "cap_linux_immutable",
        10 => "cap_net_bind_service",
        11 => "cap_net_broadcast",
        12 => "cap_net_admin",
        13 => "cap_net_raw",
        14 => "cap_ipc_lock",
        15 => "cap_ipc_owner",
        16 => "cap_sys_module",
        17 => "cap_sys_rawio",
        18 => "cap_sys_chroot",
        19 => "cap_sys_ptrace",
        20 => "cap_sys_pacct",
        21 => "cap_sys_admin",
        22 => "cap_sys_boot",
        23 => "cap_sys_nice",
        24 => "cap_sys_resource",
        25 => "cap_sys_time",
        26 => "cap_sys_tty_config",
        27 => "cap_mknod",
        28 => "cap_lease",
        29 => "cap_audit_write",
        30 => "cap_audit_control",
        31 => "cap_setfcap",
        32 => "cap_mac_override",
        33 => "cap_mac_admin",
        34 => "cap_syslog",
        35 => "cap_wake_alarm",
        36 => "cap_block_suspend",
        37 => "cap_audit_read",
        38 => "cap_perfmon",
        39 => "cap_bpf",
        40 => "cap_checkpoint_restore",
        _ => return None,
    })
}

/// The name of a securebits flag by its bit, as setpriv(1) has it.
#[must_use]
pub const fn securebit_name(bit: u32) -> Option<&'static str> {
    Some(match bit {
        0 => "noroot",
        1 => "noroot_locked",
        2 => "no_setuid_fixup",
        3 => "no_setuid_fixup_locked",
        4 => "keep_caps",
        5 => "keep_caps_locked",
        6 => "no_cap_ambient_raise",
        7 => "no_cap_ambient_raise_locked",
        _ => return None,
    })
}

/// The name of an `MPOL_*` number without its flags, in lower case.
#[must_use]
pub const fn memory_policy_name(mode: u32) -> Option<&'static str> {
    Some(match mode {
        0 => "default",
        1 => "preferred",
        2 => "bind",
        3 => "interleave",
        4 => "local",
        5 => "preferred-many",
        6 => "weighted-interleave",
        _ => return None,
    })
}

/// The name of an errno that launching a process can meet; `None` for others.
#[must_use]
pub const fn errno_name(errno: u32) -> Option<&'static str> {
    Some(match errno {
        1 => "EPERM",
        2 => "ENOENT",
        3 => "ESRCH",
        4 => "EINTR",
        5 => "EIO",
        6 => "ENXIO",
        7 => "E2BIG",
        8 => "ENOEXEC",
        9 => "EBADF",
        10 => "ECHILD",
        11 => "EAGAIN",
        12 => "ENOMEM",
        13 => "EACCES",
        14 => "EFAULT",
        15 => "ENOTBLK",
        16 => "EBUSY",
        17 => "EEXIST",
        18 => "EXDEV",
        19 => "ENODEV",
        20 => "ENOTDIR",
        21 => "EISDIR",
        22 => "EINVAL",
        23 => "ENFILE",
        24 => "EMFILE",
        25 => "ENOTTY",
        26 => "ETXTBSY",
        27 => "EFBIG",
        28 => "ENOSPC",
        29 => "ESPIPE",
        30 => "EROFS",
        31 => "EMLINK",
        32 => "EPIPE",
        33 => "EDOM",
        34 => "ERANGE",
        35 => "EDEADLK",
        36 => "ENAMETOOLONG",
        38 => "ENOSYS",
        39 => "ENOTEMPTY",
        40 => "ELOOP",
        61 => "ENODATA",
        62 => "ETIME",
        71 => "EPROTO",
        74 => "EBADMSG",
        75 => "EOVERFLOW",
        77 => "EBADFD",
        79 => "ELIBACC",
        80 => "ELIBBAD",
        84 => "EILSEQ",
        87 => "EUSERS",
        88 => "ENOTSOCK",
        90 => "EMSGSIZE",
        95 => "EOPNOTSUPP",
        97 => "EAFNOSUPPORT",
        104 => "ECONNRESET",
        105 => "ENOBUFS",
        109 => "ETOOMANYREFS",
        110 => "ETIMEDOUT",
        111 => "ECONNREFUSED",
        114 => "EALREADY",
        116 => "ESTALE",
        122 => "EDQUOT",
        125 => "ECANCELED",
        126 => "ENOKEY",
        127 => "EKEYEXPIRED",
        128 => "EKEYREVOKED",
        _ => return None,
    })
}
