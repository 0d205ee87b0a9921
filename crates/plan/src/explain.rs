//! A plan in words: one line an op, and the same fields for programs.

mod namespace;
mod privilege;

use crate::layout::Layout;
use crate::names::{
    capability_name, errno_name, memory_policy_name, resource_name, sched_policy_name,
    securebit_name, signal_name,
};
use crate::op::{CgroupOp, ExecFlags, FilterFlags, IdRange, Keep, MapFlags, Op, Slot};
use crate::regset::{Regset, ranges};
use crate::view::Plan;
use core::ffi::CStr;
use core::fmt;

mod confine;
mod mount;

/// The value of one field of an op.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ArgText<'a> {
    /// A number.
    Number(i64),
    /// A limit; `u64::MAX` is `unlimited`.
    Limit(u64),
    /// Mode bits.
    Octal(u32),
    /// Bits of a kernel interface.
    Hex(u64),
    /// A fixed word.
    Word(&'static str),
    /// A grant.
    Slot(Slot),
    /// A path or name.
    Text(&'a CStr),
    /// A set of signals; bit n-1 is signal n.
    Signals(u64),
    /// A set of CPUs; bit n is CPU n.
    Cpus(&'a [u8]),
    /// Ids, little-endian u32s.
    Ids(&'a [u8]),
    /// Bits of a kernel interface, with the names of those that have one, from bit 0 on.
    Bits(u64, &'static [&'static str]),
    /// A set of capabilities; bit n is capability n, and all 64 are `all`.
    Capabilities(u64),
    /// Securebits flags.
    Securebits(u32),
    /// One line of an id map.
    Range(IdRange),
}

impl fmt::Display for ArgText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ArgText::Number(number) => write!(f, "{number}"),
            ArgText::Limit(u64::MAX) => f.write_str("unlimited"),
            ArgText::Limit(limit) => write!(f, "{limit}"),
            ArgText::Octal(mode) => write!(f, "{mode:04o}"),
            ArgText::Hex(bits) => write!(f, "{bits:#x}"),
            ArgText::Word(word) => f.write_str(word),
            ArgText::Slot(Slot(slot)) => write!(f, "{slot}"),
            ArgText::Text(text) => quoted(f, text.to_bytes()),
            ArgText::Signals(set) => {
                let numbers = (1..=64u32).filter(|signal| set >> (signal - 1) & 1 == 1);
                comma_separated(f, numbers, |f, signal| match signal_name(signal) {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{signal}"),
                })
            }
            ArgText::Cpus(mask) => {
                let cpus = (0..mask.len() as u32 * 8)
                    .filter(|cpu| mask[*cpu as usize / 8] >> (cpu % 8) & 1 == 1);
                comma_separated(f, cpus, |f, cpu| write!(f, "{cpu}"))
            }
            ArgText::Bits(bits, names) => {
                let set = (0..u64::BITS).filter(|bit| bits >> bit & 1 == 1);
                comma_separated(f, set, |f, bit| match names.get(bit as usize) {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{bit}"),
                })
            }
            ArgText::Capabilities(u64::MAX) => f.write_str("all"),
            ArgText::Capabilities(set) => {
                let numbers = (0..64u32).filter(|number| set >> number & 1 == 1);
                comma_separated(f, numbers, |f, number| match capability_name(number) {
                    Some(name) => f.write_str(name),
                    None => write!(f, "cap_{number}"),
                })
            }
            ArgText::Securebits(bits) => {
                let set = (0..32u32).filter(|bit| bits >> bit & 1 == 1);
                comma_separated(f, set, |f, bit| match securebit_name(bit) {
                    Some(name) => f.write_str(name),
                    None => write!(f, "{bit}"),
                })
            }
            ArgText::Range(IdRange { inside, outside, count }) => {
                write!(f, "{inside}:{outside}:{count}")
            }
            ArgText::Ids(list) => {
                let ids = list.as_chunks::<4>().0.iter().map(|id| u32::from_le_bytes(*id));
                comma_separated(f, ids, |f, id| write!(f, "{id}"))
            }
        }
    }
}

fn comma_separated(
    f: &mut fmt::Formatter<'_>,
    items: impl Iterator<Item = u32>,
    mut one: impl FnMut(&mut fmt::Formatter<'_>, u32) -> fmt::Result,
) -> fmt::Result {
    let mut any = false;
    for item in items {
        if any {
            f.write_str(",")?;
        }
        any = true;
        one(f, item)?;
    }
    if any { Ok(()) } else { f.write_str("none") }
}

/// Text as a shell would need it: bare if it is plain, else in double quotes with escapes, so that
/// no byte of a plan reaches a terminal raw.
fn quoted(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+=:,@%^~".contains(byte);
    if !bytes.is_empty() && bytes.iter().all(plain) {
        return write!(f, "{}", bytes.escape_ascii());
    }
    f.write_str("\"")?;
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                _ if character.is_control() => write!(f, "{}", character.escape_default())?,
                _ => write!(f, "{character}")?,
            }
        }
        for byte in chunk.invalid() {
            write!(f, "\\x{byte:02x}")?;
        }
    }
    f.write_str("\"")
}

impl<'a> Op<'a> {
    /// Calls `field` with the name and value of each thing that the op carries.
    pub fn fields(&self, field: &mut dyn FnMut(&'static str, ArgText<'a>)) {
        use ArgText::{Cpus, Hex, Ids, Limit, Number, Octal, Signals, Text, Word};
        let id = |id: u32| if id == u32::MAX { Word("keep") } else { Number(id.into()) };
        match *self {
            Op::SetSid | Op::Subreaper | Op::NoNewPrivs | Op::SeccompStrict | Op::DropVdso => {}
            Op::CoreScheduling => {}
            Op::MemoryPolicy { mode, nodes } => {
                match memory_policy_name(mode & privilege::POLICY_MODE) {
                    Some(name) => field("mode", Word(name)),
                    None => field("mode", Number(mode.into())),
                }
                if mode & !privilege::POLICY_MODE != 0 {
                    field("flags", Hex((mode & !privilege::POLICY_MODE).into()));
                }
                if !nodes.is_empty() {
                    field("nodes", Cpus(nodes));
                }
            }
            Op::Privilege(ref op) => privilege::fields(op, field),
            Op::Cgroup(CgroupOp::Join { slot } | CgroupOp::Tie { slot }) => {
                field("slot", ArgText::Slot(slot));
            }
            Op::Fail { errno } => match errno_name(errno) {
                Some(name) => field("errno", Word(name)),
                None => field("errno", Number(errno.into())),
            },
            Op::SetPgid { pgid: 0 } => field("pgid", Word("new")),
            Op::SetPgid { pgid } => field("pgid", Number(pgid.into())),
            Op::ControllingTty { slot }
            | Op::Foreground { slot }
            | Op::ChrootSlot { slot }
            | Op::ChdirSlot { slot } => field("slot", ArgText::Slot(slot)),
            Op::PutFd { slot, fd } => {
                field("fd", Number(fd.into()));
                field("slot", ArgText::Slot(slot));
            }
            Op::OpenNull { fd, access } => {
                field("fd", Number(fd.into()));
                field("access", Word(["r", "w", "rw"][access as usize]));
            }
            Op::OomScoreAdj { value } | Op::Nice { value } => field("value", Number(value.into())),
            Op::Rlimit { resource, soft, hard } => {
                match resource_name(resource) {
                    Some(name) => field("resource", Word(name)),
                    None => field("resource", Number(resource.into())),
                }
                field("soft", Limit(soft));
                field("hard", Limit(hard));
            }
            Op::Sched { policy, priority, flags, runtime_ns, deadline_ns, period_ns } => {
                match sched_policy_name(policy) {
                    Some(name) => field("policy", Word(name)),
                    None => field("policy", Number(policy.into())),
                }
                field("priority", Number(priority.into()));
                if flags != 0 {
                    field("flags", Hex(flags.into()));
                }
                for (name, ns) in [
                    ("runtime_ns", runtime_ns),
                    ("deadline_ns", deadline_ns),
                    ("period_ns", period_ns),
                ] {
                    if ns != 0 {
                        field(name, Limit(ns));
                    }
                }
            }
            Op::Affinity { mask } => field("cpus", Cpus(mask)),
            Op::IoPriority { value } => {
                let class = ["none", "realtime", "best-effort", "idle"][(value >> 13 & 3) as usize];
                field("class", Word(class));
                field("level", Number((value & 0x1fff).into()));
            }
            Op::TimerSlack { ns } => field("ns", Limit(ns)),
            Op::ChrootPath { path } | Op::ChdirPath { path } => field("path", Text(path)),
            Op::Umask { mode } => field("mode", Octal(mode)),
            Op::Groups { list } => field("gids", Ids(list)),
            Op::Gid { real, effective, saved } | Op::Uid { real, effective, saved } => {
                field("real", id(real));
                field("effective", id(effective));
                field("saved", id(saved));
            }
            Op::DeathSignal { signal } => match signal_name(signal) {
                Some(name) => field("signal", Word(name)),
                None => field("signal", Number(signal.into())),
            },
            Op::Personality { persona } => field("persona", Hex(persona.into())),
            Op::Seccomp { flags, program } => {
                let count = program.len() / crate::filter::INSTRUCTION_BYTES;
                field("instructions", Number(count as i64));
                for (flag, word) in [
                    (FilterFlags::LOG, "log"),
                    (FilterFlags::SPEC_ALLOW, "spec-allow"),
                    (FilterFlags::LISTENER, "listener"),
                    (FilterFlags::WAIT_KILLABLE, "wait-killable"),
                ] {
                    if flags.contains(flag) {
                        field("how", Word(word));
                    }
                }
            }
            Op::Confine(op) => confine::fields(&op, field),
            Op::SignalIgnore { set } | Op::SignalMask { set } | Op::SignalDefault { set } => {
                field("signals", Signals(set));
            }
            Op::Map { addr, len, prot, flags } => {
                region(addr, len, field);
                field("protection", Word(protection(prot)));
                map_flags(flags, field);
            }
            Op::MapSlot { slot, addr, len, prot, flags, offset } => {
                field("slot", ArgText::Slot(slot));
                region(addr, len, field);
                field("protection", Word(protection(prot)));
                field("offset", Hex(offset));
                map_flags(flags, field);
            }
            Op::Unmap { addr, len } | Op::Lock { addr, len } => region(addr, len, field),
            Op::Protect { addr, len, prot } => {
                region(addr, len, field);
                field("protection", Word(protection(prot)));
            }
            Op::Remap { addr, len, to, to_len } => {
                region(addr, len, field);
                field("to", Hex(to));
                field("to_length", Hex(to_len));
            }
            Op::Advise { addr, len, advice } => {
                region(addr, len, field);
                field("advice", Number(advice.into()));
            }
            Op::NameRegion { addr, len, name } => {
                region(addr, len, field);
                field("name", Text(name));
            }
            Op::Write { addr, contents } => region(addr, contents.len() as u64, field),
            Op::WriteSlot { slot, addr, len, offset }
            | Op::ReadSlot { slot, addr, len, offset } => {
                field("slot", ArgText::Slot(slot));
                region(addr, len, field);
                field("offset", Hex(offset));
            }
            Op::Fill { addr, len, byte } => {
                region(addr, len, field);
                field("byte", Hex(byte.into()));
            }
            Op::SignalAction { signal, flags, handler, restorer, mask } => {
                field("signals", Signals(1 << (signal.wrapping_sub(1) & 63)));
                field("flags", Hex(flags.into()));
                field("handler", Hex(handler));
                field("restorer", Hex(restorer));
                field("mask", Signals(mask));
            }
            Op::MmLayout { layout, auxv } => {
                if let Some(layout) = Layout::read(layout) {
                    layout.fields().into_iter().for_each(|(name, addr)| field(name, Hex(addr)));
                }
                for [kind, value] in ranges(auxv) {
                    field("auxv", Hex(kind));
                    field("value", Hex(value));
                }
            }
            Op::MoveVdso { to } => field("to", Hex(to)),
            Op::Namespace(op) => namespace::fields(&op, field),
            Op::StartRegs { page, regset, leave } => {
                registers(regset, field);
                field("page", Hex(page));
                for [addr, len] in ranges(leave) {
                    field("leave", Hex(addr));
                    field("length", Hex(len));
                }
            }
            Op::Thread { mask, clear_tid, regset } => {
                registers(regset, field);
                field("mask", Signals(mask));
                if clear_tid != 0 {
                    field("clear_tid", Hex(clear_tid));
                }
            }
            Op::Mount(ref op) => mount::fields(op, field),
            Op::ExecPath { path, flags } => {
                field("path", Text(path));
                exec_flags(flags, field);
            }
            Op::ExecSlot { slot, flags } => {
                field("slot", ArgText::Slot(slot));
                exec_flags(flags, field);
            }
            Op::ExecName { name, search, flags } => {
                field("name", Text(name));
                field("search", Text(search));
                exec_flags(flags, field);
            }
        }
    }
}

fn region<'a>(addr: u64, len: u64, field: &mut dyn FnMut(&'static str, ArgText<'a>)) {
    field("address", ArgText::Hex(addr));
    field("length", ArgText::Hex(len));
}

fn registers<'a>(bytes: &[u8], field: &mut dyn FnMut(&'static str, ArgText<'a>)) {
    let Some(regset) = Regset::read(bytes) else { return };
    field("instruction", ArgText::Hex(regset.instruction()));
    field("stack", ArgText::Hex(regset.stack()));
    if let Some(state) = Regset::state(bytes) {
        field("state_bytes", ArgText::Number(state.len() as i64));
    }
}

/// As /proc/PID/maps prints it.
fn protection(prot: u32) -> &'static str {
    ["---", "r--", "-w-", "rw-", "--x", "r-x", "-wx", "rwx"][(prot & 7) as usize]
}

fn map_flags<'a>(flags: MapFlags, field: &mut dyn FnMut(&'static str, ArgText<'a>)) {
    for (flag, word) in [
        (MapFlags::FIXED, "fixed"),
        (MapFlags::SHARED, "shared"),
        (MapFlags::POPULATE, "populate"),
        (MapFlags::GROWSDOWN, "growsdown"),
        (MapFlags::NORESERVE, "noreserve"),
    ] {
        if flags.contains(flag) {
            field("how", ArgText::Word(word));
        }
    }
}

fn exec_flags<'a>(flags: ExecFlags, field: &mut dyn FnMut(&'static str, ArgText<'a>)) {
    if flags.contains(ExecFlags::SHELL) {
        field("otherwise", ArgText::Word("/bin/sh"));
    }
    if flags.contains(ExecFlags::KEEP_OPEN) {
        field("descriptor", ArgText::Word("stays-open"));
    }
}

impl fmt::Display for Op<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code().name())?;
        let mut out = Ok(());
        self.fields(&mut |name, value| {
            if out.is_ok() {
                out = write!(f, " {name}={value}");
            }
        });
        out
    }
}

impl fmt::Debug for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Explained(*self), f)
    }
}

/// A plan, printed as lines for people: what is kept, the ops in order, argv and envp.
#[derive(Clone, Copy)]
pub struct Explained<'a>(pub Plan<'a>);

impl Keep {
    /// The names of what is kept.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (Keep::CWD, "working directory"),
            (Keep::UMASK, "umask"),
            (Keep::SESSION, "session"),
            (Keep::IGNORED_SIGNALS, "ignored signals"),
            (Keep::SIGNAL_MASK, "signal mask"),
        ]
        .into_iter()
        .filter(move |(bit, _)| self.contains(*bit))
        .map(|(_, name)| name)
    }
}

impl fmt::Display for Explained<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.0;
        let route = match plan.route() {
            crate::op::Route::Direct => "direct",
            crate::op::Route::Seed => "through the seed",
        };
        writeln!(
            f,
            "plan: {} bytes, {} ops, {} grant slots, executed {route}",
            plan.as_bytes().len(),
            plan.entries().len(),
            plan.slots()
        )?;
        for kept in plan.keep().names() {
            writeln!(f, "  keep  {kept}")?;
        }
        for (index, op) in plan.ops().enumerate() {
            match op {
                Some(op) => writeln!(f, "  {index:4}  {op}")?,
                None => writeln!(f, "  {index:4}  ?")?,
            }
        }
        for (name, list) in [("argv", plan.argv()), ("envp", plan.envp())] {
            for (index, string) in list.enumerate() {
                writeln!(f, "  {name}[{index}]  {}", ArgText::Text(string))?;
            }
        }
        Ok(())
    }
}
