//! Dispositions: what a clone leaves of them, and setting them as the image is to find them.
//!
//! exec turns handled signals to their default action and leaves ignored ones ignored, so those
//! have to be found. Asking for one costs a system call, and there are 62. After the clone the
//! creator has nothing to do but wait, so it asks too: both sides take signals from one
//! [`Survey`] until none is left.

use core::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use embryo_plan::{Keep, Op, Plan};
use embryo_syscall::{self as sys, Disposition, Errno};

/// SIGKILL and SIGSTOP, which have no disposition that could be set.
const FIXED: u64 = 1 << 8 | 1 << 18;

/// What dispositions a task may have when its build begins.
#[derive(Clone, Copy, Debug)]
pub enum Dispositions<'a> {
    /// All are the default already, but for ignored ones that its creator was told to keep.
    Default,
    /// Some may be ignored (clone3 with CLEAR_SIGHAND); the creator helps to find them.
    SomeIgnored(&'a Survey),
    /// Some may be ignored and some handled (clone without CLEAR_SIGHAND).
    Any,
}

/// The search for ignored signals, shared by creator and child. One word each, so that neither ever
/// waits for the other: what the creator has begun and not finished, the child does itself.
#[derive(Debug, Default)]
pub struct Survey {
    /// Signals that somebody has taken, as a count from the top.
    taken: AtomicU32,
    /// Signals that the creator has looked at; bit n-1 is signal n.
    seen: AtomicU64,
    /// Those among them that are ignored.
    ignored: AtomicU64,
}

/// Signals that are taken at a time.
const CHUNK: u32 = 4;

impl Survey {
    /// Nothing looked at yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { taken: AtomicU32::new(0), seen: AtomicU64::new(0), ignored: AtomicU64::new(0) }
    }

    /// The next signals to look at, as a set.
    fn take(&self) -> Option<u64> {
        let from = self.taken.fetch_add(CHUNK, Ordering::Relaxed);
        (from < 64).then(|| ((1 << CHUNK) - 1) << from)
    }

    /// The creator's part: looks at its own dispositions until all are taken.
    pub fn help(&self) {
        while let Some(chunk) = self.take() {
            for signal in signals_of(chunk & !FIXED) {
                if sys::get_disposition(signal) == Ok(Disposition::Ignore) {
                    self.ignored.fetch_or(bit(signal), Ordering::Relaxed);
                }
            }
            self.seen.fetch_or(chunk, Ordering::Release);
        }
    }

    /// The child's part: sets what it takes to the default, then what the creator found, then what
    /// the creator has not finished.
    fn reset(&self, except: u64) -> Result<(), Errno> {
        let mut own = 0;
        while let Some(chunk) = self.take() {
            set_default(chunk & !except)?;
            own |= chunk;
        }
        let seen = self.seen.load(Ordering::Acquire);
        let ignored = self.ignored.load(Ordering::Relaxed);
        set_default((ignored | !seen) & !own & !except)
    }
}

fn bit(signal: u32) -> u64 {
    1 << (signal.wrapping_sub(1) & 63)
}

/// The numbers in a set.
fn signals_of(set: u64) -> impl Iterator<Item = u32> {
    (1..=64u32).filter(move |signal| set & bit(*signal) != 0)
}

fn set_default(set: u64) -> Result<(), Errno> {
    signals_of(set & !FIXED)
        .try_for_each(|signal| sys::set_disposition(signal, Disposition::Default))
}

/// What a plan says of signals, with the defaults where it says nothing: none kept ignored, none
/// ignored, none blocked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    /// Ignored signals stay so, but for these.
    keep_except: Option<u64>,
    ignored: u64,
    pub(crate) mask: u64,
}

impl Wanted {
    pub(crate) fn by(plan: &Plan<'_>, caller_mask: u64) -> Self {
        let keep = plan.keep();
        let keeps = keep.contains(Keep::IGNORED_SIGNALS);
        let mask = if keep.contains(Keep::SIGNAL_MASK) { caller_mask } else { 0 };
        let mut wanted = Self { keep_except: keeps.then_some(0), ignored: 0, mask };
        for op in plan.ops().flatten() {
            match op {
                Op::SignalIgnore { set } => wanted.ignored = set,
                Op::SignalMask { set } => wanted.mask = set,
                Op::SignalDefault { set } => wanted.keep_except = Some(set),
                _ => {}
            }
        }
        wanted
    }
}

/// Sets the dispositions that a plan wants, given what they may be.
pub(crate) fn set_dispositions(wanted: &Wanted, before: &Dispositions<'_>) -> Result<(), Errno> {
    match (before, wanted.keep_except) {
        (Dispositions::Default, None) => {}
        (Dispositions::SomeIgnored(survey), None) => survey.reset(wanted.ignored)?,
        (Dispositions::Default | Dispositions::SomeIgnored(_), Some(except)) => {
            set_default(except)?;
        }
        (Dispositions::Any, keep_except) => {
            let kept = keep_except.map_or(0, |except| !except);
            for signal in signals_of(!wanted.ignored & !FIXED) {
                let keep =
                    kept & bit(signal) != 0 && sys::get_disposition(signal)? == Disposition::Ignore;
                if !keep {
                    sys::set_disposition(signal, Disposition::Default)?;
                }
            }
        }
    }
    signals_of(wanted.ignored & !FIXED)
        .try_for_each(|signal| sys::set_disposition(signal, Disposition::Ignore))
}
