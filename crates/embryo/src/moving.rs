//! A seed that goes on in another process: in a namespace that only a new one enters, or below an init.
//!
//! Each such process is the caller's child, so the caller hears of it before anything depends on it,
//! and whichever is not to be the handle is ended and reaped here.

use crate::guarded::AsRaw;
use crate::process::wait_dead;
use crate::spawn::bury;
use embryo_seed::ReplyKind;
use embryo_syscall as sys;
use rustix::process::{Pid, PidfdFlags};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// The way by which an init says how its image ended.
#[derive(Debug)]
pub(crate) struct StatusLine(OwnedFd);

/// How an image ended, as its init has it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told {
    /// As wait(2) has it.
    pub(crate) status: i32,
    pub(crate) usage: sys::Usage,
}

impl StatusLine {
    /// Lets the init reap: what there is to be known of the start is known.
    fn release(&self) {
        let _ = sys::send_with_fds(self.0.as_fd().as_raw(), &[0], &[], &[]);
    }

    /// The end of a line that this process, or what it was before it executed itself, had.
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// What it said, if it has; what was killed has not.
    pub(crate) fn take(&self) -> Option<Told> {
        let mut message = [0u8; 8 + 18 * 8];
        let mut receive = || sys::recv_owned::<0>(self.0.as_fd(), &mut message).0;
        // What an init had not read leaves an error, which comes before what it said.
        let outcome = match receive() {
            Err(sys::Errno::CONNRESET) => receive(),
            other => other,
        };
        if outcome != Ok(message.len()) {
            return None;
        }
        let words: [i64; 19] = std::array::from_fn(|at| {
            i64::from_le_bytes(std::array::from_fn(|byte| message[at * 8 + byte]))
        });
        let usage = std::array::from_fn(|at| words[at + 1]);
        Some(Told { status: words[0] as i32, usage: sys::Usage::from_words(usage) })
    }
}

/// A child in which a seed means to go on.
#[derive(Debug)]
struct Child {
    pidfd: OwnedFd,
    status: Option<StatusLine>,
}

/// What a handle has below it.
#[derive(Debug, Default)]
pub(crate) struct Below {
    /// How the image ended is heard there, and not of the handle.
    pub(crate) status: Option<StatusLine>,
    /// The image, or what is to be it, below an init: its pidfd and its pid.
    pub(crate) image: Option<(OwnedFd, i32)>,
}

/// The moves of one seed.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    /// Of the handle before.
    below: Below,
    moving: Option<Child>,
    moved: Option<(OwnedFd, i32)>,
}

impl Moves {
    /// Those of a seed that may have gone somewhere already.
    pub(crate) fn from(below: Below) -> Self {
        Self { below, ..Self::default() }
    }

    /// Hears of one. False if it cannot be one.
    pub(crate) fn hear(
        &mut self,
        kind: ReplyKind,
        pid: u32,
        [first, second]: [Option<OwnedFd>; 2],
    ) -> bool {
        match (kind, first) {
            (ReplyKind::Moving, Some(pidfd)) => {
                let child = Child { pidfd, status: second.map(StatusLine) };
                if let Some(other) = self.moving.replace(child) {
                    bury(other.pidfd);
                }
                true
            }
            // A child that could not tell of itself, or that did and has failed.
            (ReplyKind::Moving, None) => {
                self.give_up();
                let pid = Pid::from_raw(pid.cast_signed());
                let pidfd =
                    pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
                // Nobody else's: it is reaped only if it is a child.
                if let Some(pidfd) = pidfd
                    && wait_dead(pidfd.as_fd(), Duration::from_secs(1))
                {
                    bury(pidfd);
                }
                true
            }
            (ReplyKind::Moved, image) => {
                let Some(Child { pidfd, status }) = self.moving.take() else { return false };
                let with_pid = |pidfd: OwnedFd| {
                    let pid = pid_of(pidfd.as_fd());
                    (pidfd, pid)
                };
                self.below = Below { status, image: image.map(with_pid) };
                if let Some((before, _)) = self.moved.replace(with_pid(pidfd)) {
                    bury(before);
                }
                true
            }
            _ => false,
        }
    }

    /// Ends a child that was only meant to be gone on in.
    pub(crate) fn give_up(&mut self) {
        if let Some(child) = self.moving.take() {
            bury(child.pidfd);
        }
    }

    /// The handle at this moment.
    pub(crate) fn handle<'a>(&'a self, before: BorrowedFd<'a>) -> BorrowedFd<'a> {
        self.moved.as_ref().map_or(before, |(pidfd, _)| pidfd.as_fd())
    }

    /// The process that is to be the image.
    pub(crate) fn image<'a>(&'a self, before: BorrowedFd<'a>, pid: i32) -> (BorrowedFd<'a>, i32) {
        match self.below.image.as_ref().or(self.moved.as_ref()) {
            Some((pidfd, pid)) => (pidfd.as_fd(), *pid),
            None => (before, pid),
        }
    }

    /// Lets the init, if there is one, reap.
    pub(crate) fn release(&self) {
        if let Some(line) = &self.below.status {
            line.release();
        }
    }

    /// Changes the handle to where it has gone, and tells what is below that. The process before ends
    /// by itself; it is reaped.
    pub(crate) fn settle(mut self, pidfd: &mut OwnedFd, pid: &mut i32) -> Below {
        self.give_up();
        if let Some((to, to_pid)) = self.moved.take() {
            bury(std::mem::replace(pidfd, to));
            *pid = to_pid;
        }
        self.below
    }
}

/// The pid that a pidfd names, as it is here; 0 if it has none here or has been reaped.
pub(crate) fn pid_of(pidfd: BorrowedFd<'_>) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw()));
    let text = text.unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pid:"));
    line.and_then(|pid| pid.trim().parse().ok()).filter(|pid| *pid > 0).unwrap_or(0)
}
