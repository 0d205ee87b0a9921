//! Landlock: rules for paths as the task sees them, and the domain that it enters.

use crate::fds::Descriptors;
use embryo_plan::ConfineOp;
use embryo_syscall::{self as sys, Result};

/// `LANDLOCK_ACCESS_FS_*` that a file can have.
const OF_FILES: u64 = 0b1_1100_0000_0000_0111;

pub(crate) fn apply(op: &ConfineOp<'_>, fds: &Descriptors<'_>) -> Result<()> {
    match *op {
        ConfineOp::LandlockPath { slot, path, access } => {
            let ruleset = fds.get(slot)?;
            let file = sys::open_path(path)?;
            let mut added = sys::landlock_add_path(ruleset, file, access);
            if added == Err(sys::Errno::INVAL) && access & OF_FILES != 0 {
                // What only a directory can have is left out for a file.
                added = sys::landlock_add_path(ruleset, file, access & OF_FILES);
            }
            let _ = sys::close(file);
            added
        }
        ConfineOp::Landlock { slot, flags } => {
            sys::landlock_restrict_self(fds.get(slot)?, flags.bits().into())
        }
        _ => Err(sys::Errno::INVAL),
    }
}
