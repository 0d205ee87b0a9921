//! What a command's child finds mounted. It must never mount anything itself.

use super::{Command, Draft, Grant};
use crate::error::Error;
use crate::mount::{Mount, NewRoot};
use embryo_plan::{BuildError, MountOp, Op, PlanError, Reason, Slot};
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// One mount, with the descriptor that it is about.
pub(super) type Mounted = (Mount, Option<Arc<OwnedFd>>);

/// Mounts and the root that they are made in.
///
/// The mount namespace has to be the child's own. Through the seed.
impl Command {
    /// Makes or mounts something, after what was given before. Without [`Command::new_root`] it is below
    /// the root that the child has, and spreads to nobody else.
    ///
    /// Linux 5.12.
    pub fn mount(&mut self, mount: Mount) -> &mut Self {
        self.mounts.push((mount, None));
        self
    }

    /// The same of what is about a descriptor: see [`Mount::takes_fd`].
    pub fn mount_fd(&mut self, mount: Mount, fd: impl Into<OwnedFd>) -> &mut Self {
        self.mounts.push((mount, Some(Arc::new(fd.into()))));
        self
    }

    /// A root that has nothing but what is mounted and made in it. The old one goes away when all is in
    /// place; the working directory becomes `/` unless it is set. Excludes [`Command::chroot`].
    pub fn new_root(&mut self, root: NewRoot) -> &mut Self {
        self.new_root = Some(root);
        self
    }

    /// What was given to [`Command::mount`] and [`Command::mount_fd`].
    pub fn get_mounts(&self) -> impl ExactSizeIterator<Item = &Mount> {
        self.mounts.iter().map(|(mount, _)| mount)
    }

    pub(super) fn add_mounts(&self, draft: &mut Draft) -> Result<(), Error> {
        if let Some(NewRoot { size, mode, inodes }) = self.new_root {
            let (size, inodes) = (size.unwrap_or(0), inodes.unwrap_or(0));
            draft.plan.op(&Op::Mount(MountOp::NewRoot { size, mode, inodes }));
        }
        for (mount, fd) in &self.mounts {
            let slot = match fd {
                Some(fd) if mount.takes_fd() => draft.grant(Grant::Shared(Arc::clone(fd))),
                None if !mount.takes_fd() => Slot(0),
                _ => {
                    let error = PlanError { entry: None, code: None, reason: Reason::SlotUse };
                    return Err(Error::Plan(BuildError::Plan(error)));
                }
            };
            let nul = |_| Error::Plan(BuildError::Nul("a path of a mount"));
            mount.add(&mut draft.plan, slot, self.has_users()).map_err(nul)?;
        }
        if self.new_root.is_some() {
            draft.plan.op(&Op::Mount(MountOp::EnterRoot));
        }
        Ok(())
    }
}
