//! The direct executor: what the caller does around one clone.
//!
//! It must never run a plan whose ops would reach the caller through the shared memory; `spawn.rs`
//! sends those to the seed.

use crate::error::Fault;
use crate::mailbox::Mailbox;
use crate::procfs;
use embryo_interp::{Arena, End, Launch, Launched, Step};
use embryo_plan::OwnedPlan;
use embryo_syscall::{self as sys, Errno};
use rustix::fd::{AsFd, BorrowedFd};
use std::cell::Cell;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

/// Descriptors 0, 1 and 2 are always copied: nobody writes an executable through them.
const STDIO_END: u32 = 3;

thread_local! {
    /// This thread's arena between two launches.
    static ARENA: Cell<Option<Arena>> = const { Cell::new(None) };
}

/// What a direct launch came to.
#[derive(Debug)]
pub(crate) struct Direct {
    pub(crate) launched: Launched,
    /// Descriptors below this were copied.
    pub(crate) cut: u32,
    /// Whether the cut had to rise over a grant, because no mailbox could be had.
    pub(crate) cut_raised: bool,
}

/// How a launch that called exec has turned out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entered {
    Started,
    DiedBefore,
}

/// Launches a plan with these grants.
pub(crate) fn launch(
    plan: &OwnedPlan,
    grants: &[i32],
    timeout: Duration,
    trace: bool,
) -> Result<Direct, Fault> {
    let (cut, mailbox, cut_raised) = send_grants(grants)?;
    let arena = take_arena(plan, trace)?;
    let request = Launch {
        plan,
        grants,
        cut,
        mailbox: mailbox.as_ref().map_or(-1, Mailbox::child_number),
        timeout,
        trace,
    };
    let (outcome, arena) = embryo_interp::launch(&request, arena);
    if let Some(arena) = arena {
        // In a thread that is ending there is no place for it any more.
        let _ = ARENA.try_with(|kept| kept.set(Some(arena)));
    }
    if let Some(mailbox) = mailbox {
        if !matches!(outcome, Ok(Launched { end: End::Entered, .. })) {
            mailbox.empty();
        }
        mailbox.give_back();
    }
    let launched = outcome?;
    Ok(Direct { launched, cut, cut_raised })
}

fn take_arena(plan: &OwnedPlan, trace: bool) -> Result<Arena, Fault> {
    let plan = plan.as_plan();
    match ARENA.try_with(Cell::take).ok().flatten() {
        Some(arena) if arena.fits(&plan, trace) => Ok(arena),
        _ => Arena::new(&plan, trace).map_err(|errno| Fault::step(Step::Prepare, errno)),
    }
}

/// Decides how far the child's table reaches, and sends the grants that lie beyond.
fn send_grants(grants: &[i32]) -> Result<(u32, Option<Mailbox>, bool), Fault> {
    let end = |grants: &[i32]| grants.iter().map(|fd| *fd as u32 + 1).max().unwrap_or(0);
    let all = end(grants);
    if all <= STDIO_END {
        return Ok((STDIO_END, None, false));
    }
    let sent = Mailbox::take().and_then(|mailbox| {
        let cut = mailbox.child_number() as u32 + 1;
        let beyond: Vec<i32> = grants.iter().copied().filter(|fd| *fd as u32 >= cut).collect();
        match mailbox.send(&beyond) {
            Ok(()) => Ok((cut.max(STDIO_END), mailbox)),
            Err(errno) => {
                mailbox.give_back();
                Err(errno)
            }
        }
    });
    match sent {
        Ok((cut, mailbox)) => Ok((cut, Some(mailbox), false)),
        Err(Errno::BADF) => Err(Fault::step(Step::ReceiveGrants, Errno::BADF)),
        // No socket or no room for descriptors in flight: copy the table as far as it takes.
        Err(_) => Ok((all.max(STDIO_END), None, true)),
    }
}

/// Whether a child that called exec is the image now. `before` tells from /proc/PID/stat of a dead
/// one that it died as what it was before.
pub(crate) fn entered(
    pidfd: impl AsFd,
    pid: i32,
    timeout: Duration,
    before: impl Fn(&procfs::Stat) -> bool,
) -> Entered {
    let fd = pidfd.as_fd();
    match sys::process_mrelease(fd.as_raw_fd()) {
        // It has an address space and means to keep it, and it is no longer ours.
        Err(Errno::INVAL) => return Entered::Started,
        // Dying or dead: once it is dead, what /proc says of it is final.
        Ok(()) | Err(Errno::SRCH) => {
            crate::process::wait_dead(fd, timeout);
        }
        // Before Linux 5.15, or filtered: /proc has to tell in any case.
        Err(_) => return entered_by_proc(fd, pid, timeout, before),
    }
    match procfs::stat(pid) {
        Some(stat) if before(&stat) => Entered::DiedBefore,
        // Somebody reaped it already (an ignored SIGCHLD does): how it began cannot be known.
        _ => Entered::Started,
    }
}

/// The same from /proc alone. exec lets go of the old address space a moment before it changes what
/// /proc shows, so a child that looks unborn and lives is looked at again.
fn entered_by_proc(
    pidfd: BorrowedFd<'_>,
    pid: i32,
    timeout: Duration,
    before: impl Fn(&procfs::Stat) -> bool,
) -> Entered {
    let begun = Instant::now();
    loop {
        // Asked first: what /proc says after a death is final.
        let dead = crate::process::wait_dead(pidfd, Duration::ZERO);
        match procfs::stat(pid) {
            Some(stat) if before(&stat) && dead => return Entered::DiedBefore,
            Some(stat) if before(&stat) && begun.elapsed() < timeout => {
                std::thread::sleep(Duration::from_micros(20));
            }
            _ => return Entered::Started,
        }
    }
}

/// Whether clone(2) has to serve here instead of clone3(2).
pub(crate) fn clone_is_legacy() -> bool {
    embryo_interp::clone3_refused()
}
