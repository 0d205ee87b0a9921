//! Dispositions: what a clone leaves of them, and setting them as the image is to find them.
//!
//! exec turns handled signals to their default action and leaves ignored ones ignored. Which those
//! are cannot be asked for at once, so a plan that keeps none costs a call for each of 62 signals. (Letting
//! the creator, which only waits, look for half of them was tried and gained nothing: it runs on
//! the CPU that the child is waiting for.)

use embryo_plan::{Keep, Op, Plan};
use embryo_syscall::{self as sys, Disposition, Errno};

/// SIGKILL and SIGSTOP, which have no disposition that could be set.
const FIXED: u64 = 1 << 8 | 1 << 18;

/// What dispositions a task may have when its build begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dispositions {
    /// All are what they are to be, but for what the plan names: an embryo that was built in
    /// several steps, whose dispositions were reset when it was made.
    Settled,
    /// Some may be ignored (after clone3 with CLEAR_SIGHAND, or after an exec).
    SomeIgnored,
    /// Some may be ignored and some handled (clone without CLEAR_SIGHAND).
    Any,
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

/// Sets every signal to its default action.
pub fn reset_dispositions() -> Result<(), Errno> {
    set_default(!0)
}

/// Ignores these signals.
pub fn ignore_signals(set: u64) -> Result<(), Errno> {
    signals_of(set & !FIXED)
        .try_for_each(|signal| sys::set_disposition(signal, Disposition::Ignore))
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
pub(crate) fn set_dispositions(wanted: &Wanted, before: Dispositions) -> Result<(), Errno> {
    match (before, wanted.keep_except) {
        (Dispositions::Settled, keep_except) => set_default(keep_except.unwrap_or(0))?,
        (Dispositions::SomeIgnored, None) => set_default(!wanted.ignored)?,
        (Dispositions::SomeIgnored, Some(except)) => {
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
    ignore_signals(wanted.ignored)
}
