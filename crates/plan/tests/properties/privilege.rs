//! Privileges, memory policies and cgroups at random.

use super::{Given, optional, plain, slot, text};
use embryo_plan::{CapSets, CgroupOp, Op, PrivilegeOp};
use proptest::collection::vec;
use proptest::prelude::*;

fn privilege(
    op: impl Strategy<Value = PrivilegeOp<'static>> + Clone,
) -> impl Strategy<Value = Vec<Given>> {
    optional(plain(op.prop_map(Op::Privilege)))
}

/// Of each kind one or none.
pub(super) fn privileges() -> impl Strategy<Value = Vec<Given>> {
    let sets = (1u16..8, any::<[u64; 3]>()).prop_map(|(given, [a, b, c])| {
        let given = CapSets::from_bits_truncate(given);
        let only = |bit, set| if given.contains(bit) { set } else { 0 };
        let permitted = only(CapSets::PERMITTED, a | b);
        let inheritable = only(CapSets::INHERITABLE, c);
        let effective = only(CapSets::EFFECTIVE, a);
        PrivilegeOp::Capabilities { given, effective, permitted, inheritable }
    });
    let keyring =
        text(40).prop_filter("a dot is the kernel's", |name| !name.to_bytes().starts_with(b"."));
    let nodes = (vec(any::<u64>(), 0..15), 1u64..).prop_map(|(mut words, some)| {
        words.push(some);
        words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>()
    });
    let flags = prop_oneof![Just(0u32), Just(1 << 13), Just(1 << 14), Just(1 << 15)];
    let policy = prop_oneof![
        prop_oneof![Just(0u32), Just(4)].prop_map(|mode| Given::Policy(mode, Vec::new())),
        (prop_oneof![Just(1u32), Just(2), Just(3), Just(5), Just(6)], flags, nodes)
            .prop_map(|(mode, flags, nodes)| Given::Policy(mode | flags, nodes)),
    ];
    (
        privilege(any::<u64>().prop_map(|keep| PrivilegeOp::BoundingSet { keep })),
        privilege((0u32..=0xff).prop_map(|bits| PrivilegeOp::Securebits { bits })),
        privilege(Just(PrivilegeOp::KeepCapabilities)),
        privilege(sets),
        privilege(any::<u64>().prop_map(|set| PrivilegeOp::Ambient { set })),
        optional(keyring.prop_map(Given::Keyring)),
        privilege(Just(PrivilegeOp::Mdwe)),
        privilege(
            any::<bool>().prop_map(|except_advised| PrivilegeOp::ThpDisable { except_advised }),
        ),
        (
            optional(plain(Just(Op::CoreScheduling))),
            optional(policy),
            optional(plain(slot().prop_map(|slot| Op::Cgroup(CgroupOp::Join { slot })))),
            optional(plain(slot().prop_map(|slot| Op::Cgroup(CgroupOp::Tie { slot })))),
        ),
    )
        .prop_map(|(a, b, c, d, e, f, g, h, (i, j, k, l))| {
            [a, b, c, d, e, f, g, h, i, j, k, l].concat()
        })
}
