//! A process that was started: owned through its pidfd, so that no other process can ever be meant.

use crate::cgroup::{Cgroup, CgroupFigures};
use crate::command::Keeper;
use crate::elsewhere::Elsewhere;
use crate::error::{CgroupError, Error, errno_text};
use crate::guarded::AsRaw;
use crate::listener::Listener;
use crate::moving::{Below, StatusLine, Told};
use crate::namespace::NamespaceKind;
use crate::spawn::{LaunchReport, TraceRecord};
use crate::{procfs, reaper};
use embryo_syscall::{self as sys, Errno, Waited};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus, Output};
use std::time::{Duration, Instant};
use std::{fmt, io};

const WNOHANG: u32 = 1;
const WEXITED: u32 = 4;
/// Children made with another exit signal than SIGCHLD are waited for too.
pub(crate) const WALL: u32 = 0x4000_0000;
const SIGKILL: u32 = 9;

/// What an ended process used: getrusage(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Time on a CPU in user mode.
    pub user: Duration,
    /// Time on a CPU in the kernel.
    pub system: Duration,
    /// Largest resident set, in bytes.
    pub max_rss: u64,
    /// Page faults served without input or output.
    pub minor_faults: u64,
    /// Page faults that needed input or output.
    pub major_faults: u64,
    /// Context switches by its own choice.
    pub voluntary_switches: u64,
    /// Context switches forced on it.
    pub involuntary_switches: u64,
}

/// How a process ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    /// Not known if somebody else reaped it.
    pub(crate) usage: Option<Usage>,
}

/// A started process.
///
/// Dropping it leaves the process running; when it ends it is reaped in the background, by a
/// thread that exists only while it is needed. [`Process::kill_on_drop`] and
/// [`Process::detach`] say otherwise, or say so.
pub struct Process {
    /// The write end of its stdin, if that was [`crate::Stdio::piped`].
    pub stdin: Option<ChildStdin>,
    /// The read end of its stdout, if that was piped.
    pub stdout: Option<ChildStdout>,
    /// The read end of its stderr, if that was piped.
    pub stderr: Option<ChildStderr>,
    // `None` only while it is dropped or detached.
    pidfd: Option<OwnedFd>,
    pid: u32,
    /// What the handle, if it is an init's, has below it.
    below: Below,
    ended: Option<Ended>,
    kill_on_drop: bool,
    keeper: Option<Box<Keeper>>,
    figures: Option<Box<CgroupFigures>>,
    report: LaunchReport,
    pub(crate) listener: Option<Listener>,
    /// Whose child it is, if it is not this process's.
    elsewhere: Option<Box<dyn Elsewhere>>,
}

impl Process {
    pub(crate) fn new(pidfd: OwnedFd, pid: u32, below: Below, report: LaunchReport) -> Self {
        Self {
            stdin: None,
            stdout: None,
            stderr: None,
            pidfd: Some(pidfd),
            pid,
            below,
            ended: None,
            kill_on_drop: false,
            keeper: None,
            figures: None,
            report,
            listener: None,
            elsewhere: None,
        }
    }

    /// What it has below it, if it is an init.
    pub(crate) fn below(&self) -> &Below {
        &self.below
    }

    /// One that is somebody else's child.
    #[cfg(feature = "agent")]
    pub(crate) fn of_another(
        pidfd: OwnedFd,
        pid: u32,
        report: LaunchReport,
        elsewhere: Box<dyn Elsewhere>,
    ) -> Self {
        let mut process = Self::new(pidfd, pid, Below::default(), report);
        process.elsewhere = Some(elsewhere);
        process
    }

    /// Ties it to what guards it.
    pub(crate) fn keep_with(&mut self, keeper: Option<Box<Keeper>>) -> &mut Self {
        self.keeper = keeper;
        self
    }

    /// Puts what was done before the plan in front of its records.
    pub(crate) fn recorded_first(&mut self, record: TraceRecord) {
        self.report.trace.insert(0, record);
    }

    /// The listener of its filter, if its plan has one ([`crate::FilterFlags::LISTENER`]) and it was
    /// not taken before. Dropping it, or the process with it, makes every call that it would be notified of
    /// fail with ENOSYS.
    pub fn take_listener(&mut self) -> Option<Listener> {
        self.listener.take()
    }

    /// Its pid. It names this process until it has been waited for, and maybe another one then. Of an agent's
    /// child it is that of the agent's pid namespace.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.pid
    }

    /// The pid of the image. Below an init, in a pid namespace of its own, it is another than
    /// [`Process::id`]; 0 where /proc does not tell.
    #[must_use]
    pub fn image_id(&self) -> u32 {
        if let Some(elsewhere) = &self.elsewhere {
            return elsewhere.image_id();
        }
        self.below.image.as_ref().map_or(self.pid, |(_, pid)| pid.cast_unsigned())
    }

    /// One of its namespaces: what [`crate::Command::join_namespace`] takes. It stays as long as the
    /// descriptor, also when nothing runs in it any more (but a pid namespace without its init takes no
    /// process).
    ///
    /// # Errors
    /// ESRCH if it has ended; EACCES if the caller may not look into it; EOPNOTSUPP for an agent's child,
    /// whose pid may mean another process here; what opening a file of /proc answers.
    ///
    /// # Kernel
    /// Source: namespaces(7), /proc/PID/ns.
    pub fn namespace(&self, kind: NamespaceKind) -> Result<OwnedFd, Error> {
        use rustix::fs::{Mode, OFlags};
        if self.elsewhere.is_some() {
            let errno = rustix::io::Errno::OPNOTSUPP;
            return Err(Error::io("opening a namespace of an agent's child")(errno.into()));
        }
        let image = self.below.image.as_ref();
        let pidfd = image.map_or(self.pidfd(), |(pidfd, _)| pidfd.as_fd());
        let path = format!("/proc/{}/ns/{}", self.image_id(), kind.name());
        let opened = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        // Its pid was its own if it lives now.
        let opened = match wait_dead(pidfd, Duration::ZERO) {
            true => Err(rustix::io::Errno::SRCH),
            false => opened,
        };
        opened.map_err(|errno| Error::io("opening a namespace of a child")(errno.into()))
    }

    /// How it was launched.
    #[must_use]
    pub fn report(&self) -> &LaunchReport {
        &self.report
    }

    /// Its pidfd, which can be polled: it is readable when the process has ended.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_ref().map(AsFd::as_fd).expect("the pidfd is there until drop")
    }

    /// Waits for its end; closes its stdin first, so that a reader does not wait for more.
    /// Asked again it answers the same again. With a cgroup of its own, nobody is left in that
    /// afterwards, and it is gone.
    ///
    /// # Errors
    /// [`Error::Reaped`] if somebody else reaped it and the kernel is older than 6.15, or if it is the child of
    /// an agent that has gone and the kernel does not tell.
    ///
    /// # Kernel
    /// Linux 5.4. Source: waitid(2), `P_PIDFD`.
    pub fn wait(&mut self) -> Result<ExitStatus, Error> {
        drop(self.stdin.take());
        if let Some(ended) = self.ended {
            self.keeper = None;
            return Ok(ended.status);
        }
        loop {
            if let Some(ended) = self.look(None)? {
                return Ok(ended.status);
            }
        }
    }

    /// Its cgroup, if one was made for it and it has not been waited for.
    #[must_use]
    pub fn cgroup(&self) -> Option<&Cgroup> {
        self.keeper.as_ref()?.cgroup()
    }

    /// What everybody in its own cgroup has used: so far, or until its end. `None` if it has none.
    #[must_use]
    pub fn cgroup_figures(&self) -> Option<CgroupFigures> {
        self.figures.as_deref().copied().or_else(|| self.cgroup().map(Cgroup::figures))
    }

    /// Kills it and its whole family: everybody in the cgroup that was made for it. Of an agent's child that
    /// is the cgroup that the agent has made for it; without one the child alone is killed.
    ///
    /// # Errors
    /// [`Error::Cgroup`]; with EOPNOTSUPP if there is no such cgroup, and nobody is killed then.
    pub fn kill_all(&mut self) -> Result<(), Error> {
        if self.elsewhere.is_some() && self.cgroup().is_none() {
            return self.kill();
        }
        match self.cgroup() {
            Some(cgroup) => cgroup.kill(),
            None if self.ended.is_some() => Ok(()),
            None => Err(CgroupError::of(
                "the child has no cgroup of its own".to_owned(),
                rustix::io::Errno::NOTSUP.into(),
                Some("Command::transient_cgroup makes one".to_owned()),
            )),
        }
    }

    /// How it ended, or `None` while it runs.
    ///
    /// # Errors
    /// As [`Process::wait`].
    pub fn try_wait(&mut self) -> Result<Option<ExitStatus>, Error> {
        Ok(self.look(Some(Instant::now()))?.map(|ended| ended.status))
    }

    /// Waits for its end, but no longer than this; `None` if it still runs then.
    ///
    /// # Errors
    /// As [`Process::wait`].
    pub fn wait_timeout(&mut self, timeout: Duration) -> Result<Option<ExitStatus>, Error> {
        drop(self.stdin.take());
        if self.elsewhere.is_some() {
            let deadline = Instant::now().checked_add(timeout);
            return Ok(self.look(deadline)?.map(|ended| ended.status));
        }
        if self.ended.is_none() {
            wait_dead(self.pidfd(), timeout);
        }
        self.try_wait()
    }

    /// Reads its piped stdout and stderr to their ends, both at once, and waits for its end.
    ///
    /// # Errors
    /// As [`Process::wait`], and what reading answers.
    pub fn wait_with_output(self) -> Result<Output, Error> {
        self.communicate(&[])
    }

    /// Writes `input` to its piped stdin while reading its piped stdout and stderr, so that no full
    /// pipe can hold the other up; closes stdin and waits for its end. A process that stops reading is
    /// no error: the rest of the input is dropped.
    ///
    /// # Errors
    /// As [`Process::wait`], and what reading and writing answer.
    pub fn communicate(mut self, input: &[u8]) -> Result<Output, Error> {
        let (stdin, stdout, stderr) = (self.stdin.take(), self.stdout.take(), self.stderr.take());
        let (stdout, stderr) = crate::communicate::exchange(stdin, stdout, stderr, input)
            .map_err(Error::io("reading a child's output"))?;
        let status = self.wait()?;
        Ok(Output { status, stdout, stderr })
    }

    /// Sends it a signal by number. To an agent's child the agent sends it, if its mandate allows.
    ///
    /// # Errors
    /// EPERM if it runs under another uid and the caller may not; a process that has ended is
    /// ESRCH, never another process. [`Error::Refused`] and [`Error::Agent`] of an agent.
    ///
    /// # Kernel
    /// Linux 5.1. Source: pidfd_send_signal(2).
    pub fn signal(&self, signal: i32) -> Result<(), Error> {
        match &self.elsewhere {
            Some(_) if self.ended.is_some() => {
                return Err(Error::io("sending a signal")(rustix::io::Errno::SRCH.into()));
            }
            Some(elsewhere) => return elsewhere.signal(self.pidfd(), signal),
            None => {}
        }
        let sent = sys::pidfd_send_signal(self.pidfd().as_raw(), signal as u32);
        sent.map_err(os).map_err(Error::io("sending a signal"))
    }

    /// Kills it with SIGKILL. One that has ended is no error. Of an agent's child that takes no permission but
    /// the connection, and everybody in a cgroup that the agent has made for it is killed with it.
    ///
    /// # Errors
    /// As [`Process::signal`].
    pub fn kill(&mut self) -> Result<(), Error> {
        let killed = match &self.elsewhere {
            Some(elsewhere) if self.ended.is_none() => elsewhere.kill(self.pidfd()),
            _ => self.signal(SIGKILL as i32),
        };
        match killed {
            Err(error) if error.raw_os_error() == Some(Errno::SRCH.number().into()) => Ok(()),
            other => other,
        }
    }

    /// What it used, once it has been waited for; `None` before, and if somebody else reaped it. While it runs
    /// there is [`Process::usage_now`].
    #[must_use]
    pub fn usage(&self) -> Option<Usage> {
        self.ended.and_then(|ended| ended.usage)
    }

    /// What it has used so far, or until its end if it has been waited for. Of a process with several threads
    /// the switches are those of its first; an agent says what it knows of its child.
    ///
    /// # Errors
    /// ESRCH if it has ended and how is not known yet; what reading /proc answers; [`Error::Refused`] and
    /// [`Error::Agent`] of an agent.
    ///
    /// # Kernel
    /// Source: proc_pid_stat(5), proc_pid_status(5).
    pub fn usage_now(&self) -> Result<Usage, Error> {
        match (self.usage(), &self.elsewhere) {
            (Some(usage), _) => Ok(usage),
            (None, Some(elsewhere)) => elsewhere.usage(),
            (None, None) => {
                let image = self.below.image.as_ref();
                let pidfd = image.map_or(self.pidfd(), |(pidfd, _)| pidfd.as_fd());
                let usage = procfs::usage(self.image_id());
                // Its pid was its own if it lives now.
                match wait_dead(pidfd, Duration::ZERO) {
                    true => Err(io::Error::from(rustix::io::Errno::SRCH)),
                    false => usage,
                }
                .map_err(Error::io("reading what a child uses"))
            }
        }
    }

    /// Whether an agent ended it because the time was over that its mandate gives to children; known once it
    /// has been waited for.
    #[must_use]
    pub fn time_was_over(&self) -> bool {
        self.elsewhere.as_ref().is_some_and(|elsewhere| elsewhere.time_was_over())
    }

    /// Whether dropping this kills the process.
    pub fn kill_on_drop(&mut self, kill: bool) -> &mut Self {
        self.kill_on_drop = kill;
        self
    }

    /// Lets it go: it runs on and is reaped in the background, and so does what it was tied to; a cgroup
    /// that was made for it is removed when it is empty. Returns its pid. An agent's child may be killed all the
    /// same when the connection to the agent ends, with the last that holds it: its mandate says so.
    pub fn detach(mut self) -> u32 {
        self.kill_on_drop = false;
        if let Some(keeper) = self.keeper.take() {
            keeper.release();
        }
        self.pid
    }

    /// Looks how it ended. Without a deadline it waits for that; with one it does so for an agent's child alone.
    fn look(&mut self, deadline: Option<Instant>) -> Result<Option<Ended>, Error> {
        let block = deadline.is_none();
        if let (None, Some(elsewhere), Some(pidfd)) = (self.ended, &mut self.elsewhere, &self.pidfd)
        {
            self.ended = elsewhere.look(pidfd.as_fd(), deadline)?;
            if self.ended.is_some() {
                self.end_family(block);
            }
        } else if self.ended.is_none() {
            self.ended = match status_of(self.pidfd(), block) {
                Err(Errno::CHILD) => Some(self.reaped_elsewhere(block)?),
                other => other.map_err(os).map_err(Error::io("waiting for a child"))?,
            };
            // An init cannot end as its image did, and has said how that was.
            if let (Some(ended), Some(line)) = (&mut self.ended, &self.below.status)
                && let Some(told) = line.take()
            {
                *ended = Ended::told(&told);
            }
            if self.ended.is_some() {
                self.end_family(block);
            }
        }
        Ok(self.ended)
    }

    /// What tells of its end beside the pidfd, if it is somebody else's child.
    #[cfg(feature = "tokio")]
    pub(crate) fn watched_elsewhere(&self) -> Option<BorrowedFd<'_>> {
        self.elsewhere.as_ref().map(|elsewhere| elsewhere.socket())
    }

    /// [`Process::try_wait`], with somebody to wake.
    #[cfg(feature = "tokio")]
    pub(crate) fn poll_wait(
        &mut self,
        waker: &std::task::Waker,
    ) -> Result<Option<ExitStatus>, Error> {
        if let (None, Some(elsewhere), Some(pidfd)) = (self.ended, &mut self.elsewhere, &self.pidfd)
        {
            self.ended = elsewhere.poll_look(pidfd.as_fd(), waker)?;
            if self.ended.is_some() {
                self.end_family(false);
            }
            return Ok(self.ended.map(|ended| ended.status));
        }
        self.try_wait()
    }

    /// Has whoever is left in its cgroup ended, and waits for that if `block`.
    fn end_family(&mut self, block: bool) {
        self.figures = self.cgroup().map(|cgroup| Box::new(cgroup.figures()));
        match &self.keeper {
            Some(keeper) if !block => keeper.end_soon(),
            _ => self.keeper = None,
        }
    }

    fn reaped_elsewhere(&self, block: bool) -> Result<Ended, Error> {
        if let Some(told) = self.below.status.as_ref().and_then(StatusLine::take) {
            return Ok(Ended::told(&told));
        }
        if block {
            wait_dead(self.pidfd(), Duration::from_secs(1));
        }
        match reaped_status(self.pidfd()) {
            Some(status) => Ok(Ended { status, usage: None }),
            None => Err(Error::Reaped {
                pid: self.pid,
                by: "a wait for any child, or an ignored SIGCHLD",
            }),
        }
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("pid", &self.pid)
            .field("ended", &self.ended.map(|ended| ended.status))
            .field("report", &self.report)
            .finish_non_exhaustive()
    }
}

impl AsFd for Process {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Some(pidfd) = self.pidfd.take() else { return };
        if self.ended.is_some() {
            // What is left of its family is ending by now.
            if let Some(keeper) = self.keeper.take() {
                keeper.end_behind();
            }
            return;
        }
        if let Some(mut elsewhere) = self.elsewhere.take() {
            elsewhere.leave(pidfd.as_fd(), self.kill_on_drop);
            drop(self.keeper.take());
            return;
        }
        if self.kill_on_drop {
            kill(pidfd.as_fd());
        }
        // It is killed by that, if there is something.
        drop(self.keeper.take());
        // Most often it has ended already, and no thread is needed.
        if matches!(status_of(pidfd.as_fd(), false), Ok(None)) {
            reaper::adopt(pidfd);
        }
    }
}

/// SIGKILL, to a process that may have ended. False if it may not be killed: it has taken another
/// uid, and the caller has no CAP_KILL.
pub(crate) fn kill(pidfd: BorrowedFd<'_>) -> bool {
    sys::pidfd_send_signal(pidfd.as_raw(), SIGKILL) != Err(Errno::PERM)
}

fn os(errno: Errno) -> io::Error {
    debug_assert!(!errno_text(errno.number()).is_empty());
    io::Error::from_raw_os_error(i32::from(errno.number()))
}

/// Reaps a child if it has ended; waits for that if `block`.
pub(crate) fn status_of(pidfd: BorrowedFd<'_>, block: bool) -> Result<Option<Ended>, Errno> {
    let options = WEXITED | WALL | if block { 0 } else { WNOHANG };
    loop {
        match sys::waitid_pidfd(pidfd.as_raw(), options) {
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
            Ok(waited) => return Ok(waited.map(|waited| Ended::of(&waited))),
        }
    }
}

/// How a process ended that somebody else reaped: since Linux 6.15 the pidfd itself keeps it, from
/// the end of the reaping on, which is a moment after a wait says that there is no such child.
pub(crate) fn reaped_status(pidfd: BorrowedFd<'_>) -> Option<ExitStatus> {
    let mut status = sys::pidfd_exit_status(pidfd.as_raw()).ok()?;
    if status.is_none() {
        // The end of the reaping is a hang-up, which is always polled for.
        let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::empty())];
        let _ = rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 1, tv_nsec: 0 }));
        status = sys::pidfd_exit_status(pidfd.as_raw()).ok()?;
    }
    status.map(ExitStatus::from_raw)
}

impl Ended {
    fn of(waited: &Waited) -> Self {
        const CLD_EXITED: i32 = 1;
        const CLD_DUMPED: i32 = 3;
        let raw = match waited.code {
            CLD_EXITED => (waited.status & 0xff) << 8,
            CLD_DUMPED => waited.status | 0x80,
            _ => waited.status,
        };
        let usage = Some(Usage::of(&waited.usage));
        Self { status: ExitStatus::from_raw(raw), usage }
    }

    fn told(told: &Told) -> Self {
        Self { status: ExitStatus::from_raw(told.status), usage: Some(Usage::of(&told.usage)) }
    }
}

impl Usage {
    fn of(usage: &sys::Usage) -> Self {
        let time = |[seconds, micros]: [i64; 2]| {
            Duration::from_secs(seconds.unsigned_abs())
                + Duration::from_micros(micros.unsigned_abs())
        };
        Self {
            user: time(usage.user),
            system: time(usage.system),
            max_rss: usage.max_rss_kib.unsigned_abs() << 10,
            minor_faults: usage.minor_faults.unsigned_abs(),
            major_faults: usage.major_faults.unsigned_abs(),
            voluntary_switches: usage.voluntary_switches.unsigned_abs(),
            involuntary_switches: usage.involuntary_switches.unsigned_abs(),
        }
    }
}

/// Waits until a process has ended, without reaping it; false if it still runs after `timeout`.
pub(crate) fn wait_dead(pidfd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let until = Instant::now().checked_add(timeout);
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        // A time too long for the kernel is no time limit.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::from_borrowed_fd(pidfd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(0) => return false,
            Err(rustix::io::Errno::INTR) => {}
            _ => return true,
        }
    }
}
