//! Capabilities and the like, each tried on a child.

use super::{Ability, Tried, ability, try_op};
use crate::spawn::SpawnOptions;
use crate::{CapSets, Op, PrivilegeOp};

pub(super) fn abilities() -> Vec<Ability> {
    const BIND: u64 = 1 << 10;
    let ops: [(&'static str, Op<'_>); 9] = [
        ("drop from the bounding set", Op::Privilege(PrivilegeOp::BoundingSet { keep: BIND })),
        ("securebits", Op::Privilege(PrivilegeOp::Securebits { bits: 1 })),
        (
            "inheritable capabilities",
            Op::Privilege(PrivilegeOp::Capabilities {
                given: CapSets::INHERITABLE,
                effective: 0,
                permitted: 0,
                inheritable: BIND,
            }),
        ),
        ("session keyring", Op::Privilege(PrivilegeOp::SessionKeyring { name: c"" })),
        ("MDWE", Op::Privilege(PrivilegeOp::Mdwe)),
        ("THP off", Op::Privilege(PrivilegeOp::ThpDisable { except_advised: false })),
        (
            "THP off except where advised",
            Op::Privilege(PrivilegeOp::ThpDisable { except_advised: true }),
        ),
        ("core scheduling", Op::CoreScheduling),
        ("memory policy", Op::MemoryPolicy { mode: 2, nodes: &[1, 0, 0, 0, 0, 0, 0, 0] }),
    ];
    let tried = |(name, op): &(&'static str, Op<'_>)| {
        let tried = try_op(Some(op), SpawnOptions::new());
        ability(name, matches!(tried, Tried::Works(_)), tried.note())
    };
    ops.iter().map(tried).collect()
}
