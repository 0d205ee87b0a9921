//! A child process as a value.
//!
//! A [`Plan`] is an ordered list of [`Op`]s, a number of grant slots and an image to start. It is
//! one block of bytes (`docs/plan-format.md` gives every one of them) that is read in place.
//! [`RawPlan`] is bytes that somebody alleges to be a plan; [`RawPlan::check`] is the only way from
//! one to the other, and whatever holds a [`Plan`] need not look again.
//!
//! This crate makes no system call and has no unsafe code. It must never learn who executes a plan.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(any(feature = "alloc", test))]
extern crate alloc;

#[cfg(feature = "alloc")]
mod build;
mod check;
mod explain;
mod filter;
mod following;
mod format;
mod layout;
pub mod limits;
mod names;
mod op;
mod regset;
mod view;

#[cfg(feature = "alloc")]
pub use build::{BuildError, OwnedPlan, PlanBuilder};
pub use check::{PlanError, RawPlan, Reason};
pub use explain::{ArgText, Explained};
pub use filter::{FilterOutcome, INSTRUCTION_BYTES, check_filter, filter_outcome};
pub use format::{
    DataRef, ENTRY_LEN, Entry, HEADER_LEN, Header, ListRef, MAGIC, PlanFlags, VERSION,
};
pub use layout::Layout;
pub use names::{
    capability_name, errno_name, memory_policy_name, resource_name, sched_policy_name,
    securebit_name, signal_name,
};
pub use op::{
    Access, CapSets, CgroupOp, ConfineOp, ExecFlags, FilterFlags, IdRange, Keep, LANDLOCK_RIGHTS,
    LandlockFlags, MapFlags, MountFlags, MountOp, NO_SLOT, NamespaceOp, Namespaces, Op, OpCode,
    Place, PrivilegeOp, Route, Slot, Spread, UserFlags, layers,
};
pub use regset::{
    ARM_STATE_BYTES, ArmRegs, Regset, X86_COMPONENTS, X86_EXTENDED_BYTES, X86_LEGACY_BYTES,
    X86Regs, ranges,
};
pub use view::{Ops, Plan, StrList};
