//! The filters of system calls, which are installed last of all: what is called after one has to pass
//! it. It must never stand in the way of what a build still has to do.

use crate::fault::Fault;
use embryo_plan::{FilterFlags, Op, Plan};
use embryo_syscall::{self as sys, Errno, LeapFilter};

fn kernel_flags(flags: FilterFlags) -> u32 {
    const LOG: u32 = 2;
    const SPEC_ALLOW: u32 = 4;
    const NEW_LISTENER: u32 = 8;
    const WAIT_KILLABLE_RECV: u32 = 32;
    let bit = |flag, bit| if flags.contains(flag) { bit } else { 0 };
    bit(FilterFlags::LOG, LOG)
        | bit(FilterFlags::SPEC_ALLOW, SPEC_ALLOW)
        | bit(FilterFlags::LISTENER, NEW_LISTENER)
        | bit(FilterFlags::WAIT_KILLABLE, WAIT_KILLABLE_RECV)
}

/// The filters of a plan with the index of each, in the order in which they are installed.
fn all<'a>(plan: &Plan<'a>) -> impl Iterator<Item = (u32, Op<'a>)> {
    plan.ops().enumerate().filter_map(|(index, op)| match op {
        Some(op @ (Op::Seccomp { .. } | Op::SeccompStrict)) => Some((index as u32, op)),
        _ => None,
    })
}

/// The filter of a plan, as it is taken along into an address space; the checker lets no plan with
/// such a start have two.
pub(crate) fn of<'a>(plan: &Plan<'a>) -> LeapFilter<'a> {
    match all(plan).next() {
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
    let Some((index, op)) = all(plan).next() else { return Ok(()) };
    let allowed = match op {
        Op::Seccomp { flags, .. } => sys::seccomp_filter_allowed(kernel_flags(flags)),
        _ => sys::seccomp_strict_allowed(),
    };
    allowed.map_err(|errno| Fault::op(index, op.code(), errno))
}

/// Installs them in the calling task; `listening` gets the listener of the one that has it, before
/// anything else is called.
pub(crate) fn install(
    plan: &Plan<'_>,
    listening: &mut dyn FnMut(u32, i32) -> Result<(), Errno>,
) -> Result<(), Fault> {
    for (index, op) in all(plan) {
        let installed = match op {
            Op::Seccomp { flags, program } => {
                let installed = sys::seccomp_filter(kernel_flags(flags), program);
                match installed {
                    Ok(fd) if flags.contains(FilterFlags::LISTENER) => listening(index, fd),
                    other => other.map(drop),
                }
            }
            _ => Err(Errno::INVAL),
        };
        installed.map_err(|errno| Fault::op(index, op.code(), errno))?;
    }
    Ok(())
}
