//! Capabilities and the like, on the calling task.
//!
//! It must never be reached from memory that is shared with a creator, whose credentials the
//! kernel keeps there in part; every op here is routed through the seed.

use embryo_plan::{CapSets, PrivilegeOp};
use embryo_syscall::{self as sys, Errno, Result, Set};

/// Bits of a set.
const SET_BITS: u32 = 64;

pub(crate) fn apply(op: &PrivilegeOp<'_>) -> Result<()> {
    match *op {
        PrivilegeOp::BoundingSet { keep } => bounding_set(keep),
        PrivilegeOp::Securebits { bits } => sys::set(Set::Securebits(bits)),
        PrivilegeOp::KeepCapabilities => sys::set(Set::KeepCapabilities),
        PrivilegeOp::Capabilities { given, effective, permitted, inheritable } => {
            let [now_effective, now_permitted, now_inheritable] = sys::capget()?;
            let pick = |set, value, now| if given.contains(set) { value } else { now };
            let permitted = pick(CapSets::PERMITTED, permitted, now_permitted);
            sys::capset([
                pick(CapSets::EFFECTIVE, effective, now_effective & permitted),
                permitted,
                pick(CapSets::INHERITABLE, inheritable, now_inheritable),
            ])
        }
        PrivilegeOp::Ambient { set } => {
            sys::set(Set::ClearAmbient)?;
            each(set, |capability| sys::set(Set::RaiseAmbient(capability)))
        }
        PrivilegeOp::SessionKeyring { name } => {
            sys::join_session_keyring((!name.is_empty()).then_some(name))
        }
        PrivilegeOp::Mdwe => sys::set(Set::Mdwe),
        PrivilegeOp::ThpDisable { except_advised } => sys::set(Set::ThpDisable(except_advised)),
    }
}

fn bounding_set(keep: u64) -> Result<()> {
    each(!keep, |capability| match sys::in_bounding_set(capability) {
        Ok(true) => sys::set(Set::DropBounding(capability)),
        // It is not there, or the kernel knows none of that number.
        Ok(false) | Err(Errno::INVAL) => Ok(()),
        Err(errno) => Err(errno),
    })
}

fn each(set: u64, mut one: impl FnMut(u32) -> Result<()>) -> Result<()> {
    (0..SET_BITS).filter(|number| set >> number & 1 == 1).try_for_each(&mut one)
}
