//! What the fuzz targets share: plans out of arbitrary bytes, plans made harmless, and a look at
//! what a launch must not have changed.
//!
//! It must never repair a plan for the checker's sake in a way that hides a refusal: the targets
//! see both what was accepted and what was not.
#![forbid(unsafe_code)]

mod caller;
mod description;
mod harmless;
mod mount;
mod namespace;
mod socket;

pub use caller::Caller;
pub use description::Description;
pub use harmless::{Grants, harmless, harmless_for_nobody};
pub use socket::{Socket, pair};

use embryo::{Op, Plan, PlanBuilder, PlanView};

/// Builds again what a checked plan says, from what can be read of it.
///
/// # Panics
/// If the builder refuses it, which would be a mistake of the builder's or the checker's.
#[must_use]
pub fn reencode(plan: &PlanView<'_>) -> Plan {
    let mut builder = if plan.is_batch() { PlanBuilder::batch() } else { PlanBuilder::new() };
    for _ in 0..plan.slots() {
        builder.slot();
    }
    builder.keep(plan.keep());
    for op in plan.ops() {
        builder.op(&op.expect("an op of a checked plan decodes"));
    }
    plan.argv().for_each(|arg| _ = builder.arg(arg.to_bytes()));
    plan.envp().for_each(|string| _ = builder.env_string(string.to_bytes()));
    builder.build_in_order().expect("what is read from a plan makes a plan")
}

/// The ops of a plan as a batch, all of them or those on memory, as far as they make one. Ops on memory come
/// last in a plan, and are seldom reached where one in front of them fails.
#[must_use]
pub fn as_batch(plan: &PlanView<'_>, on_memory: bool) -> Option<Plan> {
    let mut batch = PlanBuilder::batch();
    for _ in 0..plan.slots() {
        batch.slot();
    }
    for op in plan.ops().flatten().filter(|op| !is_start(op) && (!on_memory || is_on_memory(op))) {
        batch.op(&op);
    }
    batch.build_in_order().ok()
}

fn is_start(op: &Op<'_>) -> bool {
    use Op::{ExecName, ExecPath, ExecSlot, StartRegs};
    matches!(op, ExecPath { .. } | ExecSlot { .. } | ExecName { .. } | StartRegs { .. })
}

fn is_on_memory(op: &Op<'_>) -> bool {
    (0x0701..=0x070d).contains(&(op.code() as u16))
}
