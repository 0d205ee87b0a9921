//! What of its surroundings a task has made its own, so that no op ever reaches those of whoever
//! made it; and what only its executor can do for it.

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
    /// The directory of /proc as it was when a user namespace was made, for the map of another: the new
    /// root may have none. -1 if there is none.
    pub proc: i32,
    /// The way to the init of the task's pid namespace, closed on exec; -1 if it has none.
    pub init: i32,
    /// Some of the namespaces are not those of the task itself yet, but of the children that it
    /// makes.
    pub for_children: bool,
}

impl World {
    /// Everything is still that of whoever made the task.
    pub const INHERITED: Self =
        Self { own: 0, root: -1, private: false, proc: -1, init: -1, for_children: false };

    /// Refuses what would change a namespace that somebody else lives in, too.
    ///
    /// # Errors
    /// `EPERM` if one of these is not the task's own.
    pub(crate) const fn demand(&self, namespaces: u32) -> Result<()> {
        if self.own & namespaces == namespaces { Ok(()) } else { Err(Errno::PERM) }
    }

    /// Descriptors of the task's own that a plan's numbers must not meet.
    pub(crate) fn descriptors(&mut self) -> [&mut i32; 3] {
        [&mut self.root, &mut self.proc, &mut self.init]
    }
}

/// How a task goes on in a child of its own maker, in namespaces that only a new process enters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
    /// As it is.
    Plain,
    /// In a new pid namespace, below an init: with this pid in it, 0 being the kernel's choice.
    BelowInit(u32),
}

/// What an executor does that an op alone cannot: it needs whoever made the task.
pub trait Executor {
    /// Goes on in another process, which the maker is told of. Where this returns `Ok`, it is that
    /// process which returns; the way to its init is the value, or -1.
    ///
    /// # Errors
    /// What the kernel answers; this process goes on then.
    fn go_on(&mut self, control: i32, owner: i32, how: Move) -> Result<i32>;

    /// Has the maker write the maps of the user namespace that was just made.
    ///
    /// # Errors
    /// What the maker says.
    fn ask_for_maps(&mut self, control: i32) -> Result<()>;
}
