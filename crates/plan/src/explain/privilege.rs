//! Privileges in words.

use super::ArgText;
use crate::op::{CapSets, PrivilegeOp};

/// The part of a memory policy that is a mode; above it are flags.
pub(super) const POLICY_MODE: u32 = 0x1fff;

/// Calls `field` with the name and value of each thing that the op carries.
pub(super) fn fields<'a>(op: &PrivilegeOp<'a>, field: &mut dyn FnMut(&'static str, ArgText<'a>)) {
    match *op {
        PrivilegeOp::BoundingSet { keep } => field("keep", ArgText::Capabilities(keep)),
        PrivilegeOp::Securebits { bits } => field("bits", ArgText::Securebits(bits)),
        PrivilegeOp::KeepCapabilities | PrivilegeOp::Mdwe => {}
        PrivilegeOp::Capabilities { given, effective, permitted, inheritable } => {
            for (name, bit, set) in [
                ("effective", CapSets::EFFECTIVE, effective),
                ("permitted", CapSets::PERMITTED, permitted),
                ("inheritable", CapSets::INHERITABLE, inheritable),
            ] {
                let set = ArgText::Capabilities(set);
                field(name, if given.contains(bit) { set } else { ArgText::Word("keep") });
            }
        }
        PrivilegeOp::Ambient { set } => field("set", ArgText::Capabilities(set)),
        PrivilegeOp::SessionKeyring { name } if name.is_empty() => {
            field("name", ArgText::Word("none"));
        }
        PrivilegeOp::SessionKeyring { name } => field("name", ArgText::Text(name)),
        PrivilegeOp::ThpDisable { except_advised } => {
            if except_advised {
                field("except", ArgText::Word("advised"));
            }
        }
    }
}
