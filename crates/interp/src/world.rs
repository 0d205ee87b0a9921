//! What of its surroundings a task has made its own, so that no op ever reaches those of whoever
//! made it.

use embryo_syscall::{Errno, Result};

/// Namespaces that are the task's own, and the root that its mounts are made in.
///
/// An executor keeps it from one batch to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct World {
    /// The namespaces that it has made or joined, as the `CLONE_NEW*` bits of clone(2).
    pub own: u32,
    /// The directory in which the targets of mounts are looked up; -1 while that is `/`.
    pub root: i32,
    /// Whether what is mounted in it stays in it.
    pub private: bool,
}

impl World {
    /// Everything is still that of whoever made the task.
    pub const INHERITED: Self = Self { own: 0, root: -1, private: false };

    /// Refuses what would change a namespace that somebody else lives in, too.
    ///
    /// # Errors
    /// `EPERM` if one of these is not the task's own.
    pub(crate) const fn demand(&self, namespaces: u32) -> Result<()> {
        if self.own & namespaces == namespaces { Ok(()) } else { Err(Errno::PERM) }
    }
}
