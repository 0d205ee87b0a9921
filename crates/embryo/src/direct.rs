//! The direct executor: what the caller does around one clone.
//!
//! It must never run a plan whose ops would reach the caller through the shared memory; `spawn.rs`
//! sends those to the seed.

use crate::error::Fault;
use crate::mailbox::Mailbox;
use crate::moving::Below;
use crate::process::WALL;
use embryo_interp::{Arena, End, Launch, Launched, STDIO_END, Step};
use embryo_plan::OwnedPlan;
use embryo_syscall::{self as sys, Errno};
use rustix::fd::AsFd;
use std::cell::Cell;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;

thread_local! {
    /// This thread's arena between two launches.
    static ARENA: Cell<Option<Arena>> = const { Cell::new(None) };
}

/// waitid(2): WEXITED, WNOHANG and WNOWAIT.
const LOOK: u32 = 4 | 1 | 0x0100_0000;

/// What a direct launch came to.
#[derive(Debug)]
pub(crate) struct Direct {
    pub(crate) launched: Launched,
    /// Descriptors below this were copied.
    pub(crate) cut: u32,
    /// Whether the cut had to rise over a grant, because no mailbox could be had.
    pub(crate) cut_raised: bool,
    /// The listener of the plan's filter, if it has one.
    pub(crate) listener: Option<OwnedFd>,
    /// What is below the handle.
    pub(crate) below: Below,
    /// What went wrong in this process, if something did.
    pub(crate) detail: Option<String>,
}

impl Direct {
    /// What a launch came to of which nothing more is known.
    pub(crate) fn new(launched: Launched, cut: u32, cut_raised: bool) -> Self {
        let below = Below::default();
        Self { launched, cut, cut_raised, listener: None, below, detail: None }
    }
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
    let arena = take_arena(plan, trace)?;
    let (cut, mailbox, cut_raised) = send_grants(grants)?;
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
    Ok(Direct::new(launched, cut, cut_raised))
}

fn take_arena(plan: &OwnedPlan, trace: bool) -> Result<Arena, Fault> {
    let plan = plan.as_plan();
    match ARENA.try_with(Cell::take).ok().flatten() {
        Some(arena) if arena.fits(&plan, trace) => Ok(arena),
        _ => Arena::new(&plan, trace).map_err(|errno| Fault::step(Step::Prepare, errno)),
    }
}

/// Decides how far the child's table reaches, and sends the grants beyond stdio.
fn send_grants(grants: &[i32]) -> Result<(u32, Option<Mailbox>, bool), Fault> {
    let beyond: Vec<i32> = grants.iter().copied().filter(|fd| *fd >= STDIO_END).collect();
    let Some(highest) = beyond.iter().max() else {
        return Ok((STDIO_END as u32, None, false));
    };
    let sent = Mailbox::take().and_then(|mailbox| match mailbox.send(&beyond) {
        Ok(()) => Ok(mailbox),
        Err(errno) => {
            mailbox.give_back();
            Err(errno)
        }
    });
    match sent {
        Ok(mailbox) => {
            let (cut, high) = (mailbox.child_number() as u32 + 1, mailbox.is_high());
            Ok((cut, Some(mailbox), high))
        }
        Err(Errno::BADF) => Err(Fault::step(Step::ReceiveGrants, Errno::BADF)),
        // No socket or no room for descriptors in flight: copy the table as far as it takes.
        Err(_) => Ok((*highest as u32 + 1, None, true)),
    }
}

/// Whether a directly made child that called exec, and has left our address space, is the image now.
///
/// It was made without an exit signal, and exec gives it one (see `interp`): a wait that is not
/// for all kinds of children knows it only then.
pub(crate) fn entered(pidfd: impl AsFd) -> Entered {
    let known = |kinds| sys::waitid_pidfd(pidfd.as_fd().as_raw_fd(), LOOK | kinds).is_ok();
    // Neither: somebody reaped it already, as can only happen to the image.
    if !known(0) && known(WALL) { Entered::DiedBefore } else { Entered::Started }
}

/// Whether clone(2) has to serve here instead of clone3(2).
pub(crate) fn clone_is_legacy() -> bool {
    embryo_interp::clone3_refused()
}
