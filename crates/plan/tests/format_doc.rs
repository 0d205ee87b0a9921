//! The format document against the checker: every row of its tables says what the code does.
//!
//! What the document calls the shape of an op is found out here by breaking entries, not by
//! looking at the table it came from: a row that agrees only with our own table could agree with
//! a mistake.

#[path = "format_doc/mount.rs"]
mod mount;
#[path = "format_doc/namespace.rs"]
mod namespace;
mod raw;

use embryo_plan::{
    Access, CapSets, CgroupOp, ConfineOp, ENTRY_LEN, Entry, ExecFlags, FilterFlags, HEADER_LEN,
    Keep, LandlockFlags, Layout, MAGIC, MapFlags, NO_SLOT, NamespaceOp, Namespaces, Op, OpCode,
    PlanBuilder, PlanFlags, PrivilegeOp, RawPlan, Reason, Regset, Route, Slot, VERSION, X86Regs,
    limits,
};
use raw::Raw;

const DOCUMENT: &str = include_str!("../../../docs/plan-format.md");

const PAGE: u64 = limits::PAGE;
/// The second page, as a range: its address, its length.
const RANGE: [u8; 16] = [0, 16, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0];
/// A layout whose only byte of code is at 0.
const LAYOUT: [u8; 88] = {
    let mut bytes = [0; 88];
    bytes[8] = 1;
    bytes
};

/// A filter that lets everything through.
const FILTER: [u8; 8] = [6, 0, 0, 0, 0, 0, 0xff, 0x7f];

/// The rows of the table whose head begins like this, cell by cell.
fn table(head: &str) -> Vec<Vec<String>> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
    };
    let mut lines = DOCUMENT.lines().skip_while(|line| !line.starts_with(head));
    assert!(lines.next().is_some(), "the document has no table {head}");
    lines.skip(1).take_while(|line| line.starts_with('|')).map(cells).collect()
}

/// One op of this code with something plausible in it.
fn sample(code: OpCode) -> Op<'static> {
    let slot = Slot(0);
    let flags = ExecFlags::empty();
    match code {
        OpCode::Fail => Op::Fail { errno: 1 },
        OpCode::SetSid => Op::SetSid,
        OpCode::SetPgid => Op::SetPgid { pgid: 1 },
        OpCode::ControllingTty => Op::ControllingTty { slot },
        OpCode::Foreground => Op::Foreground { slot },
        OpCode::PutFd => Op::PutFd { slot, fd: 1 },
        OpCode::OpenNull => Op::OpenNull { fd: 1, access: Access::Write },
        OpCode::OomScoreAdj => Op::OomScoreAdj { value: 1 },
        OpCode::Rlimit => Op::Rlimit { resource: 1, soft: 1, hard: 1 },
        OpCode::Sched => Op::Sched {
            policy: 0,
            priority: 0,
            flags: 0,
            runtime_ns: 0,
            deadline_ns: 0,
            period_ns: 0,
        },
        OpCode::Nice => Op::Nice { value: 1 },
        OpCode::Affinity => Op::Affinity { mask: &[1, 0, 0, 0, 0, 0, 0, 0] },
        OpCode::IoPriority => Op::IoPriority { value: 1 },
        OpCode::TimerSlack => Op::TimerSlack { ns: 1 },
        OpCode::CoreScheduling => Op::CoreScheduling,
        OpCode::MemoryPolicy => Op::MemoryPolicy { mode: 2, nodes: &[1, 0, 0, 0, 0, 0, 0, 0] },
        OpCode::ChrootPath => Op::ChrootPath { path: c"/" },
        OpCode::ChrootSlot => Op::ChrootSlot { slot },
        OpCode::ChdirPath => Op::ChdirPath { path: c"/" },
        OpCode::ChdirSlot => Op::ChdirSlot { slot },
        OpCode::Umask => Op::Umask { mode: 1 },
        OpCode::Groups => Op::Groups { list: &[1, 0, 0, 0] },
        OpCode::Gid => Op::Gid { real: 1, effective: 1, saved: 1 },
        OpCode::Uid => Op::Uid { real: 1, effective: 1, saved: 1 },
        OpCode::DeathSignal => Op::DeathSignal { signal: 1 },
        OpCode::Subreaper => Op::Subreaper,
        OpCode::Personality => Op::Personality { persona: 1 },
        OpCode::NoNewPrivs => Op::NoNewPrivs,
        OpCode::Seccomp => Op::Seccomp { flags: FilterFlags::empty(), program: &FILTER },
        OpCode::SeccompStrict => Op::SeccompStrict,
        OpCode::Landlock => {
            Op::Confine(ConfineOp::Landlock { slot, flags: LandlockFlags::empty() })
        }
        OpCode::LandlockPath => {
            Op::Confine(ConfineOp::LandlockPath { slot, path: c"/", access: 1 })
        }
        OpCode::SignalIgnore => Op::SignalIgnore { set: 1 },
        OpCode::SignalMask => Op::SignalMask { set: 1 },
        OpCode::SignalDefault => Op::SignalDefault { set: 1 },
        OpCode::Map => Op::Map { addr: PAGE, len: PAGE, prot: 1, flags: MapFlags::empty() },
        OpCode::MapSlot => {
            let flags = MapFlags::empty();
            Op::MapSlot { slot, addr: PAGE, len: PAGE, prot: 1, flags, offset: PAGE }
        }
        OpCode::Unmap => Op::Unmap { addr: PAGE, len: PAGE },
        OpCode::Protect => Op::Protect { addr: PAGE, len: PAGE, prot: 1 },
        OpCode::Remap => Op::Remap { addr: PAGE, len: PAGE, to: PAGE, to_len: PAGE },
        OpCode::Advise => Op::Advise { addr: PAGE, len: PAGE, advice: 1 },
        OpCode::Lock => Op::Lock { addr: PAGE, len: PAGE },
        OpCode::NameRegion => Op::NameRegion { addr: PAGE, len: PAGE, name: c"a" },
        OpCode::Write => Op::Write { addr: 1, contents: b"a" },
        OpCode::WriteSlot => Op::WriteSlot { slot, addr: 1, len: 1, offset: 1 },
        OpCode::ReadSlot => Op::ReadSlot { slot, addr: 1, len: 1, offset: 1 },
        OpCode::Fill => Op::Fill { addr: 1, len: 1, byte: 1 },
        OpCode::SignalAction => {
            Op::SignalAction { signal: 1, flags: 0, handler: 1, restorer: 1, mask: 1 }
        }
        OpCode::MmLayout => Op::MmLayout { layout: &LAYOUT, auxv: &RANGE },
        OpCode::MoveVdso => Op::MoveVdso { to: PAGE },
        OpCode::DropVdso => Op::DropVdso,
        OpCode::StartRegs => Op::StartRegs { page: PAGE, regset: &[0; 160], leave: &RANGE },
        OpCode::Thread => Op::Thread { mask: 1, clear_tid: 4, regset: &[0; 160] },
        OpCode::BoundingSet => Op::Privilege(PrivilegeOp::BoundingSet { keep: 1 }),
        OpCode::Securebits => Op::Privilege(PrivilegeOp::Securebits { bits: 1 }),
        OpCode::KeepCapabilities => Op::Privilege(PrivilegeOp::KeepCapabilities),
        OpCode::Capabilities => Op::Privilege(PrivilegeOp::Capabilities {
            given: CapSets::all(),
            effective: 1,
            permitted: 1,
            inheritable: 1,
        }),
        OpCode::Ambient => Op::Privilege(PrivilegeOp::Ambient { set: 1 }),
        OpCode::SessionKeyring => Op::Privilege(PrivilegeOp::SessionKeyring { name: c"a" }),
        OpCode::Mdwe => Op::Privilege(PrivilegeOp::Mdwe),
        OpCode::ThpDisable => Op::Privilege(PrivilegeOp::ThpDisable { except_advised: true }),
        OpCode::CgroupJoin => Op::Cgroup(CgroupOp::Join { slot }),
        OpCode::Tie => Op::Cgroup(CgroupOp::Tie { slot }),
        OpCode::ExecPath => Op::ExecPath { path: c"/", flags },
        _ if (0x0801..=0x08ff).contains(&(code as u16)) => Op::Mount(mount::sample(code)),
        _ if (0x0901..=0x09ff).contains(&(code as u16)) => Op::Namespace(namespace::sample(code)),
        OpCode::ExecSlot => Op::ExecSlot { slot, flags },
        OpCode::ExecName => Op::ExecName { name: c"a", search: c"/", flags },
        _ => panic!("{} has no sample", code.name()),
    }
}

/// A plan that has the op, and at which index.
fn around(op: &Op<'_>) -> (Raw, usize) {
    let code = op.code();
    let mut plan = PlanBuilder::new();
    plan.slot();
    let mut keep = Keep::CWD | Keep::UMASK | Keep::SESSION;
    plan.op(op);
    let registers = [OpCode::StartRegs, OpCode::SeccompStrict, OpCode::Thread].contains(&code);
    if !registers {
        plan.arg("a");
    }
    if (0x0801..=0x08ff).contains(&(code as u16)) {
        plan.op(&Op::Namespace(NamespaceOp::Unshare { kinds: Namespaces::MOUNT }));
    }
    match code {
        OpCode::SetSid => keep -= Keep::SESSION,
        OpCode::ControllingTty => {
            keep -= Keep::SESSION;
            plan.op(&Op::SetSid);
        }
        OpCode::ChrootPath | OpCode::ChrootSlot => {
            keep -= Keep::CWD;
            plan.op(&Op::ChdirPath { path: c"/" });
        }
        OpCode::ChdirPath | OpCode::ChdirSlot => keep -= Keep::CWD,
        OpCode::NewRoot | OpCode::EnterRoot => {
            keep -= Keep::CWD;
            plan.op(&Op::ChdirPath { path: c"/" });
            let other = if code == OpCode::NewRoot { OpCode::EnterRoot } else { OpCode::NewRoot };
            plan.op(&sample(other));
        }
        OpCode::ClockOffset | OpCode::HostName | OpCode::DomainName | OpCode::Loopback => {
            let kinds = Namespaces::UNSHARED;
            plan.op(&Op::Namespace(NamespaceOp::Unshare { kinds }));
        }
        OpCode::Umask => keep -= Keep::UMASK,
        OpCode::SignalDefault => keep |= Keep::IGNORED_SIGNALS,
        OpCode::LandlockPath => {
            plan.op(&sample(OpCode::Landlock));
        }
        _ => {}
    }
    if !op.is_start() && registers {
        plan.op(&sample(OpCode::StartRegs));
    } else if !op.is_start() {
        plan.op(&Op::ExecPath { path: c"/", flags: ExecFlags::empty() });
    }
    let plan = plan.keep(keep).build().unwrap_or_else(|error| panic!("{}: {error}", code.name()));
    let index = plan.as_plan().ops().position(|found| found.is_some_and(|op| op.code() == code));
    (Raw::of(&plan), index.expect("the op stands in its plan"))
}

/// What the checker says of the op when its entry is changed like that.
fn broken(code: OpCode, breaks: impl FnOnce(&mut Entry)) -> Option<Reason> {
    let (mut raw, index) = around(&sample(code));
    breaks(&mut raw.entries[index]);
    RawPlan(&raw.bytes()).check().err().map(|error| error.reason)
}

/// The flags, numbers and data of an op as the document writes them, found out by breaking it.
fn shape(code: OpCode) -> [String; 4] {
    let slot = broken(code, |entry| entry.slot = 0.into()) != Some(Reason::SlotUse);
    let flags = (0..16)
        .map(|bit| 1u16 << bit)
        .filter(|bit| {
            broken(code, |entry| entry.flags = (*bit).into()) != Some(Reason::UnknownFlags)
        })
        .sum::<u16>();
    let arg = |at: usize| {
        let set = |to: u64| broken(code, |entry| entry.args[at] = to.into());
        match (set(1 << 32), set(u64::MAX)) {
            (Some(Reason::NotZero), _) => "–",
            (Some(Reason::NumberTooWide), Some(Reason::NumberTooWide)) => "u32",
            (Some(Reason::NumberTooWide), _) => "i32",
            _ => "u64",
        }
    };
    let data = |at: usize| {
        if broken(code, |entry| entry.data[at].offset = 1.into()) == Some(Reason::NotZero) {
            return "–";
        }
        // What the data may be tells what it is.
        let holds = |bytes: &[u8]| {
            let (mut raw, index) = around(&sample(code));
            let entry = &mut raw.entries[index];
            let reference = entry.data[at];
            let from = reference.offset.get() as usize;
            let to = from + reference.len.get() as usize;
            entry.data[at].len = (bytes.len() as u32).into();
            raw.data.splice(from..to, bytes.iter().copied());
            let moved = bytes.len() as i64 - (to - from) as i64;
            for entry in &mut raw.entries {
                for other in &mut entry.data {
                    if other.offset.get() as usize >= to {
                        other.offset = ((i64::from(other.offset.get()) + moved) as u32).into();
                    }
                }
            }
            raw.fit();
            RawPlan(&raw.bytes()).check().is_ok()
        };
        let long = [&[b'a'; limits::REGION_NAME_BYTES_MAX][..], &[0]].concat();
        let longer = [&[b'a'; limits::KEYRING_NAME_BYTES_MAX][..], &[0]].concat();
        let probes =
            [&b"a\0"[..], b"\0", &[1; 12], &[1; 8], &RANGE, &[0; 160], &[0; 280], &long, &LAYOUT];
        match (probes.map(holds).map(u8::from), holds(&FILTER)) {
            ([0, 0, 0, 0, 0, 0, 0, 0, 0], false) if holds(b"/c\0/d\0") => "layers",
            ([0, 0, 0, 0, 0, 0, 0, 0, 0], false) if holds(b"/c\0") => "absolute",
            ([1, 0, 0, 0, 0, 0, 0, 1, 0], false) => "path",
            ([1, 1, 0, 0, 0, 0, 0, 1, 0], false) if holds(&longer) => "search",
            ([1, 1, 0, 0, 0, 0, 0, 1, 0], false) => "keyring",
            ([1, 0, 0, 0, 0, 0, 0, 0, 0], false) if !holds(&long[15..]) => "host",
            ([1, 0, 0, 0, 0, 0, 0, 0, 0], false) => "name",
            ([0, 0, 1, 0, 0, 0, 0, 0, 0], false) => "id-map",
            ([0, 0, 1, 1, 1, 1, 1, 0, 1], true) => "gids",
            ([0, 0, 0, 1, 1, 0, 0, 0, 1], true) if holds(&[1; 136]) => "cpus",
            ([0, 0, 0, 1, 1, 0, 0, 0, 1], true) => "nodes",
            ([1, 1, 1, 1, 1, 1, 1, 1, 1], true) => "contents",
            ([0, 0, 0, 0, 0, 1, 1, 0, 0], false) => "regset",
            ([0, 0, 0, 0, 1, 0, 0, 0, 0], false) => "ranges",
            ([0, 0, 0, 0, 0, 0, 0, 0, 0], true) => "filter",
            ([0, 0, 0, 0, 0, 0, 0, 0, 1], false) => "layout",
            ([0, 0, 0, 0, 1, 1, 0, 0, 0], false) => "auxv",
            other => panic!("{}: data[{at}] is of no known kind: {other:?}", code.name()),
        }
    };
    [
        if slot { "slot" } else { "–" }.to_owned(),
        flags.to_string(),
        [0, 1, 2, 3].map(arg).join(" "),
        [0, 1].map(data).join(" "),
    ]
}

#[test]
fn the_table_of_ops_is_what_the_checker_does() {
    let rows = table("| code | op | route |");
    let codes: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
    let known: Vec<_> = OpCode::ALL.iter().map(|code| format!("{:#06x}", *code as u16)).collect();
    assert_eq!(codes, known, "left: the document; right: the code");
    for (row, code) in rows.iter().zip(OpCode::ALL) {
        let place = code.place();
        let place = match place.first == place.last {
            true => place.first.to_string(),
            false => format!("{}–{}", place.first, place.last),
        };
        let route = match code.route() {
            Route::Direct => "direct",
            Route::Seed => "seed",
        };
        let [slot, flags, args, data] = shape(*code);
        let found = [code.name(), route, &place, &slot, &flags, &args, &data];
        assert_eq!(row[1..], found, "left: the document; right: the code");
    }
}

#[test]
fn every_op_is_explained_in_the_same_order() {
    let rows = table("| op | carries | does | since |");
    let explained: Vec<_> = rows.iter().map(|row| row[0].clone()).collect();
    let known: Vec<_> = OpCode::ALL.iter().map(|code| code.name()).collect();
    assert_eq!(explained, known, "left: the document; right: the code");
    for row in &rows {
        assert!(!row[2].is_empty() && !row[3].is_empty(), "{row:?}");
    }
}

#[test]
fn every_limit_stands_there_with_its_value() {
    let source = include_str!("../src/limits.rs");
    let names = source.lines().filter_map(|line| line.strip_prefix("pub const "));
    let names: Vec<_> = names.filter_map(|line| line.split(':').next()).collect();
    let values: [(&str, u64); 31] = [
        ("PLAN_BYTES_MAX", limits::PLAN_BYTES_MAX as u64),
        ("ENTRIES_MAX", limits::ENTRIES_MAX.into()),
        ("SLOTS_MAX", limits::SLOTS_MAX.into()),
        ("FD_MAX", limits::FD_MAX.into()),
        ("PATH_BYTES_MAX", limits::PATH_BYTES_MAX as u64),
        ("STRING_BYTES_MAX", limits::STRING_BYTES_MAX as u64),
        ("STRINGS_BYTES_MAX", limits::STRINGS_BYTES_MAX as u64),
        ("STRINGS_MAX", limits::STRINGS_MAX.into()),
        ("SEARCH_BYTES_MAX", limits::SEARCH_BYTES_MAX as u64),
        ("GROUPS_MAX", limits::GROUPS_MAX as u64),
        ("CPU_MASK_BYTES_MAX", limits::CPU_MASK_BYTES_MAX as u64),
        ("NODE_MASK_BYTES_MAX", limits::NODE_MASK_BYTES_MAX as u64),
        ("KEYRING_NAME_BYTES_MAX", limits::KEYRING_NAME_BYTES_MAX as u64),
        ("CAPABILITY_MAX", limits::CAPABILITY_MAX.into()),
        ("PAGE", limits::PAGE),
        ("ADDRESS_END", limits::ADDRESS_END),
        ("REGION_NAME_BYTES_MAX", limits::REGION_NAME_BYTES_MAX as u64),
        ("AUXV_BYTES_MAX", limits::AUXV_BYTES_MAX as u64),
        ("RANGES_MAX", limits::RANGES_MAX as u64),
        ("FILTER_INSTRUCTIONS_MAX", limits::FILTER_INSTRUCTIONS_MAX as u64),
        ("FILTERS_MAX", limits::FILTERS_MAX.into()),
        ("THREADS_MAX", limits::THREADS_MAX.into()),
        ("STATE_BYTES_MAX", limits::STATE_BYTES_MAX as u64),
        ("RESOURCES_MAX", limits::RESOURCES_MAX.into()),
        ("SIGNAL_MAX", limits::SIGNAL_MAX.into()),
        ("ID_RANGES_MAX", limits::ID_RANGES_MAX as u64),
        ("HOST_NAME_BYTES_MAX", limits::HOST_NAME_BYTES_MAX as u64),
        ("PID_MAX", limits::PID_MAX.into()),
        ("LAYER_BYTES_MAX", limits::LAYER_BYTES_MAX as u64),
        ("LAYERS_MAX", limits::LAYERS_MAX as u64),
        ("FILE_BYTES_MAX", limits::FILE_BYTES_MAX),
    ];
    assert_eq!(values.map(|(name, _)| name)[..], names, "left: this test; right: limits.rs");
    let rows = table("| limit | value |");
    let written: Vec<_> = rows.iter().map(|row| (row[0].clone(), row[1].clone())).collect();
    let meant = values.map(|(name, value)| (name.to_owned(), value.to_string()));
    assert_eq!(written, meant, "left: the document; right: the code");
}

#[test]
fn every_keep_bit_stands_there() {
    let rows = table("| bit | value | kept |");
    let written: Vec<_> = rows.iter().map(|row| row[1].clone()).collect();
    let known: Vec<_> = Keep::all().iter().map(|bit| bit.bits().to_string()).collect();
    assert_eq!(written, known, "left: the document; right: the code");
    for (row, name) in rows.iter().zip(Keep::all().names()) {
        assert!(row[2].contains(name), "{row:?} does not speak of the {name}");
    }
}

#[test]
fn every_register_stands_at_its_offset() {
    // Each register is set on its own; the bytes in which it then differs are the document's.
    let x86 = fields(&table("| offset | size | register |"));
    assert_eq!(x86.last(), Some(&(String::new(), 160)));
    macro_rules! x86 {
        ($($name:ident)*) => {[$({
            let mut regs = X86Regs::default();
            regs.$name = u64::MAX.into();
            (stringify!($name).to_owned(), Regset::X86(regs))
        },)*]};
    }
    let sets = x86!(rax rbx rcx rdx rsi rdi rbp rsp r8 r9 r10 r11 r12 r13 r14 r15 rip rflags
        fs_base gs_base);
    let at = |set: &Regset| set.as_bytes().iter().position(|byte| *byte == 0xff);
    let known = sets.map(|(name, set)| (name, at(&set).expect("it is set")));
    assert_eq!(x86[..20], known, "left: the document; right: the code");

    let arm = fields(&table("| offset | size | register of aarch64 |"));
    let known: Vec<_> = arm[..5].iter().map(|(name, at)| (name.as_str(), *at)).collect();
    assert_eq!(known, [("x", 0), ("sp", 248), ("pc", 256), ("pstate", 264), ("tpidr", 272)]);
    assert_eq!(arm.last(), Some(&(String::new(), 280)));
    for (name, at) in &arm[..5] {
        let mut bytes = [0; 280];
        bytes[*at] = 1;
        let Some(Regset::Arm(regs)) = Regset::read(&bytes) else { panic!("280 bytes are a set") };
        let register = match name.as_str() {
            "x" => regs.x[0],
            "sp" => regs.sp,
            "pc" => regs.pc,
            "pstate" => regs.pstate,
            _ => regs.tpidr,
        };
        assert_eq!(register.get(), 1, "{name}");
    }
}

/// Offsets and sizes of a table of fields, which must follow each other without a gap.
fn fields(rows: &[Vec<String>]) -> Vec<(String, usize)> {
    let mut at = 0;
    let mut fields = Vec::new();
    for row in rows {
        let size = row[1].parse::<usize>().expect("a size is a number");
        assert_eq!(row[0], at.to_string(), "{row:?}");
        fields.push((row[2].clone(), at));
        at += size;
    }
    fields.push((String::new(), at));
    fields
}

#[test]
fn header_and_entry_are_laid_out_as_written() {
    let starts = "| offset | size | field | value |";
    let (_, rest) = DOCUMENT.split_once(starts).expect("the header's table");
    assert_eq!(rest.matches(starts).count(), 1, "and the entry's");
    let header = fields(&table(starts));
    assert_eq!(header.last(), Some(&(String::new(), HEADER_LEN)));
    let entry: Vec<Vec<String>> = rest
        .split_once(starts)
        .expect("the entry's table")
        .1
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'))
        .map(|line| line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect())
        .collect();
    let entry = fields(&entry);
    assert_eq!(entry.last(), Some(&(String::new(), ENTRY_LEN)));

    // Each field is set in the struct and looked for in the bytes at the offset written.
    let (mut raw, index) = around(&sample(OpCode::PutFd));
    let offset = |fields: &[(String, usize)], name: &str| {
        let found = fields.iter().find(|(field, _)| field == name);
        found.unwrap_or_else(|| panic!("the document has no field {name}")).1
    };
    raw.header.flags = 0x0101_0101.into();
    raw.header.keep = 0x0202_0202.into();
    raw.header.slots = 0x0303_0303.into();
    raw.header.argv.count = 0x0404_0404.into();
    raw.header.envp.data.offset = 0x0505_0505.into();
    raw.header.reserved[0] = 0x0606_0606.into();
    raw.entries[index].flags = 0x0707.into();
    raw.entries[index].slot = 0x0808_0808.into();
    raw.entries[index].args[0] = 0x0909_0909_0909_0909.into();
    raw.entries[index].data[1].len = 0x0a0a_0a0a.into();
    raw.entries[index].reserved = 0x0b0b_0b0b_0b0b_0b0b.into();
    let bytes = raw.bytes();
    let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
    assert_eq!(bytes[..8], MAGIC);
    assert_eq!(bytes[offset(&header, "version")], VERSION as u8);
    assert_eq!(bytes[offset(&header, "header_len")], HEADER_LEN as u8);
    assert_eq!(word(offset(&header, "flags")), 0x0101_0101);
    assert_eq!(word(offset(&header, "total_len")) as usize, bytes.len());
    assert_eq!(word(offset(&header, "keep")), 0x0202_0202);
    assert_eq!(word(offset(&header, "slots")), 0x0303_0303);
    assert_eq!(word(offset(&header, "entries")) as usize, raw.entries.len());
    assert_eq!(word(offset(&header, "data_len")) as usize, raw.data.len());
    assert_eq!(word(offset(&header, "argv") + 8), 0x0404_0404);
    assert_eq!(word(offset(&header, "envp")), 0x0505_0505);
    assert_eq!(word(offset(&header, "reserved")), 0x0606_0606);
    let start = HEADER_LEN + index * ENTRY_LEN;
    assert_eq!(bytes[start..start + 2], (OpCode::PutFd as u16).to_le_bytes());
    assert_eq!(word(start + offset(&entry, "flags")) & 0xffff, 0x0707);
    assert_eq!(word(start + offset(&entry, "slot")), 0x0808_0808);
    assert_eq!(word(start + offset(&entry, "args")), 0x0909_0909);
    assert_eq!(word(start + offset(&entry, "data") + 12), 0x0a0a_0a0a);
    assert_eq!(word(start + offset(&entry, "reserved")), 0x0b0b_0b0b);
    assert_eq!(NO_SLOT.to_le_bytes(), [0xff; 4]);
    assert_eq!(PlanFlags::all().bits(), 1);
}

#[test]
fn every_address_of_a_layout_stands_at_its_offset() {
    let written = fields(&table("| offset | size | address |"));
    assert_eq!(written.last(), Some(&(String::new(), size_of::<Layout>())));
    for (index, (name, at)) in written[..11].iter().enumerate() {
        let mut bytes = [0; 88];
        bytes[*at] = 7;
        let fields = Layout::read(&bytes).expect("88 bytes are a layout").fields();
        assert_eq!(fields[index], (name.as_str(), 7), "left: the code; right: the document");
    }
}
