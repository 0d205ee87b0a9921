//! What is refused of privileges, memory policies and cgroups.

use super::{Cases, EXEC_TRUE, all_kept, at, of_ops};
use crate::raw::Raw;
use embryo_plan::{
    CapSets, CgroupOp, Keep, Op, OpCode, PrivilegeOp, Reason, Regset, Slot, X86Regs, limits,
};
use std::ffi::CString;

pub(super) fn cases(cases: &mut Cases) {
    let op = |op| Op::Privilege(op);
    cases.range(&op(PrivilegeOp::Securebits { bits: 0x100 }), "the securebits");
    let sets = |given, effective, permitted, inheritable| {
        op(PrivilegeOp::Capabilities { given, effective, permitted, inheritable })
    };
    cases.range(&sets(CapSets::empty(), 0, 0, 0), "the sets (none is given)");
    let more = "the effective set (it is more than is permitted)";
    cases.range(&sets(CapSets::all(), 2, 1, 0), more);
    for given in [CapSets::EFFECTIVE, CapSets::PERMITTED, CapSets::INHERITABLE] {
        let set = |bit: CapSets| u64::from(bit != given);
        let [effective, permitted, inheritable] =
            [CapSets::EFFECTIVE, CapSets::PERMITTED, CapSets::INHERITABLE].map(set);
        let plan = of_ops(all_kept(), &[sets(given, effective, permitted, inheritable), EXEC_TRUE]);
        cases.built(&plan, at(0), Reason::NotZero);
    }
    let dotted = op(PrivilegeOp::SessionKeyring { name: c".dotted" });
    cases.range(&dotted, "the name (one that begins with a dot)");
    let long = CString::new(vec![b'a'; limits::KEYRING_NAME_BYTES_MAX]).expect("no NUL");
    let long = of_ops(all_kept(), &[op(PrivilegeOp::SessionKeyring { name: &long }), EXEC_TRUE]);
    cases.built(&long, at(0), Reason::StringTooLong);
    policies(cases);
    let twice = [op(PrivilegeOp::Ambient { set: 0 }), op(PrivilegeOp::Ambient { set: 1 })];
    cases.built(&of_ops(all_kept(), &[twice[0], twice[1], EXEC_TRUE]), at(1), Reason::Repeated);
    let none = of_ops(all_kept(), &[Op::Cgroup(CgroupOp::Join { slot: Slot(7) }), EXEC_TRUE]);
    cases.built(&none, at(0), Reason::BadSlot(7));
    // A cgroup comes before all else, and capabilities after the ids.
    let ops = [op(PrivilegeOp::KeepCapabilities), op(PrivilegeOp::Ambient { set: 0 }), EXEC_TRUE];
    let mut raw = Raw::of(&of_ops(all_kept(), &ops).build().expect("it is a plan"));
    raw.entries.swap(0, 1);
    cases.bytes(&raw.bytes(), at(1), Reason::Order(OpCode::Ambient));
    let regset = Regset::X86(X86Regs::at(8, 8));
    let mut plan = embryo_plan::PlanBuilder::new();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&op(PrivilegeOp::Mdwe))
        .op(&Op::StartRegs { page: 0, regset: regset.as_bytes(), leave: &[] });
    cases.built(&plan, at(1), Reason::OnlyWithExec(OpCode::Mdwe));
}

fn policies(cases: &mut Cases) {
    const ONE: [u8; 8] = [1, 0, 0, 0, 0, 0, 0, 0];
    let policy = |mode, nodes| Op::MemoryPolicy { mode, nodes };
    cases.range(&policy(7, &ONE), "the mode");
    cases.range(&policy(3 << 14 | 2, &ONE), "the flags (nodes are static or relative)");
    for mode in [0, 4] {
        cases.range(&policy(mode, &ONE), "the nodes (the mode takes none)");
    }
    cases.range(&policy(1 << 15, &[]), "the nodes (the mode takes none)");
    for mode in [2, 3, 5, 6] {
        cases.range(&policy(mode, &[]), "the nodes (none is given)");
    }
    let data = |nodes| of_ops(all_kept(), &[policy(2, nodes), EXEC_TRUE]);
    cases.built(&data(&[1; 7]), at(0), Reason::DataLength);
    cases.built(&data(&[0; 8]), at(0), Reason::Empty);
    cases.built(&data(&[1; limits::NODE_MASK_BYTES_MAX + 8]), at(0), Reason::DataLength);
}
