//! Processes that see to it that nothing outlives a handle: neither a cgroup nor a child.
//!
//! A guardian is a seed that was told to guard. It exists before what it guards does, makes it itself,
//! and holds its owner's pidfd and one end of a socket whose other end is the handle. It must
//! never be left behind: whoever drops a handle waits until its guardian has done its work, or has it
//! reaped when it has.

use crate::error::Error;
use crate::guarded::AsRaw;
use crate::process::{status_of, wait_dead};
use crate::seeded::{deadline_after, make, readable};
use crate::{hint, reaper, spawn};
use embryo_interp::{End, Fault, Step};
use embryo_plan::{PlanBuilder, Route};
use embryo_seed::{Order, Reply, ReplyKind, Request, RequestFlags, RequestKind};
use embryo_syscall::{self as sys, Errno};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};
use zerocopy::IntoBytes;

/// How long the end of a guardian is waited for. It takes as long as who is in a cgroup needs to die,
/// and goes on though nobody waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running guardian.
#[derive(Debug)]
pub(crate) struct Guardian {
    // `None` once it was left to itself.
    process: Option<OwnedFd>,
    socket: OwnedFd,
}

/// Why there is none.
#[derive(Debug)]
pub(crate) enum Refused {
    /// It could not be made.
    Launch(Error),
    /// What it was asked to do first failed: the directory (0), or a file by its number.
    Order(u32, Errno),
}

/// What a guardian is asked to do first: to make a cgroup of this name, and write to its files.
pub(crate) struct Orders<'a> {
    pub(crate) parent: BorrowedFd<'a>,
    pub(crate) name: &'a str,
    pub(crate) files: &'a [(String, String)],
}

impl Orders<'_> {
    fn bytes(&self) -> Vec<u8> {
        let pairs = self.files.iter().flat_map(|(file, value)| [file.as_str(), value.as_str()]);
        std::iter::once(self.name).chain(pairs).fold(Vec::new(), |mut bytes, text| {
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(0);
            bytes
        })
    }
}

impl Guardian {
    /// Makes one. With orders the second value is the directory of the cgroup that it made.
    pub(crate) fn start(
        orders: Option<&Orders<'_>>,
        timeout: Duration,
    ) -> Result<(Self, Option<OwnedFd>), Refused> {
        let hello = PlanBuilder::batch().build().expect("an empty batch is one");
        let context = hint::Context { plan: hello.as_plan(), grants: &[] };
        let refused = |fault| {
            let cause = crate::error::Cause::Refused;
            Refused::Launch(context.error(fault, cause, Vec::new()))
        };
        let deadline = deadline_after(timeout);
        let body = orders.map(Orders::bytes).unwrap_or_default();
        let parent = orders.map(|orders| orders.parent);
        let made = make(timeout, |socket| send(socket, parent, &body, timeout));
        let (direct, socket) = made.map_err(refused)?;
        if direct.launched.end != End::Entered {
            return Err(match spawn::settle(direct, Route::Seed, &context) {
                Err(error) => Refused::Launch(error),
                Ok(_) => refused(Fault::step(Step::Seed, Errno::BADMSG)),
            });
        }
        let guardian = Self { process: Some(direct.launched.pidfd), socket };
        let dir = guardian.first_answer(deadline, &refused)?;
        if orders.is_some() && dir.is_none() {
            return Err(refused(Fault::step(Step::Seed, Errno::MFILE)));
        }
        Ok((guardian, dir))
    }

    fn first_answer(
        &self,
        deadline: Instant,
        refused: &dyn Fn(Fault) -> Refused,
    ) -> Result<Option<OwnedFd>, Refused> {
        let step = |errno| refused(Fault::step(Step::Seed, errno));
        if !readable(self.socket.as_fd(), deadline) {
            return Err(step(Errno::TIMEDOUT));
        }
        let mut reply = Reply::default();
        let (outcome, [dir]) = sys::recv_owned::<1>(self.socket.as_fd(), reply.as_mut_bytes());
        match (outcome, reply.meaning()) {
            (Ok(_), Some((ReplyKind::Done, _))) => Ok(dir),
            (Ok(_), Some((ReplyKind::Fault, fault))) if Step::from_index(fault.index).is_none() => {
                Err(Refused::Order(fault.index, Errno::new(fault.errno)))
            }
            (Ok(_), Some((ReplyKind::Fault, fault))) => Err(refused(fault)),
            (Err(errno), _) => Err(step(errno)),
            _ => Err(step(Errno::BADMSG)),
        }
    }

    /// The socket through which a child ties itself to it.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn tell(&self, order: Order) {
        // One that is dead needs no order.
        let _ = sys::send_with_fds(self.socket.as_fd().as_raw(), &[order as u8], &[], &[]);
    }

    /// Lets what it guards go: it kills nobody, and removes a cgroup only when that is empty.
    pub(crate) fn release(mut self) {
        self.tell(Order::Release);
        self.leave();
    }

    /// Has it do its work now.
    pub(crate) fn end_soon(&self) {
        self.tell(Order::End);
    }

    /// The same, without anybody to ask what came of it.
    pub(crate) fn end_behind(mut self) {
        self.tell(Order::End);
        self.leave();
    }

    fn leave(&mut self) {
        if let Some(process) = self.process.take()
            && matches!(status_of(process.as_fd(), false), Ok(None))
        {
            reaper::adopt(process);
        }
    }

    /// Has it do its work now. False if somebody killed it before it had done that.
    pub(crate) fn end(&mut self) -> bool {
        self.tell(Order::End);
        let Some(process) = self.process.as_ref() else { return true };
        if !wait_dead(process.as_fd(), PATIENCE) {
            self.leave();
            return true;
        }
        let done = match status_of(process.as_fd(), false) {
            Ok(Some(ended)) => ended.status.success(),
            // Reaped by somebody else: it has ended, and cannot be asked how.
            _ => false,
        };
        self.process = None;
        done
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        if self.process.is_some() {
            self.end();
        }
    }
}

fn send(
    socket: BorrowedFd<'_>,
    parent: Option<BorrowedFd<'_>>,
    body: &[u8],
    timeout: Duration,
) -> Result<(), Fault> {
    let fail = |errno| Fault::step(Step::ReceiveGrants, errno);
    if body.len() > embryo_seed::INLINE_PLAN_MAX {
        return Err(fail(Errno::TOOBIG));
    }
    let own = rustix::process::getpid();
    let owner = rustix::process::pidfd_open(own, rustix::process::PidfdFlags::empty());
    let owner = owner.map_err(|errno| fail(errno.into()))?;
    let fds: Vec<i32> =
        std::iter::once(owner.as_fd()).chain(parent).map(|fd| fd.as_raw()).collect();
    let request = Request {
        magic: Request::MAGIC,
        kind: RequestKind::Guard as u32,
        flags: RequestFlags::LIVE,
        plan_len: body.len() as u32,
        grants: fds.len() as u32,
        owner: sys::getpid(),
        timeout_ns: timeout.as_nanos().try_into().unwrap_or(0),
        ..Request::default()
    };
    sys::send_with_fds(socket.as_raw(), request.as_bytes(), body, &fds).map_err(fail)
}
