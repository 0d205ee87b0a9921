//! What makes the ops that confine an image sound: their ranges, and what a plan has of them.

use super::{PlanError, Reason};
use crate::limits;
use crate::op::{ConfineOp, FilterFlags, LANDLOCK_RIGHTS, Op};
use crate::view::Plan;

/// The filters of a plan so far.
#[derive(Default)]
pub(super) struct Filters {
    count: u32,
    listener: bool,
}

impl Filters {
    pub(super) fn admit(&mut self, flags: FilterFlags) -> Result<(), Reason> {
        if self.count == limits::FILTERS_MAX {
            return Err(Reason::TooManyFilters);
        }
        self.count += 1;
        if flags.contains(FilterFlags::LISTENER) {
            if self.listener {
                return Err(Reason::TwoListeners);
            }
            self.listener = true;
        }
        Ok(())
    }

    pub(super) fn any(&self) -> bool {
        self.count > 0
    }

    /// Whether only a start by exec can install them.
    pub(super) fn need_exec(&self) -> bool {
        self.count > 1 || self.listener
    }
}

pub(super) fn check_filter_flags(flags: FilterFlags) -> Result<(), Reason> {
    if flags.contains(FilterFlags::WAIT_KILLABLE) && !flags.contains(FilterFlags::LISTENER) {
        return Err(Reason::OutOfRange("a flag (wait-killable without a listener)"));
    }
    Ok(())
}

pub(super) fn check_range(op: &ConfineOp<'_>) -> Result<(), Reason> {
    match *op {
        ConfineOp::LandlockPath { access, .. } => {
            if access == 0 || access >> LANDLOCK_RIGHTS.len() != 0 {
                return Err(Reason::OutOfRange("the access"));
            }
            Ok(())
        }
        ConfineOp::Landlock { .. } => Ok(()),
    }
}

/// A rule without effect would be one that somebody counts on. In a batch the ruleset may be
/// enforced later.
pub(super) fn check(plan: &Plan<'_>) -> Result<(), PlanError> {
    if plan.is_batch() {
        return Ok(());
    }
    let enforced = plan.ops().flatten().find_map(|op| match op {
        Op::Confine(ConfineOp::Landlock { slot, .. }) => Some(slot),
        _ => None,
    });
    for (index, op) in plan.ops().flatten().enumerate() {
        if let Op::Confine(ConfineOp::LandlockPath { slot, .. }) = op
            && Some(slot) != enforced
        {
            let reason = Reason::RulesetUnused;
            return Err(PlanError { entry: Some(index as u32), code: Some(op.code()), reason });
        }
    }
    Ok(())
}
