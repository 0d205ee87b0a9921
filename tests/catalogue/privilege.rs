//! Capabilities, keyrings, settings of memory, and the scheduling that only some machines have. It
//! must never change those of the test itself.

use super::{Failure, Sample};
use crate::refusal::Refusal;
use embryo::{CapSets, Op, OpCode, PrivilegeOp, capability_name};
use rustix::thread::CapabilitySet;

const PRCTL: libc::c_long = libc::SYS_prctl;
const PR_SET_MDWE: u32 = 65;
const PR_SET_THP_DISABLE: u32 = 41;
const PR_SCHED_CORE: u32 = 62;
const MPOL_BIND: u32 = 2;

const fn op(op: PrivilegeOp<'_>) -> Op<'_> {
    Op::Privilege(op)
}

/// CAP_NET_BIND_SERVICE.
const BIND: u64 = 1 << 10;
/// CAP_CHOWN, CAP_KILL.
const SOME: u64 = 1 | 1 << 5;

fn hexadecimal(set: u64) -> String {
    format!("{set:016x}")
}

fn capabilities(effective: u64, permitted: u64, inheritable: u64) -> Op<'static> {
    let given = CapSets::all();
    op(PrivilegeOp::Capabilities { given, effective, permitted, inheritable })
}

fn own_bounding() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("it is readable");
    let set = text.lines().find_map(|line| line.strip_prefix("CapBnd:")).expect("it is there");
    u64::from_str_radix(set.trim(), 16).expect("it is a number")
}

/// Whether a `prctl` that only asks is known.
fn asks(option: i32, first: libc::c_ulong) -> bool {
    // SAFETY: options that take and write no pointer.
    unsafe { libc::prctl(option, first, 0, 0, 0) >= 0 }
}

fn has_mdwe() -> bool {
    const PR_GET_MDWE: i32 = 66;
    asks(PR_GET_MDWE, 0)
}

fn has_keyrings() -> bool {
    // SAFETY: KEYCTL_GET_KEYRING_ID of the session keyring; no pointer is passed.
    unsafe { libc::syscall(libc::SYS_keyctl, 0, -3, 0) > 0 }
}

/// As it takes CONFIG_SCHED_CORE and a processor with more than one thread per core, it is tried, by a
/// thread that then ends.
fn has_core_scheduling() -> bool {
    let tried = std::thread::spawn(|| {
        // SAFETY: the calling thread's cookie is made; no pointer is passed.
        unsafe { libc::prctl(PR_SCHED_CORE as i32, 1, 0, 0, 0) == 0 }
    });
    tried.join().expect("it does not panic")
}

fn has_memory_policies() -> bool {
    // SAFETY: nothing is asked for, and nothing written.
    unsafe { libc::syscall(libc::SYS_get_mempolicy, 0, 0, 0, 0, 0) == 0 }
}

pub(super) const SAMPLES: &[Sample] = &[
    Sample::new(OpCode::BoundingSet, "two are left", |draft| {
        draft.op(&op(PrivilegeOp::BoundingSet { keep: SOME }));
        let expect = hexadecimal(own_bounding() & SOME);
        Box::new(move |child| {
            assert_eq!(child.report.caps.bounding, expect);
            assert_eq!(child.status("CapBnd"), expect);
        })
    })
    .with(CapabilitySet::SETPCAP),
    Sample::new(OpCode::BoundingSet, "nothing that there is goes", |draft| {
        draft.op(&op(PrivilegeOp::BoundingSet { keep: own_bounding() }));
        let expect = hexadecimal(own_bounding());
        Box::new(move |child| assert_eq!(child.report.caps.bounding, expect))
    }),
    Sample::new(OpCode::Securebits, "root is nobody special", |draft| {
        // NOROOT and its lock.
        draft.op(&op(PrivilegeOp::Securebits { bits: 3 }));
        Box::new(|child| {
            assert_eq!(child.report.securebits, Some(3));
            assert_eq!(child.report.caps.permitted, hexadecimal(0), "exec gave it none");
        })
    })
    .with(CapabilitySet::SETPCAP),
    Sample::new(
        OpCode::KeepCapabilities,
        "across a change of the user, and exec ends it",
        |draft| {
            draft
                .op(&op(PrivilegeOp::KeepCapabilities))
                .op(&Op::Uid { real: 21, effective: 21, saved: 21 })
                .op(&capabilities(BIND, BIND, BIND))
                .op(&op(PrivilegeOp::Ambient { set: BIND }));
            Box::new(|child| {
                assert_eq!(child.report.keepcaps, Some(0));
                assert_eq!(child.report.caps.effective, hexadecimal(BIND));
            })
        },
    )
    .with(CapabilitySet::SETUID.union(CapabilitySet::NET_BIND_SERVICE)),
    Sample::new(OpCode::KeepCapabilities, "for nothing", |draft| {
        draft.op(&op(PrivilegeOp::KeepCapabilities));
        Box::new(|child| assert_eq!(child.report.keepcaps, Some(0)))
    }),
    Sample::new(OpCode::Capabilities, "inheritable alone", |draft| {
        let [effective, permitted, inheritable] = [0, 0, SOME];
        let given = CapSets::INHERITABLE;
        draft.op(&op(PrivilegeOp::Capabilities { given, effective, permitted, inheritable }));
        Box::new(|child| {
            assert_eq!(child.report.caps.inheritable, hexadecimal(SOME));
            assert_eq!(child.status("CapInh"), hexadecimal(SOME));
            assert_ne!(child.report.caps.permitted, hexadecimal(SOME), "exec as root gives all");
        })
    })
    .with(CapabilitySet::CHOWN.union(CapabilitySet::KILL)),
    Sample::new(OpCode::Capabilities, "none", |draft| {
        draft.op(&capabilities(0, 0, 0));
        Box::new(|child| assert_eq!(child.report.caps.inheritable, hexadecimal(0)))
    }),
    Sample::new(OpCode::Capabilities, "exactly some, though it is root", |draft| {
        draft
            .op(&op(PrivilegeOp::BoundingSet { keep: SOME }))
            .op(&capabilities(SOME, SOME, SOME))
            .op(&op(PrivilegeOp::Ambient { set: SOME }));
        Box::new(|child| {
            let (caps, some) = (&child.report.caps, hexadecimal(SOME));
            for set in [&caps.bounding, &caps.permitted, &caps.effective, &caps.inheritable] {
                assert_eq!(*set, some, "{caps:?}");
            }
        })
    })
    .with(CapabilitySet::SETPCAP.union(CapabilitySet::CHOWN).union(CapabilitySet::KILL)),
    Sample::new(OpCode::Ambient, "of another user", |draft| {
        draft
            .op(&op(PrivilegeOp::KeepCapabilities))
            .op(&Op::Uid { real: 21, effective: 21, saved: 21 })
            .op(&capabilities(0, BIND | SOME, BIND))
            .op(&op(PrivilegeOp::Ambient { set: BIND }));
        Box::new(|child| {
            assert!(child.report.uids.all(21));
            assert_eq!(child.report.caps.ambient, hexadecimal(BIND));
            assert_eq!(child.report.caps.permitted, hexadecimal(BIND), "the rest went at exec");
            assert_eq!(child.status("CapAmb"), hexadecimal(BIND));
            assert_eq!(child.status("CapEff"), hexadecimal(BIND));
        })
    })
    .with(CapabilitySet::SETUID.union(CapabilitySet::NET_BIND_SERVICE)),
    Sample::new(OpCode::Ambient, "none", |draft| {
        draft.op(&op(PrivilegeOp::Ambient { set: 0 }));
        Box::new(|child| assert_eq!(child.report.caps.ambient, hexadecimal(0)))
    }),
    Sample::new(OpCode::SessionKeyring, "a new one", |draft| {
        draft.op(&op(PrivilegeOp::SessionKeyring { name: c"" }));
        Box::new(|child| assert_eq!(child.report.session_keyring, Some("_ses".into())))
    })
    .when(has_keyrings),
    Sample::new(OpCode::SessionKeyring, "of a name", |draft| {
        draft.op(&op(PrivilegeOp::SessionKeyring { name: c"embryo-test" }));
        Box::new(|child| assert_eq!(child.report.session_keyring, Some("embryo-test".into())))
    })
    .when(has_keyrings),
    Sample::new(OpCode::Mdwe, "set", |draft| {
        draft.op(&op(PrivilegeOp::Mdwe));
        Box::new(|child| assert_eq!(child.report.mdwe, Some(1)))
    })
    .when(has_mdwe),
    Sample::new(OpCode::ThpDisable, "set", |draft| {
        draft.op(&op(PrivilegeOp::ThpDisable { except_advised: false }));
        Box::new(|child| {
            assert_eq!(child.report.thp_disable, Some(1));
            assert_eq!(child.status("THP_enabled"), "0");
        })
    }),
    Sample::new(OpCode::CoreScheduling, "a cookie of its own", |draft| {
        draft.op(&Op::CoreScheduling);
        Box::new(|child| {
            let cookie = child.report.more.get("sched_core_cookie");
            assert!(cookie.is_some_and(|cookie| *cookie != 0), "{cookie:?}");
        })
    })
    .when(has_core_scheduling),
    Sample::new(OpCode::MemoryPolicy, "bound to the first node", |draft| {
        draft.op(&Op::MemoryPolicy { mode: MPOL_BIND, nodes: &[1, 0, 0, 0, 0, 0, 0, 0] });
        Box::new(|child| {
            assert_eq!(child.report.more.get("mempolicy"), Some(&i64::from(MPOL_BIND)));
            if let Some(maps) = child.try_text("numa_maps") {
                assert!(maps.contains("bind:0"), "{maps}");
            }
        })
    })
    .when(has_memory_policies),
    Sample::new(OpCode::MemoryPolicy, "local", |draft| {
        draft.op(&Op::MemoryPolicy { mode: 4, nodes: &[] });
        Box::new(|child| assert!(child.report.more.contains_key("mempolicy")))
    })
    .when(has_memory_policies),
];

pub(super) const FAILURES: &[Failure] = &[
    Failure::new(OpCode::BoundingSet, "without the capability", libc::EPERM, |draft| {
        draft.op(&op(PrivilegeOp::BoundingSet { keep: 0 }));
    })
    .without(CapabilitySet::SETPCAP)
    .names("keep=none"),
    Failure::new(OpCode::BoundingSet, "refused", libc::EPERM, |draft| {
        draft.op(&op(PrivilegeOp::BoundingSet { keep: SOME }));
    })
    .names("keep=cap_chown,cap_kill")
    .refused(Refusal::of(PRCTL, libc::PR_CAPBSET_DROP as u32)),
    Failure::new(OpCode::Securebits, "without the capability", libc::EPERM, |draft| {
        draft.op(&op(PrivilegeOp::Securebits { bits: 1 }));
    })
    .without(CapabilitySet::SETPCAP)
    .names("bits=noroot"),
    Failure::new(OpCode::Securebits, "refused", libc::EPERM, |draft| {
        draft.op(&op(PrivilegeOp::Securebits { bits: 4 }));
    })
    .names("bits=no_setuid_fixup")
    .refused(Refusal::of(PRCTL, libc::PR_SET_SECUREBITS as u32)),
    Failure::new(OpCode::KeepCapabilities, "locked", libc::EPERM, |draft| {
        // KEEP_CAPS_LOCKED.
        draft.op(&op(PrivilegeOp::Securebits { bits: 32 })).op(&op(PrivilegeOp::KeepCapabilities));
    })
    .with(CapabilitySet::SETPCAP),
    Failure::new(OpCode::KeepCapabilities, "refused", libc::EPERM, |draft| {
        draft.op(&op(PrivilegeOp::KeepCapabilities));
    })
    .refused(Refusal::of(PRCTL, libc::PR_SET_KEEPCAPS as u32)),
    Failure::new(OpCode::Capabilities, "more than it has", libc::EPERM, |draft| {
        draft.op(&capabilities(0, u64::MAX, 0));
    })
    .without(CapabilitySet::SYS_RESOURCE)
    .names("permitted=all"),
    Failure::new(OpCode::Capabilities, "gone with the user", libc::EPERM, |draft| {
        draft.op(&Op::Uid { real: 21, effective: 21, saved: 21 }).op(&capabilities(BIND, BIND, 0));
    })
    .with(CapabilitySet::SETUID)
    .names(capability_name(10).expect("it has a name")),
    Failure::new(OpCode::Capabilities, "refused", libc::EPERM, |draft| {
        draft.op(&capabilities(0, 0, 0));
    })
    .names("inheritable=none")
    .refused(Refusal::always(libc::SYS_capset)),
    Failure::new(OpCode::Ambient, "not inheritable", libc::EPERM, |draft| {
        draft.op(&op(PrivilegeOp::Ambient { set: BIND }));
    })
    .names("set=cap_net_bind_service"),
    Failure::new(OpCode::Ambient, "no such capability", libc::EINVAL, |draft| {
        draft.op(&op(PrivilegeOp::Ambient { set: 1 << 63 }));
    })
    .names("set=cap_63"),
    Failure::new(OpCode::SessionKeyring, "refused", libc::EPERM, |draft| {
        draft.op(&op(PrivilegeOp::SessionKeyring { name: c"some" }));
    })
    .names("some")
    .refused(Refusal::always(libc::SYS_keyctl)),
    Failure::new(OpCode::Mdwe, "refused", libc::EPERM, |draft| {
        draft.op(&op(PrivilegeOp::Mdwe));
    })
    .refused(Refusal::of(PRCTL, PR_SET_MDWE)),
    Failure::new(OpCode::ThpDisable, "refused", libc::EPERM, |draft| {
        draft.op(&op(PrivilegeOp::ThpDisable { except_advised: true }));
    })
    .names("except=advised")
    .refused(Refusal::of(PRCTL, PR_SET_THP_DISABLE)),
    Failure::new(OpCode::CoreScheduling, "refused", libc::EPERM, |draft| {
        draft.op(&Op::CoreScheduling);
    })
    .refused(Refusal::of(PRCTL, PR_SCHED_CORE)),
    Failure::new(OpCode::MemoryPolicy, "no such node", libc::EINVAL, |draft| {
        let mut nodes = [0; 128];
        nodes[127] = 0x80;
        draft.op(&Op::MemoryPolicy { mode: MPOL_BIND, nodes: &nodes });
    })
    .when(has_memory_policies)
    .names("nodes=1023"),
    Failure::new(OpCode::MemoryPolicy, "refused", libc::EPERM, |draft| {
        draft.op(&Op::MemoryPolicy { mode: 4, nodes: &[] });
    })
    .names("mode=local")
    .refused(Refusal::always(libc::SYS_set_mempolicy)),
];
