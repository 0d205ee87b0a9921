//! What holds for every plan and for all bytes: encoding and decoding are each other's inverse,
//! a plan has one encoding, and no bytes make the checker or a reader panic.
//!
//! A property must never call the checker to decide what it expects of the checker.

#[path = "properties/memory.rs"]
mod memory;
#[path = "properties/mount.rs"]
mod mount;
#[path = "properties/namespace.rs"]
mod namespace;
#[path = "properties/privilege.rs"]
mod privilege;
mod raw;
mod reencode;

use embryo_plan::{
    Access, ConfineOp, ExecFlags, Explained, FilterFlags, Keep, LANDLOCK_RIGHTS, LandlockFlags,
    MAGIC, Op, OpCode, OwnedPlan, Plan, PlanBuilder, PrivilegeOp, RawPlan, Slot, limits,
};
use proptest::collection::{btree_map, vec};
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use raw::Raw;
use reencode::{ops, reencode};
use std::ffi::CString;

const SLOTS: u32 = 4;

/// An op that owns its data.
#[derive(Clone, Debug)]
enum Given {
    Plain(Op<'static>),
    Bytes(OpCode, Vec<u8>),
    Path(OpCode, CString),
    ExecPath(CString, ExecFlags),
    ExecName(CString, CString, ExecFlags),
    Policy(u32, Vec<u8>),
    Keyring(CString),
    Write(u64, Vec<u8>),
    NameRegion([u64; 2], CString),
    MmLayout(Vec<u8>, Vec<u8>),
    StartRegs(u64, Vec<u8>, Vec<u8>),
    Thread(u64, u64, Vec<u8>),
    Seccomp(FilterFlags, Vec<u8>),
    Mount(mount::Mounted),
    Namespace(namespace::Spaced),
    LandlockPath(Slot, CString, u64),
}

impl Given {
    fn op(&self) -> Op<'_> {
        match self {
            Given::Plain(op) => *op,
            Given::Bytes(OpCode::Affinity, mask) => Op::Affinity { mask },
            Given::Policy(mode, nodes) => Op::MemoryPolicy { mode: *mode, nodes },
            Given::Keyring(name) => Op::Privilege(PrivilegeOp::SessionKeyring { name }),
            Given::Bytes(_, list) => Op::Groups { list },
            Given::Path(OpCode::ChrootPath, path) => Op::ChrootPath { path },
            Given::Path(_, path) => Op::ChdirPath { path },
            Given::ExecPath(path, flags) => Op::ExecPath { path, flags: *flags },
            Given::ExecName(name, search, flags) => Op::ExecName { name, search, flags: *flags },
            Given::Write(addr, contents) => Op::Write { addr: *addr, contents },
            Given::NameRegion([addr, len], name) => Op::NameRegion { addr: *addr, len: *len, name },
            Given::MmLayout(layout, auxv) => Op::MmLayout { layout, auxv },
            Given::StartRegs(page, regset, leave) => Op::StartRegs { page: *page, regset, leave },
            Given::Thread(mask, clear_tid, regset) => {
                Op::Thread { mask: *mask, clear_tid: *clear_tid, regset }
            }
            Given::Seccomp(flags, program) => Op::Seccomp { flags: *flags, program },
            Given::Mount(mounted) => mounted.op(),
            Given::Namespace(spaced) => spaced.op(),
            Given::LandlockPath(slot, path, access) => {
                Op::Confine(ConfineOp::LandlockPath { slot: *slot, path, access: *access })
            }
        }
    }
}

/// What a plan is to be built from. Other crates' tests of all plans have it from here.
#[derive(Clone, Debug)]
pub(crate) struct Description {
    ops: Vec<Given>,
    keep: Keep,
    argv: Vec<CString>,
    envp: Vec<CString>,
}

impl Description {
    pub(crate) fn builder(&self) -> PlanBuilder {
        let mut plan = PlanBuilder::new();
        for _ in 0..SLOTS {
            plan.slot();
        }
        plan.keep(self.keep);
        for op in &self.ops {
            plan.op(&op.op());
        }
        self.argv.iter().for_each(|arg| _ = plan.arg(arg.as_bytes()));
        self.envp.iter().for_each(|string| _ = plan.env_string(string.as_bytes()));
        plan
    }

    fn build(&self) -> OwnedPlan {
        self.builder().build().unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

fn text(len: usize) -> impl Strategy<Value = CString> {
    vec(1u8.., 0..len).prop_map(|bytes| CString::new(bytes).expect("no byte is NUL"))
}

fn path() -> impl Strategy<Value = CString> {
    vec(1u8.., 1..60).prop_map(|bytes| CString::new(bytes).expect("no byte is NUL"))
}

fn slot() -> impl Strategy<Value = Slot> + Clone {
    (0..SLOTS).prop_map(Slot)
}

fn plain(op: impl Strategy<Value = Op<'static>> + Clone) -> impl Strategy<Value = Given> + Clone {
    op.prop_map(Given::Plain)
}

fn optional(op: impl Strategy<Value = Given>) -> impl Strategy<Value = Vec<Given>> {
    of(op).prop_map(Vec::from_iter)
}

/// Session and terminal, and whether the session is kept.
fn session() -> impl Strategy<Value = (Vec<Given>, Keep)> {
    let tty = of(plain(slot().prop_map(|slot| Op::ControllingTty { slot })));
    let foreground = of(plain(slot().prop_map(|slot| Op::Foreground { slot })));
    let group = of(plain((0..=limits::PID_MAX).prop_map(|pgid| Op::SetPgid { pgid })));
    let new = (tty, foreground.clone()).prop_map(|(tty, foreground)| {
        let ops = [Some(Given::Plain(Op::SetSid)), tty, foreground];
        (ops.into_iter().flatten().collect(), Keep::empty())
    });
    let kept = (group, foreground).prop_map(|(group, foreground)| {
        (group.into_iter().chain(foreground).collect(), Keep::SESSION)
    });
    prop_oneof![new, kept]
}

/// Descriptors in any order of numbers; the builder sorts them.
fn descriptors() -> impl Strategy<Value = Vec<Given>> {
    let access = select(vec![Access::Read, Access::Write, Access::ReadWrite]);
    let what = prop_oneof![slot().prop_map(Ok), access.prop_map(Err)];
    btree_map(0..=limits::FD_MAX, what, 0..8).prop_map(|numbers| {
        let op = |(fd, what)| match what {
            Ok(slot) => Given::Plain(Op::PutFd { slot, fd }),
            Err(access) => Given::Plain(Op::OpenNull { fd, access }),
        };
        numbers.into_iter().map(op).rev().collect()
    })
}

fn limits_given() -> impl Strategy<Value = Vec<Given>> {
    btree_map(0..limits::RESOURCES_MAX, any::<(u64, u64)>(), 0..5).prop_map(|limits| {
        let op = |(resource, (a, b)): (u32, (u64, u64))| {
            Given::Plain(Op::Rlimit { resource, soft: a.min(b), hard: a.max(b) })
        };
        limits.into_iter().map(op).rev().collect()
    })
}

fn scheduling() -> impl Strategy<Value = Given> {
    let sched = |policy, priority, flags, [runtime_ns, deadline_ns, period_ns]: [u64; 3]| {
        Op::Sched { policy, priority, flags, runtime_ns, deadline_ns, period_ns }
    };
    let flags = 0u16..8;
    let fair = (select(vec![0u32, 3, 5]), flags.clone())
        .prop_map(move |(policy, flags)| sched(policy, 0, flags, [0; 3]));
    let real_time = (1u32..=2, 1u32..=99, flags.clone())
        .prop_map(move |(policy, priority, flags)| sched(policy, priority, flags, [0; 3]));
    let deadline = (vec(1024u64..1 << 63, 3), any::<bool>(), flags).prop_map(
        move |(mut times, implicit, flags)| {
            times.sort_unstable();
            let period = if implicit { 0 } else { times[2] };
            sched(6, 0, flags, [times[0], times[1], period])
        },
    );
    plain(prop_oneof![fair, real_time, deadline])
}

fn resources() -> impl Strategy<Value = Vec<Given>> {
    let mask = (vec(any::<u64>(), 0..4), 1u64..).prop_map(|(mut words, some)| {
        words.push(some);
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    });
    let priority = (0u32..=3, 0u32..=7).prop_map(|(class, level)| class << 13 | level);
    (
        limits_given(),
        optional(scheduling()),
        optional(plain((-20i32..=19).prop_map(|value| Op::Nice { value }))),
        optional(mask.prop_map(|mask| Given::Bytes(OpCode::Affinity, mask))),
        optional(plain(priority.prop_map(|value| Op::IoPriority { value }))),
        optional(plain((-1000i32..=1000).prop_map(|value| Op::OomScoreAdj { value }))),
        optional(plain(any::<u64>().prop_map(|ns| Op::TimerSlack { ns }))),
    )
        .prop_map(|(a, b, c, d, e, f, g)| [a, b, c, d, e, f, g].concat())
}

/// Mounts, root, working directory and umask, and which of them are kept.
fn places() -> impl Strategy<Value = (Vec<Given>, Keep)> {
    let root = prop_oneof![
        path().prop_map(|path| Given::Path(OpCode::ChrootPath, path)),
        plain(slot().prop_map(|slot| Op::ChrootSlot { slot })),
    ];
    let cwd = prop_oneof![
        path().prop_map(|path| Given::Path(OpCode::ChdirPath, path)),
        plain(slot().prop_map(|slot| Op::ChdirSlot { slot })),
    ];
    let umask = plain((0u32..=0o777).prop_map(|mode| Op::Umask { mode }));
    (of((of(root), cwd)), of(umask), mount::mounts()).prop_map(|(places, umask, mounts)| {
        let (mut mounts, new_root) = mounts;
        let (mut root, mut cwd) = places.map_or((None, None), |(root, cwd)| (root, Some(cwd)));
        if new_root {
            root = None;
            cwd = cwd.or(Some(Given::Plain(Op::ChdirPath { path: c"/" })));
        }
        let mut keep = Keep::empty();
        keep.set(Keep::CWD, cwd.is_none());
        keep.set(Keep::UMASK, umask.is_none());
        mounts.extend(root.into_iter().chain(cwd).chain(umask));
        (mounts, keep)
    })
}

fn credentials() -> impl Strategy<Value = Vec<Given>> {
    let list = vec(any::<u32>(), 0..5)
        .prop_map(|gids| gids.iter().flat_map(|gid| gid.to_le_bytes()).collect());
    (
        optional(list.prop_map(|list| Given::Bytes(OpCode::Groups, list))),
        optional(plain(any::<[u32; 3]>().prop_map(|[real, effective, saved]| Op::Gid {
            real,
            effective,
            saved,
        }))),
        optional(plain(any::<[u32; 3]>().prop_map(|[real, effective, saved]| Op::Uid {
            real,
            effective,
            saved,
        }))),
        optional(plain((1u32..=64).prop_map(|signal| Op::DeathSignal { signal }))),
        optional(plain(Just(Op::Subreaper))),
        optional(plain(any::<u32>().prop_map(|persona| Op::Personality { persona }))),
        optional(plain(Just(Op::NoNewPrivs))),
    )
        .prop_map(|(a, b, c, d, e, f, g)| [a, b, c, d, e, f, g].concat())
}

/// Ignored signals and mask, each set, kept or left at the default.
fn signals() -> impl Strategy<Value = (Vec<Given>, Keep)> {
    let set = any::<u64>().prop_map(|set| set & !(1 << 8 | 1 << 18));
    let some = |op: fn(u64) -> Op<'static>, keep: Keep| {
        set.clone().prop_map(move |set| (vec![Given::Plain(op(set))], keep))
    };
    let ignored = prop_oneof![
        Just((vec![], Keep::empty())),
        Just((vec![], Keep::IGNORED_SIGNALS)),
        some(|set| Op::SignalIgnore { set }, Keep::empty()),
        some(|set| Op::SignalDefault { set }, Keep::IGNORED_SIGNALS),
    ];
    let mask = prop_oneof![
        Just((vec![], Keep::empty())),
        Just((vec![], Keep::SIGNAL_MASK)),
        some(|set| Op::SignalMask { set }, Keep::empty()),
    ];
    (ignored, mask).prop_map(|((a, kept_a), (b, kept_b))| ([a, b].concat(), kept_a | kept_b))
}

fn image() -> impl Strategy<Value = Given> {
    let shell = select(vec![ExecFlags::empty(), ExecFlags::SHELL]);
    let open = select(vec![ExecFlags::empty(), ExecFlags::KEEP_OPEN]);
    prop_oneof![
        (path(), shell.clone()).prop_map(|(path, flags)| Given::ExecPath(path, flags)),
        (path(), text(80), shell)
            .prop_map(|(name, search, flags)| Given::ExecName(name, search, flags)),
        plain((slot(), open).prop_map(|(slot, flags)| Op::ExecSlot { slot, flags })),
        memory::registers(),
    ]
}

/// Landlock, with some rules of the child's own, or none.
fn landlock() -> impl Strategy<Value = Vec<Given>> {
    let flags = (0..=LandlockFlags::all().bits()).prop_map(LandlockFlags::from_bits_retain);
    let rule = (path(), 1u64..1 << LANDLOCK_RIGHTS.len());
    of((slot(), flags, vec(rule, 0..3))).prop_map(|found| {
        let Some((slot, flags, rules)) = found else { return vec![] };
        let rule = |(path, access)| Given::LandlockPath(slot, path, access);
        let landlock = Op::Confine(ConfineOp::Landlock { slot, flags });
        rules.into_iter().map(rule).chain([Given::Plain(landlock)]).collect()
    })
}

/// What a start by registers can install.
fn only_one_filter(ops: &mut Vec<Given>) {
    let mut found = false;
    ops.retain_mut(|op| {
        let Given::Seccomp(flags, _) = op else { return true };
        *flags -= FilterFlags::LISTENER | FilterFlags::WAIT_KILLABLE;
        !std::mem::replace(&mut found, true)
    });
}

/// Everything that makes a plan, in an order that the builder has to mend, with an op that fails
/// thrown in somewhere.
pub(crate) fn description() -> impl Strategy<Value = Description> {
    // Boxed, or the value trees of all families together are too much for a test's stack.
    let before_image = (
        session().boxed(),
        descriptors().boxed(),
        resources().boxed(),
        places().boxed(),
        credentials().boxed(),
        signals().boxed(),
        memory::memory().boxed(),
        vec((any::<Index>(), 1u32..=4095), 0..3),
    );
    let strings = (vec(text(20), 1..4), vec(text(20), 0..4));
    let start = (
        (image().boxed(), memory::filter().boxed(), memory::threads().boxed()),
        (privilege::privileges().boxed(), landlock().boxed(), namespace::namespaces().boxed()),
    );
    (before_image, start, strings).prop_map(|(parts, start, (mut argv, mut envp))| {
        let ((image, filter, threads), (mut privileges, landlock, spaces)) = start;
        if matches!(image, Given::StartRegs(..)) {
            privileges.retain(|op| !matches!(op, Given::Plain(Op::Privilege(PrivilegeOp::Mdwe))));
        }
        let (session, fds, resources, places, ids, signals, memory, fails) = parts;
        let (session, kept_session) = session;
        let (places, kept_places) = places;
        let (signals, kept_signals) = signals;
        let rest =
            [landlock, filter, signals, memory, privileges, ids, places, resources, fds, spaces];
        let mut ops = rest.concat();
        namespace::settle(&mut ops);
        mount::settle(&mut ops);
        if matches!(image, Given::StartRegs(..)) {
            argv.clear();
            envp.clear();
            ops.extend(threads);
            only_one_filter(&mut ops);
        } else {
            ops.retain(|op| !matches!(op, Given::Plain(Op::SeccompStrict)));
        }
        for (at, errno) in fails {
            ops.insert(at.index(ops.len() + 1), Given::Plain(Op::Fail { errno }));
        }
        // Its terminal refers to the session, which the builder puts in front; the image comes last.
        ops.extend(session);
        ops.push(image);
        let keep = kept_session | kept_places | kept_signals;
        Description { ops, keep, argv, envp }
    })
}

/// Reads everything that can be read of bytes that split, checked or not, as a seed would.
fn read_all(plan: &Plan<'_>) -> usize {
    let ops = plan.ops().flatten().map(|op| op.to_string().len()).sum::<usize>();
    let strings = plan.argv().chain(plan.envp()).map(|text| text.count_bytes()).sum::<usize>();
    let codes = (0..plan.entries().len() as u32).filter_map(|index| plan.code(index)).count();
    ops + strings + codes + plan.keep().names().count() + plan.route() as usize
}

/// What must hold for any bytes whatever.
fn bytes_hold(bytes: &[u8]) -> Result<bool, TestCaseError> {
    if let Some(plan) = Plan::split(bytes) {
        read_all(&plan);
    }
    match RawPlan(bytes).check() {
        Ok(plan) => {
            prop_assert!(!Explained(plan).to_string().is_empty());
            prop_assert_eq!(plan.as_bytes(), bytes);
            let again = reencode(&plan);
            prop_assert_eq!(again.as_bytes(), bytes, "a second encoding of one plan");
            Ok(true)
        }
        Err(error) => {
            prop_assert!(!error.to_string().is_empty());
            Ok(false)
        }
    }
}

/// One change to the bytes of a plan.
#[derive(Clone, Debug)]
enum Damage {
    Byte(Index, u8),
    Bit(Index, u8),
    Word(Index, u32),
    Cut(Index),
    Insert(Index, u8),
    /// One word of an entry or of the header becomes that of another place.
    Copy(Index, Index),
    SwapEntries(Index, Index),
    DropEntry(Index),
    RepeatEntry(Index),
}

fn damage() -> impl Strategy<Value = Damage> {
    let word = prop_oneof![
        select(vec![0, 1, u32::MAX, u32::MAX - 1, i32::MAX as u32, limits::ENTRIES_MAX + 1]),
        0u32..300,
        any::<u32>(),
    ];
    prop_oneof![
        any::<(Index, u8)>().prop_map(|(at, byte)| Damage::Byte(at, byte)),
        any::<(Index, u8)>().prop_map(|(at, bit)| Damage::Bit(at, bit % 8)),
        (any::<Index>(), word).prop_map(|(at, word)| Damage::Word(at, word)),
        any::<Index>().prop_map(Damage::Cut),
        any::<(Index, u8)>().prop_map(|(at, byte)| Damage::Insert(at, byte)),
        any::<(Index, Index)>().prop_map(|(from, to)| Damage::Copy(from, to)),
        any::<(Index, Index)>().prop_map(|(a, b)| Damage::SwapEntries(a, b)),
        any::<Index>().prop_map(Damage::DropEntry),
        any::<Index>().prop_map(Damage::RepeatEntry),
    ]
}

fn spoil(plan: &OwnedPlan, damage: &[Damage]) -> Vec<u8> {
    let mut raw = Raw::of(plan);
    for one in damage {
        let count = raw.entries.len();
        match one {
            Damage::SwapEntries(a, b) if count > 0 => {
                raw.entries.swap(a.index(count), b.index(count));
            }
            Damage::DropEntry(at) if count > 0 => _ = raw.entries.remove(at.index(count)),
            Damage::RepeatEntry(at) if count > 0 => {
                let at = at.index(count);
                raw.entries.insert(at, raw.entries[at]);
            }
            _ => {}
        }
    }
    raw.fit();
    let mut bytes = raw.bytes();
    for one in damage {
        let (len, words) = (bytes.len(), bytes.len() / 4);
        if words == 0 {
            break;
        }
        match one {
            Damage::Byte(at, byte) => bytes[at.index(len)] = *byte,
            Damage::Bit(at, bit) => bytes[at.index(len)] ^= 1 << bit,
            Damage::Word(at, word) => {
                let at = at.index(words) * 4;
                bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
            }
            Damage::Cut(at) => bytes.truncate(at.index(len)),
            Damage::Insert(at, byte) => bytes.insert(at.index(len), *byte),
            Damage::Copy(from, to) => {
                let (from, to) = (from.index(words) * 4, to.index(words) * 4);
                bytes.copy_within(from..from + 4, to);
            }
            _ => {}
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_was_built_is_what_is_read(given in description()) {
        let plan = given.build();
        let view = RawPlan(plan.as_bytes()).check().expect("the builder checked it");
        let read = ops(&view);
        prop_assert_eq!(read.len(), given.ops.len());
        // The builder may change the order but nothing else.
        let sorted = |ops: &mut Vec<String>| ops.sort_unstable();
        let mut wanted: Vec<_> = given.ops.iter().map(|op| format!("{:?}", op.op())).collect();
        let mut found: Vec<_> = read.iter().map(|op| format!("{op:?}")).collect();
        sorted(&mut wanted);
        sorted(&mut found);
        prop_assert_eq!(wanted, found);
        prop_assert_eq!(view.keep(), given.keep);
        prop_assert_eq!(view.slots(), SLOTS);
        prop_assert!(view.argv().eq(given.argv.iter().map(CString::as_c_str)));
        prop_assert!(view.envp().eq(given.envp.iter().map(CString::as_c_str)));
        prop_assert_eq!(view.argv().count(), given.argv.len());
    }

    #[test]
    fn a_plan_has_one_encoding(given in description()) {
        prop_assert!(bytes_hold(given.build().as_bytes())?);
    }

    #[test]
    fn the_builder_orders_what_it_built_no_further(given in description()) {
        let once = given.build();
        let mut builder = PlanBuilder::new();
        (0..SLOTS).for_each(|_| _ = builder.slot());
        builder.keep(given.keep);
        ops(&once.as_plan()).iter().for_each(|op| _ = builder.op(op));
        given.argv.iter().for_each(|arg| _ = builder.arg(arg.as_bytes()));
        given.envp.iter().for_each(|text| _ = builder.env_string(text.as_bytes()));
        let twice = builder.build().expect("the same ops make a plan");
        prop_assert_eq!(twice.as_bytes(), once.as_bytes());
    }

    #[test]
    fn every_prefix_of_a_plan_is_truncated(given in description(), at in any::<Index>()) {
        let plan = given.build();
        let bytes = plan.as_bytes();
        let error = RawPlan(&bytes[..at.index(bytes.len())]).check().map(|_| ());
        prop_assert_eq!(error.map_err(|e| e.reason), Err(embryo_plan::Reason::Truncated));
    }

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..2048)) {
        bytes_hold(&bytes)?;
    }

    #[test]
    fn random_bytes_behind_a_magic_number_never_panic(bytes in vec(any::<u8>(), 0..2048)) {
        bytes_hold(&[&MAGIC[..], &[1, 0, 72, 0], &bytes].concat())?;
    }

    #[test]
    fn damaged_plans_never_panic(given in description(), damage in vec(damage(), 1..5)) {
        bytes_hold(&spoil(&given.build(), &damage))?;
    }
}

#[test]
fn every_op_can_be_generated() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..400 {
        let tree = description().new_tree(&mut runner).expect("a description can be made");
        seen.extend(tree.current().ops.iter().map(|given| given.op().code()));
    }
    let missing: Vec<_> = OpCode::ALL.iter().filter(|code| !seen.contains(code)).collect();
    assert!(missing.is_empty(), "no property ever sees {missing:?}");
}
