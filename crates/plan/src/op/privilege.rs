//! The ops on what a process may do besides its ids: capabilities(7), keyrings(7), and settings of
//! its memory that bind it.

use super::OpCode;
#[cfg(feature = "alloc")]
use super::Parts;
use crate::format::Entry;
use crate::view::Plan;
use bitflags::bitflags;
use core::ffi::CStr;

/// A change of privileges. A set has bit n for capability n.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrivilegeOp<'a> {
    /// Whatever is not in `keep` leaves the bounding set; prctl(2) `PR_CAPBSET_DROP`.
    BoundingSet {
        /// What stays, if it is there.
        keep: u64,
    },
    /// The securebits flags; prctl(2) `PR_SET_SECUREBITS`.
    Securebits {
        /// `SECBIT_*`, 8 bits.
        bits: u32,
    },
    /// Permitted capabilities outlive a change of all user ids from 0 to others, until exec; prctl(2)
    /// `PR_SET_KEEPCAPS`.
    KeepCapabilities,
    /// The sets of the process; capset(2). One that is not given stays, but what is not permitted is
    /// not effective.
    Capabilities {
        /// Which sets are given; the others are 0 here.
        given: CapSets,
        /// What it may do now.
        effective: u64,
        /// What it may make effective.
        permitted: u64,
        /// What an exec may pass on.
        inheritable: u64,
    },
    /// The ambient set, exactly; prctl(2) `PR_CAP_AMBIENT`. An image that is not set-user-id has it
    /// as permitted and effective set.
    Ambient {
        /// The set, each of it permitted and inheritable.
        set: u64,
    },
    /// A new session keyring, or that of this name; keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING`.
    SessionKeyring {
        /// The name; empty makes a new one that nobody can join.
        name: &'a CStr,
    },
    /// Memory is never writable and executable, at once or one after the other; prctl(2)
    /// `PR_SET_MDWE`.
    Mdwe,
    /// No transparent huge pages; prctl(2) `PR_SET_THP_DISABLE`.
    ThpDisable {
        /// Except where madvise(2) asks for them (Linux 6.18).
        except_advised: bool,
    },
}

bitflags! {
    /// The sets that capset(2) sets.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct CapSets: u16 {
        /// The effective set.
        const EFFECTIVE = 1;
        /// The permitted set.
        const PERMITTED = 2;
        /// The inheritable set.
        const INHERITABLE = 4;
    }
}

impl<'a> PrivilegeOp<'a> {
    pub(crate) fn decode(code: OpCode, entry: &Entry, plan: &Plan<'a>) -> Option<Self> {
        let [a, b, c, _] = entry.args.map(|arg| arg.get());
        let flags = entry.flags.get();
        let [first, _] = entry.data;
        Some(match code {
            OpCode::BoundingSet => Self::BoundingSet { keep: a },
            OpCode::Securebits => Self::Securebits { bits: a as u32 },
            OpCode::KeepCapabilities => Self::KeepCapabilities,
            OpCode::Capabilities => Self::Capabilities {
                given: CapSets::from_bits_truncate(flags),
                effective: a,
                permitted: b,
                inheritable: c,
            },
            OpCode::Ambient => Self::Ambient { set: a },
            OpCode::SessionKeyring => Self::SessionKeyring { name: plan.c_str(first)? },
            OpCode::Mdwe => Self::Mdwe,
            OpCode::ThpDisable => Self::ThpDisable { except_advised: flags & 1 != 0 },
            _ => return None,
        })
    }

    pub(crate) fn code(&self) -> OpCode {
        match self {
            Self::BoundingSet { .. } => OpCode::BoundingSet,
            Self::Securebits { .. } => OpCode::Securebits,
            Self::KeepCapabilities => OpCode::KeepCapabilities,
            Self::Capabilities { .. } => OpCode::Capabilities,
            Self::Ambient { .. } => OpCode::Ambient,
            Self::SessionKeyring { .. } => OpCode::SessionKeyring,
            Self::Mdwe => OpCode::Mdwe,
            Self::ThpDisable { .. } => OpCode::ThpDisable,
        }
    }

    #[cfg(feature = "alloc")]
    pub(crate) fn parts(&self) -> Parts<'a> {
        let none = Parts::default();
        let one = |a: u64| Parts { args: [a, 0, 0, 0], ..none };
        match *self {
            Self::KeepCapabilities | Self::Mdwe => none,
            Self::BoundingSet { keep } => one(keep),
            Self::Securebits { bits } => one(bits.into()),
            Self::Capabilities { given, effective, permitted, inheritable } => {
                Parts { flags: given.bits(), args: [effective, permitted, inheritable, 0], ..none }
            }
            Self::Ambient { set } => one(set),
            Self::SessionKeyring { name } => {
                Parts { data: [Some(name.to_bytes_with_nul()), None], ..none }
            }
            Self::ThpDisable { except_advised } => Parts { flags: except_advised.into(), ..none },
        }
    }
}
