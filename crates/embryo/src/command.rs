//! `std::process::Command`, made without fork: std's names with std's meaning, and a method for every
//! op that std has no name for.
//!
//! It is a plan in the making. Whatever a child of std's would inherit by habit (stdio,
//! environment, working directory, umask, session, ignored signals) is granted here by name, and nothing else is.

#[cfg(feature = "agent")]
mod agent;
mod cgroup;
mod confine;
mod mount;
mod namespace;
mod privilege;
mod sandbox;

use crate::caps::Privileges;
use crate::elf::Load;
use crate::error::Error;
use crate::hatchery::Hatchery;
use crate::launching::{self, Launching};
use crate::loaded;
use crate::mailbox::Mailbox;
use crate::mount::NewRoot;
use crate::process::Process;
use crate::pty::{self, Pty};
use crate::sandbox::Sandbox;
use crate::spawn::SpawnOptions;
use crate::stdio::{Source, Stdio, own};
use embryo_plan::{Access, BuildError, ExecFlags, Keep, Op, OwnedPlan, PlanBuilder, Slot};
use rustix::pipe::PipeFlags;
use std::collections::BTreeMap;
use std::ffi::{CString, OsStr, OsString};
use std::fmt;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output};
use std::sync::{Arc, Weak};
use std::time::Duration;

pub(crate) use cgroup::Keeper;

/// Where execvp(3) looks when there is no `PATH`.
const DEFAULT_SEARCH: &str = "/bin:/usr/bin";

/// What every Rust program ignores, and no other program expects to find ignored.
const SIGPIPE: u64 = 1 << 12;

/// Describes a child and starts it, as often as wanted.
///
/// # Where it differs from [`std::process::Command`]
/// - Every descriptor that was not granted is closed in the child, close-on-exec or not. Grant one
///   with [`Command::fd`].
/// - There is no `pre_exec`: DESIGN.md has a table of what to use instead.
/// - Dropping a running [`Process`] leaves no zombie: a thread reaps it, which exists until it has.
/// - A child that has not started after [`SpawnOptions::timeout`] (ten seconds) is killed.
/// - No signal is blocked in the child; std passes the thread's mask on, as
///   [`Command::keep_signal_mask`] does.
/// - The environment reaches the child sorted by name.
/// - A standard stream that is close-on-exec is not inherited.
/// - Errors are [`Error`], which converts to [`std::io::Error`] with the kind that std would give.
/// - A program found in `PATH` that is a script without `#!` is ENOEXEC, unless
///   [`Command::shell_fallback`] says otherwise.
///
/// ```
/// # fn main() -> Result<(), embryo::Error> {
/// let status = embryo::Command::new("true").status()?;
/// assert!(status.success());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Command {
    program: Program,
    args: Vec<OsString>,
    arg0: Option<OsString>,
    env_clear: bool,
    env: BTreeMap<OsString, Option<OsString>>,
    search: Option<OsString>,
    stdio: [Option<Stdio>; 3],
    fds: BTreeMap<u32, Arc<OwnedFd>>,
    nulls: BTreeMap<u32, Access>,
    cwd: Option<Place>,
    root: Option<Place>,
    new_root: Option<NewRoot>,
    mounts: Vec<mount::Mounted>,
    session: Session,
    tty: Option<Arc<OwnedFd>>,
    foreground: Option<Arc<OwnedFd>>,
    pty: Option<Weak<OwnedFd>>,
    groups: Option<Vec<u32>>,
    uids: Option<[u32; 3]>,
    gids: Option<[u32; 3]>,
    umask: Option<u32>,
    rlimits: BTreeMap<u32, (u64, u64)>,
    sched: Option<[u64; 6]>,
    nice: Option<i32>,
    affinity: Option<Vec<u8>>,
    io_priority: Option<u32>,
    oom_score_adj: Option<i32>,
    timer_slack: Option<u64>,
    death_signal: Option<u32>,
    personality: Option<u32>,
    subreaper: bool,
    no_new_privs: bool,
    confine: confine::Confine,
    signal_mask: Mask,
    ignored: Ignored,
    namespaces: namespace::Settings,
    sandbox: Option<Box<Sandbox>>,
    shell: bool,
    load: bool,
    options: SpawnOptions,
    hatchery: Option<Hatchery>,
    #[cfg(feature = "agent")]
    agent: Option<crate::agent::Agent>,
    kill_on_drop: bool,
    privileges: Privileges,
    core_scheduling: bool,
    memory_policy: Option<(u32, Vec<u8>)>,
    cgroup: Option<cgroup::Where>,
    die_with_handle: bool,
}

#[derive(Clone, Debug)]
enum Program {
    Name(OsString),
    Fd(Arc<OwnedFd>, ExecFlags),
}

#[derive(Clone, Debug)]
enum Place {
    Path(PathBuf),
    Fd(Arc<OwnedFd>),
}

#[derive(Clone, Copy, Debug)]
enum Session {
    Keep,
    New,
    Group(u32),
}

#[derive(Clone, Copy, Debug)]
enum Mask {
    Empty,
    Keep,
    Set(u64),
}

#[derive(Clone, Copy, Debug)]
enum Ignored {
    None,
    /// Kept, but for these.
    Keep(u64),
    Set(u64),
}

/// Ops that std's `Command` has no name for, and what they are called in the man pages.
impl Command {
    /// A child that runs `program`, looked up in the child's `PATH` if it has no slash.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self::of(Program::Name(program.as_ref().to_owned()))
    }

    /// A child that runs an open file; execveat(2). Its `argv[0]` is `arg0`.
    ///
    /// A `#!` script is ENOENT this way, since its interpreter cannot open a descriptor that exec
    /// has closed: run the interpreter instead, or see [`Command::image_stays_open`].
    pub fn from_fd(image: impl Into<OwnedFd>, arg0: impl AsRef<OsStr>) -> Self {
        let mut command = Self::of(Program::Fd(Arc::new(image.into()), ExecFlags::empty()));
        command.arg0 = Some(arg0.as_ref().to_owned());
        command
    }

    fn of(program: Program) -> Self {
        Self {
            program,
            args: Vec::new(),
            arg0: None,
            env_clear: false,
            env: BTreeMap::new(),
            search: None,
            stdio: [None, None, None],
            fds: BTreeMap::new(),
            nulls: BTreeMap::new(),
            cwd: None,
            root: None,
            new_root: None,
            mounts: Vec::new(),
            session: Session::Keep,
            tty: None,
            foreground: None,
            pty: None,
            groups: None,
            uids: None,
            gids: None,
            umask: None,
            rlimits: BTreeMap::new(),
            sched: None,
            nice: None,
            affinity: None,
            io_priority: None,
            oom_score_adj: None,
            timer_slack: None,
            death_signal: None,
            personality: None,
            subreaper: false,
            no_new_privs: false,
            confine: confine::Confine::default(),
            signal_mask: Mask::Empty,
            ignored: Ignored::Keep(SIGPIPE),
            namespaces: namespace::Settings::default(),
            sandbox: None,
            shell: false,
            load: false,
            options: SpawnOptions::default(),
            hatchery: None,
            #[cfg(feature = "agent")]
            agent: None,
            kill_on_drop: false,
            privileges: Privileges::default(),
            core_scheduling: false,
            memory_policy: None,
            cgroup: None,
            die_with_handle: false,
        }
    }

    /// For an image given by descriptor: it stays open in the child, at the number it happens to
    /// have, so that a `#!` script's interpreter can open it.
    pub fn image_stays_open(&mut self, open: bool) -> &mut Self {
        if let Program::Fd(_, flags) = &mut self.program {
            flags.set(ExecFlags::KEEP_OPEN, open);
        }
        self
    }

    /// Where a program without a slash is looked up, instead of the child's `PATH`: directories
    /// separated by colons.
    pub fn search_path(&mut self, search: impl AsRef<OsStr>) -> &mut Self {
        self.search = Some(search.as_ref().to_owned());
        self
    }

    /// Whether a file that the kernel does not know how to run is given to `/bin/sh`, as
    /// execvp(3) does.
    pub fn shell_fallback(&mut self, shell: bool) -> &mut Self {
        self.shell = shell;
        self
    }

    /// Loads the program into memory instead of executing it, as [`crate::Load`] does and with what
    /// a program can tell apart then. No exec happens: the file is found here, by the rules of
    /// exec and with the caller's permissions, under the caller's root directory, and relative to the
    /// child's working directory; the child is an [`crate::Embryo`] until it starts.
    ///
    /// A spawn is [`Error::Load`] for a `#!` script, and for what takes an exec:
    /// [`Command::chroot`], [`Command::personality`], [`Command::shell_fallback`],
    /// [`Command::image_stays_open`]. x86_64 alone.
    pub fn load(&mut self, load: bool) -> &mut Self {
        self.load = load;
        #[cfg(feature = "agent")]
        self.agent.take_if(|_| load);
        self
    }

    /// Whether [`Command::load`] was asked for.
    #[must_use]
    pub fn loads(&self) -> bool {
        self.load
    }

    /// The program that [`Command::load`] would bring into memory now, with arguments and
    /// environment. Nothing is started.
    ///
    /// # Errors
    /// [`Error::Plan`] for a description that is none, [`Error::Load`] for a program that cannot be
    /// loaded.
    pub fn program_to_load(&self) -> Result<Load, Error> {
        let (plan, grants) = self.plan()?;
        let grants: Vec<BorrowedFd<'_>> = grants.iter().map(AsFd::as_fd).collect();
        loaded::program(&plan.as_plan(), &grants)
    }

    /// Grants a descriptor at number `fd`. Numbers 0 to 2 are better given as [`Stdio`], which this
    /// overrides.
    pub fn fd(&mut self, fd: u32, handle: impl Into<OwnedFd>) -> &mut Self {
        self.nulls.remove(&fd);
        self.fds.insert(fd, Arc::new(handle.into()));
        self
    }

    /// Puts `/dev/null` at number `fd`.
    pub fn null_fd(&mut self, fd: u32, access: Access) -> &mut Self {
        self.fds.remove(&fd);
        self.nulls.insert(fd, access);
        self
    }

    /// The working directory, by descriptor; fchdir(2).
    pub fn current_dir_fd(&mut self, dir: impl Into<OwnedFd>) -> &mut Self {
        self.cwd = Some(Place::Fd(Arc::new(dir.into())));
        self
    }

    /// The root directory; chroot(2). The working directory becomes `/` in it unless it is set.
    pub fn chroot(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.root = Some(Place::Path(dir.as_ref().to_owned()));
        self
    }

    /// The root directory, by descriptor.
    pub fn chroot_fd(&mut self, dir: impl Into<OwnedFd>) -> &mut Self {
        self.root = Some(Place::Fd(Arc::new(dir.into())));
        self
    }

    /// The file mode creation mask, instead of the caller's; umask(2).
    pub fn umask(&mut self, mode: u32) -> &mut Self {
        self.umask = Some(mode);
        self
    }

    /// A new session without a controlling terminal; setsid(2). Excludes
    /// [`Command::process_group`]: the last one called counts.
    pub fn setsid(&mut self, new: bool) -> &mut Self {
        self.session = if new || self.pty.is_some() { Session::New } else { Session::Keep };
        self
    }

    /// This terminal becomes the controlling one of the child's new session; implies
    /// [`Command::setsid`].
    pub fn controlling_tty(&mut self, tty: impl Into<OwnedFd>) -> &mut Self {
        self.session = Session::New;
        self.tty = Some(Arc::new(tty.into()));
        self.pty = None;
        self
    }

    /// A terminal of its own: the other side of `pty` is the controlling terminal of a new session, and every
    /// standard stream that is not set otherwise, whatever the default is. It belongs to the user that the child becomes. It is opened by each spawn, and
    /// the caller keeps nothing of it. Excludes [`Command::controlling_tty`] and
    /// [`Command::process_group`]: the last one called counts.
    pub fn pty(&mut self, pty: &Pty) -> &mut Self {
        self.session = Session::New;
        self.tty = None;
        self.pty = Some(pty.downgrade());
        self
    }

    /// The child's process group becomes the foreground one of this terminal; tcsetpgrp(3).
    pub fn foreground(&mut self, tty: impl Into<OwnedFd>) -> &mut Self {
        self.foreground = Some(Arc::new(tty.into()));
        self
    }

    /// Real, effective and saved user id; setresuid(2). `u32::MAX` leaves one.
    pub fn resuid(&mut self, real: u32, effective: u32, saved: u32) -> &mut Self {
        self.uids = Some([real, effective, saved]);
        self
    }

    /// Real, effective and saved group id; setresgid(2). `u32::MAX` leaves one.
    pub fn resgid(&mut self, real: u32, effective: u32, saved: u32) -> &mut Self {
        self.gids = Some([real, effective, saved]);
        self
    }

    /// Supplementary groups; setgroups(2).
    pub fn groups(&mut self, groups: &[u32]) -> &mut Self {
        self.groups = Some(groups.to_vec());
        self
    }

    /// A resource limit; setrlimit(2). `resource` is a `RLIMIT_*` number, `u64::MAX` is no limit.
    pub fn rlimit(&mut self, resource: u32, soft: u64, hard: u64) -> &mut Self {
        self.rlimits.insert(resource, (soft, hard));
        self
    }

    /// Scheduling policy by its `SCHED_*` number and static priority (FIFO and RR: 1 to 99, else
    /// 0); sched(7).
    pub fn sched(&mut self, policy: u32, priority: u32) -> &mut Self {
        self.sched = Some([policy.into(), priority.into(), 0, 0, 0, 0]);
        self
    }

    /// `SCHED_DEADLINE` with these times; sched(7). A period of zero is the deadline.
    pub fn sched_deadline(
        &mut self,
        runtime: Duration,
        deadline: Duration,
        period: Duration,
    ) -> &mut Self {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sched = Some([6, 0, 0, ns(runtime), ns(deadline), ns(period)]);
        self
    }

    /// The child's children start with the default policy and nice value
    /// (`SCHED_FLAG_RESET_ON_FORK`). To be called after [`Command::sched`].
    pub fn sched_reset_on_fork(&mut self, reset: bool) -> &mut Self {
        if let Some(sched) = &mut self.sched {
            sched[2] = u64::from(reset);
        }
        self
    }

    /// Nice value, -20 to 19; setpriority(2).
    pub fn nice(&mut self, value: i32) -> &mut Self {
        self.nice = Some(value);
        self
    }

    /// The CPUs it may run on, by number; sched_setaffinity(2).
    pub fn cpu_affinity(&mut self, cpus: impl IntoIterator<Item = usize>) -> &mut Self {
        let mut mask = Vec::new();
        // A number beyond every limit makes a mask that the checker refuses.
        for cpu in cpus.into_iter().map(|cpu| cpu.min(1 << 16)) {
            if mask.len() <= cpu / 8 {
                mask.resize((cpu / 8 + 1).next_multiple_of(8), 0);
            }
            mask[cpu / 8] |= 1 << (cpu % 8);
        }
        self.affinity = Some(mask);
        self
    }

    /// I/O priority; ioprio_set(2). Class 1 is real-time, 2 best-effort, 3 idle; level 0 to 7, 0
    /// is first.
    pub fn io_priority(&mut self, class: u32, level: u32) -> &mut Self {
        // What does not fit is made a value that the checker refuses.
        let fits = class < 8 && level < 1 << 13;
        self.io_priority = Some(if fits { class << 13 | level } else { u32::MAX });
        self
    }

    /// How readily the OOM killer takes it, -1000 to 1000; proc(5).
    pub fn oom_score_adj(&mut self, value: i32) -> &mut Self {
        self.oom_score_adj = Some(value);
        self
    }

    /// Timer slack; prctl(2). Zero is the caller's default.
    pub fn timer_slack(&mut self, slack: Duration) -> &mut Self {
        self.timer_slack = Some(u64::try_from(slack.as_nanos()).unwrap_or(u64::MAX));
        self
    }

    /// The signal that the child gets when the *thread* that spawned it ends; prctl(2). In a thread
    /// pool that is rarely what is meant.
    pub fn death_signal(&mut self, signal: u32) -> &mut Self {
        self.death_signal = Some(signal);
        self
    }

    /// Orphaned descendants become the child's children; prctl(2).
    pub fn child_subreaper(&mut self, subreaper: bool) -> &mut Self {
        self.subreaper = subreaper;
        self
    }

    /// Execution domain; personality(2). 0x0040000 turns address randomisation off.
    pub fn personality(&mut self, persona: u32) -> &mut Self {
        self.personality = Some(persona);
        self
    }

    /// exec grants no privilege any more; prctl(2).
    pub fn no_new_privs(&mut self, set: bool) -> &mut Self {
        self.no_new_privs = set;
        self
    }

    /// The signals that the child starts with blocked; bit n-1 is signal n.
    pub fn signal_mask(&mut self, set: u64) -> &mut Self {
        self.signal_mask = Mask::Set(set);
        self
    }

    /// The child starts with the calling thread's signal mask.
    pub fn keep_signal_mask(&mut self) -> &mut Self {
        self.signal_mask = Mask::Keep;
        self
    }

    /// The signals that the child starts with ignored; bit n-1 is signal n.
    pub fn ignore_signals(&mut self, set: u64) -> &mut Self {
        self.ignored = Ignored::Set(set);
        self
    }

    /// Signals that the caller ignores stay ignored in the child.
    pub fn keep_ignored_signals(&mut self) -> &mut Self {
        self.default_signals(0)
    }

    /// Every signal has its default action in the child: nothing that the caller ignores stays so.
    /// It costs a system call for each of 62 signals.
    pub fn default_all_signals(&mut self) -> &mut Self {
        self.ignored = Ignored::None;
        self
    }

    /// Signals that the caller ignores stay ignored in the child, except those in `set`, which get
    /// their default action: `POSIX_SPAWN_SETSIGDEF` of posix_spawn(3). Bit n-1 is signal n. As in
    /// std, this is what a command does unless told otherwise, with SIGPIPE, `1 << 12`.
    pub fn default_signals(&mut self, set: u64) -> &mut Self {
        self.ignored = Ignored::Keep(set);
        self
    }

    /// Takes the child from a hatchery: [`Command::launch`] and [`Command::spawn`] send it what there is
    /// to do, and the second waits for the outcome. One with [`Command::load`] makes an embryo of its own.
    pub fn hatchery(&mut self, hatchery: &Hatchery) -> &mut Self {
        self.hatchery = Some(hatchery.clone());
        #[cfg(feature = "agent")]
        self.agent.take();
        self
    }

    /// How the plan is executed, as opposed to what it says.
    pub fn spawn_options(&mut self, options: SpawnOptions) -> &mut Self {
        self.options = options;
        self
    }

    /// Whether dropping the [`Process`] kills it.
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Self {
        self.kill_on_drop = kill;
        self
    }
}

/// What std has, with std's meaning.
impl Command {
    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> &mut Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// `argv[0]`, instead of the program.
    pub fn arg0(&mut self, arg: impl AsRef<OsStr>) -> &mut Self {
        self.arg0 = Some(arg.as_ref().to_owned());
        self
    }

    /// Sets an environment variable.
    pub fn env(&mut self, key: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> &mut Self {
        self.env.insert(key.as_ref().to_owned(), Some(value.as_ref().to_owned()));
        self
    }

    /// Sets environment variables.
    pub fn envs(
        &mut self,
        vars: impl IntoIterator<Item = (impl AsRef<OsStr>, impl AsRef<OsStr>)>,
    ) -> &mut Self {
        for (key, value) in vars {
            self.env(key, value);
        }
        self
    }

    /// Removes an environment variable, or does not pass it on.
    pub fn env_remove(&mut self, key: impl AsRef<OsStr>) -> &mut Self {
        if self.env_clear {
            self.env.remove(key.as_ref());
        } else {
            self.env.insert(key.as_ref().to_owned(), None);
        }
        self
    }

    /// Passes no variable on that is not set after this.
    pub fn env_clear(&mut self) -> &mut Self {
        self.env_clear = true;
        self.env.clear();
        self
    }

    /// The working directory. A relative program path is then looked up from there.
    pub fn current_dir(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.cwd = Some(Place::Path(dir.as_ref().to_owned()));
        self
    }

    /// Standard input: inherited for `spawn` and `status`, `/dev/null` for `output`, unless set.
    pub fn stdin(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[0] = Some(stdio.into());
        self
    }

    /// Standard output: inherited for `spawn` and `status`, piped for `output`, unless set.
    pub fn stdout(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[1] = Some(stdio.into());
        self
    }

    /// Standard error: inherited for `spawn` and `status`, piped for `output`, unless set.
    pub fn stderr(&mut self, stdio: impl Into<Stdio>) -> &mut Self {
        self.stdio[2] = Some(stdio.into());
        self
    }

    /// User id: real, effective and saved. As in std, supplementary groups are dropped where that is
    /// allowed, unless [`Command::groups`] sets some.
    pub fn uid(&mut self, id: u32) -> &mut Self {
        self.resuid(id, id, id)
    }

    /// Group id: real, effective and saved.
    pub fn gid(&mut self, id: u32) -> &mut Self {
        self.resgid(id, id, id)
    }

    /// Process group; 0 makes a new one. Excludes [`Command::setsid`]: the last one called counts.
    pub fn process_group(&mut self, pgroup: i32) -> &mut Self {
        self.session = Session::Group(pgroup as u32);
        self.pty = None;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// [`Error::Plan`] for a description that is none, [`Error::Spawn`] with the op that failed;
    /// no child is left in either case.
    pub fn spawn(&mut self) -> Result<Process, Error> {
        self.spawn_default([Stdio::inherit, Stdio::inherit, Stdio::inherit])
    }

    /// Starts it without waiting until it has its image; with [`Command::hatchery`] that is one message.
    /// Without it the child is made directly, and what comes back knows the outcome already, unless a filter
    /// has a listener; see [`crate::launch_with`].
    ///
    /// # Errors
    /// As [`Hatchery::spawn`] and [`Command::spawn`].
    pub fn launch(&mut self) -> Result<Launching, Error> {
        self.launch_default([Stdio::inherit, Stdio::inherit, Stdio::inherit])
    }

    /// Starts it and waits for its end.
    ///
    /// # Errors
    /// As [`Command::spawn`] and [`Process::wait`].
    pub fn status(&mut self) -> Result<ExitStatus, Error> {
        self.spawn()?.wait()
    }

    /// Starts it, reads its output and waits for its end.
    ///
    /// # Errors
    /// As [`Command::spawn`] and [`Process::wait_with_output`].
    pub fn output(&mut self) -> Result<Output, Error> {
        self.spawn_default([Stdio::null, Stdio::piped, Stdio::piped])?.wait_with_output()
    }

    /// Starts it, writes `input` to its stdin while it reads its output, and waits for its end.
    ///
    /// # Errors
    /// As [`Command::spawn`] and [`Process::communicate`].
    pub fn output_with_input(&mut self, input: &[u8]) -> Result<Output, Error> {
        self.spawn_default([Stdio::piped, Stdio::piped, Stdio::piped])?.communicate(input)
    }

    /// The program.
    #[must_use]
    pub fn get_program(&self) -> &OsStr {
        match &self.program {
            Program::Name(name) => name,
            Program::Fd(..) => self.arg0.as_deref().unwrap_or_default(),
        }
    }

    /// The arguments.
    pub fn get_args(&self) -> impl ExactSizeIterator<Item = &OsStr> {
        self.args.iter().map(OsString::as_os_str)
    }

    /// What was said of the environment: variables set, and removed ones as `None`.
    pub fn get_envs(&self) -> impl ExactSizeIterator<Item = (&OsStr, Option<&OsStr>)> {
        self.env.iter().map(|(key, value)| (key.as_os_str(), value.as_deref()))
    }

    /// The working directory, if it was set by path.
    #[must_use]
    pub fn get_current_dir(&self) -> Option<&Path> {
        match &self.cwd {
            Some(Place::Path(path)) => Some(path),
            _ => None,
        }
    }
}

/// A command turned into a plan, with what its slots stand for.
pub(crate) struct Prepared {
    plan: OwnedPlan,
    grants: Vec<Grant>,
    /// Our ends of the pipes.
    pipes: [Option<OwnedFd>; 3],
}

enum Grant {
    Own(BorrowedFd<'static>),
    Shared(Arc<OwnedFd>),
    Pipe(OwnedFd),
}

impl AsFd for Grant {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Grant::Own(fd) => *fd,
            Grant::Shared(fd) => fd.as_fd(),
            Grant::Pipe(fd) => fd.as_fd(),
        }
    }
}

/// From description to plan.
impl Command {
    /// The plan that a [`Command::spawn`] would execute now, and the descriptors that its slots
    /// stand for. With [`Command::load`] it names the program with an exec that does not happen. A piped stream appears as a grant of a pipe whose other end is closed; a
    /// transient cgroup, which is made by a spawn, as its parent; a guardian as a socket that leads nowhere.
    ///
    /// # Errors
    /// [`Error::Plan`] for a description that is none.
    pub fn plan(&self) -> Result<(OwnedPlan, Vec<OwnedFd>), Error> {
        if let Some(expanded) = self.expanded()? {
            return expanded.plan();
        }
        let prepared = self.prepare([Stdio::inherit, Stdio::inherit, Stdio::inherit], None)?;
        let grants = prepared.grants.iter().map(|grant| grant.as_fd().try_clone_to_owned());
        let grants = grants.collect::<Result<_, _>>().map_err(Error::io("copying a grant"))?;
        Ok((prepared.plan, grants))
    }

    fn spawn_default(&mut self, defaults: [fn() -> Stdio; 3]) -> Result<Process, Error> {
        self.launch_default(defaults)?.wait()
    }

    fn launch_default(&self, defaults: [fn() -> Stdio; 3]) -> Result<Launching, Error> {
        if let Some(expanded) = self.expanded()? {
            return expanded.launch_default(defaults);
        }
        let keeper = self.keeper()?;
        let prepared = self.prepare(defaults, keeper.as_deref())?;
        let grants: Vec<BorrowedFd<'_>> = prepared.grants.iter().map(AsFd::as_fd).collect();
        let mut launching = self.launch_plan(&prepared.plan, &grants)?;
        let [stdin, stdout, stderr] = prepared.pipes;
        launching.stdio = launching::Stdio {
            stdin: stdin.map(Into::into),
            stdout: stdout.map(Into::into),
            stderr: stderr.map(Into::into),
        };
        launching.kill_on_drop = self.kill_on_drop;
        launching.keeper = keeper;
        Ok(launching)
    }

    fn launch_plan(&self, plan: &OwnedPlan, grants: &[BorrowedFd<'_>]) -> Result<Launching, Error> {
        let options = self.options;
        #[cfg(feature = "agent")]
        if let Some(launched) = self.launch_elsewhere(plan, grants, options) {
            return launched;
        }
        match (&self.hatchery, self.load) {
            (_, true) => loaded::spawn(plan, grants, options).map(Launching::started),
            (Some(hatchery), _) => hatchery.spawn_with(plan, grants, options),
            (None, _) => launching::launch_with(plan, grants, options),
        }
    }

    /// Whether an agent starts it, so that what the caller has is not what the child gets.
    fn is_elsewhere(&self) -> bool {
        #[cfg(feature = "agent")]
        return self.agent.is_some();
        #[cfg(not(feature = "agent"))]
        false
    }

    fn prepare(
        &self,
        defaults: [fn() -> Stdio; 3],
        keeper: Option<&Keeper>,
    ) -> Result<Prepared, Error> {
        let mut draft = Draft { plan: PlanBuilder::new(), grants: Vec::new() };
        self.add_cgroup(&mut draft, keeper)?;
        let slave = self.slave()?.map(Arc::new);
        let pipes = self.add_descriptors(&mut draft, slave.as_ref(), defaults)?;
        self.add_namespaces(&mut draft)?;
        self.add_places(&mut draft)?;
        self.add_session(&mut draft, slave.as_ref());
        self.add_resources(&mut draft.plan);
        self.add_credentials(&mut draft.plan);
        self.add_privileges(&mut draft.plan)?;
        self.add_confinement(&mut draft)?;
        self.add_signals(&mut draft.plan);
        let env = self.environment();
        self.add_image(&mut draft, &env)?;
        for (key, value) in &env {
            draft.plan.env(key.as_bytes(), value.as_bytes());
        }
        let plan = draft.plan.build()?;
        Ok(Prepared { plan, grants: draft.grants, pipes })
    }

    /// The child's side of its own terminal.
    fn slave(&self) -> Result<Option<OwnedFd>, Error> {
        let Some(pty) = &self.pty else { return Ok(None) };
        match pty.upgrade() {
            Some(master) => {
                let slave = pty::slave(&master)?;
                // As login(1) does, so that another user can open it by its name too; where that is not
                // allowed the child has it all the same.
                if let Some([_, uid, _]) = self.uids.filter(|uids| uids[1] != u32::MAX) {
                    let _ = rustix::fs::fchown(&slave, Some(rustix::fs::Uid::from_raw(uid)), None);
                }
                Ok(Some(slave))
            }
            None => Err(Error::io("opening the child's terminal")(std::io::Error::new(
                std::io::ErrorKind::NotFound,
                "it was closed before the child was started",
            ))),
        }
    }

    fn add_descriptors(
        &self,
        draft: &mut Draft,
        slave: Option<&Arc<OwnedFd>>,
        defaults: [fn() -> Stdio; 3],
    ) -> Result<[Option<OwnedFd>; 3], Error> {
        let mut pipes = [None, None, None];
        for number in 0..3u32 {
            if self.fds.contains_key(&number) || self.nulls.contains_key(&number) {
                continue;
            }
            let index = number as usize;
            let default = || match slave {
                Some(slave) => Stdio(Source::Fd(Arc::clone(slave))),
                None => defaults[index](),
            };
            let stdio = self.stdio[index].clone().unwrap_or_else(default);
            let grant = match stdio.0 {
                Source::Closed => continue,
                Source::Null => {
                    let access = if number == 0 { Access::Read } else { Access::Write };
                    draft.plan.op(&Op::OpenNull { fd: number, access });
                    continue;
                }
                Source::Inherit => match own(number) {
                    Some(fd) => Grant::Own(fd),
                    // Closed here, so closed there.
                    None => continue,
                },
                Source::Fd(fd) => Grant::Shared(fd),
                Source::Piped => {
                    Mailbox::reserve();
                    let (reader, writer) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
                        .map_err(|errno| Error::io("making a pipe")(errno.into()))?;
                    let (theirs, ours) =
                        if number == 0 { (reader, writer) } else { (writer, reader) };
                    pipes[index] = Some(ours);
                    Grant::Pipe(theirs)
                }
            };
            let slot = draft.grant(grant);
            draft.plan.op(&Op::PutFd { slot, fd: number });
        }
        for (fd, access) in &self.nulls {
            draft.plan.op(&Op::OpenNull { fd: *fd, access: *access });
        }
        for (fd, handle) in &self.fds {
            let slot = draft.grant(Grant::Shared(Arc::clone(handle)));
            draft.plan.op(&Op::PutFd { slot, fd: *fd });
        }
        Ok(pipes)
    }

    fn add_places(&self, draft: &mut Draft) -> Result<(), Error> {
        match &self.root {
            None => {}
            Some(Place::Path(path)) => {
                let path = c_string(path.as_os_str(), "the root directory")?;
                draft.plan.op(&Op::ChrootPath { path: &path });
            }
            Some(Place::Fd(dir)) => {
                let slot = draft.grant(Grant::Shared(Arc::clone(dir)));
                draft.plan.op(&Op::ChrootSlot { slot });
            }
        }
        self.add_mounts(draft)?;
        match &self.cwd {
            None if self.root.is_some() || self.new_root.is_some() || self.joins_mounts() => {
                draft.plan.op(&Op::ChdirPath { path: c"/" });
            }
            None => {
                draft.plan.keep(Keep::CWD);
            }
            Some(Place::Path(path)) => {
                let path = c_string(path.as_os_str(), "the working directory")?;
                draft.plan.op(&Op::ChdirPath { path: &path });
            }
            Some(Place::Fd(dir)) => {
                let slot = draft.grant(Grant::Shared(Arc::clone(dir)));
                draft.plan.op(&Op::ChdirSlot { slot });
            }
        }
        match self.umask {
            Some(mode) => draft.plan.op(&Op::Umask { mode }),
            None => draft.plan.keep(Keep::UMASK),
        };
        Ok(())
    }

    fn add_session(&self, draft: &mut Draft, slave: Option<&Arc<OwnedFd>>) {
        match self.session {
            Session::Keep => draft.plan.keep(Keep::SESSION),
            Session::New => draft.plan.op(&Op::SetSid),
            Session::Group(pgid) => draft.plan.keep(Keep::SESSION).op(&Op::SetPgid { pgid }),
        };
        if let Some(tty) = self.tty.as_ref().or(slave) {
            let slot = draft.grant(Grant::Shared(Arc::clone(tty)));
            draft.plan.op(&Op::ControllingTty { slot });
        }
        if let Some(tty) = &self.foreground {
            let slot = draft.grant(Grant::Shared(Arc::clone(tty)));
            draft.plan.op(&Op::Foreground { slot });
        }
    }

    fn add_resources(&self, plan: &mut PlanBuilder) {
        for (resource, (soft, hard)) in &self.rlimits {
            plan.op(&Op::Rlimit { resource: *resource, soft: *soft, hard: *hard });
        }
        if let Some([policy, priority, flags, runtime_ns, deadline_ns, period_ns]) = self.sched {
            plan.op(&Op::Sched {
                policy: policy as u32,
                priority: priority as u32,
                flags: flags as u16,
                runtime_ns,
                deadline_ns,
                period_ns,
            });
        }
        if let Some(value) = self.nice {
            plan.op(&Op::Nice { value });
        }
        if let Some(mask) = &self.affinity {
            plan.op(&Op::Affinity { mask });
        }
        if let Some(value) = self.io_priority {
            plan.op(&Op::IoPriority { value });
        }
        if let Some(value) = self.oom_score_adj {
            plan.op(&Op::OomScoreAdj { value });
        }
        if let Some(ns) = self.timer_slack {
            plan.op(&Op::TimerSlack { ns });
        }
    }

    fn add_credentials(&self, plan: &mut PlanBuilder) {
        let mut groups = self.groups.clone();
        // As in std: with the uid go the groups, where they may.
        let sets_groups = || self.is_elsewhere() || self.child_sets_groups();
        if groups.is_none() && self.uids.is_some() && sets_groups() {
            groups = Some(Vec::new());
        }
        if let Some(groups) = groups {
            let list: Vec<u8> = groups.iter().flat_map(|gid| gid.to_le_bytes()).collect();
            plan.op(&Op::Groups { list: &list });
        }
        if let Some([real, effective, saved]) = self.gids {
            plan.op(&Op::Gid { real, effective, saved });
        }
        if let Some([real, effective, saved]) = self.uids {
            plan.op(&Op::Uid { real, effective, saved });
        }
        if let Some(signal) = self.death_signal {
            plan.op(&Op::DeathSignal { signal });
        }
        if self.subreaper {
            plan.op(&Op::Subreaper);
        }
        if let Some(persona) = self.personality {
            plan.op(&Op::Personality { persona });
        }
        if self.no_new_privs {
            plan.op(&Op::NoNewPrivs);
        }
    }

    fn add_signals(&self, plan: &mut PlanBuilder) {
        match self.signal_mask {
            Mask::Empty => {}
            Mask::Keep if self.is_elsewhere() => {
                plan.op(&Op::SignalMask { set: mask_now() });
            }
            Mask::Keep => {
                plan.keep(Keep::SIGNAL_MASK);
            }
            Mask::Set(set) => {
                plan.op(&Op::SignalMask { set });
            }
        }
        match self.ignored {
            // An embryo's own are its seed's, so those to be kept are named.
            Ignored::Keep(SIGPIPE) if self.is_elsewhere() => {}
            Ignored::Keep(except) if self.load || self.is_elsewhere() => {
                plan.op(&Op::SignalIgnore { set: loaded::ignored_now() & !except });
            }
            Ignored::None => {}
            Ignored::Keep(except) => {
                plan.keep(Keep::IGNORED_SIGNALS);
                if except != 0 {
                    plan.op(&Op::SignalDefault { set: except });
                }
            }
            Ignored::Set(set) => {
                plan.op(&Op::SignalIgnore { set });
            }
        }
    }

    fn add_image(
        &self,
        draft: &mut Draft,
        env: &BTreeMap<OsString, OsString>,
    ) -> Result<(), Error> {
        let flags = if self.shell { ExecFlags::SHELL } else { ExecFlags::empty() };
        match &self.program {
            Program::Fd(file, flags) => {
                let slot = draft.grant(Grant::Shared(Arc::clone(file)));
                draft.plan.op(&Op::ExecSlot { slot, flags: *flags });
            }
            Program::Name(name) => {
                let path = c_string(name, "the program")?;
                if name.as_bytes().contains(&b'/') {
                    draft.plan.op(&Op::ExecPath { path: &path, flags });
                } else {
                    let default = OsString::from(DEFAULT_SEARCH);
                    let search = self.search.as_ref().or_else(|| env.get(OsStr::new("PATH")));
                    let search = c_string(search.unwrap_or(&default), "PATH")?;
                    draft.plan.op(&Op::ExecName { name: &path, search: &search, flags });
                }
            }
        }
        let arg0 = self.arg0.as_deref().unwrap_or(self.get_program());
        draft.plan.arg(arg0.as_bytes());
        for arg in &self.args {
            draft.plan.arg(arg.as_bytes());
        }
        Ok(())
    }

    fn environment(&self) -> BTreeMap<OsString, OsString> {
        let mut env: BTreeMap<OsString, OsString> = match self.env_clear || self.is_elsewhere() {
            true => BTreeMap::new(),
            false => std::env::vars_os().collect(),
        };
        for (key, value) in &self.env {
            match value {
                Some(value) => env.insert(key.clone(), value.clone()),
                None => env.remove(key),
            };
        }
        env
    }
}

/// Whether setgroups(2) is allowed: by CAP_SETGID, and in the user namespace.
fn may_set_groups() -> bool {
    let denied = std::fs::read("/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny"));
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(rustix::thread::CapabilitySet::SETGID));
    capable && !denied
}

/// The calling thread's signal mask.
fn mask_now() -> u64 {
    let mask = embryo_syscall::set_mask(!0).unwrap_or(0);
    let _ = embryo_syscall::set_mask(mask);
    mask
}

struct Draft {
    plan: PlanBuilder,
    grants: Vec<Grant>,
}

impl Draft {
    fn grant(&mut self, grant: Grant) -> Slot {
        self.grants.push(grant);
        self.plan.slot()
    }
}

fn c_string(text: &OsStr, what: &'static str) -> Result<CString, Error> {
    CString::new(text.to_owned().into_vec()).map_err(|_| Error::Plan(BuildError::Nul(what)))
}

impl fmt::Debug for Command {
    /// The command line, quoted; with `{:#?}` the plan.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if f.alternate()
            && let Ok((plan, _)) = self.plan()
        {
            return write!(f, "{plan:?}");
        }
        write!(f, "{:?}", self.get_program())?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg:?}"))
    }
}
