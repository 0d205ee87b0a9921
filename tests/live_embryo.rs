//! Promise: an embryo is a process that holds nothing of its owner, takes any op in any number of
//! messages, survives the ones that fail, starts by exec or by registers, and dies with its owner.
//!
//! It must never look at the embryo through ptrace or its memory file: that nobody needs those is
//! part of the promise.

mod on_memory;
mod silence;

use embryo::{
    Cause, Embryo, Error, ExecFlags, Keep, MapFlags, Op, OpCode, Plan, PlanBuilder, Process,
    Regset, Slot, SpawnOptions, X86Regs,
};
use embryo_tests::{Leftovers, Report, wait_for};
use embryo_tests::{
    alone, assert_nothing_left, children_of_self, is_root, probe, rerun_as_nobody, skip,
};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

const PAGE: u64 = 4096;
const R: u32 = 1;
const RW: u32 = 3;
const RX: u32 = 5;
const PATIENCE: Duration = Duration::from_secs(30);

/// `mov edi, 42; mov eax, 60; syscall`: exit(42).
const EXIT_42: [u8; 12] = [0xbf, 42, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
/// `jmp .`: for ever.
const FOR_EVER: [u8; 2] = [0xeb, 0xfe];

fn embryo() -> Embryo {
    Embryo::create_with(SpawnOptions::new().timeout(PATIENCE)).expect("an embryo can be made")
}

/// Two pages of fresh memory at an address of the kernel's choice.
fn two_pages(embryo: &mut Embryo) -> u64 {
    let op = Op::Map { addr: 0, len: 2 * PAGE, prot: RW, flags: MapFlags::empty() };
    embryo.apply(&op, &[]).expect("memory can be mapped")
}

/// Code in a page of its own, readable and executable.
fn code(embryo: &mut Embryo, code: &[u8]) -> u64 {
    let at = two_pages(embryo);
    embryo.write(at, code).expect("it is writable");
    embryo.apply(&Op::Protect { addr: at, len: PAGE, prot: RX }, &[]).expect("it is mapped");
    at
}

fn start_at(instruction: u64, stack: u64) -> Plan {
    let regs = Regset::X86(X86Regs::at(instruction, stack));
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    plan.op(&Op::StartRegs { page: 0, regset: regs.as_bytes(), leave: &[] });
    plan.build().expect("it is a plan")
}

fn start(embryo: Embryo, plan: &Plan) -> Process {
    embryo.start(plan, &[]).map_err(|(error, _)| error).expect("it starts")
}

fn errno(error: &Error) -> Option<i32> {
    error.raw_os_error()
}

#[test]
fn it_holds_the_seed_and_nothing_of_its_owner() {
    alone!();
    let file = tempfile::tempfile().expect("a file can be made");
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::empty()).expect("it is open");
    let embryo = embryo();
    let maps = embryo.maps().expect("it lives");
    let foreign = maps.iter().find(|entry| {
        let special = entry.name.starts_with('[');
        let seed = entry.name.contains("embryo:seed");
        // The seed's zeroed data has no name and follows its image.
        !special && !seed && entry.range.start > 0x40_0000
    });
    assert_eq!(foreign, None, "{maps:#x?}");
    let fds: Vec<String> = std::fs::read_dir(format!("/proc/{}/fd", embryo.id()))
        .expect("it lives")
        .flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .map(|link| link.to_string_lossy().into_owned())
        .collect();
    // Its socket, and its owner's pidfd.
    assert_eq!(fds.len(), 2, "{fds:?}");
    assert!(fds.iter().any(|fd| fd.starts_with("socket:")), "{fds:?}");
    let environ = std::fs::read(format!("/proc/{}/environ", embryo.id())).expect("it lives");
    assert_eq!(environ, b"", "no environment");
}

#[test]
fn every_op_on_memory_does_what_it_says() {
    alone!();
    let mut tested = Vec::new();
    let mut embryo = embryo();
    let mut apply = |embryo: &mut Embryo, op: &Op<'_>, grants: &[std::os::fd::BorrowedFd<'_>]| {
        tested.push(op.code());
        embryo.apply(op, grants).unwrap_or_else(|error| panic!("{error}"))
    };
    let find = |embryo: &Embryo, addr: u64| {
        let maps = embryo.maps().expect("it lives");
        maps.into_iter().find(|entry| entry.range.contains(&addr))
    };

    let fixed = 0x1000_0000;
    let flags = MapFlags::FIXED;
    let op = Op::Map { addr: fixed, len: 4 * PAGE, prot: RW, flags };
    assert_eq!(apply(&mut embryo, &op, &[]), fixed);
    assert_eq!(find(&embryo, fixed).expect("mapped").range, fixed..fixed + 4 * PAGE);

    apply(&mut embryo, &Op::Write { addr: fixed + 10, contents: b"written" }, &[]);
    assert_eq!(embryo.read(fixed + 10, 7).expect("readable"), b"written");
    apply(&mut embryo, &Op::Fill { addr: fixed + PAGE - 5, len: PAGE + 10, byte: 0xee }, &[]);
    let filled = embryo.read(fixed + PAGE - 6, PAGE as usize + 12).expect("readable");
    let inner = &filled[1..filled.len() - 1];
    assert!(inner.iter().all(|byte| *byte == 0xee));
    assert_eq!((filled[0], filled[filled.len() - 1]), (0, 0), "not a byte more");

    let mut file = tempfile::tempfile().expect("a file can be made");
    file.write_all(&vec![b'f'; 3 * PAGE as usize]).expect("it has room");
    let op = Op::WriteSlot { slot: Slot(0), addr: fixed + 3, len: PAGE, offset: 5 };
    assert_eq!(apply(&mut embryo, &op, &[file.as_fd()]), PAGE);
    assert_eq!(embryo.read(fixed + 3, 4).expect("readable"), b"ffff");
    embryo.write(fixed, b"out").expect("writable");
    let op = Op::ReadSlot { slot: Slot(0), addr: fixed, len: 3, offset: 1 };
    apply(&mut embryo, &op, &[file.as_fd()]);
    let mut text = [0; 5];
    file.seek(SeekFrom::Start(0)).expect("it is a file");
    file.read_exact(&mut text).expect("it is long enough");
    assert_eq!(&text, b"foutf");

    let flags = MapFlags::SHARED;
    let op = Op::MapSlot { slot: Slot(0), addr: 0, len: PAGE, prot: RW, flags, offset: PAGE };
    let shared = apply(&mut embryo, &op, &[file.as_fd()]);
    embryo.write(shared, b"through").expect("writable");
    file.seek(SeekFrom::Start(PAGE)).expect("it is a file");
    let mut text = [0; 7];
    file.read_exact(&mut text).expect("it is long enough");
    assert_eq!(&text, b"through", "a shared mapping reaches the file");
    let entry = find(&embryo, shared).expect("mapped");
    assert!(entry.shared && entry.offset == PAGE, "{entry:?}");

    apply(&mut embryo, &Op::Protect { addr: fixed, len: PAGE, prot: R }, &[]);
    assert_eq!(find(&embryo, fixed).expect("mapped").prot, R);
    let op = Op::Remap { addr: fixed + PAGE, len: PAGE, to: 0x2000_0000, to_len: 2 * PAGE };
    assert_eq!(apply(&mut embryo, &op, &[]), 0x2000_0000);
    assert!(find(&embryo, fixed + PAGE).is_none());
    assert_eq!(embryo.read(0x2000_0000, 4).expect("readable"), [b'f', b'f', b'f', 0xee]);
    apply(&mut embryo, &Op::Lock { addr: 0x2000_0000, len: PAGE }, &[]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", embryo.id())).expect("alive");
    assert!(status.lines().any(|line| line.starts_with("VmLck:") && line.contains(" 4 kB")));
    const MADV_DONTNEED: u32 = 4;
    let op = Op::Advise { addr: fixed + 2 * PAGE, len: PAGE, advice: MADV_DONTNEED };
    apply(&mut embryo, &op, &[]);
    assert_eq!(embryo.read(fixed + 2 * PAGE, 1).expect("readable"), [0]);
    apply(&mut embryo, &Op::Unmap { addr: fixed, len: 4 * PAGE }, &[]);
    assert!(find(&embryo, fixed).is_none() && find(&embryo, fixed + 3 * PAGE).is_none());
    let op = Op::SignalAction { signal: 10, flags: 0, handler: 0x1234, restorer: 0, mask: 1 };
    apply(&mut embryo, &op, &[]);
    let status = std::fs::read_to_string(format!("/proc/{}/status", embryo.id())).expect("alive");
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t"));
    assert_eq!(caught, Some("0000000000000200"));

    let regions: Vec<u64> = embryo.regions().map(|region| region.addr).collect();
    let mut expected = vec![0x2000_0000, shared];
    expected.sort_unstable();
    assert_eq!(regions, expected, "the owner's account agrees");

    // A region's name and the start have tests of their own below.
    tested.extend([OpCode::NameRegion, OpCode::StartRegs]);
    tested.sort_unstable();
    tested.dedup();
    let meant: Vec<OpCode> = on_memory::ops_on_memory().collect();
    assert_eq!(tested, meant, "left: what is tested here; right: what every_op.rs leaves to this");
}

#[test]
fn a_region_gets_a_name() {
    alone!();
    const EINVAL: Option<i32> = Some(22);
    let mut embryo = embryo();
    let addr = two_pages(&mut embryo);
    match embryo.apply(&Op::NameRegion { addr, len: PAGE, name: c"under test" }, &[]) {
        Ok(_) => {
            let maps = embryo.maps().expect("it lives");
            let named = maps.iter().find(|entry| entry.range.contains(&addr));
            assert_eq!(named.expect("mapped").name, "[anon:under test]");
        }
        Err(error) if error.raw_os_error() == EINVAL => {
            skip!("this kernel has no names for anonymous memory (5.17, CONFIG_ANON_VMA_NAME)");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_fault_leaves_it_usable() {
    alone!();
    const EFAULT: Option<i32> = Some(14);
    const EBUSY: Option<i32> = Some(16);
    const EEXIST: Option<i32> = Some(17);
    const ENOMEM: Option<i32> = Some(12);
    const ENODATA: Option<i32> = Some(61);
    const EBADF: Option<i32> = Some(9);
    let mut embryo = embryo();
    let seed = embryo.maps().expect("it lives")[0].range.start;
    let stack = embryo.maps().expect("it lives").into_iter().find(|m| m.name == "[stack]");
    let stack = stack.expect("it has one").range.start;
    let empty = tempfile::tempfile().expect("a file can be made");
    let read_only = std::fs::File::open("/dev/null").expect("it is there");
    let at = two_pages(&mut embryo);
    let map = |addr, flags| Op::Map { addr, len: PAGE, prot: RW, flags };
    let fd = [empty.as_fd()];
    let checks: [(Op<'_>, Option<i32>); 15] = [
        (Op::Write { addr: 0x10_0000, contents: b"x" }, EFAULT),
        (Op::Fill { addr: 0x10_0000, len: 1, byte: 1 }, EFAULT),
        (Op::Write { addr: seed, contents: b"x" }, EBUSY),
        (Op::Fill { addr: stack, len: 1, byte: 0 }, EBUSY),
        (Op::Unmap { addr: seed, len: PAGE }, EBUSY),
        (Op::Unmap { addr: PAGE, len: 1 << 46 }, EBUSY),
        (Op::Protect { addr: seed, len: PAGE, prot: 0 }, EBUSY),
        (Op::Protect { addr: 0x10_0000, len: PAGE, prot: R }, ENOMEM),
        (Op::Remap { addr: at, len: PAGE, to: seed, to_len: PAGE }, EBUSY),
        (Op::Remap { addr: 0x10_0000, len: PAGE, to: 0, to_len: PAGE }, EFAULT),
        (Op::Advise { addr: seed, len: PAGE, advice: 4 }, EBUSY),
        (map(at, MapFlags::FIXED), EEXIST),
        (map(seed, MapFlags::FIXED), EEXIST),
        (Op::Lock { addr: 0x10_0000, len: PAGE }, ENOMEM),
        (Op::Fail { errno: 99 }, Some(99)),
    ];
    for (op, expected) in &checks {
        let error = embryo.apply(op, &[]).expect_err("it fails");
        assert_eq!(errno(&error), *expected, "{op}: {error}");
        assert_eq!(error.as_spawn().and_then(|fault| fault.index()), Some(0), "{error}");
    }
    let op = Op::WriteSlot { slot: Slot(0), addr: at, len: 1, offset: 0 };
    assert_eq!(errno(&embryo.apply(&op, &fd).expect_err("it is empty")), ENODATA);
    let op = Op::ReadSlot { slot: Slot(0), addr: at, len: 1, offset: 0 };
    assert_eq!(errno(&embryo.apply(&op, &[read_only.as_fd()]).expect_err("read-only")), EBADF);
    assert!(embryo.is_alive());
    embryo.write(at, b"still here").expect("it can be used on");
    assert_eq!(embryo.read(at, 10).expect("readable"), b"still here");
}

#[test]
fn what_is_not_sound_is_refused_before_anything_happens() {
    alone!();
    let mut embryo = embryo();
    let end = embryo::limits::ADDRESS_END;
    let flags = MapFlags::empty();
    let refused = [
        Op::Map { addr: 1, len: PAGE, prot: RW, flags },
        Op::Map { addr: 0, len: 0, prot: RW, flags },
        Op::Map { addr: 0, len: 100, prot: RW, flags },
        Op::Map { addr: 0, len: PAGE, prot: 8, flags },
        Op::Map { addr: 0, len: PAGE, prot: RW, flags: MapFlags::FIXED },
        Op::Map { addr: end, len: PAGE, prot: RW, flags },
        Op::Map { addr: PAGE, len: !(PAGE - 1), prot: RW, flags },
        Op::MapSlot { slot: Slot(0), addr: 0, len: PAGE, prot: RW, flags, offset: 1 },
        Op::Write { addr: end, contents: b"x" },
        Op::Fill { addr: 0, len: 0, byte: 0 },
        Op::SignalAction { signal: 9, flags: 0, handler: 0, restorer: 0, mask: 0 },
        Op::SignalAction { signal: 65, flags: 0, handler: 0, restorer: 0, mask: 0 },
    ];
    for op in refused {
        let error = embryo.apply(&op, &[]).expect_err("it is not sound");
        assert!(matches!(error, Error::Plan(_)), "{op}: {error}");
    }
    for (instruction, stack) in [(1 << 47, PAGE), (PAGE, 1 << 63), (!0, 0)] {
        let regs = Regset::X86(X86Regs::at(instruction, stack));
        let mut plan = Plan::builder();
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        plan.op(&Op::StartRegs { page: 0, regset: regs.as_bytes(), leave: &[] });
        assert!(plan.build().is_err(), "{instruction:#x} {stack:#x}");
    }
    let wide = X86Regs { rflags: (1 << 17 | 0x202).into(), ..X86Regs::at(PAGE, PAGE) };
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    let regs = Regset::X86(wide);
    plan.op(&Op::StartRegs { page: 0, regset: regs.as_bytes(), leave: &[] });
    assert!(plan.build().is_err(), "virtual-8086 mode");
    assert!(embryo.is_alive());
}

#[test]
fn a_batch_is_one_message_and_ends_at_its_first_fault() {
    alone!();
    let mut embryo = embryo();
    let at = two_pages(&mut embryo);
    let mut batch = PlanBuilder::batch();
    for byte in 0..100u8 {
        batch.op(&Op::Fill { addr: at + u64::from(byte), len: 1, byte });
    }
    let results = embryo.apply_all(&batch.build().expect("a batch"), &[]).expect("it applies");
    assert_eq!(results, [1; 100]);
    assert_eq!(embryo.read(at, 100).expect("readable"), (0..100).collect::<Vec<u8>>());

    let mut batch = PlanBuilder::batch();
    batch.op(&Op::Fill { addr: at, len: 1, byte: 200 });
    batch.op(&Op::Fill { addr: 0x10_0000, len: 1, byte: 200 });
    batch.op(&Op::Fill { addr: at + 1, len: 1, byte: 200 });
    let batch = batch.build_in_order().expect("a batch");
    let error = embryo.apply_all(&batch, &[]).expect_err("the second fails");
    assert_eq!(error.as_spawn().and_then(|fault| fault.index()), Some(1));
    assert_eq!(embryo.read(at, 2).expect("readable"), [200, 1], "the first took effect alone");
}

#[test]
fn any_op_of_a_plan_can_be_applied_piecemeal() {
    alone!();
    let mut embryo = embryo();
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
    let dir = std::fs::File::open("/usr").expect("it is there");
    embryo.apply(&Op::PutFd { slot: Slot(0), fd: 1 }, &[writer.as_fd()]).expect("applied");
    embryo.apply(&Op::SetSid, &[]).expect("applied");
    embryo.apply(&Op::ChdirSlot { slot: Slot(0) }, &[dir.as_fd()]).expect("applied");
    embryo.apply(&Op::Umask { mode: 0o27 }, &[]).expect("applied");
    embryo.apply(&Op::Nice { value: 7 }, &[]).expect("applied");
    embryo.apply(&Op::NoNewPrivs, &[]).expect("applied");
    let fds = std::fs::read_dir(format!("/proc/{}/fd", embryo.id())).expect("alive").count();
    assert_eq!(fds, 3, "what was only lent is closed: socket, pidfd, and what was put at 1");
    let path = std::ffi::CString::new(probe!().as_os_str().as_bytes()).expect("no NUL");
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    plan.op(&Op::ExecPath { path: &path, flags: ExecFlags::empty() });
    plan.arg("embryo-probe").arg("report").env("A", "b");
    let mut process = start(embryo, &plan.build().expect("a plan"));
    drop(writer);
    let mut text = Vec::new();
    reader.read_to_end(&mut text).expect("it writes");
    assert!(process.wait().expect("it ends").success());
    let report = Report::parse(&text);
    assert_eq!(report.fd_numbers(), [1]);
    assert_eq!(
        (report.cwd.as_ref().expect("known"), report.umask, report.nice),
        (&"/usr".into(), 0o27, 7)
    );
    assert_eq!(report.sid, report.pid);
    assert_eq!(report.env("A"), Some(&b"b"[..]));
    assert!(report.blocked().is_empty() && report.ignored().is_empty());
}

#[test]
fn a_start_by_registers_leaves_one_page_of_the_seed() {
    alone!();
    let mut embryo = embryo();
    let at = code(&mut embryo, &EXIT_42);
    let mut process = start(embryo, &start_at(at, at + 2 * PAGE));
    assert_eq!(process.wait().expect("it ends").code(), Some(42));

    let mut embryo = self::embryo();
    let at = 0x1000_0000;
    // Apart from what the kernel places, or neighbours would count as one mapping.
    let flags = MapFlags::FIXED;
    embryo.apply(&Op::Map { addr: at, len: 2 * PAGE, prot: RW, flags }, &[]).expect("mapped");
    embryo.write(at, &FOR_EVER).expect("it is writable");
    embryo.apply(&Op::Protect { addr: at, len: PAGE, prot: RX }, &[]).expect("it is mapped");
    let mut process = start(embryo, &start_at(at, at + 2 * PAGE));
    let maps = || std::fs::read_to_string(format!("/proc/{}/maps", process.id())).expect("alive");
    // The call returns when the socket is closed, a moment before the last instructions.
    assert!(wait_for(PATIENCE, || !maps().contains("[stack]")), "{}", maps());
    let maps = maps();
    assert!(!maps.contains("embryo:seed"), "{maps}");
    let plain = maps.lines().filter(|line| !line.contains("[v")).count();
    assert_eq!(plain, 3, "code, stack and one page:\n{maps}");
    let fds = std::fs::read_dir(format!("/proc/{}/fd", process.id())).expect("alive").count();
    assert_eq!(fds, 0, "it cannot reach the control socket");
    let status = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("alive");
    for set in ["SigBlk", "SigIgn", "SigCgt"] {
        assert!(status.contains(&format!("{set}:\t0000000000000000")), "{status}");
    }
    process.kill().expect("it lives");
    assert_eq!(process.wait().expect("it ends").signal(), Some(9));
}

#[test]
fn registers_arrive() {
    alone!();
    // Writes rbx to the address in rbp, adds r15 to rax in rdx, and exits with the low byte of
    // the thread pointer's first word: mov rdi, fs:[0]; mov [rbp], rbx; mov eax, 60; syscall.
    let text = [
        0x64, 0x48, 0x8b, 0x3c, 0x25, 0, 0, 0, 0, 0x48, 0x89, 0x5d, 0x00, 0xb8, 60, 0, 0, 0, 0x0f,
        0x05,
    ];
    let mut embryo = embryo();
    let file = rustix::fs::memfd_create(c"out", rustix::fs::MemfdFlags::CLOEXEC).expect("made");
    rustix::fs::ftruncate(&file, PAGE).expect("it is a file");
    let flags = MapFlags::SHARED;
    let op = Op::MapSlot { slot: Slot(0), addr: 0, len: PAGE, prot: RW, flags, offset: 0 };
    let out = embryo.apply(&op, &[file.as_fd()]).expect("it is mapped");
    embryo.write(out + 64, &77u64.to_le_bytes()).expect("writable");
    let at = code(&mut embryo, &text);
    let regs = X86Regs {
        rbx: 0x1122_3344_5566_7788.into(),
        rbp: out.into(),
        fs_base: (out + 64).into(),
        ..X86Regs::at(at, at + PAGE)
    };
    let regs = Regset::X86(regs);
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    plan.op(&Op::StartRegs { page: 0, regset: regs.as_bytes(), leave: &[] });
    let mut process = start(embryo, &plan.build().expect("a plan"));
    assert_eq!(process.wait().expect("it ends").code(), Some(77));
    let mut word = [0; 8];
    rustix::io::pread(&file, &mut word, 0).expect("it is a file");
    assert_eq!(u64::from_le_bytes(word), 0x1122_3344_5566_7788);
}

#[test]
fn an_address_space_is_an_image_in_one_plan() {
    alone!();
    let (text, stack) = (0x1000_0000, 0x2000_0000);
    let regs = Regset::X86(X86Regs::at(text, stack + PAGE));
    let mut plan = Plan::builder();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::Map { addr: text, len: PAGE, prot: RW, flags: MapFlags::FIXED })
        .op(&Op::Write { addr: text, contents: &EXIT_42 })
        .op(&Op::Protect { addr: text, len: PAGE, prot: RX })
        .op(&Op::Map { addr: stack, len: PAGE, prot: RW, flags: MapFlags::FIXED })
        .op(&Op::StartRegs { page: 0, regset: regs.as_bytes(), leave: &[] });
    let plan = plan.build().expect("a plan");
    for _ in 0..20 {
        let mut process = embryo::spawn(&plan, &[]).expect("it starts");
        assert_eq!(process.wait().expect("it ends").code(), Some(42));
    }
}

#[test]
fn a_failed_start_gives_the_embryo_back() {
    alone!();
    let exec = |path: &std::ffi::CStr| {
        let mut plan = Plan::builder();
        plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
        plan.op(&Op::ExecPath { path, flags: ExecFlags::empty() }).arg("x");
        plan.build().expect("a plan")
    };
    let (error, embryo) = embryo().start(&exec(c"/no/such/program"), &[]).expect_err("not there");
    assert_eq!(error.raw_os_error(), Some(2));
    let embryo = embryo.expect("it is given back");
    let mut process = start(embryo, &exec(c"/bin/true"));
    assert!(process.wait().expect("it ends").success());
}

#[test]
fn dropping_abandons_and_nothing_is_left() {
    alone!();
    drop(embryo());
    let before = Leftovers::capture();
    for _ in 0..300 {
        let mut embryo = embryo();
        two_pages(&mut embryo);
    }
    assert_nothing_left(&before);
}

#[test]
fn a_dead_stopped_or_lying_embryo_is_an_error() {
    alone!();
    let mut dead = embryo();
    rustix::process::pidfd_send_signal(dead.pidfd(), rustix::process::Signal::KILL).expect("ours");
    assert!(wait_for(PATIENCE, || !dead.is_alive()));
    let error = dead.apply(&Op::SetSid, &[]).expect_err("it is dead");
    assert!(matches!(error.as_spawn().map(|fault| fault.cause), Some(Cause::Killed(_))), "{error}");

    let mut stopped = Embryo::create_with(SpawnOptions::new().timeout(Duration::from_millis(300)))
        .expect("an embryo can be made");
    let stop = rustix::process::Signal::STOP;
    rustix::process::pidfd_send_signal(stopped.pidfd(), stop).expect("ours");
    let error = stopped.apply(&Op::SetSid, &[]).expect_err("it is stopped");
    assert_eq!(error.as_spawn().map(|fault| fault.cause), Some(Cause::TimedOut), "{error}");
    assert!(wait_for(PATIENCE, || !stopped.is_alive()), "it was killed");
    drop((dead, stopped));
    assert_eq!(children_of_self(), []);
}

#[test]
fn it_dies_with_an_owner_that_is_killed() {
    alone!();
    // The owner is a child of ours that forked on, so that its socket is held by somebody else.
    let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
    // SAFETY: the child makes system calls and embryos, and this process has one thread.
    let owner = unsafe { libc::fork() };
    if owner == 0 {
        let embryo = embryo();
        // SAFETY: as above; the grandchild only sleeps.
        if unsafe { libc::fork() } == 0 {
            std::thread::sleep(Duration::from_secs(2));
            std::process::exit(0);
        }
        let _ = (&writer).write_all(&embryo.id().to_le_bytes());
        std::thread::sleep(PATIENCE);
        std::process::exit(1);
    }
    drop(writer);
    let mut pid = [0; 4];
    reader.read_exact(&mut pid).expect("it tells");
    let pid = u32::from_le_bytes(pid);
    let comm = || std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    assert_eq!(comm().trim(), "embryo:seed");
    // SAFETY: our own child.
    unsafe { libc::kill(owner, libc::SIGKILL) };
    let mut status = 0;
    // SAFETY: our own child, and a live integer.
    unsafe { libc::waitpid(owner, &raw mut status, 0) };
    // Whoever inherits it may leave it a zombie for a while.
    let stat = || std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let gone = || stat().rsplit(") ").next().is_none_or(|rest| !rest.starts_with(['S', 'R']));
    assert!(wait_for(Duration::from_secs(1), gone), "it lives on: {}", stat());
}

/// Nobody is left to kill one that hangs in an op, or was stopped: it does that itself, and the kernel
/// wakes it.
#[test]
fn one_that_hangs_or_is_stopped_dies_with_its_owner() {
    alone!();
    for stopped in [false, true] {
        let (mut reader, writer) = std::io::pipe().expect("a pipe can be made");
        // SAFETY: the child makes system calls and embryos, and this process has one thread that
        // matters.
        let owner = unsafe { libc::fork() };
        if owner == 0 {
            let options = SpawnOptions::new().timeout(Duration::from_secs(1));
            let mut embryo = Embryo::create_with(options).expect("an embryo can be made");
            let listener = silence::Listener::on(libc::SYS_chdir);
            // Made after the filter, and held by a copy of the owner.
            let mut hanging = Embryo::create_with(options).expect("an embryo can be made");
            // SAFETY: the grandchild only sleeps.
            if unsafe { libc::fork() } == 0 {
                std::thread::sleep(Duration::from_secs(5));
                std::process::exit(0);
            }
            let pid = if stopped { embryo.id() } else { hanging.id() };
            if stopped {
                // SAFETY: our own child, not reaped.
                unsafe { libc::kill(pid.cast_signed(), libc::SIGSTOP) };
            }
            (&writer).write_all(&[u8::from(listener.is_some())]).expect("it is read");
            (&writer).write_all(&pid.to_le_bytes()).expect("it is read");
            let there = Op::ChdirPath { path: c"/" };
            let _ = if stopped { embryo.apply(&there, &[]) } else { hanging.apply(&there, &[]) };
            std::process::exit(1);
        }
        drop(writer);
        let mut said = [0; 5];
        reader.read_exact(&mut said).expect("it tells");
        let [listener, pid @ ..] = said;
        let pid = u32::from_le_bytes(pid);
        let state = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.rsplit(") ").next().and_then(|rest| rest.chars().next())
        };
        // It is in the op, or stopped.
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(state(), Some(if stopped { 'T' } else { 'S' }));
        // SAFETY: our own child.
        unsafe { libc::kill(owner, libc::SIGKILL) };
        // SAFETY: our own child; nothing is written.
        unsafe { libc::waitpid(owner, std::ptr::null_mut(), 0) };
        if listener == 0 && !stopped {
            embryo_tests::log_skip(
                "one_that_hangs_or_is_stopped_dies_with_its_owner",
                "this kernel has no seccomp listeners",
            );
            continue;
        }
        // Whoever inherits it may leave it a zombie for a while.
        let gone = || !matches!(state(), Some('S' | 'T' | 'R' | 'D'));
        assert!(wait_for(Duration::from_secs(4), gone), "it lives on: {:?}", state());
    }
}

#[test]
fn all_of_it_as_an_ordinary_user() {
    if !is_root() {
        return;
    }
    for test in [
        "it_holds_the_seed_and_nothing_of_its_owner",
        "every_op_on_memory_does_what_it_says",
        "a_fault_leaves_it_usable",
        "a_start_by_registers_leaves_one_page_of_the_seed",
        "registers_arrive",
        "an_address_space_is_an_image_in_one_plan",
        "dropping_abandons_and_nothing_is_left",
        "it_dies_with_an_owner_that_is_killed",
        "one_that_hangs_or_is_stopped_dies_with_its_owner",
    ] {
        rerun_as_nobody(test);
    }
}

/// Descriptors are numbers to the embryo, and the owner's are untouched.
#[test]
fn the_owner_keeps_its_descriptors() {
    alone!();
    let file = tempfile::tempfile().expect("a file can be made");
    let number = file.as_raw_fd();
    let mut embryo = embryo();
    let before = Leftovers::capture();
    embryo.apply(&Op::PutFd { slot: Slot(0), fd: 200 }, &[file.as_fd()]).expect("applied");
    assert_nothing_left(&before);
    assert!(rustix::io::fcntl_getfd(&file).is_ok() && file.as_raw_fd() == number);
}
