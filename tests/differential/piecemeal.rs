//! A command taken apart: an embryo is told its ops one by one, each in a message of its own, and then
//! started by what is left of the plan.
//!
//! It must never hand over two ops at once, nor with an op a descriptor that is another's.

use crate::launch::PATIENCE;
use embryo::{Command, Embryo, Keep, Op, OpCode, Plan, PlanView, Slot, SpawnOptions};
use embryo_tests::CallerState;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Launches it and waits for its end.
pub(super) fn launch(command: &Command) {
    let (plan, grants) = command.plan().expect("it is a plan");
    let view = plan.as_plan();
    let options = SpawnOptions::new().timeout(PATIENCE);
    let mut embryo = Embryo::create_with(options).expect("an embryo can be made");
    for op in view.ops().flatten().filter(|op| !stays(op)) {
        let (op, lent) = lent(op, &grants);
        embryo.apply(&op, lent.as_slice()).unwrap_or_else(|error| panic!("{error}"));
    }
    let (rest, lent) = rest(&view, &grants);
    let started = embryo.start(&rest, &lent);
    let mut process = started.unwrap_or_else(|(error, _)| panic!("{error}"));
    let status = process.wait_timeout(PATIENCE).expect("it can be waited for");
    assert!(status.is_some_and(|status| status.success()), "{status:?}");
}

/// Whether an op is part of the start: the image, and what is set right before it.
fn stays(op: &Op<'_>) -> bool {
    use OpCode::{ExecName, ExecPath, ExecSlot, SignalDefault, SignalIgnore, SignalMask};
    [ExecName, ExecPath, ExecSlot, SignalDefault, SignalIgnore, SignalMask].contains(&op.code())
}

/// The op as it is said alone, and the one descriptor that it means.
fn lent<'a>(op: Op<'a>, grants: &'a [OwnedFd]) -> (Op<'a>, Vec<BorrowedFd<'a>>) {
    let only = Slot(0);
    let (op, slot) = match op {
        Op::PutFd { slot, fd } => (Op::PutFd { slot: only, fd }, slot),
        Op::ChdirSlot { slot } => (Op::ChdirSlot { slot: only }, slot),
        Op::ChrootSlot { slot } => (Op::ChrootSlot { slot: only }, slot),
        Op::ControllingTty { slot } => (Op::ControllingTty { slot: only }, slot),
        Op::Foreground { slot } => (Op::Foreground { slot: only }, slot),
        Op::ExecSlot { slot, flags } => (Op::ExecSlot { slot: only, flags }, slot),
        other => return (other, Vec::new()),
    };
    (op, vec![grants[slot.0 as usize].as_fd()])
}

/// What starts it. The embryo's working directory, umask and session are those that it has by now. It
/// ignores no signal, so what the command would keep ignored of its caller's is said.
fn rest<'a>(plan: &PlanView<'a>, grants: &'a [OwnedFd]) -> (Plan, Vec<BorrowedFd<'a>>) {
    let mut rest = Plan::builder();
    let mut ignored = 0;
    if plan.keep().contains(Keep::IGNORED_SIGNALS) {
        let here = CallerState::capture().report.signals.ignored;
        ignored = here.iter().fold(0u64, |set, signal| set | 1 << (signal - 1));
    }
    let mut fds = Vec::new();
    for op in plan.ops().flatten().filter(stays) {
        match op {
            Op::SignalDefault { set } => ignored &= !set,
            Op::SignalIgnore { set } => ignored |= set,
            op => {
                let (op, lent) = lent(op, grants);
                lent.iter().for_each(|_| _ = rest.slot());
                fds.extend(lent);
                rest.op(&op);
            }
        }
    }
    rest.keep(plan.keep().difference(Keep::IGNORED_SIGNALS));
    rest.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    rest.op(&Op::SignalIgnore { set: ignored });
    plan.argv().for_each(|arg| _ = rest.arg(arg.to_bytes()));
    plan.envp().for_each(|string| _ = rest.env_string(string.to_bytes()));
    (rest.build().expect("what is left is a plan"), fds)
}
