//! What is to be started: a described child, or a plan from a file with its slots filled.
//!
//! It must never start the two in different ways: both end in the library's spawn.

use crate::failure::Failure;
use embryo::{Command, Load, Plan, Process, Pty, SpawnOptions};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// A child that could be started.
pub(crate) enum Launch {
    /// From options.
    Described(Box<Command>),
    /// From a file.
    Saved(Plan, Vec<OwnedFd>),
}

impl Launch {
    /// Its plan, and handles to what its slots stand for.
    pub(crate) fn plan(&self) -> Result<(Plan, Vec<OwnedFd>), Failure> {
        match self {
            Self::Described(command) => Ok(command.plan()?),
            Self::Saved(plan, grants) => {
                let copies = grants.iter().map(OwnedFd::try_clone).collect::<Result<_, _>>();
                let copies = copies.map_err(|e| Failure::io("cannot duplicate", "a grant", &e))?;
                Ok((plan.clone(), copies))
            }
        }
    }

    /// The program that is loaded instead of executed, if one is.
    pub(crate) fn loaded(&self) -> Result<Option<Load>, Failure> {
        match self {
            Self::Described(command) if command.loads() => Ok(Some(command.program_to_load()?)),
            _ => Ok(None),
        }
    }

    /// Gives a described child this terminal for its own.
    pub(crate) fn give(&mut self, pty: &Pty) {
        if let Self::Described(command) = self {
            command.pty(pty);
        }
    }

    /// Starts it.
    pub(crate) fn spawn(&mut self, options: SpawnOptions) -> Result<Process, embryo::Error> {
        match self {
            Self::Described(command) => command.spawn_options(options).spawn(),
            Self::Saved(plan, grants) => {
                let grants: Vec<BorrowedFd<'_>> = grants.iter().map(AsFd::as_fd).collect();
                embryo::spawn_with(plan, &grants, options)
            }
        }
    }
}
