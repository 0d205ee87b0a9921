//! The ops on where a process belongs from its first moment on: cgroups(7), and who ends it.

#[cfg(feature = "alloc")]
use super::Parts;
use super::{OpCode, Slot};
use crate::format::Entry;

/// A tie to something outside the process. They come before all that it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupOp {
    /// Into a granted cgroup of version 2: "0" to its `cgroup.procs`.
    Join {
        /// The cgroup's directory.
        slot: Slot,
    },
    /// To a guardian, which kills the process when its owner ends or lets go of it: it is sent the
    /// process's pidfd and has to say that it has it.
    Tie {
        /// A socket of the guardian's.
        slot: Slot,
    },
}

impl CgroupOp {
    pub(crate) fn decode(code: OpCode, entry: &Entry) -> Option<Self> {
        let slot = Slot(entry.slot.get());
        match code {
            OpCode::CgroupJoin => Some(Self::Join { slot }),
            OpCode::Tie => Some(Self::Tie { slot }),
            _ => None,
        }
    }

    pub(crate) fn code(&self) -> OpCode {
        match self {
            Self::Join { .. } => OpCode::CgroupJoin,
            Self::Tie { .. } => OpCode::Tie,
        }
    }

    #[cfg(feature = "alloc")]
    pub(crate) fn parts(&self) -> Parts<'static> {
        let (Self::Join { slot } | Self::Tie { slot }) = *self;
        Parts { slot: Some(slot), ..Parts::default() }
    }
}
