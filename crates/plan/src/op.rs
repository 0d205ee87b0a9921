//! The operations: what each is called, what it carries, where in a plan it may stand, and which
//! executor it needs.
//!
//! Adding an op touches, in this crate: one row of the table below, one variant of [`Op`], its arm
//! in [`Op::decode`] and in [`Op::parts`], and its range check in `check.rs`.

mod cgroup;
mod confine;
mod mount;
mod namespace;
mod privilege;

use crate::format::{DataRef, Entry};
use crate::view::Plan;
use bitflags::bitflags;
use core::ffi::CStr;

pub use cgroup::CgroupOp;
pub use confine::{ConfineOp, LANDLOCK_RIGHTS, LandlockFlags};
pub use mount::{MountFlags, MountOp, Spread, layers};
pub use namespace::{IdRange, NamespaceOp, Namespaces, UserFlags};
pub use privilege::{CapSets, PrivilegeOp};

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
    Contents,
    Name,
    Regset,
    Ranges,
    Layout,
    Auxv,
    Filter,
    Absolute,
    Layers,
    Keyring,
    Nodes,
    IdMap,
    HostName,
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

    /// prctl(2) PR_SCHED_CORE, a new cookie.
    CoreScheduling = 0x0308 "core-scheduling" Seed 50..=55
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// set_mempolicy(2).
    MemoryPolicy = 0x0309 "memory-policy" Seed 50..=55
        { slot: false, flags: 0, args: [U32 Zero Zero Zero], data: [Nodes Absent] }

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

    /// seccomp(2) with a filter. Through the seed: a filter may kill with a core dump, which before
    /// Linux 5.16 ends everybody who shares the memory.
    Seccomp = 0x0508 "seccomp" Seed 98..=98
        { slot: false, flags: 15, args: [Zero Zero Zero Zero], data: [Filter Absent] }
    /// seccomp(2), strict mode.
    SeccompStrict = 0x0509 "seccomp-strict" Seed 98..=98
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }

    /// prctl(2) PR_CAPBSET_DROP of everything else. Before the ids, whose change takes CAP_SETPCAP.
    BoundingSet = 0x0510 "bounding-set" Seed 69..=69
        { slot: false, flags: 0, args: [U64 Zero Zero Zero], data: [Absent Absent] }
    /// prctl(2) PR_SET_SECUREBITS. Before the ids, as well.
    Securebits = 0x0511 "securebits" Seed 69..=69
        { slot: false, flags: 0, args: [U32 Zero Zero Zero], data: [Absent Absent] }
    /// prctl(2) PR_SET_KEEPCAPS. Before the uid, with which they would go.
    KeepCapabilities = 0x0512 "keep-capabilities" Seed 69..=71
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// capset(2).
    Capabilities = 0x0513 "capabilities" Seed 73..=73
        { slot: false, flags: 7, args: [U64 U64 U64 Zero], data: [Absent Absent] }
    /// prctl(2) PR_CAP_AMBIENT. After `capabilities`, of which it has to be a part.
    Ambient = 0x0514 "ambient" Seed 74..=74
        { slot: false, flags: 0, args: [U64 Zero Zero Zero], data: [Absent Absent] }
    /// keyctl(2) KEYCTL_JOIN_SESSION_KEYRING. After the ids, whose it is.
    SessionKeyring = 0x0515 "session-keyring" Seed 75..=85
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Keyring Absent] }
    /// prctl(2) PR_SET_MDWE. Through the seed: it sticks to the memory.
    Mdwe = 0x0516 "mdwe" Seed 75..=85
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// prctl(2) PR_SET_THP_DISABLE. Through the seed, as well.
    ThpDisable = 0x0517 "thp-disable" Seed 75..=85
        { slot: false, flags: 1, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// landlock_restrict_self(2).
    Landlock = 0x0520 "landlock" Seed 96..=96
        { slot: true, flags: 7, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// landlock_add_rule(2). After the root and the credentials, with which its path is found.
    LandlockPath = 0x0521 "landlock-path" Seed 94..=95
        { slot: true, flags: 0, args: [U64 Zero Zero Zero], data: [Path Absent] }

    /// Signals that stay ignored across exec.
    SignalIgnore = 0x0601 "signal-ignore" Direct 95..=95
        { slot: false, flags: 0, args: [U64 Zero Zero Zero], data: [Absent Absent] }
    /// The signal mask the image starts with.
    SignalMask = 0x0602 "signal-mask" Direct 95..=96
        { slot: false, flags: 0, args: [U64 Zero Zero Zero], data: [Absent Absent] }

    /// Signals that get their default action while other ignored ones are kept.
    SignalDefault = 0x0603 "signal-default" Direct 95..=95
        { slot: false, flags: 0, args: [U64 Zero Zero Zero], data: [Absent Absent] }

    /// mmap(2) of anonymous memory.
    Map = 0x0701 "map" Seed 87..=93
        { slot: false, flags: 31, args: [U64 U64 U32 Zero], data: [Absent Absent] }
    /// mmap(2) of a granted file.
    MapSlot = 0x0702 "map-fd" Seed 87..=93
        { slot: true, flags: 31, args: [U64 U64 U32 U64], data: [Absent Absent] }
    /// munmap(2).
    Unmap = 0x0703 "unmap" Seed 87..=93
        { slot: false, flags: 0, args: [U64 U64 Zero Zero], data: [Absent Absent] }
    /// mprotect(2).
    Protect = 0x0704 "protect" Seed 87..=93
        { slot: false, flags: 0, args: [U64 U64 U32 Zero], data: [Absent Absent] }
    /// mremap(2).
    Remap = 0x0705 "remap" Seed 87..=93
        { slot: false, flags: 0, args: [U64 U64 U64 U64], data: [Absent Absent] }
    /// madvise(2).
    Advise = 0x0706 "advise" Seed 87..=93
        { slot: false, flags: 0, args: [U64 U64 U32 Zero], data: [Absent Absent] }
    /// mlock(2).
    Lock = 0x0707 "lock" Seed 87..=93
        { slot: false, flags: 0, args: [U64 U64 Zero Zero], data: [Absent Absent] }
    /// prctl(2) PR_SET_VMA_ANON_NAME.
    NameRegion = 0x0708 "name-region" Seed 87..=93
        { slot: false, flags: 0, args: [U64 U64 Zero Zero], data: [Name Absent] }
    /// Contents from the plan into memory.
    Write = 0x0709 "write" Seed 87..=93
        { slot: false, flags: 0, args: [U64 Zero Zero Zero], data: [Contents Absent] }
    /// pread(2) of a granted file into memory.
    WriteSlot = 0x070a "write-fd" Seed 87..=93
        { slot: true, flags: 0, args: [U64 U64 U64 Zero], data: [Absent Absent] }
    /// pwrite(2) of memory to a granted file.
    ReadSlot = 0x070b "read-fd" Seed 87..=93
        { slot: true, flags: 0, args: [U64 U64 U64 Zero], data: [Absent Absent] }
    /// One byte over a stretch of memory.
    Fill = 0x070c "fill" Seed 87..=93
        { slot: false, flags: 0, args: [U64 U64 U32 Zero], data: [Absent Absent] }
    /// rt_sigaction(2).
    SignalAction = 0x070d "signal-action" Seed 94..=94
        { slot: false, flags: 0, args: [U64 U64 U64 U64], data: [Absent Absent] }
    /// prctl(2) PR_SET_MM_MAP.
    MmLayout = 0x070e "mm-layout" Seed 87..=93
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Layout Auxv] }
    /// mremap(2) of the vdso and its data.
    MoveVdso = 0x070f "move-vdso" Seed 87..=93
        { slot: false, flags: 0, args: [U64 Zero Zero Zero], data: [Absent Absent] }
    /// munmap(2) of the vdso and its data.
    DropVdso = 0x0710 "drop-vdso" Seed 87..=93
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }

    /// A new root, empty.
    NewRoot = 0x0801 "new-root" Seed 56..=56
        { slot: false, flags: 0, args: [U64 U32 U64 Zero], data: [Absent Absent] }
    /// open_tree(2) and move_mount(2).
    Bind = 0x0802 "bind" Seed 57..=59
        { slot: false, flags: 63, args: [Zero Zero Zero Zero], data: [Absolute Absolute] }
    /// The same of a grant.
    BindSlot = 0x0803 "bind-fd" Seed 57..=59
        { slot: true, flags: 47, args: [Zero Zero Zero Zero], data: [Absolute Absent] }
    /// The same with the owners that a granted user namespace maps.
    BindMapped = 0x0804 "bind-mapped" Seed 57..=59
        { slot: true, flags: 63, args: [Zero Zero Zero Zero], data: [Absolute Absolute] }
    /// tmpfs(5).
    Tmpfs = 0x0805 "tmpfs" Seed 57..=59
        { slot: false, flags: 15, args: [U64 U32 U64 Zero], data: [Absolute Absent] }
    /// proc(5).
    Proc = 0x0806 "proc" Seed 57..=59
        { slot: false, flags: 1025, args: [U32 Zero Zero Zero], data: [Absolute Absent] }
    /// pts(4).
    Devpts = 0x0807 "devpts" Seed 57..=59
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Absolute Absent] }
    /// mq_overview(7).
    Mqueue = 0x0808 "mqueue" Seed 57..=59
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Absolute Absent] }
    /// Overlayfs.
    Overlay = 0x0809 "overlay" Seed 57..=59
        { slot: false, flags: 463, args: [Zero Zero Zero Zero], data: [Layers Absolute] }
    /// symlink(2).
    Symlink = 0x080a "symlink" Seed 57..=59
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Path Absolute] }
    /// mkdir(2).
    Directory = 0x080b "directory" Seed 57..=59
        { slot: false, flags: 0, args: [U32 Zero Zero Zero], data: [Absolute Absent] }
    /// A file with the contents of a grant.
    FileSlot = 0x080c "file-fd" Seed 57..=59
        { slot: true, flags: 527, args: [U32 Zero Zero Zero], data: [Absolute Absent] }
    /// chmod(2).
    Chmod = 0x080d "chmod" Seed 57..=59
        { slot: false, flags: 0, args: [U32 Zero Zero Zero], data: [Absolute Absent] }
    /// mount_setattr(2): propagation.
    Propagation = 0x080e "propagation" Seed 57..=59
        { slot: false, flags: 32, args: [U32 Zero Zero Zero], data: [Absolute Absent] }
    /// mount_setattr(2): attributes.
    Attributes = 0x080f "mount-attributes" Seed 57..=59
        { slot: false, flags: 47, args: [U32 Zero Zero Zero], data: [Absolute Absent] }
    /// umount2(2).
    Unmount = 0x0810 "unmount" Seed 57..=59
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Absolute Absent] }
    /// pivot_root(2).
    EnterRoot = 0x0811 "enter-root" Seed 60..=60
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// setns(2).
    JoinNamespace = 0x0901 "join-namespace" Seed 4..=4
        { slot: true, flags: 0, args: [U32 Zero Zero Zero], data: [Absent Absent] }
    /// unshare(2) of the user namespace, mapped by the child. After what is joined, for which it needs
    /// the capabilities that it has.
    UserNamespace = 0x0902 "user-namespace" Seed 5..=5
        { slot: false, flags: 0, args: [U32 U32 Zero Zero], data: [Absent Absent] }
    /// unshare(2) of the user namespace, mapped by the seed's owner.
    MappedUserNamespace = 0x0903 "mapped-user-namespace" Seed 5..=5
        { slot: false, flags: 1, args: [Zero Zero Zero Zero], data: [IdMap IdMap] }
    /// unshare(2). After the user namespace, which is to own these and gives the capability.
    Unshare = 0x0904 "unshare" Seed 7..=7
        { slot: false, flags: 0, args: [U32 Zero Zero Zero], data: [Absent Absent] }
    /// /proc/self/timens_offsets. Before any process is in the namespace.
    ClockOffset = 0x0905 "clock-offset" Seed 8..=8
        { slot: false, flags: 0, args: [U32 U64 U32 Zero], data: [Absent Absent] }
    /// clone(2) into a new pid namespace, twice: its init, and the image.
    PidNamespace = 0x0906 "pid-namespace" Seed 9..=9
        { slot: false, flags: 0, args: [U32 Zero Zero Zero], data: [Absent Absent] }
    /// sethostname(2).
    HostName = 0x0907 "hostname" Seed 12..=28
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [HostName Absent] }
    /// setdomainname(2).
    DomainName = 0x0908 "domainname" Seed 12..=28
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [HostName Absent] }
    /// ioctl(2) SIOCSIFFLAGS.
    Loopback = 0x0909 "loopback" Seed 12..=28
        { slot: false, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// unshare(2) of the user namespace once more, after the mounts, which it cannot undo.
    NestedUserNamespace = 0x090a "nested-user-namespace" Seed 61..=61
        { slot: false, flags: 0, args: [U32 U32 Zero Zero], data: [Absent Absent] }
    /// A granted cgroup, before there is anything that it would count. Through the seed: a frozen one
    /// blocks, and whoever is in it is killed with it.
    CgroupJoin = 0x0a01 "cgroup" Seed 2..=2
        { slot: true, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// A guardian. After the pid namespace, below whose init the image is another process.
    Tie = 0x0a02 "tie" Seed 12..=12
        { slot: true, flags: 0, args: [Zero Zero Zero Zero], data: [Absent Absent] }

    /// execve(2).
    ExecPath = 0x0f01 "exec" Direct 100..=100
        { slot: false, flags: 1, args: [Zero Zero Zero Zero], data: [Path Absent] }
    /// execveat(2) of a granted file.
    ExecSlot = 0x0f02 "exec-fd" Direct 100..=100
        { slot: true, flags: 2, args: [Zero Zero Zero Zero], data: [Absent Absent] }
    /// execvp(3): a name looked up in a search list.
    ExecName = 0x0f03 "exec-name" Direct 100..=100
        { slot: false, flags: 1, args: [Zero Zero Zero Zero], data: [Path Search] }
    /// rt_sigreturn(2): all registers at once, in the address space that was built.
    StartRegs = 0x0f04 "start-registers" Seed 100..=100
        { slot: false, flags: 0, args: [U64 Zero Zero Zero], data: [Regset Ranges] }
    /// clone(2): a further thread of an image that is started by registers.
    Thread = 0x0f05 "thread" Seed 97..=97
        { slot: false, flags: 0, args: [U64 U64 Zero Zero], data: [Regset Absent] }
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

    /// Flags of a filter.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct FilterFlags: u16 {
        /// Every action but `SECCOMP_RET_ALLOW` is logged (`SECCOMP_FILTER_FLAG_LOG`, Linux 4.14).
        const LOG = 1;
        /// Speculative store bypass is not turned off (`SECCOMP_FILTER_FLAG_SPEC_ALLOW`, Linux
        /// 4.17).
        const SPEC_ALLOW = 2;
        /// The filter has a listener, which is handed to the owner before the image is executed
        /// (`SECCOMP_FILTER_FLAG_NEW_LISTENER`, Linux 5.0). At most one filter of a process has one.
        const LISTENER = 4;
        /// Of a filter with a listener: once the listener has received a call, its caller is
        /// woken by nothing but a fatal signal (`SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`, Linux 5.19).
        const WAIT_KILLABLE = 8;
    }

    /// How a region is mapped.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MapFlags: u16 {
        /// Exactly there, and never over something else (`MAP_FIXED_NOREPLACE`). Otherwise the
        /// address is a hint and 0 leaves the choice to the kernel.
        const FIXED = 1;
        /// Changes reach the file, or whoever else maps it (`MAP_SHARED`). Otherwise
        /// `MAP_PRIVATE`.
        const SHARED = 2;
        /// Its pages are made at once (`MAP_POPULATE`).
        const POPULATE = 4;
        /// It grows downwards, as a stack does (`MAP_GROWSDOWN`).
        const GROWSDOWN = 8;
        /// No swap is reserved (`MAP_NORESERVE`).
        const NORESERVE = 16;
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
    /// A core-scheduling cookie of its own: only who has it runs on the same core at the same time;
    /// prctl(2).
    CoreScheduling,
    /// Where its memory comes from; set_mempolicy(2).
    MemoryPolicy {
        /// `MPOL_*`, with its flags.
        mode: u32,
        /// Bit n, little-endian, is node n; empty for the modes that take none.
        nodes: &'a [u8],
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
    /// A filter of system calls, installed last of all; seccomp(2). Needs [`Op::NoNewPrivs`] or
    /// `CAP_SYS_ADMIN`. What is called after it has to pass it: execve(2) or execveat(2), and in a
    /// start by registers rt_sigreturn(2). A plan may have several, which are installed in their
    /// order: of what they say the kernel does the most restrictive, and of equals the later.
    Seccomp {
        /// How.
        flags: FilterFlags,
        /// The program: an array of `struct sock_filter`, as bubblewrap reads it.
        program: &'a [u8],
    },
    /// read(2), write(2), _exit(2) and rt_sigreturn(2), and death by SIGKILL for any other call;
    /// seccomp(2). For a start by registers alone, since no exec passes it.
    SeccompStrict,
    /// What confines the image to a part of what its user may do.
    Confine(ConfineOp<'a>),
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
    /// A region of fresh memory; mmap(2).
    Map {
        /// Page-aligned; 0 leaves the choice to the kernel.
        addr: u64,
        /// Bytes, a multiple of the page.
        len: u64,
        /// `PROT_READ` 1, `PROT_WRITE` 2, `PROT_EXEC` 4.
        prot: u32,
        /// How.
        flags: MapFlags,
    },
    /// A region of a granted file; mmap(2).
    MapSlot {
        /// The file.
        slot: Slot,
        /// As for [`Op::Map`].
        addr: u64,
        /// Bytes, a multiple of the page.
        len: u64,
        /// As for [`Op::Map`].
        prot: u32,
        /// How.
        flags: MapFlags,
        /// Where in the file it begins, page-aligned.
        offset: u64,
    },
    /// Memory goes away; munmap(2).
    Unmap {
        /// Page-aligned.
        addr: u64,
        /// Bytes.
        len: u64,
    },
    /// What may be done with a region; mprotect(2).
    Protect {
        /// Page-aligned.
        addr: u64,
        /// Bytes.
        len: u64,
        /// As for [`Op::Map`].
        prot: u32,
    },
    /// A region moves or changes its length; mremap(2).
    Remap {
        /// Where it is.
        addr: u64,
        /// How long it is.
        len: u64,
        /// Where it goes; 0 leaves the choice to the kernel.
        to: u64,
        /// How long it becomes.
        to_len: u64,
    },
    /// How a region will be used; madvise(2).
    Advise {
        /// Page-aligned.
        addr: u64,
        /// Bytes.
        len: u64,
        /// `MADV_*`.
        advice: u32,
    },
    /// A region stays in memory; mlock(2).
    Lock {
        /// Page-aligned.
        addr: u64,
        /// Bytes.
        len: u64,
    },
    /// The name of anonymous memory in /proc/PID/maps; prctl(2). Since Linux 5.17.
    NameRegion {
        /// Page-aligned.
        addr: u64,
        /// Bytes.
        len: u64,
        /// Up to 79 printable characters, without `\\`, `$`, `` ` ``, `[` and `]`.
        name: &'a CStr,
    },
    /// These bytes into memory.
    Write {
        /// Where; any alignment.
        addr: u64,
        /// What.
        contents: &'a [u8],
    },
    /// Bytes of a granted file into memory.
    WriteSlot {
        /// The file.
        slot: Slot,
        /// Where to; any alignment.
        addr: u64,
        /// Bytes.
        len: u64,
        /// Where in the file they begin.
        offset: u64,
    },
    /// Bytes of memory into a granted file.
    ReadSlot {
        /// The file.
        slot: Slot,
        /// Where from; any alignment.
        addr: u64,
        /// Bytes.
        len: u64,
        /// Where in the file they go.
        offset: u64,
    },
    /// One byte over a stretch of memory.
    Fill {
        /// Where; any alignment.
        addr: u64,
        /// Bytes.
        len: u64,
        /// The byte.
        byte: u8,
    },
    /// What happens when a signal arrives in an image that is started by registers; rt_sigaction(2).
    SignalAction {
        /// 1 to 64.
        signal: u32,
        /// `SA_*`, below 2^32.
        flags: u32,
        /// 0 default, 1 ignore, else the address of a function.
        handler: u64,
        /// The address of the function that ends the handler.
        restorer: u64,
        /// Signals blocked meanwhile.
        mask: u64,
    },
    /// Where the parts of the program are, for /proc and for brk(2); `PR_SET_MM_MAP` in prctl(2).
    /// The executable that /proc/PID/exe names stays what it is. Needs `CONFIG_CHECKPOINT_RESTORE`.
    MmLayout {
        /// [`crate::Layout`].
        layout: &'a [u8],
        /// What /proc/PID/auxv is to be, as pairs of words; nothing leaves it as it is.
        auxv: &'a [u8],
    },
    /// The vdso goes to another place, with the data that it reads; mremap(2). Tells where its code
    /// is then, which is what `AT_SYSINFO_EHDR` has to be.
    MoveVdso {
        /// Where all of it begins, page-aligned; 0 leaves the choice to the kernel.
        to: u64,
    },
    /// The vdso goes away, with the data that it reads; munmap(2).
    DropVdso,
    /// A change of namespaces.
    Namespace(NamespaceOp<'a>),
    /// Start with these registers in the memory that was built. The plan has no argv and no envp:
    /// what the image finds of those is what was written.
    StartRegs {
        /// A page that is left for the last instructions before the start; 0 leaves the choice to
        /// the kernel.
        page: u64,
        /// [`crate::Regset`].
        regset: &'a [u8],
        /// Memory that goes away at the start besides the seed's own, as pairs of address and
        /// length.
        leave: &'a [u8],
    },
    /// A further thread of an image that is started by registers; clone(2). The first one is the
    /// start's.
    Thread {
        /// Signals that it finds blocked; bit n-1 is signal n.
        mask: u64,
        /// A word that is cleared and woken when the thread ends; set_tid_address(2). 0 is none.
        clear_tid: u64,
        /// [`crate::Regset`].
        regset: &'a [u8],
    },
    /// What is mounted where.
    Mount(MountOp<'a>),
    /// Capabilities and what else a process may do.
    Privilege(PrivilegeOp<'a>),
    /// Cgroup and guardian.
    Cgroup(CgroupOp),
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
        let map = MapFlags::from_bits_truncate(flags);
        let bytes = |at: DataRef| plan.data(at);
        let text = |at: DataRef| plan.c_str(at);
        let [first, second] = entry.data;
        let code = OpCode::from_number(entry.code.get())?;
        Some(match code {
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
            OpCode::CoreScheduling => Op::CoreScheduling,
            OpCode::MemoryPolicy => Op::MemoryPolicy { mode: a as u32, nodes: bytes(first)? },
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
            OpCode::Seccomp => Op::Seccomp {
                flags: FilterFlags::from_bits_truncate(flags),
                program: bytes(first)?,
            },
            OpCode::SeccompStrict => Op::SeccompStrict,
            code @ (OpCode::Landlock | OpCode::LandlockPath) => {
                Op::Confine(ConfineOp::decode(code, entry, slot, text(first))?)
            }
            OpCode::SignalIgnore => Op::SignalIgnore { set: a },
            OpCode::SignalMask => Op::SignalMask { set: a },
            OpCode::SignalDefault => Op::SignalDefault { set: a },
            OpCode::Map => Op::Map { addr: a, len: b, prot: c as u32, flags: map },
            OpCode::MapSlot => {
                Op::MapSlot { slot, addr: a, len: b, prot: c as u32, flags: map, offset: d }
            }
            OpCode::Unmap => Op::Unmap { addr: a, len: b },
            OpCode::Protect => Op::Protect { addr: a, len: b, prot: c as u32 },
            OpCode::Remap => Op::Remap { addr: a, len: b, to: c, to_len: d },
            OpCode::Advise => Op::Advise { addr: a, len: b, advice: c as u32 },
            OpCode::Lock => Op::Lock { addr: a, len: b },
            OpCode::NameRegion => Op::NameRegion { addr: a, len: b, name: text(first)? },
            OpCode::Write => Op::Write { addr: a, contents: bytes(first)? },
            OpCode::WriteSlot => Op::WriteSlot { slot, addr: a, len: b, offset: c },
            OpCode::ReadSlot => Op::ReadSlot { slot, addr: a, len: b, offset: c },
            OpCode::Fill => Op::Fill { addr: a, len: b, byte: u8::try_from(c).ok()? },
            OpCode::SignalAction => Op::SignalAction {
                signal: a as u32,
                flags: (a >> 32) as u32,
                handler: b,
                restorer: c,
                mask: d,
            },
            OpCode::MmLayout => Op::MmLayout { layout: bytes(first)?, auxv: bytes(second)? },
            OpCode::MoveVdso => Op::MoveVdso { to: a },
            OpCode::DropVdso => Op::DropVdso,
            code @ (OpCode::JoinNamespace
            | OpCode::UserNamespace
            | OpCode::MappedUserNamespace
            | OpCode::Unshare
            | OpCode::ClockOffset
            | OpCode::PidNamespace
            | OpCode::HostName
            | OpCode::DomainName
            | OpCode::Loopback
            | OpCode::NestedUserNamespace) => {
                Op::Namespace(NamespaceOp::decode(code, entry, plan)?)
            }
            OpCode::StartRegs => {
                Op::StartRegs { page: a, regset: bytes(first)?, leave: bytes(second)? }
            }
            OpCode::Thread => Op::Thread { mask: a, clear_tid: b, regset: bytes(first)? },
            code @ (OpCode::NewRoot
            | OpCode::Bind
            | OpCode::BindSlot
            | OpCode::BindMapped
            | OpCode::Tmpfs
            | OpCode::Proc
            | OpCode::Devpts
            | OpCode::Mqueue
            | OpCode::Overlay
            | OpCode::Symlink
            | OpCode::Directory
            | OpCode::FileSlot
            | OpCode::Chmod
            | OpCode::Propagation
            | OpCode::Attributes
            | OpCode::Unmount
            | OpCode::EnterRoot) => Op::Mount(MountOp::decode(code, entry, plan)?),
            OpCode::BoundingSet
            | OpCode::Securebits
            | OpCode::KeepCapabilities
            | OpCode::Capabilities
            | OpCode::Ambient
            | OpCode::SessionKeyring
            | OpCode::Mdwe
            | OpCode::ThpDisable => Op::Privilege(PrivilegeOp::decode(code, entry, plan)?),
            OpCode::CgroupJoin | OpCode::Tie => Op::Cgroup(CgroupOp::decode(code, entry)?),
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
            Op::CoreScheduling => OpCode::CoreScheduling,
            Op::MemoryPolicy { .. } => OpCode::MemoryPolicy,
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
            Op::Seccomp { .. } => OpCode::Seccomp,
            Op::SeccompStrict => OpCode::SeccompStrict,
            Op::Confine(op) => op.code(),
            Op::SignalIgnore { .. } => OpCode::SignalIgnore,
            Op::SignalMask { .. } => OpCode::SignalMask,
            Op::SignalDefault { .. } => OpCode::SignalDefault,
            Op::Map { .. } => OpCode::Map,
            Op::MapSlot { .. } => OpCode::MapSlot,
            Op::Unmap { .. } => OpCode::Unmap,
            Op::Protect { .. } => OpCode::Protect,
            Op::Remap { .. } => OpCode::Remap,
            Op::Advise { .. } => OpCode::Advise,
            Op::Lock { .. } => OpCode::Lock,
            Op::NameRegion { .. } => OpCode::NameRegion,
            Op::Write { .. } => OpCode::Write,
            Op::WriteSlot { .. } => OpCode::WriteSlot,
            Op::ReadSlot { .. } => OpCode::ReadSlot,
            Op::Fill { .. } => OpCode::Fill,
            Op::SignalAction { .. } => OpCode::SignalAction,
            Op::MmLayout { .. } => OpCode::MmLayout,
            Op::MoveVdso { .. } => OpCode::MoveVdso,
            Op::DropVdso => OpCode::DropVdso,
            Op::Namespace(op) => op.code(),
            Op::StartRegs { .. } => OpCode::StartRegs,
            Op::Thread { .. } => OpCode::Thread,
            Op::Mount(op) => op.code(),
            Op::Privilege(op) => op.code(),
            Op::Cgroup(op) => op.code(),
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
            Op::SetSid | Op::Subreaper | Op::NoNewPrivs | Op::SeccompStrict | Op::DropVdso => none,
            Op::CoreScheduling => none,
            Op::MemoryPolicy { mode, nodes } => {
                Parts { args: [mode.into(), 0, 0, 0], ..data(nodes) }
            }
            Op::Privilege(op) => op.parts(),
            Op::Cgroup(op) => op.parts(),
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
            Op::Seccomp { flags, program } => Parts { flags: flags.bits(), ..data(program) },
            Op::Confine(op) => op.parts(),
            Op::SignalIgnore { set } | Op::SignalMask { set } | Op::SignalDefault { set } => {
                one(set)
            }
            Op::Map { addr, len, prot, flags } => {
                Parts { flags: flags.bits(), args: [addr, len, prot.into(), 0], ..none }
            }
            Op::MapSlot { slot: at, addr, len, prot, flags, offset } => {
                Parts { flags: flags.bits(), args: [addr, len, prot.into(), offset], ..slot(at) }
            }
            Op::Unmap { addr, len } | Op::Lock { addr, len } => {
                Parts { args: [addr, len, 0, 0], ..none }
            }
            Op::Protect { addr, len, prot: number } | Op::Advise { addr, len, advice: number } => {
                Parts { args: [addr, len, number.into(), 0], ..none }
            }
            Op::Remap { addr, len, to, to_len } => Parts { args: [addr, len, to, to_len], ..none },
            Op::NameRegion { addr, len, name } => {
                Parts { args: [addr, len, 0, 0], ..data(name.to_bytes_with_nul()) }
            }
            Op::Write { addr, contents } => Parts { args: [addr, 0, 0, 0], ..data(contents) },
            Op::WriteSlot { slot: at, addr, len, offset }
            | Op::ReadSlot { slot: at, addr, len, offset } => {
                Parts { args: [addr, len, offset, 0], ..slot(at) }
            }
            Op::Fill { addr, len, byte } => Parts { args: [addr, len, byte.into(), 0], ..none },
            Op::SignalAction { signal, flags, handler, restorer, mask } => Parts {
                args: [u64::from(signal) | u64::from(flags) << 32, handler, restorer, mask],
                ..none
            },
            Op::MmLayout { layout, auxv } => Parts { data: [Some(layout), Some(auxv)], ..none },
            Op::MoveVdso { to } => one(to),
            Op::Namespace(op) => op.parts(),
            Op::StartRegs { page, regset, leave } => {
                Parts { args: [page, 0, 0, 0], data: [Some(regset), Some(leave)], ..none }
            }
            Op::Thread { mask, clear_tid, regset } => {
                Parts { args: [mask, clear_tid, 0, 0], ..data(regset) }
            }
            Op::Mount(op) => op.parts(),
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
