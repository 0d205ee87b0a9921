//! Whose turn at the terminal it is, for a child that has a process group of its own: one that was
//! started so, or an interactive shell, which makes itself one.
//!
//! It must never take the terminal from somebody else's process group.

use embryo_syscall::getpgrp;
use rustix::fd::OwnedFd;
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;
use rustix::termios::{tcgetpgrp, tcsetpgrp};

/// The terminal of this session.
pub(crate) struct Terminal {
    tty: OwnedFd,
    /// The foreground group before there was a child.
    before: Pid,
    /// Whether the child's group had it when the child stopped.
    lent: bool,
}

impl Terminal {
    /// The session's, if it has one; to be called before the child is made.
    pub(crate) fn of_session() -> Option<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOCTTY;
        let tty = rustix::fs::open("/dev/tty", flags, Mode::empty()).ok()?;
        let before = tcgetpgrp(&tty).ok()?;
        Some(Self { tty, before, lent: false })
    }

    /// Gives it back to whoever had it before, if the child's group has it now.
    pub(crate) fn take_back(&mut self, child: i32) {
        self.lent = getpgrp() != Ok(child) && self.foreground_is(child);
        if self.lent {
            self.set(self.before);
        }
    }

    /// Lends it again, if it was taken back and this process's group has been given it since.
    pub(crate) fn lend_again(&mut self, child: i32) {
        if self.lent
            && getpgrp().is_ok_and(|own| self.foreground_is(own))
            && let Some(child) = Pid::from_raw(child)
        {
            self.set(child);
        }
        self.lent = false;
    }

    /// Never so of a group from outside the pid namespace, whose number is 0 here.
    fn foreground_is(&self, group: i32) -> bool {
        tcgetpgrp(&self.tty).is_ok_and(|now| now.as_raw_nonzero().get() == group)
    }

    /// A process of a background group may do this only with SIGTTOU blocked: it is stopped
    /// otherwise.
    fn set(&self, group: Pid) {
        let sigttou = 1u64 << (crate::watch::SIGTTOU - 1);
        let Ok(mask) = embryo_syscall::set_mask(sigttou) else { return };
        let _ = tcsetpgrp(&self.tty, group);
        let _ = embryo_syscall::set_mask(mask);
    }
}
