//! The other end of a filter that notifies: who holds it is asked about calls, and answers.
//!
//! It must never look into the process that asks: what a call's arguments point to may change
//! until the answer is given.

use crate::error::Error;
use embryo_syscall::{self as sys, Errno, Reply};
use rustix::event::{PollFd, PollFlags, Timespec};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The listener of a filter: the calls for which the filter returns `SECCOMP_RET_USER_NOTIF` wait for
/// an answer of whoever holds it; seccomp_unotify(2).
///
/// # Restrictions
/// - It is no way to decide by what an argument points to: another thread of the process may change that
///   after it was read here. An answer that lets the call [`Listener::continue_`] grants it whatever it
///   is by then.
/// - A call whose caller is killed, or interrupted by a signal, stops waiting. Its answer is ENOENT.
/// - One thread at a time should receive. What was received is answered in any order, from any thread.
///
/// Dropping it fails every call that waits or would wait with ENOSYS.
///
/// # Kernel
/// Linux 5.5; [`Listener::add_fd`] 5.9, with a reply 5.14.
#[derive(Debug)]
pub struct Listener {
    fd: OwnedFd,
}

/// A call that waits for an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Notification {
    /// What names it in the answer.
    pub id: u64,
    /// The thread that makes it; 0 if it is in a pid namespace that cannot be seen from here.
    pub tid: u32,
    /// The number of the call.
    pub number: i32,
    /// `AUDIT_ARCH_*`: whose numbers they are.
    pub arch: u32,
    /// Where it is made.
    pub instruction: u64,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// How a descriptor comes into a process that waits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AddFd {
    /// Its number there; otherwise the lowest that is free.
    pub at: Option<u32>,
    /// Whether an exec closes it.
    pub cloexec: bool,
    /// Whether the call returns the number, which is the answer then.
    pub reply: bool,
}

impl AddFd {
    /// At the lowest free number, open across exec, without an answer.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// At this number, whatever was there.
    #[must_use]
    pub fn at(self, number: u32) -> Self {
        Self { at: Some(number), ..self }
    }

    /// Closed by an exec.
    #[must_use]
    pub fn cloexec(self) -> Self {
        Self { cloexec: true, ..self }
    }

    /// As what the call returns.
    #[must_use]
    pub fn reply(self) -> Self {
        Self { reply: true, ..self }
    }
}

impl Listener {
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Waits for the next call; `None` when nobody is under the filter any more.
    ///
    /// # Errors
    /// What poll(2) and the kernel's `SECCOMP_IOCTL_NOTIF_RECV` answer.
    pub fn receive(&self) -> Result<Option<Notification>, Error> {
        loop {
            match self.poll(None)? {
                Polled::Call => {}
                Polled::End => return Ok(None),
                Polled::Nothing => continue,
            }
            if let Some(found) = self.take()? {
                return Ok(Some(found));
            }
        }
    }

    /// The next call, if one comes in this time.
    ///
    /// # Errors
    /// As [`Listener::receive`].
    pub fn receive_timeout(&self, timeout: Duration) -> Result<Option<Notification>, Error> {
        let until = Instant::now().checked_add(timeout);
        loop {
            match self.poll(until)? {
                Polled::Call => {}
                Polled::End => return Ok(None),
                Polled::Nothing if until.is_some_and(|until| Instant::now() >= until) => {
                    return Ok(None);
                }
                Polled::Nothing => continue,
            }
            if let Some(found) = self.take()? {
                return Ok(Some(found));
            }
        }
    }

    /// Whether a call still waits for its answer. Not if its caller was interrupted or has died: its
    /// thread's number may then name another one.
    #[must_use]
    pub fn is_waiting(&self, id: u64) -> bool {
        sys::seccomp_id_valid(self.fd.as_raw_fd(), id).is_ok()
    }

    /// The call fails with this errno, 1 to 4095, and is not made.
    ///
    /// # Errors
    /// ENOENT if it does not wait any more, EINPROGRESS if it has its answer already; EINVAL for another
    /// number.
    pub fn reply_errno(&self, id: u64, errno: i32) -> Result<(), Error> {
        let errno = u16::try_from(errno).ok().filter(|errno| (1..=4095).contains(errno));
        match errno {
            Some(errno) => self.reply(id, Reply::Error(Errno::new(errno))),
            None => Err(failed(Errno::INVAL, "answering a notified call")),
        }
    }

    /// The call returns this, and is not made.
    ///
    /// # Errors
    /// As [`Listener::reply_errno`].
    pub fn reply_value(&self, id: u64, value: i64) -> Result<(), Error> {
        self.reply(id, Reply::Value(value))
    }

    /// The call is made as if there were no filter.
    ///
    /// # Errors
    /// As [`Listener::reply_errno`].
    ///
    /// # Kernel
    /// Linux 5.5.
    pub fn continue_(&self, id: u64) -> Result<(), Error> {
        self.reply(id, Reply::Continue)
    }

    /// Puts a descriptor into the table of the process that makes the call. Returns its number there.
    ///
    /// # Errors
    /// ENOENT if the call does not wait any more, EMFILE if there is no free number.
    ///
    /// # Kernel
    /// Linux 5.9; with a reply 5.14.
    pub fn add_fd(&self, id: u64, fd: impl AsFd, how: AddFd) -> Result<u32, Error> {
        let (listener, fd) = (self.fd.as_raw_fd(), fd.as_fd().as_raw_fd());
        let added = sys::seccomp_add_fd(listener, id, fd, how.at, how.cloexec, how.reply);
        added.map_err(|errno| failed(errno, "adding a descriptor for a notified call"))
    }

    fn reply(&self, id: u64, reply: Reply) -> Result<(), Error> {
        sys::seccomp_reply(self.fd.as_raw_fd(), id, reply)
            .map_err(|errno| failed(errno, "answering a notified call"))
    }

    fn poll(&self, until: Option<Instant>) -> Result<Polled, Error> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        // A time too long for the kernel is no time limit.
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::new(&self.fd, PollFlags::IN)];
        match rustix::event::poll(&mut fds, left.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => Ok(Polled::Nothing),
            Ok(_) if fds[0].revents().contains(PollFlags::IN) => Ok(Polled::Call),
            Ok(_) => Ok(Polled::End),
            Err(errno) => Err(failed(errno.into(), "waiting for a notified call")),
        }
    }

    /// The call that poll(2) told of; `None` if its caller has died since.
    fn take(&self) -> Result<Option<Notification>, Error> {
        match sys::seccomp_receive(self.fd.as_raw_fd()) {
            Ok(found) => Ok(Some(Notification {
                id: found.id,
                tid: found.tid,
                number: found.number,
                arch: found.arch,
                instruction: found.instruction,
                arguments: found.arguments,
            })),
            Err(Errno::NOENT | Errno::INTR) => Ok(None),
            Err(errno) => Err(failed(errno, "receiving a notified call")),
        }
    }
}

enum Polled {
    Call,
    End,
    Nothing,
}

impl AsFd for Listener {
    /// It is readable when a call waits, and hangs up when nobody is under the filter any more.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl From<OwnedFd> for Listener {
    /// One that came from elsewhere, as through a socket of a container runtime.
    fn from(fd: OwnedFd) -> Self {
        Self::new(fd)
    }
}

impl From<Listener> for OwnedFd {
    fn from(listener: Listener) -> Self {
        listener.fd
    }
}

fn failed(errno: Errno, what: &'static str) -> Error {
    Error::io(what)(io::Error::from_raw_os_error(i32::from(errno.number())))
}
