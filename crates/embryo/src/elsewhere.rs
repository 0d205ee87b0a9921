//! What a process that is somebody else's child can be asked for. Whoever started it knows how it ended, and may
//! do to it what the caller may not.

use crate::error::Error;
use crate::process::{Ended, Usage};
use std::os::fd::BorrowedFd;
use std::time::Instant;

/// The side of whoever started it.
pub(crate) trait Elsewhere:
    Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe
{
    /// How it ended; waits for that until `deadline`, or for ever.
    fn look(
        &mut self,
        pidfd: BorrowedFd<'_>,
        deadline: Option<Instant>,
    ) -> Result<Option<Ended>, Error>;

    /// Sends it a signal.
    fn signal(&self, pidfd: BorrowedFd<'_>, signal: i32) -> Result<(), Error>;

    /// Kills it, with everybody who came of it as far as that is known.
    fn kill(&self, pidfd: BorrowedFd<'_>) -> Result<(), Error>;

    /// What it has used so far.
    fn usage(&self) -> Result<Usage, Error>;

    /// Nobody will ask any more.
    fn leave(&mut self, pidfd: BorrowedFd<'_>, kill: bool);

    /// The pid of the image.
    fn image_id(&self) -> u32;

    /// Whether it was ended because its time was over.
    fn time_was_over(&self) -> bool;

    /// What becomes readable when there is something to learn, beside the pidfd.
    #[cfg(feature = "tokio")]
    fn socket(&self) -> BorrowedFd<'_>;

    /// How it ended, if that is known by now; otherwise this one is woken when somebody else has learnt
    /// something.
    #[cfg(feature = "tokio")]
    fn poll_look(
        &mut self,
        pidfd: BorrowedFd<'_>,
        waker: &std::task::Waker,
    ) -> Result<Option<Ended>, Error>;
}
