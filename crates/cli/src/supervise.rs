//! Waiting for a child as a good launcher does: signals reach it, and its stops and its end are
//! this process's.
//!
//! It must never deliver twice what a terminal sends to a whole process group.

use crate::failure::Failure;
use crate::job::{has_terminal, is_orphaned};
use crate::pty::{Asked, Relay};
use crate::terminal::Terminal;
use crate::watch::{
    SIGCHLD, SIGCONT, SIGHUP, SIGINT, SIGPIPE, SIGQUIT, SIGSTOP, SIGTERM, SIGTSTP, SIGTTIN,
    SIGTTOU, SIGWINCH, Sender, Watch,
};
use embryo::Process;
use embryo::agent::Agent;
use embryo_syscall::{getpgid, getpgrp, getsid};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, OwnedFd};
use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, kill_process_group, waitid,
};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// How a child came to its end.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ended {
    /// By itself, or by somebody's signal.
    Itself(ExitStatus),
    /// `--timeout` ended it.
    TimedOut(ExitStatus),
}

/// How long it may run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Until it gets SIGTERM.
    pub(crate) timeout: Option<Duration>,
    /// From then on, until it gets SIGKILL.
    pub(crate) kill_after: Option<Duration>,
}

/// Whether the kernel sends this signal to this process and not to its group: a terminal that hangs
/// up tells the leader of its session only.
fn leaders_alone(signal: i32) -> bool {
    signal == SIGHUP && getsid(0) == Ok(embryo_syscall::getpid())
}

/// Whether the other end of a connection to an agent has gone.
fn is_closed(agent: &Agent) -> bool {
    let mut fds = [PollFd::new(agent, PollFlags::RDHUP)];
    let polled = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_ok()
        && fds[0].revents().intersects(PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR)
}

/// A running child and what is done for it.
pub(crate) struct Supervisor {
    process: Process,
    pid: Pid,
    watch: Watch,
    terminal: Option<Terminal>,
    /// Between our terminal and one of the child's own.
    relay: Option<Relay>,
    terminate_at: Option<Instant>,
    kill_after: Option<Duration>,
    kill_at: Option<Instant>,
    timed_out: bool,
    /// Who started embryo, if the child is to end with it.
    parent: Option<OwnedFd>,
    /// Whose child it is, if it is an agent's: its numbers may mean others here.
    agent: Option<Agent>,
    /// Whether it is, or was.
    foreign: bool,
    ended: Option<Ended>,
}

impl Supervisor {
    /// Takes charge of a child that has just been started.
    pub(crate) fn new(
        process: Process,
        watch: Watch,
        terminal: Option<Terminal>,
        relay: Option<Relay>,
        limits: Limits,
    ) -> Self {
        let pid = Pid::from_raw(process.id().cast_signed()).expect("a pid is above zero");
        Self {
            process,
            pid,
            watch,
            terminal,
            relay,
            terminate_at: limits.timeout.and_then(|limit| Instant::now().checked_add(limit)),
            kill_after: limits.kill_after,
            kill_at: None,
            timed_out: false,
            parent: None,
            agent: None,
            foreign: false,
            ended: None,
        }
    }

    /// Says whose child it is.
    pub(crate) fn of(mut self, agent: Option<Agent>) -> Self {
        self.foreign = agent.is_some();
        self.agent = agent;
        self
    }

    /// Has the child end when this process's parent does.
    pub(crate) fn end_with(mut self, parent: Option<OwnedFd>) -> Self {
        self.parent = parent;
        self
    }

    /// Waits for the child's end.
    pub(crate) fn wait(mut self) -> Result<Ended, Failure> {
        if let Some(relay) = &mut self.relay {
            relay.enter();
        }
        loop {
            let mut changed = false;
            for (signal, sender) in self.watch.arrived() {
                match signal {
                    SIGCHLD => changed = true,
                    SIGCONT => self.continued(sender),
                    _ => self.pass_on(signal, sender),
                }
            }
            // Before its end is asked for: what is sent through an agent may bring the news of it.
            self.keep_time();
            self.look_after_parent();
            if let Some(ended) = self.ended()?
                && self.relay.as_mut().is_none_or(Relay::finish)
            {
                self.take_terminal_back();
                return Ok(self.as_without_relay(ended));
            }
            if changed && let Some(signal) = self.stopped_by() {
                self.stop_too(signal);
                continue;
            }
            self.sleep();
        }
    }

    /// How the child ended, if it has.
    fn ended(&mut self) -> Result<Option<Ended>, Failure> {
        if self.ended.is_none() {
            let ended = if self.timed_out { Ended::TimedOut } else { Ended::Itself };
            self.ended = self.process.try_wait()?.map(ended);
            if self.ended.is_some() {
                // Until nobody of its family is left.
                let _ = self.process.wait();
            }
        }
        Ok(self.ended)
    }

    /// A program whose output nobody reads gets SIGPIPE; one on a terminal is hung up in its stead.
    fn as_without_relay(&self, ended: Ended) -> Ended {
        match ended {
            Ended::Itself(status)
                if status.signal() == Some(SIGHUP)
                    && self.relay.as_ref().is_some_and(Relay::broke) =>
            {
                Ended::Itself(ExitStatus::from_raw(SIGPIPE.cast_signed()))
            }
            other => other,
        }
    }

    /// Until a signal arrives, the child ends, there is something to carry, or it is time to end it.
    fn sleep(&mut self) {
        let next = [self.terminate_at, self.kill_at].into_iter().flatten().min();
        let left = next.map(|at| at.saturating_duration_since(Instant::now()));
        let patience = self.relay.as_ref().and_then(Relay::patience);
        let left = left.into_iter().chain(patience).min();
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = vec![PollFd::from_borrowed_fd(self.watch.as_fd(), PollFlags::IN)];
        let relayed = self.relay.iter().flat_map(Relay::poll_fds);
        fds.extend(relayed);
        if self.ended.is_none() {
            // An agent tells of the end; its child's own handle would tell of it before.
            let news = self.agent.as_ref().map_or(self.process.pidfd(), AsFd::as_fd);
            fds.push(PollFd::from_borrowed_fd(news, PollFlags::IN));
        }
        let parent = self.parent.as_ref().map(AsFd::as_fd);
        fds.extend(parent.map(|parent| PollFd::from_borrowed_fd(parent, PollFlags::IN)));
        // An interruption is a signal, and those are looked at next.
        let done = poll(&mut fds, left.as_ref());
        let found: Vec<PollFlags> = fds.iter().skip(1).map(PollFd::revents).collect();
        let agent_has_gone = self.agent.as_ref().is_some_and(is_closed);
        if agent_has_gone {
            // Nobody but the kernel tells of the end now.
            self.agent = None;
        }
        if done.is_ok()
            && let Some(relay) = &mut self.relay
            && let Asked::Suspend(group) = relay.carry(&found)
        {
            self.suspend(group);
        }
    }

    fn look_after_parent(&mut self) {
        let Some(parent) = &self.parent else { return };
        let mut fds = [PollFd::from_borrowed_fd(parent.as_fd(), PollFlags::IN)];
        if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1) {
            self.parent = None;
            let _ = self.process.kill();
        }
    }

    fn keep_time(&mut self) {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= Instant::now());
        if self.ended.is_some() {
            // What is left is to show its output, and that may take no longer either.
            if due(self.terminate_at) || due(self.kill_at) {
                self.relay.iter_mut().for_each(Relay::give_up);
            }
            return;
        }
        if due(self.terminate_at) {
            self.terminate_at = None;
            self.timed_out = true;
            self.kill_at = self.kill_after.and_then(|limit| Instant::now().checked_add(limit));
            let _ = self.process.signal(SIGTERM);
            // A stopped process would not notice.
            let _ = self.process.signal(SIGCONT);
        }
        if due(self.kill_at) {
            self.kill_at = None;
            let _ = self.process.kill();
        }
    }

    /// Whether the terminal's signals reach the child without our doing.
    fn shares_group(&self) -> bool {
        !self.foreign && getpgrp() == Ok(self.group())
    }

    /// A signal for this process is one for the child, unless the child has it already or sent it.
    fn pass_on(&mut self, signal: i32, sender: Sender) {
        let own = getpid().as_raw_nonzero().get();
        if self.ended.is_some() {
            // There is nobody left to pass it on to, and whoever reads the last output may not.
            if [SIGHUP, SIGINT, SIGQUIT, SIGTERM].contains(&signal)
                && let Some(relay) = &mut self.relay
            {
                relay.give_up();
            }
            return;
        }
        if let Some(relay) = &mut self.relay {
            match (signal, sender) {
                (SIGWINCH, _) => return relay.resize(),
                (SIGHUP, Sender::Kernel) => return relay.hang_up(),
                (SIGINT | SIGQUIT, Sender::Kernel) if relay.signal(signal) => return,
                _ => {}
            }
        }
        match sender {
            Sender::Process(pid) if pid == own || (pid == self.number() && !self.foreign) => {}
            Sender::Kernel if self.shares_group() && !leaders_alone(signal) => {}
            // Its stop is not ours to see, so it is ours to make.
            _ if signal == SIGTSTP && self.foreign && !is_orphaned() => {
                self.send(SIGSTOP);
                let _ = kill_process(getpid(), Signal::STOP);
            }
            // No shell watches a session of its own, so there the kernel would ignore SIGTSTP.
            _ if signal == SIGTSTP && !self.foreign && getsid(self.number()) != getsid(0) => {
                self.send_to_group(SIGSTOP);
            }
            Sender::Kernel => self.send_to_group(signal),
            Sender::Process(_) => self.send(signal),
        }
    }

    /// To the child alone.
    fn send(&self, signal: i32) {
        const EPERM: i32 = 1;
        let Err(error) = self.process.signal(signal) else { return };
        let why = match &error {
            embryo::Error::Refused { .. } => error.to_string(),
            error if error.raw_os_error() == Some(EPERM) => {
                "the program runs as another user now".to_owned()
            }
            _ => return,
        };
        let name = embryo::signal_name(signal.unsigned_abs());
        let name = name.map_or(signal.to_string(), |name| format!("SIG{name}"));
        Failure::new(format!("cannot pass {name} on: {why}")).print();
    }

    /// To the child's whole group if it leads one, as a terminal would, else to the child.
    fn send_to_group(&self, signal: i32) {
        let leads = !self.foreign && self.group() == self.number();
        match Signal::from_named_raw(signal) {
            // Not reaped yet, so its number is still its own.
            Some(signal) if leads => drop(kill_process_group(self.pid, signal)),
            _ => self.send(signal),
        }
    }

    /// The signal that the child is stopped by at this moment.
    fn stopped_by(&self) -> Option<i32> {
        let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let state = waitid(WaitId::PidFd(self.process.as_fd()), options).ok().flatten()?;
        state.stopping_signal()
    }

    /// The child has stopped: so does this process, for the shell whose job both are.
    fn stop_too(&mut self, signal: i32) {
        if is_orphaned() {
            // Nobody would continue us. What the terminal asked for is undone, as the kernel would
            // have done if the child were in our group; who sent SIGSTOP can send SIGCONT.
            if [SIGTSTP, SIGTTIN, SIGTTOU].contains(&signal) {
                self.send_to_group(SIGCONT);
            }
            return;
        }
        let limited = self.terminate_at.is_some() || self.kill_at.is_some();
        if limited && !has_terminal() {
            // No shell is there to continue us, and while we were stopped no limit would hold.
            return;
        }
        self.take_terminal_back();
        let _ = kill_process(getpid(), Signal::STOP);
        // Here again, so somebody has continued us: from the foreground or the background.
        self.carry_on();
    }

    /// Stops a group on the child's terminal, and this process with it, until somebody continues us.
    fn suspend(&mut self, group: Pid) {
        let _ = kill_process_group(group, Signal::STOP);
        self.take_terminal_back();
        let _ = kill_process(getpid(), Signal::STOP);
        self.carry_on();
        let _ = kill_process_group(group, Signal::CONT);
    }

    /// This process was continued, perhaps with its whole group.
    fn continued(&mut self, sender: Sender) {
        if let Some(relay) = &mut self.relay {
            relay.enter();
        }
        if self.stopped_by().is_some() {
            self.carry_on();
        } else if !self.shares_group() {
            self.pass_on(SIGCONT, sender);
        }
    }

    /// Continues the child, unless somebody has done that already.
    fn carry_on(&mut self) {
        let group = self.group();
        if let Some(relay) = &mut self.relay {
            relay.enter();
        }
        if let Some(terminal) = &mut self.terminal {
            terminal.lend_again(group);
        }
        if self.stopped_by().is_some() {
            self.send_to_group(SIGCONT);
        }
    }

    fn take_terminal_back(&mut self) {
        let group = self.group();
        if let Some(relay) = &mut self.relay {
            relay.leave();
        }
        if let Some(terminal) = &mut self.terminal {
            terminal.take_back(group);
        }
    }

    /// The child's process group, or the one it leads if it has none any more: 0 if it is from
    /// outside the pid namespace, as this process's own may be.
    fn group(&self) -> i32 {
        getpgid(self.number()).unwrap_or(self.number())
    }

    fn number(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }
}
