//! Golden vectors: plans byte by byte in `docs/vectors`, for whoever writes the format in another
//! language.
//!
//! Each file is made here from a plan, comments and all, and must be what this code makes of it
//! now; `EMBRYO_BLESS=1` writes them anew. It must never be blessed to make a test pass: bytes
//! that changed are another version of the format.

mod reencode;

use embryo_plan::{
    Access, CapSets, CgroupOp, ConfineOp, ExecFlags, FilterFlags, Header, Keep, LandlockFlags,
    Layout, MapFlags, MountFlags, MountOp, NamespaceOp, Namespaces, Op, OpCode, OwnedPlan,
    PlanBuilder, PrivilegeOp, RawPlan, Regset, Spread, UserFlags, VERSION, X86Regs,
};
use reencode::{ops, reencode};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use zerocopy::IntoBytes;

/// The least there can be.
fn minimal() -> PlanBuilder {
    let mut plan = PlanBuilder::new();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::ExecPath { path: c"/bin/true", flags: ExecFlags::empty() })
        .arg("true");
    plan
}

/// A new session on a terminal, everything set by path or number, an image by name.
fn terminal() -> PlanBuilder {
    let mut plan = PlanBuilder::new();
    let tty = plan.slot();
    plan.op(&Op::SetSid)
        .op(&Op::ControllingTty { slot: tty })
        .op(&Op::Foreground { slot: tty })
        .op(&Op::PutFd { slot: tty, fd: 0 })
        .op(&Op::PutFd { slot: tty, fd: 1 })
        .op(&Op::OpenNull { fd: 2, access: Access::Write })
        .op(&Op::OomScoreAdj { value: 500 })
        .op(&Op::Rlimit { resource: 4, soft: 0, hard: u64::MAX })
        .op(&Op::Rlimit { resource: 7, soft: 256, hard: 1024 })
        .op(&Op::Nice { value: -5 })
        .op(&Op::Affinity { mask: &[0b101, 0, 0, 0, 0, 0, 0, 0] })
        .op(&Op::IoPriority { value: 2 << 13 | 7 })
        .op(&Op::TimerSlack { ns: 50_000 })
        .op(&Op::ChrootPath { path: c"/srv/root" })
        .op(&Op::ChdirPath { path: c"/home" })
        .op(&Op::Umask { mode: 0o027 })
        .op(&Op::Groups { list: &[100, 0, 0, 0, 44, 1, 0, 0] })
        .op(&Op::Gid { real: 1000, effective: 1000, saved: 1000 })
        .op(&Op::Uid { real: 1000, effective: 1000, saved: u32::MAX })
        .op(&Op::DeathSignal { signal: 15 })
        .op(&Op::Subreaper)
        .op(&Op::Personality { persona: 0x0004_0000 })
        .op(&Op::NoNewPrivs)
        .op(&Op::SignalIgnore { set: 1 << 12 })
        .op(&Op::SignalMask { set: 1 << 1 | 1 << 63 })
        .op(&Op::ExecName { name: c"vi", search: c"/usr/bin:/bin", flags: ExecFlags::SHELL })
        .arg("vi")
        .arg("")
        .env("TERM", "xterm")
        .env_string("no-equals-sign");
    plan
}

/// A job in a process group of its own, everything by grant, that fails on purpose before the image.
fn granted() -> PlanBuilder {
    let mut plan = PlanBuilder::new();
    let (root, cwd, image, pipe) = (plan.slot(), plan.slot(), plan.slot(), plan.slot());
    plan.keep(Keep::UMASK | Keep::SESSION | Keep::IGNORED_SIGNALS | Keep::SIGNAL_MASK)
        .op(&Op::SetPgid { pgid: 0 })
        .op(&Op::PutFd { slot: pipe, fd: 9 })
        .op(&Op::Sched {
            policy: 6,
            priority: 0,
            flags: 1,
            runtime_ns: 1_000_000,
            deadline_ns: 10_000_000,
            period_ns: 20_000_000,
        })
        .op(&Op::ChrootSlot { slot: root })
        .op(&Op::Groups { list: &[] })
        .op(&Op::ChdirSlot { slot: cwd })
        .op(&Op::SignalDefault { set: 1 << 12 })
        .op(&Op::Fail { errno: 125 })
        .op(&Op::ExecSlot { slot: image, flags: ExecFlags::KEEP_OPEN })
        .arg("job");
    plan
}

/// Ops for an embryo that goes on living.
fn batch() -> PlanBuilder {
    let mut plan = PlanBuilder::batch();
    plan.op(&Op::Umask { mode: 0o077 }).op(&Op::ChdirPath { path: c"/" });
    plan
}

/// A root that is put together of everything that can stand in one.
fn root() -> PlanBuilder {
    let mut plan = PlanBuilder::new();
    let (dir, file, users) = (plan.slot(), plan.slot(), plan.slot());
    let (none, read_only) = (MountFlags::empty(), MountFlags::READ_ONLY);
    let ops = [
        MountOp::NewRoot { size: 1 << 20, mode: 0o755, inodes: 100 },
        MountOp::Bind { source: c"/usr", target: c"/usr", flags: read_only | MountFlags::NOSUID },
        MountOp::Symlink { text: c"usr/bin", target: c"/bin" },
        MountOp::BindSlot { slot: dir, target: c"/srv", flags: MountFlags::FLAT },
        MountOp::BindMapped {
            slot: users,
            source: c"/home",
            target: c"/home",
            flags: MountFlags::OPTIONAL,
        },
        MountOp::Proc { target: c"/proc", flags: MountFlags::PROCESSES, hidepid: 2 },
        MountOp::Tmpfs { target: c"/dev", flags: none, size: 0, mode: 0o755, inodes: 0 },
        MountOp::Devpts { target: c"/dev/pts" },
        MountOp::Mqueue { target: c"/dev/mqueue" },
        MountOp::Overlay {
            layers: b"/a\0/b\0/upper\0/work\0",
            target: c"/both",
            flags: MountFlags::UPPER,
        },
        MountOp::Directory { target: c"/run/user", mode: 0o700 },
        MountOp::FileSlot { slot: file, target: c"/etc/hosts", flags: none, mode: 0o644 },
        MountOp::Chmod { target: c"/run", mode: 0o711 },
        MountOp::Propagation { target: c"/srv", flags: none, spread: Spread::Slave },
        MountOp::Attributes { target: c"/dev", flags: MountFlags::NOEXEC, clear: read_only },
        MountOp::Unmount { target: c"/dev/mqueue" },
        MountOp::EnterRoot,
    ];
    plan.keep(Keep::UMASK | Keep::SESSION)
        .op(&Op::Namespace(NamespaceOp::Unshare { kinds: Namespaces::MOUNT }));
    for op in ops {
        plan.op(&Op::Mount(op));
    }
    plan.op(&Op::ChdirPath { path: c"/" })
        .op(&Op::ExecPath { path: c"/bin/true", flags: ExecFlags::empty() })
        .arg("true");
    plan
}

/// An address space as an image: code that exits with 42, a stack, a shared file, and each op on
/// A server of an ordinary user with one capability, in a cgroup, tied to its guardian; and each other
/// op on privileges once.
fn privileged() -> PlanBuilder {
    const BIND: u64 = 1 << 10;
    let mut plan = PlanBuilder::new();
    let (cgroup, guardian) = (plan.slot(), plan.slot());
    let op = |op| Op::Privilege(op);
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::Cgroup(CgroupOp::Join { slot: cgroup }))
        .op(&Op::Cgroup(CgroupOp::Tie { slot: guardian }))
        .op(&Op::CoreScheduling)
        .op(&Op::MemoryPolicy { mode: 2, nodes: &[3, 0, 0, 0, 0, 0, 0, 0] })
        .op(&op(PrivilegeOp::BoundingSet { keep: BIND }))
        .op(&op(PrivilegeOp::Securebits { bits: 1 }))
        .op(&op(PrivilegeOp::KeepCapabilities))
        .op(&Op::Uid { real: 1000, effective: 1000, saved: 1000 })
        .op(&op(PrivilegeOp::Capabilities {
            given: CapSets::PERMITTED | CapSets::INHERITABLE,
            effective: 0,
            permitted: BIND,
            inheritable: BIND,
        }))
        .op(&op(PrivilegeOp::Ambient { set: BIND }))
        .op(&op(PrivilegeOp::SessionKeyring { name: c"server" }))
        .op(&op(PrivilegeOp::Mdwe))
        .op(&op(PrivilegeOp::ThpDisable { except_advised: true }))
        .op(&Op::ExecPath { path: c"/bin/true", flags: ExecFlags::empty() })
        .arg("true");
    plan
}

/// memory once.
fn memory() -> PlanBuilder {
    const PAGE: u64 = 4096;
    const MADV_WILLNEED: u32 = 3;
    // mov edi, 42; mov eax, 60; syscall.
    const EXIT_42: [u8; 12] = [0xbf, 42, 0, 0, 0, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];
    let (code, stack, shared) = (0x1000_0000, 0x2000_0000, 0x3000_0000);
    let fixed = MapFlags::FIXED;
    let regs = X86Regs {
        rdi: 0x0123_4567_89ab_cdef.into(),
        r15: 15.into(),
        fs_base: shared.into(),
        ..X86Regs::at(code, stack + 2 * PAGE)
    };
    let layout = Layout {
        start_code: code.into(),
        end_code: (code + 12).into(),
        start_data: stack.into(),
        end_data: stack.into(),
        start_brk: (code + PAGE).into(),
        brk: (code + PAGE).into(),
        start_stack: (stack + 2 * PAGE).into(),
        arg_start: stack.into(),
        arg_end: (stack + 16).into(),
        env_start: (stack + 16).into(),
        env_end: (stack + 48).into(),
    };
    let leave = [0x4000_0000u64, PAGE].map(u64::to_le_bytes).concat();
    let mut plan = PlanBuilder::new();
    let file = plan.slot();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::Map { addr: code, len: PAGE, prot: 3, flags: fixed })
        .op(&Op::Write { addr: code, contents: &EXIT_42 })
        .op(&Op::Protect { addr: code, len: PAGE, prot: 5 })
        .op(&Op::Map {
            addr: stack,
            len: 2 * PAGE,
            prot: 3,
            flags: fixed | MapFlags::GROWSDOWN | MapFlags::NORESERVE,
        })
        .op(&Op::NameRegion { addr: stack, len: 2 * PAGE, name: c"stack" })
        .op(&Op::Fill { addr: stack + 16, len: 32, byte: 0xff })
        .op(&Op::WriteSlot { slot: file, addr: stack + 48, len: 8, offset: 3 })
        .op(&Op::Lock { addr: stack, len: PAGE })
        .op(&Op::MapSlot {
            slot: file,
            addr: 0x5000_0000,
            len: PAGE,
            prot: 3,
            flags: fixed | MapFlags::SHARED | MapFlags::POPULATE,
            offset: PAGE,
        })
        .op(&Op::Remap { addr: 0x5000_0000, len: PAGE, to: shared, to_len: 2 * PAGE })
        .op(&Op::Advise { addr: shared, len: PAGE, advice: MADV_WILLNEED })
        .op(&Op::Unmap { addr: shared + PAGE, len: PAGE })
        .op(&Op::ReadSlot { slot: file, addr: code, len: 12, offset: 0 })
        .op(&Op::MmLayout {
            layout: layout.as_bytes(),
            auxv: &[6u64, PAGE, 0, 0].map(u64::to_le_bytes).concat(),
        })
        .op(&Op::MoveVdso { to: 0x7000_0000 })
        .op(&Op::DropVdso)
        .op(&Op::SignalAction {
            signal: 10,
            flags: 0x0400_0000,
            handler: code,
            restorer: code + 8,
            mask: 1,
        })
        .op(&Op::StartRegs {
            page: 0x6000_0000,
            regset: Regset::X86(regs).as_bytes(),
            leave: &leave,
        });
    plan
}

fn filtered() -> PlanBuilder {
    // ld [0]; jeq #39, 0, 1; ret ERRNO(1); ret ALLOW: getpid is refused.
    let program =
        [0x20u64, 39 << 32 | 1 << 24 | 0x15, 0x0005_0001 << 32 | 6, 0x7fff_0000 << 32 | 6];
    let program = program.map(u64::to_le_bytes).concat();
    let mut plan = PlanBuilder::new();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::NoNewPrivs)
        .op(&Op::Seccomp { flags: FilterFlags::LOG, program: &program })
        .op(&Op::ExecPath { path: c"/bin/true", flags: ExecFlags::empty() })
        .arg("true");
    plan
}

fn confined() -> PlanBuilder {
    // ld [0]; jeq #39, 0, 1; ret USER_NOTIF; ret ALLOW: a listener is asked about getpid.
    let program =
        [0x20u64, 39 << 32 | 1 << 24 | 0x15, 0x7fc0_0000 << 32 | 6, 0x7fff_0000 << 32 | 6];
    let program = program.map(u64::to_le_bytes).concat();
    let mut plan = PlanBuilder::new();
    let ruleset = plan.slot();
    let path = ConfineOp::LandlockPath { slot: ruleset, path: c"/usr", access: 0b1101 };
    let landlock = ConfineOp::Landlock { slot: ruleset, flags: LandlockFlags::QUIET_IMAGE };
    let flags = FilterFlags::LISTENER | FilterFlags::WAIT_KILLABLE;
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::NoNewPrivs)
        .op(&Op::Confine(path))
        .op(&Op::Confine(landlock))
        .op(&Op::Seccomp { flags, program: &program })
        .op(&Op::ExecPath { path: c"/usr/bin/true", flags: ExecFlags::empty() })
        .arg("true");
    plan
}

fn threads() -> PlanBuilder {
    let (code, stack, words) = (0x1000_0000, 0x2000_0000, 0x3000_0000);
    // As FXSAVE leaves it in a fresh process, but that the result is rounded towards zero.
    let mut state = [0; 512];
    state[..2].copy_from_slice(&0x37f_u16.to_le_bytes());
    state[24..28].copy_from_slice(&0x7f80_u32.to_le_bytes());
    let first = Regset::X86(X86Regs::at(code, stack)).with_state(&state);
    let second = X86Regs { fs_base: words.into(), ..X86Regs::at(code + 64, stack - 4096) };
    let mut plan = PlanBuilder::new();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::Thread { mask: 1, clear_tid: words + 64, regset: Regset::X86(second).as_bytes() })
        .op(&Op::SeccompStrict)
        .op(&Op::StartRegs { page: 0, regset: &first, leave: &[] });
    plan
}

/// A world of its own, and every other op on namespaces once.
fn namespaces() -> PlanBuilder {
    let root = [0u32, 100_000, 65_536].map(u32::to_le_bytes).concat();
    let mut plan = PlanBuilder::new();
    let slot = plan.slot();
    let ops = [
        NamespaceOp::Join { slot, kinds: Namespaces::NET },
        NamespaceOp::MappedUser { flags: UserFlags::empty(), uids: &root, gids: &root },
        NamespaceOp::Unshare { kinds: Namespaces::UTS | Namespaces::TIME | Namespaces::MOUNT },
        NamespaceOp::ClockOffset { clock: 1, seconds: -3600, nanoseconds: 5 },
        NamespaceOp::ClockOffset { clock: 7, seconds: 86_400, nanoseconds: 0 },
        NamespaceOp::Pid { pid: 42 },
        NamespaceOp::HostName { name: c"cell" },
        NamespaceOp::DomainName { name: c"example" },
        NamespaceOp::Loopback,
        NamespaceOp::NestedUser { uid: 1000, gid: 1000 },
    ];
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION);
    for op in ops {
        plan.op(&Op::Namespace(op));
    }
    plan.op(&Op::ExecPath { path: c"/bin/true", flags: ExecFlags::empty() }).arg("true");
    plan
}

/// The least of a user namespace: the caller is root in it.
fn rooted() -> PlanBuilder {
    let mut plan = PlanBuilder::new();
    plan.keep(Keep::CWD | Keep::UMASK | Keep::SESSION)
        .op(&Op::Namespace(NamespaceOp::User { uid: 0, gid: 0 }))
        .op(&Op::ExecPath { path: c"/bin/true", flags: ExecFlags::empty() })
        .arg("true");
    plan
}

/// Name, what it shows, and what makes it.
type Vector = (&'static str, &'static str, fn() -> PlanBuilder);

const VECTORS: [Vector; 12] = [
    ("minimal", "the least there can be: an image, and everything else kept", minimal),
    ("terminal", "a new session on a terminal, and most ops; executed through the seed", terminal),
    ("granted", "everything by grant, and a fault on purpose; executed through the seed", granted),
    ("batch", "ops without an image", batch),
    ("memory", "an address space as an image, started by registers", memory),
    ("filter", "an executable under a filter", filtered),
    ("confined", "an executable under Landlock and a filter with a listener", confined),
    ("privileges", "a server with one capability, in a cgroup, tied to a guardian", privileged),
    ("threads", "a start by registers with threads, vector state and strict mode", threads),
    ("namespaces", "namespaces of all kinds, below an init, with subordinate ids", namespaces),
    ("rooted", "a user namespace in which the caller is root", rooted),
    ("root", "a root that is put together of mounts, and entered", root),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/vectors")
}

/// Hex with comments: one line a field, what it means behind it.
struct Listing(String);

impl Listing {
    fn title(&mut self, title: &str) {
        writeln!(self.0, "{}", format!("# {title}").trim_end()).expect("a string takes everything");
    }

    fn field(&mut self, bytes: impl IntoBytes + zerocopy::Immutable, means: &str) {
        self.bytes(bytes.as_bytes(), means);
    }

    /// Sixteen bytes to a line, the meaning behind the first.
    fn bytes(&mut self, bytes: &[u8], means: &str) {
        for (line, chunk) in bytes.chunks(16).enumerate() {
            let hex: Vec<_> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
            let hex = hex.join(" ");
            match line {
                0 => writeln!(self.0, "{hex:<24}  # {means}"),
                _ => writeln!(self.0, "{hex}"),
            }
            .expect("a string takes everything");
        }
    }
}

/// The whole file of a vector.
fn listing(name: &str, about: &str, plan: &OwnedPlan) -> String {
    let view = plan.as_plan();
    let mut out = Listing(String::new());
    out.title(&format!("{name}: {about}."));
    out.title("Whatever follows a # is a comment. docs/plan-format.md explains the fields.");
    out.title("");
    view.keep().names().for_each(|kept| out.title(&format!("keep {kept}")));
    let ops = ops(&view);
    ops.iter().enumerate().for_each(|(index, op)| out.title(&format!("{index} {op}")));
    header(&mut out, view.header());
    for (index, (entry, op)) in view.entries().iter().zip(&ops).enumerate() {
        out.title(&format!("-- entry {index}: {}", op.code().name()));
        out.field(entry.code, "code");
        out.field(entry.flags, "flags");
        out.field(entry.slot, "slot");
        for (at, arg) in entry.args.iter().enumerate() {
            out.field(*arg, &format!("args[{at}]"));
        }
        for (at, data) in entry.data.iter().enumerate() {
            let (from, len) = (data.offset.get(), data.len.get());
            out.field(*data, &format!("data[{at}]: {len} bytes at {from}"));
        }
        out.field(entry.reserved, "reserved");
    }
    out.title("-- data");
    let mut at = 0;
    for (name, list) in [("argv", view.argv()), ("envp", view.envp())] {
        for (index, string) in list.enumerate() {
            out.bytes(string.to_bytes_with_nul(), &format!("{at}: {name}[{index}]"));
            at += string.count_bytes() + 1;
        }
    }
    for (entry, op) in view.entries().iter().zip(&ops) {
        for data in entry.data {
            let bytes = view.data(data).expect("a checked reference");
            out.bytes(bytes, &format!("{at}: {}", op.code().name()));
            at += bytes.len();
        }
    }
    out.0
}

fn header(out: &mut Listing, header: &Header) {
    out.title("-- header");
    out.field(header.magic, "magic");
    out.field(header.version, "version");
    out.field(header.header_len, "header_len");
    out.field(header.flags, "flags");
    out.field(header.total_len, &format!("total_len: {}", header.total_len));
    out.field(header.keep, "keep");
    out.field(header.slots, "slots");
    out.field(header.entries, &format!("entries: {}", header.entries));
    out.field(header.data_len, &format!("data_len: {}", header.data_len));
    for (name, list) in [("argv", header.argv), ("envp", header.envp)] {
        let (at, len) = (list.data.offset, list.data.len);
        out.field(list.data, &format!("{name}: {len} bytes at {at}"));
        out.field(list.count, &format!("{name}: {} strings", list.count));
    }
    out.field(header.reserved, "reserved");
    out.field(header.reserved_tail, "reserved_tail");
}

/// The bytes of a file like that.
fn parse(listing: &str) -> Vec<u8> {
    let code = |line: &str| line.split('#').next().unwrap_or_default().to_owned();
    let text: Vec<String> = listing.lines().map(code).collect();
    let byte = |word: &str| u8::from_str_radix(word, 16).expect("two digits make a byte");
    text.iter().flat_map(|line| line.split_ascii_whitespace()).map(byte).collect()
}

#[test]
fn the_vectors_are_what_the_builder_makes() {
    let bless = std::env::var_os("EMBRYO_BLESS").is_some();
    for (name, about, plan) in VECTORS {
        let plan = plan().build().unwrap_or_else(|error| panic!("{name}: {error}"));
        let path = folder().join(name).with_extension("hex");
        let made = listing(name, about, &plan);
        if bless {
            std::fs::write(&path, &made).expect("the vectors' folder can be written to");
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
        assert_eq!(stored, made, "{name}");
    }
}

#[test]
fn the_vectors_are_read_as_what_they_were_built_from() {
    for (name, _, plan) in VECTORS {
        let plan = plan().build().unwrap_or_else(|error| panic!("{name}: {error}"));
        let path = folder().join(name).with_extension("hex");
        let bytes = parse(&std::fs::read_to_string(&path).expect("the vector is there"));
        let read = RawPlan(&bytes).check().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(ops(&read), ops(&plan.as_plan()), "{name}");
        assert_eq!(reencode(&read).as_bytes(), bytes, "{name}");
    }
}

#[test]
fn the_vectors_show_every_op() {
    let plans = VECTORS.map(|(_, _, plan)| plan().build().expect("a vector is a plan"));
    let shown: Vec<OpCode> =
        plans.iter().flat_map(|plan| ops(&plan.as_plan())).map(|op| op.code()).collect();
    let missing: Vec<_> = OpCode::ALL.iter().filter(|code| !shown.contains(code)).collect();
    assert!(missing.is_empty(), "no vector shows {missing:?}");
    assert_eq!(VERSION, 1, "another version needs vectors of its own");
}

/// The C program beside the vectors writes the minimal one from nothing but the document. The C
/// compiler is there: it links every Rust program, this test included.
#[test]
fn a_c_program_makes_the_minimal_vector() {
    // Not in the build directory: that may be another user's.
    let out = std::env::temp_dir().join(format!("embryo-vector-{}", std::process::id()));
    let compiler = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let compiled = std::process::Command::new(&compiler)
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-o"])
        .arg(&out)
        .arg(folder().join("minimal.c"))
        .status()
        .unwrap_or_else(|error| panic!("{compiler:?}: {error}"));
    assert!(compiled.success());
    let output = std::process::Command::new(&out).output();
    std::fs::remove_file(&out).expect("it was just compiled");
    let output = output.expect("it can be run");
    assert!(output.status.success());
    let plan = minimal().build().expect("the minimal plan is one");
    assert_eq!(output.stdout, plan.as_bytes());
}
