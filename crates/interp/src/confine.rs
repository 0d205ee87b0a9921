//! Landlock: rules for paths as the task sees them, and the domain that it enters.

use crate::fds::Descriptors;
use embryo_plan::ConfineOp;
use embryo_syscall::{self as sys, Result};

pub(crate) fn apply(op: &ConfineOp<'_>, fds: &Descriptors<'_>) -> Result<()> {
    match *op {
        ConfineOp::LandlockPath { slot, path, access } => {
            let ruleset = fds.get(slot)?;
            let file = sys::open_path(path)?;
            let added = sys::landlock_add_path(ruleset, file, access);
            let _ = sys::close(file);
            added
        }
        ConfineOp::Landlock { slot, flags } => {
            sys::landlock_restrict_self(fds.get(slot)?, flags.bits().into())
        }
        _ => Err(sys::Errno::INVAL),
    }
}
