//! The first and last thing a directly made child does.
//!
//! The child runs on a stack of its own in its creator's address space while the creator's
//! threads go on running. It reads the [`Brief`], which nobody changes meanwhile, writes the
//! [`Shared`] words, and ends in exec or exit.

use crate::fault::{Fault, Step};
use crate::ops::Context;
use crate::signals::Dispositions;
use crate::start::{Image, News};
use crate::trace::Trace;
use crate::world::World;
use core::ffi::c_void;
use core::sync::atomic::{AtomicU32, Ordering};
use embryo_plan::{Plan, limits};
use embryo_syscall::{self as sys, CloseRange, Errno};

/// Descriptors below this are stdio. They are always copied: nobody writes an executable through
/// them.
pub const STDIO_END: i32 = 3;

/// How far a child has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum ChildState {
    /// Its ops are being applied.
    Building = 0,
    /// exec has been called; if the child is alive and gone from this address space, it succeeded.
    Entering = 1,
    /// It failed; the fault words say how.
    Fault = 2,
}

/// Words that child and creator share.
#[derive(Debug)]
#[repr(C)]
pub struct Shared {
    /// Not zero until the kernel clears it: the child has left this address space.
    pub tid: AtomicU32,
    state: AtomicU32,
    index: AtomicU32,
    code_and_errno: AtomicU32,
    traced: AtomicU32,
}

impl Shared {
    /// For a child about to be made.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            tid: AtomicU32::new(1),
            state: AtomicU32::new(ChildState::Building as u32),
            index: AtomicU32::new(0),
            code_and_errno: AtomicU32::new(0),
            traced: AtomicU32::new(0),
        }
    }

    /// How far the child came, and its fault if it has one.
    #[must_use]
    pub fn read(&self) -> (ChildState, Option<Fault>) {
        match self.state.load(Ordering::Acquire) {
            0 => (ChildState::Building, None),
            1 => (ChildState::Entering, None),
            _ => {
                let word = self.code_and_errno.load(Ordering::Relaxed);
                let fault = Fault {
                    index: self.index.load(Ordering::Relaxed),
                    code: (word >> 16) as u16,
                    errno: word as u16,
                };
                (ChildState::Fault, Some(fault))
            }
        }
    }

    /// How many trace records the child wrote.
    #[must_use]
    pub fn traced(&self) -> usize {
        self.traced.load(Ordering::Acquire) as usize
    }

    fn enter(&self, traced: usize) {
        self.traced.store(traced as u32, Ordering::Relaxed);
        self.state.store(ChildState::Entering as u32, Ordering::Release);
    }

    fn fail(&self, fault: Fault, traced: usize) {
        self.traced.store(traced as u32, Ordering::Relaxed);
        self.index.store(fault.index, Ordering::Relaxed);
        let word = u32::from(fault.code) << 16 | u32::from(fault.errno);
        self.code_and_errno.store(word, Ordering::Relaxed);
        self.state.store(ChildState::Fault as u32, Ordering::Release);
    }
}

impl Default for Shared {
    fn default() -> Self {
        Self::new()
    }
}

/// Everything the child has to know. The creator keeps it and what it points to alive and
/// unchanged until `shared.tid` is zero.
#[derive(Debug)]
pub struct Brief<'a> {
    /// The plan.
    pub plan: Plan<'a>,
    /// argv and envp as pointers.
    pub image: Image,
    /// Slot → descriptor in the creator; this copy is the child's to change.
    pub slots: *mut i32,
    /// How many slots.
    pub slot_count: usize,
    /// Descriptors below this number are copied into the child's table; no others are.
    pub cut: u32,
    /// Where the grants beyond stdio arrive as SCM_RIGHTS; -1 if they do not have to.
    pub mailbox: i32,
    /// The creator's pid.
    pub parent: i32,
    /// The creating thread's mask.
    pub caller_mask: u64,
    /// What dispositions the clone leaves.
    pub dispositions: Dispositions,
    /// Room for trace records.
    pub trace: *mut Trace,
    /// How many fit.
    pub trace_len: usize,
    /// The words to report in.
    pub shared: &'a Shared,
}

/// The entry of a directly made child.
///
/// # Safety
/// `brief` must be the address of a [`Brief`] that fulfils its own conditions, whose `slots` and
/// `trace` are exclusively the child's, in a child made with a private or shared descriptor table
/// and a stack of at least 32 KiB.
pub unsafe extern "C" fn enter(brief: *mut c_void) -> ! {
    // SAFETY: the caller vouches for the address and for its being left alone.
    let brief = unsafe { &*brief.cast::<Brief<'_>>() };
    // SAFETY: exclusively the child's, as the brief promises.
    let slots = unsafe { core::slice::from_raw_parts_mut(brief.slots, brief.slot_count) };
    // SAFETY: exclusively the child's, as the brief promises.
    let trace = unsafe { core::slice::from_raw_parts_mut(brief.trace, brief.trace_len) };
    let mut context = Context {
        slots,
        control: -1,
        owner: -1,
        clean_table: false,
        table_end: limits::FD_MAX.wrapping_add(1),
        parent: brief.parent,
        caller_mask: brief.caller_mask,
        dispositions: brief.dispositions,
        own: None,
        world: World::INHERITED,
        executor: None,
        results: &mut [],
        trace,
        traced: 0,
    };
    let fault = match own_descriptors(brief, &mut context) {
        Err(fault) => fault,
        Ok(()) => {
            let mut tell = |context: &Context<'_>, news| match news {
                News::Entering => {
                    brief.shared.enter(context.traced);
                    Ok(())
                }
                // Filters go through the seed.
                News::Listening(..) => Err(Errno::INVAL),
            };
            // SAFETY: the image is this plan's, as the brief promises, and the task is its child.
            unsafe { crate::run(&brief.plan, &mut context, &brief.image, &mut tell) }
        }
    };
    brief.shared.fail(fault, context.traced);
    sys::exit(127)
}

/// A table of the child's own with the grants in it and nothing from above the cut.
fn own_descriptors(brief: &Brief<'_>, context: &mut Context<'_>) -> Result<(), Fault> {
    let since = context.clock();
    let mut outcome = sys::close_range(brief.cut, u32::MAX, CloseRange::Unshare);
    if outcome.is_ok() {
        // What was copied, what arrives, and what either may have to make way to.
        let slots = context.slots.len() as u32;
        context.table_end = brief.cut.wrapping_add(slots.wrapping_mul(2)).wrapping_add(64);
    } else {
        // close_range(2) is missing or filtered. Never close in the shared table: copy it whole.
        outcome = sys::unshare_files();
    }
    context.record(Step::UnshareFds as u32, outcome, since);
    outcome.map_err(|errno| Fault::step(Step::UnshareFds, errno))?;
    if brief.mailbox < 0 {
        return Ok(());
    }
    // What lies below the mailbox was copied because the mailbox has to be. It is let go of at once:
    // another thread may be about to start what it has written there.
    if brief.mailbox > STDIO_END {
        let below = brief.mailbox.wrapping_sub(1) as u32;
        let _ = sys::close_range(STDIO_END as u32, below, CloseRange::Close);
    }
    let since = context.clock();
    let outcome = receive_grants(brief, context.slots);
    context.record(Step::ReceiveGrants as u32, outcome, since);
    outcome.map_err(|errno| Fault::step(Step::ReceiveGrants, errno))
}

/// Grants beyond stdio come in slot order, as many to a message as fit.
fn receive_grants(brief: &Brief<'_>, slots: &mut [i32]) -> Result<(), Errno> {
    let mut arrived = [-1i32; sys::SCM_MAX_FDS];
    let mut left: &[i32] = &[];
    let mut count;
    for slot in slots.iter_mut().filter(|slot| **slot >= STDIO_END) {
        if left.is_empty() {
            (_, count) = sys::recv_with_fds(brief.mailbox, &mut [0], &mut arrived, false)?;
            left = arrived.get(..count).unwrap_or(&[]);
        }
        let Some((fd, rest)) = left.split_first() else {
            return Err(Errno::BADMSG);
        };
        *slot = *fd;
        left = rest;
    }
    Ok(())
}
