//! A command that an agent starts, and a connection to an agent for a child.
//!
//! It must never pass anything on by habit that was the caller's alone: an agent's child is not the caller's.

use super::Command;
use crate::agent::Agent;
use crate::error::{AgentError, Error};
use crate::launching::Launching;
use crate::spawn::SpawnOptions;
use embryo_plan::OwnedPlan;
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// Agents.
impl Command {
    /// Has an agent start it, under the agent's authority and within its mandate. Excludes
    /// [`Command::hatchery`] and [`Command::load`]: the last one called counts.
    ///
    /// What a command passes on by habit is said otherwise then:
    /// - The environment is empty but for what was set by [`Command::env`]; a program without a slash is looked
    ///   up in `/bin` and `/usr/bin` if `PATH` was not.
    /// - The working directory, the umask and the session are the agent's, or what its mandate says, unless they
    ///   were set.
    /// - No signal is ignored that was not named. With [`Command::keep_ignored_signals`] and
    ///   [`Command::default_signals`] those that the caller ignores are named, with
    ///   [`Command::keep_signal_mask`] those that it blocks.
    /// - With a uid, supplementary groups are dropped whatever the caller may do, unless
    ///   [`Command::groups`] sets some.
    ///
    /// Standard streams are as always: the caller's own, pipes, or what was given. Paths are looked up where the
    /// agent is, if its mandate allows them at all. A terminal is to be given by [`Command::pty`].
    pub fn agent(&mut self, agent: &Agent) -> &mut Self {
        self.hatchery = None;
        self.load = false;
        self.agent = Some(agent.clone());
        self
    }

    /// Gives the child a connection to an agent, as descriptor `fd` and named in its environment, where
    /// [`Agent::from_env`] finds it. It is the child's alone: one of [`Agent::narrow`], or a new one. Each child
    /// of this command gets the same one, so it is for one child.
    ///
    /// # Errors
    /// [`Error::Agent`] with EBUSY if somebody else holds the connection, or if processes came of it.
    pub fn grant_agent(&mut self, fd: u32, agent: Agent) -> Result<&mut Self, Error> {
        let socket = agent.into_fd().map_err(|agent| {
            let hint = "Agent::narrow makes another connection";
            let what = "the connection is in use here and cannot be given to a child";
            AgentError::of(agent.name(), what, Errno::BUSY.into(), Some(hint.into()))
        })?;
        Ok(self.fd(fd, socket).env(crate::agent::VARIABLE, format!("fd:{fd}")))
    }

    /// Has the agent start it, if there is one to.
    pub(super) fn launch_elsewhere(
        &self,
        plan: &OwnedPlan,
        grants: &[BorrowedFd<'_>],
        options: SpawnOptions,
    ) -> Option<Result<Launching, Error>> {
        let agent = self.agent.as_ref()?;
        Some(agent.spawn_with(plan, grants, options).map(Launching::started))
    }
}
