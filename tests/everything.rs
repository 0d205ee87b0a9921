//! Everything that an embryo does, one thing after the other, for tests that look at by what means
//! it does it.
//!
//! It must never leave out an op on memory: it compares itself with the list of them.

use crate::launch::{Draft, PATIENCE, Way, borrow, c_path};
use crate::on_memory::ops_on_memory;
use embryo::{
    Access, Embryo, ExecFlags, Keep, Load, MapFlags, Op, Plan, Process, Regset, Slot, SpawnOptions,
    X86Regs,
};
use embryo_tests::{children_of_self, probe_path};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};

const PAGE: u64 = 4096;
const CODE: u64 = 0x1000_0000;
const DATA: u64 = 0x2000_0000;
const MOVED: u64 = 0x3000_0000;
/// `mov edi, 42; mov eax, 60; syscall`: exit(42).
const EXIT_42: [u8; 12] = [0xbf, 42, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];

/// Does it all. A start by registers leaps from `page`.
pub(crate) fn everything(page: u64) {
    let mut embryo = create();
    memory(&mut embryo);
    faults(&mut embryo);
    assert!(embryo.regions().count() >= 2);
    assert!(embryo.maps().expect("it lives").iter().any(|entry| entry.range.start == CODE));
    if cfg!(target_arch = "x86_64") {
        assert_eq!(code(by_registers(embryo, page)), Some(42));
        assert_eq!(code(with_a_thread_and_a_filter(page)), Some(42));
        load();
    }
    starts_by_exec();
    at_length();
    from_a_hatchery();
    guardians();
    drop(create());
    assert_eq!(children_of_self(), []);
}

/// One that kills a child, and one that makes and removes a cgroup, or what looks like one: a guardian
/// cannot tell, and not everybody may make one.
fn guardians() {
    let options = SpawnOptions::new().timeout(PATIENCE);
    let mut command = embryo::Command::new(probe_path());
    command.args(["sleep", "600"]).die_with_handle(true).spawn_options(options);
    drop(command.spawn().expect("it can be started"));
    let dir = tempfile::tempdir().expect("one can be made");
    for file in ["cgroup.controllers", "cgroup.subtree_control"] {
        std::fs::write(dir.path().join(file), "").expect("it is one's own");
    }
    let cgroup = embryo::Cgroup::create(&embryo::TransientCgroup::in_parent(dir.path()));
    let cgroup = cgroup.expect("it can be made");
    // As before Linux 5.14: no cgroup.kill, so each process is killed. This number is nobody's.
    let procs = format!("{}\n", i32::MAX);
    std::fs::write(cgroup.path().join("cgroup.procs"), procs).expect("it is one's own");
    drop(cgroup);
    assert!(embryo_tests::wait_for(PATIENCE, || children_of_self().is_empty()));
}

/// Several, so that the embryos are made while one waits, and in another working directory.
fn from_a_hatchery() {
    let options = SpawnOptions::new().timeout(PATIENCE);
    let hatchery = embryo::Hatchery::builder().size(2).options(options).build();
    let hatchery = hatchery.expect("a hatchery can be made");
    let here = std::env::current_dir().expect("one is somewhere");
    for code in 0..6 {
        let mut command = embryo::Command::new(probe_path());
        command.args(["exit", &code.to_string()]).spawn_options(options).hatchery(&hatchery);
        std::env::set_current_dir("/").expect("it is there");
        let launching = command.launch().expect("it can be sent");
        std::env::set_current_dir(&here).expect("it is there");
        assert_eq!(self::code(launching.wait().expect("it starts")), Some(code));
    }
}

fn create() -> Embryo {
    Embryo::create_with(SpawnOptions::new().timeout(PATIENCE)).expect("an embryo can be made")
}

fn has_slot(op: &Op<'_>) -> bool {
    use Op::{ExecSlot, MapSlot, ReadSlot, WriteSlot};
    matches!(op, MapSlot { .. } | WriteSlot { .. } | ReadSlot { .. } | ExecSlot { .. })
}

fn code(mut process: Process) -> Option<i32> {
    let status = process.wait_timeout(PATIENCE).expect("it can be waited for");
    status.expect("it ends").code()
}

/// Every op on memory, each in a message of its own.
fn memory(embryo: &mut Embryo) {
    let file = tempfile::tempfile().expect("a file can be made");
    file.set_len(2 * PAGE).expect("it is a file");
    let (slot, fixed) = (Slot(0), MapFlags::FIXED);
    let (prot, len) = (3, PAGE);
    let layout = layout();
    let ops = [
        Op::Map { addr: CODE, len, prot, flags: fixed },
        Op::Write { addr: CODE, contents: &EXIT_42 },
        Op::Protect { addr: CODE, len, prot: 5 },
        Op::Map { addr: DATA, len: 16 * PAGE, prot, flags: fixed },
        Op::Fill { addr: DATA, len: 100, byte: 1 },
        Op::Fill { addr: DATA, len: PAGE, byte: 0 },
        Op::WriteSlot { slot, addr: DATA, len: 8, offset: 0 },
        Op::ReadSlot { slot, addr: DATA, len: 8, offset: 8 },
        Op::MapSlot { slot, addr: 0, len, prot: 1, flags: MapFlags::SHARED, offset: 0 },
        Op::Map { addr: MOVED + PAGE, len, prot, flags: fixed },
        Op::Remap { addr: MOVED + PAGE, len, to: MOVED, to_len: PAGE },
        Op::Lock { addr: MOVED, len },
        Op::Advise { addr: MOVED, len, advice: 3 },
        Op::Unmap { addr: MOVED, len },
        Op::SignalAction { signal: 10, flags: 0, handler: CODE, restorer: CODE, mask: 1 },
        Op::MmLayout { layout: layout.as_bytes(), auxv: &[] },
        Op::MoveVdso { to: MOVED },
        Op::DropVdso,
    ];
    let mut applied = Vec::new();
    for op in &ops {
        let grants: &[BorrowedFd<'_>] = if has_slot(op) { &[file.as_fd()] } else { &[] };
        embryo.apply(op, grants).unwrap_or_else(|error| panic!("{error}"));
        applied.push(op.code());
    }
    // Not every kernel has names.
    let name = Op::NameRegion { addr: DATA, len, name: c"everything" };
    let _ = embryo.apply(&name, &[]);
    // Those have their turn at the start, strict mode only where there is no filter yet.
    use embryo::OpCode::{SeccompStrict, StartRegs, Thread};
    applied.extend([name.code(), StartRegs, Thread, SeccompStrict]);
    applied.sort_unstable();
    applied.dedup();
    assert_eq!(applied, ops_on_memory().collect::<Vec<_>>(), "an op on memory is left out");

    let long = vec![7; 16 * PAGE as usize];
    embryo.write(DATA, &long).expect("it is writable");
    assert_eq!(embryo.read(DATA, long.len()).expect("it is readable"), long);
}

/// Parts that lie in what is mapped by then.
fn layout() -> embryo::Layout {
    let at = |addr: u64| addr.into();
    embryo::Layout {
        start_code: at(CODE),
        end_code: at(CODE + PAGE),
        start_data: at(DATA),
        end_data: at(DATA + PAGE),
        start_brk: at(DATA + 32 * PAGE),
        brk: at(DATA + 32 * PAGE),
        start_stack: at(DATA + 8 * PAGE),
        arg_start: at(DATA),
        arg_end: at(DATA),
        env_start: at(DATA),
        env_end: at(DATA),
    }
}

fn faults(embryo: &mut Embryo) {
    for op in [
        Op::Fail { errno: 99 },
        Op::Write { addr: MOVED, contents: b"x" },
        Op::Fill { addr: MOVED, len: 1, byte: 0 },
        Op::Unmap { addr: PAGE, len: 1 << 46 },
        Op::Map { addr: CODE, len: PAGE, prot: 1, flags: MapFlags::FIXED },
        Op::ChdirPath { path: c"/no/such/place" },
    ] {
        embryo.apply(&op, &[]).expect_err("it fails");
    }
    assert!(embryo.is_alive());
}

fn by_registers(embryo: Embryo, page: u64) -> Process {
    let regs = Regset::X86(X86Regs::at(CODE, DATA + PAGE));
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    plan.op(&Op::StartRegs { page, regset: regs.as_bytes(), leave: &[] });
    start(embryo, &plan.build().expect("it is a plan"))
}

/// Both threads exit, under a filter that lets everything through.
fn with_a_thread_and_a_filter(page: u64) -> Process {
    let regs = Regset::X86(X86Regs::at(CODE, DATA));
    let regset = regs.as_bytes();
    let program = crate::filter::long(1);
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    plan.op(&Op::NoNewPrivs)
        .op(&Op::Map { addr: CODE, len: PAGE, prot: 3, flags: MapFlags::FIXED })
        .op(&Op::Write { addr: CODE, contents: &EXIT_42 })
        .op(&Op::Protect { addr: CODE, len: PAGE, prot: 5 })
        .op(&Op::Map { addr: DATA, len: PAGE, prot: 3, flags: MapFlags::FIXED })
        .op(&Op::Thread { mask: 0, clear_tid: DATA, regset })
        .op(&Op::Seccomp { flags: embryo::FilterFlags::empty(), program: &program })
        .op(&Op::StartRegs { page, regset, leave: &[] });
    start(create(), &plan.build().expect("it is a plan"))
}

fn start(embryo: Embryo, plan: &Plan) -> Process {
    embryo.start(plan, &[]).unwrap_or_else(|(error, _)| panic!("{error}"))
}

/// A program that is brought into an embryo.
fn load() {
    let mut load = Load::open("/bin/true").expect("it is there");
    load.arg("true");
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    let started = create().start_loaded(&load, plan, &[]);
    assert_eq!(code(started.unwrap_or_else(|(error, _)| panic!("{error}"))), Some(0));
}

/// The three ways to name an image, each after one that is not there.
fn starts_by_exec() {
    let probe = probe_path();
    let path = c_path(&probe);
    let search = c_path(probe.parent().expect("it has one"));
    let flags = ExecFlags::empty();
    let file = File::open(&probe).expect("it is there");
    let images = [
        Op::ExecPath { path: &path, flags },
        Op::ExecName { name: c"embryo-probe", search: &search, flags },
        Op::ExecSlot { slot: Slot(0), flags },
    ];
    for image in images {
        let mut plan = Plan::builder();
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        plan.arg("embryo-probe").arg("exit").arg("7");
        let mut grants: Vec<BorrowedFd<'_>> = Vec::new();
        if has_slot(&image) {
            plan.slot();
            grants.push(file.as_fd());
        }
        let mut nowhere = plan.clone();
        nowhere.op(&Op::ExecPath { path: c"/no/such/program", flags });
        let nowhere = nowhere.build().expect("it is a plan");
        let (_, embryo) = create().start(&nowhere, &grants).expect_err("it is not there");
        let mut embryo = embryo.expect("it is given back");
        embryo.apply(&Op::OpenNull { fd: 1, access: Access::Write }, &[]).expect("it applies");
        let plan = plan.op(&image).build().expect("it is a plan");
        let started = embryo.start(&plan, &grants);
        assert_eq!(code(started.unwrap_or_else(|(error, _)| panic!("{error}"))), Some(7));
    }
}

/// What one message does not hold: a long plan, many strings, many grants; and a trace of it.
fn at_length() {
    let mut draft = Draft::probe(&["exit", "0"]);
    for _ in 0..600 {
        let null = File::open("/dev/null").expect("it is there");
        let slot = draft.grant(null);
        let fd = 100 + draft.grants().len() as u32;
        draft.op(&Op::PutFd { slot, fd });
    }
    for number in 0..2000 {
        draft.env(&format!("VARIABLE_{number}"), "a value that nobody looks at");
    }
    for start in [Some(draft.build()), None] {
        let plan = start.unwrap_or_else(|| {
            draft.op(&Op::Fail { errno: 99 });
            draft.build()
        });
        let options = Way::Seed.options().trace(true);
        match embryo::spawn_with(&plan, &borrow(draft.grants()), options) {
            Ok(process) => assert_eq!(code(process), Some(0)),
            Err(error) => assert_eq!(error.raw_os_error(), Some(99), "{error}"),
        }
    }
}
