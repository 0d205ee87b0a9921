//! A process taken apart into descriptors, and put together again: for a program that executes itself anew
//! and means to keep its children.
//!
//! It must never make a handle of a process that is not a child: nobody but its parent learns how it ended.

use crate::error::Error;
use crate::moving::{Below, StatusLine, pid_of};
use crate::process::Process;
use crate::spawn::LaunchReport;
use embryo_plan::Route;
use std::os::fd::{AsFd, OwnedFd};

/// The descriptors by which a [`Process`] is known. They are close-on-exec, and whoever executes itself
/// says which of them are to stay open.
#[derive(Debug)]
pub struct ProcessParts {
    /// The handle.
    pub pidfd: OwnedFd,
    /// Of an init: where it says how its image has ended.
    pub status: Option<OwnedFd>,
    /// Of an init: a handle of the image.
    pub image: Option<OwnedFd>,
}

impl Process {
    /// Second descriptors of everything by which it is known. Not among them: its pipes, its listener,
    /// and the guardian of its cgroup.
    ///
    /// # Errors
    /// What duplicating a descriptor answers.
    pub fn parts(&self) -> std::io::Result<ProcessParts> {
        let Below { status, image } = self.below();
        let status = status.as_ref().map(|line| line.as_fd().try_clone_to_owned());
        let image = image.as_ref().map(|(pidfd, _)| pidfd.try_clone());
        Ok(ProcessParts {
            pidfd: self.pidfd().try_clone_to_owned()?,
            status: status.transpose()?,
            image: image.transpose()?,
        })
    }

    /// A handle of a child of this process, which may have been started before it executed itself. A child that
    /// has ended meanwhile is waited for as any other.
    ///
    /// # Errors
    /// ECHILD if it is no child of this process, or has been waited for.
    ///
    /// # Kernel
    /// Source: /proc/PID/fdinfo of a pidfd (Linux 5.2), waitid(2) with `P_PIDFD` (5.4).
    pub fn from_parts(parts: ProcessParts) -> Result<Self, Error> {
        let ProcessParts { pidfd, status, image } = parts;
        let pid = pid_of(pidfd.as_fd());
        if pid <= 0 || !is_child(&pidfd) {
            let none = std::io::Error::from(rustix::io::Errno::CHILD);
            return Err(Error::io("taking up a child")(none));
        }
        let image = image.map(|pidfd| {
            let pid = pid_of(pidfd.as_fd());
            (pidfd, pid)
        });
        let below = Below { status: status.map(StatusLine::from_fd), image };
        let report = LaunchReport {
            route: Route::Seed,
            cut: 0,
            cut_raised: false,
            legacy_clone: false,
            trace: Vec::new(),
        };
        Ok(Process::new(pidfd, pid.unsigned_abs(), below, report))
    }
}

/// Whether it can be waited for; it is not.
fn is_child(pidfd: &OwnedFd) -> bool {
    use rustix::process::{WaitId, WaitIdOptions, waitid};
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    waitid(WaitId::PidFd(pidfd.as_fd()), options).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Command;

    #[test]
    fn a_child_is_waited_for_after_it_was_taken_apart() {
        let child = Command::new("/bin/sh").args(["-c", "exit 7"]).spawn().expect("it starts");
        let parts = child.parts().expect("descriptors");
        // The first handle does not wait for it.
        std::mem::forget(child);
        let mut again = Process::from_parts(parts).expect("it is a child");
        assert_eq!(again.wait().expect("it ends").code(), Some(7));
        let parts = again.parts().expect("descriptors");
        let error = Process::from_parts(parts).expect_err("it was waited for");
        assert_eq!(error.raw_os_error(), Some(10));
    }
}
