//! Where a command's children belong, and what they end with.

use super::{Command, Draft, Grant};
use crate::cgroup::{self, Cgroup, TransientCgroup};
use crate::error::Error;
use crate::guardian::{Guardian, Refused};
use embryo_plan::{CgroupOp, Op};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the children of a command go.
#[derive(Clone, Debug)]
pub(super) enum Where {
    Path(PathBuf),
    Fd(Arc<OwnedFd>),
    Transient(Box<TransientCgroup>),
}

/// What a child is guarded by from before its start on.
#[derive(Debug)]
pub(crate) enum Keeper {
    /// Its cgroup, and who is in it.
    Cgroup(Cgroup),
    /// Itself alone.
    Tie(Guardian),
}

/// Cgroup and guardian.
impl Command {
    /// The cgroup (version 2) that the child is in from the start: a directory, opened when it is
    /// spawned. Through the seed.
    pub fn cgroup(&mut self, dir: impl AsRef<Path>) -> &mut Self {
        self.cgroup = Some(Where::Path(dir.as_ref().to_owned()));
        self
    }

    /// The cgroup (version 2) by its open directory, such as a [`Cgroup`]'s. Through the seed.
    pub fn cgroup_fd(&mut self, dir: impl Into<OwnedFd>) -> &mut Self {
        self.cgroup = Some(Where::Fd(Arc::new(dir.into())));
        self
    }

    /// A cgroup of its own for each child, which ends with it: when the child has been waited for, or its
    /// [`crate::Process`] is dropped, or the caller dies, everybody in it is killed and it is removed. A
    /// guardian, which is a child process of the caller, sees to that. Through the seed.
    pub fn transient_cgroup(&mut self, cgroup: TransientCgroup) -> &mut Self {
        self.cgroup = Some(Where::Transient(Box::new(cgroup)));
        self
    }

    /// Whether the child is killed when the caller's process ends, by whatever means, or the
    /// [`crate::Process`] is dropped. Unlike [`Command::death_signal`] it does not end with the thread that
    /// spawned it, and nothing that the child does takes it back. A guardian, which is a child process of
    /// the caller, does it; with [`Command::transient_cgroup`] that is so in any case. The child's
    /// own children are not killed. Through the seed.
    ///
    /// A child that has become another user than the caller cannot be killed by it, unless it has CAP_KILL.
    pub fn die_with_handle(&mut self, die: bool) -> &mut Self {
        self.die_with_handle = die;
        self
    }

    /// Makes what the children are to be guarded by.
    pub(super) fn keeper(&self) -> Result<Option<Box<Keeper>>, Error> {
        if let Some(Where::Transient(cgroup)) = &self.cgroup {
            let cgroup = Cgroup::create_with(cgroup, self.options)?;
            return Ok(Some(Box::new(Keeper::Cgroup(cgroup))));
        }
        if !self.die_with_handle {
            return Ok(None);
        }
        match Guardian::start(None, self.options.timeout) {
            Ok((guardian, _)) => Ok(Some(Box::new(Keeper::Tie(guardian)))),
            Err(Refused::Launch(error)) => Err(error),
            Err(Refused::Order(_, errno)) => {
                let errno = std::io::Error::from_raw_os_error(errno.number().into());
                Err(Error::io("making a guardian")(errno))
            }
        }
    }

    /// Adds the ops, for a keeper or, where there is none, for what stands in its place.
    pub(super) fn add_cgroup(
        &self,
        draft: &mut Draft,
        keeper: Option<&Keeper>,
    ) -> Result<(), Error> {
        let copy = |fd: &dyn AsFd| {
            let copy = fd.as_fd().try_clone_to_owned();
            copy.map(|fd| Grant::Shared(Arc::new(fd))).map_err(Error::io("copying a descriptor"))
        };
        let cgroup = match (&self.cgroup, keeper) {
            (None, _) => None,
            (Some(Where::Path(path)), _) => Some(Grant::Shared(Arc::new(cgroup::open_dir(path)?))),
            (Some(Where::Fd(dir)), _) => Some(Grant::Shared(Arc::clone(dir))),
            (Some(_), Some(Keeper::Cgroup(cgroup))) => Some(copy(cgroup)?),
            // Only looked at.
            (Some(Where::Transient(cgroup)), _) => {
                Some(Grant::Shared(Arc::new(cgroup::open_dir(&cgroup.parent)?)))
            }
        };
        if let Some(grant) = cgroup {
            let slot = draft.grant(grant);
            draft.plan.op(&Op::Cgroup(CgroupOp::Join { slot }));
        }
        if !self.die_with_handle || matches!(self.cgroup, Some(Where::Transient(_))) {
            return Ok(());
        }
        let socket = match keeper {
            Some(Keeper::Tie(guardian)) => copy(&guardian.socket())?,
            _ => {
                let pair = std::os::unix::net::UnixDatagram::pair();
                let (end, _) = pair.map_err(Error::io("making a socket"))?;
                Grant::Shared(Arc::new(end.into()))
            }
        };
        let slot = draft.grant(socket);
        draft.plan.op(&Op::Cgroup(CgroupOp::Tie { slot }));
        Ok(())
    }
}

impl Keeper {
    /// The cgroup, if it is one.
    pub(crate) fn cgroup(&self) -> Option<&Cgroup> {
        match self {
            Self::Cgroup(cgroup) => Some(cgroup),
            Self::Tie(_) => None,
        }
    }

    /// Lets the child go.
    pub(crate) fn release(self) {
        match self {
            Self::Cgroup(cgroup) => cgroup.release(),
            Self::Tie(guardian) => guardian.release(),
        }
    }

    /// Has what is guarded ended.
    pub(crate) fn end_soon(&self) {
        match self {
            Self::Cgroup(cgroup) => cgroup.end_soon(),
            Self::Tie(guardian) => guardian.end_soon(),
        }
    }

    /// The same, without anybody to ask what came of it.
    pub(crate) fn end_behind(self) {
        match self {
            Self::Cgroup(cgroup) => cgroup.end_behind(),
            Self::Tie(guardian) => guardian.end_behind(),
        }
    }
}
