//! Descriptors that the library keeps open between calls, in a table that belongs to the program.
//!
//! A program may close every descriptor it does not know (daemons do) and open others, which then
//! have the numbers of ours. So a kept descriptor is looked at before each use; if it has
//! become something else, it is the program's, and closing it would be our mistake.

use embryo_interp::STDIO_END;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};

/// A descriptor together with what it was when it was made.
#[derive(Debug)]
pub(crate) struct Guarded {
    // `None` only while it is dropped.
    fd: Option<OwnedFd>,
    identity: (u64, u64),
}

impl Guarded {
    pub(crate) fn new(fd: OwnedFd) -> rustix::io::Result<Self> {
        // What is kept at a standard stream's number would be granted as that stream.
        let fd = match fd.as_fd().as_raw() < STDIO_END {
            true => rustix::io::fcntl_dupfd_cloexec(&fd, STDIO_END)?,
            false => fd,
        };
        let identity = identify(fd.as_fd())?;
        Ok(Self { fd: Some(fd), identity })
    }

    /// Whether the number still names what it did.
    pub(crate) fn intact(&self) -> bool {
        identify(self.as_fd()).is_ok_and(|now| now == self.identity)
    }

    /// Lets it go without closing it: the number is the program's now.
    pub(crate) fn forget(mut self) {
        std::mem::forget(self.fd.take());
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_ref().map(AsFd::as_fd).expect("the descriptor is there until drop")
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        if self.fd.is_some() && !self.intact() {
            // The number is the program's now.
            std::mem::forget(self.fd.take());
        }
    }
}

/// The number of a descriptor.
pub(crate) trait AsRaw {
    fn as_raw(&self) -> i32;
}

impl AsRaw for BorrowedFd<'_> {
    fn as_raw(&self) -> i32 {
        std::os::fd::AsRawFd::as_raw_fd(self)
    }
}

fn identify(fd: BorrowedFd<'_>) -> rustix::io::Result<(u64, u64)> {
    rustix::fs::fstat(fd).map(|stat| (stat.st_dev, stat.st_ino))
}
