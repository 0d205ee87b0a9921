//! Every reason for which bytes are refused, each provoked at least once.
//!
//! A case must never accept a reason that merely comes near: entry and reason are compared whole.

#[path = "rejections/confine.rs"]
mod confine;
#[path = "rejections/memory.rs"]
mod memory;
#[path = "rejections/mount.rs"]
mod mount;
#[path = "rejections/namespace.rs"]
mod namespace;
#[path = "rejections/privilege.rs"]
mod privilege;
mod raw;

use embryo_plan::{
    Access, BuildError, ENTRY_LEN, Entry, ExecFlags, HEADER_LEN, Keep, NO_SLOT, Op, OpCode,
    OwnedPlan, PlanBuilder, RawPlan, Reason, Slot, limits,
};
use raw::Raw;
use std::collections::BTreeSet;

/// The entries of [`good`], by index.
const SET_SID: usize = 0;
const PUT_FD_0: usize = 1;
const GROUPS: usize = 4;
const CHDIR: usize = 5;
const EXEC: usize = 8;

/// A plan with one of each kind of entry, for the cases to break.
fn good() -> PlanBuilder {
    let mut plan = PlanBuilder::new();
    let (stdin, stdout) = (plan.slot(), plan.slot());
    plan.op(&Op::SetSid)
        .op(&Op::PutFd { slot: stdin, fd: 0 })
        .op(&Op::PutFd { slot: stdout, fd: 1 })
        .op(&Op::Rlimit { resource: 7, soft: 64, hard: 128 })
        .op(&Op::Groups { list: &[1, 0, 0, 0, 2, 0, 0, 0] })
        .op(&Op::ChdirPath { path: c"/" })
        .op(&Op::Umask { mode: 0o022 })
        .op(&Op::SignalMask { set: 1 })
        .op(&Op::ExecName { name: c"true", search: c"/bin:/usr/bin", flags: ExecFlags::empty() })
        .arg("true")
        .env("A", "1");
    plan
}

const EXEC_TRUE: Op<'static> = Op::ExecPath { path: c"/bin/true", flags: ExecFlags::empty() };

/// A plan of these ops alone, in this order, that keeps what it has to.
fn of_ops(keep: Keep, ops: &[Op<'_>]) -> PlanBuilder {
    let mut plan = PlanBuilder::new();
    plan.slot();
    plan.keep(keep).arg("true");
    for op in ops {
        plan.op(op);
    }
    plan
}

fn all_kept() -> Keep {
    Keep::CWD | Keep::UMASK | Keep::SESSION
}

/// Where a case expects the fault: at an entry, or in the plan as a whole.
const WHOLE: Option<u32> = None;

fn at(index: usize) -> Option<u32> {
    Some(index as u32)
}

/// Collects the reasons seen, so that the last test can tell which are missing.
#[derive(Default)]
struct Cases {
    seen: BTreeSet<String>,
}

impl Cases {
    #[track_caller]
    fn bytes(&mut self, bytes: &[u8], entry: Option<u32>, reason: Reason) {
        let error = match RawPlan(bytes).check() {
            Err(error) => error,
            Ok(plan) => panic!("{reason:?} was expected, but this was accepted: {plan:?}"),
        };
        assert_eq!((error.entry, error.reason), (entry, reason), "{error}");
        assert!(!error.to_string().is_empty());
        self.seen.insert(variant(&reason));
    }

    /// The good plan with something changed and the lengths left as they were.
    #[track_caller]
    fn broken(&mut self, entry: Option<u32>, reason: Reason, breaks: impl FnOnce(&mut Raw)) {
        let mut raw = Raw::of(&good().build_in_order().expect("the good plan is one"));
        breaks(&mut raw);
        self.bytes(&raw.bytes(), entry, reason);
    }

    /// The same for an entry: the fault is expected there.
    #[track_caller]
    fn entry(&mut self, index: usize, reason: Reason, breaks: impl FnOnce(&mut Entry)) {
        self.broken(at(index), reason, |raw| breaks(&mut raw.entries[index]));
    }

    /// What the builder says to these ops.
    #[track_caller]
    fn built(&mut self, plan: &PlanBuilder, entry: Option<u32>, reason: Reason) {
        match plan.build_in_order() {
            Err(BuildError::Plan(error)) => {
                assert_eq!((error.entry, error.reason), (entry, reason), "{error}");
            }
            other => panic!("{reason:?} was expected, but: {other:?}"),
        }
        self.seen.insert(variant(&reason));
    }

    /// One op out of range, between the start of the plan and its image.
    #[track_caller]
    fn range(&mut self, op: &Op<'_>, what: &'static str) {
        self.built(&of_ops(all_kept(), &[*op, EXEC_TRUE]), at(0), Reason::OutOfRange(what));
    }
}

/// The name of a variant without what it carries.
fn variant(reason: &Reason) -> String {
    let text = format!("{reason:?}");
    text.split('(').next().unwrap_or_default().to_owned()
}

fn header_cases(cases: &mut Cases) {
    let bytes = good().build_in_order().expect("the good plan is one").as_bytes().to_vec();
    for len in [0, 1, 7, 8, HEADER_LEN - 1, HEADER_LEN, HEADER_LEN + ENTRY_LEN, bytes.len() - 1] {
        cases.bytes(&bytes[..len], WHOLE, Reason::Truncated);
    }
    cases.bytes(&[&bytes[..], &[0]].concat(), WHOLE, Reason::Overlong);
    let mut long = bytes.clone();
    long.resize(limits::PLAN_BYTES_MAX + 1, 0);
    cases.bytes(&long, WHOLE, Reason::TooLong);

    cases.broken(WHOLE, Reason::NotAPlan, |raw| raw.header.magic[7] = 2);
    cases.broken(WHOLE, Reason::Version(2), |raw| raw.header.version = 2.into());
    cases.broken(WHOLE, Reason::UnknownFlags, |raw| raw.header.flags = 2.into());
    cases.broken(WHOLE, Reason::UnknownKeep, |raw| raw.header.keep = (1 << 5).into());
    cases.broken(WHOLE, Reason::NotZero, |raw| raw.header.reserved[1] = 1.into());
    cases.broken(WHOLE, Reason::NotZero, |raw| raw.header.reserved_tail = 1.into());
    for count in [limits::ENTRIES_MAX + 1, u32::MAX - 1, u32::MAX] {
        cases.broken(WHOLE, Reason::TooManyEntries, |raw| raw.header.entries = count.into());
    }
    for count in [limits::SLOTS_MAX + 1, u32::MAX] {
        cases.broken(WHOLE, Reason::TooManySlots, |raw| raw.header.slots = count.into());
    }
    let length = Reason::OutOfRange("a length in the header");
    cases.broken(WHOLE, length, |raw| raw.header.header_len = 64.into());
    cases.broken(WHOLE, length, |raw| raw.header.total_len = u32::MAX.into());
    cases.broken(WHOLE, length, |raw| raw.header.data_len = u32::MAX.into());
    cases.broken(WHOLE, length, |raw| raw.header.entries = limits::ENTRIES_MAX.into());
}

fn entry_cases(cases: &mut Cases) {
    for code in [0, 2, u16::MAX] {
        cases.entry(PUT_FD_0, Reason::UnknownOp(code), |entry| entry.code = code.into());
    }
    cases.entry(SET_SID, Reason::UnknownFlags, |entry| entry.flags = 1.into());
    cases.entry(EXEC, Reason::UnknownFlags, |entry| entry.flags = 2.into());
    cases.entry(SET_SID, Reason::NotZero, |entry| entry.reserved = 1.into());
    cases.entry(SET_SID, Reason::NotZero, |entry| entry.args[0] = 1.into());
    cases.entry(PUT_FD_0, Reason::NotZero, |entry| entry.args[3] = 1.into());
    cases.entry(SET_SID, Reason::NotZero, |entry| entry.data[0].offset = 1.into());
    cases.entry(CHDIR, Reason::NotZero, |entry| entry.data[1].len = 1.into());
    cases.entry(SET_SID, Reason::SlotUse, |entry| entry.slot = 0.into());
    cases.entry(PUT_FD_0, Reason::SlotUse, |entry| entry.slot = NO_SLOT.into());
    for slot in [2, NO_SLOT - 1] {
        cases.entry(PUT_FD_0, Reason::BadSlot(slot), |entry| entry.slot = slot.into());
    }
    cases.entry(PUT_FD_0, Reason::NumberTooWide, |entry| entry.args[0] = (1 << 32).into());
    cases.built(
        &of_ops(all_kept(), &[Op::Rlimit { resource: 0, soft: 2, hard: 1 }, EXEC_TRUE]),
        at(0),
        Reason::SoftAboveHard,
    );
    // A negative number that was not extended to 64 bits.
    let nice = of_ops(all_kept(), &[Op::Nice { value: -1 }, EXEC_TRUE]);
    let mut raw = Raw::of(&nice.build().expect("a nice value makes a plan"));
    raw.entries[0].args[0] = 0xffff_ffff.into();
    cases.bytes(&raw.bytes(), at(0), Reason::NumberTooWide);
}

fn data_cases(cases: &mut Cases) {
    cases.entry(CHDIR, Reason::OutOfBounds, |entry| entry.data[0].len = 4096.into());
    cases.entry(CHDIR, Reason::OutOfBounds, |entry| entry.data[0].offset = u32::MAX.into());
    cases.entry(CHDIR, Reason::OutOfBounds, |entry| entry.data[0].len = u32::MAX.into());
    cases.entry(CHDIR, Reason::Misplaced, |entry| entry.data[0].offset = 0.into());
    cases.entry(EXEC, Reason::Misplaced, |entry| entry.data[1] = entry.data[0]);
    cases.broken(WHOLE, Reason::Misplaced, |raw| raw.header.envp.data = raw.header.argv.data);
    cases.broken(WHOLE, Reason::OutOfBounds, |raw| raw.header.argv.data.len = u32::MAX.into());
    cases.broken(WHOLE, Reason::UnusedData, |raw| {
        raw.data.push(0);
        raw.fit();
    });
    cases.entry(CHDIR, Reason::Empty, |entry| entry.data[0] = Default::default());

    // Every string of the good plan, with its NUL overwritten or one put inside.
    let last_of = |raw: &Raw, index: usize, data: usize| {
        let at = raw.entries[index].data[data];
        (at.offset.get() + at.len.get()) as usize - 1
    };
    cases.broken(at(CHDIR), Reason::Unterminated, |raw| {
        let end = last_of(raw, CHDIR, 0);
        raw.data[end] = b'x';
    });
    cases.broken(at(EXEC), Reason::NulInside, |raw| {
        let end = last_of(raw, EXEC, 1);
        raw.data[end - 3] = 0;
    });
    cases.broken(at(CHDIR), Reason::NulInside, |raw| {
        let end = last_of(raw, CHDIR, 0);
        raw.data[end - 1] = 0;
    });
    cases.broken(WHOLE, Reason::Unterminated, |raw| raw.data[8] = b'x');
    cases.broken(WHOLE, Reason::StringCount, |raw| raw.data[1] = 0);
    cases.broken(WHOLE, Reason::StringCount, |raw| raw.header.argv.count = 2.into());
    cases.broken(WHOLE, Reason::StringCount, |raw| {
        raw.header.argv.data = Default::default();
    });
    cases.broken(WHOLE, Reason::NotZero, |raw| {
        raw.header.argv.data.len = 0.into();
        raw.header.argv.data.offset = 1.into();
        raw.header.argv.count = 0.into();
    });
    cases.broken(at(GROUPS), Reason::DataLength, |raw| {
        raw.entries[GROUPS].data[0].len = 7.into();
    });
}

fn limit_cases(cases: &mut Cases) {
    let long = |len: usize| std::ffi::CString::new(vec![b'a'; len - 1]).expect("no NUL inside");
    let path = |len: usize| {
        let path = long(len);
        of_ops(all_kept() - Keep::CWD, &[Op::ChdirPath { path: &path }, EXEC_TRUE])
    };
    assert!(path(limits::PATH_BYTES_MAX).build_in_order().is_ok());
    cases.built(&path(limits::PATH_BYTES_MAX + 1), at(0), Reason::StringTooLong);
    let search = |len: usize| {
        let flags = ExecFlags::empty();
        of_ops(all_kept(), &[Op::ExecName { name: c"a", search: &long(len), flags }])
    };
    assert!(search(limits::SEARCH_BYTES_MAX).build_in_order().is_ok());
    cases.built(&search(limits::SEARCH_BYTES_MAX + 1), at(0), Reason::StringTooLong);

    let argument = |len: usize| {
        let mut plan = of_ops(all_kept(), &[EXEC_TRUE]);
        plan.arg(long(len).as_bytes());
        plan
    };
    assert!(argument(limits::STRING_BYTES_MAX).build_in_order().is_ok());
    cases.built(&argument(limits::STRING_BYTES_MAX + 1), WHOLE, Reason::StringTooLong);
    let environment = |bytes: usize| {
        let mut plan = PlanBuilder::new();
        plan.keep(all_kept()).op(&EXEC_TRUE).arg("");
        // What argv takes: one empty string.
        let mut left = bytes - 1 - 8;
        while left > 0 {
            let one = left.min(100_000);
            plan.env_string(long(one - 8).as_bytes());
            left -= one;
        }
        plan
    };
    assert!(environment(limits::STRINGS_BYTES_MAX).build_in_order().is_ok());
    cases.built(&environment(limits::STRINGS_BYTES_MAX + 1), WHOLE, Reason::StringsTooLong);
    cases.broken(WHOLE, Reason::StringsTooLong, |raw| {
        raw.header.argv.count = (limits::STRINGS_MAX + 1).into();
    });

    let groups = |count: usize| {
        let list = vec![0; count * 4];
        of_ops(all_kept(), &[Op::Groups { list: &list }, EXEC_TRUE])
    };
    assert!(groups(limits::GROUPS_MAX).build_in_order().is_ok());
    cases.built(&groups(limits::GROUPS_MAX + 1), at(0), Reason::DataLength);
    let cpus = |mask: &[u8]| of_ops(all_kept(), &[Op::Affinity { mask }, EXEC_TRUE]);
    assert!(cpus(&[1; limits::CPU_MASK_BYTES_MAX]).build_in_order().is_ok());
    cases.built(&cpus(&[1; limits::CPU_MASK_BYTES_MAX + 8]), at(0), Reason::DataLength);
    cases.built(&cpus(&[1; 4]), at(0), Reason::DataLength);
    cases.built(&cpus(&[0; 8]), at(0), Reason::Empty);
    cases.built(&cpus(&[]), at(0), Reason::Empty);
}

fn order_cases(cases: &mut Cases) {
    let umask = Op::Umask { mode: 0 };
    let root = Op::ChrootPath { path: c"/" };
    let cwd = Op::ChdirPath { path: c"/" };
    let put = |fd| Op::PutFd { slot: Slot(0), fd };
    let null = |fd| Op::OpenNull { fd, access: Access::Read };
    let limit = |resource| Op::Rlimit { resource, soft: 0, hard: 0 };
    let group = Op::SetPgid { pgid: 0 };
    let kept = all_kept();
    let table: [(Keep, &[Op<'_>], Option<u32>, Reason); 22] = [
        (kept, &[put(0), group, EXEC_TRUE], at(1), Reason::Order(OpCode::PutFd)),
        (kept - Keep::CWD, &[cwd, root, EXEC_TRUE], at(1), Reason::Order(OpCode::ChdirPath)),
        (kept - Keep::UMASK, &[umask, umask, EXEC_TRUE], at(1), Reason::Repeated),
        (
            kept - Keep::CWD,
            &[cwd, Op::ChdirSlot { slot: Slot(0) }, EXEC_TRUE],
            at(1),
            Reason::Repeated,
        ),
        (kept, &[put(1), put(0), EXEC_TRUE], at(1), Reason::FdOrder),
        (kept, &[put(1), null(1), EXEC_TRUE], at(1), Reason::FdOrder),
        (kept, &[limit(1), limit(1), EXEC_TRUE], at(1), Reason::ResourceOrder),
        (kept - Keep::CWD, &[EXEC_TRUE], WHOLE, Reason::Unsaid("working directory")),
        (kept - Keep::UMASK, &[EXEC_TRUE], WHOLE, Reason::Unsaid("umask")),
        (kept - Keep::SESSION, &[EXEC_TRUE], WHOLE, Reason::Unsaid("session")),
        (kept, &[cwd, EXEC_TRUE], WHOLE, Reason::SaidTwice("working directory")),
        (kept, &[umask, EXEC_TRUE], WHOLE, Reason::SaidTwice("umask")),
        (kept, &[Op::SetSid, EXEC_TRUE], WHOLE, Reason::SaidTwice("session")),
        (
            kept | Keep::SIGNAL_MASK,
            &[Op::SignalMask { set: 0 }, EXEC_TRUE],
            WHOLE,
            Reason::SaidTwice("signal mask"),
        ),
        (
            kept | Keep::IGNORED_SIGNALS,
            &[Op::SignalIgnore { set: 0 }, EXEC_TRUE],
            WHOLE,
            Reason::SaidTwice("ignored signals"),
        ),
        (kept - Keep::SESSION, &[Op::SetSid, group, EXEC_TRUE], at(1), Reason::PgidInNewSession),
        (
            kept,
            &[Op::ControllingTty { slot: Slot(0) }, EXEC_TRUE],
            at(0),
            Reason::TtyWithoutSession,
        ),
        (kept, &[Op::SignalDefault { set: 2 }, EXEC_TRUE], WHOLE, Reason::DefaultAnyway),
        (kept, &[root, EXEC_TRUE], WHOLE, Reason::RootWithoutCwd),
        (kept, &[put(0)], WHOLE, Reason::NoStart),
        (kept, &[EXEC_TRUE, EXEC_TRUE], at(1), Reason::AfterStart),
        (kept, &[EXEC_TRUE, Op::Fail { errno: 1 }], at(1), Reason::AfterStart),
    ];
    for (keep, ops, entry, reason) in table {
        cases.built(&of_ops(keep, ops), entry, reason);
    }
    let mut silent = PlanBuilder::new();
    silent.keep(kept).op(&EXEC_TRUE);
    cases.built(&silent, WHOLE, Reason::Empty);
    for spoil in [
        |plan: &mut PlanBuilder| _ = plan.op(&EXEC_TRUE),
        |plan: &mut PlanBuilder| _ = plan.arg("a"),
        |plan: &mut PlanBuilder| _ = plan.env("A", "1"),
        |plan: &mut PlanBuilder| _ = plan.keep(Keep::UMASK),
    ] {
        let mut batch = PlanBuilder::batch();
        assert!(batch.build().is_ok());
        spoil(&mut batch);
        cases.built(&batch, WHOLE, Reason::BatchWithImage);
    }
}

fn range_cases(cases: &mut Cases) {
    cases.range(&Op::Fail { errno: 0 }, "the errno");
    cases.range(&Op::Fail { errno: 4096 }, "the errno");
    cases.range(&Op::SetPgid { pgid: limits::PID_MAX + 1 }, "the process group");
    cases.range(&Op::PutFd { slot: Slot(0), fd: limits::FD_MAX + 1 }, "the descriptor number");
    cases.range(
        &Op::OpenNull { fd: limits::FD_MAX + 1, access: Access::Read },
        "the descriptor number",
    );
    cases.range(&Op::OomScoreAdj { value: -1001 }, "the value");
    cases.range(&Op::OomScoreAdj { value: 1001 }, "the value");
    cases.range(&Op::Rlimit { resource: 16, soft: 0, hard: 0 }, "the resource");
    cases.range(&Op::Nice { value: -21 }, "the nice value");
    cases.range(&Op::Nice { value: 20 }, "the nice value");
    cases.range(&Op::IoPriority { value: 4 << 13 }, "the I/O priority");
    cases.range(&Op::IoPriority { value: 8 }, "the I/O priority");
    cases.range(&Op::Umask { mode: 0o1000 }, "the mode");
    cases.range(&Op::Personality { persona: u32::MAX }, "the persona");
    cases.range(&Op::DeathSignal { signal: 0 }, "the signal");
    cases.range(&Op::DeathSignal { signal: 65 }, "the signal");
    for set in [1 << 8, 1 << 18] {
        cases.range(&Op::SignalIgnore { set }, "the set (SIGKILL and SIGSTOP cannot be ignored)");
        cases.range(&Op::SignalMask { set }, "the set (SIGKILL and SIGSTOP cannot be blocked)");
    }
    let sched = |policy, priority, [runtime_ns, deadline_ns, period_ns]: [u64; 3]| Op::Sched {
        policy,
        priority,
        flags: 0,
        runtime_ns,
        deadline_ns,
        period_ns,
    };
    cases.range(&sched(4, 0, [0; 3]), "the policy");
    cases.range(&sched(0, 1, [0; 3]), "the priority");
    cases.range(&sched(1, 0, [0; 3]), "the priority");
    cases.range(&sched(2, 100, [0; 3]), "the priority");
    cases.range(&sched(6, 1, [1024, 1024, 0]), "the priority");
    cases.range(&sched(0, 0, [1, 0, 0]), "a deadline parameter");
    cases.range(&sched(1, 1, [0, 1, 0]), "a deadline parameter");
    cases.range(&sched(6, 0, [1023, 1024, 0]), "a deadline parameter");
    cases.range(&sched(6, 0, [2048, 1024, 0]), "a deadline parameter");
    cases.range(&sched(6, 0, [1024, 4096, 2048]), "a deadline parameter");
    cases.range(&sched(6, 0, [1024, 1 << 63, 0]), "a deadline parameter");
    // A number that no variant of the typed value stands for.
    let null = Op::OpenNull { fd: 0, access: Access::Read };
    let mut raw = Raw::of(&of_ops(all_kept(), &[null, EXEC_TRUE]).build().expect("it is a plan"));
    raw.entries[0].args[1] = 3.into();
    cases.bytes(&raw.bytes(), at(0), Reason::OutOfRange("a value"));
}

#[test]
fn every_reason_is_provoked_and_names_its_entry() {
    let mut cases = Cases::default();
    header_cases(&mut cases);
    entry_cases(&mut cases);
    data_cases(&mut cases);
    limit_cases(&mut cases);
    order_cases(&mut cases);
    range_cases(&mut cases);
    memory::cases(&mut cases);
    mount::cases(&mut cases);
    namespace::cases(&mut cases);
    confine::cases(&mut cases);
    privilege::cases(&mut cases);

    let source = include_str!("../src/check.rs");
    let (_, rest) = source.split_once("pub enum Reason {").expect("the reasons stand there");
    let (body, _) = rest.split_once("\n}").expect("and end");
    let all: BTreeSet<String> = body
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with(char::is_uppercase))
        .map(|line| line.split(['(', ',']).next().unwrap_or_default().to_owned())
        .collect();
    assert!(all.len() > 30, "the reasons could not be read: {all:?}");
    assert_eq!(all, cases.seen, "left: reasons of the checker; right: those provoked here");
}

#[test]
fn a_nul_in_an_argument_is_refused_before_there_are_bytes() {
    let mut plan = of_ops(all_kept(), &[EXEC_TRUE]);
    plan.arg("a\0b");
    assert_eq!(plan.build(), Err(BuildError::Nul("an argument")));
    let mut plan = of_ops(all_kept(), &[EXEC_TRUE]);
    plan.env("A", "\0");
    assert_eq!(plan.build(), Err(BuildError::Nul("an environment string")));
}

#[test]
fn a_plan_beyond_the_length_limit_is_not_built() {
    let mut plan = of_ops(all_kept(), &[EXEC_TRUE]);
    for _ in 0..9 {
        plan.arg(vec![b'a'; 1 << 20]);
    }
    assert_eq!(plan.build(), Err(BuildError::TooLong));
}

#[test]
fn owned_bytes_are_checked_too() {
    let bytes = good().build().expect("the good plan is one").as_bytes().to_vec();
    assert!(OwnedPlan::from_bytes(bytes.clone()).is_ok());
    assert!(OwnedPlan::from_bytes(&bytes[1..]).is_err());
}
