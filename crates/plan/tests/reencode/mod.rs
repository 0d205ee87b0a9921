//! Plans put together again from what can be read of them.
//!
//! It must never copy bytes over: that the builder makes the same ones is the point.

use embryo_plan::{Op, OwnedPlan, Plan, PlanBuilder};

/// Builds again what a checked plan says, from what can be read of it.
pub(crate) fn reencode(plan: &Plan<'_>) -> OwnedPlan {
    let mut builder = if plan.is_batch() { PlanBuilder::batch() } else { PlanBuilder::new() };
    for _ in 0..plan.slots() {
        builder.slot();
    }
    builder.keep(plan.keep());
    for op in ops(plan) {
        builder.op(&op);
    }
    plan.argv().for_each(|arg| _ = builder.arg(arg.to_bytes()));
    plan.envp().for_each(|string| _ = builder.env_string(string.to_bytes()));
    builder.build_in_order().expect("what is read from a plan makes a plan")
}

/// The ops of a checked plan, all of which decode.
pub(crate) fn ops<'a>(plan: &Plan<'a>) -> Vec<Op<'a>> {
    plan.ops().map(|op| op.expect("an op of a checked plan decodes")).collect()
}
