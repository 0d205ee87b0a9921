//! The ops that confine an image to a part of what its user may do: Landlock.
//!
//! It must never hold what is built from them; a ruleset is a descriptor that somebody grants.

use crate::format::Entry;
#[cfg(feature = "alloc")]
use crate::op::Parts;
use crate::op::{OpCode, Slot};
use bitflags::bitflags;
use core::ffi::CStr;

bitflags! {
    /// What is written to the audit log of what a ruleset refuses. Since Linux 6.15, Landlock ABI 7.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct LandlockFlags: u16 {
        /// Nothing that the image itself is refused.
        const QUIET_IMAGE = 1;
        /// What programs are refused that the image executes, too.
        const LOG_NEW_EXEC = 2;
        /// Nothing of domains that are entered later.
        const QUIET_SUBDOMAINS = 4;
    }
}

/// Rights to files that Landlock knows, from bit 0 on.
pub const LANDLOCK_RIGHTS: &[&str] = &[
    "execute",
    "write-file",
    "read-file",
    "read-dir",
    "remove-dir",
    "remove-file",
    "make-char",
    "make-dir",
    "make-reg",
    "make-sock",
    "make-fifo",
    "make-block",
    "make-sym",
    "refer",
    "truncate",
    "ioctl-dev",
    "resolve-unix",
];

/// A change of what a process may do from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfineOp<'a> {
    /// Adds a rule to a granted Landlock ruleset, for a path as the child sees it at that moment;
    /// landlock_add_rule(2). The ruleset is the one that was granted, so it has the rule from then
    /// on for whoever else uses it.
    LandlockPath {
        /// The ruleset.
        slot: Slot,
        /// A file or directory.
        path: &'a CStr,
        /// `LANDLOCK_ACCESS_FS_*`: the bits of [`LANDLOCK_RIGHTS`].
        access: u64,
    },
    /// A granted Landlock ruleset is enforced; landlock_restrict_self(2). Needs
    /// [`Op::NoNewPrivs`](crate::Op::NoNewPrivs) or `CAP_SYS_ADMIN`. What the child does after it has to
    /// be allowed by it, the image's execution for one.
    Landlock {
        /// The ruleset.
        slot: Slot,
        /// How.
        flags: LandlockFlags,
    },
}

impl<'a> ConfineOp<'a> {
    pub(crate) fn decode(
        code: OpCode,
        entry: &Entry,
        slot: Slot,
        text: Option<&'a CStr>,
    ) -> Option<Self> {
        Some(match code {
            OpCode::LandlockPath => {
                ConfineOp::LandlockPath { slot, path: text?, access: entry.args[0].get() }
            }
            OpCode::Landlock => ConfineOp::Landlock {
                slot,
                flags: LandlockFlags::from_bits_truncate(entry.flags.get()),
            },
            _ => return None,
        })
    }

    /// The number of this op.
    #[must_use]
    pub fn code(&self) -> OpCode {
        match self {
            ConfineOp::LandlockPath { .. } => OpCode::LandlockPath,
            ConfineOp::Landlock { .. } => OpCode::Landlock,
        }
    }

    #[cfg(feature = "alloc")]
    pub(crate) fn parts(&self) -> Parts<'a> {
        match *self {
            ConfineOp::LandlockPath { slot, path, access } => Parts {
                slot: Some(slot),
                args: [access, 0, 0, 0],
                data: [Some(path.to_bytes_with_nul()), None],
                ..Parts::default()
            },
            ConfineOp::Landlock { slot, flags } => {
                Parts { slot: Some(slot), flags: flags.bits(), ..Parts::default() }
            }
        }
    }
}
