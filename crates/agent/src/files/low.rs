//! Low descriptor numbers, kept taken so that no client's descriptor ever gets one.
//!
//! A child that is launched directly copies the descriptors below a low number, in whole units of 64, and
//! closes those that it does not need: for a client's FUSE file among them it would wait as long as that
//! client likes, and so would the launch. What clients send therefore has to lie above.
//!
//! It must never be made before the first launch, which reserves low numbers for launches to come.

use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Numbers below this are taken. Launches reserve fewer than 64, and copy in units of 64.
pub const UNTIL: i32 = 128;

/// All numbers below [`UNTIL`] that were free. They are as long as this is.
#[derive(Debug)]
pub struct Low(Vec<OwnedFd>);

impl Low {
    /// Takes them.
    ///
    /// # Errors
    /// `/dev/null` cannot be opened, or there are no more descriptors.
    pub fn take() -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let mut taken = vec![rustix::fs::open("/dev/null", flags, Mode::empty())?];
        while taken.last().is_some_and(|last| last.as_raw_fd() < UNTIL) {
            let next = taken.last().map(|last| rustix::io::fcntl_dupfd_cloexec(last, 0));
            taken.extend(next.transpose()?);
        }
        // The last one lies above.
        taken.pop();
        Ok(Self(taken))
    }

    /// How many.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.len()
    }
}
