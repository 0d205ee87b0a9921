//! The options that describe a child: one for each operation, named as util-linux, systemd-run,
//! coreutils and bubblewrap name it.
//!
//! It must never hold an option that does not end up in the plan: an encoded plan excludes all of
//! these.

use super::{CgroupArgs, MountArgs, NamespaceArgs, PrivilegeArgs};
use crate::value::{
    Cpus, Deadline, FdGrant, Groups, Ids, ImageSource, IoPriority, NullFd, Persona, Pgid, Policy,
    Rlimit, Signal, SignalSet, StdioSource, Variable, fd_grant_parser, image_parser, nanoseconds,
    stdio_parser, umask, variable_parser,
};
use clap::ValueHint;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// What the child is to be.
#[derive(Debug, clap::Args)]
pub(crate) struct ChildArgs {
    /// The program and its arguments
    ///
    /// A program without a slash is looked up in the child's PATH. Options of embryo stand before
    /// it; everything after it is the program's.
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        required_unless_present_any = ["plan"],
        value_hint = ValueHint::CommandWithArguments
    )]
    pub(crate) command: Vec<OsString>,

    /// What the program is told that it is called, instead of PROGRAM
    #[arg(long, value_name = "NAME", help_heading = "Program")]
    pub(crate) argv0: Option<OsString>,

    /// Where PROGRAM is looked up, instead of the child's PATH: directories separated by colons
    #[arg(long, value_name = "LIST", help_heading = "Program")]
    pub(crate) path: Option<OsString>,

    /// Let /bin/sh run a file that the kernel cannot run, such as a script without #!
    #[arg(long, alias = "shell", help_heading = "Program")]
    pub(crate) shell_fallback: bool,

    /// Execute this open file; PROGRAM is only what it is told it is called
    ///
    /// A descriptor of the caller by its number, or a path, which is opened now.
    #[arg(
        long,
        value_name = "FD|PATH",
        value_parser = image_parser(),
        conflicts_with_all = ["path", "shell_fallback"],
        help_heading = "Program"
    )]
    pub(crate) exec_fd: Option<ImageSource>,

    /// Load the ELF program into memory instead of executing it
    ///
    /// The child is made empty, and the program with its interpreter, its stack and its auxiliary vector is
    /// mapped into it; no execve happens. It is looked up by the same rules, with embryo's own
    /// permissions and under its root. Set-user-id and file capabilities are not honoured, addresses
    /// are always random, and /proc/PID/exe does not name the program. x86_64 only.
    #[arg(
        long,
        conflicts_with_all = ["save", "root", "root_fd", "shell_fallback",
            "keep_image_open", "personality", "no_aslr"],
        help_heading = "Program"
    )]
    pub(crate) load: bool,

    /// Leave the file of --exec-fd open in the program, as a script with #! needs it
    #[arg(long, requires = "exec_fd", help_heading = "Program")]
    pub(crate) keep_image_open: bool,

    /// Grant descriptor N
    ///
    /// N alone is the caller's descriptor N. N=M is the caller's descriptor M. N=PATH:MODE opens a
    /// file; see Sources below.
    #[arg(
        long,
        value_name = "N[=FD|PATH[:MODE]]",
        value_parser = fd_grant_parser(),
        help_heading = "Descriptors"
    )]
    pub(crate) fd: Vec<FdGrant>,

    /// Put /dev/null at descriptor N; MODE is r, w or rw, which is the default
    #[arg(long, value_name = "N[:MODE]", help_heading = "Descriptors")]
    pub(crate) null: Vec<NullFd>,

    /// Standard input [default: inherit]
    ///
    /// `inherit`, `null`, `closed`, a descriptor of the caller, or a path.
    #[arg(
        long,
        value_name = "WHAT",
        value_parser = stdio_parser(false),
        help_heading = "Descriptors",
        value_hint = ValueHint::AnyPath
    )]
    pub(crate) stdin: Option<StdioSource>,

    /// Standard output [default: inherit]; as for --stdin
    #[arg(
        long,
        value_name = "WHAT",
        value_parser = stdio_parser(true),
        help_heading = "Descriptors",
        value_hint = ValueHint::AnyPath
    )]
    pub(crate) stdout: Option<StdioSource>,

    /// Standard error [default: inherit]; as for --stdin
    #[arg(
        long,
        value_name = "WHAT",
        value_parser = stdio_parser(true),
        help_heading = "Descriptors",
        value_hint = ValueHint::AnyPath
    )]
    pub(crate) stderr: Option<StdioSource>,

    /// Set a variable, or pass the caller's on if there is no value; may be repeated
    ///
    /// A name that ends in `*` passes on every variable that begins so. One that the caller does
    /// not have is left out.
    #[arg(
        short = 'E',
        long,
        alias = "setenv",
        value_name = "NAME[=VALUE]",
        value_parser = variable_parser(),
        help_heading = "Environment"
    )]
    pub(crate) env: Vec<Variable>,

    /// Pass the caller's whole environment on
    #[arg(long, conflicts_with = "clearenv", help_heading = "Environment")]
    pub(crate) inherit_env: bool,

    /// Do not pass this variable on; may be repeated
    #[arg(short = 'u', long, value_name = "NAME", help_heading = "Environment")]
    pub(crate) unsetenv: Vec<OsString>,

    /// Pass nothing on that --env does not name
    #[arg(short = 'i', long, help_heading = "Environment")]
    pub(crate) clearenv: bool,

    /// Working directory [default: the caller's; with --root, /]
    #[arg(
        short = 'C',
        long,
        alias = "working-directory",
        value_name = "DIR",
        help_heading = "Directories",
        value_hint = ValueHint::DirPath
    )]
    pub(crate) chdir: Option<PathBuf>,

    /// Working directory: the one that is the caller's descriptor N
    #[arg(long, value_name = "N", conflicts_with = "chdir", help_heading = "Directories")]
    pub(crate) chdir_fd: Option<u32>,

    /// Root directory
    #[arg(
        long,
        alias = "chroot",
        value_name = "DIR",
        help_heading = "Directories",
        value_hint = ValueHint::DirPath
    )]
    pub(crate) root: Option<PathBuf>,

    /// Root directory: the one that is the caller's descriptor N
    #[arg(long, value_name = "N", conflicts_with = "root", help_heading = "Directories")]
    pub(crate) root_fd: Option<u32>,

    /// A root that is put together.
    #[command(flatten)]
    pub(crate) mounts: MountArgs,

    /// What it has for itself.
    #[command(flatten)]
    pub(crate) namespaces: NamespaceArgs,

    /// File mode creation mask, in octal [default: the caller's]
    #[arg(long, value_name = "MODE", value_parser = umask, help_heading = "Directories")]
    pub(crate) umask: Option<u32>,

    /// A new session, without a terminal
    #[arg(long, alias = "new-session", help_heading = "Session and terminal")]
    pub(crate) setsid: bool,

    /// A process group of its own (`new`), or one to join
    #[arg(
        long,
        value_name = "new|N",
        conflicts_with_all = ["setsid", "ctty"],
        help_heading = "Session and terminal"
    )]
    pub(crate) pgid: Option<Pgid>,

    /// Make a terminal the controlling one of a new session: standard input, or TTY
    #[arg(
        long,
        value_name = "TTY",
        num_args = 0..=1,
        require_equals = true,
        help_heading = "Session and terminal",
        value_hint = ValueHint::FilePath
    )]
    pub(crate) ctty: Option<Option<PathBuf>>,

    /// Make the child's process group the terminal's foreground one; implies --pgid new
    ///
    /// embryo takes the terminal back when the program stops or ends.
    #[arg(long, help_heading = "Session and terminal")]
    pub(crate) foreground: bool,

    /// A terminal of its own, in a new session
    ///
    /// The program's streams are a new terminal, unless --stdin and the like say otherwise, and it has no way to
    /// ours. embryo carries keys and output between the two for as long as the program runs, and ours has its
    /// own settings back whenever embryo stops or ends. 'Terminal' below says more.
    #[arg(
        long,
        conflicts_with_all = ["ctty", "foreground", "pgid", "setsid", "plan", "save"],
        help_heading = "Session and terminal"
    )]
    pub(crate) pty: bool,

    /// Set a resource limit; may be repeated
    ///
    /// NAME is one of as, core, cpu, data, fsize, locks, memlock, msgqueue, nice, nofile, nproc,
    /// rss, rtprio, rttime, sigpending, stack. A limit is a number, with K, M, G or T for powers of
    /// 1024, or `unlimited`. SOFT alone sets both; `SOFT:` and `:HARD` leave the other one.
    #[arg(long, value_name = "NAME=SOFT[:HARD]", help_heading = "Resources")]
    pub(crate) rlimit: Vec<Rlimit>,

    /// Nice value, -20 to 19
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(i32).range(-20..=19),
        allow_hyphen_values = true,
        help_heading = "Resources"
    )]
    pub(crate) nice: Option<i32>,

    /// Scheduling policy: other, batch, idle, fifo:PRIO or rr:PRIO
    #[arg(long, value_name = "POLICY[:PRIO]", help_heading = "Resources")]
    pub(crate) sched: Option<Policy>,

    /// SCHED_DEADLINE with these times
    #[arg(
        long,
        value_name = "RUNTIME:DEADLINE:PERIOD",
        conflicts_with = "sched",
        help_heading = "Resources"
    )]
    pub(crate) deadline: Option<Deadline>,

    /// The program's children start with the default policy; needs --sched or --deadline
    #[arg(long, help_heading = "Resources")]
    pub(crate) reset_on_fork: bool,

    /// The CPUs it may run on, such as 0,2-4 or 0-31:2
    #[arg(long, value_name = "LIST", help_heading = "Resources")]
    pub(crate) cpus: Option<Cpus>,

    /// I/O priority: realtime, best-effort or idle, with a level from 0 (first) to 7
    #[arg(long, value_name = "CLASS[:LEVEL]", help_heading = "Resources")]
    pub(crate) ioprio: Option<IoPriority>,

    /// How readily the OOM killer takes it, -1000 to 1000
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(i32).range(-1000..=1000),
        allow_hyphen_values = true,
        help_heading = "Resources"
    )]
    pub(crate) oom_score_adj: Option<i32>,

    /// How late its timers may be
    #[arg(long, value_name = "DURATION", value_parser = nanoseconds, help_heading = "Resources")]
    pub(crate) timer_slack: Option<Duration>,

    /// Become this user: uid, gid, groups, HOME and USER from the user database
    #[arg(
        long,
        value_name = "USER",
        conflicts_with_all = ["uid", "gid"],
        help_heading = "Credentials and privileges",
        value_hint = ValueHint::Username
    )]
    pub(crate) user: Option<String>,

    /// User id or name; REAL:EFFECTIVE:SAVED sets them apart, an empty one stays
    #[arg(
        long,
        alias = "reuid",
        value_name = "ID",
        help_heading = "Credentials and privileges",
        value_hint = ValueHint::Username
    )]
    pub(crate) uid: Option<Ids>,

    /// Group id or name; REAL:EFFECTIVE:SAVED sets them apart, an empty one stays
    #[arg(long, alias = "regid", value_name = "ID", help_heading = "Credentials and privileges")]
    pub(crate) gid: Option<Ids>,

    /// Supplementary groups by id or name, or `none`
    ///
    /// Root's groups are dropped when the uid changes, unless this or --keep-groups says otherwise.
    #[arg(long, value_name = "LIST", help_heading = "Credentials and privileges")]
    pub(crate) groups: Option<Groups>,

    /// Keep the supplementary groups although the uid changes
    #[arg(
        long,
        conflicts_with_all = ["groups", "user"],
        help_heading = "Credentials and privileges"
    )]
    pub(crate) keep_groups: bool,

    /// execve grants no privilege any more, to it and its descendants
    #[arg(long, help_heading = "Credentials and privileges")]
    pub(crate) no_new_privs: bool,

    #[command(flatten)]
    pub(crate) privilege: PrivilegeArgs,

    #[command(flatten)]
    pub(crate) cgroup: CgroupArgs,

    /// Turn address space randomisation off
    #[arg(long, help_heading = "Credentials and privileges")]
    pub(crate) no_aslr: bool,

    /// Execution domain and its flags, as a number or as names of setarch(8) with commas
    #[arg(long, value_name = "PERSONA", help_heading = "Credentials and privileges")]
    pub(crate) personality: Option<Persona>,

    /// Orphaned descendants become its children
    #[arg(long, help_heading = "Credentials and privileges")]
    pub(crate) subreaper: bool,

    /// The signal it gets when embryo ends
    #[arg(long, value_name = "SIGNAL", help_heading = "Signals")]
    pub(crate) pdeathsig: Option<Signal>,

    /// Start with these signals blocked: names with commas, `all` or `none`
    #[arg(
        long,
        alias = "block-signal",
        value_name = "LIST",
        conflicts_with = "keep_signal_mask",
        help_heading = "Signals"
    )]
    pub(crate) signal_mask: Option<SignalSet>,

    /// Start with the caller's signal mask
    #[arg(long, help_heading = "Signals")]
    pub(crate) keep_signal_mask: bool,

    /// Start with these signals ignored; may be repeated
    #[arg(
        long,
        value_name = "LIST",
        conflicts_with = "keep_ignored_signals",
        help_heading = "Signals"
    )]
    pub(crate) ignore_signal: Vec<SignalSet>,

    /// Signals that the caller ignores stay ignored, as under nohup(1)
    ///
    /// SIGPIPE excepted: whether it was ignored cannot be known; `--ignore-signal` can say so.
    #[arg(long, help_heading = "Signals")]
    pub(crate) keep_ignored_signals: bool,

    /// With --keep-ignored-signals: these have their default action all the same
    #[arg(long, value_name = "LIST", requires = "keep_ignored_signals", help_heading = "Signals")]
    pub(crate) default_signal: Vec<SignalSet>,
}
