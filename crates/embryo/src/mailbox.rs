//! How a grant with a high number reaches a child whose table is cut off below it.
//!
//! Copying a table costs by the descriptors in it, and every copied one is held by the child until it
//! execs: a file that another thread has just written cannot be executed meanwhile (ETXTBSY). So the
//! child copies only what lies below the cut, which is right above one end of a socket pair that
//! is reserved at first use, while numbers are low; the other grants wait in that socket as
//! SCM_RIGHTS.

use crate::guarded::{AsRaw, Guarded};
use embryo_syscall::{self as sys, Errno, SCM_MAX_FDS};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::sync::{Condvar, Mutex, PoisonError};

/// Above this a further pair is not worth having: a launch rather waits for one that is free.
const LOW: i32 = 255;
/// Pairs that are kept when nobody uses them.
const KEPT: usize = 4;

/// A socket pair, one end of which has a low number.
#[derive(Debug)]
pub(crate) struct Mailbox {
    child: Guarded,
    caller: Guarded,
    process: i32,
}

#[derive(Debug)]
struct Pool {
    free: Vec<Mailbox>,
    made: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), made: 0 });
static RETURNED: Condvar = Condvar::new();

impl Mailbox {
    /// Takes one, making it if need be.
    pub(crate) fn take() -> Result<Self, Errno> {
        let process = sys::getpid();
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(mailbox) = pool.free.pop() {
                // A pair that came over in a fork is shared with the parent, and one that was
                // closed behind our back is no longer ours.
                if mailbox.process == process && mailbox.child.intact() && mailbox.caller.intact() {
                    return Ok(mailbox);
                }
                pool.made = pool.made.saturating_sub(1);
                continue;
            }
            let mailbox = Self::make(process)?;
            if mailbox.child_number() <= LOW || pool.made == 0 {
                pool.made += 1;
                return Ok(mailbox);
            }
            drop(mailbox);
            pool = RETURNED.wait(pool).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn make(process: i32) -> Result<Self, Errno> {
        let (a, b) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let (a, b) = (Guarded::new(a)?, Guarded::new(b)?);
        let (child, caller) = if a.as_fd().as_raw() < b.as_fd().as_raw() { (a, b) } else { (b, a) };
        Ok(Self { child, caller, process })
    }

    /// The number of the end from which the child receives.
    pub(crate) fn child_number(&self) -> i32 {
        self.child.as_fd().as_raw()
    }

    /// Puts grants in, for the next child to take out.
    pub(crate) fn send(&self, grants: &[i32]) -> Result<(), Errno> {
        for chunk in grants.chunks(SCM_MAX_FDS) {
            let sent = sys::send_with_fds(self.caller.as_fd().as_raw(), &[0], &[], chunk);
            if let Err(errno) = sent {
                self.empty();
                return Err(errno);
            }
        }
        Ok(())
    }

    /// Takes out and closes what a child left.
    pub(crate) fn empty(&self) {
        let mut fds = [-1; SCM_MAX_FDS];
        while let Ok((_, count)) =
            sys::recv_with_fds(self.child_number(), &mut [0], &mut fds, false)
        {
            for fd in &fds[..count] {
                let _ = sys::close(*fd);
            }
        }
    }

    /// Gives it back for the next launch.
    pub(crate) fn give_back(self) {
        let mut pool = POOL.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.free.len() < KEPT {
            pool.free.push(self);
        } else {
            pool.made = pool.made.saturating_sub(1);
        }
        RETURNED.notify_one();
    }
}
