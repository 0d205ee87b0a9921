//! How a grant beyond stdio reaches a child whose table is cut off.
//!
//! Copying a table costs by the descriptors in it, and every copied one is held by the child: a file
//! that another thread has just written cannot be executed meanwhile (ETXTBSY). So the child copies
//! only what lies below the cut, which is right above one end of a socket pair; the grants wait
//! in that socket as SCM_RIGHTS.
//!
//! What the program opens must lie above the cut, so a few pairs are reserved at first use, while
//! numbers are low, and a launch rather waits for one of them than makes another, which would
//! lie above other threads' files. What does lie below is let go of right after the copying.

use crate::guarded::{AsRaw, Guarded};
use embryo_syscall::{self as sys, Errno, SCM_MAX_FDS};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Pairs that are made at first use and kept.
const RESERVED: usize = 8;
/// How long a launch waits for one of them before it makes one more: a child that somebody stopped
/// holds its own until its deadline.
const PATIENCE: Duration = Duration::from_secs(2);
/// A cut above this is worth a word: it costs to copy what lies below it.
const LOW: i32 = 255;

/// A socket pair, one end of which has a low number.
#[derive(Debug)]
pub(crate) struct Mailbox {
    child: Guarded,
    caller: Guarded,
    process: i32,
    /// Made because all reserved ones were in use.
    extra: bool,
}

#[derive(Debug)]
struct Pool {
    free: Vec<Mailbox>,
    made: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { free: Vec::new(), made: 0 });
static RETURNED: Condvar = Condvar::new();

fn lock() -> MutexGuard<'static, Pool> {
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pool {
    /// Makes the reserved ones unless there are any.
    fn reserve(&mut self) -> Result<(), Errno> {
        if self.made > 0 {
            return Ok(());
        }
        self.free.push(Mailbox::make(false)?);
        // Where numbers are scarce, one has to do.
        let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        let half = limit.map_or(i32::MAX, |limit| i32::try_from(limit / 2).unwrap_or(i32::MAX));
        let more = (1..RESERVED).map_while(|_| Mailbox::make(false).ok());
        self.free.extend(more.take_while(|mailbox| mailbox.child_number() < half));
        self.made = self.free.len();
        Ok(())
    }

    /// Takes the free one with the lowest number.
    fn lowest(&mut self) -> Option<Mailbox> {
        let numbers = self.free.iter().map(Mailbox::child_number).enumerate();
        let (index, _) = numbers.min_by_key(|(_, number)| *number)?;
        Some(self.free.swap_remove(index))
    }
}

impl Mailbox {
    /// Reserves some, if that has not been done. Before a launch opens what it needs itself, so
    /// that they get the lower numbers.
    pub(crate) fn reserve() {
        // If it cannot be done now, it is tried again by the launch that needs one.
        let _ = lock().reserve();
    }

    /// Takes one, making it if need be.
    pub(crate) fn take() -> Result<Self, Errno> {
        let process = sys::getpid();
        let mut pool = lock();
        let mut until = None;
        loop {
            pool.reserve()?;
            if let Some(mailbox) = pool.lowest() {
                // A pair that came over in a fork is shared with the parent, and one that was
                // closed behind our back is no longer ours.
                if mailbox.process == process && mailbox.child.intact() && mailbox.caller.intact() {
                    return Ok(mailbox);
                }
                pool.made -= 1;
                continue;
            }
            let until = *until.get_or_insert_with(|| Instant::now() + PATIENCE);
            let left = until.saturating_duration_since(Instant::now());
            let extra = pool.made >= RESERVED;
            if !extra || left.is_zero() {
                let mailbox = Self::make(extra)?;
                pool.made += 1;
                return Ok(mailbox);
            }
            let waited = RETURNED.wait_timeout(pool, left);
            pool = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn make(extra: bool) -> Result<Self, Errno> {
        let (a, b) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        let (a, b) = (Guarded::new(a)?, Guarded::new(b)?);
        let (child, caller) = if a.as_fd().as_raw() < b.as_fd().as_raw() { (a, b) } else { (b, a) };
        Ok(Self { child, caller, process: sys::getpid(), extra })
    }

    /// The number of the end from which the child receives.
    pub(crate) fn child_number(&self) -> i32 {
        self.child.as_fd().as_raw()
    }

    /// Whether what the program opened since the first launch may lie below the cut, or so much lies
    /// there that copying it costs.
    pub(crate) fn is_high(&self) -> bool {
        self.extra || self.child_number() > LOW
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
        loop {
            match sys::recv_with_fds(self.child_number(), &mut [0], &mut fds, false) {
                Ok((_, count)) => {
                    for fd in &fds[..count] {
                        let _ = sys::close(*fd);
                    }
                }
                // It found no free numbers and is gone; another may lie behind it.
                Err(Errno::MFILE | Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Gives it back for the next launch.
    pub(crate) fn give_back(self) {
        let mut pool = lock();
        if self.extra {
            pool.made -= 1;
        } else {
            pool.free.push(self);
        }
        RETURNED.notify_one();
    }
}
