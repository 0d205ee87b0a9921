//! What a process says of itself: the probe writes one [`Report`], a test reads it.
//!
//! It must never interpret: numbers and strings are the kernel's own, so that a value which no
//! library knows yet is still reported. How they are obtained is in `observe`.

use crate::{difference, observe, text::Text};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::process::{Command, Stdio};

/// Everything a program can receive from whoever started it.
///
/// `None` means that this process could not find out, usually because it sees no `/proc` or the
/// kernel is older than the attribute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The process id, as the process itself sees it.
    pub pid: i32,
    /// The parent's process id; 0 if the parent is outside the pid namespace.
    pub ppid: i32,
    /// The process group; 0 if it is from outside the pid namespace.
    pub pgid: i32,
    /// The session; 0 if it is from outside the pid namespace.
    pub sid: i32,
    /// The controlling terminal, if there is one.
    pub tty: Option<Tty>,
    /// The arguments, the program's own name first.
    pub argv: Vec<Text>,
    /// The environment as it lies on the stack: in order, duplicates and nameless entries included.
    pub envp: Vec<Text>,
    /// The name `execve` was given (`AT_EXECFN`).
    pub execfn: Option<Text>,
    /// The executable (`/proc/self/exe`).
    pub exe: Option<Text>,
    /// The thread's name, at most 15 bytes.
    pub comm: Text,
    /// The working directory.
    pub cwd: Option<Text>,
    /// Which directory that is.
    pub cwd_at: Option<Place>,
    /// The root directory (`/proc/self/root`).
    pub root: Option<Text>,
    /// Which directory that is.
    pub root_at: Option<Place>,
    /// The file mode creation mask.
    pub umask: u32,
    /// Every open descriptor, in order.
    pub fds: Vec<Fd>,
    /// Signal sets.
    pub signals: Signals,
    /// The alternate signal stack.
    pub alt_stack: Option<AltStack>,
    /// The 16 resource limits, by the lower-case name without `RLIMIT_`: `nofile`, `as`, ...
    pub rlimits: BTreeMap<String, Limit>,
    /// The nice value, -20 to 19.
    pub nice: i32,
    /// The scheduling policy and its parameters.
    pub sched: Option<Schedule>,
    /// The cpus it may run on.
    pub affinity: Vec<usize>,
    /// The I/O priority as `ioprio_get` has it: class in the top bits, 0 if never set.
    pub ioprio: Option<i64>,
    /// How willing the kernel is to kill it when memory is short, -1000 to 1000.
    pub oom_score_adj: Option<i32>,
    /// How late its timers may be, in nanoseconds.
    pub timer_slack_ns: Option<i64>,
    /// The user ids.
    pub uids: Ids,
    /// The group ids.
    pub gids: Ids,
    /// The supplementary groups.
    pub groups: Vec<u32>,
    /// Capability sets.
    pub caps: Capabilities,
    /// `SECBIT_*`, as a number.
    pub securebits: Option<i64>,
    /// Whether capabilities survive giving up uid 0.
    pub keepcaps: Option<i64>,
    /// Whether `execve` can no longer add privileges.
    pub no_new_privs: Option<i64>,
    /// Whether it dumps core and may be traced: 0, 1, or 2 for root only.
    pub dumpable: Option<i64>,
    /// The execution domain and its flags.
    pub personality: i64,
    /// Whether orphaned descendants become its children.
    pub child_subreaper: Option<i32>,
    /// The signal it gets when its parent dies; 0 for none.
    pub pdeathsig: Option<i32>,
    /// `PR_GET_THP_DISABLE`: 0 unless huge pages are off, then with the flags they were put off by.
    pub thp_disable: Option<i64>,
    /// `PR_GET_MDWE`: whether memory is kept from being both writable and executable (Linux 6.3).
    pub mdwe: Option<i64>,
    /// What its session keyring is called, unless that is its user's.
    pub session_keyring: Option<Text>,
    /// System call filters.
    pub seccomp: Option<Seccomp>,
    /// The text of `/proc/self/cgroup`.
    pub cgroup: Option<Text>,
    /// Its namespaces by the names in `/proc/self/ns`, each as `kind:[inode]`.
    pub namespaces: BTreeMap<String, Text>,
    /// The text of `/proc/self/uid_map`.
    pub uid_map: Option<Text>,
    /// The text of `/proc/self/gid_map`.
    pub gid_map: Option<Text>,
    /// The host name its UTS namespace has.
    pub hostname: Text,
    /// How many threads it has.
    pub threads: Option<u32>,
    /// How many lines `/proc/self/maps` has.
    pub maps_lines: Option<usize>,
    /// Whether the program was started with more authority than its starter had (`AT_SECURE`).
    pub at_secure: bool,
    /// What else survives `execve` and is seldom set; an entry the kernel refuses is missing:
    /// `io_flusher`, `mce_kill`, `memory_merge`, `tsc`, `spec_store_bypass`, `sched_core_cookie`,
    /// `mempolicy`, `itimer_real_armed`, `coredump_filter`, `locked_kib`.
    pub more: BTreeMap<String, i64>,
}

/// A controlling terminal.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tty {
    /// Its device number, if `/proc` tells.
    pub device: Option<u64>,
    /// Its foreground process group, if it has one.
    pub foreground: Option<i32>,
}

/// A file by device and inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The device it is on.
    pub dev: u64,
    /// Its inode there.
    pub ino: u64,
}

/// One open descriptor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Fd {
    /// Its number.
    pub fd: i32,
    /// The device of what it refers to.
    pub dev: u64,
    /// The inode of what it refers to.
    pub ino: u64,
    /// File type and permissions, as `st_mode`.
    pub mode: u32,
    /// The device it is, if it is one.
    pub rdev: u64,
    /// Access mode and status flags (`F_GETFL`).
    pub flags: u32,
    /// Whether `execve` closes it.
    pub cloexec: bool,
    /// The file position, if it has one.
    pub offset: Option<u64>,
    /// Where its `/proc` link points.
    pub target: Option<Text>,
}

/// Signal sets, as sorted signal numbers from 1 to 64. 32 and 33, which libc hides, are included.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Signals {
    /// The calling thread's mask.
    pub blocked: Vec<u32>,
    /// Ignored.
    pub ignored: Vec<u32>,
    /// Handled by a function.
    pub caught: Vec<u32>,
    /// Waiting to be delivered.
    pub pending: Vec<u32>,
}

/// An alternate signal stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AltStack {
    /// Whether one is set: a new program has none.
    pub enabled: bool,
    /// `SS_*`, as a number.
    pub flags: i32,
    /// Its size in bytes.
    pub size: usize,
}

/// A resource limit; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limit {
    /// The limit in force.
    pub soft: Option<u64>,
    /// What the process may raise it to.
    pub hard: Option<u64>,
}

/// What `sched_getattr` says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// `SCHED_*`, as a number.
    pub policy: u32,
    /// `SCHED_FLAG_*`, as a number.
    pub flags: u64,
    /// The nice value, for policies that use one.
    pub nice: i32,
    /// The real-time priority, for policies that use one.
    pub priority: u32,
    /// Nanoseconds of each period for a deadline policy; the slice for a normal one (Linux 6.12).
    pub runtime_ns: u64,
    /// The deadline.
    pub deadline_ns: u64,
    /// The period.
    pub period_ns: u64,
}

/// The four ids a thread has of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// Who started it.
    pub real: u32,
    /// Who it acts as.
    pub effective: u32,
    /// Who it may become again.
    pub saved: u32,
    /// Who it is to the file system.
    pub fs: u32,
}

impl Ids {
    /// Whether all four are `id`.
    #[must_use]
    pub fn all(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved, self.fs] == [id; 4]
    }
}

/// Capability sets, each as 16 hexadecimal digits like the kernel prints them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// May be gained through a file that has it too.
    pub inheritable: String,
    /// May be made effective.
    pub permitted: String,
    /// In force.
    pub effective: String,
    /// The most that `execve` can give.
    pub bounding: String,
    /// Kept over `execve` of an ordinary file.
    pub ambient: String,
}

/// The state of system call filtering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seccomp {
    /// 0 for none, 1 for strict, 2 for filters.
    pub mode: u32,
    /// How many filters are installed (Linux 5.9).
    pub filters: Option<u32>,
}

impl Report {
    /// What the kernel says of the calling thread and its process. `argv` and `envp` are for the
    /// caller to supply: only a program's first function has them unaltered.
    #[must_use]
    pub fn capture(argv: Vec<Text>, envp: Vec<Text>) -> Self {
        observe::report(argv, envp)
    }

    /// Reads what the probe wrote.
    ///
    /// # Panics
    /// If it is not one whole report; the message has the text.
    #[must_use]
    pub fn parse(json: &[u8]) -> Self {
        serde_json::from_slice(json)
            .unwrap_or_else(|e| panic!("no report ({e}): {:?}", String::from_utf8_lossy(json)))
    }

    /// Runs `command`, which must start the probe with `report` or `report 1`, by the standard
    /// library, and reads the report from its standard output. This is what a test compares with.
    ///
    /// # Panics
    /// If it cannot be started, fails, or writes no report.
    #[must_use]
    pub fn by_std(command: &mut Command) -> Self {
        let output = command.stdout(Stdio::piped()).output().expect("the probe can be started");
        assert!(output.status.success(), "the probe failed: {output:?}");
        Self::parse(&output.stdout)
    }

    /// The descriptor with this number.
    ///
    /// # Panics
    /// If it is not open; the message says which are.
    #[must_use]
    pub fn fd(&self, number: i32) -> &Fd {
        self.find_fd(number)
            .unwrap_or_else(|| panic!("{number} is not among {:?}", self.fd_numbers()))
    }

    /// The descriptor with this number, if it is open.
    #[must_use]
    pub fn find_fd(&self, number: i32) -> Option<&Fd> {
        self.fds.iter().find(|fd| fd.fd == number)
    }

    /// The numbers of all open descriptors, in order.
    #[must_use]
    pub fn fd_numbers(&self) -> Vec<i32> {
        self.fds.iter().map(|fd| fd.fd).collect()
    }

    /// Ignored signals.
    #[must_use]
    pub fn ignored(&self) -> &[u32] {
        &self.signals.ignored
    }

    /// Blocked signals.
    #[must_use]
    pub fn blocked(&self) -> &[u32] {
        &self.signals.blocked
    }

    /// The first value of an environment variable.
    #[must_use]
    pub fn env(&self, name: &str) -> Option<&[u8]> {
        let prefix = [name.as_bytes(), b"="].concat();
        self.envp.iter().find_map(|entry| entry.as_bytes().strip_prefix(&prefix[..]))
    }

    /// A resource limit by its name in [`Report::rlimits`].
    ///
    /// # Panics
    /// If there is none of that name.
    #[must_use]
    pub fn rlimit(&self, name: &str) -> Limit {
        *self.rlimits.get(name).unwrap_or_else(|| panic!("there is no limit named {name}"))
    }

    /// How another process differs from this one, a line for each place, leaving out the paths
    /// in `ignored` (`"pid"`, `"fds"`, `"sched.nice"`, ...). Empty if they are the same.
    #[must_use]
    pub fn diff(&self, other: &Self, ignored: &[&str]) -> Vec<String> {
        difference::lines(self, other, ignored)
    }
}
