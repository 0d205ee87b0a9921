//! Ranges of the ops on privileges, and of a memory policy.

use super::Reason;
use crate::op::{CapSets, PrivilegeOp};

const MPOL_DEFAULT: u32 = 0;
const MPOL_PREFERRED: u32 = 1;
const MPOL_LOCAL: u32 = 4;
const MPOL_MAX: u32 = 6;
/// `MPOL_F_STATIC_NODES`, `MPOL_F_RELATIVE_NODES` and `MPOL_F_NUMA_BALANCING`.
const FLAGS: u32 = 7 << 13;

pub(super) fn check(op: &PrivilegeOp<'_>) -> Result<(), Reason> {
    let within = |good: bool, what| if good { Ok(()) } else { Err(Reason::OutOfRange(what)) };
    match *op {
        PrivilegeOp::Securebits { bits } => within(bits <= 0xff, "the securebits"),
        PrivilegeOp::Capabilities { given, effective, permitted, inheritable } => {
            within(!given.is_empty(), "the sets (none is given)")?;
            let sets = [
                (CapSets::EFFECTIVE, effective),
                (CapSets::PERMITTED, permitted),
                (CapSets::INHERITABLE, inheritable),
            ];
            if sets.iter().any(|(bit, set)| *set != 0 && !given.contains(*bit)) {
                return Err(Reason::NotZero);
            }
            let more = given.contains(CapSets::PERMITTED) && effective & !permitted != 0;
            within(!more, "the effective set (it is more than is permitted)")
        }
        PrivilegeOp::SessionKeyring { name } => {
            // The kernel keeps those to itself.
            within(!name.to_bytes().starts_with(b"."), "the name (one that begins with a dot)")
        }
        _ => Ok(()),
    }
}

pub(super) fn check_policy(mode: u32, nodes: &[u8]) -> Result<(), Reason> {
    let within = |good: bool, what| if good { Ok(()) } else { Err(Reason::OutOfRange(what)) };
    let (policy, flags) = (mode & !FLAGS, mode & FLAGS);
    within(policy <= MPOL_MAX, "the mode")?;
    within(flags >> 14 != 3, "the flags (nodes are static or relative)")?;
    match policy {
        MPOL_DEFAULT | MPOL_LOCAL => {
            within(nodes.is_empty() && flags == 0, "the nodes (the mode takes none)")
        }
        // Without nodes it is the local one.
        MPOL_PREFERRED => Ok(()),
        _ => within(!nodes.is_empty(), "the nodes (none is given)"),
    }
}
