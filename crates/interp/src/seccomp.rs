//! The filter of system calls, which is installed last of all: what is called after it has to pass
//! it. It must never stand in the way of what a build still has to do.

use crate::fault::Fault;
use embryo_plan::{FilterFlags, Op, Plan};
use embryo_syscall::{self as sys, LeapFilter};

fn kernel_flags(flags: FilterFlags) -> u32 {
    const LOG: u32 = 2;
    const SPEC_ALLOW: u32 = 4;
    let bit = |flag, bit| if flags.contains(flag) { bit } else { 0 };
    bit(FilterFlags::LOG, LOG) | bit(FilterFlags::SPEC_ALLOW, SPEC_ALLOW)
}

/// The filter of a plan with the index of its op. It stands right before the start.
fn find<'a>(plan: &Plan<'a>) -> Option<(u32, Op<'a>)> {
    let index = (plan.entries().len() as u32).checked_sub(2)?;
    let op = plan.op(index)?;
    matches!(op, Op::Seccomp { .. } | Op::SeccompStrict).then_some((index, op))
}

/// The filter of a plan, as it is taken along into an address space.
pub(crate) fn of<'a>(plan: &Plan<'a>) -> LeapFilter<'a> {
    match find(plan) {
        Some((_, Op::Seccomp { flags, program })) => {
            LeapFilter::Program(kernel_flags(flags), program)
        }
        Some(_) => LeapFilter::Strict,
        None => LeapFilter::None,
    }
}

/// Whether it would be taken, where it can be told only beforehand. The program itself was checked
/// with the plan.
pub(crate) fn allowed(plan: &Plan<'_>) -> Result<(), Fault> {
    let Some((index, op)) = find(plan) else { return Ok(()) };
    let allowed = match op {
        Op::Seccomp { flags, .. } => sys::seccomp_filter_allowed(kernel_flags(flags)),
        _ => sys::seccomp_strict_allowed(),
    };
    allowed.map_err(|errno| Fault::op(index, op.code(), errno))
}

/// Installs it in the calling task.
pub(crate) fn install(plan: &Plan<'_>) -> Result<(), Fault> {
    let Some((index, op)) = find(plan) else { return Ok(()) };
    let installed = match op {
        Op::Seccomp { flags, program } => sys::seccomp_filter(kernel_flags(flags), program),
        _ => Err(sys::Errno::INVAL),
    };
    installed.map_err(|errno| Fault::op(index, op.code(), errno))
}
