//! Promise: a launch that fails, at whichever op, leaves nothing behind: no child, no zombie, no
//! descriptor, and the caller as it was; and the fault says which op it was. Here every op of several
//! long plans is made to fail, one after the other, on each route.
//!
//! It must never leave out an op: the plans together hold every kind there is.

mod before;
mod caller;
mod catalogue;
mod filter;
mod launch;
mod on_memory;
mod refusal;

use before::{Before, caller_state};
use catalogue::Who;
use embryo::{
    Access, CapSets, ConfineOp, ExecFlags, FilterFlags, IdRange, Keep, LandlockFlags, MapFlags,
    NamespaceOp, Namespaces, Op, OpCode, Plan, PlanBuilder, PrivilegeOp, Regset, SpawnError,
    UserFlags, X86Regs,
};
use embryo_tests::{alone, is_root, rerun_as_nobody, skip};
use launch::{Draft, borrow, c_path};
use rustix::thread::CapabilitySet;
use std::collections::BTreeSet;
use std::fs::File;

/// A session with a terminal, paths, and everything that can be set besides.
fn first() -> Draft {
    let mut draft = Draft::probe(&["exit", "0"]);
    let (controller, terminal) = catalogue::terminal();
    draft.hold(controller);
    let slot = draft.grant(terminal);
    draft.op(&Op::SetSid).op(&Op::ControllingTty { slot }).op(&Op::Foreground { slot });
    add_descriptors(&mut draft);
    add_resources(&mut draft);
    if Who::With(CapabilitySet::SYS_CHROOT).is_me() {
        draft.op(&Op::ChrootPath { path: c"/" });
    }
    draft
        .op(&Op::ChdirPath { path: c"/usr" })
        .op(&Op::Umask { mode: 0o77 })
        .op(&Op::DeathSignal { signal: 9 })
        .op(&Op::Subreaper)
        .op(&Op::Personality { persona: 0x0004_0000 })
        .op(&Op::NoNewPrivs)
        .op(&Op::SignalIgnore { set: 0xff })
        .op(&Op::SignalMask { set: 0x7000 });
    draft
}

/// A group in the caller's session, descriptors in the place of paths, and an image by descriptor.
fn second() -> Draft {
    let mut draft = Draft::probe(&["exit", "0"]);
    draft.op(&Op::SetPgid { pgid: 0 });
    add_descriptors(&mut draft);
    add_resources(&mut draft);
    let root = draft.grant(File::open("/").expect("there is one"));
    if Who::With(CapabilitySet::SYS_CHROOT).is_me() {
        draft.op(&Op::ChrootSlot { slot: root });
    }
    let image = draft.grant(File::open(embryo_tests::probe_path()).expect("it is there"));
    draft
        .keep(Keep::IGNORED_SIGNALS)
        .op(&Op::SignalDefault { set: 0xff })
        .op(&Op::ChdirSlot { slot: root })
        .op(&Op::ExecSlot { slot: image, flags: ExecFlags::empty() });
    draft
}

/// Besides those of [`first`], what only a seed may do.
fn third() -> Draft {
    let mut draft = first();
    draft.op(&Op::OomScoreAdj { value: 500 });
    let (list, id) = (7u32.to_le_bytes(), rustix::process::getuid().as_raw());
    if Who::With(CapabilitySet::SETGID).is_me() {
        draft.op(&Op::Groups { list: &list });
    }
    add_privileges(&mut draft);
    draft.op(&Op::Gid { real: u32::MAX, effective: u32::MAX, saved: u32::MAX });
    draft.op(&Op::Uid { real: id, effective: id, saved: id });
    let search = c_path(embryo_tests::probe_path().parent().expect("it has one"));
    let flags = ExecFlags::SHELL;
    draft.op(&Op::ExecName { name: c"embryo-probe", search: &search, flags });
    draft
}

/// Cgroup, tie, capabilities and the like, as far as this user and kernel have them.
fn add_privileges(draft: &mut Draft) {
    for code in OpCode::ALL {
        let family = catalogue::samples(*code).into_iter();
        let mut family = family.filter(|sample| sample.who.is_me());
        let alone = matches!(code, OpCode::CoreScheduling | OpCode::MemoryPolicy);
        let tied = matches!(code, OpCode::CgroupJoin | OpCode::Tie);
        if !alone && !tied && !(OpCode::BoundingSet..=OpCode::ThpDisable).contains(code) {
            continue;
        }
        let op = match code {
            OpCode::BoundingSet => PrivilegeOp::BoundingSet { keep: u64::MAX },
            OpCode::Securebits if is_root() => PrivilegeOp::Securebits { bits: 0 },
            OpCode::Capabilities => {
                let given = CapSets::INHERITABLE;
                let [effective, permitted, inheritable] = [0; 3];
                PrivilegeOp::Capabilities { given, effective, permitted, inheritable }
            }
            OpCode::Ambient => PrivilegeOp::Ambient { set: 0 },
            OpCode::KeepCapabilities => PrivilegeOp::KeepCapabilities,
            OpCode::Securebits => continue,
            _ => {
                // What its own test shows.
                if let Some(sample) = family.next() {
                    let shown = (sample.add)(draft);
                    draft.hold(shown);
                }
                continue;
            }
        };
        draft.op(&Op::Privilege(op));
    }
}

/// An address space as an image: every op on memory, and a start by registers in what they built.
fn fourth() -> Draft {
    const PAGE: u64 = 4096;
    // xor edi, edi; mov eax, 60; syscall: exit(0).
    const EXIT_0: [u8; 9] = [0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    const MADV_WILLNEED: u32 = 3;
    let (code, stack, moved) = (0x1000_0000, 0x2000_0000, 0x3000_0000);
    let fixed = MapFlags::FIXED;
    let file = tempfile::tempfile().expect("a file can be made");
    file.set_len(2 * PAGE).expect("it is a file");
    let mut draft = Draft::bare();
    let slot = draft.grant(file);
    let regs = Regset::X86(X86Regs::at(code, stack + PAGE));
    draft
        .op(&Op::Map { addr: code, len: PAGE, prot: 3, flags: fixed })
        .op(&Op::Write { addr: code, contents: &EXIT_0 })
        .op(&Op::Protect { addr: code, len: PAGE, prot: 5 })
        .op(&Op::Map { addr: stack, len: PAGE, prot: 3, flags: fixed })
        .op(&Op::Fill { addr: stack, len: 100, byte: 1 })
        .op(&Op::WriteSlot { slot, addr: stack, len: 8, offset: 0 })
        .op(&Op::ReadSlot { slot, addr: stack, len: 8, offset: 8 })
        .op(&Op::MapSlot { slot, addr: 0, len: PAGE, prot: 1, flags: MapFlags::SHARED, offset: 0 })
        .op(&Op::Map { addr: moved + PAGE, len: PAGE, prot: 3, flags: fixed })
        .op(&Op::Remap { addr: moved + PAGE, len: PAGE, to: moved, to_len: PAGE })
        .op(&Op::Lock { addr: moved, len: PAGE })
        .op(&Op::Advise { addr: moved, len: PAGE, advice: MADV_WILLNEED })
        .op(&Op::Unmap { addr: moved, len: PAGE })
        .op(&Op::SignalAction { signal: 10, flags: 0, handler: code, restorer: code, mask: 1 })
        .op(&Op::MoveVdso { to: 0x6000_0000 })
        .op(&Op::DropVdso)
        .op(&Op::StartRegs { page: 0, regset: regs.as_bytes(), leave: &[] });
    if let Some(layout) = on_memory::layout(code, stack) {
        draft.op(&Op::MmLayout { layout: layout.as_bytes(), auxv: &[1; 16] });
    }
    draft
}

/// The start of [`fourth`] with a filter, then with strict mode, which exclude each other; and with a
/// further thread.
fn fifth() -> Draft {
    let program = filter::long(20);
    let mut draft = threads();
    draft.op(&Op::NoNewPrivs);
    draft.op(&Op::Seccomp { flags: FilterFlags::empty(), program: &program });
    draft
}

fn sixth() -> Draft {
    let mut draft = threads();
    draft.op(&Op::SeccompStrict);
    draft
}

/// What confines an image that is executed: Landlock, with a rule of the child's own, and two filters.
fn seventh() -> Draft {
    let mut draft = Draft::probe(&["exit", "0"]);
    let mut landlock = embryo::Landlock::new();
    landlock.abi = 1;
    landlock.path("/dev", embryo::LandlockRights::READ);
    let made = landlock.ruleset().unwrap_or_else(|error| panic!("{error}"));
    let slot = draft.grant(made.expect("there is Landlock").fd);
    let program = filter::long(20);
    let filter = Op::Seccomp { flags: FilterFlags::empty(), program: &program };
    draft
        .op(&Op::NoNewPrivs)
        .op(&Op::Confine(ConfineOp::LandlockPath { slot, path: c"/", access: 0b1101 }))
        .op(&Op::Confine(ConfineOp::Landlock { slot, flags: LandlockFlags::empty() }))
        .op(&filter)
        .op(&filter);
    draft
}

/// A world of its own, below an init, with the caller alone in it.
fn eighth() -> Draft {
    let op = Op::Namespace;
    let mut draft = Draft::probe(&["exit", "0"]);
    if is_root() {
        let slot = draft.grant(File::open("/proc/self/ns/uts").expect("it is there"));
        draft.op(&op(NamespaceOp::Join { slot, kinds: Namespaces::UTS }));
    }
    draft
        .op(&op(NamespaceOp::User { uid: 0, gid: 0 }))
        .op(&op(NamespaceOp::Unshare { kinds: Namespaces::UNSHARED }))
        .op(&op(NamespaceOp::ClockOffset { clock: 1, seconds: 1, nanoseconds: 1 }))
        .op(&op(NamespaceOp::Pid { pid: 0 }))
        .op(&op(NamespaceOp::HostName { name: c"a" }))
        .op(&op(NamespaceOp::DomainName { name: c"b" }))
        .op(&op(NamespaceOp::Loopback))
        .op(&op(NamespaceOp::NestedUser { uid: 1, gid: 1 }))
        .op(&Op::Umask { mode: 0o22 });
    draft
}

/// Ids that the owner maps, in a time namespace that is gone on in.
fn ninth() -> Draft {
    let op = Op::Namespace;
    let ids = [rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()];
    let [uids, gids] = ids.map(|id| IdRange { inside: 0, outside: id, count: 1 }.to_bytes());
    let flags = UserFlags::DENY_SETGROUPS;
    let mut draft = Draft::probe(&["exit", "0"]);
    draft
        .op(&op(NamespaceOp::MappedUser { flags, uids: &uids, gids: &gids }))
        .op(&op(NamespaceOp::Unshare { kinds: Namespaces::TIME }))
        .op(&Op::Umask { mode: 0o22 });
    draft
}

/// A root that is put together of all sorts of mounts.
fn tenth() -> Draft {
    let mut draft = catalogue::mount::everything(Draft::probe(&["exit", "0"]));
    draft.op(&Op::Umask { mode: 0o22 });
    draft
}

/// Whether mounts can be had.
fn has_mounts() -> bool {
    catalogue::samples(OpCode::NewRoot).iter().all(|sample| sample.who.is_me())
}

/// Whether user namespaces can be had.
fn has_users() -> bool {
    let samples = catalogue::samples(OpCode::UserNamespace);
    samples.iter().all(|sample| sample.who.is_me())
}

/// Two threads, each of which exits with 0: the last one ends the process.
fn threads() -> Draft {
    const PAGE: u64 = 4096;
    // xor edi, edi; mov eax, 60; syscall: exit(0).
    const EXIT_0: [u8; 9] = [0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let code = 0x1000_0000;
    let regs = Regset::X86(X86Regs::at(code, code + PAGE));
    let mut draft = Draft::bare();
    draft
        .op(&Op::Map { addr: code, len: PAGE, prot: 3, flags: MapFlags::FIXED })
        .op(&Op::Write { addr: code, contents: &EXIT_0 })
        .op(&Op::Protect { addr: code, len: PAGE, prot: 5 })
        .op(&Op::Thread { mask: 1, clear_tid: 0, regset: regs.as_bytes() })
        .op(&Op::StartRegs { page: 0, regset: regs.as_bytes(), leave: &[] });
    draft
}

fn add_descriptors(draft: &mut Draft) {
    let null = || File::open("/dev/null").expect("it is there");
    let high = rustix::io::fcntl_dupfd_cloexec(null(), 500).expect("it can be copied");
    let (low, high) = (draft.grant(null()), draft.grant(high));
    draft
        .op(&Op::PutFd { slot: low, fd: 0 })
        .op(&Op::PutFd { slot: high, fd: 1 })
        .op(&Op::OpenNull { fd: 2, access: Access::Write })
        .op(&Op::PutFd { slot: high, fd: 30 })
        .op(&Op::OpenNull { fd: 40, access: Access::Read });
}

fn add_resources(draft: &mut Draft) {
    let cpus = rustix::thread::sched_getaffinity(None).expect("one has a mask");
    let cpu = (0..64).find(|cpu| cpus.is_set(*cpu)).expect("one of the first cpus");
    let plain = Op::Sched {
        policy: libc::SCHED_BATCH as u32,
        priority: 0,
        flags: 0,
        runtime_ns: 0,
        deadline_ns: 0,
        period_ns: 0,
    };
    draft
        .op(&Op::Rlimit { resource: 4, soft: 0, hard: 0 })
        .op(&Op::Rlimit { resource: 7, soft: 64, hard: 64 })
        .op(&plain)
        .op(&Op::Nice { value: 3 })
        .op(&Op::Affinity { mask: &(1u64 << cpu).to_le_bytes() })
        .op(&Op::IoPriority { value: 2 << 13 | 7 })
        .op(&Op::TimerSlack { ns: 1 });
}

/// The same plan with an op put in that fails.
fn with_fault(plan: &Plan, at: usize, errno: u32) -> Plan {
    let view = plan.as_plan();
    let mut faulty = PlanBuilder::new();
    for _ in 0..view.slots() {
        faulty.slot();
    }
    faulty.keep(view.keep());
    for (index, op) in view.ops().flatten().enumerate() {
        if index == at {
            faulty.op(&Op::Fail { errno });
        }
        faulty.op(&op);
    }
    for arg in view.argv() {
        faulty.arg(arg.to_bytes());
    }
    faulty.build_in_order().unwrap_or_else(|e| panic!("fail may stand anywhere: {e}"))
}

fn codes(plan: &Plan) -> Vec<OpCode> {
    plan.as_plan().ops().map(|op| op.expect("a checked plan decodes").code()).collect()
}

/// Lets a plan fail before each of its ops, and checks what is left and what is said.
fn fail_everywhere(draft: fn() -> Draft) {
    before::warm_up();
    caller::stand_out();
    for way in draft().ways() {
        let ops = codes(&draft().build());
        for (index, next) in ops.iter().enumerate() {
            // A terminal serves one session, so everything is made anew.
            let draft = draft();
            let errno = 3000 + index as u32;
            let plan = with_fault(&draft.build(), index, errno);
            let what = format!("{way:?}, before {}", next.name());
            let (before, caller) = (Before::capture(), caller_state());
            let options = way.options().trace(true);
            let error = embryo::spawn_with(&plan, &borrow(draft.grants()), options)
                .expect_err("an op fails");
            before.assert_nothing_left();
            let changes = caller.diff(&caller_state());
            assert!(changes.is_empty(), "{what} changed the caller: {changes:?}");
            let spawn = error.as_spawn().unwrap_or_else(|| panic!("{what}: {error}"));
            assert_eq!((spawn.index(), spawn.op()), (Some(index as u32), "fail"), "{what}");
            assert_eq!(u32::from(spawn.fault.errno), errno, "{what}: {error}");
            traced_up_to(spawn, &ops[..index], errno, &what);
        }
    }
}

/// The records say which ops ran, in order, and that the last one failed.
fn traced_up_to(spawn: &SpawnError, ran: &[OpCode], errno: u32, what: &str) {
    let ops: Vec<_> = spawn.trace.iter().filter(|record| record.index.is_some()).collect();
    let names: Vec<&str> = ops.iter().map(|record| record.name).collect();
    let expected: Vec<&str> = ran.iter().map(|code| code.name()).chain(["fail"]).collect();
    assert_eq!(names, expected, "{what}");
    for (index, record) in ops.iter().enumerate() {
        let expected = if index == ran.len() { errno } else { 0 };
        assert_eq!(u32::from(record.errno), expected, "{what}: {record:?}");
        assert_eq!(record.index, Some(index as u32), "{what}");
    }
}

#[test]
fn at_every_op_of_a_session_with_a_terminal() {
    alone!();
    fail_everywhere(first);
}

#[test]
fn at_every_op_of_a_plan_of_descriptors() {
    alone!();
    fail_everywhere(second);
}

#[test]
fn at_every_op_that_only_a_seed_may_do() {
    alone!();
    fail_everywhere(third);
}

#[test]
fn at_every_op_that_confines() {
    alone!();
    if embryo::Landlock::kernel_abi().is_none() {
        skip!("this kernel has no Landlock");
    }
    fail_everywhere(seventh);
}

#[test]
fn at_every_op_on_memory() {
    alone!();
    fail_everywhere(fourth);
}

#[test]
fn at_every_op_of_threads_under_a_filter() {
    alone!();
    fail_everywhere(fifth);
    fail_everywhere(sixth);
}

#[test]
fn at_every_op_on_namespaces() {
    alone!();
    if !has_users() {
        skip!("user namespaces cannot be made here");
    }
    fail_everywhere(eighth);
    fail_everywhere(ninth);
}

#[test]
fn at_every_op_on_mounts() {
    alone!();
    if !has_mounts() {
        skip!("mounts take Linux 5.12");
    }
    fail_everywhere(tenth);
}

/// The plans work but for the fault, and hold every kind of op.
#[test]
fn without_a_fault_they_run() {
    alone!();
    before::warm_up();
    let before = Before::capture();
    // Not every kernel has names for regions, nor layouts: `live_embryo.rs` asks this one.
    let mut seen = BTreeSet::from([OpCode::Fail, OpCode::NameRegion, OpCode::MmLayout]);
    if under_a_filter() {
        seen.insert(OpCode::SeccompStrict);
    }
    if embryo::Landlock::kernel_abi().is_none() {
        seen.extend([OpCode::Landlock, OpCode::LandlockPath]);
    }
    // Not every kernel and machine has those; `every_op.rs` says so.
    for code in [
        OpCode::CoreScheduling,
        OpCode::MemoryPolicy,
        OpCode::SessionKeyring,
        OpCode::Mdwe,
        OpCode::CgroupJoin,
        OpCode::JoinNamespace,
        OpCode::UserNamespace,
        OpCode::MappedUserNamespace,
        OpCode::Unshare,
        OpCode::ClockOffset,
        OpCode::PidNamespace,
        OpCode::HostName,
        OpCode::DomainName,
        OpCode::Loopback,
        OpCode::NestedUserNamespace,
        OpCode::BindMapped,
        OpCode::Overlay,
    ] {
        if !catalogue::samples(code).iter().any(|sample| sample.who.is_me()) {
            seen.insert(code);
        }
    }
    for draft in plans() {
        for way in draft().ways() {
            let draft = draft();
            let mut child = draft.spawn(*way).unwrap_or_else(|e| panic!("{way:?}: {e}"));
            assert!(child.wait().expect("it ends").success(), "{way:?}");
            seen.extend(codes(&draft.build()));
        }
    }
    before.assert_nothing_left();
    if is_root() {
        let missing = OpCode::ALL.iter().filter(|code| !seen.contains(code));
        let elsewhere = |code: &OpCode| on_memory::is_on_memory(*code);
        let missing: Vec<_> =
            missing.filter(|code| cfg!(target_arch = "x86_64") || !elsewhere(code)).collect();
        assert!(missing.is_empty(), "no plan has {missing:?}");
    }
}

/// As in many containers: then strict mode cannot be had, which `by_registers.rs` says.
fn under_a_filter() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").expect("it is readable");
    status.contains("Seccomp:\t2")
}

/// All of them that can be started on this machine.
fn plans() -> Vec<fn() -> Draft> {
    let mut plans: Vec<fn() -> Draft> = vec![first, second, third];
    if embryo::Landlock::kernel_abi().is_some() {
        plans.push(seventh);
    }
    if has_users() {
        plans.extend([eighth as fn() -> Draft, ninth]);
    }
    if has_mounts() {
        plans.push(tenth);
    }
    if cfg!(target_arch = "x86_64") {
        plans.extend([fourth as fn() -> Draft, fifth]);
        if !under_a_filter() {
            plans.push(sixth);
        }
    }
    plans
}

/// A real failure at the very end: everything before has been done, and is undone by the child's death.
#[test]
fn at_the_image_itself() {
    alone!();
    before::warm_up();
    caller::stand_out();
    for draft in [first, third] {
        for way in draft().ways() {
            let good = draft();
            let plan = good.build();
            let view = plan.as_plan();
            let mut bad = PlanBuilder::new();
            for _ in 0..view.slots() {
                bad.slot();
            }
            bad.keep(view.keep()).arg("nothing");
            for op in view.ops().flatten().filter(|op| !op.is_start()) {
                bad.op(&op);
            }
            bad.op(&Op::ExecPath { path: c"/no/such/program", flags: ExecFlags::empty() });
            let bad = bad.build_in_order().expect("it is a plan");
            let (before, caller) = (Before::capture(), caller_state());
            let error = embryo::spawn_with(&bad, &borrow(good.grants()), way.options())
                .expect_err("there is no such program");
            before.assert_nothing_left();
            assert_eq!(caller.diff(&caller_state()), [""; 0], "{way:?}");
            let last = codes(&bad).len() as u32 - 1;
            let index = error.as_spawn().and_then(|spawn| spawn.index());
            assert_eq!((index, error.raw_os_error()), (Some(last), Some(libc::ENOENT)), "{error}");
        }
    }
}

#[test]
fn all_of_this_works_for_an_ordinary_user() {
    if !is_root() {
        skip!("that is who runs these tests");
    }
    for test in [
        "at_every_op_of_a_session_with_a_terminal",
        "at_every_op_of_a_plan_of_descriptors",
        "at_every_op_that_only_a_seed_may_do",
        "at_every_op_on_memory",
        "at_every_op_on_mounts",
        "without_a_fault_they_run",
        "at_the_image_itself",
    ] {
        rerun_as_nobody(test);
    }
}
