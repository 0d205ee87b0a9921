//! The operations: what each is called, what it carries, where in a plan it may stand, and which
//! executor it needs.
//!
//! Adding an op touches, in this crate: one row of the table below, one variant of [`Op`], its arm
//! in [`Op::decode`] and in [`Op::parts`], and its range check in `check.rs`.

use crate::format::{DataRef, Entry};
use crate::view::Plan;
use bitflags::bitflags;
use core::ffi::CStr;

/// A grant's name inside a plan: an index into the grants that a spawn brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// What stands in an entry whose op takes no slot.
pub const NO_SLOT: u32 = u32::MAX;

/// Who has to execute an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// It can run in a child that still shares its creator's memory.
    Direct,
    /// It would reach the creator through the shared memory, so it needs a process that has
    /// already exec'd the seed.
    Seed,
}

/// The stretch of a plan in which an op may stand; a plan is executed in order, and the kernel
/// demands some orders. Later numbers come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// No later than anything whose last place is below this.
    pub first: u8,
    /// No earlier than anything whose first place is above this.
    pub last: u8,
}

/// What an argument of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ArgKind {
    Zero,
    U32,
    I32,
    U64,
}

/// What a data reference of an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DataKind {
    Absent,
    Path,
    Search,
    Groups,
    CpuMask,
}

/// What an entry of one code must look like.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) slot: bool,
    pub(crate) flags: u16,
    pub(crate) args: [ArgKind; 4],
    pub(crate) data: [DataKind; 2],
}

macro_rules! op_codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal $text:literal $route:ident $first:literal..=$last:literal
        { slot: $slot:literal, flags: $flags:literal, args: [$a:ident $b:ident $c:ident $d:ident], data: [$e:ident $f:ident] })*) => {
        /// The number of an op in the byte format. A number is never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u16)]
        pub enum OpCode {
            $($(#[$doc])* $name = $code,)*
        }

        impl OpCode {
            /// Every code, in ascending order.
            pub const ALL: &'static [OpCode] = &[$(OpCode::$name,)*];

            /// The code with this number.
            #[must_use]
            pub const fn from_number(number: u16) -> Option<Self> {
                match number {
                    $($code => Some(OpCode::$name),)*
                    _ => None,
                }
            }

            /// The name, as it is printed.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(OpCode::$name => $text,)* }
            }

            /// Who has to execute it.
            #[must_use]
            pub const fn route(self) -> Route {
                match self { $(OpCode::$name => Route::$route,)* }
            }

            /// Where in a plan it may stand.
            #[must_use]
            pub const fn place(self) -> Place {
                match self { $(OpCode::$name => Place { first: $first, last: $last },)* }
            }

            pub(crate) const fn shape(self) -> Shape {
                match self { $(OpCode::$name => Shape {
                    slot: $slot,
                    flags: $flags,
                    args: [ArgKind::$a, ArgKind::$b, ArgKind::$c, ArgKind::$d],
                    data: [DataKind::$e, DataKind::$f],
                },)* }
            }
        }
    };
}

op_codes! {
    /// Fails with the given errno: for trying out how a caller handles a fault.
    Fail = 0x0001 "fail" Direct 0..=99
        { slot: false, flags: 0, args: [U32 Zero Zero Zero], data: [Absent Absent] }

    /// setsid(2).
    SetSid = 0x0101 "set-sid" Direct 10..=10
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// setpgid(2).
    SetPgid = 0x0102 "set-pgid" Direct 10..=10
        { slot: false, flags: 0, args: [U32 Zero Zero Zero], data: [Absent Absent] }
    /// ioctl(2) TIOCSCTTY.
    ControllingTty = 0x0103 "controlling-tty" Direct 20..=20
        { slot: true, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// tcsetpgrp(3) to the child's own process group.
    Foreground = 0x0104 "foreground" Direct 21..=21
        { slot: true, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }

    /// dup3(2): a grant arrives at a number.
    PutFd = 0x0201 "put-fd" Direct 30..=30
        { slot: true, flags: 0, args: [U32 Zero Zero Zero], data: [Absent Absent] }
    /// /dev/null at a number.
    OpenNull = 0x0202 "open-null" Direct 30..=30
        { slot: false, flags: 0, args: [U32 U32 Zero Zero], data: [Absent Absent] }

    /// /proc/self/oom_score_adj. Through the seed: the kernel sets it for all who share memory.
    OomScoreAdj = 0x0301 "oom-score-adj" Seed 40..=40
        { slot: false, flags: 0, args: [I32 Zero Zero Zero], data: [Absent Absent] }
    /// prlimit(2).
    Rlimit = 0x0302 "rlimit" Direct 50..=50
        { slot: false, flags: 0, args: [U32 U64 U64 Zero], data: [Absent Absent] }
    /// sched_setattr(2).
    Sched = 0x0303 "sched" Direct 51..=51
        { slot: false, flags: 7, args: [U64 U64 U64 U64], data: [Absent Absent] }
    /// setpriority(2). After `sched`, which would set it again.
    Nice = 0x0304 "nice" Direct 52..=52
        { slot: false, flags: 0, args: [I32 Zero Zero Zero], data: [Absent Absent] }
    /// sched_setaffinity(2).
    Affinity = 0x0305 "affinity" Direct 50..=55
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [CpuMask Absent] }
    /// ioprio_set(2).
    IoPriority = 0x0306 "io-priority" Direct 50..=55
        { slot: false, flags: 0, args: [U32 Zero Zero Zero], data: [Absent Absent] }
    /// prctl(2) PR_SET_TIMERSLACK.
    TimerSlack = 0x0307 "timer-slack" Direct 50..=55
        { slot: false, flags: 0, args: [U64 Zero Zero Zero], data: [Absent Absent] }

    /// chroot(2) to a path.
    ChrootPath = 0x0401 "chroot" Direct 60..=60
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Path Absent] }
    /// chroot(2) to a granted directory.
    ChrootSlot = 0x0402 "chroot-fd" Direct 60..=60
        { slot: true, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// chdir(2).
    ChdirPath = 0x0403 "chdir" Direct 65..=85
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Path Absent] }
    /// fchdir(2).
    ChdirSlot = 0x0404 "chdir-fd" Direct 65..=85
        { slot: true, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// umask(2).
    Umask = 0x0405 "umask" Direct 30..=85
        { slot: false, flags: 0, args: [U32 Zero Zero Zero], data: [Absent Absent] }

    /// setgroups(2).
    Groups = 0x0501 "groups" Seed 70..=70
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Groups Absent] }
    /// setresgid(2).
    Gid = 0x0502 "gid" Seed 71..=71
        { slot: false, flags: 0, args: [U32 U32 U32 Zero], data: [Absent Absent] }
    /// setresuid(2).
    Uid = 0x0503 "uid" Seed 72..=72
        { slot: false, flags: 0, args: [U32 U32 U32 Zero], data: [Absent Absent] }
    /// prctl(2) PR_SET_PDEATHSIG, and a look whether the parent is still there. After the
    /// credentials, whose change would clear it.
    DeathSignal = 0x0504 "death-signal" Direct 80..=80
        { slot: false, flags: 0, args: [U32 Zero Zero Zero], data: [Absent Absent] }
    /// prctl(2) PR_SET_CHILD_SUBREAPER.
    Subreaper = 0x0505 "subreaper" Direct 75..=85
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// personality(2).
    Personality = 0x0506 "personality" Direct 75..=85
        { slot: false, flags: 0, args: [U32 Zero Zero Zero], data: [Absent Absent] }
    /// prctl(2) PR_SET_NO_NEW_PRIVS.
    NoNewPrivs = 0x0507 "no-new-privs" Direct 86..=86
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }

    /// Signals that stay ignored across exec.
    SignalIgnore = 0x0601 "signal-ignore" Direct 95..=95
        { slot: false, flags: 0, args: [U64 Zero Zero Zero], data: [Absent Absent] }
    /// The signal mask the image starts with.
    SignalMask = 0x0602 "signal-mask" Direct 95..=96
        { slot: false, flags: 0, args: [U64 Zero Zero Zero], data: [Absent Absent] }

    /// Signals that get their default action while other ignored ones are kept.
    SignalDefault = 0x0603 "signal-default" Direct 95..=95
        { slot: false, flags: 0, args: [U64 Zero Zero Zero], data: [Absent Absent] }

    /// execve(2).
    ExecPath = 0x0f01 "exec" Direct 100..=100
        { slot: false, flags: 1, args: [Zero Zero Zero Zero], data: [Path Absent] }
    /// execveat(2) of a granted file.
    ExecSlot = 0x0f02 "exec-fd" Direct 100..=100
        { slot: true, flags: 2, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// execvp(3): a name looked up in a search list.
    ExecName = 0x0f03 "exec-name" Direct 100..=100
        { slot: false, flags: 1, args: [Zero Zero Zero Zero], data: [Path Search] }
}

bitflags! {
    /// Flags of the exec ops.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct ExecFlags: u16 {
        /// A file that the kernel does not know how to run (ENOEXEC) is given to `/bin/sh`, as
        /// execvp(3) does.
        const SHELL = 1;
        /// The image's descriptor stays open across exec, at the number it happens to have. A
        /// `#!` script needs it: its interpreter opens `/dev/fd/N`.
        const KEEP_OPEN = 2;
    }

    /// What a child keeps of its creator where a plan would otherwise have to name a value. A plan
    /// says one of the two, never neither, for the first three.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Keep: u32 {
        /// The working directory.
        const CWD = 1;
        /// The umask.
        const UMASK = 2;
        /// The session, with its controlling terminal, and the process group.
        const SESSION = 4;
        /// Ignored signals stay ignored. Otherwise every disposition is the default.
        const IGNORED_SIGNALS = 8;
        /// The calling thread's signal mask. Otherwise no signal is blocked.
        const SIGNAL_MASK = 16;
    }
}

/// How a descriptor may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Access {
    /// `O_RDONLY`.
    Read = 0,
    /// `O_WRONLY`.
    Write = 1,
    /// `O_RDWR`.
    ReadWrite = 2,
}

impl Access {
    const fn from_number(number: u64) -> Option<Self> {
        match number {
            0 => Some(Access::Read),
            1 => Some(Access::Write),
            2 => Some(Access::ReadWrite),
            _ => None,
        }
    }
}

/// One change to a process that has not started. The words are those of the man pages named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Op<'a> {
    /// Fails with `errno`.
    Fail {
        /// The errno, 1 to 4095.
        errno: u32,
    },
    /// A new session without a controlling terminal; setsid(2).
    SetSid,
    /// A process group; setpgid(2).
    SetPgid {
        /// The group to join; 0 makes a new one named after the child.
        pgid: u32,
    },
    /// A granted terminal becomes the controlling one of the new session; ioctl_tty(2).
    ControllingTty {
        /// The terminal.
        slot: Slot,
    },
    /// The child's process group becomes the foreground one of a granted terminal; tcsetpgrp(3).
    Foreground {
        /// The terminal, which must be the controlling one.
        slot: Slot,
    },
    /// A grant arrives at descriptor `fd`, without close-on-exec.
    PutFd {
        /// The grant.
        slot: Slot,
        /// The number in the child.
        fd: u32,
    },
    /// `/dev/null` at descriptor `fd`.
    OpenNull {
        /// The number in the child.
        fd: u32,
        /// How it is opened.
        access: Access,
    },
    /// How readily the OOM killer takes it; proc(5). -1000 to 1000.
    OomScoreAdj {
        /// The value.
        value: i32,
    },
    /// One resource limit; setrlimit(2). `u64::MAX` is no limit.
    Rlimit {
        /// `RLIMIT_*`.
        resource: u32,
        /// Soft limit.
        soft: u64,
        /// Hard limit.
        hard: u64,
    },
    /// Scheduling policy; sched(7). The nice value stays.
    Sched {
        /// `SCHED_*`.
        policy: u32,
        /// 1 to 99 for FIFO and RR, else 0.
        priority: u32,
        /// `SCHED_FLAG_*`: 1 reset on fork, 2 reclaim, 4 overrun signal.
        flags: u16,
        /// Nanoseconds, for DEADLINE.
        runtime_ns: u64,
        /// Nanoseconds, for DEADLINE.
        deadline_ns: u64,
        /// Nanoseconds, for DEADLINE.
        period_ns: u64,
    },
    /// Nice value, -20 to 19; setpriority(2).
    Nice {
        /// The value.
        value: i32,
    },
    /// The CPUs it may run on; sched_setaffinity(2).
    Affinity {
        /// Bit n, little-endian, is CPU n.
        mask: &'a [u8],
    },
    /// I/O priority; ioprio_set(2).
    IoPriority {
        /// Class shifted left by 13, or'ed with the level.
        value: u32,
    },
    /// Timer slack in nanoseconds; prctl(2). 0 is the default of the creator.
    TimerSlack {
        /// Nanoseconds.
        ns: u64,
    },
    /// Root directory by path; chroot(2).
    ChrootPath {
        /// The directory.
        path: &'a CStr,
    },
    /// Root directory by granted descriptor.
    ChrootSlot {
        /// The directory.
        slot: Slot,
    },
    /// Working directory by path; chdir(2).
    ChdirPath {
        /// The directory.
        path: &'a CStr,
    },
    /// Working directory by granted descriptor; fchdir(2).
    ChdirSlot {
        /// The directory.
        slot: Slot,
    },
    /// File mode creation mask; umask(2).
    Umask {
        /// 0 to 0o777.
        mode: u32,
    },
    /// Supplementary groups; setgroups(2).
    Groups {
        /// Gids, little-endian u32s.
        list: &'a [u8],
    },
    /// Group ids; setresgid(2). `u32::MAX` leaves one.
    Gid {
        /// Real.
        real: u32,
        /// Effective.
        effective: u32,
        /// Saved.
        saved: u32,
    },
    /// User ids; setresuid(2). `u32::MAX` leaves one.
    Uid {
        /// Real.
        real: u32,
        /// Effective.
        effective: u32,
        /// Saved.
        saved: u32,
    },
    /// A signal when the thread that spawned ends; prctl(2).
    DeathSignal {
        /// 1 to 64.
        signal: u32,
    },
    /// Orphaned descendants become its children; prctl(2).
    Subreaper,
    /// Execution domain and its flags; personality(2). 0x0040000 turns address randomisation off.
    Personality {
        /// The persona.
        persona: u32,
    },
    /// exec grants no privilege any more; prctl(2).
    NoNewPrivs,
    /// Signals that the image finds ignored; bit n-1 is signal n.
    SignalIgnore {
        /// The set.
        set: u64,
    },
    /// Signals that the image finds blocked; bit n-1 is signal n.
    SignalMask {
        /// The set.
        set: u64,
    },
    /// Signals that the image finds at their default action although the plan keeps ignored ones
    /// ignored; bit n-1 is signal n. What posix_spawn(3) calls `POSIX_SPAWN_SETSIGDEF`.
    SignalDefault {
        /// The set.
        set: u64,
    },
    /// Start a file by path; execve(2).
    ExecPath {
        /// The file.
        path: &'a CStr,
        /// [`ExecFlags::SHELL`] or nothing.
        flags: ExecFlags,
    },
    /// Start a granted file; execveat(2).
    ExecSlot {
        /// The file.
        slot: Slot,
        /// [`ExecFlags::KEEP_OPEN`] or nothing.
        flags: ExecFlags,
    },
    /// Start a file looked up by name; execvp(3) with the search list given here.
    ExecName {
        /// The name. With a slash in it nothing is searched.
        name: &'a CStr,
        /// Directories separated by colons; an empty one is the working directory.
        search: &'a CStr,
        /// [`ExecFlags::SHELL`] or nothing.
        flags: ExecFlags,
    },
}

/// An op taken apart, as it is stored.
#[cfg(feature = "alloc")]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Parts<'a> {
    pub(crate) flags: u16,
    pub(crate) slot: Option<Slot>,
    pub(crate) args: [u64; 4],
    pub(crate) data: [Option<&'a [u8]>; 2],
}

impl<'a> Op<'a> {
    /// Reads an entry of `plan`.
    #[must_use]
    pub fn decode(entry: &Entry, plan: &Plan<'a>) -> Option<Self> {
        let slot = Slot(entry.slot.get());
        let [a, b, c, d] = entry.args.map(|arg| arg.get());
        let flags = entry.flags.get();
        let exec = ExecFlags::from_bits_truncate(flags);
        let bytes = |at: DataRef| plan.data(at);
        let text = |at: DataRef| plan.c_str(at);
        let [first, second] = entry.data;
        Some(match OpCode::from_number(entry.code.get())? {
            OpCode::Fail => Op::Fail { errno: a as u32 },
            OpCode::SetSid => Op::SetSid,
            OpCode::SetPgid => Op::SetPgid { pgid: a as u32 },
            OpCode::ControllingTty => Op::ControllingTty { slot },
            OpCode::Foreground => Op::Foreground { slot },
            OpCode::PutFd => Op::PutFd { slot, fd: a as u32 },
            OpCode::OpenNull => Op::OpenNull { fd: a as u32, access: Access::from_number(b)? },
            OpCode::OomScoreAdj => Op::OomScoreAdj { value: a as i32 },
            OpCode::Rlimit => Op::Rlimit { resource: a as u32, soft: b, hard: c },
            OpCode::Sched => Op::Sched {
                policy: a as u32,
                priority: (a >> 32) as u32,
                flags,
                runtime_ns: b,
                deadline_ns: c,
                period_ns: d,
            },
            OpCode::Nice => Op::Nice { value: a as i32 },
            OpCode::Affinity => Op::Affinity { mask: bytes(first)? },
            OpCode::IoPriority => Op::IoPriority { value: a as u32 },
            OpCode::TimerSlack => Op::TimerSlack { ns: a },
            OpCode::ChrootPath => Op::ChrootPath { path: text(first)? },
            OpCode::ChrootSlot => Op::ChrootSlot { slot },
            OpCode::ChdirPath => Op::ChdirPath { path: text(first)? },
            OpCode::ChdirSlot => Op::ChdirSlot { slot },
            OpCode::Umask => Op::Umask { mode: a as u32 },
            OpCode::Groups => Op::Groups { list: bytes(first)? },
            OpCode::Gid => Op::Gid { real: a as u32, effective: b as u32, saved: c as u32 },
            OpCode::Uid => Op::Uid { real: a as u32, effective: b as u32, saved: c as u32 },
            OpCode::DeathSignal => Op::DeathSignal { signal: a as u32 },
            OpCode::Subreaper => Op::Subreaper,
            OpCode::Personality => Op::Personality { persona: a as u32 },
            OpCode::NoNewPrivs => Op::NoNewPrivs,
            OpCode::SignalIgnore => Op::SignalIgnore { set: a },
            OpCode::SignalMask => Op::SignalMask { set: a },
            OpCode::SignalDefault => Op::SignalDefault { set: a },
            OpCode::ExecPath => Op::ExecPath { path: text(first)?, flags: exec },
            OpCode::ExecSlot => Op::ExecSlot { slot, flags: exec },
            OpCode::ExecName => {
                Op::ExecName { name: text(first)?, search: text(second)?, flags: exec }
            }
        })
    }

    /// The number of this op.
    #[must_use]
    pub fn code(&self) -> OpCode {
        match self {
            Op::Fail { .. } => OpCode::Fail,
            Op::SetSid => OpCode::SetSid,
            Op::SetPgid { .. } => OpCode::SetPgid,
            Op::ControllingTty { .. } => OpCode::ControllingTty,
            Op::Foreground { .. } => OpCode::Foreground,
            Op::PutFd { .. } => OpCode::PutFd,
            Op::OpenNull { .. } => OpCode::OpenNull,
            Op::OomScoreAdj { .. } => OpCode::OomScoreAdj,
            Op::Rlimit { .. } => OpCode::Rlimit,
            Op::Sched { .. } => OpCode::Sched,
            Op::Nice { .. } => OpCode::Nice,
            Op::Affinity { .. } => OpCode::Affinity,
            Op::IoPriority { .. } => OpCode::IoPriority,
            Op::TimerSlack { .. } => OpCode::TimerSlack,
            Op::ChrootPath { .. } => OpCode::ChrootPath,
            Op::ChrootSlot { .. } => OpCode::ChrootSlot,
            Op::ChdirPath { .. } => OpCode::ChdirPath,
            Op::ChdirSlot { .. } => OpCode::ChdirSlot,
            Op::Umask { .. } => OpCode::Umask,
            Op::Groups { .. } => OpCode::Groups,
            Op::Gid { .. } => OpCode::Gid,
            Op::Uid { .. } => OpCode::Uid,
            Op::DeathSignal { .. } => OpCode::DeathSignal,
            Op::Subreaper => OpCode::Subreaper,
            Op::Personality { .. } => OpCode::Personality,
            Op::NoNewPrivs => OpCode::NoNewPrivs,
            Op::SignalIgnore { .. } => OpCode::SignalIgnore,
            Op::SignalMask { .. } => OpCode::SignalMask,
            Op::SignalDefault { .. } => OpCode::SignalDefault,
            Op::ExecPath { .. } => OpCode::ExecPath,
            Op::ExecSlot { .. } => OpCode::ExecSlot,
            Op::ExecName { .. } => OpCode::ExecName,
        }
    }

    /// Whether this starts the image.
    #[must_use]
    pub fn is_start(&self) -> bool {
        self.code().place().first == 100
    }

    /// Takes the op apart into what an entry holds.
    #[cfg(feature = "alloc")]
    pub(crate) fn parts(&self) -> Parts<'a> {
        let none = Parts::default();
        let one = |a: u64| Parts { args: [a, 0, 0, 0], ..none };
        let slot = |slot: Slot| Parts { slot: Some(slot), ..none };
        let data = |bytes: &'a [u8]| Parts { data: [Some(bytes), None], ..none };
        let ids = |ids: [u32; 3]| Parts {
            args: [ids[0].into(), ids[1].into(), ids[2].into(), 0],
            ..none
        };
        match *self {
            Op::SetSid | Op::Subreaper | Op::NoNewPrivs => none,
            Op::Fail { errno } => one(errno.into()),
            Op::SetPgid { pgid } => one(pgid.into()),
            Op::ControllingTty { slot: at }
            | Op::Foreground { slot: at }
            | Op::ChrootSlot { slot: at }
            | Op::ChdirSlot { slot: at } => slot(at),
            Op::PutFd { slot: at, fd } => Parts { args: [fd.into(), 0, 0, 0], ..slot(at) },
            Op::OpenNull { fd, access } => Parts { args: [fd.into(), access as u64, 0, 0], ..none },
            Op::OomScoreAdj { value } | Op::Nice { value } => one(i64::from(value) as u64),
            Op::Rlimit { resource, soft, hard } => {
                Parts { args: [resource.into(), soft, hard, 0], ..none }
            }
            Op::Sched { policy, priority, flags, runtime_ns, deadline_ns, period_ns } => Parts {
                flags,
                args: [
                    u64::from(policy) | u64::from(priority) << 32,
                    runtime_ns,
                    deadline_ns,
                    period_ns,
                ],
                ..none
            },
            Op::Affinity { mask } => data(mask),
            Op::IoPriority { value } => one(value.into()),
            Op::TimerSlack { ns } => one(ns),
            Op::ChrootPath { path } | Op::ChdirPath { path } => data(path.to_bytes_with_nul()),
            Op::Umask { mode } => one(mode.into()),
            Op::Groups { list } => data(list),
            Op::Gid { real, effective, saved } | Op::Uid { real, effective, saved } => {
                ids([real, effective, saved])
            }
            Op::DeathSignal { signal } => one(signal.into()),
            Op::Personality { persona } => one(persona.into()),
            Op::SignalIgnore { set } | Op::SignalMask { set } | Op::SignalDefault { set } => {
                one(set)
            }
            Op::ExecPath { path, flags } => {
                Parts { flags: flags.bits(), ..data(path.to_bytes_with_nul()) }
            }
            Op::ExecSlot { slot: at, flags } => Parts { flags: flags.bits(), ..slot(at) },
            Op::ExecName { name, search, flags } => Parts {
                flags: flags.bits(),
                data: [Some(name.to_bytes_with_nul()), Some(search.to_bytes_with_nul())],
                ..none
            },
        }
    }
}
