//! The calls that are still made after a filter was installed: whether it lets them through.
//!
//! A filter comes last, so what follows is known: further filters, the message with which a listener
//! is handed over, and the start. It must never refuse a filter whose answer depends on something
//! that is not known here.

use crate::check::{PlanError, Reason};
use crate::filter::{FilterOutcome, filter_outcome};
use crate::names::errno_name;
use crate::op::{FilterFlags, Op, OpCode};
use crate::view::Plan;
use core::fmt;

/// A system call: its name and number on this machine.
#[derive(Clone, Copy)]
struct Call(&'static str, u32);

/// `AUDIT_ARCH_*` of this machine, and the calls that may follow.
#[cfg(target_arch = "aarch64")]
mod machine {
    use super::Call;
    pub(super) const ARCH: u32 = 0xc000_00b7;
    pub(super) const EXECVE: Call = Call("execve", 221);
    pub(super) const EXECVEAT: Call = Call("execveat", 281);
    pub(super) const SIGRETURN: Call = Call("rt_sigreturn", 139);
    pub(super) const SECCOMP: Call = Call("seccomp", 277);
    pub(super) const SENDMSG: Call = Call("sendmsg", 211);
}
#[cfg(not(target_arch = "aarch64"))]
mod machine {
    use super::Call;
    pub(super) const ARCH: u32 = 0xc000_003e;
    pub(super) const EXECVE: Call = Call("execve", 59);
    pub(super) const EXECVEAT: Call = Call("execveat", 322);
    pub(super) const SIGRETURN: Call = Call("rt_sigreturn", 15);
    pub(super) const SECCOMP: Call = Call("seccomp", 317);
    pub(super) const SENDMSG: Call = Call("sendmsg", 46);
}

/// The call with which a plan starts its image.
fn start(plan: &Plan<'_>) -> Option<Call> {
    let last = (plan.entries().len() as u32).checked_sub(1)?;
    match plan.code(last)? {
        OpCode::ExecPath | OpCode::ExecName => Some(machine::EXECVE),
        OpCode::ExecSlot => Some(machine::EXECVEAT),
        OpCode::StartRegs => Some(machine::SIGRETURN),
        _ => None,
    }
}

/// The filters of a plan with the index of each.
fn filters<'a>(plan: &Plan<'a>) -> impl Iterator<Item = (u32, FilterFlags, &'a [u8])> {
    plan.ops().enumerate().filter_map(|(index, op)| match op {
        Some(Op::Seccomp { flags, program }) => Some((index as u32, flags, program)),
        _ => None,
    })
}

/// Refuses a filter that forbids a call which has to be made after it.
pub(crate) fn check(plan: &Plan<'_>) -> Result<(), PlanError> {
    let Some(start) = start(plan) else { return Ok(()) };
    for (index, flags, program) in filters(plan) {
        let forbids = |call: Call, may_wait: bool| {
            let answer = match filter_outcome(program, machine::ARCH, call.1, &[None; 6]) {
                FilterOutcome::Refused(answer) => answer,
                // Without a listener it is ENOSYS, and without an answer it lasts.
                FilterOutcome::Notified if !flags.contains(FilterFlags::LISTENER) || !may_wait => {
                    NOTIFY
                }
                _ => return Ok(()),
            };
            let reason = Reason::FilterForbids(call.0, answer);
            Err(PlanError { entry: Some(index), code: Some(OpCode::Seccomp), reason })
        };
        let mut listeners = filters(plan)
            .filter(|(at, flags, _)| *at >= index && flags.contains(FilterFlags::LISTENER));
        if listeners.next().is_some() {
            forbids(machine::SENDMSG, false)?;
        }
        if filters(plan).any(|(at, ..)| at > index) {
            forbids(machine::SECCOMP, true)?;
        }
        forbids(start, true)?;
    }
    Ok(())
}

impl Plan<'_> {
    /// Whether one of its filters has a listener.
    #[must_use]
    pub fn has_listener(&self) -> bool {
        filters(self).any(|(_, flags, _)| flags.contains(FilterFlags::LISTENER))
    }

    /// Whether a call that it makes after the listener was handed over, the start or the installation of a
    /// further filter, waits for an answer of whoever has the listener.
    #[must_use]
    pub fn start_is_notified(&self) -> bool {
        let Some(start) = start(self) else { return false };
        let notified = |program, call: Call| {
            let outcome = filter_outcome(program, machine::ARCH, call.1, &[None; 6]);
            outcome == FilterOutcome::Notified
        };
        filters(self).any(|(index, flags, program)| {
            let more = filters(self).any(|(at, ..)| at > index);
            flags.contains(FilterFlags::LISTENER)
                && (notified(program, start) || more && notified(program, machine::SECCOMP))
        })
    }
}

const NOTIFY: u32 = 0x7fc0_0000;

/// What a filter does to a call, in words.
pub(crate) fn forbidden(f: &mut fmt::Formatter<'_>, call: &str, answer: u32) -> fmt::Result {
    write!(f, "the filter forbids {call}(2), which has to be called after it: it ")?;
    match answer & 0xffff_0000 {
        0x0005_0000 => match errno_name(answer & 0xffff) {
            Some(name) => write!(f, "answers {name}"),
            None => write!(f, "answers errno {}", answer & 0xffff),
        },
        0x0003_0000 => f.write_str("sends SIGSYS"),
        NOTIFY => f.write_str("notifies a listener that nobody has yet"),
        _ => f.write_str("kills"),
    }
}
