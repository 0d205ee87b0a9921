//! What is to be started: a described child, or a plan from a file with its slots filled.
//!
//! It must never start the two in different ways: both end in the library's spawn.

use crate::failure::Failure;
use embryo::agent::Agent;
use embryo::{Command, Load, Op, Plan, Process, Pty, SpawnOptions};
use embryo_job::Job;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

/// A child that could be started.
pub(crate) enum Launch {
    /// From options, and perhaps a file.
    Described(Box<Command>, Box<Job>),
    /// From a file.
    Saved(Plan, Vec<OwnedFd>, Option<Agent>),
}

impl Launch {
    /// Its plan, and handles to what its slots stand for.
    pub(crate) fn plan(&self) -> Result<(Plan, Vec<OwnedFd>), Failure> {
        match self {
            Self::Described(command, _) => Ok(command.plan()?),
            Self::Saved(plan, grants, _) => {
                let copies = grants.iter().map(OwnedFd::try_clone).collect::<Result<_, _>>();
                let copies = copies.map_err(|e| Failure::io("cannot duplicate", "a grant", &e))?;
                Ok((plan.clone(), copies))
            }
        }
    }

    /// The file that is named for what an op puts somewhere.
    pub(crate) fn file_of(&self, op: &Op<'_>) -> Option<&Path> {
        match self {
            Self::Described(_, job) => job.file_of(op),
            Self::Saved(..) => None,
        }
    }

    /// The program that is loaded instead of executed, if one is.
    pub(crate) fn loaded(&self) -> Result<Option<Load>, Failure> {
        match self {
            Self::Described(command, _) if command.loads() => Ok(Some(command.program_to_load()?)),
            _ => Ok(None),
        }
    }

    /// Gives a described child this terminal for its own.
    pub(crate) fn give(&mut self, pty: &Pty) {
        if let Self::Described(command, _) = self {
            command.pty(pty);
        }
    }

    /// Has an agent start it.
    pub(crate) fn through(&mut self, agent: &Agent) -> Result<(), Failure> {
        match self {
            Self::Described(command, _) if command.loads() => {
                return Err(Failure::new("an agent executes programs, and loads none")
                    .hint("without load the kernel executes it"));
            }
            Self::Described(command, _) => _ = command.agent(agent),
            Self::Saved(_, _, through) => *through = Some(agent.clone()),
        }
        Ok(())
    }

    /// Starts it.
    pub(crate) fn spawn(&mut self, options: SpawnOptions) -> Result<Process, embryo::Error> {
        match self {
            Self::Described(command, _) => command.spawn_options(options).spawn(),
            Self::Saved(plan, grants, agent) => {
                let grants: Vec<BorrowedFd<'_>> = grants.iter().map(AsFd::as_fd).collect();
                match agent {
                    Some(agent) => agent.spawn_with(plan, &grants, options),
                    None => embryo::spawn_with(plan, &grants, options),
                }
            }
        }
    }
}
