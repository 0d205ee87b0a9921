//! How the kernel is asked what a thread and its process have.
//!
//! It must never change what it looks at, and never leave out what it did not expect: where
//! rustix knows only some values of an attribute, the call is made without it. Descriptors are
//! listed before anything else is opened, and all of it works, with gaps, without `/proc`.

use crate::caller::Disposition;
use crate::report::{
    AltStack, Capabilities, Fd, Ids, Limit, Place, Report, Schedule, Seccomp, Signals, Tty,
};
use crate::text::Text;
use rustix::fs::{Mode, OFlags};
use rustix::process::Resource;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::str::FromStr;

/// The calling thread's directory in `/proc`; `/proc/self` is that of the main thread.
const PROC: &str = "/proc/thread-self";

pub(crate) fn report(argv: Vec<Text>, envp: Vec<Text>) -> Report {
    let fds = fds();
    let maps_lines = read("maps").map(|maps| maps.iter().filter(|byte| **byte == b'\n').count());
    let status = Status::read();
    let [uids, gids] = ids();
    Report {
        pid: rustix::process::getpid().as_raw_pid(),
        ppid: rustix::process::getppid().map_or(0, |pid| pid.as_raw_pid()),
        pgid: group(),
        sid: session(),
        tty: tty(),
        argv,
        envp,
        execfn: execfn(),
        exe: link("exe"),
        comm: comm(),
        cwd: link("cwd").or_else(cwd),
        cwd_at: place("."),
        root: link("root"),
        root_at: place("/"),
        umask: status.umask().unwrap_or_else(umask_by_swap),
        fds,
        signals: signals(),
        alt_stack: alt_stack(),
        rlimits: rlimits(),
        nice: rustix::process::getpriority_process(None).expect("one's own nice value is readable"),
        sched: schedule(),
        affinity: affinity(),
        ioprio: ioprio(),
        oom_score_adj: number("oom_score_adj"),
        timer_slack_ns: Number::TIMER_SLACK.get(),
        uids,
        gids,
        groups: groups(),
        caps: capabilities(),
        securebits: Number::SECUREBITS.get(),
        keepcaps: Number::KEEPCAPS.get(),
        no_new_privs: Number::NO_NEW_PRIVS.get(),
        dumpable: Number::DUMPABLE.get(),
        personality: personality(),
        child_subreaper: prctl_stored(libc::PR_GET_CHILD_SUBREAPER),
        pdeathsig: prctl_stored(libc::PR_GET_PDEATHSIG),
        thp_disable: Number::THP_DISABLE.get(),
        mdwe: Number::MDWE.get(),
        session_keyring: session_keyring(),
        seccomp: status.seccomp(),
        cgroup: read("cgroup").map(Text::from),
        namespaces: namespaces(),
        uid_map: read("uid_map").map(Text::from),
        gid_map: read("gid_map").map(Text::from),
        hostname: rustix::system::uname().nodename().to_bytes().to_vec().into(),
        threads: status.field("Threads"),
        maps_lines,
        at_secure: auxiliary(libc::AT_SECURE) != 0,
        more: more(&status),
    }
}

// ---- `/proc` ----

/// The whole of a file of the calling thread.
fn read(name: &str) -> Option<Vec<u8>> {
    std::fs::read(Path::new(PROC).join(name)).ok()
}

/// A file of the calling thread that holds one decimal number.
fn number<T: FromStr>(name: &str) -> Option<T> {
    std::str::from_utf8(&read(name)?).ok()?.trim().parse().ok()
}

/// Where a link of the calling thread points.
fn link(name: &str) -> Option<Text> {
    Some(std::fs::read_link(Path::new(PROC).join(name)).ok()?.into())
}

/// The working directory without `/proc`, which alone can name one that has been removed.
fn cwd() -> Option<Text> {
    Some(rustix::process::getcwd(Vec::new()).ok()?.into_bytes().into())
}

/// Which file a path leads to.
fn place(path: &str) -> Option<Place> {
    let stat = rustix::fs::stat(path).ok()?;
    Some(Place { dev: stat.st_dev, ino: stat.st_ino })
}

fn namespaces() -> BTreeMap<String, Text> {
    let entries = std::fs::read_dir(Path::new(PROC).join("ns"));
    let named = entries.into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        let target = std::fs::read_link(entry.path()).ok()?;
        Some((name, target.into()))
    });
    named.collect()
}

/// The text of `status`, or nothing.
struct Status(String);

impl Status {
    fn read() -> Self {
        // Lossy is enough: the one line that need not be UTF-8 is the name, asked for elsewhere.
        Self(read("status").map_or(String::new(), |text| String::from_utf8_lossy(&text).into()))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    }

    fn field<T: FromStr>(&self, name: &str) -> Option<T> {
        self.text(name)?.split(' ').next()?.parse().ok()
    }

    /// The mask, in Linux 4.7 and later. Read here because the call that tells it also sets it,
    /// for every thread.
    fn umask(&self) -> Option<u32> {
        u32::from_str_radix(self.text("Umask")?, 8).ok()
    }

    fn seccomp(&self) -> Option<Seccomp> {
        let from_status = self.field("Seccomp");
        let mode = from_status.or_else(|| Number::SECCOMP.get()?.try_into().ok())?;
        Some(Seccomp { mode, filters: self.field("Seccomp_filters") })
    }
}

/// One line of `stat`.
pub(crate) struct Stat {
    /// The name between the parentheses.
    pub(crate) comm: String,
    rest: String,
}

impl Stat {
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(text);
        // A name may contain anything, parentheses too, but nothing after it does.
        let (before, rest) = text.rsplit_once(") ")?;
        Some(Self { comm: before.split_once('(')?.1.to_owned(), rest: rest.to_owned() })
    }

    /// A field by its number in proc_pid_stat(5), 3 or more.
    pub(crate) fn field<T: FromStr>(&self, number: usize) -> Option<T> {
        self.rest.split_ascii_whitespace().nth(number - 3)?.parse().ok()
    }
}

/// The mask by setting it twice: for a process without `/proc`, which has only one thread.
fn umask_by_swap() -> u32 {
    let mask = rustix::process::umask(Mode::empty());
    rustix::process::umask(mask);
    mask.bits()
}

fn tty() -> Option<Tty> {
    // Opening a terminal could change it (a hang-up, a driver's buffers), so `/proc` goes first.
    if let Some(stat) = read("stat").and_then(|text| Stat::parse(&text)) {
        let device = stat.field(7).filter(|device| *device != 0)?;
        return Some(Tty {
            device: Some(device),
            foreground: stat.field(8).filter(|group| *group > 0),
        });
    }
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let terminal = rustix::fs::open("/dev/tty", flags, Mode::empty()).ok()?;
    let foreground = rustix::termios::tcgetpgrp(&terminal).ok().map(|group| group.as_raw_pid());
    Some(Tty { device: None, foreground })
}

// ---- descriptors ----

/// All open descriptors in order, without the one it takes to list them.
pub(crate) fn fds() -> Vec<Fd> {
    let mut numbers = listed_fds().unwrap_or_else(|| (0..FD_SCAN_END).collect());
    numbers.sort_unstable();
    numbers.into_iter().filter_map(fd).collect()
}

/// Where the search for descriptors ends if they cannot be listed. The limit on their number does
/// not bound them: it may have been lowered since.
const FD_SCAN_END: i32 = 1 << 20;

fn listed_fds() -> Option<Vec<i32>> {
    use std::os::fd::AsRawFd;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open("/proc/self/fd", flags, Mode::empty()).ok()?;
    let own = dir.as_raw_fd();
    let entries = rustix::fs::Dir::new(dir).ok()?;
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str().ok()?.parse().ok());
    Some(numbers.filter(|number| *number != own).collect())
}

/// What is known of a descriptor, or nothing if the number is not open.
fn fd(number: i32) -> Option<Fd> {
    // SAFETY: `number` is not -1. Nothing here closes it; if another thread does, each call below
    // answers EBADF, or describes the file that took its place, and none of them changes a file.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    let cloexec = rustix::io::fcntl_getfd(borrowed).ok()?.contains(rustix::io::FdFlags::CLOEXEC);
    let flags = rustix::fs::fcntl_getfl(borrowed).ok()?.bits();
    let stat = rustix::fs::fstat(borrowed).ok()?;
    Some(Fd {
        fd: number,
        dev: stat.st_dev,
        ino: stat.st_ino,
        mode: stat.st_mode,
        rdev: stat.st_rdev,
        flags,
        cloexec,
        offset: rustix::fs::seek(borrowed, rustix::fs::SeekFrom::Current(0)).ok(),
        target: link(&format!("fd/{number}")),
    })
}

// ---- signals ----

/// How many signals there are, and so the bits of the kernel's signal set. libc's own calls hide
/// 32 and 33, which it uses itself, so all of these are made without it.
const SIGNALS: u32 = 64;
/// The size of that set in bytes, which every call on one wants to know.
const SET_SIZE: usize = (SIGNALS / 8) as usize;

fn signals() -> Signals {
    let mut blocked = 0_u64;
    // SAFETY: without a new set the call only writes the old one, `SET_SIZE` bytes to a `u64`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_BLOCK,
            std::ptr::null::<u64>(),
            &raw mut blocked,
            SET_SIZE,
        )
    };
    assert_eq!(result, 0, "reading the mask cannot fail");
    let mut pending = 0_u64;
    // SAFETY: the call writes `SET_SIZE` bytes to a `u64`.
    let result = unsafe { libc::syscall(libc::SYS_rt_sigpending, &raw mut pending, SET_SIZE) };
    assert_eq!(result, 0, "reading pending signals cannot fail");
    let dispositions = dispositions();
    let with = |wanted: fn(usize) -> bool| {
        dispositions.iter().filter(|d| wanted(d.handler)).map(|d| d.signal).collect()
    };
    Signals {
        blocked: members(blocked),
        ignored: with(|handler| handler == libc::SIG_IGN),
        caught: with(|handler| handler != libc::SIG_IGN && handler != libc::SIG_DFL),
        pending: members(pending),
    }
}

fn members(set: u64) -> Vec<u32> {
    (1..=SIGNALS).filter(|signal| set >> (signal - 1) & 1 == 1).collect()
}

/// `struct sigaction` as the kernel has it, which differs from libc's.
#[repr(C)]
#[derive(Default)]
struct KernelAction {
    handler: usize,
    flags: libc::c_ulong,
    #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
    restorer: usize,
    mask: u64,
}

/// The dispositions of all 64 signals.
pub(crate) fn dispositions() -> Vec<Disposition> {
    (1..=SIGNALS).map(disposition).collect()
}

fn disposition(signal: u32) -> Disposition {
    let mut action = KernelAction::default();
    // SAFETY: without a new action the call only writes the old one, which is laid out as the
    // kernel's, and `SET_SIZE` is the size of its mask.
    let result = unsafe {
        libc::syscall(
            libc::SYS_rt_sigaction,
            signal,
            std::ptr::null::<KernelAction>(),
            &raw mut action,
            SET_SIZE,
        )
    };
    assert_eq!(result, 0, "reading the disposition of {signal} cannot fail");
    Disposition {
        signal,
        handler: action.handler,
        flags: action.flags,
        #[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
        restorer: action.restorer,
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        restorer: 0,
        mask: action.mask,
    }
}

fn alt_stack() -> Option<AltStack> {
    let mut stack =
        libc::stack_t { ss_sp: std::ptr::null_mut(), ss_flags: libc::SS_DISABLE, ss_size: 0 };
    // SAFETY: without a new stack the call only writes the old one's description.
    let result = unsafe { libc::sigaltstack(std::ptr::null(), &raw mut stack) };
    (result == 0).then_some(AltStack {
        enabled: stack.ss_flags & libc::SS_DISABLE == 0,
        flags: stack.ss_flags,
        size: stack.ss_size,
    })
}

// ---- limits and scheduling ----

pub(crate) fn rlimits() -> BTreeMap<String, Limit> {
    let resources = [
        ("cpu", Resource::Cpu),
        ("fsize", Resource::Fsize),
        ("data", Resource::Data),
        ("stack", Resource::Stack),
        ("core", Resource::Core),
        ("rss", Resource::Rss),
        ("nproc", Resource::Nproc),
        ("nofile", Resource::Nofile),
        ("memlock", Resource::Memlock),
        ("as", Resource::As),
        ("locks", Resource::Locks),
        ("sigpending", Resource::Sigpending),
        ("msgqueue", Resource::Msgqueue),
        ("nice", Resource::Nice),
        ("rtprio", Resource::Rtprio),
        ("rttime", Resource::Rttime),
    ];
    let limit = |resource| {
        let limit = rustix::process::getrlimit(resource);
        Limit { soft: limit.current, hard: limit.maximum }
    };
    resources.into_iter().map(|(name, resource)| (name.to_owned(), limit(resource))).collect()
}

fn schedule() -> Option<Schedule> {
    // SAFETY: the structure is plain numbers, for all of which 0 is a value.
    let mut attr: libc::sched_attr = unsafe { std::mem::zeroed() };
    let size = size_of::<libc::sched_attr>();
    // SAFETY: the kernel writes no more than the size it is told, which is the structure's.
    let result = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, &raw mut attr, size, 0) };
    (result == 0).then_some(Schedule {
        policy: attr.sched_policy,
        flags: attr.sched_flags,
        nice: attr.sched_nice,
        priority: attr.sched_priority,
        runtime_ns: attr.sched_runtime,
        deadline_ns: attr.sched_deadline,
        period_ns: attr.sched_period,
    })
}

fn affinity() -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let set = sched_getaffinity(None).unwrap_or_default();
    (0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect()
}

fn ioprio() -> Option<i64> {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    // SAFETY: the call takes numbers only and changes nothing.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_get, IOPRIO_WHO_PROCESS, 0) };
    (result >= 0).then_some(result)
}

// ---- identity and authority ----

/// rustix takes a process group for a positive number, but it is 0 when it is from outside the
/// pid namespace.
fn group() -> i32 {
    // SAFETY: the call takes a number and changes nothing.
    unsafe { libc::getpgid(0) }
}

/// The calling process's session, likewise 0 if it is from outside the pid namespace.
#[must_use]
pub fn session() -> i32 {
    // SAFETY: the call takes a number and changes nothing.
    unsafe { libc::getsid(0) }
}

/// The user and the group ids of the calling thread.
fn ids() -> [Ids; 2] {
    let mut uids = Ids { real: 0, effective: 0, saved: 0, fs: 0 };
    // SAFETY: the call writes to three numbers that live until it returns.
    let result = unsafe {
        libc::getresuid(&raw mut uids.real, &raw mut uids.effective, &raw mut uids.saved)
    };
    assert_eq!(result, 0, "reading one's own user ids cannot fail");
    let mut gids = Ids { real: 0, effective: 0, saved: 0, fs: 0 };
    // SAFETY: the call writes to three numbers that live until it returns.
    let result = unsafe {
        libc::getresgid(&raw mut gids.real, &raw mut gids.effective, &raw mut gids.saved)
    };
    assert_eq!(result, 0, "reading one's own group ids cannot fail");
    // Setting an id that cannot be, -1, changes nothing; the answer is the id in force.
    // SAFETY: the call takes a number and, as just said, changes nothing.
    uids.fs = unsafe { libc::syscall(libc::SYS_setfsuid, u32::MAX) } as u32;
    // SAFETY: as for the user id.
    gids.fs = unsafe { libc::syscall(libc::SYS_setfsgid, u32::MAX) } as u32;
    [uids, gids]
}

fn groups() -> Vec<u32> {
    let groups = rustix::process::getgroups().expect("reading one's own groups cannot fail");
    groups.into_iter().map(rustix::process::Gid::as_raw).collect()
}

fn capabilities() -> Capabilities {
    let sets = rustix::thread::capabilities(None).expect("reading one's own sets cannot fail");
    // Each bit is asked for by itself; a capability the kernel does not know is refused.
    let collect = |held: fn(u64) -> bool| {
        (0..64).filter(|bit| held(*bit)).fold(0_u64, |set, bit| set | 1 << bit)
    };
    let hex = |set: u64| format!("{set:016x}");
    Capabilities {
        inheritable: hex(sets.inheritable.bits()),
        permitted: hex(sets.permitted.bits()),
        effective: hex(sets.effective.bits()),
        bounding: hex(collect(|bit| Number(libc::PR_CAPBSET_READ, [bit, 0]).get() == Some(1))),
        ambient: hex(collect(|bit| {
            const IS_SET: u64 = libc::PR_CAP_AMBIENT_IS_SET as u64;
            Number(libc::PR_CAP_AMBIENT, [IS_SET, bit]).get() == Some(1)
        })),
    }
}

fn personality() -> i64 {
    // SAFETY: the value that cannot be set, all ones, changes nothing and takes no pointer.
    i64::from(unsafe { libc::personality(0xffff_ffff) })
}

// ---- prctl ----

/// A `prctl` that answers with a number: the option and two arguments, the others being 0.
///
/// Only this file makes them, and only of options that change nothing and take no pointer.
struct Number(i32, [u64; 2]);

impl Number {
    const DUMPABLE: Self = Self(libc::PR_GET_DUMPABLE, [0, 0]);
    /// `PR_GET_IO_FLUSHER`, which libc lacks.
    const IO_FLUSHER: Self = Self(58, [0, 0]);
    const KEEPCAPS: Self = Self(libc::PR_GET_KEEPCAPS, [0, 0]);
    const MCE_KILL: Self = Self(libc::PR_MCE_KILL_GET, [0, 0]);
    const MDWE: Self = Self(libc::PR_GET_MDWE, [0, 0]);
    const MEMORY_MERGE: Self = Self(libc::PR_GET_MEMORY_MERGE, [0, 0]);
    const NO_NEW_PRIVS: Self = Self(libc::PR_GET_NO_NEW_PRIVS, [0, 0]);
    const SECCOMP: Self = Self(libc::PR_GET_SECCOMP, [0, 0]);
    const SECUREBITS: Self = Self(libc::PR_GET_SECUREBITS, [0, 0]);
    /// `PR_GET_SPECULATION_CTRL`, which libc has for some targets, of kind 0: store bypass.
    const SPEC_STORE_BYPASS: Self = Self(52, [0, 0]);
    const THP_DISABLE: Self = Self(libc::PR_GET_THP_DISABLE, [0, 0]);
    const TIMER_SLACK: Self = Self(libc::PR_GET_TIMERSLACK, [0, 0]);

    /// The answer; `None` if the kernel refuses.
    fn get(&self) -> Option<i64> {
        let Self(option, [arg2, arg3]) = *self;
        // The call itself and not libc's function, which would cut the answer to an `int`.
        // SAFETY: a `Number` is of an option that changes nothing and takes no pointer.
        let answer = unsafe { libc::syscall(libc::SYS_prctl, option, arg2, arg3, 0_u64, 0_u64) };
        (answer >= 0).then_some(answer)
    }
}

/// A `prctl` that stores its answer as an `int`. `option` must be one of those.
fn prctl_stored(option: i32) -> Option<i32> {
    let mut answer = 0_i32;
    // SAFETY: the options this file passes store one `int` where they are told, and that is one.
    let result = unsafe { libc::prctl(option, &raw mut answer, 0, 0, 0) };
    (result == 0).then_some(answer)
}

fn comm() -> Text {
    rustix::thread::name().map(|name| Text::from(name.into_bytes())).unwrap_or_default()
}

// ---- the rest ----

fn auxiliary(kind: libc::c_ulong) -> libc::c_ulong {
    // SAFETY: the call takes a number and looks in a table that never changes.
    unsafe { libc::getauxval(kind) }
}

fn execfn() -> Option<Text> {
    let name = auxiliary(libc::AT_EXECFN) as *const libc::c_char;
    if name.is_null() {
        return None;
    }
    // SAFETY: the kernel put the address of a string there that ends with NUL and stays for the
    // life of the process.
    let name = unsafe { CStr::from_ptr(name) };
    Some(name.to_bytes().to_vec().into())
}

fn more(status: &Status) -> BTreeMap<String, i64> {
    let hexadecimal =
        |text: Vec<u8>| i64::from_str_radix(std::str::from_utf8(&text).ok()?.trim(), 16).ok();
    let entries = [
        ("io_flusher", Number::IO_FLUSHER.get()),
        ("mce_kill", Number::MCE_KILL.get()),
        ("memory_merge", Number::MEMORY_MERGE.get()),
        ("tsc", prctl_stored(libc::PR_GET_TSC).map(i64::from)),
        ("spec_store_bypass", Number::SPEC_STORE_BYPASS.get()),
        ("sched_core_cookie", core_cookie()),
        ("mempolicy", memory_policy()),
        ("itimer_real_armed", interval_timer()),
        ("coredump_filter", read("coredump_filter").and_then(hexadecimal)),
        ("locked_kib", status.field("VmLck")),
    ];
    let known = entries.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    known.collect()
}

/// Which threads may share a core with this one, as a number whose bits say nothing but "same".
fn core_cookie() -> Option<i64> {
    use rustix::thread::{CoreSchedulingScope, core_scheduling_cookie, gettid};
    let cookie = core_scheduling_cookie(gettid(), CoreSchedulingScope::Thread);
    cookie.ok().map(u64::cast_signed)
}

fn memory_policy() -> Option<i64> {
    let mut mode = 0_i32;
    let nodes = std::ptr::null_mut::<libc::c_ulong>();
    let address = std::ptr::null::<libc::c_void>();
    // SAFETY: without an array of nodes the call only writes the mode, an `int`.
    let result = unsafe {
        libc::syscall(libc::SYS_get_mempolicy, &raw mut mode, nodes, 0_u64, address, 0_u64)
    };
    (result == 0).then_some(i64::from(mode))
}

/// What the session keyring is called, if it is one of its own: who has none is given the user's by
/// being asked.
fn session_keyring() -> Option<Text> {
    const DESCRIBE: libc::c_long = 6;
    const SESSION: libc::c_long = -3;
    let mut bytes = [0u8; 512];
    // SAFETY: the kernel writes at most that many bytes, with a NUL at the end.
    let len = unsafe {
        libc::syscall(libc::SYS_keyctl, DESCRIBE, SESSION, bytes.as_mut_ptr(), bytes.len())
    };
    let described = bytes.get(..usize::try_from(len).ok()?)?.split_last()?.1;
    // Type, uid, gid, permissions, name.
    let name = described.splitn(5, |byte| *byte == b';').nth(4)?;
    (!name.starts_with(b"_uid_ses.")).then(|| Text::from(name.to_vec()))
}

/// Whether the timer that `execve` keeps is running.
fn interval_timer() -> Option<i64> {
    let zero = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let mut timer = libc::itimerval { it_interval: zero, it_value: zero };
    // SAFETY: the call writes one timer, which is what it is given.
    let result = unsafe { libc::getitimer(libc::ITIMER_REAL, &raw mut timer) };
    (result == 0).then_some(i64::from((timer.it_value.tv_sec, timer.it_value.tv_usec) != (0, 0)))
}
